//! `mrhsm dump`: what is in the files of a token directory, for people who look for a fault. No secrets.
//!
//! It reads on where other commands refuse: a damaged file or an unsafe mode is what somebody is looking for.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::args::{Global, TokenChoice};
use super::certificate::CertificateView;
use super::exit::{Exit, Failure, Outcome};
use super::output::Output;
use super::tokens;
use crate::config::{Config, FILE_NAME};
use crate::crypto::crl::Crls;
use crate::error::Error;
use crate::secret::Secret;
use crate::token::attempts::{self, Failures};
use crate::token::files::{
    ACCEPTED, ATTEMPTS, CA_CERT, CLIENT_CERT, CLIENT_KEY, CREDENTIAL, CRL, LEARNT, LEARNT_OPEN,
    SEEN, TOKEN_KEY, TokenDir, USER_PIN,
};
use crate::token::open_files;
use crate::token::pin::{PinFile, is_sealed};

/// Options of `mrhsm dump`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// File or directory to show [default: the folder of the chosen token, else the whole token directory]
    #[arg(long, value_name = "PATH")]
    pub path: Option<PathBuf>,

    #[command(flatten)]
    pub choice: TokenChoice,
}

/// Larger files than any of ours; no more is read.
const FILE_MAX: u64 = 4 << 20;
/// Deeper than any of our folders.
const DEPTH_MAX: usize = 4;

#[derive(Serialize)]
struct View {
    path: PathBuf,
    entries: Vec<Entry>,
}

/// A file or folder.
#[derive(Serialize)]
struct Entry {
    path: PathBuf,
    /// Permission bits, four octal digits.
    mode: String,
    owner: u32,
    group: u32,
    size: u64,
    /// What it is and what is in it, a line each.
    content: Vec<String>,
    /// What is wrong with it.
    faults: Vec<String>,
}

/// Lists it.
pub fn run(args: &Args, global: &Global, out: &mut Output) -> Outcome {
    let path = match &args.path {
        Some(path) => path.clone(),
        None => {
            let dir = tokens::directory(global)?;
            match args.choice.token.is_some() || args.choice.serial.is_some() {
                true => dir
                    .path()
                    .join(&tokens::choose(&dir, &dir.load()?, &args.choice)?.uuid),
                false => dir.path().to_path_buf(),
            }
        }
    };
    let mut entries = Vec::new();
    list(&path, 0, &mut entries).map_err(|e| {
        Failure::new(
            Exit::Failed,
            Error::file(format!("cannot read {}", path.display()), e).to_string(),
        )
    })?;
    let view = View { path, entries };
    out.line(format!("Dump of {}", view.path.display()));
    for entry in &view.entries {
        out.line("");
        out.line(format!(
            "{} (mode {}, owner {}:{}, {} bytes)",
            entry.path.display(),
            entry.mode,
            entry.owner,
            entry.group,
            entry.size
        ));
        entry
            .content
            .iter()
            .for_each(|line| out.line(format!("    {line}").trim_end()));
        entry
            .faults
            .iter()
            .for_each(|line| out.line(format!("    FAULT: {line}")));
    }
    out.object(&view);
    Ok(())
}

/// A folder's files first, then its folders, each by name. Links are named, not followed.
fn list(path: &Path, depth: usize, entries: &mut Vec<Entry>) -> io::Result<()> {
    let meta = if depth == 0 {
        fs::metadata(path)?
    } else {
        fs::symlink_metadata(path)?
    };
    let mut entry = Entry {
        path: path.to_path_buf(),
        mode: format!("{:04o}", meta.mode() & 0o7777),
        owner: meta.uid(),
        group: meta.gid(),
        size: meta.len(),
        content: Vec::new(),
        faults: Vec::new(),
    };
    if meta.mode() & 0o077 != 0 && !meta.is_symlink() {
        let mode = if meta.is_dir() { "700" } else { "600" };
        entry.faults.push(format!(
            "open to other users; mend it with: chmod {mode} {}",
            path.display()
        ));
    }
    describe(&mut entry, path, &meta);
    entries.push(entry);
    if meta.is_dir() && depth < DEPTH_MAX {
        let mut inner: Vec<(bool, PathBuf)> = fs::read_dir(path)?
            .flatten()
            .map(|e| (e.file_type().is_ok_and(|t| t.is_dir()), e.path()))
            .collect();
        inner.sort();
        for (_, path) in inner {
            if let Err(e) = list(&path, depth + 1, entries) {
                let last = entries.last_mut().map(|entry| &mut entry.faults);
                last.into_iter()
                    .for_each(|faults| faults.push(format!("cannot read {}: {e}", path.display())));
            }
        }
    }
    Ok(())
}

fn describe(entry: &mut Entry, path: &Path, meta: &Metadata) {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    if meta.is_dir() {
        entry.content.push(directory(&name).into());
    } else if !meta.is_file() {
        entry
            .faults
            .push("neither a file nor a folder; nothing of mrhsm's".into());
    } else if let Some(what) = database(&name) {
        // It may be large, and all of it is sealed.
        entry.content = vec![what.into()];
        if name == "objects.db" {
            entry.faults.extend(damage(path));
        }
    } else {
        match read(path) {
            Ok(bytes) => {
                if name == FILE_NAME {
                    entry.content = settings(bytes.expose());
                }
                match content(&name, bytes.expose(), path) {
                    Ok(lines) => entry.content.splice(..0, lines).for_each(drop),
                    Err(e) => entry.faults.push(e.to_string()),
                }
            }
            Err(e) => entry.faults.push(format!("cannot be read: {e}")),
        }
    }
}

fn directory(name: &str) -> &'static str {
    match name {
        _ if crate::config::serial_of(name).is_some() => "folder of a token",
        _ if name.starts_with(".new-") || name.starts_with(".old-") => {
            "left by a command that was killed; the next one that writes removes it"
        }
        _ => "folder",
    }
}

fn read(path: &Path) -> io::Result<Secret> {
    // O_NONBLOCK: a FIFO put here must not hang.
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    let size = file.metadata()?.len().min(FILE_MAX);
    let mut bytes = Vec::with_capacity(size as usize + 1);
    let read = file.take(FILE_MAX).read_to_end(&mut bytes);
    let bytes = Secret::new(bytes);
    read.map(|_| bytes)
}

/// What a file holds, told without its secrets.
fn content(name: &str, bytes: &[u8], path: &Path) -> crate::error::Result<Vec<String>> {
    Ok(match name {
        FILE_NAME => configuration(bytes, path)?,
        TOKEN_KEY => PinFile::parse(bytes, path)?.describe(),
        USER_PIN => vec![format!(
            "user PIN kept for daemons: {} bytes, not shown",
            bytes.trim_ascii_end().len()
        )],
        CLIENT_CERT | CA_CERT => certificates(bytes, path)?,
        CRL => {
            let mut crls = Crls::default();
            crls.read(bytes, &path.display().to_string())?;
            vec![format!("revocation lists: {}", crls.len())]
        }
        CLIENT_KEY | CREDENTIAL | ACCEPTED | LEARNT => {
            let what = match name {
                CLIENT_KEY => "private key of the client",
                CREDENTIAL => "password of the user name",
                ACCEPTED => "the configuration that was accepted",
                _ => "what was learnt of the KMIP servers; without it, it is learnt again",
            };
            if !is_sealed(bytes) {
                return Err(Error::input(
                    "not sealed by mrhsm: set it again with mrhsm set",
                ));
            }
            vec![format!("{what}, sealed under the token key, not shown")]
        }
        SEEN => vec!["the public objects that the last login saw".into()],
        LEARNT_OPEN => vec![
            "what an earlier version learnt of the KMIP servers; no longer used, may be removed"
                .into(),
        ],
        ATTEMPTS => {
            let Failures { so, user } = attempts::parse(bytes);
            vec![format!(
                "wrong PINs in a row: {so} SO PINs, {user} user PINs"
            )]
        }
        ".lock" => {
            let pid = String::from_utf8_lossy(bytes);
            vec![format!(
                "lock file, last taken by process {}",
                pid.trim().escape_debug()
            )]
        }
        _ if name.starts_with(".tmp-") => {
            vec!["left by a command that was killed; the next one that writes removes it".into()]
        }
        _ => vec!["not a file that this version of mrhsm knows; not shown".into()],
    })
}

/// What a file of a database is; `None` for other files.
fn database(name: &str) -> Option<&'static str> {
    Some(match name {
        "objects.db" => "objects of a file token, sealed, not shown",
        "objects.db-wal" => "the latest changes of the objects, sealed, not shown",
        "objects" => {
            "tells earlier builds to be upgraded, or is their object file, which the next use takes over"
        }
        "objects.lock" => "lock file of the objects",
        "objects.new" | "objects.new-wal" | "objects.new-journal" | "objects.tombstone" => {
            "left by a process that was killed; the next one removes it"
        }
        "objects.damaged" => "objects of which some were damaged, kept aside",
        _ => return None,
    })
}

/// What is damaged in a database, where the kept user PIN opens it.
fn damage(path: &Path) -> Vec<String> {
    let checked = || {
        let folder = path.parent()?;
        let dir = TokenDir::at(folder.parent()?);
        let config = dir.load().ok()?;
        let token = config.by_uuid(folder.file_name()?.to_str()?)?;
        let key = tokens::unlock_unasked(&dir, token).ok()??;
        let files = open_files(&dir, token, &key).transpose()?;
        Some(files.and_then(|files| files.repository().check()))
    };
    match checked() {
        None => Vec::new(),
        Some(Err(e)) => vec![e.to_string()],
        Some(Ok(found)) => found,
    }
}

fn configuration(bytes: &[u8], path: &Path) -> crate::error::Result<Vec<String>> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Error::input("not UTF-8 text; restore it from a backup"))?;
    let config = Config::parse(text, path)?;
    Ok(vec![format!(
        "configuration of {} token(s)",
        config.tokens.len()
    )])
}

/// The configuration as it is, damaged or not, without its comments: nothing in it is secret.
fn settings(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let shown = text
        .trim_end()
        .lines()
        .filter(|line| !line.starts_with('#'));
    shown
        .map(|line| {
            line.chars()
                .map(|c| if c.is_control() { '\u{fffd}' } else { c })
                .collect()
        })
        .collect()
}

fn certificates(bytes: &[u8], path: &Path) -> crate::error::Result<Vec<String>> {
    let list = CertificateView::from_pem(bytes, &path.display().to_string())?;
    Ok(list
        .iter()
        .flat_map(|c| {
            [
                format!("certificate {}", c.subject),
                format!("  issuer {}", c.issuer),
                format!(
                    "  {}, valid from {} to {}",
                    c.key_algorithm,
                    c.not_before(),
                    c.not_after()
                ),
            ]
        })
        .collect())
}
