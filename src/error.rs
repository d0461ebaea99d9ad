//! The one error type: a `CK_RV` for applications, a sentence for people, a [`Kind`] for code that decides.

use std::fmt;

use crate::ck::{self, CK_RV};

/// Result with the crate's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What sort of thing went wrong, for code that must decide (retry, fail over, fall back).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A condition of PKCS#11 itself; the `CK_RV` says all.
    Pkcs11,
    /// Bad input of a person: an option, a configuration file, a PIN.
    Input,
    /// Reading or writing a local file.
    File,
    /// The configuration of a token is not the one that was accepted, so it is not used.
    Changed,
    /// The host was not reached, or broke off before the request could have reached it: safe to try another.
    Unreachable,
    /// The connection broke or fell silent after the request may have been executed.
    Broken,
    /// TLS refused: a certificate, a name, a version. Trying again does not help.
    Tls,
    /// The answer was malformed or not an answer to the request.
    Protocol,
    /// The server answered "Operation Failed" with this KMIP Result Reason.
    Server(u32),
}

/// An error: the `CK_RV` an application gets and the sentence a person reads.
///
/// `return Err(CKR_ARGUMENTS_BAD)?` works anywhere, by `From<CK_RV>`.
pub struct Error(Box<Inner>);

struct Inner {
    rv: CK_RV,
    kind: Kind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind` with the `CK_RV` for applications and a sentence for people.
    pub fn new(kind: Kind, rv: CK_RV, message: impl Into<String>) -> Error {
        Error(Box::new(Inner {
            rv,
            kind,
            message: message.into(),
            source: None,
        }))
    }

    /// Bad input of a person (`CKR_ARGUMENTS_BAD` for applications).
    pub fn input(message: impl Into<String>) -> Error {
        Error::new(Kind::Input, ck::CKR_ARGUMENTS_BAD, message)
    }

    /// A local file that could not be read or written (`CKR_DEVICE_ERROR`, or `CKR_DEVICE_MEMORY` on a full disk).
    pub fn file(message: impl Into<String>, source: std::io::Error) -> Error {
        let rv = match source.kind() {
            std::io::ErrorKind::StorageFull => ck::CKR_DEVICE_MEMORY,
            std::io::ErrorKind::ReadOnlyFilesystem => ck::CKR_TOKEN_WRITE_PROTECTED,
            _ => ck::CKR_DEVICE_ERROR,
        };
        Error::new(Kind::File, rv, message).because(source)
    }

    /// A malformed or unexpected answer of the server (`CKR_DEVICE_ERROR`).
    pub fn protocol(message: impl Into<String>) -> Error {
        Error::new(Kind::Protocol, ck::CKR_DEVICE_ERROR, message)
    }

    /// The same error with the underlying cause attached; its text is shown after ours.
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        self.0.source = Some(source.into());
        self
    }

    /// The same error with `context` put before its message: "context: message".
    pub fn context(mut self, context: impl fmt::Display) -> Error {
        self.0.message = if self.0.message.is_empty() {
            context.to_string()
        } else {
            format!("{context}: {}", self.0.message)
        };
        self
    }

    /// The same error with another `CK_RV`, where a caller knows better.
    pub fn with_rv(mut self, rv: CK_RV) -> Error {
        self.0.rv = rv;
        self
    }

    /// The value a `C_*` function returns for this error.
    pub fn rv(&self) -> CK_RV {
        self.0.rv
    }

    /// What sort of error it is.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The KMIP Result Reason, when a server answered "Operation Failed".
    pub fn reason(&self) -> Option<u32> {
        match self.0.kind {
            Kind::Server(reason) => Some(reason),
            _ => None,
        }
    }
}

impl From<CK_RV> for Error {
    fn from(rv: CK_RV) -> Error {
        Error::new(Kind::Pkcs11, rv, "")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.message.is_empty() {
            f.write_str(&ck::rv_name(self.0.rv))?;
        } else {
            f.write_str(&self.0.message)?;
        }
        let mut cause = self
            .0
            .source
            .as_deref()
            .map(|e| e as &dyn std::error::Error);
        while let Some(e) = cause {
            write!(f, ": {e}")?;
            cause = e.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&ck::rv_name(self.0.rv))?;
        if self.0.message.is_empty() && self.0.source.is_none() {
            return Ok(());
        }
        write!(f, " ({:?}): {self}", self.0.kind)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_value_shows_its_name_and_context_comes_first() {
        let bare: Error = ck::CKR_PIN_INCORRECT.into();
        assert_eq!(bare.to_string(), "CKR_PIN_INCORRECT");
        assert_eq!(format!("{bare:?}"), "CKR_PIN_INCORRECT");
        let e = Error::file(
            "cannot write mrhsm.conf",
            std::io::Error::from(std::io::ErrorKind::StorageFull),
        )
        .context("token demo");
        assert!(
            e.to_string()
                .starts_with("token demo: cannot write mrhsm.conf: "),
            "{e}"
        );
        assert_eq!(e.rv(), ck::CKR_DEVICE_MEMORY);
    }
}
