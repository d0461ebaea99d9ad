//! Attributes: what is taken in, and the operations on them.

use std::collections::{HashMap, HashSet};

use crate::kmip::*;
use crate::storage::new_uuid;
use crate::ttlv::{Tag, Value};
use crate::version::Version;

use super::budget::{MOST_ATTRIBUTES, exceeded, of_object};
use super::context::Context;
use super::engine::Engine;
use super::keys::invalid;
use super::life::wrong_state;
use super::lifecycle;
use super::objects::{Object, Outcome, Refusal, now, reason};
use super::personality::{Personality, Policy};
use super::protection::Flags;

/// What may stand in an object more than once.
const MANY: &[Tag] = &[
    Tag::NAME,
    Tag::OBJECT_GROUP,
    Tag::APPLICATION_SPECIFIC_INFORMATION,
    Tag::LINK,
    Tag::ALTERNATIVE_NAME,
    Tag::CRYPTOGRAPHIC_PARAMETERS,
];

/// What only the server sets.
const SERVERS: &[Tag] = &[
    Tag::UNIQUE_IDENTIFIER,
    Tag::OBJECT_TYPE,
    Tag::STATE,
    Tag::INITIAL_DATE,
    Tag::LAST_CHANGE_DATE,
    Tag::COMPROMISE_DATE,
    Tag::COMPROMISE_OCCURRENCE_DATE,
    Tag::DESTROY_DATE,
    Tag::ARCHIVE_DATE,
    Tag::ALWAYS_SENSITIVE,
    Tag::NEVER_EXTRACTABLE,
    Tag::REVOCATION_REASON,
    Tag::DIGEST,
    Tag::KEY_VALUE_PRESENT,
    Tag::SHORT_UNIQUE_IDENTIFIER,
];

/// What cannot be changed once the object is there.
const FIXED: &[Tag] = &[
    Tag::CRYPTOGRAPHIC_ALGORITHM,
    Tag::CRYPTOGRAPHIC_LENGTH,
    Tag::CRYPTOGRAPHIC_USAGE_MASK,
    Tag::KEY_FORMAT_TYPE,
    Tag::CERTIFICATE_TYPE,
    Tag::CERTIFICATE_LENGTH,
    Tag::CERTIFICATE_IDENTIFIER,
    Tag::CERTIFICATE_SUBJECT,
    Tag::CERTIFICATE_ISSUER,
    Tag::X_509_CERTIFICATE_IDENTIFIER,
    Tag::X_509_CERTIFICATE_SUBJECT,
    Tag::X_509_CERTIFICATE_ISSUER,
];

fn policy(personality: &Personality, value: &AttributeValue) -> Policy {
    let tag = match value.name() {
        AttributeName::Custom { .. } => return personality.custom_attributes,
        AttributeName::Standard(tag) => tag,
    };
    match tag {
        Tag::APPLICATION_SPECIFIC_INFORMATION => personality.application_info,
        Tag::ACTIVATION_DATE | Tag::DEACTIVATION_DATE => personality.activation_date,
        Tag::LINK => personality.links,
        Tag::DESCRIPTION | Tag::COMMENT | Tag::CONTACT_INFORMATION | Tag::ALTERNATIVE_NAME => {
            personality.descriptions
        }
        Tag::EXTRACTABLE => personality.extractable,
        Tag::CRYPTOGRAPHIC_DOMAIN_PARAMETERS => personality.domain_parameters,
        _ if SERVERS.contains(&tag) => Policy::Refuse,
        _ => Policy::Keep,
    }
}

/// Texts in an attribute, for servers that take ASCII only.
fn is_ascii(value: &AttributeValue) -> bool {
    match value {
        AttributeValue::Name(name) => name.name_value.is_ascii(),
        AttributeValue::ObjectGroup(text) => text.is_ascii(),
        AttributeValue::ApplicationSpecificInformation(info) => {
            info.application_namespace.is_ascii()
                && info.application_data.as_deref().is_none_or(str::is_ascii)
        }
        _ => true,
    }
}

/// The attributes of a request as this server takes them in.
pub fn screen(
    personality: &Personality,
    version: Version,
    given: Attributes,
) -> Outcome<Attributes> {
    if given.len() > MOST_ATTRIBUTES {
        let text = format!("an object has at most {MOST_ATTRIBUTES} attributes");
        return Err(exceeded(version, text));
    }
    let mut kept = Attributes::new();
    let mut counts: HashMap<AttributeName, usize> = HashMap::new();
    for attribute in given.0 {
        let attribute = Attribute {
            value: with_total(attribute.value),
            ..attribute
        };
        let name = attribute.value.name();
        if attribute.value.is_mistyped() {
            return Err(invalid(format!("{name} has a value of another type")));
        }
        let text = format!("{name} is not supported");
        match policy(personality, &attribute.value) {
            Policy::Drop => continue,
            Policy::Refuse => return Err(Refusal::item(ResultReason::INVALID_FIELD, text)),
            Policy::Break => return Err(Refusal::Message(ResultReason::INVALID_MESSAGE, text)),
            Policy::Keep => {}
        }
        if personality.ascii_only && !is_ascii(&attribute.value) {
            return Err(invalid(format!("{name} is not ASCII")));
        }
        if personality.one_application_info
            && name == AttributeName::Standard(Tag::APPLICATION_SPECIFIC_INFORMATION)
        {
            kept.0.retain(|other| other.value.name() != name);
            counts.remove(&name);
        }
        let count = counts.entry(name.clone()).or_default();
        let before = *count;
        *count += 1;
        if before > 0 && !is_many(&name) {
            return Err(invalid(format!("{name} is given twice")));
        }
        if before > 0
            && personality.wants_index
            && !version.typed_attributes()
            && attribute.index != Some(before as i32)
        {
            return Err(invalid(
                "Attribute index missing from multivalued attribute",
            ));
        }
        kept.0
            .push(Attribute::nth(before, complete(attribute.value)?));
    }
    Ok(kept)
}

/// Usage Limits without Usage Limits Total, which the specification requires and clients leave out:
/// the count is the total.
fn with_total(value: AttributeValue) -> AttributeValue {
    let AttributeValue::Other(Tag::USAGE_LIMITS, Value::Structure(fields)) = &value else {
        return value;
    };
    let field = |tag| fields.iter().find(|field| field.tag == tag);
    let count = field(Tag::USAGE_LIMITS_COUNT).map(|field| &field.value);
    let unit = field(Tag::USAGE_LIMITS_UNIT).map(|field| &field.value);
    match (field(Tag::USAGE_LIMITS_TOTAL), count, unit) {
        (None, Some(Value::LongInteger(count)), Some(Value::Enumeration(unit))) => {
            AttributeValue::UsageLimits(UsageLimits {
                usage_limits_total: *count,
                usage_limits_count: Some(*count),
                usage_limits_unit: UsageLimitsUnit(*unit),
            })
        }
        _ => value,
    }
}

/// The attribute with what the server adds: all uses of a key are left at first (spec 1.4, 3.21), and an application that
/// leaves its data to the server gets some that nobody else has (3.36).
fn complete(value: AttributeValue) -> Outcome<AttributeValue> {
    let mut value = with_total(value);
    match &mut value {
        AttributeValue::UsageLimits(limits) => {
            let total = limits.usage_limits_total;
            if total < 0 {
                return Err(invalid("Usage Limits Total is negative"));
            }
            let left = limits.usage_limits_count.unwrap_or(total);
            limits.usage_limits_count = Some(left.clamp(0, total));
        }
        AttributeValue::ApplicationSpecificInformation(info) if info.application_data.is_none() => {
            info.application_data = Some(new_uuid()?);
        }
        _ => {}
    }
    Ok(value)
}

/// True for what may stand in an object more than once, custom attributes among them.
pub fn is_many(name: &AttributeName) -> bool {
    match name {
        AttributeName::Standard(tag) => MANY.contains(tag),
        AttributeName::Custom { .. } => true,
    }
}

/// Answers Get Attributes.
pub fn get(
    engine: &Engine,
    context: &mut Context,
    request: GetAttributesRequest,
) -> Outcome<GetAttributesResponse> {
    let object = engine.resolve(context, request.unique_identifier)?;
    context.meter.charge(of_object(&object))?;
    let mut attributes = object.all_attributes(context.version);
    let names = &request.attribute_names;
    let mut places = HashMap::new();
    for (at, name) in names.iter().enumerate() {
        places.entry(name).or_insert(at);
    }
    if !context.version.typed_attributes() && places.len() < names.len() {
        return Err(Refusal::item(
            ResultReason::INVALID_MESSAGE,
            "an Attribute Name is given twice",
        ));
    }
    if names.is_empty() {
        // What nobody set and nobody asked for is left out where clients are known to stumble over it: PyKMIP's does over a
        // Digest of 1.0, which has no Key Format Type, and in 2.0 over attributes that it has no type for.
        let (sensitive, extractable) = (
            object.attributes.sensitive().is_some(),
            object.attributes.extractable().is_some(),
        );
        let version = context.version;
        attributes.0.retain(|attribute| match attribute.value {
            AttributeValue::AlwaysSensitive(_) => sensitive,
            AttributeValue::NeverExtractable(_) => extractable,
            AttributeValue::KeyFormatType(_) => false,
            AttributeValue::Digest(_) => version > Version::V1_0,
            AttributeValue::OriginalCreationDate(date) => {
                !version.typed_attributes() || date.0 != object.dates.initial
            }
            _ => true,
        });
    } else {
        attributes
            .0
            .retain(|attribute| places.contains_key(&attribute.value.name()));
        // In the order that was asked for, as clients with little memory expect it.
        attributes
            .0
            .sort_by_cached_key(|attribute| places.get(&attribute.value.name()).copied());
    }
    Ok(GetAttributesResponse {
        unique_identifier: context.about(&object),
        attributes,
    })
}

/// Answers Get Attribute List.
pub fn list(
    engine: &Engine,
    context: &mut Context,
    request: GetAttributeListRequest,
) -> Outcome<GetAttributeListResponse> {
    let object = engine.resolve(context, request.unique_identifier)?;
    context.meter.charge(of_object(&object))?;
    let (mut attribute_names, mut seen) = (Vec::new(), HashSet::new());
    for value in object.all_attributes(context.version).iter() {
        if seen.insert(value.name()) {
            attribute_names.push(value.name());
        }
    }
    Ok(GetAttributeListResponse {
        unique_identifier: context.about(&object),
        attribute_names,
    })
}

/// True for what only the server says of an object.
pub fn is_servers(name: &AttributeName) -> bool {
    matches!(name, AttributeName::Standard(tag) if SERVERS.contains(tag))
}

/// What only the server may change.
pub fn fixed(context: &Context, name: &AttributeName) -> Refusal {
    let reason = reason(
        context.version,
        ResultReason::PERMISSION_DENIED,
        ResultReason::ATTRIBUTE_READ_ONLY,
    );
    Refusal::item(reason, format!("{name} cannot be changed"))
}

/// What is not there: the attribute, or only this one of several.
fn missing(version: Version, object: &Object, name: &AttributeName) -> Refusal {
    let reason = match object.attributes.iter().any(|other| other.name() == *name) {
        true => reason(
            version,
            ResultReason::INDEX_OUT_OF_BOUNDS,
            ResultReason::ATTRIBUTE_INSTANCE_NOT_FOUND,
        ),
        false => reason(
            version,
            ResultReason::ITEM_NOT_FOUND,
            ResultReason::ATTRIBUTE_NOT_FOUND,
        ),
    };
    Refusal::item(reason, format!("the object has no such {name}"))
}

/// Refuses what a client may not touch.
fn may_change(engine: &Engine, context: &Context, attribute: &Attribute) -> Outcome<()> {
    let name = attribute.value.name();
    if is_fixed(&name) {
        return Err(fixed(context, &name));
    }
    let one = Attributes(vec![Attribute {
        index: None,
        value: attribute.value.clone(),
    }]);
    screen(&engine.personality, Version::V2_0, one).map(|_| ())
}

/// True for what no client may change or delete once the object is there.
fn is_fixed(name: &AttributeName) -> bool {
    let AttributeName::Standard(tag) = name else {
        return false;
    };
    SERVERS.contains(tag)
        || FIXED.contains(tag)
        || (Tag::CERTIFICATE_SUBJECT_CN..=Tag::CERTIFICATE_ISSUER_DN_QUALIFIER).contains(tag)
}

/// The attribute as a 1.x response gives it back.
fn echo(context: &Context, attribute: Attribute) -> Option<Attribute> {
    // The first one needs no index.
    let index = attribute.index.filter(|index| *index != 0);
    (!context.version.typed_attributes()).then_some(Attribute { index, ..attribute })
}

/// Changes the attributes of the object that a request names.
fn change<T>(
    engine: &Engine,
    context: &mut Context,
    uid: Option<UniqueIdentifier>,
    change: impl Fn(&mut Object) -> Outcome<T>,
) -> Outcome<(String, T)> {
    let version = context.version;
    lifecycle::change(engine, context, uid, |context, object| {
        let (dates, flags) = (object.dates.clone(), Flags::of(object));
        let limits = object.attributes.usage_limits().cloned();
        let result = change(object)?;
        lifecycle::check_limits(context, limits.as_ref(), object)?;
        object.dates.check_change(version, &dates, now())?;
        flags.check_change(engine, context, object)?;
        Ok(result)
    })
}

/// Answers Add Attribute.
pub fn add(
    engine: &Engine,
    context: &mut Context,
    request: AddAttributeRequest,
) -> Outcome<AddAttributeResponse> {
    let version = context.version;
    may_change(engine, context, &request.attribute)?;
    let value = complete(request.attribute.value)?;
    let given = value.clone();
    let (unique_identifier, index) =
        change(engine, context, request.unique_identifier, |object| {
            let name = value.name();
            let same = || {
                object
                    .attributes
                    .0
                    .iter()
                    .filter(|other| other.value.name() == name)
            };
            if same().next().is_some() && !is_many(&name) {
                let reason = reason(
                    version,
                    ResultReason::ILLEGAL_OPERATION,
                    ResultReason::ATTRIBUTE_SINGLE_VALUED,
                );
                return Err(Refusal::item(reason, format!("{name} is there already")));
            }
            if matches!(value, AttributeValue::Name(_)) && same().any(|other| other.value == value)
            {
                let reason = reason(
                    version,
                    ResultReason::ILLEGAL_OPERATION,
                    ResultReason::NON_UNIQUE_NAME_ATTRIBUTE,
                );
                return Err(Refusal::item(reason, "the object has this name already"));
            }
            if object.dates.set(&value) {
                return Ok(None);
            }
            // An index is never given twice while others stand behind it.
            let index = same().map(|other| other.index.unwrap_or(0) + 1).max();
            let value = value.clone();
            object.attributes.0.push(Attribute { index, value });
            Ok(index)
        })?;
    let attribute = echo(
        context,
        Attribute {
            index,
            value: given,
        },
    );
    Ok(AddAttributeResponse {
        unique_identifier,
        attribute,
    })
}

/// Answers Modify Attribute.
pub fn modify(
    engine: &Engine,
    context: &mut Context,
    request: ModifyAttributeRequest,
) -> Outcome<ModifyAttributeResponse> {
    let version = context.version;
    may_change(engine, context, &request.attribute)?;
    let value = complete(request.attribute.value.clone())?;
    let index = request.attribute.index.unwrap_or(0);
    let current = request.current_attribute;
    if current
        .as_ref()
        .is_some_and(|current| current.value.name() != value.name())
    {
        return Err(invalid(
            "Current Attribute and New Attribute are not of one name",
        ));
    }
    let (unique_identifier, ()) = change(engine, context, request.unique_identifier, |object| {
        let name = value.name();
        let found = object.attributes.0.iter().position(|other| match &current {
            Some(current) => other.value == current.value,
            None => other.value.name() == name && other.index.unwrap_or(0) == index,
        });
        let is_date = object.dates.attributes().any(|date| date.name() == name);
        // Not even to the same date (spec 1.4, 3.24).
        if matches!(value, AttributeValue::ActivationDate(_))
            && object.dates.activation.is_some_and(|date| date <= now())
        {
            return Err(wrong_state(version, "the object was activated already"));
        }
        match found {
            Some(at) => object.attributes.0[at].value = value.clone(),
            None if is_date && object.dates.set(&value) => {}
            None => return Err(missing(version, object, &name)),
        }
        Ok(())
    })?;
    Ok(ModifyAttributeResponse {
        unique_identifier,
        attribute: echo(context, request.attribute),
    })
}

/// Answers Delete Attribute.
pub fn delete(
    engine: &Engine,
    context: &mut Context,
    request: DeleteAttributeRequest,
) -> Outcome<DeleteAttributeResponse> {
    let version = context.version;
    let typed = version.typed_attributes();
    let index = request.attribute_index.unwrap_or(0);
    let (current, name) = (request.current_attribute, request.attribute_name);
    let meant = |other: &Attribute| match (&current, &name) {
        (Some(current), _) => other.value == current.value,
        (None, Some(name)) => {
            other.value.name() == *name && (typed || other.index.unwrap_or(0) == index)
        }
        (None, None) => false,
    };
    let asked = current
        .as_ref()
        .map(|current| current.value.name())
        .or_else(|| name.clone());
    let asked = asked.ok_or_else(|| invalid("which attribute?"))?;
    let stays = matches!(
        asked,
        AttributeName::Standard(Tag::SENSITIVE | Tag::EXTRACTABLE)
    );
    if is_fixed(&asked) || stays {
        return Err(fixed(context, &asked));
    }
    let (unique_identifier, first) =
        change(engine, context, request.unique_identifier, |object| {
            let first = object
                .attributes
                .0
                .iter()
                .find(|other| meant(other))
                .cloned();
            let first = first.ok_or_else(|| missing(version, object, &asked))?;
            object.attributes.0.retain(|other| !meant(other));
            Ok(first)
        })?;
    Ok(DeleteAttributeResponse {
        unique_identifier,
        attribute: echo(context, first),
    })
}

/// Answers Set Attribute.
pub fn set(
    engine: &Engine,
    context: &mut Context,
    request: SetAttributeRequest,
) -> Outcome<SetAttributeResponse> {
    may_change(engine, context, &request.attribute)?;
    let value = request.attribute.value;
    let name = value.name();
    if is_many(&name) && matches!(name, AttributeName::Standard(_)) {
        let text = format!("{name} may be there several times");
        return Err(Refusal::item(ResultReason::MULTI_VALUED_ATTRIBUTE, text));
    }
    let (unique_identifier, ()) = change(engine, context, request.unique_identifier, |object| {
        if !object.dates.set(&value) {
            object
                .attributes
                .0
                .retain(|other| other.value.name() != name);
            object.attributes.push(value.clone());
        }
        Ok(())
    })?;
    Ok(SetAttributeResponse { unique_identifier })
}

/// Answers Adjust Attribute (2.x): adds to, subtracts from or negates a number or a flag.
pub fn adjust(
    engine: &Engine,
    context: &mut Context,
    request: AdjustAttributeRequest,
) -> Outcome<AdjustAttributeResponse> {
    let version = context.version;
    let name = request.attribute_reference;
    if is_fixed(&name) {
        return Err(fixed(context, &name));
    }
    let by = match request.adjustment_value {
        Some(Value::Integer(by)) => i64::from(by),
        Some(Value::LongInteger(by)) => by,
        None => 1,
        Some(_) => return Err(invalid("Adjustment Value is not a number")),
    };
    let (unique_identifier, ()) = change(engine, context, request.unique_identifier, |object| {
        let found = object
            .attributes
            .0
            .iter_mut()
            .find(|other| other.value.name() == name);
        let Some(attribute) = found else {
            return Err(missing(version, object, &name));
        };
        let (AttributeValue::Custom(_, _, value) | AttributeValue::Other(_, value)) =
            &mut attribute.value
        else {
            return Err(invalid(format!("{name} cannot be adjusted")));
        };
        let overflow = || invalid("the number would be too large");
        let by = match request.adjustment_type {
            AdjustmentType::DECREMENT => by.checked_neg().ok_or_else(overflow)?,
            _ => by,
        };
        match (value, request.adjustment_type) {
            (Value::Boolean(flag), AdjustmentType::NEGATE) => *flag = !*flag,
            (Value::Integer(number), AdjustmentType::NEGATE) => {
                *number = number.checked_neg().ok_or_else(overflow)?
            }
            (Value::LongInteger(number), AdjustmentType::NEGATE) => {
                *number = number.checked_neg().ok_or_else(overflow)?
            }
            (Value::Integer(number), _) => {
                let sum = i64::from(*number)
                    .checked_add(by)
                    .and_then(|sum| i32::try_from(sum).ok());
                *number = sum.ok_or_else(overflow)?;
            }
            (Value::LongInteger(number), _) => {
                *number = number.checked_add(by).ok_or_else(overflow)?
            }
            _ => return Err(invalid(format!("{name} is no number"))),
        }
        Ok(())
    })?;
    Ok(AdjustAttributeResponse { unique_identifier })
}
