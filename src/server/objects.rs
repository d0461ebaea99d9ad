//! What the server holds: objects, their attributes, and how they are kept in one file.
//!
//! The file is the file store's journal with an index of its own: every attribute of an object is a tag that Locate finds it
//! by. A record is TTLV, like everything else here, so that whatever attribute a client thinks of survives a restart. What one
//! request changes is one transaction.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use super::budget::{LOOK, Meter, Quotas, exceeded, size};
use super::context::Context;
use super::engine::Caller;
use super::keys::Material;
use super::life::Dates;
use super::marks::{Mark, attribute_tag};
use super::personality::{Ids, Personality};
use super::undo::Undo;
use crate::error::{Error, Result};
use crate::kmip::*;
use crate::secret::Secret;
use crate::store::file::journal::Entry;
use crate::store::file::numbers::Numbers;
use crate::store::file::records::{Held, Record, Records, Tagger, View, new_uid};
pub use crate::store::now;
use crate::ttlv::{Decode, Encode, Item, Tag, Writer};
use crate::version::Version;

/// Why a request is not done.
#[derive(Debug)]
pub enum Refusal {
    /// The item fails with this reason.
    Item(ResultReason, String),
    /// The whole message fails: nothing of it is understood.
    Message(ResultReason, String),
}

impl Refusal {
    /// The item fails.
    pub fn item(reason: ResultReason, message: impl Into<String>) -> Refusal {
        Refusal::Item(reason, message.into())
    }

    /// The whole message is invalid.
    pub fn message(message: impl Into<String>) -> Refusal {
        Refusal::Message(ResultReason::INVALID_MESSAGE, message.into())
    }
}

/// The reason as a version has it: what 1.x has one for, and the finer one of 2.x.
pub fn reason(version: Version, before: ResultReason, since_2_0: ResultReason) -> ResultReason {
    if version.typed_attributes() {
        since_2_0
    } else {
        before
    }
}

impl From<Error> for Refusal {
    /// What the file or a library could not do.
    fn from(error: Error) -> Refusal {
        crate::log!(Error, "the server: {error}");
        Refusal::Item(ResultReason::GENERAL_FAILURE, error.to_string())
    }
}

/// Outcome of an item.
pub type Outcome<T> = std::result::Result<T, Refusal>;

/// The value of an object.
#[derive(Clone)]
pub enum Value {
    /// A key, and the format it is given back in unless another is asked for.
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
}

impl Object {
    /// An object that is made now. Dates that are given as attributes become its life; its format is that of its value.
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
            attributes,
            dates,
            revocation_reason: None,
            owner: caller.name.clone(),
            groups: caller.groups.clone(),
            always_sensitive: sensitive,
            never_extractable: !extractable,
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
const WHOSE: char = '\u{1}';

/// The identifier that a record's key has for clients.
fn uid_of(key: &str) -> &str {
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
}

impl Object {
    pub(super) fn entry(&self) -> Result<Entry> {
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
        };
        let numbers = match &self.value {
            Value::Pgp(version, _) => vec![*version],
            Value::Secret(_, _, format) => vec![format.0.cast_signed()],
            Value::Split(share, _) => vec![share.parts, share.number, share.threshold],
            _ => Vec::new(),
        };
        let key = self.key();
        let mut writer = Writer::with_capacity(Version::V2_1, 1024);
        writer.structure(tag::RECORD, |w| {
            key.encode(Tag::UNIQUE_IDENTIFIER, w);
            self.object_type.encode(Tag::OBJECT_TYPE, w);
            w.integer(tag::KIND, kind);
            w.enumeration(tag::FORMAT, format);
            w.integer(tag::MATERIAL, material);
            numbers.encode(tag::NUMBER, w);
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
            put: Some((writer.finish()?.expose().to_vec(), value)),
        })
    }

    /// Gives a record its value.
    fn with_value(mut self, value: Secret) -> Object {
        match &mut self.value {
            Value::Gone | Value::Template(_) | Value::Elsewhere(_) => {}
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
    /// The object without its value.
    fn parse(about: &[u8]) -> Result<Object> {
        let record = Item::parse(about)?;
        record.expect(tag::RECORD)?;
        let mut object = Object {
            uid: String::new(),
            chosen: false,
            object_type: ObjectType::default(),
            value: Value::Gone,
            attributes: Attributes::new(),
            dates: Dates::default(),
            revocation_reason: None,
            owner: String::new(),
            groups: Vec::new(),
            always_sensitive: false,
            never_extractable: false,
        };
        let (mut kind, mut format, mut material, mut index) = (0, 0, 0, None);
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
            _ => return Err(record.error("with an unknown kind of value")),
        };
        Ok(object)
    }

    fn weighed(&self, tagger: &Tagger) -> Option<u64> {
        Some(tagger.tag(Mark::Owner(&self.owner)))
    }

    fn tags(&self, tagger: &Tagger) -> Vec<u64> {
        let mut tags = vec![
            tagger.tag(Mark::Kept(!self.dates.is_destroyed())),
            tagger.tag(Mark::OnLine(self.dates.archive.is_none())),
        ];
        tags.push(attribute_tag(
            tagger,
            &AttributeValue::ObjectType(self.object_type),
        ));
        if self.has_state() {
            tags.push(
                tagger.tag(
                    self.dates
                        .lasting_state()
                        .map_or(Mark::Changing, |state| Mark::State(state.0)),
                ),
            );
        }
        if self.chosen {
            tags.push(tagger.tag(Mark::Chosen(&self.uid)));
        }
        tags.push(tagger.tag(Mark::Owner(&self.owner)));
        tags.extend(
            self.groups
                .iter()
                .map(|group| tagger.tag(Mark::Group(group))),
        );
        tags.extend(
            self.attributes
                .iter()
                .map(|value| attribute_tag(tagger, value)),
        );
        tags
    }
}

/// A condition that only the object itself can answer.
pub type Fits<'a> = &'a mut dyn FnMut(&Object) -> Outcome<bool>;

/// What is looked for.
pub struct Search<'a> {
    /// Attributes that the objects have exactly so.
    pub exact: Vec<AttributeValue>,
    /// `Some(true)`: only what is not destroyed; `Some(false)`: only what is.
    pub kept: Option<bool>,
    /// `Some(true)`: only what is not archived; `Some(false)`: only what is.
    pub on_line: Option<bool>,
    /// The state that they are in.
    pub state: Option<State>,
    /// The oldest first, instead of the newest.
    pub oldest_first: bool,
    /// What else must be true.
    pub fits: Option<Fits<'a>>,
    /// What counts the objects that are looked at.
    pub meter: Option<&'a Meter>,
    /// How many of those found are passed over.
    pub offset: usize,
    /// How many of the rest are wanted.
    pub most: usize,
}

impl Default for Search<'_> {
    /// Everything that is not destroyed.
    fn default() -> Self {
        Search {
            exact: Vec::new(),
            kept: Some(true),
            on_line: None,
            state: None,
            oldest_first: false,
            fits: None,
            meter: None,
            offset: 0,
            most: usize::MAX,
        }
    }
}

/// How many objects are remembered as they were read. Each weighs about 2 KiB.
const REMEMBERED: usize = 4096;

/// Larger objects are not remembered, in bytes.
const LARGE: u64 = 16 << 10;

/// A change that adds fewer bytes to what is there is not measured against the quota.
const QUIET: u64 = 4 << 10;

/// All objects.
pub struct Objects {
    pub(super) records: Records<Object>,
    /// Objects that were read lately, by the stamp of their record.
    read: Mutex<HashMap<u64, Arc<Object>>>,
}

impl Objects {
    /// Opens the objects in the file at `path`, sealed with the 32-byte `key`.
    pub fn open(path: &Path, key: &[u8]) -> Result<Objects> {
        Ok(Objects {
            records: Records::open(path, key)?,
            read: Mutex::default(),
        })
    }

    /// Offsets in the file of records that are damaged; the others work.
    pub fn damaged(&self) -> Vec<u64> {
        self.records.damaged()
    }

    /// An object that this client may know of. Others are not so much as read: how long it takes, too, tells nothing of them.
    pub fn get(&self, uid: &str, caller: &Caller) -> Outcome<Arc<Object>> {
        let object = self
            .records
            .get_by(|held| self.known_to(caller, held, uid))?
            .map_or(Ok(None), |view| self.remembered(&view, true))?;
        object
            .filter(|object| object.is_for(caller))
            .ok_or_else(not_found)
    }

    /// The key of the object that an identifier is for this client: of several, its own, else the oldest.
    fn known_to(&self, caller: &Caller, held: &Held<Object>, uid: &str) -> Option<String> {
        let tagger = self.records.tagger();
        let numbers = held
            .number(uid)
            .filter(|_| !uid.contains(WHOSE))
            .into_iter()
            .chain(held.numbers(&[tagger.tag(Mark::Chosen(uid))]).iter())
            .collect::<Vec<_>>();
        let marks = whose(tagger, caller);
        let number = marks
            .iter()
            .find_map(|mark| numbers.iter().find(|number| held.has_tag(**number, *mark)))?;
        held.uid(*number).map(str::to_owned)
    }

    /// An object, from memory or from the file. One that is not `used` but only searched drives no other out of memory.
    fn remembered(&self, view: &View, used: bool) -> Result<Option<Arc<Object>>> {
        if let Some(object) = self.memory().get(&view.stamp) {
            return Ok(Some(object.clone()));
        }
        let Some((object, value)) = view.read::<Object>()? else {
            return Ok(None);
        };
        let object = Arc::new(object.with_value(value));
        if view.bytes() > LARGE {
            return Ok(Some(object));
        }
        let mut memory = self.memory();
        if used && memory.len() >= REMEMBERED {
            memory.clear();
        }
        if memory.len() < REMEMBERED {
            memory.insert(view.stamp, object.clone());
        }
        Ok(Some(object))
    }

    fn memory(&self) -> MutexGuard<'_, HashMap<u64, Arc<Object>>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Objects that this client may know of, the newest first unless `search` says otherwise, and how many they are. Where `search`
    /// has no condition beside exact attributes, and a state that no date ends, nothing is read from the file.
    pub fn find(&self, caller: &Caller, search: Search<'_>) -> Outcome<(usize, Vec<String>)> {
        let tagger = self.records.tagger();
        let mut tags: Vec<u64> = search
            .exact
            .iter()
            .map(|value| attribute_tag(tagger, value))
            .collect();
        tags.extend(search.kept.map(|kept| tagger.tag(Mark::Kept(kept))));
        tags.extend(
            search
                .on_line
                .map(|on_line| tagger.tag(Mark::OnLine(on_line))),
        );
        let held = self.records.read()?;
        let whose = whose(tagger, caller)
            .into_iter()
            .fold(Numbers::default(), |any, tag| any.or(&held.numbers(&[tag])));
        let mut found = held.numbers(&tags).and(&whose);
        let mut state = search.state;
        if let Some(wanted) = state {
            let changing = found.and(&held.numbers(&[tagger.tag(Mark::Changing)]));
            found = found
                .and(&held.numbers(&[tagger.tag(Mark::State(wanted.0))]))
                .or(&changing);
            state = state.filter(|_| !changing.is_empty());
        }
        let page = |offset, most| match search.oldest_first {
            true => found.iter().skip(offset).take(most).collect(),
            false => found.page(offset, most),
        };
        if state.is_none() && search.fits.is_none() {
            let page = page(search.offset, search.most);
            let uids = page
                .into_iter()
                .filter_map(|number| held.uid(number).map(|key| uid_of(key).to_owned()))
                .collect();
            return Ok((found.len(), uids));
        }
        let views: Vec<View> = page(0, usize::MAX)
            .into_iter()
            .filter_map(|number| held.view(held.uid(number)?))
            .collect();
        // Others go on while these are read.
        drop(held);
        let (mut total, mut uids, mut fits) = (0, Vec::new(), search.fits);
        for view in views {
            search.meter.map_or(Ok(()), |meter| meter.charge(LOOK))?;
            let object = match self.remembered(&view, false) {
                Ok(Some(object)) => object,
                Ok(None) => continue,
                Err(e) => {
                    crate::log!(Error, "the server: {e}");
                    continue;
                }
            };
            let in_state = state.is_none_or(|state| object.state() == state);
            if in_state && fits.as_mut().map_or(Ok(true), |fits| fits(&object))? {
                if total >= search.offset && uids.len() < search.most {
                    uids.push(object.uid.clone());
                }
                total += 1;
            }
        }
        Ok((total, uids))
    }

    /// Every object whoever owns it, the oldest first.
    pub fn all(&self) -> Result<Vec<Arc<Object>>> {
        let held = self.records.read()?;
        let mut all = Vec::new();
        for view in held.find(&[]).into_iter().filter_map(|uid| held.view(uid)) {
            all.extend(self.remembered(&view, false)?);
        }
        Ok(all)
    }

    /// The object of a record as it is now, whoever owns it.
    pub(super) fn as_it_is(&self, held: &Held<Object>, key: &str) -> Result<Option<Arc<Object>>> {
        held.view(key)
            .map_or(Ok(None), |view| self.remembered(&view, true))
    }

    /// Puts objects back as they were; nobody's quota stands against that.
    pub(super) fn replace(
        &self,
        change: impl FnOnce(&Held<Object>) -> Result<Vec<Entry>>,
    ) -> Result<()> {
        self.records.write(|held| Ok((change(held)?, ())))
    }

    /// Changes objects: all that `change` puts or removes takes effect together, or not at all when it fails.
    pub fn change<T>(
        &self,
        caller: &Caller,
        undo: Option<&Undo>,
        change: impl FnOnce(&mut Transaction<'_>) -> Outcome<T>,
    ) -> Outcome<T> {
        let mut overtaken = Vec::new();
        let changed = self.records.write(|held| {
            let mut transaction = Transaction {
                objects: self,
                held,
                caller,
                entries: Vec::new(),
                made: 0,
                largest: Size::default(),
            };
            let result = change(&mut transaction)?;
            if let Some(undo) = undo {
                undo.note(self, held, &transaction.entries)?;
            }
            let stamps = transaction.entries.iter().map(|entry| &entry.uid);
            overtaken.extend(
                stamps
                    .filter_map(|uid| held.view(uid))
                    .map(|view| view.stamp),
            );
            Ok((transaction.entries, result))
        });
        // The value of a destroyed key is wiped at once, not when the memory is full.
        let mut memory = self.memory();
        for stamp in overtaken {
            memory.remove(&stamp);
        }
        changed
    }
}

/// Objects being changed.
pub struct Transaction<'a> {
    objects: &'a Objects,
    held: &'a Held<Object>,
    caller: &'a Caller,
    entries: Vec<Entry>,
    made: u32,
    /// The most attributes, and the most bytes beside a value, of an object that is put.
    largest: Size,
}

#[derive(Default)]
struct Size {
    attributes: usize,
    bytes: usize,
}

impl Transaction<'_> {
    /// An object as it was before this transaction.
    pub fn get(&self, uid: &str) -> Outcome<Object> {
        self.find(uid)?.ok_or_else(not_found)
    }

    /// The object that an identifier is for this client, if any.
    pub fn find(&self, uid: &str) -> Outcome<Option<Object>> {
        let view = self
            .objects
            .known_to(self.caller, self.held, uid)
            .and_then(|key| self.held.view(&key));
        let object = view.map_or(Ok(None), |view| self.objects.remembered(&view, true))?;
        Ok(object
            .filter(|object| object.is_for(self.caller))
            .map(|object| Object::clone(&object)))
    }

    /// The identifiers of what is changed so far.
    pub fn uids(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| uid_of(&entry.uid))
    }

    /// Gives a new object its identifier; it is kept by [`Transaction::put`].
    pub fn name(&mut self, personality: &Personality, object: &mut Object) -> Outcome<String> {
        if personality.unique_names {
            for name in object
                .attributes
                .iter()
                .filter(|value| matches!(value, AttributeValue::Name(_)))
            {
                let tagger = self.objects.records.tagger();
                let found = self
                    .held
                    .numbers(&[attribute_tag(tagger, name), tagger.tag(Mark::Kept(true))]);
                let whose = whose(tagger, self.caller);
                if found
                    .iter()
                    .any(|number| whose.iter().any(|mark| self.held.has_tag(number, *mark)))
                {
                    return Err(Refusal::item(
                        ResultReason::INVALID_FIELD,
                        "an object has this name already",
                    ));
                }
            }
        }
        self.name_again(personality, object)
    }

    /// Gives a new object its identifier when it takes the names of another.
    pub fn name_again(
        &mut self,
        personality: &Personality,
        object: &mut Object,
    ) -> Outcome<String> {
        object.uid = match personality.ids {
            Ids::Number => loop {
                self.made += 1;
                let uid = (self.held.met() + self.made).to_string();
                if !self.held.contains(&uid) {
                    break uid;
                }
            },
            Ids::Uuid => new_uid()?,
        };
        Ok(object.uid.clone())
    }

    /// Keeps an object in place of what it was.
    pub fn put(&mut self, object: &Object) -> Outcome<()> {
        let entry = object.entry()?;
        let about = entry.put.as_ref().map_or(0, |(about, _)| about.len());
        // What is larger than may be since before there were limits can still be used and destroyed.
        if about as u64 <= LARGE || self.grows(&entry.uid, object)? {
            self.largest.attributes = self.largest.attributes.max(object.attributes.len());
            self.largest.bytes = self.largest.bytes.max(about);
        }
        self.entries.push(entry);
        Ok(())
    }

    /// Whether an object has more attributes than it had.
    fn grows(&self, key: &str, object: &Object) -> Outcome<bool> {
        let before = self.objects.as_it_is(self.held, key)?;
        Ok(!object.dates.is_destroyed()
            && before.is_none_or(|before| size(&before.attributes) < size(&object.attributes)))
    }

    /// Fails when what is put is more than an object, the request or the client may have.
    pub fn check(&self, quotas: &Quotas, context: &Context) -> Outcome<()> {
        let version = context.version;
        if self.largest.attributes > quotas.attributes
            || self.largest.bytes > quotas.attribute_bytes
        {
            let text = format!(
                "an object has at most {} attributes of {} bytes together",
                quotas.attributes, quotas.attribute_bytes
            );
            return Err(exceeded(version, text));
        }
        let (mut written, mut grown, mut new) = (0, 0, 0);
        for entry in &self.entries {
            let before = self.held.size(&entry.uid);
            let now = entry
                .put
                .as_ref()
                .map_or(0, |(about, value)| (about.len() + value.len()) as u64);
            written += now;
            if context.undo.is_some() {
                written += before.unwrap_or(0);
            }
            grown += now.saturating_sub(before.unwrap_or(0));
            new += usize::from(before.is_none());
        }
        context.meter.write(written)?;
        if new == 0 && grown < QUIET {
            return Ok(());
        }
        let owner = self
            .objects
            .records
            .tagger()
            .tag(Mark::Owner(&context.caller.name));
        let owned = self.held.weight(owner);
        if owned.records + new > quotas.objects || owned.bytes + grown > quotas.bytes {
            return Err(exceeded(
                version,
                "the client has as many objects as it may have: mrhsm serve -objects N -space MIB allows more",
            ));
        }
        Ok(())
    }

    /// Keeps an object that was changed, with the time of the change.
    pub fn put_changed(&mut self, mut object: Object) -> Outcome<()> {
        object.dates.last_change = now();
        object.always_sensitive &= object.attributes.sensitive() == Some(&true);
        object.never_extractable &= object.attributes.extractable() == Some(&false);
        self.put(&object)
    }

    /// Removes every trace of an object.
    pub fn remove(&mut self, object: &Object) {
        self.entries.push(Entry {
            uid: object.key(),
            put: None,
        });
    }
}

/// The tags of what a client may know of: its own first.
fn whose(tagger: &Tagger, caller: &Caller) -> Vec<u64> {
    let owners = [Some(&caller.name), caller.formerly.as_ref()];
    let owners = owners
        .into_iter()
        .flatten()
        .map(|owner| tagger.tag(Mark::Owner(owner)));
    let groups = caller
        .groups
        .iter()
        .map(|group| tagger.tag(Mark::Group(group)));
    owners.chain(groups).collect()
}

/// What is not there. 2.1's profiles tell kinds of it apart; clients of 2.0 are known that look for the one reason of 1.x.
pub fn not_there(version: Version, since_2_1: ResultReason, text: &str) -> Refusal {
    Refusal::item(
        if version >= Version::V2_1 {
            since_2_1
        } else {
            ResultReason::ITEM_NOT_FOUND
        },
        text,
    )
}

fn not_found() -> Refusal {
    Refusal::item(ResultReason::ITEM_NOT_FOUND, "there is no such object")
}
