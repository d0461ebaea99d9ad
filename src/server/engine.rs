//! Requests in, responses out: the message around the operations.

use std::sync::Arc;

use super::audit::named::Named;
use super::budget::{self, Gone, Meter, Quotas};
use super::clients::{Clients, Counted};
use super::context::Context;
use super::crypto::Streams;
use super::fault::Fault;
use super::objects::{Object, Objects, Outcome, Refusal, not_there, now};
use super::pending::{Pending, is_immediate, is_wanted};
use super::personality::Personality;
use super::wording::client_text;
use crate::error::Error;
use crate::kmip::message::{RequestItem, RequestMessage, ResponseBatch};
use crate::kmip::*;
use crate::secret::Secret;
use crate::ttlv::{ItemType, Tag};
use crate::version::Version;

/// A server without its network: its character and what it holds. Requests are answered side by side; what they change is
/// ordered by [`Objects`].
pub struct Engine {
    /// How it behaves.
    pub personality: Personality,
    /// What it holds.
    pub objects: Objects,
    /// User name and password that every request must carry.
    pub credential: Option<(String, Secret)>,
    /// What requests and clients may take of it.
    pub quotas: Quotas,
    /// Who is connected and busy.
    pub(super) clients: Arc<Clients>,
    /// Operations that go on over several requests.
    pub(super) streams: Streams,
    /// Answers that wait for their clients.
    pub(super) pending: Pending,
}

/// Who asks, by the certificate of its connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// Whose objects it makes: an owner as [`identity`](super::identity) writes it.
    pub name: String,
    /// Organisational units: clients with one in common share their objects.
    pub groups: Vec<String>,
    /// The owner that its objects had before owners were typed.
    pub formerly: Option<String>,
}

/// What a request was about, as far as it could be read.
#[derive(Default)]
pub struct Heard {
    /// Version of its header.
    pub version: Option<Version>,
    /// Operations of its items.
    pub operations: Vec<OperationCode>,
}

/// An answer, and what became of each item of the request.
pub struct Answer {
    /// The message; empty where this server falls silent.
    pub bytes: Secret,
    /// For the audit log: operation, object, and why it was refused.
    pub done: Vec<Done>,
    /// The work that it took, in units.
    pub work: u64,
}

/// What became of one item.
pub struct Done {
    /// What was asked; `None` when the message could not be read.
    pub operation: Option<OperationCode>,
    /// The object it was about.
    pub object: Option<String>,
    /// Every object that it named, used, made or found.
    pub objects: Named,
    /// Why it was refused.
    pub refused: Option<ResultReason>,
    /// It was done, and undone because a later item was refused.
    pub undone: bool,
}

/// A connection of a client.
struct Connection<'a> {
    engine: &'a Engine,
    name: String,
    counted: Option<Counted>,
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        self.counted = None;
        if !self.engine.clients.is_connected(&self.name) {
            self.engine.streams.end_all(&self.name);
        }
    }
}

impl Engine {
    /// A server of this character.
    pub fn new(personality: Personality, objects: Objects) -> Engine {
        let quotas = Quotas::default();
        Engine {
            personality,
            objects,
            credential: None,
            quotas,
            clients: Arc::new(Clients::new(quotas.requests)),
            streams: Streams::default(),
            pending: Pending::default(),
        }
    }

    /// The same with other quotas.
    pub fn with_quotas(self, quotas: Quotas) -> Engine {
        Engine {
            quotas,
            clients: Arc::new(Clients::new(quotas.requests)),
            ..self
        }
    }

    /// A connection of this client. What the client has begun ends with its last one.
    pub fn connected<'a>(&'a self, caller: &Caller) -> impl Drop + use<'a> {
        Connection {
            engine: self,
            name: caller.name.clone(),
            counted: Some(self.clients.connected(&caller.name)),
        }
    }

    /// What a request asks, without doing it.
    pub fn hear(frame: &[u8]) -> Heard {
        match RequestMessage::decode(frame) {
            Ok(message) => Heard {
                version: Some(message.header.protocol_version),
                operations: message.items.iter().map(|item| item.operation).collect(),
            },
            Err(_) => Heard {
                version: None,
                operations: Vec::new(),
            },
        }
    }

    /// Does what a request of `caller` asks, and answers; nothing where this server would fall silent. `fault` changes the
    /// answer where it is one of the answer's faults.
    pub fn answer(&self, caller: &Caller, frame: &[u8], fault: Option<&Fault>) -> Answer {
        self.answer_to(caller, frame, fault, None)
    }

    /// The same for a client that may go away meanwhile: what takes long then ends.
    pub fn answer_to(
        &self,
        caller: &Caller,
        frame: &[u8],
        fault: Option<&Fault>,
        gone: Option<Gone>,
    ) -> Answer {
        let mut done = Vec::new();
        let mut work = 0;
        let is_gone = || gone.as_ref().is_some_and(|gone| gone());
        let Some(_counted) = self.clients.request(&caller.name, is_gone) else {
            let bytes = Secret::default();
            return Answer { bytes, done, work };
        };
        let (version, outcome) = match RequestMessage::decode(frame) {
            Err(error) => {
                let version = RequestMessage::version_of(frame).unwrap_or(Version::V1_0);
                (
                    version,
                    Err((ResultReason::INVALID_MESSAGE, client_text(&error))),
                )
            }
            Ok(message) => {
                let version = message.header.protocol_version;
                let meter = Meter::new(
                    version,
                    &self.quotas,
                    &caller.name,
                    &self.clients,
                    gone.clone(),
                );
                let mut context = Context::new(caller, &message, meter);
                let outcome = self
                    .acceptable(&message)
                    .and_then(|()| self.run(&mut context, &message, fault, &mut done));
                work = context.meter.spent();
                let most = message
                    .header
                    .maximum_response_size
                    .map_or(usize::MAX, |most| most.max(0) as usize);
                let outcome = match outcome {
                    Ok(answer) if answer.len() > most => self.too_large(&message, answer.len()),
                    other => other,
                };
                (message.header.protocol_version, outcome)
            }
        };
        let bytes = outcome.unwrap_or_else(|(reason, text)| {
            done.push(Done {
                operation: None,
                object: None,
                objects: Named::default(),
                refused: Some(reason),
                undone: false,
            });
            self.refuse_message(version, reason, &text)
        });
        Answer { bytes, done, work }
    }

    /// The refusal of an answer that is larger than its client takes: of its item, where there is one only.
    fn too_large(
        &self,
        message: &RequestMessage<'_>,
        len: usize,
    ) -> Result<Secret, (ResultReason, String)> {
        let text = format!("the answer has {len} bytes, more than Maximum Response Size");
        let [item] = message.items.as_slice() else {
            return Err((ResultReason::RESPONSE_TOO_LARGE, text));
        };
        let mut batch = ResponseBatch::new(message.header.protocol_version, now());
        let id = item.unique_batch_item_id.as_deref();
        batch.failure(
            Some(item.operation),
            id,
            ResultReason::RESPONSE_TOO_LARGE,
            &text,
        );
        batch
            .finish()
            .map_err(|e| (ResultReason::GENERAL_FAILURE, client_text(&e)))
    }

    /// Whether the message as a whole can be done here.
    fn acceptable(&self, message: &RequestMessage<'_>) -> Result<(), (ResultReason, String)> {
        let (header, items) = (&message.header, &message.items);
        let invalid = |text: &str| Err((ResultReason::INVALID_MESSAGE, text.to_owned()));
        let unsupported = |text: &str| Err((ResultReason::FEATURE_NOT_SUPPORTED, text.to_owned()));
        if !self.personality.versions.contains(&header.protocol_version) {
            return invalid("this protocol version is not supported");
        }
        if header.batch_count != items.len() as i32 || items.is_empty() {
            return invalid("Batch Count is not the number of items");
        }
        if items.len() > 1 && !self.personality.batches {
            return invalid("one item per message");
        }
        let insists = header
            .asynchronous_indicator
            .is_some_and(|wanted| wanted.0 == AsynchronousIndicator::MANDATORY);
        if insists && !(is_wanted(header) && self.personality.answers_later()) {
            return unsupported("the answers to this message cannot be asynchronous");
        }
        if items.len() > 1 && items.iter().any(|item| item.unique_batch_item_id.is_none()) {
            return invalid("items without Unique Batch Item ID");
        }
        if header.batch_error_continuation_option == Some(BatchErrorContinuationOption::UNDO)
            && !self.personality.undoes_batch
        {
            return unsupported("Undo is not supported");
        }
        if self.personality.checks_time
            && header
                .time_stamp
                .is_some_and(|stamp| (stamp.0 - now()).abs() > 60)
        {
            return invalid("the time stamp is not now");
        }
        if let Some((username, password)) = &self.credential {
            let said = header
                .authentication
                .iter()
                .flat_map(|authentication| &authentication.credentials)
                .any(|credential| {
                    let value = &credential.credential_value;
                    value.username.as_ref() == Some(username)
                        && value
                            .password
                            .as_ref()
                            .is_some_and(|said| said.0 == *password)
                });
            if !said {
                return Err((
                    ResultReason::AUTHENTICATION_NOT_SUCCESSFUL,
                    "user name or password is wrong".to_owned(),
                ));
            }
        }
        let unknown = |item: &RequestItem<'_>| {
            !self.personality.operations.contains(&item.operation)
                || header.protocol_version < item.operation.since()
        };
        if self.personality.unknown_operation_breaks && items.iter().any(unknown) {
            return invalid("unknown operation");
        }
        Ok(())
    }

    fn run(
        &self,
        context: &mut Context,
        message: &RequestMessage<'_>,
        fault: Option<&Fault>,
        done: &mut Vec<Done>,
    ) -> Result<Secret, (ResultReason, String)> {
        let version = message.header.protocol_version;
        let correlation = message.header.client_correlation_value.as_deref();
        let empty = || {
            let mut batch = ResponseBatch::correlated(version, now(), correlation);
            if self.personality.announces_all_items {
                batch.announce(message.items.len());
            }
            batch
        };
        let mut batch = empty();
        let on_error = message.header.batch_error_continuation_option;
        let goes_on = on_error == Some(BatchErrorContinuationOption::CONTINUE)
            || !self.personality.stops_batch;
        let id = |item: &RequestItem<'_>| match fault {
            Some(Fault::WrongBatchId) => Some(b"another".to_vec()),
            _ => item.unique_batch_item_id.clone(),
        };
        let later = is_wanted(&message.header) && self.personality.answers_later();
        let mut outcomes = Vec::new();
        for item in &message.items {
            let outcome = match fault {
                Some(Fault::Fail(reason)) => Err(Refusal::item(*reason, "the script says so")),
                _ if batch.len() > self.quotas.answer => Err(Refusal::item(
                    ResultReason::RESPONSE_TOO_LARGE,
                    "the answers to the items before are too long already",
                )),
                _ => {
                    context.operation = item.operation;
                    self.perform(item, context)
                }
            };
            let refused = match &outcome {
                Ok(_) => None,
                Err(Refusal::Item(reason, _) | Refusal::Message(reason, _)) => Some(*reason),
            };
            // What the item named, else what it made or found.
            let named = item.payload.find(Tag::UNIQUE_IDENTIFIER).ok().flatten();
            let named = named.and_then(|uid| uid.text().ok().map(str::to_owned));
            let object = named.or_else(|| context.placeholder.clone());
            let mut objects = Named::default();
            objects.add_payload(&item.payload);
            objects.join(context.involved.take());
            done.push(Done {
                operation: Some(item.operation),
                object,
                objects,
                refused,
                undone: false,
            });
            match outcome {
                Err(Refusal::Message(reason, text)) if self.personality.malformed_item_breaks => {
                    return Err((reason, text));
                }
                Err(Refusal::Item(reason, text) | Refusal::Message(reason, text)) => {
                    batch.failure(Some(item.operation), id(item).as_deref(), reason, &text);
                    outcomes.push((item, Some((reason, text))));
                }
                Ok(response) => {
                    let before = batch.len();
                    // Poll is answered as the operation that it asks for.
                    let operation = match item.operation {
                        OperationCode::POLL => response.code(),
                        asked => asked,
                    };
                    let kept = match later && !is_immediate(item.operation) {
                        true => self.pending.put(&context.caller.name, version, response),
                        false => Err(response),
                    };
                    match kept {
                        Ok(correlation) => {
                            batch.pending(operation, id(item).as_deref(), &correlation)
                        }
                        Err(response) => batch.success(operation, id(item).as_deref(), &response),
                    }
                    context.meter.note(budget::of_bytes(batch.len() - before));
                    outcomes.push((item, None));
                }
            }
            let more = outcomes.len() < message.items.len();
            if (refused.is_some() && !goes_on) || (more && context.meter.is_abandoned()) {
                break;
            }
        }
        let failed = outcomes.iter().any(|(_, refusal)| refusal.is_some());
        if failed && let Some(undo) = context.undo.take() {
            let failed = |e: Error| {
                let why = client_text(&e);
                (
                    ResultReason::GENERAL_FAILURE,
                    format!("an item failed, and those before it cannot be undone: {why}"),
                )
            };
            undo.put_back(&self.objects).map_err(failed)?;
            done.iter_mut()
                .for_each(|item| item.undone = item.refused.is_none());
            for correlation in &context.begun {
                self.streams.end(&context.caller.name, correlation);
            }
            // What was undone has no result: neither ciphertext nor value is given out.
            batch = empty();
            for (item, refusal) in outcomes {
                match refusal {
                    None => batch.undone(item.operation, id(item).as_deref()),
                    Some((reason, text)) => {
                        batch.failure(Some(item.operation), id(item).as_deref(), reason, &text);
                    }
                }
            }
        }
        if context.silent {
            return Ok(Secret::default());
        }
        let mut answer = batch
            .finish()
            .map_err(|e| (ResultReason::GENERAL_FAILURE, client_text(&e)))?;
        if self.personality.long_time_stamp {
            answer = with_byte(answer, STAMP_TYPE_AT, ItemType::LONG_INTEGER.0);
        }
        if let Some(Fault::WrongVersion(other)) = fault {
            answer = with_number(answer, MAJOR_AT, other.major.into());
            answer = with_number(answer, MINOR_AT, other.minor.into());
        }
        Ok(answer)
    }

    /// The object a request names, or the placeholder.
    pub fn resolve(
        &self,
        context: &Context,
        uid: Option<UniqueIdentifier>,
    ) -> Outcome<Arc<Object>> {
        let get = |uid: &str| {
            context.object(self, uid).map_err(|refusal| match refusal {
                Refusal::Item(ResultReason::ITEM_NOT_FOUND, text) => {
                    not_there(context.version, ResultReason::OBJECT_NOT_FOUND, &text)
                }
                other => other,
            })
        };
        let placeholder = match uid {
            Some(UniqueIdentifier::Text(uid)) => return get(&uid),
            _ if !self.personality.placeholder => {
                return Err(Refusal::message("no Unique Identifier"));
            }
            Some(UniqueIdentifier::Index(place)) => context.at(place),
            Some(UniqueIdentifier::Placeholder(placeholder)) => context.placed(placeholder),
            None => context.placeholder.as_ref(),
        };
        match placeholder {
            Some(uid) => get(uid),
            None => Err(not_there(
                context.version,
                ResultReason::OBJECT_NOT_FOUND,
                "no object was named before",
            )),
        }
    }

    /// The answer to a request that is not done, or whose outcome is not told.
    pub fn refuse(&self, frame: &[u8], why: &str) -> Secret {
        let version = RequestMessage::version_of(frame).unwrap_or(Version::V1_0);
        self.refuse_message(version, ResultReason::GENERAL_FAILURE, why)
    }

    /// The answer to what is no message, or is longer than this server takes.
    pub fn unreadable(&self, why: &str) -> Secret {
        self.refuse_message(Version::V1_0, ResultReason::INVALID_MESSAGE, why)
    }

    fn refuse_message(&self, version: Version, reason: ResultReason, text: &str) -> Secret {
        // In the newest version that is not newer than the client's, else in the oldest.
        let spoken = self.personality.versions.iter().copied();
        let version = match self.personality.errors_in_1_0 {
            true => Version::V1_0,
            false => spoken
                .clone()
                .filter(|own| *own <= version)
                .max()
                .or(spoken.min())
                .unwrap_or(Version::V1_0),
        };
        let mut batch = ResponseBatch::new(version, now());
        batch.failure(None, None, reason, text);
        batch.finish().expect("a refusal can always be written")
    }
}

/// Where the numbers of a response's header lie: behind the headers (8 bytes each) of message, header and version come major
/// and minor (16 each), then the time stamp.
const MAJOR_AT: usize = 32;
const MINOR_AT: usize = 48;
const STAMP_TYPE_AT: usize = 59;

/// The answer with another number in its header.
fn with_number(answer: Secret, at: usize, number: i32) -> Secret {
    let mut bytes = answer.expose().to_vec();
    bytes[at..at + 4].copy_from_slice(&number.to_be_bytes());
    Secret::new(bytes)
}

/// The answer with another byte in its header.
fn with_byte(answer: Secret, at: usize, byte: u8) -> Secret {
    let mut bytes = answer.expose().to_vec();
    bytes[at] = byte;
    Secret::new(bytes)
}
