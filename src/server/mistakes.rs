//! Servers that do something else than they are asked to, and say Success: for tests of who trusts them.

use super::objects::{Outcome, Refusal};
use super::personality::Personality;
use crate::kmip::*;
use crate::secret::Secret;

/// What a server computes wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// The last byte of what it encrypts in this mode: of the tag, where there is one.
    Encryption(BlockCipherMode),
    /// The first byte of what it decrypts in this mode.
    Decryption(BlockCipherMode),
    /// What it decrypts with RSA.
    RsaDecryption,
    /// It takes any authentication tag.
    AnyTag,
    /// MACs by this hash.
    Hmac(HashingAlgorithm),
    /// Keys that it wraps.
    Wrapping,
    /// It keeps a key that comes wrapped as it came.
    Unwrapping,
}

fn makes(personality: &Personality, mistake: Mistake) -> bool {
    personality.mistakes.contains(&mistake)
}

fn spoil(byte: Option<&mut u8>) {
    if let Some(byte) = byte {
        *byte ^= 1;
    }
}

/// An encryption with these parameters, as this server does it.
pub fn encrypted(
    personality: &Personality,
    parameters: Option<&CryptographicParameters>,
    mut answer: EncryptResponse,
) -> EncryptResponse {
    if parameters
        .and_then(|p| p.block_cipher_mode)
        .is_some_and(|mode| makes(personality, Mistake::Encryption(mode)))
    {
        spoil(
            answer
                .authentication_tag
                .as_mut()
                .or(answer.data.as_mut())
                .and_then(|bytes| bytes.last_mut()),
        );
    }
    answer
}

/// A decryption with these parameters, as this server does it.
pub fn decrypted(
    personality: &Personality,
    parameters: Option<&CryptographicParameters>,
    outcome: Outcome<DecryptResponse>,
) -> Outcome<DecryptResponse> {
    let mode = parameters.and_then(|p| p.block_cipher_mode);
    let mut answer = match outcome {
        Err(Refusal::Item(..))
            if mode == Some(BlockCipherMode::GCM) && makes(personality, Mistake::AnyTag) =>
        {
            return Ok(DecryptResponse {
                data: Some(Secret::new(vec![0; 8])),
                ..DecryptResponse::default()
            });
        }
        outcome => outcome?,
    };
    let wrong = match mode {
        Some(mode) => makes(personality, Mistake::Decryption(mode)),
        None => makes(personality, Mistake::RsaDecryption),
    };
    if wrong && let Some(data) = &answer.data {
        let mut bytes = data.expose().to_vec();
        spoil(bytes.first_mut());
        answer.data = Some(Secret::new(bytes));
    }
    Ok(answer)
}

/// A MAC with these parameters, as this server makes it.
pub fn authenticated(
    personality: &Personality,
    parameters: Option<&CryptographicParameters>,
    mut answer: MacResponse,
) -> MacResponse {
    if parameters
        .and_then(|p| p.hashing_algorithm)
        .is_some_and(|hash| makes(personality, Mistake::Hmac(hash)))
    {
        spoil(answer.mac_data.as_mut().and_then(|bytes| bytes.last_mut()));
    }
    answer
}

/// A key that was asked for wrapped, as this server wraps it.
pub fn wrapped(personality: &Personality, mut answer: GetResponse) -> GetResponse {
    if makes(personality, Mistake::Wrapping)
        && let ManagedObject::SymmetricKey(SymmetricKey { key_block }) = &mut answer.object
        && let Some(KeyValue::Wrapped(bytes)) = &mut key_block.key_value
    {
        spoil(bytes.last_mut());
    }
    answer
}

/// A key that comes wrapped, as this server takes it.
pub fn unwrapped(personality: &Personality, mut request: RegisterRequest) -> RegisterRequest {
    if makes(personality, Mistake::Unwrapping)
        && let Some(ManagedObject::SymmetricKey(SymmetricKey { key_block })) = &mut request.object
        && let Some(KeyValue::Wrapped(bytes)) = &key_block.key_value
    {
        key_block.key_value = Some(KeyValue::bytes(Secret::new(bytes.clone())));
        key_block.key_wrapping_data = None;
    }
    request
}
