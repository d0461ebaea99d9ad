//! Encrypt and Decrypt.

use super::stream::{Part, Stream, Work};
use super::{Parameters, failure, key, part_data, symmetric};
use crate::ck::CKR_ENCRYPTED_DATA_INVALID;
use crate::crypto::cipher::{Cipher, Direction, Key, Mode};
use crate::crypto::padding::padding_len;
use crate::crypto::pkey::{Padding, PublicKey};
use crate::crypto::{Hash, rng};
use crate::kmip::*;
use crate::secret::Secret;
use crate::server::budget::{of_private, of_public};
use crate::server::context::Context;
use crate::server::engine::Engine;
use crate::server::keys::{Material, hash_of, invalid};
use crate::server::lifecycle::spend;
use crate::server::objects::{Object, Outcome, Refusal, Value, reason};
use crate::version::Version;

/// What of a request a mode is set up with.
#[derive(Clone, Copy)]
struct Given<'a> {
    iv: &'a [u8],
    aad: &'a [u8],
    /// The Initial Counter Value, least significant byte first.
    counter: &'a [u8],
}

/// The mode that parameters ask for.
fn mode<'a>(
    engine: &Engine,
    object: &Object,
    key: Key<'_>,
    parameters: &Parameters,
    given: Given<'a>,
) -> Outcome<Mode<'a>> {
    let Given { iv, aad, counter } = given;
    let padding = parameters.padding_method;
    let unsupported = |text: &str| Err(invalid(text));
    let padded = match padding {
        Some(PaddingMethod::PKCS5) => true,
        Some(PaddingMethod::NONE) if engine.personality.padding_none => false,
        None if engine.personality.padding_none => {
            parameters.block_cipher_mode == Some(BlockCipherMode::CBC)
        }
        Some(PaddingMethod::NONE) | None => match parameters.block_cipher_mode {
            Some(BlockCipherMode::ECB | BlockCipherMode::CBC) => {
                return unsupported("a padding method is required");
            }
            _ => false,
        },
        Some(other) => return Err(invalid(format!("{other} is not supported"))),
    };
    let tag_len = || match parameters.tag_length {
        Some(len) => Ok(len.max(0) as usize),
        None if engine.personality.wants_algorithm => Err(invalid("Tag Length is required")),
        None => Ok(16),
    };
    match parameters.block_cipher_mode {
        // A counter takes the room that the nonce leaves: 8 bytes in the original, 4 in RFC 8439's.
        None if matches!(key, Key::ChaCha20(_)) && !is_poly1305(object, parameters) => {
            Ok(Mode::Plain {
                counter: &counter[..16 - iv.len().clamp(8, 12)],
                nonce: iv,
            })
        }
        None | Some(BlockCipherMode::AEAD) if matches!(key, Key::ChaCha20(_)) => {
            Ok(Mode::Poly1305 {
                nonce: iv,
                aad,
                tag_len: tag_len()?,
            })
        }
        Some(BlockCipherMode::ECB) => Ok(Mode::Ecb),
        Some(BlockCipherMode::CBC) if padded => Ok(Mode::CbcPad { iv }),
        Some(BlockCipherMode::CBC) => Ok(Mode::Cbc { iv }),
        Some(BlockCipherMode::CTR) if engine.personality.counter_mode => Ok(Mode::Ctr {
            counter: iv,
            bits: 128,
        }),
        Some(BlockCipherMode::CTR) => Err(Refusal::item(
            ResultReason::OPERATION_NOT_SUPPORTED,
            "AES is not supported with mode CTR",
        )),
        Some(BlockCipherMode::GCM) => Ok(Mode::Gcm {
            iv,
            aad,
            tag_len: tag_len()?,
        }),
        Some(BlockCipherMode::CCM) => Ok(Mode::Ccm {
            nonce: iv,
            aad,
            tag_len: tag_len()?,
        }),
        Some(BlockCipherMode::OFB) => Ok(Mode::Ofb { iv }),
        Some(BlockCipherMode::CFB) => Ok(Mode::Cfb128 { iv }),
        Some(other) => Err(invalid(format!("{other} is not supported"))),
        None => unsupported("no Block Cipher Mode"),
    }
}

fn cipher_key<'a>(
    engine: &Engine,
    object: &'a Object,
    parameters: &Parameters,
) -> Outcome<Key<'a>> {
    let algorithm = parameters.cryptographic_algorithm;
    if algorithm.is_none() && engine.personality.wants_algorithm {
        return Err(invalid("Cryptographic Algorithm is required"));
    }
    let bytes = symmetric(object)?;
    match (algorithm.or(object.algorithm()), object.algorithm()) {
        (Some(CryptographicAlgorithm::AES), Some(CryptographicAlgorithm::AES)) => {
            Ok(Key::Aes(bytes))
        }
        (Some(CryptographicAlgorithm::TRIPLE_DES), Some(CryptographicAlgorithm::TRIPLE_DES)) => {
            Ok(Key::TripleDes(bytes))
        }
        (
            Some(CryptographicAlgorithm::CHACHA20POLY1305 | CryptographicAlgorithm::CHACHA20),
            Some(CryptographicAlgorithm::CHACHA20POLY1305 | CryptographicAlgorithm::CHACHA20),
        ) => Ok(Key::ChaCha20(bytes)),
        _ => Err(invalid(
            "the key is not of this algorithm, or does not encrypt",
        )),
    }
}

/// Block of a block cipher's key in bytes.
fn block_len(object: &Object) -> usize {
    match object.algorithm() {
        Some(CryptographicAlgorithm::TRIPLE_DES) => 8,
        _ => 16,
    }
}

/// True when a key for ChaCha20 is used with Poly1305, as far as its algorithm says: the request's, else its own.
fn is_poly1305(object: &Object, parameters: &Parameters) -> bool {
    parameters.cryptographic_algorithm.or(object.algorithm())
        == Some(CryptographicAlgorithm::CHACHA20POLY1305)
}

/// How long the IV of a mode is that the server makes, in bytes; `None` where there is none.
fn iv_len(key: Key<'_>, parameters: &Parameters) -> Option<usize> {
    match parameters.block_cipher_mode {
        _ if matches!(key, Key::ChaCha20(_)) => Some(12),
        Some(BlockCipherMode::GCM | BlockCipherMode::CCM) => Some(12),
        Some(BlockCipherMode::ECB) | None => None,
        _ if matches!(key, Key::TripleDes(_)) => Some(8),
        _ => Some(16),
    }
}

fn oaep<'a>(parameters: &Parameters, label: &'a [u8]) -> Outcome<Padding<'a>> {
    match parameters.padding_method {
        Some(PaddingMethod::OAEP) => {
            let hash = parameters
                .hashing_algorithm
                .map_or(Ok(Hash::Sha1), hash_of)?;
            let mgf = parameters
                .mask_generator_hashing_algorithm
                .map_or(Ok(Hash::Sha1), hash_of)?;
            Ok(Padding::Oaep { hash, mgf, label })
        }
        Some(PaddingMethod::PKCS1_V1_5) => Ok(Padding::Pkcs1),
        _ => Err(invalid("RSA wants OAEP or PKCS#1 padding")),
    }
}

/// A cipher at the beginning of its work.
fn cipher(
    engine: &Engine,
    direction: Direction,
    object: &Object,
    p: &Parameters,
    iv: &[u8],
    aad: &[u8],
) -> Outcome<Work> {
    let key = cipher_key(engine, object, p)?;
    let counter = (p.initial_counter_value.unwrap_or(0) as u32 as u64).to_le_bytes();
    let mode = mode(
        engine,
        object,
        key,
        p,
        Given {
            iv,
            aad,
            counter: &counter,
        },
    )?;
    let pads_here = matches!(mode, Mode::Ecb) && p.padding_method == Some(PaddingMethod::PKCS5);
    let pads = (pads_here && direction == Direction::Encrypt).then_some(block_len(object));
    let tag_len = match mode {
        Mode::Gcm { tag_len, .. } | Mode::Ccm { tag_len, .. } | Mode::Poly1305 { tag_len, .. } => {
            Some(tag_len)
        }
        _ => None,
    };
    let gathers =
        matches!(mode, Mode::Ccm { .. }) || (tag_len.is_some() && direction == Direction::Decrypt);
    let cipher = Box::new(Cipher::new(direction, key, mode).map_err(failure)?);
    Ok(Work::Cipher {
        cipher,
        gathers,
        tag_len,
        pads,
        taken: 0,
    })
}

/// RSA encrypts one short value: parts would be encrypted each for itself.
fn check_whole(of_several: bool) -> Outcome<()> {
    match of_several {
        false => Ok(()),
        true => Err(Refusal::item(
            ResultReason::FEATURE_NOT_SUPPORTED,
            "RSA encrypts and decrypts in one request",
        )),
    }
}

/// The Data of an answer: a part that gives none has no Data.
fn given_out(data: Vec<u8>, of_several: bool) -> Option<Vec<u8>> {
    (!of_several || !data.is_empty()).then_some(data)
}

/// Answers Encrypt.
pub fn encrypt(
    engine: &Engine,
    context: &mut Context,
    request: EncryptRequest,
) -> Outcome<EncryptResponse> {
    let part = Part {
        init: request.init_indicator,
        last: request.final_indicator,
        correlation: request.correlation_value,
    };
    let plain = part_data(request.data, &part)?;
    let of_several = part.is_of_several();
    let mut answer = EncryptResponse::default();
    // What is authenticated only is protected, too.
    let mut authenticated = 0;
    let mut stream = match engine.resume(context, OperationCode::ENCRYPT, &part)? {
        Some(stream) => stream,
        None => {
            let (uid, given) = (request.unique_identifier, request.cryptographic_parameters);
            let (object, parameters) = key(engine, context, OperationCode::ENCRYPT, uid, given)?;
            if let Value::Key(Material::Public(spki), _) = &object.value {
                check_whole(of_several)?;
                spend(engine, context, &object, plain.len(), true)?;
                let label = parameters.p_source.clone().unwrap_or_default();
                let public = PublicKey::from_spki(spki.expose()).map_err(failure)?;
                context.meter.charge(of_public(public.kind()))?;
                answer.data = Some(
                    public
                        .encrypt(oaep(&parameters, &label)?, plain.expose())
                        .map_err(failure)?,
                );
                answer.unique_identifier = context.about(&object);
                return Ok(answer);
            }
            if request.iv_counter_nonce.is_none() {
                let len = iv_len(cipher_key(engine, &object, &parameters)?, &parameters);
                answer.iv_counter_nonce = len
                    .map(|len| rng::bytes(len).map(|iv| iv.expose().to_vec()))
                    .transpose()?;
            }
            let iv = request
                .iv_counter_nonce
                .as_ref()
                .or(answer.iv_counter_nonce.as_ref())
                .cloned()
                .unwrap_or_default();
            let aad = request.additional_data.unwrap_or_default();
            authenticated = aad.len();
            let work = cipher(engine, Direction::Encrypt, &object, &parameters, &iv, &aad)?;
            Stream::new(OperationCode::ENCRYPT, Some((object, parameters)), work)
        }
    };
    stream.spend(engine, context, plain.len() + authenticated, &part)?;
    answer.unique_identifier = stream.uid(context);
    let mut out = stream.work.update(plain.expose())?;
    if part.is_last() {
        let tag_len = match stream.work {
            Work::Cipher {
                tag_len: Some(len), ..
            } if context.version >= Version::V1_4 => Some(len),
            _ => None,
        };
        out.extend(stream.work.finish()?);
        // Before 1.4 there is no field for the tag: it stays behind the ciphertext.
        answer.authentication_tag = tag_len.map(|len| out.split_off(out.len().saturating_sub(len)));
    } else {
        answer.correlation_value = engine.suspend(context, stream, part)?;
    }
    answer.data = given_out(out, of_several);
    Ok(answer)
}

/// Answers Decrypt.
pub fn decrypt(
    engine: &Engine,
    context: &mut Context,
    request: DecryptRequest,
) -> Outcome<DecryptResponse> {
    let part = Part {
        init: request.init_indicator,
        last: request.final_indicator,
        correlation: request.correlation_value,
    };
    let text = part_data(request.data, &part)?;
    let of_several = part.is_of_several();
    let mut stream = match engine.resume(context, OperationCode::DECRYPT, &part)? {
        Some(stream) => stream,
        None => {
            let (uid, given) = (request.unique_identifier, request.cryptographic_parameters);
            let (object, parameters) = key(engine, context, OperationCode::DECRYPT, uid, given)?;
            if let Some(private) = object.private_key() {
                check_whole(of_several)?;
                let private = private.map_err(failure)?;
                let label = parameters.p_source.clone().unwrap_or_default();
                context.meter.charge(of_private(private.kind()))?;
                let plain = private
                    .decrypt(oaep(&parameters, &label)?, &text)
                    .map_err(failure)?;
                let unique_identifier = context.about(&object);
                return Ok(DecryptResponse {
                    unique_identifier,
                    data: Some(plain),
                    correlation_value: None,
                });
            }
            if request.iv_counter_nonce.is_none()
                && iv_len(cipher_key(engine, &object, &parameters)?, &parameters).is_some()
            {
                let new = ResultReason::MISSING_INITIALIZATION_VECTOR;
                let reason = reason(context.version, ResultReason::INVALID_MESSAGE, new);
                return Err(Refusal::item(reason, "IV/Counter/Nonce is missing"));
            }
            let (iv, aad) = (
                request.iv_counter_nonce.unwrap_or_default(),
                request.additional_data.unwrap_or_default(),
            );
            let work = cipher(engine, Direction::Decrypt, &object, &parameters, &iv, &aad)?;
            Stream::new(OperationCode::DECRYPT, Some((object, parameters)), work)
        }
    };
    let unique_identifier = stream.uid(context);
    let padded = |stream: &Stream| {
        stream.parameters.block_cipher_mode == Some(BlockCipherMode::ECB)
            && stream.parameters.padding_method == Some(PaddingMethod::PKCS5)
    };
    // Whichever part brings the tag, it stands behind the last.
    stream.expected = request.authentication_tag.or(stream.expected);
    let mut plain = stream.work.update(&text)?;
    if !part.is_last() {
        if padded(&stream) {
            return Err(invalid("padded ECB is decrypted in one request"));
        }
        let correlation_value = engine.suspend(context, stream, part)?;
        return Ok(DecryptResponse {
            unique_identifier,
            data: given_out(plain, of_several).map(Secret::new),
            correlation_value,
        });
    }
    let padded = padded(&stream);
    plain.extend(
        stream
            .work
            .update(stream.expected.as_deref().unwrap_or_default())?,
    );
    plain.extend(stream.work.finish()?);
    if padded {
        let block = stream.object.as_deref().map_or(16, block_len);
        let padding = plain
            .len()
            .checked_sub(block)
            .and_then(|last| padding_len(&plain[last..]))
            .ok_or_else(|| failure(CKR_ENCRYPTED_DATA_INVALID.into()))?;
        plain.truncate(plain.len() - padding);
    }
    Ok(DecryptResponse {
        unique_identifier,
        data: given_out(plain, of_several).map(Secret::new),
        correlation_value: None,
    })
}
