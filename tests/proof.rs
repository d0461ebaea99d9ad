//! The first result of each kind that a KMIP server makes is proven right, with a key that is known and does not stay.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsOaepParams, PkcsOaepSource};
use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use mrhsm_pkcs11::ck::CKR_MECHANISM_INVALID;
use mrhsm_pkcs11::crypto::pkey::{Padding, PublicKey};
use mrhsm_pkcs11::error::Kind;
use mrhsm_pkcs11::kmip::{
    BlockCipherMode, HashingAlgorithm, OperationCode as O, ResultReason, State,
};
use mrhsm_pkcs11::net::Config;
use mrhsm_pkcs11::server::Mistake;
use mrhsm_pkcs11::store::kmip::KmipStore;
use mrhsm_pkcs11::store::{Algorithm, Cipher, Class, Filter, Hash, KeyStore, Mac, Memory, Usage};

use crate::ffi::host::alone;
use crate::kmip_server::{Fault, Personality, Script, Server};
use crate::objects::{client, slot_on, user};
use crate::store_kmip::{aes, config, spec};

/// Servers that are tried in different ways: with batches, in other forms, one by one.
fn characters() -> [Personality; 3] {
    let batchless = Personality {
        batches: false,
        placeholder: false,
        ..Personality::standard()
    };
    [
        Personality::standard(),
        Personality::pykmip_like(),
        batchless,
    ]
}

/// Names of keys of trials that are still there.
fn left(server: &Server) -> Vec<String> {
    let dead = |state| matches!(state, State::DESTROYED | State::DESTROYED_COMPROMISED);
    let objects = server
        .objects()
        .into_iter()
        .filter(|object| !dead(object.state));
    objects
        .flat_map(|object| object.names)
        .filter(|name| name.starts_with("mrhsm-trial"))
        .collect()
}

fn ciphers() -> [(BlockCipherMode, Cipher); 5] {
    let iv = vec![1; 16];
    [
        (BlockCipherMode::ECB, Cipher::Ecb),
        (BlockCipherMode::CBC, Cipher::Cbc { iv: iv.clone() }),
        (BlockCipherMode::CBC, Cipher::CbcPad { iv: iv.clone() }),
        (BlockCipherMode::CTR, Cipher::Ctr { counter: iv }),
        (
            BlockCipherMode::GCM,
            Cipher::Gcm {
                iv: vec![1; 12],
                aad: Vec::new(),
                tag_len: 16,
            },
        ),
    ]
}

const TEXT: &[u8] = &[7; 32];

/// A server that makes one mistake. It lives as long as the tests do.
fn mistaken(personality: Personality, mistake: Mistake) -> Server {
    Server::start(
        Personality {
            mistakes: vec![mistake].leak(),
            ..personality
        },
        Script::none(),
    )
}

fn open(server: &Server) -> KmipStore {
    KmipStore::open(config(&[server])).unwrap()
}

/// What is wrong is refused, at once when it was found out before.
fn is_refused<T: std::fmt::Debug>(
    server: &Server,
    mut ask: impl FnMut() -> mrhsm_pkcs11::error::Result<T>,
) {
    for known in [false, true] {
        server.clear_log();
        let error = ask().unwrap_err();
        assert_eq!(
            (error.kind(), error.rv()),
            (Kind::Protocol, CKR_MECHANISM_INVALID),
            "{error}"
        );
        assert!(error.to_string().contains("wrongly"), "{error}");
        assert!(!known || server.count() == 0, "{:?}", server.operations());
    }
}

#[test]
fn wrong_ciphers_and_macs_are_found_out() {
    for personality in characters() {
        for (mode, cipher) in ciphers() {
            println!("{} {cipher:?}", personality.name);
            let server = mistaken(personality.clone(), Mistake::Encryption(mode));
            let store = open(&server);
            let uid = store.create(&aes("k")).unwrap();
            is_refused(&server, || {
                store.encrypt(&uid, Algorithm::Aes, &cipher, TEXT)
            });
            let (_, other) = ciphers()
                .into_iter()
                .find(|(other, _)| *other != mode)
                .unwrap();
            store.encrypt(&uid, Algorithm::Aes, &other, TEXT).unwrap();
            assert_eq!(left(&server), [""; 0]);

            let server = mistaken(personality.clone(), Mistake::Decryption(mode));
            let store = open(&server);
            let uid = store.create(&aes("k")).unwrap();
            let sealed = store.encrypt(&uid, Algorithm::Aes, &cipher, TEXT).unwrap();
            is_refused(&server, || {
                store.decrypt(&uid, Algorithm::Aes, &cipher, &sealed)
            });
            assert_eq!(left(&server), [""; 0]);
        }
        let server = mistaken(personality.clone(), Mistake::AnyTag);
        let store = open(&server);
        let uid = store.create(&aes("k")).unwrap();
        let gcm = ciphers()[4].1.clone();
        let sealed = store.encrypt(&uid, Algorithm::Aes, &gcm, TEXT).unwrap();
        is_refused(&server, || {
            store.decrypt(&uid, Algorithm::Aes, &gcm, &sealed)
        });

        let server = mistaken(
            personality.clone(),
            Mistake::Hmac(HashingAlgorithm::SHA_256),
        );
        let store = open(&server);
        let usage = Usage::MAC_GENERATE | Usage::MAC_VERIFY;
        let key = |hash| spec(Class::SecretKey, Algorithm::Hmac(hash), 256, usage, "hmac");
        let uid = store.register(&key(Hash::Sha256), TEXT).unwrap();
        is_refused(&server, || store.mac(&uid, Mac::Hmac(Hash::Sha256), TEXT));
        let uid = store.register(&key(Hash::Sha512), TEXT).unwrap();
        store.mac(&uid, Mac::Hmac(Hash::Sha512), TEXT).unwrap();
        assert_eq!(left(&server), [""; 0]);

        let server = mistaken(personality, Mistake::RsaDecryption);
        let store = open(&server);
        let half = |class, usage| spec(class, Algorithm::Rsa, 2048, usage, "pair");
        let (public, private) = store
            .create_pair(
                &half(Class::PublicKey, Usage::ENCRYPT),
                &half(Class::PrivateKey, Usage::DECRYPT),
            )
            .unwrap();
        let public = PublicKey::from_spki(store.fetch(&public).unwrap().expose()).unwrap();
        let sealed = public.encrypt(Padding::Pkcs1, b"a key").unwrap();
        is_refused(&server, || {
            store.decrypt(&private, Algorithm::Rsa, &Cipher::RsaPkcs1, &sealed)
        });
        assert_eq!(left(&server), [""; 0]);
    }
}

/// What a trial costs: two requests where there are batches, never the value of another key, and nothing the second time.
#[test]
fn a_trial_is_two_requests() {
    let server = Server::start(Personality::standard(), Script::none());
    let store = open(&server);
    let uid = store.create(&aes("k")).unwrap();
    for (mode, cipher) in ciphers() {
        server.clear_log();
        let sealed = store.encrypt(&uid, Algorithm::Aes, &cipher, TEXT).unwrap();
        let asked = server
            .operations()
            .into_iter()
            .filter(|o| *o != O::QUERY)
            .collect::<Vec<_>>();
        let forged = [O::DECRYPT].repeat(usize::from(mode == BlockCipherMode::GCM));
        let trial = [
            &[O::ENCRYPT, O::REGISTER, O::ACTIVATE, O::ENCRYPT, O::DECRYPT],
            &forged[..],
            &[O::REVOKE, O::DESTROY],
        ];
        assert_eq!(asked, trial.concat());
        let questions = usize::from(mode == BlockCipherMode::ECB);
        assert_eq!(server.count(), 3 + questions, "{mode}");
        server.clear_log();
        store.encrypt(&uid, Algorithm::Aes, &cipher, TEXT).unwrap();
        store
            .decrypt(&uid, Algorithm::Aes, &cipher, &sealed)
            .unwrap();
        assert_eq!(server.operations(), [O::ENCRYPT, O::DECRYPT]);
    }
}

#[test]
fn a_server_that_takes_no_keys_is_used_unverified_and_asked_once() {
    for personality in characters() {
        let server = Server::start(personality, Script::none());
        let store = open(&server);
        let uid = store.create(&aes("k")).unwrap();
        server.script(
            Script::none().every(O::REGISTER, Fault::Fail(ResultReason::PERMISSION_DENIED)),
        );
        server.clear_log();
        for (_, cipher) in ciphers() {
            store.encrypt(&uid, Algorithm::Aes, &cipher, TEXT).unwrap();
        }
        assert_eq!(server.count_of(O::REGISTER), 1);
        assert_eq!(server.objects().len(), 1);
    }
}

/// Whatever breaks in the middle of a trial, the call succeeds and no key is left behind.
#[test]
fn a_trial_that_breaks_leaves_nothing() {
    let faults = [
        Fault::ResetBefore,
        Fault::ResetAfter,
        Fault::ResetWithin,
        Fault::HalfFrame,
        Fault::Garbage,
    ];
    for personality in characters() {
        for fault in &faults {
            for operation in [O::REGISTER, O::ACTIVATE, O::DECRYPT, O::REVOKE, O::DESTROY] {
                println!("{} {fault:?} {operation}", personality.name);
                let server = Server::start(personality.clone(), Script::none());
                let store = KmipStore::open(Config {
                    deadline: Duration::from_secs(3),
                    ..config(&[&server])
                })
                .unwrap();
                let uid = store.create(&aes("k")).unwrap();
                server.script(Script::none().at_operation(operation, 1, fault.clone()));
                store
                    .encrypt(&uid, Algorithm::Aes, &ciphers()[2].1, TEXT)
                    .unwrap();
                assert_eq!(left(&server), [""; 0]);
            }
        }
    }
}

#[derive(Default)]
struct Page(Mutex<Option<String>>);

impl Memory for Page {
    fn recall(&self) -> Option<String> {
        self.0.lock().unwrap().clone()
    }

    fn keep(&self, text: &str) {
        *self.0.lock().unwrap() = Some(text.to_owned());
    }
}

impl Page {
    fn edit(&self, change: impl FnOnce(&mut serde_json::Value)) {
        let mut page = self.0.lock().unwrap();
        let mut value = serde_json::from_str(page.as_ref().unwrap()).unwrap();
        change(&mut value);
        *page = Some(value.to_string());
    }
}

/// A host that dies leaves the key of a trial behind: the process destroys it when the host is back, or another process does.
#[test]
fn what_a_dying_host_leaves_is_destroyed_later() {
    for by_another_process in [false, true] {
        let server = Server::start(Personality::standard(), Script::none());
        let page = Arc::new(Page::default());
        let deadline = Duration::from_secs(1);
        let store = || {
            KmipStore::open(Config {
                deadline,
                ..config(&[&server])
            })
            .unwrap()
            .remembering(page.clone())
        };
        let first = store();
        let uid = first.create(&aes("k")).unwrap();
        server.script(Script::none().at_operation(O::REGISTER, 1, Fault::Kill));
        first
            .encrypt(&uid, Algorithm::Aes, &ciphers()[2].1, TEXT)
            .unwrap();
        assert_eq!(left(&server).len(), 1);
        server.restart();
        let listed = first.locate(&Filter::default()).unwrap();
        assert_eq!(
            (listed.len(), first.meta(&listed).unwrap().len()),
            (2, 1),
            "nobody is shown it"
        );
        if by_another_process {
            let other = store();
            other
                .encrypt(&uid, Algorithm::Aes, &ciphers()[2].1, TEXT)
                .unwrap();
            assert_eq!(left(&server).len(), 1, "it may still be in use");
            page.edit(|page| {
                page["leftovers"]
                    .as_object_mut()
                    .unwrap()
                    .values_mut()
                    .for_each(|since| *since = 1.into())
            });
            store()
                .encrypt(&uid, Algorithm::Aes, &ciphers()[2].1, TEXT)
                .unwrap();
        } else {
            first
                .encrypt(&uid, Algorithm::Aes, &ciphers()[0].1, TEXT)
                .unwrap();
        }
        assert_eq!(left(&server), [""; 0]);
        assert!(
            serde_json::from_str::<serde_json::Value>(&page.recall().unwrap()).unwrap()["leftovers"]
                .as_object()
                .unwrap()
                .is_empty()
        );
        assert_eq!(
            server
                .objects()
                .into_iter()
                .filter(|object| object.state == State::ACTIVE)
                .count(),
            1,
            "the user's key stays"
        );
    }
}

#[test]
fn a_later_process_pays_nothing_and_another_server_is_proven_anew() {
    for personality in characters() {
        let server = Server::start(personality.clone(), Script::none());
        let page = Arc::new(Page::default());
        let store = || {
            KmipStore::open(config(&[&server]))
                .unwrap()
                .remembering(page.clone())
        };
        let first = store();
        let uid = first.create(&aes("k")).unwrap();
        for (_, cipher) in ciphers() {
            first.encrypt(&uid, Algorithm::Aes, &cipher, TEXT).unwrap();
        }
        let later = |cost: &[O]| {
            let store = store();
            store.version().unwrap();
            for (_, cipher) in ciphers() {
                server.clear_log();
                store.encrypt(&uid, Algorithm::Aes, &cipher, TEXT).unwrap();
                let asked: Vec<O> = server
                    .operations()
                    .into_iter()
                    .filter(|o| *o != O::QUERY)
                    .collect();
                assert_eq!(
                    &asked[..1],
                    [O::ENCRYPT],
                    "{}: the form is known",
                    personality.name
                );
                assert!(cost.iter().all(|o| asked.contains(o)), "{asked:?}");
                assert!(
                    !cost.is_empty() || asked.len() == 1,
                    "{}: {asked:?}",
                    personality.name
                );
            }
        };
        later(&[]);
        for spoilt in ["", "{", "[]", "{\"proven\": 1}"] {
            page.keep(spoilt);
            let store = store();
            store
                .encrypt(&uid, Algorithm::Aes, &Cipher::Ecb, TEXT)
                .unwrap();
        }
        for (_, cipher) in ciphers() {
            first.encrypt(&uid, Algorithm::Aes, &cipher, TEXT).unwrap();
        }
        page.edit(|page| page["server"] = "1.4 another".into());
        let store = store();
        server.clear_log();
        store
            .encrypt(&uid, Algorithm::Aes, &ciphers()[2].1, TEXT)
            .unwrap();
        assert_eq!(server.count_of(O::REGISTER), 1, "who it is has changed");
        assert_eq!(left(&server), [""; 0]);
    }
}

/// Threads that begin at once make one trial.
#[test]
fn threads_share_a_trial() {
    let server = Server::start(Personality::standard(), Script::none());
    let store = open(&server);
    let uid = store.create(&aes("k")).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                store
                    .encrypt(&uid, Algorithm::Aes, &ciphers()[4].1, TEXT)
                    .unwrap()
            });
        }
    });
    assert_eq!(server.count_of(O::REGISTER), 1);
}

/// A server that gives values away which are not to be extracted.
fn open_handed() -> Personality {
    Personality {
        enforces_sensitive: false,
        ..Personality::standard()
    }
}

/// A key that the server keeps, and one that may be used here.
fn keys(session: &Session, mechanism: &Mechanism<'_>) -> [ObjectHandle; 2] {
    let template = [Attribute::Token(true), Attribute::ValueLen(32.into())];
    let kept = [&template[..], &[Attribute::Extractable(false)]].concat();
    [kept.as_slice(), &template].map(|template| session.generate_key(mechanism, template).unwrap())
}

fn is_device_error<T: std::fmt::Debug>(outcome: Result<T, Error>) {
    assert!(
        matches!(outcome, Err(Error::Pkcs11(RvError::DeviceError, _))),
        "{outcome:?}"
    );
}

#[test]
fn wrong_servers_serve_no_kept_keys_and_others_are_used_here() {
    alone(|_| {
        for mode in [
            BlockCipherMode::ECB,
            BlockCipherMode::CBC,
            BlockCipherMode::GCM,
        ] {
            let server = mistaken(open_handed(), Mistake::Encryption(mode));
            let slot = slot_on(&server);
            let pkcs11 = client();
            let session = user(&pkcs11, slot);
            let [kept, other] = keys(&session, &Mechanism::AesKeyGen);
            let mut nonce = [5; 12];
            let mechanism = match mode {
                BlockCipherMode::ECB => Mechanism::AesEcb,
                BlockCipherMode::CBC => Mechanism::AesCbcPad([1; 16]),
                _ => Mechanism::AesGcm(GcmParams::new(&mut nonce, b"aad", 128.into()).unwrap()),
            };
            is_device_error(session.encrypt(&mechanism, kept, TEXT));
            session.encrypt_init(&mechanism, kept).unwrap();
            // A part in ECB mode goes at once, the others wait for the end.
            is_device_error(
                session
                    .encrypt_update(TEXT)
                    .and_then(|_| session.encrypt_final()),
            );
            assert_eq!(server.count_of(O::GET), 0);
            let sealed = session.encrypt(&mechanism, other, TEXT).unwrap();
            assert_eq!(session.decrypt(&mechanism, other, &sealed).unwrap(), TEXT);
            assert_eq!(server.count_of(O::GET), 1);
            pkcs11.finalize().unwrap();
        }
    });
}

#[test]
fn wrong_macs_and_rsa_decryptions_serve_no_kept_keys() {
    alone(|_| {
        let server = mistaken(open_handed(), Mistake::Hmac(HashingAlgorithm::SHA_256));
        let slot = slot_on(&server);
        let pkcs11 = client();
        let session = user(&pkcs11, slot);
        let [kept, other] = keys(&session, &Mechanism::GenericSecretKeyGen);
        is_device_error(session.sign(&Mechanism::Sha256Hmac, kept, TEXT));
        session.sign(&Mechanism::Sha512Hmac, kept, TEXT).unwrap();
        assert_eq!(server.count_of(O::GET), 0);
        let code = session.sign(&Mechanism::Sha256Hmac, other, TEXT).unwrap();
        session
            .verify(&Mechanism::Sha256Hmac, other, TEXT, &code)
            .unwrap();
        pkcs11.finalize().unwrap();

        // A long message goes in parts, and is not sent on to a server that is wrong.
        let pkcs11 = client();
        let session = user(&pkcs11, slot);
        let [kept, other] = keys(&session, &Mechanism::GenericSecretKeyGen);
        let long = vec![7; 1 << 20];
        session.sign_init(&Mechanism::Sha256Hmac, other).unwrap();
        session.sign_update(&long).unwrap();
        let code = session.sign_final().unwrap();
        session
            .verify(&Mechanism::Sha256Hmac, other, &long, &code)
            .unwrap();
        session.sign_init(&Mechanism::Sha256Hmac, kept).unwrap();
        is_device_error(
            session
                .sign_update(&long)
                .and_then(|()| session.sign_final()),
        );
        pkcs11.finalize().unwrap();

        let server = mistaken(open_handed(), Mistake::RsaDecryption);
        let slot = slot_on(&server);
        let pkcs11 = client();
        let session = user(&pkcs11, slot);
        let oaep = || {
            PkcsOaepParams::new(
                cryptoki::mechanism::MechanismType::SHA256,
                PkcsMgfType::MGF1_SHA256,
                PkcsOaepSource::empty(),
            )
        };
        for extractable in [&[Attribute::Extractable(false)][..], &[]] {
            let public = [Attribute::Token(true), Attribute::ModulusBits(2048.into())];
            let private = [&[Attribute::Token(true)], extractable].concat();
            let (public, private) = session
                .generate_key_pair(&Mechanism::RsaPkcsKeyPairGen, &public, &private)
                .unwrap();
            let sealed = session
                .encrypt(&Mechanism::RsaPkcsOaep(oaep()), public, b"a key")
                .unwrap();
            let opened = session.decrypt(&Mechanism::RsaPkcsOaep(oaep()), private, &sealed);
            match extractable.is_empty() {
                true => assert_eq!(opened.unwrap(), b"a key"),
                false => is_device_error(opened),
            }
        }
        pkcs11.finalize().unwrap();
    });
}

/// What was learnt of signatures, the form that works among it, serves later processes too.
#[test]
fn a_later_process_knows_how_signatures_are_asked_for() {
    alone(|_| {
        let server = Server::start(
            Personality {
                hashes_digests: true,
                ..Personality::standard()
            },
            Script::none(),
        );
        let slot = slot_on(&server);
        let template = [
            Attribute::Token(true),
            Attribute::Class(ObjectClass::PRIVATE_KEY),
            Attribute::Extractable(false),
        ];
        let pkcs11 = client();
        let session = user(&pkcs11, slot);
        let public = [Attribute::Token(true), Attribute::ModulusBits(2048.into())];
        let (_, private) = session
            .generate_key_pair(&Mechanism::RsaPkcsKeyPairGen, &public, &template)
            .unwrap();
        let signature = session
            .sign(&Mechanism::Sha256RsaPkcs, private, TEXT)
            .unwrap();
        assert!(server.count_of(O::SIGN) > 1, "the first form is wrong");
        pkcs11.finalize().unwrap();

        let pkcs11 = client();
        let session = user(&pkcs11, slot);
        let private = session.find_objects(&template).unwrap()[0];
        server.clear_log();
        assert_eq!(
            session
                .sign(&Mechanism::Sha256RsaPkcs, private, TEXT)
                .unwrap(),
            signature
        );
        assert_eq!(server.count_of(O::SIGN), 1);
        assert_eq!(server.count_of(O::GET), 0, "the public half is not needed");
        pkcs11.finalize().unwrap();
    });
}
