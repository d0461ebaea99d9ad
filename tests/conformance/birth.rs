//! What a key says of its birth: CKA_LOCAL, CKA_KEY_GEN_MECHANISM, CKA_ALWAYS_SENSITIVE and CKA_NEVER_EXTRACTABLE, after every way in
//! which a key comes to be (PKCS#11 3.0, 4.8 to 4.10), at once and when the token is opened again.

use mrhsm_pkcs11::ck::*;

use super::app::{App, Mech, Rows, Rv, rows, user};
use super::usual::{Keys, P256, usual};
use crate::ffi::host::alone;

/// What a key says of its birth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Birth {
    local: bool,
    mechanism: CK_MECHANISM_TYPE,
    always_sensitive: bool,
    never_extractable: bool,
}

const NONE: CK_MECHANISM_TYPE = CK_UNAVAILABLE_INFORMATION;

fn made(mechanism: CK_MECHANISM_TYPE, always_sensitive: bool, never_extractable: bool) -> Birth {
    Birth {
        local: true,
        mechanism,
        always_sensitive,
        never_extractable,
    }
}

fn come(always_sensitive: bool, never_extractable: bool) -> Birth {
    Birth {
        local: false,
        mechanism: NONE,
        always_sensitive,
        never_extractable,
    }
}

fn birth(app: App<'_>, key: CK_OBJECT_HANDLE) -> Birth {
    let secret = app.number(key, CKA_CLASS) != CKO_PUBLIC_KEY;
    Birth {
        local: app.flag(key, CKA_LOCAL),
        mechanism: app.number(key, CKA_KEY_GEN_MECHANISM),
        always_sensitive: secret && app.flag(key, CKA_ALWAYS_SENSITIVE),
        never_extractable: secret && app.flag(key, CKA_NEVER_EXTRACTABLE),
    }
}

/// The rows that say how a key is guarded.
fn guard(sensitive: bool, extractable: bool) -> Rows {
    rows![CKA_SENSITIVE: sensitive, CKA_EXTRACTABLE: extractable]
}

/// Makes a key, with more rows for its template.
type Make<'a> = Box<dyn Fn(&Rows) -> Rv<CK_OBJECT_HANDLE> + 'a>;
type Way<'a> = (String, Make<'a>, Birth);

/// Every way to a key that is guarded so, with what the key then says.
fn ways<'a>(app: App<'a>, keys: &Keys, sensitive: bool, extractable: bool) -> Vec<Way<'a>> {
    let guard = guard(sensitive, extractable);
    let mut ways: Vec<Way<'a>> = Vec::new();
    let mut way = |name: &str, make: Make<'a>, birth| {
        ways.push((
            format!("{name}, sensitive {sensitive}, extractable {extractable}"),
            make,
            birth,
        ));
    };
    let (always, never) = (sensitive, !extractable);
    let with = |extra: &Rows| {
        let base = [extra.clone(), guard.clone()].concat();
        move |rows: &Rows| [base.clone(), rows.clone()].concat()
    };

    let length = with(&rows![CKA_VALUE_LEN: 16]);
    for kind in [
        CKM_AES_KEY_GEN,
        CKM_GENERIC_SECRET_KEY_GEN,
        CKM_SHA256_KEY_GEN,
        CKM_PKCS5_PBKD2,
    ] {
        let (m, length) = (usual(kind, keys), length.clone());
        way(
            "generate",
            Box::new(move |rows| app.generate(m.clone(), &length(rows))),
            made(kind, always, never),
        );
    }
    for (kind, public) in [
        (CKM_EC_KEY_PAIR_GEN, rows![CKA_EC_PARAMS: P256]),
        (CKM_RSA_PKCS_KEY_PAIR_GEN, rows![CKA_MODULUS_BITS: 1024]),
    ] {
        let (private, half) = (with(&rows![]), public.clone());
        let make = move |rows: &Rows| Ok(app.pair(kind, &half, &private(rows))?.1);
        way("private half", Box::new(make), made(kind, always, never));
        let make = move |rows: &Rows| {
            Ok(app
                .pair(kind, &[public.clone(), rows.clone()].concat(), &rows![])?
                .0)
        };
        way("public half", Box::new(make), made(kind, false, false));
    }

    let secret =
        with(&rows![CKA_CLASS: CKO_SECRET_KEY, CKA_KEY_TYPE: CKK_AES, CKA_VALUE: &[9; 16]]);
    way(
        "create",
        Box::new(move |rows| app.create(&secret(rows))),
        come(false, false),
    );
    let typed = with(&rows![CKA_CLASS: CKO_SECRET_KEY, CKA_KEY_TYPE: CKK_AES]);
    let (kek, wrapped) = (
        keys.aes,
        app.wrap(CKM_AES_KEY_WRAP, keys.aes, keys.aes).unwrap(),
    );
    let make = move |rows: &Rows| app.unwrap(CKM_AES_KEY_WRAP, kek, &wrapped, &typed(rows));
    way("unwrap", Box::new(make), come(false, false));

    // Derived keys are as old as their base: from one that was never in the open, and from one that was.
    let closed = app.generate(
        CKM_GENERIC_SECRET_KEY_GEN,
        &rows![CKA_VALUE_LEN: 32, CKA_SENSITIVE: true, CKA_EXTRACTABLE: false, CKA_DERIVE: true],
    );
    for (name, base, spotless) in [
        ("closed", closed.unwrap(), true),
        ("open", keys.generic, false),
    ] {
        for kind in [
            CKM_HKDF_DERIVE,
            CKM_SP800_108_COUNTER_KDF,
            CKM_SHA256_KEY_DERIVATION,
        ] {
            let (m, length) = (usual(kind, keys), length.clone());
            let make = move |rows: &Rows| app.derive(m.clone(), base, &length(rows));
            way(
                &format!("derive from {name}"),
                Box::new(make),
                come(spotless && always, spotless && never),
            );
        }
    }
    // A piece of a key is as guarded as the key; only from the open one all is allowed.
    if !sensitive && extractable {
        let (m, length, base) = (
            Mech::with::<CK_ULONG>(CKM_EXTRACT_KEY_FROM_KEY, 0),
            length.clone(),
            keys.generic,
        );
        way(
            "extract",
            Box::new(move |rows| app.derive(m.clone(), base, &length(rows))),
            come(false, false),
        );
    }

    // A copy is what it was copied from, whatever it is guarded by from now on.
    for (born_sensitive, born_extractable) in [(false, true), (sensitive, extractable)] {
        let born = [
            rows![CKA_VALUE_LEN: 16],
            self::guard(born_sensitive, born_extractable),
        ]
        .concat();
        let (source, stricter) = (
            app.generate(CKM_AES_KEY_GEN, &born).unwrap(),
            with(&rows![]),
        );
        let make = move |rows: &Rows| app.copy(source, &stricter(rows));
        way(
            "copy",
            Box::new(make),
            made(CKM_AES_KEY_GEN, born_sensitive, !born_extractable),
        );
    }
    ways
}

#[test]
fn a_key_says_how_it_was_born() {
    alone(|host| {
        let (_, app) = user(host);
        let keys = Keys::new(app);
        let mut stored = Vec::new();
        for (sensitive, extractable) in [(false, true), (true, true), (true, false), (false, false)]
        {
            for (name, make, wanted) in ways(app, &keys, sensitive, extractable) {
                let label = format!("{} {name}", stored.len());
                for rows in [rows![], rows![CKA_TOKEN: true, CKA_LABEL: label.as_bytes()]] {
                    let key = make(&rows).unwrap_or_else(|rv| panic!("{name}: {rv:#x}"));
                    assert_eq!(birth(app, key), wanted, "{name}");
                }
                stored.push((label, wanted));
            }
        }
        host.finalize();
        let (_, app) = user(host);
        for (label, wanted) in stored {
            let found = app.find(&rows![CKA_LABEL: label.as_bytes()]).unwrap();
            assert_eq!(found.len(), 1, "{label}");
            assert_eq!(birth(app, found[0]), wanted, "{label}, opened again");
        }
        host.finalize();
    });
}

/// Nobody says any of it in a template, and nothing changes it later.
#[test]
fn nobody_says_of_a_key_how_it_was_born() {
    alone(|host| {
        let (_, app) = user(host);
        let key = app
            .generate(
                CKM_AES_KEY_GEN,
                &[rows![CKA_VALUE_LEN: 16], guard(false, true)].concat(),
            )
            .unwrap();
        // What it does not say, and what nobody may say for it.
        for other in [
            rows![CKA_LOCAL: false],
            rows![CKA_ALWAYS_SENSITIVE: true],
            rows![CKA_NEVER_EXTRACTABLE: true],
            rows![CKA_KEY_GEN_MECHANISM: CKM_DES3_KEY_GEN],
        ] {
            let rows = [rows![CKA_VALUE_LEN: 16], other.clone()].concat();
            assert_eq!(
                app.generate(CKM_AES_KEY_GEN, &rows),
                Err(CKR_ATTRIBUTE_READ_ONLY)
            );
            assert_eq!(app.set(key, &other), Err(CKR_ATTRIBUTE_READ_ONLY));
            assert_eq!(app.copy(key, &other), Err(CKR_ATTRIBUTE_READ_ONLY));
        }
        app.set(key, &guard(true, false)).unwrap();
        assert_eq!(birth(app, key), made(CKM_AES_KEY_GEN, false, false));
        host.finalize();
    });
}

/// CKA_ALLOWED_MECHANISMS binds a key whichever way it was born, in every function, and through a copy and the store.
#[test]
fn allowed_mechanisms_bind_every_key() {
    alone(|host| {
        let (_, app) = user(host);
        let keys = Keys::new(app);
        let only = [
            CKM_AES_ECB.to_ne_bytes(),
            CKM_AES_CMAC.to_ne_bytes(),
            CKM_SHA256_KEY_DERIVATION.to_ne_bytes(),
        ]
        .concat();
        for token in [false, true] {
            let bound = rows![CKA_ALLOWED_MECHANISMS: &only[..], CKA_TOKEN: token, CKA_DERIVE: true, CKA_EXTRACTABLE: true];
            let typed = rows![; bound, CKA_CLASS: CKO_SECRET_KEY, CKA_KEY_TYPE: CKK_AES];
            let wrapped = app.wrap(CKM_AES_KEY_WRAP, keys.aes, keys.aes).unwrap();
            let created = app.create(&rows![; typed, CKA_VALUE: &[4; 16]]).unwrap();
            let births = [
                app.generate(CKM_AES_KEY_GEN, &rows![; bound, CKA_VALUE_LEN: 16])
                    .unwrap(),
                created,
                app.unwrap(CKM_AES_KEY_WRAP, keys.aes, &wrapped, &typed)
                    .unwrap(),
                app.derive(
                    CKM_SHA256_KEY_DERIVATION,
                    keys.generic,
                    &rows![; typed, CKA_VALUE_LEN: 16],
                )
                .unwrap(),
                app.copy(created, &rows![CKA_TOKEN: !token]).unwrap(),
            ];
            for key in births {
                assert_eq!(
                    app.get(key, CKA_ALLOWED_MECHANISMS).as_deref(),
                    Ok(&only[..])
                );
                assert!(
                    app.encrypt(CKM_AES_ECB, key, &[0; 16]).is_ok()
                        && app.sign(CKM_AES_CMAC, key, b"x").is_ok()
                );
                let generic = rows![CKA_CLASS: CKO_SECRET_KEY, CKA_VALUE_LEN: 16];
                assert!(app.derive(CKM_SHA256_KEY_DERIVATION, key, &generic).is_ok());
                let iv = Mech::iv(CKM_AES_CBC, &[0; 16]);
                assert_eq!(
                    app.encrypt_init(iv.clone(), key),
                    Err(CKR_MECHANISM_INVALID)
                );
                assert_eq!(app.decrypt_init(iv, key), Err(CKR_MECHANISM_INVALID));
                assert_eq!(
                    app.sign_init(Mech::with::<CK_ULONG>(CKM_AES_CMAC_GENERAL, 8), key),
                    Err(CKR_MECHANISM_INVALID)
                );
                assert_eq!(
                    app.wrap(CKM_AES_KEY_WRAP, key, keys.aes),
                    Err(CKR_MECHANISM_INVALID)
                );
                assert_eq!(
                    app.derive(CKM_SHA512_KEY_DERIVATION, key, &generic),
                    Err(CKR_MECHANISM_INVALID)
                );
            }
        }
        host.finalize();
    });
}
