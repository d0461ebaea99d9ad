//! Keys wrapped and unwrapped under a key that its KMIP server keeps.

use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use mrhsm_pkcs11::crypto::Curve;
use mrhsm_pkcs11::crypto::kw::{self, Wrapping};
use mrhsm_pkcs11::crypto::pkey::PrivateKey;
use mrhsm_pkcs11::kmip::{OperationCode as O, State};
use mrhsm_pkcs11::server::Mistake;

use crate::ffi::host::alone;
use crate::kmip_server::{Personality, Script, Server};
use crate::objects::{client, slot_on, user};

/// An AES key that wraps and unwraps and does nothing else. The server keeps it.
fn kek(session: &Session) -> ObjectHandle {
    let template = [
        Attribute::Token(true),
        Attribute::ValueLen(32.into()),
        Attribute::Extractable(false),
        Attribute::Encrypt(false),
        Attribute::Decrypt(false),
        Attribute::Wrap(true),
        Attribute::Unwrap(true),
    ];
    session
        .generate_key(&Mechanism::AesKeyGen, &template)
        .unwrap()
}

/// An AES key that may leave its server wrapped.
fn guest(session: &Session, len: u64) -> ObjectHandle {
    let template = [
        Attribute::Token(true),
        Attribute::ValueLen(len.into()),
        Attribute::Extractable(true),
    ];
    session
        .generate_key(&Mechanism::AesKeyGen, &template)
        .unwrap()
}

fn uid(session: &Session, object: ObjectHandle) -> String {
    match session
        .get_attributes(object, &[AttributeType::UniqueId])
        .unwrap()
        .remove(0)
    {
        Attribute::UniqueId(uid) => String::from_utf8(uid).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn value(server: &Server, session: &Session, object: ObjectHandle) -> Vec<u8> {
    server.value(&uid(session, object)).unwrap()
}

/// Whether these bytes went over the wire since the log was cleared, either way.
fn travelled(server: &Server, bytes: &[u8]) -> bool {
    let has = |message: &[u8]| message.windows(bytes.len()).any(|window| window == bytes);
    server
        .log()
        .iter()
        .any(|e| has(&e.request) || e.response.as_deref().is_some_and(has))
}

fn alive(server: &Server) -> usize {
    server
        .objects()
        .iter()
        .filter(|object| object.state == State::ACTIVE)
        .count()
}

fn rv<T: std::fmt::Debug>(outcome: Result<T, Error>) -> RvError {
    match outcome {
        Err(Error::Pkcs11(rv, _)) => rv,
        other => panic!("{other:?}"),
    }
}

fn template(class: ObjectClass, key_type: KeyType, token: bool) -> Vec<Attribute> {
    vec![
        Attribute::Class(class),
        Attribute::KeyType(key_type),
        Attribute::Token(token),
        Attribute::Sensitive(false),
    ]
}

const WRAPPINGS: [(Mechanism<'_>, Wrapping); 2] = [
    (Mechanism::AesKeyWrap, Wrapping::Kw),
    (Mechanism::AesKeyWrapPad, Wrapping::Kwp),
];

#[test]
fn keys_of_a_server_are_wrapped_and_unwrapped_there() {
    alone(|_| {
        for personality in [
            Personality::standard(),
            Personality {
                batches: false,
                ..Personality::standard()
            },
        ] {
            let server = Server::start(personality, Script::none());
            let slot = slot_on(&server);
            let pkcs11 = client();
            let session = user(&pkcs11, slot);
            let (kek, guest) = (kek(&session), guest(&session, 32));
            let (kek_value, guest_value) = (
                value(&server, &session, kek),
                value(&server, &session, guest),
            );
            for (mechanism, wrapping) in &WRAPPINGS {
                let wrapped = session.wrap_key(mechanism, kek, guest).unwrap();
                assert_eq!(
                    wrapped,
                    kw::wrap(*wrapping, &kek_value, &guest_value).unwrap()
                );
                server.clear_log();
                assert_eq!(session.wrap_key(mechanism, kek, guest).unwrap(), wrapped);
                assert_eq!(
                    server.operations(),
                    [O::GET],
                    "one request, a size query included"
                );

                let mut wanted = template(ObjectClass::SECRET_KEY, KeyType::AES, true);
                let there = session
                    .unwrap_key(mechanism, kek, &wrapped, &wanted)
                    .unwrap();
                assert_eq!(value(&server, &session, there), guest_value);
                wanted.push(Attribute::Extractable(false));
                let kept = session
                    .unwrap_key(mechanism, kek, &wrapped, &wanted)
                    .unwrap();
                let sealed = session.encrypt(&Mechanism::AesEcb, kept, &[7; 32]).unwrap();
                assert!(
                    !travelled(&server, &guest_value),
                    "no value is in any message"
                );
                assert_eq!(
                    session.decrypt(&Mechanism::AesEcb, guest, &sealed).unwrap(),
                    [7; 32]
                );
                let attributes = session
                    .get_attributes(
                        kept,
                        &[
                            AttributeType::ValueLen,
                            AttributeType::NeverExtractable,
                            AttributeType::Local,
                        ],
                    )
                    .unwrap();
                let expected = [
                    Attribute::ValueLen(32.into()),
                    Attribute::NeverExtractable(false),
                    Attribute::Local(false),
                ];
                assert_eq!(attributes, expected);

                // What lives in this process comes here, and nothing stays on the server.
                let before = alive(&server);
                let here = template(ObjectClass::SECRET_KEY, KeyType::AES, false);
                let here = session.unwrap_key(mechanism, kek, &wrapped, &here).unwrap();
                assert!(
                    travelled(&server, &guest_value),
                    "so that is how it looks when one does"
                );
                assert_eq!(
                    session.decrypt(&Mechanism::AesEcb, here, &sealed).unwrap(),
                    [7; 32]
                );
                for broken in [
                    &wrapped[..wrapped.len() - 8],
                    &[&wrapped[1..], &[0]].concat(),
                ] {
                    for token in [false, true] {
                        let template =
                            template(ObjectClass::SECRET_KEY, KeyType::GENERIC_SECRET, token);
                        let refused = rv(session.unwrap_key(mechanism, kek, broken, &template));
                        assert!(matches!(refused, RvError::WrappedKeyInvalid), "{refused:?}");
                    }
                }
                assert_eq!(alive(&server), before);
                session.destroy_object(there).unwrap();
                session.destroy_object(kept).unwrap();
            }
            assert!(!travelled(&server, &kek_value));
            pkcs11.finalize().unwrap();
        }
    });
}

#[test]
fn private_keys_are_wrapped_and_unwrapped_there() {
    alone(|_| {
        let server = Server::start(Personality::standard(), Script::none());
        let slot = slot_on(&server);
        let pkcs11 = client();
        let session = user(&pkcs11, slot);
        let kek = kek(&session);
        let kek_value = value(&server, &session, kek);
        let pair = PrivateKey::generate_ec(Curve::P256).unwrap();
        let mut private = template(ObjectClass::PRIVATE_KEY, KeyType::EC, true);
        private.extend([
            Attribute::Extractable(true),
            Attribute::EcParams(Curve::P256.params().to_vec()),
            Attribute::Value(pair.scalar().unwrap().expose().to_vec()),
        ]);
        let private = session.create_object(&private).unwrap();
        server.clear_log();
        let wrapped = session
            .wrap_key(&Mechanism::AesKeyWrapPad, kek, private)
            .unwrap();
        assert!(!travelled(&server, pair.scalar().unwrap().expose()));
        let pkcs8 = kw::unwrap(Wrapping::Kwp, &kek_value, &wrapped).unwrap();
        let read = PrivateKey::from_pkcs8(pkcs8.expose()).unwrap();
        assert_eq!(read.scalar().unwrap(), pair.scalar().unwrap());
        for token in [true, false] {
            let template = template(ObjectClass::PRIVATE_KEY, KeyType::EC, token);
            let again = session
                .unwrap_key(&Mechanism::AesKeyWrapPad, kek, &wrapped, &template)
                .unwrap();
            session
                .sign(&Mechanism::EcdsaSha256, again, b"message")
                .unwrap();
        }
        assert!(!travelled(&server, &kek_value));
        pkcs11.finalize().unwrap();
    });
}

/// Wrapping by a cipher is an encryption on the server; the flags of the key allow it nothing else.
#[test]
fn ciphers_wrap_on_the_server() {
    alone(|_| {
        let server = Server::start(Personality::standard(), Script::none());
        let slot = slot_on(&server);
        let pkcs11 = client();
        let session = user(&pkcs11, slot);
        let (kek, guest) = (kek(&session), guest(&session, 32));
        let (kek_value, guest_value) = (
            value(&server, &session, kek),
            value(&server, &session, guest),
        );
        let mut nonce = [5; 12];
        let gcm = Mechanism::AesGcm(GcmParams::new(&mut nonce, b"aad", 128.into()).unwrap());
        for mechanism in [
            Mechanism::AesEcb,
            Mechanism::AesCbc([1; 16]),
            Mechanism::AesCbcPad([1; 16]),
            gcm,
        ] {
            server.clear_log();
            let wrapped = session.wrap_key(&mechanism, kek, guest).unwrap();
            assert!(server.count_of(O::ENCRYPT) > 0, "{mechanism:?}");
            for token in [false, true] {
                let template = template(ObjectClass::SECRET_KEY, KeyType::AES, token);
                let again = session
                    .unwrap_key(&mechanism, kek, &wrapped, &template)
                    .unwrap();
                let sealed = session
                    .encrypt(&Mechanism::AesEcb, guest, &[7; 16])
                    .unwrap();
                assert_eq!(
                    session.decrypt(&Mechanism::AesEcb, again, &sealed).unwrap(),
                    [7; 16]
                );
                if token {
                    assert_eq!(value(&server, &session, again), guest_value);
                }
            }
            assert!(server.count_of(O::DECRYPT) > 0);
            assert!(!travelled(&server, &kek_value));
        }
        assert!(matches!(
            rv(session.encrypt(&Mechanism::AesEcb, kek, &[7; 16])),
            RvError::KeyFunctionNotPermitted
        ));
        pkcs11.finalize().unwrap();
        let pkcs11 = client();
        let session = user(&pkcs11, slot);
        let found = session
            .find_objects(&[Attribute::Wrap(true), Attribute::Encrypt(false)])
            .unwrap();
        assert_eq!(found.len(), 1, "also after a restart");
        pkcs11.finalize().unwrap();
    });
}

#[test]
fn what_cannot_be_wrapped_there_is_refused() {
    alone(|_| {
        let server = Server::start(Personality::standard(), Script::none());
        let slot = slot_on(&server);
        let pkcs11 = client();
        let session = user(&pkcs11, slot);
        let (kek, guest) = (kek(&session), guest(&session, 32));
        let kek_value = value(&server, &session, kek);
        let here = [Attribute::ValueLen(32.into()), Attribute::Extractable(true)];
        let here = session.generate_key(&Mechanism::AesKeyGen, &here).unwrap();
        for (mechanism, _) in &WRAPPINGS {
            assert!(matches!(
                rv(session.wrap_key(mechanism, kek, here)),
                RvError::KeyNotWrappable
            ));
        }
        let unextractable = [
            Attribute::Token(true),
            Attribute::ValueLen(32.into()),
            Attribute::Extractable(false),
        ];
        let unextractable = session
            .generate_key(&Mechanism::AesKeyGen, &unextractable)
            .unwrap();
        assert!(matches!(
            rv(session.wrap_key(&Mechanism::AesKeyWrap, kek, unextractable)),
            RvError::KeyUnextractable
        ));
        let odd = [
            Attribute::Token(true),
            Attribute::ValueLen(13.into()),
            Attribute::Extractable(true),
        ];
        let odd = session
            .generate_key(&Mechanism::GenericSecretKeyGen, &odd)
            .unwrap();
        let refused = rv(session.wrap_key(&Mechanism::AesKeyWrap, kek, odd));
        assert!(matches!(refused, RvError::KeyNotWrappable), "{refused:?}");
        session
            .wrap_key(&Mechanism::AesKeyWrapPad, kek, odd)
            .unwrap();
        assert!(!travelled(&server, &kek_value));
        session
            .wrap_key(&Mechanism::AesKeyWrap, kek, guest)
            .unwrap();
        pkcs11.finalize().unwrap();
    });
}

/// Servers that wrap wrongly, or keep what comes wrapped as it came.
#[test]
fn servers_that_wrap_wrongly_are_found_out() {
    alone(|_| {
        for mistake in [Mistake::Wrapping, Mistake::Unwrapping] {
            let mistakes = vec![mistake].leak();
            let server = Server::start(
                Personality {
                    mistakes,
                    enforces_sensitive: false,
                    ..Personality::standard()
                },
                Script::none(),
            );
            let slot = slot_on(&server);
            let pkcs11 = client();
            let session = user(&pkcs11, slot);
            let (kek, guest) = (kek(&session), guest(&session, 32));
            let kek_value = value(&server, &session, kek);
            let wrapped =
                kw::wrap(Wrapping::Kw, &kek_value, &value(&server, &session, guest)).unwrap();
            let before = alive(&server);
            let aes = template(ObjectClass::SECRET_KEY, KeyType::AES, true);
            for _ in 0..2 {
                let outcome = match mistake {
                    Mistake::Wrapping => session
                        .wrap_key(&Mechanism::AesKeyWrap, kek, guest)
                        .map(drop),
                    _ => session
                        .unwrap_key(&Mechanism::AesKeyWrap, kek, &wrapped, &aes)
                        .map(drop),
                };
                assert!(matches!(rv(outcome), RvError::MechanismInvalid));
            }
            assert_eq!(alive(&server), before);
            assert!(!travelled(&server, &kek_value));
            // A key that may be had wraps here.
            let other = [
                Attribute::Token(true),
                Attribute::ValueLen(32.into()),
                Attribute::Wrap(true),
                Attribute::Unwrap(true),
            ];
            let other = session.generate_key(&Mechanism::AesKeyGen, &other).unwrap();
            let wrapped = session
                .wrap_key(&Mechanism::AesKeyWrap, other, guest)
                .unwrap();
            let expected = kw::wrap(
                Wrapping::Kw,
                &value(&server, &session, other),
                &value(&server, &session, guest),
            )
            .unwrap();
            assert_eq!(wrapped, expected);
            let again = session
                .unwrap_key(&Mechanism::AesKeyWrap, other, &wrapped, &aes)
                .unwrap();
            assert_eq!(
                value(&server, &session, again),
                value(&server, &session, guest)
            );
            pkcs11.finalize().unwrap();
        }
    });
}
