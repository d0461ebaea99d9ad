//! What the server holds: objects, their state and their attributes.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use mrhsm_pkcs11::crypto::rng;
use mrhsm_pkcs11::kmip::*;
use mrhsm_pkcs11::ttlv::{DateTime, Tag};
use mrhsm_pkcs11::version::Version;

use super::keys::Material;
use super::personality::{Ids, Personality};

/// Why a request is not done.
#[derive(Debug)]
pub enum Refusal {
    /// The item fails with this reason.
    Item(ResultReason, String),
    /// The whole message fails: nothing of it is understood.
    Message(ResultReason, String),
}

impl Refusal {
    pub fn item(reason: ResultReason, message: impl Into<String>) -> Refusal {
        Refusal::Item(reason, message.into())
    }
}

/// Outcome of an item.
pub type Outcome<T> = Result<T, Refusal>;

/// The value of an object.
pub enum Value {
    /// A key, and the format it is given back in unless another is asked for.
    Key(Material, KeyFormatType),
    Secret(SecretDataType, Vec<u8>),
    Certificate(CertificateType, Vec<u8>),
    Opaque(OpaqueDataType, Vec<u8>),
    /// Destroyed.
    Gone,
}

/// An object.
pub struct Object {
    pub uid: String,
    pub object_type: ObjectType,
    pub value: Value,
    /// What it was given; what the server computes is not among them.
    pub attributes: Attributes,
    pub initial_date: i64,
    pub activation_date: Option<i64>,
    pub deactivation_date: Option<i64>,
    pub compromise_date: Option<i64>,
    pub destroy_date: Option<i64>,
    pub revocation_reason: Option<RevocationReason>,
}

/// Seconds since 1970.
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64
}

impl Object {
    /// Opaque objects have no state.
    pub fn has_state(&self) -> bool {
        self.object_type != ObjectType::OPAQUE_OBJECT
    }

    pub fn state(&self) -> State {
        let passed = |date: Option<i64>| date.is_some_and(|date| date <= now());
        match (self.destroy_date.is_some(), self.compromise_date.is_some()) {
            (true, true) => State::DESTROYED_COMPROMISED,
            (true, false) => State::DESTROYED,
            (false, true) => State::COMPROMISED,
            _ if passed(self.deactivation_date) => State::DEACTIVATED,
            _ if passed(self.activation_date) => State::ACTIVE,
            _ => State::PRE_ACTIVE,
        }
    }

    /// The key's length in bits and its algorithm, as its attributes say.
    pub fn algorithm(&self) -> Option<CryptographicAlgorithm> {
        self.attributes.cryptographic_algorithm().copied()
    }

    /// Fails unless the usage mask has all bits of `mask`.
    pub fn allow(&self, mask: CryptographicUsageMask) -> Outcome<()> {
        let has = self.attributes.cryptographic_usage_mask().copied().unwrap_or_default();
        if has.contains(mask) {
            return Ok(());
        }
        Err(Refusal::item(ResultReason::PERMISSION_DENIED, format!("the usage mask does not allow {mask}")))
    }

    /// Every attribute, those that the server computes included, that `version` knows.
    pub fn all_attributes(&self, version: Version) -> Attributes {
        let mut all = Attributes::new();
        all.push(AttributeValue::UniqueIdentifier(self.uid.clone()));
        all.push(AttributeValue::ObjectType(self.object_type));
        for value in self.attributes.iter() {
            all.push(value.clone());
        }
        if self.has_state() {
            all.push(AttributeValue::State(self.state()));
        }
        all.push(AttributeValue::InitialDate(DateTime(self.initial_date)));
        all.push(AttributeValue::LastChangeDate(DateTime(self.initial_date)));
        if let Some(date) = self.activation_date {
            all.push(AttributeValue::ActivationDate(DateTime(date)));
        }
        if let Some(date) = self.deactivation_date {
            all.push(AttributeValue::DeactivationDate(DateTime(date)));
        }
        if let Some(date) = self.compromise_date {
            all.push(AttributeValue::CompromiseDate(DateTime(date)));
        }
        if let Some(reason) = &self.revocation_reason {
            all.push(AttributeValue::RevocationReason(reason.clone()));
        }
        all.0.retain(|attribute| known(&attribute.value, version));
        all
    }
}

/// Whether a version has an attribute.
fn known(value: &AttributeValue, version: Version) -> bool {
    let AttributeName::Standard(tag) = value.name() else { return true };
    match tag {
        Tag::ALTERNATIVE_NAME => version >= Version::V1_2,
        Tag::SENSITIVE | Tag::ALWAYS_SENSITIVE | Tag::EXTRACTABLE | Tag::NEVER_EXTRACTABLE | Tag::DESCRIPTION | Tag::COMMENT => {
            version >= Version::V1_4
        }
        Tag::OPERATION_POLICY_NAME => version < Version::V2_0,
        _ => true,
    }
}

/// All objects, the oldest first.
#[derive(Default)]
pub struct Objects {
    by_number: BTreeMap<u64, Object>,
    last: u64,
}

impl Objects {
    /// Takes in an object and names it.
    pub fn add(
        &mut self,
        personality: &Personality,
        object_type: ObjectType,
        value: Value,
        mut attributes: Attributes,
    ) -> Outcome<String> {
        let taken =
            |name: &str| self.by_number.values().any(|o| o.destroy_date.is_none() && o.attributes.names().any(|n| n == name));
        if personality.unique_names && attributes.names().any(taken) {
            return Err(Refusal::item(ResultReason::INVALID_FIELD, "an object has this name already"));
        }
        let mut activation_date = None;
        let mut deactivation_date = None;
        attributes.0.retain(|attribute| match attribute.value {
            AttributeValue::ActivationDate(date) => {
                activation_date = Some(date.0);
                false
            }
            AttributeValue::DeactivationDate(date) => {
                deactivation_date = Some(date.0);
                false
            }
            _ => true,
        });
        self.last += 1;
        let uid = match personality.ids {
            Ids::Number => self.last.to_string(),
            Ids::Uuid => uuid(),
        };
        let object = Object {
            uid: uid.clone(),
            object_type,
            value,
            attributes,
            initial_date: now(),
            activation_date,
            deactivation_date,
            compromise_date: None,
            destroy_date: None,
            revocation_reason: None,
        };
        self.by_number.insert(self.last, object);
        Ok(uid)
    }

    /// The oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Object> {
        self.by_number.values()
    }

    pub fn get(&self, uid: &str) -> Outcome<&Object> {
        self.by_number.values().find(|object| object.uid == uid).ok_or_else(not_found)
    }

    pub fn get_mut(&mut self, uid: &str) -> Outcome<&mut Object> {
        self.by_number.values_mut().find(|object| object.uid == uid).ok_or_else(not_found)
    }

    /// Removes every trace of an object.
    pub fn forget(&mut self, uid: &str) {
        self.by_number.retain(|_, object| object.uid != uid);
    }
}

fn not_found() -> Refusal {
    Refusal::item(ResultReason::ITEM_NOT_FOUND, "there is no such object")
}

/// A random identifier (version 4).
fn uuid() -> String {
    let mut bytes = [0u8; 16];
    rng::fill(&mut bytes).unwrap();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
