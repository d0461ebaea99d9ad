//! Objects that are given back, plain or wrapped, and keys that come wrapped.

use std::sync::Arc;

use super::budget::{of_bytes, of_object};
use super::context::Context;
use super::engine::Engine;
use super::keys::Material;
use super::life::Purpose;
use super::lifecycle::spend;
use super::objects::{Object, Outcome, Refusal, Value, not_there, now};
use super::protection::check_release;
use crate::crypto::kw::{self, Wrapping};
use crate::kmip::*;
use crate::ttlv::{Decode, Encode, Item, Tag, Writer};
use crate::version::Version;

/// Answers Get.
pub fn get(engine: &Engine, context: &mut Context, request: GetRequest) -> Outcome<GetResponse> {
    let object = engine.resolve(context, request.unique_identifier)?;
    let given = given(
        engine,
        context,
        &object,
        request.key_format_type,
        request.key_wrapping_specification.as_ref(),
    )?;
    if object.attributes.fresh() == Some(&true) {
        context.change(engine, |transaction| {
            let mut object = transaction.get(&object.uid)?;
            for attribute in &mut object.attributes.0 {
                if let AttributeValue::Fresh(fresh) = &mut attribute.value {
                    *fresh = false;
                }
            }
            transaction.put(&object)
        })?;
    }
    Ok(GetResponse {
        object_type: object.object_type,
        unique_identifier: context.about(&object),
        object: given,
    })
}

/// Answers Export.
pub fn export(
    engine: &Engine,
    context: &mut Context,
    request: ExportRequest,
) -> Outcome<ExportResponse> {
    let object = engine.resolve(context, request.unique_identifier)?;
    let given = given(
        engine,
        context,
        &object,
        request.key_format_type,
        request.key_wrapping_specification.as_ref(),
    )?;
    Ok(ExportResponse {
        object_type: object.object_type,
        unique_identifier: context.about(&object),
        attributes: object.all_attributes(context.version),
        object: given,
    })
}

/// The object as it leaves the server.
fn given(
    engine: &Engine,
    context: &Context,
    object: &Object,
    format: Option<KeyFormatType>,
    specification: Option<&KeyWrappingSpecification>,
) -> Outcome<ManagedObject> {
    // What has no Key Block comes in the clear, whatever wrapping is asked for.
    let wraps = specification.is_some()
        && matches!(
            object.value,
            Value::Key(..) | Value::Secret(..) | Value::Pgp(..) | Value::Split(..)
        );
    if !wraps {
        check_release(engine, object, None)?;
    }
    if object.dates.archive.is_some() {
        return Err(Refusal::item(
            ResultReason::OBJECT_ARCHIVED,
            "the object is archived: recover it first",
        ));
    }
    context.meter.charge(2 * of_object(object))?;
    let algorithm = object.algorithm();
    let bits = object.attributes.cryptographic_length().copied();
    let mut key_block = match &object.value {
        Value::Key(material, own) => {
            let format = format.unwrap_or(*own);
            let converts = engine.personality.converts_formats
                && !matches!(material, Material::Unknown(_) | Material::Numbers(_));
            if format != *own && !converts {
                return Err(Refusal::item(
                    ResultReason::KEY_FORMAT_TYPE_NOT_SUPPORTED,
                    format!("the key is kept as {own}"),
                ));
            }
            material.block(format, algorithm, bits)?
        }
        Value::Secret(_, material, format) => KeyBlock {
            key_format_type: *format,
            key_value: Some(KeyValue::bytes(material.bytes().duplicate())),
            ..KeyBlock::default()
        },
        Value::Certificate(certificate_type, der) => {
            return Ok(ManagedObject::Certificate(Certificate {
                certificate_type: *certificate_type,
                certificate_value: der.clone(),
            }));
        }
        Value::Opaque(opaque_data_type, material) => {
            return Ok(ManagedObject::OpaqueObject(OpaqueObject {
                opaque_data_type: *opaque_data_type,
                opaque_data_value: material.bytes().duplicate(),
            }));
        }
        Value::Template(attributes) => return Ok(ManagedObject::Template(attributes.clone())),
        Value::Request(certificate_request_type, der) => {
            return Ok(ManagedObject::CertificateRequest(CertificateRequest {
                certificate_request_type: *certificate_request_type,
                certificate_request_value: der.clone(),
            }));
        }
        Value::Pgp(_, material) | Value::Split(_, material) => {
            material.block(KeyFormatType::RAW, algorithm, bits)?
        }
        Value::Elsewhere(own) => KeyBlock {
            key_format_type: *own,
            cryptographic_algorithm: algorithm,
            cryptographic_length: bits,
            ..KeyBlock::default()
        },
        Value::Gone => {
            return Err(not_there(
                context.version,
                ResultReason::OBJECT_DESTROYED,
                "the object is destroyed",
            ));
        }
    };
    if key_block.key_value.is_none() {
        // Nothing to wrap: the value is where Key Value Location says.
    } else if let Some(specification) = specification {
        wrap(engine, context, object, specification, &mut key_block)?;
    } else if engine.personality.attributes_in_key_value
        && let Some(KeyValue::Plain(plain)) = &mut key_block.key_value
    {
        plain.attributes = Some(object.all_attributes(context.version));
    }
    Ok(match (object.object_type, &object.value) {
        (_, Value::Pgp(version, _)) => ManagedObject::PgpKey(PgpKey {
            pgp_key_version: *version,
            key_block,
        }),
        (_, Value::Split(share, _)) => ManagedObject::SplitKey(SplitKey {
            split_key_parts: share.parts,
            key_part_identifier: share.number,
            split_key_threshold: share.threshold,
            split_key_method: share.method,
            prime_field_size: None,
            key_block,
        }),
        (_, Value::Secret(secret_data_type, ..)) => ManagedObject::SecretData(SecretData {
            secret_data_type: *secret_data_type,
            key_block,
        }),
        (ObjectType::PRIVATE_KEY, _) => ManagedObject::PrivateKey(PrivateKey { key_block }),
        (ObjectType::PUBLIC_KEY, _) => ManagedObject::PublicKey(PublicKey { key_block }),
        _ => ManagedObject::SymmetricKey(SymmetricKey { key_block }),
    })
}

/// The wrapping that key information asks for, and the key that does it, when it may.
fn wrapping(
    engine: &Engine,
    context: &Context,
    information: Option<&KeyInformation>,
    purpose: Purpose,
) -> Outcome<(Wrapping, Arc<Object>)> {
    let refuse = |text: &str| Err(Refusal::item(ResultReason::FEATURE_NOT_SUPPORTED, text));
    let Some(information) = information else {
        return refuse("which key wraps?");
    };
    let Some(uid) = information.unique_identifier.as_text() else {
        return refuse("which key wraps?");
    };
    let kek = context.object(engine, uid)?;
    let mask = match purpose {
        Purpose::Protect => CryptographicUsageMask::WRAP_KEY,
        Purpose::Process => CryptographicUsageMask::UNWRAP_KEY,
    };
    kek.allow(context.version, mask)?;
    kek.dates.allow(
        context.version,
        purpose,
        engine.personality.deactivated_decrypts,
        now(),
    )?;
    let parameters = information
        .cryptographic_parameters
        .as_ref()
        .or_else(|| kek.attributes.cryptographic_parameters());
    let wrapping = match parameters.and_then(|parameters| parameters.block_cipher_mode) {
        Some(BlockCipherMode::NIST_KEY_WRAP) => Wrapping::Kw,
        Some(BlockCipherMode::AES_KEY_WRAP_PADDING) => Wrapping::Kwp,
        _ => return refuse("only NIST Key Wrap and AES Key Wrap Padding"),
    };
    match &kek.value {
        Value::Key(Material::Symmetric(_), _) => Ok((wrapping, kek)),
        _ => refuse("only symmetric keys wrap"),
    }
}

/// The bytes of a key that wraps.
fn kek_bytes(kek: &Object) -> &[u8] {
    match &kek.value {
        Value::Key(material, _) => material.bytes().expose(),
        _ => &[],
    }
}

/// Wraps the material of a key block under another key: the bare bytes, or the encoded Key Value where TTLV is asked for.
fn wrap(
    engine: &Engine,
    context: &Context,
    object: &Object,
    specification: &KeyWrappingSpecification,
    block: &mut KeyBlock,
) -> Outcome<()> {
    if specification.wrapping_method != WrappingMethod::ENCRYPT {
        let text = format!("{} is not supported", specification.wrapping_method);
        return Err(Refusal::item(ResultReason::FEATURE_NOT_SUPPORTED, text));
    }
    let (wrapping, kek) = wrapping(
        engine,
        context,
        specification.encryption_key_information.as_ref(),
        Purpose::Protect,
    )?;
    check_release(engine, object, Some(&kek))?;
    let encoding = specification
        .encoding_option
        .filter(|_| context.version >= Version::V1_1);
    let bytes = match (encoding, &mut block.key_value) {
        (Some(EncodingOption::NO_ENCODING), Some(KeyValue::Plain(plain))) => {
            match &plain.key_material {
                KeyMaterial::Bytes(bytes) if specification.attribute_names.is_empty() => {
                    bytes.duplicate()
                }
                _ => {
                    return Err(Refusal::item(
                        ResultReason::ENCODING_OPTION_ERROR,
                        "only one byte string can be wrapped so",
                    ));
                }
            }
        }
        (None | Some(EncodingOption::TTLV_ENCODING), Some(value @ KeyValue::Plain(_))) => {
            if let KeyValue::Plain(plain) = value
                && !specification.attribute_names.is_empty()
            {
                let mut attributes = object.all_attributes(context.version);
                attributes.0.retain(|attribute| {
                    specification
                        .attribute_names
                        .contains(&attribute.value.name())
                });
                plain.attributes = Some(attributes);
            }
            let mut writer = Writer::new(context.version);
            value.encode(Tag::KEY_VALUE, &mut writer);
            writer.finish()?
        }
        _ => {
            return Err(Refusal::item(
                ResultReason::ENCODING_OPTION_ERROR,
                "this encoding is not known",
            ));
        }
    };
    let failed =
        |e: crate::error::Error| Refusal::item(ResultReason::CRYPTOGRAPHIC_FAILURE, e.to_string());
    context.meter.charge(16 * of_bytes(bytes.len()))?;
    let wrapped = kw::wrap(wrapping, kek_bytes(&kek), bytes.expose()).map_err(failed)?;
    spend(engine, context, &kek, bytes.len(), true)?;
    block.key_value = Some(KeyValue::Wrapped(wrapped));
    block.key_wrapping_data = Some(KeyWrappingData {
        wrapping_method: specification.wrapping_method,
        encryption_key_information: specification.encryption_key_information.clone(),
        encoding_option: specification.encoding_option,
        ..KeyWrappingData::default()
    });
    Ok(())
}

/// The one answer to a wrapped key that cannot be used, whatever is wrong with what is in it: a reason would tell of the key.
pub fn not_unwrapped() -> Refusal {
    Refusal::item(
        ResultReason::CRYPTOGRAPHIC_FAILURE,
        "the wrapped key cannot be unwrapped, or is no such key",
    )
}

/// The key block in the clear and the key that wrapped it, when it comes wrapped; `None` when it is in the clear already.
pub fn unwrapped(
    engine: &Engine,
    context: &Context,
    block: &KeyBlock,
) -> Outcome<Option<(KeyBlock, Arc<Object>)>> {
    let (Some(KeyValue::Wrapped(bytes)), Some(data)) = (&block.key_value, &block.key_wrapping_data)
    else {
        return Ok(None);
    };
    if data.wrapping_method != WrappingMethod::ENCRYPT {
        return Err(Refusal::item(
            ResultReason::FEATURE_NOT_SUPPORTED,
            format!("{} is not supported", data.wrapping_method),
        ));
    }
    let (wrapping, kek) = wrapping(
        engine,
        context,
        data.encryption_key_information.as_ref(),
        Purpose::Process,
    )?;
    context.meter.charge(16 * of_bytes(bytes.len()))?;
    let failed = |_: crate::error::Error| not_unwrapped();
    let plain = kw::unwrap(wrapping, kek_bytes(&kek), bytes).map_err(failed)?;
    let key_value = match data.encoding_option {
        Some(EncodingOption::NO_ENCODING) => KeyValue::bytes(plain),
        _ => KeyValue::decode(&Item::parse(plain.expose()).map_err(failed)?).map_err(failed)?,
    };
    let plain = KeyBlock {
        key_format_type: block.key_format_type,
        key_compression_type: block.key_compression_type,
        key_value: Some(key_value),
        cryptographic_algorithm: block.cryptographic_algorithm,
        cryptographic_length: block.cryptographic_length,
        key_wrapping_data: None,
    };
    Ok(Some((plain, kek)))
}
