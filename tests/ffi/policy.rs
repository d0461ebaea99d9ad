//! Remote truth: what was asked to stay on the server stays there, and what the server signs is what was asked for.

use std::ptr::null_mut;
use std::time::Duration;

use mrhsm_pkcs11::ck::*;
use mrhsm_pkcs11::crypto::Curve;
use mrhsm_pkcs11::crypto::pkey::PrivateKey;
use mrhsm_pkcs11::kmip::message::RequestMessage;
use mrhsm_pkcs11::kmip::{OperationCode, Request};
use mrhsm_pkcs11::mech::MECHANISMS;
use mrhsm_pkcs11::token::attr::vendor;

use super::host::{Host, USER_PIN, alone, attribute, ck, kmip_token, mechanism, mechanism_with};
use crate::kmip_server::{Personality, Script, Server};

const DEADLINE: Duration = Duration::from_secs(10);

/// A session of the user of a new token on the server.
fn session(host: &Host, server: &Server) -> CK_SESSION_HANDLE {
    let slot = kmip_token(server.port(), DEADLINE);
    host.initialize();
    let session = host.open(slot);
    assert_eq!(host.login(session, CKU_USER, USER_PIN), CKR_OK);
    session
}

/// A token key of `len` bytes, with an explicit CKA_EXTRACTABLE where that is given.
fn secret(
    host: &Host,
    session: CK_SESSION_HANDLE,
    kind: CK_MECHANISM_TYPE,
    extractable: Option<CK_BBOOL>,
) -> CK_OBJECT_HANDLE {
    let (mut len, mut yes, mut extract, mut key) =
        (32 as CK_ULONG, CK_TRUE, extractable.unwrap_or_default(), 0);
    let mut template = vec![
        attribute(CKA_VALUE_LEN, &mut len),
        attribute(CKA_TOKEN, &mut yes),
    ];
    if extractable.is_some() {
        template.push(attribute(CKA_EXTRACTABLE, &mut extract));
    }
    let count = template.len() as CK_ULONG;
    assert_eq!(
        ck!(host.C_GenerateKey(
            session,
            &mut mechanism(kind),
            template.as_mut_ptr(),
            count,
            &mut key
        )),
        CKR_OK
    );
    key
}

/// A token key pair: (public, private).
fn pair(
    host: &Host,
    session: CK_SESSION_HANDLE,
    kind: CK_MECHANISM_TYPE,
    extractable: Option<CK_BBOOL>,
) -> (CK_OBJECT_HANDLE, CK_OBJECT_HANDLE) {
    let (mut bits, mut yes, mut extract) =
        (2048 as CK_ULONG, CK_TRUE, extractable.unwrap_or_default());
    let mut curve = Curve::P256.params().to_vec();
    let mut public = vec![attribute(CKA_TOKEN, &mut yes)];
    match kind {
        CKM_RSA_PKCS_KEY_PAIR_GEN => public.push(attribute(CKA_MODULUS_BITS, &mut bits)),
        _ => public.push(CK_ATTRIBUTE {
            type_: CKA_EC_PARAMS,
            pValue: curve.as_mut_ptr().cast(),
            ulValueLen: curve.len() as CK_ULONG,
        }),
    }
    let mut yes = CK_TRUE;
    let mut private = vec![attribute(CKA_TOKEN, &mut yes)];
    if extractable.is_some() {
        private.push(attribute(CKA_EXTRACTABLE, &mut extract));
    }
    let (mut keys, counts) = (
        (0, 0),
        (public.len() as CK_ULONG, private.len() as CK_ULONG),
    );
    let rv = ck!(host.C_GenerateKeyPair(
        session,
        &mut mechanism(kind),
        public.as_mut_ptr(),
        counts.0,
        private.as_mut_ptr(),
        counts.1,
        &mut keys.0,
        &mut keys.1
    ));
    assert_eq!(rv, CKR_OK);
    keys
}

fn is_kept(host: &Host, session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE) -> bool {
    let mut kept: CK_BBOOL = 7;
    let mut template = [attribute(vendor::KEPT, &mut kept)];
    assert_eq!(
        ck!(host.C_GetAttributeValue(session, key, template.as_mut_ptr(), 1)),
        CKR_OK
    );
    kept == CK_TRUE
}

fn uid(host: &Host, session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE) -> String {
    let mut text = [0u8; 128];
    let mut template = [attribute(vendor::UID, &mut text)];
    assert_eq!(
        ck!(host.C_GetAttributeValue(session, key, template.as_mut_ptr(), 1)),
        CKR_OK
    );
    String::from_utf8(text[..template[0].ulValueLen as usize].to_vec()).unwrap()
}

/// The objects whose values the server was asked for.
fn fetched(server: &Server) -> Vec<String> {
    let mut uids = Vec::new();
    for exchange in server.log() {
        for item in RequestMessage::decode(&exchange.request).unwrap().items {
            if let Ok(Request::Get(get)) = Request::decode(item.operation, &item.payload) {
                uids.push(
                    get.unique_identifier
                        .expect("the client names what it wants")
                        .to_string(),
                );
            }
        }
    }
    uids
}

/// The parameters of all mechanisms.
struct Parameters {
    iv: [u8; 16],
    len: CK_ULONG,
    ctr: CK_AES_CTR_PARAMS,
    gcm: CK_GCM_PARAMS,
    ccm: CK_CCM_PARAMS,
    pss: CK_RSA_PKCS_PSS_PARAMS,
    oaep: CK_RSA_PKCS_OAEP_PARAMS,
    text: CK_KEY_DERIVATION_STRING_DATA,
    hkdf: CK_HKDF_PARAMS,
    ecdh: CK_ECDH1_DERIVE_PARAMS,
    point: Vec<u8>,
}

impl Parameters {
    fn new() -> Box<Parameters> {
        let other = PrivateKey::generate_ec(Curve::P256)
            .unwrap()
            .public()
            .unwrap();
        let mut all = Box::new(Parameters {
            iv: [3; 16],
            len: 8,
            ctr: CK_AES_CTR_PARAMS {
                ulCounterBits: 128,
                cb: [4; 16],
            },
            gcm: CK_GCM_PARAMS {
                ulIvLen: 12,
                ulIvBits: 96,
                ulTagBits: 128,
                ..Default::default()
            },
            ccm: CK_CCM_PARAMS {
                ulDataLen: 32,
                ulNonceLen: 12,
                ulMACLen: 16,
                ..Default::default()
            },
            pss: CK_RSA_PKCS_PSS_PARAMS::default(),
            oaep: CK_RSA_PKCS_OAEP_PARAMS {
                hashAlg: CKM_SHA256,
                mgf: CKG_MGF1_SHA256,
                source: CKZ_DATA_SPECIFIED,
                ..Default::default()
            },
            text: CK_KEY_DERIVATION_STRING_DATA {
                ulLen: 16,
                ..Default::default()
            },
            hkdf: CK_HKDF_PARAMS {
                bExtract: CK_TRUE,
                bExpand: CK_TRUE,
                prfHashMechanism: CKM_SHA256,
                ulSaltType: CKF_HKDF_SALT_NULL,
                ..Default::default()
            },
            ecdh: CK_ECDH1_DERIVE_PARAMS {
                kdf: CKD_NULL,
                ..Default::default()
            },
            point: other.point().unwrap(),
        });
        all.gcm.pIv = all.iv.as_mut_ptr();
        all.ccm.pNonce = all.iv.as_mut_ptr();
        all.text.pData = all.iv.as_mut_ptr();
        all.ecdh.pPublicData = all.point.as_mut_ptr();
        all.ecdh.ulPublicDataLen = all.point.len() as CK_ULONG;
        all
    }

    /// A mechanism with its parameters.
    fn of(&mut self, kind: CK_MECHANISM_TYPE) -> CK_MECHANISM {
        let pss = |hash, mgf, salt| CK_RSA_PKCS_PSS_PARAMS {
            hashAlg: hash,
            mgf,
            sLen: salt,
        };
        match kind {
            CKM_AES_CBC | CKM_AES_CBC_PAD | CKM_AES_OFB | CKM_AES_CFB8 | CKM_AES_CFB128
            | CKM_AES_GMAC => mechanism_with(kind, &mut self.iv),
            CKM_AES_CTR => mechanism_with(kind, &mut self.ctr),
            CKM_AES_GCM => mechanism_with(kind, &mut self.gcm),
            CKM_AES_CCM => mechanism_with(kind, &mut self.ccm),
            CKM_RSA_PKCS_OAEP => mechanism_with(kind, &mut self.oaep),
            CKM_SHA1_RSA_PKCS_PSS => {
                self.pss = pss(CKM_SHA_1, CKG_MGF1_SHA1, 20);
                mechanism_with(kind, &mut self.pss)
            }
            CKM_RSA_PKCS_PSS | CKM_SHA256_RSA_PKCS_PSS => {
                self.pss = pss(CKM_SHA256, CKG_MGF1_SHA256, 32);
                mechanism_with(kind, &mut self.pss)
            }
            CKM_SHA512_RSA_PKCS_PSS => {
                self.pss = pss(CKM_SHA512, CKG_MGF1_SHA512, 64);
                mechanism_with(kind, &mut self.pss)
            }
            CKM_AES_CMAC_GENERAL
            | CKM_SHA_1_HMAC_GENERAL
            | CKM_SHA256_HMAC_GENERAL
            | CKM_SHA512_HMAC_GENERAL => mechanism_with(kind, &mut self.len),
            CKM_CONCATENATE_BASE_AND_DATA
            | CKM_CONCATENATE_DATA_AND_BASE
            | CKM_XOR_BASE_AND_DATA => mechanism_with(kind, &mut self.text),
            CKM_HKDF_DERIVE | CKM_HKDF_DATA => mechanism_with(kind, &mut self.hkdf),
            CKM_ECDH1_DERIVE | CKM_ECDH1_COFACTOR_DERIVE => mechanism_with(kind, &mut self.ecdh),
            _ => mechanism(kind),
        }
    }
}

/// Uses a key by every mechanism of the list in every way. Returns how many uses succeeded.
fn use_in_every_way(
    host: &Host,
    session: CK_SESSION_HANDLE,
    key: CK_OBJECT_HANDLE,
    other: CK_OBJECT_HANDLE,
) -> usize {
    let mut parameters = Parameters::new();
    let mut done = 0;
    // One of them has the length that the mechanism wants: blocks, a modulus, a digest, a DigestInfo.
    let mut info =
        b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20".to_vec();
    info.extend_from_slice(&[7; 32]);
    let mut inputs = [vec![1; 32], vec![1; 256], vec![1; 20], vec![1; 64], info];
    for entry in MECHANISMS {
        let mut m = parameters.of(entry.kind);
        for input in &mut inputs {
            let (data, len) = (input.as_mut_ptr(), input.len() as CK_ULONG);
            let (mut out, mut room) = (vec![0u8; 4096], 4096);
            let mut results = Vec::new();
            if ck!(host.C_EncryptInit(session, &mut m, key)) == CKR_OK {
                results.push(ck!(host.C_Encrypt(
                    session,
                    data,
                    len,
                    out.as_mut_ptr(),
                    &mut room
                )));
            }
            room = 4096;
            if ck!(host.C_DecryptInit(session, &mut m, key)) == CKR_OK {
                results.push(ck!(host.C_Decrypt(
                    session,
                    data,
                    len,
                    out.as_mut_ptr(),
                    &mut room
                )));
            }
            room = 4096;
            if ck!(host.C_SignInit(session, &mut m, key)) == CKR_OK {
                results.push(ck!(host.C_Sign(
                    session,
                    data,
                    len,
                    out.as_mut_ptr(),
                    &mut room
                )));
            }
            room = 4096;
            if ck!(host.C_SignRecoverInit(session, &mut m, key)) == CKR_OK {
                results.push(ck!(host.C_SignRecover(
                    session,
                    data,
                    len,
                    out.as_mut_ptr(),
                    &mut room
                )));
            }
            if ck!(host.C_VerifyInit(session, &mut m, key)) == CKR_OK {
                results.push(ck!(host.C_Verify(session, data, len, out.as_mut_ptr(), 32)));
            }
            done += results.iter().filter(|rv| **rv == CKR_OK).count();
        }
        let (mut out, mut room, mut made) = (vec![0u8; 4096], 4096, 0);
        done += usize::from(
            ck!(host.C_WrapKey(session, &mut m, key, other, out.as_mut_ptr(), &mut room)) == CKR_OK,
        );
        let mut kind = CKK_AES;
        let mut class = CKO_SECRET_KEY;
        let mut template = [
            attribute(CKA_CLASS, &mut class),
            attribute(CKA_KEY_TYPE, &mut kind),
        ];
        ck!(host.C_UnwrapKey(
            session,
            &mut m,
            key,
            out.as_mut_ptr(),
            256,
            template.as_mut_ptr(),
            2,
            &mut made
        ));
        ck!(host.C_DeriveKey(session, &mut m, key, null_mut(), 0, &mut made));
    }
    done
}

/// Keys that were asked to stay are used in every way, and their values are never asked for.
fn kept_keys_stay(host: &Host, server: &Server, curves: bool) {
    let session = session(host, server);
    let free = {
        let (mut len, mut yes, mut key) = (32 as CK_ULONG, CK_TRUE, 0);
        let mut template = [
            attribute(CKA_VALUE_LEN, &mut len),
            attribute(CKA_EXTRACTABLE, &mut yes),
        ];
        let mut generate = mechanism(CKM_AES_KEY_GEN);
        assert_eq!(
            ck!(host.C_GenerateKey(session, &mut generate, template.as_mut_ptr(), 2, &mut key)),
            CKR_OK
        );
        key
    };
    let no = Some(CK_FALSE);
    let mut keys = vec![
        secret(host, session, CKM_AES_KEY_GEN, no),
        secret(host, session, CKM_GENERIC_SECRET_KEY_GEN, no),
        pair(host, session, CKM_RSA_PKCS_KEY_PAIR_GEN, no).1,
    ];
    if curves {
        keys.push(pair(host, session, CKM_EC_KEY_PAIR_GEN, no).1);
    }
    let uids: Vec<String> = keys.iter().map(|key| uid(host, session, *key)).collect();
    for key in &keys {
        assert!(is_kept(host, session, *key));
        assert!(use_in_every_way(host, session, *key, free) > 0);
    }
    let gets = fetched(server);
    assert!(
        !gets.iter().any(|get| uids.contains(get)),
        "{gets:?} of {uids:?}"
    );
    host.finalize();
}

#[test]
fn kept_keys_stay_on_a_server_like_pykmip() {
    alone(|host| {
        kept_keys_stay(
            host,
            &Server::start(Personality::pykmip_like(), Script::none()),
            false,
        )
    });
}

#[test]
fn kept_keys_stay_on_a_server_like_vault() {
    alone(|host| {
        kept_keys_stay(
            host,
            &Server::start(Personality::vault_like(), Script::none()),
            false,
        )
    });
}

#[test]
fn kept_keys_stay_on_a_server_by_the_book() {
    // One that would give the values out.
    let open = Personality {
        enforces_sensitive: false,
        ..Personality::standard()
    };
    alone(|host| kept_keys_stay(host, &Server::start(open, Script::none()), true));
}

#[test]
fn kept_keys_stay_on_a_server_like_cosmian() {
    let open = Personality {
        enforces_sensitive: false,
        ..Personality::cosmian_like()
    };
    alone(|host| kept_keys_stay(host, &Server::start(open, Script::none()), true));
}

/// A server that enforces Sensitive is told to only for keys that it keeps: the others are fetched for what it cannot do.
#[test]
fn keys_that_are_not_kept_work_on_a_server_that_enforces_sensitive() {
    alone(|host| {
        let server = Server::start(Personality::standard(), Script::none());
        let slot = kmip_token(server.port(), DEADLINE);
        host.initialize();
        let session = host.open(slot);
        assert_eq!(host.login(session, CKU_USER, USER_PIN), CKR_OK);
        let silent = secret(host, session, CKM_AES_KEY_GEN, None);
        assert_eq!(encrypts(host, session, silent, CKM_AES_OFB), CKR_OK);
        let kept = secret(host, session, CKM_AES_KEY_GEN, Some(CK_FALSE));
        assert_eq!(
            encrypts(host, session, kept, CKM_AES_OFB),
            CKR_MECHANISM_INVALID
        );
        let locked: Vec<bool> = server
            .objects()
            .iter()
            .map(|o| {
                o.attributes.sensitive() == Some(&true)
                    && o.attributes.extractable() == Some(&false)
            })
            .collect();
        assert_eq!(
            locked.iter().filter(|locked| **locked).count(),
            1,
            "{locked:?}"
        );
        // What the module shows of them is the same, now and in the next process.
        host.finalize();
        host.initialize();
        let session = host.open(slot);
        assert_eq!(host.login(session, CKU_USER, USER_PIN), CKR_OK);
        let mut shown = 0;
        let mut class = CKO_SECRET_KEY.to_ne_bytes();
        let mut rows = [CK_ATTRIBUTE {
            type_: CKA_CLASS,
            pValue: class.as_mut_ptr().cast(),
            ulValueLen: 8,
        }];
        assert_eq!(
            ck!(host.C_FindObjectsInit(session, rows.as_mut_ptr(), 1)),
            CKR_OK
        );
        let (mut found, mut count) = ([0; 4], 0);
        assert_eq!(
            ck!(host.C_FindObjects(session, found.as_mut_ptr(), 4, &mut count)),
            CKR_OK
        );
        for key in &found[..count as usize] {
            let (mut sensitive, mut extractable) = (2u8, 2u8);
            let row = |type_, at: &mut u8| CK_ATTRIBUTE {
                type_,
                pValue: (at as *mut u8).cast(),
                ulValueLen: 1,
            };
            let mut rows = [
                row(CKA_SENSITIVE, &mut sensitive),
                row(CKA_EXTRACTABLE, &mut extractable),
            ];
            assert_eq!(
                ck!(host.C_GetAttributeValue(session, *key, rows.as_mut_ptr(), 2)),
                CKR_OK
            );
            assert_eq!((sensitive, extractable), (CK_TRUE, CK_FALSE));
            shown += 1;
        }
        assert_eq!(shown, 2);
        host.finalize();
    });
}

fn encrypts(
    host: &Host,
    session: CK_SESSION_HANDLE,
    key: CK_OBJECT_HANDLE,
    kind: CK_MECHANISM_TYPE,
) -> CK_RV {
    let (mut iv, mut text, mut out, mut len) = ([1u8; 16], [7u8; 32], [0u8; 64], 64);
    let mut m = CK_MECHANISM {
        pParameter: iv.as_mut_ptr().cast(),
        ulParameterLen: 16,
        ..mechanism(kind)
    };
    match ck!(host.C_EncryptInit(session, &mut m, key)) {
        CKR_OK => ck!(host.C_Encrypt(session, text.as_mut_ptr(), 32, out.as_mut_ptr(), &mut len)),
        refused => refused,
    }
}

#[test]
fn a_kept_key_is_still_kept_after_a_restart_and_others_may_be_fetched() {
    alone(|host| {
        let server = Server::start(Personality::pykmip_like(), Script::none());
        let slot = kmip_token(server.port(), DEADLINE);
        let login = || {
            host.initialize();
            let session = host.open(slot);
            assert_eq!(host.login(session, CKU_USER, USER_PIN), CKR_OK);
            session
        };
        let session = login();
        for (kind, hardware) in [
            (CKM_AES_CBC_PAD, CKF_HW),
            (CKM_SHA256_RSA_PKCS, CKF_HW),
            (CKM_AES_CCM, 0),
            (CKM_SHA256, 0),
        ] {
            let mut info = CK_MECHANISM_INFO::default();
            assert_eq!(ck!(host.C_GetMechanismInfo(slot, kind, &mut info)), CKR_OK);
            assert_eq!(
                info.flags & CKF_HW,
                hardware,
                "{kind:#x}: what a server can do is done by a device"
            );
        }
        let kept = secret(host, session, CKM_AES_KEY_GEN, Some(CK_FALSE));
        let silent = secret(host, session, CKM_AES_KEY_GEN, None);
        let mut uid = uid(host, session, kept).into_bytes();
        // PyKMIP makes no such pairs: this one was made here, and may be used here.
        let curve = pair(host, session, CKM_EC_KEY_PAIR_GEN, Some(CK_FALSE)).1;
        assert!(
            is_kept(host, session, kept)
                && !is_kept(host, session, silent)
                && !is_kept(host, session, curve)
        );
        assert_eq!(encrypts(host, session, silent, CKM_AES_OFB), CKR_OK);
        assert_eq!(fetched(&server).len(), 1);
        host.finalize();

        let session = login();
        let (mut found, mut count) = (0, 0);
        let mut template = [CK_ATTRIBUTE {
            type_: vendor::UID,
            pValue: uid.as_mut_ptr().cast(),
            ulValueLen: uid.len() as CK_ULONG,
        }];
        assert_eq!(
            ck!(host.C_FindObjectsInit(session, template.as_mut_ptr(), 1)),
            CKR_OK
        );
        assert_eq!(
            ck!(host.C_FindObjects(session, &mut found, 1, &mut count)),
            CKR_OK
        );
        assert_eq!((ck!(host.C_FindObjectsFinal(session)), count), (CKR_OK, 1));
        assert!(is_kept(host, session, found));
        assert_eq!(
            encrypts(host, session, found, CKM_AES_OFB),
            CKR_MECHANISM_INVALID
        );
        assert_eq!(encrypts(host, session, found, CKM_AES_CBC_PAD), CKR_OK);
        assert_eq!(fetched(&server).len(), 1);
        host.finalize();
    });
}

#[test]
fn a_store_that_only_keeps_keys_is_served_by_fetching() {
    alone(|host| {
        let server = Server::start(Personality::keystore_1_0(), Script::none());
        let session = session(host, &server);
        let key = secret(host, session, CKM_AES_KEY_GEN, Some(CK_FALSE));
        assert!(!is_kept(host, session, key));
        assert_eq!(encrypts(host, session, key, CKM_AES_CBC_PAD), CKR_OK);
        host.finalize();
    });
}

/// Signs with SHA-256 and PKCS#1 v1.5 and verifies: what the first says, or the second.
fn signs(
    host: &Host,
    session: CK_SESSION_HANDLE,
    keys: (CK_OBJECT_HANDLE, CK_OBJECT_HANDLE),
) -> CK_RV {
    let (mut text, mut signature, mut len) = ([7u8; 32], [0u8; 256], 256);
    let mut m = mechanism(CKM_SHA256_RSA_PKCS);
    assert_eq!(ck!(host.C_SignInit(session, &mut m, keys.1)), CKR_OK);
    match ck!(host.C_Sign(
        session,
        text.as_mut_ptr(),
        32,
        signature.as_mut_ptr(),
        &mut len
    )) {
        CKR_OK => {
            assert_eq!(ck!(host.C_VerifyInit(session, &mut m, keys.0)), CKR_OK);
            ck!(host.C_Verify(session, text.as_mut_ptr(), 32, signature.as_mut_ptr(), len))
        }
        refused => refused,
    }
}

#[test]
fn a_server_that_signs_otherwise_is_found_out() {
    alone(|host| {
        let wrong = Personality {
            pss_always: true,
            ..Personality::pykmip_like()
        };
        let server = Server::start(wrong, Script::none());
        let session = session(host, &server);
        let kept = pair(host, session, CKM_RSA_PKCS_KEY_PAIR_GEN, Some(CK_FALSE));
        assert_eq!(signs(host, session, kept), CKR_DEVICE_ERROR);
        server.clear_log();
        assert_eq!(signs(host, session, kept), CKR_DEVICE_ERROR);
        assert_eq!(server.count(), 0, "the verdict is remembered");
        let silent = pair(host, session, CKM_RSA_PKCS_KEY_PAIR_GEN, None);
        assert_eq!(signs(host, session, silent), CKR_OK, "signed here");
        host.finalize();
    });
}

#[test]
fn a_wrong_signature_is_asked_for_in_another_form() {
    alone(|host| {
        let odd = Personality {
            hashes_digests: true,
            ..Personality::standard()
        };
        let server = Server::start(odd, Script::none());
        let session = session(host, &server);
        let keys = pair(host, session, CKM_RSA_PKCS_KEY_PAIR_GEN, Some(CK_FALSE));
        assert_eq!(signs(host, session, keys), CKR_OK);
        assert!(server.count_of(OperationCode::SIGN) > 1);
        server.clear_log();
        assert_eq!(signs(host, session, keys), CKR_OK);
        assert_eq!(
            server.count_of(OperationCode::SIGN),
            1,
            "the form that works is remembered"
        );
        host.finalize();
    });
}
