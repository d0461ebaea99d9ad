//! Wrapping keys for transport, and unwrapping them.

use std::sync::Arc;

use super::cipher::CipherOperation;
use super::keywrap;
use super::table::{Mode, Work, serving};
use super::{Key, Mechanism, Output, Params};
use crate::ck::*;
use crate::crypto::cipher::Direction;
use crate::crypto::kw;
use crate::crypto::rng;
use crate::error::{Error, Result};
use crate::secret::{Secret, reserve};
use crate::store::{Ability, Class, KeyStore, Uid, Wrapping};
use crate::token::object::{Attributes, unflatten};
use crate::token::objects::{Material, Source};
use crate::token::{policy, value};

/// Wraps `key` with `wrapping`: `C_WrapKey`. Errors are in the words of that function.
pub fn wrap(
    mechanism: &Mechanism,
    wrapping: &Key,
    key: &Key,
    room: Option<usize>,
) -> Result<Output> {
    let work = serving(mechanism.kind, CKF_WRAP)?.work;
    check_wrappable(work, wrapping, key)?;
    seal(work, mechanism, wrapping, key, room).map_err(|e| {
        let rv = match e.rv() {
            CKR_KEY_TYPE_INCONSISTENT => CKR_WRAPPING_KEY_TYPE_INCONSISTENT,
            CKR_DATA_LEN_RANGE => CKR_KEY_SIZE_RANGE,
            other => other,
        };
        e.with_rv(rv)
    })
}

/// Whether the key may leave at all, and with this wrapping key.
fn check_wrappable(work: Work, wrapping: &Key, key: &Key) -> Result<()> {
    let attributes = &key.object.attributes;
    if key.class() == CKO_PUBLIC_KEY {
        return Err(CKR_KEY_NOT_WRAPPABLE.into());
    }
    if !attributes.flag(CKA_EXTRACTABLE) {
        return Err(CKR_KEY_UNEXTRACTABLE.into());
    }
    if attributes.flag(CKA_WRAP_WITH_TRUSTED) && !wrapping.object.attributes.flag(CKA_TRUSTED) {
        return Err(CKR_KEY_NOT_WRAPPABLE.into());
    }
    policy::check_wrap(
        key.token.key_policy(),
        &wrapping.object.attributes,
        attributes,
        is_sealed(work),
    )?;
    let wanted = wrapping
        .object
        .attributes
        .bytes(CKA_WRAP_TEMPLATE)
        .map(unflatten)
        .unwrap_or_default();
    match wanted.0.iter().all(|a| a.matches(attributes.bytes(a.kind))) {
        true => Ok(()),
        // 5.18.3 names this value for it.
        false => Err(CKR_KEY_HANDLE_INVALID.into()),
    }
}

fn seal(
    work: Work,
    mechanism: &Mechanism,
    wrapping: &Key,
    key: &Key,
    room: Option<usize>,
) -> Result<Output> {
    let value = || match key.material(mechanism.kind, None)? {
        Material::Local(value) => Ok(value),
        Material::Remote(..) => Err(Error::from(CKR_KEY_NOT_WRAPPABLE)),
    };
    let whole = |wrapped: Vec<u8>| match Output::early(wrapped.len(), room) {
        Some(output) => output,
        None => Output::Bytes(Secret::new(wrapped)),
    };
    match work {
        Work::KeyWrap | Work::KeyWrapPad | Work::KeyWrapPkcs7 => {
            let ability = key.object.uid().and(in_store(work)).map(Ability::Wrap);
            let kek = match keywrap::kek(work, mechanism, wrapping, CKA_WRAP, ability) {
                Ok(Material::Local(kek)) => kek,
                Ok(Material::Remote(store, kek)) => {
                    if let Some(output) =
                        wrapped_len(work, key).and_then(|len| Output::early(len, room))
                    {
                        return Ok(output);
                    }
                    match wrap_there(work, store.as_ref(), &kek, key) {
                        Ok(wrapped) => return Ok(whole(wrapped)),
                        Err(e) => instead(mechanism, wrapping, e)?,
                    }
                }
                // The value of a key of this process would have to travel to the store, which takes no such request.
                Err(e)
                    if only_there(work, mechanism, wrapping, &e) && key.object.uid().is_none() =>
                {
                    return Err(e.with_rv(CKR_KEY_NOT_WRAPPABLE));
                }
                Err(e) => return Err(e),
            };
            Ok(whole(keywrap::wrap(work, kek.expose(), value()?.expose())?))
        }
        Work::RsaAesKeyWrap => {
            let (aes_len, inner) = rsa_aes(mechanism)?;
            let aes = rng::bytes(aes_len)?;
            let mut transport = CipherOperation::for_usage(
                Direction::Encrypt,
                Work::RsaOaep,
                &inner,
                wrapping.clone(),
                CKA_WRAP,
            )?;
            let Output::Bytes(sealed) = transport.run(aes.expose(), Some(usize::MAX))? else {
                return Err(CKR_FUNCTION_FAILED.into());
            };
            let wrapped = kw::wrap(Wrapping::Kwp, aes.expose(), value()?.expose())?;
            Ok(whole([sealed.expose(), &wrapped].concat()))
        }
        _ => {
            let mut cipher = CipherOperation::for_usage(
                Direction::Encrypt,
                work,
                mechanism,
                wrapping.clone(),
                CKA_WRAP,
            )?;
            let value = value()?;
            let padded = match work {
                Work::Cipher(key_type, Mode::Ecb | Mode::Cbc) => {
                    if key.class() == CKO_PRIVATE_KEY {
                        return Err(CKR_KEY_NOT_WRAPPABLE.into());
                    }
                    let block = if key_type == CKK_DES3 { 8 } else { 16 };
                    keywrap::zero_filled(value.expose(), block)
                }
                _ => value.duplicate(),
            };
            cipher.run(padded.expose(), room)
        }
    }
}

/// Whether a mechanism authenticates what it wraps, takes no IV of the caller, and tells nothing by its padding.
fn is_sealed(work: Work) -> bool {
    matches!(
        work,
        Work::KeyWrap | Work::KeyWrapPad | Work::KeyWrapPkcs7 | Work::RsaOaep | Work::RsaAesKeyWrap
    )
}

/// Whether a mechanism authenticates wrapped keys, so that they cannot be truncated without the wrapping key.
fn is_whole(work: Work) -> bool {
    is_sealed(work) || matches!(work, Work::RsaPkcs | Work::Cipher(_, Mode::Gcm | Mode::Ccm))
}

/// Checks that the token's key policy lets `C_UnwrapKey` use this mechanism.
pub fn check_unwrap(mechanism: &Mechanism, unwrapping: &Key) -> Result<()> {
    let work = serving(mechanism.kind, CKF_UNWRAP)?.work;
    policy::check_unwrap(unwrapping.token.key_policy(), is_sealed(work))
}

/// Whether a secret key of `len` bytes may be made of `unwrapped` ones.
pub fn may_unwrap_to(
    mechanism: &Mechanism,
    unwrapping: &Key,
    unwrapped: usize,
    len: usize,
) -> Result<bool> {
    let work = serving(mechanism.kind, CKF_UNWRAP)?.work;
    Ok(policy::may_unwrap_to(
        unwrapping.token.key_policy(),
        &unwrapping.object.attributes,
        is_whole(work),
        unwrapped,
        len,
    ))
}

/// The value that `wrapped` carries: `C_UnwrapKey`. Errors are in the words of that function.
pub fn unwrap(mechanism: &Mechanism, unwrapping: &Key, wrapped: &[u8]) -> Result<Secret> {
    let work = serving(mechanism.kind, CKF_UNWRAP)?.work;
    open(work, mechanism, unwrapping, wrapped).map_err(for_unwrapping)
}

/// The most zeros that a mechanism fills a key up with when it wraps it.
pub fn fill(mechanism: &Mechanism) -> usize {
    use super::table::Mode;
    match serving(mechanism.kind, CKF_UNWRAP).map(|entry| entry.work) {
        Ok(Work::KeyWrap) => 7,
        Ok(Work::Cipher(CKK_DES3, Mode::Ecb | Mode::Cbc)) => 7,
        Ok(Work::Cipher(_, Mode::Ecb | Mode::Cbc)) => 15,
        _ => 0,
    }
}

/// Length of the value in `wrapped` bytes, where the mechanism leaves only one: it adds no padding.
pub fn unwrapped_len(mechanism: &Mechanism, wrapped: usize) -> Option<usize> {
    use super::table::Mode;
    match serving(mechanism.kind, CKF_UNWRAP).ok()?.work {
        Work::KeyWrap => wrapped.checked_sub(8),
        Work::Cipher(_, Mode::CbcPad) => None,
        Work::Cipher(_, Mode::Gcm) => match mechanism.params {
            Params::Gcm { tag_bits, .. } => wrapped.checked_sub(tag_bits as usize / 8),
            _ => None,
        },
        Work::Cipher(_, Mode::Ccm) => match mechanism.params {
            Params::Ccm { mac_len, .. } => wrapped.checked_sub(mac_len as usize),
            _ => None,
        },
        Work::Cipher(..) => Some(wrapped),
        _ => None,
    }
}

/// An error in the words of `C_UnwrapKey`.
fn for_unwrapping(error: Error) -> Error {
    let rv = match error.rv() {
        CKR_KEY_TYPE_INCONSISTENT => CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT,
        CKR_KEY_HANDLE_INVALID | CKR_WRAPPING_KEY_HANDLE_INVALID => {
            CKR_UNWRAPPING_KEY_HANDLE_INVALID
        }
        CKR_ENCRYPTED_DATA_INVALID | CKR_AEAD_DECRYPT_FAILED => CKR_WRAPPED_KEY_INVALID,
        CKR_ENCRYPTED_DATA_LEN_RANGE => CKR_WRAPPED_KEY_LEN_RANGE,
        other => other,
    };
    error.with_rv(rv)
}

fn open(work: Work, mechanism: &Mechanism, unwrapping: &Key, wrapped: &[u8]) -> Result<Secret> {
    let decrypt = |work, mechanism: &Mechanism, data: &[u8]| {
        let mut cipher = CipherOperation::for_usage(
            Direction::Decrypt,
            work,
            mechanism,
            unwrapping.clone(),
            CKA_UNWRAP,
        )?;
        match cipher.run(data, Some(usize::MAX))? {
            Output::Bytes(value) => Ok(value),
            _ => Err(Error::from(CKR_FUNCTION_FAILED)),
        }
    };
    match work {
        Work::KeyWrap | Work::KeyWrapPad | Work::KeyWrapPkcs7 => {
            let kek = match (
                keywrap::kek(
                    work,
                    mechanism,
                    unwrapping,
                    CKA_UNWRAP,
                    in_store(work).map(Ability::Unwrap),
                )?,
                in_store(work),
            ) {
                (Material::Local(kek), _) => kek,
                (Material::Remote(store, kek), Some(wrapping)) => {
                    match store.unwrap(&kek, wrapping, wrapped) {
                        Ok(value) => return Ok(value),
                        Err(e) => instead(mechanism, unwrapping, e)?,
                    }
                }
                (Material::Remote(..), None) => return Err(CKR_MECHANISM_INVALID.into()),
            };
            keywrap::unwrap(work, kek.expose(), wrapped)
        }
        Work::RsaAesKeyWrap => {
            let (aes_len, inner) = rsa_aes(mechanism)?;
            if unwrapping.class() != CKO_PRIVATE_KEY || unwrapping.key_type() != CKK_RSA {
                return Err(CKR_KEY_TYPE_INCONSISTENT.into());
            }
            let len = unwrapping.modulus_len()?;
            let (sealed, wrapped) = wrapped
                .split_at_checked(len)
                .ok_or(CKR_WRAPPED_KEY_LEN_RANGE)?;
            // A wrong padding shows no sooner than a wrong key.
            let aes = match decrypt(Work::RsaOaep, &inner, sealed) {
                Ok(aes) if aes.len() == aes_len => aes,
                Err(e) if e.rv() != CKR_ENCRYPTED_DATA_INVALID => return Err(e),
                _ => rng::bytes(aes_len)?,
            };
            kw::unwrap(Wrapping::Kwp, aes.expose(), wrapped)
        }
        _ => decrypt(work, mechanism, wrapped),
    }
}

/// A secret key of these attributes that the store unwraps to keep, so that its value is never here; `None` where it comes here.
pub fn source(
    mechanism: &Mechanism,
    unwrapping: &Key,
    wrapped: &[u8],
    attributes: &Attributes,
) -> Result<Option<Source>> {
    let work = serving(mechanism.kind, CKF_UNWRAP)?.work;
    let Some(wrapping) = in_store(work) else {
        return Ok(None);
    };
    // A check value wants the value to be checked with.
    let plain = attributes
        .bytes(CKA_CHECK_VALUE)
        .is_none_or(<[u8]>::is_empty);
    if !attributes.flag(CKA_TOKEN) || attributes.class() != CKO_SECRET_KEY || !plain {
        return Ok(None);
    }
    let Some(len) = value_len(wrapping, wrapped.len(), attributes) else {
        return Ok(None);
    };
    Ok(
        match keywrap::kek(
            work,
            mechanism,
            unwrapping,
            CKA_UNWRAP,
            Some(Ability::Unwrap(wrapping)),
        )
        .map_err(for_unwrapping)?
        {
            Material::Local(_) => None,
            Material::Remote(_, kek) => Some(Source::Wrapped {
                kek,
                wrapping,
                wrapped: reserve::copy(wrapped)?,
                len,
            }),
        },
    )
}

/// Length of the secret key in `wrapped` bytes, where type and wrapping leave only one.
fn value_len(wrapping: Wrapping, wrapped: usize, attributes: &Attributes) -> Option<usize> {
    let key_type = attributes.key_type()?;
    let len = match wrapping {
        Wrapping::Kw => wrapped.checked_sub(8).filter(|len| len % 8 == 0),
        // Padding hides up to 7 bytes: only types of a few lengths show theirs.
        Wrapping::Kwp if matches!(key_type, CKK_AES | CKK_DES3 | CKK_CHACHA20) => {
            wrapped.checked_sub(8)
        }
        Wrapping::Kwp => None,
    }?;
    let said = attributes
        .number(CKA_VALUE_LEN)
        .is_none_or(|said| said == len as CK_ULONG);
    (said && value::is_key_length(key_type, len)).then_some(len)
}

/// How a store wraps what a mechanism wraps, where KMIP has words for it.
fn in_store(work: Work) -> Option<Wrapping> {
    match work {
        Work::KeyWrap => Some(Wrapping::Kw),
        Work::KeyWrapPad => Some(Wrapping::Kwp),
        _ => None,
    }
}

/// Whether a key encryption key is refused because its store alone could use it.
fn only_there(work: Work, mechanism: &Mechanism, kek: &Key, error: &Error) -> bool {
    let allowed = kek.object.attributes.allows(mechanism.kind);
    error.rv() == CKR_MECHANISM_INVALID
        && allowed
        && kek.object.uid().is_some()
        && in_store(work).is_some()
}

/// Length of a wrapped secret key, where the key's is known.
fn wrapped_len(work: Work, key: &Key) -> Option<usize> {
    let len = key
        .object
        .attributes
        .number(CKA_VALUE_LEN)
        .filter(|_| key.class() == CKO_SECRET_KEY)?;
    in_store(work).and_then(|_| Some(usize::try_from(len).ok()?.next_multiple_of(8) + 8))
}

fn wrap_there(work: Work, store: &dyn KeyStore, kek: &Uid, key: &Key) -> Result<Vec<u8>> {
    let (Some(wrapping), Some(uid)) = (in_store(work), key.object.uid()) else {
        return Err(CKR_MECHANISM_INVALID.into());
    };
    let class = if key.class() == CKO_PRIVATE_KEY {
        Class::PrivateKey
    } else {
        Class::SecretKey
    };
    store.wrap(kek, wrapping, uid, class)
}

/// The value of a key encryption key whose store does not wrap or unwrap with it, where the token's policy lets it be had.
fn instead(mechanism: &Mechanism, kek: &Key, error: Error) -> Result<Arc<Secret>> {
    match error.rv() {
        // About the other key: with a value that can be had, it is wrapped here.
        CKR_KEY_NOT_WRAPPABLE if kek.may_be_had() => {
            kek.instead(mechanism.kind, error.with_rv(CKR_MECHANISM_INVALID))
        }
        CKR_KEY_NOT_WRAPPABLE | CKR_KEY_UNEXTRACTABLE | CKR_WRAPPED_KEY_INVALID => Err(error),
        _ => kek.instead(mechanism.kind, error),
    }
}

/// The length of the AES key of `CKM_RSA_AES_KEY_WRAP`, and the mechanism that transports it.
fn rsa_aes(mechanism: &Mechanism) -> Result<(usize, Mechanism)> {
    match &mechanism.params {
        Params::RsaAesKeyWrap {
            aes_bits: bits @ (128 | 192 | 256),
            oaep: Some(oaep),
        } => match oaep.as_ref() {
            Params::Oaep {
                hash,
                mgf,
                source,
                label,
            } => {
                let params = Params::Oaep {
                    hash: *hash,
                    mgf: *mgf,
                    source: *source,
                    label: label.clone(),
                };
                Ok((
                    *bits as usize / 8,
                    Mechanism {
                        kind: mechanism.kind,
                        params,
                    },
                ))
            }
            _ => Err(CKR_MECHANISM_PARAM_INVALID.into()),
        },
        _ => Err(CKR_MECHANISM_PARAM_INVALID.into()),
    }
}
