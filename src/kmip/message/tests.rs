//! Golden bytes, every operation in every version, what real servers get wrong, and bytes that are no message at all.

use proptest::prelude::*;

use super::*;
use crate::ck;
use crate::error::Kind;
use crate::kmip::ops::samples;
use crate::kmip::sample::Sample;
use crate::kmip::*;
use crate::secret::Secret;
use crate::ttlv::{Decode, Encode, Item, ItemType, Tag, Value, Writer, dump, dump_with};
use crate::version::Version;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn assert_bytes(message: &Secret, golden: &str) {
    let golden = hex(golden);
    assert_eq!(
        dump_with(message.expose(), value_name),
        dump_with(&golden, value_name)
    );
    assert_eq!(message.expose(), golden);
    assert_eq!(
        RequestMessage::decode(&golden)
            .unwrap()
            .encode()
            .unwrap()
            .expose(),
        golden
    );
}

/// What a message with this one request looks like.
fn request_message(version: Version, request: &Request) -> Vec<u8> {
    let mut writer = Writer::new(version);
    writer.structure(Tag::REQUEST_MESSAGE, |w| {
        w.structure(Tag::REQUEST_HEADER, |w| {
            version.encode(Tag::PROTOCOL_VERSION, w);
            w.integer(Tag::BATCH_COUNT, 1);
        });
        w.structure(Tag::BATCH_ITEM, |w| {
            request.code().encode(Tag::OPERATION, w);
            request.encode(Tag::REQUEST_PAYLOAD, w);
        });
    });
    writer.finish().unwrap().expose().to_vec()
}

fn response_message(version: Version, response: &Response) -> Vec<u8> {
    let mut batch = ResponseBatch::new(version, 1_700_000_000);
    batch.success(response.code(), Some(b"\x01"), response);
    batch.finish().unwrap().expose().to_vec()
}

#[test]
fn golden_discover_versions() {
    let request = DiscoverVersionsRequest {
        protocol_versions: Version::ALL.to_vec(),
    };
    assert_bytes(
        &encode_request(Version::V1_1, None, &request).unwrap(),
        "42007801000001784200770100000038420069010000002042006a0200000004000000010000000042006b0200000004000000010000000042000d0200000004
         000000010000000042000f010000013042005c05000000040000001e000000004200790100000118420069010000002042006a02000000040000000200000000
         42006b02000000040000000100000000420069010000002042006a0200000004000000020000000042006b020000000400000000000000004200690100000020
         42006a0200000004000000010000000042006b02000000040000000400000000420069010000002042006a0200000004000000010000000042006b0200000004
         0000000300000000420069010000002042006a0200000004000000010000000042006b02000000040000000200000000420069010000002042006a0200000004
         000000010000000042006b02000000040000000100000000420069010000002042006a0200000004000000010000000042006b02000000040000000000000000",
    );
}

#[test]
fn golden_query() {
    use QueryFunction as Q;
    let query_functions = vec![
        Q::QUERY_OPERATIONS,
        Q::QUERY_OBJECTS,
        Q::QUERY_SERVER_INFORMATION,
    ];
    assert_bytes(
        &encode_request(Version::V1_2, None, &QueryRequest { query_functions }).unwrap(),
        "42007801000000904200770100000038420069010000002042006a0200000004000000010000000042006b0200000004000000020000000042000d0200000004
         000000010000000042000f010000004842005c050000000400000018000000004200790100000030420074050000000400000001000000004200740500000004
         000000020000000042007405000000040000000300000000",
    );
}

fn create_and_activate(version: Version) -> Secret {
    let attributes = Attributes::new()
        .with(AttributeValue::CryptographicAlgorithm(
            CryptographicAlgorithm::AES,
        ))
        .with(AttributeValue::CryptographicLength(256))
        .with(AttributeValue::CryptographicUsageMask(
            CryptographicUsageMask::ENCRYPT | CryptographicUsageMask::DECRYPT,
        ))
        .with(AttributeValue::Name("k1".into()));
    let object_type = ObjectType::SYMMETRIC_KEY;
    let mut batch = RequestBatch::ordered(version, None);
    batch.push(&CreateRequest {
        object_type,
        template_attribute: attributes.into(),
        ..Default::default()
    });
    batch.push(&ActivateRequest::default());
    batch.finish().unwrap()
}

#[test]
fn golden_create_and_activate_in_both_dialects() {
    assert_bytes(
        &create_and_activate(Version::V1_4),
        "42007801000001b04200770100000048420069010000002042006a0200000004000000010000000042006b020000000400000004000000004200100600000008
         000000000000000142000d0200000004000000020000000042000f010000012842005c0500000004000000010000000042009308000000010100000000000000
         42007901000001004200570500000004000000020000000042009101000000e8420008010000003042000a070000001743727970746f6772617068696320416c
         676f726974686d0042000b05000000040000000300000000420008010000003042000a070000001443727970746f67726170686963204c656e67746800000000
         42000b02000000040000010000000000420008010000003042000a070000001843727970746f67726170686963205573616765204d61736b42000b0200000004
         0000000c00000000420008010000003842000a07000000044e616d650000000042000b010000002042005507000000026b310000000000004200540500000004
         000000010000000042000f010000002842005c05000000040000001200000000420093080000000102000000000000004200790100000000",
    );
    assert_bytes(
        &create_and_activate(Version::V2_1),
        "42007801000001204200770100000048420069010000002042006a0200000004000000020000000042006b020000000400000001000000004200100600000008
         000000000000000142000d0200000004000000020000000042000f010000009842005c0500000004000000010000000042009308000000010100000000000000
         42007901000000704200570500000004000000020000000042012501000000584200280500000004000000030000000042002a02000000040000010000000000
         42002c02000000040000000c00000000420053010000002042005507000000026b3100000000000042005405000000040000000100000000\
         42000f0100000028\
         42005c05000000040000001200000000420093080000000102000000000000004200790100000000",
    );
}

#[test]
fn golden_sign_a_digest() {
    let cryptographic_parameters = CryptographicParameters {
        padding_method: Some(PaddingMethod::PKCS1_V1_5),
        hashing_algorithm: Some(HashingAlgorithm::SHA_256),
        digital_signature_algorithm: Some(DigitalSignatureAlgorithm::SHA_256_WITH_RSA_ENCRYPTION),
        cryptographic_algorithm: Some(CryptographicAlgorithm::RSA),
        ..Default::default()
    };
    let request = SignRequest {
        unique_identifier: Some("42".into()),
        cryptographic_parameters: Some(cryptographic_parameters),
        digested_data: Some((0..32).collect()),
        ..Default::default()
    };
    assert_bytes(
        &encode_request(Version::V1_4, None, &request).unwrap(),
        "42007801000000e04200770100000038420069010000002042006a0200000004000000010000000042006b0200000004000000040000000042000d0200000004
         000000010000000042000f010000009842005c0500000004000000210000000042007901000000804200940700000002343200000000000042002b0100000040
         42005f05000000040000000800000000420038050000000400000006000000004200ae0500000004000000050000000042002805000000040000000400000000
         4201070800000020000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
    );
    // A digest that cannot be said must not silently become a signature over nothing.
    let error = encode_request(Version::V1_3, None, &request).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Digested Data cannot be said in KMIP 1.3"
    );
    assert_eq!(error.rv(), ck::CKR_FUNCTION_NOT_SUPPORTED);
}

/// Writes them to the corpus of `scripts/fuzz --record` if `MRHSM_FUZZ_CORPUS` names it when this
/// is compiled.
#[test]
fn samples_become_seeds_of_the_fuzz_targets() {
    let scratch = tempfile::tempdir().unwrap();
    let corpus = option_env!("MRHSM_FUZZ_CORPUS")
        .map_or_else(|| scratch.path().to_owned(), std::path::PathBuf::from);
    let write = |target: &str, version: Version, code: OperationCode, message: &[u8]| {
        let folder = corpus.join(target);
        std::fs::create_dir_all(&folder).unwrap();
        let seed = folder.join(format!("sample-{version}-{}", code.0));
        std::fs::write(&seed, message).unwrap();
        assert_eq!(std::fs::read(&seed).unwrap(), message);
    };
    for version in Version::ALL {
        for request in samples::requests(version) {
            let message = request_message(version, &request);
            write("request_message", version, request.code(), &message);
        }
        for response in samples::responses(version) {
            let message = response_message(version, &response);
            write("response_message", version, response.code(), &message);
        }
    }
}

#[test]
fn every_operation_comes_back_as_it_went_in_every_version() {
    for version in Version::ALL {
        for request in samples::requests(version) {
            let bytes = request_message(version, &request);
            let message = RequestMessage::decode(&bytes)
                .unwrap_or_else(|e| panic!("{version} {}: {e}", request.code()));
            assert_eq!(message.header.protocol_version, version);
            let decoded = Request::decode(message.items[0].operation, &message.items[0].payload);
            assert_eq!(
                decoded.unwrap_or_else(|e| panic!("{version} {}: {e}", request.code())),
                request,
                "{version}"
            );
            assert_eq!(
                message.encode().unwrap().expose(),
                bytes,
                "{version} {}",
                request.code()
            );
        }
        for response in samples::responses(version) {
            let bytes = response_message(version, &response);
            let message = ResponseMessage::decode(&bytes).unwrap();
            let payload = message.items[0].payload.as_ref().unwrap();
            assert_eq!(
                Response::decode(response.code(), payload).unwrap(),
                response,
                "{version}"
            );
            assert_eq!(
                message.encode().unwrap().expose(),
                bytes,
                "{version} {}",
                response.code()
            );
        }
    }
}

#[test]
fn every_managed_object_comes_back() {
    for version in Version::ALL {
        let objects = [
            ManagedObject::Certificate(Sample::sample(version)),
            ManagedObject::SymmetricKey(Sample::sample(version)),
            ManagedObject::PublicKey(Sample::sample(version)),
            ManagedObject::PrivateKey(Sample::sample(version)),
            ManagedObject::SplitKey(Sample::sample(version)),
            ManagedObject::Template(Attributes::new().with(AttributeValue::Name("t".into()))),
            ManagedObject::SecretData(Sample::sample(version)),
            ManagedObject::OpaqueObject(Sample::sample(version)),
            ManagedObject::PgpKey(Sample::sample(version)),
            ManagedObject::CertificateRequest(Sample::sample(version)),
            ManagedObject::SymmetricKey(SymmetricKey {
                key_block: KeyBlock {
                    key_value: Some(KeyValue::Wrapped(vec![1; 40])),
                    ..Default::default()
                },
            }),
            ManagedObject::SymmetricKey(SymmetricKey {
                key_block: KeyBlock::of_bytes(
                    KeyFormatType::RAW,
                    CryptographicAlgorithm::AES,
                    256,
                    Secret::new(vec![7; 32]),
                ),
            }),
        ];
        for object in objects {
            let response = Response::from(GetResponse {
                object_type: object.object_type(),
                unique_identifier: "42".into(),
                object,
            });
            let bytes = response_message(version, &response);
            let message = ResponseMessage::decode(&bytes).unwrap();
            assert_eq!(
                Response::decode(
                    OperationCode::GET,
                    message.items[0].payload.as_ref().unwrap()
                )
                .unwrap(),
                response
            );
        }
    }
}

#[test]
fn headers_and_credentials_come_back() {
    fn check<T: Encode + Decode + Sample + PartialEq + std::fmt::Debug>(
        version: Version,
        tag: Tag,
    ) {
        let header = T::sample(version);
        let mut writer = Writer::new(version);
        header.encode(tag, &mut writer);
        let bytes = writer.finish().unwrap();
        assert_eq!(
            T::decode(&Item::parse(bytes.expose()).unwrap()).unwrap(),
            header
        );
        let shown = format!("{header:?} {}", dump(bytes.expose()));
        assert!(!shown.contains("hidden"), "{shown}");
    }
    for version in Version::ALL {
        check::<RequestHeader>(version, Tag::REQUEST_HEADER);
        check::<ResponseHeader>(version, Tag::RESPONSE_HEADER);
    }
}

#[test]
fn a_message_cut_anywhere_is_an_error() {
    for version in [Version::V1_4, Version::V2_1] {
        let request = samples::requests(version).remove(0);
        let bytes = request_message(version, &request);
        for length in 0..bytes.len() {
            assert!(
                RequestMessage::decode(&bytes[..length]).is_err(),
                "{length} of {} bytes",
                bytes.len()
            );
        }
        let response = samples::responses(version).remove(0);
        let bytes = response_message(version, &response);
        for length in 0..bytes.len() {
            assert!(
                decode_response::<CreateRequest>(&bytes[..length]).is_err(),
                "{length} of {} bytes",
                bytes.len()
            );
        }
    }
}

/// A response with these items, each written by a closure.
fn answer(header_version: Version, items: &[&dyn Fn(&mut Writer)]) -> Vec<u8> {
    let mut writer = Writer::new(header_version);
    writer.structure(Tag::RESPONSE_MESSAGE, |w| {
        w.structure(Tag::RESPONSE_HEADER, |w| {
            header_version.encode(Tag::PROTOCOL_VERSION, w);
            // A Long Integer, as one server writes it.
            w.long_integer(Tag::TIME_STAMP, 1_700_000_000);
            w.text(Tag(0x54_0001), "something of a vendor's");
            w.integer(Tag::BATCH_COUNT, 9);
        });
        items
            .iter()
            .for_each(|item| w.structure(Tag::BATCH_ITEM, item));
    });
    writer.finish().unwrap().expose().to_vec()
}

fn done(w: &mut Writer, uid: &str) {
    ResultStatus::SUCCESS.encode(Tag::RESULT_STATUS, w);
    w.structure(Tag::RESPONSE_PAYLOAD, |w| {
        w.value(Tag(0x54_0002), ItemType(0x7F), b"of a type nobody knows");
        w.text(Tag::UNIQUE_IDENTIFIER, uid);
    });
}

#[test]
fn answers_without_operation_and_id_are_matched_by_place() {
    let bytes = answer(
        Version::V1_2,
        &[&|w| done(w, "first"), &|w| done(w, "second")],
    );
    let message = ResponseMessage::decode(&bytes).unwrap();
    assert_eq!(message.header.time_stamp.unwrap().0, 1_700_000_000);
    assert_eq!(
        message.get::<ActivateRequest>(0).unwrap().unique_identifier,
        "first"
    );
    assert_eq!(
        message.get::<DestroyRequest>(1).unwrap().unique_identifier,
        "second"
    );
    let error = message.get::<DestroyRequest>(2).unwrap_err();
    assert_eq!(error.kind(), Kind::Protocol);
    assert!(
        error.to_string().contains("did not answer Destroy"),
        "{error}"
    );
}

#[test]
fn answers_in_another_order_are_matched_by_id() {
    let item = |id: u8, uid: &'static str| {
        move |w: &mut Writer| {
            w.byte_string(Tag::UNIQUE_BATCH_ITEM_ID, &[id]);
            done(w, uid);
        }
    };
    let (second, first) = (item(2, "second"), item(1, "first"));
    let bytes = answer(Version::V1_4, &[&second, &first]);
    let message = ResponseMessage::decode(&bytes).unwrap();
    assert_eq!(
        message.get::<ActivateRequest>(0).unwrap().unique_identifier,
        "first"
    );
    assert_eq!(
        message.get::<ActivateRequest>(1).unwrap().unique_identifier,
        "second"
    );
    assert!(message.get::<ActivateRequest>(2).is_err());
}

#[test]
fn one_refusal_without_operation_stands_for_the_whole_message() {
    let refused = |w: &mut Writer| {
        ResultStatus::OPERATION_FAILED.encode(Tag::RESULT_STATUS, w);
        ResultReason::INVALID_MESSAGE.encode(Tag::RESULT_REASON, w);
        w.value(
            Tag::RESULT_MESSAGE,
            ItemType::TEXT_STRING,
            b"caf\xe9 closed",
        );
    };
    let bytes = answer(Version::V1_0, &[&refused]);
    let message = ResponseMessage::decode(&bytes).unwrap();
    for index in [0, 1, 7] {
        let error = message.get::<EncryptRequest>(index).unwrap_err();
        assert_eq!(error.kind(), Kind::Server(ResultReason::INVALID_MESSAGE.0));
        assert_eq!(
            error.to_string(),
            "the KMIP server refused Encrypt: Invalid Message (\"caf\u{fffd} closed\")"
        );
    }
}

#[test]
fn an_answer_to_something_else_is_not_taken() {
    let other = |w: &mut Writer| {
        OperationCode::DESTROY.encode(Tag::OPERATION, w);
        done(w, "42");
    };
    let error = decode_response::<ActivateRequest>(&answer(Version::V1_4, &[&other])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the KMIP server answered Destroy where Activate was asked"
    );
    let error = decode_response::<ActivateRequest>(&answer(Version::V1_4, &[])).unwrap_err();
    assert_eq!(error.kind(), Kind::Protocol);
}

#[test]
fn a_success_without_payload_is_one_when_nothing_is_needed() {
    let bare = |w: &mut Writer| ResultStatus::SUCCESS.encode(Tag::RESULT_STATUS, w);
    let bytes = answer(Version::V2_1, &[&bare]);
    assert!(
        decode_response::<LocateRequest>(&bytes)
            .unwrap()
            .unique_identifiers
            .is_empty()
    );
    let error = decode_response::<ActivateRequest>(&bytes).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("answer to Activate: Response Payload at byte 0: without Unique Identifier"),
        "{error}"
    );
}

#[test]
fn an_unknown_operation_and_unknown_values_survive() {
    let mut writer = Writer::new(Version::V1_4);
    writer.structure(Tag::REQUEST_MESSAGE, |w| {
        w.structure(Tag::REQUEST_HEADER, |w| {
            Version::V1_4.encode(Tag::PROTOCOL_VERSION, w);
            w.integer(Tag::BATCH_COUNT, 2);
        });
        w.structure(Tag::BATCH_ITEM, |w| {
            OperationCode(0x8000_0001).encode(Tag::OPERATION, w);
            w.structure(Tag::REQUEST_PAYLOAD, |w| w.text(Tag(0x54_0001), "kept"));
        });
        w.structure(Tag::BATCH_ITEM, |w| {
            OperationCode::GET.encode(Tag::OPERATION, w);
            w.structure(Tag::REQUEST_PAYLOAD, |w| {
                w.enumeration(Tag::KEY_FORMAT_TYPE, 0x8000_0002)
            });
        });
    });
    let bytes = writer.finish().unwrap();
    let message = RequestMessage::decode(bytes.expose()).unwrap();
    assert_eq!(message.items[0].operation.to_string(), "0x80000001");
    assert_eq!(
        message.items[1]
            .request::<GetRequest>()
            .unwrap()
            .key_format_type,
        Some(KeyFormatType(0x8000_0002))
    );
    assert_eq!(message.encode().unwrap(), bytes);
}

#[test]
fn more_items_than_anybody_sends_are_refused() {
    let mut writer = Writer::new(Version::V1_4);
    writer.structure(Tag::RESPONSE_MESSAGE, |w| {
        w.structure(Tag::RESPONSE_HEADER, |w| {
            Version::V1_4.encode(Tag::PROTOCOL_VERSION, w)
        });
        (0..=MAX_ITEMS).for_each(|_| {
            w.structure(Tag::BATCH_ITEM, |w| {
                ResultStatus::SUCCESS.encode(Tag::RESULT_STATUS, w)
            })
        });
    });
    let bytes = writer.finish().unwrap();
    assert!(
        ResponseMessage::decode(bytes.expose())
            .unwrap_err()
            .to_string()
            .contains("more than 4096 items")
    );
}

#[test]
fn a_batch_of_many_counts_and_names_its_items() {
    let mut batch = RequestBatch::new(
        Version::V1_4,
        Some(&Authentication::username_password("u", None)),
    );
    for n in 0..300 {
        assert_eq!(
            batch.push(&GetRequest {
                unique_identifier: Some(n.to_string().into()),
                ..Default::default()
            }),
            n
        );
    }
    let bytes = batch.finish().unwrap();
    let message = RequestMessage::decode(bytes.expose()).unwrap();
    assert_eq!(message.header.batch_count, 300);
    assert_eq!(
        message.header.authentication.as_ref().unwrap().credentials[0]
            .credential_value
            .username
            .as_deref(),
        Some("u")
    );
    let ids: std::collections::HashSet<_> = message
        .items
        .iter()
        .map(|item| item.unique_batch_item_id.clone())
        .collect();
    assert_eq!(ids.len(), 300);
}

#[test]
fn nothing_secret_is_shown() {
    for version in Version::ALL {
        let shown = |bytes: &[u8]| dump_with(bytes, value_name);
        for request in samples::requests(version) {
            let text = format!(
                "{request:?}\n{}",
                shown(&request_message(version, &request))
            );
            assert!(
                !text.contains("hidden") && !text.contains("68696464656e"),
                "{text}"
            );
        }
        for response in samples::responses(version) {
            let text = format!(
                "{response:?}\n{}",
                shown(&response_message(version, &response))
            );
            assert!(
                !text.contains("hidden") && !text.contains("68696464656e"),
                "{text}"
            );
        }
    }
}

/// Everything that looks at bytes of strangers. What could be decoded and encoded is not changed by doing it again.
fn read_in_every_way(bytes: &[u8]) {
    dump_with(bytes, value_name);
    if let Ok(message) = RequestMessage::decode(bytes)
        && let Ok(once) = message.encode()
    {
        assert_eq!(
            RequestMessage::decode(once.expose())
                .unwrap()
                .encode()
                .unwrap(),
            once
        );
    }
    if let Ok(message) = ResponseMessage::decode(bytes) {
        drop(message.get::<GetRequest>(0));
        if let Ok(once) = message.encode() {
            assert_eq!(
                ResponseMessage::decode(once.expose())
                    .unwrap()
                    .encode()
                    .unwrap(),
                once
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        read_in_every_way(&bytes);
    }

    /// Valid messages with some bytes changed come much further into the decoder.
    #[test]
    fn damaged_messages_never_panic(
        version in proptest::sample::select(&Version::ALL[..]),
        which in any::<proptest::sample::Index>(),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let (requests, responses) = (samples::requests(version), samples::responses(version));
        let messages = [
            request_message(version, &requests[which.index(requests.len())]),
            response_message(version, &responses[which.index(responses.len())]),
        ];
        for mut bytes in messages {
            for (place, value) in &damage {
                let place = place.index(bytes.len());
                bytes[place] = *value;
            }
            read_in_every_way(&bytes);
        }
    }

    /// What is decoded and encoded once is not changed by doing it again.
    #[test]
    fn encoding_is_stable(
        version in proptest::sample::select(&Version::ALL[..]),
        uid in ".{0,40}", label in "\\PC{0,40}", data in proptest::collection::vec(any::<u8>(), 0..2000), count in any::<i32>(),
    ) {
        let request = LocateRequest {
            maximum_items: Some(count),
            attributes: Attributes::new()
                .with(AttributeValue::UniqueIdentifier(uid.clone()))
                .with(AttributeValue::Custom("x".into(), "d".into(), Value::Bytes(data.clone())))
                .with(AttributeValue::Name(label.as_str().into())),
            ..Default::default()
        };
        let bytes = encode_request(version, None, &request).unwrap();
        let message = RequestMessage::decode(bytes.expose()).unwrap();
        prop_assert_eq!(message.items[0].request::<LocateRequest>().unwrap(), request);
        prop_assert_eq!(message.encode().unwrap(), bytes);
    }
}
