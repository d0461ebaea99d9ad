//! Requests in, responses out: the message around the operations.

use mrhsm_pkcs11::error::Error;
use mrhsm_pkcs11::kmip::message::{RequestItem, RequestMessage, ResponseBatch};
use mrhsm_pkcs11::kmip::*;
use mrhsm_pkcs11::secret::Secret;
use mrhsm_pkcs11::ttlv::{ItemType, Tag};
use mrhsm_pkcs11::version::Version;

use super::objects::{Objects, Outcome, Refusal, now};
use super::personality::Personality;
use super::script::Fault;
use super::{attributes, crypto, lifecycle};

/// A server without its network: its character and what it holds.
pub struct Engine {
    pub personality: Personality,
    pub objects: Objects,
    /// User name and password that every request must carry.
    pub credential: Option<(String, String)>,
}

/// What a request was about, as far as it could be read.
pub struct Heard {
    pub version: Option<Version>,
    pub operations: Vec<OperationCode>,
}

/// What an item's operation needs to know of the message it stands in.
pub struct Context {
    pub version: Version,
    /// ID placeholder: the object that the last item was about.
    pub placeholder: Option<String>,
    /// There will be no answer.
    pub silent: bool,
}

impl Engine {
    /// A server that holds nothing.
    pub fn new(personality: Personality) -> Engine {
        Engine { personality, objects: Objects::default(), credential: None }
    }

    /// What a request asks, without doing it.
    pub fn hear(frame: &[u8]) -> Heard {
        match RequestMessage::decode(frame) {
            Ok(message) => Heard {
                version: Some(message.header.protocol_version),
                operations: message.items.iter().map(|item| item.operation).collect(),
            },
            Err(_) => Heard { version: None, operations: Vec::new() },
        }
    }

    /// Does what a request asks, and answers; nothing where this server would fall silent. `fault` changes the answer where it is one of the answer's faults.
    pub fn answer(&mut self, frame: &[u8], fault: Option<&Fault>) -> Secret {
        let message = match RequestMessage::decode(frame) {
            Ok(message) => message,
            Err(error) => return self.refuse_message(Version::V1_0, ResultReason::INVALID_MESSAGE, &error.to_string()),
        };
        let version = message.header.protocol_version;
        if let Err((reason, text)) = self.acceptable(&message) {
            return self.refuse_message(version, reason, &text);
        }
        let answer = match self.run(&message, fault) {
            Ok(answer) => answer,
            Err((reason, text)) => return self.refuse_message(version, reason, &text),
        };
        match message.header.maximum_response_size {
            Some(most) if answer.len() > most.max(0) as usize => {
                self.refuse_message(version, ResultReason::RESPONSE_TOO_LARGE, "the answer is larger than you take")
            }
            _ => answer,
        }
    }

    /// Whether the message as a whole can be done here.
    fn acceptable(&self, message: &RequestMessage<'_>) -> Result<(), (ResultReason, String)> {
        let (header, items) = (&message.header, &message.items);
        let invalid = |text: &str| Err((ResultReason::INVALID_MESSAGE, text.to_owned()));
        if !self.personality.versions.contains(&header.protocol_version) {
            return invalid("this protocol version is not supported");
        }
        if header.batch_count != items.len() as i32 || items.is_empty() {
            return invalid("Batch Count is not the number of items");
        }
        if items.len() > 1 && !self.personality.batches {
            return invalid("one item per message");
        }
        if items.len() > 1 && items.iter().any(|item| item.unique_batch_item_id.is_none()) {
            return invalid("items without Unique Batch Item ID");
        }
        if header.batch_error_continuation_option == Some(BatchErrorContinuationOption::UNDO) {
            return invalid("Undo is not supported");
        }
        if header.time_stamp.is_some_and(|stamp| (stamp.0 - now()).abs() > 60) {
            return invalid("the time stamp is not now");
        }
        if let Some((username, password)) = &self.credential {
            let said = header.authentication.iter().flat_map(|authentication| &authentication.credentials).any(|credential| {
                let value = &credential.credential_value;
                value.username.as_ref() == Some(username)
                    && value.password.as_ref().is_some_and(|said| said.0.expose() == password.as_bytes())
            });
            if !said {
                return Err((ResultReason::AUTHENTICATION_NOT_SUCCESSFUL, "user name or password is wrong".to_owned()));
            }
        }
        let unknown = |item: &RequestItem<'_>| {
            !self.personality.operations.contains(&item.operation) || header.protocol_version < since(item.operation)
        };
        if self.personality.unknown_operation_breaks && items.iter().any(unknown) {
            return invalid("unknown operation");
        }
        Ok(())
    }

    fn run(&mut self, message: &RequestMessage<'_>, fault: Option<&Fault>) -> Result<Secret, (ResultReason, String)> {
        let version = message.header.protocol_version;
        let mut batch = ResponseBatch::new(version, now());
        let mut context = Context { version, placeholder: None, silent: false };
        let goes_on = message.header.batch_error_continuation_option == Some(BatchErrorContinuationOption::CONTINUE)
            || !self.personality.stops_batch;
        for item in &message.items {
            let mut id = item.unique_batch_item_id.clone();
            if fault == Some(&Fault::WrongBatchId) {
                id = Some(b"another".to_vec());
            }
            let outcome = match fault {
                Some(Fault::Fail(reason)) => Err(Refusal::item(*reason, "the script says so")),
                _ => self.perform(item, &mut context),
            };
            match outcome {
                Ok(response) => batch.success(item.operation, id.as_deref(), &response),
                Err(Refusal::Message(reason, text)) => return Err((reason, text)),
                Err(Refusal::Item(reason, text)) => {
                    batch.failure(Some(item.operation), id.as_deref(), reason, &text);
                    if !goes_on {
                        break;
                    }
                }
            }
        }
        if context.silent {
            return Ok(Secret::default());
        }
        let mut answer = batch.finish().map_err(|e| (ResultReason::GENERAL_FAILURE, e.to_string()))?;
        if self.personality.announces_all_items {
            answer = with_number(answer, COUNT_AT, message.items.len() as i32);
        }
        if self.personality.long_time_stamp {
            answer = with_byte(answer, STAMP_TYPE_AT, ItemType::LONG_INTEGER.0);
        }
        if let Some(Fault::WrongVersion(other)) = fault {
            answer = with_number(answer, MAJOR_AT, other.major.into());
            answer = with_number(answer, MINOR_AT, other.minor.into());
        }
        Ok(answer)
    }

    fn perform(&mut self, item: &RequestItem<'_>, context: &mut Context) -> Outcome<Response> {
        let version = context.version;
        if !self.personality.operations.contains(&item.operation) || version < since(item.operation) {
            let text = format!("{} is not supported", item.operation);
            return Err(Refusal::item(ResultReason::OPERATION_NOT_SUPPORTED, text));
        }
        let invalid = |e: Error| Refusal::Message(ResultReason::INVALID_MESSAGE, e.to_string());
        let request = Request::decode(item.operation, &item.payload).map_err(invalid)?;
        let no_filters = || item.payload.find(Tag::ATTRIBUTES).map(|found| found.is_none()).map_err(invalid);
        if item.operation == OperationCode::LOCATE && version.typed_attributes() && no_filters()? {
            return Err(Refusal::Message(ResultReason::INVALID_MESSAGE, "Locate without Attributes".into()));
        }
        match request {
            Request::DiscoverVersions(request) => Ok(self.discover(&request).into()),
            Request::Query(request) => Ok(self.query(&request, version).into()),
            Request::Create(request) => lifecycle::create(self, context, *request).map(Into::into),
            Request::CreateKeyPair(request) => lifecycle::create_key_pair(self, context, *request).map(Into::into),
            Request::Register(request) => lifecycle::register(self, context, *request).map(Into::into),
            Request::ReKey(request) => lifecycle::re_key(self, context, *request).map(Into::into),
            Request::Locate(request) => super::locate::locate(self, context, *request).map(Into::into),
            Request::Check(request) => lifecycle::check(self, context, *request).map(Into::into),
            Request::Get(request) => lifecycle::get(self, context, *request).map(Into::into),
            Request::GetAttributes(request) => {
                let answer = attributes::get(self, context, *request)?;
                let nothing = answer.attributes.is_empty() && version.typed_attributes();
                context.silent |= nothing && self.personality.silent_on_nothing;
                Ok(answer.into())
            }
            Request::GetAttributeList(request) => attributes::list(self, context, *request).map(Into::into),
            Request::AddAttribute(request) => attributes::add(self, context, *request).map(Into::into),
            Request::ModifyAttribute(request) => attributes::modify(self, context, *request).map(Into::into),
            Request::DeleteAttribute(request) => attributes::delete(self, context, *request).map(Into::into),
            Request::SetAttribute(request) => attributes::set(self, context, *request).map(Into::into),
            Request::Activate(request) => lifecycle::activate(self, context, *request).map(Into::into),
            Request::Revoke(request) => lifecycle::revoke(self, context, *request).map(Into::into),
            Request::Destroy(request) => lifecycle::destroy(self, context, *request).map(Into::into),
            Request::Encrypt(request) => crypto::encrypt(self, context, *request).map(Into::into),
            Request::Decrypt(request) => crypto::decrypt(self, context, *request).map(Into::into),
            Request::Sign(request) => crypto::sign(self, context, *request).map(Into::into),
            Request::SignatureVerify(request) => crypto::verify(self, context, *request).map(Into::into),
            Request::Mac(request) => crypto::mac(self, context, *request).map(Into::into),
            Request::MacVerify(request) => crypto::mac_verify(self, context, *request).map(Into::into),
            Request::RngRetrieve(request) => crypto::random(*request).map(Into::into),
            other => {
                let text = format!("{} is not supported", other.code());
                Err(Refusal::item(ResultReason::OPERATION_NOT_SUPPORTED, text))
            }
        }
    }

    fn discover(&self, request: &DiscoverVersionsRequest) -> DiscoverVersionsResponse {
        let asked = &request.protocol_versions;
        let both = |version: &&Version| asked.is_empty() || asked.contains(version);
        DiscoverVersionsResponse { protocol_versions: self.personality.versions.iter().filter(both).copied().collect() }
    }

    fn query(&self, request: &QueryRequest, version: Version) -> QueryResponse {
        let mut answer = QueryResponse::default();
        for function in &request.query_functions {
            match *function {
                QueryFunction::QUERY_OPERATIONS => {
                    let announced = |op: &&OperationCode| !self.personality.unannounced.contains(op) && version >= since(**op);
                    answer.operations = self.personality.operations.iter().filter(announced).copied().collect();
                }
                QueryFunction::QUERY_OBJECTS => {
                    answer.object_types = vec![
                        ObjectType::CERTIFICATE,
                        ObjectType::SYMMETRIC_KEY,
                        ObjectType::PUBLIC_KEY,
                        ObjectType::PRIVATE_KEY,
                        ObjectType::SECRET_DATA,
                        ObjectType::OPAQUE_OBJECT,
                    ];
                }
                QueryFunction::QUERY_SERVER_INFORMATION => {
                    answer.vendor_identification = Some(format!("{} (mrhsm test server)", self.personality.name));
                }
                _ => {}
            }
        }
        answer
    }

    /// The object a request names, or the placeholder.
    pub fn resolve(&self, context: &Context, uid: Option<UniqueIdentifier>) -> Outcome<String> {
        let invalid = |text: &str| Err(Refusal::Message(ResultReason::INVALID_MESSAGE, text.to_owned()));
        match uid {
            Some(UniqueIdentifier::Text(uid)) => self.objects.get(&uid).map(|object| object.uid.clone()),
            _ if !self.personality.placeholder => invalid("no Unique Identifier"),
            None | Some(UniqueIdentifier::Placeholder(_)) => match &context.placeholder {
                Some(uid) => Ok(uid.clone()),
                None => Err(Refusal::item(ResultReason::ITEM_NOT_FOUND, "no object was named before")),
            },
            Some(UniqueIdentifier::Index(_)) => invalid("identifiers by number are not supported"),
        }
    }

    fn refuse_message(&self, version: Version, reason: ResultReason, text: &str) -> Secret {
        let version = match self.personality.errors_in_1_0 || !self.personality.versions.contains(&version) {
            true => Version::V1_0,
            false => version,
        };
        let mut batch = ResponseBatch::new(version, now());
        batch.failure(None, None, reason, text);
        batch.finish().expect("a refusal can always be written")
    }
}

/// Where the numbers of a response's header lie: behind the headers (8 bytes each) of message, header and version come major
/// and minor (16 each), then the time stamp (16) and Batch Count.
const MAJOR_AT: usize = 32;
const MINOR_AT: usize = 48;
const STAMP_TYPE_AT: usize = 59;
const COUNT_AT: usize = 80;

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

/// The version that brought an operation.
fn since(operation: OperationCode) -> Version {
    match operation {
        OperationCode::DISCOVER_VERSIONS => Version::V1_1,
        OperationCode::SET_ATTRIBUTE => Version::V2_0,
        OperationCode::ENCRYPT
        | OperationCode::DECRYPT
        | OperationCode::SIGN
        | OperationCode::SIGNATURE_VERIFY
        | OperationCode::MAC
        | OperationCode::MAC_VERIFY
        | OperationCode::RNG_RETRIEVE => Version::V1_2,
        _ => Version::V1_0,
    }
}
