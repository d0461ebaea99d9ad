//! What the library allocates for keys: numbers, and DER in and out.

use std::ptr::{self, NonNull};

use aws_lc_sys as sys;

use super::{allocated, check};
use crate::ck;
use crate::error::{Error, Result};

/// A big number (`BIGNUM`), wiped when it is freed.
pub(super) struct Bn(NonNull<sys::BIGNUM>);

impl Bn {
    pub(super) fn new(big_endian: &[u8]) -> Result<Bn> {
        // SAFETY: pointer and length are one slice's; NULL asks for a new number, which we own from here on.
        Ok(Bn(allocated(unsafe {
            sys::BN_bin2bn(big_endian.as_ptr(), big_endian.len(), ptr::null_mut())
        })?))
    }

    pub(super) fn get(&self) -> *mut sys::BIGNUM {
        self.0.as_ptr()
    }

    /// The bytes of a number that C owns, without leading zeros; empty for NULL.
    pub(super) fn read(number: *const sys::BIGNUM) -> Vec<u8> {
        if number.is_null() {
            return Vec::new();
        }
        // SAFETY: a live number; the buffer is as long as the library says it needs.
        unsafe {
            let mut out = vec![0; sys::BN_num_bytes(number) as usize];
            sys::BN_bn2bin(number, out.as_mut_ptr());
            out
        }
    }

    /// The same, with leading zeros up to `len` bytes.
    pub(super) fn read_padded(number: *const sys::BIGNUM, len: usize) -> Result<Vec<u8>> {
        let mut out = vec![0; len];
        check(
            // SAFETY: the callers pass a live number; pointer and length are one slice's.
            unsafe { sys::BN_bn2bin_padded(out.as_mut_ptr(), len, number) },
            ck::CKR_FUNCTION_FAILED,
        )?;
        Ok(out)
    }
}

impl Drop for Bn {
    fn drop(&mut self) {
        // SAFETY: made by BN_bin2bn, freed once.
        unsafe { sys::BN_clear_free(self.0.as_ptr()) }
    }
}

/// Something C allocated, with the function that frees it.
pub(super) struct Owned<T>(NonNull<T>, unsafe extern "C" fn(*mut T));

impl<T> Owned<T> {
    pub(super) fn new(pointer: *mut T, free: unsafe extern "C" fn(*mut T)) -> Result<Owned<T>> {
        Ok(Owned(allocated(pointer)?, free))
    }

    pub(super) fn get(&self) -> *mut T {
        self.0.as_ptr()
    }

    /// The pointer itself; whoever takes it frees it.
    pub(super) fn into_inner(self) -> NonNull<T> {
        std::mem::ManuallyDrop::new(self).0
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: every `Owned` is made from what its function's partner allocated, and is dropped once.
        unsafe { (self.1)(self.0.as_ptr()) }
    }
}

/// What C writes as DER into a buffer of its own, copied and wiped.
pub(super) fn marshal(write: impl FnOnce(*mut sys::CBB) -> i32) -> Result<Vec<u8>> {
    let mut cbb = std::mem::MaybeUninit::<sys::CBB>::zeroed();
    let (mut data, mut len) = (ptr::null_mut(), 0);
    // SAFETY: CBB_init initialises the builder, CBB_finish or CBB_cleanup end it; the buffer that CBB_finish hands over is
    // read within its length and freed once.
    unsafe {
        check(sys::CBB_init(cbb.as_mut_ptr(), 256), ck::CKR_HOST_MEMORY)?;
        if write(cbb.as_mut_ptr()) != 1
            || sys::CBB_finish(cbb.as_mut_ptr(), &mut data, &mut len) != 1
        {
            sys::CBB_cleanup(cbb.as_mut_ptr());
            sys::ERR_clear_error();
            return Err(ck::CKR_KEY_TYPE_INCONSISTENT.into());
        }
        let out = std::slice::from_raw_parts(data, len).to_vec();
        sys::OPENSSL_clear_free(data.cast(), len);
        Ok(out)
    }
}

/// What C reads from all of `der`; `CKR_ATTRIBUTE_VALUE_INVALID` when it cannot or something follows.
pub(super) fn parse<T>(
    der: &[u8],
    read: impl FnOnce(*mut sys::CBS) -> *mut T,
    free: unsafe extern "C" fn(*mut T),
) -> Result<Owned<T>> {
    let mut cbs = std::mem::MaybeUninit::<sys::CBS>::zeroed();
    // SAFETY: CBS_init initialises the reader over the slice, which outlives it.
    let (value, rest) = unsafe {
        sys::CBS_init(cbs.as_mut_ptr(), der.as_ptr(), der.len());
        let value = read(cbs.as_mut_ptr());
        (value, sys::CBS_len(cbs.as_ptr()))
    };
    let invalid = Error::from(ck::CKR_ATTRIBUTE_VALUE_INVALID);
    match Owned::new(value, free) {
        Ok(value) if rest == 0 => Ok(value),
        Ok(_) => Err(invalid),
        Err(_) => {
            // SAFETY: no arguments; touches only this thread's error queue.
            unsafe { sys::ERR_clear_error() };
            Err(invalid)
        }
    }
}
