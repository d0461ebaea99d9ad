//! `enable`: every key made, found or imported on the store, proven, and written down in one step.
//!
//! Nothing is written before all keys are there, and then all at once. A run that ends before leaves keys with the
//! cluster's names on the store and nothing else; the next run finds them.

use super::roles::{Found, Held, How, Ring, Wanted, checksum, fetch, stopped};
use super::wrapped::wrap;
use super::{Context, Event, KeyFile, Options, Outcome, Role, check_cluster};
use crate::config::{ClusterKey, ClusterKeys, StoreKind, TokenConfig, WRAP_FORMAT};
use crate::error::{Error, Result};
use crate::secret::Secret;
use crate::store::{State, Uid};
use crate::token::files::TokenDir;
use crate::token::pin::TokenKey;
use crate::token::secrets::{IdentityChange, TokenFiles};

impl Options {
    /// What can be refused before a PIN is asked for and before the key manager is spoken to.
    pub fn check(&self) -> Result<()> {
        check_cluster(&self.cluster)?;
        if let (Some(file), false) = (&self.dare_file, self.dare) {
            return Err(Error::input(format!(
                "Existing DARE master key found at {}, and -dare is not specified\n\
                 Use the -dare option to import the DARE master key into the HSM.",
                file.path.display()
            )));
        }
        match &self.cldb_file {
            Some(KeyFile { path, key: None }) => Err(Error::input(format!(
                "{} is empty: put the cluster's CLDB key there to import it, or remove the file to have a new key made",
                path.display()
            ))),
            _ => Ok(()),
        }
    }

    fn file(&self, role: Role) -> Option<&KeyFile> {
        match role {
            Role::Cldb => self.cldb_file.as_ref(),
            Role::Dare => self.dare_file.as_ref(),
            Role::Core | Role::Common => None,
        }
    }

    fn value(&self, role: Role) -> Option<&Secret> {
        self.file(role)?.key.as_ref()
    }
}

impl Context<'_> {
    /// The token's entry as it was accepted.
    pub(super) fn token(&self) -> Result<TokenConfig> {
        Ok(self.files().trusted(self.key)?.config)
    }

    pub(super) fn files(&self) -> TokenFiles {
        TokenFiles::of(self.dir, self.uuid)
    }

    /// Writes the cluster's keys, unless somebody else changed them since `before` was read. True when that changed the file.
    pub(super) fn commit(
        &self,
        before: &TokenConfig,
        cluster: &str,
        keys: &ClusterKeys,
        enabled: bool,
    ) -> Result<bool> {
        let files = self.files();
        let writer = self.dir.lock()?;
        let mut change = files.change(&writer, self.key)?;
        let token = &mut change.config;
        let untouched = token.keys == before.keys && token.cluster == before.cluster;
        token.enabled = enabled;
        token.cluster = Some(cluster.into());
        token.keys.clone_from(keys);
        // Another run that came to the same end is no conflict.
        let now = change.before();
        let same = now.keys == change.config.keys && now.cluster == change.config.cluster;
        if !untouched && !same {
            return Err(Error::input(format!(
                "another mrhsm changed the cluster keys of token '{}' meanwhile; nothing was written: run the command again",
                now.label
            )));
        }
        change.commit(&IdentityChange::default())
    }
}

/// Puts the keys of a cluster in use. What is recorded is verified; what is missing is adopted from the store, imported or
/// made there.
///
/// Errors: another cluster is recorded, a recorded key is gone or differs, a key file differs from the store's key, anything
/// the store or the directory refuses. Then `mrhsm.conf` is as it was.
pub fn enable(
    ctx: &Context<'_>,
    options: &Options,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<Outcome> {
    options.check()?;
    let before = ctx.token()?;
    let cluster = options.cluster.as_str();
    if let Some(other) = before
        .cluster
        .as_deref()
        .filter(|c| *c != cluster && before.keys != ClusterKeys::default())
    {
        return Err(Error::input(format!(
            "token '{}' holds the keys of cluster {other}, not {cluster}: use another token for {cluster}, or name the right cluster with \
             -cluster",
            before.label
        )));
    }
    on_event(Event::Begin { cluster });
    let mut held = verify(ctx, &before, options, on_event)?;
    held.extend(complete(ctx, &before, options, on_event)?);
    held.sort_by_key(|h| h.role);

    let keys = record(cluster, &held)?;
    for h in held.iter().filter(|h| h.role.is_kek()) {
        tell(h, options, &keys, on_event);
    }
    for role in Role::ALL
        .into_iter()
        .filter(|r| is_rewrapped(&before.keys, &keys, *r))
    {
        on_event(Event::Warning(&format!(
            "the wrapped {} in mrhsm.conf was damaged and is written anew",
            role.label()
        )));
    }
    let changed = ctx.commit(&before, cluster, &keys, true)?;
    for h in held.iter().filter(|h| !h.role.is_kek()) {
        tell(h, options, &keys, on_event);
        if before.keys.get(h.role) != keys.get(h.role) {
            on_event(Event::Wrapped { role: h.role });
        }
    }
    Ok(Outcome {
        changed,
        cluster: cluster.into(),
        keys,
    })
}

/// Turns the use of the cluster's keys on or off; true when that changed anything.
///
/// Errors: there are no keys to use yet; a file store, which cannot be turned off because nothing else holds its keys.
pub fn set_active(dir: &TokenDir, uuid: &str, key: &TokenKey, active: bool) -> Result<bool> {
    let files = TokenFiles::of(dir, uuid);
    let writer = dir.lock()?;
    let mut change = files.change(&writer, key)?;
    let token = &mut change.config;
    if active && token.keys.core.is_none() {
        return Err(Error::input(format!(
            "token '{}' has no cluster keys yet: run mrhsm enable",
            token.label
        )));
    }
    if !active && token.settings.store == StoreKind::File && token.enabled {
        return Err(Error::input(format!(
            "token '{}' keeps its keys in a file store, which cannot be disabled: move to a KMIP store first",
            token.label
        )));
    }
    token.enabled = active;
    change.commit(&IdentityChange::default())
}

/// Fetches every recorded key and compares it with its record.
fn verify(
    ctx: &Context<'_>,
    token: &TokenConfig,
    options: &Options,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<Vec<Held>> {
    let recorded: Vec<(Role, &ClusterKey)> = Role::ALL
        .into_iter()
        .filter_map(|r| Some((r, token.keys.get(r)?)))
        .collect();
    if recorded.is_empty() {
        return Ok(Vec::new());
    }
    let uids: Vec<Uid> = recorded
        .iter()
        .map(|(_, key)| Uid(key.uid.clone()))
        .collect();
    let metas = ctx.store.meta(&uids)?;
    let mut held = Vec::new();
    for (role, key) in recorded {
        let uid = Uid(key.uid.clone());
        let state = metas
            .iter()
            .find(|m| m.uid == uid)
            .ok_or_else(|| missing(role, &uid))?
            .state;
        match state {
            None | Some(State::Active) => {}
            Some(State::PreActive) => ctx.store.activate(&uid)?,
            Some(State::Destroyed | State::DestroyedCompromised) => {
                return Err(missing(role, &uid));
            }
            Some(State::Deactivated | State::Compromised) if role.is_kek() => {
                return Err(Error::input(format!(
                    "the {} {uid} is no longer Active on the key manager: make a new one with mrhsm rekey -keytype {}",
                    role.label(),
                    role.word()
                )));
            }
            Some(State::Deactivated | State::Compromised) => {
                on_event(Event::Warning(&stopped(role, &uid)))
            }
        }
        let value = fetch(ctx.store, role, &uid)?;
        if checksum(&value)? != key.checksum {
            return Err(Error::input(format!(
                "the {} {uid} on the key manager is not the one recorded in mrhsm.conf (checksum {}): point the token at the key manager \
                 that holds it with mrhsm set -ip, or restore the key there",
                role.label(),
                key.checksum
            )));
        }
        if let Some(file) = options.file(role)
            && file.key.as_ref().is_some_and(|k| *k != value)
        {
            return Err(Error::input(format!(
                "{} holds another key than the {} in use (checksum {}): remove the file, or check that it is of this cluster",
                file.path.display(),
                role.label(),
                key.checksum
            )));
        }
        held.push(Held {
            role,
            uid,
            generation: key.generation,
            value,
            how: How::Verified,
        });
    }
    Ok(held)
}

fn missing(role: Role, uid: &Uid) -> Error {
    let mend = match role {
        Role::Core | Role::Common => format!(
            "or make a new one with mrhsm rekey -keytype {}",
            role.word()
        ),
        Role::Cldb | Role::Dare => "or restore it there from a backup".into(),
    };
    Error::input(format!(
        "the key manager does not hold the {} {uid} that mrhsm.conf records: point the token at the one that does with mrhsm set -ip, {mend}",
        role.label()
    ))
}

/// Obtains the keys that are not recorded yet.
fn complete(
    ctx: &Context<'_>,
    token: &TokenConfig,
    options: &Options,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<Vec<Held>> {
    let lacking =
        |role: &Role| token.keys.get(*role).is_none() && (*role != Role::Dare || options.dare);
    let want = |role| Wanted {
        role,
        above: 0,
        value: options.value(role),
    };
    let wanted: Vec<Wanted<'_>> = Role::ALL.into_iter().filter(lacking).map(want).collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let ring = Ring::new(ctx.store, &options.cluster);
    let dare_unasked = !options.dare && token.keys.dare.is_none();
    let searched: Vec<Wanted<'_>> = wanted
        .iter()
        .copied()
        .chain(dare_unasked.then(|| want(Role::Dare)))
        .collect();
    let found = ring.find(&searched)?;
    check_dare(
        options,
        &found,
        dare_unasked,
        wanted.iter().any(|w| w.role == Role::Dare),
    )?;
    ring.obtain(ctx, &found, &wanted, on_event)
}

fn check_dare(options: &Options, found: &Found, unasked: bool, wanted: bool) -> Result<()> {
    if unasked && found.has(Role::Dare) {
        return Err(Error::input(format!(
            "The key manager holds a DARE master key for cluster {}, and -dare is not specified\n\
             Use the -dare option to use it.",
            options.cluster
        )));
    }
    if let Some(KeyFile { path, key: None }) = &options.dare_file
        && wanted
        && !found.has(Role::Dare)
    {
        return Err(Error::input(format!(
            "{} is empty, which says that data are encrypted with a key of another node: run mrhsm enable -dare on the node that has the \
             key, or copy its token directory",
            path.display()
        )));
    }
    Ok(())
}

/// What `mrhsm.conf` shall say of the keys.
fn record(cluster: &str, held: &[Held]) -> Result<ClusterKeys> {
    let core = held
        .iter()
        .find(|h| h.role == Role::Core)
        .ok_or_else(|| Error::input("there is no Core KEK"))?;
    let mut keys = ClusterKeys::default();
    for h in held {
        // A KEK is tried on a key of its own length before anything depends on it.
        wrap(&h.value, h.place(cluster), &core.value)?;
        let (wrapped, format) = match h.role.is_kek() {
            true => (None, 1),
            false => (
                Some(wrap(&core.value, h.place(cluster), &h.value)?),
                WRAP_FORMAT,
            ),
        };
        keys.set(
            h.role,
            ClusterKey {
                uid: h.uid.0.clone(),
                checksum: checksum(&h.value)?,
                generation: h.generation,
                wrapped,
                format,
            },
        );
    }
    Ok(keys)
}

/// True when what was wrapped in today's way is not what it should be.
fn is_rewrapped(before: &ClusterKeys, after: &ClusterKeys, role: Role) -> bool {
    match (before.get(role), after.get(role)) {
        (Some(before), Some(after)) => {
            before.format == after.format && before.wrapped != after.wrapped
        }
        _ => false,
    }
}

/// Tells how a key came to be used, and its checksum.
pub(super) fn tell(
    h: &Held,
    options: &Options,
    keys: &ClusterKeys,
    on_event: &mut dyn FnMut(Event<'_>),
) {
    let (role, uid) = (h.role, h.uid.0.as_str());
    match (h.how, options.file(role)) {
        (How::Imported, Some(file)) => on_event(Event::Imported {
            role,
            uid,
            path: &file.path,
        }),
        (How::Made | How::Imported, _) => on_event(Event::Made { role, uid }),
        (How::Adopted, _) => on_event(Event::Adopted { role, uid }),
        (How::Verified, _) => on_event(Event::Verified { role, uid }),
    }
    if let Some(key) = keys.get(role) {
        on_event(Event::Checksum {
            role,
            checksum: &key.checksum,
        });
    }
}
