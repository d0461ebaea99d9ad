//! Keys in the token directory: a [`KeyStore`] over a [`Repository`].
//!
//! Values are fetched and used locally: the store itself does no cryptography with them. What another process writes is seen
//! by the next call.

mod public;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::ck::{
    CKR_DEVICE_ERROR, CKR_FUNCTION_NOT_SUPPORTED, CKR_KEY_SIZE_RANGE, CKR_OBJECT_HANDLE_INVALID,
};
use crate::crypto::pkey::PrivateKey;
use crate::crypto::rng;
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;
use crate::storage::{
    Entry, Keys, Put, Query, Record, Repository, Snapshot, Stamp, Tag, new_uuid, open,
};
use crate::store::{
    Ability, Algorithm, Changes, Cipher, Class, Filter, KeyStore, Mac, Message, Meta, Revocation,
    Signing, Spec, State, Uid, Usage, is_shown_to_all, now,
};

pub use public::PublicFile;

/// A store in a database of the token directory.
pub struct FileStore {
    path: PathBuf,
    repository: Repository<FileObject>,
    /// The state in which there was no object that was added before login.
    taken: Mutex<Option<Stamp>>,
}

/// An object of a file token.
pub struct FileObject {
    uid: Uid,
    about: About,
    value: Secret,
}

impl FileStore {
    /// Opens the store at `path`, sealed with the 32-byte `key`; creates an empty one if there is none.
    pub fn open(path: &Path, key: &[u8]) -> Result<FileStore> {
        let store = FileStore {
            path: path.into(),
            repository: Repository::open(path, key)?,
            taken: Mutex::default(),
        };
        store.take_added();
        Ok(store)
    }

    /// Takes over the objects that were added before login, also by other processes.
    fn take_added(&self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.repository.engine().stamp();
        if now.is_some() && now == *taken {
            return;
        }
        *taken = now;
        // All others can be used without them: on a full disk, or by a user who may only read.
        if let Err(e) = self.repository.take_added() {
            let path = self.path.display();
            crate::log!(
                Warn,
                "{path}: objects added before login are not shown: {e}"
            );
        }
    }

    /// False if the store is gone, because [`retire`](Self::retire) removed it.
    pub fn exists(&self) -> bool {
        open::database_of(&self.path).exists()
    }

    /// What administrators may do with the database.
    pub fn repository(&self) -> &Repository<FileObject> {
        &self.repository
    }

    /// Removes the files of a store that holds nothing any more. One that is damaged remains beside, as `objects.damaged`. False,
    /// and nothing done, if there are objects.
    pub fn retire(&self) -> Result<bool> {
        self.repository.retire()
    }

    /// Copies objects, their identifiers too, to a new store at `path` that is sealed with another key.
    pub fn copy_to(&self, path: &Path, key: &[u8], uids: &[Uid]) -> Result<()> {
        let copy = FileStore::open(path, key)?;
        for uid in uids {
            let object = self.object(uid)?;
            copy.repository.write(|_| {
                let entry = object
                    .about
                    .entry(copy.repository.keys(), uid, &object.value)?;
                Ok::<_, Error>((vec![entry], ()))
            })?;
        }
        Ok(())
    }

    fn object(&self, uid: &Uid) -> Result<Arc<FileObject>> {
        self.repository.get(&uid.0)?.ok_or_else(|| gone(uid))
    }

    fn put(&self, objects: Vec<(&Spec, Secret)>, pair: bool) -> Result<Vec<Uid>> {
        let now = now();
        let uids: Vec<Uid> = objects
            .iter()
            .map(|_| new_uuid().map(Uid))
            .collect::<Result<_>>()?;
        self.repository.write(|_| {
            let mut entries = Vec::new();
            for (i, (spec, value)) in objects.iter().enumerate() {
                let mut about = About::of(spec, now);
                about.pair = pair.then(|| uids[1 - i].0.clone());
                entries.push(about.entry(self.repository.keys(), &uids[i], value)?);
            }
            Ok::<_, Error>((entries, ()))
        })?;
        Ok(uids)
    }

    fn change(&self, uid: &Uid, change: impl Fn(&mut About)) -> Result<()> {
        self.repository.write(|snapshot| {
            let object = get(snapshot, uid)?;
            let mut about = object.about.clone();
            change(&mut about);
            let entry = about.entry(self.repository.keys(), uid, &object.value)?;
            Ok((vec![entry], ()))
        })
    }

    fn unsupported<T>(&self, what: &str) -> Result<T> {
        let message = format!(
            "the file store {} does not {what}: its keys are used locally",
            self.path.display()
        );
        Err(Error::new(
            Kind::Pkcs11,
            CKR_FUNCTION_NOT_SUPPORTED,
            message,
        ))
    }
}

fn get(snapshot: &Snapshot<'_, FileObject>, uid: &Uid) -> Result<Arc<FileObject>> {
    snapshot.get(&uid.0)?.ok_or_else(|| gone(uid))
}

/// The value of a new secret key.
fn new_value(spec: &Spec) -> Result<Secret> {
    if spec.bits == 0 || !spec.bits.is_multiple_of(8) {
        return Err(Error::new(
            Kind::Pkcs11,
            CKR_KEY_SIZE_RANGE,
            format!("a secret key cannot have {} bits", spec.bits),
        ));
    }
    rng::bytes(spec.bits as usize / 8)
}

fn gone(uid: &Uid) -> Error {
    Error::new(
        Kind::Pkcs11,
        CKR_OBJECT_HANDLE_INVALID,
        format!("there is no object {uid}"),
    )
}

impl KeyStore for FileStore {
    fn can(&self, _ability: Ability) -> Result<bool> {
        Ok(false)
    }

    fn locate(&self, filter: &Filter) -> Result<Vec<Uid>> {
        self.take_added();
        let query = Query {
            groups: wanted(filter, self.repository.keys())?
                .into_iter()
                .map(|tag| vec![tag])
                .collect(),
            limit: usize::MAX,
            ..Query::default()
        };
        let objects = self.repository.objects(&query)?;
        let mut uids = Vec::with_capacity(objects.len());
        for (_, object) in objects {
            match object {
                Ok(object) => uids.push(object.uid.clone()),
                // The others are used all the same.
                Err(e) => crate::log!(Error, "{}: {e}", self.path.display()),
            }
        }
        Ok(uids)
    }

    fn meta(&self, uids: &[Uid]) -> Result<Vec<Meta>> {
        self.repository.read(|snapshot| {
            let mut metas = Vec::with_capacity(uids.len());
            for uid in uids {
                metas.extend(snapshot.get(&uid.0)?.map(|object| object.meta()));
            }
            Ok(metas)
        })
    }

    fn create(&self, spec: &Spec) -> Result<Uid> {
        Ok(self.put(vec![(spec, new_value(spec)?)], false)?.remove(0))
    }

    fn create_pair(&self, public: &Spec, private: &Spec) -> Result<(Uid, Uid)> {
        let pair = match private.algorithm {
            Algorithm::Rsa => PrivateKey::generate_rsa(private.bits, &[1, 0, 1])?,
            Algorithm::Ec(curve) => PrivateKey::generate_ec(curve)?,
            _ => return self.unsupported("make key pairs of this algorithm"),
        };
        let values = (Secret::new(pair.public()?.to_spki()?), pair.to_pkcs8()?);
        let uids = self.put(vec![(public, values.0), (private, values.1)], true)?;
        let [public, private] = uids.try_into().expect("two objects were put");
        Ok((public, private))
    }

    fn register(&self, spec: &Spec, value: &[u8]) -> Result<Uid> {
        Ok(self
            .put(vec![(spec, Secret::new(value.to_vec()))], false)?
            .remove(0))
    }

    fn fetch(&self, uid: &Uid) -> Result<Secret> {
        Ok(self.object(uid)?.value.duplicate())
    }

    fn update(&self, uid: &Uid, changes: &Changes) -> Result<()> {
        self.change(uid, |about| about.update(changes))
    }

    fn activate(&self, uid: &Uid) -> Result<()> {
        self.change(uid, |about| {
            if about.state == Some(State::PreActive) {
                about.state = Some(State::Active);
                about.activation_date = Some(now());
            }
        })
    }

    fn revoke(&self, uid: &Uid, reason: Revocation) -> Result<()> {
        self.change(uid, |about| {
            if about.state.is_some() {
                about.state = Some(if reason == Revocation::KeyCompromise {
                    State::Compromised
                } else {
                    State::Deactivated
                });
                about.deactivation_date = Some(about.deactivation_date.unwrap_or_else(now));
            }
        })
    }

    fn destroy(&self, uid: &Uid) -> Result<()> {
        self.repository.write(|snapshot| {
            get(snapshot, uid)?;
            let entry = Entry {
                uid: uid.0.clone(),
                put: None,
            };
            Ok((vec![entry], ()))
        })
    }

    fn encrypt(
        &self,
        _uid: &Uid,
        _algorithm: Algorithm,
        _cipher: &Cipher,
        _data: &[u8],
    ) -> Result<Vec<u8>> {
        self.unsupported("encrypt")
    }

    fn decrypt(
        &self,
        _uid: &Uid,
        _algorithm: Algorithm,
        _cipher: &Cipher,
        _data: &[u8],
    ) -> Result<Secret> {
        self.unsupported("decrypt")
    }

    fn sign(&self, _uid: &Uid, _signing: Signing, _message: Message<'_>) -> Result<Vec<u8>> {
        self.unsupported("sign")
    }

    fn mac(&self, _uid: &Uid, _mac: Mac, _data: &[u8]) -> Result<Vec<u8>> {
        self.unsupported("authenticate")
    }

    fn random(&self, len: usize) -> Result<Secret> {
        rng::bytes(len)
    }
}

/// What is kept about an object, as it is written. Fields may be added; none changes its meaning.
#[derive(Clone, Serialize, Deserialize)]
struct About {
    class: Class,
    algorithm: Algorithm,
    bits: u32,
    usage: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<State>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    /// Hexadecimal: labels and identifiers are free bytes.
    label: String,
    id: String,
    sensitive: bool,
    extractable: bool,
    initial_date: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    activation_date: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deactivation_date: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pair: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    properties: BTreeMap<String, String>,
}

impl About {
    fn of(spec: &Spec, now: i64) -> About {
        let is_key = matches!(
            spec.class,
            Class::SecretKey | Class::PublicKey | Class::PrivateKey
        );
        About {
            class: spec.class,
            algorithm: spec.algorithm,
            bits: spec.bits,
            usage: spec.usage.0,
            state: is_key.then_some(State::Active),
            name: spec.name.clone(),
            group: spec.group.clone(),
            label: HEXLOWER.encode(&spec.label),
            id: HEXLOWER.encode(&spec.id),
            sensitive: spec.sensitive,
            extractable: spec.extractable,
            initial_date: now,
            activation_date: is_key.then_some(now),
            deactivation_date: None,
            pair: None,
            properties: spec.properties.clone(),
        }
    }

    fn entry(&self, keys: &Keys, uid: &Uid, value: &Secret) -> Result<Entry> {
        Ok(Entry {
            uid: uid.0.clone(),
            put: Some(self.put(keys, value)?),
        })
    }

    fn update(&mut self, changes: &Changes) {
        if let Some(label) = &changes.label {
            self.label = HEXLOWER.encode(label);
        }
        if let Some(id) = &changes.id {
            self.id = HEXLOWER.encode(id);
        }
        self.sensitive = changes.sensitive.unwrap_or(self.sensitive);
        self.extractable = changes.extractable.unwrap_or(self.extractable);
        self.properties.extend(changes.properties.clone());
    }

    fn is_public(&self) -> bool {
        is_shown_to_all(self.class, &self.properties)
    }

    fn to_bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|e| {
            let message = "an object cannot be written";
            Error::new(Kind::Pkcs11, CKR_DEVICE_ERROR, message).because(e)
        })
    }

    fn put(&self, keys: &Keys, value: &Secret) -> Result<Put> {
        let fields = [
            Some(Field::Class(self.class)),
            Some(Field::Label(&self.label)),
            Some(Field::Id(&self.id)),
            self.name.as_deref().map(Field::Name),
            self.group.as_deref().map(Field::Group),
        ];
        Ok(Put {
            about: self.to_bytes()?,
            value: value.duplicate(),
            tags: tags(keys, fields)?,
            counted: None,
            is_public: self.is_public(),
        })
    }

    /// The state at `now`. A revocation is kept; what goes by the calendar is not.
    fn state_at(&self, now: i64) -> Option<State> {
        match self.state {
            Some(State::PreActive) => Some(State::of_dates(
                self.activation_date,
                self.deactivation_date,
                now,
            )),
            // It was activated, whatever date says so.
            Some(State::Active) => {
                Some(State::of_dates(Some(i64::MIN), self.deactivation_date, now))
            }
            state => state,
        }
    }
}

impl FileObject {
    fn meta(&self) -> Meta {
        let about = &self.about;
        Meta {
            uid: self.uid.clone(),
            class: about.class,
            algorithm: about.algorithm,
            bits: about.bits,
            usage: Usage(about.usage),
            state: about.state_at(now()),
            names: about.name.iter().cloned().collect(),
            groups: about.group.iter().cloned().collect(),
            label: HEXLOWER.decode(about.label.as_bytes()).ok(),
            id: HEXLOWER.decode(about.id.as_bytes()).ok(),
            sensitive: Some(about.sensitive),
            extractable: Some(about.extractable),
            initial_date: Some(about.initial_date),
            activation_date: about.activation_date,
            deactivation_date: about.deactivation_date,
            protect_stop: None,
            pair: about.pair.clone().map(Uid),
            properties: about.properties.clone(),
            nonce: None,
        }
    }
}

impl Record for FileObject {
    fn parse(uid: &str, about: &[u8], value: Secret) -> Result<FileObject> {
        let about = serde_json::from_slice(about).map_err(|e| {
            let message = "an object was written by another version of mrhsm";
            Error::new(Kind::File, CKR_DEVICE_ERROR, message).because(e)
        })?;
        Ok(FileObject {
            uid: Uid(uid.to_owned()),
            about,
            value,
        })
    }

    fn stored(self, keys: &Keys) -> Result<Put> {
        self.about.put(keys, &self.value)
    }
}

/// A field that is looked up by, with its value.
enum Field<'a> {
    Name(&'a str),
    Group(&'a str),
    Class(Class),
    Label(&'a str),
    Id(&'a str),
}

fn tags<'a>(keys: &Keys, fields: impl IntoIterator<Item = Option<Field<'a>>>) -> Result<Vec<Tag>> {
    let tag = |field| match field {
        Field::Name(name) => keys.tag(1, name.as_bytes()),
        Field::Group(group) => keys.tag(2, group.as_bytes()),
        Field::Class(class) => keys.tag(3, &[number_of(class)]),
        Field::Label(label) => keys.tag(4, label.as_bytes()),
        Field::Id(id) => keys.tag(5, id.as_bytes()),
    };
    fields.into_iter().flatten().map(tag).collect()
}

/// What stands for a class in its tag, whatever the order in which they are declared.
fn number_of(class: Class) -> u8 {
    match class {
        Class::SecretKey => 1,
        Class::PublicKey => 2,
        Class::PrivateKey => 3,
        Class::Certificate => 4,
        Class::Data => 5,
    }
}

/// The tags of what a filter asks for.
fn wanted(filter: &Filter, keys: &Keys) -> Result<Vec<Tag>> {
    let label = filter.label.as_deref().map(|bytes| HEXLOWER.encode(bytes));
    let id = filter.id.as_deref().map(|bytes| HEXLOWER.encode(bytes));
    let fields = [
        filter.name.as_deref().map(Field::Name),
        filter.group.as_deref().map(Field::Group),
        filter.class.map(Field::Class),
        label.as_deref().map(Field::Label),
        id.as_deref().map(Field::Id),
    ];
    tags(keys, fields)
}

#[cfg(test)]
mod tests;
