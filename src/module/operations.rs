//! Encrypting, decrypting, digesting, signing and verifying.

use super::Module;
use crate::ck::*;
use crate::crypto::cipher::Direction;
use crate::error::Result;
use crate::mech::{
    CipherOperation, DigestOperation, Key, Mechanism, Output, SignOperation, VerifyOperation,
};
use crate::session::{Active, Given, Operations, end, end_with, go_on};

/// What an operation does with its key (KMIP 1.4, 3.22).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Encrypts or signs.
    Protect,
    /// Decrypts or verifies.
    Process,
}

/// Which operation of a session.
pub(super) type Slot<T> = fn(&mut Operations) -> &mut Option<Active<T>>;

impl Module {
    /// Starts an operation with a key: built whole first, so that a failure leaves nothing active. `None` for the mechanism ends one
    /// that is active (3.0); where none is, it is what it was before 3.0: `CKR_ARGUMENTS_BAD`.
    pub(super) fn start<T>(
        &self,
        h: CK_SESSION_HANDLE,
        mechanism: Option<Mechanism>,
        key: CK_OBJECT_HANDLE,
        purpose: Purpose,
        slot: Slot<T>,
        new: impl FnOnce(Mechanism, Key) -> Result<T>,
    ) -> Result<()> {
        let session = self.session(h)?;
        let mut operations = session.operations();
        let Some(mechanism) = mechanism else {
            let ended = slot(&mut operations).take();
            return Ok(ended.map(drop).ok_or(CKR_ARGUMENTS_BAD)?);
        };
        if slot(&mut operations).is_some() {
            return Err(CKR_OPERATION_ACTIVE.into());
        }
        crate::mech::entry(mechanism.kind)?;
        let key = session.mech_key(key)?;
        operations.direct = None;
        let locked = operations.wait(&key.object);
        let protects = (purpose == Purpose::Protect).then(|| key.clone());
        *slot(&mut operations) = Some(Active {
            operation: new(mechanism, key)?,
            locked,
            protects,
        });
        Ok(())
    }

    fn end<T>(
        &self,
        h: CK_SESSION_HANDLE,
        slot: Slot<T>,
        work: impl FnOnce(&mut T) -> Result<Output>,
    ) -> Result<Output> {
        end(slot(&mut self.session(h)?.operations()), work)
    }

    fn go_on<T, R: Given>(
        &self,
        h: CK_SESSION_HANDLE,
        slot: Slot<T>,
        work: impl FnOnce(&mut T) -> Result<R>,
    ) -> Result<R> {
        go_on(slot(&mut self.session(h)?.operations()), work)
    }

    /// `C_EncryptInit`; `None` (a NULL mechanism, 3.0) ends an active operation.
    pub fn encrypt_init(
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
            |o| &mut o.encrypt,
            |m, key| CipherOperation::new(Direction::Encrypt, &m, key),
        )
    }

    /// `C_Encrypt`.
    pub fn encrypt(
        &self,
        h: CK_SESSION_HANDLE,
        data: &[u8],
        room: Option<usize>,
    ) -> Result<Output> {
        self.end(h, |o| &mut o.encrypt, |op| op.run(data, room))
    }

    /// `C_EncryptUpdate`.
    pub fn encrypt_update(
        &self,
        h: CK_SESSION_HANDLE,
        part: &[u8],
        room: Option<usize>,
    ) -> Result<Output> {
        self.go_on(h, |o| &mut o.encrypt, |op| op.update(part, room))
    }

    /// `C_EncryptFinal`.
    pub fn encrypt_final(&self, h: CK_SESSION_HANDLE, room: Option<usize>) -> Result<Output> {
        self.end(h, |o| &mut o.encrypt, |op| op.finish(room))
    }

    /// `C_DecryptInit`; `None` ends an active operation.
    pub fn decrypt_init(
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
            |o| &mut o.decrypt,
            |m, key| CipherOperation::new(Direction::Decrypt, &m, key),
        )
    }

    /// `C_Decrypt`.
    pub fn decrypt(
        &self,
        h: CK_SESSION_HANDLE,
        data: &[u8],
        room: Option<usize>,
    ) -> Result<Output> {
        self.end(h, |o| &mut o.decrypt, |op| op.run(data, room))
    }

    /// `C_DecryptUpdate`.
    pub fn decrypt_update(
        &self,
        h: CK_SESSION_HANDLE,
        part: &[u8],
        room: Option<usize>,
    ) -> Result<Output> {
        self.go_on(h, |o| &mut o.decrypt, |op| op.update(part, room))
    }

    /// `C_DecryptFinal`.
    pub fn decrypt_final(&self, h: CK_SESSION_HANDLE, room: Option<usize>) -> Result<Output> {
        self.end(h, |o| &mut o.decrypt, |op| op.finish(room))
    }

    /// `C_DigestInit`; `None` ends an active operation.
    pub fn digest_init(&self, h: CK_SESSION_HANDLE, mechanism: Option<Mechanism>) -> Result<()> {
        let session = self.session(h)?;
        let mut operations = session.operations();
        let Some(mechanism) = mechanism else {
            return Ok(operations
                .digest
                .take()
                .map(drop)
                .ok_or(CKR_ARGUMENTS_BAD)?);
        };
        if operations.digest.is_some() {
            return Err(CKR_OPERATION_ACTIVE.into());
        }
        operations.digest = Some(Active {
            operation: DigestOperation::new(&mechanism)?,
            locked: None,
            protects: None,
        });
        Ok(())
    }

    /// `C_Digest`.
    pub fn digest(&self, h: CK_SESSION_HANDLE, data: &[u8], room: Option<usize>) -> Result<Output> {
        self.end(h, |o| &mut o.digest, |op| op.run(data, room))
    }

    /// `C_DigestUpdate`.
    pub fn digest_update(&self, h: CK_SESSION_HANDLE, part: &[u8]) -> Result<()> {
        self.go_on(h, |o| &mut o.digest, |op| op.update(part))
    }

    /// `C_DigestKey`.
    pub fn digest_key(&self, h: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE) -> Result<()> {
        let session = self.session(h)?;
        let mut operations = session.operations();
        if operations.digest.is_none() {
            return Err(CKR_OPERATION_NOT_INITIALIZED.into());
        }
        let key = session.mech_key(key)?;
        go_on(&mut operations.digest, |op| op.update_key(&key))
    }

    /// `C_DigestFinal`.
    pub fn digest_final(&self, h: CK_SESSION_HANDLE, room: Option<usize>) -> Result<Output> {
        self.end(h, |o| &mut o.digest, |op| op.finish(room))
    }

    /// `C_SignInit`; `None` ends an active operation.
    pub fn sign_init(
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
            |o| &mut o.sign,
            |m, key| SignOperation::new(&m, key, false),
        )
    }

    /// `C_Sign`.
    pub fn sign(&self, h: CK_SESSION_HANDLE, data: &[u8], room: Option<usize>) -> Result<Output> {
        self.end(h, |o| &mut o.sign, |op| op.run(data, room))
    }

    /// `C_SignUpdate`.
    pub fn sign_update(&self, h: CK_SESSION_HANDLE, part: &[u8]) -> Result<()> {
        self.go_on(h, |o| &mut o.sign, |op| op.update(part))
    }

    /// `C_SignFinal`.
    pub fn sign_final(&self, h: CK_SESSION_HANDLE, room: Option<usize>) -> Result<Output> {
        self.end(h, |o| &mut o.sign, |op| op.finish(room))
    }

    /// `C_SignRecoverInit`; `None` ends an active operation.
    pub fn sign_recover_init(
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
            |o| &mut o.sign_recover,
            |m, key| SignOperation::new(&m, key, true),
        )
    }

    /// `C_SignRecover`.
    pub fn sign_recover(
        &self,
        h: CK_SESSION_HANDLE,
        data: &[u8],
        room: Option<usize>,
    ) -> Result<Output> {
        self.end(h, |o| &mut o.sign_recover, |op| op.run(data, room))
    }

    /// `C_VerifyInit`; `None` ends an active operation.
    pub fn verify_init(
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
            |o| &mut o.verify,
            |m, key| VerifyOperation::new(&m, key, false),
        )
    }

    /// `C_Verify`.
    pub fn verify(&self, h: CK_SESSION_HANDLE, data: &[u8], signature: &[u8]) -> Result<()> {
        end_with(&mut self.session(h)?.operations().verify, |op| {
            op.run(data, signature)
        })
    }

    /// `C_VerifyUpdate`.
    pub fn verify_update(&self, h: CK_SESSION_HANDLE, part: &[u8]) -> Result<()> {
        self.go_on(h, |o| &mut o.verify, |op| op.update(part))
    }

    /// `C_VerifyFinal`.
    pub fn verify_final(&self, h: CK_SESSION_HANDLE, signature: &[u8]) -> Result<()> {
        end_with(&mut self.session(h)?.operations().verify, |op| {
            op.finish(signature)
        })
    }

    /// `C_VerifyRecoverInit`; `None` ends an active operation.
    pub fn verify_recover_init(
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
            |o| &mut o.verify_recover,
            |m, key| VerifyOperation::new(&m, key, true),
        )
    }

    /// `C_VerifyRecover`.
    pub fn verify_recover(
        &self,
        h: CK_SESSION_HANDLE,
        signature: &[u8],
        room: Option<usize>,
    ) -> Result<Output> {
        self.end(
            h,
            |o| &mut o.verify_recover,
            |op| op.recover(signature, room),
        )
    }

    /// `C_DigestEncryptUpdate`.
    pub fn digest_encrypt_update(
        &self,
        h: CK_SESSION_HANDLE,
        part: &[u8],
        room: Option<usize>,
    ) -> Result<Output> {
        let session = self.session(h)?;
        let mut operations = session.operations();
        operations
            .digest
            .as_ref()
            .ok_or(CKR_OPERATION_NOT_INITIALIZED)?;
        let output = go_on(&mut operations.encrypt, |op| op.update(part, room))?;
        if let Output::Bytes(_) = output {
            go_on(&mut operations.digest, |op| op.update(part))?;
        }
        Ok(output)
    }

    /// `C_DecryptDigestUpdate`.
    pub fn decrypt_digest_update(
        &self,
        h: CK_SESSION_HANDLE,
        part: &[u8],
        room: Option<usize>,
    ) -> Result<Output> {
        let session = self.session(h)?;
        let mut operations = session.operations();
        operations
            .digest
            .as_ref()
            .ok_or(CKR_OPERATION_NOT_INITIALIZED)?;
        let output = go_on(&mut operations.decrypt, |op| op.update(part, room))?;
        if let Output::Bytes(text) = &output {
            go_on(&mut operations.digest, |op| op.update(text.expose()))?;
        }
        Ok(output)
    }

    /// `C_SignEncryptUpdate`.
    pub fn sign_encrypt_update(
        &self,
        h: CK_SESSION_HANDLE,
        part: &[u8],
        room: Option<usize>,
    ) -> Result<Output> {
        let session = self.session(h)?;
        let mut operations = session.operations();
        // Before anything is encrypted: it may wait for its login.
        go_on(&mut operations.sign, |_| Ok(()))?;
        let output = go_on(&mut operations.encrypt, |op| op.update(part, room))?;
        if let Output::Bytes(_) = output {
            go_on(&mut operations.sign, |op| op.update(part))?;
        }
        Ok(output)
    }

    /// `C_DecryptVerifyUpdate`.
    pub fn decrypt_verify_update(
        &self,
        h: CK_SESSION_HANDLE,
        part: &[u8],
        room: Option<usize>,
    ) -> Result<Output> {
        let session = self.session(h)?;
        let mut operations = session.operations();
        operations
            .verify
            .as_ref()
            .ok_or(CKR_OPERATION_NOT_INITIALIZED)?;
        let output = go_on(&mut operations.decrypt, |op| op.update(part, room))?;
        if let Output::Bytes(text) = &output {
            go_on(&mut operations.verify, |op| op.update(text.expose()))?;
        }
        Ok(output)
    }
}
