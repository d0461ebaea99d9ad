//! The files of a database, and who may use them when.
//!
//! SQLite takes no lock and maps no file here (VFS `unix-none`, WAL with its index on the heap). Processes exclude each other
//! by two `flock` locks, which belong to an open file: another copy of the module in the same process has its own, and closing
//! a file elsewhere in the process releases none.
//!
//! * The lock of `NAME.lock` is held by the one process that writes.
//! * The lock of `NAME.db` is shared by those that read or append to the WAL, and held alone by the one that moves the WAL into the
//!   database and truncates it.
//!
//! `NAME.lock` contains four numbers: the generation of the WAL, which changes whenever transactions do anything but follow each
//! other; how much of the WAL is known to be on the disk; where its last transaction ends; and whether it has to be truncated,
//! because a removed value is in it. They tell each process whether its index is current. Otherwise transactions overwrite a WAL
//! that was moved into the database: a file that does not grow is synchronized in about two thirds of the time.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::ck::{CKR_DEVICE_ERROR, CKR_FUNCTION_FAILED, CKR_TOKEN_WRITE_PROTECTED};
use crate::config;
use crate::descriptor::{self, Own};
use crate::error::{Error, Kind, Result};
use crate::fault;
use crate::storage::engine;

/// How long a process waits for another's lock, before it reports that.
const PATIENCE: Duration = Duration::from_secs(8);

/// What a reader compares to learn that the database was changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    generation: u64,
    /// End of the last transaction in the WAL, in bytes.
    pub end: u64,
}

impl Stamp {
    /// No state has it.
    pub const UNKNOWN: Stamp = Stamp {
        generation: u64::MAX,
        end: APPENDING,
    };

    /// False while a transaction is being appended, or was when its process died.
    pub fn is_settled(self) -> bool {
        self.end != APPENDING
    }

    /// `UNKNOWN` unless it is settled: the next look must not take it for current.
    pub fn or_unknown(self) -> Stamp {
        match self.is_settled() {
            true => self,
            false => Stamp::UNKNOWN,
        }
    }
}

/// The end of the last transaction while the next is being appended.
const APPENDING: u64 = u64::MAX;

/// What the lock file contains.
#[derive(Clone, Copy)]
struct Numbers {
    generation: u64,
    synced: u64,
    end: u64,
    /// 1 if a removed value may be in the WAL.
    erased: u64,
}

impl From<Stamp> for engine::Stamp {
    fn from(stamp: Stamp) -> engine::Stamp {
        engine::Stamp(stamp.generation, stamp.end)
    }
}

/// The files of a database.
pub struct Files {
    /// Path of the database.
    pub path: PathBuf,
    lock: Option<Own<File>>,
    database: Own<File>,
    wal: Own<File>,
    /// False where this user may only read.
    pub is_writable: bool,
}

/// The path of a database's WAL.
pub fn wal_of(path: &Path) -> PathBuf {
    path.with_extension("db-wal")
}

impl Files {
    /// Opens the files of the database at `path`. `NotFound` if there is none.
    pub fn open(path: &Path) -> Result<Files> {
        let cannot = |e| Error::file(format!("{} cannot be opened", path.display()), e);
        let (database, is_writable) = open_any(path).map_err(cannot)?;
        let about = database.metadata().map_err(cannot)?;
        if about.mode() & 0o077 != 0 {
            let path = path.display();
            let message = format!("{path} can be read by others: run 'chmod 600 {path}'");
            return Err(Error::new(Kind::File, CKR_DEVICE_ERROR, message));
        }
        let wal_path = wal_of(path);
        let wal = match open_any(&wal_path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound && is_writable => {
                match create(&wal_path) {
                    // Another process was faster.
                    Err(e) if e.kind() == io::ErrorKind::AlreadyExists => open_any(&wal_path),
                    created => created.map(|file| (file, true)),
                }
            }
            opened => opened,
        };
        let (wal, wal_is_writable) =
            wal.map_err(|e| Error::file(format!("{} cannot be opened", wal_path.display()), e))?;
        let lock = open_lock(path);
        Ok(Files {
            is_writable: is_writable && wal_is_writable && lock.is_ok(),
            // There may be none on read-only media.
            lock: lock
                .or_else(|_| open_any(&lock_of(path)).map(|(file, _)| file))
                .and_then(Own::of)
                .ok(),
            database: Own::of(database).map_err(cannot)?,
            wal: Own::of(wal).map_err(cannot)?,
            path: path.into(),
        })
    }

    /// Whether the database at the path still is the one that was opened.
    pub fn are_current(&self) -> Result<bool> {
        match fs::metadata(&self.path) {
            Ok(about) => Ok((about.dev(), about.ino()) == self.database.identity()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(Error::file(
                format!(
                    "{} is gone (moved to a key manager?): start the application again",
                    self.path.display()
                ),
                e,
            )),
            Err(e) => Err(self.broken("cannot be read", e)),
        }
    }

    /// What changes when anybody changes the database, and up to where the WAL is on the disk; `None` if a descriptor is no longer
    /// ours.
    pub fn stamp(&self) -> Option<(Stamp, u64)> {
        let numbers = self.numbers().ok()?;
        let stamp = Stamp {
            generation: numbers.generation,
            end: numbers.end,
        };
        Some((stamp, numbers.synced))
    }

    fn numbers(&self) -> io::Result<Numbers> {
        let mut bytes = [0; 32];
        let mut read = 0;
        if let Some(lock) = &self.lock {
            lock.verify()?;
            read = lock.read_at(&mut bytes, 0)?;
        }
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        Ok(Numbers {
            generation: number(0),
            synced: number(8),
            // A new lock file is empty, and read-only media may have none.
            end: match read {
                32 => number(16),
                _ => self.own_wal()?.metadata()?.len(),
            },
            erased: number(24),
        })
    }

    fn set_numbers(&self, change: impl Fn(Numbers) -> Numbers) -> Result<()> {
        let lock = self.writable_lock()?;
        let write = || {
            let new = change(self.numbers()?);
            let numbers = [new.generation, new.synced, new.end, new.erased];
            let bytes = numbers.map(u64::to_le_bytes);
            lock.write_all_at(bytes.as_flattened(), 0)
        };
        write().map_err(|e| self.broken("cannot be written", e))
    }

    /// Tells other processes that the WAL did anything but grow: where its last transaction ends, and up to where it is on the
    /// disk. The writer calls it.
    pub fn new_generation(&self, end: u64, synced: u64) -> Result<()> {
        self.set_numbers(|numbers| Numbers {
            generation: numbers.generation + 1,
            synced: synced.min(end),
            end,
            ..numbers
        })
    }

    /// Tells other processes that a transaction is being appended to the WAL, and whether it removes a value. The writer calls it.
    pub fn note_appending(&self, erases: bool) -> Result<()> {
        self.set_numbers(|numbers| Numbers {
            end: APPENDING,
            erased: numbers.erased | u64::from(erases),
            ..numbers
        })
    }

    /// Whether a removed value may be in the WAL.
    pub fn has_erased(&self) -> bool {
        self.numbers().is_ok_and(|numbers| numbers.erased != 0)
    }

    /// Notes that no removed value is in the WAL. The writer calls it.
    pub fn note_truncated(&self) -> Result<()> {
        self.set_numbers(|numbers| Numbers {
            erased: 0,
            ..numbers
        })
    }

    /// Tells other processes where the last transaction ends. The writer calls it.
    pub fn note_end(&self, end: u64) -> Result<()> {
        self.set_numbers(|numbers| Numbers { end, ..numbers })
    }

    /// Notes up to where the WAL is on the disk. The writer calls it.
    pub fn note_synced(&self, synced: u64) -> Result<()> {
        self.set_numbers(|numbers| Numbers { synced, ..numbers })
    }

    /// Waits until everything that was appended to the WAL is on the disk.
    pub fn sync(&self) -> Result<()> {
        fault::step("sync WAL")
            .and_then(|()| self.own_wal()?.sync_data())
            .map_err(|e| self.broken("cannot be written", e))
    }

    /// Waits until the numbers of the lock file are on the disk.
    pub fn sync_lock(&self) -> Result<()> {
        self.writable_lock()?
            .sync_data()
            .map_err(|e| self.broken("cannot be written", e))
    }

    /// Cuts the WAL off. The writer calls it.
    pub fn truncate_wal(&self, length: u64) -> Result<()> {
        self.own_wal()
            .and_then(|wal| wal.set_len(length))
            .map_err(|e| self.broken("cannot be written", e))
    }

    /// Makes the WAL one without transactions, as long as it is: all of them are in the database.
    pub fn empty_wal(&self) -> Result<()> {
        self.own_wal()
            .and_then(|wal| wal.write_all_at(&[0; super::WAL_HEADER as usize], 0))
            .map_err(|e| self.broken("cannot be written", e))
    }

    fn own_wal(&self) -> io::Result<&File> {
        self.wal.verify()?;
        Ok(&self.wal)
    }

    /// Takes the right to read, until it is dropped.
    pub fn share(&self) -> Result<Held<'_>> {
        self.wait(&self.database, File::try_lock_shared, PATIENCE)
    }

    /// Takes the right to truncate the WAL, until it is dropped; `None` if others read for longer than `patience`.
    pub fn alone(&self, patience: Duration) -> Option<Held<'_>> {
        self.wait(&self.database, File::try_lock, patience).ok()
    }

    /// Takes the right to write, until it is dropped.
    pub fn writer(self: &Arc<Files>) -> Result<Writer> {
        let held = self.wait(self.writable_lock()?, File::try_lock, PATIENCE)?;
        std::mem::forget(held);
        Ok(Writer(Of::Database(self.clone())))
    }

    /// The same, if no other process has it.
    pub fn try_writer(self: &Arc<Files>) -> Option<Writer> {
        let held = self.wait(self.writable_lock().ok()?, File::try_lock, Duration::ZERO);
        std::mem::forget(held.ok()?);
        Some(Writer(Of::Database(self.clone())))
    }

    fn writable_lock(&self) -> Result<&File> {
        match &self.lock {
            Some(lock) if self.is_writable && lock.is_ours() => Ok(lock),
            Some(_) if self.is_writable => {
                Err(self.broken("cannot be locked", io::ErrorKind::NotConnected.into()))
            }
            _ => Err(forbidden(&self.path)),
        }
    }

    fn wait<'a>(
        &self,
        file: &'a File,
        lock: impl Fn(&File) -> Result<(), TryLockError>,
        patience: Duration,
    ) -> Result<Held<'a>> {
        wait(file, lock, patience).map_err(|e| match e {
            Some(e) => self.broken("cannot be locked", e),
            None => busy(&self.path),
        })
    }

    /// An error of these files.
    pub fn broken(&self, what: &str, cause: io::Error) -> Error {
        Error::file(format!("{} {what}", self.path.display()), cause)
    }
}

/// A lock, held until it is dropped.
pub struct Held<'a>(&'a File);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // A child that the application forked meanwhile has the same open file: closing ours would leave the lock with it.
        let _ = self.0.unlock();
    }
}

/// The right to write, held until it is dropped.
pub struct Writer(Of);

/// Whose open file the lock belongs to.
enum Of {
    Database(Arc<Files>),
    File(File),
}

impl Drop for Writer {
    fn drop(&mut self) {
        // By hand, as above.
        let _ = match &self.0 {
            Of::Database(files) => files.writable_lock().map(|lock| lock.unlock()).ok(),
            Of::File(lock) => Some(lock.unlock()),
        };
    }
}

/// Takes the right to write the database at `path`, until it is dropped.
pub fn lock(path: &Path) -> Result<Writer> {
    let cannot = |e: io::Error| match is_forbidden(&e) {
        true => forbidden(folder_of(path)),
        false => Error::file(format!("{} cannot be locked", lock_of(path).display()), e),
    };
    let file = open_lock(path).map_err(cannot)?;
    match wait(&file, File::try_lock, PATIENCE) {
        Ok(held) => std::mem::forget(held),
        Err(Some(e)) => return Err(cannot(e)),
        Err(None) => return Err(busy(path)),
    }
    Ok(Writer(Of::File(file)))
}

fn wait<'a>(
    file: &'a File,
    lock: impl Fn(&File) -> Result<(), TryLockError>,
    patience: Duration,
) -> Result<Held<'a>, Option<io::Error>> {
    let deadline = Instant::now() + patience;
    let mut pause = Duration::from_micros(50);
    loop {
        match lock(file) {
            Ok(()) => return Ok(Held(file)),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(pause);
                pause = (2 * pause).min(Duration::from_millis(1));
            }
            Err(TryLockError::WouldBlock) => return Err(None),
            Err(TryLockError::Error(e)) => return Err(Some(e)),
        }
    }
}

fn busy(path: &Path) -> Error {
    let message = format!(
        "another process has been writing {} for {} s: try again",
        path.display(),
        PATIENCE.as_secs()
    );
    Error::new(Kind::File, CKR_FUNCTION_FAILED, message)
}

/// Why nothing can be changed, and how to allow it.
pub fn forbidden(path: &Path) -> Error {
    let message = format!(
        "nothing can be changed, because this user may not write {}: allow that, and start again",
        path.display()
    );
    Error::new(Kind::File, CKR_TOKEN_WRITE_PROTECTED, message)
}

fn is_forbidden(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
    )
}

/// The folder of a file.
pub fn folder_of(path: &Path) -> &Path {
    path.parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// The lock file of a database, which earlier builds lock too.
fn lock_of(path: &Path) -> PathBuf {
    path.with_extension("lock")
}

fn open_lock(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).mode(0o600);
    let path = lock_of(path);
    match descriptor::open(options.custom_flags(libc::O_NOFOLLOW), &path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let file = descriptor::open(options.create(true), &path)?;
            give_to_owner(&file, &path);
            Ok(file)
        }
        opened => opened,
    }
}

/// Opens a file for reading and writing, or for reading where no more is allowed.
fn open_any(path: &Path) -> io::Result<(File, bool)> {
    let open = |write| {
        let mut options = File::options();
        options
            .read(true)
            .write(write)
            .custom_flags(libc::O_NOFOLLOW);
        descriptor::open(&options, path).map(|file| (file, write))
    };
    open(true).or_else(|e| {
        if is_forbidden(&e) {
            open(false)
        } else {
            Err(e)
        }
    })
}

/// Creates a file for reading and writing; `AlreadyExists` if there is one.
pub fn create(path: &Path) -> io::Result<File> {
    fault::step("create file")?;
    let mut options = File::options();
    options
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW);
    let file = descriptor::open(&options, path)?;
    give_to_owner(&file, path);
    Ok(file)
}

/// A file that root created belongs to the owner of its folder, so that a daemon's own user can use it.
fn give_to_owner(file: &File, path: &Path) {
    if config::effective_uid() == 0
        && let Ok(folder) = fs::metadata(folder_of(path))
    {
        let _ = fchown(file, Some(folder.uid()), Some(folder.gid()));
    }
}

/// Removes a file, if there is one.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Moves a file over another, once it is on the disk.
pub fn replace(new: &Path, path: &Path) -> io::Result<()> {
    fault::step("sync file")?;
    File::open(new)?.sync_all()?;
    fault::step("rename file")?;
    fs::rename(new, path)?;
    sync_folder(path)
}

/// Waits until the entries of a file's folder are on the disk.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    fault::step("sync folder")?;
    File::open(folder_of(path))?.sync_all()
}
