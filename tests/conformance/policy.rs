//! Which keys may leave wrapped, come in and be made of others, and what they then are (PKCS#11 3.0, 5.18).

use mrhsm_pkcs11::ck::*;

use super::app::{App, Mech, Rows, SERVER, at, rows, user};
use super::usual::{Keys, usual};
use crate::ffi::host::{SO_PIN, USER_PIN, alone};

fn aes() -> Rows {
    rows![CKA_CLASS: CKO_SECRET_KEY, CKA_KEY_TYPE: CKK_AES]
}

fn key(app: App<'_>, rows: Rows) -> CK_OBJECT_HANDLE {
    let mut all = rows![; aes(), CKA_VALUE: &[7; 16]];
    all.extend(rows);
    app.create(&all).unwrap()
}

#[test]
fn what_may_be_wrapped() {
    alone(|host| {
        let (_, app) = user(host);
        let keys = Keys::new(app);
        let kek = keys.aes;
        let cases: Vec<(&str, CK_OBJECT_HANDLE, Result<(), CK_RV>)> = vec![
            (
                "extractable",
                key(app, rows![CKA_EXTRACTABLE: true]),
                Ok(()),
            ),
            (
                "sensitive and extractable",
                key(app, rows![CKA_EXTRACTABLE: true, CKA_SENSITIVE: true]),
                Ok(()),
            ),
            (
                "not extractable",
                key(app, rows![CKA_EXTRACTABLE: false]),
                Err(CKR_KEY_UNEXTRACTABLE),
            ),
            (
                "not extractable, open",
                key(app, rows![CKA_EXTRACTABLE: false, CKA_SENSITIVE: false]),
                Err(CKR_KEY_UNEXTRACTABLE),
            ),
            (
                "trusted only",
                key(
                    app,
                    rows![CKA_EXTRACTABLE: true, CKA_WRAP_WITH_TRUSTED: true],
                ),
                Err(CKR_KEY_NOT_WRAPPABLE),
            ),
            ("public", keys.rsa.0, Err(CKR_KEY_NOT_WRAPPABLE)),
        ];
        for (name, key, wanted) in cases {
            for kind in [CKM_AES_KEY_WRAP_PAD, CKM_AES_CBC_PAD, CKM_AES_GCM] {
                assert_eq!(
                    app.wrap(usual(kind, &keys), kek, key).map(|_| ()),
                    wanted,
                    "{name} by {kind:#x}"
                );
            }
        }
        // RFC 3394 takes whole half-blocks only, so a key of another length is filled up with zeros (3.0, 2.14.3).
        let odd = app.secret(CKK_GENERIC_SECRET, &[1; 17]);
        let wrapped = app.wrap(CKM_AES_KEY_WRAP, kek, odd).unwrap();
        assert_eq!(wrapped.len(), 32);
        let back = rows![CKA_CLASS: CKO_SECRET_KEY, CKA_KEY_TYPE: CKK_GENERIC_SECRET, CKA_VALUE_LEN: 17, CKA_SENSITIVE: false];
        let back = app.unwrap(CKM_AES_KEY_WRAP, kek, &wrapped, &back).unwrap();
        assert_eq!(app.get(back, CKA_VALUE), Ok(vec![1; 17]));
        let private = rows![CKA_CLASS: CKO_PRIVATE_KEY, CKA_KEY_TYPE: CKK_EC, CKA_SENSITIVE: false];
        for curve in [
            b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07".as_slice(),
            b"\x06\x05\x2b\x81\x04\x00\x22",
            b"\x06\x05\x2b\x81\x04\x00\x23",
        ] {
            let open = rows![CKA_SENSITIVE: false, CKA_EXTRACTABLE: true];
            let (_, key) = app
                .pair(CKM_EC_KEY_PAIR_GEN, &rows![CKA_EC_PARAMS: curve], &open)
                .unwrap();
            let wrapped = app.wrap(CKM_AES_KEY_WRAP, kek, key).unwrap();
            let back = app
                .unwrap(CKM_AES_KEY_WRAP, kek, &wrapped, &private)
                .unwrap();
            assert_eq!(app.get(back, CKA_VALUE), app.get(key, CKA_VALUE));
        }
        let short = app.secret(CKK_GENERIC_SECRET, &[1; 8]);
        assert_eq!(
            app.wrap(CKM_AES_KEY_WRAP, kek, short),
            Err(CKR_KEY_SIZE_RANGE),
            "and two of them at least"
        );
        assert!(app.wrap(CKM_AES_KEY_WRAP_PAD, kek, odd).is_ok());
        let long = app.secret(CKK_GENERIC_SECRET, &[1; 400]);
        assert_eq!(
            app.wrap(CKM_RSA_PKCS, keys.rsa.0, long),
            Err(CKR_KEY_SIZE_RANGE)
        );
        host.finalize();
    });
}

#[test]
fn keys_that_trust_a_trusted_key() {
    alone(|host| {
        let (_, app) = user(host);
        let kek = rows![; aes(), CKA_VALUE: &[9; 32], CKA_TOKEN: true, CKA_PRIVATE: false, CKA_WRAP: true];
        let kek = app.create(&kek).unwrap();
        app.logout().unwrap();
        app.login(CKU_SO, SO_PIN).unwrap();
        app.set(kek, &rows![CKA_TRUSTED: true]).unwrap();
        app.logout().unwrap();
        app.login(CKU_USER, USER_PIN).unwrap();
        let careful = key(
            app,
            rows![CKA_EXTRACTABLE: true, CKA_WRAP_WITH_TRUSTED: true],
        );
        assert_eq!(
            app.wrap(CKM_AES_KEY_WRAP, app.aes(), careful),
            Err(CKR_KEY_NOT_WRAPPABLE)
        );
        assert!(app.wrap(CKM_AES_KEY_WRAP, kek, careful).is_ok());
        host.finalize();
    });
}

/// A row of a template in a template.
fn nested(kind: CK_ATTRIBUTE_TYPE, value: &'static [u8]) -> Vec<u8> {
    let row = [CK_ATTRIBUTE {
        type_: kind,
        pValue: at(value).cast(),
        ulValueLen: value.len() as CK_ULONG,
    }];
    Mech::with(0, row).parameter
}

#[test]
fn templates_of_keys_bind_what_they_wrap_unwrap_and_derive() {
    alone(|host| {
        let (_, app) = user(host);
        let open = rows![CKA_EXTRACTABLE: true, CKA_SENSITIVE: false, CKA_DERIVE: true];
        let (yes, no): (&'static [u8], &'static [u8]) = (&[CK_TRUE], &[CK_FALSE]);
        // Wrapping: only keys that match.
        let kek = key(
            app,
            rows![CKA_WRAP_TEMPLATE: nested(CKA_ENCRYPT, no), CKA_WRAP: true],
        );
        assert!(
            app.wrap(
                CKM_AES_KEY_WRAP,
                kek,
                key(app, rows![; open, CKA_ENCRYPT: false])
            )
            .is_ok()
        );
        assert_eq!(
            app.wrap(
                CKM_AES_KEY_WRAP,
                kek,
                key(app, rows![; open, CKA_ENCRYPT: true])
            ),
            Err(CKR_KEY_HANDLE_INVALID)
        );
        // Unwrapping: what the template says is added, and may not be contradicted.
        let kek = key(
            app,
            rows![CKA_UNWRAP_TEMPLATE: nested(CKA_ENCRYPT, no), CKA_WRAP: true, CKA_UNWRAP: true],
        );
        let wrapped = app
            .wrap(CKM_AES_KEY_WRAP, kek, key(app, open.clone()))
            .unwrap();
        let plain = app.unwrap(CKM_AES_KEY_WRAP, kek, &wrapped, &aes()).unwrap();
        assert!(!app.flag(plain, CKA_ENCRYPT));
        let against = rows![; aes(), CKA_ENCRYPT: true];
        assert_eq!(
            app.unwrap(CKM_AES_KEY_WRAP, kek, &wrapped, &against),
            Err(CKR_TEMPLATE_INCONSISTENT)
        );
        // Deriving: the same.
        let base = key(
            app,
            rows![; open, CKA_DERIVE_TEMPLATE: nested(CKA_EXTRACTABLE, yes)],
        );
        let generic = rows![CKA_CLASS: CKO_SECRET_KEY, CKA_KEY_TYPE: CKK_GENERIC_SECRET, CKA_SENSITIVE: false];
        let derived = app
            .derive(CKM_SHA256_KEY_DERIVATION, base, &generic)
            .unwrap();
        assert!(app.flag(derived, CKA_EXTRACTABLE));
        let against = rows![; generic, CKA_EXTRACTABLE: false];
        assert_eq!(
            app.derive(CKM_SHA256_KEY_DERIVATION, base, &against),
            Err(CKR_TEMPLATE_INCONSISTENT)
        );
        host.finalize();
    });
}

/// A key's own template may say what the new key is, and nothing that an application may not say.
#[test]
fn templates_of_keys_say_what_an_application_may() {
    alone(|host| {
        let (_, app) = user(host);
        let yes: &'static [u8] = &[CK_TRUE];
        let kind: &'static [u8] = Box::leak(Box::new(CKK_AES.to_ne_bytes()));
        let open = rows![CKA_EXTRACTABLE: true, CKA_SENSITIVE: false, CKA_DERIVE: true, CKA_WRAP: true, CKA_UNWRAP: true];
        let wrapped = app
            .wrap(
                CKM_AES_KEY_WRAP,
                key(app, open.clone()),
                key(app, open.clone()),
            )
            .unwrap();
        let binding = |template, row| key(app, [open.clone(), vec![(template, row)]].concat());
        // The type of the key.
        let kek = binding(CKA_UNWRAP_TEMPLATE, nested(CKA_KEY_TYPE, kind));
        let new = app
            .unwrap(
                CKM_AES_KEY_WRAP,
                kek,
                &wrapped,
                &rows![CKA_CLASS: CKO_SECRET_KEY],
            )
            .unwrap();
        assert_eq!(app.number(new, CKA_KEY_TYPE), CKK_AES);
        let generic = rows![CKA_CLASS: CKO_SECRET_KEY, CKA_KEY_TYPE: CKK_GENERIC_SECRET];
        assert_eq!(
            app.unwrap(CKM_AES_KEY_WRAP, kek, &wrapped, &generic),
            Err(CKR_TEMPLATE_INCONSISTENT)
        );
        let base = binding(CKA_DERIVE_TEMPLATE, nested(CKA_KEY_TYPE, kind));
        let new = app
            .derive(CKM_SHA256_KEY_DERIVATION, base, &rows![CKA_VALUE_LEN: 16])
            .unwrap();
        assert_eq!(app.number(new, CKA_KEY_TYPE), CKK_AES);
        assert_eq!(
            app.derive(CKM_SHA256_KEY_DERIVATION, base, &generic),
            Err(CKR_TEMPLATE_INCONSISTENT)
        );
        // What the SO alone says, and what nobody does.
        for kind in [
            CKA_TRUSTED,
            CKA_LOCAL,
            CKA_ALWAYS_SENSITIVE,
            CKA_NEVER_EXTRACTABLE,
        ] {
            let kek = binding(CKA_UNWRAP_TEMPLATE, nested(kind, yes));
            assert_eq!(
                app.unwrap(CKM_AES_KEY_WRAP, kek, &wrapped, &aes()),
                Err(CKR_TEMPLATE_INCONSISTENT),
                "{kind:#x}"
            );
            let base = binding(CKA_DERIVE_TEMPLATE, nested(kind, yes));
            let derived = app.derive(
                CKM_SHA256_KEY_DERIVATION,
                base,
                &rows![; aes(), CKA_VALUE_LEN: 16],
            );
            assert_eq!(derived, Err(CKR_TEMPLATE_INCONSISTENT), "{kind:#x}");
        }
        host.finalize();
    });
}

/// The initial value of AES Key Wrap: of 8 bytes, of RFC 5649's padding of 4.
#[test]
fn the_usual_initial_value_may_be_given() {
    alone(|host| {
        let (_, app) = user(host);
        let (kek, secret) = (app.aes(), key(app, rows![CKA_EXTRACTABLE: true]));
        let (whole, padded) = (&[0xa6; 8][..], &[0xa6, 0x59, 0x59, 0xa6][..]);
        for (kind, own, other) in [
            (CKM_AES_KEY_WRAP, whole, padded),
            (CKM_AES_KEY_WRAP_PKCS7, whole, padded),
            (CKM_AES_KEY_WRAP_KWP, padded, whole),
        ] {
            assert_eq!(
                app.wrap(Mech::iv(kind, own), kek, secret),
                app.wrap(kind, kek, secret),
                "{kind:#x}"
            );
            assert_eq!(
                app.wrap(Mech::iv(kind, other), kek, secret),
                Err(CKR_MECHANISM_PARAM_INVALID),
                "{kind:#x}"
            );
        }
        host.finalize();
    });
}

#[test]
fn what_comes_out_of_an_unwrapping() {
    alone(|host| {
        let (_, app) = user(host);
        let keys = Keys::new(app);
        let secret = key(app, rows![CKA_EXTRACTABLE: true, CKA_SENSITIVE: false]);
        for kind in [
            CKM_AES_KEY_WRAP,
            CKM_AES_KEY_WRAP_PAD,
            CKM_AES_KEY_WRAP_PKCS7,
            CKM_AES_CBC_PAD,
            CKM_AES_GCM,
            CKM_RSA_PKCS,
            CKM_RSA_PKCS_OAEP,
            CKM_RSA_AES_KEY_WRAP,
        ] {
            let (m, (to, from)) = (usual(kind, &keys), keys.of(kind));
            let wrapped = app.wrap(m.clone(), to, secret).unwrap();
            let new = app
                .unwrap(
                    m.clone(),
                    from,
                    &wrapped,
                    &rows![; aes(), CKA_SENSITIVE: false],
                )
                .unwrap();
            assert_eq!(app.get(new, CKA_VALUE).unwrap(), [7; 16], "{kind:#x}");
            assert!(
                app.flag(new, CKA_EXTRACTABLE),
                "{kind:#x}: the standard's default"
            );
            for flag in [CKA_LOCAL, CKA_ALWAYS_SENSITIVE, CKA_NEVER_EXTRACTABLE] {
                assert!(!app.flag(new, flag), "{kind:#x}: {flag:#x}");
            }
            // What was changed on the way is noticed where the mechanism can.
            let mut forged = wrapped.clone();
            *forged.last_mut().unwrap() ^= 1;
            let rv = app.unwrap(m.clone(), from, &forged, &aes());
            assert!(
                matches!(rv, Err(CKR_WRAPPED_KEY_INVALID | CKR_WRAPPED_KEY_LEN_RANGE)),
                "{kind:#x}: {rv:x?}"
            );
            for len in [0, 1, wrapped.len() - 1] {
                let rv = app.unwrap(m.clone(), from, &wrapped[..len], &aes());
                assert!(
                    matches!(rv, Err(CKR_WRAPPED_KEY_INVALID | CKR_WRAPPED_KEY_LEN_RANGE)),
                    "{kind:#x} of {len}: {rv:x?}"
                );
            }
            // The template must be of a key, and say which.
            let cases: Vec<(&str, Rows, &[CK_RV])> = vec![
                ("nothing", rows![], &[CKR_TEMPLATE_INCOMPLETE]),
                (
                    "no type",
                    rows![CKA_CLASS: CKO_SECRET_KEY],
                    &[CKR_TEMPLATE_INCOMPLETE],
                ),
                (
                    "data",
                    rows![CKA_CLASS: CKO_DATA],
                    &[CKR_TEMPLATE_INCONSISTENT],
                ),
                (
                    "a value",
                    rows![; aes(), CKA_VALUE: &[1; 16]],
                    &[CKR_TEMPLATE_INCONSISTENT],
                ),
                (
                    "another length",
                    rows![; aes(), CKA_VALUE_LEN: 32],
                    &[CKR_WRAPPED_KEY_LEN_RANGE, CKR_WRAPPED_KEY_INVALID],
                ),
                (
                    "3DES",
                    rows![CKA_CLASS: CKO_SECRET_KEY, CKA_KEY_TYPE: CKK_DES3],
                    &[CKR_WRAPPED_KEY_LEN_RANGE, CKR_WRAPPED_KEY_INVALID],
                ),
                (
                    "RSA",
                    rows![CKA_CLASS: CKO_PRIVATE_KEY, CKA_KEY_TYPE: CKK_RSA],
                    &[CKR_WRAPPED_KEY_INVALID, CKR_TEMPLATE_INCONSISTENT],
                ),
                (
                    "unknown",
                    {
                        let mut t = aes();
                        t.push((0x7777, vec![1]));
                        t
                    },
                    &[CKR_ATTRIBUTE_TYPE_INVALID],
                ),
            ];
            for (name, rows, rvs) in cases {
                let rv = app.unwrap(m.clone(), from, &wrapped, &rows).unwrap_err();
                assert!(rvs.contains(&rv), "{kind:#x} as {name}: {rv:#x}");
            }
        }
        // A private key, whole.
        for kind in [CKM_AES_KEY_WRAP_PAD, CKM_AES_CBC_PAD, CKM_RSA_AES_KEY_WRAP] {
            let (m, (to, from)) = (usual(kind, &keys), keys.of(kind));
            let wrapped = app.wrap(m.clone(), to, keys.rsa.1).unwrap();
            let private = rows![CKA_CLASS: CKO_PRIVATE_KEY, CKA_KEY_TYPE: CKK_RSA];
            let new = app.unwrap(m.clone(), from, &wrapped, &private).unwrap();
            let signature = app.sign(CKM_SHA256_RSA_PKCS, new, b"text").unwrap();
            assert_eq!(
                app.verify(CKM_SHA256_RSA_PKCS, keys.rsa.0, b"text", &signature),
                Ok(())
            );
            let wrong = rows![CKA_CLASS: CKO_PRIVATE_KEY, CKA_KEY_TYPE: CKK_EC];
            assert!(app.unwrap(m, from, &wrapped, &wrong).is_err());
        }
        host.finalize();
    });
}

#[test]
fn what_is_derived_is_guarded_as_its_base() {
    alone(|host| {
        let (_, app) = user(host);
        let generic = rows![CKA_CLASS: CKO_SECRET_KEY, CKA_KEY_TYPE: CKK_GENERIC_SECRET];
        let open = rows![; generic, CKA_SENSITIVE: false, CKA_EXTRACTABLE: true];
        let text = CK_KEY_DERIVATION_STRING_DATA {
            pData: at(b"more"),
            ulLen: 4,
        };
        let joined = || Mech::with(CKM_CONCATENATE_BASE_AND_DATA, text);
        // Of an open base anything may be made; of a guarded one nothing that is open.
        let free = app.secret(CKK_GENERIC_SECRET, b"base");
        let made = app.derive(joined(), free, &open).unwrap();
        assert_eq!(app.get(made, CKA_VALUE).unwrap(), b"basemore");
        assert!(
            !app.flag(made, CKA_ALWAYS_SENSITIVE)
                && !app.flag(made, CKA_NEVER_EXTRACTABLE)
                && !app.flag(made, CKA_LOCAL)
        );
        let guarded = app
            .generate(
                CKM_GENERIC_SECRET_KEY_GEN,
                &rows![CKA_VALUE_LEN: 16, CKA_DERIVE: true, CKA_SENSITIVE: true],
            )
            .unwrap();
        for template in [&open, &generic] {
            assert_eq!(
                app.derive(joined(), guarded, template),
                Err(CKR_KEY_FUNCTION_NOT_PERMITTED)
            );
        }
        let made = app
            .derive(
                CKM_SHA256_KEY_DERIVATION,
                guarded,
                &rows![; generic, CKA_SENSITIVE: true],
            )
            .unwrap();
        assert!(app.flag(made, CKA_SENSITIVE) && !app.flag(made, CKA_EXTRACTABLE));
        assert!(app.flag(made, CKA_ALWAYS_SENSITIVE));
        // A server does not keep what was derived here.
        let here = std::env::var_os(SERVER).is_none();
        assert_eq!(app.flag(made, CKA_NEVER_EXTRACTABLE), here);
        // Lengths: what is asked for, as far as it goes.
        for (len, wanted) in [(1, Ok(1)), (8, Ok(8)), (9, Err(CKR_KEY_SIZE_RANGE))] {
            let template = rows![; open, CKA_VALUE_LEN: len];
            let made = app
                .derive(joined(), free, &template)
                .map(|key| app.get(key, CKA_VALUE).unwrap().len());
            assert_eq!(made, wanted, "{len} of 8 bytes");
        }
        let sha = |rows: &Rows| {
            app.derive(CKM_SHA1_KEY_DERIVATION, free, rows)
                .map(|key| app.get(key, CKA_VALUE).unwrap().len())
        };
        assert_eq!(sha(&open), Ok(20));
        assert_eq!(
            sha(&rows![; open, CKA_VALUE_LEN: 21]),
            Err(CKR_KEY_SIZE_RANGE)
        );
        // Templates that cannot be.
        let cases: Vec<(&str, Rows, &[CK_RV])> = vec![
            (
                "a private key",
                rows![CKA_CLASS: CKO_PRIVATE_KEY],
                &[CKR_TEMPLATE_INCONSISTENT],
            ),
            (
                "a value",
                rows![; generic, CKA_VALUE: b"mine"],
                &[CKR_TEMPLATE_INCONSISTENT],
            ),
            (
                "RSA",
                rows![CKA_CLASS: CKO_SECRET_KEY, CKA_KEY_TYPE: CKK_RSA],
                &[CKR_TEMPLATE_INCONSISTENT, CKR_ATTRIBUTE_VALUE_INVALID],
            ),
            (
                "read-only",
                rows![; generic, CKA_LOCAL: true],
                &[CKR_ATTRIBUTE_READ_ONLY],
            ),
            (
                "AES of 5 bytes",
                rows![; aes(), CKA_VALUE_LEN: 5],
                &[
                    CKR_TEMPLATE_INCONSISTENT,
                    CKR_KEY_SIZE_RANGE,
                    CKR_ATTRIBUTE_VALUE_INVALID,
                ],
            ),
        ];
        for (name, rows, rvs) in cases {
            let rv = app
                .derive(CKM_SHA256_KEY_DERIVATION, free, &rows)
                .unwrap_err();
            assert!(rvs.contains(&rv), "{name}: {rv:#x}");
        }
        host.finalize();
    });
}
