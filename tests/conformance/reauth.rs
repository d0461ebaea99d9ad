//! Keys with `CKA_ALWAYS_AUTHENTICATE`: one login of their own allows one use, whatever function uses them.

use std::ptr::null_mut;

use mrhsm_pkcs11::ck::*;

use super::app::{App, Mech, Rv, at, rows, user};
use super::usual::{OAEP, P256};
use crate::ffi::host::{USER_PIN, alone, ck};

/// A call that uses keys of their own login, without a `C_*Init`.
type Call<'a> = (&'static str, Box<dyn Fn() -> Rv<()> + 'a>);

struct Keys {
    rsa_public: CK_OBJECT_HANDLE,
    rsa: CK_OBJECT_HANDLE,
    ec: CK_OBJECT_HANDLE,
    ecdh: Mech,
    kek: CK_OBJECT_HANDLE,
}

fn keys(app: &App<'_>) -> Keys {
    let always = rows![CKA_ALWAYS_AUTHENTICATE: true, CKA_EXTRACTABLE: true];
    let public = rows![CKA_MODULUS_BITS: 2048, CKA_ENCRYPT: true, CKA_WRAP: true];
    let private = rows![; always, CKA_SENSITIVE: false, CKA_DECRYPT: true, CKA_UNWRAP: true];
    let (rsa_public, rsa) = app
        .pair(CKM_RSA_PKCS_KEY_PAIR_GEN, &public, &private)
        .unwrap();
    let (point, ec) = app
        .pair(
            CKM_EC_KEY_PAIR_GEN,
            &rows![CKA_EC_PARAMS: P256],
            &rows![; always, CKA_DERIVE: true, CKA_SIGN: true],
        )
        .unwrap();
    let point: &'static [u8] = Box::leak(app.get(point, CKA_EC_POINT).unwrap().into());
    let ecdh = Mech::with(
        CKM_ECDH1_DERIVE,
        CK_ECDH1_DERIVE_PARAMS {
            kdf: CKD_NULL,
            ulSharedDataLen: 0,
            pSharedData: null_mut(),
            ulPublicDataLen: point.len() as CK_ULONG,
            pPublicData: at(point),
        },
    );
    let kek = app.aes();
    Keys {
        rsa_public,
        rsa,
        ec,
        ecdh,
        kek,
    }
}

fn secret() -> super::app::Rows {
    rows![CKA_CLASS: CKO_SECRET_KEY, CKA_KEY_TYPE: CKK_AES]
}

fn calls<'a>(app: &'a App<'a>, keys: &'a Keys) -> Vec<Call<'a>> {
    let mut calls: Vec<Call<'a>> = Vec::new();
    let transports = [
        ("unwrap, PKCS #1", Mech::bare(CKM_RSA_PKCS)),
        ("unwrap, OAEP", Mech::with(CKM_RSA_PKCS_OAEP, OAEP)),
        (
            "unwrap, RSA and AES",
            Mech::with(
                CKM_RSA_AES_KEY_WRAP,
                CK_RSA_AES_KEY_WRAP_PARAMS {
                    ulAESKeyBits: 256,
                    pOAEPParams: std::ptr::from_ref(Box::leak(Box::new(OAEP))).cast_mut(),
                },
            ),
        ),
    ];
    for (name, m) in transports {
        let wrapped = app.wrap(m.clone(), keys.rsa_public, keys.kek).unwrap();
        calls.push((
            name,
            Box::new(move || {
                app.unwrap(m.clone(), keys.rsa, &wrapped, &secret())
                    .map(drop)
            }),
        ));
    }
    calls.push((
        "derive",
        Box::new(|| {
            app.derive(
                keys.ecdh.clone(),
                keys.ec,
                &rows![; secret(), CKA_VALUE_LEN: 32],
            )
            .map(drop)
        }),
    ));
    for (name, key) in [("wrap RSA", keys.rsa), ("wrap EC", keys.ec)] {
        calls.push((
            name,
            // A size query is no use of its own.
            Box::new(move || app.wrap(CKM_AES_KEY_WRAP_KWP, keys.kek, key).map(drop)),
        ));
    }
    calls
}

#[test]
fn functions_without_an_init_want_the_login_before_each_use() {
    alone(|host| {
        let (_, app) = user(host);
        let keys = keys(&app);
        let login = |pin: &[u8]| app.login(CKU_CONTEXT_SPECIFIC, pin);
        let refused = Err(CKR_USER_NOT_LOGGED_IN);
        for (name, call) in calls(&app, &keys) {
            assert_eq!(
                login(USER_PIN),
                Err(CKR_OPERATION_NOT_INITIALIZED),
                "{name}: nothing waits"
            );
            assert_eq!(call(), refused, "{name}");
            assert_eq!(login(b"wrong"), Err(CKR_PIN_INCORRECT), "{name}");
            assert_eq!(call(), refused, "{name}: after a wrong PIN");
            assert_eq!(login(USER_PIN), Ok(()), "{name}");
            assert_eq!(call(), Ok(()), "{name}: after its login");
            assert_eq!(call(), refused, "{name}: a second use");
            assert_eq!(login(USER_PIN), Ok(()), "{name}");
            assert!(app.encrypt(CKM_AES_ECB, keys.kek, &[0; 16]).is_ok());
            assert_eq!(call(), refused, "{name}: after another operation");
            assert!(app.encrypt(CKM_AES_ECB, keys.kek, &[0; 16]).is_ok());
        }
        host.finalize();
    });
}

#[test]
fn a_login_for_one_use_allows_no_other() {
    alone(|host| {
        let (_, app) = user(host);
        let keys = keys(&app);
        let calls = calls(&app, &keys);
        let login = || app.login(CKU_CONTEXT_SPECIFIC, USER_PIN);
        let refused = Err(CKR_USER_NOT_LOGGED_IN);
        // Of another function, or with another key.
        for (a, b) in [(0, 3), (3, 4), (4, 5), (5, 0)] {
            assert_eq!(calls[a].1(), refused);
            assert_eq!(login(), Ok(()));
            assert_eq!(calls[b].1(), refused, "{} then {}", calls[a].0, calls[b].0);
            assert_eq!(calls[a].1(), refused, "{} is over", calls[a].0);
        }
        // One that fails.
        let garbage = [1; 256];
        let unwrap = || app.unwrap(CKM_RSA_PKCS, keys.rsa, &garbage, &secret());
        assert_eq!(unwrap(), Err(CKR_USER_NOT_LOGGED_IN));
        assert_eq!(login(), Ok(()));
        assert!(unwrap().is_err_and(|rv| rv != CKR_USER_NOT_LOGGED_IN));
        assert_eq!(unwrap(), Err(CKR_USER_NOT_LOGGED_IN));
        // Two operations that wait: the login is for the one that began last.
        let sealed = app.encrypt(CKM_RSA_PKCS, keys.rsa_public, b"text").unwrap();
        app.decrypt_init(CKM_RSA_PKCS, keys.rsa).unwrap();
        app.sign_init(CKM_ECDSA_SHA256, keys.ec).unwrap();
        assert_eq!(login(), Ok(()));
        assert_eq!(app.decrypt_now(&sealed), Err(CKR_USER_NOT_LOGGED_IN));
        assert!(app.sign_now(b"data").is_ok());
        // Another session has its own.
        let other = super::app::open(host, session_slot(&app), true).unwrap();
        assert_eq!(calls[3].1(), refused);
        assert_eq!(
            other.login(CKU_CONTEXT_SPECIFIC, USER_PIN),
            Err(CKR_OPERATION_NOT_INITIALIZED)
        );
        assert_eq!(login(), Ok(()));
        let derived = rows![; secret(), CKA_VALUE_LEN: 32];
        assert_eq!(
            other.derive(keys.ecdh.clone(), keys.ec, &derived),
            Err(CKR_USER_NOT_LOGGED_IN)
        );
        // Logging out ends it.
        app.logout().unwrap();
        app.login(CKU_USER, USER_PIN).unwrap();
        assert_eq!(login(), Err(CKR_OPERATION_NOT_INITIALIZED));
        host.finalize();
    });
}

fn session_slot(app: &App<'_>) -> CK_SLOT_ID {
    let (host, mut info) = (app.host, CK_SESSION_INFO::default());
    assert_eq!(ck!(host.C_GetSessionInfo(app.session, &mut info)), CKR_OK);
    info.slotID
}

/// With the value in hand nobody needs the login.
#[test]
fn the_value_is_not_shown_and_no_copy_is_without_the_login() {
    alone(|host| {
        let (_, app) = user(host);
        let keys = keys(&app);
        assert_eq!(
            app.get(keys.rsa, CKA_PRIVATE_EXPONENT),
            Err(CKR_ATTRIBUTE_SENSITIVE)
        );
        assert_eq!(app.get(keys.ec, CKA_VALUE), Err(CKR_ATTRIBUTE_SENSITIVE));
        let copy = app.copy(keys.ec, &rows![]).unwrap();
        assert!(app.flag(copy, CKA_ALWAYS_AUTHENTICATE));
        assert_eq!(app.get(copy, CKA_VALUE), Err(CKR_ATTRIBUTE_SENSITIVE));
        assert_eq!(
            app.sign(CKM_ECDSA_SHA256, copy, b"data"),
            Err(CKR_USER_NOT_LOGGED_IN)
        );
        let free = rows![CKA_ALWAYS_AUTHENTICATE: false];
        assert!(app.copy(keys.ec, &free).is_err());
        assert!(app.set(keys.ec, &free).is_err());
        assert!(app.copy(keys.ec, &rows![CKA_PRIVATE: false]).is_err());
        app.digest_init(CKM_SHA256).unwrap();
        assert_eq!(
            ck!(host.C_DigestKey(app.session, keys.ec)),
            CKR_KEY_INDIGESTIBLE
        );
        // Only private keys have the attribute, so that no other key of a mechanism's parameter can want a login.
        let secret = rows![CKA_VALUE_LEN: 32, CKA_ALWAYS_AUTHENTICATE: true];
        assert!(app.generate(CKM_AES_KEY_GEN, &secret).is_err());
        host.finalize();
    });
}
