//! A database that the threads of this process share, and other processes use too.
//!
//! Threads that write at once share one wait for the disk: the last of them syncs for all. Readers wait for no disk, unless what
//! they read is not on it yet.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::files::{Files, Stamp, Writer};
use super::{Database, WORTH_MOVING};
use crate::ck::{CK_RV, CKR_FUNCTION_FAILED};
use crate::error::{Error, Kind, Result};
use crate::storage::engine::{self, Batch, Engine, Id, Info, Removal, Rows};
use crate::storage::open;

/// How long a writer waits for readers in order to truncate the WAL: for a removed value, and otherwise.
const FOR_REMOVAL: Duration = Duration::from_secs(2);
const FOR_ROOM: Duration = Duration::from_millis(20);

/// A database for all threads of the process.
pub struct Sqlite {
    /// The path of the repository.
    path: PathBuf,
    held: Mutex<Held>,
    /// The files, for a look at their state while others hold the database.
    files: Mutex<Arc<Files>>,
    /// Locked by the thread whose turn it is to write, also while it waits for the disk.
    pub(crate) writing: Mutex<Option<Turn>>,
    /// How many threads wait for their turn.
    pub(crate) waiting: AtomicUsize,
}

struct Held {
    database: Database,
    /// Objects that were written, but may not be on the disk yet.
    pending: HashSet<Id>,
}

impl Sqlite {
    /// Opens the database of the repository at `path`.
    pub fn open(path: &Path) -> Result<Sqlite> {
        let database = Database::open(&open::database_of(path))?;
        Ok(Sqlite {
            path: path.into(),
            files: Mutex::new(database.files.clone()),
            held: Mutex::new(Held {
                database,
                pending: HashSet::new(),
            }),
            writing: Mutex::default(),
            waiting: AtomicUsize::new(0),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The database, verified: its descriptors are ours, and it is the one at its path.
    fn verified(&self) -> Result<MutexGuard<'_, Held>> {
        let mut held = self.lock();
        if !held.database.files.are_current()? || !held.database.is_ours() {
            held.database = Database::open(&open::database_of(&self.path))?;
            let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
            *files = held.database.files.clone();
        }
        Ok(held)
    }

    /// Cuts off what a writer that died has left of a transaction. Nothing, while a writer is alive.
    fn repair(&self) -> Result<()> {
        let Ok(writing) = self.writing.try_lock() else {
            return Ok(());
        };
        let files = self.verified()?.database.files.clone();
        match (&*writing, files.try_writer()) {
            (None, Some(_writer)) => self.lock().database.prepare(),
            _ => Ok(()),
        }
    }

    /// Waits until this thread may write.
    fn turn(&self) -> Result<MyTurn<'_>> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        if writing.is_none() {
            let files = self.verified()?.database.files.clone();
            let writer = files.writer()?;
            let mut held = self.lock();
            held.database.prepare()?;
            *writing = Some(Turn {
                writer,
                start: held.database.seen(),
                wrote: false,
                fate: Arc::default(),
            });
        }
        Ok(MyTurn(writing))
    }

    /// Writes what `work` returns, and whether that was anything.
    fn transact(
        &self,
        turn: &mut Turn,
        work: &mut dyn FnMut(&dyn Rows) -> Result<Batch>,
    ) -> Result<bool> {
        let mut held = self.lock();
        let files = held.database.files.clone();
        let _reading = files.share()?;
        if !held.database.is_ours() {
            return Err(super::unusable(&files.path));
        }
        let batch = work(&held.database)?;
        if batch.is_empty() {
            return Ok(false);
        }
        held.database.apply(&batch)?;
        turn.wrote = true;
        for change in &batch.rows {
            held.pending.insert(change.id);
        }
        Ok(true)
    }

    /// Ends a turn: what was written reaches the disk, or is taken back.
    fn finish(&self, mine: &mut MyTurn<'_>) {
        let Some(turn) = mine.0.take() else { return };
        let done = match turn.wrote {
            true => self.finish_writing(&turn),
            false => Ok(()),
        };
        turn.fate.decide(done);
    }

    fn finish_writing(&self, turn: &Turn) -> Result<()> {
        let (files, end) = {
            let held = self.lock();
            (held.database.files.clone(), held.database.seen().end)
        };
        let synced = files.sync();
        let mut held = self.lock();
        held.pending.clear();
        if let Err(e) = synced {
            held.database.take_back(turn.start)?;
            return Err(e);
        }
        if let Err(e) = files.note_synced(end) {
            crate::log!(Warn, "{e}");
        }
        let erased = files.has_erased();
        if !erased && end <= WORTH_MOVING {
            return Ok(());
        }
        let patience = if erased { FOR_REMOVAL } else { FOR_ROOM };
        match held.database.move_wal(erased, patience) {
            Ok(false) if erased => {
                crate::log!(
                    Warn,
                    "a removed value stays in the WAL until the next change"
                )
            }
            Ok(_) => {}
            Err(e) => crate::log!(Warn, "the WAL was not moved into the database: {e}"),
        }
        Ok(())
    }

    /// The right to write, when the transactions of other threads have ended.
    fn alone(&self) -> Result<(Writer, MutexGuard<'_, Held>)> {
        let mut mine = self.turn()?;
        self.finish(&mut mine);
        let files = self.verified()?.database.files.clone();
        let writer = files.writer()?;
        let mut held = self.lock();
        held.database.prepare()?;
        Ok((writer, held))
    }
}

impl Engine for Sqlite {
    fn read(&self, work: &mut dyn FnMut(&dyn Rows) -> Result<()>) -> Result<()> {
        let mut is_repaired = false;
        loop {
            let mut held = self.verified()?;
            let files = held.database.files.clone();
            let reading = files.share()?;
            held.database.refresh()?;
            if held.database.is_settled() || is_repaired || !files.is_writable {
                return work(&held.database);
            }
            drop((reading, held));
            self.repair()?;
            is_repaired = true;
        }
    }

    fn write(&self, work: &mut dyn FnMut(&dyn Rows) -> Result<Batch>) -> Result<()> {
        let (done, fate) = {
            let mut mine = self.turn()?;
            let done = self.transact(mine.turn(), work);
            let fate = mine.turn().fate.clone();
            if self.waiting.load(Ordering::SeqCst) == 0 {
                self.finish(&mut mine);
            }
            (done, fate)
        };
        match done? {
            true => fate.wait(),
            false => Ok(()),
        }
    }

    fn stamp(&self) -> Option<engine::Stamp> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let (stamp, synced) = files.stamp()?;
        let is_current = files.are_current().unwrap_or(false) && synced >= stamp.end;
        is_current.then(|| stamp.into())
    }

    fn settle(&self, id: &Id) -> Result<bool> {
        let held = self.lock();
        if !held.pending.contains(id) && !held.database.is_ahead_of_disk() {
            return Ok(true);
        }
        drop(held);
        let fate = {
            let writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
            match &*writing {
                Some(turn) => turn.fate.clone(),
                None => {
                    // Another process wrote it, or meanwhile it is on the disk.
                    let files = self.lock().database.files.clone();
                    files.sync()?;
                    self.lock().database.note_on_disk();
                    // Who may not write cannot repair what a writer that died has left, which is on the disk now.
                    return Ok(!files.is_writable);
                }
            }
        };
        // If it is taken back, the next look finds that it is not there.
        let _ = fate.wait();
        Ok(false)
    }

    fn info(&self) -> Result<Info> {
        let mut held = self.verified()?;
        let files = held.database.files.clone();
        let _reading = files.share()?;
        held.database.refresh()?;
        held.database.info()
    }

    fn check(&self) -> Result<Vec<String>> {
        let mut held = self.verified()?;
        let files = held.database.files.clone();
        let _reading = files.share()?;
        held.database.refresh()?;
        held.database.check_file()
    }

    fn backup(&self, path: &Path) -> Result<()> {
        let mut held = self.verified()?;
        let files = held.database.files.clone();
        let _reading = files.share()?;
        held.database.refresh()?;
        held.database.copy_to(path)
    }

    fn compact(&self) -> Result<()> {
        let (_writer, mut held) = self.alone()?;
        held.database.shrink()?;
        held.database.files.sync()?;
        held.database.move_wal(true, FOR_REMOVAL).map(drop)
    }

    fn remove(&self, may: &mut dyn FnMut(&dyn Rows) -> Result<Removal>) -> Result<bool> {
        let (_writer, held) = self.alone()?;
        match may(&held.database)? {
            Removal::No => Ok(false),
            removal => open::remove(&self.path, removal == Removal::Aside).map(|()| true),
        }
    }

    #[cfg(test)]
    fn sqlite(&self) -> Option<&Sqlite> {
        Some(self)
    }
}

/// Transactions that reach the disk together.
/// What becomes of them is decided once.
pub(crate) struct Turn {
    #[allow(dead_code, reason = "held until the turn ends")]
    writer: Writer,
    /// The state before the first of them.
    start: Stamp,
    wrote: bool,
    fate: Arc<Fate>,
}

/// A thread's turn to write.
struct MyTurn<'a>(MutexGuard<'a, Option<Turn>>);

impl MyTurn<'_> {
    fn turn(&mut self) -> &mut Turn {
        self.0.as_mut().expect("it was set when the turn began")
    }
}

impl Drop for MyTurn<'_> {
    fn drop(&mut self) {
        // A thread that panics leaves neither the lock file locked nor others waiting.
        if std::thread::panicking()
            && let Some(turn) = self.0.take()
        {
            turn.fate.decide(Err(Error::new(
                Kind::File,
                CKR_FUNCTION_FAILED,
                "another thread failed while it wrote: look what is there",
            )));
        }
    }
}

/// Success, or the parts of an error that several threads return.
type Decided = std::result::Result<(), (Kind, CK_RV, String)>;

/// What becomes of the transactions of a turn.
#[derive(Default)]
struct Fate {
    decided: Mutex<Option<Decided>>,
    changed: Condvar,
}

impl Fate {
    fn decide(&self, done: Result<()>) {
        let mut decided = self.decided.lock().unwrap_or_else(PoisonError::into_inner);
        *decided = Some(done.map_err(|e| (e.kind(), e.rv(), e.to_string())));
        self.changed.notify_all();
    }

    fn wait(&self) -> Result<()> {
        let mut decided = self.decided.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match &*decided {
                Some(done) => {
                    return done
                        .clone()
                        .map_err(|(kind, rv, message)| Error::new(kind, rv, message));
                }
                None => {
                    decided = self
                        .changed
                        .wait(decided)
                        .unwrap_or_else(PoisonError::into_inner)
                }
            }
        }
    }
}
