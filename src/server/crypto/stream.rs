//! Operations that go on over several requests (spec 1.4, 4.29 to 4.37).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Parameters, failure};
use crate::crypto::cipher::Cipher;
use crate::crypto::hash::Digest;
use crate::crypto::mac::Mac;
use crate::crypto::{Hash, rng};
use crate::kmip::*;
use crate::secret::Secret;
use crate::server::engine::{Context, Engine};
use crate::server::keys::invalid;
use crate::server::lifecycle::spend;
use crate::server::objects::{Object, Outcome, Refusal, reason};

/// How many operations may go on over several requests at once.
const STREAMS: usize = 256;

/// How long such an operation waits for its next part when others want its place.
const PATIENCE: Duration = Duration::from_secs(300);

/// How much data waits at most for the end of an operation that needs all of it, in bytes.
const MOST_WAITING: usize = 64 << 20;

/// The operations that go on over several requests.
#[derive(Default)]
pub struct Streams(Mutex<HashMap<Vec<u8>, Stream>>);

/// One of them.
pub(super) struct Stream {
    operation: OperationCode,
    caller: String,
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
    /// A cipher; the length of its tag where it has one, and the block that the last part is padded to.
    Cipher {
        cipher: Box<Cipher>,
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
            Work::Gather(parts) => {
                if parts.iter().map(Secret::len).sum::<usize>() + data.len() > MOST_WAITING {
                    return Err(invalid("so much data cannot wait for its end"));
                }
                parts.push(Secret::new(data.to_vec()));
            }
        }
        Ok(Vec::new())
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
        let mut streams = self
            .streams
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let same =
            |stream: &Stream| stream.operation == operation && stream.caller == context.caller.name;
        match streams.get(correlation).is_some_and(same) {
            true => Ok(streams.remove(correlation)),
            false => {
                let reason = reason(
                    context.version,
                    ResultReason::INVALID_FIELD,
                    ResultReason::INVALID_CORRELATION_VALUE,
                );
                Err(Refusal::item(
                    reason,
                    "no operation goes on under this Correlation Value",
                ))
            }
        }
    }

    /// Keeps an operation for its next part.
    pub(super) fn suspend(&self, mut stream: Stream, part: Part) -> Outcome<Option<Vec<u8>>> {
        let mut streams = self
            .streams
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if streams.len() >= STREAMS {
            streams.retain(|_, other| other.used.elapsed() < PATIENCE);
        }
        if streams.len() >= STREAMS {
            return Err(Refusal::item(
                ResultReason::PERMISSION_DENIED,
                "too many operations go on: end one",
            ));
        }
        let correlation = match part.correlation {
            Some(correlation) => correlation,
            None => rng::bytes(16)?.expose().to_vec(),
        };
        stream.used = Instant::now();
        streams.insert(correlation.clone(), stream);
        Ok(Some(correlation))
    }
}

impl Stream {
    pub(super) fn new(
        context: &Context,
        operation: OperationCode,
        key: Option<(Arc<Object>, Parameters)>,
        work: Work,
    ) -> Stream {
        let caller = context.caller.name.clone();
        let (object, parameters) = key
            .map_or((None, Parameters::default()), |(object, parameters)| {
                (Some(object), parameters)
            });
        Stream {
            operation,
            caller,
            object,
            parameters,
            work,
            expected: None,
            used: Instant::now(),
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

/// What takes the data of a signature.
pub(super) fn hasher(hash: Option<Hash>) -> Outcome<Work> {
    Ok(match hash {
        Some(hash) => Work::Digest(Digest::new(hash).map_err(failure)?),
        None => Work::Gather(Vec::new()),
    })
}
