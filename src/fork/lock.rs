//! A lock that is free in a forked child, whatever the threads of the parent held.

use std::cell::UnsafeCell;
use std::ffi::c_int;
use std::ops::{Deref, DerefMut};
use std::ptr::null;
use std::sync::atomic::{AtomicU32, Ordering};

use super::generation;

/// A writer holds the lock. Other states count the readers.
const WRITER: u32 = 1 << 30;
/// Threads wait for the lock.
const WAITERS: u32 = 1 << 31;
/// How often a thread looks again before it waits: the sections are short.
const SPINS: u32 = 100;

/// A read-write lock without a value. Zeros are a free lock.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Lock {
    /// Twice the fork generation that the state belongs to, plus one while a thread resets it.
    owner: AtomicU32,
    state: AtomicU32,
}

impl Lock {
    /// A free lock.
    pub const fn new() -> Lock {
        Lock {
            owner: AtomicU32::new(0),
            state: AtomicU32::new(0),
        }
    }

    /// Makes it free, as a new one.
    pub fn reset(&self) {
        self.owner.store(0, Ordering::Relaxed);
        self.state.store(0, Ordering::Relaxed);
    }

    /// The state, free if it is from before a fork.
    fn state(&self) -> &AtomicU32 {
        let ours = generation() << 1;
        loop {
            match self.owner.load(Ordering::Acquire) {
                owner if owner == ours => return &self.state,
                owner if owner == ours | 1 => std::hint::spin_loop(),
                before => {
                    let reset = self.owner.compare_exchange(
                        before,
                        ours | 1,
                        Ordering::AcqRel,
                        Ordering::Relaxed,
                    );
                    if reset.is_ok() {
                        self.state.store(0, Ordering::Relaxed);
                        self.owner.store(ours, Ordering::Release);
                    }
                }
            }
        }
    }

    /// Takes the lock as soon as `next` has a state to follow the present one.
    fn take(&self, next: impl Fn(u32) -> Option<u32>) {
        let state = self.state();
        let mut spins = 0;
        loop {
            let seen = state.load(Ordering::Relaxed);
            if let Some(next) = next(seen) {
                let taken =
                    state.compare_exchange_weak(seen, next, Ordering::Acquire, Ordering::Relaxed);
                if taken.is_ok() {
                    return;
                }
            } else if spins < SPINS {
                spins += 1;
                std::hint::spin_loop();
            } else if seen & WAITERS != 0
                || state
                    .compare_exchange(seen, seen | WAITERS, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok()
            {
                futex(state, libc::FUTEX_WAIT, seen | WAITERS);
            }
        }
    }

    /// Takes the lock together with other readers.
    pub fn read(&self) {
        self.take(|seen| (seen & WRITER == 0).then_some(seen + 1));
    }

    /// Takes the lock alone.
    pub fn write(&self) {
        self.take(|seen| (seen & !WAITERS == 0).then_some(seen | WRITER));
    }

    /// Gives back what `read` took.
    pub fn end_read(&self) {
        let before = self.state.fetch_sub(1, Ordering::Release);
        if before == WAITERS | 1 && self.state.fetch_and(!WAITERS, Ordering::Relaxed) & WAITERS != 0
        {
            self.wake();
        }
    }

    /// Gives back what `write` took.
    pub fn end_write(&self) {
        if self.state.swap(0, Ordering::Release) & WAITERS != 0 {
            self.wake();
        }
    }

    /// A writer holds it.
    pub fn is_write_locked(&self) -> bool {
        self.state().load(Ordering::Relaxed) & WRITER != 0
    }

    fn wake(&self) {
        futex(&self.state, libc::FUTEX_WAKE, i32::MAX as u32);
    }
}

fn futex(word: &AtomicU32, operation: c_int, value: u32) {
    // SAFETY: waits while the word has this value, or wakes those who wait; no timeout. Spurious returns are expected, and the
    // thread's errno is the host's.
    unsafe {
        let errno = *libc::__errno_location();
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            operation | libc::FUTEX_PRIVATE_FLAG,
            value,
            null::<libc::timespec>(),
        );
        *libc::__errno_location() = errno;
    }
}

/// A value of one process: a forked child begins with a new one, and what its parent had stays where it is.
pub struct OfProcess<T> {
    lock: Lock,
    value: UnsafeCell<(u32, T)>,
    new: fn() -> T,
}

// SAFETY: the value is reached through the lock alone, by one thread at a time.
unsafe impl<T: Send> Sync for OfProcess<T> {}

impl<T> OfProcess<T> {
    /// Begins with `first`, and in each child with what `new` makes.
    pub const fn new(first: T, new: fn() -> T) -> OfProcess<T> {
        OfProcess {
            lock: Lock::new(),
            value: UnsafeCell::new((0, first)),
            new,
        }
    }

    /// Waits until no other thread has the value.
    pub fn lock(&self) -> Guard<'_, T> {
        self.lock.write();
        // SAFETY: this thread holds the lock.
        let (generation, value) = unsafe { &mut *self.value.get() };
        let now = super::generation();
        if *generation != now {
            if *generation != 0 {
                // A thread of the parent may have been changing the value: it is neither read nor dropped.
                // SAFETY: `value` is valid for writes, and this thread holds the lock.
                unsafe { std::ptr::write(value, (self.new)()) };
            }
            *generation = now;
        }
        Guard(self)
    }
}

/// The value, locked.
pub struct Guard<'a, T>(&'a OfProcess<T>);

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: this thread holds the lock as long as the guard lives.
        unsafe { &(*self.0.value.get()).1 }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and the guard is borrowed alone.
        unsafe { &mut (*self.0.value.get()).1 }
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        self.0.lock.end_write();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::thread;

    use super::*;

    #[test]
    fn writers_exclude_each_other_and_readers() {
        let (lock, values) = (Lock::new(), [AtomicU64::new(0), AtomicU64::new(0)]);
        thread::scope(|scope| {
            for thread in 0..8 {
                let (lock, values) = (&lock, &values);
                scope.spawn(move || {
                    for _ in 0..20_000 {
                        if thread % 2 == 0 {
                            lock.write();
                            for value in values {
                                value.store(value.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                            }
                            lock.end_write();
                        } else {
                            lock.read();
                            let [a, b] =
                                [&values[0], &values[1]].map(|value| value.load(Ordering::Relaxed));
                            lock.end_read();
                            assert_eq!(a, b);
                        }
                    }
                });
            }
        });
        assert_eq!(values[0].load(Ordering::Relaxed), 4 * 20_000);
        assert_eq!(lock.state.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_lock_of_an_earlier_generation_is_free() {
        let lock = Lock::new();
        lock.write();
        assert!(lock.is_write_locked());
        lock.owner.fetch_sub(2, Ordering::Relaxed);
        lock.read();
        lock.read();
        assert!(!lock.is_write_locked());
        lock.end_read();
        lock.end_read();
        // Also one that was being reset.
        lock.owner.fetch_sub(1, Ordering::Relaxed);
        lock.write();
        lock.end_write();
    }

    #[test]
    fn a_value_begins_anew_in_a_child() {
        let value = OfProcess::new(1, || 10);
        *value.lock() += 1;
        assert_eq!(*value.lock(), 2);
        // What a child sees: another generation.
        // SAFETY: this thread has exclusive access to the value.
        unsafe { (*value.value.get()).0 += 1 };
        assert_eq!(*value.lock(), 10);
    }
}
