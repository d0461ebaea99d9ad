//! Keys that stop to protect data on their server: revoked, or past their dates. The module notices within a bounded time, whatever is in its
//! caches, and goes on to decrypt.

use std::time::Duration;

use mrhsm_pkcs11::ck::*;
use mrhsm_pkcs11::config::CryptoPolicy;
use mrhsm_pkcs11::kmip::{AddAttributeRequest, AttributeValue, OperationCode as O};
use mrhsm_pkcs11::net::Client;
use mrhsm_pkcs11::store::kmip::KmipStore;
use mrhsm_pkcs11::store::{KeyStore, Revocation, Uid, now};
use mrhsm_pkcs11::token::attr::vendor;
use mrhsm_pkcs11::ttlv::DateTime;

use super::app::{App, Mech, Rows, Rv, input, open, rows};
use super::usual::{P256, TEXT};
use crate::ffi::host::{Host, USER_PIN, alone, ck, kmip_token, kmip_token_with};
use crate::kmip_server::{Personality, Script, Server};
use crate::store_kmip::config;

/// A little longer than the module goes by what it has read of a key (`docs/OPERATIONS.md`).
const BOUND: Duration = Duration::from_millis(15_300);

const DEADLINE: Duration = Duration::from_secs(10);

fn cbc() -> Mech {
    Mech::iv(CKM_AES_CBC_PAD, &[1; 16])
}

fn user(host: &Host, slot: CK_SLOT_ID) -> App<'_> {
    host.initialize();
    let app = open(host, slot, true).unwrap();
    app.login(CKU_USER, USER_PIN).unwrap();
    app
}

fn uid(app: App<'_>, key: CK_OBJECT_HANDLE) -> Uid {
    Uid(String::from_utf8(app.get(key, CKA_UNIQUE_ID).unwrap()).unwrap())
}

/// An AES key that is fetched and used here.
fn fetched(app: App<'_>, label: &[u8]) -> CK_OBJECT_HANDLE {
    let rows = rows![CKA_TOKEN: true, CKA_VALUE_LEN: 32, CKA_EXTRACTABLE: true, CKA_LABEL: label];
    app.generate(CKM_AES_KEY_GEN, &rows).unwrap()
}

fn update(app: App<'_>) -> CK_RV {
    let (host, (at, n)) = (app.host, input(TEXT));
    let (mut out, mut len) = ([0u8; 96], 96);
    ck!(host.C_EncryptUpdate(app.session, at, n, out.as_mut_ptr(), &mut len))
}

#[test]
fn a_compromised_key_stops_to_protect_and_goes_on_to_decrypt() {
    alone(|host| {
        let server = Server::start(Personality::standard(), Script::none());
        let slot = kmip_token(server.port(), DEADLINE);
        let app = user(host, slot);
        let (key, good) = (fetched(app, b"key"), fetched(app, b"good"));
        let kept = rows![CKA_TOKEN: true, CKA_VALUE_LEN: 32, CKA_EXTRACTABLE: false];
        let kept = app.generate(CKM_AES_KEY_GEN, &kept).unwrap();
        let open_pair = rows![CKA_TOKEN: true, CKA_EXTRACTABLE: true];
        let (public, private) = app
            .pair(
                CKM_EC_KEY_PAIR_GEN,
                &rows![CKA_EC_PARAMS: P256, CKA_TOKEN: true],
                &open_pair,
            )
            .unwrap();
        let secret = rows![CKA_TOKEN: true, CKA_VALUE_LEN: 32, CKA_EXTRACTABLE: true, CKA_DERIVE: true, CKA_SIGN: true];
        let secret = app.generate(CKM_GENERIC_SECRET_KEY_GEN, &secret).unwrap();
        let session_key = app.aes();

        type Use<'a> = (&'static str, CK_OBJECT_HANDLE, Box<dyn Fn() -> Rv<()> + 'a>);
        let derived = rows![CKA_CLASS: CKO_SECRET_KEY, CKA_VALUE_LEN: 32];
        let uses: Vec<Use<'_>> = vec![
            (
                "encrypt",
                key,
                Box::new(|| app.encrypt(cbc(), key, TEXT).map(drop)),
            ),
            (
                "wrap",
                key,
                Box::new(|| app.wrap(CKM_AES_KEY_WRAP, key, session_key).map(drop)),
            ),
            (
                "encrypt there",
                kept,
                Box::new(|| app.encrypt(cbc(), kept, TEXT).map(drop)),
            ),
            (
                "sign",
                private,
                Box::new(|| app.sign(CKM_ECDSA_SHA256, private, TEXT).map(drop)),
            ),
            (
                "authenticate",
                secret,
                Box::new(|| app.sign(CKM_SHA256_HMAC, secret, TEXT).map(drop)),
            ),
            (
                "derive",
                secret,
                Box::new(|| {
                    app.derive(CKM_SHA256_KEY_DERIVATION, secret, &derived)
                        .map(drop)
                }),
            ),
        ];
        for (name, _, work) in &uses {
            assert_eq!(work(), Ok(()), "{name}");
        }
        let sealed = app.encrypt(cbc(), key, TEXT).unwrap();
        let sealed_there = app.encrypt(cbc(), kept, TEXT).unwrap();
        let signature = app.sign(CKM_ECDSA_SHA256, private, TEXT).unwrap();
        let wrapped = app.wrap(CKM_AES_KEY_WRAP, key, session_key).unwrap();
        app.encrypt(cbc(), good, TEXT).unwrap();
        // An operation that lasts.
        let long = open(host, slot, false).unwrap();
        long.encrypt_init(cbc(), key).unwrap();
        assert_eq!(update(long), CKR_OK);

        let client = KmipStore::open(config(&[&server])).unwrap();
        for key in [key, kept, private, secret] {
            client
                .revoke(&uid(app, key), Revocation::KeyCompromise)
                .unwrap();
        }
        std::thread::sleep(BOUND);
        server.clear_log();
        assert_eq!(
            update(long),
            CKR_FUNCTION_FAILED,
            "an operation that began before"
        );
        for (name, _, work) in &uses {
            assert_eq!(work(), Err(CKR_KEY_FUNCTION_NOT_PERMITTED), "{name}");
        }
        assert_eq!(
            app.encrypt(cbc(), good, TEXT).map(drop),
            Ok(()),
            "another key is as it was"
        );
        let asked = server.operations();
        assert!(
            server.count() == 1 && asked.iter().all(|o| *o == O::GET_ATTRIBUTES),
            "all keys in use at once: {asked:?}"
        );
        assert_eq!(app.decrypt(cbc(), key, &sealed).as_deref(), Ok(&TEXT[..]));
        assert_eq!(
            app.verify(CKM_ECDSA_SHA256, public, TEXT, &signature),
            Ok(())
        );
        let aes = rows![CKA_CLASS: CKO_SECRET_KEY, CKA_KEY_TYPE: CKK_AES];
        assert!(app.unwrap(CKM_AES_KEY_WRAP, key, &wrapped, &aes).is_ok());
        assert_eq!(
            app.decrypt(cbc(), kept, &sealed_there).as_deref(),
            Ok(&TEXT[..])
        );
        assert_eq!(server.count_of(O::GET_ATTRIBUTES), 1, "nor asked again");
        host.finalize();
    });
}

/// A key that is used all the time is asked for once in a while, by one thread.
#[test]
fn state_is_not_asked_for_with_every_operation() {
    alone(|host| {
        let server = Server::start(Personality::standard(), Script::none());
        let slot = kmip_token(server.port(), DEADLINE);
        let app = user(host, slot);
        let key = fetched(app, b"key");
        app.encrypt(cbc(), key, TEXT).unwrap();
        server.clear_log();
        for _ in 0..100 {
            app.encrypt(cbc(), key, TEXT).unwrap();
        }
        assert_eq!(server.operations(), []);
        std::thread::sleep(BOUND);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let app = open(host, slot, false).unwrap();
                    for _ in 0..20 {
                        app.encrypt(cbc(), key, TEXT).unwrap();
                    }
                });
            }
        });
        assert_eq!(server.operations(), [O::GET_ATTRIBUTES]);
        host.finalize();
    });
}

#[test]
fn without_an_answer_the_last_state_counts_while_a_value_may_be_kept() {
    alone(|host| {
        let server = Server::start(Personality::standard(), Script::none());
        let slot = kmip_token(server.port(), DEADLINE);
        let brief = kmip_token_with(server.port(), |s| s.key_cache_millis = 6_000);
        let app = user(host, slot);
        let key = fetched(app, b"key");
        let brief = open(host, brief, true).unwrap();
        brief.login(CKU_USER, USER_PIN).unwrap();
        let known = brief.find(&rows![CKA_LABEL: b"key"]).unwrap()[0];
        for (app, key) in [(app, key), (brief, known)] {
            app.encrypt(cbc(), key, TEXT).unwrap();
        }
        server.stop();
        std::thread::sleep(BOUND);
        for _ in 0..3 {
            assert_eq!(app.encrypt(cbc(), key, TEXT).map(drop), Ok(()));
        }
        assert_eq!(
            brief.encrypt(cbc(), known, TEXT),
            Err(CKR_DEVICE_REMOVED),
            "older than a value is kept"
        );
        server.restart();
        let client = KmipStore::open(config(&[&server])).unwrap();
        client
            .revoke(&uid(app, key), Revocation::KeyCompromise)
            .unwrap();
        assert_eq!(
            brief.encrypt(cbc(), known, TEXT),
            Err(CKR_KEY_FUNCTION_NOT_PERMITTED)
        );
        std::thread::sleep(BOUND);
        assert_eq!(
            app.encrypt(cbc(), key, TEXT),
            Err(CKR_KEY_FUNCTION_NOT_PERMITTED)
        );
        host.finalize();
    });
}

#[test]
fn a_key_past_its_dates_stops_to_protect() {
    alone(|host| {
        let server = Server::start(Personality::standard(), Script::none());
        let slot = kmip_token(server.port(), DEADLINE);
        let app = user(host, slot);
        let client = Client::new(config(&[&server]));
        let date = |label: &[u8], value: AttributeValue| {
            let key = fetched(app, label);
            client
                .request(&AddAttributeRequest {
                    unique_identifier: Some(uid(app, key).0.as_str().into()),
                    attribute: value.into(),
                })
                .unwrap();
        };
        let soon = DateTime(now() + 9);
        date(b"stops", AttributeValue::ProtectStopDate(soon));
        date(b"ends", AttributeValue::DeactivationDate(soon));
        host.finalize();
        let app = user(host, slot);
        let keys: Vec<_> = [&b"stops"[..], b"ends"]
            .into_iter()
            .map(|label| app.find(&rows![CKA_LABEL: label]).unwrap()[0])
            .collect();
        let sealed: Vec<_> = keys
            .iter()
            .map(|key| app.encrypt(cbc(), *key, TEXT).unwrap())
            .collect();
        while now() <= soon.0 {
            std::thread::sleep(Duration::from_millis(100));
        }
        server.clear_log();
        for (key, sealed) in keys.iter().zip(&sealed) {
            assert_eq!(
                app.encrypt(cbc(), *key, TEXT),
                Err(CKR_KEY_FUNCTION_NOT_PERMITTED)
            );
            assert_eq!(app.decrypt(cbc(), *key, sealed).as_deref(), Ok(&TEXT[..]));
        }
        assert_eq!(server.operations(), [], "the dates are known");
        host.finalize();
    });
}

/// What a key says of itself, and whether its server keeps it.
fn claims(app: App<'_>, key: CK_OBJECT_HANDLE) -> [bool; 5] {
    [
        CKA_LOCAL,
        CKA_ALWAYS_SENSITIVE,
        CKA_NEVER_EXTRACTABLE,
        CKA_EXTRACTABLE,
        vendor::KEPT,
    ]
    .map(|kind| app.get(key, kind).is_ok_and(|value| value == [CK_TRUE]))
}

#[test]
fn only_a_key_that_its_server_keeps_claims_that_it_was_never_extractable() {
    alone(|host| {
        for (personality, keeps) in [
            (Personality::standard(), true),
            (Personality::pykmip_like(), true),
            (Personality::keystore_1_0(), false),
        ] {
            let name = personality.name;
            let server = Server::start(personality, Script::none());
            let slot = kmip_token(server.port(), DEADLINE);
            let fetching = kmip_token_with(server.port(), |s| s.crypto = CryptoPolicy::Local);
            let app = user(host, slot);
            let (closed, token) = (
                rows![CKA_EXTRACTABLE: false, CKA_SENSITIVE: true],
                |label: &[u8]| rows![CKA_TOKEN: true, CKA_LABEL: label],
            );
            let aes = rows![CKA_VALUE_LEN: 32];
            let generate = |rows: &Rows| app.generate(CKM_AES_KEY_GEN, rows).unwrap();
            let value = rows![CKA_CLASS: CKO_SECRET_KEY, CKA_KEY_TYPE: CKK_AES];
            let imported = [rows![; value, CKA_VALUE: &[9; 32]], closed.clone()].concat();
            let hidden = generate(&[aes.clone(), closed.clone()].concat());
            assert_eq!(
                claims(app, hidden),
                [true, true, true, false, false],
                "{name}: it lives in this process"
            );
            let pair = |label: &[u8], rows: &Rows| {
                app.pair(
                    CKM_EC_KEY_PAIR_GEN,
                    &rows![CKA_EC_PARAMS: P256, CKA_TOKEN: true],
                    &[token(label), rows.clone()].concat(),
                )
                .unwrap()
                .1
            };
            let kek = app.aes();
            let wrapped = app.wrap(CKM_AES_KEY_WRAP, kek, kek).unwrap();
            let unwrap = |rows: &Rows| {
                let rows = [value.clone(), token(b"unwrapped"), rows.clone()].concat();
                app.unwrap(CKM_AES_KEY_WRAP, kek, &wrapped, &rows).unwrap()
            };
            let (base, derived) = (
                rows![CKA_VALUE_LEN: 32, CKA_DERIVE: true],
                rows![CKA_CLASS: CKO_SECRET_KEY, CKA_VALUE_LEN: 32],
            );
            let base = app
                .generate(
                    CKM_GENERIC_SECRET_KEY_GEN,
                    &rows![; base, CKA_SENSITIVE: true, CKA_EXTRACTABLE: false],
                )
                .unwrap();
            let derived = [derived, token(b"derived"), closed.clone()].concat();
            let made: Vec<(&[u8], CK_OBJECT_HANDLE, [bool; 5])> = vec![
                (
                    b"silent",
                    generate(&[aes.clone(), token(b"silent")].concat()),
                    [true, true, false, false, false],
                ),
                (
                    b"kept",
                    generate(&[aes.clone(), token(b"kept"), closed.clone()].concat()),
                    [true, true, keeps, false, keeps],
                ),
                (
                    b"silent pair",
                    pair(b"silent pair", &rows![]),
                    [true, true, false, false, false],
                ),
                (
                    b"kept pair",
                    pair(b"kept pair", &closed),
                    [true, true, name == "standard", false, name == "standard"],
                ),
                (
                    b"imported",
                    app.create(&[imported, token(b"imported")].concat())
                        .unwrap(),
                    [false, false, false, false, false],
                ),
                (
                    b"unwrapped",
                    unwrap(&closed),
                    [false, false, false, false, false],
                ),
                (
                    b"derived",
                    app.derive(CKM_SHA256_KEY_DERIVATION, base, &derived)
                        .unwrap(),
                    [false, true, false, false, false],
                ),
                (
                    b"copied",
                    app.copy(hidden, &token(b"copied")).unwrap(),
                    [true, true, false, false, false],
                ),
            ];
            let labelled = |label: &[u8]| String::from_utf8_lossy(label).into_owned();
            for (label, key, wanted) in &made {
                assert_eq!(claims(app, *key), *wanted, "{name}, {}", labelled(label));
            }
            host.finalize();
            let app = user(host, slot);
            let fetching = open(host, fetching, true).unwrap();
            fetching.login(CKU_USER, USER_PIN).unwrap();
            for (label, _, wanted) in &made {
                let label = (labelled(label), *label);
                let found = |app: App<'_>| {
                    let rows = rows![CKA_LABEL: label.1];
                    let found = app.find(&rows).unwrap();
                    assert_eq!(found.len(), 1, "{name}, {}", label.0);
                    claims(app, found[0])
                };
                assert_eq!(found(app), *wanted, "{name}, {}, opened again", label.0);
                let never = found(fetching)[2];
                assert!(!never, "{name}, {}: it may be fetched now", label.0);
            }
            host.finalize();
        }
    });
}
