//! The KMIP store against every character of server in every version, and (`faults`) through breaks, silence and death.

mod faults;

use std::time::{Duration, Instant};

use mrhsm_pkcs11::ck;
use mrhsm_pkcs11::crypto::cipher::{Cipher as Local, Direction, Key, Mode};
use mrhsm_pkcs11::crypto::hash::digest;
use mrhsm_pkcs11::crypto::pkey::{PrivateKey, PublicKey, Scheme};
use mrhsm_pkcs11::crypto::{mac, rng};
use mrhsm_pkcs11::error::{Error, Kind};
use mrhsm_pkcs11::kmip::{OperationCode, OperationCode as O, ResultReason, State as ServerState};
use mrhsm_pkcs11::net::{Config, Credential, Host, Identity, Tls, Trust};
use mrhsm_pkcs11::store::kmip::KmipStore;
use mrhsm_pkcs11::store::{
    Ability, Algorithm, Changes, Cipher, Class, Curve, Filter, Hash, KeyStore, Mac, Message, Meta,
    Revocation, Signing, Spec, State, Uid, Usage,
};
use mrhsm_pkcs11::version::Version;

use crate::kmip_server::{Fault, Pair, Personality, Pki, Policy, Script, Server, Setup};

pub fn config(servers: &[&Server]) -> Config {
    let pki = servers[0].pki();
    let read = |path: &std::path::Path| std::fs::read(path).unwrap();
    let identity =
        Identity::from_pem(&read(&pki.client.cert), &read(&pki.client.key), None).unwrap();
    let tls = Tls::new(Some(&identity), &Trust::Pem(read(&pki.ca)), None).unwrap();
    let hosts = servers
        .iter()
        .map(|server| Host {
            name: "127.0.0.1".into(),
            port: server.port(),
        })
        .collect();
    Config::new(hosts, tls)
}

fn store(server: &Server) -> KmipStore {
    KmipStore::open(config(&[server])).unwrap()
}

/// Runs `test` with a fresh server of every character, in every version it speaks.
fn everywhere(test: impl Fn(&Personality, Version, &Server, &KmipStore)) {
    for personality in Personality::all() {
        for &version in personality.versions {
            println!("{} in KMIP {version}", personality.name); // Shown when the test fails.
            let server = Server::start(personality.clone(), Script::none());
            let store = KmipStore::open(Config {
                version: Some(version),
                ..config(&[&server])
            })
            .unwrap();
            test(&personality, version, &server, &store);
        }
    }
}

pub fn spec(class: Class, algorithm: Algorithm, bits: u32, usage: Usage, label: &str) -> Spec {
    Spec {
        class,
        algorithm,
        bits,
        usage,
        name: None,
        group: None,
        label: label.as_bytes().to_vec(),
        id: label.bytes().rev().collect(),
        sensitive: false,
        extractable: true,
        properties: [("note".to_owned(), "kept".to_owned())].into(),
    }
}

pub fn aes(label: &str) -> Spec {
    spec(
        Class::SecretKey,
        Algorithm::Aes,
        256,
        Usage::ENCRYPT | Usage::DECRYPT,
        label,
    )
}

fn meta(store: &KmipStore, uid: &Uid) -> Meta {
    let mut metas = store.meta(std::slice::from_ref(uid)).unwrap();
    assert_eq!(metas.len(), 1);
    metas.remove(0)
}

/// Locates and keeps what really matches, as the token does.
fn found(store: &KmipStore, filter: &Filter) -> Vec<Uid> {
    let candidates = store.locate(filter).unwrap();
    let fits = |meta: &Meta| {
        filter
            .name
            .as_ref()
            .is_none_or(|name| meta.names.contains(name))
            && filter
                .group
                .as_ref()
                .is_none_or(|group| meta.groups.contains(group))
            && filter.class.is_none_or(|class| meta.class == class)
            && filter
                .label
                .as_ref()
                .is_none_or(|label| meta.label.as_ref() == Some(label))
            && filter
                .id
                .as_ref()
                .is_none_or(|id| meta.id.as_ref() == Some(id))
    };
    store
        .meta(&candidates)
        .unwrap()
        .into_iter()
        .filter(fits)
        .map(|meta| meta.uid)
        .collect()
}

/// What is alive on the server, whatever the store says.
fn alive(server: &Server) -> Vec<String> {
    let dead = |state| {
        matches!(
            state,
            ServerState::DESTROYED | ServerState::DESTROYED_COMPROMISED
        )
    };
    server
        .objects()
        .into_iter()
        .filter(|object| !dead(object.state))
        .map(|object| object.uid)
        .collect()
}

/// Of several texts in attributes of one name such a server keeps the last, and says nothing.
#[test]
fn texts_stand_in_one_attribute_where_the_server_keeps_one_only() {
    let server = Server::start(Personality::cosmian_like(), Script::none());
    let store = store(&server);
    store.version().unwrap();
    server.clear_log();
    let first = store.create(&aes("first")).unwrap();
    let operations = server.operations();
    let looked_at = [
        O::GET_ATTRIBUTES,
        O::GET_ATTRIBUTES,
        O::MODIFY_ATTRIBUTE,
        O::GET_ATTRIBUTES,
    ];
    assert_eq!(
        operations,
        [&[O::CREATE], &looked_at[..], &[O::ACTIVATE]].concat(),
        "its texts are put elsewhere"
    );
    server.clear_log();
    let second = store.create(&aes("second")).unwrap();
    assert_eq!(
        server.operations(),
        [O::CREATE, O::ACTIVATE],
        "that is known from now on"
    );
    let half = |class, usage| spec(class, Algorithm::Rsa, 2048, usage, "pair");
    let (public, private) = store
        .create_pair(
            &half(Class::PublicKey, Usage::VERIFY),
            &half(Class::PrivateKey, Usage::SIGN),
        )
        .unwrap();
    let registered = store.register(&aes("registered"), &[5; 32]).unwrap();
    let made = [
        (&first, "first"),
        (&second, "second"),
        (&public, "pair"),
        (&private, "pair"),
        (&registered, "registered"),
    ];
    assert_eq!(alive(&server).len(), made.len());
    for (uid, label) in made {
        assert_eq!(meta(&store, uid).label.as_deref(), Some(label.as_bytes()));
        let filter = Filter {
            label: Some(label.as_bytes().to_vec()),
            ..Filter::default()
        };
        assert!(store.locate(&filter).unwrap().contains(uid), "{label}");
    }
    store
        .update(
            &first,
            &Changes {
                id: Some(vec![7]),
                ..Changes::default()
            },
        )
        .unwrap();
    let changed = meta(&store, &first);
    assert_eq!(
        (changed.id, changed.label),
        (Some(vec![7]), Some(b"first".to_vec()))
    );
}

/// A key that was on its way while another thread found out that texts are lost has its own too.
#[test]
fn texts_of_keys_made_at_once_are_all_kept() {
    let slow = Fault::Delay(Duration::from_millis(500));
    let server = Server::start(
        Personality::cosmian_like(),
        Script::none().at_operation(O::CREATE, 1, slow),
    );
    let store = store(&server);
    store.version().unwrap();
    let (slow, fast) = std::thread::scope(|scope| {
        let slow = scope.spawn(|| store.create(&aes("slow")).unwrap());
        while server.operations().last() != Some(&O::CREATE) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let fast = store.create(&aes("fast")).unwrap();
        (slow.join().unwrap(), fast)
    });
    for (uid, label) in [(&slow, "slow"), (&fast, "fast")] {
        assert_eq!(meta(&store, uid).label.as_deref(), Some(label.as_bytes()));
    }
    assert_eq!(alive(&server).len(), 2);
}

#[test]
fn versions_are_negotiated() {
    for (personality, expected) in [
        (Personality::standard(), Version::V1_4),
        (Personality::pykmip_like(), Version::V1_4),
        (Personality::keystore_1_0(), Version::V1_0),
        (Personality::vault_like(), Version::V1_4),
        (Personality::cosmian_like(), Version::V1_4),
        (
            Personality {
                versions: &[Version::V2_1, Version::V2_0],
                ..Personality::standard()
            },
            Version::V2_1,
        ),
        (
            Personality {
                versions: &[Version::V1_2],
                ..Personality::standard()
            },
            Version::V1_2,
        ),
    ] {
        let server = Server::start(personality, Script::none());
        assert_eq!(store(&server).version().unwrap(), expected);
    }
}

#[test]
fn a_secret_key_is_made_found_changed_and_destroyed() {
    everywhere(|personality, _, server, store| {
        let uid = store
            .create(&Spec {
                name: Some("mrhsm:c1:core:1".into()),
                group: Some("mrhsm:c1".into()),
                ..aes("my key")
            })
            .unwrap();
        let other = store.create(&aes("other")).unwrap();
        assert_eq!(alive(server).len(), 2);

        let known = meta(store, &uid);
        assert_eq!(
            (known.class, known.algorithm, known.bits),
            (Class::SecretKey, Algorithm::Aes, 256)
        );
        assert_eq!(
            (known.usage, known.state),
            (Usage::ENCRYPT | Usage::DECRYPT, Some(State::Active))
        );
        assert_eq!(known.label.as_deref(), Some(&b"my key"[..]));
        assert_eq!(known.id.as_deref(), Some(&b"yek ym"[..]));
        assert_eq!(
            known.properties.get("note").map(String::as_str),
            Some("kept")
        );
        assert!(known.names.contains(&"mrhsm:c1:core:1".to_owned()));
        assert!(known.groups.contains(&"mrhsm:c1".to_owned()));
        assert!(known.initial_date.is_some());

        for filter in [
            Filter {
                name: Some("mrhsm:c1:core:1".into()),
                ..Filter::default()
            },
            Filter {
                group: Some("mrhsm:c1".into()),
                ..Filter::default()
            },
            Filter {
                label: Some(b"my key".to_vec()),
                ..Filter::default()
            },
            Filter {
                id: Some(b"yek ym".to_vec()),
                class: Some(Class::SecretKey),
                ..Filter::default()
            },
        ] {
            assert_eq!(
                found(store, &filter),
                std::slice::from_ref(&uid),
                "{filter:?}"
            );
        }
        assert!(
            found(
                store,
                &Filter {
                    label: Some(b"none".to_vec()),
                    ..Filter::default()
                }
            )
            .is_empty()
        );
        assert!(
            found(
                store,
                &Filter {
                    class: Some(Class::PublicKey),
                    ..Filter::default()
                }
            )
            .is_empty()
        );
        let mut all = found(store, &Filter::default());
        all.sort();
        let mut both = vec![uid.clone(), other.clone()];
        both.sort();
        assert_eq!(all, both);

        assert_eq!(
            store.fetch(&uid).unwrap().expose(),
            server.value(&uid.0).unwrap()
        );
        store.activate(&uid).unwrap();

        let changes = Changes {
            label: Some(b"new label".to_vec()),
            id: Some(vec![0, 0xff, b'=', b';']),
            properties: [("more".to_owned(), "a=b;c".to_owned())].into(),
            ..Changes::default()
        };
        store.update(&uid, &changes).unwrap();
        let known = meta(store, &uid);
        assert_eq!(known.label.as_deref(), Some(&b"new label"[..]));
        assert_eq!(known.id.as_deref(), Some(&[0, 0xff, b'=', b';'][..]));
        assert_eq!(
            known.properties.get("note").map(String::as_str),
            Some("kept")
        );
        assert_eq!(
            known.properties.get("more").map(String::as_str),
            Some("a=b;c")
        );
        assert_eq!(
            found(
                store,
                &Filter {
                    label: Some(b"new label".to_vec()),
                    ..Filter::default()
                }
            ),
            std::slice::from_ref(&uid)
        );

        store.revoke(&uid, Revocation::Superseded).unwrap();
        assert_eq!(meta(store, &uid).state, Some(State::Deactivated));
        store.destroy(&uid).unwrap();
        store.destroy(&other).unwrap();
        assert!(alive(server).is_empty());
        assert!(store.fetch(&uid).is_err());
        let gone = store.destroy(&Uid("no-such-object".into())).unwrap_err();
        assert_eq!(gone.rv(), ck::CKR_OBJECT_HANDLE_INVALID);
        let states: Vec<_> = store
            .meta(&[uid, other])
            .unwrap()
            .into_iter()
            .map(|meta| meta.state)
            .collect();
        match personality.forgets_destroyed {
            true => assert!(states.is_empty()),
            false => assert!(
                states
                    .iter()
                    .all(|state| !state.is_some_and(State::may_process)),
                "{states:?}"
            ),
        }
    });
}

#[test]
fn labels_may_be_any_bytes() {
    everywhere(|_, _, _, store| {
        for label in ["", "ключ 鍵", "quote\" \\ ; = \n", "x".repeat(200).as_str()] {
            let uid = store
                .create(&Spec {
                    id: vec![0; 300],
                    ..aes(label)
                })
                .unwrap();
            let known = meta(store, &uid);
            assert_eq!(known.label.unwrap_or_default(), label.as_bytes());
            assert_eq!(known.id.unwrap_or_default(), [0; 300]);
        }
        let uid = store
            .create(&Spec {
                label: vec![0xff, 0xfe, 0],
                ..aes("")
            })
            .unwrap();
        assert_eq!(meta(store, &uid).label.unwrap_or_default(), [0xff, 0xfe, 0]);
    });
}

#[test]
fn a_sensitive_key_stays_where_the_server_keeps_it() {
    everywhere(|personality, version, _, store| {
        let uid = store
            .create(&Spec {
                sensitive: true,
                extractable: false,
                ..aes("secret")
            })
            .unwrap();
        let stays = personality.enforces_sensitive && version >= Version::V1_4;
        assert_eq!(store.fetch(&uid).is_err(), stays);
        if stays {
            assert!(matches!(
                store.fetch(&uid).unwrap_err().rv(),
                ck::CKR_ATTRIBUTE_SENSITIVE | ck::CKR_KEY_UNEXTRACTABLE
            ));
        }
        let known = meta(store, &uid);
        if version >= Version::V1_4 {
            assert_eq!(known.sensitive, Some(true));
        }
        if store.can(Ability::Encrypt).unwrap() {
            let cipher = Cipher::CbcPad { iv: vec![1; 16] };
            let text = store
                .encrypt(&uid, Algorithm::Aes, &cipher, b"hidden")
                .unwrap();
            assert_eq!(
                store
                    .decrypt(&uid, Algorithm::Aes, &cipher, &text)
                    .unwrap()
                    .expose(),
                b"hidden"
            );
        }
    });
}

/// What the local cipher makes of the same.
fn locally(key: &[u8], cipher: &Cipher, data: &[u8]) -> Vec<u8> {
    let mode = match cipher {
        Cipher::Ecb => Mode::Ecb,
        Cipher::Cbc { iv } => Mode::Cbc { iv },
        Cipher::CbcPad { iv } => Mode::CbcPad { iv },
        Cipher::Ctr { counter } => Mode::Ctr { counter, bits: 128 },
        Cipher::Gcm { iv, aad, tag_len } => Mode::Gcm {
            iv,
            aad,
            tag_len: *tag_len,
        },
        _ => unreachable!("no AES cipher"),
    };
    Local::new(Direction::Encrypt, Key::Aes(key), mode)
        .unwrap()
        .run(data)
        .unwrap()
}

#[test]
fn ciphers_agree_with_the_local_ones() {
    everywhere(|personality, version, server, store| {
        let uid = store.create(&aes("k")).unwrap();
        let can =
            personality.operations.contains(&OperationCode::ENCRYPT) && version >= Version::V1_2;
        assert_eq!(store.can(Ability::Encrypt).unwrap(), can);
        assert_eq!(store.can(Ability::Decrypt).unwrap(), can);
        let iv = (0..16).collect::<Vec<u8>>();
        if !can {
            assert!(
                store
                    .encrypt(&uid, Algorithm::Aes, &Cipher::CbcPad { iv }, b"x")
                    .is_err()
            );
            return;
        }
        let key = server.value(&uid.0).unwrap();
        let text: Vec<u8> = (0..48).collect();
        let mut ciphers = vec![
            (Cipher::Ecb, vec![0, 16, 48]),
            (Cipher::Cbc { iv: iv.clone() }, vec![0, 16, 48]),
            (Cipher::CbcPad { iv: iv.clone() }, vec![0, 1, 16, 47]),
        ];
        let gcm = Cipher::Gcm {
            iv: iv[..12].to_vec(),
            aad: Vec::new(),
            tag_len: 16,
        };
        if version >= Version::V1_4 {
            ciphers.push((gcm.clone(), vec![0, 1, 16, 47]));
            ciphers.push((
                Cipher::Gcm {
                    iv: iv[..12].to_vec(),
                    aad: b"head".to_vec(),
                    tag_len: 12,
                },
                vec![0, 47],
            ));
            ciphers.push((
                Cipher::Gcm {
                    iv: iv.clone(),
                    aad: b"head".to_vec(),
                    tag_len: 16,
                },
                vec![0, 47],
            ));
        }
        if personality.counter_mode {
            ciphers.push((
                Cipher::Ctr {
                    counter: iv.clone(),
                },
                vec![0, 1, 47],
            ));
        } else {
            assert!(
                store
                    .encrypt(
                        &uid,
                        Algorithm::Aes,
                        &Cipher::Ctr {
                            counter: iv.clone()
                        },
                        &text
                    )
                    .is_err()
            );
        }
        for (cipher, lens) in &ciphers {
            for &len in lens {
                let plain = &text[..len];
                let encrypted = store
                    .encrypt(&uid, Algorithm::Aes, cipher, plain)
                    .unwrap_or_else(|e| panic!("{cipher:?} {len}: {e}"));
                assert_eq!(encrypted, locally(&key, cipher, plain), "{cipher:?} {len}");
                let decrypted = store
                    .decrypt(&uid, Algorithm::Aes, cipher, &encrypted)
                    .unwrap_or_else(|e| panic!("{cipher:?} {len}: {e}"));
                assert_eq!(decrypted.expose(), plain, "{cipher:?} {len}");
            }
        }
        if version < Version::V1_4 {
            // There is no field for the tag.
            assert!(store.encrypt(&uid, Algorithm::Aes, &gcm, &text).is_err());
            return;
        }
        let mut broken = store.encrypt(&uid, Algorithm::Aes, &gcm, &text).unwrap();
        broken[0] ^= 1;
        assert!(store.decrypt(&uid, Algorithm::Aes, &gcm, &broken).is_err());
    });
}

#[test]
fn every_page_of_a_long_list_is_read() {
    let server = Server::start(
        Personality {
            locate_limit: 3,
            ..Personality::standard()
        },
        Script::none(),
    );
    let store = store(&server);
    let mut made: Vec<Uid> = (0..8)
        .map(|n| store.create(&aes(&format!("k{n}"))).unwrap())
        .collect();
    let mut located = store.locate(&Filter::default()).unwrap();
    made.sort();
    located.sort();
    assert_eq!(located, made);
    // In the order asked, without the one that is gone.
    made.reverse();
    store.destroy(&made[3]).unwrap();
    let known = store.meta(&made).unwrap();
    let alive: Vec<Uid> = known
        .into_iter()
        .filter(|meta| meta.state == Some(State::Active))
        .map(|meta| meta.uid)
        .collect();
    made.remove(3);
    assert_eq!(alive, made);
}

/// A message of half a mebibyte travels; of one that is too long for the server, the client reads why.
#[test]
fn long_messages_travel_or_fail_at_once() {
    let personality = Personality {
        largest_request: 1 << 20,
        ..Personality::standard()
    };
    let server = Server::start(personality, Script::none());
    let store = store(&server);
    let uid = store.create(&aes("k")).unwrap();
    let cipher = Cipher::Gcm {
        iv: vec![9; 12],
        aad: Vec::new(),
        tag_len: 16,
    };
    let text = vec![0x5a; 512 << 10];
    let encrypted = store.encrypt(&uid, Algorithm::Aes, &cipher, &text).unwrap();
    assert_eq!(
        encrypted,
        locally(&server.value(&uid.0).unwrap(), &cipher, &text)
    );
    assert_eq!(
        store
            .decrypt(&uid, Algorithm::Aes, &cipher, &encrypted)
            .unwrap()
            .expose(),
        text
    );
    let start = Instant::now();
    let error = store
        .encrypt(&uid, Algorithm::Aes, &cipher, &vec![0; 4 << 20])
        .unwrap_err();
    assert!(
        error.kind() == Kind::Server(ResultReason::INVALID_MESSAGE.0)
            && error
                .to_string()
                .contains("longer than the 1048576 allowed"),
        "{error:?}"
    );
    assert!(start.elapsed() < Duration::from_secs(3));
    meta(&store, &uid);
}

#[test]
fn a_revoked_key_protects_no_more() {
    everywhere(|personality, version, _, store| {
        if !personality.operations.contains(&OperationCode::ENCRYPT) || version < Version::V1_2 {
            return;
        }
        let uid = store.create(&aes("k")).unwrap();
        let cipher = Cipher::CbcPad { iv: vec![0; 16] };
        let text = store
            .encrypt(&uid, Algorithm::Aes, &cipher, b"before")
            .unwrap();
        store.revoke(&uid, Revocation::KeyCompromise).unwrap();
        assert_eq!(meta(store, &uid).state, Some(State::Compromised));
        assert!(
            store
                .encrypt(&uid, Algorithm::Aes, &cipher, b"after")
                .is_err()
        );
        let decrypted = store.decrypt(&uid, Algorithm::Aes, &cipher, &text);
        assert_eq!(decrypted.is_ok(), personality.deactivated_decrypts);
        store.destroy(&uid).unwrap();
    });
}

#[test]
fn macs_agree_with_the_local_ones() {
    everywhere(|personality, version, _, store| {
        if !personality.operations.contains(&OperationCode::MAC) || version < Version::V1_2 {
            assert!(!store.can(Ability::Mac).unwrap());
            return;
        }
        let usage = Usage::MAC_GENERATE | Usage::MAC_VERIFY;
        let value = [7; 32];
        for hash in [Hash::Sha1, Hash::Sha256, Hash::Sha512] {
            let uid = store
                .register(
                    &spec(Class::SecretKey, Algorithm::Hmac(hash), 256, usage, "hmac"),
                    &value,
                )
                .unwrap();
            let code = store.mac(&uid, Mac::Hmac(hash), b"message").unwrap();
            assert_eq!(code, mac::hmac(hash, &value, b"message").unwrap());
        }
        let uid = store
            .register(
                &spec(Class::SecretKey, Algorithm::Aes, 256, usage, "cmac"),
                &value,
            )
            .unwrap();
        let code = store
            .mac(&uid, Mac::Cmac(Algorithm::Aes), b"message")
            .unwrap();
        assert_eq!(code, mac::cmac(Key::Aes(&value), b"message").unwrap());
    });
}

#[test]
fn rsa_pairs_are_made_and_sign() {
    everywhere(|personality, version, server, store| {
        let half = |class, usage| spec(class, Algorithm::Rsa, 2048, usage, "pair");
        let (public, private) = store
            .create_pair(
                &half(Class::PublicKey, Usage::VERIFY),
                &half(Class::PrivateKey, Usage::SIGN),
            )
            .unwrap();
        assert_eq!(alive(server).len(), 2);
        for (uid, class) in [(&public, Class::PublicKey), (&private, Class::PrivateKey)] {
            let known = meta(store, uid);
            assert_eq!(
                (known.class, known.algorithm, known.bits),
                (class, Algorithm::Rsa, 2048)
            );
            assert_eq!(
                (known.state, known.label.as_deref()),
                (Some(State::Active), Some(&b"pair"[..]))
            );
        }
        let key = PublicKey::from_spki(store.fetch(&public).unwrap().expose()).unwrap();
        let own = PrivateKey::from_pkcs8(store.fetch(&private).unwrap().expose()).unwrap();
        assert_eq!(
            own.public().unwrap().to_spki().unwrap(),
            key.to_spki().unwrap()
        );
        let can = personality.operations.contains(&OperationCode::SIGN) && version >= Version::V1_2;
        assert_eq!(store.can(Ability::Sign).unwrap(), can);
        if !can {
            return;
        }
        let hashed = digest(Hash::Sha256, b"message").unwrap();
        let signature = store
            .sign(
                &private,
                Signing::RsaPkcs1(Hash::Sha256),
                Message::Whole(b"message"),
            )
            .unwrap();
        key.verify(Scheme::RsaPkcs1(Hash::Sha256), &hashed, &signature)
            .unwrap();
        let whole = store.sign(
            &private,
            Signing::RsaPkcs1(Hash::Sha256),
            Message::Digest(&hashed),
        );
        match whole {
            Ok(signature) => key
                .verify(Scheme::RsaPkcs1(Hash::Sha256), &hashed, &signature)
                .unwrap(),
            Err(e) => assert!(!personality.digested_data || version < Version::V1_4, "{e}"),
        }
        if version >= Version::V1_4 && personality.digested_data {
            let pss = Signing::RsaPss {
                hash: Hash::Sha256,
                mgf: Hash::Sha256,
                salt_len: 20,
            };
            let signature = store
                .sign(&private, pss, Message::Whole(b"message"))
                .unwrap();
            let scheme = Scheme::RsaPss {
                hash: Hash::Sha256,
                mgf: Hash::Sha256,
                salt_len: 20,
            };
            key.verify(scheme, &hashed, &signature).unwrap();
        }
    });
}

#[test]
fn curve_pairs_are_made_and_sign() {
    everywhere(|personality, version, _, store| {
        let half = |class, usage| spec(class, Algorithm::Ec(Curve::P256), 256, usage, "pair");
        let made = store.create_pair(
            &half(Class::PublicKey, Usage::VERIFY),
            &half(Class::PrivateKey, Usage::SIGN),
        );
        if !personality.curves || personality.domain_parameters != Policy::Keep {
            assert!(made.is_err());
            return;
        }
        let (public, private) = made.unwrap();
        assert_eq!(meta(store, &private).algorithm, Algorithm::Ec(Curve::P256));
        let key = PublicKey::from_spki(store.fetch(&public).unwrap().expose()).unwrap();
        if store.can(Ability::Sign).unwrap() && version >= Version::V1_2 {
            let signature = store
                .sign(
                    &private,
                    Signing::Ecdsa(Hash::Sha256),
                    Message::Whole(b"message"),
                )
                .unwrap();
            let hashed = digest(Hash::Sha256, b"message").unwrap();
            key.verify(Scheme::Ecdsa, &hashed, &signature).unwrap();
        }
    });
}

#[test]
fn what_is_registered_comes_back() {
    let rsa = PrivateKey::generate_rsa(2048, &[1, 0, 1]).unwrap();
    let ec = PrivateKey::generate_ec(Curve::P256).unwrap();
    everywhere(|personality, _, server, store| {
        let both = Usage::SIGN | Usage::VERIFY;
        let mut objects = vec![
            (
                spec(Class::SecretKey, Algorithm::Aes, 128, Usage::ENCRYPT, "aes"),
                vec![1; 16],
            ),
            (
                spec(
                    Class::SecretKey,
                    Algorithm::GenericSecret,
                    72,
                    Usage::DERIVE,
                    "secret",
                ),
                b"any bytes".to_vec(),
            ),
            (
                spec(Class::PrivateKey, Algorithm::Rsa, 2048, both, "rsa"),
                rsa.to_pkcs8().unwrap().expose().to_vec(),
            ),
            (
                spec(Class::PublicKey, Algorithm::Rsa, 2048, both, "rsa"),
                rsa.public().unwrap().to_spki().unwrap(),
            ),
            (
                spec(Class::Data, Algorithm::None, 0, Usage::default(), "data"),
                b"some data".to_vec(),
            ),
            (
                spec(
                    Class::Certificate,
                    Algorithm::None,
                    0,
                    Usage::default(),
                    "cert",
                ),
                certificate(server),
            ),
        ];
        if personality.curves {
            let p256 = Algorithm::Ec(Curve::P256);
            objects.push((
                spec(Class::PrivateKey, p256, 256, both, "ec"),
                ec.to_pkcs8().unwrap().expose().to_vec(),
            ));
            objects.push((
                spec(Class::PublicKey, p256, 256, both, "ec"),
                ec.public().unwrap().to_spki().unwrap(),
            ));
        }
        for (spec, value) in &objects {
            let uid = store
                .register(spec, value)
                .unwrap_or_else(|e| panic!("{}: {e}", String::from_utf8_lossy(&spec.label)));
            assert_eq!(
                store.fetch(&uid).unwrap().expose(),
                value.as_slice(),
                "{spec:?}"
            );
            let known = meta(store, &uid);
            assert_eq!((known.class, known.algorithm), (spec.class, spec.algorithm));
            assert_eq!(known.label.as_ref(), Some(&spec.label));
            assert_eq!(
                known.properties.get("note").map(String::as_str),
                Some("kept")
            );
            if !matches!(spec.class, Class::Data | Class::Certificate) {
                assert_eq!(known.state, Some(State::Active), "{spec:?}");
            }
            let same = Filter {
                class: Some(spec.class),
                label: Some(spec.label.clone()),
                ..Filter::default()
            };
            assert_eq!(found(store, &same), std::slice::from_ref(&uid));
            store.destroy(&uid).unwrap();
        }
        assert!(alive(server).is_empty());
    });
}

fn certificate(server: &Server) -> Vec<u8> {
    server.pki().client.identity().0[0].to_vec()
}

#[test]
fn random_bytes_come_from_the_server_where_it_has_them() {
    everywhere(|personality, version, server, store| {
        let can = personality
            .operations
            .contains(&OperationCode::RNG_RETRIEVE)
            && version >= Version::V1_2;
        assert_eq!(store.can(Ability::Random).unwrap(), can);
        server.clear_log();
        assert_eq!(
            store.random(20).map(|bytes| bytes.len()).ok(),
            can.then_some(20)
        );
        if can {
            assert_eq!(server.operations(), [OperationCode::RNG_RETRIEVE]);
        }
    });
}

/// Round trips are the currency: what each call costs once the server is known.
#[test]
fn calls_cost_what_they_should() {
    everywhere(|personality, version, server, store| {
        let uid = store.create(&aes("warm")).unwrap();
        meta(store, &uid);
        let cost = |work: &dyn Fn()| {
            server.clear_log();
            work();
            server.operations()
        };
        assert_eq!(
            cost(&|| drop(store.create(&aes("k")).unwrap())),
            [OperationCode::CREATE, OperationCode::ACTIVATE]
        );
        assert_eq!(
            cost(&|| drop(meta(store, &uid))),
            [OperationCode::GET_ATTRIBUTES]
        );
        assert_eq!(
            cost(&|| drop(store.fetch(&uid).unwrap())),
            [OperationCode::GET]
        );
        let by_name = Filter {
            name: Some("none".into()),
            ..Filter::default()
        };
        assert_eq!(
            cost(&|| drop(store.locate(&by_name).unwrap())),
            [OperationCode::LOCATE]
        );
        if personality.operations.contains(&OperationCode::ENCRYPT) && version >= Version::V1_2 {
            let cipher = Cipher::CbcPad { iv: vec![0; 16] };
            let text = store.encrypt(&uid, Algorithm::Aes, &cipher, b"x").unwrap();
            let encrypt =
                cost(&|| drop(store.encrypt(&uid, Algorithm::Aes, &cipher, b"x").unwrap()));
            assert_eq!(encrypt, [OperationCode::ENCRYPT]);
            let decrypt =
                cost(&|| drop(store.decrypt(&uid, Algorithm::Aes, &cipher, &text).unwrap()));
            assert_eq!(decrypt, [OperationCode::DECRYPT]);
        }
        assert_eq!(server.accepted(), 1, "one connection does it all");
    });
}

/// A server that takes and drops what identifies and protects an object keeps no such object,
/// whichever operation makes it. One that is found by its name and needs no protection is made.
#[test]
fn what_is_not_kept_is_not_made() {
    let server = Server::start(Personality::forgetful(), Script::none());
    let store = store(&server);
    let half = |class, usage| spec(class, Algorithm::Rsa, 2048, usage, "pair");
    let public = half(Class::PublicKey, Usage::VERIFY);
    let private = half(Class::PrivateKey, Usage::SIGN);
    for _ in 0..2 {
        let errors = [
            store.create(&aes("k")).unwrap_err(),
            store.register(&aes("r"), &[5; 32]).unwrap_err(),
            store.create_pair(&public, &private).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.rv(), ck::CKR_TEMPLATE_INCONSISTENT);
            assert!(error.to_string().contains("does not keep"), "{error}");
        }
        assert!(alive(&server).is_empty());
    }
    let named = Spec {
        name: Some("mrhsm:c:core:1".into()),
        sensitive: false,
        extractable: true,
        ..aes("k")
    };
    let uid = store.create(&named).unwrap();
    assert_eq!(alive(&server), [uid.0]);
}

/// What a server was seen to keep costs no request from then on; each operation is looked at once.
#[test]
fn what_is_kept_is_looked_at_once_for_each_operation() {
    let server = Server::start(Personality::standard(), Script::none());
    let store = store(&server);
    store.version().unwrap();
    let half = |class, usage| spec(class, Algorithm::Rsa, 2048, usage, "pair");
    let public = half(Class::PublicKey, Usage::VERIFY);
    let private = half(Class::PrivateKey, Usage::SIGN);
    let looks = |work: &dyn Fn()| {
        let before = server.count_of(O::GET_ATTRIBUTES);
        work();
        server.count_of(O::GET_ATTRIBUTES) - before
    };
    let create = || drop(store.create(&aes("k")).unwrap());
    let register = || drop(store.register(&aes("r"), &[5; 32]).unwrap());
    let pair = || drop(store.create_pair(&public, &private).unwrap());
    assert_eq!((looks(&create), looks(&create)), (1, 0));
    assert_eq!((looks(&register), looks(&register)), (1, 0));
    assert_eq!((looks(&pair), looks(&pair)), (2, 0));
}
