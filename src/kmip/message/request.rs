//! Requests: written by clients, read by servers.

use super::{Authentication, MAX_ITEMS, MessageExtension, RequestHeader, batch_item_id};
use crate::error::{Error, Result};
use crate::kmip::enums::{BatchErrorContinuationOption, OperationCode};
use crate::kmip::ops::{Operation, Request};
use crate::secret::Secret;
use crate::ttlv::{Decode, Encode, Item, Tag, Writer};
use crate::version::Version;

/// Room for most requests, so that the buffer does not move.
const USUAL_LEN: usize = 1024;

/// A message with one request, its header as short as can be: what every server understands.
pub fn encode_request<O: Operation>(
    version: Version,
    authentication: Option<&Authentication>,
    request: &O,
) -> Result<Secret> {
    let mut writer = Writer::with_capacity(version, USUAL_LEN);
    writer.structure(Tag::REQUEST_MESSAGE, |w| {
        w.structure(Tag::REQUEST_HEADER, |w| {
            version.encode(Tag::PROTOCOL_VERSION, w);
            if let Some(authentication) = authentication {
                authentication.encode(Tag::AUTHENTICATION, w);
            }
            w.integer(Tag::BATCH_COUNT, 1);
        });
        w.structure(Tag::BATCH_ITEM, |w| {
            O::CODE.encode(Tag::OPERATION, w);
            request.encode(Tag::REQUEST_PAYLOAD, w);
        });
    });
    writer.finish()
}

/// A message with several requests, each with a Unique Batch Item ID.
pub struct RequestBatch {
    writer: Writer,
    message: usize,
    count_at: usize,
    count: usize,
}

impl RequestBatch {
    /// An empty batch, executed in any order and up to the first failure.
    pub fn new(version: Version, authentication: Option<&Authentication>) -> RequestBatch {
        RequestBatch::with(version, authentication, None, None)
    }

    /// An empty batch, executed in the order of its items.
    pub fn ordered(version: Version, authentication: Option<&Authentication>) -> RequestBatch {
        RequestBatch::with(version, authentication, None, Some(true))
    }

    /// An empty batch, executed in the order of its items, all of them whatever fails.
    pub fn through(version: Version, authentication: Option<&Authentication>) -> RequestBatch {
        RequestBatch::with(
            version,
            authentication,
            Some(BatchErrorContinuationOption::CONTINUE),
            Some(true),
        )
    }

    fn with(
        version: Version,
        authentication: Option<&Authentication>,
        on_error: Option<BatchErrorContinuationOption>,
        order: Option<bool>,
    ) -> RequestBatch {
        let mut writer = Writer::with_capacity(version, USUAL_LEN);
        let message = writer.open(Tag::REQUEST_MESSAGE);
        writer.structure(Tag::REQUEST_HEADER, |w| {
            version.encode(Tag::PROTOCOL_VERSION, w);
            if let Some(authentication) = authentication {
                authentication.encode(Tag::AUTHENTICATION, w);
            }
            on_error.encode(Tag::BATCH_ERROR_CONTINUATION_OPTION, w);
            order.encode(Tag::BATCH_ORDER_OPTION, w);
            w.integer(Tag::BATCH_COUNT, 0);
        });
        let count_at = writer.len() - 8;
        RequestBatch {
            writer,
            message,
            count_at,
            count: 0,
        }
    }

    /// Adds a request and returns its place, by which [`super::ResponseMessage::get`] finds the answer.
    pub fn push<O: Operation>(&mut self, request: &O) -> usize {
        let index = self.count;
        self.writer.structure(Tag::BATCH_ITEM, |w| {
            O::CODE.encode(Tag::OPERATION, w);
            batch_item_id(index).encode(Tag::UNIQUE_BATCH_ITEM_ID, w);
            request.encode(Tag::REQUEST_PAYLOAD, w);
        });
        self.count += 1;
        index
    }

    /// How many requests it holds.
    pub fn len(&self) -> usize {
        self.count
    }

    /// True when it holds none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The message.
    pub fn finish(mut self) -> Result<Secret> {
        let count = i32::try_from(self.count)
            .map_err(|_| Error::input("too many requests in one message"))?;
        self.writer.patch(self.count_at, count.to_be_bytes());
        self.writer.close(self.message);
        self.writer.finish()
    }
}

/// A request as a server reads it. The payloads are decoded by whoever knows what to do with them.
#[derive(Debug)]
pub struct RequestMessage<'a> {
    /// Header.
    pub header: RequestHeader,
    /// What is asked.
    pub items: Vec<RequestItem<'a>>,
}

/// One request of a message.
#[derive(Debug)]
pub struct RequestItem<'a> {
    /// What is asked.
    pub operation: OperationCode,
    /// Ephemeral (2.x): do not keep what is made.
    pub ephemeral: Option<bool>,
    /// To be returned with the answer.
    pub unique_batch_item_id: Option<Vec<u8>>,
    /// Request Payload, still encoded.
    pub payload: Item<'a>,
    /// Vendors' additions.
    pub message_extensions: Vec<MessageExtension>,
}

impl<'a> RequestMessage<'a> {
    /// Reads a message.
    pub fn decode(bytes: &'a [u8]) -> Result<RequestMessage<'a>> {
        let message = Item::parse(bytes)?;
        message.expect(Tag::REQUEST_MESSAGE)?;
        let (mut header, mut items) = (None, Vec::new());
        let mut parts = message.items()?;
        while let Some(part) = parts.next()? {
            match part.tag {
                Tag::REQUEST_HEADER => header = Some(RequestHeader::decode(&part)?),
                Tag::BATCH_ITEM if items.len() < MAX_ITEMS => {
                    items.push(RequestItem::decode(&part)?)
                }
                Tag::BATCH_ITEM => {
                    return Err(part.error(format_args!("more than {MAX_ITEMS} items")));
                }
                _ => {}
            }
        }
        let header = header.ok_or_else(|| message.error("without a header"))?;
        Ok(RequestMessage { header, items })
    }

    /// The version in the header of a message, whatever else is wrong with it.
    pub fn version_of(bytes: &[u8]) -> Option<Version> {
        let message = Item::parse(bytes).ok()?;
        let header = message.find(Tag::REQUEST_HEADER).ok()??;
        Version::decode(&header.find(Tag::PROTOCOL_VERSION).ok()??).ok()
    }

    /// Writes the message again, every payload through the types of its operation.
    pub fn encode(&self) -> Result<Secret> {
        let version = self.header.protocol_version;
        let mut writer = Writer::new(version);
        let message = writer.open(Tag::REQUEST_MESSAGE);
        self.header.encode(Tag::REQUEST_HEADER, &mut writer);
        for item in &self.items {
            let request = Request::decode(item.operation, &item.payload)?;
            writer.structure(Tag::BATCH_ITEM, |w| {
                item.operation.encode(Tag::OPERATION, w);
                item.ephemeral.encode(Tag::EPHEMERAL, w);
                item.unique_batch_item_id
                    .encode(Tag::UNIQUE_BATCH_ITEM_ID, w);
                request.encode(Tag::REQUEST_PAYLOAD, w);
                item.message_extensions.encode(Tag::MESSAGE_EXTENSION, w);
            });
        }
        writer.close(message);
        writer.finish()
    }
}

impl<'a> RequestItem<'a> {
    fn decode(item: &Item<'a>) -> Result<RequestItem<'a>> {
        let (mut operation, mut ephemeral, mut unique_batch_item_id, mut payload) =
            (None, None, None, None);
        let mut message_extensions = Vec::new();
        let mut parts = item.items()?;
        while let Some(part) = parts.next()? {
            match part.tag {
                Tag::OPERATION => operation = Some(OperationCode::decode(&part)?),
                Tag::EPHEMERAL => ephemeral = Some(part.boolean()?),
                Tag::UNIQUE_BATCH_ITEM_ID => {
                    unique_batch_item_id = Some(part.byte_string()?.to_vec())
                }
                Tag::REQUEST_PAYLOAD => payload = Some(part),
                Tag::MESSAGE_EXTENSION => message_extensions.push(MessageExtension::decode(&part)?),
                _ => {}
            }
        }
        let (Some(operation), Some(payload)) = (operation, payload) else {
            return Err(item.error("without operation or payload"));
        };
        Ok(RequestItem {
            operation,
            ephemeral,
            unique_batch_item_id,
            payload,
            message_extensions,
        })
    }

    /// Reads the payload.
    pub fn request<O: Operation>(&self) -> Result<O> {
        O::decode(&self.payload)
    }
}
