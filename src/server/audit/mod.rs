//! The audit log: a line of JSON for every item of every request, and for connections that were refused. No values of objects
//! and no data: who, what, on which objects, and how it ended. The lines are chained ([`chain`]), so that it can be verified.

mod chain;
pub mod named;
mod verify;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use self::chain::Chain;
pub use self::chain::Keeping;
use self::named::{Named, of_request, shortened};
pub use self::verify::{Findings, verify};
use super::engine::{Caller, Done};
use super::identity::shown;
use super::repeats::{Repeated, Repeats};
use crate::error::{Error, Result};

/// How often it is said that the log cannot be written.
const WARNING: Duration = Duration::from_secs(60);
/// The longest reason of a refused connection, in bytes.
const LONGEST_REASON: usize = 512;

/// Says a sentence to the operator.
pub type Warn = Box<dyn Fn(&str) + Send + Sync>;

/// The log. Several servers may share it.
pub struct Audit {
    chain: Mutex<Writer>,
    repeats: Mutex<Repeats>,
    required: bool,
    warn: Warn,
}

struct Writer {
    chain: Chain,
    closed: bool,
    warned: Option<Instant>,
}

/// A line.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    peer: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<&'a str>,
    /// Whether the client is a common name or a whole subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<String>,
    /// All objects, where there are more than `object`.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    objects: &'a [String],
    /// How many more objects there are.
    #[serde(skip_serializing_if = "is_zero")]
    more: u64,
    result: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    repeated: Option<u64>,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Audit {
    /// Opens the file, making it when it is missing (readable by its owner only). With `required` no request is done that cannot
    /// be written down; without it `warn` is told, once a minute.
    pub fn open(path: &Path, keeping: Keeping, required: bool, warn: Warn) -> Result<Audit> {
        let cannot = |e| {
            Error::file(
                format!("the audit log {} cannot be opened", path.display()),
                e,
            )
        };
        let (chain, started) = Chain::open(path, keeping).map_err(cannot)?;
        let audit = Audit {
            chain: Mutex::new(Writer {
                chain,
                closed: false,
                warned: None,
            }),
            repeats: Mutex::default(),
            required,
            warn,
        };
        match started {
            Err(e) if required => return Err(cannot(e)),
            Err(e) => audit.failed(&mut audit.writer(), &e),
            Ok(()) => {}
        }
        Ok(audit)
    }

    /// True when no request may be done that cannot be written down.
    pub fn is_required(&self) -> bool {
        self.required
    }

    /// What a request is going to do, before it is done.
    pub fn begun(&self, caller: &Caller, peer: SocketAddr, frame: &[u8]) -> io::Result<()> {
        let items = of_request(frame);
        let lines: Vec<Line<'_>> = items
            .iter()
            .map(|(operation, named)| {
                line(caller, peer, operation.clone(), None, named, "Begun".into())
            })
            .collect();
        self.write(&lines)
    }

    /// What became of the items of a request.
    pub fn done(&self, caller: &Caller, peer: SocketAddr, done: &[Done]) -> io::Result<()> {
        self.tell(|repeats| repeats.due(Instant::now()));
        let lines: Vec<Line<'_>> = done
            .iter()
            .map(|item| {
                let result = match item.refused {
                    Some(reason) => reason.to_string(),
                    None if item.undone => "Undone".into(),
                    None => "Success".into(),
                };
                let operation = item.operation.map(|operation| operation.to_string());
                let object = item.object.as_deref();
                line(caller, peer, operation, object, &item.objects, result)
            })
            .collect();
        self.write(&lines)
    }

    /// A connection that did not come to a request: written down when it is the first of its kind lately.
    pub fn refused(&self, peer: SocketAddr, why: &str) {
        let why = &why[..why.floor_char_boundary(LONGEST_REASON)];
        let mut is_first = false;
        self.tell(|repeats| {
            let due = repeats.due(Instant::now());
            is_first = repeats.is_first(Instant::now(), peer, why);
            due
        });
        if is_first {
            self.refusal(peer, why, None);
        }
    }

    /// Writes down what was repeated and is not told yet, and ends the log with a seal: the server stops.
    pub fn close(&self) {
        self.tell(Repeats::all);
        let mut writer = self.writer();
        if !std::mem::replace(&mut writer.closed, true)
            && let Err(e) = writer.chain.close()
        {
            self.failed(&mut writer, &e);
        }
    }

    /// Seals what was written since the last checkpoint.
    pub fn seal(&self) {
        let mut writer = self.writer();
        if let Err(e) = writer.chain.seal() {
            self.failed(&mut writer, &e);
        }
    }

    /// Opens the file that has the log's name now.
    pub fn reopen(&self) {
        let mut writer = self.writer();
        if let Err(e) = writer.chain.reopen() {
            self.failed(&mut writer, &e);
        }
    }

    /// Writes down what was repeated.
    fn tell(&self, which: impl FnOnce(&mut Repeats) -> Vec<Repeated>) {
        let repeated = which(&mut self.repeats.lock().unwrap_or_else(PoisonError::into_inner));
        repeated
            .iter()
            .for_each(|kind| self.refusal(kind.peer, &kind.why, Some(kind.times)));
    }

    fn refusal(&self, peer: SocketAddr, why: &str, repeated: Option<u64>) {
        let line = Line {
            time: time(),
            peer,
            client: None,
            identity: None,
            operation: None,
            object: None,
            objects: &[],
            more: 0,
            result: why.into(),
            repeated,
        };
        // It is refused whether it can be written down or not.
        let _ = self.write(&[line]);
    }

    fn writer(&self) -> std::sync::MutexGuard<'_, Writer> {
        self.chain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, lines: &[Line<'_>]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let mut writer = self.writer();
        let written = writer.chain.append(lines);
        if let Err(e) = &written {
            self.failed(&mut writer, e);
        }
        written
    }

    fn failed(&self, writer: &mut Writer, e: &io::Error) {
        crate::log!(Error, "the audit log cannot be written: {e}");
        if writer.warned.is_none_or(|last| last.elapsed() >= WARNING) {
            writer.warned = Some(Instant::now());
            let what = match self.required {
                true => "requests are refused until it can",
                false => "requests are done without it",
            };
            (self.warn)(&format!("The audit log cannot be written ({e}): {what}."));
        }
    }
}

fn line<'a>(
    caller: &'a Caller,
    peer: SocketAddr,
    operation: Option<String>,
    object: Option<&str>,
    named: &'a Named,
    result: String,
) -> Line<'a> {
    let (kind, name) = shown(&caller.name);
    let first = object.or(named.uids.first().map(String::as_str));
    let only = matches!(named.uids.as_slice(), [uid] if first == Some(uid));
    Line {
        time: time(),
        peer,
        client: Some(name),
        identity: Some(kind.word()),
        operation,
        object: first.map(|uid| shortened(uid).into_owned()),
        objects: if only { &[] } else { &named.uids },
        more: named.more,
        result,
        repeated: None,
    }
}

fn time() -> String {
    jiff::Timestamp::now().to_string()
}
