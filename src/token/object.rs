//! Objects as PKCS#11 sees them: attributes, a handle, and a home in this process or in the store.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::template::{Attribute, Template, Value};
use crate::ck::*;
use crate::crypto::pkey::{PrivateKey, PublicKey};
use crate::secret::Secret;
use crate::store::{State, Uid};

/// The attributes of an object, its secret parts excepted. Templates inside are kept in a flat form, see [`flatten`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes(BTreeMap<CK_ATTRIBUTE_TYPE, Vec<u8>>);

impl Attributes {
    /// No attributes.
    pub const fn none() -> Attributes {
        Attributes(BTreeMap::new())
    }

    /// The bytes of an attribute, if the object has it.
    pub fn bytes(&self, kind: CK_ATTRIBUTE_TYPE) -> Option<&[u8]> {
        self.0.get(&kind).map(Vec::as_slice)
    }

    /// A flag; one that is absent is false.
    pub fn flag(&self, kind: CK_ATTRIBUTE_TYPE) -> bool {
        self.bytes(kind)
            .is_some_and(|v| v.iter().any(|&b| b != CK_FALSE))
    }

    /// A number.
    pub fn number(&self, kind: CK_ATTRIBUTE_TYPE) -> Option<CK_ULONG> {
        Some(CK_ULONG::from_ne_bytes(self.bytes(kind)?.try_into().ok()?))
    }

    /// True when the attribute is there, whatever its value.
    pub fn has(&self, kind: CK_ATTRIBUTE_TYPE) -> bool {
        self.0.contains_key(&kind)
    }

    /// Sets an attribute.
    pub fn set(&mut self, kind: CK_ATTRIBUTE_TYPE, value: impl Into<Vec<u8>>) {
        self.0.insert(kind, value.into());
    }

    /// Sets a flag.
    pub fn set_flag(&mut self, kind: CK_ATTRIBUTE_TYPE, value: bool) {
        self.set(kind, vec![if value { CK_TRUE } else { CK_FALSE }]);
    }

    /// Sets a number.
    pub fn set_number(&mut self, kind: CK_ATTRIBUTE_TYPE, value: CK_ULONG) {
        self.set(kind, value.to_ne_bytes());
    }

    /// Changes what is different between `old` and `new`, and nothing else.
    pub fn take_over(&mut self, old: &Attributes, new: &Attributes) {
        self.0.retain(|kind, _| new.has(*kind) || !old.has(*kind));
        for (kind, value) in new
            .0
            .iter()
            .filter(|(kind, value)| old.bytes(**kind) != Some(value))
        {
            self.0.insert(*kind, value.clone());
        }
    }

    /// Takes an attribute away.
    pub fn remove(&mut self, kind: CK_ATTRIBUTE_TYPE) -> Option<Vec<u8>> {
        self.0.remove(&kind)
    }

    /// All attributes by number.
    pub fn iter(&self) -> impl Iterator<Item = (CK_ATTRIBUTE_TYPE, &[u8])> {
        self.0.iter().map(|(kind, value)| (*kind, value.as_slice()))
    }

    /// `CKA_CLASS`; an object without one does not exist, so the answer then is a value that no rule accepts.
    pub fn class(&self) -> CK_OBJECT_CLASS {
        self.number(CKA_CLASS).unwrap_or(CK_UNAVAILABLE_INFORMATION)
    }

    /// `CKA_KEY_TYPE`.
    pub fn key_type(&self) -> Option<CK_KEY_TYPE> {
        self.number(CKA_KEY_TYPE)
    }

    /// `CKA_ALLOWED_MECHANISMS`, if the object has the restriction.
    pub fn allows(&self, mechanism: CK_MECHANISM_TYPE) -> bool {
        self.bytes(CKA_ALLOWED_MECHANISMS)
            .is_none_or(|list| list.chunks_exact(8).any(|m| m == mechanism.to_ne_bytes()))
    }
}

/// A template as bytes, so that it can be kept like any attribute: for each attribute its type, its length (both 8 bytes) and its value.
pub fn flatten(template: &Template) -> Vec<u8> {
    let mut flat = Vec::new();
    for attribute in &template.0 {
        // A template within a template has no meaning anywhere in the standard; it is kept as an empty value.
        let value: &[u8] = if let Value::Bytes(bytes) = &attribute.value {
            bytes.expose()
        } else {
            &[]
        };
        flat.extend_from_slice(&attribute.kind.to_ne_bytes());
        flat.extend_from_slice(&(value.len() as u64).to_ne_bytes());
        flat.extend_from_slice(value);
    }
    flat
}

/// The template that [`flatten`] wrote; what is cut off is left out.
pub fn unflatten(mut flat: &[u8]) -> Template {
    let mut template = Template::default();
    while let Some((kind, rest)) = flat.split_first_chunk::<8>() {
        let Some((len, rest)) = rest.split_first_chunk::<8>() else {
            break;
        };
        let Some((value, rest)) = usize::try_from(u64::from_ne_bytes(*len))
            .ok()
            .and_then(|n| rest.split_at_checked(n))
        else {
            break;
        };
        let value = Value::Bytes(Secret::new(value.to_vec()));
        template.0.push(Attribute {
            kind: CK_ATTRIBUTE_TYPE::from_ne_bytes(*kind),
            value,
        });
        flat = rest;
    }
    template
}

/// Where an object lives.
#[derive(Clone, Debug)]
pub enum Home {
    /// In this process, until its session closes.
    Session {
        /// The session that made it.
        session: CK_SESSION_HANDLE,
        /// Its value: a secret key as its bytes, a private key as PKCS#8, a public key as SubjectPublicKeyInfo, a certificate as DER, data as it is.
        value: Arc<Secret>,
    },
    /// In the token's store.
    Store {
        /// Its identifier there.
        uid: Uid,
        /// State of a key there, when last read.
        state: Option<State>,
        /// When a key stops to protect data, by what was read last (seconds since 1970).
        protect_until: Option<i64>,
        /// The other half of a pair, where the store knows.
        pair: Option<Uid>,
        /// What tells twins apart; `None` for an object that this process made.
        birth: Option<Birth>,
    },
}

/// How an object came to be, as far as its store knows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Birth {
    /// The nonce of the request that made it.
    pub nonce: String,
    /// When it was made (seconds since 1970).
    pub date: Option<i64>,
}

/// What follows from an object's value, each once it was needed: it stays true as long as the value does.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Attributes (modulus, point, subject).
    pub attributes: OnceLock<Attributes>,
    /// The public half of a pair.
    pub public: OnceLock<PublicKey>,
    /// The key that a private key's value is, where it may stay ([`Token::private_key`](super::Token::private_key)).
    pub private: OnceLock<PrivateKey>,
    /// Whether data were protected with the key since its attributes were read.
    used: Arc<AtomicBool>,
}

impl Known {
    /// Notes that data are protected with the key.
    pub fn in_use(&self) {
        self.used.store(true, Ordering::Relaxed);
    }
}

/// An object. Never changed in place: a changed object takes its place in the table under the same handle.
#[derive(Debug)]
pub struct Object {
    /// Its handle.
    pub handle: CK_OBJECT_HANDLE,
    /// Its attributes, the secret ones excepted.
    pub attributes: Attributes,
    /// Where it lives.
    pub home: Home,
    /// When its attributes were read from the store.
    pub read_at: Instant,
    /// What was learnt of its value.
    pub known: Known,
}

impl Object {
    /// True for a token object.
    pub fn is_token(&self) -> bool {
        matches!(self.home, Home::Store { .. })
    }

    /// `CKA_PRIVATE`.
    pub fn is_private(&self) -> bool {
        self.attributes.flag(CKA_PRIVATE)
    }

    /// True when the secret parts must not be shown. Who has them needs no login to use the key.
    pub fn is_hidden(&self) -> bool {
        matches!(self.attributes.class(), CKO_SECRET_KEY | CKO_PRIVATE_KEY)
            && (self.attributes.flag(CKA_SENSITIVE)
                || !self.attributes.flag(CKA_EXTRACTABLE)
                || self.wants_login())
    }

    /// `CKA_ALWAYS_AUTHENTICATE`: the user logs in for each use of the key.
    pub fn wants_login(&self) -> bool {
        self.attributes.flag(CKA_ALWAYS_AUTHENTICATE)
    }

    /// Its identifier in the store.
    pub fn uid(&self) -> Option<&Uid> {
        match &self.home {
            Home::Store { uid, .. } => Some(uid),
            Home::Session { .. } => None,
        }
    }
}

/// The objects of a token that have a handle.
#[derive(Default)]
pub struct ObjectTable {
    objects: HashMap<CK_OBJECT_HANDLE, Arc<Object>>,
    by_uid: HashMap<Uid, CK_OBJECT_HANDLE>,
    /// The session objects, each after its session.
    by_session: BTreeSet<(CK_SESSION_HANDLE, CK_OBJECT_HANDLE)>,
}

impl ObjectTable {
    /// The object of a handle.
    pub fn get(&self, handle: CK_OBJECT_HANDLE) -> Option<Arc<Object>> {
        self.objects.get(&handle).cloned()
    }

    /// The object of an identifier, if it was read no longer than `age` ago.
    pub fn fresh(&self, uid: &Uid, age: Duration) -> Option<Arc<Object>> {
        self.by_uid
            .get(uid)
            .and_then(|h| self.get(*h))
            .filter(|o| o.read_at.elapsed() < age)
    }

    /// The handle that an identifier has, or what `new` gives.
    pub fn handle_of(&self, uid: &Uid, new: impl FnOnce() -> CK_OBJECT_HANDLE) -> CK_OBJECT_HANDLE {
        self.by_uid.get(uid).copied().unwrap_or_else(new)
    }

    /// Takes an object in, in the place of one with the same handle.
    pub fn put(&mut self, object: Object) -> Arc<Object> {
        let object = Arc::new(object);
        match &object.home {
            Home::Store { uid, .. } => {
                self.by_uid.insert(uid.clone(), object.handle);
            }
            Home::Session { session, .. } => {
                self.by_session.insert((*session, object.handle));
            }
        }
        self.objects.insert(object.handle, object.clone());
        object
    }

    /// Forgets a handle.
    pub fn remove(&mut self, handle: CK_OBJECT_HANDLE) {
        match self.objects.remove(&handle).as_ref().map(|o| &o.home) {
            Some(Home::Store { uid, .. }) => {
                self.by_uid.remove(uid);
            }
            Some(Home::Session { session, .. }) => {
                self.by_session.remove(&(*session, handle));
            }
            None => {}
        }
    }

    /// Forgets the objects of a session.
    pub fn close_session(&mut self, session: CK_SESSION_HANDLE) {
        let all = (session, CK_OBJECT_HANDLE::MIN)..=(session, CK_OBJECT_HANDLE::MAX);
        let handles: Vec<_> = self
            .by_session
            .range(all)
            .map(|(_, handle)| *handle)
            .collect();
        handles.into_iter().for_each(|handle| self.remove(handle));
    }

    /// Forgets the objects that `keep` is false for.
    pub fn retain(&mut self, keep: impl Fn(&Object) -> bool) {
        self.objects.retain(|_, object| keep(object));
        let objects = &self.objects;
        self.by_uid.retain(|_, handle| objects.contains_key(handle));
        self.by_session
            .retain(|(_, handle)| objects.contains_key(handle));
    }

    /// At most `most` keys that data were protected with since they were read, longer than `age` ago.
    pub fn used(&self, age: Duration, most: usize) -> Vec<Uid> {
        self.objects
            .values()
            .filter(|o| o.read_at.elapsed() >= age)
            .filter_map(|o| Some((o, o.uid()?)))
            .filter(|(o, _)| o.known.used.swap(false, Ordering::Relaxed))
            .map(|(_, uid)| uid.clone())
            .take(most)
            .collect()
    }

    /// The session objects.
    pub fn session_objects(&self) -> Vec<Arc<Object>> {
        self.by_session
            .iter()
            .filter_map(|(_, handle)| self.get(*handle))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(handle: CK_OBJECT_HANDLE, uid: &str) -> Object {
        let home = Home::Store {
            uid: Uid(uid.into()),
            state: None,
            protect_until: None,
            pair: None,
            birth: None,
        };
        Object {
            handle,
            attributes: Attributes::default(),
            home,
            read_at: Instant::now(),
            known: Known::default(),
        }
    }

    fn session_object(handle: CK_OBJECT_HANDLE, session: CK_SESSION_HANDLE) -> Object {
        Object {
            home: Home::Session {
                session,
                value: Arc::default(),
            },
            ..object(handle, "")
        }
    }

    #[test]
    fn an_identifier_keeps_its_handle() {
        let mut table = ObjectTable::default();
        table.put(object(7, "a"));
        assert_eq!(table.handle_of(&Uid("a".into()), || 8), 7);
        assert_eq!(table.handle_of(&Uid("b".into()), || 8), 8);
        table.put(object(7, "a"));
        assert!(
            table
                .fresh(&Uid("a".into()), Duration::from_secs(60))
                .is_some()
        );
        assert!(table.fresh(&Uid("a".into()), Duration::ZERO).is_none());
        table.remove(7);
        assert!(table.get(7).is_none());
        assert_eq!(table.handle_of(&Uid("a".into()), || 9), 9);
    }

    #[test]
    fn retain_forgets_identifiers_too() {
        let mut table = ObjectTable::default();
        table.put(object(1, "a"));
        table.put(object(2, "b"));
        table.retain(|o| o.handle == 2);
        assert_eq!(table.handle_of(&Uid("a".into()), || 3), 3);
        assert_eq!(table.handle_of(&Uid("b".into()), || 3), 2);
    }

    #[test]
    fn a_session_takes_its_objects_and_no_others_with_it() {
        let mut table = ObjectTable::default();
        table.put(object(1, "a"));
        for (handle, session) in [(2, 10), (3, 11), (4, 10), (5, 9), (6, 11)] {
            table.put(session_object(handle, session));
        }
        let left = |table: &ObjectTable| {
            let mut handles: Vec<_> = table.session_objects().iter().map(|o| o.handle).collect();
            handles.sort_unstable();
            handles
        };
        table.remove(6);
        assert_eq!(left(&table), [2, 3, 4, 5]);
        table.close_session(10);
        assert_eq!(left(&table), [3, 5]);
        assert!(table.get(2).is_none() && table.get(1).is_some());
        table.retain(|o| o.handle != 3);
        assert_eq!(left(&table), [5]);
    }

    #[test]
    fn templates_survive_flattening_and_cut_ones_do_not_panic() {
        let bytes = |v: &[u8]| Value::Bytes(Secret::new(v.to_vec()));
        let template = Template(vec![
            Attribute {
                kind: CKA_LABEL,
                value: bytes(b"x"),
            },
            Attribute {
                kind: CKA_ID,
                value: bytes(b""),
            },
        ]);
        let flat = flatten(&template);
        assert_eq!(format!("{:?}", unflatten(&flat)), format!("{template:?}"));
        for cut in 0..flat.len() {
            assert!(unflatten(&flat[..cut]).0.len() < 2);
        }
        assert!(unflatten(&[0xff; 16]).0.is_empty());
    }

    #[test]
    fn allowed_mechanisms_restrict_only_when_present() {
        let mut attributes = Attributes::default();
        assert!(attributes.allows(CKM_AES_ECB));
        attributes.set(CKA_ALLOWED_MECHANISMS, CKM_AES_CBC.to_ne_bytes());
        assert!(attributes.allows(CKM_AES_CBC) && !attributes.allows(CKM_AES_ECB));
    }
}
