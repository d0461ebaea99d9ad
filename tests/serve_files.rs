//! Files beside the embedded server: an administrator's, and those that name its process and port.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use mrhsm_pkcs11::version::Version;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, SerialNumber, date_time_ymd,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::kmip_server::Pki;
use crate::serve::{Serve, certs, locate, scratch};

fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap();
}

/// What a command says that must fail, and its exit code.
fn refused(command: &[&str], dir: &Path, options: &[&str]) -> (i32, String) {
    let output = Command::new("timeout")
        .args(["30", env!("CARGO_BIN_EXE_mrhsm")])
        .args(command)
        .arg("-dir")
        .arg(dir)
        .args(options)
        .env_remove("MRHSM_PIN_FILE")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), said)
}

/// Starts the server, which must fail and leave `server.pem` and its key as they are.
fn refused_for(dir: &Path, options: &[&str], cause: &str) {
    let read = || ["server.pem", "server.key"].map(|name| std::fs::read(dir.join(name)).ok());
    let before = read();
    let options = [&["-listen", "127.0.0.1:0"], options].concat();
    let (code, said) = refused(&["serve"], dir, &options);
    assert_eq!(code, 6, "{said}");
    assert!(said.contains(cause), "{cause}: {said}");
    assert!(said.contains("\nhint: "), "{said}");
    assert!(before == read(), "{cause}: a file was changed");
}

#[test]
fn an_administrators_server_certificate_is_never_replaced() {
    let (folder, pki) = (scratch(), Pki::shared());
    let dir = folder.path();
    let (pem, key) = (dir.join("server.pem"), dir.join("server.key"));
    // From before the first start.
    copy(&pki.server_expired.cert, &pem);
    copy(&pki.server_expired.key, &key);
    refused_for(dir, &[], "the certificate expired on");
    std::fs::write(
        &pem,
        "-----BEGIN CERTIFICATE-----\nMIIB%%\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    refused_for(dir, &[], "it is not a PEM certificate");
    std::fs::write(&pem, "not PEM").unwrap();
    refused_for(dir, &[], "it has no certificate");
    copy(&pki.server.cert, &pem);
    copy(&pki.server.key, &key);
    refused_for(
        dir,
        &["-san", "kms.example.com"],
        "does not name kms.example.com",
    );
    std::fs::remove_file(&key).unwrap();
    refused_for(dir, &[], "is missing");
    copy(&pki.server.key, &key);
    let given = std::fs::read(&pem).unwrap();
    drop(Serve::start(dir, &[]));
    assert_eq!(std::fs::read(&pem).unwrap(), given);
    // Nor by `certs`.
    for (command, options) in [
        (
            &["certs"][..],
            &["-name", "server", "-san", "localhost"][..],
        ),
        (&["certs", "renew"], &["server"]),
        (&["certs", "renew"], &["-newkey", "server"]),
    ] {
        let (code, said) = refused(command, dir, options);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("did not issue it"), "{said}");
        assert_eq!(std::fs::read(&pem).unwrap(), given);
    }
    // Another authority's revocation list stays, too.
    let list = foreign_crl();
    std::fs::write(dir.join("crl.pem"), &list).unwrap();
    let (code, said) = refused(&["serve"], dir, &["-listen", "127.0.0.1:0"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("crl.pem is not replaced"), "{said}");
    assert_eq!(std::fs::read(dir.join("crl.pem")).unwrap(), list.as_bytes());
}

/// A revocation list of an authority that mrhsm did not make.
fn foreign_crl() -> String {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::CrlSign];
    params
        .distinguished_name
        .push(DnType::CommonName, "Example CA");
    let issuer = Issuer::new(params, KeyPair::generate().unwrap());
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2026, 1, 1),
        next_update: date_time_ymd(2099, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    list.signed_by(&issuer).unwrap().pem().unwrap()
}

#[test]
fn a_certificate_that_expires_soon_is_renewed_only_if_it_is_our_own() {
    let (folder, elsewhere) = (scratch(), scratch());
    let (dir, other) = (folder.path(), elsewhere.path());
    let soon = ["-name", "server", "-san", "localhost", "-days", "10"];
    certs(dir, &soon);
    let read = |dir: &Path| std::fs::read(dir.join("server.pem")).unwrap();
    let before = read(dir);
    drop(Serve::start(dir, &[]));
    assert_ne!(read(dir), before);
    certs(other, &soon);
    for name in ["server.pem", "server.key"] {
        copy(&other.join(name), &dir.join(name));
    }
    drop(Serve::start(dir, &[]));
    assert_eq!(read(dir), read(other));
    let said = std::fs::read_to_string(dir.join("stderr")).unwrap();
    assert!(said.contains("does not renew it"), "{said}");
    // At SIGHUP neither: the server goes on with what it has.
    let serve = Serve::start(dir, &[]);
    std::fs::write(dir.join("server.pem"), "a typo").unwrap();
    signal(&serve, "HUP");
    wait_for(|| {
        let said = std::fs::read_to_string(dir.join("stderr")).unwrap();
        said.contains("The certificates stay what they were")
    });
    assert_eq!(read(dir), b"a typo");
}

fn signal(serve: &Serve, name: &str) {
    let sent = Command::new("kill")
        .args(["-s", name, &serve.process.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
}

fn wait_for(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_certificate_has_every_organisational_unit() {
    let folder = scratch();
    let dir = folder.path();
    certs(dir, &["-name", "both", "-cluster", "a,b"]);
    certs(dir, &["-name", "twice", "-cluster", "a", "-cluster", "b"]);
    let units = |name: &str| -> Vec<String> {
        let text = std::fs::read(dir.join(name)).unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(&text).unwrap();
        let (_, parsed) = X509Certificate::from_der(&pem.contents).unwrap();
        let units = parsed.subject().iter_organizational_unit();
        units
            .map(|unit| unit.as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(units("both.pem"), ["a", "b"]);
    assert_eq!(units("twice.pem"), ["a", "b"]);
    let renewed = Command::new(env!("CARGO_BIN_EXE_mrhsm"))
        .args(["certs", "renew", "-dir"])
        .arg(dir)
        .arg("both")
        .status();
    assert!(renewed.unwrap().success());
    assert_eq!(units("both.pem"), ["a", "b"]);
}

#[test]
fn process_and_port_are_written_while_it_serves() {
    let (folder, home) = (scratch(), scratch());
    let dir = folder.path();
    let (pid, port) = (home.path().join("pid"), home.path().join("port"));
    let words = [
        "-pidfile",
        pid.to_str().unwrap(),
        "-portfile",
        port.to_str().unwrap(),
    ];
    // Left by one that was killed.
    std::fs::write(&pid, "4711\n").unwrap();
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    let mut serve = Serve::start(dir, &words);
    assert_eq!(read(&pid), format!("{}\n", serve.process.id()));
    assert_eq!(read(&port), format!("{}\n", serve.port));
    locate(&serve.client(dir, "client", Version::V1_4), Vec::new());
    signal(&serve, "TERM");
    assert!(serve.process.wait().unwrap().success());
    assert!(!pid.exists() && !port.exists());
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
    // The file of a server that was started meanwhile stays.
    let mut serve = Serve::start(dir, &words);
    std::fs::write(&pid, "4712\n").unwrap();
    signal(&serve, "TERM");
    assert!(serve.process.wait().unwrap().success());
    assert_eq!(read(&pid), "4712\n");
    // A file that is none of these is not replaced.
    std::fs::write(&pid, "precious").unwrap();
    let (code, said) = refused(
        &["serve"],
        dir,
        &[&["-listen", "127.0.0.1:0"], &words[..]].concat(),
    );
    assert_eq!(code, 2, "{said}");
    assert_eq!(read(&pid), "precious");
}

#[test]
fn a_hangup_reopens_every_log() {
    let (folder, home) = (scratch(), scratch());
    let (dir, log) = (folder.path(), home.path().join("log"));
    let moved = home.path().join("log.1");
    let before = format!("export MRHSM_LOG=debug MRHSM_LOG_FILE={};", log.display());
    let serve = Serve::start_after(&before, dir, &[]);
    let audit = dir.join("audit.log");
    wait_for(|| audit.exists());
    wait_for(|| log.exists());
    std::fs::rename(&log, &moved).unwrap();
    std::fs::rename(&audit, dir.join("audit.moved")).unwrap();
    signal(&serve, "HUP");
    wait_for(|| {
        let said = std::fs::read_to_string(dir.join("stderr")).unwrap();
        said.contains("New connections use the certificates")
    });
    assert!(audit.exists() && log.exists());
    let open = std::fs::read_dir(format!("/proc/{}/fd", serve.process.id())).unwrap();
    let open: Vec<_> = open
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .collect();
    assert!(open.contains(&log) && !open.contains(&moved), "{open:?}");
}
