//! The same things in the store's words and in KMIP's.

use super::keys;
use crate::kmip::{
    CryptographicAlgorithm, ObjectType, RecommendedCurve, RevocationReasonCode, State as KmipState,
};
use crate::store::{Algorithm, Class, Curve, Revocation, State, Usage};

/// The Object Type a class is made as. A secret that is neither encrypted with nor a MAC key becomes Secret Data elsewhere.
pub(super) fn object_type(class: Class) -> ObjectType {
    match class {
        Class::SecretKey => ObjectType::SYMMETRIC_KEY,
        Class::PublicKey => ObjectType::PUBLIC_KEY,
        Class::PrivateKey => ObjectType::PRIVATE_KEY,
        Class::Certificate => ObjectType::CERTIFICATE,
        Class::Data => ObjectType::OPAQUE_OBJECT,
    }
}

/// The class of an Object Type; `None` for those that are not shown (split keys, templates, PGP keys, requests).
pub(super) fn class(object_type: ObjectType) -> Option<Class> {
    match object_type {
        ObjectType::SYMMETRIC_KEY | ObjectType::SECRET_DATA => Some(Class::SecretKey),
        ObjectType::PUBLIC_KEY => Some(Class::PublicKey),
        ObjectType::PRIVATE_KEY => Some(Class::PrivateKey),
        ObjectType::CERTIFICATE => Some(Class::Certificate),
        ObjectType::OPAQUE_OBJECT => Some(Class::Data),
        _ => None,
    }
}

/// The Cryptographic Algorithm of a key; `None` for what has none. A generic secret is named after the HMAC it is long enough
/// for, because KMIP knows no other use of it.
pub(super) fn algorithm(
    algorithm: Algorithm,
    bits: u32,
    ecdsa: bool,
) -> Option<CryptographicAlgorithm> {
    use CryptographicAlgorithm as A;
    Some(match algorithm {
        Algorithm::Aes => A::AES,
        Algorithm::TripleDes => A::TRIPLE_DES,
        Algorithm::ChaCha20 => A::CHACHA20,
        Algorithm::GenericSecret => match bits {
            0..=256 => A::HMAC_SHA256,
            257..=384 => A::HMAC_SHA384,
            _ => A::HMAC_SHA512,
        },
        // The token knows the type of those that KMIP has no name for.
        Algorithm::Hmac(hash) => keys::hmac(hash).unwrap_or(A::HMAC_SHA512),
        Algorithm::Rsa => A::RSA,
        Algorithm::Ec(Curve::Ed25519) => A::ED25519,
        Algorithm::Ec(Curve::X25519) => A::ECDH,
        Algorithm::Ec(_) if ecdsa => A::ECDSA,
        Algorithm::Ec(_) => A::EC,
        Algorithm::Other(number) => A(number),
        Algorithm::None => return None,
    })
}

/// What a Cryptographic Algorithm is, with the curve or else the length of the key in bits.
pub(super) fn algorithm_of(
    algorithm: CryptographicAlgorithm,
    curve: Option<RecommendedCurve>,
    bits: u32,
) -> Algorithm {
    use CryptographicAlgorithm as A;
    match algorithm {
        A::AES => Algorithm::Aes,
        A::TRIPLE_DES => Algorithm::TripleDes,
        A::CHACHA20 => Algorithm::ChaCha20,
        A::RSA => Algorithm::Rsa,
        A::ED25519 => Algorithm::Ec(Curve::Ed25519),
        A::ECDSA | A::ECDH | A::EC => curve
            .and_then(keys::curve_of)
            .or_else(|| curve_of_length(bits))
            .map_or(Algorithm::Other(algorithm.0), Algorithm::Ec),
        other => keys::hash_of_hmac(other).map_or(Algorithm::Other(other.0), Algorithm::Hmac),
    }
}

/// The NIST curve of this length. One server says 264 for P-256: the length of a compressed point.
fn curve_of_length(bits: u32) -> Option<Curve> {
    Some(match bits {
        224 | 232 => Curve::P224,
        256 | 264 => Curve::P256,
        384 | 392 => Curve::P384,
        521 | 528 | 536 => Curve::P521,
        _ => return None,
    })
}

/// Length of a key on a curve in bits.
pub(super) fn curve_bits(curve: Curve) -> u32 {
    match curve {
        Curve::P224 => 224,
        Curve::P256 | Curve::Secp256k1 | Curve::Ed25519 | Curve::X25519 => 256,
        Curve::P384 => 384,
        Curve::P521 => 521,
    }
}

/// The life of a key; a number that is none counts as Deactivated: it may not protect, whatever it is.
pub(super) fn state_of(state: KmipState) -> State {
    match state {
        KmipState::PRE_ACTIVE => State::PreActive,
        KmipState::ACTIVE => State::Active,
        KmipState::COMPROMISED => State::Compromised,
        KmipState::DESTROYED => State::Destroyed,
        KmipState::DESTROYED_COMPROMISED => State::DestroyedCompromised,
        _ => State::Deactivated,
    }
}

/// The Revocation Reason Code.
pub(super) fn revocation(reason: Revocation) -> RevocationReasonCode {
    match reason {
        Revocation::CessationOfOperation => RevocationReasonCode::CESSATION_OF_OPERATION,
        Revocation::KeyCompromise => RevocationReasonCode::KEY_COMPROMISE,
        Revocation::Superseded => RevocationReasonCode::SUPERSEDED,
        Revocation::Unspecified => RevocationReasonCode::UNSPECIFIED,
    }
}

/// True for a secret that only KMIP's Secret Data can be: a generic one that makes no MACs.
pub(super) fn is_secret_data(algorithm: Algorithm, usage: Usage) -> bool {
    let macs = Usage::MAC_GENERATE | Usage::MAC_VERIFY | Usage::SIGN | Usage::VERIFY;
    algorithm == Algorithm::GenericSecret && usage.0 & macs.0 == 0
}
