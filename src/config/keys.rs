//! The cluster's keys as `mrhsm.conf` records them.

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use super::{from_hex, to_hex};

/// How the CLDB and DARE keys are wrapped now; 1 is that of earlier versions.
pub const WRAP_FORMAT: u32 = 2;

/// The four keys of a cluster, as far as they exist.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterKeys {
    /// Key encryption key that wraps the CLDB and DARE keys.
    pub core: Option<ClusterKey>,
    /// Key from which the ecosystem's keys are derived.
    pub common: Option<ClusterKey>,
    /// The CLDB key.
    pub cldb: Option<ClusterKey>,
    /// The master key of data at rest.
    pub dare: Option<ClusterKey>,
}

/// One key of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterKey {
    /// Its identifier in the store.
    pub uid: String,
    /// SHA-256 of its value, 64 upper-case hexadecimal digits.
    #[serde(deserialize_with = "checksum")]
    pub checksum: String,
    /// How many keys of this role were made before it, plus one.
    #[serde(deserialize_with = "generation")]
    pub generation: u32,
    /// Its value wrapped under a key that derives from the Core KEK (AES-KWP, RFC 5649), upper-case hexadecimal; KEKs have none.
    #[serde(default, deserialize_with = "wrapped")]
    pub wrapped: Option<String>,
    /// How `wrapped` was made, up to [`WRAP_FORMAT`]; 1 where there is none.
    #[serde(default = "first_format", deserialize_with = "wrap_format")]
    pub format: u32,
}

fn checksum<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    let text = String::deserialize(d)?;
    match from_hex(&text) {
        Some(bytes) if bytes.len() == 32 => Ok(to_hex(&bytes)),
        _ => Err(D::Error::custom("a checksum is 64 hexadecimal digits")),
    }
}

fn wrapped<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(d)?;
    match from_hex(&text) {
        // AES-KWP adds one block of eight bytes and pads to whole ones.
        Some(bytes) if bytes.len() >= 16 && bytes.len().is_multiple_of(8) => {
            Ok(Some(to_hex(&bytes)))
        }
        _ => Err(D::Error::custom(
            "a wrapped key is hexadecimal digits, a multiple of 16 of them",
        )),
    }
}

fn first_format() -> u32 {
    1
}

fn wrap_format<'de, D: Deserializer<'de>>(d: D) -> Result<u32, D::Error> {
    match u32::deserialize(d)? {
        format if (1..=WRAP_FORMAT).contains(&format) => Ok(format),
        other => Err(D::Error::custom(format!(
            "wrapped keys of format {other} need a newer mrhsm"
        ))),
    }
}

fn generation<'de, D: Deserializer<'de>>(d: D) -> Result<u32, D::Error> {
    match u32::deserialize(d)? {
        0 => Err(D::Error::custom("a generation counts from 1")),
        n => Ok(n),
    }
}
