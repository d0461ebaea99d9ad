//! Split keys: a key taken apart, and made of its parts again (spec 1.4, 4.38 and 4.39).

use super::attributes::screen;
use super::budget::{exceeded, size};
use super::context::Context;
use super::engine::Engine;
use super::keys::{Material, invalid};
use super::life::wrong_state;
use super::make::{keep, made_here};
use super::objects::{Object, Outcome, Refusal, Share, Value};
use super::protection::{check_usage, inherit};
use super::template::given;
use super::wording::client_text;
use crate::crypto::{rng, split};
use crate::kmip::*;
use crate::secret::Secret;

/// The longest value that is split, in bytes.
const LONGEST: usize = 64 << 10;

fn unknown_method(method: SplitKeyMethod) -> Refusal {
    Refusal::item(
        ResultReason::FEATURE_NOT_SUPPORTED,
        format!("{method} is not supported"),
    )
}

/// Answers Create Split Key: of a key that is there, or of a new one that only its parts know.
pub fn create(
    engine: &Engine,
    context: &mut Context,
    request: CreateSplitKeyRequest,
) -> Outcome<CreateSplitKeyResponse> {
    if request.object_type != ObjectType::SPLIT_KEY {
        return Err(invalid(format!(
            "a key is split into parts of a Split Key, not of a {}",
            request.object_type
        )));
    }
    let (parts, threshold) = (request.split_key_parts, request.split_key_threshold);
    if !(2..=split::MOST_PARTS as i32).contains(&parts) || !(1..=parts).contains(&threshold) {
        return Err(invalid(format!(
            "a key has no {parts} parts of which {threshold} are needed"
        )));
    }
    let wanted = given(engine, context, request.template_attribute)?;
    let mut attributes = screen(&engine.personality, context.version, wanted)?;
    // Each part has all of them.
    if size(&attributes) > engine.quotas.attribute_bytes {
        return Err(exceeded(
            context.version,
            "so many attributes for each part",
        ));
    }
    let base = request
        .unique_identifier
        .map(|uid| engine.resolve(context, Some(uid)))
        .transpose()?;
    let secret = match &base {
        Some(base) => {
            may_be_split(engine, context, base)?;
            for value in base.attributes.iter() {
                let of_the_key = matches!(
                    value,
                    AttributeValue::CryptographicAlgorithm(_)
                        | AttributeValue::CryptographicLength(_)
                        | AttributeValue::CryptographicUsageMask(_)
                        | AttributeValue::Sensitive(_)
                );
                if of_the_key && !attributes.iter().any(|given| given.name() == value.name()) {
                    attributes.push(value.clone());
                }
            }
            check_usage(context, &attributes, base)?;
            whole(base)?.duplicate()
        }
        None => {
            let bits = attributes
                .cryptographic_length()
                .copied()
                .filter(|bits| bits % 8 == 0 && (8..=4096).contains(bits));
            let bits =
                bits.ok_or_else(|| invalid("Cryptographic Length is missing or none of a key"))?;
            rng::bytes(bits as usize / 8)?
        }
    };
    if secret.len() > LONGEST {
        return Err(invalid(format!("at most {LONGEST} bytes are split")));
    }
    // For each byte of each part a polynomial is evaluated.
    let evaluated = secret.len() as u64 * parts as u64 * threshold as u64;
    context.meter.charge(evaluated / 16)?;
    let values = match request.split_key_method {
        SplitKeyMethod::XOR if threshold != parts => {
            return Err(invalid(
                "XOR needs all parts: Split Key Threshold is too low",
            ));
        }
        SplitKeyMethod::XOR => split::by_xor(secret.expose(), parts as usize)?,
        SplitKeyMethod::POLYNOMIAL_SHARING_GF_2_8 => {
            split::by_polynomial(secret.expose(), parts as usize, threshold as usize)?
        }
        other => return Err(unknown_method(other)),
    };
    made_here(&mut attributes);
    let mut objects = Vec::new();
    for (number, value) in (1..).zip(values) {
        let share = Share {
            parts,
            number,
            threshold,
            method: request.split_key_method,
        };
        let value = Value::Split(share, Material::Unknown(value));
        let mut part = Object::new(
            &context.caller,
            ObjectType::SPLIT_KEY,
            value,
            attributes.clone(),
        );
        inherit(engine, &mut part, base.as_deref());
        objects.push(part);
    }
    let objects = context.change(engine, |transaction| {
        let mut objects = objects.clone();
        for object in &mut objects {
            transaction.name(&engine.personality, object)?;
            transaction.put(object)?;
        }
        Ok(objects)
    })?;
    objects.iter().for_each(|object| _ = context.about(object));
    let unique_identifiers = objects.into_iter().map(|object| object.uid).collect();
    Ok(CreateSplitKeyResponse {
        unique_identifiers,
        template_attribute: None,
    })
}

/// Fails when parts of the key would be a way around what protects it.
fn may_be_split(engine: &Engine, context: &Context, base: &Object) -> Outcome<()> {
    if engine.personality.enforces_sensitive && !base.is_extractable() {
        return Err(Refusal::item(
            ResultReason::NOT_EXTRACTABLE,
            "parts would be a way out of the server",
        ));
    }
    base.dates.check_online()?;
    if !base.is_protected() {
        return Ok(());
    }
    if !matches!(base.state(), State::PRE_ACTIVE | State::ACTIVE) {
        let text = format!("the key is {}", base.state());
        return Err(wrong_state(context.version, text));
    }
    match base.attributes.usage_limits() {
        Some(_) => Err(Refusal::item(
            ResultReason::PERMISSION_DENIED,
            "the uses of the parts would not be counted",
        )),
        None => Ok(()),
    }
}

/// The bytes that are split.
fn whole(object: &Object) -> Outcome<&Secret> {
    match &object.value {
        Value::Key(Material::Symmetric(bytes), _)
        | Value::Secret(_, Material::Unknown(bytes), _) => Ok(bytes),
        _ => Err(invalid("only symmetric keys and secrets are split")),
    }
}

/// Answers Join Split Key.
pub fn join(
    engine: &Engine,
    context: &mut Context,
    request: JoinSplitKeyRequest,
) -> Outcome<JoinSplitKeyResponse> {
    let (mut objects, mut bytes) = (Vec::new(), 0);
    if request.unique_identifiers.len() > split::MOST_PARTS {
        let text = format!("a key has at most {} parts", split::MOST_PARTS);
        return Err(invalid(text));
    }
    for uid in request.unique_identifiers {
        let part = engine.resolve(context, Some(uid))?;
        part.dates.check_online()?;
        bytes += match &part.value {
            Value::Split(_, material) => material.bytes().len(),
            _ => 0,
        };
        if bytes > split::MOST_PARTS * LONGEST {
            return Err(exceeded(context.version, "the parts are too long"));
        }
        objects.push(part);
    }
    let parts: Vec<(Share, &Secret)> = objects
        .iter()
        .map(|object| match &object.value {
            Value::Split(share, material) => Ok((*share, material.bytes())),
            _ => Err(invalid("only parts of a key are joined")),
        })
        .collect::<Outcome<_>>()?;
    let Some((first, _)) = parts.first() else {
        return Err(invalid("joined from what?"));
    };
    let failure = |why: String| Refusal::item(ResultReason::CRYPTOGRAPHIC_FAILURE, why);
    let alike = |share: &Share| {
        Share {
            number: 0,
            ..*share
        } == Share {
            number: 0,
            ..*first
        }
    };
    if !parts.iter().all(|(share, _)| alike(share)) {
        return Err(failure("these are parts of different keys".into()));
    }
    if parts.len() < first.threshold.max(1) as usize {
        return Err(failure(format!(
            "{} parts are needed, not {}",
            first.threshold,
            parts.len()
        )));
    }
    let numbered: Vec<split::Part<'_>> = parts
        .iter()
        .map(|(share, bytes)| u8::try_from(share.number).map(|number| (number, bytes.expose())))
        .collect::<Result<_, _>>()
        .map_err(|_| failure("a part has no number that a part can have".into()))?;
    context
        .meter
        .charge(bytes as u64 / 8 + (parts.len() * parts.len()) as u64)?;
    let joined = match first.method {
        SplitKeyMethod::XOR => split::join_xor(&numbered),
        SplitKeyMethod::POLYNOMIAL_SHARING_GF_2_8 => split::join_polynomial(&numbered),
        other => return Err(unknown_method(other)),
    };
    let joined = joined.map_err(|e| failure(client_text(&e)))?;
    let wanted = given(engine, context, request.template_attribute)?;
    let mut attributes = screen(&engine.personality, context.version, wanted)?;
    let part = &objects[0].attributes;
    if attributes.cryptographic_usage_mask().is_none() {
        attributes.push(AttributeValue::CryptographicUsageMask(objects[0].usage()));
    }
    if let (None, Some(algorithm)) = (
        attributes.cryptographic_algorithm(),
        part.cryptographic_algorithm(),
    ) {
        attributes.push(AttributeValue::CryptographicAlgorithm(*algorithm));
    }
    if attributes.cryptographic_length().is_none() {
        attributes.push(AttributeValue::CryptographicLength(8 * joined.len() as i32));
    }
    made_here(&mut attributes);
    let value = match request.object_type {
        ObjectType::SYMMETRIC_KEY => Value::Key(Material::Symmetric(joined), KeyFormatType::RAW),
        ObjectType::SECRET_DATA => {
            let data_type = request
                .secret_data_type
                .ok_or_else(|| invalid("Secret Data Type is missing"))?;
            Value::Secret(data_type, Material::Unknown(joined), KeyFormatType::OPAQUE)
        }
        other => return Err(invalid(format!("no {other} is made of parts"))),
    };
    for part in &objects {
        check_usage(context, &attributes, part)?;
    }
    let mut object = Object::new(&context.caller, request.object_type, value, attributes);
    inherit(engine, &mut object, objects.iter().map(|part| &**part));
    Ok(JoinSplitKeyResponse {
        unique_identifier: keep(engine, context, object)?,
        template_attribute: None,
    })
}
