//! Locate: which objects fit.

use mrhsm_pkcs11::kmip::*;
use mrhsm_pkcs11::ttlv::Tag;

use super::engine::{Context, Engine};
use super::objects::{Object, Outcome, Refusal};
use super::personality::Locating;

pub fn locate(engine: &mut Engine, context: &mut Context, request: LocateRequest) -> Outcome<LocateResponse> {
    let personality = &engine.personality;
    let all = request.storage_status_mask.is_some_and(|mask| mask.contains(StorageStatusMask::DESTROYED_STORAGE));
    let certificates = engine.objects.iter().any(|object| object.object_type == ObjectType::CERTIFICATE);
    let mut typed = false;
    for filter in request.attributes.iter() {
        let AttributeName::Standard(tag) = filter.name() else { continue };
        typed |= tag == Tag::OBJECT_TYPE;
        let of_keys = matches!(tag, Tag::CRYPTOGRAPHIC_ALGORITHM | Tag::CRYPTOGRAPHIC_LENGTH);
        if personality.locate_type_first && certificates && of_keys && !typed {
            return Err(Refusal::item(ResultReason::GENERAL_FAILURE, "a certificate has no algorithm"));
        }
        if personality.links == super::personality::Policy::Break && tag == Tag::LINK {
            return Err(Refusal::Message(ResultReason::INVALID_MESSAGE, "Link is not supported".into()));
        }
    }
    let mut found = Vec::new();
    // The newest first.
    for object in engine.objects.iter().rev() {
        if matches!(object.state(), State::DESTROYED | State::DESTROYED_COMPROMISED) && !all {
            continue;
        }
        let mut fits = true;
        for filter in request.attributes.iter() {
            fits &= matches(object, filter, personality.locating, &request.attributes)?;
        }
        if fits {
            found.push(object.uid.clone());
        }
    }
    let located = found.len() as i32;
    let offset = match personality.locate_offset {
        true => request.offset_items.unwrap_or(0).max(0) as usize,
        false => 0,
    };
    let most = request.maximum_items.map_or(usize::MAX, |n| n.max(0) as usize).min(personality.locate_limit);
    let unique_identifiers: Vec<String> = found.into_iter().skip(offset).take(most).collect();
    context.placeholder = match unique_identifiers.as_slice() {
        [only] => Some(only.clone()),
        _ => None,
    };
    let since = mrhsm_pkcs11::version::Version::V1_3;
    let located_items = (personality.located_items && context.version >= since).then_some(located);
    Ok(LocateResponse { located_items, unique_identifiers })
}

/// Whether an object fits one filter.
fn matches(object: &Object, filter: &AttributeValue, locating: Locating, filters: &Attributes) -> Outcome<bool> {
    let has = |wanted: &AttributeValue| object.attributes.iter().any(|value| value == wanted);
    Ok(match filter {
        AttributeValue::ObjectType(wanted) => object.object_type == *wanted,
        AttributeValue::UniqueIdentifier(wanted) => object.uid == *wanted,
        AttributeValue::State(wanted) => object.has_state() && object.state() == *wanted,
        AttributeValue::InitialDate(_) => {
            // One date is that date, two are from and to.
            let dates: Vec<i64> = filters
                .iter()
                .filter_map(|value| match value {
                    AttributeValue::InitialDate(date) => Some(date.0),
                    _ => None,
                })
                .collect();
            let (from, to) = (dates.iter().min().copied(), dates.iter().max().copied());
            from.is_none_or(|date| date <= object.initial_date) && to.is_none_or(|date| object.initial_date <= date)
        }
        AttributeValue::Name(_)
        | AttributeValue::ObjectGroup(_)
        | AttributeValue::CryptographicAlgorithm(_)
        | AttributeValue::CryptographicLength(_)
        | AttributeValue::CertificateType(_) => has(filter),
        AttributeValue::ApplicationSpecificInformation(wanted) => object.attributes.iter().any(|value| match value {
            AttributeValue::ApplicationSpecificInformation(info) => {
                info.application_namespace == wanted.application_namespace
                    && wanted.application_data.as_ref().is_none_or(|data| info.application_data.as_ref() == Some(data))
            }
            _ => false,
        }),
        other => match locating {
            Locating::Ignore => true,
            Locating::Fail if matches!(other, AttributeValue::Custom(..)) => {
                return Err(Refusal::item(ResultReason::GENERAL_FAILURE, format!("cannot locate by {}", other.name())));
            }
            Locating::Fail => matches!(other, AttributeValue::CryptographicUsageMask(mask) if usage(object).contains(*mask)),
            Locating::Exact => match other {
                AttributeValue::CryptographicUsageMask(mask) => usage(object).contains(*mask),
                other => has(other),
            },
        },
    })
}

fn usage(object: &Object) -> CryptographicUsageMask {
    object.attributes.cryptographic_usage_mask().copied().unwrap_or_default()
}
