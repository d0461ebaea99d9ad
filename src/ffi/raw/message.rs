//! Parameters of single messages (PKCS#11 3.0): structures that are read, and into which the token writes what it made.

use std::ffi::c_void;

use crate::ck::*;
use crate::error::Result;
use crate::mech::{MessageForm, MessageParams};

use super::mechanism::{Parameter, bytes, poly1305_nonce};
use super::{Plain, Ptr, unless_memory};

/// Longest tag in bytes.
const MAX_TAG: CK_ULONG = 64;

plain!(
    CK_GCM_MESSAGE_PARAMS,
    CK_CCM_MESSAGE_PARAMS,
    CK_SALSA20_CHACHA20_POLY1305_MSG_PARAMS
);

/// Where the token's part of a message's parameter goes.
pub struct MessageParameter<'a> {
    iv: Ptr<'a, CK_BYTE>,
    iv_len: usize,
    tag: Ptr<'a, CK_BYTE>,
    tag_len: usize,
}

impl<'a> Ptr<'a, c_void> {
    /// The parameter of a message, and where to write back what the token makes. A size that none of the structures has is
    /// `CKR_MECHANISM_PARAM_INVALID`.
    pub fn message(self, len: CK_ULONG) -> Result<(MessageParams, MessageParameter<'a>)> {
        read(Parameter { at: self, len }).map_err(|e| unless_memory(e, CKR_MECHANISM_PARAM_INVALID))
    }

    /// The parameter of a message to sign: no mechanism has one. What is given must be a buffer, and is not looked at.
    pub fn no_message(self, len: CK_ULONG) -> Result<()> {
        self.cast::<CK_BYTE>().bytes(len).map(drop)
    }
}

/// The structures differ in size, so the size says which it is.
fn read(at: Parameter<'_>) -> Result<(MessageParams, MessageParameter<'_>)> {
    let (params, iv, tag) = if at.len == 0 {
        (
            MessageParams::default(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        )
    } else if at.has_size_of::<CK_GCM_MESSAGE_PARAMS>() {
        let p: CK_GCM_MESSAGE_PARAMS = at.read()?;
        let params = MessageParams {
            form: MessageForm::Gcm,
            iv: bytes(p.pIv, p.ulIvLen)?,
            iv_fixed_bits: p.ulIvFixedBits,
            generator: p.ivGenerator,
            tag_bits: p.ulTagBits,
            tag: tag(p.pTag, p.ulTagBits.div_ceil(8))?,
            data_len: 0,
        };
        (params, p.pIv, p.pTag)
    } else if at.has_size_of::<CK_CCM_MESSAGE_PARAMS>() {
        let p: CK_CCM_MESSAGE_PARAMS = at.read()?;
        let params = MessageParams {
            form: MessageForm::Ccm,
            iv: bytes(p.pNonce, p.ulNonceLen)?,
            iv_fixed_bits: p.ulNonceFixedBits,
            generator: p.nonceGenerator,
            tag_bits: p.ulMACLen.saturating_mul(8),
            tag: tag(p.pMAC, p.ulMACLen)?,
            data_len: p.ulDataLen,
        };
        (params, p.pNonce, p.pMAC)
    } else {
        let p: CK_SALSA20_CHACHA20_POLY1305_MSG_PARAMS = at.read()?;
        let params = MessageParams {
            form: MessageForm::ChaCha20Poly1305,
            iv: poly1305_nonce(p.pNonce, p.ulNonceLen)?,
            tag_bits: 128,
            tag: tag(p.pTag, 16)?,
            ..MessageParams::default()
        };
        (params, p.pNonce, p.pTag)
    };
    let (iv_len, tag_len) = (params.iv.len(), params.tag.len());
    Ok((
        params,
        MessageParameter {
            iv: Ptr::new(iv),
            iv_len,
            tag: Ptr::new(tag),
            tag_len,
        },
    ))
}

/// A tag where it lies. NULL is none: there is not yet a place for it.
fn tag(at: *mut CK_BYTE, len: CK_ULONG) -> Result<Vec<u8>> {
    match len {
        _ if at.is_null() => Ok(Vec::new()),
        0..=MAX_TAG => bytes(at, len),
        _ => Err(CKR_MECHANISM_PARAM_INVALID)?,
    }
}

impl MessageParameter<'_> {
    /// Writes what the token made, IV and tag, each into the room it was given.
    pub fn put(self, made: &MessageParams) -> Result<()> {
        self.iv
            .write_bytes(made.iv.get(..self.iv_len).unwrap_or(&made.iv))?;
        self.tag
            .write_bytes(made.tag.get(..self.tag_len).unwrap_or(&made.tag))
    }
}
