//! Objects that are given back, plain or wrapped (spec 1.4, 4.11 and 4.41).

use super::budget::of_object;
use super::context::Context;
use super::engine::Engine;
use super::keys::{Material, invalid};
use super::objects::{Object, Outcome, Refusal, Value, not_there};
use super::pkcs12;
use super::protection::check_release;
use super::wrapping::{registered, wrap};
use crate::kmip::*;

/// Answers Get.
pub fn get(engine: &Engine, context: &mut Context, request: GetRequest) -> Outcome<GetResponse> {
    let object = engine.resolve(context, request.unique_identifier)?;
    let given = given(
        engine,
        context,
        &object,
        &Wish {
            format: request.key_format_type,
            wrap_type: request.key_wrap_type,
            specification: request.key_wrapping_specification.as_ref(),
        },
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
        &Wish {
            format: request.key_format_type,
            wrap_type: request.key_wrap_type,
            specification: request.key_wrapping_specification.as_ref(),
        },
    )?;
    Ok(ExportResponse {
        object_type: object.object_type,
        unique_identifier: context.about(&object),
        attributes: object.all_attributes(context.version),
        object: given,
    })
}

/// How an object is asked for.
struct Wish<'a> {
    format: Option<KeyFormatType>,
    wrap_type: Option<KeyWrapType>,
    specification: Option<&'a KeyWrappingSpecification>,
}

/// Whether the object is given back wrapped as it was registered.
fn as_registered(object: &Object, wish: &Wish<'_>) -> Outcome<bool> {
    let refuse = |reason, text| Err(Refusal::item(reason, text));
    let kept = matches!(object.value, Value::Wrapped(_));
    match (wish.wrap_type, wish.specification) {
        (Some(_), Some(_)) => Err(invalid(
            "Key Wrap Type and Key Wrapping Specification exclude each other",
        )),
        (Some(KeyWrapType::NOT_WRAPPED), None) if kept => refuse(
            ResultReason::KEY_WRAP_TYPE_NOT_SUPPORTED,
            "the server has the key only wrapped",
        ),
        (None, Some(_)) if kept => refuse(
            ResultReason::ILLEGAL_OPERATION,
            "the key is wrapped already",
        ),
        (None | Some(KeyWrapType::NOT_WRAPPED), _) => Ok(kept),
        (Some(KeyWrapType::AS_REGISTERED), None) => Ok(object.registered.is_some()),
        (Some(other), None) => refuse(
            ResultReason::KEY_WRAP_TYPE_NOT_SUPPORTED,
            &format!("Key Wrap Type {other} is not supported"),
        ),
    }
}

/// The object as it leaves the server.
fn given(
    engine: &Engine,
    context: &Context,
    object: &Object,
    wish: &Wish<'_>,
) -> Outcome<ManagedObject> {
    let (format, specification) = (wish.format, wish.specification);
    if as_registered(object, wish)? {
        return registered(engine, context, object, format);
    }
    // What has no Key Block comes in the clear, whatever wrapping is asked for.
    let wraps = specification.is_some()
        && matches!(
            object.value,
            Value::Key(..) | Value::Secret(..) | Value::Pgp(..) | Value::Split(..)
        );
    if !wraps {
        check_release(engine, object, None)?;
    }
    object.dates.check_online()?;
    context.meter.charge(2 * of_object(object))?;
    let algorithm = object.algorithm();
    let bits = object.attributes.cryptographic_length().copied();
    let mut key_block = match &object.value {
        Value::Key(Material::Private(pkcs8), _)
            if format == Some(KeyFormatType::PKCS_12) && engine.personality.converts_formats =>
        {
            pkcs12::block(engine, context, object, pkcs8.expose())?
        }
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
        Value::Wrapped(_) | Value::Gone => {
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
