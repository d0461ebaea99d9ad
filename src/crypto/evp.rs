//! The one audited file that calls AWS-LC's C interface (EVP): what the safe API of `aws-lc-rs` does not offer.
//!
//! Every pointer handed to C comes from a slice or a `Vec` whose length is handed over with it, every context is owned by one
//! Rust value whose `Drop` frees it (the library wipes keys and buffers when it frees a context), and every result is checked.
#![allow(unsafe_code, reason = "AWS-LC is a C library")]

use std::ptr::{self, NonNull};

use aws_lc_sys as sys;

use super::Hash;
use crate::ck;
use crate::error::{Error, Result};

/// The largest piece handed to C at once: lengths are `int` there.
const PIECE: usize = 1 << 30;

/// `Ok` when C answered 1. The library's error queue belongs to the thread, so it is emptied, never read: the caller knows better.
fn check(result: i32, rv: ck::CK_RV) -> Result<()> {
    if result == 1 {
        return Ok(());
    }
    // SAFETY: no arguments; touches only this thread's error queue.
    unsafe { sys::ERR_clear_error() };
    Err(rv.into())
}

/// The value C allocated, or an error when it could not.
fn allocated<T>(pointer: *mut T) -> Result<NonNull<T>> {
    NonNull::new(pointer).ok_or_else(|| ck::CKR_HOST_MEMORY.into())
}

/// The library's description of a hash function.
fn md(hash: Hash) -> *const sys::EVP_MD {
    // SAFETY: no arguments; each returns a pointer to a static table.
    unsafe {
        match hash {
            Hash::Sha1 => sys::EVP_sha1(),
            Hash::Sha224 => sys::EVP_sha224(),
            Hash::Sha256 => sys::EVP_sha256(),
            Hash::Sha384 => sys::EVP_sha384(),
            Hash::Sha512 => sys::EVP_sha512(),
            Hash::Sha512_224 => sys::EVP_sha512_224(),
            Hash::Sha512_256 => sys::EVP_sha512_256(),
            Hash::Sha3_224 => sys::EVP_sha3_224(),
            Hash::Sha3_256 => sys::EVP_sha3_256(),
            Hash::Sha3_384 => sys::EVP_sha3_384(),
            Hash::Sha3_512 => sys::EVP_sha3_512(),
        }
    }
}

/// A hash function at work (`EVP_MD_CTX`).
pub(super) struct Digest(NonNull<sys::EVP_MD_CTX>);

// SAFETY: the context is owned by this value alone and has no tie to the thread that made it.
unsafe impl Send for Digest {}

impl Digest {
    pub(super) fn new(hash: Hash) -> Result<Digest> {
        // SAFETY: returns NULL or a context that we own from here on.
        let ctx = Digest(allocated(unsafe { sys::EVP_MD_CTX_new() })?);
        // SAFETY: a live context and a static description; the engine may be NULL.
        check(unsafe { sys::EVP_DigestInit_ex(ctx.0.as_ptr(), md(hash), ptr::null_mut()) }, ck::CKR_FUNCTION_FAILED)?;
        Ok(ctx)
    }

    pub(super) fn update(&mut self, data: &[u8]) -> Result<()> {
        // SAFETY: an initialised context; pointer and length are one slice's.
        check(unsafe { sys::EVP_DigestUpdate(self.0.as_ptr(), data.as_ptr().cast(), data.len()) }, ck::CKR_FUNCTION_FAILED)
    }

    pub(super) fn finish(self) -> Result<Vec<u8>> {
        let mut out = vec![0; sys::EVP_MAX_MD_SIZE as usize];
        let mut len = 0;
        // SAFETY: an initialised context; `out` has room for the longest digest.
        check(unsafe { sys::EVP_DigestFinal_ex(self.0.as_ptr(), out.as_mut_ptr(), &mut len) }, ck::CKR_FUNCTION_FAILED)?;
        out.truncate(len as usize);
        Ok(out)
    }

    pub(super) fn duplicate(&self) -> Result<Digest> {
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

/// A cipher and mode of the library; the length of the key chooses among its sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    AesEcb,
    AesCbc,
    AesCtr,
    AesGcm,
}

/// A cipher at work (`EVP_CIPHER_CTX`), without padding unless it is asked for.
pub(super) struct Cipher {
    ctx: NonNull<sys::EVP_CIPHER_CTX>,
    block: usize,
}

// SAFETY: the context is owned by this value alone and has no tie to the thread that made it.
unsafe impl Send for Cipher {}

impl Cipher {
    /// `CKR_KEY_SIZE_RANGE` when no cipher of this kind has a key so long, `CKR_MECHANISM_PARAM_INVALID` for a wrong IV.
    pub(super) fn new(kind: Kind, encrypt: bool, key: &[u8], iv: &[u8], padding: bool) -> Result<Cipher> {
        // SAFETY: no arguments; each returns a pointer to a static table.
        let cipher = unsafe {
            match (kind, key.len()) {
                (Kind::AesEcb, 16) => sys::EVP_aes_128_ecb(),
                (Kind::AesEcb, 24) => sys::EVP_aes_192_ecb(),
                (Kind::AesEcb, 32) => sys::EVP_aes_256_ecb(),
                (Kind::AesCbc, 16) => sys::EVP_aes_128_cbc(),
                (Kind::AesCbc, 24) => sys::EVP_aes_192_cbc(),
                (Kind::AesCbc, 32) => sys::EVP_aes_256_cbc(),
                (Kind::AesCtr, 16) => sys::EVP_aes_128_ctr(),
                (Kind::AesCtr, 24) => sys::EVP_aes_192_ctr(),
                (Kind::AesCtr, 32) => sys::EVP_aes_256_ctr(),
                (Kind::AesGcm, 16) => sys::EVP_aes_128_gcm(),
                (Kind::AesGcm, 24) => sys::EVP_aes_192_gcm(),
                (Kind::AesGcm, 32) => sys::EVP_aes_256_gcm(),
                _ => return Err(ck::CKR_KEY_SIZE_RANGE.into()),
            }
        };
        // SAFETY: returns NULL or a context that we own from here on.
        let ctx = allocated(unsafe { sys::EVP_CIPHER_CTX_new() })?;
        // SAFETY: `cipher` is one of the static tables above.
        let (block, iv_len) = unsafe { (sys::EVP_CIPHER_block_size(cipher), sys::EVP_CIPHER_iv_length(cipher)) };
        let this = Cipher { ctx, block: block as usize };
        let ctx = this.ctx.as_ptr();
        let enc = i32::from(encrypt);
        // SAFETY: a live context; key and IV may be NULL, they are set below.
        let ok = unsafe { sys::EVP_CipherInit_ex(ctx, cipher, ptr::null_mut(), ptr::null(), ptr::null(), enc) };
        check(ok, ck::CKR_FUNCTION_FAILED)?;
        if kind == Kind::AesGcm {
            let len = i32::try_from(iv.len()).map_err(|_| Error::from(ck::CKR_MECHANISM_PARAM_INVALID))?;
            // SAFETY: a GCM context; this control takes the number and no pointer, and refuses zero.
            let ok = unsafe { sys::EVP_CIPHER_CTX_ctrl(ctx, sys::EVP_CTRL_AEAD_SET_IVLEN, len, ptr::null_mut()) };
            check(ok, ck::CKR_MECHANISM_PARAM_INVALID)?;
        } else if iv.len() != iv_len as usize {
            return Err(ck::CKR_MECHANISM_PARAM_INVALID.into());
        }
        // SAFETY: the key is as long as the cipher's keys are, the IV as long as the context now expects.
        let ok = unsafe { sys::EVP_CipherInit_ex(ctx, ptr::null(), ptr::null_mut(), key.as_ptr(), iv.as_ptr(), enc) };
        check(ok, ck::CKR_FUNCTION_FAILED)?;
        // SAFETY: a live, initialised context.
        check(unsafe { sys::EVP_CIPHER_CTX_set_padding(ctx, i32::from(padding)) }, ck::CKR_FUNCTION_FAILED)?;
        Ok(this)
    }

    /// Authenticates data that is not encrypted; before any data that is.
    pub(super) fn aad(&mut self, aad: &[u8]) -> Result<()> {
        for piece in aad.chunks(PIECE) {
            let mut n = 0;
            // SAFETY: an initialised AEAD context; a NULL output marks additional data; pointer and length are one slice's.
            let ok =
                unsafe { sys::EVP_CipherUpdate(self.ctx.as_ptr(), ptr::null_mut(), &mut n, piece.as_ptr(), piece.len() as i32) };
            check(ok, ck::CKR_FUNCTION_FAILED)?;
        }
        Ok(())
    }

    /// Processes `input` and appends what comes out.
    pub(super) fn update(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<()> {
        output.try_reserve_exact(input.len() + self.block).map_err(|_| Error::from(ck::CKR_HOST_MEMORY))?;
        for piece in input.chunks(PIECE) {
            let mut n = 0;
            let spare = output.spare_capacity_mut();
            debug_assert!(spare.len() >= piece.len());
            // SAFETY: an initialised context. It writes at most the input and one block held back, counted over all pieces:
            // that much was reserved, and the Vec does not overlap the input, which is borrowed separately.
            let ok = unsafe {
                sys::EVP_CipherUpdate(self.ctx.as_ptr(), spare.as_mut_ptr().cast(), &mut n, piece.as_ptr(), piece.len() as i32)
            };
            check(ok, ck::CKR_FUNCTION_FAILED)?;
            // SAFETY: C wrote `n` bytes behind the old end, within the capacity.
            unsafe { output.set_len(output.len() + n as usize) };
        }
        Ok(())
    }

    /// Processes `data` where it lies; for modes that neither pad nor hold back.
    pub(super) fn update_in_place(&mut self, data: &mut [u8]) -> Result<()> {
        debug_assert_eq!(self.block, 1);
        for piece in data.chunks_mut(PIECE) {
            let mut n = 0;
            let at = piece.as_mut_ptr();
            // SAFETY: an initialised context of a stream mode, which writes exactly as much as it reads; the library allows
            // input and output to be the same.
            let ok = unsafe { sys::EVP_CipherUpdate(self.ctx.as_ptr(), at, &mut n, at, piece.len() as i32) };
            check(ok, ck::CKR_FUNCTION_FAILED)?;
        }
        Ok(())
    }

    /// Ends the message, appending the last block; `rv` when padding or tag are wrong or a block is not whole.
    pub(super) fn finish(&mut self, output: &mut Vec<u8>, rv: ck::CK_RV) -> Result<()> {
        let mut last = [0u8; sys::EVP_MAX_BLOCK_LENGTH as usize];
        let mut n = 0;
        // SAFETY: an initialised context; `last` has room for the longest block.
        check(unsafe { sys::EVP_CipherFinal_ex(self.ctx.as_ptr(), last.as_mut_ptr(), &mut n) }, rv)?;
        output.extend_from_slice(&last[..n as usize]);
        zeroize::Zeroize::zeroize(&mut last);
        Ok(())
    }

    /// Appends the tag of a finished encryption, cut to `len` (at most 16) bytes.
    pub(super) fn tag(&mut self, len: usize, output: &mut Vec<u8>) -> Result<()> {
        let mut tag = [0u8; 16];
        // SAFETY: a finished AEAD context; `tag` has room for the 16 bytes asked for.
        let ok = unsafe { sys::EVP_CIPHER_CTX_ctrl(self.ctx.as_ptr(), sys::EVP_CTRL_AEAD_GET_TAG, 16, tag.as_mut_ptr().cast()) };
        check(ok, ck::CKR_FUNCTION_FAILED)?;
        output.extend_from_slice(&tag[..len]);
        Ok(())
    }

    /// Sets the tag that `finish` will demand of a decryption.
    pub(super) fn expect_tag(&mut self, tag: &[u8]) -> Result<()> {
        let mut copy = [0u8; 16];
        let copy = copy.get_mut(..tag.len()).ok_or_else(|| Error::from(ck::CKR_MECHANISM_PARAM_INVALID))?;
        copy.copy_from_slice(tag);
        // SAFETY: an AEAD context; pointer and length are one slice's, which the control only reads.
        let ok = unsafe {
            let at = copy.as_mut_ptr().cast();
            sys::EVP_CIPHER_CTX_ctrl(self.ctx.as_ptr(), sys::EVP_CTRL_AEAD_SET_TAG, copy.len() as i32, at)
        };
        check(ok, ck::CKR_MECHANISM_PARAM_INVALID)
    }
}

impl Drop for Cipher {
    fn drop(&mut self) {
        // SAFETY: made by EVP_CIPHER_CTX_new, freed once; the library wipes the key schedule.
        unsafe { sys::EVP_CIPHER_CTX_free(self.ctx.as_ptr()) }
    }
}

/// Fills `buffer` with random bytes.
pub(super) fn random(buffer: &mut [u8]) -> Result<()> {
    // SAFETY: pointer and length are one slice's. The generator notices a fork by itself.
    check(unsafe { sys::RAND_bytes(buffer.as_mut_ptr(), buffer.len()) }, ck::CKR_RANDOM_NO_RNG)
}
