//! The message-based functions of PKCS#11 3.0.

use super::Module;
use crate::ck::{CK_OBJECT_HANDLE, CK_SESSION_HANDLE, CKR_FUNCTION_NOT_SUPPORTED};
use crate::error::Result;
use crate::mech::{Mechanism, MessageParams, Output};

impl Module {
    /// `C_MessageEncryptInit`; `None` (a NULL mechanism) ends an active operation.
    pub fn message_encrypt_init(&self, h: CK_SESSION_HANDLE, mechanism: Option<Mechanism>, key: CK_OBJECT_HANDLE) -> Result<()> {
        let _ = (h, mechanism, key);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_EncryptMessage`: fills in the IV where it is generated, and the tag.
    pub fn encrypt_message(
        &self,
        h: CK_SESSION_HANDLE,
        params: &mut MessageParams,
        aad: &[u8],
        data: &[u8],
        room: Option<usize>,
    ) -> Result<Output> {
        let _ = (h, params, aad, data, room);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_EncryptMessageBegin`: fills in the IV where it is generated.
    pub fn encrypt_message_begin(&self, h: CK_SESSION_HANDLE, params: &mut MessageParams, aad: &[u8]) -> Result<()> {
        let _ = (h, params, aad);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_EncryptMessageNext`; `end` is `CKF_END_OF_MESSAGE`: fills in the tag.
    pub fn encrypt_message_next(
        &self,
        h: CK_SESSION_HANDLE,
        params: &mut MessageParams,
        part: &[u8],
        room: Option<usize>,
        end: bool,
    ) -> Result<Output> {
        let _ = (h, params, part, room, end);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_MessageEncryptFinal`.
    pub fn message_encrypt_final(&self, h: CK_SESSION_HANDLE) -> Result<()> {
        let _ = (h,);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_MessageDecryptInit`.
    pub fn message_decrypt_init(&self, h: CK_SESSION_HANDLE, mechanism: Option<Mechanism>, key: CK_OBJECT_HANDLE) -> Result<()> {
        let _ = (h, mechanism, key);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_DecryptMessage`.
    pub fn decrypt_message(
        &self,
        h: CK_SESSION_HANDLE,
        params: &MessageParams,
        aad: &[u8],
        data: &[u8],
        room: Option<usize>,
    ) -> Result<Output> {
        let _ = (h, params, aad, data, room);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_DecryptMessageBegin`.
    pub fn decrypt_message_begin(&self, h: CK_SESSION_HANDLE, params: &MessageParams, aad: &[u8]) -> Result<()> {
        let _ = (h, params, aad);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_DecryptMessageNext`.
    pub fn decrypt_message_next(
        &self,
        h: CK_SESSION_HANDLE,
        params: &MessageParams,
        part: &[u8],
        room: Option<usize>,
        end: bool,
    ) -> Result<Output> {
        let _ = (h, params, part, room, end);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_MessageDecryptFinal`.
    pub fn message_decrypt_final(&self, h: CK_SESSION_HANDLE) -> Result<()> {
        let _ = (h,);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_MessageSignInit`.
    pub fn message_sign_init(&self, h: CK_SESSION_HANDLE, mechanism: Option<Mechanism>, key: CK_OBJECT_HANDLE) -> Result<()> {
        let _ = (h, mechanism, key);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_SignMessage`.
    pub fn sign_message(&self, h: CK_SESSION_HANDLE, data: &[u8], room: Option<usize>) -> Result<Output> {
        let _ = (h, data, room);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_SignMessageBegin`.
    pub fn sign_message_begin(&self, h: CK_SESSION_HANDLE) -> Result<()> {
        let _ = (h,);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_SignMessageNext`; an outer `None` (a NULL length pointer) says that more parts follow.
    pub fn sign_message_next(&self, h: CK_SESSION_HANDLE, part: &[u8], room: Option<Option<usize>>) -> Result<Option<Output>> {
        let _ = (h, part, room);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_MessageSignFinal`.
    pub fn message_sign_final(&self, h: CK_SESSION_HANDLE) -> Result<()> {
        let _ = (h,);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_MessageVerifyInit`.
    pub fn message_verify_init(&self, h: CK_SESSION_HANDLE, mechanism: Option<Mechanism>, key: CK_OBJECT_HANDLE) -> Result<()> {
        let _ = (h, mechanism, key);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_VerifyMessage`.
    pub fn verify_message(&self, h: CK_SESSION_HANDLE, data: &[u8], signature: &[u8]) -> Result<()> {
        let _ = (h, data, signature);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_VerifyMessageBegin`.
    pub fn verify_message_begin(&self, h: CK_SESSION_HANDLE) -> Result<()> {
        let _ = (h,);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_VerifyMessageNext`; a `None` signature says that more parts follow.
    pub fn verify_message_next(&self, h: CK_SESSION_HANDLE, part: &[u8], signature: Option<&[u8]>) -> Result<()> {
        let _ = (h, part, signature);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_MessageVerifyFinal`.
    pub fn message_verify_final(&self, h: CK_SESSION_HANDLE) -> Result<()> {
        let _ = (h,);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }
}
