//! Whether an audit log is whole: no line was removed, changed, put elsewhere or added.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::chain::{CHECKPOINT, Chained, EVERY, HEAD, Link, head_path, read_head, rotated};
use crate::error::{Error, Result};
use crate::secret::Secret;

/// What was found.
#[derive(Debug, Default, Serialize)]
pub struct Findings {
    /// The files that were read, the oldest first.
    pub files: Vec<PathBuf>,
    /// Lines of the chain.
    pub lines: u64,
    /// Lines before the chain, of an older version.
    pub unchained: u64,
    /// Lines that a crash or a full disk cut short.
    pub cut_short: u64,
    /// Number of the first line.
    pub first: Option<u64>,
    /// Number of the last line.
    pub last: Option<u64>,
    /// Hash of the last line: kept elsewhere, it proves the log up to here.
    pub hash: Option<String>,
    /// The last line that a seal covers: what follows could be cut or replaced by who can write the file.
    pub sealed_to: Option<u64>,
    /// Whether the seals were checked, which needs the key.
    pub seals_checked: bool,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// Something that is wrong.
#[derive(Debug, Serialize)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// The line in it.
    pub line: u64,
    /// What is wrong.
    pub problem: String,
}

/// Checks the log at `path`, its full files included, or these `files` in their order; with `key` the seals, too.
pub fn verify(path: &Path, files: &[PathBuf], key: Option<&Secret>) -> Result<Findings> {
    let mut checking = Checking {
        key,
        found: Findings {
            seals_checked: key.is_some(),
            ..Findings::default()
        },
        before: None,
        unchained: None,
        oldest: None,
        head: None,
        head_seen: false,
    };
    checking.found.files = match files {
        [] => {
            let full = rotated(path).into_iter().map(|(_, path)| path);
            full.chain([path.to_owned()]).collect()
        }
        files => files.to_vec(),
    };
    let newest = checking.found.files.last().cloned().unwrap_or_default();
    checking.read_head(&newest);
    for file in checking.found.files.clone() {
        checking.file(&file)?;
    }
    checking.end(&newest);
    Ok(checking.found)
}

struct Checking<'a> {
    key: Option<&'a Secret>,
    found: Findings,
    /// The line before.
    before: Option<Link>,
    /// The last line before the chain.
    unchained: Option<Link>,
    /// The oldest line that there should be, as the last file says.
    oldest: Option<u64>,
    /// The last checkpoint, as the head says.
    head: Option<(u64, String)>,
    head_seen: bool,
}

impl Checking<'_> {
    fn problem(&mut self, file: &Path, line: u64, problem: impl Into<String>) {
        self.found.problems.push(Problem {
            file: file.to_owned(),
            line,
            problem: problem.into(),
        });
    }

    fn read_head(&mut self, newest: &Path) {
        let path = head_path(newest);
        let head = match read_head(newest) {
            Ok(head) => head,
            Err(e) if fs::exists(&path).unwrap_or(true) => {
                return self.problem(&path, 1, format!("the file cannot be read: {e}"));
            }
            Err(_) => return,
        };
        let link = data_encoding::HEXLOWER
            .decode(head.hash.as_bytes())
            .ok()
            .and_then(|hash| hash.try_into().ok())
            .map(|hash| Link {
                seq: head.seq,
                hash,
            });
        let forged = self.key.is_some_and(|key| {
            link.and_then(|link| link.seal(key, HEAD).ok()).as_ref() != Some(&head.mac)
        });
        match forged {
            true => self.problem(&path, 1, "its seal is wrong"),
            false => self.head = Some((head.seq, head.hash)),
        }
    }

    fn file(&mut self, path: &Path) -> Result<()> {
        let cannot = |e| Error::file(format!("{} cannot be read", path.display()), e);
        let mut reader = BufReader::new(File::open(path).map_err(cannot)?);
        let (mut number, mut line) = (0, Vec::new());
        loop {
            line.clear();
            if reader.read_until(b'\n', &mut line).map_err(cannot)? == 0 {
                return Ok(());
            }
            number += 1;
            let whole = line.pop_if(|last| *last == b'\n').is_some();
            match serde_json::from_slice::<Chained>(&line) {
                Ok(chained) if whole => self.line(path, number, &line, &chained),
                _ if !whole || serde_json::from_slice::<serde_json::Value>(&line).is_err() => {
                    self.found.cut_short += 1;
                }
                _ if self.before.is_none() => {
                    self.found.unchained += 1;
                    self.unchained = Some(Link::of(0, &line));
                }
                _ => self.problem(path, number, "the line is not of the chain: it was added"),
            }
        }
    }

    fn line(&mut self, path: &Path, number: u64, line: &[u8], chained: &Chained) {
        let link = Link::of(chained.seq, line);
        match self.before {
            None => {
                self.found.first = Some(chained.seq);
                let start = self.unchained.unwrap_or_default();
                if chained.seq == 1
                    && chained.prev != start.hex()
                    && chained.prev != Link::default().hex()
                {
                    self.problem(path, number, "the lines before the chain were changed");
                }
            }
            Some(before) if chained.seq > before.seq + 1 => self.problem(
                path,
                number,
                format!(
                    "lines {} to {} are missing",
                    before.seq + 1,
                    chained.seq - 1
                ),
            ),
            Some(before) if chained.seq <= before.seq => self.problem(
                path,
                number,
                format!("line {} stands behind line {}", chained.seq, before.seq),
            ),
            Some(before) if chained.prev != before.hex() => {
                self.problem(path, number, format!("line {} was changed", before.seq));
            }
            Some(_) => {}
        }
        if chained.seq.is_multiple_of(EVERY) && chained.checkpoint.is_none() {
            self.problem(
                path,
                number,
                format!("line {} is no checkpoint", chained.seq),
            );
        }
        if let Some(seal) = &chained.checkpoint {
            self.seal(path, number, chained, seal);
        }
        self.oldest = chained.oldest.or(self.oldest);
        if let Some((seq, hash)) = &self.head
            && *seq == chained.seq
        {
            self.head_seen = true;
            if *hash != link.hex() {
                self.problem(path, number, format!("line {} was changed", chained.seq));
            }
        }
        self.found.lines += 1;
        self.before = Some(link);
    }

    fn seal(&mut self, path: &Path, number: u64, chained: &Chained, seal: &str) {
        if let Some(key) = self.key {
            let before = data_encoding::HEXLOWER
                .decode(chained.prev.as_bytes())
                .ok()
                .and_then(|hash| hash.try_into().ok())
                .map(|hash| Link {
                    seq: chained.seq.wrapping_sub(1),
                    hash,
                });
            let right = before.and_then(|before| before.seal(key, CHECKPOINT).ok());
            if right.as_deref() != Some(seal) {
                return self.problem(
                    path,
                    number,
                    format!("the seal of line {} is wrong", chained.seq),
                );
            }
        }
        self.found.sealed_to = Some(chained.seq);
    }

    fn end(&mut self, newest: &Path) {
        let last = self.before.map(|last| last.seq);
        self.found.last = last;
        self.found.hash = self.before.map(|last| last.hex());
        if last.is_none() {
            self.problem(newest, 0, "there is no line of a chain in it");
        }
        match (self.found.first, self.oldest) {
            (Some(first), Some(oldest)) if first > oldest => self.problem(
                newest,
                0,
                format!("lines {oldest} to {} are missing", first - 1),
            ),
            (Some(first), None) if first > 1 => {
                self.problem(newest, 0, format!("lines 1 to {} are missing", first - 1));
            }
            _ => {}
        }
        match &self.head {
            Some((seq, _)) if last.is_some_and(|last| last < *seq) => {
                let (from, to) = (last.unwrap_or_default() + 1, *seq);
                self.problem(newest, 0, format!("lines {from} to {to} are missing"));
            }
            Some((seq, _)) if !self.head_seen && last.is_some() => {
                self.problem(newest, 0, format!("line {seq} is missing"));
            }
            _ => {}
        }
    }
}
