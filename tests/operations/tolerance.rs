//! Requests that leave out what the specification asks for, or what it lets them leave out.

use mrhsm_pkcs11::crypto::hash;
use mrhsm_pkcs11::crypto::pkey::{self, Scheme};
use mrhsm_pkcs11::crypto::{Hash, mac};
use mrhsm_pkcs11::kmip::OperationCode;
use mrhsm_pkcs11::ttlv::Field;

use super::*;

fn part(uid: &str, data: Option<&[u8]>, ends: [Option<bool>; 2]) -> EncryptRequest {
    EncryptRequest {
        data: data.map(|data| Secret::new(data.to_vec())),
        init_indicator: ends[0],
        final_indicator: ends[1],
        ..ecb(uid, &[])
    }
}

#[test]
fn a_part_that_begins_or_ends_an_operation_needs_no_data() {
    let server = Server::new();
    let uid = server.create(Version::V1_4, &[]).unwrap();
    let whole = server.ask(Version::V1_4, &ecb(&uid, &[7; 16])).unwrap();
    let begun = server
        .ask(Version::V1_4, &part(&uid, None, [Some(true), None]))
        .unwrap();
    assert_eq!(begun.data, None);
    let correlation_value = begun.correlation_value;
    let next = |data: Option<&[u8]>, last| EncryptRequest {
        correlation_value: correlation_value.clone(),
        ..part(&uid, data, [None, last])
    };
    let first = server
        .ask(Version::V1_4, &next(Some(&[7; 10]), None))
        .unwrap();
    assert_eq!(first.data, None);
    let second = server
        .ask(Version::V1_4, &next(Some(&[7; 6]), None))
        .unwrap();
    assert_eq!(second.data, whole.data);
    let end = server.ask(Version::V1_4, &next(None, Some(true))).unwrap();
    assert_eq!((end.data, end.correlation_value), (None, None));
    assert_eq!(
        server.ask(Version::V1_4, &part(&uid, None, [None, None])),
        Err(ResultReason::INVALID_MESSAGE),
        "one request needs Data"
    );
}

#[test]
fn other_operations_in_parts_need_no_data_at_their_ends_either() {
    let server = Server::new();
    let value = [9; 32];
    let attributes = usage().with(AttributeValue::ActivationDate(DateTime(1)));
    let uid = server
        .register(Version::V1_4, raw_key(&value), attributes.clone())
        .unwrap();
    let parameters = CryptographicParameters {
        hashing_algorithm: Some(HashingAlgorithm::SHA_256),
        ..CryptographicParameters::default()
    };
    let mac_part = |data: Option<&[u8]>, correlation_value, init, last| MacRequest {
        unique_identifier: id(&uid),
        cryptographic_parameters: Some(parameters.clone()),
        data: data.map(|data| Secret::new(data.to_vec())),
        correlation_value,
        init_indicator: init,
        final_indicator: last,
    };
    let begun = server
        .ask(Version::V1_4, &mac_part(None, None, Some(true), None))
        .unwrap()
        .correlation_value;
    let middle = mac_part(Some(b"message"), begun.clone(), None, None);
    server.ask(Version::V1_4, &middle).unwrap();
    let end = server
        .ask(Version::V1_4, &mac_part(None, begun, None, Some(true)))
        .unwrap();
    let expected = mac::hmac(Hash::Sha256, &value, b"message").unwrap();
    assert_eq!(end.mac_data, Some(expected));

    let hash_part = |data: Option<&[u8]>, correlation_value, init, last| HashRequest {
        cryptographic_parameters: parameters.clone(),
        data: data.map(|data| Secret::new(data.to_vec())),
        correlation_value,
        init_indicator: init,
        final_indicator: last,
    };
    let begun = server
        .ask(Version::V1_4, &hash_part(None, None, Some(true), None))
        .unwrap()
        .correlation_value;
    let middle = hash_part(Some(b"message"), begun.clone(), None, None);
    server.ask(Version::V1_4, &middle).unwrap();
    let end = server
        .ask(Version::V1_4, &hash_part(None, begun, None, Some(true)))
        .unwrap();
    let expected = hash::digest(Hash::Sha256, b"message").unwrap();
    assert_eq!(end.data, Some(expected));

    let pair = pkey::PrivateKey::generate_ec(mrhsm_pkcs11::crypto::Curve::P256).unwrap();
    let key_block = KeyBlock::of_bytes(
        KeyFormatType::PKCS_8,
        CryptographicAlgorithm::EC,
        256,
        pair.to_pkcs8().unwrap(),
    );
    let private = ManagedObject::PrivateKey(PrivateKey { key_block });
    let private = server.register(Version::V1_4, private, attributes).unwrap();
    let sign_part = |data: Option<&[u8]>, correlation_value, init, last| SignRequest {
        unique_identifier: id(&private),
        cryptographic_parameters: Some(parameters.clone()),
        data: data.map(|data| Secret::new(data.to_vec())),
        correlation_value,
        init_indicator: init,
        final_indicator: last,
        ..SignRequest::default()
    };
    let begun = server
        .ask(Version::V1_4, &sign_part(None, None, Some(true), None))
        .unwrap()
        .correlation_value;
    let middle = sign_part(Some(b"message"), begun.clone(), None, None);
    server.ask(Version::V1_4, &middle).unwrap();
    let end = server
        .ask(Version::V1_4, &sign_part(None, begun, None, Some(true)))
        .unwrap();
    let signature = pkey::ecdsa_from_der(
        mrhsm_pkcs11::crypto::Curve::P256,
        &end.signature_data.unwrap(),
    );
    pair.public()
        .unwrap()
        .verify(Scheme::Ecdsa, &expected_digest(), &signature.unwrap())
        .unwrap();
}

#[test]
fn rsa_does_not_encrypt_in_parts() {
    let server = Server::new();
    let pair = pkey::PrivateKey::generate_rsa(2048, &[1, 0, 1]).unwrap();
    let attributes = usage().with(AttributeValue::ActivationDate(DateTime(1)));
    let block =
        |format, material| KeyBlock::of_bytes(format, CryptographicAlgorithm::RSA, 2048, material);
    let spki = pair.public().unwrap().to_spki().unwrap();
    let public = ManagedObject::PublicKey(PublicKey {
        key_block: block(KeyFormatType::X_509, spki.into()),
    });
    let private = ManagedObject::PrivateKey(PrivateKey {
        key_block: block(KeyFormatType::PKCS_8, pair.to_pkcs8().unwrap()),
    });
    let public = server
        .register(Version::V1_4, public, attributes.clone())
        .unwrap();
    let private = server.register(Version::V1_4, private, attributes).unwrap();
    let parameters = Some(CryptographicParameters {
        padding_method: Some(PaddingMethod::OAEP),
        ..CryptographicParameters::default()
    });
    for data in [None, Some(&[7; 16][..])] {
        let encrypt = EncryptRequest {
            cryptographic_parameters: parameters.clone(),
            ..part(&public, data, [Some(true), None])
        };
        let decrypt = DecryptRequest {
            unique_identifier: id(&private),
            cryptographic_parameters: parameters.clone(),
            data: data.map(<[u8]>::to_vec),
            init_indicator: Some(true),
            ..DecryptRequest::default()
        };
        let reason = ResultReason::FEATURE_NOT_SUPPORTED;
        assert_eq!(server.ask(Version::V1_4, &encrypt), Err(reason));
        assert_eq!(server.ask(Version::V1_4, &decrypt), Err(reason));
    }
}

fn expected_digest() -> Vec<u8> {
    hash::digest(Hash::Sha256, b"message").unwrap()
}

#[test]
fn a_key_without_usage_mask_is_created_and_only_kept() {
    let server = Server::new();
    for version in [Version::V1_0, Version::V1_4, Version::V2_1] {
        let attributes = Attributes::new()
            .with(AttributeValue::CryptographicAlgorithm(
                CryptographicAlgorithm::AES,
            ))
            .with(AttributeValue::CryptographicLength(128))
            .with(AttributeValue::ActivationDate(DateTime(1)));
        let request = CreateRequest {
            object_type: ObjectType::SYMMETRIC_KEY,
            template_attribute: attributes.into(),
            protection_storage_masks: None,
        };
        let uid = server.ask(version, &request).unwrap().unique_identifier;
        assert_eq!(server.value(&uid).len(), 16);
        assert!(server.ask(Version::V1_4, &ecb(&uid, &[0; 16])).is_err());
    }
}

#[test]
fn locate_without_attributes_finds_everything() {
    let server = Server::new();
    let uid = server.create(Version::V1_4, &[]).unwrap();
    for version in [Version::V1_0, Version::V2_0, Version::V2_1] {
        // Not even an empty structure.
        let mut writer = Writer::new(version);
        writer.structure(Tag::REQUEST_MESSAGE, |w| {
            w.structure(Tag::REQUEST_HEADER, |w| {
                version.encode(Tag::PROTOCOL_VERSION, w);
                w.integer(Tag::BATCH_COUNT, 1);
            });
            w.structure(Tag::BATCH_ITEM, |w| {
                OperationCode::LOCATE.encode(Tag::OPERATION, w);
                w.structure(Tag::REQUEST_PAYLOAD, |_| {});
            });
        });
        let frame = writer.finish().unwrap();
        let answer = server.raw(&client(), frame.expose());
        let found = decode_response::<LocateRequest>(answer.expose()).unwrap();
        assert_eq!(found.unique_identifiers, [uid.as_str()], "{version}");
    }
}

#[test]
fn a_compromise_without_a_date_occurred_at_the_initial_date() {
    let server = Server::new();
    for version in [Version::V1_0, Version::V1_2, Version::V1_4, Version::V2_1] {
        for code in [
            RevocationReasonCode::KEY_COMPROMISE,
            RevocationReasonCode::CA_COMPROMISE,
        ] {
            let uid = server.create(version, &[]).unwrap();
            let revoke = RevokeRequest {
                unique_identifier: id(&uid),
                revocation_reason: RevocationReason {
                    revocation_reason_code: code,
                    revocation_message: None,
                },
                compromise_occurrence_date: None,
            };
            server.ask(version, &revoke).unwrap();
            let all = server.attributes(version, &uid, &[]);
            assert_eq!(all.state(), Some(&State::COMPROMISED), "{version}");
            assert_eq!(all.compromise_occurrence_date(), all.initial_date());
        }
    }
}

#[test]
fn usage_limits_without_a_total_allow_as_many_uses_as_they_count() {
    let server = Server::new();
    let limits = |tag, value| {
        let unit = Field {
            tag: Tag::USAGE_LIMITS_UNIT,
            value: Value::Enumeration(UsageLimitsUnit::OBJECT.0),
        };
        let count = Field { tag, value };
        AttributeValue::Other(Tag::USAGE_LIMITS, Value::Structure(vec![count, unit]))
    };
    for version in [Version::V1_0, Version::V1_4, Version::V2_1] {
        let two = limits(Tag::USAGE_LIMITS_COUNT, Value::LongInteger(2));
        let uid = server.create(version, &[two]).unwrap();
        let all = server.attributes(version, &uid, &[Tag::USAGE_LIMITS]);
        let kept = all.usage_limits().unwrap();
        assert_eq!(kept.usage_limits_total, 2);
        let encrypt = || server.ask(Version::V1_4, &ecb(&uid, &[0; 16])).map(drop);
        assert_eq!(encrypt(), Ok(()));
        assert_eq!(encrypt(), Ok(()));
        assert_eq!(encrypt(), Err(ResultReason::PERMISSION_DENIED));
        let neither = limits(Tag::USAGE_LIMITS_TOTAL, Value::Integer(2));
        assert_eq!(
            server.create(version, &[neither]),
            Err(ResultReason::INVALID_FIELD),
            "a total of another type"
        );
    }
}

#[test]
fn a_private_key_is_given_as_pkcs_12_with_its_certificates() {
    use p12_keystore::{KeyStore, Pkcs12ImportPolicy};
    let server = Server::new();
    let link = |link_type, uid: &str| {
        AttributeValue::Link(Link {
            link_type,
            linked_object_identifier: uid.into(),
        })
    };
    let pair = rcgen::KeyPair::generate().unwrap();
    let der = rcgen::CertificateParams::new(vec!["host.example".to_owned()])
        .unwrap()
        .self_signed(&pair)
        .unwrap()
        .der()
        .to_vec();
    let certificate = ManagedObject::Certificate(Certificate {
        certificate_type: CertificateType::X_509,
        certificate_value: der.clone(),
    });
    let certificate = server
        .register(Version::V1_4, certificate, Attributes::new())
        .unwrap();
    let password = ManagedObject::SecretData(SecretData {
        secret_data_type: SecretDataType::PASSWORD,
        key_block: KeyBlock {
            key_format_type: KeyFormatType::OPAQUE,
            key_value: Some(KeyValue::bytes(Secret::new(b"password".to_vec()))),
            ..KeyBlock::default()
        },
    });
    let password = server.register(Version::V1_4, password, usage()).unwrap();
    let register = |attributes: Attributes| {
        let key_block = KeyBlock::of_bytes(
            KeyFormatType::PKCS_8,
            CryptographicAlgorithm::EC,
            256,
            Secret::new(pair.serialize_der()),
        );
        let private = ManagedObject::PrivateKey(PrivateKey { key_block });
        server.register(Version::V1_4, private, attributes).unwrap()
    };
    let get = |uid: &str| {
        let request = GetRequest {
            unique_identifier: id(uid),
            key_format_type: Some(KeyFormatType::PKCS_12),
            ..GetRequest::default()
        };
        server.ask(Version::V1_4, &request)
    };
    let with_password = usage().with(link(LinkType::PKCS_12_PASSWORD_LINK, &password));
    let whole = register(
        with_password
            .clone()
            .with(link(LinkType::PKCS_12_CERTIFICATE_LINK, &certificate)),
    );
    let object = get(&whole).unwrap().object;
    let block = object.key_block().unwrap();
    assert_eq!(block.key_format_type, KeyFormatType::PKCS_12);
    let Some(KeyValue::Wrapped(file)) = &block.key_value else {
        panic!("no byte string")
    };
    let store = KeyStore::from_pkcs12(file, "password", Pkcs12ImportPolicy::Strict).unwrap();
    let (_, chain) = store.private_key_chain().unwrap();
    assert_eq!(chain.key().as_der(), pair.serialize_der());
    assert_eq!(chain.certs()[0].as_der(), der);
    assert!(KeyStore::from_pkcs12(file, "wrong", Pkcs12ImportPolicy::Strict).is_err());

    let refused = |uid: &str| get(uid).map(drop).unwrap_err();
    assert_eq!(refused(&register(usage())), ResultReason::INVALID_FIELD);
    let sensitive = register(with_password.with(AttributeValue::Sensitive(true)));
    assert_eq!(refused(&sensitive), ResultReason::SENSITIVE);
    let symmetric = server.create(Version::V1_4, &[]).unwrap();
    assert_eq!(
        refused(&symmetric),
        ResultReason::KEY_FORMAT_TYPE_NOT_SUPPORTED
    );
}
