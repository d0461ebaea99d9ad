//! Message authentication codes, whole or in parts, made here or in the store.

use std::sync::Arc;

use super::cipher::gcm_tag;
use super::scheme::WHOLE_MAX;
use super::table::Work;
use super::{Key, Mechanism, Params, refuses_mechanism};
use crate::ck::*;
use crate::crypto::Hash;
use crate::crypto::cipher::Key as CipherKey;
use crate::crypto::mac::Mac;
use crate::error::{Error, Result};
use crate::secret::reserve;
use crate::store::{self, Ability, Algorithm, Correlation, KeyStore, Uid};
use crate::token::objects::Material;
use crate::token::spec;

/// A message that is longer is sent in parts of this length, to a store that takes parts.
const PART: usize = 256 << 10;

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
        const GMAC: usize = 16;
        match self {
            Code::Hmac(hash) => hash.output_len(),
            Code::Cmac(_) | Code::Gmac => self.remote().map_or(GMAC, store::Mac::output_len),
        }
    }

    /// Whether keys of this type make such codes.
    pub(super) fn fits(self, key_type: CK_KEY_TYPE) -> bool {
        match self {
            Code::Hmac(hash) => {
                key_type == CKK_GENERIC_SECRET || spec::hmac_hash(key_type) == Some(hash)
            }
            Code::Cmac(cipher) => key_type == cipher,
            Code::Gmac => key_type == CKK_AES,
        }
    }

    /// The code in the store's words.
    fn remote(self) -> Option<store::Mac> {
        match self {
            Code::Hmac(hash) => store::Mac::hmac(hash),
            Code::Cmac(CKK_DES3) => Some(store::Mac::Cmac(Algorithm::TripleDes)),
            Code::Cmac(_) => Some(store::Mac::Cmac(Algorithm::Aes)),
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
    engine: Engine,
    key: Key,
    mechanism: CK_MECHANISM_TYPE,
}

enum Engine {
    Local(Option<Mac>),
    Remote(Remote),
}

/// A MAC that the store makes: of one request, or of parts when the message is long.
struct Remote {
    store: Arc<dyn KeyStore>,
    uid: Uid,
    mac: store::Mac,
    /// What was taken and not yet sent.
    held: Vec<u8>,
    /// Where the store stands; `None` until it has taken a part.
    taken: Option<Correlation>,
    /// True once the store has refused to take parts.
    whole: bool,
}

impl Remote {
    /// Takes a part of the message, or what it can of it: the rest comes back, once, when the store turns out to want messages whole.
    fn update<'a>(&mut self, mut data: &'a [u8]) -> Result<Option<&'a [u8]>> {
        // What may be the whole message waits for `finish`.
        while !self.whole && self.held.len() + data.len() > PART {
            let (now, later) = data.split_at(PART - self.held.len());
            self.held.extend_from_slice(now);
            data = later;
            match self
                .store
                .mac_part(&self.uid, self.mac, self.taken.as_ref(), &self.held)
            {
                Ok(taken) => {
                    self.taken = Some(taken);
                    self.held.clear();
                }
                Err(e) if self.taken.is_none() && refuses_mechanism(&e) => {
                    self.whole = true;
                    return Ok(Some(data));
                }
                Err(e) => return Err(e),
            }
        }
        if self.held.len() + data.len() > WHOLE_MAX {
            return Err(Error::from(CKR_DATA_LEN_RANGE)
                .context("this key manager wants messages whole: 16 MiB at most"));
        }
        // What the message is copied to on its way.
        reserve::admit(self.held.len() + data.len(), 8)?;
        self.held.extend_from_slice(data);
        Ok(None)
    }

    fn finish(&mut self) -> Result<Vec<u8>> {
        match &self.taken {
            Some(taken) => self.store.mac_last(&self.uid, self.mac, taken, &self.held),
            None => self.store.mac(&self.uid, self.mac, &self.held),
        }
    }
}

impl Authenticator {
    /// `usage` names the flag that the key must have.
    pub(super) fn new(
        work: Work,
        mechanism: &Mechanism,
        key: Key,
        usage: CK_ATTRIBUTE_TYPE,
    ) -> Result<Authenticator> {
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
            (
                Code::Gmac,
                Params::Gcm {
                    iv, aad, tag_bits, ..
                },
            ) if !iv.is_empty() && aad.is_empty() => (iv.clone(), gcm_tag(*tag_bits)?),
            (Code::Gmac, _) => return Err(CKR_MECHANISM_PARAM_INVALID.into()),
            (_, Params::Number(n)) if general && (1..=code.len() as CK_ULONG).contains(n) => {
                (Vec::new(), *n as usize)
            }
            (_, Params::None) if !general => (Vec::new(), code.len()),
            _ => return Err(CKR_MECHANISM_PARAM_INVALID.into()),
        };
        let remote = code.remote();
        let engine = match (
            key.material(mechanism.kind, remote.map(|_| Ability::Mac))?,
            remote,
        ) {
            (Material::Remote(store, uid), Some(mac)) => Engine::Remote(Remote {
                store,
                uid,
                mac,
                held: Vec::new(),
                taken: None,
                whole: false,
            }),
            (Material::Local(value), _) => Engine::Local(Some(code.local(value.expose(), &iv)?)),
            _ => return Err(CKR_MECHANISM_INVALID.into()),
        };
        Ok(Authenticator {
            code,
            iv,
            len,
            engine,
            key,
            mechanism: mechanism.kind,
        })
    }

    pub(super) fn update(&mut self, part: &[u8]) -> Result<()> {
        match &mut self.engine {
            Engine::Local(mac) => mac
                .as_mut()
                .ok_or(CKR_OPERATION_NOT_INITIALIZED)?
                .update(part),
            Engine::Remote(remote) => {
                let Some(rest) = remote.update(part)? else {
                    return Ok(());
                };
                let Some(value) = self.key.value_instead(self.mechanism) else {
                    return remote.update(rest).map(drop);
                };
                let mut mac = self.code.local(value.expose(), &self.iv)?;
                mac.update(&remote.held)?;
                mac.update(rest)?;
                self.engine = Engine::Local(Some(mac));
                Ok(())
            }
        }
    }

    pub(super) fn finish(&mut self) -> Result<Vec<u8>> {
        let mut code = match &mut self.engine {
            Engine::Local(mac) => mac.take().ok_or(CKR_OPERATION_NOT_INITIALIZED)?.finish()?,
            Engine::Remote(remote) => match remote.finish() {
                Ok(code) => code,
                // The parts that the store has taken are not here any more.
                Err(e) if remote.taken.is_some() => return Err(e),
                Err(e) => {
                    let value = self.key.instead(self.mechanism, e)?;
                    let mut mac = self.code.local(value.expose(), &self.iv)?;
                    mac.update(&remote.held)?;
                    mac.finish()?
                }
            },
        };
        if code.len() < self.code.len() {
            return Err(Error::protocol(format!(
                "the server made a code of {} bytes, not {}",
                code.len(),
                self.code.len()
            )));
        }
        code.truncate(self.len);
        Ok(code)
    }
}
