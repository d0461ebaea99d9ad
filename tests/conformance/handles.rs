//! Every function that takes a handle, with every handle that is none.

use std::ffi::c_void;
use std::ptr::null_mut;

use mrhsm_pkcs11::ck::*;

use super::app::{App, Mech, Rows, at, init_token, open, rows, user};
use crate::ffi::host::{SO_PIN, alone, ck};

const TEXT: &[u8; 32] = b"two blocks of AES, thirty-two by";

/// A name, the call with a handle in its place, and what a bad handle there is called.
type Call<'a> = (
    &'static str,
    Box<dyn Fn(CK_OBJECT_HANDLE) -> CK_RV + 'a>,
    CK_RV,
);

fn rv<T>(result: Result<T, CK_RV>) -> CK_RV {
    result.err().unwrap_or(CKR_OK)
}

/// The calls with an object's handle; `key` is an AES key that they take elsewhere.
fn calls<'a>(app: App<'a>, key: CK_OBJECT_HANDLE) -> Vec<Call<'a>> {
    let secret: Rows = rows![CKA_CLASS: CKO_SECRET_KEY, CKA_KEY_TYPE: CKK_AES];
    let (host, s) = (app.host, app.session);
    let wanted = secret.clone();
    let (object, bad_key) = (CKR_OBJECT_HANDLE_INVALID, CKR_KEY_HANDLE_INVALID);
    vec![
        (
            "C_CopyObject",
            Box::new(move |h| rv(app.copy(h, &rows![]))),
            object,
        ),
        (
            "C_DestroyObject",
            Box::new(move |h| rv(app.destroy(h))),
            object,
        ),
        (
            "C_GetObjectSize",
            Box::new(move |h| ck!(host.C_GetObjectSize(s, h, &mut 0))),
            object,
        ),
        (
            "C_GetAttributeValue",
            Box::new(move |h| rv(app.get(h, CKA_LABEL))),
            object,
        ),
        (
            "C_SetAttributeValue",
            Box::new(move |h| rv(app.set(h, &rows![CKA_LABEL: b"x"]))),
            object,
        ),
        (
            "C_EncryptInit",
            Box::new(move |h| rv(app.encrypt_init(CKM_AES_ECB, h))),
            bad_key,
        ),
        (
            "C_DecryptInit",
            Box::new(move |h| rv(app.decrypt_init(CKM_AES_ECB, h))),
            bad_key,
        ),
        (
            "C_SignInit",
            Box::new(move |h| rv(app.sign_init(CKM_AES_CMAC, h))),
            bad_key,
        ),
        (
            "C_VerifyInit",
            Box::new(move |h| rv(app.verify_init(CKM_AES_CMAC, h))),
            bad_key,
        ),
        (
            "C_SignRecoverInit",
            Box::new(move |h| {
                ck!(host.C_SignRecoverInit(s, &mut Mech::bare(CKM_RSA_PKCS).raw(), h))
            }),
            bad_key,
        ),
        (
            "C_VerifyRecoverInit",
            Box::new(move |h| {
                ck!(host.C_VerifyRecoverInit(s, &mut Mech::bare(CKM_RSA_PKCS).raw(), h))
            }),
            bad_key,
        ),
        (
            "C_MessageEncryptInit",
            Box::new(move |h| {
                ck!(host.C_MessageEncryptInit(s, &mut Mech::bare(CKM_AES_GCM).raw(), h))
            }),
            bad_key,
        ),
        (
            "C_MessageDecryptInit",
            Box::new(move |h| {
                ck!(host.C_MessageDecryptInit(s, &mut Mech::bare(CKM_AES_GCM).raw(), h))
            }),
            bad_key,
        ),
        (
            "C_MessageSignInit",
            Box::new(move |h| {
                ck!(host.C_MessageSignInit(s, &mut Mech::bare(CKM_AES_CMAC).raw(), h))
            }),
            bad_key,
        ),
        (
            "C_MessageVerifyInit",
            Box::new(move |h| {
                ck!(host.C_MessageVerifyInit(s, &mut Mech::bare(CKM_AES_CMAC).raw(), h))
            }),
            bad_key,
        ),
        (
            "C_WrapKey, wrapping",
            Box::new(move |h| rv(app.wrap(CKM_AES_KEY_WRAP, h, key))),
            CKR_WRAPPING_KEY_HANDLE_INVALID,
        ),
        (
            "C_WrapKey, wrapped",
            Box::new(move |h| rv(app.wrap(CKM_AES_KEY_WRAP, key, h))),
            bad_key,
        ),
        (
            "C_UnwrapKey",
            Box::new(move |h| rv(app.unwrap(CKM_AES_KEY_WRAP, h, &[0; 24], &wanted))),
            CKR_UNWRAPPING_KEY_HANDLE_INVALID,
        ),
        (
            "C_DeriveKey",
            Box::new(move |h| rv(app.derive(CKM_SHA256_KEY_DERIVATION, h, &secret))),
            bad_key,
        ),
        (
            "C_DigestKey",
            Box::new(move |h| {
                app.digest_init(CKM_SHA256).unwrap();
                let rv = ck!(host.C_DigestKey(s, h));
                ck!(host.C_SessionCancel(s, CKF_DIGEST));
                rv
            }),
            bad_key,
        ),
    ]
}

#[test]
fn handles_that_are_none() {
    alone(|host| {
        let (slot, app) = user(host);
        let free = *host.slots().last().unwrap();
        init_token(host, free, SO_PIN, "other").unwrap();
        let other = *host
            .slots()
            .iter()
            .find(|s| host.token_info(**s).label.starts_with(b"other "))
            .unwrap();
        let foreign = open(host, other, true).unwrap();
        let of_other_token = foreign.create(&rows![CKA_CLASS: CKO_DATA]).unwrap();
        let key = app.aes();
        let stale = app.aes();
        app.destroy(stale).unwrap();
        let closed = open(host, slot, false).unwrap();
        let of_closed_session = closed.aes();
        closed.close().unwrap();
        let bad = [
            0,
            stale,
            of_closed_session,
            of_other_token,
            app.session,
            key + (1 << 32),
            CK_ULONG::MAX,
            CK_ULONG::MAX / 2 + 1,
        ];
        for (name, call, wanted) in calls(app, key) {
            for handle in bad {
                assert_eq!(call(handle), wanted, "{name} of {handle:#x}");
            }
        }
        // An object that is no key.
        let data = app.create(&rows![CKA_CLASS: CKO_DATA]).unwrap();
        for (name, call, wanted) in calls(app, key)
            .into_iter()
            .filter(|call| call.2 != CKR_OBJECT_HANDLE_INVALID)
        {
            assert_eq!(call(data), wanted, "{name} of a data object");
        }
        // The session as it was before.
        assert!(
            app.encrypt(CKM_AES_ECB, key, TEXT).is_ok()
                && app.sign(CKM_AES_CMAC, key, TEXT).is_ok()
        );
        host.finalize();
    });
}

/// Objects of a session, from other sessions: for all of them until it is gone.
#[test]
fn handles_of_other_sessions() {
    alone(|host| {
        let (slot, app) = user(host);
        let other = open(host, slot, false).unwrap();
        let key = other.aes();
        for (name, call, _) in calls(app, key)
            .into_iter()
            .filter(|call| !call.0.contains("Recover") && call.0 != "C_DestroyObject")
        {
            let rv = call(key);
            assert!(
                ![
                    CKR_OBJECT_HANDLE_INVALID,
                    CKR_KEY_HANDLE_INVALID,
                    CKR_GENERAL_ERROR
                ]
                .contains(&rv),
                "{name}: {rv:#x}"
            );
            ck!(host.C_SessionCancel(app.session, CK_FLAGS::MAX));
        }
        // An operation begun with a key goes on when the key, or the key's session, is gone.
        app.encrypt_init(CKM_AES_ECB, key).unwrap();
        other.close().unwrap();
        assert_eq!(app.encrypt_now(TEXT).map(|c| c.len()), Ok(32));
        assert_eq!(
            app.encrypt_init(CKM_AES_ECB, key),
            Err(CKR_KEY_HANDLE_INVALID)
        );
        host.finalize();
    });
}

/// NULL where something must be, and lengths that no memory has.
#[test]
fn null_and_absurd_arguments_of_objects() {
    alone(|host| {
        let (_, app) = user(host);
        let (s, key, mut object, mut m) =
            (app.session, app.aes(), 0, Mech::bare(CKM_AES_KEY_GEN).raw());
        let (bad, text) = (CKR_ARGUMENTS_BAD, at(TEXT));
        let mut wrapper = Mech::bare(CKM_AES_KEY_WRAP).raw();
        let calls: Vec<(&str, CK_RV)> = vec![
            (
                "create",
                ck!(host.C_CreateObject(s, null_mut(), 1, &mut object)),
            ),
            (
                "create nowhere",
                ck!(host.C_CreateObject(s, null_mut(), 0, null_mut())),
            ),
            (
                "copy",
                ck!(host.C_CopyObject(s, key, null_mut(), 1, &mut object)),
            ),
            (
                "copy nowhere",
                ck!(host.C_CopyObject(s, key, null_mut(), 0, null_mut())),
            ),
            ("set", ck!(host.C_SetAttributeValue(s, key, null_mut(), 1))),
            (
                "generate",
                ck!(host.C_GenerateKey(s, null_mut(), null_mut(), 0, &mut object)),
            ),
            (
                "generate nowhere",
                ck!(host.C_GenerateKey(s, &mut m, null_mut(), 0, null_mut())),
            ),
            (
                "wrap nothing",
                ck!(host.C_WrapKey(s, null_mut(), key, key, null_mut(), &mut object)),
            ),
            (
                "wrap nowhere",
                ck!(host.C_WrapKey(s, &mut wrapper, key, key, null_mut(), null_mut())),
            ),
            (
                "unwrap",
                ck!(host.C_UnwrapKey(
                    s,
                    &mut wrapper,
                    key,
                    null_mut(),
                    24,
                    null_mut(),
                    0,
                    &mut object
                )),
            ),
            (
                "unwrap nowhere",
                ck!(host.C_UnwrapKey(s, &mut wrapper, key, text, 24, null_mut(), 0, null_mut())),
            ),
            (
                "derive",
                ck!(host.C_DeriveKey(s, null_mut(), key, null_mut(), 0, &mut object)),
            ),
            ("digest nothing", ck!(host.C_DigestInit(s, null_mut()))),
            ("session info", ck!(host.C_GetSessionInfo(s, null_mut()))),
            ("random", ck!(host.C_GenerateRandom(s, null_mut(), 1))),
        ];
        for (name, rv) in calls {
            assert_eq!(rv, bad, "{name}");
        }
        // A value that says it is longer than memory, and one that is NULL with a length.
        for (value, len) in [
            (null_mut(), 4),
            (text.cast::<c_void>(), CK_ULONG::MAX),
            (null_mut(), CK_ULONG::MAX),
        ] {
            let mut rows = [CK_ATTRIBUTE {
                type_: CKA_LABEL,
                pValue: value,
                ulValueLen: len,
            }];
            let rv = ck!(host.C_SetAttributeValue(s, key, rows.as_mut_ptr(), 1));
            assert!([bad, CKR_ATTRIBUTE_VALUE_INVALID].contains(&rv), "{rv:#x}");
        }
        assert_eq!(
            app.find(&rows![CKA_TOKEN: true]),
            Ok(vec![]),
            "nothing was made of that"
        );
        host.finalize();
    });
}
