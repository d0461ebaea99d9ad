//! Operations on whole objects, from Create to Destroy.

use mrhsm_pkcs11::crypto::kw::{self, Wrapping};
use mrhsm_pkcs11::crypto::pkey::PrivateKey;
use mrhsm_pkcs11::crypto::{Curve, rng};
use mrhsm_pkcs11::kmip::*;
use mrhsm_pkcs11::ttlv::Tag;
use mrhsm_pkcs11::version::Version;

use super::attributes::screen;
use super::engine::{Context, Engine};
use super::keys::{Material, curve, invalid};
use super::objects::{Object, Outcome, Refusal, Value, now};

/// Attributes that a new key must have.
fn required<'a, T>(value: Option<&'a T>, name: &str) -> Outcome<&'a T> {
    value.ok_or_else(|| invalid(format!("{name} is missing")))
}

/// Whether a symmetric key of this algorithm may have so many bits.
fn fits(algorithm: CryptographicAlgorithm, bits: i32) -> bool {
    match algorithm {
        CryptographicAlgorithm::AES => matches!(bits, 128 | 192 | 256),
        CryptographicAlgorithm::TRIPLE_DES => matches!(bits, 168 | 192),
        CryptographicAlgorithm::CHACHA20 | CryptographicAlgorithm::CHACHA20POLY1305 => bits == 256,
        CryptographicAlgorithm::HMAC_SHA1
        | CryptographicAlgorithm::HMAC_SHA224
        | CryptographicAlgorithm::HMAC_SHA256
        | CryptographicAlgorithm::HMAC_SHA384
        | CryptographicAlgorithm::HMAC_SHA512 => (8..=4096).contains(&bits) && bits % 8 == 0,
        _ => false,
    }
}

pub fn create(engine: &mut Engine, context: &mut Context, request: CreateRequest) -> Outcome<CreateResponse> {
    if request.object_type != ObjectType::SYMMETRIC_KEY {
        return Err(invalid(format!("cannot create a {}", request.object_type)));
    }
    let attributes = screen(&engine.personality, context.version, request.template_attribute.attributes)?;
    let algorithm = *required(attributes.cryptographic_algorithm(), "Cryptographic Algorithm")?;
    let bits = *required(attributes.cryptographic_length(), "Cryptographic Length")?;
    required(attributes.cryptographic_usage_mask(), "Cryptographic Usage Mask")?;
    if !fits(algorithm, bits) {
        return Err(invalid(format!("no {algorithm} key has {bits} bits")));
    }
    // Triple DES may be counted without its parity bits.
    let len = if bits == 168 { 24 } else { bits as usize / 8 };
    let value = Value::Key(Material::Symmetric(random_bytes(len)), KeyFormatType::RAW);
    let uid = engine.objects.add(&engine.personality, request.object_type, value, attributes)?;
    context.placeholder = Some(uid.clone());
    Ok(CreateResponse { object_type: request.object_type, unique_identifier: uid, template_attribute: None })
}

fn random_bytes(len: usize) -> Vec<u8> {
    rng::bytes(len).unwrap().expose().to_vec()
}

pub fn create_key_pair(
    engine: &mut Engine,
    context: &mut Context,
    request: CreateKeyPairRequest,
) -> Outcome<CreateKeyPairResponse> {
    let common = request.common.unwrap_or_default().attributes;
    let half = |own: Option<TemplateAttribute>| -> Outcome<Attributes> {
        let mut all = common.clone();
        for value in own.unwrap_or_default().attributes.iter() {
            all.push(value.clone());
        }
        let domain = all.cryptographic_domain_parameters().cloned();
        // The curve is a fact of the key: it stays only if the server keeps such attributes.
        let mut kept = screen(&engine.personality, context.version, all)?;
        kept.0.retain(|attribute| attribute.value.name() != AttributeName::Standard(Tag::CRYPTOGRAPHIC_DOMAIN_PARAMETERS));
        if let Some(domain) = domain {
            kept.push(AttributeValue::CryptographicDomainParameters(domain));
        }
        Ok(kept)
    };
    let (mut private, mut public) = (half(request.private_key)?, half(request.public_key)?);
    let key = generate(engine, &private)?;
    let failure = |e: mrhsm_pkcs11::error::Error| Refusal::item(ResultReason::CRYPTOGRAPHIC_FAILURE, e.to_string());
    let pkcs8 = key.to_pkcs8().map_err(failure)?.expose().to_vec();
    let spki = key.public().and_then(|public| public.to_spki()).map_err(failure)?;
    for attributes in [&mut private, &mut public] {
        required(attributes.cryptographic_usage_mask(), "Cryptographic Usage Mask")?;
        if attributes.cryptographic_length().is_none() {
            let bits = Material::Public(spki.clone()).describe().map_or(0, |(_, bits)| bits);
            attributes.push(AttributeValue::CryptographicLength(bits));
        }
    }
    let is_rsa = private.cryptographic_algorithm() == Some(&CryptographicAlgorithm::RSA);
    let (private_format, public_format) = match is_rsa {
        true => (engine.personality.private_format, engine.personality.public_format),
        false => (KeyFormatType::PKCS_8, KeyFormatType::X_509),
    };
    let personality = &engine.personality;
    let public_value = Value::Key(Material::Public(spki), public_format);
    let public_uid = engine.objects.add(personality, ObjectType::PUBLIC_KEY, public_value, public)?;
    let private_value = Value::Key(Material::Private(pkcs8), private_format);
    let private_uid = engine.objects.add(personality, ObjectType::PRIVATE_KEY, private_value, private)?;
    if engine.personality.links_pairs {
        link(&mut engine.objects.get_mut(&private_uid)?.attributes, LinkType::PUBLIC_KEY_LINK, &public_uid);
        link(&mut engine.objects.get_mut(&public_uid)?.attributes, LinkType::PRIVATE_KEY_LINK, &private_uid);
    }
    context.placeholder = Some(private_uid.clone());
    Ok(CreateKeyPairResponse {
        private_key_unique_identifier: private_uid,
        public_key_unique_identifier: public_uid,
        ..CreateKeyPairResponse::default()
    })
}

fn link(attributes: &mut Attributes, link_type: LinkType, uid: &str) {
    attributes.push(AttributeValue::Link(Link { link_type, linked_object_identifier: uid.into() }));
}

fn generate(engine: &Engine, attributes: &Attributes) -> Outcome<PrivateKey> {
    let algorithm = *required(attributes.cryptographic_algorithm(), "Cryptographic Algorithm")?;
    let made = match algorithm {
        CryptographicAlgorithm::RSA => {
            let bits = *required(attributes.cryptographic_length(), "Cryptographic Length")?;
            PrivateKey::generate_rsa(bits.max(0) as u32, &[1, 0, 1])
        }
        _ if !engine.personality.curves => return Err(invalid(format!("cannot make a pair of {algorithm}"))),
        CryptographicAlgorithm::EC | CryptographicAlgorithm::ECDSA | CryptographicAlgorithm::ECDH => {
            let domain = attributes.cryptographic_domain_parameters();
            let named = domain.and_then(|domain| domain.recommended_curve).map(|c| curve(c).ok_or_else(|| invalid("curve")));
            let bits = attributes.cryptographic_length().copied();
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
    made.map_err(|e| invalid(e.to_string()))
}

pub fn register(engine: &mut Engine, context: &mut Context, request: RegisterRequest) -> Outcome<RegisterResponse> {
    let mut attributes = screen(&engine.personality, context.version, request.template_attribute.attributes)?;
    let object = request.object.ok_or_else(|| invalid("the object is missing"))?;
    if object.object_type() != request.object_type {
        return Err(invalid("the object is not of the type that Object Type says"));
    }
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
        required(attributes.cryptographic_usage_mask(), "Cryptographic Usage Mask")?;
    }
    let value = match &object {
        ManagedObject::SymmetricKey(_) | ManagedObject::PrivateKey(_) | ManagedObject::PublicKey(_) => {
            let block = object.key_block().ok_or_else(|| invalid("a key without Key Block"))?;
            let material = Material::parse(request.object_type, block)?;
            if let Material::Symmetric(bytes) = &material
                && block.cryptographic_length.is_some_and(|bits| bits as usize != 8 * bytes.len() && bits != 168)
            {
                return Err(invalid("the key is not as long as Cryptographic Length says"));
            }
            // What is transparent comes back as bytes.
            let format = match block.key_format_type {
                KeyFormatType::RAW => KeyFormatType::RAW,
                KeyFormatType::PKCS_1 | KeyFormatType::PKCS_8 | KeyFormatType::X_509 | KeyFormatType::ECPRIVATEKEY => {
                    block.key_format_type
                }
                _ => match material {
                    Material::Private(_) => KeyFormatType::PKCS_8,
                    Material::Public(_) => KeyFormatType::X_509,
                    _ => KeyFormatType::RAW,
                },
            };
            Value::Key(material, format)
        }
        ManagedObject::SecretData(data) => match Material::parse(request.object_type, &data.key_block)? {
            Material::Unknown(bytes) => Value::Secret(data.secret_data_type, bytes),
            _ => return Err(invalid("the secret is not bytes")),
        },
        ManagedObject::Certificate(certificate) => {
            attributes.push(AttributeValue::CertificateType(certificate.certificate_type));
            Value::Certificate(certificate.certificate_type, certificate.certificate_value.clone())
        }
        ManagedObject::OpaqueObject(opaque) => Value::Opaque(opaque.opaque_data_type, opaque.opaque_data_value.expose().to_vec()),
        other => return Err(invalid(format!("cannot register a {}", other.object_type()))),
    };
    let uid = engine.objects.add(&engine.personality, request.object_type, value, attributes)?;
    context.placeholder = Some(uid.clone());
    Ok(RegisterResponse { unique_identifier: uid, template_attribute: None })
}

pub fn re_key(engine: &mut Engine, context: &mut Context, request: ReKeyRequest) -> Outcome<ReKeyResponse> {
    let uid = engine.resolve(context, request.unique_identifier)?;
    let given = request.template_attribute.unwrap_or_default().attributes;
    let mut attributes = screen(&engine.personality, context.version, given)?;
    let old = engine.objects.get_mut(&uid)?;
    if old.object_type != ObjectType::SYMMETRIC_KEY {
        return Err(invalid("only symmetric keys can be replaced"));
    }
    let len = match &old.value {
        Value::Key(Material::Symmetric(bytes), _) => bytes.len(),
        _ => return Err(Refusal::item(ResultReason::ITEM_NOT_FOUND, "the key is gone")),
    };
    // The new key takes the name from the old one, and everything else that is not said (spec 1.4, 4.4).
    let is_name = |value: &AttributeValue| value.name() == AttributeName::Standard(Tag::NAME);
    for value in old.attributes.iter() {
        let given = attributes.iter().any(|other| other.name() == value.name());
        if !given && value.name() != AttributeName::Standard(Tag::LINK) {
            attributes.push(value.clone());
        }
    }
    old.attributes.0.retain(|attribute| !is_name(&attribute.value));
    let value = Value::Key(Material::Symmetric(random_bytes(len)), KeyFormatType::RAW);
    let new = engine.objects.add(&engine.personality, ObjectType::SYMMETRIC_KEY, value, attributes)?;
    if engine.personality.links_pairs {
        link(&mut engine.objects.get_mut(&uid)?.attributes, LinkType::REPLACEMENT_OBJECT_LINK, &new);
        link(&mut engine.objects.get_mut(&new)?.attributes, LinkType::REPLACED_OBJECT_LINK, &uid);
    }
    context.placeholder = Some(new.clone());
    Ok(ReKeyResponse { unique_identifier: new, template_attribute: None })
}

pub fn check(engine: &mut Engine, context: &mut Context, request: CheckRequest) -> Outcome<CheckResponse> {
    let uid = engine.resolve(context, request.unique_identifier)?;
    let object = engine.objects.get(&uid)?;
    let mut answer = CheckResponse { unique_identifier: uid.clone(), ..CheckResponse::default() };
    if let Some(mask) = request.cryptographic_usage_mask
        && object.allow(mask).is_err()
    {
        answer.cryptographic_usage_mask = object.attributes.cryptographic_usage_mask().copied();
    }
    context.placeholder = Some(uid);
    Ok(answer)
}

pub fn get(engine: &mut Engine, context: &mut Context, request: GetRequest) -> Outcome<GetResponse> {
    let uid = engine.resolve(context, request.unique_identifier)?;
    let object = engine.objects.get(&uid)?;
    let wrapped = request.key_wrapping_specification.is_some();
    if engine.personality.enforces_sensitive && !wrapped && object.attributes.sensitive() == Some(&true) {
        return Err(Refusal::item(ResultReason::SENSITIVE, "the object is sensitive"));
    }
    if engine.personality.enforces_sensitive && object.attributes.extractable() == Some(&false) {
        return Err(Refusal::item(ResultReason::NOT_EXTRACTABLE, "the object is not extractable"));
    }
    let (algorithm, bits) = (object.algorithm(), object.attributes.cryptographic_length().copied());
    let value = match &object.value {
        Value::Key(material, own) => {
            let format = request.key_format_type.unwrap_or(*own);
            if format != *own && !engine.personality.converts_formats {
                return Err(Refusal::item(ResultReason::KEY_FORMAT_TYPE_NOT_SUPPORTED, format!("the key is kept as {own}")));
            }
            let mut key_block = material.block(format, algorithm, bits)?;
            if let Some(specification) = &request.key_wrapping_specification {
                wrap(engine, specification, material, &mut key_block)?;
            } else if engine.personality.attributes_in_key_value
                && let Some(KeyValue::Plain(plain)) = &mut key_block.key_value
            {
                plain.attributes = Some(object.all_attributes(context.version));
            }
            match object.object_type {
                ObjectType::PRIVATE_KEY => ManagedObject::PrivateKey(PrivateKeyObject { key_block }),
                ObjectType::PUBLIC_KEY => ManagedObject::PublicKey(PublicKey { key_block }),
                _ => ManagedObject::SymmetricKey(SymmetricKey { key_block }),
            }
        }
        Value::Secret(secret_data_type, bytes) => {
            let key_block = KeyBlock {
                key_format_type: KeyFormatType::OPAQUE,
                key_value: Some(KeyValue::bytes(bytes.clone().into())),
                ..KeyBlock::default()
            };
            ManagedObject::SecretData(SecretData { secret_data_type: *secret_data_type, key_block })
        }
        Value::Certificate(certificate_type, der) => {
            ManagedObject::Certificate(Certificate { certificate_type: *certificate_type, certificate_value: der.clone() })
        }
        Value::Opaque(opaque_data_type, bytes) => ManagedObject::OpaqueObject(OpaqueObject {
            opaque_data_type: *opaque_data_type,
            opaque_data_value: bytes.clone().into(),
        }),
        Value::Gone => return Err(Refusal::item(ResultReason::ITEM_NOT_FOUND, "the object is destroyed")),
    };
    let object_type = object.object_type;
    context.placeholder = Some(uid.clone());
    Ok(GetResponse { object_type, unique_identifier: uid, object: value })
}

/// `PrivateKey` here is the cryptographic one.
type PrivateKeyObject = mrhsm_pkcs11::kmip::PrivateKey;

/// Wraps the material of a key block under another key: NIST key wrap without encoding.
fn wrap(engine: &Engine, specification: &KeyWrappingSpecification, material: &Material, block: &mut KeyBlock) -> Outcome<()> {
    let refuse = |text: &str| Err(Refusal::item(ResultReason::FEATURE_NOT_SUPPORTED, text));
    if specification.encoding_option != Some(EncodingOption::NO_ENCODING) {
        return Err(Refusal::item(ResultReason::ENCODING_OPTION_ERROR, "only No Encoding"));
    }
    let Some(information) = &specification.encryption_key_information else { return refuse("which key wraps?") };
    let Some(uid) = information.unique_identifier.as_text() else { return refuse("which key wraps?") };
    let kek = engine.objects.get(uid)?;
    kek.allow(CryptographicUsageMask::WRAP_KEY)?;
    active(kek, true)?;
    let mode = information.cryptographic_parameters.as_ref().and_then(|parameters| parameters.block_cipher_mode);
    let wrapping = match mode {
        Some(BlockCipherMode::NIST_KEY_WRAP) => Wrapping::Kw,
        Some(BlockCipherMode::AES_KEY_WRAP_PADDING) => Wrapping::Kwp,
        _ => return refuse("only key wrap modes"),
    };
    let (Value::Key(Material::Symmetric(kek), _), Material::Symmetric(bytes) | Material::Private(bytes)) = (&kek.value, material)
    else {
        return refuse("only secret keys, under symmetric ones");
    };
    let wrapped =
        kw::wrap(wrapping, kek, bytes).map_err(|e| Refusal::item(ResultReason::CRYPTOGRAPHIC_FAILURE, e.to_string()))?;
    block.key_value = Some(KeyValue::Wrapped(wrapped));
    block.key_wrapping_data = Some(KeyWrappingData {
        wrapping_method: specification.wrapping_method,
        encryption_key_information: specification.encryption_key_information.clone(),
        encoding_option: specification.encoding_option,
        ..KeyWrappingData::default()
    });
    Ok(())
}

/// The reason for "not in this state".
fn wrong_state(version: Version, text: String) -> Refusal {
    let reason = match version.typed_attributes() {
        true => ResultReason::WRONG_KEY_LIFECYCLE_STATE,
        false => ResultReason::PERMISSION_DENIED,
    };
    Refusal::item(reason, text)
}

/// Fails unless a key may be used: to protect it must be Active; to process it may have been so.
pub fn active(object: &Object, protect: bool) -> Outcome<()> {
    let state = object.state();
    let usable = match state {
        State::ACTIVE => true,
        State::DEACTIVATED | State::COMPROMISED => !protect,
        _ => false,
    };
    if usable {
        return Ok(());
    }
    Err(Refusal::item(ResultReason::PERMISSION_DENIED, format!("the key is {state}")))
}

pub fn activate(engine: &mut Engine, context: &mut Context, request: ActivateRequest) -> Outcome<ActivateResponse> {
    let uid = engine.resolve(context, request.unique_identifier)?;
    let object = engine.objects.get_mut(&uid)?;
    if !object.has_state() || object.state() != State::PRE_ACTIVE {
        return Err(wrong_state(context.version, "the object is not Pre-Active".into()));
    }
    object.activation_date = Some(now());
    context.placeholder = Some(uid.clone());
    Ok(ActivateResponse { unique_identifier: uid })
}

pub fn revoke(engine: &mut Engine, context: &mut Context, request: RevokeRequest) -> Outcome<RevokeResponse> {
    let uid = engine.resolve(context, request.unique_identifier)?;
    let object = engine.objects.get_mut(&uid)?;
    let code = request.revocation_reason.revocation_reason_code;
    let compromise = matches!(code, RevocationReasonCode::KEY_COMPROMISE | RevocationReasonCode::CA_COMPROMISE);
    match (object.state(), compromise) {
        (State::DESTROYED | State::DESTROYED_COMPROMISED, _) => {
            return Err(wrong_state(context.version, "the object is destroyed".into()));
        }
        (_, true) if !context.version.typed_attributes() && request.compromise_occurrence_date.is_none() => {
            return Err(invalid("Compromise Occurrence Date is missing"));
        }
        (_, true) => object.compromise_date = Some(now()),
        (State::ACTIVE, false) => object.deactivation_date = Some(now()),
        (state, false) => {
            return Err(Refusal::item(ResultReason::ILLEGAL_OPERATION, format!("the object is {state}, not Active")));
        }
    }
    object.revocation_reason = Some(request.revocation_reason);
    context.placeholder = Some(uid.clone());
    Ok(RevokeResponse { unique_identifier: uid })
}

pub fn destroy(engine: &mut Engine, context: &mut Context, request: DestroyRequest) -> Outcome<DestroyResponse> {
    let uid = engine.resolve(context, request.unique_identifier)?;
    let object = engine.objects.get_mut(&uid)?;
    if object.has_state() && matches!(object.state(), State::ACTIVE | State::DESTROYED | State::DESTROYED_COMPROMISED) {
        return Err(wrong_state(context.version, format!("the object is {}", object.state())));
    }
    object.destroy_date = Some(now());
    object.value = Value::Gone;
    if engine.personality.forgets_destroyed {
        engine.objects.forget(&uid);
    }
    context.placeholder = None;
    Ok(DestroyResponse { unique_identifier: uid })
}
