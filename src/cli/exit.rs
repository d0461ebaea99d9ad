//! How a command ends: the documented exit codes, and what is said on the way out.

use std::fmt;

use crate::ck;
use crate::error::{Error, Kind};

/// Exit codes other than 0, documented in `docs/CLI.md`; scripts rely on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Failed for a reason that has no code of its own; the sentence says which.
    Failed = 1,
    /// The command line is wrong: nothing was done.
    Usage = 2,
    /// A PIN is wrong or missing.
    Pin = 3,
    /// No key manager could be reached, or TLS refused.
    Unreachable = 4,
    /// The key manager answered and refused, or did not answer with KMIP.
    Refused = 5,
    /// Something must be set up first: no token, no certificate, DARE key not mentioned.
    NotReady = 6,
    /// The token's configuration was changed outside mrhsm and is not used.
    Changed = 7,
    /// Ended by the user at a prompt (Ctrl-C, Ctrl-D).
    Interrupted = 130,
}

/// Why a command did not succeed.
#[derive(Debug)]
pub struct Failure {
    /// What the process exits with.
    pub exit: Exit,
    /// What the user reads.
    pub message: String,
}

/// What every command returns.
pub type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// A failure with its exit code.
    pub fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure {
            exit,
            message: message.into(),
        }
    }

    /// Something has to be done first; the message names the command.
    pub fn not_ready(message: impl Into<String>) -> Failure {
        Failure::new(Exit::NotReady, message)
    }

    /// The command line is wrong.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Usage, message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let exit = match (error.kind(), error.rv()) {
            (
                _,
                ck::CKR_PIN_INCORRECT
                | ck::CKR_PIN_LOCKED
                | ck::CKR_PIN_LEN_RANGE
                | ck::CKR_PIN_INVALID,
            ) => Exit::Pin,
            (Kind::Unreachable | Kind::Broken | Kind::Tls, _) => Exit::Unreachable,
            (Kind::Server(_) | Kind::Protocol, _) => Exit::Refused,
            (Kind::Changed, _) => Exit::Changed,
            _ => Exit::Failed,
        };
        Failure::new(exit, error.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
