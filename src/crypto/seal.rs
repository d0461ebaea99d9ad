//! Sealing: AES-256-GCM with a random nonce, for what is kept in files under a token's key.
//!
//! A sealed blob is nonce (12 bytes), ciphertext, tag (16 bytes). The associated data says what the blob is and where it
//! belongs, so that one cannot stand in for another.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::ck::{CKR_DEVICE_ERROR, CKR_GENERAL_ERROR};
use crate::crypto::rng;
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;

/// How much longer a sealed blob is than its content, in bytes.
pub const OVERHEAD: usize = NONCE_LEN + 16;

/// A key made ready for sealing and opening.
pub struct Sealer(LessSafeKey);

impl Sealer {
    /// Takes a 32-byte key; any other length is an error.
    pub fn new(key: &[u8]) -> Result<Sealer> {
        let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| {
            Error::new(
                Kind::Pkcs11,
                CKR_GENERAL_ERROR,
                "a sealing key has 32 bytes",
            )
        })?;
        Ok(Sealer(LessSafeKey::new(key)))
    }

    /// Seals `content` so that it opens only with the same key and the same associated data.
    pub fn seal(&self, associated: &[u8], content: &[u8]) -> Result<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        rng::fill(&mut nonce)?;
        let mut sealed = Vec::with_capacity(content.len() + OVERHEAD);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(content);
        let tag = self
            .0
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(associated),
                &mut sealed[NONCE_LEN..],
            )
            .map_err(|_| Error::new(Kind::Pkcs11, CKR_GENERAL_ERROR, "sealing failed"))?;
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    /// Opens what [`seal`](Sealer::seal) made; anything else, and anything changed, is an error.
    pub fn open(&self, associated: &[u8], sealed: &[u8]) -> Result<Secret> {
        let refused = || {
            Error::new(
                Kind::File,
                CKR_DEVICE_ERROR,
                "the content does not authenticate: it was changed or belongs elsewhere",
            )
        };
        let (nonce, rest) = sealed.split_at_checked(NONCE_LEN).ok_or_else(refused)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| refused())?;
        let mut content = rest.to_vec();
        let length = self
            .0
            .open_in_place(nonce, Aad::from(associated), &mut content)
            .map_err(|_| refused())?
            .len();
        content.truncate(length);
        Ok(Secret::new(content))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_unchanged_and_in_its_place() {
        let sealer = Sealer::new(&[7; 32]).unwrap();
        let sealed = sealer.seal(b"here", b"content").unwrap();
        assert_eq!(sealed.len(), 7 + OVERHEAD);
        assert_eq!(sealer.open(b"here", &sealed).unwrap().expose(), b"content");
        assert!(sealer.open(b"there", &sealed).is_err());
        assert!(
            Sealer::new(&[8; 32])
                .unwrap()
                .open(b"here", &sealed)
                .is_err()
        );
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(sealer.open(b"here", &changed).is_err(), "byte {at}");
            assert!(sealer.open(b"here", &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn refuses_a_key_of_another_length() {
        assert!(Sealer::new(&[0; 16]).is_err());
    }
}
