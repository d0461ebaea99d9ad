//! The journal: sealed records, appended to one file and never changed in place.
//!
//! A record is a transaction: a list of [`Entry`]s that take effect together or not at all. It is written by one `write`
//! under a lock file, so `kill -9` at any instant leaves the old or the new state: a record that was cut short is the last
//! one, is ignored by readers and removed by the next writer. What may once have been whole is never removed: new records come
//! behind it. A record counts when an `fdatasync` followed, which several records may share. Several processes share a journal:
//! each reads on from where it stopped. When most of the file is overtaken by later records it is rewritten beside itself and
//! renamed.
//!
//! ```text
//! file    "mrhsm-objects-1\n"  record*              the first record is empty: it proves the key
//! record  "REC1" length:u32 sequence:u64 check:u32  sealed(entries), associated data = the header
//! entry   kind:u8 uid:u16+bytes about:u32+bytes value:u32+bytes
//! ```
//! Numbers are big-endian. `check` is the first four bytes of the SHA-256 of the header before it, so that after a damaged
//! record the next one is found again.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::ck::{CKR_DEVICE_ERROR, CKR_FUNCTION_FAILED, CKR_TOKEN_WRITE_PROTECTED};
use crate::config;
use crate::crypto::seal::Sealer;
use crate::error::{Error, Kind, Result};
use crate::fault;
use crate::secret::Secret;

const MAGIC: &[u8; 16] = b"mrhsm-objects-1\n";
const RECORD: &[u8; 4] = b"REC1";
const HEADER: usize = 20;
/// The longest sealed part of a record, in bytes: no single object comes near it, so a longer one is damage.
const MAX_SEALED: usize = 64 << 20;
/// How long a writer waits for another process to finish, before it says so.
const PATIENCE: Duration = Duration::from_secs(8);

/// One object's part of a transaction.
pub struct Entry {
    /// Identifier of the object.
    pub uid: String,
    /// What is kept about it and its value; `None` removes it.
    pub put: Option<(Vec<u8>, Secret)>,
}

/// Where an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    offset: u64,
    length: u32,
    index: u16,
}

impl Place {
    /// Length of the record, in bytes.
    pub fn bytes(self) -> u64 {
        HEADER as u64 + u64::from(self.length)
    }
}

/// An entry met while reading on.
pub struct Met {
    /// Where its record is.
    pub place: Place,
    /// The entry itself.
    pub entry: Entry,
}

/// What reading on found.
#[derive(Default)]
pub struct News {
    /// The file was rewritten: everything known before is void, and the entries are all there is.
    pub restarted: bool,
    /// Entries in the order they were written.
    pub entries: Vec<Met>,
}

/// The right to write, held until dropped.
pub struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Unlocked by hand: a child that the application forked meanwhile holds the same open file, and closing ours would
        // leave the lock with it.
        let _ = self.0.unlock();
    }
}

/// The file of a journal as it was opened, for reading: it stays what it is when the journal is rewritten.
pub struct Source {
    path: PathBuf,
    sealer: Arc<Sealer>,
    file: File,
    /// False where this user may only read.
    writable: bool,
    /// Device and number of the file: whether it still is the one at `path`.
    identity: (u64, u64),
}

impl Source {
    fn open(path: &Path, sealer: Arc<Sealer>) -> Result<Arc<Source>> {
        let (file, writable, identity) = open_file(path)?;
        Ok(Arc::new(Source {
            path: path.into(),
            sealer,
            file,
            writable,
            identity,
        }))
    }

    /// The entry at `place`, read from the file.
    pub fn read(&self, place: Place) -> Result<Entry> {
        let mut record = vec![0; HEADER + place.length as usize];
        self.file
            .read_exact_at(&mut record, place.offset)
            .map_err(|e| self.broken("cannot be read", e))?;
        let (header, body) = record.split_at(HEADER);
        let damage = |e: Error| {
            e.context(format!(
                "{} is damaged at offset {}",
                self.path.display(),
                place.offset
            ))
        };
        let entries = self
            .sealer
            .open(header, body)
            .and_then(|e| parse_entries(e.expose()))
            .map_err(damage)?;
        entries
            .into_iter()
            .nth(place.index as usize)
            .ok_or_else(|| damage(Error::new(Kind::File, CKR_DEVICE_ERROR, "")))
    }

    /// Waits until everything that was written is on the disk.
    pub fn sync(&self) -> Result<()> {
        fault::step("sync record")
            .and_then(|()| self.file.sync_data())
            .map_err(|e| self.broken("cannot be written", e))
    }

    /// Replaces the journal by one with only the entries at `live`.
    pub fn rewrite(&self, _lock: &Lock, live: impl Iterator<Item = Place>) -> Result<()> {
        replace(&self.path, &self.sealer, live.map(|place| self.read(place)))
    }

    fn broken(&self, what: &str, cause: io::Error) -> Error {
        Error::file(format!("{} {what}", self.path.display()), cause)
    }
}

/// How far a journal was written at some moment.
#[derive(Clone, Copy)]
pub struct Mark(u64);

/// A journal that this process has open.
pub struct Journal {
    source: Arc<Source>,
    /// Everything before this offset is read.
    end: u64,
    /// Everything before this offset is known to be on the disk.
    synced: u64,
    sequence: u64,
    damaged: Vec<u64>,
}

impl Journal {
    /// Opens the journal at `path`, making an empty one when there is none. A journal sealed with another key is refused.
    pub fn open(path: &Path, key: &[u8]) -> Result<Journal> {
        let sealer = Arc::new(Sealer::new(key)?);
        if !path.exists() {
            let _lock = lock(path)?;
            if !path.exists() {
                replace(path, &sealer, std::iter::empty())?;
            }
        }
        let source = Source::open(path, sealer)?;
        let mut journal = Journal {
            source,
            end: 0,
            synced: 0,
            sequence: 0,
            damaged: Vec::new(),
        };
        journal.start()?;
        Ok(journal)
    }

    /// The file, for reading without the journal.
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// Reads what was written since the last time, by this process or another.
    pub fn read_on(&mut self) -> Result<News> {
        let mut news = News::default();
        let path = &self.source.path;
        let about = fs::metadata(path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => self.source.broken(
                "is gone (moved to a key manager?): start the application again",
                e,
            ),
            _ => self.source.broken("cannot be read", e),
        })?;
        // Another file, or one from which a writer took back what it could not get onto the disk.
        if (about.dev(), about.ino()) != self.source.identity || about.len() < self.end {
            self.source = Source::open(path, self.source.sealer.clone())?;
            self.start()?;
            news.restarted = true;
        }
        let source = self.source.clone();
        let unreadable = |e| source.broken("cannot be read", e);
        let size = match news.restarted {
            true => source.file.metadata().map_err(unreadable)?.len(),
            false => about.len(),
        };
        let mut window = Window::new(&source.file, size);
        while self.end < size {
            let Some(header) = window.get(self.end, HEADER).map_err(unreadable)? else {
                break;
            };
            let Some((length, sequence)) = parse_header(header) else {
                if window.is_blank(self.end).map_err(unreadable)? {
                    break;
                }
                note_damage(&mut self.damaged, self.end, &source.path);
                match find_record(&mut window, self.end + 1).map_err(unreadable)? {
                    Some(next) => self.end = next,
                    None => break,
                }
                continue;
            };
            let header: [u8; HEADER] = header.try_into().expect("the window gave what was asked");
            let body = window
                .get(self.end + HEADER as u64, length)
                .map_err(unreadable)?;
            let Some(body) = body else { break };
            let offset = self.end;
            self.end += (HEADER + length) as u64;
            match source
                .sealer
                .open(&header, body)
                .and_then(|entries| parse_entries(entries.expose()))
            {
                Ok(entries) if sequence > self.sequence => {
                    self.sequence = sequence;
                    let place = |index| Place {
                        offset,
                        length: length as u32,
                        index,
                    };
                    news.entries
                        .extend(entries.into_iter().enumerate().map(|(i, entry)| Met {
                            place: place(i as u16),
                            entry,
                        }));
                }
                _ => {
                    // When it is mended later, it still comes before those that follow now.
                    self.sequence = self.sequence.max(sequence);
                    note_damage(&mut self.damaged, offset, &source.path);
                }
            }
        }
        Ok(news)
    }

    /// Makes room for what is to be written: the caller holds the lock and has read on to the end under it. A beginning of a record,
    /// or nothing but zeros where power was lost, was cut short and nobody was told that it happened: it goes. Anything else may be
    /// a record that counted and whose header is damaged: it stays where it is, for whoever can mend it.
    pub fn make_ready(&mut self, _lock: &Lock) -> Result<()> {
        let source = self.source.clone();
        let size = source
            .file
            .metadata()
            .map_err(|e| source.broken("cannot be read", e))?
            .len();
        if size <= self.end || !source.writable {
            return Ok(());
        }
        let rest = size - self.end;
        let mut window = Window::new(&source.file, size);
        let unreadable = |e| source.broken("cannot be read", e);
        let is_damage = window
            .get(self.end, HEADER)
            .map_err(unreadable)?
            .is_some_and(|header| parse_header(header).is_none());
        if is_damage && !window.is_blank(self.end).map_err(unreadable)? {
            self.end = size;
            // Records that are mended later come before those that follow now.
            self.sequence += rest;
            return Ok(());
        }
        let cut = fault::step("cut off").and_then(|()| source.file.set_len(self.end));
        cut.map_err(|e| source.broken("cannot be written", e))
    }

    /// Writes one transaction, which counts once [`Source::sync`] succeeded. The caller holds the lock and has the journal ready.
    pub fn append(&mut self, _lock: &Lock, entries: &[Entry]) -> Result<()> {
        if !self.source.writable {
            return Err(forbidden(
                &self.source.path,
                io::ErrorKind::PermissionDenied.into(),
            ));
        }
        let record = encode_record(&self.source.sealer, self.sequence + 1, entries)?;
        self.write_record(&record).map_err(|e| {
            // On a full disk the beginning may have been written: take it back, so that the state is the old one.
            let _ = self.source.file.set_len(self.end);
            self.source.broken("cannot be written", e)
        })
    }

    fn write_record(&self, record: &[u8]) -> io::Result<()> {
        // The tests let the writing end in the middle, as a kill or a full disk does.
        let (first, rest) = record.split_at(if cfg!(test) { record.len() / 2 } else { 0 });
        fault::step("write record")?;
        self.source.file.write_all_at(first, self.end)?;
        fault::step("write rest of record")?;
        self.source
            .file
            .write_all_at(rest, self.end + first.len() as u64)
    }

    /// How far it is read and written.
    pub fn mark(&self) -> Mark {
        Mark(self.end)
    }

    /// What is before `mark` is on the disk.
    pub fn note_synced(&mut self, mark: Mark) {
        self.synced = self.synced.max(mark.0);
    }

    /// Whether the record at `place` is known to be on the disk.
    pub fn is_synced(&self, place: Place) -> bool {
        place.offset < self.synced
    }

    /// Takes back what was written after `mark` and did not come onto the disk; the next reading starts anew.
    pub fn take_back(&mut self, _lock: &Lock, mark: Mark) {
        let _ = self.source.file.set_len(mark.0);
    }

    /// Takes the file away: for good, or to `*.damaged` where somebody may still mend it.
    pub fn retire(&self) -> Result<()> {
        let gone = match self.damaged.is_empty() {
            true => fault::step("remove journal").and_then(|()| fs::remove_file(&self.source.path)),
            false => fault::step("rename journal").and_then(|()| {
                fs::rename(
                    &self.source.path,
                    self.source.path.with_extension("damaged"),
                )
            }),
        };
        gone.and_then(|()| {
            fault::step("sync folder")?;
            File::open(folder_of(&self.source.path))?.sync_all()
        })
        .map_err(|e| self.source.broken("cannot be removed", e))
    }

    /// Length of the file up to the last whole record, in bytes.
    pub fn size(&self) -> u64 {
        self.end
    }

    /// Offsets of records that could not be read; the others still work.
    pub fn damaged(&self) -> &[u64] {
        &self.damaged
    }

    fn start(&mut self) -> Result<()> {
        let foreign = |why: &str| {
            let message = format!("{} {why}", self.source.path.display());
            Error::new(Kind::File, CKR_DEVICE_ERROR, message)
        };
        let mut magic = [0; MAGIC.len()];
        self.source
            .file
            .read_exact_at(&mut magic, 0)
            .map_err(|_| foreign("is cut short: restore it from a backup"))?;
        if &magic != MAGIC {
            return Err(foreign("is not an object file of this version of mrhsm"));
        }
        let mut header = [0; HEADER];
        self.source
            .file
            .read_exact_at(&mut header, MAGIC.len() as u64)
            .map_err(|_| foreign("is cut short: restore it from a backup"))?;
        let (length, sequence) = parse_header(&header)
            .ok_or_else(|| foreign("is damaged at its beginning: restore it from a backup"))?;
        let mut body = vec![0; length];
        self.source
            .file
            .read_exact_at(&mut body, (MAGIC.len() + HEADER) as u64)
            .map_err(|_| foreign("is cut short: restore it from a backup"))?;
        self.source
            .sealer
            .open(&header, &body)
            .map_err(|e| e.context(foreign("does not open with this token's key")))?;
        self.end = (MAGIC.len() + HEADER + length) as u64;
        self.synced = self.end;
        self.sequence = sequence;
        self.damaged.clear();
        Ok(())
    }
}

/// A piece of the file held in memory, so that reading on costs few system calls.
struct Window<'a> {
    file: &'a File,
    size: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    const STEP: usize = 1 << 20;

    fn new(file: &'a File, size: u64) -> Window<'a> {
        Window {
            file,
            size,
            start: 0,
            bytes: Vec::new(),
        }
    }

    /// `length` bytes from `offset`; `None` when the file ends before.
    fn get(&mut self, offset: u64, length: usize) -> io::Result<Option<&[u8]>> {
        if offset + length as u64 > self.size {
            return Ok(None);
        }
        let held =
            offset >= self.start && offset + length as u64 <= self.start + self.bytes.len() as u64;
        if !held {
            let wanted = length.max(Self::STEP).min((self.size - offset) as usize);
            self.bytes.resize(wanted, 0);
            self.file.read_exact_at(&mut self.bytes, offset)?;
            self.start = offset;
        }
        let from = (offset - self.start) as usize;
        Ok(Some(&self.bytes[from..from + length]))
    }

    /// Whether nothing but zeros follows from `offset` on: the file grew, and what was written did not come onto the disk.
    fn is_blank(&mut self, mut offset: u64) -> io::Result<bool> {
        while offset < self.size {
            let length = (self.size - offset).min(Self::STEP as u64);
            match self.get(offset, length as usize)? {
                Some(bytes) if bytes.iter().all(|byte| *byte == 0) => offset += length,
                _ => return Ok(false),
            }
        }
        Ok(true)
    }
}

/// Notes damage; what stands at the end is met again each time.
fn note_damage(damaged: &mut Vec<u64>, offset: u64, path: &Path) {
    if damaged.last() != Some(&offset) {
        crate::log!(
            Error,
            "{}: the record at offset {offset} is damaged; its object is missing",
            path.display()
        );
        damaged.push(offset);
    }
}

/// A file that root made belongs to the owner of its folder, so that a daemon's own user goes on using it.
fn give_to_owner(file: &File, path: &Path) {
    if config::effective_uid() == 0
        && let Ok(folder) = fs::metadata(folder_of(path))
    {
        let _ = fchown(file, Some(folder.uid()), Some(folder.gid()));
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// The first whole header at or after `offset`.
fn find_record(window: &mut Window<'_>, mut offset: u64) -> io::Result<Option<u64>> {
    while let Some(header) = window.get(offset, HEADER)? {
        if parse_header(header).is_some() {
            return Ok(Some(offset));
        }
        offset += 1;
    }
    Ok(None)
}

/// Why nothing can be changed, and what mends it.
fn forbidden(path: &Path, e: io::Error) -> Error {
    let message = format!(
        "nothing can be changed, because this user may not write {}: allow that, and start again",
        path.display()
    );
    Error::file(message, e).with_rv(CKR_TOKEN_WRITE_PROTECTED)
}

fn is_forbidden(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
    )
}

fn open_file(path: &Path) -> Result<(File, bool, (u64, u64))> {
    let open = |write| {
        File::options()
            .read(true)
            .write(write)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)
            .map(|file| (file, write))
    };
    // Where nothing may be changed, what is there can still be used.
    let opened = open(true).or_else(|e| {
        if is_forbidden(&e) {
            open(false)
        } else {
            Err(e)
        }
    });
    let (file, writable) =
        opened.map_err(|e| Error::file(format!("{} cannot be opened", path.display()), e))?;
    let about = file
        .metadata()
        .map_err(|e| Error::file(format!("{} cannot be read", path.display()), e))?;
    if about.mode() & 0o077 != 0 {
        let path = path.display();
        let message = format!("{path} can be read by others: run 'chmod 600 {path}'");
        return Err(Error::new(Kind::File, CKR_DEVICE_ERROR, message));
    }
    Ok((file, writable, (about.dev(), about.ino())))
}

/// The right to write the journal at `path`, by the lock file beside it; with a deadline, because a process that hangs must not
/// hang the others.
pub fn lock(path: &Path) -> Result<Lock> {
    let path = path.with_extension("lock");
    let broken = |e: io::Error| match is_forbidden(&e) {
        true => forbidden(folder_of(&path), e),
        false => Error::file(format!("{} cannot be locked", path.display()), e),
    };
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&path)
        .map_err(broken)?;
    give_to_owner(&file, &path);
    let deadline = Instant::now() + PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Lock(file)),
            Err(fs::TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(1))
            }
            Err(fs::TryLockError::WouldBlock) => {
                let message = format!(
                    "another process has been writing {} for {} s: try again",
                    path.display(),
                    PATIENCE.as_secs()
                );
                return Err(Error::new(Kind::File, CKR_FUNCTION_FAILED, message));
            }
            Err(fs::TryLockError::Error(e)) => return Err(broken(e)),
        }
    }
}

/// Writes a whole journal beside `path` and renames it into place.
fn replace(
    path: &Path,
    sealer: &Sealer,
    entries: impl Iterator<Item = Result<Entry>>,
) -> Result<()> {
    let beside = path.with_extension("new");
    let broken = |e: io::Error| Error::file(format!("{} cannot be written", beside.display()), e);
    // A leftover of a writer that was killed here; nobody else writes it, because the lock is held.
    let _ = fs::remove_file(&beside);
    fault::step("create journal").map_err(broken)?;
    let file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)
        .map_err(broken)?;
    give_to_owner(&file, path);
    let result = (|| {
        let mut out = io::BufWriter::with_capacity(1 << 20, &file);
        out.write_all(MAGIC).map_err(broken)?;
        out.write_all(&encode_record(sealer, 1, &[])?)
            .map_err(broken)?;
        for (sequence, entry) in (2..).zip(entries) {
            out.write_all(&encode_record(sealer, sequence, &[entry?])?)
                .map_err(broken)?;
        }
        fault::step("write journal")
            .and_then(|()| out.flush())
            .map_err(broken)?;
        drop(out);
        fault::step("sync journal")
            .and_then(|()| file.sync_all())
            .map_err(broken)?;
        fault::step("rename journal")
            .and_then(|()| fs::rename(&beside, path))
            .map_err(broken)?;
        let folder = folder_of(path);
        fault::step("sync folder")
            .and_then(|()| File::open(folder)?.sync_all())
            .map_err(broken)
    })();
    if result.is_err() {
        let _ = fs::remove_file(&beside);
    }
    result
}

fn encode_record(sealer: &Sealer, sequence: u64, entries: &[Entry]) -> Result<Vec<u8>> {
    let mut content = Zeroizing::new(Vec::with_capacity(entries.iter().map(entry_len).sum()));
    for entry in entries {
        content.push(u8::from(entry.put.is_some()));
        content.extend_from_slice(&(entry.uid.len() as u16).to_be_bytes());
        content.extend_from_slice(entry.uid.as_bytes());
        if let Some((about, value)) = &entry.put {
            for part in [about.as_slice(), value.expose()] {
                content.extend_from_slice(&(part.len() as u32).to_be_bytes());
                content.extend_from_slice(part);
            }
        }
    }
    let sealed_len = content.len() + crate::crypto::seal::OVERHEAD;
    if sealed_len > MAX_SEALED {
        return Err(Error::new(
            Kind::Pkcs11,
            crate::ck::CKR_DATA_LEN_RANGE,
            "the object is too large for a file token",
        ));
    }
    let mut record = Vec::with_capacity(HEADER + sealed_len);
    record.extend_from_slice(RECORD);
    record.extend_from_slice(&(sealed_len as u32).to_be_bytes());
    record.extend_from_slice(&sequence.to_be_bytes());
    let check = Sha256::digest(&record);
    record.extend_from_slice(&check[..4]);
    let sealed = sealer.seal(&record, &content)?;
    record.extend_from_slice(&sealed);
    Ok(record)
}

fn entry_len(entry: &Entry) -> usize {
    3 + entry.uid.len()
        + entry
            .put
            .as_ref()
            .map_or(0, |(about, value)| 8 + about.len() + value.len())
}

/// Length of the sealed part and sequence number, when `header` is one.
fn parse_header(header: &[u8]) -> Option<(usize, u64)> {
    let length = u32::from_be_bytes(header.get(4..8)?.try_into().ok()?) as usize;
    let sequence = u64::from_be_bytes(header.get(8..16)?.try_into().ok()?);
    let whole = header.starts_with(RECORD)
        && length <= MAX_SEALED
        && Sha256::digest(&header[..16])[..4] == header[16..HEADER];
    whole.then_some((length, sequence))
}

fn parse_entries(content: &[u8]) -> Result<Vec<Entry>> {
    fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
        let (head, tail) = rest.split_at_checked(length)?;
        *rest = tail;
        Some(head)
    }
    fn part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
        let length = u32::from_be_bytes(take(rest, 4)?.try_into().ok()?);
        take(rest, length as usize)
    }
    fn entry(rest: &mut &[u8]) -> Option<Entry> {
        let put = take(rest, 1)?[0] != 0;
        let length = u16::from_be_bytes(take(rest, 2)?.try_into().ok()?);
        let uid = std::str::from_utf8(take(rest, length as usize)?)
            .ok()?
            .to_owned();
        let put = if put {
            Some((part(rest)?.to_vec(), Secret::new(part(rest)?.to_vec())))
        } else {
            None
        };
        Some(Entry { uid, put })
    }
    let mut rest = content;
    let mut entries = Vec::new();
    while !rest.is_empty() {
        entries
            .push(entry(&mut rest).ok_or_else(|| {
                Error::new(Kind::File, CKR_DEVICE_ERROR, "a record is malformed")
            })?);
    }
    Ok(entries)
}
