//! The KMIP client: operations in, answers out, in a version that was negotiated once.

use std::fmt::Display;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::pool::{Pool, Replay, Transport};
use super::{Config, Credential};
use crate::ck::CKR_TOKEN_NOT_RECOGNIZED;
use crate::deadline;
use crate::error::{Error, Kind, Result};
use crate::kmip::message::{
    Authentication, RequestBatch, ResponseMessage, decode_response, encode_request,
};
use crate::kmip::{DiscoverVersionsRequest, Operation, QueryFunction, QueryRequest, ResultReason};
use crate::log::{Level, enabled};
use crate::secret::Secret;
use crate::ttlv::dump_with;
use crate::version::Version;

/// In this order the versions are wanted: 1.4 has every cryptographic operation and is what servers are used with; the 2.x
/// dialect only where 1.4 is missing (`kmip-map` §2.2).
const WANTED: [Version; 7] = [
    Version::V1_4,
    Version::V2_1,
    Version::V2_0,
    Version::V1_3,
    Version::V1_2,
    Version::V1_1,
    Version::V1_0,
];

/// A client of one group of hosts. Threads share it.
#[derive(Debug)]
pub struct Client<T = Pool> {
    transport: T,
    credential: Option<Credential>,
    deadline: Duration,
    version: OnceLock<Version>,
    /// The version was understood once.
    proven: AtomicBool,
}

impl Client<Pool> {
    /// A client for the hosts of `config`; nothing is sent yet.
    pub fn new(config: Config) -> Client<Pool> {
        let transport = Pool::new(&config);
        Client::over(
            transport,
            config.version,
            config.credential,
            config.deadline,
        )
    }
}

impl<T: Transport> Client<T> {
    /// A client over any transport.
    pub fn over(
        transport: T,
        version: Option<Version>,
        credential: Option<Credential>,
        deadline: Duration,
    ) -> Client<T> {
        let version = version.map_or_else(OnceLock::new, OnceLock::from);
        Client {
            transport,
            credential,
            deadline,
            version,
            proven: AtomicBool::new(false),
        }
    }

    /// Starts a call: everything asked through it ends within the deadline.
    pub fn call(&self) -> Call<'_, T> {
        Call {
            client: self,
            until: deadline::after(self.deadline),
        }
    }

    /// One operation as a call of its own.
    pub fn request<O: Operation>(&self, operation: &O) -> Result<O::Response> {
        self.call().request(operation)
    }

    /// Who is asked, for messages.
    pub fn peer(&self) -> String {
        self.transport.peer()
    }

    /// Closes what is idle, and with it what buffers still hold.
    pub fn close_idle(&self) {
        self.transport.close_idle();
    }
}

/// One call of an application, however many requests it takes.
#[derive(Debug)]
pub struct Call<'a, T = Pool> {
    client: &'a Client<T>,
    until: Instant,
}

impl<T> Clone for Call<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Call<'_, T> {}

impl<T: Transport> Call<'_, T> {
    /// The version spoken: the pinned one, or what the first call negotiates.
    pub fn version(&self) -> Result<Version> {
        match self.client.version.get() {
            Some(version) => Ok(*version),
            None => {
                // No lock: two first calls at once both ask, and get the same answer.
                let version = self.negotiate()?;
                Ok(*self.client.version.get_or_init(|| version))
            }
        }
    }

    /// One operation.
    ///
    /// # Errors
    /// `Server` when it was refused. `Broken` when it may have been executed and is not idempotent.
    pub fn request<O: Operation>(&self, operation: &O) -> Result<O::Response> {
        self.request_with(operation, replay::<O>())
    }

    /// One operation that goes on where another ended, so that the server must not see it twice, whatever its kind.
    ///
    /// # Errors
    /// `Broken` when it may have been executed.
    pub fn request_once<O: Operation>(&self, operation: &O) -> Result<O::Response> {
        self.request_with(operation, Replay::OnlyIfUnsent)
    }

    fn request_with<O: Operation>(&self, operation: &O, replay: Replay) -> Result<O::Response> {
        let version = self.version()?;
        let answer = self.request_as(version, operation, replay);
        match &answer {
            Ok(_) => self.client.proven.store(true, Relaxed),
            Err(e) if !self.client.proven.load(Relaxed) => self.check_version(version, e)?,
            Err(_) => {}
        }
        answer
    }

    /// A pinned version is not negotiated. When its first request is not understood, the server is asked whether it speaks it.
    fn check_version(&self, version: Version, error: &Error) -> Result<()> {
        let refusals = [
            ResultReason::INVALID_MESSAGE,
            ResultReason::UNSUPPORTED_PROTOCOL_VERSION,
        ];
        if !error
            .reason()
            .is_some_and(|reason| refusals.contains(&ResultReason(reason)))
        {
            return Ok(());
        }
        let offered = match self.discover() {
            Ok(offered) if !offered.is_empty() => offered,
            // A server without the question is tried.
            _ => self.first_understood()?.into_iter().collect(),
        };
        match offered.is_empty() || offered.contains(&version) {
            true => Ok(()),
            false => Err(wrong_version(&self.client.peer(), version, &offered)),
        }
    }

    /// Several of one operation in one message. An item that the server left out, because one before it failed, has no answer.
    pub fn batch<O: Operation>(
        &self,
        operations: &[O],
    ) -> Result<Vec<Option<Result<O::Response>>>> {
        let authentication = self.authentication();
        let mut batch = RequestBatch::new(self.version()?, authentication.as_ref());
        for operation in operations {
            batch.push(operation);
        }
        let answer = self.exchange(O::CODE, &batch.finish()?, replay::<O>())?;
        let message = ResponseMessage::decode(answer.expose())?;
        // One item that is nobody's is the refusal of the whole message.
        if let Some(whole) = message
            .items
            .first()
            .filter(|item| message.items.len() == 1 && item.operation.is_none())
        {
            whole.check(O::CODE)?;
        }
        Ok((0..operations.len())
            .map(|index| {
                message.item(index).map(|_| {
                    message
                        .get::<O>(index)
                        .map_err(|e| e.context(self.client.peer()))
                })
            })
            .collect())
    }

    /// Different operations in one message, done in their order, all of them whatever fails. It is not sent again when its answer is lost.
    /// The answer is a [`ResponseMessage`].
    pub fn together(&self, fill: impl FnOnce(&mut RequestBatch) -> Result<()>) -> Result<Secret> {
        let authentication = self.authentication();
        let mut batch = RequestBatch::through(self.version()?, authentication.as_ref());
        fill(&mut batch)?;
        self.exchange("a batch", &batch.finish()?, Replay::OnlyIfUnsent)
    }

    /// The same call with only a part of the time that is left, so that something can follow.
    pub fn part(&self, numerator: u32, denominator: u32) -> Self {
        let now = Instant::now();
        Call {
            until: now + self.until.saturating_duration_since(now) * numerator / denominator,
            ..*self
        }
    }

    /// Whether time is left.
    pub fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    fn request_as<O: Operation>(
        &self,
        version: Version,
        operation: &O,
        replay: Replay,
    ) -> Result<O::Response> {
        let frame = encode_request(version, self.authentication().as_ref(), operation)?;
        let answer = self.exchange(O::CODE, &frame, replay)?;
        // A person who reads the refusal must know whose it is.
        decode_response::<O>(answer.expose()).map_err(|e| e.context(self.client.peer()))
    }

    fn exchange(&self, what: impl Display, frame: &Secret, replay: Replay) -> Result<Secret> {
        let start = Instant::now();
        if enabled(Level::Debug) {
            crate::log!(
                Debug,
                "{}",
                dump_with(frame.expose(), crate::kmip::value_name)
            );
        }
        let answer = self
            .client
            .transport
            .exchange(frame.expose(), replay, self.until);
        match &answer {
            Ok(answer) if enabled(Level::Debug) => crate::log!(
                Debug,
                "{}",
                dump_with(answer.expose(), crate::kmip::value_name)
            ),
            Ok(_) => crate::log!(Info, "{what} answered in {:?}", start.elapsed()),
            Err(e) => crate::log!(Warn, "{what} failed after {:?}: {e}", start.elapsed()),
        }
        answer
    }

    fn authentication(&self) -> Option<Authentication> {
        let credential = self.client.credential.as_ref()?;
        Some(Authentication::username_password(
            &credential.username,
            Some(credential.password.duplicate()),
        ))
    }

    fn negotiate(&self) -> Result<Version> {
        let versions = match self.discover() {
            Ok(versions) if !versions.is_empty() => versions,
            Ok(_) => return Err(no_common_version(&self.client.peer(), &[])),
            // Servers of KMIP 1.0 do not know the operation; others do not say so clearly. A request tells what they speak.
            Err(e)
                if matches!(e.kind(), Kind::Server(_) | Kind::Protocol | Kind::Broken)
                    && !is_credential_fault(&e) =>
            {
                return self
                    .first_understood()?
                    .ok_or_else(|| e.context("no KMIP version from 1.0 to 2.1 is understood"));
            }
            Err(e) => return Err(e),
        };
        let best = WANTED
            .into_iter()
            .find(|v| versions.contains(v))
            .ok_or_else(|| no_common_version(&self.client.peer(), &versions))?;
        crate::log!(Info, "{}: KMIP {best}", self.client.peer());
        Ok(best)
    }

    /// The versions the server speaks. The header says 1.1: every server that knows the operation takes it.
    pub(super) fn discover(&self) -> Result<Vec<Version>> {
        let ask = |versions: Vec<Version>| {
            let request = DiscoverVersionsRequest {
                protocol_versions: versions,
            };
            self.request_as(Version::V1_1, &request, Replay::Safe)
                .map(|answer| answer.protocol_versions)
        };
        let common = ask(Version::ALL.to_vec())?;
        // Nothing in common with our list may also mean that the server reads only an empty one.
        if common.is_empty() {
            ask(Vec::new())
        } else {
            Ok(common)
        }
    }

    /// Asks in one version after the other until one is answered.
    fn first_understood(&self) -> Result<Option<Version>> {
        let request = QueryRequest {
            query_functions: vec![QueryFunction::QUERY_OPERATIONS],
        };
        for version in WANTED {
            match self.request_as(version, &request, Replay::Safe) {
                Ok(_) => return Ok(Some(version)),
                // A version is refused in many ways; time-outs and hosts that are gone are not among them.
                Err(e)
                    if matches!(e.kind(), Kind::Server(_) | Kind::Protocol | Kind::Broken)
                        && !self.is_over() =>
                {
                    if is_credential_fault(&e) {
                        return Err(e);
                    }
                    crate::log!(Info, "{}: not KMIP {version}: {e}", self.client.peer());
                }
                Err(e) => return Err(e),
            }
        }
        Ok(None)
    }
}

fn replay<O: Operation>() -> Replay {
    if O::IDEMPOTENT {
        Replay::Safe
    } else {
        Replay::OnlyIfUnsent
    }
}

fn is_credential_fault(error: &Error) -> bool {
    error.reason().map(ResultReason) == Some(ResultReason::AUTHENTICATION_NOT_SUCCESSFUL)
}

fn wrong_version(peer: &str, version: Version, offered: &[Version]) -> Error {
    let offered = offered
        .iter()
        .map(Version::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    let message =
        format!("{peer} speaks KMIP {offered}, not {version}: 'mrhsm set -kmipversion auto'");
    Error::new(Kind::Protocol, CKR_TOKEN_NOT_RECOGNIZED, message)
}

fn no_common_version(peer: &str, offered: &[Version]) -> Error {
    let offered = offered
        .iter()
        .map(Version::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    let message = match offered.is_empty() {
        true => format!("{peer} offers no KMIP version"),
        false => format!("{peer} speaks only KMIP {offered}; mrhsm speaks 1.0 to 2.1"),
    };
    Error::new(Kind::Protocol, CKR_TOKEN_NOT_RECOGNIZED, message)
}
