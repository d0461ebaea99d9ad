//! Changes of a key take effect at once, also on operations that are under way; what is spent stays spent.

use super::*;

const DATA: &[u8] = b"0123456789abcdef";

fn limits(total: i64, unit: UsageLimitsUnit) -> AttributeValue {
    AttributeValue::UsageLimits(UsageLimits {
        usage_limits_total: total,
        usage_limits_count: None,
        usage_limits_unit: unit,
    })
}

fn left(server: &Server, uid: &str) -> Option<i64> {
    server
        .attributes(Version::V2_1, uid, &[Tag::USAGE_LIMITS])
        .usage_limits()
        .and_then(|limits| limits.usage_limits_count)
}

fn hmac_key(server: &Server, more: &[AttributeValue]) -> String {
    let attributes = more.iter().cloned().fold(
        usage().with(AttributeValue::ActivationDate(DateTime(1))),
        Attributes::with,
    );
    server
        .register(Version::V2_1, raw_key(&[7; 32]), attributes)
        .unwrap()
}

/// An operation of each kind in parts: whether its next part is done.
struct Parts {
    encrypt: EncryptRequest,
    decrypt: DecryptRequest,
    mac: MacRequest,
}

impl Parts {
    fn begin(server: &Server, uid: &str) -> Parts {
        let parameters = Some(CryptographicParameters {
            block_cipher_mode: Some(BlockCipherMode::CTR),
            ..CryptographicParameters::default()
        });
        let mut encrypt = EncryptRequest {
            unique_identifier: id(uid),
            cryptographic_parameters: parameters.clone(),
            data: Some(Secret::new(DATA.to_vec())),
            iv_counter_nonce: Some(vec![0; 16]),
            init_indicator: Some(true),
            ..EncryptRequest::default()
        };
        let mut decrypt = DecryptRequest {
            unique_identifier: id(uid),
            cryptographic_parameters: parameters,
            data: Some(DATA.to_vec()),
            iv_counter_nonce: Some(vec![0; 16]),
            init_indicator: Some(true),
            ..DecryptRequest::default()
        };
        let mut mac = MacRequest {
            unique_identifier: id(uid),
            data: Some(Secret::new(DATA.to_vec())),
            init_indicator: Some(true),
            ..MacRequest::default()
        };
        let version = Version::V2_1;
        encrypt.correlation_value = server.ask(version, &encrypt).unwrap().correlation_value;
        decrypt.correlation_value = server.ask(version, &decrypt).unwrap().correlation_value;
        mac.correlation_value = server.ask(version, &mac).unwrap().correlation_value;
        encrypt.init_indicator = None;
        decrypt.init_indicator = None;
        mac.init_indicator = None;
        Parts {
            encrypt,
            decrypt,
            mac,
        }
    }

    /// Of Encrypt, MAC and Decrypt.
    fn go_on(&self, server: &Server) -> [bool; 3] {
        let version = Version::V2_1;
        [
            server.ask(version, &self.encrypt).is_ok(),
            server.ask(version, &self.mac).is_ok(),
            server.ask(version, &self.decrypt).is_ok(),
        ]
    }
}

#[test]
fn an_operation_in_parts_stops_with_its_key() {
    let server = Server::new();
    let version = Version::V2_1;
    let revoke = |uid: &str, code| {
        let request = RevokeRequest {
            unique_identifier: id(uid),
            revocation_reason: RevocationReason {
                revocation_reason_code: code,
                revocation_message: None,
            },
            compromise_occurrence_date: None,
        };
        server.ask(version, &request).unwrap();
    };
    let set = |uid: &str, attribute: AttributeValue| {
        let request = SetAttributeRequest {
            unique_identifier: id(uid),
            attribute: attribute.into(),
        };
        server.ask(version, &request).unwrap();
    };
    let unchanged = |_: &str| {};
    let deactivate = |uid: &str| revoke(uid, RevocationReasonCode::CESSATION_OF_OPERATION);
    let compromise = |uid: &str| revoke(uid, RevocationReasonCode::KEY_COMPROMISE);
    let destroy = |uid: &str| {
        deactivate(uid);
        let unique_identifier = id(uid);
        server
            .ask(version, &DestroyRequest { unique_identifier })
            .unwrap();
    };
    let archive = |uid: &str| {
        let unique_identifier = id(uid);
        server
            .ask(version, &ArchiveRequest { unique_identifier })
            .unwrap();
    };
    let stop = |uid: &str| set(uid, AttributeValue::ProtectStopDate(DateTime(2)));
    let expire = |uid: &str| set(uid, AttributeValue::DeactivationDate(DateTime(2)));
    let wait = |uid: &str| {
        set(
            uid,
            AttributeValue::ProcessStartDate(DateTime(i64::MAX >> 8)),
        )
    };
    let replace = |uid: &str| {
        let request = ImportRequest {
            unique_identifier: uid.into(),
            object_type: Some(ObjectType::SYMMETRIC_KEY),
            replace_existing: Some(true),
            key_wrap_type: None,
            attributes: usage().with(AttributeValue::ActivationDate(DateTime(1))),
            object: raw_key(&[8; 32]),
        };
        server.ask(version, &request).unwrap();
    };
    type Change<'a> = (&'a str, &'a dyn Fn(&str), [bool; 3]);
    let changes: [Change<'_>; 9] = [
        ("nothing", &unchanged, [true, true, true]),
        ("deactivated", &deactivate, [false, false, true]),
        ("compromised", &compromise, [false, false, true]),
        ("destroyed", &destroy, [false; 3]),
        ("archived", &archive, [false; 3]),
        ("Protect Stop Date", &stop, [false, false, true]),
        ("Deactivation Date", &expire, [false, false, true]),
        ("Process Start Date", &wait, [true, true, false]),
        ("replaced", &replace, [false; 3]),
    ];
    for (why, change, expected) in changes {
        let uid = hmac_key(&server, &[]);
        let parts = Parts::begin(&server, &uid);
        change(&uid);
        assert_eq!(parts.go_on(&server), expected, "{why}");
    }
    // What was stopped does not go on when its key may be used again.
    let uid = hmac_key(&server, &[]);
    let parts = Parts::begin(&server, &uid);
    archive(&uid);
    assert_eq!(parts.go_on(&server), [false; 3]);
    let unique_identifier = id(&uid);
    server
        .ask(version, &RecoverRequest { unique_identifier })
        .unwrap();
    assert_eq!(parts.go_on(&server), [false; 3]);
    // A signature of which only the end is missing.
    let pair = CreateKeyPairRequest {
        private_key: Some(
            Attributes::new()
                .with(AttributeValue::CryptographicUsageMask(
                    CryptographicUsageMask::SIGN,
                ))
                .into(),
        ),
        common: Some(
            Attributes::new()
                .with(AttributeValue::CryptographicAlgorithm(
                    CryptographicAlgorithm::ED25519,
                ))
                .with(AttributeValue::ActivationDate(DateTime(1)))
                .into(),
        ),
        ..CreateKeyPairRequest::default()
    };
    let private = server
        .ask(version, &pair)
        .unwrap()
        .private_key_unique_identifier;
    let mut sign = SignRequest {
        unique_identifier: id(&private),
        data: Some(Secret::new(DATA.to_vec())),
        init_indicator: Some(true),
        ..SignRequest::default()
    };
    sign.correlation_value = server.ask(version, &sign).unwrap().correlation_value;
    (sign.init_indicator, sign.final_indicator) = (None, Some(true));
    deactivate(&private);
    assert_eq!(
        server.ask(version, &sign).err(),
        Some(ResultReason::WRONG_KEY_LIFECYCLE_STATE)
    );
}

#[test]
fn what_is_undone_has_no_result_and_stays_spent() {
    let server = Server::new();
    let version = Version::V2_1;
    let undo = BatchErrorContinuationOption::UNDO;
    let nothing = GetRequest {
        unique_identifier: id("nobody's"),
        ..GetRequest::default()
    };
    let ask = |items: &[&dyn Asked]| -> Vec<(ResultStatus, bool)> {
        let frame = batch(version, undo, items);
        let answer = server.raw(&client(), frame.expose());
        let answer = ResponseMessage::decode(answer.expose()).unwrap();
        let items = answer.items.iter();
        items
            .map(|item| (item.result_status, item.payload.is_some()))
            .collect()
    };
    let (undone, failed) = (
        (ResultStatus::OPERATION_UNDONE, false),
        (ResultStatus::OPERATION_FAILED, false),
    );
    let key = |total| hmac_key(&server, &[limits(total, UsageLimitsUnit::OBJECT)]);
    let uid = key(1);
    assert_eq!(ask(&[&ecb(&uid, DATA), &nothing]), [undone, failed]);
    assert_eq!(left(&server, &uid), Some(0));
    assert!(server.ask(version, &ecb(&uid, DATA)).is_err());

    // Whatever else the batch changed of the key before and after, in whatever order.
    let set = |uid: &str| SetAttributeRequest {
        unique_identifier: id(uid),
        attribute: AttributeValue::Comment("new".into()).into(),
    };
    let more = |uid: &str| SetAttributeRequest {
        unique_identifier: id(uid),
        attribute: limits(1000, UsageLimitsUnit::OBJECT).into(),
    };
    let take = |uid: &str| GetUsageAllocationRequest {
        unique_identifier: id(uid),
        usage_limits_count: 2,
    };
    let uid = key(10);
    let (set, more, take, encrypt) = (set(&uid), more(&uid), take(&uid), ecb(&uid, DATA));
    let items: [&dyn Asked; 6] = [&set, &more, &encrypt, &set, &take, &nothing];
    assert_eq!(
        ask(&items),
        [undone, undone, undone, undone, undone, failed]
    );
    assert_eq!(left(&server, &uid), Some(7));
    let comment = server.attributes(version, &uid, &[Tag::COMMENT]);
    assert!(comment.comment().is_none());

    // An operation in parts that was begun there is not there.
    let mac = MacRequest {
        unique_identifier: id(&hmac_key(&server, &[])),
        data: Some(Secret::new(DATA.to_vec())),
        init_indicator: Some(true),
        ..MacRequest::default()
    };
    for _ in 0..100 {
        assert_eq!(ask(&[&mac, &nothing]), [undone, failed]);
    }
}

#[test]
fn usage_limits_are_fixed_once_a_use_is_spent() {
    let server = Server::new();
    for version in [Version::V1_4, Version::V2_1] {
        let typed = version.typed_attributes();
        let uid = hmac_key(&server, &[limits(5, UsageLimitsUnit::OBJECT)]);
        let change = |count: Option<i64>, total: i64| {
            let attribute = AttributeValue::UsageLimits(UsageLimits {
                usage_limits_total: total,
                usage_limits_count: count,
                usage_limits_unit: UsageLimitsUnit::OBJECT,
            });
            let request = ModifyAttributeRequest {
                unique_identifier: id(&uid),
                attribute: attribute.into(),
                current_attribute: None,
            };
            server.ask(version, &request).map(|_| ())
        };
        // The count is the server's.
        change(Some(1000), 2).unwrap();
        assert_eq!(left(&server, &uid), Some(2));
        assert!(change(None, -1).is_err());
        server.ask(version, &ecb(&uid, DATA)).unwrap();
        for count in [None, Some(2), Some(1000)] {
            assert!(change(count, 2).is_err() && change(count, 1000).is_err());
        }
        let delete = DeleteAttributeRequest {
            unique_identifier: id(&uid),
            attribute_name: Some(AttributeName::Standard(Tag::USAGE_LIMITS)),
            ..DeleteAttributeRequest::default()
        };
        assert!(server.ask(version, &delete).is_err());
        if typed {
            let request = SetAttributeRequest {
                unique_identifier: id(&uid),
                attribute: limits(1000, UsageLimitsUnit::OBJECT).into(),
            };
            assert!(server.ask(version, &request).is_err());
        }
        let mistyped = ModifyAttributeRequest {
            unique_identifier: id(&uid),
            attribute: AttributeValue::Other(Tag::USAGE_LIMITS, Value::Integer(1)).into(),
            current_attribute: None,
        };
        assert!(server.ask(version, &mistyped).is_err());
        // Nor does the same identifier with new limits begin anew.
        let import = ImportRequest {
            unique_identifier: uid.as_str().into(),
            object_type: Some(ObjectType::SYMMETRIC_KEY),
            replace_existing: Some(true),
            key_wrap_type: None,
            attributes: usage()
                .with(AttributeValue::ActivationDate(DateTime(1)))
                .with(limits(1000, UsageLimitsUnit::BYTE)),
            object: raw_key(&[7; 32]),
        };
        server.ask(Version::V2_1, &import).unwrap();
        assert_eq!(left(&server, &uid), Some(1));
    }
}

#[test]
fn wrapping_and_authenticating_cost_bytes() {
    let server = Server::new();
    let kek = hmac_key(&server, &[limits(60, UsageLimitsUnit::BYTE)]);
    let key = server
        .register(Version::V2_1, raw_key(&[1; 32]), usage())
        .unwrap();
    let wrap = GetRequest {
        unique_identifier: id(&key),
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
    server.ask(Version::V1_4, &wrap).unwrap();
    assert_eq!(left(&server, &kek), Some(28));
    assert!(server.ask(Version::V1_4, &wrap).is_err());
    let authenticate = EncryptRequest {
        unique_identifier: id(&kek),
        cryptographic_parameters: Some(CryptographicParameters {
            block_cipher_mode: Some(BlockCipherMode::GCM),
            ..CryptographicParameters::default()
        }),
        data: Some(Secret::default()),
        additional_data: Some(vec![0; 20]),
        ..EncryptRequest::default()
    };
    server.ask(Version::V1_4, &authenticate).unwrap();
    assert_eq!(left(&server, &kek), Some(8));
    assert!(server.ask(Version::V1_4, &authenticate).is_err());
}

#[test]
fn of_many_that_want_the_last_use_one_gets_it() {
    let server = Server::new();
    let uid = hmac_key(&server, &[limits(3, UsageLimitsUnit::OBJECT)]);
    let done: usize = std::thread::scope(|scope| {
        let ask = || server.ask(Version::V2_1, &ecb(&uid, DATA)).is_ok();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        threads
            .into_iter()
            .map(|thread| usize::from(thread.join().unwrap()))
            .sum()
    });
    assert_eq!((done, left(&server, &uid)), (3, Some(0)));
}

#[test]
fn a_date_that_has_passed_stays() {
    let server = Server::new();
    let past = [
        AttributeValue::ProtectStopDate(DateTime(5)),
        AttributeValue::ProcessStartDate(DateTime(5)),
    ];
    for date in past {
        let later = match date {
            AttributeValue::ProtectStopDate(_) => {
                AttributeValue::ProtectStopDate(DateTime(i64::MAX >> 8))
            }
            _ => AttributeValue::ProcessStartDate(DateTime(6)),
        };
        let uid = hmac_key(&server, &[date]);
        let request = ModifyAttributeRequest {
            unique_identifier: id(&uid),
            attribute: later.into(),
            current_attribute: None,
        };
        assert_eq!(
            server.ask(Version::V1_4, &request).err(),
            Some(ResultReason::PERMISSION_DENIED)
        );
    }
}
