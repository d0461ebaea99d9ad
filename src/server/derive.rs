//! Keys that are derived from others (spec 1.4, 4.6).

use super::attributes::screen;
use super::budget::{MOST_LISTED, MOST_MATERIAL, exceeded, of_bytes};
use super::context::Context;
use super::engine::Engine;
use super::keys::{Material, hash_of, invalid};
use super::life::Purpose;
use super::make::{keep, link, made_here, required};
use super::objects::{Object, Outcome, Refusal, Value, now};
use super::protection::{check_derivation, inherit};
use super::template::given;
use super::wording::client_text;
use crate::crypto::cipher::{Cipher, Direction, Key, Mode};
use crate::crypto::{Hash, hash, kdf, mac};
use crate::kmip::*;
use crate::secret::Secret;
use crate::store::kmip::keys;

/// The longest key that is derived, in bytes.
const LONGEST: usize = 64 << 10;

/// Answers Derive Key.
pub fn derive_key(
    engine: &Engine,
    context: &mut Context,
    request: DeriveKeyRequest,
) -> Outcome<DeriveKeyResponse> {
    let wanted = given(engine, context, Some(request.template_attribute))?;
    let mut attributes = screen(&engine.personality, context.version, wanted)?;
    made_here(&mut attributes);
    let bits = *required(attributes.cryptographic_length(), "Cryptographic Length")?;
    let len = usize::try_from(bits)
        .ok()
        .filter(|bits| bits % 8 == 0 && (1..=LONGEST).contains(&(bits / 8)));
    let len = len.ok_or_else(|| invalid(format!("no key of {bits} bits is derived")))? / 8;
    let [base, more @ ..] = request.unique_identifiers.as_slice() else {
        return Err(invalid("derived from what?"));
    };
    let base = engine.resolve(context, Some(base.clone()))?;
    base.allow(context.version, CryptographicUsageMask::DERIVE_KEY)?;
    if base.has_state() {
        base.dates
            .allow(context.version, Purpose::Protect, false, now())?;
    }
    let mut parameters = request.derivation_parameters;
    let mut data = Vec::new();
    if more.len() > MOST_LISTED {
        let text = format!("at most {MOST_LISTED} objects are derivation data");
        return Err(exceeded(context.version, text));
    }
    // A second object gives what else is derived from, as derivation data would.
    for other in more {
        let other = engine.resolve(context, Some(other.clone()))?;
        other.allow(context.version, CryptographicUsageMask::DERIVE_KEY)?;
        if other.is_protected() && other.has_state() {
            other
                .dates
                .allow(context.version, Purpose::Protect, false, now())?;
        }
        data.push(other);
    }
    let alone = parameters.derivation_data.is_empty() && data.len() < 2;
    check_derivation(
        engine,
        context,
        request.derivation_method,
        hash_function(&parameters).ok(),
        (&base, &data, alone),
        len,
    )?;
    let mut bytes = 0;
    for object in &data {
        let material = material(object)?;
        bytes += material.len();
        if bytes > MOST_MATERIAL {
            return Err(exceeded(context.version, "so much data to derive from"));
        }
        parameters.derivation_data.push(material.duplicate());
    }
    let cost = cost(
        request.derivation_method,
        material(&base)?.len(),
        &parameters,
        len,
    )?;
    context.meter.charge(cost)?;
    let derived = derive(
        request.derivation_method,
        material(&base)?,
        &parameters,
        len,
    )?;
    link(
        &mut attributes,
        LinkType::DERIVATION_BASE_OBJECT_LINK,
        &base.uid,
    );
    let value = match request.object_type {
        ObjectType::SYMMETRIC_KEY => {
            required(
                attributes.cryptographic_algorithm(),
                "Cryptographic Algorithm",
            )?;
            Value::Key(Material::Symmetric(derived), KeyFormatType::RAW)
        }
        ObjectType::SECRET_DATA => Value::Secret(
            SecretDataType::SEED,
            Material::Unknown(derived),
            KeyFormatType::OPAQUE,
        ),
        other => return Err(invalid(format!("no {other} is derived"))),
    };
    let mut object = Object::new(&context.caller, request.object_type, value, attributes);
    inherit(
        engine,
        &mut object,
        data.iter().map(|data| &**data).chain([&*base]),
    );
    Ok(DeriveKeyResponse {
        unique_identifier: keep(engine, context, object)?,
        template_attribute: None,
    })
}

fn material(object: &Object) -> Outcome<&Secret> {
    match &object.value {
        Value::Key(Material::Symmetric(bytes), _)
        | Value::Secret(_, Material::Unknown(bytes), _) => Ok(bytes),
        _ => Err(invalid("only symmetric keys and secrets are derived from")),
    }
}

/// The hash function that the parameters name, else the usual one.
fn hash_function(p: &DerivationParameters) -> Outcome<Hash> {
    let parameters = p.cryptographic_parameters.as_ref();
    match parameters.and_then(|parameters| parameters.hashing_algorithm) {
        Some(hash) => hash_of(hash),
        None => Ok(parameters
            .and_then(|parameters| parameters.cryptographic_algorithm)
            .and_then(keys::hash_of_hmac)
            .unwrap_or(Hash::Sha256)),
    }
}

/// The Iteration Count.
fn rounds(p: &DerivationParameters) -> Outcome<u32> {
    p.iteration_count
        .and_then(|rounds| u32::try_from(rounds).ok())
        .filter(|rounds| *rounds > 0)
        .ok_or_else(|| invalid("Iteration Count is missing or out of range"))
}

/// The work of a derivation.
fn cost(
    method: DerivationMethod,
    base: usize,
    p: &DerivationParameters,
    len: usize,
) -> Outcome<u64> {
    let data: usize = p.derivation_data.iter().map(Secret::len).sum();
    let salt = p.salt.as_ref().map_or(0, Vec::len);
    let hash = hash_function(p)?;
    let blocks = len.div_ceil(hash.output_len()) as u64;
    // A block of the longer hash functions has 128 bytes.
    let compressions = if hash.output_len() > 32 { 4 } else { 2 };
    let once = of_bytes(base + data + salt);
    Ok(match method {
        DerivationMethod::PBKDF2 => once + blocks * u64::from(rounds(p)?) * compressions,
        DerivationMethod::HKDF => once + blocks * (of_bytes(data) + 4),
        DerivationMethod::NIST800_108_C => blocks * (once + 4),
        _ => once,
    })
}

fn derive(
    method: DerivationMethod,
    base: &Secret,
    p: &DerivationParameters,
    len: usize,
) -> Outcome<Secret> {
    let failure = |e: crate::error::Error| {
        Refusal::item(ResultReason::CRYPTOGRAPHIC_FAILURE, client_text(&e))
    };
    let parameters = p.cryptographic_parameters.clone().unwrap_or_default();
    let hash = || hash_function(p);
    let data: Vec<u8> = p
        .derivation_data
        .iter()
        .flat_map(|data| data.expose().iter().copied())
        .collect();
    let salt = p.salt.as_deref().unwrap_or_default();
    let base = base.expose();
    let mut derived = match method {
        DerivationMethod::PBKDF2 => {
            return kdf::pbkdf2(hash()?, base, salt, rounds(p)?, len).map_err(failure);
        }
        DerivationMethod::HKDF => {
            return kdf::hkdf(hash()?, salt, base, &data, len).map_err(failure);
        }
        DerivationMethod::NIST800_108_C => {
            return kdf::kbkdf_counter(hash()?, base, &data, len).map_err(failure);
        }
        // The data where there is any, else the key itself.
        DerivationMethod::HASH => {
            hash::digest(hash()?, if data.is_empty() { base } else { &data }).map_err(failure)?
        }
        DerivationMethod::HMAC => mac::hmac(hash()?, base, &data).map_err(failure)?,
        DerivationMethod::ENCRYPT => {
            let iv = p.initialization_vector.as_deref().unwrap_or_default();
            let mode = match (parameters.block_cipher_mode, parameters.padding_method) {
                (Some(BlockCipherMode::ECB), _) => Mode::Ecb,
                (Some(BlockCipherMode::CBC) | None, Some(PaddingMethod::PKCS5)) => {
                    Mode::CbcPad { iv }
                }
                (Some(BlockCipherMode::CBC) | None, _) => Mode::Cbc { iv },
                (Some(BlockCipherMode::CTR), _) => Mode::Ctr {
                    counter: iv,
                    bits: 128,
                },
                (Some(other), _) => return Err(invalid(format!("{other} is not supported"))),
            };
            let key = match parameters.cryptographic_algorithm {
                Some(CryptographicAlgorithm::TRIPLE_DES) => Key::TripleDes(base),
                _ => Key::Aes(base),
            };
            Cipher::new(Direction::Encrypt, key, mode)
                .and_then(|cipher| cipher.run(&data))
                .map_err(failure)?
        }
        other => {
            return Err(Refusal::item(
                ResultReason::FEATURE_NOT_SUPPORTED,
                format!("{other} is not supported"),
            ));
        }
    };
    if derived.len() < len {
        return Err(invalid(format!(
            "this makes {} bytes, not {len}",
            derived.len()
        )));
    }
    derived.truncate(len);
    Ok(Secret::new(derived))
}
