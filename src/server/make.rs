//! Objects that are made: created, registered, imported, replaced.

use std::collections::HashSet;

use super::attributes::{is_servers, screen};
use super::budget::{MOST_ATTRIBUTES, exceeded, of_object, of_rsa_key};
use super::computed::of_certificate;
use super::context::Context;
use super::engine::Engine;
use super::keys::{Material, invalid};
use super::life::{Dates, wrong_state};
use super::lifecycle::{left_of, limits_of};
use super::objects::{Object, Outcome, Refusal, Share, Value, now};
use super::protection::{inherit, protect_as, unwrapped_under};
use super::template::{given, registered};
use super::wording::client_text;
use super::wrapping::{Arrival, Keep, arrive, as_it_came, not_unwrapped};
use crate::crypto::pkey::PrivateKey;
use crate::crypto::{Curve, rng};
use crate::kmip::*;
use crate::store::kmip::keys;
use crate::ttlv::{DateTime, Interval, Tag};
use crate::version::Version;

/// The longest RSA key in bits; generating a longer one takes minutes.
const LONGEST_RSA: i32 = 8192;
/// The work of making a key on a curve.
const CURVE_KEY: u64 = 3000;

/// Attributes that a new key must have.
pub fn required<'a, T>(value: Option<&'a T>, name: &str) -> Outcome<&'a T> {
    value.ok_or_else(|| invalid(format!("{name} is missing")))
}

/// Whether a symmetric key of this algorithm may have so many bits.
fn fits(algorithm: CryptographicAlgorithm, bits: i32) -> bool {
    match algorithm {
        // 512 bits are the two keys of XTS.
        CryptographicAlgorithm::AES => matches!(bits, 128 | 192 | 256 | 512),
        CryptographicAlgorithm::CAMELLIA => matches!(bits, 128 | 192 | 256),
        CryptographicAlgorithm::TRIPLE_DES => matches!(bits, 112 | 128 | 168 | 192),
        // Kept for those who use them; the server does not.
        CryptographicAlgorithm::DES => matches!(bits, 56 | 64),
        CryptographicAlgorithm::SKIPJACK => bits == 80,
        CryptographicAlgorithm::CHACHA20 | CryptographicAlgorithm::CHACHA20POLY1305 => bits == 256,
        _ => keys::hash_of_hmac(algorithm).is_some() && (8..=4096).contains(&bits) && bits % 8 == 0,
    }
}

/// Answers Create. A key without a usage mask is only kept: clients are known that leave it out,
/// here and in Register.
pub fn create(
    engine: &Engine,
    context: &mut Context,
    request: CreateRequest,
) -> Outcome<CreateResponse> {
    if request.object_type != ObjectType::SYMMETRIC_KEY {
        return Err(invalid(format!("cannot create a {}", request.object_type)));
    }
    let attributes = given(engine, context, Some(request.template_attribute))?;
    let mut attributes = screen(&engine.personality, context.version, attributes)?;
    let algorithm = *required(
        attributes.cryptographic_algorithm(),
        "Cryptographic Algorithm",
    )?;
    let bits = *required(attributes.cryptographic_length(), "Cryptographic Length")?;
    if !fits(algorithm, bits) {
        return Err(invalid(format!(
            "{algorithm} keys of {bits} bits are not made here"
        )));
    }
    withstands_quantum_computers(&attributes, bits >= 256)?;
    // DES and Triple DES may be counted without their parity bits.
    let len = match (algorithm, bits) {
        (CryptographicAlgorithm::DES | CryptographicAlgorithm::TRIPLE_DES, 56 | 112 | 168) => {
            bits as usize / 7
        }
        _ => bits as usize / 8,
    };
    let value = in_format(
        Material::Symmetric(rng::bytes(len)?),
        &attributes,
        KeyFormatType::RAW,
    )?;
    made_here(&mut attributes);
    let unique_identifier = keep(
        engine,
        context,
        Object::new(&context.caller, request.object_type, value, attributes),
    )?;
    Ok(CreateResponse {
        object_type: request.object_type,
        unique_identifier,
        template_attribute: None,
    })
}

/// Refuses what shall be Quantum Safe (2.1) and is not: symmetric keys of fewer than 256 bits, and all pairs.
fn withstands_quantum_computers(attributes: &Attributes, safe: bool) -> Outcome<()> {
    match attributes.quantum_safe() {
        Some(true) if !safe => Err(Refusal::item(
            ResultReason::GENERAL_FAILURE,
            "such a key is not Quantum Safe",
        )),
        _ => Ok(()),
    }
}

/// A new key in the format that its attributes ask for (2.x), or the usual one.
fn in_format(material: Material, attributes: &Attributes, usual: KeyFormatType) -> Outcome<Value> {
    let format = attributes.key_format_type().copied().unwrap_or(usual);
    material.block(format, None, None)?;
    Ok(Value::Key(material, format))
}

/// Notes that the server made the object: when it was, and that nobody has got it yet, which matters in a group.
pub fn made_here(attributes: &mut Attributes) {
    if attributes.original_creation_date().is_none() {
        attributes.push(AttributeValue::OriginalCreationDate(DateTime(now())));
    }
    if attributes.object_group().is_some() && attributes.fresh().is_none() {
        attributes.push(AttributeValue::Fresh(true));
    }
}

/// Keeps a new object, which following items are about.
pub fn keep(engine: &Engine, context: &mut Context, object: Object) -> Outcome<String> {
    object
        .dates
        .check_change(context.version, &object.dates, now())?;
    let object = context.change(engine, |transaction| {
        let mut object = object.clone();
        transaction.name(&engine.personality, &mut object)?;
        transaction.put(&object)?;
        Ok(object)
    })?;
    Ok(context.about(&object))
}

/// Answers Create Key Pair. A half without a usage mask is a key that is only kept, too.
pub fn create_key_pair(
    engine: &Engine,
    context: &mut Context,
    request: CreateKeyPairRequest,
) -> Outcome<CreateKeyPairResponse> {
    let common = given(engine, context, request.common)?;
    let half = |own: Option<TemplateAttribute>| -> Outcome<Attributes> {
        let own = given(engine, context, own)?;
        let all: Attributes = common.iter().chain(own.iter()).cloned().collect();
        withstands_quantum_computers(&all, false)?;
        let domain = all.cryptographic_domain_parameters().cloned();
        // The curve is a fact of the key: it stays only if the server keeps such attributes.
        let mut kept = screen(&engine.personality, context.version, all)?;
        kept.0.retain(|attribute| {
            attribute.value.name() != AttributeName::Standard(Tag::CRYPTOGRAPHIC_DOMAIN_PARAMETERS)
        });
        if let Some(domain) = domain {
            kept.push(AttributeValue::CryptographicDomainParameters(domain));
        }
        Ok(kept)
    };
    let (private, public) = (half(request.private_key)?, half(request.public_key)?);
    let (public, private) = pair(engine, context, public, private)?;
    let (private_key_unique_identifier, public_key_unique_identifier) =
        keep_pair(engine, context, public, private)?;
    Ok(CreateKeyPairResponse {
        private_key_unique_identifier,
        public_key_unique_identifier,
        ..CreateKeyPairResponse::default()
    })
}

/// A new pair with these attributes, public half first.
fn pair(
    engine: &Engine,
    context: &Context,
    mut public: Attributes,
    mut private: Attributes,
) -> Outcome<(Object, Object)> {
    let key = generate(engine, context, &private)?;
    let pkcs8 = key.to_pkcs8()?;
    let spki = Material::Public(key.public()?.to_spki()?.into());
    for attributes in [&mut private, &mut public] {
        made_here(attributes);
        if attributes.cryptographic_length().is_none() {
            let bits = spki.describe().map_or(0, |(_, bits)| bits);
            attributes.push(AttributeValue::CryptographicLength(bits));
        }
    }
    let is_rsa = private.cryptographic_algorithm() == Some(&CryptographicAlgorithm::RSA);
    let (private_format, public_format) = match is_rsa {
        true => (
            engine.personality.private_format,
            engine.personality.public_format,
        ),
        false => (KeyFormatType::PKCS_8, KeyFormatType::X_509),
    };
    let public_value = in_format(spki, &public, public_format)?;
    let private_value = in_format(Material::Private(pkcs8), &private, private_format)?;
    Ok((
        Object::new(
            &context.caller,
            ObjectType::PUBLIC_KEY,
            public_value,
            public,
        ),
        Object::new(
            &context.caller,
            ObjectType::PRIVATE_KEY,
            private_value,
            private,
        ),
    ))
}

/// Adds a link to another object.
pub fn link(attributes: &mut Attributes, link_type: LinkType, to: &str) {
    attributes.push(AttributeValue::Link(Link {
        link_type,
        linked_object_identifier: to.into(),
    }));
}

/// Keeps both halves of a pair, linked to each other; private identifier first.
fn keep_pair(
    engine: &Engine,
    context: &mut Context,
    public: Object,
    private: Object,
) -> Outcome<(String, String)> {
    let (public, private) = context.change(engine, |transaction| {
        let (mut public, mut private) = (public.clone(), private.clone());
        let public_uid = transaction.name(&engine.personality, &mut public)?;
        let private_uid = transaction.name(&engine.personality, &mut private)?;
        if engine.personality.links_pairs {
            link(
                &mut private.attributes,
                LinkType::PUBLIC_KEY_LINK,
                &public_uid,
            );
            link(
                &mut public.attributes,
                LinkType::PRIVATE_KEY_LINK,
                &private_uid,
            );
        }
        transaction.put(&public)?;
        transaction.put(&private)?;
        Ok((public, private))
    })?;
    context.named_pair(&private.uid, &public.uid);
    Ok((private.uid, public.uid))
}

fn generate(engine: &Engine, context: &Context, attributes: &Attributes) -> Outcome<PrivateKey> {
    let algorithm = *required(
        attributes.cryptographic_algorithm(),
        "Cryptographic Algorithm",
    )?;
    let made = match algorithm {
        CryptographicAlgorithm::RSA => {
            let bits = *required(attributes.cryptographic_length(), "Cryptographic Length")?;
            if bits > LONGEST_RSA {
                return Err(invalid(format!("RSA keys have at most {LONGEST_RSA} bits")));
            }
            context.meter.charge_whole(of_rsa_key(bits.max(0) as u32))?;
            PrivateKey::generate_rsa(bits.max(0) as u32, &[1, 0, 1])
        }
        _ if !engine.personality.curves => {
            return Err(invalid(format!("cannot make a pair of {algorithm}")));
        }
        CryptographicAlgorithm::EC
        | CryptographicAlgorithm::ECDSA
        | CryptographicAlgorithm::ECDH => {
            let domain = attributes.cryptographic_domain_parameters();
            let named = domain
                .and_then(|domain| domain.recommended_curve)
                .map(|c| keys::curve_of(c).ok_or_else(|| invalid("curve")));
            let bits = attributes.cryptographic_length().copied();
            context.meter.charge(CURVE_KEY)?;
            PrivateKey::generate_ec(match (named, bits) {
                (Some(curve), _) => curve?,
                (None, Some(224)) => Curve::P224,
                (None, Some(256)) => Curve::P256,
                (None, Some(384)) => Curve::P384,
                (None, Some(521)) => Curve::P521,
                _ => return Err(invalid("which curve?")),
            })
        }
        CryptographicAlgorithm::ED25519 => PrivateKey::generate_ec(Curve::Ed25519),
        _ => return Err(invalid(format!("cannot make a pair of {algorithm}"))),
    };
    made.map_err(|e| invalid(client_text(&e)))
}

/// Answers Register.
pub fn register(
    engine: &Engine,
    context: &mut Context,
    request: RegisterRequest,
) -> Outcome<RegisterResponse> {
    let object = request
        .object
        .ok_or_else(|| invalid("the object is missing"))?;
    if object.object_type() != request.object_type {
        return Err(invalid(
            "the object is not of the type that Object Type says",
        ));
    }
    let attributes = given(engine, context, Some(request.template_attribute))?;
    let made = taken_in(engine, context, object, attributes, Keep::Best)?;
    Ok(RegisterResponse {
        unique_identifier: keep(engine, context, made)?,
        template_attribute: None,
    })
}

/// Answers Import.
pub fn import(
    engine: &Engine,
    context: &mut Context,
    request: ImportRequest,
) -> Outcome<ImportResponse> {
    let uid = request
        .unique_identifier
        .as_text()
        .filter(|uid| (1..=255).contains(&uid.len()) && !uid.contains(char::is_control));
    let uid = uid
        .ok_or_else(|| invalid("Unique Identifier is missing, too long or no text"))?
        .to_owned();
    let mut attributes = request.attributes;
    // What Export gives along with these comes back in other ways, or is computed again.
    attributes
        .0
        .retain(|attribute| !is_servers(&attribute.value.name()));
    // What is not to be unwrapped is stored as it comes (spec 1.4, 4.40).
    let keep = match request.key_wrap_type {
        Some(KeyWrapType::NOT_WRAPPED) => Keep::Plain,
        None | Some(KeyWrapType::AS_REGISTERED) => Keep::Wrapped,
        Some(other) => {
            let text = format!("Key Wrap Type {other} is not supported");
            return Err(Refusal::item(
                ResultReason::KEY_WRAP_TYPE_NOT_SUPPORTED,
                text,
            ));
        }
    };
    let mut made = taken_in(engine, context, request.object, attributes, keep)?;
    // An identifier is free unless this client knows an object of that name: it learns nothing of others'.
    (made.uid, made.chosen) = (uid, true);
    let made = context.change(engine, |transaction| {
        let mut made = made.clone();
        if let Some(old) = transaction.find(&made.uid)? {
            if request.replace_existing != Some(true) {
                return Err(Refusal::item(
                    ResultReason::OBJECT_ALREADY_EXISTS,
                    "an object has this identifier already",
                ));
            }
            inherit(engine, &mut made, [&old]);
            keep_limits(&mut made, &old);
            if old.key() != made.key() {
                transaction.remove(&old);
            }
        }
        transaction.put(&made)?;
        Ok(made)
    })?;
    Ok(ImportResponse {
        unique_identifier: context.about(&made),
    })
}

/// Uses of an object that is replaced are not given back: its Usage Limits stay, unless the new ones leave less.
fn keep_limits(new: &mut Object, old: &Object) {
    let Some(limits) = old.attributes.usage_limits() else {
        return;
    };
    match limits_of(&mut new.attributes) {
        Some(given)
            if given.usage_limits_unit == limits.usage_limits_unit
                && left_of(given) <= left_of(limits) => {}
        Some(given) => *given = limits.clone(),
        None => new
            .attributes
            .push(AttributeValue::UsageLimits(limits.clone())),
    }
}

/// An object as a client hands it over.
fn taken_in(
    engine: &Engine,
    context: &Context,
    object: ManagedObject,
    attributes: Attributes,
    keep: Keep,
) -> Outcome<Object> {
    let mut attributes = screen(&engine.personality, context.version, attributes)?;
    let object_type = object.object_type();
    let arrival = match object.key_block() {
        Some(block) => arrive(engine, context, block, keep)?,
        None => Arrival::Plain,
    };
    if let Some(block) = object.key_block() {
        if attributes.cryptographic_algorithm().is_none()
            && let Some(algorithm) = block.cryptographic_algorithm
        {
            attributes.push(AttributeValue::CryptographicAlgorithm(algorithm));
        }
        if attributes.cryptographic_length().is_none()
            && let Some(bits) = block.cryptographic_length
        {
            attributes.push(AttributeValue::CryptographicLength(bits));
        }
    }
    let plain = || match &arrival {
        Arrival::Unwrapped(block, _) => Ok(block.as_ref()),
        _ => object
            .key_block()
            .ok_or_else(|| invalid("without Key Block")),
    };
    let hide = |refusal| match &arrival {
        Arrival::Unwrapped(..) => not_unwrapped(),
        _ => refusal,
    };
    let parse = |block| Material::parse(object_type, block).map_err(hide);
    let value = match &object {
        _ if matches!(arrival, Arrival::Kept) => Value::Wrapped(plain()?.key_format_type),
        _ if object
            .key_block()
            .is_some_and(|block| block.key_value.is_none()) =>
        {
            // The client keeps the value, and says where (spec 1.4, 4.3).
            required(
                attributes.key_value_location(),
                "the key's value, and Key Value Location too,",
            )?;
            Value::Elsewhere(
                object
                    .key_block()
                    .map(|block| block.key_format_type)
                    .unwrap_or_default(),
            )
        }
        ManagedObject::SymmetricKey(_)
        | ManagedObject::PrivateKey(_)
        | ManagedObject::PublicKey(_) => {
            let block = plain()?;
            let material = parse(block)?;
            if let Material::Symmetric(bytes) = &material
                && block.cryptographic_length.is_some_and(|bits| {
                    bits as usize != 8 * bytes.len() && !matches!(bits, 56 | 112 | 168)
                })
            {
                return Err(hide(invalid(
                    "the key is not as long as Cryptographic Length says",
                )));
            }
            Value::Key(material, block.key_format_type)
        }
        ManagedObject::PgpKey(key) => Value::Pgp(key.pgp_key_version, parse(plain()?)?),
        ManagedObject::SplitKey(key) if key.prime_field_size.is_some() => {
            let text = "parts over prime fields are not kept: nothing here could join them";
            return Err(Refusal::item(ResultReason::FEATURE_NOT_SUPPORTED, text));
        }
        ManagedObject::SplitKey(key) => {
            let share = Share {
                parts: key.split_key_parts,
                number: key.key_part_identifier,
                threshold: key.split_key_threshold,
                method: key.split_key_method,
            };
            Value::Split(share, parse(plain()?)?)
        }
        ManagedObject::Template(content) if content.len() > MOST_ATTRIBUTES => {
            let text = format!("a template has at most {MOST_ATTRIBUTES} attributes");
            return Err(exceeded(context.version, text));
        }
        ManagedObject::Template(content) => registered(content, &mut attributes),
        ManagedObject::CertificateRequest(request) => Value::Request(
            request.certificate_request_type,
            request.certificate_request_value.clone(),
        ),
        ManagedObject::SecretData(data) => match parse(plain()?)? {
            material @ Material::Unknown(_) => {
                Value::Secret(data.secret_data_type, material, plain()?.key_format_type)
            }
            _ => return Err(hide(invalid("the secret is not bytes"))),
        },
        ManagedObject::Certificate(certificate) => {
            if attributes.certificate_type().is_none() {
                attributes.push(AttributeValue::CertificateType(
                    certificate.certificate_type,
                ));
            }
            describe(&mut attributes, &certificate.certificate_value);
            Value::Certificate(
                certificate.certificate_type,
                certificate.certificate_value.clone(),
            )
        }
        ManagedObject::OpaqueObject(opaque) => Value::Opaque(
            opaque.opaque_data_type,
            Material::Unknown(opaque.opaque_data_value.duplicate()),
        ),
    };
    let mut made = Object::new(&context.caller, object_type, value, attributes);
    if let Arrival::Unwrapped(_, kek) = &arrival {
        unwrapped_under(engine, &mut made, kek);
    }
    if !matches!(arrival, Arrival::Plain) {
        made.registered = Some(as_it_came(&object)?);
    }
    context.meter.charge(of_object(&made))?;
    Ok(made)
}

/// Adds what a certificate says of itself and nobody has said yet.
pub fn describe(attributes: &mut Attributes, certificate: &[u8]) {
    let given: Vec<AttributeName> = attributes.iter().map(AttributeValue::name).collect();
    for value in of_certificate(certificate) {
        if !given.contains(&value.name()) {
            attributes.push(value);
        }
    }
}

/// Attributes of a key that replaces `old`: those that are given, and of the old one those that are not (spec 1.4, 4.4).
pub fn replacing(old: &Object, mut given: Attributes) -> Attributes {
    let said: HashSet<AttributeName> = given.iter().map(AttributeValue::name).collect();
    for value in old.attributes.iter() {
        match value {
            _ if said.contains(&value.name()) => {}
            AttributeValue::Link(_)
            | AttributeValue::OriginalCreationDate(_)
            | AttributeValue::Fresh(_) => {}
            AttributeValue::UsageLimits(limits) => {
                given.push(AttributeValue::UsageLimits(UsageLimits {
                    usage_limits_count: Some(limits.usage_limits_total),
                    ..limits.clone()
                }))
            }
            other => given.push(other.clone()),
        }
    }
    given
}

/// The dates of the new key: those of the old one, moved so that it is activated `offset` after now (spec 1.4, 4.4, table 172).
pub fn replacing_dates(new: &mut Dates, old: &Dates, offset: Option<Interval>) {
    let moved = offset.map(|offset| new.initial + i64::from(offset.0));
    let by = match (moved, old.activation) {
        (Some(moved), Some(old)) => moved - old,
        _ => 0,
    };
    let later = |date: Option<i64>| date.map(|date| date + by);
    new.activation = new.activation.or(moved).or(old.activation);
    new.process_start = new.process_start.or(later(old.process_start));
    new.protect_stop = new.protect_stop.or(later(old.protect_stop));
    new.deactivation = new.deactivation.or(later(old.deactivation));
}

/// Names go to the new key; the old one keeps the rest and a link to it.
pub fn replaced(engine: &Engine, old: &mut Object, new: &mut Object) {
    old.attributes
        .0
        .retain(|attribute| !matches!(attribute.value, AttributeValue::Name(_)));
    if engine.personality.links_pairs {
        link(
            &mut old.attributes,
            LinkType::REPLACEMENT_OBJECT_LINK,
            &new.uid,
        );
        link(
            &mut new.attributes,
            LinkType::REPLACED_OBJECT_LINK,
            &old.uid,
        );
    }
}

/// Fails if another request has replaced an object since it was read: only one replacement takes its names.
pub fn still_unreplaced(version: Version, before: &Object, now: &Object) -> Outcome<()> {
    let replacement = |object: &Object| {
        let link = object.attributes.linked(LinkType::REPLACEMENT_OBJECT_LINK);
        link.map(str::to_owned)
    };
    let is_same = replacement(before) == replacement(now)
        && before.attributes.names().eq(now.attributes.names());
    match is_same {
        true => Ok(()),
        false => Err(wrong_state(
            version,
            "another request has replaced the object",
        )),
    }
}

/// Answers Re-key.
pub fn re_key(
    engine: &Engine,
    context: &mut Context,
    request: ReKeyRequest,
) -> Outcome<ReKeyResponse> {
    let object = engine.resolve(context, request.unique_identifier)?;
    let wanted = given(engine, context, request.template_attribute)?;
    let wanted = screen(&engine.personality, context.version, wanted)?;
    let len = match &object.value {
        Value::Key(Material::Symmetric(bytes), _) => bytes.len(),
        Value::Gone => {
            return Err(Refusal::item(
                ResultReason::ITEM_NOT_FOUND,
                "the key is gone",
            ));
        }
        _ => return Err(invalid("only symmetric keys can be replaced")),
    };
    let value = Value::Key(Material::Symmetric(rng::bytes(len)?), KeyFormatType::RAW);
    let mut attributes = replacing(&object, wanted);
    made_here(&mut attributes);
    let mut new = Object::new(
        &context.caller,
        ObjectType::SYMMETRIC_KEY,
        value,
        attributes,
    );
    replacing_dates(&mut new.dates, &object.dates, request.offset);
    protect_as(engine, &mut new, &object);
    let version = context.version;
    let new = context.change(engine, |transaction| {
        let (mut old, mut new) = (transaction.get(&object.uid)?, new.clone());
        still_unreplaced(version, &object, &old)?;
        transaction.name_again(&engine.personality, &mut new)?;
        replaced(engine, &mut old, &mut new);
        transaction.put(&new)?;
        transaction.put_changed(old)?;
        Ok(new)
    })?;
    Ok(ReKeyResponse {
        unique_identifier: context.about(&new),
        template_attribute: None,
    })
}

/// Answers Re-key Key Pair.
pub fn re_key_key_pair(
    engine: &Engine,
    context: &mut Context,
    request: ReKeyKeyPairRequest,
) -> Outcome<ReKeyKeyPairResponse> {
    let old_private = engine.resolve(context, request.private_key_unique_identifier)?;
    let public_uid = old_private.attributes.linked(LinkType::PUBLIC_KEY_LINK);
    let public_uid = public_uid
        .ok_or_else(|| invalid("the object is no private key with a link to its public key"))?;
    let old_public = context.object(engine, public_uid)?;
    let common = given(engine, context, request.common)?;
    let half = |own: Option<TemplateAttribute>, old: &Object| -> Outcome<Attributes> {
        let wanted = common
            .iter()
            .chain(given(engine, context, own)?.iter())
            .cloned()
            .collect();
        Ok(replacing(
            old,
            screen(&engine.personality, context.version, wanted)?,
        ))
    };
    let private = half(request.private_key, &old_private)?;
    let public = half(request.public_key, &old_public)?;
    let (mut public, mut private) = pair(engine, context, public, private)?;
    replacing_dates(&mut public.dates, &old_public.dates, request.offset);
    replacing_dates(&mut private.dates, &old_private.dates, request.offset);
    protect_as(engine, &mut public, &old_public);
    protect_as(engine, &mut private, &old_private);
    let version = context.version;
    let (public, private) = context.change(engine, |transaction| {
        let (mut public, mut private) = (public.clone(), private.clone());
        transaction.name_again(&engine.personality, &mut public)?;
        transaction.name_again(&engine.personality, &mut private)?;
        link(
            &mut private.attributes,
            LinkType::PUBLIC_KEY_LINK,
            &public.uid,
        );
        link(
            &mut public.attributes,
            LinkType::PRIVATE_KEY_LINK,
            &private.uid,
        );
        for (old, new) in [(&old_public, &mut public), (&old_private, &mut private)] {
            let before = old;
            let mut old = transaction.get(&before.uid)?;
            still_unreplaced(version, before, &old)?;
            replaced(engine, &mut old, new);
            transaction.put(new)?;
            transaction.put_changed(old)?;
        }
        Ok((public, private))
    })?;
    context.named_pair(&private.uid, &public.uid);
    Ok(ReKeyKeyPairResponse {
        private_key_unique_identifier: private.uid,
        public_key_unique_identifier: public.uid,
        ..ReKeyKeyPairResponse::default()
    })
}
