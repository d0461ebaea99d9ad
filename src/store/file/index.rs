//! Where each record is, and which records have a given tag.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::journal::Place;
use super::numbers::Numbers;
use super::records::Weight;

/// The index of one journal, in memory.
#[derive(Default)]
pub struct Index {
    places: HashMap<Arc<str>, Known>,
    uids: BTreeMap<u32, Arc<str>>,
    all: Numbers,
    tags: HashMap<u64, Numbers>,
    weights: HashMap<u64, Weight>,
    next: u32,
    stamp: u64,
    live_bytes: u64,
}

/// What the index knows of a record.
#[derive(Clone, Copy)]
pub struct Known {
    /// Its age: it keeps its number when it is changed.
    pub number: u32,
    /// Differs from that of every other record, and of what the record was before.
    pub stamp: u64,
    /// Where it is.
    pub place: Place,
}

impl Index {
    /// Forgets everything but which stamps were given.
    pub fn clear(&mut self) {
        *self = Index {
            stamp: self.stamp,
            ..Index::default()
        };
    }

    /// Takes a record in; under the number that it had, if it is another's successor.
    pub fn insert(&mut self, uid: String, number: Option<u32>, tags: Vec<u64>, place: Place) {
        let number = number.unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        });
        for tag in tags {
            self.tags.entry(tag).or_default().insert(number);
        }
        self.stamp += 1;
        self.live_bytes += place.bytes();
        let uid: Arc<str> = uid.into();
        self.all.insert(number);
        self.uids.insert(number, uid.clone());
        self.places.insert(
            uid,
            Known {
                number,
                stamp: self.stamp,
                place,
            },
        );
    }

    /// Takes a record out; its tags are left to [`untag`](Self::untag).
    pub fn remove(&mut self, uid: &str) -> Option<Known> {
        let known = self.places.remove(uid)?;
        self.uids.remove(&known.number);
        self.all.remove(known.number);
        self.live_bytes -= known.place.bytes();
        Some(known)
    }

    /// Takes a record's tags away.
    pub fn untag(&mut self, number: u32, tags: &[u64]) {
        for tag in tags {
            if let Some(numbers) = self.tags.get_mut(tag) {
                numbers.remove(number);
                if numbers.is_empty() {
                    self.tags.remove(tag);
                }
            }
        }
    }

    /// Adds the record at `place` to those that are weighed under `tag`.
    pub fn weigh(&mut self, tag: u64, place: Place) {
        let weight = self.weights.entry(tag).or_default();
        weight.records += 1;
        weight.bytes += place.bytes();
    }

    /// Takes the record that was at `place` from them.
    pub fn lighten(&mut self, tag: u64, place: Place) {
        if let Some(weight) = self.weights.get_mut(&tag) {
            weight.records -= 1;
            weight.bytes -= place.bytes();
            if weight.records == 0 {
                self.weights.remove(&tag);
            }
        }
    }

    /// What the records weigh that are weighed under `tag`.
    pub fn weight(&self, tag: u64) -> Weight {
        self.weights.get(&tag).copied().unwrap_or_default()
    }

    /// What is known of a record.
    pub fn known(&self, uid: &str) -> Option<Known> {
        self.places.get(uid).copied()
    }

    /// The identifier of the record of this number.
    pub fn uid(&self, number: u32) -> Option<&str> {
        self.uids.get(&number).map(|uid| &**uid)
    }

    /// The places of all records, the oldest first.
    pub fn places(&self) -> Vec<Place> {
        self.uids
            .values()
            .filter_map(|uid| self.known(uid))
            .map(|known| known.place)
            .collect()
    }

    /// How many records were ever taken in: one more than the number of the newest.
    pub fn met(&self) -> u32 {
        self.next
    }

    /// Length of all records that are not overtaken, in bytes.
    pub fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// True when there is no record.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// True when the record of this number has a tag.
    pub fn has_tag(&self, number: u32, tag: u64) -> bool {
        self.tags
            .get(&tag)
            .is_some_and(|numbers| numbers.contains(number))
    }

    /// Numbers of the records that have all of these tags.
    pub fn numbers(&self, tags: &[u64]) -> Numbers {
        let mut sets = Vec::with_capacity(tags.len());
        for tag in tags {
            match self.tags.get(tag) {
                Some(numbers) => sets.push(numbers),
                None => return Numbers::default(),
            }
        }
        // A short list first: what follows is then looked up, not intersected.
        sets.sort_by_key(|numbers| matches!(numbers, Numbers::Many(_)));
        match sets.split_first() {
            None => self.all.clone(),
            Some((first, others)) => others
                .iter()
                .fold((*first).clone(), |both, numbers| both.and(numbers)),
        }
    }
}
