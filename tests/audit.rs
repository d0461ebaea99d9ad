//! The audit log of `mrhsm serve`: what it names, that nothing is done without it where it is required, and `mrhsm audit verify`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mrhsm_pkcs11::kmip::*;
use mrhsm_pkcs11::net::Client;
use mrhsm_pkcs11::version::Version;

use crate::serve::{Serve, active, id, locate, reason, scratch};

fn verify(dir: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mrhsm"))
        .args(["audit", "verify", "-json", "-dir"])
        .arg(dir)
        .args(words)
        .env_remove("MRHSM_PIN_FILE")
        .output()
        .unwrap()
}

/// What `audit verify` says; the log is whole or not, as its exit code says, too.
fn verified(dir: &Path, words: &[&str]) -> serde_json::Value {
    let output = verify(dir, words);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let ok = found["ok"].as_bool().unwrap();
    assert_eq!(output.status.code(), Some(i32::from(!ok)), "{found:#}");
    found
}

fn lines(path: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn create(client: &Client, name: &str) -> String {
    client.request(&active(name)).unwrap().unique_identifier
}

fn hang_up(serve: &Serve) {
    let sent = Command::new("kill")
        .args(["-s", "HUP", &serve.process.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
}

#[test]
fn a_log_is_whole_until_somebody_touches_it() {
    let folder = scratch();
    let dir = folder.path();
    let path = dir.join("audit.log");
    let (one, two) = (Serve::start(dir, &[]), Serve::start(dir, &[]));
    std::thread::scope(|scope| {
        for serve in [&one, &two, &one, &two] {
            scope.spawn(move || {
                let client = serve.client(dir, "client", Version::V1_4);
                (0..100).for_each(|_| drop(locate(&client, Vec::new())));
            });
        }
    });
    // One is killed, the other goes on.
    drop(one);
    create(&two.client(dir, "client", Version::V1_4), "k");
    let found = verified(dir, &[]);
    assert_eq!(
        (&found["ok"], &found["seals_checked"]),
        (&true.into(), &true.into())
    );
    assert!(found["lines"].as_u64().unwrap() > 400, "{found:#}");
    assert!(found["sealed_to"].as_u64().unwrap() >= 256);
    drop(two);

    let whole = std::fs::read_to_string(&path).unwrap();
    let put = |lines: Vec<&str>| std::fs::write(&path, lines.join("\n") + "\n").unwrap();
    let all: Vec<&str> = whole.lines().collect();
    let mut removed = all.clone();
    removed.remove(100);
    put(removed);
    let found = verified(dir, &[]);
    assert_eq!(found["ok"], false);
    assert_eq!(
        found["problems"][0]["problem"],
        "lines 101 to 101 are missing"
    );
    let mut swapped = all.clone();
    swapped.swap(100, 101);
    put(swapped);
    assert_eq!(verified(dir, &[])["ok"], false);
    let changed = all[100].replacen("Success", "Failure", 1);
    let mut with_it = all.clone();
    with_it[100] = &changed;
    put(with_it);
    assert_eq!(verified(dir, &[])["ok"], false);
    put(all[..all.len() / 2].to_vec());
    assert_eq!(verified(dir, &[])["ok"], false);
    put(all);
    assert_eq!(verified(dir, &[])["ok"], true);
    // A log elsewhere, and none.
    let copy = dir.join("copy");
    std::fs::copy(&path, &copy).unwrap();
    assert_eq!(verified(dir, &[copy.to_str().unwrap()])["ok"], true);
    let empty = scratch();
    assert_eq!(verify(empty.path(), &[]).status.code(), Some(6));
}

#[test]
fn the_seals_need_the_pin() {
    let folder = scratch();
    let dir = folder.path();
    drop(Serve::start(dir, &["-pin", "pass:open sesame"]));
    assert_eq!(verified(dir, &[])["seals_checked"], false);
    assert_eq!(
        verify(dir, &["-pin", "pass:another"]).status.code(),
        Some(3)
    );
    let found = verified(dir, &["-pin", "pass:open sesame"]);
    assert_eq!(
        (&found["ok"], &found["seals_checked"]),
        (&true.into(), &true.into())
    );
}

#[test]
fn every_object_of_a_request_is_named() {
    let folder = scratch();
    let dir = folder.path();
    let serve = Serve::start(dir, &[]);
    let client = serve.client(dir, "client", Version::V1_4);
    let [base, data, kek, key] = ["base", "data", "kek", "key"].map(|name| create(&client, name));
    let named = |operation: &str| -> Vec<String> {
        let lines = lines(&dir.join("audit.log"));
        let line = lines
            .iter()
            .rev()
            .find(|line| line["operation"] == operation)
            .unwrap();
        let mut all: Vec<String> =
            serde_json::from_value(line["objects"].clone()).unwrap_or_default();
        all.extend(line["object"].as_str().map(str::to_owned));
        all
    };
    let has = |operation: &str, uids: &[&String]| {
        let all = named(operation);
        for uid in uids {
            assert!(all.contains(uid), "{operation}: {uid} is not among {all:?}");
        }
    };
    has("Create", &[&key]);
    // Refused or not, what was tried is named.
    let wrapped = GetRequest {
        unique_identifier: id(&key),
        key_wrapping_specification: Some(KeyWrappingSpecification {
            wrapping_method: WrappingMethod::ENCRYPT,
            encryption_key_information: Some(KeyInformation {
                unique_identifier: kek.as_str().into(),
                cryptographic_parameters: Some(CryptographicParameters {
                    block_cipher_mode: Some(BlockCipherMode::NIST_KEY_WRAP),
                    ..CryptographicParameters::default()
                }),
            }),
            encoding_option: Some(EncodingOption::NO_ENCODING),
            ..KeyWrappingSpecification::default()
        }),
        ..GetRequest::default()
    };
    let _ = client.request(&wrapped);
    has("Get", &[&key, &kek]);
    let derive = DeriveKeyRequest {
        object_type: ObjectType::SYMMETRIC_KEY,
        unique_identifiers: vec![base.as_str().into(), data.as_str().into()],
        derivation_method: DerivationMethod::HMAC,
        derivation_parameters: DerivationParameters {
            cryptographic_parameters: Some(CryptographicParameters {
                hashing_algorithm: Some(HashingAlgorithm::SHA_256),
                ..CryptographicParameters::default()
            }),
            ..DerivationParameters::default()
        },
        template_attribute: Attributes::new().into(),
    };
    let _ = client.request(&derive);
    has("Derive Key", &[&base, &data]);
    let parts = client
        .request(&CreateSplitKeyRequest {
            object_type: ObjectType::SPLIT_KEY,
            unique_identifier: id(&key),
            split_key_parts: 3,
            split_key_threshold: 3,
            split_key_method: SplitKeyMethod::XOR,
            ..CreateSplitKeyRequest::default()
        })
        .unwrap()
        .unique_identifiers;
    has(
        "Create Split Key",
        &parts.iter().chain([&key]).collect::<Vec<_>>(),
    );
    let joined = client.request(&JoinSplitKeyRequest {
        object_type: ObjectType::SYMMETRIC_KEY,
        unique_identifiers: parts.iter().map(|uid| uid.as_str().into()).collect(),
        ..JoinSplitKeyRequest::default()
    });
    let mut involved: Vec<&String> = parts.iter().collect();
    let made = joined.map(|answer| answer.unique_identifier);
    involved.extend(made.as_ref().ok());
    has("Join Split Key", &involved);
    let renewed = client
        .request(&ReKeyRequest {
            unique_identifier: id(&key),
            ..ReKeyRequest::default()
        })
        .unwrap()
        .unique_identifier;
    has("Re-key", &[&key, &renewed]);
    let found = locate(&client, Vec::new());
    has("Locate", &found.iter().collect::<Vec<_>>());
}

#[test]
fn identifiers_do_not_fill_the_disk() {
    let folder = scratch();
    let dir = folder.path();
    let serve = Serve::start(dir, &[]);
    let client = serve.client(dir, "client", Version::V1_4);
    for _ in 0..5 {
        let get = GetRequest {
            unique_identifier: id(&"\u{1}é".repeat(250_000)),
            ..GetRequest::default()
        };
        reason(client.request(&get));
    }
    let many = ValidateRequest {
        unique_identifiers: (0..10_000).map(|n| n.to_string().as_str().into()).collect(),
        ..ValidateRequest::default()
    };
    reason(client.request(&many));
    let path = dir.join("audit.log");
    assert!(std::fs::metadata(&path).unwrap().len() < 64 << 10);
    let lines = lines(&path);
    let line = lines
        .iter()
        .find(|line| line["operation"] == "Validate")
        .unwrap();
    assert_eq!(line["objects"].as_array().unwrap().len(), 16);
    assert!(line["more"].as_u64().unwrap() >= 9_984);
    assert_eq!(verified(dir, &[])["ok"], true);
}

/// Makes the log unwritable: a directory has its name.
fn block(path: &Path) -> PathBuf {
    let old = path.with_extension("old");
    std::fs::rename(path, &old).unwrap();
    std::fs::create_dir(path).unwrap();
    old
}

#[test]
fn nothing_is_done_that_cannot_be_written_down_where_that_is_required() {
    let folder = scratch();
    let dir = folder.path();
    let path = dir.join("audit.log");
    let serve = Serve::start(dir, &["-audit-required"]);
    let client = serve.client(dir, "client", Version::V1_4);
    let uid = create(&client, "k");
    let written = lines(&path);
    let results: Vec<_> = written
        .iter()
        .filter(|line| line["operation"] == "Create")
        .map(|line| line["result"].as_str().unwrap())
        .collect();
    assert_eq!(results, ["Begun", "Success"]);
    let old = block(&path);
    assert_eq!(
        reason(client.request(&active("k"))),
        ResultReason::GENERAL_FAILURE
    );
    let get = GetRequest {
        unique_identifier: id(&uid),
        ..GetRequest::default()
    };
    assert_eq!(reason(client.request(&get)), ResultReason::GENERAL_FAILURE);
    std::fs::remove_dir(&path).unwrap();
    assert_eq!(locate(&client, Vec::new()), [uid.as_str()]);
    let both = [old.to_str().unwrap(), path.to_str().unwrap()];
    assert_eq!(verified(dir, &both)["ok"], true);
    // A server that cannot write its first line does not start.
    let refused = Command::new(env!("CARGO_BIN_EXE_mrhsm"))
        .args([
            "serve",
            "-listen",
            "127.0.0.1:0",
            "-audit",
            "/dev/full",
            "-audit-required",
            "-dir",
        ])
        .arg(dir)
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(1));
}

#[test]
fn without_it_being_required_a_warning_is_said_once() {
    let folder = scratch();
    let dir = folder.path();
    let path = dir.join("audit.log");
    let serve = Serve::start(dir, &[]);
    let client = serve.client(dir, "client", Version::V1_4);
    block(&path);
    (0..5).for_each(|_| drop(create(&client, "k")));
    let said = std::fs::read_to_string(dir.join("stderr")).unwrap();
    assert_eq!(
        said.matches("The audit log cannot be written").count(),
        1,
        "{said}"
    );
}

#[test]
fn a_log_is_reopened_and_a_full_one_is_followed_by_another() {
    let folder = scratch();
    let dir = folder.path();
    let path = dir.join("audit.log");
    let serve = Serve::start(dir, &["-audit-size", "1", "-audit-keep", "2"]);
    let client = serve.client(dir, "client", Version::V1_4);
    create(&client, "k");
    let old = dir.join("audit.old");
    std::fs::rename(&path, &old).unwrap();
    hang_up(&serve);
    create(&client, "k");
    let both = [old.to_str().unwrap(), path.to_str().unwrap()];
    assert_eq!(verified(dir, &both)["ok"], true);
    std::fs::rename(&old, dir.join("audit.log.000001")).unwrap();
    // Lines of 4 KiB.
    let uids = (0..20).map(|n| format!("{n:0250}")).collect::<Vec<_>>();
    let many = ValidateRequest {
        unique_identifiers: uids.iter().map(|uid| uid.as_str().into()).collect(),
        ..ValidateRequest::default()
    };
    (0..400).for_each(|_| drop(client.request(&many)));
    let full = std::fs::read_dir(dir)
        .unwrap()
        .flatten()
        .filter(|entry| {
            entry
                .file_name()
                .to_str()
                .unwrap()
                .starts_with("audit.log.0")
        })
        .count();
    assert!((1..=2).contains(&full), "{full}");
    let found = verified(dir, &[]);
    assert_eq!(found["ok"], true, "{found:#}");
}
