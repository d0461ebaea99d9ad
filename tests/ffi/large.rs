//! Long messages with keys that stay on `mrhsm serve`, both configured by default: the server
//! accepts what the module sends.

use std::time::Duration;

use mrhsm_pkcs11::ck::*;

use super::host::{Host, USER_PIN, alone, attribute, ck, kmip_token, mechanism, with_gcm};
use crate::kmip_server::Pki;
use crate::serve::{Serve, scratch};

const MIB: usize = 1 << 20;
/// Around the limit that servers usually have, and the longest that the module sends at once.
const LENGTHS: [usize; 5] = [MIB - 16, MIB, MIB + 16, 4 * MIB, 16 * MIB];

type Keys = (CK_OBJECT_HANDLE, CK_OBJECT_HANDLE);

/// A secret key that cannot leave the server.
fn secret_key(host: &Host, session: CK_SESSION_HANDLE, kind: CK_MECHANISM_TYPE) -> Keys {
    let (mut len, mut yes, mut no, mut key) = (32 as CK_ULONG, CK_TRUE, CK_FALSE, 0);
    let mut template = [
        attribute(CKA_VALUE_LEN, &mut len),
        attribute(CKA_TOKEN, &mut yes),
        attribute(CKA_SIGN, &mut yes.clone()),
        attribute(CKA_VERIFY, &mut yes.clone()),
        attribute(CKA_EXTRACTABLE, &mut no),
    ];
    let mut generate = mechanism(kind);
    assert_eq!(
        ck!(host.C_GenerateKey(session, &mut generate, template.as_mut_ptr(), 5, &mut key)),
        CKR_OK
    );
    (key, key)
}

/// A key pair whose private key cannot leave the server: the public and the private key.
fn pair(host: &Host, session: CK_SESSION_HANDLE, kind: CK_MECHANISM_TYPE, curve: &[u8]) -> Keys {
    let (mut yes, mut no, mut bits) = (CK_TRUE, CK_FALSE, 2048 as CK_ULONG);
    let mut curve = curve.to_vec();
    let special = match curve.is_empty() {
        true => attribute(CKA_MODULUS_BITS, &mut bits),
        false => CK_ATTRIBUTE {
            type_: CKA_EC_PARAMS,
            pValue: curve.as_mut_ptr().cast(),
            ulValueLen: curve.len() as CK_ULONG,
        },
    };
    let mut public = [special, attribute(CKA_TOKEN, &mut yes)];
    let mut private = [
        attribute(CKA_TOKEN, &mut yes.clone()),
        attribute(CKA_EXTRACTABLE, &mut no),
    ];
    let (mut generate, mut keys) = (mechanism(kind), (0, 0));
    let (public, private) = (public.as_mut_ptr(), private.as_mut_ptr());
    assert_eq!(
        ck!(host.C_GenerateKeyPair(
            session,
            &mut generate,
            public,
            2,
            private,
            2,
            &mut keys.0,
            &mut keys.1
        )),
        CKR_OK
    );
    keys
}

/// Encrypts and decrypts a message in one call each.
fn round_trip(
    host: &Host,
    session: CK_SESSION_HANDLE,
    key: CK_OBJECT_HANDLE,
    cipher: &mut CK_MECHANISM,
    text: &[u8],
) -> CK_RV {
    let mut text = text.to_vec();
    let len = text.len() as CK_ULONG;
    let mut secret = vec![0u8; text.len() + 32];
    let mut secret_len = secret.len() as CK_ULONG;
    assert_eq!(ck!(host.C_EncryptInit(session, cipher, key)), CKR_OK);
    let (at, to) = (text.as_mut_ptr(), secret.as_mut_ptr());
    let rv = ck!(host.C_Encrypt(session, at, len, to, &mut secret_len));
    if rv != CKR_OK {
        return rv;
    }
    let mut plain = vec![0u8; text.len() + 32];
    let mut plain_len = plain.len() as CK_ULONG;
    assert_eq!(ck!(host.C_DecryptInit(session, cipher, key)), CKR_OK);
    let to_plain = plain.as_mut_ptr();
    let rv = ck!(host.C_Decrypt(session, to, secret_len, to_plain, &mut plain_len));
    plain.truncate(plain_len as usize);
    assert!(rv != CKR_OK || plain == text);
    rv
}

/// Signs and verifies a message in one call each.
fn signed(
    host: &Host,
    session: CK_SESSION_HANDLE,
    (public, private): Keys,
    kind: CK_MECHANISM_TYPE,
    text: &[u8],
) -> CK_RV {
    let (mut text, mut signature, mut len) = (text.to_vec(), [0u8; 512], 512);
    let (at, text_len, to) = (
        text.as_mut_ptr(),
        text.len() as CK_ULONG,
        signature.as_mut_ptr(),
    );
    let mut how = mechanism(kind);
    assert_eq!(ck!(host.C_SignInit(session, &mut how, private)), CKR_OK);
    let rv = ck!(host.C_Sign(session, at, text_len, to, &mut len));
    if rv != CKR_OK {
        return rv;
    }
    assert_eq!(ck!(host.C_VerifyInit(session, &mut how, public)), CKR_OK);
    ck!(host.C_Verify(session, at, text_len, to, len))
}

/// Creates a data object of so many bytes and reads it in another session.
fn stored(host: &Host, session: CK_SESSION_HANDLE, len: usize) -> CK_RV {
    let (mut class, mut yes, mut value, mut object) = (CKO_DATA, CK_TRUE, vec![7u8; len], 0);
    let mut template = [
        attribute(CKA_CLASS, &mut class),
        attribute(CKA_TOKEN, &mut yes),
        CK_ATTRIBUTE {
            type_: CKA_VALUE,
            pValue: value.as_mut_ptr().cast(),
            ulValueLen: len as CK_ULONG,
        },
    ];
    let rv = ck!(host.C_CreateObject(session, template.as_mut_ptr(), 3, &mut object));
    if rv != CKR_OK {
        return rv;
    }
    value.fill(0);
    let wanted = &mut template[2];
    let rv = ck!(host.C_GetAttributeValue(session, object, wanted, 1));
    assert!(value.iter().all(|byte| *byte == 7));
    rv
}

#[test]
fn the_server_takes_what_the_module_sends() {
    alone(|host| {
        let (folder, pki) = (scratch(), Pki::shared());
        let dir = folder.path();
        let path = |path: &std::path::Path| path.to_str().unwrap().to_owned();
        let [cert, key, ca] = [path(&pki.server.cert), path(&pki.server.key), path(&pki.ca)];
        let own = ["-cert", &cert, "-key", &key, "-clientca", &ca];
        let serve = Serve::start(dir, &own);
        let slot = kmip_token(serve.port, Duration::from_secs(60));
        host.initialize();
        let session = host.open(slot);
        assert_eq!(host.login(session, CKU_USER, USER_PIN), CKR_OK);
        let (aes, _) = secret_key(host, session, CKM_AES_KEY_GEN);
        let hmac = secret_key(host, session, CKM_GENERIC_SECRET_KEY_GEN);
        let rsa = pair(host, session, CKM_RSA_PKCS_KEY_PAIR_GEN, &[]);
        let p256 = [6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
        let ecdsa = pair(host, session, CKM_EC_KEY_PAIR_GEN, &p256);
        let ed25519 = [6, 3, 0x2b, 0x65, 0x70];
        let eddsa = pair(host, session, CKM_EC_EDWARDS_KEY_PAIR_GEN, &ed25519);
        for len in LENGTHS {
            let text: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let mut iv = [1u8; 16];
            for kind in [CKM_AES_CBC, CKM_AES_CBC_PAD] {
                let mut cbc = CK_MECHANISM {
                    pParameter: iv.as_mut_ptr().cast(),
                    ulParameterLen: 16,
                    ..mechanism(kind)
                };
                let rv = round_trip(host, session, aes, &mut cbc, &text);
                assert_eq!(rv, CKR_OK, "{kind:#x}, {len} bytes");
            }
            let rv = gcm(host, session, aes, &text);
            assert_eq!(rv, CKR_OK, "GCM, {len} bytes");
            for (keys, kind) in [
                (hmac, CKM_SHA256_HMAC),
                (rsa, CKM_SHA256_RSA_PKCS),
                (ecdsa, CKM_ECDSA_SHA256),
                (eddsa, CKM_EDDSA),
            ] {
                let rv = signed(host, session, keys, kind, &text);
                assert_eq!(rv, CKR_OK, "{kind:#x}, {len} bytes");
            }
            assert_eq!(digested(host, session, &text), CKR_OK, "{len} bytes");
        }
        let beyond = vec![0; 16 * MIB + 1];
        assert_eq!(gcm(host, session, aes, &beyond), CKR_DATA_LEN_RANGE);
        for len in [MIB - 4096, MIB - 1, MIB] {
            assert_eq!(stored(host, session, len), CKR_OK, "{len} bytes");
        }
        assert_eq!(stored(host, session, MIB + 1), CKR_DEVICE_MEMORY);
        // The keys were used on the server, not here.
        let audit = std::fs::read_to_string(dir.join("audit.log")).unwrap();
        for operation in ["Encrypt", "Decrypt", "Sign", "MAC"] {
            let line = format!("\"operation\":\"{operation}\"");
            assert!(audit.contains(&line), "{operation}");
        }
    });
}

fn gcm(host: &Host, session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE, text: &[u8]) -> CK_RV {
    with_gcm(|gcm| round_trip(host, session, key, gcm, text))
}

fn digested(host: &Host, session: CK_SESSION_HANDLE, text: &[u8]) -> CK_RV {
    let (mut text, mut digest, mut len) = (text.to_vec(), [0u8; 32], 32);
    let mut sha = mechanism(CKM_SHA256);
    assert_eq!(ck!(host.C_DigestInit(session, &mut sha)), CKR_OK);
    let text_len = text.len() as CK_ULONG;
    ck!(host.C_Digest(
        session,
        text.as_mut_ptr(),
        text_len,
        digest.as_mut_ptr(),
        &mut len
    ))
}
