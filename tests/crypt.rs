//! Keys at work on KMIP servers of every character, through the module, by the `cryptoki` crate.

use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsOaepParams, PkcsOaepSource, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use mrhsm_pkcs11::crypto::pkey::PrivateKey;
use mrhsm_pkcs11::crypto::{Curve, Hash, mac};
use mrhsm_pkcs11::kmip::{ObjectType, OperationCode, ResultReason};
use mrhsm_pkcs11::server::Fault;

use crate::ffi::host::alone;
use crate::kmip_server::{Personality, Script, Server};
use crate::objects::{client, slot_on, user};

fn generate(session: &Session, mechanism: &Mechanism<'_>, len: u64) -> ObjectHandle {
    session
        .generate_key(
            mechanism,
            &[Attribute::Token(true), Attribute::ValueLen(len.into())],
        )
        .unwrap()
}

fn pss<'a>() -> Mechanism<'a> {
    let params = PkcsPssParams {
        hash_alg: MechanismType::SHA256,
        mgf: PkcsMgfType::MGF1_SHA256,
        s_len: 32.into(),
    };
    Mechanism::Sha256RsaPkcsPss(params)
}

/// Everything that a key can do, done with keys that never leave the token, and checked with what does not: the other half, or
/// the way back.
fn keys_work(server: &Server) {
    let slot = slot_on(server);
    let pkcs11 = client();
    let session = user(&pkcs11, slot);
    let aes = generate(&session, &Mechanism::AesKeyGen, 32);
    let text: Vec<u8> = (0..200_000u32).map(|i| (i / 7) as u8).collect();
    let text = &text[..199_984];
    let mut iv = [5; 12];
    for len in [16, 4096, text.len()] {
        let data = &text[..len];
        let mut nonce = iv;
        let gcm = Mechanism::AesGcm(GcmParams::new(&mut nonce, b"aad", 128.into()).unwrap());
        for mechanism in [
            Mechanism::AesEcb,
            Mechanism::AesCbc([1; 16]),
            Mechanism::AesCbcPad([1; 16]),
            gcm,
        ] {
            let sealed = session.encrypt(&mechanism, aes, data).unwrap();
            assert_ne!(&sealed[..16], &data[..16]);
            assert_eq!(
                session.decrypt(&mechanism, aes, &sealed).unwrap(),
                data,
                "{mechanism:?} of {len} bytes"
            );
            session.encrypt_init(&mechanism, aes).unwrap();
            let mut parts = Vec::new();
            for part in data.chunks(3000) {
                parts.extend(session.encrypt_update(part).unwrap());
            }
            parts.extend(session.encrypt_final().unwrap());
            assert!(parts == sealed, "{mechanism:?} of {len} bytes in parts");
        }
    }
    iv[0] = 6;
    let mut nonce = iv;
    let gcm = Mechanism::AesGcm(GcmParams::new(&mut nonce, b"aad", 128.into()).unwrap());
    let mut sealed = session.encrypt(&gcm, aes, b"text").unwrap();
    sealed[1] ^= 1;
    assert!(
        session.decrypt(&gcm, aes, &sealed).is_err(),
        "a changed ciphertext"
    );

    let secret = generate(&session, &Mechanism::GenericSecretKeyGen, 32);
    for mechanism in [Mechanism::Sha256Hmac, Mechanism::Sha512Hmac] {
        let code = session.sign(&mechanism, secret, b"message").unwrap();
        session
            .verify(&mechanism, secret, b"message", &code)
            .unwrap();
        assert!(
            session
                .verify(&mechanism, secret, b"massage", &code)
                .is_err()
        );
    }
    let code = session.sign(&Mechanism::AesCMac, aes, b"message").unwrap();
    session
        .verify(&Mechanism::AesCMac, aes, b"message", &code)
        .unwrap();

    let (public, private) = (
        [
            Attribute::Token(true),
            Attribute::ModulusBits(2048.into()),
            Attribute::Id(vec![9]),
        ],
        [Attribute::Token(true), Attribute::Id(vec![9])],
    );
    let (public, private) = session
        .generate_key_pair(&Mechanism::RsaPkcsKeyPairGen, &public, &private)
        .unwrap();
    let mut info =
        b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20".to_vec();
    info.extend_from_slice(&[7; 32]);
    for (mechanism, data) in [
        (Mechanism::Sha256RsaPkcs, &b"a message"[..]),
        (Mechanism::Sha512RsaPkcs, b""),
        (Mechanism::RsaPkcs, &info),
        (pss(), b"m"),
    ] {
        let signature = session.sign(&mechanism, private, data).unwrap();
        session
            .verify(&mechanism, public, data, &signature)
            .unwrap();
    }
    let oaep = PkcsOaepParams::new(
        MechanismType::SHA256,
        PkcsMgfType::MGF1_SHA256,
        PkcsOaepSource::empty(),
    );
    for mechanism in [Mechanism::RsaPkcs, Mechanism::RsaPkcsOaep(oaep)] {
        let sealed = session.encrypt(&mechanism, public, b"a key").unwrap();
        assert_eq!(
            session.decrypt(&mechanism, private, &sealed).unwrap(),
            b"a key"
        );
    }

    for (generation, curve, mechanisms) in [
        (
            Mechanism::EccKeyPairGen,
            Curve::P256,
            vec![Mechanism::EcdsaSha256, Mechanism::Ecdsa],
        ),
        (
            Mechanism::EccKeyPairGen,
            Curve::P384,
            vec![Mechanism::EcdsaSha384],
        ),
        (
            Mechanism::EccEdwardsKeyPairGen,
            Curve::Ed25519,
            vec![Mechanism::Eddsa(EddsaParams::new(
                EddsaSignatureScheme::Ed25519,
            ))],
        ),
    ] {
        let public = [
            Attribute::Token(true),
            Attribute::EcParams(curve.params().to_vec()),
        ];
        let (public, private) = session
            .generate_key_pair(&generation, &public, &[Attribute::Token(true)])
            .unwrap();
        for mechanism in mechanisms {
            let signature = session.sign(&mechanism, private, &[3; 32]).unwrap();
            session
                .verify(&mechanism, public, &[3; 32], &signature)
                .unwrap();
            assert!(
                session
                    .verify(&mechanism, public, &[4; 32], &signature)
                    .is_err()
            );
        }
    }
    pkcs11.finalize().unwrap();
}

#[test]
fn keys_work_on_a_server_by_the_book() {
    alone(|_| keys_work(&Server::start(Personality::standard(), Script::none())));
}

#[test]
fn keys_work_on_a_server_like_pykmip() {
    alone(|_| keys_work(&Server::start(Personality::pykmip_like(), Script::none())));
}

#[test]
fn keys_work_on_a_key_store_of_kmip_1_0() {
    alone(|_| keys_work(&Server::start(Personality::keystore_1_0(), Script::none())));
}

#[test]
fn keys_work_on_a_server_like_vault() {
    alone(|_| keys_work(&Server::start(Personality::vault_like(), Script::none())));
}

#[test]
fn keys_work_on_a_server_like_cosmian() {
    alone(|_| keys_work(&Server::start(Personality::cosmian_like(), Script::none())));
}

/// Where the server can, the value of a key that is not extractable never reaches this process.
#[test]
fn values_stay_on_the_server() {
    alone(|_| {
        let server = Server::start(Personality::pykmip_like(), Script::none());
        let slot = slot_on(&server);
        let pkcs11 = client();
        let session = user(&pkcs11, slot);
        let aes = generate(&session, &Mechanism::AesKeyGen, 32);
        let sealed = session
            .encrypt(&Mechanism::AesCbcPad([1; 16]), aes, b"text")
            .unwrap();
        assert_eq!(
            session
                .decrypt(&Mechanism::AesCbcPad([1; 16]), aes, &sealed)
                .unwrap(),
            b"text"
        );
        let secret = generate(&session, &Mechanism::GenericSecretKeyGen, 32);
        session
            .sign(&Mechanism::Sha256Hmac, secret, b"message")
            .unwrap();
        let rsa = [Attribute::Token(true), Attribute::ModulusBits(2048.into())];
        let (public, private) = session
            .generate_key_pair(
                &Mechanism::RsaPkcsKeyPairGen,
                &rsa,
                &[Attribute::Token(true)],
            )
            .unwrap();
        assert_eq!(
            server.count_of(OperationCode::GET),
            0,
            "no value has been asked for"
        );
        let signature = session
            .sign(&Mechanism::Sha256RsaPkcs, private, b"message")
            .unwrap();
        session
            .verify(&Mechanism::Sha256RsaPkcs, public, b"message", &signature)
            .unwrap();
        let publics = server
            .objects()
            .into_iter()
            .filter(|o| o.object_type == ObjectType::PUBLIC_KEY)
            .count();
        assert_eq!(
            (server.count_of(OperationCode::GET), publics),
            (1, 1),
            "the public key, to prove the first signature"
        );
        pkcs11.finalize().unwrap();
    });
}

/// A server that gives no value away and does not do the mechanism: that is the mechanism's fault, and clients go on to the next.
#[test]
fn what_a_server_neither_does_nor_lets_do_is_no_mechanism_for_its_key() {
    alone(|_| {
        let server = Server::start(Personality::standard(), Script::none());
        let slot = slot_on(&server);
        let pkcs11 = client();
        let session = user(&pkcs11, slot);
        let rsa = [Attribute::Token(true), Attribute::ModulusBits(2048.into())];
        let (_, private) = session
            .generate_key_pair(
                &Mechanism::RsaPkcsKeyPairGen,
                &rsa,
                &[Attribute::Token(true)],
            )
            .unwrap();
        server
            .script(Script::none().every(OperationCode::GET, Fault::Fail(ResultReason::SENSITIVE)));
        let refused = session
            .sign(&Mechanism::RsaX509, private, &[1; 256])
            .unwrap_err();
        assert!(
            matches!(refused, Error::Pkcs11(RvError::MechanismInvalid, _)),
            "{refused}"
        );
        pkcs11.finalize().unwrap();
    });
}

/// Keys go in and out wrapped, between a key that stays on the server and one that was imported.
#[test]
fn keys_travel_wrapped() {
    alone(|_| {
        let server = Server::start(Personality::standard(), Script::none());
        let slot = slot_on(&server);
        let pkcs11 = client();
        let session = user(&pkcs11, slot);
        let kek = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::AES),
            Attribute::Token(true),
            Attribute::Value(vec![1; 32]),
        ];
        let kek = session.create_object(&kek).unwrap();
        let pair = PrivateKey::generate_ec(Curve::P256).unwrap();
        let private = [
            Attribute::Class(ObjectClass::PRIVATE_KEY),
            Attribute::KeyType(KeyType::EC),
            Attribute::Token(true),
            Attribute::Extractable(true),
            Attribute::EcParams(Curve::P256.params().to_vec()),
            Attribute::Value(pair.scalar().unwrap().expose().to_vec()),
        ];
        let private = session.create_object(&private).unwrap();
        let wrapped = session
            .wrap_key(&Mechanism::AesCbcPad([2; 16]), kek, private)
            .unwrap();
        let template = [
            Attribute::Class(ObjectClass::PRIVATE_KEY),
            Attribute::KeyType(KeyType::EC),
            Attribute::Token(true),
            Attribute::Label(b"came wrapped".to_vec()),
        ];
        let again = session
            .unwrap_key(&Mechanism::AesCbcPad([2; 16]), kek, &wrapped, &template)
            .unwrap();
        let signature = session
            .sign(&Mechanism::EcdsaSha256, again, b"message")
            .unwrap();
        let digest =
            mrhsm_pkcs11::crypto::hash::digest(mrhsm_pkcs11::crypto::Hash::Sha256, b"message")
                .unwrap();
        pair.public()
            .unwrap()
            .verify(
                mrhsm_pkcs11::crypto::pkey::Scheme::Ecdsa,
                &digest,
                &signature,
            )
            .unwrap();
        pkcs11.finalize().unwrap();
    });
}

/// A secret that its server keeps, and the value that the server has of it.
fn kept_secret(session: &Session, server: &Server) -> (ObjectHandle, Vec<u8>) {
    let template = [
        Attribute::Token(true),
        Attribute::Extractable(false),
        Attribute::ValueLen(32.into()),
    ];
    let key = session
        .generate_key(&Mechanism::GenericSecretKeyGen, &template)
        .unwrap();
    let made = server
        .objects()
        .into_iter()
        .find(|o| o.object_type != ObjectType::CERTIFICATE)
        .unwrap();
    // The first code of a kind may be proven, which costs requests of its own.
    session
        .sign(&Mechanism::Sha256Hmac, key, b"message")
        .unwrap();
    (key, server.value(&made.uid).unwrap())
}

fn sign_in_parts(
    session: &Session,
    key: ObjectHandle,
    message: &[u8],
    part: usize,
) -> Result<Vec<u8>, Error> {
    session.sign_init(&Mechanism::Sha256Hmac, key)?;
    message
        .chunks(part)
        .try_for_each(|part| session.sign_update(part))?;
    session.sign_final()
}

/// A message is as long as it likes, and no request is: a server that takes parts gets them.
#[test]
fn long_messages_are_authenticated_in_parts() {
    alone(|_| {
        let server = Server::start(Personality::standard(), Script::none());
        let slot = slot_on(&server);
        let pkcs11 = client();
        let session = user(&pkcs11, slot);
        let (key, value) = kept_secret(&session, &server);
        let message: Vec<u8> = (0..3_000_000u32).map(|i| (i / 5) as u8).collect();
        for (len, requests) in [
            (1, 1),
            (256 << 10, 1),
            ((256 << 10) + 1, 2),
            (1_000_000, 4),
            (message.len(), 12),
        ] {
            let message = &message[..len];
            let code = mac::hmac(Hash::Sha256, &value, message).unwrap();
            server.clear_log();
            assert_eq!(
                session.sign(&Mechanism::Sha256Hmac, key, message).unwrap(),
                code
            );
            assert_eq!(
                server.operations(),
                vec![OperationCode::MAC; requests],
                "{len} bytes"
            );
            assert_eq!(sign_in_parts(&session, key, message, 70_001).unwrap(), code);
            assert_eq!(server.count(), 2 * requests, "{len} bytes in parts");
            session
                .verify(&Mechanism::Sha256Hmac, key, message, &code)
                .unwrap();
        }
        assert_eq!(server.count_of(OperationCode::GET), 0);
        pkcs11.finalize().unwrap();
    });
}

/// A server that wants messages whole refuses one part, once, and gets the whole.
#[test]
fn long_messages_go_whole_to_a_server_that_wants_them_so() {
    alone(|_| {
        let server = Server::start(Personality::pykmip_like(), Script::none());
        let slot = slot_on(&server);
        let pkcs11 = client();
        let session = user(&pkcs11, slot);
        let (key, value) = kept_secret(&session, &server);
        let message = vec![7; 600_000];
        let code = mac::hmac(Hash::Sha256, &value, &message).unwrap();
        for requests in [2, 1] {
            server.clear_log();
            assert_eq!(
                sign_in_parts(&session, key, &message, 70_001).unwrap(),
                code
            );
            assert_eq!(server.operations(), vec![OperationCode::MAC; requests]);
        }
        assert!(
            session
                .sign(&Mechanism::Sha256Hmac, key, &vec![7; 17 << 20])
                .is_err(),
            "longer than any request"
        );
        assert_eq!(
            session.sign(&Mechanism::Sha256Hmac, key, &message).unwrap(),
            code,
            "the session goes on"
        );
        // A key that may leave the server needs no such request.
        let silent = generate(&session, &Mechanism::GenericSecretKeyGen, 32);
        let code = session
            .sign(&Mechanism::Sha256Hmac, silent, &vec![7; 17 << 20])
            .unwrap();
        session
            .verify(&Mechanism::Sha256Hmac, silent, &vec![7; 17 << 20], &code)
            .unwrap();
        pkcs11.finalize().unwrap();
    });
}

/// Nobody knows whether a part whose answer was lost has been taken: it is not sent again.
#[test]
fn a_part_is_sent_once() {
    alone(|_| {
        let server = Server::start(Personality::standard(), Script::none());
        let slot = slot_on(&server);
        let pkcs11 = client();
        let session = user(&pkcs11, slot);
        let (key, value) = kept_secret(&session, &server);
        let message = vec![7; 1_000_000];
        for lost in 1..=4 {
            server.clear_log();
            server.script(Script::none().at_operation(OperationCode::MAC, lost, Fault::ResetAfter));
            assert!(session.sign(&Mechanism::Sha256Hmac, key, &message).is_err());
            assert_eq!(server.count(), lost);
            let code = session.sign(&Mechanism::Sha256Hmac, key, &message).unwrap();
            assert_eq!(
                code,
                mac::hmac(Hash::Sha256, &value, &message).unwrap(),
                "the next one is whole"
            );
        }
        pkcs11.finalize().unwrap();
    });
}
