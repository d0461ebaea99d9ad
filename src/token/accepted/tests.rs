use std::fs;

use super::*;
use crate::config::{Host, Settings};
use crate::fault::{self, End, run};
use crate::token::files::{TokenDir, USER_PIN};
use crate::token::pin::PinFile;
use crate::token::secrets::{NewToken, UserPin, create_token};

const SO: &[u8] = b"so pin";
const USER: &[u8] = b"user pin";

type Edit = fn(&mut TokenConfig);

/// A token directory with one token that uses a host.
struct Node {
    _tmp: tempfile::TempDir,
    dir: TokenDir,
    files: TokenFiles,
}

fn secret(bytes: &[u8]) -> Secret {
    Secret::new(bytes.to_vec())
}

fn host(name: &str) -> Host {
    name.parse().unwrap()
}

impl Node {
    fn new() -> Node {
        let tmp = fault::scratch();
        let dir = TokenDir::at(tmp.path().join("tokens"));
        let files = add(&dir, "demo");
        Node {
            _tmp: tmp,
            dir,
            files,
        }
    }

    /// The same as an earlier version made it.
    fn of_earlier_version() -> Node {
        let node = Node::new();
        node.downgrade();
        node
    }

    fn key(&self) -> TokenKey {
        self.files.pins().unwrap().unlock(Who::So, SO).unwrap()
    }

    /// Puts back what an earlier version would have written: no record, entries without a mark, secrets in the old form.
    fn downgrade(&self) {
        let (key, uuid) = (self.key(), self.files.uuid());
        let old = TokenKey::unmarked(key.expose());
        let mut pins = PinFile::new(&old, SO).unwrap();
        pins.set(Who::User, &old, USER).unwrap();
        let seal = |name, content| old.seal_by_earlier_version(uuid, name, content);
        self.put(TOKEN_KEY, pins.to_text().unwrap().as_bytes());
        self.put(CLIENT_KEY, &seal(CLIENT_KEY, b"client key"));
        self.put(CREDENTIAL, &seal(CREDENTIAL, b"password"));
        self.remove(ACCEPTED);
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(self.files.uuid()).join(name)
    }

    fn get(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    fn put(&self, name: &str, content: &[u8]) {
        let writer = self.dir.lock().unwrap();
        writer
            .write(self.files.uuid(), &[(name, Some(content))])
            .unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    /// An edit of `mrhsm.conf` by hand.
    fn edit(&self, edit: impl FnOnce(&mut TokenConfig)) {
        let edited = self.dir.update(|config| {
            edit(config.by_uuid_mut(self.files.uuid()).unwrap());
            Ok(())
        });
        edited.unwrap();
    }

    fn open(&self, who: Who) -> TokenKey {
        let pin = if who == Who::So { SO } else { USER };
        self.files.unlock(who, pin).unwrap()
    }

    fn trusted(&self) -> Result<Trusted> {
        self.files.trusted(&self.open(Who::User))
    }

    /// Opened by either PIN, the configuration is refused for this reason.
    #[track_caller]
    fn refused(&self, reason: &str) {
        for who in [Who::User, Who::So] {
            let key = self.open(who);
            let e = self.files.trusted(&key).unwrap_err();
            let text = e.to_string();
            assert_eq!((e.kind(), e.rv()), (Kind::Changed, CKR_DEVICE_ERROR), "{e}");
            assert!(
                text.contains(reason) && text.contains("mrhsm set -accept"),
                "{who:?}: {e}"
            );
            let writer = self.dir.lock().unwrap();
            let e = self.files.change(&writer, &key).map(|_| ()).unwrap_err();
            assert_eq!(e.kind(), Kind::Changed, "a change does not bless it");
        }
    }

    fn change(
        &self,
        settings: impl FnOnce(&mut TokenConfig),
        identity: &IdentityChange<'_>,
    ) -> Result<bool> {
        let key = self.open(Who::So);
        let writer = self.dir.lock()?;
        let mut change = self.files.change(&writer, &key)?;
        settings(&mut change.config);
        change.commit(identity)
    }

    fn accept(&self) -> Vec<String> {
        let key = self.open(Who::So);
        let writer = self.dir.lock().unwrap();
        let (change, differences) = self.files.accept(&writer, &key).unwrap();
        assert_eq!(
            change.commit(&IdentityChange::default()).unwrap(),
            !differences.is_empty()
        );
        differences
    }
}

fn add(dir: &TokenDir, label: &str) -> TokenFiles {
    let new = NewToken {
        label,
        so_pin: &secret(SO),
        user_pin: UserPin::Given(&secret(USER)),
        settings: Settings {
            store: StoreKind::Kmip,
            hosts: vec![host("kms.example.com")],
            ..Settings::default()
        },
        username: Some("user".into()),
        identity: IdentityChange {
            certificate: Part::Set(b"certificate"),
            key: Part::Set(b"client key"),
            ca: Part::Set(b"authority"),
            crl: Part::Set(b"lists"),
            password: Part::Set(b"password"),
        },
    };
    TokenFiles::of(dir, &create_token(dir, &new).unwrap().uuid)
}

#[test]
fn what_was_accepted_is_trusted_and_counted() {
    let node = Node::new();
    let trusted = node.trusted().unwrap();
    assert_eq!(trusted.version, Some(1));
    assert_eq!(trusted.config.username.as_deref(), Some("user"));
    assert_eq!(trusted.identity.key.unwrap().expose(), b"client key");
    let change = IdentityChange {
        ca: Part::Set(b"another authority"),
        ..IdentityChange::default()
    };
    assert!(node.change(|t| t.settings.port = 1, &change).unwrap());
    let trusted = node.trusted().unwrap();
    assert_eq!(
        (trusted.version, trusted.config.settings.port),
        (Some(2), 1)
    );
    assert_eq!(
        trusted.identity.ca.as_deref(),
        Some(&b"another authority"[..])
    );
    assert!(!node.change(|_| (), &IdentityChange::default()).unwrap());
    assert_eq!(node.trusted().unwrap().version, Some(2));

    let (key, writer) = (node.open(Who::User), node.dir.lock().unwrap());
    let mut change = node.files.change(&writer, &key).unwrap();
    change.config.enabled = true;
    assert!(
        change.commit(&IdentityChange::default()).unwrap(),
        "the user's PIN is enough"
    );
    assert!(node.trusted().unwrap().config.enabled);
}

#[test]
fn every_setting_is_covered_and_formatting_is_not() {
    use crate::config::{ClusterKey, CryptoPolicy};
    let key = |uid: &str, generation| {
        Some(ClusterKey {
            uid: uid.into(),
            checksum: "AB".repeat(32),
            generation,
            wrapped: Some("00".repeat(40)),
            format: 2,
        })
    };
    let edits: &[(&str, Edit)] = &[
        ("label", |t| t.label = "other".into()),
        ("store", |t| t.settings.store = StoreKind::File),
        ("hosts", |t| {
            t.settings.hosts = vec![host("evil.example.com")]
        }),
        ("hosts", |t| {
            t.settings.hosts = vec![host("kms.example.com:1")]
        }),
        ("port", |t| t.settings.port = 1),
        ("server_name", |t| {
            t.settings.server_name = Some("evil".into())
        }),
        ("pins", |t| t.settings.pins = vec!["00".repeat(32)]),
        ("kmip_version", |t| {
            t.settings.kmip_version = Some("1.0".parse().unwrap())
        }),
        ("connect_millis", |t| t.settings.connect_millis = 1),
        ("deadline_millis", |t| t.settings.deadline_millis = 1),
        ("crypto", |t| t.settings.crypto = CryptoPolicy::Local),
        ("policy", |t| {
            t.settings.policy = crate::config::KeyPolicy::Compatible
        }),
        ("key_cache_millis", |t| t.settings.key_cache_millis = 0),
        ("username", |t| t.username = None),
        ("moving", |t| t.moving = true),
        ("enabled", |t| t.enabled = true),
        ("cluster", |t| t.cluster = Some("other".into())),
        ("keys.cldb.uid", |t| {
            std::mem::swap(&mut t.keys.cldb, &mut t.keys.dare);
        }),
        ("keys.core.generation", |t| {
            if let Some(core) = &mut t.keys.core {
                core.generation = 9;
            }
        }),
    ];
    for (name, edit) in edits {
        let node = Node::new();
        node.change(
            |t| {
                t.keys.core = key("core", 1);
                t.keys.cldb = key("cldb", 1);
                t.keys.dare = key("dare", 1);
            },
            &IdentityChange::default(),
        )
        .unwrap();
        node.trusted().unwrap();
        node.edit(edit);
        node.refused(name);
        let differences = node.accept();
        assert!(differences[0].contains(name), "{differences:?}");
        node.trusted().unwrap();
    }

    let node = Node::new();
    let text = fs::read_to_string(node.dir.config_path()).unwrap();
    let text = text.replace("port = 5696", "port     =    5696 # a comment");
    fs::write(node.dir.config_path(), text).unwrap();
    let other = add(&node.dir, "another token");
    node.trusted().unwrap();
    node.edit(|_| ());
    let removed = node.dir.update(|config| {
        config.defaults.port = 1;
        config.tokens.retain(|t| t.uuid != other.uuid());
        Ok(())
    });
    removed.unwrap();
    node.trusted().unwrap();
}

#[test]
fn every_file_is_covered() {
    for name in COVERED {
        let node = Node::new();
        let before = node.get(name);
        node.put(name, b"evil");
        node.refused(&format!("{name} is another"));
        node.remove(name);
        node.refused(&format!("{name} is missing"));
        node.put(name, &before);
        node.trusted().unwrap();
    }
}

#[test]
fn parts_of_different_times_and_tokens_do_not_mix() {
    let node = Node::new();
    let old: Vec<_> = COVERED
        .into_iter()
        .chain([ACCEPTED])
        .map(|name| (name, node.get(name)))
        .collect();
    let change = IdentityChange {
        certificate: Part::Set(b"new certificate"),
        key: Part::Set(b"new client key"),
        ca: Part::Set(b"new authority"),
        crl: Part::Set(b"new lists"),
        password: Part::Set(b"new password"),
    };
    node.change(|t| t.settings.port = 1, &change).unwrap();
    for (name, content) in &old {
        let new = node.get(name);
        node.put(name, content);
        node.refused("");
        node.put(name, &new);
    }
    node.trusted().unwrap();

    let other = add(&node.dir, "other");
    for name in COVERED.into_iter().chain([ACCEPTED]) {
        let own = node.get(name);
        let foreign = node.dir.read(other.uuid(), name).unwrap().unwrap();
        node.put(name, foreign.expose());
        if foreign.expose() != own {
            node.refused("");
        }
        node.put(name, &own);
    }
    // An entry of `mrhsm.conf` under another token's name.
    node.edit(|t| t.settings.port = 5696);
    node.refused("port");
}

#[test]
fn another_tokens_key_opens_nothing_here() {
    let node = Node::new();
    let other = add(&node.dir, "other");
    let folder = node.dir.path().join(other.uuid());
    for with_record in [true, false] {
        node.put(TOKEN_KEY, &fs::read(folder.join(TOKEN_KEY)).unwrap());
        match with_record {
            true => node.put(ACCEPTED, &fs::read(folder.join(ACCEPTED)).unwrap()),
            false => node.remove(ACCEPTED),
        }
        node.refused("accepted");
    }
}

/// Who puts a token key and a record of his own beside the token's secrets knows the PIN and still gets nothing of them.
#[test]
fn a_forged_token_key_does_not_come_with_the_secrets() {
    let node = Node::new();
    let forged = TokenKey::generate().unwrap();
    let mut pins = PinFile::new(&forged, SO).unwrap();
    pins.set(Who::User, &forged, USER).unwrap();
    node.put(TOKEN_KEY, pins.to_text().unwrap().as_bytes());
    node.edit(|t| t.settings.hosts = vec![host("evil.example.com")]);
    let present = Present::read(&node.files).unwrap().1;
    let record = Record::of(&present.config, present.digests().unwrap(), 1);
    let sealed = record.seal(node.files.uuid(), &forged).unwrap();
    node.put(ACCEPTED, &sealed);
    let e = node.trusted().unwrap_err().to_string();
    assert!(
        e.contains("client.key is damaged or of another token"),
        "{e}"
    );
}

#[test]
fn a_record_that_is_gone_is_missed_whatever_else_goes_with_it() {
    let node = Node::new();
    node.remove(ACCEPTED);
    node.refused("accepted is missing");
    for name in [CLIENT_KEY, CREDENTIAL, CLIENT_CERT, CA_CERT] {
        node.remove(name);
        node.refused("accepted is missing");
    }
    assert_eq!(node.accept(), ["accepted is missing or damaged"]);
    node.trusted().unwrap();
}

#[test]
fn a_token_of_an_earlier_version_is_adopted_by_the_first_pin() {
    for (first, second) in [(Who::User, Who::So), (Who::So, Who::User)] {
        let node = Node::of_earlier_version();
        assert!(!node.files.pins().unwrap().has_mark());
        let trusted = node.files.trusted(&node.open(first)).unwrap();
        assert_eq!(trusted.identity.key.unwrap().expose(), b"client key");
        assert_eq!(trusted.version, Some(1));
        assert!(!is_sealed_by_earlier_version(&node.get(CLIENT_KEY)));
        assert!(!is_sealed_by_earlier_version(&node.get(CREDENTIAL)));

        // The other PIN's entry is still as it was: what the first PIN did is seen all the same.
        let (record, config) = (node.get(ACCEPTED), node.dir.load().unwrap());
        node.remove(ACCEPTED);
        node.edit(|t| t.settings.port = 1);
        let key = node
            .files
            .pins()
            .unwrap()
            .unlock(second, if second == Who::So { SO } else { USER });
        assert!(!key.unwrap().is_authenticated());
        node.refused("accepted is missing");
        node.put(ACCEPTED, &record);
        node.dir.lock().unwrap().save(&config).unwrap();

        let key = node.open(second);
        assert!(key.is_authenticated());
        node.files.trusted(&key).unwrap();
        let pins = node.files.pins().unwrap();
        for (who, pin) in [(Who::So, SO), (Who::User, USER)] {
            assert!(pins.unlock(who, pin).unwrap().is_authenticated(), "{who:?}");
        }
    }
}

/// Only one entry is marked, and an attacker takes that away with the record: the form of the sealed files is left.
#[test]
fn a_token_that_was_adopted_is_not_adopted_again() {
    let node = Node::of_earlier_version();
    let old = node.get(TOKEN_KEY);
    node.open(Who::User);
    node.put(TOKEN_KEY, &old);
    node.remove(ACCEPTED);
    node.edit(|t| t.settings.hosts = vec![host("evil.example.com")]);
    node.refused("accepted is missing");
    // Without the sealed files nothing says that the token ever used hosts of its own.
    node.remove(CLIENT_KEY);
    node.refused("accepted is missing");
    node.remove(CREDENTIAL);
    node.refused("nothing that is sealed");
    // The mark of a file of today does not come off.
    let sealed = node
        .key()
        .seal(node.files.uuid(), CLIENT_KEY, b"client key")
        .unwrap();
    node.put(CLIENT_KEY, &[b"mrhsm sealed 1\n", &sealed[15..]].concat());
    let key = node.open(Who::User);
    assert!(node.files.trusted(&key).is_err() && !node.path(ACCEPTED).exists());
}

#[test]
fn a_file_token_of_an_earlier_version_cannot_be_turned_to_hosts() {
    let node = Node::of_earlier_version();
    for name in COVERED {
        node.remove(name);
    }
    node.refused("nothing that is sealed");
    node.edit(|t| t.settings.store = StoreKind::File);
    node.trusted().unwrap();
    node.edit(|t| t.settings.store = StoreKind::Kmip);
    node.refused("store");
}

#[test]
fn a_directory_that_cannot_be_written_is_adopted_in_memory() {
    let node = Node::of_earlier_version();
    let before: Vec<_> = [TOKEN_KEY, CLIENT_KEY].map(|name| node.get(name)).into();
    let failing = Some((0, End::Error(libc::EROFS)));
    let (trusted, _) = run(failing, || node.trusted());
    let trusted = trusted.unwrap().unwrap();
    assert_eq!(trusted.version, None);
    assert_eq!(trusted.identity.password.unwrap().expose(), b"password");
    assert!(!node.path(ACCEPTED).exists());
    assert_eq!(
        [TOKEN_KEY, CLIENT_KEY].map(|name| node.get(name)),
        before[..]
    );
    node.trusted().unwrap();
    assert!(node.path(ACCEPTED).exists());
}

#[test]
fn adopted_and_killed_anywhere_it_works_and_is_adopted_by_the_next() {
    let steps = {
        let node = Node::of_earlier_version();
        run(None, || node.open(Who::User)).1
    };
    assert!(steps > 10);
    for at in 0..steps {
        for end in [End::Error(libc::ENOSPC), End::Killed] {
            let node = Node::of_earlier_version();
            run(Some((at, end)), || drop(node.open(Who::User)));
            let key = node.files.pins().unwrap().unlock(Who::So, SO).unwrap();
            let trusted = node.files.trusted(&key).unwrap();
            assert_eq!(
                trusted.identity.key.unwrap().expose(),
                b"client key",
                "{at}"
            );
            let key = node.open(Who::User);
            assert!(key.is_authenticated() && node.files.pins().unwrap().has_mark());
            let trusted = node.files.trusted(&key).unwrap();
            assert_eq!(
                trusted.identity.password.unwrap().expose(),
                b"password",
                "{at}"
            );
            assert!(!is_sealed_by_earlier_version(&node.get(CLIENT_KEY)));
        }
    }
}

#[test]
fn a_change_killed_anywhere_leaves_what_was_accepted_and_can_be_made_again() {
    let identity = IdentityChange {
        certificate: Part::Set(b"new certificate"),
        key: Part::Set(b"new client key"),
        ca: Part::Remove,
        crl: Part::Set(b"new lists"),
        password: Part::Keep,
    };
    let work = |node: &Node| node.change(|t| t.settings.port = 1, &identity);
    let steps = {
        let node = Node::new();
        run(None, || work(&node).unwrap()).1
    };
    assert!(steps > 10);
    for at in 0..steps {
        for end in [End::Error(libc::ENOSPC), End::Killed] {
            let node = Node::new();
            run(Some((at, end)), || work(&node).is_ok());
            let trusted = node.trusted().unwrap();
            assert!([5696, 1].contains(&trusted.config.settings.port));
            let ca = trusted.identity.ca;
            assert!([None, Some(b"authority".to_vec())].contains(&ca));
            // What is neither the old nor the new is refused, also half-way.
            node.edit(|t| t.settings.port = 2);
            node.refused("port");
            node.edit(|t| t.settings.port = trusted.config.settings.port);

            work(&node).unwrap();
            let trusted = node.trusted().unwrap();
            assert_eq!(trusted.config.settings.port, 1);
            assert!(trusted.identity.ca.is_none());
            assert_eq!(trusted.identity.key.unwrap().expose(), b"new client key");
            // Then the old is no longer accepted.
            node.put(CA_CERT, b"authority");
            node.refused("ca.pem");
        }
    }
}

#[test]
fn a_change_that_did_not_end_is_completed_by_one_that_changes_nothing_else() {
    let node = Node::new();
    let key = node.key();
    let present = Present::read(&node.files).unwrap().1;
    let now = Record::of(&present.config, present.digests().unwrap(), 1);
    let mut other = now.clone();
    other
        .files
        .insert(CA_CERT.into(), vec![digest(Some(b"evil")).unwrap()]);
    node.put(
        ACCEPTED,
        &now.with(&other).seal(node.files.uuid(), &key).unwrap(),
    );
    node.put(CA_CERT, b"evil");
    node.trusted().unwrap();
    node.put(CA_CERT, b"authority");
    assert!(!node.change(|_| (), &IdentityChange::default()).unwrap());
    node.put(CA_CERT, b"evil");
    node.refused("ca.pem");
}

#[test]
fn readers_beside_a_writer_are_never_told_of_a_change() {
    let node = Node::new();
    let key = node.open(Who::So);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            for _ in 0..300 {
                node.files.trusted(&key).unwrap();
            }
        });
        let mut turn: u16 = 0;
        while !reader.is_finished() {
            turn += 1;
            let text = turn.to_string();
            let identity = IdentityChange {
                ca: Part::Set(text.as_bytes()),
                ..IdentityChange::default()
            };
            node.change(|t| t.settings.port = turn, &identity).unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
        reader.join().unwrap();
        assert!(turn > 1);
    });
}

#[test]
fn pins_change_and_the_configuration_stays_accepted() {
    let node = Node::new();
    node.files.set_so_pin(SO, b"another so pin").unwrap();
    node.files
        .set_user_pin(USER, UserPin::Given(&secret(b"another user pin")))
        .unwrap();
    for (who, pin) in [
        (Who::So, &b"another so pin"[..]),
        (Who::User, b"another user pin"),
    ] {
        let key = node.files.unlock(who, pin).unwrap();
        assert!(key.is_authenticated());
        node.files.trusted(&key).unwrap();
    }
    assert!(!node.path(USER_PIN).exists());
}
