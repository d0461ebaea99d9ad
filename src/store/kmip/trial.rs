//! Trials: what a server is asked with a key whose value is known, and what the right answers are.

use super::crypt::{block_len, decrypt_request, encrypt_request, encrypted};
use super::facts::Facts;
use super::sign::mac_request;
use crate::ck::CKR_MECHANISM_INVALID;
use crate::crypto::cipher::{Cipher as Local, Direction, Key, Mode as LocalMode, set_parity};
use crate::crypto::pkey::{Padding, PrivateKey};
use crate::crypto::{mac, rng};
use crate::error::{Error, Kind, Result};
use crate::kmip::message::{RequestBatch, ResponseMessage};
use crate::kmip::{DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, MacRequest};
use crate::net::{Call, Transport};
use crate::secret::Secret;
use crate::store::{Algorithm, Cipher, Class, Hash, Mac, Spec, Uid, Usage, Wrapping};
use crate::version::Version;

/// Label of the keys of trials, from which their names are made: whoever sees one on a server can tell what it was for.
const LABEL: &str = "mrhsm-trial";

/// Something that a server is proven to do rightly, or not. Its `Debug` text is the name under which that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Act {
    Encrypt(Algorithm, Mode),
    Decrypt(Algorithm, Mode),
    Mac(Mac),
    Wrap(Wrapping),
    Unwrap(Wrapping),
}

/// A cipher, without what differs from message to message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Mode {
    Ecb,
    Cbc,
    CbcPad,
    Ctr,
    /// The nonce has 96 bits; any other is hashed first.
    Gcm {
        usual_nonce: bool,
    },
    RsaPkcs1,
    RsaOaep {
        hash: Hash,
        mgf: Hash,
        labelled: bool,
    },
}

impl Mode {
    pub(super) fn of(cipher: &Cipher) -> Mode {
        match cipher {
            Cipher::Ecb => Mode::Ecb,
            Cipher::Cbc { .. } => Mode::Cbc,
            Cipher::CbcPad { .. } => Mode::CbcPad,
            Cipher::Ctr { .. } => Mode::Ctr,
            Cipher::Gcm { iv, .. } => Mode::Gcm {
                usual_nonce: iv.len() == 12,
            },
            Cipher::RsaPkcs1 => Mode::RsaPkcs1,
            Cipher::RsaOaep { hash, mgf, label } => Mode::RsaOaep {
                hash: *hash,
                mgf: *mgf,
                labelled: !label.is_empty(),
            },
        }
    }
}

/// A key of known value and what it makes.
pub(super) struct Trial {
    pub(super) spec: Spec,
    pub(super) value: Secret,
    pub(super) steps: Vec<Step>,
}

/// One thing that is asked of the server.
pub(super) struct Step {
    pub(super) act: Act,
    question: Question,
}

enum Question {
    Encrypt(Sample),
    Decrypt(Sample),
    /// Decrypts what was changed on its way, which an authenticated mode must refuse.
    Forged(Sample),
    Mac {
        mac: Mac,
        data: Vec<u8>,
        code: Vec<u8>,
    },
}

/// A message, and what it is encrypted.
#[derive(Clone)]
struct Sample {
    algorithm: Algorithm,
    cipher: Cipher,
    /// The form in which this server takes it.
    usual: bool,
    plain: Vec<u8>,
    sealed: Vec<u8>,
}

impl Sample {
    /// What an encryption made; nothing, which is wrong, where it has not even the right length.
    fn made(&self, answer: EncryptResponse) -> Vec<u8> {
        encrypted(&self.cipher, answer, self.plain.len()).unwrap_or_default()
    }
}

impl Trial {
    /// A trial that shows whether a server does `act`, and what else goes with it at the same price.
    pub(super) fn new(act: Act, facts: &Facts) -> Result<Trial> {
        match act {
            Act::Encrypt(algorithm, mode) | Act::Decrypt(algorithm, mode) => match mode {
                Mode::RsaPkcs1 | Mode::RsaOaep { .. } => Trial::rsa(act, mode),
                _ => Trial::cipher(algorithm, mode, facts),
            },
            Act::Mac(mac) => Trial::mac(mac),
            // These take two keys: see `wrap`.
            Act::Wrap(_) | Act::Unwrap(_) => Err(CKR_MECHANISM_INVALID.into()),
        }
    }

    fn cipher(algorithm: Algorithm, mode: Mode, facts: &Facts) -> Result<Trial> {
        let (spec, value) = secret(algorithm, Usage::ENCRYPT | Usage::DECRYPT)?;
        let block = block_len(algorithm);
        // As much as shows chaining and an end that is no whole block.
        let len = if matches!(mode, Mode::Ecb | Mode::Cbc) {
            2 * block
        } else {
            5 * block / 2
        };
        let (cipher, usual) = match mode {
            Mode::Ecb => (Cipher::Ecb, facts.unpadded.may()),
            Mode::Cbc => (Cipher::Cbc { iv: random(block)? }, facts.unpadded.may()),
            Mode::CbcPad => (Cipher::CbcPad { iv: random(block)? }, true),
            Mode::Ctr => {
                // The lower half runs over: a counter that is too short shows.
                let mut counter = random(block)?;
                counter[block / 2..].fill(0xff);
                (Cipher::Ctr { counter }, facts.plain_counter.may())
            }
            Mode::Gcm { usual_nonce } => {
                let iv = random(if usual_nonce { 12 } else { 16 })?;
                (
                    Cipher::Gcm {
                        iv,
                        aad: random(20)?,
                        tag_len: 16,
                    },
                    facts.plain_gcm.may(),
                )
            }
            Mode::RsaPkcs1 | Mode::RsaOaep { .. } => return Err(CKR_MECHANISM_INVALID.into()),
        };
        let plain = random(len)?;
        // A server that only knows padding is shown the block that it adds.
        let padded = match (mode, usual) {
            (Mode::Ecb | Mode::Cbc, false) => {
                [plain.as_slice(), &vec![block as u8; block]].concat()
            }
            _ => plain.clone(),
        };
        let sealed = seal(algorithm, &cipher, value.expose(), &padded)?;
        let sample = Sample {
            algorithm,
            cipher,
            usual,
            plain,
            sealed,
        };
        let decrypt = Act::Decrypt(algorithm, mode);
        let mut steps = vec![
            Step {
                act: Act::Encrypt(algorithm, mode),
                question: Question::Encrypt(sample.clone()),
            },
            Step {
                act: decrypt,
                question: Question::Decrypt(sample.clone()),
            },
        ];
        if let Mode::Gcm { .. } = mode {
            let mut forged = sample;
            forged.sealed[0] ^= 1;
            // Last, because it is to fail.
            steps.push(Step {
                act: decrypt,
                question: Question::Forged(forged),
            });
        }
        Ok(Trial { spec, value, steps })
    }

    fn rsa(act: Act, mode: Mode) -> Result<Trial> {
        let key = PrivateKey::generate_rsa(2048, &[1, 0, 1])?;
        let cipher = match mode {
            Mode::RsaOaep {
                hash,
                mgf,
                labelled,
            } => Cipher::RsaOaep {
                hash,
                mgf,
                label: if labelled { random(8)? } else { Vec::new() },
            },
            _ => Cipher::RsaPkcs1,
        };
        let padding = match &cipher {
            Cipher::RsaOaep { hash, mgf, label } => Padding::Oaep {
                hash: *hash,
                mgf: *mgf,
                label,
            },
            _ => Padding::Pkcs1,
        };
        let plain = random(24)?;
        let sealed = key.public()?.encrypt(padding, &plain)?;
        let sample = Sample {
            algorithm: Algorithm::Rsa,
            cipher,
            usual: true,
            plain,
            sealed,
        };
        let spec = spec(Class::PrivateKey, Algorithm::Rsa, 2048, Usage::DECRYPT);
        Ok(Trial {
            spec,
            value: key.to_pkcs8()?,
            steps: vec![Step {
                act,
                question: Question::Decrypt(sample),
            }],
        })
    }

    fn mac(mac: Mac) -> Result<Trial> {
        let algorithm = match mac {
            Mac::Hmac(hash) => Algorithm::Hmac(hash),
            Mac::Cmac(algorithm) => algorithm,
        };
        let (spec, value) = secret(algorithm, Usage::MAC_GENERATE | Usage::MAC_VERIFY)?;
        let data = random(50)?;
        let code = match mac {
            Mac::Hmac(hash) => mac::hmac(hash, value.expose(), &data)?,
            Mac::Cmac(algorithm) => mac::cmac(local_key(algorithm, value.expose()), &data)?,
        };
        Ok(Trial {
            spec,
            value,
            steps: vec![Step {
                act: Act::Mac(mac),
                question: Question::Mac { mac, data, code },
            }],
        })
    }
}

impl Step {
    /// Asks as one item of a batch.
    pub(super) fn push(
        &self,
        version: Version,
        uid: &Uid,
        batch: &mut RequestBatch,
    ) -> Result<usize> {
        Ok(match &self.question {
            Question::Encrypt(s) => batch.push(&encrypt_request(
                uid,
                s.algorithm,
                &s.cipher,
                s.usual,
                &s.plain,
                version,
            )?),
            Question::Decrypt(s) | Question::Forged(s) => batch.push(&decrypt_request(
                uid,
                s.algorithm,
                &s.cipher,
                s.usual,
                &s.sealed,
                version,
            )?),
            Question::Mac { mac, data, .. } => batch.push(&mac_request(uid, *mac, data, version)?),
        })
    }

    /// What the server made, by its answer to that item.
    pub(super) fn answer(&self, message: &ResponseMessage<'_>, index: usize) -> Result<Vec<u8>> {
        Ok(match &self.question {
            Question::Encrypt(s) => s.made(message.get::<EncryptRequest>(index)?),
            Question::Decrypt(_) | Question::Forged(_) => {
                decrypted(message.get::<DecryptRequest>(index)?)
            }
            Question::Mac { .. } => message
                .get::<MacRequest>(index)?
                .mac_data
                .unwrap_or_default(),
        })
    }

    /// What the server makes, asked in a request of its own.
    pub(super) fn ask<T: Transport>(&self, call: &Call<'_, T>, uid: &Uid) -> Result<Vec<u8>> {
        let version = call.version()?;
        Ok(match &self.question {
            Question::Encrypt(s) => s.made(call.request(&encrypt_request(
                uid,
                s.algorithm,
                &s.cipher,
                s.usual,
                &s.plain,
                version,
            )?)?),
            Question::Decrypt(s) | Question::Forged(s) => decrypted(call.request(
                &decrypt_request(uid, s.algorithm, &s.cipher, s.usual, &s.sealed, version)?,
            )?),
            Question::Mac { mac, data, .. } => call
                .request(&mac_request(uid, *mac, data, version)?)?
                .mac_data
                .unwrap_or_default(),
        })
    }

    /// Whether an answer is right; the error where it says nothing about that.
    pub(super) fn judge(&self, answer: Result<Vec<u8>>) -> Result<bool> {
        match (&self.question, answer) {
            (Question::Forged(_), Ok(_)) => Ok(false),
            (Question::Forged(_), Err(e)) if matches!(e.kind(), Kind::Server(_)) => Ok(true),
            (_, Err(e)) => Err(e),
            // Some pad although they were told not to: what is added is taken off whenever they encrypt.
            (Question::Encrypt(s), Ok(answer))
                if matches!(s.cipher, Cipher::Ecb | Cipher::Cbc { .. }) && s.usual =>
            {
                Ok(answer.starts_with(&s.sealed))
            }
            (Question::Encrypt(s), Ok(answer)) => Ok(answer == s.sealed),
            (Question::Decrypt(s), Ok(answer)) => Ok(answer == s.plain),
            (Question::Mac { code, .. }, Ok(answer)) => Ok(answer == *code),
        }
    }
}

fn decrypted(answer: DecryptResponse) -> Vec<u8> {
    answer.data.unwrap_or_default().expose().to_vec()
}

/// Whether a key of this name is one of a trial.
pub(super) fn is_trial(name: &str) -> bool {
    name.strip_prefix(LABEL)
        .is_some_and(|rest| rest.starts_with('#'))
}

fn random(len: usize) -> Result<Vec<u8>> {
    Ok(rng::bytes(len)?.expose().to_vec())
}

fn spec(class: Class, algorithm: Algorithm, bits: u32, usage: Usage) -> Spec {
    Spec {
        class,
        algorithm,
        bits,
        usage,
        name: None,
        group: None,
        label: LABEL.into(),
        id: Vec::new(),
        sensitive: false,
        extractable: true,
        properties: std::collections::BTreeMap::new(),
    }
}

/// A random secret key.
pub(super) fn secret(algorithm: Algorithm, usage: Usage) -> Result<(Spec, Secret)> {
    let mut value = random(if algorithm == Algorithm::TripleDes {
        24
    } else {
        32
    })?;
    if algorithm == Algorithm::TripleDes {
        set_parity(&mut value);
    }
    let bits = 8 * value.len() as u32;
    Ok((
        spec(Class::SecretKey, algorithm, bits, usage),
        Secret::new(value),
    ))
}

fn local_key(algorithm: Algorithm, value: &[u8]) -> Key<'_> {
    if algorithm == Algorithm::TripleDes {
        Key::TripleDes(value)
    } else {
        Key::Aes(value)
    }
}

/// What the cipher makes here.
fn seal(algorithm: Algorithm, cipher: &Cipher, value: &[u8], plain: &[u8]) -> Result<Vec<u8>> {
    let mode = match cipher {
        Cipher::Ecb => LocalMode::Ecb,
        Cipher::Cbc { iv } => LocalMode::Cbc { iv },
        Cipher::CbcPad { iv } => LocalMode::CbcPad { iv },
        Cipher::Ctr { counter } => LocalMode::Ctr { counter, bits: 128 },
        Cipher::Gcm { iv, aad, tag_len } => LocalMode::Gcm {
            iv,
            aad,
            tag_len: *tag_len,
        },
        Cipher::RsaPkcs1 | Cipher::RsaOaep { .. } => {
            return Err(Error::from(CKR_MECHANISM_INVALID));
        }
    };
    Local::new(Direction::Encrypt, local_key(algorithm, value), mode)?.run(plain)
}
