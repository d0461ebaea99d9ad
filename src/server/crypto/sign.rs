//! Sign and Signature Verify.

use std::sync::Arc;

use super::stream::{Part, Stream, Work, hasher};
use super::{Parameters, data, failure, key, validity};
use crate::crypto::hash::digest;
use crate::crypto::pkey::{self, Kind, PrivateKey, PublicKey, Scheme};
use crate::crypto::{Curve, Hash};
use crate::kmip::*;
use crate::secret::Secret;
use crate::server::budget::{of_private, of_public};
use crate::server::context::Context;
use crate::server::engine::Engine;
use crate::server::keys::{Material, hash_of, invalid};
use crate::server::objects::{Object, Outcome, Refusal, Value};

/// How to sign, and the hash of what is signed; Ed25519 signs the data itself.
fn scheme(engine: &Engine, kind: Kind, p: &Parameters) -> Outcome<(Scheme, Option<Hash>)> {
    use DigitalSignatureAlgorithm as Dsa;
    let by_algorithm = match p.digital_signature_algorithm {
        Some(Dsa::SHA_1_WITH_RSA_ENCRYPTION | Dsa::ECDSA_WITH_SHA_1) => Some(Hash::Sha1),
        Some(Dsa::SHA_224_WITH_RSA_ENCRYPTION | Dsa::ECDSA_WITH_SHA224) => Some(Hash::Sha224),
        Some(Dsa::SHA_256_WITH_RSA_ENCRYPTION | Dsa::ECDSA_WITH_SHA256) => Some(Hash::Sha256),
        Some(Dsa::SHA_384_WITH_RSA_ENCRYPTION | Dsa::ECDSA_WITH_SHA384) => Some(Hash::Sha384),
        Some(Dsa::SHA_512_WITH_RSA_ENCRYPTION | Dsa::ECDSA_WITH_SHA512) => Some(Hash::Sha512),
        _ => None,
    };
    let named = p.hashing_algorithm.map(hash_of).transpose()?;
    match kind {
        Kind::Ec(Curve::Ed25519) => Ok((Scheme::EdDsa, None)),
        Kind::Ec(_) => Ok((
            Scheme::Ecdsa,
            Some(by_algorithm.or(named).unwrap_or(Hash::Sha256)),
        )),
        Kind::Rsa { .. } => {
            let hash = by_algorithm
                .or(named)
                .ok_or_else(|| invalid("no Hashing Algorithm"))?;
            let pss = match (p.digital_signature_algorithm, p.padding_method) {
                _ if engine.personality.pss_always => true,
                (Some(Dsa::RSASSA_PSS), _) => true,
                (Some(_), _) => false,
                (None, _) if engine.personality.pss_by_default => true,
                (None, Some(PaddingMethod::PSS)) => true,
                (None, Some(PaddingMethod::PKCS1_V1_5)) => false,
                (None, _) => return Err(invalid("a padding method is required")),
            };
            if !pss {
                return Ok((Scheme::RsaPkcs1(hash), Some(hash)));
            }
            let mgf = p
                .mask_generator_hashing_algorithm
                .map_or(Ok(hash), hash_of)?;
            let salt_len = p
                .salt_length
                .map_or(hash.output_len(), |len| len.max(0) as usize);
            Ok((
                Scheme::RsaPss {
                    hash,
                    mgf,
                    salt_len,
                },
                Some(hash),
            ))
        }
    }
}

/// The digest of a digest.
fn again(value: &[u8]) -> Outcome<Vec<u8>> {
    let hash = [Hash::Sha1, Hash::Sha256, Hash::Sha384, Hash::Sha512]
        .into_iter()
        .find(|hash| hash.output_len() == value.len());
    digest(
        hash.ok_or_else(|| invalid("a digest of no known length"))?,
        value,
    )
    .map_err(failure)
}

/// What is signed, once all of it is there: the digest, or the data for Ed25519.
fn signed(
    engine: &Engine,
    stream: &mut Stream,
    message: (Option<Secret>, Option<Vec<u8>>),
    part: &Part,
) -> Outcome<Vec<u8>> {
    let last = part.is_last();
    match message {
        (Some(data), None) => {
            stream.work.update(data.expose())?;
        }
        (None, Some(digest)) if engine.personality.digested_data && last => {
            return match &stream.work {
                Work::Digest(_) if engine.personality.hashes_digests => again(&digest),
                Work::Digest(_) => Ok(digest),
                _ => Err(invalid("EdDSA signs data")),
            };
        }
        (None, None) if part.is_of_several() => {}
        _ => return Err(Refusal::message("Data or Digested Data")),
    }
    match last {
        true => std::mem::replace(&mut stream.work, Work::Gather(Vec::new())).finish(),
        false => Ok(Vec::new()),
    }
}

fn private(object: Option<&Arc<Object>>) -> Outcome<PrivateKey> {
    let key = object.and_then(|object| object.private_key());
    key.ok_or_else(|| invalid("not a private key"))?
        .cloned()
        .map_err(failure)
}

fn public(object: Option<&Arc<Object>>) -> Outcome<PublicKey> {
    match object.map(|object| &object.value) {
        Some(Value::Key(Material::Public(spki), _)) => {
            PublicKey::from_spki(spki.expose()).map_err(failure)
        }
        _ => Err(invalid("not a public key")),
    }
}

/// Answers Sign.
pub fn sign(engine: &Engine, context: &mut Context, request: SignRequest) -> Outcome<SignResponse> {
    let part = Part {
        init: request.init_indicator,
        last: request.final_indicator,
        correlation: request.correlation_value,
    };
    let mut stream = match engine.resume(context, OperationCode::SIGN, &part)? {
        Some(stream) => stream,
        None => {
            let (uid, given) = (request.unique_identifier, request.cryptographic_parameters);
            let (object, parameters) = key(engine, context, OperationCode::SIGN, uid, given)?;
            let (_, hash) = scheme(engine, private(Some(&object))?.kind(), &parameters)?;
            Stream::new(
                OperationCode::SIGN,
                Some((object, parameters)),
                hasher(hash)?,
            )
        }
    };
    let len = request.data.as_ref().map_or(0, Secret::len)
        + request.digested_data.as_ref().map_or(0, Vec::len);
    stream.spend(engine, context, len, &part)?;
    let unique_identifier = stream.uid(context);
    let value = signed(
        engine,
        &mut stream,
        (request.data, request.digested_data),
        &part,
    )?;
    if !part.is_last() {
        let correlation_value = engine.suspend(context, stream, part)?;
        return Ok(SignResponse {
            unique_identifier,
            signature_data: None,
            correlation_value,
        });
    }
    let private = private(stream.object.as_ref())?;
    context.meter.charge(of_private(private.kind()))?;
    let (scheme, _) = scheme(engine, private.kind(), &stream.parameters)?;
    let mut signature = private.sign(scheme, &value).map_err(failure)?;
    if scheme == Scheme::Ecdsa {
        signature = pkey::ecdsa_to_der(&signature).map_err(failure)?;
    }
    Ok(SignResponse {
        unique_identifier,
        signature_data: Some(signature),
        correlation_value: None,
    })
}

/// Answers Signature Verify.
pub fn verify(
    engine: &Engine,
    context: &mut Context,
    request: SignatureVerifyRequest,
) -> Outcome<SignatureVerifyResponse> {
    let part = Part {
        init: request.init_indicator,
        last: request.final_indicator,
        correlation: request.correlation_value,
    };
    let mut stream = match engine.resume(context, OperationCode::SIGNATURE_VERIFY, &part)? {
        Some(stream) => stream,
        None => {
            let (uid, given) = (request.unique_identifier, request.cryptographic_parameters);
            let (object, parameters) =
                key(engine, context, OperationCode::SIGNATURE_VERIFY, uid, given)?;
            let (_, hash) = scheme(engine, public(Some(&object))?.kind(), &parameters)?;
            Stream::new(
                OperationCode::SIGNATURE_VERIFY,
                Some((object, parameters)),
                hasher(hash)?,
            )
        }
    };
    let mut answer = SignatureVerifyResponse {
        unique_identifier: stream.uid(context),
        ..SignatureVerifyResponse::default()
    };
    stream.expected = request.signature_data.or(stream.expected);
    let value = signed(
        engine,
        &mut stream,
        (request.data, request.digested_data),
        &part,
    )?;
    if !part.is_last() {
        answer.correlation_value = engine.suspend(context, stream, part)?;
        return Ok(answer);
    }
    let public = public(stream.object.as_ref())?;
    context.meter.charge(of_public(public.kind()))?;
    let (scheme, _) = scheme(engine, public.kind(), &stream.parameters)?;
    let mut signature = data(stream.expected)?;
    if let (Scheme::Ecdsa, Kind::Ec(curve)) = (scheme, public.kind()) {
        signature = pkey::ecdsa_from_der(curve, &signature).unwrap_or_default();
    }
    let verified = match scheme {
        // Signers differ about the length that a salt has when nobody says it.
        Scheme::RsaPss { hash, mgf, .. } if stream.parameters.salt_length.is_none() => {
            public.verify_any_salt(hash, mgf, &value, &signature)
        }
        _ => public.verify(scheme, &value, &signature),
    };
    answer.validity_indicator = Some(validity(verified.is_ok()));
    Ok(answer)
}
