//! Keys that are only kept, and the formats in which keys come back.

use super::*;

fn half(object_type: ObjectType, key_block: KeyBlock) -> ManagedObject {
    match object_type {
        ObjectType::PRIVATE_KEY => ManagedObject::PrivateKey(PrivateKey { key_block }),
        _ => ManagedObject::PublicKey(PublicKey { key_block }),
    }
}

/// A private key in DER (RFC 5958) of an algorithm that has this identifier, without anything in it.
fn pkcs8_of(oid: &[u8]) -> Vec<u8> {
    let algorithm = [&[0x30, oid.len() as u8 + 2, 0x06, oid.len() as u8], oid].concat();
    let content = [&[0x02, 1, 0][..], &algorithm, &[0x04, 2, 0x04, 0]].concat();
    [&[0x30, content.len() as u8], &content[..]].concat()
}

#[test]
fn keys_that_nothing_here_computes_with_are_kept() {
    let server = Server::new();
    let ed448 = pkcs8_of(&[0x2B, 0x65, 0x71]);
    let get = |uid: &str, key_format_type| {
        server.ask(
            Version::V1_4,
            &GetRequest {
                unique_identifier: id(uid),
                key_format_type,
                ..GetRequest::default()
            },
        )
    };
    use KeyFormatType as Format;
    for (object_type, format, algorithm, material) in [
        (
            ObjectType::PRIVATE_KEY,
            Format::PKCS_8,
            CryptographicAlgorithm::ED448,
            ed448.clone(),
        ),
        (
            ObjectType::PUBLIC_KEY,
            Format::X_509,
            CryptographicAlgorithm::DSA,
            b"DER".to_vec(),
        ),
        (
            ObjectType::PRIVATE_KEY,
            Format::RAW,
            CryptographicAlgorithm::RSA,
            b"bytes".to_vec(),
        ),
        (
            ObjectType::PUBLIC_KEY,
            Format::OPAQUE,
            CryptographicAlgorithm::EC,
            b"bytes".to_vec(),
        ),
    ] {
        let block = KeyBlock::of_bytes(format, algorithm, 456, Secret::new(material.clone()));
        let active = usage().with(AttributeValue::ActivationDate(DateTime(1)));
        let uid = server
            .register(Version::V1_4, half(object_type, block), active)
            .unwrap();
        for asked in [None, Some(format)] {
            let object = get(&uid, asked).unwrap().object;
            assert_eq!(
                (object.object_type(), bytes(&object)),
                (object_type, material.clone()),
                "{algorithm} {format}"
            );
            assert_eq!(object.key_block().unwrap().key_format_type, format);
        }
        assert_eq!(
            get(&uid, Some(Format::PKCS_1)).err(),
            Some(ResultReason::KEY_FORMAT_TYPE_NOT_SUPPORTED)
        );
        let sign = SignRequest {
            unique_identifier: id(&uid),
            data: Some(Secret::new(vec![1])),
            ..SignRequest::default()
        };
        assert_eq!(
            server.ask(Version::V1_4, &sign).err(),
            Some(ResultReason::INVALID_FIELD)
        );
    }
    let damaged = KeyBlock::of_bytes(
        Format::PKCS_8,
        CryptographicAlgorithm::RSA,
        2048,
        Secret::new(ed448),
    );
    let damaged = server.register(
        Version::V1_4,
        half(ObjectType::PRIVATE_KEY, damaged),
        usage(),
    );
    assert_eq!(
        damaged.err(),
        Some(ResultReason::INVALID_FIELD),
        "what shall be used must be whole"
    );
}

#[test]
fn a_key_without_a_usage_mask_is_kept_and_used_for_nothing() {
    let server = Server::new();
    for version in Version::ALL {
        let active = || Attributes::new().with(AttributeValue::ActivationDate(DateTime(1)));
        let uid = server
            .register(version, raw_key(&[5; 16]), active())
            .unwrap();
        assert_eq!(server.value(&uid), [5; 16]);
        assert_eq!(
            server.ask(Version::V1_4, &ecb(&uid, &[0; 16])).err(),
            Some(ResultReason::PERMISSION_DENIED)
        );
        let common = active()
            .with(AttributeValue::CryptographicAlgorithm(
                CryptographicAlgorithm::EC,
            ))
            .with(AttributeValue::CryptographicLength(256));
        let request = CreateKeyPairRequest {
            common: Some(common.into()),
            ..CreateKeyPairRequest::default()
        };
        let pair = server.ask(version, &request).unwrap();
        let private = pair.private_key_unique_identifier;
        assert!(!server.value(&private).is_empty());
        let data = Some(Secret::new(vec![1]));
        let sign = SignRequest {
            unique_identifier: id(&private),
            data,
            ..SignRequest::default()
        };
        assert_eq!(
            server.ask(Version::V1_4, &sign).err(),
            Some(ResultReason::PERMISSION_DENIED)
        );
    }
}

/// Key Format Type (spec 2.1, 4.26).
#[test]
fn a_new_key_has_the_format_that_is_asked_for() {
    use KeyFormatType as Format;
    let server = Server::new();
    let format = |uid: &str| {
        let said = server
            .attributes(Version::V2_1, uid, &[Tag::KEY_FORMAT_TYPE])
            .key_format_type()
            .copied();
        let request = GetRequest {
            unique_identifier: id(uid),
            ..GetRequest::default()
        };
        let given = server
            .ask(Version::V2_1, &request)
            .unwrap()
            .object
            .key_block()
            .unwrap()
            .key_format_type;
        assert_eq!(said, Some(given));
        given
    };
    let asked = |format| AttributeValue::KeyFormatType(format);
    let plain = server.create(Version::V2_1, &[]).unwrap();
    let transparent = server
        .create(Version::V2_1, &[asked(Format::TRANSPARENT_SYMMETRIC_KEY)])
        .unwrap();
    assert_eq!(
        (format(&plain), format(&transparent)),
        (Format::RAW, Format::TRANSPARENT_SYMMETRIC_KEY)
    );
    let impossible = server.create(Version::V2_1, &[asked(Format::PKCS_1)]);
    assert_eq!(
        impossible.err(),
        Some(ResultReason::KEY_FORMAT_TYPE_NOT_SUPPORTED)
    );
    let with = |format| Some(Attributes::new().with(asked(format)).into());
    let common = usage()
        .with(AttributeValue::CryptographicAlgorithm(
            CryptographicAlgorithm::RSA,
        ))
        .with(AttributeValue::CryptographicLength(2048));
    let request = CreateKeyPairRequest {
        common: Some(common.into()),
        private_key: with(Format::PKCS_8),
        public_key: with(Format::X_509),
        ..CreateKeyPairRequest::default()
    };
    let pair = server.ask(Version::V2_1, &request).unwrap();
    assert_eq!(format(&pair.private_key_unique_identifier), Format::PKCS_8);
    assert_eq!(format(&pair.public_key_unique_identifier), Format::X_509);
    let attributes = Attributes::new().with(asked(Format::PKCS_8));
    let found = server.locate(
        Version::V2_1,
        &LocateRequest {
            attributes,
            ..LocateRequest::default()
        },
    );
    assert_eq!(found, [pair.private_key_unique_identifier]);
    let set = SetAttributeRequest {
        unique_identifier: id(&plain),
        attribute: asked(Format::OPAQUE).into(),
    };
    assert_eq!(
        server.ask(Version::V2_1, &set).err(),
        Some(ResultReason::ATTRIBUTE_READ_ONLY)
    );
    assert!(
        server
            .attributes(Version::V1_4, &plain, &[Tag::KEY_FORMAT_TYPE])
            .is_empty()
    );
}

#[test]
fn an_hmac_key_of_every_hash_is_made_and_used() {
    use mrhsm_pkcs11::crypto::{Hash, mac};
    let server = Server::new();
    for (algorithm, hash) in [
        (CryptographicAlgorithm::HMAC_SHA1, Hash::Sha1),
        (CryptographicAlgorithm::HMAC_SHA512, Hash::Sha512),
        (CryptographicAlgorithm::HMAC_SHA3_256, Hash::Sha3_256),
    ] {
        let attributes = usage()
            .with(AttributeValue::CryptographicAlgorithm(algorithm))
            .with(AttributeValue::CryptographicLength(256))
            .with(AttributeValue::ActivationDate(DateTime(1)));
        let request = CreateRequest {
            object_type: ObjectType::SYMMETRIC_KEY,
            template_attribute: attributes.into(),
            ..CreateRequest::default()
        };
        let uid = server
            .ask(Version::V1_4, &request)
            .unwrap()
            .unique_identifier;
        let data = Some(Secret::new(b"data".to_vec()));
        let made = server.ask(
            Version::V1_4,
            &MacRequest {
                unique_identifier: id(&uid),
                data,
                ..MacRequest::default()
            },
        );
        let expected = mac::hmac(hash, &server.value(&uid), b"data").unwrap();
        assert_eq!(made.unwrap().mac_data, Some(expected), "{algorithm}");
    }
}
