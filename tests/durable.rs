//! The embedded server is killed at any moment, or its disk is full: what it told that it did stays done.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use mrhsm_pkcs11::error::Result;
use mrhsm_pkcs11::kmip::*;
use mrhsm_pkcs11::net::Client;
use mrhsm_pkcs11::version::Version;

use super::serve::{Serve, active, id, locate, reason, scratch, value};

/// What a client was told: keys that were made, with their values, and keys that were destroyed.
#[derive(Default)]
struct Told {
    made: Vec<(String, Vec<u8>)>,
    destroyed: Vec<String>,
}

fn fetch(client: &Client, uid: &str) -> Result<Vec<u8>> {
    let got = client.request(&GetRequest {
        unique_identifier: id(uid),
        ..GetRequest::default()
    })?;
    match &got.object.key_block().unwrap().key_value {
        Some(KeyValue::Plain(PlainKeyValue {
            key_material: KeyMaterial::Bytes(bytes),
            ..
        })) => Ok(bytes.expose().to_vec()),
        other => panic!("{other:?}"),
    }
}

/// Makes keys, and destroys every second, until the server is gone.
fn work(client: &Client, name: &str, done: &AtomicUsize) -> Told {
    let mut told = Told::default();
    for round in 0.. {
        let Ok(made) = client.request(&active(&format!("{name}.{round}"))) else {
            break;
        };
        let uid = made.unique_identifier;
        let Ok(bytes) = fetch(client, &uid) else {
            told.made.push((uid, Vec::new()));
            break;
        };
        done.fetch_add(1, Ordering::Relaxed);
        if round % 2 == 0 {
            told.made.push((uid, bytes));
            continue;
        }
        let revoke = RevokeRequest {
            unique_identifier: id(&uid),
            revocation_reason: RevocationReason {
                revocation_reason_code: RevocationReasonCode::CESSATION_OF_OPERATION,
                ..RevocationReason::default()
            },
            ..RevokeRequest::default()
        };
        let gone = client.request(&revoke).and_then(|_| {
            client.request(&DestroyRequest {
                unique_identifier: id(&uid),
            })
        });
        match gone {
            Ok(_) => told.destroyed.push(uid),
            // Nobody knows whether it was done.
            Err(_) => break,
        }
    }
    told
}

fn state(client: &Client, uid: &str) -> Option<State> {
    let request = GetAttributesRequest {
        unique_identifier: id(uid),
        ..GetAttributesRequest::default()
    };
    let attributes = client.request(&request).ok()?.attributes;
    attributes.iter().find_map(|value| {
        if let AttributeValue::State(state) = value {
            Some(*state)
        } else {
            None
        }
    })
}

#[test]
fn a_server_killed_at_any_time_has_done_what_it_said() {
    const CLIENTS: usize = 4;
    let folder = scratch();
    let dir = folder.path();
    let mut told: Vec<Told> = Vec::new();
    for round in 0..8 {
        let serve = Serve::start(dir, &[]);
        let (done, enough) = (&AtomicUsize::new(0), 3 + round * 7);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| serve.client(dir, "client", Version::V1_4))
            .collect();
        told.extend(thread::scope(|scope| {
            let work =
                |(n, client)| scope.spawn(move || work(client, &format!("key {round}.{n}"), done));
            let threads: Vec<_> = clients.iter().enumerate().map(work).collect();
            while done.load(Ordering::Relaxed) < enough {
                thread::sleep(Duration::from_micros(300 + 170 * round as u64));
            }
            drop(serve); // SIGKILL
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect::<Vec<_>>()
        }));
    }
    let serve = Serve::start(dir, &[]);
    let client = serve.client(dir, "client", Version::V1_4);
    for (uid, bytes) in told.iter().flat_map(|told| &told.made) {
        let now = value(&client, uid);
        assert!(bytes.is_empty() || now == *bytes, "{uid} is another key");
    }
    for uid in told.iter().flat_map(|told| &told.destroyed) {
        assert!(
            matches!(state(&client, uid), None | Some(State::DESTROYED)),
            "{uid} is back"
        );
    }
    assert!(told.iter().map(|told| told.made.len()).sum::<usize>() > 50);
}

/// No file of this server may grow beyond so many bytes: it is as if the disk were full.
fn without_room(process: u32, bytes: Option<u64>) {
    let limit = bytes.map_or("unlimited".into(), |bytes| bytes.to_string());
    let set = Command::new("prlimit")
        .args([
            "--pid",
            &process.to_string(),
            &format!("--fsize={limit}:unlimited"),
        ])
        .status();
    assert!(set.unwrap().success());
}

/// Length of the file that holds the objects.
fn size_of_objects(dir: &Path) -> u64 {
    let folders = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    folders
        .flat_map(|folder| ["served.db", "served.db-wal"].map(|name| folder.join(name)))
        .filter_map(|path| path.metadata().ok())
        .map(|about| about.len())
        .max()
        .unwrap_or_default()
}

#[test]
fn a_disk_that_was_full_has_lost_nothing_when_there_is_room_again() {
    let folder = scratch();
    let dir = folder.path();
    let serve = Serve::start(dir, &[]);
    let client = serve.client(dir, "client", Version::V1_4);
    let before = client.request(&active("before")).unwrap().unique_identifier;
    let key = value(&client, &before);
    without_room(serve.process.id(), Some(size_of_objects(dir) + 100));
    for round in 0..3 {
        assert_eq!(
            reason(client.request(&active(&format!("refused {round}")))),
            ResultReason::GENERAL_FAILURE
        );
        assert_eq!(value(&client, &before), key, "what is there can be read");
        assert!(
            locate(
                &client,
                vec![AttributeValue::Name(
                    format!("refused {round}").as_str().into()
                )]
            )
            .is_empty()
        );
    }
    without_room(serve.process.id(), None);
    let after = client.request(&active("after")).unwrap().unique_identifier;
    let made = value(&client, &after);
    drop(serve); // SIGKILL
    let serve = Serve::start(dir, &[]);
    let client = serve.client(dir, "client", Version::V1_4);
    assert_eq!(
        (value(&client, &before), value(&client, &after)),
        (key, made)
    );
    assert!(locate(&client, vec![AttributeValue::Name("refused 0".into())]).is_empty());
}
