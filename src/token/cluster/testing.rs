//! A store in memory that can fail or die before and after everything it does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::ck::{
    CKR_DEVICE_ERROR, CKR_FUNCTION_NOT_SUPPORTED, CKR_KEY_UNEXTRACTABLE, CKR_OBJECT_HANDLE_INVALID,
};
use crate::crypto::rng;
use crate::error::{Error, Kind, Result};
use crate::fault;
use crate::secret::Secret;
use crate::store::{
    Ability, Algorithm, Changes, Cipher, Class, Filter, KeyStore, Mac, Message, Meta, Revocation,
    Signing, Spec, State, Uid,
};

#[derive(Clone)]
pub(super) struct Object {
    pub meta: Meta,
    pub value: Vec<u8>,
}

#[derive(Default)]
pub(super) struct Inner {
    objects: BTreeMap<String, Object>,
    made: u32,
}

/// Shared by all nodes of a test, as a key manager is.
#[derive(Clone)]
pub(super) struct MemoryStore {
    pub inner: Arc<Mutex<Inner>>,
    pub born: Instant,
    /// The server keeps Object Groups.
    pub groups: bool,
    /// The server keeps names.
    pub names: bool,
    /// Creations that succeed before the next is refused.
    pub room: usize,
    /// How long a key takes from getting its date to being visible.
    pub latency: Duration,
    /// The resolution of the server's clock.
    pub tick: Duration,
    /// Requests that are refused, by name.
    pub refuses: &'static str,
    /// The class that is refused.
    pub refused_class: Option<Class>,
    /// The value of a key that is not extractable is not given out.
    pub closes: bool,
}

impl MemoryStore {
    pub fn new() -> MemoryStore {
        MemoryStore {
            inner: Arc::default(),
            born: Instant::now(),
            groups: true,
            names: true,
            room: usize::MAX,
            latency: Duration::ZERO,
            tick: Duration::from_secs(1),
            refuses: "",
            refused_class: None,
            closes: false,
        }
    }

    pub fn objects(&self) -> Vec<Object> {
        self.lock().objects.values().cloned().collect()
    }

    /// Changes an object behind everybody's back.
    pub fn tamper(&self, uid: &str, change: impl FnOnce(&mut Object)) {
        change(self.lock().objects.get_mut(uid).unwrap());
    }

    pub fn lose(&self, uid: &str) {
        self.lock().objects.remove(uid).unwrap();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn step(&self, what: &str) -> Result<()> {
        if self.refuses == what {
            return Err(Error::new(
                Kind::Server(1),
                CKR_FUNCTION_NOT_SUPPORTED,
                format!("{what} refused"),
            ));
        }
        fault::step(what).map_err(|e| {
            Error::new(Kind::Broken, CKR_DEVICE_ERROR, format!("{what} broke")).because(e)
        })
    }

    fn add(&self, spec: &Spec, value: Vec<u8>) -> Result<Uid> {
        self.step("create")?;
        if self.lock().made as usize >= self.room {
            return Err(Error::new(
                Kind::Server(1),
                CKR_FUNCTION_NOT_SUPPORTED,
                "no room for another key",
            ));
        }
        if self.refused_class == Some(spec.class) {
            return Err(Error::new(
                Kind::Server(5),
                CKR_FUNCTION_NOT_SUPPORTED,
                "objects of this type are refused",
            ));
        }
        let date = (self.born.elapsed().as_nanos() / self.tick.as_nanos()) as i64;
        std::thread::sleep(self.latency);
        let uid = {
            let mut inner = self.lock();
            inner.made += 1;
            // Identifiers in an order that has nothing to do with time.
            let uid = format!("{:08x}", inner.made.wrapping_mul(0x9e37_79b9));
            let meta = Meta {
                uid: Uid(uid.clone()),
                class: spec.class,
                algorithm: spec.algorithm,
                bits: spec.bits,
                usage: spec.usage,
                state: Some(State::PreActive),
                names: spec.name.iter().filter(|_| self.names).cloned().collect(),
                groups: spec.group.iter().filter(|_| self.groups).cloned().collect(),
                label: Some(spec.label.clone()),
                id: Some(spec.id.clone()),
                sensitive: Some(spec.sensitive),
                extractable: Some(spec.extractable),
                initial_date: Some(date),
                activation_date: None,
                deactivation_date: None,
                protect_stop: None,
                pair: None,
                properties: spec.properties.clone(),
                nonce: None,
            };
            inner.objects.insert(uid.clone(), Object { meta, value });
            Uid(uid)
        };
        self.step("created")?;
        self.activate(&uid)?;
        Ok(uid)
    }

    fn with<T>(&self, uid: &Uid, work: impl FnOnce(&mut Object) -> T) -> Result<T> {
        self.lock()
            .objects
            .get_mut(&uid.0)
            .map(work)
            .ok_or_else(|| CKR_OBJECT_HANDLE_INVALID.into())
    }
}

fn unused<T>() -> Result<T> {
    Err(CKR_FUNCTION_NOT_SUPPORTED.into())
}

impl KeyStore for MemoryStore {
    fn locate(&self, filter: &Filter) -> Result<Vec<Uid>> {
        self.step("locate")?;
        let fits = |m: &Meta| {
            filter.name.as_ref().is_none_or(|n| m.names.contains(n))
                && filter.group.as_ref().is_none_or(|g| m.groups.contains(g))
        };
        Ok(self
            .lock()
            .objects
            .values()
            .filter(|o| fits(&o.meta))
            .map(|o| o.meta.uid.clone())
            .collect())
    }

    fn meta(&self, uids: &[Uid]) -> Result<Vec<Meta>> {
        self.step("meta")?;
        let inner = self.lock();
        Ok(uids
            .iter()
            .filter_map(|u| inner.objects.get(&u.0))
            .map(|o| o.meta.clone())
            .collect())
    }

    fn create(&self, spec: &Spec) -> Result<Uid> {
        assert_eq!((spec.algorithm, spec.bits), (Algorithm::Aes, 256));
        self.add(spec, rng::bytes(32)?.expose().to_vec())
    }

    fn register(&self, spec: &Spec, value: &[u8]) -> Result<Uid> {
        self.add(spec, value.to_vec())
    }

    fn fetch(&self, uid: &Uid) -> Result<Secret> {
        self.step("fetch")?;
        let (value, open) = self.with(uid, |o| {
            (
                Secret::new(o.value.clone()),
                o.meta.extractable != Some(false),
            )
        })?;
        match open || !self.closes {
            true => Ok(value),
            false => Err(Error::new(
                Kind::Server(0x3c),
                CKR_KEY_UNEXTRACTABLE,
                "the key is not extractable",
            )),
        }
    }

    fn activate(&self, uid: &Uid) -> Result<()> {
        self.step("activate")?;
        self.with(uid, |o| o.meta.state = Some(State::Active))?;
        self.step("activated")
    }

    fn destroy(&self, uid: &Uid) -> Result<()> {
        self.step("destroy")?;
        self.lock().objects.remove(&uid.0);
        self.step("destroyed")
    }

    fn update(&self, uid: &Uid, changes: &Changes) -> Result<()> {
        self.step("update")?;
        self.with(uid, |o| {
            o.meta.label = changes.label.clone().or(o.meta.label.take());
            o.meta.id = changes.id.clone().or(o.meta.id.take());
            o.meta.sensitive = changes.sensitive.or(o.meta.sensitive);
            o.meta.extractable = changes.extractable.or(o.meta.extractable);
            o.meta.properties.extend(changes.properties.clone());
        })?;
        self.step("updated")
    }

    fn revoke(&self, uid: &Uid, reason: Revocation) -> Result<()> {
        self.step("revoke")?;
        let state = if reason == Revocation::KeyCompromise {
            State::Compromised
        } else {
            State::Deactivated
        };
        self.with(uid, |o| o.meta.state = Some(state))?;
        self.step("revoked")
    }

    fn can(&self, _: Ability) -> Result<bool> {
        Ok(false)
    }
    fn create_pair(&self, _: &Spec, _: &Spec) -> Result<(Uid, Uid)> {
        unused()
    }
    fn encrypt(&self, _: &Uid, _: Algorithm, _: &Cipher, _: &[u8]) -> Result<Vec<u8>> {
        unused()
    }
    fn decrypt(&self, _: &Uid, _: Algorithm, _: &Cipher, _: &[u8]) -> Result<Secret> {
        unused()
    }
    fn sign(&self, _: &Uid, _: Signing, _: Message<'_>) -> Result<Vec<u8>> {
        unused()
    }
    fn mac(&self, _: &Uid, _: Mac, _: &[u8]) -> Result<Vec<u8>> {
        unused()
    }
    fn random(&self, _: usize) -> Result<Secret> {
        unused()
    }
}
