//! The lock of a server's directory: who makes a token, an authority or a certificate there holds it.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::ck::CKR_DEVICE_ERROR;
use crate::error::{Error, Kind, Result};

const NAME: &str = ".serve.lock";
/// Longer than the first start of a server takes: many may start at once.
const PATIENCE: Duration = Duration::from_secs(60);

/// The right to change what is in a server's directory, among all processes; released when dropped.
///
/// It is not the token directory's own lock, because making the token takes that one.
#[derive(Debug)]
pub struct DirLock(#[allow(dead_code, reason = "closing the file releases the lock")] File);

impl DirLock {
    /// Waits for the lock of `directory`, which is created if it does not exist.
    pub fn take(directory: &Path) -> Result<DirLock> {
        let cannot = |e| Error::file(format!("cannot lock {}", directory.join(NAME).display()), e);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|e| Error::file(format!("{} cannot be made", directory.display()), e))?;
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(directory.join(NAME))
            .map_err(cannot)?;
        let start = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(DirLock(file)),
                Err(TryLockError::WouldBlock) if start.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::new(
                        Kind::File,
                        CKR_DEVICE_ERROR,
                        format!(
                            "another mrhsm is changing {}; waited {} s for it: try again when it is done",
                            directory.display(),
                            PATIENCE.as_secs()
                        ),
                    ));
                }
                Err(TryLockError::Error(e)) => return Err(cannot(e)),
            }
        }
    }
}

/// Makes the renames in a directory durable.
pub fn sync_directory(directory: &Path) -> std::io::Result<()> {
    fs::File::open(directory)?.sync_all()
}
