//! Requests in, responses out: the message around the operations.

use crate::error::Error;
use crate::kmip::message::{RequestItem, RequestMessage, ResponseBatch};
use crate::kmip::*;
use crate::secret::Secret;
use crate::ttlv::{Field, ItemType, Tag, Value};
use crate::version::Version;

use std::cell::RefCell;
use std::sync::Arc;

use super::audit::named::Named;
use super::crypto::Streams;
use super::fault::Fault;
use super::objects::{Object, Objects, Outcome, Refusal, Transaction, not_there, now, reason};
use super::personality::Personality;
use super::undo::Undo;
use super::{
    attributes, certify, crypto, derive, get, lifecycle, locate, make, mistakes, split, validate,
};

/// A server without its network: its character and what it holds. Requests are answered side by side; what they change is
/// ordered by [`Objects`].
pub struct Engine {
    /// How it behaves.
    pub personality: Personality,
    /// What it holds.
    pub objects: Objects,
    /// User name and password that every request must carry.
    pub credential: Option<(String, Secret)>,
    /// Operations that go on over several requests.
    pub(super) streams: Streams,
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

/// What an item's operation needs to know of the message it stands in.
pub struct Context {
    /// Version of the message.
    pub version: Version,
    /// Who asks.
    pub caller: Caller,
    /// What the item asks.
    pub operation: OperationCode,
    /// ID placeholder: the object that the last item was about.
    pub placeholder: Option<String>,
    /// Identifiers that the items before have answered, and what was asked.
    pub answered: Vec<(OperationCode, String)>,
    /// There will be no answer.
    pub silent: bool,
    /// What the message has changed, where that may have to be undone.
    pub undo: Option<Undo>,
    /// The objects that the item has to do with.
    pub involved: RefCell<Named>,
}

impl Context {
    /// Changes objects: all that `change` puts or removes takes effect together, or not at all when it fails.
    pub fn change<T>(
        &self,
        engine: &Engine,
        change: impl FnOnce(&mut Transaction<'_>) -> Outcome<T>,
    ) -> Outcome<T> {
        engine
            .objects
            .change(&self.caller, self.undo.as_ref(), |transaction| {
                let changed = change(transaction)?;
                let mut involved = self.involved.borrow_mut();
                transaction.uids().for_each(|uid| involved.add(uid));
                Ok(changed)
            })
    }

    /// An object that the client may know of.
    pub fn object(&self, engine: &Engine, uid: &str) -> Outcome<Arc<Object>> {
        self.involved.borrow_mut().add(uid);
        engine.objects.get(uid, &self.caller)
    }

    /// Makes an object the one that following items are about, and gives its identifier for the answer.
    pub fn about(&mut self, object: &Object) -> String {
        self.named(&object.uid)
    }

    /// The same for an identifier.
    pub fn named(&mut self, uid: &str) -> String {
        self.involved.borrow_mut().add(uid);
        self.placeholder = Some(uid.to_owned());
        self.answered.push((self.operation, uid.to_owned()));
        uid.to_owned()
    }

    /// The same for a pair, whose private half following items are about.
    pub fn named_pair(&mut self, private: &str, public: &str) {
        self.named(private);
        self.answered.push((self.operation, public.to_owned()));
    }

    /// What a placeholder stands for (spec 2.1, 4.61 and 11.60).
    fn placed(&self, placeholder: UniqueIdentifierPlaceholder) -> Option<&String> {
        use UniqueIdentifierPlaceholder as Place;
        let (operation, back) = match placeholder {
            Place::CERTIFY => (OperationCode::CERTIFY, 0),
            Place::CREATE => (OperationCode::CREATE, 0),
            Place::CREATE_KEY_PAIR | Place::CREATE_KEY_PAIR_PRIVATE_KEY => {
                (OperationCode::CREATE_KEY_PAIR, 1)
            }
            Place::CREATE_KEY_PAIR_PUBLIC_KEY => (OperationCode::CREATE_KEY_PAIR, 0),
            Place::CREATE_SPLIT_KEY => (OperationCode::CREATE_SPLIT_KEY, 0),
            Place::DERIVE_KEY => (OperationCode::DERIVE_KEY, 0),
            Place::IMPORT => (OperationCode::IMPORT, 0),
            Place::JOIN_SPLIT_KEY => (OperationCode::JOIN_SPLIT_KEY, 0),
            Place::LOCATE => (OperationCode::LOCATE, 0),
            Place::REGISTER => (OperationCode::REGISTER, 0),
            Place::RE_KEY => (OperationCode::RE_KEY, 0),
            Place::RE_CERTIFY => (OperationCode::RE_CERTIFY, 0),
            Place::RE_KEY_KEY_PAIR | Place::RE_KEY_KEY_PAIR_PRIVATE_KEY => {
                (OperationCode::RE_KEY_KEY_PAIR, 1)
            }
            Place::RE_KEY_KEY_PAIR_PUBLIC_KEY => (OperationCode::RE_KEY_KEY_PAIR, 0),
            _ => return self.placeholder.as_ref(),
        };
        let of_it = self
            .answered
            .iter()
            .rev()
            .filter(|(asked, _)| *asked == operation);
        of_it.map(|(_, uid)| uid).nth(back)
    }

    /// The identifier at this place of those that were answered: counted from 0, or backwards from the last with -1.
    fn at(&self, place: i32) -> Option<&String> {
        let place = match usize::try_from(place) {
            Ok(place) => Some(place),
            Err(_) => self
                .answered
                .len()
                .checked_sub(place.unsigned_abs() as usize),
        };
        place
            .and_then(|place| self.answered.get(place))
            .map(|(_, uid)| uid)
    }
}

impl Engine {
    /// A server of this character.
    pub fn new(personality: Personality, objects: Objects) -> Engine {
        Engine {
            personality,
            objects,
            credential: None,
            streams: Streams::default(),
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
        let mut done = Vec::new();
        let (version, outcome) = match RequestMessage::decode(frame) {
            Err(error) => {
                let version = RequestMessage::version_of(frame).unwrap_or(Version::V1_0);
                (
                    version,
                    Err((ResultReason::INVALID_MESSAGE, error.to_string())),
                )
            }
            Ok(message) => {
                let outcome = self
                    .acceptable(&message)
                    .and_then(|()| self.run(caller, &message, fault, &mut done));
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
        Answer { bytes, done }
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
            .map_err(|e| (ResultReason::GENERAL_FAILURE, e.to_string()))
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
        if header
            .asynchronous_indicator
            .is_some_and(|wanted| wanted.0 == AsynchronousIndicator::MANDATORY)
        {
            return unsupported("asynchronous answers are not supported");
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
        caller: &Caller,
        message: &RequestMessage<'_>,
        fault: Option<&Fault>,
        done: &mut Vec<Done>,
    ) -> Result<Secret, (ResultReason, String)> {
        let version = message.header.protocol_version;
        let correlation = message.header.client_correlation_value.as_deref();
        let mut batch = ResponseBatch::correlated(version, now(), correlation);
        if self.personality.announces_all_items {
            batch.announce(message.items.len());
        }
        let on_error = message.header.batch_error_continuation_option;
        let mut context = Context {
            version,
            caller: caller.clone(),
            operation: OperationCode::default(),
            placeholder: None,
            answered: Vec::new(),
            silent: false,
            involved: RefCell::default(),
            undo: (on_error == Some(BatchErrorContinuationOption::UNDO)).then(Undo::default),
        };
        let goes_on = on_error == Some(BatchErrorContinuationOption::CONTINUE)
            || !self.personality.stops_batch;
        let mut outcomes = Vec::new();
        for item in &message.items {
            let outcome = match fault {
                Some(Fault::Fail(reason)) => Err(Refusal::item(*reason, "the script says so")),
                _ => {
                    context.operation = item.operation;
                    self.perform(item, &mut context)
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
                outcome => outcomes.push((item, outcome)),
            }
            if refused.is_some() && !goes_on {
                break;
            }
        }
        let undone = outcomes.iter().any(|(_, outcome)| outcome.is_err()) && context.undo.is_some();
        if undone && let Some(undo) = context.undo.take() {
            let failed = |e| {
                (
                    ResultReason::GENERAL_FAILURE,
                    format!("an item failed, and those before it cannot be undone: {e}"),
                )
            };
            undo.put_back(&self.objects).map_err(failed)?;
            done.iter_mut()
                .for_each(|item| item.undone = item.refused.is_none());
        }
        for (item, outcome) in outcomes {
            let id = match fault {
                Some(Fault::WrongBatchId) => Some(b"another".as_slice()),
                _ => item.unique_batch_item_id.as_deref(),
            };
            match outcome {
                Ok(response) if undone => batch.undone(item.operation, id, &response),
                Ok(response) => batch.success(item.operation, id, &response),
                Err(Refusal::Item(reason, text) | Refusal::Message(reason, text)) => {
                    batch.failure(Some(item.operation), id, reason, &text);
                }
            }
        }
        if context.silent {
            return Ok(Secret::default());
        }
        let mut answer = batch
            .finish()
            .map_err(|e| (ResultReason::GENERAL_FAILURE, e.to_string()))?;
        if self.personality.long_time_stamp {
            answer = with_byte(answer, STAMP_TYPE_AT, ItemType::LONG_INTEGER.0);
        }
        if let Some(Fault::WrongVersion(other)) = fault {
            answer = with_number(answer, MAJOR_AT, other.major.into());
            answer = with_number(answer, MINOR_AT, other.minor.into());
        }
        Ok(answer)
    }

    fn perform(&self, item: &RequestItem<'_>, context: &mut Context) -> Outcome<Response> {
        let version = context.version;
        if !self.personality.operations.contains(&item.operation)
            || version < item.operation.since()
        {
            let text = format!("{} is not supported", item.operation);
            return Err(Refusal::item(ResultReason::OPERATION_NOT_SUPPORTED, text));
        }
        if item
            .message_extensions
            .iter()
            .any(|extension| extension.criticality_indicator)
        {
            return Err(Refusal::item(
                ResultReason::FEATURE_NOT_SUPPORTED,
                "a critical Message Extension is not known",
            ));
        }
        let invalid = |e: Error| Refusal::Message(ResultReason::INVALID_MESSAGE, e.to_string());
        let request = Request::decode(item.operation, &item.payload).map_err(invalid)?;
        let no_filters = || {
            item.payload
                .find(Tag::ATTRIBUTES)
                .map(|found| found.is_none())
                .map_err(invalid)
        };
        if item.operation == OperationCode::LOCATE && version.typed_attributes() && no_filters()? {
            return Err(Refusal::Message(
                ResultReason::INVALID_MESSAGE,
                "Locate without Attributes".into(),
            ));
        }
        match request {
            Request::DiscoverVersions(request) => Ok(self.discover(&request).into()),
            Request::Query(request) => Ok(self.query(&request, version).into()),
            Request::Ping(_) => Ok(PingResponse {}.into()),
            Request::GetAttributes(request) => {
                let answer = attributes::get(self, context, *request)?;
                let nothing = answer.attributes.is_empty() && version.typed_attributes();
                context.silent |= nothing && self.personality.silent_on_nothing;
                Ok(answer.into())
            }
            Request::Create(request) => make::create(self, context, *request).map(Into::into),
            Request::CreateKeyPair(request) => {
                make::create_key_pair(self, context, *request).map(Into::into)
            }
            Request::Register(request) => make::register(
                self,
                context,
                mistakes::unwrapped(&self.personality, *request),
            )
            .map(Into::into),
            Request::Import(request) => make::import(self, context, *request).map(Into::into),
            Request::ReKey(request) => make::re_key(self, context, *request).map(Into::into),
            Request::ReKeyKeyPair(request) => {
                make::re_key_key_pair(self, context, *request).map(Into::into)
            }
            Request::DeriveKey(request) => {
                derive::derive_key(self, context, *request).map(Into::into)
            }
            Request::Locate(request) => locate::locate(self, context, *request).map(Into::into),
            Request::Check(request) => lifecycle::check(self, context, *request).map(Into::into),
            Request::Get(request) => get::get(self, context, *request)
                .map(|answer| mistakes::wrapped(&self.personality, answer).into()),
            Request::Export(request) => get::export(self, context, *request).map(Into::into),
            Request::GetAttributeList(request) => {
                attributes::list(self, context, *request).map(Into::into)
            }
            Request::AddAttribute(request) => {
                attributes::add(self, context, *request).map(Into::into)
            }
            Request::ModifyAttribute(request) => {
                attributes::modify(self, context, *request).map(Into::into)
            }
            Request::DeleteAttribute(request) => {
                attributes::delete(self, context, *request).map(Into::into)
            }
            Request::SetAttribute(request) => {
                attributes::set(self, context, *request).map(Into::into)
            }
            Request::AdjustAttribute(request) => {
                attributes::adjust(self, context, *request).map(Into::into)
            }
            Request::Activate(request) => {
                lifecycle::activate(self, context, *request).map(Into::into)
            }
            Request::Revoke(request) => lifecycle::revoke(self, context, *request).map(Into::into),
            Request::Destroy(request) => {
                lifecycle::destroy(self, context, *request).map(Into::into)
            }
            Request::Archive(request) => {
                lifecycle::archive(self, context, *request).map(Into::into)
            }
            Request::Recover(request) => {
                lifecycle::recover(self, context, *request).map(Into::into)
            }
            Request::ObtainLease(request) => {
                lifecycle::obtain_lease(self, context, *request).map(Into::into)
            }
            Request::GetUsageAllocation(request) => {
                lifecycle::get_usage_allocation(self, context, *request).map(Into::into)
            }
            Request::Encrypt(request) => {
                let parameters = request.cryptographic_parameters.clone();
                let answer = crypto::encrypt(self, context, *request)?;
                Ok(mistakes::encrypted(&self.personality, parameters.as_ref(), answer).into())
            }
            Request::Decrypt(request) => {
                let parameters = request.cryptographic_parameters.clone();
                let outcome = crypto::decrypt(self, context, *request);
                mistakes::decrypted(&self.personality, parameters.as_ref(), outcome).map(Into::into)
            }
            Request::Sign(request) => crypto::sign(self, context, *request).map(Into::into),
            Request::SignatureVerify(request) => {
                crypto::verify(self, context, *request).map(Into::into)
            }
            Request::Mac(request) => {
                let parameters = request.cryptographic_parameters.clone();
                let answer = crypto::mac(self, context, *request)?;
                Ok(mistakes::authenticated(&self.personality, parameters.as_ref(), answer).into())
            }
            Request::MacVerify(request) => {
                crypto::mac_verify(self, context, *request).map(Into::into)
            }
            Request::Hash(request) => crypto::hash(self, context, *request).map(Into::into),
            Request::RngRetrieve(request) => crypto::random(*request).map(Into::into),
            // The generator needs none of it (spec 1.4, 4.36: a server may use nothing).
            Request::RngSeed(_) => Ok(RngSeedResponse { data_length: 0 }.into()),
            Request::Certify(request) => certify::certify(self, context, *request).map(Into::into),
            Request::ReCertify(request) => {
                certify::re_certify(self, context, *request).map(Into::into)
            }
            Request::Validate(request) => {
                validate::validate(self, context, *request).map(Into::into)
            }
            Request::CreateSplitKey(request) => {
                split::create(self, context, *request).map(Into::into)
            }
            Request::JoinSplitKey(request) => split::join(self, context, *request).map(Into::into),
            Request::Poll(_) | Request::Cancel(_) => {
                let new = ResultReason::INVALID_ASYNCHRONOUS_CORRELATION_VALUE;
                let reason = reason(version, ResultReason::ITEM_NOT_FOUND, new);
                Err(Refusal::item(
                    reason,
                    "no operation goes on: every answer comes at once",
                ))
            }
            other => {
                let text = format!("{} is not supported", other.code());
                Err(Refusal::item(ResultReason::OPERATION_NOT_SUPPORTED, text))
            }
        }
    }

    fn discover(&self, request: &DiscoverVersionsRequest) -> DiscoverVersionsResponse {
        let asked = &request.protocol_versions;
        let both = |version: &&Version| asked.is_empty() || asked.contains(version);
        DiscoverVersionsResponse {
            protocol_versions: self
                .personality
                .versions
                .iter()
                .filter(both)
                .copied()
                .collect(),
        }
    }

    fn query(&self, request: &QueryRequest, version: Version) -> QueryResponse {
        let mut answer = QueryResponse::default();
        for function in &request.query_functions {
            match *function {
                QueryFunction::QUERY_OPERATIONS => {
                    let announced = |op: &&OperationCode| {
                        !self.personality.unannounced.contains(op) && version >= op.since()
                    };
                    answer.operations = self
                        .personality
                        .operations
                        .iter()
                        .filter(announced)
                        .copied()
                        .collect();
                }
                QueryFunction::QUERY_OBJECTS => {
                    answer.object_types = vec![
                        ObjectType::CERTIFICATE,
                        ObjectType::SYMMETRIC_KEY,
                        ObjectType::PUBLIC_KEY,
                        ObjectType::PRIVATE_KEY,
                        ObjectType::SECRET_DATA,
                        ObjectType::OPAQUE_OBJECT,
                        ObjectType::SPLIT_KEY,
                    ];
                    let others = [
                        (ObjectType::TEMPLATE, version < Version::V2_0),
                        (ObjectType::PGP_KEY, version >= Version::V1_2),
                        (ObjectType::CERTIFICATE_REQUEST, version >= Version::V2_0),
                    ];
                    answer.object_types.extend(
                        others
                            .iter()
                            .filter(|(_, known)| *known)
                            .map(|(object_type, _)| *object_type),
                    );
                }
                QueryFunction::QUERY_SERVER_INFORMATION => {
                    answer.vendor_identification = Some(format!(
                        "{} (mrhsm {})",
                        self.personality.name,
                        env!("CARGO_PKG_VERSION")
                    ));
                    answer.server_information = Some(server_information(version));
                }
                QueryFunction::QUERY_CAPABILITIES if version >= Version::V1_3 => {
                    let later = |flag: bool| (version >= Version::V1_4).then_some(flag);
                    answer.capability_information = vec![CapabilityInformation {
                        streaming_capability: Some(self.personality.streams),
                        asynchronous_capability: Some(false),
                        attestation_capability: Some(false),
                        batch_undo_capability: later(self.personality.undoes_batch),
                        batch_continue_capability: later(true),
                        unwrap_mode: Some(UnwrapMode::PROCESSED),
                        destroy_action: Some(DestroyAction::KEY_MATERIAL_DELETED),
                        ..CapabilityInformation::default()
                    }];
                }
                QueryFunction::QUERY_PROFILES if version >= Version::V1_3 => {
                    answer.profile_information =
                        PROFILES.iter().map(|name| profile(*name)).collect();
                }
                QueryFunction::QUERY_STORAGE_PROTECTION_MASKS if version >= Version::V2_0 => {
                    answer.protection_storage_masks = Some(ProtectionStorageMasks {
                        masks: vec![ProtectionStorageMask::SOFTWARE],
                    });
                }
                QueryFunction::QUERY_RNGS if version >= Version::V1_3 => {
                    let rng = RngParameters {
                        rng_algorithm: RngAlgorithm::UNSPECIFIED,
                        ..RngParameters::default()
                    };
                    answer.rng_parameters = vec![rng];
                }
                _ => {}
            }
        }
        answer
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

/// Profiles whose test cases the server passes.
const PROFILES: &[ProfileName] = &[
    ProfileName::TAPE_LIBRARY_SERVER,
    ProfileName::SYMMETRIC_KEY_LIFECYCLE_SERVER,
    ProfileName::ASYMMETRIC_KEY_LIFECYCLE_SERVER,
    ProfileName::BASIC_CRYPTOGRAPHIC_SERVER,
    ProfileName::SYMMETRIC_KEY_FOUNDRY_SERVER,
    ProfileName::OPAQUE_MANAGED_OBJECT_STORE_SERVER,
    ProfileName::STORAGE_ARRAY_WITH_SELF_ENCRYPTING_DRIVE_SERVER,
];

fn profile(profile_name: ProfileName) -> ProfileInformation {
    ProfileInformation {
        profile_name,
        ..ProfileInformation::default()
    }
}

/// Server Information: what 2.x has fields for; in 1.x it is a vendor's own, and empty.
fn server_information(version: Version) -> Value {
    let text = |tag, text: &str| Field {
        tag,
        value: Value::Text(text.to_owned()),
    };
    Value::Structure(match version.typed_attributes() {
        true => vec![
            text(Tag::SERVER_VERSION, env!("CARGO_PKG_VERSION")),
            text(Tag::PRODUCT_NAME, "mrhsm serve"),
        ],
        false => Vec::new(),
    })
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
