//! How operations begin, go on and end (PKCS#11 3.0, 5.2 and 5.8 to 5.15).

use std::ptr::null_mut;

use mrhsm_pkcs11::ck::*;

use super::app::{App, Mech, at, input, rows, served, user};
use super::usual::{Keys, usual};
use crate::ffi::host::{alone, ck};
use crate::kmip_server::Personality;

const TEXT: &[u8; 32] = b"two blocks of AES, thirty-two by";

/// The operations that make bytes of bytes, as the table of functions has them.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Op {
    Encrypt,
    Decrypt,
    Sign,
    Digest,
}

impl Op {
    const ALL: [Op; 4] = [Op::Encrypt, Op::Decrypt, Op::Sign, Op::Digest];

    fn init(self, app: App<'_>, key: CK_OBJECT_HANDLE) -> CK_RV {
        let begun = match self {
            Op::Encrypt => app.encrypt_init(CKM_AES_ECB, key),
            Op::Decrypt => app.decrypt_init(CKM_AES_ECB, key),
            Op::Sign => app.sign_init(CKM_AES_CMAC, key),
            Op::Digest => app.digest_init(CKM_SHA256),
        };
        begun.err().unwrap_or(CKR_OK)
    }

    fn whole(self, app: App<'_>, data: &[u8], out: *mut CK_BYTE, len: *mut CK_ULONG) -> CK_RV {
        let (host, s, (at, n)) = (app.host, app.session, input(data));
        match self {
            Op::Encrypt => ck!(host.C_Encrypt(s, at, n, out, len)),
            Op::Decrypt => ck!(host.C_Decrypt(s, at, n, out, len)),
            Op::Sign => ck!(host.C_Sign(s, at, n, out, len)),
            Op::Digest => ck!(host.C_Digest(s, at, n, out, len)),
        }
    }

    fn update(self, app: App<'_>, data: &[u8]) -> CK_RV {
        let (host, s, (at, n), mut out, mut len) =
            (app.host, app.session, input(data), [0u8; 64], 64);
        match self {
            Op::Encrypt => ck!(host.C_EncryptUpdate(s, at, n, out.as_mut_ptr(), &mut len)),
            Op::Decrypt => ck!(host.C_DecryptUpdate(s, at, n, out.as_mut_ptr(), &mut len)),
            Op::Sign => ck!(host.C_SignUpdate(s, at, n)),
            Op::Digest => ck!(host.C_DigestUpdate(s, at, n)),
        }
    }

    fn finish(self, app: App<'_>, out: *mut CK_BYTE, len: *mut CK_ULONG) -> CK_RV {
        let (host, s) = (app.host, app.session);
        match self {
            Op::Encrypt => ck!(host.C_EncryptFinal(s, out, len)),
            Op::Decrypt => ck!(host.C_DecryptFinal(s, out, len)),
            Op::Sign => ck!(host.C_SignFinal(s, out, len)),
            Op::Digest => ck!(host.C_DigestFinal(s, out, len)),
        }
    }

    /// The length of the result of `TEXT`.
    fn len(self) -> CK_ULONG {
        if self == Op::Sign { 16 } else { 32 }
    }
}

#[test]
fn every_operation_obeys_the_same_rules() {
    alone(|host| {
        let (_, app) = user(host);
        obeys_the_rules(app, app.aes());
        host.finalize();
    });
}

/// The same with a key that stays on its server.
#[test]
fn so_do_operations_on_a_server() {
    alone(|host| {
        let (_server, _, app) = served(host, Personality::standard());
        let key = app
            .generate(CKM_AES_KEY_GEN, &rows![CKA_VALUE_LEN: 32, CKA_TOKEN: true])
            .unwrap();
        obeys_the_rules(app, key);
        host.finalize();
    });
}

fn obeys_the_rules(app: App<'_>, key: CK_OBJECT_HANDLE) {
    let host = app.host;
    for op in Op::ALL {
        let (mut out, mut len) = ([0u8; 64], 64);
        let to = out.as_mut_ptr();
        // Without Init nothing goes.
        assert_eq!(
            op.whole(app, TEXT, to, &mut len),
            CKR_OPERATION_NOT_INITIALIZED,
            "{op:?}"
        );
        assert_eq!(
            op.whole(app, TEXT, null_mut(), &mut len),
            CKR_OPERATION_NOT_INITIALIZED,
            "{op:?}"
        );
        assert_eq!(
            op.update(app, TEXT),
            CKR_OPERATION_NOT_INITIALIZED,
            "{op:?}"
        );
        assert_eq!(
            op.finish(app, to, &mut len),
            CKR_OPERATION_NOT_INITIALIZED,
            "{op:?}"
        );
        // A failed Init leaves nothing behind.
        if op != Op::Digest {
            assert_eq!(op.init(app, 4711), CKR_KEY_HANDLE_INVALID, "{op:?}");
            assert_eq!(
                op.update(app, TEXT),
                CKR_OPERATION_NOT_INITIALIZED,
                "{op:?}"
            );
        }
        // Init twice: the first stays.
        assert_eq!(op.init(app, key), CKR_OK, "{op:?}");
        assert_eq!(op.init(app, key), CKR_OPERATION_ACTIVE, "{op:?}");
        // Lengths asked for, rooms too small, and again: the operation stays, and then it ends.
        for room in [None, Some(0), Some(op.len() - 1), None, Some(1)] {
            len = room.unwrap_or(99);
            let rv = op.whole(
                app,
                TEXT,
                if room.is_some() { to } else { null_mut() },
                &mut len,
            );
            assert_eq!(
                (rv, len),
                (
                    if room.is_some() {
                        CKR_BUFFER_TOO_SMALL
                    } else {
                        CKR_OK
                    },
                    op.len()
                ),
                "{op:?}"
            );
        }
        assert_eq!(op.whole(app, TEXT, to, &mut len), CKR_OK, "{op:?}");
        assert_eq!(
            op.whole(app, TEXT, to, &mut len),
            CKR_OPERATION_NOT_INITIALIZED,
            "{op:?}"
        );
        assert_eq!(
            op.finish(app, to, &mut len),
            CKR_OPERATION_NOT_INITIALIZED,
            "{op:?}: Final after all at once"
        );
        let whole = out;
        // In parts, and the same result.
        assert_eq!(op.init(app, key), CKR_OK, "{op:?}");
        assert_eq!(op.update(app, b""), CKR_OK, "{op:?}: an empty part");
        assert_eq!(op.update(app, &TEXT[..5]), CKR_OK, "{op:?}");
        assert_eq!(op.update(app, &TEXT[5..]), CKR_OK, "{op:?}");
        if matches!(op, Op::Sign | Op::Digest) {
            len = 0;
            assert_eq!(
                (op.finish(app, null_mut(), &mut len), len),
                (CKR_OK, op.len()),
                "{op:?}"
            );
            len = op.len() - 1;
            assert_eq!(
                (op.finish(app, to, &mut len), len),
                (CKR_BUFFER_TOO_SMALL, op.len()),
                "{op:?}"
            );
            assert_eq!(op.finish(app, to, &mut len), CKR_OK, "{op:?}");
            assert_eq!(out, whole, "{op:?}");
        } else {
            len = 64;
            assert_eq!((op.finish(app, to, &mut len), len), (CKR_OK, 0), "{op:?}");
        }
        assert_eq!(
            op.finish(app, to, &mut len),
            CKR_OPERATION_NOT_INITIALIZED,
            "{op:?}"
        );
        // All at once after a part is a mistake that ends it.
        assert_eq!(op.init(app, key), CKR_OK, "{op:?}");
        assert_eq!(op.update(app, TEXT), CKR_OK, "{op:?}");
        len = 64;
        assert_ne!(op.whole(app, TEXT, to, &mut len), CKR_OK, "{op:?}");
        assert_eq!(
            op.init(app, key),
            CKR_OK,
            "{op:?}: the session is not stuck"
        );
        // NULL for a length is a mistake of the arguments; whatever becomes of the operation, the session is usable.
        assert_eq!(
            op.whole(app, TEXT, to, null_mut()),
            CKR_ARGUMENTS_BAD,
            "{op:?}"
        );
        assert_eq!(
            ck!(host.C_SessionCancel(app.session, CK_FLAGS::MAX)),
            CKR_OK
        );
        assert_eq!(
            op.update(app, TEXT),
            CKR_OPERATION_NOT_INITIALIZED,
            "{op:?}: cancelled"
        );
    }
    // Several kinds at once in one session.
    assert!(Op::ALL.iter().all(|op| op.init(app, key) == CKR_OK));
    for op in Op::ALL {
        let (mut out, mut len) = ([0u8; 64], 64);
        assert_eq!(
            op.whole(app, TEXT, out.as_mut_ptr(), &mut len),
            CKR_OK,
            "{op:?}"
        );
    }
}

/// Init with a NULL mechanism ends what is active (3.0).
#[test]
fn a_null_mechanism_ends_an_operation() {
    alone(|host| {
        let (_, app) = user(host);
        let key = app.aes();
        for op in Op::ALL {
            assert_eq!(op.init(app, key), CKR_OK);
            let rv = match op {
                Op::Encrypt => ck!(host.C_EncryptInit(app.session, null_mut(), 0)),
                Op::Decrypt => ck!(host.C_DecryptInit(app.session, null_mut(), 0)),
                Op::Sign => ck!(host.C_SignInit(app.session, null_mut(), 0)),
                Op::Digest => ck!(host.C_DigestInit(app.session, null_mut())),
            };
            assert_eq!(rv, CKR_OK, "{op:?}");
            assert_eq!(
                op.update(app, TEXT),
                CKR_OPERATION_NOT_INITIALIZED,
                "{op:?}"
            );
        }
        host.finalize();
    });
}

#[test]
fn verifying_obeys_them_too() {
    alone(|host| {
        let (_, app) = user(host);
        let (key, s) = (app.aes(), app.session);
        let mac = app.sign(CKM_AES_CMAC, key, TEXT).unwrap();
        let ((at, n), (sig, len)) = (input(TEXT), input(&mac));
        assert_eq!(
            ck!(host.C_Verify(s, at, n, sig, len)),
            CKR_OPERATION_NOT_INITIALIZED
        );
        assert_eq!(
            ck!(host.C_VerifyUpdate(s, at, n)),
            CKR_OPERATION_NOT_INITIALIZED
        );
        assert_eq!(
            ck!(host.C_VerifyFinal(s, sig, len)),
            CKR_OPERATION_NOT_INITIALIZED
        );
        app.verify_init(CKM_AES_CMAC, key).unwrap();
        assert_eq!(
            app.verify_init(CKM_AES_CMAC, key),
            Err(CKR_OPERATION_ACTIVE)
        );
        assert_eq!(ck!(host.C_Verify(s, at, n, sig, len)), CKR_OK);
        assert_eq!(
            ck!(host.C_Verify(s, at, n, sig, len)),
            CKR_OPERATION_NOT_INITIALIZED
        );
        // Whatever the answer, it is the last.
        for (sig, wanted) in [
            (&mac[..15], CKR_SIGNATURE_LEN_RANGE),
            (&[0; 16], CKR_SIGNATURE_INVALID),
            (&[], CKR_SIGNATURE_LEN_RANGE),
        ] {
            let (sig, len) = input(sig);
            app.verify_init(CKM_AES_CMAC, key).unwrap();
            assert_eq!(ck!(host.C_Verify(s, at, n, sig, len)), wanted);
            app.verify_init(CKM_AES_CMAC, key).unwrap();
            assert_eq!(ck!(host.C_VerifyUpdate(s, at, n)), CKR_OK);
            assert_eq!(ck!(host.C_VerifyFinal(s, sig, len)), wanted);
        }
        app.verify_init(CKM_AES_CMAC, key).unwrap();
        assert_eq!(ck!(host.C_VerifyUpdate(s, at, n)), CKR_OK);
        assert_ne!(ck!(host.C_Verify(s, at, n, sig, len)), CKR_OK);
        assert_eq!(app.verify_init(CKM_AES_CMAC, key), Ok(()));
        host.finalize();
    });
}

#[test]
fn a_key_does_what_its_flags_allow() {
    alone(|host| {
        let (_, app) = user(host);
        let off = rows![
            CKA_ENCRYPT: false, CKA_DECRYPT: false, CKA_SIGN: false, CKA_VERIFY: false, CKA_WRAP: false, CKA_UNWRAP: false,
            CKA_DERIVE: false, CKA_EXTRACTABLE: true
        ];
        let key = app.create(&rows![; off, CKA_CLASS: CKO_SECRET_KEY, CKA_KEY_TYPE: CKK_AES, CKA_VALUE: &[1; 16]]).unwrap();
        let no = CKR_KEY_FUNCTION_NOT_PERMITTED;
        let template = rows![CKA_CLASS: CKO_SECRET_KEY, CKA_KEY_TYPE: CKK_AES];
        assert_eq!(app.encrypt_init(CKM_AES_ECB, key), Err(no));
        assert_eq!(app.decrypt_init(CKM_AES_ECB, key), Err(no));
        assert_eq!(app.sign_init(CKM_AES_CMAC, key), Err(no));
        assert_eq!(app.verify_init(CKM_AES_CMAC, key), Err(no));
        assert_eq!(app.wrap(CKM_AES_KEY_WRAP, key, app.aes()), Err(no));
        assert_eq!(
            app.unwrap(CKM_AES_KEY_WRAP, key, &[0; 24], &template),
            Err(no)
        );
        assert_eq!(
            app.derive(CKM_SHA256_KEY_DERIVATION, key, &rows![]),
            Err(no)
        );
        let only = rows![CKA_ALLOWED_MECHANISMS: CKM_AES_CBC, CKA_CLASS: CKO_SECRET_KEY, CKA_KEY_TYPE: CKK_AES];
        let key = app.create(&rows![; only, CKA_VALUE: &[1; 16]]).unwrap();
        assert_eq!(
            app.encrypt_init(CKM_AES_ECB, key),
            Err(CKR_MECHANISM_INVALID)
        );
        assert!(
            app.encrypt(Mech::iv(CKM_AES_CBC, &[0; 16]), key, TEXT)
                .is_ok()
        );
        host.finalize();
    });
}

/// Data whose length or content a mechanism cannot take: the error, all at once and in parts, and the end of the operation.
#[test]
fn lengths_and_contents_of_data() {
    alone(|host| {
        let (_, app) = user(host);
        let keys = Keys::new(app);
        let m = |kind| usual(kind, &keys);
        let long = vec![1u8; 300];
        let encrypts: Vec<(CK_MECHANISM_TYPE, &[u8], Result<usize, CK_RV>)> = vec![
            (CKM_AES_ECB, b"", Ok(0)),
            (CKM_AES_ECB, &TEXT[..15], Err(CKR_DATA_LEN_RANGE)),
            (CKM_AES_CBC, b"", Ok(0)),
            (CKM_AES_CBC, &TEXT[..17], Err(CKR_DATA_LEN_RANGE)),
            (CKM_AES_CBC_PAD, b"", Ok(16)),
            (CKM_AES_CBC_PAD, &TEXT[..16], Ok(32)),
            (CKM_AES_CBC_PAD, &TEXT[..17], Ok(32)),
            (CKM_AES_CTR, b"", Ok(0)),
            (CKM_AES_CTR, &TEXT[..1], Ok(1)),
            (CKM_AES_GCM, b"", Ok(16)),
            (CKM_AES_CCM, &TEXT[..31], Err(CKR_DATA_LEN_RANGE)),
            (CKM_CHACHA20_POLY1305, b"", Ok(16)),
            (CKM_DES3_ECB, &TEXT[..7], Err(CKR_DATA_LEN_RANGE)),
            (CKM_RSA_PKCS, b"", Ok(256)),
            (CKM_RSA_PKCS, &long[..245], Ok(256)),
            (CKM_RSA_PKCS, &long[..246], Err(CKR_DATA_LEN_RANGE)),
            (CKM_RSA_PKCS_OAEP, &long[..190], Ok(256)),
            (CKM_RSA_PKCS_OAEP, &long[..191], Err(CKR_DATA_LEN_RANGE)),
            (CKM_RSA_X_509, &long[..257], Err(CKR_DATA_LEN_RANGE)),
            (CKM_RSA_X_509, &[0xff; 256], Err(CKR_DATA_INVALID)),
        ];
        for (kind, data, wanted) in encrypts {
            let key = keys.of(kind).0;
            assert_eq!(
                app.encrypt(m(kind), key, data).map(|c| c.len()),
                wanted,
                "{kind:#x} of {}",
                data.len()
            );
            let wanted = wanted.map_err(in_parts);
            assert_eq!(
                app.encrypt_parts(m(kind), key, data, 6).map(|c| c.len()),
                wanted,
                "{kind:#x} of {} in parts",
                data.len()
            );
            assert_eq!(
                app.encrypt_init(m(kind), key),
                Ok(()),
                "{kind:#x}: the session is not stuck"
            );
            assert_eq!(ck!(host.C_SessionCancel(app.session, CKF_ENCRYPT)), CKR_OK);
        }
        const LEN: &[CK_RV] = &[CKR_ENCRYPTED_DATA_LEN_RANGE];
        const INVALID: &[CK_RV] = &[CKR_ENCRYPTED_DATA_INVALID];
        const FORGED: &[CK_RV] = &[CKR_ENCRYPTED_DATA_INVALID, CKR_AEAD_DECRYPT_FAILED];
        let forged = |kind: CK_MECHANISM_TYPE, at: usize| {
            let mut secret = app
                .encrypt(m(kind), keys.of(kind).0, &[&TEXT[..], &TEXT[..16]].concat())
                .unwrap();
            secret[at] ^= 1;
            secret
        };
        let decrypts: Vec<(CK_MECHANISM_TYPE, Vec<u8>, &[CK_RV])> = vec![
            (CKM_AES_ECB, vec![0; 15], LEN),
            (CKM_AES_CBC, vec![0; 17], LEN),
            (CKM_AES_CBC_PAD, vec![], LEN),
            (CKM_AES_CBC_PAD, vec![0; 17], LEN),
            (
                CKM_AES_CBC_PAD,
                app.encrypt(Mech::iv(CKM_AES_CBC, &[1; 16]), keys.aes, &[0; 16])
                    .unwrap(),
                INVALID,
            ),
            (CKM_AES_GCM, vec![0; 15], LEN),
            (CKM_AES_GCM, forged(CKM_AES_GCM, 0), FORGED),
            (CKM_AES_GCM, forged(CKM_AES_GCM, 63), FORGED),
            (CKM_AES_CCM, forged(CKM_AES_CCM, 5), FORGED),
            (CKM_AES_CCM, vec![0; 20], LEN),
            (
                CKM_CHACHA20_POLY1305,
                forged(CKM_CHACHA20_POLY1305, 1),
                FORGED,
            ),
            (CKM_CHACHA20_POLY1305, vec![0; 3], LEN),
            (CKM_DES3_CBC, vec![0; 9], LEN),
            (CKM_RSA_PKCS, vec![0; 255], LEN),
            (CKM_RSA_PKCS, vec![1; 257], LEN),
            (CKM_RSA_PKCS_OAEP, vec![1; 256], INVALID),
            (CKM_RSA_PKCS_OAEP, vec![1; 10], LEN),
            (CKM_RSA_X_509, vec![0xff; 256], INVALID),
        ];
        for (kind, data, wanted) in decrypts {
            let key = keys.of(kind).1;
            let rv = app.decrypt(m(kind), key, &data).unwrap_err();
            assert!(wanted.contains(&rv), "{kind:#x} of {}: {rv:#x}", data.len());
            let rv = app.decrypt_parts(m(kind), key, &data, 6).unwrap_err();
            assert!(
                wanted.contains(&rv),
                "{kind:#x} of {} in parts: {rv:#x}",
                data.len()
            );
            assert_eq!(
                app.decrypt_init(m(kind), key),
                Ok(()),
                "{kind:#x}: the session is not stuck"
            );
            assert_eq!(ck!(host.C_SessionCancel(app.session, CKF_DECRYPT)), CKR_OK);
        }
        let signs: Vec<(CK_MECHANISM_TYPE, &[u8], Result<usize, CK_RV>)> = vec![
            (CKM_RSA_PKCS, &long[..245], Ok(256)),
            (CKM_RSA_PKCS, &long[..246], Err(CKR_DATA_LEN_RANGE)),
            (CKM_RSA_X_509, &long[..257], Err(CKR_DATA_LEN_RANGE)),
            (CKM_RSA_X_509, &[0xff; 256], Err(CKR_DATA_INVALID)),
            (CKM_RSA_PKCS_PSS, &TEXT[..31], Err(CKR_DATA_LEN_RANGE)),
            (CKM_SHA256_RSA_PKCS, b"", Ok(256)),
            (CKM_ECDSA, &TEXT[..], Ok(64)),
            (CKM_ECDSA, &TEXT[..20], Ok(64)),
            (CKM_ECDSA_SHA256, b"", Ok(64)),
            (CKM_EDDSA, b"", Ok(64)),
            (CKM_SHA256_HMAC, b"", Ok(32)),
            (CKM_AES_CMAC, b"", Ok(16)),
            (CKM_AES_GMAC, b"", Ok(16)),
        ];
        for (kind, data, wanted) in signs {
            let key = keys.of(kind).1;
            assert_eq!(
                app.sign(m(kind), key, data).map(|s| s.len()),
                wanted,
                "{kind:#x} of {}",
                data.len()
            );
            let wanted = wanted.map_err(in_parts);
            assert_eq!(
                app.sign_parts(m(kind), key, data, 6).map(|s| s.len()),
                wanted,
                "{kind:#x} of {} in parts",
                data.len()
            );
        }
        host.finalize();
    });
}

/// Functions that take parts have no other word for data that are wrong.
fn in_parts(rv: CK_RV) -> CK_RV {
    if rv == CKR_DATA_INVALID {
        CKR_DATA_LEN_RANGE
    } else {
        rv
    }
}

/// ECDSA takes of a digest of any length as many bits, from the left, as its order has (3.0, 2.3.6); so it does on a server, which
/// wants a digest as long as a hash makes it.
#[test]
fn ecdsa_takes_digests_of_any_length() {
    alone(|host| {
        let (_server, _, app) = served(host, Personality::standard());
        let curves: [(&[u8], usize); 3] = [
            (b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07", 32),
            (b"\x06\x05\x2b\x81\x04\x00\x22", 48),
            (b"\x06\x05\x2b\x81\x04\x00\x23", 66),
        ];
        for ((curve, order), kept) in curves
            .into_iter()
            .flat_map(|curve| [(curve, false), (curve, true)])
        {
            let (public, private) = (
                rows![CKA_EC_PARAMS: curve, CKA_TOKEN: kept],
                rows![CKA_TOKEN: kept, CKA_EXTRACTABLE: !kept],
            );
            let (public, private) = app.pair(CKM_EC_KEY_PAIR_GEN, &public, &private).unwrap();
            for len in [1, 15, 20, 31, 33, 48, 63, 64, 65, 66, 67, 200] {
                let data = &[0xa5; 200][..len];
                let signed = app.sign(CKM_ECDSA, private, data);
                if kept && order.min(len) > 64 {
                    assert_eq!(
                        signed,
                        Err(CKR_DATA_LEN_RANGE),
                        "no hash is as long as {len}"
                    );
                    continue;
                }
                let signature =
                    signed.unwrap_or_else(|rv| panic!("{len} bytes, {order}, {kept}: {rv:#x}"));
                let number = &data[..len.min(order)];
                // P-521 takes 521 bits of 66 bytes, so that 65 are as many as mean the same with zeros in front.
                let padded = [&vec![0; order.min(65).saturating_sub(len)], number].concat();
                for same in [data, number, &padded] {
                    assert_eq!(
                        app.verify(CKM_ECDSA, public, same, &signature),
                        Ok(()),
                        "{len} bytes, {order}, {kept}"
                    );
                }
                let other = [&[1], &number[1..]].concat();
                assert_eq!(
                    app.verify(CKM_ECDSA, public, &other, &signature),
                    Err(CKR_SIGNATURE_INVALID)
                );
            }
            assert_eq!(app.sign(CKM_ECDSA, private, b""), Err(CKR_DATA_LEN_RANGE));
        }
        host.finalize();
    });
}

/// What an error does to the operation: it ends it, and nobody else.
#[test]
fn errors_end_operations() {
    alone(|host| {
        let (_, app) = user(host);
        let keys = Keys::new(app);
        app.encrypt_init(CKM_AES_ECB, keys.aes).unwrap();
        app.sign_init(CKM_AES_CMAC, keys.aes).unwrap();
        assert_eq!(app.encrypt_now(&[0; 5]), Err(CKR_DATA_LEN_RANGE));
        assert_eq!(
            app.encrypt_now(&[0; 16]),
            Err(CKR_OPERATION_NOT_INITIALIZED)
        );
        assert!(app.sign_now(b"still there").is_ok());
        // A padded result is asked for with its longest length, and delivered when there is room for what it is.
        let m = usual(CKM_AES_CBC_PAD, &keys);
        let secret = app
            .encrypt(m.clone(), keys.aes, b"twenty bytes of text")
            .unwrap();
        app.decrypt_init(m, keys.aes).unwrap();
        let ((at, n), mut out, mut len) = (input(&secret), [0u8; 32], 0);
        assert_eq!(
            ck!(host.C_Decrypt(app.session, at, n, null_mut(), &mut len)),
            CKR_OK
        );
        assert!((20..=32).contains(&len));
        len = 19;
        assert_eq!(
            ck!(host.C_Decrypt(app.session, at, n, out.as_mut_ptr(), &mut len)),
            CKR_BUFFER_TOO_SMALL
        );
        assert!((20..=32).contains(&len));
        len = 20;
        assert_eq!(
            ck!(host.C_Decrypt(app.session, at, n, out.as_mut_ptr(), &mut len)),
            CKR_OK
        );
        assert_eq!(&out[..len as usize], b"twenty bytes of text");
        // A counter of few bits does not run over into a stream used before.
        let few = Mech::with(
            CKM_AES_CTR,
            CK_AES_CTR_PARAMS {
                ulCounterBits: 1,
                cb: [0xff; 16],
            },
        );
        assert_eq!(
            app.encrypt(few.clone(), keys.aes, &[0; 16])
                .map(|c| c.len()),
            Ok(16)
        );
        assert_eq!(
            app.encrypt(few, keys.aes, &[0; 64]),
            Err(CKR_DATA_LEN_RANGE)
        );
        host.finalize();
    });
}

/// Bad arguments are an error like any other.
#[test]
fn bad_arguments_end_operations_too() {
    alone(|host| {
        let (_, app) = user(host);
        let (key, s, (at, n)) = (app.aes(), app.session, input(TEXT));
        let (mut out, no_len) = ([0u8; 64], null_mut());
        let to = out.as_mut_ptr();
        type Begin<'a> = Box<dyn Fn() -> Result<(), CK_RV> + 'a>;
        let encrypt = || -> Begin<'_> { Box::new(|| app.encrypt_init(CKM_AES_ECB, key)) };
        let decrypt = || -> Begin<'_> { Box::new(|| app.decrypt_init(CKM_AES_ECB, key)) };
        let digest = || -> Begin<'_> { Box::new(|| app.digest_init(CKM_SHA256)) };
        let sign = || -> Begin<'_> { Box::new(|| app.sign_init(CKM_AES_CMAC, key)) };
        let verify = || -> Begin<'_> { Box::new(|| app.verify_init(CKM_AES_CMAC, key)) };
        type Row<'a> = (&'a str, Begin<'a>, Box<dyn Fn() -> CK_RV + 'a>);
        let calls: Vec<Row<'_>> = vec![
            (
                "C_Encrypt",
                encrypt(),
                Box::new(|| ck!(host.C_Encrypt(s, at, n, to, no_len))),
            ),
            (
                "C_EncryptUpdate",
                encrypt(),
                Box::new(|| ck!(host.C_EncryptUpdate(s, null_mut(), 5, to, &mut 64))),
            ),
            (
                "C_EncryptFinal",
                encrypt(),
                Box::new(|| ck!(host.C_EncryptFinal(s, to, no_len))),
            ),
            (
                "C_Decrypt",
                decrypt(),
                Box::new(|| ck!(host.C_Decrypt(s, null_mut(), n, to, &mut 64))),
            ),
            (
                "C_DecryptUpdate",
                decrypt(),
                Box::new(|| ck!(host.C_DecryptUpdate(s, at, n, to, no_len))),
            ),
            (
                "C_DecryptFinal",
                decrypt(),
                Box::new(|| ck!(host.C_DecryptFinal(s, to, no_len))),
            ),
            (
                "C_Digest",
                digest(),
                Box::new(|| ck!(host.C_Digest(s, at, n, to, no_len))),
            ),
            (
                "C_DigestUpdate",
                digest(),
                Box::new(|| ck!(host.C_DigestUpdate(s, null_mut(), 5))),
            ),
            (
                "C_DigestFinal",
                digest(),
                Box::new(|| ck!(host.C_DigestFinal(s, to, no_len))),
            ),
            (
                "C_Sign",
                sign(),
                Box::new(|| ck!(host.C_Sign(s, at, n, to, no_len))),
            ),
            (
                "C_SignUpdate",
                sign(),
                Box::new(|| ck!(host.C_SignUpdate(s, null_mut(), 5))),
            ),
            (
                "C_SignFinal",
                sign(),
                Box::new(|| ck!(host.C_SignFinal(s, to, no_len))),
            ),
            (
                "C_Verify",
                verify(),
                Box::new(|| ck!(host.C_Verify(s, at, n, null_mut(), 16))),
            ),
            (
                "C_VerifyUpdate",
                verify(),
                Box::new(|| ck!(host.C_VerifyUpdate(s, null_mut(), 5))),
            ),
            (
                "C_VerifyFinal",
                verify(),
                Box::new(|| ck!(host.C_VerifyFinal(s, null_mut(), 16))),
            ),
        ];
        for (name, begin, call) in calls {
            assert_eq!(begin(), Ok(()), "{name}: nothing is active");
            assert_eq!(call(), CKR_ARGUMENTS_BAD, "{name}");
            assert_eq!(call(), CKR_ARGUMENTS_BAD, "{name}");
        }
        for begin in [encrypt(), decrypt(), digest(), sign(), verify()] {
            assert_eq!(begin(), Ok(()), "the last of them ended as well");
        }
        host.finalize();
    });
}

/// The dual functions are their two halves.
#[test]
fn dual_functions() {
    alone(|host| {
        let (_, app) = user(host);
        let (key, s, (at, n)) = (app.aes(), app.session, input(TEXT));
        let m = || Mech::iv(CKM_AES_CBC, &[2; 16]);
        let (secret, digest, mac) = (
            app.encrypt(m(), key, TEXT).unwrap(),
            app.digest(CKM_SHA256, TEXT).unwrap(),
            app.sign(CKM_AES_CMAC, key, TEXT).unwrap(),
        );
        let (mut out, mut len) = ([0u8; 32], 32);
        let to = out.as_mut_ptr();
        assert_eq!(
            ck!(host.C_DigestEncryptUpdate(s, at, n, to, &mut len)),
            CKR_OPERATION_NOT_INITIALIZED
        );
        app.encrypt_init(m(), key).unwrap();
        assert_eq!(
            ck!(host.C_DigestEncryptUpdate(s, at, n, to, &mut len)),
            CKR_OPERATION_NOT_INITIALIZED
        );
        assert_eq!(ck!(host.C_SessionCancel(s, CK_FLAGS::MAX)), CKR_OK);
        app.encrypt_init(m(), key).unwrap();
        app.digest_init(CKM_SHA256).unwrap();
        len = 31;
        assert_eq!(
            (ck!(host.C_DigestEncryptUpdate(s, at, n, to, &mut len)), len),
            (CKR_BUFFER_TOO_SMALL, 32)
        );
        assert_eq!(
            ck!(host.C_DigestEncryptUpdate(s, at, n, to, &mut len)),
            CKR_OK
        );
        assert_eq!(out[..], secret[..]);
        assert_eq!(
            super::app::output(|o, l| ck!(host.C_DigestFinal(s, o, l))),
            Ok(digest.clone()),
            "counted once"
        );
        assert_eq!(ck!(host.C_EncryptFinal(s, to, &mut len)), CKR_OK);

        let (at, n) = input(&secret);
        app.decrypt_init(m(), key).unwrap();
        app.digest_init(CKM_SHA256).unwrap();
        len = 32;
        assert_eq!(
            ck!(host.C_DecryptDigestUpdate(s, at, n, to, &mut len)),
            CKR_OK
        );
        assert_eq!(out[..], TEXT[..]);
        assert_eq!(
            super::app::output(|o, l| ck!(host.C_DigestFinal(s, o, l))),
            Ok(digest)
        );
        assert_eq!(ck!(host.C_DecryptFinal(s, to, &mut len)), CKR_OK);

        app.decrypt_init(m(), key).unwrap();
        app.verify_init(CKM_AES_CMAC, key).unwrap();
        len = 32;
        assert_eq!(
            ck!(host.C_DecryptVerifyUpdate(s, at, n, to, &mut len)),
            CKR_OK
        );
        let (sig, k) = input(&mac);
        assert_eq!(ck!(host.C_VerifyFinal(s, sig, k)), CKR_OK);
        assert_eq!(ck!(host.C_DecryptFinal(s, to, &mut len)), CKR_OK);

        let (at, n) = input(TEXT);
        app.encrypt_init(m(), key).unwrap();
        app.sign_init(CKM_AES_CMAC, key).unwrap();
        len = 32;
        assert_eq!(
            ck!(host.C_SignEncryptUpdate(s, at, n, to, &mut len)),
            CKR_OK
        );
        assert_eq!(
            super::app::output(|o, l| ck!(host.C_SignFinal(s, o, l))),
            Ok(mac)
        );
        host.finalize();
    });
}

#[test]
fn keys_are_digested_when_they_may_be() {
    alone(|host| {
        let (_, app) = user(host);
        let keys = Keys::new(app);
        let s = app.session;
        assert_eq!(
            ck!(host.C_DigestKey(s, keys.generic)),
            CKR_OPERATION_NOT_INITIALIZED
        );
        app.digest_init(CKM_SHA256).unwrap();
        assert_eq!(ck!(host.C_DigestKey(s, keys.generic)), CKR_OK);
        assert_eq!(
            super::app::output(|o, l| ck!(host.C_DigestFinal(s, o, l))),
            app.digest(CKM_SHA256, &[5; 40])
        );
        for (key, rv) in [
            (keys.rsa.1, CKR_KEY_INDIGESTIBLE),
            (keys.ec.0, CKR_KEY_INDIGESTIBLE),
            (4711, CKR_KEY_HANDLE_INVALID),
        ] {
            app.digest_init(CKM_SHA256).unwrap();
            assert_eq!(ck!(host.C_DigestKey(s, key)), rv);
            assert_eq!(ck!(host.C_SessionCancel(s, CKF_DIGEST)), CKR_OK);
        }
        host.finalize();
    });
}

#[test]
fn random_numbers() {
    alone(|host| {
        let (_, app) = user(host);
        let (mut a, mut b) = ([0u8; 32], [0u8; 32]);
        assert_eq!(
            ck!(host.C_GenerateRandom(app.session, a.as_mut_ptr(), 32)),
            CKR_OK
        );
        assert_eq!(
            ck!(host.C_GenerateRandom(app.session, b.as_mut_ptr(), 32)),
            CKR_OK
        );
        assert_ne!(a, b);
        assert_eq!(
            ck!(host.C_GenerateRandom(app.session, null_mut(), 32)),
            CKR_ARGUMENTS_BAD
        );
        assert_eq!(ck!(host.C_SeedRandom(app.session, at(TEXT), 32)), CKR_OK);
        host.finalize();
    });
}

/// NIST CAVP, gcmEncryptExtIV128: no plaintext, 128 bits of additional data. The parameter is `CK_GCM_PARAMS` (PKCS#11 3.0, 6.13.4), or
/// the bare IV of 2.40.
#[test]
fn gmac_takes_each_form_of_its_parameter() {
    const KEY: [u8; 16] = 0x77be_6370_8971_c4e2_40d1_cb79_e8d7_7feb_u128.to_be_bytes();
    const DATA: [u8; 16] = 0x7a43_ec1d_9c0a_5a78_a0b1_6533_a621_3cab_u128.to_be_bytes();
    const TAG: [u8; 16] = 0x209f_cc8d_3675_ed93_8e9c_7166_709d_d946_u128.to_be_bytes();
    const IV: &[u8; 12] = &[
        0xe0, 0xe0, 0x0f, 0x19, 0xfe, 0xd7, 0xba, 0x01, 0x36, 0xa7, 0x97, 0xf3,
    ];
    let gcm = |aad: &'static [u8], bits| {
        Mech::with(
            CKM_AES_GMAC,
            CK_GCM_PARAMS {
                pIv: at(IV),
                ulIvLen: 12,
                ulIvBits: 96,
                pAAD: at(aad),
                ulAADLen: aad.len() as CK_ULONG,
                ulTagBits: bits,
            },
        )
    };
    alone(|host| {
        let (_slot, app) = user(host);
        let key = app.secret(CKK_AES, &KEY);
        assert_eq!(
            app.sign(Mech::iv(CKM_AES_GMAC, IV), key, &DATA),
            Ok(TAG.into())
        );
        for bytes in [4, 8, 12, 13, 14, 15, 16] {
            let mac = app.sign(gcm(b"", 8 * bytes as CK_ULONG), key, &DATA);
            assert_eq!(mac, Ok(TAG[..bytes].into()));
            let verified = app.verify(gcm(b"", 8 * bytes as CK_ULONG), key, &DATA, &TAG[..bytes]);
            assert_eq!(verified, Ok(()));
        }
        for bits in [0, 1, 100, 136] {
            let mac = app.sign(gcm(b"", bits), key, &DATA);
            assert_eq!(mac, Err(CKR_MECHANISM_PARAM_INVALID), "{bits} bits");
        }
        let mac = app.sign(gcm(b"additional", 128), key, &DATA);
        assert_eq!(mac, Err(CKR_MECHANISM_PARAM_INVALID));
        host.finalize();
    });
}
