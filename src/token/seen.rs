//! The public objects that a user of a KMIP token has seen, in its folder: they are shown before the next login, when nothing opens the
//! client's key and no host can be asked.
//!
//! All of them are shown or none: an application that finds some public keys does not ask for the PIN. So the file is written after
//! a login that has searched for all objects and read the value of each public one, and removed after one that met another.
//!
//! Nothing in the file is secret, and no key authenticates it: it is not used after a login.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::files::SEEN;
use super::{Login, Token, lock};
use crate::ck::CKR_USER_NOT_LOGGED_IN;
use crate::config::StoreKind;
use crate::error::{Error, Result};
use crate::secret::Secret;
use crate::store::public::{Public, Shown};
use crate::store::{Class, Meta, Spec, State, Uid, is_shown_to_all};

/// The longest file, in bytes; objects that would make it longer are not shown before login.
const LONGEST: usize = 2 << 20;

/// What the logins of this process have seen.
#[derive(Default)]
pub(super) struct Seen {
    metas: BTreeMap<Uid, Meta>,
    private: BTreeSet<Uid>,
    values: BTreeMap<Uid, Vec<u8>>,
    gone: BTreeSet<Uid>,
    /// All objects, by the last search for all of them.
    listed: Option<BTreeSet<Uid>>,
}

impl Seen {
    /// What was read about an object.
    pub fn meta(&mut self, meta: &Meta) {
        match is_shown_to_all(meta.class, &meta.properties) {
            true => _ = self.metas.insert(meta.uid.clone(), meta.clone()),
            false => _ = self.private.insert(meta.uid.clone()),
        }
    }

    /// What was read about these objects. One that the store does not describe is not shown.
    pub fn metas(&mut self, asked: &[Uid], metas: &[Meta]) {
        for uid in asked {
            match metas.iter().find(|meta| meta.uid == *uid) {
                Some(meta) => self.meta(meta),
                None => self.gone(uid),
            }
        }
    }

    /// What an object was made with, and its value if that came from the application.
    pub fn made(&mut self, uid: &Uid, spec: &Spec, value: Option<&Secret>) {
        if let Some(value) = value.filter(|_| is_shown_to_all(spec.class, &spec.properties)) {
            self.value(uid, value.expose());
        }
        self.meta(&Meta {
            uid: uid.clone(),
            class: spec.class,
            algorithm: spec.algorithm,
            bits: spec.bits,
            usage: spec.usage,
            state: matches!(spec.class, Class::PublicKey).then_some(State::Active),
            names: spec.name.iter().cloned().collect(),
            groups: spec.group.iter().cloned().collect(),
            label: Some(spec.label.clone()),
            id: Some(spec.id.clone()),
            sensitive: Some(spec.sensitive),
            extractable: Some(spec.extractable),
            initial_date: None,
            activation_date: None,
            deactivation_date: None,
            protect_stop: None,
            pair: None,
            properties: spec.properties.clone(),
            nonce: None,
        });
    }

    /// The value of a public object.
    pub fn value(&mut self, uid: &Uid, value: &[u8]) {
        self.values.insert(uid.clone(), value.to_vec());
    }

    /// An object that is not there any more.
    pub fn gone(&mut self, uid: &Uid) {
        self.metas.remove(uid);
        self.values.remove(uid);
        self.private.remove(uid);
        self.gone.insert(uid.clone());
    }

    /// The answer to a search for all objects.
    pub fn listed(&mut self, uids: &[Uid]) {
        self.listed = Some(uids.iter().cloned().collect());
    }

    /// The public objects after this login, from those before it; `None` if not all of them are known.
    fn after(&self, before: Option<BTreeMap<Uid, Stored>>) -> Option<BTreeMap<Uid, Stored>> {
        let is_there = |uid: &Uid| {
            let is_listed = self.listed.as_ref().is_none_or(|all| all.contains(uid));
            is_listed && !self.gone.contains(uid)
        };
        let mut objects = match (before, &self.listed) {
            (None, None) => return None,
            (before, _) => before.unwrap_or_default(),
        };
        objects.retain(|uid, _| is_there(uid));
        for (uid, meta) in self.metas.iter().filter(|(uid, _)| is_there(uid)) {
            let known = objects.get(uid).map(|stored| &stored.value);
            let value = self.values.get(uid).or(known)?.clone();
            let meta = meta.clone();
            objects.insert(uid.clone(), Stored { meta, value });
        }
        let is_known = |uid: &Uid| {
            objects.contains_key(uid) || self.private.contains(uid) || self.gone.contains(uid)
        };
        let is_complete = self.listed.iter().flatten().all(is_known);
        is_complete.then_some(objects)
    }
}

/// An object in the file.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct Stored {
    meta: Meta,
    value: Vec<u8>,
}

/// What the last login saw.
pub(super) struct SeenBefore(Arc<Shown>);

impl Public for SeenBefore {
    fn shown(&self) -> Result<Arc<Shown>> {
        Ok(self.0.clone())
    }
}

impl Token {
    /// Whether what is seen now is shown before the next login: where the user PIN is kept, hosts are asked then, too.
    fn shows_seen(&self) -> bool {
        lock(&self.config).settings.store == StoreKind::Kmip
            && self.files().kept_user_pin().is_ok_and(|pin| pin.is_none())
    }

    /// Notes what the user of a KMIP token sees.
    pub(super) fn note_seen(&self, note: impl FnOnce(&mut Seen)) {
        if self.login_state() == Login::User && lock(&self.config).settings.store == StoreKind::Kmip
        {
            note(&mut lock(&self.seen));
        }
    }

    /// The public objects that the last login saw. `CKR_USER_NOT_LOGGED_IN` where there was none.
    pub(super) fn seen_before(&self) -> Result<SeenBefore> {
        let objects = self.read_seen()?.ok_or(CKR_USER_NOT_LOGGED_IN)?;
        let shown = objects
            .into_values()
            .map(|stored| (stored.meta, Secret::new(stored.value)));
        Ok(SeenBefore(Arc::new(shown.collect())))
    }

    fn read_seen(&self) -> Result<Option<BTreeMap<Uid, Stored>>> {
        let Some(text) = self.dir.read(&self.uuid, SEEN)? else {
            return Ok(None);
        };
        let stored: Vec<Stored> = match serde_json::from_slice(text.expose()) {
            Ok(stored) => stored,
            Err(e) => {
                crate::log!(Warn, "the objects of the last login are not shown: {e}");
                return Ok(None);
            }
        };
        let public = stored
            .into_iter()
            .filter(|stored| is_shown_to_all(stored.meta.class, &stored.meta.properties));
        Ok(Some(
            public
                .map(|stored| (stored.meta.uid.clone(), stored))
                .collect(),
        ))
    }

    /// Stores what this login has seen. Does not wait for another writer: what is not written now is written next time.
    pub(super) fn save_seen(&self) {
        if !self.shows_seen() {
            return;
        }
        let mut seen = lock(&self.seen);
        let write = || {
            let dir = self.dir.clone().with_patience(Duration::ZERO);
            let writer = dir.lock()?;
            let before = self.read_seen()?;
            let after = seen.after(before.clone());
            if after == before {
                return Ok(());
            }
            let Some(objects) = after else {
                return writer.write(&self.uuid, &[(SEEN, None)]);
            };
            let text = serde_json::to_vec(&objects.values().collect::<Vec<_>>())
                .map_err(|e| Error::input(e.to_string()))?;
            let text = (text.len() <= LONGEST).then_some(text.as_slice());
            writer.write(&self.uuid, &[(SEEN, text)])
        };
        write().unwrap_or_else(|e: Error| {
            crate::log!(
                Info,
                "public objects are not kept for the next process: {e}"
            )
        });
        (seen.gone, seen.listed) = (BTreeSet::new(), None);
    }
}
