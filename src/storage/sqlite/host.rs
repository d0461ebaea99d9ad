//! What SQLite takes of the host process: no mutex that a fork could leave locked, no descriptor below 3.
//!
//! One lock, which is free in a forked child, stands around every call of SQLite, so SQLite's own mutexes do nothing.
#![allow(unsafe_code, reason = "SQLite is configured through its C interface")]

use std::ffi::{c_char, c_int};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::ffi;

use crate::fork::{Guard, OfProcess};

/// A file that SQLite opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    descriptor: c_int,
    identity: (u64, u64),
}

static CALLS: OfProcess<()> = OfProcess::new((), || ());
static OPENED: OfProcess<Vec<Opened>> = OfProcess::new(Vec::new(), Vec::new);

/// Takes the lock that is held during each call of SQLite.
pub fn enter() -> Guard<'static, ()> {
    static IS_CONFIGURED: AtomicBool = AtomicBool::new(false);
    let guard = CALLS.lock();
    if !IS_CONFIGURED.load(Ordering::Acquire) {
        configure();
        IS_CONFIGURED.store(true, Ordering::Release);
    }
    guard
}

fn configure() {
    // SAFETY: nothing of SQLite was called before, as its documentation of sqlite3_config demands; the methods are static. The
    // VFS is SQLite's own, and its system call "open" has the signature of `open`.
    unsafe {
        ffi::sqlite3_config(ffi::SQLITE_CONFIG_MUTEX, &raw const MUTEXES);
        ffi::sqlite3_config(ffi::SQLITE_CONFIG_MEMSTATUS, 0 as c_int);
        ffi::sqlite3_initialize();
        let vfs = ffi::sqlite3_vfs_find(c"unix-none".as_ptr());
        if let Some(set) = vfs.as_ref().and_then(|vfs| vfs.xSetSystemCall) {
            type SystemCall = unsafe extern "C" fn();
            type Open = unsafe extern "C" fn(*const c_char, c_int, c_int) -> c_int;
            let open = std::mem::transmute::<Open, SystemCall>(open);
            set(vfs, c"open".as_ptr(), Some(open));
        }
    }
}

/// The files that SQLite has opened since the last call.
pub fn take_opened() -> Vec<Opened> {
    std::mem::take(&mut OPENED.lock())
}

fn identity_of(descriptor: c_int) -> Option<(u64, u64)> {
    let mut about = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: `about` has room for what fstat writes; any number may be asked for.
    unsafe {
        (libc::fstat(descriptor, about.as_mut_ptr()) == 0).then(|| {
            let about = about.assume_init();
            (about.st_dev, about.st_ino)
        })
    }
}

impl Opened {
    /// Whether the descriptor still is this file's: a daemon may have closed it and opened another.
    pub fn is_ours(&self) -> bool {
        identity_of(self.descriptor) == Some(self.identity)
    }
}

unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: c_int) -> c_int {
    // SAFETY: SQLite passes a path that ends with a zero.
    unsafe {
        let mut descriptor = libc::open(path, flags | libc::O_CLOEXEC | libc::O_NOFOLLOW, mode);
        if (0..3).contains(&descriptor) {
            let low = descriptor;
            descriptor = libc::fcntl(low, libc::F_DUPFD_CLOEXEC, 3);
            libc::close(low);
        }
        if let Some(identity) = identity_of(descriptor) {
            let mut opened = OPENED.lock();
            // A number that is given again belongs to a file that is closed.
            opened.retain(|file| file.descriptor != descriptor);
            opened.push(Opened {
                descriptor,
                identity,
            });
        }
        descriptor
    }
}

static MUTEXES: ffi::sqlite3_mutex_methods = ffi::sqlite3_mutex_methods {
    xMutexInit: Some(succeed),
    xMutexEnd: Some(succeed),
    xMutexAlloc: Some(allocate),
    xMutexFree: Some(nothing),
    xMutexEnter: Some(nothing),
    xMutexTry: Some(try_enter),
    xMutexLeave: Some(nothing),
    xMutexHeld: None,
    xMutexNotheld: None,
};

unsafe extern "C" fn succeed() -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn allocate(_kind: c_int) -> *mut ffi::sqlite3_mutex {
    // Never dereferenced: SQLite and rusqlite only want it not to be NULL.
    std::ptr::without_provenance_mut(align_of::<usize>() * 2)
}

unsafe extern "C" fn nothing(_mutex: *mut ffi::sqlite3_mutex) {}

unsafe extern "C" fn try_enter(_mutex: *mut ffi::sqlite3_mutex) -> c_int {
    ffi::SQLITE_OK
}

/// Has a descriptor refer to another file, as a host does that closes all it knows and opens its own.
#[cfg(test)]
pub fn take_over(descriptor: c_int, file: &std::fs::File) {
    use std::os::fd::AsRawFd;
    // SAFETY: both descriptors are open. Whether the module still relies on the old file is what the test looks for.
    let taken = unsafe { libc::dup2(file.as_raw_fd(), descriptor) };
    assert_eq!(taken, descriptor);
}
