//! What a storage engine stores: sealed rows, their search tags and the lists that prove which rows there are.
//!
//! An engine sees no plaintext. [`Repository`](super::Repository) seals, opens and verifies; an engine finds rows by
//! identifier and tag, and applies a [`Batch`] completely or not at all.

use std::path::Path;

use crate::error::Result;

/// Keyed hash of an object's identifier.
pub type Id = [u8; 16];

/// Keyed hash of something that objects are found by.
pub type Tag = i64;

/// How many lists there are: a list names the rows of one bucket.
pub const BUCKETS: u16 = 4096;

/// In place of a list: the objects that were added without the token's key, until somebody opens the database with it.
pub const ADDED: u16 = BUCKETS;

/// The bucket of an identifier.
pub fn bucket_of(id: &Id) -> u16 {
    u16::from_be_bytes([id[0], id[1]]) >> 4
}

/// A stored object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Order of creation: an older object has a lower number. It is unique as long as the object exists.
    pub number: i64,
    /// Keyed hash of its identifier.
    pub id: Id,
    /// Its sealed content.
    pub sealed: Vec<u8>,
}

/// The header of a database: what proves the key, and the key of public objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Sealed under the token's key.
    pub sealed: Vec<u8>,
    /// Not sealed: what needs no PIN is sealed under it.
    pub public: Vec<u8>,
}

/// What the objects counted under one tag take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Number of objects.
    pub objects: i64,
    /// Length of their sealed rows, in bytes.
    pub bytes: i64,
}

/// Which rows to find: those that have a tag of each group. Without groups, all rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Query {
    /// A row has at least one tag of each of them.
    pub groups: Vec<Vec<Tag>>,
    /// The newest first, instead of the oldest.
    pub newest_first: bool,
    /// Only rows after this number, in the chosen order.
    pub after: Option<i64>,
    /// At most so many.
    pub limit: usize,
}

impl Query {
    /// Whether a row with these tags matches.
    pub fn matches(&self, tags: &[Tag]) -> bool {
        let has_one = |group: &Vec<Tag>| group.iter().any(|tag| tags.contains(tag));
        self.groups.iter().all(has_one)
    }
}

/// Tells states of a database apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp(pub u64, pub u64);

/// Reads one state of a database.
pub trait Rows {
    /// What tells this state from others; `None` if nothing does.
    fn stamp(&self) -> Option<Stamp>;

    /// The header.
    fn header(&self) -> Result<Header>;

    /// The row of an identifier, and the list of its bucket.
    fn get(&self, id: &Id) -> Result<(Option<Row>, Option<Vec<u8>>)>;

    /// The same for a row that has one of these tags; whether there is another row of the identifier.
    fn get_tagged(&self, id: &Id, any: &[Tag]) -> Result<Tagged>;

    /// The rows that match, in the order asked.
    fn rows(&self, query: &Query) -> Result<Vec<Match>>;

    /// Numbers of the rows that match, in the order asked.
    fn find(&self, query: &Query) -> Result<Vec<i64>>;

    /// The highest number in use; 0 if there is none.
    fn last_number(&self) -> Result<i64>;

    /// A bucket's list.
    fn list(&self, bucket: u16) -> Result<Option<Vec<u8>>>;

    /// What is counted under a tag.
    fn usage(&self, tag: Tag) -> Result<Usage>;

    /// Number of tags that all rows have together.
    fn count_tags(&self) -> Result<u64>;

    /// Says what the transaction reads next: an engine behind a network reads it at once.
    fn prefetch(&self, _ids: &[Id], _usage: &[Tag]) -> Result<()> {
        Ok(())
    }
}

/// What a query found.
#[derive(Debug)]
pub struct Match {
    /// The number that has the tags.
    pub number: i64,
    /// Its row; `None` if the tags have no row.
    pub row: Option<Row>,
    /// The list of the row's bucket.
    pub list: Option<Vec<u8>>,
}

/// A row that was looked for with its tags.
#[derive(Debug, Default)]
pub struct Tagged {
    /// The row, if it has one of the tags.
    pub row: Option<Row>,
    /// There is a row of the identifier, with these tags or without.
    pub is_there: bool,
    /// The list of the bucket.
    pub list: Option<Vec<u8>>,
}

/// What a database takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// Number of objects.
    pub objects: u64,
    /// Length of the database, in bytes.
    pub bytes: u64,
    /// Bytes of it that nothing uses.
    pub free_bytes: u64,
    /// Length of what is not yet part of the database itself (the WAL), in bytes.
    pub wal_bytes: u64,
}

/// A database, which several threads and processes use at once.
pub trait Engine: Send + Sync {
    /// Reads one state.
    fn read(&self, work: &mut dyn FnMut(&dyn Rows) -> Result<()>) -> Result<()>;

    /// One transaction: `work` reads the present state and returns what to write. It is called again if another transaction came
    /// between. When this returns `Ok`, the transaction is on the disk.
    fn write(&self, work: &mut dyn FnMut(&dyn Rows) -> Result<Batch>) -> Result<()>;

    /// The present state, if that is known without reading and all of it is on the disk.
    fn stamp(&self) -> Option<Stamp> {
        None
    }

    /// Whether the row that was read last under this identifier is on the disk. If not, waits until it is, or is taken back.
    fn settle(&self, _id: &Id) -> Result<bool> {
        Ok(true)
    }

    /// How large the database is.
    fn info(&self) -> Result<Info>;

    /// What the engine itself finds wrong with the database.
    fn check(&self) -> Result<Vec<String>>;

    /// Copies the present state to a file that does not exist yet.
    fn backup(&self, path: &Path) -> Result<()>;

    /// Gives unused room back.
    fn compact(&self) -> Result<()>;

    /// Removes the database if `may` agrees, which sees the present state and may ask to keep it aside.
    fn remove(&self, may: &mut dyn FnMut(&dyn Rows) -> Result<Removal>) -> Result<bool>;

    /// The SQLite engine, for tests of how it shares its files.
    #[cfg(test)]
    fn sqlite(&self) -> Option<&super::sqlite::Sqlite> {
        None
    }
}

/// What becomes of a database that is no longer needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// It stays.
    No,
    /// It is removed.
    Yes,
    /// It remains beside, as damaged.
    Aside,
}

/// What one transaction writes.
#[derive(Debug, Default)]
pub struct Batch {
    /// New header.
    pub header: Option<Vec<u8>>,
    /// Rows to insert or replace, or to remove.
    pub rows: Vec<Change>,
    /// New lists.
    pub lists: Vec<(u16, Vec<u8>)>,
    /// What is added to the usage of tags.
    pub usage: Vec<(Tag, Usage)>,
    /// A value is removed or replaced: it must not remain in the files.
    pub erases: bool,
}

impl Batch {
    /// Whether it writes nothing.
    pub fn is_empty(&self) -> bool {
        self.header.is_none()
            && self.rows.is_empty()
            && self.lists.is_empty()
            && self.usage.is_empty()
    }
}

/// What happens to one row.
#[derive(Debug)]
pub struct Change {
    /// Keyed hash of the object's identifier.
    pub id: Id,
    /// The number of the row that is replaced or removed; `None` for a new row.
    pub number: Option<i64>,
    /// The new content; `None` removes the row.
    pub sealed: Option<Vec<u8>>,
    /// Tags that the row loses.
    pub untag: Vec<Tag>,
    /// Tags that the row gains.
    pub tag: Vec<Tag>,
}
