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
}

impl PublicObjects {
    /// Opens the objects at `path`; `None` if there is no database yet.
    pub fn open(path: &Path) -> Result<Option<PublicObjects>> {
        if !open::database_of(path).exists() {
            return Ok(None);
        }
        let engine = Sqlite::open(path)?;
        Ok(Some(PublicObjects { engine }))
    }

    /// What tells the present state from others, if that is known.
    pub fn stamp(&self) -> Option<Stamp> {
        self.engine.stamp()
    }

    /// All of them, the oldest first. One that is damaged is left out.
    pub fn all(&self) -> Result<Vec<Content>> {
        let mut contents = Vec::new();
        self.engine.read(&mut |state| {
            let keys = keys(state)?;
            let query = Query {
                groups: vec![vec![keys.tag()?]],
                limit: usize::MAX,
                ..Query::default()
            };
            contents.clear();
            for row in state
                .rows(&query)?
                .into_iter()
                .filter_map(|found| found.row)
            {
                match keys.open_row(&row.id, &row.sealed) {
                    Ok(content) => contents.extend(content),
                    Err(e) => {
                        crate::log!(Error, "the object of row {} is damaged: {e}", row.number)
                    }
                }
            }
            contents.extend(added(state, &keys)?);
            Ok(())
        })?;
        Ok(contents)
    }

    /// Changes the objects that were added since the last login.
    pub fn change<T>(&self, change: impl Fn(&mut Vec<Content>) -> Result<T>) -> Result<T> {
        let mut outcome = None;
        self.engine.write(&mut |state| {
            let keys = keys(state)?;
            let mut contents = added(state, &keys)?;
            outcome = Some(change(&mut contents)?);
            let sealed = keys.seal_added(&contents)?;
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
}

/// The keys of a state: another process may have initialised the token anew.
fn keys(state: &dyn Rows) -> Result<PublicKeys> {
    PublicKeys::of(&state.header()?.public)
}

fn added(state: &dyn Rows, keys: &PublicKeys) -> Result<Vec<Content>> {
    match state.list(ADDED)? {
        Some(sealed) => keys.open_added(&sealed),
        None => Ok(Vec::new()),
    }
}
