//! Drives a `KmipStore` against a real KMIP server, in every version it speaks:
//! `cargo run --example kmip-smoke -- HOST PORT CA CERTIFICATE KEY [VERSION...]`.

use std::collections::BTreeMap;
use std::time::Instant;

use mrhsm_pkcs11::crypto::cipher::{Cipher as Local, Direction, Key, Mode};
use mrhsm_pkcs11::error::Result;
use mrhsm_pkcs11::net::{Config, Host, Identity, Tls, Trust, probe};
use mrhsm_pkcs11::store::kmip::KmipStore;
use mrhsm_pkcs11::store::{
    Ability, Algorithm, Changes, Cipher, Class, Filter, Hash, KeyStore, Mac, Message, Revocation, Signing, Spec, State, Usage,
};
use mrhsm_pkcs11::version::Version;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [host, port, ca, certificate, key, versions @ ..] = args.as_slice() else {
        eprintln!("usage: kmip-smoke HOST PORT CA CERTIFICATE KEY [VERSION...]");
        std::process::exit(2);
    };
    let read = |path: &str| std::fs::read(path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let config = |version: Option<Version>| {
        let identity = Identity::from_pem(&read(certificate), &read(key), None).unwrap();
        let tls = Tls::new(Some(&identity), &Trust::Pem(read(ca)), None).unwrap();
        let host = Host::parse(host, port.parse().expect("a port")).unwrap();
        Config { version, ..Config::new(vec![host], tls) }
    };
    println!("{:?}", probe(&config(None), 0).unwrap());
    let versions: Vec<Version> = versions.iter().map(|v| v.parse().unwrap()).collect();
    for version in if versions.is_empty() { Version::ALL.to_vec() } else { versions } {
        let store = KmipStore::open(config(Some(version))).unwrap();
        println!("--- KMIP {version}");
        match drive(&store, version) {
            Ok(()) => println!("KMIP {version}: done"),
            Err(e) => println!("KMIP {version}: FAILED {e:?}"),
        }
    }
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

/// Runs a step, tells how long it took, and goes on.
fn step<R>(name: &str, work: impl FnOnce() -> Result<R>) -> Option<R> {
    let start = Instant::now();
    let outcome = work();
    match &outcome {
        Ok(_) => println!("  {name:<34} {:>8.2?}", start.elapsed()),
        Err(e) => println!("  {name:<34} {:>8.2?}  {e:?}", start.elapsed()),
    }
    outcome.ok()
}

fn drive(store: &KmipStore, version: Version) -> Result<()> {
    store.can(Ability::Encrypt)?;
    let label = "Schlüssel & 100%".as_bytes();
    let uid = store.create(&spec(label))?;
    step("create another", || store.create(&spec(label)).and_then(|uid| store.destroy(&uid)));
    let meta = step("meta", || store.meta(std::slice::from_ref(&uid))).unwrap_or_default();
    println!("    {meta:?}");
    for filter in [
        Filter { label: Some(label.to_vec()), ..Filter::default() },
        Filter { id: Some(vec![0, 0xff, 0x7e]), class: Some(Class::SecretKey), ..Filter::default() },
        Filter { group: Some("mrhsm:smoke".into()), ..Filter::default() },
        Filter { name: meta.first().and_then(|m| m.names.first().cloned()), ..Filter::default() },
    ] {
        let found = step("locate", || store.locate(&filter)).unwrap_or_default();
        assert!(found.contains(&uid), "{filter:?} found {found:?}");
    }
    let changes =
        Changes { label: Some(b"new".to_vec()), properties: BTreeMap::from([("k".into(), "v".into())]), ..Changes::default() };
    if step("update", || store.update(&uid, &changes)).is_some() {
        let meta = store.meta(std::slice::from_ref(&uid))?;
        assert_eq!((meta[0].label.as_deref(), meta[0].properties.len()), (Some(&b"new"[..]), 2));
    }
    ciphers(store, version)?;
    asymmetric(store);
    let step_value = step("fetch", || store.fetch(&uid));
    assert_eq!(step_value.map(|v| v.len()), Some(32));
    let all = store.locate(&Filter::default())?;
    let metas = step("meta of all", || store.meta(&all)).unwrap_or_default();
    println!("    {} objects, {} shown", all.len(), metas.len());
    step("revoke", || store.revoke(&uid, Revocation::Superseded));
    assert_eq!(store.meta(std::slice::from_ref(&uid))?[0].state, Some(State::Deactivated));
    let iv = vec![0; 16];
    step("encrypt, deactivated (must fail)", || store.encrypt(&uid, Algorithm::Aes, &Cipher::CbcPad { iv }, b"x"));
    step("destroy", || store.destroy(&uid));
    step("destroy again (must fail)", || store.destroy(&uid));
    assert!(store.meta(std::slice::from_ref(&uid))?.is_empty());
    Ok(())
}

/// Every mode on a key whose value is known, compared with a local cipher.
fn ciphers(store: &KmipStore, version: Version) -> Result<()> {
    let value = [0x42; 32];
    let known = Spec { sensitive: false, extractable: true, ..spec(b"known") };
    let uid = store.register(&known, &value)?;
    let iv = vec![7; 16];
    let data: Vec<u8> = (0..200_000u32).map(|i| (i * 7) as u8).collect();
    let modes: [(&str, Cipher, Mode<'_>, usize); 5] = [
        ("ECB", Cipher::Ecb, Mode::Ecb, 64),
        ("CBC", Cipher::Cbc { iv: iv.clone() }, Mode::Cbc { iv: &iv }, 64),
        ("CBC-PAD", Cipher::CbcPad { iv: iv.clone() }, Mode::CbcPad { iv: &iv }, 61),
        ("CTR", Cipher::Ctr { counter: iv.clone() }, Mode::Ctr { counter: &iv, bits: 128 }, 61),
        (
            "GCM",
            Cipher::Gcm { iv: vec![1; 12], aad: b"aad".to_vec(), tag_len: 16 },
            Mode::Gcm { iv: &[1; 12], aad: b"aad", tag_len: 16 },
            61,
        ),
    ];
    for (name, cipher, mode, len) in modes {
        for len in [0, len, 96 << 10] {
            let data = &data[..len];
            let Some(made) = step(&format!("{name} encrypt {len}"), || store.encrypt(&uid, Algorithm::Aes, &cipher, data)) else {
                continue;
            };
            let local = Local::new(Direction::Encrypt, Key::Aes(&value), mode)?.run(data)?;
            assert!(made == local, "{name} differs from the local cipher");
            let back = step(&format!("{name} decrypt {len}"), || store.decrypt(&uid, Algorithm::Aes, &cipher, &made));
            assert!(back.is_none_or(|back| back.expose() == data), "{name} does not come back");
        }
        if let Ok(mut made) = store.encrypt(&uid, Algorithm::Aes, &cipher, &data[..16])
            && matches!(name, "GCM" | "CBC-PAD")
        {
            let last = made.len() - 1;
            made[last] ^= 1;
            let error = store.decrypt(&uid, Algorithm::Aes, &cipher, &made).expect_err("damaged data decrypted");
            println!("    damaged: {error:?}");
        }
    }
    if version >= Version::V1_2 {
        let mac_spec =
            Spec { algorithm: Algorithm::Hmac(Hash::Sha256), usage: Usage::MAC_GENERATE | Usage::MAC_VERIFY, ..spec(b"mac") };
        if let Some(key) = step("create HMAC key", || store.create(&mac_spec)) {
            step("HMAC", || store.mac(&key, Mac::Hmac(Hash::Sha256), b"data"));
            store.destroy(&key)?;
        }
    }
    step("random", || store.random(32));
    let only_decrypt = Spec { usage: Usage::DECRYPT, ..known.clone() };
    let decrypt_only = store.register(&only_decrypt, &value)?;
    step("decrypt CBC, key may not encrypt", || store.decrypt(&decrypt_only, Algorithm::Aes, &Cipher::Cbc { iv }, &[0; 32]));
    store.destroy(&decrypt_only)?;
    assert_eq!(store.fetch(&uid)?.expose(), value);
    store.destroy(&uid)
}

fn asymmetric(store: &KmipStore) {
    let half = |class, usage| Spec { class, algorithm: Algorithm::Rsa, bits: 2048, usage, ..spec(b"pair") };
    let pair = step("create RSA pair", || {
        store.create_pair(&half(Class::PublicKey, Usage::VERIFY), &half(Class::PrivateKey, Usage::SIGN))
    });
    if let Some((public, private)) = pair {
        let value = step("fetch public", || store.fetch(&public)).unwrap_or_default();
        step("fetch private", || store.fetch(&private));
        if let Some(signature) = step("sign", || store.sign(&private, Signing::RsaPkcs1(Hash::Sha256), Message::Whole(b"abc"))) {
            use mrhsm_pkcs11::crypto::{hash::digest, pkey};
            let key = pkey::PublicKey::from_spki(value.expose()).unwrap();
            key.verify(pkey::Scheme::RsaPkcs1(Hash::Sha256), &digest(Hash::Sha256, b"abc").unwrap(), &signature).unwrap();
        }
        step("sign digest", || store.sign(&private, Signing::RsaPkcs1(Hash::Sha256), Message::Digest(&[1; 32])));
        step("destroy pair", || store.destroy(&private).and_then(|()| store.destroy(&public)));
    }
    for (class, value) in [(Class::Data, &b"some data"[..]), (Class::Certificate, b"not looked at")] {
        let spec = Spec {
            class,
            algorithm: Algorithm::None,
            bits: 0,
            usage: Usage(0),
            sensitive: false,
            extractable: true,
            ..spec(b"data")
        };
        if let Some(uid) = step(&format!("register {class:?}"), || store.register(&spec, value)) {
            assert_eq!(store.fetch(&uid).unwrap().expose(), value);
            println!("    {:?}", store.meta(std::slice::from_ref(&uid)));
            step("destroy", || store.destroy(&uid));
        }
    }
    let generic = Spec { algorithm: Algorithm::GenericSecret, bits: 136, usage: Usage::DERIVE, ..spec(b"generic") };
    if let Some(uid) = step("register secret data", || store.register(&generic, &[9; 17])) {
        assert_eq!(store.fetch(&uid).unwrap().expose(), [9; 17]);
        step("destroy", || store.destroy(&uid));
    }
}
