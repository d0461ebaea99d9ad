//! Drives a `KmipStore` against a real KMIP server, in every version the server speaks, and compares what the server computes with
//! what this machine computes: `kmip-smoke HOST PORT CA CERTIFICATE KEY [VERSION...]`. The last line counts the versions.

use std::collections::BTreeMap;
use std::time::Instant;

use mrhsm_pkcs11::ck::*;
use mrhsm_pkcs11::crypto::cipher::{Cipher as Local, Direction, Key, Mode};
use mrhsm_pkcs11::crypto::hash::digest;
use mrhsm_pkcs11::crypto::pkey::{PrivateKey, PublicKey, Scheme};
use mrhsm_pkcs11::error::Result;
use mrhsm_pkcs11::net::{Config, Host, Identity, Tls, Trust, probe};
use mrhsm_pkcs11::store::kmip::KmipStore;
use mrhsm_pkcs11::store::{
    Ability, Algorithm, Changes, Cipher, Class, Filter, Hash, KeyStore, Mac, Message, Revocation,
    Signing, Spec, State, Uid, Usage,
};
use mrhsm_pkcs11::version::Version;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [host, port, ca, certificate, key, versions @ ..] = args.as_slice() else {
        eprintln!("usage: kmip-smoke HOST PORT CA CERTIFICATE KEY [VERSION...]");
        std::process::exit(2);
    };
    let read = |path: &str| std::fs::read(path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let config = |version: Version| {
        let identity = Identity::from_pem(&read(certificate), &read(key), None).unwrap();
        let tls = Tls::new(Some(&identity), &Trust::Pem(read(ca)), None).unwrap();
        let host = Host::parse(host, port.parse().expect("a port")).unwrap();
        Config {
            version: Some(version),
            ..Config::new(vec![host], tls)
        }
    };
    let wanted: Vec<Version> = versions.iter().map(|v| v.parse().unwrap()).collect();
    let (mut passed, mut failed) = (0, 0);
    for version in Version::ALL
        .into_iter()
        .filter(|v| wanted.is_empty() || wanted.contains(v))
    {
        println!("KMIP {version}");
        match probe(&config(version), 0) {
            Err(e) if e.rv() == CKR_TOKEN_NOT_RECOGNIZED && wanted.is_empty() => {
                println!("  {e}");
                continue;
            }
            Err(e) => println!("  {e:?}"),
            Ok(health) => println!("  {}", health.vendor.unwrap_or_default()),
        }
        let store = KmipStore::open(config(version)).unwrap();
        match drive(&store, version) {
            Ok(()) => passed += 1,
            Err(e) => {
                println!("  FAILED: {e:?}");
                failed += 1;
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    std::process::exit(i32::from(failed > 0 || passed == 0));
}

/// Runs a step and tells how long it took.
fn step<R>(name: &str, work: impl FnOnce() -> Result<R>) -> Result<R> {
    let start = Instant::now();
    let outcome = work().map_err(|e| e.context(name));
    println!("  {name:<34} {:>9.2?}", start.elapsed());
    outcome
}

/// Runs a step that has to fail with `rv`.
#[track_caller]
fn refused<R: std::fmt::Debug>(name: &str, rv: CK_RV, work: impl FnOnce() -> Result<R>) {
    let error = work().expect_err(name);
    println!("  {name:<34} refused: {error}");
    assert_eq!(rv_name(error.rv()), rv_name(rv), "{name}");
}

fn spec(label: &[u8]) -> Spec {
    Spec {
        class: Class::SecretKey,
        algorithm: Algorithm::Aes,
        bits: 256,
        usage: Usage::ENCRYPT | Usage::DECRYPT,
        name: None,
        group: Some("mrhsm:smoke".into()),
        label: label.to_vec(),
        id: vec![0, 0xff, 0x7e],
        sensitive: true,
        extractable: false,
        properties: BTreeMap::from([("role".into(), "a;b=c ü".into())]),
    }
}

fn drive(store: &KmipStore, version: Version) -> Result<()> {
    let label = "Schlüssel & 100%".as_bytes();
    let uid = step("create, first of the process", || {
        store.create(&spec(label))
    })?;
    let other = step("create", || store.create(&spec(label)))?;
    step("destroy an active key", || store.destroy(&other))?;
    let meta = step("meta", || store.meta(std::slice::from_ref(&uid)))?.remove(0);
    let kept = (meta.label.as_deref(), meta.id.as_deref(), &meta.properties);
    assert_eq!(
        kept,
        (
            Some(label),
            Some(&[0, 0xff, 0x7e][..]),
            &spec(label).properties
        )
    );
    assert_eq!(
        (meta.state, meta.sensitive, meta.extractable),
        (Some(State::Active), Some(true), Some(false))
    );
    for filter in [
        Filter {
            label: Some(label.to_vec()),
            ..Filter::default()
        },
        Filter {
            id: Some(vec![0, 0xff, 0x7e]),
            class: Some(Class::SecretKey),
            ..Filter::default()
        },
        Filter {
            group: Some("mrhsm:smoke".into()),
            ..Filter::default()
        },
        Filter {
            name: meta.names.first().cloned(),
            ..Filter::default()
        },
        Filter {
            class: Some(Class::SecretKey),
            ..Filter::default()
        },
    ] {
        let found = step("locate", || store.locate(&filter))?;
        assert!(found.contains(&uid), "{filter:?} found {found:?}");
    }
    let properties = BTreeMap::from([("k".into(), "v".into())]);
    let changes = Changes {
        label: Some(b"new".to_vec()),
        properties,
        ..Changes::default()
    };
    step("update", || store.update(&uid, &changes))?;
    let meta = store.meta(std::slice::from_ref(&uid))?.remove(0);
    assert_eq!(
        (meta.label.as_deref(), meta.properties.len()),
        (Some(&b"new"[..]), 2)
    );

    let many: Vec<Uid> = (0..5)
        .map(|_| store.create(&spec(b"many")))
        .collect::<Result<_>>()?;
    assert_eq!(step("meta of five", || store.meta(&many))?.len(), 5);
    many.iter().try_for_each(|uid| store.destroy(uid))?;
    assert!(store.meta(&many)?.is_empty());

    ciphers(store, version)?;
    pairs(store, version)?;
    values(store)?;
    assert_eq!(step("fetch", || store.fetch(&uid))?.len(), 32);
    step("revoke", || store.revoke(&uid, Revocation::Superseded))?;
    assert_eq!(
        store.meta(std::slice::from_ref(&uid))?[0].state,
        Some(State::Deactivated)
    );
    if version >= Version::V1_2 {
        let cipher = Cipher::CbcPad { iv: vec![0; 16] };
        refused(
            "encrypt with a deactivated key",
            CKR_KEY_FUNCTION_NOT_PERMITTED,
            || store.encrypt(&uid, Algorithm::Aes, &cipher, b"x"),
        );
    }
    step("destroy", || store.destroy(&uid))?;
    refused("destroy again", CKR_OBJECT_HANDLE_INVALID, || {
        store.destroy(&uid)
    });
    refused("fetch what is gone", CKR_OBJECT_HANDLE_INVALID, || {
        store.fetch(&uid)
    });
    assert!(store.meta(std::slice::from_ref(&uid))?.is_empty());
    Ok(())
}

/// Every mode on a key whose value is known, compared with a local cipher.
fn ciphers(store: &KmipStore, version: Version) -> Result<()> {
    let value = [0x42; 32];
    let known = Spec {
        sensitive: false,
        extractable: true,
        ..spec(b"known")
    };
    let uid = step("register a key", || store.register(&known, &value))?;
    let aes = Algorithm::Aes;
    let (iv, nonce) = (vec![7; 16], vec![1; 12]);
    let data: Vec<u8> = (0..100_000u32).map(|i| (i * 7) as u8).collect();
    let modes = [
        ("ECB", Cipher::Ecb, Mode::Ecb, 64),
        (
            "CBC",
            Cipher::Cbc { iv: iv.clone() },
            Mode::Cbc { iv: &iv },
            64,
        ),
        (
            "CBC-PAD",
            Cipher::CbcPad { iv: iv.clone() },
            Mode::CbcPad { iv: &iv },
            61,
        ),
        (
            "CTR",
            Cipher::Ctr {
                counter: iv.clone(),
            },
            Mode::Ctr {
                counter: &iv,
                bits: 128,
            },
            61,
        ),
        (
            "GCM",
            Cipher::Gcm {
                iv: nonce.clone(),
                aad: b"aad".to_vec(),
                tag_len: 16,
            },
            Mode::Gcm {
                iv: &nonce,
                aad: b"aad",
                tag_len: 16,
            },
            61,
        ),
    ];
    for (name, cipher, mode, len) in modes {
        if version < Version::V1_2 || (name == "GCM" && version < Version::V1_4) {
            refused(name, CKR_MECHANISM_INVALID, || {
                store.encrypt(&uid, aes, &cipher, &data[..64])
            });
            continue;
        }
        for len in [0, len, 96 << 10] {
            let data = &data[..len];
            let made = step(&format!("{name} encrypt {len}"), || {
                store.encrypt(&uid, aes, &cipher, data)
            })?;
            assert!(
                made == Local::new(Direction::Encrypt, Key::Aes(&value), mode)?.run(data)?,
                "{name} differs from the local cipher"
            );
            let back = step(&format!("{name} decrypt {len}"), || {
                store.decrypt(&uid, aes, &cipher, &made)
            })?;
            assert!(back.expose() == data, "{name} does not come back");
        }
        if matches!(name, "GCM" | "CBC-PAD") {
            let mut made = store.encrypt(&uid, aes, &cipher, &data[..16])?;
            made.iter_mut().for_each(|byte| *byte ^= 1);
            refused("damaged data", CKR_ENCRYPTED_DATA_INVALID, || {
                store.decrypt(&uid, aes, &cipher, &made)
            });
        }
    }
    if version >= Version::V1_2 {
        let small = Cipher::CbcPad { iv: iv.clone() };
        let times = |count: u32| {
            (0..count).try_for_each(|_| store.encrypt(&uid, aes, &small, &data[..32]).map(drop))
        };
        step("100 encryptions", || times(100))?;
        step("100 encryptions in 4 threads", || {
            std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| times(25))).collect();
                threads
                    .into_iter()
                    .try_for_each(|thread| thread.join().unwrap())
            })
        })?;
        let decrypts_only = store.register(
            &Spec {
                usage: Usage::DECRYPT,
                ..known.clone()
            },
            &value,
        )?;
        // Possible only where the server decrypts without padding itself.
        if let Err(e) = store.decrypt(&decrypts_only, aes, &Cipher::Cbc { iv }, &[0; 32]) {
            assert_eq!(e.rv(), CKR_KEY_FUNCTION_NOT_PERMITTED);
        }
        store.destroy(&decrypts_only)?;
        let macs = Spec {
            algorithm: Algorithm::Hmac(Hash::Sha256),
            usage: Usage::MAC_GENERATE | Usage::MAC_VERIFY,
            ..spec(b"mac")
        };
        let key = step("create an HMAC key", || store.create(&macs))?;
        assert_eq!(
            step("HMAC", || store.mac(&key, Mac::Hmac(Hash::Sha256), b"data"))?.len(),
            32
        );
        store.destroy(&key)?;
    }
    if store.can(Ability::Random)? {
        assert_eq!(step("random", || store.random(5000))?.len(), 5000);
    }
    assert_eq!(store.fetch(&uid)?.expose(), value);
    store.destroy(&uid)
}

fn pairs(store: &KmipStore, version: Version) -> Result<()> {
    let half = |class, usage| Spec {
        class,
        algorithm: Algorithm::Rsa,
        bits: 2048,
        usage,
        ..spec(b"pair")
    };
    let halves = (
        half(Class::PublicKey, Usage::VERIFY),
        half(Class::PrivateKey, Usage::SIGN),
    );
    let (public, private) = step("create an RSA pair", || {
        store.create_pair(&halves.0, &halves.1)
    })?;
    let spki = step("fetch its public half", || store.fetch(&public))?;
    let key = PublicKey::from_spki(spki.expose())?;
    let pkcs8 = step("fetch its private half", || store.fetch(&private))?;
    assert_eq!(
        PrivateKey::from_pkcs8(pkcs8.expose())?
            .public()?
            .to_spki()?,
        spki.expose()
    );
    if version >= Version::V1_2 {
        let signature = step("sign", || {
            store.sign(
                &private,
                Signing::RsaPkcs1(Hash::Sha256),
                Message::Whole(b"abc"),
            )
        })?;
        key.verify(
            Scheme::RsaPkcs1(Hash::Sha256),
            &digest(Hash::Sha256, b"abc")?,
            &signature,
        )?;
    }
    store.destroy(&private)?;
    store.destroy(&public)?;
    let again = step("register both halves", || {
        Ok([
            store.register(&halves.1, pkcs8.expose())?,
            store.register(&halves.0, spki.expose())?,
        ])
    })?;
    assert_eq!(store.fetch(&again[0])?, pkcs8);
    assert_eq!(store.fetch(&again[1])?, spki);
    again.iter().try_for_each(|uid| store.destroy(uid))
}

/// What is neither encrypted with nor half of a pair.
fn values(store: &KmipStore) -> Result<()> {
    let plain = |class, algorithm, bits, usage| Spec {
        class,
        algorithm,
        bits,
        usage,
        sensitive: false,
        extractable: true,
        ..spec(b"v")
    };
    for (spec, value) in [
        (
            plain(Class::Data, Algorithm::None, 0, Usage(0)),
            &b"some data"[..],
        ),
        (
            plain(Class::Certificate, Algorithm::None, 0, Usage(0)),
            b"not looked at",
        ),
        (
            plain(
                Class::SecretKey,
                Algorithm::GenericSecret,
                136,
                Usage::DERIVE,
            ),
            &[9; 17],
        ),
        (
            plain(
                Class::SecretKey,
                Algorithm::GenericSecret,
                160,
                Usage::MAC_GENERATE,
            ),
            &[8; 20],
        ),
        (
            plain(Class::SecretKey, Algorithm::TripleDes, 192, Usage::ENCRYPT),
            &[7; 24],
        ),
    ] {
        let uid = step(
            &format!("register {:?} {:?}", spec.class, spec.algorithm),
            || store.register(&spec, value),
        )?;
        assert_eq!(store.fetch(&uid)?.expose(), value);
        let meta = store.meta(std::slice::from_ref(&uid))?.remove(0);
        assert_eq!((meta.class, meta.algorithm), (spec.class, spec.algorithm));
        store.destroy(&uid)?;
    }
    let made = plain(Class::SecretKey, Algorithm::TripleDes, 192, Usage::ENCRYPT);
    let uid = step("create a Triple DES key", || store.create(&made))?;
    assert_eq!(store.fetch(&uid)?.len(), 24);
    store.destroy(&uid)
}
