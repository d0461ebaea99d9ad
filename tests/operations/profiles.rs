//! What the cases of KMIP 2.1's profiles ask beyond those of 1.x, and what it means in earlier versions.

use mrhsm_pkcs11::crypto::pkey::PrivateKey;
use mrhsm_pkcs11::kmip;

use super::*;

fn refused_from(
    version: Version,
    since: Version,
    before: ResultReason,
    then: ResultReason,
) -> Option<ResultReason> {
    Some(if version >= since { then } else { before })
}

/// Nothing here computes with DSA: its numbers are kept, also over a restart.
#[test]
fn transparent_keys_of_other_algorithms_are_kept() {
    let number = |byte: u8| Some(BigInteger::from_unsigned(&[byte; 64]));
    let numbers = || TransparentKey {
        p: number(3),
        q: number(5),
        g: number(7),
        x: number(9),
        ..TransparentKey::default()
    };
    let key_block = KeyBlock {
        key_format_type: KeyFormatType::TRANSPARENT_DSA_PRIVATE_KEY,
        key_value: Some(KeyValue::Plain(PlainKeyValue {
            key_material: KeyMaterial::Transparent(Box::new(numbers())),
            attributes: None,
        })),
        cryptographic_algorithm: Some(CryptographicAlgorithm::DSA),
        cryptographic_length: Some(512),
        ..KeyBlock::default()
    };
    let key = ManagedObject::PrivateKey(kmip::PrivateKey { key_block });
    let server = Server::new();
    let uid = server.register(Version::V2_1, key, usage()).unwrap();
    let server = server.again();
    for version in Version::ALL {
        let got = server
            .ask(
                version,
                &GetRequest {
                    unique_identifier: id(&uid),
                    ..GetRequest::default()
                },
            )
            .unwrap();
        let block = got.object.key_block().unwrap();
        assert_eq!(
            block.key_format_type,
            KeyFormatType::TRANSPARENT_DSA_PRIVATE_KEY
        );
        assert_eq!(
            (block.cryptographic_algorithm, block.cryptographic_length),
            (Some(CryptographicAlgorithm::DSA), Some(512))
        );
        let Some(KeyValue::Plain(plain)) = &block.key_value else {
            panic!("{block:?}")
        };
        assert_eq!(
            plain.key_material,
            KeyMaterial::Transparent(Box::new(numbers())),
            "{version}"
        );
    }
}

#[test]
fn a_secret_comes_back_in_the_format_it_came_in() {
    for format in [KeyFormatType::RAW, KeyFormatType::OPAQUE] {
        let key_block = KeyBlock {
            key_format_type: format,
            key_value: Some(KeyValue::bytes(Secret::new(b"password".to_vec()))),
            ..KeyBlock::default()
        };
        let secret = ManagedObject::SecretData(SecretData {
            secret_data_type: SecretDataType::PASSWORD,
            key_block,
        });
        let server = Server::new();
        let uid = server.register(Version::V1_4, secret, usage()).unwrap();
        let server = server.again();
        let got = server
            .ask(
                Version::V1_4,
                &GetRequest {
                    unique_identifier: id(&uid),
                    ..GetRequest::default()
                },
            )
            .unwrap();
        assert_eq!(got.object.key_block().unwrap().key_format_type, format);
        assert_eq!(bytes(&got.object), b"password");
    }
}

#[test]
fn an_object_has_a_name_once() {
    let server = Server::new();
    for version in Version::ALL {
        let uid = server.create(version, &[name("its name")]).unwrap();
        let add = |text: &str| {
            let attribute = Attribute::from(name(text));
            server
                .ask(
                    version,
                    &AddAttributeRequest {
                        unique_identifier: id(&uid),
                        attribute,
                    },
                )
                .err()
        };
        let (before, then) = (
            ResultReason::ILLEGAL_OPERATION,
            ResultReason::NON_UNIQUE_NAME_ATTRIBUTE,
        );
        assert_eq!(
            add("its name"),
            refused_from(version, Version::V2_0, before, then),
            "{version}"
        );
        assert_eq!(add("another name"), None, "{version}");
    }
}

#[test]
fn what_is_not_there_has_a_reason_of_its_own() {
    let server = Server::new();
    for version in Version::ALL {
        let uid = server
            .register(version, raw_key(&[7; 16]), usage())
            .unwrap();
        let get = |uid: &str| {
            server
                .ask(
                    version,
                    &GetRequest {
                        unique_identifier: id(uid),
                        ..GetRequest::default()
                    },
                )
                .err()
        };
        let since_2_1 =
            |then| refused_from(version, Version::V2_1, ResultReason::ITEM_NOT_FOUND, then);
        assert_eq!(
            get("nobody's"),
            since_2_1(ResultReason::OBJECT_NOT_FOUND),
            "{version}"
        );
        server
            .ask(
                version,
                &DestroyRequest {
                    unique_identifier: id(&uid),
                },
            )
            .unwrap();
        assert_eq!(
            get(&uid),
            since_2_1(ResultReason::OBJECT_DESTROYED),
            "{version}"
        );
    }
}

/// Before 2.0 the answer to Check says what is allowed; then it is refused.
#[test]
fn a_use_that_is_not_allowed_does_not_pass_a_check() {
    let server = Server::new();
    let encrypts = Attributes::new().with(AttributeValue::CryptographicUsageMask(
        CryptographicUsageMask::ENCRYPT,
    ));
    for version in Version::ALL {
        let uid = server
            .register(version, raw_key(&[7; 16]), encrypts.clone())
            .unwrap();
        let check = |mask| {
            let request = CheckRequest {
                unique_identifier: id(&uid),
                cryptographic_usage_mask: Some(mask),
                ..CheckRequest::default()
            };
            server
                .ask(version, &request)
                .map(|answer| answer.cryptographic_usage_mask)
        };
        assert_eq!(check(CryptographicUsageMask::ENCRYPT), Ok(None));
        let refused = match version.typed_attributes() {
            true => Err(ResultReason::INCOMPATIBLE_CRYPTOGRAPHIC_USAGE_MASK),
            false => Ok(Some(CryptographicUsageMask::ENCRYPT)),
        };
        assert_eq!(check(CryptographicUsageMask::DECRYPT), refused, "{version}");
    }
}

#[test]
fn keys_that_shall_withstand_quantum_computers_are_long() {
    let server = Server::new();
    let create = |bits| {
        let attributes: Attributes = [
            AttributeValue::CryptographicAlgorithm(CryptographicAlgorithm::AES),
            AttributeValue::CryptographicLength(bits),
            AttributeValue::CryptographicUsageMask(CryptographicUsageMask::ENCRYPT),
            AttributeValue::QuantumSafe(true),
        ]
        .into_iter()
        .collect();
        let object_type = ObjectType::SYMMETRIC_KEY;
        let request = CreateRequest {
            object_type,
            template_attribute: attributes.into(),
            ..CreateRequest::default()
        };
        server.ask(Version::V2_1, &request).map(drop)
    };
    assert_eq!(create(128), Err(ResultReason::GENERAL_FAILURE));
    assert_eq!(create(256), Ok(()));
}

/// Spec 2.1, 4.56: made of the identifier, of 32 bytes.
#[test]
fn every_object_has_a_short_unique_identifier_since_2_1() {
    let server = Server::new();
    let [first, second] = [1, 2].map(|byte| {
        server
            .register(Version::V2_1, raw_key(&[byte; 16]), usage())
            .unwrap()
    });
    let short = |version, uid: &str| {
        let all = server.ask(
            version,
            &GetAttributesRequest {
                unique_identifier: id(uid),
                attribute_names: Vec::new(),
            },
        );
        all.unwrap().attributes.short_unique_identifier().cloned()
    };
    assert_eq!(short(Version::V2_1, &first).unwrap().len(), 32);
    assert_ne!(short(Version::V2_1, &first), short(Version::V2_1, &second));
    assert_eq!(short(Version::V2_0, &first), None);
}

#[test]
fn what_a_certificate_says_of_itself_cannot_be_changed() {
    let server = Server::new();
    let certified = rcgen::generate_simple_self_signed(vec!["somebody".to_owned()]).unwrap();
    for version in Version::ALL
        .into_iter()
        .filter(|version| *version >= Version::V1_1)
    {
        let certificate = Certificate {
            certificate_type: CertificateType::X_509,
            certificate_value: certified.cert.der().to_vec(),
        };
        let uid = server
            .register(version, ManagedObject::Certificate(certificate), usage())
            .unwrap();
        let attribute = Attribute::from(AttributeValue::CertificateLength(1));
        let request = ModifyAttributeRequest {
            unique_identifier: id(&uid),
            attribute,
            current_attribute: None,
        };
        let (before, then) = (
            ResultReason::PERMISSION_DENIED,
            ResultReason::ATTRIBUTE_READ_ONLY,
        );
        assert_eq!(
            server.ask(version, &request).err(),
            refused_from(version, Version::V2_0, before, then),
            "{version}"
        );
        let length = server
            .attributes(version, &uid, &[Tag::CERTIFICATE_LENGTH])
            .certificate_length()
            .copied();
        assert_eq!(length, Some(certified.cert.der().len() as i32), "{version}");
    }
}

#[test]
fn the_date_of_an_activation_that_was_stays() {
    let server = Server::new();
    for version in Version::ALL {
        let uid = server.create(version, &[]).unwrap();
        // Another one, and the one that it was.
        for date in [2, 1] {
            let attribute = Attribute::from(AttributeValue::ActivationDate(DateTime(date)));
            let request = ModifyAttributeRequest {
                unique_identifier: id(&uid),
                attribute,
                current_attribute: None,
            };
            let (before, then) = (
                ResultReason::PERMISSION_DENIED,
                ResultReason::WRONG_KEY_LIFECYCLE_STATE,
            );
            assert_eq!(
                server.ask(version, &request).err(),
                refused_from(version, Version::V2_0, before, then),
                "{version}"
            );
        }
    }
}

/// Of an RSA key's numbers the modulus and the private exponent are enough where the others follow from them.
#[test]
fn transparent_keys_come_with_fewer_numbers() {
    let server = Server::new();
    let pair = PrivateKey::generate_rsa(2048, &[1, 0, 1]).unwrap();
    let parts = pair.rsa_parts().unwrap();
    let number = |bytes: &[u8]| Some(BigInteger::from_unsigned(bytes));
    let numbers = TransparentKey {
        modulus: number(&parts.modulus),
        private_exponent: number(parts.private_exponent.expose()),
        public_exponent: number(&parts.public_exponent),
        ..TransparentKey::default()
    };
    let key_block = KeyBlock {
        key_format_type: KeyFormatType::TRANSPARENT_RSA_PRIVATE_KEY,
        key_value: Some(KeyValue::Plain(PlainKeyValue {
            key_material: KeyMaterial::Transparent(Box::new(numbers)),
            attributes: None,
        })),
        cryptographic_algorithm: Some(CryptographicAlgorithm::RSA),
        cryptographic_length: Some(2048),
        ..KeyBlock::default()
    };
    let key = ManagedObject::PrivateKey(kmip::PrivateKey { key_block });
    let uid = server.register(Version::V1_4, key, usage()).unwrap();
    let key_format_type = Some(KeyFormatType::PKCS_8);
    let request = GetRequest {
        unique_identifier: id(&uid),
        key_format_type,
        ..GetRequest::default()
    };
    assert_eq!(
        bytes(&server.ask(Version::V1_4, &request).unwrap().object),
        pair.to_pkcs8().unwrap().expose()
    );
}
