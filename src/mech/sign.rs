//! Signing, authenticating and verifying, whole or in parts. Signatures are verified here, with the public key; a private key or
//! secret that stays in its store signs there.

use std::sync::Arc;

use super::table::{Work, serving};
use super::{Key, Mechanism, Output, Params, hash_of, mgf_hash, not_below, refuses_mechanism};
use crate::ck::*;
use crate::crypto::cipher::Key as CipherKey;
use crate::crypto::hash::Digest;
use crate::crypto::mac::Mac;
use crate::crypto::pkey::{Padding, PrivateKey, PublicKey, Scheme};
use crate::crypto::{Curve, Hash};
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;
use crate::store::{self, Ability, Algorithm, KeyStore, Message, Signing, Uid};
use crate::token::objects::Material;
use crate::token::spec;

/// The longest message that is kept whole, for mechanisms and servers that need it so.
const WHOLE_MAX: usize = 16 << 20;
/// The longest message that is kept beside its digest, for servers that hash themselves.
const BESIDE_MAX: usize = 1 << 20;

/// How a mechanism signs.
#[derive(Clone, Copy)]
struct Plan {
    scheme: Scheme,
    /// The hash of the message that is made here; `None` where the caller gives what is signed.
    hash: Option<Hash>,
}

impl Plan {
    fn parse(work: Work, params: &Params) -> Result<Plan> {
        let bare = |scheme, hash| match params {
            Params::None => Ok(Plan { scheme, hash }),
            _ => Err(CKR_MECHANISM_PARAM_INVALID.into()),
        };
        match (work, params) {
            (Work::RsaPkcs, _) => bare(Scheme::RsaPkcs1Raw, None),
            (Work::RsaRaw, _) => bare(Scheme::RsaRaw, None),
            (Work::RsaPkcsHash(hash), _) => bare(Scheme::RsaPkcs1(hash), Some(hash)),
            (Work::Ecdsa(hash), _) => bare(Scheme::Ecdsa, hash),
            (Work::RsaPss(hash), Params::Pss { hash: named, mgf, salt_len }) => {
                let named = hash_of(*named)?;
                if hash.is_some_and(|hash| hash != named) {
                    return Err(CKR_MECHANISM_PARAM_INVALID.into());
                }
                let salt_len = usize::try_from(*salt_len).map_err(|_| CKR_MECHANISM_PARAM_INVALID)?;
                Ok(Plan { scheme: Scheme::RsaPss { hash: named, mgf: mgf_hash(*mgf)?, salt_len }, hash })
            }
            // Ed25519 with a context or of a digest is another algorithm, which no library here has.
            (Work::EdDsa, Params::EdDsa { prehash: false, context }) if context.is_empty() => {
                Ok(Plan { scheme: Scheme::EdDsa, hash: None })
            }
            (Work::EdDsa, _) => bare(Scheme::EdDsa, None),
            _ => Err(CKR_MECHANISM_PARAM_INVALID.into()),
        }
    }

    /// The key type that signs so.
    fn fits(self, key_type: CK_KEY_TYPE) -> bool {
        match self.scheme {
            Scheme::Ecdsa => key_type == CKK_EC,
            Scheme::EdDsa => key_type == CKK_EC_EDWARDS,
            _ => key_type == CKK_RSA,
        }
    }

    /// Whether hash and salt of RSA-PSS fit into a signature of `len` bytes (RFC 8017, 9.1.1).
    fn check_salt(self, len: usize) -> Result<()> {
        match self.scheme {
            Scheme::RsaPss { hash, salt_len, .. } if salt_len.saturating_add(hash.output_len() + 2) > len => {
                Err(CKR_MECHANISM_PARAM_INVALID.into())
            }
            _ => Ok(()),
        }
    }

    /// Whether `data`, which the caller gives as it is to be signed, has a possible length.
    fn check_len(self, data: &[u8], modulus_len: usize) -> Result<()> {
        let fits = match (self.hash, self.scheme) {
            (Some(_), _) => true,
            (None, Scheme::RsaPkcs1Raw) => data.len() + 11 <= modulus_len,
            (None, Scheme::RsaRaw) => data.len() <= modulus_len,
            (None, Scheme::RsaPss { hash, .. }) => data.len() == hash.output_len(),
            (None, Scheme::Ecdsa) => (1..=64).contains(&data.len()),
            _ => true,
        };
        if fits { Ok(()) } else { Err(CKR_DATA_LEN_RANGE.into()) }
    }
}

/// What is signed, as it arrives.
struct Input {
    digest: Option<Digest>,
    /// The message itself; `None` once it is longer than anybody wants it.
    whole: Option<Secret>,
    /// How much of it is kept.
    most: usize,
}

impl Input {
    fn new(hash: Option<Hash>, wanted_whole: bool) -> Result<Input> {
        let most = if hash.is_none() { WHOLE_MAX } else { BESIDE_MAX };
        let whole = (hash.is_none() || wanted_whole).then(Secret::default);
        Ok(Input { digest: hash.map(Digest::new).transpose()?, whole, most })
    }

    fn update(&mut self, part: &[u8]) -> Result<()> {
        if let Some(digest) = &mut self.digest {
            digest.update(part)?;
        }
        let Some(whole) = self.whole.take() else { return Ok(()) };
        if whole.len() + part.len() <= self.most {
            self.whole = Some(Secret::new([whole.expose(), part].concat()));
        } else if self.digest.is_none() {
            return Err(CKR_DATA_LEN_RANGE.into());
        }
        Ok(())
    }

    /// The digest where one is made, else the message.
    fn finish(&mut self) -> Result<Vec<u8>> {
        match self.digest.take() {
            Some(digest) => digest.finish(),
            None => Ok(self.whole.take().unwrap_or_default().expose().to_vec()),
        }
    }
}

/// A MAC mechanism.
#[derive(Clone, Copy)]
pub(super) enum Code {
    Hmac(Hash),
    Cmac(CK_KEY_TYPE),
    Gmac,
}

impl Code {
    /// Length of the code in bytes.
    pub(super) fn len(self) -> usize {
        match self {
            Code::Hmac(hash) => hash.output_len(),
            Code::Cmac(CKK_DES3) => 8,
            Code::Cmac(_) | Code::Gmac => 16,
        }
    }

    /// Whether keys of this type make such codes.
    pub(super) fn fits(self, key_type: CK_KEY_TYPE) -> bool {
        match self {
            Code::Hmac(hash) => key_type == CKK_GENERIC_SECRET || spec::hmac_hash(key_type) == Some(hash),
            Code::Cmac(cipher) => key_type == cipher,
            Code::Gmac => key_type == CKK_AES,
        }
    }

    fn remote(self) -> Option<store::Mac> {
        match self {
            Code::Hmac(hash) => Some(store::Mac::Hmac(hash)),
            Code::Cmac(_) => Some(store::Mac::Cmac),
            Code::Gmac => None,
        }
    }

    /// The code of nothing yet; only GMAC has an `iv`.
    pub(super) fn local(self, key: &[u8], iv: &[u8]) -> Result<Mac> {
        match self {
            Code::Hmac(hash) => Mac::hmac(hash, key),
            Code::Cmac(CKK_DES3) => Mac::cmac(CipherKey::TripleDes(key)),
            Code::Cmac(_) => Mac::cmac(CipherKey::Aes(key)),
            Code::Gmac => Mac::gmac(key, iv),
        }
    }
}

/// A MAC being computed.
struct Authenticator {
    code: Code,
    iv: Vec<u8>,
    /// Length of the result, which may be cut.
    len: usize,
    engine: MacEngine,
    key: Key,
    mechanism: CK_MECHANISM_TYPE,
}

enum MacEngine {
    Local(Option<Mac>),
    Remote(Arc<dyn KeyStore>, Uid, store::Mac, Vec<u8>),
}

impl Authenticator {
    fn new(work: Work, mechanism: &Mechanism, key: Key, usage: CK_ATTRIBUTE_TYPE) -> Result<Authenticator> {
        let (code, general) = match work {
            Work::Hmac(hash, general) => (Code::Hmac(hash), general),
            Work::Cmac(cipher, general) => (Code::Cmac(cipher), general),
            _ => (Code::Gmac, false),
        };
        if key.class() != CKO_SECRET_KEY || !code.fits(key.key_type()) {
            return Err(CKR_KEY_TYPE_INCONSISTENT.into());
        }
        key.check(mechanism.kind, usage)?;
        let (iv, len) = match (code, &mechanism.params) {
            (Code::Gmac, Params::Raw(iv)) if !iv.is_empty() => (iv.clone(), 16),
            (Code::Gmac, Params::Gcm { iv, aad, tag_bits: 128, .. }) if !iv.is_empty() && aad.is_empty() => (iv.clone(), 16),
            (Code::Gmac, _) => return Err(CKR_MECHANISM_PARAM_INVALID.into()),
            (_, Params::Number(n)) if general && (1..=code.len() as CK_ULONG).contains(n) => (Vec::new(), *n as usize),
            (_, Params::None) if !general => (Vec::new(), code.len()),
            _ => return Err(CKR_MECHANISM_PARAM_INVALID.into()),
        };
        let remote = code.remote();
        let engine = match (key.material(mechanism.kind, remote.map(|_| Ability::Mac))?, remote) {
            (Material::Remote(store, uid), Some(mac)) => MacEngine::Remote(store, uid, mac, Vec::new()),
            (Material::Local(value), _) => MacEngine::Local(Some(code.local(value.expose(), &iv)?)),
            _ => return Err(CKR_MECHANISM_INVALID.into()),
        };
        Ok(Authenticator { code, iv, len, engine, key, mechanism: mechanism.kind })
    }

    fn update(&mut self, part: &[u8]) -> Result<()> {
        match &mut self.engine {
            MacEngine::Local(mac) => mac.as_mut().ok_or(CKR_OPERATION_NOT_INITIALIZED)?.update(part),
            MacEngine::Remote(.., held) if held.len() + part.len() > WHOLE_MAX => Err(CKR_DATA_LEN_RANGE.into()),
            MacEngine::Remote(.., held) => {
                held.extend_from_slice(part);
                Ok(())
            }
        }
    }

    fn finish(&mut self) -> Result<Vec<u8>> {
        let mut code = match &mut self.engine {
            MacEngine::Local(mac) => mac.take().ok_or(CKR_OPERATION_NOT_INITIALIZED)?.finish()?,
            MacEngine::Remote(store, uid, mac, held) => match store.mac(uid, *mac, held) {
                Ok(code) => code,
                Err(e) => {
                    let value = self.key.instead(self.mechanism, e)?;
                    let mut mac = self.code.local(value.expose(), &self.iv)?;
                    mac.update(held)?;
                    mac.finish()?
                }
            },
        };
        if code.len() < self.code.len() {
            return Err(Error::protocol(format!("the server made a code of {} bytes, not {}", code.len(), self.code.len())));
        }
        code.truncate(self.len);
        Ok(code)
    }
}

/// A private key signing.
struct Signer {
    plan: Plan,
    input: Input,
    side: Side,
    key: Key,
    mechanism: CK_MECHANISM_TYPE,
    /// Length of the signature.
    len: usize,
}

enum Side {
    Local(PrivateKey),
    Remote(Arc<dyn KeyStore>, Uid),
}

impl Signer {
    fn new(plan: Plan, mechanism: &Mechanism, key: Key) -> Result<Signer> {
        let len = signature_len(&key)?;
        plan.check_salt(len)?;
        // Bare numbers and bytes that are padded as they are: no KMIP server signs those.
        let ability = (plan.scheme != Scheme::RsaRaw).then_some(Ability::Sign);
        let side = match key.material(mechanism.kind, ability)? {
            Material::Local(value) => Side::Local(PrivateKey::from_pkcs8(value.expose())?),
            Material::Remote(store, uid) => Side::Remote(store, uid),
        };
        let input = Input::new(plan.hash, matches!(side, Side::Remote(..)))?;
        Ok(Signer { plan, input, side, key, mechanism: mechanism.kind, len })
    }

    fn finish(&mut self) -> Result<Vec<u8>> {
        let whole = if self.plan.hash.is_some() { self.input.whole.take() } else { None };
        let data = self.input.finish()?;
        self.plan.check_len(&data, self.len)?;
        let signature = match &self.side {
            Side::Local(key) => sign_here(key, self.plan.scheme, &data, self.len),
            Side::Remote(store, uid) => match self.ask(store.as_ref(), uid, whole.as_ref(), &data) {
                Ok(signature) => Ok(signature),
                Err(e) => {
                    let value = self.key.instead(self.mechanism, e)?;
                    sign_here(&PrivateKey::from_pkcs8(value.expose())?, self.plan.scheme, &data, self.len)
                }
            },
        }?;
        if signature.len() != self.len {
            return Err(Error::protocol(format!("the server made a signature of {} bytes, not {}", signature.len(), self.len)));
        }
        Ok(signature)
    }

    /// Has the store sign. The first signature of a kind is verified before anybody sees it, and asked for in other forms as long as it
    /// is wrong: there are servers that sign with Success in another scheme than they were asked to.
    fn ask(&self, store: &dyn KeyStore, uid: &Uid, whole: Option<&Secret>, data: &[u8]) -> Result<Vec<u8>> {
        let (signing, message) = self.question(whole, data)?;
        let token = &self.key.token;
        let wrong = || {
            let sentence = format!("the server's {signing:?} signatures do not verify with the key {uid}");
            Error::new(Kind::Protocol, CKR_MECHANISM_INVALID, sentence)
        };
        match token.verdict(self.mechanism, signing) {
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
        let right = signature.len() == self.len && public.verify(self.plan.scheme, data, signature).is_ok();
        (right || certain).then_some(right)
    }

    /// What the store is asked; where the message is still there, the store chooses whether it or its digest travels.
    fn question<'a>(&self, whole: Option<&'a Secret>, data: &'a [u8]) -> Result<(Signing, Message<'a>)> {
        let invalid = || Error::from(CKR_MECHANISM_INVALID);
        let (signing, digest) = match (self.plan.scheme, self.plan.hash) {
            (Scheme::RsaPkcs1(hash), _) => (Signing::RsaPkcs1(hash), data),
            (Scheme::RsaPkcs1Raw, _) => {
                let (hash, digest) = split_digest_info(data).ok_or_else(invalid)?;
                (Signing::RsaPkcs1(hash), digest)
            }
            (Scheme::RsaPss { hash, mgf, salt_len }, _) => (Signing::RsaPss { hash, mgf, salt_len }, data),
            (Scheme::Ecdsa, Some(hash)) => (Signing::Ecdsa(hash), data),
            (Scheme::Ecdsa, None) => (Signing::Ecdsa(hash_by_len(data.len()).ok_or_else(invalid)?), data),
            (Scheme::EdDsa, _) => return Ok((Signing::EdDsa, Message::Whole(data))),
            (Scheme::RsaRaw, _) => return Err(invalid()),
        };
        Ok((signing, whole.map_or(Message::Digest(digest), |whole| Message::Whole(whole.expose()))))
    }
}

fn sign_here(key: &PrivateKey, scheme: Scheme, data: &[u8], modulus_len: usize) -> Result<Vec<u8>> {
    if scheme == Scheme::RsaRaw && data.len() < modulus_len {
        // CKM_RSA_X_509 takes a number, however many leading zeros it is written with.
        let number = [&vec![0; modulus_len - data.len()], data].concat();
        return key.sign(scheme, &number);
    }
    key.sign(scheme, data).map_err(|e| not_below(scheme == Scheme::RsaRaw && data.len() == modulus_len, e))
}

/// Length of a key's signatures in bytes.
fn signature_len(key: &Key) -> Result<usize> {
    match spec::algorithm(&key.object.attributes)? {
        Algorithm::Ec(Curve::Ed25519) => Ok(64),
        Algorithm::Ec(curve) => Ok(2 * curve.scalar_len()),
        _ => key.modulus_len(),
    }
}

/// The hash of a DigestInfo (RFC 8017, 9.2), and the digest in it.
fn split_digest_info(info: &[u8]) -> Option<(Hash, &[u8])> {
    const PREFIXES: &[(Hash, &[u8])] = &[
        (Hash::Sha1, b"\x30\x21\x30\x09\x06\x05\x2b\x0e\x03\x02\x1a\x05\x00\x04\x14"),
        (Hash::Sha224, b"\x30\x2d\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x04\x05\x00\x04\x1c"),
        (Hash::Sha256, b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20"),
        (Hash::Sha384, b"\x30\x41\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\x04\x30"),
        (Hash::Sha512, b"\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40"),
    ];
    PREFIXES.iter().find_map(|(hash, prefix)| {
        let digest = info.strip_prefix(*prefix)?;
        (digest.len() == hash.output_len()).then_some((*hash, digest))
    })
}

fn hash_by_len(len: usize) -> Option<Hash> {
    [Hash::Sha1, Hash::Sha224, Hash::Sha256, Hash::Sha384, Hash::Sha512].into_iter().find(|hash| hash.output_len() == len)
}

/// A signature or MAC being made.
pub struct SignOperation {
    engine: SignEngine,
    parts: bool,
}

enum SignEngine {
    Mac(Authenticator),
    Key(Signer),
}

impl SignOperation {
    /// An operation for `C_SignInit`, or with `recover` for `C_SignRecoverInit`.
    pub fn new(mechanism: &Mechanism, key: Key, recover: bool) -> Result<SignOperation> {
        let (function, usage) = if recover { (CKF_SIGN_RECOVER, CKA_SIGN_RECOVER) } else { (CKF_SIGN, CKA_SIGN) };
        let work = serving(mechanism.kind, function)?.work;
        let engine = match work {
            Work::Hmac(..) | Work::Cmac(..) | Work::Gmac => SignEngine::Mac(Authenticator::new(work, mechanism, key, usage)?),
            _ => {
                let plan = Plan::parse(work, &mechanism.params)?;
                if key.class() != CKO_PRIVATE_KEY || !plan.fits(key.key_type()) {
                    return Err(CKR_KEY_TYPE_INCONSISTENT.into());
                }
                key.check(mechanism.kind, usage)?;
                SignEngine::Key(Signer::new(plan, mechanism, key)?)
            }
        };
        Ok(SignOperation { engine, parts: false })
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
    Key { plan: Plan, input: Input, key: PublicKey, len: usize },
}

impl VerifyOperation {
    /// An operation for `C_VerifyInit`, or with `recover` for `C_VerifyRecoverInit`.
    pub fn new(mechanism: &Mechanism, key: Key, recover: bool) -> Result<VerifyOperation> {
        let (function, usage) = if recover { (CKF_VERIFY_RECOVER, CKA_VERIFY_RECOVER) } else { (CKF_VERIFY, CKA_VERIFY) };
        let work = serving(mechanism.kind, function)?.work;
        let engine = match work {
            Work::Hmac(..) | Work::Cmac(..) | Work::Gmac => VerifyEngine::Mac(Authenticator::new(work, mechanism, key, usage)?),
            _ => {
                let plan = Plan::parse(work, &mechanism.params)?;
                if key.class() != CKO_PUBLIC_KEY || !plan.fits(key.key_type()) {
                    return Err(CKR_KEY_TYPE_INCONSISTENT.into());
                }
                key.check(mechanism.kind, usage)?;
                let len = signature_len(&key)?;
                plan.check_salt(len)?;
                let key = key.token.public_key(&key.object)?;
                VerifyEngine::Key { plan, input: Input::new(plan.hash, false)?, key, len }
            }
        };
        Ok(VerifyOperation { engine, parts: false })
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
                if same { Ok(()) } else { Err(CKR_SIGNATURE_INVALID.into()) }
            }
            VerifyEngine::Key { plan, input, key, len } => {
                let data = input.finish()?;
                plan.check_len(&data, *len)?;
                match plan.scheme {
                    // Some applications trim the zeros that both numbers start with.
                    Scheme::Ecdsa if signature.len() < *len && signature.len().is_multiple_of(2) && !signature.is_empty() => {
                        key.verify(plan.scheme, &data, &widened(signature, *len))
                    }
                    Scheme::RsaRaw if data.len() < *len => {
                        key.verify(plan.scheme, &[&vec![0; *len - data.len()], &data[..]].concat(), signature)
                    }
                    _ => key.verify(plan.scheme, &data, signature),
                }
            }
        }
    }

    /// The data that an RSA signature carries: `C_VerifyRecover`.
    pub fn recover(&mut self, signature: &[u8], room: Option<usize>) -> Result<Output> {
        let VerifyEngine::Key { plan, key, len, .. } = &self.engine else { return Err(CKR_MECHANISM_INVALID.into()) };
        if signature.len() != *len {
            return Err(CKR_SIGNATURE_LEN_RANGE.into());
        }
        // Nothing is asked of anyone for this, so that the result itself can answer a size query.
        let number = key.encrypt(Padding::Raw, signature).map_err(|_| CKR_SIGNATURE_INVALID)?;
        let data = match plan.scheme {
            Scheme::RsaRaw => &number[..],
            _ => unpad_type_1(&number).ok_or(CKR_SIGNATURE_INVALID)?,
        };
        Ok(Output::early(data.len(), room).unwrap_or_else(|| Output::Bytes(Secret::new(data.to_vec()))))
    }
}

/// The content of an encryption block of type 1 (RFC 8017, 9.2): 00 01 FF.. 00, then the data.
fn unpad_type_1(block: &[u8]) -> Option<&[u8]> {
    let rest = block.strip_prefix(&[0x00, 0x01])?;
    let filler = rest.iter().position(|&b| b != 0xff)?;
    if filler < 8 { None } else { rest[filler..].strip_prefix(&[0x00]) }
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
    fn digest_infos_are_recognised_whole_only() {
        let mut info = b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20".to_vec();
        info.extend_from_slice(&[7; 32]);
        assert_eq!(split_digest_info(&info), Some((Hash::Sha256, &[7; 32][..])));
        assert_eq!(split_digest_info(&info[..50]), None);
        assert_eq!(split_digest_info(b"hello"), None);
    }

    #[test]
    fn trimmed_signatures_are_widened_number_by_number() {
        assert_eq!(widened(&[1, 2, 3, 4], 8), [0, 0, 1, 2, 0, 0, 3, 4]);
    }

    #[test]
    fn type_1_blocks() {
        let block = [&[0, 1][..], &[0xff; 8], &[0, 9, 8]].concat();
        assert_eq!(unpad_type_1(&block), Some(&[9, 8][..]));
        assert_eq!(unpad_type_1(&block[1..]), None);
        assert_eq!(unpad_type_1(&[&[0, 1][..], &[0xff; 7], &[0, 9]].concat()), None);
        assert_eq!(unpad_type_1(&[&[0, 1][..], &[0xff; 9]].concat()), None);
    }
}
