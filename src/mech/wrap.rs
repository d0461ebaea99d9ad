//! Wrapping keys for transport, and unwrapping them.

use super::cipher::CipherOperation;
use super::table::{Work, serving};
use super::{Key, Mechanism, Output, Params};
use crate::ck::*;
use crate::crypto::cipher::Direction;
use crate::crypto::kw::{self, Wrapping};
use crate::crypto::rng;
use crate::error::{Error, Result};
use crate::secret::Secret;
use crate::token::object::unflatten;
use crate::token::objects::Material;

/// Wraps `key` with `wrapping`: `C_WrapKey`. Errors are in the words of that function.
pub fn wrap(mechanism: &Mechanism, wrapping: &Key, key: &Key, room: Option<usize>) -> Result<Output> {
    let work = serving(mechanism.kind, CKF_WRAP)?.work;
    check_wrappable(wrapping, key)?;
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
fn check_wrappable(wrapping: &Key, key: &Key) -> Result<()> {
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
    let wanted = wrapping.object.attributes.bytes(CKA_WRAP_TEMPLATE).map(unflatten).unwrap_or_default();
    match wanted.0.iter().all(|a| a.matches(|kind| attributes.bytes(kind).map(Into::into))) {
        true => Ok(()),
        false => Err(CKR_KEY_NOT_WRAPPABLE.into()),
    }
}

fn seal(work: Work, mechanism: &Mechanism, wrapping: &Key, key: &Key, room: Option<usize>) -> Result<Output> {
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
            let kek = kek(mechanism, wrapping, CKA_WRAP)?;
            Ok(whole(wrap_with(work, kek.expose(), value()?.expose())?))
        }
        Work::RsaAesKeyWrap => {
            let (aes_len, inner) = rsa_aes(mechanism)?;
            let aes = rng::bytes(aes_len)?;
            let mut transport =
                CipherOperation::for_usage(Direction::Encrypt, Work::RsaOaep, &inner, wrapping.clone(), CKA_WRAP)?;
            let Output::Bytes(sealed) = transport.run(aes.expose(), Some(usize::MAX))? else {
                return Err(CKR_FUNCTION_FAILED.into());
            };
            let wrapped = kw::wrap(Wrapping::Kwp, aes.expose(), value()?.expose())?;
            Ok(whole([sealed.expose(), &wrapped].concat()))
        }
        _ => {
            let mut cipher = CipherOperation::for_usage(Direction::Encrypt, work, mechanism, wrapping.clone(), CKA_WRAP)?;
            let value = value()?;
            // Whole blocks are made with zeros that the length of the unwrapped key takes off again.
            let padded = match work {
                Work::Cipher(key_type, super::table::Mode::Ecb | super::table::Mode::Cbc) => {
                    if key.class() == CKO_PRIVATE_KEY {
                        return Err(CKR_KEY_NOT_WRAPPABLE.into());
                    }
                    let block = if key_type == CKK_DES3 { 8 } else { 16 };
                    let mut padded = value.expose().to_vec();
                    padded.resize(value.len().next_multiple_of(block), 0);
                    Secret::new(padded)
                }
                _ => value.duplicate(),
            };
            cipher.run(padded.expose(), room)
        }
    }
}

/// The value that `wrapped` carries: `C_UnwrapKey`. Errors are in the words of that function.
pub fn unwrap(mechanism: &Mechanism, unwrapping: &Key, wrapped: &[u8]) -> Result<Secret> {
    let work = serving(mechanism.kind, CKF_UNWRAP)?.work;
    open(work, mechanism, unwrapping, wrapped).map_err(|e| {
        let rv = match e.rv() {
            CKR_KEY_TYPE_INCONSISTENT => CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT,
            CKR_ENCRYPTED_DATA_INVALID | CKR_AEAD_DECRYPT_FAILED => CKR_WRAPPED_KEY_INVALID,
            CKR_ENCRYPTED_DATA_LEN_RANGE => CKR_WRAPPED_KEY_LEN_RANGE,
            other => other,
        };
        e.with_rv(rv)
    })
}

fn open(work: Work, mechanism: &Mechanism, unwrapping: &Key, wrapped: &[u8]) -> Result<Secret> {
    let decrypt = |work, mechanism: &Mechanism, data: &[u8]| {
        let mut cipher = CipherOperation::for_usage(Direction::Decrypt, work, mechanism, unwrapping.clone(), CKA_UNWRAP)?;
        match cipher.run(data, Some(usize::MAX))? {
            Output::Bytes(value) => Ok(value),
            _ => Err(Error::from(CKR_FUNCTION_FAILED)),
        }
    };
    match work {
        Work::KeyWrap | Work::KeyWrapPad | Work::KeyWrapPkcs7 => {
            let kek = kek(mechanism, unwrapping, CKA_UNWRAP)?;
            unwrap_with(work, kek.expose(), wrapped)
        }
        Work::RsaAesKeyWrap => {
            let (aes_len, inner) = rsa_aes(mechanism)?;
            if unwrapping.class() != CKO_PRIVATE_KEY || unwrapping.key_type() != CKK_RSA {
                return Err(CKR_KEY_TYPE_INCONSISTENT.into());
            }
            let len = unwrapping.modulus_len()?;
            let (sealed, wrapped) = wrapped.split_at_checked(len).ok_or(CKR_WRAPPED_KEY_LEN_RANGE)?;
            let aes = decrypt(Work::RsaOaep, &inner, sealed)?;
            if aes.len() != aes_len {
                return Err(CKR_WRAPPED_KEY_INVALID.into());
            }
            kw::unwrap(Wrapping::Kwp, aes.expose(), wrapped)
        }
        _ => decrypt(work, mechanism, wrapped),
    }
}

/// The value of an AES key encryption key: no store's vocabulary has key wrapping.
fn kek(mechanism: &Mechanism, key: &Key, usage: CK_ATTRIBUTE_TYPE) -> Result<std::sync::Arc<Secret>> {
    if key.class() != CKO_SECRET_KEY || key.key_type() != CKK_AES {
        return Err(CKR_KEY_TYPE_INCONSISTENT.into());
    }
    key.check(mechanism.kind, usage)?;
    // The initial value may be given, and only the standard's own is supported (RFC 3394, RFC 5649).
    match &mechanism.params {
        Params::None => {}
        Params::Raw(iv) if mechanism.kind == CKM_AES_KEY_WRAP && *iv == [0xa6; 8] => {}
        Params::Raw(iv) if mechanism.kind != CKM_AES_KEY_WRAP && *iv == [0xa6, 0x59, 0x59, 0xa6] => {}
        _ => return Err(CKR_MECHANISM_PARAM_INVALID.into()),
    }
    match key.material(mechanism.kind, None)? {
        Material::Local(value) => Ok(value),
        Material::Remote(..) => Err(CKR_MECHANISM_INVALID.into()),
    }
}

fn wrap_with(work: Work, kek: &[u8], value: &[u8]) -> Result<Vec<u8>> {
    match work {
        Work::KeyWrap => kw::wrap(Wrapping::Kw, kek, value),
        Work::KeyWrapPad => kw::wrap(Wrapping::Kwp, kek, value),
        _ => {
            let fill = 8 - value.len() % 8;
            let padded = Secret::new([value, &vec![fill as u8; fill]].concat());
            kw::wrap(Wrapping::Kw, kek, padded.expose())
        }
    }
}

fn unwrap_with(work: Work, kek: &[u8], wrapped: &[u8]) -> Result<Secret> {
    match work {
        Work::KeyWrap => kw::unwrap(Wrapping::Kw, kek, wrapped),
        Work::KeyWrapPad => kw::unwrap(Wrapping::Kwp, kek, wrapped),
        _ => {
            let padded = kw::unwrap(Wrapping::Kw, kek, wrapped)?;
            let bytes = padded.expose();
            let fill = usize::from(*bytes.last().ok_or(CKR_WRAPPED_KEY_INVALID)?);
            match bytes.len().checked_sub(fill) {
                Some(len) if (1..=8).contains(&fill) && bytes[len..].iter().all(|b| usize::from(*b) == fill) => {
                    Ok(Secret::new(bytes[..len].to_vec()))
                }
                _ => Err(CKR_WRAPPED_KEY_INVALID.into()),
            }
        }
    }
}

/// The length of the AES key of `CKM_RSA_AES_KEY_WRAP`, and the mechanism that transports it.
fn rsa_aes(mechanism: &Mechanism) -> Result<(usize, Mechanism)> {
    match &mechanism.params {
        Params::RsaAesKeyWrap { aes_bits: bits @ (128 | 192 | 256), oaep: Some(oaep) } => match oaep.as_ref() {
            Params::Oaep { hash, mgf, source, label } => {
                let params = Params::Oaep { hash: *hash, mgf: *mgf, source: *source, label: label.clone() };
                Ok((*bits as usize / 8, Mechanism { kind: mechanism.kind, params }))
            }
            _ => Err(CKR_MECHANISM_PARAM_INVALID.into()),
        },
        _ => Err(CKR_MECHANISM_PARAM_INVALID.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wrapping_undoes_itself_and_refuses_the_others() {
        let kek = [1; 32];
        let works = [Work::KeyWrap, Work::KeyWrapPad, Work::KeyWrapPkcs7];
        for (i, work) in works.into_iter().enumerate() {
            for len in [16, 24, 32, 40] {
                let wrapped = wrap_with(work, &kek, &vec![9; len]).unwrap();
                assert_eq!(unwrap_with(work, &kek, &wrapped).unwrap().expose(), vec![9; len]);
                assert!(unwrap_with(work, &[2; 32], &wrapped).is_err());
                if i == 1 {
                    assert!(unwrap_with(Work::KeyWrap, &kek, &wrapped).is_err());
                }
            }
        }
        assert!(wrap_with(Work::KeyWrap, &kek, &[9; 17]).is_err());
        for work in &works[1..] {
            let wrapped = wrap_with(*work, &kek, &[9; 17]).unwrap();
            assert_eq!(unwrap_with(*work, &kek, &wrapped).unwrap().expose(), [9; 17]);
        }
        let plain = kw::wrap(Wrapping::Kw, &kek, &[9; 16]).unwrap();
        assert!(unwrap_with(Work::KeyWrapPkcs7, &kek, &plain).is_err(), "no padding there");
    }
}
