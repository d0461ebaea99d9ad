//! The same of keys on KMIP servers: what the module alone knows of them survives the server, whatever the server knows.

use std::time::Duration;

use mrhsm_pkcs11::ck::*;

use super::app::{App, Mech, Rows, at, open, rows};
use super::usual::{ED25519, TEXT};
use crate::ffi::host::{Host, USER_PIN, alone, kmip_token};
use crate::kmip_server::{Personality, Script, Server};

fn user(host: &Host, slot: CK_SLOT_ID) -> App<'_> {
    host.initialize();
    let app = open(host, slot, true).unwrap();
    app.login(CKU_USER, USER_PIN).unwrap();
    app
}

fn found(app: App<'_>, label: &[u8]) -> CK_OBJECT_HANDLE {
    let found = app.find(&rows![CKA_LABEL: label]).unwrap();
    assert_eq!(found.len(), 1, "{}", String::from_utf8_lossy(label));
    found[0]
}

/// Keys of types that KMIP has no name for, and mechanisms that it has no words for, work with token keys, then and in a next process.
fn keys_of_every_type_work(host: &Host, personality: Personality) {
    let server = Server::start(personality, Script::none());
    let slot = kmip_token(server.port(), Duration::from_secs(10));
    let app = user(host, slot);
    let chacha = CK_CHACHA20_PARAMS {
        pBlockCounter: at(&[0; 4]),
        blockCounterBits: 32,
        pNonce: at(TEXT),
        ulNonceBits: 96,
    };
    let prehashed = CK_EDDSA_PARAMS {
        phFlag: CK_TRUE,
        ulContextDataLen: 3,
        pContextData: at(TEXT),
    };
    let (unit, chacha) = (
        Mech::iv(CKM_AES_XTS, &[4; 16]),
        Mech::with(CKM_CHACHA20, chacha),
    );
    let prehashed = Mech::with(CKM_EDDSA, prehashed);
    // Said not to be extractable, and fetched all the same: no server does anything with such keys, so none is told to keep them.
    let fetched = rows![CKA_TOKEN: true, CKA_SENSITIVE: true, CKA_EXTRACTABLE: false];
    let secret =
        |key_type: CK_KEY_TYPE| rows![; fetched, CKA_CLASS: CKO_SECRET_KEY, CKA_KEY_TYPE: key_type];
    let key = |label: &str, rows: Rows| [rows, rows![CKA_LABEL: label.as_bytes()]].concat();

    let value = [&[1; 32][..], &[2; 32]].concat();
    let xts = app
        .create(&key(
            "xts",
            rows![; secret(CKK_AES_XTS), CKA_VALUE: &value[..]],
        ))
        .unwrap();
    let made = app
        .generate(
            CKM_AES_XTS_KEY_GEN,
            &key("made", rows![; fetched, CKA_VALUE_LEN: 64]),
        )
        .unwrap();
    app.generate(
        CKM_SHA384_KEY_GEN,
        &key("hmac", rows![CKA_TOKEN: true, CKA_VALUE_LEN: 48]),
    )
    .unwrap();
    let stream = app
        .create(&key(
            "chacha",
            rows![; secret(CKK_CHACHA20), CKA_VALUE: &value[..32]],
        ))
        .unwrap();
    let pair = app
        .pair(
            CKM_EC_EDWARDS_KEY_PAIR_GEN,
            &key("public", rows![CKA_EC_PARAMS: ED25519, CKA_TOKEN: true]),
            &key("private", rows![CKA_TOKEN: true]),
        )
        .unwrap();
    // What a session key of the same value makes, and no server has a hand in.
    let here = |key_type, value: &[u8]| app.secret(key_type, value);
    let sealed = app
        .encrypt(unit.clone(), here(CKK_AES_XTS, &value), TEXT)
        .unwrap();
    let streamed = app
        .encrypt(chacha.clone(), here(CKK_CHACHA20, &value[..32]), TEXT)
        .unwrap();
    assert_eq!(app.encrypt(unit.clone(), xts, TEXT).as_ref(), Ok(&sealed));
    assert_eq!(
        app.encrypt(chacha.clone(), stream, TEXT).as_ref(),
        Ok(&streamed)
    );
    let by_made = app.encrypt(unit.clone(), made, TEXT).unwrap();
    let signature = app.sign(prehashed.clone(), pair.1, TEXT).unwrap();
    host.finalize();

    let app = user(host, slot);
    for (label, key_type, len) in [
        (&b"xts"[..], CKK_AES_XTS, 64),
        (b"made", CKK_AES_XTS, 64),
        (b"hmac", CKK_SHA384_HMAC, 48),
        (b"chacha", CKK_CHACHA20, 32),
    ] {
        let key = found(app, label);
        assert_eq!(
            (
                app.number(key, CKA_KEY_TYPE),
                app.number(key, CKA_VALUE_LEN)
            ),
            (key_type, len)
        );
    }
    assert_eq!(
        app.decrypt(unit.clone(), found(app, b"xts"), &sealed)
            .as_deref(),
        Ok(&TEXT[..])
    );
    assert_eq!(
        app.decrypt(unit, found(app, b"made"), &by_made).as_deref(),
        Ok(&TEXT[..])
    );
    assert_eq!(
        app.decrypt(chacha, found(app, b"chacha"), &streamed)
            .as_deref(),
        Ok(&TEXT[..])
    );
    let code = app
        .sign(CKM_SHA384_HMAC, found(app, b"hmac"), TEXT)
        .unwrap();
    assert_eq!(
        app.verify(CKM_SHA384_HMAC, found(app, b"hmac"), TEXT, &code),
        Ok(())
    );
    assert_eq!(
        app.verify(prehashed, found(app, b"public"), TEXT, &signature),
        Ok(())
    );
    host.finalize();
}

/// A check value that is wrong leaves nothing on the server; one that shall not be, is not there in the next process either.
fn check_values_are_true(host: &Host, personality: Personality) {
    let server = Server::start(personality, Script::none());
    let slot = kmip_token(server.port(), Duration::from_secs(10));
    let app = user(host, slot);
    let aes = rows![CKA_CLASS: CKO_SECRET_KEY, CKA_KEY_TYPE: CKK_AES, CKA_TOKEN: true, CKA_VALUE: &[0; 16]];
    let wrong = rows![; aes, CKA_CHECK_VALUE: b"abc"];
    assert_eq!(app.create(&wrong), Err(CKR_ATTRIBUTE_VALUE_INVALID));
    let made = rows![CKA_TOKEN: true, CKA_VALUE_LEN: 16];
    assert_eq!(
        app.generate(CKM_AES_KEY_GEN, &rows![; made, CKA_CHECK_VALUE: b"abc"]),
        Err(CKR_ATTRIBUTE_VALUE_INVALID)
    );
    assert_eq!(server.objects().len(), 0);
    app.create(&rows![; aes, CKA_CHECK_VALUE: b"\x66\xe9\x4b", CKA_LABEL: b"right"])
        .unwrap();
    app.create(&rows![; aes, CKA_CHECK_VALUE: b"", CKA_LABEL: b"none"])
        .unwrap();
    let kept = rows![; made, CKA_EXTRACTABLE: false, CKA_SENSITIVE: true, CKA_LABEL: b"kept"];
    let kept = app.generate(CKM_AES_KEY_GEN, &kept).unwrap();
    let check = app.get(kept, CKA_CHECK_VALUE).unwrap();
    assert_eq!(
        check,
        app.encrypt(CKM_AES_ECB, kept, &[0; 16]).unwrap()[..3]
    );
    app.create(&rows![; aes, CKA_LABEL: b"later"]).unwrap();
    app.set(found(app, b"later"), &rows![CKA_CHECK_VALUE: b""])
        .unwrap();
    host.finalize();

    let app = user(host, slot);
    for (label, check) in [
        (&b"right"[..], &b"\x66\xe9\x4b"[..]),
        (b"none", b""),
        (b"later", b""),
        (b"kept", &check),
    ] {
        let shown = app.get(found(app, label), CKA_CHECK_VALUE);
        assert_eq!(
            shown.as_deref(),
            Ok(check),
            "{}",
            String::from_utf8_lossy(label)
        );
    }
    host.finalize();
}

/// The codes that `mrhsm serve` makes with keys that it keeps are those that are made here.
#[test]
fn ciphers_that_a_server_keeps_make_codes() {
    alone(|host| {
        let server = Server::start(Personality::standard(), Script::none());
        let slot = kmip_token(server.port(), Duration::from_secs(10));
        let app = user(host, slot);
        let kept = rows![CKA_TOKEN: true, CKA_EXTRACTABLE: false, CKA_SIGN: true, CKA_VERIFY: true];
        let made = [
            (
                app.generate(CKM_AES_KEY_GEN, &rows![; kept, CKA_VALUE_LEN: 32]),
                CKK_AES,
                32,
                CKM_AES_CMAC,
            ),
            (
                app.generate(CKM_DES3_KEY_GEN, &kept),
                CKK_DES3,
                24,
                CKM_DES3_CMAC,
            ),
        ];
        for (key, key_type, len, kind) in made {
            let code = app.sign(kind, key.unwrap(), TEXT).unwrap();
            let values = server
                .objects()
                .iter()
                .filter_map(|seen| server.value(&seen.uid))
                .collect::<Vec<_>>();
            let value = values.iter().find(|value| value.len() == len).unwrap();
            assert_eq!(
                app.verify(kind, app.secret(key_type, value), TEXT, &code),
                Ok(()),
                "{kind:#x}"
            );
        }
        host.finalize();
    });
}

#[test]
fn keys_of_every_type_work_on_a_server_by_the_book() {
    alone(|host| keys_of_every_type_work(host, Personality::standard()));
}

#[test]
fn keys_of_every_type_work_on_a_server_like_pykmip() {
    alone(|host| keys_of_every_type_work(host, Personality::pykmip_like()));
}

#[test]
fn keys_of_every_type_work_on_a_key_store_of_kmip_1_0() {
    alone(|host| keys_of_every_type_work(host, Personality::keystore_1_0()));
}

#[test]
fn keys_of_every_type_work_on_a_server_like_cosmian() {
    alone(|host| keys_of_every_type_work(host, Personality::cosmian_like()));
}

#[test]
fn check_values_are_true_on_a_server_by_the_book() {
    alone(|host| check_values_are_true(host, Personality::standard()));
}

#[test]
fn check_values_are_true_on_a_server_like_pykmip() {
    alone(|host| check_values_are_true(host, Personality::pykmip_like()));
}

#[test]
fn check_values_are_true_on_a_key_store_of_kmip_1_0() {
    alone(|host| check_values_are_true(host, Personality::keystore_1_0()));
}

#[test]
fn check_values_are_true_on_a_server_like_cosmian() {
    alone(|host| check_values_are_true(host, Personality::cosmian_like()));
}
