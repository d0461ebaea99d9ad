//! What the server holds: objects in a repository, who knows them, and how they are found.
//!
//! What one request changes is one transaction.

use std::path::Path;
use std::sync::Arc;

use super::budget::{LOOK, Meter, Quotas, exceeded, size};
use super::context::Context;
use super::engine::Caller;
use super::marks::{Mark, Shelf, attribute_tag};
pub use super::object::{Object, Share, Value};
use super::object::{WHOSE, uid_of};
use super::personality::{Ids, Personality};
use super::undo::Undo;
use super::wording::client_text;
use crate::error::{Error, Result};
use crate::kmip::*;
use crate::storage::{self, Entry, Keys, Query, Repository, Snapshot, new_uuid};
pub use crate::store::now;
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
        Refusal::Item(ResultReason::GENERAL_FAILURE, client_text(&error))
    }
}

/// Outcome of an item.
pub type Outcome<T> = std::result::Result<T, Refusal>;

/// A condition that only the object itself can answer.
pub type Fits<'a> = &'a mut dyn FnMut(&Object) -> Outcome<bool>;

/// What is looked for.
pub struct Search<'a> {
    /// Attributes that the objects have exactly so. All must be indexed.
    pub exact: Vec<AttributeValue>,
    /// Where to look.
    pub shelves: &'a [Shelf],
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
    /// How many there are is wanted too.
    pub counts: bool,
}

impl Default for Search<'_> {
    /// Everything that is not destroyed.
    fn default() -> Self {
        Search {
            exact: Vec::new(),
            shelves: &[Shelf::OnLine, Shelf::Archived],
            state: None,
            oldest_first: false,
            fits: None,
            meter: None,
            offset: 0,
            most: usize::MAX,
            counts: false,
        }
    }
}

/// What a search found.
#[derive(Debug, Default)]
pub struct Found {
    /// How many objects match; `None` if that was not wanted, or they are more than [`COUNTED`].
    pub total: Option<usize>,
    /// Identifiers of the wanted ones.
    pub uids: Vec<String>,
}

/// Up to how many matches are counted beyond those that are answered.
const COUNTED: usize = 500;

/// How many objects are read before other requests have their turn.
const PAGE: usize = 64;

/// A larger object is not compared with the limits while nothing is added to it, in bytes.
const LARGE: u64 = 16 << 10;

/// A change that adds fewer bytes to what is there is not measured against the quota.
const QUIET: u64 = 4 << 10;

/// All objects.
pub struct Objects {
    repository: Repository<Object>,
}

impl Objects {
    /// Opens the objects at `path`, sealed with the 32-byte `key`.
    pub fn open(path: &Path, key: &[u8]) -> Result<Objects> {
        Ok(Objects {
            repository: Repository::open(path, key)?,
        })
    }

    /// Opens the objects in a database that `connect` opens.
    pub fn connect(connect: storage::Connect<'_>, key: &[u8]) -> Result<Objects> {
        Ok(Objects {
            repository: Repository::connect(connect, key)?,
        })
    }

    /// What administrators may do with the database.
    pub fn repository(&self) -> &Repository<Object> {
        &self.repository
    }

    /// An object that this client may know of. Others are not so much as read: how long it takes, too, tells nothing of them.
    pub fn get(&self, uid: &str, caller: &Caller) -> Outcome<Arc<Object>> {
        // Of several that have the identifier, the client's own comes first.
        if let Some(object) = self.repository.get_current(uid)?
            && object.owner == caller.name
            && !object.chosen
        {
            return Ok(object);
        }
        let found = self.repository.get_by(|snapshot| {
            let object = known_to(snapshot, caller, uid)?;
            Ok(object.map(|object| (object.key(), object)))
        })?;
        found.ok_or_else(not_found)
    }

    /// Objects that this client may know of, the newest first unless `search` says otherwise. Where `search` has no condition
    /// beside exact attributes, only those that are answered are read.
    pub fn find(&self, caller: &Caller, search: Search<'_>) -> Outcome<Found> {
        let keys = self.repository.keys();
        let mut groups = vec![whose(keys, caller, search.shelves)?];
        for value in &search.exact {
            groups.push(vec![attribute_tag(keys, value)?]);
        }
        // A state that no date ends is indexed; objects in others are looked at.
        let mut changes = false;
        if let Some(state) = search.state {
            let changing = Mark::Changing.tag(keys)?;
            let first = Query {
                groups: [&groups[..], &[vec![changing]]].concat(),
                limit: 1,
                ..Query::default()
            };
            let found = self.repository.read(|snapshot| snapshot.find(&first))?;
            changes = !found.is_empty();
            let mut states = vec![Mark::State(state.0).tag(keys)?];
            states.extend(changes.then_some(changing));
            groups.push(states);
        }
        let looks = changes || search.fits.is_some();
        let mut query = Query {
            groups,
            newest_first: !search.oldest_first,
            after: None,
            limit: PAGE,
        };
        let (mut total, mut uids, mut fits) = (0, Vec::new(), search.fits);
        loop {
            let is_full = uids.len() >= search.most;
            let is_counted = !search.counts || total > COUNTED.saturating_add(search.offset);
            if is_full && is_counted {
                break;
            }
            if !looks && (is_full || total < search.offset) {
                // They are only counted.
                query.limit = match is_full {
                    true => COUNTED,
                    false => search.offset - total,
                };
                let numbers = self.repository.read(|snapshot| snapshot.find(&query))?;
                total += numbers.len();
                query.after = numbers.last().copied();
                match numbers.len() < query.limit {
                    true => return Ok(Found::all(search.counts, total, uids)),
                    false => continue,
                }
            }
            query.limit = match looks {
                true => PAGE,
                false => PAGE.min(search.most - uids.len()),
            };
            // Other requests have their turn between the pages, and while the objects are compared.
            let page = self.repository.objects(&query)?;
            query.after = page.last().map(|(number, _)| *number);
            let is_last = page.len() < query.limit;
            for (_, object) in page {
                let object = match object {
                    Ok(object) if object.is_for(caller) => object,
                    Ok(_) => continue,
                    // The others are found all the same.
                    Err(e) => {
                        crate::log!(Error, "the server: {e}");
                        continue;
                    }
                };
                if looks {
                    search.meter.map_or(Ok(()), |meter| meter.charge(LOOK))?;
                }
                let is_in_state = search.state.is_none_or(|state| object.state() == state);
                if is_in_state && fits.as_mut().map_or(Ok(true), |fits| fits(&object))? {
                    if total >= search.offset && uids.len() < search.most {
                        uids.push(object.uid.clone());
                    }
                    total += 1;
                }
            }
            if is_last {
                return Ok(Found::all(search.counts, total, uids));
            }
        }
        Ok(Found { total: None, uids })
    }

    /// Every object whoever owns it, the oldest first.
    pub fn all(&self) -> Result<Vec<Arc<Object>>> {
        let query = Query {
            limit: usize::MAX,
            ..Query::default()
        };
        let objects = self.repository.objects(&query)?;
        objects.into_iter().map(|(_, object)| object).collect()
    }

    /// Copies every object to another database. Those that are there already stay as they are, so it can be repeated. Returns how many
    /// were copied.
    pub fn copy_to(&self, other: &Objects) -> Result<u64> {
        let mut copied = 0;
        let mut query = Query {
            limit: PAGE,
            ..Query::default()
        };
        loop {
            let page = self.repository.objects(&query)?;
            let Some((last, _)) = page.last() else {
                return Ok(copied);
            };
            query.after = Some(*last);
            let objects = page.into_iter().map(|(_, object)| object);
            let objects = objects.collect::<Result<Vec<Arc<Object>>>>()?;
            copied += other.repository.write(|snapshot| {
                let mut entries = Vec::new();
                for object in &objects {
                    if !snapshot.contains(&object.key())? {
                        entries.push(object.entry(snapshot.keys())?);
                    }
                }
                let number = entries.len() as u64;
                Ok::<_, Error>((entries, number))
            })?;
        }
    }

    /// Puts objects back as they were; nobody's quota stands against that.
    pub(super) fn replace(
        &self,
        change: impl Fn(&Snapshot<'_, Object>) -> Result<Vec<Entry>>,
    ) -> Result<()> {
        self.repository
            .write(|snapshot| Ok((change(snapshot)?, ())))
    }

    /// Changes objects: all that `change` puts or removes takes effect together, or not at all when it fails.
    pub fn change<T>(
        &self,
        caller: &Caller,
        undo: Option<&Undo>,
        change: impl Fn(&mut Transaction<'_>) -> Outcome<T>,
    ) -> Outcome<T> {
        let (result, notes) = self.repository.write(|snapshot| {
            let mut transaction = Transaction {
                snapshot,
                caller,
                entries: Vec::new(),
                made: 0,
                largest: Size::default(),
            };
            let result = change(&mut transaction)?;
            let notes = undo.map(|undo| undo.notes(snapshot, &transaction.entries));
            Ok::<_, Refusal>((transaction.entries, (result, notes.transpose()?)))
        })?;
        if let (Some(undo), Some(notes)) = (undo, notes) {
            undo.keep(notes);
        }
        Ok(result)
    }
}

impl Found {
    fn all(counts: bool, total: usize, uids: Vec<String>) -> Found {
        Found {
            total: counts.then_some(total),
            uids,
        }
    }
}

/// The object that an identifier is for this client: of several, its own, else the oldest.
fn known_to(
    snapshot: &Snapshot<'_, Object>,
    caller: &Caller,
    uid: &str,
) -> Result<Option<Arc<Object>>> {
    let keys = snapshot.keys();
    let whose = whose(keys, caller, &Shelf::ALL)?;
    let by_server = match uid.contains(WHOSE) {
        true => None,
        false => snapshot.get_tagged(uid, &whose)?,
    };
    if let Some(object) = by_server
        .as_ref()
        .filter(|object| object.owner == caller.name)
    {
        return Ok(Some(object.clone()));
    }
    let by_clients = Query {
        groups: vec![vec![Mark::Chosen(uid).tag(keys)?], whose],
        limit: usize::MAX,
        ..Query::default()
    };
    let mut known: Vec<Arc<Object>> = by_server.into_iter().collect();
    for (_, object) in snapshot.objects(&by_clients)? {
        known.push(object?);
    }
    known.retain(|object| object.is_for(caller) && object.uid == uid);
    let own = known.iter().position(|object| object.owner == caller.name);
    Ok(match own {
        Some(own) => Some(known.swap_remove(own)),
        None => known.into_iter().next(),
    })
}

/// Objects being changed.
pub struct Transaction<'a> {
    snapshot: &'a Snapshot<'a, Object>,
    caller: &'a Caller,
    entries: Vec<Entry>,
    made: i64,
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
        let object = known_to(self.snapshot, self.caller, uid)?;
        Ok(object.map(|object| Object::clone(&object)))
    }

    /// The identifiers of what is changed so far.
    pub fn uids(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| uid_of(&entry.uid))
    }

    /// Gives a new object its identifier; it is kept by [`Transaction::put`].
    pub fn name(&mut self, personality: &Personality, object: &mut Object) -> Outcome<String> {
        if personality.unique_names {
            let keys = self.snapshot.keys();
            let whose = whose(keys, self.caller, &[Shelf::OnLine, Shelf::Archived])?;
            for name in object
                .attributes
                .iter()
                .filter(|value| matches!(value, AttributeValue::Name(_)))
            {
                let query = Query {
                    groups: vec![whose.clone(), vec![attribute_tag(keys, name)?]],
                    limit: 1,
                    ..Query::default()
                };
                if !self.snapshot.find(&query)?.is_empty() {
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
                let uid = (self.snapshot.last_number()? + self.made).to_string();
                if !self.snapshot.contains(&uid)? {
                    break uid;
                }
            },
            Ids::Uuid => new_uuid()?,
        };
        Ok(object.uid.clone())
    }

    /// Keeps an object in place of what it was.
    pub fn put(&mut self, object: &Object) -> Outcome<()> {
        let entry = object.entry(self.snapshot.keys())?;
        let about = entry.put.as_ref().map_or(0, |put| put.about.len());
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
        let before = self.snapshot.get(key)?;
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
        let owner = Mark::Counted(&context.caller.name).tag(self.snapshot.keys())?;
        let uids = self.entries.iter().map(|entry| entry.uid.as_str());
        self.snapshot.prefetch(uids, &[owner])?;
        let (mut written, mut grown, mut new) = (0, 0, 0);
        for entry in &self.entries {
            let before = self.snapshot.size(&entry.uid)?;
            let now = entry
                .put
                .as_ref()
                .map_or(0, |put| (put.about.len() + put.value.len()) as u64);
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
        let owned = self.snapshot.usage(owner)?;
        let (objects, bytes) = (owned.objects.max(0) as usize, owned.bytes.max(0) as u64);
        if objects + new > quotas.objects || bytes + grown > quotas.bytes {
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
fn whose(keys: &Keys, caller: &Caller, shelves: &[Shelf]) -> Result<Vec<storage::Tag>> {
    let owners = [Some(&caller.name), caller.formerly.as_ref()];
    let owners = owners
        .into_iter()
        .flatten()
        .flat_map(|owner| shelves.iter().map(move |shelf| Mark::Owner(owner, *shelf)));
    let groups = caller
        .groups
        .iter()
        .flat_map(|group| shelves.iter().map(move |shelf| Mark::Group(group, *shelf)));
    owners.chain(groups).map(|mark| mark.tag(keys)).collect()
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
