//! Public objects without a login (PKCS#11 3.0, 4.4 and the table of session states in 5.6): they are found, read, used and added
//! in a public session, also where the user PIN is not stored.

use mrhsm_pkcs11::ck::*;

use super::app::{App, Mech, open, rows, served};
use crate::ffi::host::{Host, USER_PIN, alone};
use crate::kmip_server::Personality;

/// A token with a key pair, a certificate, public and private data.
fn filled(host: &Host) -> CK_SLOT_ID {
    host.initialize();
    let slot = host.make_token();
    let app = open(host, slot, true).unwrap();
    app.login(CKU_USER, USER_PIN).unwrap();
    fill(&app);
    app.close().unwrap();
    slot
}

fn fill(app: &App<'_>) {
    let public = rows![CKA_TOKEN: true, CKA_ID: b"1", CKA_LABEL: b"pair", CKA_MODULUS_BITS: 2048 as CK_ULONG];
    let private = rows![CKA_TOKEN: true, CKA_ID: b"1", CKA_LABEL: b"pair"];
    app.pair(Mech::bare(CKM_RSA_PKCS_KEY_PAIR_GEN), &public, &private)
        .unwrap();
    for (label, is_private) in [(b"all ", false), (b"mine", true)] {
        let data = rows![CKA_CLASS: CKO_DATA, CKA_TOKEN: true, CKA_PRIVATE: is_private, CKA_LABEL: label, CKA_VALUE: b"text"];
        app.create(&data).unwrap();
    }
}

fn labels(app: &App<'_>) -> Vec<String> {
    let found = app.find(&rows![CKA_TOKEN: true]).unwrap();
    let label = |object: &CK_OBJECT_HANDLE| String::from_utf8(app.get(*object, CKA_LABEL).unwrap());
    let mut labels: Vec<String> = found.iter().map(|object| label(object).unwrap()).collect();
    labels.sort();
    labels
}

#[test]
fn public_objects_are_found_and_used_without_a_login() {
    alone(|host| {
        let slot = filled(host);
        // Another process, as far as the module is concerned.
        host.finalize();
        host.initialize();
        let app = open(host, slot, false).unwrap();
        assert_eq!(labels(&app), ["all ", "pair"]);
        assert_eq!(app.find(&rows![CKA_CLASS: CKO_PRIVATE_KEY]), Ok(vec![]));
        let public = app.find(&rows![CKA_CLASS: CKO_PUBLIC_KEY, CKA_ID: b"1"]);
        let [public] = public.unwrap()[..] else {
            panic!("one public key");
        };
        assert_eq!(app.get(public, CKA_MODULUS).unwrap().len(), 256);
        assert!(!app.get(public, CKA_PUBLIC_KEY_INFO).unwrap().is_empty());
        let sealed = app
            .encrypt(Mech::bare(CKM_RSA_PKCS), public, b"for the user")
            .unwrap();
        let data = app.find(&rows![CKA_CLASS: CKO_DATA]).unwrap();
        assert_eq!(app.get(data[0], CKA_VALUE).unwrap(), b"text");

        app.login(CKU_USER, USER_PIN).unwrap();
        assert_eq!(labels(&app), ["all ", "mine", "pair", "pair"]);
        let private = app.find(&rows![CKA_CLASS: CKO_PRIVATE_KEY]).unwrap()[0];
        assert_eq!(
            app.decrypt(Mech::bare(CKM_RSA_PKCS), private, &sealed)
                .unwrap(),
            b"for the user"
        );
        // The handle is that of the same object before, during and after the login.
        assert_eq!(app.get(public, CKA_ID).unwrap(), b"1");
        app.logout().unwrap();
        assert_eq!(app.get(public, CKA_ID).unwrap(), b"1");
        assert_eq!(app.get(private, CKA_ID), Err(CKR_OBJECT_HANDLE_INVALID));
        assert_eq!(labels(&app), ["all ", "pair"]);
        host.finalize();
    });
}

#[test]
fn public_objects_are_added_without_a_login() {
    alone(|host| {
        host.initialize();
        let slot = host.make_token();
        let data = |label: &'static [u8; 4], is_private: bool| rows![CKA_CLASS: CKO_DATA, CKA_TOKEN: true, CKA_PRIVATE: is_private, CKA_LABEL: label, CKA_VALUE: b"text"];
        let app = open(host, slot, true).unwrap();
        let one = app.create(&data(b"one ", false)).unwrap();
        let two = app.create(&data(b"two ", false)).unwrap();
        assert_eq!(
            app.create(&data(b"mine", true)),
            Err(CKR_USER_NOT_LOGGED_IN)
        );
        app.set(two, &rows![CKA_LABEL: b"TWO "]).unwrap();
        app.destroy(one).unwrap();
        assert_eq!(app.get(one, CKA_LABEL), Err(CKR_OBJECT_HANDLE_INVALID));
        assert_eq!(labels(&app), ["TWO "]);
        app.close().unwrap();

        let reading = open(host, slot, false).unwrap();
        assert_eq!(labels(&reading), ["TWO "]);
        assert_eq!(
            reading.create(&data(b"thr ", false)),
            Err(CKR_SESSION_READ_ONLY)
        );
        reading.close().unwrap();
        host.finalize();
        host.initialize();
        let app = open(host, slot, true).unwrap();
        assert_eq!(labels(&app), ["TWO "]);
        app.login(CKU_USER, USER_PIN).unwrap();
        assert_eq!(labels(&app), ["TWO "]);
        let two = app.find(&rows![CKA_LABEL: b"TWO "]).unwrap()[0];
        assert_eq!(app.get(two, CKA_VALUE).unwrap(), b"text");
        app.create(&data(b"mine", true)).unwrap();
        app.logout().unwrap();
        // What has a row by now can only be changed by the user.
        assert_eq!(app.get(two, CKA_VALUE).unwrap(), b"text");
        assert_eq!(app.destroy(two), Err(CKR_ACTION_PROHIBITED));
        let renamed = rows![CKA_LABEL: b"new "];
        assert_eq!(app.set(two, &renamed), Err(CKR_ACTION_PROHIBITED));
        app.create(&data(b"late", false)).unwrap();
        assert_eq!(labels(&app), ["TWO ", "late"]);
        app.login(CKU_USER, USER_PIN).unwrap();
        assert_eq!(labels(&app), ["TWO ", "late", "mine"]);
        app.destroy(two).unwrap();
        app.logout().unwrap();
        assert_eq!(labels(&app), ["late"]);
        host.finalize();
    });
}

#[test]
fn a_kmip_token_shows_what_the_last_login_saw() {
    alone(|host| {
        let (server, slot, app) = served(host, Personality::standard());
        fill(&app);
        let value = |app: &App<'_>| {
            let keys = app.find(&rows![CKA_CLASS: CKO_PUBLIC_KEY]).unwrap();
            app.get(keys[0], CKA_PUBLIC_KEY_INFO)
        };
        let data = |app: &App<'_>| {
            let data = app.find(&rows![CKA_LABEL: b"all "]).unwrap();
            app.get(data[0], CKA_VALUE)
        };
        let open_key = rows![CKA_CLASS: CKO_SECRET_KEY, CKA_KEY_TYPE: CKK_GENERIC_SECRET, CKA_TOKEN: true, CKA_PRIVATE: false, CKA_SENSITIVE: false, CKA_EXTRACTABLE: true, CKA_LABEL: b"key ", CKA_VALUE: b"everybody's key, and yet a secret"];
        let key = app.create(&open_key).unwrap();
        assert!(app.get(key, CKA_VALUE).is_ok());
        let seen = (value(&app), data(&app));
        assert!(seen.0.is_ok() && seen.1.is_ok());
        assert_eq!(labels(&app), ["all ", "key ", "mine", "pair", "pair"]);
        app.close().unwrap();
        host.finalize();
        drop(server);
        let directory = std::env::var_os("MRHSM_TOKEN_DIR").unwrap();
        for folder in std::fs::read_dir(directory).unwrap().flatten() {
            for file in std::fs::read_dir(folder.path()).into_iter().flatten() {
                let file = std::fs::read(file.unwrap().path()).unwrap();
                let text = String::from_utf8_lossy(&file);
                assert!(
                    !text.contains("and yet a secret") && !text.contains("101,118,101,114,121")
                );
            }
        }

        host.initialize();
        let app = open(host, slot, true).unwrap();
        assert_eq!(labels(&app), ["all ", "pair"]);
        assert_eq!((value(&app), data(&app)), seen);
        let mine = rows![CKA_CLASS: CKO_DATA, CKA_TOKEN: true, CKA_LABEL: b"new "];
        assert_eq!(app.create(&mine), Err(CKR_USER_NOT_LOGGED_IN));
        let public = app.find(&rows![CKA_CLASS: CKO_PUBLIC_KEY]).unwrap()[0];
        assert_eq!(app.destroy(public), Err(CKR_ACTION_PROHIBITED));
        app.encrypt(Mech::bare(CKM_RSA_PKCS), public, b"for the user")
            .unwrap();
        host.finalize();
    });
}

#[test]
fn a_kmip_token_forgets_what_is_gone() {
    alone(|host| {
        let (_server, slot, app) = served(host, Personality::standard());
        fill(&app);
        let read = |app: &App<'_>| {
            let found = app.find(&rows![CKA_CLASS: CKO_DATA]).unwrap();
            found
                .iter()
                .for_each(|object| _ = app.get(*object, CKA_VALUE).unwrap());
        };
        read(&app);
        app.logout().unwrap();
        assert!(labels(&app).is_empty(), "not all of them are known");
        app.login(CKU_USER, USER_PIN).unwrap();
        let keys = app.find(&rows![CKA_CLASS: CKO_PUBLIC_KEY]).unwrap();
        app.get(keys[0], CKA_MODULUS).unwrap();
        read(&app);
        labels(&app);
        app.logout().unwrap();
        assert_eq!(labels(&app), ["all ", "pair"]);
        app.login(CKU_USER, USER_PIN).unwrap();
        let data = app.find(&rows![CKA_LABEL: b"all "]).unwrap()[0];
        app.destroy(data).unwrap();
        app.logout().unwrap();
        host.finalize();
        host.initialize();
        let app = open(host, slot, true).unwrap();
        assert_eq!(labels(&app), ["pair"]);
        app.login(CKU_USER, USER_PIN).unwrap();
        let another = rows![CKA_TOKEN: true, CKA_ID: b"2", CKA_MODULUS_BITS: 2048 as CK_ULONG];
        let private = rows![CKA_TOKEN: true, CKA_ID: b"2"];
        app.pair(Mech::bare(CKM_RSA_PKCS_KEY_PAIR_GEN), &another, &private)
            .unwrap();
        app.logout().unwrap();
        let stored = app.find(&rows![CKA_CLASS: CKO_PUBLIC_KEY]).unwrap();
        assert!(stored.is_empty(), "the value of one is not known");
        host.finalize();
    });
}
