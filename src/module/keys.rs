//! Keys made from nothing, from wrapped keys and from other keys.

use super::Module;
use crate::ck::{CK_OBJECT_HANDLE, CK_SESSION_HANDLE, CKR_FUNCTION_NOT_SUPPORTED};
use crate::error::Result;
use crate::mech::{Mechanism, Output};
use crate::secret::Secret;
use crate::token::template::Template;

impl Module {
    /// `C_GenerateKey`.
    pub fn generate_key(&self, h: CK_SESSION_HANDLE, mechanism: Mechanism, template: Template) -> Result<CK_OBJECT_HANDLE> {
        let _ = (h, mechanism, template);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_GenerateKeyPair`: (public, private).
    pub fn generate_key_pair(
        &self,
        h: CK_SESSION_HANDLE,
        mechanism: Mechanism,
        public: Template,
        private: Template,
    ) -> Result<(CK_OBJECT_HANDLE, CK_OBJECT_HANDLE)> {
        let _ = (h, mechanism, public, private);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_WrapKey`.
    pub fn wrap_key(
        &self,
        h: CK_SESSION_HANDLE,
        mechanism: Mechanism,
        wrapping: CK_OBJECT_HANDLE,
        key: CK_OBJECT_HANDLE,
        room: Option<usize>,
    ) -> Result<Output> {
        let _ = (h, mechanism, wrapping, key, room);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_UnwrapKey`.
    pub fn unwrap_key(
        &self,
        h: CK_SESSION_HANDLE,
        mechanism: Mechanism,
        unwrapping: CK_OBJECT_HANDLE,
        wrapped: &[u8],
        template: Template,
    ) -> Result<CK_OBJECT_HANDLE> {
        let _ = (h, mechanism, unwrapping, wrapped, template);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_DeriveKey`.
    pub fn derive_key(
        &self,
        h: CK_SESSION_HANDLE,
        mechanism: Mechanism,
        base: CK_OBJECT_HANDLE,
        template: Template,
    ) -> Result<CK_OBJECT_HANDLE> {
        let _ = (h, mechanism, base, template);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_SeedRandom`.
    pub fn seed_random(&self, h: CK_SESSION_HANDLE, seed: &[u8]) -> Result<()> {
        let _ = (h, seed);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_GenerateRandom`.
    pub fn generate_random(&self, h: CK_SESSION_HANDLE, len: usize) -> Result<Secret> {
        let _ = (h, len);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }
}
