//! The server tested by itself, with the codec directly.

use std::io::{Read, Write};
use std::sync::Arc;
use std::thread;

use mrhsm_pkcs11::error::{Kind, Result};
use mrhsm_pkcs11::kmip::message::{RequestBatch, ResponseMessage, encode_request};
use mrhsm_pkcs11::kmip::*;
use mrhsm_pkcs11::ttlv::{HEADER_LEN, Value, dump, frame_length};
use mrhsm_pkcs11::version::Version;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::*;

/// One connection to a server.
struct Client {
    stream: StreamOwned<ClientConnection, TcpStream>,
    version: Version,
}

impl Client {
    fn new(server: &Server, version: Version) -> Client {
        Client::with(server, version, &server.pki().client).unwrap()
    }

    fn with(server: &Server, version: Version, pair: &Pair) -> std::io::Result<Client> {
        let mut roots = RootCertStore::empty();
        roots.add(server.pki().ca_der.clone()).unwrap();
        let (chain, key) = pair.identity();
        let config = ClientConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .unwrap();
        let socket = TcpStream::connect(server.address())?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        let session =
            ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
        Ok(Client {
            stream: StreamOwned::new(session, socket),
            version,
        })
    }

    fn exchange(&mut self, request: &[u8]) -> std::io::Result<Vec<u8>> {
        self.stream.write_all(request)?;
        self.stream.flush()?;
        let mut answer = vec![0; HEADER_LEN];
        self.stream.read_exact(&mut answer)?;
        let header: &[u8; HEADER_LEN] = answer.as_slice().try_into().unwrap();
        let length = frame_length(header, 1 << 20).map_err(std::io::Error::other)?;
        answer.resize(length, 0);
        self.stream.read_exact(&mut answer[HEADER_LEN..])?;
        Ok(answer)
    }

    fn ask<O: Operation>(&mut self, request: &O) -> Result<O::Response> {
        let frame = encode_request(self.version, None, request)?;
        let answer = self.exchange(frame.expose()).expect("an answer");
        message::decode_response::<O>(&answer)
    }

    /// The reason of a refusal.
    fn refused<O: Operation>(&mut self, request: &O) -> ResultReason {
        match self.ask(request).err().expect("a refusal").kind() {
            Kind::Server(reason) => ResultReason(reason),
            other => panic!("{other:?}"),
        }
    }

    fn create(&mut self, name: &str) -> String {
        self.ask(&aes(name)).unwrap().unique_identifier
    }

    fn activate(&mut self, uid: &str) {
        self.ask(&ActivateRequest {
            unique_identifier: Some(uid.into()),
        })
        .unwrap();
    }

    fn state(&mut self, uid: &str) -> State {
        let request = GetAttributesRequest {
            unique_identifier: Some(uid.into()),
            ..GetAttributesRequest::default()
        };
        *self.ask(&request).unwrap().attributes.state().unwrap()
    }
}

fn usage() -> AttributeValue {
    AttributeValue::CryptographicUsageMask(
        CryptographicUsageMask::ENCRYPT | CryptographicUsageMask::DECRYPT,
    )
}

fn aes(name: &str) -> CreateRequest {
    let attributes = Attributes::new()
        .with(AttributeValue::CryptographicAlgorithm(
            CryptographicAlgorithm::AES,
        ))
        .with(AttributeValue::CryptographicLength(256))
        .with(usage())
        .with(AttributeValue::Name(name.into()));
    CreateRequest {
        object_type: ObjectType::SYMMETRIC_KEY,
        template_attribute: attributes.into(),
        ..CreateRequest::default()
    }
}

fn locate(filters: Attributes) -> LocateRequest {
    LocateRequest {
        attributes: filters,
        ..LocateRequest::default()
    }
}

fn revoke(uid: &str, code: RevocationReasonCode) -> RevokeRequest {
    RevokeRequest {
        unique_identifier: Some(uid.into()),
        revocation_reason: RevocationReason {
            revocation_reason_code: code,
            revocation_message: None,
        },
        compromise_occurrence_date: None,
    }
}

fn cbc_pad() -> CryptographicParameters {
    CryptographicParameters {
        block_cipher_mode: Some(BlockCipherMode::CBC),
        padding_method: Some(PaddingMethod::PKCS5),
        cryptographic_algorithm: Some(CryptographicAlgorithm::AES),
        ..CryptographicParameters::default()
    }
}

/// The life of a key, with every personality in every version it speaks.
#[test]
fn a_key_lives_and_dies() {
    for personality in Personality::all() {
        for &version in personality.versions {
            let server = Server::start(personality.clone(), Script::none());
            let mut client = Client::new(&server, version);
            let uid = client.create("k1");
            let by_name = locate(Attributes::new().with(AttributeValue::Name("k1".into())));
            assert_eq!(
                client.ask(&by_name).unwrap().unique_identifiers,
                std::slice::from_ref(&uid)
            );
            assert_eq!(client.state(&uid), State::PRE_ACTIVE);
            client.activate(&uid);
            assert_eq!(client.state(&uid), State::ACTIVE);
            assert_eq!(
                client.refused(&ActivateRequest {
                    unique_identifier: Some(uid.as_str().into())
                }),
                wrong_state(version)
            );

            let get = GetRequest {
                unique_identifier: Some(uid.as_str().into()),
                ..GetRequest::default()
            };
            let got = client.ask(&get).unwrap();
            let Some(KeyValue::Plain(plain)) = &got.object.key_block().unwrap().key_value else {
                panic!("wrapped")
            };
            let KeyMaterial::Bytes(bytes) = &plain.key_material else {
                panic!("transparent")
            };
            assert_eq!(bytes.expose(), server.value(&uid).unwrap());
            assert_eq!(bytes.len(), 32);

            if personality.operations.contains(&OperationCode::ENCRYPT) && version >= Version::V1_2
            {
                let encrypted = client
                    .ask(&EncryptRequest {
                        unique_identifier: Some(uid.as_str().into()),
                        cryptographic_parameters: Some(cbc_pad()),
                        data: Some(b"hello".to_vec().into()),
                        ..EncryptRequest::default()
                    })
                    .unwrap();
                let decrypted = client
                    .ask(&DecryptRequest {
                        unique_identifier: Some(uid.as_str().into()),
                        cryptographic_parameters: Some(cbc_pad()),
                        data: encrypted.data,
                        iv_counter_nonce: encrypted.iv_counter_nonce,
                        ..DecryptRequest::default()
                    })
                    .unwrap();
                assert_eq!(decrypted.data.unwrap().expose(), b"hello");
            }

            let destroy = DestroyRequest {
                unique_identifier: Some(uid.as_str().into()),
            };
            assert_eq!(client.refused(&destroy), wrong_state(version));
            client
                .ask(&revoke(&uid, RevocationReasonCode::CESSATION_OF_OPERATION))
                .unwrap();
            assert_eq!(client.state(&uid), State::DEACTIVATED);
            client.ask(&destroy).unwrap();
            assert_eq!(
                client.ask(&by_name).unwrap().unique_identifiers,
                Vec::<String>::new()
            );
            let gone = [ResultReason::ITEM_NOT_FOUND, ResultReason::OBJECT_DESTROYED]
                [usize::from(version >= Version::V2_1)];
            assert_eq!(client.refused(&get), gone);
        }
    }
}

fn wrong_state(version: Version) -> ResultReason {
    if version.typed_attributes() {
        ResultReason::WRONG_KEY_LIFECYCLE_STATE
    } else {
        ResultReason::PERMISSION_DENIED
    }
}

#[test]
fn attributes_are_added_changed_and_deleted() {
    for version in Version::ALL {
        let server = Server::start(Personality::standard(), Script::none());
        let mut client = Client::new(&server, version);
        let uid = client.create("k1");
        let id = || Some(UniqueIdentifier::from(uid.as_str()));
        let custom = |text: &str| {
            Attribute::from(AttributeValue::Custom(
                "x".into(),
                "note".into(),
                Value::from(text),
            ))
        };
        client
            .ask(&AddAttributeRequest {
                unique_identifier: id(),
                attribute: custom("one"),
            })
            .unwrap();
        let change = ModifyAttributeRequest {
            unique_identifier: id(),
            current_attribute: None,
            attribute: custom("two"),
        };
        client.ask(&change).unwrap();
        let list = client
            .ask(&GetAttributeListRequest {
                unique_identifier: id(),
            })
            .unwrap()
            .attribute_names;
        assert!(
            list.contains(&AttributeName::custom("x", "note")),
            "{version}: {list:?}"
        );
        let ask = GetAttributesRequest {
            unique_identifier: id(),
            attribute_names: vec![AttributeName::custom("x", "note")],
        };
        let got = client.ask(&ask).unwrap().attributes;
        assert_eq!(
            (got.len(), got.custom("x", "note").and_then(Value::as_text)),
            (1, Some("two"))
        );
        let delete = DeleteAttributeRequest {
            unique_identifier: id(),
            attribute_name: Some(AttributeName::custom("x", "note")),
            ..DeleteAttributeRequest::default()
        };
        client.ask(&delete).unwrap();
        assert!(client.ask(&ask).unwrap().attributes.is_empty());
        let fixed = AttributeValue::CryptographicLength(128);
        let change = ModifyAttributeRequest {
            unique_identifier: id(),
            current_attribute: None,
            attribute: fixed.into(),
        };
        let read_only = match version.typed_attributes() {
            true => ResultReason::ATTRIBUTE_READ_ONLY,
            false => ResultReason::PERMISSION_DENIED,
        };
        assert_eq!(client.refused(&change), read_only);
    }
}

#[test]
fn batches_stop_and_placeholders_stand() {
    let server = Server::start(Personality::standard(), Script::none());
    let mut client = Client::new(&server, Version::V1_4);
    let mut batch = RequestBatch::ordered(Version::V1_4, None);
    batch.push(&aes("k"));
    batch.push(&ActivateRequest::default());
    batch.push(&ActivateRequest::default());
    batch.push(&QueryRequest::default());
    let answer = client.exchange(batch.finish().unwrap().expose()).unwrap();
    let answer = ResponseMessage::decode(&answer).unwrap();
    let uid = answer.get::<CreateRequest>(0).unwrap().unique_identifier;
    assert_eq!(
        answer.get::<ActivateRequest>(1).unwrap().unique_identifier,
        uid
    );
    assert!(answer.get::<ActivateRequest>(2).is_err());
    assert_eq!(answer.items.len(), 3, "the batch ends with the failure");
    assert_eq!(server.objects()[0].state, State::ACTIVE);

    let server = Server::start(Personality::vault_like(), Script::none());
    let mut batch = RequestBatch::new(Version::V1_4, None);
    batch.push(&GetRequest {
        unique_identifier: Some("none".into()),
        ..GetRequest::default()
    });
    batch.push(&QueryRequest::default());
    let answer = Client::new(&server, Version::V1_4)
        .exchange(batch.finish().unwrap().expose())
        .unwrap();
    let answer = ResponseMessage::decode(&answer).unwrap();
    assert_eq!(
        (answer.header.batch_count, answer.items.len()),
        (Some(2), 1)
    );
}

#[test]
fn pairs_are_made_linked_and_sign() {
    let server = Server::start(Personality::standard(), Script::none());
    let mut client = Client::new(&server, Version::V1_4);
    let mask = |mask| {
        TemplateAttribute::from(
            Attributes::new().with(AttributeValue::CryptographicUsageMask(mask)),
        )
    };
    let pair = client
        .ask(&CreateKeyPairRequest {
            common: Some(
                Attributes::new()
                    .with(AttributeValue::CryptographicAlgorithm(
                        CryptographicAlgorithm::EC,
                    ))
                    .with(AttributeValue::CryptographicDomainParameters(
                        CryptographicDomainParameters {
                            qlength: None,
                            recommended_curve: Some(RecommendedCurve::P_256),
                        },
                    ))
                    .into(),
            ),
            private_key: Some(mask(CryptographicUsageMask::SIGN)),
            public_key: Some(mask(CryptographicUsageMask::VERIFY)),
            ..CreateKeyPairRequest::default()
        })
        .unwrap();
    let (private, public) = (
        pair.private_key_unique_identifier,
        pair.public_key_unique_identifier,
    );
    client.activate(&private);
    client.activate(&public);
    let get = GetAttributesRequest {
        unique_identifier: Some(private.as_str().into()),
        ..GetAttributesRequest::default()
    };
    let attributes = client.ask(&get).unwrap().attributes;
    assert_eq!(
        attributes.linked(LinkType::PUBLIC_KEY_LINK),
        Some(public.as_str())
    );
    let parameters = CryptographicParameters {
        digital_signature_algorithm: Some(DigitalSignatureAlgorithm::ECDSA_WITH_SHA256),
        ..CryptographicParameters::default()
    };
    let signature = client
        .ask(&SignRequest {
            unique_identifier: Some(private.as_str().into()),
            cryptographic_parameters: Some(parameters.clone()),
            data: Some(b"message".to_vec().into()),
            ..SignRequest::default()
        })
        .unwrap()
        .signature_data
        .unwrap();
    for (data, expected) in [
        (b"message", ValidityIndicator::VALID),
        (b"massage", ValidityIndicator::INVALID),
    ] {
        let verdict = client
            .ask(&SignatureVerifyRequest {
                unique_identifier: Some(public.as_str().into()),
                cryptographic_parameters: Some(parameters.clone()),
                data: Some(data.to_vec().into()),
                signature_data: Some(signature.clone()),
                ..SignatureVerifyRequest::default()
            })
            .unwrap();
        assert_eq!(verdict.validity_indicator, Some(expected));
    }
}

#[test]
fn pykmip_is_as_strict_as_it_is() {
    let server = Server::start(Personality::pykmip_like(), Script::none());
    let mut client = Client::new(&server, Version::V1_4);
    let mut with_custom = aes("k");
    let custom = AttributeValue::Custom("x".into(), "note".into(), Value::from("n"));
    with_custom
        .template_attribute
        .attributes
        .push(custom.clone());
    assert_eq!(client.refused(&with_custom), ResultReason::INVALID_FIELD);
    // What it cannot parse spoils the message, and the answer is of version 1.0.
    let uid = client.create("k");
    for frame in [
        encode_request(Version::V1_4, None, &ActivateRequest::default()),
        encode_request(Version::V2_1, None, &QueryRequest::default()),
        encode_request(Version::V1_4, None, &RngRetrieveRequest { data_length: 16 }),
    ] {
        let answer = client.exchange(frame.unwrap().expose()).unwrap();
        let answer = ResponseMessage::decode(&answer).unwrap();
        assert_eq!(answer.header.protocol_version, Version::V1_0);
        assert_eq!(
            answer.items[0].result_reason,
            Some(ResultReason::INVALID_MESSAGE)
        );
        assert_eq!(answer.items[0].operation, None);
    }
    let by_custom = locate(Attributes::new().with(custom));
    assert_eq!(client.refused(&by_custom), ResultReason::GENERAL_FAILURE);
    assert_eq!(uid, "1");
}

#[test]
fn version_2_has_its_own_traps() {
    let server = Server::start(Personality::pykmip_like(), Script::none());
    let mut client = Client::new(&server, Version::V2_0);
    let uid = client.create("k");
    client
        .stream
        .sock
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    let nothing = GetAttributesRequest {
        unique_identifier: Some(uid.into()),
        attribute_names: vec![AttributeName::Standard(
            mrhsm_pkcs11::ttlv::Tag::CONTACT_INFORMATION,
        )],
    };
    let frame = encode_request(Version::V2_0, None, &nothing).unwrap();
    assert_eq!(
        client.exchange(frame.expose()).unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock
    );
    // In 1.4 the same question has an empty answer.
    assert!(
        Client::new(&server, Version::V1_4)
            .ask(&nothing)
            .unwrap()
            .attributes
            .is_empty()
    );
}

#[test]
fn locate_filters_and_pages() {
    let server = Server::start(Personality::standard(), Script::none());
    let mut client = Client::new(&server, Version::V1_4);
    let uids: Vec<String> = (0..5).map(|n| client.create(&format!("k{n}"))).collect();
    let symmetric =
        || Attributes::new().with(AttributeValue::ObjectType(ObjectType::SYMMETRIC_KEY));
    let mut found = Vec::new();
    for offset in [0, 2, 4] {
        let page = LocateRequest {
            maximum_items: Some(2),
            offset_items: Some(offset),
            ..locate(symmetric())
        };
        let page = client.ask(&page).unwrap();
        assert_eq!(page.located_items, Some(5));
        found.extend(page.unique_identifiers);
    }
    found.sort();
    let mut expected = uids;
    expected.sort();
    assert_eq!(found, expected);
    let public = Attributes::new().with(AttributeValue::ObjectType(ObjectType::PUBLIC_KEY));
    assert!(
        client
            .ask(&locate(public))
            .unwrap()
            .unique_identifiers
            .is_empty()
    );
}

#[test]
fn faults_happen_when_they_are_due() {
    let server = Server::start(
        Personality::standard(),
        Script::none().at(2, Fault::Fail(ResultReason::GENERAL_FAILURE)),
    );
    let mut client = Client::new(&server, Version::V1_4);
    client.create("first");
    assert_eq!(
        client.refused(&aes("second")),
        ResultReason::GENERAL_FAILURE
    );
    client.create("third");
    assert_eq!(server.objects().len(), 2);

    let frame = encode_request(Version::V1_4, None, &aes("another")).unwrap();
    for (fault, executed) in [
        (Fault::ResetBefore, false),
        (Fault::ResetAfter, true),
        (Fault::ResetWithin, true),
        (Fault::Garbage, true),
    ] {
        let before = server.objects().len();
        server.script(Script::none().at_operation(OperationCode::CREATE, 1, fault.clone()));
        let mut client = Client::new(&server, Version::V1_4);
        client.ask(&QueryRequest::default()).unwrap();
        assert!(client.exchange(frame.expose()).is_err(), "{fault:?}");
        assert_eq!(
            server.objects().len() - before,
            usize::from(executed),
            "{fault:?}"
        );
    }

    server.script(Script::none().at(1, Fault::CloseAfter));
    let mut client = Client::new(&server, Version::V1_4);
    client.create("answered");
    assert!(client.exchange(frame.expose()).is_err());

    server.script(
        Script::none()
            .at(1, Fault::WrongBatchId)
            .at(2, Fault::WrongVersion(Version::V1_2)),
    );
    let mut client = Client::new(&server, Version::V1_4);
    let mut batch = RequestBatch::new(Version::V1_4, None);
    batch.push(&QueryRequest::default());
    let answer = client.exchange(batch.finish().unwrap().expose()).unwrap();
    assert!(
        ResponseMessage::decode(&answer)
            .unwrap()
            .get::<QueryRequest>(0)
            .is_err(),
        "{}",
        dump(&answer)
    );
    let frame = encode_request(Version::V1_4, None, &QueryRequest::default()).unwrap();
    let answer = client.exchange(frame.expose()).unwrap();
    assert_eq!(
        ResponseMessage::decode(&answer)
            .unwrap()
            .header
            .protocol_version,
        Version::V1_2
    );
}

#[test]
fn silence_lasts_and_death_is_final_until_restart() {
    let server = Server::start(
        Personality::standard(),
        Script::none().at(1, Fault::Silence),
    );
    let mut client = Client::new(&server, Version::V1_4);
    client
        .stream
        .sock
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    let frame = encode_request(Version::V1_4, None, &aes("k")).unwrap();
    assert_eq!(
        client.exchange(frame.expose()).unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock
    );

    server.script(Script::none().at(1, Fault::Kill));
    let mut client = Client::new(&server, Version::V1_4);
    assert!(client.exchange(frame.expose()).is_err());
    while TcpStream::connect(server.address()).is_ok() {
        thread::sleep(Duration::from_millis(1));
    }
    server.restart();
    assert_eq!(server.objects().len(), 2);
    Client::new(&server, Version::V1_4).create("after");
    let sibling = server.sibling(Script::none());
    assert_ne!(sibling.port(), server.port());
    assert_eq!(sibling.objects().len(), 3);
}

#[test]
fn only_good_clients_are_heard() {
    let server = Server::start(Personality::standard(), Script::none());
    let frame = encode_request(Version::V1_4, None, &QueryRequest::default()).unwrap();
    for pair in [&server.pki().client_expired, &server.pki().client_other_ca] {
        let refused = Client::with(&server, Version::V1_4, pair)
            .and_then(|mut client| client.exchange(frame.expose()));
        assert!(refused.is_err());
    }
    assert_eq!(server.count(), 0);
    let setup = Setup {
        credential: Some(("me".into(), "secret".into())),
        ..Setup::new(Personality::standard())
    };
    let server = setup.start();
    let mut client = Client::new(&server, Version::V1_4);
    assert_eq!(
        client.refused(&QueryRequest::default()),
        ResultReason::AUTHENTICATION_NOT_SUCCESSFUL
    );
    let authentication =
        message::Authentication::username_password("me", Some(b"secret".to_vec().into()));
    let frame = encode_request(
        Version::V1_4,
        Some(&authentication),
        &QueryRequest::default(),
    )
    .unwrap();
    let answer = client.exchange(frame.expose()).unwrap();
    message::decode_response::<QueryRequest>(&answer).unwrap();
}

#[test]
fn keys_are_replaced_checked_wrapped_and_authenticate() {
    let server = Server::start(Personality::standard(), Script::none());
    let mut client = Client::new(&server, Version::V1_4);
    let uid = client.create("k1");
    let id = |uid: &str| Some(UniqueIdentifier::from(uid));

    let new = client
        .ask(&ReKeyRequest {
            unique_identifier: id(&uid),
            ..ReKeyRequest::default()
        })
        .unwrap()
        .unique_identifier;
    assert_ne!(server.value(&new), server.value(&uid));
    let objects = server.objects();
    assert!(
        objects[0].names.is_empty(),
        "the name goes over to the new key"
    );
    assert_eq!(objects[1].names, ["k1"]);
    assert_eq!(
        objects[0]
            .attributes
            .linked(LinkType::REPLACEMENT_OBJECT_LINK),
        Some(new.as_str())
    );

    let check = |mask| CheckRequest {
        unique_identifier: id(&new),
        cryptographic_usage_mask: Some(mask),
        ..CheckRequest::default()
    };
    assert_eq!(
        client
            .ask(&check(CryptographicUsageMask::ENCRYPT))
            .unwrap()
            .cryptographic_usage_mask,
        None
    );
    assert!(
        client
            .ask(&check(CryptographicUsageMask::SIGN))
            .unwrap()
            .cryptographic_usage_mask
            .is_some()
    );

    let mut kek = aes("kek");
    kek.template_attribute
        .attributes
        .0
        .retain(|attribute| !matches!(attribute.value, AttributeValue::CryptographicUsageMask(_)));
    let masks = CryptographicUsageMask::WRAP_KEY
        | CryptographicUsageMask::MAC_GENERATE
        | CryptographicUsageMask::MAC_VERIFY;
    kek.template_attribute
        .attributes
        .push(AttributeValue::CryptographicUsageMask(masks));
    let kek = client.ask(&kek).unwrap().unique_identifier;
    client.activate(&kek);
    let wrapped = GetRequest {
        unique_identifier: id(&new),
        key_wrapping_specification: Some(KeyWrappingSpecification {
            wrapping_method: WrappingMethod::ENCRYPT,
            encryption_key_information: Some(KeyInformation {
                unique_identifier: kek.as_str().into(),
                cryptographic_parameters: Some(CryptographicParameters {
                    block_cipher_mode: Some(BlockCipherMode::NIST_KEY_WRAP),
                    ..CryptographicParameters::default()
                }),
            }),
            encoding_option: Some(EncodingOption::NO_ENCODING),
            ..KeyWrappingSpecification::default()
        }),
        ..GetRequest::default()
    };
    let got = client.ask(&wrapped).unwrap();
    let Some(KeyValue::Wrapped(bytes)) = &got.object.key_block().unwrap().key_value else {
        panic!("in the clear")
    };
    let kw = mrhsm_pkcs11::crypto::kw::unwrap(
        mrhsm_pkcs11::crypto::kw::Wrapping::Kw,
        &server.value(&kek).unwrap(),
        bytes,
    );
    assert_eq!(kw.unwrap().expose(), server.value(&new).unwrap());

    let data = || Some(b"message".to_vec().into());
    let mac = client
        .ask(&MacRequest {
            unique_identifier: id(&kek),
            data: data(),
            ..MacRequest::default()
        })
        .unwrap()
        .mac_data;
    let verify = |mac_data| MacVerifyRequest {
        unique_identifier: id(&kek),
        data: data(),
        mac_data,
        ..MacVerifyRequest::default()
    };
    assert_eq!(
        client.ask(&verify(mac)).unwrap().validity_indicator,
        Some(ValidityIndicator::VALID)
    );
    assert_eq!(
        client
            .ask(&verify(Some(vec![0; 16])))
            .unwrap()
            .validity_indicator,
        Some(ValidityIndicator::INVALID)
    );
    assert_eq!(
        client
            .ask(&RngRetrieveRequest { data_length: 40 })
            .unwrap()
            .data
            .len(),
        40
    );
    assert_eq!(
        client.refused(&RngRetrieveRequest { data_length: -1 }),
        ResultReason::INVALID_FIELD
    );
}

#[test]
fn set_attribute_sets_whether_it_was_there_or_not() {
    let server = Server::start(Personality::standard(), Script::none());
    let mut client = Client::new(&server, Version::V2_1);
    let uid = client.create("k");
    for text in ["one", "two"] {
        let attribute = AttributeValue::Description(text.into()).into();
        client
            .ask(&SetAttributeRequest {
                unique_identifier: Some(uid.as_str().into()),
                attribute,
            })
            .unwrap();
        assert_eq!(
            server.objects()[0]
                .attributes
                .description()
                .map(String::as_str),
            Some(text)
        );
    }
    let many = AttributeValue::Name("another".into()).into();
    let request = SetAttributeRequest {
        unique_identifier: Some(uid.as_str().into()),
        attribute: many,
    };
    assert_eq!(
        client.refused(&request),
        ResultReason::MULTI_VALUED_ATTRIBUTE
    );
}

/// Whatever arrives, the server answers or hangs up, and goes on.
#[test]
fn nonsense_does_not_stop_the_server() {
    let server = Server::start(Personality::standard(), Script::none());
    let frame = encode_request(Version::V1_4, None, &aes("k")).unwrap();
    let frame = frame.expose();
    for at in (0..frame.len()).step_by(3) {
        let mut broken = frame.to_vec();
        broken[at] ^= 0x55;
        let mut client = Client::new(&server, Version::V1_4);
        client
            .stream
            .sock
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        let _ = client.exchange(&broken);
    }
    Client::new(&server, Version::V1_4).create("alive");
}
