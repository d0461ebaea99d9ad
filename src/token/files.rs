//! The token directory: `mrhsm.conf` and one folder of small secret files per token.
//!
//! Readers take no lock: every file is replaced as a whole (written beside, synced, renamed, directory synced), so a
//! reader sees the old or the new one. Writers take an advisory lock and read again inside it. What a killed writer leaves
//! behind begins with a dot and is removed by the next one.
//!
//! Run by root, files belong to the owner of the directory, so that a daemon's own user goes on reading them.

use std::fs::{self, DirBuilder, File, Metadata, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::ck::CKR_DEVICE_ERROR;
use crate::config::{self, Config};
use crate::descriptor;
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
/// The public objects that the last login to a KMIP token saw.
pub const SEEN: &str = "seen";
/// Failed attempts to open the token with a PIN.
pub const ATTEMPTS: &str = "attempts";
/// The objects of a file token.
pub const OBJECTS: &str = "objects";
/// The objects of the embedded server, whose directory is a token directory.
pub const SERVED: &str = "served";

/// Larger files than any of ours; reading stops there.
const FILE_MAX: u64 = 4 << 20;
/// More than any file that is changed in place.
const IN_PLACE_MAX: u64 = 4096;
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

    /// Opens a small file of a token's folder that is changed in place under a lock of its own, and creates it when it is
    /// missing. `None` where this process may not write it. The descriptor is above those of standard input, output and error.
    ///
    /// Errors: it is not a regular file, or cannot be opened.
    pub fn open_in_place(&self, uuid: &str, name: &str) -> Result<Option<File>> {
        let path = self.folder(uuid)?.join(name);
        // Beyond this limit the kernel kills the process instead of refusing the write.
        let limit = rustix::process::getrlimit(rustix::process::Resource::Fsize).current;
        if limit.is_some_and(|limit| limit < IN_PLACE_MAX) {
            return Ok(None);
        }
        let mut options = File::options();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let opened = descriptor::open(&options, &path);
        let cannot = |e| Error::file(format!("cannot open {}", path.display()), e);
        let file = match opened {
            Ok(file) => file,
            Err(e) if is_unwritable(&e) => return Ok(None),
            Err(e) => return Err(cannot(e)),
        };
        let meta = file.metadata().map_err(cannot)?;
        if !meta.is_file() {
            return Err(refused(format!(
                "{} is not a regular file; remove it",
                path.display()
            )));
        }
        if meta.len() == 0
            && let Some(dir) = self.check_dir(&self.path)?
        {
            give_to(&file, (dir.uid(), dir.gid()));
        }
        match file.as_raw_fd() {
            // Duplicates are made above 2.
            0..=2 => file.try_clone().map(Some).map_err(cannot),
            _ => Ok(Some(file)),
        }
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
        let mut options = File::options();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW);
        let lock = descriptor::open(&options, &path).map_err(|e| cannot_write(&path, e))?;
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

    /// Replaces a token's folder by one with these files and what `fill` adds. Readers see the old one or the new one.
    pub fn replace_folder(
        &self,
        uuid: &str,
        files: &[(&str, &[u8])],
        fill: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        let folder = self.dir.folder(uuid)?;
        let new = self.dir.path.join(format!("{NEW}{uuid}"));
        let cannot = |e| cannot_write(&folder, e);
        let replaced = self
            .fill_folder(&new, files)
            .map_err(cannot)
            .and_then(|()| fill(&new))
            .and_then(|()| {
                sync_dir(&new)
                    .and_then(|()| self.exchange(&new, &folder, uuid))
                    .map_err(cannot)
            });
        // What is there now is the old one, or the new one that did not take its place.
        discard(&new);
        replaced
    }

    /// Exchanges the folder of a token and `new`. Without support of the file system the old one steps aside first; a run that is
    /// killed before the new one takes its place is undone by the next writer.
    fn exchange(&self, new: &Path, folder: &Path, uuid: &str) -> io::Result<()> {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;

        let exchanged = fault::step("exchange folders")
            .and_then(|()| Ok(renameat_with(CWD, new, CWD, folder, RenameFlags::EXCHANGE)?));
        match exchanged {
            Err(e)
                if [Errno::INVAL, Errno::NOSYS, Errno::NOTSUP]
                    .map(|errno| Some(errno.raw_os_error()))
                    .contains(&e.raw_os_error()) =>
            {
                let old = self.dir.path.join(format!("{OLD}{uuid}"));
                fault::step("rename old folder")?;
                fs::rename(folder, &old)?;
                let renamed =
                    fault::step("rename new folder").and_then(|()| fs::rename(new, folder));
                if let Err(e) = renamed {
                    fs::rename(&old, folder)?;
                    return Err(e);
                }
                sync_dir(&self.dir.path)?;
                discard(&old);
                Ok(())
            }
            other => other.and_then(|()| sync_dir(&self.dir.path)),
        }
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
        fault::step("remove folder").map_err(|e| cannot_write(&old, e))?;
        overwrite_keys(&old);
        fs::remove_dir_all(&old).map_err(|e| cannot_write(&old, e))
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
        let mut options = File::options();
        options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW);
        let mut file = descriptor::open(&options, path)?;
        fault::step("write file")?;
        file.write_all(bytes)?;
        self.give_to_owner(&file);
        file.sync_all()
    }

    /// Gives a file that root made to the owner of the directory. It stays readable to us whether or not that succeeds.
    fn give_to_owner(&self, file: &File) {
        give_to(file, self.owner);
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
            } else if let Some(uuid) = folder_of(name, OLD) {
                self.sweep_old(&path, uuid);
            } else if folder_of(name, NEW).is_some() {
                discard(&path);
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

impl Writer<'_> {
    /// Removes an old folder, or puts it back when its token lost it to a writer that was killed.
    fn sweep_old(&self, old: &Path, uuid: &str) {
        let folder = self.dir.path.join(uuid);
        if folder.exists() {
            return discard(old);
        }
        match self.dir.load() {
            Ok(config) if config.by_uuid(uuid).is_none() => discard(old),
            Ok(_) => drop(fs::rename(old, &folder)),
            // It may be the only one.
            Err(_) => {}
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

fn give_to(file: &File, owner: (u32, u32)) {
    if config::effective_uid() == 0 && owner != (0, 0) {
        let _ = fchown(file, Some(owner.0), Some(owner.1));
    }
}

/// Whether a file cannot be written for a reason that does not keep anybody from reading.
fn is_unwritable(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        ErrorKind::PermissionDenied
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::StorageFull
            | ErrorKind::QuotaExceeded
    )
}

/// The token whose folder was renamed to `name`.
fn folder_of<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    name.strip_prefix(prefix)
        .filter(|uuid| config::serial_of(uuid).is_some())
}

/// Removes a folder that is no token's any more. Not worth an error: nothing reads it, and the next writer tries again.
fn discard(folder: &Path) {
    overwrite_keys(folder);
    let _ = fs::remove_dir_all(folder);
}

/// Overwrites what opens a removed folder, so that its blocks are of no use to who finds them on the disk. A file that has other
/// names is left alone: it is a backup's too. File systems that copy on write and flash memory keep the old blocks.
fn overwrite_keys(folder: &Path) {
    let overwrite = |name: &str| -> io::Result<()> {
        let mut options = File::options();
        options
            .write(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let mut file = descriptor::open(&options, &folder.join(name))?;
        let meta = file.metadata()?;
        if meta.is_file() && meta.nlink() == 1 {
            file.write_all(&vec![0; meta.len().min(FILE_MAX) as usize])?;
            file.sync_data()?;
        }
        Ok(())
    };
    for name in [TOKEN_KEY, USER_PIN] {
        let _ = overwrite(name);
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
