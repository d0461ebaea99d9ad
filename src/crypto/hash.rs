//! Hash functions: SHA-1, SHA-2 and SHA-3, whole or in parts.

use super::{Hash, evp};
use crate::ck;
use crate::error::{Error, Result};

/// A hash being computed, in constant memory however long the message is.
pub struct Digest {
    hash: Hash,
    state: evp::Digest,
}

impl Digest {
    /// A hash of nothing yet.
    pub fn new(hash: Hash) -> Result<Digest> {
        Ok(Digest {
            hash,
            state: evp::Digest::new(hash)?,
        })
    }

    /// Which hash function it is.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// The next part of the message.
    pub fn update(&mut self, data: &[u8]) -> Result<()> {
        self.state.update(data)
    }

    /// The digest of all parts, [`Hash::output_len`] bytes.
    pub fn finish(self) -> Result<Vec<u8>> {
        self.state.finish()
    }

    /// All there is to know of the hash so far, for [`Digest::restore`] of the same build. `CKR_STATE_UNSAVEABLE` for SHA-3,
    /// whose state the library does not show.
    pub fn state(&self) -> Result<Vec<u8>> {
        let mut bytes = self
            .state
            .state(self.hash)
            .ok_or_else(|| Error::from(ck::CKR_STATE_UNSAVEABLE))?;
        bytes.insert(0, self.hash as u8);
        Ok(bytes)
    }

    /// A hash that goes on from a saved state. `CKR_SAVED_STATE_INVALID` for bytes that are none.
    pub fn restore(state: &[u8]) -> Result<Digest> {
        let known = state.split_first().and_then(|(&first, rest)| {
            Some((Hash::ALL.into_iter().find(|h| *h as u8 == first)?, rest))
        });
        let (hash, rest) = known.ok_or_else(|| Error::from(ck::CKR_SAVED_STATE_INVALID))?;
        let mut digest = Digest::new(hash)?;
        digest.state.restore(hash, rest)?;
        Ok(digest)
    }

    /// A second hash that goes on from here by itself.
    pub fn duplicate(&self) -> Result<Digest> {
        Ok(Digest {
            hash: self.hash,
            state: self.state.duplicate()?,
        })
    }
}

/// The digest of `data`.
pub fn digest(hash: Hash, data: &[u8]) -> Result<Vec<u8>> {
    let mut digest = Digest::new(hash)?;
    digest.update(data)?;
    digest.finish()
}

#[cfg(test)]
mod tests {
    use super::super::unhex;
    use super::*;

    /// The digests of "abc", from FIPS 180-4 and FIPS 202 (NIST's example values).
    const ABC: [(Hash, &str); 11] = [
        (Hash::Sha1, "a9993e364706816aba3e25717850c26c9cd0d89d"),
        (
            Hash::Sha224,
            "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7",
        ),
        (
            Hash::Sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ),
        (
            Hash::Sha384,
            "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
        ),
        (
            Hash::Sha512,
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
             2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        ),
        (
            Hash::Sha512_224,
            "4634270f707b6a54daae7530460842e20e37ed265ceee9a43e8924aa",
        ),
        (
            Hash::Sha512_256,
            "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23",
        ),
        (
            Hash::Sha3_224,
            "e642824c3f8cf24ad09234ee7d3c766fc9a3a5168d0c94ad73b46fdf",
        ),
        (
            Hash::Sha3_256,
            "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532",
        ),
        (
            Hash::Sha3_384,
            "ec01498288516fc926459f58e2c6ad8df9b473cb0fc08c2596da7cf0e49be4b298d88cea927ac7f539f1edf228376d25",
        ),
        (
            Hash::Sha3_512,
            "b751850b1a57168a5693cd924b6b096e08f621827444f70d884f5d0240d2712e\
             10e116e9192af3c91a7ec57647e3934057340b4cf408d5a56592f8274eec53f0",
        ),
    ];

    #[test]
    fn the_standards_vectors_whole_and_in_parts() {
        for (hash, expected) in ABC {
            let expected = unhex(expected);
            assert_eq!(expected.len(), hash.output_len());
            assert_eq!(digest(hash, b"abc").unwrap(), expected, "{hash:?}");
            let mut parts = Digest::new(hash).unwrap();
            parts.update(b"a").unwrap();
            let mut fork = parts.duplicate().unwrap();
            parts.update(b"").unwrap();
            parts.update(b"bc").unwrap();
            assert_eq!(parts.finish().unwrap(), expected, "{hash:?}");
            fork.update(b"bc").unwrap();
            assert_eq!(fork.finish().unwrap(), expected, "{hash:?}");
        }
        assert_eq!(ABC.map(|(hash, _)| hash), Hash::ALL);
    }

    #[test]
    fn a_saved_state_goes_on_and_a_forged_one_does_not() {
        for hash in Hash::ALL {
            for len in [0, 1, 63, 64, 127, 128, 200] {
                let mut begun = Digest::new(hash).unwrap();
                begun.update(&vec![7; len]).unwrap();
                let state = match begun.state() {
                    Ok(state) => state,
                    Err(e) => {
                        assert!(e.rv() == ck::CKR_STATE_UNSAVEABLE && hash >= Hash::Sha3_224);
                        continue;
                    }
                };
                let mut resumed = Digest::restore(&state).unwrap();
                assert_eq!(resumed.hash(), hash);
                resumed.update(b"rest").unwrap();
                begun.update(b"rest").unwrap();
                assert_eq!(
                    resumed.finish().unwrap(),
                    begun.finish().unwrap(),
                    "{hash:?} {len}"
                );

                let refused = |state: &[u8]| Digest::restore(state).err().expect("an error").rv();
                assert_eq!(
                    refused(&state[..state.len() - 1]),
                    ck::CKR_SAVED_STATE_INVALID
                );
                assert_eq!(
                    refused(&[&state[..], &[0]].concat()),
                    ck::CKR_SAVED_STATE_INVALID
                );
                let mut forged = state.clone();
                forged[state.len() - 8..].fill(0xff);
                assert_eq!(refused(&forged), ck::CKR_SAVED_STATE_INVALID);
                forged[0] = 0xff;
                assert_eq!(refused(&forged), ck::CKR_SAVED_STATE_INVALID);
                assert_eq!(refused(&[]), ck::CKR_SAVED_STATE_INVALID);
            }
        }
    }
}
