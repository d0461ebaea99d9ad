//! Operations with keys that stay on the server, whole or in parts over several requests (spec 1.4, 4.29 to 4.37).

mod cipher;
mod mac;
mod sign;
mod stream;

pub use cipher::{decrypt, encrypt};
pub use mac::{hash, mac, mac_verify, random};
pub use sign::{sign, verify};
pub use stream::Streams;
use stream::demands;

use std::sync::Arc;

use super::budget::of_object;
use super::context::Context;
use super::engine::Engine;
use super::keys::{Material, invalid};
use super::life::Purpose;
use super::objects::{Object, Outcome, Refusal, Value, now};
use super::wording::client_text;
use crate::error::Error;
use crate::kmip::*;

type Parameters = CryptographicParameters;

/// A cryptographic operation did not succeed with this key and data.
fn failure(error: Error) -> Refusal {
    Refusal::item(ResultReason::CRYPTOGRAPHIC_FAILURE, client_text(&error))
}

/// The key a request is about, when it may be used so, and the parameters that hold for it.
fn key(
    engine: &Engine,
    context: &Context,
    operation: OperationCode,
    uid: Option<UniqueIdentifier>,
    given: Option<Parameters>,
) -> Outcome<(Arc<Object>, Parameters)> {
    let object = engine.resolve(context, uid)?;
    let (mask, purpose) = demands(operation);
    may_use(engine, context, &object, mask, purpose)?;
    context.meter.charge(of_object(&object))?;
    let parameters = given
        .or_else(|| object.attributes.cryptographic_parameters().cloned())
        .unwrap_or_default();
    Ok((object, parameters))
}

/// Fails unless the key may be used so now.
fn may_use(
    engine: &Engine,
    context: &Context,
    object: &Object,
    mask: CryptographicUsageMask,
    purpose: Purpose,
) -> Outcome<()> {
    object.allow(context.version, mask)?;
    object.dates.allow(
        context.version,
        purpose,
        engine.personality.deactivated_decrypts,
        now(),
    )?;
    match &object.value {
        Value::Wrapped(_) => Err(invalid("the server has the key only wrapped")),
        Value::Elsewhere(_) => Err(invalid("the server does not have the value of the key")),
        _ => Ok(()),
    }
}

/// The data of a part: one that only begins or ends an operation has none (spec 1.4, 4.29).
fn part_data<T: Default>(data: Option<T>, part: &stream::Part) -> Outcome<T> {
    match data {
        None if part.is_of_several() => Ok(T::default()),
        data => self::data(data),
    }
}

fn data<T>(data: Option<T>) -> Outcome<T> {
    data.ok_or_else(|| Refusal::message("no Data"))
}

fn symmetric(object: &Object) -> Outcome<&[u8]> {
    match &object.value {
        Value::Key(Material::Symmetric(bytes), _) => Ok(bytes.expose()),
        _ => Err(invalid("not a symmetric key")),
    }
}

fn validity(valid: bool) -> ValidityIndicator {
    if valid {
        ValidityIndicator::VALID
    } else {
        ValidityIndicator::INVALID
    }
}
