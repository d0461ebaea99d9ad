//! Messages: headers, batches, placeholders, and what is malformed or not supported.

use mrhsm_pkcs11::ttlv::{Decode, ItemType};

use super::*;

/// A message of raw parts: the header's extra fields, then items.
pub(super) fn message(
    version: Version,
    header: &dyn Fn(&mut Writer),
    count: i32,
    items: &[&dyn Fn(&mut Writer)],
) -> Vec<u8> {
    let mut writer = Writer::new(version);
    writer.structure(Tag::REQUEST_MESSAGE, |w| {
        w.structure(Tag::REQUEST_HEADER, |w| {
            version.encode(Tag::PROTOCOL_VERSION, w);
            header(w);
            w.integer(Tag::BATCH_COUNT, count);
        });
        items
            .iter()
            .for_each(|item| w.structure(Tag::BATCH_ITEM, item));
    });
    writer.finish().unwrap().expose().to_vec()
}

/// What became of each item: operation and reason, `None` for a success.
type Outcomes = Vec<(Option<OperationCode>, Option<ResultReason>)>;

fn outcomes(server: &Server, frame: &[u8]) -> (Version, Outcomes) {
    let answer = server.raw(
        &Caller {
            name: "client".into(),
            groups: Vec::new(),
            ..Caller::default()
        },
        frame,
    );
    let answer = ResponseMessage::decode(answer.expose()).unwrap();
    let outcome = |item: &message::ResponseItem<'_>| (item.operation, item.result_reason);
    (
        answer.header.protocol_version,
        answer.items.iter().map(outcome).collect(),
    )
}

pub(super) fn item(
    operation: OperationCode,
    id: u8,
    payload: impl Fn(&mut Writer),
) -> impl Fn(&mut Writer) {
    move |w: &mut Writer| {
        operation.encode(Tag::OPERATION, w);
        w.byte_string(Tag::UNIQUE_BATCH_ITEM_ID, &[id]);
        w.structure(Tag::REQUEST_PAYLOAD, &payload);
    }
}

/// Why an object that is not there is refused.
fn nothing_there(version: Version) -> ResultReason {
    if version >= Version::V2_1 {
        ResultReason::OBJECT_NOT_FOUND
    } else {
        ResultReason::ITEM_NOT_FOUND
    }
}

#[test]
fn a_header_may_say_everything_that_a_version_has() {
    let server = Server::new();
    let query = item(OperationCode::QUERY, 1, |w| {
        w.enumeration(Tag::QUERY_FUNCTION, QueryFunction::QUERY_OBJECTS.0)
    });
    for version in Version::ALL {
        let header = |w: &mut Writer| {
            w.integer(Tag::MAXIMUM_RESPONSE_SIZE, 4096);
            if version >= Version::V1_4 {
                w.text(Tag::CLIENT_CORRELATION_VALUE, "mine");
            }
            match version.typed_attributes() {
                true => w.enumeration(
                    Tag::ASYNCHRONOUS_INDICATOR,
                    AsynchronousIndicator::OPTIONAL.0,
                ),
                false => w.boolean(Tag::ASYNCHRONOUS_INDICATOR, true),
            }
            w.structure(Tag::AUTHENTICATION, |w| {
                w.structure(Tag::CREDENTIAL, |w| {
                    w.enumeration(Tag::CREDENTIAL_TYPE, CredentialType::DEVICE.0);
                    w.structure(Tag::CREDENTIAL_VALUE, |w| {
                        w.text(Tag::DEVICE_SERIAL_NUMBER, "1");
                        w.text(Tag::PASSWORD, "secret");
                        w.text(Tag::DEVICE_IDENTIFIER, "2");
                    });
                });
            });
            w.enumeration(
                Tag::BATCH_ERROR_CONTINUATION_OPTION,
                BatchErrorContinuationOption::STOP.0,
            );
            w.boolean(Tag::BATCH_ORDER_OPTION, true);
            // A clock that is wrong is no reason to refuse.
            w.date_time(Tag::TIME_STAMP, 1_335_514_475);
            w.text(Tag(0x54_0001), "a vendor's");
        };
        let frame = message(version, &header, 1, &[&query]);
        let answer = server.raw(
            &Caller {
                name: "client".into(),
                groups: Vec::new(),
                ..Caller::default()
            },
            &frame,
        );
        let answer = ResponseMessage::decode(answer.expose()).unwrap();
        assert_eq!(answer.header.protocol_version, version);
        assert_eq!(
            answer.items[0].result_reason, None,
            "{version}: {:?}",
            answer.items[0].result_message
        );
        let mine = (version >= Version::V1_4).then_some("mine");
        assert_eq!(answer.header.client_correlation_value.as_deref(), mine);
    }
}

#[test]
fn what_cannot_be_done_is_refused_with_its_reason() {
    let server = Server::new();
    let nothing = |_: &mut Writer| {};
    let query = item(OperationCode::QUERY, 1, |w| {
        w.enumeration(Tag::QUERY_FUNCTION, QueryFunction::QUERY_OBJECTS.0)
    });
    let failed = |reason| (None, Some(reason));
    for version in Version::ALL {
        let asked = |header: &dyn Fn(&mut Writer), count, items: &[&dyn Fn(&mut Writer)]| {
            let (answered, outcomes) = outcomes(&server, &message(version, header, count, items));
            assert_eq!(answered, version);
            outcomes
        };
        assert_eq!(
            asked(&nothing, 2, &[&query]),
            [failed(ResultReason::INVALID_MESSAGE)]
        );
        assert_eq!(
            asked(&nothing, 0, &[]),
            [failed(ResultReason::INVALID_MESSAGE)]
        );
        let small = |w: &mut Writer| w.integer(Tag::MAXIMUM_RESPONSE_SIZE, 64);
        let too_large = (
            Some(OperationCode::QUERY),
            Some(ResultReason::RESPONSE_TOO_LARGE),
        );
        assert_eq!(asked(&small, 1, &[&query]), [too_large]);
        let twice = |w: &mut Writer| w.integer(Tag::BATCH_COUNT, 1);
        assert_eq!(
            asked(&twice, 1, &[&query]),
            [failed(ResultReason::INVALID_MESSAGE)]
        );

        // What is wrong with one item is that item's matter: the ones before it are answered, the ones after it wait or not.
        let extended = |critical: bool| {
            let query = item(OperationCode::QUERY, 2, |_| {});
            move |w: &mut Writer| {
                query(w);
                w.structure(Tag::MESSAGE_EXTENSION, |w| {
                    w.text(Tag::VENDOR_IDENTIFICATION, "Acme");
                    w.boolean(Tag::CRITICALITY_INDICATOR, critical);
                    w.structure(Tag::VENDOR_EXTENSION, |w| w.text(Tag(0x54_0001), "na"));
                });
            }
        };
        let poll = match version.typed_attributes() {
            true => ResultReason::INVALID_ASYNCHRONOUS_CORRELATION_VALUE,
            false => ResultReason::ITEM_NOT_FOUND,
        };
        let correlation = |w: &mut Writer| w.byte_string(Tag::ASYNCHRONOUS_CORRELATION_VALUE, &[1]);
        type Case<'a> = (OperationCode, Box<dyn Fn(&mut Writer) + 'a>, ResultReason);
        let get = |payload: fn(&mut Writer)| -> Box<dyn Fn(&mut Writer)> {
            Box::new(item(OperationCode::GET, 2, payload))
        };
        let not_supported = ResultReason::OPERATION_NOT_SUPPORTED;
        let mut cases: Vec<Case<'_>> = vec![
            (
                OperationCode::QUERY,
                Box::new(extended(true)),
                ResultReason::FEATURE_NOT_SUPPORTED,
            ),
            (
                OperationCode::POLL,
                Box::new(item(OperationCode::POLL, 2, correlation)),
                poll,
            ),
            (
                OperationCode::CANCEL,
                Box::new(item(OperationCode::CANCEL, 2, correlation)),
                poll,
            ),
            (
                OperationCode::POLL,
                Box::new(item(OperationCode::POLL, 2, nothing)),
                ResultReason::INVALID_MESSAGE,
            ),
            (
                OperationCode::PUT,
                Box::new(item(OperationCode::PUT, 2, nothing)),
                not_supported,
            ),
            (
                OperationCode::LOGIN,
                Box::new(item(OperationCode::LOGIN, 2, nothing)),
                not_supported,
            ),
            (
                OperationCode::INTEROP,
                Box::new(item(OperationCode::INTEROP, 2, nothing)),
                not_supported,
            ),
            (
                OperationCode(0x8000_0001),
                Box::new(item(OperationCode(0x8000_0001), 2, nothing)),
                not_supported,
            ),
            // Of a wrong type, given twice, missing, not UTF-8.
            (
                OperationCode::GET,
                get(|w| w.long_integer(Tag::UNIQUE_IDENTIFIER, 1)),
                ResultReason::INVALID_MESSAGE,
            ),
            (
                OperationCode::GET,
                get(|w| (0..2).for_each(|_| w.text(Tag::UNIQUE_IDENTIFIER, "x"))),
                ResultReason::INVALID_MESSAGE,
            ),
            (
                OperationCode::GET,
                get(|w| w.value(Tag::UNIQUE_IDENTIFIER, ItemType::TEXT_STRING, b"caf\xe9")),
                ResultReason::INVALID_MESSAGE,
            ),
            (OperationCode::GET, get(|_| {}), nothing_there(version)),
            (
                OperationCode::REVOKE,
                Box::new(item(OperationCode::REVOKE, 2, |w| {
                    w.text(Tag::UNIQUE_IDENTIFIER, "x")
                })),
                ResultReason::INVALID_MESSAGE,
            ),
            // An enumeration's value that nobody knows.
            (
                OperationCode::CREATE,
                Box::new(item(OperationCode::CREATE, 2, |w| {
                    w.enumeration(Tag::OBJECT_TYPE, 0x99);
                    let tag = if w.version().typed_attributes() {
                        Tag::ATTRIBUTES
                    } else {
                        Tag::TEMPLATE_ATTRIBUTE
                    };
                    w.structure(tag, |_| {});
                })),
                ResultReason::INVALID_FIELD,
            ),
        ];
        for newer in [
            OperationCode::DISCOVER_VERSIONS,
            OperationCode::ENCRYPT,
            OperationCode::IMPORT,
            OperationCode::PING,
        ] {
            if newer.since() > version {
                cases.push((newer, Box::new(item(newer, 2, nothing)), not_supported));
            }
        }
        let last = item(OperationCode::QUERY, 3, |_| {});
        for (operation, case, reason) in &cases {
            let good = (Some(OperationCode::QUERY), None);
            let bad = (Some(*operation), Some(*reason));
            assert_eq!(
                asked(&nothing, 3, &[&query, case, &last]),
                [good, bad],
                "{version} {operation}"
            );
            let on = |w: &mut Writer| {
                w.enumeration(
                    Tag::BATCH_ERROR_CONTINUATION_OPTION,
                    BatchErrorContinuationOption::CONTINUE.0,
                );
            };
            assert_eq!(
                asked(&on, 3, &[&query, case, &last]),
                [good, bad, good],
                "{version} {operation}"
            );
        }
        assert_eq!(
            asked(&nothing, 2, &[&query, &extended(false)])[1],
            (Some(OperationCode::QUERY), None)
        );

        // An item without an operation, or so deep that nobody looks: the message is invalid, in the client's own version.
        let empty = |w: &mut Writer| w.byte_string(Tag::UNIQUE_BATCH_ITEM_ID, &[2]);
        assert_eq!(
            asked(&nothing, 2, &[&query, &empty]),
            [failed(ResultReason::INVALID_MESSAGE)]
        );
        fn deep(w: &mut Writer, depth: usize) {
            if depth > 0 {
                w.structure(Tag(0x54_0001), |w| deep(w, depth - 1));
            }
        }
        let too_deep = item(OperationCode::QUERY, 2, |w| deep(w, 40));
        let (_, reason) = asked(&nothing, 2, &[&query, &too_deep]).pop().unwrap();
        assert!(reason.is_none_or(|reason| reason == ResultReason::INVALID_MESSAGE));
    }
    // Versions that nobody speaks are refused in the nearest one that is spoken.
    for (asked, answered) in [
        ((1, 9), Version::V1_4),
        ((2, 9), Version::V2_1),
        ((9, 0), Version::V2_1),
        ((0, 9), Version::V1_0),
    ] {
        let version = Version {
            major: asked.0,
            minor: asked.1,
        };
        let frame = message(version, &nothing, 1, &[&query]);
        assert_eq!(
            outcomes(&server, &frame),
            (answered, vec![failed(ResultReason::INVALID_MESSAGE)])
        );
    }
}

/// What is done before the item that fails is answered as undone, and is.
#[test]
fn a_batch_is_undone_when_an_item_fails() {
    let server = Server::new();
    let undo = |w: &mut Writer| {
        w.enumeration(
            Tag::BATCH_ERROR_CONTINUATION_OPTION,
            BatchErrorContinuationOption::UNDO.0,
        )
    };
    let client = Caller {
        name: "client".into(),
        groups: Vec::new(),
        ..Caller::default()
    };
    for version in Version::ALL {
        let [waiting, doomed] = [1, 2].map(|byte| {
            server
                .register(version, raw_key(&[byte; 16]), usage())
                .unwrap()
        });
        let named = |operation, id, uid: &str| {
            let uid = uid.to_owned();
            item(operation, id, move |w| w.text(Tag::UNIQUE_IDENTIFIER, &uid))
        };
        let made = name("made by a batch");
        let new = usage()
            .with(AttributeValue::CryptographicAlgorithm(
                CryptographicAlgorithm::AES,
            ))
            .with(AttributeValue::CryptographicLength(128))
            .with(made.clone());
        let create = item(OperationCode::CREATE, 1, move |w| {
            w.enumeration(Tag::OBJECT_TYPE, ObjectType::SYMMETRIC_KEY.0);
            let tag = if w.version().typed_attributes() {
                Tag::ATTRIBUTES
            } else {
                Tag::TEMPLATE_ATTRIBUTE
            };
            new.encode(tag, w);
        });
        // The key is changed twice: first it is active, then it has what the batch made of it for a while.
        let activate = named(OperationCode::ACTIVATE, 2, &waiting);
        let archive = named(OperationCode::ARCHIVE, 3, &waiting);
        let destroy = named(OperationCode::DESTROY, 4, &doomed);
        let get = named(OperationCode::GET, 5, "nobody's");
        let items: [&dyn Fn(&mut Writer); 6] =
            [&create, &activate, &archive, &destroy, &get, &activate];
        let answer = server.raw(&client, &message(version, &undo, 6, &items));
        let answer = ResponseMessage::decode(answer.expose()).unwrap();
        let statuses: Vec<ResultStatus> =
            answer.items.iter().map(|item| item.result_status).collect();
        let (undone, failed) = (
            ResultStatus::OPERATION_UNDONE,
            ResultStatus::OPERATION_FAILED,
        );
        assert_eq!(
            statuses,
            [undone, undone, undone, undone, failed],
            "{version}"
        );
        assert!(
            answer.items[..4]
                .iter()
                .all(|item| item.payload.is_none() && item.result_reason.is_none())
        );
        assert_eq!(answer.items[4].result_reason, Some(nothing_there(version)));

        let state = |uid: &str| {
            server
                .attributes(version, uid, &[Tag::STATE])
                .state()
                .copied()
        };
        assert_eq!(
            (state(&waiting), state(&doomed)),
            (Some(State::PRE_ACTIVE), Some(State::PRE_ACTIVE)),
            "{version}"
        );
        assert_eq!(
            (server.value(&waiting), server.value(&doomed)),
            (vec![1; 16], vec![2; 16]),
            "{version}"
        );
        let of_this_name = LocateRequest {
            attributes: Attributes::new().with(made),
            ..LocateRequest::default()
        };
        assert!(
            server.locate(version, &of_this_name).is_empty(),
            "{version}"
        );

        // Nothing fails: all is done.
        let items: [&dyn Fn(&mut Writer); 3] = [&create, &activate, &destroy];
        let (_, done) = outcomes(&server, &message(version, &undo, 3, &items));
        assert!(
            done.iter().all(|(_, reason)| reason.is_none()),
            "{version}: {done:?}"
        );
        assert_eq!(
            (state(&waiting), state(&doomed)),
            (Some(State::ACTIVE), Some(State::DESTROYED)),
            "{version}"
        );
        let [there] = server.locate(version, &of_this_name).try_into().unwrap();
        server
            .ask(
                version,
                &DestroyRequest {
                    unique_identifier: id(&there),
                },
            )
            .unwrap();
    }
}

#[test]
fn fields_in_another_order_and_unknown_ones_do_no_harm() {
    let server = Server::new();
    let create = item(OperationCode::CREATE, 1, |w| {
        w.text(Tag(0x54_0001), "a vendor's");
        let attributes = usage()
            .with(AttributeValue::CryptographicAlgorithm(
                CryptographicAlgorithm::AES,
            ))
            .with(AttributeValue::CryptographicLength(128));
        let tag = if w.version().typed_attributes() {
            Tag::ATTRIBUTES
        } else {
            Tag::TEMPLATE_ATTRIBUTE
        };
        attributes.encode(tag, w);
        w.enumeration(Tag::OBJECT_TYPE, ObjectType::SYMMETRIC_KEY.0);
    });
    for version in Version::ALL {
        let frame = message(version, &|_| {}, 1, &[&create]);
        assert_eq!(
            outcomes(&server, &frame).1,
            [(Some(OperationCode::CREATE), None)],
            "{version}"
        );
    }
}

#[test]
fn filters_in_a_template_attribute_filter() {
    let server = Server::new();
    let [wanted, other] =
        ["wanted", "other"].map(|text| server.create(Version::V1_0, &[name(text)]).unwrap());
    let locate = |tag: Tag, text: &'static str| {
        let filters = Attributes::new().with(name(text));
        item(OperationCode::LOCATE, 1, move |w| filters.encode(tag, w))
    };
    let found = |tag, text| {
        let frame = message(Version::V1_0, &|_| {}, 1, &[&locate(tag, text)]);
        let answer = server.raw(
            &Caller {
                name: "client".into(),
                groups: Vec::new(),
                ..Caller::default()
            },
            &frame,
        );
        let answer = ResponseMessage::decode(answer.expose()).unwrap();
        LocateResponse::decode(answer.items[0].payload.as_ref().unwrap())
            .unwrap()
            .unique_identifiers
    };
    for tag in [Tag::ATTRIBUTE, Tag::TEMPLATE_ATTRIBUTE] {
        assert_eq!(found(tag, "wanted"), [wanted.as_str()]);
        assert_eq!(found(tag, "other"), [other.as_str()]);
    }
}

#[test]
fn the_audit_log_names_the_object_of_every_item() {
    let server = Server::new();
    let caller = Caller {
        name: "client".into(),
        groups: Vec::new(),
        ..Caller::default()
    };
    let uid = server.create(Version::V1_4, &[]).unwrap();
    let named = |uid: &str| {
        let request = DestroyRequest {
            unique_identifier: id(uid),
        };
        let frame = encode_request(Version::V1_4, None, &request).unwrap();
        let done = server
            .engine
            .answer(&caller, frame.expose(), None)
            .done
            .remove(0);
        (done.object, done.refused)
    };
    // It is active, so the first is refused; both were about something.
    assert_eq!(
        named(&uid),
        (Some(uid.clone()), Some(ResultReason::PERMISSION_DENIED))
    );
    assert_eq!(
        named("nothing"),
        (Some("nothing".into()), Some(ResultReason::ITEM_NOT_FOUND))
    );
}

#[test]
fn placeholders_and_places_name_what_the_batch_made() {
    let server = Server::new();
    let pair = item(OperationCode::CREATE_KEY_PAIR, 1, |w| {
        let common = usage()
            .with(AttributeValue::CryptographicAlgorithm(
                CryptographicAlgorithm::EC,
            ))
            .with(AttributeValue::CryptographicLength(256));
        common.encode(Tag::COMMON_ATTRIBUTES, w);
    });
    let create = item(OperationCode::CREATE, 2, |w| {
        w.enumeration(Tag::OBJECT_TYPE, ObjectType::SYMMETRIC_KEY.0);
        let attributes = usage()
            .with(AttributeValue::CryptographicAlgorithm(
                CryptographicAlgorithm::AES,
            ))
            .with(AttributeValue::CryptographicLength(128));
        attributes.encode(Tag::ATTRIBUTES, w);
    });
    use UniqueIdentifierPlaceholder as Place;
    let named = |n: u8, uid: UniqueIdentifier| {
        item(OperationCode::GET_ATTRIBUTE_LIST, n, move |w| {
            uid.encode(Tag::UNIQUE_IDENTIFIER, w)
        })
    };
    let asked = [
        named(
            3,
            UniqueIdentifier::Placeholder(Place::CREATE_KEY_PAIR_PUBLIC_KEY),
        ),
        named(
            4,
            UniqueIdentifier::Placeholder(Place::CREATE_KEY_PAIR_PRIVATE_KEY),
        ),
        named(5, UniqueIdentifier::Index(2)),
        named(6, UniqueIdentifier::Placeholder(Place::CREATE)),
        named(7, UniqueIdentifier::Index(-1)),
    ];
    let frame = message(
        Version::V2_1,
        &|_| {},
        7,
        &[
            &pair, &create, &asked[0], &asked[1], &asked[2], &asked[3], &asked[4],
        ],
    );
    let answer = server.raw(
        &Caller {
            name: "client".into(),
            groups: Vec::new(),
            ..Caller::default()
        },
        &frame,
    );
    let answer = ResponseMessage::decode(answer.expose()).unwrap();
    let payload = |at: usize| answer.items[at].payload.as_ref().unwrap();
    let made = CreateKeyPairResponse::decode(payload(0)).unwrap();
    let key = CreateResponse::decode(payload(1))
        .unwrap()
        .unique_identifier;
    let seen: Vec<String> = (2..7)
        .map(|at| {
            GetAttributeListResponse::decode(payload(at))
                .unwrap()
                .unique_identifier
        })
        .collect();
    assert_eq!(
        seen,
        [
            made.public_key_unique_identifier,
            made.private_key_unique_identifier,
            key.clone(),
            key.clone(),
            key
        ]
    );
    let lost = message(
        Version::V2_1,
        &|_| {},
        1,
        &[&named(1, UniqueIdentifier::Index(5))],
    );
    assert_eq!(
        outcomes(&server, &lost).1[0].1,
        Some(ResultReason::OBJECT_NOT_FOUND)
    );
}

#[test]
fn query_is_true_in_every_version() {
    let server = Server::new();
    for version in Version::ALL {
        let all = QueryRequest {
            query_functions: QueryFunction::ALL.to_vec(),
        };
        let answer = server.ask(version, &all).unwrap();
        assert_eq!(
            answer.object_types.contains(&ObjectType::TEMPLATE),
            version < Version::V2_0
        );
        assert_eq!(
            answer.object_types.contains(&ObjectType::PGP_KEY),
            version >= Version::V1_2
        );
        assert_eq!(
            answer.profile_information.is_empty(),
            version < Version::V1_3
        );
        assert!(answer.server_information.is_some() && answer.vendor_identification.is_some());
        let nothing = |_: &mut Writer| {};
        for operation in OperationCode::ALL {
            let frame = message(version, &nothing, 1, &[&item(*operation, 1, nothing)]);
            let reason = outcomes(&server, &frame).1[0].1;
            let supported = reason != Some(ResultReason::OPERATION_NOT_SUPPORTED);
            assert_eq!(
                answer.operations.contains(operation),
                supported,
                "{version} {operation}"
            );
        }
    }
}
