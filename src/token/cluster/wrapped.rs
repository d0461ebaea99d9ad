//! The CLDB and DARE keys as `mrhsm.conf` holds them: wrapped under the Core KEK, bound to their cluster, role and generation.
//!
//! What wraps is not the Core KEK but a key that HKDF derives from it for one place, so that a wrapped DARE key does not unwrap as
//! a CLDB key, nor a key of one cluster or generation as that of another. Earlier versions wrapped under the Core KEK itself
//! (format 1); that is still read, and written anew by the next `enable` or `rekey`.

use super::Role;
use crate::ck::CKR_GENERAL_ERROR;
use crate::config::{ClusterKey, WRAP_FORMAT, from_hex, to_hex};
use crate::crypto::kw::{self, Wrapping};
use crate::crypto::{Hash, kdf};
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;

/// Which key it is.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub cluster: &'a str,
    pub role: Role,
    pub generation: u32,
}

impl Place<'_> {
    /// The key that wraps the key of this place.
    fn kek(self, core: &Secret) -> Result<Secret> {
        let mut info = b"mrhsm wrapped key".to_vec();
        // Each text after its length, so that no two places have the same bytes.
        for text in [self.cluster, self.role.word()] {
            info.extend((text.len() as u64).to_be_bytes());
            info.extend(text.as_bytes());
        }
        info.extend(self.generation.to_be_bytes());
        kdf::hkdf(Hash::Sha256, &[], core.expose(), &info, core.len())
    }
}

/// A key wrapped under the Core KEK for its place, proven to unwrap to the same value.
pub(super) fn wrap(core: &Secret, place: Place<'_>, value: &Secret) -> Result<String> {
    let kek = place.kek(core)?;
    let wrapped = kw::wrap(Wrapping::Kwp, kek.expose(), value.expose())?;
    if kw::unwrap(Wrapping::Kwp, kek.expose(), &wrapped)? != *value {
        return Err(Error::new(
            Kind::Pkcs11,
            CKR_GENERAL_ERROR,
            "a wrapped key does not unwrap",
        ));
    }
    Ok(to_hex(&wrapped))
}

/// The value of a key of `mrhsm.conf`; `None` when it is not wrapped, was wrapped under another KEK or for another place, or is
/// damaged.
pub(super) fn unwrap(core: &Secret, place: Place<'_>, key: &ClusterKey) -> Option<Secret> {
    let wrapped = from_hex(key.wrapped.as_deref()?)?;
    let derived = match key.format {
        WRAP_FORMAT => Some(place.kek(core).ok()?),
        _ => None,
    };
    let kek = derived.as_ref().unwrap_or(core);
    kw::unwrap(Wrapping::Kwp, kek.expose(), &wrapped).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place<'_> = Place {
        cluster: "my.cluster.com",
        role: Role::Cldb,
        generation: 1,
    };

    fn key(format: u32, wrapped: String) -> ClusterKey {
        ClusterKey {
            uid: "1".into(),
            checksum: "00".repeat(32),
            generation: 1,
            wrapped: Some(wrapped),
            format,
        }
    }

    #[test]
    fn a_key_unwraps_in_its_place_only() {
        let (core, value) = (Secret::new(vec![1; 32]), Secret::new(vec![2; 32]));
        let wrapped = key(WRAP_FORMAT, wrap(&core, PLACE, &value).unwrap());
        assert_eq!(
            unwrap(&core, PLACE, &wrapped),
            Some(Secret::new(vec![2; 32]))
        );
        for other in [
            Place {
                role: Role::Dare,
                ..PLACE
            },
            Place {
                cluster: "my.cluster.co",
                ..PLACE
            },
            Place {
                cluster: "my.cluster.comc",
                ..PLACE
            },
            Place {
                generation: 2,
                ..PLACE
            },
        ] {
            assert_eq!(unwrap(&core, other, &wrapped), None);
        }
        assert_eq!(unwrap(&value, PLACE, &wrapped), None);
        // Nor does it open as what an earlier version wrapped.
        let relabelled = ClusterKey {
            format: 1,
            ..wrapped
        };
        assert_eq!(unwrap(&core, PLACE, &relabelled), None);
    }

    #[test]
    fn what_an_earlier_version_wrapped_is_read() {
        let (core, value) = (Secret::new(vec![1; 32]), Secret::new(vec![2; 32]));
        let old = kw::wrap(Wrapping::Kwp, core.expose(), value.expose()).unwrap();
        let old = key(1, to_hex(&old));
        assert_eq!(unwrap(&core, PLACE, &old), Some(value));
        assert_eq!(
            unwrap(
                &core,
                PLACE,
                &ClusterKey {
                    format: WRAP_FORMAT,
                    ..old
                }
            ),
            None
        );
    }
}
