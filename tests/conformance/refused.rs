//! Whatever reason a server has to refuse, every function says it in a value of its own (PKCS#11 3.0, 5; KMIP 2.1, 11.50): `ck!`
//! takes no other.

use mrhsm_pkcs11::ck::*;
use mrhsm_pkcs11::kmip::{OperationCode as O, ResultReason};

use super::app::{App, Mech, Rows, rows, served};
use super::usual::{P256, TEXT};
use crate::ffi::host::{Host, alone, attribute, ck};
use crate::kmip_server::{Fault, Personality, Script, Server};

const ANYTHING: CK_FLAGS =
    CKF_FIND_OBJECTS | CKF_ENCRYPT | CKF_DECRYPT | CKF_DIGEST | CKF_SIGN | CKF_VERIFY;

fn aes() -> Rows {
    rows![CKA_TOKEN: true, CKA_CLASS: CKO_SECRET_KEY, CKA_KEY_TYPE: CKK_AES]
}

fn pss(salt: CK_ULONG) -> Mech {
    Mech::with(
        CKM_SHA256_RSA_PKCS_PSS,
        CK_RSA_PKCS_PSS_PARAMS {
            hashAlg: CKM_SHA256,
            mgf: CKG_MGF1_SHA256,
            sLen: salt,
        },
    )
}

/// What is on the server: keys that it keeps, one that it gives away, and data.
struct There<'a> {
    app: App<'a>,
    aes: CK_OBJECT_HANDLE,
    hmac: CK_OBJECT_HANDLE,
    rsa: CK_OBJECT_HANDLE,
    ec: CK_OBJECT_HANDLE,
    open: CK_OBJECT_HANDLE,
    data: CK_OBJECT_HANDLE,
    wrapped: Vec<u8>,
}

/// A server with all of that.
fn furnished(host: &Host) -> (Server, App<'_>) {
    let (server, _, app) = served(host, Personality::standard());
    let kept =
        |label: &str| rows![CKA_TOKEN: true, CKA_EXTRACTABLE: false, CKA_LABEL: label.as_bytes()];
    let pair = |kind, label, public| app.pair(kind, &public, &kept(label)).unwrap();
    app.generate(CKM_AES_KEY_GEN, &rows![; kept("aes"), CKA_VALUE_LEN: 32])
        .unwrap();
    app.generate(
        CKM_SHA256_KEY_GEN,
        &rows![; kept("hmac"), CKA_VALUE_LEN: 32],
    )
    .unwrap();
    pair(
        CKM_RSA_PKCS_KEY_PAIR_GEN,
        "rsa",
        rows![CKA_TOKEN: true, CKA_MODULUS_BITS: 2048],
    );
    pair(
        CKM_EC_KEY_PAIR_GEN,
        "ec",
        rows![CKA_TOKEN: true, CKA_EC_PARAMS: P256],
    );
    let open =
        rows![CKA_EXTRACTABLE: true, CKA_SENSITIVE: false, CKA_DERIVE: true, CKA_LABEL: b"open"];
    app.create(&[aes(), open, rows![CKA_VALUE: &[7; 32]]].concat())
        .unwrap();
    (server, app)
}

impl There<'_> {
    /// Finds them again: what a server says is gone has no handle any more.
    fn find(app: App<'_>) -> There<'_> {
        let find = |label: &str| {
            // The private half of a pair.
            let found = app
                .find(&rows![CKA_LABEL: label.as_bytes(), CKA_PRIVATE: true])
                .unwrap();
            *found.first().unwrap_or_else(|| panic!("no {label}"))
        };
        let data = app
            .create(&rows![CKA_CLASS: CKO_DATA, CKA_TOKEN: true, CKA_VALUE: TEXT])
            .unwrap();
        let (aes, open) = (find("aes"), find("open"));
        let wrapped = app.wrap(CKM_AES_KEY_WRAP, aes, open).unwrap();
        There {
            app,
            aes,
            hmac: find("hmac"),
            rsa: find("rsa"),
            ec: find("ec"),
            open,
            data,
            wrapped,
        }
    }

    /// Calls every function that may have to ask the server. Nothing comes of those with a key that it keeps.
    fn ask(&self) {
        let There {
            app,
            aes: kept,
            hmac,
            rsa,
            ec,
            open,
            data,
            ..
        } = *self;
        let (host, session) = (app.host, app.session);
        let cbc = || Mech::iv(CKM_AES_CBC_PAD, &[1; 16]);
        let token = rows![CKA_TOKEN: true];
        let long = vec![7; 160_000];
        assert!(app.encrypt(cbc(), kept, TEXT).is_err());
        assert!(app.encrypt_parts(cbc(), kept, &long, 80_000).is_err());
        assert!(app.decrypt(cbc(), kept, TEXT).is_err());
        assert!(app.decrypt_parts(cbc(), kept, &long, 80_000).is_err());
        assert!(app.decrypt(CKM_RSA_PKCS, rsa, &[1; 256]).is_err());
        assert!(app.sign(pss(32), rsa, TEXT).is_err());
        assert!(app.sign_parts(CKM_SHA256_RSA_PKCS, rsa, TEXT, 16).is_err());
        assert!(app.sign(CKM_ECDSA, ec, &TEXT[..32]).is_err());
        assert!(app.sign(CKM_SHA256_HMAC, hmac, TEXT).is_err());
        assert!(app.sign_parts(CKM_SHA256_HMAC, hmac, TEXT, 16).is_err());
        assert!(app.verify(CKM_SHA256_HMAC, hmac, TEXT, &[1; 32]).is_err());
        assert!(
            app.verify_parts(CKM_SHA256_HMAC, hmac, TEXT, &[1; 32], 16)
                .is_err()
        );
        assert!(
            app.unwrap(CKM_AES_KEY_WRAP, kept, &self.wrapped, &aes())
                .is_err()
        );
        assert!(app.derive(CKM_SHA256_KEY_DERIVATION, kept, &token).is_err());
        assert!(app.copy(kept, &token).is_err());
        for key in [kept, open] {
            drop(app.wrap(CKM_AES_KEY_WRAP, key, open));
        }
        let _ = app.unwrap(CKM_AES_KEY_WRAP, open, &self.wrapped, &aes());
        let _ = app.derive(CKM_SHA256_KEY_DERIVATION, open, &token);
        drop(app.encrypt(cbc(), open, TEXT));
        app.digest_init(CKM_SHA256).unwrap();
        ck!(host.C_DigestKey(session, open));
        let _ = app.copy(open, &token);
        assert!(
            app.generate(CKM_AES_KEY_GEN, &rows![; token, CKA_VALUE_LEN: 32])
                .is_err()
        );
        assert!(
            app.pair(
                CKM_EC_KEY_PAIR_GEN,
                &rows![; token, CKA_EC_PARAMS: P256],
                &token
            )
            .is_err()
        );
        assert!(app.create(&rows![; aes(), CKA_VALUE: &[8; 16]]).is_err());
        drop(app.find(&rows![CKA_LABEL: b"none"]));
        for (object, kind) in [
            (data, CKA_VALUE),
            (open, CKA_VALUE),
            (rsa, CKA_MODULUS),
            (ec, CKA_PUBLIC_KEY_INFO),
        ] {
            drop(app.get(object, kind));
        }
        let _ = app.set(data, &rows![CKA_LABEL: b"new"]);
        ck!(host.C_GetObjectSize(session, data, &mut 0));
        let _ = app.destroy(data);
        ck!(host.C_SessionCancel(session, ANYTHING));
    }
}

/// Lets every operation but `spared` fail for every reason.
fn every_reason(host: &Host, spared: &[O]) {
    let (server, app) = furnished(host);
    let mut reasons = ResultReason::ALL.to_vec();
    reasons.push(ResultReason(0x8000_0001));
    // What a server does not support is not asked of it again.
    reasons.sort_by_key(|r| {
        matches!(
            *r,
            ResultReason::OPERATION_NOT_SUPPORTED | ResultReason::FEATURE_NOT_SUPPORTED
        )
    });
    for reason in reasons {
        println!("{reason}");
        let there = There::find(app);
        let fails = O::ALL
            .iter()
            .filter(|operation| !spared.contains(operation));
        server.script(fails.fold(Script::none(), |script, operation| {
            script.every(*operation, Fault::Fail(reason))
        }));
        there.ask();
        server.script(Script::none());
    }
    host.finalize();
}

#[test]
fn everything() {
    alone(|host| every_reason(host, &[]));
}

#[test]
fn everything_but_questions() {
    alone(|host| {
        every_reason(
            host,
            &[
                O::QUERY,
                O::DISCOVER_VERSIONS,
                O::LOCATE,
                O::GET_ATTRIBUTES,
                O::GET_ATTRIBUTE_LIST,
            ],
        )
    });
}

/// What a server is not asked to sign is the fault of the data, where the key is there alone.
#[test]
fn data_that_no_server_signs() {
    alone(|host| {
        let (_server, app) = furnished(host);
        let there = There::find(app);
        assert_eq!(
            app.sign(CKM_RSA_PKCS, there.rsa, b"no DigestInfo"),
            Err(CKR_DATA_INVALID)
        );
        assert_eq!(
            app.sign_parts(CKM_RSA_PKCS, there.rsa, b"no DigestInfo", 5),
            Err(CKR_DATA_LEN_RANGE)
        );
        host.finalize();
    });
}

/// KMIP has no HMAC by SHA-512/t: where the key is there alone, C_SignInit says so. A key for nothing else is no key to leave there.
#[test]
fn codes_that_no_server_makes() {
    alone(|host| {
        let (_server, app) = furnished(host);
        let there = |usage: Rows| rows![; usage, CKA_TOKEN: true, CKA_EXTRACTABLE: false, CKA_VALUE_LEN: 32];
        let secret = app
            .generate(CKM_GENERIC_SECRET_KEY_GEN, &there(rows![CKA_SIGN: true]))
            .unwrap();
        for (kind, key_gen) in [
            (CKM_SHA512_224_HMAC, CKM_SHA512_224_KEY_GEN),
            (CKM_SHA512_256_HMAC, CKM_SHA512_256_KEY_GEN),
        ] {
            assert_eq!(app.sign_init(kind, secret), Err(CKR_MECHANISM_INVALID));
            let own = app
                .generate(key_gen, &there(rows![CKA_SIGN: true, CKA_VERIFY: true]))
                .unwrap();
            let code = app.sign(kind, own, TEXT).unwrap();
            app.verify(kind, own, TEXT, &code).unwrap();
        }
        assert!(app.sign(CKM_SHA512_HMAC, secret, TEXT).is_ok());
        host.finalize();
    });
}

/// PyKMIP has one length of salt and says so when it is asked for another: then it is too late for C_Sign to say so, and next time
/// C_SignInit does.
#[test]
fn a_salt_that_the_server_does_not_take() {
    alone(|host| {
        let (server, app) = furnished(host);
        let there = There::find(app);
        server.script(Script::none().every(O::SIGN, Fault::Fail(ResultReason::INVALID_FIELD)));
        assert_eq!(app.sign(pss(32), there.rsa, TEXT), Err(CKR_FUNCTION_FAILED));
        server.script(Script::none());
        assert_eq!(
            app.sign_init(pss(32), there.rsa),
            Err(CKR_MECHANISM_PARAM_INVALID)
        );
        assert!(app.sign(pss(20), there.rsa, TEXT).is_ok());
        host.finalize();
    });
}

/// A value that the server does not give out keeps nobody from the other attributes.
#[test]
fn a_value_that_the_server_does_not_give_out() {
    alone(|host| {
        let (server, app) = furnished(host);
        for (reason, wanted) in [
            (ResultReason::SENSITIVE, CKR_ATTRIBUTE_SENSITIVE),
            (ResultReason::NOT_EXTRACTABLE, CKR_ATTRIBUTE_SENSITIVE),
            (
                ResultReason::ATTRIBUTE_NOT_FOUND,
                CKR_ATTRIBUTE_TYPE_INVALID,
            ),
        ] {
            let data = There::find(app).data;
            server.script(Script::none().every(O::GET, Fault::Fail(reason)));
            let (mut value, mut class) = ([0; 64], 0 as CK_ULONG);
            let mut rows = [
                attribute(CKA_VALUE, &mut value),
                attribute(CKA_CLASS, &mut class),
            ];
            assert_eq!(
                ck!(host.C_GetAttributeValue(app.session, data, rows.as_mut_ptr(), 2)),
                wanted,
                "{reason}"
            );
            assert_eq!(
                (rows[0].ulValueLen, class),
                (CK_UNAVAILABLE_INFORMATION, CKO_DATA),
                "{reason}"
            );
            server.script(Script::none());
        }
        // Nor from finding others: what cannot be compared is not what was looked for.
        for reason in [
            ResultReason::SENSITIVE,
            ResultReason::ATTRIBUTE_NOT_FOUND,
            ResultReason::PERMISSION_DENIED,
        ] {
            There::find(app);
            let session = app
                .create(&rows![CKA_CLASS: CKO_DATA, CKA_VALUE: TEXT])
                .unwrap();
            server.script(Script::none().every(O::GET, Fault::Fail(reason)));
            assert_eq!(
                app.find(&rows![CKA_CLASS: CKO_DATA, CKA_VALUE: TEXT]),
                Ok(vec![session]),
                "{reason}"
            );
            server.script(Script::none());
            app.destroy(session).unwrap();
        }
        host.finalize();
    });
}

/// A server that does not authorise us is no logout: the object is still there.
#[test]
fn a_private_object_that_the_server_denies_for_now() {
    alone(|host| {
        let (server, app) = furnished(host);
        let data = app
            .create(
                &rows![CKA_CLASS: CKO_DATA, CKA_TOKEN: true, CKA_PRIVATE: true, CKA_VALUE: TEXT],
            )
            .unwrap();
        for reason in [
            ResultReason::NOT_AUTHORISED,
            ResultReason::AUTHENTICATION_NOT_SUCCESSFUL,
        ] {
            server.script(Script::none().every(O::GET, Fault::Fail(reason)));
            assert_eq!(
                app.get(data, CKA_VALUE),
                Err(CKR_FUNCTION_FAILED),
                "{reason}"
            );
            server.script(Script::none());
        }
        assert_eq!(app.get(data, CKA_VALUE), Ok(TEXT.to_vec()));
        host.finalize();
    });
}
