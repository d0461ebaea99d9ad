//! A symmetric cipher at work in the store: large data in pieces, many small parts in few requests.
//!
//! KMIP servers know single messages only (streaming is rare). ECB, CBC and CTR need no more: each piece goes on where the last
//! one ended, by its IV or counter. GCM needs its message whole.

use std::sync::Arc;

use super::Key;
use super::cipher::{Setup, bad_len};
use crate::ck::*;
use crate::crypto::cipher::Direction;
use crate::error::{Error, Result};
use crate::secret::{Secret, reserve};
use crate::store::{self, KeyStore, Uid};
use crate::token::spec;

/// Parts are collected until there are so many bytes.
const COLLECT: usize = 64 << 10;
/// No request carries more; the usual limit of servers is 1 MiB. A multiple of every block length.
const PIECE: usize = 256 << 10;
/// The longest message of a mode that needs it whole; its ciphertext also has a tag.
const WHOLE_MAX: usize = 16 << 20;
const TAG_MAX: usize = 16;
/// How often data is copied at a time on the way to a server and back.
const COPIES: usize = 8;

/// A cipher in the store.
pub struct Remote {
    store: Arc<dyn KeyStore>,
    uid: Uid,
    /// The key, for the policy's sake.
    pub(super) key: Key,
    mechanism: CK_MECHANISM_TYPE,
    /// The mode, with the IV or counter of the next piece.
    pub(super) setup: Setup,
    direction: Direction,
    block: usize,
    held: Vec<u8>,
    /// Bytes of the first counter block that were used already.
    skip: usize,
    /// Bytes that the counter has left.
    left: u128,
    /// True once the store has answered: what was begun there is ended there.
    begun: bool,
}

impl Remote {
    pub(super) fn new(
        store: Arc<dyn KeyStore>,
        uid: Uid,
        key: Key,
        mechanism: CK_MECHANISM_TYPE,
        setup: Setup,
        direction: Direction,
        block: usize,
    ) -> Remote {
        let left = match &setup {
            Setup::Ctr { counter, bits } if *bits < 128 => {
                let mask = (1u128 << bits) - 1;
                (mask - (u128::from_be_bytes(*counter) & mask) + 1).saturating_mul(16)
            }
            _ => u128::MAX,
        };
        Remote {
            store,
            uid,
            key,
            mechanism,
            setup,
            direction,
            block,
            held: Vec::new(),
            skip: 0,
            left,
            begun: false,
        }
    }

    /// What was taken and not yet sent.
    pub(super) fn held(&self) -> &[u8] {
        &self.held
    }

    /// The key's value, when the store has refused the mechanism before it did anything.
    pub(super) fn instead(&self, error: Error) -> Result<Arc<Secret>> {
        if self.begun {
            Err(self.key.explain(error))
        } else {
            self.key.instead(self.mechanism, error)
        }
    }

    fn is_padded(&self) -> bool {
        matches!(self.setup, Setup::CbcPad { .. })
    }

    /// True where a message can be sent in pieces.
    fn is_divisible(&self) -> bool {
        matches!(
            self.setup,
            Setup::Ecb | Setup::Cbc { .. } | Setup::CbcPad { .. } | Setup::Ctr { .. }
        )
    }

    /// Fails for a message of a mode that needs it whole, if it is longer than what is sent at
    /// once.
    fn check_whole(&self, len: usize) -> Result<()> {
        let most = match self.direction {
            Direction::Encrypt => WHOLE_MAX,
            Direction::Decrypt => WHOLE_MAX + TAG_MAX,
        };
        match self.is_divisible() || len <= most {
            true => Ok(()),
            false => Err(bad_len(self.direction)),
        }
    }

    /// Length of the result of `len` bytes at once, and whether it is that exactly.
    pub(super) fn whole_len(&self, len: usize) -> (usize, bool) {
        let exact = !(self.is_padded() && self.direction == Direction::Decrypt);
        (
            self.setup.output_len(self.direction, self.block, len),
            exact,
        )
    }

    /// How many bytes are sent, and come back into `room`, when `len` more are taken.
    ///
    /// Small parts are collected, but only as long as the caller's buffer could take them later: some callers have one buffer for
    /// all parts and never a larger one (OpenSC's pkcs11-tool: 1 KiB). Not in ECB mode: who pads by himself (Java) has room for no
    /// more than the last block in the end.
    pub(super) fn update_len(&self, len: usize, room: Option<usize>) -> usize {
        let total = self.held.len() + len;
        let ready = match self.setup {
            Setup::Ctr { .. } => total,
            // The last block shows the padding and waits.
            Setup::CbcPad { .. } if self.direction == Direction::Decrypt => {
                total.saturating_sub(1) / self.block * self.block
            }
            _ if self.is_divisible() => total / self.block * self.block,
            _ => 0,
        };
        let fits_later = room.is_none_or(|room| ready > room || ready + len + self.block <= room);
        let collects = !matches!(self.setup, Setup::Ecb) && ready < COLLECT && fits_later;
        if collects { 0 } else { ready }
    }

    /// Length of what [`Remote::finish`] gives, and whether it is that exactly.
    pub(super) fn finish_len(&self) -> (usize, bool) {
        self.whole_len(self.held.len())
    }

    /// The whole message.
    pub(super) fn run(&mut self, data: &[u8]) -> Result<Secret> {
        self.check_whole(data.len())?;
        self.setup
            .check_len(self.direction, self.block, data.len())?;
        let start = (self.setup.clone(), self.skip, self.left);
        let result = self.send(data, true).map(Secret::new);
        // A result that does not fit leaves the operation active, from its start.
        (self.setup, self.skip, self.left) = start;
        result
    }

    /// Takes a part, and sends `ready` bytes of what there is ([`Remote::update_len`]); on an error at the first request the part is
    /// not taken.
    pub(super) fn update(&mut self, part: &[u8], ready: usize) -> Result<Vec<u8>> {
        self.check_whole(self.held.len() + part.len())?;
        reserve::admit(self.held.len() + part.len(), 2)?;
        if ready == 0 {
            self.held.extend_from_slice(part);
            return Ok(Vec::new());
        }
        let before = self.held.len();
        let mut data = std::mem::take(&mut self.held);
        data.extend_from_slice(part);
        let result = self.send(&data[..ready], false);
        if result.is_ok() {
            self.held = data.split_off(ready);
        } else {
            data.truncate(before);
            self.held = data;
        }
        result
    }

    /// Ends the message.
    pub(super) fn finish(&mut self) -> Result<Secret> {
        self.setup
            .check_len(self.direction, self.block, self.held.len())?;
        let held = std::mem::take(&mut self.held);
        let result = self.send(&held, true);
        if result.is_err() {
            self.held = held;
        }
        result.map(Secret::new)
    }

    /// Sends data in pieces. `last` ends the message.
    fn send(&mut self, data: &[u8], last: bool) -> Result<Vec<u8>> {
        let mut result = reserve::room(data.len() + 32)?;
        let mut rest = data;
        while self.is_divisible() && rest.len() > PIECE {
            let (piece, others) = rest.split_at(PIECE);
            result.extend_from_slice(self.request(piece, false)?.expose());
            rest = others;
        }
        // Modes without an end of their own need no request for nothing.
        if !rest.is_empty() || (last && (self.is_padded() || !self.is_divisible())) {
            let answer = self.request(rest, last)?;
            result.extend_from_slice(answer.expose());
        }
        Ok(result)
    }

    fn request(&mut self, data: &[u8], last: bool) -> Result<Secret> {
        if data.len() as u128 > self.left {
            return Err(bad_len(self.direction));
        }
        let cipher = match &self.setup {
            Setup::CbcPad { iv } if !last => store::Cipher::Cbc { iv: iv.clone() },
            setup => setup.remote().ok_or(CKR_MECHANISM_INVALID)?,
        };
        reserve::admit(data.len(), COPIES)?;
        let algorithm = spec::algorithm(&self.key.object.attributes)?;
        let skip = self.skip;
        let padded;
        let mut input = data;
        if skip > 0 {
            padded = [&vec![0; skip], data].concat();
            input = &padded;
        }
        let answer = match self.direction {
            Direction::Encrypt => self
                .store
                .encrypt(&self.uid, algorithm, &cipher, input)
                .map(Secret::new),
            Direction::Decrypt => self.store.decrypt(&self.uid, algorithm, &cipher, input),
        }?;
        self.begun = true;
        let expected = match &self.setup {
            Setup::CbcPad { .. } if last && self.direction == Direction::Encrypt => {
                (data.len() / self.block + 1) * self.block
            }
            Setup::CbcPad { .. } if last => answer.len().min(data.len().saturating_sub(1)),
            setup if last => setup.output_len(self.direction, self.block, input.len()),
            _ => input.len(),
        };
        if answer.len() != expected {
            let (got, sent) = (answer.len(), input.len());
            return Err(Error::protocol(format!(
                "the server answered {got} bytes to {sent}, not the {expected} that the mode gives"
            )));
        }
        self.advance(data, answer.expose());
        Ok(if skip > 0 {
            Secret::new(answer.expose()[skip..].to_vec())
        } else {
            answer
        })
    }

    /// Sets IV or counter to where the next piece goes on.
    fn advance(&mut self, data: &[u8], answer: &[u8]) {
        let ciphertext = if self.direction == Direction::Encrypt {
            answer
        } else {
            data
        };
        match &mut self.setup {
            Setup::Cbc { iv } | Setup::CbcPad { iv } => {
                if let Some(start) = ciphertext.len().checked_sub(self.block) {
                    *iv = ciphertext[start..].to_vec();
                }
            }
            Setup::Ctr { counter, .. } => {
                self.left -= data.len() as u128;
                let used = self.skip + data.len();
                *counter = u128::from_be_bytes(*counter)
                    .wrapping_add((used / 16) as u128)
                    .to_be_bytes();
                self.skip = used % 16;
            }
            _ => {}
        }
    }
}
