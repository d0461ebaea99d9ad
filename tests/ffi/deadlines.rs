//! A server that falls silent, or answers everything just in time: no function of the module takes longer than the deadline.

use std::ptr::null_mut;
use std::time::{Duration, Instant};

use mrhsm_pkcs11::ck::*;

use super::host::{Host, USER_PIN, alone, attribute, ck, kmip_token, mechanism};
use crate::kmip_server::{Fault, Personality, Script, Server};

const DEADLINE: Duration = Duration::from_secs(2);
/// A mistake would wait for two deadlines, one after the other; a busy machine needs something beside one.
const LATE: Duration = DEADLINE.saturating_mul(2);

/// A secret key; an RSA pair; both stay on the server.
struct Keys {
    secret: CK_OBJECT_HANDLE,
    private: CK_OBJECT_HANDLE,
}

fn generate(host: &Host, session: CK_SESSION_HANDLE) -> (CK_RV, CK_OBJECT_HANDLE) {
    let (mut len, mut yes, mut no, mut key) = (32 as CK_ULONG, CK_TRUE, CK_FALSE, 0);
    let mut template = [
        attribute(CKA_VALUE_LEN, &mut len),
        attribute(CKA_TOKEN, &mut yes),
        attribute(CKA_EXTRACTABLE, &mut no),
    ];
    let mut generate = mechanism(CKM_AES_KEY_GEN);
    (
        ck!(host.C_GenerateKey(session, &mut generate, template.as_mut_ptr(), 3, &mut key)),
        key,
    )
}

fn generate_pair(host: &Host, session: CK_SESSION_HANDLE) -> (CK_RV, CK_OBJECT_HANDLE) {
    let (mut bits, mut yes, mut public, mut private) = (2048 as CK_ULONG, CK_TRUE, 0, 0);
    let mut of_public = [
        attribute(CKA_MODULUS_BITS, &mut bits),
        attribute(CKA_TOKEN, &mut yes),
    ];
    let mut of_private = [attribute(CKA_TOKEN, &mut yes.clone())];
    let mut generate = mechanism(CKM_RSA_PKCS_KEY_PAIR_GEN);
    let rv = ck!(host.C_GenerateKeyPair(
        session,
        &mut generate,
        of_public.as_mut_ptr(),
        2,
        of_private.as_mut_ptr(),
        1,
        &mut public,
        &mut private
    ));
    (rv, private)
}

/// Every function that may ask the server, and how it went.
fn calls(
    host: &Host,
    slot: CK_SLOT_ID,
    session: CK_SESSION_HANDLE,
    keys: &Keys,
) -> Vec<(&'static str, CK_RV, Duration)> {
    let mut took = Vec::new();
    let mut time = |name, call: &mut dyn FnMut() -> CK_RV| {
        let start = Instant::now();
        let rv = call();
        took.push((name, rv, start.elapsed()));
    };
    let mut text = *b"sixteen bytes...";
    let mut out = [0u8; 512];
    let mut cbc = [1u8; 16];
    time("C_GetTokenInfo", &mut || {
        ck!(host.C_GetTokenInfo(slot, &mut CK_TOKEN_INFO::default()))
    });
    time("C_GetMechanismList", &mut || {
        let mut count = 0;
        ck!(host.C_GetMechanismList(slot, null_mut(), &mut count))
    });
    time("C_OpenSession", &mut || {
        let mut other = 0;
        ck!(host.C_OpenSession(slot, CKF_SERIAL_SESSION, null_mut(), None, &mut other))
    });
    for decrypt in [false, true] {
        let mut mechanism = CK_MECHANISM {
            pParameter: cbc.as_mut_ptr().cast(),
            ulParameterLen: 16,
            ..mechanism(CKM_AES_CBC)
        };
        let mut len = out.len() as CK_ULONG;
        if decrypt {
            time("C_DecryptInit", &mut || {
                ck!(host.C_DecryptInit(session, &mut mechanism, keys.secret))
            });
            time("C_Decrypt", &mut || {
                ck!(host.C_Decrypt(session, text.as_mut_ptr(), 16, out.as_mut_ptr(), &mut len))
            });
        } else {
            time("C_EncryptInit", &mut || {
                ck!(host.C_EncryptInit(session, &mut mechanism, keys.secret))
            });
            time("C_Encrypt", &mut || {
                ck!(host.C_Encrypt(session, text.as_mut_ptr(), 16, out.as_mut_ptr(), &mut len))
            });
        }
    }
    time("C_SignInit", &mut || {
        ck!(host.C_SignInit(session, &mut mechanism(CKM_SHA256_RSA_PKCS), keys.private))
    });
    time("C_Sign", &mut || {
        let mut len = out.len() as CK_ULONG;
        ck!(host.C_Sign(session, text.as_mut_ptr(), 16, out.as_mut_ptr(), &mut len))
    });
    time("C_GenerateRandom", &mut || {
        ck!(host.C_GenerateRandom(session, out.as_mut_ptr(), 32))
    });
    time("C_GetAttributeValue", &mut || {
        let mut label = [0u8; 64];
        let mut template = [attribute(CKA_LABEL, &mut label)];
        ck!(host.C_GetAttributeValue(session, keys.secret, template.as_mut_ptr(), 1))
    });
    time("C_SetAttributeValue", &mut || {
        let mut label = *b"another";
        let mut template = [attribute(CKA_LABEL, &mut label)];
        ck!(host.C_SetAttributeValue(session, keys.secret, template.as_mut_ptr(), 1))
    });
    time("C_GetObjectSize", &mut || {
        let mut size = 0;
        ck!(host.C_GetObjectSize(session, keys.secret, &mut size))
    });
    time("C_CopyObject", &mut || {
        let (mut label, mut copy) = (*b"copy", 0);
        let mut template = [attribute(CKA_LABEL, &mut label)];
        ck!(host.C_CopyObject(session, keys.secret, template.as_mut_ptr(), 1, &mut copy))
    });
    time("C_CreateObject", &mut || {
        let (mut class, mut kind, mut value, mut yes, mut key) =
            (CKO_SECRET_KEY, CKK_AES, [7u8; 32], CK_TRUE, 0);
        let mut template = [
            attribute(CKA_CLASS, &mut class),
            attribute(CKA_KEY_TYPE, &mut kind),
            attribute(CKA_VALUE, &mut value),
            attribute(CKA_TOKEN, &mut yes),
        ];
        ck!(host.C_CreateObject(session, template.as_mut_ptr(), 4, &mut key))
    });
    time("C_FindObjectsInit", &mut || {
        let mut label = *b"nobody's label";
        let mut template = [attribute(CKA_LABEL, &mut label)];
        ck!(host.C_FindObjectsInit(session, template.as_mut_ptr(), 1))
    });
    time("C_FindObjects", &mut || {
        let (mut found, mut count) = ([0; 16], 0);
        ck!(host.C_FindObjects(session, found.as_mut_ptr(), 16, &mut count))
    });
    time("C_FindObjectsFinal", &mut || {
        ck!(host.C_FindObjectsFinal(session))
    });
    time("C_GenerateKey", &mut || generate(host, session).0);
    time("C_GenerateKeyPair", &mut || generate_pair(host, session).0);
    time("C_DestroyObject", &mut || {
        ck!(host.C_DestroyObject(session, keys.secret))
    });
    time("C_Logout", &mut || ck!(host.C_Logout(session)));
    time("C_Login", &mut || host.login(session, CKU_USER, USER_PIN));
    time("C_CloseAllSessions", &mut || {
        ck!(host.C_CloseAllSessions(slot))
    });
    took
}

#[test]
fn no_function_takes_longer_than_the_deadline() {
    alone(|host| {
        let faults = [
            Fault::Silence,
            Fault::HalfFrame,
            Fault::Delay(DEADLINE * 2 / 5),
            Fault::Delay(DEADLINE * 4 / 5),
        ];
        let personalities = [Personality::pykmip_like(), Personality::standard()];
        let cases: Vec<_> = personalities
            .iter()
            .flat_map(|personality| {
                faults
                    .iter()
                    .map(move |fault| (personality.name, personality, fault))
            })
            .map(|(name, personality, fault)| {
                let server = Server::start(personality.clone(), Script::none());
                (name, fault, kmip_token(server.port(), DEADLINE), server)
            })
            .collect();
        host.initialize();
        std::thread::scope(|scope| {
            for (name, fault, slot, server) in &cases {
                scope.spawn(move || {
                    let session = host.open(*slot);
                    assert_eq!(host.login(session, CKU_USER, USER_PIN), CKR_OK);
                    let ((first, secret), (second, private)) =
                        (generate(host, session), generate_pair(host, session));
                    assert_eq!((first, second), (CKR_OK, CKR_OK));
                    server.script(Script::none().always((*fault).clone()));
                    let calls = calls(host, *slot, session, &Keys { secret, private });
                    let late: Vec<_> = calls.iter().filter(|(_, _, took)| *took >= LATE).collect();
                    assert!(late.is_empty(), "{name} {fault:?}: {late:?}");
                    let longest = calls.iter().map(|(_, _, took)| *took).max();
                    assert!(
                        longest >= Some(DEADLINE / 3),
                        "{name} {fault:?}: nothing waited for the server"
                    );
                });
            }
        });
        let start = Instant::now();
        host.finalize();
        assert!(start.elapsed() < DEADLINE);
    });
}
