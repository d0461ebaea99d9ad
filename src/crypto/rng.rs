//! Random bytes: AWS-LC's generator, seeded by the operating system and safe across `fork`.

use super::evp;
use crate::error::Result;
use crate::secret::Secret;

/// Fills `buffer` with random bytes.
pub fn fill(buffer: &mut [u8]) -> Result<()> {
    evp::random(buffer)
}

/// `len` random bytes, fit for a key.
pub fn bytes(len: usize) -> Result<Secret> {
    let mut bytes = vec![0; len];
    fill(&mut bytes)?;
    Ok(Secret::new(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_draws_differ() {
        assert_ne!(bytes(32).unwrap(), bytes(32).unwrap());
        assert_eq!(bytes(0).unwrap().len(), 0);
    }
}
