//! Keys: made, taken in and given back in the formats of the wire.

use crate::ck::CKR_CURVE_NOT_SUPPORTED;
use crate::crypto::pkey::{Kind, PrivateKey, PublicKey};
use crate::crypto::{Curve, Hash};
use crate::kmip::{
    CryptographicAlgorithm as Alg, HashingAlgorithm, KeyBlock, KeyFormatType as Format,
    KeyMaterial, KeyValue, ObjectType, PlainKeyValue, RecommendedCurve, ResultReason,
    TransparentKey,
};
use crate::secret::Secret;
use crate::store::kmip::keys;
use crate::ttlv::{BigInteger, Decode, Encode, Item, Tag, Writer};
use crate::version::Version;

use super::objects::{Outcome, Refusal};
use super::wording::client_text;

/// A key in one form per kind.
pub enum Material {
    /// The key itself.
    Symmetric(Secret),
    /// PKCS#8.
    Private(Secret),
    /// SubjectPublicKeyInfo.
    Public(Secret),
    /// Bytes that are not looked into (an Opaque format, a secret, a key that nothing here computes with).
    Unknown(Secret),
    /// The encoded numbers of a transparent format that nothing here computes with.
    Numbers(Secret),
}

impl Clone for Material {
    fn clone(&self) -> Material {
        let mut copy = Material::empty(self.kind()).expect("a kind that is");
        copy.fill(self.bytes().duplicate());
        copy
    }
}

impl Material {
    /// The number of its kind, in records.
    pub fn kind(&self) -> i32 {
        match self {
            Material::Symmetric(_) => 1,
            Material::Private(_) => 2,
            Material::Public(_) => 3,
            Material::Unknown(_) => 4,
            Material::Numbers(_) => 5,
        }
    }

    /// Of this kind, without its bytes.
    pub fn empty(kind: i32) -> Option<Material> {
        Some(match kind {
            1 => Material::Symmetric(Secret::default()),
            2 => Material::Private(Secret::default()),
            3 => Material::Public(Secret::default()),
            4 => Material::Unknown(Secret::default()),
            5 => Material::Numbers(Secret::default()),
            _ => return None,
        })
    }

    /// Its bytes.
    pub fn bytes(&self) -> &Secret {
        match self {
            Material::Symmetric(bytes) | Material::Private(bytes) | Material::Public(bytes) => {
                bytes
            }
            Material::Unknown(bytes) | Material::Numbers(bytes) => bytes,
        }
    }

    /// Replaces its bytes.
    pub fn fill(&mut self, value: Secret) {
        match self {
            Material::Symmetric(bytes) | Material::Private(bytes) | Material::Public(bytes) => {
                *bytes = value
            }
            Material::Unknown(bytes) | Material::Numbers(bytes) => *bytes = value,
        }
    }
}

/// Transparent formats of algorithms that nothing here computes with: such keys are only kept.
const FOREIGN: [Format; 6] = [
    Format::TRANSPARENT_DSA_PRIVATE_KEY,
    Format::TRANSPARENT_DSA_PUBLIC_KEY,
    Format::TRANSPARENT_DH_PRIVATE_KEY,
    Format::TRANSPARENT_DH_PUBLIC_KEY,
    Format::TRANSPARENT_ECMQV_PRIVATE_KEY,
    Format::TRANSPARENT_ECMQV_PUBLIC_KEY,
];

/// A field of the request is wrong.
pub fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::Item(ResultReason::INVALID_FIELD, message.into())
}

fn unsupported_format(format: Format) -> Refusal {
    Refusal::Item(
        ResultReason::KEY_FORMAT_TYPE_NOT_SUPPORTED,
        format!("{format} is not supported here"),
    )
}

impl Material {
    /// The key in a Key Block of a registered object.
    pub fn parse(object_type: ObjectType, block: &KeyBlock) -> Outcome<Material> {
        let Some(KeyValue::Plain(plain)) = &block.key_value else {
            return Err(invalid(
                "the key is wrapped twice, or there is no Key Value",
            ));
        };
        let format = block.key_format_type;
        let bad = |e: crate::error::Error| {
            invalid(format!(
                "the key material is no {format}: {}",
                client_text(&e)
            ))
        };
        match (object_type, &plain.key_material) {
            (ObjectType::SYMMETRIC_KEY, KeyMaterial::Bytes(bytes)) if format == Format::RAW => {
                Ok(Material::Symmetric(bytes.duplicate()))
            }
            (ObjectType::SYMMETRIC_KEY, KeyMaterial::Transparent(key))
                if format == Format::TRANSPARENT_SYMMETRIC_KEY =>
            {
                let key = key
                    .key
                    .as_ref()
                    .ok_or_else(|| invalid("a transparent key without Key"))?;
                Ok(Material::Symmetric(key.duplicate()))
            }
            // Nobody but who has its password can use it, or who knows what these bytes are: it is only kept.
            (ObjectType::PRIVATE_KEY, KeyMaterial::Bytes(bytes))
                if format == Format::PKCS_8 && is_encrypted(bytes.expose()) =>
            {
                Ok(Material::Unknown(bytes.duplicate()))
            }
            (ObjectType::PRIVATE_KEY | ObjectType::PUBLIC_KEY, KeyMaterial::Bytes(bytes))
                if matches!(format, Format::RAW | Format::OPAQUE) =>
            {
                Ok(Material::Unknown(bytes.duplicate()))
            }
            (ObjectType::PRIVATE_KEY, KeyMaterial::Bytes(bytes)) => {
                let key = match format {
                    Format::PKCS_8 => PrivateKey::from_pkcs8(bytes.expose()),
                    Format::PKCS_1 => PrivateKey::from_pkcs1(bytes.expose()),
                    Format::ECPRIVATEKEY => PrivateKey::from_sec1(bytes.expose(), None),
                    _ => return Err(unsupported_format(format)),
                };
                match key.and_then(|key| key.to_pkcs8()) {
                    Err(e) if is_foreign(block, &e) => Ok(Material::Unknown(bytes.duplicate())),
                    key => Ok(Material::Private(key.map_err(bad)?)),
                }
            }
            (ObjectType::PUBLIC_KEY, KeyMaterial::Bytes(bytes)) => {
                let key = match format {
                    Format::X_509 => PublicKey::from_spki(bytes.expose()),
                    Format::PKCS_1 => PublicKey::from_pkcs1(bytes.expose()),
                    _ => return Err(unsupported_format(format)),
                };
                match key.and_then(|key| key.to_spki()) {
                    Err(e) if is_foreign(block, &e) => Ok(Material::Unknown(bytes.duplicate())),
                    key => Ok(Material::Public(key.map_err(bad)?.into())),
                }
            }
            (ObjectType::PRIVATE_KEY | ObjectType::PUBLIC_KEY, KeyMaterial::Transparent(key))
                if FOREIGN.contains(&format) =>
            {
                let mut writer = Writer::new(Version::V2_1);
                key.encode(Tag::KEY_MATERIAL, &mut writer);
                Ok(Material::Numbers(writer.finish().map_err(bad)?))
            }
            (ObjectType::PRIVATE_KEY, KeyMaterial::Transparent(key)) => {
                let key = private_from_transparent(format, key)?;
                Ok(Material::Private(key.to_pkcs8().map_err(bad)?))
            }
            (ObjectType::PUBLIC_KEY, KeyMaterial::Transparent(key)) => Ok(Material::Public(
                public_from_transparent(format, key)?
                    .to_spki()
                    .map_err(bad)?
                    .into(),
            )),
            (_, KeyMaterial::Bytes(bytes)) => Ok(Material::Unknown(bytes.duplicate())),
            _ => Err(unsupported_format(format)),
        }
    }

    /// The Key Block that gives the key back in `format`.
    pub fn block(
        &self,
        format: Format,
        algorithm: Option<Alg>,
        bits: Option<i32>,
    ) -> Outcome<KeyBlock> {
        let material = match (self, format) {
            (Material::Symmetric(bytes), Format::RAW) | (Material::Unknown(bytes), _) => {
                KeyMaterial::Bytes(bytes.duplicate())
            }
            (Material::Numbers(bytes), _) => Item::parse(bytes.expose())
                .and_then(|item| KeyMaterial::decode(&item))
                .map_err(broken)?,
            (Material::Symmetric(bytes), Format::TRANSPARENT_SYMMETRIC_KEY) => {
                KeyMaterial::Transparent(Box::new(TransparentKey {
                    key: Some(bytes.duplicate()),
                    ..TransparentKey::default()
                }))
            }
            (Material::Private(der), _) => {
                let key = PrivateKey::from_pkcs8(der.expose()).map_err(broken)?;
                let bytes = match format {
                    Format::PKCS_8 => key.to_pkcs8(),
                    Format::PKCS_1 => key.to_pkcs1(),
                    Format::ECPRIVATEKEY => key.to_sec1(),
                    _ => {
                        return transparent_private(&key, format)
                            .map(|material| key_block(material, format, algorithm, bits));
                    }
                };
                KeyMaterial::Bytes(bytes.map_err(|_| unsupported_format(format))?)
            }
            (Material::Public(der), _) => {
                let key = PublicKey::from_spki(der.expose()).map_err(broken)?;
                let bytes = match format {
                    Format::X_509 => key.to_spki(),
                    Format::PKCS_1 => key.to_pkcs1(),
                    _ => {
                        return transparent_public(&key, format)
                            .map(|material| key_block(material, format, algorithm, bits));
                    }
                };
                KeyMaterial::Bytes(bytes.map_err(|_| unsupported_format(format))?.into())
            }
            _ => return Err(unsupported_format(format)),
        };
        Ok(key_block(material, format, algorithm, bits))
    }

    /// Algorithm and length, where the key itself says them.
    pub fn describe(&self) -> Option<(Alg, i32)> {
        let kind = match self {
            Material::Private(der) => PrivateKey::from_pkcs8(der.expose()).ok()?.kind(),
            Material::Public(der) => PublicKey::from_spki(der.expose()).ok()?.kind(),
            _ => return None,
        };
        Some(match kind {
            Kind::Rsa { bits } => (Alg::RSA, bits as i32),
            Kind::Ec(Curve::Ed25519) => (Alg::ED25519, 256),
            Kind::Ec(curve) => (Alg::EC, curve.bits() as i32),
        })
    }
}

fn key_block(
    key_material: KeyMaterial,
    format: Format,
    algorithm: Option<Alg>,
    bits: Option<i32>,
) -> KeyBlock {
    KeyBlock {
        key_format_type: format,
        key_value: Some(KeyValue::Plain(PlainKeyValue {
            key_material,
            attributes: None,
        })),
        cryptographic_algorithm: algorithm,
        cryptographic_length: bits,
        ..KeyBlock::default()
    }
}

/// Whether a key that cannot be read is one that nothing here computes with, by its algorithm or its curve: it is only kept.
fn is_foreign(block: &KeyBlock, error: &crate::error::Error) -> bool {
    match block.cryptographic_algorithm {
        None | Some(Alg::RSA | Alg::EC | Alg::ECDSA | Alg::ECDH | Alg::ED25519) => {
            error.rv() == CKR_CURVE_NOT_SUPPORTED
        }
        Some(_) => true,
    }
}

/// True for an EncryptedPrivateKeyInfo (RFC 5958, 3): an algorithm and a string of octets, where a key begins with its version.
fn is_encrypted(der: &[u8]) -> bool {
    let content = match der {
        [0x30, len, rest @ ..] if *len < 0x80 => rest,
        [0x30, 0x81, _, rest @ ..] | [0x30, 0x82, _, _, rest @ ..] => rest,
        _ => return false,
    };
    content.first() == Some(&0x30)
}

fn broken(e: crate::error::Error) -> Refusal {
    Refusal::item(ResultReason::GENERAL_FAILURE, client_text(&e))
}

fn private_from_transparent(format: Format, key: &TransparentKey) -> Outcome<PrivateKey> {
    let curve = match format {
        Format::TRANSPARENT_RSA_PRIVATE_KEY => None,
        Format::TRANSPARENT_EC_PRIVATE_KEY
        | Format::TRANSPARENT_ECDSA_PRIVATE_KEY
        | Format::TRANSPARENT_ECDH_PRIVATE_KEY => Some(transparent_curve(key)?),
        _ => return Err(unsupported_format(format)),
    };
    keys::private_key(key, curve).map_err(|e| invalid(client_text(&e)))
}

fn public_from_transparent(format: Format, key: &TransparentKey) -> Outcome<PublicKey> {
    let curve = match format {
        Format::TRANSPARENT_RSA_PUBLIC_KEY => None,
        Format::TRANSPARENT_EC_PUBLIC_KEY
        | Format::TRANSPARENT_ECDSA_PUBLIC_KEY
        | Format::TRANSPARENT_ECDH_PUBLIC_KEY => Some(transparent_curve(key)?),
        _ => return Err(unsupported_format(format)),
    };
    keys::public_key(key, curve).map_err(|e| invalid(client_text(&e)))
}

fn transparent_private(key: &PrivateKey, format: Format) -> Outcome<KeyMaterial> {
    let number = |bytes: &[u8]| Some(BigInteger::from_unsigned(bytes));
    let unsupported = |_| unsupported_format(format);
    let transparent = match (format, key.kind()) {
        (Format::TRANSPARENT_RSA_PRIVATE_KEY, Kind::Rsa { .. }) => {
            let parts = key.rsa_parts().map_err(unsupported)?;
            TransparentKey {
                modulus: number(&parts.modulus),
                private_exponent: number(parts.private_exponent.expose()),
                public_exponent: number(&parts.public_exponent),
                p: number(parts.prime_1.expose()),
                q: number(parts.prime_2.expose()),
                prime_exponent_p: number(parts.exponent_1.expose()),
                prime_exponent_q: number(parts.exponent_2.expose()),
                crt_coefficient: number(parts.coefficient.expose()),
                ..TransparentKey::default()
            }
        }
        (
            Format::TRANSPARENT_EC_PRIVATE_KEY
            | Format::TRANSPARENT_ECDSA_PRIVATE_KEY
            | Format::TRANSPARENT_ECDH_PRIVATE_KEY,
            Kind::Ec(own),
        ) => TransparentKey {
            recommended_curve: Some(named(own).ok_or_else(|| unsupported_format(format))?),
            d: number(key.scalar().map_err(unsupported)?.expose()),
            ..TransparentKey::default()
        },
        _ => return Err(unsupported_format(format)),
    };
    Ok(KeyMaterial::Transparent(Box::new(transparent)))
}

fn transparent_public(key: &PublicKey, format: Format) -> Outcome<KeyMaterial> {
    let unsupported = |_| unsupported_format(format);
    let transparent = match (format, key.kind()) {
        (Format::TRANSPARENT_RSA_PUBLIC_KEY, Kind::Rsa { .. }) => {
            let (modulus, exponent) = key.rsa_parts().map_err(unsupported)?;
            TransparentKey {
                modulus: Some(BigInteger::from_unsigned(&modulus)),
                public_exponent: Some(BigInteger::from_unsigned(&exponent)),
                ..TransparentKey::default()
            }
        }
        (
            Format::TRANSPARENT_EC_PUBLIC_KEY
            | Format::TRANSPARENT_ECDSA_PUBLIC_KEY
            | Format::TRANSPARENT_ECDH_PUBLIC_KEY,
            Kind::Ec(own),
        ) => TransparentKey {
            recommended_curve: Some(named(own).ok_or_else(|| unsupported_format(format))?),
            q_string: Some(key.point().map_err(unsupported)?),
            ..TransparentKey::default()
        },
        _ => return Err(unsupported_format(format)),
    };
    Ok(KeyMaterial::Transparent(Box::new(transparent)))
}

fn transparent_curve(key: &TransparentKey) -> Outcome<Curve> {
    key.recommended_curve
        .and_then(keys::curve_of)
        .ok_or_else(|| invalid("a transparent key without a known Recommended Curve"))
}

/// What KMIP calls a curve, where it means no other by it.
fn named(own: Curve) -> Option<RecommendedCurve> {
    Some(keys::curve(own)).filter(|name| keys::curve_of(*name) == Some(own))
}

/// The hash function that KMIP calls so.
pub fn hash_of(hash: HashingAlgorithm) -> Outcome<Hash> {
    keys::hash_of(hash).ok_or_else(|| invalid(format!("{hash} is not supported")))
}
