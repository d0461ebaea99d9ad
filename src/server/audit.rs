//! The audit log: a line of JSON for every item of every request, and for connections that were refused. No values of objects
//! and no data: who, what, on which object, and how it ended.

use std::fs::File;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use serde::Serialize;

use super::engine::{Caller, Done};
use super::identity::shown;
use super::repeats::{Repeated, Repeats};
use crate::error::{Error, Result};

/// The file that is appended to. Several servers may share it: a line is one `write`.
pub struct Audit {
    file: Mutex<Lines<File>>,
    repeats: Mutex<Repeats>,
}

/// A file of lines.
struct Lines<W> {
    file: W,
    /// The last line was cut short, on a full disk.
    torn: bool,
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
    object: Option<&'a str>,
    result: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    repeated: Option<u64>,
}

impl Audit {
    /// Opens the file, making it when it is missing (readable by its owner only).
    pub fn open(path: &Path) -> Result<Audit> {
        let file = File::options()
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path);
        let file = file.map_err(|e| {
            Error::file(
                format!("the audit log {} cannot be opened", path.display()),
                e,
            )
        })?;
        Ok(Audit {
            file: Mutex::new(Lines { file, torn: false }),
            repeats: Mutex::default(),
        })
    }

    /// What became of the items of a request.
    pub fn done(&self, caller: &Caller, peer: SocketAddr, done: &[Done]) {
        self.tell(|repeats| repeats.due(Instant::now()));
        let (kind, name) = shown(&caller.name);
        for item in done {
            self.write(&Line {
                time: time(),
                peer,
                client: Some(name),
                identity: Some(kind.word()),
                operation: item.operation.map(|operation| operation.to_string()),
                object: item.object.as_deref(),
                result: match item.refused {
                    Some(reason) => reason.to_string(),
                    None if item.undone => "Undone".into(),
                    None => "Success".into(),
                },
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

    /// Writes down what was repeated and is not told yet: the server stops.
    pub fn close(&self) {
        self.tell(Repeats::all);
    }

    /// Writes down what was repeated.
    fn tell(&self, which: impl FnOnce(&mut Repeats) -> Vec<Repeated>) {
        let repeated = which(&mut self.repeats.lock().unwrap_or_else(PoisonError::into_inner));
        repeated
            .iter()
            .for_each(|kind| self.refusal(kind.peer, &kind.why, Some(kind.times)));
    }

    fn refusal(&self, peer: SocketAddr, why: &str, repeated: Option<u64>) {
        self.write(&Line {
            time: time(),
            peer,
            client: None,
            identity: None,
            operation: None,
            object: None,
            result: why.into(),
            repeated,
        });
    }

    fn write(&self, line: &Line<'_>) {
        let Ok(text) = serde_json::to_vec(line) else {
            return;
        };
        if let Err(e) = self
            .file
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .append(&text)
        {
            crate::log!(Error, "the audit log cannot be written: {e}");
        }
    }
}

impl<W: Write> Lines<W> {
    /// Appends a line by one `write`. One that has to follow a line that was cut short begins anew.
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let start: &[u8] = if self.torn { b"\n" } else { b"" };
        let text = [start, line, b"\n"].concat();
        let written = self.file.write(&text)?;
        self.torn = written < text.len();
        if self.torn {
            Err(io::ErrorKind::WriteZero.into())
        } else {
            Ok(())
        }
    }
}

fn time() -> String {
    jiff::Timestamp::now().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with so much room.
    struct Disk(Vec<u8>, usize);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let len = bytes.len().min(self.1 - self.0.len());
            self.0.extend_from_slice(&bytes[..len]);
            if len == 0 {
                Err(io::ErrorKind::StorageFull.into())
            } else {
                Ok(len)
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_was_cut_short_spoils_no_other() {
        let mut lines = Lines {
            file: Disk(Vec::new(), 10),
            torn: false,
        };
        lines.append(b"first").unwrap();
        for _ in 0..3 {
            lines.append(b"second").unwrap_err();
        }
        lines.file.1 = 100;
        lines.append(b"third").unwrap();
        lines.append(b"fourth").unwrap();
        assert_eq!(lines.file.0, b"first\nseco\nthird\nfourth\n");
    }
}
