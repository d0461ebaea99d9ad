//! Signals of a server: waiting for SIGTERM, SIGINT and SIGHUP, and living on after SIGXFSZ.
#![allow(
    unsafe_code,
    reason = "sigtimedwait(2), pthread_sigmask(3) and signal(2) have no safe wrapper in std"
)]

use std::mem::MaybeUninit;
use std::time::Duration;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// SIGTERM, SIGINT: to end.
    Stop,
    /// SIGHUP: to read files again.
    Reload,
}

/// The signals, kept back until they are waited for.
pub struct Waiting(libc::sigset_t);

impl Waiting {
    /// Keeps the signals back in this thread and those it starts. A file that may not grow any more is an error of the write,
    /// as a full disk is, and no reason to die.
    pub fn begin() -> Waiting {
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigemptyset initialises the set that the other calls read; the old mask is not wanted. No handler is installed.
        unsafe {
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            libc::sigemptyset(set.as_mut_ptr());
            libc::sigaddset(set.as_mut_ptr(), libc::SIGTERM);
            libc::sigaddset(set.as_mut_ptr(), libc::SIGINT);
            libc::sigaddset(set.as_mut_ptr(), libc::SIGHUP);
            libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut());
            Waiting(set.assume_init())
        }
    }

    /// Returns when one of them comes; `None` after `patience`.
    pub fn wait(&self, patience: Duration) -> Option<Asked> {
        let patience = libc::timespec {
            tv_sec: libc::time_t::try_from(patience.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: patience.subsec_nanos().into(),
        };
        // SAFETY: an initialised set and time; what else is known of the signal is not wanted.
        match unsafe {
            libc::sigtimedwait(&raw const self.0, std::ptr::null_mut(), &raw const patience)
        } {
            libc::SIGHUP => Some(Asked::Reload),
            libc::SIGTERM | libc::SIGINT => Some(Asked::Stop),
            _ => None,
        }
    }
}
