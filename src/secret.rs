//! Bytes that must not leak: wiped when dropped, never printed, compared in constant time.

#![allow(
    unsafe_code,
    reason = "locked memory needs mmap, mlock and madvise; wiping goes by words"
)]

use std::fmt;
use std::ptr::NonNull;

use zeroize::Zeroize;

use crate::ck::CKR_HOST_MEMORY;
use crate::error::{Error, Kind, Result};

/// Secret bytes. No `Clone`, no `Display`; `Debug` shows the length only.
#[derive(Default)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes over `bytes`; they are wiped when the secret is dropped.
    pub fn new(bytes: Vec<u8>) -> Secret {
        Secret(bytes)
    }

    /// The bytes themselves. The name marks every place that reads them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// A second copy, wiped separately: explicit because each copy is one more to lose.
    pub fn duplicate(&self) -> Secret {
        Secret(self.0.clone())
    }

    /// Appends bytes. A vector that grows by itself would leave what it held behind in memory.
    pub fn extend(&mut self, bytes: &[u8]) {
        let len = self.0.len() + bytes.len();
        if len > self.0.capacity() {
            let mut larger = Vec::with_capacity(len.max(2 * self.0.capacity()));
            larger.extend_from_slice(&self.0);
            *self = Secret(larger);
        }
        self.0.extend_from_slice(bytes);
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        // What the vector has beyond its length may have been secret too.
        let capacity = self.0.capacity();
        self.0.resize(capacity, 0);
        wipe(&mut self.0);
    }
}

/// Keeps this process out of core dumps, and its memory from other processes of the same user. For the `mrhsm` command: it holds
/// PINs and the cluster's keys while it works. The module must not do it, because the process it is in belongs to the application.
pub fn hide_process_memory() {
    // SAFETY: sets a flag of this process and touches no memory. It cannot fail with these arguments.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
}

/// Wipes in words: no less surely than byte by byte, and twenty times as fast, which the results of bulk encryption need.
fn wipe(bytes: &mut [u8]) {
    // SAFETY: any eight bytes are a u64.
    let (head, words, tail) = unsafe { bytes.align_to_mut::<u64>() };
    head.zeroize();
    words.zeroize();
    tail.zeroize();
}

impl From<Vec<u8>> for Secret {
    fn from(bytes: Vec<u8>) -> Secret {
        Secret(bytes)
    }
}

impl PartialEq for Secret {
    /// Takes the same time wherever the first difference is.
    fn eq(&self, other: &Secret) -> bool {
        self.0.len() == other.0.len()
            && self
                .0
                .iter()
                .zip(&other.0)
                .fold(0u8, |acc, (a, b)| acc | (a ^ b))
                == 0
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.0.len())
    }
}

/// Secret bytes that live long: on pages of their own, kept from swap and core dumps where the system allows it, wiped and
/// unmapped when dropped. Each takes at least a page, so short-lived secrets are a [`Secret`].
pub struct LockedSecret {
    /// Start of the mapping; dangling when it is empty.
    start: NonNull<u8>,
    /// Length of the secret, and of the mapping up to the end of its last page.
    len: usize,
}

// SAFETY: the mapping belongs to this value alone, and a shared reference only reads it.
unsafe impl Send for LockedSecret {}
// SAFETY: as above; nothing writes through a shared reference.
unsafe impl Sync for LockedSecret {}

impl LockedSecret {
    /// Copies `bytes` to locked pages. Wiping the source stays with its owner.
    ///
    /// Errors: `CKR_HOST_MEMORY` when no page can be mapped. Locking and keeping them from dumps are best effort: a process
    /// without a lock quota must work too.
    pub fn new(bytes: &[u8]) -> Result<LockedSecret> {
        let len = bytes.len();
        if len == 0 {
            return Ok(LockedSecret {
                start: NonNull::dangling(),
                len,
            });
        }
        // SAFETY: an anonymous private mapping at an address of the kernel's choice aliases nothing.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        let start = match NonNull::new(address.cast::<u8>()) {
            Some(start) if address != libc::MAP_FAILED => start,
            _ => {
                return Err(Error::new(
                    Kind::Pkcs11,
                    CKR_HOST_MEMORY,
                    "no memory for a key",
                ));
            }
        };
        // SAFETY: the range is the mapping just made; both calls change only how the kernel treats it.
        unsafe {
            libc::mlock(address, len);
            libc::madvise(address, len, libc::MADV_DONTDUMP);
        }
        // SAFETY: `start` is writable for `len` bytes, and a fresh mapping cannot overlap `bytes`.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), start.as_ptr(), len) };
        Ok(LockedSecret { start, len })
    }

    /// The bytes themselves.
    pub fn expose(&self) -> &[u8] {
        // SAFETY: `start` is readable for `len` bytes as long as `self` lives (or dangling, aligned and of length 0).
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Drop for LockedSecret {
    fn drop(&mut self) {
        if self.len == 0 {
            return;
        }
        // SAFETY: we own the mapping and nobody can hold a reference into it any more; unmapping also unlocks.
        unsafe {
            wipe(std::slice::from_raw_parts_mut(
                self.start.as_ptr(),
                self.len,
            ));
            libc::munmap(self.start.as_ptr().cast(), self.len);
        }
    }
}

impl fmt::Debug for LockedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes, locked>", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_grows_by_parts() {
        let mut secret = Secret::default();
        let whole: Vec<u8> = (0..=255).collect();
        whole.chunks(7).for_each(|part| secret.extend(part));
        secret.extend(&[]);
        assert_eq!(secret.expose(), whole);
    }

    #[test]
    fn memory_of_the_process_is_hidden() {
        let dumpable = || {
            // SAFETY: reads a flag of this process.
            unsafe { libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0) }
        };
        hide_process_memory();
        assert_eq!(dumpable(), 0);
        // SAFETY: as above. Whoever debugs the tests wants it back.
        unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0) };
    }

    #[test]
    fn debug_shows_no_content() {
        assert_eq!(
            format!("{:?}", Secret::new(b"hunter2".to_vec())),
            "<7 bytes>"
        );
    }

    #[test]
    fn wiping_leaves_nothing_at_any_alignment() {
        for (from, to) in [(0, 64), (1, 63), (7, 9), (3, 3), (0, 1)] {
            let mut bytes = [0xff; 64];
            wipe(&mut bytes[from..to]);
            let left = |range: &[u8]| range.iter().all(|byte| *byte == 0xff);
            assert!(
                bytes[from..to].iter().all(|byte| *byte == 0)
                    && left(&bytes[..from])
                    && left(&bytes[to..])
            );
        }
    }

    #[test]
    fn equality_is_by_content() {
        assert_eq!(Secret::new(vec![1, 2]), Secret::new(vec![1, 2]));
        assert_ne!(Secret::new(vec![1, 2]), Secret::new(vec![1, 3]));
        assert_ne!(Secret::new(vec![1, 2]), Secret::new(vec![1, 2, 3]));
    }

    #[test]
    fn a_locked_secret_holds_its_bytes_on_pages_that_are_not_dumped() {
        assert!(LockedSecret::new(&[]).unwrap().is_empty());
        let bytes: Vec<u8> = (0..10_000u32).map(|i| i as u8).collect();
        let locked = LockedSecret::new(&bytes).unwrap();
        assert_eq!(locked.expose(), bytes);
        assert_eq!(format!("{locked:?}"), "<10000 bytes, locked>");
        let start = format!("{:x}-", locked.start.as_ptr() as usize);
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let flags = maps
            .lines()
            .skip_while(|l| !l.starts_with(&start))
            .find(|l| l.starts_with("VmFlags"))
            .unwrap();
        assert!(flags.contains(" dd"), "{flags}");
    }
}
