//! A session: its token, its rights, and the operations that are active in it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::ck::*;
use crate::error::Result;
use crate::mech::{
    CipherOperation, DigestOperation, Key, MessageCipher, MessageSigner, MessageVerifier, Output,
    SignOperation, VerifyOperation,
};
use crate::token::object::Object;
use crate::token::template::Rights;
use crate::token::{Login, Token, lock};

/// A session. What never changes is outside the lock, so that a session that is busy on the network answers about itself.
pub struct Session {
    /// Its handle.
    pub handle: CK_SESSION_HANDLE,
    /// The slot it was opened on.
    pub slot: CK_SLOT_ID,
    /// The token in that slot.
    pub token: Arc<Token>,
    /// Whether it is read/write.
    pub write: bool,
    operations: Mutex<Operations>,
}

/// What is going on in a session. Operations of different kinds may be active together (5.6.1).
#[derive(Default)]
pub struct Operations {
    /// Handles found and not yet fetched.
    pub find: Option<VecDeque<CK_OBJECT_HANDLE>>,
    /// `C_Encrypt*`.
    pub encrypt: Option<Active<CipherOperation>>,
    /// `C_Decrypt*`.
    pub decrypt: Option<Active<CipherOperation>>,
    /// `C_Digest*`.
    pub digest: Option<Active<DigestOperation>>,
    /// `C_Sign*`.
    pub sign: Option<Active<SignOperation>>,
    /// `C_SignRecover`.
    pub sign_recover: Option<Active<SignOperation>>,
    /// `C_Verify*`.
    pub verify: Option<Active<VerifyOperation>>,
    /// `C_VerifyRecover`.
    pub verify_recover: Option<Active<VerifyOperation>>,
    /// `C_EncryptMessage*`.
    pub message_encrypt: Option<Active<MessageCipher>>,
    /// `C_DecryptMessage*`.
    pub message_decrypt: Option<Active<MessageCipher>>,
    /// `C_SignMessage*`.
    pub message_sign: Option<Active<MessageSigner>>,
    /// `C_VerifyMessage*`.
    pub message_verify: Option<Active<MessageVerifier>>,
    /// `C_WrapKey`, `C_UnwrapKey` or `C_DeriveKey` with a key that wants a login for each use.
    pub direct: Option<Direct>,
    /// How many uses of keys have waited for a login.
    waits: u64,
}

/// An active operation.
pub struct Active<T> {
    /// The operation.
    pub operation: T,
    /// Which of the session's waits this is, until the user logs in for it (`CKA_ALWAYS_AUTHENTICATE`).
    pub locked: Option<u64>,
    /// The key that protects data in it, if one does.
    pub protects: Option<Key>,
}

/// A result of a call.
pub trait Given {
    /// Whether something is given out that was encrypted or signed.
    fn is_given(&self) -> bool;
}

impl Given for () {
    fn is_given(&self) -> bool {
        false
    }
}

impl Given for Output {
    fn is_given(&self) -> bool {
        matches!(self, Output::Bytes(bytes) if !bytes.is_empty())
    }
}

impl Given for Option<Output> {
    fn is_given(&self) -> bool {
        self.as_ref().is_some_and(Given::is_given)
    }
}

/// The functions that use a key without a `C_*Init` after which the user could log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// `C_WrapKey`.
    Wrap,
    /// `C_UnwrapKey`.
    Unwrap,
    /// `C_DeriveKey`.
    Derive,
}

/// A call that failed for want of a login. The next call of the same function with the same keys succeeds after it.
pub struct Direct {
    function: Function,
    keys: Vec<CK_OBJECT_HANDLE>,
    locked: Option<u64>,
}

/// The operation in `slot`. `CKR_OPERATION_NOT_INITIALIZED` when there is none, `CKR_USER_NOT_LOGGED_IN` when it waits for its login.
///
/// It is out of its slot while `call` works with it, so that a panic leaves none behind, and goes back when `stays` says so of the
/// result. An operation may last: nothing is given out that a key protects which may no longer do that.
fn call<T, R: Given>(
    slot: &mut Option<Active<T>>,
    call: impl FnOnce(&mut T) -> Result<R>,
    stays: impl FnOnce(&Result<R>) -> bool,
) -> Result<R> {
    let mut active = slot.take().ok_or(CKR_OPERATION_NOT_INITIALIZED)?;
    let result = if active.locked.is_some() {
        Err(CKR_USER_NOT_LOGGED_IN.into())
    } else {
        call(&mut active.operation).and_then(|result| match &active.protects {
            Some(key) if result.is_given() => still_protects(key).map(|()| result),
            _ => Ok(result),
        })
    };
    if stays(&result) {
        *slot = Some(active);
    }
    result
}

/// Whether a key may protect data, in the words of functions that go on with an operation: their lists foresee no other answer.
fn still_protects(key: &Key) -> Result<()> {
    key.token
        .check_protects(&key.object)
        .map_err(|e| match e.rv() {
            CKR_KEY_FUNCTION_NOT_PERMITTED | CKR_KEY_HANDLE_INVALID => {
                e.with_rv(CKR_FUNCTION_FAILED)
            }
            _ => e,
        })
}

/// A call that ends the operation, unless it only told a length.
pub fn end<T>(
    slot: &mut Option<Active<T>>,
    work: impl FnOnce(&mut T) -> Result<Output>,
) -> Result<Output> {
    call(slot, work, |result| {
        matches!(result, Ok(Output::Length(_) | Output::TooSmall(_)))
    })
}

/// A call that ends the operation.
pub fn end_with<T, R: Given>(
    slot: &mut Option<Active<T>>,
    work: impl FnOnce(&mut T) -> Result<R>,
) -> Result<R> {
    call(slot, work, |_| false)
}

/// A call after which the operation goes on; an error ends it.
pub fn go_on<T, R: Given>(
    slot: &mut Option<Active<T>>,
    work: impl FnOnce(&mut T) -> Result<R>,
) -> Result<R> {
    call(slot, work, Result::is_ok)
}

/// A call after which the operation goes on whatever came of it: one message fails, others follow.
pub fn keep<T, R: Given>(
    slot: &mut Option<Active<T>>,
    work: impl FnOnce(&mut T) -> Result<R>,
) -> Result<R> {
    call(slot, work, |_| true)
}

impl Operations {
    /// True when one of the operations is active whose state the standard has saved (5.6.6).
    pub fn have_state(&self) -> bool {
        let Operations {
            encrypt,
            decrypt,
            digest,
            sign,
            verify,
            ..
        } = self;
        encrypt.is_some()
            || decrypt.is_some()
            || digest.is_some()
            || sign.is_some()
            || verify.is_some()
    }

    /// True when a cryptographic operation other than a digest is active.
    pub fn uses_keys(&self) -> bool {
        let Operations {
            encrypt,
            decrypt,
            sign,
            sign_recover,
            verify,
            verify_recover,
            ..
        } = self;
        let Operations {
            message_encrypt,
            message_decrypt,
            message_sign,
            message_verify,
            ..
        } = self;
        encrypt.is_some()
            || decrypt.is_some()
            || sign.is_some()
            || sign_recover.is_some()
            || verify.is_some()
            || verify_recover.is_some()
            || message_encrypt.is_some()
            || message_decrypt.is_some()
            || message_sign.is_some()
            || message_verify.is_some()
    }

    /// Ends all.
    pub fn clear(&mut self) {
        *self = Operations::default();
    }

    /// Ends those that `flags` name (`C_SessionCancel`).
    pub fn cancel(&mut self, flags: CK_FLAGS) {
        let named = |flag| flags & flag != 0;
        if named(CKF_FIND_OBJECTS) {
            self.find = None;
        }
        if named(CKF_ENCRYPT) {
            self.encrypt = None;
        }
        if named(CKF_DECRYPT) {
            self.decrypt = None;
        }
        if named(CKF_DIGEST) {
            self.digest = None;
        }
        if named(CKF_SIGN) {
            self.sign = None;
        }
        if named(CKF_SIGN_RECOVER) {
            self.sign_recover = None;
        }
        if named(CKF_VERIFY) {
            self.verify = None;
        }
        if named(CKF_VERIFY_RECOVER) {
            self.verify_recover = None;
        }
        if named(CKF_MESSAGE_ENCRYPT) {
            self.message_encrypt = None;
        }
        if named(CKF_MESSAGE_DECRYPT) {
            self.message_decrypt = None;
        }
        if named(CKF_MESSAGE_SIGN) {
            self.message_sign = None;
        }
        if named(CKF_MESSAGE_VERIFY) {
            self.message_verify = None;
        }
    }

    /// The number of a use of a key that begins to wait for a login, if the key wants one.
    pub fn wait(&mut self, key: &Object) -> Option<u64> {
        self.waits += 1;
        key.wants_login().then_some(self.waits)
    }

    /// Lets a function use keys: once, after the user has logged in for it, where one of them wants that. Without the login
    /// `CKR_USER_NOT_LOGGED_IN`, and the call waits for it. Returns what was used up.
    pub fn allow(&mut self, function: Function, keys: &[&Object]) -> Result<Option<Direct>> {
        let before = self.direct.take();
        let keys: Vec<_> = keys.iter().filter(|key| key.wants_login()).collect();
        let Some(first) = keys.first() else {
            return Ok(None);
        };
        let locked = self.wait(first);
        let keys = keys.iter().map(|key| key.handle).collect();
        match before {
            Some(direct)
                if direct.locked.is_none()
                    && direct.function == function
                    && direct.keys == keys =>
            {
                Ok(Some(direct))
            }
            _ => {
                self.direct = Some(Direct {
                    function,
                    keys,
                    locked,
                });
                Err(CKR_USER_NOT_LOGGED_IN.into())
            }
        }
    }

    fn locks(&mut self) -> [Option<&mut Option<u64>>; 6] {
        [
            self.decrypt.as_mut().map(|a| &mut a.locked),
            self.sign.as_mut().map(|a| &mut a.locked),
            self.sign_recover.as_mut().map(|a| &mut a.locked),
            self.message_decrypt.as_mut().map(|a| &mut a.locked),
            self.message_sign.as_mut().map(|a| &mut a.locked),
            self.direct.as_mut().map(|direct| &mut direct.locked),
        ]
    }

    /// The use of a key that the user logs in for: of those that wait the last, for the login follows it immediately (4.9).
    fn waiting(&mut self) -> Option<&mut Option<u64>> {
        self.locks()
            .into_iter()
            .flatten()
            .filter(|locked| locked.is_some())
            .max_by_key(|locked| **locked)
    }

    /// True when a use of a key waits for a context-specific login.
    pub fn wants_context_login(&mut self) -> bool {
        self.waiting().is_some()
    }

    /// The user has logged in for the use that waits.
    pub fn context_login(&mut self) {
        if let Some(locked) = self.waiting() {
            *locked = None;
        }
    }
}

impl Session {
    /// A session without operations.
    pub fn new(
        handle: CK_SESSION_HANDLE,
        slot: CK_SLOT_ID,
        token: Arc<Token>,
        write: bool,
    ) -> Session {
        Session {
            handle,
            slot,
            token,
            write,
            operations: Mutex::default(),
        }
    }

    /// Its operations; one call at a time works on a session, and this lock is the only one held over the network.
    pub fn operations(&self) -> MutexGuard<'_, Operations> {
        lock(&self.operations)
    }

    /// What it may do now.
    pub fn rights(&self) -> Rights {
        self.token.rights(self.write)
    }

    /// `CKS_*`: login belongs to the token, so that all its sessions change state together (5.6).
    pub fn state(&self) -> CK_STATE {
        match (self.token.login_state(), self.write) {
            (Login::Public, false) => CKS_RO_PUBLIC_SESSION,
            (Login::Public, true) => CKS_RW_PUBLIC_SESSION,
            (Login::User, false) => CKS_RO_USER_FUNCTIONS,
            (Login::User, true) => CKS_RW_USER_FUNCTIONS,
            // A read-only session of the SO cannot exist.
            (Login::So, _) => CKS_RW_SO_FUNCTIONS,
        }
    }

    /// An object that the session sees. `CKR_OBJECT_HANDLE_INVALID` for any other.
    pub fn object(&self, handle: CK_OBJECT_HANDLE) -> Result<Arc<Object>> {
        self.token.object(handle, self.rights())
    }

    /// A key that the session sees, for a mechanism.
    pub fn mech_key(&self, handle: CK_OBJECT_HANDLE) -> Result<Key> {
        Ok(Key {
            token: self.token.clone(),
            object: self.key(handle)?,
        })
    }

    /// A key that the session sees. `CKR_KEY_HANDLE_INVALID` for anything else.
    pub fn key(&self, handle: CK_OBJECT_HANDLE) -> Result<Arc<Object>> {
        let object = self.object(handle).map_err(|e| match e.rv() {
            CKR_OBJECT_HANDLE_INVALID => e.with_rv(CKR_KEY_HANDLE_INVALID),
            _ => e,
        })?;
        match object.attributes.class() {
            CKO_SECRET_KEY | CKO_PUBLIC_KEY | CKO_PRIVATE_KEY => Ok(object),
            _ => Err(CKR_KEY_HANDLE_INVALID.into()),
        }
    }
}
