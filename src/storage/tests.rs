use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::engine::bucket_of;
use super::sqlite::{WORTH_MOVING, host, tamper};
use super::*;
use crate::crypto::seal::Sealer;
use crate::error::{Error, Result};
use crate::fault::{End, run, scratch};
use crate::secret::Secret;

const KEY: [u8; 32] = [7; 32];

/// An object that is found by its first byte.
#[derive(Debug, PartialEq, Eq)]
struct Thing {
    uid: String,
    about: Vec<u8>,
    value: Vec<u8>,
}

fn put(keys: &Keys, about: &[u8], value: &[u8]) -> Result<Put> {
    Ok(Put {
        about: about.to_vec(),
        value: Secret::new(value.to_vec()),
        tags: vec![keys.tag(1, &about[..1])?, keys.tag(2, b"every")?],
        counted: Some(keys.tag(3, b"counted")?),
        is_public: about.ends_with(b"public"),
    })
}

impl Record for Thing {
    fn parse(uid: &str, about: &[u8], value: Secret) -> Result<Thing> {
        Ok(Thing {
            uid: uid.into(),
            about: about.to_vec(),
            value: value.expose().to_vec(),
        })
    }

    fn stored(self, keys: &Keys) -> Result<Put> {
        put(keys, &self.about, &self.value)
    }
}

fn open(path: &Path) -> Result<Repository<Thing>> {
    Repository::open(path, &KEY)
}

fn write(things: &Repository<Thing>, uid: &str, about: Option<&[u8]>) -> Result<()> {
    things.write(|_| {
        let put = about.map(|about| put(things.keys(), about, &about.repeat(20)));
        let entry = Entry {
            uid: uid.into(),
            put: put.transpose()?,
        };
        Ok((vec![entry], ()))
    })
}

fn find(things: &Repository<Thing>, groups: Vec<Vec<Tag>>) -> Vec<String> {
    let query = Query {
        groups,
        limit: 1000,
        ..Query::default()
    };
    let found = things.read(|snapshot| snapshot.objects(&query)).unwrap();
    let whole = found.into_iter().filter_map(|(_, object)| object.ok());
    whole.map(|object| object.uid.clone()).collect()
}

fn about(things: &Repository<Thing>, uid: &str) -> Result<Option<Vec<u8>>> {
    Ok(things.get(uid)?.map(|thing| thing.about.clone()))
}

/// A database of five objects, of which one was changed and one removed, closed.
fn five() -> (tempfile::TempDir, PathBuf) {
    let folder = scratch();
    let path = folder.path().join("things");
    let things = open(&path).unwrap();
    for uid in ["a", "b", "c", "d", "gone"] {
        write(&things, uid, Some(uid.as_bytes())).unwrap();
    }
    write(&things, "gone", None).unwrap();
    things.engine().compact().unwrap();
    (folder, path)
}

fn tampered(sql: &str) -> (tempfile::TempDir, Repository<Thing>) {
    let (folder, path) = five();
    tamper(&open::database_of(&path), sql);
    let things = open(&path).unwrap();
    (folder, things)
}

fn is_damaged(things: &Repository<Thing>, uid: &str) -> bool {
    let error = things.get(uid).err().map(|e| e.to_string());
    error.is_some_and(|e| e.contains("damaged"))
}

#[test]
fn a_flipped_bit_costs_its_object_only() {
    for at in [1, 2, 14, 40, 60] {
        // The first half of the byte becomes the next number.
        let flip = format!(
            "UPDATE objects SET sealed = unhex(substr(hex(sealed), 1, 2 * {at} - 2) ||
             substr('123456789ABCDEF0', instr('0123456789ABCDEF', substr(hex(sealed), 2 * {at} - 1, 1)), 1) ||
             substr(hex(sealed), 2 * {at})) WHERE number = 2"
        );
        let (_folder, things) = tampered(&flip);
        assert!(is_damaged(&things, "b"), "byte {at}");
        assert!(!things.check().unwrap().is_empty());
        for uid in ["a", "c", "d"] {
            assert_eq!(
                about(&things, uid).unwrap().as_deref(),
                Some(uid.as_bytes())
            );
        }
        assert_eq!(find(&things, Vec::new()), ["a", "c", "d"]);
        write(&things, "a", Some(b"again")).unwrap();
        write(&things, "b", Some(b"again")).unwrap_err();
    }
}

#[test]
fn rows_in_each_others_place_are_damaged() {
    let swap = "CREATE TEMP TABLE was AS SELECT * FROM objects;
        UPDATE objects SET sealed = (SELECT sealed FROM was WHERE was.number = 3 - objects.number) WHERE number < 3";
    let (_folder, things) = tampered(swap);
    assert!(is_damaged(&things, "a") && is_damaged(&things, "b"));
    assert_eq!(about(&things, "c").unwrap().unwrap(), b"c");
    let (_folder, things) = tampered("UPDATE objects SET id = zeroblob(16) WHERE number = 1");
    assert!(is_damaged(&things, "a"), "it is missing");
    assert_eq!(find(&things, Vec::new()), ["b", "c", "d"]);
}

#[test]
fn a_removed_row_is_missing_not_absent() {
    let (_folder, things) = tampered("DELETE FROM objects WHERE number = 2");
    assert!(is_damaged(&things, "b"));
    assert_eq!(about(&things, "never").unwrap(), None);
    assert_eq!(about(&things, "gone").unwrap(), None);
    let found = things.check().unwrap().concat();
    assert!(found.contains("1 objects of bucket"), "{found}");
}

#[test]
fn an_older_state_is_refused() {
    let (_folder, path) = five();
    let database = open::database_of(&path);
    tamper(
        &database,
        "CREATE TABLE old AS SELECT * FROM objects; CREATE TABLE old_lists AS SELECT * FROM lists",
    );
    let things = open(&path).unwrap();
    write(&things, "a", Some(b"a revoked")).unwrap();
    write(&things, "b", None).unwrap();
    things.engine().compact().unwrap();
    drop(things);
    // The old rows come back, the removed one too.
    let replay = "REPLACE INTO objects SELECT * FROM old";
    tamper(&database, replay);
    let things = open(&path).unwrap();
    assert!(is_damaged(&things, "a") && is_damaged(&things, "b"));
    assert_eq!(about(&things, "c").unwrap().unwrap(), b"c");
    assert_eq!(find(&things, Vec::new()), ["c", "d"]);
    drop(things);
    // A list that is older than its rows, or gone.
    for (replay, is_refused) in [
        ("DELETE FROM lists", ["c", "d"]),
        (
            "REPLACE INTO lists SELECT bucket + 1, sealed FROM old_lists",
            ["a", "b"],
        ),
    ] {
        tamper(&database, replay);
        let things = open(&path).unwrap();
        assert!(
            is_refused.iter().all(|uid| is_damaged(&things, uid)),
            "{replay}"
        );
        assert!(!things.check().unwrap().is_empty());
    }
}

#[test]
fn a_damaged_list_refuses_its_bucket_only() {
    let (_folder, path) = five();
    let bucket = bucket_of(&Keys::new(&KEY).unwrap().id("c").unwrap());
    let cut = format!("UPDATE lists SET sealed = zeroblob(40) WHERE bucket = {bucket}");
    tamper(&open::database_of(&path), &cut);
    let things = open(&path).unwrap();
    assert!(is_damaged(&things, "c"));
    for uid in ["a", "b", "d"] {
        write(&things, uid, Some(b"new")).unwrap();
    }
    write(&things, "c", Some(b"new")).unwrap_err();
}

#[test]
fn nothing_is_found_by_what_it_has_not() {
    let (_folder, path) = five();
    let tag_of_a = Keys::new(&KEY).unwrap().tag(1, b"a").unwrap();
    // The row of "b" claims what "a" is found by, and "d" is found by nothing any more.
    let forge =
        format!("INSERT INTO tags VALUES ({tag_of_a}, 2); DELETE FROM tags WHERE number = 4");
    tamper(&open::database_of(&path), &forge);
    let things = open(&path).unwrap();
    assert_eq!(find(&things, vec![vec![tag_of_a]]), ["a"]);
    let found = things.check().unwrap().concat();
    assert!(
        found.contains("object d is not found by its attributes"),
        "{found}"
    );
    tamper(
        &open::database_of(&path),
        &format!("INSERT INTO tags VALUES ({tag_of_a}, 3)"),
    );
}

#[test]
fn another_key_or_header_opens_nothing() {
    let (_folder, path) = five();
    let error = Repository::<Thing>::open(&path, &[8; 32])
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("does not open with this token's key"),
        "{error}"
    );
    tamper(
        &open::database_of(&path),
        "UPDATE header SET public = zeroblob(32)",
    );
    let error = open(&path).err().unwrap().to_string();
    assert!(error.contains("its header was changed"), "{error}");
}

#[test]
fn other_databases_are_refused() {
    for (sql, says) in [
        ("PRAGMA user_version = 2", "newer release"),
        ("PRAGMA application_id = 1", "is not a database of mrhsm"),
    ] {
        let (_folder, path) = five();
        tamper(&open::database_of(&path), sql);
        let error = open(&path).err().unwrap().to_string();
        assert!(error.contains(says), "{error}");
    }
    for content in [&b""[..], b"text that is no database, whatever it is called"] {
        let (_folder, path) = five();
        fs::write(open::database_of(&path), content).unwrap();
        assert!(open(&path).is_err());
        assert_eq!(
            fs::read(open::database_of(&path)).unwrap(),
            content,
            "nothing is changed"
        );
    }
    let (_folder, path) = five();
    let database = open::database_of(&path);
    let whole = fs::read(&database).unwrap();
    for pages in 1..whole.len() / 4096 {
        fs::write(&database, &whole[..pages * 4096]).unwrap();
        if let Ok(things) = open(&path) {
            let read = ["a", "b", "c", "d"].map(|uid| about(&things, uid));
            let intact = read
                .iter()
                .all(|about| about.is_err() || matches!(about, Ok(Some(_))));
            assert!(intact, "{pages} pages");
            assert!(things.check().map_or(true, |found| !found.is_empty()));
        }
    }
    let (_folder, path) = five();
    fs::remove_file(open::database_of(&path)).unwrap();
    let error = open(&path).err().unwrap().to_string();
    assert!(error.contains("is missing"), "{error}");
}

/// SQLite ignores a WAL from the first damaged page on, which would restore older states.
#[test]
fn a_flipped_bit_in_the_wal_restores_no_older_state() {
    let (_folder, path) = five();
    let wal = path.with_extension("db-wal");
    let things = open(&path).unwrap();
    write(&things, "new", Some(b"n1")).unwrap();
    drop(things);
    let whole = fs::read(&wal).unwrap();
    for at in (0..whole.len()).step_by(211) {
        let mut flipped = whole.clone();
        flipped[at] ^= 4;
        fs::write(&wal, &flipped).unwrap();
        match open(&path).and_then(|things| about(&things, "new")) {
            Ok(now) => assert_eq!(now.as_deref(), Some(&b"n1"[..]), "byte {at}"),
            Err(e) => assert!(e.to_string().contains("damaged"), "{e}"),
        }
    }
    for length in (0..whole.len()).step_by(997) {
        fs::write(&wal, &whole[..length]).unwrap();
        assert!(open(&path).is_err(), "cut at {length}");
    }
    fs::write(&wal, &whole).unwrap();
    assert_eq!(about(&open(&path).unwrap(), "new").unwrap().unwrap(), b"n1");
}

#[test]
fn a_wal_that_is_used_again_restores_no_older_state() {
    let (_folder, path) = five();
    let wal = path.with_extension("db-wal");
    let things = open(&path).unwrap();
    let mut n = 0;
    while things.engine().info().unwrap().wal_bytes == 0 || n < 20 {
        n += 1;
        write(&things, &format!("{n}"), Some(&[1; 100_000])).unwrap();
    }
    write(&things, "new", Some(b"n1")).unwrap();
    drop(things);
    let whole = fs::read(&wal).unwrap();
    assert!(whole.len() as u64 > WORTH_MOVING, "{}", whole.len());
    for at in [0, 3, 40, 2000, 4000, 9000, 20_000, 50_000, 4_000_000] {
        let mut flipped = whole.clone();
        flipped[at] ^= 4;
        fs::write(&wal, &flipped).unwrap();
        match open(&path).and_then(|things| about(&things, "new")) {
            Ok(now) => assert_eq!(now.as_deref(), Some(&b"n1"[..]), "byte {at}"),
            Err(e) => assert!(e.to_string().contains("damaged"), "{e}"),
        }
    }
    fs::write(&wal, &whole).unwrap();
    let things = open(&path).unwrap();
    assert_eq!(about(&things, "new").unwrap().unwrap(), b"n1");
    assert_eq!(things.check().unwrap(), Vec::<String>::new());
}

#[test]
fn what_could_not_be_truncated_is_truncated_by_the_next_change() {
    let (_folder, path) = five();
    let (things, reader) = (open(&path).unwrap(), open(&path).unwrap());
    write(&things, "b", Some(b"b secret")).unwrap();
    let id = things.keys().id("b").unwrap();
    let sealed = things
        .read(|snapshot| Ok::<_, Error>(snapshot.rows.get(&id)?.0.unwrap().sealed))
        .unwrap();
    let is_there = || {
        let files = ["db", "db-wal"].map(|e| fs::read(path.with_extension(e)).unwrap());
        let bytes = files.concat();
        bytes.windows(40).any(|window| window == &sealed[..40])
    };
    reader
        .read(|_| {
            write(&things, "b", None)?;
            assert!(is_there());
            Ok::<_, Error>(())
        })
        .unwrap();
    write(&reader, "z", Some(b"z")).unwrap();
    assert!(!is_there());
}

#[test]
fn what_a_killed_writer_appended_is_read_or_gone() {
    let (_folder, path) = five();
    let reader = open(&path).unwrap();
    assert!(about(&reader, "new").unwrap().is_none());
    let (mut at, mut last) = (0, None);
    loop {
        let written = run(Some((at, End::Killed)), || {
            write(&open(&path)?, "new", Some(format!("n{at}").as_bytes()))
        });
        let now = about(&reader, "new").unwrap();
        assert_eq!(now, about(&open(&path).unwrap(), "new").unwrap());
        let new = Some(format!("n{at}").into_bytes());
        assert!(now == last || now == new, "step {at}: {now:?}");
        if written.0.is_some() {
            assert_eq!(now, new);
            break;
        }
        (at, last) = (at + 1, now);
    }
    assert!(at > 3, "{at} steps");
}

/// A mapped file would be a SIGBUS for the host.
#[test]
fn a_file_that_others_truncate_is_an_error_and_no_signal() {
    for extension in ["db", "db-wal", "lock"] {
        let (_folder, path) = five();
        let things = open(&path).unwrap();
        write(&things, "e", Some(b"e")).unwrap();
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        assert!(!maps.contains(path.to_str().unwrap()), "a file is mapped");
        fs::File::options()
            .write(true)
            .open(path.with_extension(extension))
            .unwrap()
            .set_len(0)
            .unwrap();
        for uid in ["a", "b", "e"] {
            let now = about(&things, uid);
            assert!(!matches!(now, Ok(None)), "{extension}: {uid} is absent");
        }
        let _ = write(&things, "f", Some(b"f"));
        let _ = things.check();
    }
}

#[test]
fn what_is_removed_is_gone_from_the_files() {
    let (_folder, path) = five();
    let things = open(&path).unwrap();
    let bytes = || {
        ["db", "db-wal"]
            .map(|e| fs::read(path.with_extension(e)).unwrap())
            .concat()
    };
    let id = things.keys().id("b").unwrap();
    let is_there = |id: &[u8]| bytes().windows(id.len()).any(|window| window == id);
    let sealed = things
        .read(|snapshot| Ok::<_, Error>(snapshot.rows.get(&id)?.0.unwrap().sealed))
        .unwrap();
    assert!(is_there(&id) && is_there(&sealed[..40]));
    write(&things, "b", Some(b"b changed")).unwrap();
    assert!(is_there(&id) && !is_there(&sealed[..40]) && !is_there(&sealed[30..70]));
    write(&things, "b", None).unwrap();
    assert!(!is_there(&id));
}

#[test]
fn a_backup_opens_and_has_everything() {
    let (folder, path) = five();
    let things = open(&path).unwrap();
    write(&things, "e", Some(b"e")).unwrap();
    let backup = folder.path().join("backup");
    things.engine().backup(&backup).unwrap();
    things.engine().backup(&backup).unwrap_err();
    write(&things, "f", Some(b"f")).unwrap();
    let restored = folder.path().join("restored");
    fs::rename(&backup, open::database_of(&restored)).unwrap();
    let copy = open(&restored).unwrap();
    assert_eq!(find(&copy, Vec::new()), ["a", "b", "c", "d", "e"]);
    assert_eq!(copy.check().unwrap(), Vec::<String>::new());
    write(&copy, "g", Some(b"g")).unwrap();
    assert_eq!(about(&things, "g").unwrap(), None);
}

#[test]
fn a_full_wal_is_moved_into_the_database() {
    let folder = scratch();
    let path = folder.path().join("things");
    let (things, other) = (open(&path).unwrap(), open(&path).unwrap());
    for n in 0..400 {
        write(&things, &format!("{n}"), Some(&[n as u8; 100])).unwrap();
        if n % 37 == 0 {
            assert_eq!(
                about(&other, &format!("{n}")).unwrap().unwrap(),
                [n as u8; 100]
            );
        }
    }
    let info = things.engine().info().unwrap();
    assert!(
        info.objects == 400 && info.wal_bytes < WORTH_MOVING + 400_000,
        "{info:?}"
    );
    for n in 0..390 {
        write(&other, &format!("{n}"), None).unwrap();
    }
    assert_eq!(find(&things, Vec::new()).len(), 10);
    let before = things.engine().info().unwrap().bytes;
    things.engine().compact().unwrap();
    let after = other.engine().info().unwrap();
    assert!(
        after.bytes < before && after.free_bytes == 0,
        "{before}, {after:?}"
    );
    assert_eq!(other.check().unwrap(), Vec::<String>::new());
}

#[test]
fn finds_by_groups_of_tags_in_order_and_by_pages() {
    let folder = scratch();
    let things = open(&folder.path().join("things")).unwrap();
    let names: Vec<String> = (0..60)
        .map(|n| format!("{}{n}", ["x", "y", "z"][n % 3]))
        .collect();
    for name in &names {
        write(&things, name, Some(name.as_bytes())).unwrap();
    }
    let tag = |field, value: &[u8]| things.keys().tag(field, value).unwrap();
    let (x, y, every) = (tag(1, b"x"), tag(1, b"y"), tag(2, b"every"));
    for groups in [
        vec![],
        vec![vec![x]],
        vec![vec![x, y]],
        vec![vec![every], vec![x, y]],
        vec![vec![x, y], vec![y], vec![every]],
        vec![vec![x], vec![y]],
        vec![vec![tag(1, b"none")], vec![every]],
    ] {
        let all: Vec<i64> = (1..=60).collect();
        let mut expected = all;
        expected.retain(|number| {
            let own = [[x, every], [y, every], [tag(1, b"z"), every]][(*number as usize - 1) % 3];
            groups
                .iter()
                .all(|group| group.iter().any(|tag| own.contains(tag)))
        });
        for newest_first in [false, true] {
            if newest_first {
                expected.reverse();
            }
            let mut query = Query {
                groups: groups.clone(),
                newest_first,
                after: None,
                limit: 7,
            };
            let mut found = Vec::new();
            loop {
                let page = things.read(|snapshot| snapshot.find(&query)).unwrap();
                let Some(last) = page.last() else { break };
                query.after = Some(*last);
                found.extend(page);
            }
            assert_eq!(found, expected, "{groups:?}");
        }
    }
}

#[test]
fn usage_is_counted_with_each_change() {
    let (_folder, path) = five();
    let things = open(&path).unwrap();
    let usage = || {
        let tag = things.keys().tag(3, b"counted")?;
        things.read(|snapshot| snapshot.usage(tag))
    };
    let before = usage().unwrap();
    assert_eq!(before.objects, 4);
    write(&things, "e", Some(&[1; 50])).unwrap();
    write(&things, "e", Some(&[1; 150])).unwrap();
    assert!(usage().unwrap().bytes > before.bytes + 150 * 21);
    write(&things, "e", None).unwrap();
    assert_eq!(usage().unwrap(), before);
}

#[test]
fn public_objects_are_read_without_the_key() {
    let (_folder, path) = five();
    let things = open(&path).unwrap();
    write(&things, "p", Some(b"p public")).unwrap();
    write(&things, "q", Some(b"q public")).unwrap();
    write(&things, "q", Some(b"q")).unwrap();
    assert_eq!(public(&path), ["p"]);
    assert_eq!(about(&things, "p").unwrap().unwrap(), b"p public");
}

#[test]
fn what_earlier_builds_sealed_otherwise_is_sealed_anew() {
    let (_folder, path) = five();
    let things = open(&path).unwrap();
    for (uid, about, is_public) in [("p", &b"p public"[..], false), ("s", b"s", true)] {
        let entry = || {
            let mut put = put(things.keys(), about, b"value")?;
            put.is_public = is_public;
            Ok::<_, Error>(Entry {
                uid: uid.into(),
                put: Some(put),
            })
        };
        things
            .write(|_| Ok::<_, Error>((vec![entry()?], ())))
            .unwrap();
    }
    assert_eq!(public(&path), ["s"]);
    things.take_added().unwrap();
    assert_eq!(public(&path), ["p"]);
    assert_eq!(find(&things, Vec::new()), ["a", "b", "c", "d", "p", "s"]);
    assert_eq!(things.check().unwrap(), Vec::<String>::new());
}

fn public(path: &Path) -> Vec<String> {
    let objects = PublicObjects::open(path).unwrap().unwrap();
    let contents = objects.all().unwrap().into_iter();
    contents.map(|content| content.uid).collect()
}

#[test]
fn public_objects_are_added_without_the_key() {
    let (_folder, path) = five();
    let added = |uid: &str, about: &[u8]| Content {
        uid: uid.into(),
        counted: None,
        tags: Vec::new(),
        about: about.to_vec(),
        value: Secret::new(b"value".to_vec()),
    };
    let objects = PublicObjects::open(&path).unwrap().unwrap();
    let add = |content: Content| {
        objects.change(|all| {
            let value = content.value.duplicate();
            all.push(added(&content.uid, &content.about));
            all.last_mut().unwrap().value = value;
            Ok(())
        })
    };
    add(added("new", b"n public")).unwrap();
    add(added("other", b"o public")).unwrap();
    add(added("a", b"x public")).unwrap();
    objects.change(|all| Ok(all.remove(1))).unwrap();
    assert_eq!(public(&path), ["new", "a"]);
    let mut large = added("large", b"l public");
    large.value = Secret::new(vec![0; 5 << 20]);
    assert_eq!(add(large).unwrap_err().rv(), crate::ck::CKR_DEVICE_MEMORY);
    let things = open(&path).unwrap();
    things.take_added().unwrap();
    assert_eq!(find(&things, Vec::new()), ["a", "b", "c", "d", "new"]);
    assert_eq!(about(&things, "new").unwrap().unwrap(), b"n public");
    assert_eq!(about(&things, "a").unwrap().unwrap(), b"a");
    let tag = things.keys().tag(1, b"n").unwrap();
    assert_eq!(find(&things, vec![vec![tag]]), ["new"]);
    assert_eq!(public(&path), ["new"]);
    assert_eq!(things.check().unwrap(), Vec::<String>::new());
    assert!(
        PublicObjects::open(&path.with_file_name("none"))
            .unwrap()
            .is_none()
    );
}

#[test]
fn a_process_that_waits_forever_is_not_waited_for() {
    let (_folder, path) = five();
    let things = open(&path).unwrap();
    let _stuck = open::lock(&path).unwrap();
    let start = std::time::Instant::now();
    let error = write(&things, "a", Some(b"x")).unwrap_err().to_string();
    assert!(
        error.contains("another process has been writing"),
        "{error}"
    );
    assert!(start.elapsed() < std::time::Duration::from_secs(10));
    assert_eq!(
        about(&things, "a").unwrap().unwrap(),
        b"a",
        "reading goes on"
    );
}

/// Identifier of an object, and what was stored about it.
type OldEntry<'a> = (&'a str, Option<&'a [u8]>);

/// A journal as earlier builds wrote it.
fn journal(records: &[&[OldEntry<'_>]]) -> Vec<u8> {
    let sealer = Sealer::new(&KEY).unwrap();
    let mut journal = journal::MAGIC.to_vec();
    for (sequence, entries) in (1u64..).zip([&[][..]].iter().chain(records)) {
        let mut content = Vec::new();
        for (uid, about) in *entries {
            content.push(u8::from(about.is_some()));
            content.extend((uid.len() as u16).to_be_bytes());
            content.extend(uid.as_bytes());
            for part in about
                .iter()
                .flat_map(|about| [about.to_vec(), about.repeat(20)])
            {
                content.extend((part.len() as u32).to_be_bytes());
                content.extend(part);
            }
        }
        let mut record = b"REC1".to_vec();
        record.extend(((content.len() + crate::crypto::seal::OVERHEAD) as u32).to_be_bytes());
        record.extend(sequence.to_be_bytes());
        let check = Sha256::digest(&record);
        record.extend(&check[..4]);
        let sealed = sealer.seal(&record, &content).unwrap();
        journal.extend([record, sealed].concat());
    }
    journal
}

/// A change, a removal and a transaction of two objects.
fn old_store() -> (tempfile::TempDir, PathBuf, Vec<u8>) {
    let folder = scratch();
    let path = folder.path().join("things");
    let journal = journal(&[
        &[("one", Some(b"1"))],
        &[("two", Some(b"2")), ("three", Some(b"3 public"))],
        &[("gone", Some(b"g"))],
        &[("one", Some(b"1 changed"))],
        &[("gone", None)],
    ]);
    fs::write(&path, &journal).unwrap();
    (folder, path, journal)
}

fn content(things: &Repository<Thing>) -> BTreeMap<String, Vec<u8>> {
    assert_eq!(things.check().unwrap(), Vec::<String>::new());
    let uids = find(things, Vec::new());
    uids.into_iter()
        .map(|uid| {
            let thing = things.get(&uid).unwrap().unwrap();
            assert_eq!(thing.value, thing.about.repeat(20));
            (uid, thing.about.clone())
        })
        .collect()
}

#[test]
fn a_journal_is_taken_over() {
    let (_folder, path, _) = old_store();
    let things = open(&path).unwrap();
    assert_eq!(
        find(&things, Vec::new()),
        ["one", "two", "three"],
        "in the order of their age"
    );
    let expected = [("one", "1 changed"), ("two", "2"), ("three", "3 public")];
    let expected: BTreeMap<String, Vec<u8>> = expected
        .map(|(uid, about)| (uid.into(), about.into()))
        .into();
    assert_eq!(content(&things), expected);
    assert_eq!(public(&path), ["three"]);
    // An earlier build finds no journal, and does not make one.
    let tombstone = fs::read(&path).unwrap();
    assert!(tombstone.starts_with(b"The objects are ") && !tombstone.starts_with(journal::MAGIC));
    assert!(!path.with_extension("damaged").exists());
    drop(things);
    assert_eq!(content(&open(&path).unwrap()), expected);
}

#[test]
fn a_taking_over_that_ends_at_any_step_loses_nothing() {
    let (_folder, path, journal) = old_store();
    let (done, steps) = run(None, || open(&path).map(drop));
    done.unwrap().unwrap();
    let expected = content(&open(&path).unwrap());
    assert!(steps > 5, "{steps}");
    for at in 0..steps {
        for end in [End::Killed, End::Error(libc::ENOSPC)] {
            let (_folder, path, _) = old_store();
            fs::write(&path, &journal).unwrap();
            let (result, _) = run(Some((at, end)), || open(&path).map(drop));
            if result.is_none_or(|result| result.is_err()) && fs::read(&path).unwrap() == journal {
                // An earlier build goes on with it.
                let (_folder, path, _) = old_store();
                fs::write(&path, &journal).unwrap();
            }
            let things = open(&path).unwrap();
            assert_eq!(content(&things), expected, "step {at}, {end:?}");
            write(&things, "new", Some(b"new")).unwrap();
            let folder = path.parent().unwrap();
            let left: Vec<_> = fs::read_dir(folder)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .filter(|name| name.contains("new") || name.contains("tombstone"))
                .collect();
            assert_eq!(left, Vec::<String>::new(), "step {at}, {end:?}");
        }
    }
}

#[test]
fn a_damaged_journal_is_kept_aside() {
    let (_folder, path, journal) = old_store();
    let second = journal
        .windows(4)
        .enumerate()
        .filter(|(_, w)| *w == b"REC1")
        .nth(2)
        .unwrap()
        .0;
    for at in [second, second + 9, second + 25, second + 60] {
        let _ = fs::remove_file(path.with_extension("damaged"));
        let _ = fs::remove_file(open::database_of(&path));
        let mut damaged = journal.clone();
        damaged[at] ^= 1;
        fs::write(&path, &damaged).unwrap();
        let things = open(&path).unwrap();
        assert_eq!(find(&things, Vec::new()), ["one"], "byte {at}");
        assert_eq!(fs::read(path.with_extension("damaged")).unwrap(), damaged);
    }
    // A record that was cut short was never confirmed.
    let _ = fs::remove_file(path.with_extension("damaged"));
    let _ = fs::remove_file(open::database_of(&path));
    fs::write(&path, &journal[..journal.len() - 3]).unwrap();
    assert_eq!(
        find(&open(&path).unwrap(), Vec::new()),
        ["one", "two", "three", "gone"]
    );
    assert!(!path.with_extension("damaged").exists());
    // A journal of another token is left alone.
    let (_folder, path, journal) = old_store();
    assert!(Repository::<Thing>::open(&path, &[8; 32]).is_err());
    assert_eq!(fs::read(&path).unwrap(), journal);
}

/// A daemon that closes all descriptors and opens its own finds none of ours in them.
#[test]
fn nothing_is_written_into_a_file_of_the_host() {
    let (folder, path) = five();
    let things = open(&path).unwrap();
    let ours: Vec<i32> = fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| {
            let entry = entry.unwrap();
            let target = fs::read_link(entry.path()).ok()?;
            target
                .starts_with(folder.path())
                .then(|| entry.file_name().to_str()?.parse().ok())?
        })
        .collect();
    assert!(
        ours.len() >= 5 && ours.iter().all(|descriptor| *descriptor > 2),
        "{ours:?}"
    );
    let host = folder.path().join("host");
    let mut hosts = fs::File::create(&host).unwrap();
    hosts.write_all(b"the host's own").unwrap();
    for descriptor in &ours {
        host::take_over(*descriptor, &hosts);
    }
    write(&things, "e", Some(b"e")).unwrap();
    assert_eq!(about(&things, "e").unwrap().unwrap(), b"e");
    assert_eq!(fs::read(&host).unwrap(), b"the host's own");
    assert_eq!(about(&open(&path).unwrap(), "e").unwrap().unwrap(), b"e");
    drop(things);
    let left = ours.iter().filter(|descriptor| {
        fs::read_link(format!("/proc/self/fd/{descriptor}")).is_ok_and(|target| target == host)
    });
    assert_eq!(
        left.count(),
        ours.len(),
        "the host's descriptors are not closed"
    );
}
