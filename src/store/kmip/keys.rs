//! Keys in KMIP's words, as both ends speak them: curves, hash functions, and transparent keys, which are numbers. The embedded
//! server reads them by the same code.

use crate::ck::CKR_ATTRIBUTE_VALUE_INVALID;
use crate::crypto::pkey::{PrivateKey, PublicKey, RsaParts};
use crate::crypto::{Curve, Hash};
use crate::error::{Error, Kind, Result};
use crate::kmip::{CryptographicAlgorithm, HashingAlgorithm, RecommendedCurve, TransparentKey};
use crate::secret::Secret;
use crate::ttlv::BigInteger;

/// The Recommended Curve.
pub fn curve(curve: Curve) -> RecommendedCurve {
    match curve {
        Curve::P224 => RecommendedCurve::P_224,
        Curve::P256 => RecommendedCurve::P_256,
        Curve::P384 => RecommendedCurve::P_384,
        Curve::P521 => RecommendedCurve::P_521,
        Curve::Secp256k1 => RecommendedCurve::SECP256K1,
        Curve::Ed25519 | Curve::X25519 => RecommendedCurve::CURVE25519,
    }
}

/// The curve that is recommended; `None` for one this crate does not use.
pub fn curve_of(curve: RecommendedCurve) -> Option<Curve> {
    Some(match curve {
        RecommendedCurve::P_224 => Curve::P224,
        RecommendedCurve::P_256 => Curve::P256,
        RecommendedCurve::P_384 => Curve::P384,
        RecommendedCurve::P_521 => Curve::P521,
        RecommendedCurve::SECP256K1 => Curve::Secp256k1,
        RecommendedCurve::CURVE25519 => Curve::X25519,
        _ => return None,
    })
}

/// The hash functions by their Hashing Algorithm.
const HASHES: [(HashingAlgorithm, Hash); 11] = [
    (HashingAlgorithm::SHA_1, Hash::Sha1),
    (HashingAlgorithm::SHA_224, Hash::Sha224),
    (HashingAlgorithm::SHA_256, Hash::Sha256),
    (HashingAlgorithm::SHA_384, Hash::Sha384),
    (HashingAlgorithm::SHA_512, Hash::Sha512),
    (HashingAlgorithm::SHA_512_224, Hash::Sha512_224),
    (HashingAlgorithm::SHA_512_256, Hash::Sha512_256),
    (HashingAlgorithm::SHA3_224, Hash::Sha3_224),
    (HashingAlgorithm::SHA3_256, Hash::Sha3_256),
    (HashingAlgorithm::SHA3_384, Hash::Sha3_384),
    (HashingAlgorithm::SHA3_512, Hash::Sha3_512),
];

/// The Hashing Algorithm.
pub fn hash(hash: Hash) -> HashingAlgorithm {
    HASHES
        .iter()
        .find(|(_, own)| *own == hash)
        .expect("every hash function has a number")
        .0
}

/// The hash function; `None` for one this crate does not have.
pub fn hash_of(hash: HashingAlgorithm) -> Option<Hash> {
    HASHES
        .iter()
        .find(|(name, _)| *name == hash)
        .map(|(_, own)| *own)
}

/// The hash functions by the Cryptographic Algorithm of their HMAC.
const HMACS: [(CryptographicAlgorithm, Hash); 9] = [
    (CryptographicAlgorithm::HMAC_SHA1, Hash::Sha1),
    (CryptographicAlgorithm::HMAC_SHA224, Hash::Sha224),
    (CryptographicAlgorithm::HMAC_SHA256, Hash::Sha256),
    (CryptographicAlgorithm::HMAC_SHA384, Hash::Sha384),
    (CryptographicAlgorithm::HMAC_SHA512, Hash::Sha512),
    (CryptographicAlgorithm::HMAC_SHA3_224, Hash::Sha3_224),
    (CryptographicAlgorithm::HMAC_SHA3_256, Hash::Sha3_256),
    (CryptographicAlgorithm::HMAC_SHA3_384, Hash::Sha3_384),
    (CryptographicAlgorithm::HMAC_SHA3_512, Hash::Sha3_512),
];

/// The Cryptographic Algorithm of an HMAC; `None` where KMIP has none.
pub fn hmac(hash: Hash) -> Option<CryptographicAlgorithm> {
    HMACS
        .iter()
        .find(|(_, own)| *own == hash)
        .map(|(name, _)| *name)
}

/// The hash function of an HMAC; `None` for another algorithm.
pub fn hash_of_hmac(algorithm: CryptographicAlgorithm) -> Option<Hash> {
    HMACS
        .iter()
        .find(|(name, _)| *name == algorithm)
        .map(|(_, own)| *own)
}

/// The private key whose numbers these are: a point's on `curve`, else an RSA key's.
///
/// Errors: a number is missing, or they make no key.
pub fn private_key(key: &TransparentKey, curve: Option<Curve>) -> Result<PrivateKey> {
    if let Some(curve) = curve {
        return PrivateKey::from_scalar(curve, number(&key.d, "D")?);
    }
    // What may be left out (spec 1.4, 2.1.7.4) is computed.
    let given = |field: &Option<BigInteger>| {
        field
            .as_ref()
            .and_then(BigInteger::unsigned)
            .unwrap_or_default()
            .to_vec()
    };
    let secret = |field| Secret::new(given(field));
    PrivateKey::from_rsa(&RsaParts {
        modulus: number(&key.modulus, "Modulus")?.to_vec(),
        public_exponent: given(&key.public_exponent),
        private_exponent: number(&key.private_exponent, "Private Exponent")?
            .to_vec()
            .into(),
        prime_1: secret(&key.p),
        prime_2: secret(&key.q),
        exponent_1: secret(&key.prime_exponent_p),
        exponent_2: secret(&key.prime_exponent_q),
        coefficient: secret(&key.crt_coefficient),
    })
}

/// The public key whose numbers these are: a point on `curve`, else an RSA key's.
///
/// Errors: a number is missing, or they make no key.
pub fn public_key(key: &TransparentKey, curve: Option<Curve>) -> Result<PublicKey> {
    match curve {
        Some(curve) => PublicKey::from_point(
            curve,
            key.q_string.as_deref().ok_or_else(|| missing("Q String"))?,
        ),
        None => PublicKey::from_rsa(
            number(&key.modulus, "Modulus")?,
            number(&key.public_exponent, "Public Exponent")?,
        ),
    }
}

fn number<'a>(field: &'a Option<BigInteger>, name: &str) -> Result<&'a [u8]> {
    field
        .as_ref()
        .and_then(BigInteger::unsigned)
        .ok_or_else(|| missing(name))
}

fn missing(name: &str) -> Error {
    Error::new(
        Kind::Input,
        CKR_ATTRIBUTE_VALUE_INVALID,
        format!("{name} of the transparent key is missing"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_has_its_counterpart() {
        for (name, own) in HASHES {
            assert_eq!((hash(own), hash_of(name)), (name, Some(own)));
        }
        for own in [
            Curve::P224,
            Curve::P256,
            Curve::P384,
            Curve::P521,
            Curve::Secp256k1,
            Curve::X25519,
        ] {
            assert_eq!(curve_of(curve(own)), Some(own));
        }
        let error = private_key(&TransparentKey::default(), None).err().unwrap();
        assert!(
            error
                .to_string()
                .contains("Modulus of the transparent key is missing"),
            "{error}"
        );
    }
}
