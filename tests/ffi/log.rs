//! The log: what it says of a session, and what it must never say.

use std::ptr::null_mut;

use mrhsm_pkcs11::ck::*;

use super::host::{SO_PIN, USER_PIN, alone_with, ck, mechanism};

#[test]
fn a_log_of_everything_holds_no_secret() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let environment = [("MRHSM_LOG", "debug".as_ref()), ("MRHSM_LOG_FILE", path.as_os_str())];
    alone_with(&environment, |host| {
        host.initialize();
        let (_, session) = host.logged_in();
        assert_eq!(host.login(session, CKU_USER, b"wrong-pin-9"), CKR_USER_ALREADY_LOGGED_IN);
        let key = host.aes_key(session);
        let (mut iv, mut text) = (*b"initial vector 1", *b"the text that nobody shall read");
        let mut cbc = CK_MECHANISM { pParameter: iv.as_mut_ptr().cast(), ulParameterLen: 16, ..mechanism(CKM_AES_CBC_PAD) };
        let (mut out, mut len) = ([0u8; 48], 48);
        assert_eq!(ck!(host.C_EncryptInit(session, &mut cbc, key)), CKR_OK);
        assert_eq!(ck!(host.C_Encrypt(session, text.as_mut_ptr(), 31, out.as_mut_ptr(), &mut len)), CKR_OK);
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
