//! What a request and a client may take: the largest legal requests of each operation, their work counted.

use std::rc::Rc;

use mrhsm_pkcs11::server::Quotas;

use super::*;

const VERSION: Version = Version::V2_1;
/// The longest request that the network takes.
const LONGEST: usize = 17 << 20;
const ENOUGH: ResultReason = ResultReason::SERVER_LIMIT_EXCEEDED;

/// What a request took, and what became of its items.
struct Took {
    work: u64,
    reasons: Vec<Option<ResultReason>>,
}

fn work(server: &Server, items: &[&dyn Asked]) -> Took {
    let frame = batch(VERSION, BatchErrorContinuationOption::CONTINUE, items);
    assert!(frame.len() <= LONGEST, "{}", frame.len());
    let answer = server.engine.answer(&client(), frame.expose(), None);
    let message = ResponseMessage::decode(answer.bytes.expose()).unwrap();
    Took {
        work: answer.work,
        reasons: message
            .items
            .iter()
            .map(|item| item.result_reason)
            .collect(),
    }
}

fn small(quotas: Quotas) -> Server {
    let Server { engine, folder } = Server::new();
    Server {
        engine: engine.with_quotas(quotas),
        folder,
    }
}

fn custom(number: usize, len: usize) -> AttributeValue {
    AttributeValue::Custom(
        "x".into(),
        format!("a{number}"),
        Value::Text("v".repeat(len)),
    )
}

#[test]
fn filters_cost_what_they_are() {
    let server = Server::new();
    for _ in 0..50 {
        server.create(VERSION, &[]).unwrap();
    }
    type Filter = fn(usize) -> AttributeValue;
    let kinds: [(&str, Filter); 5] = [
        ("dates", |n| {
            AttributeValue::ActivationDate(DateTime(n as i64))
        }),
        ("digests", |n| {
            AttributeValue::Digest(Digest {
                hashing_algorithm: HashingAlgorithm::SHA_256,
                digest_value: Some(vec![n as u8; 32]),
                key_format_type: None,
            })
        }),
        ("states", |_| AttributeValue::State(State::ACTIVE)),
        ("masks", |_| {
            AttributeValue::CryptographicUsageMask(CryptographicUsageMask(1))
        }),
        ("custom", |n| custom(n, 10)),
    ];
    for (kind, filter) in kinds {
        let locate = |count| LocateRequest {
            attributes: (0..count).map(filter).collect(),
            ..LocateRequest::default()
        };
        let took = work(&server, &[&locate(256)]);
        assert_eq!(took.reasons, [None], "{kind}");
        assert!(took.work < 20_000, "{kind}: {}", took.work);
        for many in [257, 8000] {
            let took = work(&server, &[&locate(many)]);
            assert_eq!(took.reasons, [Some(ENOUGH)], "{kind}");
            assert!(took.work < 20_000, "{kind}: {}", took.work);
        }
    }
    // As many as fit in a request: the work of all of them is bounded, too.
    let locate = LocateRequest {
        attributes: Attributes::new().with(AttributeValue::LeaseTime(Interval(1))),
        ..LocateRequest::default()
    };
    let all: Vec<&dyn Asked> = (0..4096).map(|_| &locate as &dyn Asked).collect();
    let quotas = Quotas {
        work: 1_000_000,
        ..Quotas::default()
    };
    let server = Server {
        engine: server.engine.with_quotas(quotas),
        folder: server.folder,
    };
    let took = work(&server, &all);
    assert!(took.work <= quotas.work);
    assert_eq!(took.reasons.last(), Some(&Some(ENOUGH)));
}

#[test]
fn derivations_cost_what_they_take() {
    let server = Server::new();
    let base = server
        .register(VERSION, raw_key(&[3; 32]), usage().with(active()))
        .unwrap();
    let derive = |method, rounds, len: i32, data: usize| DeriveKeyRequest {
        object_type: ObjectType::SYMMETRIC_KEY,
        unique_identifiers: vec![base.as_str().into()],
        derivation_method: method,
        derivation_parameters: DerivationParameters {
            iteration_count: Some(rounds),
            salt: Some(b"salt".to_vec()),
            derivation_data: vec![Secret::new(vec![1; data])],
            ..DerivationParameters::default()
        },
        template_attribute: Attributes::new()
            .with(AttributeValue::CryptographicAlgorithm(
                CryptographicAlgorithm::AES,
            ))
            .with(AttributeValue::CryptographicLength(8 * len))
            .into(),
    };
    let before = server.locate(VERSION, &LocateRequest::default()).len();
    let long = LONGEST - 4096;
    for (method, rounds, len, data) in [
        (DerivationMethod::PBKDF2, 10_000_000, 64 << 10, 0),
        (DerivationMethod::PBKDF2, 10_000, 64 << 10, 0),
        (DerivationMethod::PBKDF2, i32::MAX, 16, 0),
        (DerivationMethod::NIST800_108_C, 1, 64 << 10, long),
    ] {
        let took = work(&server, &[&derive(method, rounds, len, data)]);
        assert_eq!(took.reasons, [Some(ENOUGH)], "{method} {rounds} {len}");
        // Beside its bytes, which are hashed at most once.
        assert!(took.work < 24_000 + data as u64 / 64, "{}", took.work);
    }
    assert_eq!(
        server.locate(VERSION, &LocateRequest::default()).len(),
        before
    );
    // What people do is far below.
    let usual = derive(DerivationMethod::PBKDF2, 100_000, 32, 0);
    let took = work(&server, &[&usual]);
    assert_eq!(took.reasons, [None]);
    assert!((200_000..250_000).contains(&took.work), "{}", took.work);
    let many: Vec<&dyn Asked> = (0..1000).map(|_| &usual as &dyn Asked).collect();
    let server = small(Quotas {
        work: 1_000_000,
        ..Quotas::default()
    });
    assert!(work(&server, &many).work <= 1_000_000);
}

fn active() -> AttributeValue {
    AttributeValue::ActivationDate(DateTime(1))
}

#[test]
fn keys_are_made_while_half_of_the_budget_is_left() {
    let server = small(Quotas {
        work: 1_000_000,
        ..Quotas::default()
    });
    let pair = |bits| CreateKeyPairRequest {
        common: Some(
            Attributes::new()
                .with(AttributeValue::CryptographicAlgorithm(
                    CryptographicAlgorithm::RSA,
                ))
                .with(AttributeValue::CryptographicLength(bits))
                .into(),
        ),
        ..CreateKeyPairRequest::default()
    };
    let made = pair(2048);
    let took = work(&server, &[&made, &made, &made]);
    assert_eq!(took.reasons, [None, Some(ENOUGH), Some(ENOUGH)]);
    let took = work(&server, &[&pair(16384)]);
    assert_eq!(took.reasons, [Some(ResultReason::INVALID_FIELD)]);
}

#[test]
fn lists_of_a_request_are_short() {
    let server = Server::new();
    let uid = server.create(VERSION, &[]).unwrap();
    let validate = ValidateRequest {
        unique_identifiers: vec![uid.as_str().into(); 257],
        ..ValidateRequest::default()
    };
    let join = JoinSplitKeyRequest {
        object_type: ObjectType::SYMMETRIC_KEY,
        unique_identifiers: vec![uid.as_str().into(); 256],
        ..JoinSplitKeyRequest::default()
    };
    let query = QueryRequest {
        query_functions: vec![QueryFunction::QUERY_OPERATIONS; 50_000],
    };
    let names = GetAttributesRequest {
        unique_identifier: id(&uid),
        attribute_names: (0..30_000)
            .map(|n| AttributeName::Standard(Tag(0x54_0000 + n)))
            .collect(),
    };
    let base = server
        .register(
            VERSION,
            raw_key(&vec![1; 900 << 10]),
            usage().with(active()),
        )
        .unwrap();
    let derive = |data: usize| DeriveKeyRequest {
        object_type: ObjectType::SYMMETRIC_KEY,
        unique_identifiers: vec![base.as_str().into(); data + 1],
        derivation_method: DerivationMethod::HMAC,
        derivation_parameters: DerivationParameters::default(),
        template_attribute: Attributes::new()
            .with(AttributeValue::CryptographicAlgorithm(
                CryptographicAlgorithm::AES,
            ))
            .with(AttributeValue::CryptographicLength(128))
            .into(),
    };
    let took = work(
        &server,
        &[&validate, &join, &derive(257), &derive(5), &derive(4)],
    );
    let (wrong, enough) = (Some(ResultReason::INVALID_FIELD), Some(ENOUGH));
    assert_eq!(took.reasons, [enough, wrong, enough, enough, None]);
    for request in [&query as &dyn Asked, &names] {
        let took = work(&server, &[request]);
        assert_eq!(took.reasons, [None]);
        assert!(took.work < 40_000, "{}", took.work);
    }
    let template_attribute = TemplateAttribute {
        templates: vec!["none".into(); 257],
        attributes: Attributes::new(),
    };
    let create = CreateRequest {
        object_type: ObjectType::SYMMETRIC_KEY,
        template_attribute,
        protection_storage_masks: None,
    };
    assert_eq!(
        server.ask(Version::V1_4, &create).err(),
        Some(ResultReason::PERMISSION_DENIED)
    );
}

#[test]
fn a_secret_is_split_in_bounded_work() {
    let server = Server::new();
    let secret = |len| {
        server
            .register(VERSION, raw_key(&vec![1; len]), usage())
            .unwrap()
    };
    let split = |uid: &str, parts| CreateSplitKeyRequest {
        object_type: ObjectType::SPLIT_KEY,
        unique_identifier: id(uid),
        split_key_parts: parts,
        split_key_threshold: parts,
        split_key_method: SplitKeyMethod::POLYNOMIAL_SHARING_GF_2_8,
        ..CreateSplitKeyRequest::default()
    };
    let (long, longest) = (secret(64 << 10), secret(900 << 10));
    let took = work(
        &server,
        &[
            &split(&longest, 2),
            &split(&long, 255),
            &split(&long, 3),
            &split(&secret(32), 255),
        ],
    );
    let wrong = Some(ResultReason::INVALID_FIELD);
    assert_eq!(took.reasons, [wrong, Some(ENOUGH), None, None]);
    assert!(took.work <= Quotas::default().work);
}

#[test]
fn an_object_has_bounded_attributes_and_a_request_bounded_writes() {
    let server = Server::new();
    let uid = server
        .register(VERSION, raw_key(&vec![1; 900 << 10]), usage())
        .unwrap();
    let add = |uid: &str, attribute: AttributeValue| AddAttributeRequest {
        unique_identifier: id(uid),
        attribute: attribute.into(),
    };
    assert_eq!(
        work(&server, &[&add(&uid, custom(0, 300 << 10))]).reasons,
        [Some(ENOUGH)]
    );
    let many: Vec<AttributeValue> = (0..1025).map(|n| custom(n, 1)).collect();
    assert_eq!(server.create(VERSION, &many).err(), Some(ENOUGH));
    server.create(VERSION, &many[..1000]).unwrap();
    // 64 MiB are 72 times the object.
    let requests: Vec<AddAttributeRequest> = (0..200).map(|n| add(&uid, custom(n, 100))).collect();
    let items: Vec<&dyn Asked> = requests.iter().map(|item| item as &dyn Asked).collect();
    let took = work(&server, &items);
    let done = took
        .reasons
        .iter()
        .filter(|reason| reason.is_none())
        .count();
    assert!((70..75).contains(&done), "{done}");
    let names = server.attributes(VERSION, &uid, &[]);
    let kept = names
        .iter()
        .filter(|value| matches!(value, AttributeValue::Custom(..)));
    assert_eq!(kept.count(), done, "what is refused changes nothing");
}

/// 18,000 attributes fit into a request: none are compared pairwise.
#[test]
fn many_attributes_are_refused_before_they_are_compared() {
    let server = Server::new();
    let many: Attributes = (0..16_000).map(|n| custom(n, 1)).collect();
    let attributes = || many.clone();
    let create = CreateRequest {
        object_type: ObjectType::SYMMETRIC_KEY,
        template_attribute: attributes().into(),
        protection_storage_masks: None,
    };
    let pair = CreateKeyPairRequest {
        common: Some(attributes().into()),
        ..CreateKeyPairRequest::default()
    };
    for request in [&create as &dyn Asked, &pair] {
        assert_eq!(work(&server, &[request]).reasons, [Some(ENOUGH)]);
    }
    let template = ManagedObject::Template((0..8000).map(|n| name(&n.to_string())).collect());
    assert_eq!(
        server
            .register(Version::V1_4, template, Attributes::new())
            .err(),
        Some(ResultReason::PERMISSION_DENIED)
    );
}

#[test]
fn a_client_has_a_quota_of_objects_and_no_other_clients() {
    let server = small(Quotas {
        objects: 3,
        bytes: 100_000,
        ..Quotas::default()
    });
    let register = |name: &str, len| {
        let request = RegisterRequest {
            object_type: ObjectType::SYMMETRIC_KEY,
            template_attribute: usage().into(),
            object: Some(raw_key(&vec![1; len])),
            protection_storage_masks: None,
        };
        server
            .ask_as(name, VERSION, &request)
            .map(|answer| answer.unique_identifier)
    };
    for _ in 0..3 {
        register("a", 16).unwrap();
    }
    assert_eq!(register("a", 16).err(), Some(ENOUGH));
    let large = register("b", 60_000).unwrap();
    assert_eq!(register("b", 60_000).err(), Some(ENOUGH));
    // The value of what is destroyed is gone.
    let destroy = DestroyRequest {
        unique_identifier: id(&large),
    };
    server.ask_as("b", VERSION, &destroy).unwrap();
    register("b", 60_000).unwrap();
    assert_eq!(register("b", 60_000).err(), Some(ENOUGH));
    // The same after a restart.
    let quotas = server.engine.quotas;
    let server = server.again();
    let server = Server {
        engine: server.engine.with_quotas(quotas),
        folder: server.folder,
    };
    server.create(VERSION, &[]).unwrap();
    let request = RegisterRequest {
        object_type: ObjectType::SYMMETRIC_KEY,
        template_attribute: usage().into(),
        object: Some(raw_key(&[1; 60_000])),
        protection_storage_masks: None,
    };
    assert_eq!(server.ask_as("b", VERSION, &request).err(), Some(ENOUGH));
}

#[test]
fn a_client_has_its_own_operations_in_parts() {
    let server = small(Quotas {
        streams: 4,
        stream_bytes: 100_000,
        ..Quotas::default()
    });
    let begin = |name: &str, data: usize, correlation: Option<Vec<u8>>| {
        let request = HashRequest {
            cryptographic_parameters: CryptographicParameters {
                hashing_algorithm: Some(HashingAlgorithm::SHA_256),
                ..CryptographicParameters::default()
            },
            data: Some(Secret::new(vec![0; data])),
            init_indicator: correlation.is_none().then_some(true),
            correlation_value: correlation,
            ..HashRequest::default()
        };
        server
            .ask_as(name, VERSION, &request)
            .map(|answer| answer.correlation_value)
    };
    let first = begin("a", 1, None).unwrap();
    for _ in 1..4 {
        begin("a", 1, None).unwrap();
    }
    assert_eq!(begin("a", 1, None).err(), Some(ENOUGH));
    begin("b", 1, None).unwrap();
    assert!(begin("b", 1, first.clone()).is_err(), "it is another's");
    let first = begin("a", 1, first).unwrap();
    // They end with the client's last connection.
    let caller = Caller {
        name: "a".into(),
        ..Caller::default()
    };
    let connections = [
        server.engine.connected(&caller),
        server.engine.connected(&caller),
    ];
    let [one, other] = connections;
    drop(one);
    let first = begin("a", 1, first).unwrap();
    drop(other);
    assert!(begin("a", 1, first).is_err());
    begin("a", 1, None).unwrap();

    // Decrypting with a tag needs all data before it gives any.
    let uid = server
        .register(VERSION, raw_key(&[1; 32]), usage().with(active()))
        .unwrap();
    let mut decrypt = DecryptRequest {
        unique_identifier: id(&uid),
        cryptographic_parameters: Some(CryptographicParameters {
            block_cipher_mode: Some(BlockCipherMode::GCM),
            ..CryptographicParameters::default()
        }),
        data: Some(vec![0; 60_000]),
        iv_counter_nonce: Some(vec![0; 12]),
        init_indicator: Some(true),
        ..DecryptRequest::default()
    };
    decrypt.correlation_value = server.ask(VERSION, &decrypt).unwrap().correlation_value;
    decrypt.init_indicator = None;
    assert_eq!(server.ask(VERSION, &decrypt).err(), Some(ENOUGH));
    let hash = begin("client", 60_000, None).unwrap();
    begin("client", 60_000, hash).unwrap();
}

#[test]
fn an_answer_does_not_grow_without_bounds() {
    let server = Server::new();
    let random = RngRetrieveRequest { data_length: 65536 };
    let many: Vec<&dyn Asked> = (0..1000).map(|_| &random as &dyn Asked).collect();
    let took = work(&server, &many);
    let done = took
        .reasons
        .iter()
        .filter(|reason| reason.is_none())
        .count();
    assert!((255..=257).contains(&done), "{done}");
    assert_eq!(
        took.reasons.last(),
        Some(&Some(ResultReason::RESPONSE_TOO_LARGE))
    );
}

#[test]
fn nothing_is_done_for_a_client_that_is_gone() {
    let server = Server::new();
    let base = server
        .register(VERSION, raw_key(&[3; 32]), usage().with(active()))
        .unwrap();
    let derive = DeriveKeyRequest {
        object_type: ObjectType::SYMMETRIC_KEY,
        unique_identifiers: vec![base.as_str().into()],
        derivation_method: DerivationMethod::PBKDF2,
        derivation_parameters: DerivationParameters {
            iteration_count: Some(100_000),
            salt: Some(b"salt".to_vec()),
            ..DerivationParameters::default()
        },
        template_attribute: Attributes::new()
            .with(AttributeValue::CryptographicAlgorithm(
                CryptographicAlgorithm::AES,
            ))
            .with(AttributeValue::CryptographicLength(128))
            .into(),
    };
    let items: Vec<&dyn Asked> = (0..50).map(|_| &derive as &dyn Asked).collect();
    let frame = batch(VERSION, BatchErrorContinuationOption::CONTINUE, &items);
    let answer = server
        .engine
        .answer_to(&client(), frame.expose(), None, Some(Rc::new(|| true)));
    assert!(answer.work < 1_000_000, "{}", answer.work);
    assert!(answer.done.len() <= 3, "{}", answer.done.len());
    let stays = server
        .engine
        .answer_to(&client(), frame.expose(), None, Some(Rc::new(|| false)));
    assert_eq!(stays.done.len(), 50);
}
