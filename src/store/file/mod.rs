//! Keys in the token directory: a [`KeyStore`] over one sealed [`journal`], with an index in memory.
//!
//! Values are fetched and used locally: the store itself does no cryptography with them. What another process writes is seen
//! by the next call, for the price of one `stat`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::ck::{CKR_DEVICE_ERROR, CKR_FUNCTION_NOT_SUPPORTED, CKR_KEY_SIZE_RANGE, CKR_OBJECT_HANDLE_INVALID};
use crate::crypto::pkey::PrivateKey;
use crate::crypto::rng;
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;
use crate::store::{
    Ability, Algorithm, Changes, Cipher, Class, Filter, KeyStore, Mac, Message, Meta, Revocation, Signing, Spec, State, Uid,
    Usage,
};

mod journal;

use journal::{Entry, Journal, Lock, Place};

/// The journal is rewritten when it is longer than this (bytes) and most of it is overtaken.
const WORTH_REWRITING: u64 = 1 << 20;

/// A store in a file of the token directory.
pub struct FileStore {
    path: PathBuf,
    inner: Mutex<Inner>,
}

struct Inner {
    journal: Journal,
    index: Index,
}

impl FileStore {
    /// Opens the store at `path`, sealed with the 32-byte `key`; makes an empty one when there is none.
    pub fn open(path: &Path, key: &[u8]) -> Result<FileStore> {
        let mut journal = Journal::open(path, key)?;
        let mut index = Index::default();
        index.read_on(&mut journal)?;
        Ok(FileStore { path: path.into(), inner: Mutex::new(Inner { journal, index }) })
    }

    /// Offsets of damaged records: their objects are missing, the others work.
    pub fn damaged(&self) -> Vec<u64> {
        self.inner().journal.damaged().to_vec()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Every change is one assignment after the write succeeded, so a panic in between left nothing half done.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest state, for reading.
    fn fresh(&self) -> Result<MutexGuard<'_, Inner>> {
        let mut inner = self.inner();
        let Inner { journal, index } = &mut *inner;
        index.read_on(journal)?;
        Ok(inner)
    }

    /// One transaction: `change` sees the newest state and says what to write.
    fn write<T>(&self, change: impl FnOnce(&Inner) -> Result<(Vec<Entry>, T)>) -> Result<T> {
        let mut inner = self.inner();
        let lock = inner.journal.lock()?;
        let Inner { journal, index } = &mut *inner;
        index.read_on(journal)?;
        let (entries, result) = change(&inner)?;
        if !entries.is_empty() {
            let Inner { journal, index } = &mut *inner;
            journal.append(&lock, &entries)?;
            index.read_on(journal)?;
            inner.tidy(&lock);
        }
        Ok(result)
    }

    fn put(&self, objects: Vec<(&Spec, Secret)>, pair: bool) -> Result<Vec<Uid>> {
        let now = now();
        self.write(|_| {
            let uids: Vec<Uid> = objects.iter().map(|_| new_uid()).collect::<Result<_>>()?;
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
        self.write(|inner| {
            let (mut about, value) = inner.get(uid)?;
            change(&mut about)?;
            Ok((vec![about.entry(uid, value)?], ()))
        })
    }

    fn unsupported<T>(&self, what: &str) -> Result<T> {
        let message = format!("the file store {} does not {what}: its keys are used locally", self.path.display());
        Err(Error::new(Kind::Pkcs11, CKR_FUNCTION_NOT_SUPPORTED, message))
    }
}

impl Inner {
    fn get(&self, uid: &Uid) -> Result<(About, Secret)> {
        let gone = || Error::new(Kind::Pkcs11, CKR_OBJECT_HANDLE_INVALID, format!("there is no object {uid}"));
        let place = self.index.place(&uid.0).ok_or_else(gone)?;
        let (about, value) = self.journal.read(place)?.put.ok_or_else(gone)?;
        Ok((About::parse(&about)?, value))
    }

    /// Rewrites the journal when that halves it. Not necessary for anything but room, so a failure is only logged.
    fn tidy(&mut self, lock: &Lock) {
        // What is damaged is left for whoever can mend it.
        let whole = self.journal.damaged().is_empty();
        if !whole || self.journal.len() < WORTH_REWRITING || self.index.live_bytes * 2 > self.journal.len() {
            return;
        }
        let done = self.journal.rewrite(lock, self.index.places()).and_then(|()| self.index.read_on(&mut self.journal));
        if let Err(e) = done {
            crate::log!(Warn, "the object file was not rewritten: {e}");
        }
    }
}

impl KeyStore for FileStore {
    fn can(&self, _ability: Ability) -> Result<bool> {
        Ok(false)
    }

    fn locate(&self, filter: &Filter) -> Result<Vec<Uid>> {
        Ok(self.fresh()?.index.find(filter))
    }

    fn meta(&self, uids: &[Uid]) -> Result<Vec<Meta>> {
        let inner = self.fresh()?;
        let mut metas = Vec::with_capacity(uids.len());
        for uid in uids {
            if inner.index.place(&uid.0).is_some() {
                metas.push(inner.get(uid)?.0.meta(uid.clone()));
            }
        }
        Ok(metas)
    }

    fn create(&self, spec: &Spec) -> Result<Uid> {
        if spec.bits == 0 || !spec.bits.is_multiple_of(8) {
            return Err(Error::new(Kind::Pkcs11, CKR_KEY_SIZE_RANGE, format!("a secret key cannot have {} bits", spec.bits)));
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
        Ok(self.put(vec![(spec, Secret::new(value.to_vec()))], false)?.remove(0))
    }

    fn fetch(&self, uid: &Uid) -> Result<Secret> {
        Ok(self.fresh()?.get(uid)?.1)
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
                about.state = Some(if reason == Revocation::KeyCompromise { State::Compromised } else { State::Deactivated });
                about.deactivation_date = Some(about.deactivation_date.unwrap_or_else(now));
            }
            Ok(())
        })
    }

    fn destroy(&self, uid: &Uid) -> Result<()> {
        self.write(|inner| {
            inner.get(uid)?;
            Ok((vec![Entry { uid: uid.0.clone(), put: None }], ()))
        })
    }

    fn encrypt(&self, _uid: &Uid, _algorithm: Algorithm, _cipher: &Cipher, _data: &[u8]) -> Result<Vec<u8>> {
        self.unsupported("encrypt")
    }

    fn decrypt(&self, _uid: &Uid, _algorithm: Algorithm, _cipher: &Cipher, _data: &[u8]) -> Result<Secret> {
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
        let is_key = matches!(spec.class, Class::SecretKey | Class::PublicKey | Class::PrivateKey);
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

    fn parse(text: &[u8]) -> Result<About> {
        serde_json::from_slice(text)
            .map_err(|e| Error::new(Kind::File, CKR_DEVICE_ERROR, "an object was written by another version of mrhsm").because(e))
    }

    fn entry(&self, uid: &Uid, value: Secret) -> Result<Entry> {
        let about = serde_json::to_vec(self)
            .map_err(|e| Error::new(Kind::Pkcs11, CKR_DEVICE_ERROR, "an object cannot be written").because(e))?;
        Ok(Entry { uid: uid.0.clone(), put: Some((about, value)) })
    }

    /// The state as the dates have it (KMIP spec 1.4, 3.22): nobody changes a key at the moment it expires.
    fn state_at(&self, now: i64) -> Option<State> {
        let reached = |date: Option<i64>| date.is_some_and(|date| date <= now);
        match self.state {
            Some(State::PreActive | State::Active) if reached(self.deactivation_date) => Some(State::Deactivated),
            Some(State::PreActive) if reached(self.activation_date) => Some(State::Active),
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
            pair: self.pair.map(Uid),
            properties: self.properties,
        }
    }
}

/// Where each object is, and which objects have a given name, group, class, label or identifier.
#[derive(Default)]
struct Index {
    places: HashMap<String, (u32, Place)>,
    uids: BTreeMap<u32, String>,
    tags: HashMap<u64, BTreeSet<u32>>,
    next: u32,
    hasher: RandomState,
    live_bytes: u64,
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

impl Index {
    fn read_on(&mut self, journal: &mut Journal) -> Result<()> {
        let mut news = journal.read_on()?;
        if news.restarted {
            *self = Index::default();
        }
        for met in news.entries.drain(..) {
            self.remove(&met.entry.uid, journal);
            let Some((about, _)) = met.entry.put else { continue };
            match About::parse(&about) {
                Ok(about) => self.insert(met.entry.uid, &about, met.place),
                Err(e) => crate::log!(Error, "object {}: {e}", met.entry.uid),
            }
        }
        Ok(())
    }

    fn insert(&mut self, uid: String, about: &About, place: Place) {
        let number = self.next;
        self.next += 1;
        for tag in tags(about) {
            self.tags.entry(self.hasher.hash_one(tag)).or_default().insert(number);
        }
        self.live_bytes += place.bytes();
        self.uids.insert(number, uid.clone());
        self.places.insert(uid, (number, place));
    }

    fn remove(&mut self, uid: &str, journal: &Journal) {
        let Some((number, place)) = self.places.remove(uid) else { return };
        self.uids.remove(&number);
        self.live_bytes -= place.bytes();
        // The tags are those of the record that is overtaken, so it is read once more.
        let Ok(Some((about, _))) = journal.read(place).map(|e| e.put) else { return };
        let Ok(about) = About::parse(&about) else { return };
        for tag in tags(&about) {
            let tag = self.hasher.hash_one(tag);
            if let Some(numbers) = self.tags.get_mut(&tag) {
                numbers.remove(&number);
                if numbers.is_empty() {
                    self.tags.remove(&tag);
                }
            }
        }
    }

    fn place(&self, uid: &str) -> Option<Place> {
        self.places.get(uid).map(|(_, place)| *place)
    }

    fn places(&self) -> impl Iterator<Item = Place> + use<> {
        let places: Vec<Place> = self.uids.values().filter_map(|uid| self.place(uid)).collect();
        places.into_iter()
    }

    /// Objects that have every field of the filter, oldest first.
    fn find(&self, filter: &Filter) -> Vec<Uid> {
        let label = filter.label.as_deref().map(|bytes| HEXLOWER.encode(bytes));
        let id = filter.id.as_deref().map(|bytes| HEXLOWER.encode(bytes));
        let wanted = [
            filter.name.as_deref().map(Tag::Name),
            filter.group.as_deref().map(Tag::Group),
            filter.class.map(Tag::Class),
            label.as_deref().map(Tag::Label),
            id.as_deref().map(Tag::Id),
        ];
        let mut sets = Vec::new();
        for tag in wanted.into_iter().flatten() {
            match self.tags.get(&self.hasher.hash_one(tag)) {
                Some(numbers) => sets.push(numbers),
                None => return Vec::new(),
            }
        }
        sets.sort_by_key(|numbers| numbers.len());
        let uid = |number: &u32| self.uids.get(number).cloned().map(Uid);
        match sets.split_first() {
            None => self.uids.values().cloned().map(Uid).collect(),
            Some((fewest, others)) => {
                fewest.iter().filter(|number| others.iter().all(|set| set.contains(number))).filter_map(uid).collect()
            }
        }
    }
}

fn tags(about: &About) -> impl Iterator<Item = Tag<'_>> {
    let optional = [about.name.as_deref().map(Tag::Name), about.group.as_deref().map(Tag::Group)];
    [Tag::Class(about.class), Tag::Label(&about.label), Tag::Id(&about.id)].into_iter().chain(optional.into_iter().flatten())
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// A random UUID (RFC 9562, version 4).
fn new_uid() -> Result<Uid> {
    let mut b = [0; 16];
    rng::fill(&mut b)?;
    b[6] = b[6] & 0x0f | 0x40;
    b[8] = b[8] & 0x3f | 0x80;
    let h = HEXLOWER.encode(&b);
    Ok(Uid(format!("{}-{}-{}-{}-{}", &h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..])))
}

#[cfg(test)]
mod tests;
