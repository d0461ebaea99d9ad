//! Keys, whoever holds them: the [`KeyStore`] trait and its vocabulary.
//!
//! The words here belong to neither PKCS#11 nor KMIP. The token translates `CKA_*` to [`Spec`] and back; a store translates
//! [`Spec`] to what it keeps. Nothing here knows `CKA_*`, and nothing above knows KMIP.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ck::CKR_MECHANISM_INVALID;
use crate::error::Result;
use crate::secret::Secret;

pub use crate::crypto::kw::Wrapping;
pub use crate::crypto::{Curve, Hash};

pub mod cache;
pub mod file;
pub mod kmip;
mod open;
pub mod public;

pub use open::{Access, hosts, network, open};

/// The identifier a store gave an object. Free text: not every server uses UUIDs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Uid(pub String);

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What kind of object it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Class {
    /// A symmetric key or other secret.
    SecretKey,
    /// The public half of a pair.
    PublicKey,
    /// The private half of a pair.
    PrivateKey,
    /// An X.509 certificate.
    Certificate,
    /// Bytes with a name.
    Data,
}

/// The property that tells whether an object is private (`1`) or public (`0`), where that is not the default of its class.
pub const PRIVATE: &str = "priv";

/// Whether only the user may see an object of this class with these properties.
pub fn is_private(class: Class, properties: &BTreeMap<String, String>) -> bool {
    match properties.get(PRIVATE) {
        Some(value) => value == "1",
        None => matches!(class, Class::SecretKey | Class::PrivateKey),
    }
}

/// Whether an object is shown before login: secrets are not, even those that are not private.
pub fn is_shown_to_all(class: Class, properties: &BTreeMap<String, String>) -> bool {
    match class {
        Class::SecretKey | Class::PrivateKey => false,
        Class::PublicKey | Class::Certificate | Class::Data => !is_private(class, properties),
    }
}

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Algorithm {
    /// AES of 128, 192 or 256 bits.
    Aes,
    /// Triple DES with three keys (192 bits, parity included).
    TripleDes,
    /// ChaCha20 (256 bits).
    ChaCha20,
    /// A secret of any length, for HMAC or derivation.
    GenericSecret,
    /// A secret for HMAC with one hash.
    Hmac(Hash),
    /// RSA.
    Rsa,
    /// An elliptic curve key.
    Ec(Curve),
    /// Certificates and data have none.
    None,
    /// A KMIP Cryptographic Algorithm this crate does not use; listed, not usable.
    Other(u32),
}

/// What a key may be used for: a set of bits, with KMIP's Cryptographic Usage Mask values (spec 1.4, 9.1.3.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Usage(pub u32);

#[allow(missing_docs, reason = "the names are the standard's")]
impl Usage {
    pub const SIGN: Usage = Usage(0x01);
    pub const VERIFY: Usage = Usage(0x02);
    pub const ENCRYPT: Usage = Usage(0x04);
    pub const DECRYPT: Usage = Usage(0x08);
    pub const WRAP: Usage = Usage(0x10);
    pub const UNWRAP: Usage = Usage(0x20);
    pub const MAC_GENERATE: Usage = Usage(0x80);
    pub const MAC_VERIFY: Usage = Usage(0x100);
    pub const DERIVE: Usage = Usage(0x200);
    pub const KEY_AGREEMENT: Usage = Usage(0x800);

    /// True when every bit of `other` is set.
    pub fn contains(self, other: Usage) -> bool {
        self.0 & other.0 == other.0
    }
}

impl std::ops::BitOr for Usage {
    type Output = Usage;
    fn bitor(self, other: Usage) -> Usage {
        Usage(self.0 | other.0)
    }
}

impl std::ops::BitOrAssign for Usage {
    fn bitor_assign(&mut self, other: Usage) {
        self.0 |= other.0;
    }
}

/// The life of a key (KMIP spec 1.4, 3.22).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum State {
    /// Made, not yet usable.
    PreActive,
    /// Usable for everything.
    Active,
    /// Expired or revoked: decrypts and verifies only.
    Deactivated,
    /// Known to others: decrypts and verifies only.
    Compromised,
    /// Gone.
    Destroyed,
    /// Gone, and known to others.
    DestroyedCompromised,
}

impl State {
    /// The state that its dates give a key at `now` (all in seconds since 1970): nobody changes a key at the moment it expires.
    pub fn of_dates(activation: Option<i64>, deactivation: Option<i64>, now: i64) -> State {
        let passed = |date: Option<i64>| date.is_some_and(|date| date <= now);
        match (passed(activation), passed(deactivation)) {
            (_, true) => State::Deactivated,
            (true, false) => State::Active,
            (false, false) => State::PreActive,
        }
    }

    /// Encrypt, sign, wrap: an Active key only.
    pub fn may_protect(self) -> bool {
        self == State::Active
    }

    /// Decrypt, verify, unwrap: also a Deactivated or Compromised key.
    pub fn may_process(self) -> bool {
        matches!(
            self,
            State::Active | State::Deactivated | State::Compromised
        )
    }
}

/// Seconds since 1970.
pub fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// What a new object shall be.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Kind of object.
    pub class: Class,
    /// Algorithm of a key.
    pub algorithm: Algorithm,
    /// Length of a key in bits; 0 for certificates and data.
    pub bits: u32,
    /// What a key may be used for.
    pub usage: Usage,
    /// The name other programs find it by on the server, when it must be exactly this one (the cluster's keys).
    pub name: Option<String>,
    /// The group it belongs to on the server (KMIP Object Group): the cluster's keys share one.
    pub group: Option<String>,
    /// Label, as the application gave it (UTF-8 by convention).
    pub label: Vec<u8>,
    /// The application's key identifier, free bytes.
    pub id: Vec<u8>,
    /// The value never leaves the store in the clear (advice that a store may be able to enforce).
    pub sensitive: bool,
    /// The value may leave the store at all.
    pub extractable: bool,
    /// Everything else the token wants to keep with the object: short ASCII keys, printable values.
    pub properties: BTreeMap<String, String>,
}

/// What a store knows about an object, the value excepted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    /// Its identifier.
    pub uid: Uid,
    /// Kind of object.
    pub class: Class,
    /// Algorithm of a key.
    pub algorithm: Algorithm,
    /// Length of a key in bits; 0 when unknown or without meaning.
    pub bits: u32,
    /// What a key may be used for.
    pub usage: Usage,
    /// State of a key; `None` where the store keeps none (certificates, data).
    pub state: Option<State>,
    /// Names on the server.
    pub names: Vec<String>,
    /// Groups on the server.
    pub groups: Vec<String>,
    /// Label; `None` when whoever made the object set none that we understand.
    pub label: Option<Vec<u8>>,
    /// Key identifier; `None` when whoever made the object set none that we understand.
    pub id: Option<Vec<u8>>,
    /// Sensitive, where the store knows.
    pub sensitive: Option<bool>,
    /// Extractable, where the store knows.
    pub extractable: Option<bool>,
    /// When it was made (seconds since 1970).
    pub initial_date: Option<i64>,
    /// When it became or becomes Active (seconds since 1970).
    pub activation_date: Option<i64>,
    /// When it stopped or stops being Active (seconds since 1970).
    pub deactivation_date: Option<i64>,
    /// When it stops to protect data (seconds since 1970).
    pub protect_stop: Option<i64>,
    /// The other half of a pair, where the store knows.
    pub pair: Option<Uid>,
    /// What the token kept with the object.
    pub properties: BTreeMap<String, String>,
    /// The nonce of the request that made the object. Objects of one class with the same nonce are
    /// twins: the request was executed more than once.
    #[serde(default)]
    pub nonce: Option<String>,
}

/// What to look for. Every field that is set must match; the results are candidates, to be checked against their [`Meta`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// Exactly this name on the server.
    pub name: Option<String>,
    /// In this group on the server.
    pub group: Option<String>,
    /// Kind of object.
    pub class: Option<Class>,
    /// Exactly this label.
    pub label: Option<Vec<u8>>,
    /// Exactly this key identifier.
    pub id: Option<Vec<u8>>,
}

/// Changes to an object; `None` leaves a field as it is.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// New label.
    pub label: Option<Vec<u8>>,
    /// New key identifier.
    pub id: Option<Vec<u8>>,
    /// New value of Sensitive.
    pub sensitive: Option<bool>,
    /// New value of Extractable.
    pub extractable: Option<bool>,
    /// Properties to set; the others stay.
    pub properties: BTreeMap<String, String>,
}

/// A way to encrypt and decrypt, with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cipher {
    /// A block cipher in Electronic Codebook mode, whole blocks only.
    Ecb,
    /// Cipher Block Chaining, whole blocks only.
    Cbc {
        /// Initialization vector, one block.
        iv: Vec<u8>,
    },
    /// Cipher Block Chaining with PKCS#7 padding.
    CbcPad {
        /// Initialization vector, one block.
        iv: Vec<u8>,
    },
    /// Counter mode, the whole block counting.
    Ctr {
        /// First counter block.
        counter: Vec<u8>,
    },
    /// Galois/Counter Mode; the tag follows the ciphertext.
    Gcm {
        /// Nonce.
        iv: Vec<u8>,
        /// Additional authenticated data.
        aad: Vec<u8>,
        /// Length of the tag in bytes.
        tag_len: usize,
    },
    /// RSA with PKCS#1 v1.5 padding.
    RsaPkcs1,
    /// RSA-OAEP.
    RsaOaep {
        /// Hash of the label.
        hash: Hash,
        /// Hash of the mask generation function.
        mgf: Hash,
        /// Label (encoding parameter).
        label: Vec<u8>,
    },
}

/// A way to sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signing {
    /// RSA PKCS#1 v1.5 over a digest of this hash.
    RsaPkcs1(Hash),
    /// RSA-PSS over a digest of this hash.
    RsaPss {
        /// Hash of the message.
        hash: Hash,
        /// Hash of the mask generation function.
        mgf: Hash,
        /// Length of the salt in bytes.
        salt_len: usize,
    },
    /// ECDSA over a digest; the signature is r and s, each as long as the curve's order.
    Ecdsa(Hash),
    /// EdDSA over the message itself.
    EdDsa,
}

/// What is signed.
#[derive(Clone, Copy, Debug)]
pub enum Message<'a> {
    /// The whole message; whoever signs it hashes it.
    Whole(&'a [u8]),
    /// Its digest.
    Digest(&'a [u8]),
}

/// A way to authenticate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mac {
    /// HMAC, full length.
    Hmac(Hash),
    /// CMAC by this block cipher, full length.
    Cmac(Algorithm),
}

impl Mac {
    /// HMAC by this hash; `None` where no store makes it, as KMIP has no name for it.
    pub fn hmac(hash: Hash) -> Option<Mac> {
        (!matches!(hash, Hash::Sha512_224 | Hash::Sha512_256)).then_some(Mac::Hmac(hash))
    }

    /// Length of the code in bytes.
    pub fn output_len(self) -> usize {
        match self {
            Mac::Hmac(hash) => hash.output_len(),
            Mac::Cmac(Algorithm::TripleDes) => 8,
            Mac::Cmac(_) => 16,
        }
    }
}

/// Where a store stands with a message that it is given in parts (KMIP Correlation Value).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Correlation(pub Vec<u8>);

/// What a store can do with a key that stays inside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are KMIP's operations")]
pub enum Ability {
    Encrypt,
    Decrypt,
    Sign,
    Mac,
    Random,
    CreateKeyPair,
    Wrap(Wrapping),
    Unwrap(Wrapping),
}

/// Why a key is revoked (KMIP spec 1.4, 9.1.3.2.19).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// No longer needed.
    CessationOfOperation,
    /// Somebody else may know it.
    KeyCompromise,
    /// Another key took its place.
    Superseded,
    /// No reason given.
    Unspecified,
}

/// Where a store keeps what it learnt of its hosts, beyond the life of this process: a short text without secrets.
///
/// Best effort: a text that is lost, old or not written costs a few requests.
pub trait Memory: Send + Sync {
    /// What was kept last, by any process.
    fn recall(&self) -> Option<String>;

    /// Keeps this instead.
    fn keep(&self, text: &str);
}

/// Whoever holds keys: a group of KMIP hosts, or the token directory.
///
/// Values travel in one form per class: a secret key as its bytes, a private key as PKCS#8, a public key as
/// SubjectPublicKeyInfo, a certificate as DER, data as it is.
pub trait KeyStore: Send + Sync {
    /// Whether the store does this itself, as far as it can tell: what was proven counts more than what was announced.
    fn can(&self, ability: Ability) -> Result<bool>;

    /// Identifiers of the objects that may match. Candidates: the caller checks them against their [`Meta`].
    fn locate(&self, filter: &Filter) -> Result<Vec<Uid>>;

    /// What is known about the objects, in the order asked; an object that is gone is left out.
    fn meta(&self, uids: &[Uid]) -> Result<Vec<Meta>>;

    /// Makes a secret key and activates it. After a broken connection it looks for the key before making it again.
    fn create(&self, spec: &Spec) -> Result<Uid>;

    /// Makes a key pair and activates both halves: (public, private).
    fn create_pair(&self, public: &Spec, private: &Spec) -> Result<(Uid, Uid)>;

    /// Stores an object whose value the caller has, and activates a key.
    fn register(&self, spec: &Spec, value: &[u8]) -> Result<Uid>;

    /// The value of an object.
    fn fetch(&self, uid: &Uid) -> Result<Secret>;

    /// Wipes what this process should not keep any longer: values whose time is over, and what is left of them in buffers.
    fn expire(&self) {}

    /// Changes what is kept with an object.
    fn update(&self, uid: &Uid, changes: &Changes) -> Result<()>;

    /// Makes a Pre-Active key Active; an Active one stays so.
    fn activate(&self, uid: &Uid) -> Result<()>;

    /// Ends a key's use for protecting data; it goes on decrypting and verifying.
    fn revoke(&self, uid: &Uid, reason: Revocation) -> Result<()>;

    /// Destroys an object, revoking it first when it is Active.
    fn destroy(&self, uid: &Uid) -> Result<()>;

    /// Encrypts with a key that stays in the store.
    fn encrypt(
        &self,
        uid: &Uid,
        algorithm: Algorithm,
        cipher: &Cipher,
        data: &[u8],
    ) -> Result<Vec<u8>>;

    /// Decrypts with a key that stays in the store.
    fn decrypt(
        &self,
        uid: &Uid,
        algorithm: Algorithm,
        cipher: &Cipher,
        data: &[u8],
    ) -> Result<Secret>;

    /// Signs with a key that stays in the store.
    fn sign(&self, uid: &Uid, signing: Signing, message: Message<'_>) -> Result<Vec<u8>>;

    /// Told that a signature was not what had been asked for, the store asks in another form from now on: what servers make of the same
    /// request differs. False when there is no other form left.
    fn sign_otherwise(&self, _signing: Signing, _message: Message<'_>) -> bool {
        false
    }

    /// Whether somebody, perhaps another process, has noted that the store does rightly what `claim` names.
    fn is_proven(&self, _claim: &str) -> bool {
        false
    }

    /// Notes so.
    fn note_proven(&self, _claim: &str) {}

    /// Authenticates with a key that stays in the store.
    fn mac(&self, uid: &Uid, mac: Mac, data: &[u8]) -> Result<Vec<u8>>;

    /// Takes the next part of a message to authenticate; `None` where it is the first. `CKR_MECHANISM_INVALID`, at the first part only,
    /// when the store wants messages whole.
    fn mac_part(
        &self,
        _uid: &Uid,
        _mac: Mac,
        _before: Option<&Correlation>,
        _part: &[u8],
    ) -> Result<Correlation> {
        Err(CKR_MECHANISM_INVALID.into())
    }

    /// Takes the last part, and authenticates all of them.
    fn mac_last(
        &self,
        _uid: &Uid,
        _mac: Mac,
        _before: &Correlation,
        _part: &[u8],
    ) -> Result<Vec<u8>> {
        Err(CKR_MECHANISM_INVALID.into())
    }

    /// The value of a key, wrapped under another; neither leaves the store. `CKR_MECHANISM_INVALID` when it does not wrap so,
    /// `CKR_KEY_NOT_WRAPPABLE` when it cannot wrap this one.
    fn wrap(&self, _kek: &Uid, _wrapping: Wrapping, _key: &Uid, _class: Class) -> Result<Vec<u8>> {
        Err(CKR_MECHANISM_INVALID.into())
    }

    /// Stores and activates a secret key that comes wrapped under another; neither leaves the store. `CKR_MECHANISM_INVALID` when it does
    /// not unwrap so, `CKR_WRAPPED_KEY_INVALID` when it was wrapped under another key or changed since.
    fn register_wrapped(
        &self,
        _spec: &Spec,
        _kek: &Uid,
        _wrapping: Wrapping,
        _wrapped: &[u8],
    ) -> Result<Uid> {
        Err(CKR_MECHANISM_INVALID.into())
    }

    /// The value of a key that comes wrapped under one that stays in the store. Errors as in [`KeyStore::register_wrapped`].
    fn unwrap(&self, _kek: &Uid, _wrapping: Wrapping, _wrapped: &[u8]) -> Result<Secret> {
        Err(CKR_MECHANISM_INVALID.into())
    }

    /// Random bytes made by the store.
    fn random(&self, len: usize) -> Result<Secret>;
}
