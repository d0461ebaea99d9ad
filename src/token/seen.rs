//! The public objects that a user of a KMIP token has seen, in its folder: they are shown before the next login, when nothing opens the
//! client's key and no host can be asked.
//!
//! Nothing in the file is secret, and no key authenticates it: it is not used once somebody has logged in.

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

/// What this login has seen.
#[derive(Default)]
pub(super) struct Seen {
    metas: BTreeMap<Uid, Meta>,
    values: BTreeMap<Uid, Vec<u8>>,
    gone: BTreeSet<Uid>,
    /// All objects, by the last search for all of them.
    listed: Option<BTreeSet<Uid>>,
}

impl Seen {
    /// What was read about an object.
    pub fn meta(&mut self, meta: &Meta) {
        if is_shown_to_all(meta.class, &meta.properties) {
            self.metas.insert(meta.uid.clone(), meta.clone());
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
        });
    }

    /// The value of a public object.
    pub fn value(&mut self, uid: &Uid, value: &[u8]) {
        self.values.insert(uid.clone(), value.to_vec());
    }

    /// An object that is not there any more.
    pub fn gone(&mut self, uid: &Uid) {
        self.gone.insert(uid.clone());
    }

    /// The answer to a search for all objects.
    pub fn listed(&mut self, uids: &[Uid]) {
        self.listed = Some(uids.iter().cloned().collect());
    }

    /// Brings the objects of earlier logins up to date. Returns whether anything changed.
    fn update(self, objects: &mut BTreeMap<Uid, Stored>) -> bool {
        let before = objects.len();
        objects.retain(|uid, _| {
            let is_listed = self.listed.as_ref().is_none_or(|all| all.contains(uid));
            is_listed && !self.gone.contains(uid)
        });
        let mut is_changed = objects.len() != before;
        let Seen {
            metas, mut values, ..
        } = self;
        for (uid, meta) in metas
            .into_iter()
            .filter(|(uid, _)| !self.gone.contains(uid))
        {
            let known = objects.get(&uid);
            let value = values.remove(&uid);
            let Some(value) = value.or_else(|| Some(known?.value.clone())) else {
                continue;
            };
            let new = Stored { meta, value };
            if known != Some(&new) {
                objects.insert(uid, new);
                is_changed = true;
            }
        }
        is_changed
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
        let seen = std::mem::take(&mut *lock(&self.seen));
        if !self.shows_seen() {
            return;
        }
        let write = || {
            let dir = self.dir.clone().with_patience(Duration::ZERO);
            let writer = dir.lock()?;
            let before = self.read_seen()?;
            let is_new = before.is_none();
            let mut objects = before.unwrap_or_default();
            if !seen.update(&mut objects) && !is_new {
                return Ok(());
            }
            let text = serde_json::to_vec(&objects.values().collect::<Vec<_>>())
                .map_err(|e| Error::input(e.to_string()))?;
            match text.len() > LONGEST {
                true => Err(Error::input("they are too many")),
                false => writer.write(&self.uuid, &[(SEEN, Some(&text))]),
            }
        };
        write().unwrap_or_else(|e: Error| {
            crate::log!(
                Info,
                "public objects are not kept for the next process: {e}"
            )
        });
    }
}
