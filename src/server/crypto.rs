//! Operations with keys that stay on the server, whole or in parts over several requests (spec 1.4, 4.29 to 4.37).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::engine::{Context, Engine};
use super::keys::{Material, hash_of, invalid};
use super::life::Purpose;
use super::lifecycle::spend;
use super::objects::{Object, Outcome, Refusal, Value, now};
use crate::crypto::cipher::{Cipher, Direction, Key, Mode};
use crate::crypto::hash::{Digest, digest};
use crate::crypto::mac::Mac;
use crate::crypto::pkey::{self, Kind, Padding, PrivateKey, PublicKey, Scheme};
use crate::crypto::{Curve, Hash, rng};
use crate::error::Error;
use crate::kmip::*;
use crate::secret::Secret;
use crate::version::Version;

type Parameters = CryptographicParameters;

/// How many operations may go on over several requests at once.
const STREAMS: usize = 256;
/// How long such an operation waits for its next part when others want its place.
const PATIENCE: Duration = Duration::from_secs(300);
/// How much data waits at most for the end of an operation that needs all of it, in bytes.
const MOST_WAITING: usize = 64 << 20;

/// A cryptographic operation did not succeed with this key and data.
fn failure(error: Error) -> Refusal {
    Refusal::item(ResultReason::CRYPTOGRAPHIC_FAILURE, error.to_string())
}

/// The key a request is about, when it may be used so, and the parameters that hold for it.
fn key(
    engine: &Engine,
    context: &Context,
    uid: Option<UniqueIdentifier>,
    mask: CryptographicUsageMask,
    purpose: Purpose,
    given: Option<Parameters>,
) -> Outcome<(Arc<Object>, Parameters)> {
    let object = engine.resolve(context, uid)?;
    object.allow(mask)?;
    object.dates.allow(purpose, engine.personality.deactivated_decrypts, now())?;
    let parameters = given.or_else(|| object.attributes.cryptographic_parameters().cloned()).unwrap_or_default();
    Ok((object, parameters))
}

/// The operations that go on over several requests.
#[derive(Default)]
pub struct Streams(Mutex<HashMap<Vec<u8>, Stream>>);

/// One of them.
struct Stream {
    operation: OperationCode,
    caller: String,
    /// The key; hashing has none.
    object: Option<Arc<Object>>,
    parameters: Parameters,
    work: Work,
    used: Instant,
}

/// What is at work.
enum Work {
    /// A cipher; the length of its tag where it has one, and the block that the last part is padded to.
    Cipher { cipher: Box<Cipher>, tag_len: Option<usize>, pads: Option<usize>, taken: usize },
    /// A hash.
    Digest(Digest),
    /// A MAC.
    Mac(Box<Mac>),
    /// Data that is needed whole.
    Gather(Vec<Secret>),
}

impl Work {
    fn update(&mut self, data: &[u8]) -> Outcome<Vec<u8>> {
        match self {
            Work::Cipher { cipher, taken, .. } => {
                *taken += data.len();
                return cipher.update(data).map_err(failure);
            }
            Work::Digest(digest) => digest.update(data).map_err(failure)?,
            Work::Mac(mac) => mac.update(data).map_err(failure)?,
            Work::Gather(parts) => {
                if parts.iter().map(Secret::len).sum::<usize>() + data.len() > MOST_WAITING {
                    return Err(invalid("so much data cannot wait for its end"));
                }
                parts.push(Secret::new(data.to_vec()));
            }
        }
        Ok(Vec::new())
    }

    fn finish(self) -> Outcome<Vec<u8>> {
        match self {
            Work::Cipher { mut cipher, pads: Some(block), taken, .. } => {
                let padding = block - taken % block;
                let mut out = cipher.update(&vec![padding as u8; padding]).map_err(failure)?;
                out.extend(cipher.finish().map_err(failure)?);
                Ok(out)
            }
            Work::Cipher { cipher, .. } => cipher.finish().map_err(failure),
            Work::Digest(digest) => digest.finish().map_err(failure),
            Work::Mac(mac) => mac.finish().map_err(failure),
            Work::Gather(parts) => Ok(parts.iter().flat_map(|part| part.expose().iter().copied()).collect()),
        }
    }
}

/// Where a request stands in an operation.
struct Part {
    init: Option<bool>,
    last: Option<bool>,
    correlation: Option<Vec<u8>>,
}

impl Part {
    /// True when nothing follows.
    fn is_last(&self) -> bool {
        match (&self.correlation, self.init) {
            (None, None | Some(false)) => true,
            _ => self.last == Some(true),
        }
    }
}

impl Engine {
    /// The operation that a part goes on with; `None` when it begins one.
    fn resume(&self, context: &Context, operation: OperationCode, part: &Part) -> Outcome<Option<Stream>> {
        let streams = part.init.is_some() || part.last.is_some() || part.correlation.is_some();
        if streams && !self.personality.streams {
            return Err(Refusal::message("streaming is not supported"));
        }
        let Some(correlation) = &part.correlation else {
            return match (part.init, part.last) {
                (Some(true), _) | (None | Some(false), None | Some(false)) => Ok(None),
                (_, Some(true)) => Err(invalid("the last part of what?")),
            };
        };
        if part.init == Some(true) {
            return Err(invalid("Init Indicator and Correlation Value contradict each other"));
        }
        let mut streams = self.streams.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |stream: &Stream| stream.operation == operation && stream.caller == context.caller.name;
        match streams.get(correlation).is_some_and(same) {
            true => Ok(streams.remove(correlation)),
            false => Err(invalid("no operation goes on under this Correlation Value")),
        }
    }

    /// Keeps an operation for its next part.
    fn suspend(&self, mut stream: Stream, part: Part) -> Outcome<Option<Vec<u8>>> {
        let mut streams = self.streams.0.lock().unwrap_or_else(PoisonError::into_inner);
        if streams.len() >= STREAMS {
            streams.retain(|_, other| other.used.elapsed() < PATIENCE);
        }
        if streams.len() >= STREAMS {
            return Err(Refusal::item(ResultReason::PERMISSION_DENIED, "too many operations go on: end one"));
        }
        let correlation = match part.correlation {
            Some(correlation) => correlation,
            None => rng::bytes(16)?.expose().to_vec(),
        };
        stream.used = Instant::now();
        streams.insert(correlation.clone(), stream);
        Ok(Some(correlation))
    }
}

impl Stream {
    fn new(context: &Context, operation: OperationCode, key: Option<(Arc<Object>, Parameters)>, work: Work) -> Stream {
        let caller = context.caller.name.clone();
        let (object, parameters) = key.map_or((None, Parameters::default()), |(object, parameters)| (Some(object), parameters));
        Stream { operation, caller, object, parameters, work, used: Instant::now() }
    }

    /// Counts the use of a key that protects data.
    fn spend(&self, engine: &Engine, context: &Context, bytes: usize, part: &Part) -> Outcome<()> {
        match &self.object {
            Some(object) => spend(engine, context, object, bytes, part.correlation.is_none()),
            None => Ok(()),
        }
    }

    fn uid(&self, context: &mut Context) -> String {
        self.object.as_ref().map_or_else(String::new, |object| context.about(object))
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

/// The mode that parameters ask for; `iv` and `aad` are the request's.
fn mode<'a>(engine: &Engine, key: Key<'_>, parameters: &Parameters, iv: &'a [u8], aad: &'a [u8]) -> Outcome<Mode<'a>> {
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
    let tag_len = || match parameters.tag_length {
        Some(len) => Ok(len.max(0) as usize),
        None if engine.personality.wants_algorithm => Err(invalid("Tag Length is required")),
        None => Ok(16),
    };
    if matches!(key, Key::ChaCha20(_)) {
        return Ok(Mode::Poly1305 { nonce: iv, aad });
    }
    match parameters.block_cipher_mode {
        Some(BlockCipherMode::ECB) => Ok(Mode::Ecb),
        Some(BlockCipherMode::CBC) if padded => Ok(Mode::CbcPad { iv }),
        Some(BlockCipherMode::CBC) => Ok(Mode::Cbc { iv }),
        Some(BlockCipherMode::CTR) if engine.personality.counter_mode => Ok(Mode::Ctr { counter: iv, bits: 128 }),
        Some(BlockCipherMode::GCM) => Ok(Mode::Gcm { iv, aad, tag_len: tag_len()? }),
        Some(BlockCipherMode::CCM) => Ok(Mode::Ccm { nonce: iv, aad, tag_len: tag_len()? }),
        Some(BlockCipherMode::OFB) => Ok(Mode::Ofb { iv }),
        Some(BlockCipherMode::CFB) => Ok(Mode::Cfb128 { iv }),
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
        (
            Some(CryptographicAlgorithm::CHACHA20POLY1305 | CryptographicAlgorithm::CHACHA20),
            Some(CryptographicAlgorithm::CHACHA20POLY1305 | CryptographicAlgorithm::CHACHA20),
        ) => Ok(Key::ChaCha20(bytes)),
        _ => Err(invalid("the key is not of this algorithm, or does not encrypt")),
    }
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
            let hash = parameters.hashing_algorithm.map_or(Ok(Hash::Sha1), hash_of)?;
            let mgf = parameters.mask_generator_hashing_algorithm.map_or(Ok(Hash::Sha1), hash_of)?;
            Ok(Padding::Oaep { hash, mgf, label })
        }
        Some(PaddingMethod::PKCS1_V1_5) => Ok(Padding::Pkcs1),
        _ => Err(invalid("RSA wants OAEP or PKCS#1 padding")),
    }
}

/// A cipher at the beginning of its work.
fn cipher(engine: &Engine, direction: Direction, object: &Object, p: &Parameters, iv: &[u8], aad: &[u8]) -> Outcome<Work> {
    let key = cipher_key(engine, object, p)?;
    let mode = mode(engine, key, p, iv, aad)?;
    let pads_here = matches!(mode, Mode::Ecb) && p.padding_method == Some(PaddingMethod::PKCS5);
    let block = if matches!(key, Key::TripleDes(_)) { 8 } else { 16 };
    let pads = (pads_here && direction == Direction::Encrypt).then_some(block);
    let tag_len = match mode {
        Mode::Gcm { tag_len, .. } | Mode::Ccm { tag_len, .. } => Some(tag_len),
        Mode::Poly1305 { .. } => Some(16),
        _ => None,
    };
    let cipher = Box::new(Cipher::new(direction, key, mode).map_err(failure)?);
    Ok(Work::Cipher { cipher, tag_len, pads, taken: 0 })
}

/// Answers Encrypt.
pub fn encrypt(engine: &Engine, context: &mut Context, request: EncryptRequest) -> Outcome<EncryptResponse> {
    let part = Part { init: request.init_indicator, last: request.final_indicator, correlation: request.correlation_value };
    let plain = data(request.data)?;
    let mut answer = EncryptResponse::default();
    let mut stream = match engine.resume(context, OperationCode::ENCRYPT, &part)? {
        Some(stream) => stream,
        None => {
            let (uid, given) = (request.unique_identifier, request.cryptographic_parameters);
            let (object, parameters) = key(engine, context, uid, CryptographicUsageMask::ENCRYPT, Purpose::Protect, given)?;
            if let Value::Key(Material::Public(spki), _) = &object.value {
                spend(engine, context, &object, plain.len(), true)?;
                let label = parameters.p_source.clone().unwrap_or_default();
                let public = PublicKey::from_spki(spki.expose()).map_err(failure)?;
                answer.data = Some(public.encrypt(oaep(&parameters, &label)?, plain.expose()).map_err(failure)?);
                answer.unique_identifier = context.about(&object);
                return Ok(answer);
            }
            if request.iv_counter_nonce.is_none() {
                let len = iv_len(cipher_key(engine, &object, &parameters)?, &parameters);
                answer.iv_counter_nonce = len.map(|len| rng::bytes(len).map(|iv| iv.expose().to_vec())).transpose()?;
            }
            let iv = request.iv_counter_nonce.as_ref().or(answer.iv_counter_nonce.as_ref()).cloned().unwrap_or_default();
            let aad = request.additional_data.unwrap_or_default();
            let work = cipher(engine, Direction::Encrypt, &object, &parameters, &iv, &aad)?;
            Stream::new(context, OperationCode::ENCRYPT, Some((object, parameters)), work)
        }
    };
    stream.spend(engine, context, plain.len(), &part)?;
    answer.unique_identifier = stream.uid(context);
    let mut out = stream.work.update(plain.expose())?;
    if part.is_last() {
        let tag_len = match stream.work {
            Work::Cipher { tag_len: Some(len), .. } if context.version >= Version::V1_4 => Some(len),
            _ => None,
        };
        out.extend(stream.work.finish()?);
        // Before 1.4 there is no field for the tag: it stays behind the ciphertext.
        answer.authentication_tag = tag_len.map(|len| out.split_off(out.len().saturating_sub(len)));
    } else {
        answer.correlation_value = engine.suspend(stream, part)?;
    }
    answer.data = Some(out);
    Ok(answer)
}

/// Answers Decrypt.
pub fn decrypt(engine: &Engine, context: &mut Context, request: DecryptRequest) -> Outcome<DecryptResponse> {
    let part = Part { init: request.init_indicator, last: request.final_indicator, correlation: request.correlation_value };
    let text = data(request.data)?;
    let mut stream = match engine.resume(context, OperationCode::DECRYPT, &part)? {
        Some(stream) => stream,
        None => {
            let (uid, given) = (request.unique_identifier, request.cryptographic_parameters);
            let (object, parameters) = key(engine, context, uid, CryptographicUsageMask::DECRYPT, Purpose::Process, given)?;
            if let Value::Key(Material::Private(pkcs8), _) = &object.value {
                let label = parameters.p_source.clone().unwrap_or_default();
                let private = PrivateKey::from_pkcs8(pkcs8.expose()).map_err(failure)?;
                let plain = private.decrypt(oaep(&parameters, &label)?, &text).map_err(failure)?;
                let unique_identifier = context.about(&object);
                return Ok(DecryptResponse { unique_identifier, data: Some(plain), correlation_value: None });
            }
            if request.iv_counter_nonce.is_none() && iv_len(cipher_key(engine, &object, &parameters)?, &parameters).is_some() {
                let reason = match context.version.typed_attributes() {
                    true => ResultReason::MISSING_INITIALIZATION_VECTOR,
                    false => ResultReason::INVALID_MESSAGE,
                };
                return Err(Refusal::item(reason, "IV/Counter/Nonce is missing"));
            }
            let (iv, aad) = (request.iv_counter_nonce.unwrap_or_default(), request.additional_data.unwrap_or_default());
            let work = cipher(engine, Direction::Decrypt, &object, &parameters, &iv, &aad)?;
            Stream::new(context, OperationCode::DECRYPT, Some((object, parameters)), work)
        }
    };
    let unique_identifier = stream.uid(context);
    let padded = |stream: &Stream| {
        stream.parameters.block_cipher_mode == Some(BlockCipherMode::ECB)
            && stream.parameters.padding_method == Some(PaddingMethod::PKCS5)
    };
    let mut plain = stream.work.update(&text)?;
    if let Some(tag) = request.authentication_tag {
        plain.extend(stream.work.update(&tag)?);
    }
    if !part.is_last() {
        if padded(&stream) {
            return Err(invalid("padded ECB is decrypted in one request"));
        }
        let correlation_value = engine.suspend(stream, part)?;
        return Ok(DecryptResponse { unique_identifier, data: Some(Secret::new(plain)), correlation_value });
    }
    let padded = padded(&stream);
    plain.extend(stream.work.finish()?);
    if padded {
        let padding = plain.last().copied().unwrap_or(0) as usize;
        let len = plain.len().checked_sub(padding).filter(|_| (1..=16).contains(&padding));
        plain.truncate(len.ok_or_else(|| Refusal::item(ResultReason::CRYPTOGRAPHIC_FAILURE, "wrong padding"))?);
    }
    Ok(DecryptResponse { unique_identifier, data: Some(Secret::new(plain)), correlation_value: None })
}

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
        Kind::Ec(_) => Ok((Scheme::Ecdsa, Some(by_algorithm.or(named).unwrap_or(Hash::Sha256)))),
        Kind::Rsa { .. } => {
            let hash = by_algorithm.or(named).ok_or_else(|| invalid("no Hashing Algorithm"))?;
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
            let mgf = p.mask_generator_hashing_algorithm.map_or(Ok(hash), hash_of)?;
            let salt_len = p.salt_length.map_or(hash.output_len(), |len| len.max(0) as usize);
            Ok((Scheme::RsaPss { hash, mgf, salt_len }, Some(hash)))
        }
    }
}

/// The digest of a digest.
fn again(value: &[u8]) -> Outcome<Vec<u8>> {
    let hash = [Hash::Sha1, Hash::Sha256, Hash::Sha384, Hash::Sha512].into_iter().find(|hash| hash.output_len() == value.len());
    digest(hash.ok_or_else(|| invalid("a digest of no known length"))?, value).map_err(failure)
}

/// What is signed, once all of it is there: the digest, or the data for Ed25519.
fn signed(engine: &Engine, stream: &mut Stream, message: (Option<Secret>, Option<Vec<u8>>), part: &Part) -> Outcome<Vec<u8>> {
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
        (None, None) if last && part.correlation.is_some() => {}
        _ => return Err(Refusal::message("Data or Digested Data")),
    }
    match last {
        true => std::mem::replace(&mut stream.work, Work::Gather(Vec::new())).finish(),
        false => Ok(Vec::new()),
    }
}

/// What takes the data of a signature.
fn hasher(hash: Option<Hash>) -> Outcome<Work> {
    Ok(match hash {
        Some(hash) => Work::Digest(Digest::new(hash).map_err(failure)?),
        None => Work::Gather(Vec::new()),
    })
}

fn private(object: Option<&Arc<Object>>) -> Outcome<PrivateKey> {
    match object.map(|object| &object.value) {
        Some(Value::Key(Material::Private(pkcs8), _)) => PrivateKey::from_pkcs8(pkcs8.expose()).map_err(failure),
        _ => Err(invalid("not a private key")),
    }
}

fn public(object: Option<&Arc<Object>>) -> Outcome<PublicKey> {
    match object.map(|object| &object.value) {
        Some(Value::Key(Material::Public(spki), _)) => PublicKey::from_spki(spki.expose()).map_err(failure),
        _ => Err(invalid("not a public key")),
    }
}

/// Answers Sign.
pub fn sign(engine: &Engine, context: &mut Context, request: SignRequest) -> Outcome<SignResponse> {
    let part = Part { init: request.init_indicator, last: request.final_indicator, correlation: request.correlation_value };
    let mut stream = match engine.resume(context, OperationCode::SIGN, &part)? {
        Some(stream) => stream,
        None => {
            let (uid, given) = (request.unique_identifier, request.cryptographic_parameters);
            let (object, parameters) = key(engine, context, uid, CryptographicUsageMask::SIGN, Purpose::Protect, given)?;
            let (_, hash) = scheme(engine, private(Some(&object))?.kind(), &parameters)?;
            Stream::new(context, OperationCode::SIGN, Some((object, parameters)), hasher(hash)?)
        }
    };
    let len = request.data.as_ref().map_or(0, Secret::len) + request.digested_data.as_ref().map_or(0, Vec::len);
    stream.spend(engine, context, len, &part)?;
    let unique_identifier = stream.uid(context);
    let value = signed(engine, &mut stream, (request.data, request.digested_data), &part)?;
    if !part.is_last() {
        let correlation_value = engine.suspend(stream, part)?;
        return Ok(SignResponse { unique_identifier, signature_data: None, correlation_value });
    }
    let private = private(stream.object.as_ref())?;
    let (scheme, _) = scheme(engine, private.kind(), &stream.parameters)?;
    let mut signature = private.sign(scheme, &value).map_err(failure)?;
    if scheme == Scheme::Ecdsa {
        signature = pkey::ecdsa_to_der(&signature).map_err(failure)?;
    }
    Ok(SignResponse { unique_identifier, signature_data: Some(signature), correlation_value: None })
}

/// Answers Signature Verify.
pub fn verify(engine: &Engine, context: &mut Context, request: SignatureVerifyRequest) -> Outcome<SignatureVerifyResponse> {
    let part = Part { init: request.init_indicator, last: request.final_indicator, correlation: request.correlation_value };
    let mut stream = match engine.resume(context, OperationCode::SIGNATURE_VERIFY, &part)? {
        Some(stream) => stream,
        None => {
            let (uid, given) = (request.unique_identifier, request.cryptographic_parameters);
            let (object, parameters) = key(engine, context, uid, CryptographicUsageMask::VERIFY, Purpose::Process, given)?;
            let (_, hash) = scheme(engine, public(Some(&object))?.kind(), &parameters)?;
            Stream::new(context, OperationCode::SIGNATURE_VERIFY, Some((object, parameters)), hasher(hash)?)
        }
    };
    let mut answer = SignatureVerifyResponse { unique_identifier: stream.uid(context), ..SignatureVerifyResponse::default() };
    let value = signed(engine, &mut stream, (request.data, request.digested_data), &part)?;
    if !part.is_last() {
        answer.correlation_value = engine.suspend(stream, part)?;
        return Ok(answer);
    }
    let public = public(stream.object.as_ref())?;
    let (scheme, _) = scheme(engine, public.kind(), &stream.parameters)?;
    let mut signature = data(request.signature_data)?;
    if let (Scheme::Ecdsa, Kind::Ec(curve)) = (scheme, public.kind()) {
        signature = pkey::ecdsa_from_der(curve, &signature).unwrap_or_default();
    }
    answer.validity_indicator = Some(validity(public.verify(scheme, &value, &signature).is_ok()));
    Ok(answer)
}

fn validity(valid: bool) -> ValidityIndicator {
    if valid { ValidityIndicator::VALID } else { ValidityIndicator::INVALID }
}

/// A MAC under a key, at the beginning of its work.
fn coder(object: &Object, parameters: &Parameters) -> Outcome<Work> {
    use CryptographicAlgorithm as Alg;
    let bytes = symmetric(object)?;
    if object.algorithm() == Some(Alg::AES) && parameters.hashing_algorithm.is_none() {
        return Ok(Work::Mac(Box::new(Mac::cmac(Key::Aes(bytes)).map_err(failure)?)));
    }
    let hash = match parameters.cryptographic_algorithm.or(object.algorithm()) {
        Some(Alg::HMAC_SHA1) => Hash::Sha1,
        Some(Alg::HMAC_SHA224) => Hash::Sha224,
        Some(Alg::HMAC_SHA256) => Hash::Sha256,
        Some(Alg::HMAC_SHA384) => Hash::Sha384,
        Some(Alg::HMAC_SHA512) => Hash::Sha512,
        _ => hash_of(parameters.hashing_algorithm.ok_or_else(|| invalid("no Hashing Algorithm"))?)?,
    };
    Ok(Work::Mac(Box::new(Mac::hmac(hash, bytes).map_err(failure)?)))
}

/// Answers MAC.
pub fn mac(engine: &Engine, context: &mut Context, request: MacRequest) -> Outcome<MacResponse> {
    let part = Part { init: request.init_indicator, last: request.final_indicator, correlation: request.correlation_value };
    let bytes = data(request.data)?;
    let mut stream = match engine.resume(context, OperationCode::MAC, &part)? {
        Some(stream) => stream,
        None => {
            let (uid, given) = (request.unique_identifier, request.cryptographic_parameters);
            let mask = CryptographicUsageMask::MAC_GENERATE;
            let (object, parameters) = key(engine, context, uid, mask, Purpose::Protect, given)?;
            let work = coder(&object, &parameters)?;
            Stream::new(context, OperationCode::MAC, Some((object, parameters)), work)
        }
    };
    stream.spend(engine, context, bytes.len(), &part)?;
    let unique_identifier = stream.uid(context);
    stream.work.update(bytes.expose())?;
    if !part.is_last() {
        let correlation_value = engine.suspend(stream, part)?;
        return Ok(MacResponse { unique_identifier, mac_data: None, correlation_value });
    }
    Ok(MacResponse { unique_identifier, mac_data: Some(stream.work.finish()?), correlation_value: None })
}

/// Answers MAC Verify.
pub fn mac_verify(engine: &Engine, context: &mut Context, request: MacVerifyRequest) -> Outcome<MacVerifyResponse> {
    let part = Part { init: request.init_indicator, last: request.final_indicator, correlation: request.correlation_value };
    let bytes = data(request.data)?;
    let mut stream = match engine.resume(context, OperationCode::MAC_VERIFY, &part)? {
        Some(stream) => stream,
        None => {
            let (uid, given) = (request.unique_identifier, request.cryptographic_parameters);
            let mask = CryptographicUsageMask::MAC_VERIFY;
            let (object, parameters) = key(engine, context, uid, mask, Purpose::Process, given)?;
            let work = coder(&object, &parameters)?;
            Stream::new(context, OperationCode::MAC_VERIFY, Some((object, parameters)), work)
        }
    };
    let unique_identifier = stream.uid(context);
    stream.work.update(bytes.expose())?;
    if !part.is_last() {
        let correlation_value = engine.suspend(stream, part)?;
        return Ok(MacVerifyResponse { unique_identifier, validity_indicator: None, correlation_value });
    }
    // Secrets are compared in constant time.
    let valid = Secret::new(stream.work.finish()?) == Secret::new(data(request.mac_data)?);
    Ok(MacVerifyResponse { unique_identifier, validity_indicator: Some(validity(valid)), correlation_value: None })
}

/// Answers Hash.
pub fn hash(engine: &Engine, context: &mut Context, request: HashRequest) -> Outcome<HashResponse> {
    let part = Part { init: request.init_indicator, last: request.final_indicator, correlation: request.correlation_value };
    let bytes = data(request.data)?;
    let mut stream = match engine.resume(context, OperationCode::HASH, &part)? {
        Some(stream) => stream,
        None => {
            let named = request.cryptographic_parameters.hashing_algorithm.ok_or_else(|| invalid("no Hashing Algorithm"))?;
            Stream::new(context, OperationCode::HASH, None, hasher(Some(hash_of(named)?))?)
        }
    };
    stream.work.update(bytes.expose())?;
    match part.is_last() {
        true => Ok(HashResponse { data: Some(stream.work.finish()?), correlation_value: None }),
        false => Ok(HashResponse { data: None, correlation_value: engine.suspend(stream, part)? }),
    }
}

/// Answers RNG Retrieve.
pub fn random(request: RngRetrieveRequest) -> Outcome<RngRetrieveResponse> {
    let len = usize::try_from(request.data_length).ok().filter(|len| *len <= 1 << 16);
    let len = len.ok_or_else(|| invalid("as many bytes as that?"))?;
    rng::bytes(len).map(|data| RngRetrieveResponse { data }).map_err(failure)
}
