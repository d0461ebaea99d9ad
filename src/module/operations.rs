//! Encrypting, decrypting, digesting, signing and verifying.

use super::Module;
use crate::ck::{CK_OBJECT_HANDLE, CK_SESSION_HANDLE, CKR_FUNCTION_NOT_SUPPORTED};
use crate::error::Result;
use crate::mech::{Mechanism, Output};

impl Module {
    /// `C_EncryptInit`; `None` (a NULL mechanism, 3.0) ends an active operation.
    pub fn encrypt_init(&self, h: CK_SESSION_HANDLE, mechanism: Option<Mechanism>, key: CK_OBJECT_HANDLE) -> Result<()> {
        let _ = (h, mechanism, key);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_Encrypt`.
    pub fn encrypt(&self, h: CK_SESSION_HANDLE, data: &[u8], room: Option<usize>) -> Result<Output> {
        let _ = (h, data, room);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_EncryptUpdate`.
    pub fn encrypt_update(&self, h: CK_SESSION_HANDLE, part: &[u8], room: Option<usize>) -> Result<Output> {
        let _ = (h, part, room);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_EncryptFinal`.
    pub fn encrypt_final(&self, h: CK_SESSION_HANDLE, room: Option<usize>) -> Result<Output> {
        let _ = (h, room);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_DecryptInit`.
    pub fn decrypt_init(&self, h: CK_SESSION_HANDLE, mechanism: Option<Mechanism>, key: CK_OBJECT_HANDLE) -> Result<()> {
        let _ = (h, mechanism, key);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_Decrypt`.
    pub fn decrypt(&self, h: CK_SESSION_HANDLE, data: &[u8], room: Option<usize>) -> Result<Output> {
        let _ = (h, data, room);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_DecryptUpdate`.
    pub fn decrypt_update(&self, h: CK_SESSION_HANDLE, part: &[u8], room: Option<usize>) -> Result<Output> {
        let _ = (h, part, room);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_DecryptFinal`.
    pub fn decrypt_final(&self, h: CK_SESSION_HANDLE, room: Option<usize>) -> Result<Output> {
        let _ = (h, room);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_DigestInit`.
    pub fn digest_init(&self, h: CK_SESSION_HANDLE, mechanism: Option<Mechanism>) -> Result<()> {
        let _ = (h, mechanism);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_Digest`.
    pub fn digest(&self, h: CK_SESSION_HANDLE, data: &[u8], room: Option<usize>) -> Result<Output> {
        let _ = (h, data, room);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_DigestUpdate`.
    pub fn digest_update(&self, h: CK_SESSION_HANDLE, part: &[u8]) -> Result<()> {
        let _ = (h, part);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_DigestKey`.
    pub fn digest_key(&self, h: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE) -> Result<()> {
        let _ = (h, key);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_DigestFinal`.
    pub fn digest_final(&self, h: CK_SESSION_HANDLE, room: Option<usize>) -> Result<Output> {
        let _ = (h, room);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_SignInit`.
    pub fn sign_init(&self, h: CK_SESSION_HANDLE, mechanism: Option<Mechanism>, key: CK_OBJECT_HANDLE) -> Result<()> {
        let _ = (h, mechanism, key);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_Sign`.
    pub fn sign(&self, h: CK_SESSION_HANDLE, data: &[u8], room: Option<usize>) -> Result<Output> {
        let _ = (h, data, room);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_SignUpdate`.
    pub fn sign_update(&self, h: CK_SESSION_HANDLE, part: &[u8]) -> Result<()> {
        let _ = (h, part);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_SignFinal`.
    pub fn sign_final(&self, h: CK_SESSION_HANDLE, room: Option<usize>) -> Result<Output> {
        let _ = (h, room);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_SignRecoverInit`.
    pub fn sign_recover_init(&self, h: CK_SESSION_HANDLE, mechanism: Option<Mechanism>, key: CK_OBJECT_HANDLE) -> Result<()> {
        let _ = (h, mechanism, key);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_SignRecover`.
    pub fn sign_recover(&self, h: CK_SESSION_HANDLE, data: &[u8], room: Option<usize>) -> Result<Output> {
        let _ = (h, data, room);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_VerifyInit`.
    pub fn verify_init(&self, h: CK_SESSION_HANDLE, mechanism: Option<Mechanism>, key: CK_OBJECT_HANDLE) -> Result<()> {
        let _ = (h, mechanism, key);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_Verify`.
    pub fn verify(&self, h: CK_SESSION_HANDLE, data: &[u8], signature: &[u8]) -> Result<()> {
        let _ = (h, data, signature);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_VerifyUpdate`.
    pub fn verify_update(&self, h: CK_SESSION_HANDLE, part: &[u8]) -> Result<()> {
        let _ = (h, part);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_VerifyFinal`.
    pub fn verify_final(&self, h: CK_SESSION_HANDLE, signature: &[u8]) -> Result<()> {
        let _ = (h, signature);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_VerifyRecoverInit`.
    pub fn verify_recover_init(&self, h: CK_SESSION_HANDLE, mechanism: Option<Mechanism>, key: CK_OBJECT_HANDLE) -> Result<()> {
        let _ = (h, mechanism, key);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_VerifyRecover`.
    pub fn verify_recover(&self, h: CK_SESSION_HANDLE, signature: &[u8], room: Option<usize>) -> Result<Output> {
        let _ = (h, signature, room);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_DigestEncryptUpdate`.
    pub fn digest_encrypt_update(&self, h: CK_SESSION_HANDLE, part: &[u8], room: Option<usize>) -> Result<Output> {
        let _ = (h, part, room);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_DecryptDigestUpdate`.
    pub fn decrypt_digest_update(&self, h: CK_SESSION_HANDLE, part: &[u8], room: Option<usize>) -> Result<Output> {
        let _ = (h, part, room);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_SignEncryptUpdate`.
    pub fn sign_encrypt_update(&self, h: CK_SESSION_HANDLE, part: &[u8], room: Option<usize>) -> Result<Output> {
        let _ = (h, part, room);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_DecryptVerifyUpdate`.
    pub fn decrypt_verify_update(&self, h: CK_SESSION_HANDLE, part: &[u8], room: Option<usize>) -> Result<Output> {
        let _ = (h, part, room);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }
}
