//! Objects on KMIP servers of every character, made, found and changed through the module by the `cryptoki` crate.

use std::time::Duration;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{
    Attribute, AttributeType, CertificateType, KeyType, ObjectClass, ObjectHandle,
};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use mrhsm_pkcs11::crypto::Curve;
use mrhsm_pkcs11::crypto::pkey::PrivateKey;
use mrhsm_pkcs11::kmip::message::RequestMessage;
use mrhsm_pkcs11::kmip::{
    CreateKeyPairRequest, CreateRequest, OperationCode, RegisterRequest, State as ServerState,
};
use mrhsm_pkcs11::net::Client;

use crate::ffi::host::{USER_PIN, alone, kmip_token, library_path};
use crate::kmip_server::{Fault, Personality, Script, Seen, Server};
use crate::store_kmip::config;

/// A client with the module, initialised.
pub fn client() -> Pkcs11 {
    let pkcs11 = Pkcs11::new(library_path()).unwrap();
    pkcs11
        .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
        .unwrap();
    pkcs11
}

/// A read/write session of the user.
pub fn user(pkcs11: &Pkcs11, slot: Slot) -> Session {
    let session = pkcs11.open_rw_session(slot).unwrap();
    let pin = AuthPin::new(String::from_utf8(USER_PIN.to_vec()).unwrap().into());
    session.login(UserType::User, Some(&pin)).unwrap();
    session
}

/// Makes a token on the server; its slot.
pub fn slot_on(server: &Server) -> Slot {
    Slot::try_from(kmip_token(server.port(), Duration::from_secs(10))).unwrap()
}

const SHOWN: &[AttributeType] = &[
    AttributeType::Class,
    AttributeType::Token,
    AttributeType::Private,
    AttributeType::Label,
    AttributeType::Id,
    AttributeType::KeyType,
    AttributeType::Sensitive,
    AttributeType::Extractable,
    AttributeType::AlwaysSensitive,
    AttributeType::NeverExtractable,
    AttributeType::Local,
    AttributeType::Modifiable,
    AttributeType::Destroyable,
    AttributeType::Encrypt,
    AttributeType::Decrypt,
    AttributeType::Sign,
    AttributeType::Verify,
    AttributeType::Wrap,
    AttributeType::Unwrap,
    AttributeType::Derive,
    AttributeType::ValueLen,
    AttributeType::Modulus,
    AttributeType::PublicExponent,
    AttributeType::EcParams,
    AttributeType::EcPoint,
    AttributeType::Application,
    AttributeType::ObjectId,
    AttributeType::Subject,
    AttributeType::SerialNumber,
    AttributeType::Issuer,
];

fn shown(session: &Session, object: ObjectHandle) -> Vec<Attribute> {
    session.get_attributes(object, SHOWN).unwrap()
}

/// One object of every sort: what it is called, and its handle.
fn one_of_each(session: &Session) -> Vec<(&'static str, ObjectHandle)> {
    let label = |text: &str| Attribute::Label(text.as_bytes().to_vec());
    let id = |bytes: &[u8]| Attribute::Id(bytes.to_vec());
    let token = Attribute::Token(true);
    let generate = |mechanism, len: u64, rows: &[Attribute]| {
        let mut template = vec![token.clone(), Attribute::ValueLen(len.into())];
        template.extend_from_slice(rows);
        session.generate_key(&mechanism, &template).unwrap()
    };
    let kept = generate(
        Mechanism::AesKeyGen,
        32,
        &[
            label("kept \u{e9}"),
            id(b"\x00\xff"),
            Attribute::Wrap(false),
        ],
    );
    let free = [
        label("free"),
        Attribute::Extractable(true),
        Attribute::Sensitive(false),
        Attribute::Private(false),
    ];
    let free = generate(Mechanism::AesKeyGen, 16, &free);
    let secret = generate(
        Mechanism::GenericSecretKeyGen,
        20,
        &[label("secret"), Attribute::Modifiable(false)],
    );
    let rsa = (
        [
            token.clone(),
            label("rsa"),
            id(b"rsa"),
            Attribute::ModulusBits(2048.into()),
        ],
        [
            token.clone(),
            label("rsa"),
            id(b"rsa"),
            Attribute::Derive(true),
        ],
    );
    let (rsa_public, rsa_private) = session
        .generate_key_pair(&Mechanism::RsaPkcsKeyPairGen, &rsa.0, &rsa.1)
        .unwrap();

    let pair = PrivateKey::generate_ec(Curve::P256).unwrap();
    let params = Attribute::EcParams(Curve::P256.params().to_vec());
    let point = pair.public().unwrap().point().unwrap();
    let private = [
        token.clone(),
        label("ec"),
        id(b"ec"),
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::KeyType(KeyType::EC),
        params.clone(),
        Attribute::Value(pair.scalar().unwrap().expose().to_vec()),
    ];
    let public = [
        token.clone(),
        label("ec"),
        id(b"ec"),
        Attribute::Class(ObjectClass::PUBLIC_KEY),
        Attribute::KeyType(KeyType::EC),
        params,
        Attribute::EcPoint([&[4, 65], &point[..]].concat()),
    ];
    let certified = rcgen::generate_simple_self_signed(["example.org".to_string()]).unwrap();
    let certificate = [
        token.clone(),
        label("cert"),
        id(b"ec"),
        Attribute::Class(ObjectClass::CERTIFICATE),
        Attribute::CertificateType(CertificateType::X_509),
        Attribute::Subject(b"0".to_vec()),
        Attribute::Value(certified.cert.der().to_vec()),
    ];
    let data = [
        token,
        label("data"),
        Attribute::Class(ObjectClass::DATA),
        Attribute::Application(b"app".to_vec()),
        Attribute::Value(b"some text".to_vec()),
        Attribute::Destroyable(true),
    ];
    vec![
        ("kept", kept),
        ("free", free),
        ("secret", secret),
        ("rsa public", rsa_public),
        ("rsa private", rsa_private),
        ("ec private", session.create_object(&private).unwrap()),
        ("ec public", session.create_object(&public).unwrap()),
        ("certificate", session.create_object(&certificate).unwrap()),
        ("data", session.create_object(&data).unwrap()),
    ]
}

/// Objects of every sort survive the process: another one sees the same attributes, finds them by any of them and ends their lives.
fn objects_survive(personality: Personality) {
    let server = Server::start(personality, Script::none());
    let slot = slot_on(&server);
    let pkcs11 = client();
    let session = user(&pkcs11, slot);
    let before: Vec<_> = one_of_each(&session)
        .into_iter()
        .map(|(name, object)| (name, shown(&session, object)))
        .collect();
    let made = server.objects().len();
    assert_eq!(made, before.len());
    drop(session);
    pkcs11.finalize().unwrap();

    let pkcs11 = client();
    let session = user(&pkcs11, slot);
    assert_eq!(session.find_objects(&[]).unwrap().len(), before.len());
    for (name, attributes) in &before {
        let found = session.find_objects(&attributes[..4]).unwrap();
        assert_eq!(found.len(), 1, "{name}");
        assert_eq!(shown(&session, found[0]), *attributes, "{name}");
        // Everything that is shown can be searched by, each attribute alone and all together.
        for attribute in attributes {
            let by_one = session
                .find_objects(std::slice::from_ref(attribute))
                .unwrap();
            assert!(by_one.contains(&found[0]), "{name}: {attribute:?}");
        }
        assert_eq!(session.find_objects(attributes).unwrap(), found, "{name}");
    }
    let labelled = |text: &str| {
        session
            .find_objects(&[Attribute::Label(text.as_bytes().to_vec())])
            .unwrap()
    };
    assert_eq!(labelled("rsa").len(), 2);
    assert_eq!(labelled("nothing like it").len(), 0);
    let rsa = [
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::Id(b"rsa".to_vec()),
    ];
    let [rsa] = session.find_objects(&rsa).unwrap()[..] else {
        panic!("one private key has this identifier")
    };
    session
        .update_attributes(
            rsa,
            &[
                Attribute::Label(b"renamed".to_vec()),
                Attribute::Id(b"new".to_vec()),
            ],
        )
        .unwrap();
    assert_eq!(labelled("renamed"), [rsa]);
    assert!(
        session
            .update_attributes(labelled("secret")[0], &[Attribute::Label(b"x".to_vec())])
            .is_err()
    );
    let [free] = labelled("free")[..] else {
        panic!("one key is labelled so")
    };
    let [Attribute::Value(value)] = &session
        .get_attributes(free, &[AttributeType::Value])
        .unwrap()[..]
    else {
        panic!()
    };
    assert_eq!(value.len(), 16);
    let [data] = labelled("data")[..] else {
        panic!("one object is labelled so")
    };
    assert_eq!(
        session
            .get_attributes(data, &[AttributeType::Value])
            .unwrap(),
        [Attribute::Value(b"some text".to_vec())]
    );
    drop(session);
    pkcs11.finalize().unwrap();

    let pkcs11 = client();
    let public = pkcs11.open_ro_session(slot).unwrap();
    let requests = server.count();
    let shown_to_all = public.find_objects(&[]).unwrap();
    assert!(!shown_to_all.is_empty());
    for object in shown_to_all {
        let attributes = [AttributeType::Private, AttributeType::Class];
        let [Attribute::Private(false), Attribute::Class(class)] =
            public.get_attributes(object, &attributes).unwrap()[..]
        else {
            panic!("a private object is shown")
        };
        assert_ne!(class, ObjectClass::SECRET_KEY);
    }
    assert_eq!(server.count(), requests, "no PIN, no key to the server");
    let session = user(&pkcs11, slot);
    assert_eq!(
        session
            .find_objects(&[
                Attribute::Label(b"renamed".to_vec()),
                Attribute::Id(b"new".to_vec())
            ])
            .unwrap()
            .len(),
        1
    );
    for object in session.find_objects(&[]).unwrap() {
        session.destroy_object(object).unwrap();
    }
    assert!(session.find_objects(&[]).unwrap().is_empty());
    let left = server
        .objects()
        .into_iter()
        .filter(|o| o.state.0 < 5)
        .count();
    assert_eq!(left, 0, "objects on the server");
}

#[test]
fn objects_survive_on_a_server_by_the_book() {
    alone(|_| objects_survive(Personality::standard()));
}

#[test]
fn objects_survive_on_a_server_like_pykmip() {
    alone(|_| objects_survive(Personality::pykmip_like()));
}

#[test]
fn objects_survive_on_a_key_store_of_kmip_1_0() {
    alone(|_| objects_survive(Personality::keystore_1_0()));
}

#[test]
fn objects_survive_on_a_server_like_cosmian() {
    alone(|_| objects_survive(Personality::cosmian_like()));
}

/// Whichever response is lost, an object that was changed or destroyed is reported as such.
#[test]
fn a_lost_response_is_no_error_of_a_change() {
    alone(|_| {
        let server = Server::start(Personality::standard(), Script::none());
        let slot = slot_on(&server);
        let pkcs11 = client();
        let session = user(&pkcs11, slot);
        let key = || {
            let template = [Attribute::Token(true), Attribute::ValueLen(32.into())];
            session
                .generate_key(&Mechanism::AesKeyGen, &template)
                .unwrap()
        };
        key();
        // Destroy, Get Attributes, Revoke, Destroy.
        for lost in 1..=4 {
            let key = key();
            server.script(Script::none().at(lost, Fault::ResetAfter));
            session.destroy_object(key).unwrap();
            server.script(Script::none());
            assert!(session.destroy_object(key).is_err());
        }
        for operation in [
            OperationCode::GET_ATTRIBUTES,
            OperationCode::MODIFY_ATTRIBUTE,
        ] {
            let key = key();
            server.script(Script::none().at_operation(operation, 1, Fault::ResetAfter));
            let label = Attribute::Label(b"changed".to_vec());
            session
                .update_attributes(key, std::slice::from_ref(&label))
                .unwrap();
            let labels = session.get_attributes(key, &[AttributeType::Label]);
            assert_eq!(labels.unwrap(), [label]);
        }
    });
}

/// What the server was asked to make is made again, as by a host that executes a request late.
fn execute_again(server: &Server) {
    let client = Client::new(config(&[server]));
    let mut repeated = 0;
    for exchange in server.log() {
        let message = RequestMessage::decode(&exchange.request).unwrap();
        let Some(item) = message.items.first() else {
            continue;
        };
        let made = match item.operation {
            OperationCode::CREATE => client
                .request(&item.request::<CreateRequest>().unwrap())
                .map(drop),
            OperationCode::CREATE_KEY_PAIR => client
                .request(&item.request::<CreateKeyPairRequest>().unwrap())
                .map(drop),
            OperationCode::REGISTER => client
                .request(&item.request::<RegisterRequest>().unwrap())
                .map(drop),
            _ => continue,
        };
        made.unwrap();
        repeated += 1;
    }
    assert!(repeated > 0);
}

/// A request that was executed twice made twins: every process shows the object that its caller
/// got, and the other one not even when that is destroyed. Nothing but its creator destroys it.
#[test]
fn a_twin_is_hidden_from_every_process() {
    alone(|_| {
        for personality in [
            Personality::standard(),
            Personality::pykmip_like(),
            Personality::cosmian_like(),
        ] {
            let server = Server::start(personality, Script::none());
            let slot = slot_on(&server);
            let pkcs11 = client();
            let session = user(&pkcs11, slot);
            let named = |more: &[Attribute]| {
                let mut all = vec![Attribute::Token(true), Attribute::Label(b"t".to_vec())];
                all.extend(more.iter().cloned());
                all
            };
            server.clear_log();
            let uid = |session: &Session, object: ObjectHandle| {
                session
                    .get_attributes(object, &[AttributeType::UniqueId])
                    .unwrap()
            };
            let key = session
                .generate_key(
                    &Mechanism::AesKeyGen,
                    &named(&[Attribute::ValueLen(32.into())]),
                )
                .unwrap();
            let (public, private) = session
                .generate_key_pair(
                    &Mechanism::RsaPkcsKeyPairGen,
                    &named(&[Attribute::ModulusBits(2048.into())]),
                    &named(&[Attribute::Sign(true)]),
                )
                .unwrap();
            let returned: Vec<_> = [key, public, private]
                .map(|object| uid(&session, object))
                .into();
            execute_again(&server);
            drop(session);
            pkcs11.finalize().unwrap();

            let pkcs11 = client();
            let session = user(&pkcs11, slot);
            let label = [Attribute::Label(b"t".to_vec())];
            let found = session.find_objects(&label).unwrap();
            let mut shown: Vec<_> = found.iter().map(|o| uid(&session, *o)).collect();
            let mut expected = returned.clone();
            for list in [&mut shown, &mut expected] {
                list.sort_by_key(|uid| format!("{uid:?}"));
            }
            assert_eq!(shown, expected);
            for object in found {
                session.destroy_object(object).unwrap();
            }
            assert!(session.find_objects(&label).unwrap().is_empty());
            let left = server
                .objects()
                .into_iter()
                .filter(|o| o.state == ServerState::PRE_ACTIVE);
            assert!(left.count() >= 3, "the twins stay");
            drop(session);
            pkcs11.finalize().unwrap();
        }
    });
}

/// A key whose protection the server drops is not returned: the next process would show its value.
#[test]
fn a_key_without_its_protection_is_not_made() {
    alone(|_| {
        let server = Server::start(Personality::forgetful(), Script::none());
        let slot = slot_on(&server);
        let pkcs11 = client();
        let session = user(&pkcs11, slot);
        let template = [
            Attribute::Token(true),
            Attribute::ValueLen(32.into()),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
        ];
        let made = session.generate_key(&Mechanism::AesKeyGen, &template);
        assert!(
            matches!(made, Err(Error::Pkcs11(RvError::TemplateInconsistent, _))),
            "{made:?}"
        );
        let destroyed = |o: &Seen| o.state == ServerState::DESTROYED;
        assert!(server.objects().iter().all(destroyed));
    });
}
