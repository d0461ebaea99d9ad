//! Objects and their attributes (PKCS#11 3.0, section 4 and 5.7).

use std::ffi::c_void;
use std::ptr::null_mut;

use mrhsm_pkcs11::ck::*;
use mrhsm_pkcs11::token::attr::vendor;

use super::app::{App, Mech, Rows, SERVER, open, rows, user};
use crate::ffi::host::{SO_PIN, USER_PIN, alone, ck};

const P256: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
/// The point of a key on P-256 (RFC 6979, A.2.5), and its scalar.
const POINT: &[u8] = b"\x04\x41\x04\x60\xfe\xd4\xba\x25\x5a\x9d\x31\xc9\x61\xeb\x74\xc6\x35\x6d\x68\xc0\x49\xb8\x92\x3b\x61\xfa\x6c\xe6\x69\x62\x2e\x60\xf2\x9f\xb6\x79\x03\xfe\x10\x08\xb8\xbc\x99\xa4\x1a\xe9\xe9\x56\x28\xbc\x64\xf2\xf1\xb2\x0c\x2d\x7e\x9f\x51\x77\xa3\xc2\x94\xd4\x46\x22\x99";
const SCALAR: &[u8] = b"\xc9\xaf\xa9\xd8\x45\xba\x75\x16\x6b\x5c\x21\x57\x67\xb1\xd6\x93\x4e\x50\xc3\xdb\x36\xe8\x9b\x12\x7b\x8a\x62\x2b\x12\x0f\x67\x21";

fn aes() -> Rows {
    rows![CKA_CLASS: CKO_SECRET_KEY, CKA_KEY_TYPE: CKK_AES, CKA_VALUE: &[7; 16]]
}

fn generic() -> Rows {
    rows![CKA_CLASS: CKO_SECRET_KEY, CKA_KEY_TYPE: CKK_GENERIC_SECRET, CKA_VALUE: b"secret"]
}

fn data() -> Rows {
    rows![CKA_CLASS: CKO_DATA, CKA_VALUE: b"some data", CKA_APPLICATION: b"app"]
}

fn ec_public() -> Rows {
    rows![CKA_CLASS: CKO_PUBLIC_KEY, CKA_KEY_TYPE: CKK_EC, CKA_EC_PARAMS: P256, CKA_EC_POINT: POINT]
}

fn ec_private() -> Rows {
    rows![CKA_CLASS: CKO_PRIVATE_KEY, CKA_KEY_TYPE: CKK_EC, CKA_EC_PARAMS: P256, CKA_VALUE: SCALAR]
}

fn rsa_public() -> Rows {
    let (modulus, exponent) = (vec![0xc5; 256], b"\x01\x00\x01");
    rows![CKA_CLASS: CKO_PUBLIC_KEY, CKA_KEY_TYPE: CKK_RSA, CKA_MODULUS: modulus, CKA_PUBLIC_EXPONENT: exponent]
}

/// One template of each class.
fn every_class() -> [(&'static str, Rows); 6] {
    [
        ("AES", aes()),
        ("generic", generic()),
        ("data", data()),
        ("EC public", ec_public()),
        ("EC private", ec_private()),
        ("RSA public", rsa_public()),
    ]
}

#[test]
fn templates_that_cannot_be() {
    alone(|host| {
        let (_, app) = user(host);
        for (name, good) in every_class() {
            let made = app
                .create(&good)
                .unwrap_or_else(|rv| panic!("{name}: {rv:#x}"));
            app.destroy(made).unwrap();
            let cases: Vec<(&str, Rows, &[CK_RV])> = vec![
                (
                    "unknown",
                    vec![(0x7777, vec![1])],
                    &[CKR_ATTRIBUTE_TYPE_INVALID],
                ),
                (
                    "unknown, vendor's",
                    vec![(CKA_VENDOR_DEFINED | 0x77, vec![1])],
                    &[CKR_ATTRIBUTE_TYPE_INVALID],
                ),
                (
                    "another class",
                    rows![CKA_CLASS: CKO_HW_FEATURE],
                    &[CKR_TEMPLATE_INCONSISTENT, CKR_ATTRIBUTE_VALUE_INVALID],
                ),
                (
                    "wide flag",
                    vec![(CKA_TOKEN, vec![0, 0, 0, 0])],
                    &[CKR_ATTRIBUTE_VALUE_INVALID],
                ),
                (
                    "no flag",
                    vec![(CKA_TOKEN, vec![])],
                    &[CKR_ATTRIBUTE_VALUE_INVALID],
                ),
                (
                    "narrow class",
                    vec![(CKA_CLASS, vec![0])],
                    &[CKR_TEMPLATE_INCONSISTENT, CKR_ATTRIBUTE_VALUE_INVALID],
                ),
                (
                    "unique id",
                    rows![CKA_UNIQUE_ID: b"mine"],
                    &[CKR_ATTRIBUTE_TYPE_INVALID],
                ),
                (
                    "two labels",
                    rows![CKA_LABEL: b"a", CKA_LABEL: b"b"],
                    &[CKR_TEMPLATE_INCONSISTENT],
                ),
                (
                    "oversized",
                    rows![CKA_LABEL: vec![b'x'; 1 << 20]],
                    &[CKR_DEVICE_MEMORY],
                ),
            ];
            for (fault, rows, rvs) in cases {
                let mut bad = good.clone();
                bad.extend(rows);
                let rv = app.create(&bad).expect_err(name);
                assert!(rvs.contains(&rv), "{name}, {fault}: {rv:#x}");
            }
            assert!(
                app.create(&rows![; good, CKA_LABEL: b"twice", CKA_LABEL: b"twice"])
                    .is_ok(),
                "{name}: the same twice"
            );
            if good.iter().any(|row| row.0 == CKA_KEY_TYPE) {
                for (kind, value) in [
                    (CKA_LOCAL, true.then_some(vec![CK_TRUE]).unwrap()),
                    (
                        CKA_KEY_GEN_MECHANISM,
                        CKM_AES_KEY_GEN.to_ne_bytes().to_vec(),
                    ),
                ] {
                    let mut bad = good.clone();
                    bad.push((kind, value));
                    assert_eq!(
                        app.create(&bad),
                        Err(CKR_ATTRIBUTE_READ_ONLY),
                        "{name}: {kind:#x}"
                    );
                }
            }
            // Every row is needed, but for what a data object may leave out.
            for i in 0..good.len() {
                let mut bad = good.clone();
                let (kind, _) = bad.remove(i);
                let optional = good[0].1 == CKO_DATA.to_ne_bytes() && kind != CKA_CLASS;
                match app.create(&bad) {
                    Ok(_) => assert!(optional, "{name} without {kind:#x}"),
                    Err(rv) => assert!(
                        !optional && rv == CKR_TEMPLATE_INCOMPLETE,
                        "{name} without {kind:#x}: {rv:#x}"
                    ),
                }
            }
        }
        assert_eq!(app.create(&rows![]), Err(CKR_TEMPLATE_INCOMPLETE));
        // Values that are no keys.
        let aes_of = |n| {
            app.create(
                &rows![CKA_CLASS: CKO_SECRET_KEY, CKA_KEY_TYPE: CKK_AES, CKA_VALUE: vec![1; n]],
            )
        };
        for n in [0, 1, 15, 17, 31, 33, 64] {
            assert_eq!(
                aes_of(n),
                Err(CKR_ATTRIBUTE_VALUE_INVALID),
                "AES of {n} bytes"
            );
        }
        let with = |base: Rows, kind, value: &[u8]| {
            let changed = base
                .into_iter()
                .map(|(k, v)| {
                    if k == kind {
                        (k, value.to_vec())
                    } else {
                        (k, v)
                    }
                })
                .collect();
            app.create(&changed)
                .err()
                .unwrap_or_else(|| panic!("{kind:#x} of {value:x?} is taken for a key"))
        };
        let bad_value = |rv| {
            assert!(
                [CKR_ATTRIBUTE_VALUE_INVALID, CKR_TEMPLATE_INCONSISTENT].contains(&rv),
                "{rv:#x}"
            )
        };
        for point in [&b""[..], &POINT[..40], &[4; 67], &[0; 65]] {
            bad_value(with(ec_public(), CKA_EC_POINT, point));
        }
        for scalar in [&b""[..], &[0; 32], &[0xff; 32], &[1; 40]] {
            bad_value(with(ec_private(), CKA_VALUE, scalar));
        }
        for params in [&b""[..], b"\x06\x03\x2a\x03\x04", b"garbage"] {
            let rv = with(ec_public(), CKA_EC_PARAMS, params);
            assert!(
                [
                    CKR_CURVE_NOT_SUPPORTED,
                    CKR_DOMAIN_PARAMS_INVALID,
                    CKR_ATTRIBUTE_VALUE_INVALID
                ]
                .contains(&rv),
                "{rv:#x}"
            );
        }
        for modulus in [&b""[..], &[0; 256], b"\x03"] {
            bad_value(with(rsa_public(), CKA_MODULUS, modulus));
        }
        for exponent in [&b""[..], b"\x00", b"\x02"] {
            bad_value(with(rsa_public(), CKA_PUBLIC_EXPONENT, exponent));
        }
        let certificate = rows![CKA_CLASS: CKO_CERTIFICATE, CKA_CERTIFICATE_TYPE: CKC_X_509, CKA_VALUE: b"no DER"];
        assert_eq!(
            app.create(&rows![; certificate, CKA_SUBJECT: b""]),
            Err(CKR_ATTRIBUTE_VALUE_INVALID)
        );
        // A token keeps what it cannot read, when it is told whose it is.
        for kept in [true, false] {
            let named = app
                .create(&rows![; certificate, CKA_SUBJECT: b"0\0", CKA_TOKEN: kept])
                .unwrap();
            assert_eq!(app.get(named, CKA_VALUE).unwrap(), b"no DER");
            assert_eq!(app.get(named, CKA_SUBJECT).unwrap(), b"0\0");
            for kind in [CKA_ISSUER, CKA_SERIAL_NUMBER, CKA_PUBLIC_KEY_INFO] {
                assert_eq!(app.get(named, kind), Ok(Vec::new()), "{kind:#x}");
            }
        }
        host.finalize();
    });
}

#[test]
fn templates_of_generated_keys_that_cannot_be() {
    alone(|host| {
        let (_, app) = user(host);
        let cases: Vec<(&str, Rows, CK_RV)> = vec![
            ("no length", rows![], CKR_TEMPLATE_INCOMPLETE),
            (
                "another class",
                rows![CKA_VALUE_LEN: 16, CKA_CLASS: CKO_DATA],
                CKR_TEMPLATE_INCONSISTENT,
            ),
            (
                "another type",
                rows![CKA_VALUE_LEN: 16, CKA_KEY_TYPE: CKK_DES3],
                CKR_TEMPLATE_INCONSISTENT,
            ),
            (
                "a value",
                rows![CKA_VALUE_LEN: 16, CKA_VALUE: &[0; 16]],
                CKR_TEMPLATE_INCONSISTENT,
            ),
            (
                "a length of 0",
                rows![CKA_VALUE_LEN: 0],
                CKR_ATTRIBUTE_VALUE_INVALID,
            ),
            (
                "a length of 17",
                rows![CKA_VALUE_LEN: 17],
                CKR_ATTRIBUTE_VALUE_INVALID,
            ),
            (
                "a length in bits",
                rows![CKA_VALUE_LEN: 256],
                CKR_ATTRIBUTE_VALUE_INVALID,
            ),
            (
                "a huge length",
                rows![CKA_VALUE_LEN: CK_ULONG::MAX],
                CKR_ATTRIBUTE_VALUE_INVALID,
            ),
            (
                "half a length",
                vec![(CKA_VALUE_LEN, vec![16, 0, 0, 0])],
                CKR_ATTRIBUTE_VALUE_INVALID,
            ),
            (
                "a modulus",
                rows![CKA_VALUE_LEN: 16, CKA_MODULUS: b"1"],
                CKR_TEMPLATE_INCONSISTENT,
            ),
            (
                "local",
                rows![CKA_VALUE_LEN: 16, CKA_LOCAL: true],
                CKR_ATTRIBUTE_READ_ONLY,
            ),
            (
                "always sensitive",
                rows![CKA_VALUE_LEN: 16, CKA_ALWAYS_SENSITIVE: true],
                CKR_ATTRIBUTE_READ_ONLY,
            ),
            (
                "never extractable",
                rows![CKA_VALUE_LEN: 16, CKA_NEVER_EXTRACTABLE: true],
                CKR_ATTRIBUTE_READ_ONLY,
            ),
            (
                "trusted by a user",
                rows![CKA_VALUE_LEN: 16, CKA_TRUSTED: true],
                CKR_ATTRIBUTE_READ_ONLY,
            ),
        ];
        for (name, rows, rv) in cases {
            assert_eq!(app.generate(CKM_AES_KEY_GEN, &rows), Err(rv), "{name}");
        }
        for bits in [0, 1, 512, 1 << 20, CK_ULONG::MAX] {
            let rv = app
                .pair(
                    CKM_RSA_PKCS_KEY_PAIR_GEN,
                    &rows![CKA_MODULUS_BITS: bits],
                    &rows![],
                )
                .unwrap_err();
            assert_eq!(rv, CKR_ATTRIBUTE_VALUE_INVALID, "RSA of {bits} bits");
        }
        let pair =
            |kind, public: &Rows, private: &Rows| app.pair(kind, public, private).unwrap_err();
        let bits = rows![CKA_MODULUS_BITS: 2048];
        assert_eq!(
            pair(CKM_RSA_PKCS_KEY_PAIR_GEN, &rows![], &rows![]),
            CKR_TEMPLATE_INCOMPLETE
        );
        for exponent in [
            &b""[..],
            b"\x00",
            b"\x01",
            b"\x02",
            b"\x01\x00\x00",
            &[0xff; 64],
        ] {
            let rv = pair(
                CKM_RSA_PKCS_KEY_PAIR_GEN,
                &rows![; bits, CKA_PUBLIC_EXPONENT: exponent],
                &rows![],
            );
            assert_eq!(rv, CKR_ATTRIBUTE_VALUE_INVALID, "{exponent:?}");
        }
        assert_eq!(
            pair(
                CKM_RSA_PKCS_KEY_PAIR_GEN,
                &bits,
                &rows![CKA_MODULUS_BITS: 2048]
            ),
            CKR_TEMPLATE_INCONSISTENT
        );
        assert_eq!(
            pair(
                CKM_RSA_PKCS_KEY_PAIR_GEN,
                &bits,
                &rows![CKA_CLASS: CKO_PUBLIC_KEY]
            ),
            CKR_TEMPLATE_INCONSISTENT
        );
        assert_eq!(
            pair(CKM_EC_KEY_PAIR_GEN, &rows![], &rows![]),
            CKR_TEMPLATE_INCOMPLETE
        );
        for params in [
            &b""[..],
            b"\x06\x03\x2a\x03\x04",
            b"garbage",
            b"\x06\x03\x2b\x65\x70",
        ] {
            let rv = pair(CKM_EC_KEY_PAIR_GEN, &rows![CKA_EC_PARAMS: params], &rows![]);
            let known = [
                CKR_CURVE_NOT_SUPPORTED,
                CKR_DOMAIN_PARAMS_INVALID,
                CKR_ATTRIBUTE_VALUE_INVALID,
                CKR_TEMPLATE_INCONSISTENT,
            ];
            assert!(known.contains(&rv), "{params:?}: {rv:#x}");
        }
        assert_eq!(
            app.find(&rows![]),
            Ok(vec![]),
            "nothing is left of all that"
        );
        host.finalize();
    });
}

#[test]
fn what_a_made_key_says_of_itself() {
    alone(|host| {
        let (_, app) = user(host);
        for token in [false, true] {
            let made = app
                .generate(CKM_AES_KEY_GEN, &rows![CKA_VALUE_LEN: 32, CKA_TOKEN: token])
                .unwrap();
            let open = rows![CKA_VALUE_LEN: 32, CKA_TOKEN: token, CKA_SENSITIVE: false, CKA_EXTRACTABLE: true];
            let opened = app.generate(CKM_AES_KEY_GEN, &open).unwrap();
            let given = app
                .create(
                    &rows![; aes(), CKA_TOKEN: token, CKA_SENSITIVE: true, CKA_EXTRACTABLE: false],
                )
                .unwrap();
            let brought = app.create(&rows![; aes(), CKA_TOKEN: token]).unwrap();
            let closed = app
                .create(&rows![; aes(), CKA_TOKEN: token, CKA_SENSITIVE: true])
                .unwrap();
            // (object, local, sensitive, always, extractable, never, made by)
            for (key, local, sensitive, always, extractable, never, by) in [
                (made, true, token, token, false, true, CKM_AES_KEY_GEN),
                (opened, true, false, false, true, false, CKM_AES_KEY_GEN),
                (
                    given,
                    false,
                    true,
                    false,
                    false,
                    false,
                    CK_UNAVAILABLE_INFORMATION,
                ),
                // Of what was brought for this session no secret is made, unless the template says so.
                (
                    brought,
                    false,
                    token,
                    false,
                    !token,
                    false,
                    CK_UNAVAILABLE_INFORMATION,
                ),
                (
                    closed,
                    false,
                    true,
                    false,
                    false,
                    false,
                    CK_UNAVAILABLE_INFORMATION,
                ),
            ] {
                assert_eq!(app.flag(key, CKA_TOKEN), token);
                assert!(app.flag(key, CKA_PRIVATE));
                assert_eq!(app.flag(key, CKA_LOCAL), local);
                assert_eq!(app.flag(key, CKA_SENSITIVE), sensitive);
                assert_eq!(app.flag(key, CKA_ALWAYS_SENSITIVE), always);
                assert_eq!(app.flag(key, CKA_EXTRACTABLE), extractable);
                // On a server only a key that the server keeps.
                let kept = || app.get(key, vendor::KEPT) == Ok(vec![CK_TRUE]);
                let never = never && (!token || std::env::var_os(SERVER).is_none() || kept());
                assert_eq!(app.flag(key, CKA_NEVER_EXTRACTABLE), never);
                assert_eq!(app.number(key, CKA_KEY_GEN_MECHANISM), by);
                let value = app.get(key, CKA_VALUE);
                assert_eq!(value.is_ok(), !sensitive && extractable, "{value:?}");
                assert!(value.is_ok() || value == Err(CKR_ATTRIBUTE_SENSITIVE));
            }
            // Every attribute of its class is there.
            for kind in [
                CKA_LABEL,
                CKA_ID,
                CKA_START_DATE,
                CKA_END_DATE,
                CKA_CHECK_VALUE,
                CKA_UNIQUE_ID,
            ] {
                assert!(app.get(made, kind).is_ok(), "{kind:#x}");
            }
            // An empty list would say that nothing is allowed.
            assert_eq!(
                app.get(made, CKA_ALLOWED_MECHANISMS),
                Err(CKR_ATTRIBUTE_TYPE_INVALID)
            );
            assert_eq!(app.number(made, CKA_VALUE_LEN), 32);
            assert_eq!(app.get(made, CKA_MODULUS), Err(CKR_ATTRIBUTE_TYPE_INVALID));
            assert_eq!(app.get(made, 0x7777), Err(CKR_ATTRIBUTE_TYPE_INVALID));
        }
        host.finalize();
    });
}

#[test]
fn check_values() {
    alone(|host| {
        let (_, app) = user(host);
        let zero = rows![CKA_CLASS: CKO_SECRET_KEY, CKA_KEY_TYPE: CKK_AES, CKA_VALUE: &[0; 16]];
        for token in [false, true] {
            let zero = rows![; zero, CKA_TOKEN: token];
            let key = app.create(&zero).unwrap();
            assert_eq!(app.get(key, CKA_CHECK_VALUE).unwrap(), [0x66, 0xe9, 0x4b]);
            assert!(
                app.create(&rows![; zero, CKA_CHECK_VALUE: b"\x66\xe9\x4b"])
                    .is_ok()
            );
            assert_eq!(
                app.create(&rows![; zero, CKA_CHECK_VALUE: b"\x66\xe9\x4c"]),
                Err(CKR_ATTRIBUTE_VALUE_INVALID)
            );
            assert_eq!(
                app.create(&rows![; zero, CKA_CHECK_VALUE: b"\x66\xe9"]),
                Err(CKR_ATTRIBUTE_VALUE_INVALID)
            );
            let none = app.create(&rows![; zero, CKA_CHECK_VALUE: b""]).unwrap();
            assert_eq!(
                app.get(none, CKA_CHECK_VALUE).unwrap(),
                b"",
                "the standard's way to have none"
            );
            let generic = app
                .create(&rows![CKA_CLASS: CKO_SECRET_KEY, CKA_KEY_TYPE: CKK_GENERIC_SECRET, CKA_VALUE: b"abc", CKA_TOKEN: token]);
            assert_eq!(
                app.get(generic.unwrap(), CKA_CHECK_VALUE).unwrap(),
                [0xa9, 0x99, 0x3e]
            );
            assert_eq!(
                app.set(key, &rows![CKA_CHECK_VALUE: b"abc"]),
                Err(CKR_ATTRIBUTE_READ_ONLY)
            );
        }
        host.finalize();
    });
}

/// `C_SetAttributeValue`: what changes, in which direction, for objects of a session and of the token.
#[test]
fn attributes_change_as_the_table_says() {
    alone(|host| {
        let (_, app) = user(host);
        let open = rows![CKA_SENSITIVE: false, CKA_EXTRACTABLE: true];
        for token in [false, true] {
            let make = || {
                app.create(
                    &rows![; aes(), CKA_TOKEN: token, CKA_SENSITIVE: false, CKA_EXTRACTABLE: true],
                )
                .unwrap()
            };
            let key = make();
            let cases: Vec<(&str, Rows, Result<(), CK_RV>)> = vec![
                ("label", rows![CKA_LABEL: b"new"], Ok(())),
                ("id", rows![CKA_ID: b"\x00\xff"], Ok(())),
                ("usage off", rows![CKA_ENCRYPT: false], Ok(())),
                ("usage on", rows![CKA_ENCRYPT: true], Ok(())),
                (
                    "dates",
                    rows![CKA_START_DATE: b"20240229", CKA_END_DATE: b"20251231"],
                    Ok(()),
                ),
                ("no date", rows![CKA_START_DATE: b""], Ok(())),
                (
                    "odd date",
                    rows![CKA_START_DATE: b"2024-2-3"],
                    Err(CKR_ATTRIBUTE_VALUE_INVALID),
                ),
                ("what it is already", open.clone(), Ok(())),
                (
                    "class",
                    rows![CKA_CLASS: CKO_DATA],
                    Err(CKR_ATTRIBUTE_READ_ONLY),
                ),
                (
                    "type",
                    rows![CKA_KEY_TYPE: CKK_DES3],
                    Err(CKR_ATTRIBUTE_READ_ONLY),
                ),
                (
                    "value",
                    rows![CKA_VALUE: &[1; 16]],
                    Err(CKR_ATTRIBUTE_READ_ONLY),
                ),
                (
                    "length",
                    rows![CKA_VALUE_LEN: 32],
                    Err(CKR_ATTRIBUTE_READ_ONLY),
                ),
                (
                    "token",
                    rows![CKA_TOKEN: !token],
                    Err(CKR_ATTRIBUTE_READ_ONLY),
                ),
                (
                    "private",
                    rows![CKA_PRIVATE: false],
                    Err(CKR_ATTRIBUTE_READ_ONLY),
                ),
                (
                    "modifiable",
                    rows![CKA_MODIFIABLE: false],
                    Err(CKR_ATTRIBUTE_READ_ONLY),
                ),
                (
                    "local",
                    rows![CKA_LOCAL: true],
                    Err(CKR_ATTRIBUTE_READ_ONLY),
                ),
                (
                    "not local, as it is",
                    rows![CKA_LOCAL: false],
                    Err(CKR_ATTRIBUTE_READ_ONLY),
                ),
                (
                    "unique id",
                    rows![CKA_UNIQUE_ID: b"x"],
                    Err(CKR_ATTRIBUTE_READ_ONLY),
                ),
                (
                    "trusted",
                    rows![CKA_TRUSTED: true],
                    Err(CKR_ATTRIBUTE_READ_ONLY),
                ),
                (
                    "another type's",
                    rows![CKA_MODULUS: b"1"],
                    Err(CKR_ATTRIBUTE_TYPE_INVALID),
                ),
                (
                    "unknown",
                    vec![(0x7777, vec![1])],
                    Err(CKR_ATTRIBUTE_TYPE_INVALID),
                ),
                (
                    "wide flag",
                    vec![(CKA_ENCRYPT, vec![1, 0])],
                    Err(CKR_ATTRIBUTE_VALUE_INVALID),
                ),
                ("sensitive", rows![CKA_SENSITIVE: true], Ok(())),
                (
                    "not sensitive",
                    rows![CKA_SENSITIVE: false],
                    Err(CKR_ATTRIBUTE_READ_ONLY),
                ),
                ("not extractable", rows![CKA_EXTRACTABLE: false], Ok(())),
                (
                    "extractable",
                    rows![CKA_EXTRACTABLE: true],
                    Err(CKR_ATTRIBUTE_READ_ONLY),
                ),
                (
                    "wrap with trusted",
                    rows![CKA_WRAP_WITH_TRUSTED: true],
                    Ok(()),
                ),
                (
                    "wrap with any",
                    rows![CKA_WRAP_WITH_TRUSTED: false],
                    Err(CKR_ATTRIBUTE_READ_ONLY),
                ),
                ("not copyable", rows![CKA_COPYABLE: false], Ok(())),
                (
                    "copyable",
                    rows![CKA_COPYABLE: true],
                    Err(CKR_ATTRIBUTE_READ_ONLY),
                ),
                (
                    "not destroyable",
                    rows![CKA_DESTROYABLE: false],
                    Err(CKR_ATTRIBUTE_READ_ONLY),
                ),
                ("nothing", rows![], Ok(())),
            ];
            for (name, rows, wanted) in cases {
                assert_eq!(app.set(key, &rows), wanted, "{name}, token {token}");
            }
            assert!(app.flag(key, CKA_SENSITIVE) && !app.flag(key, CKA_EXTRACTABLE));
            assert!(
                !app.flag(key, CKA_ALWAYS_SENSITIVE) && !app.flag(key, CKA_NEVER_EXTRACTABLE),
                "as it was once open"
            );
            assert_eq!(app.get(key, CKA_VALUE), Err(CKR_ATTRIBUTE_SENSITIVE));
            // All or nothing.
            let other = make();
            assert!(
                app.set(other, &rows![CKA_LABEL: b"changed", CKA_TOKEN: !token])
                    .is_err()
            );
            assert_eq!(app.get(other, CKA_LABEL).unwrap(), b"");
            let fixed = app
                .create(&rows![; aes(), CKA_TOKEN: token, CKA_MODIFIABLE: false])
                .unwrap();
            assert_eq!(
                app.set(fixed, &rows![CKA_LABEL: b"x"]),
                Err(CKR_ACTION_PROHIBITED)
            );
            let kept = app
                .create(&rows![; aes(), CKA_TOKEN: token, CKA_DESTROYABLE: false])
                .unwrap();
            assert_eq!(app.destroy(kept), Err(CKR_ACTION_PROHIBITED));
            assert_eq!(
                app.set(kept, &rows![CKA_DESTROYABLE: true]),
                Err(CKR_ATTRIBUTE_READ_ONLY)
            );
            assert_eq!(
                app.copy(kept, &rows![CKA_DESTROYABLE: true])
                    .and_then(|copy| app.destroy(copy)),
                Ok(())
            );
            assert_eq!(app.number(kept, CKA_KEY_TYPE), CKK_AES);
        }
        host.finalize();
    });
}

#[test]
fn copies() {
    alone(|host| {
        let (_, app) = user(host);
        let key = app
            .create(
                &rows![; aes(), CKA_LABEL: b"first", CKA_SENSITIVE: false, CKA_EXTRACTABLE: true],
            )
            .unwrap();
        let cases: Vec<(&str, Rows, Result<(), CK_RV>)> = vec![
            ("as it is", rows![], Ok(())),
            ("another label", rows![CKA_LABEL: b"second"], Ok(())),
            ("on the token", rows![CKA_TOKEN: true], Ok(())),
            ("fixed", rows![CKA_MODIFIABLE: false], Ok(())),
            (
                "more guarded",
                rows![CKA_SENSITIVE: true, CKA_EXTRACTABLE: false],
                Ok(()),
            ),
            (
                "public",
                rows![CKA_PRIVATE: false],
                Err(CKR_TEMPLATE_INCONSISTENT),
            ),
            (
                "another class",
                rows![CKA_CLASS: CKO_DATA],
                Err(CKR_ATTRIBUTE_READ_ONLY),
            ),
            (
                "another value",
                rows![CKA_VALUE: &[9; 16]],
                Err(CKR_ATTRIBUTE_READ_ONLY),
            ),
            (
                "local",
                rows![CKA_LOCAL: true],
                Err(CKR_ATTRIBUTE_READ_ONLY),
            ),
            (
                "unknown",
                vec![(0x7777, vec![1])],
                Err(CKR_ATTRIBUTE_TYPE_INVALID),
            ),
        ];
        for (name, rows, wanted) in cases {
            let copied = app.copy(key, &rows);
            assert_eq!(copied.map(|_| ()), wanted, "{name}");
            let Ok(copy) = copied else { continue };
            assert_ne!(
                app.get(copy, CKA_UNIQUE_ID),
                app.get(key, CKA_UNIQUE_ID),
                "{name}"
            );
            assert_eq!(
                app.encrypt(CKM_AES_ECB, copy, &[0; 16]),
                app.encrypt(CKM_AES_ECB, key, &[0; 16]),
                "{name}"
            );
        }
        assert_eq!(app.get(key, CKA_LABEL).unwrap(), b"first");
        let hidden = app.copy(key, &rows![CKA_SENSITIVE: true]).unwrap();
        assert_eq!(
            app.copy(hidden, &rows![CKA_SENSITIVE: false]),
            Err(CKR_ATTRIBUTE_READ_ONLY)
        );
        // A closed key is copied, too, to the token and to a session (OpenSSL's pkcs11-provider does that), and stays closed.
        let closed = rows![; aes(), CKA_TOKEN: true, CKA_SENSITIVE: true, CKA_EXTRACTABLE: false];
        let closed = app.create(&closed).unwrap();
        for token in [true, false] {
            let copy = app.copy(closed, &rows![CKA_TOKEN: token]).unwrap();
            assert_eq!(
                app.encrypt(CKM_AES_ECB, copy, &[0; 16]),
                app.encrypt(CKM_AES_ECB, closed, &[0; 16])
            );
            assert_eq!(
                (app.flag(copy, CKA_TOKEN), app.get(copy, CKA_VALUE)),
                (token, Err(CKR_ATTRIBUTE_SENSITIVE))
            );
            assert_eq!(
                app.copy(copy, &rows![CKA_EXTRACTABLE: true]),
                Err(CKR_ATTRIBUTE_READ_ONLY)
            );
        }
        let single = app.copy(key, &rows![CKA_COPYABLE: false]).unwrap();
        assert_eq!(app.copy(single, &rows![]), Err(CKR_ACTION_PROHIBITED));
        let public = app.create(&data()).unwrap();
        assert!(app.flag(
            app.copy(public, &rows![CKA_PRIVATE: true]).unwrap(),
            CKA_PRIVATE
        ));
        assert_eq!(app.copy(4711, &rows![]), Err(CKR_OBJECT_HANDLE_INVALID));
        host.finalize();
    });
}

/// The five cases of `C_GetAttributeValue`, in every order of three.
#[test]
fn rows_of_a_reading_do_not_disturb_each_other() {
    alone(|host| {
        let (_, app) = user(host);
        let key = app
            .generate(
                CKM_AES_KEY_GEN,
                &rows![CKA_VALUE_LEN: 16, CKA_LABEL: b"a label"],
            )
            .unwrap();
        // (attribute, room (None: NULL), length told, result that the row alone has)
        type Case = (CK_ATTRIBUTE_TYPE, Option<usize>, CK_ULONG, CK_RV);
        let no = CK_UNAVAILABLE_INFORMATION;
        let cases: [Case; 6] = [
            (CKA_VALUE, Some(32), no, CKR_ATTRIBUTE_SENSITIVE),
            (CKA_VALUE, None, no, CKR_ATTRIBUTE_SENSITIVE),
            (CKA_MODULUS, Some(32), no, CKR_ATTRIBUTE_TYPE_INVALID),
            (CKA_LABEL, None, 7, CKR_OK),
            (CKA_LABEL, Some(7), 7, CKR_OK),
            (CKA_LABEL, Some(6), no, CKR_BUFFER_TOO_SMALL),
        ];
        for (a, b, c) in (0..216).map(|i| (cases[i / 36], cases[i / 6 % 6], cases[i % 6])) {
            let asked = [a, b, c];
            let mut buffers = [[0xa5u8; 32]; 3];
            let mut rows: Vec<CK_ATTRIBUTE> = asked
                .iter()
                .zip(&mut buffers)
                .map(|((kind, room, ..), buffer)| CK_ATTRIBUTE {
                    type_: *kind,
                    pValue: room.map_or(null_mut(), |_| buffer.as_mut_ptr().cast::<c_void>()),
                    ulValueLen: room.unwrap_or(0) as CK_ULONG,
                })
                .collect();
            let rv = ck!(host.C_GetAttributeValue(app.session, key, rows.as_mut_ptr(), 3));
            let faults: Vec<_> = asked
                .iter()
                .map(|case| case.3)
                .filter(|rv| *rv != CKR_OK)
                .collect();
            assert!(
                if faults.is_empty() {
                    rv == CKR_OK
                } else {
                    faults.contains(&rv)
                },
                "{asked:x?}: {rv:#x}"
            );
            for ((row, case), buffer) in rows.iter().zip(asked).zip(buffers) {
                assert_eq!(row.ulValueLen, case.2, "{asked:x?}");
                let written = case.3 == CKR_OK && case.1.is_some();
                assert_eq!(&buffer[..7] == b"a label", written);
                assert!(buffer[7..].iter().all(|b| *b == 0xa5));
            }
        }
        assert_eq!(
            ck!(host.C_GetAttributeValue(app.session, key, null_mut(), 0)),
            CKR_OK
        );
        assert_eq!(
            ck!(host.C_GetAttributeValue(app.session, key, null_mut(), 1)),
            CKR_ARGUMENTS_BAD
        );
        host.finalize();
    });
}

#[test]
fn objects_are_found_by_every_attribute() {
    alone(|host| {
        let (_, app) = user(host);
        for token in [false, true] {
            let marks =
                |n: u8| rows![CKA_TOKEN: token, CKA_LABEL: vec![b'l', n], CKA_PRIVATE: true];
            let mut made = Vec::new();
            for (n, (name, template)) in every_class().into_iter().enumerate() {
                let mut rows = template;
                rows.extend(marks(n as u8));
                if rows[0].1 != CKO_DATA.to_ne_bytes() {
                    rows.extend(rows![CKA_ID: vec![7, n as u8]]);
                }
                made.push((name, app.create(&rows).unwrap(), rows));
            }
            for (name, object, given) in &made {
                let here = rows![CKA_TOKEN: token];
                for (kind, value) in given {
                    let found = app
                        .find(&{
                            let mut t = here.clone();
                            t.push((*kind, value.clone()));
                            t
                        })
                        .unwrap();
                    let hidden = app.get(*object, *kind) == Err(CKR_ATTRIBUTE_SENSITIVE);
                    // The bare form of a number or point is accepted when it is made, and another form kept.
                    assert_eq!(
                        found.contains(object),
                        !hidden,
                        "{name} by {kind:#x}, token {token}"
                    );
                    let mut longer = value.clone();
                    longer.push(0);
                    assert!(
                        !app.find(&{
                            let mut t = here.clone();
                            t.push((*kind, longer));
                            t
                        })
                        .unwrap()
                        .contains(object),
                        "{name} by more than {kind:#x}"
                    );
                }
                assert_eq!(
                    app.find(given).unwrap_or_default().contains(object),
                    given.iter().all(|row| app.get(*object, row.0).is_ok())
                );
                let id = app.get(*object, CKA_UNIQUE_ID).unwrap();
                assert_eq!(
                    app.find(&rows![CKA_UNIQUE_ID: id]),
                    Ok(vec![*object]),
                    "{name}"
                );
            }
            let all = app.find(&rows![CKA_TOKEN: token]).unwrap();
            assert_eq!(all.len(), made.len());
            assert_eq!(
                app.find(&rows![CKA_TOKEN: token, CKA_LABEL: b"none such"]),
                Ok(vec![])
            );
            assert_eq!(app.find(&vec![(0x7777, vec![1])]), Ok(vec![]));
            assert_eq!(app.find(&vec![(CKA_CLASS, vec![1])]), Ok(vec![]));
        }
        assert_eq!(app.find(&rows![]).unwrap().len(), 12);
        host.finalize();
    });
}

#[test]
fn searches_begin_go_on_and_end() {
    alone(|host| {
        let (slot, app) = user(host);
        let keys: Vec<_> = (0..5)
            .map(|_| app.create(&rows![; aes(), CKA_TOKEN: true]).unwrap())
            .collect();
        let (mut found, mut count) = ([0; 8], 0);
        let next = |app: App<'_>, found: &mut [CK_OBJECT_HANDLE], count: &mut CK_ULONG| {
            let host = app.host;
            ck!(host.C_FindObjects(
                app.session,
                found.as_mut_ptr(),
                found.len() as CK_ULONG,
                count
            ))
        };
        assert_eq!(
            next(app, &mut found, &mut count),
            CKR_OPERATION_NOT_INITIALIZED
        );
        assert_eq!(
            ck!(host.C_FindObjectsFinal(app.session)),
            CKR_OPERATION_NOT_INITIALIZED
        );
        assert_eq!(
            ck!(host.C_FindObjectsInit(app.session, null_mut(), 1)),
            CKR_ARGUMENTS_BAD
        );
        assert_eq!(
            ck!(host.C_FindObjectsInit(app.session, null_mut(), 0)),
            CKR_OK
        );
        assert_eq!(
            ck!(host.C_FindObjectsInit(app.session, null_mut(), 0)),
            CKR_OPERATION_ACTIVE
        );
        assert_eq!(
            ck!(host.C_FindObjects(app.session, null_mut(), 1, &mut count)),
            CKR_ARGUMENTS_BAD
        );
        assert_eq!(
            ck!(host.C_FindObjects(app.session, found.as_mut_ptr(), 1, null_mut())),
            CKR_ARGUMENTS_BAD
        );
        assert_eq!((next(app, &mut found[..2], &mut count), count), (CKR_OK, 2));
        // What changes meanwhile harms nothing, and a search does not keep others from theirs.
        let other = open(host, slot, true).unwrap();
        other.destroy(keys[4]).unwrap();
        let late = other.create(&rows![; aes(), CKA_TOKEN: true]).unwrap();
        assert_eq!(other.find(&rows![CKA_TOKEN: true]).unwrap().len(), 5);
        assert_eq!(next(app, &mut found[2..], &mut count), CKR_OK);
        assert!((2..=4).contains(&count));
        assert_eq!(
            (next(app, &mut found, &mut count), count),
            (CKR_OK, 0),
            "again and again"
        );
        assert_eq!((next(app, &mut found, &mut count), count), (CKR_OK, 0));
        // Other operations go on beside it.
        assert!(app.encrypt(CKM_AES_ECB, keys[0], &[0; 16]).is_ok());
        assert_eq!(ck!(host.C_FindObjectsFinal(app.session)), CKR_OK);
        assert_eq!(
            ck!(host.C_FindObjectsFinal(app.session)),
            CKR_OPERATION_NOT_INITIALIZED
        );
        assert!(app.find(&rows![]).unwrap().contains(&late));
        host.finalize();
    });
}

#[test]
fn only_the_so_trusts() {
    alone(|host| {
        let (_, app) = user(host);
        let public = rows![; aes(), CKA_PRIVATE: false, CKA_TOKEN: true];
        let key = app.create(&public).unwrap();
        assert_eq!(
            app.set(key, &rows![CKA_TRUSTED: true]),
            Err(CKR_ATTRIBUTE_READ_ONLY)
        );
        assert_eq!(
            app.create(&rows![; public, CKA_TRUSTED: true]),
            Err(CKR_ATTRIBUTE_READ_ONLY)
        );
        assert!(app.create(&rows![; public, CKA_TRUSTED: false]).is_ok());
        app.logout().unwrap();
        app.login(CKU_SO, SO_PIN).unwrap();
        assert_eq!(app.set(key, &rows![CKA_TRUSTED: true]), Ok(()));
        assert!(app.create(&rows![; public, CKA_TRUSTED: true]).is_ok());
        app.logout().unwrap();
        app.login(CKU_USER, USER_PIN).unwrap();
        assert!(app.flag(key, CKA_TRUSTED));
        host.finalize();
    });
}

/// A measure of the room that an object takes up (C_GetObjectSize): its value takes most of it.
#[test]
fn a_size_counts_the_value() {
    alone(|host| {
        let (_, app) = user(host);
        let size = |object| {
            let mut size = 0;
            assert_eq!(
                ck!(host.C_GetObjectSize(app.session, object, &mut size)),
                CKR_OK
            );
            size
        };
        let data = |len| {
            app.create(&rows![CKA_CLASS: CKO_DATA, CKA_VALUE: &vec![7; len][..]])
                .unwrap()
        };
        assert_eq!(size(data(10_000)) - size(data(100)), 9_900);
        let secret = |len: CK_ULONG| {
            app.generate(CKM_GENERIC_SECRET_KEY_GEN, &rows![CKA_VALUE_LEN: len])
                .unwrap()
        };
        let pair = |bits: CK_ULONG| {
            app.pair(
                CKM_RSA_PKCS_KEY_PAIR_GEN,
                &rows![CKA_MODULUS_BITS: bits],
                &rows![],
            )
            .unwrap()
        };
        let ((public, private), (long_public, long_private)) = (pair(1024), pair(2048));
        assert!(size(secret(16)) < size(secret(64)));
        assert!(
            size(public) + 128 <= size(long_public) && size(private) + 128 <= size(long_private)
        );
        host.finalize();
    });
}

#[test]
fn sizes_handles_and_what_is_gone() {
    alone(|host| {
        let (_, app) = user(host);
        let mut seen = std::collections::HashSet::new();
        for (name, template) in every_class() {
            let object = app.create(&template).unwrap();
            assert!(seen.insert(object), "{name}: a handle was used before");
            let mut size = 0;
            assert_eq!(
                ck!(host.C_GetObjectSize(app.session, object, &mut size)),
                CKR_OK
            );
            assert!(size > 0 && size < 1 << 16, "{name}: {size}");
            assert_eq!(
                ck!(host.C_GetObjectSize(app.session, object, null_mut())),
                CKR_ARGUMENTS_BAD
            );
            app.destroy(object).unwrap();
            assert_eq!(app.destroy(object), Err(CKR_OBJECT_HANDLE_INVALID));
            assert_eq!(app.get(object, CKA_CLASS), Err(CKR_OBJECT_HANDLE_INVALID));
            assert_eq!(
                ck!(host.C_GetObjectSize(app.session, object, &mut size)),
                CKR_OBJECT_HANDLE_INVALID
            );
            assert_eq!(
                app.encrypt_init(Mech::bare(CKM_AES_ECB), object),
                Err(CKR_KEY_HANDLE_INVALID)
            );
        }
        host.finalize();
    });
}

/// What is changed on a token object is there in the next life of the module.
#[test]
fn changes_survive() {
    alone(|host| {
        let (slot, app) = user(host);
        let key = app
            .create(&rows![; aes(), CKA_TOKEN: true, CKA_LABEL: b"before", CKA_ID: b"1"])
            .unwrap();
        let changes = rows![
            CKA_LABEL: "n\u{e4}chste".as_bytes(), CKA_ID: b"\x00\x01\xff", CKA_ENCRYPT: false, CKA_WRAP_WITH_TRUSTED: true,
            CKA_START_DATE: b"20240101", CKA_COPYABLE: false
        ];
        app.set(key, &changes).unwrap();
        host.finalize();
        host.initialize();
        let app = open(host, slot, true).unwrap();
        app.login(CKU_USER, USER_PIN).unwrap();
        let found = app.find(&rows![CKA_ID: b"\x00\x01\xff"]).unwrap();
        assert_eq!(found.len(), 1);
        for (kind, value) in changes {
            assert_eq!(app.get(found[0], kind), Ok(value), "{kind:#x}");
        }
        assert_eq!(app.find(&rows![CKA_LABEL: b"before"]), Ok(vec![]));
        host.finalize();
    });
}

/// An object's attributes do not depend on the existence of another.
#[test]
fn a_private_key_without_its_public_key_keeps_its_attributes() {
    alone(|host| {
        let (slot, app) = user(host);
        let public = rows![CKA_TOKEN: true, CKA_ID: b"7", CKA_MODULUS_BITS: 2048 as CK_ULONG];
        let private = rows![CKA_TOKEN: true, CKA_ID: b"7"];
        let (public, private) = app
            .pair(CKM_RSA_PKCS_KEY_PAIR_GEN, &public, &private)
            .unwrap();
        let modulus = app.get(public, CKA_MODULUS).unwrap();
        app.destroy(public).unwrap();
        assert_eq!(app.get(private, CKA_MODULUS), Ok(modulus.clone()));
        app.close().unwrap();
        host.finalize();
        host.initialize();
        let app = open(host, slot, true).unwrap();
        app.login(CKU_USER, USER_PIN).unwrap();
        let private = app.find(&rows![CKA_CLASS: CKO_PRIVATE_KEY]).unwrap()[0];
        for _ in 0..2 {
            assert_eq!(app.get(private, CKA_MODULUS), Ok(modulus.clone()));
            assert!(!app.get(private, CKA_PUBLIC_KEY_INFO).unwrap().is_empty());
            assert_eq!(app.get(private, CKA_ID), Ok(b"7".to_vec()));
        }
        app.destroy(private).unwrap();
        host.finalize();
    });
}

/// Defaults that OpenSSL's provider, rust-cryptoki, graphene and python-pkcs11 rely on.
#[test]
fn session_objects_are_public_before_a_login_and_open_unless_their_template_says_otherwise() {
    alone(|host| {
        let (_slot, app) = user(host);
        let on_token = std::env::var_os(SERVER).is_some();
        let flags = |rows: &Rows| {
            let key = app.generate(CKM_AES_KEY_GEN, rows).unwrap();
            [CKA_SENSITIVE, CKA_EXTRACTABLE, CKA_PRIVATE].map(|kind| app.flag(key, kind))
        };
        let with = |token: bool| rows![CKA_VALUE_LEN: 16, CKA_TOKEN: token];
        assert_eq!(flags(&with(false)), [false, false, true]);
        assert_eq!(flags(&with(true)), [true, false, true]);
        let extractable = rows![; with(true), CKA_EXTRACTABLE: true];
        assert_eq!(flags(&extractable), [false, true, true]);
        let sensitive = rows![; with(false), CKA_SENSITIVE: true];
        assert_eq!(flags(&sensitive), [true, false, true]);
        app.logout().unwrap();
        let session_key = rows![; aes(), CKA_TOKEN: false];
        let key = app.create(&session_key).unwrap();
        assert!(!app.flag(key, CKA_PRIVATE));
        assert_eq!(app.get(key, CKA_VALUE), Ok(vec![7; 16]));
        let private = rows![; session_key, CKA_PRIVATE: true];
        assert_eq!(app.create(&private), Err(CKR_USER_NOT_LOGGED_IN));
        let lasting = rows![; aes(), CKA_TOKEN: true];
        assert_eq!(app.create(&lasting), Err(CKR_USER_NOT_LOGGED_IN));
        assert!(on_token || app.generate(CKM_AES_KEY_GEN, &with(false)).is_ok());
        host.finalize();
    });
}

#[test]
fn a_modulus_of_a_length_that_cannot_be_made_is_a_wrong_value() {
    alone(|host| {
        let (_slot, app) = user(host);
        for bits in [1023, 2056, 3000, 3092] {
            let public = rows![CKA_TOKEN: false, CKA_MODULUS_BITS: bits as CK_ULONG];
            let made = app.pair(CKM_RSA_PKCS_KEY_PAIR_GEN, &public, &rows![CKA_TOKEN: false]);
            assert_eq!(made, Err(CKR_ATTRIBUTE_VALUE_INVALID), "{bits} bits");
        }
        host.finalize();
    });
}
