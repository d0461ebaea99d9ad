//! What an authority signed and revoked: a file of JSON lines that only grows.
//!
//! A line is on the disk before the certificate that it tells of has its name, and before the revocation list is signed: no
//! certificate is in use that the index does not know.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use x509_parser::prelude::X509Certificate;

use super::lock::sync_directory;
use crate::error::{Error, Result};
use crate::fault;

/// The index of a directory.
const NAME: &str = "index.jsonl";

/// Why a certificate is revoked (RFC 5280, 5.3.1), as openssl(1) spells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reason {
    /// No reason is given.
    #[default]
    Unspecified,
    /// Somebody else has the key.
    KeyCompromise,
    /// The client belongs to others now.
    AffiliationChanged,
    /// Another certificate takes its place.
    Superseded,
    /// The client is no more.
    CessationOfOperation,
    /// The client may do this no more.
    PrivilegeWithdrawn,
}

impl Reason {
    /// Every reason, with its word.
    pub const ALL: [(&str, Reason); 6] = [
        ("unspecified", Reason::Unspecified),
        ("keyCompromise", Reason::KeyCompromise),
        ("affiliationChanged", Reason::AffiliationChanged),
        ("superseded", Reason::Superseded),
        ("cessationOfOperation", Reason::CessationOfOperation),
        ("privilegeWithdrawn", Reason::PrivilegeWithdrawn),
    ];

    /// Its word.
    pub fn word(self) -> &'static str {
        let named = Reason::ALL.iter().find(|(_, reason)| *reason == self);
        named.map_or("unspecified", |(word, _)| word)
    }
}

/// A certificate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Issued {
    /// Serial number, hexadecimal.
    pub serial: String,
    /// Common name.
    pub name: String,
    /// For a server, not for a client.
    pub server: bool,
    /// When it ends, in seconds since 1970.
    pub not_after: i64,
    /// SHA-256 of the public key, hexadecimal.
    pub key: String,
    /// When it was revoked and why.
    #[serde(skip)]
    pub revoked: Option<(i64, Reason)>,
}

impl Issued {
    /// What a certificate says of itself.
    pub fn of(certificate: &X509Certificate<'_>) -> Issued {
        let name = certificate.subject().iter_common_name().next();
        let usage = certificate.extended_key_usage().ok().flatten();
        Issued {
            serial: data_encoding::HEXLOWER.encode(certificate.raw_serial()),
            name: name
                .and_then(|name| name.as_str().ok())
                .unwrap_or_default()
                .to_owned(),
            server: usage.is_some_and(|usage| usage.value.server_auth),
            not_after: certificate.validity().not_after.timestamp(),
            key: data_encoding::HEXLOWER.encode(&Sha256::digest(certificate.public_key().raw)),
            revoked: None,
        }
    }
}

/// A line.
#[derive(Serialize, Deserialize)]
struct Line {
    time: i64,
    #[serde(flatten)]
    event: Event,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event {
    Issued(Issued),
    Revoked { serial: String, reason: Reason },
}

/// The index, read. The caller holds the directory's lock.
pub struct Index {
    path: PathBuf,
    all: Vec<Issued>,
    /// Length of the whole lines; what follows is a torn write that was never acknowledged.
    whole: u64,
}

impl Index {
    /// Reads the index of a directory; `None` when there is none yet.
    pub fn read(directory: &Path) -> Result<Option<Index>> {
        let path = directory.join(NAME);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::file(format!("{} cannot be read", path.display()), e)),
        };
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        let mut index = Index {
            all: Vec::new(),
            whole: whole as u64,
            path,
        };
        for (number, line) in (1..).zip(text[..whole].lines()) {
            let line: Line = serde_json::from_str(line).map_err(|e| {
                let path = index.path.display();
                Error::input(format!(
                    "{path}, line {number}: {e}; restore the file from a backup: it says which certificates are revoked"
                ))
            })?;
            index.take(line);
        }
        Ok(Some(index))
    }

    /// An empty one, written with the first line.
    pub fn new(directory: &Path) -> Index {
        Index {
            path: directory.join(NAME),
            all: Vec::new(),
            whole: 0,
        }
    }

    /// All certificates, the oldest first.
    pub fn all(&self) -> &[Issued] {
        &self.all
    }

    /// The certificate of a serial number.
    pub fn find(&self, serial: &str) -> Option<&Issued> {
        self.all.iter().find(|issued| issued.serial == serial)
    }

    /// Notes certificates that are signed.
    pub fn issued(&mut self, certificates: Vec<Issued>) -> Result<()> {
        self.append(certificates.into_iter().map(Event::Issued).collect())
    }

    /// Notes that certificates are revoked.
    pub fn revoked(&mut self, serials: &[String], reason: Reason) -> Result<()> {
        let event = |serial: &String| Event::Revoked {
            serial: serial.clone(),
            reason,
        };
        self.append(serials.iter().map(event).collect())
    }

    fn append(&mut self, events: Vec<Event>) -> Result<()> {
        let time = jiff::Timestamp::now().as_second();
        let lines: Vec<Line> = events
            .into_iter()
            .map(|event| Line { time, event })
            .collect();
        let mut text = Vec::new();
        for line in &lines {
            serde_json::to_writer(&mut text, line)
                .map_err(|e| Error::input(format!("{}: {e}", self.path.display())))?;
            text.push(b'\n');
        }
        self.write(&text)
            .map_err(|e| Error::file(format!("{} cannot be written", self.path.display()), e))?;
        lines.into_iter().for_each(|line| self.take(line));
        Ok(())
    }

    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        fault::step("write index")?;
        let mut file = File::options()
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&self.path)?;
        file.set_len(self.whole)?;
        fault::step("write index")?;
        file.write_all(text)?;
        file.sync_all()?;
        if self.whole == 0 {
            sync_directory(self.path.parent().unwrap_or(Path::new(".")))?;
        }
        self.whole += text.len() as u64;
        Ok(())
    }

    fn take(&mut self, line: Line) {
        match line.event {
            Event::Issued(issued) => self.all.push(issued),
            Event::Revoked { serial, reason } => {
                let known = self.all.iter_mut().find(|issued| issued.serial == serial);
                if let Some(issued) = known.filter(|issued| issued.revoked.is_none()) {
                    issued.revoked = Some((line.time, reason));
                }
            }
        }
    }
}
