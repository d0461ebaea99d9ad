//! MAC, MAC Verify, Hash and RNG Retrieve.

use super::stream::{Part, Stream, Work, hasher};
use super::{Parameters, data, failure, key, part_data, symmetric, validity};
use crate::crypto::cipher::Key;
use crate::crypto::mac::Mac;
use crate::crypto::rng;
use crate::kmip::*;
use crate::secret::Secret;
use crate::server::budget::of_bytes;
use crate::server::context::Context;
use crate::server::engine::Engine;
use crate::server::keys::{hash_of, invalid};
use crate::server::objects::{Object, Outcome};
use crate::store::kmip::keys;

/// A MAC under a key, at the beginning of its work.
fn coder(object: &Object, parameters: &Parameters) -> Outcome<Work> {
    let bytes = symmetric(object)?;
    let cipher = match object.algorithm() {
        Some(CryptographicAlgorithm::AES) => Some(Key::Aes(bytes)),
        Some(CryptographicAlgorithm::TRIPLE_DES) => Some(Key::TripleDes(bytes)),
        _ => None,
    };
    let named = parameters
        .cryptographic_algorithm
        .or(object.algorithm())
        .and_then(keys::hash_of_hmac);
    if let Some(key) = cipher.filter(|_| named.is_none() && parameters.hashing_algorithm.is_none())
    {
        return Ok(Work::Mac(Box::new(Mac::cmac(key).map_err(failure)?)));
    }
    let hash = match named {
        Some(hash) => hash,
        None => hash_of(
            parameters
                .hashing_algorithm
                .ok_or_else(|| invalid("no Hashing Algorithm"))?,
        )?,
    };
    Ok(Work::Mac(Box::new(
        Mac::hmac(hash, bytes).map_err(failure)?,
    )))
}

/// Answers MAC.
pub fn mac(engine: &Engine, context: &mut Context, request: MacRequest) -> Outcome<MacResponse> {
    let part = Part {
        init: request.init_indicator,
        last: request.final_indicator,
        correlation: request.correlation_value,
    };
    let bytes = part_data(request.data, &part)?;
    let mut stream = match engine.resume(context, OperationCode::MAC, &part)? {
        Some(stream) => stream,
        None => {
            let (uid, given) = (request.unique_identifier, request.cryptographic_parameters);
            let (object, parameters) = key(engine, context, OperationCode::MAC, uid, given)?;
            let work = coder(&object, &parameters)?;
            Stream::new(OperationCode::MAC, Some((object, parameters)), work)
        }
    };
    stream.spend(engine, context, bytes.len(), &part)?;
    let unique_identifier = stream.uid(context);
    stream.work.update(bytes.expose())?;
    if !part.is_last() {
        let correlation_value = engine.suspend(context, stream, part)?;
        return Ok(MacResponse {
            unique_identifier,
            mac_data: None,
            correlation_value,
        });
    }
    Ok(MacResponse {
        unique_identifier,
        mac_data: Some(stream.work.finish()?),
        correlation_value: None,
    })
}

/// Answers MAC Verify.
pub fn mac_verify(
    engine: &Engine,
    context: &mut Context,
    request: MacVerifyRequest,
) -> Outcome<MacVerifyResponse> {
    let part = Part {
        init: request.init_indicator,
        last: request.final_indicator,
        correlation: request.correlation_value,
    };
    let bytes = part_data(request.data, &part)?;
    let mut stream = match engine.resume(context, OperationCode::MAC_VERIFY, &part)? {
        Some(stream) => stream,
        None => {
            let (uid, given) = (request.unique_identifier, request.cryptographic_parameters);
            let (object, parameters) = key(engine, context, OperationCode::MAC_VERIFY, uid, given)?;
            let work = coder(&object, &parameters)?;
            Stream::new(OperationCode::MAC_VERIFY, Some((object, parameters)), work)
        }
    };
    let unique_identifier = stream.uid(context);
    stream.expected = request.mac_data.or(stream.expected);
    stream.work.update(bytes.expose())?;
    if !part.is_last() {
        let correlation_value = engine.suspend(context, stream, part)?;
        return Ok(MacVerifyResponse {
            unique_identifier,
            validity_indicator: None,
            correlation_value,
        });
    }
    // Secrets are compared in constant time.
    let valid = Secret::new(stream.work.finish()?) == Secret::new(data(stream.expected)?);
    Ok(MacVerifyResponse {
        unique_identifier,
        validity_indicator: Some(validity(valid)),
        correlation_value: None,
    })
}

/// Answers Hash.
pub fn hash(engine: &Engine, context: &mut Context, request: HashRequest) -> Outcome<HashResponse> {
    let part = Part {
        init: request.init_indicator,
        last: request.final_indicator,
        correlation: request.correlation_value,
    };
    let bytes = part_data(request.data, &part)?;
    let mut stream = match engine.resume(context, OperationCode::HASH, &part)? {
        Some(stream) => stream,
        None => {
            let named = request
                .cryptographic_parameters
                .hashing_algorithm
                .ok_or_else(|| invalid("no Hashing Algorithm"))?;
            Stream::new(OperationCode::HASH, None, hasher(Some(hash_of(named)?))?)
        }
    };
    stream.work.update(bytes.expose())?;
    match part.is_last() {
        true => Ok(HashResponse {
            data: Some(stream.work.finish()?),
            correlation_value: None,
        }),
        false => Ok(HashResponse {
            data: None,
            correlation_value: engine.suspend(context, stream, part)?,
        }),
    }
}

/// Answers RNG Retrieve.
pub fn random(context: &Context, request: RngRetrieveRequest) -> Outcome<RngRetrieveResponse> {
    let len = usize::try_from(request.data_length)
        .ok()
        .filter(|len| *len <= 1 << 16);
    let len = len.ok_or_else(|| invalid("as many bytes as that?"))?;
    context.meter.charge(of_bytes(len))?;
    rng::bytes(len)
        .map(|data| RngRetrieveResponse { data })
        .map_err(failure)
}
