//! Symmetric ciphers.

use std::ptr::{self, NonNull};

use aws_lc_sys as sys;

use super::{PIECE, allocated, check};
use crate::ck;
use crate::error::{Error, Result};
use crate::secret::reserve;

/// A cipher and mode of the library; for AES the length of the key chooses among its sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::crypto) enum Kind {
    Ecb,
    Cbc,
    Ctr,
    Gcm,
    Ofb,
    Cfb1,
    Cfb8,
    Cfb128,
    TripleDesEcb,
    TripleDesCbc,
    ChaCha20Poly1305,
}

/// A cipher at work (`EVP_CIPHER_CTX`), without padding unless it is asked for.
pub(in crate::crypto) struct Cipher {
    ctx: NonNull<sys::EVP_CIPHER_CTX>,
    block: usize,
}

// SAFETY: the context is owned by this value alone and has no tie to the thread that made it.
unsafe impl Send for Cipher {}

impl Cipher {
    /// `CKR_KEY_SIZE_RANGE` when no cipher of this kind has a key so long, `CKR_MECHANISM_PARAM_INVALID` for a wrong IV.
    pub(in crate::crypto) fn new(
        kind: Kind,
        encrypt: bool,
        key: &[u8],
        iv: &[u8],
        padding: bool,
    ) -> Result<Cipher> {
        // SAFETY: no arguments; each returns a pointer to a static table.
        let cipher = unsafe {
            match (kind, key.len()) {
                (Kind::Ecb, 16) => sys::EVP_aes_128_ecb(),
                (Kind::Ecb, 24) => sys::EVP_aes_192_ecb(),
                (Kind::Ecb, 32) => sys::EVP_aes_256_ecb(),
                (Kind::Cbc, 16) => sys::EVP_aes_128_cbc(),
                (Kind::Cbc, 24) => sys::EVP_aes_192_cbc(),
                (Kind::Cbc, 32) => sys::EVP_aes_256_cbc(),
                (Kind::Ctr, 16) => sys::EVP_aes_128_ctr(),
                (Kind::Ctr, 24) => sys::EVP_aes_192_ctr(),
                (Kind::Ctr, 32) => sys::EVP_aes_256_ctr(),
                (Kind::Gcm, 16) => sys::EVP_aes_128_gcm(),
                (Kind::Gcm, 24) => sys::EVP_aes_192_gcm(),
                (Kind::Gcm, 32) => sys::EVP_aes_256_gcm(),
                (Kind::Ofb, 16) => sys::EVP_aes_128_ofb(),
                (Kind::Ofb, 24) => sys::EVP_aes_192_ofb(),
                (Kind::Ofb, 32) => sys::EVP_aes_256_ofb(),
                (Kind::Cfb1, 16) => sys::EVP_aes_128_cfb1(),
                (Kind::Cfb1, 24) => sys::EVP_aes_192_cfb1(),
                (Kind::Cfb1, 32) => sys::EVP_aes_256_cfb1(),
                (Kind::Cfb8, 16) => sys::EVP_aes_128_cfb8(),
                (Kind::Cfb8, 24) => sys::EVP_aes_192_cfb8(),
                (Kind::Cfb8, 32) => sys::EVP_aes_256_cfb8(),
                (Kind::Cfb128, 16) => sys::EVP_aes_128_cfb128(),
                (Kind::Cfb128, 24) => sys::EVP_aes_192_cfb128(),
                (Kind::Cfb128, 32) => sys::EVP_aes_256_cfb128(),
                (Kind::TripleDesEcb, 24) => sys::EVP_des_ede3(),
                (Kind::TripleDesCbc, 24) => sys::EVP_des_ede3_cbc(),
                (Kind::ChaCha20Poly1305, 32) => sys::EVP_chacha20_poly1305(),
                _ => return Err(ck::CKR_KEY_SIZE_RANGE.into()),
            }
        };
        // SAFETY: returns NULL or a context that we own from here on.
        let ctx = allocated(unsafe { sys::EVP_CIPHER_CTX_new() })?;
        // SAFETY: `cipher` is one of the static tables above.
        let (block, iv_len) = unsafe {
            (
                sys::EVP_CIPHER_block_size(cipher),
                sys::EVP_CIPHER_iv_length(cipher),
            )
        };
        let this = Cipher {
            ctx,
            block: block as usize,
        };
        let ctx = this.ctx.as_ptr();
        let enc = i32::from(encrypt);
        // SAFETY: a live context; key and IV may be NULL, they are set below.
        let ok = unsafe {
            sys::EVP_CipherInit_ex(ctx, cipher, ptr::null_mut(), ptr::null(), ptr::null(), enc)
        };
        check(ok, ck::CKR_FUNCTION_FAILED)?;
        if matches!(kind, Kind::Gcm | Kind::ChaCha20Poly1305) {
            let len = i32::try_from(iv.len())
                .map_err(|_| Error::from(ck::CKR_MECHANISM_PARAM_INVALID))?;
            // SAFETY: a GCM context; this control takes the number and no pointer, and refuses zero.
            let ok = unsafe {
                sys::EVP_CIPHER_CTX_ctrl(ctx, sys::EVP_CTRL_AEAD_SET_IVLEN, len, ptr::null_mut())
            };
            check(ok, ck::CKR_MECHANISM_PARAM_INVALID)?;
        } else if iv.len() != iv_len as usize {
            return Err(ck::CKR_MECHANISM_PARAM_INVALID.into());
        }
        // SAFETY: the key is as long as the cipher's keys are, the IV as long as the context now expects.
        let ok = unsafe {
            sys::EVP_CipherInit_ex(
                ctx,
                ptr::null(),
                ptr::null_mut(),
                key.as_ptr(),
                iv.as_ptr(),
                enc,
            )
        };
        check(ok, ck::CKR_FUNCTION_FAILED)?;
        check(
            // SAFETY: a live, initialised context.
            unsafe { sys::EVP_CIPHER_CTX_set_padding(ctx, i32::from(padding)) },
            ck::CKR_FUNCTION_FAILED,
        )?;
        Ok(this)
    }

    /// Authenticates data that is not encrypted; before any data that is.
    pub(in crate::crypto) fn aad(&mut self, aad: &[u8]) -> Result<()> {
        for piece in aad.chunks(PIECE) {
            let mut n = 0;
            // SAFETY: an initialised AEAD context; a NULL output marks additional data; pointer and length are one slice's.
            let ok = unsafe {
                sys::EVP_CipherUpdate(
                    self.ctx.as_ptr(),
                    ptr::null_mut(),
                    &mut n,
                    piece.as_ptr(),
                    piece.len() as i32,
                )
            };
            check(ok, ck::CKR_FUNCTION_FAILED)?;
        }
        Ok(())
    }

    /// Processes `input` and appends what comes out.
    pub(in crate::crypto) fn update(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<()> {
        output
            .try_reserve_exact(input.len() + self.block)
            .map_err(|_| Error::from(ck::CKR_HOST_MEMORY))?;
        for piece in input.chunks(PIECE) {
            let mut n = 0;
            let spare = output.spare_capacity_mut();
            debug_assert!(spare.len() >= piece.len());
            // SAFETY: an initialised context. It writes at most the input and one block held back, counted over all pieces:
            // that much was reserved, and the Vec does not overlap the input, which is borrowed separately.
            let ok = unsafe {
                sys::EVP_CipherUpdate(
                    self.ctx.as_ptr(),
                    spare.as_mut_ptr().cast(),
                    &mut n,
                    piece.as_ptr(),
                    piece.len() as i32,
                )
            };
            check(ok, ck::CKR_FUNCTION_FAILED)?;
            // SAFETY: C wrote `n` bytes behind the old end, within the capacity.
            unsafe { output.set_len(output.len() + n as usize) };
        }
        Ok(())
    }

    /// Processes `data` where it lies; for modes that neither pad nor hold back.
    pub(in crate::crypto) fn update_in_place(&mut self, data: &mut [u8]) -> Result<()> {
        debug_assert_eq!(self.block, 1);
        for piece in data.chunks_mut(PIECE) {
            let mut n = 0;
            let at = piece.as_mut_ptr();
            // SAFETY: an initialised context of a stream mode, which writes exactly as much as it reads; the library allows
            // input and output to be the same.
            let ok = unsafe {
                sys::EVP_CipherUpdate(self.ctx.as_ptr(), at, &mut n, at, piece.len() as i32)
            };
            check(ok, ck::CKR_FUNCTION_FAILED)?;
        }
        Ok(())
    }

    /// Ends the message, appending the last block; `rv` when padding or tag are wrong or a block is not whole.
    pub(in crate::crypto) fn finish(&mut self, output: &mut Vec<u8>, rv: ck::CK_RV) -> Result<()> {
        let mut last = [0u8; sys::EVP_MAX_BLOCK_LENGTH as usize];
        let mut n = 0;
        check(
            // SAFETY: an initialised context; `last` has room for the longest block.
            unsafe { sys::EVP_CipherFinal_ex(self.ctx.as_ptr(), last.as_mut_ptr(), &mut n) },
            rv,
        )?;
        output.extend_from_slice(&last[..n as usize]);
        zeroize::Zeroize::zeroize(&mut last);
        Ok(())
    }

    /// Appends the tag of a finished encryption, cut to `len` (at most 16) bytes.
    pub(in crate::crypto) fn tag(&mut self, len: usize, output: &mut Vec<u8>) -> Result<()> {
        let mut tag = [0u8; 16];
        // SAFETY: a finished AEAD context; `tag` has room for the 16 bytes asked for.
        let ok = unsafe {
            sys::EVP_CIPHER_CTX_ctrl(
                self.ctx.as_ptr(),
                sys::EVP_CTRL_AEAD_GET_TAG,
                16,
                tag.as_mut_ptr().cast(),
            )
        };
        check(ok, ck::CKR_FUNCTION_FAILED)?;
        output.extend_from_slice(&tag[..len]);
        Ok(())
    }

    /// Sets the tag that `finish` will demand of a decryption.
    pub(in crate::crypto) fn expect_tag(&mut self, tag: &[u8]) -> Result<()> {
        let mut copy = [0u8; 16];
        let copy = copy
            .get_mut(..tag.len())
            .ok_or_else(|| Error::from(ck::CKR_MECHANISM_PARAM_INVALID))?;
        copy.copy_from_slice(tag);
        // SAFETY: an AEAD context; pointer and length are one slice's, which the control only reads.
        let ok = unsafe {
            let at = copy.as_mut_ptr().cast();
            sys::EVP_CIPHER_CTX_ctrl(
                self.ctx.as_ptr(),
                sys::EVP_CTRL_AEAD_SET_TAG,
                copy.len() as i32,
                at,
            )
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

/// ChaCha20 of `data` where it lies. `state` is the counter of the first block, 4 bytes of which count, and the nonce after it.
pub(in crate::crypto) fn chacha20(key: &[u8; 32], state: &[u8; 16], data: &mut [u8]) {
    let (counter, nonce) = state.split_at(4);
    let counter = counter
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u32::from(*byte));
    let at = data.as_mut_ptr();
    // SAFETY: the key has 32 bytes and the nonce 12; pointer and length are one slice's; the library allows input and output to be
    // the same.
    unsafe { sys::CRYPTO_chacha_20(at, at, data.len(), key.as_ptr(), nonce.as_ptr(), counter) }
}

/// AES-CCM of a whole message: `data` to ciphertext and tag, or back. CCM authenticates the length before the data, so it
/// cannot be done in parts.
pub(in crate::crypto) fn ccm(
    encrypt: bool,
    key: &[u8],
    nonce: &[u8],
    aad: &[u8],
    tag_len: usize,
    data: &[u8],
) -> Result<Vec<u8>> {
    // SAFETY: no arguments; each returns a pointer to a static table.
    let cipher = unsafe {
        match key.len() {
            16 => sys::EVP_aes_128_ccm(),
            24 => sys::EVP_aes_192_ccm(),
            32 => sys::EVP_aes_256_ccm(),
            _ => return Err(ck::CKR_KEY_SIZE_RANGE.into()),
        }
    };
    if !(7..=13).contains(&nonce.len())
        || !(4..=16).contains(&tag_len)
        || !tag_len.is_multiple_of(2)
    {
        return Err(ck::CKR_MECHANISM_PARAM_INVALID.into());
    }
    let too_long = if encrypt {
        ck::CKR_DATA_LEN_RANGE
    } else {
        ck::CKR_ENCRYPTED_DATA_LEN_RANGE
    };
    let text_len = if encrypt {
        Some(data.len())
    } else {
        data.len().checked_sub(tag_len)
    };
    let text_len = text_len
        .filter(|&n| n < PIECE && aad.len() < PIECE)
        .ok_or_else(|| Error::from(too_long))?;
    let (text, tag) = data.split_at(text_len);
    let (len, aad_len, enc) = (text_len as i32, aad.len() as i32, i32::from(encrypt));
    // Cut to size on return; the tag of an encryption follows the text.
    let mut out = reserve::room(text_len + tag_len)?;
    out.resize(text_len + tag_len, 0);

    let this = Cipher {
        // SAFETY: returns NULL or a context that we own from here on.
        ctx: allocated(unsafe { sys::EVP_CIPHER_CTX_new() })?,
        block: 1,
    };
    let ctx = this.ctx.as_ptr();
    let mut n = 0;
    // SAFETY: a live context throughout. Nonce and tag length are set, within the bounds checked above, before the key, as CCM
    // demands; the tag pointer is NULL or of `tag_len` bytes, which are only read; then the text's length without pointers,
    // the additional data without output, and the text into `out`, which is as long.
    let ok = unsafe {
        let expected = if encrypt {
            ptr::null_mut()
        } else {
            tag.as_ptr().cast_mut().cast()
        };
        sys::EVP_CipherInit_ex(ctx, cipher, ptr::null_mut(), ptr::null(), ptr::null(), enc) == 1
            && sys::EVP_CIPHER_CTX_ctrl(
                ctx,
                sys::EVP_CTRL_AEAD_SET_IVLEN,
                nonce.len() as i32,
                ptr::null_mut(),
            ) == 1
            && sys::EVP_CIPHER_CTX_ctrl(ctx, sys::EVP_CTRL_AEAD_SET_TAG, tag_len as i32, expected)
                == 1
            && sys::EVP_CipherInit_ex(
                ctx,
                ptr::null(),
                ptr::null_mut(),
                key.as_ptr(),
                nonce.as_ptr(),
                enc,
            ) == 1
            && sys::EVP_CipherUpdate(ctx, ptr::null_mut(), &mut n, ptr::null(), len) == 1
            && sys::EVP_CipherUpdate(ctx, ptr::null_mut(), &mut n, aad.as_ptr(), aad_len) == 1
    };
    check(i32::from(ok), too_long)?;
    // SAFETY: as above.
    let ok = unsafe { sys::EVP_CipherUpdate(ctx, out.as_mut_ptr(), &mut n, text.as_ptr(), len) };
    check(
        ok,
        if encrypt {
            too_long
        } else {
            ck::CKR_ENCRYPTED_DATA_INVALID
        },
    )?;
    if encrypt {
        // SAFETY: a finished encryption; behind the text there is room for the tag's `tag_len` bytes.
        let ok = unsafe {
            let at = out.as_mut_ptr().add(text_len).cast();
            sys::EVP_CIPHER_CTX_ctrl(ctx, sys::EVP_CTRL_AEAD_GET_TAG, tag_len as i32, at)
        };
        check(ok, ck::CKR_FUNCTION_FAILED)?;
    } else {
        out.truncate(text_len);
    }
    Ok(out)
}
