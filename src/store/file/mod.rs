//! Keys in the token directory: a [`KeyStore`] over [`records`] in one sealed [`journal`].
//!
//! Values are fetched and used locally: the store itself does no cryptography with them. What another process writes is seen
//! by the next call, for the price of one `stat`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::ck::{
    CKR_DEVICE_ERROR, CKR_FUNCTION_NOT_SUPPORTED, CKR_KEY_SIZE_RANGE, CKR_OBJECT_HANDLE_INVALID,
};
use crate::crypto::pkey::PrivateKey;
use crate::crypto::rng;
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;
use crate::store::{
    Ability, Algorithm, Changes, Cipher, Class, Filter, KeyStore, Mac, Message, Meta, Revocation,
    Signing, Spec, State, Uid, Usage, now,
};

mod index;
pub mod journal;
pub mod numbers;
pub mod records;

use journal::Entry;
use records::{Held, Record, Records, Tagger, new_uid};

/// A store in a file of the token directory.
pub struct FileStore {
    path: PathBuf,
    records: Records<About>,
}

impl FileStore {
    /// Opens the store at `path`, sealed with the 32-byte `key`; makes an empty one when there is none.
    pub fn open(path: &Path, key: &[u8]) -> Result<FileStore> {
        Ok(FileStore {
            path: path.into(),
            records: Records::open(path, key)?,
        })
    }

    /// False when the file is gone, because [`retire`](Self::retire) took it away.
    pub fn exists(&self) -> bool {
        self.path.exists()
    }

    /// Removes the file of a store that holds nothing any more, with what it once held. One with damaged records is kept beside,
    /// as `objects.damaged`. False, and nothing done, when there are objects.
    pub fn retire(&self) -> Result<bool> {
        self.records.retire()
    }

    /// Copies objects, their identifiers too, to a new store at `path` that is sealed with another key.
    pub fn copy_to(&self, path: &Path, key: &[u8], uids: &[Uid]) -> Result<()> {
        let copy = FileStore::open(path, key)?;
        for uid in uids {
            let (about, value) = get(&*self.records.read()?, uid)?;
            copy.records
                .write(|_| Ok::<_, Error>((vec![about.entry(uid, value)?], ())))?;
        }
        Ok(())
    }

    /// Offsets of damaged records: their objects are missing, the others work.
    pub fn damaged(&self) -> Vec<u64> {
        self.records.damaged()
    }

    fn put(&self, objects: Vec<(&Spec, Secret)>, pair: bool) -> Result<Vec<Uid>> {
        let now = now();
        self.records.write(|_| {
            let uids: Vec<Uid> = objects
                .iter()
                .map(|_| new_uid().map(Uid))
                .collect::<Result<_>>()?;
            let mut entries = Vec::new();
            for (i, (spec, value)) in objects.into_iter().enumerate() {
                let mut about = About::of(spec, now);
                about.pair = pair.then(|| uids[1 - i].0.clone());
                entries.push(about.entry(&uids[i], value)?);
            }
            Ok((entries, uids))
        })
    }

    fn change(&self, uid: &Uid, change: impl FnOnce(&mut About) -> Result<()>) -> Result<()> {
        self.records.write(|state| {
            let (mut about, value) = get(state, uid)?;
            change(&mut about)?;
            Ok((vec![about.entry(uid, value)?], ()))
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

fn get(state: &Held<About>, uid: &Uid) -> Result<(About, Secret)> {
    state.get(&uid.0)?.ok_or_else(|| gone(uid))
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
        let wanted = wanted(filter, self.records.tagger());
        Ok(self
            .records
            .read()?
            .find(&wanted)
            .into_iter()
            .map(|uid| Uid(uid.to_owned()))
            .collect())
    }

    fn meta(&self, uids: &[Uid]) -> Result<Vec<Meta>> {
        let state = self.records.read()?;
        let mut metas = Vec::with_capacity(uids.len());
        for uid in uids {
            if let Some((about, _)) = state.get(&uid.0)? {
                metas.push(about.meta(uid.clone()));
            }
        }
        Ok(metas)
    }

    fn create(&self, spec: &Spec) -> Result<Uid> {
        if spec.bits == 0 || !spec.bits.is_multiple_of(8) {
            return Err(Error::new(
                Kind::Pkcs11,
                CKR_KEY_SIZE_RANGE,
                format!("a secret key cannot have {} bits", spec.bits),
            ));
        }
        let value = rng::bytes(spec.bits as usize / 8)?;
        Ok(self.put(vec![(spec, value)], false)?.remove(0))
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
        let found = self
            .records
            .get(&uid.0)?
            .map_or(Ok(None), |view| view.read::<About>())?;
        Ok(found.ok_or_else(|| gone(uid))?.1)
    }

    fn update(&self, uid: &Uid, changes: &Changes) -> Result<()> {
        self.change(uid, |about| {
            if let Some(label) = &changes.label {
                about.label = HEXLOWER.encode(label);
            }
            if let Some(id) = &changes.id {
                about.id = HEXLOWER.encode(id);
            }
            about.sensitive = changes.sensitive.unwrap_or(about.sensitive);
            about.extractable = changes.extractable.unwrap_or(about.extractable);
            about.properties.extend(changes.properties.clone());
            Ok(())
        })
    }

    fn activate(&self, uid: &Uid) -> Result<()> {
        self.change(uid, |about| {
            if about.state == Some(State::PreActive) {
                about.state = Some(State::Active);
                about.activation_date = Some(now());
            }
            Ok(())
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
            Ok(())
        })
    }

    fn destroy(&self, uid: &Uid) -> Result<()> {
        self.records.write(|state| {
            get(state, uid)?;
            Ok((
                vec![Entry {
                    uid: uid.0.clone(),
                    put: None,
                }],
                (),
            ))
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
#[derive(Serialize, Deserialize)]
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

    fn entry(&self, uid: &Uid, value: Secret) -> Result<Entry> {
        let about = serde_json::to_vec(self).map_err(|e| {
            Error::new(
                Kind::Pkcs11,
                CKR_DEVICE_ERROR,
                "an object cannot be written",
            )
            .because(e)
        })?;
        Ok(Entry {
            uid: uid.0.clone(),
            put: Some((about, value)),
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

    fn meta(self, uid: Uid) -> Meta {
        let state = self.state_at(now());
        Meta {
            uid,
            class: self.class,
            algorithm: self.algorithm,
            bits: self.bits,
            usage: Usage(self.usage),
            state,
            names: self.name.into_iter().collect(),
            groups: self.group.into_iter().collect(),
            label: HEXLOWER.decode(self.label.as_bytes()).ok(),
            id: HEXLOWER.decode(self.id.as_bytes()).ok(),
            sensitive: Some(self.sensitive),
            extractable: Some(self.extractable),
            initial_date: Some(self.initial_date),
            activation_date: self.activation_date,
            deactivation_date: self.deactivation_date,
            protect_stop: None,
            pair: self.pair.map(Uid),
            properties: self.properties,
        }
    }
}

/// A field that is looked up by, with its value.
#[derive(Hash)]
enum Tag<'a> {
    Name(&'a str),
    Group(&'a str),
    Class(Class),
    Label(&'a str),
    Id(&'a str),
}

impl Record for About {
    fn parse(text: &[u8]) -> Result<About> {
        serde_json::from_slice(text).map_err(|e| {
            Error::new(
                Kind::File,
                CKR_DEVICE_ERROR,
                "an object was written by another version of mrhsm",
            )
            .because(e)
        })
    }

    fn tags(&self, tagger: &Tagger) -> Vec<u64> {
        let optional = [
            self.name.as_deref().map(Tag::Name),
            self.group.as_deref().map(Tag::Group),
        ];
        let always = [
            Tag::Class(self.class),
            Tag::Label(&self.label),
            Tag::Id(&self.id),
        ];
        always
            .into_iter()
            .chain(optional.into_iter().flatten())
            .map(|tag| tagger.tag(tag))
            .collect()
    }
}

/// What a filter asks for, as the index has it.
fn wanted(filter: &Filter, tagger: &Tagger) -> Vec<u64> {
    let label = filter.label.as_deref().map(|bytes| HEXLOWER.encode(bytes));
    let id = filter.id.as_deref().map(|bytes| HEXLOWER.encode(bytes));
    let tags = [
        filter.name.as_deref().map(Tag::Name),
        filter.group.as_deref().map(Tag::Group),
        filter.class.map(Tag::Class),
        label.as_deref().map(Tag::Label),
        id.as_deref().map(Tag::Id),
    ];
    tags.into_iter()
        .flatten()
        .map(|tag| tagger.tag(tag))
        .collect()
}

#[cfg(test)]
mod tests;
