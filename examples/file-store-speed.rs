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

fn main() -> Result<()> {
    let objects = std::env::args()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .unwrap_or(100_000);
    // Beside the build, not in /tmp, which may be memory: syncing is what is measured.
    let folder = std::env::current_exe()
        .ok()
        .and_then(|p| Some(p.parent()?.join("file-store-speed.objects")))
        .expect("a folder");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("objects");
    let key = [1; 32];
    let store = FileStore::open(&path, &key)?;
    timed("create", objects, |n| store.create(&spec(n)))?;
    println!(
        "the file has {:.1} MB",
        std::fs::metadata(&path).map_or(0, |m| m.len()) as f64 / 1e6
    );
    drop(store);
    let start = Instant::now();
    let store = FileStore::open(&path, &key)?;
    println!(
        "open {objects} objects: {:.3} s",
        start.elapsed().as_secs_f64()
    );
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
