//! Message digests, always here.

use super::table::{Work, serving};
use super::{Key, Mechanism, Output};
use crate::ck::*;
use crate::crypto::hash::Digest;
use crate::error::Result;
use crate::secret::Secret;
use crate::token::objects::Material;
use crate::token::policy;

/// A digest being made.
pub struct DigestOperation {
    digest: Option<Digest>,
    len: usize,
    parts: bool,
    /// A key is in it: its state would show that key's last bytes.
    keyed: bool,
}

impl DigestOperation {
    /// An operation for `C_DigestInit`.
    pub fn new(mechanism: &Mechanism) -> Result<DigestOperation> {
        let Work::Digest(hash) = serving(mechanism.kind, CKF_DIGEST)?.work else {
            return Err(CKR_MECHANISM_INVALID.into());
        };
        Ok(DigestOperation {
            digest: Some(Digest::new(hash)?),
            len: hash.output_len(),
            parts: false,
            keyed: false,
        })
    }

    /// All there is to know of the digest so far (`C_GetOperationState`). `CKR_STATE_UNSAVEABLE` once a key is in it.
    pub fn state(&self) -> Result<Vec<u8>> {
        if self.keyed {
            return Err(CKR_STATE_UNSAVEABLE.into());
        }
        let mut state = vec![u8::from(self.parts)];
        state.extend(self.digest.as_ref().ok_or(CKR_STATE_UNSAVEABLE)?.state()?);
        Ok(state)
    }

    /// A digest that goes on from there. `CKR_SAVED_STATE_INVALID` for bytes that are no state.
    pub fn restore(state: &[u8]) -> Result<DigestOperation> {
        let (parts, state) = state
            .split_first()
            .filter(|(parts, _)| **parts < 2)
            .ok_or(CKR_SAVED_STATE_INVALID)?;
        let digest = Digest::restore(state)?;
        Ok(DigestOperation {
            len: digest.hash().output_len(),
            digest: Some(digest),
            parts: *parts == 1,
            keyed: false,
        })
    }

    fn take(&mut self, part: &[u8]) -> Result<()> {
        self.digest
            .as_mut()
            .ok_or(CKR_OPERATION_NOT_INITIALIZED)?
            .update(part)
    }

    /// The whole message at once: `C_Digest`.
    pub fn run(&mut self, data: &[u8], room: Option<usize>) -> Result<Output> {
        if self.parts {
            return Err(CKR_OPERATION_NOT_INITIALIZED.into());
        }
        if let Some(output) = Output::early(self.len, room) {
            return Ok(output);
        }
        self.take(data)?;
        self.finish(room)
    }

    /// The next part: `C_DigestUpdate`.
    pub fn update(&mut self, part: &[u8]) -> Result<()> {
        self.parts = true;
        self.take(part)
    }

    /// The value of a secret key as the next part: `C_DigestKey`. `CKR_KEY_INDIGESTIBLE` for one that stays in its store.
    pub fn update_key(&mut self, key: &Key) -> Result<()> {
        if key.class() != CKO_SECRET_KEY {
            return Err(CKR_KEY_INDIGESTIBLE.into());
        }
        if !policy::may_show_digest(key.token.key_policy(), &key.object.attributes) {
            return Err(CKR_KEY_INDIGESTIBLE.into());
        }
        let extractable = key.object.attributes.flag(CKA_EXTRACTABLE) || !key.object.is_token();
        match key.token.material(&key.object, None) {
            Ok(Material::Local(value)) if extractable => {
                self.keyed = true;
                self.update(value.expose())
            }
            _ => Err(CKR_KEY_INDIGESTIBLE.into()),
        }
    }

    /// The end: `C_DigestFinal`.
    pub fn finish(&mut self, room: Option<usize>) -> Result<Output> {
        if let Some(output) = Output::early(self.len, room) {
            return Ok(output);
        }
        let digest = self
            .digest
            .take()
            .ok_or(CKR_OPERATION_NOT_INITIALIZED)?
            .finish()?;
        Ok(Output::Bytes(Secret::new(digest)))
    }
}
