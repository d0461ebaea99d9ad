//! Address space that is given up when memory is short.
//!
//! Rust aborts the process when a small allocation fails, and the process belongs to the
//! application. So the allocator returns this reserve to the system and tries again; the call that
//! is under way ends, and the next one is refused with `CKR_HOST_MEMORY` until there is a reserve
//! again. Allocations of a size that a caller decides are checked beforehand ([`admit`]).

use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use crate::ck::CKR_HOST_MEMORY;
use crate::error::{Error, Kind, Result};

/// Length of the reserve in bytes: what a call allocates in small pieces is less.
const LEN: usize = 8 << 20;
/// Inputs shorter than this, in bytes, are not checked: the reserve suffices for them.
const SMALL: usize = 64 << 10;

static RESERVE: AtomicPtr<libc::c_void> = AtomicPtr::new(null_mut());
static RELEASED: AtomicBool = AtomicBool::new(false);

/// Maps the reserve unless there is one. It is never written to, so it takes no memory.
pub fn hold() -> Result<()> {
    if RESERVE.load(Ordering::Relaxed).is_null() {
        let new = map(LEN).ok_or_else(no_memory)?;
        let first = RESERVE.compare_exchange(null_mut(), new, Ordering::AcqRel, Ordering::Relaxed);
        if first.is_err() {
            unmap(new, LEN);
        }
    }
    RELEASED.store(false, Ordering::Release);
    Ok(())
}

/// Maps the reserve again if it was released.
///
/// # Errors
/// `CKR_HOST_MEMORY` if memory is still short.
pub fn renew() -> Result<()> {
    if RELEASED.load(Ordering::Relaxed) {
        hold()
    } else {
        Ok(())
    }
}

/// Returns the reserve to the system. True if there was one.
pub(super) fn release() -> bool {
    let held = RESERVE.swap(null_mut(), Ordering::AcqRel);
    if held.is_null() {
        return false;
    }
    RELEASED.store(true, Ordering::Release);
    unmap(held, LEN);
    true
}

/// Returns the reserve to the system at `C_Finalize`.
pub fn end() {
    release();
    RELEASED.store(false, Ordering::Release);
}

/// Checks that `copies` blocks of `len` bytes, a length from the caller, can be allocated now.
///
/// # Errors
/// `CKR_HOST_MEMORY`
pub fn admit(len: usize, copies: usize) -> Result<()> {
    if len < SMALL {
        return Ok(());
    }
    let all = len.checked_mul(copies).ok_or_else(no_memory)?;
    unmap(map(all).ok_or_else(no_memory)?, all);
    Ok(())
}

/// Empty vector with room for `len` bytes, a length from the caller.
///
/// # Errors
/// `CKR_HOST_MEMORY`
pub fn room(len: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(|_| no_memory())?;
    Ok(bytes)
}

/// Copy of `bytes`, whose length is from the caller.
///
/// # Errors
/// `CKR_HOST_MEMORY`
pub fn copy(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut copy = room(bytes.len())?;
    copy.extend_from_slice(bytes);
    Ok(copy)
}

fn no_memory() -> Error {
    Error::new(Kind::Pkcs11, CKR_HOST_MEMORY, "memory is short")
}

fn map(len: usize) -> Option<*mut libc::c_void> {
    let (access, flags) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
    );
    // SAFETY: a new anonymous mapping, at an address that the kernel chooses.
    let at = unsafe { libc::mmap(null_mut(), len, access, flags, -1, 0) };
    (at != libc::MAP_FAILED).then_some(at)
}

fn unmap(at: *mut libc::c_void, len: usize) {
    // SAFETY: the mapping came from `map` with this length, and nothing refers to it.
    unsafe { libc::munmap(at, len) };
}
