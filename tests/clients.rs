//! Who is let in by `mrhsm serve`, as whom, and who is not any more.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use mrhsm_pkcs11::error::Result;
use mrhsm_pkcs11::kmip::*;
use mrhsm_pkcs11::net::Client;
use mrhsm_pkcs11::version::Version;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair,
};

use crate::serve::{Serve, active, certs, locate, scratch, value};

fn mrhsm(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mrhsm"))
        .args(words)
        .output()
        .unwrap()
}

fn done(words: &[&str]) -> String {
    let done = mrhsm(words);
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    String::from_utf8(done.stdout).unwrap()
}

fn text(dir: &Path) -> &str {
    dir.to_str().unwrap()
}

/// A certificate of the directory's authority with any subject.
fn sign(dir: &Path, file: &str, subject: &[(DnType, &str)]) {
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
    let key = KeyPair::from_pem(&read("ca.key")).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&read("ca.pem"), key).unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    for (kind, value) in subject {
        params.distinguished_name.push(kind.clone(), *value);
    }
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    std::fs::write(dir.join(format!("{file}.pem")), certificate.pem()).unwrap();
    std::fs::write(dir.join(format!("{file}.key")), key.serialize_pem()).unwrap();
}

fn everything(client: &Client) -> Result<Vec<String>> {
    client
        .request(&LocateRequest::default())
        .map(|found| found.unique_identifiers)
}

/// Waits until a client is refused.
fn refused(client: &Client) {
    let start = Instant::now();
    while everything(client).is_ok() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "it is still served"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn hang_up(serve: &Serve) {
    let sent = Command::new("kill")
        .args(["-s", "HUP", &serve.process.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
}

#[test]
fn a_name_that_spells_a_subject_is_not_that_subject() {
    let folder = scratch();
    let dir = folder.path();
    let serve = Serve::start(dir, &[]);
    sign(dir, "subject", &[(DnType::OrganizationName, "Acme")]);
    sign(dir, "imitator", &[(DnType::CommonName, "O=Acme")]);
    sign(dir, "empty", &[(DnType::CommonName, "")]);
    sign(
        dir,
        "control",
        &[(DnType::CommonName, "\u{1}subject:O=Acme")],
    );
    let client = |name: &str| serve.client(dir, name, Version::V1_4);
    let (subject, imitator) = (client("subject"), client("imitator"));
    let uid = subject.request(&active("k")).unwrap().unique_identifier;
    let other = imitator.request(&active("k")).unwrap().unique_identifier;
    assert_eq!(locate(&subject, Vec::new()), [uid.as_str()]);
    assert_eq!(locate(&imitator, Vec::new()), [other]);
    assert!(everything(&client("empty")).is_err());
    assert!(everything(&client("control")).is_err());
    // A certificate with another key is the same client.
    sign(dir, "subject", &[(DnType::OrganizationName, "Acme")]);
    value(&client("subject"), &uid);
    let audit = std::fs::read_to_string(dir.join("audit.log")).unwrap();
    let line = audit.lines().find(|line| line.contains("subject")).unwrap();
    assert!(
        line.contains(r#""client":"O=Acme","identity":"subject""#),
        "{line}"
    );
}

#[test]
fn a_client_is_of_all_its_clusters() {
    let folder = scratch();
    let dir = folder.path();
    let serve = Serve::start(dir, &[]);
    let many = format!("{},b", "a".repeat(200));
    for (name, cluster) in [("n1", "a,b,c"), ("n2", "a"), ("n3", "c,d"), ("n4", &many)] {
        certs(dir, &["-name", name, "-cluster", cluster]);
    }
    let seen = |name: &str| locate(&serve.client(dir, name, Version::V1_4), Vec::new());
    let n1 = serve.client(dir, "n1", Version::V1_4);
    let uid = n1.request(&active("k")).unwrap().unique_identifier;
    for name in ["n1", "n2", "n3", "n4"] {
        assert_eq!(seen(name), [uid.as_str()], "{name}");
    }
    done(&["certs", "renew", "n3", "-dir", text(dir)]);
    assert_eq!(seen("n3"), [uid.as_str()]);
}

#[test]
fn a_revoked_client_is_out_without_a_signal() {
    let folder = scratch();
    let dir = folder.path();
    let serve = Serve::start(dir, &[]);
    certs(dir, &["-name", "node"]);
    let key = std::fs::read(dir.join("node.key")).unwrap();
    let (node, client) = (
        serve.client(dir, "node", Version::V1_4),
        serve.client(dir, "client", Version::V1_4),
    );
    let uid = node.request(&active("k")).unwrap().unique_identifier;
    locate(&client, Vec::new());
    let told = done(&[
        "certs",
        "revoke",
        "node",
        "-reason",
        "keyCompromise",
        "-dir",
        text(dir),
        "-json",
    ]);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(
        (&told[0]["name"], &told[0]["state"], &told[0]["reason"]),
        (&"node".into(), &"revoked".into(), &"keyCompromise".into())
    );
    refused(&node);
    assert!(everything(&serve.client(dir, "node", Version::V1_4)).is_err());
    locate(&client, Vec::new());
    // Once more changes nothing, and a new certificate has a new key.
    assert_eq!(
        mrhsm(&["certs", "revoke", "node", "-dir", text(dir)])
            .status
            .code(),
        Some(1)
    );
    done(&["certs", "renew", "node", "-dir", text(dir)]);
    assert_ne!(std::fs::read(dir.join("node.key")).unwrap(), key);
    value(&serve.client(dir, "node", Version::V1_4), &uid);
    let list = done(&["certs", "list", "-dir", text(dir), "-json"]);
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    let states: Vec<_> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            (
                row["name"].as_str().unwrap(),
                row["state"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        states,
        [
            ("client", "valid"),
            ("server", "valid"),
            ("node", "revoked"),
            ("node", "valid")
        ]
    );
    // After a restart, too.
    drop(serve);
    let serve = Serve::start(dir, &[]);
    value(&serve.client(dir, "node", Version::V1_4), &uid);
}

#[test]
fn lists_of_another_authority_are_read_at_sighup() {
    let (folder, home) = (scratch(), scratch());
    let (ca, dir) = (folder.path(), home.path());
    for name in ["node", "other"] {
        certs(ca, &["-name", name]);
    }
    certs(ca, &["-name", "kms", "-san", "localhost"]);
    let path = |name: &str| ca.join(name).to_str().unwrap().to_owned();
    let allow = path("allow");
    std::fs::write(&allow, "node\ncn:other\n").unwrap();
    let options = [
        "-cert",
        &path("kms.pem"),
        "-key",
        &path("kms.key"),
        "-clientca",
        &path("ca.pem"),
        "-crl",
        &path("crl.pem"),
        "-allow",
        &allow,
    ];
    let serve = Serve::start(dir, &options);
    let (node, other) = (
        serve.client(ca, "node", Version::V1_4),
        serve.client(ca, "other", Version::V1_4),
    );
    locate(&node, Vec::new());
    locate(&other, Vec::new());
    let pem = path("node.pem");
    done(&["certs", "revoke", &pem, "-dir", text(ca)]);
    hang_up(&serve);
    refused(&node);
    locate(&other, Vec::new());
    // Off the list.
    std::fs::write(&allow, "# nobody\ncn:node\n").unwrap();
    hang_up(&serve);
    refused(&other);
    // What cannot be read changes nothing.
    std::fs::write(&allow, "cn:other\nsha256:12\n").unwrap();
    hang_up(&serve);
    std::thread::sleep(Duration::from_millis(300));
    assert!(everything(&other).is_err());
    std::fs::write(&allow, "cn:other\n").unwrap();
    hang_up(&serve);
    let start = Instant::now();
    while everything(&serve.client(ca, "other", Version::V1_4)).is_err() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "it is still refused"
        );
    }
    // A list of another authority says nothing of these clients: they are refused.
    let stranger = scratch();
    certs(stranger.path(), &["-name", "x"]);
    std::fs::copy(stranger.path().join("crl.pem"), ca.join("crl.pem")).unwrap();
    hang_up(&serve);
    refused(&other);
}

#[test]
fn a_name_has_its_certificates_renewed_with_what_they_are_for() {
    let folder = scratch();
    let dir = folder.path();
    certs(
        dir,
        &["-name", "kms", "-san", "kms.test,192.0.2.1", "-days", "30"],
    );
    let key = std::fs::read(dir.join("kms.key")).unwrap();
    let host = |name: &str| {
        use rustls_pki_types::pem::PemObject;
        use x509_parser::prelude::{FromDer, X509Certificate};
        let der = rustls_pki_types::CertificateDer::from_pem_file(dir.join(name)).unwrap();
        let (_, certificate) = X509Certificate::from_der(&der).unwrap();
        let days = certificate.validity().not_after.timestamp()
            - certificate.validity().not_before.timestamp();
        (mrhsm_pkcs11::server::hosts(&certificate), days)
    };
    let before = host("kms.pem");
    assert_eq!(before.0, ["kms.test", "192.0.2.1"]);
    done(&["certs", "renew", "kms", "-dir", text(dir)]);
    assert_eq!(host("kms.pem"), before);
    assert_eq!(std::fs::read(dir.join("kms.key")).unwrap(), key);
    done(&["certs", "renew", "kms", "-newkey", "-dir", text(dir)]);
    assert_eq!(host("kms.pem"), before);
    assert_ne!(std::fs::read(dir.join("kms.key")).unwrap(), key);
    for words in [
        &["certs", "renew", "nobody"][..],
        &["certs", "revoke", "nobody"],
        &["certs", "revoke", "-serial", "12"],
        &["certs", "revoke", "/dev/null"],
    ] {
        let failed = mrhsm(&[words, &["-dir", text(dir)]].concat());
        assert_eq!(failed.status.code(), Some(1), "{words:?}");
    }
    for words in [
        &["certs", "revoke"][..],
        &["certs", "revoke", "kms", "-serial", "12"],
        &["certs", "revoke", "kms", "-reason", "anger"],
        &["certs"],
    ] {
        assert_eq!(mrhsm(words).status.code(), Some(2), "{words:?}");
    }
}

/// A command on the token in `home`, whose SO PIN lies there.
fn token(home: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mrhsm"))
        .args(words)
        .current_dir(home)
        .env("MRHSM_TOKEN_DIR", home.join("tokens"))
        .env("MRHSM_SO_PIN_FILE", home.join("so.pin"))
        .env_remove("MAPR_HOME")
        .output()
        .unwrap()
}

#[test]
fn a_token_refuses_a_server_whose_certificate_is_revoked() {
    let (folder, server, home) = (scratch(), scratch(), scratch());
    let (ca, home) = (folder.path(), home.path());
    certs(ca, &["-name", "node"]);
    certs(ca, &["-name", "kms", "-san", "localhost,127.0.0.1"]);
    let path = |name: &str| ca.join(name).to_str().unwrap().to_owned();
    let own = ["kms.pem", "kms.key", "ca.pem"].map(path);
    let serve = Serve::start(
        server.path(),
        &["-cert", &own[0], "-key", &own[1], "-clientca", &own[2]],
    );
    std::fs::write(home.join("so.pin"), "so-pin-1234").unwrap();
    let run = |words: &[&str]| {
        let done = token(home, words);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{words:?}: {said}");
    };
    let host = || -> serde_json::Value {
        let shown = token(home, &["info", "-config", "-json"]);
        serde_json::from_slice(&shown.stdout).unwrap()
    };
    run(&["init", "-label", "t"]);
    let (port, files) = (
        serve.port.to_string(),
        ["node.pem", "node.key", "crl.pem"].map(path),
    );
    run(&[
        "set",
        "-ip",
        "127.0.0.1",
        "-port",
        &port,
        "-cacert",
        &own[2],
        "-clientcert",
        &files[0],
        "-clientkey",
        &files[1],
        "-crl",
        &files[2],
    ]);
    let shown = host();
    assert_eq!(shown["config"]["hosts"][0]["active"], true, "{shown:#}");
    assert!(shown["config"]["crl_until"].is_string(), "{shown:#}");
    done(&["certs", "revoke", "kms", "-dir", text(ca)]);
    run(&["set", "-crl", &files[2]]);
    let shown = host();
    assert_eq!(shown["config"]["hosts"][0]["active"], false, "{shown:#}");
    let reason = shown["config"]["hosts"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("is revoked"), "{reason}");
    // What is no list is not taken.
    assert!(!token(home, &["set", "-crl", &own[2]]).status.success());
    run(&["remove", "-crl"]);
    let shown = host();
    assert_eq!(shown["config"]["hosts"][0]["active"], true, "{shown:#}");
}
