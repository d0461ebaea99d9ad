//! Breaks, silence, death, bad certificates: what was promised is kept, and every call ends.

use mrhsm_pkcs11::kmip::{
    AttributeValue, Attributes, CreateRequest, CryptographicAlgorithm, CryptographicUsageMask,
    Name, ObjectType,
};
use mrhsm_pkcs11::net::Client;

use super::*;

/// A create whose answer is lost, or whose request is, makes one key and no twin.
#[test]
fn a_broken_create_leaves_one_key() {
    for personality in Personality::all() {
        for fault in [
            Fault::ResetBefore,
            Fault::ResetAfter,
            Fault::ResetWithin,
            Fault::CloseAfter,
        ] {
            for named in [false, true] {
                println!("{} {fault:?} named: {named}", personality.name);
                let server = Server::start(personality.clone(), Script::none());
                let store = store(&server);
                store.version().unwrap();
                server.script(Script::none().at_operation(OperationCode::CREATE, 1, fault.clone()));
                let name = named.then(|| "mrhsm:c:core:1".to_owned());
                let uid = store.create(&Spec { name, ..aes("k") }).unwrap();
                assert_eq!(alive(&server), std::slice::from_ref(&uid.0));
                assert_eq!(meta(&store, &uid).state, Some(State::Active));
            }
        }
    }
}

/// The same for Create Key Pair and Register.
#[test]
fn broken_pairs_and_registers_leave_no_twin() {
    for personality in [Personality::standard(), Personality::pykmip_like()] {
        for fault in [Fault::ResetBefore, Fault::ResetAfter, Fault::ResetWithin] {
            println!("{} {fault:?}", personality.name);
            let server = Server::start(personality.clone(), Script::none());
            let store = store(&server);
            store.version().unwrap();
            server.script(Script::none().at_operation(
                OperationCode::CREATE_KEY_PAIR,
                1,
                fault.clone(),
            ));
            let half = |class, usage| spec(class, Algorithm::Rsa, 2048, usage, "pair");
            let (public, private) = store
                .create_pair(
                    &half(Class::PublicKey, Usage::VERIFY),
                    &half(Class::PrivateKey, Usage::SIGN),
                )
                .unwrap();
            assert_eq!(meta(&store, &public).class, Class::PublicKey);
            assert_eq!(meta(&store, &private).class, Class::PrivateKey);
            assert_eq!(alive(&server).len(), 2);

            server.script(Script::none().at_operation(OperationCode::REGISTER, 1, fault.clone()));
            let uid = store.register(&aes("r"), &[5; 32]).unwrap();
            assert_eq!(alive(&server).len(), 3);
            assert_eq!(store.fetch(&uid).unwrap().expose(), [5; 32]);
        }
    }
}

/// A key that the store did not make: it has none of our attributes.
fn foreign(server: &Server) -> Uid {
    let attributes = Attributes::new()
        .with(AttributeValue::CryptographicAlgorithm(
            CryptographicAlgorithm::AES,
        ))
        .with(AttributeValue::CryptographicLength(256))
        .with(AttributeValue::CryptographicUsageMask(
            CryptographicUsageMask::ENCRYPT,
        ))
        .with(AttributeValue::Name(Name::from("foreign")));
    let request = CreateRequest {
        object_type: ObjectType::SYMMETRIC_KEY,
        template_attribute: attributes.into(),
        ..CreateRequest::default()
    };
    let client = Client::new(config(&[server]));
    Uid(client.request(&request).unwrap().unique_identifier)
}

/// Whichever response of an operation is lost after the server executed the request, the operation
/// has the outcome that it has without the loss.
#[test]
fn a_lost_response_changes_no_outcome() {
    type Work = fn(&KmipStore, &Uid) -> Result<(), Error>;
    fn change(store: &KmipStore, uid: &Uid) -> Result<(), Error> {
        store.update(
            uid,
            &Changes {
                label: Some(b"new".to_vec()),
                id: Some(vec![7, 8]),
                sensitive: Some(true),
                extractable: Some(false),
                ..Changes::default()
            },
        )
    }
    let works: [(&str, bool, Work); 9] = [
        ("create", true, |store, _| store.create(&aes("a")).map(drop)),
        ("create a pair", true, |store, _| {
            let half = |class, usage| spec(class, Algorithm::Rsa, 2048, usage, "pair");
            let public = half(Class::PublicKey, Usage::VERIFY);
            store
                .create_pair(&public, &half(Class::PrivateKey, Usage::SIGN))
                .map(drop)
        }),
        ("register", true, |store, _| {
            store.register(&aes("r"), &[5; 32]).map(drop)
        }),
        ("change ours", true, change),
        ("change another's", false, change),
        ("activate", false, |store, uid| store.activate(uid)),
        ("revoke", true, |store, uid| {
            store.revoke(uid, Revocation::KeyCompromise)
        }),
        ("destroy an active key", true, |store, uid| {
            store.destroy(uid)
        }),
        ("destroy a pre-active key", false, |store, uid| {
            store.destroy(uid)
        }),
    ];
    // State, label and identifier of what there is.
    let there = |server: &Server, store: &KmipStore| {
        let metas = store
            .meta(&alive(server).into_iter().map(Uid).collect::<Vec<_>>())
            .unwrap();
        let mut all: Vec<_> = metas
            .into_iter()
            .map(|m| format!("{:?}", (m.class, m.state, m.label, m.id, m.extractable)))
            .collect();
        all.sort();
        all
    };
    for personality in Personality::all() {
        for (name, ours, work) in works {
            let run = |lost: usize| {
                let server = Server::start(personality.clone(), Script::none());
                let store = store(&server);
                let made = store.create(&aes("k")).unwrap();
                let uid = if ours { made } else { foreign(&server) };
                server.script(Script::none().at(lost, Fault::ResetAfter));
                let before = server.count();
                let outcome = work(&store, &uid).map_err(|e| e.rv());
                let count = server.count() - before;
                server.script(Script::none());
                (count, outcome, there(&server, &store))
            };
            let (count, outcome, left) = run(usize::MAX);
            assert!(outcome.is_ok() || name == "change another's", "{name}");
            for lost in 1..=count {
                let what = format!("{}: {name}, response {lost} lost", personality.name);
                let (_, with_loss, left_with_loss) = run(lost);
                assert_eq!(with_loss, outcome, "{what}");
                assert_eq!(left_with_loss, left, "{what}");
            }
        }
    }
}

/// When the activation fails for good, the key does not stay behind.
#[test]
fn a_key_that_cannot_be_activated_is_destroyed() {
    let fault = Fault::Fail(ResultReason::PERMISSION_DENIED);
    let server = Server::start(
        Personality::standard(),
        Script::none().every(OperationCode::ACTIVATE, fault),
    );
    assert!(store(&server).create(&aes("k")).is_err());
    assert!(alive(&server).is_empty());
}

#[test]
fn stale_connections_are_replaced_unnoticed() {
    let server = Server::start(Personality::standard(), Script::none());
    let store = store(&server);
    let uid = store.create(&aes("k")).unwrap();
    let accepted = server.accepted();
    meta(&store, &uid);
    assert_eq!(server.accepted(), accepted, "connections are kept");
    for _ in 0..3 {
        server.drop_connections();
        meta(&store, &uid);
        server.drop_connections();
        let cipher = Cipher::CbcPad { iv: vec![0; 16] };
        store.encrypt(&uid, Algorithm::Aes, &cipher, b"x").unwrap();
        server.restart();
        store.create(&aes("again")).unwrap();
    }
    assert_eq!(alive(&server).len(), 4);
}

#[test]
fn deadlines_are_kept() {
    for fault in [
        Fault::Silence,
        Fault::HalfFrame,
        Fault::Delay(Duration::from_secs(30)),
    ] {
        let server = Server::start(Personality::standard(), Script::none());
        let deadline = Duration::from_millis(300);
        let store = KmipStore::open(Config {
            deadline,
            ..config(&[&server])
        })
        .unwrap();
        let uid = store.create(&aes("k")).unwrap();
        server.script(Script::none().always(fault.clone()));
        let timed = |work: &dyn Fn() -> bool| {
            let start = Instant::now();
            assert!(!work(), "{fault:?}");
            assert!(
                start.elapsed() < deadline + Duration::from_millis(400),
                "{fault:?}: {:?}",
                start.elapsed()
            );
        };
        timed(&|| store.meta(std::slice::from_ref(&uid)).is_ok());
        timed(&|| store.locate(&Filter::default()).is_ok());
        timed(&|| store.create(&aes("new")).is_ok());
        timed(&|| store.destroy(&uid).is_ok());
        timed(&|| store.random(8).is_ok());
        server.script(Script::none());
        store.locate(&Filter::default()).unwrap();
    }
}

#[test]
fn a_slow_answer_is_waited_for() {
    let server = Server::start(Personality::standard(), Script::none());
    let store = store(&server);
    server.script(Script::none().always(Fault::Delay(Duration::from_millis(50))));
    let uid = store.create(&aes("k")).unwrap();
    assert_eq!(alive(&server), [uid.0]);
}

#[test]
fn nonsense_is_an_error_and_the_next_call_works() {
    for fault in [Fault::Garbage, Fault::HalfFrame] {
        let server = Server::start(Personality::standard(), Script::none());
        let store = KmipStore::open(Config {
            deadline: Duration::from_millis(500),
            ..config(&[&server])
        })
        .unwrap();
        let uid = store.create(&aes("k")).unwrap();
        server.script(Script::none().at_operation(OperationCode::DESTROY, 1, fault.clone()));
        let error = store.destroy(&uid).err();
        if let Some(error) = error {
            assert!(
                matches!(error.kind(), Kind::Protocol | Kind::Broken),
                "{fault:?}: {error:?}"
            );
        }
        store.locate(&Filter::default()).unwrap();
    }
    // Another version in the header is tolerated: real servers do that.
    let server = Server::start(Personality::standard(), Script::none());
    let store = store(&server);
    store.version().unwrap();
    server.script(Script::none().at(1, Fault::WrongVersion(Version::V1_2)));
    store.locate(&Filter::default()).unwrap();
}

#[test]
fn the_next_host_takes_over() {
    let first = Server::start(Personality::standard(), Script::none());
    let second = first.sibling(Script::none());
    let store = KmipStore::open(config(&[&first, &second])).unwrap();
    let uid = store.create(&aes("k")).unwrap();
    assert_eq!(second.count(), 0);
    first.stop();
    meta(&store, &uid);
    store.create(&aes("on the second")).unwrap();
    assert!(second.count() > 0);
    assert_eq!(alive(&second).len(), 2);
}

/// The host dies when it has made the key; the next one is asked before a key is made again.
#[test]
fn a_host_that_dies_in_a_create_leaves_one_key() {
    for fault in [Fault::Kill, Fault::ResetAfter] {
        let first = Server::start(Personality::standard(), Script::none());
        let second = first.sibling(Script::none());
        let store = KmipStore::open(config(&[&first, &second])).unwrap();
        store.version().unwrap();
        first.script(Script::none().at_operation(OperationCode::CREATE, 1, fault.clone()));
        let uid = store.create(&aes("k")).unwrap();
        assert_eq!(alive(&second), [uid.0], "{fault:?}");
    }
}

/// The first host dies, breaks or falls silent in the middle of every operation: the second one completes it in time, once.
#[test]
fn the_next_host_completes_what_the_first_began() {
    type Work = fn(&KmipStore, &[Uid]) -> Result<(), Error>;
    let works: [(&str, isize, Work); 12] = [
        ("create", 1, |store, _| store.create(&aes("k")).map(drop)),
        ("create by name", 1, |store, _| {
            store
                .create(&Spec {
                    name: Some("mrhsm:c:core:1".into()),
                    ..aes("k")
                })
                .map(drop)
        }),
        ("create a pair", 2, |store, _| {
            let half = |class, usage| spec(class, Algorithm::Rsa, 2048, usage, "pair");
            store
                .create_pair(
                    &half(Class::PublicKey, Usage::VERIFY),
                    &half(Class::PrivateKey, Usage::SIGN),
                )
                .map(drop)
        }),
        ("register", 1, |store, _| {
            store.register(&aes("r"), &[5; 32]).map(drop)
        }),
        ("locate", 0, |store, _| {
            store.locate(&Filter::default()).map(drop)
        }),
        ("meta", 0, |store, uids| store.meta(uids).map(drop)),
        ("fetch", 0, |store, uids| store.fetch(&uids[0]).map(drop)),
        ("update", 0, |store, uids| {
            store.update(
                &uids[0],
                &Changes {
                    label: Some(b"new".to_vec()),
                    ..Changes::default()
                },
            )
        }),
        ("revoke", 0, |store, uids| {
            store.revoke(&uids[0], Revocation::CessationOfOperation)
        }),
        ("destroy", -1, |store, uids| store.destroy(&uids[0])),
        ("encrypt", 0, |store, uids| {
            store
                .encrypt(
                    &uids[0],
                    Algorithm::Aes,
                    &Cipher::CbcPad { iv: vec![3; 16] },
                    b"text",
                )
                .map(drop)
        }),
        ("sign", 0, |store, uids| {
            let scheme = Signing::RsaPkcs1(Hash::Sha256);
            store
                .sign(&uids[1], scheme, Message::Whole(b"text"))
                .map(drop)
        }),
    ];
    std::thread::scope(|scope| {
        for fault in [
            Fault::Kill,
            Fault::Silence,
            Fault::HalfFrame,
            Fault::ResetBefore,
            Fault::ResetAfter,
            Fault::ResetWithin,
        ] {
            scope.spawn(move || {
                for (request, (name, more, work)) in [1, 2]
                    .into_iter()
                    .flat_map(|request| works.map(|work| (request, work)))
                {
                    let first = Server::start(Personality::standard(), Script::none());
                    let second = first.sibling(Script::none());
                    let deadline = Duration::from_secs(3);
                    let store = KmipStore::open(Config {
                        deadline,
                        ..config(&[&first, &second])
                    })
                    .unwrap();
                    let mut uids = vec![store.create(&aes("k")).unwrap()];
                    if name == "sign" {
                        let half = |class, usage| spec(class, Algorithm::Rsa, 2048, usage, "pair");
                        let (public, private) = (
                            half(Class::PublicKey, Usage::VERIFY),
                            half(Class::PrivateKey, Usage::SIGN),
                        );
                        uids.push(store.create_pair(&public, &private).unwrap().1);
                    }
                    let before = alive(&first).len();
                    first.script(Script::none().at(request, fault.clone()));
                    let start = Instant::now();
                    work(&store, &uids)
                        .unwrap_or_else(|e| panic!("{name} {fault:?} {request}: {e}"));
                    assert!(start.elapsed() < deadline, "{name} {fault:?} {request}");
                    assert_eq!(
                        alive(&second).len(),
                        before.checked_add_signed(more).unwrap(),
                        "{name} {fault:?} {request}"
                    );
                }
            });
        }
    });
}

/// Each bad certificate ends the call at once, with its own sentence, and nothing is asked of the server.
#[test]
fn bad_server_certificates_are_told_apart() {
    type Choice = fn(&Pki) -> &Pair;
    let bad: [(Choice, &str); 3] = [
        (|pki| &pki.server_expired, "expired"),
        (|pki| &pki.server_other_name, "127.0.0.1"),
        (|pki| &pki.server_other_ca, "CA"),
    ];
    for (certificate, word) in bad {
        let server = Setup {
            certificate,
            ..Setup::new(Personality::standard())
        }
        .start();
        let start = Instant::now();
        let error = store(&server).create(&aes("k")).unwrap_err();
        assert_eq!(error.kind(), Kind::Tls, "{error:?}");
        assert!(
            error.to_string().contains(word),
            "'{word}' is not in: {error}"
        );
        assert!(start.elapsed() < Duration::from_secs(2));
        assert_eq!(server.count(), 0);
    }
}

#[test]
fn clients_that_the_server_does_not_trust_are_told_so() {
    for tls13 in [true, false] {
        let server = Setup {
            tls13,
            ..Setup::new(Personality::standard())
        }
        .start();
        store(&server).create(&aes("good")).unwrap();
        let mut config = config(&[&server]);
        let read = |path: &std::path::Path| std::fs::read(path).unwrap();
        let pair = &server.pki().client_other_ca;
        let identity = Identity::from_pem(&read(&pair.cert), &read(&pair.key), None).unwrap();
        config.tls = Tls::new(Some(&identity), &Trust::Pem(read(&server.pki().ca)), None).unwrap();
        let requests = server.count();
        let error = KmipStore::open(config)
            .unwrap()
            .create(&aes("bad"))
            .unwrap_err();
        assert_eq!(error.kind(), Kind::Tls, "{error:?}");
        assert!(error.to_string().contains("certificate"), "{error}");
        assert_eq!((server.count(), alive(&server).len()), (requests, 1));
    }
}

#[test]
fn a_password_is_sent_with_every_request() {
    let credential = Some(("me".to_owned(), "secret".to_owned()));
    let server = Setup {
        credential,
        ..Setup::new(Personality::standard())
    }
    .start();
    let refused = store(&server).create(&aes("k")).unwrap_err();
    assert_eq!(refused.rv(), ck::CKR_USER_NOT_LOGGED_IN, "{refused:?}");
    let credential = Credential {
        username: "me".into(),
        password: b"secret".to_vec().into(),
    };
    let store = KmipStore::open(Config {
        credential: Some(credential),
        ..config(&[&server])
    })
    .unwrap();
    let uid = store.create(&aes("k")).unwrap();
    let metas = store.meta(&[uid.clone(), uid.clone(), uid]).unwrap();
    assert_eq!(metas.len(), 3);
}

#[test]
fn nobody_there_is_unreachable() {
    let server = Server::start(Personality::standard(), Script::none());
    let store = store(&server);
    server.stop();
    let error = store.create(&aes("k")).unwrap_err();
    assert_eq!(error.kind(), Kind::Unreachable, "{error:?}");
    assert!(error.to_string().contains(&server.address()), "{error}");
}

/// Many calls at once share nothing but the pool.
#[test]
fn threads_do_not_wait_for_each_other() {
    let server = Server::start(Personality::standard(), Script::none());
    let store = store(&server);
    let uid = store.create(&aes("k")).unwrap();
    // The first use proves what the server does, and they wait for that.
    store
        .encrypt(
            &uid,
            Algorithm::Aes,
            &Cipher::CbcPad { iv: vec![0; 16] },
            b"x",
        )
        .unwrap();
    let delay = Duration::from_millis(150);
    server.script(Script::none().always(Fault::Delay(delay)));
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let cipher = Cipher::CbcPad {
                    iv: rng::bytes(16).unwrap().expose().to_vec(),
                };
                store.encrypt(&uid, Algorithm::Aes, &cipher, b"x").unwrap();
            });
        }
    });
    assert!(start.elapsed() < 4 * delay, "{:?}", start.elapsed());
}

/// A failure that passes must not cost what is kept with a key, now or later.
#[test]
fn a_passing_failure_costs_no_metadata() {
    for personality in Personality::all() {
        for reason in [
            ResultReason::GENERAL_FAILURE,
            ResultReason::PERMISSION_DENIED,
        ] {
            println!("{} {reason}", personality.name);
            let server = Server::start(personality.clone(), Script::none());
            let store = store(&server);
            store.version().unwrap();
            server.script(Script::none().at_operation(
                OperationCode::CREATE,
                1,
                Fault::Fail(reason),
            ));
            let made = store.create(&aes("first"));
            let later = store.create(&aes("later")).unwrap();
            for (uid, label) in made
                .iter()
                .map(|uid| (uid, "first"))
                .chain([(&later, "later")])
            {
                let known = meta(&store, uid);
                assert_eq!(known.label.as_deref(), Some(label.as_bytes()));
                assert_eq!(
                    known.properties.get("note").map(String::as_str),
                    Some("kept"),
                    "{label}"
                );
            }
        }
    }
}

/// Anything may break at any time, on any of two hosts: what was promised is there, once, and what was destroyed is gone.
#[test]
fn promises_are_kept_in_a_storm() {
    let (mut kept, mut broken) = (0, 0);
    for seed in 1..=12u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut random = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 33) as usize % below
        };
        let personality = Personality::all()[random(5)].clone();
        println!("seed {seed}: {}", personality.name);
        let first = Server::start(personality, Script::none());
        let second = first.sibling(Script::none());
        let store = KmipStore::open(Config {
            deadline: Duration::from_secs(2),
            ..config(&[&first, &second])
        })
        .unwrap();
        let (mut promised, mut doomed): (Vec<Uid>, Vec<Uid>) = (Vec::new(), Vec::new());
        for step in 0..40 {
            for server in [&first, &second] {
                let fault = [
                    Fault::ResetBefore,
                    Fault::ResetAfter,
                    Fault::ResetWithin,
                    Fault::CloseAfter,
                    Fault::Garbage,
                    Fault::Fail(ResultReason::GENERAL_FAILURE),
                ][random(6)]
                .clone();
                server.script(if random(2) == 0 {
                    Script::none().at(1 + random(4), fault)
                } else {
                    Script::none()
                });
                if random(10) == 0 {
                    server.drop_connections();
                }
            }
            let label = format!("{seed}-{step}");
            match random(4) {
                0 | 1 => {
                    let made = store.create(&Spec {
                        name: Some(label.clone()),
                        ..aes(&label)
                    });
                    let twins = first
                        .objects()
                        .iter()
                        .filter(|o| o.names.contains(&label) && alive(&first).contains(&o.uid))
                        .count();
                    match made {
                        Ok(uid) => {
                            assert_eq!(twins, 1, "{label}");
                            promised.push(uid);
                            kept += 1;
                        }
                        Err(e) => {
                            assert!(twins <= 1, "{label}: {twins} after {e}");
                            broken += 1;
                        }
                    }
                }
                2 if !promised.is_empty() => {
                    let uid = promised[random(promised.len())].clone();
                    if store.destroy(&uid).is_ok() {
                        assert!(
                            !alive(&first).contains(&uid.0),
                            "{label}: destroyed and alive"
                        );
                        promised.retain(|other| *other != uid);
                    } else {
                        // It may be gone, its answer lost, or revoked and not yet destroyed.
                        promised.retain(|other| *other != uid);
                        doomed.push(uid);
                    }
                }
                _ => drop(store.locate(&Filter::default())),
            }
        }
        first.script(Script::none());
        second.script(Script::none());
        let there = alive(&first);
        assert!(
            promised.iter().all(|uid| there.contains(&uid.0)),
            "seed {seed}"
        );
        for meta in store.meta(&promised).unwrap() {
            assert_eq!(meta.state, Some(State::Active), "seed {seed}: {}", meta.uid);
        }
        for uid in &doomed {
            let gone = |rv| rv == ck::CKR_OBJECT_HANDLE_INVALID;
            assert!(
                store.destroy(uid).err().is_none_or(|e| gone(e.rv())),
                "seed {seed}"
            );
            assert!(!alive(&first).contains(&uid.0), "seed {seed}");
        }
    }
    assert!(
        kept > 20 && broken > 0,
        "a storm that breaks nothing proves nothing: {kept} kept, {broken} broken"
    );
}
