//! Every mechanism in `C_GetMechanismList`, in every function that its flags claim.

use std::ptr::null_mut;

use mrhsm_pkcs11::ck::*;

use super::app::{App, Mech, Rows, at, rows, user};
use super::usual::{ED25519, Keys, OAEP, P256, TEXT, usual};
use crate::ffi::host::{alone, ck};

const X25519: &[u8] = b"\x06\x03\x2b\x65\x6e";

pub fn mechanisms(app: App<'_>, slot: CK_SLOT_ID) -> Vec<CK_MECHANISM_TYPE> {
    let (host, mut count) = (app.host, 0);
    assert_eq!(
        ck!(host.C_GetMechanismList(slot, null_mut(), &mut count)),
        CKR_OK
    );
    let mut list = vec![0; count as usize];
    let mut few = count - 1;
    assert_eq!(
        ck!(host.C_GetMechanismList(slot, list.as_mut_ptr(), &mut few)),
        CKR_BUFFER_TOO_SMALL
    );
    assert_eq!(few, count);
    assert_eq!(
        ck!(host.C_GetMechanismList(slot, list.as_mut_ptr(), &mut count)),
        CKR_OK
    );
    list
}

pub fn info(app: App<'_>, slot: CK_SLOT_ID, kind: CK_MECHANISM_TYPE) -> CK_MECHANISM_INFO {
    let (host, mut info) = (app.host, CK_MECHANISM_INFO::default());
    assert_eq!(ck!(host.C_GetMechanismInfo(slot, kind, &mut info)), CKR_OK);
    info
}

/// Data that every mechanism takes: blocks for ciphers, something shorter for RSA, a digest for ECDSA.
fn data(kind: CK_MECHANISM_TYPE) -> &'static [u8] {
    match kind {
        CKM_ECDSA | CKM_RSA_PKCS_PSS => &TEXT[..32],
        _ => TEXT,
    }
}

/// What the data becomes when it comes back: a number of `CKM_RSA_X_509` has the modulus's length.
fn back(kind: CK_MECHANISM_TYPE, data: &[u8]) -> Vec<u8> {
    if kind == CKM_RSA_X_509 {
        [&vec![0; 256 - data.len()], data].concat()
    } else {
        data.to_vec()
    }
}

#[test]
fn all_that_is_listed_works_in_all_that_it_claims() {
    alone(|host| {
        let (slot, app) = user(host);
        let keys = Keys::new(app);
        let mut wrong = Vec::new();
        for kind in mechanisms(app, slot) {
            let (flags, m, (protect, process)) = (
                info(app, slot, kind).flags,
                usual(kind, &keys),
                keys.of(kind),
            );
            let mut check = |name: &str, works: bool| {
                if !works {
                    wrong.push(format!("{name} of {kind:#x}"));
                }
            };
            let text = data(kind);
            if flags & CKF_DIGEST != 0 {
                let digest = app.digest(kind, text);
                check("digest", digest.is_ok_and(|d| d.len() >= 20));
            }
            if flags & CKF_ENCRYPT != 0 {
                let secret = app.encrypt(m.clone(), protect, text);
                check("encrypt", secret.is_ok());
                let plain = secret
                    .clone()
                    .and_then(|s| app.decrypt(m.clone(), process, &s));
                check("decrypt", plain == Ok(back(kind, text)));
                let parts = app.encrypt_parts(m.clone(), protect, text, 7);
                let back_again = parts.and_then(|s| app.decrypt_parts(m.clone(), process, &s, 5));
                check(
                    "encrypt and decrypt in parts",
                    back_again == Ok(back(kind, text)),
                );
            }
            if flags & CKF_SIGN != 0 {
                let signature = app.sign(m.clone(), process, text).unwrap_or_default();
                check(
                    "verify",
                    app.verify(m.clone(), protect, text, &signature) == Ok(()),
                );
                let mut forged = signature.clone();
                if let Some(byte) = forged.get_mut(7) {
                    *byte ^= 1;
                }
                check(
                    "refuse",
                    app.verify(m.clone(), protect, text, &forged) == Err(CKR_SIGNATURE_INVALID),
                );
                let long = [&signature[..], b"x"].concat();
                check(
                    "refuse length",
                    app.verify(m.clone(), protect, text, &long) == Err(CKR_SIGNATURE_LEN_RANGE),
                );
                let parts = app
                    .sign_parts(m.clone(), process, text, 7)
                    .unwrap_or_default();
                check(
                    "verify in parts",
                    app.verify_parts(m.clone(), protect, text, &parts, 5) == Ok(()),
                );
            }
            if flags & CKF_SIGN_RECOVER != 0 {
                check(
                    "recover",
                    recover(app, &m, keys.rsa, text) == Ok(back(kind, text)),
                );
            }
            if flags & CKF_WRAP != 0 {
                let template = rows![
                    CKA_CLASS: CKO_SECRET_KEY, CKA_KEY_TYPE: CKK_GENERIC_SECRET, CKA_VALUE_LEN: 48, CKA_SENSITIVE: false
                ];
                // As long as CCM is told that what it encrypts is.
                let key = app.secret(CKK_GENERIC_SECRET, TEXT);
                let wrapped = app.wrap(m.clone(), protect, key);
                check("wrap", wrapped.is_ok());
                let new = wrapped.and_then(|w| app.unwrap(m.clone(), process, &w, &template));
                check(
                    "unwrap",
                    new.and_then(|k| app.get(k, CKA_VALUE)) == Ok(TEXT.to_vec()),
                );
            }
            if flags & CKF_DERIVE != 0 {
                let len = if matches!(kind, CKM_ECDH1_DERIVE | CKM_ECDH1_COFACTOR_DERIVE) {
                    32
                } else {
                    20
                };
                let open = rows![CKA_SENSITIVE: false, CKA_EXTRACTABLE: true, CKA_VALUE_LEN: len];
                let generic =
                    rows![; open, CKA_CLASS: CKO_SECRET_KEY, CKA_KEY_TYPE: CKK_GENERIC_SECRET];
                let template = if kind == CKM_HKDF_DATA {
                    rows![CKA_CLASS: CKO_DATA, CKA_VALUE_LEN: len]
                } else {
                    generic
                };
                let derived = app.derive(m.clone(), process, &template);
                check("derive", derived.is_ok());
                let value = derived.and_then(|k| app.get(k, CKA_VALUE));
                check(
                    "value",
                    value.as_ref().is_ok_and(|v| v.len() as CK_ULONG == len),
                );
            }
            if flags & CKF_GENERATE != 0 {
                check(
                    "generate",
                    app.generate(
                        m.clone(),
                        &rows![CKA_VALUE_LEN: if kind == CKM_DES3_KEY_GEN { 24 } else { 32 }],
                    )
                    .is_ok(),
                );
            }
            if flags & CKF_GENERATE_KEY_PAIR != 0 {
                let public = match kind {
                    CKM_RSA_PKCS_KEY_PAIR_GEN => {
                        rows![CKA_MODULUS_BITS: 2048, CKA_PUBLIC_EXPONENT: b"\x01\x00\x01"]
                    }
                    CKM_EC_EDWARDS_KEY_PAIR_GEN => rows![CKA_EC_PARAMS: ED25519],
                    CKM_EC_MONTGOMERY_KEY_PAIR_GEN => rows![CKA_EC_PARAMS: X25519],
                    _ => rows![CKA_EC_PARAMS: P256],
                };
                check("generate", app.pair(m.clone(), &public, &rows![]).is_ok());
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        host.finalize();
    });
}

fn recover(
    app: App<'_>,
    m: &Mech,
    rsa: (CK_OBJECT_HANDLE, CK_OBJECT_HANDLE),
    data: &[u8],
) -> Result<Vec<u8>, CK_RV> {
    let host = app.host;
    let ok = |rv| if rv == CKR_OK { Ok(()) } else { Err(rv) };
    ok(ck!(host.C_SignRecoverInit(
        app.session,
        &mut m.raw(),
        rsa.1
    )))?;
    let (at, n) = super::app::input(data);
    let signature =
        super::app::output(|out, len| ck!(host.C_SignRecover(app.session, at, n, out, len)))?;
    ok(ck!(host.C_VerifyRecoverInit(
        app.session,
        &mut m.raw(),
        rsa.0
    )))?;
    let (at, n) = super::app::input(&signature);
    super::app::output(|out, len| ck!(host.C_VerifyRecover(app.session, at, n, out, len)))
}

/// What a mechanism's information does not claim, and what is not listed, is refused by the Init of each function.
#[test]
fn what_is_not_claimed_is_refused() {
    alone(|host| {
        let (slot, app) = user(host);
        let keys = Keys::new(app);
        let listed = mechanisms(app, slot);
        let unlisted = [
            CKM_MD5,
            CKM_DES_CBC,
            CKM_RC4,
            CKM_RSA_9796,
            CKM_VENDOR_DEFINED | 1,
            CK_ULONG::MAX,
        ];
        let secret = rows![CKA_CLASS: CKO_SECRET_KEY, CKA_KEY_TYPE: CKK_AES, CKA_VALUE_LEN: 32];
        let mut wrong = Vec::new();
        for kind in listed.iter().copied().chain(unlisted) {
            let known = listed.contains(&kind);
            let mut told = CK_MECHANISM_INFO::default();
            let rv = ck!(host.C_GetMechanismInfo(slot, kind, &mut told));
            assert_eq!(rv, if known { CKR_OK } else { CKR_MECHANISM_INVALID });
            let (m, (protect, process)) = (usual(kind, &keys), keys.of(kind));
            let pair = (
                app.pair(m.clone(), &rows![CKA_MODULUS_BITS: 2048], &rows![]),
                CKF_GENERATE_KEY_PAIR,
            );
            let mut raw = m.raw();
            let recover = ck!(host.C_SignRecoverInit(app.session, &mut raw, keys.rsa.1));
            let verify_recover = ck!(host.C_VerifyRecoverInit(app.session, &mut raw, keys.rsa.0));
            let rows: [(&str, CK_FLAGS, Option<CK_RV>); 13] = [
                (
                    "encrypt",
                    CKF_ENCRYPT,
                    app.encrypt_init(m.clone(), protect).err(),
                ),
                (
                    "decrypt",
                    CKF_DECRYPT,
                    app.decrypt_init(m.clone(), process).err(),
                ),
                ("sign", CKF_SIGN, app.sign_init(m.clone(), process).err()),
                (
                    "verify",
                    CKF_VERIFY,
                    app.verify_init(m.clone(), protect).err(),
                ),
                ("digest", CKF_DIGEST, app.digest_init(m.clone()).err()),
                ("sign recover", CKF_SIGN_RECOVER, Some(recover)),
                ("verify recover", CKF_VERIFY_RECOVER, Some(verify_recover)),
                (
                    "generate",
                    CKF_GENERATE,
                    app.generate(m.clone(), &rows![CKA_VALUE_LEN: 16]).err(),
                ),
                ("pair", pair.1, pair.0.err()),
                (
                    "wrap",
                    CKF_WRAP,
                    app.wrap(m.clone(), protect, keys.aes).err(),
                ),
                (
                    "unwrap",
                    CKF_UNWRAP,
                    app.unwrap(m.clone(), process, &[0; 40], &secret).err(),
                ),
                (
                    "derive",
                    CKF_DERIVE,
                    app.derive(m.clone(), process, &rows![]).err(),
                ),
                (
                    "message encrypt",
                    CKF_MESSAGE_ENCRYPT,
                    Some(ck!(host.C_MessageEncryptInit(
                        app.session,
                        &mut raw,
                        protect
                    ))),
                ),
            ];
            for (name, flag, rv) in rows {
                if (told.flags & flag == 0) != (rv == Some(CKR_MECHANISM_INVALID)) {
                    wrong.push(format!("{name} of {kind:#x}: {rv:x?}"));
                }
            }
            assert_eq!(
                ck!(host.C_SessionCancel(app.session, CK_FLAGS::MAX)),
                CKR_OK
            );
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        host.finalize();
    });
}

#[test]
fn information_makes_sense() {
    alone(|host| {
        let (slot, app) = user(host);
        for kind in mechanisms(app, slot) {
            let told = info(app, slot, kind);
            assert!(told.ulMinKeySize <= told.ulMaxKeySize, "{kind:#x}");
            assert_eq!(told.flags & CKF_HW, 0, "{kind:#x}");
            for (one, other) in [
                (CKF_ENCRYPT, CKF_DECRYPT),
                (CKF_SIGN, CKF_VERIFY),
                (CKF_WRAP, CKF_UNWRAP),
            ] {
                assert_eq!(told.flags & one == 0, told.flags & other == 0, "{kind:#x}");
            }
        }
        // In the units of each mechanism's section: AES in bytes, RSA in bits, generic secrets made in bits.
        let sizes = |kind| {
            (
                info(app, slot, kind).ulMinKeySize,
                info(app, slot, kind).ulMaxKeySize,
            )
        };
        assert_eq!(sizes(CKM_AES_KEY_GEN), (16, 32));
        assert_eq!(sizes(CKM_AES_GCM), (16, 32));
        assert_eq!(sizes(CKM_AES_XTS_KEY_GEN), (32, 64));
        assert_eq!(sizes(CKM_GENERIC_SECRET_KEY_GEN), (8, 32768));
        assert_eq!(sizes(CKM_SHA256_KEY_GEN), (1, 4096));
        assert_eq!(sizes(CKM_SP800_108_FEEDBACK_KDF), (8, 32768));
        assert_eq!(
            (sizes(CKM_CHACHA20_KEY_GEN), sizes(CKM_CHACHA20)),
            ((32, 32), (256, 256))
        );
        assert!(
            sizes(CKM_RSA_PKCS_KEY_PAIR_GEN).0 >= 1024
                && sizes(CKM_RSA_PKCS_KEY_PAIR_GEN).1 >= 4096
        );
        let mut ignored = CK_MECHANISM_INFO::default();
        assert_eq!(
            ck!(host.C_GetMechanismInfo(0x7fff_fff0, CKM_AES_GCM, &mut ignored)),
            CKR_SLOT_ID_INVALID
        );
        assert_eq!(
            ck!(host.C_GetMechanismInfo(slot, CKM_AES_GCM, null_mut())),
            CKR_ARGUMENTS_BAD
        );
        assert_eq!(
            ck!(host.C_GetMechanismList(slot, null_mut(), null_mut())),
            CKR_ARGUMENTS_BAD
        );
        host.finalize();
    });
}

/// A parameter that is not the mechanism's: too short, too long, missing, or there where none is. (That of digests is not looked at.)
#[test]
fn parameters_of_a_wrong_size_are_refused() {
    alone(|host| {
        let (slot, app) = user(host);
        let keys = Keys::new(app);
        let secret = rows![CKA_CLASS: CKO_SECRET_KEY, CKA_KEY_TYPE: CKK_AES, CKA_VALUE_LEN: 32];
        let mut wrong = Vec::new();
        for kind in mechanisms(app, slot) {
            let (flags, right, (protect, process)) = (
                info(app, slot, kind).flags,
                usual(kind, &keys),
                keys.of(kind),
            );
            let mut bad = Vec::new();
            if right.parameter.is_empty() {
                bad.push(Mech::iv(kind, b"?"));
                bad.push(Mech::iv(kind, &[0; 64]));
            } else {
                bad.push(Mech::bare(kind));
                let shorter = if kind == CKM_AES_GMAC {
                    0
                } else {
                    right.parameter.len() - 1
                };
                bad.push(Mech::iv(kind, &right.parameter[..shorter]));
                if kind != CKM_AES_GMAC {
                    bad.push(Mech::iv(kind, &[&right.parameter[..], b"x"].concat()));
                }
            }
            for m in bad {
                let mut see = |name: &str, rv: Option<CK_RV>| {
                    if rv != Some(CKR_MECHANISM_PARAM_INVALID) {
                        wrong.push(format!(
                            "{name} of {kind:#x} with {} bytes: {rv:x?}",
                            m.parameter.len()
                        ));
                    }
                };
                let has = |flag| flags & flag != 0;
                let open = match kind {
                    CKM_HKDF_DATA => rows![CKA_CLASS: CKO_DATA, CKA_VALUE_LEN: 16],
                    _ => {
                        rows![CKA_CLASS: CKO_SECRET_KEY, CKA_VALUE_LEN: 16, CKA_KEY_TYPE: CKK_GENERIC_SECRET]
                    }
                };
                let public = rows![CKA_EC_PARAMS: P256];
                let calls: Vec<(&str, Option<CK_RV>)> = [
                    has(CKF_ENCRYPT)
                        .then(|| ("encrypt", app.encrypt_init(m.clone(), protect).err())),
                    has(CKF_DECRYPT)
                        .then(|| ("decrypt", app.decrypt_init(m.clone(), process).err())),
                    has(CKF_SIGN).then(|| ("sign", app.sign_init(m.clone(), process).err())),
                    has(CKF_VERIFY).then(|| ("verify", app.verify_init(m.clone(), protect).err())),
                    has(CKF_GENERATE).then(|| {
                        (
                            "generate",
                            app.generate(m.clone(), &rows![CKA_VALUE_LEN: 24]).err(),
                        )
                    }),
                    has(CKF_GENERATE_KEY_PAIR)
                        .then(|| ("pair", app.pair(m.clone(), &public, &rows![]).err())),
                    has(CKF_WRAP).then(|| ("wrap", app.wrap(m.clone(), protect, keys.aes).err())),
                    has(CKF_UNWRAP).then(|| {
                        (
                            "unwrap",
                            app.unwrap(m.clone(), process, &[0; 40], &secret).err(),
                        )
                    }),
                    has(CKF_DERIVE)
                        .then(|| ("derive", app.derive(m.clone(), process, &open).err())),
                ]
                .into_iter()
                .flatten()
                .collect();
                calls.into_iter().for_each(|(name, rv)| see(name, rv));
                assert_eq!(
                    ck!(host.C_SessionCancel(app.session, CK_FLAGS::MAX)),
                    CKR_OK
                );
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        host.finalize();
    });
}

/// Parameters of the right size that say what cannot be.
#[test]
fn parameters_with_a_wrong_content_are_refused() {
    alone(|host| {
        let (_, app) = user(host);
        let keys = Keys::new(app);
        let gcm = |iv, tag| {
            let p = CK_GCM_PARAMS {
                pIv: at(TEXT),
                ulIvLen: iv,
                ulIvBits: 0,
                pAAD: null_mut(),
                ulAADLen: 0,
                ulTagBits: tag,
            };
            Mech::with(CKM_AES_GCM, p)
        };
        let ccm = |nonce, mac| {
            let p = CK_CCM_PARAMS {
                ulDataLen: 48,
                pNonce: at(TEXT),
                ulNonceLen: nonce,
                pAAD: null_mut(),
                ulAADLen: 0,
                ulMACLen: mac,
            };
            Mech::with(CKM_AES_CCM, p)
        };
        let ctr = |bits| {
            Mech::with(
                CKM_AES_CTR,
                CK_AES_CTR_PARAMS {
                    ulCounterBits: bits,
                    cb: [0; 16],
                },
            )
        };
        let poly = |nonce| {
            let p = CK_SALSA20_CHACHA20_POLY1305_PARAMS {
                pNonce: at(TEXT),
                ulNonceLen: nonce,
                pAAD: null_mut(),
                ulAADLen: 0,
            };
            Mech::with(CKM_CHACHA20_POLY1305, p)
        };
        let oaep = |hash, mgf, source| {
            Mech::with(
                CKM_RSA_PKCS_OAEP,
                CK_RSA_PKCS_OAEP_PARAMS {
                    hashAlg: hash,
                    mgf,
                    source,
                    ..OAEP
                },
            )
        };
        let ciphers: Vec<(&str, Mech, CK_OBJECT_HANDLE)> = vec![
            ("GCM without an IV", gcm(0, 128), keys.aes),
            ("GCM tag of 7 bits", gcm(12, 7), keys.aes),
            ("GCM tag of 129 bits", gcm(12, 129), keys.aes),
            ("GCM tag of 136 bits", gcm(12, 136), keys.aes),
            ("GCM tag of no bits", gcm(12, 0), keys.aes),
            ("GCM tag of huge bits", gcm(12, CK_ULONG::MAX), keys.aes),
            ("CCM nonce of 6", ccm(6, 16), keys.aes),
            ("CCM nonce of 14", ccm(14, 16), keys.aes),
            ("CCM MAC of 3", ccm(12, 3), keys.aes),
            ("CCM MAC of 5", ccm(12, 5), keys.aes),
            ("CCM MAC of 18", ccm(12, 18), keys.aes),
            ("CCM MAC of 0", ccm(12, 0), keys.aes),
            ("CTR of 0 bits", ctr(0), keys.aes),
            ("CTR of 129 bits", ctr(129), keys.aes),
            ("Poly1305 nonce of 0", poly(0), keys.chacha),
            ("Poly1305 nonce of 16", poly(16), keys.chacha),
            (
                "OAEP with an HMAC",
                oaep(CKM_SHA256_HMAC, CKG_MGF1_SHA256, CKZ_DATA_SPECIFIED),
                keys.rsa.0,
            ),
            (
                "OAEP with MD5",
                oaep(CKM_MD5, CKG_MGF1_SHA256, CKZ_DATA_SPECIFIED),
                keys.rsa.0,
            ),
            (
                "OAEP without MGF",
                oaep(CKM_SHA256, 0, CKZ_DATA_SPECIFIED),
                keys.rsa.0,
            ),
            (
                "OAEP with MGF 99",
                oaep(CKM_SHA256, 99, CKZ_DATA_SPECIFIED),
                keys.rsa.0,
            ),
            (
                "OAEP with source 7",
                oaep(CKM_SHA256, CKG_MGF1_SHA256, 7),
                keys.rsa.0,
            ),
        ];
        for (name, m, key) in ciphers {
            assert_eq!(
                app.encrypt_init(m, key),
                Err(CKR_MECHANISM_PARAM_INVALID),
                "{name}"
            );
        }
        let pss = |kind, hash, mgf, salt| {
            Mech::with(
                kind,
                CK_RSA_PKCS_PSS_PARAMS {
                    hashAlg: hash,
                    mgf,
                    sLen: salt,
                },
            )
        };
        let number = |kind, n: CK_ULONG| Mech::with(kind, n);
        let eddsa = |flag, len| {
            let p = CK_EDDSA_PARAMS {
                phFlag: flag,
                ulContextDataLen: len,
                pContextData: at(&[7; 256]),
            };
            Mech::with(CKM_EDDSA, p)
        };
        let signers: Vec<(&str, Mech, CK_OBJECT_HANDLE)> = vec![
            (
                "PSS with another hash",
                pss(CKM_SHA256_RSA_PKCS_PSS, CKM_SHA384, CKG_MGF1_SHA384, 32),
                keys.rsa.1,
            ),
            (
                "PSS with MGF 0",
                pss(CKM_SHA256_RSA_PKCS_PSS, CKM_SHA256, 0, 32),
                keys.rsa.1,
            ),
            (
                "PSS with a cipher",
                pss(CKM_RSA_PKCS_PSS, CKM_AES_CBC, CKG_MGF1_SHA256, 32),
                keys.rsa.1,
            ),
            (
                "PSS with salt longer than the key",
                pss(CKM_SHA256_RSA_PKCS_PSS, CKM_SHA256, CKG_MGF1_SHA256, 300),
                keys.rsa.1,
            ),
            (
                "PSS with huge salt",
                pss(
                    CKM_SHA256_RSA_PKCS_PSS,
                    CKM_SHA256,
                    CKG_MGF1_SHA256,
                    CK_ULONG::MAX,
                ),
                keys.rsa.1,
            ),
            (
                "HMAC of 0 bytes",
                number(CKM_SHA256_HMAC_GENERAL, 0),
                keys.generic,
            ),
            (
                "HMAC of 33 bytes",
                number(CKM_SHA256_HMAC_GENERAL, 33),
                keys.generic,
            ),
            (
                "CMAC of 17 bytes",
                number(CKM_AES_CMAC_GENERAL, 17),
                keys.aes,
            ),
            (
                "Ed25519ctx with 256 bytes of context",
                eddsa(CK_FALSE, 256),
                keys.ed.1,
            ),
            (
                "Ed25519ph with 256 bytes of context",
                eddsa(CK_TRUE, 256),
                keys.ed.1,
            ),
        ];
        for (name, m, key) in signers {
            assert_eq!(
                app.sign_init(m, key),
                Err(CKR_MECHANISM_PARAM_INVALID),
                "{name}"
            );
        }
        let shared = |kdf, data: &'static [u8], point: &'static [u8]| {
            let p = CK_ECDH1_DERIVE_PARAMS {
                kdf,
                ulSharedDataLen: data.len() as CK_ULONG,
                pSharedData: at(data),
                ulPublicDataLen: point.len() as CK_ULONG,
                pPublicData: at(point),
            };
            Mech::with(CKM_ECDH1_DERIVE, p)
        };
        let hkdf = |extract, expand, prf, salt| {
            let p = CK_HKDF_PARAMS {
                bExtract: extract,
                bExpand: expand,
                prfHashMechanism: prf,
                ulSaltType: salt,
                pSalt: null_mut(),
                ulSaltLen: 0,
                hSaltKey: 0,
                pInfo: null_mut(),
                ulInfoLen: 0,
            };
            Mech::with(CKM_HKDF_DERIVE, p)
        };
        let off_curve: &'static [u8] = keys
            .point
            .iter()
            .enumerate()
            .map(|(i, b)| if i == 40 { b ^ 1 } else { *b })
            .collect::<Vec<_>>()
            .leak();
        let null = CKF_HKDF_SALT_NULL;
        let derivations: Vec<(&str, Mech, CK_OBJECT_HANDLE)> = vec![
            ("ECDH with KDF 99", shared(99, b"", keys.point), keys.ec.1),
            (
                "ECDH with shared data and no KDF",
                shared(CKD_NULL, b"data", keys.point),
                keys.ec.1,
            ),
            (
                "ECDH without a point",
                shared(CKD_NULL, b"", b""),
                keys.ec.1,
            ),
            (
                "ECDH with half a point",
                shared(CKD_NULL, b"", &keys.point[..33]),
                keys.ec.1,
            ),
            (
                "ECDH with a point off the curve",
                shared(CKD_NULL, b"", off_curve),
                keys.ec.1,
            ),
            (
                "HKDF that does nothing",
                hkdf(CK_FALSE, CK_FALSE, CKM_SHA256, null),
                keys.generic,
            ),
            (
                "HKDF with a cipher",
                hkdf(CK_TRUE, CK_TRUE, CKM_AES_CBC, null),
                keys.generic,
            ),
            (
                "HKDF with salt type 99",
                hkdf(CK_TRUE, CK_TRUE, CKM_SHA256, 99),
                keys.generic,
            ),
            (
                "bits beyond the key",
                number(CKM_EXTRACT_KEY_FROM_KEY, 320),
                keys.generic,
            ),
        ];
        let template =
            rows![CKA_CLASS: CKO_SECRET_KEY, CKA_KEY_TYPE: CKK_GENERIC_SECRET, CKA_VALUE_LEN: 16];
        for (name, m, key) in derivations {
            assert_eq!(
                app.derive(m, key, &template),
                Err(CKR_MECHANISM_PARAM_INVALID),
                "{name}"
            );
        }
        // Handles within parameters are handles.
        for bad in [0, 4711, CK_ULONG::MAX] {
            let m = number(CKM_CONCATENATE_BASE_AND_KEY, bad);
            assert_eq!(
                app.derive(m, keys.generic, &rows![CKA_CLASS: CKO_SECRET_KEY]),
                Err(CKR_KEY_HANDLE_INVALID)
            );
        }
        // `ulIvBits` is not looked at: applications leave it 0 or give it in bytes.
        assert_eq!(
            app.encrypt(gcm(12, 128), keys.aes, TEXT).map(|s| s.len()),
            Ok(64)
        );
        host.finalize();
    });
}

/// OAEP with every pair of hashes and with labels: what one made, only the same opens.
#[test]
fn oaep_with_every_hash_mask_and_label() {
    alone(|host| {
        let (_, app) = user(host);
        let keys = Keys::new(app);
        let hashes = [
            CKM_SHA_1,
            CKM_SHA224,
            CKM_SHA256,
            CKM_SHA384,
            CKM_SHA512,
            CKM_SHA3_256,
        ];
        let masks = [
            CKG_MGF1_SHA1,
            CKG_MGF1_SHA224,
            CKG_MGF1_SHA256,
            CKG_MGF1_SHA384,
            CKG_MGF1_SHA512,
            CKG_MGF1_SHA3_256,
        ];
        let oaep = |hash, mgf, source, label: &'static [u8]| {
            let p = CK_RSA_PKCS_OAEP_PARAMS {
                hashAlg: hash,
                mgf,
                source,
                pSourceData: at(label).cast(),
                ulSourceDataLen: label.len() as CK_ULONG,
            };
            Mech::with(CKM_RSA_PKCS_OAEP, p)
        };
        let specified = CKZ_DATA_SPECIFIED;
        let mut made = Vec::new();
        for hash in hashes {
            for mask in masks {
                let m = oaep(hash, mask, specified, b"label");
                let secret = app.encrypt(m.clone(), keys.rsa.0, TEXT).unwrap();
                assert_eq!(
                    app.decrypt(m.clone(), keys.rsa.1, &secret).as_deref(),
                    Ok(&TEXT[..]),
                    "{hash:#x} {mask}"
                );
                made.push((m, secret));
            }
        }
        for (i, (m, secret)) in made.iter().enumerate() {
            let (other, _) = &made[(i + 1) % made.len()];
            assert_eq!(
                app.decrypt(other.clone(), keys.rsa.1, secret),
                Err(CKR_ENCRYPTED_DATA_INVALID),
                "{i}"
            );
            assert_eq!(
                app.decrypt(m.clone(), keys.rsa.1, secret).as_deref(),
                Ok(&TEXT[..])
            );
        }
        let secret = app
            .encrypt(
                oaep(CKM_SHA256, CKG_MGF1_SHA256, specified, b""),
                keys.rsa.0,
                TEXT,
            )
            .unwrap();
        // No label may also be said by no source.
        let opened = app.decrypt(
            oaep(CKM_SHA256, CKG_MGF1_SHA256, 0, b""),
            keys.rsa.1,
            &secret,
        );
        assert_eq!(opened.as_deref(), Ok(&TEXT[..]));
        let labelled = oaep(CKM_SHA256, CKG_MGF1_SHA256, specified, b"label");
        assert_eq!(
            app.decrypt(labelled, keys.rsa.1, &secret),
            Err(CKR_ENCRYPTED_DATA_INVALID)
        );
        // A modulus of 256 bytes less two digests and two bytes (RFC 8017, 7.1.1).
        let most = |hash, mask, len: usize| {
            app.encrypt(
                oaep(hash, mask, specified, b""),
                keys.rsa.0,
                &[7; 256][..len],
            )
            .map(|s| s.len())
        };
        assert_eq!(most(CKM_SHA512, CKG_MGF1_SHA1, 126), Ok(256));
        assert_eq!(
            most(CKM_SHA512, CKG_MGF1_SHA1, 127),
            Err(CKR_DATA_LEN_RANGE)
        );
        assert_eq!(most(CKM_SHA_1, CKG_MGF1_SHA512, 214), Ok(256));
        assert_eq!(
            most(CKM_SHA_1, CKG_MGF1_SHA512, 215),
            Err(CKR_DATA_LEN_RANGE)
        );
        host.finalize();
    });
}

/// PSS with salts from none to the longest (RFC 8017, 9.1.1).
#[test]
fn pss_with_the_shortest_and_the_longest_salt() {
    alone(|host| {
        let (_, app) = user(host);
        let pss = |kind, hash, mgf, salt| {
            Mech::with(
                kind,
                CK_RSA_PKCS_PSS_PARAMS {
                    hashAlg: hash,
                    mgf,
                    sLen: salt,
                },
            )
        };
        let pair = app
            .pair(
                CKM_RSA_PKCS_KEY_PAIR_GEN,
                &rows![CKA_MODULUS_BITS: 1024],
                &rows![],
            )
            .unwrap();
        for (kind, bare, hash, mgf, len) in [
            (
                CKM_SHA1_RSA_PKCS_PSS,
                CKM_RSA_PKCS_PSS,
                CKM_SHA_1,
                CKG_MGF1_SHA1,
                20,
            ),
            (
                CKM_SHA256_RSA_PKCS_PSS,
                CKM_RSA_PKCS_PSS,
                CKM_SHA256,
                CKG_MGF1_SHA1,
                32,
            ),
            (
                CKM_SHA512_RSA_PKCS_PSS,
                CKM_RSA_PKCS_PSS,
                CKM_SHA512,
                CKG_MGF1_SHA256,
                64,
            ),
        ] {
            let digest = app.digest(hash, TEXT).unwrap();
            let most: CK_ULONG = 128 - len - 2;
            for salt in [0, 1, len.min(most), most] {
                let signature = app.sign(pss(kind, hash, mgf, salt), pair.1, TEXT).unwrap();
                assert_eq!(
                    app.verify(pss(kind, hash, mgf, salt), pair.0, TEXT, &signature),
                    Ok(())
                );
                assert_eq!(
                    app.verify(pss(bare, hash, mgf, salt), pair.0, &digest, &signature),
                    Ok(())
                );
                let other = if salt == 0 { 1 } else { salt - 1 };
                let refused = app.verify(pss(kind, hash, mgf, other), pair.0, TEXT, &signature);
                assert_eq!(
                    refused,
                    Err(CKR_SIGNATURE_INVALID),
                    "a salt of {salt}, not {other}"
                );
            }
            assert_eq!(
                app.sign_init(pss(kind, hash, mgf, most + 1), pair.1),
                Err(CKR_MECHANISM_PARAM_INVALID)
            );
            assert_eq!(
                app.verify_init(pss(kind, hash, mgf, most + 1), pair.0),
                Err(CKR_MECHANISM_PARAM_INVALID)
            );
        }
        host.finalize();
    });
}

/// The three forms of Ed25519 (RFC 8032): plain, with a context, of a digest. A signature of one is none of another.
#[test]
fn the_forms_of_ed25519() {
    alone(|host| {
        let (_, app) = user(host);
        let pair = app
            .pair(
                CKM_EC_EDWARDS_KEY_PAIR_GEN,
                &rows![CKA_EC_PARAMS: ED25519],
                &rows![CKA_TOKEN: true],
            )
            .unwrap();
        let form = |flag, context: &'static [u8]| {
            let p = CK_EDDSA_PARAMS {
                phFlag: flag,
                ulContextDataLen: context.len() as CK_ULONG,
                pContextData: at(context),
            };
            Mech::with(CKM_EDDSA, p)
        };
        let forms = [
            Mech::bare(CKM_EDDSA),
            form(CK_FALSE, b"a"),
            form(CK_FALSE, &[7; 255]),
            form(CK_TRUE, b""),
            form(CK_TRUE, b"a"),
        ];
        for (i, m) in forms.iter().enumerate() {
            let signature = app.sign(m.clone(), pair.1, TEXT).unwrap();
            assert_eq!(
                app.sign_parts(m.clone(), pair.1, TEXT, 5),
                Ok(signature.clone())
            );
            for (k, other) in forms.iter().enumerate() {
                let wanted = if i == k {
                    Ok(())
                } else {
                    Err(CKR_SIGNATURE_INVALID)
                };
                assert_eq!(
                    app.verify(other.clone(), pair.0, TEXT, &signature),
                    wanted,
                    "{i} {k}"
                );
            }
        }
        // A parameter that asks for nothing is none.
        let signature = app.sign(form(CK_FALSE, b""), pair.1, TEXT).unwrap();
        assert_eq!(app.verify(CKM_EDDSA, pair.0, TEXT, &signature), Ok(()));
        host.finalize();
    });
}

/// For every mechanism, a key of every other type.
#[test]
fn keys_of_a_wrong_type_are_refused() {
    alone(|host| {
        let (slot, app) = user(host);
        let keys = Keys::new(app);
        let data: Rows = rows![CKA_CLASS: CKO_DATA];
        let data = app.create(&data).unwrap();
        let all = [
            keys.aes,
            keys.xts,
            keys.des3,
            keys.chacha,
            keys.generic,
            keys.rsa.0,
            keys.rsa.1,
            keys.ec.0,
            keys.ec.1,
            keys.ed.0,
            keys.ed.1,
        ];
        let mut wrong = Vec::new();
        for kind in mechanisms(app, slot) {
            let (flags, m, (protect, process)) = (
                info(app, slot, kind).flags,
                usual(kind, &keys),
                keys.of(kind),
            );
            for key in all {
                let mut see = |name: &str, rv: Option<CK_RV>, wanted: CK_RV| {
                    if rv != Some(wanted) {
                        wrong.push(format!("{name} of {kind:#x} with key {key}: {rv:x?}"));
                    }
                };
                let has = |flag| flags & flag != 0;
                if has(CKF_ENCRYPT) && key != protect {
                    see(
                        "encrypt",
                        app.encrypt_init(m.clone(), key).err(),
                        CKR_KEY_TYPE_INCONSISTENT,
                    );
                }
                if has(CKF_DECRYPT) && key != process {
                    see(
                        "decrypt",
                        app.decrypt_init(m.clone(), key).err(),
                        CKR_KEY_TYPE_INCONSISTENT,
                    );
                }
                if has(CKF_SIGN) && key != process {
                    see(
                        "sign",
                        app.sign_init(m.clone(), key).err(),
                        CKR_KEY_TYPE_INCONSISTENT,
                    );
                }
                if has(CKF_VERIFY) && key != protect {
                    see(
                        "verify",
                        app.verify_init(m.clone(), key).err(),
                        CKR_KEY_TYPE_INCONSISTENT,
                    );
                }
                if has(CKF_WRAP) && key != protect {
                    see(
                        "wrap",
                        app.wrap(m.clone(), key, keys.aes).err(),
                        CKR_WRAPPING_KEY_TYPE_INCONSISTENT,
                    );
                }
                if has(CKF_UNWRAP) && key != process {
                    let template =
                        rows![CKA_CLASS: CKO_SECRET_KEY, CKA_KEY_TYPE: CKK_AES, CKA_VALUE_LEN: 32];
                    let rv = app.unwrap(m.clone(), key, &[0; 40], &template).err();
                    see("unwrap", rv, CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT);
                }
            }
            if flags & CKF_SIGN != 0 {
                assert_eq!(app.sign_init(m.clone(), data), Err(CKR_KEY_HANDLE_INVALID));
            }
            assert_eq!(
                ck!(host.C_SessionCancel(app.session, CK_FLAGS::MAX)),
                CKR_OK
            );
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        host.finalize();
    });
}
