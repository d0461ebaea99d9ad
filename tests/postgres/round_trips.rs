//! How often a request waits for the database: a proxy between them counts.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use mrhsm_pkcs11::kmip::*;

use crate::serve::{Serve, active, id, locate, value};
use crate::several::Cluster;

/// Counts what the server sends after an answer: a round trip each, unless it does not wait for the next.
fn proxy(to: u16) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let trips = Arc::new(AtomicUsize::new(0));
    let counted = trips.clone();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let database = TcpStream::connect(("127.0.0.1", to)).unwrap();
            client.set_nodelay(true).unwrap();
            database.set_nodelay(true).unwrap();
            let (mut from, mut to) = (client.try_clone().unwrap(), database.try_clone().unwrap());
            let (answered, trips) = (Arc::new(AtomicUsize::new(1)), counted.clone());
            let answers = answered.clone();
            thread::spawn(move || {
                let mut buffer = [0; 65536];
                while let Ok(length @ 1..) = from.read(&mut buffer) {
                    // The server does not wait for the COMMIT or ROLLBACK of a transaction that read.
                    let is_end = [&b"Q\0\0\0\x0bCOMMIT\0"[..], b"Q\0\0\0\x0dROLLBACK\0"]
                        .contains(&&buffer[..length]);
                    if !is_end && answers.swap(0, Ordering::SeqCst) == 1 {
                        trips.fetch_add(1, Ordering::SeqCst);
                    }
                    if to.write_all(&buffer[..length]).is_err() {
                        break;
                    }
                }
            });
            let (mut from, mut to) = (database, client);
            thread::spawn(move || {
                let mut buffer = [0; 65536];
                while let Ok(length @ 1..) = from.read(&mut buffer) {
                    // A far database: what is sent without waiting for an answer is sent before it comes.
                    thread::sleep(Duration::from_millis(20));
                    answered.store(1, Ordering::SeqCst);
                    if to.write_all(&buffer[..length]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    (port, trips)
}

#[test]
fn reading_takes_one_round_trip_and_creating_two() {
    let cluster = Cluster::new(1);
    let port: u16 = std::env::var("MRHSM_TEST_POSTGRES_PORT")
        .expect("scripts/test postgres sets it")
        .parse()
        .unwrap();
    let (proxied, trips) = proxy(port);
    let url = format!(
        "postgres://mrhsm@127.0.0.1:{proxied}/{}?sslmode=disable",
        cluster.database()
    );
    let serve = Serve::start_on(cluster.dir(), &["-store", &url]);
    let client = cluster.client(&serve);
    let uid = client.request(&active("k")).unwrap().unique_identifier;
    let encrypt = || {
        let request = EncryptRequest {
            unique_identifier: id(&uid),
            cryptographic_parameters: Some(CryptographicParameters {
                block_cipher_mode: Some(BlockCipherMode::ECB),
                ..CryptographicParameters::default()
            }),
            data: Some(vec![0; 16].into()),
            ..EncryptRequest::default()
        };
        client.request(&request).unwrap();
    };
    let get = || drop(value(&client, &uid));
    let find = || drop(locate(&client, vec![AttributeValue::Name("k".into())]));
    let create = || drop(client.request(&active("other")).unwrap());
    // Statements are prepared at their first use; so many objects give each list its first.
    for _ in 0..3 {
        encrypt();
        get();
        find();
        create();
    }
    let count = |work: &dyn Fn()| {
        let before = trips.load(Ordering::SeqCst);
        work();
        trips.load(Ordering::SeqCst) - before
    };
    assert_eq!((count(&get), count(&encrypt), count(&find)), (1, 1, 1));
    let created = (0..20).map(|_| count(&create)).collect::<Vec<_>>();
    assert_eq!(created, [2; 20]);
}
