//! Responses: written by servers, read by clients.
//!
//! Reading is tolerant where real servers differ: the operation or the batch item ID may be missing, items may be missing at the
//! end, the header may name another version, and one item without operation may stand for the failure of the whole message.

use super::{MAX_ITEMS, MessageExtension, ResponseHeader, batch_item_id};
use crate::error::{Error, Result};
use crate::kmip::enums::{OperationCode, ResultReason, ResultStatus};
use crate::kmip::ops::{Operation, Response};
use crate::kmip::reasons;
use crate::secret::Secret;
use crate::ttlv::{DateTime, Decode, Encode, Item, Tag, Writer};
use crate::version::Version;

/// An empty Response Payload, for servers that leave it out when there is nothing to say.
const EMPTY_PAYLOAD: &[u8] = &[0x42, 0x00, 0x7C, 0x01, 0, 0, 0, 0];

/// A response as a client reads it.
#[derive(Debug)]
pub struct ResponseMessage<'a> {
    /// Header.
    pub header: ResponseHeader,
    /// The answers.
    pub items: Vec<ResponseItem<'a>>,
}

/// One answer.
#[derive(Debug)]
pub struct ResponseItem<'a> {
    /// What was asked, if the server says so.
    pub operation: Option<OperationCode>,
    /// What the request had, if the server returns it.
    pub unique_batch_item_id: Option<Vec<u8>>,
    /// Whether it was done.
    pub result_status: ResultStatus,
    /// Why it was not.
    pub result_reason: Option<ResultReason>,
    /// The server's own words.
    pub result_message: Option<String>,
    /// For an answer that comes later.
    pub asynchronous_correlation_value: Option<Vec<u8>>,
    /// Response Payload, still encoded.
    pub payload: Option<Item<'a>>,
    /// Vendors' additions.
    pub message_extensions: Vec<MessageExtension>,
}

/// The answer in a message to the single request `O`.
pub fn decode_response<O: Operation>(bytes: &[u8]) -> Result<O::Response> {
    ResponseMessage::decode(bytes)?.get::<O>(0)
}

impl<'a> ResponseMessage<'a> {
    /// Reads a message.
    pub fn decode(bytes: &'a [u8]) -> Result<ResponseMessage<'a>> {
        let message = Item::parse(bytes)?;
        message.expect(Tag::RESPONSE_MESSAGE)?;
        let (mut header, mut items) = (None, Vec::new());
        let mut parts = message.items()?;
        while let Some(part) = parts.next()? {
            match part.tag {
                Tag::RESPONSE_HEADER => header = Some(ResponseHeader::decode(&part)?),
                Tag::BATCH_ITEM if items.len() < MAX_ITEMS => {
                    items.push(ResponseItem::decode(&part)?)
                }
                Tag::BATCH_ITEM => {
                    return Err(part.error(format_args!("more than {MAX_ITEMS} items")));
                }
                _ => {}
            }
        }
        let header = header.ok_or_else(|| message.error("without a header"))?;
        Ok(ResponseMessage { header, items })
    }

    /// The answer to the request at this place of the batch (0 for a single request).
    ///
    /// A refusal is an error of `Kind::Server`; a missing answer, an answer to something else or a malformed one is of
    /// `Kind::Protocol`.
    pub fn get<O: Operation>(&self, index: usize) -> Result<O::Response> {
        let item = self.item(index).ok_or_else(|| {
            Error::protocol(format!(
                "the KMIP server did not answer {}: an earlier request of the batch failed",
                O::CODE
            ))
        })?;
        item.check(O::CODE)?;
        match &item.payload {
            Some(payload) => O::Response::decode(payload),
            None => O::Response::decode(&Item::parse(EMPTY_PAYLOAD)?),
        }
        .map_err(|error| error.context(format_args!("the KMIP server's answer to {}", O::CODE)))
    }

    /// The item for the request at this place: by its ID, else by its position.
    pub fn item(&self, index: usize) -> Option<&ResponseItem<'a>> {
        if let [only] = self.items.as_slice()
            && only.operation.is_none()
            && only.unique_batch_item_id.is_none()
            && only.result_status != ResultStatus::SUCCESS
        {
            return Some(only); // The whole message was refused.
        }
        let id = batch_item_id(index);
        let by_id = self
            .items
            .iter()
            .find(|item| item.unique_batch_item_id.as_ref() == Some(&id));
        by_id.or_else(|| {
            self.items
                .get(index)
                .filter(|item| item.unique_batch_item_id.is_none())
        })
    }

    /// Writes the message again, every payload through the types of its operation.
    pub fn encode(&self) -> Result<Secret> {
        let version = self.header.protocol_version;
        let mut writer = Writer::new(version);
        let message = writer.open(Tag::RESPONSE_MESSAGE);
        self.header.encode(Tag::RESPONSE_HEADER, &mut writer);
        for item in &self.items {
            let code = item.operation.unwrap_or_default();
            let payload = item
                .payload
                .as_ref()
                .map(|payload| Response::decode(code, payload))
                .transpose()?;
            writer.structure(Tag::BATCH_ITEM, |w| {
                item.operation.encode(Tag::OPERATION, w);
                item.unique_batch_item_id
                    .encode(Tag::UNIQUE_BATCH_ITEM_ID, w);
                item.result_status.encode(Tag::RESULT_STATUS, w);
                item.result_reason.encode(Tag::RESULT_REASON, w);
                item.result_message.encode(Tag::RESULT_MESSAGE, w);
                item.asynchronous_correlation_value
                    .encode(Tag::ASYNCHRONOUS_CORRELATION_VALUE, w);
                payload.encode(Tag::RESPONSE_PAYLOAD, w);
                item.message_extensions.encode(Tag::MESSAGE_EXTENSION, w);
            });
        }
        writer.close(message);
        writer.finish()
    }
}

impl<'a> ResponseItem<'a> {
    fn decode(item: &Item<'a>) -> Result<ResponseItem<'a>> {
        let mut found = ResponseItem {
            operation: None,
            unique_batch_item_id: None,
            result_status: ResultStatus::default(),
            result_reason: None,
            result_message: None,
            asynchronous_correlation_value: None,
            payload: None,
            message_extensions: Vec::new(),
        };
        let mut status = None;
        let mut parts = item.items()?;
        while let Some(part) = parts.next()? {
            match part.tag {
                Tag::OPERATION => found.operation = Some(OperationCode::decode(&part)?),
                Tag::UNIQUE_BATCH_ITEM_ID => {
                    found.unique_batch_item_id = Some(part.byte_string()?.to_vec())
                }
                Tag::RESULT_STATUS => status = Some(ResultStatus::decode(&part)?),
                Tag::RESULT_REASON => found.result_reason = Some(ResultReason::decode(&part)?),
                // Whatever its encoding: it is only ever shown.
                Tag::RESULT_MESSAGE => {
                    found.result_message = Some(String::from_utf8_lossy(part.bytes()).into_owned())
                }
                Tag::ASYNCHRONOUS_CORRELATION_VALUE => {
                    found.asynchronous_correlation_value = Some(part.byte_string()?.to_vec());
                }
                Tag::RESPONSE_PAYLOAD => found.payload = Some(part),
                Tag::MESSAGE_EXTENSION => found
                    .message_extensions
                    .push(MessageExtension::decode(&part)?),
                _ => {}
            }
        }
        found.result_status = status.ok_or_else(|| item.error("without a result status"))?;
        Ok(found)
    }

    /// An error unless this is a success of `operation`.
    pub fn check(&self, operation: OperationCode) -> Result<()> {
        match self.operation {
            Some(other) if other != operation => Err(Error::protocol(format!(
                "the KMIP server answered {other} where {operation} was asked"
            ))),
            _ if self.result_status == ResultStatus::SUCCESS => Ok(()),
            _ => {
                let message = self.result_message.as_deref();
                Err(reasons::refusal(
                    operation,
                    self.result_status,
                    self.result_reason,
                    message,
                ))
            }
        }
    }
}

/// A response as a server writes it.
pub struct ResponseBatch {
    writer: Writer,
    message: usize,
    count_at: usize,
    count: i32,
    announced: Option<i32>,
}

impl ResponseBatch {
    /// An empty response of this version and time (seconds since 1970).
    pub fn new(version: Version, time_stamp: i64) -> ResponseBatch {
        ResponseBatch::correlated(version, time_stamp, None)
    }

    /// The same, with the Client Correlation Value of the request, which 1.4 and later give back.
    pub fn correlated(version: Version, time_stamp: i64, client: Option<&str>) -> ResponseBatch {
        let mut writer = Writer::new(version);
        let message = writer.open(Tag::RESPONSE_MESSAGE);
        writer.structure(Tag::RESPONSE_HEADER, |w| {
            version.encode(Tag::PROTOCOL_VERSION, w);
            DateTime(time_stamp).encode(Tag::TIME_STAMP, w);
            if let Some(client) = client.filter(|_| version >= Version::V1_4) {
                w.text(Tag::CLIENT_CORRELATION_VALUE, client);
            }
            w.integer(Tag::BATCH_COUNT, 0);
        });
        let count_at = writer.len() - 8;
        ResponseBatch {
            writer,
            message,
            count_at,
            count: 0,
            announced: None,
        }
    }

    /// Says another Batch Count than there are items, as some servers do.
    pub fn announce(&mut self, count: usize) {
        self.announced = i32::try_from(count).ok();
    }

    /// Adds the answer to a request that was done.
    pub fn success(&mut self, operation: OperationCode, id: Option<&[u8]>, payload: &impl Encode) {
        self.item(Some(operation), id, ResultStatus::SUCCESS, |w| {
            payload.encode(Tag::RESPONSE_PAYLOAD, w)
        });
    }

    /// Adds the answer to a request whose result is polled for.
    pub fn pending(&mut self, operation: OperationCode, id: Option<&[u8]>, correlation: &[u8]) {
        self.item(Some(operation), id, ResultStatus::OPERATION_PENDING, |w| {
            w.byte_string(Tag::ASYNCHRONOUS_CORRELATION_VALUE, correlation)
        });
    }

    /// Adds the answer to a request that was done, and undone because a later one of its batch was not.
    pub fn undone(&mut self, operation: OperationCode, id: Option<&[u8]>) {
        self.item(Some(operation), id, ResultStatus::OPERATION_UNDONE, |_| {});
    }

    /// How long the message is so far, in bytes.
    pub fn len(&self) -> usize {
        self.writer.len()
    }

    /// True when there is no item.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds the answer to a request that was not done. Without an operation it stands for the whole message.
    pub fn failure(
        &mut self,
        operation: Option<OperationCode>,
        id: Option<&[u8]>,
        reason: ResultReason,
        message: &str,
    ) {
        self.item(operation, id, ResultStatus::OPERATION_FAILED, |w| {
            reason.encode(Tag::RESULT_REASON, w);
            w.text(Tag::RESULT_MESSAGE, message);
        });
    }

    fn item(
        &mut self,
        operation: Option<OperationCode>,
        id: Option<&[u8]>,
        status: ResultStatus,
        rest: impl FnOnce(&mut Writer),
    ) {
        self.writer.structure(Tag::BATCH_ITEM, |w| {
            operation.encode(Tag::OPERATION, w);
            if let Some(id) = id {
                w.byte_string(Tag::UNIQUE_BATCH_ITEM_ID, id);
            }
            status.encode(Tag::RESULT_STATUS, w);
            rest(w);
        });
        self.count += 1;
    }

    /// The message.
    pub fn finish(mut self) -> Result<Secret> {
        self.writer.patch(
            self.count_at,
            self.announced.unwrap_or(self.count).to_be_bytes(),
        );
        self.writer.close(self.message);
        self.writer.finish()
    }
}
