//! Bytes that must not leak: wiped when dropped, never printed, compared in constant time.

#![allow(
    unsafe_code,
    reason = "an allocator; locked memory needs mmap, mlock and madvise; wiping goes by words"
)]

mod pool;
pub mod reserve;
mod wiping;

use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

use zeroize::Zeroize;

use crate::ck::CKR_HOST_MEMORY;
use crate::error::{Error, Kind, Result};

/// Secret bytes. No `Clone`, no `Display`; `Debug` shows the length only.
#[derive(Default)]
pub struct Secret(Bytes);

enum Bytes {
    /// On the heap, which is wiped when it is freed.
    Heap(Vec<u8>),
    /// In locked memory.
    Locked(Arc<LockedSecret>),
}

impl Default for Bytes {
    fn default() -> Bytes {
        Bytes::Heap(Vec::new())
    }
}

impl Secret {
    /// Takes over `bytes`; they are wiped when the secret is dropped.
    pub fn new(bytes: Vec<u8>) -> Secret {
        Secret(Bytes::Heap(bytes))
    }

    /// The bytes themselves. The name marks every place that reads them.
    pub fn expose(&self) -> &[u8] {
        match &self.0 {
            Bytes::Heap(bytes) => bytes,
            Bytes::Locked(locked) => locked.expose(),
        }
    }

    /// A second copy, wiped separately: explicit because each copy is one more to lose. Locked memory is shared.
    pub fn duplicate(&self) -> Secret {
        Secret(match &self.0 {
            Bytes::Heap(bytes) => Bytes::Heap(bytes.clone()),
            Bytes::Locked(locked) => Bytes::Locked(locked.clone()),
        })
    }

    /// Moves it to locked memory, where it stays until it is dropped. `CKR_HOST_MEMORY` if there is none.
    pub fn locked(self) -> Result<Secret> {
        match &self.0 {
            Bytes::Heap(bytes) => Ok(Secret::from(Arc::new(LockedSecret::new(bytes)?))),
            Bytes::Locked(_) => Ok(self),
        }
    }

    /// Appends bytes. A vector that grows by itself would leave what it held behind in memory.
    ///
    /// # Errors
    /// `CKR_HOST_MEMORY`
    pub fn extend(&mut self, bytes: &[u8]) -> Result<()> {
        let len = self.len() + bytes.len();
        match &mut self.0 {
            Bytes::Heap(own) if len <= own.capacity() => own.extend_from_slice(bytes),
            _ => {
                let mut larger = reserve::room(len.max(2 * self.len()))?;
                larger.extend_from_slice(self.expose());
                larger.extend_from_slice(bytes);
                *self = Secret::new(larger);
            }
        }
        Ok(())
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.expose().len()
    }

    /// True when there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        if let Bytes::Heap(bytes) = &mut self.0 {
            // What the vector has beyond its length may have been secret too.
            bytes.resize(bytes.capacity(), 0);
            wipe(bytes);
        }
    }
}

impl From<Arc<LockedSecret>> for Secret {
    fn from(locked: Arc<LockedSecret>) -> Secret {
        Secret(Bytes::Locked(locked))
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
        Secret::new(bytes)
    }
}

impl PartialEq for Secret {
    /// Takes the same time wherever the first difference is.
    fn eq(&self, other: &Secret) -> bool {
        let (ours, theirs) = (self.expose(), other.expose());
        ours.len() == theirs.len()
            && ours
                .iter()
                .zip(theirs)
                .fold(0u8, |acc, (a, b)| acc | (a ^ b))
                == 0
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.len())
    }
}

/// Secret bytes that live long: in memory that is kept from swap and core dumps where the system allows it, and wiped when dropped.
pub struct LockedSecret {
    /// Start of the block; dangling when it is empty.
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the block belongs to this value alone, and a shared reference only reads it.
unsafe impl Send for LockedSecret {}
// SAFETY: as above; nothing writes through a shared reference.
unsafe impl Sync for LockedSecret {}

impl LockedSecret {
    /// Copies `bytes` to locked memory. Wiping the source stays with its owner.
    ///
    /// Errors: `CKR_HOST_MEMORY` when there is no memory. Locking it and keeping it from dumps are best effort: a process
    /// without a lock quota must work too.
    pub fn new(bytes: &[u8]) -> Result<LockedSecret> {
        let len = bytes.len();
        if len == 0 {
            return Ok(LockedSecret {
                start: NonNull::dangling(),
                len,
            });
        }
        let start = pool::take(len)
            .ok_or_else(|| Error::new(Kind::Pkcs11, CKR_HOST_MEMORY, "no memory for a key"))?;
        // SAFETY: `start` is writable for `len` bytes, and a new block cannot overlap `bytes`.
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
        // SAFETY: we own the block, and no reference into it is left.
        unsafe {
            wipe(std::slice::from_raw_parts_mut(
                self.start.as_ptr(),
                self.len,
            ));
            pool::give(self.start, self.len);
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
        whole
            .chunks(7)
            .for_each(|part| secret.extend(part).unwrap());
        secret.extend(&[]).unwrap();
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
        let address = locked.start.as_ptr().addr();
        let holds = |line: &str| {
            let range = line
                .split(' ')
                .next()
                .and_then(|range| range.split_once('-'));
            range.is_some_and(|(start, end)| {
                let number = |text| usize::from_str_radix(text, 16);
                number(start).is_ok_and(|start| start <= address)
                    && number(end).is_ok_and(|end| address < end)
            })
        };
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let flags = maps
            .lines()
            .skip_while(|line| !holds(line))
            .find(|l| l.starts_with("VmFlags"))
            .unwrap();
        // Not dumped, and wiped in a child.
        assert!(flags.contains(" dd") && flags.contains(" wf"), "{flags}");
    }
}
