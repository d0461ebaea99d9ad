//! Undo, a Batch Error Continuation Option: when an item of the batch fails, what those before it changed is put back
//! (spec 1.4, 6.13; 2.1, 9.4).

use std::cell::RefCell;
use std::collections::{HashMap, hash_map};

use super::lifecycle::{left_of, limits_of};
use super::objects::{Object, Objects};
use crate::error::Result;
use crate::storage::{Entry, Keys, Snapshot};

/// What a batch has changed.
#[derive(Default)]
pub struct Undo(RefCell<HashMap<String, Changed>>);

/// What one transaction does to one object.
pub(super) struct Note {
    uid: String,
    changed: Changed,
}

struct Changed {
    /// The object as it was before the batch; `None` when there was none.
    before: Option<Object>,
    /// What was kept about it when the batch had changed it; `None` when it was removed.
    left: Option<Vec<u8>>,
}

impl Undo {
    /// What is about to be written, and what it replaces.
    pub(super) fn notes(
        &self,
        snapshot: &Snapshot<'_, Object>,
        entries: &[Entry],
    ) -> Result<Vec<Note>> {
        let known = self.0.borrow();
        let note = |Entry { uid, put }: &Entry| {
            let before = match known.contains_key(uid) {
                true => None,
                false => snapshot.get(uid)?.map(|now| Object::clone(&now)),
            };
            let left = put.as_ref().map(|put| put.about.clone());
            Ok(Note {
                uid: uid.clone(),
                changed: Changed { before, left },
            })
        };
        entries.iter().map(note).collect()
    }

    /// Keeps what was written.
    pub(super) fn keep(&self, notes: Vec<Note>) {
        let mut changes = self.0.borrow_mut();
        for Note { uid, changed } in notes {
            match changes.entry(uid) {
                hash_map::Entry::Occupied(mut known) => known.get_mut().left = changed.left,
                hash_map::Entry::Vacant(place) => drop(place.insert(changed)),
            }
        }
    }

    /// Notes that a key was used, as `left` says: what is put back has that use behind it.
    pub(super) fn spent(&self, keys: &Keys, object: &Object, uses: i64) -> Result<()> {
        let mut changes = self.0.borrow_mut();
        let Some(changed) = changes.get_mut(&object.key()) else {
            return Ok(());
        };
        changed.left = object.entry(keys)?.put.map(|put| put.about);
        let before = changed.before.as_mut();
        if let Some(limits) = before.and_then(|before| limits_of(&mut before.attributes)) {
            limits.usage_limits_count = Some(left_of(limits).saturating_sub(uses).max(0));
        }
        Ok(())
    }

    /// Puts back what the batch changed. What somebody else has changed since stays as they left it: their answer said that it was
    /// done, and a key that they destroyed must not come back.
    pub(super) fn put_back(self, objects: &Objects) -> Result<()> {
        objects.replace(|snapshot| {
            let keys = snapshot.keys();
            let mut entries = Vec::new();
            for (uid, changed) in self.0.take() {
                let now = snapshot.get(&uid)?;
                let now = now.map(|now| now.entry(keys)).transpose()?;
                if now.and_then(|now| now.put).map(|put| put.about) == changed.left {
                    entries.push(match changed.before {
                        Some(before) => before.entry(keys)?,
                        None => Entry { uid, put: None },
                    });
                }
            }
            Ok(entries)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::engine::Caller;
    use super::super::objects::Value;
    use super::*;
    use crate::kmip::{Attributes, ObjectType};

    #[test]
    fn what_others_changed_since_stays() {
        let folder = tempfile::tempdir().unwrap();
        let objects = Objects::open(&folder.path().join("served"), &[7; 32]).unwrap();
        let caller = Caller {
            name: "client".into(),
            groups: Vec::new(),
            ..Caller::default()
        };
        let change = |undo: Option<&Undo>, uid: &str, at: i64| {
            objects.change(&caller, undo, |transaction| {
                let mut object = transaction.get(uid).unwrap_or_else(|_| {
                    Object::new(
                        &caller,
                        ObjectType::SYMMETRIC_KEY,
                        Value::Gone,
                        Attributes::new(),
                    )
                });
                object.uid = uid.to_owned();
                object.dates.activation = Some(at);
                transaction.put(&object)
            })
        };
        let activation = |uid: &str| {
            objects
                .get(uid, &caller)
                .ok()
                .map(|object| object.dates.activation.unwrap())
        };
        for uid in ["mine", "shared"] {
            change(None, uid, 1).unwrap_or_else(|_| panic!());
        }
        let undo = Undo::default();
        for uid in ["mine", "shared", "new", "mine"] {
            change(Some(&undo), uid, 2).unwrap_or_else(|_| panic!());
        }
        change(None, "shared", 3).unwrap_or_else(|_| panic!());
        undo.put_back(&objects).unwrap();
        assert_eq!(
            ["mine", "shared", "new"].map(activation),
            [Some(1), Some(3), None]
        );
    }
}
