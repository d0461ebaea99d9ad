//! One key, many messages, each with a parameter of its own: the message-based functions of PKCS#11 3.0.

use super::table::{Mode, Work, serving};
use super::{
    CipherOperation, Key, Mechanism, MessageForm, MessageParams, Output, Params, SignOperation,
    VerifyOperation,
};
use crate::ck::*;
use crate::crypto::cipher::Direction;
use crate::crypto::rng;
use crate::error::{Error, Result};
use crate::secret::{Secret, reserve};
use crate::token::object::Object;

/// Room for whatever there is: lengths are checked before.
const ALL: Option<usize> = Some(usize::MAX);

/// What `C_MessageEncryptInit` or `C_MessageDecryptInit` begins. Ciphertext and plaintext are of one length; the tag stands in the
/// parameter.
pub struct MessageCipher {
    direction: Direction,
    kind: CK_MECHANISM_TYPE,
    work: Work,
    key: Key,
    usage: CK_ATTRIBUTE_TYPE,
    ivs: Ivs,
    /// A message in parts.
    message: Option<Parts>,
}

struct Parts {
    operation: CipherOperation,
    tag_len: usize,
    /// Bytes that went in and have not come out.
    held: usize,
}

impl MessageCipher {
    /// Checks the mechanism and the key; the parameters come with the messages.
    pub fn new(direction: Direction, mechanism: &Mechanism, key: Key) -> Result<MessageCipher> {
        let (function, usage) = match direction {
            Direction::Encrypt => (CKF_MESSAGE_ENCRYPT, CKA_ENCRYPT),
            Direction::Decrypt => (CKF_MESSAGE_DECRYPT, CKA_DECRYPT),
        };
        let work = serving(mechanism.kind, function)?.work;
        match work {
            Work::Cipher(key_type, _)
                if key.class() == CKO_SECRET_KEY && key.key_type() == key_type => {}
            _ => return Err(CKR_KEY_TYPE_INCONSISTENT.into()),
        }
        key.check(mechanism.kind, usage)?;
        Ok(MessageCipher {
            direction,
            kind: mechanism.kind,
            work,
            key,
            usage,
            ivs: Ivs::new()?,
            message: None,
        })
    }

    /// A message at once: `C_EncryptMessage`, `C_DecryptMessage`.
    pub fn run(
        &mut self,
        params: &mut MessageParams,
        aad: &[u8],
        data: &[u8],
        room: Option<usize>,
    ) -> Result<Output> {
        self.idle()?;
        if let Some(output) = Output::early(data.len(), room) {
            return Ok(output);
        }
        let tag_len = tag_len(params)?;
        let mut operation = self.operation(params, aad)?;
        match self.direction {
            Direction::Encrypt => split(bytes(operation.run(data, ALL)?)?, tag_len, params),
            Direction::Decrypt => {
                let whole = Secret::new([data, &params.tag].concat());
                operation.run(whole.expose(), ALL).map_err(forged)
            }
        }
    }

    /// A message in parts: `C_EncryptMessageBegin`, `C_DecryptMessageBegin`.
    pub fn begin(&mut self, params: &mut MessageParams, aad: &[u8]) -> Result<()> {
        self.idle()?;
        let tag_len = (params.tag_bits / 8) as usize;
        self.message = Some(Parts {
            operation: self.operation(params, aad)?,
            tag_len,
            held: 0,
        });
        Ok(())
    }

    /// The next part: `C_EncryptMessageNext`, `C_DecryptMessageNext`. With `end` the tag is made, or checked.
    pub fn next(
        &mut self,
        params: &mut MessageParams,
        part: &[u8],
        room: Option<usize>,
        end: bool,
    ) -> Result<Output> {
        let mut message = self.message.take().ok_or(CKR_OPERATION_NOT_INITIALIZED)?;
        let early = if end {
            Output::early(message.held + part.len(), room)
        } else {
            None
        };
        let output = match early {
            Some(output) => output,
            None if end => return self.last(message, params, part),
            None => message.operation.update(part, room)?,
        };
        if let Output::Bytes(bytes) = &output {
            message.held = message.held + part.len() - bytes.len();
        }
        self.message = Some(message);
        Ok(output)
    }

    fn last(
        &mut self,
        mut message: Parts,
        params: &mut MessageParams,
        part: &[u8],
    ) -> Result<Output> {
        if params.tag.len() != message.tag_len {
            return Err(CKR_MECHANISM_PARAM_INVALID.into());
        }
        let first = bytes(message.operation.update(part, ALL)?)?;
        let middle = match self.direction {
            Direction::Encrypt => Secret::default(),
            Direction::Decrypt => bytes(message.operation.update(&params.tag, ALL)?)?,
        };
        let last = bytes(message.operation.finish(ALL).map_err(forged)?)?;
        let whole = Secret::new([first.expose(), middle.expose(), last.expose()].concat());
        match self.direction {
            Direction::Encrypt => split(whole, message.tag_len, params),
            Direction::Decrypt => Ok(Output::Bytes(whole)),
        }
    }

    fn idle(&self) -> Result<()> {
        if self.message.is_some() {
            Err(CKR_OPERATION_ACTIVE.into())
        } else {
            Ok(())
        }
    }

    /// The operation of one message, whose IV is made first where the application wants that.
    fn operation(&mut self, params: &mut MessageParams, aad: &[u8]) -> Result<CipherOperation> {
        let form = match self.work {
            Work::Cipher(_, Mode::Gcm) => MessageForm::Gcm,
            Work::Cipher(_, Mode::Ccm) => MessageForm::Ccm,
            _ => MessageForm::ChaCha20Poly1305,
        };
        if params.form != form || !params.tag_bits.is_multiple_of(8) {
            return Err(CKR_MECHANISM_PARAM_INVALID.into());
        }
        if self.direction == Direction::Encrypt {
            self.ivs.make(params)?;
        }
        let (iv, aad) = (params.iv.clone(), reserve::copy(aad)?);
        let params = match self.work {
            Work::Cipher(_, Mode::Gcm) => Params::Gcm {
                iv,
                iv_bits: 0,
                aad,
                tag_bits: params.tag_bits,
            },
            Work::Cipher(_, Mode::Ccm) => Params::Ccm {
                data_len: params.data_len,
                nonce: iv,
                aad,
                mac_len: params.tag_bits / 8,
            },
            Work::Cipher(_, Mode::Poly1305) => Params::ChaCha20Poly1305 { nonce: iv, aad },
            _ => return Err(CKR_MECHANISM_INVALID.into()),
        };
        let mechanism = Mechanism {
            kind: self.kind,
            params,
        };
        CipherOperation::for_usage(
            self.direction,
            self.work,
            &mechanism,
            self.key.clone(),
            self.usage,
        )
    }
}

/// Length of the tag in bytes, for which the parameter has a place.
fn tag_len(params: &MessageParams) -> Result<usize> {
    let len = params.tag.len();
    if params.tag_bits == 8 * len as CK_ULONG {
        Ok(len)
    } else {
        Err(CKR_MECHANISM_PARAM_INVALID.into())
    }
}

/// Moves the tag from the end of a result to the parameter.
fn split(whole: Secret, tag_len: usize, params: &mut MessageParams) -> Result<Output> {
    let (text, tag) = whole
        .expose()
        .split_at_checked(whole.len().wrapping_sub(tag_len))
        .ok_or(CKR_FUNCTION_FAILED)?;
    params.tag = tag.to_vec();
    Ok(Output::Bytes(Secret::new(reserve::copy(text)?)))
}

fn bytes(output: Output) -> Result<Secret> {
    match output {
        Output::Bytes(bytes) => Ok(bytes),
        _ => Err(CKR_FUNCTION_FAILED.into()),
    }
}

/// The message-based functions have their own value for a tag that is not right.
fn forged(error: Error) -> Error {
    if error.rv() == CKR_ENCRYPTED_DATA_INVALID {
        error.with_rv(CKR_AEAD_DECRYPT_FAILED)
    } else {
        error
    }
}

/// IVs made here.
struct Ivs {
    /// The next counter. It begins anywhere: two operations with one key must not count through the same IVs.
    counter: u64,
    made: u64,
    /// The application's IV that numbers are combined with: the first it gave, for it may leave the last one made in its place.
    base: Option<Vec<u8>>,
}

impl Ivs {
    fn new() -> Result<Ivs> {
        let mut start = [0; 8];
        rng::fill(&mut start)?;
        Ok(Ivs {
            counter: u64::from_le_bytes(start),
            made: 0,
            base: None,
        })
    }

    /// Makes the bits of the IV that the application did not fix, as it wishes (`CKG_*`).
    fn make(&mut self, params: &mut MessageParams) -> Result<()> {
        let len = params.iv.len();
        let free = (8 * len as CK_ULONG).saturating_sub(params.iv_fixed_bits);
        if params.generator == CKG_GENERATE_COUNTER_XOR
            && self.base.as_ref().is_none_or(|base| base.len() != len)
        {
            self.base = Some(params.iv.clone());
        }
        let mut made = vec![0; len];
        match params.generator {
            CKG_NO_GENERATE => return Ok(()),
            _ if free == 0 => return Err(CKR_MECHANISM_PARAM_INVALID.into()),
            CKG_GENERATE | CKG_GENERATE_RANDOM => rng::fill(&mut made)?,
            CKG_GENERATE_COUNTER => {
                put_at_end(&mut made, self.counter.wrapping_add(self.count(free)?))
            }
            // TLS 1.3: the application's own IV and the number of the record.
            CKG_GENERATE_COUNTER_XOR => {
                put_at_end(&mut made, self.count(free)?);
                let base = self.base.as_deref().unwrap_or_default();
                made.iter_mut()
                    .zip(base)
                    .for_each(|(made, base)| *made ^= base);
            }
            _ => return Err(CKR_MECHANISM_PARAM_INVALID.into()),
        }
        let fixed = params.iv_fixed_bits as usize;
        for (i, (byte, made)) in params.iv.iter_mut().zip(made).enumerate() {
            let mask = (0xff_u16 >> fixed.saturating_sub(8 * i).min(8)) as u8;
            *byte = *byte & !mask | made & mask;
        }
        Ok(())
    }

    /// How many were counted so far. `CKR_MECHANISM_PARAM_INVALID` when `free` bits have room for no more.
    fn count(&mut self, free: CK_ULONG) -> Result<u64> {
        let count = self.made;
        if count == u64::MAX || free < 64 && count >> free != 0 {
            return Err(CKR_MECHANISM_PARAM_INVALID.into());
        }
        self.made += 1;
        Ok(count)
    }
}

/// Writes a number, most significant byte first, to the end of `bytes`.
fn put_at_end(bytes: &mut [u8], number: u64) {
    for (byte, digit) in bytes.iter_mut().rev().zip(number.to_le_bytes()) {
        *byte = digit;
    }
}

/// What `C_MessageSignInit` begins.
pub struct MessageSigner {
    mechanism: Mechanism,
    key: Key,
    /// The operation of the next message, when it is made already.
    ready: Option<SignOperation>,
    /// A message in parts.
    message: Option<SignOperation>,
}

impl MessageSigner {
    /// The key that signs.
    pub fn key(&self) -> &Object {
        &self.key.object
    }

    /// Checks the mechanism, its parameter and the key.
    pub fn new(mechanism: Mechanism, key: Key) -> Result<MessageSigner> {
        serving(mechanism.kind, CKF_MESSAGE_SIGN)?;
        let ready = Some(SignOperation::new(&mechanism, key.clone(), false)?);
        Ok(MessageSigner {
            mechanism,
            key,
            ready,
            message: None,
        })
    }

    fn ready(&mut self) -> Result<SignOperation> {
        if self.message.is_some() {
            return Err(CKR_OPERATION_ACTIVE.into());
        }
        self.ready.take().map_or_else(
            || SignOperation::new(&self.mechanism, self.key.clone(), false),
            Ok,
        )
    }

    /// A message at once: `C_SignMessage`.
    pub fn run(&mut self, data: &[u8], room: Option<usize>) -> Result<Output> {
        let mut operation = self.ready()?;
        let output = operation.run(data, room)?;
        if !matches!(output, Output::Bytes(_)) {
            self.ready = Some(operation);
        }
        Ok(output)
    }

    /// A message in parts: `C_SignMessageBegin`.
    pub fn begin(&mut self) -> Result<()> {
        self.message = Some(self.ready()?);
        Ok(())
    }

    /// The next part: `C_SignMessageNext`; the last when there is an outer `room`.
    pub fn next(&mut self, part: &[u8], room: Option<Option<usize>>) -> Result<Option<Output>> {
        let mut message = self.message.take().ok_or(CKR_OPERATION_NOT_INITIALIZED)?;
        let output = match room.map(|room| (Output::early(message.len(), room), room)) {
            None => {
                message.update(part)?;
                None
            }
            Some((Some(output), _)) => Some(output),
            Some((None, room)) => {
                message.update(part)?;
                return message.finish(room).map(Some);
            }
        };
        self.message = Some(message);
        Ok(output)
    }
}

/// What `C_MessageVerifyInit` begins.
pub struct MessageVerifier {
    mechanism: Mechanism,
    key: Key,
    /// A message in parts.
    message: Option<VerifyOperation>,
}

impl MessageVerifier {
    /// Checks the mechanism, its parameter and the key.
    pub fn new(mechanism: Mechanism, key: Key) -> Result<MessageVerifier> {
        serving(mechanism.kind, CKF_MESSAGE_VERIFY)?;
        let verifier = MessageVerifier {
            mechanism,
            key,
            message: None,
        };
        verifier.ready()?;
        Ok(verifier)
    }

    fn ready(&self) -> Result<VerifyOperation> {
        if self.message.is_some() {
            return Err(CKR_OPERATION_ACTIVE.into());
        }
        VerifyOperation::new(&self.mechanism, self.key.clone(), false)
    }

    /// A message at once: `C_VerifyMessage`.
    pub fn run(&mut self, data: &[u8], signature: &[u8]) -> Result<()> {
        self.ready()?.run(data, signature)
    }

    /// A message in parts: `C_VerifyMessageBegin`.
    pub fn begin(&mut self) -> Result<()> {
        self.message = Some(self.ready()?);
        Ok(())
    }

    /// The next part: `C_VerifyMessageNext`; the last when there is a signature.
    pub fn next(&mut self, part: &[u8], signature: Option<&[u8]>) -> Result<()> {
        let mut message = self.message.take().ok_or(CKR_OPERATION_NOT_INITIALIZED)?;
        message.update(part)?;
        match signature {
            Some(signature) => message.finish(signature),
            None => {
                self.message = Some(message);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(ivs: &mut Ivs, iv: &[u8], fixed: CK_ULONG, generator: CK_ULONG) -> Result<Vec<u8>> {
        let mut params = MessageParams {
            iv: iv.to_vec(),
            iv_fixed_bits: fixed,
            generator,
            ..MessageParams::default()
        };
        ivs.make(&mut params)?;
        Ok(params.iv)
    }

    #[test]
    fn fixed_bits_stay_and_the_others_are_made() {
        let ivs = &mut Ivs {
            counter: 0x0102_0304_0506_0708,
            made: 0,
            base: None,
        };
        assert_eq!(made(ivs, &[9; 12], 96, CKG_NO_GENERATE).unwrap(), [9; 12]);
        let counted = [9, 9, 9, 9, 1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(
            made(ivs, &[9; 12], 32, CKG_GENERATE_COUNTER).unwrap(),
            counted
        );
        assert_eq!(
            made(ivs, &[9; 12], 32, CKG_GENERATE_COUNTER).unwrap()[11],
            9
        );
        // Half a byte is fixed.
        assert_eq!(
            made(ivs, &[0xff, 0], 4, CKG_GENERATE_COUNTER).unwrap(),
            [0xf7, 10]
        );
        assert_eq!(
            made(ivs, &[9; 12], 0, CKG_GENERATE_COUNTER_XOR).unwrap()[11],
            9 ^ 3
        );
        let random = made(ivs, &[9; 16], 64, CKG_GENERATE).unwrap();
        assert!(random[..8] == [9; 8] && random[8..] != [9; 8]);
        assert_eq!(
            made(ivs, &[9; 12], 96, CKG_GENERATE).unwrap_err().rv(),
            CKR_MECHANISM_PARAM_INVALID
        );
        assert_eq!(
            made(ivs, &[9; 12], 0, 77).unwrap_err().rv(),
            CKR_MECHANISM_PARAM_INVALID
        );
    }

    #[test]
    fn the_last_iv_may_stand_where_the_applications_own_stood() {
        let ivs = &mut Ivs {
            counter: 0,
            made: 0,
            base: None,
        };
        let mut iv = vec![9; 12];
        for n in 0..5 {
            iv = made(ivs, &iv, 32, CKG_GENERATE_COUNTER_XOR).unwrap();
            assert_eq!(iv, [&[9; 11][..], &[9 ^ n]].concat());
        }
    }

    #[test]
    fn a_counter_without_room_ends() {
        let ivs = &mut Ivs {
            counter: 0,
            made: 0,
            base: None,
        };
        let made: Vec<_> = (0..4)
            .map(|_| made(ivs, &[0xf0], 6, CKG_GENERATE_COUNTER).unwrap())
            .collect();
        assert_eq!(made, [[0xf0], [0xf1], [0xf2], [0xf3]]);
        assert_eq!(
            self::made(ivs, &[0xf0], 6, CKG_GENERATE_COUNTER)
                .unwrap_err()
                .rv(),
            CKR_MECHANISM_PARAM_INVALID
        );
    }
}
