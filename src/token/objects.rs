//! The objects of a token, wherever they live: finding, making, reading, changing and destroying them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::attr::{Form, rule, vendor};
use super::cluster::Role;
use super::object::{Attributes, Birth, Home, Known, Object, unflatten};
use super::template::{Answer, Attribute, Rights, Template};
use super::{Token, lock, spec, twins, value};
use crate::ck::*;
use crate::config::{ClusterKeys, CryptoPolicy, StoreKind};
use crate::crypto::pkey::{PrivateKey, PublicKey};
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;
use crate::store::{Ability, Class, Filter, KeyStore, Meta, Spec, State, Uid, Wrapping};

/// How long the answer to a search may be given again.
const FIND_AGE: Duration = Duration::from_secs(2);
/// How many answers are kept for that long.
const FINDS_KEPT: usize = 256;
/// How long what was read about an object is good enough to show it in a search.
pub(super) const SHOW_AGE: Duration = Duration::from_secs(5);
/// How many objects' attributes are asked for at once.
pub(super) const META_BATCH: usize = 64;
/// The property that marks the objects this token made, with its serial number as its value.
const MADE_BY: &str = "tok";

/// Searches answered lately.
#[derive(Default)]
pub(super) struct FindCache {
    answers: HashMap<String, (Instant, Vec<Uid>)>,
    /// Counts changes, so that an answer that was on its way during one is not kept.
    changes: u64,
}

/// Where a key can be used.
#[derive(Clone)]
pub enum Material {
    /// Here: its value, as [`value`] describes it.
    Local(Arc<Secret>),
    /// In the store.
    Remote(Arc<dyn KeyStore>, Uid),
}

/// Where a new object's value comes from.
pub enum Source {
    /// From the caller.
    Given(Secret),
    /// Made by the store: a secret key of so many bits.
    Made(u32),
    /// Wrapped, to be unwrapped by the store: a token's secret key.
    Wrapped {
        /// The key encryption key.
        kek: Uid,
        /// How it is wrapped.
        wrapping: Wrapping,
        /// The wrapped value.
        wrapped: Vec<u8>,
        /// Length of the value in bytes.
        len: usize,
    },
}

impl Token {
    /// Forgets what was found, because something changed.
    pub(super) fn forget_finds(&self) {
        let mut found = lock(&self.found);
        found.answers.clear();
        found.changes += 1;
    }

    /// Forgets the objects of a closed session.
    pub fn close_session(&self, session: CK_SESSION_HANDLE) {
        lock(&self.objects).close_session(session);
    }

    /// The object of a handle, as `rights` see it. `CKR_OBJECT_HANDLE_INVALID` when there is none.
    pub fn object(&self, handle: CK_OBJECT_HANDLE, rights: Rights) -> Result<Arc<Object>> {
        let object = lock(&self.objects)
            .get(handle)
            .filter(|o| !o.is_private() || rights.user);
        let object = object.ok_or(CKR_OBJECT_HANDLE_INVALID)?;
        match object.uid() {
            Some(uid) if object.read_at.elapsed() >= self.key_age().max(SHOW_AGE) => {
                let found = self.store().and_then(|store| {
                    self.read(store.as_ref(), std::slice::from_ref(uid), Duration::ZERO)
                });
                let found = found.map_err(|e| unseen(&object, e))?.pop();
                Ok(found
                    .filter(|o| !o.is_private() || rights.user)
                    .ok_or_else(|| {
                        lock(&self.objects).remove(handle);
                        CKR_OBJECT_HANDLE_INVALID
                    })?)
            }
            _ => Ok(object),
        }
    }

    /// Handles of the objects that match a template, oldest handle first.
    pub fn find(&self, template: &Template, rights: Rights) -> Result<Vec<CK_OBJECT_HANDLE>> {
        let mut candidates = lock(&self.objects).session_objects();
        let only_session = template.bytes(CKA_TOKEN).is_some_and(|v| v == [CK_FALSE]);
        if !only_session {
            candidates.extend(self.stored(template)?);
        }
        let mut handles = Vec::new();
        for object in candidates {
            if (!object.is_private() || rights.user) && self.matches(&object, template)? {
                handles.push(object.handle);
            }
        }
        handles.sort_unstable();
        handles.dedup();
        Ok(handles)
    }

    /// The stored objects that may match.
    fn stored(&self, template: &Template) -> Result<Vec<Arc<Object>>> {
        let store = match self.store() {
            Ok(store) => store,
            // Before login a token whose PIN is not kept shows what this process has.
            Err(e) if e.rv() == CKR_USER_NOT_LOGGED_IN => return Ok(Vec::new()),
            Err(e) => return Err(e),
        };
        let text = |kind| {
            template
                .bytes(kind)
                .and_then(|v| std::str::from_utf8(v).ok())
        };
        if let Some(uid) = text(CKA_UNIQUE_ID).or_else(|| text(vendor::UID)) {
            return self.read(store.as_ref(), &[Uid(uid.into())], SHOW_AGE);
        }
        let uids = self.locate(store.as_ref(), &filter(template))?;
        Ok(twins::hidden(self.read(store.as_ref(), &uids, SHOW_AGE)?))
    }

    /// Asks the store, unless it was asked the same just before.
    fn locate(&self, store: &dyn KeyStore, filter: &Filter) -> Result<Vec<Uid>> {
        let key = format!("{filter:?}");
        let changes = {
            let mut found = lock(&self.found);
            found
                .answers
                .retain(|_, (when, _)| when.elapsed() < FIND_AGE);
            if let Some((_, uids)) = found.answers.get(&key) {
                return Ok(uids.clone());
            }
            found.changes
        };
        let uids = store.locate(filter)?;
        if *filter == Filter::default() {
            self.note_seen(|seen| seen.listed(&uids));
        }
        let mut found = lock(&self.found);
        if found.changes == changes {
            // Every search passes through all of them.
            if found.answers.len() >= FINDS_KEPT {
                found.answers.clear();
            }
            found.answers.insert(key, (Instant::now(), uids.clone()));
        }
        Ok(uids)
    }

    /// The objects with these identifiers, read from the store where they were last read longer than `age` ago. Objects that are gone
    /// or cannot be shown are left out.
    pub(super) fn read(
        &self,
        store: &dyn KeyStore,
        uids: &[Uid],
        age: Duration,
    ) -> Result<Vec<Arc<Object>>> {
        let mut objects = Vec::with_capacity(uids.len());
        let mut stale = Vec::new();
        {
            let table = lock(&self.objects);
            for uid in uids {
                match table.fresh(uid, age) {
                    Some(object) => objects.push(object),
                    None => stale.push(uid.clone()),
                }
            }
        }
        if stale.is_empty() {
            return Ok(objects);
        }
        let cluster = self.config().keys;
        for batch in stale.chunks(META_BATCH) {
            let metas = store.meta(batch)?;
            self.note_seen(|seen| seen.metas(batch, &metas));
            let mut table = lock(&self.objects);
            for meta in &metas {
                let Some(mut attributes) = shown(meta, &cluster) else {
                    continue;
                };
                self.claim(&mut attributes);
                let handle = table.handle_of(&meta.uid, || self.handles.next());
                let home = Home::Store {
                    uid: meta.uid.clone(),
                    state: meta.state,
                    protect_until: meta
                        .protect_stop
                        .into_iter()
                        .chain(meta.deactivation_date)
                        .min(),
                    pair: meta.pair.clone(),
                    birth: meta.nonce.clone().map(|nonce| Birth {
                        nonce,
                        date: meta.initial_date,
                    }),
                };
                let known = table
                    .get(handle)
                    .map_or_else(Known::default, |old| old.known.clone());
                objects.push(table.put(Object {
                    handle,
                    attributes,
                    home,
                    read_at: Instant::now(),
                    known,
                }));
            }
        }
        Ok(objects)
    }

    /// True when an object matches a template. What costs a request is compared last, and only when all else matches.
    fn matches(&self, object: &Object, template: &Template) -> Result<bool> {
        let has = |a: &&Attribute| object.attributes.has(a.kind);
        if !template
            .0
            .iter()
            .filter(has)
            .all(|a| a.matches(object.attributes.bytes(a.kind)))
        {
            return Ok(false);
        }
        for wanted in template.0.iter().filter(|a| !has(a)) {
            let value = match self.attribute(object, wanted.kind) {
                Ok(Answer::Value(value)) => Some(value),
                Ok(_) => None,
                // Gone, or out of sight, since it was found.
                Err(e) if e.rv() == CKR_OBJECT_HANDLE_INVALID => None,
                Err(e) if passes(&e) => return Err(e),
                // What the store refuses to show of one object hides no other.
                Err(_) => None,
            };
            if !wanted.matches(value.as_ref().map(Secret::expose)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What an object shows of an attribute (`C_GetAttributeValue`).
    pub fn attribute(&self, object: &Object, kind: CK_ATTRIBUTE_TYPE) -> Result<Answer> {
        match self.answer(object, kind) {
            // What the store does not give out, or does not have, is said of that attribute alone (5.7.5).
            Err(e) if matches!(e.rv(), CKR_ATTRIBUTE_SENSITIVE | CKR_KEY_UNEXTRACTABLE) => {
                Ok(Answer::Sensitive)
            }
            Err(e) if e.rv() == CKR_ATTRIBUTE_TYPE_INVALID => Ok(Answer::Unknown),
            answer => answer.map_err(|e| unseen(object, self.gone(object, e))),
        }
    }

    fn answer(&self, object: &Object, kind: CK_ATTRIBUTE_TYPE) -> Result<Answer> {
        let attributes = &object.attributes;
        let (class, key_type) = (attributes.class(), attributes.key_type());
        let Some(rule) = rule(kind).filter(|r| r.applies(class, key_type)) else {
            return Ok(Answer::Unknown);
        };
        if rule.secret {
            return match class {
                _ if object.is_hidden() => Ok(Answer::Sensitive),
                CKO_SECRET_KEY | CKO_PRIVATE_KEY => Ok(Answer::Value(value::part(
                    attributes,
                    &*self.value(object)?,
                    kind,
                )?)),
                _ => Ok(Answer::Value(self.value(object)?.duplicate())),
            };
        }
        if let Some(bytes) = attributes.bytes(kind) {
            return Ok(match rule.form {
                Form::Template => Answer::Nested(unflatten(bytes)),
                _ => Answer::Value(Secret::new(bytes.to_vec())),
            });
        }
        if rule.form == Form::Template {
            return Ok(Answer::Nested(Template::default()));
        }
        if rule.is_read_only() {
            return Ok(Answer::Unknown);
        }
        Ok(match self.derived(object)?.bytes(kind) {
            Some(bytes) => Answer::Value(Secret::new(bytes.to_vec())),
            // Of a certificate that is not understood: "default empty" (3.0, 4.6.3).
            None if class == CKO_CERTIFICATE
                && matches!(kind, CKA_ISSUER | CKA_SERIAL_NUMBER | CKA_PUBLIC_KEY_INFO) =>
            {
                Answer::Value(Secret::default())
            }
            None => Answer::Unknown,
        })
    }

    /// The attributes that follow from an object's value, read once. None where the store does not let them be had; where they cannot
    /// be had just now, the error.
    fn derived<'a>(&self, object: &'a Object) -> Result<&'a Attributes> {
        let known = &object.known.attributes;
        if let Some(derived) = known.get() {
            return Ok(derived);
        }
        match self.read_derived(object) {
            Ok(derived) => Ok(known.get_or_init(|| derived)),
            Err(e) if passes(&e) => Err(e),
            Err(e) => {
                crate::log!(
                    Warn,
                    "token {}: attributes of object {}: {e}",
                    self.uuid(),
                    object.handle
                );
                static NONE: Attributes = Attributes::none();
                Ok(&NONE)
            }
        }
    }

    fn read_derived(&self, object: &Object) -> Result<Attributes> {
        let attributes = &object.attributes;
        if attributes.class() == CKO_PRIVATE_KEY {
            return value::public_facts(&self.public_key(object)?);
        }
        if attributes.class() == CKO_SECRET_KEY && object.is_token() && object.is_hidden() {
            return self.remote_check_value(object);
        }
        value::derived(attributes, self.value(object)?.expose())
    }

    /// The check value of a key that stays in the store.
    fn remote_check_value(&self, object: &Object) -> Result<Attributes> {
        use crate::store::{Algorithm, Cipher};
        let mut facts = Attributes::default();
        let algorithm = spec::algorithm(&object.attributes)?;
        // Of what is no cipher's key the check value is a hash, which no server makes.
        let block: Option<&[u8]> = match algorithm {
            Algorithm::Aes => Some(&[0; 16]),
            Algorithm::TripleDes => Some(&[0; 8]),
            _ => None,
        };
        let material = self.material(object, block.map(|_| Ability::Encrypt))?;
        if let (Some(block), Material::Remote(store, uid)) = (block, material) {
            let mut check = store.encrypt(&uid, algorithm, &Cipher::Ecb, block)?;
            check.truncate(3);
            facts.set(CKA_CHECK_VALUE, check);
            return Ok(facts);
        }
        value::derived(&object.attributes, self.value(object)?.expose())
    }

    /// The public half of a key pair, found from either: verification and public-key encryption are local.
    pub fn public_key(&self, object: &Object) -> Result<PublicKey> {
        if let Some(key) = object.known.public.get() {
            return Ok(key.clone());
        }
        let (key, certain) = if object.attributes.class() == CKO_PUBLIC_KEY {
            (PublicKey::from_spki(self.value(object)?.expose())?, true)
        } else if let Some(half) = self.public_half(object)? {
            half
        } else if object.is_token() && object.is_hidden() && self.policy() == CryptoPolicy::Server {
            return Err(CKR_KEY_UNEXTRACTABLE.into());
        } else {
            (
                self.private_key(object, &*self.value(object)?)?.public()?,
                true,
            )
        };
        Ok(if certain {
            object.known.public.get_or_init(|| key).clone()
        } else {
            key
        })
    }

    /// The private key that `value` is. Checking and preparing it costs as much as signing with it, and more: it is done once where the
    /// value, or what opens it, is in this process anyway until the object is gone or the user logs out. What was fetched from a host
    /// lies in locked memory, which the library that signs has none of.
    pub fn private_key(&self, object: &Object, value: &Secret) -> Result<PrivateKey> {
        if let Some(key) = object.known.private.get() {
            return Ok(key.clone());
        }
        let stays = match &object.home {
            Home::Session { .. } => true,
            Home::Store { .. } => {
                object.is_private() && lock(&self.config).settings.store == StoreKind::File
            }
        };
        let key = PrivateKey::from_pkcs8(value.expose())?;
        Ok(if stays {
            object.known.private.get_or_init(|| key).clone()
        } else {
            key
        })
    }

    /// The public half that belongs to a private key, and whether that is certain: one that is only found by its `CKA_ID` may belong
    /// to another. `None` where there is none to be found.
    pub fn public_half(&self, object: &Object) -> Result<Option<(PublicKey, bool)>> {
        if let Some(spki) = object
            .attributes
            .bytes(CKA_PUBLIC_KEY_INFO)
            .filter(|v| !v.is_empty())
        {
            return Ok(Some((PublicKey::from_spki(spki)?, true)));
        }
        if let Home::Store {
            pair: Some(pair), ..
        } = &object.home
            && let Some(spki) = if_available(self.store()?.fetch(pair))?
        {
            return Ok(Some((PublicKey::from_spki(spki.expose())?, true)));
        }
        if object.is_token() {
            let id = object
                .attributes
                .bytes(CKA_ID)
                .filter(|id| !id.is_empty())
                .map(<[u8]>::to_vec);
            if id.is_some() {
                let filter = Filter {
                    class: Some(Class::PublicKey),
                    id: id.clone(),
                    ..Filter::default()
                };
                let store = self.store()?;
                let uids = self.locate(store.as_ref(), &filter)?;
                let twin = twins::hidden(self.read(store.as_ref(), &uids, SHOW_AGE)?)
                    .into_iter()
                    .find(|o| {
                        o.attributes.class() == CKO_PUBLIC_KEY
                            && o.attributes.key_type() == object.attributes.key_type()
                            && o.attributes.bytes(CKA_ID) == id.as_deref()
                    });
                if let Some(twin) = twin
                    && let Some(spki) = if_available(self.value(&twin))?
                {
                    return Ok(Some((PublicKey::from_spki(spki.expose())?, false)));
                }
            }
        }
        Ok(None)
    }

    /// True for a key whose value never comes here: the store made it to stay there. Where the configuration says that all keys are
    /// used here, that counts more.
    pub fn keeps(&self, object: &Object) -> bool {
        object.attributes.flag(vendor::KEPT) && self.policy() != CryptoPolicy::Local
    }

    /// Takes back the claim of a key on a key manager that it was never extractable, unless its value never comes here.
    fn claim(&self, attributes: &mut Attributes) {
        let settings = &lock(&self.config).settings;
        let kept = attributes.flag(vendor::KEPT) && settings.crypto != CryptoPolicy::Local;
        if settings.store == StoreKind::Kmip && attributes.has(CKA_NEVER_EXTRACTABLE) && !kept {
            attributes.set_flag(CKA_NEVER_EXTRACTABLE, false);
        }
    }

    /// The value of an object, fetched where it lives in the store. `CKR_KEY_UNEXTRACTABLE` for a key that is kept there.
    pub fn value(&self, object: &Object) -> Result<Arc<Secret>> {
        match &object.home {
            Home::Session { value, .. } => Ok(value.clone()),
            Home::Store { uid, .. } if self.keeps(object) => {
                Err(Error::from(CKR_KEY_UNEXTRACTABLE)
                    .context(format_args!("the key {uid} is kept by its server")))
            }
            Home::Store { uid, .. } => {
                let value = self.store()?.fetch(uid)?;
                let class = object.attributes.class();
                let is_secret = matches!(class, CKO_SECRET_KEY | CKO_PRIVATE_KEY);
                if !is_secret && !object.is_private() {
                    self.note_seen(|seen| seen.value(uid, value.expose()));
                }
                Ok(Arc::new(value))
            }
        }
    }

    /// Where a key is used, by the token's policy (`ARCHITECTURE.md`, decision 9). `ability` is what the store would have to do, `None`
    /// where no store can.
    pub fn material(&self, object: &Object, ability: Option<Ability>) -> Result<Material> {
        let Home::Store { uid, .. } = &object.home else {
            return Ok(Material::Local(self.value(object)?));
        };
        let private = matches!(object.attributes.class(), CKO_SECRET_KEY | CKO_PRIVATE_KEY);
        let store = self.store()?;
        let remote = || ability.map_or(Ok(false), |ability| store.can(ability));
        let there = || Ok(Material::Remote(store.clone(), uid.clone()));
        match self.policy() {
            _ if !private => {}
            CryptoPolicy::Local => {}
            policy if policy == CryptoPolicy::Server || self.keeps(object) => {
                return if remote()? {
                    there()
                } else {
                    Err(CKR_MECHANISM_INVALID.into())
                };
            }
            _ if !object.attributes.flag(CKA_EXTRACTABLE) => {
                if remote()? {
                    return there();
                }
            }
            _ => {
                return match self.value(object) {
                    // Another client's key may be extractable and still not for us.
                    Err(e)
                        if matches!(e.rv(), CKR_ATTRIBUTE_SENSITIVE | CKR_KEY_UNEXTRACTABLE)
                            && remote()? =>
                    {
                        there()
                    }
                    value => Ok(Material::Local(value?)),
                };
            }
        }
        Ok(Material::Local(self.value(object)?))
    }

    /// Makes an object: in the store when it is a token object, else in this process for as long as `session` lives.
    pub fn add(
        &self,
        mut attributes: Attributes,
        source: Source,
        session: CK_SESSION_HANDLE,
    ) -> Result<Arc<Object>> {
        let made_there = matches!(source, Source::Made(_) | Source::Wrapped { .. })
            && attributes.flag(CKA_TOKEN);
        if attributes.flag(vendor::KEPT) && !(made_there && self.can_work(&attributes)?) {
            attributes.set_flag(vendor::KEPT, false);
        }
        if attributes.flag(CKA_TOKEN) {
            self.claim(&mut attributes);
            let bits = match &source {
                Source::Given(value) => value::bits(&attributes, value)?,
                Source::Made(bits) => *bits,
                Source::Wrapped { len, .. } => {
                    8 * u32::try_from(*len).map_err(|_| CKR_WRAPPED_KEY_LEN_RANGE)?
                }
            };
            let spec = self.spec(&attributes, bits)?;
            let store = self.store()?;
            let uid = match &source {
                Source::Given(value) => store.register(&spec, value.expose())?,
                Source::Made(_) => store.create(&spec)?,
                Source::Wrapped {
                    kek,
                    wrapping,
                    wrapped,
                    ..
                } => store.register_wrapped(&spec, kek, *wrapping, wrapped)?,
            };
            let value = match &source {
                Source::Given(value) => Some(value),
                Source::Made(_) | Source::Wrapped { .. } => None,
            };
            self.note_seen(|seen| seen.made(&uid, &spec, value));
            return Ok(self.adopt(attributes, uid, None));
        }
        let value = match source {
            Source::Given(value) => value,
            Source::Made(bits) => value::random(attributes.key_type(), bits)?,
            Source::Wrapped { .. } => return Err(CKR_TEMPLATE_INCONSISTENT.into()),
        };
        value::adopt(&mut attributes, &value)?;
        let handle = self.handles.next();
        attributes.set(CKA_UNIQUE_ID, format!("session-{handle}"));
        let value = match attributes.class() {
            CKO_SECRET_KEY | CKO_PRIVATE_KEY => value.locked()?,
            _ => value,
        };
        let home = Home::Session {
            session,
            value: Arc::new(value),
        };
        let object = Object {
            handle,
            attributes,
            home,
            read_at: Instant::now(),
            known: Known::default(),
        };
        Ok(lock(&self.objects).put(object))
    }

    /// Makes a key pair in the store: (public, private).
    pub fn add_pair(
        &self,
        public: Attributes,
        mut private: Attributes,
        bits: u32,
    ) -> Result<(Arc<Object>, Arc<Object>)> {
        if private.flag(vendor::KEPT) && !self.can_work(&private)? {
            private.set_flag(vendor::KEPT, false);
        }
        self.claim(&mut private);
        let (public_spec, private_spec) = (self.spec(&public, bits)?, self.spec(&private, bits)?);
        let (public_uid, private_uid) = self.store()?.create_pair(&public_spec, &private_spec)?;
        self.note_seen(|seen| {
            seen.made(&public_uid, &public_spec, None);
            seen.made(&private_uid, &private_spec, None);
        });
        let public = self.adopt(public, public_uid.clone(), Some(private_uid.clone()));
        Ok((public, self.adopt(private, private_uid, Some(public_uid))))
    }

    /// Whether the store itself does anything with a new key that the key is for. A store that only keeps keys is served by fetching.
    fn can_work(&self, attributes: &Attributes) -> Result<bool> {
        use crate::store::{Algorithm as A, Curve, Mac};
        if self.policy() == CryptoPolicy::Local {
            return Ok(false);
        }
        let store = self.store()?;
        let can = |usage, ability| Ok::<_, Error>(attributes.flag(usage) && store.can(ability)?);
        match spec::algorithm(attributes)? {
            A::Aes | A::TripleDes => {
                let encrypts =
                    can(CKA_ENCRYPT, Ability::Encrypt)? || can(CKA_WRAP, Ability::Encrypt)?;
                let decrypts =
                    can(CKA_DECRYPT, Ability::Decrypt)? || can(CKA_UNWRAP, Ability::Decrypt)?;
                Ok(encrypts || decrypts || can(CKA_SIGN, Ability::Mac)?)
            }
            A::Hmac(hash) if Mac::hmac(hash).is_none() => Ok(false),
            A::GenericSecret | A::Hmac(_) => {
                Ok(can(CKA_SIGN, Ability::Mac)? || can(CKA_VERIFY, Ability::Mac)?)
            }
            A::Rsa => {
                let decrypts =
                    can(CKA_DECRYPT, Ability::Decrypt)? || can(CKA_UNWRAP, Ability::Decrypt)?;
                Ok(decrypts || can(CKA_SIGN, Ability::Sign)?)
            }
            A::Ec(curve) => Ok(curve != Curve::X25519 && can(CKA_SIGN, Ability::Sign)?),
            A::ChaCha20 | A::None | A::Other(_) => Ok(false),
        }
    }

    fn spec(&self, attributes: &Attributes, bits: u32) -> Result<Spec> {
        let mut spec = spec::spec(attributes, bits)?;
        spec.properties.insert(MADE_BY.into(), self.config().serial);
        Ok(spec)
    }

    /// Gives a new stored object its handle, without asking the store for what we just told it.
    fn adopt(&self, mut attributes: Attributes, uid: Uid, pair: Option<Uid>) -> Arc<Object> {
        let is_key = attributes.key_type().is_some();
        attributes.set(CKA_UNIQUE_ID, uid.0.as_bytes());
        attributes.set(vendor::UID, uid.0.as_bytes());
        if is_key {
            attributes.set_number(vendor::STATE, State::Active as CK_ULONG + 1);
        }
        let home = Home::Store {
            uid,
            state: is_key.then_some(State::Active),
            protect_until: None,
            pair,
            birth: None,
        };
        let handle = self.handles.next();
        self.forget_finds();
        lock(&self.objects).put(Object {
            handle,
            attributes,
            home,
            read_at: Instant::now(),
            known: Known::default(),
        })
    }

    /// Gives an object new attributes.
    pub fn change(&self, object: &Object, new: Attributes) -> Result<()> {
        if let Some(uid) = object.uid() {
            let store = self.store().map_err(|e| unseen(object, e))?;
            store
                .update(uid, &spec::changes(&object.attributes, &new))
                .map_err(|e| self.gone(object, e))?;
            self.forget_finds();
        }
        let mut table = lock(&self.objects);
        // Another thread may have destroyed the object meanwhile, or changed other attributes of it.
        let now = match table.get(object.handle) {
            Some(now) => now,
            None if object.is_token() => return Ok(()),
            None => return Err(CKR_OBJECT_HANDLE_INVALID.into()),
        };
        let mut attributes = now.attributes.clone();
        attributes.take_over(&object.attributes, &new);
        let (handle, home, known) = (now.handle, now.home.clone(), now.known.clone());
        table.put(Object {
            handle,
            attributes,
            home,
            read_at: now.read_at,
            known,
        });
        Ok(())
    }

    /// Destroys an object.
    pub fn destroy(&self, object: &Object) -> Result<()> {
        if let Some(uid) = object.uid() {
            let store = self.store().map_err(|e| unseen(object, e))?;
            store.destroy(uid).map_err(|e| self.gone(object, e))?;
            self.note_seen(|seen| seen.gone(uid));
            self.forget_finds();
        }
        lock(&self.objects).remove(object.handle);
        Ok(())
    }

    /// Destroys every object on the token's hosts that this token made, but the cluster's keys (`C_InitToken`). Those in the token
    /// directory go with the token key.
    pub fn destroy_all(&self) -> Result<()> {
        if !self.keeps_objects_here() {
            self.destroy_on_hosts()?;
        }
        self.forget_finds();
        *lock(&self.objects) = super::object::ObjectTable::default();
        Ok(())
    }

    /// Creates the store of a file token, so that public objects can be added before the first login.
    pub fn create_objects(&self) -> Result<()> {
        match self.keeps_objects_here() {
            true => self.store().map(drop),
            false => Ok(()),
        }
    }

    fn keeps_objects_here(&self) -> bool {
        #[cfg(test)]
        if lock(&self.double).is_some() {
            return false;
        }
        self.config().settings.store == StoreKind::File
    }

    fn destroy_on_hosts(&self) -> Result<()> {
        let store = self.store()?;
        let serial = self.config().serial;
        let uids = store.locate(&Filter::default())?;
        for batch in uids.chunks(META_BATCH) {
            for meta in store.meta(batch)? {
                if meta.properties.get(MADE_BY) == Some(&serial)
                    && !meta.properties.contains_key(spec::ROLE)
                {
                    match store.destroy(&meta.uid) {
                        // Somebody else was faster.
                        Err(e) if e.rv() == CKR_OBJECT_HANDLE_INVALID => {}
                        done => done?,
                    }
                }
            }
        }
        Ok(())
    }

    /// An error of the store about an object; one that is gone loses its handle.
    pub fn gone(&self, object: &Object, error: Error) -> Error {
        if error.rv() == CKR_OBJECT_HANDLE_INVALID {
            lock(&self.objects).remove(object.handle);
            object
                .uid()
                .iter()
                .for_each(|uid| self.note_seen(|seen| seen.gone(uid)));
            self.forget_finds();
        }
        error
    }
}

/// An error in a call about an object: who has logged out meanwhile does not see a private one any more.
fn unseen(object: &Object, error: Error) -> Error {
    if object.is_private() && is_logged_out(&error) {
        error.with_rv(CKR_OBJECT_HANDLE_INVALID)
    } else {
        error
    }
}

/// Whether nobody is logged in here; servers have reasons of their own to say so.
fn is_logged_out(error: &Error) -> bool {
    error.rv() == CKR_USER_NOT_LOGGED_IN && error.kind() == Kind::Pkcs11
}

/// The value of another object. That object may be gone, or its value be refused, while this one exists.
fn if_available<T>(value: Result<T>) -> Result<Option<T>> {
    match value {
        Ok(value) => Ok(Some(value)),
        Err(e) if passes(&e) && e.rv() != CKR_OBJECT_HANDLE_INVALID => Err(e),
        Err(_) => Ok(None),
    }
}

/// Whether an error says something of the moment, not of the object that was asked for.
fn passes(error: &Error) -> bool {
    matches!(error.kind(), Kind::Unreachable | Kind::Broken | Kind::Tls)
        || is_logged_out(error)
        || error.rv() == CKR_OBJECT_HANDLE_INVALID
}

/// The part of a template that a store can look for.
fn filter(template: &Template) -> Filter {
    let class = match template.number(CKA_CLASS) {
        Some(CKO_SECRET_KEY) => Some(Class::SecretKey),
        Some(CKO_PUBLIC_KEY) => Some(Class::PublicKey),
        Some(CKO_PRIVATE_KEY) => Some(Class::PrivateKey),
        Some(CKO_CERTIFICATE) => Some(Class::Certificate),
        Some(CKO_DATA) => Some(Class::Data),
        _ => None,
    };
    let given = |kind| {
        template
            .bytes(kind)
            .filter(|v| !v.is_empty())
            .map(<[u8]>::to_vec)
    };
    // The cluster's keys are shown under titles that their store knows nothing of.
    let label =
        given(CKA_LABEL).filter(|label| !Role::ALL.iter().any(|r| r.label().as_bytes() == label));
    let id = given(CKA_ID).filter(|id| !Role::ALL.iter().any(|r| r.word().as_bytes() == id));
    Filter {
        class,
        label,
        id,
        ..Filter::default()
    }
}

/// The attributes of a stored object, if it is to be shown. `cluster` are the keys that the token uses of its cluster.
fn shown(meta: &Meta, cluster: &ClusterKeys) -> Option<Attributes> {
    if let Some(State::Destroyed | State::DestroyedCompromised) = meta.state {
        return None;
    }
    let mut attributes = spec::attributes(meta)?;
    if meta.properties.contains_key(spec::ROLE)
        && !Role::ALL
            .iter()
            .any(|r| cluster.get(*r).is_some_and(|k| k.uid == meta.uid.0))
    {
        spec::show_elsewhere(&mut attributes, meta);
    }
    Some(attributes)
}
