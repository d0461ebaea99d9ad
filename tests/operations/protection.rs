//! Sensitive and Extractable hold against everything that an owner can ask.

use mrhsm_pkcs11::crypto::kw::{self, Wrapping};

use super::*;

const VALUE: [u8; 32] = [0x5A; 32];
const KNOWN: [u8; 32] = [3; 32];
/// Versions that have the flags.
const NEW: [Version; 3] = [Version::V1_4, Version::V2_0, Version::V2_1];

fn mask(bits: &[CryptographicUsageMask]) -> AttributeValue {
    let bits = bits.iter().fold(0, |all, bit| all | bit.0);
    AttributeValue::CryptographicUsageMask(CryptographicUsageMask(bits))
}

fn active(bits: &[CryptographicUsageMask]) -> Attributes {
    Attributes::new()
        .with(mask(bits))
        .with(AttributeValue::ActivationDate(DateTime(1)))
}

fn registered(server: &Server, value: &[u8], attributes: Attributes) -> String {
    server
        .register(Version::V2_1, raw_key(value), attributes)
        .unwrap()
}

/// Keys that must not leave: each with one of the flags.
fn protections() -> [AttributeValue; 2] {
    [
        AttributeValue::Sensitive(true),
        AttributeValue::Extractable(false),
    ]
}

fn get(server: &Server, uid: &str) -> Result<Vec<u8>, ResultReason> {
    let request = GetRequest {
        unique_identifier: id(uid),
        ..GetRequest::default()
    };
    let plain = server.ask(Version::V1_0, &request);
    plain.map(|answer| bytes(&answer.object))
}

fn flags(server: &Server, uid: &str) -> (bool, bool, bool, bool) {
    let names = [
        Tag::SENSITIVE,
        Tag::EXTRACTABLE,
        Tag::ALWAYS_SENSITIVE,
        Tag::NEVER_EXTRACTABLE,
    ];
    let all = server.attributes(Version::V2_1, uid, &names);
    (
        all.sensitive() == Some(&true),
        all.extractable() != Some(&false),
        all.always_sensitive() == Some(&true),
        all.never_extractable() == Some(&true),
    )
}

fn refused<T>(outcome: Result<T, ResultReason>) -> ResultReason {
    match outcome {
        Ok(_) => panic!("it was done"),
        Err(reason) => reason,
    }
}

#[test]
fn the_flags_change_in_one_direction_only() {
    let server = Server::new();
    for version in NEW.into_iter().chain([Version::V1_0]) {
        for (strict, loose) in [
            (
                AttributeValue::Sensitive(true),
                AttributeValue::Sensitive(false),
            ),
            (
                AttributeValue::Extractable(false),
                AttributeValue::Extractable(true),
            ),
        ] {
            let uid = registered(&server, &VALUE, usage().with(strict.clone()));
            let name = strict.name();
            let AttributeName::Standard(tag) = name.clone() else {
                unreachable!()
            };
            let mistyped = AttributeValue::Other(tag, Value::Integer(0));
            let comment = AttributeValue::Comment("harmless".into());
            let set = |value: &AttributeValue| {
                server.ask(
                    version,
                    &SetAttributeRequest {
                        unique_identifier: id(&uid),
                        attribute: value.clone().into(),
                    },
                )
            };
            let modify = |value: &AttributeValue, current: Option<&AttributeValue>| {
                server.ask(
                    version,
                    &ModifyAttributeRequest {
                        unique_identifier: id(&uid),
                        attribute: value.clone().into(),
                        current_attribute: current.map(|current| current.clone().into()),
                    },
                )
            };
            let delete = |request: DeleteAttributeRequest| {
                server.ask(
                    version,
                    &DeleteAttributeRequest {
                        unique_identifier: id(&uid),
                        ..request
                    },
                )
            };
            for value in [&loose, &mistyped] {
                refused(modify(value, None));
                refused(server.ask(
                    version,
                    &AddAttributeRequest {
                        unique_identifier: id(&uid),
                        attribute: value.clone().into(),
                    },
                ));
            }
            refused(delete(DeleteAttributeRequest {
                attribute_name: Some(name.clone()),
                ..Default::default()
            }));
            if version.typed_attributes() {
                for value in [&loose, &mistyped] {
                    refused(set(value));
                }
                refused(modify(&comment, Some(&strict)));
                refused(modify(&loose, Some(&strict)));
                refused(delete(DeleteAttributeRequest {
                    current_attribute: Some(strict.clone().into()),
                    ..Default::default()
                }));
                refused(server.ask(
                    version,
                    &AdjustAttributeRequest {
                        unique_identifier: id(&uid),
                        attribute_reference: name,
                        adjustment_type: AdjustmentType::NEGATE,
                        adjustment_value: None,
                    },
                ));
            }
            modify(&strict, None).unwrap();
            refused(get(&server, &uid));
        }
    }
    // The other direction is open, and the history of an object is told.
    let uid = registered(&server, &VALUE, usage());
    assert_eq!(get(&server, &uid).unwrap(), VALUE);
    for strict in protections() {
        let request = AddAttributeRequest {
            unique_identifier: id(&uid),
            attribute: strict.into(),
        };
        server.ask(Version::V1_4, &request).unwrap();
    }
    assert_eq!(flags(&server, &uid), (true, false, false, false));
    refused(get(&server, &uid));
}

fn derive(
    server: &Server,
    uids: &[&str],
    method: DerivationMethod,
    bits: i32,
    data: &[u8],
) -> Result<String, ResultReason> {
    let attributes = active(&[CryptographicUsageMask::MAC_GENERATE])
        .with(AttributeValue::CryptographicAlgorithm(
            CryptographicAlgorithm::AES,
        ))
        .with(AttributeValue::CryptographicLength(bits))
        .with(AttributeValue::Sensitive(false))
        .with(AttributeValue::Extractable(true));
    let request = DeriveKeyRequest {
        object_type: ObjectType::SYMMETRIC_KEY,
        unique_identifiers: uids.iter().map(|uid| (*uid).into()).collect(),
        derivation_method: method,
        derivation_parameters: DerivationParameters {
            cryptographic_parameters: Some(CryptographicParameters {
                block_cipher_mode: (method == DerivationMethod::ENCRYPT)
                    .then_some(BlockCipherMode::ECB),
                ..CryptographicParameters::default()
            }),
            derivation_data: (!data.is_empty())
                .then(|| Secret::new(data.to_vec()))
                .into_iter()
                .collect(),
            salt: Some(b"salt".to_vec()),
            iteration_count: Some(2),
            ..DerivationParameters::default()
        },
        template_attribute: attributes.into(),
    };
    server
        .ask(Version::V1_4, &request)
        .map(|answer| answer.unique_identifier)
}

const METHODS: [DerivationMethod; 6] = [
    DerivationMethod::ENCRYPT,
    DerivationMethod::HASH,
    DerivationMethod::HMAC,
    DerivationMethod::PBKDF2,
    DerivationMethod::HKDF,
    DerivationMethod::NIST800_108_C,
];

#[test]
fn what_is_derived_tells_nothing_of_a_protected_key() {
    use CryptographicUsageMask as Use;
    let server = Server::new();
    let known = registered(&server, &KNOWN, active(&[Use::DERIVE_KEY, Use::ENCRYPT]));
    for protection in protections() {
        let only_derives = active(&[Use::DERIVE_KEY]).with(protection.clone());
        let victim = registered(&server, &VALUE, only_derives);
        for method in METHODS {
            // As data, and as the base: what comes of it is as protected.
            let of_victim = |uids: &[&str], bits| derive(&server, uids, method, bits, &[1; 16]);
            for uids in [&[&*known, &*victim][..], &[&*victim], &[&*victim, &*known]] {
                match of_victim(uids, 128) {
                    Err(_) => assert!(method == DerivationMethod::ENCRYPT && uids[0] == known),
                    Ok(derived) => {
                        refused(get(&server, &derived));
                        let is = flags(&server, &derived);
                        let was = flags(&server, &victim);
                        assert_eq!((is.0, is.1), (was.0, was.1), "{method}");
                    }
                }
                // Byte by byte it could be tried.
                for bits in [8, 16, 104] {
                    refused(of_victim(uids, bits));
                }
            }
        }
        // The digest of a value is an attribute of it.
        refused(derive(
            &server,
            &[&victim],
            DerivationMethod::HASH,
            256,
            b"",
        ));
        refused(derive(
            &server,
            &[&known, &victim],
            DerivationMethod::HASH,
            256,
            b"",
        ));
        // Whoever may encrypt or make MACs with the base computes what is derived from it.
        let both = |usage| {
            let attributes = active(&[Use::DERIVE_KEY, usage]).with(protection.clone());
            registered(&server, &VALUE, attributes)
        };
        for (usage, methods) in [
            (Use::ENCRYPT, &METHODS[..1]),
            (Use::DECRYPT, &METHODS[..1]),
            (Use::MAC_GENERATE, &[METHODS[2], METHODS[3], METHODS[5]][..]),
        ] {
            let base = both(usage);
            for method in METHODS {
                let outcome = derive(&server, &[&base], method, 128, &[1; 16]);
                assert_eq!(outcome.is_err(), methods.contains(&method), "{method}");
            }
        }
    }
    // A key that may leave is derived from as ever.
    for method in METHODS {
        let derived = derive(&server, &[&known, &known], method, 8, &[1; 16]).unwrap();
        assert_eq!(get(&server, &derived).unwrap().len(), 1);
    }
}

#[test]
fn parts_of_a_sensitive_key_make_no_other() {
    use CryptographicUsageMask as Use;
    let server = Server::new();
    let split = |uid: Option<&str>, method, threshold, more: Attributes| {
        let request = CreateSplitKeyRequest {
            object_type: ObjectType::SPLIT_KEY,
            unique_identifier: uid.map(Into::into),
            split_key_parts: 3,
            split_key_threshold: threshold,
            split_key_method: method,
            template_attribute: Some(more.into()),
            ..CreateSplitKeyRequest::default()
        };
        server
            .ask(Version::V1_4, &request)
            .map(|answer| answer.unique_identifiers)
    };
    let join = |uids: &[String], more: Attributes| {
        let request = JoinSplitKeyRequest {
            object_type: ObjectType::SYMMETRIC_KEY,
            unique_identifiers: uids.iter().map(|uid| uid.as_str().into()).collect(),
            template_attribute: Some(more.into()),
            ..JoinSplitKeyRequest::default()
        };
        server
            .ask(Version::V1_4, &request)
            .map(|answer| answer.unique_identifier)
    };
    let open = || {
        Attributes::new()
            .with(AttributeValue::Sensitive(false))
            .with(AttributeValue::Extractable(true))
    };
    let sensitive = || active(&[Use::ENCRYPT]).with(AttributeValue::Sensitive(true));
    let victim = registered(&server, &VALUE, sensitive());
    for (method, threshold) in [
        (SplitKeyMethod::XOR, 3),
        (SplitKeyMethod::POLYNOMIAL_SHARING_GF_2_8, 1),
    ] {
        let parts = split(Some(&victim), method, threshold, open()).unwrap();
        for part in &parts {
            let request = GetRequest {
                unique_identifier: id(part),
                ..GetRequest::default()
            };
            assert_eq!(
                server.ask(Version::V1_2, &request).err(),
                Some(ResultReason::SENSITIVE)
            );
        }
        let joined = join(&parts, open()).unwrap();
        refused(get(&server, &joined));
        // Neither way adds a use.
        refused(join(&parts, open().with(mask(&[Use::DECRYPT]))));
        refused(split(
            Some(&victim),
            method,
            threshold,
            open().with(mask(&[Use::DECRYPT])),
        ));
    }
    for protected in [
        sensitive().with(AttributeValue::Extractable(false)),
        sensitive().with(AttributeValue::UsageLimits(UsageLimits {
            usage_limits_total: 1,
            usage_limits_count: None,
            usage_limits_unit: UsageLimitsUnit::OBJECT,
        })),
    ] {
        let uid = registered(&server, &VALUE, protected);
        refused(split(Some(&uid), SplitKeyMethod::XOR, 3, open()));
    }
    // One protected part is enough, whatever it is joined with.
    let bits = AttributeValue::CryptographicLength(128);
    let own = split(None, SplitKeyMethod::XOR, 3, open().with(bits.clone())).unwrap();
    let strict = AttributeValue::Sensitive(true);
    let theirs = split(
        None,
        SplitKeyMethod::XOR,
        3,
        Attributes::new().with(bits).with(strict),
    )
    .unwrap();
    let mixed = [own[0].clone(), own[1].clone(), theirs[2].clone()];
    refused(get(&server, &join(&mixed, open()).unwrap()));
    assert!(get(&server, &join(&own, open()).unwrap()).is_ok());
}

#[test]
fn what_replaces_a_protected_key_is_protected() {
    let server = Server::new();
    let open = || {
        Attributes::new()
            .with(AttributeValue::Sensitive(false))
            .with(AttributeValue::Extractable(true))
    };
    for protection in protections() {
        let victim = registered(&server, &VALUE, usage().with(protection.clone()));
        let request = ReKeyRequest {
            unique_identifier: id(&victim),
            template_attribute: Some(open().into()),
            ..ReKeyRequest::default()
        };
        let new = server.ask(Version::V1_4, &request).unwrap();
        refused(get(&server, &new.unique_identifier));

        let import = ImportRequest {
            unique_identifier: victim.as_str().into(),
            object_type: Some(ObjectType::SYMMETRIC_KEY),
            replace_existing: Some(true),
            key_wrap_type: None,
            attributes: open().with(usage().0[0].value.clone()),
            object: raw_key(&KNOWN),
        };
        server.ask(Version::V2_1, &import).unwrap();
        refused(get(&server, &victim));

        let common = open()
            .with(AttributeValue::CryptographicAlgorithm(
                CryptographicAlgorithm::EC,
            ))
            .with(AttributeValue::CryptographicLength(256));
        let pair = CreateKeyPairRequest {
            private_key: Some(Attributes::new().with(protection.clone()).into()),
            common: Some(Attributes::from_iter(common.iter().skip(2).cloned()).into()),
            ..CreateKeyPairRequest::default()
        };
        let private = server
            .ask(Version::V1_4, &pair)
            .unwrap()
            .private_key_unique_identifier;
        let request = ReKeyKeyPairRequest {
            private_key_unique_identifier: id(&private),
            private_key: Some(open().into()),
            ..ReKeyKeyPairRequest::default()
        };
        let new = server.ask(Version::V1_4, &request).unwrap();
        refused(get(&server, &new.private_key_unique_identifier));
    }
}

fn wrapped_get(server: &Server, uid: &str, kek: &str) -> Result<GetResponse, ResultReason> {
    let request = GetRequest {
        unique_identifier: id(uid),
        key_wrapping_specification: Some(KeyWrappingSpecification {
            wrapping_method: WrappingMethod::ENCRYPT,
            encryption_key_information: Some(information(kek)),
            encoding_option: Some(EncodingOption::NO_ENCODING),
            ..KeyWrappingSpecification::default()
        }),
        ..GetRequest::default()
    };
    server.ask(Version::V1_4, &request)
}

fn information(kek: &str) -> KeyInformation {
    KeyInformation {
        unique_identifier: kek.into(),
        cryptographic_parameters: Some(CryptographicParameters {
            block_cipher_mode: Some(BlockCipherMode::NIST_KEY_WRAP),
            ..CryptographicParameters::default()
        }),
    }
}

#[test]
fn a_sensitive_key_is_wrapped_under_sensitive_keys_only() {
    use CryptographicUsageMask as Use;
    let server = Server::new();
    let sensitive = |value: &[u8], bits: &[Use]| {
        registered(
            &server,
            value,
            active(bits).with(AttributeValue::Sensitive(true)),
        )
    };
    let victim = sensitive(&VALUE, &[Use::ENCRYPT]);
    let open_kek = registered(&server, &KNOWN, active(&[Use::WRAP_KEY]));
    assert_eq!(
        refused(wrapped_get(&server, &victim, &open_kek)),
        ResultReason::SENSITIVE
    );
    let kek = sensitive(&KNOWN, &[Use::WRAP_KEY, Use::UNWRAP_KEY]);
    let answer = wrapped_get(&server, &victim, &kek).unwrap();
    let wrapped = match &answer.object.key_block().unwrap().key_value {
        Some(KeyValue::Wrapped(bytes)) => bytes.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(kw::wrap(Wrapping::Kw, &KNOWN, &VALUE).unwrap(), wrapped);
    // Unwrapped again under a key that decrypts nothing else, it is sensitive again.
    let unwrap = |kek: &str| {
        let mut object = raw_key(&VALUE);
        if let ManagedObject::SymmetricKey(key) = &mut object {
            key.key_block.key_value = Some(KeyValue::Wrapped(wrapped.clone()));
            key.key_block.key_wrapping_data = Some(KeyWrappingData {
                wrapping_method: WrappingMethod::ENCRYPT,
                encryption_key_information: Some(information(kek)),
                encoding_option: Some(EncodingOption::NO_ENCODING),
                ..KeyWrappingData::default()
            });
        }
        let attributes = usage().with(AttributeValue::Sensitive(false));
        server.register(Version::V1_4, object, attributes).unwrap()
    };
    refused(get(&server, &unwrap(&kek)));
    let decrypts = sensitive(&KNOWN, &[Use::UNWRAP_KEY, Use::DECRYPT]);
    assert_eq!(get(&server, &unwrap(&decrypts)).unwrap(), VALUE);

    let locked = registered(
        &server,
        &VALUE,
        usage().with(AttributeValue::Extractable(false)),
    );
    assert_eq!(
        refused(wrapped_get(&server, &locked, &kek)),
        ResultReason::NOT_EXTRACTABLE
    );
    // What has no Key Block cannot be wrapped, and does not leave as it is.
    let opaque = ManagedObject::OpaqueObject(OpaqueObject {
        opaque_data_type: OpaqueDataType(0x8000_0001),
        opaque_data_value: Secret::new(VALUE.to_vec()),
    });
    let attributes = Attributes::new().with(AttributeValue::Sensitive(true));
    let opaque = server.register(Version::V1_4, opaque, attributes).unwrap();
    assert_eq!(
        refused(wrapped_get(&server, &opaque, &kek)),
        ResultReason::SENSITIVE
    );
}

#[test]
fn a_value_that_can_be_tried_has_no_digest() {
    let server = Server::new();
    let digest = |uid: &str| {
        server
            .attributes(Version::V2_1, uid, &[Tag::DIGEST])
            .digest()
            .is_some()
    };
    for protection in protections() {
        let protected = || usage().with(protection.clone());
        let short = registered(&server, &VALUE[..7], protected());
        assert!(!digest(&short));
        assert!(digest(&registered(&server, &VALUE[..16], protected())));
        let secret = ManagedObject::SecretData(SecretData {
            secret_data_type: SecretDataType::PASSWORD,
            key_block: KeyBlock {
                key_format_type: KeyFormatType::OPAQUE,
                key_value: Some(KeyValue::bytes(Secret::new(VALUE.to_vec()))),
                ..KeyBlock::default()
            },
        });
        let password = server.register(Version::V1_4, secret, protected()).unwrap();
        assert!(!digest(&password));
        server
            .ask(
                Version::V1_4,
                &DestroyRequest {
                    unique_identifier: id(&short),
                },
            )
            .unwrap();
        assert!(!digest(&short));
    }
    assert!(digest(&registered(&server, &VALUE[..7], usage())));
}
