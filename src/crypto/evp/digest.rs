//! Hash functions.

use std::ptr::{self, NonNull};

use aws_lc_sys as sys;

use super::{allocated, check, md};
use crate::ck;
use crate::crypto::Hash;
use crate::error::Result;

/// A hash function at work (`EVP_MD_CTX`).
pub(in crate::crypto) struct Digest(NonNull<sys::EVP_MD_CTX>);

// SAFETY: the context is owned by this value alone and has no tie to the thread that made it.
unsafe impl Send for Digest {}

impl Digest {
    pub(in crate::crypto) fn new(hash: Hash) -> Result<Digest> {
        // SAFETY: returns NULL or a context that we own from here on.
        let ctx = Digest(allocated(unsafe { sys::EVP_MD_CTX_new() })?);
        // SAFETY: a live context and a static description; the engine may be NULL.
        check(unsafe { sys::EVP_DigestInit_ex(ctx.0.as_ptr(), md(hash), ptr::null_mut()) }, ck::CKR_FUNCTION_FAILED)?;
        Ok(ctx)
    }

    pub(in crate::crypto) fn update(&mut self, data: &[u8]) -> Result<()> {
        // SAFETY: an initialised context; pointer and length are one slice's.
        check(unsafe { sys::EVP_DigestUpdate(self.0.as_ptr(), data.as_ptr().cast(), data.len()) }, ck::CKR_FUNCTION_FAILED)
    }

    pub(in crate::crypto) fn finish(self) -> Result<Vec<u8>> {
        let mut out = vec![0; sys::EVP_MAX_MD_SIZE as usize];
        let mut len = 0;
        // SAFETY: an initialised context; `out` has room for the longest digest.
        check(unsafe { sys::EVP_DigestFinal_ex(self.0.as_ptr(), out.as_mut_ptr(), &mut len) }, ck::CKR_FUNCTION_FAILED)?;
        out.truncate(len as usize);
        Ok(out)
    }

    pub(in crate::crypto) fn duplicate(&self) -> Result<Digest> {
        // SAFETY: returns NULL or a context that we own from here on.
        let copy = Digest(allocated(unsafe { sys::EVP_MD_CTX_new() })?);
        // SAFETY: both contexts are live, the source is initialised.
        check(unsafe { sys::EVP_MD_CTX_copy_ex(copy.0.as_ptr(), self.0.as_ptr()) }, ck::CKR_FUNCTION_FAILED)?;
        Ok(copy)
    }
}

impl Drop for Digest {
    fn drop(&mut self) {
        // SAFETY: made by EVP_MD_CTX_new, freed once.
        unsafe { sys::EVP_MD_CTX_free(self.0.as_ptr()) }
    }
}
