//! Bytes as an untrusted server's answers to the KMIP store.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mrhsm_pkcs11::ck::CKR_DEVICE_ERROR;
use mrhsm_pkcs11::crypto::Hash;
use mrhsm_pkcs11::error::{Error, Kind, Result};
use mrhsm_pkcs11::net::{Client, Replay, Transport};
use mrhsm_pkcs11::secret::Secret;
use mrhsm_pkcs11::server::Personality;
use mrhsm_pkcs11::store::kmip::KmipStore;
use mrhsm_pkcs11::store::{
    Ability, Algorithm, Changes, Cipher, Class, Curve, Filter, KeyStore, Mac, Memory, Message,
    Revocation, Signing, Spec, Uid, Usage, Wrapping,
};
use mrhsm_pkcs11::ttlv::{HEADER_LEN, Item, ItemType};
use mrhsm_pkcs11::version::Version;

use super::abi::Input;
use super::server::{Stand, caller, character_of};

/// The first two bytes choose the server's character and the version, the next eight the calls; the others say how each answer
/// differs from the true one. Whatever a server answers, a call ends, and what it returns keeps the promises of [`KeyStore`].
pub fn client_response(bytes: &[u8]) {
    let Some((&[character, version, ref calls @ ..], lies)) = bytes.split_first_chunk::<10>()
    else {
        return;
    };
    let stand = Stand::new(talkative(character_of(character)));
    let versions = stand.engine.personality.versions;
    // One choice more: the client negotiates.
    let version = versions
        .get(usize::from(version) % (versions.len() + 1))
        .copied();
    let (liar, memory) = (
        Liar {
            stand,
            script: Mutex::new(Script {
                lies: lies.to_vec(),
                at: 0,
                before: Vec::new(),
            }),
        },
        Arc::new(Notebook(Mutex::new(lies.to_vec()))),
    );
    let liar = Arc::new(liar);
    let store = KmipStore::over(Client::over(
        Line(liar.clone()),
        version,
        None,
        Duration::from_secs(10),
    ))
    .remembering(memory);
    for call in calls {
        self::call(&store, *call);
    }
    drop(store);
    if let Some(liar) = Arc::into_inner(liar) {
        liar.stand.close();
    }
}

/// A server that falls silent costs the client its whole deadline.
pub(super) fn talkative(personality: Personality) -> Personality {
    Personality {
        silent_on_nothing: false,
        ..personality
    }
}

/// One call of the store.
pub(super) fn call(store: &dyn KeyStore, choice: u8) {
    let uid = |number: usize| Uid((number % 8).to_string());
    let key = uid(usize::from(choice / 32) + 1);
    let outcome = match choice % 32 {
        0 => store
            .create(&spec(Class::SecretKey, Algorithm::Aes, 256))
            .map(drop),
        1 => store
            .create(&spec(Class::SecretKey, Algorithm::GenericSecret, 256))
            .map(drop),
        2 => pair(store, Algorithm::Ec(Curve::P256), 256),
        // Not RSA, whose keys take too long for thousands of runs.
        3 => pair(store, Algorithm::Ec(Curve::Ed25519), 256),
        4 => store
            .register(
                &spec(Class::SecretKey, Algorithm::Hmac(Hash::Sha256), 256),
                &[7; 32],
            )
            .map(drop),
        5 => store
            .register(&spec(Class::Data, Algorithm::None, 0), b"data")
            .map(drop),
        6 => store
            .register(&spec(Class::Certificate, Algorithm::None, 0), &[0x30, 0])
            .map(drop),
        7 => locate(store, &Filter::default()),
        8 => locate(
            store,
            &Filter {
                class: Some(Class::SecretKey),
                label: Some(b"label".to_vec()),
                id: Some(vec![1]),
                ..Filter::default()
            },
        ),
        9 => locate(
            store,
            &Filter {
                class: Some(Class::PrivateKey),
                name: Some("name".into()),
                group: Some("group".into()),
                ..Filter::default()
            },
        ),
        10 => meta(store, &[key]),
        11 => meta(store, &(1..20).map(uid).collect::<Vec<_>>()),
        12 => store.fetch(&key).map(drop),
        13 => store.update(
            &key,
            &Changes {
                label: Some(b"other".to_vec()),
                id: Some(vec![2]),
                sensitive: Some(true),
                extractable: Some(false),
                properties: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
            },
        ),
        14 => store.activate(&key),
        15 => store.revoke(&key, Revocation::KeyCompromise),
        16 => store.destroy(&key),
        17 => encrypt(
            store,
            &key,
            Algorithm::Aes,
            &Cipher::Cbc { iv: vec![1; 16] },
        ),
        18 => encrypt(
            store,
            &key,
            Algorithm::Aes,
            &Cipher::CbcPad { iv: vec![1; 16] },
        ),
        19 => encrypt(
            store,
            &key,
            Algorithm::Aes,
            &Cipher::Gcm {
                iv: vec![1; 12],
                aad: vec![2; 5],
                tag_len: 16,
            },
        ),
        20 => encrypt(store, &key, Algorithm::Aes, &Cipher::Ecb),
        21 => encrypt(
            store,
            &key,
            Algorithm::Aes,
            &Cipher::Ctr {
                counter: vec![9; 16],
            },
        ),
        22 => encrypt(
            store,
            &uid(6),
            Algorithm::Rsa,
            &Cipher::RsaOaep {
                hash: Hash::Sha256,
                mgf: Hash::Sha256,
                label: Vec::new(),
            },
        ),
        23 => sign(store, &uid(3), Signing::Ecdsa(Hash::Sha256)),
        24 => sign(store, &uid(5), Signing::RsaPkcs1(Hash::Sha256)),
        25 => sign(
            store,
            &uid(5),
            Signing::RsaPss {
                hash: Hash::Sha256,
                mgf: Hash::Sha256,
                salt_len: 32,
            },
        ),
        26 => mac(store, &key, Mac::Hmac(Hash::Sha256)),
        27 => mac(store, &key, Mac::Cmac(Algorithm::Aes)),
        28 => store
            .wrap(&key, Wrapping::Kw, &uid(2), Class::SecretKey)
            .map(drop),
        29 => store
            .register_wrapped(
                &spec(Class::SecretKey, Algorithm::Aes, 256),
                &key,
                Wrapping::Kwp,
                &[5; 40],
            )
            .map(drop),
        30 => store.unwrap(&key, Wrapping::Kw, &[5; 40]).map(drop),
        _ => random(store).and_then(|()| abilities(store)),
    };
    if let Err(error) = outcome {
        let _ = (error.to_string(), error.rv());
    }
}

fn spec(class: Class, algorithm: Algorithm, bits: u32) -> Spec {
    Spec {
        class,
        algorithm,
        bits,
        usage: Usage::ENCRYPT | Usage::DECRYPT | Usage::SIGN | Usage::VERIFY,
        name: None,
        group: Some("group".into()),
        label: b"label".to_vec(),
        id: vec![1],
        sensitive: true,
        extractable: false,
        properties: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
    }
}

fn pair(store: &dyn KeyStore, algorithm: Algorithm, bits: u32) -> Result<()> {
    let public = spec(Class::PublicKey, algorithm, bits);
    let private = spec(Class::PrivateKey, algorithm, bits);
    let (public, private) = store.create_pair(&public, &private)?;
    assert_ne!(public, private, "the halves of a pair are two objects");
    Ok(())
}

fn locate(store: &dyn KeyStore, filter: &Filter) -> Result<()> {
    let found = store.locate(filter)?;
    let different: HashSet<_> = found.iter().collect();
    assert_eq!(different.len(), found.len(), "an object is found twice");
    Ok(())
}

fn meta(store: &dyn KeyStore, uids: &[Uid]) -> Result<()> {
    let metas = store.meta(uids)?;
    let mut asked = uids.iter();
    let in_order = metas.iter().all(|meta| asked.any(|uid| *uid == meta.uid));
    assert!(
        in_order,
        "objects that were not asked about, or in another order"
    );
    Ok(())
}

fn encrypt(store: &dyn KeyStore, key: &Uid, algorithm: Algorithm, cipher: &Cipher) -> Result<()> {
    let text = [0x61; 32];
    let secret = store.encrypt(key, algorithm, cipher, &text)?;
    store.decrypt(key, algorithm, cipher, &secret).map(drop)
}

fn sign(store: &dyn KeyStore, key: &Uid, signing: Signing) -> Result<()> {
    let signed = store.sign(key, signing, Message::Digest(&[3; 32]));
    store.sign_otherwise(signing, Message::Digest(&[3; 32]));
    signed
        .and_then(|_| store.sign(key, signing, Message::Whole(b"message")))
        .map(drop)
}

fn mac(store: &dyn KeyStore, key: &Uid, mac: Mac) -> Result<()> {
    store.mac(key, mac, b"message")?;
    let parts = store.mac_part(key, mac, None, b"mess")?;
    store.mac_last(key, mac, &parts, b"age").map(drop)
}

fn random(store: &dyn KeyStore) -> Result<()> {
    assert_eq!(store.random(24)?.len(), 24);
    Ok(())
}

fn abilities(store: &dyn KeyStore) -> Result<()> {
    for ability in [
        Ability::Encrypt,
        Ability::Sign,
        Ability::Mac,
        Ability::Random,
        Ability::CreateKeyPair,
        Ability::Wrap(Wrapping::Kw),
        Ability::Unwrap(Wrapping::Kwp),
    ] {
        store.can(ability)?;
    }
    store.is_proven("claim");
    store.note_proven("claim");
    Ok(())
}

/// A server that does what is asked, and answers something else.
struct Liar {
    stand: Stand,
    script: Mutex<Script>,
}

/// The client's end of the line to it.
struct Line(Arc<Liar>);

struct Script {
    lies: Vec<u8>,
    at: usize,
    /// The last answer.
    before: Vec<u8>,
}

impl Transport for Line {
    fn exchange(&self, frame: &[u8], _: Replay, _: Instant) -> Result<Secret> {
        let truth = self.0.stand.engine.answer(&caller(), frame, None).bytes;
        let mut script = self.0.script.lock().expect("no run panicked");
        script.answer(truth.expose()).map(Secret::new)
    }

    fn peer(&self) -> String {
        "fuzz".into()
    }
}

impl Script {
    fn answer(&mut self, truth: &[u8]) -> Result<Vec<u8>> {
        let Script { lies, at, before } = self;
        let mut input = Input(&lies[*at..]);
        let lied = lie(&mut input, truth, before);
        *at = lies.len() - input.0.len();
        truth.clone_into(before);
        lied
    }
}

/// The true answer, changed as the next bytes say; once there are no more, the true answer.
fn lie(input: &mut Input<'_>, truth: &[u8], before: &[u8]) -> Result<Vec<u8>> {
    let mut answer = truth.to_vec();
    match input.below(16) {
        // Any bytes in the value of an item: the message stays well-formed.
        4..=6 => {
            let values = values(truth);
            let (start, end) = values[input.below(values.len())];
            let new = input.bytes(32);
            let end = end.min(start + new.len());
            answer[start..end].copy_from_slice(&new[..end - start]);
        }
        // A number at which something changes in the value of an item.
        7 | 8 => {
            let values = values(truth);
            let (start, end) = values[input.below(values.len())];
            let number = input.number().to_be_bytes();
            let len = (end - start).min(number.len());
            answer[start..start + len].copy_from_slice(&number[number.len() - len..]);
        }
        // Another tag or type of an item.
        9 => {
            let values = values(truth);
            let (start, _) = values[input.below(values.len())];
            let at = start - HEADER_LEN + input.below(4);
            answer[at] = input.byte();
        }
        10 => {
            let at = input.below(answer.len().min(1 << 16));
            let new = input.bytes(8);
            let end = answer.len().min(at + new.len());
            answer[at..end].copy_from_slice(&new[..end - at]);
        }
        11 => answer.truncate(input.below(answer.len().min(1 << 16))),
        // Another message altogether.
        12 => answer = input.bytes(4096),
        13 => before.clone_into(&mut answer),
        14 => {
            // The client waits before it looks whether a lost request was executed: seldom, or nothing else is tried.
            let kind = if input.once_in(16) {
                Kind::Broken
            } else {
                Kind::Unreachable
            };
            return Err(Error::new(kind, CKR_DEVICE_ERROR, "the line is dead"));
        }
        _ => {}
    }
    Ok(answer)
}

/// Where the values are of all items of a message that are not structures; at least one.
fn values(message: &[u8]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(header) = message[at..].first_chunk::<HEADER_LEN>() {
        let len = u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize;
        at += HEADER_LEN;
        if ItemType(header[3]) != ItemType::STRUCTURE {
            found.push((at, at + len));
            at += len.next_multiple_of(8);
        }
    }
    found
}

/// What earlier processes noted about the server, as somebody may have changed it.
struct Notebook(Mutex<Vec<u8>>);

impl Memory for Notebook {
    fn recall(&self) -> Option<String> {
        String::from_utf8(self.0.lock().expect("no run panicked").clone()).ok()
    }

    fn keep(&self, text: &str) {
        *self.0.lock().expect("no run panicked") = text.into();
    }
}
