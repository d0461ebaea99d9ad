//! What a server refuses once says nothing of what it does otherwise.

use std::time::Duration;

use mrhsm_pkcs11::ck::*;
use mrhsm_pkcs11::kmip::OperationCode;

use super::host::{Host, USER_PIN, alone, attribute, ck, kept_aes_key, kmip_token, mechanism_with};
use crate::kmip_server::{Personality, Script, Server};

/// Encrypts a block, or decrypts it.
fn work(
    host: &Host,
    session: CK_SESSION_HANDLE,
    key: CK_OBJECT_HANDLE,
    mechanism: &mut CK_MECHANISM,
    encrypts: bool,
) -> CK_RV {
    let (mut data, mut out, mut len) = ([7u8; 16], [0u8; 64], 64);
    let begun = match encrypts {
        true => ck!(host.C_EncryptInit(session, mechanism, key)),
        false => ck!(host.C_DecryptInit(session, mechanism, key)),
    };
    if begun != CKR_OK {
        return begun;
    }
    let (data, out) = (data.as_mut_ptr(), out.as_mut_ptr());
    match encrypts {
        true => ck!(host.C_Encrypt(session, data, 16, out, &mut len)),
        false => ck!(host.C_Decrypt(session, data, 16, out, &mut len)),
    }
}

/// Cosmian refuses counter mode with Operation Not Supported.
#[test]
fn a_refused_mode_disables_no_other_and_unprotects_no_key() {
    alone(|host| {
        let server = Server::start(Personality::cosmian_like(), Script::none());
        let slot = kmip_token(server.port(), Duration::from_secs(10));
        host.initialize();
        let session = host.open(slot);
        assert_eq!(host.login(session, CKU_USER, USER_PIN), CKR_OK);
        let (mut iv, mut counter) = (
            [1u8; 16],
            CK_AES_CTR_PARAMS {
                ulCounterBits: 128,
                cb: [1; 16],
            },
        );
        let mut cbc = mechanism_with(CKM_AES_CBC, &mut iv);
        let mut ctr = mechanism_with(CKM_AES_CTR, &mut counter);
        let key = kept_aes_key(host, session);
        for _ in 0..2 {
            for encrypts in [true, false] {
                let refused = work(host, session, key, &mut ctr, encrypts);
                // By C_EncryptInit, or by C_Encrypt, whose list does not have
                // CKR_MECHANISM_INVALID.
                assert!([CKR_MECHANISM_INVALID, CKR_FUNCTION_FAILED].contains(&refused));
            }
            for encrypts in [true, false] {
                let rv = work(host, session, key, &mut cbc, encrypts);
                assert_eq!(rv, CKR_OK, "{encrypts}");
            }
        }
        let another = kept_aes_key(host, session);
        let mut value = [0u8; 32];
        let mut row = attribute(CKA_VALUE, &mut value);
        let shown = ck!(host.C_GetAttributeValue(session, another, &mut row, 1));
        assert_eq!(shown, CKR_ATTRIBUTE_SENSITIVE);
        assert_eq!(work(host, session, another, &mut cbc, true), CKR_OK);
        assert_eq!(server.count_of(OperationCode::GET), 0);
        host.finalize();
    });
}
