//! What SQLite takes of the host process: no mutex that a fork could leave locked, no descriptor below 3, few system calls.
//!
//! One lock, which is free in a forked child, stands around every call of SQLite, so SQLite's own mutexes do nothing.
#![allow(unsafe_code, reason = "SQLite is configured through its C interface")]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering};

use libc::{off_t, size_t, ssize_t};
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
static GATHERED: OfProcess<Option<Gathered>> = OfProcess::new(None, || None);

/// The most that is gathered, in bytes.
const MOST_GATHERED: usize = 256 << 10;

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
    // VFS is SQLite's own, and its system calls have the signatures of those of the C library.
    unsafe {
        ffi::sqlite3_config(ffi::SQLITE_CONFIG_MUTEX, &raw const MUTEXES);
        ffi::sqlite3_config(ffi::SQLITE_CONFIG_MEMSTATUS, 0 as c_int);
        ffi::sqlite3_initialize();
        type SystemCall = unsafe extern "C" fn();
        type Open = unsafe extern "C" fn(*const c_char, c_int, c_int) -> c_int;
        type Read = unsafe extern "C" fn(c_int, *mut c_void, size_t, off_t) -> ssize_t;
        type Write = unsafe extern "C" fn(c_int, *const c_void, size_t, off_t) -> ssize_t;
        let vfs = ffi::sqlite3_vfs_find(c"unix-none".as_ptr());
        if let Some(set) = vfs.as_ref().and_then(|vfs| vfs.xSetSystemCall) {
            let set = |name: &CStr, call: SystemCall| set(vfs, name.as_ptr(), Some(call));
            set(c"open", std::mem::transmute::<Open, SystemCall>(open));
            set(c"pread", std::mem::transmute::<Read, SystemCall>(read));
            set(c"pwrite", std::mem::transmute::<Write, SystemCall>(write));
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

/// What is to be written to one file, from one offset on.
#[derive(Default)]
struct Gathered {
    descriptor: c_int,
    offset: off_t,
    bytes: Vec<u8>,
    /// The end of what was written, wherever that began.
    end: off_t,
}

impl Gathered {
    /// Writes it.
    fn flush(&mut self) -> io::Result<()> {
        let mut rest = self.bytes.as_slice();
        let mut offset = self.offset;
        while !rest.is_empty() {
            // SAFETY: `rest` is that long.
            let n =
                unsafe { libc::pwrite(self.descriptor, rest.as_ptr().cast(), rest.len(), offset) };
            match usize::try_from(n) {
                Ok(0) => return Err(io::Error::from_raw_os_error(libc::ENOSPC)),
                Ok(n) => {
                    rest = &rest[n..];
                    offset += n as off_t;
                }
                Err(_) => match io::Error::last_os_error() {
                    e if e.kind() == io::ErrorKind::Interrupted => {}
                    e => return Err(e),
                },
            }
        }
        self.offset = offset;
        self.bytes.clear();
        Ok(())
    }
}

/// Writes are gathered, until this is dropped: SQLite appends to the WAL page by page.
pub struct Gathering(());

/// Begins to gather writes. The caller has called [`enter`].
pub fn gather() -> Gathering {
    *GATHERED.lock() = Some(Gathered::default());
    Gathering(())
}

impl Gathering {
    /// Writes what was gathered. Returns the highest offset that was written to.
    pub fn finish(self) -> io::Result<u64> {
        let mut gathered = GATHERED.lock();
        let gathered = gathered.as_mut().expect("it was set when this began");
        gathered.flush()?;
        Ok(gathered.end.cast_unsigned())
    }
}

impl Drop for Gathering {
    fn drop(&mut self) {
        *GATHERED.lock() = None;
    }
}

fn fail(error: &io::Error) -> ssize_t {
    // SAFETY: the C library's errno is this thread's own.
    unsafe { *libc::__errno_location() = error.raw_os_error().unwrap_or(libc::EIO) };
    -1
}

unsafe extern "C" fn write(
    descriptor: c_int,
    bytes: *const c_void,
    length: size_t,
    offset: off_t,
) -> ssize_t {
    let mut gathered = GATHERED.lock();
    let Some(gathered) = gathered.as_mut() else {
        // SAFETY: as SQLite calls it.
        return unsafe { libc::pwrite(descriptor, bytes, length, offset) };
    };
    let follows = descriptor == gathered.descriptor
        && offset == gathered.offset + gathered.bytes.len() as off_t
        && gathered.bytes.len() < MOST_GATHERED;
    if !follows {
        if let Err(e) = gathered.flush() {
            return fail(&e);
        }
        (gathered.descriptor, gathered.offset) = (descriptor, offset);
    }
    // SAFETY: SQLite passes bytes of that length.
    let new = unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), length) };
    gathered.bytes.extend_from_slice(new);
    gathered.end = gathered.end.max(offset + length as off_t);
    // The header of the WAL is synchronized before anything follows it.
    if offset == 0
        && let Err(e) = gathered.flush()
    {
        return fail(&e);
    }
    length as ssize_t
}

unsafe extern "C" fn read(
    descriptor: c_int,
    bytes: *mut c_void,
    length: size_t,
    offset: off_t,
) -> ssize_t {
    if let Some(gathered) = GATHERED.lock().as_mut()
        && let Err(e) = gathered.flush()
    {
        return fail(&e);
    }
    // SAFETY: as SQLite calls it.
    unsafe { libc::pread(descriptor, bytes, length, offset) }
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
