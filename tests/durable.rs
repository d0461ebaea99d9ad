//! The embedded server is killed at any moment: what it confirmed stays done.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use mrhsm_pkcs11::error::Result;
use mrhsm_pkcs11::kmip::*;
use mrhsm_pkcs11::net::Client;
use mrhsm_pkcs11::version::Version;

use super::serve::{Serve, active, id, scratch, value};

/// What a client was told: keys that were made, with their values, and keys that were destroyed.
#[derive(Default)]
struct Told {
    made: Vec<(String, Vec<u8>)>,
    destroyed: Vec<String>,
}

pub fn fetch(client: &Client, uid: &str) -> Result<Vec<u8>> {
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
