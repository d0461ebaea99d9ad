//! Values: in the one form per class that the store speaks, and in the many that servers keep and return.

use super::facts::is_refusal;
use super::{KmipStore, keys, same, terms};
use crate::ck::{CKR_ATTRIBUTE_VALUE_INVALID, CKR_FUNCTION_FAILED, CKR_KEY_UNEXTRACTABLE};
use crate::crypto::pkey::{PrivateKey, PublicKey};
use crate::error::{Error, Kind, Result};
use crate::kmip::{
    self, Certificate, CertificateType, CryptographicAlgorithm, GetRequest, KeyBlock,
    KeyFormatType, KeyMaterial, KeyValue, ManagedObject, OpaqueDataType, OpaqueObject, SecretData,
    SecretDataType, SymmetricKey, TransparentKey,
};
use crate::net::{Call, Transport};
use crate::secret::Secret;
use crate::store::{Algorithm, Class, Spec, Uid};

impl<T: Transport> KmipStore<T> {
    pub(super) fn fetch(&self, uid: &Uid) -> Result<Secret> {
        self.fetch_in(&self.client.call(), uid)
    }

    pub(super) fn fetch_in(&self, call: &Call<'_, T>, uid: &Uid) -> Result<Secret> {
        let get = |key_format_type| {
            let request = GetRequest {
                unique_identifier: Some(uid.0.as_str().into()),
                key_format_type,
                ..GetRequest::default()
            };
            let answer = call.request(&request)?;
            same(uid, &answer.unique_identifier)?;
            Ok::<_, Error>(answer.object)
        };
        // The form the object is kept in: many servers convert nothing.
        let got = get(None)?;
        match value(&got) {
            Err(e) if e.kind() == Kind::Protocol => {
                let other = match got {
                    ManagedObject::PrivateKey(_) => KeyFormatType::PKCS_8,
                    ManagedObject::PublicKey(_) => KeyFormatType::X_509,
                    _ => return Err(e),
                };
                match get(Some(other)) {
                    Ok(got) => value(&got),
                    Err(refused) if is_refusal(&refused) => Err(e),
                    Err(failed) => Err(failed),
                }
            }
            value => value,
        }
    }
}

/// The object to register for a value. `usual` is the form most servers take; an error when there is no other.
pub(super) fn object(spec: &Spec, value: &[u8], bits: i32, usual: bool) -> Result<ManagedObject> {
    let other = || Error::new(Kind::Input, CKR_FUNCTION_FAILED, "there is no other form");
    let algorithm = || {
        terms::algorithm(spec.algorithm, spec.bits, true).ok_or_else(|| {
            Error::new(
                Kind::Pkcs11,
                CKR_ATTRIBUTE_VALUE_INVALID,
                "a key without algorithm cannot be stored",
            )
        })
    };
    let block =
        |format, material| Ok::<_, Error>(KeyBlock::of_bytes(format, algorithm()?, bits, material));
    let bytes = || Secret::new(value.to_vec());
    Ok(match spec.class {
        Class::SecretKey if !usual => return Err(other()),
        Class::SecretKey if terms::is_secret_data(spec.algorithm, spec.usage) => {
            let key_block = KeyBlock {
                key_format_type: KeyFormatType::RAW,
                key_value: Some(KeyValue::bytes(bytes())),
                ..KeyBlock::default()
            };
            ManagedObject::SecretData(SecretData {
                secret_data_type: SecretDataType::SEED,
                key_block,
            })
        }
        Class::SecretKey => ManagedObject::SymmetricKey(SymmetricKey {
            key_block: block(KeyFormatType::RAW, bytes())?,
        }),
        Class::PrivateKey => {
            let key_block = match (usual, spec.algorithm) {
                (true, _) => block(KeyFormatType::PKCS_8, bytes())?,
                (false, Algorithm::Rsa) => block(
                    KeyFormatType::PKCS_1,
                    PrivateKey::from_pkcs8(value)?.to_pkcs1()?,
                )?,
                (false, Algorithm::Ec(_)) => block(
                    KeyFormatType::ECPRIVATEKEY,
                    PrivateKey::from_pkcs8(value)?.to_sec1()?,
                )?,
                _ => return Err(other()),
            };
            ManagedObject::PrivateKey(kmip::PrivateKey { key_block })
        }
        Class::PublicKey => {
            let key_block = match (usual, spec.algorithm) {
                (true, _) => block(KeyFormatType::X_509, bytes())?,
                (false, Algorithm::Rsa) => block(
                    KeyFormatType::PKCS_1,
                    Secret::new(PublicKey::from_spki(value)?.to_pkcs1()?),
                )?,
                _ => return Err(other()),
            };
            ManagedObject::PublicKey(kmip::PublicKey { key_block })
        }
        Class::Certificate if !usual => return Err(other()),
        Class::Certificate => ManagedObject::Certificate(Certificate {
            certificate_type: CertificateType::X_509,
            certificate_value: value.to_vec(),
        }),
        // The specification names no type of opaque data, and servers disagree about the one vendor value they take.
        Class::Data => ManagedObject::OpaqueObject(OpaqueObject {
            opaque_data_type: OpaqueDataType(if usual { 0x8000_0000 } else { 0x8000_0001 }),
            opaque_data_value: bytes(),
        }),
    })
}

/// The value of an object in the form of its class.
pub(super) fn value(object: &ManagedObject) -> Result<Secret> {
    match object {
        ManagedObject::Certificate(certificate) => {
            Ok(Secret::new(certificate.certificate_value.clone()))
        }
        ManagedObject::OpaqueObject(opaque) => Ok(opaque.opaque_data_value.duplicate()),
        ManagedObject::SymmetricKey(SymmetricKey { key_block })
        | ManagedObject::SecretData(SecretData { key_block, .. }) => match material(key_block)? {
            KeyMaterial::Bytes(bytes) => Ok(bytes.duplicate()),
            KeyMaterial::Transparent(key) => key
                .key
                .as_ref()
                .map(Secret::duplicate)
                .ok_or_else(|| unknown(key_block)),
        },
        ManagedObject::PrivateKey(kmip::PrivateKey { key_block }) => {
            private_key(key_block)?.to_pkcs8()
        }
        ManagedObject::PublicKey(kmip::PublicKey { key_block }) => {
            Ok(Secret::new(public_key(key_block)?.to_spki()?))
        }
        other => Err(Error::protocol(format!(
            "a {} has no value that can be used",
            other.object_type()
        ))),
    }
}

fn material(block: &KeyBlock) -> Result<&KeyMaterial> {
    match &block.key_value {
        Some(KeyValue::Plain(plain)) => Ok(&plain.key_material),
        Some(KeyValue::Wrapped(_)) => Err(Error::new(
            Kind::Pkcs11,
            CKR_KEY_UNEXTRACTABLE,
            "the KMIP server gives this key out wrapped under another key only",
        )),
        None => Err(Error::new(
            Kind::Pkcs11,
            CKR_KEY_UNEXTRACTABLE,
            "the KMIP server does not have the value of this key",
        )),
    }
}

fn unknown(block: &KeyBlock) -> Error {
    Error::protocol(format!(
        "the KMIP server gave a key in a form that is not understood ({})",
        block.key_format_type
    ))
}

/// An error about the bytes of a key is the server's fault.
fn readable<K>(block: &KeyBlock, key: Result<K>) -> Result<K> {
    key.map_err(|e| unknown(block).because(e))
}

fn private_key(block: &KeyBlock) -> Result<PrivateKey> {
    let curve = || {
        terms::algorithm_of(
            block.cryptographic_algorithm.unwrap_or_default(),
            None,
            bits(block),
        )
    };
    let key = match material(block)? {
        KeyMaterial::Bytes(der) => match block.key_format_type {
            KeyFormatType::PKCS_1 => PrivateKey::from_pkcs1(der.expose()),
            KeyFormatType::ECPRIVATEKEY => PrivateKey::from_sec1(
                der.expose(),
                if let Algorithm::Ec(curve) = curve() {
                    Some(curve)
                } else {
                    None
                },
            ),
            // Formats are labelled wrongly often enough, and a key says itself what it is.
            _ => PrivateKey::from_pkcs8(der.expose()),
        },
        KeyMaterial::Transparent(key) => keys::private_key(key, curve_of(block, key)),
    };
    readable(block, key)
}

fn public_key(block: &KeyBlock) -> Result<PublicKey> {
    let key = match material(block)? {
        KeyMaterial::Bytes(der) => match block.key_format_type {
            KeyFormatType::PKCS_1 => PublicKey::from_pkcs1(der.expose()),
            // One server labels SubjectPublicKeyInfo as Raw; others mean a bare point.
            _ => PublicKey::from_spki(der.expose()).or_else(|e| {
                match terms::algorithm_of(
                    block.cryptographic_algorithm.unwrap_or_default(),
                    None,
                    bits(block),
                ) {
                    Algorithm::Ec(curve) => PublicKey::from_point(curve, der.expose()),
                    _ => Err(e),
                }
            }),
        },
        KeyMaterial::Transparent(key) => keys::public_key(key, curve_of(block, key)),
    };
    readable(block, key)
}

/// The curve of a transparent key, if it is on one; CURVE25519 is Ed25519's too, when the algorithm says so.
fn curve_of(block: &KeyBlock, key: &TransparentKey) -> Option<crate::store::Curve> {
    let curve = key.recommended_curve?;
    match block.cryptographic_algorithm {
        Some(CryptographicAlgorithm::ED25519) => Some(crate::store::Curve::Ed25519),
        _ => keys::curve_of(curve),
    }
}

fn bits(block: &KeyBlock) -> u32 {
    block
        .cryptographic_length
        .and_then(|bits| u32::try_from(bits).ok())
        .unwrap_or(0)
}
