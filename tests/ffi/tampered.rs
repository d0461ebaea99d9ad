//! A token whose configuration somebody changed without a PIN: applications are told, and nothing reaches the new place.

use std::ffi::OsStr;
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::ptr::null_mut;
use std::time::Duration;

use mrhsm_pkcs11::ck::*;

use super::host::{
    Host, SO_PIN, USER_PIN, alone, alone_with, attribute, ck, kmip_token, mechanism,
};
use crate::kmip_server::{Personality, Script, Server};

const DEADLINE: Duration = Duration::from_secs(5);

fn tokens() -> PathBuf {
    std::env::var_os("MRHSM_TOKEN_DIR").unwrap().into()
}

fn folder() -> PathBuf {
    let mut folders = fs::read_dir(tokens())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    folders.find(|path| path.is_dir()).unwrap()
}

/// The configuration and the authority, as they are now.
fn saved() -> [(PathBuf, Vec<u8>); 2] {
    [tokens().join("mrhsm.conf"), folder().join("ca.pem")].map(|path| {
        let content = fs::read(&path).unwrap();
        (path, content)
    })
}

fn restore(saved: &[(PathBuf, Vec<u8>)]) {
    for (path, content) in saved {
        fs::write(path, content).unwrap();
    }
}

/// Sends the token to the attacker's port.
fn redirect(from: u16, to: u16) {
    let path = tokens().join("mrhsm.conf");
    let text = fs::read_to_string(&path).unwrap();
    let (from, to) = (format!("127.0.0.1:{from}"), format!("127.0.0.1:{to}"));
    assert!(text.contains(&from));
    fs::write(&path, text.replace(&from, &to)).unwrap();
    fs::write(folder().join("ca.pem"), "no certificate").unwrap();
}

/// A port of the attacker, and whether anybody connected to it.
fn trap() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

fn find(host: &Host, session: CK_SESSION_HANDLE) -> CK_RV {
    let (mut found, mut count) = ([0; 8], 0);
    match ck!(host.C_FindObjectsInit(session, null_mut(), 0)) {
        CKR_OK => {}
        refused => return refused,
    }
    let rv = ck!(host.C_FindObjects(session, found.as_mut_ptr(), 8, &mut count));
    assert_eq!(ck!(host.C_FindObjectsFinal(session)), CKR_OK);
    rv
}

/// A new key of the token, whose value goes to the server.
fn create(host: &Host, session: CK_SESSION_HANDLE) -> CK_RV {
    let (mut class, mut kind, mut yes) = (CKO_SECRET_KEY, CKK_AES, CK_TRUE);
    let (mut value, mut key) = ([7u8; 32], 0);
    let mut template = [
        attribute(CKA_CLASS, &mut class),
        attribute(CKA_KEY_TYPE, &mut kind),
        attribute(CKA_TOKEN, &mut yes),
        attribute(CKA_VALUE, &mut value),
    ];
    ck!(host.C_CreateObject(session, template.as_mut_ptr(), 4, &mut key))
}

#[test]
fn a_login_with_the_right_pin_is_refused_and_nobody_is_reached() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let environment = [
        ("MRHSM_LOG", OsStr::new("error")),
        ("MRHSM_LOG_FILE", log.path().as_os_str()),
    ];
    alone_with(&environment, |host| {
        let server = Server::start(Personality::standard(), Script::none());
        let slot = kmip_token(server.port(), DEADLINE);
        let (trap, port) = trap();
        let good = saved();
        redirect(server.port(), port);
        host.initialize();
        let session = host.open(slot);
        for _ in 0..3 {
            assert_eq!(host.login(session, CKU_USER, USER_PIN), CKR_DEVICE_ERROR);
            assert_eq!(host.login(session, CKU_SO, SO_PIN), CKR_DEVICE_ERROR);
        }
        assert_eq!(
            host.login(session, CKU_USER, b"wrong pin"),
            CKR_PIN_INCORRECT
        );
        assert_eq!(create(host, session), CKR_USER_NOT_LOGGED_IN);
        let log = fs::read_to_string(std::env::var_os("MRHSM_LOG_FILE").unwrap()).unwrap();
        assert!(
            log.contains("mrhsm set -accept") && log.contains("hosts is"),
            "{log}"
        );

        restore(&good);
        assert_eq!(host.login(session, CKU_USER, USER_PIN), CKR_OK);
        assert_eq!(create(host, session), CKR_OK);
        assert!(trap.accept().is_err(), "the attacker was reached");
        host.finalize();
    });
}

/// The configuration is changed after the login, before the store is used for the first time, and while it is.
#[test]
fn a_change_under_a_running_application_is_not_taken_over() {
    alone(|host| {
        let server = Server::start(Personality::standard(), Script::none());
        let slot = kmip_token(server.port(), DEADLINE);
        let (trap, port) = trap();
        let good = saved();
        host.initialize();
        let session = host.open(slot);
        assert_eq!(host.login(session, CKU_USER, USER_PIN), CKR_OK);
        redirect(server.port(), port);
        assert_eq!(find(host, session), CKR_DEVICE_ERROR);
        assert_eq!(create(host, session), CKR_DEVICE_ERROR);
        restore(&good);
        assert_eq!(create(host, session), CKR_OK);

        redirect(server.port(), port);
        // Reads the directory again.
        host.slots();
        let before = server.count();
        assert_eq!(create(host, session), CKR_OK);
        assert!(server.count() > before, "the key went to another server");
        assert_eq!(ck!(host.C_Logout(session)), CKR_OK);
        assert_eq!(host.login(session, CKU_USER, USER_PIN), CKR_DEVICE_ERROR);
        assert!(trap.accept().is_err(), "the attacker was reached");
        host.finalize();
    });
}

/// Where the user PIN is kept, a token is opened without a login.
#[test]
fn without_a_login_nobody_is_reached_either() {
    alone(|host| {
        let server = Server::start(Personality::standard(), Script::none());
        let slot = kmip_token(server.port(), DEADLINE);
        fs::write(folder().join("user.pin"), USER_PIN).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(folder().join("user.pin"), mode).unwrap();
        let (trap, port) = trap();
        host.initialize();
        let session = host.open(slot);
        assert_eq!(find(host, session), CKR_OK);
        redirect(server.port(), port);
        host.slots();
        assert_eq!(find(host, session), CKR_DEVICE_ERROR);
        assert!(trap.accept().is_err(), "the attacker was reached");
        host.finalize();
    });
}

/// Nothing authenticates `[defaults]`, so a new token does not take its hosts from there.
#[test]
fn a_new_token_does_not_trust_the_hosts_of_the_defaults() {
    alone(|host| {
        let (trap, port) = trap();
        let path = tokens().join("mrhsm.conf");
        let text =
            format!("version = 1\n[defaults]\nstore = \"kmip\"\nhosts = [\"127.0.0.1:{port}\"]\n");
        fs::write(&path, text).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(&path, mode).unwrap();
        host.initialize();
        let (_, session) = host.logged_in();
        assert_eq!(create(host, session), CKR_DEVICE_ERROR);
        assert!(trap.accept().is_err(), "the attacker was reached");
        host.finalize();
    });
}

/// Initialising a token anew would bless what it finds.
#[test]
fn a_changed_token_is_not_initialised_again() {
    alone(|host| {
        let slot = kmip_token(1, DEADLINE);
        let (trap, port) = trap();
        redirect(1, port);
        host.initialize();
        let mut label = *b"again                           ";
        let (pin, len) = (SO_PIN.as_ptr().cast_mut(), SO_PIN.len() as CK_ULONG);
        let rv = ck!(host.C_InitToken(slot, pin, len, label.as_mut_ptr()));
        assert_eq!(rv, CKR_DEVICE_ERROR);
        assert!(trap.accept().is_err(), "the attacker was reached");
        host.finalize();
    });
}

/// A policy is a setting like any other.
#[test]
fn a_file_token_with_another_policy_is_refused() {
    alone(|host| {
        host.initialize();
        let (slot, session) = host.logged_in();
        assert_eq!(ck!(host.C_Logout(session)), CKR_OK);
        let path = tokens().join("mrhsm.conf");
        let text = fs::read_to_string(&path).unwrap();
        let (defaults, token) = text.split_at(text.find("[[token]]").unwrap());
        for (from, to) in [
            ("policy = \"default\"", "policy = \"compatible\""),
            ("crypto = \"auto\"", "crypto = \"local\""),
            ("store = \"file\"", "store = \"kmip\""),
        ] {
            assert!(token.contains(from), "{token}");
            fs::write(&path, defaults.to_owned() + &token.replace(from, to)).unwrap();
            assert_eq!(
                host.login(session, CKU_USER, USER_PIN),
                CKR_DEVICE_ERROR,
                "{to}"
            );
        }
        fs::write(&path, &text).unwrap();
        assert_eq!(host.login(session, CKU_USER, USER_PIN), CKR_OK);
        let mut key = 0;
        let mut length = 32 as CK_ULONG;
        let mut template = [attribute(CKA_VALUE_LEN, &mut length)];
        let mut generate = mechanism(CKM_AES_KEY_GEN);
        assert_eq!(
            ck!(host.C_GenerateKey(session, &mut generate, template.as_mut_ptr(), 1, &mut key)),
            CKR_OK
        );
        assert_ne!(slot, CK_UNAVAILABLE_INFORMATION);
        host.finalize();
    });
}
