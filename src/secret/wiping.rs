//! The allocator of the module and the command: memory is wiped when it is freed.
//!
//! Libraries hold secrets too and do not wipe them, rustls the plaintext of what it received. The memory of a process is reused, read
//! by debuggers and written to core dumps and swap, so nothing goes back as it was.

use std::alloc::{GlobalAlloc, Layout, System};

use super::reserve;

/// The system's allocator, and each block is wiped before it goes back.
struct Wiping;

#[global_allocator]
static ALLOCATOR: Wiping = Wiping;

// SAFETY: every block comes from the system's allocator and goes back to it with the layout it was made with.
unsafe impl GlobalAlloc for Wiping {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract is the system allocator's.
        or_again(|| unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        or_again(|| unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block has the size of its layout and is no longer in use. Unlike other writes to memory that is about
        // to be freed, explicit_bzero's stay.
        unsafe {
            libc::explicit_bzero(block.cast(), layout.size());
            System.dealloc(block, layout);
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // The system's realloc would move the block and leave the old one as it was.
        // SAFETY: the caller promises that the size fits; both blocks are valid for what is copied, and are two.
        unsafe {
            let new = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !new.is_null() {
                new.copy_from_nonoverlapping(block, layout.size().min(size));
                self.dealloc(block, layout);
            }
            new
        }
    }
}

/// The block, in the place of the reserve if there is no other memory.
fn or_again(block: impl Fn() -> *mut u8) -> *mut u8 {
    let first = block();
    if first.is_null() && reserve::release() {
        return block();
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is in memory that was freed. The first 32 bytes are the C library's to use.
    fn left(free: impl FnOnce(*mut u8)) -> usize {
        let layout = Layout::from_size_align(200, 8).unwrap();
        // SAFETY: the block is filled as far as it reaches. It is read after it was freed, as an attacker would: the C library keeps
        // small blocks mapped and in this thread's cache.
        unsafe {
            let block = ALLOCATOR.alloc(layout);
            block.write_bytes(0x5a, 200);
            free(block);
            (32..200)
                .filter(|at| block.add(*at).read_volatile() == 0x5a)
                .count()
        }
    }

    #[test]
    fn freed_memory_is_wiped() {
        let layout = Layout::from_size_align(200, 8).unwrap();
        // SAFETY: the block was allocated with this layout.
        let freed = left(|block| unsafe { ALLOCATOR.dealloc(block, layout) });
        assert_eq!(freed, 0);
        let mut grown = std::ptr::null_mut();
        // SAFETY: as above.
        let moved = left(|block| unsafe { grown = ALLOCATOR.realloc(block, layout, 5000) });
        assert_eq!(moved, 0);
        // SAFETY: the block has 5000 bytes, of which 200 were copied.
        unsafe {
            assert!((0..200).all(|at| grown.add(at).read() == 0x5a));
            ALLOCATOR.dealloc(grown, Layout::from_size_align(5000, 8).unwrap());
        }
    }
}
