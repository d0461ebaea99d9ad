//! Faults, for tests: what a [`Hook`] may do to the answers of a server.

use std::net::TcpStream;
use std::time::Duration;

use crate::kmip::{OperationCode, ResultReason};
use crate::version::Version;

/// What goes wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// Executed; the answer comes later.
    Delay(Duration),
    /// Executed; no answer ever, the connection stays open.
    Silence,
    /// Not executed; the connection breaks.
    ResetBefore,
    /// Executed; the connection breaks before any answer.
    ResetAfter,
    /// Executed; the connection breaks in the middle of the answer.
    ResetWithin,
    /// Executed and answered; then the connection breaks.
    CloseAfter,
    /// Executed; half of the answer, then silence.
    HalfFrame,
    /// Executed; bytes that are no KMIP.
    Garbage,
    /// Executed; the answer's batch IDs are others.
    WrongBatchId,
    /// Executed; the answer's header says another version.
    WrongVersion(Version),
    /// Not executed; every item fails with this reason.
    Fail(ResultReason),
    /// Executed; then the server dies: no answer, no more connections.
    Kill,
}

/// Sees every request and may spoil its answer. The command has none: only tests do.
pub trait Hook: Send + Sync {
    /// Counts a request and says what goes wrong with it.
    fn fault(&self, operations: &[OperationCode]) -> Option<Fault>;

    /// What became of a request.
    fn exchanged(&self, exchange: Exchange);

    /// Makes the socket end with a reset when it is closed.
    fn reset(&self, socket: &TcpStream);
}

/// One request and what became of it.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Which connection it came on, counting from 1.
    pub connection: usize,
    /// Protocol version of the header, when it could be read.
    pub version: Option<Version>,
    /// Operations of its items.
    pub operations: Vec<OperationCode>,
    /// The request as it came.
    pub request: Vec<u8>,
    /// The answer as it was made; `None` when the request was not executed.
    pub response: Option<Vec<u8>>,
}
