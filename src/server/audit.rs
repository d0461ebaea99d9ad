//! The audit log: a line of JSON for every item of every request, and for connections that were refused. No values of objects
//! and no data: who, what, on which object, and how it ended.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use serde::Serialize;

use super::engine::{Caller, Done};
use super::repeats::{Repeated, Repeats};
use crate::error::{Error, Result};

/// The file that is appended to. Several servers may share it: a line is one `write`.
pub struct Audit {
    file: File,
    /// The last line was cut short, on a full disk.
    torn: AtomicBool,
    repeats: Mutex<Repeats>,
}

/// A line.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    peer: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<&'a str>,
    result: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    repeated: Option<u64>,
}

impl Audit {
    /// Opens the file, making it when it is missing (readable by its owner only).
    pub fn open(path: &Path) -> Result<Audit> {
        let file = File::options().append(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(path);
        let file = file.map_err(|e| Error::file(format!("the audit log {} cannot be opened", path.display()), e))?;
        Ok(Audit { file, torn: AtomicBool::new(false), repeats: Mutex::default() })
    }

    /// What became of the items of a request.
    pub fn done(&self, caller: &Caller, peer: SocketAddr, done: &[Done]) {
        self.tell(|repeats| repeats.due(Instant::now()));
        for item in done {
            self.write(&Line {
                time: time(),
                peer,
                client: Some(&caller.name),
                operation: item.operation.map(|operation| operation.to_string()),
                object: item.object.as_deref(),
                result: item.refused.map_or_else(|| "Success".into(), |reason| reason.to_string()),
                repeated: None,
            });
        }
    }

    /// A connection that did not come to a request: written down when it is the first of its kind lately.
    pub fn refused(&self, peer: SocketAddr, why: &str) {
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

    /// Writes down what was repeated.
    fn tell(&self, which: impl FnOnce(&mut Repeats) -> Vec<Repeated>) {
        let repeated = which(&mut self.repeats.lock().unwrap_or_else(PoisonError::into_inner));
        repeated.iter().for_each(|kind| self.refusal(kind.peer, &kind.why, Some(kind.times)));
    }

    fn refusal(&self, peer: SocketAddr, why: &str, repeated: Option<u64>) {
        self.write(&Line { time: time(), peer, client: None, operation: None, object: None, result: why.into(), repeated });
    }

    fn write(&self, line: &Line<'_>) {
        let mut text = Vec::with_capacity(256);
        if self.torn.swap(false, Ordering::Relaxed) {
            text.push(b'\n');
        }
        if serde_json::to_writer(&mut text, line).is_err() {
            return;
        }
        text.push(b'\n');
        match (&self.file).write(&text) {
            Ok(written) if written == text.len() => {}
            Ok(_) => self.torn.store(true, Ordering::Relaxed),
            Err(e) => crate::log!(Error, "the audit log cannot be written: {e}"),
        }
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.tell(Repeats::all);
    }
}

fn time() -> String {
    jiff::Timestamp::now().to_string()
}
