use std::path::PathBuf;
use std::time::Duration;

use super::roles::checksum;
use super::testing::MemoryStore;
use super::wrapped::{Place, unwrap};
use super::*;
use crate::config::{Settings, StoreKind};
use crate::crypto::kw;
use crate::fault::{self, End};
use crate::secret::Secret;
use crate::store::State;
use crate::token::files::TokenDir;
use crate::token::pin::Who;
use crate::token::secrets::{IdentityChange, NewToken, TokenFiles, UserPin, create_token};

const CLUSTER: &str = "my.cluster.com";

/// One machine: a token directory with one token.
struct Node {
    _tmp: tempfile::TempDir,
    dir: TokenDir,
    uuid: String,
    key: TokenKey,
    settle: Duration,
}

impl Node {
    fn new() -> Node {
        let tmp = fault::scratch();
        let dir = TokenDir::at(tmp.path().join("tokens"));
        let pin = Secret::new(b"so pin".to_vec());
        let new = NewToken {
            label: "test",
            so_pin: &pin,
            user_pin: UserPin::None,
            settings: Settings {
                store: StoreKind::Kmip,
                ..Settings::default()
            },
            username: None,
            identity: IdentityChange::default(),
        };
        let uuid = create_token(&dir, &new).unwrap().uuid;
        let key = TokenFiles::of(&dir, &uuid)
            .unlock(Who::So, pin.expose())
            .unwrap();
        Node {
            _tmp: tmp,
            dir,
            uuid,
            key,
            settle: Duration::ZERO,
        }
    }

    fn context<'a>(&'a self, store: &'a MemoryStore) -> Context<'a> {
        Context {
            dir: &self.dir,
            uuid: &self.uuid,
            key: &self.key,
            store,
            settle: self.settle,
        }
    }

    fn enable(&self, store: &MemoryStore, options: &Options) -> Result<(Outcome, Vec<String>)> {
        let mut events = Vec::new();
        let outcome = enable(&self.context(store), options, &mut |e| {
            events.push(format!("{e:?}"))
        })?;
        Ok((outcome, events))
    }

    fn rekey(&self, store: &MemoryStore, role: Role) -> Result<Outcome> {
        rekey(&self.context(store), role, &mut |_| {})
    }

    fn keys(&self) -> ClusterKeys {
        self.token().keys
    }

    fn token(&self) -> crate::config::TokenConfig {
        self.dir
            .load()
            .unwrap()
            .by_uuid(&self.uuid)
            .unwrap()
            .clone()
    }

    fn edit(&self, change: impl FnOnce(&mut crate::config::TokenConfig)) {
        let files = TokenFiles::of(&self.dir, &self.uuid);
        let writer = self.dir.lock().unwrap();
        let mut edited = files.change(&writer, &self.key).unwrap();
        change(&mut edited.config);
        edited.commit(&IdentityChange::default()).unwrap();
    }

    /// What must be true at every instant: what the file says, the store holds, and it unwraps.
    fn check(&self, store: &MemoryStore) {
        let keys = self.keys();
        let objects = store.objects();
        let value = |key: &ClusterKey| {
            let object = objects
                .iter()
                .find(|o| o.meta.uid.0 == key.uid)
                .expect("a recorded key is on the store");
            assert_eq!(object.meta.state, Some(State::Active));
            let value = Secret::new(object.value.clone());
            assert_eq!(checksum(&value).unwrap(), key.checksum);
            value
        };
        let Some(core) = &keys.core else {
            assert_eq!(keys, ClusterKeys::default());
            return;
        };
        let core = value(core);
        value(keys.common.as_ref().unwrap());
        for role in [Role::Cldb, Role::Dare] {
            let Some(key) = keys.get(role) else { continue };
            let place = Place {
                cluster: CLUSTER,
                role,
                generation: key.generation,
            };
            assert_eq!(unwrap(&core, place, key).unwrap(), value(key));
        }
    }

    /// No file of a killed run is left once a writer was there.
    fn check_tidy(&self) {
        drop(self.dir.lock().unwrap());
        let names: Vec<PathBuf> = std::fs::read_dir(self.dir.path())
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        assert_eq!(
            names.len(),
            3,
            "mrhsm.conf, .lock and one folder: {names:?}"
        );
        let folder = self.dir.path().join(&self.uuid);
        assert!(
            std::fs::read_dir(folder).unwrap().all(|e| !e
                .unwrap()
                .file_name()
                .to_string_lossy()
                .starts_with('.'))
        );
        TokenFiles::of(&self.dir, &self.uuid)
            .unlock(Who::So, b"so pin")
            .unwrap();
    }
}

fn options(dare: bool) -> Options {
    Options {
        cluster: CLUSTER.into(),
        dare,
        ..Options::default()
    }
}

fn key_file(name: &str, byte: u8) -> KeyFile {
    KeyFile {
        path: name.into(),
        key: Some(Secret::new(vec![byte; 32])),
    }
}

fn importing() -> Options {
    Options {
        cldb_file: Some(key_file("cldb.key", 1)),
        dare_file: Some(key_file("dare.master.key", 2)),
        ..options(true)
    }
}

fn names(store: &MemoryStore) -> Vec<String> {
    let mut names: Vec<String> = store
        .objects()
        .iter()
        .flat_map(|o| o.meta.names.clone())
        .collect();
    names.sort();
    names
}

fn generation_names(generations: &[(Role, u32)]) -> Vec<String> {
    let mut names: Vec<String> = generations
        .iter()
        .map(|(r, g)| key_name(CLUSTER, *r, *g))
        .collect();
    names.sort();
    names
}

fn first_four() -> Vec<String> {
    generation_names(&Role::ALL.map(|r| (r, 1)))
}

/// A server that forgets names and groups, and one that refuses a later creation as well.
#[test]
fn an_attempt_that_fails_leaves_no_key_that_is_not_found_again() {
    for room in 1..5 {
        let mut store = MemoryStore::new();
        (store.names, store.groups, store.room) = (false, false, room);
        let node = Node::new();
        for attempt in 0..2 {
            node.enable(&store, &options(true)).unwrap_err();
            assert!(store.objects().is_empty(), "room {room}, attempt {attempt}");
        }
        assert_eq!(node.keys(), ClusterKeys::default());
    }
}

/// What is found by its name stays, as another node may use it, and the next attempt goes on with
/// it.
#[test]
fn an_attempt_that_fails_leaves_what_the_next_one_uses() {
    for refuses in ["fetch", "activate", "meta"] {
        let (mut store, node) = (MemoryStore::new(), Node::new());
        store.refuses = refuses;
        for _ in 0..2 {
            node.enable(&store, &options(true)).unwrap_err();
            assert!(store.objects().len() <= 4, "{refuses}");
        }
        store.refuses = "";
        node.enable(&store, &options(true)).unwrap();
        assert_eq!(store.objects().len(), 4, "{refuses}");
    }
}

#[test]
fn enable_makes_four_keys_and_a_second_one_changes_nothing() {
    let (node, store) = (Node::new(), MemoryStore::new());
    let (outcome, events) = node.enable(&store, &options(true)).unwrap();
    assert!(outcome.changed);
    node.check(&store);
    assert_eq!(names(&store), first_four());
    assert!(
        store
            .objects()
            .iter()
            .all(|o| o.meta.groups == ["mrhsm:my.cluster.com"] && o.meta.extractable == Some(true))
    );
    let kinds: Vec<&str> = events
        .iter()
        .map(|e| e.split([' ', '{']).next().unwrap())
        .collect();
    let expected = [
        "Begin", "Made", "Checksum", "Made", "Checksum", "Made", "Checksum", "Wrapped", "Made",
        "Checksum", "Wrapped",
    ];
    assert_eq!(kinds, expected);

    let before = std::fs::read(node.dir.config_path()).unwrap();
    let (outcome, events) = node.enable(&store, &options(true)).unwrap();
    assert!(!outcome.changed);
    assert_eq!(
        events.iter().filter(|e| e.starts_with("Verified")).count(),
        4
    );
    assert_eq!(std::fs::read(node.dir.config_path()).unwrap(), before);
    assert_eq!(names(&store), first_four());
}

#[test]
fn dare_can_follow_later_and_stays_without_the_flag() {
    let (node, store) = (Node::new(), MemoryStore::new());
    node.enable(&store, &options(false)).unwrap();
    let core = node.keys().core;
    assert!(node.enable(&store, &options(true)).unwrap().0.changed);
    assert_eq!(node.keys().core, core);
    assert!(!node.enable(&store, &options(false)).unwrap().0.changed);
    assert!(node.keys().dare.is_some());
    node.check(&store);
}

#[test]
fn a_lost_directory_adopts_the_same_keys() {
    for groups in [true, false] {
        let store = MemoryStore {
            groups,
            ..MemoryStore::new()
        };
        let first = Node::new();
        first.enable(&store, &options(true)).unwrap();
        first.rekey(&store, Role::Core).unwrap();
        let second = Node::new();
        let (_, events) = second.enable(&store, &options(true)).unwrap();
        assert_eq!(
            events.iter().filter(|e| e.starts_with("Adopted")).count(),
            4
        );
        assert_eq!(second.keys(), first.keys());
        assert_eq!(store.objects().len(), 5);
        let e = Node::new()
            .enable(&store, &options(false))
            .unwrap_err()
            .to_string();
        assert!(
            e.contains("DARE master key for cluster my.cluster.com") && e.contains("-dare"),
            "{e}"
        );
    }
}

#[test]
fn imported_keys_keep_their_values_and_never_become_two() {
    let (node, store) = (Node::new(), MemoryStore::new());
    let (_, events) = node.enable(&store, &importing()).unwrap();
    assert_eq!(
        events.iter().filter(|e| e.starts_with("Imported")).count(),
        2
    );
    assert_eq!(
        node.keys().cldb.unwrap().checksum,
        checksum(&Secret::new(vec![1; 32])).unwrap()
    );
    assert!(!node.enable(&store, &importing()).unwrap().0.changed);

    let other = Options {
        cldb_file: Some(key_file("cldb.key", 9)),
        ..options(true)
    };
    let recorded = node.enable(&store, &other).unwrap_err().to_string();
    assert!(
        recorded.contains("cldb.key holds another key"),
        "{recorded}"
    );
    let fresh = Node::new();
    let found = fresh.enable(&store, &other).unwrap_err().to_string();
    assert!(
        found.contains("holds another CLDB key for cluster"),
        "{found}"
    );
    assert_eq!(fresh.keys(), ClusterKeys::default());
    assert_eq!(names(&store), first_four());
}

#[test]
fn what_can_be_refused_early_is() {
    let dare = Options {
        dare_file: Some(key_file("/opt/mapr/conf/dare.master.key", 2)),
        ..options(false)
    };
    assert_eq!(
        dare.check().unwrap_err().to_string(),
        "Existing DARE master key found at /opt/mapr/conf/dare.master.key, and -dare is not specified\n\
         Use the -dare option to import the DARE master key into the HSM."
    );
    let empty = |name: &str| {
        Some(KeyFile {
            path: name.into(),
            key: None,
        })
    };
    assert!(
        Options {
            cldb_file: empty("cldb.key"),
            ..options(false)
        }
        .check()
        .is_err()
    );
    assert!(
        Options {
            cluster: "a b".into(),
            ..options(false)
        }
        .check()
        .is_err()
    );
    // An empty dare.master.key is a flag of nodes without the key: it adopts, and never makes a key.
    let (node, store) = (Node::new(), MemoryStore::new());
    let flag = Options {
        dare_file: empty("dare.master.key"),
        ..options(true)
    };
    assert!(
        node.enable(&store, &flag)
            .unwrap_err()
            .to_string()
            .contains("key of another node")
    );
    assert_eq!(store.objects().len(), 0);
    Node::new().enable(&store, &options(true)).unwrap();
    assert!(node.enable(&store, &flag).unwrap().0.changed);
}

#[test]
fn another_cluster_is_not_overwritten() {
    let (node, store) = (Node::new(), MemoryStore::new());
    node.enable(&store, &options(false)).unwrap();
    let other = Options {
        cluster: "other".into(),
        ..options(false)
    };
    assert!(
        node.enable(&store, &other)
            .unwrap_err()
            .to_string()
            .contains("holds the keys of cluster my.cluster.com")
    );
    // Hosts that were changed to another key manager.
    let e = node
        .enable(&MemoryStore::new(), &options(false))
        .unwrap_err()
        .to_string();
    assert!(
        e.contains("does not hold the Core KEK") && e.contains("mrhsm set -ip"),
        "{e}"
    );
    node.check(&store);
}

#[test]
fn what_differs_on_the_store_is_told_with_its_mend() {
    let (node, store) = (Node::new(), MemoryStore::new());
    node.enable(&store, &options(true)).unwrap();
    let keys = node.keys();
    let (core, cldb) = (keys.core.unwrap().uid, keys.cldb.unwrap().uid);
    store.tamper(&core, |o| o.value[0] ^= 1);
    let e = node.enable(&store, &options(true)).unwrap_err().to_string();
    assert!(e.contains("is not the one recorded"), "{e}");
    store.tamper(&core, |o| o.value[0] ^= 1);

    store.tamper(&core, |o| o.meta.state = Some(State::Deactivated));
    let e = node.enable(&store, &options(true)).unwrap_err().to_string();
    assert!(e.contains("mrhsm rekey -keytype core"), "{e}");
    node.rekey(&store, Role::Core).unwrap();
    assert!(!node.enable(&store, &options(true)).unwrap().0.changed);
    // Without the KEK the values come back from the store.
    store.lose(&node.keys().core.unwrap().uid);
    node.rekey(&store, Role::Core).unwrap();
    node.check(&store);

    // Data depend on the CLDB key, whatever its state.
    store.tamper(&cldb, |o| o.meta.state = Some(State::Compromised));
    let (outcome, events) = node.enable(&store, &options(true)).unwrap();
    assert!(
        !outcome.changed && events.iter().any(|e| e.starts_with("Warning")),
        "{events:?}"
    );
    let (_, events) = Node::new().enable(&store, &options(true)).unwrap();
    assert!(
        events.iter().any(|e| e.starts_with("Warning")),
        "{events:?}"
    );
    // Destroyed, it is not made anew; a key file brings it back.
    store.tamper(&cldb, |o| o.meta.state = Some(State::Destroyed));
    let fresh = Node::new();
    let e = fresh
        .enable(&store, &options(true))
        .unwrap_err()
        .to_string();
    assert!(e.contains("was destroyed on the key manager"), "{e}");
    fresh.enable(&store, &importing_cldb_only()).unwrap();
    assert_eq!(fresh.keys().cldb.unwrap().generation, 2);
}

fn importing_cldb_only() -> Options {
    Options {
        cldb_file: Some(key_file("cldb.key", 1)),
        ..options(true)
    }
}

#[test]
fn a_damaged_wrapped_key_is_written_anew() {
    let (node, store) = (Node::new(), MemoryStore::new());
    node.enable(&store, &options(false)).unwrap();
    node.edit(|t| t.keys.cldb.as_mut().unwrap().wrapped = Some("00".repeat(40)));
    let (outcome, events) = node.enable(&store, &options(false)).unwrap();
    assert!(outcome.changed && events.iter().any(|e| e.contains("damaged")));
    node.check(&store);
}

/// Puts the wrapped keys into the form of earlier versions.
fn wrap_as_before(node: &Node, store: &MemoryStore) {
    let value = |uid: &str| {
        let objects = store.objects();
        let object = objects.iter().find(|o| o.meta.uid.0 == uid).unwrap();
        object.value.clone()
    };
    node.edit(|t| {
        let core = value(&t.keys.core.as_ref().unwrap().uid);
        for key in [&mut t.keys.cldb, &mut t.keys.dare].into_iter().flatten() {
            let wrapped = kw::wrap(kw::Wrapping::Kwp, &core, &value(&key.uid)).unwrap();
            (key.wrapped, key.format) = (Some(crate::config::to_hex(&wrapped)), 1);
        }
    });
}

#[test]
fn keys_wrapped_by_an_earlier_version_are_read_and_bound_by_enable_and_rekey() {
    let (node, store) = (Node::new(), MemoryStore::new());
    let formats = |node: &Node| {
        let keys = node.keys();
        [keys.core, keys.common, keys.cldb, keys.dare].map(|key| key.unwrap().format)
    };
    node.enable(&store, &options(true)).unwrap();
    assert_eq!(formats(&node), [1, 1, 2, 2]);
    wrap_as_before(&node, &store);
    assert_eq!(formats(&node), [1; 4]);
    node.check(&store);
    let (outcome, events) = node.enable(&store, &options(true)).unwrap();
    assert!(outcome.changed && !events.iter().any(|e| e.contains("damaged")));
    assert_eq!(
        events.iter().filter(|e| e.starts_with("Wrapped")).count(),
        2
    );
    assert_eq!(formats(&node), [1, 1, 2, 2]);
    node.check(&store);
    let (outcome, _) = node.enable(&store, &options(true)).unwrap();
    assert!(!outcome.changed);

    wrap_as_before(&node, &store);
    node.rekey(&store, Role::Core).unwrap();
    assert_eq!(formats(&node), [1, 1, 2, 2]);
    node.check(&store);
}

#[test]
fn a_wrapped_key_does_not_stand_in_for_another() {
    let (node, store) = (Node::new(), MemoryStore::new());
    node.enable(&store, &options(true)).unwrap();
    let keys = node.keys();
    let core = keys.core.as_ref().unwrap().uid.clone();
    let core = store
        .objects()
        .iter()
        .find(|o| o.meta.uid.0 == core)
        .unwrap()
        .value
        .clone();
    let place = Place {
        cluster: CLUSTER,
        role: Role::Cldb,
        generation: 1,
    };
    let unwrapped = |key: &ClusterKey| unwrap(&Secret::new(core.clone()), place, key).is_some();
    assert!(unwrapped(keys.cldb.as_ref().unwrap()));
    assert!(!unwrapped(keys.dare.as_ref().unwrap()));
}

#[test]
fn a_foreign_object_of_our_name_and_a_key_of_wrong_length_are_refused() {
    let (node, store) = (Node::new(), MemoryStore::new());
    node.enable(&store, &options(false)).unwrap();
    let uid = node.keys().common.unwrap().uid;
    store.tamper(&uid, |o| o.meta.bits = 128);
    assert!(
        Node::new()
            .enable(&store, &options(false))
            .unwrap_err()
            .to_string()
            .contains("is no AES-256 key")
    );
    store.tamper(&uid, |o| {
        o.meta.bits = 0;
        o.value.truncate(16);
    });
    assert!(
        Node::new()
            .enable(&store, &options(false))
            .unwrap_err()
            .to_string()
            .contains("has 16 bytes")
    );
}

#[test]
fn a_store_that_refuses_leaves_everything_as_it_was() {
    for refuses in ["create", "activate", "fetch", "locate"] {
        let (node, store) = (
            Node::new(),
            MemoryStore {
                refuses,
                ..MemoryStore::new()
            },
        );
        let before = std::fs::read(node.dir.config_path()).unwrap();
        for _ in 0..3 {
            let e = node.enable(&store, &options(true)).unwrap_err().to_string();
            assert!(e.contains("refused"), "{e}");
        }
        assert_eq!(std::fs::read(node.dir.config_path()).unwrap(), before);
        let names = names(&store);
        assert!(
            names
                .iter()
                .all(|n| names.iter().filter(|m| *m == n).count() == 1),
            "{refuses} made twins: {names:?}"
        );
    }
}

#[test]
fn active_is_switched_off_and_on() {
    let (node, store) = (Node::new(), MemoryStore::new());
    assert!(
        set_active(&node.dir, &node.uuid, &node.key, true).is_err(),
        "nothing to use yet"
    );
    node.enable(&store, &options(false)).unwrap();
    assert!(set_active(&node.dir, &node.uuid, &node.key, false).unwrap());
    assert!(!set_active(&node.dir, &node.uuid, &node.key, false).unwrap());
    assert!(!node.token().enabled);
    let (outcome, _) = node.enable(&store, &options(false)).unwrap();
    assert!(outcome.changed && node.token().enabled);
    node.edit(|t| t.settings.store = StoreKind::File);
    assert!(set_active(&node.dir, &node.uuid, &node.key, false).is_err());
}

#[test]
fn rekey_keeps_identifiers_and_checksums() {
    let (node, store) = (Node::new(), MemoryStore::new());
    assert!(
        node.rekey(&store, Role::Core)
            .unwrap_err()
            .to_string()
            .contains("run mrhsm enable first")
    );
    node.enable(&store, &options(true)).unwrap();
    assert!(node.rekey(&store, Role::Cldb).is_err());
    let before = node.keys();
    node.rekey(&store, Role::Core).unwrap();
    node.rekey(&store, Role::Common).unwrap();
    let after = node.keys();
    for role in [Role::Cldb, Role::Dare] {
        let (b, a) = (before.get(role).unwrap(), after.get(role).unwrap());
        assert_eq!((&a.uid, &a.checksum), (&b.uid, &b.checksum));
        assert_ne!(a.wrapped, b.wrapped);
    }
    for role in [Role::Core, Role::Common] {
        let (b, a) = (before.get(role).unwrap(), after.get(role).unwrap());
        assert!(a.uid != b.uid && a.checksum != b.checksum && a.generation == 2);
    }
    node.check(&store);
    assert!(
        store
            .objects()
            .iter()
            .all(|o| o.meta.state == Some(State::Active)),
        "other nodes still use the old KEK"
    );
}

/// Runs `work` once for every step it has, failing there and dying there, and gives what came of each run to `then`.
fn at_every_step<S>(
    setup: impl Fn() -> S,
    work: impl Fn(&S) -> bool,
    then: impl Fn(S, String, bool),
) {
    let (_, steps) = fault::run(None, || work(&setup()));
    assert!(steps > 10, "only {steps} steps");
    for at in 0..steps {
        for end in [
            End::Error(libc::ENOSPC),
            End::Error(libc::EROFS),
            End::Killed,
        ] {
            let state = setup();
            let (result, _) = fault::run(Some((at, end)), || work(&state));
            then(state, format!("step {at}, {end:?}"), result == Some(true));
        }
    }
}

fn enable_at_every_step(store: impl Fn() -> MemoryStore, options: impl Fn() -> Options) {
    at_every_step(
        || (Node::new(), store()),
        |(node, store)| node.enable(store, &options()).is_ok(),
        |(node, store), place, _| {
            node.check(&store);
            let (outcome, _) = node
                .enable(&store, &options())
                .unwrap_or_else(|e| panic!("{place}: {e}"));
            node.check(&store);
            node.check_tidy();
            assert_eq!(names(&store), first_four(), "{place}");
            assert_eq!(outcome.keys, node.keys());
            assert!(
                !node.enable(&store, &options()).unwrap().0.changed,
                "{place}"
            );
        },
    );
}

#[test]
fn enable_interrupted_anywhere_is_completed_by_the_next() {
    enable_at_every_step(MemoryStore::new, || options(true));
}

#[test]
fn enable_on_a_store_without_groups_interrupted_anywhere_is_completed_by_the_next() {
    enable_at_every_step(
        || MemoryStore {
            groups: false,
            ..MemoryStore::new()
        },
        || options(true),
    );
}

#[test]
fn an_import_interrupted_anywhere_is_completed_by_the_next() {
    enable_at_every_step(MemoryStore::new, importing);
}

#[test]
fn an_interrupted_enable_is_also_completed_by_another_node() {
    at_every_step(
        || (Node::new(), MemoryStore::new()),
        |(node, store)| node.enable(store, &options(true)).is_ok(),
        |(node, store), place, _| {
            let other = Node::new();
            other.enable(&store, &options(true)).unwrap();
            node.enable(&store, &options(true)).unwrap();
            assert_eq!(node.keys(), other.keys(), "{place}");
            assert_eq!(names(&store), first_four(), "{place}");
        },
    );
}

#[test]
fn an_adoption_interrupted_anywhere_is_completed_by_the_next() {
    at_every_step(
        || {
            let store = MemoryStore::new();
            let first = Node::new();
            first.enable(&store, &options(true)).unwrap();
            (Node::new(), first.keys(), store)
        },
        |(node, _, store)| node.enable(store, &options(true)).is_ok(),
        |(node, keys, store), place, _| {
            node.check(&store);
            node.enable(&store, &options(true)).unwrap();
            assert_eq!(node.keys(), keys, "{place}");
            assert_eq!(names(&store), first_four(), "{place}");
        },
    );
}

#[test]
fn rekey_interrupted_anywhere_leaves_a_file_that_unwraps_and_no_orphan() {
    for role in [Role::Core, Role::Common] {
        at_every_step(
            || {
                let (node, store) = (Node::new(), MemoryStore::new());
                node.enable(&store, &options(true)).unwrap();
                (node, store)
            },
            |(node, store)| node.rekey(store, role).is_ok(),
            |(node, store), place, done| {
                node.check(&store);
                let written = node.keys().get(role).unwrap().generation;
                assert!(!done || written == 2, "{place}");
                if written == 1 {
                    node.rekey(&store, role)
                        .unwrap_or_else(|e| panic!("{place}: {e}"));
                }
                node.check(&store);
                node.check_tidy();
                let mut expected = Role::ALL.map(|r| (r, 1)).to_vec();
                expected.push((role, 2));
                assert_eq!(names(&store), generation_names(&expected), "{place}");
                assert!(
                    !node.enable(&store, &options(true)).unwrap().0.changed,
                    "{place}"
                );
            },
        );
    }
}

#[test]
fn nodes_that_enable_at_once_end_with_the_same_keys() {
    for round in 0..4u64 {
        let store = MemoryStore {
            groups: round % 2 == 0,
            latency: Duration::from_millis(5 * (round % 3)),
            tick: Duration::from_millis(50),
            ..MemoryStore::new()
        };
        let nodes: Vec<Node> = (0..6)
            .map(|_| Node {
                settle: Duration::from_millis(500),
                ..Node::new()
            })
            .collect();
        std::thread::scope(|scope| {
            for (i, node) in nodes.iter().enumerate() {
                let store = &store;
                scope.spawn(move || {
                    std::thread::sleep(Duration::from_millis((i as u64 * 7 * round) % 60));
                    node.enable(store, &options(true)).unwrap();
                });
            }
        });
        for node in &nodes {
            node.check(&store);
            assert_eq!(node.keys(), nodes[0].keys());
        }
        assert_eq!(
            names(&store),
            first_four(),
            "what was made in vain is destroyed"
        );
    }
}

#[test]
fn enables_at_once_in_one_directory_end_with_the_same_keys() {
    let store = MemoryStore {
        tick: Duration::from_millis(20),
        ..MemoryStore::new()
    };
    let node = Node {
        settle: Duration::from_millis(100),
        ..Node::new()
    };
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| node.enable(&store, &options(true)).unwrap());
        }
    });
    node.check(&store);
    assert_eq!(names(&store), first_four());
}

#[test]
fn rekeys_at_once_leave_no_orphan() {
    let store = MemoryStore {
        tick: Duration::from_millis(20),
        ..MemoryStore::new()
    };
    let node = Node {
        settle: Duration::from_millis(100),
        ..Node::new()
    };
    node.enable(&store, &options(true)).unwrap();
    let done: Vec<Result<Outcome>> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| node.rekey(&store, Role::Core)))
            .collect();
        runs.into_iter().map(|r| r.join().unwrap()).collect()
    });
    node.check(&store);
    // One that comes late makes one more, and one that was overtaken says so; none leaves a key that nothing refers to.
    let generations = node.keys().core.unwrap().generation;
    assert!(generations >= 2 && done.iter().any(Result::is_ok));
    assert_eq!(store.objects().len() as u32, 3 + generations);
}

#[test]
fn a_config_that_changed_meanwhile_is_not_overwritten() {
    let (node, store) = (Node::new(), MemoryStore::new());
    node.enable(&store, &options(true)).unwrap();
    let before = node.token();
    node.rekey(&store, Role::Core).unwrap();
    let mut keys = before.keys.clone();
    keys.common.as_mut().unwrap().generation = 7;
    let e = node
        .context(&store)
        .commit(&before, CLUSTER, &keys, true)
        .unwrap_err()
        .to_string();
    assert!(e.contains("meanwhile"), "{e}");
    node.check(&store);
}

#[test]
fn the_cluster_name_is_the_first_word() {
    assert_eq!(
        cluster_of_text("my.cluster.com secure=true host:7222\n").as_deref(),
        Some("my.cluster.com")
    );
    assert_eq!(
        cluster_of_text("\n# comment\n  second x\n").as_deref(),
        Some("second")
    );
    assert_eq!(cluster_of_text(" \n"), None);
    assert!(
        cluster_of_file("/nonexistent".as_ref())
            .unwrap_err()
            .to_string()
            .contains("-cluster")
    );
}
