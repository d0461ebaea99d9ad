//! Message authentication codes, made here or in the store.

use std::sync::Arc;

use super::scheme::WHOLE_MAX;
use super::table::Work;
use super::{Key, Mechanism, Params};
use crate::ck::*;
use crate::crypto::Hash;
use crate::crypto::cipher::Key as CipherKey;
use crate::crypto::mac::Mac;
use crate::error::{Error, Result};
use crate::store::{self, Ability, KeyStore, Uid};
use crate::token::objects::Material;
use crate::token::spec;

/// A MAC mechanism.
#[derive(Clone, Copy)]
pub(super) enum Code {
    Hmac(Hash),
    Cmac(CK_KEY_TYPE),
    Gmac,
}

impl Code {
    /// Length of the code in bytes.
    pub(super) fn len(self) -> usize {
        match self {
            Code::Hmac(hash) => hash.output_len(),
            Code::Cmac(CKK_DES3) => 8,
            Code::Cmac(_) | Code::Gmac => 16,
        }
    }

    /// Whether keys of this type make such codes.
    pub(super) fn fits(self, key_type: CK_KEY_TYPE) -> bool {
        match self {
            Code::Hmac(hash) => key_type == CKK_GENERIC_SECRET || spec::hmac_hash(key_type) == Some(hash),
            Code::Cmac(cipher) => key_type == cipher,
            Code::Gmac => key_type == CKK_AES,
        }
    }

    fn remote(self) -> Option<store::Mac> {
        match self {
            Code::Hmac(hash) => Some(store::Mac::Hmac(hash)),
            Code::Cmac(_) => Some(store::Mac::Cmac),
            Code::Gmac => None,
        }
    }

    /// The code of nothing yet; only GMAC has an `iv`.
    pub(super) fn local(self, key: &[u8], iv: &[u8]) -> Result<Mac> {
        match self {
            Code::Hmac(hash) => Mac::hmac(hash, key),
            Code::Cmac(CKK_DES3) => Mac::cmac(CipherKey::TripleDes(key)),
            Code::Cmac(_) => Mac::cmac(CipherKey::Aes(key)),
            Code::Gmac => Mac::gmac(key, iv),
        }
    }
}

/// A MAC being computed.
pub(super) struct Authenticator {
    code: Code,
    iv: Vec<u8>,
    /// Length of the result, which may be cut.
    pub(super) len: usize,
    engine: MacEngine,
    key: Key,
    mechanism: CK_MECHANISM_TYPE,
}

enum MacEngine {
    Local(Option<Mac>),
    Remote(Arc<dyn KeyStore>, Uid, store::Mac, Vec<u8>),
}

impl Authenticator {
    pub(super) fn new(work: Work, mechanism: &Mechanism, key: Key, usage: CK_ATTRIBUTE_TYPE) -> Result<Authenticator> {
        let (code, general) = match work {
            Work::Hmac(hash, general) => (Code::Hmac(hash), general),
            Work::Cmac(cipher, general) => (Code::Cmac(cipher), general),
            _ => (Code::Gmac, false),
        };
        if key.class() != CKO_SECRET_KEY || !code.fits(key.key_type()) {
            return Err(CKR_KEY_TYPE_INCONSISTENT.into());
        }
        key.check(mechanism.kind, usage)?;
        let (iv, len) = match (code, &mechanism.params) {
            (Code::Gmac, Params::Raw(iv)) if !iv.is_empty() => (iv.clone(), 16),
            (Code::Gmac, Params::Gcm { iv, aad, tag_bits: 128, .. }) if !iv.is_empty() && aad.is_empty() => (iv.clone(), 16),
            (Code::Gmac, _) => return Err(CKR_MECHANISM_PARAM_INVALID.into()),
            (_, Params::Number(n)) if general && (1..=code.len() as CK_ULONG).contains(n) => (Vec::new(), *n as usize),
            (_, Params::None) if !general => (Vec::new(), code.len()),
            _ => return Err(CKR_MECHANISM_PARAM_INVALID.into()),
        };
        let remote = code.remote();
        let engine = match (key.material(mechanism.kind, remote.map(|_| Ability::Mac))?, remote) {
            (Material::Remote(store, uid), Some(mac)) => MacEngine::Remote(store, uid, mac, Vec::new()),
            (Material::Local(value), _) => MacEngine::Local(Some(code.local(value.expose(), &iv)?)),
            _ => return Err(CKR_MECHANISM_INVALID.into()),
        };
        Ok(Authenticator { code, iv, len, engine, key, mechanism: mechanism.kind })
    }

    pub(super) fn update(&mut self, part: &[u8]) -> Result<()> {
        match &mut self.engine {
            MacEngine::Local(mac) => mac.as_mut().ok_or(CKR_OPERATION_NOT_INITIALIZED)?.update(part),
            MacEngine::Remote(.., held) if held.len() + part.len() > WHOLE_MAX => Err(CKR_DATA_LEN_RANGE.into()),
            MacEngine::Remote(.., held) => {
                held.extend_from_slice(part);
                Ok(())
            }
        }
    }

    pub(super) fn finish(&mut self) -> Result<Vec<u8>> {
        let mut code = match &mut self.engine {
            MacEngine::Local(mac) => mac.take().ok_or(CKR_OPERATION_NOT_INITIALIZED)?.finish()?,
            MacEngine::Remote(store, uid, mac, held) => match store.mac(uid, *mac, held) {
                Ok(code) => code,
                Err(e) => {
                    let value = self.key.instead(self.mechanism, e)?;
                    let mut mac = self.code.local(value.expose(), &self.iv)?;
                    mac.update(held)?;
                    mac.finish()?
                }
            },
        };
        if code.len() < self.code.len() {
            return Err(Error::protocol(format!("the server made a code of {} bytes, not {}", code.len(), self.code.len())));
        }
        code.truncate(self.len);
        Ok(code)
    }
}
