//! The audit log: a line of JSON for every item of every request, and for every connection that was refused. No values of
//! objects and no data: who, what, on which object, and how it ended.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::Serialize;

use super::engine::{Caller, Done};
use crate::error::{Error, Result};

/// The file that is appended to. Several servers may share it: a line is one `write`.
pub struct Audit(File);

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
}

impl Audit {
    /// Opens the file, making it when it is missing (readable by its owner only).
    pub fn open(path: &Path) -> Result<Audit> {
        let file = File::options().append(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(path);
        file.map(Audit).map_err(|e| Error::file(format!("the audit log {} cannot be opened", path.display()), e))
    }

    /// What became of the items of a request.
    pub fn done(&self, caller: &Caller, peer: SocketAddr, done: &[Done]) {
        for item in done {
            self.write(&Line {
                time: time(),
                peer,
                client: Some(&caller.name),
                operation: item.operation.map(|operation| operation.to_string()),
                object: item.object.as_deref(),
                result: item.refused.map_or_else(|| "Success".into(), |reason| reason.to_string()),
            });
        }
    }

    /// A connection that did not come to a request.
    pub fn refused(&self, peer: SocketAddr, why: &str) {
        self.write(&Line { time: time(), peer, client: None, operation: None, object: None, result: why.into() });
    }

    fn write(&self, line: &Line<'_>) {
        let Ok(mut text) = serde_json::to_vec(line) else { return };
        text.push(b'\n');
        if let Err(e) = (&self.0).write_all(&text) {
            crate::log!(Error, "the audit log cannot be written: {e}");
        }
    }
}

fn time() -> String {
    jiff::Timestamp::now().to_string()
}
