//! Symmetric ciphers, whole or in parts.
//!
//! A [`Cipher`] takes a message in parts of any length and gives back what is ready: `new`, `update` any number of times,
//! `finish`. Memory stays constant, except when an authenticated mode decrypts: its plaintext is released only after the tag
//! was found right, so the ciphertext waits until then; and in CCM, which must know the message's length first.

mod built;

use zeroize::{Zeroize, Zeroizing};

use self::built::{Built, Cfb64, ChaCha20, Stealing};
use super::evp;
use super::padding::padding_len;
use crate::ck;
use crate::error::{Error, Result};
use crate::secret::Secret;

/// Which way a cipher works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Direction {
    Encrypt,
    Decrypt,
}

/// A key and the cipher it is for.
#[derive(Clone, Copy)]
pub enum Key<'a> {
    /// AES: 16, 24 or 32 bytes.
    Aes(&'a [u8]),
    /// AES for XTS: two keys of 16 or 32 bytes side by side.
    AesXts(&'a [u8]),
    /// Triple DES with three keys: 24 bytes.
    TripleDes(&'a [u8]),
    /// ChaCha20: 32 bytes.
    ChaCha20(&'a [u8]),
}

/// A mode of operation with its parameters.
#[derive(Clone, Copy, Debug)]
pub enum Mode<'a> {
    /// Electronic Codebook, whole blocks only.
    Ecb,
    /// Cipher Block Chaining, whole blocks only.
    Cbc {
        /// Initialization vector, one block.
        iv: &'a [u8],
    },
    /// Cipher Block Chaining with PKCS#7 padding.
    CbcPad {
        /// Initialization vector, one block.
        iv: &'a [u8],
    },
    /// Counter mode (SP 800-38A).
    Ctr {
        /// First counter block.
        counter: &'a [u8],
        /// How many of its last bits count (1 to 128); a message that would make them overflow is refused.
        bits: u32,
    },
    /// Galois/Counter Mode (SP 800-38D); the tag follows the ciphertext.
    Gcm {
        /// Nonce, at least one byte; 12 are usual.
        iv: &'a [u8],
        /// Additional authenticated data.
        aad: &'a [u8],
        /// Length of the tag in bytes, 4 to 16.
        tag_len: usize,
    },
    /// Counter with CBC-MAC (SP 800-38C); the tag follows the ciphertext. The message waits until it is whole.
    Ccm {
        /// Nonce, 7 to 13 bytes.
        nonce: &'a [u8],
        /// Additional authenticated data.
        aad: &'a [u8],
        /// Length of the tag in bytes: 4, 6, .. 16.
        tag_len: usize,
    },
    /// Output Feedback of whole blocks.
    Ofb {
        /// Initialization vector, one block.
        iv: &'a [u8],
    },
    /// Cipher Feedback of one bit.
    Cfb1 {
        /// Initialization vector, one block.
        iv: &'a [u8],
    },
    /// Cipher Feedback of one byte.
    Cfb8 {
        /// Initialization vector, one block.
        iv: &'a [u8],
    },
    /// Cipher Feedback of eight bytes.
    Cfb64 {
        /// Initialization vector, one block.
        iv: &'a [u8],
    },
    /// Cipher Feedback of whole blocks.
    Cfb128 {
        /// Initialization vector, one block.
        iv: &'a [u8],
    },
    /// Cipher Block Chaining with ciphertext stealing (SP 800-38A addendum, CBC-CS1), at least one block.
    Cts {
        /// Initialization vector, one block.
        iv: &'a [u8],
    },
    /// XTS (IEEE 1619, SP 800-38E), one block to 2^20.
    Xts {
        /// Number of the data unit, 16 bytes, least significant first.
        unit: &'a [u8],
    },
    /// ChaCha20 alone: nobody notices changes.
    Plain {
        /// Number of the first block, least significant byte first: 4 bytes (RFC 8439) or 8 (the original).
        counter: &'a [u8],
        /// Nonce: 12 bytes, or 8.
        nonce: &'a [u8],
    },
    /// ChaCha20 with Poly1305 (RFC 8439); the tag follows the ciphertext.
    Poly1305 {
        /// Nonce, 12 bytes.
        nonce: &'a [u8],
        /// Additional authenticated data.
        aad: &'a [u8],
        /// Length of the tag in bytes, 4 to 16; RFC 8439 has all 16.
        tag_len: usize,
    },
}

/// The longest message that waits in memory for its end, in bytes: decrypted in parts, it may be given out when its tag was right.
const WAITING_MAX: u64 = 1 << 30;

/// How a mode treats parts, all that matters once it is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// As much comes out as goes in.
    Stream,
    /// Whole blocks come out.
    Blocks,
    /// Whole blocks come out, and the last one is padded.
    Padded,
    /// As much comes out as goes in, but the end is held back.
    Stealing,
    /// As a stream, and a tag of so many bytes at the end.
    Tagged(usize),
    /// Nothing before the end, and a tag of so many bytes.
    Whole(usize),
}

/// What does the work.
enum Engine {
    Stream(evp::Cipher),
    Built(Built),
    Ccm {
        key: Secret,
        nonce: Vec<u8>,
        aad: Vec<u8>,
    },
}

/// A cipher at work. After an error it must not be used again.
pub struct Cipher {
    engine: Engine,
    direction: Direction,
    shape: Shape,
    block: u64,
    /// Bytes taken so far.
    taken: u64,
    /// Bytes that may be taken at most.
    limit: u64,
    /// Ciphertext and tag of an authenticated decryption, all of a mode that wants its message whole, or the decrypted block that may
    /// be the last one and hold the padding.
    waiting: Zeroizing<Vec<u8>>,
}

impl Cipher {
    /// A cipher ready for the first part.
    ///
    /// `CKR_KEY_SIZE_RANGE` for a key of a wrong length, `CKR_MECHANISM_PARAM_INVALID` for a wrong parameter of the mode.
    pub fn new(direction: Direction, key: Key<'_>, mode: Mode<'_>) -> Result<Cipher> {
        use evp::Kind;
        let invalid = || Error::from(ck::CKR_MECHANISM_PARAM_INVALID);
        let (bytes, block) = match key {
            Key::Aes(bytes) | Key::AesXts(bytes) => (bytes, 16),
            Key::TripleDes(bytes) => (bytes, 8),
            Key::ChaCha20(bytes) => (bytes, 1),
        };
        let built = match (key, mode) {
            (Key::Aes(_), Mode::Cfb64 { iv }) => {
                Some((Cfb64::cfb64(direction, bytes, iv)?, Shape::Stream))
            }
            (Key::Aes(_), Mode::Cts { iv }) => {
                Some((Stealing::cts(direction, bytes, iv)?, Shape::Stealing))
            }
            (Key::AesXts(_), Mode::Xts { unit }) => {
                Some((Stealing::xts(direction, bytes, unit)?, Shape::Stealing))
            }
            (Key::ChaCha20(_), Mode::Plain { counter, nonce }) => {
                Some((ChaCha20::chacha20(bytes, counter, nonce)?, Shape::Stream))
            }
            _ => None,
        };
        if let Some((built, shape)) = built {
            let limit = built.limit();
            let waiting = Zeroizing::default();
            return Ok(Cipher {
                engine: Engine::Built(built),
                direction,
                shape,
                block,
                taken: 0,
                limit,
                waiting,
            });
        }
        let none: &[u8] = &[];
        let (kind, iv, aad, shape) = match (key, mode) {
            (Key::Aes(_), Mode::Ecb) => (Kind::Ecb, none, none, Shape::Blocks),
            (Key::Aes(_), Mode::Cbc { iv }) => (Kind::Cbc, iv, none, Shape::Blocks),
            (Key::Aes(_), Mode::CbcPad { iv }) => (Kind::Cbc, iv, none, Shape::Padded),
            (Key::Aes(_), Mode::Ctr { counter, .. }) => (Kind::Ctr, counter, none, Shape::Stream),
            (Key::Aes(_), Mode::Ofb { iv }) => (Kind::Ofb, iv, none, Shape::Stream),
            (Key::Aes(_), Mode::Cfb1 { iv }) => (Kind::Cfb1, iv, none, Shape::Stream),
            (Key::Aes(_), Mode::Cfb8 { iv }) => (Kind::Cfb8, iv, none, Shape::Stream),
            (Key::Aes(_), Mode::Cfb128 { iv }) => (Kind::Cfb128, iv, none, Shape::Stream),
            (Key::Aes(_), Mode::Gcm { iv, aad, tag_len }) => {
                (Kind::Gcm, iv, aad, Shape::Tagged(tag_len))
            }
            (
                Key::Aes(_),
                Mode::Ccm {
                    nonce,
                    aad,
                    tag_len,
                },
            ) => return Cipher::ccm(direction, bytes, nonce, aad, tag_len),
            (Key::TripleDes(_), Mode::Ecb) => (Kind::TripleDesEcb, none, none, Shape::Blocks),
            (Key::TripleDes(_), Mode::Cbc { iv }) => (Kind::TripleDesCbc, iv, none, Shape::Blocks),
            (Key::TripleDes(_), Mode::CbcPad { iv }) => {
                (Kind::TripleDesCbc, iv, none, Shape::Padded)
            }
            (
                Key::ChaCha20(_),
                Mode::Poly1305 {
                    nonce,
                    aad,
                    tag_len,
                },
            ) if nonce.len() == 12 => (Kind::ChaCha20Poly1305, nonce, aad, Shape::Tagged(tag_len)),
            _ => return Err(invalid()),
        };
        let limit = match mode {
            Mode::Ctr { counter, bits } => counter_limit(counter, bits)?,
            Mode::Gcm { tag_len, .. } | Mode::Poly1305 { tag_len, .. }
                if !(4..=16).contains(&tag_len) =>
            {
                return Err(invalid());
            }
            Mode::Gcm { .. } | Mode::Poly1305 { .. } if direction == Direction::Decrypt => {
                WAITING_MAX
            }
            _ => u64::MAX,
        };
        let mut evp = evp::Cipher::new(
            kind,
            direction == Direction::Encrypt,
            bytes,
            iv,
            shape == Shape::Padded && direction == Direction::Encrypt,
        )?;
        evp.aad(aad)?;
        let waiting = Zeroizing::default();
        Ok(Cipher {
            engine: Engine::Stream(evp),
            direction,
            shape,
            block,
            taken: 0,
            limit,
            waiting,
        })
    }

    fn ccm(
        direction: Direction,
        key: &[u8],
        nonce: &[u8],
        aad: &[u8],
        tag_len: usize,
    ) -> Result<Cipher> {
        // An empty message shows at once whether key and parameters are right.
        evp::ccm(true, key, nonce, aad, tag_len, &[])?;
        let engine = Engine::Ccm {
            key: Secret::new(key.to_vec()),
            nonce: nonce.to_vec(),
            aad: aad.to_vec(),
        };
        let waiting = Zeroizing::default();
        Ok(Cipher {
            engine,
            direction,
            shape: Shape::Whole(tag_len),
            block: 1,
            taken: 0,
            limit: WAITING_MAX,
            waiting,
        })
    }

    /// Exactly as many bytes as [`Cipher::update`] will give for `len` bytes more.
    pub fn update_len(&self, len: usize) -> usize {
        let given = |taken: u64| match self.shape {
            Shape::Whole(_) => 0,
            Shape::Tagged(_) if self.direction == Direction::Decrypt => 0,
            Shape::Stream | Shape::Tagged(_) => taken,
            Shape::Stealing => built::given(taken),
            Shape::Padded if self.direction == Direction::Decrypt => {
                taken.saturating_sub(1) / self.block * self.block
            }
            Shape::Blocks | Shape::Padded => taken / self.block * self.block,
        };
        (given(self.taken.saturating_add(len as u64)) - given(self.taken)) as usize
    }

    /// As many bytes as [`Cipher::finish`] gives at most after `len` bytes more.
    pub fn finish_len(&self, len: usize) -> usize {
        match (self.shape, self.direction) {
            (Shape::Stream | Shape::Blocks, _) => 0,
            (Shape::Stealing, _) => {
                let taken = self.taken + len as u64;
                (taken - built::given(taken)) as usize
            }
            (Shape::Padded, Direction::Encrypt) => self.block as usize,
            (Shape::Padded, Direction::Decrypt) => self.block as usize - 1,
            (Shape::Tagged(tag_len), Direction::Encrypt) => tag_len,
            (Shape::Whole(tag_len), Direction::Encrypt) => self.waiting.len() + len + tag_len,
            (Shape::Tagged(tag_len) | Shape::Whole(tag_len), Direction::Decrypt) => {
                (self.waiting.len() + len).saturating_sub(tag_len)
            }
        }
    }

    /// Takes the next part and gives back what is ready.
    pub fn update(&mut self, input: &[u8]) -> Result<Vec<u8>> {
        let mut output = Vec::new();
        self.update_into(input, &mut output)?;
        Ok(output)
    }

    /// Takes the next part and appends what is ready to `output`.
    pub fn update_into(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<()> {
        self.taken = self
            .taken
            .checked_add(input.len() as u64)
            .filter(|&n| n <= self.limit)
            .ok_or_else(|| self.bad_length())?;
        let waits = match self.shape {
            Shape::Whole(_) => true,
            Shape::Tagged(_) => self.direction == Direction::Decrypt,
            _ => false,
        };
        match &mut self.engine {
            Engine::Stream(evp)
                if self.shape == Shape::Padded && self.direction == Direction::Decrypt =>
            {
                output.extend_from_slice(&self.waiting);
                evp.update(input, output)?;
                self.waiting = Zeroizing::default();
                if self.taken > 0 && self.taken.is_multiple_of(self.block) {
                    let last = output.len() - self.block as usize;
                    append(&mut self.waiting, &output[last..])?;
                    output[last..].zeroize();
                    output.truncate(last);
                }
                Ok(())
            }
            Engine::Stream(evp) if !waits => evp.update(input, output),
            Engine::Built(built) => built.update(input, output),
            _ => append(&mut self.waiting, input),
        }
    }

    /// Ends the message and gives back the rest: padding, tag, or the plaintext that waited for its tag.
    ///
    /// `CKR_DATA_LEN_RANGE` or `CKR_ENCRYPTED_DATA_LEN_RANGE` when the mode wants whole blocks and got others,
    /// `CKR_ENCRYPTED_DATA_INVALID` when padding or tag are wrong.
    pub fn finish(mut self) -> Result<Vec<u8>> {
        let mut output = Vec::new();
        self.finish_into(&mut output)?;
        Ok(output)
    }

    /// The whole message at once: `update` and `finish`.
    pub fn run(mut self, input: &[u8]) -> Result<Vec<u8>> {
        if let (Shape::Tagged(tag_len), Direction::Decrypt) = (self.shape, self.direction)
            && self.waiting.is_empty()
        {
            return self.open(tag_len, input);
        }
        let mut output = Vec::new();
        output
            .try_reserve_exact(self.update_len(input.len()) + 32)
            .map_err(|_| Error::from(ck::CKR_HOST_MEMORY))?;
        self.update_into(input, &mut output)?;
        self.finish_into(&mut output)?;
        Ok(output)
    }

    /// Decrypts a whole message: nothing waits, and what was decrypted is wiped unless the tag is right.
    fn open(mut self, tag_len: usize, input: &[u8]) -> Result<Vec<u8>> {
        let len = input
            .len()
            .checked_sub(tag_len)
            .ok_or_else(|| self.bad_length())?;
        let Engine::Stream(evp) = &mut self.engine else {
            return Err(ck::CKR_GENERAL_ERROR.into());
        };
        let mut output = Zeroizing::new(Vec::new());
        evp.expect_tag(&input[len..])?;
        evp.update(&input[..len], &mut output)?;
        evp.finish(&mut output, ck::CKR_ENCRYPTED_DATA_INVALID)?;
        Ok(std::mem::take(&mut *output))
    }

    fn finish_into(&mut self, output: &mut Vec<u8>) -> Result<()> {
        let whole = self.taken.is_multiple_of(self.block);
        let bad_length = self.bad_length();
        let evp = match &mut self.engine {
            Engine::Stream(evp) => evp,
            Engine::Built(built) => return built.finish(output),
            Engine::Ccm { key, nonce, aad } => {
                let Shape::Whole(tag_len) = self.shape else {
                    return Err(ck::CKR_GENERAL_ERROR.into());
                };
                let encrypt = self.direction == Direction::Encrypt;
                *output = evp::ccm(encrypt, key.expose(), nonce, aad, tag_len, &self.waiting)?;
                return Ok(());
            }
        };
        match (self.shape, self.direction) {
            (Shape::Stream | Shape::Stealing | Shape::Whole(_), _) => Ok(()),
            (Shape::Blocks, _) if !whole => Err(bad_length),
            (Shape::Padded, Direction::Decrypt) if !whole || self.taken == 0 => Err(bad_length),
            (Shape::Padded, Direction::Decrypt) => {
                let last = std::mem::take(&mut self.waiting);
                let padding = padding_len(&last).ok_or(ck::CKR_ENCRYPTED_DATA_INVALID)?;
                output.extend_from_slice(&last[..last.len() - padding]);
                Ok(())
            }
            (Shape::Blocks | Shape::Padded, _) => {
                evp.finish(output, ck::CKR_ENCRYPTED_DATA_INVALID)
            }
            (Shape::Tagged(tag_len), Direction::Encrypt) => {
                evp.finish(output, ck::CKR_FUNCTION_FAILED)?;
                evp.tag(tag_len, output)
            }
            (Shape::Tagged(tag_len), Direction::Decrypt) => {
                let mut text = std::mem::take(&mut self.waiting);
                let len = text.len().checked_sub(tag_len).ok_or(bad_length)?;
                evp.expect_tag(&text[len..])?;
                text.truncate(len);
                evp.update_in_place(&mut text)?;
                evp.finish(output, ck::CKR_ENCRYPTED_DATA_INVALID)?;
                // Nothing came before: the plaintext is handed over where it lies.
                *output = std::mem::take(&mut *text);
                Ok(())
            }
        }
    }

    fn bad_length(&self) -> Error {
        match self.direction {
            Direction::Encrypt => ck::CKR_DATA_LEN_RANGE.into(),
            Direction::Decrypt => ck::CKR_ENCRYPTED_DATA_LEN_RANGE.into(),
        }
    }
}

/// Sets the lowest bit of each byte of a Triple DES key so that the number of its bits that are set is odd.
pub fn set_parity(key: &mut [u8]) {
    for byte in key {
        *byte ^= u8::from(byte.count_ones().is_multiple_of(2));
    }
}

/// Appends to a buffer that may hold plaintext: a buffer that must move is wiped where it lay.
fn append(buffer: &mut Zeroizing<Vec<u8>>, data: &[u8]) -> Result<()> {
    let len = buffer.len() + data.len();
    if len > buffer.capacity() {
        let mut larger = Zeroizing::new(Vec::new());
        larger
            .try_reserve_exact(len.max(2 * buffer.capacity()))
            .map_err(|_| Error::from(ck::CKR_HOST_MEMORY))?;
        larger.extend_from_slice(buffer);
        *buffer = larger;
    }
    buffer.extend_from_slice(data);
    Ok(())
}

/// How many bytes a counter can make before its counting bits overflow into the nonce before them.
fn counter_limit(counter: &[u8], bits: u32) -> Result<u64> {
    let block: [u8; 16] = counter
        .try_into()
        .map_err(|_| Error::from(ck::CKR_MECHANISM_PARAM_INVALID))?;
    match bits {
        // A counter of the whole block wraps within itself.
        128 => Ok(u64::MAX),
        1..=127 => {
            let mask = (1u128 << bits) - 1;
            let blocks = mask - (u128::from_be_bytes(block) & mask) + 1;
            Ok(u64::try_from(blocks.saturating_mul(16)).unwrap_or(u64::MAX))
        }
        _ => Err(ck::CKR_MECHANISM_PARAM_INVALID.into()),
    }
}

#[cfg(test)]
mod tests;
