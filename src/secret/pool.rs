//! Locked memory for small secrets, many to a page: a process may lock little (`RLIMIT_MEMLOCK`), and each mapping counts too.
//!
//! The pages are kept from swap and core dumps where the system allows it. A forked child, which has no use for its parent's
//! secrets, finds them wiped.

use std::collections::{BTreeMap, BTreeSet};
use std::ptr::{NonNull, null_mut};

use crate::fork::OfProcess;

/// Size of the mapping that blocks of one size are taken from.
const CHUNK: usize = 16 << 10;
/// The smallest block and the largest; each size is twice the one before. Larger requests get a separate mapping.
const SMALLEST: usize = 32;
const LARGEST: usize = 4 << 10;
const SIZES: usize = (LARGEST / SMALLEST).ilog2() as usize + 1;

static POOL: OfProcess<Pool> = OfProcess::new(Pool::new(), Pool::new);

/// The chunks of each size of blocks.
struct Pool([Chunks; SIZES]);

impl Pool {
    const fn new() -> Pool {
        Pool([const { Chunks::new() }; SIZES])
    }
}

struct Chunks {
    /// The free blocks of each chunk, by the address of the chunk.
    free: BTreeMap<usize, BTreeSet<usize>>,
    /// The chunks that have free blocks.
    open: BTreeSet<usize>,
}

impl Chunks {
    const fn new() -> Chunks {
        Chunks {
            free: BTreeMap::new(),
            open: BTreeSet::new(),
        }
    }

    fn take(&mut self, size: usize) -> Option<usize> {
        let chunk = match self.open.first() {
            Some(chunk) => *chunk,
            None => {
                let chunk = map(CHUNK)?.as_ptr().expose_provenance();
                let blocks = (0..CHUNK / size)
                    .map(|block| chunk + block * size)
                    .collect();
                self.free.insert(chunk, blocks);
                self.open.insert(chunk);
                chunk
            }
        };
        let blocks = self.free.get_mut(&chunk)?;
        let block = blocks.pop_first()?;
        if blocks.is_empty() {
            self.open.remove(&chunk);
        }
        Some(block)
    }

    /// Takes a block back. One that is in no chunk was taken before a fork.
    fn give(&mut self, block: usize, size: usize) {
        let Some((&chunk, blocks)) = self
            .free
            .range_mut(..=block)
            .next_back()
            .filter(|(chunk, _)| block - **chunk < CHUNK)
        else {
            return;
        };
        blocks.insert(block);
        if blocks.len() == CHUNK / size && self.open.len() > 1 {
            self.free.remove(&chunk);
            self.open.remove(&chunk);
            // SAFETY: none of its blocks is in use.
            unsafe { libc::munmap(std::ptr::with_exposed_provenance_mut(chunk), CHUNK) };
        } else {
            self.open.insert(chunk);
        }
    }
}

/// Size of the blocks that `len` bytes fit in, and its place in the pool; `None` if it needs a separate mapping.
fn class(len: usize) -> Option<(usize, usize)> {
    let size = len.next_power_of_two().max(SMALLEST);
    (size <= LARGEST).then(|| ((size / SMALLEST).ilog2() as usize, size))
}

/// A locked block of zeros; `None` if there is no memory.
pub fn take(len: usize) -> Option<NonNull<u8>> {
    match class(len) {
        Some((class, size)) => {
            let block = POOL.lock().0[class].take(size)?;
            NonNull::new(std::ptr::with_exposed_provenance_mut(block))
        }
        None => map(len),
    }
}

/// Takes back a block of `len` bytes, which must be wiped.
///
/// # Safety
///
/// `take` returned the block for this length, and it is no longer in use.
pub unsafe fn give(block: NonNull<u8>, len: usize) {
    match class(len) {
        Some((class, size)) => POOL.lock().0[class].give(block.as_ptr().addr(), size),
        None => {
            // SAFETY: a separate mapping, which nothing else refers to.
            unsafe { libc::munmap(block.as_ptr().cast(), len) };
        }
    }
}

/// A mapping that is locked, not dumped and not inherited, as far as the system allows it.
fn map(len: usize) -> Option<NonNull<u8>> {
    // SAFETY: an anonymous private mapping at an address of the kernel's choice aliases nothing.
    let address = unsafe {
        libc::mmap(
            null_mut(),
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if address == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: the range is the mapping just made; the calls change only how the kernel treats it.
    unsafe {
        libc::mlock(address, len);
        libc::madvise(address, len, libc::MADV_DONTDUMP);
        libc::madvise(address, len, libc::MADV_WIPEONFORK);
    }
    NonNull::new(address.cast())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mappings() -> usize {
        std::fs::read_to_string("/proc/self/maps")
            .unwrap()
            .lines()
            .count()
    }

    #[test]
    fn thousands_of_secrets_need_few_mappings() {
        let before = mappings();
        let blocks: Vec<_> = (0..20_000).map(|_| take(32).unwrap()).collect();
        let distinct: BTreeSet<_> = blocks.iter().collect();
        assert_eq!(distinct.len(), blocks.len());
        assert!(mappings() < before + 100);
        for block in &blocks {
            // SAFETY: every block is 32 zeros, and all of them go back.
            unsafe {
                assert_eq!(block.cast::<[u8; 32]>().read(), [0; 32]);
                block.cast::<[u8; 32]>().write([7; 32]);
                block.cast::<[u8; 32]>().write([0; 32]);
                give(*block, 32);
            }
        }
        assert!(mappings() < before + 100);
    }

    #[test]
    fn every_length_has_its_block() {
        assert_eq!(class(1), Some((0, 32)));
        assert_eq!(class(33), Some((1, 64)));
        assert_eq!(class(4096), Some((7, 4096)));
        assert_eq!(class(4097), None);
        for len in [1, 32, 33, 1000, 4096, 4097, 100_000] {
            let block = take(len).unwrap();
            // SAFETY: the block has this length, and is wiped before it goes back.
            unsafe {
                block.write_bytes(0x5a, len);
                block.write_bytes(0, len);
                give(block, len);
            }
        }
    }
}
