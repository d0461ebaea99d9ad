//! The key protection policy: what each of its values refuses (docs/PKCS11.md), on tokens of files and of a KMIP server.

mod strict;

use mrhsm_pkcs11::ck::*;
use mrhsm_pkcs11::config::KeyPolicy;
use mrhsm_pkcs11::crypto::Hash;
use mrhsm_pkcs11::crypto::mac::hmac;

use super::app::{App, Mech, Rows, Rv, at, open, rows};
use super::usual::{Keys, P256, TEXT, usual};
use crate::ffi::host::{Host, SO_PIN, USER_PIN, alone, file_token_with, kmip_token_with};
use crate::kmip_server::{Personality, Script, Server};

/// What every key of these tests has beside its flags.
fn aes(len: CK_ULONG) -> Rows {
    rows![CKA_CLASS: CKO_SECRET_KEY, CKA_KEY_TYPE: CKK_AES, CKA_VALUE_LEN: len]
}

fn generic() -> Rows {
    rows![CKA_CLASS: CKO_SECRET_KEY, CKA_KEY_TYPE: CKK_GENERIC_SECRET]
}

/// Runs the body on a token of files and on one whose keys are on a server.
fn on_both(host: &Host, policy: KeyPolicy, body: impl Fn(App<'_>)) {
    let server = Server::start(Personality::standard(), Script::none());
    let slots = [
        file_token_with(policy),
        kmip_token_with(server.port(), |settings| {
            settings.deadline_millis = 20_000;
            settings.policy = policy;
        }),
    ];
    for slot in slots {
        host.initialize();
        let app = open(host, slot, true).unwrap();
        app.login(CKU_USER, USER_PIN).unwrap();
        body(app);
        host.finalize();
    }
}

/// Marks a key as trusted, as the SO does.
fn trust(app: App<'_>, key: CK_OBJECT_HANDLE) {
    app.logout().unwrap();
    app.login(CKU_SO, SO_PIN).unwrap();
    app.set(key, &rows![CKA_TRUSTED: true]).unwrap();
    app.logout().unwrap();
    app.login(CKU_USER, USER_PIN).unwrap();
}

fn data(kind: CK_MECHANISM_TYPE) -> Mech {
    let text = CK_KEY_DERIVATION_STRING_DATA {
        pData: at(TEXT),
        ulLen: 32,
    };
    Mech::with(kind, text)
}

/// The mechanisms whose result has bytes of the key `base`, or of the key `victim` that their parameter names.
fn copying(victim: CK_OBJECT_HANDLE) -> [Mech; 5] {
    [
        Mech::with::<CK_ULONG>(CKM_EXTRACT_KEY_FROM_KEY, 0),
        Mech::with(CKM_CONCATENATE_BASE_AND_KEY, victim),
        data(CKM_CONCATENATE_BASE_AND_DATA),
        data(CKM_CONCATENATE_DATA_AND_BASE),
        data(CKM_XOR_BASE_AND_DATA),
    ]
}

/// Reads an AES key that is sensitive and not extractable: a flag, then each byte as a key of its own, which 256 trials find.
fn read_byte_by_byte(app: App<'_>, key: CK_OBJECT_HANDLE) -> Rv<Vec<u8>> {
    app.set(key, &rows![CKA_DERIVE: true])?;
    let rows = rows![; generic(), CKA_VALUE_LEN: 1, CKA_SIGN: true];
    (0..32)
        .map(|i| {
            let cut = Mech::with::<CK_ULONG>(CKM_EXTRACT_KEY_FROM_KEY, 8 * i);
            let byte = app.derive(cut, key, &rows)?;
            let mac = app.sign(CKM_SHA256_HMAC, byte, b"try")?;
            let same = |guess: &u8| hmac(Hash::Sha256, &[*guess], b"try").unwrap() == mac;
            Ok((0..=u8::MAX).find(same).expect("one of 256"))
        })
        .collect()
}

#[test]
fn a_key_is_read_byte_by_byte_under_the_compatible_policy_only() {
    alone(|host| {
        for policy in [KeyPolicy::Compatible, KeyPolicy::Default, KeyPolicy::Strict] {
            on_both(host, policy, |app| {
                let rows = rows![CKA_VALUE_LEN: 32, CKA_SENSITIVE: true, CKA_EXTRACTABLE: false];
                let key = app.generate(CKM_AES_KEY_GEN, &rows).unwrap();
                let read = read_byte_by_byte(app, key);
                if policy != KeyPolicy::Compatible {
                    assert_eq!(read, Err(CKR_ATTRIBUTE_READ_ONLY));
                    return;
                }
                let again = app.secret(CKK_AES, &read.unwrap());
                assert_eq!(
                    app.encrypt(CKM_AES_ECB, key, &[0; 16]),
                    app.encrypt(CKM_AES_ECB, again, &[0; 16])
                );
            });
        }
    });
}

/// A protected key from which keys may be derived.
fn base(app: App<'_>, token: bool, guard: Rows) -> CK_OBJECT_HANDLE {
    let rows = rows![; guard, CKA_VALUE_LEN: 32, CKA_TOKEN: token, CKA_DERIVE: true];
    app.generate(CKM_AES_KEY_GEN, &rows).unwrap()
}

fn guards() -> [Rows; 3] {
    [
        rows![CKA_SENSITIVE: true, CKA_EXTRACTABLE: false],
        rows![CKA_SENSITIVE: false, CKA_EXTRACTABLE: false],
        rows![CKA_SENSITIVE: true, CKA_EXTRACTABLE: true],
    ]
}

#[test]
fn no_bytes_of_a_protected_key_are_copied_cut_or_masked() {
    alone(|host| {
        for policy in [KeyPolicy::Default, KeyPolicy::Strict] {
            on_both(host, policy, |app| {
                let open = app.secret(CKK_GENERIC_SECRET, &[1; 32]);
                for guard in guards() {
                    if policy == KeyPolicy::Strict && guard[1].1 == [CK_TRUE] {
                        continue;
                    }
                    let victim = base(app, false, guard);
                    for len in [1, 14, 32] {
                        let rows = rows![; generic(), CKA_VALUE_LEN: len, CKA_SIGN: true];
                        for m in copying(open) {
                            let rv = app.derive(m.clone(), victim, &rows);
                            assert_eq!(rv, Err(CKR_KEY_FUNCTION_NOT_PERMITTED), "{:#x}", m.kind);
                        }
                        let joined = Mech::with(CKM_CONCATENATE_BASE_AND_KEY, victim);
                        assert_eq!(
                            app.derive(joined, open, &rows),
                            Err(CKR_KEY_FUNCTION_NOT_PERMITTED)
                        );
                    }
                }
                // Of a key that may be read anyway they make what the standard says.
                let rows = rows![; generic(), CKA_SENSITIVE: false, CKA_EXTRACTABLE: true];
                for m in copying(open) {
                    let len = if m.kind == CKM_EXTRACT_KEY_FROM_KEY {
                        1
                    } else {
                        32
                    };
                    app.derive(m, open, &rows![; rows, CKA_VALUE_LEN: len])
                        .unwrap();
                }
            });
        }
    });
}

/// A byte of a derived key, found by trying, is the first byte of every longer key that the same call derives.
#[test]
fn nothing_short_is_derived_from_a_protected_key() {
    alone(|host| {
        on_both(host, KeyPolicy::Default, |app| {
            let keys = Keys::new(app);
            let shut = rows![CKA_EXTRACTABLE: false, CKA_DERIVE: true];
            let aes = app
                .generate(CKM_AES_KEY_GEN, &rows![; shut, CKA_VALUE_LEN: 32])
                .unwrap();
            let victim = app
                .generate(
                    CKM_GENERIC_SECRET_KEY_GEN,
                    &rows![; shut, CKA_VALUE_LEN: 32],
                )
                .unwrap();
            let des3 = rows![CKA_DERIVE: true, CKA_EXTRACTABLE: false];
            let des3 = app.generate(CKM_DES3_KEY_GEN, &des3).unwrap();
            let derivations = [
                CKM_HKDF_DERIVE,
                CKM_SP800_108_COUNTER_KDF,
                CKM_SP800_108_FEEDBACK_KDF,
                CKM_SP800_108_DOUBLE_PIPELINE_KDF,
                CKM_AES_ECB_ENCRYPT_DATA,
                CKM_AES_CBC_ENCRYPT_DATA,
                CKM_DES3_ECB_ENCRYPT_DATA,
                CKM_DES3_CBC_ENCRYPT_DATA,
                CKM_SHA1_KEY_DERIVATION,
                CKM_SHA256_KEY_DERIVATION,
                CKM_SHA3_512_KEY_DERIVATION,
                CKM_ECDH1_DERIVE,
                CKM_ECDH1_COFACTOR_DERIVE,
            ];
            for kind in derivations {
                let from = match kind {
                    CKM_AES_ECB_ENCRYPT_DATA | CKM_AES_CBC_ENCRYPT_DATA => aes,
                    CKM_DES3_ECB_ENCRYPT_DATA | CKM_DES3_CBC_ENCRYPT_DATA => des3,
                    CKM_ECDH1_DERIVE | CKM_ECDH1_COFACTOR_DERIVE => keys.ec.1,
                    _ => victim,
                };
                let made = |len: CK_ULONG| {
                    let rows = rows![; generic(), CKA_VALUE_LEN: len];
                    app.derive(usual(kind, &keys), from, &rows).map(|_| ())
                };
                for len in [1, 2, 8, 13] {
                    assert_eq!(made(len), Err(CKR_KEY_SIZE_RANGE), "{kind:#x}, {len} bytes");
                }
                for len in [14, 16, 20] {
                    assert_eq!(made(len), Ok(()), "{kind:#x}, {len} bytes");
                }
            }
            // HKDF's salt may be the protected key.
            let salted = CK_HKDF_PARAMS {
                bExtract: CK_TRUE,
                bExpand: CK_TRUE,
                prfHashMechanism: CKM_SHA256,
                ulSaltType: CKF_HKDF_SALT_KEY,
                hSaltKey: victim,
                ..Default::default()
            };
            let short = rows![; generic(), CKA_VALUE_LEN: 1];
            assert_eq!(
                app.derive(Mech::with(CKM_HKDF_DERIVE, salted), keys.generic, &short),
                Err(CKR_KEY_SIZE_RANGE)
            );
        });
    });
}

/// CMAC under a known key is invertible: what it was given comes out of its result.
#[test]
fn a_protected_key_is_no_input_of_a_block_cipher() {
    alone(|host| {
        on_both(host, KeyPolicy::Default, |app| {
            let known = app.secret(CKK_AES, &[7; 16]);
            let hmac = app.secret(CKK_GENERIC_SECRET, &[7; 16]);
            let victim = base(app, false, rows![CKA_EXTRACTABLE: false]);
            let mut counter = CK_SP800_108_COUNTER_FORMAT {
                bLittleEndian: CK_FALSE,
                ulWidthInBits: 8,
            };
            let mut handle = victim;
            let part = |type_, at: *mut std::ffi::c_void, len: usize| CK_PRF_DATA_PARAM {
                type_,
                pValue: at,
                ulValueLen: len as CK_ULONG,
            };
            let mut parts = [
                part(
                    CK_SP800_108_ITERATION_VARIABLE,
                    (&raw mut counter).cast(),
                    size_of::<CK_SP800_108_COUNTER_FORMAT>(),
                ),
                part(
                    CK_SP800_108_KEY_HANDLE,
                    (&raw mut handle).cast(),
                    size_of::<CK_OBJECT_HANDLE>(),
                ),
            ];
            let mut derive = |prf, base| {
                let params = CK_SP800_108_KDF_PARAMS {
                    prfType: prf,
                    ulNumberOfDataParams: 2,
                    pDataParams: parts.as_mut_ptr(),
                    ulAdditionalDerivedKeys: 0,
                    pAdditionalDerivedKeys: std::ptr::null_mut(),
                };
                let rows = rows![; generic(), CKA_VALUE_LEN: 16, CKA_SENSITIVE: false, CKA_EXTRACTABLE: true];
                app.derive(Mech::with(CKM_SP800_108_COUNTER_KDF, params), base, &rows)
                    .map(|_| ())
            };
            assert_eq!(
                derive(CKM_AES_CMAC, known),
                Err(CKR_KEY_FUNCTION_NOT_PERMITTED)
            );
            assert_eq!(derive(CKM_SHA256_HMAC, hmac), Ok(()));
        });
    });
}

const USAGES: [CK_ATTRIBUTE_TYPE; 7] = [
    CKA_ENCRYPT,
    CKA_DECRYPT,
    CKA_SIGN,
    CKA_VERIFY,
    CKA_WRAP,
    CKA_UNWRAP,
    CKA_DERIVE,
];

/// A template that sets a flag.
fn flag(kind: CK_ATTRIBUTE_TYPE, value: bool) -> Rows {
    vec![(kind, vec![u8::from(value)])]
}

#[test]
fn what_a_protected_key_may_not_do_it_is_not_allowed_later() {
    alone(|host| {
        for policy in [KeyPolicy::Default, KeyPolicy::Strict] {
            on_both(host, policy, |app| {
                for token in [false, true] {
                    for guard in guards() {
                        let mut rows = rows![; guard, CKA_VALUE_LEN: 32, CKA_TOKEN: token];
                        rows.extend(USAGES.iter().flat_map(|usage| flag(*usage, false)));
                        let key = app.generate(CKM_AES_KEY_GEN, &rows).unwrap();
                        for usage in USAGES {
                            let refused = Err(CKR_ATTRIBUTE_READ_ONLY);
                            assert_eq!(app.set(key, &flag(usage, true)), refused, "{usage:#x}");
                            // A key that its server keeps is not copied at all.
                            let copied = app.copy(key, &flag(usage, true));
                            assert_eq!(copied, Err(CKR_ATTRIBUTE_READ_ONLY), "{usage:#x}");
                            app.set(key, &flag(usage, false)).unwrap();
                        }
                        app.set(key, &rows![CKA_LABEL: b"named"]).unwrap();
                    }
                }
                // The reverse goes, and does not come back.
                let key = app
                    .generate(CKM_AES_KEY_GEN, &aes(32)[2..].to_vec())
                    .unwrap();
                app.set(key, &flag(CKA_ENCRYPT, false)).unwrap();
                assert_eq!(
                    app.set(key, &flag(CKA_ENCRYPT, true)),
                    Err(CKR_ATTRIBUTE_READ_ONLY)
                );
                assert_eq!(
                    app.encrypt(CKM_AES_ECB, key, &[0; 16]),
                    Err(CKR_KEY_FUNCTION_NOT_PERMITTED)
                );
                let fixed = rows![CKA_VALUE_LEN: 32, CKA_MODIFIABLE: false];
                let fixed = app.generate(CKM_AES_KEY_GEN, &fixed).unwrap();
                assert_eq!(
                    app.copy(fixed, &rows![CKA_MODIFIABLE: true]),
                    Err(CKR_ATTRIBUTE_READ_ONLY)
                );
                // A private key, too; a key that may be read anyway is its owner's.
                let off = rows![CKA_SIGN: true, CKA_DERIVE: false];
                let (_, private) = app
                    .pair(CKM_EC_KEY_PAIR_GEN, &rows![CKA_EC_PARAMS: P256], &off)
                    .unwrap();
                assert_eq!(
                    app.set(private, &rows![CKA_DERIVE: true]),
                    Err(CKR_ATTRIBUTE_READ_ONLY)
                );
                let open = app.secret(CKK_AES, &[7; 32]);
                app.set(open, &flag(CKA_ENCRYPT, false)).unwrap();
                app.set(open, &flag(CKA_ENCRYPT, true)).unwrap();
            });
        }
    });
}

/// A key that the SO trusts wraps what others do not: the user gives it no use that the SO did not see.
#[test]
fn a_trusted_key_gets_no_other_use() {
    alone(|host| {
        on_both(host, KeyPolicy::Default, |app| {
            let open = rows![CKA_SENSITIVE: false, CKA_EXTRACTABLE: true, CKA_TOKEN: true, CKA_PRIVATE: false];
            let rows = rows![; open, CKA_VALUE_LEN: 32, CKA_WRAP: false, CKA_DECRYPT: false];
            let key = app.generate(CKM_AES_KEY_GEN, &rows).unwrap();
            trust(app, key);
            for usage in [CKA_WRAP, CKA_DECRYPT] {
                assert_eq!(
                    app.set(key, &flag(usage, true)),
                    Err(CKR_ATTRIBUTE_READ_ONLY)
                );
            }
        });
    });
}

/// Ciphertext is cut where the mechanism does not notice, and what is unwrapped is cut by its template.
#[test]
fn nothing_short_is_cut_from_a_wrapped_key() {
    alone(|host| {
        on_both(host, KeyPolicy::Default, |app| {
            let kek = app
                .generate(CKM_AES_KEY_GEN, &aes(32)[2..].to_vec())
                .unwrap();
            let victim = rows![CKA_VALUE_LEN: 32, CKA_EXTRACTABLE: true];
            let victim = app.generate(CKM_AES_KEY_GEN, &victim).unwrap();
            let ctr = Mech::with(
                CKM_AES_CTR,
                CK_AES_CTR_PARAMS {
                    ulCounterBits: 32,
                    cb: [9; 16],
                },
            );
            let cut = |m: Mech, wrapped: &[u8], len: CK_ULONG| {
                app.unwrap(m, kek, wrapped, &rows![; generic(), CKA_VALUE_LEN: len])
                    .map(|_| ())
            };
            for m in [
                Mech::bare(CKM_AES_ECB),
                Mech::iv(CKM_AES_CBC, &[1; 16]),
                Mech::bare(CKM_AES_KEY_WRAP),
                Mech::bare(CKM_AES_KEY_WRAP_PAD),
                ctr.clone(),
            ] {
                let wrapped = app.wrap(m.clone(), kek, victim).unwrap();
                for len in [1, 13] {
                    // A padding hides the length, and nothing that it hides is told.
                    let rv = match m.kind {
                        CKM_AES_KEY_WRAP_PAD => CKR_WRAPPED_KEY_INVALID,
                        _ => CKR_WRAPPED_KEY_LEN_RANGE,
                    };
                    assert_eq!(
                        cut(m.clone(), &wrapped, len),
                        Err(rv),
                        "{:#x} to {len}",
                        m.kind
                    );
                }
                assert_eq!(cut(m.clone(), &wrapped, 32), Ok(()), "{:#x}", m.kind);
            }
            let wrapped = app.wrap(ctr.clone(), kek, victim).unwrap();
            let short = app.unwrap(ctr, kek, &wrapped[..1], &generic());
            assert_eq!(short, Err(CKR_WRAPPED_KEY_LEN_RANGE));
            // A short key as it is, whole, comes back.
            let short = app.secret(CKK_GENERIC_SECRET, b"0123456789");
            let wrapped = app.wrap(CKM_AES_KEY_WRAP_PAD, kek, short).unwrap();
            app.unwrap(CKM_AES_KEY_WRAP_PAD, kek, &wrapped, &generic())
                .unwrap();
        });
    });
}

/// The default lets a key have the roles that documented clients combine.
#[test]
fn the_default_lets_clients_combine_roles() {
    alone(|host| {
        on_both(host, KeyPolicy::Default, |app| {
            // pkcs11-tool and Oracle TDE; keys whose template says nothing, as Java's.
            let all = rows![CKA_VALUE_LEN: 32, CKA_EXTRACTABLE: false, CKA_ENCRYPT: true, CKA_DECRYPT: true, CKA_WRAP: true, CKA_UNWRAP: true];
            app.generate(CKM_AES_KEY_GEN, &all).unwrap();
            let silent = app
                .generate(CKM_AES_KEY_GEN, &rows![CKA_VALUE_LEN: 32])
                .unwrap();
            for usage in USAGES {
                assert_eq!(app.flag(silent, usage), usage != CKA_DERIVE, "{usage:#x}");
            }
            // pkcs11-tool's pairs.
            let rsa = rows![CKA_SIGN: true, CKA_DECRYPT: true, CKA_UNWRAP: true];
            app.pair(
                CKM_RSA_PKCS_KEY_PAIR_GEN,
                &rows![CKA_MODULUS_BITS: 2048],
                &rsa,
            )
            .unwrap();
            let ec = rows![CKA_SIGN: true, CKA_DERIVE: true];
            app.pair(CKM_EC_KEY_PAIR_GEN, &rows![CKA_EC_PARAMS: P256], &ec)
                .unwrap();
            // OpenSSL's pkcs11-provider.
            let plain = rows![CKA_VALUE_LEN: 32];
            let all: Rows = USAGES.iter().flat_map(|usage| flag(*usage, true)).collect();
            app.generate(CKM_AES_KEY_GEN, &[plain, all].concat())
                .unwrap();
        });
    });
}
