//! The keys of a cluster on the store: found by name, made where they are missing, one of each elected.
//!
//! Two nodes may make a key of the same name at once; names need not be unique. So whoever is about to rely on a new key
//! waits until a twin made in the same moment must be visible, looks again, and takes the one that came first by the
//! store's own clock (the smaller identifier when it cannot tell). All nodes take the same one, and each destroys what it
//! made in vain.

use super::wrapped::Place;
use super::{Context, Event, ROLE_PROPERTY, Role, group, key_name};
use crate::crypto::{Hash, hash};
use crate::error::{Error, Result};
use crate::secret::Secret;
use crate::store::{Algorithm, Class, Filter, KeyStore, Meta, Spec, State, Uid, Usage};

/// Length of every key of a cluster, in bytes.
pub(super) const KEY_LEN: usize = 32;
/// How many generations that are not there end a search by name: one may be gone while the next exists.
const MISSES: u32 = 2;
/// How many generations a search by name visits at most, whatever the store answers.
const GENERATIONS: u32 = 64;

/// A key on the store in a role.
#[derive(Clone, Debug)]
struct Candidate {
    role: Role,
    generation: u32,
    uid: Uid,
    state: Option<State>,
    /// Initial date; the far future when the store gives none.
    date: i64,
}

/// How useful a candidate is, best first. Pre-Active counts as Active in an election, because it is about to be.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Live,
    Stopped,
    Gone,
}

impl Candidate {
    fn rank(&self) -> Rank {
        match self.state {
            None | Some(State::Active | State::PreActive) => Rank::Live,
            Some(State::Deactivated | State::Compromised) => Rank::Stopped,
            Some(State::Destroyed | State::DestroyedCompromised) => Rank::Gone,
        }
    }

    fn active(&self) -> bool {
        matches!(self.state, None | Some(State::Active))
    }

    /// The smallest of a generation wins.
    fn precedence(&self) -> (Rank, i64, &Uid) {
        (self.rank(), self.date, &self.uid)
    }
}

/// A role that must be filled by a key of a later generation than `above`.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub role: Role,
    pub above: u32,
    /// The value it must have, when it is known.
    pub value: Option<&'a Secret>,
}

/// How a key came to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Verified,
    Adopted,
    Made,
    Imported,
}

/// A key on the store, with its value.
pub(super) struct Held {
    pub role: Role,
    pub uid: Uid,
    pub generation: u32,
    pub value: Secret,
    pub how: How,
}

impl Held {
    /// Where it belongs in a cluster.
    pub(super) fn place<'a>(&self, cluster: &'a str) -> Place<'a> {
        Place {
            cluster,
            role: self.role,
            generation: self.generation,
        }
    }
}

/// The keys of one cluster on one store.
pub(super) struct Ring<'a> {
    store: &'a dyn KeyStore,
    cluster: &'a str,
}

/// What a search found.
pub(super) struct Found(Vec<Candidate>);

impl<'a> Ring<'a> {
    pub(super) fn new(store: &'a dyn KeyStore, cluster: &'a str) -> Ring<'a> {
        Ring { store, cluster }
    }

    /// Searches for the wanted keys: by the cluster's group, and by name where that gave nothing, because not every store
    /// keeps groups.
    pub(super) fn find(&self, wanted: &[Wanted<'_>]) -> Result<Found> {
        let filter = Filter {
            group: Some(group(self.cluster)),
            ..Filter::default()
        };
        let mut found = Found(match self.candidates(&filter) {
            Ok(candidates) => candidates,
            // A store without groups may refuse the question; the search by name tells whether it refuses everything.
            Err(e) if e.reason().is_some() => Vec::new(),
            Err(e) => return Err(e),
        });
        for want in wanted {
            if found.newest(want.role) > want.above {
                continue;
            }
            let mut misses = 0;
            for generation in (1..=GENERATIONS).map_while(|n| want.above.checked_add(n)) {
                let named = self.named(want.role, generation)?;
                misses = if named.is_empty() { misses + 1 } else { 0 };
                found.0.extend(named);
                if misses == MISSES {
                    break;
                }
            }
        }
        Ok(found)
    }

    fn named(&self, role: Role, generation: u32) -> Result<Vec<Candidate>> {
        let filter = Filter {
            name: Some(key_name(self.cluster, role, generation)),
            ..Filter::default()
        };
        let mut candidates = self.candidates(&filter)?;
        candidates.retain(|c| c.role == role && c.generation == generation);
        Ok(candidates)
    }

    fn candidates(&self, filter: &Filter) -> Result<Vec<Candidate>> {
        let uids = self.store.locate(filter)?;
        if uids.is_empty() {
            return Ok(Vec::new());
        }
        let metas = self.store.meta(&uids)?;
        metas
            .iter()
            .filter_map(|meta| self.candidate(meta).transpose())
            .collect()
    }

    /// The candidate that an object is by its name; an error when its name is ours and it is something else.
    fn candidate(&self, meta: &Meta) -> Result<Option<Candidate>> {
        let Some((name, (role, generation))) = meta
            .names
            .iter()
            .find_map(|n| Some((n, self.parse_name(n)?)))
        else {
            return Ok(None);
        };
        let fits = meta.class == Class::SecretKey
            && meta.algorithm == Algorithm::Aes
            && matches!(meta.bits, 0 | 256);
        if !fits {
            return Err(Error::input(format!(
                "object {} on the key manager is named {name} but is no AES-256 key: rename or destroy it there",
                meta.uid
            )));
        }
        let date = meta.initial_date.unwrap_or(i64::MAX);
        Ok(Some(Candidate {
            role,
            generation,
            uid: meta.uid.clone(),
            state: meta.state,
            date,
        }))
    }

    fn parse_name(&self, name: &str) -> Option<(Role, u32)> {
        let (role, generation) = name
            .strip_prefix(&group(self.cluster))?
            .strip_prefix(':')?
            .split_once(':')?;
        let role = Role::from_word(role)?;
        let generation = generation.parse().ok().filter(|g| *g > 0)?;
        (key_name(self.cluster, role, generation) == name).then_some((role, generation))
    }

    /// Fills the wanted roles: makes what `found` has not, waits for twins, elects, activates and fetches.
    pub(super) fn obtain(
        &self,
        ctx: &Context<'_>,
        found: &Found,
        wanted: &[Wanted<'_>],
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<Vec<Held>> {
        let mut made = Vec::new();
        let complete = self.make_missing(found, wanted, &mut made);
        std::thread::sleep(ctx.settle);
        let found = self.find(wanted);
        if let Ok(found) = &found {
            self.discard(found, &made, on_event);
        }
        complete?;
        let found = found?;
        wanted
            .iter()
            .map(|want| self.settle(&found, want, &made, on_event))
            .collect()
    }

    /// Makes what `found` has not; `made` also has what was made before an error.
    fn make_missing(
        &self,
        found: &Found,
        wanted: &[Wanted<'_>],
        made: &mut Vec<(Role, Uid)>,
    ) -> Result<()> {
        for want in wanted {
            if found.pick(want.role, want.above).is_none() {
                let generation = self.next_generation(found, want)?;
                made.extend(self.make(want, generation)?.map(|uid| (want.role, uid)));
            }
        }
        Ok(())
    }

    /// Destroys the keys of this run that are not found by their names: no node adopts them, and
    /// the next run would make others. Those that are found stay, because another node may use them
    /// already.
    fn discard(&self, found: &Found, made: &[(Role, Uid)], on_event: &mut dyn FnMut(Event<'_>)) {
        let is_found = |uid: &Uid| found.0.iter().any(|candidate| candidate.uid == *uid);
        for (role, uid) in made.iter().filter(|(_, uid)| !is_found(uid)) {
            if let Err(e) = self.store.destroy(uid) {
                on_event(Event::Warning(&format!(
                    "the {} {uid}, which the key manager does not find by its name, could not be destroyed: {e}",
                    role.label()
                )));
            }
        }
    }

    fn next_generation(&self, found: &Found, want: &Wanted<'_>) -> Result<u32> {
        let newest = found.newest(want.role).max(want.above);
        // Of a KEK there may be a next one; of a key that data depend on there is only the one.
        if newest > 0 && !want.role.is_kek() && want.value.is_none() {
            return Err(Error::input(format!(
                "the {} of cluster {} was destroyed on the key manager: restore it there from a backup, or put its key file back and \
                 run mrhsm enable again to import it",
                want.role.label(),
                self.cluster
            )));
        }
        newest.checked_add(1).ok_or_else(|| {
            Error::input("the key manager holds a key of the last possible generation")
        })
    }

    /// Makes or imports a key. `None` when that failed but a key of the name is there: another node was faster, or ours was
    /// made and only the answer is missing.
    fn make(&self, want: &Wanted<'_>, generation: u32) -> Result<Option<Uid>> {
        let spec = self.spec(want.role, generation);
        let result = match want.value {
            Some(value) => self.store.register(&spec, value.expose()),
            None => self.store.create(&spec),
        };
        match result {
            Ok(uid) => Ok(Some(uid)),
            Err(e) => match self.named(want.role, generation) {
                Ok(named) if named.iter().any(|c| c.rank() == Rank::Live) => Ok(None),
                _ => Err(e.context(format_args!(
                    "the key manager did not make the {}",
                    want.role.label()
                ))),
            },
        }
    }

    fn spec(&self, role: Role, generation: u32) -> Spec {
        let data = Usage::ENCRYPT | Usage::DECRYPT;
        let usage = match role {
            Role::Core => data | Usage::WRAP | Usage::UNWRAP,
            Role::Common => data | Usage::DERIVE,
            Role::Cldb | Role::Dare => data,
        };
        Spec {
            class: Class::SecretKey,
            algorithm: Algorithm::Aes,
            bits: 8 * KEY_LEN as u32,
            usage,
            name: Some(key_name(self.cluster, role, generation)),
            group: Some(group(self.cluster)),
            label: role.label().into(),
            id: role.word().into(),
            sensitive: false,
            extractable: true,
            properties: [(ROLE_PROPERTY.to_owned(), role.word().to_owned())].into(),
        }
    }

    fn settle(
        &self,
        found: &Found,
        want: &Wanted<'_>,
        made: &[(Role, Uid)],
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<Held> {
        let mine = made
            .iter()
            .find(|(role, _)| *role == want.role)
            .map(|(_, uid)| uid);
        let Some(chosen) = found.pick(want.role, want.above) else {
            return Err(Error::protocol(format!(
                "the key manager does not find the {} that it made by its name: it cannot be used for mrhsm enable",
                want.role.label()
            )));
        };
        self.tidy(found, chosen, mine, on_event);
        if chosen.state == Some(State::PreActive) {
            let what = format!(
                "the key manager did not activate the {} {}",
                chosen.role.label(),
                chosen.uid
            );
            self.store
                .activate(&chosen.uid)
                .map_err(|e| e.context(what))?;
        } else if chosen.rank() == Rank::Stopped {
            on_event(Event::Warning(&stopped(chosen.role, &chosen.uid)));
        }
        let value = fetch(self.store, chosen.role, &chosen.uid)?;
        if want.value.is_some_and(|v| *v != value) {
            return Err(Error::input(format!(
                "the key manager holds another {} for cluster {} ({}): a cluster has only one. Check -cluster and the hosts; the key in \
                 use by a running cluster is the right one, and the other must be destroyed",
                want.role.label(),
                self.cluster,
                chosen.uid
            )));
        }
        let how = match (mine == Some(&chosen.uid), want.value) {
            (true, Some(_)) => How::Imported,
            (true, None) => How::Made,
            (false, _) => How::Adopted,
        };
        Ok(Held {
            role: chosen.role,
            uid: chosen.uid.clone(),
            generation: chosen.generation,
            value,
            how,
        })
    }

    /// Destroys what this run made in vain, and tells of other twins: those may be somebody's.
    fn tidy(
        &self,
        found: &Found,
        chosen: &Candidate,
        mine: Option<&Uid>,
        on_event: &mut dyn FnMut(Event<'_>),
    ) {
        if let Some(uid) = mine.filter(|uid| **uid != chosen.uid)
            && let Err(e) = self.store.destroy(uid)
        {
            on_event(Event::Warning(&format!(
                "the unused {} {uid} could not be destroyed: {e}",
                chosen.role.label()
            )));
        }
        let same = |c: &&Candidate| {
            c.role == chosen.role && c.generation == chosen.generation && c.rank() == Rank::Live
        };
        for twin in found
            .0
            .iter()
            .filter(same)
            .filter(|c| c.uid != chosen.uid && Some(&c.uid) != mine)
        {
            on_event(Event::Warning(&format!(
                "the key manager holds a second {} of the same name, {}, which is not used: destroy it when no other node uses it",
                twin.role.label(),
                twin.uid
            )));
        }
    }
}

impl Found {
    /// The last generation of a role, whatever its state; 0 when there is none.
    fn newest(&self, role: Role) -> u32 {
        self.0
            .iter()
            .filter(|c| c.role == role)
            .map(|c| c.generation)
            .max()
            .unwrap_or(0)
    }

    /// The key to use for a role among the generations above `above`: the newest that is Active, else the newest that can
    /// become so; a key that data depend on also when it is stopped.
    fn pick(&self, role: Role, above: u32) -> Option<&Candidate> {
        let mut elected: Vec<&Candidate> = Vec::new();
        for c in self
            .0
            .iter()
            .filter(|c| c.role == role && c.generation > above && c.rank() != Rank::Gone)
        {
            match elected.iter_mut().find(|e| e.generation == c.generation) {
                Some(e) if c.precedence() < e.precedence() => *e = c,
                Some(_) => {}
                None => elected.push(c),
            }
        }
        elected.retain(|c| c.rank() == Rank::Live || !role.is_kek());
        elected
            .into_iter()
            .max_by_key(|c| (c.rank() == Rank::Live, c.active(), c.generation))
    }

    /// True when there is a key to use for a role.
    pub(super) fn has(&self, role: Role) -> bool {
        self.pick(role, 0).is_some()
    }
}

/// The sentence about a key of data that no longer is Active.
pub(super) fn stopped(role: Role, uid: &Uid) -> String {
    format!(
        "the {} {uid} is no longer Active on the key manager; it is used all the same, because data depend on it",
        role.label()
    )
}

/// The value of a key of a cluster.
pub(super) fn fetch(store: &dyn KeyStore, role: Role, uid: &Uid) -> Result<Secret> {
    let value = store.fetch(uid).map_err(|e| {
        e.context(format_args!(
            "the key manager did not give the {} {uid}",
            role.label()
        ))
    })?;
    if value.len() != KEY_LEN {
        return Err(Error::protocol(format!(
            "the {} {uid} has {} bytes on the key manager, not {KEY_LEN}",
            role.label(),
            value.len()
        )));
    }
    Ok(value)
}

/// SHA-256 of a key's value, as it is shown and kept.
pub(super) fn checksum(value: &Secret) -> Result<String> {
    Ok(crate::config::to_hex(&hash::digest(
        Hash::Sha256,
        value.expose(),
    )?))
}
