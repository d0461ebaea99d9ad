//! The public objects of a database, without the token's key: what may be read, and added, before login.
//!
//! A row cannot be verified against its list here, because lists are sealed under the token's key: who can write the file can
//! show an older public object until somebody logs in. New objects wait in the database until then, too, when
//! [`Repository::take_added`](super::Repository::take_added) gives them their rows.

use std::path::Path;

use super::engine::{ADDED, Batch, Engine, Query, Rows, Stamp};
use super::open;
use super::seal::{Content, PublicKeys};
use super::sqlite::Sqlite;
use crate::ck::CKR_DEVICE_MEMORY;
use crate::error::{Error, Kind, Result};

/// The most that may be added before the next login, in bytes.
const MOST_ADDED: usize = 4 << 20;

/// The public objects of a database.
pub struct PublicObjects {
    engine: Sqlite,
    keys: PublicKeys,
}

impl PublicObjects {
    /// Opens the objects at `path`; `None` if there is no database yet.
    pub fn open(path: &Path) -> Result<Option<PublicObjects>> {
        if !open::database_of(path).exists() {
            return Ok(None);
        }
        let engine = Sqlite::open(path)?;
        let mut public = Vec::new();
        engine.read(&mut |rows| {
            public = rows.header()?.public;
            Ok(())
        })?;
        let keys = PublicKeys::of(&public)?;
        Ok(Some(PublicObjects { engine, keys }))
    }

    /// What tells the present state from others, if that is known.
    pub fn stamp(&self) -> Option<Stamp> {
        self.engine.stamp()
    }

    /// All of them, the oldest first. One that is damaged is left out.
    pub fn all(&self) -> Result<Vec<Content>> {
        let query = Query {
            groups: vec![vec![self.keys.tag()?]],
            limit: usize::MAX,
            ..Query::default()
        };
        let (mut rows, mut added) = (Vec::new(), Vec::new());
        self.engine.read(&mut |state| {
            rows = state.rows(&query)?;
            added = self.added(state)?;
            Ok(())
        })?;
        let mut contents = Vec::with_capacity(rows.len() + added.len());
        for row in rows.into_iter().filter_map(|found| found.row) {
            match self.keys.open_row(&row.id, &row.sealed) {
                Ok(content) => contents.extend(content),
                Err(e) => crate::log!(Error, "the object of row {} is damaged: {e}", row.number),
            }
        }
        contents.extend(added);
        Ok(contents)
    }

    /// Changes the objects that were added since the last login.
    pub fn change<T>(&self, change: impl Fn(&mut Vec<Content>) -> Result<T>) -> Result<T> {
        let mut outcome = None;
        self.engine.write(&mut |state| {
            let mut contents = self.added(state)?;
            outcome = Some(change(&mut contents)?);
            let sealed = self.keys.seal_added(&contents)?;
            if sealed.len() > MOST_ADDED {
                let message = "too many objects were added before a login: log in once";
                return Err(Error::new(Kind::File, CKR_DEVICE_MEMORY, message));
            }
            Ok(Batch {
                lists: vec![(ADDED, sealed)],
                erases: true,
                ..Batch::default()
            })
        })?;
        Ok(outcome.expect("the engine calls what it is given"))
    }

    fn added(&self, state: &dyn Rows) -> Result<Vec<Content>> {
        match state.list(ADDED)? {
            Some(sealed) => self.keys.open_added(&sealed),
            None => Ok(Vec::new()),
        }
    }
}
