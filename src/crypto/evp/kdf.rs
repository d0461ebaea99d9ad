//! Key derivation.

use aws_lc_sys as sys;

use super::{check, md};
use crate::ck;
use crate::crypto::Hash;
use crate::error::Result;
use crate::secret::Secret;

pub(in crate::crypto) fn hkdf_extract(hash: Hash, salt: &[u8], secret: &[u8]) -> Result<Secret> {
    let mut out = vec![0; sys::EVP_MAX_MD_SIZE as usize];
    let mut len = 0;
    // SAFETY: pointers and lengths are slices'; `out` has room for the longest digest; `len` becomes what was written.
    let ok = unsafe {
        let (secret, secret_len) = (secret.as_ptr(), secret.len());
        sys::HKDF_extract(
            out.as_mut_ptr(),
            &mut len,
            md(hash),
            secret,
            secret_len,
            salt.as_ptr(),
            salt.len(),
        )
    };
    check(ok, ck::CKR_FUNCTION_FAILED)?;
    out.truncate(len);
    Ok(Secret::new(out))
}

pub(in crate::crypto) fn hkdf_expand(
    hash: Hash,
    key: &[u8],
    info: &[u8],
    len: usize,
) -> Result<Secret> {
    let mut out = vec![0; len];
    // SAFETY: pointers and lengths are slices'.
    let ok = unsafe {
        let (key, key_len) = (key.as_ptr(), key.len());
        sys::HKDF_expand(
            out.as_mut_ptr(),
            len,
            md(hash),
            key,
            key_len,
            info.as_ptr(),
            info.len(),
        )
    };
    check(ok, ck::CKR_KEY_SIZE_RANGE)?;
    Ok(Secret::new(out))
}

pub(in crate::crypto) fn pbkdf2(
    hash: Hash,
    password: &[u8],
    salt: &[u8],
    iterations: u32,
    len: usize,
) -> Result<Secret> {
    let mut out = vec![0; len];
    // SAFETY: pointers and lengths are slices'.
    let ok = unsafe {
        let (password, password_len) = (password.as_ptr().cast(), password.len());
        let (salt, salt_len) = (salt.as_ptr(), salt.len());
        sys::PKCS5_PBKDF2_HMAC(
            password,
            password_len,
            salt,
            salt_len,
            iterations,
            md(hash),
            len,
            out.as_mut_ptr(),
        )
    };
    check(ok, ck::CKR_FUNCTION_FAILED)?;
    Ok(Secret::new(out))
}
