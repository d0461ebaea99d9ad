//! A mechanism with its parameters, parsed once at `C_*Init` into owned values: the caller's pointers die after that call.

use std::fmt;

use crate::ck::{CK_MECHANISM_TYPE, CK_OBJECT_HANDLE, CK_ULONG};
use crate::secret::Secret;
use crate::token::template::Template;

/// A mechanism as an application asked for it.
#[derive(Debug)]
pub struct Mechanism {
    /// `CKM_*`.
    pub kind: CK_MECHANISM_TYPE,
    /// Its parameter, in the form that the parameter's C type has; whether that form and its content fit the mechanism is judged where it is used.
    pub params: Params,
}

impl Mechanism {
    /// A mechanism without a parameter.
    pub fn bare(kind: CK_MECHANISM_TYPE) -> Mechanism {
        Mechanism {
            kind,
            params: Params::None,
        }
    }
}

/// Parameters of a mechanism.
#[allow(
    missing_docs,
    reason = "the fields are those of the standard's structures"
)]
pub enum Params {
    /// `pParameter` NULL with length 0.
    None,
    /// Plain bytes: an IV, or the parameter of a mechanism whose structure is not known.
    Raw(Vec<u8>),
    /// `CK_GCM_PARAMS`; `iv_bits` is as given, often 0 or wrong in practice.
    Gcm {
        iv: Vec<u8>,
        iv_bits: CK_ULONG,
        aad: Vec<u8>,
        tag_bits: CK_ULONG,
    },
    /// `CK_AES_CTR_PARAMS`.
    Ctr { bits: CK_ULONG, counter: [u8; 16] },
    /// `CK_CCM_PARAMS`.
    Ccm {
        data_len: CK_ULONG,
        nonce: Vec<u8>,
        aad: Vec<u8>,
        mac_len: CK_ULONG,
    },
    /// `CK_SALSA20_CHACHA20_POLY1305_PARAMS`.
    ChaCha20Poly1305 { nonce: Vec<u8>, aad: Vec<u8> },
    /// `CK_CHACHA20_PARAMS`.
    ChaCha20 { counter: Vec<u8>, nonce: Vec<u8> },
    /// `CK_MAC_GENERAL_PARAMS`, `CK_EXTRACT_PARAMS`: one number.
    Number(CK_ULONG),
    /// `CK_RSA_PKCS_PSS_PARAMS`.
    Pss {
        hash: CK_MECHANISM_TYPE,
        mgf: CK_ULONG,
        salt_len: CK_ULONG,
    },
    /// `CK_RSA_PKCS_OAEP_PARAMS`.
    Oaep {
        hash: CK_MECHANISM_TYPE,
        mgf: CK_ULONG,
        source: CK_ULONG,
        label: Vec<u8>,
    },
    /// `CK_RSA_AES_KEY_WRAP_PARAMS`.
    RsaAesKeyWrap {
        aes_bits: CK_ULONG,
        oaep: Option<Box<Params>>,
    },
    /// `CK_ECDH1_DERIVE_PARAMS`.
    Ecdh1 {
        kdf: CK_ULONG,
        shared: Vec<u8>,
        public: Vec<u8>,
    },
    /// `CK_EDDSA_PARAMS`.
    EdDsa { prehash: bool, context: Vec<u8> },
    /// `CK_HKDF_PARAMS`.
    Hkdf {
        extract: bool,
        expand: bool,
        prf: CK_MECHANISM_TYPE,
        salt_type: CK_ULONG,
        salt: Vec<u8>,
        salt_key: CK_OBJECT_HANDLE,
        info: Vec<u8>,
    },
    /// `CK_SP800_108_KDF_PARAMS`, `CK_SP800_108_FEEDBACK_KDF_PARAMS`: the pseudorandom function, the parts of its input, the block before
    /// the first one, and the templates of keys to derive besides the first.
    Sp800108 {
        prf: CK_MECHANISM_TYPE,
        parts: Vec<PrfPart>,
        iv: Vec<u8>,
        more_keys: Vec<Template>,
    },
    /// `CK_PKCS5_PBKD2_PARAMS` and its corrected successor `CK_PKCS5_PBKD2_PARAMS2`.
    Pbkdf2 {
        salt_source: CK_ULONG,
        salt: Vec<u8>,
        iterations: CK_ULONG,
        prf: CK_ULONG,
        password: Secret,
    },
    /// `CK_KEY_DERIVATION_STRING_DATA`: data to join with the key.
    DerivationString(Secret),
    /// `CK_AES_CBC_ENCRYPT_DATA_PARAMS`, `CK_DES_CBC_ENCRYPT_DATA_PARAMS`.
    CbcEncryptData { iv: Vec<u8>, data: Secret },
    /// `CK_OBJECT_HANDLE`: the other key of `CKM_CONCATENATE_BASE_AND_KEY`.
    Key(CK_OBJECT_HANDLE),
}

/// One part of the input of an SP800-108 function (`CK_PRF_DATA_PARAM`).
#[derive(Debug)]
pub enum PrfPart {
    /// `CK_SP800_108_ITERATION_VARIABLE`: the counter in counter mode, else what the mode feeds back.
    Iteration(Option<CounterFormat>),
    /// `CK_SP800_108_COUNTER`: the counter of the other modes.
    Counter(CounterFormat),
    /// `CK_SP800_108_DKM_LENGTH`; `sum_of_segments` is `CK_SP800_108_DKM_LENGTH_SUM_OF_SEGMENTS`.
    #[allow(
        missing_docs,
        reason = "the fields are those of the standard's structures"
    )]
    Length {
        sum_of_segments: bool,
        format: CounterFormat,
    },
    /// `CK_SP800_108_BYTE_ARRAY`.
    Bytes(Vec<u8>),
    /// `CK_SP800_108_KEY_HANDLE`: the value of another key.
    Key(CK_OBJECT_HANDLE),
}

/// How a number is written (`CK_SP800_108_COUNTER_FORMAT`).
#[derive(Clone, Copy, Debug)]
pub struct CounterFormat {
    /// Least significant byte first.
    pub little_endian: bool,
    /// Width in bits.
    pub bits: CK_ULONG,
}

impl fmt::Debug for Params {
    /// The form only: labels, data and contexts may be confidential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Params::None => "None",
            Params::Raw(_) => "Raw",
            Params::Gcm { .. } => "Gcm",
            Params::Ctr { .. } => "Ctr",
            Params::Ccm { .. } => "Ccm",
            Params::ChaCha20Poly1305 { .. } => "ChaCha20Poly1305",
            Params::ChaCha20 { .. } => "ChaCha20",
            Params::Number(_) => "Number",
            Params::Pss { .. } => "Pss",
            Params::Oaep { .. } => "Oaep",
            Params::RsaAesKeyWrap { .. } => "RsaAesKeyWrap",
            Params::Ecdh1 { .. } => "Ecdh1",
            Params::EdDsa { .. } => "EdDsa",
            Params::Hkdf { .. } => "Hkdf",
            Params::Sp800108 { .. } => "Sp800108",
            Params::Pbkdf2 { .. } => "Pbkdf2",
            Params::DerivationString(_) => "DerivationString",
            Params::CbcEncryptData { .. } => "CbcEncryptData",
            Params::Key(_) => "Key",
        })
    }
}

/// Parameters of one message of a message-based operation (PKCS#11 3.0, 5.9): `CK_GCM_MESSAGE_PARAMS`, `CK_CCM_MESSAGE_PARAMS`,
/// `CK_SALSA20_CHACHA20_POLY1305_MSG_PARAMS`. Encrypting fills in `iv` (where generated) and `tag`; the edge writes them back.
#[derive(Debug, Default)]
pub struct MessageParams {
    /// Which structure it is.
    pub form: MessageForm,
    /// IV or nonce; its length is the length asked for when it is to be generated.
    pub iv: Vec<u8>,
    /// Leading bits of the IV that stay as they are.
    pub iv_fixed_bits: CK_ULONG,
    /// `CKG_*`: who makes the rest of the IV.
    pub generator: CK_ULONG,
    /// Length of the tag in bits.
    pub tag_bits: CK_ULONG,
    /// The tag: read when decrypting, filled in when encrypting.
    pub tag: Vec<u8>,
    /// Length of the data, which CCM must know beforehand.
    pub data_len: CK_ULONG,
}

/// Which structure the parameter of a message is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MessageForm {
    /// None.
    #[default]
    None,
    /// `CK_GCM_MESSAGE_PARAMS`.
    Gcm,
    /// `CK_CCM_MESSAGE_PARAMS`.
    Ccm,
    /// `CK_SALSA20_CHACHA20_POLY1305_MSG_PARAMS`.
    ChaCha20Poly1305,
}

/// What a function that produces bytes answers; the edge turns it into lengths and return values.
#[derive(Debug)]
pub enum Output {
    /// Answer to a size query: as many bytes suffice. The operation stays active.
    Length(usize),
    /// The caller's buffer is too small, as many bytes suffice (`CKR_BUFFER_TOO_SMALL`). The operation stays active.
    TooSmall(usize),
    /// The result: never longer than the room given.
    Bytes(Secret),
}
