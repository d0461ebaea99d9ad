//! Random bytes: AWS-LC's generator, seeded by the operating system and safe across `fork`.

use std::sync::{Mutex, PoisonError};

use super::hash::Digest;
use super::{Hash, evp, kdf};
use crate::error::Result;
use crate::secret::{Secret, reserve};

/// Fills `buffer` with random bytes.
pub fn fill(buffer: &mut [u8]) -> Result<()> {
    evp::random(buffer)
}

/// `len` random bytes, fit for a key.
pub fn bytes(len: usize) -> Result<Secret> {
    let mut bytes = reserve::room(len)?;
    bytes.resize(len, 0);
    fill(&mut bytes)?;
    Ok(Secret::new(bytes))
}

/// Length of the stream that is made of the seeds at once.
const STREAM: usize = 1 << 12;

/// The generator, and what an application adds to it (`C_SeedRandom`): a second stream, made of the seeds, is mixed in. It cannot make
/// the bytes worse, for each draw of it starts with fresh random bytes.
#[derive(Default)]
pub struct Seeded {
    /// The hash of all seeds; empty without any.
    seeds: Mutex<Secret>,
}

impl Seeded {
    /// Adds a seed to those before.
    pub fn add(&self, seed: &[u8]) -> Result<()> {
        let mut seeds = self.seeds.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = Digest::new(Hash::Sha512)?;
        all.update(seeds.expose())?;
        all.update(seed)?;
        *seeds = Secret::new(all.finish()?);
        Ok(())
    }

    /// `len` random bytes.
    pub fn bytes(&self, len: usize) -> Result<Secret> {
        let bytes = bytes(len)?;
        let seeds = self.seeds.lock().unwrap_or_else(PoisonError::into_inner);
        if seeds.is_empty() {
            return Ok(bytes);
        }
        let mut mixed = reserve::room(len)?;
        for part in bytes.expose().chunks(STREAM) {
            let stream = kdf::x9_63(
                Hash::Sha512,
                seeds.expose(),
                self::bytes(64)?.expose(),
                part.len(),
            )?;
            mixed.extend(part.iter().zip(stream.expose()).map(|(a, b)| a ^ b));
        }
        Ok(Secret::new(mixed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_mixed_in() {
        let seeded = Seeded::default();
        assert_eq!(seeded.bytes(40).unwrap().len(), 40);
        let mut before = seeded.seeds.lock().unwrap().duplicate();
        for seed in [&[0; 32][..], &[0; 32], b""] {
            seeded.add(seed).unwrap();
            let after = seeded.seeds.lock().unwrap().duplicate();
            assert_ne!(before, after);
            before = after;
            for len in [0, 1, 64, 100_000] {
                assert_eq!(seeded.bytes(len).unwrap().len(), len);
            }
            assert_ne!(seeded.bytes(32).unwrap(), seeded.bytes(32).unwrap());
        }
    }

    #[test]
    fn two_draws_differ() {
        assert_ne!(bytes(32).unwrap(), bytes(32).unwrap());
        assert_eq!(bytes(0).unwrap().len(), 0);
    }
}
