//! The environment, which a program with more rights than its caller does not believe.
//!
//! The caller of a set-user-ID program chooses its environment. It must choose neither the file that the module logs to, nor the
//! token directory, nor the certificates that are trusted. The kernel marks such programs, also those with file capabilities
//! (`AT_SECURE`), and in them every variable counts as unset.
//!
//! No other file reads the environment (`scripts/check-floors`). Libraries do, in C and in Rust: `build.rs` has the linker send
//! their `getenv` here.
#![allow(unsafe_code, reason = "std has neither getauxval nor secure_getenv")]

use std::ffi::{OsString, c_char};

/// The program has more rights than its caller.
pub fn is_secure() -> bool {
    // SAFETY: reads the vector that the kernel passed to the process.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// The variable `name`, if it is set, not empty, and to be believed.
pub fn variable(name: &str) -> Option<OsString> {
    believed(name, is_secure())
}

fn believed(name: &str, secure: bool) -> Option<OsString> {
    if secure {
        return None;
    }
    std::env::var_os(name).filter(|value| !value.is_empty())
}

unsafe extern "C" fn getenv(name: *const c_char) -> *mut c_char {
    unsafe extern "C" {
        fn secure_getenv(name: *const c_char) -> *mut c_char;
    }
    // SAFETY: the caller's string, passed on. The function has the contract of getenv.
    unsafe { secure_getenv(name) }
}

hidden! { "mrhsm_getenv" => getenv }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_more_rights_than_its_caller_sees_no_variables() {
        assert!(believed("PATH", false).is_some());
        assert_eq!(believed("PATH", true), None);
        assert_eq!(variable("PATH").is_some(), !is_secure());
        // SAFETY: a string that ends with a zero.
        let path = unsafe { getenv(c"PATH".as_ptr()) };
        assert_eq!(path.is_null(), is_secure());
    }
}
