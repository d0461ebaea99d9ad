//! Sessions, login and PINs.

use super::Module;
use crate::ck::{
    CK_FLAGS, CK_OBJECT_HANDLE, CK_SESSION_HANDLE, CK_SESSION_INFO, CK_SLOT_ID, CK_USER_TYPE, CKR_FUNCTION_NOT_SUPPORTED,
};
use crate::error::Result;
use crate::mech::Output;

impl Module {
    /// `C_OpenSession`.
    pub fn open_session(&self, slot: CK_SLOT_ID, flags: CK_FLAGS) -> Result<CK_SESSION_HANDLE> {
        let _ = (slot, flags);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_CloseSession`.
    pub fn close_session(&self, h: CK_SESSION_HANDLE) -> Result<()> {
        let _ = (h,);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_CloseAllSessions`.
    pub fn close_all_sessions(&self, slot: CK_SLOT_ID) -> Result<()> {
        let _ = (slot,);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_GetSessionInfo`.
    pub fn session_info(&self, h: CK_SESSION_HANDLE) -> Result<CK_SESSION_INFO> {
        let _ = (h,);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// Whether `h` is a session, before anything else of a call is looked at.
    pub fn check_session(&self, h: CK_SESSION_HANDLE) -> Result<()> {
        let _ = (h,);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_Login`; `pin` is `None` for a NULL pointer.
    pub fn login(&self, h: CK_SESSION_HANDLE, user: CK_USER_TYPE, pin: Option<&[u8]>) -> Result<()> {
        let _ = (h, user, pin);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_LoginUser`.
    pub fn login_user(&self, h: CK_SESSION_HANDLE, user: CK_USER_TYPE, pin: Option<&[u8]>, name: &[u8]) -> Result<()> {
        let _ = (h, user, pin, name);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_Logout`.
    pub fn logout(&self, h: CK_SESSION_HANDLE) -> Result<()> {
        let _ = (h,);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_InitPIN`.
    pub fn init_pin(&self, h: CK_SESSION_HANDLE, pin: Option<&[u8]>) -> Result<()> {
        let _ = (h, pin);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_SetPIN`.
    pub fn set_pin(&self, h: CK_SESSION_HANDLE, old: Option<&[u8]>, new: Option<&[u8]>) -> Result<()> {
        let _ = (h, old, new);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_SessionCancel`.
    pub fn session_cancel(&self, h: CK_SESSION_HANDLE, flags: CK_FLAGS) -> Result<()> {
        let _ = (h, flags);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_GetOperationState`.
    pub fn operation_state(&self, h: CK_SESSION_HANDLE, room: Option<usize>) -> Result<Output> {
        let _ = (h, room);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_SetOperationState`; a key handle of 0 is none.
    pub fn set_operation_state(
        &self,
        h: CK_SESSION_HANDLE,
        state: &[u8],
        encryption_key: CK_OBJECT_HANDLE,
        authentication_key: CK_OBJECT_HANDLE,
    ) -> Result<()> {
        let _ = (h, state, encryption_key, authentication_key);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }
}
