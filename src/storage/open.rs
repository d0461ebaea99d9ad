//! Which files a repository has, and how they come to be.
//!
//! `NAME.db` is the database. Earlier builds stored a journal as `NAME`; there stands a tombstone now, which those builds
//! refuse with a clear error instead of creating an empty store. The tombstone also tells that a database belongs here: one that
//! is missing is an error.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::journal::{self, MAGIC};
use super::migrate;
use super::repository::Record;
use super::seal::Keys;
use super::sqlite::Database;
use super::sqlite::files::{self, wal_of};
use crate::ck::CKR_DEVICE_ERROR;
use crate::error::{Error, Kind, Result};
use crate::fault;

/// The content of `NAME`, where there is a database.
const TOMBSTONE: &[u8] =
    b"The objects are in the database beside this file: upgrade mrhsm to use them.\n";

/// The database of the repository at `path`.
pub fn database_of(path: &Path) -> PathBuf {
    path.with_extension("db")
}

/// Whether a repository was ever created at `path`.
pub fn exists(path: &Path) -> bool {
    path.exists() || database_of(path).exists()
}

/// Takes the right to write to the repository at `path`, until it is dropped.
#[cfg(test)]
pub fn lock(path: &Path) -> Result<files::Writer> {
    files::lock(&database_of(path))
}

/// What stands at the path of a repository.
enum Found {
    Nothing,
    Tombstone,
    Journal,
}

fn find(path: &Path) -> Result<Found> {
    let cannot = |e| Error::file(format!("{} cannot be read", path.display()), e);
    let mut start = [0; MAGIC.len()];
    let mut file = match fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(e) => return Err(cannot(e)),
    };
    match file.read_exact(&mut start) {
        Ok(()) if start == TOMBSTONE[..MAGIC.len()] => Ok(Found::Tombstone),
        Ok(()) if start == *MAGIC => Ok(Found::Journal),
        Err(e) if e.kind() != io::ErrorKind::UnexpectedEof => Err(cannot(e)),
        _ => Err(refused(path, "is not an object file of mrhsm")),
    }
}

fn refused(path: &Path, why: &str) -> Error {
    let message = format!("{} {why}", path.display());
    Error::new(Kind::File, CKR_DEVICE_ERROR, message)
}

/// Makes sure that there is a database: creates an empty one, or takes over the journal of an earlier build.
pub fn settle<R: Record>(path: &Path, key: &[u8]) -> Result<()> {
    let database = database_of(path);
    if matches!(find(path)?, Found::Tombstone) && database.exists() {
        return Ok(());
    }
    let _writer = match files::lock(&database) {
        Ok(writer) => writer,
        // A database whose tombstone a crash prevented, where nothing may be changed.
        Err(_) if database.exists() && matches!(find(path)?, Found::Nothing) => return Ok(()),
        Err(e) => return Err(e),
    };
    let mut keys = Keys::new(key)?;
    match (find(path)?, database.exists()) {
        (Found::Tombstone, true) => return Ok(()),
        (Found::Tombstone, false) => {
            return Err(refused(&database, "is missing: restore it from a backup"));
        }
        (Found::Nothing, true) => {}
        (Found::Nothing, false) => {
            let header = keys.new_header()?;
            Database::create(&database, &header, std::iter::empty())?;
        }
        (Found::Journal, _) => {
            let content = journal::read(path, key)?;
            migrate::take_over::<R>(&content, &database, &mut keys)?;
            if !content.damaged.is_empty() {
                keep_aside(path)?;
            }
        }
    }
    bury(path)
}

/// A journal with damaged records remains as `NAME.damaged`, from which they may be recovered.
fn keep_aside(path: &Path) -> Result<()> {
    let aside = path.with_extension("damaged");
    let kept = fault::step("keep journal").and_then(|()| match fs::hard_link(path, &aside) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
        _ => files::sync_folder(path),
    });
    kept.map_err(|e| Error::file(format!("{} cannot be written", aside.display()), e))
}

/// Replaces what stands at the path by the tombstone.
fn bury(path: &Path) -> Result<()> {
    let new = path.with_extension("tombstone");
    let buried = files::remove(&new)
        .and_then(|()| files::create(&new))
        .and_then(|mut file| file.write_all(TOMBSTONE))
        .and_then(|()| files::replace(&new, path));
    buried.map_err(|e| Error::file(format!("{} cannot be written", path.display()), e))
}

/// Removes the files of a repository; with `keep`, the database remains as `NAME.damaged`. The caller holds the writer's lock.
pub fn remove(path: &Path, keep: bool) -> Result<()> {
    let database = database_of(path);
    // Without its tombstone, a database is complete all the same.
    let removed = fault::step("remove tombstone")
        .and_then(|()| files::remove(path))
        .and_then(|()| fault::step("remove database"))
        .and_then(|()| match keep {
            true => fs::rename(&database, path.with_extension("damaged")),
            false => files::remove(&database),
        })
        .and_then(|()| files::remove(&wal_of(&database)))
        .and_then(|()| files::sync_folder(path));
    removed.map_err(|e| Error::file(format!("{} cannot be removed", database.display()), e))
}
