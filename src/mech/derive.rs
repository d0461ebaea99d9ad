//! Deriving keys from keys.

use std::sync::Arc;

use super::cipher::CipherOperation;
use super::sp800_108;
use super::table::{Mode, Work, serving};
use super::{Key, Mechanism, Output, Params, hash_of};
use crate::ck::*;
use crate::crypto::cipher::Direction;
use crate::crypto::{Hash, kdf};
use crate::error::{Error, Result};
use crate::secret::Secret;
use crate::token::objects::Material;
use crate::token::value::public_from_point;
use crate::token::{policy, spec, value};

/// Finds another key that a mechanism's parameter names.
pub type Lookup<'a> = &'a dyn Fn(CK_OBJECT_HANDLE) -> Result<Key>;

/// What is derived.
pub struct Derived {
    /// A value for each key: at least as many bytes as were asked for, or all there are.
    pub values: Vec<Secret>,
    /// How well they are guarded.
    pub guard: Guard,
    /// The other keys that they are made of.
    pub others: Vec<Key>,
}

/// How `CKA_SENSITIVE` and `CKA_EXTRACTABLE` of a derived key follow from those of the keys it is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// It must be as well guarded: it contains their bytes.
    Inherits,
    /// As its template or a default says.
    Free,
    /// As its template says, and where that is silent as the base key (SP 800-108).
    AsBase,
}

/// The most iterations of a password: many seconds of work, and the call must end.
const MOST_ITERATIONS: CK_ULONG = 10_000_000;

/// Derives key material from `base`: `C_DeriveKey`. `lens` are the lengths of the new keys, where they are known; only SP 800-108 makes
/// more than one key.
pub fn derive(
    mechanism: &Mechanism,
    base: &Key,
    lens: &[Option<usize>],
    lookup: Lookup<'_>,
) -> Result<Derived> {
    let len = lens.first().copied().flatten();
    let work = serving(mechanism.kind, CKF_DERIVE)?.work;
    let wanted = || len.ok_or(Error::from(CKR_TEMPLATE_INCOMPLETE));
    match work {
        Work::Ecdh => {
            if base.class() != CKO_PRIVATE_KEY
                || !matches!(base.key_type(), CKK_EC | CKK_EC_MONTGOMERY)
            {
                return Err(CKR_KEY_TYPE_INCONSISTENT.into());
            }
        }
        _ => secret_key(base)?,
    }
    base.check(mechanism.kind, CKA_DERIVE)?;
    if copies_bytes(work) {
        base.check_exposed()?;
    }
    if mechanism.kind == CKM_HKDF_DATA
        && !policy::may_show_digest(base.token.key_policy(), &base.object.attributes)
    {
        return Err(CKR_KEY_FUNCTION_NOT_PERMITTED.into());
    }
    let guarded = |value| {
        Ok(Derived {
            values: vec![value],
            guard: Guard::Inherits,
            others: Vec::new(),
        })
    };
    let free = |value| {
        Ok(Derived {
            values: vec![value],
            guard: Guard::Free,
            others: Vec::new(),
        })
    };
    let other_key = |handle| {
        let other = lookup(handle)?;
        secret_key(&other)?;
        other.check(mechanism.kind, CKA_DERIVE)?;
        Ok::<_, Error>(other)
    };
    match (work, &mechanism.params) {
        (
            Work::Ecdh,
            Params::Ecdh1 {
                kdf,
                shared,
                public,
            },
        ) => {
            let secret = agree(mechanism, base, public)?;
            match Agreed::of(*kdf)? {
                Agreed::Bare if shared.is_empty() => free(tail(secret, len)),
                Agreed::Bare => Err(CKR_MECHANISM_PARAM_INVALID.into()),
                Agreed::X963(hash) => free(kdf::x9_63(hash, secret.expose(), shared, wanted()?)?),
                Agreed::OneStep(hash) => {
                    free(kdf::one_step(hash, secret.expose(), shared, wanted()?)?)
                }
            }
        }
        (
            Work::Hkdf,
            Params::Hkdf {
                extract,
                expand,
                prf,
                salt_type,
                salt,
                salt_key,
                info,
            },
        ) => {
            let hash = hash_of(*prf)?;
            // Where neither template nor type say a length, it is that of the hash.
            let len = len.unwrap_or(hash.output_len());
            let key = material(mechanism, base)?;
            let mut others = Vec::new();
            let salted;
            let salt: &[u8] = match *salt_type {
                CKF_HKDF_SALT_NULL => &[],
                CKF_HKDF_SALT_DATA => salt,
                CKF_HKDF_SALT_KEY => {
                    let other = other_key(*salt_key)?;
                    salted = material(mechanism, &other)?;
                    others.push(other);
                    salted.expose()
                }
                _ => return Err(CKR_MECHANISM_PARAM_INVALID.into()),
            };
            let value = match (extract, expand) {
                (true, true) => kdf::hkdf(hash, salt, key.expose(), info, len)?,
                (true, false) => kdf::hkdf_extract(hash, salt, key.expose())?,
                (false, true) => kdf::hkdf_expand(hash, key.expose(), info, len)?,
                (false, false) => return Err(CKR_MECHANISM_PARAM_INVALID.into()),
            };
            Ok(Derived {
                values: vec![value],
                guard: Guard::Free,
                others,
            })
        }
        (Work::Sp800108(kdf), Params::Sp800108 { .. }) => {
            let lens = lens
                .iter()
                .map(|len| len.ok_or(CKR_TEMPLATE_INCOMPLETE.into()))
                .collect::<Result<Vec<_>>>()?;
            let (values, others) = sp800_108::derive(kdf, mechanism, base, &lens, lookup)?;
            Ok(Derived {
                values,
                guard: Guard::AsBase,
                others,
            })
        }
        (Work::ConcatenateBaseAndKey, Params::Key(other)) => {
            let other = other_key(*other)?;
            other.check_exposed()?;
            let (first, second) = (material(mechanism, base)?, material(mechanism, &other)?);
            let value = Secret::new([first.expose(), second.expose()].concat());
            Ok(Derived {
                values: vec![value],
                guard: Guard::Inherits,
                others: vec![other],
            })
        }
        (Work::ConcatenateBaseAndData, Params::DerivationString(data)) => guarded(Secret::new(
            [material(mechanism, base)?.expose(), data.expose()].concat(),
        )),
        (Work::ConcatenateDataAndBase, Params::DerivationString(data)) => guarded(Secret::new(
            [data.expose(), material(mechanism, base)?.expose()].concat(),
        )),
        (Work::XorBaseAndData, Params::DerivationString(data)) => {
            let base = material(mechanism, base)?;
            guarded(Secret::new(
                base.expose()
                    .iter()
                    .zip(data.expose())
                    .map(|(a, b)| a ^ b)
                    .collect(),
            ))
        }
        (Work::ExtractKeyFromKey, Params::Number(bit)) => guarded(extract_bits(
            material(mechanism, base)?.expose(),
            *bit,
            wanted()?,
        )?),
        (Work::HashKey(hash), Params::None) => free(Secret::new(crate::crypto::hash::digest(
            hash,
            material(mechanism, base)?.expose(),
        )?)),
        (Work::EcbEncryptData(key_type), Params::DerivationString(data)) => {
            let encrypted = encrypt(
                mechanism,
                base,
                Work::Cipher(key_type, Mode::Ecb),
                Params::None,
                data,
            );
            free(enough(encrypted, len)?)
        }
        (Work::CbcEncryptData(key_type), Params::CbcEncryptData { iv, data }) => {
            let encrypted = encrypt(
                mechanism,
                base,
                Work::Cipher(key_type, Mode::Cbc),
                Params::Raw(iv.clone()),
                data,
            );
            free(enough(encrypted, len)?)
        }
        _ => Err(CKR_MECHANISM_PARAM_INVALID.into()),
    }
}

/// Whether the derived key has bytes of the base key, as they are or under a mask that the caller knows.
fn copies_bytes(work: Work) -> bool {
    matches!(
        work,
        Work::ConcatenateBaseAndKey
            | Work::ConcatenateBaseAndData
            | Work::ConcatenateDataAndBase
            | Work::XorBaseAndData
            | Work::ExtractKeyFromKey
    )
}

/// What a key is cut from. That the data which the parameter holds are no whole blocks, or too few of them, is the parameter's fault:
/// `C_DeriveKey` has no data of its own.
fn enough(encrypted: Result<Secret>, len: Option<usize>) -> Result<Secret> {
    match encrypted {
        Ok(value) if len.is_some_and(|len| len > value.len()) => {
            Err(CKR_MECHANISM_PARAM_INVALID.into())
        }
        Err(e) if e.rv() == CKR_DATA_LEN_RANGE => Err(e.with_rv(CKR_MECHANISM_PARAM_INVALID)),
        encrypted => encrypted,
    }
}

/// The key of a password: `CKM_PKCS5_PBKD2`.
pub fn from_password(params: &Params, len: usize) -> Result<Secret> {
    let Params::Pbkdf2 {
        salt_source: CKZ_SALT_SPECIFIED,
        salt,
        iterations,
        prf,
        password,
    } = params
    else {
        return Err(CKR_MECHANISM_PARAM_INVALID.into());
    };
    let hash = match *prf {
        CKP_PKCS5_PBKD2_HMAC_SHA1 => Hash::Sha1,
        CKP_PKCS5_PBKD2_HMAC_SHA224 => Hash::Sha224,
        CKP_PKCS5_PBKD2_HMAC_SHA256 => Hash::Sha256,
        CKP_PKCS5_PBKD2_HMAC_SHA384 => Hash::Sha384,
        CKP_PKCS5_PBKD2_HMAC_SHA512 => Hash::Sha512,
        CKP_PKCS5_PBKD2_HMAC_SHA512_224 => Hash::Sha512_224,
        CKP_PKCS5_PBKD2_HMAC_SHA512_256 => Hash::Sha512_256,
        _ => return Err(CKR_MECHANISM_PARAM_INVALID.into()),
    };
    if *iterations > MOST_ITERATIONS {
        return Err(CKR_MECHANISM_PARAM_INVALID.into());
    }
    kdf::pbkdf2(hash, password.expose(), salt, *iterations as u32, len)
}

/// Refuses what is no secret key.
pub(super) fn secret_key(key: &Key) -> Result<()> {
    if key.class() == CKO_SECRET_KEY {
        Ok(())
    } else {
        Err(CKR_KEY_TYPE_INCONSISTENT.into())
    }
}

/// The value of a key: no store derives as PKCS#11 does.
pub(super) fn material(mechanism: &Mechanism, key: &Key) -> Result<Arc<Secret>> {
    match key.material(mechanism.kind, None)? {
        Material::Local(value) => Ok(value),
        Material::Remote(..) => Err(CKR_MECHANISM_INVALID.into()),
    }
}

fn agree(mechanism: &Mechanism, base: &Key, public: &[u8]) -> Result<Secret> {
    let key = base
        .token
        .private_key(&base.object, &*material(mechanism, base)?)?;
    let curve = value::curve(&base.object.attributes)?;
    let peer = public_from_point(curve, public).map_err(|_| CKR_MECHANISM_PARAM_INVALID)?;
    key.agree(&peer.point()?)
}

/// Without a derivation function the key is the end of the shared secret (leading bytes are removed, 3.0 section 2.3.9).
fn tail(secret: Secret, len: Option<usize>) -> Secret {
    match len {
        Some(len) if len < secret.len() => {
            Secret::new(secret.expose()[secret.len() - len..].to_vec())
        }
        _ => secret,
    }
}

/// What becomes of an agreed secret (`CKD_*`).
enum Agreed {
    Bare,
    X963(Hash),
    OneStep(Hash),
}

impl Agreed {
    fn of(kdf: CK_ULONG) -> Result<Agreed> {
        Ok(match kdf {
            CKD_NULL => Agreed::Bare,
            CKD_SHA1_KDF => Agreed::X963(Hash::Sha1),
            CKD_SHA224_KDF => Agreed::X963(Hash::Sha224),
            CKD_SHA256_KDF => Agreed::X963(Hash::Sha256),
            CKD_SHA384_KDF => Agreed::X963(Hash::Sha384),
            CKD_SHA512_KDF => Agreed::X963(Hash::Sha512),
            CKD_SHA3_224_KDF => Agreed::X963(Hash::Sha3_224),
            CKD_SHA3_256_KDF => Agreed::X963(Hash::Sha3_256),
            CKD_SHA3_384_KDF => Agreed::X963(Hash::Sha3_384),
            CKD_SHA3_512_KDF => Agreed::X963(Hash::Sha3_512),
            CKD_SHA1_KDF_SP800 => Agreed::OneStep(Hash::Sha1),
            CKD_SHA224_KDF_SP800 => Agreed::OneStep(Hash::Sha224),
            CKD_SHA256_KDF_SP800 => Agreed::OneStep(Hash::Sha256),
            CKD_SHA384_KDF_SP800 => Agreed::OneStep(Hash::Sha384),
            CKD_SHA512_KDF_SP800 => Agreed::OneStep(Hash::Sha512),
            CKD_SHA3_224_KDF_SP800 => Agreed::OneStep(Hash::Sha3_224),
            CKD_SHA3_256_KDF_SP800 => Agreed::OneStep(Hash::Sha3_256),
            CKD_SHA3_384_KDF_SP800 => Agreed::OneStep(Hash::Sha3_384),
            CKD_SHA3_512_KDF_SP800 => Agreed::OneStep(Hash::Sha3_512),
            _ => return Err(CKR_MECHANISM_PARAM_INVALID.into()),
        })
    }
}

/// `len` bytes from the bit `start` on, bit 0 being the first byte's highest; the key is a ring.
fn extract_bits(key: &[u8], start: CK_ULONG, len: usize) -> Result<Secret> {
    let total = key.len() * 8;
    let start = usize::try_from(start)
        .ok()
        .filter(|s| *s < total)
        .ok_or(CKR_MECHANISM_PARAM_INVALID)?;
    if len > key.len() {
        return Err(CKR_KEY_SIZE_RANGE.into());
    }
    let bit = |i: usize| key[i % total / 8] >> (7 - i % 8) & 1;
    let byte = |n: usize| (0..8).fold(0, |byte, i| byte << 1 | bit(start + n * 8 + i));
    Ok(Secret::new((0..len).map(byte).collect()))
}

fn encrypt(
    mechanism: &Mechanism,
    base: &Key,
    work: Work,
    params: Params,
    data: &Secret,
) -> Result<Secret> {
    let inner = Mechanism {
        kind: mechanism.kind,
        params,
    };
    let mut cipher =
        CipherOperation::for_usage(Direction::Encrypt, work, &inner, base.clone(), CKA_DERIVE)?;
    // The data stand in the parameter.
    let output = cipher
        .run(data.expose(), Some(usize::MAX))
        .map_err(|e| match e.rv() {
            CKR_DATA_LEN_RANGE => e.with_rv(CKR_MECHANISM_PARAM_INVALID),
            _ => e,
        })?;
    match output {
        Output::Bytes(value) => Ok(value),
        _ => Err(CKR_FUNCTION_FAILED.into()),
    }
}

/// The length that a key of this type has when a template does not say it.
pub fn usual_len(key_type: CK_KEY_TYPE) -> Option<usize> {
    match spec::hmac_hash(key_type) {
        Some(hash) => Some(hash.output_len()),
        None => match value::key_lengths(key_type) {
            (from, to, _) if from == to => Some(from),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_taken_from_a_ring() {
        let key = [0x32, 0x9f, 0x84, 0xa9];
        // The example of PKCS#11, 2.36.8: bit 21, two bytes.
        assert_eq!(extract_bits(&key, 21, 2).unwrap().expose(), [0x95, 0x26]);
        assert_eq!(extract_bits(&key, 0, 4).unwrap().expose(), key);
        assert!(extract_bits(&key, 32, 1).is_err() && extract_bits(&key, 0, 5).is_err());
    }
}
