//! Encryption with keys that stay on the server.

use std::sync::PoisonError;

use super::facts::{either, is_gone, is_refusal, is_unsupported};
use super::keys;
use super::proof::Verdict;
use super::trial::{Act, Mode};
use super::{KmipStore, same};
use crate::ck::{
    CKR_DATA_LEN_RANGE, CKR_ENCRYPTED_DATA_INVALID, CKR_ENCRYPTED_DATA_LEN_RANGE,
    CKR_KEY_FUNCTION_NOT_PERMITTED, CKR_KEY_HANDLE_INVALID, CKR_MECHANISM_INVALID,
    CKR_MECHANISM_PARAM_INVALID,
};
use crate::error::{Error, Kind, Result};
use crate::kmip::{
    BlockCipherMode, CryptographicAlgorithm, CryptographicParameters, DecryptRequest,
    EncryptRequest, EncryptResponse, MaskGenerator, PaddingMethod, ResultReason,
};
use crate::net::{Call, Transport};
use crate::secret::Secret;
use crate::store::{Ability, Algorithm, Cipher, State, Uid};
use crate::version::Version;

/// Keys whose padding block in ECB mode is remembered.
const REMEMBERED: usize = 256;

impl<T: Transport> KmipStore<T> {
    pub(super) fn encrypt(
        &self,
        uid: &Uid,
        algorithm: Algorithm,
        cipher: &Cipher,
        data: &[u8],
    ) -> Result<Vec<u8>> {
        if matches!(cipher, Cipher::Ecb | Cipher::Cbc { .. })
            && !data.len().is_multiple_of(block_len(algorithm))
        {
            return Err(CKR_DATA_LEN_RANGE.into());
        }
        // Without padding nothing stays nothing; servers differ about an empty request.
        if data.is_empty()
            && matches!(
                cipher,
                Cipher::Ecb | Cipher::Cbc { .. } | Cipher::Ctr { .. }
            )
        {
            return Ok(Vec::new());
        }
        let call = self.client.call();
        let act = Act::Encrypt(algorithm, Mode::of(cipher));
        self.check_act(&call, act)?;
        let send = |usual| self.send_encrypt(&call, uid, algorithm, cipher, usual, data);
        let outcome = match cipher {
            Cipher::Ecb | Cipher::Cbc { .. } => {
                self.encrypt_blocks(&call, uid, algorithm, cipher, data)
            }
            Cipher::Ctr { .. } => either(&self.facts.plain_counter, send),
            Cipher::Gcm { .. } => either(&self.facts.plain_gcm, send),
            Cipher::CbcPad { .. } | Cipher::RsaPkcs1 | Cipher::RsaOaep { .. } => send(true),
        };
        self.note(Ability::Encrypt, &outcome);
        let made = outcome.map_err(|e| self.explain(&call, uid, e, Ability::Encrypt))?;
        self.prove(&call, act)?;
        Ok(made)
    }

    pub(super) fn decrypt(
        &self,
        uid: &Uid,
        algorithm: Algorithm,
        cipher: &Cipher,
        data: &[u8],
    ) -> Result<Secret> {
        let whole_blocks = data.len().is_multiple_of(block_len(algorithm));
        let impossible = match cipher {
            Cipher::Ecb | Cipher::Cbc { .. } => !whole_blocks,
            Cipher::CbcPad { .. } => !whole_blocks || data.is_empty(),
            _ => false,
        };
        if impossible {
            return Err(CKR_ENCRYPTED_DATA_LEN_RANGE.into());
        }
        if data.is_empty()
            && matches!(
                cipher,
                Cipher::Ecb | Cipher::Cbc { .. } | Cipher::Ctr { .. }
            )
        {
            return Ok(Secret::default());
        }
        let call = self.client.call();
        let act = Act::Decrypt(algorithm, Mode::of(cipher));
        self.check_act(&call, act)?;
        let send = |usual| self.send_decrypt(&call, uid, algorithm, cipher, usual, data);
        let outcome = match cipher {
            Cipher::Ecb | Cipher::Cbc { .. } => {
                self.decrypt_blocks(&call, uid, algorithm, cipher, data)
            }
            Cipher::Ctr { .. } => either(&self.facts.plain_counter, send),
            // A wrong tag may look like a refused form: the form is learnt by encrypting only.
            Cipher::Gcm { .. } => send(self.facts.plain_gcm.may()),
            Cipher::CbcPad { .. } | Cipher::RsaPkcs1 | Cipher::RsaOaep { .. } => send(true),
        };
        self.note(Ability::Decrypt, &outcome);
        let made = outcome.map_err(|e| {
            // One server decrypts with symmetric keys only, and calls that a lack of permission.
            let denied = e.reason().map(ResultReason) == Some(ResultReason::PERMISSION_DENIED);
            if denied
                && algorithm == Algorithm::Rsa
                && matches!(self.state(&call, uid), Ok(Some(State::Active)))
            {
                return e.with_rv(CKR_MECHANISM_INVALID);
            }
            let padded = matches!(
                cipher,
                Cipher::CbcPad { .. } | Cipher::RsaPkcs1 | Cipher::RsaOaep { .. }
            );
            if padded && self.is_about_data(&call, act, &e) {
                return e.with_rv(CKR_ENCRYPTED_DATA_INVALID);
            }
            self.explain(&call, uid, e, Ability::Decrypt)
        })?;
        self.prove(&call, act)?;
        Ok(made)
    }

    /// Whether a refusal is about what was decrypted, by a server that does the mechanism: servers have several reasons for a wrong
    /// padding and what follows from it, and none may show which it was.
    pub(super) fn is_about_data(&self, call: &Call<'_, T>, act: Act, error: &Error) -> bool {
        use ResultReason as R;
        let about_key = is_gone(error)
            || matches!(
                error.reason().map(ResultReason),
                Some(R::PERMISSION_DENIED | R::WRONG_KEY_LIFECYCLE_STATE | R::ILLEGAL_OPERATION)
            );
        matches!(error.kind(), Kind::Server(_))
            && !about_key
            && matches!(self.examine(call, act), Verdict::Right)
    }

    /// Whole blocks without padding. A server that only knows padding gets to pad, and the block it adds is dropped.
    fn encrypt_blocks(
        &self,
        call: &Call<'_, T>,
        uid: &Uid,
        algorithm: Algorithm,
        cipher: &Cipher,
        data: &[u8],
    ) -> Result<Vec<u8>> {
        either(&self.facts.unpadded, |unpadded| {
            let mut output = self.send_encrypt(call, uid, algorithm, cipher, unpadded, data)?;
            match output.len().checked_sub(data.len()) {
                Some(0) if unpadded => {}
                // Some pad although they were told not to.
                Some(extra) if extra == block_len(algorithm) => output.truncate(data.len()),
                _ => {
                    return Err(Error::protocol(format!(
                        "the KMIP server made {} bytes of {}",
                        output.len(),
                        data.len()
                    )));
                }
            }
            Ok(output)
        })
    }

    /// Whole blocks without padding. A server that only knows padding is shown a block more, which decrypts to padding: the
    /// encryption of nothing, after the last block (`kmip-map` §3.5).
    fn decrypt_blocks(
        &self,
        call: &Call<'_, T>,
        uid: &Uid,
        algorithm: Algorithm,
        cipher: &Cipher,
        data: &[u8],
    ) -> Result<Secret> {
        if self.facts.unpadded.may() {
            match self.send_decrypt(call, uid, algorithm, cipher, true, data) {
                Ok(output) if output.len() == data.len() => {
                    self.facts.unpadded.learn(true);
                    return Ok(output);
                }
                // It took padding off although it was told that there is none.
                Ok(_) => {}
                Err(e)
                    if self.facts.unpadded.known().is_none()
                        && (is_refusal(&e) || is_bad_data(&e))
                        && !is_unsupported(&e) => {}
                Err(e) => return Err(e),
            }
        }
        let padding = self
            .padding_block(call, uid, algorithm, cipher, data)
            .map_err(|e| match e.reason().map(ResultReason) {
                Some(
                    ResultReason::PERMISSION_DENIED
                    | ResultReason::INCOMPATIBLE_CRYPTOGRAPHIC_USAGE_MASK,
                ) => e
                    .context(
                        "this server decrypts without padding only with keys that may also encrypt",
                    )
                    .with_rv(CKR_KEY_FUNCTION_NOT_PERMITTED),
                _ => e,
            })?;
        let output = self.send_decrypt(
            call,
            uid,
            algorithm,
            cipher,
            false,
            &[data, &padding].concat(),
        )?;
        if output.len() != data.len() {
            return Err(Error::protocol(format!(
                "the KMIP server made {} bytes of {}",
                output.len(),
                data.len()
            )));
        }
        self.facts.unpadded.learn(false);
        Ok(output)
    }

    fn padding_block(
        &self,
        call: &Call<'_, T>,
        uid: &Uid,
        algorithm: Algorithm,
        cipher: &Cipher,
        data: &[u8],
    ) -> Result<Vec<u8>> {
        let block = block_len(algorithm);
        let made = |cipher: &Cipher| {
            let padding = self.send_encrypt(call, uid, algorithm, cipher, false, &[])?;
            match padding.len() == block {
                true => Ok(padding),
                false => Err(Error::protocol("the KMIP server does not pad with PKCS#5")),
            }
        };
        if let Cipher::Cbc { .. } = cipher {
            return made(&Cipher::Cbc {
                iv: data[data.len() - block..].to_vec(),
            });
        }
        let remembered = || self.padding.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(padding) = remembered().get(uid) {
            return Ok(padding.clone());
        }
        let padding = made(cipher)?;
        let mut map = remembered();
        if map.len() >= REMEMBERED {
            map.clear();
        }
        map.insert(uid.clone(), padding.clone());
        Ok(padding)
    }

    fn send_encrypt(
        &self,
        call: &Call<'_, T>,
        uid: &Uid,
        algorithm: Algorithm,
        cipher: &Cipher,
        usual: bool,
        data: &[u8],
    ) -> Result<Vec<u8>> {
        let answer = call.request(&encrypt_request(
            uid,
            algorithm,
            cipher,
            usual,
            data,
            call.version()?,
        )?)?;
        same(uid, &answer.unique_identifier)?;
        encrypted(cipher, answer, data.len())
    }

    fn send_decrypt(
        &self,
        call: &Call<'_, T>,
        uid: &Uid,
        algorithm: Algorithm,
        cipher: &Cipher,
        usual: bool,
        data: &[u8],
    ) -> Result<Secret> {
        let answer = call.request(&decrypt_request(
            uid,
            algorithm,
            cipher,
            usual,
            data,
            call.version()?,
        )?)?;
        same(uid, &answer.unique_identifier)?;
        Ok(answer.data.unwrap_or_default())
    }

    /// What a failure of a cryptographic operation means to the application. A refusal that may be about the key's state costs
    /// one more request, so that the sentence can say it.
    pub(super) fn explain(
        &self,
        call: &Call<'_, T>,
        uid: &Uid,
        error: Error,
        ability: Ability,
    ) -> Error {
        use ResultReason as R;
        if is_gone(&error) {
            return error.with_rv(CKR_KEY_HANDLE_INVALID);
        }
        if is_unsupported(&error) {
            return error.with_rv(CKR_MECHANISM_INVALID);
        }
        if ability == Ability::Decrypt && is_bad_data(&error) {
            return error.with_rv(CKR_ENCRYPTED_DATA_INVALID);
        }
        match error.reason().map(ResultReason) {
            Some(R::PERMISSION_DENIED | R::WRONG_KEY_LIFECYCLE_STATE | R::ILLEGAL_OPERATION) => {
                match self.state(call, uid) {
                    Ok(Some(state)) if state != State::Active => error
                        .context(format_args!("the key {uid} is {state:?}"))
                        .with_rv(CKR_KEY_FUNCTION_NOT_PERMITTED),
                    _ => error.with_rv(CKR_KEY_FUNCTION_NOT_PERMITTED),
                }
            }
            Some(
                R::INVALID_MESSAGE
                | R::INVALID_FIELD
                | R::MISSING_DATA
                | R::CODEC_ERROR
                | R::UNKNOWN_TAG
                | R::UNKNOWN_ENUMERATION
                | R::INVALID_DATA_TYPE,
            ) => error.with_rv(CKR_MECHANISM_PARAM_INVALID),
            _ if error.kind() == Kind::Input => error.with_rv(CKR_MECHANISM_INVALID),
            _ => error,
        }
    }
}

/// The data is wrong, as far as the server says.
fn is_bad_data(error: &Error) -> bool {
    matches!(
        error.reason().map(ResultReason),
        Some(ResultReason::CRYPTOGRAPHIC_FAILURE | ResultReason::GENERAL_FAILURE)
    )
}

/// The request to encrypt.
pub(super) fn encrypt_request(
    uid: &Uid,
    algorithm: Algorithm,
    cipher: &Cipher,
    usual: bool,
    data: &[u8],
    version: Version,
) -> Result<EncryptRequest> {
    let form = Form::new(algorithm, cipher, usual, version)?;
    Ok(EncryptRequest {
        unique_identifier: Some(uid.0.as_str().into()),
        cryptographic_parameters: Some(form.parameters),
        data: Some(Secret::new(data.to_vec())),
        iv_counter_nonce: form.iv,
        additional_data: form.additional_data,
        ..EncryptRequest::default()
    })
}

/// What an encryption of `len` bytes made, the tag behind it where there is one.
pub(super) fn encrypted(cipher: &Cipher, answer: EncryptResponse, len: usize) -> Result<Vec<u8>> {
    let mut output = answer.data.unwrap_or_default();
    if let Cipher::Gcm { tag_len, .. } = cipher {
        match answer.authentication_tag {
            Some(tag) if tag.len() == *tag_len && output.len() == len => output.extend(tag),
            // Some put the tag behind the data themselves.
            None if output.len() == len + tag_len => {}
            _ => {
                return Err(Error::protocol(
                    "the KMIP server made no authentication tag of the length that was asked for",
                ));
            }
        }
    }
    Ok(output)
}

/// The request to decrypt.
pub(super) fn decrypt_request(
    uid: &Uid,
    algorithm: Algorithm,
    cipher: &Cipher,
    usual: bool,
    data: &[u8],
    version: Version,
) -> Result<DecryptRequest> {
    let form = Form::new(algorithm, cipher, usual, version)?;
    let (data, tag) = match cipher {
        Cipher::Gcm { tag_len, .. } => {
            let at = data
                .len()
                .checked_sub(*tag_len)
                .ok_or(CKR_ENCRYPTED_DATA_LEN_RANGE)?;
            (&data[..at], Some(data[at..].to_vec()))
        }
        _ => (data, None),
    };
    Ok(DecryptRequest {
        unique_identifier: Some(uid.0.as_str().into()),
        cryptographic_parameters: Some(form.parameters),
        data: Some(data.to_vec()),
        iv_counter_nonce: form.iv,
        additional_data: form.additional_data,
        authentication_tag: tag,
        ..DecryptRequest::default()
    })
}

/// Block of a cipher in bytes.
pub(super) fn block_len(algorithm: Algorithm) -> usize {
    if algorithm == Algorithm::TripleDes {
        8
    } else {
        16
    }
}

/// A cipher in KMIP's words, complete in every request: what is left out each server guesses differently.
struct Form {
    parameters: CryptographicParameters,
    iv: Option<Vec<u8>>,
    additional_data: Option<Vec<u8>>,
}

impl Form {
    /// `usual` is the form most servers take; what the other one is depends on the mode.
    fn new(algorithm: Algorithm, cipher: &Cipher, usual: bool, version: Version) -> Result<Form> {
        let algorithm = match algorithm {
            Algorithm::Aes => CryptographicAlgorithm::AES,
            Algorithm::TripleDes => CryptographicAlgorithm::TRIPLE_DES,
            Algorithm::Rsa => CryptographicAlgorithm::RSA,
            _ => return Err(CKR_MECHANISM_INVALID.into()),
        };
        if version < Version::V1_2 {
            return Err(Error::new(
                Kind::Input,
                CKR_MECHANISM_INVALID,
                format!("KMIP {version} servers do not encrypt"),
            ));
        }
        let mut p = CryptographicParameters {
            cryptographic_algorithm: Some(algorithm),
            ..CryptographicParameters::default()
        };
        let (mut iv, mut additional_data) = (None, None);
        let padding = if usual {
            PaddingMethod::NONE
        } else {
            PaddingMethod::PKCS5
        };
        match cipher {
            Cipher::Ecb => {
                p.block_cipher_mode = Some(BlockCipherMode::ECB);
                p.padding_method = Some(padding);
            }
            Cipher::Cbc { iv: given } => {
                p.block_cipher_mode = Some(BlockCipherMode::CBC);
                p.padding_method = Some(padding);
                iv = Some(given.clone());
            }
            Cipher::CbcPad { iv: given } => {
                p.block_cipher_mode = Some(BlockCipherMode::CBC);
                p.padding_method = Some(PaddingMethod::PKCS5);
                iv = Some(given.clone());
            }
            Cipher::Ctr { counter } => {
                p.block_cipher_mode = Some(BlockCipherMode::CTR);
                if !usual {
                    p.padding_method = Some(PaddingMethod::NONE);
                    p.iv_length = Some(128);
                    p.counter_length = Some(128);
                }
                iv = Some(counter.clone());
            }
            Cipher::Gcm {
                iv: given,
                aad,
                tag_len,
            } => {
                p.block_cipher_mode = Some(BlockCipherMode::GCM);
                p.tag_length = Some(i32::try_from(*tag_len).unwrap_or(i32::MAX));
                if !usual {
                    p.iv_length = Some(i32::try_from(given.len() * 8).unwrap_or(i32::MAX));
                }
                iv = Some(given.clone());
                additional_data = Some(aad.clone()).filter(|aad| !aad.is_empty());
                if version < Version::V1_4 {
                    let message =
                        format!("KMIP {version} has no field for GCM's authentication tag");
                    return Err(Error::new(Kind::Input, CKR_MECHANISM_INVALID, message));
                }
            }
            Cipher::RsaPkcs1 => p.padding_method = Some(PaddingMethod::PKCS1_V1_5),
            Cipher::RsaOaep { hash, mgf, label } => {
                p.padding_method = Some(PaddingMethod::OAEP);
                p.hashing_algorithm = Some(keys::hash(*hash));
                // Before 1.4 the server decides the rest, and mostly takes the same hash.
                if version >= Version::V1_4 {
                    p.mask_generator = Some(MaskGenerator::MGF1);
                    p.mask_generator_hashing_algorithm = Some(keys::hash(*mgf));
                    p.p_source = Some(label.clone()).filter(|label| !label.is_empty());
                } else if mgf != hash || !label.is_empty() {
                    return Err(CKR_MECHANISM_PARAM_INVALID.into());
                }
            }
        }
        Ok(Form {
            parameters: p,
            iv,
            additional_data,
        })
    }
}
