//! A cache in front of a store: what is known about objects, and the values of keys that may leave it.
//!
//! The map is locked to look up, never over the network. An object's own locks are: whoever wants the same object waits for the
//! one request that is under way, and nobody else does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Ability, Algorithm, Changes, Cipher, Filter, KeyStore, Mac, Message, Meta, Revocation, Signing, Spec, State, Uid};
use crate::ck::CKR_OBJECT_HANDLE_INVALID;
use crate::error::Result;
use crate::secret::{LockedSecret, Secret};

/// Objects remembered; beyond it those whose time is over are forgotten.
const ROOM: usize = 4096;

/// A store with a memory.
#[derive(Debug)]
pub struct Cached<S> {
    store: S,
    meta_ttl: Duration,
    value_ttl: Duration,
    entries: Mutex<HashMap<Uid, Arc<Entry>>>,
}

#[derive(Debug, Default)]
struct Entry {
    meta: Mutex<Option<(Instant, Meta)>>,
    value: Mutex<Option<Value>>,
}

#[derive(Debug)]
struct Value {
    checked: Instant,
    state: Option<State>,
    bytes: Arc<LockedSecret>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: KeyStore> Cached<S> {
    /// Remembers what is known about objects for `meta_ttl` and values for `value_ttl`; zero remembers nothing.
    pub fn new(store: S, meta_ttl: Duration, value_ttl: Duration) -> Cached<S> {
        Cached { store, meta_ttl, value_ttl, entries: Mutex::default() }
    }

    /// The store itself.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// The value of an object in locked memory, fetched at most once at a time.
    ///
    /// A value never changes under its identifier; but after its time is over it is given out again only when the store still
    /// has the object in the same state. Otherwise it is fetched anew, so that the store can refuse.
    pub fn value(&self, uid: &Uid) -> Result<Arc<LockedSecret>> {
        let entry = self.entry(uid);
        let mut slot = lock(&entry.value);
        if let Some(value) = slot.as_mut() {
            if value.checked.elapsed() < self.value_ttl {
                return Ok(Arc::clone(&value.bytes));
            }
            let state = self.fresh_meta(uid, &entry)?.map(|meta| meta.state);
            if state == Some(value.state) && !self.value_ttl.is_zero() {
                value.checked = Instant::now();
                return Ok(Arc::clone(&value.bytes));
            }
            *slot = None;
        }
        // The state first: a key that is revoked in between is noticed at the next check.
        let state = match self.value_ttl.is_zero() {
            true => None,
            false => self.meta_of(uid, &entry)?.ok_or(CKR_OBJECT_HANDLE_INVALID)?.state,
        };
        let fetched = self.store.fetch(uid).inspect_err(|e| self.note(uid, e))?;
        let bytes = Arc::new(LockedSecret::new(fetched.expose())?);
        if !self.value_ttl.is_zero() {
            *slot = Some(Value { checked: Instant::now(), state, bytes: Arc::clone(&bytes) });
        }
        Ok(bytes)
    }

    /// Forgets everything about an object.
    pub fn forget(&self, uid: &Uid) {
        lock(&self.entries).remove(uid);
    }

    /// Forgets everything, as after a logout.
    pub fn clear(&self) {
        lock(&self.entries).clear();
    }

    fn entry(&self, uid: &Uid) -> Arc<Entry> {
        let mut entries = lock(&self.entries);
        if entries.len() >= ROOM {
            let now = Instant::now();
            // An entry somebody waits for is in use, and its locks may be held: it stays.
            entries.retain(|_, entry| Arc::strong_count(entry) > 1 || !entry.is_over(now, self.meta_ttl, self.value_ttl));
            if entries.len() >= ROOM {
                entries.clear();
            }
        }
        Arc::clone(entries.entry(uid.clone()).or_default())
    }

    /// What is known about one object, asked for at most once at a time; `None` when it is gone.
    fn meta_of(&self, uid: &Uid, entry: &Entry) -> Result<Option<Meta>> {
        let mut slot = lock(&entry.meta);
        if let Some((_, meta)) = slot.as_ref().filter(|(since, _)| since.elapsed() < self.meta_ttl) {
            return Ok(Some(meta.clone()));
        }
        self.ask(uid, &mut slot)
    }

    fn fresh_meta(&self, uid: &Uid, entry: &Entry) -> Result<Option<Meta>> {
        self.ask(uid, &mut lock(&entry.meta))
    }

    fn ask(&self, uid: &Uid, slot: &mut Option<(Instant, Meta)>) -> Result<Option<Meta>> {
        let meta = self.store.meta(std::slice::from_ref(uid))?.pop();
        *slot = meta.clone().map(|meta| (Instant::now(), meta));
        if meta.is_none() {
            self.forget(uid);
        }
        Ok(meta)
    }

    /// Forgets an object that the store says is gone.
    fn note(&self, uid: &Uid, error: &crate::error::Error) {
        if matches!(error.rv(), CKR_OBJECT_HANDLE_INVALID | crate::ck::CKR_KEY_HANDLE_INVALID) {
            self.forget(uid);
        }
    }

    /// Runs something that changes an object, and forgets what was known about it whether it worked or not.
    fn changing<T>(&self, uid: &Uid, change: impl FnOnce() -> Result<T>) -> Result<T> {
        let changed = change();
        self.forget(uid);
        changed
    }
}

impl Entry {
    fn is_over(&self, now: Instant, meta_ttl: Duration, value_ttl: Duration) -> bool {
        lock(&self.meta).as_ref().is_none_or(|(since, _)| now.duration_since(*since) >= meta_ttl)
            && lock(&self.value).as_ref().is_none_or(|value| now.duration_since(value.checked) >= value_ttl)
    }
}

impl<S: KeyStore> KeyStore for Cached<S> {
    fn can(&self, ability: Ability) -> Result<bool> {
        self.store.can(ability)
    }

    fn locate(&self, filter: &Filter) -> Result<Vec<Uid>> {
        self.store.locate(filter)
    }

    fn meta(&self, uids: &[Uid]) -> Result<Vec<Meta>> {
        if let [uid] = uids {
            return Ok(self.meta_of(uid, &self.entry(uid))?.into_iter().collect());
        }
        let known: Vec<Option<Meta>> = uids
            .iter()
            .map(|uid| {
                let entry = self.entry(uid);
                let slot = lock(&entry.meta);
                slot.as_ref().filter(|(since, _)| since.elapsed() < self.meta_ttl).map(|(_, meta)| meta.clone())
            })
            .collect();
        let missing: Vec<Uid> = uids.iter().zip(&known).filter(|(_, meta)| meta.is_none()).map(|(uid, _)| uid.clone()).collect();
        let mut asked: HashMap<Uid, Meta> = HashMap::new();
        if !missing.is_empty() {
            for meta in self.store.meta(&missing)? {
                *lock(&self.entry(&meta.uid).meta) = Some((Instant::now(), meta.clone()));
                asked.insert(meta.uid.clone(), meta);
            }
        }
        Ok(uids.iter().zip(known).filter_map(|(uid, meta)| meta.or_else(|| asked.get(uid).cloned())).collect())
    }

    fn create(&self, spec: &Spec) -> Result<Uid> {
        self.store.create(spec)
    }

    fn create_pair(&self, public: &Spec, private: &Spec) -> Result<(Uid, Uid)> {
        self.store.create_pair(public, private)
    }

    fn register(&self, spec: &Spec, value: &[u8]) -> Result<Uid> {
        self.store.register(spec, value)
    }

    fn fetch(&self, uid: &Uid) -> Result<Secret> {
        Ok(Secret::new(self.value(uid)?.expose().to_vec()))
    }

    fn update(&self, uid: &Uid, changes: &Changes) -> Result<()> {
        self.changing(uid, || self.store.update(uid, changes))
    }

    fn activate(&self, uid: &Uid) -> Result<()> {
        self.changing(uid, || self.store.activate(uid))
    }

    fn revoke(&self, uid: &Uid, reason: Revocation) -> Result<()> {
        self.changing(uid, || self.store.revoke(uid, reason))
    }

    fn destroy(&self, uid: &Uid) -> Result<()> {
        self.changing(uid, || self.store.destroy(uid))
    }

    fn encrypt(&self, uid: &Uid, algorithm: Algorithm, cipher: &Cipher, data: &[u8]) -> Result<Vec<u8>> {
        self.store.encrypt(uid, algorithm, cipher, data).inspect_err(|e| self.note(uid, e))
    }

    fn decrypt(&self, uid: &Uid, algorithm: Algorithm, cipher: &Cipher, data: &[u8]) -> Result<Secret> {
        self.store.decrypt(uid, algorithm, cipher, data).inspect_err(|e| self.note(uid, e))
    }

    fn sign(&self, uid: &Uid, signing: Signing, message: Message<'_>) -> Result<Vec<u8>> {
        self.store.sign(uid, signing, message).inspect_err(|e| self.note(uid, e))
    }

    fn mac(&self, uid: &Uid, mac: Mac, data: &[u8]) -> Result<Vec<u8>> {
        self.store.mac(uid, mac, data).inspect_err(|e| self.note(uid, e))
    }

    fn random(&self, len: usize) -> Result<Secret> {
        self.store.random(len)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use super::*;
    use crate::ck::{CKR_DEVICE_ERROR, CKR_FUNCTION_NOT_SUPPORTED};
    use crate::store::{Class, Usage};

    /// One object, counted and slow.
    #[derive(Default)]
    struct Slow {
        metas: AtomicUsize,
        fetches: AtomicUsize,
        state: Mutex<Option<State>>,
        gone: Mutex<bool>,
        delay: Duration,
    }

    impl Slow {
        fn counts(&self) -> (usize, usize) {
            (self.metas.load(SeqCst), self.fetches.load(SeqCst))
        }
    }

    impl KeyStore for Slow {
        fn meta(&self, uids: &[Uid]) -> Result<Vec<Meta>> {
            self.metas.fetch_add(1, SeqCst);
            std::thread::sleep(self.delay);
            let meta = |uid: &Uid| Meta {
                uid: uid.clone(),
                class: Class::SecretKey,
                algorithm: Algorithm::Aes,
                bits: 256,
                usage: Usage(0),
                state: *lock(&self.state),
                names: Vec::new(),
                groups: Vec::new(),
                label: None,
                id: None,
                sensitive: None,
                extractable: None,
                initial_date: None,
                activation_date: None,
                deactivation_date: None,
                pair: None,
                properties: BTreeMap::new(),
            };
            Ok(if *lock(&self.gone) { Vec::new() } else { uids.iter().map(meta).collect() })
        }

        fn fetch(&self, uid: &Uid) -> Result<Secret> {
            self.fetches.fetch_add(1, SeqCst);
            std::thread::sleep(self.delay);
            match *lock(&self.gone) {
                true => Err(CKR_OBJECT_HANDLE_INVALID.into()),
                false => Ok(Secret::new(uid.0.clone().into_bytes())),
            }
        }

        fn can(&self, _: Ability) -> Result<bool> {
            Ok(false)
        }
        fn locate(&self, _: &Filter) -> Result<Vec<Uid>> {
            Ok(Vec::new())
        }
        fn create(&self, _: &Spec) -> Result<Uid> {
            Err(CKR_FUNCTION_NOT_SUPPORTED)?
        }
        fn create_pair(&self, _: &Spec, _: &Spec) -> Result<(Uid, Uid)> {
            Err(CKR_FUNCTION_NOT_SUPPORTED)?
        }
        fn register(&self, _: &Spec, _: &[u8]) -> Result<Uid> {
            Err(CKR_FUNCTION_NOT_SUPPORTED)?
        }
        fn update(&self, _: &Uid, _: &Changes) -> Result<()> {
            Err(CKR_DEVICE_ERROR)?
        }
        fn activate(&self, _: &Uid) -> Result<()> {
            Ok(())
        }
        fn revoke(&self, _: &Uid, _: Revocation) -> Result<()> {
            *lock(&self.state) = Some(State::Deactivated);
            Ok(())
        }
        fn destroy(&self, _: &Uid) -> Result<()> {
            *lock(&self.gone) = true;
            Ok(())
        }
        fn encrypt(&self, _: &Uid, _: Algorithm, _: &Cipher, _: &[u8]) -> Result<Vec<u8>> {
            Err(crate::ck::CKR_KEY_HANDLE_INVALID)?
        }
        fn decrypt(&self, _: &Uid, _: Algorithm, _: &Cipher, _: &[u8]) -> Result<Secret> {
            Err(CKR_FUNCTION_NOT_SUPPORTED)?
        }
        fn sign(&self, _: &Uid, _: Signing, _: Message<'_>) -> Result<Vec<u8>> {
            Err(CKR_FUNCTION_NOT_SUPPORTED)?
        }
        fn mac(&self, _: &Uid, _: Mac, _: &[u8]) -> Result<Vec<u8>> {
            Err(CKR_FUNCTION_NOT_SUPPORTED)?
        }
        fn random(&self, _: usize) -> Result<Secret> {
            Err(CKR_FUNCTION_NOT_SUPPORTED)?
        }
    }

    const LONG: Duration = Duration::from_secs(60);

    fn uid(text: &str) -> Uid {
        Uid(text.into())
    }

    #[test]
    fn a_value_is_fetched_once_however_many_ask() {
        let cache = Cached::new(Slow { delay: Duration::from_millis(50), ..Slow::default() }, LONG, LONG);
        let start = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert_eq!(cache.value(&uid("a")).unwrap().expose(), b"a"));
                scope.spawn(|| assert_eq!(cache.meta(&[uid("b")]).unwrap().len(), 1));
            }
        });
        assert_eq!(cache.store().counts(), (2, 1));
        assert!(start.elapsed() < Duration::from_millis(400));
        assert_eq!(cache.meta(&[uid("a"), uid("b"), uid("c")]).unwrap().len(), 3);
        assert_eq!(cache.store().counts(), (3, 1));
    }

    #[test]
    fn after_its_time_a_value_is_checked_and_a_changed_one_fetched_again() {
        let cache = Cached::new(Slow::default(), Duration::ZERO, Duration::from_millis(20));
        cache.value(&uid("a")).unwrap();
        std::thread::sleep(Duration::from_millis(30));
        cache.value(&uid("a")).unwrap();
        assert_eq!(cache.store().counts(), (2, 1));
        *lock(&cache.store().state) = Some(State::Deactivated);
        std::thread::sleep(Duration::from_millis(30));
        cache.value(&uid("a")).unwrap();
        assert_eq!(cache.store().fetches.load(SeqCst), 2);
        *lock(&cache.store().gone) = true;
        std::thread::sleep(Duration::from_millis(30));
        assert_eq!(cache.value(&uid("a")).unwrap_err().rv(), CKR_OBJECT_HANDLE_INVALID);
    }

    #[test]
    fn changes_are_seen_at_once_and_zero_remembers_nothing() {
        let cache = Cached::new(Slow::default(), LONG, LONG);
        cache.value(&uid("a")).unwrap();
        cache.revoke(&uid("a"), Revocation::Unspecified).unwrap();
        assert_eq!(cache.meta(&[uid("a")]).unwrap()[0].state, Some(State::Deactivated));
        assert!(cache.encrypt(&uid("a"), Algorithm::Aes, &Cipher::Ecb, &[]).is_err());
        assert_eq!(lock(&cache.entries).len(), 0, "an object that is gone is forgotten");
        cache.destroy(&uid("a")).unwrap();
        assert!(cache.value(&uid("a")).is_err());

        let none = Cached::new(Slow::default(), Duration::ZERO, Duration::ZERO);
        (0..3).for_each(|_| drop(none.value(&uid("a")).unwrap()));
        assert_eq!(none.store().counts(), (0, 3));
    }
}
