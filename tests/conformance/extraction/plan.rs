//! The calls that are tried: mechanisms and templates.

use std::ptr::null_mut;

use mrhsm_pkcs11::ck::*;

use super::super::app::{App, Mech, Rows, at, rows};
use super::super::usual::OAEP;
use super::oracle::DATA;

/// A public key whose private half the caller knows.
pub fn own_pair(app: App<'_>) -> CK_OBJECT_HANDLE {
    let public = rows![CKA_MODULUS_BITS: 2048, CKA_ENCRYPT: true, CKA_WRAP: true];
    let read = rows![CKA_SENSITIVE: false, CKA_EXTRACTABLE: true];
    app.pair(CKM_RSA_PKCS_KEY_PAIR_GEN, &public, &read)
        .unwrap()
        .0
}

fn flag(kind: CK_ATTRIBUTE_TYPE, value: bool) -> Rows {
    vec![(kind, vec![u8::from(value)])]
}

/// Changes that would help a caller, with their names.
pub fn changes() -> Vec<(&'static str, Rows)> {
    vec![
        ("CKA_DERIVE", flag(CKA_DERIVE, true)),
        ("CKA_DECRYPT", flag(CKA_DECRYPT, true)),
        ("CKA_ENCRYPT", flag(CKA_ENCRYPT, true)),
        ("CKA_WRAP", flag(CKA_WRAP, true)),
        ("CKA_UNWRAP", flag(CKA_UNWRAP, true)),
        ("CKA_SIGN", flag(CKA_SIGN, true)),
        ("CKA_SENSITIVE off", flag(CKA_SENSITIVE, false)),
        ("CKA_EXTRACTABLE", flag(CKA_EXTRACTABLE, true)),
        (
            "CKA_WRAP_WITH_TRUSTED off",
            flag(CKA_WRAP_WITH_TRUSTED, false),
        ),
    ]
}

/// The mechanisms that wrap and unwrap secret keys, and that encrypt and decrypt, with their names. Whether what they make is the key XOR
/// bytes that depend on the IV alone.
pub fn ciphers() -> Vec<(&'static str, Mech, bool)> {
    let iv = |kind| Mech::iv(kind, &[1; 16]);
    let gcm = CK_GCM_PARAMS {
        pIv: at(&DATA),
        ulIvLen: 12,
        ulIvBits: 96,
        ulTagBits: 128,
        ..Default::default()
    };
    let ctr = CK_AES_CTR_PARAMS {
        ulCounterBits: 32,
        cb: [9; 16],
    };
    vec![
        ("CKM_AES_ECB", Mech::bare(CKM_AES_ECB), false),
        ("CKM_AES_CBC", iv(CKM_AES_CBC), false),
        ("CKM_AES_CBC_PAD", iv(CKM_AES_CBC_PAD), false),
        ("CKM_AES_CTR", Mech::with(CKM_AES_CTR, ctr), true),
        ("CKM_AES_OFB", iv(CKM_AES_OFB), true),
        ("CKM_AES_CFB8", iv(CKM_AES_CFB8), false),
        ("CKM_AES_CFB128", iv(CKM_AES_CFB128), true),
        ("CKM_AES_GCM", Mech::with(CKM_AES_GCM, gcm), true),
        ("CKM_AES_KEY_WRAP", Mech::bare(CKM_AES_KEY_WRAP), false),
        (
            "CKM_AES_KEY_WRAP_KWP",
            Mech::bare(CKM_AES_KEY_WRAP_KWP),
            false,
        ),
    ]
}

/// The mechanisms that wrap under a public key.
pub fn transports() -> Vec<(&'static str, Mech)> {
    vec![
        ("CKM_RSA_PKCS", Mech::bare(CKM_RSA_PKCS)),
        ("CKM_RSA_PKCS_OAEP", Mech::with(CKM_RSA_PKCS_OAEP, OAEP)),
    ]
}

/// The mechanisms that derive keys from secret keys. `other` is a second key for those that take one. Whether the result has bytes of
/// the keys it is made of.
pub fn derivations(other: CK_OBJECT_HANDLE) -> Vec<(&'static str, Mech, bool)> {
    let text = CK_KEY_DERIVATION_STRING_DATA {
        pData: at(&DATA),
        ulLen: 32,
    };
    let cbc = CK_AES_CBC_ENCRYPT_DATA_PARAMS {
        iv: [4; 16],
        pData: at(&DATA),
        length: 32,
    };
    vec![
        (
            "CKM_EXTRACT_KEY_FROM_KEY",
            Mech::with::<CK_ULONG>(CKM_EXTRACT_KEY_FROM_KEY, 0),
            true,
        ),
        (
            "CKM_CONCATENATE_BASE_AND_DATA",
            Mech::with(CKM_CONCATENATE_BASE_AND_DATA, text),
            true,
        ),
        (
            "CKM_CONCATENATE_DATA_AND_BASE",
            Mech::with(CKM_CONCATENATE_DATA_AND_BASE, text),
            true,
        ),
        (
            "CKM_CONCATENATE_BASE_AND_KEY",
            Mech::with(CKM_CONCATENATE_BASE_AND_KEY, other),
            true,
        ),
        (
            "CKM_XOR_BASE_AND_DATA",
            Mech::with(CKM_XOR_BASE_AND_DATA, text),
            true,
        ),
        (
            "CKM_AES_ECB_ENCRYPT_DATA",
            Mech::with(CKM_AES_ECB_ENCRYPT_DATA, text),
            false,
        ),
        (
            "CKM_AES_CBC_ENCRYPT_DATA",
            Mech::with(CKM_AES_CBC_ENCRYPT_DATA, cbc),
            false,
        ),
        (
            "CKM_SHA256_KEY_DERIVATION",
            Mech::bare(CKM_SHA256_KEY_DERIVATION),
            false,
        ),
        ("CKM_HKDF_DERIVE", hkdf(CKM_HKDF_DERIVE, None), false),
        (
            "CKM_HKDF_DERIVE, salted",
            hkdf(CKM_HKDF_DERIVE, Some(other)),
            false,
        ),
        ("CKM_HKDF_DATA", hkdf(CKM_HKDF_DATA, None), false),
        (
            "CKM_SP800_108_COUNTER_KDF",
            counter(CKM_AES_CMAC, None),
            false,
        ),
        (
            "CKM_SP800_108_COUNTER_KDF of a key",
            counter(CKM_AES_CMAC, Some(other)),
            true,
        ),
    ]
}

fn hkdf(kind: CK_MECHANISM_TYPE, salt: Option<CK_OBJECT_HANDLE>) -> Mech {
    let params = CK_HKDF_PARAMS {
        bExtract: CK_TRUE,
        bExpand: CK_TRUE,
        prfHashMechanism: CKM_SHA256,
        ulSaltType: if salt.is_some() {
            CKF_HKDF_SALT_KEY
        } else {
            CKF_HKDF_SALT_NULL
        },
        hSaltKey: salt.unwrap_or_default(),
        ..Default::default()
    };
    Mech::with(kind, params)
}

/// SP 800-108 in counter mode; the counter stands behind the key, which so fills the first block by itself.
fn counter(prf: CK_MECHANISM_TYPE, key: Option<CK_OBJECT_HANDLE>) -> Mech {
    let counter = Box::leak(Box::new(CK_SP800_108_COUNTER_FORMAT {
        bLittleEndian: CK_FALSE,
        ulWidthInBits: 8,
    }));
    let mut parts = Vec::new();
    if let Some(key) = key {
        parts.push(CK_PRF_DATA_PARAM {
            type_: CK_SP800_108_KEY_HANDLE,
            pValue: std::ptr::from_mut(Box::leak(Box::new(key))).cast(),
            ulValueLen: size_of::<CK_OBJECT_HANDLE>() as CK_ULONG,
        });
    }
    parts.push(CK_PRF_DATA_PARAM {
        type_: CK_SP800_108_ITERATION_VARIABLE,
        pValue: std::ptr::from_mut(counter).cast(),
        ulValueLen: size_of::<CK_SP800_108_COUNTER_FORMAT>() as CK_ULONG,
    });
    let params = CK_SP800_108_KDF_PARAMS {
        prfType: prf,
        ulNumberOfDataParams: parts.len() as CK_ULONG,
        pDataParams: parts.leak().as_mut_ptr(),
        ulAdditionalDerivedKeys: 0,
        pAdditionalDerivedKeys: null_mut(),
    };
    Mech::with(CKM_SP800_108_COUNTER_KDF, params)
}

/// Templates of keys that are unwrapped or derived: in the open, closed and extractable, and short.
pub fn templates() -> Vec<(&'static str, Rows)> {
    let secret = rows![CKA_CLASS: CKO_SECRET_KEY];
    let aes = rows![; secret, CKA_KEY_TYPE: CKK_AES];
    let generic = rows![; secret, CKA_KEY_TYPE: CKK_GENERIC_SECRET];
    vec![
        (
            "in the open",
            rows![; generic, CKA_VALUE_LEN: 32, CKA_SENSITIVE: false, CKA_EXTRACTABLE: true],
        ),
        (
            "one byte",
            rows![; generic, CKA_VALUE_LEN: 1, CKA_SENSITIVE: true, CKA_SIGN: true],
        ),
        (
            "to wrap",
            rows![; aes, CKA_VALUE_LEN: 32, CKA_WRAP: true, CKA_EXTRACTABLE: true],
        ),
        (
            "to decrypt",
            rows![; aes, CKA_VALUE_LEN: 32, CKA_DECRYPT: true, CKA_EXTRACTABLE: true],
        ),
        (
            "to derive",
            rows![; aes, CKA_VALUE_LEN: 32, CKA_DERIVE: true, CKA_EXTRACTABLE: false],
        ),
    ]
}
