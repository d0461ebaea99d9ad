//! Mechanisms and the operations that use them.
//!
//! [`MECHANISMS`] says what there is. An operation is built whole by its `new` and only then becomes a session's, so that a
//! failed `C_*Init` leaves nothing behind; it runs in an engine, here with the key's value or in the store with its identifier.

mod cipher;
pub mod derive;
mod digest;
mod keywrap;
mod mac;
mod message;
mod params;
mod remote;
mod scheme;
mod sign;
mod signer;
mod sp800_108;
mod table;
pub mod wrap;

pub use cipher::CipherOperation;
pub use digest::DigestOperation;
pub use message::{MessageCipher, MessageSigner, MessageVerifier};
pub use params::{CounterFormat, Mechanism, MessageForm, MessageParams, Output, Params, PrfPart};
pub use sign::{SignOperation, VerifyOperation};
pub use sp800_108::Kdf;
pub use table::{Entry, MECHANISMS, Work, entry, serving};

use std::sync::Arc;

use crate::ck::*;
use crate::config::CryptoPolicy;
use crate::crypto::Hash;
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;
use crate::store::Ability;
use crate::token::Token;
use crate::token::object::{Home, Object};
use crate::token::objects::Material;
use crate::token::policy;

impl Output {
    /// What to answer when the result is at most `bound` bytes long: nothing yet when that is known to suffice or is not asked.
    pub(crate) fn early(bound: usize, room: Option<usize>) -> Option<Output> {
        match room {
            None => Some(Output::Length(bound)),
            Some(room) if room < bound => Some(Output::TooSmall(bound)),
            Some(_) => None,
        }
    }
}

/// A key, and what stands around it.
#[derive(Clone)]
pub struct Key {
    /// The token that has it.
    pub token: Arc<Token>,
    /// The key object.
    pub object: Arc<Object>,
}

impl Key {
    /// `CKA_KEY_TYPE`.
    pub fn key_type(&self) -> CK_KEY_TYPE {
        self.object
            .attributes
            .key_type()
            .unwrap_or(CK_UNAVAILABLE_INFORMATION)
    }

    /// `CKA_CLASS`.
    pub fn class(&self) -> CK_OBJECT_CLASS {
        self.object.attributes.class()
    }

    /// Whether the key may be used by a mechanism in the way that the flag `usage` names.
    pub fn check(&self, mechanism: CK_MECHANISM_TYPE, usage: CK_ATTRIBUTE_TYPE) -> Result<()> {
        let attributes = &self.object.attributes;
        if !attributes.flag(usage) {
            return Err(CKR_KEY_FUNCTION_NOT_PERMITTED.into());
        }
        if !attributes.allows(mechanism) {
            return Err(CKR_MECHANISM_INVALID.into());
        }
        policy::check_use(self.token.key_policy(), attributes, usage)?;
        let protects = matches!(
            usage,
            CKA_ENCRYPT | CKA_SIGN | CKA_SIGN_RECOVER | CKA_WRAP | CKA_DERIVE
        );
        if protects {
            return self.token.check_protects(&self.object);
        }
        match &self.object.home {
            Home::Store {
                state: Some(state), ..
            } if !state.may_process() => Err(CKR_KEY_FUNCTION_NOT_PERMITTED.into()),
            _ => Ok(()),
        }
    }

    /// Checks that bytes of the key may be put where a caller can cut them out.
    fn check_exposed(&self) -> Result<()> {
        policy::check_exposed(self.token.key_policy(), &self.object.attributes)
    }

    /// Where the mechanism uses the key. `ability` is what the store would have to do, `None` where no store can do it.
    fn material(&self, mechanism: CK_MECHANISM_TYPE, ability: Option<Ability>) -> Result<Material> {
        let ability =
            ability.filter(|_| self.token.keeps(&self.object) || !self.token.refused(mechanism));
        self.token
            .material(&self.object, ability)
            .map_err(|e| self.explain(e))
    }

    /// The value, where the token's policy lets a mechanism have it that the store has refused.
    ///
    /// Only a refusal of the mechanism counts: any other error is the call's. A key that its store keeps is never had.
    fn instead(&self, mechanism: CK_MECHANISM_TYPE, error: Error) -> Result<Arc<Secret>> {
        if !refuses_mechanism(&error) || !self.may_be_had() {
            return Err(self.explain(error));
        }
        crate::log!(
            Warn,
            "{} is used locally: {error}",
            mechanism_name(mechanism)
        );
        match self.token.value(&self.object) {
            Ok(value) => {
                self.token.refuse(mechanism);
                Ok(value)
            }
            Err(_) => Err(error),
        }
    }

    /// The value, where the token's policy lets a mechanism have it for a message that is too long for the store.
    fn value_instead(&self, mechanism: CK_MECHANISM_TYPE) -> Option<Arc<Secret>> {
        let value = self
            .may_be_had()
            .then(|| self.token.value(&self.object).ok())
            .flatten()?;
        crate::log!(
            Warn,
            "{} is used locally: the key manager wants messages whole",
            mechanism_name(mechanism)
        );
        Some(value)
    }

    fn may_be_had(&self) -> bool {
        self.token.policy() == CryptoPolicy::Auto && !self.token.keeps(&self.object)
    }

    /// An error of the store in the words of a function that uses a key.
    fn explain(&self, error: Error) -> Error {
        let error = self.token.gone(&self.object, error);
        match error.rv() {
            CKR_OBJECT_HANDLE_INVALID => error.with_rv(CKR_KEY_HANDLE_INVALID),
            // The store does not do the mechanism, and does not give the value away to have it done here.
            CKR_KEY_UNEXTRACTABLE | CKR_ATTRIBUTE_SENSITIVE => error.with_rv(CKR_MECHANISM_INVALID),
            // It did something, but not what was asked.
            CKR_MECHANISM_INVALID if error.kind() == Kind::Protocol => {
                error.with_rv(CKR_DEVICE_ERROR)
            }
            _ => error,
        }
    }
}

/// True when the store has refused the mechanism, or this form of it, and nothing else.
fn refuses_mechanism(error: &Error) -> bool {
    matches!(
        error.rv(),
        CKR_MECHANISM_INVALID | CKR_MECHANISM_PARAM_INVALID | CKR_FUNCTION_NOT_SUPPORTED
    )
}

/// The hash that a digest mechanism names, as parameters refer to it.
fn hash_of(mechanism: CK_MECHANISM_TYPE) -> Result<Hash> {
    match entry(mechanism).map(|e| e.work) {
        Ok(Work::Digest(hash)) => Ok(hash),
        _ => Err(CKR_MECHANISM_PARAM_INVALID.into()),
    }
}

/// The error of an RSA operation whose data are a `number` of the modulus's length: it is wrong, not too long.
fn not_below(number: bool, error: Error) -> Error {
    if number && error.rv() == CKR_DATA_LEN_RANGE {
        error.with_rv(CKR_DATA_INVALID)
    } else {
        error
    }
}

/// The hash of a mask generation function.
fn mgf_hash(mgf: CK_ULONG) -> Result<Hash> {
    Ok(match mgf {
        CKG_MGF1_SHA1 => Hash::Sha1,
        CKG_MGF1_SHA224 => Hash::Sha224,
        CKG_MGF1_SHA256 => Hash::Sha256,
        CKG_MGF1_SHA384 => Hash::Sha384,
        CKG_MGF1_SHA512 => Hash::Sha512,
        CKG_MGF1_SHA3_224 => Hash::Sha3_224,
        CKG_MGF1_SHA3_256 => Hash::Sha3_256,
        CKG_MGF1_SHA3_384 => Hash::Sha3_384,
        CKG_MGF1_SHA3_512 => Hash::Sha3_512,
        _ => return Err(CKR_MECHANISM_PARAM_INVALID.into()),
    })
}
