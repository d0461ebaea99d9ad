//! Keys as applications bring them: in every form that the standard allows, and in some that contradict themselves.

use mrhsm_pkcs11::ck::*;

use super::app::{App, Mech, Rows, Rv, rows, user};
use super::usual::{ED25519, Keys, P256, TEXT, usual};
use crate::ffi::host::alone;

const X25519: &[u8] = b"\x06\x03\x2b\x65\x6e";
const OPTIONAL: [CK_ATTRIBUTE_TYPE; 6] = [
    CKA_PUBLIC_EXPONENT,
    CKA_PRIME_1,
    CKA_PRIME_2,
    CKA_EXPONENT_1,
    CKA_EXPONENT_2,
    CKA_COEFFICIENT,
];

/// The rows of an open private key of its type, without its value.
fn private(key_type: CK_KEY_TYPE) -> Rows {
    rows![CKA_CLASS: CKO_PRIVATE_KEY, CKA_KEY_TYPE: key_type, CKA_SENSITIVE: false, CKA_EXTRACTABLE: true]
}

fn public(key_type: CK_KEY_TYPE) -> Rows {
    rows![CKA_CLASS: CKO_PUBLIC_KEY, CKA_KEY_TYPE: key_type]
}

fn with(base: &Rows, kind: CK_ATTRIBUTE_TYPE, value: &[u8]) -> Rows {
    let mut rows: Rows = base.iter().filter(|row| row.0 != kind).cloned().collect();
    rows.push((kind, value.to_vec()));
    rows
}

/// A pair whose private half can be read.
fn open_pair(
    app: App<'_>,
    m: CK_MECHANISM_TYPE,
    template: &Rows,
) -> (CK_OBJECT_HANDLE, CK_OBJECT_HANDLE) {
    app.pair(
        m,
        template,
        &rows![CKA_SENSITIVE: false, CKA_EXTRACTABLE: true],
    )
    .unwrap()
}

#[test]
fn rsa_keys_come_with_as_many_numbers_as_the_application_has() {
    alone(|host| {
        let (_, app) = user(host);
        let made = open_pair(
            app,
            CKM_RSA_PKCS_KEY_PAIR_GEN,
            &rows![CKA_MODULUS_BITS: 2048],
        );
        let number = |kind| app.get(made.1, kind).unwrap();
        let mut bare = private(CKK_RSA);
        for kind in [CKA_MODULUS, CKA_PRIVATE_EXPONENT] {
            bare.push((kind, number(kind)));
        }
        // Nothing else; what JCA and TPM tools have; a prime; both; all but one.
        let subsets: [&[usize]; 9] = [
            &[],
            &[0],
            &[0, 1],
            &[2],
            &[0, 1, 2],
            &[0, 3, 4],
            &[1, 2, 3, 4, 5],
            &[0, 1, 2, 3, 4],
            &[0, 1, 2, 3, 4, 5],
        ];
        for (i, subset) in subsets.into_iter().enumerate() {
            let mut template = rows![; bare, CKA_TOKEN: i % 2 == 0];
            template.extend(subset.iter().map(|&i| (OPTIONAL[i], number(OPTIONAL[i]))));
            let key = app
                .create(&template)
                .unwrap_or_else(|rv| panic!("{subset:?}: {rv:#x}"));
            for kind in OPTIONAL {
                assert_eq!(app.get(key, kind), Ok(number(kind)), "{subset:?} {kind:#x}");
            }
            let signature = app.sign(CKM_SHA256_RSA_PKCS, key, TEXT).unwrap();
            assert_eq!(
                app.verify(CKM_SHA256_RSA_PKCS, made.0, TEXT, &signature),
                Ok(())
            );
        }
        let refused = |rows: &Rows| app.create(rows).err();
        for kind in [CKA_MODULUS, CKA_PRIVATE_EXPONENT] {
            let without: Rows = bare.iter().filter(|row| row.0 != kind).cloned().collect();
            assert_eq!(
                refused(&without),
                Some(CKR_TEMPLATE_INCOMPLETE),
                "{kind:#x}"
            );
            assert_eq!(
                refused(&with(&bare, kind, b"")),
                Some(CKR_TEMPLATE_INCOMPLETE),
                "{kind:#x}"
            );
        }
        for kind in OPTIONAL {
            let mut wrong = number(kind);
            *wrong.last_mut().unwrap() ^= 2;
            assert_eq!(
                refused(&with(&bare, kind, &wrong)),
                Some(CKR_ATTRIBUTE_VALUE_INVALID),
                "{kind:#x}"
            );
        }
        host.finalize();
    });
}

#[test]
fn curve_keys_come_under_any_name_and_with_points_in_both_forms() {
    alone(|host| {
        let (_, app) = user(host);
        type Case<'a> = (CK_MECHANISM_TYPE, CK_KEY_TYPE, &'a [u8], &'a [&'a [u8]]);
        let cases: [Case<'_>; 3] = [
            (
                CKM_EC_KEY_PAIR_GEN,
                CKK_EC,
                P256,
                &[P256, b"\x13\x09secp256r1", b"\x13\x0aprime256v1"],
            ),
            (
                CKM_EC_EDWARDS_KEY_PAIR_GEN,
                CKK_EC_EDWARDS,
                ED25519,
                &[ED25519, b"\x13\x0cedwards25519"],
            ),
            (
                CKM_EC_MONTGOMERY_KEY_PAIR_GEN,
                CKK_EC_MONTGOMERY,
                X25519,
                &[X25519, b"\x13\x0acurve25519"],
            ),
        ];
        for (m, key_type, identifier, names) in cases {
            for (i, name) in names.iter().enumerate() {
                let pair = open_pair(app, m, &rows![CKA_EC_PARAMS: *name, CKA_TOKEN: i % 2 == 1]);
                let (point, value) = (
                    app.get(pair.0, CKA_EC_POINT).unwrap(),
                    app.get(pair.1, CKA_VALUE).unwrap(),
                );
                for half in [pair.0, pair.1] {
                    assert_eq!(app.get(half, CKA_EC_PARAMS).as_deref(), Ok(identifier));
                }
                // Tag and length of the OCTET STRING are two bytes.
                assert_eq!((point[0], usize::from(point[1])), (4, point.len() - 2));
                for given in [&point[..], &point[2..]] {
                    let template =
                        rows![; public(key_type), CKA_EC_PARAMS: *name, CKA_EC_POINT: given];
                    let key = app.create(&template).unwrap();
                    assert_eq!(app.get(key, CKA_EC_POINT).as_deref(), Ok(&point[..]));
                    assert_eq!(app.get(key, CKA_EC_PARAMS).as_deref(), Ok(identifier));
                }
                let bare = rows![; private(key_type), CKA_EC_PARAMS: *name, CKA_VALUE: &value[..]];
                for template in [
                    bare.clone(),
                    with(&bare, CKA_EC_POINT, &point),
                    with(&bare, CKA_EC_POINT, b""),
                ] {
                    let key = app.create(&template).unwrap();
                    assert_eq!(app.get(key, CKA_EC_POINT).as_deref(), Ok(&point[..]));
                    assert_eq!(app.get(key, CKA_VALUE).as_deref(), Ok(&value[..]));
                }
                let other = open_pair(app, m, &rows![CKA_EC_PARAMS: *name]);
                let other = app.get(other.0, CKA_EC_POINT).unwrap();
                assert_eq!(
                    app.create(&with(&bare, CKA_EC_POINT, &other)),
                    Err(CKR_TEMPLATE_INCONSISTENT)
                );
            }
        }
        let pair = |m, params: &[u8]| app.pair(m, &rows![CKA_EC_PARAMS: params], &rows![]).err();
        assert_eq!(
            pair(CKM_EC_KEY_PAIR_GEN, b"\x13\x0csecp256"),
            Some(CKR_CURVE_NOT_SUPPORTED)
        );
        assert_eq!(
            pair(CKM_EC_KEY_PAIR_GEN, b"\x13\x0cedwards25519"),
            Some(CKR_TEMPLATE_INCONSISTENT)
        );
        host.finalize();
    });
}

/// 4.9: a `CKA_PUBLIC_KEY_INFO` that is given must be the key's.
#[test]
fn public_key_information_is_compared_with_the_key() {
    alone(|host| {
        let (_, app) = user(host);
        for (m, key_type, template) in [
            (
                CKM_RSA_PKCS_KEY_PAIR_GEN,
                CKK_RSA,
                rows![CKA_MODULUS_BITS: 1024],
            ),
            (CKM_EC_KEY_PAIR_GEN, CKK_EC, rows![CKA_EC_PARAMS: P256]),
        ] {
            let (pair, other) = (open_pair(app, m, &template), open_pair(app, m, &template));
            let info = |key| app.get(key, CKA_PUBLIC_KEY_INFO).unwrap();
            let parts: &[CK_ATTRIBUTE_TYPE] = match key_type {
                CKK_RSA => &[CKA_MODULUS, CKA_PRIVATE_EXPONENT],
                _ => &[CKA_EC_PARAMS, CKA_VALUE],
            };
            let mut secret = private(key_type);
            secret.extend(
                parts
                    .iter()
                    .map(|kind| (*kind, app.get(pair.1, *kind).unwrap())),
            );
            let parts: &[CK_ATTRIBUTE_TYPE] = match key_type {
                CKK_RSA => &[CKA_MODULUS, CKA_PUBLIC_EXPONENT],
                _ => &[CKA_EC_PARAMS, CKA_EC_POINT],
            };
            let mut open = public(key_type);
            open.extend(
                parts
                    .iter()
                    .map(|kind| (*kind, app.get(pair.0, *kind).unwrap())),
            );
            for base in [secret, open] {
                for right in [&info(pair.0)[..], b""] {
                    let key = app
                        .create(&with(&base, CKA_PUBLIC_KEY_INFO, right))
                        .unwrap();
                    assert_eq!(app.get(key, CKA_PUBLIC_KEY_INFO), Ok(info(pair.1)));
                }
                for wrong in [&info(other.0)[..], b"x"] {
                    assert_eq!(
                        app.create(&with(&base, CKA_PUBLIC_KEY_INFO, wrong)),
                        Err(CKR_ATTRIBUTE_VALUE_INVALID)
                    );
                }
            }
        }
        host.finalize();
    });
}

/// 4.10.2: a check value that is given must be right, an empty one says that there shall be none.
#[test]
fn check_values_are_compared_left_out_and_taken_away() {
    alone(|host| {
        let (_, app) = user(host);
        const AES: &[u8] = &[0; 16];
        // AES of a block of zeros, Triple DES of one; SHA-1 of any other secret.
        let known: [(CK_KEY_TYPE, &[u8], &[u8]); 4] = [
            (CKK_AES, AES, b"\x66\xe9\x4b"),
            (
                CKK_DES3,
                b"\x01\x23\x45\x67\x89\xab\xcd\xef\xfe\xdc\xba\x98\x76\x54\x32\x10\x89\xab\xcd\xef\x01\x23\x45\x67",
                b"\x3f\xd5\x39",
            ),
            (CKK_GENERIC_SECRET, b"abc", b"\xa9\x99\x3e"),
            (CKK_SHA256_HMAC, b"abc", b"\xa9\x99\x3e"),
        ];
        let wrapping = app.aes();
        let password = usual(CKM_PKCS5_PBKD2, &Keys::new(app));
        for token in [false, true] {
            for (key_type, value, check) in known {
                let open = rows![CKA_TOKEN: token, CKA_SENSITIVE: false, CKA_EXTRACTABLE: true];
                let typed = rows![; open, CKA_CLASS: CKO_SECRET_KEY, CKA_KEY_TYPE: key_type];
                let brought = with(&typed, CKA_VALUE, value);
                let wrapped = app
                    .wrap(
                        CKM_AES_KEY_WRAP_PAD,
                        wrapping,
                        app.create(&brought).unwrap(),
                    )
                    .unwrap();
                let base = app.secret(CKK_GENERIC_SECRET, &[value, value].concat());
                let derived = with(
                    &typed,
                    CKA_VALUE_LEN,
                    &(value.len() as CK_ULONG).to_ne_bytes(),
                );
                let first = Mech::with::<CK_ULONG>(CKM_EXTRACT_KEY_FROM_KEY, 0);
                type Way<'a> = (&'a str, &'a dyn Fn(&Rows) -> Rv<CK_OBJECT_HANDLE>, &'a Rows);
                let ways: [Way<'_>; 3] = [
                    ("create", &|rows| app.create(rows), &brought),
                    (
                        "unwrap",
                        &|rows| app.unwrap(CKM_AES_KEY_WRAP_PAD, wrapping, &wrapped, rows),
                        &typed,
                    ),
                    (
                        "derive",
                        &|rows| app.derive(first.clone(), base, rows),
                        &derived,
                    ),
                ];
                for (name, make, rows) in ways {
                    let shown = |rows: &Rows| app.get(make(rows).unwrap(), CKA_CHECK_VALUE);
                    assert_eq!(shown(rows).as_deref(), Ok(check), "{name} {key_type:#x}");
                    assert_eq!(
                        shown(&with(rows, CKA_CHECK_VALUE, check)).as_deref(),
                        Ok(check),
                        "{name} {key_type:#x}"
                    );
                    assert_eq!(
                        shown(&with(rows, CKA_CHECK_VALUE, b"")).as_deref(),
                        Ok(&b""[..]),
                        "{name} {key_type:#x}"
                    );
                    for wrong in [&b"\x66\xe9\x4c"[..], &check[..2], &[check, b"\0"].concat()] {
                        // What is wrong with what was unwrapped is not told.
                        let rv = match name {
                            "unwrap" => CKR_WRAPPED_KEY_INVALID,
                            _ => CKR_ATTRIBUTE_VALUE_INVALID,
                        };
                        assert_eq!(make(&with(rows, CKA_CHECK_VALUE, wrong)), Err(rv), "{name}");
                    }
                }
            }
            let made = rows![CKA_TOKEN: token, CKA_VALUE_LEN: 16];
            for (m, right) in [
                (Mech::bare(CKM_AES_KEY_GEN), None),
                (password.clone(), Some(())),
            ] {
                let make =
                    |check: &[u8]| app.generate(m.clone(), &with(&made, CKA_CHECK_VALUE, check));
                let key = app.generate(m.clone(), &made).unwrap();
                let check = app.get(key, CKA_CHECK_VALUE).unwrap();
                assert_eq!(check.len(), 3);
                assert_eq!(
                    app.get(make(b"").unwrap(), CKA_CHECK_VALUE).as_deref(),
                    Ok(&b""[..])
                );
                // Of a random key nobody knows it; of a password's key the application may.
                assert_eq!(
                    make(&check).map(|_| ()),
                    right.ok_or(CKR_ATTRIBUTE_VALUE_INVALID)
                );
                assert_eq!(make(b"abc"), Err(CKR_ATTRIBUTE_VALUE_INVALID));
                assert_eq!(
                    app.set(key, &rows![CKA_CHECK_VALUE: b"abc"]),
                    Err(CKR_ATTRIBUTE_READ_ONLY)
                );
                assert_eq!(app.set(key, &rows![CKA_CHECK_VALUE: b""]), Ok(()));
                assert_eq!(app.get(key, CKA_CHECK_VALUE).as_deref(), Ok(&b""[..]));
            }
        }
        host.finalize();
    });
}
