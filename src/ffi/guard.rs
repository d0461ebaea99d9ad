//! What stands around every `C_*` function: no panic reaches the host, every result is logged, an error becomes a `CK_RV` that the
//! function may return.

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::sync::atomic::{AtomicBool, Ordering};

use super::values::may_return;
use crate::ck::{self, CK_RV, rv_name};
use crate::deadline;
use crate::error::{Error, Kind, Result};
use crate::secret::reserve;

/// Runs the body of the function `name` and returns what the application gets.
///
/// A panic is our bug, not the host's: it is logged and becomes `CKR_GENERAL_ERROR`. The locks of the module ignore
/// poisoning, so the next call works.
pub fn call(name: &'static str, body: impl FnOnce() -> Result<()>) -> CK_RV {
    let _call = deadline::Call::begin();
    match catch_unwind(AssertUnwindSafe(|| {
        renew_reserve(name)
            .and_then(|()| body())
            .map_err(|error| listed(name, error))
    })) {
        Ok(Ok(())) => {
            crate::log!(Info, "{name}: CKR_OK");
            ck::CKR_OK
        }
        Ok(Err(error)) => {
            crate::log!(Error, "{name}: {error:?}");
            error.rv()
        }
        Err(payload) => {
            // Dropping a payload may panic again.
            std::mem::forget(payload);
            crate::log!(Error, "{name}: CKR_GENERAL_ERROR after a panic");
            ck::CKR_GENERAL_ERROR
        }
    }
}

/// Refuses a call while memory is short, unless it frees some.
fn renew_reserve(name: &str) -> Result<()> {
    const FREES: [&str; 6] = [
        "C_CloseAllSessions",
        "C_CloseSession",
        "C_DestroyObject",
        "C_Finalize",
        "C_Logout",
        "C_SessionCancel",
    ];
    reserve::renew().or_else(|error| {
        if FREES.contains(&name) {
            Ok(())
        } else {
            Err(error)
        }
    })
}

/// The error with a value that the function `name` may return.
///
/// What servers, networks and disks do to a function is in no list. That the key manager refused is `CKR_FUNCTION_FAILED`, that
/// something is wrong with it `CKR_DEVICE_ERROR`; the log has all of it. Any other value that is not in the list is our mistake.
fn listed(name: &str, error: Error) -> Error {
    let rv = error.rv();
    if may_return(name, rv) {
        return error;
    }
    let instead = match rv {
        // The object that somebody else destroyed is the key.
        ck::CKR_OBJECT_HANDLE_INVALID if may_return(name, ck::CKR_KEY_HANDLE_INVALID) => {
            ck::CKR_KEY_HANDLE_INVALID
        }
        // The two are nearly the same (5.1.8), and functions that take parts have one of them only.
        ck::CKR_DATA_INVALID if may_return(name, ck::CKR_DATA_LEN_RANGE) => ck::CKR_DATA_LEN_RANGE,
        // A length that a template asks for.
        ck::CKR_KEY_SIZE_RANGE if may_return(name, ck::CKR_ATTRIBUTE_VALUE_INVALID) => {
            ck::CKR_ATTRIBUTE_VALUE_INVALID
        }
        // A key's store is asked for a mechanism when there is something to do, after the function that could say so.
        ck::CKR_MECHANISM_INVALID
        | ck::CKR_MECHANISM_PARAM_INVALID
        | ck::CKR_FUNCTION_NOT_SUPPORTED => ck::CKR_FUNCTION_FAILED,
        // All of a store is behind a PIN, and the lists of functions for public objects do not foresee that.
        ck::CKR_USER_NOT_LOGGED_IN => ck::CKR_FUNCTION_FAILED,
        _ => {
            debug_assert!(
                error.kind() != Kind::Pkcs11,
                "{name} may not return {error:?}"
            );
            match error.kind() {
                Kind::Pkcs11 | Kind::Input | Kind::Server(_) => ck::CKR_FUNCTION_FAILED,
                _ if may_return(name, ck::CKR_DEVICE_ERROR) => ck::CKR_DEVICE_ERROR,
                _ => ck::CKR_FUNCTION_FAILED,
            }
        }
    };
    error
        .context(format_args!("instead of {}", rv_name(rv)))
        .with_rv(instead)
}

/// Sends the message of a panic to the log: stderr, where Rust prints it, belongs to the host.
///
/// For the shared library only, which has a panic hook of its own. The hook of a Rust program stays as it is.
pub fn keep_panics_off_stderr() {
    static DONE: AtomicBool = AtomicBool::new(false);
    // Not `Once`: a fork in the middle of it would leave the child waiting.
    if !DONE.load(Ordering::Relaxed) && !DONE.swap(true, Ordering::Relaxed) {
        set_hook(Box::new(|panic| crate::log!(Error, "{panic}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_general_error_and_the_next_call_works() {
        assert_eq!(
            call("C_Test", || panic!("of the test")),
            ck::CKR_GENERAL_ERROR
        );
        assert_eq!(call("C_Test", || Ok(())), ck::CKR_OK);
    }

    #[test]
    fn a_payload_that_panics_when_dropped_does_no_harm() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("of the payload");
            }
        }
        assert_eq!(
            call("C_Test", || std::panic::panic_any(Bomb)),
            ck::CKR_GENERAL_ERROR
        );
    }

    #[test]
    fn an_error_becomes_its_value() {
        assert_eq!(
            call("C_Login", || Err(ck::CKR_PIN_INCORRECT)?),
            ck::CKR_PIN_INCORRECT
        );
    }

    #[test]
    fn what_a_function_may_not_return_becomes_what_it_may() {
        let fails = |name, kind, rv| call(name, || Err(Error::new(kind, rv, "of the test")));
        let (refused, gone) = (Kind::Server(1), ck::CKR_OBJECT_HANDLE_INVALID);
        assert_eq!(
            fails("C_Sign", refused, ck::CKR_MECHANISM_PARAM_INVALID),
            ck::CKR_FUNCTION_FAILED
        );
        assert_eq!(
            fails("C_SignInit", refused, ck::CKR_MECHANISM_PARAM_INVALID),
            ck::CKR_MECHANISM_PARAM_INVALID
        );
        assert_eq!(fails("C_Sign", refused, gone), ck::CKR_FUNCTION_FAILED);
        assert_eq!(
            fails("C_SignInit", refused, gone),
            ck::CKR_KEY_HANDLE_INVALID
        );
        assert_eq!(fails("C_DestroyObject", refused, gone), gone);
        assert_eq!(
            fails("C_EncryptFinal", Kind::Pkcs11, ck::CKR_DATA_INVALID),
            ck::CKR_DATA_LEN_RANGE
        );
        assert_eq!(
            fails("C_Encrypt", Kind::Pkcs11, ck::CKR_MECHANISM_INVALID),
            ck::CKR_FUNCTION_FAILED
        );
        assert_eq!(
            fails("C_Logout", Kind::Input, ck::CKR_ARGUMENTS_BAD),
            ck::CKR_FUNCTION_FAILED
        );
        assert_eq!(
            fails("C_Sign", Kind::Tls, ck::CKR_TOKEN_NOT_RECOGNIZED),
            ck::CKR_DEVICE_ERROR
        );
        assert_eq!(
            fails("C_Login", Kind::File, ck::CKR_TOKEN_WRITE_PROTECTED),
            ck::CKR_DEVICE_ERROR
        );
        assert_eq!(
            fails("C_GetSlotList", Kind::File, ck::CKR_DEVICE_ERROR),
            ck::CKR_FUNCTION_FAILED
        );
    }
}
