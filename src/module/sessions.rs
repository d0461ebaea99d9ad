//! Sessions, login and PINs.

use std::sync::Arc;

use super::Module;
use super::slots::pin_of;
use crate::ck::*;
use crate::error::Result;
use crate::mech::{DigestOperation, Output};
use crate::secret::Secret;
use crate::session::{Active, Session};
use crate::token::pin::{Who, new_pin};
use crate::token::secrets::UserPin;
use crate::token::{Login, Token, lock};

impl Module {
    /// `C_OpenSession`.
    pub fn open_session(&self, slot: CK_SLOT_ID, flags: CK_FLAGS) -> Result<CK_SESSION_HANDLE> {
        if flags & CKF_SERIAL_SESSION == 0 {
            return Err(CKR_SESSION_PARALLEL_NOT_SUPPORTED.into());
        }
        let token = self.token(slot)?;
        let write = flags & CKF_RW_SESSION != 0;
        let mut sessions = lock(&self.sessions);
        // Under the map's lock, so that the SO does not log in between.
        if !write && token.login_state() == Login::So {
            return Err(CKR_SESSION_READ_WRITE_SO_EXISTS.into());
        }
        let h = self.handles.next();
        sessions.insert(h, Arc::new(Session::new(h, slot, token, write)));
        Ok(h)
    }

    /// `C_CloseSession`. A call that is busy in the session ends by itself.
    pub fn close_session(&self, h: CK_SESSION_HANDLE) -> Result<()> {
        let mut sessions = lock(&self.sessions);
        let session = sessions.remove(&h).ok_or(CKR_SESSION_HANDLE_INVALID)?;
        session.token.close_session(h);
        // The last one to leave logs out (5.6.2).
        if !sessions
            .values()
            .any(|s| s.token.uuid() == session.token.uuid())
        {
            let _ = session.token.logout();
        }
        Ok(())
    }

    /// `C_CloseAllSessions`.
    pub fn close_all_sessions(&self, slot: CK_SLOT_ID) -> Result<()> {
        let token = match self.token(slot) {
            Err(e) if e.rv() == CKR_TOKEN_NOT_RECOGNIZED => return Ok(()),
            token => token?,
        };
        let mut sessions = lock(&self.sessions);
        sessions.retain(|h, session| {
            let other = session.token.uuid() != token.uuid();
            if !other {
                token.close_session(*h);
            }
            other
        });
        let _ = token.logout();
        Ok(())
    }

    /// `C_GetSessionInfo`.
    pub fn session_info(&self, h: CK_SESSION_HANDLE) -> Result<CK_SESSION_INFO> {
        let session = self.session(h)?;
        let flags = CKF_SERIAL_SESSION | if session.write { CKF_RW_SESSION } else { 0 };
        Ok(CK_SESSION_INFO {
            slotID: session.slot,
            state: session.state(),
            flags,
            ulDeviceError: 0,
        })
    }

    /// Whether `h` is a session, before anything else of a call is looked at.
    pub fn check_session(&self, h: CK_SESSION_HANDLE) -> Result<()> {
        self.session(h).map(|_| ())
    }

    /// `C_Login`; `pin` is `None` for a NULL pointer.
    pub fn login(
        &self,
        h: CK_SESSION_HANDLE,
        user: CK_USER_TYPE,
        pin: Option<&[u8]>,
    ) -> Result<()> {
        let session = self.session(h)?;
        match user {
            CKU_USER => {
                session.token.login(Who::User, pin_of(pin)?)?;
                self.check_not_deserted(&session)
            }
            CKU_SO => {
                self.check_no_read_only(&session.token)?;
                session.token.login(Who::So, pin_of(pin)?)?;
                self.check_not_deserted(&session)?;
                // One may have been opened while the PIN was checked.
                self.check_no_read_only(&session.token).inspect_err(|_| {
                    let _ = session.token.logout();
                })
            }
            CKU_CONTEXT_SPECIFIC => {
                let mut operations = session.operations();
                if !operations.wants_context_login() {
                    return Err(CKR_OPERATION_NOT_INITIALIZED.into());
                }
                session.token.check_user_pin(pin_of(pin)?)?;
                operations.context_login();
                Ok(())
            }
            _ => Err(CKR_USER_TYPE_INVALID.into()),
        }
    }

    /// Checking a PIN takes time, in which the token's last session may have been closed: then nobody would be left who could log out.
    fn check_not_deserted(&self, session: &Session) -> Result<()> {
        let sessions = lock(&self.sessions);
        if !sessions
            .values()
            .any(|s| s.token.uuid() == session.token.uuid())
        {
            let _ = session.token.logout();
            return Err(CKR_SESSION_CLOSED.into());
        }
        Ok(())
    }

    fn check_no_read_only(&self, token: &Token) -> Result<()> {
        match lock(&self.sessions)
            .values()
            .any(|s| s.token.uuid() == token.uuid() && !s.write)
        {
            true => Err(CKR_SESSION_READ_ONLY_EXISTS.into()),
            false => Ok(()),
        }
    }

    /// `C_LoginUser`: tokens have one user and one SO, so the only name is none.
    pub fn login_user(
        &self,
        h: CK_SESSION_HANDLE,
        user: CK_USER_TYPE,
        pin: Option<&[u8]>,
        name: &[u8],
    ) -> Result<()> {
        self.session(h)?;
        if !name.is_empty() {
            return Err(CKR_ARGUMENTS_BAD.into());
        }
        self.login(h, user, pin)
    }

    /// `C_Logout`.
    pub fn logout(&self, h: CK_SESSION_HANDLE) -> Result<()> {
        let session = self.session(h)?;
        session.token.logout()?;
        // Operations with private keys do not outlive the login (5.6.8); a session that is busy ends its call first.
        let all: Vec<_> = lock(&self.sessions)
            .values()
            .filter(|s| s.token.uuid() == session.token.uuid())
            .cloned()
            .collect();
        for session in all {
            session.operations().clear();
        }
        Ok(())
    }

    /// `C_InitPIN`.
    pub fn init_pin(&self, h: CK_SESSION_HANDLE, pin: Option<&[u8]>) -> Result<()> {
        let session = self.session(h)?;
        if session.state() != CKS_RW_SO_FUNCTIONS {
            return Err(CKR_USER_NOT_LOGGED_IN.into());
        }
        let pin = new_pin(pin_of(pin)?)?;
        session.token.create_objects()?;
        session
            .token
            .files()
            .init_user_pin(&*session.token.key()?, UserPin::Given(&pin))
    }

    /// `C_SetPIN`: of who is logged in, of the user when nobody is.
    pub fn set_pin(
        &self,
        h: CK_SESSION_HANDLE,
        old: Option<&[u8]>,
        new: Option<&[u8]>,
    ) -> Result<()> {
        let session = self.session(h)?;
        let (old, new) = (pin_of(old)?, pin_of(new)?);
        match session.state() {
            CKS_RW_SO_FUNCTIONS => session.token.files().set_so_pin(old, new),
            CKS_RW_PUBLIC_SESSION | CKS_RW_USER_FUNCTIONS => session
                .token
                .files()
                .set_user_pin(old, UserPin::Given(&new_pin(new)?)),
            _ => Err(CKR_SESSION_READ_ONLY.into()),
        }
    }

    /// `C_SessionCancel`: ends the operations that `flags` names, active or not.
    pub fn session_cancel(&self, h: CK_SESSION_HANDLE, flags: CK_FLAGS) -> Result<()> {
        self.session(h)?.operations().cancel(flags);
        Ok(())
    }

    /// `C_GetOperationState`: of a digest, and of nothing else. What else is active keeps its key to itself.
    pub fn operation_state(&self, h: CK_SESSION_HANDLE, room: Option<usize>) -> Result<Output> {
        let session = self.session(h)?;
        let operations = session.operations();
        if !operations.have_state() {
            return Err(CKR_OPERATION_NOT_INITIALIZED.into());
        }
        let digest = operations
            .digest
            .as_ref()
            .filter(|_| !operations.uses_keys());
        let state = digest.ok_or(CKR_STATE_UNSAVEABLE)?.operation.state()?;
        Ok(Output::early(state.len(), room).unwrap_or(Output::Bytes(Secret::new(state))))
    }

    /// `C_SetOperationState`; a key handle of 0 is none.
    pub fn set_operation_state(
        &self,
        h: CK_SESSION_HANDLE,
        state: &[u8],
        encryption_key: CK_OBJECT_HANDLE,
        authentication_key: CK_OBJECT_HANDLE,
    ) -> Result<()> {
        let session = self.session(h)?;
        let operation = DigestOperation::restore(state)?;
        if encryption_key != 0 || authentication_key != 0 {
            return Err(CKR_KEY_NOT_NEEDED.into());
        }
        let mut operations = session.operations();
        operations.clear();
        operations.digest = Some(Active {
            operation,
            locked: None,
            protects: None,
        });
        Ok(())
    }
}
