//! The value of an object, in the one form that it has inside, and the attributes that are parts of it.
//!
//! Inside, a secret key is its bytes, a private key PKCS#8, a public key SubjectPublicKeyInfo, a certificate DER, data as it is.

use x509_parser::prelude::{FromDer, X509Certificate};

use super::object::Attributes;
use super::template::Draft;
use crate::ck::*;
use crate::crypto::cipher::{Cipher, Direction, Key, Mode, set_parity};
use crate::crypto::hash::digest;
use crate::crypto::pkey::{Kind, PrivateKey, PublicKey, RsaParts};
use crate::crypto::{Curve, Hash, rng};
use crate::error::{Error, Result};
use crate::secret::Secret;

/// Lengths in bits of RSA keys that are taken from outside: shorter ones than are made here, because old ones exist.
const RSA_BITS: std::ops::RangeInclusive<CK_ULONG> = 512..=16384;

/// Lengths in bytes that the keys of a type can have: from, to, and the step between.
pub fn key_lengths(key_type: CK_KEY_TYPE) -> (usize, usize, usize) {
    match key_type {
        CKK_AES => (16, 32, 8),
        CKK_AES_XTS => (32, 64, 32),
        CKK_DES3 => (24, 24, 1),
        CKK_CHACHA20 => (32, 32, 1),
        _ => (1, 4096, 1),
    }
}

/// Whether a secret key of this type can have this length.
pub fn is_key_length(key_type: CK_KEY_TYPE, len: usize) -> bool {
    let (from, to, step) = key_lengths(key_type);
    (from..=to).contains(&len) && (len - from).is_multiple_of(step)
}

/// A new secret key of `bits`, of Triple DES with the parity that its bytes must have.
pub fn random(key_type: Option<CK_KEY_TYPE>, bits: u32) -> Result<Secret> {
    let random = rng::bytes(bits as usize / 8)?;
    Ok(if key_type == Some(CKK_DES3) {
        with_parity(random.expose())
    } else {
        random
    })
}

/// The same Triple DES key with the parity that its bytes must have.
pub fn with_parity(key: &[u8]) -> Secret {
    let mut key = key.to_vec();
    set_parity(&mut key);
    Secret::new(key)
}

/// Takes the value of a new object from the parts that a template gives, and adds the attributes that follow from it.
///
/// `CKR_TEMPLATE_INCOMPLETE` when parts are missing, `CKR_ATTRIBUTE_VALUE_INVALID` when they are malformed or the check value is wrong,
/// `CKR_TEMPLATE_INCONSISTENT` when attributes contradict them.
pub fn assemble(draft: &mut Draft) -> Result<Secret> {
    let attributes = &draft.attributes;
    let part = |kind| {
        draft
            .parts
            .get(&kind)
            .ok_or(Error::from(CKR_TEMPLATE_INCOMPLETE))
    };
    let public = |kind| {
        attributes
            .bytes(kind)
            .ok_or(Error::from(CKR_TEMPLATE_INCOMPLETE))
    };
    let value = match (attributes.class(), attributes.key_type()) {
        (CKO_DATA, _) => draft
            .parts
            .get(&CKA_VALUE)
            .map(Secret::duplicate)
            .unwrap_or_default(),
        (CKO_CERTIFICATE, _) => {
            if attributes
                .number(CKA_CERTIFICATE_TYPE)
                .ok_or(CKR_TEMPLATE_INCOMPLETE)?
                != CKC_X_509
            {
                return Err(CKR_ATTRIBUTE_VALUE_INVALID.into());
            }
            let value = part(CKA_VALUE)?;
            // What cannot be read here is kept as it is, when its template says whose it is.
            if attributes.bytes(CKA_SUBJECT).is_none_or(<[u8]>::is_empty) {
                X509Certificate::from_der(value.expose())
                    .map_err(|_| CKR_ATTRIBUTE_VALUE_INVALID)?;
            }
            value.duplicate()
        }
        (CKO_SECRET_KEY, Some(key_type)) => {
            let value = part(CKA_VALUE)?;
            if !is_key_length(key_type, value.len()) {
                return Err(CKR_ATTRIBUTE_VALUE_INVALID.into());
            }
            value.duplicate()
        }
        (CKO_PUBLIC_KEY, Some(CKK_RSA)) => Secret::new(
            PublicKey::from_rsa(public(CKA_MODULUS)?, public(CKA_PUBLIC_EXPONENT)?)?.to_spki()?,
        ),
        (CKO_PUBLIC_KEY, _) => {
            let key = public_from_point(curve(attributes)?, public(CKA_EC_POINT)?)?;
            Secret::new(key.to_spki()?)
        }
        (CKO_PRIVATE_KEY, Some(CKK_RSA)) => {
            // Only modulus and private exponent must be given; what else is not, is computed (3.0, 2.1.3).
            let optional = |kind| {
                draft
                    .parts
                    .get(&kind)
                    .map(Secret::duplicate)
                    .unwrap_or_default()
            };
            PrivateKey::from_rsa(&RsaParts {
                modulus: public(CKA_MODULUS)?.to_vec(),
                public_exponent: attributes
                    .bytes(CKA_PUBLIC_EXPONENT)
                    .unwrap_or_default()
                    .to_vec(),
                private_exponent: part(CKA_PRIVATE_EXPONENT)?.duplicate(),
                prime_1: optional(CKA_PRIME_1),
                prime_2: optional(CKA_PRIME_2),
                exponent_1: optional(CKA_EXPONENT_1),
                exponent_2: optional(CKA_EXPONENT_2),
                coefficient: optional(CKA_COEFFICIENT),
            })?
            .to_pkcs8()?
        }
        (CKO_PRIVATE_KEY, _) => {
            PrivateKey::from_scalar(curve(attributes)?, part(CKA_VALUE)?.expose())?.to_pkcs8()?
        }
        _ => return Err(CKR_ATTRIBUTE_VALUE_INVALID.into()),
    };
    adopt(&mut draft.attributes, &value)?;
    match draft.attributes.number(CKA_MODULUS_BITS) {
        Some(bits) if !RSA_BITS.contains(&bits) => Err(CKR_ATTRIBUTE_VALUE_INVALID.into()),
        _ => Ok(value),
    }
}

/// Adds to `attributes` what follows from a key's value, where they do not say it already; where they say otherwise, refuses.
pub fn adopt(attributes: &mut Attributes, value: &Secret) -> Result<()> {
    if attributes.class() == CKO_DATA {
        return Ok(());
    }
    let facts = derived(attributes, value.expose())?;
    for (kind, fact) in facts.iter() {
        let given = attributes.bytes(kind).filter(|given| *given != fact);
        match (attributes.class(), kind, given) {
            // An empty check value is the standard's way not to have one (4.10.2), in keys as in certificates.
            (_, CKA_CHECK_VALUE, Some([])) => continue,
            (_, CKA_CHECK_VALUE, Some(_)) => return Err(CKR_ATTRIBUTE_VALUE_INVALID.into()),
            // Empty: whatever it is.
            (_, CKA_PUBLIC_KEY_INFO | CKA_EC_POINT, Some([])) => {}
            (_, CKA_PUBLIC_KEY_INFO, Some(given)) if same_key(given, fact) => {}
            (_, CKA_PUBLIC_KEY_INFO, Some(_)) => return Err(CKR_ATTRIBUTE_VALUE_INVALID.into()),
            // A certificate is shown as its owner described it; what that leaves out is read from it when it is asked for.
            (CKO_CERTIFICATE, ..) => continue,
            // Equal as numbers and points, not always as bytes: ours are the canonical ones.
            (_, CKA_MODULUS | CKA_PUBLIC_EXPONENT, Some(given)) if unpadded(given) == fact => {}
            (_, CKA_EC_PARAMS, Some(given))
                if Curve::from_params(given).is_some_and(|curve| curve.params() == fact) => {}
            (_, CKA_EC_POINT, Some(given)) if same_point(&facts, given) => {}
            (_, _, Some(_)) => return Err(CKR_TEMPLATE_INCONSISTENT.into()),
            (_, _, None) => {}
        }
        attributes.set(kind, fact);
    }
    Ok(())
}

/// Whether both are SubjectPublicKeyInfo of one key.
fn same_key(given: &[u8], fact: &[u8]) -> bool {
    PublicKey::from_spki(given)
        .and_then(|key| key.to_spki())
        .is_ok_and(|spki| spki == fact)
}

/// Whether `given` is the point of the key with these facts.
fn same_point(facts: &Attributes, given: &[u8]) -> bool {
    let curve = facts.bytes(CKA_EC_PARAMS).and_then(Curve::from_params);
    let point = curve.and_then(|curve| public_from_point(curve, given).ok()?.point().ok());
    point.is_some_and(|point| facts.bytes(CKA_EC_POINT) == Some(&octet_string(&point)))
}

/// A number without leading zeros.
fn unpadded(number: &[u8]) -> &[u8] {
    &number[number.iter().take_while(|byte| **byte == 0).count()..]
}

/// Length in bits of the key with this value.
pub fn bits(attributes: &Attributes, value: &Secret) -> Result<u32> {
    let kind = match attributes.class() {
        CKO_SECRET_KEY => return Ok(u32::try_from(value.len() * 8).unwrap_or(0)),
        CKO_PUBLIC_KEY => PublicKey::from_spki(value.expose())?.kind(),
        CKO_PRIVATE_KEY => PrivateKey::from_pkcs8(value.expose())?.kind(),
        _ => return Ok(0),
    };
    Ok(match kind {
        Kind::Rsa { bits } => bits,
        Kind::Ec(curve) => curve.bits(),
    })
}

/// The attributes that follow from the value of an object of this class; secret parts are not among them.
pub fn derived(attributes: &Attributes, value: &[u8]) -> Result<Attributes> {
    match attributes.class() {
        CKO_SECRET_KEY => {
            let mut facts = Attributes::default();
            facts.set_number(CKA_VALUE_LEN, value.len() as CK_ULONG);
            facts.set(CKA_CHECK_VALUE, check_value(attributes.key_type(), value)?);
            Ok(facts)
        }
        CKO_PRIVATE_KEY => public_facts(&PrivateKey::from_pkcs8(value)?.public()?),
        CKO_PUBLIC_KEY => public_facts(&PublicKey::from_spki(value)?),
        CKO_CERTIFICATE => certificate_facts(value),
        _ => Ok(Attributes::default()),
    }
}

/// The attributes of a key object that follow from its public half.
pub fn public_facts(key: &PublicKey) -> Result<Attributes> {
    let mut facts = Attributes::default();
    match key.kind() {
        Kind::Rsa { bits } => {
            let (modulus, exponent) = key.rsa_parts()?;
            facts.set(CKA_MODULUS, modulus);
            facts.set(CKA_PUBLIC_EXPONENT, exponent);
            // Private keys do not show it, but operations need it.
            facts.set_number(CKA_MODULUS_BITS, bits.into());
        }
        Kind::Ec(curve) => {
            facts.set(CKA_EC_PARAMS, curve.params());
            facts.set(CKA_EC_POINT, octet_string(&key.point()?));
        }
    }
    facts.set(CKA_PUBLIC_KEY_INFO, key.to_spki()?);
    Ok(facts)
}

fn certificate_facts(der: &[u8]) -> Result<Attributes> {
    let mut facts = Attributes::default();
    facts.set(CKA_CHECK_VALUE, &digest(Hash::Sha1, der)?[..3]);
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return Ok(facts);
    };
    facts.set(CKA_SUBJECT, certificate.subject().as_raw());
    facts.set(CKA_ISSUER, certificate.issuer().as_raw());
    let serial = certificate.raw_serial();
    let mut number = vec![
        0x02,
        u8::try_from(serial.len()).map_err(|_| CKR_ATTRIBUTE_VALUE_INVALID)?,
    ];
    number.extend_from_slice(serial);
    facts.set(CKA_SERIAL_NUMBER, number);
    facts.set(CKA_PUBLIC_KEY_INFO, certificate.public_key().raw);
    Ok(facts)
}

/// A secret part of a key: its attribute `kind`.
pub fn part(attributes: &Attributes, value: &Secret, kind: CK_ATTRIBUTE_TYPE) -> Result<Secret> {
    if attributes.class() != CKO_PRIVATE_KEY {
        return Ok(value.duplicate());
    }
    let key = PrivateKey::from_pkcs8(value.expose())?;
    if kind == CKA_VALUE {
        return key.scalar();
    }
    let parts = key.rsa_parts()?;
    Ok(match kind {
        CKA_PRIVATE_EXPONENT => parts.private_exponent,
        CKA_PRIME_1 => parts.prime_1,
        CKA_PRIME_2 => parts.prime_2,
        CKA_EXPONENT_1 => parts.exponent_1,
        CKA_EXPONENT_2 => parts.exponent_2,
        CKA_COEFFICIENT => parts.coefficient,
        _ => return Err(CKR_ATTRIBUTE_TYPE_INVALID.into()),
    })
}

/// The key check value (4.10.2): of a cipher's key the start of an encrypted block of zeros, of another secret the start of its hash.
fn check_value(key_type: Option<CK_KEY_TYPE>, key: &[u8]) -> Result<Vec<u8>> {
    let encrypted =
        |key, mode, block: &[u8]| Cipher::new(Direction::Encrypt, key, mode)?.run(block);
    let mut check = match key_type {
        Some(CKK_AES) => encrypted(Key::Aes(key), Mode::Ecb, &[0; 16])?,
        Some(CKK_AES_XTS) => encrypted(Key::AesXts(key), Mode::Xts { unit: &[0; 16] }, &[0; 16])?,
        Some(CKK_DES3) => encrypted(Key::TripleDes(key), Mode::Ecb, &[0; 8])?,
        _ => digest(Hash::Sha1, key)?,
    };
    check.truncate(3);
    Ok(check)
}

/// The curve that a template's `CKA_EC_PARAMS` names.
pub fn curve(attributes: &Attributes) -> Result<Curve> {
    match super::spec::algorithm(attributes)? {
        crate::store::Algorithm::Ec(curve) => Ok(curve),
        _ => Err(CKR_TEMPLATE_INCONSISTENT.into()),
    }
}

/// A public key from `CKA_EC_POINT`: the standard wants the point in an OCTET STRING, and some applications give it bare.
pub fn public_from_point(curve: Curve, point: &[u8]) -> Result<PublicKey> {
    if let Some(key) =
        unwrap_octet_string(point).and_then(|inner| PublicKey::from_point(curve, inner).ok())
    {
        return Ok(key);
    }
    PublicKey::from_point(curve, point)
}

fn octet_string(content: &[u8]) -> Vec<u8> {
    let mut der = vec![0x04];
    match content.len() {
        // The longest point, of P-521, has 133 bytes.
        len @ 0..=127 => der.push(len as u8),
        len => der.extend_from_slice(&[0x81, len as u8]),
    }
    der.extend_from_slice(content);
    der
}

fn unwrap_octet_string(der: &[u8]) -> Option<&[u8]> {
    match der {
        [0x04, len @ 0..=127, content @ ..] if content.len() == usize::from(*len) => Some(content),
        [0x04, 0x81, len @ 128..=255, content @ ..] if content.len() == usize::from(*len) => {
            Some(content)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_values_of_known_keys() {
        // AES-128 of the zero key over a zero block is 66e94bd4...
        assert_eq!(
            check_value(Some(CKK_AES), &[0; 16]).unwrap(),
            [0x66, 0xe9, 0x4b]
        );
        assert_eq!(
            check_value(Some(CKK_GENERIC_SECRET), b"abc").unwrap(),
            [0xa9, 0x99, 0x3e]
        );
    }

    #[test]
    fn points_are_taken_wrapped_and_bare() {
        for curve in Curve::ALL {
            let key = PrivateKey::generate_ec(curve).unwrap().public().unwrap();
            let point = key.point().unwrap();
            let wrapped = octet_string(&point);
            assert_eq!(unwrap_octet_string(&wrapped), Some(&point[..]), "{curve:?}");
            assert_eq!(
                public_from_point(curve, &wrapped)
                    .unwrap()
                    .to_spki()
                    .unwrap(),
                key.to_spki().unwrap()
            );
            assert_eq!(
                public_from_point(curve, &point).unwrap().to_spki().unwrap(),
                key.to_spki().unwrap()
            );
            assert!(public_from_point(curve, &wrapped[..wrapped.len() - 1]).is_err());
        }
    }

    #[test]
    fn key_lengths_by_type() {
        assert!(
            is_key_length(CKK_AES, 24)
                && !is_key_length(CKK_AES, 20)
                && !is_key_length(CKK_AES, 40)
        );
        assert!(is_key_length(CKK_GENERIC_SECRET, 1) && !is_key_length(CKK_GENERIC_SECRET, 0));
    }

    #[test]
    fn a_private_key_gives_its_parts_back() {
        let key = PrivateKey::generate_ec(Curve::P256).unwrap();
        let mut draft = Draft::default();
        draft.attributes.set_number(CKA_CLASS, CKO_PRIVATE_KEY);
        draft.attributes.set_number(CKA_KEY_TYPE, CKK_EC);
        draft.attributes.set(CKA_EC_PARAMS, Curve::P256.params());
        draft.parts.insert(CKA_VALUE, key.scalar().unwrap());
        let value = assemble(&mut draft).unwrap();
        assert_eq!(
            part(&draft.attributes, &value, CKA_VALUE).unwrap(),
            key.scalar().unwrap()
        );
        assert!(part(&draft.attributes, &value, CKA_PRIME_1).is_err());
        assert_eq!(
            draft.attributes.bytes(CKA_PUBLIC_KEY_INFO),
            Some(&key.public().unwrap().to_spki().unwrap()[..])
        );
        assert_eq!(bits(&draft.attributes, &value).unwrap(), 256);
    }
}
