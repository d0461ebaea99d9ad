//! Speed of the file store with many objects: `cargo run --release --example file-store-speed [OBJECTS]`

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use mrhsm_pkcs11::error::Result;
use mrhsm_pkcs11::store::file::FileStore;
use mrhsm_pkcs11::store::{Algorithm, Changes, Class, Filter, KeyStore, Spec, Uid, Usage};

fn spec(number: usize) -> Spec {
    Spec {
        class: Class::SecretKey,
        algorithm: Algorithm::Aes,
        bits: 256,
        usage: Usage::ENCRYPT | Usage::DECRYPT,
        name: None,
        group: None,
        label: format!("key {number}").into(),
        id: (number as u32).to_be_bytes().into(),
        sensitive: true,
        extractable: false,
        properties: BTreeMap::from([("priv".into(), "1".into())]),
    }
}

fn tell(what: &str, times: usize, took: Duration) {
    println!(
        "{what:32} {:>10.1} µs each, {:>9.0} per second",
        took.as_secs_f64() * 1e6 / times as f64,
        times as f64 / took.as_secs_f64()
    );
}

fn timed<T>(what: &str, times: usize, mut work: impl FnMut(usize) -> Result<T>) -> Result<()> {
    let start = Instant::now();
    for n in 0..times {
        work(n)?;
    }
    tell(what, times, start.elapsed());
    Ok(())
}

/// Opens the store in a separate process, and finds one object.
fn first_find(objects: usize) {
    let program = std::env::current_exe().expect("this program");
    let ran = std::process::Command::new(program)
        .args([objects.to_string().as_str(), "first"])
        .status();
    assert!(ran.is_ok_and(|status| status.success()));
}

/// Resident memory of this process, in MB.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
    kib.unwrap_or_default() / 1e3
}

fn main() -> Result<()> {
    let objects = std::env::args()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .unwrap_or(100_000);
    // Beside the build, not in /tmp, which may be memory: syncing is what is measured. MRHSM_SPEED_DIR says otherwise.
    let folder = std::env::var_os("MRHSM_SPEED_DIR").map_or_else(
        || std::env::current_exe().expect("this program"),
        |folder| std::path::PathBuf::from(folder).join("program"),
    );
    let folder = folder.with_file_name("file-store-speed.objects");
    let path = folder.join("objects");
    let key = [1; 32];
    if std::env::args().nth(2).as_deref() == Some("first") {
        let (before, start) = (resident(), Instant::now());
        let store = FileStore::open(&path, &key)?;
        let last = Filter {
            label: Some(format!("key {}", objects - 1).into()),
            ..Filter::default()
        };
        assert_eq!(store.locate(&last)?.len(), 1);
        println!(
            "open and find one of {objects}: {:.2} ms, {:.1} MB",
            start.elapsed().as_secs_f64() * 1e3,
            resident() - before
        );
        return Ok(());
    }
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    let store = FileStore::open(&path, &key)?;
    timed("create", objects, |n| store.create(&spec(n)))?;
    let length = |path: std::fs::DirEntry| path.metadata().map_or(0, |about| about.len());
    let files = std::fs::read_dir(&folder).expect("the folder").flatten();
    println!(
        "the files have {:.1} MB",
        files.map(length).sum::<u64>() as f64 / 1e6
    );
    drop(store);
    first_find(objects);
    let store = FileStore::open(&path, &key)?;
    // Strides that are coprime to the count visit objects in no order.
    let by_label = |n: usize| Filter {
        label: Some(format!("key {}", n * 7919 % objects).into()),
        ..Filter::default()
    };
    let by_id = |n: usize| Filter {
        id: Some(((n * 7919 % objects) as u32).to_be_bytes().into()),
        ..Filter::default()
    };
    let times = 20_000;
    timed("find by label", times, |n| store.locate(&by_label(n)))?;
    timed("find by ID, and its meta", times, |n| {
        store.meta(&store.locate(&by_id(n))?)
    })?;
    let uids: Vec<Uid> = store.locate(&Filter::default())?;
    timed("fetch a value", times, |n| {
        store.fetch(&uids[n * 7919 % uids.len()])
    })?;
    let renamed = Changes {
        label: Some(b"renamed".to_vec()),
        ..Changes::default()
    };
    timed("change a label", 2_000, |n| {
        store.update(&uids[n * 7919 % uids.len()], &renamed)
    })?;
    timed("destroy", 2_000, |n| store.destroy(&uids[n]))?;
    let _ = std::fs::remove_dir_all(&folder);
    Ok(())
}
