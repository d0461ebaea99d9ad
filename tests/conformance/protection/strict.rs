//! What `policy = "strict"` refuses beside what the default does.

use mrhsm_pkcs11::ck::*;
use mrhsm_pkcs11::config::KeyPolicy;

use super::super::app::{Mech, Rows, Rv, rows};
use super::super::usual::OAEP;
use super::{USAGES, aes, base, flag, generic, on_both, trust};
use crate::ffi::host::alone;

/// Two roles of a key, each of which the strict policy takes alone.
#[test]
fn strict_keys_have_one_role() {
    alone(|host| {
        on_both(host, KeyPolicy::Strict, |app| {
            let roles: [&[CK_ATTRIBUTE_TYPE]; 4] = [
                &[CKA_ENCRYPT, CKA_DECRYPT],
                &[CKA_WRAP, CKA_UNWRAP],
                &[CKA_SIGN, CKA_VERIFY],
                &[CKA_DERIVE],
            ];
            let plain = rows![CKA_VALUE_LEN: 32, CKA_EXTRACTABLE: false];
            for (i, one) in roles.iter().enumerate() {
                for (k, other) in roles.iter().enumerate() {
                    for (a, b) in one.iter().flat_map(|a| other.iter().map(move |b| (*a, *b))) {
                        let rows = [plain.clone(), flag(a, true)].concat();
                        let rows = if a == b {
                            rows
                        } else {
                            [rows, flag(b, true)].concat()
                        };
                        let made = app.generate(CKM_AES_KEY_GEN, &rows).map(|_| ());
                        let wanted = if i == k {
                            Ok(())
                        } else {
                            Err(CKR_TEMPLATE_INCONSISTENT)
                        };
                        assert_eq!(made, wanted, "{a:#x} and {b:#x}");
                        let value = rows![CKA_CLASS: CKO_SECRET_KEY, CKA_KEY_TYPE: CKK_AES, CKA_VALUE: &[3; 32]];
                        let made = app
                            .create(&[value, rows[1..].to_vec()].concat())
                            .map(|_| ());
                        assert_eq!(made, wanted, "{a:#x} and {b:#x}");
                    }
                }
            }
            // A template that names no role gets the first one of its type, and one that names a role nothing else.
            let silent = app.generate(CKM_AES_KEY_GEN, &plain).unwrap();
            let kek = app
                .generate(CKM_AES_KEY_GEN, &rows![; plain, CKA_WRAP: true])
                .unwrap();
            for usage in USAGES {
                assert_eq!(
                    app.flag(silent, usage),
                    roles[0].contains(&usage),
                    "{usage:#x}"
                );
                assert_eq!(
                    app.flag(kek, usage),
                    roles[1].contains(&usage),
                    "{usage:#x}"
                );
            }
            // Both halves of a pair have the same role.
            let bits = rows![CKA_MODULUS_BITS: 2048];
            let pair = |public: &Rows, private: &Rows| {
                app.pair(
                    CKM_RSA_PKCS_KEY_PAIR_GEN,
                    &[bits.clone(), public.clone()].concat(),
                    private,
                )
            };
            let (public, private) = pair(&rows![], &rows![CKA_UNWRAP: true]).unwrap();
            assert!(app.flag(public, CKA_WRAP) && !app.flag(public, CKA_ENCRYPT));
            assert!(!app.flag(private, CKA_DECRYPT) && !app.flag(private, CKA_SIGN));
            let (public, private) = pair(&rows![CKA_ENCRYPT: true], &rows![]).unwrap();
            assert!(app.flag(private, CKA_DECRYPT) && !app.flag(private, CKA_SIGN));
            assert!(!app.flag(public, CKA_WRAP) && !app.flag(public, CKA_VERIFY));
            for (public, private) in [
                (rows![], rows![CKA_SIGN: true, CKA_DECRYPT: true]),
                (rows![CKA_WRAP: true], rows![CKA_DECRYPT: true]),
            ] {
                assert_eq!(pair(&public, &private), Err(CKR_TEMPLATE_INCONSISTENT));
            }
        });
    });
}

/// Keys that wrap, unwrap and derive never leave, and others only whole, under a key that the SO trusts and that is as strong.
#[test]
fn strict_wrapping() {
    alone(|host| {
        on_both(host, KeyPolicy::Strict, |app| {
            let kek = |len: CK_ULONG, trusted| {
                let rows = rows![CKA_VALUE_LEN: len, CKA_TOKEN: true, CKA_PRIVATE: false, CKA_EXTRACTABLE: false, CKA_WRAP: true, CKA_UNWRAP: true];
                let key = app.generate(CKM_AES_KEY_GEN, &rows).unwrap();
                if trusted {
                    trust(app, key);
                }
                key
            };
            let (strong, weak, any) = (kek(32, true), kek(16, true), kek(32, false));
            let victim = rows![CKA_VALUE_LEN: 32, CKA_TOKEN: true, CKA_SENSITIVE: true, CKA_EXTRACTABLE: true, CKA_ENCRYPT: true, CKA_DECRYPT: true];
            let victim = app.generate(CKM_AES_KEY_GEN, &victim).unwrap();
            let known = app.secret(CKK_AES, &[7; 32]);
            let known_public = app
                .pair(
                    CKM_RSA_PKCS_KEY_PAIR_GEN,
                    &rows![CKA_MODULUS_BITS: 2048, CKA_WRAP: true],
                    &rows![CKA_SENSITIVE: false, CKA_EXTRACTABLE: true],
                )
                .unwrap()
                .0;
            let refused: Rv<Vec<u8>> = Err(CKR_KEY_NOT_WRAPPABLE);
            for wrapping in [weak, any, known] {
                assert_eq!(app.wrap(CKM_AES_KEY_WRAP, wrapping, victim), refused);
            }
            for m in [
                Mech::bare(CKM_RSA_PKCS),
                Mech::with(CKM_RSA_PKCS_OAEP, OAEP),
            ] {
                assert_eq!(app.wrap(m, known_public, victim), refused);
            }
            for m in [
                Mech::bare(CKM_AES_ECB),
                Mech::iv(CKM_AES_CBC, &[1; 16]),
                Mech::iv(CKM_AES_CBC_PAD, &[1; 16]),
                Mech::iv(CKM_AES_OFB, &[1; 16]),
            ] {
                assert_eq!(
                    app.wrap(m.clone(), strong, victim),
                    refused,
                    "{:#x}",
                    m.kind
                );
                let rv = app.unwrap(m.clone(), strong, &[0; 32], &aes(32)[..2].to_vec());
                assert_eq!(rv, Err(CKR_KEY_FUNCTION_NOT_PERMITTED), "{:#x}", m.kind);
            }
            // A key that wraps or derives says so, and is not extractable.
            for usage in [CKA_WRAP, CKA_UNWRAP, CKA_DERIVE] {
                let rows = [
                    rows![CKA_VALUE_LEN: 32, CKA_EXTRACTABLE: true],
                    flag(usage, true),
                ]
                .concat();
                assert_eq!(
                    app.generate(CKM_AES_KEY_GEN, &rows),
                    Err(CKR_TEMPLATE_INCONSISTENT)
                );
            }
            let wrapped = app.wrap(CKM_AES_KEY_WRAP, strong, victim).unwrap();
            let typed = aes(32)[..2].to_vec();
            let unwrap = |rows: Rows| {
                app.unwrap(
                    CKM_AES_KEY_WRAP,
                    strong,
                    &wrapped,
                    &[typed.clone(), rows].concat(),
                )
            };
            let inconsistent = Err(CKR_TEMPLATE_INCONSISTENT);
            assert_eq!(unwrap(rows![CKA_SENSITIVE: false]), inconsistent);
            for usage in [CKA_WRAP, CKA_UNWRAP, CKA_DERIVE] {
                assert_eq!(unwrap(flag(usage, true)), inconsistent, "{usage:#x}");
            }
            for token in [false, true] {
                let back = unwrap(rows![CKA_TOKEN: token]).unwrap();
                assert!(app.flag(back, CKA_SENSITIVE) && !app.flag(back, CKA_EXTRACTABLE));
                assert!(!app.flag(back, CKA_WRAP) && !app.flag(back, CKA_SIGN));
                let back = unwrap(rows![CKA_TOKEN: token, CKA_EXTRACTABLE: true]).unwrap();
                assert!(app.flag(back, CKA_SENSITIVE) && app.flag(back, CKA_WRAP_WITH_TRUSTED));
            }
            let short = rows![; generic(), CKA_VALUE_LEN: 24];
            assert_eq!(
                app.unwrap(CKM_AES_KEY_WRAP, strong, &wrapped, &short),
                Err(CKR_WRAPPED_KEY_LEN_RANGE)
            );
        });
    });
}

/// What is derived from a protected key is as well guarded, and nothing of it is shown.
#[test]
fn strict_derivation() {
    alone(|host| {
        on_both(host, KeyPolicy::Strict, |app| {
            let victim = base(app, false, rows![CKA_EXTRACTABLE: false]);
            let derive = |rows: Rows| {
                let rows = [rows![; generic(), CKA_VALUE_LEN: 32], rows].concat();
                app.derive(CKM_SHA256_KEY_DERIVATION, victim, &rows)
            };
            for rows in [
                rows![CKA_SENSITIVE: false],
                rows![CKA_EXTRACTABLE: true],
                rows![CKA_DERIVE: true],
                rows![CKA_WRAP: true],
            ] {
                assert_eq!(
                    derive(rows.clone()),
                    Err(CKR_TEMPLATE_INCONSISTENT),
                    "{rows:x?}"
                );
            }
            let made = derive(rows![]).unwrap();
            assert!(app.flag(made, CKA_SENSITIVE) && !app.flag(made, CKA_EXTRACTABLE));
            let hkdf = CK_HKDF_PARAMS {
                bExtract: CK_TRUE,
                bExpand: CK_TRUE,
                prfHashMechanism: CKM_SHA256,
                ulSaltType: CKF_HKDF_SALT_NULL,
                ..Default::default()
            };
            let data = rows![CKA_CLASS: CKO_DATA, CKA_VALUE_LEN: 32];
            assert_eq!(
                app.derive(Mech::with(CKM_HKDF_DATA, hkdf), victim, &data),
                Err(CKR_KEY_FUNCTION_NOT_PERMITTED)
            );
        });
    });
}
