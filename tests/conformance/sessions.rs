//! Sessions, login, PINs and tokens (PKCS#11 3.0, 5.5 and 5.6).

use std::ptr::null_mut;

use mrhsm_pkcs11::ck::*;

use super::app::{App, init_token, open, rows, user};
use crate::ffi::host::{Host, SO_PIN, USER_PIN, alone, ck};

/// A token with a user PIN, and nobody logged in.
fn token(host: &Host) -> CK_SLOT_ID {
    host.initialize();
    host.make_token()
}

#[test]
fn every_state_and_what_leads_from_it() {
    alone(|host| {
        let slot = token(host);
        let (read, write) = (
            open(host, slot, false).unwrap(),
            open(host, slot, true).unwrap(),
        );
        let states = || (read.state(), write.state());
        assert_eq!(states(), (CKS_RO_PUBLIC_SESSION, CKS_RW_PUBLIC_SESSION));
        assert_eq!(read.logout(), Err(CKR_USER_NOT_LOGGED_IN));
        // Login is the token's: from whichever session, it is all sessions'.
        assert_eq!(read.login(CKU_USER, USER_PIN), Ok(()));
        assert_eq!(states(), (CKS_RO_USER_FUNCTIONS, CKS_RW_USER_FUNCTIONS));
        assert_eq!(
            open(host, slot, true).unwrap().state(),
            CKS_RW_USER_FUNCTIONS
        );
        assert_eq!(
            write.login(CKU_USER, USER_PIN),
            Err(CKR_USER_ALREADY_LOGGED_IN)
        );
        assert_eq!(
            write.login(CKU_USER, b"wrong pin"),
            Err(CKR_USER_ALREADY_LOGGED_IN)
        );
        assert!(matches!(
            write.login(CKU_SO, SO_PIN),
            Err(CKR_USER_ANOTHER_ALREADY_LOGGED_IN | CKR_SESSION_READ_ONLY_EXISTS)
        ));
        assert_eq!(write.logout(), Ok(()));
        assert_eq!(states(), (CKS_RO_PUBLIC_SESSION, CKS_RW_PUBLIC_SESSION));
        // The SO and read-only sessions exclude each other.
        assert_eq!(
            write.login(CKU_SO, SO_PIN),
            Err(CKR_SESSION_READ_ONLY_EXISTS)
        );
        assert_eq!(
            read.login(CKU_SO, SO_PIN),
            Err(CKR_SESSION_READ_ONLY_EXISTS)
        );
        assert_eq!(read.close(), Ok(()));
        assert_eq!(write.login(CKU_SO, SO_PIN), Ok(()));
        assert_eq!(write.state(), CKS_RW_SO_FUNCTIONS);
        assert_eq!(
            open(host, slot, false).err(),
            Some(CKR_SESSION_READ_WRITE_SO_EXISTS)
        );
        assert_eq!(open(host, slot, true).unwrap().state(), CKS_RW_SO_FUNCTIONS);
        assert_eq!(write.login(CKU_SO, SO_PIN), Err(CKR_USER_ALREADY_LOGGED_IN));
        assert_eq!(
            write.login(CKU_USER, USER_PIN),
            Err(CKR_USER_ANOTHER_ALREADY_LOGGED_IN)
        );
        assert_eq!(write.logout(), Ok(()));
        assert_eq!(write.state(), CKS_RW_PUBLIC_SESSION);
        host.finalize();
    });
}

#[test]
fn what_login_refuses() {
    alone(|host| {
        let slot = token(host);
        let app = open(host, slot, true).unwrap();
        for pin in [
            &b"wrong"[..],
            b"",
            b"user-pin-567",
            b"user-pin-56789",
            &[0xff; 300],
        ] {
            assert!(
                matches!(
                    app.login(CKU_USER, pin),
                    Err(CKR_PIN_INCORRECT | CKR_PIN_LEN_RANGE | CKR_ARGUMENTS_BAD)
                ),
                "{pin:?}"
            );
            assert!(
                matches!(
                    app.login(CKU_SO, pin),
                    Err(CKR_PIN_INCORRECT | CKR_PIN_LEN_RANGE | CKR_ARGUMENTS_BAD)
                ),
                "{pin:?}"
            );
        }
        assert_eq!(app.login(CKU_USER, b"wrong pin"), Err(CKR_PIN_INCORRECT));
        assert_eq!(app.login(CKU_SO, USER_PIN), Err(CKR_PIN_INCORRECT));
        assert_eq!(app.login(CKU_USER, SO_PIN), Err(CKR_PIN_INCORRECT));
        for user in [3, 4, CK_ULONG::MAX] {
            assert_eq!(app.login(user, USER_PIN), Err(CKR_USER_TYPE_INVALID));
        }
        assert_eq!(
            app.login(CKU_CONTEXT_SPECIFIC, USER_PIN),
            Err(CKR_OPERATION_NOT_INITIALIZED)
        );
        assert_eq!(
            ck!(host.C_Login(app.session, CKU_USER, null_mut(), 4)),
            CKR_ARGUMENTS_BAD
        );
        assert_eq!(
            ck!(host.C_Login(app.session, CKU_USER, null_mut(), 0)),
            CKR_ARGUMENTS_BAD
        );
        assert_eq!(app.state(), CKS_RW_PUBLIC_SESSION);
        // By name (3.0): no token here knows its users by name.
        let mut name = *b"alice";
        let (pin, len) = (USER_PIN.as_ptr().cast_mut(), USER_PIN.len() as CK_ULONG);
        assert_ne!(
            ck!(host.C_LoginUser(app.session, CKU_USER, pin, len, name.as_mut_ptr(), 5)),
            CKR_OK
        );
        assert_eq!(
            ck!(host.C_LoginUser(app.session, CKU_USER, pin, len, null_mut(), 0)),
            CKR_OK
        );
        host.finalize();
    });
}

#[test]
fn opening_and_closing() {
    alone(|host| {
        let slot = token(host);
        let mut session = 0;
        let mut opened =
            |slot, flags| ck!(host.C_OpenSession(slot, flags, null_mut(), None, &mut session));
        assert_eq!(
            opened(slot, CKF_RW_SESSION),
            CKR_SESSION_PARALLEL_NOT_SUPPORTED
        );
        assert_eq!(opened(slot, 0), CKR_SESSION_PARALLEL_NOT_SUPPORTED);
        assert_eq!(opened(0x7fff_fff0, CKF_SERIAL_SESSION), CKR_SLOT_ID_INVALID);
        assert_eq!(
            opened(*host.slots().last().unwrap(), CKF_SERIAL_SESSION),
            CKR_TOKEN_NOT_RECOGNIZED
        );
        assert_eq!(
            ck!(host.C_OpenSession(slot, CKF_SERIAL_SESSION, null_mut(), None, null_mut())),
            CKR_ARGUMENTS_BAD
        );

        let (a, b) = (
            open(host, slot, true).unwrap(),
            open(host, slot, false).unwrap(),
        );
        let info = host.token_info(slot);
        assert_eq!((info.ulSessionCount, info.ulRwSessionCount), (2, 1));
        let mut told = CK_SESSION_INFO::default();
        assert_eq!(ck!(host.C_GetSessionInfo(b.session, &mut told)), CKR_OK);
        assert_eq!(
            (told.slotID, told.flags, told.ulDeviceError),
            (slot, CKF_SERIAL_SESSION, 0)
        );
        assert_eq!(a.close(), Ok(()));
        assert_eq!(a.close(), Err(CKR_SESSION_HANDLE_INVALID));
        assert_eq!(a.login(CKU_USER, USER_PIN), Err(CKR_SESSION_HANDLE_INVALID));
        // The last session to close logs out; the others do not.
        let c = open(host, slot, true).unwrap();
        assert_eq!(b.login(CKU_USER, USER_PIN), Ok(()));
        assert_eq!(b.close(), Ok(()));
        assert_eq!(c.state(), CKS_RW_USER_FUNCTIONS);
        assert_eq!(c.close(), Ok(()));
        let d = open(host, slot, true).unwrap();
        assert_eq!(d.state(), CKS_RW_PUBLIC_SESSION);
        assert_ne!(d.session, a.session, "handles are not used again");
        // All at once, of that slot.
        assert_eq!(d.login(CKU_USER, USER_PIN), Ok(()));
        assert_eq!(
            ck!(host.C_CloseAllSessions(0x7fff_fff0)),
            CKR_SLOT_ID_INVALID
        );
        assert_eq!(ck!(host.C_CloseAllSessions(slot)), CKR_OK);
        assert_eq!(ck!(host.C_CloseAllSessions(slot)), CKR_OK);
        assert_eq!(d.close(), Err(CKR_SESSION_HANDLE_INVALID));
        assert_eq!(
            open(host, slot, false).unwrap().state(),
            CKS_RO_PUBLIC_SESSION
        );
        host.finalize();
    });
}

#[test]
fn tokens_do_not_know_of_each_other() {
    alone(|host| {
        let one = token(host);
        let free = *host.slots().last().unwrap();
        assert_eq!(init_token(host, free, SO_PIN, "other"), Ok(()));
        let other = *host
            .slots()
            .iter()
            .find(|s| host.token_info(**s).label.starts_with(b"other "))
            .unwrap();
        let (a, b) = (
            open(host, one, true).unwrap(),
            open(host, other, true).unwrap(),
        );
        assert_eq!(a.login(CKU_USER, USER_PIN), Ok(()));
        assert_eq!(
            (a.state(), b.state()),
            (CKS_RW_USER_FUNCTIONS, CKS_RW_PUBLIC_SESSION)
        );
        assert_eq!(
            b.login(CKU_USER, USER_PIN),
            Err(CKR_USER_PIN_NOT_INITIALIZED)
        );
        assert_eq!(b.login(CKU_SO, SO_PIN), Ok(()));
        let key = a.aes();
        assert_eq!(b.get(key, CKA_CLASS), Err(CKR_OBJECT_HANDLE_INVALID));
        assert_eq!(
            b.encrypt_init(CKM_AES_ECB, key),
            Err(CKR_KEY_HANDLE_INVALID)
        );
        assert_eq!(b.find(&rows![CKA_CLASS: CKO_SECRET_KEY]), Ok(vec![]));
        // Making one of them anew leaves the other as it was.
        assert_eq!(
            init_token(host, other, SO_PIN, "anew"),
            Err(CKR_SESSION_EXISTS)
        );
        assert_eq!(ck!(host.C_CloseAllSessions(other)), CKR_OK);
        assert_eq!(
            init_token(host, other, b"not this", "anew"),
            Err(CKR_PIN_INCORRECT)
        );
        assert!(host.token_info(other).label.starts_with(b"other "));
        assert_eq!(init_token(host, other, SO_PIN, "anew"), Ok(()));
        assert!(host.token_info(other).label.starts_with(b"anew "));
        // A label that ends as strings do in C ends there.
        assert_eq!(init_token(host, other, SO_PIN, "string\0behind"), Ok(()));
        assert!(host.token_info(other).label.starts_with(b"string   "));
        assert_eq!(a.state(), CKS_RW_USER_FUNCTIONS);
        assert_eq!(a.number(key, CKA_CLASS), CKO_SECRET_KEY);
        host.finalize();
    });
}

#[test]
fn a_token_made_anew_is_empty_and_has_no_user() {
    alone(|host| {
        let (slot, app) = user(host);
        let data = rows![CKA_CLASS: CKO_DATA, CKA_TOKEN: true, CKA_PRIVATE: true, CKA_VALUE: b"x"];
        app.create(&data).unwrap();
        assert_eq!(
            init_token(host, slot, SO_PIN, "again"),
            Err(CKR_SESSION_EXISTS)
        );
        app.close().unwrap();
        assert_eq!(
            host.token_info(slot).flags & CKF_USER_PIN_INITIALIZED,
            CKF_USER_PIN_INITIALIZED
        );
        let mut label = [b' '; 32];
        assert_eq!(
            ck!(host.C_InitToken(slot, null_mut(), 0, label.as_mut_ptr())),
            CKR_ARGUMENTS_BAD
        );
        assert_eq!(
            ck!(host.C_InitToken(
                slot,
                SO_PIN.as_ptr().cast_mut(),
                SO_PIN.len() as CK_ULONG,
                null_mut()
            )),
            CKR_ARGUMENTS_BAD
        );
        assert_eq!(
            init_token(host, 0x7fff_fff0, SO_PIN, "again"),
            Err(CKR_SLOT_ID_INVALID)
        );
        assert_eq!(init_token(host, slot, SO_PIN, "again"), Ok(()));
        assert_eq!(
            host.token_info(slot).flags & (CKF_USER_PIN_INITIALIZED | CKF_TOKEN_INITIALIZED),
            CKF_TOKEN_INITIALIZED
        );
        let app = open(host, slot, true).unwrap();
        assert_eq!(
            app.login(CKU_USER, USER_PIN),
            Err(CKR_USER_PIN_NOT_INITIALIZED)
        );
        assert_eq!(app.login(CKU_SO, SO_PIN), Ok(()));
        assert_eq!(app.init_pin(b"new user"), Ok(()));
        app.logout().unwrap();
        assert_eq!(app.login(CKU_USER, b"new user"), Ok(()));
        assert_eq!(app.find(&rows![]), Ok(vec![]));
        host.finalize();
    });
}

#[test]
fn pins_are_set_by_those_who_may() {
    alone(|host| {
        let slot = token(host);
        let (app, read) = (
            open(host, slot, true).unwrap(),
            open(host, slot, false).unwrap(),
        );
        let long = [b'p'; 300];
        // (who calls, session, result of C_InitPIN): the SO only, in a read-write session.
        assert_eq!(app.init_pin(b"new pin"), Err(CKR_USER_NOT_LOGGED_IN));
        app.login(CKU_USER, USER_PIN).unwrap();
        assert_eq!(app.init_pin(b"new pin"), Err(CKR_USER_NOT_LOGGED_IN));
        // C_SetPIN: whoever knows the old PIN, in a read-write session.
        assert_eq!(
            read.set_pin(USER_PIN, b"new pin"),
            Err(CKR_SESSION_READ_ONLY)
        );
        assert_eq!(app.set_pin(b"wrong", b"new pin"), Err(CKR_PIN_INCORRECT));
        assert_eq!(app.set_pin(USER_PIN, b"abc"), Err(CKR_PIN_LEN_RANGE));
        assert_eq!(app.set_pin(USER_PIN, &long), Err(CKR_PIN_LEN_RANGE));
        assert_eq!(app.set_pin(USER_PIN, b"new pin"), Ok(()));
        assert_eq!(app.state(), CKS_RW_USER_FUNCTIONS);
        app.logout().unwrap();
        assert_eq!(app.login(CKU_USER, USER_PIN), Err(CKR_PIN_INCORRECT));
        assert_eq!(
            read.set_pin(b"new pin", USER_PIN),
            Err(CKR_SESSION_READ_ONLY)
        );
        assert_eq!(
            app.set_pin(b"new pin", USER_PIN),
            Ok(()),
            "of the user, when nobody is logged in"
        );
        read.close().unwrap();
        app.login(CKU_SO, SO_PIN).unwrap();
        assert_eq!(app.set_pin(USER_PIN, b"new so pin"), Err(CKR_PIN_INCORRECT));
        assert_eq!(app.set_pin(SO_PIN, b"new so pin"), Ok(()));
        assert_eq!(app.init_pin(b"abc"), Err(CKR_PIN_LEN_RANGE));
        assert_eq!(app.init_pin(&long), Err(CKR_PIN_LEN_RANGE));
        assert_eq!(app.init_pin(b"of the user"), Ok(()));
        app.logout().unwrap();
        assert_eq!(app.login(CKU_SO, SO_PIN), Err(CKR_PIN_INCORRECT));
        assert_eq!(app.login(CKU_SO, b"new so pin"), Ok(()));
        app.logout().unwrap();
        assert_eq!(app.login(CKU_USER, b"of the user"), Ok(()));
        let info = host.token_info(slot);
        assert!(
            info.ulMinPinLen >= 1 && info.ulMaxPinLen >= 64 && info.ulMinPinLen < info.ulMaxPinLen
        );
        host.finalize();
    });
}

#[test]
fn logout_takes_private_objects_away() {
    alone(|host| {
        let (slot, app) = user(host);
        let make = |token: bool, private: bool| {
            app.create(&rows![CKA_CLASS: CKO_DATA, CKA_TOKEN: token, CKA_PRIVATE: private, CKA_VALUE: b"v"]).unwrap()
        };
        let (session_private, session_public) = (make(false, true), make(false, false));
        let (token_private, token_public) = (make(true, true), make(true, false));
        let key = app.aes();
        app.encrypt_init(CKM_AES_ECB, key).unwrap();
        // A token of a key manager shows the public objects of a login that has seen all.
        app.find(&rows![CKA_TOKEN: true]).unwrap();
        app.logout().unwrap();
        assert!(
            app.encrypt_now(&[0; 16]).is_err(),
            "an operation does not outlive the login that its key needs"
        );
        for object in [session_private, token_private, key] {
            assert_eq!(app.get(object, CKA_CLASS), Err(CKR_OBJECT_HANDLE_INVALID));
        }
        assert_eq!(app.number(session_public, CKA_CLASS), CKO_DATA);
        assert_eq!(app.number(token_public, CKA_CLASS), CKO_DATA);
        assert_eq!(app.get(token_public, CKA_VALUE), Ok(b"v".to_vec()));
        assert_eq!(app.destroy(token_public), Err(CKR_ACTION_PROHIBITED));
        assert_eq!(
            app.create(&rows![CKA_CLASS: CKO_DATA, CKA_PRIVATE: true]),
            Err(CKR_USER_NOT_LOGGED_IN)
        );
        assert_eq!(
            app.generate(
                CKM_AES_KEY_GEN,
                &rows![CKA_VALUE_LEN: 16, CKA_PRIVATE: true]
            ),
            Err(CKR_USER_NOT_LOGGED_IN)
        );
        assert!(app.find(&rows![CKA_PRIVATE: true]).unwrap().is_empty());
        // The SO sees as little of them.
        app.login(CKU_SO, SO_PIN).unwrap();
        assert!(app.find(&rows![CKA_PRIVATE: true]).unwrap().is_empty());
        assert_eq!(
            app.create(&rows![CKA_CLASS: CKO_DATA, CKA_PRIVATE: true]),
            Err(CKR_USER_NOT_LOGGED_IN)
        );
        app.logout().unwrap();
        app.login(CKU_USER, USER_PIN).unwrap();
        let found = app.find(&rows![CKA_PRIVATE: true]).unwrap();
        assert_eq!(found.len(), 1, "the token object");
        assert!(
            ![session_private, token_private, key].contains(&found[0]),
            "old handles do not come back to life"
        );
        assert_eq!(
            app.find(&rows![CKA_TOKEN: true, CKA_PRIVATE: false])
                .unwrap()
                .len(),
            1
        );
        assert_eq!(app.number(token_public, CKA_CLASS), CKO_DATA);
        assert_eq!(
            open(host, slot, false).unwrap().state(),
            CKS_RO_USER_FUNCTIONS
        );
        host.finalize();
    });
}

#[test]
fn session_objects_die_with_their_session_and_are_everybodys_until_then() {
    alone(|host| {
        let (slot, app) = user(host);
        let other = open(host, slot, false).unwrap();
        let (mine, theirs) = (app.aes(), other.aes());
        assert_eq!(app.number(theirs, CKA_KEY_TYPE), CKK_AES);
        assert!(app.encrypt(CKM_AES_ECB, theirs, &[0; 16]).is_ok());
        other.close().unwrap();
        assert_eq!(
            app.get(theirs, CKA_KEY_TYPE),
            Err(CKR_OBJECT_HANDLE_INVALID)
        );
        assert_eq!(app.find(&rows![CKA_CLASS: CKO_SECRET_KEY]), Ok(vec![mine]));
        host.finalize();
    });
}

#[test]
fn a_key_that_always_authenticates_wants_the_pin_for_every_use() {
    alone(|host| {
        let (_, app) = user(host);
        let p256 = rows![CKA_EC_PARAMS: b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07"];
        let always = rows![CKA_ALWAYS_AUTHENTICATE: true];
        assert_eq!(
            app.pair(
                CKM_EC_KEY_PAIR_GEN,
                &p256,
                &rows![; always, CKA_PRIVATE: false]
            ),
            Err(CKR_TEMPLATE_INCONSISTENT)
        );
        for token in [false, true] {
            let (public, key) = app
                .pair(
                    CKM_EC_KEY_PAIR_GEN,
                    &p256,
                    &rows![; always, CKA_TOKEN: token],
                )
                .unwrap();
            assert!(app.flag(key, CKA_ALWAYS_AUTHENTICATE));
            for _ in 0..2 {
                app.sign_init(CKM_ECDSA_SHA256, key).unwrap();
                assert_eq!(
                    app.login(CKU_CONTEXT_SPECIFIC, b"wrong"),
                    Err(CKR_PIN_INCORRECT)
                );
                assert_eq!(
                    app.login(CKU_CONTEXT_SPECIFIC, SO_PIN),
                    Err(CKR_PIN_INCORRECT)
                );
                assert_eq!(
                    app.state(),
                    CKS_RW_USER_FUNCTIONS,
                    "and nobody is logged out"
                );
                assert_eq!(app.login(CKU_CONTEXT_SPECIFIC, USER_PIN), Ok(()));
                let signature = app.sign_now(b"data").unwrap();
                assert_eq!(
                    app.verify(CKM_ECDSA_SHA256, public, b"data", &signature),
                    Ok(())
                );
                assert_eq!(
                    app.login(CKU_CONTEXT_SPECIFIC, USER_PIN),
                    Err(CKR_OPERATION_NOT_INITIALIZED)
                );
                // Without it the use fails, and ends as any other that fails (5.13): nothing is left to log in for.
                for wrong in [None, Some(b"wrong")] {
                    app.sign_init(CKM_ECDSA_SHA256, key).unwrap();
                    if let Some(wrong) = wrong {
                        assert_eq!(
                            app.login(CKU_CONTEXT_SPECIFIC, wrong),
                            Err(CKR_PIN_INCORRECT)
                        );
                    }
                    assert_eq!(app.sign_now(b"data"), Err(CKR_USER_NOT_LOGGED_IN));
                    assert_eq!(
                        app.login(CKU_CONTEXT_SPECIFIC, USER_PIN),
                        Err(CKR_OPERATION_NOT_INITIALIZED)
                    );
                }
            }
        }
        host.finalize();
    });
}

/// What a session may make and change, by what it is and who is logged in.
#[test]
fn rights_of_sessions() {
    alone(|host| {
        let (slot, app) = user(host);
        let data = |token: bool, private: bool| rows![CKA_CLASS: CKO_DATA, CKA_TOKEN: token, CKA_PRIVATE: private];
        let tokens = [
            app.create(&data(true, true)).unwrap(),
            app.create(&data(true, false)).unwrap(),
        ];
        let read = open(host, slot, false).unwrap();
        for private in [false, true] {
            assert_eq!(
                read.create(&data(true, private)),
                Err(CKR_SESSION_READ_ONLY)
            );
            let mine = read.create(&data(false, private)).unwrap();
            assert_eq!(
                read.set(mine, &rows![CKA_LABEL: b"a session object"]),
                Ok(())
            );
            assert_eq!(
                read.copy(mine, &rows![CKA_TOKEN: true]),
                Err(CKR_SESSION_READ_ONLY)
            );
            assert_eq!(read.destroy(mine), Ok(()));
        }
        for object in tokens {
            assert_eq!(
                read.set(object, &rows![CKA_LABEL: b"x"]),
                Err(CKR_SESSION_READ_ONLY)
            );
            assert_eq!(read.destroy(object), Err(CKR_SESSION_READ_ONLY));
            assert!(read.copy(object, &rows![CKA_TOKEN: false]).is_ok());
        }
        let key = rows![CKA_TOKEN: true, CKA_VALUE_LEN: 16];
        assert_eq!(
            read.generate(CKM_AES_KEY_GEN, &key),
            Err(CKR_SESSION_READ_ONLY)
        );
        let p256 = rows![CKA_EC_PARAMS: b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07"];
        assert_eq!(
            read.pair(CKM_EC_KEY_PAIR_GEN, &p256, &rows![CKA_TOKEN: true]),
            Err(CKR_SESSION_READ_ONLY)
        );
        let (kek, aes) = (read.aes(), read.aes());
        let wrapped = read.wrap(CKM_AES_KEY_WRAP, kek, aes).unwrap();
        let secret = rows![CKA_CLASS: CKO_SECRET_KEY, CKA_KEY_TYPE: CKK_AES, CKA_TOKEN: true];
        assert_eq!(
            read.unwrap(CKM_AES_KEY_WRAP, kek, &wrapped, &secret),
            Err(CKR_SESSION_READ_ONLY)
        );
        let derived = rows![CKA_TOKEN: true, CKA_CLASS: CKO_SECRET_KEY];
        assert_eq!(
            read.derive(CKM_SHA256_KEY_DERIVATION, aes, &derived),
            Err(CKR_SESSION_READ_ONLY)
        );
        // Everybody may, without a login, in a session and in public.
        ck!(host.C_CloseAllSessions(slot));
        let public = App {
            host,
            session: open(host, slot, false).unwrap().session,
        };
        assert_eq!(
            public.create(&data(false, true)),
            Err(CKR_USER_NOT_LOGGED_IN)
        );
        assert!(public.create(&data(false, false)).is_ok());
        host.finalize();
    });
}
