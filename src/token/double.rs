//! A store in memory for tests: it does what KMIP servers do with keys, counts what it is asked, and can be made worse.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::lock;
use crate::ck::*;
use crate::crypto::cipher::{Cipher as LocalCipher, Direction, Key, Mode};
use crate::crypto::pkey::{Padding, PrivateKey, Scheme};
use crate::crypto::{hash, mac, rng};
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;
use crate::store::{
    Ability, Algorithm, Changes, Cipher, Filter, KeyStore, Mac, Message, Meta, Revocation, Signing,
    Spec, State, Uid,
};

/// The store.
#[derive(Default)]
pub(crate) struct Double {
    objects: Mutex<BTreeMap<Uid, (Meta, Vec<u8>)>>,
    made: AtomicUsize,
    requests: AtomicUsize,
    fetches: AtomicUsize,
    /// It does no cryptography.
    pub keeps_only: AtomicBool,
    /// It announces operations and then refuses them.
    pub refuses: AtomicBool,
    /// It signs something else than it is asked to.
    pub lies: AtomicBool,
    /// It is not reached.
    pub away: AtomicBool,
    /// Somebody else destroys every object a moment before it does.
    pub late: AtomicBool,
    /// How long every request takes.
    pub delay: Mutex<Duration>,
}

impl Double {
    /// How many requests came since the last time this was asked.
    pub fn requests(&self) -> usize {
        self.requests.swap(0, Ordering::Relaxed)
    }

    /// How many values were ever given out.
    pub fn fetches(&self) -> usize {
        self.fetches.load(Ordering::Relaxed)
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        lock(&self.objects).len()
    }

    /// Changes every object behind everybody's back.
    pub fn tamper(&self, change: impl Fn(&mut Meta)) {
        lock(&self.objects)
            .values_mut()
            .for_each(|(meta, _)| change(meta));
    }

    /// Another client's object.
    pub fn foreign(&self, uid: &str, spec: &Spec, value: &[u8]) {
        let uid = Uid(uid.into());
        let mut meta = meta(uid.clone(), spec, None);
        (meta.label, meta.id, meta.sensitive, meta.extractable) = (None, None, None, None);
        meta.properties.clear();
        lock(&self.objects).insert(uid, (meta, value.to_vec()));
    }

    fn request(&self) -> Result<()> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let delay = *lock(&self.delay);
        std::thread::sleep(delay);
        match self.away.load(Ordering::Relaxed) {
            true => Err(Error::new(
                Kind::Unreachable,
                CKR_DEVICE_ERROR,
                "the double is away",
            )),
            false => Ok(()),
        }
    }

    fn uid(&self) -> Uid {
        Uid(format!("uid-{}", self.made.fetch_add(1, Ordering::Relaxed)))
    }

    fn put(&self, uid: Uid, spec: &Spec, value: Vec<u8>, pair: Option<Uid>) -> Uid {
        let meta = meta(uid.clone(), spec, pair);
        lock(&self.objects).insert(uid.clone(), (meta, value));
        uid
    }

    fn with<T>(
        &self,
        uid: &Uid,
        work: impl FnOnce(&mut (Meta, Vec<u8>)) -> Result<T>,
    ) -> Result<T> {
        work(
            lock(&self.objects)
                .get_mut(uid)
                .ok_or(CKR_OBJECT_HANDLE_INVALID)?,
        )
    }

    fn value(&self, uid: &Uid) -> Result<Vec<u8>> {
        self.request()?;
        if self.refuses.load(Ordering::Relaxed) {
            return Err(CKR_MECHANISM_INVALID.into());
        }
        self.with(uid, |(_, value)| Ok(value.clone()))
    }

    fn run(
        &self,
        uid: &Uid,
        algorithm: Algorithm,
        cipher: &Cipher,
        direction: Direction,
        data: &[u8],
    ) -> Result<Vec<u8>> {
        let value = self.value(uid)?;
        let mode = match cipher {
            Cipher::Ecb => Mode::Ecb,
            Cipher::Cbc { iv } => Mode::Cbc { iv },
            Cipher::CbcPad { iv } => Mode::CbcPad { iv },
            Cipher::Ctr { counter } => Mode::Ctr { counter, bits: 128 },
            Cipher::Gcm { iv, aad, tag_len } => Mode::Gcm {
                iv,
                aad,
                tag_len: *tag_len,
            },
            Cipher::RsaPkcs1 => return rsa(&value, Padding::Pkcs1, data),
            Cipher::RsaOaep { hash, mgf, label } => {
                return rsa(
                    &value,
                    Padding::Oaep {
                        hash: *hash,
                        mgf: *mgf,
                        label,
                    },
                    data,
                );
            }
        };
        let key = if algorithm == Algorithm::TripleDes {
            Key::TripleDes(&value)
        } else {
            Key::Aes(&value)
        };
        LocalCipher::new(direction, key, mode)?.run(data)
    }
}

fn rsa(value: &[u8], padding: Padding<'_>, data: &[u8]) -> Result<Vec<u8>> {
    Ok(PrivateKey::from_pkcs8(value)?
        .decrypt(padding, data)?
        .expose()
        .to_vec())
}

fn meta(uid: Uid, spec: &Spec, pair: Option<Uid>) -> Meta {
    let is_key = spec.algorithm != Algorithm::None;
    Meta {
        uid,
        class: spec.class,
        algorithm: spec.algorithm,
        bits: spec.bits,
        usage: spec.usage,
        state: is_key.then_some(State::Active),
        names: spec.name.iter().cloned().collect(),
        groups: spec.group.iter().cloned().collect(),
        label: Some(spec.label.clone()),
        id: Some(spec.id.clone()),
        sensitive: Some(spec.sensitive),
        extractable: Some(spec.extractable),
        initial_date: Some(1),
        activation_date: is_key.then_some(1),
        deactivation_date: None,
        protect_stop: None,
        pair,
        properties: spec.properties.clone(),
        nonce: None,
    }
}

impl KeyStore for Double {
    fn can(&self, _: Ability) -> Result<bool> {
        Ok(!self.keeps_only.load(Ordering::Relaxed))
    }

    fn locate(&self, filter: &Filter) -> Result<Vec<Uid>> {
        self.request()?;
        // Like a server that knows classes and our own labels, and gives everything when it finds nothing.
        let objects = lock(&self.objects);
        let fits = |m: &Meta| {
            filter.class.is_none_or(|c| c == m.class)
                && filter
                    .label
                    .as_ref()
                    .is_none_or(|l| m.label.as_ref() == Some(l))
                && filter.id.as_ref().is_none_or(|i| m.id.as_ref() == Some(i))
        };
        let found: Vec<Uid> = objects
            .values()
            .filter(|(m, _)| fits(m))
            .map(|(m, _)| m.uid.clone())
            .collect();
        Ok(if found.is_empty() {
            objects.keys().cloned().collect()
        } else {
            found
        })
    }

    fn meta(&self, uids: &[Uid]) -> Result<Vec<Meta>> {
        self.request()?;
        let objects = lock(&self.objects);
        Ok(uids
            .iter()
            .filter_map(|uid| objects.get(uid))
            .map(|(meta, _)| meta.clone())
            .collect())
    }

    fn create(&self, spec: &Spec) -> Result<Uid> {
        self.request()?;
        let value = rng::bytes(spec.bits as usize / 8)?.expose().to_vec();
        Ok(self.put(self.uid(), spec, value, None))
    }

    fn create_pair(&self, public: &Spec, private: &Spec) -> Result<(Uid, Uid)> {
        self.request()?;
        let key = match private.algorithm {
            Algorithm::Rsa => PrivateKey::generate_rsa(private.bits, &[1, 0, 1])?,
            _ => return Err(CKR_FUNCTION_NOT_SUPPORTED.into()),
        };
        let uids = (self.uid(), self.uid());
        self.put(
            uids.0.clone(),
            public,
            key.public()?.to_spki()?,
            Some(uids.1.clone()),
        );
        self.put(
            uids.1.clone(),
            private,
            key.to_pkcs8()?.expose().to_vec(),
            Some(uids.0.clone()),
        );
        Ok(uids)
    }

    fn register(&self, spec: &Spec, value: &[u8]) -> Result<Uid> {
        self.request()?;
        Ok(self.put(self.uid(), spec, value.to_vec(), None))
    }

    fn fetch(&self, uid: &Uid) -> Result<Secret> {
        self.request()?;
        self.with(uid, |(meta, value)| {
            if meta.class != crate::store::Class::PublicKey {
                self.fetches.fetch_add(1, Ordering::Relaxed);
            }
            Ok(Secret::new(value.clone()))
        })
    }

    fn update(&self, uid: &Uid, changes: &Changes) -> Result<()> {
        self.request()?;
        self.with(uid, |(meta, _)| {
            meta.label = changes.label.clone().or(meta.label.take());
            meta.id = changes.id.clone().or(meta.id.take());
            meta.sensitive = changes.sensitive.or(meta.sensitive);
            meta.extractable = changes.extractable.or(meta.extractable);
            meta.properties.extend(changes.properties.clone());
            Ok(())
        })
    }

    fn activate(&self, uid: &Uid) -> Result<()> {
        self.request()?;
        self.with(uid, |_| Ok(()))
    }

    fn revoke(&self, uid: &Uid, _: Revocation) -> Result<()> {
        self.request()?;
        self.with(uid, |(meta, _)| {
            meta.state = Some(State::Deactivated);
            Ok(())
        })
    }

    fn destroy(&self, uid: &Uid) -> Result<()> {
        self.request()?;
        let destroyed = lock(&self.objects)
            .remove(uid)
            .filter(|_| !self.late.load(Ordering::Relaxed));
        destroyed
            .map(|_| ())
            .ok_or(CKR_OBJECT_HANDLE_INVALID.into())
    }

    fn encrypt(
        &self,
        uid: &Uid,
        algorithm: Algorithm,
        cipher: &Cipher,
        data: &[u8],
    ) -> Result<Vec<u8>> {
        self.run(uid, algorithm, cipher, Direction::Encrypt, data)
    }

    fn decrypt(
        &self,
        uid: &Uid,
        algorithm: Algorithm,
        cipher: &Cipher,
        data: &[u8],
    ) -> Result<Secret> {
        self.run(uid, algorithm, cipher, Direction::Decrypt, data)
            .map(Secret::new)
    }

    fn sign(&self, uid: &Uid, signing: Signing, message: Message<'_>) -> Result<Vec<u8>> {
        let key = PrivateKey::from_pkcs8(&self.value(uid)?)?;
        if self.lies.load(Ordering::Relaxed) {
            return key.sign(Scheme::RsaPkcs1Raw, b"something else");
        }
        let (scheme, hash) = match signing {
            Signing::RsaPkcs1(hash) => (Scheme::RsaPkcs1(hash), Some(hash)),
            Signing::RsaPss {
                hash,
                mgf,
                salt_len,
            } => (
                Scheme::RsaPss {
                    hash,
                    mgf,
                    salt_len,
                },
                Some(hash),
            ),
            Signing::Ecdsa(hash) => (Scheme::Ecdsa, Some(hash)),
            Signing::EdDsa => (Scheme::EdDsa, None),
        };
        match (message, hash) {
            (Message::Whole(data), Some(hash)) => key.sign(scheme, &hash::digest(hash, data)?),
            (Message::Whole(data) | Message::Digest(data), _) => key.sign(scheme, data),
        }
    }

    fn mac(&self, uid: &Uid, mac: Mac, data: &[u8]) -> Result<Vec<u8>> {
        let value = self.value(uid)?;
        match mac {
            Mac::Hmac(hash) => mac::hmac(hash, &value, data),
            Mac::Cmac(_) => mac::cmac(Key::Aes(&value), data),
        }
    }

    fn random(&self, len: usize) -> Result<Secret> {
        self.request()?;
        rng::bytes(len)
    }
}
