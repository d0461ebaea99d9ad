//! Private keys signing, here or in the store.

use std::sync::Arc;

use super::scheme::{Input, Plan, hash_by_len, signature_len};
use super::{Key, Mechanism, not_below, refuses_mechanism};
use crate::ck::*;
use crate::crypto::Hash;
use crate::crypto::pkey::{PrivateKey, Scheme};
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;
use crate::store::{Ability, KeyStore, Message, Signing, Uid};
use crate::token::objects::Material;

/// A private key signing.
pub(super) struct Signer {
    plan: Plan,
    pub(super) input: Input,
    side: Side,
    key: Key,
    mechanism: CK_MECHANISM_TYPE,
    /// Length of the signature.
    pub(super) len: usize,
}

enum Side {
    Local(PrivateKey),
    Remote(Arc<dyn KeyStore>, Uid),
}

impl Signer {
    pub(super) fn new(plan: Plan, mechanism: &Mechanism, key: Key) -> Result<Signer> {
        let len = signature_len(&key)?;
        plan.check_salt(len)?;
        let ability = plan.in_store().then_some(Ability::Sign);
        let side = match key.material(mechanism.kind, ability)? {
            Material::Local(value) => Side::Local(key.token.private_key(&key.object, &value)?),
            // What the store has said of the parameter of this key's signatures is said by the function that may.
            Material::Remote(_, uid)
                if plan
                    .pss()
                    .is_some_and(|pss| key.token.has_declined(&uid, pss)) =>
            {
                return Err(CKR_MECHANISM_PARAM_INVALID.into());
            }
            Material::Remote(store, uid) => Side::Remote(store, uid),
        };
        let input = Input::new(plan.hash, matches!(side, Side::Remote(..)))?;
        Ok(Signer {
            plan,
            input,
            side,
            key,
            mechanism: mechanism.kind,
            len,
        })
    }

    pub(super) fn finish(&mut self) -> Result<Vec<u8>> {
        let whole = if self.plan.hash.is_some() {
            self.input.whole.take()
        } else {
            None
        };
        let data = self.plan.fit(self.input.finish()?, self.len)?;
        let signature = match &self.side {
            Side::Local(key) => sign_here(key, self.plan.scheme, &data, self.len),
            Side::Remote(store, uid) => {
                let question = self.question(whole.as_ref(), &data);
                let asked = match question {
                    Some((signing, message)) => {
                        self.ask(store.as_ref(), uid, signing, message, &data)
                    }
                    None => Err(CKR_MECHANISM_INVALID.into()),
                };
                match asked {
                    Ok(signature) => Ok(signature),
                    Err(e) => {
                        let value = self.key.instead(self.mechanism, e).map_err(|e| {
                            if let Some(pss) = self
                                .plan
                                .pss()
                                .filter(|_| e.rv() == CKR_MECHANISM_PARAM_INVALID)
                            {
                                self.key.token.decline(uid, pss);
                            }
                            if question.is_some() {
                                e
                            } else {
                                e.with_rv(self.plan.unusual())
                            }
                        })?;
                        sign_here(
                            &PrivateKey::from_pkcs8(value.expose())?,
                            self.plan.scheme,
                            &data,
                            self.len,
                        )
                    }
                }
            }
        }?;
        if signature.len() != self.len {
            return Err(Error::protocol(format!(
                "the server made a signature of {} bytes, not {}",
                signature.len(),
                self.len
            )));
        }
        Ok(signature)
    }

    /// Has the store sign. The first signature of a kind is verified before anybody sees it, and asked for in other forms as long as it
    /// is wrong: there are servers that sign with Success in another scheme than they were asked to.
    fn ask(
        &self,
        store: &dyn KeyStore,
        uid: &Uid,
        signing: Signing,
        message: Message<'_>,
        data: &[u8],
    ) -> Result<Vec<u8>> {
        let token = &self.key.token;
        let wrong = || {
            let sentence =
                format!("the server's {signing:?} signatures do not verify with the key {uid}");
            Error::new(Kind::Protocol, CKR_MECHANISM_INVALID, sentence)
        };
        let claim = format!("Sign({}, {signing:?})", mechanism_name(self.mechanism));
        let proven = || store.is_proven(&claim).then_some(true);
        match token.verdict(self.mechanism, signing).or_else(proven) {
            Some(true) => return store.sign(uid, signing, message),
            Some(false) => return Err(wrong()),
            None => {}
        }
        let mut otherwise = false;
        loop {
            match store.sign(uid, signing, message) {
                Ok(signature) => match self.verify(data, &signature) {
                    Some(true) => {
                        token.judge(self.mechanism, signing, true);
                        store.note_proven(&claim);
                        return Ok(signature);
                    }
                    Some(false) => crate::log!(Warn, "{}", wrong()),
                    None => return Ok(signature),
                },
                // A form that this server does not take.
                Err(e) if otherwise && refuses_mechanism(&e) => {}
                Err(e) => return Err(e),
            }
            otherwise = true;
            if !store.sign_otherwise(signing, message) {
                token.judge(self.mechanism, signing, false);
                return Err(wrong());
            }
        }
    }

    /// Whether a signature is right; `None` where the public half is not known.
    fn verify(&self, data: &[u8], signature: &[u8]) -> Option<bool> {
        let (public, certain) = match self.key.token.public_half(&self.key.object) {
            Ok(half) => half?,
            Err(e) => {
                crate::log!(Warn, "a signature is not verified: {e}");
                return None;
            }
        };
        let right =
            signature.len() == self.len && public.verify(self.plan.scheme, data, signature).is_ok();
        (right || certain).then_some(right)
    }

    /// What the store is asked; where the message is still there, the store chooses whether it or its digest travels. `None` for data
    /// that KMIP has no words for.
    fn question<'a>(
        &self,
        whole: Option<&'a Secret>,
        data: &'a [u8],
    ) -> Option<(Signing, Message<'a>)> {
        let (signing, digest) = match (self.plan.scheme, self.plan.hash) {
            (Scheme::RsaPkcs1(hash), _) => (Signing::RsaPkcs1(hash), data),
            (Scheme::RsaPkcs1Raw, _) => {
                let (hash, digest) = split_digest_info(data)?;
                (Signing::RsaPkcs1(hash), digest)
            }
            (Scheme::RsaPss { .. }, _) => (self.plan.pss()?, data),
            (Scheme::Ecdsa, Some(hash)) => (Signing::Ecdsa(hash), data),
            (Scheme::Ecdsa, None) => (Signing::Ecdsa(hash_by_len(data.len())?), data),
            (Scheme::EdDsa, _) => return Some((Signing::EdDsa, Message::Whole(data))),
            (Scheme::RsaRaw | Scheme::EdDsaContext(_) | Scheme::EdDsaPrehashed(_), _) => {
                return None;
            }
        };
        Some((
            signing,
            whole.map_or(Message::Digest(digest), |whole| {
                Message::Whole(whole.expose())
            }),
        ))
    }
}

fn sign_here(key: &PrivateKey, scheme: Scheme, data: &[u8], modulus_len: usize) -> Result<Vec<u8>> {
    if scheme == Scheme::RsaRaw && data.len() < modulus_len {
        // CKM_RSA_X_509 takes a number, however many leading zeros it is written with.
        let number = [&vec![0; modulus_len - data.len()], data].concat();
        return key.sign(scheme, &number);
    }
    key.sign(scheme, data)
        .map_err(|e| not_below(scheme == Scheme::RsaRaw && data.len() == modulus_len, e))
}

/// The hash of a DigestInfo (RFC 8017, 9.2), and the digest in it.
fn split_digest_info(info: &[u8]) -> Option<(Hash, &[u8])> {
    const PREFIXES: &[(Hash, &[u8])] = &[
        (
            Hash::Sha1,
            b"\x30\x21\x30\x09\x06\x05\x2b\x0e\x03\x02\x1a\x05\x00\x04\x14",
        ),
        (
            Hash::Sha224,
            b"\x30\x2d\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x04\x05\x00\x04\x1c",
        ),
        (
            Hash::Sha256,
            b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20",
        ),
        (
            Hash::Sha384,
            b"\x30\x41\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\x04\x30",
        ),
        (
            Hash::Sha512,
            b"\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40",
        ),
    ];
    PREFIXES.iter().find_map(|(hash, prefix)| {
        let digest = info.strip_prefix(*prefix)?;
        (digest.len() == hash.output_len()).then_some((*hash, digest))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_infos_are_recognised_whole_only() {
        let mut info =
            b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20"
                .to_vec();
        info.extend_from_slice(&[7; 32]);
        assert_eq!(split_digest_info(&info), Some((Hash::Sha256, &[7; 32][..])));
        assert_eq!(split_digest_info(&info[..50]), None);
        assert_eq!(split_digest_info(b"hello"), None);
    }
}
