//! Several servers on one database.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use mrhsm_pkcs11::kmip::*;
use mrhsm_pkcs11::net::Client;
use mrhsm_pkcs11::secret::Secret;
use mrhsm_pkcs11::version::Version;
use tempfile::TempDir;

use crate::durable::fetch;
use crate::serve::{Serve, active, id, locate, scratch, sql, value};

/// Directories of servers that share a database: copies of one, as an administrator makes them for other machines.
pub struct Cluster {
    folder: TempDir,
    dirs: Vec<PathBuf>,
    store: String,
}

impl Cluster {
    pub fn new(servers: usize) -> Cluster {
        let folder = scratch();
        let first = folder.path().join(format!("{}-0", name_of(&folder)));
        std::fs::create_dir(&first).unwrap();
        std::fs::set_permissions(&first, std::os::unix::fs::PermissionsExt::from_mode(0o700))
            .unwrap();
        let store = Serve::database(&first)
            .pop()
            .expect("scripts/test postgres sets the database");
        drop(Serve::start(&first, &[]));
        let mut dirs = vec![first];
        for number in 1..servers {
            let dir = folder.path().join(format!("{}-{number}", name_of(&folder)));
            let copied = Command::new("cp").arg("-a").args([&dirs[0], &dir]).status();
            assert!(copied.unwrap().success());
            dirs.push(dir);
        }
        Cluster {
            folder,
            dirs,
            store,
        }
    }

    pub fn start(&self, number: usize) -> Serve {
        Serve::start_on(
            &self.dirs[number],
            &["-storeca", &ca(), "-store", &self.store],
        )
    }

    pub fn client(&self, serve: &Serve) -> Client {
        serve.client(&self.dirs[0], "client", Version::V1_4)
    }

    pub fn database(&self) -> &str {
        let end = self.store.rsplit('/').next().unwrap();
        end.split('?').next().unwrap()
    }

    pub fn dir(&self) -> &Path {
        &self.dirs[0]
    }

    pub fn url(&self) -> String {
        self.store.clone()
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// The certificates that the database's is verified with.
pub fn ca() -> String {
    std::env::var("MRHSM_TEST_POSTGRES_CA").expect("scripts/test postgres sets it")
}

fn name_of(folder: &TempDir) -> String {
    folder
        .path()
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .trim_start_matches('.')
        .to_owned()
}

fn destroy(client: &Client, uid: &str) -> bool {
    let revoke = RevokeRequest {
        unique_identifier: id(uid),
        revocation_reason: RevocationReason {
            revocation_reason_code: RevocationReasonCode::CESSATION_OF_OPERATION,
            ..RevocationReason::default()
        },
        ..RevokeRequest::default()
    };
    let destroy = DestroyRequest {
        unique_identifier: id(uid),
    };
    client.request(&revoke).is_ok() && client.request(&destroy).is_ok()
}

#[test]
fn a_change_on_one_server_is_seen_by_the_next_request_to_another() {
    let cluster = Cluster::new(2);
    let servers = [0, 1].map(|number| cluster.start(number));
    let [one, other] = [0, 1].map(|number| cluster.client(&servers[number]));
    for round in 0..40 {
        let uid = one
            .request(&active(&format!("k{round}")))
            .unwrap()
            .unique_identifier;
        let key = value(&other, &uid);
        assert_eq!(key, value(&one, &uid));
        assert_eq!(
            locate(
                &other,
                vec![AttributeValue::Name(format!("k{round}").as_str().into())]
            ),
            [uid.as_str()]
        );
        assert!(destroy(&other, &uid));
        let get = GetRequest {
            unique_identifier: id(&uid),
            ..GetRequest::default()
        };
        assert!(one.request(&get).is_err(), "round {round}");
    }
}

#[test]
fn of_uses_that_are_left_each_is_given_once() {
    const USES: i64 = 25;
    let cluster = Cluster::new(3);
    let servers: Vec<Serve> = (0..3).map(|number| cluster.start(number)).collect();
    let mut request = active("limited");
    request
        .template_attribute
        .attributes
        .push(AttributeValue::UsageLimits(UsageLimits {
            usage_limits_total: USES,
            usage_limits_unit: UsageLimitsUnit::OBJECT,
            ..UsageLimits::default()
        }));
    let uid = cluster
        .client(&servers[0])
        .request(&request)
        .unwrap()
        .unique_identifier;
    let given = AtomicUsize::new(0);
    thread::scope(|scope| {
        for n in 0..6 {
            let (client, uid, given) = (cluster.client(&servers[n % 3]), &uid, &given);
            scope.spawn(move || {
                for _ in 0..10 {
                    let request = EncryptRequest {
                        unique_identifier: id(uid),
                        cryptographic_parameters: Some(CryptographicParameters {
                            block_cipher_mode: Some(BlockCipherMode::ECB),
                            ..CryptographicParameters::default()
                        }),
                        data: Some(vec![0; 16].into()),
                        ..EncryptRequest::default()
                    };
                    given.fetch_add(
                        usize::from(client.request(&request).is_ok()),
                        Ordering::SeqCst,
                    );
                }
            });
        }
    });
    assert_eq!(given.into_inner() as i64, USES);
}

#[test]
fn an_identifier_that_several_clients_choose_has_one_owner() {
    let cluster = Cluster::new(3);
    let servers: Vec<Serve> = (0..3).map(|number| cluster.start(number)).collect();
    for round in 0..10 {
        let taken = AtomicUsize::new(0);
        thread::scope(|scope| {
            for (n, server) in servers.iter().enumerate() {
                let taken = &taken;
                let client = server.client(cluster.dir(), "client", Version::V2_0);
                scope.spawn(move || {
                    let import = import(&format!("chosen {round}"), n as u8);
                    taken.fetch_add(
                        usize::from(client.request(&import).is_ok()),
                        Ordering::SeqCst,
                    );
                });
            }
        });
        assert_eq!(taken.into_inner(), 1, "round {round}");
    }
}

fn import(uid: &str, byte: u8) -> ImportRequest {
    let (algorithm, material) = (CryptographicAlgorithm::AES, Secret::new(vec![byte; 32]));
    let key_block = KeyBlock::of_bytes(KeyFormatType::RAW, algorithm, 256, material);
    ImportRequest {
        unique_identifier: uid.into(),
        object_type: None,
        replace_existing: None,
        key_wrap_type: None,
        attributes: [AttributeValue::CryptographicUsageMask(
            CryptographicUsageMask::ENCRYPT,
        )]
        .into_iter()
        .collect(),
        object: ManagedObject::SymmetricKey(SymmetricKey { key_block }),
    }
}

#[test]
fn objects_of_a_directory_are_copied_to_a_database() {
    let cluster = Cluster::new(1);
    let serve = Serve::start_on(cluster.dir(), &[]);
    let client = cluster.client(&serve);
    let uids: Vec<String> = (0..130)
        .map(|n| {
            client
                .request(&active(&format!("k{n}")))
                .unwrap()
                .unique_identifier
        })
        .collect();
    let key = value(&client, &uids[7]);
    assert!(destroy(&client, &uids[0]));
    drop(serve);
    for copied in ["Copied: 130.", "Copied: 0."] {
        let output = Command::new(env!("CARGO_BIN_EXE_mrhsm"))
            .args([
                "store",
                "copy",
                "-storeca",
                &ca(),
                "-store",
                &cluster.store,
                "-dir",
            ])
            .arg(cluster.dir())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && said.contains(copied), "{said}");
    }
    let serve = cluster.start(0);
    let client = cluster.client(&serve);
    assert_eq!(value(&client, &uids[7]), key);
    let mut newest_first = uids[1..].to_vec();
    newest_first.reverse();
    assert_eq!(locate(&client, vec![]), newest_first);
}

/// What a client knows for certain.
#[derive(Default)]
struct Known {
    made: Vec<(String, String, Vec<u8>)>,
    destroyed: Vec<String>,
}

/// Nothing is lost, nothing is there twice, and no call takes longer than its deadline, while servers and connections are killed
/// and the database is.
#[test]
fn three_servers_lose_nothing_when_they_and_their_connections_are_killed() {
    const LONGEST: Duration = Duration::from_secs(20);
    let cluster = Cluster::new(3);
    let servers: Vec<Mutex<Arc<Serve>>> = (0..3)
        .map(|number| Mutex::new(Arc::new(cluster.start(number))))
        .collect();
    let (ends, known) = (AtomicBool::new(false), Mutex::new(Known::default()));
    let started = Instant::now();
    thread::scope(|scope| {
        for worker in 0..6 {
            let (servers, ends, known, cluster) = (&servers, &ends, &known, &cluster);
            scope.spawn(move || {
                for round in 0.. {
                    if ends.load(Ordering::Relaxed) {
                        break;
                    }
                    let server = servers[(worker + round) % 3].lock().unwrap().clone();
                    let client = cluster.client(&server);
                    let name = format!("key {worker}.{round}");
                    let start = Instant::now();
                    let made = client.request(&active(&name));
                    assert!(start.elapsed() < LONGEST, "{:?}", start.elapsed());
                    let Ok(made) = made else { continue };
                    let uid = made.unique_identifier;
                    let bytes = fetch(&client, &uid).unwrap_or_default();
                    // A destruction without an answer may have been done.
                    let is_destroyed = round % 3 == 0 && destroy(&client, &uid);
                    let mut known = known.lock().unwrap();
                    if is_destroyed {
                        known.destroyed.push(uid);
                    } else if round % 3 != 0 {
                        known.made.push((name, uid, bytes));
                    }
                }
            });
        }
        for (turn, pause) in [130, 410, 90, 700, 260, 50, 330]
            .into_iter()
            .cycle()
            .enumerate()
        {
            if started.elapsed() > Duration::from_secs(20) {
                break;
            }
            thread::sleep(Duration::from_millis(pause));
            match turn % 4 {
                0 | 2 => {
                    let number = turn % 3;
                    let next = Arc::new(cluster.start(number));
                    // The one before is killed when no worker has it any more; here, at once.
                    let before = std::mem::replace(&mut *servers[number].lock().unwrap(), next);
                    let _ = Command::new("kill")
                        .args(["-9", &before.process.id().to_string()])
                        .status();
                }
                _ => {
                    let kill = format!(
                        "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity \
                         WHERE datname = '{}' ORDER BY random() LIMIT 3) victims",
                        cluster.database()
                    );
                    sql("postgres", &kill);
                }
            }
        }
        ends.store(true, Ordering::Relaxed);
    });
    let known = known.into_inner().unwrap();
    let client = cluster.client(&servers[0].lock().unwrap());
    for (name, uid, bytes) in &known.made {
        let now = value(&client, uid);
        assert!(bytes.is_empty() || now == *bytes, "{uid} is another key");
        let named = locate(&client, vec![AttributeValue::Name(name.as_str().into())]);
        assert!(named.contains(uid), "{name} is not found");
    }
    for uid in &known.destroyed {
        let get = GetRequest {
            unique_identifier: id(uid),
            ..GetRequest::default()
        };
        assert!(client.request(&get).is_err(), "{uid} is back");
    }
    // What the database counts is what there is: no object without its list, no tag without its object.
    let checked = Command::new(env!("CARGO_BIN_EXE_mrhsm"))
        .args([
            "store",
            "check",
            "-storeca",
            &ca(),
            "-store",
            &cluster.store,
            "-dir",
        ])
        .arg(cluster.dir())
        .output()
        .unwrap();
    assert!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&checked.stdout)
    );
    assert!(known.made.len() > 30, "{} keys", known.made.len());
    println!(
        "{} keys made, {} destroyed",
        known.made.len(),
        known.destroyed.len()
    );
    assert!(cluster.path().exists());
}
