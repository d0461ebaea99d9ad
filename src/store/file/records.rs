//! Records of any kind over one [`journal`](super::journal), found by an index in memory.
//!
//! [`FileStore`](super::FileStore) keeps a token's objects in it, the embedded KMIP server its own: what a record says is
//! theirs; how it is written, found and shared between processes is here.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, Hash, RandomState};
use std::marker::PhantomData;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::journal::{Entry, Journal, Lock, Place};
use crate::error::Result;
use crate::secret::Secret;

/// The journal is rewritten when it is longer than this (bytes) and most of it is overtaken.
pub const WORTH_REWRITING: u64 = 1 << 20;

/// What is kept about an object, beside its value.
pub trait Record: Sized {
    /// Reads what was written about an object.
    fn parse(about: &[u8]) -> Result<Self>;

    /// Everything it shall be found by.
    fn tags(&self, tagger: &Tagger) -> Vec<u64>;
}

/// Makes numbers of what is looked up: the same for the same, within one process.
#[derive(Clone, Default)]
pub struct Tagger(RandomState);

impl Tagger {
    /// The number of this.
    pub fn tag(&self, what: impl Hash) -> u64 {
        self.0.hash_one(what)
    }
}

/// The records of one file. Every call sees what other processes wrote before it, for the price of one `stat`.
pub struct Records<R> {
    held: Mutex<Held<R>>,
    tagger: Tagger,
}

/// The records as they are now.
pub struct Held<R> {
    pub(super) journal: Journal,
    pub(super) index: Index,
    record: PhantomData<fn() -> R>,
}

impl<R: Record> Records<R> {
    /// Opens the file at `path`, sealed with the 32-byte `key`; makes an empty one when there is none.
    pub fn open(path: &Path, key: &[u8]) -> Result<Records<R>> {
        let mut held = Held { journal: Journal::open(path, key)?, index: Index::default(), record: PhantomData };
        let tagger = Tagger::default();
        held.read_on(&tagger)?;
        Ok(Records { held: Mutex::new(held), tagger })
    }

    /// Offsets of damaged records: their objects are missing, the others work.
    pub fn damaged(&self) -> Vec<u64> {
        self.lock().journal.damaged().to_vec()
    }

    /// What makes the numbers that records are found by.
    pub fn tagger(&self) -> &Tagger {
        &self.tagger
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Held<R>> {
        // Every change is one assignment after the write succeeded, so a panic in between left nothing half done.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest state, for reading.
    pub fn read(&self) -> Result<MutexGuard<'_, Held<R>>> {
        let mut held = self.lock();
        held.read_on(&self.tagger)?;
        Ok(held)
    }

    /// One transaction: `change` sees the newest state and says what to write.
    pub fn write<T, E: From<crate::error::Error>>(
        &self,
        change: impl FnOnce(&Held<R>) -> std::result::Result<(Vec<Entry>, T), E>,
    ) -> std::result::Result<T, E> {
        let mut held = self.lock();
        let lock = held.journal.lock()?;
        held.read_on(&self.tagger)?;
        let (entries, result) = change(&held)?;
        if !entries.is_empty() {
            held.journal.append(&lock, &entries)?;
            held.read_on(&self.tagger)?;
            held.tidy(&lock, &self.tagger);
        }
        Ok(result)
    }

    /// Takes the file away when it holds nothing any more; false, and nothing done, when there are records.
    pub fn retire(&self) -> Result<bool> {
        let mut held = self.lock();
        let _lock = held.journal.lock()?;
        held.read_on(&self.tagger)?;
        let empty = held.index.places.is_empty();
        if empty {
            held.journal.retire()?;
        }
        Ok(empty)
    }
}

impl<R: Record> Held<R> {
    /// A record and its value.
    pub fn get(&self, uid: &str) -> Result<Option<(R, Secret)>> {
        let Some(place) = self.index.place(uid) else { return Ok(None) };
        match self.journal.read(place)?.put {
            Some((about, value)) => Ok(Some((R::parse(&about)?, value))),
            None => Ok(None),
        }
    }

    /// A number that changes whenever the record does; `None` when there is none.
    pub fn stamp(&self, uid: &str) -> Option<u64> {
        self.index.places.get(uid).map(|known| known.stamp)
    }

    /// Identifiers of the records that have all of these tags, the oldest first.
    pub fn find(&self, tags: &[u64]) -> Vec<&str> {
        self.index.find(tags)
    }

    /// Numbers of the records that have all of the tags `all` and any of `some`, the oldest first.
    pub fn numbers(&self, all: &[u64], some: &[u64]) -> Vec<u32> {
        let mut lists = some.iter().map(|tag| self.index.numbers(&[all, &[*tag]].concat()));
        let first = lists.next().unwrap_or_default();
        let more: Vec<u32> = lists.flatten().collect();
        if more.is_empty() {
            return first;
        }
        first.into_iter().chain(more).collect::<BTreeSet<u32>>().into_iter().collect()
    }

    /// The identifier of the record of this number.
    pub fn uid(&self, number: u32) -> Option<&str> {
        self.index.uids.get(&number).map(String::as_str)
    }

    /// How many were ever met by this process: one more than the number of the newest record.
    pub fn met(&self) -> u32 {
        self.index.next
    }

    fn read_on(&mut self, tagger: &Tagger) -> Result<()> {
        let mut news = self.journal.read_on()?;
        if news.restarted {
            self.index = Index { stamp: self.index.stamp, ..Index::default() };
        }
        for met in news.entries.drain(..) {
            let number = self.remove(&met.entry.uid, tagger);
            let Some((about, _)) = met.entry.put else { continue };
            match R::parse(&about) {
                Ok(record) => self.index.insert(met.entry.uid, number, record.tags(tagger), met.place),
                Err(e) => crate::log!(Error, "object {}: {e}", met.entry.uid),
            }
        }
        Ok(())
    }

    fn remove(&mut self, uid: &str, tagger: &Tagger) -> Option<u32> {
        let known = self.index.places.remove(uid)?;
        self.index.uids.remove(&known.number);
        self.index.live_bytes -= known.place.bytes();
        // The tags are those of the record that is overtaken, so it is read once more.
        if let Ok(Some((about, _))) = self.journal.read(known.place).map(|entry| entry.put)
            && let Ok(record) = R::parse(&about)
        {
            self.index.untag(known.number, &record.tags(tagger));
        }
        Some(known.number)
    }

    /// Rewrites the journal when that halves it. Not necessary for anything but room, so a failure is only logged.
    fn tidy(&mut self, lock: &Lock, tagger: &Tagger) {
        // What is damaged is left for whoever can mend it.
        let whole = self.journal.damaged().is_empty();
        if !whole || self.journal.size() < WORTH_REWRITING || self.index.live_bytes * 2 > self.journal.size() {
            return;
        }
        let places = self.index.places();
        let done = self.journal.rewrite(lock, places.into_iter()).and_then(|()| self.read_on(tagger));
        if let Err(e) = done {
            crate::log!(Warn, "the object file was not rewritten: {e}");
        }
    }
}

/// Where each record is, and which records have a given tag.
#[derive(Default)]
pub(super) struct Index {
    places: HashMap<String, Known>,
    uids: BTreeMap<u32, String>,
    tags: HashMap<u64, BTreeSet<u32>>,
    next: u32,
    stamp: u64,
    live_bytes: u64,
}

/// What the index knows of a record.
struct Known {
    /// Its age: it keeps its number when it is changed.
    number: u32,
    stamp: u64,
    place: Place,
}

impl Index {
    fn insert(&mut self, uid: String, number: Option<u32>, tags: Vec<u64>, place: Place) {
        let number = number.unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        });
        for tag in tags {
            self.tags.entry(tag).or_default().insert(number);
        }
        self.stamp += 1;
        self.live_bytes += place.bytes();
        self.uids.insert(number, uid.clone());
        self.places.insert(uid, Known { number, stamp: self.stamp, place });
    }

    fn untag(&mut self, number: u32, tags: &[u64]) {
        for tag in tags {
            if let Some(numbers) = self.tags.get_mut(tag) {
                numbers.remove(&number);
                if numbers.is_empty() {
                    self.tags.remove(tag);
                }
            }
        }
    }

    pub(super) fn place(&self, uid: &str) -> Option<Place> {
        self.places.get(uid).map(|known| known.place)
    }

    pub(super) fn places(&self) -> Vec<Place> {
        self.uids.values().filter_map(|uid| self.place(uid)).collect()
    }

    fn find(&self, tags: &[u64]) -> Vec<&str> {
        let uid = |number| self.uids.get(&number).map(String::as_str);
        self.numbers(tags).into_iter().filter_map(uid).collect()
    }

    /// Numbers of the records that have all of these tags, in their order.
    fn numbers(&self, tags: &[u64]) -> Vec<u32> {
        let mut sets = Vec::with_capacity(tags.len());
        for tag in tags {
            match self.tags.get(tag) {
                Some(numbers) => sets.push(numbers),
                None => return Vec::new(),
            }
        }
        sets.sort_by_key(|numbers| numbers.len());
        match sets.split_first() {
            None => self.uids.keys().copied().collect(),
            Some((fewest, others)) => {
                fewest.iter().copied().filter(|number| others.iter().all(|set| set.contains(number))).collect()
            }
        }
    }
}

/// A random UUID (RFC 9562, version 4).
pub fn new_uid() -> Result<String> {
    let mut b = [0; 16];
    crate::crypto::rng::fill(&mut b)?;
    b[6] = b[6] & 0x0f | 0x40;
    b[8] = b[8] & 0x3f | 0x80;
    let h = data_encoding::HEXLOWER.encode(&b);
    Ok(format!("{}-{}-{}-{}-{}", &h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..]))
}
