//! Encryption and decryption, whole or in parts, here or in the store.

use std::sync::Arc;

use super::keywrap::DataWrap;
use super::remote::Remote;
use super::table::{Mode, Work, serving};
use super::{Key, Mechanism, Output, Params, hash_of, mgf_hash, not_below};
use crate::ck::*;
use crate::crypto::Hash;
use crate::crypto::cipher::{Cipher, Direction, Key as CipherKey, Mode as CipherMode};
use crate::crypto::hash::digest;
use crate::crypto::pkey::{Padding, PrivateKey, PublicKey};
use crate::error::{Error, Result};
use crate::secret::{Secret, reserve};
use crate::store::{self, Ability, Algorithm, KeyStore, Uid};
use crate::token::objects::Material;

/// A mode with its parameters, taken out of a mechanism and checked.
#[derive(Clone)]
#[allow(missing_docs, reason = "the names are the standard's")]
pub(super) enum Setup {
    Ecb,
    Cbc {
        iv: Vec<u8>,
    },
    CbcPad {
        iv: Vec<u8>,
    },
    Ctr {
        counter: [u8; 16],
        bits: u32,
    },
    Gcm {
        iv: Vec<u8>,
        aad: Vec<u8>,
        tag_len: usize,
    },
    Ccm {
        nonce: Vec<u8>,
        aad: Vec<u8>,
        tag_len: usize,
        data_len: usize,
    },
    /// The modes that have an IV and no words in KMIP.
    Local {
        mode: Mode,
        iv: Vec<u8>,
    },
    ChaCha20 {
        counter: Vec<u8>,
        nonce: Vec<u8>,
    },
    Poly1305 {
        nonce: Vec<u8>,
        aad: Vec<u8>,
    },
}

impl Setup {
    /// The parameters of a mode with blocks of `block` bytes. `CKR_MECHANISM_PARAM_INVALID` when they do not fit it.
    fn parse(mode: Mode, block: usize, params: &Params) -> Result<Setup> {
        let iv = |len| match params {
            Params::Raw(iv) if iv.len() == len => Ok(iv.clone()),
            _ => Err(Error::from(CKR_MECHANISM_PARAM_INVALID)),
        };
        Ok(match (mode, params) {
            (Mode::Ecb, Params::None) => Setup::Ecb,
            (Mode::Cbc, _) => Setup::Cbc { iv: iv(block)? },
            (Mode::CbcPad, _) => Setup::CbcPad { iv: iv(block)? },
            (
                Mode::Ofb
                | Mode::Cfb1
                | Mode::Cfb8
                | Mode::Cfb64
                | Mode::Cfb128
                | Mode::Cts
                | Mode::Xts,
                _,
            ) => Setup::Local {
                mode,
                iv: iv(block)?,
            },
            (Mode::ChaCha20, Params::ChaCha20 { counter, nonce }) => Setup::ChaCha20 {
                counter: counter.clone(),
                nonce: nonce.clone(),
            },
            (
                Mode::Ctr,
                Params::Ctr {
                    bits: bits @ 1..=128,
                    counter,
                },
            ) => Setup::Ctr {
                counter: *counter,
                bits: *bits as u32,
            },
            // `ulIvBits` is often 0 or wrong in practice; `ulIvLen` counts.
            (
                Mode::Gcm,
                Params::Gcm {
                    iv, aad, tag_bits, ..
                },
            ) if !iv.is_empty() => Setup::Gcm {
                iv: iv.clone(),
                aad: aad.clone(),
                tag_len: gcm_tag(*tag_bits)?,
            },
            (
                Mode::Ccm,
                Params::Ccm {
                    data_len,
                    nonce,
                    aad,
                    mac_len,
                },
            ) => Setup::Ccm {
                nonce: nonce.clone(),
                aad: aad.clone(),
                tag_len: usize::try_from(*mac_len).map_err(|_| CKR_MECHANISM_PARAM_INVALID)?,
                data_len: usize::try_from(*data_len).map_err(|_| CKR_MECHANISM_PARAM_INVALID)?,
            },
            (Mode::Poly1305, Params::ChaCha20Poly1305 { nonce, aad }) => Setup::Poly1305 {
                nonce: nonce.clone(),
                aad: aad.clone(),
            },
            _ => return Err(CKR_MECHANISM_PARAM_INVALID.into()),
        })
    }

    fn local(&self) -> CipherMode<'_> {
        match self {
            Setup::Ecb => CipherMode::Ecb,
            Setup::Cbc { iv } => CipherMode::Cbc { iv },
            Setup::CbcPad { iv } => CipherMode::CbcPad { iv },
            Setup::Ctr { counter, bits } => CipherMode::Ctr {
                counter,
                bits: *bits,
            },
            Setup::Gcm { iv, aad, tag_len } => CipherMode::Gcm {
                iv,
                aad,
                tag_len: *tag_len,
            },
            Setup::Ccm {
                nonce,
                aad,
                tag_len,
                ..
            } => CipherMode::Ccm {
                nonce,
                aad,
                tag_len: *tag_len,
            },
            Setup::Local {
                mode: Mode::Cfb1,
                iv,
            } => CipherMode::Cfb1 { iv },
            Setup::Local {
                mode: Mode::Cfb8,
                iv,
            } => CipherMode::Cfb8 { iv },
            Setup::Local {
                mode: Mode::Cfb64,
                iv,
            } => CipherMode::Cfb64 { iv },
            Setup::Local {
                mode: Mode::Cfb128,
                iv,
            } => CipherMode::Cfb128 { iv },
            Setup::Local {
                mode: Mode::Cts,
                iv,
            } => CipherMode::Cts { iv },
            Setup::Local {
                mode: Mode::Xts,
                iv,
            } => CipherMode::Xts { unit: iv },
            Setup::Local { iv, .. } => CipherMode::Ofb { iv },
            Setup::ChaCha20 { counter, nonce } => CipherMode::Plain { counter, nonce },
            Setup::Poly1305 { nonce, aad } => CipherMode::Poly1305 {
                nonce,
                aad,
                tag_len: 16,
            },
        }
    }

    /// The mode in the store's words, if it has words for it.
    pub(super) fn remote(&self) -> Option<store::Cipher> {
        Some(match self.clone() {
            Setup::Ecb => store::Cipher::Ecb,
            Setup::Cbc { iv } => store::Cipher::Cbc { iv },
            Setup::CbcPad { iv } => store::Cipher::CbcPad { iv },
            Setup::Ctr { counter, .. } => store::Cipher::Ctr {
                counter: counter.to_vec(),
            },
            Setup::Gcm { iv, aad, tag_len } => store::Cipher::Gcm { iv, aad, tag_len },
            _ => return None,
        })
    }

    /// Length of the tag that follows the ciphertext.
    fn tag_len(&self) -> usize {
        match self {
            Setup::Gcm { tag_len, .. } | Setup::Ccm { tag_len, .. } => *tag_len,
            Setup::Poly1305 { .. } => 16,
            _ => 0,
        }
    }

    /// Length of the result of `len` bytes: exact but for padding taken off, where it is the most that can be.
    pub(super) fn output_len(&self, direction: Direction, block: usize, len: usize) -> usize {
        match (self, direction) {
            (Setup::CbcPad { .. }, Direction::Encrypt) => (len / block + 1) * block,
            (Setup::CbcPad { .. }, Direction::Decrypt) => len.saturating_sub(1),
            (_, Direction::Encrypt) => len + self.tag_len(),
            (_, Direction::Decrypt) => len.saturating_sub(self.tag_len()),
        }
    }

    /// Refuses lengths that the mode cannot have.
    pub(super) fn check_len(&self, direction: Direction, block: usize, len: usize) -> Result<()> {
        let whole = len.is_multiple_of(block);
        let fits = match (self, direction) {
            (Setup::Ecb | Setup::Cbc { .. }, _) => whole,
            (Setup::CbcPad { .. }, Direction::Decrypt) => whole && len > 0,
            (
                Setup::Local {
                    mode: Mode::Cts | Mode::Xts,
                    ..
                },
                _,
            ) => len >= block,
            (Setup::Ccm { data_len, .. }, Direction::Encrypt) => len == *data_len,
            (
                Setup::Ccm {
                    data_len, tag_len, ..
                },
                Direction::Decrypt,
            ) => len == data_len.saturating_add(*tag_len),
            (_, Direction::Decrypt) => len >= self.tag_len(),
            _ => true,
        };
        if fits {
            Ok(())
        } else {
            Err(bad_len(direction))
        }
    }
}

/// The error of data whose length a mechanism cannot take.
pub(super) fn bad_len(direction: Direction) -> Error {
    match direction {
        Direction::Encrypt => CKR_DATA_LEN_RANGE.into(),
        Direction::Decrypt => CKR_ENCRYPTED_DATA_LEN_RANGE.into(),
    }
}

/// Length of a GCM tag in bytes (SP 800-38D, 5.2.1.2).
pub(super) fn gcm_tag(bits: CK_ULONG) -> Result<usize> {
    match bits {
        32 | 64 | 96 | 104 | 112 | 120 | 128 => Ok(bits as usize / 8),
        _ => Err(CKR_MECHANISM_PARAM_INVALID.into()),
    }
}

/// Block length of a cipher in bytes; 1 for stream ciphers.
fn block_len(key_type: CK_KEY_TYPE) -> usize {
    match key_type {
        CKK_AES | CKK_AES_XTS => 16,
        CKK_DES3 => 8,
        _ => 1,
    }
}

fn cipher_key(key_type: CK_KEY_TYPE, value: &[u8]) -> CipherKey<'_> {
    match key_type {
        CKK_DES3 => CipherKey::TripleDes(value),
        CKK_CHACHA20 => CipherKey::ChaCha20(value),
        CKK_AES_XTS => CipherKey::AesXts(value),
        _ => CipherKey::Aes(value),
    }
}

/// An encryption or decryption.
pub struct CipherOperation {
    direction: Direction,
    engine: Engine,
    stash: Option<Stash>,
    /// True once a part was taken.
    parts: bool,
}

/// What came of a call whose buffer was too small.
struct Stash {
    /// Digest of the data.
    of: Vec<u8>,
    result: Result<Secret>,
    /// The reported length, an upper bound that depends on the input's length alone.
    bound: usize,
}

enum Engine {
    Local(Local),
    Remote(Remote),
    Rsa(Rsa),
    KeyWrap(DataWrap),
}

/// A symmetric cipher at work here.
struct Local {
    key: Arc<Secret>,
    key_type: CK_KEY_TYPE,
    setup: Setup,
    direction: Direction,
    /// `None` once it has ended, until it is wanted again for other data.
    cipher: Option<Cipher>,
    taken: usize,
}

impl Local {
    fn new(
        key: Arc<Secret>,
        key_type: CK_KEY_TYPE,
        setup: Setup,
        direction: Direction,
    ) -> Result<Local> {
        let mut local = Local {
            key,
            key_type,
            setup,
            direction,
            cipher: None,
            taken: 0,
        };
        local.cipher = Some(local.start()?);
        Ok(local)
    }

    fn start(&self) -> Result<Cipher> {
        Cipher::new(
            self.direction,
            cipher_key(self.key_type, self.key.expose()),
            self.setup.local(),
        )
    }

    fn take(&mut self) -> Result<Cipher> {
        self.cipher.take().map_or_else(|| self.start(), Ok)
    }
}

/// RSA: one block, whose parts wait until it is whole.
struct Rsa {
    side: Side,
    padding: RsaPadding,
    /// Length of the modulus in bytes.
    len: usize,
    held: Vec<u8>,
    key: Key,
    mechanism: CK_MECHANISM_TYPE,
}

enum Side {
    Public(PublicKey),
    Private(PrivateKey),
    Remote(Arc<dyn KeyStore>, Uid, store::Cipher),
}

#[derive(Clone)]
enum RsaPadding {
    Pkcs1,
    Raw,
    Oaep {
        hash: Hash,
        mgf: Hash,
        label: Vec<u8>,
    },
}

impl RsaPadding {
    fn parse(work: Work, params: &Params) -> Result<RsaPadding> {
        match (work, params) {
            (Work::RsaPkcs, Params::None) => Ok(RsaPadding::Pkcs1),
            (Work::RsaRaw, Params::None) => Ok(RsaPadding::Raw),
            (
                Work::RsaOaep,
                Params::Oaep {
                    hash,
                    mgf,
                    source,
                    label,
                },
            ) => {
                if *source != CKZ_DATA_SPECIFIED && !(*source == 0 && label.is_empty()) {
                    return Err(CKR_MECHANISM_PARAM_INVALID.into());
                }
                Ok(RsaPadding::Oaep {
                    hash: hash_of(*hash)?,
                    mgf: mgf_hash(*mgf)?,
                    label: label.clone(),
                })
            }
            _ => Err(CKR_MECHANISM_PARAM_INVALID.into()),
        }
    }

    fn local(&self) -> Padding<'_> {
        match self {
            RsaPadding::Pkcs1 => Padding::Pkcs1,
            RsaPadding::Raw => Padding::Raw,
            RsaPadding::Oaep { hash, mgf, label } => Padding::Oaep {
                hash: *hash,
                mgf: *mgf,
                label,
            },
        }
    }

    fn remote(&self) -> Option<store::Cipher> {
        match self {
            RsaPadding::Pkcs1 => Some(store::Cipher::RsaPkcs1),
            RsaPadding::Raw => None,
            RsaPadding::Oaep { hash, mgf, label } => Some(store::Cipher::RsaOaep {
                hash: *hash,
                mgf: *mgf,
                label: label.clone(),
            }),
        }
    }
}

impl Rsa {
    fn run(&mut self, data: &[u8]) -> Result<Secret> {
        match &self.side {
            Side::Public(key) => {
                // CKM_RSA_X_509 takes a number, however many leading zeros it is written with.
                let padded;
                let mut data = data;
                if matches!(self.padding, RsaPadding::Raw) && data.len() < self.len {
                    let mut number = vec![0; self.len - data.len()];
                    number.extend_from_slice(data);
                    padded = Secret::new(number);
                    data = padded.expose();
                }
                let number = matches!(self.padding, RsaPadding::Raw) && data.len() == self.len;
                key.encrypt(self.padding.local(), data)
                    .map(Secret::new)
                    .map_err(|e| not_below(number, e))
            }
            Side::Private(key) => {
                if data.len() != self.len {
                    return Err(CKR_ENCRYPTED_DATA_LEN_RANGE.into());
                }
                key.decrypt(self.padding.local(), data)
            }
            Side::Remote(store, uid, cipher) => {
                if data.len() != self.len {
                    return Err(CKR_ENCRYPTED_DATA_LEN_RANGE.into());
                }
                match store.decrypt(uid, Algorithm::Rsa, cipher, data) {
                    Err(e) => {
                        let value = self.key.instead(self.mechanism, e)?;
                        self.side = Side::Private(PrivateKey::from_pkcs8(value.expose())?);
                        self.run(data)
                    }
                    done => done,
                }
            }
        }
    }
}

impl CipherOperation {
    /// An operation for `C_EncryptInit` or `C_DecryptInit`.
    pub fn new(direction: Direction, mechanism: &Mechanism, key: Key) -> Result<CipherOperation> {
        let (function, usage) = match direction {
            Direction::Encrypt => (CKF_ENCRYPT, CKA_ENCRYPT),
            Direction::Decrypt => (CKF_DECRYPT, CKA_DECRYPT),
        };
        let work = serving(mechanism.kind, function)?.work;
        CipherOperation::for_usage(direction, work, mechanism, key, usage)
    }

    /// The same for another use of the key, which `usage` names (wrapping and unwrapping).
    pub(super) fn for_usage(
        direction: Direction,
        work: Work,
        mechanism: &Mechanism,
        key: Key,
        usage: CK_ATTRIBUTE_TYPE,
    ) -> Result<CipherOperation> {
        let engine = match work {
            Work::Cipher(key_type, mode) => {
                if key.class() != CKO_SECRET_KEY || key.key_type() != key_type {
                    return Err(CKR_KEY_TYPE_INCONSISTENT.into());
                }
                key.check(mechanism.kind, usage)?;
                let block = block_len(key_type);
                let setup = Setup::parse(mode, block, &mechanism.params)?;
                let ability = match direction {
                    Direction::Encrypt => Ability::Encrypt,
                    Direction::Decrypt => Ability::Decrypt,
                };
                let ability = setup.remote().map(|_| ability);
                match key.material(mechanism.kind, ability)? {
                    Material::Local(value) => {
                        Engine::Local(Local::new(value, key_type, setup, direction)?)
                    }
                    Material::Remote(store, uid) => Engine::Remote(Remote::new(
                        store,
                        uid,
                        key,
                        mechanism.kind,
                        setup,
                        direction,
                        block,
                    )),
                }
            }
            Work::RsaPkcs | Work::RsaRaw | Work::RsaOaep => {
                let class = if direction == Direction::Encrypt {
                    CKO_PUBLIC_KEY
                } else {
                    CKO_PRIVATE_KEY
                };
                if key.key_type() != CKK_RSA || key.class() != class {
                    return Err(CKR_KEY_TYPE_INCONSISTENT.into());
                }
                key.check(mechanism.kind, usage)?;
                let padding = RsaPadding::parse(work, &mechanism.params)?;
                let side = if direction == Direction::Encrypt {
                    Side::Public(key.token.public_key(&key.object)?)
                } else {
                    let cipher = padding.remote();
                    match (
                        key.material(mechanism.kind, cipher.as_ref().map(|_| Ability::Decrypt))?,
                        cipher,
                    ) {
                        (Material::Remote(store, uid), Some(cipher)) => {
                            Side::Remote(store, uid, cipher)
                        }
                        (Material::Local(value), _) => {
                            Side::Private(key.token.private_key(&key.object, &value)?)
                        }
                        _ => return Err(CKR_MECHANISM_INVALID.into()),
                    }
                };
                let len = key.modulus_len()?;
                Engine::Rsa(Rsa {
                    side,
                    padding,
                    len,
                    held: Vec::new(),
                    key,
                    mechanism: mechanism.kind,
                })
            }
            Work::KeyWrap | Work::KeyWrapPad | Work::KeyWrapPkcs7 => {
                Engine::KeyWrap(DataWrap::new(direction, work, mechanism, &key, usage)?)
            }
            _ => return Err(CKR_MECHANISM_INVALID.into()),
        };
        Ok(CipherOperation {
            direction,
            engine,
            stash: None,
            parts: false,
        })
    }

    /// Length of the result of `len` bytes at once, and whether it is that exactly.
    fn whole_len(&self, len: usize) -> (usize, bool) {
        match &self.engine {
            Engine::Local(local) => {
                let padded = self.direction == Direction::Decrypt
                    && matches!(local.setup, Setup::CbcPad { .. });
                (
                    local
                        .setup
                        .output_len(self.direction, block_len(local.key_type), len),
                    !padded,
                )
            }
            Engine::Remote(remote) => remote.whole_len(len),
            Engine::Rsa(rsa) => (
                rsa.len,
                self.direction == Direction::Encrypt || matches!(rsa.padding, RsaPadding::Raw),
            ),
            Engine::KeyWrap(block) => block.whole_len(len),
        }
    }

    /// All data at once: `C_Encrypt`, `C_Decrypt`.
    pub fn run(&mut self, data: &[u8], room: Option<usize>) -> Result<Output> {
        if self.parts {
            return Err(CKR_OPERATION_NOT_INITIALIZED.into());
        }
        if let Some(output) = self.stashed(data, room)? {
            return Ok(output);
        }
        let (bound, exact) = self.whole_len(data.len());
        match room {
            None => return Ok(Output::Length(bound)),
            Some(room) if exact && room < bound => return Ok(Output::TooSmall(bound)),
            Some(_) => {}
        }
        let result = self.work(data);
        self.deliver(data, result, room, bound)
    }

    fn work(&mut self, data: &[u8]) -> Result<Secret> {
        match &mut self.engine {
            Engine::Local(local) => {
                local
                    .setup
                    .check_len(local.direction, block_len(local.key_type), data.len())?;
                Ok(Secret::new(local.take()?.run(data)?))
            }
            Engine::Remote(remote) => match remote.run(data) {
                Err(e) => {
                    let mut local = self.fall_back(e)?;
                    let result = Secret::new(local.take()?.run(data)?);
                    self.engine = Engine::Local(local);
                    Ok(result)
                }
                done => done,
            },
            Engine::Rsa(rsa) => rsa.run(data),
            Engine::KeyWrap(block) => block.run(data),
        }
    }

    /// The next part: `C_EncryptUpdate`, `C_DecryptUpdate`. Nothing is taken unless the result fits.
    pub fn update(&mut self, part: &[u8], room: Option<usize>) -> Result<Output> {
        if self.stash.is_some() {
            return Err(CKR_OPERATION_NOT_INITIALIZED.into());
        }
        let len = match &self.engine {
            Engine::Local(local) => local
                .cipher
                .as_ref()
                .map_or(0, |c| c.update_len(part.len())),
            Engine::Remote(remote) => remote.update_len(part.len(), room),
            Engine::Rsa(_) | Engine::KeyWrap(_) => 0,
        };
        if room.is_none() && !part.is_empty() {
            return Ok(Output::Length(never_zero(len)));
        }
        if let Some(output) = Output::early(len, room) {
            return Ok(output);
        }
        self.parts = true;
        let result = match &mut self.engine {
            Engine::Local(local) => {
                local.taken = local.taken.saturating_add(part.len());
                local
                    .cipher
                    .as_mut()
                    .ok_or(CKR_OPERATION_NOT_INITIALIZED)?
                    .update(part)?
            }
            Engine::Remote(remote) => match remote.update(part, len) {
                Ok(result) => result,
                Err(e) => {
                    let held = reserve::copy(remote.held())?;
                    let mut local = self.fall_back(e)?;
                    let cipher = local.cipher.as_mut().ok_or(CKR_FUNCTION_FAILED)?;
                    let mut result = cipher.update(&held)?;
                    cipher.update_into(part, &mut result)?;
                    local.taken = held.len() + part.len();
                    self.engine = Engine::Local(local);
                    result
                }
            },
            Engine::Rsa(rsa) => {
                if rsa.held.len() + part.len() > rsa.len {
                    return Err(bad_len(self.direction));
                }
                rsa.held.extend_from_slice(part);
                Vec::new()
            }
            Engine::KeyWrap(block) => {
                block.take(part)?;
                Vec::new()
            }
        };
        Ok(Output::Bytes(Secret::new(result)))
    }

    /// The end: `C_EncryptFinal`, `C_DecryptFinal`.
    pub fn finish(&mut self, room: Option<usize>) -> Result<Output> {
        if let Some(output) = self.stashed(&[], room)? {
            return Ok(output);
        }
        let (bound, exact) = match &self.engine {
            Engine::Local(local) => (
                local.cipher.as_ref().map_or(0, |c| c.finish_len(0)),
                !(self.direction == Direction::Decrypt
                    && matches!(local.setup, Setup::CbcPad { .. })),
            ),
            Engine::Remote(remote) => remote.finish_len(),
            Engine::Rsa(_) | Engine::KeyWrap(_) => self.whole_len(0),
        };
        match room {
            None => return Ok(Output::Length(never_zero(bound))),
            Some(room) if exact && room < bound => return Ok(Output::TooSmall(bound)),
            Some(_) => {}
        }
        let result = self.work_to_end();
        self.deliver(&[], result, room, never_zero(bound))
    }

    fn work_to_end(&mut self) -> Result<Secret> {
        match &mut self.engine {
            Engine::Local(local) => {
                if let Setup::Ccm { .. } = local.setup {
                    local.setup.check_len(local.direction, 1, local.taken)?;
                }
                let cipher = local.cipher.take().ok_or(CKR_OPERATION_NOT_INITIALIZED)?;
                Ok(Secret::new(cipher.finish()?))
            }
            Engine::Remote(remote) => match remote.finish() {
                Err(e) => {
                    let held = reserve::copy(remote.held())?;
                    Ok(Secret::new(self.fall_back(e)?.take()?.run(&held)?))
                }
                done => done,
            },
            Engine::Rsa(rsa) => {
                let held = std::mem::take(&mut rsa.held);
                rsa.run(&held)
            }
            Engine::KeyWrap(block) => block.finish(),
        }
    }

    /// A local cipher in the place of a store that refused the mechanism at the first request.
    fn fall_back(&self, error: Error) -> Result<Local> {
        let Engine::Remote(remote) = &self.engine else {
            return Err(error);
        };
        let value = remote.instead(error)?;
        Local::new(
            value,
            remote.key.key_type(),
            remote.setup.clone(),
            self.direction,
        )
    }

    /// The result kept from a call whose buffer was too small, when this call is for the same data.
    fn stashed(&mut self, data: &[u8], room: Option<usize>) -> Result<Option<Output>> {
        let Some(stash) = &self.stash else {
            return Ok(None);
        };
        let fits = |room| matches!(&stash.result, Ok(result) if result.len() <= room);
        match room {
            None => return Ok(Some(Output::Length(stash.bound))),
            Some(room) if room < stash.bound && !fits(room) => {
                return Ok(Some(Output::TooSmall(stash.bound)));
            }
            Some(_) => {}
        }
        let same = stash.of == digest(Hash::Sha256, data)?;
        match self.stash.take() {
            Some(stash) if same => stash.result.map(Output::Bytes).map(Some),
            _ => Ok(None),
        }
    }

    /// Gives out a result, which has at most `bound` bytes.
    ///
    /// Only in a buffer with room for that does it show whether a padding was right, and in none how long it was: in a smaller one a
    /// wrong padding and a result that does not fit look the same.
    fn deliver(
        &mut self,
        data: &[u8],
        result: Result<Secret>,
        room: Option<usize>,
        bound: usize,
    ) -> Result<Output> {
        let unseen = match &result {
            Ok(result) => room.is_some_and(|room| room < result.len()),
            Err(e) => e.rv() == CKR_ENCRYPTED_DATA_INVALID && room.is_some_and(|room| room < bound),
        };
        if !unseen {
            return result.map(Output::Bytes);
        }
        self.stash = Some(Stash {
            of: digest(Hash::Sha256, data)?,
            result,
            bound,
        });
        Ok(Output::TooSmall(bound))
    }
}

/// The length to ask a buffer of. A buffer of no bytes is often NULL (PyKCS11), with which the next call would ask once more, and
/// neither take the part nor end the operation. The standard lets the answer be larger than the result (PKCS#11 3.0, 5.2).
fn never_zero(len: usize) -> usize {
    len.max(1)
}

impl Key {
    /// Length of an RSA key's modulus in bytes.
    pub(super) fn modulus_len(&self) -> Result<usize> {
        if let Some(bits) = self.object.attributes.number(CKA_MODULUS_BITS) {
            return Ok(bits.div_ceil(8) as usize);
        }
        match self
            .token
            .public_key(&self.object)
            .map_err(|e| self.explain(e))?
            .kind()
        {
            crate::crypto::pkey::Kind::Rsa { bits } => Ok(bits.div_ceil(8) as usize),
            crate::crypto::pkey::Kind::Ec(_) => Err(CKR_KEY_TYPE_INCONSISTENT.into()),
        }
    }
}
