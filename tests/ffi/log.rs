//! The log: what it says of a session, and what it must never say.

use std::ptr::null_mut;
use std::time::Duration;

use mrhsm_pkcs11::ck::*;

use super::host::{SO_PIN, USER_PIN, alone_with, attribute, ck, kmip_token, mechanism};
use crate::kmip_server::{Personality, Script, Server};

#[test]
fn a_log_of_everything_holds_no_secret() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let environment = [
        ("MRHSM_LOG", "debug".as_ref()),
        ("MRHSM_LOG_FILE", path.as_os_str()),
    ];
    alone_with(&environment, |host| {
        host.initialize();
        let (_, session) = host.logged_in();
        assert_eq!(
            host.login(session, CKU_USER, b"wrong-pin-9"),
            CKR_USER_ALREADY_LOGGED_IN
        );
        let key = host.aes_key(session);
        let (mut iv, mut text) = (*b"initial vector 1", *b"the text that nobody shall read");
        let mut cbc = CK_MECHANISM {
            pParameter: iv.as_mut_ptr().cast(),
            ulParameterLen: 16,
            ..mechanism(CKM_AES_CBC_PAD)
        };
        let (mut out, mut len) = ([0u8; 48], 48);
        assert_eq!(ck!(host.C_EncryptInit(session, &mut cbc, key)), CKR_OK);
        assert_eq!(
            ck!(host.C_Encrypt(session, text.as_mut_ptr(), 31, out.as_mut_ptr(), &mut len)),
            CKR_OK
        );
        assert_eq!(
            ck!(host.C_Encrypt(session, text.as_mut_ptr(), 31, out.as_mut_ptr(), &mut len)),
            CKR_OPERATION_NOT_INITIALIZED
        );
        assert_eq!(ck!(host.C_Finalize(null_mut())), CKR_OK);
        let log = std::fs::read(std::env::var_os("MRHSM_LOG_FILE").unwrap()).unwrap();
        let holds = |bytes: &[u8]| log.windows(bytes.len()).any(|window| window == bytes);
        assert!(holds(b"C_Encrypt: CKR_OK") && holds(b"C_Encrypt: CKR_OPERATION_NOT_INITIALIZED"));
        for secret in [SO_PIN, USER_PIN, b"wrong-pin-9", &text] {
            assert!(!holds(secret), "{}", String::from_utf8_lossy(secret));
        }
    });
}

#[test]
fn messages_to_a_server_are_logged_without_what_is_secret() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let environment = [
        ("MRHSM_LOG", "debug".as_ref()),
        ("MRHSM_LOG_FILE", path.as_os_str()),
    ];
    alone_with(&environment, |host| {
        let server = Server::start(Personality::standard(), Script::none());
        let slot = kmip_token(server.port(), Duration::from_secs(10));
        host.initialize();
        let session = host.open(slot);
        assert_eq!(host.login(session, CKU_USER, USER_PIN), CKR_OK);
        let mut value = *b"the value of a key: 32 bytes ...";
        let mut fetched = *b"the value of a key that may go..";
        let (mut text, mut iv) = (*b"the text that nobody shall read", *b"initial vector 1");
        for (value, extractable) in [(&mut value[..], CK_FALSE), (&mut fetched[..], CK_TRUE)] {
            let (mut class, mut kind, mut yes, mut extractable) =
                (CKO_SECRET_KEY, CKK_AES, CK_TRUE, extractable);
            let mut template = [
                attribute(CKA_CLASS, &mut class),
                attribute(CKA_KEY_TYPE, &mut kind),
                attribute(CKA_TOKEN, &mut yes),
                attribute(CKA_EXTRACTABLE, &mut extractable),
                CK_ATTRIBUTE {
                    type_: CKA_VALUE,
                    pValue: value.as_mut_ptr().cast(),
                    ulValueLen: 32,
                },
            ];
            let mut key = 0;
            assert_eq!(
                ck!(host.C_CreateObject(session, template.as_mut_ptr(), 5, &mut key)),
                CKR_OK
            );
            let mut cbc = CK_MECHANISM {
                pParameter: iv.as_mut_ptr().cast(),
                ulParameterLen: 16,
                ..mechanism(CKM_AES_CBC_PAD)
            };
            let (mut out, mut len) = ([0u8; 48], 48);
            assert_eq!(ck!(host.C_EncryptInit(session, &mut cbc, key)), CKR_OK);
            assert_eq!(
                ck!(host.C_Encrypt(session, text.as_mut_ptr(), 31, out.as_mut_ptr(), &mut len)),
                CKR_OK
            );
            assert_eq!(ck!(host.C_DecryptInit(session, &mut cbc, key)), CKR_OK);
            let (mut back, mut back_len) = ([0u8; 48], 48);
            assert_eq!(
                ck!(host.C_Decrypt(
                    session,
                    out.as_mut_ptr(),
                    len,
                    back.as_mut_ptr(),
                    &mut back_len
                )),
                CKR_OK
            );
            assert_eq!(back[..31], text);
        }
        host.finalize();
        let log = std::fs::read(std::env::var_os("MRHSM_LOG_FILE").unwrap())
            .unwrap()
            .to_ascii_lowercase();
        let holds = |bytes: &[u8]| log.windows(bytes.len()).any(|window| window == bytes);
        assert!(
            holds(b"operation: encrypt") && holds(b"operation: register"),
            "messages are logged"
        );
        for secret in [USER_PIN, &value, &fetched, &text] {
            let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(
                !holds(secret) && !holds(hex.as_bytes()),
                "{}",
                String::from_utf8_lossy(secret)
            );
        }
    });
}
