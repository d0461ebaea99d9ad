//! Signing, authenticating and verifying, whole or in parts. Signatures are verified here, with the public key; a private key or
//! secret that stays in its store signs there.

use super::mac::Authenticator;
use super::scheme::{Input, Plan, signature_len};
use super::signer::Signer;
use super::table::{Work, serving};
use super::{Key, Mechanism, Output};
use crate::ck::*;
use crate::crypto::pkey::{Padding, PublicKey, Scheme};
use crate::error::Result;
use crate::secret::Secret;

/// A signature or MAC being made.
pub struct SignOperation {
    engine: SignEngine,
    parts: bool,
}

enum SignEngine {
    Mac(Authenticator),
    Key(Box<Signer>),
}

impl SignOperation {
    /// An operation for `C_SignInit`, or with `recover` for `C_SignRecoverInit`.
    pub fn new(mechanism: &Mechanism, key: Key, recover: bool) -> Result<SignOperation> {
        let (function, usage) = if recover {
            (CKF_SIGN_RECOVER, CKA_SIGN_RECOVER)
        } else {
            (CKF_SIGN, CKA_SIGN)
        };
        let work = serving(mechanism.kind, function)?.work;
        let engine = match work {
            Work::Hmac(..) | Work::Cmac(..) | Work::Gmac => {
                SignEngine::Mac(Authenticator::new(work, mechanism, key, usage)?)
            }
            _ => {
                let plan = Plan::parse(work, &mechanism.params)?;
                if key.class() != CKO_PRIVATE_KEY || !plan.fits(key.key_type()) {
                    return Err(CKR_KEY_TYPE_INCONSISTENT.into());
                }
                key.check(mechanism.kind, usage)?;
                SignEngine::Key(Box::new(Signer::new(plan, mechanism, key)?))
            }
        };
        Ok(SignOperation {
            engine,
            parts: false,
        })
    }

    /// Length of the result in bytes.
    pub(super) fn len(&self) -> usize {
        match &self.engine {
            SignEngine::Mac(mac) => mac.len,
            SignEngine::Key(signer) => signer.len,
        }
    }

    fn take(&mut self, part: &[u8]) -> Result<()> {
        match &mut self.engine {
            SignEngine::Mac(mac) => mac.update(part),
            SignEngine::Key(signer) => signer.input.update(part),
        }
    }

    /// The whole message at once: `C_Sign`.
    pub fn run(&mut self, data: &[u8], room: Option<usize>) -> Result<Output> {
        if self.parts {
            return Err(CKR_OPERATION_NOT_INITIALIZED.into());
        }
        if let Some(output) = Output::early(self.len(), room) {
            return Ok(output);
        }
        self.take(data)?;
        self.finish(room)
    }

    /// The next part: `C_SignUpdate`.
    pub fn update(&mut self, part: &[u8]) -> Result<()> {
        self.parts = true;
        self.take(part)
    }

    /// The end: `C_SignFinal`.
    pub fn finish(&mut self, room: Option<usize>) -> Result<Output> {
        if let Some(output) = Output::early(self.len(), room) {
            return Ok(output);
        }
        let signature = match &mut self.engine {
            SignEngine::Mac(mac) => mac.finish()?,
            SignEngine::Key(signer) => signer.finish()?,
        };
        Ok(Output::Bytes(Secret::new(signature)))
    }
}

/// A signature or MAC being verified.
pub struct VerifyOperation {
    engine: VerifyEngine,
    parts: bool,
}

enum VerifyEngine {
    Mac(Authenticator),
    Key {
        plan: Plan,
        input: Input,
        key: PublicKey,
        len: usize,
    },
}

impl VerifyOperation {
    /// An operation for `C_VerifyInit`, or with `recover` for `C_VerifyRecoverInit`.
    pub fn new(mechanism: &Mechanism, key: Key, recover: bool) -> Result<VerifyOperation> {
        let (function, usage) = if recover {
            (CKF_VERIFY_RECOVER, CKA_VERIFY_RECOVER)
        } else {
            (CKF_VERIFY, CKA_VERIFY)
        };
        let work = serving(mechanism.kind, function)?.work;
        let engine = match work {
            Work::Hmac(..) | Work::Cmac(..) | Work::Gmac => {
                VerifyEngine::Mac(Authenticator::new(work, mechanism, key, usage)?)
            }
            _ => {
                let plan = Plan::parse(work, &mechanism.params)?;
                if key.class() != CKO_PUBLIC_KEY || !plan.fits(key.key_type()) {
                    return Err(CKR_KEY_TYPE_INCONSISTENT.into());
                }
                key.check(mechanism.kind, usage)?;
                let len = signature_len(&key)?;
                plan.check_salt(len)?;
                let key = key.token.public_key(&key.object)?;
                VerifyEngine::Key {
                    plan,
                    input: Input::new(plan.hash, false)?,
                    key,
                    len,
                }
            }
        };
        Ok(VerifyOperation {
            engine,
            parts: false,
        })
    }

    /// The whole message at once: `C_Verify`.
    pub fn run(&mut self, data: &[u8], signature: &[u8]) -> Result<()> {
        if self.parts {
            return Err(CKR_OPERATION_NOT_INITIALIZED.into());
        }
        self.update(data)?;
        self.finish(signature)
    }

    /// The next part: `C_VerifyUpdate`.
    pub fn update(&mut self, part: &[u8]) -> Result<()> {
        self.parts = true;
        match &mut self.engine {
            VerifyEngine::Mac(mac) => mac.update(part),
            VerifyEngine::Key { input, .. } => input.update(part),
        }
    }

    /// The end: `C_VerifyFinal`.
    pub fn finish(&mut self, signature: &[u8]) -> Result<()> {
        match &mut self.engine {
            VerifyEngine::Mac(mac) => {
                if signature.len() != mac.len {
                    return Err(CKR_SIGNATURE_LEN_RANGE.into());
                }
                let same = Secret::new(mac.finish()?) == Secret::new(signature.to_vec());
                if same {
                    Ok(())
                } else {
                    Err(CKR_SIGNATURE_INVALID.into())
                }
            }
            VerifyEngine::Key {
                plan,
                input,
                key,
                len,
            } => {
                let data = plan.fit(input.finish()?, *len)?;
                match plan.scheme {
                    // Some applications trim the zeros that both numbers start with.
                    Scheme::Ecdsa
                        if signature.len() < *len
                            && signature.len().is_multiple_of(2)
                            && !signature.is_empty() =>
                    {
                        let same = key.verify(plan.scheme, &data, &widened(signature, *len));
                        same.map_err(|e| e.with_rv(CKR_SIGNATURE_LEN_RANGE))
                    }
                    Scheme::RsaRaw if data.len() < *len => key.verify(
                        plan.scheme,
                        &[&vec![0; *len - data.len()], &data[..]].concat(),
                        signature,
                    ),
                    _ => key.verify(plan.scheme, &data, signature),
                }
            }
        }
    }

    /// The data that an RSA signature carries: `C_VerifyRecover`.
    pub fn recover(&mut self, signature: &[u8], room: Option<usize>) -> Result<Output> {
        let VerifyEngine::Key { plan, key, len, .. } = &self.engine else {
            return Err(CKR_MECHANISM_INVALID.into());
        };
        if signature.len() != *len {
            return Err(CKR_SIGNATURE_LEN_RANGE.into());
        }
        // Nothing is asked of anyone for this, so that the result itself can answer a size query.
        let number = key
            .encrypt(Padding::Raw, signature)
            .map_err(|_| CKR_SIGNATURE_INVALID)?;
        let data = match plan.scheme {
            Scheme::RsaRaw => &number[..],
            _ => unpad_type_1(&number).ok_or(CKR_SIGNATURE_INVALID)?,
        };
        Ok(Output::early(data.len(), room)
            .unwrap_or_else(|| Output::Bytes(Secret::new(data.to_vec()))))
    }
}

/// The content of an encryption block of type 1 (RFC 8017, 9.2): 00 01 FF.. 00, then the data.
fn unpad_type_1(block: &[u8]) -> Option<&[u8]> {
    let rest = block.strip_prefix(&[0x00, 0x01])?;
    let filler = rest.iter().position(|&b| b != 0xff)?;
    if filler < 8 {
        None
    } else {
        rest[filler..].strip_prefix(&[0x00])
    }
}

/// An ECDSA signature with both numbers in full length.
fn widened(signature: &[u8], len: usize) -> Vec<u8> {
    let (r, s) = signature.split_at(signature.len() / 2);
    let zeros = vec![0; len / 2 - r.len()];
    [&zeros, r, &zeros, s].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trimmed_signatures_are_widened_number_by_number() {
        assert_eq!(widened(&[1, 2, 3, 4], 8), [0, 0, 1, 2, 0, 0, 3, 4]);
    }

    #[test]
    fn type_1_blocks() {
        let block = [&[0, 1][..], &[0xff; 8], &[0, 9, 8]].concat();
        assert_eq!(unpad_type_1(&block), Some(&[9, 8][..]));
        assert_eq!(unpad_type_1(&block[1..]), None);
        assert_eq!(
            unpad_type_1(&[&[0, 1][..], &[0xff; 7], &[0, 9]].concat()),
            None
        );
        assert_eq!(unpad_type_1(&[&[0, 1][..], &[0xff; 9]].concat()), None);
    }
}
