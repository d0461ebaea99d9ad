//! Hash functions.

use std::ptr::{self, NonNull};

use aws_lc_sys as sys;

use super::{allocated, check, md};
use crate::ck;
use crate::crypto::Hash;
use crate::error::{Error, Result};

/// A hash function at work (`EVP_MD_CTX`).
pub(in crate::crypto) struct Digest(NonNull<sys::EVP_MD_CTX>);

// SAFETY: the context is owned by this value alone and has no tie to the thread that made it.
unsafe impl Send for Digest {}

impl Digest {
    pub(in crate::crypto) fn new(hash: Hash) -> Result<Digest> {
        // SAFETY: returns NULL or a context that we own from here on.
        let ctx = Digest(allocated(unsafe { sys::EVP_MD_CTX_new() })?);
        check(
            // SAFETY: a live context and a static description; the engine may be NULL.
            unsafe { sys::EVP_DigestInit_ex(ctx.0.as_ptr(), md(hash), ptr::null_mut()) },
            ck::CKR_FUNCTION_FAILED,
        )?;
        Ok(ctx)
    }

    pub(in crate::crypto) fn update(&mut self, data: &[u8]) -> Result<()> {
        // SAFETY: an initialised context; pointer and length are one slice's.
        check(
            unsafe { sys::EVP_DigestUpdate(self.0.as_ptr(), data.as_ptr().cast(), data.len()) },
            ck::CKR_FUNCTION_FAILED,
        )
    }

    pub(in crate::crypto) fn finish(self) -> Result<Vec<u8>> {
        let mut out = vec![0; sys::EVP_MAX_MD_SIZE as usize];
        let mut len = 0;
        check(
            // SAFETY: an initialised context; `out` has room for the longest digest.
            unsafe { sys::EVP_DigestFinal_ex(self.0.as_ptr(), out.as_mut_ptr(), &mut len) },
            ck::CKR_FUNCTION_FAILED,
        )?;
        out.truncate(len as usize);
        Ok(out)
    }

    /// Where the library keeps the state of a SHA-1 or SHA-2 hash, and how long it is: a C structure of numbers without gaps.
    /// That of SHA-3 is the library's secret.
    fn raw(&self, hash: Hash) -> Option<(NonNull<u8>, usize)> {
        let len = match hash {
            Hash::Sha1 => size_of::<sys::SHA_CTX>(),
            Hash::Sha224 | Hash::Sha256 => size_of::<sys::SHA256_CTX>(),
            Hash::Sha384 | Hash::Sha512 | Hash::Sha512_224 | Hash::Sha512_256 => {
                size_of::<sys::SHA512_CTX>()
            }
            Hash::Sha3_224 | Hash::Sha3_256 | Hash::Sha3_384 | Hash::Sha3_512 => return None,
        };
        // SAFETY: a live, initialised context of this hash.
        NonNull::new(unsafe { (*self.0.as_ptr()).md_data }.cast()).map(|at| (at, len))
    }

    /// The state as bytes that [`Digest::restore`] takes; `None` for SHA-3.
    pub(in crate::crypto) fn state(&self, hash: Hash) -> Option<Vec<u8>> {
        let (at, len) = self.raw(hash)?;
        // SAFETY: the library's structure of this hash, as long as its bindings say, every byte of it initialised.
        Some(unsafe { std::slice::from_raw_parts(at.as_ptr(), len) }.to_vec())
    }

    /// Goes on from a state of the same hash; `CKR_SAVED_STATE_INVALID` for bytes that are none.
    pub(in crate::crypto) fn restore(&mut self, hash: Hash, state: &[u8]) -> Result<()> {
        let invalid = || Error::from(ck::CKR_SAVED_STATE_INVALID);
        let (at, len) = self.raw(hash).ok_or_else(invalid)?;
        // Behind the hashed blocks stand how many bytes of the next one wait and, in SHA-2, the digest's length.
        let number = |from_end: usize| {
            let bytes = state
                .len()
                .checked_sub(from_end)
                .and_then(|at| state.get(at..at + 4))?;
            Some(u32::from_ne_bytes(bytes.try_into().ok()?) as usize)
        };
        let right = match hash {
            Hash::Sha1 => number(4).is_some_and(|waiting| waiting < 64),
            _ => {
                let block = if len == size_of::<sys::SHA256_CTX>() {
                    64
                } else {
                    128
                };
                number(8).is_some_and(|waiting| waiting < block)
                    && number(4) == Some(hash.output_len())
            }
        };
        if state.len() != len || !right {
            return Err(invalid());
        }
        // SAFETY: both are `len` bytes long, and one is ours alone. Any numbers are a valid structure, and the two that the
        // library relies on were checked.
        unsafe { ptr::copy_nonoverlapping(state.as_ptr(), at.as_ptr(), len) };
        Ok(())
    }

    pub(in crate::crypto) fn duplicate(&self) -> Result<Digest> {
        // SAFETY: returns NULL or a context that we own from here on.
        let copy = Digest(allocated(unsafe { sys::EVP_MD_CTX_new() })?);
        check(
            // SAFETY: both contexts are live, the source is initialised.
            unsafe { sys::EVP_MD_CTX_copy_ex(copy.0.as_ptr(), self.0.as_ptr()) },
            ck::CKR_FUNCTION_FAILED,
        )?;
        Ok(copy)
    }
}

impl Drop for Digest {
    fn drop(&mut self) {
        // SAFETY: made by EVP_MD_CTX_new, freed once.
        unsafe { sys::EVP_MD_CTX_free(self.0.as_ptr()) }
    }
}
