//! Modes that the library lacks, built of what it has: of AES in ECB and CBC mode and of ChaCha20's blocks.

use zeroize::Zeroizing;

use super::{Direction, append};
use crate::ck;
use crate::crypto::evp::{self, Kind};
use crate::error::Result;

/// Length of an AES block in bytes.
const BLOCK: usize = 16;
/// The longest data unit of XTS: 2^20 blocks (SP 800-38E, section 4).
const UNIT: u64 = (BLOCK as u64) << 20;

/// A mode at work.
pub(super) enum Built {
    Stealing(Stealing),
    Cfb64(Cfb64),
    ChaCha20(ChaCha20),
}

impl Built {
    /// How many bytes the mode takes at most.
    pub(super) fn limit(&self) -> u64 {
        match self {
            Built::Stealing(Stealing {
                chain: Chain::Xts { .. },
                ..
            }) => UNIT,
            Built::ChaCha20(cipher) => cipher.left,
            _ => u64::MAX,
        }
    }

    pub(super) fn update(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<()> {
        match self {
            Built::Stealing(mode) => mode.update(input, output),
            Built::Cfb64(mode) => mode.update(input, output),
            Built::ChaCha20(mode) => mode.update(input, output),
        }
    }

    pub(super) fn finish(&mut self, output: &mut Vec<u8>) -> Result<()> {
        match self {
            Built::Stealing(mode) => mode.finish(output),
            Built::Cfb64(_) | Built::ChaCha20(_) => Ok(()),
        }
    }
}

/// How many bytes of `taken` a stealing mode has given out: it holds back what its end is made of, one to two blocks.
pub(super) fn given(taken: u64) -> u64 {
    taken.saturating_sub(BLOCK as u64 + 1) / BLOCK as u64 * BLOCK as u64
}

/// A mode that fills up its last block with ciphertext of the one before: as much comes out as goes in, at least a block.
pub(super) struct Stealing {
    direction: Direction,
    chain: Chain,
    /// The bytes held back.
    held: Zeroizing<Vec<u8>>,
    taken: u64,
}

enum Chain {
    /// CBC with the last two blocks so that a message of whole blocks is CBC's (SP 800-38A addendum, CBC-CS1).
    Cbc {
        cbc: evp::Cipher,
        ecb: evp::Cipher,
        last: [u8; BLOCK],
    },
    /// XTS (IEEE 1619): the tweak of the next block.
    Xts {
        ecb: evp::Cipher,
        tweak: [u8; BLOCK],
    },
}

impl Stealing {
    pub(super) fn cts(direction: Direction, key: &[u8], iv: &[u8]) -> Result<Built> {
        let encrypt = direction == Direction::Encrypt;
        let cbc = evp::Cipher::new(Kind::Cbc, encrypt, key, iv, false)?;
        let ecb = evp::Cipher::new(Kind::Ecb, encrypt, key, &[], false)?;
        let last = iv.try_into().map_err(|_| ck::CKR_MECHANISM_PARAM_INVALID)?;
        Ok(Stealing::built(direction, Chain::Cbc { cbc, ecb, last }))
    }

    /// `key` is two keys side by side: the data's, and the tweaks'.
    pub(super) fn xts(direction: Direction, key: &[u8], unit: &[u8]) -> Result<Built> {
        let (data, tweaks) = match key.len() {
            32 | 64 => key.split_at(key.len() / 2),
            _ => return Err(ck::CKR_KEY_SIZE_RANGE.into()),
        };
        let unit: &[u8; BLOCK] = unit
            .try_into()
            .map_err(|_| ck::CKR_MECHANISM_PARAM_INVALID)?;
        let tweak = one(
            &mut evp::Cipher::new(Kind::Ecb, true, tweaks, &[], false)?,
            unit,
        )?;
        let ecb = evp::Cipher::new(Kind::Ecb, direction == Direction::Encrypt, data, &[], false)?;
        Ok(Stealing::built(direction, Chain::Xts { ecb, tweak }))
    }

    fn built(direction: Direction, chain: Chain) -> Built {
        Built::Stealing(Stealing {
            direction,
            chain,
            held: Zeroizing::default(),
            taken: 0,
        })
    }

    fn update(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<()> {
        let ready = (given(self.taken + input.len() as u64) - given(self.taken)) as usize;
        self.taken += input.len() as u64;
        if ready == 0 {
            return append(&mut self.held, input);
        }
        // What is held is never more than what is ready: both are cut off the front together.
        let of_input = ready.saturating_sub(self.held.len());
        let mut front = Zeroizing::new(self.held.to_vec());
        append(&mut front, &input[..of_input])?;
        let rest = front.split_off(ready);
        self.chain.blocks(self.direction, &front, output)?;
        self.held = Zeroizing::new(rest);
        append(&mut self.held, &input[of_input..])
    }

    fn finish(&mut self, output: &mut Vec<u8>) -> Result<()> {
        let held = std::mem::take(&mut self.held);
        let Some(rest) = held.len().checked_sub(BLOCK) else {
            return Err(match self.direction {
                Direction::Encrypt => ck::CKR_DATA_LEN_RANGE.into(),
                Direction::Decrypt => ck::CKR_ENCRYPTED_DATA_LEN_RANGE.into(),
            });
        };
        if rest == 0 || rest == BLOCK {
            return self.chain.blocks(self.direction, &held, output);
        }
        self.chain.steal(self.direction, &held, rest, output)
    }
}

impl Chain {
    /// The next whole blocks.
    fn blocks(&mut self, direction: Direction, data: &[u8], output: &mut Vec<u8>) -> Result<()> {
        match self {
            Chain::Cbc { cbc, last, .. } => {
                let from = output.len();
                cbc.update(data, output)?;
                let encrypted = if direction == Direction::Encrypt {
                    &output[from..]
                } else {
                    data
                };
                if let Some(block) = encrypted.last_chunk() {
                    *last = *block;
                }
                Ok(())
            }
            Chain::Xts { ecb, tweak } => {
                let mut tweaks = Vec::with_capacity(data.len());
                for _ in 0..data.len() / BLOCK {
                    tweaks.extend_from_slice(tweak);
                    *tweak = doubled(*tweak);
                }
                let mut masked = Zeroizing::new(data.to_vec());
                xor(&mut masked, &tweaks);
                let from = output.len();
                ecb.update(&masked, output)?;
                xor(&mut output[from..], &tweaks);
                Ok(())
            }
        }
    }

    /// The end of a message: a block and `rest` bytes.
    fn steal(
        &mut self,
        direction: Direction,
        held: &[u8],
        rest: usize,
        output: &mut Vec<u8>,
    ) -> Result<()> {
        match (self, direction) {
            (Chain::Cbc { cbc, .. }, Direction::Encrypt) => {
                let mut out = Vec::new();
                let mut padded = Zeroizing::new(held.to_vec());
                padded.resize(2 * BLOCK, 0);
                cbc.update(&padded, &mut out)?;
                output.extend_from_slice(&out[..rest]);
                output.extend_from_slice(&out[BLOCK..]);
            }
            (Chain::Cbc { ecb, last, .. }, Direction::Decrypt) => {
                let (cut, end) = held.split_at(rest);
                let end: &[u8; BLOCK] = end.first_chunk().ok_or(ck::CKR_FUNCTION_FAILED)?;
                let padded = Zeroizing::new(one(ecb, end)?);
                // What the block before the last had more than `cut`, was encrypted with the zeros that filled up the last one.
                let mut whole = *padded;
                whole[..rest].copy_from_slice(cut);
                let mut before = Zeroizing::new(one(ecb, &whole)?);
                xor(&mut *before, last);
                output.extend_from_slice(&*before);
                output.extend(cut.iter().zip(padded.iter()).map(|(a, b)| a ^ b));
            }
            (Chain::Xts { ecb, tweak }, _) => {
                // Decryption begins with the tweak of the block that is cut.
                let mut tweaks = [*tweak, doubled(*tweak)];
                if direction == Direction::Decrypt {
                    tweaks.reverse();
                }
                let block = held.first_chunk().ok_or(ck::CKR_FUNCTION_FAILED)?;
                let whole = Zeroizing::new(masked(ecb, block, &tweaks[0])?);
                let mut stolen = whole.clone();
                stolen[..rest].copy_from_slice(&held[BLOCK..]);
                output.extend_from_slice(&masked(ecb, &stolen, &tweaks[1])?);
                output.extend_from_slice(&whole[..rest]);
            }
        }
        Ok(())
    }
}

/// AES in Cipher Feedback mode of 64 bits (SP 800-38A, 6.3); the last segment may be shorter.
pub(super) struct Cfb64 {
    direction: Direction,
    ecb: evp::Cipher,
    /// The input block: the last 16 bytes of IV and ciphertext, the newest at the end once a segment is whole.
    input: [u8; BLOCK],
    mask: Zeroizing<[u8; BLOCK]>,
    /// Bytes of the mask that are used up; 0 before a segment begins.
    used: usize,
}

impl Cfb64 {
    const SEGMENT: usize = 8;

    pub(super) fn cfb64(direction: Direction, key: &[u8], iv: &[u8]) -> Result<Built> {
        let ecb = evp::Cipher::new(Kind::Ecb, true, key, &[], false)?;
        let input = iv.try_into().map_err(|_| ck::CKR_MECHANISM_PARAM_INVALID)?;
        Ok(Built::Cfb64(Cfb64 {
            direction,
            ecb,
            input,
            mask: Zeroizing::default(),
            used: 0,
        }))
    }

    fn update(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<()> {
        output
            .try_reserve(input.len())
            .map_err(|_| ck::CKR_HOST_MEMORY)?;
        for &byte in input {
            if self.used == 0 {
                *self.mask = one(&mut self.ecb, &self.input)?;
                self.input.copy_within(Self::SEGMENT.., 0);
            }
            let made = byte ^ self.mask[self.used];
            self.input[Self::SEGMENT + self.used] = if self.direction == Direction::Encrypt {
                made
            } else {
                byte
            };
            self.used = (self.used + 1) % Self::SEGMENT;
            output.push(made);
        }
        Ok(())
    }
}

/// ChaCha20 without an authenticator: the original with a counter of 64 bits and a nonce of 8 bytes, or RFC 8439's with 32 bits and 12.
pub(super) struct ChaCha20 {
    key: Zeroizing<[u8; 32]>,
    /// The last four words of the state: counter and nonce.
    state: [u8; 16],
    /// How many bytes of the next block are used up.
    used: usize,
    /// Bytes that the counter has left at the start.
    left: u64,
}

impl ChaCha20 {
    const BLOCK: usize = 64;

    pub(super) fn chacha20(key: &[u8], counter: &[u8], nonce: &[u8]) -> Result<Built> {
        let key = Zeroizing::new(<[u8; 32]>::try_from(key).map_err(|_| ck::CKR_KEY_SIZE_RANGE)?);
        let left = match (counter.len(), nonce.len()) {
            (4, 12) => ((1 << 32) - little_endian(counter)) * Self::BLOCK as u64,
            (8, 8) => (u64::MAX - little_endian(counter))
                .saturating_add(1)
                .saturating_mul(Self::BLOCK as u64),
            _ => return Err(ck::CKR_MECHANISM_PARAM_INVALID.into()),
        };
        let mut state = [0; 16];
        state[..counter.len()].copy_from_slice(counter);
        state[counter.len()..].copy_from_slice(nonce);
        Ok(Built::ChaCha20(ChaCha20 {
            key,
            state,
            used: 0,
            left,
        }))
    }

    fn update(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<()> {
        let mut rest = input;
        while !rest.is_empty() {
            let counter = little_endian(&self.state[..4]) as u32;
            // The library's counter has 32 bits: what goes beyond is ours to carry.
            let blocks = u64::from(u32::MAX - counter) + 1;
            let most = usize::try_from(blocks.saturating_mul(Self::BLOCK as u64))
                .unwrap_or(usize::MAX)
                - self.used;
            let (part, more) = rest.split_at(rest.len().min(most));
            // Whole blocks from the start of the one that is under way, whose first bytes are thrown away.
            let mut padded = Zeroizing::new(vec![0; self.used]);
            append(&mut padded, part)?;
            evp::chacha20(&self.key, &self.state, &mut padded);
            output.extend_from_slice(&padded[self.used..]);
            let passed = ((self.used + part.len()) / Self::BLOCK) as u64;
            self.used = (self.used + part.len()) % Self::BLOCK;
            let number = little_endian(&self.state[..8]).wrapping_add(passed);
            self.state[..8].copy_from_slice(&number.to_le_bytes());
            rest = more;
        }
        Ok(())
    }
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// One block by ECB.
fn one(ecb: &mut evp::Cipher, block: &[u8; BLOCK]) -> Result<[u8; BLOCK]> {
    let mut out = Zeroizing::new(Vec::with_capacity(2 * BLOCK));
    ecb.update(block, &mut out)?;
    Ok(*out.first_chunk().ok_or(ck::CKR_FUNCTION_FAILED)?)
}

/// One block by ECB under a mask, as XTS has it.
fn masked(ecb: &mut evp::Cipher, block: &[u8; BLOCK], mask: &[u8; BLOCK]) -> Result<[u8; BLOCK]> {
    let mut block = Zeroizing::new(*block);
    xor(&mut *block, mask);
    let mut block = one(ecb, &block)?;
    xor(&mut block, mask);
    Ok(block)
}

fn xor(data: &mut [u8], mask: &[u8]) {
    data.iter_mut()
        .zip(mask)
        .for_each(|(byte, mask)| *byte ^= mask);
}

/// The next tweak of XTS: multiplied by x in GF(2^128), least significant byte first.
fn doubled(tweak: [u8; BLOCK]) -> [u8; BLOCK] {
    let number = u128::from_le_bytes(tweak);
    let carry = if number >> 127 == 1 { 0x87 } else { 0 };
    (number << 1 ^ carry).to_le_bytes()
}
