use super::*;
use crate::fault::End;
use crate::store::Curve;
use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::Ordering;

const KEY: [u8; 32] = [3; 32];

fn spec(label: &str, id: &[u8]) -> Spec {
    Spec {
        class: Class::SecretKey,
        algorithm: Algorithm::Aes,
        bits: 256,
        usage: Usage::ENCRYPT | Usage::DECRYPT,
        name: None,
        group: Some("demo".into()),
        label: label.as_bytes().to_vec(),
        id: id.to_vec(),
        sensitive: true,
        extractable: false,
        properties: BTreeMap::from([("priv".into(), "1".into())]),
    }
}

fn by_label(label: &str) -> Filter {
    Filter {
        label: Some(label.as_bytes().to_vec()),
        ..Filter::default()
    }
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("objects");
    (folder, path)
}

#[test]
fn keeps_what_it_was_given() {
    let (_folder, path) = folder();
    let store = FileStore::open(&path, &KEY).unwrap();
    let made = store.create(&spec("a", b"\x01\xff")).unwrap();
    let value = store.fetch(&made).unwrap();
    assert_eq!(value.len(), 32);
    let imported = store.register(&spec("b", b""), &[9; 16]).unwrap();
    drop(store);

    let store = FileStore::open(&path, &KEY).unwrap();
    assert_eq!(store.fetch(&made).unwrap(), value);
    assert_eq!(store.fetch(&imported).unwrap().expose(), [9; 16]);
    let meta = store.meta(std::slice::from_ref(&made)).unwrap().remove(0);
    assert_eq!(meta.label.as_deref(), Some(&b"a"[..]));
    assert_eq!(meta.id.as_deref(), Some(&b"\x01\xff"[..]));
    assert_eq!(
        (meta.state, meta.sensitive, meta.extractable),
        (Some(State::Active), Some(true), Some(false))
    );
    assert_eq!(meta.properties["priv"], "1");
    assert_eq!(
        store.locate(&Filter::default()).unwrap(),
        [made.clone(), imported]
    );
    assert_eq!(store.locate(&by_label("a")).unwrap(), [made]);
    assert_eq!(store.locate(&by_label("c")).unwrap(), []);
}

#[test]
fn nothing_readable_is_on_disk() {
    let (_folder, path) = folder();
    let store = FileStore::open(&path, &KEY).unwrap();
    store
        .register(&spec("payroll", b"id"), b"the value of the key")
        .unwrap();
    let files =
        ["objects.db", "objects.db-wal"].map(|name| fs::read(path.with_file_name(name)).unwrap());
    let file = files.concat();
    for text in [&b"payroll"[..], b"the value", b"demo", b"Aes"] {
        assert!(
            !file.windows(text.len()).any(|w| w == text),
            "{}",
            String::from_utf8_lossy(text)
        );
    }
    let error = FileStore::open(&path, &[4; 32]).err().unwrap();
    assert!(
        error
            .to_string()
            .contains("does not open with this token's key"),
        "{error}"
    );
}

#[test]
fn two_stores_see_each_other() {
    let (_folder, path) = folder();
    let one = FileStore::open(&path, &KEY).unwrap();
    let two = FileStore::open(&path, &KEY).unwrap();
    let uid = one.create(&spec("a", b"1")).unwrap();
    assert_eq!(
        two.locate(&by_label("a")).unwrap(),
        std::slice::from_ref(&uid)
    );
    two.update(
        &uid,
        &Changes {
            label: Some(b"b".to_vec()),
            ..Changes::default()
        },
    )
    .unwrap();
    assert_eq!(one.locate(&by_label("a")).unwrap(), []);
    assert_eq!(
        one.locate(&by_label("b")).unwrap(),
        std::slice::from_ref(&uid)
    );
    one.destroy(&uid).unwrap();
    assert_eq!(two.locate(&Filter::default()).unwrap(), []);
    assert_eq!(two.fetch(&uid).unwrap_err().rv(), CKR_OBJECT_HANDLE_INVALID);
    assert_eq!(
        two.destroy(&uid).unwrap_err().rv(),
        CKR_OBJECT_HANDLE_INVALID
    );
}

#[test]
fn the_halves_of_a_pair_know_each_other() {
    let (_folder, path) = folder();
    let store = FileStore::open(&path, &KEY).unwrap();
    let half = |class| Spec {
        class,
        algorithm: Algorithm::Ec(Curve::P256),
        bits: 256,
        ..spec("pair", b"7")
    };
    let (public, private) = store
        .create_pair(&half(Class::PublicKey), &half(Class::PrivateKey))
        .unwrap();
    let metas = store.meta(&[public.clone(), private.clone()]).unwrap();
    assert_eq!(
        (&metas[0].pair, &metas[1].pair),
        (&Some(private.clone()), &Some(public.clone()))
    );
    let pair = PrivateKey::from_pkcs8(store.fetch(&private).unwrap().expose()).unwrap();
    assert_eq!(
        pair.public().unwrap().to_spki().unwrap(),
        store.fetch(&public).unwrap().expose()
    );
}

#[test]
fn the_life_of_a_key() {
    let (_folder, path) = folder();
    let store = FileStore::open(&path, &KEY).unwrap();
    let uid = store.create(&spec("a", b"")).unwrap();
    let state = || store.meta(std::slice::from_ref(&uid)).unwrap()[0].state;
    store.activate(&uid).unwrap();
    assert_eq!(state(), Some(State::Active));
    store
        .revoke(&uid, Revocation::CessationOfOperation)
        .unwrap();
    assert_eq!(state(), Some(State::Deactivated));
    store.revoke(&uid, Revocation::KeyCompromise).unwrap();
    assert_eq!(state(), Some(State::Compromised));
}

#[test]
fn threads_lose_nothing() {
    let (_folder, path) = folder();
    std::thread::scope(|scope| {
        for t in 0..4 {
            let path = &path;
            scope.spawn(move || {
                let store = FileStore::open(path, &KEY).unwrap();
                for i in 0..10 {
                    store.create(&spec(&format!("{t}-{i}"), b"")).unwrap();
                }
            });
        }
    });
    assert_eq!(
        FileStore::open(&path, &KEY)
            .unwrap()
            .locate(&Filter::default())
            .unwrap()
            .len(),
        40
    );
}

#[test]
fn threads_of_one_store_create_and_destroy_at_once() {
    let (_folder, path) = folder();
    let store = FileStore::open(&path, &KEY).unwrap();
    std::thread::scope(|scope| {
        for t in 0..8 {
            let store = &store;
            scope.spawn(move || {
                for i in 0..20 {
                    let label = format!("{t}-{i}");
                    let uid = store.create(&spec(&label, b"")).unwrap();
                    assert_eq!(
                        store.locate(&by_label(&label)).unwrap(),
                        std::slice::from_ref(&uid)
                    );
                    store.fetch(&uid).unwrap();
                    store.destroy(&uid).unwrap();
                    assert!(store.fetch(&uid).is_err());
                }
            });
        }
    });
    assert_eq!(content(&path).len(), 0);
}

/// Eight threads that all wait to write when the first of them may: what they made, and how many steps they took.
fn eight_at_once(store: &FileStore, plan: Option<(usize, End)>) -> (Vec<Result<Uid>>, usize) {
    let another_process = open::lock(&store.path).unwrap();
    std::thread::scope(|scope| {
        let make = |i| crate::fault::run(plan, || store.create(&spec(&format!("{i}"), b"")));
        let threads: Vec<_> = (0..8).map(|i| scope.spawn(move || make(i))).collect();
        while store
            .repository
            .engine()
            .sqlite()
            .unwrap()
            .waiting
            .load(Ordering::SeqCst)
            < 7
        {
            std::thread::yield_now();
        }
        // The one that is no longer counted is at the lock file, or about to be.
        std::thread::sleep(std::time::Duration::from_millis(50));
        drop(another_process);
        let done: Vec<_> = threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect();
        let steps = done.iter().map(|(_, steps)| steps).sum();
        (
            done.into_iter().map(|(made, _)| made.unwrap()).collect(),
            steps,
        )
    })
}

#[test]
fn threads_that_write_at_once_wait_for_the_disk_once() {
    let (_folder, path) = folder();
    let store = FileStore::open(&path, &KEY).unwrap();
    let old = store.create(&spec("old", b"")).unwrap();
    // Two steps write a transaction, one the disk.
    let (made, steps) = eight_at_once(&store, None);
    assert_eq!(steps, 8 * 2 + 1);
    let uids: BTreeSet<Uid> = made.into_iter().map(|made| made.unwrap()).collect();
    assert_eq!(content(&path).len(), 1 + uids.len());

    // When the disk fails, all of them fail, and nothing of them is left.
    let before = content(&path);
    let (made, _) = eight_at_once(&store, Some((2, End::Error(libc::EIO))));
    for made in made {
        let error = made.unwrap_err().to_string();
        assert!(
            error.contains("objects.db cannot be written: Input/output error"),
            "{error}"
        );
    }
    assert_eq!(content(&path), before);
    assert_eq!(
        store.locate(&Filter::default()).unwrap().len(),
        before.len()
    );
    store.fetch(&old).unwrap();
    store.create(&spec("next", b"")).unwrap();
    assert_eq!(content(&path).len(), before.len() + 1);
}

#[test]
fn readers_do_not_wait_for_writers() {
    let (_folder, path) = folder();
    let store = FileStore::open(&path, &KEY).unwrap();
    let uid = store.create(&spec("old", b"")).unwrap();
    // As a writer that waits for the disk, and another process that writes.
    let _writer = store
        .repository
        .engine()
        .sqlite()
        .unwrap()
        .writing
        .lock()
        .unwrap();
    let _process = open::lock(&path).unwrap();
    assert_eq!(
        store.locate(&by_label("old")).unwrap(),
        std::slice::from_ref(&uid)
    );
    assert_eq!(store.meta(std::slice::from_ref(&uid)).unwrap().len(), 1);
    store.fetch(&uid).unwrap();
}

#[test]
fn a_value_is_on_the_disk_before_it_is_used() {
    let (_folder, path) = folder();
    let store = FileStore::open(&path, &KEY).unwrap();
    let other = FileStore::open(&path, &KEY).unwrap();
    let steps =
        |store: &FileStore, uid: &Uid| crate::fault::run(None, || store.fetch(uid).unwrap()).1;
    let uid = store.create(&spec("new", b"")).unwrap();
    assert_eq!([&store, &other].map(|store| steps(store, &uid)), [0, 0]);

    // A process that died before the disk had what it wrote.
    let (made, _) = crate::fault::run(Some((2, End::Killed)), || store.create(&spec("last", b"")));
    assert!(made.is_none());
    let uid = other.locate(&by_label("last")).unwrap().remove(0);
    assert_eq!(
        [0; 2].map(|_| steps(&other, &uid)),
        [1, 0],
        "whether the disk was waited for"
    );
}

#[test]
fn an_object_file_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let (_folder, path) = folder();
    drop(FileStore::open(&path, &KEY).unwrap());
    let database = open::database_of(&path);
    fs::set_permissions(database, fs::Permissions::from_mode(0o644)).unwrap();
    let error = FileStore::open(&path, &KEY).err().unwrap();
    assert!(error.to_string().contains("chmod 600"), "{error}");
}

/// What a store holds: label and value of every object.
fn content(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let store = FileStore::open(path, &KEY).unwrap();
    assert_eq!(store.repository.check().unwrap(), Vec::<String>::new());
    let uids = store.locate(&Filter::default()).unwrap();
    let metas = store.meta(&uids).unwrap();
    assert_eq!(metas.len(), uids.len());
    metas
        .into_iter()
        .map(|m| {
            (
                m.label.unwrap(),
                store.fetch(&m.uid).unwrap().expose().to_vec(),
            )
        })
        .collect()
}

/// Ends `work` at every step it takes, by a kill and by a full disk: the store is as before or as after, and goes on working.
fn ends_anywhere(work: impl Fn(&FileStore) -> Result<()>) {
    let setup = || {
        let folder = crate::fault::scratch();
        let path = folder.path().join("objects");
        let store = FileStore::open(&path, &KEY).unwrap();
        store.register(&spec("old", b""), &[1; 32]).unwrap();
        (folder, path, store)
    };
    let (_folder, path, store) = setup();
    let before = content(&path);
    let (done, steps) = crate::fault::run(None, || work(&store));
    done.unwrap().unwrap();
    let after = content(&path);
    assert!(before != after && steps > 2, "{steps} steps");
    for at in 0..steps {
        for end in [End::Killed, End::Error(libc::ENOSPC)] {
            let (_folder, path, store) = setup();
            let (result, _) = crate::fault::run(Some((at, end)), || work(&store));
            let now = content(&path);
            assert!(
                now == before || now == after,
                "step {at}, {end:?}: {:?}",
                now.keys()
            );
            if let Some(Err(_)) = result {
                assert_eq!(now, before, "what failed changed something: step {at}");
            }
            // The same process after a failure, and another one.
            if end != End::Killed {
                store.register(&spec("next", b""), &[2; 32]).unwrap();
            }
            FileStore::open(&path, &KEY)
                .unwrap()
                .register(&spec("last", b""), &[3; 32])
                .unwrap();
            let mut expected = now;
            expected.extend((end != End::Killed).then(|| (b"next".to_vec(), vec![2; 32])));
            expected.insert(b"last".to_vec(), vec![3; 32]);
            assert_eq!(content(&path), expected, "step {at}, {end:?}");
        }
    }
}

#[test]
fn ended_at_any_step_a_change_happened_or_did_not() {
    ends_anywhere(|store| store.register(&spec("new", b""), &[9; 32]).map(drop));
    ends_anywhere(|store| {
        let uid = store.locate(&by_label("old"))?.remove(0);
        store.update(
            &uid,
            &Changes {
                label: Some(b"renamed".to_vec()),
                ..Changes::default()
            },
        )
    });
    ends_anywhere(|store| store.destroy(&store.locate(&by_label("old"))?[0]));
    let half = |class| Spec {
        class,
        algorithm: Algorithm::Ec(Curve::P256),
        bits: 256,
        ..spec("", b"7")
    };
    let uids = std::cell::Cell::new(0);
    // A pair appears whole: a transaction has both halves.
    let folder = crate::fault::scratch();
    let path = folder.path().join("objects");
    let store = FileStore::open(&path, &KEY).unwrap();
    for at in 0..4 {
        let _ = crate::fault::run(Some((at, End::Killed)), || {
            store
                .create_pair(&half(Class::PublicKey), &half(Class::PrivateKey))
                .unwrap()
        });
        let count = FileStore::open(&path, &KEY)
            .unwrap()
            .locate(&Filter::default())
            .unwrap()
            .len();
        assert!(count.is_multiple_of(2), "{count} halves");
        uids.set(count);
    }
    assert!(uids.get() > 0);
}

#[test]
fn a_key_expires_by_its_date_alone() {
    let about = |state, activation_date, deactivation_date| About {
        state: Some(state),
        activation_date,
        deactivation_date,
        ..About::of(&spec("a", b""), 0)
    };
    for (about, expected) in [
        (about(State::Active, Some(10), None), State::Active),
        (about(State::Active, Some(10), Some(101)), State::Active),
        (
            about(State::Active, Some(10), Some(100)),
            State::Deactivated,
        ),
        (about(State::PreActive, Some(101), None), State::PreActive),
        (about(State::PreActive, Some(100), None), State::Active),
        (
            about(State::PreActive, Some(10), Some(20)),
            State::Deactivated,
        ),
        (
            about(State::Compromised, Some(10), Some(20)),
            State::Compromised,
        ),
    ] {
        assert_eq!(about.state_at(100), Some(expected));
    }
}
