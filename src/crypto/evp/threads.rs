//! AWS-LC's locks and thread-local values, replaced in the shared library by ones that survive a fork.
//!
//! AWS-LC locks with `pthread_rwlock_t`. A lock that another thread holds at the moment of a fork stays held in the child for
//! ever, and the generator takes several, one of them (its own fork detection) for writing in every child. Here a lock
//! remembers the fork generation it was last taken in, and one of an earlier generation is free: its holder is not in
//! this process. What AWS-LC protects with its global locks is consistent after each store (a list, generation numbers), and
//! objects with locks of their own are left to the parent (`process.rs`).
//!
//! `build.rs` has the linker replace AWS-LC's `crypto/thread_pthread.c` by these functions (`--wrap`), so that they act only where
//! the module is a guest in somebody else's process. `tests/ffi/exports.rs` checks that nothing of the original is left.

use std::ffi::{c_int, c_uint, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use crate::fork::Lock;

/// Library initialisation is guarded by a `std::sync::Once` that a fork would leave running: it is done while the library is
/// being loaded, when no other thread can be in it.
#[used]
#[unsafe(link_section = ".init_array")]
static INITIALIZE: extern "C" fn() = initialize;

extern "C" fn initialize() {
    aws_lc_rs::init();
}

const _: () = assert!(size_of::<Lock>() <= size_of::<libc::pthread_rwlock_t>());

extern "C" fn mutex_init(lock: &Lock) {
    lock.reset();
}

extern "C" fn mutex_lock_read(lock: &Lock) {
    lock.read();
}

extern "C" fn mutex_lock_write(lock: &Lock) {
    lock.write();
}

extern "C" fn mutex_unlock_read(lock: &Lock) {
    lock.end_read();
}

extern "C" fn mutex_unlock_write(lock: &Lock) {
    lock.end_write();
}

extern "C" fn mutex_cleanup(_: &Lock) {}

extern "C" fn mutex_is_write_locked(lock: &Lock) -> c_int {
    c_int::from(lock.is_write_locked())
}

type Destructor = unsafe extern "C" fn(*mut c_void);

/// At least AWS-LC's `NUM_OPENSSL_THREAD_LOCALS`, which is 8.
const LOCALS: usize = 32;
type Locals = [*mut c_void; LOCALS];

static DESTRUCTORS: [AtomicPtr<c_void>; LOCALS] = [const { AtomicPtr::new(null_mut()) }; LOCALS];

/// The key of the thread's [`Locals`]. `None` if the process has no keys left.
fn key() -> Option<libc::pthread_key_t> {
    /// The key plus one, or zero.
    static KEY: AtomicU32 = AtomicU32::new(0);
    let mut known = KEY.load(Ordering::Acquire);
    if known == 0 {
        let mut key = 0;
        // SAFETY: writes the new key to `key`; the destructor is for the values that `set_thread_local` stores.
        if unsafe { libc::pthread_key_create(&mut key, Some(end_of_thread)) } != 0 {
            return None;
        }
        known = match KEY.compare_exchange(0, key + 1, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => key + 1,
            Err(first) => {
                // SAFETY: the key was created just now and never used.
                unsafe { libc::pthread_key_delete(key) };
                first
            }
        };
    }
    Some(known - 1)
}

/// Destroys the values of the thread that ends.
unsafe extern "C" fn end_of_thread(locals: *mut c_void) {
    let locals = locals.cast::<Locals>();
    for (index, destructor) in DESTRUCTORS.iter().enumerate() {
        let destructor = destructor.load(Ordering::Acquire);
        if !destructor.is_null() {
            // SAFETY: `set_thread_local` stored a `Destructor`, and the values of this index are for it. It accepts NULL.
            unsafe { std::mem::transmute::<*mut c_void, Destructor>(destructor)((*locals)[index]) };
        }
    }
    // SAFETY: allocated by `set_thread_local`, for this thread alone.
    unsafe { libc::free(locals.cast()) };
}

/// The thread's values; NULL if it has none.
fn locals() -> *mut Locals {
    let Some(key) = key() else {
        return null_mut();
    };
    // SAFETY: the key exists.
    unsafe { libc::pthread_getspecific(key) }.cast()
}

extern "C" fn get_thread_local(index: c_uint) -> *mut c_void {
    let locals = locals();
    if locals.is_null() || index as usize >= LOCALS {
        return null_mut();
    }
    // SAFETY: the thread's own array, and the index is in it.
    unsafe { (*locals)[index as usize] }
}

/// Stores a value. Returns 0 and destroys the value if that is not possible.
unsafe extern "C" fn set_thread_local(
    index: c_uint,
    value: *mut c_void,
    destructor: Destructor,
) -> c_int {
    let stored = (|| {
        let slot = DESTRUCTORS.get(index as usize)?;
        let key = key()?;
        let mut own = locals();
        if own.is_null() {
            // SAFETY: zeros are an array of NULLs, which belongs to this thread from here on.
            own = unsafe { libc::calloc(1, size_of::<Locals>()) }.cast();
            if own.is_null() {
                return None;
            }
            // SAFETY: the key exists.
            if unsafe { libc::pthread_setspecific(key, own.cast()) } != 0 {
                // SAFETY: allocated above.
                unsafe { libc::free(own.cast()) };
                return None;
            }
        }
        slot.store(destructor as *mut c_void, Ordering::Release);
        // SAFETY: the thread's own array, and the index is in it.
        unsafe { (*own)[index as usize] = value };
        Some(())
    })();
    if stored.is_none() {
        // SAFETY: AWS-LC's contract: the destructor is for this value.
        unsafe { destructor(value) };
    }
    c_int::from(stored.is_some())
}

// build.rs has the same list, with AWS-LC's names.
hidden! {
    "mrhsm_mutex_init" => mutex_init,
    "mrhsm_mutex_lock_read" => mutex_lock_read,
    "mrhsm_mutex_lock_write" => mutex_lock_write,
    "mrhsm_mutex_unlock_read" => mutex_unlock_read,
    "mrhsm_mutex_unlock_write" => mutex_unlock_write,
    "mrhsm_mutex_cleanup" => mutex_cleanup,
    "mrhsm_mutex_is_write_locked" => mutex_is_write_locked,
    "mrhsm_get_thread_local" => get_thread_local,
    "mrhsm_set_thread_local" => set_thread_local,
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn values_of_a_thread_are_destroyed_when_it_ends() {
        static DESTROYED: AtomicU32 = AtomicU32::new(0);
        unsafe extern "C" fn destroy(value: *mut c_void) {
            DESTROYED.fetch_add(value.addr() as u32, Ordering::Relaxed);
        }
        let value = |n: usize| std::ptr::without_provenance_mut::<c_void>(n);
        thread::spawn(move || {
            assert!(get_thread_local(30).is_null());
            // SAFETY: the values are numbers, and so the destructor takes them.
            unsafe {
                assert_eq!(set_thread_local(30, value(7), destroy), 1);
                assert_eq!(set_thread_local(LOCALS as u32, value(100), destroy), 0);
            }
            assert_eq!(get_thread_local(30), value(7));
        })
        .join()
        .unwrap();
        assert_eq!(DESTROYED.load(Ordering::Relaxed), 107);
    }
}
