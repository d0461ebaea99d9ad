//! The embedded server's operations in small messages: what the OASIS cases and other vendors' clients ask of it, in process.

mod asynchronous;
mod certificates;
mod crypto;
mod isolation;
mod keys;
mod limits;
mod messages;
mod padding;
mod profiles;
mod protection;
mod states;
mod tolerance;
mod wrapping;

use mrhsm_pkcs11::error::Kind;
use mrhsm_pkcs11::kmip::message::{ResponseMessage, decode_response, encode_request};
use mrhsm_pkcs11::kmip::*;
use mrhsm_pkcs11::secret::Secret;
use mrhsm_pkcs11::server::{Caller, Engine, Objects, Personality};
use mrhsm_pkcs11::ttlv::{BigInteger, DateTime, Encode, Interval, Item, Tag, Value, Writer};
use mrhsm_pkcs11::version::Version;
use tempfile::TempDir;

/// A server without its network, new and empty.
struct Server {
    engine: Engine,
    folder: TempDir,
}

const SEAL: [u8; 32] = [7; 32];

impl Server {
    fn new() -> Server {
        let folder = tempfile::tempdir_in("/dev/shm")
            .or_else(|_| tempfile::tempdir())
            .unwrap();
        let engine = Engine::new(
            Personality::standard(),
            Objects::open(&folder.path().join("served"), &SEAL).unwrap(),
        );
        Server { engine, folder }
    }

    /// The same after a restart.
    fn again(self) -> Server {
        let engine = Engine::new(
            Personality::standard(),
            Objects::open(&self.folder.path().join("served"), &SEAL).unwrap(),
        );
        Server {
            engine,
            folder: self.folder,
        }
    }

    fn raw(&self, caller: &Caller, frame: &[u8]) -> Secret {
        let answer = self.engine.answer(caller, frame, None).bytes;
        check_messages(answer.expose());
        answer
    }

    fn ask_as<O: Operation>(
        &self,
        name: &str,
        version: Version,
        request: &O,
    ) -> Result<O::Response, ResultReason> {
        let caller = Caller {
            name: name.to_owned(),
            groups: Vec::new(),
            ..Caller::default()
        };
        let frame = encode_request(version, None, request).unwrap();
        decode_response::<O>(self.raw(&caller, frame.expose()).expose()).map_err(|e| {
            match e.kind() {
                Kind::Server(reason) => ResultReason(reason),
                other => panic!("{other:?}: {e}"),
            }
        })
    }

    fn ask<O: Operation>(
        &self,
        version: Version,
        request: &O,
    ) -> Result<O::Response, ResultReason> {
        self.ask_as("client", version, request)
    }

    fn attributes(&self, version: Version, uid: &str, names: &[Tag]) -> Attributes {
        let attribute_names = names
            .iter()
            .map(|tag| AttributeName::Standard(*tag))
            .collect();
        self.ask(
            version,
            &GetAttributesRequest {
                unique_identifier: id(uid),
                attribute_names,
            },
        )
        .unwrap()
        .attributes
    }

    fn value(&self, uid: &str) -> Vec<u8> {
        let request = GetRequest {
            unique_identifier: id(uid),
            ..GetRequest::default()
        };
        bytes(&self.ask(Version::V1_4, &request).unwrap().object)
    }

    fn create(&self, version: Version, more: &[AttributeValue]) -> Result<String, ResultReason> {
        let usual = [
            AttributeValue::CryptographicAlgorithm(CryptographicAlgorithm::AES),
            AttributeValue::CryptographicLength(128),
            AttributeValue::CryptographicUsageMask(CryptographicUsageMask(0xFFF)),
            AttributeValue::ActivationDate(DateTime(1)),
        ];
        let attributes: Attributes = usual.into_iter().chain(more.iter().cloned()).collect();
        let request = CreateRequest {
            object_type: ObjectType::SYMMETRIC_KEY,
            template_attribute: attributes.into(),
            protection_storage_masks: None,
        };
        self.ask(version, &request)
            .map(|answer| answer.unique_identifier)
    }

    fn register(
        &self,
        version: Version,
        object: ManagedObject,
        attributes: Attributes,
    ) -> Result<String, ResultReason> {
        let request = RegisterRequest {
            object_type: object.object_type(),
            template_attribute: attributes.into(),
            object: Some(object),
            protection_storage_masks: None,
        };
        self.ask(version, &request)
            .map(|answer| answer.unique_identifier)
    }

    fn locate(&self, version: Version, request: &LocateRequest) -> Vec<String> {
        self.ask(version, request).unwrap().unique_identifiers
    }
}

/// Fails when an error text of an answer has a name of PKCS#11, a path of the server or a word of
/// Rust.
pub fn check_messages(answer: &[u8]) {
    fn messages(item: &Item<'_>, found: &mut Vec<String>) {
        if item.tag == Tag::RESULT_MESSAGE {
            found.push(item.text().unwrap().to_owned());
        }
        let Ok(mut items) = item.items() else { return };
        while let Ok(Some(inner)) = items.next() {
            messages(&inner, found);
        }
    }
    let mut found = Vec::new();
    if let Ok(item) = Item::parse(answer) {
        messages(&item, &mut found);
    }
    let foreign = [
        "CKR_", "CKA_", "CKM_", "::", "{", "Some(", "Err(", "None", " /", "'/",
    ];
    for text in found {
        for bad in foreign {
            assert!(!text.contains(bad), "{bad} in an error text: {text}");
        }
    }
}

/// A request of any kind.
trait Asked {
    fn write(&self, id: &[u8], w: &mut Writer);
}

impl<O: Operation> Asked for O {
    fn write(&self, id: &[u8], w: &mut Writer) {
        w.structure(Tag::BATCH_ITEM, |w| {
            O::CODE.encode(Tag::OPERATION, w);
            w.byte_string(Tag::UNIQUE_BATCH_ITEM_ID, id);
            self.encode(Tag::REQUEST_PAYLOAD, w);
        });
    }
}

/// A message with several requests.
fn batch(version: Version, on_error: BatchErrorContinuationOption, items: &[&dyn Asked]) -> Secret {
    let mut writer = Writer::new(version);
    writer.structure(Tag::REQUEST_MESSAGE, |w| {
        w.structure(Tag::REQUEST_HEADER, |w| {
            version.encode(Tag::PROTOCOL_VERSION, w);
            on_error.encode(Tag::BATCH_ERROR_CONTINUATION_OPTION, w);
            w.integer(Tag::BATCH_COUNT, items.len() as i32);
        });
        for (number, item) in (0_u32..).zip(items) {
            item.write(&number.to_be_bytes(), w);
        }
    });
    writer.finish().unwrap()
}

fn client() -> Caller {
    Caller {
        name: "client".into(),
        ..Caller::default()
    }
}

fn id(uid: &str) -> Option<UniqueIdentifier> {
    Some(uid.into())
}

fn bytes(object: &ManagedObject) -> Vec<u8> {
    match &object.key_block().unwrap().key_value {
        Some(KeyValue::Plain(PlainKeyValue {
            key_material: KeyMaterial::Bytes(bytes),
            ..
        })) => bytes.expose().to_vec(),
        other => panic!("{other:?}"),
    }
}

fn name(text: &str) -> AttributeValue {
    AttributeValue::Name(text.into())
}

fn raw_key(material: &[u8]) -> ManagedObject {
    let bits = 8 * material.len() as i32;
    let secret = Secret::new(material.to_vec());
    let key_block = KeyBlock::of_bytes(
        KeyFormatType::RAW,
        CryptographicAlgorithm::AES,
        bits,
        secret,
    );
    ManagedObject::SymmetricKey(SymmetricKey { key_block })
}

fn usage() -> Attributes {
    Attributes::new().with(AttributeValue::CryptographicUsageMask(
        CryptographicUsageMask(0xFFF),
    ))
}

fn ecb(uid: &str, data: &[u8]) -> EncryptRequest {
    EncryptRequest {
        unique_identifier: id(uid),
        cryptographic_parameters: Some(CryptographicParameters {
            block_cipher_mode: Some(BlockCipherMode::ECB),
            ..CryptographicParameters::default()
        }),
        data: Some(Secret::new(data.to_vec())),
        ..EncryptRequest::default()
    }
}

#[test]
fn templates_give_their_attributes() {
    let server = Server::new();
    let custom =
        |text: &str| AttributeValue::Custom("x".into(), "ID".into(), Value::Text(text.into()));
    let content = Attributes::new()
        .with(AttributeValue::ObjectGroup("of the template".into()))
        .with(AttributeValue::CryptographicLength(128))
        .with(custom("of the template"));
    let own = Attributes::new().with(name("template"));
    let template = server
        .register(Version::V1_2, ManagedObject::Template(content), own)
        .unwrap();
    let server = server.again();

    let create = |template: &str, length: i32| {
        let attributes = Attributes::new()
            .with(AttributeValue::CryptographicAlgorithm(
                CryptographicAlgorithm::AES,
            ))
            .with(AttributeValue::CryptographicLength(length))
            .with(AttributeValue::CryptographicUsageMask(
                CryptographicUsageMask::ENCRYPT,
            ))
            .with(custom("own"));
        let template_attribute = TemplateAttribute {
            templates: vec![template.into()],
            attributes,
        };
        CreateRequest {
            object_type: ObjectType::SYMMETRIC_KEY,
            template_attribute,
            protection_storage_masks: None,
        }
    };
    let key = server
        .ask(Version::V1_2, &create("template", 256))
        .unwrap()
        .unique_identifier;
    let all = server.attributes(Version::V1_2, &key, &[]);
    assert_eq!(
        all.cryptographic_length(),
        Some(&256),
        "what the request says wins"
    );
    assert_eq!(all.object_groups().collect::<Vec<_>>(), ["of the template"]);
    assert_eq!(all.names().count(), 0, "the template's name is its own");
    let ids: Vec<_> = all
        .0
        .iter()
        .filter(|a| matches!(a.value, AttributeValue::Custom(..)))
        .map(|a| a.index)
        .collect();
    assert_eq!(ids, [None, Some(1)], "of what may stand twice both stand");

    assert_eq!(
        server.ask(Version::V1_2, &create("none", 256)).err(),
        Some(ResultReason::ITEM_NOT_FOUND)
    );
    let get = GetRequest {
        unique_identifier: id(&template),
        ..GetRequest::default()
    };
    match server.ask(Version::V1_2, &get).unwrap().object {
        ManagedObject::Template(content) => assert_eq!(content.len(), 3),
        other => panic!("{other:?}"),
    }
    server
        .ask(
            Version::V1_2,
            &DestroyRequest {
                unique_identifier: id(&template),
            },
        )
        .unwrap();
    assert_eq!(
        server.ask(Version::V1_2, &create("template", 256)).err(),
        Some(ResultReason::ITEM_NOT_FOUND)
    );
}

#[test]
fn usage_limits_count_down_by_themselves() {
    let server = Server::new();
    let limits = |total, unit| {
        AttributeValue::UsageLimits(UsageLimits {
            usage_limits_total: total,
            usage_limits_count: None,
            usage_limits_unit: unit,
        })
    };
    let left = |uid: &str| {
        server
            .attributes(Version::V1_4, uid, &[Tag::USAGE_LIMITS])
            .usage_limits()
            .unwrap()
            .usage_limits_count
    };
    let by_bytes = server
        .create(Version::V1_4, &[limits(40, UsageLimitsUnit::BYTE)])
        .unwrap();
    assert_eq!(left(&by_bytes), Some(40));
    for left_then in [24, 8] {
        server
            .ask(Version::V1_4, &ecb(&by_bytes, &[0; 16]))
            .unwrap();
        assert_eq!(left(&by_bytes), Some(left_then));
    }
    assert_eq!(
        server.ask(Version::V1_4, &ecb(&by_bytes, &[0; 16])).err(),
        Some(ResultReason::PERMISSION_DENIED)
    );
    assert_eq!(
        server.ask(Version::V2_1, &ecb(&by_bytes, &[0; 16])).err(),
        Some(ResultReason::USAGE_LIMIT_EXCEEDED)
    );
    assert_eq!(left(&by_bytes), Some(8), "what is refused costs nothing");

    let by_uses = server
        .create(Version::V1_4, &[limits(2, UsageLimitsUnit::OBJECT)])
        .unwrap();
    // In parts it is one use.
    let mut part = ecb(&by_uses, &[1; 16]);
    part.init_indicator = Some(true);
    let begun = server.ask(Version::V1_4, &part).unwrap();
    let mut part = ecb(&by_uses, &[2; 16]);
    (part.correlation_value, part.final_indicator) = (begun.correlation_value, Some(true));
    server.ask(Version::V1_4, &part).unwrap();
    assert_eq!(left(&by_uses), Some(1));
    // To process what was protected is free.
    let decrypt = DecryptRequest {
        unique_identifier: id(&by_uses),
        cryptographic_parameters: part.cryptographic_parameters.clone(),
        data: Some(vec![0; 16]),
        ..DecryptRequest::default()
    };
    server.ask(Version::V1_4, &decrypt).unwrap();
    assert_eq!(left(&by_uses), Some(1));
    // The key that replaces it begins anew.
    let replaced = ReKeyRequest {
        unique_identifier: id(&by_uses),
        ..ReKeyRequest::default()
    };
    assert_eq!(
        left(
            &server
                .ask(Version::V1_4, &replaced)
                .unwrap()
                .unique_identifier
        ),
        Some(2)
    );
}

#[test]
fn keys_are_split_and_joined() {
    let server = Server::new();
    let secret = *b"0123456789abcdef";
    let key = server
        .register(Version::V1_2, raw_key(&secret), usage())
        .unwrap();
    let split = |uid: Option<&str>, method, parts, threshold| CreateSplitKeyRequest {
        object_type: ObjectType::SPLIT_KEY,
        unique_identifier: uid.map(Into::into),
        split_key_parts: parts,
        split_key_threshold: threshold,
        split_key_method: method,
        ..CreateSplitKeyRequest::default()
    };
    let join = |uids: &[String]| JoinSplitKeyRequest {
        object_type: ObjectType::SYMMETRIC_KEY,
        unique_identifiers: uids.iter().map(|uid| uid.as_str().into()).collect(),
        ..JoinSplitKeyRequest::default()
    };
    for (method, threshold) in [
        (SplitKeyMethod::XOR, 4),
        (SplitKeyMethod::POLYNOMIAL_SHARING_GF_2_8, 3),
    ] {
        let request = split(Some(&key), method, 4, threshold);
        let parts = server
            .ask(Version::V1_2, &request)
            .unwrap()
            .unique_identifiers;
        assert_eq!(parts.len(), 4);
        let get = GetRequest {
            unique_identifier: id(&parts[1]),
            ..GetRequest::default()
        };
        let ManagedObject::SplitKey(part) = server.ask(Version::V1_2, &get).unwrap().object else {
            panic!("no part")
        };
        assert_eq!(
            (
                part.split_key_parts,
                part.key_part_identifier,
                part.split_key_threshold
            ),
            (4, 2, threshold)
        );
        assert_eq!(
            (part.split_key_method, part.key_block.cryptographic_length),
            (method, Some(128))
        );
        let enough = &parts[4 - threshold as usize..];
        let joined = server
            .ask(Version::V1_2, &join(enough))
            .unwrap()
            .unique_identifier;
        assert_eq!(server.value(&joined), secret);
        let too_few = server.ask(Version::V1_2, &join(&enough[1..])).err();
        assert_eq!(too_few, Some(ResultReason::CRYPTOGRAPHIC_FAILURE));
        // A part that is registered elsewhere is a part there.
        let other = Server::new();
        let moved: Vec<String> = enough
            .iter()
            .map(|uid| {
                let get = GetRequest {
                    unique_identifier: id(uid),
                    ..GetRequest::default()
                };
                other
                    .register(
                        Version::V1_2,
                        server.ask(Version::V1_2, &get).unwrap().object,
                        usage(),
                    )
                    .unwrap()
            })
            .collect();
        let other = other.again();
        let joined = other
            .ask(Version::V1_2, &join(&moved))
            .unwrap()
            .unique_identifier;
        assert_eq!(other.value(&joined), secret);
    }
    let refused = |request: &CreateSplitKeyRequest| server.ask(Version::V1_2, request).err();
    assert_eq!(
        refused(&split(Some(&key), SplitKeyMethod::XOR, 4, 3)),
        Some(ResultReason::INVALID_FIELD)
    );
    assert_eq!(
        refused(&split(Some(&key), SplitKeyMethod::XOR, 1, 1)),
        Some(ResultReason::INVALID_FIELD)
    );
    let unknown = split(
        Some(&key),
        SplitKeyMethod::POLYNOMIAL_SHARING_PRIME_FIELD,
        4,
        3,
    );
    assert_eq!(refused(&unknown), Some(ResultReason::FEATURE_NOT_SUPPORTED));
    let over_a_prime = ManagedObject::SplitKey(SplitKey {
        split_key_parts: 3,
        key_part_identifier: 1,
        split_key_threshold: 2,
        split_key_method: SplitKeyMethod::POLYNOMIAL_SHARING_PRIME_FIELD,
        prime_field_size: Some(BigInteger::from_unsigned(&[251])),
        key_block: KeyBlock::of_bytes(
            KeyFormatType::RAW,
            CryptographicAlgorithm::AES,
            128,
            Secret::new(vec![1; 16]),
        ),
    });
    let registered = server.register(Version::V1_2, over_a_prime, usage()).err();
    assert_eq!(
        registered,
        Some(ResultReason::FEATURE_NOT_SUPPORTED),
        "its number would be lost"
    );
    let kept = server
        .create(Version::V1_4, &[AttributeValue::Extractable(false)])
        .unwrap();
    assert_eq!(
        refused(&split(Some(&kept), SplitKeyMethod::XOR, 2, 2)),
        Some(ResultReason::NOT_EXTRACTABLE)
    );
    // Without a key the parts are of a new one.
    let mut of_new = split(None, SplitKeyMethod::XOR, 2, 2);
    of_new.template_attribute = Some(
        usage()
            .with(AttributeValue::CryptographicAlgorithm(
                CryptographicAlgorithm::AES,
            ))
            .with(AttributeValue::CryptographicLength(256))
            .into(),
    );
    let parts = server
        .ask(Version::V1_2, &of_new)
        .unwrap()
        .unique_identifiers;
    let joined = server
        .ask(Version::V1_2, &join(&parts))
        .unwrap()
        .unique_identifier;
    assert_eq!(server.value(&joined).len(), 32);
}

#[test]
fn what_the_server_computes_is_right_in_every_version() {
    use sha2::{Digest, Sha256};
    let server = Server::new();
    let key = server
        .register(Version::V1_4, raw_key(&[5; 16]), usage())
        .unwrap();
    for version in Version::ALL {
        let digest = server
            .attributes(version, &key, &[Tag::DIGEST])
            .digest()
            .cloned()
            .unwrap();
        assert_eq!(
            digest.digest_value.as_deref(),
            Some(Sha256::digest([5; 16]).as_slice()),
            "{version}"
        );
        assert_eq!(
            digest.key_format_type.is_some(),
            version >= Version::V1_1,
            "{version}"
        );
    }
    server
        .ask(
            Version::V1_4,
            &DestroyRequest {
                unique_identifier: id(&key),
            },
        )
        .unwrap();
    assert!(
        server
            .attributes(Version::V1_4, &key, &[Tag::DIGEST])
            .digest()
            .is_some(),
        "of what is gone it stays"
    );

    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(rcgen::DnType::OrganizationName, "Org");
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "leaf");
    params.serial_number = Some(rcgen::SerialNumber::from_slice(&[0x9B, 1]));
    let der = params
        .self_signed(&rcgen::KeyPair::generate().unwrap())
        .unwrap()
        .der()
        .to_vec();
    let object = Certificate {
        certificate_type: CertificateType::X_509,
        certificate_value: der.clone(),
    };
    let uid = server
        .register(
            Version::V1_2,
            ManagedObject::Certificate(object),
            Attributes::new(),
        )
        .unwrap();
    let all = server.attributes(Version::V1_2, &uid, &[]);
    assert_eq!(all.certificate_length(), Some(&(der.len() as i32)));
    assert_eq!(
        all.digital_signature_algorithm(),
        Some(&DigitalSignatureAlgorithm::ECDSA_WITH_SHA256)
    );
    assert_eq!(all.cryptographic_length(), Some(&256));
    assert_eq!(
        all.x_509_certificate_identifier()
            .unwrap()
            .certificate_serial_number,
        [2, 3, 0, 0x9B, 1]
    );
    let shown = format!("{all:?}");
    assert!(
        shown.contains("CN=leaf,O=Org") && shown.contains("\"9B01\""),
        "{shown}"
    );
    assert!(
        server
            .attributes(Version::V1_0, &uid, &[])
            .x_509_certificate_subject()
            .is_none()
    );
    let typed = server.attributes(
        Version::V2_1,
        &uid,
        &[Tag::CERTIFICATE_SUBJECT_CN, Tag::CERTIFICATE_ISSUER_O],
    );
    let texts: Vec<_> = typed.iter().map(|value| format!("{value:?}")).collect();
    assert!(
        texts[0].contains("leaf") && texts[1].contains("Org"),
        "{texts:?}"
    );
    let by_name = AttributeValue::Other(Tag::CERTIFICATE_SUBJECT_CN, Value::Text("leaf".into()));
    let request = LocateRequest {
        attributes: Attributes::new().with(by_name),
        ..LocateRequest::default()
    };
    assert_eq!(server.locate(Version::V2_1, &request), [uid]);
}

#[test]
fn transparent_keys_come_back_in_every_format_they_have() {
    let server = Server::new();
    let pair = |algorithm, bits| {
        let common = usage()
            .with(AttributeValue::CryptographicAlgorithm(algorithm))
            .with(AttributeValue::CryptographicLength(bits));
        let request = CreateKeyPairRequest {
            common: Some(common.into()),
            ..CreateKeyPairRequest::default()
        };
        let made = server.ask(Version::V1_4, &request).unwrap();
        (
            made.private_key_unique_identifier,
            made.public_key_unique_identifier,
        )
    };
    let get = |uid: &str, format| {
        let request = GetRequest {
            unique_identifier: id(uid),
            key_format_type: Some(format),
            ..GetRequest::default()
        };
        server.ask(Version::V1_4, &request)
    };
    use KeyFormatType as Format;
    for ((private, public), private_format, public_format) in [
        (
            pair(CryptographicAlgorithm::RSA, 2048),
            Format::TRANSPARENT_RSA_PRIVATE_KEY,
            Format::TRANSPARENT_RSA_PUBLIC_KEY,
        ),
        (
            pair(CryptographicAlgorithm::EC, 256),
            Format::TRANSPARENT_EC_PRIVATE_KEY,
            Format::TRANSPARENT_EC_PUBLIC_KEY,
        ),
    ] {
        for (uid, transparent, plain) in [
            (&private, private_format, Format::PKCS_8),
            (&public, public_format, Format::X_509),
        ] {
            let object = get(uid, transparent).unwrap().object;
            let again = server.register(Version::V1_4, object, usage()).unwrap();
            assert_eq!(
                bytes(&get(&again, plain).unwrap().object),
                bytes(&get(uid, plain).unwrap().object)
            );
        }
        assert_eq!(
            get(&private, public_format).err(),
            Some(ResultReason::KEY_FORMAT_TYPE_NOT_SUPPORTED)
        );
    }
}

#[test]
fn fresh_members_of_a_group_are_given_out_once_in_their_order() {
    let server = Server::new();
    let group = AttributeValue::ObjectGroup("keys".into());
    let made: Vec<String> = (0..2)
        .map(|_| {
            server
                .create(Version::V1_2, std::slice::from_ref(&group))
                .unwrap()
        })
        .collect();
    let fresh = LocateRequest {
        maximum_items: Some(1),
        object_group_member: Some(ObjectGroupMember::GROUP_MEMBER_FRESH),
        attributes: Attributes::new().with(group),
        ..LocateRequest::default()
    };
    for uid in &made {
        assert_eq!(server.locate(Version::V1_2, &fresh), [uid.as_str()]);
        assert_eq!(
            server.attributes(Version::V1_2, uid, &[Tag::FRESH]).fresh(),
            Some(&true)
        );
        server.value(uid);
        assert_eq!(
            server.attributes(Version::V1_2, uid, &[Tag::FRESH]).fresh(),
            Some(&false)
        );
    }
    assert!(server.locate(Version::V1_2, &fresh).is_empty());
}

#[test]
fn attributes_are_refused_with_the_reasons_of_the_version() {
    let server = Server::new();
    for version in Version::ALL {
        let either = |old, new| Some(if version.typed_attributes() { new } else { old });
        let uid = server
            .create(version, &[name("first"), name("second")])
            .unwrap();
        let add = |value: AttributeValue| AddAttributeRequest {
            unique_identifier: id(&uid),
            attribute: value.into(),
        };
        let modify = |index, value: AttributeValue| ModifyAttributeRequest {
            unique_identifier: id(&uid),
            current_attribute: version.typed_attributes().then(|| name("third").into()),
            attribute: Attribute { index, value },
        };
        let delete = |tag, index| DeleteAttributeRequest {
            unique_identifier: id(&uid),
            attribute_name: Some(AttributeName::Standard(tag)),
            attribute_index: index,
            ..DeleteAttributeRequest::default()
        };
        let contact = AttributeValue::ContactInformation("me".into());
        server.ask(version, &add(contact.clone())).unwrap();
        let twice = either(
            ResultReason::ILLEGAL_OPERATION,
            ResultReason::ATTRIBUTE_SINGLE_VALUED,
        );
        assert_eq!(server.ask(version, &add(contact)).err(), twice, "{version}");
        let fixed = either(
            ResultReason::PERMISSION_DENIED,
            ResultReason::ATTRIBUTE_READ_ONLY,
        );
        assert_eq!(
            server
                .ask(version, &add(AttributeValue::State(State::ACTIVE)))
                .err(),
            fixed,
            "{version}"
        );
        assert_eq!(
            server.ask(version, &delete(Tag::STATE, None)).err(),
            fixed,
            "{version}"
        );
        let instance = either(
            ResultReason::INDEX_OUT_OF_BOUNDS,
            ResultReason::ATTRIBUTE_INSTANCE_NOT_FOUND,
        );
        assert_eq!(
            server
                .ask(
                    version,
                    &modify((!version.typed_attributes()).then_some(7), name("x"))
                )
                .err(),
            instance,
            "{version}"
        );
        let absent = either(
            ResultReason::ITEM_NOT_FOUND,
            ResultReason::ATTRIBUTE_NOT_FOUND,
        );
        assert_eq!(
            server.ask(version, &delete(Tag::OBJECT_GROUP, None)).err(),
            absent,
            "{version}"
        );
        if !version.typed_attributes() {
            assert_eq!(
                server.ask(version, &delete(Tag::NAME, Some(2))).err(),
                instance,
                "{version}"
            );
        }
        // What an application leaves to the server is made up, differently each time.
        let info = AttributeValue::ApplicationSpecificInformation(ApplicationSpecificInformation {
            application_namespace: "app".into(),
            application_data: None,
        });
        let made = [(); 2].map(|()| {
            let uid = server.create(version, std::slice::from_ref(&info)).unwrap();
            let got = server.attributes(version, &uid, &[Tag::APPLICATION_SPECIFIC_INFORMATION]);
            got.application_data("app").unwrap().to_owned()
        });
        assert_ne!(made[0], made[1]);
    }
}

#[test]
fn storage_status_tells_what_is_found() {
    let server = Server::new();
    let [online, archived, destroyed] = [(); 3].map(|()| {
        server
            .create(Version::V1_2, &[name("one of them")])
            .unwrap()
    });
    server
        .ask(
            Version::V1_2,
            &ArchiveRequest {
                unique_identifier: id(&archived),
            },
        )
        .unwrap();
    let revoke = RevokeRequest {
        unique_identifier: id(&destroyed),
        revocation_reason: RevocationReason {
            revocation_reason_code: RevocationReasonCode::CESSATION_OF_OPERATION,
            revocation_message: None,
        },
        compromise_occurrence_date: None,
    };
    server.ask(Version::V1_2, &revoke).unwrap();
    server
        .ask(
            Version::V1_2,
            &DestroyRequest {
                unique_identifier: id(&destroyed),
            },
        )
        .unwrap();
    let found = |mask: Option<u32>| {
        let request = LocateRequest {
            storage_status_mask: mask.map(StorageStatusMask),
            ..LocateRequest::default()
        };
        let mut found = server.locate(Version::V1_2, &request);
        found.sort();
        found
    };
    let sorted = |uids: &[&String]| {
        let mut uids: Vec<String> = uids.iter().map(|uid| (*uid).clone()).collect();
        uids.sort();
        uids
    };
    assert_eq!(found(None), sorted(&[&online]));
    assert_eq!(found(Some(1)), sorted(&[&online]));
    assert_eq!(found(Some(2)), sorted(&[&archived]));
    assert_eq!(found(Some(3)), sorted(&[&online, &archived]));
    assert_eq!(found(Some(4)), sorted(&[&destroyed]));
    assert_eq!(found(Some(7)), sorted(&[&online, &archived, &destroyed]));
}

#[test]
fn objects_that_are_no_keys_of_ours_are_kept() {
    let server = Server::new();
    let pgp = PgpKey {
        pgp_key_version: 4,
        key_block: KeyBlock::of_bytes(
            KeyFormatType::RAW,
            CryptographicAlgorithm::RSA,
            2048,
            Secret::new(b"pgp".to_vec()),
        ),
    };
    let pgp = server
        .register(Version::V1_2, ManagedObject::PgpKey(pgp), Attributes::new())
        .unwrap();
    let request = CertificateRequest {
        certificate_request_type: CertificateRequestType::PKCS_10,
        certificate_request_value: b"csr".to_vec(),
    };
    let csr = server
        .register(
            Version::V2_1,
            ManagedObject::CertificateRequest(request.clone()),
            Attributes::new(),
        )
        .unwrap();
    // The value of this one stays with its client.
    let mut key = KeyBlock::of_bytes(
        KeyFormatType::RAW,
        CryptographicAlgorithm::AES,
        128,
        Secret::default(),
    );
    key.key_value = None;
    let key = || {
        ManagedObject::SymmetricKey(SymmetricKey {
            key_block: KeyBlock {
                key_format_type: KeyFormatType::RAW,
                cryptographic_algorithm: key.cryptographic_algorithm,
                cryptographic_length: key.cryptographic_length,
                ..KeyBlock::default()
            },
        })
    };
    assert_eq!(
        server.register(Version::V1_2, key(), usage()).err(),
        Some(ResultReason::INVALID_FIELD)
    );
    let location = KeyValueLocation {
        key_value_location_value: "HSM 1".into(),
        ..KeyValueLocation::default()
    };
    let elsewhere = usage()
        .with(AttributeValue::KeyValueLocation(location))
        .with(AttributeValue::ActivationDate(DateTime(1)));
    let elsewhere = server.register(Version::V1_2, key(), elsewhere).unwrap();

    let server = server.again();
    assert_eq!(server.value(&pgp), b"pgp");
    let get = |uid: &str| {
        let request = GetRequest {
            unique_identifier: id(uid),
            ..GetRequest::default()
        };
        server.ask(Version::V2_1, &request).unwrap().object
    };
    assert_eq!(get(&csr), ManagedObject::CertificateRequest(request));
    assert_eq!(get(&elsewhere).key_block().unwrap().key_value, None);
    let absent = Attributes::new().with(AttributeValue::KeyValuePresent(false));
    let locate = LocateRequest {
        attributes: absent,
        ..LocateRequest::default()
    };
    assert_eq!(server.locate(Version::V1_2, &locate), [elsewhere.as_str()]);
    assert_eq!(
        server.ask(Version::V1_2, &ecb(&elsewhere, &[0; 16])).err(),
        Some(ResultReason::INVALID_FIELD)
    );
}

#[test]
fn a_client_named_like_a_group_does_not_see_what_the_group_has() {
    let server = Server::new();
    let member = Caller {
        name: "node".into(),
        groups: vec!["cluster".into()],
        ..Caller::default()
    };
    let request = CreateRequest {
        object_type: ObjectType::SYMMETRIC_KEY,
        template_attribute: usage()
            .with(AttributeValue::CryptographicAlgorithm(
                CryptographicAlgorithm::AES,
            ))
            .with(AttributeValue::CryptographicLength(128))
            .into(),
        protection_storage_masks: None,
    };
    let frame = encode_request(Version::V1_4, None, &request).unwrap();
    let made =
        decode_response::<CreateRequest>(server.raw(&member, frame.expose()).expose()).unwrap();
    let mine = |name: &str| {
        server
            .ask_as(name, Version::V1_4, &LocateRequest::default())
            .unwrap()
            .unique_identifiers
    };
    assert_eq!(mine("node"), [made.unique_identifier]);
    assert!(mine("cluster").is_empty());
}
