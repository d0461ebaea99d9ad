//! The mechanism table.

use super::sp800_108::Kdf;
use crate::ck::*;
use crate::crypto::Hash;
use crate::error::Result;
use crate::store::Mac;

/// What a mechanism does; each function of PKCS#11 that its flags allow takes from this what it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the standard's")]
pub enum Work {
    Digest(Hash),
    /// Makes a secret key of a type.
    KeyGen(CK_KEY_TYPE),
    RsaPairGen,
    EcPairGen(CK_KEY_TYPE),
    /// A block or stream cipher with keys of a type, in a mode.
    Cipher(CK_KEY_TYPE, Mode),
    /// RSA PKCS#1 v1.5, the DigestInfo (if any) made by the caller.
    RsaPkcs,
    /// RSA without padding.
    RsaRaw,
    RsaOaep,
    RsaPkcsHash(Hash),
    /// RSA-PSS over a digest that the caller made (`None`) or that is made here.
    RsaPss(Option<Hash>),
    /// ECDSA over a digest that the caller made (`None`) or that is made here.
    Ecdsa(Option<Hash>),
    EdDsa,
    /// HMAC; `true` when the parameter says how long the result is.
    Hmac(Hash, bool),
    /// CMAC of a block cipher; `true` when the parameter says how long the result is.
    Cmac(CK_KEY_TYPE, bool),
    Gmac,
    /// AES key wrapping: RFC 3394, RFC 5649, and RFC 3394 of the key with PKCS#7 padding.
    KeyWrap,
    KeyWrapPad,
    KeyWrapPkcs7,
    RsaAesKeyWrap,
    /// ECDH with or without cofactor: the same on curves of cofactor 1, and X25519 clears it itself.
    Ecdh,
    Hkdf,
    Sp800108(Kdf),
    Pbkdf2,
    ConcatenateBaseAndKey,
    ConcatenateBaseAndData,
    ConcatenateDataAndBase,
    XorBaseAndData,
    ExtractKeyFromKey,
    /// The key is the encryption of data under the base key.
    EcbEncryptData(CK_KEY_TYPE),
    CbcEncryptData(CK_KEY_TYPE),
    /// The key is the digest of the base key.
    HashKey(Hash),
}

/// Modes of symmetric ciphers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the standard's")]
pub enum Mode {
    Ecb,
    Cbc,
    CbcPad,
    Ctr,
    Gcm,
    Ccm,
    Ofb,
    Cfb1,
    Cfb8,
    Cfb64,
    Cfb128,
    Cts,
    Xts,
    ChaCha20,
    Poly1305,
}

/// A mechanism.
pub struct Entry {
    /// `CKM_*`.
    pub kind: CK_MECHANISM_TYPE,
    /// Shortest key in the unit of the mechanism's section: bits for RSA, curves, ChaCha20, SP 800-108 and generic secrets to be made, else
    /// bytes; 0 without a key.
    pub min: CK_ULONG,
    /// Longest key, in the same unit.
    pub max: CK_ULONG,
    /// `CKF_*`: the functions it serves.
    pub flags: CK_FLAGS,
    /// What it does.
    pub work: Work,
}

impl Entry {
    /// Whether a store can do it with a key that never leaves it. For what it cannot, the key's value is needed here.
    pub fn in_store(&self) -> bool {
        match self.work {
            Work::KeyGen(_) | Work::RsaPairGen | Work::EcPairGen(_) => true,
            Work::Cipher(_, mode) => matches!(
                mode,
                Mode::Ecb | Mode::Cbc | Mode::CbcPad | Mode::Ctr | Mode::Gcm
            ),
            Work::RsaPkcs
            | Work::RsaOaep
            | Work::RsaPkcsHash(_)
            | Work::RsaPss(_)
            | Work::Ecdsa(_)
            | Work::EdDsa => true,
            Work::Hmac(hash, _) => Mac::hmac(hash).is_some(),
            Work::Cmac(..) => true,
            Work::EcbEncryptData(_) | Work::CbcEncryptData(_) => true,
            Work::KeyWrap | Work::KeyWrapPad => true,
            _ => false,
        }
    }
}

const CRYPT: CK_FLAGS = CKF_ENCRYPT | CKF_DECRYPT;
const WRAPS: CK_FLAGS = CKF_WRAP | CKF_UNWRAP;
/// GMAC signs no messages: each needs a nonce of its own, and they have no parameter for it.
const SIGNS_ONCE: CK_FLAGS = CKF_SIGN | CKF_VERIFY;
const SIGNS: CK_FLAGS = SIGNS_ONCE | CKF_MESSAGE_SIGN | CKF_MESSAGE_VERIFY | CKF_MULTI_MESSAGE;
const MESSAGES: CK_FLAGS = CKF_MESSAGE_ENCRYPT | CKF_MESSAGE_DECRYPT | CKF_MULTI_MESSAGE;
const RECOVERS: CK_FLAGS = CKF_SIGN_RECOVER | CKF_VERIFY_RECOVER;
/// Curves by identifier or by name, their points in full or compressed.
const CURVE: CK_FLAGS =
    CKF_EC_F_P | CKF_EC_NAMEDCURVE | CKF_EC_CURVENAME | CKF_EC_UNCOMPRESS | CKF_EC_COMPRESS;
const AES: (CK_ULONG, CK_ULONG) = (16, 32);
const DES3: (CK_ULONG, CK_ULONG) = (24, 24);
const XTS: (CK_ULONG, CK_ULONG) = (32, 64);
const CHACHA: (CK_ULONG, CK_ULONG) = (32, 32);
/// The cipher's section counts bits, that of its keys bytes.
const CHACHA_BITS: (CK_ULONG, CK_ULONG) = (256, 256);
const SECRET: (CK_ULONG, CK_ULONG) = (1, 4096);
/// Generic secrets are made in bits, say that mechanism's section and SP 800-108's, while others that use them count bytes.
const SECRET_BITS: (CK_ULONG, CK_ULONG) = (8, 8 * 4096);
const RSA: (CK_ULONG, CK_ULONG) = (1024, 8192);
const EC: (CK_ULONG, CK_ULONG) = (224, 521);
const ED: (CK_ULONG, CK_ULONG) = (255, 255);
const NO_KEY: (CK_ULONG, CK_ULONG) = (0, 0);

const fn row(
    kind: CK_MECHANISM_TYPE,
    keys: (CK_ULONG, CK_ULONG),
    flags: CK_FLAGS,
    work: Work,
) -> Entry {
    Entry {
        kind,
        min: keys.0,
        max: keys.1,
        flags,
        work,
    }
}

/// Everything this module does.
#[rustfmt::skip]
pub static MECHANISMS: &[Entry] = &[
    row(CKM_RSA_PKCS_KEY_PAIR_GEN, RSA, CKF_GENERATE_KEY_PAIR, Work::RsaPairGen),
    row(CKM_RSA_PKCS, RSA, CRYPT | SIGNS | RECOVERS | WRAPS, Work::RsaPkcs),
    row(CKM_RSA_X_509, RSA, CRYPT | SIGNS | RECOVERS, Work::RsaRaw),
    row(CKM_SHA1_RSA_PKCS, RSA, SIGNS, Work::RsaPkcsHash(Hash::Sha1)),
    row(CKM_RSA_PKCS_OAEP, RSA, CRYPT | WRAPS, Work::RsaOaep),
    row(CKM_RSA_PKCS_PSS, RSA, SIGNS, Work::RsaPss(None)),
    row(CKM_SHA1_RSA_PKCS_PSS, RSA, SIGNS, Work::RsaPss(Some(Hash::Sha1))),
    row(CKM_SHA256_RSA_PKCS, RSA, SIGNS, Work::RsaPkcsHash(Hash::Sha256)),
    row(CKM_SHA384_RSA_PKCS, RSA, SIGNS, Work::RsaPkcsHash(Hash::Sha384)),
    row(CKM_SHA512_RSA_PKCS, RSA, SIGNS, Work::RsaPkcsHash(Hash::Sha512)),
    row(CKM_SHA256_RSA_PKCS_PSS, RSA, SIGNS, Work::RsaPss(Some(Hash::Sha256))),
    row(CKM_SHA384_RSA_PKCS_PSS, RSA, SIGNS, Work::RsaPss(Some(Hash::Sha384))),
    row(CKM_SHA512_RSA_PKCS_PSS, RSA, SIGNS, Work::RsaPss(Some(Hash::Sha512))),
    row(CKM_SHA224_RSA_PKCS, RSA, SIGNS, Work::RsaPkcsHash(Hash::Sha224)),
    row(CKM_SHA224_RSA_PKCS_PSS, RSA, SIGNS, Work::RsaPss(Some(Hash::Sha224))),
    row(CKM_SHA512_224, NO_KEY, CKF_DIGEST, Work::Digest(Hash::Sha512_224)),
    row(CKM_SHA512_224_HMAC, SECRET, SIGNS, Work::Hmac(Hash::Sha512_224, false)),
    row(CKM_SHA512_224_HMAC_GENERAL, SECRET, SIGNS, Work::Hmac(Hash::Sha512_224, true)),
    row(CKM_SHA512_256, NO_KEY, CKF_DIGEST, Work::Digest(Hash::Sha512_256)),
    row(CKM_SHA512_256_HMAC, SECRET, SIGNS, Work::Hmac(Hash::Sha512_256, false)),
    row(CKM_SHA512_256_HMAC_GENERAL, SECRET, SIGNS, Work::Hmac(Hash::Sha512_256, true)),
    row(CKM_SHA3_256_RSA_PKCS, RSA, SIGNS, Work::RsaPkcsHash(Hash::Sha3_256)),
    row(CKM_SHA3_384_RSA_PKCS, RSA, SIGNS, Work::RsaPkcsHash(Hash::Sha3_384)),
    row(CKM_SHA3_512_RSA_PKCS, RSA, SIGNS, Work::RsaPkcsHash(Hash::Sha3_512)),
    row(CKM_SHA3_256_RSA_PKCS_PSS, RSA, SIGNS, Work::RsaPss(Some(Hash::Sha3_256))),
    row(CKM_SHA3_384_RSA_PKCS_PSS, RSA, SIGNS, Work::RsaPss(Some(Hash::Sha3_384))),
    row(CKM_SHA3_512_RSA_PKCS_PSS, RSA, SIGNS, Work::RsaPss(Some(Hash::Sha3_512))),
    row(CKM_SHA3_224_RSA_PKCS, RSA, SIGNS, Work::RsaPkcsHash(Hash::Sha3_224)),
    row(CKM_SHA3_224_RSA_PKCS_PSS, RSA, SIGNS, Work::RsaPss(Some(Hash::Sha3_224))),
    row(CKM_DES3_KEY_GEN, DES3, CKF_GENERATE, Work::KeyGen(CKK_DES3)),
    row(CKM_DES3_ECB, DES3, CRYPT | WRAPS, Work::Cipher(CKK_DES3, Mode::Ecb)),
    row(CKM_DES3_CBC, DES3, CRYPT | WRAPS, Work::Cipher(CKK_DES3, Mode::Cbc)),
    row(CKM_DES3_CBC_PAD, DES3, CRYPT | WRAPS, Work::Cipher(CKK_DES3, Mode::CbcPad)),
    row(CKM_DES3_CMAC_GENERAL, DES3, SIGNS, Work::Cmac(CKK_DES3, true)),
    row(CKM_DES3_CMAC, DES3, SIGNS, Work::Cmac(CKK_DES3, false)),
    row(CKM_SHA_1, NO_KEY, CKF_DIGEST, Work::Digest(Hash::Sha1)),
    row(CKM_SHA_1_HMAC, SECRET, SIGNS, Work::Hmac(Hash::Sha1, false)),
    row(CKM_SHA_1_HMAC_GENERAL, SECRET, SIGNS, Work::Hmac(Hash::Sha1, true)),
    row(CKM_SHA256, NO_KEY, CKF_DIGEST, Work::Digest(Hash::Sha256)),
    row(CKM_SHA256_HMAC, SECRET, SIGNS, Work::Hmac(Hash::Sha256, false)),
    row(CKM_SHA256_HMAC_GENERAL, SECRET, SIGNS, Work::Hmac(Hash::Sha256, true)),
    row(CKM_SHA224, NO_KEY, CKF_DIGEST, Work::Digest(Hash::Sha224)),
    row(CKM_SHA224_HMAC, SECRET, SIGNS, Work::Hmac(Hash::Sha224, false)),
    row(CKM_SHA224_HMAC_GENERAL, SECRET, SIGNS, Work::Hmac(Hash::Sha224, true)),
    row(CKM_SHA384, NO_KEY, CKF_DIGEST, Work::Digest(Hash::Sha384)),
    row(CKM_SHA384_HMAC, SECRET, SIGNS, Work::Hmac(Hash::Sha384, false)),
    row(CKM_SHA384_HMAC_GENERAL, SECRET, SIGNS, Work::Hmac(Hash::Sha384, true)),
    row(CKM_SHA512, NO_KEY, CKF_DIGEST, Work::Digest(Hash::Sha512)),
    row(CKM_SHA512_HMAC, SECRET, SIGNS, Work::Hmac(Hash::Sha512, false)),
    row(CKM_SHA512_HMAC_GENERAL, SECRET, SIGNS, Work::Hmac(Hash::Sha512, true)),
    row(CKM_SHA3_256, NO_KEY, CKF_DIGEST, Work::Digest(Hash::Sha3_256)),
    row(CKM_SHA3_256_HMAC, SECRET, SIGNS, Work::Hmac(Hash::Sha3_256, false)),
    row(CKM_SHA3_256_HMAC_GENERAL, SECRET, SIGNS, Work::Hmac(Hash::Sha3_256, true)),
    row(CKM_SHA3_224, NO_KEY, CKF_DIGEST, Work::Digest(Hash::Sha3_224)),
    row(CKM_SHA3_224_HMAC, SECRET, SIGNS, Work::Hmac(Hash::Sha3_224, false)),
    row(CKM_SHA3_224_HMAC_GENERAL, SECRET, SIGNS, Work::Hmac(Hash::Sha3_224, true)),
    row(CKM_SHA3_384, NO_KEY, CKF_DIGEST, Work::Digest(Hash::Sha3_384)),
    row(CKM_SHA3_384_HMAC, SECRET, SIGNS, Work::Hmac(Hash::Sha3_384, false)),
    row(CKM_SHA3_384_HMAC_GENERAL, SECRET, SIGNS, Work::Hmac(Hash::Sha3_384, true)),
    row(CKM_SHA3_512, NO_KEY, CKF_DIGEST, Work::Digest(Hash::Sha3_512)),
    row(CKM_SHA3_512_HMAC, SECRET, SIGNS, Work::Hmac(Hash::Sha3_512, false)),
    row(CKM_SHA3_512_HMAC_GENERAL, SECRET, SIGNS, Work::Hmac(Hash::Sha3_512, true)),
    row(CKM_GENERIC_SECRET_KEY_GEN, SECRET_BITS, CKF_GENERATE, Work::KeyGen(CKK_GENERIC_SECRET)),
    row(CKM_SHA_1_KEY_GEN, SECRET, CKF_GENERATE, Work::KeyGen(CKK_SHA_1_HMAC)),
    row(CKM_SHA224_KEY_GEN, SECRET, CKF_GENERATE, Work::KeyGen(CKK_SHA224_HMAC)),
    row(CKM_SHA256_KEY_GEN, SECRET, CKF_GENERATE, Work::KeyGen(CKK_SHA256_HMAC)),
    row(CKM_SHA384_KEY_GEN, SECRET, CKF_GENERATE, Work::KeyGen(CKK_SHA384_HMAC)),
    row(CKM_SHA512_KEY_GEN, SECRET, CKF_GENERATE, Work::KeyGen(CKK_SHA512_HMAC)),
    row(CKM_SHA512_224_KEY_GEN, SECRET, CKF_GENERATE, Work::KeyGen(CKK_SHA512_224_HMAC)),
    row(CKM_SHA512_256_KEY_GEN, SECRET, CKF_GENERATE, Work::KeyGen(CKK_SHA512_256_HMAC)),
    row(CKM_SHA3_224_KEY_GEN, SECRET, CKF_GENERATE, Work::KeyGen(CKK_SHA3_224_HMAC)),
    row(CKM_SHA3_256_KEY_GEN, SECRET, CKF_GENERATE, Work::KeyGen(CKK_SHA3_256_HMAC)),
    row(CKM_SHA3_384_KEY_GEN, SECRET, CKF_GENERATE, Work::KeyGen(CKK_SHA3_384_HMAC)),
    row(CKM_SHA3_512_KEY_GEN, SECRET, CKF_GENERATE, Work::KeyGen(CKK_SHA3_512_HMAC)),
    row(CKM_EC_KEY_PAIR_GEN, EC, CKF_GENERATE_KEY_PAIR | CURVE, Work::EcPairGen(CKK_EC)),
    row(CKM_ECDSA, EC, SIGNS | CURVE, Work::Ecdsa(None)),
    row(CKM_ECDSA_SHA1, EC, SIGNS | CURVE, Work::Ecdsa(Some(Hash::Sha1))),
    row(CKM_ECDSA_SHA224, EC, SIGNS | CURVE, Work::Ecdsa(Some(Hash::Sha224))),
    row(CKM_ECDSA_SHA256, EC, SIGNS | CURVE, Work::Ecdsa(Some(Hash::Sha256))),
    row(CKM_ECDSA_SHA384, EC, SIGNS | CURVE, Work::Ecdsa(Some(Hash::Sha384))),
    row(CKM_ECDSA_SHA512, EC, SIGNS | CURVE, Work::Ecdsa(Some(Hash::Sha512))),
    row(CKM_ECDSA_SHA3_224, EC, SIGNS | CURVE, Work::Ecdsa(Some(Hash::Sha3_224))),
    row(CKM_ECDSA_SHA3_256, EC, SIGNS | CURVE, Work::Ecdsa(Some(Hash::Sha3_256))),
    row(CKM_ECDSA_SHA3_384, EC, SIGNS | CURVE, Work::Ecdsa(Some(Hash::Sha3_384))),
    row(CKM_ECDSA_SHA3_512, EC, SIGNS | CURVE, Work::Ecdsa(Some(Hash::Sha3_512))),
    row(CKM_EC_EDWARDS_KEY_PAIR_GEN, ED, CKF_GENERATE_KEY_PAIR | CURVE, Work::EcPairGen(CKK_EC_EDWARDS)),
    row(CKM_EC_MONTGOMERY_KEY_PAIR_GEN, ED, CKF_GENERATE_KEY_PAIR | CURVE, Work::EcPairGen(CKK_EC_MONTGOMERY)),
    row(CKM_EDDSA, ED, SIGNS | CURVE, Work::EdDsa),
    row(CKM_AES_KEY_GEN, AES, CKF_GENERATE, Work::KeyGen(CKK_AES)),
    row(CKM_AES_ECB, AES, CRYPT | WRAPS, Work::Cipher(CKK_AES, Mode::Ecb)),
    row(CKM_AES_CBC, AES, CRYPT | WRAPS, Work::Cipher(CKK_AES, Mode::Cbc)),
    row(CKM_AES_CBC_PAD, AES, CRYPT | WRAPS, Work::Cipher(CKK_AES, Mode::CbcPad)),
    row(CKM_AES_CTR, AES, CRYPT | WRAPS, Work::Cipher(CKK_AES, Mode::Ctr)),
    row(CKM_AES_GCM, AES, CRYPT | WRAPS | MESSAGES, Work::Cipher(CKK_AES, Mode::Gcm)),
    row(CKM_AES_CCM, AES, CRYPT | WRAPS | MESSAGES, Work::Cipher(CKK_AES, Mode::Ccm)),
    row(CKM_AES_CMAC, AES, SIGNS, Work::Cmac(CKK_AES, false)),
    row(CKM_AES_CMAC_GENERAL, AES, SIGNS, Work::Cmac(CKK_AES, true)),
    row(CKM_AES_GMAC, AES, SIGNS_ONCE, Work::Gmac),
    row(CKM_CHACHA20_KEY_GEN, CHACHA, CKF_GENERATE, Work::KeyGen(CKK_CHACHA20)),
    row(CKM_AES_XTS_KEY_GEN, XTS, CKF_GENERATE, Work::KeyGen(CKK_AES_XTS)),
    row(CKM_AES_XTS, XTS, CRYPT | WRAPS, Work::Cipher(CKK_AES_XTS, Mode::Xts)),
    row(CKM_AES_CTS, AES, CRYPT | WRAPS, Work::Cipher(CKK_AES, Mode::Cts)),
    row(CKM_AES_OFB, AES, CRYPT | WRAPS, Work::Cipher(CKK_AES, Mode::Ofb)),
    row(CKM_AES_CFB1, AES, CRYPT | WRAPS, Work::Cipher(CKK_AES, Mode::Cfb1)),
    row(CKM_AES_CFB8, AES, CRYPT | WRAPS, Work::Cipher(CKK_AES, Mode::Cfb8)),
    row(CKM_AES_CFB64, AES, CRYPT | WRAPS, Work::Cipher(CKK_AES, Mode::Cfb64)),
    row(CKM_AES_CFB128, AES, CRYPT | WRAPS, Work::Cipher(CKK_AES, Mode::Cfb128)),
    row(CKM_AES_KEY_WRAP, AES, CRYPT | WRAPS, Work::KeyWrap),
    row(CKM_AES_KEY_WRAP_PAD, AES, CRYPT | WRAPS, Work::KeyWrapPad),
    row(CKM_AES_KEY_WRAP_KWP, AES, CRYPT | WRAPS, Work::KeyWrapPad),
    row(CKM_AES_KEY_WRAP_PKCS7, AES, CRYPT | WRAPS, Work::KeyWrapPkcs7),
    row(CKM_RSA_AES_KEY_WRAP, RSA, WRAPS, Work::RsaAesKeyWrap),
    row(CKM_ECDH1_DERIVE, EC, CKF_DERIVE | CURVE, Work::Ecdh),
    row(CKM_ECDH1_COFACTOR_DERIVE, EC, CKF_DERIVE | CURVE, Work::Ecdh),
    row(CKM_HKDF_DERIVE, SECRET, CKF_DERIVE, Work::Hkdf),
    row(CKM_HKDF_DATA, SECRET, CKF_DERIVE, Work::Hkdf),
    row(CKM_HKDF_KEY_GEN, SECRET, CKF_GENERATE, Work::KeyGen(CKK_HKDF)),
    row(CKM_SP800_108_COUNTER_KDF, SECRET_BITS, CKF_DERIVE, Work::Sp800108(Kdf::Counter)),
    row(CKM_SP800_108_FEEDBACK_KDF, SECRET_BITS, CKF_DERIVE, Work::Sp800108(Kdf::Feedback)),
    row(CKM_SP800_108_DOUBLE_PIPELINE_KDF, SECRET_BITS, CKF_DERIVE, Work::Sp800108(Kdf::DoublePipeline)),
    row(CKM_PKCS5_PBKD2, SECRET, CKF_GENERATE, Work::Pbkdf2),
    row(CKM_CONCATENATE_BASE_AND_KEY, SECRET, CKF_DERIVE, Work::ConcatenateBaseAndKey),
    row(CKM_CONCATENATE_BASE_AND_DATA, SECRET, CKF_DERIVE, Work::ConcatenateBaseAndData),
    row(CKM_CONCATENATE_DATA_AND_BASE, SECRET, CKF_DERIVE, Work::ConcatenateDataAndBase),
    row(CKM_XOR_BASE_AND_DATA, SECRET, CKF_DERIVE, Work::XorBaseAndData),
    row(CKM_EXTRACT_KEY_FROM_KEY, SECRET, CKF_DERIVE, Work::ExtractKeyFromKey),
    row(CKM_AES_ECB_ENCRYPT_DATA, AES, CKF_DERIVE, Work::EcbEncryptData(CKK_AES)),
    row(CKM_AES_CBC_ENCRYPT_DATA, AES, CKF_DERIVE, Work::CbcEncryptData(CKK_AES)),
    row(CKM_DES3_ECB_ENCRYPT_DATA, DES3, CKF_DERIVE, Work::EcbEncryptData(CKK_DES3)),
    row(CKM_DES3_CBC_ENCRYPT_DATA, DES3, CKF_DERIVE, Work::CbcEncryptData(CKK_DES3)),
    row(CKM_SHA1_KEY_DERIVATION, SECRET, CKF_DERIVE, Work::HashKey(Hash::Sha1)),
    row(CKM_SHA224_KEY_DERIVATION, SECRET, CKF_DERIVE, Work::HashKey(Hash::Sha224)),
    row(CKM_SHA256_KEY_DERIVATION, SECRET, CKF_DERIVE, Work::HashKey(Hash::Sha256)),
    row(CKM_SHA384_KEY_DERIVATION, SECRET, CKF_DERIVE, Work::HashKey(Hash::Sha384)),
    row(CKM_SHA512_KEY_DERIVATION, SECRET, CKF_DERIVE, Work::HashKey(Hash::Sha512)),
    row(CKM_SHA512_224_KEY_DERIVATION, SECRET, CKF_DERIVE, Work::HashKey(Hash::Sha512_224)),
    row(CKM_SHA512_256_KEY_DERIVATION, SECRET, CKF_DERIVE, Work::HashKey(Hash::Sha512_256)),
    row(CKM_SHA3_224_KEY_DERIVATION, SECRET, CKF_DERIVE, Work::HashKey(Hash::Sha3_224)),
    row(CKM_SHA3_256_KEY_DERIVATION, SECRET, CKF_DERIVE, Work::HashKey(Hash::Sha3_256)),
    row(CKM_SHA3_384_KEY_DERIVATION, SECRET, CKF_DERIVE, Work::HashKey(Hash::Sha3_384)),
    row(CKM_SHA3_512_KEY_DERIVATION, SECRET, CKF_DERIVE, Work::HashKey(Hash::Sha3_512)),
    row(CKM_CHACHA20, CHACHA_BITS, CRYPT | WRAPS, Work::Cipher(CKK_CHACHA20, Mode::ChaCha20)),
    row(CKM_CHACHA20_POLY1305, CHACHA, CRYPT | MESSAGES, Work::Cipher(CKK_CHACHA20, Mode::Poly1305)),
];

/// The mechanism with this number. `CKR_MECHANISM_INVALID` when there is none.
pub fn entry(kind: CK_MECHANISM_TYPE) -> Result<&'static Entry> {
    Ok(MECHANISMS
        .iter()
        .find(|m| m.kind == kind)
        .ok_or(CKR_MECHANISM_INVALID)?)
}

/// The mechanism with this number, if it serves a function (`CKF_*`).
pub fn serving(kind: CK_MECHANISM_TYPE, function: CK_FLAGS) -> Result<&'static Entry> {
    let entry = entry(kind)?;
    if entry.flags & function == 0 {
        Err(CKR_MECHANISM_INVALID.into())
    } else {
        Ok(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_mechanism_twice_and_none_without_a_function() {
        let mut kinds: Vec<_> = MECHANISMS.iter().map(|m| m.kind).collect();
        kinds.sort_unstable();
        assert!(kinds.windows(2).all(|pair| pair[0] != pair[1]));
        for m in MECHANISMS {
            assert!(m.min <= m.max && m.flags & !CURVE != 0, "{:#x}", m.kind);
            assert_eq!(entry(m.kind).unwrap().kind, m.kind);
        }
        assert_eq!(entry(CKM_MD5).err().unwrap().rv(), CKR_MECHANISM_INVALID);
        assert_eq!(
            serving(CKM_SHA256, CKF_SIGN).err().unwrap().rv(),
            CKR_MECHANISM_INVALID
        );
    }
}
