//! From a PIN to the key that wraps the token key.
//!
//! A PIN that somebody chose is stretched by Argon2id, at a cost that is measured on the machine where it is set and kept with
//! the result. A random PIN of 128 bits cannot be guessed, so HKDF suffices.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use argon2::{Algorithm, Argon2, Params};

use super::{KEY_LEN, SALT_LEN};
use crate::ck::{CKR_GENERAL_ERROR, CKR_HOST_MEMORY};
use crate::crypto::{Hash, kdf};
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;

/// What one Argon2id costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
}

/// What a new PIN costs at least.
const LEAST: Cost = Cost {
    memory_kib: 32 * 1024,
    passes: 3,
};
/// What it costs where tokens are opened by the hundred.
const CHEAP: Cost = Cost {
    memory_kib: 64,
    passes: 1,
};
/// The memory grows to this (the second choice of RFC 9106), because many processes may start at once; then the passes grow.
const MOST: Cost = Cost {
    memory_kib: 64 * 1024,
    passes: 16,
};
/// How long it shall take on this machine.
const TARGET: Duration = Duration::from_millis(100);
/// What a file may ask for: enough for any stronger choice of tomorrow, too little to stop a machine.
const ACCEPTED: Cost = Cost {
    memory_kib: 1024 * 1024,
    passes: 32,
};

impl Cost {
    /// The cost of a new PIN, measured once per process.
    pub(super) fn measured() -> Result<Cost> {
        static MEASURED: AtomicU64 = AtomicU64::new(0);
        if cfg!(any(test, fuzzing)) {
            return Ok(CHEAP);
        }
        let known = MEASURED.load(Ordering::Relaxed);
        if known != 0 {
            return Ok(Cost {
                memory_kib: (known >> 32) as u32,
                passes: known as u32,
            });
        }
        let began = Instant::now();
        argon2id(b"measured", &[0; SALT_LEN], LEAST)?;
        let cost = Cost::after(began.elapsed());
        let packed = u64::from(cost.memory_kib) << 32 | u64::from(cost.passes);
        MEASURED.store(packed, Ordering::Relaxed);
        Ok(cost)
    }

    /// The cost that takes [`TARGET`] on a machine where the least takes `least`.
    fn after(least: Duration) -> Cost {
        let factor = TARGET.as_secs_f64() / least.as_secs_f64().max(1e-6);
        let memory = f64::from(LEAST.memory_kib) * factor;
        // Whole MiB.
        let memory_kib = (memory as u32).clamp(LEAST.memory_kib, MOST.memory_kib) & !1023;
        let grown = f64::from(memory_kib) / f64::from(LEAST.memory_kib);
        let passes = f64::from(LEAST.passes) * factor / grown;
        Cost {
            memory_kib,
            passes: (passes as u32).clamp(LEAST.passes, MOST.passes),
        }
    }

    /// False when a file asks for more than any PIN needs, or for nothing.
    pub(super) fn is_acceptable(self) -> bool {
        (8..=ACCEPTED.memory_kib).contains(&self.memory_kib)
            && (1..=ACCEPTED.passes).contains(&self.passes)
    }
}

/// The wrapping key of a PIN that somebody chose. Errors: `CKR_HOST_MEMORY`.
pub(super) fn argon2id(pin: &[u8], salt: &[u8], cost: Cost) -> Result<Secret> {
    let failed = |e| {
        let (rv, message) = match e {
            argon2::Error::OutOfMemory => (
                CKR_HOST_MEMORY,
                format!(
                    "no memory to check a PIN: {} KiB are needed",
                    cost.memory_kib
                ),
            ),
            e => (CKR_GENERAL_ERROR, format!("a PIN cannot be stretched: {e}")),
        };
        Error::new(Kind::Pkcs11, rv, message)
    };
    let params = Params::new(cost.memory_kib, cost.passes, 1, Some(KEY_LEN)).map_err(failed)?;
    let mut out = vec![0; KEY_LEN];
    let done = Argon2::new(Algorithm::Argon2id, argon2::Version::V0x13, params)
        .hash_password_into(pin, salt, &mut out);
    let key = Secret::new(out);
    done.map_err(failed)?;
    Ok(key)
}

/// The wrapping key of a random PIN.
pub(super) fn hkdf(pin: &[u8], salt: &[u8]) -> Result<Secret> {
    kdf::hkdf(Hash::Sha256, salt, pin, b"mrhsm random PIN", KEY_LEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_machines_get_the_least_and_fast_ones_more_memory_then_more_passes() {
        for (millis, memory_mib, passes) in [
            (10_000, 32, 3),
            (100, 32, 3),
            (80, 40, 3),
            (50, 64, 3),
            (25, 64, 6),
            (1, 64, 16),
            (0, 64, 16),
        ] {
            let cost = Cost::after(Duration::from_millis(millis));
            assert_eq!(
                (cost.memory_kib / 1024, cost.passes),
                (memory_mib, passes),
                "{millis} ms"
            );
            assert!(cost.is_acceptable());
        }
    }
}
