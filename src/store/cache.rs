//! A cache in front of a store: the values of keys that may leave it, in locked memory.
//!
//! A value whose time is over is never given out, and is wiped by the application's next call ([`KeyStore::expire`]).
//!
//! What is known about objects is remembered by the token, which knows how old it may be. The map here is locked to look up, never
//! over the network. A value's own lock is: whoever wants the same value waits for the one request that is under way, and nobody
//! else does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{
    Ability, Algorithm, Changes, Cipher, Class, Correlation, Filter, KeyStore, Mac, Message, Meta,
    Revocation, Signing, Spec, Uid, Wrapping,
};
use crate::ck::{CKR_KEY_HANDLE_INVALID, CKR_OBJECT_HANDLE_INVALID};
use crate::error::{Error, Result};
use crate::expiry::{self, Time};
use crate::secret::{LockedSecret, Secret};

/// Values remembered; beyond it those whose time is over are forgotten.
const ROOM: usize = 1024;

/// A store that remembers values.
#[derive(Debug)]
pub struct Cached<S> {
    store: S,
    /// How long a value is given out without asking whether it still may be.
    age: Duration,
    values: Mutex<HashMap<Uid, Arc<Slot>>>,
}

/// The place of a value, and the end of its time: empty until it was fetched.
type Slot = Mutex<Option<(Time, Arc<LockedSecret>)>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: KeyStore> Cached<S> {
    /// Remembers values for `age`; zero remembers nothing.
    pub fn new(store: S, age: Duration) -> Cached<S> {
        Cached {
            store,
            age,
            values: Mutex::default(),
        }
    }

    /// The value of an object. After its time is over it is fetched anew, so that the store can refuse.
    fn value(&self, uid: &Uid) -> Result<Secret> {
        let slot = self.slot(uid);
        let mut slot = lock(&slot);
        if let Some((end, value)) = slot.as_ref()
            && Time::now() < *end
        {
            return Ok(Secret::from(value.clone()));
        }
        *slot = None;
        let fetched = self.store.fetch(uid).inspect_err(|e| self.note(uid, e))?;
        let (end, value) = (
            Time::now().after(self.age),
            Arc::new(LockedSecret::new(fetched.expose())?),
        );
        *slot = Some((end, value.clone()));
        expiry::expect(end);
        Ok(Secret::from(value))
    }

    fn slot(&self, uid: &Uid) -> Arc<Slot> {
        let mut values = lock(&self.values);
        if values.len() >= ROOM {
            Self::drop_expired(&mut values);
            if values.len() >= ROOM {
                values.clear();
            }
        }
        Arc::clone(values.entry(uid.clone()).or_default())
    }

    /// Wipes the values whose time is over. A slot that somebody holds is in use, and its lock may be held: its value is not given out
    /// again, and is looked at once more by the next call.
    fn drop_expired(values: &mut HashMap<Uid, Arc<Slot>>) {
        let now = Time::now();
        values.retain(|_, slot| {
            if Arc::strong_count(slot) > 1 {
                expiry::expect(now);
                return true;
            }
            let end = lock(slot).as_ref().map(|(end, _)| *end);
            end.filter(|end| now < *end)
                .inspect(|end| expiry::expect(*end))
                .is_some()
        });
    }

    fn forget(&self, uid: &Uid) {
        lock(&self.values).remove(uid);
    }

    /// Forgets a value whose object the store says is gone.
    fn note(&self, uid: &Uid, error: &Error) {
        if matches!(
            error.rv(),
            CKR_OBJECT_HANDLE_INVALID | CKR_KEY_HANDLE_INVALID
        ) {
            self.forget(uid);
        }
    }

    /// Changes an object, and forgets its value whether that worked or not.
    fn changing<T>(&self, uid: &Uid, change: impl FnOnce() -> Result<T>) -> Result<T> {
        let changed = change();
        self.forget(uid);
        changed
    }
}

impl<S: KeyStore> KeyStore for Cached<S> {
    fn expire(&self) {
        Self::drop_expired(&mut lock(&self.values));
        self.store.expire();
    }

    fn can(&self, ability: Ability) -> Result<bool> {
        self.store.can(ability)
    }

    fn locate(&self, filter: &Filter) -> Result<Vec<Uid>> {
        self.store.locate(filter)
    }

    fn meta(&self, uids: &[Uid]) -> Result<Vec<Meta>> {
        let metas = self.store.meta(uids)?;
        for gone in uids
            .iter()
            .filter(|uid| !metas.iter().any(|meta| meta.uid == **uid))
        {
            self.forget(gone);
        }
        Ok(metas)
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
        if self.age.is_zero() {
            self.store.fetch(uid)
        } else {
            self.value(uid)
        }
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
        let remembered = lock(&self.values).contains_key(uid);
        self.changing(uid, || self.store.destroy(uid))
            .inspect(|()| {
                if remembered {
                    self.store.expire();
                }
            })
    }

    fn encrypt(
        &self,
        uid: &Uid,
        algorithm: Algorithm,
        cipher: &Cipher,
        data: &[u8],
    ) -> Result<Vec<u8>> {
        self.store
            .encrypt(uid, algorithm, cipher, data)
            .inspect_err(|e| self.note(uid, e))
    }

    fn decrypt(
        &self,
        uid: &Uid,
        algorithm: Algorithm,
        cipher: &Cipher,
        data: &[u8],
    ) -> Result<Secret> {
        self.store
            .decrypt(uid, algorithm, cipher, data)
            .inspect_err(|e| self.note(uid, e))
    }

    fn sign(&self, uid: &Uid, signing: Signing, message: Message<'_>) -> Result<Vec<u8>> {
        self.store
            .sign(uid, signing, message)
            .inspect_err(|e| self.note(uid, e))
    }

    fn sign_otherwise(&self, signing: Signing, message: Message<'_>) -> bool {
        self.store.sign_otherwise(signing, message)
    }

    fn is_proven(&self, claim: &str) -> bool {
        self.store.is_proven(claim)
    }

    fn note_proven(&self, claim: &str) {
        self.store.note_proven(claim);
    }

    fn mac(&self, uid: &Uid, mac: Mac, data: &[u8]) -> Result<Vec<u8>> {
        self.store
            .mac(uid, mac, data)
            .inspect_err(|e| self.note(uid, e))
    }

    fn mac_part(
        &self,
        uid: &Uid,
        mac: Mac,
        before: Option<&Correlation>,
        part: &[u8],
    ) -> Result<Correlation> {
        self.store
            .mac_part(uid, mac, before, part)
            .inspect_err(|e| self.note(uid, e))
    }

    fn mac_last(&self, uid: &Uid, mac: Mac, before: &Correlation, part: &[u8]) -> Result<Vec<u8>> {
        self.store
            .mac_last(uid, mac, before, part)
            .inspect_err(|e| self.note(uid, e))
    }

    fn wrap(&self, kek: &Uid, wrapping: Wrapping, key: &Uid, class: Class) -> Result<Vec<u8>> {
        self.store.wrap(kek, wrapping, key, class)
    }

    fn register_wrapped(
        &self,
        spec: &Spec,
        kek: &Uid,
        wrapping: Wrapping,
        wrapped: &[u8],
    ) -> Result<Uid> {
        self.store.register_wrapped(spec, kek, wrapping, wrapped)
    }

    fn unwrap(&self, kek: &Uid, wrapping: Wrapping, wrapped: &[u8]) -> Result<Secret> {
        self.store.unwrap(kek, wrapping, wrapped)
    }

    fn random(&self, len: usize) -> Result<Secret> {
        self.store.random(len)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::time::Instant;

    use super::*;
    use crate::ck::{CKR_DEVICE_ERROR, CKR_FUNCTION_NOT_SUPPORTED};
    use crate::store::{State, Usage};

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
                protect_stop: None,
                pair: None,
                properties: BTreeMap::new(),
                nonce: None,
            };
            Ok(if *lock(&self.gone) {
                Vec::new()
            } else {
                uids.iter().map(meta).collect()
            })
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
            Err(CKR_KEY_HANDLE_INVALID)?
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
    const SHORT: Duration = Duration::from_millis(20);

    fn uid(text: &str) -> Uid {
        Uid(text.into())
    }

    #[test]
    fn a_value_is_fetched_once_however_many_ask() {
        let cache = Cached::new(
            Slow {
                delay: Duration::from_millis(50),
                ..Slow::default()
            },
            LONG,
        );
        let start = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert_eq!(cache.fetch(&uid("a")).unwrap().expose(), b"a"));
                scope.spawn(|| assert_eq!(cache.fetch(&uid("b")).unwrap().expose(), b"b"));
            }
        });
        assert_eq!(cache.store.counts(), (0, 2));
        assert!(
            start.elapsed() < Duration::from_millis(400),
            "one waits for another's value"
        );
    }

    #[test]
    fn after_its_time_a_value_is_fetched_again() {
        let cache = Cached::new(Slow::default(), SHORT);
        cache.fetch(&uid("a")).unwrap();
        cache.fetch(&uid("a")).unwrap();
        assert_eq!(cache.store.counts(), (0, 1));
        std::thread::sleep(2 * SHORT);
        cache.fetch(&uid("a")).unwrap();
        assert_eq!(cache.store.counts(), (0, 2));
        *lock(&cache.store.gone) = true;
        std::thread::sleep(2 * SHORT);
        assert_eq!(
            cache.fetch(&uid("a")).unwrap_err().rv(),
            CKR_OBJECT_HANDLE_INVALID
        );
    }

    #[test]
    fn what_is_over_is_wiped_without_being_asked_for() {
        let cache = Cached::new(Slow::default(), SHORT);
        cache.fetch(&uid("a")).unwrap();
        cache.expire();
        assert_eq!(lock(&cache.values).len(), 1);
        std::thread::sleep(2 * SHORT);
        let held = cache.slot(&uid("b"));
        cache.expire();
        assert_eq!(lock(&cache.values).len(), 1, "a is gone, b is in use");
        drop(held);
        cache.expire();
        assert_eq!(lock(&cache.values).len(), 0);
    }

    #[test]
    fn what_is_changed_or_gone_is_forgotten_and_zero_remembers_nothing() {
        let cache = Cached::new(Slow::default(), LONG);
        for forget in [
            |c: &Cached<Slow>| drop(c.revoke(&uid("a"), Revocation::Unspecified)),
            |c: &Cached<Slow>| drop(c.update(&uid("a"), &Changes::default())),
            |c: &Cached<Slow>| drop(c.encrypt(&uid("a"), Algorithm::Aes, &Cipher::Ecb, &[])),
            |c: &Cached<Slow>| drop(c.destroy(&uid("a"))),
        ] {
            cache.fetch(&uid("a")).unwrap();
            forget(&cache);
            assert_eq!(lock(&cache.values).len(), 0);
        }
        assert!(cache.fetch(&uid("a")).is_err());

        let none = Cached::new(Slow::default(), Duration::ZERO);
        (0..3).for_each(|_| drop(none.fetch(&uid("a")).unwrap()));
        assert_eq!(none.store.counts(), (0, 3));
    }

    #[test]
    fn there_is_room_for_so_many() {
        let cache = Cached::new(Slow::default(), LONG);
        for number in 0..2 * ROOM {
            cache.fetch(&uid(&number.to_string())).unwrap();
            assert!(lock(&cache.values).len() <= ROOM);
        }
    }
}
