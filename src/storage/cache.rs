//! Opened objects of one database, in locked memory and bounded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::engine::{Id, Query, Row, Stamp, Tag};
use super::seal::version_of;
use crate::error::Result;

/// How many objects each of two generations has at most.
const GENERATION: usize = 2048;
/// How many searches are cached, and how many objects of each at most.
const SEARCHES: usize = 1024;
const FEW: usize = 16;
/// The longest row that is cached, in bytes.
const LARGE: usize = 16 << 10;

/// Objects as they were read last. When the younger generation is full it becomes the older, and what was not used since goes.
pub struct Cache<R>(Mutex<Inner<R>>);

/// A state of a database, as far as the cache has to tell it from others.
#[derive(Clone, Copy)]
pub struct Seen {
    /// The engine's name for it.
    pub stamp: Option<Stamp>,
    /// How many changes this process had made.
    changes: u64,
}

struct Inner<R> {
    /// How many changes this process has made.
    changes: u64,
    young: HashMap<Id, Entry<R>>,
    old: HashMap<Id, Entry<R>>,
    /// What searches found in the state of the stamp.
    found: HashMap<Query, Vec<(i64, Arc<R>)>>,
    found_in: Stamp,
}

struct Entry<R> {
    object: Arc<R>,
    tags: Arc<[Tag]>,
    version: [u8; 8],
    /// The state of the database in which it had this version.
    stamp: Option<Stamp>,
}

impl<R> Default for Cache<R> {
    fn default() -> Cache<R> {
        Cache(Mutex::new(Inner {
            changes: 0,
            young: HashMap::new(),
            old: HashMap::new(),
            found: HashMap::new(),
            found_in: Stamp::default(),
        }))
    }
}

impl<R> Inner<R> {
    fn find(&mut self, id: &Id) -> Option<&mut Entry<R>> {
        if !self.young.contains_key(id) {
            let entry = self.old.remove(id)?;
            self.insert(*id, entry);
        }
        self.young.get_mut(id)
    }

    fn insert(&mut self, id: Id, entry: Entry<R>) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id, entry);
    }
}

impl<R> Cache<R> {
    fn lock(&self) -> MutexGuard<'_, Inner<R>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state of this stamp, which is being read.
    pub fn seen(&self, stamp: Option<Stamp>) -> Seen {
        let changes = self.lock().changes;
        Seen { stamp, changes }
    }

    /// An object as it is in the state of this stamp, if that is known.
    pub fn get(&self, id: &Id, stamp: Stamp) -> Option<Arc<R>> {
        let mut inner = self.lock();
        let entry = inner.find(id).filter(|entry| entry.stamp == Some(stamp))?;
        Some(entry.object.clone())
    }

    /// An object and its tags, if this is its version; it is that in the state `seen` too.
    pub fn confirm(&self, id: &Id, version: [u8; 8], seen: Seen) -> Option<(Arc<R>, Arc<[Tag]>)> {
        let mut inner = self.lock();
        let entry = inner.find(id).filter(|entry| entry.version == version)?;
        entry.stamp = seen.stamp;
        Some((entry.object.clone(), entry.tags.clone()))
    }

    /// Caches an object that a row contains, unless this process has changed objects since it was read: what is destroyed
    /// does not come back.
    pub fn put(&self, row: &Row, (object, tags): (Arc<R>, Arc<[Tag]>), seen: Seen) {
        if row.sealed.len() > LARGE {
            return;
        }
        let entry = Entry {
            object,
            tags,
            version: version_of(&row.sealed),
            stamp: seen.stamp,
        };
        let mut inner = self.lock();
        if inner.changes == seen.changes {
            inner.insert(row.id, entry);
        }
    }

    /// What a search found in this state, if it was done before.
    pub fn found(&self, query: &Query, stamp: Stamp) -> Option<Vec<(i64, Arc<R>)>> {
        let inner = self.lock();
        match inner.found_in == stamp {
            true => inner.found.get(query).cloned(),
            false => None,
        }
    }

    /// Keeps what a search found, if that is little and whole.
    pub fn keep_found(&self, query: &Query, found: &[(i64, Result<Arc<R>>)], seen: Seen) {
        let Some(stamp) = seen.stamp else { return };
        let whole = found
            .iter()
            .map(|(number, object)| Some((*number, object.as_ref().ok()?.clone())));
        let Some(whole) = whole
            .collect::<Option<Vec<_>>>()
            .filter(|whole| whole.len() <= FEW)
        else {
            return;
        };
        let mut inner = self.lock();
        if inner.changes != seen.changes {
            return;
        }
        if inner.found_in != stamp || inner.found.len() >= SEARCHES {
            inner.found = HashMap::new();
            inner.found_in = stamp;
        }
        inner.found.insert(query.clone(), whole);
    }

    /// Forgets an object, whose value is wiped.
    pub fn forget(&self, id: &Id) {
        let mut inner = self.lock();
        inner.changes += 1;
        inner.found = HashMap::new();
        inner.young.remove(id);
        inner.old.remove(id);
    }
}
