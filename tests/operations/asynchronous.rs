//! Asynchronous answers: Operation Pending, Poll and Cancel (spec 1.4, 4.27 and 4.28).

use mrhsm_pkcs11::ttlv::Decode;

use super::messages::{item, message};
use super::*;

const VERSIONS: [Version; 4] = [Version::V1_0, Version::V1_2, Version::V1_4, Version::V2_1];

/// Asks for asynchronous answers as strongly as a version can.
fn insists(version: Version) -> impl Fn(&mut Writer) {
    move |w: &mut Writer| match version.typed_attributes() {
        true => w.enumeration(
            Tag::ASYNCHRONOUS_INDICATOR,
            AsynchronousIndicator::MANDATORY.0,
        ),
        false => w.boolean(Tag::ASYNCHRONOUS_INDICATOR, true),
    }
}

/// The answer to a message of one item.
#[derive(Debug)]
struct Single {
    operation: Option<OperationCode>,
    status: ResultStatus,
    reason: Option<ResultReason>,
    correlation: Option<Vec<u8>>,
    payload: Option<Vec<u8>>,
}

fn ask(
    server: &Server,
    name: &str,
    version: Version,
    header: &dyn Fn(&mut Writer),
    (operation, payload): (OperationCode, &dyn Fn(&mut Writer)),
) -> Single {
    let caller = Caller {
        name: name.into(),
        ..Caller::default()
    };
    let frame = message(version, header, 1, &[&item(operation, 1, payload)]);
    let answer = server.raw(&caller, &frame);
    let answer = ResponseMessage::decode(answer.expose()).unwrap();
    let only = &answer.items[0];
    Single {
        operation: only.operation,
        status: only.result_status,
        reason: only.result_reason,
        correlation: only.asynchronous_correlation_value.clone(),
        payload: only.payload.as_ref().map(|payload| {
            let mut writer = Writer::new(version);
            let value = Value::decode(payload).unwrap();
            value.encode(payload.tag, &mut writer);
            writer.finish().unwrap().expose().to_vec()
        }),
    }
}

fn nothing(_: &mut Writer) {}

fn about<'a>(server: &'a Server, version: Version) -> impl Fn(OperationCode, &[u8]) -> Single + 'a {
    move |operation, correlation| {
        let correlation = correlation.to_vec();
        let payload =
            move |w: &mut Writer| w.byte_string(Tag::ASYNCHRONOUS_CORRELATION_VALUE, &correlation);
        ask(server, "client", version, &nothing, (operation, &payload))
    }
}

fn unknown(version: Version) -> Option<ResultReason> {
    Some(match version.typed_attributes() {
        true => ResultReason::INVALID_ASYNCHRONOUS_CORRELATION_VALUE,
        false => ResultReason::ITEM_NOT_FOUND,
    })
}

#[test]
fn a_client_that_insists_polls_for_its_answer() {
    let server = Server::new();
    for version in VERSIONS {
        let uid = server.create(version, &[]).unwrap();
        let named = |w: &mut Writer| w.text(Tag::UNIQUE_IDENTIFIER, &uid);
        let get = (OperationCode::GET, &named as &dyn Fn(&mut Writer));
        let at_once = ask(&server, "client", version, &nothing, get);
        let pending = ask(&server, "client", version, &insists(version), get);
        assert_eq!(pending.status, ResultStatus::OPERATION_PENDING, "{version}");
        assert_eq!(pending.operation, Some(OperationCode::GET));
        assert_eq!(pending.payload, None);
        let correlation = pending.correlation.unwrap();

        let poll = |w: &mut Writer| {
            w.byte_string(Tag::ASYNCHRONOUS_CORRELATION_VALUE, &correlation);
        };
        let poll = (OperationCode::POLL, &poll as &dyn Fn(&mut Writer));
        let other = ask(&server, "other", version, &nothing, poll);
        assert_eq!(other.reason, unknown(version), "another client");
        // Poll itself is answered at once.
        let polled = ask(&server, "client", version, &insists(version), poll);
        assert_eq!(polled.status, ResultStatus::SUCCESS);
        assert_eq!(polled.operation, Some(OperationCode::GET), "not Poll");
        assert_eq!(polled.payload, at_once.payload);
        let again = ask(&server, "client", version, &nothing, poll);
        assert_eq!(again.reason, unknown(version), "an answer is given once");
    }
}

#[test]
fn only_what_left_nothing_behind_is_canceled() {
    let server = Server::new();
    for version in VERSIONS {
        let about = about(&server, version);
        let uid = server.create(version, &[]).unwrap();
        let named = |w: &mut Writer| w.text(Tag::UNIQUE_IDENTIFIER, &uid);
        for (operation, result, polled) in [
            (
                OperationCode::GET,
                CancellationResult::CANCELED,
                unknown(version),
            ),
            (OperationCode::ARCHIVE, CancellationResult::COMPLETED, None),
        ] {
            let pending = ask(
                &server,
                "client",
                version,
                &insists(version),
                (operation, &named),
            );
            let correlation = pending.correlation.unwrap();
            let canceled = about(OperationCode::CANCEL, &correlation);
            let payload = canceled.payload.unwrap();
            let answer = CancelResponse::decode(&Item::parse(&payload).unwrap()).unwrap();
            assert_eq!(answer.cancellation_result, result, "{version} {operation}");
            assert_eq!(about(OperationCode::POLL, &correlation).reason, polled);
            let again = about(OperationCode::CANCEL, &correlation);
            assert_eq!(again.reason, unknown(version));
        }
    }
}

#[test]
fn answers_come_at_once_where_they_need_not_wait() {
    let server = Server::new();
    let query = |w: &mut Writer| {
        w.enumeration(Tag::QUERY_FUNCTION, QueryFunction::QUERY_OBJECTS.0);
    };
    let query = (OperationCode::QUERY, &query as &dyn Fn(&mut Writer));
    let absent = |w: &mut Writer| w.text(Tag::UNIQUE_IDENTIFIER, "nothing");
    for version in VERSIONS {
        let answer = ask(&server, "client", version, &insists(version), query);
        assert_eq!(answer.status, ResultStatus::SUCCESS);
        // So does a refusal.
        let get = (OperationCode::GET, &absent as &dyn Fn(&mut Writer));
        let refused = ask(&server, "client", version, &insists(version), get);
        assert_eq!(refused.status, ResultStatus::OPERATION_FAILED);
    }
    let uid = server.create(Version::V2_1, &[]).unwrap();
    let named = |w: &mut Writer| w.text(Tag::UNIQUE_IDENTIFIER, &uid);
    let get = (OperationCode::GET, &named as &dyn Fn(&mut Writer));
    let optional = |w: &mut Writer| {
        w.enumeration(
            Tag::ASYNCHRONOUS_INDICATOR,
            AsynchronousIndicator::OPTIONAL.0,
        );
    };
    let answer = ask(&server, "client", Version::V2_1, &optional, get);
    assert_eq!(answer.status, ResultStatus::SUCCESS);
    let undoes = |w: &mut Writer| {
        insists(Version::V2_1)(w);
        w.enumeration(
            Tag::BATCH_ERROR_CONTINUATION_OPTION,
            BatchErrorContinuationOption::UNDO.0,
        );
    };
    let answer = ask(&server, "client", Version::V2_1, &undoes, get);
    assert_eq!(answer.reason, Some(ResultReason::FEATURE_NOT_SUPPORTED));
}

#[test]
fn answers_that_wait_are_bounded() {
    let server = Server::new();
    let uid = server.create(Version::V1_4, &[]).unwrap();
    let named = |w: &mut Writer| w.text(Tag::UNIQUE_IDENTIFIER, &uid);
    let get = (OperationCode::GET, &named as &dyn Fn(&mut Writer));
    let insists = insists(Version::V1_4);
    let waiting = (0..100)
        .map(|_| ask(&server, "client", Version::V1_4, &insists, get).status)
        .filter(|status| *status == ResultStatus::OPERATION_PENDING)
        .count();
    assert_eq!(waiting, 64, "the others are given at once");
}
