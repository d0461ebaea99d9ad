//! The token directory: `mrhsm.conf` and one folder of small secret files per token.
//!
//! Readers take no lock: every file is replaced as a whole (written beside, synced, renamed, directory synced), so a
//! reader sees the old or the new one. Writers take an advisory lock and read again inside it. What a killed writer leaves
//! behind begins with a dot and is removed by the next one.
//!
//! Run by root, files belong to the owner of the directory, so that a daemon's own user goes on reading them.

use std::fs::{self, DirBuilder, File, Metadata, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::ck::CKR_DEVICE_ERROR;
use crate::config::{self, Config};
use crate::error::{Error, Kind, Result};
use crate::fault;
use crate::secret::Secret;

#[cfg(test)]
mod tests;

/// The token key, wrapped under the PINs.
pub const TOKEN_KEY: &str = "token.key";
/// The user PIN, where it is kept for unattended daemons.
pub const USER_PIN: &str = "user.pin";
/// The client certificate chain, PEM.
pub const CLIENT_CERT: &str = "client.pem";
/// The client key, sealed under the token key.
pub const CLIENT_KEY: &str = "client.key";
/// The certificates of the servers' authority, PEM.
pub const CA_CERT: &str = "ca.pem";
/// The revocation lists of the servers' authority, PEM or DER.
pub const CRL: &str = "crl.pem";
/// The password of a user name, sealed under the token key.
pub const CREDENTIAL: &str = "credential";
/// The settings and files that were accepted, sealed under the token key.
pub const ACCEPTED: &str = "accepted";
/// What was learnt of the token's hosts, sealed under the token key.
pub const LEARNT: &str = "learnt";
/// The same as earlier versions kept it; it is not believed, because anyone who writes to the directory can make it.
pub const LEARNT_OPEN: &str = "server.json";

/// Larger files than any of ours; reading stops there.
const FILE_MAX: u64 = 4 << 20;
const LOCK: &str = ".lock";
/// A file being written.
const TMP: &str = ".tmp-";
/// A folder being made.
const NEW: &str = ".new-";
/// A folder being removed.
const OLD: &str = ".old-";

/// A token directory. It need not exist yet: then it has no tokens, and the first writer makes it.
#[derive(Clone, Debug)]
pub struct TokenDir {
    path: PathBuf,
    patience: Duration,
}

impl TokenDir {
    /// The token directory at `path`; nothing is read yet.
    pub fn at(path: impl Into<PathBuf>) -> TokenDir {
        TokenDir {
            path: path.into(),
            patience: Duration::from_secs(10),
        }
    }

    /// The same directory, waiting at most this long for another writer (10 s otherwise).
    pub fn with_patience(mut self, patience: Duration) -> TokenDir {
        self.patience = patience;
        self
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where its configuration is.
    pub fn config_path(&self) -> PathBuf {
        self.path.join(config::FILE_NAME)
    }

    /// The configuration; an empty one when there is none yet.
    ///
    /// Errors: unsafe modes or owners, an unreadable file, bad content.
    pub fn load(&self) -> Result<Config> {
        let path = self.config_path();
        let Some(bytes) = self.read_file(&path)? else {
            return Ok(Config::default());
        };
        let text = std::str::from_utf8(bytes.expose()).map_err(|_| {
            Error::input(format!(
                "{} is not UTF-8 text; restore it from a backup",
                path.display()
            ))
        })?;
        Config::parse(text, &path)
    }

    /// A file of a token's folder; `None` when there is none.
    pub fn read(&self, uuid: &str, name: &str) -> Result<Option<Secret>> {
        self.read_file(&self.folder(uuid)?.join(name))
    }

    /// Changes the configuration: read, changed and written under the lock. Nothing is written when `change` fails or
    /// changes nothing.
    pub fn update<T>(&self, change: impl FnOnce(&mut Config) -> Result<T>) -> Result<T> {
        let writer = self.lock()?;
        let before = self.load()?;
        let mut config = before.clone();
        let result = change(&mut config)?;
        if config != before {
            writer.save(&config)?;
        }
        Ok(result)
    }

    /// Takes the lock that writers need, making the directory when it is missing.
    pub fn lock(&self) -> Result<Writer<'_>> {
        fault::step("make directory").map_err(|e| cannot_write(&self.path, e))?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.path)
            .map_err(|e| cannot_write(&self.path, e))?;
        let owner = self
            .check_dir(&self.path)?
            .map(|m| (m.uid(), m.gid()))
            .unwrap_or_default();
        let path = self.path.join(LOCK);
        let lock = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .map_err(|e| cannot_write(&path, e))?;
        let start = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if start.elapsed() < self.patience => {
                    std::thread::sleep(Duration::from_millis(10))
                }
                Err(TryLockError::WouldBlock) => return Err(self.busy(&lock)),
                Err(TryLockError::Error(e)) => {
                    return Err(Error::file(format!("cannot lock {}", path.display()), e));
                }
            }
        }
        let writer = Writer {
            dir: self,
            lock,
            owner,
        };
        writer.give_to_owner(&writer.lock);
        writer.sign();
        writer.sweep();
        Ok(writer)
    }

    fn busy(&self, mut lock: &File) -> Error {
        let mut pid = String::new();
        let _ = lock.read_to_string(&mut pid);
        let who = pid
            .trim()
            .parse::<u32>()
            .map(|p| format!(" (process {p})"))
            .unwrap_or_default();
        Error::new(
            Kind::File,
            CKR_DEVICE_ERROR,
            format!(
                "another mrhsm{who} is changing {}; waited {} s for it: try again when it is done",
                self.path.display(),
                self.patience.as_secs()
            ),
        )
    }

    /// The folder of a token. A uuid becomes a path, so nothing else may pass.
    fn folder(&self, uuid: &str) -> Result<PathBuf> {
        match config::serial_of(uuid) {
            Some(_) => Ok(self.path.join(uuid)),
            None => Err(Error::input(format!("'{uuid}' is not a UUID"))),
        }
    }

    fn read_file(&self, path: &Path) -> Result<Option<Secret>> {
        let Some(dir) = self.check_dir(&self.path)? else {
            return Ok(None);
        };
        let folder = path.parent().unwrap_or(&self.path);
        if folder != self.path && self.check_dir(folder)?.is_none() {
            return Ok(None);
        }
        let cannot = |e| Error::file(format!("cannot read {}", path.display()), e);
        // O_NONBLOCK: opening a FIFO that somebody put here must not hang.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = match File::options().read(true).custom_flags(flags).open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) if e.raw_os_error() == Some(libc::ELOOP) => {
                return Err(refused(format!(
                    "{} is a symbolic link; put the file itself there",
                    path.display()
                )));
            }
            Err(e) => return Err(cannot(e)),
        };
        let meta = file.metadata().map_err(cannot)?;
        if !meta.is_file() {
            return Err(refused(format!(
                "{} is not a regular file; restore it from a backup",
                path.display()
            )));
        }
        check_owner(path, &meta, dir.uid())?;
        if meta.mode() & 0o077 != 0 {
            return Err(refused(format!(
                "{} is open to other users (mode {:04o}); close it with: chmod 600 {}",
                path.display(),
                meta.mode() & 0o7777,
                shell(path)
            )));
        }
        if meta.len() > FILE_MAX {
            return Err(refused(format!(
                "{} has {} bytes, more than any file of mrhsm; restore it from a backup",
                path.display(),
                meta.len()
            )));
        }
        // Reserved in full, so that no half of a secret is left in a buffer that grew.
        let mut bytes = Vec::with_capacity(meta.len() as usize + 1);
        let read = file.take(FILE_MAX).read_to_end(&mut bytes);
        let secret = Secret::new(bytes);
        read.map_err(cannot)?;
        Ok(Some(secret))
    }

    /// Refuses a directory that others may enter; `None` when it does not exist.
    fn check_dir(&self, path: &Path) -> Result<Option<Metadata>> {
        // The token directory itself may be a link to where it really is; the folders in it may not.
        let meta = if path == self.path {
            fs::metadata(path)
        } else {
            fs::symlink_metadata(path)
        };
        let meta = match meta {
            Ok(meta) => meta,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::file(format!("cannot read {}", path.display()), e)),
        };
        if !meta.is_dir() {
            return Err(refused(format!(
                "{} is not a directory; move it away",
                path.display()
            )));
        }
        check_owner(path, &meta, meta.uid())?;
        if meta.mode() & 0o077 != 0 {
            return Err(refused(format!(
                "{} is open to other users (mode {:04o}); close it with: chmod 700 {}",
                path.display(),
                meta.mode() & 0o7777,
                shell(path)
            )));
        }
        Ok(Some(meta))
    }
}

/// The right to change a token directory; released when dropped.
pub struct Writer<'a> {
    dir: &'a TokenDir,
    lock: File,
    owner: (u32, u32),
}

impl Writer<'_> {
    /// The directory that is locked.
    pub fn dir(&self) -> &TokenDir {
        self.dir
    }

    /// Replaces the configuration.
    pub fn save(&self, config: &Config) -> Result<()> {
        // What cannot be read again is not written.
        let text = config.to_text();
        Config::parse(&text, &self.dir.config_path())?;
        self.replace(
            &self.dir.path,
            &[(config::FILE_NAME, Some(text.as_bytes()))],
        )
    }

    /// Replaces or removes (`None`) files of a token's folder. All are on disk before the first takes its name, so that a
    /// full disk changes none.
    pub fn write(&self, uuid: &str, files: &[(&str, Option<&[u8]>)]) -> Result<()> {
        self.replace(&self.dir.folder(uuid)?, files)
    }

    /// Makes a token's folder with these files; it appears complete or not at all.
    pub fn make_folder(&self, uuid: &str, files: &[(&str, &[u8])]) -> Result<()> {
        let folder = self.dir.folder(uuid)?;
        let new = self.dir.path.join(format!("{NEW}{uuid}"));
        let made = self.fill_folder(&new, files).and_then(|()| {
            fault::step("rename folder")?;
            fs::rename(&new, &folder)?;
            sync_dir(&self.dir.path)
        });
        made.map_err(|e| {
            let _ = fs::remove_dir_all(&new);
            cannot_write(&folder, e)
        })
    }

    fn fill_folder(&self, new: &Path, files: &[(&str, &[u8])]) -> io::Result<()> {
        fault::step("make folder")?;
        DirBuilder::new().mode(0o700).create(new)?;
        self.give_to_owner(&File::open(new)?);
        for (name, bytes) in files {
            self.write_synced(&new.join(name), bytes)?;
        }
        sync_dir(new)
    }

    /// Removes a token's folder; nothing happens when there is none.
    pub fn remove_folder(&self, uuid: &str) -> Result<()> {
        let folder = self.dir.folder(uuid)?;
        let old = self.dir.path.join(format!("{OLD}{uuid}"));
        let moved = fault::step("rename folder")
            .and_then(|()| fs::rename(&folder, &old))
            .and_then(|()| sync_dir(&self.dir.path));
        match moved {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            other => other.map_err(|e| cannot_write(&folder, e))?,
        }
        fault::step("remove folder")
            .and_then(|()| fs::remove_dir_all(&old))
            .map_err(|e| cannot_write(&old, e))
    }

    fn replace(&self, folder: &Path, files: &[(&str, Option<&[u8]>)]) -> Result<()> {
        let tmp = |name: &str| folder.join(format!("{TMP}{name}"));
        for (name, bytes) in files {
            if let Some(bytes) = bytes {
                self.write_synced(&tmp(name), bytes).map_err(|e| {
                    for (name, _) in files {
                        let _ = fs::remove_file(tmp(name));
                    }
                    cannot_write(&folder.join(name), e).context("nothing was changed")
                })?;
            }
        }
        for (name, bytes) in files {
            let path = folder.join(name);
            let done = fault::step("rename").and_then(|()| match bytes {
                Some(_) => fs::rename(tmp(name), &path),
                None => match fs::remove_file(&path) {
                    Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
                    other => other,
                },
            });
            done.map_err(|e| cannot_write(&path, e))?;
        }
        sync_dir(folder).map_err(|e| cannot_write(folder, e))
    }

    fn write_synced(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        fault::step("create file")?;
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)?;
        fault::step("write file")?;
        file.write_all(bytes)?;
        self.give_to_owner(&file);
        file.sync_all()
    }

    /// Gives a file that root made to the owner of the directory. It stays readable to us whether or not that succeeds.
    fn give_to_owner(&self, file: &File) {
        if config::effective_uid() == 0 && self.owner != (0, 0) {
            let _ = fchown(file, Some(self.owner.0), Some(self.owner.1));
        }
    }

    /// Leaves our process number in the lock file, for the message of whoever waits. Not worth an error.
    fn sign(&self) {
        let _ = self
            .lock
            .set_len(0)
            .and_then(|()| writeln!(&self.lock, "{}", std::process::id()));
    }

    /// Removes what killed writers left. Not worth an error: nothing reads these names.
    fn sweep(&self) {
        let entries = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten();
        for entry in entries(&self.dir.path) {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let path = entry.path();
            if name.starts_with(TMP) {
                let _ = fs::remove_file(path);
            } else if [NEW, OLD].iter().any(|p| {
                name.strip_prefix(p)
                    .is_some_and(|rest| config::serial_of(rest).is_some())
            }) {
                let _ = fs::remove_dir_all(path);
            } else if config::serial_of(name).is_some() {
                for inner in entries(&path)
                    .filter(|e| e.file_name().to_str().is_some_and(|n| n.starts_with(TMP)))
                {
                    let _ = fs::remove_file(inner.path());
                }
            }
        }
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        // Unlocked by hand: a child that the application forked meanwhile holds the same open file, and closing ours would
        // leave the lock with it.
        let _ = self.lock.unlock();
    }
}

fn sync_dir(path: &Path) -> io::Result<()> {
    fault::step("sync directory")?;
    File::open(path)?.sync_all()
}

fn refused(message: String) -> Error {
    Error::new(Kind::File, CKR_DEVICE_ERROR, message)
}

/// Root may read the files of the directory's owner; everybody else only their own.
fn check_owner(path: &Path, meta: &Metadata, dir_owner: u32) -> Result<()> {
    let me = config::effective_uid();
    let fine = meta.uid() == me || (me == 0 && meta.uid() == dir_owner);
    if fine {
        return Ok(());
    }
    let wanted = if me == 0 { dir_owner } else { me };
    Err(refused(format!(
        "{} belongs to user {}, not to {wanted}: run mrhsm as its owner, or give it over with: chown -R {wanted} {}",
        path.display(),
        meta.uid(),
        shell(path)
    )))
}

fn cannot_write(path: &Path, e: io::Error) -> Error {
    let mend = match e.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            "make room on its disk and try again"
        }
        ErrorKind::ReadOnlyFilesystem => "its file system is mounted read-only",
        ErrorKind::PermissionDenied => "run mrhsm as the owner of the directory",
        ErrorKind::NotADirectory => "a part of its path is not a directory",
        _ => "see the cause",
    };
    Error::file(format!("cannot write {} ({mend})", path.display()), e)
}

/// A path as a shell takes it, for commands in messages.
fn shell(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-+,=:@%".contains(&b);
    if text.bytes().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
