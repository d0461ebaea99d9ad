//! Keys and parameters with which every mechanism works.

use std::ptr::null_mut;

use mrhsm_pkcs11::ck::*;

use super::app::{App, Mech, at, rows};

pub const P256: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
pub const ED25519: &[u8] = b"\x06\x03\x2b\x65\x70";
pub const TEXT: &[u8; 48] = b"forty-eight bytes of text: three blocks of AES..";

/// The hash of a mechanism that has one, as parameters name it, with its mask generation function and length.
fn hash(kind: CK_MECHANISM_TYPE) -> (CK_MECHANISM_TYPE, CK_ULONG, usize) {
    match kind {
        CKM_SHA1_RSA_PKCS_PSS => (CKM_SHA_1, CKG_MGF1_SHA1, 20),
        CKM_SHA224_RSA_PKCS_PSS => (CKM_SHA224, CKG_MGF1_SHA224, 28),
        CKM_SHA384_RSA_PKCS_PSS => (CKM_SHA384, CKG_MGF1_SHA384, 48),
        CKM_SHA512_RSA_PKCS_PSS => (CKM_SHA512, CKG_MGF1_SHA512, 64),
        CKM_SHA3_224_RSA_PKCS_PSS => (CKM_SHA3_224, CKG_MGF1_SHA3_224, 28),
        CKM_SHA3_256_RSA_PKCS_PSS => (CKM_SHA3_256, CKG_MGF1_SHA3_256, 32),
        CKM_SHA3_384_RSA_PKCS_PSS => (CKM_SHA3_384, CKG_MGF1_SHA3_384, 48),
        CKM_SHA3_512_RSA_PKCS_PSS => (CKM_SHA3_512, CKG_MGF1_SHA3_512, 64),
        _ => (CKM_SHA256, CKG_MGF1_SHA256, 32),
    }
}

pub const OAEP: CK_RSA_PKCS_OAEP_PARAMS = CK_RSA_PKCS_OAEP_PARAMS {
    hashAlg: CKM_SHA256,
    mgf: CKG_MGF1_SHA256,
    source: CKZ_DATA_SPECIFIED,
    pSourceData: null_mut(),
    ulSourceDataLen: 0,
};

/// The mechanism with a parameter that is right for it.
pub fn usual(kind: CK_MECHANISM_TYPE, keys: &Keys) -> Mech {
    let text = CK_KEY_DERIVATION_STRING_DATA {
        pData: at(TEXT),
        ulLen: 32,
    };
    match kind {
        CKM_AES_CBC
        | CKM_AES_CBC_PAD
        | CKM_AES_OFB
        | CKM_AES_CFB64..=CKM_AES_CFB1
        | CKM_AES_CTS
        | CKM_AES_XTS => Mech::iv(kind, &[1; 16]),
        CKM_DES3_CBC | CKM_DES3_CBC_PAD => Mech::iv(kind, &[1; 8]),
        CKM_AES_CTR => Mech::with(
            kind,
            CK_AES_CTR_PARAMS {
                ulCounterBits: 32,
                cb: [9; 16],
            },
        ),
        CKM_AES_GCM => Mech::with(
            kind,
            CK_GCM_PARAMS {
                pIv: at(TEXT),
                ulIvLen: 12,
                ulIvBits: 96,
                pAAD: at(TEXT),
                ulAADLen: 20,
                ulTagBits: 128,
            },
        ),
        CKM_AES_CCM => Mech::with(
            kind,
            CK_CCM_PARAMS {
                ulDataLen: 48,
                pNonce: at(TEXT),
                ulNonceLen: 12,
                pAAD: at(TEXT),
                ulAADLen: 20,
                ulMACLen: 16,
            },
        ),
        CKM_CHACHA20 => Mech::with(
            kind,
            CK_CHACHA20_PARAMS {
                pBlockCounter: at(b"\x01\0\0\0"),
                blockCounterBits: 32,
                pNonce: at(TEXT),
                ulNonceBits: 96,
            },
        ),
        CKM_CHACHA20_POLY1305 => Mech::with(
            kind,
            CK_SALSA20_CHACHA20_POLY1305_PARAMS {
                pNonce: at(TEXT),
                ulNonceLen: 12,
                pAAD: at(TEXT),
                ulAADLen: 20,
            },
        ),
        CKM_AES_GMAC => Mech::iv(kind, &[3; 12]),
        CKM_RSA_PKCS_OAEP => Mech::with(kind, OAEP),
        CKM_RSA_AES_KEY_WRAP => {
            let oaep: &'static CK_RSA_PKCS_OAEP_PARAMS = Box::leak(Box::new(OAEP));
            let inner = std::ptr::from_ref(oaep).cast_mut();
            Mech::with(
                kind,
                CK_RSA_AES_KEY_WRAP_PARAMS {
                    ulAESKeyBits: 256,
                    pOAEPParams: inner,
                },
            )
        }
        CKM_RSA_PKCS_PSS
        | CKM_SHA1_RSA_PKCS_PSS
        | CKM_SHA224_RSA_PKCS_PSS
        | CKM_SHA256_RSA_PKCS_PSS
        | CKM_SHA384_RSA_PKCS_PSS
        | CKM_SHA512_RSA_PKCS_PSS
        | CKM_SHA3_224_RSA_PKCS_PSS
        | CKM_SHA3_256_RSA_PKCS_PSS
        | CKM_SHA3_384_RSA_PKCS_PSS
        | CKM_SHA3_512_RSA_PKCS_PSS => {
            let (hash, mgf, len) = hash(kind);
            Mech::with(
                kind,
                CK_RSA_PKCS_PSS_PARAMS {
                    hashAlg: hash,
                    mgf,
                    sLen: len as CK_ULONG,
                },
            )
        }
        CKM_AES_CMAC_GENERAL
        | CKM_DES3_CMAC_GENERAL
        | CKM_SHA_1_HMAC_GENERAL
        | CKM_SHA224_HMAC_GENERAL
        | CKM_SHA256_HMAC_GENERAL
        | CKM_SHA384_HMAC_GENERAL
        | CKM_SHA512_HMAC_GENERAL
        | CKM_SHA512_224_HMAC_GENERAL
        | CKM_SHA512_256_HMAC_GENERAL
        | CKM_SHA3_224_HMAC_GENERAL
        | CKM_SHA3_256_HMAC_GENERAL
        | CKM_SHA3_384_HMAC_GENERAL
        | CKM_SHA3_512_HMAC_GENERAL => Mech::with::<CK_ULONG>(kind, 8),
        CKM_EXTRACT_KEY_FROM_KEY => Mech::with::<CK_ULONG>(kind, 21),
        CKM_ECDH1_DERIVE | CKM_ECDH1_COFACTOR_DERIVE => Mech::with(
            kind,
            CK_ECDH1_DERIVE_PARAMS {
                kdf: CKD_NULL,
                ulSharedDataLen: 0,
                pSharedData: null_mut(),
                ulPublicDataLen: keys.point.len() as CK_ULONG,
                pPublicData: at(keys.point),
            },
        ),
        CKM_HKDF_DERIVE | CKM_HKDF_DATA => Mech::with(
            kind,
            CK_HKDF_PARAMS {
                bExtract: CK_TRUE,
                bExpand: CK_TRUE,
                prfHashMechanism: CKM_SHA256,
                ulSaltType: CKF_HKDF_SALT_DATA,
                pSalt: at(TEXT),
                ulSaltLen: 16,
                hSaltKey: 0,
                pInfo: at(TEXT),
                ulInfoLen: 10,
            },
        ),
        CKM_SP800_108_COUNTER_KDF
        | CKM_SP800_108_FEEDBACK_KDF
        | CKM_SP800_108_DOUBLE_PIPELINE_KDF => {
            let counter = Box::leak(Box::new(CK_SP800_108_COUNTER_FORMAT {
                bLittleEndian: CK_FALSE,
                ulWidthInBits: 32,
            }));
            // Only the iteration variable of the counter mode has a format.
            let (format, length) = match kind {
                CKM_SP800_108_COUNTER_KDF => (
                    std::ptr::from_mut(counter).cast(),
                    size_of::<CK_SP800_108_COUNTER_FORMAT>(),
                ),
                _ => (null_mut(), 0),
            };
            let part = CK_PRF_DATA_PARAM {
                type_: CK_SP800_108_ITERATION_VARIABLE,
                pValue: format,
                ulValueLen: length as CK_ULONG,
            };
            let parts = Box::leak(Box::new([part])).as_mut_ptr();
            if kind == CKM_SP800_108_FEEDBACK_KDF {
                let p = CK_SP800_108_FEEDBACK_KDF_PARAMS {
                    prfType: CKM_SHA256_HMAC,
                    ulNumberOfDataParams: 1,
                    pDataParams: parts,
                    ulIVLen: 16,
                    pIV: at(TEXT),
                    ulAdditionalDerivedKeys: 0,
                    pAdditionalDerivedKeys: null_mut(),
                };
                return Mech::with(kind, p);
            }
            Mech::with(
                kind,
                CK_SP800_108_KDF_PARAMS {
                    prfType: CKM_SHA256_HMAC,
                    ulNumberOfDataParams: 1,
                    pDataParams: parts,
                    ulAdditionalDerivedKeys: 0,
                    pAdditionalDerivedKeys: null_mut(),
                },
            )
        }
        CKM_PKCS5_PBKD2 => Mech::with(
            kind,
            CK_PKCS5_PBKD2_PARAMS2 {
                saltSource: CKZ_SALT_SPECIFIED,
                pSaltSourceData: at(TEXT).cast(),
                ulSaltSourceDataLen: 16,
                iterations: 1000,
                prf: CKP_PKCS5_PBKD2_HMAC_SHA256,
                pPrfData: null_mut(),
                ulPrfDataLen: 0,
                pPassword: at(TEXT),
                ulPasswordLen: 12,
            },
        ),
        CKM_CONCATENATE_BASE_AND_DATA
        | CKM_CONCATENATE_DATA_AND_BASE
        | CKM_XOR_BASE_AND_DATA
        | CKM_AES_ECB_ENCRYPT_DATA
        | CKM_DES3_ECB_ENCRYPT_DATA => Mech::with(kind, text),
        CKM_AES_CBC_ENCRYPT_DATA => Mech::with(
            kind,
            CK_AES_CBC_ENCRYPT_DATA_PARAMS {
                iv: [4; 16],
                pData: at(TEXT),
                length: 32,
            },
        ),
        CKM_DES3_CBC_ENCRYPT_DATA => Mech::with(
            kind,
            CK_DES_CBC_ENCRYPT_DATA_PARAMS {
                iv: [4; 8],
                pData: at(TEXT),
                length: 32,
            },
        ),
        CKM_CONCATENATE_BASE_AND_KEY => Mech::with::<CK_OBJECT_HANDLE>(kind, keys.generic),
        _ => Mech::bare(kind),
    }
}

/// A key of each type, in a session.
pub struct Keys {
    pub aes: CK_OBJECT_HANDLE,
    pub xts: CK_OBJECT_HANDLE,
    pub des3: CK_OBJECT_HANDLE,
    pub chacha: CK_OBJECT_HANDLE,
    pub generic: CK_OBJECT_HANDLE,
    pub rsa: (CK_OBJECT_HANDLE, CK_OBJECT_HANDLE),
    pub ec: (CK_OBJECT_HANDLE, CK_OBJECT_HANDLE),
    pub ed: (CK_OBJECT_HANDLE, CK_OBJECT_HANDLE),
    /// The point of the EC pair.
    pub point: &'static [u8],
}

impl Keys {
    pub fn new(app: App<'_>) -> Keys {
        let all = rows![CKA_SIGN: true, CKA_SIGN_RECOVER: true, CKA_DECRYPT: true, CKA_UNWRAP: true, CKA_EXTRACTABLE: true];
        let rsa = app
            .pair(
                CKM_RSA_PKCS_KEY_PAIR_GEN,
                &rows![CKA_MODULUS_BITS: 2048],
                &all,
            )
            .unwrap();
        let ec = app
            .pair(
                CKM_EC_KEY_PAIR_GEN,
                &rows![CKA_EC_PARAMS: P256],
                &rows![CKA_DERIVE: true, CKA_SIGN: true],
            )
            .unwrap();
        let ed = app
            .pair(
                CKM_EC_EDWARDS_KEY_PAIR_GEN,
                &rows![CKA_EC_PARAMS: ED25519],
                &rows![],
            )
            .unwrap();
        Keys {
            aes: app.aes(),
            xts: app.secret(CKK_AES_XTS, &[&[1; 32][..], &[2; 32]].concat()),
            des3: app.secret(
                CKK_DES3,
                b"\x01\x23\x45\x67\x89\xab\xcd\xef\xfe\xdc\xba\x98\x76\x54\x32\x10\x89\xab\xcd\xef\x01\x23\x45\x67",
            ),
            chacha: app.secret(CKK_CHACHA20, &[3; 32]),
            generic: app.secret(CKK_GENERIC_SECRET, &[5; 40]),
            rsa,
            ec,
            ed,
            point: app.get(ec.0, CKA_EC_POINT).unwrap().leak(),
        }
    }

    /// The keys that a mechanism takes: (to protect, to process). The same twice when it is secret.
    pub fn of(&self, kind: CK_MECHANISM_TYPE) -> (CK_OBJECT_HANDLE, CK_OBJECT_HANDLE) {
        let same = |key| (key, key);
        match kind {
            CKM_CHACHA20 | CKM_CHACHA20_POLY1305 => same(self.chacha),
            CKM_AES_XTS => same(self.xts),
            CKM_DES3_ECB
            | CKM_DES3_CBC
            | CKM_DES3_CBC_PAD
            | CKM_DES3_CMAC
            | CKM_DES3_CMAC_GENERAL
            | CKM_DES3_ECB_ENCRYPT_DATA
            | CKM_DES3_CBC_ENCRYPT_DATA => same(self.des3),
            CKM_EDDSA => self.ed,
            CKM_ECDSA..=CKM_ECDSA_SHA512 | CKM_ECDSA_SHA3_224..=CKM_ECDSA_SHA3_512 => self.ec,
            CKM_ECDH1_DERIVE | CKM_ECDH1_COFACTOR_DERIVE => self.ec,
            CKM_RSA_PKCS..=CKM_SHA512_RSA_PKCS_PSS
            | CKM_SHA224_RSA_PKCS
            | CKM_SHA224_RSA_PKCS_PSS
            | CKM_SHA3_256_RSA_PKCS..=CKM_SHA3_224_RSA_PKCS_PSS
            | CKM_RSA_AES_KEY_WRAP => self.rsa,
            CKM_AES_ECB..=CKM_AES_GMAC
            | CKM_AES_OFB..=CKM_AES_CFB1
            | CKM_AES_KEY_WRAP..=CKM_AES_KEY_WRAP_PKCS7
            | CKM_AES_ECB_ENCRYPT_DATA
            | CKM_AES_CBC_ENCRYPT_DATA => same(self.aes),
            _ => same(self.generic),
        }
    }
}
