//! Operations with keys that stay on the server.

use mrhsm_pkcs11::crypto::cipher::{Cipher, Direction, Key, Mode};
use mrhsm_pkcs11::crypto::hash::digest;
use mrhsm_pkcs11::crypto::mac::{cmac, hmac};
use mrhsm_pkcs11::crypto::pkey::{self, Kind, Padding, PrivateKey, PublicKey, Scheme};
use mrhsm_pkcs11::crypto::{Curve, Hash, rng};
use mrhsm_pkcs11::error::Error;
use mrhsm_pkcs11::kmip::*;
use mrhsm_pkcs11::secret::Secret;
use mrhsm_pkcs11::version::Version;

use super::engine::{Context, Engine};
use super::keys::{Material, hash, invalid};
use super::lifecycle::active;
use super::objects::{Object, Outcome, Refusal, Value};

type Parameters = CryptographicParameters;

fn failure(error: Error) -> Refusal {
    Refusal::item(ResultReason::CRYPTOGRAPHIC_FAILURE, error.to_string())
}

/// The key a request is about, when it may be used so, and the parameters that hold for it.
fn key<'a>(
    engine: &'a Engine,
    uid: &str,
    mask: CryptographicUsageMask,
    protect: bool,
    given: Option<Parameters>,
) -> Outcome<(&'a Object, Parameters)> {
    let object = engine.objects.get(uid)?;
    object.allow(mask)?;
    active(object, protect || !engine.personality.deactivated_decrypts)?;
    let parameters = given.or_else(|| object.attributes.cryptographic_parameters().cloned()).unwrap_or_default();
    Ok((object, parameters))
}

fn no_streaming(init: Option<bool>, last: Option<bool>, correlation: &Option<Vec<u8>>) -> Outcome<()> {
    if init.is_some() || last.is_some() || correlation.is_some() {
        return Err(Refusal::Message(ResultReason::INVALID_MESSAGE, "streaming is not supported".into()));
    }
    Ok(())
}

fn data<T>(data: Option<T>) -> Outcome<T> {
    data.ok_or_else(|| Refusal::Message(ResultReason::INVALID_MESSAGE, "no Data".into()))
}

fn symmetric(object: &Object) -> Outcome<&[u8]> {
    match &object.value {
        Value::Key(Material::Symmetric(bytes), _) => Ok(bytes),
        _ => Err(invalid("not a symmetric key")),
    }
}

/// The mode that parameters ask for; `iv` and `aad` are the request's.
fn mode<'a>(engine: &Engine, parameters: &Parameters, iv: &'a [u8], aad: &'a [u8]) -> Outcome<Mode<'a>> {
    let padding = parameters.padding_method;
    let unsupported = |text: &str| Err(invalid(text));
    let padded = match padding {
        Some(PaddingMethod::PKCS5) => true,
        Some(PaddingMethod::NONE) if engine.personality.padding_none => false,
        None if engine.personality.padding_none => parameters.block_cipher_mode == Some(BlockCipherMode::CBC),
        Some(PaddingMethod::NONE) | None => match parameters.block_cipher_mode {
            Some(BlockCipherMode::ECB | BlockCipherMode::CBC) => return unsupported("a padding method is required"),
            _ => false,
        },
        Some(other) => return Err(invalid(format!("{other} is not supported"))),
    };
    match parameters.block_cipher_mode {
        Some(BlockCipherMode::ECB) => Ok(Mode::Ecb),
        Some(BlockCipherMode::CBC) if padded => Ok(Mode::CbcPad { iv }),
        Some(BlockCipherMode::CBC) => Ok(Mode::Cbc { iv }),
        Some(BlockCipherMode::CTR) if engine.personality.counter_mode => Ok(Mode::Ctr { counter: iv, bits: 128 }),
        Some(BlockCipherMode::GCM) => {
            let tag_len = match parameters.tag_length {
                Some(len) => len.max(0) as usize,
                None if engine.personality.wants_algorithm => return unsupported("Tag Length is required"),
                None => 16,
            };
            Ok(Mode::Gcm { iv, aad, tag_len })
        }
        Some(other) => Err(invalid(format!("{other} is not supported"))),
        None => unsupported("no Block Cipher Mode"),
    }
}

fn cipher_key<'a>(engine: &Engine, object: &'a Object, parameters: &Parameters) -> Outcome<Key<'a>> {
    let algorithm = parameters.cryptographic_algorithm;
    if algorithm.is_none() && engine.personality.wants_algorithm {
        return Err(invalid("Cryptographic Algorithm is required"));
    }
    let bytes = symmetric(object)?;
    match (algorithm.or(object.algorithm()), object.algorithm()) {
        (Some(CryptographicAlgorithm::AES), Some(CryptographicAlgorithm::AES)) => Ok(Key::Aes(bytes)),
        (Some(CryptographicAlgorithm::TRIPLE_DES), Some(CryptographicAlgorithm::TRIPLE_DES)) => Ok(Key::TripleDes(bytes)),
        _ => Err(invalid("the key is not of this algorithm, or does not encrypt")),
    }
}

/// The IV of a request, or a fresh one, which is then part of the answer.
fn own_iv(parameters: &Parameters, block: usize) -> Option<Vec<u8>> {
    let len = match parameters.block_cipher_mode {
        Some(BlockCipherMode::GCM) => 12,
        Some(BlockCipherMode::ECB) | None => return None,
        _ => block,
    };
    Some(rng::bytes(len).ok()?.expose().to_vec())
}

fn oaep<'a>(parameters: &Parameters, label: &'a [u8]) -> Outcome<Padding<'a>> {
    match parameters.padding_method {
        Some(PaddingMethod::OAEP) => {
            let hash_of = parameters.hashing_algorithm.map_or(Ok(Hash::Sha1), hash)?;
            let mgf = parameters.mask_generator_hashing_algorithm.map_or(Ok(Hash::Sha1), hash)?;
            Ok(Padding::Oaep { hash: hash_of, mgf, label })
        }
        Some(PaddingMethod::PKCS1_V1_5) => Ok(Padding::Pkcs1),
        _ => Err(invalid("RSA wants OAEP or PKCS#1 padding")),
    }
}

pub fn encrypt(engine: &mut Engine, context: &mut Context, request: EncryptRequest) -> Outcome<EncryptResponse> {
    no_streaming(request.init_indicator, request.final_indicator, &request.correlation_value)?;
    let uid = engine.resolve(context, request.unique_identifier)?;
    let (object, parameters) = key(engine, &uid, CryptographicUsageMask::ENCRYPT, true, request.cryptographic_parameters)?;
    let plain = data(request.data)?;
    let mut answer = EncryptResponse { unique_identifier: uid.clone(), ..EncryptResponse::default() };
    if let Value::Key(Material::Public(spki), _) = &object.value {
        let label = parameters.p_source.clone().unwrap_or_default();
        let public = PublicKey::from_spki(spki).map_err(failure)?;
        answer.data = Some(public.encrypt(oaep(&parameters, &label)?, plain.expose()).map_err(failure)?);
    } else {
        let cipher_key = cipher_key(engine, object, &parameters)?;
        let block = if matches!(cipher_key, Key::TripleDes(_)) { 8 } else { 16 };
        let made = if request.iv_counter_nonce.is_none() { own_iv(&parameters, block) } else { None };
        let iv = request.iv_counter_nonce.or(made.clone()).unwrap_or_default();
        let aad = request.additional_data.unwrap_or_default();
        let mode = mode(engine, &parameters, &iv, &aad)?;
        let mut text = plain.expose().to_vec();
        if matches!(mode, Mode::Ecb) && parameters.padding_method == Some(PaddingMethod::PKCS5) {
            let padding = block - text.len() % block;
            text.resize(text.len() + padding, padding as u8);
        }
        let cipher = Cipher::new(Direction::Encrypt, cipher_key, mode).map_err(failure)?;
        let mut out = cipher.run(&text).map_err(failure)?;
        if let Mode::Gcm { tag_len, .. } = mode
            && context.version >= Version::V1_4
        {
            answer.authentication_tag = Some(out.split_off(out.len() - tag_len));
        }
        answer.iv_counter_nonce = made;
        answer.data = Some(out);
    }
    context.placeholder = Some(uid);
    Ok(answer)
}

pub fn decrypt(engine: &mut Engine, context: &mut Context, request: DecryptRequest) -> Outcome<DecryptResponse> {
    no_streaming(request.init_indicator, request.final_indicator, &request.correlation_value)?;
    let uid = engine.resolve(context, request.unique_identifier)?;
    let (object, parameters) = key(engine, &uid, CryptographicUsageMask::DECRYPT, false, request.cryptographic_parameters)?;
    let mut text = data(request.data)?;
    let plain = if let Value::Key(Material::Private(pkcs8), _) = &object.value {
        let label = parameters.p_source.clone().unwrap_or_default();
        let private = PrivateKey::from_pkcs8(pkcs8).map_err(failure)?;
        private.decrypt(oaep(&parameters, &label)?, &text).map_err(failure)?
    } else {
        let cipher_key = cipher_key(engine, object, &parameters)?;
        let (iv, aad) = (request.iv_counter_nonce.unwrap_or_default(), request.additional_data.unwrap_or_default());
        let mode = mode(engine, &parameters, &iv, &aad)?;
        text.extend(request.authentication_tag.unwrap_or_default());
        let cipher = Cipher::new(Direction::Decrypt, cipher_key, mode).map_err(failure)?;
        let mut plain = cipher.run(&text).map_err(failure)?;
        if matches!(mode, Mode::Ecb) && parameters.padding_method == Some(PaddingMethod::PKCS5) {
            let padding = plain.last().copied().unwrap_or(0) as usize;
            let len = plain.len().checked_sub(padding).filter(|_| (1..=16).contains(&padding));
            plain.truncate(len.ok_or_else(|| Refusal::item(ResultReason::CRYPTOGRAPHIC_FAILURE, "wrong padding"))?);
        }
        Secret::new(plain)
    };
    context.placeholder = Some(uid.clone());
    Ok(DecryptResponse { unique_identifier: uid, data: Some(plain), correlation_value: None })
}

/// How to sign, and what: the digest of the data or, for Ed25519, the data.
fn signing(engine: &Engine, kind: Kind, p: &Parameters, message: &Message) -> Outcome<(Scheme, Vec<u8>)> {
    use DigitalSignatureAlgorithm as Dsa;
    let by_algorithm = match p.digital_signature_algorithm {
        Some(Dsa::SHA_1_WITH_RSA_ENCRYPTION | Dsa::ECDSA_WITH_SHA_1) => Some(Hash::Sha1),
        Some(Dsa::SHA_224_WITH_RSA_ENCRYPTION | Dsa::ECDSA_WITH_SHA224) => Some(Hash::Sha224),
        Some(Dsa::SHA_256_WITH_RSA_ENCRYPTION | Dsa::ECDSA_WITH_SHA256) => Some(Hash::Sha256),
        Some(Dsa::SHA_384_WITH_RSA_ENCRYPTION | Dsa::ECDSA_WITH_SHA384) => Some(Hash::Sha384),
        Some(Dsa::SHA_512_WITH_RSA_ENCRYPTION | Dsa::ECDSA_WITH_SHA512) => Some(Hash::Sha512),
        _ => None,
    };
    let named = p.hashing_algorithm.map(hash).transpose()?;
    let digested = |hash: Hash| match message {
        Message::Data(data) => digest(hash, data.expose()).map_err(failure),
        Message::Digest(value) => Ok(value.clone()),
    };
    match kind {
        Kind::Ec(Curve::Ed25519) => match message {
            Message::Data(data) => Ok((Scheme::EdDsa, data.expose().to_vec())),
            Message::Digest(_) => Err(invalid("EdDSA signs data")),
        },
        Kind::Ec(_) => {
            let hash = by_algorithm.or(named).unwrap_or(Hash::Sha256);
            Ok((Scheme::Ecdsa, digested(hash)?))
        }
        Kind::Rsa { .. } => {
            let hash_of = by_algorithm.or(named).ok_or_else(|| invalid("no Hashing Algorithm"))?;
            let pss = match (p.digital_signature_algorithm, p.padding_method) {
                (Some(Dsa::RSASSA_PSS), _) => true,
                (Some(_), _) => false,
                (None, _) if engine.personality.pss_by_default => true,
                (None, Some(PaddingMethod::PSS)) => true,
                (None, Some(PaddingMethod::PKCS1_V1_5)) => false,
                (None, _) => return Err(invalid("a padding method is required")),
            };
            let scheme = if pss {
                let mgf = p.mask_generator_hashing_algorithm.map_or(Ok(hash_of), hash)?;
                let salt_len = p.salt_length.map_or(hash_of.output_len(), |len| len.max(0) as usize);
                Scheme::RsaPss { hash: hash_of, mgf, salt_len }
            } else {
                Scheme::RsaPkcs1(hash_of)
            };
            Ok((scheme, digested(hash_of)?))
        }
    }
}

/// What is signed.
enum Message {
    Data(Secret),
    Digest(Vec<u8>),
}

fn message(engine: &Engine, data: Option<Secret>, digested: Option<Vec<u8>>) -> Outcome<Message> {
    match (data, digested) {
        (Some(data), None) => Ok(Message::Data(data)),
        (None, Some(digest)) if engine.personality.digested_data => Ok(Message::Digest(digest)),
        _ => Err(Refusal::Message(ResultReason::INVALID_MESSAGE, "Data or Digested Data".into())),
    }
}

pub fn sign(engine: &mut Engine, context: &mut Context, request: SignRequest) -> Outcome<SignResponse> {
    no_streaming(request.init_indicator, request.final_indicator, &request.correlation_value)?;
    let uid = engine.resolve(context, request.unique_identifier)?;
    let message = message(engine, request.data, request.digested_data)?;
    let (object, parameters) = key(engine, &uid, CryptographicUsageMask::SIGN, true, request.cryptographic_parameters)?;
    let Value::Key(Material::Private(pkcs8), _) = &object.value else { return Err(invalid("not a private key")) };
    let private = PrivateKey::from_pkcs8(pkcs8).map_err(failure)?;
    let (scheme, value) = signing(engine, private.kind(), &parameters, &message)?;
    let mut signature = private.sign(scheme, &value).map_err(failure)?;
    if scheme == Scheme::Ecdsa {
        signature = pkey::ecdsa_to_der(&signature).map_err(failure)?;
    }
    context.placeholder = Some(uid.clone());
    Ok(SignResponse { unique_identifier: uid, signature_data: Some(signature), correlation_value: None })
}

pub fn verify(engine: &mut Engine, context: &mut Context, request: SignatureVerifyRequest) -> Outcome<SignatureVerifyResponse> {
    no_streaming(request.init_indicator, request.final_indicator, &request.correlation_value)?;
    let uid = engine.resolve(context, request.unique_identifier)?;
    let message = message(engine, request.data, request.digested_data)?;
    let (object, parameters) = key(engine, &uid, CryptographicUsageMask::VERIFY, false, request.cryptographic_parameters)?;
    let Value::Key(Material::Public(spki), _) = &object.value else { return Err(invalid("not a public key")) };
    let public = PublicKey::from_spki(spki).map_err(failure)?;
    let (scheme, value) = signing(engine, public.kind(), &parameters, &message)?;
    let mut signature = data(request.signature_data)?;
    if let (Scheme::Ecdsa, Kind::Ec(curve)) = (scheme, public.kind()) {
        signature = pkey::ecdsa_from_der(curve, &signature).unwrap_or_default();
    }
    let valid = public.verify(scheme, &value, &signature).is_ok();
    context.placeholder = Some(uid.clone());
    Ok(SignatureVerifyResponse {
        unique_identifier: uid,
        validity_indicator: Some(if valid { ValidityIndicator::VALID } else { ValidityIndicator::INVALID }),
        ..SignatureVerifyResponse::default()
    })
}

/// The MAC of `data` under a key.
fn code(object: &Object, parameters: &Parameters, data: &[u8]) -> Outcome<Vec<u8>> {
    use CryptographicAlgorithm as Alg;
    let bytes = symmetric(object)?;
    let algorithm = parameters.cryptographic_algorithm.or(object.algorithm());
    if object.algorithm() == Some(Alg::AES) && parameters.hashing_algorithm.is_none() {
        return cmac(Key::Aes(bytes), data).map_err(failure);
    }
    let named = match algorithm {
        Some(Alg::HMAC_SHA1) => Hash::Sha1,
        Some(Alg::HMAC_SHA224) => Hash::Sha224,
        Some(Alg::HMAC_SHA256) => Hash::Sha256,
        Some(Alg::HMAC_SHA384) => Hash::Sha384,
        Some(Alg::HMAC_SHA512) => Hash::Sha512,
        _ => hash(parameters.hashing_algorithm.ok_or_else(|| invalid("no Hashing Algorithm"))?)?,
    };
    hmac(named, bytes, data).map_err(failure)
}

pub fn mac(engine: &mut Engine, context: &mut Context, request: MacRequest) -> Outcome<MacResponse> {
    no_streaming(request.init_indicator, request.final_indicator, &request.correlation_value)?;
    let uid = engine.resolve(context, request.unique_identifier)?;
    let mask = CryptographicUsageMask::MAC_GENERATE;
    let (object, parameters) = key(engine, &uid, mask, true, request.cryptographic_parameters)?;
    let mac_data = Some(code(object, &parameters, data(request.data)?.expose())?);
    context.placeholder = Some(uid.clone());
    Ok(MacResponse { unique_identifier: uid, mac_data, correlation_value: None })
}

pub fn mac_verify(engine: &mut Engine, context: &mut Context, request: MacVerifyRequest) -> Outcome<MacVerifyResponse> {
    no_streaming(request.init_indicator, request.final_indicator, &request.correlation_value)?;
    let uid = engine.resolve(context, request.unique_identifier)?;
    let mask = CryptographicUsageMask::MAC_VERIFY;
    let (object, parameters) = key(engine, &uid, mask, false, request.cryptographic_parameters)?;
    let right = code(object, &parameters, data(request.data)?.expose())? == data(request.mac_data)?;
    context.placeholder = Some(uid.clone());
    Ok(MacVerifyResponse {
        unique_identifier: uid,
        validity_indicator: Some(if right { ValidityIndicator::VALID } else { ValidityIndicator::INVALID }),
        correlation_value: None,
    })
}

pub fn random(request: RngRetrieveRequest) -> Outcome<RngRetrieveResponse> {
    let len = usize::try_from(request.data_length).ok().filter(|len| *len <= 1 << 16);
    let len = len.ok_or_else(|| invalid("as many bytes as that?"))?;
    rng::bytes(len).map(|data| RngRetrieveResponse { data }).map_err(failure)
}
