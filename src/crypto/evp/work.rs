//! Keys at work: signatures, encryption with RSA, agreement.

use std::ptr;

use aws_lc_sys as sys;

use super::der::{Bn, Owned, marshal, parse};
use super::pkey::PKey;
use super::{allocated, check, md};
use crate::ck;
use crate::crypto::Hash;
use crate::error::{Error, Result};
use crate::secret::Secret;

/// RSA padding, with what it needs.
#[derive(Clone, Copy)]
pub(in crate::crypto) enum RsaPadding<'a> {
    None,
    /// With a hash, the signature covers a DigestInfo of it; without, the data as they are.
    Pkcs1(Option<Hash>),
    Pss {
        hash: Hash,
        mgf: Hash,
        /// `None` is whatever a signature has.
        salt_len: Option<usize>,
    },
    Oaep {
        hash: Hash,
        mgf: Hash,
        label: &'a [u8],
    },
}

impl PKey {
    fn context(&self) -> Result<Owned<sys::EVP_PKEY_CTX>> {
        // SAFETY: a live key, to which the context takes a reference; the engine may be NULL.
        Owned::new(
            unsafe { sys::EVP_PKEY_CTX_new(self.0.as_ptr(), ptr::null_mut()) },
            sys::EVP_PKEY_CTX_free,
        )
    }

    /// Sets the padding of an RSA operation that was begun in `ctx`.
    fn pad(ctx: &Owned<sys::EVP_PKEY_CTX>, padding: RsaPadding<'_>) -> Result<()> {
        let invalid = ck::CKR_MECHANISM_PARAM_INVALID;
        let set = |number| {
            // SAFETY: a live context in which an RSA operation was begun.
            check(
                unsafe { sys::EVP_PKEY_CTX_set_rsa_padding(ctx.get(), number) },
                ck::CKR_KEY_TYPE_INCONSISTENT,
            )
        };
        match padding {
            RsaPadding::None => set(sys::RSA_NO_PADDING),
            RsaPadding::Pkcs1(hash) => {
                set(sys::RSA_PKCS1_PADDING)?;
                let Some(hash) = hash else { return Ok(()) };
                // SAFETY: as above; a static description.
                check(
                    unsafe { sys::EVP_PKEY_CTX_set_signature_md(ctx.get(), md(hash)) },
                    invalid,
                )
            }
            RsaPadding::Pss {
                hash,
                mgf,
                salt_len,
            } => {
                set(sys::RSA_PKCS1_PSS_PADDING)?;
                // -2 has it read from the signature.
                let salt_len = salt_len
                    .map_or(Ok(-2), i32::try_from)
                    .map_err(|_| Error::from(invalid))?;
                // SAFETY: as above; static descriptions.
                let ok = unsafe {
                    sys::EVP_PKEY_CTX_set_signature_md(ctx.get(), md(hash)) == 1
                        && sys::EVP_PKEY_CTX_set_rsa_mgf1_md(ctx.get(), md(mgf)) == 1
                        && sys::EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx.get(), salt_len) == 1
                };
                check(i32::from(ok), invalid)
            }
            RsaPadding::Oaep { hash, mgf, label } => {
                set(sys::RSA_PKCS1_OAEP_PADDING)?;
                // SAFETY: as above; static descriptions. The context takes over the copy of the label when it accepts it.
                unsafe {
                    let ok = sys::EVP_PKEY_CTX_set_rsa_oaep_md(ctx.get(), md(hash)) == 1
                        && sys::EVP_PKEY_CTX_set_rsa_mgf1_md(ctx.get(), md(mgf)) == 1;
                    check(i32::from(ok), invalid)?;
                    if label.is_empty() {
                        return Ok(());
                    }
                    let copy = allocated(sys::OPENSSL_memdup(label.as_ptr().cast(), label.len()))?;
                    let ok = sys::EVP_PKEY_CTX_set0_rsa_oaep_label(
                        ctx.get(),
                        copy.as_ptr().cast(),
                        label.len(),
                    );
                    if ok != 1 {
                        sys::OPENSSL_free(copy.as_ptr());
                    }
                    check(ok, invalid)
                }
            }
        }
    }

    /// Room for the largest output of this key.
    fn room(&self) -> Vec<u8> {
        // SAFETY: a live key.
        vec![0; unsafe { sys::EVP_PKEY_size(self.0.as_ptr()) }.max(0) as usize]
    }

    /// Signs `digest`; RSA with `padding`, ECDSA (`None`) in DER.
    pub(in crate::crypto) fn sign(
        &self,
        padding: Option<RsaPadding<'_>>,
        digest: &[u8],
    ) -> Result<Vec<u8>> {
        let ctx = self.context()?;
        check(
            // SAFETY: a live context.
            unsafe { sys::EVP_PKEY_sign_init(ctx.get()) },
            ck::CKR_KEY_TYPE_INCONSISTENT,
        )?;
        if let Some(padding) = padding {
            PKey::pad(&ctx, padding)?;
        }
        let mut out = self.room();
        let mut len = out.len();
        // SAFETY: a begun operation; pointers and lengths are two slices'; `len` becomes what was written.
        let ok = unsafe {
            sys::EVP_PKEY_sign(
                ctx.get(),
                out.as_mut_ptr(),
                &mut len,
                digest.as_ptr(),
                digest.len(),
            )
        };
        check(ok, ck::CKR_DATA_LEN_RANGE)?;
        out.truncate(len);
        Ok(out)
    }

    /// Checks what [`PKey::sign`] made; `CKR_SIGNATURE_INVALID` when it is not of this key and digest.
    pub(in crate::crypto) fn verify(
        &self,
        padding: Option<RsaPadding<'_>>,
        digest: &[u8],
        signature: &[u8],
    ) -> Result<()> {
        let ctx = self.context()?;
        check(
            // SAFETY: a live context.
            unsafe { sys::EVP_PKEY_verify_init(ctx.get()) },
            ck::CKR_KEY_TYPE_INCONSISTENT,
        )?;
        if let Some(padding) = padding {
            PKey::pad(&ctx, padding)?;
        }
        // SAFETY: a begun operation; pointers and lengths are two slices'.
        let ok = unsafe {
            sys::EVP_PKEY_verify(
                ctx.get(),
                signature.as_ptr(),
                signature.len(),
                digest.as_ptr(),
                digest.len(),
            )
        };
        check(ok, ck::CKR_SIGNATURE_INVALID)
    }

    /// What an RSA signature covers, with the padding taken off; `CKR_SIGNATURE_INVALID` when it is not of this key.
    pub(in crate::crypto) fn recover(
        &self,
        padding: RsaPadding<'_>,
        signature: &[u8],
    ) -> Result<Vec<u8>> {
        let ctx = self.context()?;
        check(
            // SAFETY: a live context.
            unsafe { sys::EVP_PKEY_verify_recover_init(ctx.get()) },
            ck::CKR_KEY_TYPE_INCONSISTENT,
        )?;
        PKey::pad(&ctx, padding)?;
        let mut out = self.room();
        let mut len = out.len();
        let (at, signature_len) = (signature.as_ptr(), signature.len());
        // SAFETY: a begun operation; pointers and lengths are two slices'; `len` becomes what was written.
        let ok = unsafe {
            sys::EVP_PKEY_verify_recover(ctx.get(), out.as_mut_ptr(), &mut len, at, signature_len)
        };
        check(ok, ck::CKR_SIGNATURE_INVALID)?;
        out.truncate(len);
        Ok(out)
    }

    /// Ed25519 of a whole message.
    pub(in crate::crypto) fn sign_message(&self, message: &[u8]) -> Result<Vec<u8>> {
        let mut out = self.room();
        let mut len = out.len();
        // SAFETY: the context is NULL or ours; a live key; no hash, as Ed25519 wants; pointers and lengths are two slices'.
        unsafe {
            let ctx = Owned::new(sys::EVP_MD_CTX_new(), sys::EVP_MD_CTX_free)?;
            let key = self.0.as_ptr();
            let ok = sys::EVP_DigestSignInit(
                ctx.get(),
                ptr::null_mut(),
                ptr::null(),
                ptr::null_mut(),
                key,
            );
            check(ok, ck::CKR_KEY_TYPE_INCONSISTENT)?;
            let ok = sys::EVP_DigestSign(
                ctx.get(),
                out.as_mut_ptr(),
                &mut len,
                message.as_ptr(),
                message.len(),
            );
            check(ok, ck::CKR_FUNCTION_FAILED)?;
        }
        out.truncate(len);
        Ok(out)
    }

    /// Checks what [`PKey::sign_message`] made.
    pub(in crate::crypto) fn verify_message(&self, message: &[u8], signature: &[u8]) -> Result<()> {
        // SAFETY: as in `sign_message`.
        unsafe {
            let ctx = Owned::new(sys::EVP_MD_CTX_new(), sys::EVP_MD_CTX_free)?;
            let key = self.0.as_ptr();
            let ok = sys::EVP_DigestVerifyInit(
                ctx.get(),
                ptr::null_mut(),
                ptr::null(),
                ptr::null_mut(),
                key,
            );
            check(ok, ck::CKR_KEY_TYPE_INCONSISTENT)?;
            let (at, len) = (signature.as_ptr(), signature.len());
            check(
                sys::EVP_DigestVerify(ctx.get(), at, len, message.as_ptr(), message.len()),
                ck::CKR_SIGNATURE_INVALID,
            )
        }
    }

    /// Ed25519ctx of a message, or with `prehashed` Ed25519ph of its SHA-512 digest.
    pub(in crate::crypto) fn sign_ed25519(
        &self,
        prehashed: bool,
        context: &[u8],
        data: &[u8],
    ) -> Result<Vec<u8>> {
        // The library's form of a private key: seed and public half side by side.
        let seed = self.ec_scalar()?;
        let key = zeroize::Zeroizing::new([seed.expose(), &self.ec_point()?].concat());
        let (mut out, at) = (vec![0; 64], data.as_ptr());
        if key.len() != 64 || prehashed && data.len() != 64 {
            return Err(ck::CKR_DATA_LEN_RANGE.into());
        }
        // SAFETY: the signature has room for 64 bytes, and key and digest have 64; pointers and lengths are of slices.
        let ok = unsafe {
            match prehashed {
                true => sys::ED25519ph_sign_digest(
                    out.as_mut_ptr(),
                    at,
                    key.as_ptr(),
                    context.as_ptr(),
                    context.len(),
                ),
                false => sys::ED25519ctx_sign(
                    out.as_mut_ptr(),
                    at,
                    data.len(),
                    key.as_ptr(),
                    context.as_ptr(),
                    context.len(),
                ),
            }
        };
        check(ok, ck::CKR_FUNCTION_FAILED)?;
        Ok(out)
    }

    /// Checks what [`PKey::sign_ed25519`] made.
    pub(in crate::crypto) fn verify_ed25519(
        &self,
        prehashed: bool,
        context: &[u8],
        data: &[u8],
        signature: &[u8],
    ) -> Result<()> {
        let key = self.ec_point()?;
        if key.len() != 32 || signature.len() != 64 || prehashed && data.len() != 64 {
            return Err(ck::CKR_SIGNATURE_INVALID.into());
        }
        let (at, signature, key) = (data.as_ptr(), signature.as_ptr(), key.as_ptr());
        // SAFETY: signature and digest have 64 bytes and the key has 32; pointers and lengths are of slices.
        let ok = unsafe {
            match prehashed {
                true => sys::ED25519ph_verify_digest(
                    at,
                    signature,
                    key,
                    context.as_ptr(),
                    context.len(),
                ),
                false => sys::ED25519ctx_verify(
                    at,
                    data.len(),
                    signature,
                    key,
                    context.as_ptr(),
                    context.len(),
                ),
            }
        };
        check(ok, ck::CKR_SIGNATURE_INVALID)
    }

    pub(in crate::crypto) fn encrypt(
        &self,
        padding: RsaPadding<'_>,
        data: &[u8],
    ) -> Result<Vec<u8>> {
        let ctx = self.context()?;
        check(
            // SAFETY: a live context.
            unsafe { sys::EVP_PKEY_encrypt_init(ctx.get()) },
            ck::CKR_KEY_TYPE_INCONSISTENT,
        )?;
        PKey::pad(&ctx, padding)?;
        let mut out = self.room();
        let mut len = out.len();
        // SAFETY: a begun operation; pointers and lengths are two slices'; `len` becomes what was written.
        let ok = unsafe {
            sys::EVP_PKEY_encrypt(
                ctx.get(),
                out.as_mut_ptr(),
                &mut len,
                data.as_ptr(),
                data.len(),
            )
        };
        check(ok, ck::CKR_DATA_LEN_RANGE)?;
        out.truncate(len);
        Ok(out)
    }

    pub(in crate::crypto) fn decrypt(
        &self,
        padding: RsaPadding<'_>,
        data: &[u8],
    ) -> Result<Secret> {
        let ctx = self.context()?;
        check(
            // SAFETY: a live context.
            unsafe { sys::EVP_PKEY_decrypt_init(ctx.get()) },
            ck::CKR_KEY_TYPE_INCONSISTENT,
        )?;
        PKey::pad(&ctx, padding)?;
        let mut out = zeroize::Zeroizing::new(self.room());
        let mut len = out.len();
        // SAFETY: a begun operation; pointers and lengths are two slices'; `len` becomes what was written.
        let ok = unsafe {
            sys::EVP_PKEY_decrypt(
                ctx.get(),
                out.as_mut_ptr(),
                &mut len,
                data.as_ptr(),
                data.len(),
            )
        };
        check(ok, ck::CKR_ENCRYPTED_DATA_INVALID)?;
        Ok(Secret::new(out[..len].to_vec()))
    }

    /// The shared secret of ECDH or X25519 with a public key of the same curve.
    pub(in crate::crypto) fn agree(&self, peer: &PKey) -> Result<Secret> {
        let ctx = self.context()?;
        let (mut out, mut len) = (vec![0; 66], 66);
        // SAFETY: live contexts and keys; `out` has room for the longest secret, P-521's; `len` becomes what was written.
        unsafe {
            check(
                sys::EVP_PKEY_derive_init(ctx.get()),
                ck::CKR_KEY_TYPE_INCONSISTENT,
            )?;
            check(
                sys::EVP_PKEY_derive_set_peer(ctx.get(), peer.0.as_ptr()),
                ck::CKR_MECHANISM_PARAM_INVALID,
            )?;
            check(
                sys::EVP_PKEY_derive(ctx.get(), out.as_mut_ptr(), &mut len),
                ck::CKR_MECHANISM_PARAM_INVALID,
            )?;
        }
        out.truncate(len);
        Ok(Secret::new(out))
    }

    /// ECDSA's r and s in DER, made from both side by side, each `len` bytes long.
    pub(in crate::crypto) fn ecdsa_to_der(raw: &[u8]) -> Result<Vec<u8>> {
        let (r, s) = raw.split_at(raw.len() / 2);
        let (r, s) = (Bn::new(r)?, Bn::new(s)?);
        // SAFETY: the signature is NULL or ours; it takes over both numbers when it accepts them, so that we forget them.
        unsafe {
            let signature = Owned::new(sys::ECDSA_SIG_new(), sys::ECDSA_SIG_free)?;
            check(
                sys::ECDSA_SIG_set0(signature.get(), r.get(), s.get()),
                ck::CKR_FUNCTION_FAILED,
            )?;
            std::mem::forget((r, s));
            marshal(|cbb| sys::ECDSA_SIG_marshal(cbb, signature.get()))
        }
    }

    /// The opposite of [`PKey::ecdsa_to_der`].
    pub(in crate::crypto) fn ecdsa_from_der(der: &[u8], len: usize) -> Result<Vec<u8>> {
        // SAFETY: `parse` hands a live reader; the result is NULL or a signature that we own.
        let signature = parse(
            der,
            |cbs| unsafe { sys::ECDSA_SIG_parse(cbs) },
            sys::ECDSA_SIG_free,
        )?;
        // SAFETY: a live signature, whose numbers live as long.
        let (r, s) = unsafe {
            (
                sys::ECDSA_SIG_get0_r(signature.get()),
                sys::ECDSA_SIG_get0_s(signature.get()),
            )
        };
        Ok([Bn::read_padded(r, len)?, Bn::read_padded(s, len)?].concat())
    }
}
