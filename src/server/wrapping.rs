//! Keys that come and leave wrapped (spec 1.4, 2.1.5 and 2.1.6).
//!
//! A key that comes wrapped is unwrapped when its wrapping key is here and may unwrap; otherwise
//! it is stored as it came. Its ciphertext is never the key.

use std::sync::Arc;

use super::budget::of_bytes;
use super::context::Context;
use super::engine::Engine;
use super::keys::{Material, invalid};
use super::life::Purpose;
use super::lifecycle::spend;
use super::objects::{Object, Outcome, Refusal, Value, now, reason};
use super::protection::{check_release, check_release_as_registered};
use crate::crypto::kw::{self, Wrapping};
use crate::kmip::*;
use crate::secret::Secret;
use crate::ttlv::{Decode, Encode, Item, Tag, Writer};
use crate::version::Version;

/// What is wanted of a key that comes wrapped.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Unwrapped where that can be done, else wrapped.
    Best,
    /// Unwrapped, or not at all.
    Plain,
    /// As it comes.
    Wrapped,
}

/// A key as it came.
pub enum Arrival {
    /// In the clear.
    Plain,
    /// Wrapped: in the clear now, and the key that wrapped it.
    Unwrapped(Box<KeyBlock>, Arc<Object>),
    /// Wrapped: it stays so.
    Kept,
}

fn unsupported(text: impl Into<String>) -> Refusal {
    Refusal::item(ResultReason::FEATURE_NOT_SUPPORTED, text)
}

/// The encoding is not one of this version, or does not fit what is wrapped.
fn wrong_encoding(version: Version, text: &str) -> Refusal {
    match version >= Version::V1_1 {
        true => Refusal::item(ResultReason::ENCODING_OPTION_ERROR, text),
        false => invalid(text),
    }
}

/// The one answer to a wrapped key that cannot be used, whatever is wrong with its content: a
/// reason would tell of the key.
pub fn not_unwrapped() -> Refusal {
    Refusal::item(
        ResultReason::CRYPTOGRAPHIC_FAILURE,
        "the wrapped key cannot be unwrapped, or is no such key",
    )
}

/// Whether a Wrapping Method encrypts, and whether it has a MAC or signature; `None` for one that
/// no version names.
fn parts_of(method: WrappingMethod) -> Option<(bool, bool)> {
    Some(match method {
        WrappingMethod::ENCRYPT => (true, false),
        WrappingMethod::MAC_SIGN => (false, true),
        WrappingMethod::ENCRYPT_THEN_MAC_SIGN | WrappingMethod::MAC_SIGN_THEN_ENCRYPT => {
            (true, true)
        }
        // Its key block has its own MAC, under a key that is derived from the same (ANSI X9.143).
        WrappingMethod::TR_31 => (true, false),
        _ => return None,
    })
}

/// The ciphertext, or what the MAC covers. With No Encoding it may stand in a structure as Key
/// Material (OASIS TC-WRAP-1-14).
fn carried<'a>(version: Version, block: &'a KeyBlock, data: &KeyWrappingData) -> Outcome<&'a [u8]> {
    let bare = match data
        .encoding_option
        .unwrap_or(EncodingOption::TTLV_ENCODING)
    {
        EncodingOption::NO_ENCODING => true,
        EncodingOption::TTLV_ENCODING => false,
        _ => return Err(wrong_encoding(version, "Encoding Option is not known")),
    };
    let only_signed = data.wrapping_method == WrappingMethod::MAC_SIGN;
    match &block.key_value {
        None => Err(invalid("Key Wrapping Data without a Key Value")),
        Some(KeyValue::Wrapped(bytes)) => Ok(bytes),
        Some(KeyValue::Plain(plain)) => match &plain.key_material {
            KeyMaterial::Bytes(bytes) if bare && plain.attributes.is_none() => Ok(bytes.expose()),
            _ if only_signed && !bare => Ok(&[]),
            _ => Err(wrong_encoding(
                version,
                "a Key Value structure is wrapped only as one byte string without attributes \
                 and with No Encoding",
            )),
        },
    }
}

/// The key that is named, when it is here and its usage mask has one of these bits.
fn usable(
    engine: &Engine,
    context: &Context,
    information: Option<&KeyInformation>,
    masks: &[CryptographicUsageMask],
) -> Outcome<Option<Arc<Object>>> {
    let Some(information) = information else {
        return Ok(None);
    };
    let Some(uid) = information.unique_identifier.as_text() else {
        return Err(unsupported("a wrapping key is named by its identifier"));
    };
    match context.object(engine, uid) {
        Ok(key) => {
            let may = masks.iter().any(|mask| key.usage().contains(*mask));
            Ok(may.then_some(key))
        }
        Err(Refusal::Item(ResultReason::ITEM_NOT_FOUND, _)) => Ok(None),
        Err(other) => Err(other),
    }
}

/// What a key block that a client hands over comes to.
pub fn arrive(
    engine: &Engine,
    context: &Context,
    block: &KeyBlock,
    keep: Keep,
) -> Outcome<Arrival> {
    let Some(data) = &block.key_wrapping_data else {
        return match &block.key_value {
            Some(KeyValue::Wrapped(_)) => Err(invalid("Key Wrapping Data is missing")),
            _ => Ok(Arrival::Plain),
        };
    };
    let method = data.wrapping_method;
    let bytes = carried(context.version, block, data)?;
    let (encrypts, signs) = parts_of(method)
        .ok_or_else(|| unsupported(format!("Wrapping Method {method} is not supported")))?;
    let kek = usable(
        engine,
        context,
        data.encryption_key_information.as_ref(),
        &[CryptographicUsageMask::UNWRAP_KEY],
    )?;
    let signer = usable(
        engine,
        context,
        data.mac_signature_key_information.as_ref(),
        &[
            CryptographicUsageMask::MAC_VERIFY,
            CryptographicUsageMask::VERIFY,
        ],
    )?;
    let openable = (!encrypts || kek.is_some()) && (!signs || signer.is_some());
    match (keep, openable) {
        (Keep::Wrapped, _) | (Keep::Best, false) => return Ok(Arrival::Kept),
        (Keep::Plain, false) => {
            return Err(Refusal::item(
                reason(
                    context.version,
                    ResultReason::ITEM_NOT_FOUND,
                    ResultReason::WRAPPING_OBJECT_NOT_FOUND,
                ),
                "no key of this server may unwrap the key",
            ));
        }
        _ => {}
    }
    let (WrappingMethod::ENCRYPT, Some(kek)) = (method, kek) else {
        return Err(unsupported(format!(
            "keys wrapped by {method} cannot be unwrapped here"
        )));
    };
    if data.mac_signature.is_some() || data.mac_signature_key_information.is_some() {
        return Err(invalid(
            "Wrapping Method Encrypt has no MAC and no signature",
        ));
    }
    let information = data.encryption_key_information.as_ref();
    let wrapping = algorithm(engine, context, &kek, information, Purpose::Process)?;
    check_iv(context.version, wrapping, data.iv_counter_nonce.as_deref())?;
    unwrap(context, block, data, bytes, (wrapping, kek))
}

fn unwrap(
    context: &Context,
    block: &KeyBlock,
    data: &KeyWrappingData,
    bytes: &[u8],
    (wrapping, kek): (Wrapping, Arc<Object>),
) -> Outcome<Arrival> {
    context.meter.charge(16 * of_bytes(bytes.len()))?;
    let failed = |_: crate::error::Error| not_unwrapped();
    let plain = kw::unwrap(wrapping, kek_bytes(&kek), bytes).map_err(failed)?;
    let key_value = match data.encoding_option {
        Some(EncodingOption::NO_ENCODING) => KeyValue::bytes(plain),
        _ => {
            let item = Item::parse(plain.expose()).map_err(failed)?;
            item.expect(Tag::KEY_VALUE).map_err(failed)?;
            KeyValue::decode(&item).map_err(failed)?
        }
    };
    let plain = KeyBlock {
        key_format_type: block.key_format_type,
        key_compression_type: block.key_compression_type,
        key_value: Some(key_value),
        cryptographic_algorithm: block.cryptographic_algorithm,
        cryptographic_length: block.cryptographic_length,
        key_wrapping_data: None,
    };
    Ok(Arrival::Unwrapped(Box::new(plain), kek))
}

/// The object in the form in which it is stored beside its value, or instead of it.
pub fn as_it_came(object: &ManagedObject) -> Outcome<Arc<Secret>> {
    let mut writer = Writer::new(Version::V2_1);
    object.encode(Tag::KEY_BLOCK, &mut writer);
    Ok(Arc::new(writer.finish()?))
}

/// The object as it was registered: wrapped.
pub fn registered(
    engine: &Engine,
    context: &Context,
    object: &Object,
    format: Option<KeyFormatType>,
) -> Outcome<ManagedObject> {
    object.dates.check_online()?;
    let stored = object.registered.as_ref();
    let stored = stored.map_or(&[][..], |stored| stored.expose());
    context.meter.charge(2 * of_bytes(stored.len()))?;
    let mut given = ManagedObject::decode(&Item::parse(stored)?)?;
    if context.version < Version::V1_1 {
        imply_ttlv(&mut given);
    }
    check_expressible(context.version, &given)?;
    let block = given.key_block();
    let (own, data) = block
        .and_then(|block| Some((block.key_format_type, block.key_wrapping_data.clone()?)))
        .ok_or_else(not_unwrapped)?;
    if format.is_some_and(|format| format != own) {
        return Err(Refusal::item(
            ResultReason::KEY_FORMAT_TYPE_NOT_SUPPORTED,
            format!("the key is wrapped as {own}"),
        ));
    }
    if data.wrapping_method == WrappingMethod::MAC_SIGN {
        check_release(engine, object, None)?;
        return Ok(given);
    }
    let information = data.encryption_key_information.as_ref();
    let uid = information.and_then(|information| information.unique_identifier.as_text());
    let kek = match uid.map(|uid| context.object(engine, uid)) {
        Some(Ok(kek)) => Some(kek),
        None | Some(Err(Refusal::Item(ResultReason::ITEM_NOT_FOUND, _))) => None,
        Some(Err(other)) => return Err(other),
    };
    check_release_as_registered(engine, object, kek.as_deref())?;
    Ok(given)
}

/// Leaves TTLV Encoding to be implied, as 1.0 does.
fn imply_ttlv(object: &mut ManagedObject) {
    let data = object
        .key_block_mut()
        .and_then(|block| block.key_wrapping_data.as_mut());
    if let Some(data) = data
        && data.encoding_option == Some(EncodingOption::TTLV_ENCODING)
    {
        data.encoding_option = None;
    }
}

/// Fails when a version has no field for how the key is wrapped: without it the client would take
/// the wrapping for another.
fn check_expressible(version: Version, object: &ManagedObject) -> Outcome<()> {
    let mut writer = Writer::new(version);
    object.encode(Tag::KEY_BLOCK, &mut writer);
    writer
        .finish()
        .map(drop)
        .map_err(|_| unsupported("this version of KMIP has no field for how the key is wrapped"))
}

/// The key wrapping that parameters ask for, with a key that may do it now.
fn algorithm(
    engine: &Engine,
    context: &Context,
    kek: &Object,
    information: Option<&KeyInformation>,
    purpose: Purpose,
) -> Outcome<Wrapping> {
    kek.dates.allow(
        context.version,
        purpose,
        engine.personality.deactivated_decrypts,
        now(),
    )?;
    let parameters = information
        .and_then(|information| information.cryptographic_parameters.as_ref())
        .or_else(|| kek.attributes.cryptographic_parameters());
    let wrapping = match parameters.and_then(|parameters| parameters.block_cipher_mode) {
        Some(BlockCipherMode::NIST_KEY_WRAP) => Wrapping::Kw,
        Some(BlockCipherMode::AES_KEY_WRAP_PADDING) => Wrapping::Kwp,
        _ => {
            return Err(unsupported(
                "keys are wrapped by NIST Key Wrap and AES Key Wrap Padding only",
            ));
        }
    };
    match (&kek.value, kek.algorithm()) {
        (Value::Key(Material::Symmetric(_), _), None | Some(CryptographicAlgorithm::AES)) => {
            Ok(wrapping)
        }
        _ => Err(unsupported("keys are wrapped under AES keys only")),
    }
}

/// Key wrapping has one initial value for all keys (RFC 3394, 2.2.3.1; RFC 5649, 3): another one
/// cannot be honoured.
fn check_iv(version: Version, wrapping: Wrapping, iv: Option<&[u8]>) -> Outcome<()> {
    let own: &[u8] = match wrapping {
        Wrapping::Kw => &[0xA6; 8],
        Wrapping::Kwp => &[0xA6, 0x59, 0x59, 0xA6],
    };
    match iv {
        Some(iv) if iv != own => Err(Refusal::item(
            reason(
                version,
                ResultReason::FEATURE_NOT_SUPPORTED,
                ResultReason::UNSUPPORTED_CRYPTOGRAPHIC_PARAMETERS,
            ),
            "keys are wrapped with the initial value of their mode only",
        )),
        _ => Ok(()),
    }
}

/// The bytes of a key that wraps.
fn kek_bytes(kek: &Object) -> &[u8] {
    match &kek.value {
        Value::Key(material, _) => material.bytes().expose(),
        _ => &[],
    }
}

/// The key that a specification names, when it may wrap now, and how.
fn wrapper(
    engine: &Engine,
    context: &Context,
    specification: &KeyWrappingSpecification,
) -> Outcome<(Wrapping, Arc<Object>)> {
    let method = specification.wrapping_method;
    if method != WrappingMethod::ENCRYPT {
        return Err(unsupported(format!(
            "Wrapping Method {method} is not supported"
        )));
    }
    if specification.mac_signature_key_information.is_some() {
        return Err(invalid(
            "Wrapping Method Encrypt has no MAC and no signature",
        ));
    }
    let information = specification.encryption_key_information.as_ref();
    let uid = information
        .and_then(|information| information.unique_identifier.as_text())
        .ok_or_else(|| unsupported("Encryption Key Information names no wrapping key"))?;
    let kek = context.object(engine, uid)?;
    kek.allow(context.version, CryptographicUsageMask::WRAP_KEY)?;
    let wrapping = algorithm(engine, context, &kek, information, Purpose::Protect)?;
    Ok((wrapping, kek))
}

/// Wraps the material of a key block under another key: the bare bytes, or the encoded Key Value
/// for TTLV Encoding.
pub fn wrap(
    engine: &Engine,
    context: &Context,
    object: &Object,
    specification: &KeyWrappingSpecification,
    block: &mut KeyBlock,
) -> Outcome<()> {
    let (wrapping, kek) = wrapper(engine, context, specification)?;
    check_release(engine, object, Some(&kek))?;
    let bytes = wrappable(context, object, specification, block)?;
    let failed = |_: crate::error::Error| {
        Refusal::item(
            ResultReason::CRYPTOGRAPHIC_FAILURE,
            "NIST Key Wrap takes a multiple of 8 bytes and at least 16",
        )
    };
    let encoding = encoding(context, specification);
    context.meter.charge(16 * of_bytes(bytes.len()))?;
    let wrapped = kw::wrap(wrapping, kek_bytes(&kek), bytes.expose()).map_err(failed)?;
    spend(engine, context, &kek, bytes.len(), true)?;
    block.key_value = Some(KeyValue::Wrapped(wrapped));
    block.key_wrapping_data = Some(KeyWrappingData {
        wrapping_method: specification.wrapping_method,
        encryption_key_information: specification.encryption_key_information.clone(),
        encoding_option: encoding,
        ..KeyWrappingData::default()
    });
    Ok(())
}

/// The Encoding Option, which 1.0 does not have.
fn encoding(context: &Context, specification: &KeyWrappingSpecification) -> Option<EncodingOption> {
    let encoding = specification.encoding_option;
    encoding.filter(|_| context.version >= Version::V1_1)
}

/// The bytes that are wrapped.
fn wrappable(
    context: &Context,
    object: &Object,
    specification: &KeyWrappingSpecification,
    block: &mut KeyBlock,
) -> Outcome<Secret> {
    let encoding = encoding(context, specification);
    let names = &specification.attribute_names;
    match (encoding, &mut block.key_value) {
        (Some(EncodingOption::NO_ENCODING), Some(KeyValue::Plain(plain))) => {
            match &plain.key_material {
                KeyMaterial::Bytes(bytes) if names.is_empty() => Ok(bytes.duplicate()),
                _ => Err(wrong_encoding(
                    context.version,
                    "only one byte string can be wrapped so",
                )),
            }
        }
        (None | Some(EncodingOption::TTLV_ENCODING), Some(value @ KeyValue::Plain(_))) => {
            if let KeyValue::Plain(plain) = value
                && !names.is_empty()
            {
                let mut attributes = object.all_attributes(context.version);
                attributes
                    .0
                    .retain(|attribute| names.contains(&attribute.value.name()));
                plain.attributes = Some(attributes);
            }
            let mut writer = Writer::new(context.version);
            value.encode(Tag::KEY_VALUE, &mut writer);
            Ok(writer.finish()?)
        }
        _ => Err(wrong_encoding(
            context.version,
            "Encoding Option is not known",
        )),
    }
}
