//! Key derivation functions.

use super::{Hash, evp};
use crate::ck;
use crate::error::Result;
use crate::secret::Secret;

/// The most that a derivation gives: 64 KiB, far above any key.
const MOST: usize = 1 << 16;

/// HKDF-Extract (RFC 5869): a pseudorandom key as long as the hash. An empty `salt` is as many zeros.
pub fn hkdf_extract(hash: Hash, salt: &[u8], secret: &[u8]) -> Result<Secret> {
    evp::kdf::hkdf_extract(hash, salt, secret)
}

/// HKDF-Expand (RFC 5869): `len` bytes, at most 255 times the hash's length; else `CKR_KEY_SIZE_RANGE`.
pub fn hkdf_expand(hash: Hash, key: &[u8], info: &[u8], len: usize) -> Result<Secret> {
    evp::kdf::hkdf_expand(hash, key, info, checked(len)?)
}

/// HKDF, both steps.
pub fn hkdf(hash: Hash, salt: &[u8], secret: &[u8], info: &[u8], len: usize) -> Result<Secret> {
    hkdf_expand(hash, hkdf_extract(hash, salt, secret)?.expose(), info, len)
}

/// PBKDF2 with HMAC (RFC 8018). At least one iteration; else `CKR_MECHANISM_PARAM_INVALID`.
pub fn pbkdf2(hash: Hash, password: &[u8], salt: &[u8], iterations: u32, len: usize) -> Result<Secret> {
    if iterations == 0 {
        return Err(ck::CKR_MECHANISM_PARAM_INVALID.into());
    }
    evp::kdf::pbkdf2(hash, password, salt, iterations, checked(len)?)
}

/// SP 800-108 in counter mode with HMAC: a counter of 32 bits from 1, then `info` (label, zero, context and length in bits,
/// as the application composed them).
pub fn kbkdf_counter(hash: Hash, key: &[u8], info: &[u8], len: usize) -> Result<Secret> {
    evp::kdf::kbkdf_counter(hash, key, info, checked(len)?)
}

fn checked(len: usize) -> Result<usize> {
    if (1..=MOST).contains(&len) { Ok(len) } else { Err(ck::CKR_KEY_SIZE_RANGE.into()) }
}

#[cfg(test)]
mod tests {
    use super::super::{mac, unhex};
    use super::*;

    /// RFC 5869, appendix A, cases 1, 3 and 4.
    #[test]
    fn hkdf_vectors() {
        let salt: Vec<u8> = (0..13).collect();
        let info: Vec<u8> = (0xf0..0xfa).collect();
        let prk = hkdf_extract(Hash::Sha256, &salt, &[0x0b; 22]).unwrap();
        assert_eq!(prk.expose(), unhex("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5"));
        let okm = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865";
        assert_eq!(hkdf(Hash::Sha256, &salt, &[0x0b; 22], &info, 42).unwrap().expose(), unhex(okm));
        let okm = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8";
        assert_eq!(hkdf(Hash::Sha256, &[], &[0x0b; 22], &[], 42).unwrap().expose(), unhex(okm));
        let okm = "085a01ea1b10f36933068b56efa5ad81a4f14b822f5b091568a9cdd4f155fda2c22e422478d305f3f896";
        assert_eq!(hkdf(Hash::Sha1, &salt, &[0x0b; 11], &info, 42).unwrap().expose(), unhex(okm));
        assert_eq!(hkdf(Hash::Sha256, &[], &[1], &[], 255 * 32 + 1).unwrap_err().rv(), ck::CKR_KEY_SIZE_RANGE);
    }

    /// RFC 6070, cases 2 and 5.
    #[test]
    fn pbkdf2_vectors() {
        let key = pbkdf2(Hash::Sha1, b"password", b"salt", 2, 20).unwrap();
        assert_eq!(key.expose(), unhex("ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957"));
        let key = pbkdf2(Hash::Sha1, b"passwordPASSWORDpassword", b"saltSALTsaltSALTsaltSALTsaltSALTsalt", 4096, 25).unwrap();
        assert_eq!(key.expose(), unhex("3d2eec4fe41c849b80c8d83662c0e44a8b291a964cf2f07038"));
        assert_eq!(pbkdf2(Hash::Sha1, b"p", b"s", 0, 20).unwrap_err().rv(), ck::CKR_MECHANISM_PARAM_INVALID);
        assert_eq!(pbkdf2(Hash::Sha1, b"p", b"s", 1, 0).unwrap_err().rv(), ck::CKR_KEY_SIZE_RANGE);
    }

    /// SP 800-108, section 4.1: K(i) = HMAC(key, i || info).
    #[test]
    fn kbkdf_is_its_definition() {
        let block = |i: u32| mac::hmac(Hash::Sha256, b"key", &[&i.to_be_bytes()[..], b"info"].concat()).unwrap();
        let expected = [block(1), block(2)].concat();
        assert_eq!(kbkdf_counter(Hash::Sha256, b"key", b"info", 50).unwrap().expose(), &expected[..50]);
    }
}
