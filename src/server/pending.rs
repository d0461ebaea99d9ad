//! Asynchronous answers: what is done, and waits until its client polls for it (spec 1.4, 4.27 and
//! 4.28).
//!
//! An operation is done when it is asked; only its answer is given later. A client that is lost
//! after its request loses no more than with an answer that comes at once.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::context::Context;
use super::objects::{Outcome, Refusal, reason};
use crate::crypto::rng;
use crate::kmip::message::RequestHeader;
use crate::kmip::*;
use crate::ttlv::{Encode, Tag, Writer};
use crate::version::Version;

/// How long an answer waits at least.
const PATIENCE: Duration = Duration::from_secs(300);
/// Answers of one client that wait at most.
const MOST: usize = 64;
/// An answer that is longer, in bytes, is given at once.
const LONGEST: usize = 64 << 10;

/// The answers that wait, by client and Asynchronous Correlation Value.
#[derive(Default)]
pub struct Pending(Mutex<HashMap<String, HashMap<Vec<u8>, Waiting>>>);

struct Waiting {
    response: Response,
    since: Instant,
}

/// True when the client of a message wants its answers later: 1.x says so by a Boolean, and 2.x by
/// Mandatory. Optional leaves it to the server.
pub fn is_wanted(header: &RequestHeader) -> bool {
    let wanted = header.asynchronous_indicator.map(|wanted| wanted.0);
    let undoes = header.batch_error_continuation_option == Some(BatchErrorContinuationOption::UNDO);
    match wanted {
        _ if undoes => false,
        Some(AsynchronousIndicator::MANDATORY) => true,
        Some(AsynchronousIndicator::OPTIONAL) => !header.protocol_version.typed_attributes(),
        _ => false,
    }
}

/// Operations that are about messages, and not done later.
pub fn is_immediate(operation: OperationCode) -> bool {
    matches!(
        operation,
        OperationCode::POLL
            | OperationCode::CANCEL
            | OperationCode::QUERY
            | OperationCode::DISCOVER_VERSIONS
            | OperationCode::PING
    )
}

/// Operations that leave nothing behind, so that dropping their answer cancels them.
fn changes_nothing(operation: OperationCode) -> bool {
    matches!(
        operation,
        OperationCode::LOCATE
            | OperationCode::CHECK
            | OperationCode::GET
            | OperationCode::GET_ATTRIBUTES
            | OperationCode::GET_ATTRIBUTE_LIST
            | OperationCode::EXPORT
            | OperationCode::VALIDATE
            | OperationCode::SIGNATURE_VERIFY
            | OperationCode::MAC_VERIFY
            | OperationCode::HASH
            | OperationCode::RNG_RETRIEVE
    )
}

impl Pending {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, HashMap<Vec<u8>, Waiting>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps an answer, and gives the value by which it is polled for; gives the answer back where
    /// it cannot wait.
    pub fn put(
        &self,
        client: &str,
        version: Version,
        response: Response,
    ) -> Result<Vec<u8>, Response> {
        let mut writer = Writer::new(version);
        response.encode(Tag::RESPONSE_PAYLOAD, &mut writer);
        if writer.len() > LONGEST {
            return Err(response);
        }
        let Ok(correlation) = rng::bytes(16).map(|bytes| bytes.expose().to_vec()) else {
            return Err(response);
        };
        let mut clients = self.lock();
        clients.retain(|_, answers| {
            answers.retain(|_, waiting| waiting.since.elapsed() < PATIENCE);
            !answers.is_empty()
        });
        let answers = clients.entry(client.to_owned()).or_default();
        if answers.len() >= MOST {
            return Err(response);
        }
        let since = Instant::now();
        answers.insert(correlation.clone(), Waiting { response, since });
        Ok(correlation)
    }

    /// Answers Poll: with the answer of the operation itself.
    pub fn poll(&self, context: &Context, request: &PollRequest) -> Outcome<Response> {
        let taken = self.take(context, &request.asynchronous_correlation_value);
        taken.ok_or_else(|| unknown(context))
    }

    /// Answers Cancel.
    pub fn cancel(&self, context: &Context, request: CancelRequest) -> Outcome<CancelResponse> {
        let correlation = request.asynchronous_correlation_value;
        let name = &context.caller.name;
        let operation = self.lock().get(name).and_then(|answers| {
            let waiting = answers.get(&correlation)?;
            Some(waiting.response.code())
        });
        let operation = operation.ok_or_else(|| unknown(context))?;
        let cancellation_result = match changes_nothing(operation) {
            true => CancellationResult::CANCELED,
            false => CancellationResult::COMPLETED,
        };
        if cancellation_result == CancellationResult::CANCELED {
            self.take(context, &correlation);
        }
        Ok(CancelResponse {
            asynchronous_correlation_value: correlation,
            cancellation_result,
        })
    }

    fn take(&self, context: &Context, correlation: &[u8]) -> Option<Response> {
        let mut clients = self.lock();
        let answers = clients.get_mut(&context.caller.name)?;
        let waiting = answers.remove(correlation)?;
        if answers.is_empty() {
            clients.remove(&context.caller.name);
        }
        Some(waiting.response)
    }
}

fn unknown(context: &Context) -> Refusal {
    let reason = reason(
        context.version,
        ResultReason::ITEM_NOT_FOUND,
        ResultReason::INVALID_ASYNCHRONOUS_CORRELATION_VALUE,
    );
    Refusal::item(
        reason,
        "no answer waits under this Asynchronous Correlation Value",
    )
}
