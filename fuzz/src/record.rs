//! Seeds of the targets: what our own client and other clients ask our own server, what it answers, and keys of every kind.
//!
//! `scripts/fuzz --record` writes them to `corpus/`; `scripts/fuzz --minimise` keeps those that reach something in `seeds/`.
//! Identifiers are counted and dates are the same in every recording. Keys, IVs and signatures are new each time, of the same
//! lengths.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mrhsm_pkcs11::crypto::Curve;
use mrhsm_pkcs11::crypto::pkey::PrivateKey;
use mrhsm_pkcs11::error::Result;
use mrhsm_pkcs11::kmip::message::encode_request;
use mrhsm_pkcs11::kmip::*;
use mrhsm_pkcs11::net::{Client, Replay, Transport};
use mrhsm_pkcs11::secret::Secret;
use mrhsm_pkcs11::server::Engine;
use mrhsm_pkcs11::store::kmip::KmipStore;
use mrhsm_pkcs11::ttlv::{HEADER_LEN, ItemType, Tag};
use mrhsm_pkcs11::version::Version;

use super::client::{call, talkative};
use super::server::{Stand, caller, character_of};

/// Every call of the store that [`client_response`](super::client_response) makes.
const CALLS: std::ops::Range<u8> = 0..32;
/// The longest seed of `server_request`, in bytes.
const LONGEST: usize = 8 << 10;

/// What was exchanged with one server.
#[derive(Default)]
struct Exchanged {
    requests: Vec<Vec<u8>>,
    responses: Vec<Vec<u8>>,
}

/// A line to a server on which everything is recorded.
struct Tap(Arc<(Stand, Mutex<Exchanged>)>);

impl Transport for Tap {
    fn exchange(&self, frame: &[u8], _: Replay, _: Instant) -> Result<Secret> {
        let (stand, exchanged) = &*self.0;
        let answer = exchange(&stand.engine, exchanged, frame);
        Ok(Secret::new(answer))
    }

    fn peer(&self) -> String {
        "recorder".into()
    }
}

fn exchange(engine: &Engine, exchanged: &Mutex<Exchanged>, frame: &[u8]) -> Vec<u8> {
    let answer = engine.answer(&caller(), frame, None).bytes;
    let mut exchanged = exchanged.lock().expect("one thread");
    exchanged.requests.push(dated(frame));
    exchanged.responses.push(dated(answer.expose()));
    answer.expose().to_vec()
}

/// A message whose dates are all the same.
fn dated(message: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    let mut at = 0;
    while let Some(header) = message[at..].first_chunk::<HEADER_LEN>() {
        let kind = ItemType(header[3]);
        let len = u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize;
        at += HEADER_LEN;
        if [ItemType::DATE_TIME, ItemType::DATE_TIME_EXTENDED].contains(&kind) {
            let date = match kind {
                ItemType::DATE_TIME => 1_700_000_000_i64,
                _ => 1_700_000_000_000_000,
            };
            message[at..at + 8].copy_from_slice(&date.to_be_bytes());
        }
        if kind != ItemType::STRUCTURE {
            at += len.next_multiple_of(8);
        }
    }
    message
}

/// Writes the seeds below `corpus`, one folder for each target.
pub fn record(corpus: &Path) {
    let (mut requests, mut responses) = (BTreeSet::new(), BTreeSet::new());
    let mut connections = BTreeSet::new();
    for character in 0..5_u8 {
        for version in character_of(character).versions {
            let exchanged = [
                by_the_store(character, *version),
                by_others(character, *version),
            ];
            for Exchanged {
                requests: asked,
                responses: answered,
            } in exchanged
            {
                let mut connection = vec![character];
                for frame in &asked {
                    if connection.len() + frame.len() > LONGEST {
                        connections.insert(std::mem::replace(&mut connection, vec![character]));
                    }
                    connection.extend(frame);
                }
                connections.insert(connection);
                requests.extend(asked);
                responses.extend(answered);
            }
        }
    }
    let lies = (0..5_u8).flat_map(|character| {
        (0..8).flat_map(move |version| {
            let calls: Vec<u8> = CALLS.collect();
            let eights = calls
                .chunks(8)
                .map(|eight| [&[character, version], eight].concat());
            eights.collect::<Vec<_>>()
        })
    });
    write(corpus, "request_message", requests);
    write(corpus, "response_message", responses);
    write(corpus, "server_request", connections);
    write(corpus, "client_response", lies);
    write(corpus, "key_import", keys().into_iter().map(|(_, der)| der));
    // What the first five bytes choose: a session, a mechanism, a kind of key, a good template, bytes to be wrapped.
    let wrapped = keys().into_iter().flat_map(|(kind, der)| {
        (0..5_u8).map(move |mechanism| [&[0, mechanism, kind, 0, 0], der.as_slice()].concat())
    });
    write(corpus, "unwrap", wrapped);
    let example = include_bytes!("../../conf/mrhsm.conf.example");
    write(corpus, "configuration", [example.to_vec()]);
    write(corpus, "key_file", [vec![b'a'; 64], vec![7; 32]]);
    let damages: [&[u8]; 3] = [&[60, 0, 1, 0xff], &[90, 0, 0], b"d\0\x02REC1\0\0\0\x09"];
    write(corpus, "journal", damages.map(<[u8]>::to_vec));
}

fn write(corpus: &Path, target: &str, seeds: impl IntoIterator<Item = Vec<u8>>) {
    let folder = corpus.join(target);
    fs::create_dir_all(&folder).expect("room for the seeds");
    for (number, seed) in seeds.into_iter().enumerate() {
        fs::write(folder.join(format!("recorded-{number:04}")), seed).expect("room for the seeds");
    }
}

/// Keys in every encoding, with the place of their kind in the list of the target `unwrap`.
fn keys() -> Vec<(u8, Vec<u8>)> {
    let mut keys = vec![(4, vec![1; 32]), (5, vec![2; 20]), (6, vec![4; 24])];
    let rsa = PrivateKey::generate_rsa(1024, &[1, 0, 1]).map(|key| (0, key));
    let curves = Curve::ALL.into_iter().map(|curve| {
        let kind = match curve {
            Curve::Ed25519 => 2,
            Curve::X25519 => 3,
            _ => 1,
        };
        PrivateKey::generate_ec(curve).map(|key| (kind, key))
    });
    for (kind, key) in std::iter::once(rsa).chain(curves).flatten() {
        let private = [key.to_pkcs8(), key.to_pkcs1(), key.to_sec1()];
        let public = key.public().expect("a private key has a public half");
        let public = [public.to_spki(), public.to_pkcs1()];
        let private = private
            .into_iter()
            .flatten()
            .map(|der| der.expose().to_vec());
        keys.extend(
            private
                .chain(public.into_iter().flatten())
                .map(|der| (kind, der)),
        );
    }
    keys
}

/// The dictionary of the targets that read TTLV, as libFuzzer has it: every tag.
pub fn dictionary() -> String {
    let mut text =
        String::from("# Written by scripts/fuzz --record from the tags of src/ttlv/tags.rs.\n");
    for tag in (0x42_0000..0x43_0000).map(Tag) {
        if let Some(name) = tag.name() {
            let [_, a, b, c] = tag.0.to_be_bytes();
            let letter = |c: char| {
                if c.is_ascii_alphanumeric() {
                    c.to_ascii_lowercase()
                } else {
                    '_'
                }
            };
            let name: String = name.chars().map(letter).collect();
            writeln!(text, "{name}=\"\\x{a:02x}\\x{b:02x}\\x{c:02x}\"").expect("a string grows");
        }
    }
    text
}

/// What the module's own store asks.
fn by_the_store(character: u8, version: Version) -> Exchanged {
    let stand = Stand::new(talkative(character_of(character)));
    let tap = Arc::new((stand, Mutex::default()));
    let client = Client::over(
        Tap(tap.clone()),
        Some(version),
        None,
        Duration::from_secs(10),
    );
    let store = KmipStore::over(client);
    for choice in CALLS {
        call(&store, choice);
    }
    drop(store);
    Arc::into_inner(tap)
        .expect("the store is gone")
        .1
        .into_inner()
        .expect("one thread")
}

/// What only other clients ask: every operation on the objects that there are.
fn by_others(character: u8, version: Version) -> Exchanged {
    let stand = Stand::new(talkative(character_of(character)));
    let exchanged = Mutex::default();
    for frame in others(version) {
        exchange(&stand.engine, &exchanged, &frame);
    }
    stand.close();
    exchanged.into_inner().expect("one thread")
}

/// A request of each operation; what `version` does not have is left out.
fn others(version: Version) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    macro_rules! ask {
        ($($type:ident { $($field:ident: $value:expr),* $(,)? })*) => {$(
            #[allow(clippy::needless_update, reason = "some have no other field")]
            let request = $type { $($field: $value,)* ..$type::default() };
            if let Ok(frame) = encode_request(version, None, &request) {
                frames.push(frame.expose().to_vec());
            }
        )*};
    }
    let uid = |text: &str| Some(UniqueIdentifier::from(text));
    let bytes = |text: &[u8]| Some(Secret::new(text.to_vec()));
    let parameters = |block_cipher_mode, hashing_algorithm| {
        Some(CryptographicParameters {
            block_cipher_mode,
            hashing_algorithm,
            ..CryptographicParameters::default()
        })
    };
    let named = |name: &str| Attribute::from(AttributeValue::Name(name.into()));
    let aes = Attributes::new()
        .with(AttributeValue::CryptographicAlgorithm(
            CryptographicAlgorithm::AES,
        ))
        .with(AttributeValue::CryptographicLength(128))
        .with(AttributeValue::CryptographicUsageMask(
            CryptographicUsageMask(0xc),
        ));
    let wrapping = KeyWrappingSpecification {
        wrapping_method: WrappingMethod::ENCRYPT,
        encryption_key_information: Some(KeyInformation {
            unique_identifier: "1".into(),
            cryptographic_parameters: parameters(Some(BlockCipherMode::NIST_KEY_WRAP), None),
        }),
        ..KeyWrappingSpecification::default()
    };
    let derive = |method, cryptographic_parameters| DeriveKeyRequest {
        object_type: ObjectType::SYMMETRIC_KEY,
        unique_identifiers: vec!["2".into()],
        derivation_method: method,
        derivation_parameters: DerivationParameters {
            cryptographic_parameters,
            initialization_vector: Some(vec![1; 16]),
            derivation_data: vec![Secret::new(vec![2; 32])],
            salt: Some(vec![3; 16]),
            iteration_count: Some(2),
        },
        template_attribute: aes.clone().into(),
    };
    let sha256 = parameters(None, Some(HashingAlgorithm::SHA_256));
    for (method, parameters) in [
        (DerivationMethod::HMAC, sha256.clone()),
        (DerivationMethod::HASH, sha256.clone()),
        (DerivationMethod::PBKDF2, sha256.clone()),
        (
            DerivationMethod::ENCRYPT,
            parameters(Some(BlockCipherMode::CBC), None),
        ),
        (DerivationMethod::NIST800_108_C, sha256.clone()),
    ] {
        if let Ok(frame) = encode_request(version, None, &derive(method, parameters)) {
            frames.push(frame.expose().to_vec());
        }
    }
    ask! {
        DiscoverVersionsRequest {}
        PingRequest {}
        QueryRequest {
            query_functions: (1..=13).map(QueryFunction).collect(),
        }
        LocateRequest {
            maximum_items: Some(2),
            attributes: Attributes::new().with(AttributeValue::ObjectType(ObjectType::SYMMETRIC_KEY)),
        }
        GetRequest { unique_identifier: uid("1"), key_format_type: Some(KeyFormatType::TRANSPARENT_SYMMETRIC_KEY) }
        GetRequest { unique_identifier: uid("3"), key_format_type: Some(KeyFormatType::TRANSPARENT_EC_PRIVATE_KEY) }
        GetRequest { unique_identifier: uid("5"), key_format_type: Some(KeyFormatType::PKCS_1) }
        GetRequest { unique_identifier: uid("5"), key_format_type: Some(KeyFormatType::TRANSPARENT_RSA_PRIVATE_KEY) }
        GetRequest { unique_identifier: uid("6"), key_format_type: Some(KeyFormatType::X_509) }
        GetRequest { unique_identifier: uid("2"), key_wrapping_specification: Some(wrapping.clone()) }
        ExportRequest { unique_identifier: uid("4") }
        GetAttributesRequest { unique_identifier: uid("1") }
        GetAttributesRequest { unique_identifier: uid("5") }
        GetAttributeListRequest { unique_identifier: uid("3") }
        CheckRequest {
            unique_identifier: uid("1"),
            usage_limits_count: Some(1),
            cryptographic_usage_mask: Some(CryptographicUsageMask(4)),
        }
        ObtainLeaseRequest { unique_identifier: uid("1") }
        GetUsageAllocationRequest { unique_identifier: uid("1"), usage_limits_count: 1 }
        ValidateRequest { unique_identifiers: vec!["4".into()] }
        HashRequest { cryptographic_parameters: sha256.clone().unwrap_or_default(), data: bytes(b"data") }
        MacRequest { unique_identifier: uid("2"), cryptographic_parameters: sha256.clone(), data: bytes(b"data") }
        MacVerifyRequest {
            unique_identifier: uid("2"),
            cryptographic_parameters: sha256.clone(),
            data: bytes(b"data"),
            mac_data: Some(vec![0; 32]),
        }
        SignRequest { unique_identifier: uid("3"), cryptographic_parameters: sha256.clone(), data: bytes(b"data") }
        SignRequest { unique_identifier: uid("5"), data: bytes(b"a"), init_indicator: Some(true) }
        SignatureVerifyRequest {
            unique_identifier: uid("4"),
            cryptographic_parameters: sha256.clone(),
            data: bytes(b"data"),
            signature_data: Some(vec![0x30; 70]),
        }
        EncryptRequest {
            unique_identifier: uid("1"),
            cryptographic_parameters: parameters(Some(BlockCipherMode::GCM), None),
            data: bytes(b"data"),
            additional_data: Some(b"more".to_vec()),
        }
        DecryptRequest {
            unique_identifier: uid("1"),
            cryptographic_parameters: parameters(Some(BlockCipherMode::GCM), None),
            data: Some(vec![1; 16]),
            iv_counter_nonce: Some(vec![2; 12]),
            authentication_tag: Some(vec![3; 16]),
        }
        RngRetrieveRequest { data_length: 16 }
        RngSeedRequest { data: Secret::new(vec![9; 16]) }
        CertifyRequest { unique_identifier: uid("4") }
        ReCertifyRequest { unique_identifier: uid("12") }
        CreateSplitKeyRequest {
            object_type: ObjectType::SYMMETRIC_KEY,
            unique_identifier: uid("1"),
            split_key_parts: 3,
            split_key_threshold: 2,
            split_key_method: SplitKeyMethod::POLYNOMIAL_SHARING_GF_2_16,
        }
        CreateSplitKeyRequest {
            object_type: ObjectType::SYMMETRIC_KEY,
            split_key_parts: 2,
            split_key_threshold: 2,
            split_key_method: SplitKeyMethod::XOR,
            template_attribute: Some(aes.clone().into()),
        }
        JoinSplitKeyRequest {
            object_type: ObjectType::SYMMETRIC_KEY,
            unique_identifiers: vec!["13".into(), "14".into()],
            template_attribute: Some(aes.clone().into()),
        }
        ReKeyRequest { unique_identifier: uid("1") }
        ReKeyKeyPairRequest { private_key_unique_identifier: uid("3") }
        DeleteAttributeRequest { unique_identifier: uid("1"), attribute_name: Some(AttributeName::Standard(Tag::NAME)) }
        ArchiveRequest { unique_identifier: uid("2") }
        RecoverRequest { unique_identifier: uid("2") }
        CancelRequest { asynchronous_correlation_value: vec![1] }
        PollRequest { asynchronous_correlation_value: vec![1] }
        NotifyRequest { unique_identifier: "1".into() }
        RevokeRequest { unique_identifier: uid("2") }
        DestroyRequest { unique_identifier: uid("2") }
        GetAttributesRequest { unique_identifier: uid("2") }
    }
    let attribute = named("another");
    for frame in [
        encode_request(
            version,
            None,
            &AddAttributeRequest {
                unique_identifier: uid("1"),
                attribute: attribute.clone(),
            },
        ),
        encode_request(
            version,
            None,
            &ModifyAttributeRequest {
                unique_identifier: uid("1"),
                current_attribute: None,
                attribute: attribute.clone(),
            },
        ),
        encode_request(
            version,
            None,
            &SetAttributeRequest {
                unique_identifier: uid("1"),
                attribute,
            },
        ),
    ] {
        frames.extend(frame.map(|frame| frame.expose().to_vec()));
    }
    frames
}
