//! What stands around every `C_*` function: no panic reaches the host, every result is logged, an error becomes a `CK_RV`.

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::ck::{self, CK_RV};
use crate::deadline;
use crate::error::Result;

/// Runs the body of the function `name` and returns what the application gets.
///
/// A panic is our bug, not the host's: it is logged and becomes `CKR_GENERAL_ERROR`. The locks of the module ignore
/// poisoning, so the next call works.
pub fn call(name: &'static str, body: impl FnOnce() -> Result<()>) -> CK_RV {
    let _call = deadline::Call::begin();
    match catch_unwind(AssertUnwindSafe(body)) {
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
        assert_eq!(call("C_Test", || panic!("of the test")), ck::CKR_GENERAL_ERROR);
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
        assert_eq!(call("C_Test", || std::panic::panic_any(Bomb)), ck::CKR_GENERAL_ERROR);
    }

    #[test]
    fn an_error_becomes_its_value() {
        assert_eq!(call("C_Test", || Err(ck::CKR_PIN_INCORRECT)?), ck::CKR_PIN_INCORRECT);
    }
}
