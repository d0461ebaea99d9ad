//! Objects of any kind in a database: sealed, found by tags, verified against the lists when they are read.
//!
//! A file token stores its objects in one, and the embedded KMIP server its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::cache::{Cache, Seen};
use super::engine::{
    ADDED, Batch, Change, Engine, Header, Id, Match, Query, Removal, Row, Rows, Tag, Tagged, Usage,
    bucket_of,
};
use super::open;
use super::seal::{Content, Keys, List, Used, version_of};
use super::sqlite::Sqlite;
use crate::ck::CKR_DEVICE_ERROR;
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;

/// The longest value and description of an object, in bytes together.
const LARGEST: usize = 64 << 20;
/// An object that a repository stores.
pub trait Record: Sized + Send + Sync {
    /// Reads what was stored about an object.
    fn parse(uid: &str, about: &[u8], value: Secret) -> Result<Self>;

    /// The tags that objects of this kind are found by, made again from what was stored: for objects of earlier builds.
    fn stored(self, tagger: &Keys) -> Result<Put>;
}

/// An object to be stored.
pub struct Put {
    /// What is stored about it.
    pub about: Vec<u8>,
    /// Its value.
    pub value: Secret,
    /// What it is found by.
    pub tags: Vec<Tag>,
    /// The tag under which it is counted.
    pub counted: Option<Tag>,
    /// It needs no PIN to be read.
    pub is_public: bool,
}

/// One object's part of a transaction.
pub struct Entry {
    /// Identifier of the object.
    pub uid: String,
    /// What is stored; `None` removes the object.
    pub put: Option<Put>,
}

/// Opens a database, with what makes the header of a new one.
pub type Connect<'a> = &'a dyn Fn(NewHeader<'_>) -> Result<Box<dyn Engine>>;

/// Makes the header of a new database.
pub type NewHeader<'a> = &'a mut dyn FnMut() -> Result<Header>;

/// The objects of one database.
pub struct Repository<R> {
    engine: Box<dyn Engine>,
    keys: Keys,
    cache: Cache<R>,
}

impl<R: Record> Repository<R> {
    /// Opens the objects at `path` on this machine, sealed with the 32-byte `key`; creates an empty database if there is none, and
    /// takes over what an earlier build stored.
    pub fn open(path: &Path, key: &[u8]) -> Result<Repository<R>> {
        open::settle::<R>(path, key)?;
        Repository::over(Box::new(Sqlite::open(path)?), key).map_err(|e| e.context(path.display()))
    }

    /// The objects of a database that `connect` opens, sealed with the 32-byte `key`. `connect` is given what makes the header of a
    /// database that has none.
    pub fn connect(connect: Connect<'_>, key: &[u8]) -> Result<Repository<R>> {
        let engine = connect(&mut || Keys::new(key)?.new_header())?;
        Repository::over(engine, key)
    }

    /// The objects of a database, sealed with the 32-byte `key`.
    pub fn over(engine: Box<dyn Engine>, key: &[u8]) -> Result<Repository<R>> {
        let mut keys = Keys::new(key)?;
        engine.read(&mut |rows| {
            let header = rows.header()?;
            keys.open_header(&header)?;
            keys.take_public(&header)
        })?;
        Ok(Repository {
            engine,
            keys,
            cache: Cache::default(),
        })
    }

    /// What makes the tags that objects are found by.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The database.
    pub fn engine(&self) -> &dyn Engine {
        &*self.engine
    }

    /// Reads one state of the database.
    pub fn read<T, E: From<Error>>(
        &self,
        work: impl Fn(&Snapshot<'_, R>) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        let mut outcome = None;
        self.engine.read(&mut |rows| {
            outcome = Some(work(&self.snapshot(rows)));
            Ok(())
        })?;
        outcome.expect("the engine calls what it is given")
    }

    /// The objects that match, in the order asked, with their numbers; an error in the place of one that is damaged.
    pub fn objects(&self, query: &Query) -> Result<Vec<(i64, Result<Arc<R>>)>> {
        let stamp = self.engine.stamp();
        if let Some(known) = stamp.and_then(|stamp| self.cache.found(query, stamp)) {
            return Ok(known
                .into_iter()
                .map(|(number, object)| (number, Ok(object)))
                .collect());
        }
        let (found, used, seen) = self.read(|snapshot| {
            let found = snapshot.rows.rows(query)?;
            let used = snapshot.used_beside(&found)?;
            Ok::<_, Error>((found, used, snapshot.seen))
        })?;
        // Other threads read meanwhile.
        let found = self.opened(query, found, used.as_ref(), seen);
        self.cache.keep_found(query, &found, seen);
        Ok(found)
    }

    /// The objects of rows that match, with their numbers; an error in the place of one that is damaged.
    fn opened(
        &self,
        query: &Query,
        found: Vec<Match>,
        used: Option<&Used>,
        seen: Seen,
    ) -> Vec<(i64, Result<Arc<R>>)> {
        let opened = |found: Match| {
            let number = found.number;
            let object = self
                .matching(query, found, used, seen)
                .map_err(|e| e.context(format_args!("the object of row {number} is damaged")));
            (number, object)
        };
        found.into_iter().map(opened).collect()
    }

    fn matching(
        &self,
        query: &Query,
        found: Match,
        used: Option<&Used>,
        seen: Seen,
    ) -> Result<Arc<R>> {
        let row = found.row.ok_or_else(|| contradiction("it is missing"))?;
        let (id, bucket) = (row.id, bucket_of(&row.id));
        let list = match (found.list, used) {
            (Some(list), _) => self.keys.open_list(bucket, &list)?,
            (None, Some(used)) if !used.contains(bucket) => List::default(),
            (None, _) => return Err(contradiction("the list of its bucket is missing")),
        };
        let row = agreed(&list, &id, Some(row))?;
        let row = row.ok_or_else(|| contradiction("it is missing"))?;
        let (object, tags) = self.object(&row, seen)?;
        match query.matches(&tags) {
            true => Ok(object),
            false => Err(contradiction("it is found by what it has not")),
        }
    }

    /// The object of a verified row, and its tags.
    fn object(&self, row: &Row, seen: Seen) -> Result<(Arc<R>, Arc<[Tag]>)> {
        if let Some(known) = self.cache.confirm(&row.id, version_of(&row.sealed), seen) {
            return Ok(known);
        }
        let content = self.keys.open_row(&row.id, &row.sealed)?;
        let value = content.value.locked()?;
        let record = Arc::new(R::parse(&content.uid, &content.about, value)?);
        let tags: Arc<[Tag]> = content.tags.into();
        self.cache.put(row, (record.clone(), tags.clone()), seen);
        Ok((record, tags))
    }

    fn snapshot<'a>(&'a self, rows: &'a dyn Rows) -> Snapshot<'a, R> {
        Snapshot {
            seen: self.cache.seen(rows.stamp()),
            rows,
            repository: self,
        }
    }

    /// An object that may be used: a loss of power does not take it away. This waits if the object is so new that it may not be on
    /// the disk yet, also if another process wrote it.
    pub fn get(&self, uid: &str) -> Result<Option<Arc<R>>> {
        if let Some(object) = self.get_current(uid)? {
            return Ok(Some(object));
        }
        self.get_by(|snapshot| Ok(snapshot.get(uid)?.map(|object| (uid.to_owned(), object))))
    }

    /// An object, if it was read before and the database was not changed since.
    pub fn get_current(&self, uid: &str) -> Result<Option<Arc<R>>> {
        let Some(stamp) = self.engine.stamp() else {
            return Ok(None);
        };
        Ok(self.cache.get(&self.keys.id(uid)?, stamp))
    }

    /// The same for an object that `choose` finds, with the identifier that it is stored under.
    pub fn get_by<T>(
        &self,
        choose: impl Fn(&Snapshot<'_, R>) -> Result<Option<(String, T)>>,
    ) -> Result<Option<T>> {
        loop {
            let Some((uid, found)) = self.read(&choose)? else {
                return Ok(None);
            };
            if self.engine.settle(&self.keys.id(&uid)?)? {
                return Ok(Some(found));
            }
        }
    }

    /// One transaction: `change` sees the present state and returns what to write. It is called again if another transaction came
    /// between.
    pub fn write<T, E: From<Error>>(
        &self,
        change: impl Fn(&Snapshot<'_, R>) -> std::result::Result<(Vec<Entry>, T), E>,
    ) -> std::result::Result<T, E> {
        let mut outcome = None;
        let mut changed = Vec::new();
        let written = self.engine.write(&mut |rows| {
            let snapshot = self.snapshot(rows);
            match change(&snapshot) {
                Ok((entries, result)) => {
                    let batch = snapshot.sealed(&entries)?;
                    changed = batch.rows.iter().map(|change| change.id).collect();
                    outcome = Some(Ok(result));
                    Ok(batch)
                }
                Err(e) => {
                    outcome = Some(Err(e));
                    Ok(Batch::default())
                }
            }
        });
        changed.iter().for_each(|id| self.cache.forget(id));
        written?;
        outcome.expect("the engine calls what it is given")
    }

    /// Takes over the objects that were added without the token's key. None replaces an object.
    pub fn take_added(&self) -> Result<()> {
        let is_done = |added: Option<Vec<Content>>| added.is_some_and(|added| added.is_empty());
        if is_done(self.read(|snapshot| snapshot.added())?) {
            return Ok(());
        }
        self.engine.write(&mut |rows| {
            let snapshot = self.snapshot(rows);
            let mut entries = Vec::new();
            let added = match snapshot.added()? {
                Some(added) => added,
                None => snapshot.sealed_otherwise()?,
            };
            for Content {
                uid, about, value, ..
            } in added
            {
                let put = R::parse(&uid, &about, value)?.stored(&self.keys)?;
                entries.push(Entry {
                    uid,
                    put: Some(put),
                });
            }
            let mut batch = snapshot.sealed(&entries)?;
            batch
                .lists
                .push((ADDED, self.keys.public()?.seal_added(&[])?));
            Ok(batch)
        })
    }

    /// Removes a database without objects; one that is damaged remains beside, as `NAME.damaged`. False, and nothing done, if there
    /// are objects.
    pub fn retire(&self) -> Result<bool> {
        let is_damaged = !self.check()?.is_empty();
        self.engine.remove(&mut |rows| {
            let all = Query {
                limit: usize::MAX,
                ..Query::default()
            };
            let is_used = self
                .snapshot(rows)
                .objects(&all)?
                .iter()
                .any(|(_, object)| object.is_ok());
            Ok(match (is_used, is_damaged) {
                (true, _) => Removal::No,
                (false, true) => Removal::Aside,
                (false, false) => Removal::Yes,
            })
        })
    }
}

/// One state of a database.
pub struct Snapshot<'a, R> {
    pub(super) rows: &'a dyn Rows,
    seen: Seen,
    repository: &'a Repository<R>,
}

impl<R: Record> Snapshot<'_, R> {
    /// An object. Errors: it is damaged, or was removed or replaced by others than us.
    pub fn get(&self, uid: &str) -> Result<Option<Arc<R>>> {
        let id = self.repository.keys.id(uid)?;
        if let Some(stamp) = self.seen.stamp
            && let Some(object) = self.repository.cache.get(&id, stamp)
        {
            return Ok(Some(object));
        }
        let (row, list) = self.rows.get(&id)?;
        self.verified(&id, row, list.as_deref())
            .and_then(|row| {
                row.map(|row| Ok(self.repository.object(&row, self.seen)?.0))
                    .transpose()
            })
            .map_err(|e| e.context(format_args!("object {uid} is damaged")))
    }

    /// The same for an object that has one of these tags. An object that has none of them is not opened.
    pub fn get_tagged(&self, uid: &str, any: &[Tag]) -> Result<Option<Arc<R>>> {
        let id = self.repository.keys.id(uid)?;
        let Tagged {
            row,
            is_there,
            list,
        } = self.rows.get_tagged(&id, any)?;
        if is_there && row.is_none() {
            return Ok(None);
        }
        let damaged = |e: Error| e.context(format_args!("object {uid} is damaged"));
        match self.verified(&id, row, list.as_deref()).map_err(damaged)? {
            Some(row) => {
                let (object, tags) = self.repository.object(&row, self.seen).map_err(damaged)?;
                match any.iter().any(|tag| tags.contains(tag)) {
                    true => Ok(Some(object)),
                    false => Err(damaged(contradiction("it is found by what it has not"))),
                }
            }
            None => Ok(None),
        }
    }

    /// The objects that match, in the order asked, with their numbers. One that is damaged, or does not match although the database
    /// says so, is an error in its place.
    pub fn objects(&self, query: &Query) -> Result<Vec<(i64, Result<Arc<R>>)>> {
        let found = self.rows.rows(query)?;
        let used = self.used_beside(&found)?;
        Ok(self
            .repository
            .opened(query, found, used.as_ref(), self.seen))
    }

    /// The buckets that have a list, if that of a row found is missing.
    fn used_beside(&self, found: &[Match]) -> Result<Option<Used>> {
        match found.iter().all(|found| found.list.is_some()) {
            true => Ok(None),
            false => self.used().map(Some),
        }
    }

    /// The content of a row, verified.
    pub(super) fn content(&self, row: Row, list: Option<&[u8]>) -> Result<Option<Content>> {
        let id = row.id;
        let row = self.verified(&id, Some(row), list)?;
        row.map(|row| self.repository.keys.open_row(&row.id, &row.sealed))
            .transpose()
    }

    /// The row, if its list has it so; an error if they contradict each other.
    fn verified(&self, id: &Id, row: Option<Row>, list: Option<&[u8]>) -> Result<Option<Row>> {
        agreed(&self.list_of(bucket_of(id), list)?, id, row)
    }

    fn list_of(&self, bucket: u16, sealed: Option<&[u8]>) -> Result<List> {
        match sealed {
            Some(sealed) => self.repository.keys.open_list(bucket, sealed),
            None => match self.used()?.contains(bucket) {
                true => Err(contradiction("the list of its bucket is missing")),
                false => Ok(List::default()),
            },
        }
    }

    /// The objects that were added without the token's key, and are not there otherwise. `None` in a database of an earlier
    /// build.
    fn added(&self) -> Result<Option<Vec<Content>>> {
        let Some(sealed) = self.rows.list(ADDED)? else {
            return Ok(None);
        };
        let mut added = self.repository.keys.public()?.open_added(&sealed)?;
        let mut is_new = Vec::with_capacity(added.len());
        for content in &added {
            is_new.push(!self.contains(&content.uid)?);
        }
        let mut is_new = is_new.into_iter();
        added.retain(|_| is_new.next().unwrap_or_default());
        Ok(Some(added))
    }

    /// The objects that earlier builds sealed under the token's key although they are public, or the other way round.
    fn sealed_otherwise(&self) -> Result<Vec<Content>> {
        let (mut query, mut found) = (Query::default(), Vec::new());
        query.limit = 1024;
        loop {
            let page = self.rows.rows(&query)?;
            let Some(last) = page.last() else {
                return Ok(found);
            };
            query.after = Some(last.number);
            for Match { row, list, .. } in page {
                let Some(row) = row else { continue };
                let is_public = row.sealed.first() == Some(&1);
                // What is damaged stays so.
                let Ok(Some(content)) = self.content(row, list.as_deref()) else {
                    continue;
                };
                let value = content.value.duplicate();
                let record = R::parse(&content.uid, &content.about, value)?;
                if record.stored(self.keys())?.is_public != is_public {
                    found.push(content);
                }
            }
        }
    }

    /// How many rows the list of a bucket names.
    pub(super) fn listed(&self, bucket: u16) -> Result<usize> {
        let sealed = self.rows.list(bucket)?;
        Ok(self.list_of(bucket, sealed.as_deref())?.count())
    }

    /// What makes the tags that objects are found by.
    pub fn keys(&self) -> &Keys {
        &self.repository.keys
    }

    /// The buckets that have a list.
    pub(super) fn used(&self) -> Result<Used> {
        self.repository.keys.open_header(&self.rows.header()?)
    }

    /// Says which objects and usages are read next: a database behind a network reads them at once.
    pub fn prefetch<'u>(
        &self,
        uids: impl IntoIterator<Item = &'u str>,
        usage: &[Tag],
    ) -> Result<()> {
        let ids = uids.into_iter().map(|uid| self.repository.keys.id(uid));
        self.rows
            .prefetch(&ids.collect::<Result<Vec<Id>>>()?, usage)
    }

    /// Whether there is an object of this identifier.
    pub fn contains(&self, uid: &str) -> Result<bool> {
        Ok(self.size(uid)?.is_some())
    }

    /// Length of an object's row, in bytes.
    pub fn size(&self, uid: &str) -> Result<Option<u64>> {
        let (row, _) = self.rows.get(&self.repository.keys.id(uid)?)?;
        Ok(row.map(|row| row.sealed.len() as u64))
    }

    /// Numbers of the objects that match.
    pub fn find(&self, query: &Query) -> Result<Vec<i64>> {
        self.rows.find(query)
    }

    /// The highest number in use.
    pub fn last_number(&self) -> Result<i64> {
        self.rows.last_number()
    }

    /// What is counted under a tag.
    pub fn usage(&self, tag: Tag) -> Result<Usage> {
        self.rows.usage(tag)
    }

    /// Seals what a transaction writes. Of several entries for one object the last counts.
    pub(super) fn sealed(&self, entries: &[Entry]) -> Result<Batch> {
        let keys = &self.repository.keys;
        let latest: BTreeMap<&str, &Entry> = entries
            .iter()
            .map(|entry| (entry.uid.as_str(), entry))
            .collect();
        let mut lists: BTreeMap<u16, List> = BTreeMap::new();
        let mut usage: BTreeMap<Tag, Usage> = BTreeMap::new();
        let (mut batch, mut first_lists) = (Batch::default(), Vec::new());
        // In the order in which they were put: numbers tell the age.
        for entry in entries {
            if !std::ptr::eq(latest[entry.uid.as_str()], entry) {
                continue;
            }
            let id = keys.id(&entry.uid)?;
            let (row, sealed_list) = self.rows.get(&id)?;
            let row = self
                .verified(&id, row, sealed_list.as_deref())
                .map_err(|e| e.context(format_args!("object {} is damaged", entry.uid)))?;
            let before = row
                .as_ref()
                .map(|row| keys.open_row(&row.id, &row.sealed))
                .transpose()?;
            let list = match lists.entry(bucket_of(&id)) {
                std::collections::btree_map::Entry::Occupied(list) => list.into_mut(),
                std::collections::btree_map::Entry::Vacant(place) => {
                    first_lists.extend(sealed_list.is_none().then_some(bucket_of(&id)));
                    place.insert(self.list_of(bucket_of(&id), sealed_list.as_deref())?)
                }
            };
            if let (Some(row), Some(counted)) =
                (&row, before.as_ref().and_then(|before| before.counted))
            {
                let total = usage.entry(counted).or_default();
                total.objects -= 1;
                total.bytes -= row.sealed.len() as i64;
            }
            let sealed = match &entry.put {
                Some(put) => Some(seal(keys, &id, &entry.uid, put)?),
                None => None,
            };
            if let (Some(put), Some(sealed)) = (&entry.put, &sealed)
                && let Some(counted) = put.counted
            {
                let total = usage.entry(counted).or_default();
                total.objects += 1;
                total.bytes += sealed.len() as i64;
            }
            let has_value =
                |value: &Secret| entry.put.as_ref().is_some_and(|put| put.value == *value);
            batch.erases |= before
                .as_ref()
                .is_some_and(|before| !has_value(&before.value));
            list.set(&id, sealed.as_deref().map(version_of));
            batch
                .rows
                .push(change_of(keys, id, row.as_ref(), before, sealed, entry)?);
        }
        batch.usage = usage.into_iter().collect();
        if !first_lists.is_empty() {
            let header = self.rows.header()?;
            let mut used = keys.open_header(&header)?;
            first_lists
                .into_iter()
                .for_each(|bucket| used.insert(bucket));
            batch.header = Some(keys.seal_header(&header.public, &used)?);
        }
        for (bucket, list) in lists {
            batch.lists.push((bucket, keys.seal_list(bucket, &list)?));
        }
        Ok(batch)
    }
}

/// The row, if the list has it so.
fn agreed(list: &List, id: &Id, row: Option<Row>) -> Result<Option<Row>> {
    match (row, list.version(id)) {
        (None, None) => Ok(None),
        (Some(row), Some(version)) if version_of(&row.sealed) == version => Ok(Some(row)),
        (Some(_), Some(_)) => Err(contradiction("it was replaced by another state")),
        (Some(_), None) => Err(contradiction("it was removed and is there again")),
        (None, Some(_)) => Err(contradiction("it is missing")),
    }
}

fn contradiction(what: &str) -> Error {
    Error::new(Kind::File, CKR_DEVICE_ERROR, what)
}

pub(super) fn seal(keys: &Keys, id: &Id, uid: &str, put: &Put) -> Result<Vec<u8>> {
    if put.about.len() + put.value.len() > LARGEST {
        let message = "the object is too large for a file token";
        return Err(Error::new(
            Kind::Pkcs11,
            crate::ck::CKR_DATA_LEN_RANGE,
            message,
        ));
    }
    let content = Content {
        uid: uid.to_owned(),
        counted: put.counted,
        tags: put.tags.clone(),
        about: put.about.clone(),
        value: put.value.duplicate(),
    };
    keys.seal_row(id, &content, put.is_public)
}

fn change_of(
    keys: &Keys,
    id: Id,
    row: Option<&Row>,
    before: Option<Content>,
    sealed: Option<Vec<u8>>,
    entry: &Entry,
) -> Result<Change> {
    let public = keys.public_tag()?;
    let mut had: BTreeSet<Tag> = before
        .map(|before| before.tags)
        .unwrap_or_default()
        .into_iter()
        .collect();
    if row.is_some_and(|row| row.sealed.first() == Some(&1)) {
        had.insert(public);
    }
    let mut has: BTreeSet<Tag> = BTreeSet::new();
    if let Some(put) = &entry.put {
        has.extend(&put.tags);
        has.extend(put.is_public.then_some(public));
    }
    Ok(Change {
        id,
        number: row.map(|row| row.number),
        sealed,
        untag: had.difference(&has).copied().collect(),
        tag: has.difference(&had).copied().collect(),
    })
}
