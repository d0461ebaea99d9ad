//! Descriptors in a process of others: a host may have closed the standard ones, so that a new file gets the number of its output, and
//! may close ours and open other files under their numbers.

use std::fs::File;
use std::io::{self, Read};
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::fstat;
use rustix::io::fcntl_dupfd_cloexec;

/// The lowest descriptor after standard input, output and error.
const FIRST: i32 = 3;

/// Opens a file under a descriptor above the standard ones.
pub fn open(options: &std::fs::OpenOptions, path: &Path) -> io::Result<File> {
    above_standard(options.open(path)?)
}

/// Moves a descriptor above the standard ones, whichever of those the host has closed.
pub fn above_standard<F: From<OwnedFd> + Into<OwnedFd> + AsFd>(file: F) -> io::Result<F> {
    match file.as_fd().as_raw_fd() < FIRST {
        true => Ok(fcntl_dupfd_cloexec(&file, FIRST)?.into()),
        false => Ok(file),
    }
}

/// Tells a file from all others: its device and its number there.
pub fn identity_of(file: impl AsFd) -> io::Result<(u64, u64)> {
    let about = fstat(file)?;
    Ok((about.st_dev, about.st_ino))
}

/// A file or socket that is not closed once its number belongs to the host.
#[derive(Debug)]
pub struct Own<F: AsFd> {
    file: Option<F>,
    identity: (u64, u64),
}

impl<F: AsFd> Own<F> {
    /// Takes over a file that was opened just now.
    pub fn of(file: F) -> io::Result<Own<F>> {
        Ok(Own {
            identity: identity_of(&file)?,
            file: Some(file),
        })
    }

    /// Device and number of the file.
    pub fn identity(&self) -> (u64, u64) {
        self.identity
    }

    /// Whether the number still is this file's.
    pub fn is_ours(&self) -> bool {
        identity_of(&**self).is_ok_and(|now| now == self.identity)
    }

    /// Fails with `NotConnected` if the number is not this file's any more.
    pub fn verify(&self) -> io::Result<()> {
        match self.is_ours() {
            true => Ok(()),
            false => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl<F: AsFd> Deref for Own<F> {
    type Target = F;

    fn deref(&self) -> &F {
        self.file.as_ref().expect("it is taken out in drop")
    }
}

impl<F: AsFd> DerefMut for Own<F> {
    fn deref_mut(&mut self) -> &mut F {
        self.file.as_mut().expect("it is taken out in drop")
    }
}

impl<F: AsFd + Read> Read for Own<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (**self).read(buffer)
    }
}

impl<F: AsFd> Drop for Own<F> {
    fn drop(&mut self) {
        if !self.is_ours() {
            std::mem::forget(self.file.take());
        }
    }
}
