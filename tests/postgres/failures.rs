//! The messages when the database cannot be used.

use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use mrhsm_pkcs11::kmip::*;

use crate::serve::{active, locate, sql};
use crate::several::{Cluster, ca};

fn refused(cluster: &Cluster, options: &[&str]) -> String {
    let start = Instant::now();
    let Output { status, stderr, .. } = Command::new(env!("CARGO_BIN_EXE_mrhsm"))
        .args(["serve", "-listen", "127.0.0.1:0", "-dir"])
        .arg(cluster.dir())
        .args(options)
        .output()
        .unwrap();
    assert!(
        !status.success() && start.elapsed() < Duration::from_secs(12),
        "{:?}",
        start.elapsed()
    );
    String::from_utf8(stderr).unwrap()
}

#[test]
fn a_database_that_cannot_be_used_is_named_with_the_reason() {
    let cluster = Cluster::new(1);
    let url = cluster.url();
    for (options, says) in [
        (vec!["-store", "mysql://x/y"], "begins with postgres://"),
        (
            vec!["-store", "postgres://u:secret@127.0.0.1/x"],
            "give it with -storepassword",
        ),
        (vec!["-store", "postgres://mrhsm@127.0.0.1:1/x"], "refused"),
        (
            vec!["-store", &url, "-storeca", &ca(), "-storepassword", "wrong"],
            "password authentication failed",
        ),
        (
            vec![
                "-store",
                &url.replace(cluster.database(), "nosuch"),
                "-storeca",
                &ca(),
            ],
            "does not exist",
        ),
        (
            vec!["-store", &url, "-storeca", "/nonexistent"],
            "-storeca: /nonexistent cannot be read",
        ),
        // A certificate of another authority.
        (
            vec![
                "-store",
                &url,
                "-storeca",
                cluster.dir().join("ca.pem").to_str().unwrap(),
            ],
            "certificate",
        ),
    ] {
        let message = refused(&cluster, &options);
        assert!(
            message.contains(says) && !message.contains("secret"),
            "{options:?}: {message}"
        );
    }
}

#[test]
fn another_key_a_newer_schema_and_a_standby_are_refused() {
    let (cluster, other) = (Cluster::new(1), Cluster::new(1));
    let url = cluster.url();
    let message = refused(&other, &["-store", &url, "-storeca", &ca()]);
    assert!(
        message.contains("does not open with this token's key"),
        "{message}"
    );
    sql(cluster.database(), "UPDATE mrhsm_schema SET version = 99");
    let message = refused(&cluster, &["-store", &url, "-storeca", &ca()]);
    assert!(message.contains("newer release"), "{message}");
    sql(cluster.database(), "UPDATE mrhsm_schema SET version = 1");
    let read_only = format!(
        "ALTER DATABASE {} SET default_transaction_read_only = on",
        cluster.database()
    );
    sql("postgres", &read_only);
    let message = refused(&cluster, &["-store", &url, "-storeca", &ca()]);
    assert!(message.contains("does not allow writes"), "{message}");
}

#[test]
fn a_damaged_row_is_refused_and_the_others_work() {
    let cluster = Cluster::new(1);
    let serve = cluster.start(0);
    let client = cluster.client(&serve);
    let uids: Vec<String> = (0..3)
        .map(|n| {
            client
                .request(&active(&format!("k{n}")))
                .unwrap()
                .unique_identifier
        })
        .collect();
    let get = |uid: &str| {
        let request = GetRequest {
            unique_identifier: Some(uid.into()),
            ..GetRequest::default()
        };
        client.request(&request).is_ok()
    };
    let old = "CREATE TABLE old AS SELECT * FROM mrhsm_objects WHERE number = 2";
    sql(cluster.database(), old);
    let flip = "UPDATE mrhsm_objects SET sealed = set_byte(sealed, 40, get_byte(sealed, 40) # 1) WHERE number = 1";
    sql(cluster.database(), flip);
    assert_eq!([0, 1, 2].map(|n| get(&uids[n])), [false, true, true]);
    sql(
        cluster.database(),
        "DELETE FROM mrhsm_objects WHERE number = 2",
    );
    assert_eq!([0, 1, 2].map(|n| get(&uids[n])), [false, false, true]);
    assert_eq!(locate(&client, vec![]), [uids[2].as_str()]);
    let checked = Command::new(env!("CARGO_BIN_EXE_mrhsm"))
        .args([
            "store",
            "check",
            "-storeca",
            &ca(),
            "-store",
            &cluster.url(),
            "-dir",
        ])
        .arg(cluster.dir())
        .output()
        .unwrap();
    let found = String::from_utf8(checked.stdout).unwrap();
    assert!(
        found.contains("row 1 is damaged") && found.contains("are missing"),
        "{found}"
    );
}

#[test]
fn a_database_that_does_not_answer_is_not_waited_for() {
    let cluster = Cluster::new(1);
    let serve = cluster.start(0);
    let client = cluster.client(&serve);
    client.request(&active("before")).unwrap();
    let database = cluster.database().to_owned();
    let locked = thread::spawn(move || {
        sql(
            &database,
            "BEGIN; LOCK TABLE mrhsm_objects; SELECT pg_sleep(14); COMMIT",
        )
    });
    thread::sleep(Duration::from_millis(500));
    let start = Instant::now();
    let answer = client.request(&active("during"));
    assert!(
        answer.is_err() && start.elapsed() < Duration::from_secs(12),
        "{:?}",
        start.elapsed()
    );
    locked.join().unwrap();
    client.request(&active("after")).unwrap();
    assert_eq!(
        locate(&client, vec![AttributeValue::Name("during".into())]),
        Vec::<String>::new()
    );
}

/// `scripts/test postgres` says how the database is restarted.
#[test]
fn a_database_that_restarts_is_used_again() {
    let cluster = Cluster::new(2);
    let servers = [0, 1].map(|number| cluster.start(number));
    let clients = [0, 1].map(|number| cluster.client(&servers[number]));
    let uid = clients[0].request(&active("k")).unwrap().unique_identifier;
    let restart =
        std::env::var("MRHSM_TEST_POSTGRES_RESTART").expect("scripts/test postgres sets it");
    assert!(
        Command::new("sh")
            .args(["-c", &restart])
            .status()
            .unwrap()
            .success()
    );
    for client in &clients {
        assert_eq!(
            locate(client, vec![AttributeValue::Name("k".into())]),
            [uid.as_str()]
        );
        client.request(&active("after")).unwrap();
    }
}
