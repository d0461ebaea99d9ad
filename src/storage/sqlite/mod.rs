//! The SQLite engine: one database in WAL mode for each token folder or server directory.
//!
//! A process has one connection to a database. Its index of the WAL is on the heap, so no file is mapped; when another process
//! has changed the database, the connection is opened again, which reads the WAL. `synchronous=NORMAL` orders a checkpoint
//! after its WAL; a commit counts once [`Files::sync`] has written the WAL, which transactions of several threads share.

pub mod files;
pub(super) mod host;
mod shared;
mod statements;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::backup::Backup;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, params};

use super::engine::{Batch, Header, Info};
use crate::ck::{CKR_DEVICE_ERROR, CKR_HOST_MEMORY};
use crate::error::{Error, Kind, Result};
use crate::{fault, fork};
use files::{Files, Stamp};
pub use shared::Sqlite;

/// `application_id` of our databases: "mrhs".
const APPLICATION: i32 = 0x6D72_6873;
/// `user_version`: the schema that this release writes.
const SCHEMA: i32 = 1;
/// The WAL is moved into the database when it is longer than this, in bytes.
pub const WORTH_MOVING: u64 = 4 << 20;
/// Length of the WAL's header, and of a page's header there, in bytes.
pub const WAL_HEADER: u64 = 32;
pub const FRAME_HEADER: u64 = 24;

const CREATE: &str = "
PRAGMA page_size = 2048;
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA journal_mode = WAL;
BEGIN IMMEDIATE;
CREATE TABLE header (one INTEGER PRIMARY KEY CHECK (one = 1), sealed BLOB NOT NULL, public BLOB NOT NULL);
CREATE TABLE objects (number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, sealed BLOB NOT NULL);
CREATE TABLE tags (tag INTEGER NOT NULL, number INTEGER NOT NULL, PRIMARY KEY (tag, number)) WITHOUT ROWID;
CREATE TABLE lists (bucket INTEGER PRIMARY KEY, sealed BLOB NOT NULL);
CREATE TABLE usage (tag INTEGER PRIMARY KEY, objects INTEGER NOT NULL, bytes INTEGER NOT NULL);
";

const SETTINGS: &str = "
PRAGMA locking_mode = EXCLUSIVE;
PRAGMA synchronous = NORMAL;
PRAGMA wal_autocheckpoint = 0;
PRAGMA secure_delete = ON;
PRAGMA cache_size = -8192;
";

/// An open database.
pub struct Database {
    /// Its files.
    pub files: Arc<Files>,
    session: Session,
    /// What the connection's index of the WAL reflects.
    seen: Stamp,
    /// Another process has written what may not be on the disk yet.
    is_ahead_of_disk: bool,
}

/// A connection, with the files that it has open.
struct Session {
    connection: Option<Connection>,
    opened: Vec<host::Opened>,
    generation: u32,
    /// Length of a page, in bytes.
    page: u64,
}

impl Session {
    fn open(path: &Path, is_writable: bool) -> rusqlite::Result<Session> {
        let _calls = host::enter();
        host::take_opened();
        let access = match is_writable {
            true => OpenFlags::SQLITE_OPEN_READ_WRITE,
            false => OpenFlags::SQLITE_OPEN_READ_ONLY,
        };
        let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_PRIVATE_CACHE;
        let connection = Connection::open_with_flags_and_vfs(path, flags, c"unix-none")?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        // Otherwise a statement is compiled again whenever its parameters change.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        connection.set_prepared_statement_cache_capacity(32);
        connection.execute_batch(SETTINGS)?;
        // The first statement that reads opens the WAL.
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        let page = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
        Ok(Session {
            page: i64::cast_unsigned(page),
            connection: Some(connection),
            opened: host::take_opened(),
            generation: fork::generation(),
        })
    }

    fn connection(&self) -> &Connection {
        self.connection.as_ref().expect("it is taken out in drop")
    }

    /// Whether the descriptors still belong to this process's database.
    fn is_ours(&self) -> bool {
        self.generation == fork::generation() && self.opened.iter().all(host::Opened::is_ours)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let connection = self.connection.take();
        if self.is_ours() {
            let _calls = host::enter();
            drop(connection);
        } else {
            // It belongs to the parent of this process, or its descriptors to the host: neither is touched.
            std::mem::forget(connection);
        }
    }
}

impl Database {
    /// Creates a database with what the batches contain, beside `path`, and moves it there. The caller holds the lock of
    /// [`files::lock`].
    pub fn create(
        path: &Path,
        header: &Header,
        batches: impl Iterator<Item = Result<Batch>>,
    ) -> Result<()> {
        let new = path.with_extension("new");
        let cannot = |e| Error::file(format!("{} cannot be written", path.display()), e);
        // What a process that died here has left. WAL and all.
        let beside = [
            new.clone(),
            with_suffix(&new, "-wal"),
            with_suffix(&new, "-journal"),
        ];
        for file in &beside {
            files::remove(file).map_err(cannot)?;
        }
        let filled = files::create(&new)
            .map_err(cannot)
            .and_then(|_| fill(&new, header, batches))
            .and_then(|()| files::remove(&files::wal_of(path)).map_err(cannot))
            .and_then(|()| files::replace(&new, path).map_err(cannot));
        for file in &beside {
            let _ = files::remove(file);
        }
        filled
    }

    /// Opens the database at `path`. Reads no object.
    pub fn open(path: &Path) -> Result<Database> {
        let files = Arc::new(Files::open(path)?);
        let reading = files.share()?;
        let (stamp, synced) = files.stamp().ok_or_else(|| unusable(path))?;
        let session = open_session(&files)?;
        drop(reading);
        let database = Database {
            files,
            session,
            seen: stamp.or_unknown(),
            is_ahead_of_disk: synced < stamp.end,
        };
        database.check_wal(synced)?;
        Ok(database)
    }

    /// Makes the connection see the present state. The caller holds [`Files::share`] or the writer's lock.
    ///
    /// Returns whether another process has changed it.
    pub fn refresh(&mut self) -> Result<bool> {
        let Some((stamp, synced)) = self.files.stamp() else {
            return Err(unusable(&self.files.path));
        };
        if stamp == self.seen {
            return Ok(false);
        }
        self.is_ahead_of_disk = synced < stamp.end;
        self.session = open_session(&self.files)?;
        // Until it is checked, the next look must check it too.
        self.seen = Stamp::UNKNOWN;
        self.check_wal(synced)?;
        self.seen = stamp.or_unknown();
        Ok(true)
    }

    /// Fails if the WAL ends before what was confirmed: SQLite ignores what follows a damaged page, which would restore older
    /// states of objects.
    fn check_wal(&self, synced: u64) -> Result<()> {
        if self.end_of_wal()? >= synced {
            return Ok(());
        }
        let message = format!(
            "{} is damaged: confirmed changes are missing; restore it and the database from a backup",
            files::wal_of(&self.files.path).display()
        );
        Err(Error::new(Kind::File, CKR_DEVICE_ERROR, message))
    }

    /// Whether the descriptors are this process's own.
    pub fn is_ours(&self) -> bool {
        self.session.is_ours()
    }

    /// Makes the database ready to be written: what a writer that died has left of a transaction goes.
    pub fn prepare(&mut self) -> Result<()> {
        if !self.refresh()? {
            return Ok(());
        }
        let Some((stamp, synced)) = self.files.stamp() else {
            return Err(unusable(&self.files.path));
        };
        let end = self.end_of_wal()?;
        if stamp.end != end {
            self.files.truncate_wal(end)?;
            self.files.new_generation(end, synced)?;
        }
        self.note_seen();
        Ok(())
    }

    /// The end of the last transaction in the WAL, in bytes.
    fn end_of_wal(&self) -> Result<u64> {
        let frames: i64 = self.run(|connection| {
            connection.query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| row.get(1))
        })?;
        Ok(match frames {
            ..=0 => 0,
            frames => WAL_HEADER + frames.cast_unsigned() * (FRAME_HEADER + self.session.page),
        })
    }

    /// What the connection sees.
    pub fn seen(&self) -> Stamp {
        self.seen
    }

    /// False if a transaction was being appended when the connection was opened.
    pub fn is_settled(&self) -> bool {
        self.seen.is_settled()
    }

    /// Whether another process may have written something that a loss of power would take away.
    pub fn is_ahead_of_disk(&self) -> bool {
        self.is_ahead_of_disk
    }

    /// Notes that the WAL is on the disk.
    pub fn note_on_disk(&mut self) {
        self.is_ahead_of_disk = false;
    }

    fn note_seen(&mut self) {
        if let Some((stamp, _)) = self.files.stamp() {
            self.seen = stamp;
        }
    }

    /// Applies a batch. The caller holds the writer's lock and has called [`prepare`](Self::prepare); it counts once the WAL is on
    /// the disk.
    pub fn apply(&mut self, batch: &Batch) -> Result<()> {
        let unwritable = |e| self.files.broken("cannot be written", e);
        let done = fault::step("write").map_err(unwritable).and_then(|()| {
            self.append(batch.erases, |connection| {
                statements::apply(connection, batch)
            })
        });
        match done {
            Ok(()) => self.note_seen(),
            // What was appended is no transaction, or its end was not confirmed: it is cut off.
            Err(_) => self.take_back(self.seen)?,
        }
        done
    }

    /// Appends a transaction to the WAL, in one write.
    fn append(
        &self,
        erases: bool,
        transact: impl FnOnce(&Connection) -> rusqlite::Result<()>,
    ) -> Result<()> {
        self.files.note_appending(erases)?;
        let appended = {
            let _calls = host::enter();
            let gathering = host::gather();
            transact(self.session.connection()).map_err(|e| failed(&self.files.path, e))?;
            gathering.finish()
        };
        let end = appended
            .and_then(|end| fault::step("written").map(|()| end))
            .map_err(|e| self.files.broken("cannot be written", e))?;
        self.files.note_end(end.max(self.seen.end))
    }

    /// Undoes what was appended to the WAL since `stamp`. The caller holds the writer's lock since then.
    pub fn take_back(&mut self, stamp: Stamp) -> Result<()> {
        {
            let _calls = host::enter();
            let _ = self.session.connection().execute_batch("ROLLBACK");
        }
        let synced = self.files.stamp().map_or(0, |(_, synced)| synced);
        self.files.truncate_wal(stamp.end)?;
        self.files.new_generation(stamp.end, synced)?;
        self.refresh().map(drop)
    }

    /// Moves the WAL into the database, if others do not read for longer than `patience`. Its bytes remain unless it is truncated.
    /// The caller holds the writer's lock.
    pub fn move_wal(&mut self, truncates: bool, patience: Duration) -> Result<bool> {
        let files = self.files.clone();
        let Some(_alone) = files.alone(patience) else {
            return Ok(false);
        };
        fault::step("move WAL").map_err(|e| files.broken("cannot be written", e))?;
        files.new_generation(0, 0)?;
        // A loss of power must not leave a shorter WAL than the lock file tells.
        files.sync_lock()?;
        let moved = match truncates {
            true => self
                .run(|connection| checkpoint(connection, "TRUNCATE"))
                .and_then(|()| files.note_truncated()),
            false => self
                .run(|connection| checkpoint(connection, "RESTART"))
                .and_then(|()| files.empty_wal()),
        };
        self.note_seen();
        moved.map(|()| true)
    }

    fn run<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        let _calls = host::enter();
        work(self.session.connection()).map_err(|e| failed(&self.files.path, e))
    }

    /// Copies the database, as it is now, to a file that does not exist yet.
    pub fn copy_to(&self, path: &Path) -> Result<()> {
        let cannot = |e| Error::file(format!("{} cannot be written", path.display()), e);
        files::create(path).map_err(cannot)?;
        {
            let _calls = host::enter();
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let copied = (|| {
                let mut copy = Connection::open_with_flags_and_vfs(path, flags, c"unix-none")?;
                Backup::new(self.session.connection(), &mut copy)?.step(-1)?;
                copy.execute_batch("PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = FULL;")?;
                checkpoint(&copy, "TRUNCATE")
            })();
            copied.map_err(|e: rusqlite::Error| failed(path, e))?;
        }
        let _ = files::remove(&with_suffix(path, "-wal"));
        files::sync_folder(path).map_err(cannot)
    }

    /// Gives free pages back to the file system. The caller holds the writer's lock.
    pub fn shrink(&mut self) -> Result<()> {
        self.append(false, |connection| {
            let mut pages = connection.prepare("PRAGMA incremental_vacuum")?;
            let mut rows = pages.query([])?;
            while rows.next()?.is_some() {}
            Ok(())
        })?;
        self.note_seen();
        Ok(())
    }

    /// SQLite's own check of the file: what is wrong with it.
    pub fn check_file(&self) -> Result<Vec<String>> {
        self.run(|connection| {
            let mut check = connection.prepare("PRAGMA integrity_check(20)")?;
            let found = check.query_map([], |row| row.get::<_, String>(0))?;
            let found: Vec<String> = found.collect::<rusqlite::Result<_>>()?;
            Ok(found.into_iter().filter(|line| line != "ok").collect())
        })
    }

    /// How large the database is.
    pub fn info(&self) -> Result<Info> {
        Ok(Info {
            objects: self.count("SELECT count(*) FROM objects")?,
            bytes: self.count("PRAGMA page_count")? * self.session.page,
            free_bytes: self.count("PRAGMA freelist_count")? * self.session.page,
            wal_bytes: self.seen.end,
        })
    }

    fn count(&self, sql: &str) -> Result<u64> {
        self.run(|connection| {
            connection.query_row(sql, [], |row| row.get(0).map(i64::cast_unsigned))
        })
    }
}

/// Changes a database by SQL, as an attacker does. It must not be open elsewhere.
#[cfg(test)]
pub fn tamper(path: &Path, sql: &str) {
    let _calls = host::enter();
    let connection = Connection::open_with_flags_and_vfs(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        c"unix-none",
    )
    .unwrap();
    connection
        .execute_batch(&format!("PRAGMA locking_mode = EXCLUSIVE; {sql}"))
        .unwrap();
    checkpoint(&connection, "TRUNCATE").unwrap();
    drop(connection);
    // The WAL was truncated and removed, and the numbers of the lock file are no longer true.
    let _ = files::create(&files::wal_of(path));
    std::fs::write(path.with_extension("lock"), [0; 16]).unwrap();
}

/// Writes a whole database, and waits until it is on the disk.
fn fill(path: &Path, header: &Header, batches: impl Iterator<Item = Result<Batch>>) -> Result<()> {
    let cannot = |e| Error::file(format!("{} cannot be written", path.display()), e);
    let session = Session::open(path, true).map_err(|e| failed(path, e))?;
    let connection = session.connection();
    let run = |work: &dyn Fn() -> rusqlite::Result<()>| {
        let _calls = host::enter();
        work().map_err(|e| failed(path, e))
    };
    fault::step("create database").map_err(cannot)?;
    run(&|| {
        connection.execute_batch(CREATE)?;
        connection.pragma_update(None, "application_id", APPLICATION)?;
        connection.pragma_update(None, "user_version", SCHEMA)?;
        let sql = "INSERT INTO header VALUES (1, ?1, ?2)";
        connection
            .execute(sql, params![header.sealed, header.public])
            .map(drop)
    })?;
    for batch in batches {
        let batch = batch?;
        run(&|| statements::write(connection, &batch))?;
    }
    fault::step("commit database").map_err(cannot)?;
    run(&|| {
        connection
            .execute_batch("COMMIT")
            .and_then(|()| checkpoint(connection, "TRUNCATE"))
    })
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn open_session(files: &Files) -> Result<Session> {
    let path = &files.path;
    let session = Session::open(path, files.is_writable).map_err(|e| failed(path, e))?;
    let (application, schema): (i32, i32) = {
        let _calls = host::enter();
        let connection = session.connection();
        let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get(0));
        number("application_id")
            .and_then(|application| Ok((application, number("user_version")?)))
            .map_err(|e| failed(path, e))?
    };
    let foreign = |why: &str| {
        let message = format!("{} {why}", path.display());
        Err(Error::new(Kind::File, CKR_DEVICE_ERROR, message))
    };
    match (application, schema) {
        (APPLICATION, SCHEMA) => Ok(session),
        (APPLICATION, newer) if newer > SCHEMA => {
            foreign("was written by a newer release of mrhsm: use that one")
        }
        _ => foreign("is not a database of mrhsm"),
    }
}

/// Moves the whole WAL into the database. Fails if that is not possible.
fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<()> {
    let sql = format!("PRAGMA wal_checkpoint({mode})");
    let (is_busy, frames, moved): (bool, i64, i64) =
        connection.query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    match !is_busy && frames == moved {
        true => Ok(()),
        false => Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
            Some("the WAL is in use".into()),
        )),
    }
}

pub(super) fn unusable(path: &Path) -> Error {
    let message = format!(
        "the descriptors of {} were closed by others",
        path.display()
    );
    Error::new(Kind::File, CKR_DEVICE_ERROR, message)
}

/// What SQLite refused, in the words and with the codes of a file.
fn failed(path: &Path, e: rusqlite::Error) -> Error {
    let path_shown = path.display();
    match e.sqlite_error_code() {
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => files::forbidden(path),
        Some(ErrorCode::DiskFull) => Error::file(
            format!("{path_shown} cannot be written"),
            std::io::ErrorKind::StorageFull.into(),
        ),
        Some(ErrorCode::SystemIoFailure) => {
            let message = format!("{path_shown} cannot be written or read");
            Error::new(Kind::File, CKR_DEVICE_ERROR, message).because(e)
        }
        Some(ErrorCode::OutOfMemory) => {
            Error::new(Kind::File, CKR_HOST_MEMORY, "no memory for the database")
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Error::new(
            Kind::File,
            CKR_DEVICE_ERROR,
            format!("{path_shown} is damaged: restore it from a backup"),
        )
        .because(e),
        _ => Error::new(
            Kind::File,
            CKR_DEVICE_ERROR,
            format!("{path_shown} cannot be read or written"),
        )
        .because(e),
    }
}
