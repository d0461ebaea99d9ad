//! The file store between processes: killed writers, several writers and readers, a full disk, a copy made meanwhile.
//!
//! The writers are this test binary again, told by the environment what to do.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mrhsm_pkcs11::error::Result;
use mrhsm_pkcs11::store::file::FileStore;
use mrhsm_pkcs11::store::{Algorithm, Changes, Class, Filter, KeyStore, Spec, Uid, Usage};

const KEY: [u8; 32] = [5; 32];
const FILE: &str = "MRHSM_TEST_OBJECTS";
const WRITER: &str = "MRHSM_TEST_OBJECTS_WRITER";
const ROUNDS: &str = "MRHSM_TEST_OBJECTS_ROUNDS";

fn open(path: &Path) -> FileStore {
    FileStore::open(path, &KEY).unwrap()
}

fn spec(label: &str) -> Spec {
    Spec {
        class: Class::SecretKey,
        algorithm: Algorithm::GenericSecret,
        bits: 8 * 4096,
        usage: Usage::DERIVE,
        name: None,
        group: None,
        label: label.into(),
        id: label.as_bytes().to_vec(),
        sensitive: false,
        extractable: true,
        properties: BTreeMap::new(),
    }
}

/// A value that its label tells.
fn value(label: &str) -> Vec<u8> {
    label.bytes().cycle().take(4096).collect()
}

/// Makes an object, renames it, and destroys the one before: three transactions, of which each is whole or absent.
fn turn(store: &FileStore, writer: &str, turn: usize) -> Result<()> {
    let (label, named) = (
        format!("{writer} new {turn}"),
        format!("{writer} named {turn}"),
    );
    let before = store.locate(&Filter {
        label: Some(format!("{writer} named {}", turn.wrapping_sub(1)).into()),
        ..Filter::default()
    })?;
    let uid = store.register(&spec(&label), &value(&label))?;
    store.update(
        &uid,
        &Changes {
            label: Some(named.into_bytes()),
            ..Changes::default()
        },
    )?;
    before.iter().try_for_each(|uid| store.destroy(uid))
}

/// What a writer process runs; nothing in an ordinary test run.
#[test]
fn writer_process() {
    let Some(path) = std::env::var_os(FILE) else {
        return;
    };
    let writer = std::env::var(WRITER).unwrap();
    let rounds: usize = std::env::var(ROUNDS).unwrap().parse().unwrap();
    let store = FileStore::open(path.as_ref(), &KEY).unwrap();
    for n in 0..rounds {
        if let Err(e) = turn(&store, &writer, n) {
            eprintln!("{e}");
            std::process::exit(3);
        }
    }
}

fn command(path: &Path, name: &str, rounds: usize, shell: &str) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!(
        "{shell} exec \"$0\" filestore::writer_process --exact --nocapture"
    ));
    command
        .arg(std::env::current_exe().unwrap())
        .env(FILE, path)
        .env(WRITER, name)
        .env(ROUNDS, rounds.to_string());
    // A group of its own, so that no child of it is left when it is killed.
    command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0);
    command
}

fn writer(path: &Path, name: &str) -> Child {
    command(path, name, usize::MAX, "").spawn().unwrap()
}

/// Every object is whole, and of each writer there are no more than the three that a turn has at once.
#[track_caller]
fn check(store: &FileStore) -> BTreeSet<Vec<u8>> {
    let uids = store.locate(&Filter::default()).unwrap();
    let mut labels = BTreeSet::new();
    // Between the calls others go on: what is gone is left out.
    for meta in store.meta(&uids).unwrap() {
        let Ok(kept) = store.fetch(&meta.uid) else {
            continue;
        };
        let id = String::from_utf8(meta.id.unwrap()).unwrap();
        assert_eq!(kept.expose(), value(&id), "{id}");
        labels.insert(meta.label.unwrap());
    }
    assert_eq!(store.repository().check().unwrap(), Vec::<String>::new());
    labels
}

/// Numbers that look random and are the same every time.
fn delays() -> impl Iterator<Item = Duration> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        Duration::from_micros((state >> 33) % 20_000)
    })
}

#[test]
fn writers_killed_at_any_time_leave_the_old_or_the_new_state() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("objects");
    open(&path).register(&spec("keep"), &value("keep")).unwrap();
    let mut written = 0;
    for (round, delay) in delays().take(40).enumerate() {
        let length = || {
            std::fs::metadata(path.with_extension("db-wal"))
                .unwrap()
                .len()
        };
        let (before, start) = (length(), Instant::now());
        let mut child = writer(&path, &round.to_string());
        while length() == before {
            assert!(
                start.elapsed() < Duration::from_secs(30),
                "the writer does not write"
            );
        }
        std::thread::sleep(delay);
        child.kill().unwrap();
        child.wait().unwrap();
        // A reader first, which changes nothing, then a writer, which removes what was cut short.
        let labels = check(&open(&path));
        assert!(labels.contains(&b"keep"[..]));
        let of_round = labels
            .iter()
            .filter(|l| l.starts_with(format!("{round} ").as_bytes()))
            .count();
        assert!(of_round <= 3, "{of_round} objects of round {round}");
        written += of_round;
        let store = open(&path);
        let uid = store.register(&spec("after"), &value("after")).unwrap();
        store.destroy(&uid).unwrap();
        assert_eq!(check(&open(&path)), labels);
    }
    assert!(
        written > 20,
        "{written}: the writers were killed before they wrote"
    );
}

#[test]
fn several_processes_write_and_read_at_once() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("objects");
    let store = open(&path);
    let mut writers: Vec<Child> = ["a", "b", "c"]
        .iter()
        .map(|name| writer(&path, name))
        .collect();
    let start = Instant::now();
    let mut seen = BTreeSet::new();
    let mut mine = 0;
    // Nobody says who writes next: on a slow disk one of them may come late.
    while start.elapsed() < Duration::from_millis(1500)
        || (seen.len() < 4 && start.elapsed() < Duration::from_secs(60))
    {
        // This process reads and writes beside them.
        let uid = store.register(&spec("mine"), &value("mine")).unwrap();
        seen.extend(check(&store).into_iter().map(|label| label[0]));
        assert_eq!(store.fetch(&uid).unwrap().expose(), value("mine"));
        store.destroy(&uid).unwrap();
        mine += 1;
    }
    for writer in &mut writers {
        assert!(writer.try_wait().unwrap().is_none(), "a writer gave up");
        writer.kill().unwrap();
        writer.wait().unwrap();
    }
    assert_eq!(
        seen,
        BTreeSet::from(*b"abcm"),
        "what the others make is seen by the next find; {mine} turns"
    );
    assert_eq!(check(&store), check(&open(&path)));
}

#[test]
fn a_change_by_another_process_is_seen_by_the_next_call() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("objects");
    let store = open(&path);
    assert!(command(&path, "other", 5, "").status().unwrap().success());
    assert_eq!(check(&store), BTreeSet::from([b"other named 4".to_vec()]));
    let found = store
        .locate(&Filter {
            id: Some(b"other new 4".to_vec()),
            ..Filter::default()
        })
        .unwrap();
    assert_eq!(found.len(), 1);
    open(&path).destroy(&found[0]).unwrap();
    assert_eq!(store.meta(&found).unwrap().len(), 0);
    assert!(store.fetch(&Uid(found[0].0.clone())).is_err());
}

#[test]
fn a_disk_without_room_leaves_the_old_state() {
    for room in 0..14 {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("objects");
        open(&path).register(&spec("old"), &value("old")).unwrap();
        let lengths = ["db", "db-wal"].map(|e| path.with_extension(e).metadata().unwrap().len());
        // No file may grow beyond so many blocks of 512 bytes: the WAL ends somewhere in the new transactions, and where the
        // limit cuts a page a part of it was written. The shell's trap keeps the signal away.
        let shell = format!(
            "trap '' XFSZ; ulimit -f {};",
            lengths.iter().max().unwrap() / 512 + 3 * room
        );
        let output = command(&path, "new", 1, &shell)
            .spawn()
            .unwrap()
            .wait_with_output()
            .unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{room}: {message}");
        assert!(
            message.contains("objects.db cannot be written"),
            "{message}"
        );
        let labels = check(&open(&path));
        let first = BTreeSet::from([b"old".to_vec()]);
        let made = BTreeSet::from([b"old".to_vec(), b"new new 0".to_vec()]);
        assert!(labels == first || labels == made, "{room}: {labels:?}");
        // With room again it goes on.
        assert!(command(&path, "more", 1, "").status().unwrap().success());
        assert!(check(&open(&path)).contains(&b"more named 0"[..]));
    }
}

#[test]
fn a_backup_made_at_any_time_opens() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("objects");
    let store = open(&path);
    store.register(&spec("keep"), &value("keep")).unwrap();
    let mut child = writer(&path, "w");
    for n in 0..15 {
        std::thread::sleep(Duration::from_millis(15));
        let copy = tmp.path().join(format!("copy{n}"));
        store
            .repository()
            .engine()
            .backup(&copy.with_extension("db"))
            .unwrap();
        let copy = open(&copy);
        assert!(check(&copy).contains(&b"keep"[..]));
        copy.register(&spec("of the copy"), &value("of the copy"))
            .unwrap();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!check(&store).contains(&b"of the copy"[..]));
}

#[test]
fn what_may_only_be_read_can_be_read() {
    use std::os::unix::fs::PermissionsExt;
    let tmp = tempfile::tempdir().unwrap();
    let program = tmp.path().join("mrhsm");
    std::fs::copy(env!("CARGO_BIN_EXE_mrhsm"), &program).unwrap();
    // Root may do everything, so it is somebody else then.
    let is_root = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(tmp.path()).unwrap()) == 0;
    if is_root {
        std::os::unix::fs::chown(tmp.path(), Some(65534), Some(65534)).unwrap();
    }
    let mrhsm = |words: &[&str]| {
        let mut command = Command::new(&program);
        command
            .args(words)
            .env("HOME", tmp.path())
            .env_remove("MAPR_HOME")
            .env("MRHSM_TOKEN_DIR", tmp.path().join("tokens"));
        if is_root {
            command.uid(65534).gid(65534);
        }
        let output = command.output().unwrap();
        (
            output.status.success(),
            String::from_utf8([output.stdout, output.stderr].concat()).unwrap(),
        )
    };
    let init = mrhsm(&[
        "init",
        "-label",
        "f",
        "-storetype",
        "file",
        "-sopin",
        "pass:12345678",
    ]);
    assert!(init.0, "{}", init.1);
    let enable = ["enable", "-cluster", "c", "-sopin", "pass:12345678"];
    assert!(mrhsm(&enable).0);
    let tokens = std::fs::read_dir(tmp.path().join("tokens"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let folder = tokens.into_iter().find(|path| path.is_dir()).unwrap();
    let rekey = ["rekey", "-keytype", "core", "-sopin", "pass:12345678"];
    let allow = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap()
    };
    allow(&folder.join("objects.db"), 0o400);
    for folder_mode in [0o700, 0o500] {
        allow(&folder, folder_mode);
        let (read, shown) = mrhsm(&["info", "-config"]);
        assert!(
            read && shown.contains("Objects                : 3"),
            "{shown}"
        );
        let (wrote, said) = mrhsm(&rekey);
        assert!(
            !wrote && said.contains("nothing can be changed, because this user may not write"),
            "{said}"
        );
    }
    allow(&folder, 0o700);
    allow(&folder.join("objects.db"), 0o600);
    let again = mrhsm(&rekey);
    assert!(again.0, "{}", again.1);
}
