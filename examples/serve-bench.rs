//! Measures `mrhsm serve`: requests per second, p50 and p99 over 1 and 8 connections, peak memory. `serve-bench [OBJECTS]`
//! (100000 unless said), built with `--release` beside `mrhsm`; the server is a process of its own, its directory in memory. What
//! waits for the disk is measured with a second one, whose directory is beside the program.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use mrhsm_pkcs11::error::Result;
use mrhsm_pkcs11::kmip::*;
use mrhsm_pkcs11::net::{Client, Config, Host, Identity, Tls, Trust};
use mrhsm_pkcs11::version::Version;

const TIME: Duration = Duration::from_secs(3);
/// So many objects go into one message.
const BATCH: usize = 200;

/// The server, ended when this is dropped.
struct Running {
    process: Child,
    port: u16,
    dir: PathBuf,
}

/// The command, which is beside the folder of this example.
fn mrhsm() -> PathBuf {
    let example = std::env::current_exe().unwrap();
    example.parent().unwrap().with_file_name("mrhsm")
}

impl Running {
    fn start(dir: &Path) -> Running {
        let mut process = Command::new(mrhsm())
            .args(["serve", "-listen", "127.0.0.1:0", "-dir"])
            .arg(dir)
            .stdout(Stdio::piped())
            .spawn()
            .expect("build mrhsm with --release first");
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = lines.map_while(std::result::Result::ok).find_map(|line| {
            let address = line.strip_prefix("Listening on ")?.to_owned();
            address.rsplit(':').next()?.parse().ok()
        });
        Running {
            process,
            port: port.expect("a port"),
            dir: dir.to_owned(),
        }
    }

    fn client(&self) -> Client {
        self.client_named("client")
    }

    fn client_named(&self, name: &str) -> Client {
        let read = |name: String| std::fs::read(self.dir.join(name)).unwrap();
        let (certificate, key) = (read(format!("{name}.pem")), read(format!("{name}.key")));
        let identity = Identity::from_pem(&certificate, &key, None).unwrap();
        let tls = Tls::new(Some(&identity), &Trust::Pem(read("ca.pem".into())), None).unwrap();
        let host = Host {
            name: "localhost".into(),
            port: self.port,
        };
        let deadline = Duration::from_secs(120);
        Client::new(Config {
            version: Some(Version::V1_4),
            deadline,
            ..Config::new(vec![host], tls)
        })
    }

    /// The most memory it ever had, in MiB.
    fn peak(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .unwrap();
        line.trim()
            .trim_end_matches(" kB")
            .trim()
            .parse::<u64>()
            .unwrap()
            / 1024
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn key(name: String, mask: CryptographicUsageMask) -> CreateRequest {
    let attributes = Attributes::new()
        .with(AttributeValue::CryptographicAlgorithm(
            CryptographicAlgorithm::AES,
        ))
        .with(AttributeValue::CryptographicLength(256))
        .with(AttributeValue::CryptographicUsageMask(mask))
        .with(AttributeValue::Name(name.as_str().into()))
        .with(AttributeValue::ObjectGroup("bench".into()))
        .with(AttributeValue::ActivationDate(
            mrhsm_pkcs11::ttlv::DateTime(0),
        ));
    CreateRequest {
        object_type: ObjectType::SYMMETRIC_KEY,
        template_attribute: attributes.into(),
        ..CreateRequest::default()
    }
}

fn signer(server: &Client) -> String {
    let common = Attributes::new()
        .with(AttributeValue::CryptographicAlgorithm(
            CryptographicAlgorithm::EC,
        ))
        .with(AttributeValue::CryptographicLength(256))
        .with(AttributeValue::ActivationDate(
            mrhsm_pkcs11::ttlv::DateTime(0),
        ));
    let usage = |mask| {
        Some(
            Attributes::new()
                .with(AttributeValue::CryptographicUsageMask(mask))
                .into(),
        )
    };
    let request = CreateKeyPairRequest {
        common: Some(common.into()),
        private_key: usage(CryptographicUsageMask::SIGN),
        public_key: usage(CryptographicUsageMask::VERIFY),
        ..CreateKeyPairRequest::default()
    };
    server
        .request(&request)
        .unwrap()
        .private_key_unique_identifier
}

/// Does the same over so many connections, each in its thread, and prints what it cost.
fn measure(running: &Running, name: &str, work: impl Fn(&Client, usize) -> Result<()> + Sync) {
    for connections in [1, 8] {
        let barrier = Arc::new(Barrier::new(connections));
        let mut times: Vec<Duration> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..connections)
                .map(|thread| {
                    let (barrier, work) = (barrier.clone(), &work);
                    scope.spawn(move || {
                        let client = running.client();
                        work(&client, thread).unwrap();
                        barrier.wait();
                        let start = Instant::now();
                        let mut times = Vec::new();
                        while start.elapsed() < TIME {
                            let before = Instant::now();
                            work(&client, thread + connections * times.len()).unwrap();
                            times.push(before.elapsed());
                        }
                        times
                    })
                })
                .collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap())
                .collect()
        });
        times.sort_unstable();
        let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_micros();
        let rate = times.len() as f64 / TIME.as_secs_f64();
        println!(
            "{name:<24} {connections} connections  {rate:>8.0}/s  p50 {:>6} µs  p99 {:>6} µs",
            at(0.5),
            at(0.99)
        );
    }
}

fn main() {
    let objects: usize = std::env::args()
        .nth(1)
        .map_or(100_000, |n| n.parse().expect("a number of objects"));
    let dir = PathBuf::from(format!("/dev/shm/serve-bench-{}", std::process::id()));
    let running = Running::start(&dir);
    let client = running.client();
    let uid = client
        .request(&key("one".into(), CryptographicUsageMask::ENCRYPT))
        .unwrap()
        .unique_identifier;
    let pair = signer(&client);
    let id = |uid: &str| Some(UniqueIdentifier::from(uid));

    measure(&running, "Get", |client, _| {
        client
            .request(&GetRequest {
                unique_identifier: id(&uid),
                ..GetRequest::default()
            })
            .map(drop)
    });
    let parameters = CryptographicParameters {
        block_cipher_mode: Some(BlockCipherMode::GCM),
        cryptographic_algorithm: Some(CryptographicAlgorithm::AES),
        tag_length: Some(16),
        ..CryptographicParameters::default()
    };
    measure(&running, "Encrypt 1 KiB AES-GCM", |client, _| {
        let request = EncryptRequest {
            unique_identifier: id(&uid),
            cryptographic_parameters: Some(parameters.clone()),
            data: Some(vec![7; 1024].into()),
            ..EncryptRequest::default()
        };
        client.request(&request).map(drop)
    });
    measure(&running, "Sign P-256", |client, _| {
        let request = SignRequest {
            unique_identifier: id(&pair),
            data: Some(vec![7; 32].into()),
            ..SignRequest::default()
        };
        client.request(&request).map(drop)
    });

    let before = Instant::now();
    for first in (0..objects).step_by(BATCH) {
        let names = first..(first + BATCH).min(objects);
        let requests: Vec<_> = names
            .map(|i| key(format!("key-{i}"), CryptographicUsageMask::ENCRYPT))
            .collect();
        assert!(
            client
                .call()
                .batch(&requests)
                .unwrap()
                .iter()
                .all(|answer| matches!(answer, Some(Ok(_))))
        );
    }
    let taken = before.elapsed();
    println!(
        "{objects} keys made in {:.1} s: {:.0}/s",
        taken.as_secs_f64(),
        objects as f64 / taken.as_secs_f64()
    );
    let locate = |attributes: Attributes| LocateRequest {
        maximum_items: Some(10),
        attributes,
        ..LocateRequest::default()
    };
    measure(&running, "Locate by name", |client, i| {
        let name = format!("key-{}", i * 7919 % objects.max(1));
        let found = client.request(&locate(
            Attributes::new().with(AttributeValue::Name(name.as_str().into())),
        ))?;
        assert_eq!(found.unique_identifiers.len(), 1);
        Ok(())
    });
    measure(&running, "Locate all of a group", |client, _| {
        client
            .request(&locate(
                Attributes::new().with(AttributeValue::ObjectGroup("bench".into())),
            ))
            .map(drop)
    });
    measure(&running, "Locate all, by State", |client, _| {
        client
            .request(&locate(
                Attributes::new().with(AttributeValue::State(State::ACTIVE)),
            ))
            .map(drop)
    });
    beside_searches(&running);
    println!("peak memory with {objects} keys: {} MiB", running.peak());
    drop((client, running));
    let before = Instant::now();
    let running = Running::start(&dir);
    println!(
        "start with {objects} keys: {:.2} s, {} MiB",
        before.elapsed().as_secs_f64(),
        running.peak()
    );
    drop(running);
    let _ = std::fs::remove_dir_all(&dir);
    on_disk();
}

/// Get of a client, alone and while 16 connections of another search by a date, which is in no
/// index and that no object has.
fn beside_searches(running: &Running) {
    let search = LocateRequest {
        attributes: Attributes::new()
            .with(AttributeValue::InitialDate(mrhsm_pkcs11::ttlv::DateTime(1))),
        ..LocateRequest::default()
    };
    let issued = Command::new(mrhsm())
        .args(["certs", "-name", "other", "-dir"])
        .arg(&running.dir)
        .status();
    assert!(issued.unwrap().success());
    let client = running.client_named("other");
    let made = client
        .request(&key("other".into(), CryptographicUsageMask::ENCRYPT))
        .unwrap();
    let get = GetRequest {
        unique_identifier: Some(made.unique_identifier.as_str().into()),
        ..GetRequest::default()
    };
    for searches in [0, 16] {
        let (done, found) = (AtomicBool::new(false), AtomicUsize::new(0));
        let mut times = std::thread::scope(|scope| {
            for _ in 0..searches {
                scope.spawn(|| {
                    let client = running.client();
                    while !done.load(Relaxed) {
                        found.fetch_add(usize::from(client.request(&search).is_ok()), Relaxed);
                    }
                });
            }
            std::thread::sleep(TIME / 6);
            let (start, mut times) = (Instant::now(), Vec::new());
            while start.elapsed() < TIME {
                let before = Instant::now();
                client.request(&get).unwrap();
                times.push(before.elapsed());
            }
            done.store(true, Relaxed);
            times
        });
        times.sort_unstable();
        let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_micros();
        println!(
            "Get beside {searches:>2} searches: p50 {:>6} µs  p99 {:>6} µs  longest {:>8} µs, {} searches done",
            at(0.5),
            at(0.99),
            at(1.0),
            found.into_inner()
        );
    }
}

/// Writing, and reading while another writes.
fn on_disk() {
    let dir = std::env::current_exe()
        .unwrap()
        .parent()
        .unwrap()
        .join("serve-bench.objects");
    let _ = std::fs::remove_dir_all(&dir);
    let running = Running::start(&dir);
    let create = |client: &Client, _| {
        client
            .request(&key("new".into(), CryptographicUsageMask::ENCRYPT))
            .map(drop)
    };
    measure(&running, "Create, on disk", create);
    let client = running.client();
    let uid = client
        .request(&key("one".into(), CryptographicUsageMask::ENCRYPT))
        .unwrap()
        .unique_identifier;
    let get = |client: &Client, _| {
        let request = GetRequest {
            unique_identifier: Some(uid.as_str().into()),
            ..GetRequest::default()
        };
        client.request(&request).map(drop)
    };
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                create(&client, 0).unwrap();
            }
        });
        measure(&running, "Get, another creates", get);
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    drop(running);
    let _ = std::fs::remove_dir_all(&dir);
}
