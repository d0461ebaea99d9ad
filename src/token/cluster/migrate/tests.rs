use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::super::testing::MemoryStore;
use super::super::{Options, enable, key_name, rekey};
use super::*;
use crate::config::{Settings, TokenConfig};
use crate::crypto::Curve;
use crate::fault::{self, End};
use crate::store::{Algorithm, Usage};
use crate::token::accepted::first_record;
use crate::token::files::{ACCEPTED, TokenDir};
use crate::token::pin::TokenKey;
use crate::token::secrets::TokenFiles;

const CLUSTER: &str = "my.cluster.com";
const UUID: &str = "69255cf4-0ac3-8d22-b12c-fd503a740cda";

/// A file token whose move to `server` is wished.
struct Node {
    _tmp: tempfile::TempDir,
    dir: TokenDir,
    key: TokenKey,
    path: PathBuf,
    server: MemoryStore,
    /// What the file held, without its identifiers.
    held: BTreeMap<String, Held>,
    keys: ClusterKeys,
}

type Held = (
    Class,
    Vec<u8>,
    Vec<u8>,
    bool,
    bool,
    Option<State>,
    BTreeMap<String, String>,
);

fn held(meta: &Meta, value: Vec<u8>) -> (String, Held) {
    let name = meta
        .names
        .first()
        .filter(|name| name.contains(CLUSTER))
        .cloned();
    let label = String::from_utf8(meta.label.clone().unwrap()).unwrap();
    let mut properties = meta.properties.clone();
    properties.remove(MOVED);
    let (sensitive, extractable) = (meta.sensitive.unwrap(), meta.extractable.unwrap());
    (
        name.unwrap_or(label),
        (
            meta.class,
            value,
            meta.id.clone().unwrap(),
            sensitive,
            extractable,
            meta.state,
            properties,
        ),
    )
}

fn spec(class: Class, algorithm: Algorithm, label: &str, extractable: bool) -> Spec {
    Spec {
        class,
        algorithm,
        bits: 256,
        usage: Usage::ENCRYPT | Usage::DECRYPT,
        name: None,
        group: None,
        label: label.into(),
        id: vec![0, 1, 0xff],
        sensitive: !extractable,
        extractable,
        properties: [("priv".to_owned(), "1".to_owned())].into(),
    }
}

impl Node {
    fn new(server: MemoryStore) -> Node {
        let tmp = fault::scratch();
        let dir = TokenDir::at(tmp.path().join("tokens"));
        let settings = Settings {
            store: StoreKind::File,
            ..Settings::default()
        };
        let config = TokenConfig::new("test", UUID, settings).unwrap();
        let key = TokenKey::generate().unwrap();
        let record = first_record(&key, &config, &Vec::new()).unwrap();
        dir.lock()
            .unwrap()
            .make_folder(UUID, &[(ACCEPTED, &record)])
            .unwrap();
        dir.update(|c| {
            c.tokens.push(config);
            Ok(())
        })
        .unwrap();
        let path = dir.path().join(UUID).join("objects");
        let mut node = Node {
            _tmp: tmp,
            dir,
            key,
            path,
            server,
            held: BTreeMap::new(),
            keys: ClusterKeys::default(),
        };
        let file = node.file();
        let options = Options {
            cluster: CLUSTER.into(),
            dare: true,
            ..Options::default()
        };
        let ctx = Context {
            dir: &node.dir,
            uuid: UUID,
            key: &node.key,
            store: &file,
            settle: Duration::ZERO,
        };
        enable(&ctx, &options, &mut |_| {}).unwrap();
        rekey(&ctx, Role::Core, &mut |_| {}).unwrap();

        file.register(
            &spec(Class::SecretKey, Algorithm::Aes, "open", true),
            &[1; 32],
        )
        .unwrap();
        let stopped = file
            .register(
                &spec(Class::SecretKey, Algorithm::GenericSecret, "closed", false),
                &[2; 32],
            )
            .unwrap();
        file.revoke(&stopped, Revocation::CessationOfOperation)
            .unwrap();
        let half = |class| {
            spec(
                class,
                Algorithm::Ec(Curve::P256),
                if class == Class::PrivateKey {
                    "private"
                } else {
                    "public"
                },
                false,
            )
        };
        file.create_pair(
            &Spec {
                extractable: true,
                sensitive: false,
                ..half(Class::PublicKey)
            },
            &half(Class::PrivateKey),
        )
        .unwrap();
        file.register(&spec(Class::Data, Algorithm::None, "data", true), b"hello")
            .unwrap();
        let metas = file
            .meta(&file.locate(&Filter::default()).unwrap())
            .unwrap();
        node.held = metas
            .iter()
            .map(|m| held(m, file.fetch(&m.uid).unwrap().expose().to_vec()))
            .collect();
        assert_eq!(node.held.len(), 10);
        node.keys = node.token().keys;
        node.edit(|token| token.moving = true);
        node
    }

    fn file(&self) -> FileStore {
        FileStore::open(&self.path, &[7; 32]).unwrap()
    }

    fn token(&self) -> TokenConfig {
        self.dir.load().unwrap().tokens[0].clone()
    }

    fn edit(&self, change: impl FnOnce(&mut TokenConfig)) {
        let files = TokenFiles::of(&self.dir, UUID);
        let writer = self.dir.lock().unwrap();
        let mut edited = files.change(&writer, &self.key).unwrap();
        change(&mut edited.config);
        edited.commit(&IdentityChange::default()).unwrap();
    }

    fn migrate(&self) -> Result<Moved> {
        self.migrate_and(false)
    }

    fn migrate_and(&self, leave: bool) -> Result<Moved> {
        let ctx = Context {
            dir: &self.dir,
            uuid: UUID,
            key: &self.key,
            store: &self.server,
            settle: Duration::ZERO,
        };
        let file = self.path.exists().then(|| self.file());
        migrate(&ctx, file.as_ref(), leave, &mut |_| {})
    }

    /// What the server holds. Data keep no state there.
    fn on_server(&self) -> BTreeMap<String, Held> {
        let objects = self.server.objects();
        let all: BTreeMap<String, Held> = objects
            .iter()
            .map(|o| held(&o.meta, o.value.clone()))
            .collect();
        assert_eq!(all.len(), objects.len(), "a twin");
        all
    }

    /// At every instant all objects can be used where `mrhsm.conf` says they are.
    fn check(&self) {
        let token = self.token();
        let at = match token.settings.store {
            StoreKind::File => {
                assert_eq!(token.keys, self.keys);
                let file = self.file();
                let metas = file
                    .meta(&file.locate(&Filter::default()).unwrap())
                    .unwrap();
                metas
                    .iter()
                    .map(|m| held(m, file.fetch(&m.uid).unwrap().expose().to_vec()))
                    .collect()
            }
            StoreKind::Kmip => self.on_server(),
        };
        assert_eq!(
            without_data_state(at),
            without_data_state(self.held.clone())
        );
    }

    fn check_done(&self) {
        let token = self.token();
        assert_eq!(
            (token.settings.store, token.moving, token.enabled),
            (StoreKind::Kmip, false, true)
        );
        assert!(!self.path.exists());
        self.check();
        for role in Role::ALL {
            let (before, now) = (self.keys.get(role).unwrap(), token.keys.get(role).unwrap());
            assert_eq!(
                *now,
                ClusterKey {
                    uid: now.uid.clone(),
                    ..before.clone()
                }
            );
            let object = self
                .server
                .objects()
                .into_iter()
                .find(|o| o.meta.uid.0 == now.uid)
                .unwrap();
            assert_eq!(object.meta.names, [key_name(CLUSTER, role, now.generation)]);
            assert_eq!(object.meta.groups, [super::super::group(CLUSTER)]);
        }
        // What enable and rekey say of it.
        let ctx = Context {
            dir: &self.dir,
            uuid: UUID,
            key: &self.key,
            store: &self.server,
            settle: Duration::ZERO,
        };
        let options = Options {
            cluster: CLUSTER.into(),
            dare: true,
            ..Options::default()
        };
        assert!(!enable(&ctx, &options, &mut |_| {}).unwrap().changed);
        assert_eq!(
            rekey(&ctx, Role::Core, &mut |_| {})
                .unwrap()
                .keys
                .core
                .unwrap()
                .generation,
            3
        );
    }
}

fn without_data_state(mut all: BTreeMap<String, Held>) -> BTreeMap<String, Held> {
    all.values_mut()
        .filter(|held| held.0 == Class::Data)
        .for_each(|held| held.5 = None);
    all
}

#[test]
fn everything_moves_and_stays_what_it_was() {
    for closes in [false, true] {
        let node = Node::new(MemoryStore {
            closes,
            ..MemoryStore::new()
        });
        node.check();
        let moved = node.migrate().unwrap();
        assert_eq!((moved.objects, moved.left.len()), (10, 0));
        node.check_done();
        assert_eq!(node.migrate().unwrap().objects, 0);
    }
}

#[test]
fn ended_at_any_step_nothing_is_lost_and_the_next_run_completes() {
    for closes in [false, true] {
        let setup = || {
            Node::new(MemoryStore {
                closes,
                ..MemoryStore::new()
            })
        };
        let first = setup();
        let (_, steps) = fault::run(None, || first.migrate().is_ok());
        assert!(steps > 100, "{steps} steps");
        for at in 0..steps {
            // Every step by a kill; every third by an error as well, which costs a third more.
            for end in [
                Some(End::Killed),
                (at % 3 == 0).then_some(End::Error(libc::ENOSPC)),
            ]
            .into_iter()
            .flatten()
            {
                let node = setup();
                let (result, _) = fault::run(Some((at, end)), || node.migrate().is_ok());
                node.check();
                let again = node
                    .migrate()
                    .unwrap_or_else(|e| panic!("step {at}, {end:?}, {result:?}: {e}"));
                assert!(
                    again.left.is_empty(),
                    "step {at}, {end:?}: {:?}",
                    again.left
                );
                node.check_done();
            }
        }
    }
}

#[test]
fn what_is_not_taken_stays_and_is_told() {
    let mut node = Node::new(MemoryStore {
        refused_class: Some(Class::Data),
        ..MemoryStore::new()
    });
    let moved = node.migrate().unwrap();
    assert_eq!((moved.objects, moved.left.len()), (0, 1));
    assert_eq!(moved.left[0].object, "data object 'data'");
    assert_eq!(node.token().settings.store, StoreKind::File);
    node.check();
    node.server.refused_class = None;
    assert_eq!(node.migrate().unwrap().objects, 10);
    node.check_done();
}

#[test]
fn what_is_left_stays_sealed_until_it_is_taken() {
    let refuses = || MemoryStore {
        refused_class: Some(Class::Data),
        ..MemoryStore::new()
    };
    let (done, steps) = {
        let node = Node::new(refuses());
        fault::run(None, || node.migrate_and(true))
    };
    assert_eq!(done.unwrap().unwrap().left.len(), 1);
    for at in 0..steps {
        let mut node = Node::new(refuses());
        let _ = fault::run(Some((at, End::Killed)), || node.migrate_and(true));
        // The next run needs not be told again, once the token uses the server.
        let switched = node.token().settings.store == StoreKind::Kmip;
        let moved = node.migrate_and(!switched).unwrap();
        assert_eq!(moved.left[0].object, "data object 'data'", "step {at}");
        assert_eq!(
            (node.token().settings.store, node.token().moving),
            (StoreKind::Kmip, true),
            "step {at}"
        );
        let file = node.file();
        let left = file
            .meta(&file.locate(&Filter::default()).unwrap())
            .unwrap();
        assert_eq!(left.len(), 1, "step {at}");
        assert_eq!(
            file.fetch(&left[0].uid).unwrap().expose(),
            b"hello",
            "step {at}"
        );
        let mut there = node.on_server();
        assert_eq!(there.len(), 9, "step {at}");
        there.extend([held(&left[0], b"hello".to_vec())]);
        assert_eq!(there, node.held, "step {at}");
        node.server.refused_class = None;
        assert_eq!(node.migrate().unwrap().objects, 1, "step {at}");
        node.check_done();
    }
}

#[test]
fn a_key_of_the_cluster_that_is_not_taken_ends_it() {
    let node = Node::new(MemoryStore {
        refused_class: Some(Class::SecretKey),
        ..MemoryStore::new()
    });
    let error = node.migrate().unwrap_err();
    assert!(
        error
            .to_string()
            .contains("KEK' was not moved; nothing here is changed"),
        "{error}"
    );
    node.check();
}

#[test]
fn another_key_of_the_same_name_on_the_server_is_not_taken_for_ours() {
    let server = MemoryStore::new();
    let name = Some(key_name(CLUSTER, Role::Core, 2));
    server
        .register(
            &Spec {
                name,
                ..spec(Class::SecretKey, Algorithm::Aes, "Core KEK", true)
            },
            &[9; 32],
        )
        .unwrap();
    let node = Node::new(server);
    let error = node.migrate().unwrap_err();
    assert!(
        error
            .to_string()
            .contains("holds another object named mrhsm:my.cluster.com:core:2"),
        "{error}"
    );
    node.edit(|token| token.moving = false);
    assert_eq!(node.migrate().unwrap().objects, 0);
    assert_eq!(node.token().keys, node.keys);
}

#[test]
fn what_an_application_changes_between_two_runs_is_moved_as_it_is_now() {
    let mut node = Node::new(MemoryStore {
        refused_class: Some(Class::Data),
        ..MemoryStore::new()
    });
    node.migrate().unwrap();
    let file = node.file();
    let find = |label: &str| {
        file.locate(&Filter {
            label: Some(label.into()),
            ..Filter::default()
        })
        .unwrap()
        .remove(0)
    };
    file.update(
        &find("open"),
        &Changes {
            label: Some(b"renamed".to_vec()),
            ..Changes::default()
        },
    )
    .unwrap();
    file.destroy(&find("data")).unwrap();
    let open = node.held.remove("open").unwrap();
    node.held.insert("renamed".into(), open);
    node.held.remove("data");
    assert_eq!(node.migrate().unwrap().objects, 9);
    node.check_done();
}
