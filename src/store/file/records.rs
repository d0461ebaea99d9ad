//! Records of any kind over one [`journal`](super::journal), found by an index in memory.
//!
//! [`FileStore`](super::FileStore) keeps a token's objects in it, the embedded KMIP server its own: what a record says is
//! theirs; how it is written, found and shared between processes is here.

use std::hash::{BuildHasher, Hash, RandomState};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::index::Index;
use super::journal::{self, Entry, Journal, Lock, Mark, Place, Source};
use super::numbers::Numbers;
use crate::ck::{CK_RV, CKR_FUNCTION_FAILED};
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;

/// The journal is rewritten when it is longer than this (bytes) and most of it is overtaken.
pub const WORTH_REWRITING: u64 = 1 << 20;

/// What is kept about an object, beside its value.
pub trait Record: Sized {
    /// Reads what was written about an object.
    fn parse(about: &[u8]) -> Result<Self>;

    /// Everything it shall be found by.
    fn tags(&self, tagger: &Tagger) -> Vec<u64>;

    /// The one of its tags under which it is weighed.
    fn weighed(&self, _tagger: &Tagger) -> Option<u64> {
        None
    }
}

/// Makes numbers of what is looked up: the same for the same, within one process.
#[derive(Clone, Default)]
pub struct Tagger(RandomState);

impl Tagger {
    /// The number of this.
    pub fn tag(&self, what: impl Hash) -> u64 {
        self.0.hash_one(what)
    }
}

/// The records of one file. Every call sees what other processes wrote before it, for the price of one `stat`.
///
/// Readers wait for no disk: they hold the index only while they look something up in it. Threads that write at once share one
/// lock file and one `fdatasync`: the one behind which nobody waits any more makes the disk write for all of them.
pub struct Records<R> {
    path: PathBuf,
    held: Mutex<Held<R>>,
    tagger: Tagger,
    /// Locked by the thread whose turn it is to write, also while it waits for the disk.
    pub(super) writing: Mutex<Option<Batch>>,
    /// How many threads wait for their turn.
    pub(super) waiting: AtomicUsize,
}

/// The records as they are now.
pub struct Held<R> {
    pub(super) journal: Journal,
    pub(super) index: Index,
    record: PhantomData<fn() -> R>,
}

/// A record as it was when it was looked up; it is read without holding anything up.
pub struct View {
    /// Differs from that of every other record, and of what the record was before and will be.
    pub stamp: u64,
    place: Place,
    source: Arc<Source>,
}

/// How many records there are, and what they take on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// How many.
    pub records: usize,
    /// Their length, in bytes.
    pub bytes: u64,
}

impl View {
    /// Length of the record, in bytes.
    pub fn bytes(&self) -> u64 {
        self.place.bytes()
    }

    /// The record and its value; `None` when it says that there is none.
    pub fn read<R: Record>(&self) -> Result<Option<(R, Secret)>> {
        match self.source.read(self.place)?.put {
            Some((about, value)) => Ok(Some((R::parse(&about)?, value))),
            None => Ok(None),
        }
    }
}

impl<R: Record> Records<R> {
    /// Opens the file at `path`, sealed with the 32-byte `key`; makes an empty one when there is none.
    pub fn open(path: &Path, key: &[u8]) -> Result<Records<R>> {
        let mut held = Held {
            journal: Journal::open(path, key)?,
            index: Index::default(),
            record: PhantomData,
        };
        let tagger = Tagger::default();
        held.read_on(&tagger)?;
        Ok(Records {
            path: path.into(),
            held: Mutex::new(held),
            tagger,
            writing: Mutex::default(),
            waiting: AtomicUsize::new(0),
        })
    }

    /// Offsets of damaged records: their objects are missing, the others work.
    pub fn damaged(&self) -> Vec<u64> {
        self.lock().journal.damaged().to_vec()
    }

    /// What makes the numbers that records are found by.
    pub fn tagger(&self) -> &Tagger {
        &self.tagger
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Held<R>> {
        // Every change is one assignment after the write succeeded, so a panic in between left nothing half done.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest state, to look something up. What was written a moment ago may be in it before it is on the disk.
    pub fn read(&self) -> Result<MutexGuard<'_, Held<R>>> {
        let mut held = self.lock();
        held.read_on(&self.tagger)?;
        Ok(held)
    }

    /// A record that may be used: a power failure does not take it away. That is waited for when it is so new that it may not be
    /// on the disk yet, whoever wrote it.
    pub fn get(&self, uid: &str) -> Result<Option<View>> {
        self.get_by(|_| Some(uid.to_owned()))
    }

    /// The same for the record whose identifier `choose` finds.
    pub fn get_by(&self, choose: impl Fn(&Held<R>) -> Option<String>) -> Result<Option<View>> {
        loop {
            let held = self.read()?;
            let Some(uid) = choose(&held) else {
                return Ok(None);
            };
            match held.index.known(&uid) {
                None => return Ok(None),
                Some(known) if held.journal.is_synced(known.place) => return Ok(held.view(&uid)),
                Some(_) => drop(held),
            }
            self.settle()?;
        }
    }

    /// One transaction: `change` sees the newest state and says what to write.
    pub fn write<T, E: From<Error>>(
        &self,
        change: impl FnOnce(&Held<R>) -> std::result::Result<(Vec<Entry>, T), E>,
    ) -> std::result::Result<T, E> {
        let (done, fate) = {
            let mut turn = self.turn()?;
            let done = self.transact(turn.batch(), change);
            let fate = turn.batch().fate.clone();
            if self.waiting.load(Ordering::SeqCst) == 0 {
                self.finish(&mut turn);
            }
            (done, fate)
        };
        let (wrote, result) = done?;
        if wrote {
            fate.wait()?;
        }
        Ok(result)
    }

    /// Waits until this thread may write.
    fn turn(&self) -> Result<Turn<'_>> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        if writing.is_none() {
            let lock = journal::lock(&self.path)?;
            let start = {
                let mut held = self.read()?;
                held.journal.make_ready(&lock)?;
                held.journal.mark()
            };
            *writing = Some(Batch {
                lock,
                start,
                wrote: false,
                fate: Arc::default(),
            });
        }
        Ok(Turn(writing))
    }

    /// Writes what `change` says, and whether that was anything.
    fn transact<T, E: From<Error>>(
        &self,
        batch: &mut Batch,
        change: impl FnOnce(&Held<R>) -> std::result::Result<(Vec<Entry>, T), E>,
    ) -> std::result::Result<(bool, T), E> {
        let mut held = self.read()?;
        let (entries, result) = change(&held)?;
        if entries.is_empty() {
            return Ok((false, result));
        }
        held.journal.append(&batch.lock, &entries)?;
        batch.wrote = true;
        held.read_on(&self.tagger)?;
        Ok((true, result))
    }

    /// Ends a batch: what was written comes onto the disk, or is taken back.
    fn finish(&self, turn: &mut Turn<'_>) {
        let Some(batch) = turn.0.take() else { return };
        let mut done = Ok(());
        if batch.wrote {
            let (source, end) = self.written();
            done = source.sync();
            let mut held = self.lock();
            match &done {
                Ok(()) => held.journal.note_synced(end),
                Err(_) => {
                    held.journal.take_back(&batch.lock, batch.start);
                    let _ = held.read_on(&self.tagger);
                }
            }
        }
        if done.is_ok() {
            self.tidy(&batch.lock);
        }
        batch.fate.tell(done);
    }

    /// The file, and how far it is written.
    fn written(&self) -> (Arc<Source>, Mark) {
        let held = self.lock();
        (held.journal.source().clone(), held.journal.mark())
    }

    /// Waits until what is written now is on the disk.
    fn settle(&self) -> Result<()> {
        let fate = {
            let writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
            match &*writing {
                Some(batch) => batch.fate.clone(),
                None => {
                    // It was written by another process, or before this one began; or meanwhile it came onto the disk.
                    let (source, end) = self.written();
                    source.sync()?;
                    self.lock().journal.note_synced(end);
                    return Ok(());
                }
            }
        };
        // When it is taken back, the next look finds that it is not there.
        let _ = fate.wait();
        Ok(())
    }

    /// Takes the file away when it holds nothing any more; false, and nothing done, when there are records.
    pub fn retire(&self) -> Result<bool> {
        let mut turn = self.turn()?;
        self.finish(&mut turn);
        let _lock = journal::lock(&self.path)?;
        let held = self.read()?;
        let empty = held.index.is_empty();
        if empty {
            held.journal.retire()?;
        }
        Ok(empty)
    }

    /// Rewrites the journal when that halves it. Not necessary for anything but room, so a failure is only logged.
    fn tidy(&self, lock: &Lock) {
        let (source, places) = {
            let held = self.lock();
            // What is damaged is left for whoever can mend it.
            let whole = held.journal.damaged().is_empty();
            if !whole
                || held.journal.size() < WORTH_REWRITING
                || held.index.live_bytes() * 2 > held.journal.size()
            {
                return;
            }
            (held.journal.source().clone(), held.index.places())
        };
        let done = source.rewrite(lock, places.into_iter()).and_then(|()| {
            let mut held = self.read()?;
            let end = held.journal.mark();
            held.journal.note_synced(end);
            Ok(())
        });
        if let Err(e) = done {
            crate::log!(Warn, "the object file was not rewritten: {e}");
        }
    }
}

/// Transactions that come onto the disk together.
pub(super) struct Batch {
    lock: Lock,
    /// Where the first of them begins.
    start: Mark,
    wrote: bool,
    fate: Arc<Fate>,
}

/// A thread's turn to write.
struct Turn<'a>(MutexGuard<'a, Option<Batch>>);

impl Turn<'_> {
    fn batch(&mut self) -> &mut Batch {
        self.0.as_mut().expect("a turn begins with a batch")
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // A thread that panics leaves neither the lock file locked nor others waiting.
        if std::thread::panicking()
            && let Some(batch) = self.0.take()
        {
            batch.fate.tell(Err(Error::new(
                Kind::File,
                CKR_FUNCTION_FAILED,
                "another thread failed while it wrote: look what is there",
            )));
        }
    }
}

/// Success, or of an error its kind, its number for applications and its sentence.
type Told = std::result::Result<(), (Kind, CK_RV, String)>;

/// What becomes of a batch.
#[derive(Default)]
struct Fate {
    told: Mutex<Option<Told>>,
    news: Condvar,
}

impl Fate {
    fn tell(&self, done: Result<()>) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        *told = Some(done.map_err(|e| (e.kind(), e.rv(), e.to_string())));
        self.news.notify_all();
    }

    fn wait(&self) -> Result<()> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match &*told {
                Some(done) => {
                    return done
                        .clone()
                        .map_err(|(kind, rv, message)| Error::new(kind, rv, message));
                }
                None => told = self.news.wait(told).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

impl<R: Record> Held<R> {
    /// A record, to be read.
    pub fn view(&self, uid: &str) -> Option<View> {
        let known = self.index.known(uid)?;
        Some(View {
            stamp: known.stamp,
            place: known.place,
            source: self.journal.source().clone(),
        })
    }

    /// A record and its value.
    pub fn get(&self, uid: &str) -> Result<Option<(R, Secret)>> {
        self.view(uid).map_or(Ok(None), |view| view.read())
    }

    /// Length of a record, in bytes.
    pub fn size(&self, uid: &str) -> Option<u64> {
        self.index.known(uid).map(|known| known.place.bytes())
    }

    /// What the records weigh that are weighed under this tag.
    pub fn weight(&self, tag: u64) -> Weight {
        self.index.weight(tag)
    }

    /// True when there is a record of this identifier.
    pub fn contains(&self, uid: &str) -> bool {
        self.index.known(uid).is_some()
    }

    /// The number of a record.
    pub fn number(&self, uid: &str) -> Option<u32> {
        self.index.known(uid).map(|known| known.number)
    }

    /// True when the record of this number has a tag.
    pub fn has_tag(&self, number: u32, tag: u64) -> bool {
        self.index.has_tag(number, tag)
    }

    /// Numbers of the records that have all of the tags: the older a record, the lower its number.
    pub fn numbers(&self, tags: &[u64]) -> Numbers {
        self.index.numbers(tags)
    }

    /// Identifiers of the records that have all of these tags, the oldest first.
    pub fn find(&self, tags: &[u64]) -> Vec<&str> {
        self.numbers(tags)
            .iter()
            .filter_map(|number| self.uid(number))
            .collect()
    }

    /// The identifier of the record of this number.
    pub fn uid(&self, number: u32) -> Option<&str> {
        self.index.uid(number)
    }

    /// How many were ever met by this process: one more than the number of the newest record.
    pub fn met(&self) -> u32 {
        self.index.met()
    }

    fn read_on(&mut self, tagger: &Tagger) -> Result<()> {
        let mut news = self.journal.read_on()?;
        if news.restarted {
            self.index.clear();
        }
        for met in news.entries.drain(..) {
            let number = self.remove(&met.entry.uid, tagger);
            let Some((about, _)) = met.entry.put else {
                continue;
            };
            match R::parse(&about) {
                Ok(record) => {
                    if let Some(tag) = record.weighed(tagger) {
                        self.index.weigh(tag, met.place);
                    }
                    self.index
                        .insert(met.entry.uid, number, record.tags(tagger), met.place)
                }
                Err(e) => crate::log!(Error, "object {}: {e}", met.entry.uid),
            }
        }
        Ok(())
    }

    fn remove(&mut self, uid: &str, tagger: &Tagger) -> Option<u32> {
        let known = self.index.remove(uid)?;
        // The tags are those of the record that is overtaken, so it is read once more.
        if let Ok(Some((about, _))) = self
            .journal
            .source()
            .read(known.place)
            .map(|entry| entry.put)
            && let Ok(record) = R::parse(&about)
        {
            self.index.untag(known.number, &record.tags(tagger));
            if let Some(tag) = record.weighed(tagger) {
                self.index.lighten(tag, known.place);
            }
        }
        Some(known.number)
    }
}

/// A random UUID (RFC 9562, version 4).
pub fn new_uid() -> Result<String> {
    let mut b = [0; 16];
    crate::crypto::rng::fill(&mut b)?;
    b[6] = b[6] & 0x0f | 0x40;
    b[8] = b[8] & 0x3f | 0x80;
    let h = data_encoding::HEXLOWER.encode(&b);
    Ok(format!(
        "{}-{}-{}-{}-{}",
        &h[..8],
        &h[8..12],
        &h[12..16],
        &h[16..20],
        &h[20..]
    ))
}
