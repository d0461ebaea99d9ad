//! An object of the server, and how it is stored: as TTLV, like everything else here, so that whatever attribute a client thinks of
//! survives a restart.

use std::sync::{Arc, OnceLock};

use sha2::{Digest, Sha256};

use super::engine::Caller;
use super::keys::Material;
use super::life::Dates;
use super::locate::is_indexed;
use super::marks::{Mark, Shelf, attribute_tag};
use super::objects::{Outcome, Refusal, reason};
use crate::crypto::pkey::PrivateKey;
use crate::error::Result;
use crate::kmip::*;
use crate::secret::Secret;
use crate::storage::{self, Entry, Keys, Put, Record};
use crate::store::now;
use crate::ttlv::{Decode, Encode, Item, Tag, Writer};
use crate::version::Version;

/// The value of an object.
#[derive(Clone)]
pub enum Value {
    /// A key, and the format that Get returns by default.
    Key(Material, KeyFormatType),
    /// A secret that is no key, and the format it came in.
    Secret(SecretDataType, Material, KeyFormatType),
    /// A certificate.
    Certificate(CertificateType, Vec<u8>),
    /// Bytes that are not looked into.
    Opaque(OpaqueDataType, Material),
    /// Attributes for other objects (1.x).
    Template(Attributes),
    /// A PGP key of this version.
    Pgp(i32, Material),
    /// A part of a key.
    Split(Share, Material),
    /// A request for a certificate (2.x).
    Request(CertificateRequestType, Vec<u8>),
    /// A key whose value the server does not have, and its format.
    Elsewhere(KeyFormatType),
    /// A key that was registered wrapped and cannot be unwrapped here, and its format.
    Wrapped(KeyFormatType),
    /// Destroyed.
    Gone,
}

/// Which part of a key (spec 1.4, 2.2.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// How many parts there are.
    pub parts: i32,
    /// Which one this is, from 1.
    pub number: i32,
    /// How many of them make the key.
    pub threshold: i32,
    /// How it was split.
    pub method: SplitKeyMethod,
}

/// An object.
#[derive(Clone)]
pub struct Object {
    /// Its identifier.
    pub uid: String,
    /// The client chose the identifier (Import), so that another client's object may have the same.
    pub chosen: bool,
    /// What it is.
    pub object_type: ObjectType,
    /// Its value.
    pub value: Value,
    /// The object that a client registered wrapped, encoded as in 2.1.
    pub registered: Option<Arc<Secret>>,
    /// What it was given; what the server computes is not among them.
    pub attributes: Attributes,
    /// Its life.
    pub dates: Dates,
    /// Why it was revoked.
    pub revocation_reason: Option<RevocationReason>,
    /// Whose it is: the client that made it.
    pub owner: String,
    /// Who shares it: the organisational units in that certificate.
    pub groups: Vec<String>,
    /// Sensitive in every moment of its life.
    pub always_sensitive: bool,
    /// In no moment of its life extractable.
    pub never_extractable: bool,
    /// Its private key, once it was used.
    prepared: Prepared,
}

/// A private key that is parsed and checked at its first use: for RSA that takes longer than a
/// signature. It goes with the cached object; a copy of the object, which may be changed, has none
/// yet.
#[derive(Default)]
struct Prepared(OnceLock<PrivateKey>);

impl Clone for Prepared {
    fn clone(&self) -> Prepared {
        Prepared::default()
    }
}

impl Object {
    /// The private key that this object is; `None` for another.
    pub fn private_key(&self) -> Option<Result<&PrivateKey>> {
        let Value::Key(Material::Private(pkcs8), _) = &self.value else {
            return None;
        };
        if let Some(key) = self.prepared.0.get() {
            return Some(Ok(key));
        }
        let parsed = PrivateKey::from_pkcs8(pkcs8.expose());
        Some(parsed.map(|key| self.prepared.0.get_or_init(|| key)))
    }
}

impl Object {
    /// Creates an object now. Dates among the attributes become its life; its format is that of its value.
    pub fn new(
        caller: &Caller,
        object_type: ObjectType,
        value: Value,
        mut attributes: Attributes,
    ) -> Object {
        let mut dates = Dates::born(now());
        attributes.0.retain(|attribute| {
            !dates.set(&attribute.value)
                && !matches!(attribute.value, AttributeValue::KeyFormatType(_))
        });
        let sensitive = attributes.sensitive() == Some(&true);
        let extractable = attributes.extractable() != Some(&false);
        Object {
            uid: String::new(),
            chosen: false,
            object_type,
            value,
            registered: None,
            attributes,
            dates,
            revocation_reason: None,
            owner: caller.name.clone(),
            groups: caller.groups.clone(),
            always_sensitive: sensitive,
            never_extractable: !extractable,
            prepared: Prepared::default(),
        }
    }

    /// Opaque objects and templates have no state.
    pub fn has_state(&self) -> bool {
        !matches!(
            self.object_type,
            ObjectType::OPAQUE_OBJECT | ObjectType::TEMPLATE
        )
    }

    /// Its state, as its dates make it at this moment.
    pub fn state(&self) -> State {
        self.dates.state(now())
    }

    /// Its algorithm, as its attributes say.
    pub fn algorithm(&self) -> Option<CryptographicAlgorithm> {
        self.attributes.cryptographic_algorithm().copied()
    }

    /// What it may be used for.
    pub fn usage(&self) -> CryptographicUsageMask {
        self.attributes
            .cryptographic_usage_mask()
            .copied()
            .unwrap_or_default()
    }

    /// Fails unless the usage mask has all bits of `mask`.
    pub fn allow(&self, version: Version, mask: CryptographicUsageMask) -> Outcome<()> {
        if self.usage().contains(mask) {
            return Ok(());
        }
        let new = ResultReason::INCOMPATIBLE_CRYPTOGRAPHIC_USAGE_MASK;
        let reason = reason(version, ResultReason::PERMISSION_DENIED, new);
        Err(Refusal::item(
            reason,
            format!("the usage mask does not allow {mask}"),
        ))
    }

    /// True when this client may know of the object.
    pub fn is_for(&self, caller: &Caller) -> bool {
        self.owner == caller.name
            || caller.formerly.as_ref() == Some(&self.owner)
            || self
                .groups
                .iter()
                .any(|group| caller.groups.contains(group))
    }
}

/// Separates an identifier that a client chose from whose it is, in the key of its record.
pub(super) const WHOSE: char = '\u{1}';

/// The identifier that a record's key has for clients.
pub(super) fn uid_of(key: &str) -> &str {
    key.split_once(WHOSE).map_or(key, |(uid, _)| uid)
}

impl Object {
    /// The key of its record, which no two objects share.
    pub(super) fn key(&self) -> String {
        if !self.chosen {
            return self.uid.clone();
        }
        let whose = Sha256::digest(self.owner.as_bytes());
        format!(
            "{}{WHOSE}{}",
            self.uid,
            data_encoding::HEXLOWER.encode(&whose[..16])
        )
    }
}

/// The tags of a record; numbers of the range that KMIP leaves to vendors. None is ever sent.
pub(super) mod tag {
    use crate::ttlv::Tag;

    pub const RECORD: Tag = Tag(0x54_0001);
    pub const KIND: Tag = Tag(0x54_0002);
    pub const FORMAT: Tag = Tag(0x54_0003);
    pub const MATERIAL: Tag = Tag(0x54_0004);
    pub const OWNER: Tag = Tag(0x54_0005);
    pub const GROUP: Tag = Tag(0x54_0006);
    pub const ALWAYS_SENSITIVE: Tag = Tag(0x54_0007);
    pub const NEVER_EXTRACTABLE: Tag = Tag(0x54_0008);
    /// An attribute in the form of 2.x, which loses nothing; before it, its index.
    pub const ATTRIBUTE: Tag = Tag(0x54_0009);
    pub const INDEX: Tag = Tag(0x54_000A);
    pub const DATES: Tag = Tag(0x54_000B);
    /// Numbers that a value has beside its bytes.
    pub const NUMBER: Tag = Tag(0x54_000C);
    /// How many bytes of the value are the object's; the rest is what was registered.
    pub const OWN_LEN: Tag = Tag(0x54_000D);
}

impl Object {
    /// What is stored of it.
    pub(super) fn entry(&self, keys: &Keys) -> Result<Entry> {
        let (kind, format, material, value): (i32, u32, i32, Secret) = match &self.value {
            Value::Gone => (0, 0, 0, Secret::default()),
            Value::Key(material, format) => {
                (1, format.0, material.kind(), material.bytes().duplicate())
            }
            Value::Secret(data_type, material, _) => (
                2,
                data_type.0,
                material.kind(),
                material.bytes().duplicate(),
            ),
            Value::Certificate(certificate_type, der) => {
                (3, certificate_type.0, 0, Secret::new(der.clone()))
            }
            Value::Opaque(data_type, material) => (
                4,
                data_type.0,
                material.kind(),
                material.bytes().duplicate(),
            ),
            Value::Template(_) => (5, 0, 0, Secret::default()),
            Value::Pgp(_, material) => (6, 0, material.kind(), material.bytes().duplicate()),
            Value::Split(share, material) => (
                7,
                share.method.0,
                material.kind(),
                material.bytes().duplicate(),
            ),
            Value::Request(request_type, der) => (8, request_type.0, 0, Secret::new(der.clone())),
            Value::Elsewhere(format) => (9, format.0, 0, Secret::default()),
            Value::Wrapped(format) => (10, format.0, 0, Secret::default()),
        };
        let numbers = match &self.value {
            Value::Pgp(version, _) => vec![*version],
            Value::Secret(_, _, format) => vec![format.0.cast_signed()],
            Value::Split(share, _) => vec![share.parts, share.number, share.threshold],
            _ => Vec::new(),
        };
        let own_len = self.registered.is_some().then_some(value.len() as i64);
        let mut value = value;
        if let Some(registered) = &self.registered {
            value.extend(registered.expose())?;
        }
        let key = self.key();
        let mut writer = Writer::with_capacity(Version::V2_1, 1024);
        writer.structure(tag::RECORD, |w| {
            key.encode(Tag::UNIQUE_IDENTIFIER, w);
            self.object_type.encode(Tag::OBJECT_TYPE, w);
            w.integer(tag::KIND, kind);
            w.enumeration(tag::FORMAT, format);
            w.integer(tag::MATERIAL, material);
            numbers.encode(tag::NUMBER, w);
            own_len.encode(tag::OWN_LEN, w);
            if let Value::Template(attributes) = &self.value {
                attributes.encode(Tag::ATTRIBUTES, w);
            }
            self.dates.encode(tag::DATES, w);
            self.revocation_reason.encode(Tag::REVOCATION_REASON, w);
            self.owner.encode(tag::OWNER, w);
            self.groups.encode(tag::GROUP, w);
            w.boolean(tag::ALWAYS_SENSITIVE, self.always_sensitive);
            w.boolean(tag::NEVER_EXTRACTABLE, self.never_extractable);
            for attribute in &self.attributes.0 {
                attribute.index.encode(tag::INDEX, w);
                attribute.encode(tag::ATTRIBUTE, w);
            }
        });
        Ok(Entry {
            uid: key,
            put: Some(Put {
                about: writer.finish()?.expose().to_vec(),
                value,
                tags: self.tags(keys)?,
                counted: Some(Mark::Counted(&self.owner).tag(keys)?),
                is_public: false,
            }),
        })
    }

    /// Gives a record its value.
    fn with_value(mut self, value: Secret) -> Object {
        match &mut self.value {
            Value::Gone | Value::Template(_) | Value::Elsewhere(_) | Value::Wrapped(_) => {}
            Value::Certificate(_, der) | Value::Request(_, der) => *der = value.expose().to_vec(),
            Value::Key(material, _)
            | Value::Secret(_, material, _)
            | Value::Opaque(_, material)
            | Value::Pgp(_, material)
            | Value::Split(_, material) => material.fill(value),
        }
        self
    }
}

impl Record for Object {
    fn parse(_uid: &str, about: &[u8], value: Secret) -> Result<Object> {
        let record = Item::parse(about)?;
        record.expect(tag::RECORD)?;
        let mut object = Object {
            uid: String::new(),
            chosen: false,
            object_type: ObjectType::default(),
            value: Value::Gone,
            registered: None,
            attributes: Attributes::new(),
            dates: Dates::default(),
            revocation_reason: None,
            owner: String::new(),
            groups: Vec::new(),
            always_sensitive: false,
            never_extractable: false,
            prepared: Prepared::default(),
        };
        let (mut kind, mut format, mut material, mut index) = (0, 0, 0, None);
        let mut own_len = None;
        let (mut numbers, mut template) = (Vec::new(), Attributes::new());
        let mut items = record.items()?;
        while let Some(item) = items.next()? {
            match item.tag {
                Tag::UNIQUE_IDENTIFIER => {
                    let key = item.text()?;
                    object.uid = uid_of(key).to_owned();
                    object.chosen = key.contains(WHOSE);
                }
                Tag::OBJECT_TYPE => object.object_type = ObjectType::decode(&item)?,
                tag::KIND => kind = item.integer()?,
                tag::FORMAT => format = item.enumeration()?,
                tag::MATERIAL => material = item.integer()?,
                tag::NUMBER => numbers.push(item.integer()?),
                tag::OWN_LEN => own_len = Some(i64::decode(&item)?),
                Tag::ATTRIBUTES => template = Attributes::decode(&item)?.iter().cloned().collect(),
                tag::DATES => object.dates = Dates::decode(&item)?,
                Tag::REVOCATION_REASON => {
                    object.revocation_reason = Some(RevocationReason::decode(&item)?)
                }
                tag::OWNER => object.owner = item.text()?.to_owned(),
                tag::GROUP => object.groups.push(item.text()?.to_owned()),
                tag::ALWAYS_SENSITIVE => object.always_sensitive = item.boolean()?,
                tag::NEVER_EXTRACTABLE => object.never_extractable = item.boolean()?,
                tag::INDEX => index = Some(item.integer()?),
                tag::ATTRIBUTE => {
                    let attribute = Attribute::decode(&item)?;
                    object.attributes.0.push(Attribute {
                        index: index.take(),
                        ..attribute
                    });
                }
                _ => {}
            }
        }
        let material =
            || Material::empty(material).ok_or_else(|| record.error("with an unknown kind of key"));
        object.value = match kind {
            0 => Value::Gone,
            1 => Value::Key(material()?, KeyFormatType(format)),
            2 => {
                let key_format = numbers.first().map_or(KeyFormatType::OPAQUE, |number| {
                    KeyFormatType(number.cast_unsigned())
                });
                Value::Secret(SecretDataType(format), material()?, key_format)
            }
            3 => Value::Certificate(CertificateType(format), Vec::new()),
            4 => Value::Opaque(OpaqueDataType(format), material()?),
            5 => Value::Template(template),
            6 => Value::Pgp(numbers.first().copied().unwrap_or_default(), material()?),
            7 => {
                let [parts, number, threshold] = numbers[..] else {
                    return Err(record.error("without the numbers of a part"));
                };
                Value::Split(
                    Share {
                        parts,
                        number,
                        threshold,
                        method: SplitKeyMethod(format),
                    },
                    material()?,
                )
            }
            8 => Value::Request(CertificateRequestType(format), Vec::new()),
            9 => Value::Elsewhere(KeyFormatType(format)),
            10 => Value::Wrapped(KeyFormatType(format)),
            _ => return Err(record.error("with an unknown kind of value")),
        };
        let Some(own_len) = own_len else {
            return Ok(object.with_value(value));
        };
        let parts = usize::try_from(own_len).map(|len| value.expose().split_at_checked(len));
        let Ok(Some((own, registered))) = parts else {
            return Err(record.error("with a value that is too short"));
        };
        object.registered = Some(Arc::new(Secret::new(registered.to_vec())));
        Ok(object.with_value(Secret::new(own.to_vec())))
    }

    fn stored(self, keys: &Keys) -> Result<Put> {
        let entry = self.entry(keys)?;
        Ok(entry.put.expect("an object has an entry"))
    }
}

impl Object {
    /// Where it is found: objects that are archived or destroyed are apart from the others.
    fn shelf(&self) -> Shelf {
        match (self.dates.is_destroyed(), self.dates.archive) {
            (true, _) => Shelf::Destroyed,
            (false, Some(_)) => Shelf::Archived,
            (false, None) => Shelf::OnLine,
        }
    }

    /// What it is found by.
    fn tags(&self, keys: &Keys) -> Result<Vec<storage::Tag>> {
        let shelf = self.shelf();
        let mut marks = vec![Mark::Owner(&self.owner, shelf)];
        marks.extend(self.groups.iter().map(|group| Mark::Group(group, shelf)));
        if self.has_state() {
            let lasting = self.dates.lasting_state();
            marks.push(lasting.map_or(Mark::Changing, |state| Mark::State(state.0)));
        }
        marks.extend(self.chosen.then_some(Mark::Chosen(&self.uid)));
        let object_type = AttributeValue::ObjectType(self.object_type);
        let attributes = self.attributes.iter().filter(|value| is_indexed(value));
        marks
            .into_iter()
            .map(|mark| mark.tag(keys))
            .chain(
                std::iter::once(&object_type)
                    .chain(attributes)
                    .map(|value| attribute_tag(keys, value)),
            )
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Personality;
    use crate::server::objects::Objects;

    #[test]
    fn a_private_key_is_parsed_once_however_often_it_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let objects = Objects::open(&folder.path().join("served"), &[7; 32]).unwrap();
        let caller = Caller {
            name: "client".into(),
            ..Caller::default()
        };
        let pkcs8 = PrivateKey::generate_rsa(2048, &[1, 0, 1])
            .and_then(|key| key.to_pkcs8())
            .unwrap();
        let made = objects.change(&caller, None, |transaction| {
            let value = Value::Key(Material::Private(pkcs8.duplicate()), KeyFormatType::PKCS_8);
            let kind = ObjectType::PRIVATE_KEY;
            let mut object = Object::new(&caller, kind, value, Attributes::new());
            let uid = transaction.name(&Personality::standard(), &mut object)?;
            transaction.put(&object)?;
            Ok(uid)
        });
        let uid = made.unwrap();
        let (first, second) = (
            objects.get(&uid, &caller).unwrap(),
            objects.get(&uid, &caller).unwrap(),
        );
        let key = |object: &Object| std::ptr::from_ref(object.private_key().unwrap().unwrap());
        assert_eq!(key(&first), key(&second));
        let copy = Object::clone(&first);
        assert!(copy.prepared.0.get().is_none(), "a copy may be changed");
        let changed = Object {
            value: Value::Gone,
            ..copy
        };
        assert!(changed.private_key().is_none());
    }
}
