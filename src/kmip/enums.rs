//! The enumerations and masks (spec 1.4, 9.1.3.2 and 9.1.3.3; spec 2.1, 11). Open: a value that is not here survives.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

use crate::error::Result;
use crate::ttlv::{Decode, Encode, Item, Tag, Writer};

macro_rules! enums {
    ($($enum:ident: $tag:ident $title:literal { $($name:ident = $value:literal $text:literal,)* })*) => {
        $(
            #[doc = concat!("The enumeration ", $title, ".")]
            #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
            pub struct $enum(pub u32);

            impl $enum {
                $(#[doc = concat!($text, ".")] pub const $name: $enum = $enum($value);)*

                /// Every value with a name.
                pub const ALL: &'static [$enum] = &[$($enum::$name,)*];

                /// The name in the specification; `None` for a value that is not in it.
                pub fn name(self) -> Option<&'static str> {
                    match self.0 {
                        $($value => Some($text),)*
                        _ => None,
                    }
                }
            }

            impl fmt::Display for $enum {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    match self.name() {
                        Some(name) => f.write_str(name),
                        None => write!(f, "{:#010x}", self.0),
                    }
                }
            }

            impl fmt::Debug for $enum {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    fmt::Display::fmt(self, f)
                }
            }

            impl Encode for $enum {
                fn encode(&self, tag: Tag, writer: &mut Writer) {
                    writer.enumeration(tag, self.0);
                }
            }

            impl Decode for $enum {
                fn decode(item: &Item<'_>) -> Result<Self> {
                    item.enumeration().map($enum)
                }
            }

            #[cfg(test)]
            impl super::sample::Sample for $enum {
                fn sample(_: crate::version::Version) -> Self {
                    $enum::ALL[$enum::ALL.len() / 2]
                }
            }
        )*

        fn enum_name(tag: Tag, value: u32) -> Option<&'static str> {
            match tag {
                $(Tag::$tag => $enum(value).name(),)*
                _ => None,
            }
        }
    };
}

macro_rules! masks {
    ($($mask:ident: $tag:ident $title:literal { $($name:ident = $value:literal $text:literal,)* })*) => {
        $(
            #[doc = concat!("The bit mask ", $title, ".")]
            #[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
            pub struct $mask(pub u32);

            impl $mask {
                $(#[doc = concat!($text, ".")] pub const $name: $mask = $mask($value);)*

                /// True when every bit of `other` is set.
                pub fn contains(self, other: $mask) -> bool {
                    self.0 & other.0 == other.0
                }
            }

            impl fmt::Display for $mask {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    let mut rest = self.0;
                    let mut separator = "";
                    $(if self.0 & $value != 0 {
                        write!(f, "{separator}{}", $text)?;
                        separator = ", ";
                        rest &= !$value;
                    })*
                    if rest != 0 || self.0 == 0 { write!(f, "{separator}{rest:#x}") } else { Ok(()) }
                }
            }

            impl fmt::Debug for $mask {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    fmt::Display::fmt(self, f)
                }
            }

            impl BitOr for $mask {
                type Output = $mask;
                fn bitor(self, other: $mask) -> $mask {
                    $mask(self.0 | other.0)
                }
            }

            impl BitOrAssign for $mask {
                fn bitor_assign(&mut self, other: $mask) {
                    self.0 |= other.0;
                }
            }

            impl Encode for $mask {
                fn encode(&self, tag: Tag, writer: &mut Writer) {
                    writer.integer(tag, self.0.cast_signed());
                }
            }

            impl Decode for $mask {
                fn decode(item: &Item<'_>) -> Result<Self> {
                    item.integer().map(|bits| $mask(bits.cast_unsigned()))
                }
            }

            #[cfg(test)]
            impl super::sample::Sample for $mask {
                fn sample(_: crate::version::Version) -> Self {
                    $mask(u32::MAX)
                }
            }
        )*

        fn mask_text(tag: Tag, value: u32) -> Option<String> {
            match tag {
                $(Tag::$tag => Some($mask(value).to_string()),)*
                _ => None,
            }
        }
    };
}

/// The text for a value of an enumeration or mask that stands under `tag`: the names for [`crate::ttlv::dump_with`].
pub fn value_name(tag: Tag, value: u32) -> Option<String> {
    match tag {
        // A 2.x attribute reference is an enumeration of tags.
        Tag::ATTRIBUTE_REFERENCE => Tag(value).name().map(str::to_owned),
        _ => enum_name(tag, value).map(str::to_owned).or_else(|| mask_text(tag, value)),
    }
}

masks! {
    StorageStatusMask: STORAGE_STATUS_MASK "Storage Status Mask" {
        ON_LINE_STORAGE = 0x01 "On-line storage", ARCHIVAL_STORAGE = 0x02 "Archival storage",
        DESTROYED_STORAGE = 0x04 "Destroyed storage",
    }
    ProtectionStorageMask: PROTECTION_STORAGE_MASK "Protection Storage Mask" {
        SOFTWARE = 0x000001 "Software", HARDWARE = 0x000002 "Hardware", ON_PROCESSOR = 0x000004 "On Processor",
        ON_SYSTEM = 0x000008 "On System", OFF_SYSTEM = 0x000010 "Off System", HYPERVISOR = 0x000020 "Hypervisor",
        OPERATING_SYSTEM = 0x000040 "Operating System", CONTAINER = 0x000080 "Container", ON_PREMISES = 0x000100 "On Premises",
        OFF_PREMISES = 0x000200 "Off Premises", SELF_MANAGED = 0x000400 "Self Managed", OUTSOURCED = 0x000800 "Outsourced",
        VALIDATED = 0x001000 "Validated", SAME_JURISDICTION = 0x002000 "Same Jurisdiction",
    }
    CryptographicUsageMask: CRYPTOGRAPHIC_USAGE_MASK "Cryptographic Usage Mask" {
        SIGN = 0x000001 "Sign", VERIFY = 0x000002 "Verify", ENCRYPT = 0x000004 "Encrypt", DECRYPT = 0x000008 "Decrypt",
        WRAP_KEY = 0x000010 "Wrap Key", UNWRAP_KEY = 0x000020 "Unwrap Key", EXPORT = 0x000040 "Export",
        MAC_GENERATE = 0x000080 "MAC Generate", MAC_VERIFY = 0x000100 "MAC Verify", DERIVE_KEY = 0x000200 "Derive Key",
        CONTENT_COMMITMENT = 0x000400 "Content Commitment (Non Repudiation)", KEY_AGREEMENT = 0x000800 "Key Agreement",
        CERTIFICATE_SIGN = 0x001000 "Certificate Sign", CRL_SIGN = 0x002000 "CRL Sign",
        GENERATE_CRYPTOGRAM = 0x004000 "Generate Cryptogram", VALIDATE_CRYPTOGRAM = 0x008000 "Validate Cryptogram",
        TRANSLATE_ENCRYPT = 0x010000 "Translate Encrypt", TRANSLATE_DECRYPT = 0x020000 "Translate Decrypt",
        TRANSLATE_WRAP = 0x040000 "Translate Wrap", TRANSLATE_UNWRAP = 0x080000 "Translate Unwrap",
        AUTHENTICATE = 0x100000 "Authenticate", UNRESTRICTED = 0x200000 "Unrestricted", FPE_ENCRYPT = 0x400000 "FPE Encrypt",
        FPE_DECRYPT = 0x800000 "FPE Decrypt",
    }
}

enums! {
    OperationCode: OPERATION "Operation" {
        CREATE = 0x01 "Create", CREATE_KEY_PAIR = 0x02 "Create Key Pair", REGISTER = 0x03 "Register", RE_KEY = 0x04 "Re-key",
        DERIVE_KEY = 0x05 "Derive Key", CERTIFY = 0x06 "Certify", RE_CERTIFY = 0x07 "Re-certify", LOCATE = 0x08 "Locate",
        CHECK = 0x09 "Check", GET = 0x0A "Get", GET_ATTRIBUTES = 0x0B "Get Attributes",
        GET_ATTRIBUTE_LIST = 0x0C "Get Attribute List", ADD_ATTRIBUTE = 0x0D "Add Attribute",
        MODIFY_ATTRIBUTE = 0x0E "Modify Attribute", DELETE_ATTRIBUTE = 0x0F "Delete Attribute",
        OBTAIN_LEASE = 0x10 "Obtain Lease", GET_USAGE_ALLOCATION = 0x11 "Get Usage Allocation", ACTIVATE = 0x12 "Activate",
        REVOKE = 0x13 "Revoke", DESTROY = 0x14 "Destroy", ARCHIVE = 0x15 "Archive", RECOVER = 0x16 "Recover",
        VALIDATE = 0x17 "Validate", QUERY = 0x18 "Query", CANCEL = 0x19 "Cancel", POLL = 0x1A "Poll", NOTIFY = 0x1B "Notify",
        PUT = 0x1C "Put", RE_KEY_KEY_PAIR = 0x1D "Re-key Key Pair", DISCOVER_VERSIONS = 0x1E "Discover Versions",
        ENCRYPT = 0x1F "Encrypt", DECRYPT = 0x20 "Decrypt", SIGN = 0x21 "Sign", SIGNATURE_VERIFY = 0x22 "Signature Verify",
        MAC = 0x23 "MAC", MAC_VERIFY = 0x24 "MAC Verify", RNG_RETRIEVE = 0x25 "RNG Retrieve", RNG_SEED = 0x26 "RNG Seed",
        HASH = 0x27 "Hash", CREATE_SPLIT_KEY = 0x28 "Create Split Key", JOIN_SPLIT_KEY = 0x29 "Join Split Key",
        IMPORT = 0x2A "Import", EXPORT = 0x2B "Export", LOG = 0x2C "Log", LOGIN = 0x2D "Login", LOGOUT = 0x2E "Logout",
        DELEGATED_LOGIN = 0x2F "Delegated Login", ADJUST_ATTRIBUTE = 0x30 "Adjust Attribute",
        SET_ATTRIBUTE = 0x31 "Set Attribute", SET_ENDPOINT_ROLE = 0x32 "Set Endpoint Role", PKCS_11 = 0x33 "PKCS#11",
        INTEROP = 0x34 "Interop", RE_PROVISION = 0x35 "Re-Provision", SET_DEFAULTS = 0x36 "Set Defaults",
        SET_CONSTRAINTS = 0x37 "Set Constraints", GET_CONSTRAINTS = 0x38 "Get Constraints",
        QUERY_ASYNCHRONOUS_REQUESTS = 0x39 "Query Asynchronous Requests", PROCESS = 0x3A "Process", PING = 0x3B "Ping",
        CREATE_GROUP = 0x3C "Create Group", OBLITERATE = 0x3D "Obliterate", CREATE_USER = 0x3E "Create User",
        CREATE_CREDENTIAL = 0x3F "Create Credential", DEACTIVATE = 0x40 "Deactivate",
    }
    ObjectType: OBJECT_TYPE "Object Type" {
        CERTIFICATE = 0x01 "Certificate", SYMMETRIC_KEY = 0x02 "Symmetric Key", PUBLIC_KEY = 0x03 "Public Key",
        PRIVATE_KEY = 0x04 "Private Key", SPLIT_KEY = 0x05 "Split Key", TEMPLATE = 0x06 "Template",
        SECRET_DATA = 0x07 "Secret Data", OPAQUE_OBJECT = 0x08 "Opaque Object", PGP_KEY = 0x09 "PGP Key",
        CERTIFICATE_REQUEST = 0x0A "Certificate Request", USER = 0x0B "User", GROUP = 0x0C "Group",
        PASSWORD_CREDENTIAL = 0x0D "Password Credential", DEVICE_CREDENTIAL = 0x0E "Device Credential",
        OTP_CREDENTIAL = 0x0F "OTP Credential", HASHED_PASSWORD_CREDENTIAL = 0x10 "Hashed Password Credential",
    }
    ResultStatus: RESULT_STATUS "Result Status" {
        SUCCESS = 0x00 "Success", OPERATION_FAILED = 0x01 "Operation Failed", OPERATION_PENDING = 0x02 "Operation Pending",
        OPERATION_UNDONE = 0x03 "Operation Undone",
    }
    ResultReason: RESULT_REASON "Result Reason" {
        ITEM_NOT_FOUND = 0x001 "Item Not Found", RESPONSE_TOO_LARGE = 0x002 "Response Too Large",
        AUTHENTICATION_NOT_SUCCESSFUL = 0x003 "Authentication Not Successful", INVALID_MESSAGE = 0x004 "Invalid Message",
        OPERATION_NOT_SUPPORTED = 0x005 "Operation Not Supported", MISSING_DATA = 0x006 "Missing Data",
        INVALID_FIELD = 0x007 "Invalid Field", FEATURE_NOT_SUPPORTED = 0x008 "Feature Not Supported",
        OPERATION_CANCELED_BY_REQUESTER = 0x009 "Operation Canceled By Requester",
        CRYPTOGRAPHIC_FAILURE = 0x00A "Cryptographic Failure", ILLEGAL_OPERATION = 0x00B "Illegal Operation",
        PERMISSION_DENIED = 0x00C "Permission Denied", OBJECT_ARCHIVED = 0x00D "Object Archived",
        INDEX_OUT_OF_BOUNDS = 0x00E "Index Out of Bounds",
        APPLICATION_NAMESPACE_NOT_SUPPORTED = 0x00F "Application Namespace Not Supported",
        KEY_FORMAT_TYPE_NOT_SUPPORTED = 0x010 "Key Format Type Not Supported",
        KEY_COMPRESSION_TYPE_NOT_SUPPORTED = 0x011 "Key Compression Type Not Supported",
        ENCODING_OPTION_ERROR = 0x012 "Encoding Option Error", KEY_VALUE_NOT_PRESENT = 0x013 "Key Value Not Present",
        ATTESTATION_REQUIRED = 0x014 "Attestation Required", ATTESTATION_FAILED = 0x015 "Attestation Failed",
        SENSITIVE = 0x016 "Sensitive", NOT_EXTRACTABLE = 0x017 "Not Extractable",
        OBJECT_ALREADY_EXISTS = 0x018 "Object Already Exists", INVALID_TICKET = 0x019 "Invalid Ticket",
        USAGE_LIMIT_EXCEEDED = 0x01A "Usage Limit Exceeded", NUMERIC_RANGE = 0x01B "Numeric Range",
        INVALID_DATA_TYPE = 0x01C "Invalid Data Type", READ_ONLY_ATTRIBUTE = 0x01D "Read Only Attribute",
        MULTI_VALUED_ATTRIBUTE = 0x01E "Multi Valued Attribute", UNSUPPORTED_ATTRIBUTE = 0x01F "Unsupported Attribute",
        ATTRIBUTE_INSTANCE_NOT_FOUND = 0x020 "Attribute Instance Not Found", ATTRIBUTE_NOT_FOUND = 0x021 "Attribute Not Found",
        ATTRIBUTE_READ_ONLY = 0x022 "Attribute Read Only", ATTRIBUTE_SINGLE_VALUED = 0x023 "Attribute Single Valued",
        BAD_CRYPTOGRAPHIC_PARAMETERS = 0x024 "Bad Cryptographic Parameters", BAD_PASSWORD = 0x025 "Bad Password",
        CODEC_ERROR = 0x026 "Codec Error", ILLEGAL_OBJECT_TYPE = 0x028 "Illegal Object Type",
        INCOMPATIBLE_CRYPTOGRAPHIC_USAGE_MASK = 0x029 "Incompatible Cryptographic Usage Mask",
        INTERNAL_SERVER_ERROR = 0x02A "Internal Server Error",
        INVALID_ASYNCHRONOUS_CORRELATION_VALUE = 0x02B "Invalid Asynchronous Correlation Value",
        INVALID_ATTRIBUTE = 0x02C "Invalid Attribute", INVALID_ATTRIBUTE_VALUE = 0x02D "Invalid Attribute Value",
        INVALID_CORRELATION_VALUE = 0x02E "Invalid Correlation Value", INVALID_CSR = 0x02F "Invalid CSR",
        INVALID_OBJECT_TYPE = 0x030 "Invalid Object Type", KEY_WRAP_TYPE_NOT_SUPPORTED = 0x032 "Key Wrap Type Not Supported",
        MISSING_INITIALIZATION_VECTOR = 0x034 "Missing Initialization Vector",
        NON_UNIQUE_NAME_ATTRIBUTE = 0x035 "Non Unique Name Attribute", OBJECT_DESTROYED = 0x036 "Object Destroyed",
        OBJECT_NOT_FOUND = 0x037 "Object Not Found", NOT_AUTHORISED = 0x039 "Not Authorised",
        SERVER_LIMIT_EXCEEDED = 0x03A "Server Limit Exceeded", UNKNOWN_ENUMERATION = 0x03B "Unknown Enumeration",
        UNKNOWN_MESSAGE_EXTENSION = 0x03C "Unknown Message Extension", UNKNOWN_TAG = 0x03D "Unknown Tag",
        UNSUPPORTED_CRYPTOGRAPHIC_PARAMETERS = 0x03E "Unsupported Cryptographic Parameters",
        UNSUPPORTED_PROTOCOL_VERSION = 0x03F "Unsupported Protocol Version",
        WRAPPING_OBJECT_ARCHIVED = 0x040 "Wrapping Object Archived",
        WRAPPING_OBJECT_DESTROYED = 0x041 "Wrapping Object Destroyed",
        WRAPPING_OBJECT_NOT_FOUND = 0x042 "Wrapping Object Not Found",
        WRONG_KEY_LIFECYCLE_STATE = 0x043 "Wrong Key Lifecycle State",
        PROTECTION_STORAGE_UNAVAILABLE = 0x044 "Protection Storage Unavailable",
        PKCS_11_CODEC_ERROR = 0x045 "PKCS#11 Codec Error", PKCS_11_INVALID_FUNCTION = 0x046 "PKCS#11 Invalid Function",
        PKCS_11_INVALID_INTERFACE = 0x047 "PKCS#11 Invalid Interface",
        PRIVATE_PROTECTION_STORAGE_UNAVAILABLE = 0x048 "Private Protection Storage Unavailable",
        PUBLIC_PROTECTION_STORAGE_UNAVAILABLE = 0x049 "Public Protection Storage Unavailable",
        UNKNOWN_OBJECT_GROUP = 0x04A "Unknown Object Group", CONSTRAINT_VIOLATION = 0x04B "Constraint Violation",
        DUPLICATE_PROCESS_REQUEST = 0x04C "Duplicate Process Request", CIRCULAR_LINK_ERROR = 0x04D "Circular Link Error",
        GENERAL_FAILURE = 0x100 "General Failure",
    }
    KeyFormatType: KEY_FORMAT_TYPE "Key Format Type" {
        RAW = 0x01 "Raw", OPAQUE = 0x02 "Opaque", PKCS_1 = 0x03 "PKCS#1", PKCS_8 = 0x04 "PKCS#8", X_509 = 0x05 "X.509",
        ECPRIVATEKEY = 0x06 "ECPrivateKey", TRANSPARENT_SYMMETRIC_KEY = 0x07 "Transparent Symmetric Key",
        TRANSPARENT_DSA_PRIVATE_KEY = 0x08 "Transparent DSA Private Key",
        TRANSPARENT_DSA_PUBLIC_KEY = 0x09 "Transparent DSA Public Key",
        TRANSPARENT_RSA_PRIVATE_KEY = 0x0A "Transparent RSA Private Key",
        TRANSPARENT_RSA_PUBLIC_KEY = 0x0B "Transparent RSA Public Key",
        TRANSPARENT_DH_PRIVATE_KEY = 0x0C "Transparent DH Private Key",
        TRANSPARENT_DH_PUBLIC_KEY = 0x0D "Transparent DH Public Key",
        TRANSPARENT_ECDSA_PRIVATE_KEY = 0x0E "Transparent ECDSA Private Key",
        TRANSPARENT_ECDSA_PUBLIC_KEY = 0x0F "Transparent ECDSA Public Key",
        TRANSPARENT_ECDH_PRIVATE_KEY = 0x10 "Transparent ECDH Private Key",
        TRANSPARENT_ECDH_PUBLIC_KEY = 0x11 "Transparent ECDH Public Key",
        TRANSPARENT_ECMQV_PRIVATE_KEY = 0x12 "Transparent ECMQV Private Key",
        TRANSPARENT_ECMQV_PUBLIC_KEY = 0x13 "Transparent ECMQV Public Key",
        TRANSPARENT_EC_PRIVATE_KEY = 0x14 "Transparent EC Private Key",
        TRANSPARENT_EC_PUBLIC_KEY = 0x15 "Transparent EC Public Key", PKCS_12 = 0x16 "PKCS#12", PKCS_10 = 0x17 "PKCS#10",
    }
    KeyCompressionType: KEY_COMPRESSION_TYPE "Key Compression Type" {
        EC_PUBLIC_KEY_TYPE_UNCOMPRESSED = 0x01 "EC Public Key Type Uncompressed",
        EC_PUBLIC_KEY_TYPE_X9_62_COMPRESSED_PRIME = 0x02 "EC Public Key Type X9.62 Compressed Prime",
        EC_PUBLIC_KEY_TYPE_X9_62_COMPRESSED_CHAR2 = 0x03 "EC Public Key Type X9.62 Compressed Char2",
        EC_PUBLIC_KEY_TYPE_X9_62_HYBRID = 0x04 "EC Public Key Type X9.62 Hybrid",
    }
    KeyWrapType: KEY_WRAP_TYPE "Key Wrap Type" {
        NOT_WRAPPED = 0x01 "Not Wrapped", AS_REGISTERED = 0x02 "As Registered",
    }
    WrappingMethod: WRAPPING_METHOD "Wrapping Method" {
        ENCRYPT = 0x01 "Encrypt", MAC_SIGN = 0x02 "MAC/sign", ENCRYPT_THEN_MAC_SIGN = 0x03 "Encrypt then MAC/sign",
        MAC_SIGN_THEN_ENCRYPT = 0x04 "MAC/sign then encrypt", TR_31 = 0x05 "TR-31",
    }
    EncodingOption: ENCODING_OPTION "Encoding Option" {
        NO_ENCODING = 0x01 "No Encoding", TTLV_ENCODING = 0x02 "TTLV Encoding",
    }
    CryptographicAlgorithm: CRYPTOGRAPHIC_ALGORITHM "Cryptographic Algorithm" {
        DES = 0x01 "DES", TRIPLE_DES = 0x02 "3DES", AES = 0x03 "AES", RSA = 0x04 "RSA", DSA = 0x05 "DSA", ECDSA = 0x06 "ECDSA",
        HMAC_SHA1 = 0x07 "HMAC-SHA1", HMAC_SHA224 = 0x08 "HMAC-SHA224", HMAC_SHA256 = 0x09 "HMAC-SHA256",
        HMAC_SHA384 = 0x0A "HMAC-SHA384", HMAC_SHA512 = 0x0B "HMAC-SHA512", HMAC_MD5 = 0x0C "HMAC-MD5", DH = 0x0D "DH",
        ECDH = 0x0E "ECDH", ECMQV = 0x0F "ECMQV", BLOWFISH = 0x10 "Blowfish", CAMELLIA = 0x11 "Camellia", CAST5 = 0x12 "CAST5",
        IDEA = 0x13 "IDEA", MARS = 0x14 "MARS", RC2 = 0x15 "RC2", RC4 = 0x16 "RC4", RC5 = 0x17 "RC5",
        SKIPJACK = 0x18 "SKIPJACK", TWOFISH = 0x19 "Twofish", EC = 0x1A "EC", ONE_TIME_PAD = 0x1B "One Time Pad",
        CHACHA20 = 0x1C "ChaCha20", POLY1305 = 0x1D "Poly1305", CHACHA20POLY1305 = 0x1E "ChaCha20Poly1305",
        SHA3_224 = 0x1F "SHA3-224", SHA3_256 = 0x20 "SHA3-256", SHA3_384 = 0x21 "SHA3-384", SHA3_512 = 0x22 "SHA3-512",
        HMAC_SHA3_224 = 0x23 "HMAC-SHA3-224", HMAC_SHA3_256 = 0x24 "HMAC-SHA3-256", HMAC_SHA3_384 = 0x25 "HMAC-SHA3-384",
        HMAC_SHA3_512 = 0x26 "HMAC-SHA3-512", SHAKE_128 = 0x27 "SHAKE-128", SHAKE_256 = 0x28 "SHAKE-256", ARIA = 0x29 "ARIA",
        SEED = 0x2A "SEED", SM2 = 0x2B "SM2", SM3 = 0x2C "SM3", SM4 = 0x2D "SM4", GOST_R_34_10_2012 = 0x2E "GOST R 34.10-2012",
        GOST_R_34_11_2012 = 0x2F "GOST R 34.11-2012", GOST_R_34_13_2015 = 0x30 "GOST R 34.13-2015",
        GOST_28147_89 = 0x31 "GOST 28147-89", XMSS = 0x32 "XMSS", SPHINCS_256 = 0x33 "SPHINCS-256", MCELIECE = 0x34 "McEliece",
        MCELIECE_6960119 = 0x35 "McEliece-6960119", MCELIECE_8192128 = 0x36 "McEliece-8192128", ED25519 = 0x37 "Ed25519",
        ED448 = 0x38 "Ed448", ML_KEM_512 = 0x39 "ML-KEM-512", ML_KEM_768 = 0x3A "ML-KEM-768", ML_KEM_1024 = 0x3B "ML-KEM-1024",
        ML_DSA_44 = 0x3C "ML-DSA-44", ML_DSA_65 = 0x3D "ML-DSA-65", ML_DSA_87 = 0x3E "ML-DSA-87",
        SLH_DSA_SHA2_128S = 0x3F "SLH-DSA-SHA2-128s", SLH_DSA_SHA2_128F = 0x40 "SLH-DSA-SHA2-128f",
        SLH_DSA_SHA2_192S = 0x41 "SLH-DSA-SHA2-192s", SLH_DSA_SHA2_192F = 0x42 "SLH-DSA-SHA2-192f",
        SLH_DSA_SHA2_256S = 0x43 "SLH-DSA-SHA2-256s", SLH_DSA_SHA2_256F = 0x44 "SLH-DSA-SHA2-256f",
        SLH_DSA_SHAKE_128S = 0x45 "SLH-DSA-SHAKE-128s", SLH_DSA_SHAKE_128F = 0x46 "SLH-DSA-SHAKE-128f",
        SLH_DSA_SHAKE_192S = 0x47 "SLH-DSA-SHAKE-192s", SLH_DSA_SHAKE_192F = 0x48 "SLH-DSA-SHAKE-192f",
        SLH_DSA_SHAKE_256S = 0x49 "SLH-DSA-SHAKE-256s", SLH_DSA_SHAKE_256F = 0x4A "SLH-DSA-SHAKE-256f",
    }
    BlockCipherMode: BLOCK_CIPHER_MODE "Block Cipher Mode" {
        CBC = 0x01 "CBC", ECB = 0x02 "ECB", PCBC = 0x03 "PCBC", CFB = 0x04 "CFB", OFB = 0x05 "OFB", CTR = 0x06 "CTR",
        CMAC = 0x07 "CMAC", CCM = 0x08 "CCM", GCM = 0x09 "GCM", CBC_MAC = 0x0A "CBC-MAC", XTS = 0x0B "XTS",
        AES_KEY_WRAP_PADDING = 0x0C "AESKeyWrapPadding", NIST_KEY_WRAP = 0x0D "NISTKeyWrap", X9_102_AESKW = 0x0E "X9.102 AESKW",
        X9_102_TDKW = 0x0F "X9.102 TDKW", X9_102_AKW1 = 0x10 "X9.102 AKW1", X9_102_AKW2 = 0x11 "X9.102 AKW2",
        AEAD = 0x12 "AEAD",
    }
    PaddingMethod: PADDING_METHOD "Padding Method" {
        NONE = 0x01 "None", OAEP = 0x02 "OAEP", PKCS5 = 0x03 "PKCS5", SSL3 = 0x04 "SSL3", ZEROS = 0x05 "Zeros",
        ANSI_X9_23 = 0x06 "ANSI X9.23", ISO_10126 = 0x07 "ISO 10126", PKCS1_V1_5 = 0x08 "PKCS1 v1.5", X9_31 = 0x09 "X9.31",
        PSS = 0x0A "PSS",
    }
    HashingAlgorithm: HASHING_ALGORITHM "Hashing Algorithm" {
        MD2 = 0x01 "MD2", MD4 = 0x02 "MD4", MD5 = 0x03 "MD5", SHA_1 = 0x04 "SHA-1", SHA_224 = 0x05 "SHA-224",
        SHA_256 = 0x06 "SHA-256", SHA_384 = 0x07 "SHA-384", SHA_512 = 0x08 "SHA-512", RIPEMD_160 = 0x09 "RIPEMD-160",
        TIGER = 0x0A "Tiger", WHIRLPOOL = 0x0B "Whirlpool", SHA_512_224 = 0x0C "SHA-512/224", SHA_512_256 = 0x0D "SHA-512/256",
        SHA3_224 = 0x0E "SHA3-224", SHA3_256 = 0x0F "SHA3-256", SHA3_384 = 0x10 "SHA3-384", SHA3_512 = 0x11 "SHA3-512",
    }
    MaskGenerator: MASK_GENERATOR "Mask Generator" {
        MGF1 = 0x01 "MGF1",
    }
    DigitalSignatureAlgorithm: DIGITAL_SIGNATURE_ALGORITHM "Digital Signature Algorithm" {
        MD2_WITH_RSA_ENCRYPTION = 0x01 "MD2 with RSA Encryption", MD5_WITH_RSA_ENCRYPTION = 0x02 "MD5 with RSA Encryption",
        SHA_1_WITH_RSA_ENCRYPTION = 0x03 "SHA-1 with RSA Encryption",
        SHA_224_WITH_RSA_ENCRYPTION = 0x04 "SHA-224 with RSA Encryption",
        SHA_256_WITH_RSA_ENCRYPTION = 0x05 "SHA-256 with RSA Encryption",
        SHA_384_WITH_RSA_ENCRYPTION = 0x06 "SHA-384 with RSA Encryption",
        SHA_512_WITH_RSA_ENCRYPTION = 0x07 "SHA-512 with RSA Encryption", RSASSA_PSS = 0x08 "RSASSA-PSS",
        DSA_WITH_SHA_1 = 0x09 "DSA with SHA-1", DSA_WITH_SHA224 = 0x0A "DSA with SHA224",
        DSA_WITH_SHA256 = 0x0B "DSA with SHA256", ECDSA_WITH_SHA_1 = 0x0C "ECDSA with SHA-1",
        ECDSA_WITH_SHA224 = 0x0D "ECDSA with SHA224", ECDSA_WITH_SHA256 = 0x0E "ECDSA with SHA256",
        ECDSA_WITH_SHA384 = 0x0F "ECDSA with SHA384", ECDSA_WITH_SHA512 = 0x10 "ECDSA with SHA512",
        SHA3_256_WITH_RSA_ENCRYPTION = 0x11 "SHA3-256 with RSA Encryption",
        SHA3_384_WITH_RSA_ENCRYPTION = 0x12 "SHA3-384 with RSA Encryption",
        SHA3_512_WITH_RSA_ENCRYPTION = 0x13 "SHA3-512 with RSA Encryption",
    }
    RecommendedCurve: RECOMMENDED_CURVE "Recommended Curve" {
        P_192 = 0x01 "P-192", K_163 = 0x02 "K-163", B_163 = 0x03 "B-163", P_224 = 0x04 "P-224", K_233 = 0x05 "K-233",
        B_233 = 0x06 "B-233", P_256 = 0x07 "P-256", K_283 = 0x08 "K-283", B_283 = 0x09 "B-283", P_384 = 0x0A "P-384",
        K_409 = 0x0B "K-409", B_409 = 0x0C "B-409", P_521 = 0x0D "P-521", K_571 = 0x0E "K-571", B_571 = 0x0F "B-571",
        SECP112R1 = 0x10 "SECP112R1", SECP112R2 = 0x11 "SECP112R2", SECP128R1 = 0x12 "SECP128R1", SECP128R2 = 0x13 "SECP128R2",
        SECP160K1 = 0x14 "SECP160K1", SECP160R1 = 0x15 "SECP160R1", SECP160R2 = 0x16 "SECP160R2", SECP192K1 = 0x17 "SECP192K1",
        SECP224K1 = 0x18 "SECP224K1", SECP256K1 = 0x19 "SECP256K1", SECT113R1 = 0x1A "SECT113R1", SECT113R2 = 0x1B "SECT113R2",
        SECT131R1 = 0x1C "SECT131R1", SECT131R2 = 0x1D "SECT131R2", SECT163R1 = 0x1E "SECT163R1", SECT193R1 = 0x1F "SECT193R1",
        SECT193R2 = 0x20 "SECT193R2", SECT239K1 = 0x21 "SECT239K1", ANSIX9P192V2 = 0x22 "ANSIX9P192V2",
        ANSIX9P192V3 = 0x23 "ANSIX9P192V3", ANSIX9P239V1 = 0x24 "ANSIX9P239V1", ANSIX9P239V2 = 0x25 "ANSIX9P239V2",
        ANSIX9P239V3 = 0x26 "ANSIX9P239V3", ANSIX9C2PNB163V1 = 0x27 "ANSIX9C2PNB163V1",
        ANSIX9C2PNB163V2 = 0x28 "ANSIX9C2PNB163V2", ANSIX9C2PNB163V3 = 0x29 "ANSIX9C2PNB163V3",
        ANSIX9C2PNB176V1 = 0x2A "ANSIX9C2PNB176V1", ANSIX9C2TNB191V1 = 0x2B "ANSIX9C2TNB191V1",
        ANSIX9C2TNB191V2 = 0x2C "ANSIX9C2TNB191V2", ANSIX9C2TNB191V3 = 0x2D "ANSIX9C2TNB191V3",
        ANSIX9C2PNB208W1 = 0x2E "ANSIX9C2PNB208W1", ANSIX9C2TNB239V1 = 0x2F "ANSIX9C2TNB239V1",
        ANSIX9C2TNB239V2 = 0x30 "ANSIX9C2TNB239V2", ANSIX9C2TNB239V3 = 0x31 "ANSIX9C2TNB239V3",
        ANSIX9C2PNB272W1 = 0x32 "ANSIX9C2PNB272W1", ANSIX9C2PNB304W1 = 0x33 "ANSIX9C2PNB304W1",
        ANSIX9C2TNB359V1 = 0x34 "ANSIX9C2TNB359V1", ANSIX9C2PNB368W1 = 0x35 "ANSIX9C2PNB368W1",
        ANSIX9C2TNB431R1 = 0x36 "ANSIX9C2TNB431R1", BRAINPOOLP160R1 = 0x37 "BRAINPOOLP160R1",
        BRAINPOOLP160T1 = 0x38 "BRAINPOOLP160T1", BRAINPOOLP192R1 = 0x39 "BRAINPOOLP192R1",
        BRAINPOOLP192T1 = 0x3A "BRAINPOOLP192T1", BRAINPOOLP224R1 = 0x3B "BRAINPOOLP224R1",
        BRAINPOOLP224T1 = 0x3C "BRAINPOOLP224T1", BRAINPOOLP256R1 = 0x3D "BRAINPOOLP256R1",
        BRAINPOOLP256T1 = 0x3E "BRAINPOOLP256T1", BRAINPOOLP320R1 = 0x3F "BRAINPOOLP320R1",
        BRAINPOOLP320T1 = 0x40 "BRAINPOOLP320T1", BRAINPOOLP384R1 = 0x41 "BRAINPOOLP384R1",
        BRAINPOOLP384T1 = 0x42 "BRAINPOOLP384T1", BRAINPOOLP512R1 = 0x43 "BRAINPOOLP512R1",
        BRAINPOOLP512T1 = 0x44 "BRAINPOOLP512T1", CURVE25519 = 0x45 "CURVE25519", CURVE448 = 0x46 "CURVE448",
    }
    DerivationMethod: DERIVATION_METHOD "Derivation Method" {
        PBKDF2 = 0x01 "PBKDF2", HASH = 0x02 "HASH", HMAC = 0x03 "HMAC", ENCRYPT = 0x04 "ENCRYPT",
        NIST800_108_C = 0x05 "NIST800-108-C", NIST800_108_F = 0x06 "NIST800-108-F", NIST800_108_DPI = 0x07 "NIST800-108-DPI",
        ASYMMETRIC_KEY = 0x08 "Asymmetric Key", AWS_SIGNATURE_VERSION_4 = 0x09 "AWS Signature Version 4", HKDF = 0x0A "HKDF",
    }
    SecretDataType: SECRET_DATA_TYPE "Secret Data Type" {
        PASSWORD = 0x01 "Password", SEED = 0x02 "Seed",
    }
    CertificateType: CERTIFICATE_TYPE "Certificate Type" {
        X_509 = 0x01 "X.509", PGP = 0x02 "PGP",
    }
    CertificateRequestType: CERTIFICATE_REQUEST_TYPE "Certificate Request Type" {
        CRMF = 0x01 "CRMF", PKCS_10 = 0x02 "PKCS#10", PEM = 0x03 "PEM",
    }
    State: STATE "State" {
        PRE_ACTIVE = 0x01 "Pre-Active", ACTIVE = 0x02 "Active", DEACTIVATED = 0x03 "Deactivated",
        COMPROMISED = 0x04 "Compromised", DESTROYED = 0x05 "Destroyed", DESTROYED_COMPROMISED = 0x06 "Destroyed Compromised",
    }
    RevocationReasonCode: REVOCATION_REASON_CODE "Revocation Reason Code" {
        UNSPECIFIED = 0x01 "Unspecified", KEY_COMPROMISE = 0x02 "Key Compromise", CA_COMPROMISE = 0x03 "CA Compromise",
        AFFILIATION_CHANGED = 0x04 "Affiliation Changed", SUPERSEDED = 0x05 "Superseded",
        CESSATION_OF_OPERATION = 0x06 "Cessation of Operation", PRIVILEGE_WITHDRAWN = 0x07 "Privilege Withdrawn",
    }
    LinkType: LINK_TYPE "Link Type" {
        CERTIFICATE_LINK = 0x101 "Certificate Link", PUBLIC_KEY_LINK = 0x102 "Public Key Link",
        PRIVATE_KEY_LINK = 0x103 "Private Key Link", DERIVATION_BASE_OBJECT_LINK = 0x104 "Derivation Base Object Link",
        DERIVED_KEY_LINK = 0x105 "Derived Key Link", REPLACEMENT_OBJECT_LINK = 0x106 "Replacement Object Link",
        REPLACED_OBJECT_LINK = 0x107 "Replaced Object Link", PARENT_LINK = 0x108 "Parent Link", CHILD_LINK = 0x109 "Child Link",
        PREVIOUS_LINK = 0x10A "Previous Link", NEXT_LINK = 0x10B "Next Link",
        PKCS_12_CERTIFICATE_LINK = 0x10C "PKCS#12 Certificate Link", PKCS_12_PASSWORD_LINK = 0x10D "PKCS#12 Password Link",
        WRAPPING_KEY_LINK = 0x10E "Wrapping Key Link",
    }
    NameType: NAME_TYPE "Name Type" {
        UNINTERPRETED_TEXT_STRING = 0x01 "Uninterpreted Text String", URI = 0x02 "URI",
    }
    AlternativeNameType: ALTERNATIVE_NAME_TYPE "Alternative Name Type" {
        UNINTERPRETED_TEXT_STRING = 0x01 "Uninterpreted Text String", URI = 0x02 "URI",
        OBJECT_SERIAL_NUMBER = 0x03 "Object Serial Number", EMAIL_ADDRESS = 0x04 "Email Address", DNS_NAME = 0x05 "DNS Name",
        X_500_DISTINGUISHED_NAME = 0x06 "X.500 Distinguished Name", IP_ADDRESS = 0x07 "IP Address",
    }
    CredentialType: CREDENTIAL_TYPE "Credential Type" {
        USERNAME_AND_PASSWORD = 0x01 "Username and Password", DEVICE = 0x02 "Device", ATTESTATION = 0x03 "Attestation",
        ONE_TIME_PASSWORD = 0x04 "One Time Password", HASHED_PASSWORD = 0x05 "Hashed Password", TICKET = 0x06 "Ticket",
        PASSWORD = 0x07 "Password", CERTIFICATE = 0x08 "Certificate",
    }
    QueryFunction: QUERY_FUNCTION "Query Function" {
        QUERY_OPERATIONS = 0x01 "Query Operations", QUERY_OBJECTS = 0x02 "Query Objects",
        QUERY_SERVER_INFORMATION = 0x03 "Query Server Information",
        QUERY_APPLICATION_NAMESPACES = 0x04 "Query Application Namespaces", QUERY_EXTENSION_LIST = 0x05 "Query Extension List",
        QUERY_EXTENSION_MAP = 0x06 "Query Extension Map", QUERY_ATTESTATION_TYPES = 0x07 "Query Attestation Types",
        QUERY_RNGS = 0x08 "Query RNGs", QUERY_VALIDATIONS = 0x09 "Query Validations", QUERY_PROFILES = 0x0A "Query Profiles",
        QUERY_CAPABILITIES = 0x0B "Query Capabilities",
        QUERY_CLIENT_REGISTRATION_METHODS = 0x0C "Query Client Registration Methods",
        QUERY_DEFAULTS_INFORMATION = 0x0D "Query Defaults Information",
        QUERY_STORAGE_PROTECTION_MASKS = 0x0E "Query Storage Protection Masks",
        QUERY_CREDENTIAL_INFORMATION = 0x0F "Query Credential Information",
    }
    BatchErrorContinuationOption: BATCH_ERROR_CONTINUATION_OPTION "Batch Error Continuation Option" {
        CONTINUE = 0x01 "Continue", STOP = 0x02 "Stop", UNDO = 0x03 "Undo",
    }
    AsynchronousIndicator: ASYNCHRONOUS_INDICATOR "Asynchronous Indicator" {
        MANDATORY = 0x01 "Mandatory", OPTIONAL = 0x02 "Optional", PROHIBITED = 0x03 "Prohibited",
    }
    ValidityIndicator: VALIDITY_INDICATOR "Validity Indicator" {
        VALID = 0x01 "Valid", INVALID = 0x02 "Invalid", UNKNOWN = 0x03 "Unknown",
    }
    UsageLimitsUnit: USAGE_LIMITS_UNIT "Usage Limits Unit" {
        BYTE = 0x01 "Byte", OBJECT = 0x02 "Object",
    }
    ObjectGroupMember: OBJECT_GROUP_MEMBER "Object Group Member" {
        GROUP_MEMBER_FRESH = 0x01 "Group Member Fresh", GROUP_MEMBER_DEFAULT = 0x02 "Group Member Default",
    }
    KeyRoleType: KEY_ROLE_TYPE "Key Role Type" {
        BDK = 0x01 "BDK", CVK = 0x02 "CVK", DEK = 0x03 "DEK", MKAC = 0x04 "MKAC", MKSMC = 0x05 "MKSMC", MKSMI = 0x06 "MKSMI",
        MKDAC = 0x07 "MKDAC", MKDN = 0x08 "MKDN", MKCP = 0x09 "MKCP", MKOTH = 0x0A "MKOTH", KEK = 0x0B "KEK",
        MAC16609 = 0x0C "MAC16609", MAC97971 = 0x0D "MAC97971", MAC97972 = 0x0E "MAC97972", MAC97973 = 0x0F "MAC97973",
        MAC97974 = 0x10 "MAC97974", MAC97975 = 0x11 "MAC97975", ZPK = 0x12 "ZPK", PVKIBM = 0x13 "PVKIBM",
        PVKPVV = 0x14 "PVKPVV", PVKOTH = 0x15 "PVKOTH", DUKPT = 0x16 "DUKPT", IV = 0x17 "IV", TRKBK = 0x18 "TRKBK",
    }
    UniqueIdentifierPlaceholder: UNIQUE_IDENTIFIER "Unique Identifier" {
        ID_PLACEHOLDER = 0x01 "ID Placeholder", CERTIFY = 0x02 "Certify", CREATE = 0x03 "Create",
        CREATE_KEY_PAIR = 0x04 "Create Key Pair", CREATE_KEY_PAIR_PRIVATE_KEY = 0x05 "Create Key Pair Private Key",
        CREATE_KEY_PAIR_PUBLIC_KEY = 0x06 "Create Key Pair Public Key", CREATE_SPLIT_KEY = 0x07 "Create Split Key",
        DERIVE_KEY = 0x08 "Derive Key", IMPORT = 0x09 "Import", JOIN_SPLIT_KEY = 0x0A "Join Split Key", LOCATE = 0x0B "Locate",
        REGISTER = 0x0C "Register", RE_KEY = 0x0D "Re-key", RE_CERTIFY = 0x0E "Re-certify",
        RE_KEY_KEY_PAIR = 0x0F "Re-key Key Pair", RE_KEY_KEY_PAIR_PRIVATE_KEY = 0x10 "Re-key Key Pair Private Key",
        RE_KEY_KEY_PAIR_PUBLIC_KEY = 0x11 "Re-key Key Pair Public Key", RE_PROVISION = 0x12 "Re-Provision",
        CREATE_USER = 0x13 "Create User", CREATE_GROUP = 0x14 "Create Group", CREATE_CREDENTIAL = 0x15 "Create Credential",
    }
    AdjustmentType: ADJUSTMENT_TYPE "Adjustment Type" {
        INCREMENT = 0x01 "Increment", DECREMENT = 0x02 "Decrement", NEGATE = 0x03 "Negate",
    }
    InteropFunction: INTEROP_FUNCTION "Interop Function" {
        BEGIN = 0x01 "Begin", END = 0x02 "End", RESET = 0x03 "Reset",
    }
    DataPlaceholder: DATA "Data" {
        DECRYPT = 0x01 "Decrypt", ENCRYPT = 0x02 "Encrypt", HASH = 0x03 "Hash", MAC_MAC_DATA = 0x04 "MAC MAC Data",
        RNG_RETRIEVE = 0x05 "RNG Retrieve", SIGN_SIGNATURE_DATA = 0x06 "Sign Signature Data",
        SIGNATURE_VERIFY = 0x07 "Signature Verify",
    }
    TicketType: TICKET_TYPE "Ticket Type" {
        LOGIN = 0x01 "Login",
    }
    RngAlgorithm: RNG_ALGORITHM "RNG Algorithm" {
        UNSPECIFIED = 0x01 "Unspecified", FIPS_186_2 = 0x02 "FIPS 186-2", DRBG = 0x03 "DRBG", NRBG = 0x04 "NRBG",
        ANSI_X9_31 = 0x05 "ANSI X9.31", ANSI_X9_62 = 0x06 "ANSI X9.62",
    }
    DrbgAlgorithm: DRBG_ALGORITHM "DRBG Algorithm" {
        UNSPECIFIED = 0x01 "Unspecified", DUAL_EC = 0x02 "Dual-EC", HASH = 0x03 "Hash", HMAC = 0x04 "HMAC", CTR = 0x05 "CTR",
    }
    Fips186Variation: FIPS186_VARIATION "FIPS186 Variation" {
        UNSPECIFIED = 0x01 "Unspecified", GP_X_ORIGINAL = 0x02 "GP x-Original", GP_X_CHANGE_NOTICE = 0x03 "GP x-Change Notice",
        X_ORIGINAL = 0x04 "x-Original", X_CHANGE_NOTICE = 0x05 "x-Change Notice", K_ORIGINAL = 0x06 "k-Original",
        K_CHANGE_NOTICE = 0x07 "k-Change Notice",
    }
    RngMode: RNG_MODE "RNG Mode" {
        UNSPECIFIED = 0x01 "Unspecified", SHARED_INSTANTIATION = 0x02 "Shared Instantiation",
        NON_SHARED_INSTANTIATION = 0x03 "Non-Shared Instantiation",
    }
    UnwrapMode: UNWRAP_MODE "Unwrap Mode" {
        UNSPECIFIED = 0x01 "Unspecified", PROCESSED = 0x02 "Processed", NOT_PROCESSED = 0x03 "Not Processed",
    }
    DestroyAction: DESTROY_ACTION "Destroy Action" {
        UNSPECIFIED = 0x01 "Unspecified", KEY_MATERIAL_DELETED = 0x02 "Key Material Deleted",
        KEY_MATERIAL_SHREDDED = 0x03 "Key Material Shredded", META_DATA_DELETED = 0x04 "Meta Data Deleted",
        META_DATA_SHREDDED = 0x05 "Meta Data Shredded", DELETED = 0x06 "Deleted", SHREDDED = 0x07 "Shredded",
    }
    ShreddingAlgorithm: SHREDDING_ALGORITHM "Shredding Algorithm" {
        UNSPECIFIED = 0x01 "Unspecified", CRYPTOGRAPHIC = 0x02 "Cryptographic", UNSUPPORTED = 0x03 "Unsupported",
    }
    ValidationAuthorityType: VALIDATION_AUTHORITY_TYPE "Validation Authority Type" {
        UNSPECIFIED = 0x01 "Unspecified", NIST_CMVP = 0x02 "NIST CMVP", COMMON_CRITERIA = 0x03 "Common Criteria",
    }
    ValidationType: VALIDATION_TYPE "Validation Type" {
        UNSPECIFIED = 0x01 "Unspecified", HARDWARE = 0x02 "Hardware", SOFTWARE = 0x03 "Software", FIRMWARE = 0x04 "Firmware",
        HYBRID = 0x05 "Hybrid",
    }
    ProfileName: PROFILE_NAME "Profile Name" {
        COMPLETE_SERVER_BASIC = 0x104 "Complete Server Basic", COMPLETE_SERVER_TLS_V1_2 = 0x105 "Complete Server TLS v1.2",
        TAPE_LIBRARY_CLIENT = 0x106 "Tape Library Client", TAPE_LIBRARY_SERVER = 0x107 "Tape Library Server",
        SYMMETRIC_KEY_LIFECYCLE_CLIENT = 0x108 "Symmetric Key Lifecycle Client",
        SYMMETRIC_KEY_LIFECYCLE_SERVER = 0x109 "Symmetric Key Lifecycle Server",
        ASYMMETRIC_KEY_LIFECYCLE_CLIENT = 0x10A "Asymmetric Key Lifecycle Client",
        ASYMMETRIC_KEY_LIFECYCLE_SERVER = 0x10B "Asymmetric Key Lifecycle Server",
        BASIC_CRYPTOGRAPHIC_CLIENT = 0x10C "Basic Cryptographic Client",
        BASIC_CRYPTOGRAPHIC_SERVER = 0x10D "Basic Cryptographic Server",
        ADVANCED_CRYPTOGRAPHIC_CLIENT = 0x10E "Advanced Cryptographic Client",
        ADVANCED_CRYPTOGRAPHIC_SERVER = 0x10F "Advanced Cryptographic Server",
        RNG_CRYPTOGRAPHIC_CLIENT = 0x110 "RNG Cryptographic Client",
        RNG_CRYPTOGRAPHIC_SERVER = 0x111 "RNG Cryptographic Server",
        BASIC_SYMMETRIC_KEY_FOUNDRY_CLIENT = 0x112 "Basic Symmetric Key Foundry Client",
        INTERMEDIATE_SYMMETRIC_KEY_FOUNDRY_CLIENT = 0x113 "Intermediate Symmetric Key Foundry Client",
        ADVANCED_SYMMETRIC_KEY_FOUNDRY_CLIENT = 0x114 "Advanced Symmetric Key Foundry Client",
        SYMMETRIC_KEY_FOUNDRY_SERVER = 0x115 "Symmetric Key Foundry Server",
        OPAQUE_MANAGED_OBJECT_STORE_CLIENT = 0x116 "Opaque Managed Object Store Client",
        OPAQUE_MANAGED_OBJECT_STORE_SERVER = 0x117 "Opaque Managed Object Store Server",
        STORAGE_ARRAY_WITH_SELF_ENCRYPTING_DRIVE_CLIENT = 0x11C "Storage Array with Self Encrypting Drive Client",
        STORAGE_ARRAY_WITH_SELF_ENCRYPTING_DRIVE_SERVER = 0x11D "Storage Array with Self Encrypting Drive Server",
        HTTPS_CLIENT = 0x11E "HTTPS Client", HTTPS_SERVER = 0x11F "HTTPS Server", JSON_CLIENT = 0x120 "JSON Client",
        JSON_SERVER = 0x121 "JSON Server", XML_CLIENT = 0x122 "XML Client", XML_SERVER = 0x123 "XML Server",
        AES_XTS_CLIENT = 0x124 "AES XTS Client", AES_XTS_SERVER = 0x125 "AES XTS Server",
        QUANTUM_SAFE_CLIENT = 0x126 "Quantum Safe Client", QUANTUM_SAFE_SERVER = 0x127 "Quantum Safe Server",
        PKCS_11_CLIENT = 0x128 "PKCS#11 Client", PKCS_11_SERVER = 0x129 "PKCS#11 Server",
        BASELINE_CLIENT = 0x12A "Baseline Client", BASELINE_SERVER = 0x12B "Baseline Server",
        COMPLETE_SERVER = 0x12C "Complete Server",
    }
    ClientRegistrationMethod: CLIENT_REGISTRATION_METHOD "Client Registration Method" {
        UNSPECIFIED = 0x01 "Unspecified", SERVER_PRE_GENERATED = 0x02 "Server Pre-Generated",
        SERVER_ON_DEMAND = 0x03 "Server On-Demand", CLIENT_GENERATED = 0x04 "Client Generated",
        CLIENT_REGISTERED = 0x05 "Client Registered",
    }
    KeyValueLocationType: KEY_VALUE_LOCATION_TYPE "Key Value Location Type" {
        UNINTERPRETED_TEXT_STRING = 0x01 "Uninterpreted Text String", URI = 0x02 "URI",
    }
    ProtectionLevel: PROTECTION_LEVEL "Protection Level" {
        HIGH = 0x01 "High", LOW = 0x02 "Low",
    }
    NistKeyType: NIST_KEY_TYPE "NIST Key Type" {
        PRIVATE_SIGNATURE_KEY = 0x01 "Private signature key",
        PUBLIC_SIGNATURE_VERIFICATION_KEY = 0x02 "Public signature verification key",
        SYMMETRIC_AUTHENTICATION_KEY = 0x03 "Symmetric authentication key",
        PRIVATE_AUTHENTICATION_KEY = 0x04 "Private authentication key",
        PUBLIC_AUTHENTICATION_KEY = 0x05 "Public authentication key",
        SYMMETRIC_DATA_ENCRYPTION_KEY = 0x06 "Symmetric data encryption key",
        SYMMETRIC_KEY_WRAPPING_KEY = 0x07 "Symmetric key wrapping key",
        SYMMETRIC_RANDOM_NUMBER_GENERATION_KEY = 0x08 "Symmetric random number generation key",
        SYMMETRIC_MASTER_KEY = 0x09 "Symmetric master key", PRIVATE_KEY_TRANSPORT_KEY = 0x0A "Private key transport key",
        PUBLIC_KEY_TRANSPORT_KEY = 0x0B "Public key transport key",
        SYMMETRIC_KEY_AGREEMENT_KEY = 0x0C "Symmetric key agreement key",
        PRIVATE_STATIC_KEY_AGREEMENT_KEY = 0x0D "Private static key agreement key",
        PUBLIC_STATIC_KEY_AGREEMENT_KEY = 0x0E "Public static key agreement key",
        PRIVATE_EPHEMERAL_KEY_AGREEMENT_KEY = 0x0F "Private ephemeral key agreement key",
        PUBLIC_EPHEMERAL_KEY_AGREEMENT_KEY = 0x10 "Public ephemeral key agreement key",
        SYMMETRIC_AUTHORIZATION_KEY = 0x11 "Symmetric authorization key",
        PRIVATE_AUTHORIZATION_KEY = 0x12 "Private authorization key",
        PUBLIC_AUTHORIZATION_KEY = 0x13 "Public authorization key",
    }
    RotateNameType: ROTATE_NAME_TYPE "Rotate Name Type" {
        UNINTERPRETED_TEXT_STRING = 0x01 "Uninterpreted Text String", URI = 0x02 "URI",
    }
    ProcessingStage: PROCESSING_STAGE "Processing Stage" {
        SUBMITTED = 0x01 "Submitted", IN_PROCESS = 0x02 "In Process", COMPLETED = 0x03 "Completed",
    }
    CancellationResult: CANCELLATION_RESULT "Cancellation Result" {
        CANCELED = 0x01 "Canceled", UNABLE_TO_CANCEL = 0x02 "Unable to Cancel", COMPLETED = 0x03 "Completed",
        FAILED = 0x04 "Failed", UNAVAILABLE = 0x05 "Unavailable",
    }
    PutFunction: PUT_FUNCTION "Put Function" {
        NEW = 0x01 "New", REPLACE = 0x02 "Replace",
    }
    SplitKeyMethod: SPLIT_KEY_METHOD "Split Key Method" {
        XOR = 0x01 "XOR", POLYNOMIAL_SHARING_GF_2_16 = 0x02 "Polynomial Sharing GF(2^16)",
        POLYNOMIAL_SHARING_PRIME_FIELD = 0x03 "Polynomial Sharing Prime Field",
        POLYNOMIAL_SHARING_GF_2_8 = 0x04 "Polynomial Sharing GF(2^8)",
    }
    AttestationType: ATTESTATION_TYPE "Attestation Type" {
        TPM_QUOTE = 0x01 "TPM Quote", TCG_INTEGRITY_REPORT = 0x02 "TCG Integrity Report",
        SAML_ASSERTION = 0x03 "SAML Assertion",
    }
    EndpointRole: ENDPOINT_ROLE "Endpoint Role" {
        CLIENT = 0x01 "Client", SERVER = 0x02 "Server",
    }
}
