//! AES Key Wrap (RFC 3394) and AES Key Wrap with Padding (RFC 5649).

use aes_kw::KeyInit;
use aes_kw::aes::{Aes128, Aes192, Aes256};
use aes_kw::{AesKw, AesKwp};

use crate::ck;
use crate::error::{Error, Result};
use crate::secret::Secret;

/// Which of the two key wrappings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wrapping {
    /// RFC 3394: keys of a multiple of 8 bytes, at least 16.
    Kw,
    /// RFC 5649: keys of any length but zero.
    Kwp,
}

/// Calls `$body` with `$cipher` bound to the wrapping keyed with `$kek`.
macro_rules! with_cipher {
    ($kind:ident, $kek:expr, |$cipher:ident| $body:expr) => {{
        let refused = |_| Error::from(ck::CKR_KEY_SIZE_RANGE);
        match $kek.len() {
            16 => $kind::<Aes128>::new_from_slice($kek)
                .map_err(refused)
                .and_then(|$cipher| $body),
            24 => $kind::<Aes192>::new_from_slice($kek)
                .map_err(refused)
                .and_then(|$cipher| $body),
            32 => $kind::<Aes256>::new_from_slice($kek)
                .map_err(refused)
                .and_then(|$cipher| $body),
            _ => Err(ck::CKR_KEY_SIZE_RANGE.into()),
        }
    }};
}

/// Wraps `key` under `kek` (16, 24 or 32 bytes). `CKR_DATA_LEN_RANGE` for a key that the wrapping cannot take.
pub fn wrap(wrapping: Wrapping, kek: &[u8], key: &[u8]) -> Result<Vec<u8>> {
    let refused = |_| Error::from(ck::CKR_DATA_LEN_RANGE);
    let whole = key.len().is_multiple_of(8) && key.len() >= 16;
    if key.is_empty() || (wrapping == Wrapping::Kw && !whole) {
        return Err(ck::CKR_DATA_LEN_RANGE.into());
    }
    let mut out = vec![0; key.len().next_multiple_of(8) + 8];
    match wrapping {
        Wrapping::Kw => with_cipher!(AesKw, kek, |c| c
            .wrap_key(key, &mut out)
            .map(|_| ())
            .map_err(refused)),
        Wrapping::Kwp => with_cipher!(AesKwp, kek, |c| c
            .wrap_key(key, &mut out)
            .map(|_| ())
            .map_err(refused)),
    }?;
    Ok(out)
}

/// Unwraps what [`wrap`] made. `CKR_WRAPPED_KEY_INVALID` when it was made under another key or changed since.
pub fn unwrap(wrapping: Wrapping, kek: &[u8], wrapped: &[u8]) -> Result<Secret> {
    let refused = |_| Error::from(ck::CKR_WRAPPED_KEY_INVALID);
    let least = if wrapping == Wrapping::Kw { 24 } else { 16 };
    if wrapped.len() < least || !wrapped.len().is_multiple_of(8) {
        return Err(ck::CKR_WRAPPED_KEY_LEN_RANGE.into());
    }
    let mut out = zeroize::Zeroizing::new(vec![0; wrapped.len()]);
    let len = match wrapping {
        Wrapping::Kw => with_cipher!(AesKw, kek, |c| c
            .unwrap_key(wrapped, &mut out)
            .map(<[u8]>::len)
            .map_err(refused)),
        Wrapping::Kwp => with_cipher!(AesKwp, kek, |c| c
            .unwrap_key(wrapped, &mut out)
            .map(<[u8]>::len)
            .map_err(refused)),
    }?;
    Ok(Secret::new(out[..len].to_vec()))
}

#[cfg(test)]
mod tests {
    use super::super::unhex;
    use super::*;

    #[test]
    fn rfc_3394_vectors() {
        let kek = unhex("000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F");
        let key = unhex("00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F");
        for (kek_len, key_len, expected) in [
            (16, 16, "1FA68B0A8112B447 AEF34BD8FB5A7B82 9D3E862371D2CFE5"),
            (
                24,
                24,
                "031D33264E15D332 68F24EC260743EDC E1C6C7DDEE725A93 6BA814915C6762D2",
            ),
            (
                32,
                32,
                "28C9F404C4B810F4 CBCCB35CFB87F826 3F5786E2D80ED326 CBC7F0E71A99F43B FB988B9B7A02DD21",
            ),
        ] {
            let wrapped = wrap(Wrapping::Kw, &kek[..kek_len], &key[..key_len]).unwrap();
            assert_eq!(wrapped, unhex(expected));
            assert_eq!(
                unwrap(Wrapping::Kw, &kek[..kek_len], &wrapped)
                    .unwrap()
                    .expose(),
                &key[..key_len]
            );
        }
    }

    #[test]
    fn rfc_5649_vectors() {
        let kek = unhex("5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8");
        for (key, expected) in [
            (
                "c37b7e6492584340bed12207808941155068f738",
                "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a",
            ),
            ("466f7250617369", "afbeb0f07dfbf5419200f2ccb50bb24f"),
        ] {
            let wrapped = wrap(Wrapping::Kwp, &kek, &unhex(key)).unwrap();
            assert_eq!(wrapped, unhex(expected));
            assert_eq!(
                unwrap(Wrapping::Kwp, &kek, &wrapped).unwrap().expose(),
                unhex(key)
            );
        }
    }

    #[test]
    fn wrong_input_is_refused() {
        let rv = |r: Result<Secret>| r.unwrap_err().rv();
        for wrapping in [Wrapping::Kw, Wrapping::Kwp] {
            let mut wrapped = wrap(wrapping, &[1; 32], &[2; 32]).unwrap();
            assert_eq!(
                rv(unwrap(wrapping, &[3; 32], &wrapped)),
                ck::CKR_WRAPPED_KEY_INVALID
            );
            assert_eq!(
                rv(unwrap(wrapping, &[1; 31], &wrapped)),
                ck::CKR_KEY_SIZE_RANGE
            );
            assert_eq!(
                rv(unwrap(wrapping, &[1; 32], &wrapped[..39])),
                ck::CKR_WRAPPED_KEY_LEN_RANGE
            );
            assert_eq!(
                rv(unwrap(wrapping, &[1; 32], &[])),
                ck::CKR_WRAPPED_KEY_LEN_RANGE
            );
            wrapped[39] ^= 1;
            assert_eq!(
                rv(unwrap(wrapping, &[1; 32], &wrapped)),
                ck::CKR_WRAPPED_KEY_INVALID
            );
            assert_eq!(
                wrap(wrapping, &[1; 32], &[]).unwrap_err().rv(),
                ck::CKR_DATA_LEN_RANGE
            );
        }
        assert_eq!(
            wrap(Wrapping::Kw, &[1; 32], &[2; 20]).unwrap_err().rv(),
            ck::CKR_DATA_LEN_RANGE
        );
    }
}
