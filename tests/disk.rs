//! The embedded server on a full disk.

use std::path::Path;
use std::process::Command;

use mrhsm_pkcs11::kmip::*;
use mrhsm_pkcs11::ttlv::Value;
use mrhsm_pkcs11::version::Version;

use super::serve::{Serve, active, locate, reason, scratch, value};

#[test]
fn a_full_disk_refuses_what_it_cannot_keep() {
    let folder = scratch();
    let dir = folder.path();
    // No file may grow beyond 192 KiB.
    let serve = Serve::start_after("ulimit -f 384;", dir, &[]);
    let client = serve.client(dir, "client", Version::V1_4);
    let text = AttributeValue::Custom("x".into(), "long".into(), Value::Text("x".repeat(4000)));
    let mut long = active("k");
    long.template_attribute.attributes.push(text);
    let mut kept = Vec::new();
    let refused = loop {
        match client.request(&long) {
            Ok(made) => kept.push(made.unique_identifier),
            Err(e) => break e,
        }
        assert!(kept.len() < 20, "the disk is never full");
    };
    assert!(
        kept.len() > 3
            && refused
                .to_string()
                .contains("the server cannot use its storage now"),
        "{refused}"
    );
    assert_eq!(locate(&client, vec![]).len(), kept.len());
    kept.iter().for_each(|uid| drop(value(&client, uid)));
    drop(serve);
    let serve = Serve::start(dir, &[]);
    let client = serve.client(dir, "client", Version::V1_4);
    assert_eq!(locate(&client, vec![]).len(), kept.len());
    client.request(&long).unwrap();
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
