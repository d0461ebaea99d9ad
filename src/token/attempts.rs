//! PIN attempts: counted on disk before a PIN is checked, and at most one wrong one a second per token, in all processes together.
//!
//! The file `attempts` in the token's folder holds the counters. It is changed in place under `flock`, and the lock is not held
//! while Argon2id runs: an attempt charges itself as a wrong one first, and takes the charge back when the PIN was right. So a
//! process that is killed in between was counted, one that is stopped blocks nobody, and a forked child inherits no lock.
//!
//! Where the file cannot be written, a process paces and counts its own attempts. A writer of the folder can reset the
//! counters, by removing the file.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::files::{ATTEMPTS, TokenDir};
use super::pin::Who;
use crate::ck::{CKR_DEVICE_ERROR, CKR_PIN_INCORRECT, CKR_PIN_LOCKED};
use crate::error::{Error, Kind, Result};

mod record;
#[cfg(test)]
mod tests;

use record::{Next, Outcome, Record};

/// Shortest time between the beginnings of two attempts of which the first is wrong, in milliseconds.
const INTERVAL: u64 = if cfg!(any(test, fuzzing)) { 2 } else { 1000 };
/// How much longer a process waits that has given a wrong PIN itself, so that others are before it.
const COURTESY: u64 = INTERVAL / 2;
/// For how long a process remembers that it has given a wrong PIN.
const MEMORY: u64 = 60 * INTERVAL;
/// How often the file is read while waiting.
const POLL: Duration = Duration::from_millis(if cfg!(any(test, fuzzing)) { 1 } else { 5 });
/// Longest time to write down how an attempt ended.
const SETTLING: Duration = Duration::from_secs(1);

/// How many wrong PINs in a row were given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// Wrong SO PINs since the last right one.
    pub so: u32,
    /// Wrong user PINs since the last right one.
    pub user: u32,
}

/// The wrong attempts of a token, as its file and this process know them.
///
/// Errors: the file cannot be read.
pub fn failures(dir: &TokenDir, uuid: &str) -> Result<Failures> {
    known(dir, uuid, Own::of(uuid))
}

fn known(dir: &TokenDir, uuid: &str, own: &Own) -> Result<Failures> {
    let content = dir.read(uuid, ATTEMPTS)?;
    let record = content.map_or_else(Record::default, |text| Record::parse(text.expose()));
    let now = now();
    let failures = |who| {
        let own = own.failures(who).load(Ordering::Relaxed);
        record.shown(who, now).max(own)
    };
    Ok(Failures {
        so: failures(Who::So),
        user: failures(Who::User),
    })
}

/// The wrong attempts that the content of the file tells, those under way included.
pub fn parse(content: &[u8]) -> Failures {
    let record = Record::parse(content);
    Failures {
        so: record.shown(Who::So, u64::MAX),
        user: record.shown(Who::User, u64::MAX),
    }
}

/// Forgets the wrong attempts of one PIN, because another takes its place.
///
/// Errors: the file cannot be written.
pub fn forget(dir: &TokenDir, uuid: &str, who: Who) -> Result<()> {
    Own::of(uuid).failures(who).store(0, Ordering::Relaxed);
    let cannot = |e| {
        let message = format!("cannot reset the attempts of the {}", who.name());
        Error::file(message, e)
    };
    let Some(file) = dir.open_in_place(uuid, ATTEMPTS)? else {
        return match failures(dir, uuid)?.of(who) {
            0 => Ok(()),
            _ => Err(cannot(io::ErrorKind::PermissionDenied.into())),
        };
    };
    let ledger = Ledger {
        file,
        durable: true,
    };
    ledger
        .lock(Instant::now() + SETTLING)
        .and_then(|turn| {
            let mut record = turn.read()?;
            record.forget(who);
            turn.write(&record)
        })
        .map_err(cannot)
}

/// An attempt to open a token with a PIN.
#[derive(Debug)]
pub struct Attempt<'a> {
    /// The token directory.
    pub dir: &'a TokenDir,
    /// The token.
    pub uuid: &'a str,
    /// Whose PIN is tried.
    pub who: Who,
    /// After how many wrong attempts the PIN is locked; 0 is never.
    pub max: u32,
    /// Whether the token's PIN is a random one. It cannot be guessed, so a right one never waits; only wrong ones are paced.
    pub random: bool,
    /// When it must have ended.
    pub deadline: Instant,
}

impl Attempt<'_> {
    /// Runs `check`, which fails with `CKR_PIN_INCORRECT` when the PIN is wrong, when it is this attempt's turn.
    ///
    /// Errors: `CKR_PIN_LOCKED`; `CKR_DEVICE_ERROR` when the turn does not come before the deadline; what `check` returns.
    pub fn run<T>(&self, check: impl FnOnce() -> Result<T>) -> Result<T> {
        let own = Own::of(self.uuid);
        let result = match self.dir.open_in_place(self.uuid, ATTEMPTS)? {
            Some(file) => {
                let durable = self.max > 0;
                self.counted(&Ledger { file, durable }, own, check)
            }
            None => self.uncounted(own, check),
        };
        match outcome(&result) {
            Outcome::Right => own.forget(self.who),
            Outcome::Wrong => own.wrong.store(now(), Ordering::Relaxed),
            Outcome::Unknown => {}
        }
        result
    }

    fn counted<T>(
        &self,
        ledger: &Ledger,
        own: &Own,
        check: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let head_start = own.head_start();
        let (turn, charged) = match self.begin(ledger, head_start) {
            Ok(begun) => begun?,
            // A full disk or a file system without locks.
            Err(e) => {
                crate::log!(Warn, "PIN attempts are counted in this process only: {e}");
                return self.uncounted(own, check);
            }
        };
        if !self.random {
            drop(turn);
            let result = check();
            let settled = ledger
                .lock(Instant::now() + SETTLING)
                .and_then(|turn| self.settle(&turn, charged, outcome(&result)));
            note_unsettled(settled);
            return result;
        }
        // Takes microseconds, so yielding to other processes is unnecessary.
        let result = check();
        let outcome = outcome(&result);
        note_unsettled(self.settle(&turn, charged, outcome));
        drop(turn);
        if outcome == Outcome::Wrong {
            self.pace(ledger, head_start);
        }
        result
    }

    /// Waits for the turn and charges the attempt as a wrong one: the lock, and when it began. An `io::Error` says that the file
    /// cannot be used.
    fn begin<'a>(
        &self,
        ledger: &'a Ledger,
        head_start: u64,
    ) -> io::Result<Result<(Turn<'a>, u64)>> {
        loop {
            // Without the lock first: many may be waiting.
            let mut next = self.next(&ledger.read()?, head_start);
            if next == Next::Go {
                let turn = match ledger.lock(self.deadline) {
                    Err(e) if e.kind() == io::ErrorKind::TimedOut => return Ok(Err(busy())),
                    turn => turn?,
                };
                let mut record = turn.read()?;
                next = self.next(&record, head_start);
                if next == Next::Go {
                    let now = now();
                    record.charge(self.who, now, !self.random);
                    turn.write(&record)?;
                    return Ok(Ok((turn, now)));
                }
            }
            match next {
                Next::Locked => return Ok(Err(locked(self.who, self.max))),
                _ if self.pause().is_err() => return Ok(Err(busy())),
                _ => {}
            }
        }
    }

    fn next(&self, record: &Record, head_start: u64) -> Next {
        record.next(
            self.who,
            now(),
            self.max,
            (!self.random).then_some(head_start),
        )
    }

    fn settle(&self, turn: &Turn<'_>, charged: u64, outcome: Outcome) -> io::Result<()> {
        let mut record = turn.read()?;
        record.settle(self.who, charged, outcome);
        turn.write(&record)
    }

    /// Delays the answer to a wrong attempt at a random PIN until its second comes. It is counted already.
    fn pace(&self, ledger: &Ledger, head_start: u64) {
        loop {
            let claimed = ledger.lock(self.deadline).and_then(|turn| {
                let mut record = turn.read()?;
                let claimed = record.claim(now(), head_start);
                if claimed {
                    turn.write(&record)?;
                }
                Ok(claimed)
            });
            match claimed {
                Ok(false) if self.pause().is_ok() => {}
                _ => return,
            }
        }
    }

    /// An attempt where the file cannot be written: what it says is respected, and this process counts for itself.
    fn uncounted<T>(&self, own: &Own, check: impl FnOnce() -> Result<T>) -> Result<T> {
        let failures = known(self.dir, self.uuid, own)?.of(self.who);
        if self.max > 0 && failures >= self.max {
            return Err(locked(self.who, self.max));
        }
        let charged = match self.random {
            true => 0,
            false => own.claim(self)?,
        };
        let result = check();
        match outcome(&result) {
            Outcome::Wrong => {
                own.failures(self.who).fetch_add(1, Ordering::Relaxed);
                if self.random {
                    let _ = own.claim(self);
                }
            }
            _ => own.release(charged),
        }
        result
    }

    fn pause(&self) -> Result<()> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(busy());
        }
        std::thread::sleep(POLL.min(left));
        Ok(())
    }
}

impl Failures {
    /// Those of one PIN.
    pub fn of(&self, who: Who) -> u32 {
        match who {
            Who::So => self.so,
            Who::User => self.user,
        }
    }
}

fn outcome<T>(result: &Result<T>) -> Outcome {
    match result {
        Ok(_) => Outcome::Right,
        Err(e) if e.rv() == CKR_PIN_INCORRECT => Outcome::Wrong,
        Err(_) => Outcome::Unknown,
    }
}

fn note_unsettled(settled: io::Result<()>) {
    if let Err(e) = settled {
        crate::log!(Warn, "a PIN attempt stays counted as a wrong one: {e}");
    }
}

fn busy() -> Error {
    let message = "other PINs of this token are being checked, after a wrong one: try again";
    Error::new(Kind::File, CKR_DEVICE_ERROR, message)
}

fn locked(who: Who, max: u32) -> Error {
    let remedy = match who {
        Who::User => "the security officer sets a new one: mrhsm userpin -sopin, or C_InitPIN",
        Who::So => "no command unlocks it, see 'Locked PINs' in docs/OPERATIONS.md",
    };
    Error::new(
        Kind::Input,
        CKR_PIN_LOCKED,
        format!(
            "the {} is locked after {max} wrong attempts: {remedy}",
            who.name()
        ),
    )
}

/// Milliseconds since 1970: processes, containers and hosts have it in common.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_millis() as u64
}

/// The file of attempts.
struct Ledger {
    file: File,
    /// Whether what is written must survive a power failure.
    durable: bool,
}

/// The file, locked.
struct Turn<'a>(&'a Ledger);

impl Ledger {
    fn read(&self) -> io::Result<Record> {
        let mut text = [0; Record::LEN];
        let mut len = 0;
        while len < text.len() {
            match self.file.read_at(&mut text[len..], len as u64) {
                Ok(0) => break,
                Ok(n) => len += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(Record::parse(&text[..len]))
    }

    fn lock(&self, deadline: Instant) -> io::Result<Turn<'_>> {
        loop {
            match self.file.try_lock() {
                Ok(()) => return Ok(Turn(self)),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(1))
                }
                Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::TimedOut.into()),
                Err(TryLockError::Error(e)) => return Err(e),
            }
        }
    }
}

impl Turn<'_> {
    fn read(&self) -> io::Result<Record> {
        self.0.read()
    }

    fn write(&self, record: &Record) -> io::Result<()> {
        self.0.file.write_all_at(record.to_text().as_bytes(), 0)?;
        if self.0.durable {
            self.0.file.sync_data()?;
        }
        Ok(())
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // A child that was forked meanwhile shares the open file: closing ours alone would leave the lock with it.
        let _ = self.0.file.unlock();
    }
}

/// What this process knows of its own attempts on a token. Atomics, because a lock could be held in another thread when the
/// host forks.
struct Own {
    /// The token, by the first digits of its uuid; 0 where the place is free.
    token: AtomicU64,
    /// Wrong attempts that the file does not have.
    failures: [AtomicU32; 2],
    /// When the last wrong attempt was made, or one that is under way; 0 for none.
    wrong: AtomicU64,
}

static OWN: [Own; 256] = [const { Own::new() }; 256];

impl Own {
    const fn new() -> Own {
        Own {
            token: AtomicU64::new(0),
            failures: [AtomicU32::new(0), AtomicU32::new(0)],
            wrong: AtomicU64::new(0),
        }
    }

    /// Of this token; more tokens than there are places share the last one.
    fn of(uuid: &str) -> &'static Own {
        let digits: String = uuid.chars().filter(|c| *c != '-').take(16).collect();
        let token = u64::from_str_radix(&digits, 16).unwrap_or(0).max(1);
        let found = OWN.iter().find(|own| {
            let taken = own
                .token
                .compare_exchange(0, token, Ordering::Relaxed, Ordering::Relaxed);
            taken.is_ok() || taken == Err(token)
        });
        found.unwrap_or(&OWN[OWN.len() - 1])
    }

    fn failures(&self, who: Who) -> &AtomicU32 {
        &self.failures[who as usize]
    }

    fn forget(&self, who: Who) {
        self.failures(who).store(0, Ordering::Relaxed);
        self.wrong.store(0, Ordering::Relaxed);
    }

    /// How much later than others this process may try.
    fn head_start(&self) -> u64 {
        let wrong = self.wrong.load(Ordering::Relaxed);
        match record::within(now(), wrong, MEMORY) {
            true => COURTESY,
            false => 0,
        }
    }

    /// Waits until this process may try again, and charges the attempt.
    fn claim(&self, attempt: &Attempt<'_>) -> Result<u64> {
        loop {
            let (last, now) = (self.wrong.load(Ordering::Relaxed), now());
            let free = !record::within(now, last, INTERVAL);
            let swap = |new| {
                self.wrong
                    .compare_exchange(last, new, Ordering::Relaxed, Ordering::Relaxed)
            };
            if free && swap(now).is_ok() {
                return Ok(now);
            }
            attempt.pause()?;
        }
    }

    fn release(&self, charged: u64) {
        let _ = self
            .wrong
            .compare_exchange(charged, 0, Ordering::Relaxed, Ordering::Relaxed);
    }
}
