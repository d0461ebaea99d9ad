//! Mechanism parameters: the right structure with any content, or a size that no structure has.

use std::ffi::c_void;
use std::ptr::null_mut;

use mrhsm_pkcs11::ck::*;

use super::input::{Input, Memory};

const HASHES: &[CK_ULONG] = &[
    CKM_SHA256,
    CKM_SHA_1,
    CKM_SHA384,
    CKM_SHA512,
    CKM_SHA3_256,
    CKM_MD5,
    0,
    CK_ULONG::MAX,
];
const MGFS: &[CK_ULONG] = &[
    CKG_MGF1_SHA256,
    CKG_MGF1_SHA1,
    CKG_MGF1_SHA384,
    CKG_MGF1_SHA512,
    0,
    CK_ULONG::MAX,
];

/// A structure that is right by its size, or one byte off.
fn structure<T: 'static>(
    value: T,
    input: &mut Input<'_>,
    memory: &mut Memory,
) -> (*mut c_void, CK_ULONG) {
    let size = size_of::<T>() as CK_ULONG;
    let len = match input.below(16) {
        15 => size - 1,
        14 => size + 1,
        _ => size,
    };
    (memory.value(value).cast(), len)
}

fn flag(input: &mut Input<'_>) -> CK_BBOOL {
    input.pick(&[CK_TRUE, CK_FALSE, 7])
}

/// A mechanism with its parameter. `handles` are for the parameters that name a key.
pub fn mechanism(
    kind: CK_MECHANISM_TYPE,
    input: &mut Input<'_>,
    memory: &mut Memory,
    handles: &[CK_OBJECT_HANDLE],
) -> CK_MECHANISM {
    let (at, len) = match input.below(16) {
        15 => (null_mut(), input.number()),
        14 => (null_mut(), 0),
        // No structure of the standard has such a size, and zeros point nowhere.
        13 => {
            let len = input.pick(&[1, 3, 7, 9, 11, 13, 15]);
            let mut bytes = input.bytes(len);
            bytes.resize(len, 0);
            (memory.array(bytes).cast(), len as CK_ULONG)
        }
        12 => {
            let zeros = input.below(120);
            (memory.array(vec![0; zeros]).cast(), zeros as CK_ULONG)
        }
        _ => right(kind, input, memory, handles),
    };
    CK_MECHANISM {
        mechanism: kind,
        pParameter: at,
        ulParameterLen: len,
    }
}

fn oaep(input: &mut Input<'_>, memory: &mut Memory) -> CK_RSA_PKCS_OAEP_PARAMS {
    let (label, label_len) = memory.sized(input, 40);
    CK_RSA_PKCS_OAEP_PARAMS {
        hashAlg: input.pick(HASHES),
        mgf: input.pick(MGFS),
        source: input.pick(&[CKZ_DATA_SPECIFIED, 0, 2]),
        pSourceData: label.cast(),
        ulSourceDataLen: label_len,
    }
}

fn right(
    kind: CK_MECHANISM_TYPE,
    input: &mut Input<'_>,
    memory: &mut Memory,
    handles: &[CK_OBJECT_HANDLE],
) -> (*mut c_void, CK_ULONG) {
    match kind {
        CKM_AES_CBC | CKM_AES_CBC_PAD | CKM_AES_OFB | CKM_AES_CFB8 | CKM_AES_CFB128 => {
            let mut iv = input.bytes(16);
            if !input.once_in(8) {
                iv.resize(16, 1);
            }
            let len = iv.len() as CK_ULONG;
            (memory.array(iv).cast(), len)
        }
        CKM_DES3_CBC | CKM_DES3_CBC_PAD | CKM_AES_KEY_WRAP | CKM_AES_KEY_WRAP_KWP
        | CKM_AES_KEY_WRAP_PAD => {
            let len = input.pick(&[8, 4, 7]);
            (memory.array(vec![0xa6; len]).cast(), len as CK_ULONG)
        }
        CKM_AES_GMAC => (memory.array(vec![3; 12]).cast(), 12),
        CKM_AES_CTR => {
            let ctr = CK_AES_CTR_PARAMS {
                ulCounterBits: input.number(),
                cb: [0xff; 16],
            };
            structure(ctr, input, memory)
        }
        CKM_AES_GCM => {
            let ((iv, iv_len), (aad, aad_len)) =
                (memory.sized(input, 300), memory.sized(input, 40));
            let gcm = CK_GCM_PARAMS {
                pIv: iv,
                ulIvLen: iv_len,
                ulIvBits: if input.once_in(3) {
                    input.number()
                } else {
                    iv_len.saturating_mul(8)
                },
                pAAD: aad,
                ulAADLen: aad_len,
                ulTagBits: if input.once_in(3) {
                    input.number()
                } else {
                    128
                },
            };
            structure(gcm, input, memory)
        }
        CKM_AES_CCM => {
            let ((nonce, nonce_len), (aad, aad_len)) =
                (memory.sized(input, 16), memory.sized(input, 40));
            let ccm = CK_CCM_PARAMS {
                ulDataLen: input.number(),
                pNonce: nonce,
                ulNonceLen: nonce_len,
                pAAD: aad,
                ulAADLen: aad_len,
                ulMACLen: input.number(),
            };
            structure(ccm, input, memory)
        }
        CKM_CHACHA20_POLY1305 => {
            let ((nonce, nonce_len), (aad, aad_len)) =
                (memory.sized(input, 16), memory.sized(input, 40));
            let params = CK_SALSA20_CHACHA20_POLY1305_PARAMS {
                pNonce: nonce,
                ulNonceLen: nonce_len,
                pAAD: aad,
                ulAADLen: aad_len,
            };
            structure(params, input, memory)
        }
        CKM_RSA_PKCS_OAEP => {
            let oaep = oaep(input, memory);
            structure(oaep, input, memory)
        }
        CKM_RSA_AES_KEY_WRAP => {
            let oaep = oaep(input, memory);
            let inner = if input.once_in(8) {
                null_mut()
            } else {
                memory.value(oaep)
            };
            let bits = if input.once_in(3) {
                input.number()
            } else {
                256
            };
            structure(
                CK_RSA_AES_KEY_WRAP_PARAMS {
                    ulAESKeyBits: bits,
                    pOAEPParams: inner,
                },
                input,
                memory,
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
            let pss = CK_RSA_PKCS_PSS_PARAMS {
                hashAlg: input.pick(HASHES),
                mgf: input.pick(MGFS),
                sLen: input.number(),
            };
            structure(pss, input, memory)
        }
        CKM_ECDH1_DERIVE | CKM_ECDH1_COFACTOR_DERIVE => {
            let ((shared, shared_len), (public, public_len)) =
                (memory.sized(input, 20), memory.sized(input, 70));
            let ecdh = CK_ECDH1_DERIVE_PARAMS {
                kdf: input.pick(&[CKD_NULL, CKD_SHA256_KDF, CKD_SHA1_KDF, 0, CK_ULONG::MAX]),
                ulSharedDataLen: shared_len,
                pSharedData: shared,
                ulPublicDataLen: public_len,
                pPublicData: public,
            };
            structure(ecdh, input, memory)
        }
        CKM_EDDSA => {
            let (context, context_len) = memory.sized(input, 300);
            let eddsa = CK_EDDSA_PARAMS {
                phFlag: flag(input),
                ulContextDataLen: context_len,
                pContextData: context,
            };
            structure(eddsa, input, memory)
        }
        CKM_HKDF_DERIVE | CKM_HKDF_DATA => {
            let ((salt, salt_len), (info, info_len)) =
                (memory.sized(input, 40), memory.sized(input, 40));
            let hkdf = CK_HKDF_PARAMS {
                bExtract: flag(input),
                bExpand: flag(input),
                prfHashMechanism: input.pick(HASHES),
                ulSaltType: input.pick(&[
                    CKF_HKDF_SALT_DATA,
                    CKF_HKDF_SALT_NULL,
                    CKF_HKDF_SALT_KEY,
                    0,
                ]),
                pSalt: salt,
                ulSaltLen: salt_len,
                hSaltKey: input.pick(handles),
                pInfo: info,
                ulInfoLen: info_len,
            };
            structure(hkdf, input, memory)
        }
        CKM_SP800_108_COUNTER_KDF => {
            let parts: Vec<CK_PRF_DATA_PARAM> = (0..input.below(5))
                .map(|_| prf_part(input, memory))
                .collect();
            let count = parts.len() as CK_ULONG;
            let kdf = CK_SP800_108_KDF_PARAMS {
                prfType: input.pick(&[CKM_SHA256_HMAC, CKM_AES_CMAC, CKM_SHA_1_HMAC, 0]),
                ulNumberOfDataParams: if input.once_in(16) {
                    CK_ULONG::MAX
                } else {
                    count
                },
                pDataParams: memory.array(parts),
                ulAdditionalDerivedKeys: input.pick(&[0, 0, 0, 1]),
                pAdditionalDerivedKeys: null_mut(),
            };
            structure(kdf, input, memory)
        }
        CKM_PKCS5_PBKD2 => {
            let ((salt, salt_len), (password, password_len)) =
                (memory.sized(input, 40), memory.sized(input, 40));
            let pbkd2 = CK_PKCS5_PBKD2_PARAMS2 {
                saltSource: input.pick(&[CKZ_SALT_SPECIFIED, 0, 2]),
                pSaltSourceData: salt.cast(),
                ulSaltSourceDataLen: salt_len,
                // Few, or more than the module does: those between take their time and find nothing.
                iterations: input.pick(&[1, 2, 1000, 0, CK_ULONG::MAX, 1 << 32]),
                prf: input.pick(&[
                    CKP_PKCS5_PBKD2_HMAC_SHA256,
                    CKP_PKCS5_PBKD2_HMAC_SHA1,
                    0,
                    99,
                ]),
                pPrfData: null_mut(),
                ulPrfDataLen: 0,
                pPassword: password,
                ulPasswordLen: password_len,
            };
            structure(pbkd2, input, memory)
        }
        CKM_CONCATENATE_BASE_AND_DATA
        | CKM_CONCATENATE_DATA_AND_BASE
        | CKM_XOR_BASE_AND_DATA
        | CKM_AES_ECB_ENCRYPT_DATA
        | CKM_DES3_ECB_ENCRYPT_DATA => {
            let (data, len) = memory.sized(input, 64);
            structure(
                CK_KEY_DERIVATION_STRING_DATA {
                    pData: data,
                    ulLen: len,
                },
                input,
                memory,
            )
        }
        CKM_AES_CBC_ENCRYPT_DATA => {
            let (data, len) = memory.sized(input, 64);
            structure(
                CK_AES_CBC_ENCRYPT_DATA_PARAMS {
                    iv: [1; 16],
                    pData: data,
                    length: len,
                },
                input,
                memory,
            )
        }
        CKM_DES3_CBC_ENCRYPT_DATA => {
            let (data, len) = memory.sized(input, 64);
            structure(
                CK_DES_CBC_ENCRYPT_DATA_PARAMS {
                    iv: [1; 8],
                    pData: data,
                    length: len,
                },
                input,
                memory,
            )
        }
        CKM_CONCATENATE_BASE_AND_KEY => {
            let key = input.pick(handles);
            structure(key, input, memory)
        }
        CKM_AES_CMAC_GENERAL
        | CKM_DES3_CMAC_GENERAL
        | CKM_EXTRACT_KEY_FROM_KEY
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
        | CKM_SHA3_512_HMAC_GENERAL => {
            let number = input.number();
            structure(number, input, memory)
        }
        _ => (null_mut(), 0),
    }
}

fn prf_part(input: &mut Input<'_>, memory: &mut Memory) -> CK_PRF_DATA_PARAM {
    let counter = CK_SP800_108_COUNTER_FORMAT {
        bLittleEndian: flag(input),
        ulWidthInBits: input.number(),
    };
    let length = CK_SP800_108_DKM_LENGTH_FORMAT {
        dkmLengthMethod: input.pick(&[
            CK_SP800_108_DKM_LENGTH_SUM_OF_KEYS,
            CK_SP800_108_DKM_LENGTH_SUM_OF_SEGMENTS,
            9,
        ]),
        bLittleEndian: flag(input),
        ulWidthInBits: input.number(),
    };
    let (kind, (at, len)) = match input.below(6) {
        0 => (
            CK_SP800_108_ITERATION_VARIABLE,
            structure(counter, input, memory),
        ),
        1 => (CK_SP800_108_COUNTER, structure(counter, input, memory)),
        2 => (CK_SP800_108_DKM_LENGTH, structure(length, input, memory)),
        3 => (CK_ULONG::from(input.byte()), (null_mut(), 0)),
        _ => {
            let (bytes, len) = memory.sized(input, 40);
            (CK_SP800_108_BYTE_ARRAY, (bytes.cast(), len))
        }
    };
    CK_PRF_DATA_PARAM {
        type_: kind,
        pValue: at,
        ulValueLen: len,
    }
}

/// The parameter of one message (PKCS#11 3.0): a structure of any of the three, with room for the longest tag.
pub fn message(input: &mut Input<'_>, memory: &mut Memory) -> (*mut c_void, CK_ULONG) {
    let (nonce, nonce_len) = memory.sized(input, 16);
    let tag = if input.once_in(8) {
        null_mut()
    } else {
        memory.array(vec![0; 64])
    };
    let generator = input.pick(&[
        CKG_NO_GENERATE,
        CKG_GENERATE,
        CKG_GENERATE_COUNTER,
        CKG_GENERATE_RANDOM,
        77,
    ]);
    match input.below(5) {
        0 | 1 => {
            let gcm = CK_GCM_MESSAGE_PARAMS {
                pIv: nonce,
                ulIvLen: nonce_len,
                ulIvFixedBits: input.number(),
                ivGenerator: generator,
                pTag: tag,
                ulTagBits: if input.once_in(3) {
                    input.number()
                } else {
                    128
                },
            };
            structure(gcm, input, memory)
        }
        2 => {
            let ccm = CK_CCM_MESSAGE_PARAMS {
                ulDataLen: input.number(),
                pNonce: nonce,
                ulNonceLen: nonce_len,
                ulNonceFixedBits: input.number(),
                nonceGenerator: generator,
                pMAC: tag,
                ulMACLen: if input.once_in(3) { input.number() } else { 16 },
            };
            structure(ccm, input, memory)
        }
        3 => {
            let params = CK_SALSA20_CHACHA20_POLY1305_MSG_PARAMS {
                pNonce: nonce,
                ulNonceLen: nonce_len,
                pTag: tag,
            };
            structure(params, input, memory)
        }
        _ => (null_mut(), input.pick(&[0, 0, 1, 48])),
    }
}
