//! The log: off unless `MRHSM_LOG` names a level and `MRHSM_LOG_FILE` a file. Never stdout or stderr: they are the host's.
//!
//! No global subscriber, no lock that a line waits for: each line is one `write` to a file opened
//! for appending. Secrets cannot be logged by accident, because `Secret` prints only its length.

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{PoisonError, RwLock};

use once_cell::race::OnceBox;

use crate::descriptor::{self, Own};
use crate::env;

/// How much is logged; each level includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What a call returned to an application as an error.
    Error,
    /// What was mended without the caller noticing: fail-over, a new connection, a retry.
    Warn,
    /// Calls, requests and their results, without data.
    Info,
    /// Messages on the wire, redacted.
    Debug,
}

struct Sink {
    level: Level,
    /// Only [`reopen`] locks it for writing, and only `mrhsm serve`, which does not fork, calls
    /// that: in a child of a library's host there may be readers left over from the parent, for
    /// which other readers do not wait.
    file: RwLock<Own<File>>,
}

/// `race`: a fork while another thread opens the file must not leave the child waiting for that thread.
static SINK: OnceBox<Option<Sink>> = OnceBox::new();

fn sink() -> Option<&'static Sink> {
    SINK.get_or_init(|| Box::new(open())).as_ref()
}

fn open() -> Option<Sink> {
    let level = match env::variable("MRHSM_LOG")?
        .to_str()?
        .to_ascii_lowercase()
        .as_str()
    {
        "error" => Level::Error,
        "warn" => Level::Warn,
        "info" => Level::Info,
        "debug" => Level::Debug,
        _ => return None,
    };
    Some(Sink {
        level,
        file: RwLock::new(open_file()?),
    })
}

fn open_file() -> Option<Own<File>> {
    let path = env::variable("MRHSM_LOG_FILE")?;
    let mut options = File::options();
    options
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW);
    let file = descriptor::open(&options, path.as_ref()).and_then(Own::of);
    file.ok()
}

/// Opens the file that has the log's name now; if that fails, the open one stays in use.
pub fn reopen() {
    if let (Some(sink), Some(file)) = (sink(), open_file()) {
        *sink.file.write().unwrap_or_else(PoisonError::into_inner) = file;
    }
}

/// True when lines of `level` are written, so that costly ones can be skipped.
pub fn enabled(level: Level) -> bool {
    sink().is_some_and(|s| level <= s.level)
}

/// Writes one line; use the [`log!`](crate::log!) macro.
pub fn write(level: Level, message: fmt::Arguments<'_>) {
    let Some(sink) = sink() else { return };
    let now = jiff::Timestamp::now();
    let text = message.to_string().replace(['\n', '\r'], " ");
    let line = format!("{now:.3} {} {level:?} {text}\n", std::process::id());
    // A log that cannot be written must not stop the work it describes.
    let file = sink.file.read().unwrap_or_else(PoisonError::into_inner);
    let _ = file
        .verify()
        .and_then(|()| (&**file).write_all(line.as_bytes()));
}

/// Logs a line of a [`Level`](crate::log::Level): `log!(Warn, "{host}: {error}")`.
#[macro_export]
macro_rules! log {
    ($level:ident, $($arg:tt)+) => {
        if $crate::log::enabled($crate::log::Level::$level) {
            $crate::log::write($crate::log::Level::$level, format_args!($($arg)+));
        }
    };
}
