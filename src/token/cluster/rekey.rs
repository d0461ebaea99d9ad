//! `rekey`: the next generation of a key encryption key.
//!
//! The next generation is looked for before it is made, so that a run that was killed leaves a key to adopt and no orphan.
//! The old KEK stays Active: other nodes go on using it until they have the new `mrhsm.conf`.

use super::enable::tell;
use super::roles::{Held, Ring, Wanted, checksum, fetch};
use super::wrapped::{Place, unwrap, wrap};
use super::{Context, Event, Options, Outcome, Role};
use crate::config::{ClusterKey, ClusterKeys, WRAP_FORMAT};
use crate::error::{Error, Result};
use crate::secret::Secret;
use crate::store::Uid;

/// Makes the next generation of a key encryption key, and wraps the CLDB and DARE keys under it when it is the Core KEK.
/// Their identifiers and checksums stay.
///
/// Errors: not enabled yet, a role that is no KEK, anything the store or the directory refuses. Then `mrhsm.conf` is as it was.
pub fn rekey(
    ctx: &Context<'_>,
    role: Role,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<Outcome> {
    if !role.is_kek() {
        return Err(Error::input(format!(
            "the {} cannot be rekeyed, because data depend on it: use core or common",
            role.label()
        )));
    }
    let before = ctx.token()?;
    let (Some(cluster), Some(old)) = (before.cluster.as_deref(), before.keys.get(role)) else {
        return Err(Error::input(format!(
            "token '{}' has no {} yet: run mrhsm enable first",
            before.label,
            role.label()
        )));
    };
    let values = if role == Role::Core {
        wrapped_values(ctx, cluster, &before.keys)?
    } else {
        Vec::new()
    };

    let ring = Ring::new(ctx.store, cluster);
    let wanted = [Wanted {
        role,
        above: old.generation,
        value: None,
    }];
    let found = ring.find(&wanted)?;
    let held = ring.obtain(ctx, &found, &wanted, on_event)?;
    let new = held
        .first()
        .ok_or_else(|| Error::protocol("the key manager made no key"))?;

    let keys = renewed(&before.keys, cluster, new, &values)?;
    tell(new, &Options::default(), &keys, on_event);
    let changed = ctx.commit(&before, cluster, &keys, before.enabled)?;
    for (role, _) in &values {
        if let Some(key) = keys.get(*role) {
            on_event(Event::Checksum {
                role: *role,
                checksum: &key.checksum,
            });
            on_event(Event::Wrapped { role: *role });
        }
    }
    Ok(Outcome {
        changed,
        cluster: cluster.into(),
        keys,
    })
}

/// The values that the old Core KEK wraps. When that KEK is lost or damaged they come from the store, which keeps them for
/// this; either way they must have their recorded checksums.
fn wrapped_values(
    ctx: &Context<'_>,
    cluster: &str,
    keys: &ClusterKeys,
) -> Result<Vec<(Role, Secret)>> {
    let core = keys
        .core
        .as_ref()
        .map(|core| fetch(ctx.store, Role::Core, &Uid(core.uid.clone())));
    let kek = core.and_then(Result::ok);
    let mut values = Vec::new();
    for role in [Role::Cldb, Role::Dare] {
        let Some(key) = keys.get(role) else { continue };
        let place = Place {
            cluster,
            role,
            generation: key.generation,
        };
        let local = kek.as_ref().and_then(|kek| unwrap(kek, place, key));
        let value = match local {
            Some(value) if checksum(&value)? == key.checksum => value,
            _ => fetch(ctx.store, role, &Uid(key.uid.clone()))?,
        };
        if checksum(&value)? != key.checksum {
            return Err(Error::input(format!(
                "the {} can neither be unwrapped nor does the key manager hold it with checksum {}: point the token at the right key \
                 manager with mrhsm set -ip, or restore mrhsm.conf from a backup",
                role.label(),
                key.checksum
            )));
        }
        values.push((role, value));
    }
    Ok(values)
}

fn renewed(
    before: &ClusterKeys,
    cluster: &str,
    new: &Held,
    values: &[(Role, Secret)],
) -> Result<ClusterKeys> {
    let checksum = checksum(&new.value)?;
    if before
        .get(new.role)
        .is_some_and(|old| old.checksum == checksum)
    {
        return Err(Error::protocol(format!(
            "the key manager gave the old {} as the new one",
            new.role.label()
        )));
    }
    // Tried before anything depends on it, also where it wraps nothing here.
    wrap(&new.value, new.place(cluster), &new.value)?;
    let mut keys = before.clone();
    keys.set(
        new.role,
        ClusterKey {
            uid: new.uid.0.clone(),
            checksum,
            generation: new.generation,
            wrapped: None,
            format: 1,
        },
    );
    for (role, value) in values {
        if let Some(key) = before.get(*role) {
            let place = Place {
                cluster,
                role: *role,
                generation: key.generation,
            };
            keys.set(
                *role,
                ClusterKey {
                    wrapped: Some(wrap(&new.value, place, value)?),
                    format: WRAP_FORMAT,
                    ..key.clone()
                },
            );
        }
    }
    Ok(keys)
}
