//! Mechanism parameters, copied into values of our own when an operation begins: the structures, and what they point to, need
//! not outlive the call.

use std::ffi::c_void;

use crate::ck::*;
use crate::error::Result;
use crate::mech::{CounterFormat, Mechanism, Params, PrfPart, Work, entry};
use crate::secret::{Secret, reserve};
use crate::token::template::Template;

use super::{Plain, Ptr, unless_memory};

/// Longest piece of a parameter in bytes (associated data, a label): a longer one is a length gone wrong.
const MAX_BYTES: usize = 64 << 20;
/// How often such a piece is copied at a time.
const COPIES: usize = 4;
/// Longest password of `CKM_PKCS5_PBKD2` in bytes. No address of a process is as small.
const MAX_PASSWORD: usize = 4096;
/// Most parts of the input of an SP800-108 function.
const MAX_PARTS: usize = 64;
/// Most keys that one derivation makes besides the first.
const MAX_KEYS: usize = 64;

plain!(
    CK_AES_CTR_PARAMS,
    CK_AES_CBC_ENCRYPT_DATA_PARAMS,
    CK_DES_CBC_ENCRYPT_DATA_PARAMS,
    CK_CCM_PARAMS,
    CK_CHACHA20_PARAMS,
    CK_DERIVED_KEY,
    CK_ECDH1_DERIVE_PARAMS,
    CK_EDDSA_PARAMS,
    CK_GCM_PARAMS,
    CK_HKDF_PARAMS,
    CK_KEY_DERIVATION_STRING_DATA,
    CK_PKCS5_PBKD2_PARAMS2,
    CK_PRF_DATA_PARAM,
    CK_RSA_AES_KEY_WRAP_PARAMS,
    CK_RSA_PKCS_OAEP_PARAMS,
    CK_RSA_PKCS_PSS_PARAMS,
    CK_SALSA20_CHACHA20_POLY1305_PARAMS,
    CK_SP800_108_COUNTER_FORMAT,
    CK_SP800_108_DKM_LENGTH_FORMAT,
    CK_SP800_108_FEEDBACK_KDF_PARAMS,
    CK_SP800_108_KDF_PARAMS,
    GcmParamsWithoutBits,
);

/// `CK_GCM_PARAMS` as the text of 2.40 prints it, without the `ulIvBits` of its header file: some applications were built so.
#[derive(Clone, Copy)]
#[repr(C)]
#[allow(non_snake_case, reason = "the names are the standard's")]
struct GcmParamsWithoutBits {
    pIv: *mut CK_BYTE,
    ulIvLen: CK_ULONG,
    pAAD: *mut CK_BYTE,
    ulAADLen: CK_ULONG,
    ulTagBits: CK_ULONG,
}

impl<'a> Ptr<'a, CK_MECHANISM> {
    /// A mechanism with its parameter. `CKR_ARGUMENTS_BAD` for NULL, `CKR_MECHANISM_PARAM_INVALID` for a parameter that is not
    /// what this mechanism takes.
    pub fn mechanism(self) -> Result<Mechanism> {
        let mechanism = self.read()?;
        let at = Parameter {
            at: Ptr::new(mechanism.pParameter),
            len: mechanism.ulParameterLen,
        };
        let params = params(mechanism.mechanism, at)
            .map_err(|e| unless_memory(e, CKR_MECHANISM_PARAM_INVALID))?;
        Ok(Mechanism {
            kind: mechanism.mechanism,
            params,
        })
    }

    /// Where a mechanism that derives several keys wants the handles of those besides the first, in their order.
    pub fn derived_keys(self) -> Result<Vec<Ptr<'a, CK_OBJECT_HANDLE>>> {
        let mechanism = self.read()?;
        let given = Parameter {
            at: Ptr::new(mechanism.pParameter),
            len: mechanism.ulParameterLen,
        };
        let (keys, count) = match mechanism.mechanism {
            CKM_SP800_108_COUNTER_KDF | CKM_SP800_108_DOUBLE_PIPELINE_KDF => {
                let p: CK_SP800_108_KDF_PARAMS = given.read()?;
                (p.pAdditionalDerivedKeys, p.ulAdditionalDerivedKeys)
            }
            CKM_SP800_108_FEEDBACK_KDF => {
                let p: CK_SP800_108_FEEDBACK_KDF_PARAMS = given.read()?;
                (p.pAdditionalDerivedKeys, p.ulAdditionalDerivedKeys)
            }
            _ => return Ok(Vec::new()),
        };
        let keys = Ptr::<CK_DERIVED_KEY>::new(keys);
        let count = keys.array(count, MAX_KEYS)?;
        (0..count)
            .map(|i| Ok(Ptr::new(keys.element(i).read()?.phKey)))
            .collect()
    }

    /// [`Ptr::mechanism`] where NULL has a meaning: it ends the operation that is under way (PKCS#11 3.0).
    pub fn optional_mechanism(self) -> Result<Option<Mechanism>> {
        if self.is_null() {
            Ok(None)
        } else {
            self.mechanism().map(Some)
        }
    }

    /// The same where the mechanism takes no parameter: it is not looked at. Digests have none, and applications leave it as their
    /// stack had it (PowerDNS); ciphers of messages have one with each message, and applications give the first one's here, too.
    pub fn optional_mechanism_without_parameter(self) -> Result<Option<Mechanism>> {
        if self.is_null() {
            Ok(None)
        } else {
            Ok(Some(Mechanism::bare(self.read()?.mechanism)))
        }
    }
}

/// `pParameter` and `ulParameterLen`.
#[derive(Clone, Copy)]
pub(super) struct Parameter<'a> {
    pub(super) at: Ptr<'a, c_void>,
    pub(super) len: CK_ULONG,
}

impl Parameter<'_> {
    pub(super) fn has_size_of<T>(self) -> bool {
        self.len == size_of::<T>() as CK_ULONG
    }

    /// The parameter as a structure; it must have exactly its size.
    pub(super) fn read<T: Plain>(self) -> Result<T> {
        if self.has_size_of::<T>() {
            self.at.cast::<T>().read()
        } else {
            Err(CKR_MECHANISM_PARAM_INVALID)?
        }
    }

    fn bytes(self) -> Result<Vec<u8>> {
        bytes(self.at.cast::<CK_BYTE>().at, self.len)
    }
}

/// Bytes that a structure points to.
pub(super) fn bytes(at: *mut CK_BYTE, len: CK_ULONG) -> Result<Vec<u8>> {
    let bytes = Ptr::new(at).copy(len, MAX_BYTES)?;
    reserve::admit(bytes.len(), COPIES)?;
    Ok(bytes)
}

/// The nonce of ChaCha20-Poly1305: the standard's text counts it in bits, most applications in bytes.
pub(super) fn poly1305_nonce(at: *mut CK_BYTE, len: CK_ULONG) -> Result<Vec<u8>> {
    bytes(at, if len == 96 { 12 } else { len })
}

fn params(kind: CK_MECHANISM_TYPE, given: Parameter<'_>) -> Result<Params> {
    if given.len == 0 {
        return Ok(Params::None);
    }
    Ok(match kind {
        CKM_AES_CTR => {
            let p: CK_AES_CTR_PARAMS = given.read()?;
            Params::Ctr {
                bits: p.ulCounterBits,
                counter: p.cb,
            }
        }
        CKM_AES_GCM => gcm(given)?,
        // The standard's parameter, and the bare IV that earlier versions of it took.
        CKM_AES_GMAC
            if given.has_size_of::<CK_GCM_PARAMS>()
                || given.has_size_of::<GcmParamsWithoutBits>() =>
        {
            gcm(given)?
        }
        CKM_AES_CCM => {
            let p: CK_CCM_PARAMS = given.read()?;
            let (nonce, aad) = (bytes(p.pNonce, p.ulNonceLen)?, bytes(p.pAAD, p.ulAADLen)?);
            Params::Ccm {
                data_len: p.ulDataLen,
                nonce,
                aad,
                mac_len: p.ulMACLen,
            }
        }
        CKM_CHACHA20_POLY1305 => {
            let p: CK_SALSA20_CHACHA20_POLY1305_PARAMS = given.read()?;
            Params::ChaCha20Poly1305 {
                nonce: poly1305_nonce(p.pNonce, p.ulNonceLen)?,
                aad: bytes(p.pAAD, p.ulAADLen)?,
            }
        }
        CKM_CHACHA20 => {
            let p: CK_CHACHA20_PARAMS = given.read()?;
            let (counter, nonce) = (p.blockCounterBits.div_ceil(8), p.ulNonceBits.div_ceil(8));
            Params::ChaCha20 {
                counter: bytes(p.pBlockCounter, counter)?,
                nonce: bytes(p.pNonce, nonce)?,
            }
        }
        _ if matches!(entry(kind).map(|e| e.work), Ok(Work::RsaPss(_))) => {
            let p: CK_RSA_PKCS_PSS_PARAMS = given.read()?;
            Params::Pss {
                hash: p.hashAlg,
                mgf: p.mgf,
                salt_len: p.sLen,
            }
        }
        CKM_RSA_PKCS_OAEP => oaep(given.read()?)?,
        CKM_RSA_AES_KEY_WRAP => {
            let p: CK_RSA_AES_KEY_WRAP_PARAMS = given.read()?;
            let inner = Ptr::new(p.pOAEPParams);
            let inner = if inner.is_null() {
                None
            } else {
                Some(Box::new(oaep(inner.read()?)?))
            };
            Params::RsaAesKeyWrap {
                aes_bits: p.ulAESKeyBits,
                oaep: inner,
            }
        }
        CKM_ECDH1_DERIVE | CKM_ECDH1_COFACTOR_DERIVE => {
            let p: CK_ECDH1_DERIVE_PARAMS = given.read()?;
            let shared = bytes(p.pSharedData, p.ulSharedDataLen)?;
            Params::Ecdh1 {
                kdf: p.kdf,
                shared,
                public: bytes(p.pPublicData, p.ulPublicDataLen)?,
            }
        }
        CKM_EDDSA => {
            let p: CK_EDDSA_PARAMS = given.read()?;
            Params::EdDsa {
                prehash: p.phFlag != CK_FALSE,
                context: bytes(p.pContextData, p.ulContextDataLen)?,
            }
        }
        CKM_HKDF_DERIVE | CKM_HKDF_DATA => hkdf(given.read()?)?,
        CKM_SP800_108_COUNTER_KDF | CKM_SP800_108_DOUBLE_PIPELINE_KDF => {
            let p: CK_SP800_108_KDF_PARAMS = given.read()?;
            let parts = prf_parts(Ptr::new(p.pDataParams), p.ulNumberOfDataParams)?;
            let more_keys = templates(
                Ptr::new(p.pAdditionalDerivedKeys),
                p.ulAdditionalDerivedKeys,
            )?;
            Params::Sp800108 {
                prf: p.prfType,
                parts,
                iv: Vec::new(),
                more_keys,
            }
        }
        CKM_SP800_108_FEEDBACK_KDF => {
            let p: CK_SP800_108_FEEDBACK_KDF_PARAMS = given.read()?;
            let parts = prf_parts(Ptr::new(p.pDataParams), p.ulNumberOfDataParams)?;
            let more_keys = templates(
                Ptr::new(p.pAdditionalDerivedKeys),
                p.ulAdditionalDerivedKeys,
            )?;
            Params::Sp800108 {
                prf: p.prfType,
                parts,
                iv: bytes(p.pIV, p.ulIVLen)?,
                more_keys,
            }
        }
        CKM_PKCS5_PBKD2 => pbkdf2(given.read()?)?,
        CKM_CONCATENATE_BASE_AND_DATA
        | CKM_CONCATENATE_DATA_AND_BASE
        | CKM_XOR_BASE_AND_DATA
        | CKM_AES_ECB_ENCRYPT_DATA
        | CKM_DES3_ECB_ENCRYPT_DATA => {
            let p: CK_KEY_DERIVATION_STRING_DATA = given.read()?;
            Params::DerivationString(bytes(p.pData, p.ulLen)?.into())
        }
        CKM_AES_CBC_ENCRYPT_DATA => {
            let p: CK_AES_CBC_ENCRYPT_DATA_PARAMS = given.read()?;
            Params::CbcEncryptData {
                iv: p.iv.to_vec(),
                data: bytes(p.pData, p.length)?.into(),
            }
        }
        CKM_DES3_CBC_ENCRYPT_DATA => {
            let p: CK_DES_CBC_ENCRYPT_DATA_PARAMS = given.read()?;
            Params::CbcEncryptData {
                iv: p.iv.to_vec(),
                data: bytes(p.pData, p.length)?.into(),
            }
        }
        CKM_CONCATENATE_BASE_AND_KEY => Params::Key(given.read()?),
        CKM_AES_CMAC_GENERAL
        | CKM_AES_MAC_GENERAL
        | CKM_DES3_CMAC_GENERAL
        | CKM_DES3_MAC_GENERAL
        | CKM_EXTRACT_KEY_FROM_KEY
        | CKM_MD5_HMAC_GENERAL
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
        | CKM_SHA3_512_HMAC_GENERAL => Params::Number(given.read()?),
        _ => Params::Raw(given.bytes()?),
    })
}

fn gcm(given: Parameter<'_>) -> Result<Params> {
    if given.has_size_of::<GcmParamsWithoutBits>() {
        let p: GcmParamsWithoutBits = given.read()?;
        let (iv, aad) = (bytes(p.pIv, p.ulIvLen)?, bytes(p.pAAD, p.ulAADLen)?);
        return Ok(Params::Gcm {
            iv,
            iv_bits: 0,
            aad,
            tag_bits: p.ulTagBits,
        });
    }
    let p: CK_GCM_PARAMS = given.read()?;
    let (iv, aad) = (bytes(p.pIv, p.ulIvLen)?, bytes(p.pAAD, p.ulAADLen)?);
    Ok(Params::Gcm {
        iv,
        iv_bits: p.ulIvBits,
        aad,
        tag_bits: p.ulTagBits,
    })
}

fn oaep(p: CK_RSA_PKCS_OAEP_PARAMS) -> Result<Params> {
    let label = bytes(p.pSourceData.cast(), p.ulSourceDataLen)?;
    Ok(Params::Oaep {
        hash: p.hashAlg,
        mgf: p.mgf,
        source: p.source,
        label,
    })
}

fn hkdf(p: CK_HKDF_PARAMS) -> Result<Params> {
    // Applications leave the other fields as they were: only what the salt type names is looked at.
    let salt = if p.ulSaltType == CKF_HKDF_SALT_DATA {
        bytes(p.pSalt, p.ulSaltLen)?
    } else {
        Vec::new()
    };
    Ok(Params::Hkdf {
        extract: p.bExtract != CK_FALSE,
        expand: p.bExpand != CK_FALSE,
        prf: p.prfHashMechanism,
        salt_type: p.ulSaltType,
        salt,
        salt_key: p.hSaltKey,
        info: bytes(p.pInfo, p.ulInfoLen)?,
    })
}

fn prf_parts(parts: Ptr<'_, CK_PRF_DATA_PARAM>, count: CK_ULONG) -> Result<Vec<PrfPart>> {
    let count = parts.array(count, MAX_PARTS)?;
    (0..count)
        .map(|i| prf_part(parts.element(i).read()?))
        .collect()
}

fn prf_part(p: CK_PRF_DATA_PARAM) -> Result<PrfPart> {
    let value = Parameter {
        at: Ptr::new(p.pValue),
        len: p.ulValueLen,
    };
    Ok(match p.type_ {
        // The counter's format, which only counter mode must have.
        CK_SP800_108_ITERATION_VARIABLE if value.len == 0 => PrfPart::Iteration(None),
        CK_SP800_108_ITERATION_VARIABLE => PrfPart::Iteration(Some(counter(value.read()?))),
        CK_SP800_108_COUNTER => PrfPart::Counter(counter(value.read()?)),
        CK_SP800_108_KEY_HANDLE => PrfPart::Key(value.read()?),
        CK_SP800_108_DKM_LENGTH => {
            let format: CK_SP800_108_DKM_LENGTH_FORMAT = value.read()?;
            PrfPart::Length {
                sum_of_segments: match format.dkmLengthMethod {
                    CK_SP800_108_DKM_LENGTH_SUM_OF_KEYS => false,
                    CK_SP800_108_DKM_LENGTH_SUM_OF_SEGMENTS => true,
                    _ => return Err(CKR_MECHANISM_PARAM_INVALID)?,
                },
                format: CounterFormat {
                    little_endian: format.bLittleEndian != CK_FALSE,
                    bits: format.ulWidthInBits,
                },
            }
        }
        CK_SP800_108_BYTE_ARRAY => PrfPart::Bytes(value.bytes()?),
        _ => return Err(CKR_MECHANISM_PARAM_INVALID)?,
    })
}

fn counter(p: CK_SP800_108_COUNTER_FORMAT) -> CounterFormat {
    CounterFormat {
        little_endian: p.bLittleEndian != CK_FALSE,
        bits: p.ulWidthInBits,
    }
}

/// The templates of keys that are derived besides the first. What is wrong with one is said of the parameter.
fn templates(keys: Ptr<'_, CK_DERIVED_KEY>, count: CK_ULONG) -> Result<Vec<Template>> {
    let count = keys.array(count, MAX_KEYS)?;
    let template = |i| {
        let key = keys.element(i).read()?;
        Ptr::new(key.phKey).not_null()?;
        Ptr::<CK_ATTRIBUTE>::new(key.pTemplate).template(key.ulAttributeCount)
    };
    (0..count).map(template).collect()
}

fn pbkdf2(p: CK_PKCS5_PBKD2_PARAMS2) -> Result<Params> {
    let len = match usize::try_from(p.ulPasswordLen) {
        Ok(len) if len <= MAX_PASSWORD => p.ulPasswordLen,
        // The structure of 2.40's first text has a pointer here, and some applications still pass it.
        _ => read_if_mapped(p.ulPasswordLen)?,
    };
    Ok(Params::Pbkdf2 {
        salt_source: p.saltSource,
        salt: bytes(p.pSaltSourceData.cast(), p.ulSaltSourceDataLen)?,
        iterations: p.iterations,
        prf: p.prf,
        password: Secret::new(Ptr::new(p.pPassword).copy(len, MAX_PASSWORD)?),
    })
}

/// The number at `address`, which may be no address at all: the kernel reads it for us, and says so instead of faulting.
fn read_if_mapped(address: CK_ULONG) -> Result<CK_ULONG> {
    let mut value: CK_ULONG = 0;
    let size = size_of::<CK_ULONG>();
    let ours = libc::iovec {
        iov_base: (&raw mut value).cast(),
        iov_len: size,
    };
    let theirs = libc::iovec {
        iov_base: address as *mut c_void,
        iov_len: size,
    };
    // SAFETY: `ours` is writable for its length; `theirs` is checked by the kernel.
    let read = unsafe {
        libc::process_vm_readv(libc::getpid(), &raw const ours, 1, &raw const theirs, 1, 0)
    };
    if read == size as isize {
        Ok(value)
    } else {
        Err(CKR_MECHANISM_PARAM_INVALID)?
    }
}
