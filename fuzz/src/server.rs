//! Bytes as KMIP messages: to the codec, and to the embedded server.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
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
/// are numbers, so that a request can name an object that an earlier one made: 1 to 6 are there from the beginning.
pub fn server_request(bytes: &[u8]) {
    let Some((character, mut wire)) = bytes.split_first() else {
        return;
    };
    let stand = Stand::new(character_of(*character));
    let falls_silent = stand.engine.personality.silent_on_nothing;
    let caller = caller();
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
        let answer = stand.engine.answer(&caller, message, None);
        if answer.bytes.is_empty() {
            assert!(falls_silent, "no answer");
            continue;
        }
        let answer = ResponseMessage::decode(answer.bytes.expose()).expect("an answer can be read");
        assert!(!answer.items.is_empty());
    }
    stand.close();
}

/// A server with the objects of [`furnished`], for one run.
pub(super) struct Stand {
    pub(super) engine: Engine,
    file: Store,
}

/// The file of a server's objects, in a directory of its own.
struct Store {
    directory: TempDir,
    /// What the file is as long as no run has changed it.
    unchanged: Vec<u8>,
}

thread_local! {
    /// The store of the last run, if that changed nothing: most inputs are refused, and opening a store takes longer than
    /// refusing them.
    static UNCHANGED: RefCell<Option<(Store, Objects)>> = const { RefCell::new(None) };
}

impl Stand {
    pub(super) fn new(personality: Personality) -> Stand {
        let (file, objects) = UNCHANGED.take().unwrap_or_else(|| {
            let directory = scratch();
            let path = directory.path().join(OBJECTS);
            for extension in ["", "db", "db-wal", "lock"] {
                let from = furnished().with_extension(extension);
                fs::copy(from, path.with_extension(extension))
                    .expect("room in the temporary directory");
            }
            let objects = open(&path);
            let unchanged = state(&path);
            (
                Store {
                    directory,
                    unchanged,
                },
                objects,
            )
        });
        Stand {
            engine: Engine::new(personality, objects),
            file,
        }
    }

    /// Checks that the store can be opened and read again.
    pub(super) fn close(self) {
        let Stand { engine, file } = self;
        let path = file.directory.path().join(OBJECTS);
        let objects = engine.objects;
        if state(&path) == file.unchanged {
            UNCHANGED.set(Some((file, objects)));
            return;
        }
        drop(objects);
        let again = open(&path);
        let found = again
            .repository()
            .check()
            .expect("every object can be read");
        assert_eq!(found, Vec::<String>::new());
    }
}

const OBJECTS: &str = "objects";

fn open(path: &Path) -> Objects {
    Objects::open(path, &SEAL).expect("a good database")
}

/// What the lock file tells of the state of the database, which changes with each transaction.
fn state(path: &Path) -> Vec<u8> {
    fs::read(path.with_extension("lock")).expect("the objects are still there")
}

/// The character that `choice` stands for, with identifiers that are the same in every run.
pub(super) fn character_of(choice: u8) -> Personality {
    let characters = Personality::all();
    Personality {
        ids: Ids::Number,
        ..characters[usize::from(choice) % characters.len()].clone()
    }
}

pub(super) fn caller() -> Caller {
    Caller {
        name: "fuzz".into(),
        groups: Vec::new(),
        ..Caller::default()
    }
}

/// A journal with an AES key, an HMAC key and the halves of an EC and of an RSA pair, all active: made once.
fn furnished() -> &'static PathBuf {
    static MADE: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    &MADE
        .get_or_init(|| {
            let directory = scratch();
            let path = directory.path().join(OBJECTS);
            let engine = Engine::new(character_of(0), open(&path));
            let caller = caller();
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
            for (algorithm, bits) in [
                (CryptographicAlgorithm::EC, 256),
                (CryptographicAlgorithm::RSA, 2048),
            ] {
                let common = Some(active(algorithm, bits).into());
                ask(encode_request(
                    Version::V1_4,
                    None,
                    &CreateKeyPairRequest {
                        common,
                        ..CreateKeyPairRequest::default()
                    },
                ));
            }
            (directory, path)
        })
        .1
}
