//! Attributes: what is taken in, and the operations on them.

use mrhsm_pkcs11::kmip::*;
use mrhsm_pkcs11::ttlv::Tag;
use mrhsm_pkcs11::version::Version;

use super::engine::{Context, Engine};
use super::keys::invalid;
use super::objects::{Object, Outcome, Refusal};
use super::personality::{Personality, Policy};

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
    Tag::DESTROY_DATE,
    Tag::REVOCATION_REASON,
];

/// What cannot be changed once the object is there.
const FIXED: &[Tag] = &[Tag::CRYPTOGRAPHIC_ALGORITHM, Tag::CRYPTOGRAPHIC_LENGTH, Tag::CRYPTOGRAPHIC_USAGE_MASK];

fn policy(personality: &Personality, value: &AttributeValue) -> Policy {
    let tag = match value.name() {
        AttributeName::Custom { .. } => return personality.custom_attributes,
        AttributeName::Standard(tag) => tag,
    };
    match tag {
        Tag::APPLICATION_SPECIFIC_INFORMATION => personality.application_info,
        Tag::ACTIVATION_DATE | Tag::DEACTIVATION_DATE => personality.activation_date,
        Tag::LINK => personality.links,
        Tag::DESCRIPTION | Tag::COMMENT | Tag::CONTACT_INFORMATION | Tag::ALTERNATIVE_NAME => personality.descriptions,
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
            info.application_namespace.is_ascii() && info.application_data.as_deref().is_none_or(str::is_ascii)
        }
        _ => true,
    }
}

/// The attributes of a request as this server takes them in.
pub fn screen(personality: &Personality, version: Version, given: Attributes) -> Outcome<Attributes> {
    let mut kept = Attributes::new();
    for attribute in given.0 {
        let name = attribute.value.name();
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
        let before = kept.iter().filter(|other| other.name() == name).count();
        if before > 0 && !is_many(&name) {
            return Err(invalid(format!("{name} is given twice")));
        }
        if before > 0 && personality.wants_index && !version.typed_attributes() && attribute.index != Some(before as i32) {
            return Err(invalid("Attribute index missing from multivalued attribute"));
        }
        kept.push(attribute.value);
    }
    Ok(kept)
}

fn is_many(name: &AttributeName) -> bool {
    match name {
        AttributeName::Standard(tag) => MANY.contains(tag),
        AttributeName::Custom { .. } => false,
    }
}

pub fn get(engine: &mut Engine, context: &mut Context, request: GetAttributesRequest) -> Outcome<GetAttributesResponse> {
    let uid = engine.resolve(context, request.unique_identifier)?;
    let mut attributes = engine.objects.get(&uid)?.all_attributes(context.version);
    if !request.attribute_names.is_empty() {
        attributes.0.retain(|attribute| request.attribute_names.contains(&attribute.value.name()));
    }
    context.placeholder = Some(uid.clone());
    Ok(GetAttributesResponse { unique_identifier: uid, attributes })
}

pub fn list(engine: &mut Engine, context: &mut Context, request: GetAttributeListRequest) -> Outcome<GetAttributeListResponse> {
    let uid = engine.resolve(context, request.unique_identifier)?;
    let mut attribute_names: Vec<AttributeName> = Vec::new();
    for value in engine.objects.get(&uid)?.all_attributes(context.version).iter() {
        if !attribute_names.contains(&value.name()) {
            attribute_names.push(value.name());
        }
    }
    context.placeholder = Some(uid.clone());
    Ok(GetAttributeListResponse { unique_identifier: uid, attribute_names })
}

/// Refuses what a client may not touch.
fn may_change(engine: &Engine, attribute: &Attribute) -> Outcome<()> {
    let name = attribute.value.name();
    if let AttributeName::Standard(tag) = name
        && (SERVERS.contains(&tag) || FIXED.contains(&tag))
    {
        return Err(Refusal::item(ResultReason::PERMISSION_DENIED, format!("{name} cannot be changed")));
    }
    let one = Attributes(vec![Attribute { index: None, value: attribute.value.clone() }]);
    screen(&engine.personality, Version::V2_0, one).map(|_| ())
}

/// Dates live outside the list of attributes.
fn set_date(object: &mut Object, value: &AttributeValue) -> bool {
    match value {
        AttributeValue::ActivationDate(date) => object.activation_date = Some(date.0),
        AttributeValue::DeactivationDate(date) => object.deactivation_date = Some(date.0),
        _ => return false,
    }
    true
}

/// The attribute as a 1.x response gives it back.
fn echo(context: &Context, attribute: Attribute) -> Option<Attribute> {
    (!context.version.typed_attributes()).then_some(attribute)
}

pub fn add(engine: &mut Engine, context: &mut Context, request: AddAttributeRequest) -> Outcome<AddAttributeResponse> {
    let uid = engine.resolve(context, request.unique_identifier)?;
    may_change(engine, &request.attribute)?;
    let object = engine.objects.get_mut(&uid)?;
    let name = request.attribute.value.name();
    if object.attributes.iter().any(|value| value.name() == name) && !is_many(&name) {
        return Err(Refusal::item(ResultReason::ILLEGAL_OPERATION, format!("{name} is there already")));
    }
    if !set_date(object, &request.attribute.value) {
        object.attributes.push(request.attribute.value.clone());
    }
    context.placeholder = Some(uid.clone());
    Ok(AddAttributeResponse { unique_identifier: uid, attribute: echo(context, request.attribute) })
}

pub fn modify(engine: &mut Engine, context: &mut Context, request: ModifyAttributeRequest) -> Outcome<ModifyAttributeResponse> {
    let uid = engine.resolve(context, request.unique_identifier)?;
    may_change(engine, &request.attribute)?;
    let object = engine.objects.get_mut(&uid)?;
    let name = request.attribute.value.name();
    let index = request.attribute.index.unwrap_or(0);
    let found = object.attributes.0.iter().position(|other| match &request.current_attribute {
        Some(current) => other.value == current.value,
        None => other.value.name() == name && other.index.unwrap_or(0) == index,
    });
    match found {
        Some(at) => object.attributes.0[at].value = request.attribute.value.clone(),
        None if set_date(object, &request.attribute.value) => {}
        None => return Err(Refusal::item(ResultReason::ITEM_NOT_FOUND, format!("there is no {name} to modify"))),
    }
    context.placeholder = Some(uid.clone());
    Ok(ModifyAttributeResponse { unique_identifier: uid, attribute: echo(context, request.attribute) })
}

pub fn delete(engine: &mut Engine, context: &mut Context, request: DeleteAttributeRequest) -> Outcome<DeleteAttributeResponse> {
    let uid = engine.resolve(context, request.unique_identifier)?;
    let typed = context.version.typed_attributes();
    let object = engine.objects.get_mut(&uid)?;
    let index = request.attribute_index.unwrap_or(0);
    let meant = |other: &Attribute| match (&request.current_attribute, &request.attribute_name) {
        (Some(current), _) => other.value == current.value,
        (None, Some(name)) => other.value.name() == *name && (typed || other.index.unwrap_or(0) == index),
        (None, None) => false,
    };
    let Some(first) = object.attributes.0.iter().find(|other| meant(other)).cloned() else {
        return Err(Refusal::item(ResultReason::ITEM_NOT_FOUND, "there is no such attribute"));
    };
    if let AttributeName::Standard(tag) = first.value.name()
        && FIXED.contains(&tag)
    {
        return Err(Refusal::item(ResultReason::PERMISSION_DENIED, "this attribute cannot be deleted"));
    }
    object.attributes.0.retain(|other| !meant(other));
    context.placeholder = Some(uid.clone());
    Ok(DeleteAttributeResponse { unique_identifier: uid, attribute: echo(context, first) })
}

pub fn set(engine: &mut Engine, context: &mut Context, request: SetAttributeRequest) -> Outcome<SetAttributeResponse> {
    let uid = engine.resolve(context, request.unique_identifier)?;
    may_change(engine, &request.attribute)?;
    let object = engine.objects.get_mut(&uid)?;
    let name = request.attribute.value.name();
    if is_many(&name) {
        let text = format!("{name} may be there several times");
        return Err(Refusal::item(ResultReason::MULTI_VALUED_ATTRIBUTE, text));
    }
    if !set_date(object, &request.attribute.value) {
        object.attributes.0.retain(|other| other.value.name() != name);
        object.attributes.push(request.attribute.value);
    }
    context.placeholder = Some(uid.clone());
    Ok(SetAttributeResponse { unique_identifier: uid })
}
