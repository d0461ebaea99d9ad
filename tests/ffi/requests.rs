//! Keys on a KMIP server: how many requests each call costs, and how long threads wait for each other.

use std::ptr::null_mut;
use std::thread;
use std::time::{Duration, Instant};

use mrhsm_pkcs11::ck::*;
use mrhsm_pkcs11::kmip::OperationCode;

use super::host::{Host, USER_PIN, alone, attribute, ck, kmip_token, mechanism};
use crate::kmip_server::{Fault, Personality, Script, Server};

const DEADLINE: Duration = Duration::from_secs(10);

/// An AES-256 key that stays on the server.
fn server_key(host: &Host, session: CK_SESSION_HANDLE) -> CK_OBJECT_HANDLE {
    let (mut len, mut yes, mut no, mut key) = (32 as CK_ULONG, CK_TRUE, CK_FALSE, 0);
    let mut template = [
        attribute(CKA_VALUE_LEN, &mut len),
        attribute(CKA_TOKEN, &mut yes),
        attribute(CKA_SENSITIVE, &mut yes.clone()),
        attribute(CKA_EXTRACTABLE, &mut no),
    ];
    let (mut generate, count) = (mechanism(CKM_AES_KEY_GEN), template.len() as CK_ULONG);
    assert_eq!(
        ck!(host.C_GenerateKey(
            session,
            &mut generate,
            template.as_mut_ptr(),
            count,
            &mut key
        )),
        CKR_OK
    );
    key
}

/// An AES-256 key of the token, called "the key".
fn labelled_key(host: &Host, session: CK_SESSION_HANDLE) {
    let (mut len, mut yes, mut label, mut key) = (32 as CK_ULONG, CK_TRUE, *b"the key", 0);
    let mut template = [
        attribute(CKA_VALUE_LEN, &mut len),
        attribute(CKA_TOKEN, &mut yes),
        attribute(CKA_LABEL, &mut label),
    ];
    assert_eq!(
        ck!(host.C_GenerateKey(
            session,
            &mut mechanism(CKM_AES_KEY_GEN),
            template.as_mut_ptr(),
            3,
            &mut key
        )),
        CKR_OK
    );
}

/// A P-256 key pair that stays on the server.
fn p256_pair(host: &Host, session: CK_SESSION_HANDLE) {
    let (mut curve, mut yes) = (
        [0x06u8, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
        CK_TRUE,
    );
    let mut public = [
        attribute(CKA_EC_PARAMS, &mut curve),
        attribute(CKA_TOKEN, &mut yes),
    ];
    let mut private = [attribute(CKA_TOKEN, &mut yes.clone())];
    let (public, private, mut generate) = (
        public.as_mut_ptr(),
        private.as_mut_ptr(),
        mechanism(CKM_EC_KEY_PAIR_GEN),
    );
    assert_eq!(
        ck!(host.C_GenerateKeyPair(
            session,
            &mut generate,
            public,
            2,
            private,
            1,
            &mut 0,
            &mut 0
        )),
        CKR_OK
    );
}

/// The key that is there.
fn first_key(host: &Host, session: CK_SESSION_HANDLE) -> CK_OBJECT_HANDLE {
    let (mut class, mut key, mut count) = (CKO_SECRET_KEY, 0, 0);
    let mut template = [attribute(CKA_CLASS, &mut class)];
    assert_eq!(
        ck!(host.C_FindObjectsInit(session, template.as_mut_ptr(), 1)),
        CKR_OK
    );
    assert_eq!(
        ck!(host.C_FindObjects(session, &mut key, 1, &mut count)),
        CKR_OK
    );
    assert_eq!((ck!(host.C_FindObjectsFinal(session)), count), (CKR_OK, 1));
    key
}

/// Encrypts 32 bytes; `room` as in C.
fn encrypt(host: &Host, session: CK_SESSION_HANDLE, room: Option<CK_ULONG>) -> (CK_RV, CK_ULONG) {
    let (mut text, mut out) = ([7u8; 32], [0u8; 64]);
    let mut len = room.unwrap_or(0);
    let at = if room.is_some() {
        out.as_mut_ptr()
    } else {
        null_mut()
    };
    let rv = ck!(host.C_Encrypt(session, text.as_mut_ptr(), 32, at, &mut len));
    (rv, len)
}

fn encrypt_init(host: &Host, session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE) {
    let mut iv = [1u8; 16];
    let mut cbc = CK_MECHANISM {
        pParameter: iv.as_mut_ptr().cast(),
        ulParameterLen: 16,
        ..mechanism(CKM_AES_CBC_PAD)
    };
    assert_eq!(ck!(host.C_EncryptInit(session, &mut cbc, key)), CKR_OK);
}

#[test]
fn what_needs_no_server_asks_none_and_an_encryption_asks_once() {
    alone(|host| {
        let server = Server::start(Personality::pykmip_like(), Script::none());
        let slot = kmip_token(server.port(), DEADLINE);
        host.initialize();
        for slot in host.slots() {
            let mut info = CK_SLOT_INFO::default();
            assert_eq!(ck!(host.C_GetSlotInfo(slot, &mut info)), CKR_OK);
            host.token_info(slot);
        }
        assert_eq!(
            (server.count(), server.accepted()),
            (0, 0),
            "C_Initialize and listing slots"
        );

        let session = host.open(slot);
        assert_eq!(host.login(session, CKU_USER, USER_PIN), CKR_OK);
        let key = server_key(host, session);
        // The first use may prove things about the server.
        encrypt_init(host, session, key);
        assert_eq!(encrypt(host, session, Some(64)), (CKR_OK, 48));
        server.clear_log();
        encrypt_init(host, session, key);
        assert_eq!(encrypt(host, session, None), (CKR_OK, 48));
        assert_eq!(encrypt(host, session, Some(47)), (CKR_BUFFER_TOO_SMALL, 48));
        assert_eq!(
            server.operations(),
            [],
            "C_EncryptInit, a size query, a buffer too small"
        );
        assert_eq!(encrypt(host, session, Some(48)), (CKR_OK, 48));
        assert_eq!(server.operations(), [OperationCode::ENCRYPT]);
        assert_eq!(server.count(), 1);

        server.clear_log();
        let (mut digest, mut random, mut len) = ([0u8; 32], [0u8; 32], 32);
        assert_eq!(
            ck!(host.C_DigestInit(session, &mut mechanism(CKM_SHA256))),
            CKR_OK
        );
        assert_eq!(
            ck!(host.C_Digest(
                session,
                random.as_mut_ptr(),
                32,
                digest.as_mut_ptr(),
                &mut len
            )),
            CKR_OK
        );
        assert_eq!(
            ck!(host.C_GenerateRandom(session, random.as_mut_ptr(), 32)),
            CKR_OK
        );
        assert_eq!(server.count(), 0, "digest and random");
        host.finalize();
    });
}

/// On every server that encrypts at all.
#[test]
fn an_encryption_asks_once_whoever_the_server_is() {
    alone(|host| {
        let encrypts = |p: &Personality| p.operations.contains(&OperationCode::ENCRYPT);
        let servers: Vec<_> = Personality::all()
            .into_iter()
            .filter(encrypts)
            .map(|personality| {
                let name = personality.name;
                let server = Server::start(personality, Script::none());
                (name, kmip_token(server.port(), DEADLINE), server)
            })
            .collect();
        assert!(servers.len() >= 4);
        host.initialize();
        for (name, slot, server) in &servers {
            let session = host.open(*slot);
            assert_eq!(host.login(session, CKU_USER, USER_PIN), CKR_OK);
            let key = server_key(host, session);
            encrypt_init(host, session, key);
            assert_eq!(encrypt(host, session, Some(64)), (CKR_OK, 48), "{name}");
            server.clear_log();
            encrypt_init(host, session, key);
            assert_eq!(encrypt(host, session, Some(64)), (CKR_OK, 48), "{name}");
            assert_eq!(server.operations(), [OperationCode::ENCRYPT], "{name}");
        }
        host.finalize();
        // Nor does a process that comes later ask what is known of the server by now.
        host.initialize();
        for (name, slot, server) in &servers {
            let session = host.open(*slot);
            assert_eq!(host.login(session, CKU_USER, USER_PIN), CKR_OK);
            let key = first_key(host, session);
            encrypt_init(host, session, key);
            server.clear_log();
            assert_eq!(encrypt(host, session, Some(64)), (CKR_OK, 48), "{name}");
            assert_eq!(server.operations(), [OperationCode::ENCRYPT], "{name}");
        }
        host.finalize();
    });
}

/// A label is looked for in all places where one may be, and identifiers too, at once where the server takes several questions in one
/// message.
#[test]
fn a_search_asks_once_where_the_server_takes_several_questions() {
    alone(|host| {
        let servers: Vec<_> = Personality::all()
            .into_iter()
            .map(|personality| {
                let (name, batches) = (personality.name, personality.batches);
                let server = Server::start(personality, Script::none());
                (name, batches, kmip_token(server.port(), DEADLINE), server)
            })
            .collect();
        for later in [false, true] {
            host.initialize();
            for (name, batches, slot, server) in &servers {
                let session = host.open(*slot);
                assert_eq!(host.login(session, CKU_USER, USER_PIN), CKR_OK);
                if !later {
                    labelled_key(host, session);
                }
                server.clear_log();
                let (mut label, mut key, mut count) = (*b"the key", 0, 0);
                assert_eq!(
                    ck!(host.C_FindObjectsInit(
                        session,
                        [attribute(CKA_LABEL, &mut label)].as_mut_ptr(),
                        1
                    )),
                    CKR_OK
                );
                assert_eq!(
                    ck!(host.C_FindObjects(session, &mut key, 1, &mut count)),
                    CKR_OK
                );
                assert_eq!(
                    (ck!(host.C_FindObjectsFinal(session)), count),
                    (CKR_OK, 1),
                    "{name}"
                );
                // One that takes no batch was asked in one all the same, if nobody knew.
                let most = if *batches { 1 } else { 4 };
                assert!(
                    server.count_of(OperationCode::LOCATE) <= most,
                    "{name}: {:?}",
                    server.operations()
                );
            }
            host.finalize();
        }
    });
}

/// A program that finds its key, signs once and ends.
#[test]
fn a_key_that_was_found_signs_without_being_looked_at_again() {
    alone(|host| {
        let server = Server::start(Personality::standard(), Script::none());
        let slot = kmip_token(server.port(), DEADLINE);
        for _ in 0..2 {
            host.initialize();
            let session = host.open(slot);
            assert_eq!(host.login(session, CKU_USER, USER_PIN), CKR_OK);
            if server.count() == 0 {
                p256_pair(host, session);
            }
            let (mut class, mut key, mut count) = (CKO_PRIVATE_KEY, 0, 0);
            assert_eq!(
                ck!(host.C_FindObjectsInit(
                    session,
                    [attribute(CKA_CLASS, &mut class)].as_mut_ptr(),
                    1
                )),
                CKR_OK
            );
            assert_eq!(
                ck!(host.C_FindObjects(session, &mut key, 1, &mut count)),
                CKR_OK
            );
            assert_eq!((ck!(host.C_FindObjectsFinal(session)), count), (CKR_OK, 1));
            server.clear_log();
            let (mut digest, mut signature, mut len) = ([7u8; 32], [0u8; 64], 64);
            assert_eq!(
                ck!(host.C_SignInit(session, &mut mechanism(CKM_ECDSA), key)),
                CKR_OK
            );
            assert_eq!(
                ck!(host.C_Sign(
                    session,
                    digest.as_mut_ptr(),
                    32,
                    signature.as_mut_ptr(),
                    &mut len
                )),
                CKR_OK
            );
            host.finalize();
        }
        // Whether the server signs at all is asked once in a process.
        assert_eq!(
            server.operations(),
            [OperationCode::QUERY, OperationCode::SIGN]
        );
    });
}

#[test]
fn threads_wait_for_the_server_side_by_side() {
    const THREADS: u32 = 8;
    const DELAY: Duration = Duration::from_millis(500);
    alone(|host| {
        let server = Server::start(Personality::pykmip_like(), Script::none());
        let slot = kmip_token(server.port(), DEADLINE);
        host.initialize();
        let keeper = host.open(slot);
        assert_eq!(host.login(keeper, CKU_USER, USER_PIN), CKR_OK);
        let key = server_key(host, keeper);
        encrypt_init(host, keeper, key);
        assert_eq!(encrypt(host, keeper, Some(64)).0, CKR_OK);
        server.script(Script::none().every(OperationCode::ENCRYPT, Fault::Delay(DELAY)));
        let started = Instant::now();
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    let session = host.open(slot);
                    encrypt_init(host, session, key);
                    assert_eq!(encrypt(host, session, Some(64)).0, CKR_OK);
                });
            }
        });
        let took = started.elapsed();
        assert!(took < DELAY * THREADS / 2, "{took:?}: one after the other");
        host.finalize();
    });
}
