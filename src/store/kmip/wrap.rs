//! Keys that are wrapped and unwrapped on the server, under a key that stays there (spec 1.4, 2.1.5 and 2.1.6).
//!
//! The bare value is wrapped (No Encoding), as PKCS#11 has it: what KMIP wraps otherwise is its own encoding of it. Before 1.1 that could
//! not be said. No server is believed before it was tried: one registers what comes wrapped as it came, and would use that as the key.

use super::proof::Verdict;
use super::trial::{Act, secret};
use super::{KmipStore, attrs, make, material, same};
use crate::ck::{
    CKR_KEY_NOT_WRAPPABLE, CKR_KEY_UNEXTRACTABLE, CKR_MECHANISM_INVALID, CKR_WRAPPED_KEY_INVALID,
    CKR_WRAPPED_KEY_LEN_RANGE,
};
use crate::crypto::kw;
use crate::error::{Error, Kind, Result};
use crate::kmip::{
    BlockCipherMode, CryptographicParameters, EncodingOption, GetRequest, KeyFormatType,
    KeyInformation, KeyMaterial, KeyValue, KeyWrappingData, KeyWrappingSpecification,
    ManagedObject, ResultReason, WrappingMethod,
};
use crate::net::{Call, Transport};
use crate::secret::Secret;
use crate::store::{Ability, Algorithm, Class, Spec, Uid, Usage, Wrapping};
use crate::version::Version;

impl<T: Transport> KmipStore<T> {
    /// Whether the server wraps or unwraps so: it is tried when that is first asked.
    pub(super) fn can_wrap(&self, act: Act) -> Result<bool> {
        let call = self.client.call();
        if call.version()? < Version::V1_1 {
            return Ok(false);
        }
        self.remember(&call)?;
        Ok(matches!(
            self.examine(&call, act),
            Verdict::Right | Verdict::Untried(_)
        ))
    }

    pub(super) fn wrap(
        &self,
        kek: &Uid,
        wrapping: Wrapping,
        key: &Uid,
        class: Class,
    ) -> Result<Vec<u8>> {
        if !self.can_wrap(Act::Wrap(wrapping))? {
            return Err(CKR_MECHANISM_INVALID.into());
        }
        let call = self.client.call();
        self.get_wrapped(&call, kek, wrapping, key, class)
            .map_err(|e| match e.reason().map(ResultReason) {
                // What it cannot bring into the form that is wrapped, or that is too short or no multiple of 8 bytes.
                Some(
                    ResultReason::KEY_FORMAT_TYPE_NOT_SUPPORTED
                    | ResultReason::ENCODING_OPTION_ERROR
                    | ResultReason::CRYPTOGRAPHIC_FAILURE
                    | ResultReason::SENSITIVE,
                ) => e.with_rv(CKR_KEY_NOT_WRAPPABLE),
                Some(ResultReason::NOT_EXTRACTABLE) => e.with_rv(CKR_KEY_UNEXTRACTABLE),
                _ => self.explain(&call, kek, e, Ability::Encrypt),
            })
    }

    fn get_wrapped(
        &self,
        call: &Call<'_, T>,
        kek: &Uid,
        wrapping: Wrapping,
        key: &Uid,
        class: Class,
    ) -> Result<Vec<u8>> {
        let request = GetRequest {
            unique_identifier: Some(key.0.as_str().into()),
            // PKCS#11 wraps a private key as PrivateKeyInfo, a secret key as its bytes.
            key_format_type: (class == Class::PrivateKey).then_some(KeyFormatType::PKCS_8),
            key_wrapping_specification: Some(KeyWrappingSpecification {
                wrapping_method: WrappingMethod::ENCRYPT,
                encryption_key_information: Some(information(kek, wrapping)),
                encoding_option: Some(EncodingOption::NO_ENCODING),
                ..KeyWrappingSpecification::default()
            }),
            ..GetRequest::default()
        };
        let answer = call.request(&request)?;
        same(key, &answer.unique_identifier)?;
        let otherwise = || {
            Error::protocol("the KMIP server gave a key that is not wrapped as it was asked to be")
        };
        let block = answer.object.key_block().ok_or_else(otherwise)?;
        let wrapped = block.key_wrapping_data.as_ref().filter(|data| {
            let named = data.encryption_key_information.as_ref();
            let mode = |named: &KeyInformation| {
                named
                    .cryptographic_parameters
                    .as_ref()
                    .and_then(|p| p.block_cipher_mode)
            };
            data.wrapping_method == WrappingMethod::ENCRYPT
                && data
                    .encoding_option
                    .is_none_or(|option| option == EncodingOption::NO_ENCODING)
                && named.is_none_or(|named| {
                    named
                        .unique_identifier
                        .as_text()
                        .is_none_or(|uid| uid == kek.0)
                })
                && named
                    .and_then(mode)
                    .is_none_or(|mode| mode == block_cipher_mode(wrapping))
        });
        let format = match &answer.object {
            ManagedObject::SymmetricKey(_) => block.key_format_type == KeyFormatType::RAW,
            ManagedObject::SecretData(_) => matches!(
                block.key_format_type,
                KeyFormatType::RAW | KeyFormatType::OPAQUE
            ),
            ManagedObject::PrivateKey(_) => block.key_format_type == KeyFormatType::PKCS_8,
            _ => false,
        };
        match (wrapped, &block.key_value) {
            (Some(_), Some(KeyValue::Wrapped(bytes))) if format => Ok(bytes.clone()),
            // One server puts the wrapped bytes where the plain ones were.
            (Some(_), Some(KeyValue::Plain(plain))) if format => match &plain.key_material {
                KeyMaterial::Bytes(bytes) => Ok(bytes.expose().to_vec()),
                KeyMaterial::Transparent(_) => Err(otherwise()),
            },
            _ => Err(otherwise()),
        }
    }

    /// Registers a secret key that comes wrapped; its value is never here.
    pub(super) fn register_wrapped(
        &self,
        spec: &Spec,
        kek: &Uid,
        wrapping: Wrapping,
        wrapped: &[u8],
    ) -> Result<Uid> {
        if spec.class != Class::SecretKey || !self.can_wrap(Act::Unwrap(wrapping))? {
            return Err(CKR_MECHANISM_INVALID.into());
        }
        let call = self.client.call();
        let made = self.register_in(&call, spec, wrapped, Some(&data(kek, wrapping)));
        made.map_err(|e| self.not_unwrapped(&call, kek, wrapping, e))
    }

    /// Opens a key that comes wrapped, by way of an object that does not stay.
    pub(super) fn unwrap(&self, kek: &Uid, wrapping: Wrapping, wrapped: &[u8]) -> Result<Secret> {
        if !self.can_wrap(Act::Unwrap(wrapping))? {
            return Err(CKR_MECHANISM_INVALID.into());
        }
        let call = self.client.call();
        // Bytes of whatever length and meaning: Secret Data.
        let (mut spec, _) = secret(Algorithm::GenericSecret, Usage::DERIVE)?;
        spec.bits = 8 * u32::try_from(wrapped.len()).map_err(|_| CKR_WRAPPED_KEY_LEN_RANGE)?;
        self.unwrap_through(&call, &spec, kek, wrapping, wrapped)
            .map_err(|e| self.not_unwrapped(&call, kek, wrapping, e))
    }

    fn unwrap_through(
        &self,
        call: &Call<'_, T>,
        spec: &Spec,
        kek: &Uid,
        wrapping: Wrapping,
        wrapped: &[u8],
    ) -> Result<Secret> {
        let mut object = material::object(spec, wrapped, attrs::length(spec, &self.facts), true)?;
        make::wrap(&mut object, &data(kek, wrapping));
        let guest = self.put(call, spec, object)?;
        let value = self.fetch_in(&call.part(1, 2), &guest.uid);
        self.away(call, &guest);
        value
    }

    fn not_unwrapped(
        &self,
        call: &Call<'_, T>,
        kek: &Uid,
        wrapping: Wrapping,
        error: Error,
    ) -> Error {
        match error.reason().map(ResultReason) {
            Some(ResultReason::CRYPTOGRAPHIC_FAILURE) => error.with_rv(CKR_WRAPPED_KEY_INVALID),
            Some(_) if self.is_about_data(call, Act::Unwrap(wrapping), &error) => {
                error.with_rv(CKR_WRAPPED_KEY_INVALID)
            }
            Some(_) => self.explain(call, kek, error, Ability::Encrypt),
            None => error,
        }
    }

    /// A trial with two keys of known value. An error when it says nothing.
    pub(super) fn try_wrapping(&self, call: &Call<'_, T>, act: Act) -> Result<Verdict> {
        let object = |spec: &Spec, value: &Secret| {
            material::object(spec, value.expose(), attrs::length(spec, &self.facts), true)
        };
        let (kek_spec, kek_value) = secret(Algorithm::Aes, Usage::WRAP | Usage::UNWRAP)?;
        let (spec, value) = secret(Algorithm::Aes, Usage::ENCRYPT | Usage::DECRYPT)?;
        let kek = self.put(call, &kek_spec, object(&kek_spec, &kek_value)?)?;
        let attempt = || {
            self.activate(call, &kek.uid)?;
            match act {
                Act::Wrap(wrapping) => {
                    let key = self.put(call, &spec, object(&spec, &value)?)?;
                    let made = self.get_wrapped(
                        &call.part(1, 2),
                        &kek.uid,
                        wrapping,
                        &key.uid,
                        Class::SecretKey,
                    );
                    self.away(call, &key);
                    Ok(made? == kw::wrap(wrapping, kek_value.expose(), value.expose())?)
                }
                Act::Unwrap(wrapping) => {
                    let wrapped = kw::wrap(wrapping, kek_value.expose(), value.expose())?;
                    Ok(self.unwrap_through(call, &spec, &kek.uid, wrapping, &wrapped)? == value)
                }
                _ => Err(Error::from(CKR_MECHANISM_INVALID)),
            }
        };
        let outcome = attempt();
        self.away(call, &kek);
        let verdict = match outcome {
            Ok(true) => Verdict::Right,
            Ok(false) => Verdict::Wrong,
            // It refuses, ignores the wish, or keeps what comes wrapped as it came.
            Err(e) if matches!(e.kind(), Kind::Server(_) | Kind::Protocol | Kind::Pkcs11) => {
                crate::log!(Info, "{}: no {act:?}: {e}", self.client.peer());
                Verdict::Unable
            }
            Err(e) => return Err(e),
        };
        if let Verdict::Right = verdict {
            self.keep_proofs(vec![format!("{act:?}")]);
        }
        Ok(verdict)
    }
}

fn block_cipher_mode(wrapping: Wrapping) -> BlockCipherMode {
    match wrapping {
        Wrapping::Kw => BlockCipherMode::NIST_KEY_WRAP,
        Wrapping::Kwp => BlockCipherMode::AES_KEY_WRAP_PADDING,
    }
}

fn information(kek: &Uid, wrapping: Wrapping) -> KeyInformation {
    let block_cipher_mode = Some(block_cipher_mode(wrapping));
    KeyInformation {
        unique_identifier: kek.0.as_str().into(),
        cryptographic_parameters: Some(CryptographicParameters {
            block_cipher_mode,
            ..CryptographicParameters::default()
        }),
    }
}

fn data(kek: &Uid, wrapping: Wrapping) -> KeyWrappingData {
    KeyWrappingData {
        wrapping_method: WrappingMethod::ENCRYPT,
        encryption_key_information: Some(information(kek, wrapping)),
        encoding_option: Some(EncodingOption::NO_ENCODING),
        ..KeyWrappingData::default()
    }
}
