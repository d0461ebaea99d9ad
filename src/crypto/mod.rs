//! Local algorithms. Knows neither PKCS#11 nor KMIP: keys are bytes, parameters are the enums of this folder.
//!
//! Everything comes from AWS-LC: the algorithms and modes that the safe API of `aws-lc-rs` does not offer are reached through
//! the same library's C interface, in [`evp`] alone. Key wrapping is the `aes-kw` crate's.

pub mod cipher;
pub mod crl;
mod evp;
pub mod hash;
pub mod kdf;
pub mod kw;
pub mod mac;
pub mod padding;
pub mod pkey;
pub mod rng;
pub mod seal;
pub mod split;

use serde::{Deserialize, Serialize};

/// A hash function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names are the standard's")]
pub enum Hash {
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
    Sha512_224,
    Sha512_256,
    Sha3_224,
    Sha3_256,
    Sha3_384,
    Sha3_512,
}

impl Hash {
    /// Every hash function of this crate.
    pub const ALL: [Hash; 11] = [
        Hash::Sha1,
        Hash::Sha224,
        Hash::Sha256,
        Hash::Sha384,
        Hash::Sha512,
        Hash::Sha512_224,
        Hash::Sha512_256,
        Hash::Sha3_224,
        Hash::Sha3_256,
        Hash::Sha3_384,
        Hash::Sha3_512,
    ];

    /// Length of a digest in bytes.
    pub fn output_len(self) -> usize {
        match self {
            Hash::Sha1 => 20,
            Hash::Sha224 | Hash::Sha512_224 | Hash::Sha3_224 => 28,
            Hash::Sha256 | Hash::Sha512_256 | Hash::Sha3_256 => 32,
            Hash::Sha384 | Hash::Sha3_384 => 48,
            Hash::Sha512 | Hash::Sha3_512 => 64,
        }
    }
}

/// A named elliptic curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names are the standard's")]
pub enum Curve {
    P224,
    P256,
    P384,
    P521,
    Secp256k1,
    Ed25519,
    X25519,
}

impl Curve {
    /// Every curve of this crate.
    pub const ALL: [Curve; 7] = [
        Curve::P224,
        Curve::P256,
        Curve::P384,
        Curve::P521,
        Curve::Secp256k1,
        Curve::Ed25519,
        Curve::X25519,
    ];

    /// Length of the order in bits, which is a key's length.
    pub fn bits(self) -> u32 {
        match self {
            Curve::P224 => 224,
            Curve::P256 | Curve::Secp256k1 => 256,
            Curve::P384 => 384,
            Curve::P521 => 521,
            Curve::Ed25519 | Curve::X25519 => 255,
        }
    }

    /// Length of a scalar in bytes.
    pub fn scalar_len(self) -> usize {
        self.bits().div_ceil(8) as usize
    }

    /// The curve's object identifier in DER, tag and length included (ECParameters of RFC 5480 and RFC 8410).
    pub fn params(self) -> &'static [u8] {
        match self {
            Curve::P224 => &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x21],
            Curve::P256 => &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
            Curve::P384 => &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22],
            Curve::P521 => &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23],
            Curve::Secp256k1 => &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a],
            Curve::Ed25519 => &[0x06, 0x03, 0x2b, 0x65, 0x70],
            Curve::X25519 => &[0x06, 0x03, 0x2b, 0x65, 0x6e],
        }
    }

    /// The curve of ECParameters in DER: its identifier, or a name (a PrintableString), which PKCS#11 allows too.
    pub fn from_params(der: &[u8]) -> Option<Curve> {
        match der {
            [0x13, len, name @ ..] if name.len() == usize::from(*len) => Some(match name {
                b"secp224r1" | b"P-224" => Curve::P224,
                b"secp256r1" | b"prime256v1" | b"P-256" => Curve::P256,
                b"secp384r1" | b"P-384" => Curve::P384,
                b"secp521r1" | b"P-521" => Curve::P521,
                b"secp256k1" => Curve::Secp256k1,
                b"edwards25519" => Curve::Ed25519,
                b"curve25519" => Curve::X25519,
                _ => return None,
            }),
            _ => Curve::ALL.into_iter().find(|curve| curve.params() == der),
        }
    }
}

/// The bytes of a hexadecimal literal, for the standards' vectors in tests.
#[cfg(test)]
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}
