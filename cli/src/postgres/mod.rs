//! The PostgreSQL engine: any number of servers share one database.
//!
//! A transaction that writes is SERIALIZABLE and is repeated if another came between. One that reads is REPEATABLE READ, which
//! gives it one state. `BEGIN` travels with the first statement and `COMMIT` with the last, so that reading takes one round trip
//! and writing two.

mod pool;
mod schema;
mod statements;
mod tls;
mod transaction;

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use mrhsm_pkcs11::ck::{CKR_DEVICE_ERROR, CKR_FUNCTION_NOT_SUPPORTED};
use mrhsm_pkcs11::cli::Postgres as Settings;
use mrhsm_pkcs11::error::{Error, Kind, Result};
use mrhsm_pkcs11::storage::{Batch, Engine, Info, NewHeader, Removal, Rows};
use tokio_postgres::error::SqlState;

use pool::{Connection, Pool};
use transaction::Transaction;

/// How long a transaction may take, with all its repetitions.
const DEADLINE: Duration = Duration::from_secs(8);
/// How long a transaction waits before its first repetition. Each next wait is up to twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// A PostgreSQL database.
pub struct Postgres {
    pool: Pool,
}

/// Connects to a database, and creates its tables if there are none.
pub fn open(settings: &Settings, new_header: NewHeader<'_>) -> Result<Box<dyn Engine>> {
    let pool = Pool::new(settings)?;
    let until = Instant::now() + DEADLINE;
    let connection = pool.take(until)?;
    schema::prepare(&connection, until, new_header)?;
    pool.give(connection);
    Ok(Box::new(Postgres { pool }))
}

/// How a transaction ended that did not succeed.
enum Failure {
    /// Nothing is changed, and it may succeed when it is repeated.
    Repeat(Error),
    /// The connection was lost after COMMIT was sent: the transaction of this number may be on the disk.
    Unknown(String),
    /// Repeating it does not help.
    Final(String),
}

impl Postgres {
    /// What became of a transaction whose answer was lost: whether it was committed.
    fn fate(&self, number: &str, until: Instant) -> Result<bool> {
        loop {
            let asked = self.pool.take(until).and_then(|connection| {
                let status = statements::status(&connection, number, until);
                self.pool.give(connection);
                status
            });
            match asked.as_deref() {
                Ok("committed") => return Ok(true),
                Ok("aborted") => return Ok(false),
                _ if Instant::now() >= until => {
                    let message = "the connection to PostgreSQL was lost: whether the change was made is unknown";
                    return Err(Error::new(Kind::File, CKR_DEVICE_ERROR, message));
                }
                _ => thread::sleep(LONGEST_PAUSE),
            }
        }
    }
}

impl Engine for Postgres {
    fn read(&self, work: &mut dyn FnMut(&dyn Rows) -> Result<()>) -> Result<()> {
        let until = Instant::now() + DEADLINE;
        let mut pause = Pause::default();
        loop {
            let Some(connection) = pause.connection(&self.pool, until)? else {
                continue;
            };
            let transaction = Transaction::reading(&connection, until);
            let done = work(&transaction);
            let failure = transaction.end_reading();
            self.pool.give(connection);
            match failure {
                None => return done,
                Some(Failure::Repeat(e)) => pause.before_repeating(until, e)?,
                Some(Failure::Final(e)) => return Err(final_error(e)),
                Some(Failure::Unknown(_)) => unreachable!("reading sends no COMMIT that counts"),
            }
        }
    }

    fn write(&self, work: &mut dyn FnMut(&dyn Rows) -> Result<Batch>) -> Result<()> {
        let until = Instant::now() + DEADLINE;
        let mut pause = Pause::default();
        loop {
            let Some(connection) = pause.connection(&self.pool, until)? else {
                continue;
            };
            let transaction = Transaction::writing(&connection, until);
            let batch = work(&transaction);
            let ended = transaction.end_writing(batch);
            self.pool.give(connection);
            match ended {
                Ok(done) => return done,
                Err(Failure::Repeat(e)) => pause.before_repeating(until, e)?,
                Err(Failure::Final(e)) => return Err(final_error(e)),
                Err(Failure::Unknown(number)) => {
                    if self.fate(&number, until)? {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn info(&self) -> Result<Info> {
        let until = Instant::now() + DEADLINE;
        let connection = self.pool.take(until)?;
        let info = statements::info(&connection, until);
        self.pool.give(connection);
        info
    }

    fn check(&self) -> Result<Vec<String>> {
        // PostgreSQL's own tools do that: pg_amcheck.
        Ok(Vec::new())
    }

    fn backup(&self, _path: &Path) -> Result<()> {
        Err(elsewhere(
            "a backup is made with PostgreSQL's own tools: pg_dump, or WAL archiving",
        ))
    }

    fn compact(&self) -> Result<()> {
        Err(elsewhere(
            "PostgreSQL gives unused room back by itself: autovacuum",
        ))
    }

    fn remove(&self, _may: &mut dyn FnMut(&dyn Rows) -> Result<Removal>) -> Result<bool> {
        Err(elsewhere(
            "a database is removed with PostgreSQL's own tools",
        ))
    }
}

fn elsewhere(message: &str) -> Error {
    Error::new(Kind::Input, CKR_FUNCTION_NOT_SUPPORTED, message)
}

/// Waits between repetitions, longer each time.
struct Pause(Duration);

impl Default for Pause {
    fn default() -> Pause {
        Pause(FIRST_PAUSE)
    }
}

impl Pause {
    /// A connection; `None` after a pause, if there is none now and time for another attempt.
    fn connection(&mut self, pool: &Pool, until: Instant) -> Result<Option<Connection>> {
        match pool.take(until) {
            Ok(connection) => Ok(Some(connection)),
            Err(e) => self.before_repeating(until, e).map(|()| None),
        }
    }

    /// Waits, or fails with `e` if there is no time for another attempt.
    fn before_repeating(&mut self, until: Instant, e: Error) -> Result<()> {
        // Two transactions that collide must not wait equally long.
        let share = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |now| now.subsec_nanos() % 8);
        let pause = self.0 / 2 + self.0 * share / 8;
        self.0 = (2 * self.0).min(LONGEST_PAUSE);
        if Instant::now() + pause >= until {
            return Err(e);
        }
        thread::sleep(pause);
        Ok(())
    }
}

/// What PostgreSQL refused or did not answer.
fn failed(e: &tokio_postgres::Error) -> Error {
    let message = match e.as_db_error() {
        Some(refused) => format!("PostgreSQL: {}", refused.message()),
        None => format!("PostgreSQL: {e}"),
    };
    let error = Error::new(Kind::File, CKR_DEVICE_ERROR, message);
    match std::error::Error::source(e) {
        Some(source) if e.as_db_error().is_none() => error.because(source.to_string()),
        _ => error,
    }
}

fn final_error(message: String) -> Error {
    Error::new(Kind::File, CKR_DEVICE_ERROR, message)
}

fn late() -> Error {
    let message = format!("PostgreSQL did not answer within {} s", DEADLINE.as_secs());
    Error::new(Kind::File, CKR_DEVICE_ERROR, message)
}

/// Whether the transaction was ended because of others, or because the server stops.
fn may_repeat(e: &tokio_postgres::Error) -> bool {
    match e.code() {
        Some(code) => [
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::CANNOT_CONNECT_NOW,
            SqlState::UNIQUE_VIOLATION,
        ]
        .contains(code),
        None => is_lost(e),
    }
}

/// Whether the connection is lost.
fn is_lost(e: &tokio_postgres::Error) -> bool {
    e.is_closed()
        || (e.as_db_error().is_none()
            && std::error::Error::source(e).is_some_and(|source| source.is::<std::io::Error>()))
}
