//! Message authentication codes: HMAC, CMAC and GMAC, whole or in parts.

use super::cipher::Key;
use super::{Hash, evp};
use crate::ck;
use crate::error::Result;

/// A MAC being computed, in constant memory.
pub struct Mac(Engine);

enum Engine {
    Hmac(evp::Hmac),
    Cmac(evp::Cmac),
    /// GCM that encrypts nothing: the message is its additional data.
    Gmac(evp::Cipher),
}

impl Mac {
    /// HMAC (FIPS 198-1) with a key of any length.
    pub fn hmac(hash: Hash, key: &[u8]) -> Result<Mac> {
        Ok(Mac(Engine::Hmac(evp::Hmac::new(hash, key)?)))
    }

    /// CMAC (SP 800-38B) of AES or Triple DES. `CKR_KEY_SIZE_RANGE` for a key of a wrong length.
    pub fn cmac(key: Key<'_>) -> Result<Mac> {
        match key {
            Key::Aes(key) => Ok(Mac(Engine::Cmac(evp::Cmac::new(false, key)?))),
            Key::TripleDes(key) => Ok(Mac(Engine::Cmac(evp::Cmac::new(true, key)?))),
            Key::AesXts(_) | Key::ChaCha20(_) => Err(ck::CKR_KEY_TYPE_INCONSISTENT.into()),
        }
    }

    /// GMAC (SP 800-38D) of AES with a nonce, which must never be used twice with a key.
    pub fn gmac(key: &[u8], iv: &[u8]) -> Result<Mac> {
        Ok(Mac(Engine::Gmac(evp::Cipher::new(
            evp::Kind::Gcm,
            true,
            key,
            iv,
            false,
        )?)))
    }

    /// The next part of the message.
    pub fn update(&mut self, data: &[u8]) -> Result<()> {
        match &mut self.0 {
            Engine::Hmac(hmac) => hmac.update(data),
            Engine::Cmac(cmac) => cmac.update(data),
            Engine::Gmac(gcm) => gcm.aad(data),
        }
    }

    /// The code of all parts, in full length.
    pub fn finish(self) -> Result<Vec<u8>> {
        match self.0 {
            Engine::Hmac(hmac) => hmac.finish(),
            Engine::Cmac(cmac) => cmac.finish(),
            Engine::Gmac(mut gcm) => {
                let mut tag = Vec::new();
                gcm.finish(&mut tag, ck::CKR_FUNCTION_FAILED)?;
                gcm.tag(16, &mut tag)?;
                Ok(tag)
            }
        }
    }

    /// Ends with a comparison in constant time; `expected` may be the first bytes only, as long as there are any.
    ///
    /// `CKR_SIGNATURE_INVALID`, or `CKR_SIGNATURE_LEN_RANGE` for a length that cannot be.
    pub fn verify(self, expected: &[u8]) -> Result<()> {
        let actual = self.finish()?;
        match actual.get(..expected.len()) {
            Some(actual) if !actual.is_empty() => {
                let same =
                    aws_lc_rs::constant_time::verify_slices_are_equal(actual, expected).is_ok();
                if same {
                    Ok(())
                } else {
                    Err(ck::CKR_SIGNATURE_INVALID.into())
                }
            }
            _ => Err(ck::CKR_SIGNATURE_LEN_RANGE.into()),
        }
    }
}

/// HMAC of a whole message.
pub fn hmac(hash: Hash, key: &[u8], data: &[u8]) -> Result<Vec<u8>> {
    let mut mac = Mac::hmac(hash, key)?;
    mac.update(data)?;
    mac.finish()
}

/// CMAC of a whole message.
pub fn cmac(key: Key<'_>, data: &[u8]) -> Result<Vec<u8>> {
    let mut mac = Mac::cmac(key)?;
    mac.update(data)?;
    mac.finish()
}

#[cfg(test)]
mod tests {
    use super::super::cipher::{Cipher, Direction, Mode};
    use super::super::unhex;
    use super::*;

    /// RFC 4231, case 2, and RFC 2202, case 2, for SHA-1.
    #[test]
    fn hmac_vectors() {
        for (hash, expected) in [
            (Hash::Sha1, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
            (
                Hash::Sha224,
                "a30e01098bc6dbbf45690f3a7e9e6d0f8bbea2a39e6148008fd05e44",
            ),
            (
                Hash::Sha256,
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                Hash::Sha384,
                "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
            ),
            (
                Hash::Sha512,
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554\
                 9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
            ),
        ] {
            assert_eq!(
                hmac(hash, b"Jefe", b"what do ya want for nothing?").unwrap(),
                unhex(expected),
                "{hash:?}"
            );
        }
        for hash in Hash::ALL {
            assert_eq!(hmac(hash, b"", b"").unwrap().len(), hash.output_len());
            let mut parts = Mac::hmac(hash, &[7; 200]).unwrap();
            parts.update(b"ab").unwrap();
            parts.update(b"c").unwrap();
            parts
                .verify(&hmac(hash, &[7; 200], b"abc").unwrap())
                .unwrap();
        }
    }

    /// RFC 4493, section 4, and SP 800-38B for AES-256 and Triple DES.
    #[test]
    fn cmac_vectors() {
        let message = unhex(
            "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52ef\
             f69f2445df4f9b17ad2b417be66c3710",
        );
        let key = unhex("2b7e151628aed2a6abf7158809cf4f3c");
        for (len, expected) in [
            (0, "bb1d6929e95937287fa37d129b756746"),
            (16, "070a16b46b4d4144f79bdd9dd04a287c"),
            (40, "dfa66747de9ae63030ca32611497c827"),
            (64, "51f0bebf7e3b9d92fc49741779363cfe"),
        ] {
            assert_eq!(
                cmac(Key::Aes(&key), &message[..len]).unwrap(),
                unhex(expected)
            );
        }
        let key = unhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4");
        assert_eq!(
            cmac(Key::Aes(&key), &message[..16]).unwrap(),
            unhex("28a7023f452e8f82bd4bf28d8c37c35c")
        );
        let key = unhex("8aa83bf8cbda10620bc1bf19fbb6cd58bc313d4a371ca8b5");
        assert_eq!(
            cmac(Key::TripleDes(&key), &message[..8]).unwrap(),
            unhex("8e8f293136283797")
        );
        assert_eq!(
            Mac::cmac(Key::Aes(&[0; 17])).err().unwrap().rv(),
            ck::CKR_KEY_SIZE_RANGE
        );
    }

    #[test]
    fn gmac_is_gcm_of_nothing() {
        let (key, iv) = ([3; 32], [4; 12]);
        let mut mac = Mac::gmac(&key, &iv).unwrap();
        mac.update(b"to be ").unwrap();
        mac.update(b"authenticated").unwrap();
        let mode = Mode::Gcm {
            iv: &iv,
            aad: b"to be authenticated",
            tag_len: 16,
        };
        let gcm = Cipher::new(Direction::Encrypt, Key::Aes(&key), mode)
            .unwrap()
            .run(&[])
            .unwrap();
        assert_eq!(mac.finish().unwrap(), gcm);
    }

    #[test]
    fn verify_compares_all_that_is_given() {
        let mac = || Mac::hmac(Hash::Sha256, b"key").unwrap();
        let code = mac().finish().unwrap();
        mac().verify(&code).unwrap();
        mac().verify(&code[..10]).unwrap();
        let mut wrong = code.clone();
        wrong[31] ^= 1;
        assert_eq!(
            mac().verify(&wrong).unwrap_err().rv(),
            ck::CKR_SIGNATURE_INVALID
        );
        assert_eq!(
            mac().verify(&[]).unwrap_err().rv(),
            ck::CKR_SIGNATURE_LEN_RANGE
        );
        assert_eq!(
            mac().verify(&[code, vec![0]].concat()).unwrap_err().rv(),
            ck::CKR_SIGNATURE_LEN_RANGE
        );
    }
}
