//! Message authentication codes.

use std::ptr::{self, NonNull};

use aws_lc_sys as sys;

use super::{allocated, check, md};
use crate::ck;
use crate::crypto::Hash;
use crate::error::{Error, Result};

/// An HMAC at work (`HMAC_CTX`).
pub(in crate::crypto) struct Hmac(NonNull<sys::HMAC_CTX>);

// SAFETY: the context is owned by this value alone and has no tie to the thread that made it.
unsafe impl Send for Hmac {}

impl Hmac {
    pub(in crate::crypto) fn new(hash: Hash, key: &[u8]) -> Result<Hmac> {
        // SAFETY: returns NULL or a context that we own from here on.
        let this = Hmac(allocated(unsafe { sys::HMAC_CTX_new() })?);
        let ctx = this.0.as_ptr();
        // SAFETY: a live context and a static description; pointer and length are one slice's (never NULL, which would mean
        // "the key of before"); the engine may be NULL.
        let ok = unsafe {
            sys::HMAC_Init_ex(
                ctx,
                key.as_ptr().cast(),
                key.len(),
                md(hash),
                ptr::null_mut(),
            )
        };
        check(ok, ck::CKR_FUNCTION_FAILED)?;
        Ok(this)
    }

    pub(in crate::crypto) fn update(&mut self, data: &[u8]) -> Result<()> {
        // SAFETY: an initialised context; pointer and length are one slice's.
        check(
            unsafe { sys::HMAC_Update(self.0.as_ptr(), data.as_ptr(), data.len()) },
            ck::CKR_FUNCTION_FAILED,
        )
    }

    pub(in crate::crypto) fn finish(self) -> Result<Vec<u8>> {
        let mut out = vec![0; sys::EVP_MAX_MD_SIZE as usize];
        let mut len = 0;
        check(
            // SAFETY: an initialised context; `out` has room for the longest digest.
            unsafe { sys::HMAC_Final(self.0.as_ptr(), out.as_mut_ptr(), &mut len) },
            ck::CKR_FUNCTION_FAILED,
        )?;
        out.truncate(len as usize);
        Ok(out)
    }
}

impl Drop for Hmac {
    fn drop(&mut self) {
        // SAFETY: made by HMAC_CTX_new, freed once; the library wipes what it knows of the key.
        unsafe { sys::HMAC_CTX_free(self.0.as_ptr()) }
    }
}

/// A CMAC at work (`CMAC_CTX`).
pub(in crate::crypto) struct Cmac(NonNull<sys::CMAC_CTX>);

// SAFETY: the context is owned by this value alone and has no tie to the thread that made it.
unsafe impl Send for Cmac {}

impl Cmac {
    /// CMAC of AES, or of Triple DES for `triple_des`.
    pub(in crate::crypto) fn new(triple_des: bool, key: &[u8]) -> Result<Cmac> {
        // SAFETY: no arguments; each returns a pointer to a static table.
        let cipher = unsafe {
            match (triple_des, key.len()) {
                (false, 16) => sys::EVP_aes_128_cbc(),
                (false, 24) => sys::EVP_aes_192_cbc(),
                (false, 32) => sys::EVP_aes_256_cbc(),
                (true, 24) => sys::EVP_des_ede3_cbc(),
                _ => return Err(ck::CKR_KEY_SIZE_RANGE.into()),
            }
        };
        // SAFETY: returns NULL or a context that we own from here on.
        let this = Cmac(allocated(unsafe { sys::CMAC_CTX_new() })?);
        // SAFETY: a live context; the key is as long as the cipher's keys are; the engine may be NULL.
        let ok = unsafe {
            sys::CMAC_Init(
                this.0.as_ptr(),
                key.as_ptr().cast(),
                key.len(),
                cipher,
                ptr::null_mut(),
            )
        };
        check(ok, ck::CKR_FUNCTION_FAILED)?;
        Ok(this)
    }

    pub(in crate::crypto) fn update(&mut self, data: &[u8]) -> Result<()> {
        // SAFETY: an initialised context; pointer and length are one slice's.
        check(
            unsafe { sys::CMAC_Update(self.0.as_ptr(), data.as_ptr(), data.len()) },
            ck::CKR_FUNCTION_FAILED,
        )
    }

    pub(in crate::crypto) fn finish(self) -> Result<Vec<u8>> {
        let mut out = vec![0; 16];
        let mut len = 0;
        check(
            // SAFETY: an initialised context; `out` has room for the longest block.
            unsafe { sys::CMAC_Final(self.0.as_ptr(), out.as_mut_ptr(), &mut len) },
            ck::CKR_FUNCTION_FAILED,
        )?;
        if len > out.len() {
            return Err(Error::from(ck::CKR_FUNCTION_FAILED));
        }
        out.truncate(len);
        Ok(out)
    }
}

impl Drop for Cmac {
    fn drop(&mut self) {
        // SAFETY: made by CMAC_CTX_new, freed once; the library wipes what it knows of the key.
        unsafe { sys::CMAC_CTX_free(self.0.as_ptr()) }
    }
}
