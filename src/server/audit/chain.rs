//! The chain of an audit log: each line carries the SHA-256 of the line before it, and its number; some are sealed.
//!
//! Every [`EVERY`]th line, and one at the start, at the end and where a file is full, is a checkpoint: a MAC, under a key that the
//! server's PIN opens, over its number and the line before it. A small file beside the log (`.head`) says the same of the last
//! checkpoint, so that truncation is detected.
//!
//! Several processes may write one log. Who writes holds the file's lock, and first reads what others wrote.

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::crypto::{Hash, mac};
use crate::secret::Secret;

/// Lines whose number is a multiple of this are checkpoints.
pub const EVERY: u64 = 256;
/// Longer than any line.
const WINDOW: u64 = 128 << 10;

/// The number and the hash of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Its number, counted from 1.
    pub seq: u64,
    /// The hash of the line, without its end.
    pub hash: [u8; 32],
}

/// What a line says of the chain.
#[derive(Serialize, Deserialize)]
pub struct Chained {
    /// Its number.
    pub seq: u64,
    /// The hash of the line before, hexadecimal.
    pub prev: String,
    /// The seal, on a checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
    /// The number of the oldest line that is kept, where a file begins that follows another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<u64>,
}

/// A line: what it says, and its place in the chain.
#[derive(Serialize)]
struct Linked<'a, T> {
    #[serde(flatten)]
    said: &'a T,
    #[serde(flatten)]
    chained: Chained,
}

/// What a line of the chain itself says.
#[derive(Serialize)]
struct Own {
    time: String,
    event: &'static str,
}

/// The file beside a log.
#[derive(Serialize, Deserialize)]
pub struct Head {
    /// Number of the last checkpoint.
    pub seq: u64,
    /// Its hash, hexadecimal.
    pub hash: String,
    /// MAC over both, hexadecimal.
    pub mac: String,
}

impl Link {
    /// The line that has this text.
    pub fn of(seq: u64, line: &[u8]) -> Link {
        Link {
            seq,
            hash: Sha256::digest(line).into(),
        }
    }

    /// The hash in hexadecimal.
    pub fn hex(&self) -> String {
        data_encoding::HEXLOWER.encode(&self.hash)
    }

    /// The MAC of a checkpoint that follows this line, or of a head that names it.
    pub fn seal(&self, key: &Secret, purpose: &str) -> io::Result<String> {
        let text = [
            purpose.as_bytes(),
            &[0],
            &self.seq.to_be_bytes(),
            &self.hash,
        ]
        .concat();
        let mac = mac::hmac(Hash::Sha256, key.expose(), &text).map_err(io::Error::other)?;
        Ok(data_encoding::HEXLOWER.encode(&mac))
    }
}

/// What the MAC of a checkpoint is for.
pub const CHECKPOINT: &str = "mrhsm audit checkpoint";
/// What the MAC of a head is for.
pub const HEAD: &str = "mrhsm audit head";

/// Rotation and retention of a log.
pub struct Keeping {
    /// The key of the seals.
    pub key: Secret,
    /// How long a file may be, in bytes; 0 for any length.
    pub size: u64,
    /// How many full files are kept; 0 for all.
    pub keep: usize,
}

/// A log that is written.
pub struct Chain {
    path: PathBuf,
    keeping: Keeping,
    file: File,
    /// Which file it is.
    identity: (u64, u64),
    /// How far it was read or written.
    end: u64,
    last: Link,
    /// The last line was cut short, on a full disk or by a crash.
    torn: bool,
    /// Lines were appended behind the last checkpoint.
    unsealed: bool,
}

impl Chain {
    /// Opens a log, making it when it is missing (readable by its owner only), and goes on where it ends. The second result says
    /// whether something could be written.
    pub fn open(path: &Path, keeping: Keeping) -> io::Result<(Chain, io::Result<()>)> {
        let file = open(path)?;
        let identity = identity(&file.metadata()?);
        let mut chain = Chain {
            path: path.to_owned(),
            keeping,
            file,
            identity,
            end: 0,
            last: Link::default(),
            torn: false,
            unsealed: false,
        };
        let started = chain.locked(|chain| {
            if chain.end == 0
                && let Some(newest) = rotated(&chain.path).pop()
            {
                let (last, _) = tail(&mut File::open(newest.1)?, 0)?;
                chain.last = last.unwrap_or_default();
            }
            // Lines that were there at the last checkpoint are gone: the next one names what it should follow.
            if let Ok(head) = read_head(&chain.path)
                && head.seq > chain.last.seq
                && let Some(hash) = data_encoding::HEXLOWER
                    .decode(head.hash.as_bytes())
                    .ok()
                    .and_then(|hash| hash.try_into().ok())
            {
                chain.last = Link {
                    seq: head.seq,
                    hash,
                };
            }
            chain.own("start")
        });
        Ok((chain, started))
    }

    /// Appends lines, by one `write`.
    pub fn append<T: Serialize>(&mut self, lines: &[T]) -> io::Result<()> {
        self.locked(|chain| {
            let mut made = chain.make(lines)?;
            let full = chain.end + made.0.len() as u64 > chain.keeping.size;
            if chain.keeping.size > 0 && chain.end > 0 && full {
                chain.rotate()?;
                // The lines follow others now.
                made = chain.make(lines)?;
            }
            let (text, link, sealed) = made;
            chain.write(&text, link)?;
            chain.unsealed = true;
            sealed.map_or(Ok(()), |sealed| chain.write_head(sealed))
        })
    }

    /// Appends a checkpoint, if lines were appended behind the last.
    pub fn seal(&mut self) -> io::Result<()> {
        match self.unsealed {
            true => self.locked(|chain| chain.own("checkpoint")),
            false => Ok(()),
        }
    }

    /// Appends a checkpoint: the server ends.
    pub fn close(&mut self) -> io::Result<()> {
        self.locked(|chain| chain.own("stop"))
    }

    /// Opens the file that has the log's name now.
    pub fn reopen(&mut self) -> io::Result<()> {
        self.locked(|_| Ok(()))
    }

    /// Does something under the lock of the file that has the log's name, after reading what others wrote.
    fn locked<T>(&mut self, work: impl FnOnce(&mut Chain) -> io::Result<T>) -> io::Result<T> {
        loop {
            self.file.lock()?;
            if let Err(e) = self.read_on() {
                let _ = self.file.unlock();
                return Err(e);
            }
            match fs::metadata(&self.path) {
                Ok(meta) if identity(&meta) == self.identity => break,
                Err(e) if e.kind() != ErrorKind::NotFound => {
                    let _ = self.file.unlock();
                    return Err(e);
                }
                // It was renamed, by another process whose log was full or by somebody else.
                _ => {
                    let file = open(&self.path)?;
                    self.identity = identity(&file.metadata()?);
                    (self.file, self.end, self.torn) = (file, 0, false);
                }
            }
        }
        let done = work(self);
        self.file.unlock()?;
        done
    }

    /// Reads what others wrote.
    fn read_on(&mut self) -> io::Result<()> {
        let meta = self.file.metadata()?;
        if !meta.is_file() || meta.len() <= self.end {
            // A log that is shorter than it was goes on from what it was.
            self.end = self.end.min(meta.len());
            return Ok(());
        }
        let (last, torn) = tail(&mut self.file, self.end)?;
        self.last = last
            .filter(|last| last.seq > self.last.seq || self.last == Link::default())
            .unwrap_or(self.last);
        (self.end, self.torn) = (meta.len(), torn);
        Ok(())
    }

    /// The text of lines, the last of them, and the last checkpoint among them.
    fn make<T: Serialize>(&self, lines: &[T]) -> io::Result<(Vec<u8>, Link, Option<Link>)> {
        let (mut text, mut link, mut sealed) = (Vec::new(), self.last, None);
        for line in lines {
            if (link.seq + 1).is_multiple_of(EVERY) {
                self.add_checkpoint(&mut text, &mut link, "checkpoint")?;
                sealed = Some(link);
            }
            self.add(&mut text, &mut link, line, None)?;
        }
        Ok((text, link, sealed))
    }

    fn add<T: Serialize>(
        &self,
        text: &mut Vec<u8>,
        link: &mut Link,
        said: &T,
        sealed: Option<(Option<String>, Option<u64>)>,
    ) -> io::Result<()> {
        let (checkpoint, oldest) = sealed.unwrap_or_default();
        let line = serde_json::to_vec(&Linked {
            said,
            chained: Chained {
                seq: link.seq + 1,
                prev: link.hex(),
                checkpoint,
                oldest,
            },
        })?;
        *link = Link::of(link.seq + 1, &line);
        text.extend_from_slice(&line);
        text.push(b'\n');
        Ok(())
    }

    fn add_checkpoint(
        &self,
        text: &mut Vec<u8>,
        link: &mut Link,
        event: &'static str,
    ) -> io::Result<()> {
        let seal = link.seal(&self.keeping.key, CHECKPOINT)?;
        let said = Own {
            time: super::time(),
            event,
        };
        self.add(text, link, &said, Some((Some(seal), None)))
    }

    /// Appends a checkpoint.
    fn own(&mut self, event: &'static str) -> io::Result<()> {
        let (mut text, mut link) = (Vec::new(), self.last);
        self.add_checkpoint(&mut text, &mut link, event)?;
        self.write(&text, link)?;
        self.unsealed = false;
        self.write_head(link)
    }

    /// Writes lines, of which the last is `link`. One that has to follow a line that was cut short begins anew.
    fn write(&mut self, text: &[u8], link: Link) -> io::Result<()> {
        let start: &[u8] = if self.torn { b"\n" } else { b"" };
        let text = [start, text].concat();
        let written = self.file.write(&text)?;
        self.end += written as u64;
        self.torn = written < text.len();
        if self.torn {
            // What was written whole of several lines is read again, as if another process had written it.
            self.end -= written as u64;
            self.torn = false;
            self.read_on()?;
            return Err(ErrorKind::WriteZero.into());
        }
        self.last = link;
        Ok(())
    }

    /// Begins a new file: the full one gets the next number.
    fn rotate(&mut self) -> io::Result<()> {
        if !self.file.metadata()?.is_file() {
            return Ok(());
        }
        self.own("full")?;
        let full = rotated(&self.path);
        let number = full.last().map_or(1, |(number, _)| number + 1);
        fs::rename(&self.path, numbered(&self.path, number))?;
        let file = open(&self.path)?;
        // Its lock is free: it is new, and others wait for that of the full one.
        file.lock()?;
        self.identity = identity(&file.metadata()?);
        (self.file, self.end, self.torn) = (file, 0, false);
        // A process that has just started may have been faster.
        self.read_on()?;
        let mut full = rotated(&self.path);
        if self.keeping.keep > 0 {
            while full.len() > self.keeping.keep {
                fs::remove_file(full.remove(0).1)?;
            }
        }
        let oldest = full
            .first()
            .and_then(|(_, path)| first(path).ok().flatten());
        let (mut text, mut link) = (Vec::new(), self.last);
        let said = Own {
            time: super::time(),
            event: "follows",
        };
        // Where the number says so, this line is a checkpoint, as any would be.
        let seal = match (link.seq + 1).is_multiple_of(EVERY) {
            true => Some(link.seal(&self.keeping.key, CHECKPOINT)?),
            false => None,
        };
        self.add(&mut text, &mut link, &said, Some((seal, oldest)))?;
        self.write(&text, link)?;
        self.write_head(link)
    }

    /// Notes the last checkpoint beside the log.
    fn write_head(&self, link: Link) -> io::Result<()> {
        if !self.file.metadata()?.is_file() {
            return Ok(());
        }
        let head = Head {
            seq: link.seq,
            hash: link.hex(),
            mac: link.seal(&self.keeping.key, HEAD)?,
        };
        let (path, tmp) = (head_path(&self.path), beside(&self.path, ".head.new"));
        let _ = fs::remove_file(&tmp);
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&tmp)?;
        file.write_all(&serde_json::to_vec(&head)?)?;
        fs::rename(tmp, path)
    }
}

fn open(path: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

fn identity(meta: &Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path.as_os_str());
    name.push(ending);
    name.into()
}

/// The file that names the last checkpoint.
pub fn head_path(path: &Path) -> PathBuf {
    beside(path, ".head")
}

/// What it says.
pub fn read_head(path: &Path) -> io::Result<Head> {
    Ok(serde_json::from_slice(&fs::read(head_path(path))?)?)
}

fn numbered(path: &Path, number: u64) -> PathBuf {
    beside(path, &format!(".{number:06}"))
}

/// The full files of a log, the oldest first.
pub fn rotated(path: &Path) -> Vec<(u64, PathBuf)> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str()))
    else {
        return Vec::new();
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut full: Vec<(u64, PathBuf)> = entries
        .filter_map(|entry| {
            let entry_name = entry.file_name();
            let digits = entry_name.to_str()?.strip_prefix(name)?.strip_prefix('.')?;
            let plain = digits.len() >= 6 && digits.bytes().all(|byte| byte.is_ascii_digit());
            plain.then(|| Some((digits.parse().ok()?, entry.path())))?
        })
        .collect();
    full.sort();
    full
}

/// The last line of the chain that lies behind `from`, and whether the file ends within a line.
fn tail(file: &mut File, from: u64) -> io::Result<(Option<Link>, bool)> {
    let len = file.metadata()?.len();
    let start = from.max(len.saturating_sub(WINDOW));
    file.seek(SeekFrom::Start(start))?;
    let mut text = Vec::new();
    file.take(len - start).read_to_end(&mut text)?;
    let torn = text.last().is_some_and(|last| *last != b'\n');
    let whole = text.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
    let last = text[..whole]
        .rsplit(|byte| *byte == b'\n')
        .find_map(|line| {
            let chained: Chained = serde_json::from_slice(line).ok()?;
            Some(Link::of(chained.seq, line))
        });
    // A log of an older version has no chain: it begins with the hash of what is there.
    let unchained = || {
        let line = text[..whole].rsplit(|byte| *byte == b'\n').next()?;
        (!line.is_empty()).then(|| Link::of(0, line))
    };
    Ok((last.or_else(unchained), torn))
}

/// The number of the first line of a file.
fn first(path: &Path) -> io::Result<Option<u64>> {
    let mut text = Vec::new();
    File::open(path)?.take(WINDOW).read_to_end(&mut text)?;
    let mut lines = text.split(|byte| *byte == b'\n');
    Ok(lines.find_map(|line| Some(serde_json::from_slice::<Chained>(line).ok()?.seq)))
}

#[cfg(test)]
mod tests {
    use super::super::verify::{Findings, verify};
    use super::*;

    #[derive(Serialize)]
    struct Said {
        n: u32,
    }

    fn keeping(size: u64, keep: usize) -> Keeping {
        Keeping {
            key: Secret::new(vec![7; 32]),
            size,
            keep,
        }
    }

    fn open(path: &Path, size: u64, keep: usize) -> Chain {
        let (chain, started) = Chain::open(path, keeping(size, keep)).unwrap();
        started.unwrap();
        chain
    }

    fn checked(path: &Path) -> Findings {
        verify(path, &[], Some(&Secret::new(vec![7; 32]))).unwrap()
    }

    /// A log of 600 lines and what else the chain says; its file in a folder.
    fn log() -> (tempfile::TempDir, PathBuf) {
        let folder = crate::fault::scratch();
        let path = folder.path().join("audit.log");
        let mut chain = open(&path, 0, 0);
        for n in 0..600 {
            chain.append(&[Said { n }]).unwrap();
        }
        chain.close().unwrap();
        (folder, path)
    }

    fn lines(path: &Path) -> Vec<String> {
        let text = fs::read_to_string(path).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn put(path: &Path, lines: &[String]) {
        fs::write(path, lines.join("\n") + "\n").unwrap();
    }

    #[test]
    fn a_log_that_nobody_touched_is_whole() {
        let (_folder, path) = log();
        let found = checked(&path);
        assert!(found.problems.is_empty(), "{found:?}");
        assert_eq!((found.first, found.sealed_to), (Some(1), found.last));
        assert_eq!(found.lines, 600 + 2 + 2);
        // Restarts, and several processes at once.
        let mut chains: Vec<Chain> = (0..3).map(|_| open(&path, 0, 0)).collect();
        for n in 0..300 {
            chains[n as usize % 3]
                .append(&[Said { n }, Said { n }])
                .unwrap();
        }
        let found = checked(&path);
        assert!(found.problems.is_empty(), "{found:?}");
        assert!(found.sealed_to < found.last);
        for chain in &mut chains {
            (0..3).for_each(|_| chain.seal().unwrap());
        }
        let found = checked(&path);
        assert!(found.problems.is_empty(), "{found:?}");
        assert_eq!(found.sealed_to, found.last);
        assert!(found.lines < 604 + 610, "each seals once");
    }

    #[test]
    fn every_change_of_a_line_is_found() {
        let (_folder, path) = log();
        let whole = lines(&path);
        let without_key = |path: &Path| verify(path, &[], None).unwrap().problems.len();
        for at in [0, 1, 254, 255, 256, 400, whole.len() - 2] {
            let mut removed = whole.clone();
            removed.remove(at);
            put(&path, &removed);
            assert!(without_key(&path) > 0, "line {at} is removed");

            let mut changed = whole.clone();
            changed[at] = changed[at].replacen('{', r#"{"x":1,"#, 1);
            put(&path, &changed);
            assert!(without_key(&path) > 0, "line {at} is changed");

            let mut swapped = whole.clone();
            swapped.swap(at, at + 1);
            put(&path, &swapped);
            assert!(without_key(&path) > 0, "line {at} is swapped with the next");

            let mut added = whole.clone();
            added.insert(at + 1, r#"{"n":1}"#.into());
            put(&path, &added);
            assert!(without_key(&path) > 0, "a line is added behind {at}");

            let mut cut = whole.clone();
            cut.truncate(at);
            put(&path, &cut);
            assert!(without_key(&path) > 0, "the log ends before {at}");
        }
        put(&path, &whole);
        assert_eq!(without_key(&path), 0);
    }

    /// Who knows how the chain is made, and has no key, makes it anew from a line that is changed.
    #[test]
    fn a_chain_made_anew_is_found_by_its_seals() {
        let (_folder, path) = log();
        let mut forged = lines(&path);
        forged[99] = forged[99].replacen(r#""n":"#, r#""n":7"#, 1);
        for at in 100..forged.len() {
            let before = Link::of(0, forged[at - 1].as_bytes()).hex();
            let start = forged[at].find(r#""prev":""#).unwrap() + 8;
            forged[at].replace_range(start..start + 64, &before);
        }
        put(&path, &forged);
        let link = Link::of(forged.len() as u64, forged.last().unwrap().as_bytes());
        let head = Head {
            seq: link.seq,
            hash: link.hex(),
            mac: "00".repeat(32),
        };
        fs::write(head_path(&path), serde_json::to_vec(&head).unwrap()).unwrap();
        assert_eq!(verify(&path, &[], None).unwrap().problems.len(), 0);
        assert!(checked(&path).problems.len() >= 3, "two seals and the head");
        // Without its checkpoints it is found, too.
        let seal = forged[255].clone();
        forged[255] = seal.replace("checkpoint", "nothing");
        put(&path, &forged);
        assert!(!verify(&path, &[], None).unwrap().problems.is_empty());
    }

    #[test]
    fn full_files_are_numbered_and_the_oldest_go() {
        let folder = crate::fault::scratch();
        let path = folder.path().join("audit.log");
        let mut chain = open(&path, 4000, 3);
        for n in 0..400 {
            chain.append(&[Said { n }]).unwrap();
        }
        let full = rotated(&path);
        assert_eq!(full.len(), 3);
        assert!(full[0].0 > 1);
        for (_, file) in &full {
            assert!(fs::metadata(file).unwrap().len() < 4500);
        }
        let found = checked(&path);
        assert!(found.problems.is_empty(), "{found:?}");
        assert!(found.first > Some(1));
        fs::remove_file(&full[0].1).unwrap();
        assert!(
            !checked(&path).problems.is_empty(),
            "more are gone than it says"
        );
    }

    #[test]
    fn a_line_that_was_cut_short_spoils_no_other() {
        let (_folder, path) = log();
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(br#"{"n":1,"seq":6"#).unwrap();
        let mut chain = open(&path, 0, 0);
        chain.append(&[Said { n: 1 }]).unwrap();
        let found = checked(&path);
        assert!(found.problems.is_empty(), "{found:?}");
        assert_eq!(found.cut_short, 1);
    }

    #[test]
    fn a_log_that_is_cut_while_it_is_written_is_found() {
        let folder = crate::fault::scratch();
        let path = folder.path().join("audit.log");
        let mut chain = open(&path, 0, 0);
        for n in 0..10 {
            chain.append(&[Said { n }]).unwrap();
        }
        let mut cut = lines(&path);
        cut.truncate(5);
        put(&path, &cut);
        chain.append(&[Said { n: 10 }]).unwrap();
        assert!(!checked(&path).problems.is_empty());
    }

    #[test]
    fn a_log_of_an_older_version_goes_on() {
        let folder = crate::fault::scratch();
        let path = folder.path().join("audit.log");
        fs::write(&path, "{\"time\":\"a\"}\n{\"time\":\"b\"}\n").unwrap();
        drop(open(&path, 0, 0));
        let found = checked(&path);
        assert!(found.problems.is_empty(), "{found:?}");
        assert_eq!((found.unchained, found.lines), (2, 1));
        let mut changed = lines(&path);
        changed[1] = "{\"time\":\"c\"}".into();
        put(&path, &changed);
        assert!(
            !checked(&path).problems.is_empty(),
            "the last of it is chained"
        );
    }
}
