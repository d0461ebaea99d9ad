//! Moving: everything that a token directory holds goes to the KMIP hosts, the cluster's keys first.
//!
//! Two entries of `mrhsm.conf` say how far it came, and each change of them is one atomic write:
//!
//! | `store` | `moving` | |
//! |---|---|---|
//! | file | | a file token |
//! | file | yes | wished; everything is used from the files while copies are made on the hosts and proven |
//! | kmip | yes | every object has a proven copy, which is used, or was left; the local ones that have are destroyed |
//! | kmip | | done |
//!
//! A copy has a name that its original determines, so that a run which was killed leaves none that the next does not find.

use std::collections::HashMap;

use super::{Context, Event, ROLE_PROPERTY, Role};
use crate::ck::CKR_DEVICE_ERROR;
use crate::config::{ClusterKey, ClusterKeys, StoreKind};
use crate::crypto::pkey::{PrivateKey, PublicKey};
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;
use crate::store::file::FileStore;
use crate::store::{Changes, Class, Filter, KeyStore, Meta, Revocation, Spec, State, Uid};
use crate::token::secrets::IdentityChange;

#[cfg(test)]
mod tests;

/// Property of a local object whose copy is proven: the copy's identifier.
const MOVED: &str = "moved";

/// An object that the key manager does not take.
#[derive(Debug)]
pub struct Left {
    /// What a person knows it by.
    pub object: String,
    /// Why it stays.
    pub reason: Error,
}

/// What a move came to.
#[derive(Debug, Default)]
pub struct Moved {
    /// How many objects are on the key manager now and no longer here.
    pub objects: usize,
    /// What the key manager does not take. It stays in the token directory; unless it was to be left there, or the token used the
    /// key manager already, nothing else was moved either.
    pub left: Vec<Left>,
}

/// Moves the objects of `local`, the file of the token directory if there is one, to `ctx.store`, if that is wished or under way.
/// It may end anywhere and be run again. With `leave`, applications' objects that the key manager does not take stay where they
/// are, unused, until a later run can move them; without it they keep everything here.
///
/// Errors: the hosts are not reached or refuse a key of the cluster, hold another key of its name, or the directory cannot be
/// written. Then everything is used from where it was used before.
pub fn migrate(
    ctx: &Context<'_>,
    local: Option<&FileStore>,
    leave: bool,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<Moved> {
    // Held throughout: nobody else moves the same objects, or changes where they go.
    let writer = ctx.dir.lock()?;
    let files = ctx.files();
    let mut moved = Moved::default();
    loop {
        let mut change = files.change(&writer, ctx.key)?;
        let token = &mut change.config;
        if !token.moving {
            return Ok(moved);
        }
        let switched = token.settings.store == StoreKind::Kmip;
        let Some(local) = local.filter(|local| local.exists()) else {
            // Nothing is left to move.
            if !switched {
                token.keys = keys_at(&token.keys, &HashMap::new())?;
            }
            token.settings.store = StoreKind::Kmip;
            token.moving = false;
            change.commit(&IdentityChange::default())?;
            continue;
        };
        let originals = originals(local)?;
        if originals.is_empty() && switched {
            local.retire()?;
            continue;
        }
        let mut copies = HashMap::new();
        for original in &originals {
            match original.properties.get(MOVED).filter(|_| switched) {
                Some(uid) => drop(copies.insert(original.uid.clone(), Uid(uid.clone()))),
                None => match copy(ctx.store, local, original) {
                    Ok(uid) => drop(copies.insert(original.uid.clone(), uid)),
                    Err(e) if is_refusal(&e) && role(original).is_none() => {
                        moved.left.push(Left {
                            object: told(original),
                            reason: e,
                        });
                    }
                    Err(e) => {
                        return Err(e.context(format_args!(
                            "{} was not moved; nothing here is changed",
                            told(original)
                        )));
                    }
                },
            }
        }
        if !moved.left.is_empty() && !switched && !leave {
            return Ok(moved);
        }
        for (uid, copy) in &copies {
            let changes = Changes {
                properties: [(MOVED.to_owned(), copy.0.clone())].into(),
                ..Changes::default()
            };
            local.update(uid, &changes)?;
        }
        if !switched {
            token.keys = keys_at(&token.keys, &copies)?;
            token.settings.store = StoreKind::Kmip;
            for (role, key) in Role::ALL
                .into_iter()
                .filter_map(|role| Some((role, token.keys.get(role)?)))
            {
                on_event(Event::Moved {
                    role,
                    uid: &key.uid,
                });
                on_event(Event::Checksum {
                    role,
                    checksum: &key.checksum,
                });
            }
            change.commit(&IdentityChange::default())?;
        }
        for uid in copies.keys() {
            local.destroy(uid)?;
        }
        moved.objects += copies.len();
        if !moved.left.is_empty() {
            return Ok(moved);
        }
    }
}

/// Everything there is, the cluster's keys first: whether they can be moved decides.
fn originals(local: &FileStore) -> Result<Vec<Meta>> {
    let mut metas = local.meta(&local.locate(&Filter::default())?)?;
    metas.sort_by_key(|meta| role(meta).is_none());
    Ok(metas)
}

fn role(meta: &Meta) -> Option<Role> {
    meta.properties
        .get(ROLE_PROPERTY)
        .and_then(|word| Role::from_word(word))
}

/// The records of the cluster's keys, which have their copies' identifiers and else are what they were.
fn keys_at(keys: &ClusterKeys, copies: &HashMap<Uid, Uid>) -> Result<ClusterKeys> {
    let mut moved = keys.clone();
    for role in Role::ALL {
        let Some(key) = keys.get(role) else { continue };
        let copy = copies.get(&Uid(key.uid.clone())).ok_or_else(|| {
            Error::input(format!(
                "the token directory does not hold the {} {} that mrhsm.conf records: restore it from a backup",
                role.label(),
                key.uid
            ))
        })?;
        moved.set(
            role,
            ClusterKey {
                uid: copy.0.clone(),
                ..key.clone()
            },
        );
    }
    Ok(moved)
}

/// The server's, or an object's own fault: others may be moved all the same.
fn is_refusal(error: &Error) -> bool {
    matches!(error.kind(), Kind::Server(_) | Kind::Pkcs11 | Kind::Input)
}

/// An object as a person knows it.
fn told(meta: &Meta) -> String {
    let class = match meta.class {
        Class::SecretKey => "secret key",
        Class::PublicKey => "public key",
        Class::PrivateKey => "private key",
        Class::Certificate => "certificate",
        Class::Data => "data object",
    };
    let label = String::from_utf8_lossy(meta.label.as_deref().unwrap_or_default()).into_owned();
    match label.is_empty() {
        true => format!("{class} {}", meta.uid),
        false => format!("{class} '{}'", label.escape_debug()),
    }
}

/// What the copy of an object shall be.
fn spec_of(meta: &Meta) -> Spec {
    let mut properties = meta.properties.clone();
    properties.remove(MOVED);
    Spec {
        class: meta.class,
        algorithm: meta.algorithm,
        bits: meta.bits,
        usage: meta.usage,
        // The cluster's keys keep their names; an application's key has none, and gets one to be found by.
        name: Some(
            meta.names
                .first()
                .cloned()
                .unwrap_or_else(|| format!("mrhsm:file:{}", meta.uid)),
        ),
        group: meta.groups.first().cloned(),
        label: meta.label.clone().unwrap_or_default(),
        id: meta.id.clone().unwrap_or_default(),
        sensitive: meta.sensitive.unwrap_or(true),
        extractable: meta.extractable.unwrap_or(false),
        properties,
    }
}

/// One object on the hosts, proven to be the same: found there, or made.
fn copy(remote: &dyn KeyStore, local: &FileStore, original: &Meta) -> Result<Uid> {
    let spec = spec_of(original);
    let value = local.fetch(&original.uid)?;
    let found = remote.locate(&Filter {
        name: spec.name.clone(),
        ..Filter::default()
    })?;
    let mut found = remote.meta(&found)?;
    found.retain(|meta| {
        spec.name
            .as_ref()
            .is_some_and(|name| meta.names.contains(name))
    });
    found.retain(|meta| {
        !matches!(
            meta.state,
            Some(State::Destroyed | State::DestroyedCompromised)
        )
    });
    found.sort_by(|a, b| (a.initial_date, &a.uid).cmp(&(b.initial_date, &b.uid)));
    for meta in &found {
        match remote.fetch(&meta.uid) {
            Ok(held) if same_value(spec.class, &held, &value) => {
                settle(remote, meta, &spec, original.state)?;
                return Ok(meta.uid.clone());
            }
            Ok(_) => {
                return Err(Error::input(format!(
                    "the key manager holds another object named {}, {}: point the token at the right key manager, or destroy that \
                     object there",
                    spec.name.as_deref().unwrap_or_default(),
                    meta.uid
                )));
            }
            // Nobody can tell what it is, so it is made again, where it can only be ours.
            Err(e) if is_refusal(&e) && role(original).is_none() => remote.destroy(&meta.uid)?,
            Err(e) => return Err(e),
        }
    }
    let uid = make(remote, &spec, &value)?;
    let proven = prove(remote, &uid, &spec, original.state);
    if let Err(e) = &proven
        && is_refusal(e)
    {
        let _ = remote.destroy(&uid);
    }
    proven.map(|()| uid)
}

/// A copy whose value was read back. Where the value of a key that may not leave the store cannot be read, it is made open first
/// and closed when it is proven.
fn make(remote: &dyn KeyStore, spec: &Spec, value: &Secret) -> Result<Uid> {
    let uid = remote.register(spec, value.expose())?;
    match remote.fetch(&uid) {
        Ok(held) if same_value(spec.class, &held, value) => return Ok(uid),
        Ok(_) => {
            let _ = remote.destroy(&uid);
            return Err(differs("value"));
        }
        Err(e) if is_refusal(&e) && (spec.sensitive || !spec.extractable) => {
            remote.destroy(&uid)?
        }
        Err(e) => {
            if is_refusal(&e) {
                let _ = remote.destroy(&uid);
            }
            return Err(e);
        }
    }
    let open = Spec {
        sensitive: false,
        extractable: true,
        ..spec.clone()
    };
    let uid = remote.register(&open, value.expose())?;
    let closed = remote
        .fetch(&uid)
        .and_then(|held| match same_value(spec.class, &held, value) {
            true => remote.update(
                &uid,
                &Changes {
                    sensitive: Some(spec.sensitive),
                    extractable: Some(spec.extractable),
                    ..Changes::default()
                },
            ),
            false => Err(differs("value")),
        });
    match closed {
        Err(e) if is_refusal(&e) => {
            let _ = remote.destroy(&uid);
            Err(e)
        }
        done => done.map(|()| uid),
    }
}

/// The attributes of a new copy, read back.
fn prove(remote: &dyn KeyStore, uid: &Uid, spec: &Spec, state: Option<State>) -> Result<()> {
    let metas = remote.meta(std::slice::from_ref(uid))?;
    let meta = metas.first().ok_or_else(|| differs("identifier"))?;
    settle(remote, meta, spec, state)
}

/// Brings a copy's state to its original's, and its attributes where they were changed meanwhile; then they must be the same.
/// The cluster's keys are found by their names alone, wherever nothing else is kept.
fn settle(remote: &dyn KeyStore, copy: &Meta, spec: &Spec, state: Option<State>) -> Result<()> {
    if spec.properties.contains_key(ROLE_PROPERTY) {
        let named = spec
            .name
            .as_ref()
            .is_some_and(|name| copy.names.contains(name));
        return if named {
            live(remote, copy, state)
        } else {
            Err(differs("name"))
        };
    }
    if let Some(what) = difference(copy, spec) {
        remote.update(
            &copy.uid,
            &Changes {
                label: Some(spec.label.clone()),
                id: Some(spec.id.clone()),
                sensitive: Some(spec.sensitive),
                extractable: Some(spec.extractable),
                properties: spec.properties.clone(),
            },
        )?;
        let metas = remote.meta(std::slice::from_ref(&copy.uid))?;
        if metas
            .first()
            .is_none_or(|meta| difference(meta, spec).is_some())
        {
            return Err(differs(what));
        }
    }
    live(remote, copy, state)
}

/// Brings a copy to its original's state, from where it is or was left.
fn live(remote: &dyn KeyStore, copy: &Meta, state: Option<State>) -> Result<()> {
    if copy.state == Some(State::PreActive) && state.is_some_and(|state| state != State::PreActive)
    {
        remote.activate(&copy.uid)?;
    }
    match (state, copy.state) {
        (Some(State::Deactivated), Some(State::PreActive | State::Active)) => {
            remote.revoke(&copy.uid, Revocation::CessationOfOperation)
        }
        (Some(State::Compromised), Some(State::PreActive | State::Active | State::Deactivated)) => {
            remote.revoke(&copy.uid, Revocation::KeyCompromise)
        }
        _ => Ok(()),
    }
}

/// The first attribute in which a copy is not what it shall be.
fn difference(copy: &Meta, spec: &Spec) -> Option<&'static str> {
    let differing = [
        ("class", copy.class != spec.class),
        ("label", copy.label.as_ref() != Some(&spec.label)),
        ("identifier", copy.id.as_ref() != Some(&spec.id)),
        (
            "sensitivity",
            copy.sensitive.is_some_and(|s| s != spec.sensitive),
        ),
        (
            "extractability",
            copy.extractable.is_some_and(|e| e != spec.extractable),
        ),
        (
            "attributes",
            spec.properties
                .iter()
                .any(|(key, value)| copy.properties.get(key) != Some(value)),
        ),
    ];
    differing
        .into_iter()
        .find_map(|(what, differs)| differs.then_some(what))
}

fn differs(what: &str) -> Error {
    Error::new(
        Kind::Pkcs11,
        CKR_DEVICE_ERROR,
        format!("the key manager does not give back the {what} that it was given"),
    )
}

/// Keys are compared as keys: servers write the same one in several ways.
fn same_value(class: Class, a: &Secret, b: &Secret) -> bool {
    let private =
        |der: &Secret| PrivateKey::from_pkcs8(der.expose()).and_then(|key| key.to_pkcs8());
    let public = |der: &Secret| {
        PublicKey::from_spki(der.expose())
            .and_then(|key| key.to_spki())
            .map(Secret::new)
    };
    let both = match class {
        Class::PrivateKey => private(a).ok().zip(private(b).ok()),
        Class::PublicKey => public(a).ok().zip(public(b).ok()),
        _ => None,
    };
    a == b || both.is_some_and(|(a, b)| a == b)
}
