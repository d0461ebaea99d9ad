//! What a client learns of other clients: nothing, not even which identifiers they have.

use super::*;

fn import(uid: &str, byte: u8, replace_existing: Option<bool>) -> ImportRequest {
    let key_block = KeyBlock {
        key_format_type: KeyFormatType::RAW,
        key_value: Some(KeyValue::bytes(Secret::new(vec![byte; 16]))),
        cryptographic_algorithm: Some(CryptographicAlgorithm::AES),
        cryptographic_length: Some(128),
        ..KeyBlock::default()
    };
    ImportRequest {
        unique_identifier: uid.into(),
        object_type: None,
        replace_existing,
        key_wrap_type: None,
        attributes: usage(),
        object: ManagedObject::SymmetricKey(SymmetricKey { key_block }),
    }
}

fn value_of(server: &Server, client: &str, uid: &str) -> Result<Vec<u8>, ResultReason> {
    let request = GetRequest {
        unique_identifier: id(uid),
        ..GetRequest::default()
    };
    server
        .ask_as(client, Version::V1_4, &request)
        .map(|answer| bytes(&answer.object))
}

fn all_of(server: &Server, client: &str) -> (Option<i32>, Vec<String>) {
    let found = server
        .ask_as(client, Version::V1_4, &LocateRequest::default())
        .unwrap();
    (found.located_items, found.unique_identifiers)
}

#[test]
fn an_identifier_of_another_client_is_free() {
    let server = Server::new();
    let theirs = server.create(Version::V1_4, &[]).unwrap();
    server
        .ask(Version::V1_4, &import("chosen", 1, None))
        .unwrap();
    let before = server.value(&theirs);
    for uid in [theirs.as_str(), "chosen", "of nobody"] {
        let ask =
            |byte, replace| server.ask_as("other", Version::V1_4, &import(uid, byte, replace));
        assert_eq!(ask(2, None).unwrap().unique_identifier, uid);
        assert_eq!(
            ask(3, None).unwrap_err(),
            ResultReason::OBJECT_ALREADY_EXISTS,
            "its own is not free"
        );
        assert_eq!(value_of(&server, "other", uid), Ok(vec![2; 16]));
        ask(4, Some(true)).unwrap();
        assert_eq!(value_of(&server, "other", uid), Ok(vec![4; 16]));
    }
    assert_eq!(server.value(&theirs), before);
    assert_eq!(server.value("chosen"), vec![1; 16]);
    let (count, mut found) = all_of(&server, "other");
    found.sort();
    let mut expected = vec![theirs.clone(), "chosen".into(), "of nobody".into()];
    expected.sort();
    assert_eq!((count, found), (Some(3), expected));

    let server = server.again();
    assert_eq!(server.value("chosen"), vec![1; 16]);
    assert_eq!(value_of(&server, "other", "chosen"), Ok(vec![4; 16]));
    server
        .ask_as(
            "other",
            Version::V1_4,
            &DestroyRequest {
                unique_identifier: id("chosen"),
            },
        )
        .unwrap();
    assert_eq!(server.value("chosen"), vec![1; 16]);
    assert_eq!(
        value_of(&server, "third", "chosen"),
        Err(ResultReason::ITEM_NOT_FOUND)
    );
}

#[test]
fn a_group_shares_what_its_members_import() {
    let server = Server::new();
    let member = |name: &str| Caller {
        name: name.into(),
        groups: vec!["cluster".into()],
        ..Caller::default()
    };
    let ask = |caller: &Caller, request: &ImportRequest| {
        let frame = encode_request(Version::V1_4, None, request).unwrap();
        decode_response::<ImportRequest>(server.raw(caller, frame.expose()).expose())
    };
    ask(&member("a"), &import("x", 1, None)).unwrap();
    assert!(ask(&member("b"), &import("x", 2, None)).is_err());
    ask(&member("b"), &import("x", 2, Some(true))).unwrap();
    assert_eq!(all_of(&server, "b").0, Some(1));
    assert_eq!(all_of(&server, "a").0, Some(0), "it is b's now");
}

#[test]
fn an_identifier_cannot_name_a_record_of_another() {
    let server = Server::new();
    server.ask(Version::V1_4, &import("x", 1, None)).unwrap();
    let digest = <sha2::Sha256 as sha2::Digest>::digest(b"client");
    let key = format!("x\u{1}{}", data_encoding::HEXLOWER.encode(&digest[..16]));
    for client in ["client", "other"] {
        assert_eq!(
            value_of(&server, client, &key),
            Err(ResultReason::ITEM_NOT_FOUND)
        );
        assert_eq!(
            server
                .ask_as(client, Version::V1_4, &import(&key, 2, None))
                .unwrap_err(),
            ResultReason::INVALID_FIELD
        );
    }
    assert_eq!(server.value("x"), vec![1; 16]);
}

/// Objects of older versions: their owner is the bare text of a common name or of a subject.
#[test]
fn owners_of_older_versions_keep_their_objects() {
    let server = Server::new();
    let made_by = |name: &str| {
        server
            .ask_as(name, Version::V1_4, &import(name, 1, None))
            .unwrap()
            .unique_identifier
    };
    let old = made_by("O=Acme, C=DE");
    let subject = Caller {
        name: "\u{1}subject:O=Acme,C=DE".into(),
        groups: Vec::new(),
        formerly: Some("O=Acme, C=DE".into()),
    };
    let request = GetRequest {
        unique_identifier: id(&old),
        ..GetRequest::default()
    };
    let frame = encode_request(Version::V1_4, None, &request).unwrap();
    let got = decode_response::<GetRequest>(server.raw(&subject, frame.expose()).expose()).unwrap();
    assert_eq!(bytes(&got.object), vec![1; 16]);
    let imitator = "\u{1}cn:O=Acme, C=DE";
    assert_eq!(
        value_of(&server, imitator, &old),
        Err(ResultReason::ITEM_NOT_FOUND)
    );
}
