//! Bytes as KMIP messages: to the codec, and to the embedded server.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use mrhsm_pkcs11::error::Result;
use mrhsm_pkcs11::kmip::message::{RequestMessage, ResponseMessage, encode_request};
use mrhsm_pkcs11::kmip::{
    AttributeValue, Attributes, CreateKeyPairRequest, CreateRequest, CryptographicAlgorithm,
    CryptographicUsageMask, GetAttributesRequest, GetRequest, LocateRequest, ObjectType,
    QueryRequest, value_name,
};
use mrhsm_pkcs11::secret::Secret;
use mrhsm_pkcs11::server::{Caller, Engine, Ids, Objects, Personality};
use mrhsm_pkcs11::ttlv::{DateTime, Decode, Encode, Item, Value, Writer, dump_with, frame_length};
use mrhsm_pkcs11::version::Version;
use tempfile::TempDir;

use super::scratch;

/// Any bytes as a request: decoded by its types, and encoding is stable.
pub fn request_message(bytes: &[u8]) {
    let Ok(message) = RequestMessage::decode(bytes) else {
        return;
    };
    let Ok(once) = message.encode() else { return };
    let again = RequestMessage::decode(once.expose()).expect("what we write we can read");
    assert_eq!(again.encode().expect("what was written once"), once);
}

/// Any bytes as a response: decoded by its types, and encoding is stable.
pub fn response_message(bytes: &[u8]) {
    let Ok(message) = ResponseMessage::decode(bytes) else {
        return;
    };
    let _ = message.get::<GetRequest>(0);
    let _ = message.get::<GetAttributesRequest>(1);
    let _ = message.get::<LocateRequest>(2);
    let _ = message.get::<QueryRequest>(3);
    let Ok(once) = message.encode() else { return };
    let again = ResponseMessage::decode(once.expose()).expect("what we write we can read");
    assert_eq!(again.encode().expect("what was written once"), once);
}

/// Any bytes as TTLV: shown, decoded, and what was decoded comes back.
pub fn ttlv_item(bytes: &[u8]) {
    dump_with(bytes, value_name);
    let Ok(item) = Item::parse(bytes) else { return };
    let Ok(value) = Value::decode(&item) else {
        return;
    };
    let mut writer = Writer::new(Version::V1_4);
    value.encode(item.tag, &mut writer);
    let again = writer.finish().expect("every value can be written");
    let item = Item::parse(again.expose()).expect("what we write we can read");
    assert_eq!(
        Value::decode(&item).expect("what we write we can read"),
        value
    );
}

const SEAL: [u8; 32] = [7; 32];
/// Every bit of the usage mask that an operation asks for.
const ALL_USES: u32 = 0xf_ffff;
/// The longest message that is cut out of the bytes.
const LONGEST: usize = 1 << 20;

/// The first byte chooses the server's character; the others are what a connection brings, message after message. Identifiers
/// are numbers, so that a request can name an object that an earlier one made: 1 to 4 are there from the beginning.
pub fn server_request(bytes: &[u8]) {
    let Some((character, mut wire)) = bytes.split_first() else {
        return;
    };
    let characters = Personality::all();
    let personality = characters[usize::from(*character) % characters.len()].clone();
    let personality = Personality {
        ids: Ids::Number,
        ..personality
    };
    let falls_silent = personality.silent_on_nothing;
    let directory = scratch();
    let path = directory.path().join("objects");
    fs::copy(furnished(), &path).expect("room in the temporary directory");
    let engine = Engine::new(
        personality,
        Objects::open(&path, &SEAL).expect("a good journal"),
    );
    let caller = Caller {
        name: "fuzz".into(),
        groups: Vec::new(),
        ..Caller::default()
    };
    while let Some(header) = wire.first_chunk() {
        // As the network does it: what is no frame ends the connection.
        let Ok(length) = frame_length(header, LONGEST) else {
            break;
        };
        let Some((message, rest)) = wire.split_at_checked(length) else {
            break;
        };
        wire = rest;
        Engine::hear(message);
        let answer = engine.answer(&caller, message, None);
        if answer.bytes.is_empty() {
            assert!(falls_silent, "no answer");
            continue;
        }
        let answer = ResponseMessage::decode(answer.bytes.expose()).expect("an answer can be read");
        assert!(!answer.items.is_empty());
    }
    drop(engine);
    let again = Objects::open(&path, &SEAL).expect("the objects are still there");
    assert!(again.damaged().is_empty());
    again.all().expect("every object can be read");
}

/// A journal with an AES key, an HMAC key and the halves of an EC pair, all active: made once.
fn furnished() -> &'static PathBuf {
    static MADE: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    &MADE
        .get_or_init(|| {
            let directory = scratch();
            let path = directory.path().join("objects");
            let personality = Personality {
                ids: Ids::Number,
                ..Personality::standard()
            };
            let engine = Engine::new(
                personality,
                Objects::open(&path, &SEAL).expect("an empty journal"),
            );
            let caller = Caller {
                name: "fuzz".into(),
                groups: Vec::new(),
                ..Caller::default()
            };
            let ask = |request: Result<Secret>| {
                let answer =
                    engine.answer(&caller, request.expect("a good request").expose(), None);
                assert!(
                    answer.done.iter().all(|done| done.refused.is_none()),
                    "the server is furnished"
                );
            };
            let active = |algorithm, bits| {
                Attributes::new()
                    .with(AttributeValue::CryptographicAlgorithm(algorithm))
                    .with(AttributeValue::CryptographicLength(bits))
                    .with(AttributeValue::CryptographicUsageMask(
                        CryptographicUsageMask(ALL_USES),
                    ))
                    .with(AttributeValue::ActivationDate(DateTime(1)))
            };
            for algorithm in [
                CryptographicAlgorithm::AES,
                CryptographicAlgorithm::HMAC_SHA256,
            ] {
                let (object_type, attributes) =
                    (ObjectType::SYMMETRIC_KEY, active(algorithm, 256).into());
                let create = CreateRequest {
                    object_type,
                    template_attribute: attributes,
                    ..CreateRequest::default()
                };
                ask(encode_request(Version::V1_4, None, &create));
            }
            let common = Some(active(CryptographicAlgorithm::EC, 256).into());
            ask(encode_request(
                Version::V1_4,
                None,
                &CreateKeyPairRequest {
                    common,
                    ..CreateKeyPairRequest::default()
                },
            ));
            (directory, path)
        })
        .1
}
