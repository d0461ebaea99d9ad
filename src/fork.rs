//! The fork generation: tells a process from its parent without a system call and without a handler that runs at a fork.
//!
//! The number stands on a page that the kernel wipes in a forked child (`MADV_WIPEONFORK`, Linux 4.14). It is one for the first
//! process and grows from each parent to its child, whatever the process identifiers are: a child in a new PID namespace can
//! have its parent's. Where the kernel cannot wipe pages, the process identifier has to do.
//!
//! A child that shares its parent's memory (`vfork`, `clone` with `CLONE_VM`) is not told apart: it may only call `_exit` or
//! one of the `exec` functions, as POSIX demands.
#![allow(unsafe_code, reason = "mmap, madvise and futex")]

mod lock;

use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

pub use lock::{Guard, Lock, OfProcess};

/// The generation of this process. It differs from that of every ancestor.
pub fn generation() -> u32 {
    static PAGE: AtomicPtr<AtomicU32> = AtomicPtr::new(null_mut());
    /// The latest generation that this process or an ancestor has reserved.
    static LAST: AtomicU32 = AtomicU32::new(0);
    static BY_PROCESS: ByProcess = ByProcess(AtomicU64::new(0));

    let mut page = PAGE.load(Ordering::Acquire);
    if page.is_null() {
        let Some(new) = wiped_page() else {
            return BY_PROCESS.generation(std::process::id());
        };
        page = match PAGE.compare_exchange(
            null_mut(),
            new.as_ptr(),
            Ordering::AcqRel,
            Ordering::Acquire,
        ) {
            Ok(_) => new.as_ptr(),
            Err(first) => {
                // SAFETY: the page was mapped just now, and no other thread has seen its address.
                unsafe { libc::munmap(new.as_ptr().cast(), size_of::<AtomicU32>()) };
                first
            }
        };
    }
    // SAFETY: the page is never unmapped. It is aligned, and any four bytes are an `AtomicU32`.
    let current = unsafe { &*page };
    match current.load(Ordering::Acquire) {
        0 => {
            // Reserved first: a fork between the two steps skips a number and never uses one twice.
            let next = LAST.fetch_add(1, Ordering::AcqRel) + 1;
            match current.compare_exchange(0, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => next,
                Err(first) => first,
            }
        }
        generation => generation,
    }
}

/// A page of zeros that a child finds zeroed again. `None` if the kernel does not know how.
fn wiped_page() -> Option<NonNull<AtomicU32>> {
    let len = size_of::<AtomicU32>();
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
    // Some emulators accept any advice and do nothing: one that accepts -1 is not believed.
    // SAFETY: the range is the mapping just made, and the advice concerns forked children only.
    let wiped = unsafe {
        libc::madvise(address, len, -1) != 0
            && libc::madvise(address, len, libc::MADV_WIPEONFORK) == 0
    };
    if wiped {
        return NonNull::new(address.cast());
    }
    // SAFETY: the mapping just made, which nothing refers to.
    unsafe { libc::munmap(address, len) };
    None
}

/// Process identifier and generation, as one word.
struct ByProcess(AtomicU64);

impl ByProcess {
    fn generation(&self, process: u32) -> u32 {
        let mut seen = self.0.load(Ordering::Acquire);
        loop {
            let (owner, generation) = ((seen >> 32) as u32, seen as u32);
            if owner == process {
                return generation;
            }
            let next = u64::from(process) << 32 | u64::from(generation + 1);
            match self
                .0
                .compare_exchange(seen, next, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return generation + 1,
                Err(changed) => seen = changed,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `body` returns in a forked child.
    fn in_child(body: impl FnOnce() -> u32) -> u32 {
        let mut pipe = [0; 2];
        // SAFETY: `pipe` has room for two descriptors.
        assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
        let mut result = 0u32;
        let word = &raw mut result;
        // SAFETY: the child calls no more than the body, write and _exit; `word` points to four bytes.
        unsafe {
            let child = libc::fork();
            assert!(child >= 0);
            if child == 0 {
                word.write(body());
                libc::write(pipe[1], word.cast(), 4);
                libc::_exit(0);
            }
            assert_eq!(libc::read(pipe[0], word.cast(), 4), 4);
            assert_eq!(libc::waitpid(child, null_mut(), 0), child);
            assert_eq!(pipe.map(|end| libc::close(end)), [0, 0]);
        }
        result
    }

    #[test]
    fn each_generation_has_its_own_number() {
        let mine = generation();
        assert_ne!(mine, 0);
        let (child, grandchild) = (
            in_child(generation),
            in_child(|| {
                let child = generation();
                let grandchild = in_child(generation);
                assert_eq!(child, generation());
                grandchild
            }),
        );
        assert!(
            mine < child && child < grandchild,
            "{mine} {child} {grandchild}"
        );
        assert_eq!(generation(), mine);
    }

    #[test]
    fn the_number_does_not_depend_on_who_asks_first_after_a_fork() {
        generation();
        let last = in_child(|| in_child(|| in_child(generation)));
        assert!(last > generation(), "none of the processes between asked");
    }

    #[test]
    fn the_kernel_wipes_the_page() {
        let page = wiped_page().expect("Linux 4.14");
        // SAFETY: the page is mapped and aligned.
        let page = unsafe { page.as_ref() };
        page.store(7, Ordering::Relaxed);
        assert_eq!(in_child(|| page.load(Ordering::Relaxed) + 1), 1);
        assert_eq!(page.load(Ordering::Relaxed), 7);
    }

    #[test]
    fn without_such_a_page_the_process_identifier_counts() {
        let by_process = ByProcess(AtomicU64::new(0));
        assert_eq!(by_process.generation(100), 1);
        assert_eq!(by_process.generation(100), 1);
        assert_eq!(by_process.generation(101), 2);
        assert_eq!(by_process.generation(101), 2);
        assert_eq!(by_process.generation(100), 3, "an identifier used again");
    }
}
