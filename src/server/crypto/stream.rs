//! Operations that go on over several requests (spec 1.4, 4.29 to 4.37).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Parameters, failure, may_use};
use crate::crypto::cipher::Cipher;
use crate::crypto::hash::Digest;
use crate::crypto::mac::Mac;
use crate::crypto::{Hash, rng};
use crate::kmip::*;
use crate::secret::Secret;
use crate::server::budget::{exceeded, of_bytes, of_object};
use crate::server::context::Context;
use crate::server::engine::Engine;
use crate::server::keys::invalid;
use crate::server::life::{Purpose, wrong_state};
use crate::server::lifecycle::spend;
use crate::server::objects::{Object, Outcome, Refusal, Value, reason};

/// How long an operation waits for its next part when others of its client want its place.
const PATIENCE: Duration = Duration::from_secs(300);

/// What the operations of all clients hold in memory, as a multiple of what those of one client may.
const CLIENTS: usize = 8;

/// The operations that go on over several requests, by client and Correlation Value. They may go on over any connection of the
/// client, and end with its last.
#[derive(Default)]
pub struct Streams(Mutex<HashMap<String, HashMap<Vec<u8>, Stream>>>);

impl Streams {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, HashMap<Vec<u8>, Stream>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, client: &str, correlation: &[u8], operation: OperationCode) -> Option<Stream> {
        let mut clients = self.lock();
        let streams = clients.get_mut(client)?;
        if streams.get(correlation)?.operation != operation {
            return None;
        }
        let stream = streams.remove(correlation);
        if streams.is_empty() {
            clients.remove(client);
        }
        stream
    }

    /// Ends one operation of a client.
    pub fn end(&self, client: &str, correlation: &[u8]) {
        let mut clients = self.lock();
        if let Some(streams) = clients.get_mut(client) {
            streams.remove(correlation);
            if streams.is_empty() {
                clients.remove(client);
            }
        }
    }

    /// Ends all operations of a client.
    pub fn end_all(&self, client: &str) {
        self.lock().remove(client);
    }
}

fn waiting(streams: &HashMap<Vec<u8>, Stream>) -> usize {
    streams.values().map(|stream| stream.work.waiting()).sum()
}

/// One of them.
pub(super) struct Stream {
    operation: OperationCode,
    /// The key; hashing has none.
    pub(super) object: Option<Arc<Object>>,
    pub(super) parameters: Parameters,
    pub(super) work: Work,
    /// What the end is compared with, whichever part brought it: a tag, a MAC, a signature.
    pub(super) expected: Option<Vec<u8>>,
    used: Instant,
}

/// What is at work.
pub(super) enum Work {
    /// A cipher; the length of its tag where it has one, the block that the last part is padded to, and whether it needs all
    /// data before it gives any.
    Cipher {
        cipher: Box<Cipher>,
        gathers: bool,
        tag_len: Option<usize>,
        pads: Option<usize>,
        taken: usize,
    },
    /// A hash.
    Digest(Digest),
    /// A MAC.
    Mac(Box<Mac>),
    /// Data that is needed whole.
    Gather(Vec<Secret>),
}

impl Work {
    pub(super) fn update(&mut self, data: &[u8]) -> Outcome<Vec<u8>> {
        match self {
            Work::Cipher { cipher, taken, .. } => {
                *taken += data.len();
                return cipher.update(data).map_err(failure);
            }
            Work::Digest(digest) => digest.update(data).map_err(failure)?,
            Work::Mac(mac) => mac.update(data).map_err(failure)?,
            Work::Gather(parts) => parts.push(Secret::new(data.to_vec())),
        }
        Ok(Vec::new())
    }

    /// How many bytes wait for the end.
    fn waiting(&self) -> usize {
        match self {
            Work::Gather(parts) => parts.iter().map(Secret::len).sum(),
            Work::Cipher {
                gathers: true,
                taken,
                ..
            } => *taken,
            _ => 0,
        }
    }

    pub(super) fn finish(self) -> Outcome<Vec<u8>> {
        match self {
            Work::Cipher {
                mut cipher,
                pads: Some(block),
                taken,
                ..
            } => {
                let padding = block - taken % block;
                let mut out = cipher
                    .update(&vec![padding as u8; padding])
                    .map_err(failure)?;
                out.extend(cipher.finish().map_err(failure)?);
                Ok(out)
            }
            Work::Cipher { cipher, .. } => cipher.finish().map_err(failure),
            Work::Digest(digest) => digest.finish().map_err(failure),
            Work::Mac(mac) => mac.finish().map_err(failure),
            Work::Gather(parts) => Ok(parts
                .iter()
                .flat_map(|part| part.expose().iter().copied())
                .collect()),
        }
    }
}

/// Where a request stands in an operation.
pub(super) struct Part {
    pub(super) init: Option<bool>,
    pub(super) last: Option<bool>,
    pub(super) correlation: Option<Vec<u8>>,
}

impl Part {
    /// True when nothing follows.
    pub(super) fn is_last(&self) -> bool {
        match (&self.correlation, self.init) {
            (None, None | Some(false)) => true,
            _ => self.last == Some(true),
        }
    }

    /// True for a part of an operation over several requests.
    pub(super) fn is_of_several(&self) -> bool {
        self.correlation.is_some() || self.init == Some(true)
    }
}

impl Engine {
    /// The operation that a part goes on with; `None` when it begins one.
    pub(super) fn resume(
        &self,
        context: &Context,
        operation: OperationCode,
        part: &Part,
    ) -> Outcome<Option<Stream>> {
        let streams = part.init.is_some() || part.last.is_some() || part.correlation.is_some();
        if streams && !self.personality.streams {
            return Err(Refusal::message("streaming is not supported"));
        }
        let Some(correlation) = &part.correlation else {
            return match (part.init, part.last) {
                (Some(true), _) | (None | Some(false), None | Some(false)) => Ok(None),
                (_, Some(true)) => Err(invalid("the last part of what?")),
            };
        };
        if part.init == Some(true) {
            return Err(invalid(
                "Init Indicator and Correlation Value contradict each other",
            ));
        }
        let found = self
            .streams
            .take(&context.caller.name, correlation, operation);
        let Some(mut stream) = found else {
            let reason = reason(
                context.version,
                ResultReason::INVALID_FIELD,
                ResultReason::INVALID_CORRELATION_VALUE,
            );
            return Err(Refusal::item(
                reason,
                "no operation goes on under this Correlation Value",
            ));
        };
        stream.check_key(self, context, part.is_last())?;
        Ok(Some(stream))
    }

    /// Keeps an operation for its next part.
    pub(super) fn suspend(
        &self,
        context: &mut Context,
        mut stream: Stream,
        part: Part,
    ) -> Outcome<Option<Vec<u8>>> {
        let full = |text| Err(exceeded(context.version, text));
        let correlation = match &part.correlation {
            Some(correlation) => correlation.clone(),
            None => rng::bytes(16)?.expose().to_vec(),
        };
        stream.used = Instant::now();
        let mut clients = self.streams.lock();
        let all: usize = clients.values().map(waiting).sum();
        let streams = clients.entry(context.caller.name.clone()).or_default();
        if streams.len() >= self.quotas.streams {
            streams.retain(|_, other| other.used.elapsed() < PATIENCE);
        }
        if streams.len() >= self.quotas.streams {
            return full("too many operations of this client go on: end one");
        }
        let new = stream.work.waiting();
        let most = self.quotas.stream_bytes;
        if new > 0 && (waiting(streams) + new > most || all + new > CLIENTS * most) {
            return full("so much data cannot wait for its end");
        }
        streams.insert(correlation.clone(), stream);
        drop(clients);
        if part.correlation.is_none() {
            context.begun.push(correlation.clone());
        }
        Ok(Some(correlation))
    }
}

impl Stream {
    pub(super) fn new(
        operation: OperationCode,
        key: Option<(Arc<Object>, Parameters)>,
        work: Work,
    ) -> Stream {
        let (object, parameters) = key
            .map_or((None, Parameters::default()), |(object, parameters)| {
                (Some(object), parameters)
            });
        Stream {
            operation,
            object,
            parameters,
            work,
            expected: None,
            used: Instant::now(),
        }
    }

    /// Fails when the key may not be used so any more: each part is a use of it.
    fn check_key(&mut self, engine: &Engine, context: &Context, last: bool) -> Outcome<()> {
        let Some(begun) = &self.object else {
            return Ok(());
        };
        let (mask, purpose) = demands(self.operation);
        let uid = UniqueIdentifier::from(begun.uid.as_str());
        let object = engine.resolve(context, Some(uid))?;
        may_use(engine, context, &object, mask, purpose)?;
        let waiting = of_bytes(self.work.waiting());
        context.meter.charge(of_object(&object))?;
        if last {
            context.meter.charge(2 * waiting)?;
        }
        match (&begun.value, &object.value) {
            (Value::Key(before, _), Value::Key(now, _)) if before.bytes() == now.bytes() => {
                self.object = Some(object);
                Ok(())
            }
            _ => Err(wrong_state(context.version, "the key was replaced")),
        }
    }

    /// Counts the use of a key that protects data.
    pub(super) fn spend(
        &self,
        engine: &Engine,
        context: &Context,
        bytes: usize,
        part: &Part,
    ) -> Outcome<()> {
        match &self.object {
            Some(object) => spend(engine, context, object, bytes, part.correlation.is_none()),
            None => Ok(()),
        }
    }

    pub(super) fn uid(&self, context: &mut Context) -> String {
        self.object
            .as_ref()
            .map_or_else(String::new, |object| context.about(object))
    }
}

/// What an operation demands of its key.
pub(super) fn demands(operation: OperationCode) -> (CryptographicUsageMask, Purpose) {
    use CryptographicUsageMask as Use;
    match operation {
        OperationCode::ENCRYPT => (Use::ENCRYPT, Purpose::Protect),
        OperationCode::DECRYPT => (Use::DECRYPT, Purpose::Process),
        OperationCode::SIGN => (Use::SIGN, Purpose::Protect),
        OperationCode::SIGNATURE_VERIFY => (Use::VERIFY, Purpose::Process),
        OperationCode::MAC_VERIFY => (Use::MAC_VERIFY, Purpose::Process),
        _ => (Use::MAC_GENERATE, Purpose::Protect),
    }
}

/// What takes the data of a signature.
pub(super) fn hasher(hash: Option<Hash>) -> Outcome<Work> {
    Ok(match hash {
        Some(hash) => Work::Digest(Digest::new(hash).map_err(failure)?),
        None => Work::Gather(Vec::new()),
    })
}
