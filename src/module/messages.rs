//! The message-based functions of PKCS#11 3.0.

use super::Module;
use super::operations::Purpose;
use crate::ck::{CK_OBJECT_HANDLE, CK_SESSION_HANDLE, CKR_OPERATION_NOT_INITIALIZED};
use crate::crypto::cipher::Direction;
use crate::error::Result;
use crate::mech::{
    Mechanism, MessageCipher, MessageParams, MessageSigner, MessageVerifier, Output,
};
use crate::session::{Operations, keep};

impl Module {
    /// `C_MessageEncryptInit`; `None` ends an active operation.
    pub fn message_encrypt_init(
        &self,
        h: CK_SESSION_HANDLE,
        mechanism: Option<Mechanism>,
        key: CK_OBJECT_HANDLE,
    ) -> Result<()> {
        self.start(
            h,
            mechanism,
            key,
            Purpose::Protect,
            |o| &mut o.message_encrypt,
            |m, key| MessageCipher::new(Direction::Encrypt, &m, key),
        )
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
        keep(&mut self.session(h)?.operations().message_encrypt, |op| {
            op.run(params, aad, data, room)
        })
    }

    /// `C_EncryptMessageBegin`.
    pub fn encrypt_message_begin(
        &self,
        h: CK_SESSION_HANDLE,
        params: &mut MessageParams,
        aad: &[u8],
    ) -> Result<()> {
        keep(&mut self.session(h)?.operations().message_encrypt, |op| {
            op.begin(params, aad)
        })
    }

    /// `C_EncryptMessageNext`; `end` is `CKF_END_OF_MESSAGE`.
    pub fn encrypt_message_next(
        &self,
        h: CK_SESSION_HANDLE,
        params: &mut MessageParams,
        part: &[u8],
        room: Option<usize>,
        end: bool,
    ) -> Result<Output> {
        keep(&mut self.session(h)?.operations().message_encrypt, |op| {
            op.next(params, part, room, end)
        })
    }

    /// `C_MessageEncryptFinal`.
    pub fn message_encrypt_final(&self, h: CK_SESSION_HANDLE) -> Result<()> {
        Ok(self
            .session(h)?
            .operations()
            .message_encrypt
            .take()
            .map(drop)
            .ok_or(CKR_OPERATION_NOT_INITIALIZED)?)
    }

    /// `C_MessageDecryptInit`; `None` ends an active operation.
    pub fn message_decrypt_init(
        &self,
        h: CK_SESSION_HANDLE,
        mechanism: Option<Mechanism>,
        key: CK_OBJECT_HANDLE,
    ) -> Result<()> {
        self.start(
            h,
            mechanism,
            key,
            Purpose::Process,
            |o| &mut o.message_decrypt,
            |m, key| MessageCipher::new(Direction::Decrypt, &m, key),
        )
    }

    /// `C_DecryptMessage`.
    pub fn decrypt_message(
        &self,
        h: CK_SESSION_HANDLE,
        params: &mut MessageParams,
        aad: &[u8],
        data: &[u8],
        room: Option<usize>,
    ) -> Result<Output> {
        keep(&mut self.session(h)?.operations().message_decrypt, |op| {
            op.run(params, aad, data, room)
        })
    }

    /// `C_DecryptMessageBegin`.
    pub fn decrypt_message_begin(
        &self,
        h: CK_SESSION_HANDLE,
        params: &mut MessageParams,
        aad: &[u8],
    ) -> Result<()> {
        keep(&mut self.session(h)?.operations().message_decrypt, |op| {
            op.begin(params, aad)
        })
    }

    /// `C_DecryptMessageNext`; `end` is `CKF_END_OF_MESSAGE`.
    pub fn decrypt_message_next(
        &self,
        h: CK_SESSION_HANDLE,
        params: &mut MessageParams,
        part: &[u8],
        room: Option<usize>,
        end: bool,
    ) -> Result<Output> {
        keep(&mut self.session(h)?.operations().message_decrypt, |op| {
            op.next(params, part, room, end)
        })
    }

    /// `C_MessageDecryptFinal`.
    pub fn message_decrypt_final(&self, h: CK_SESSION_HANDLE) -> Result<()> {
        Ok(self
            .session(h)?
            .operations()
            .message_decrypt
            .take()
            .map(drop)
            .ok_or(CKR_OPERATION_NOT_INITIALIZED)?)
    }

    /// `C_MessageSignInit`; `None` ends an active operation.
    pub fn message_sign_init(
        &self,
        h: CK_SESSION_HANDLE,
        mechanism: Option<Mechanism>,
        key: CK_OBJECT_HANDLE,
    ) -> Result<()> {
        self.start(
            h,
            mechanism,
            key,
            Purpose::Protect,
            |o| &mut o.message_sign,
            MessageSigner::new,
        )
    }

    /// `C_SignMessage`.
    pub fn sign_message(
        &self,
        h: CK_SESSION_HANDLE,
        data: &[u8],
        room: Option<usize>,
    ) -> Result<Output> {
        let session = self.session(h)?;
        let mut operations = session.operations();
        let output = keep(&mut operations.message_sign, |op| op.run(data, room));
        if !matches!(output, Ok(Output::Length(_) | Output::TooSmall(_))) {
            lock_again(&mut operations);
        }
        output
    }

    /// `C_SignMessageBegin`.
    pub fn sign_message_begin(&self, h: CK_SESSION_HANDLE) -> Result<()> {
        keep(
            &mut self.session(h)?.operations().message_sign,
            MessageSigner::begin,
        )
    }

    /// `C_SignMessageNext`; an outer `None` (a NULL length pointer) says that more parts follow.
    pub fn sign_message_next(
        &self,
        h: CK_SESSION_HANDLE,
        part: &[u8],
        room: Option<Option<usize>>,
    ) -> Result<Option<Output>> {
        let session = self.session(h)?;
        let mut operations = session.operations();
        let output = keep(&mut operations.message_sign, |op| op.next(part, room));
        if !matches!(
            output,
            Ok(None | Some(Output::Length(_) | Output::TooSmall(_)))
        ) {
            lock_again(&mut operations);
        }
        output
    }

    /// `C_MessageSignFinal`.
    pub fn message_sign_final(&self, h: CK_SESSION_HANDLE) -> Result<()> {
        Ok(self
            .session(h)?
            .operations()
            .message_sign
            .take()
            .map(drop)
            .ok_or(CKR_OPERATION_NOT_INITIALIZED)?)
    }

    /// `C_MessageVerifyInit`; `None` ends an active operation.
    pub fn message_verify_init(
        &self,
        h: CK_SESSION_HANDLE,
        mechanism: Option<Mechanism>,
        key: CK_OBJECT_HANDLE,
    ) -> Result<()> {
        self.start(
            h,
            mechanism,
            key,
            Purpose::Process,
            |o| &mut o.message_verify,
            MessageVerifier::new,
        )
    }

    /// `C_VerifyMessage`.
    pub fn verify_message(
        &self,
        h: CK_SESSION_HANDLE,
        data: &[u8],
        signature: &[u8],
    ) -> Result<()> {
        keep(&mut self.session(h)?.operations().message_verify, |op| {
            op.run(data, signature)
        })
    }

    /// `C_VerifyMessageBegin`.
    pub fn verify_message_begin(&self, h: CK_SESSION_HANDLE) -> Result<()> {
        keep(
            &mut self.session(h)?.operations().message_verify,
            MessageVerifier::begin,
        )
    }

    /// `C_VerifyMessageNext`; a `None` signature says that more parts follow.
    pub fn verify_message_next(
        &self,
        h: CK_SESSION_HANDLE,
        part: &[u8],
        signature: Option<&[u8]>,
    ) -> Result<()> {
        keep(&mut self.session(h)?.operations().message_verify, |op| {
            op.next(part, signature)
        })
    }

    /// `C_MessageVerifyFinal`.
    pub fn message_verify_final(&self, h: CK_SESSION_HANDLE) -> Result<()> {
        Ok(self
            .session(h)?
            .operations()
            .message_verify
            .take()
            .map(drop)
            .ok_or(CKR_OPERATION_NOT_INITIALIZED)?)
    }
}

/// A signature that was made, and one that failed, uses up the login that its key wants.
fn lock_again(operations: &mut Operations) {
    if let Some(mut active) = operations.message_sign.take() {
        active.locked = operations.wait(active.operation.key());
        operations.message_sign = Some(active);
    }
}
