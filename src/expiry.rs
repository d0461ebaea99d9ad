//! Expiry of cached secrets. The module has no thread, so each call of the application checks whether any must be wiped.
#![allow(
    unsafe_code,
    reason = "std has no clock that runs while the machine sleeps"
)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Nothing is cached.
const NEVER: u64 = u64::MAX;

/// The earliest expiry time in this process.
static NEXT: AtomicU64 = AtomicU64::new(NEVER);

/// A moment, in nanoseconds since the machine started, those included in which it slept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(u64);

impl Time {
    /// Now.
    pub fn now() -> Time {
        let mut now = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: writes the time to `now`; without the clock (Linux before 2.6.39) it stays zero, and nothing expires early.
        unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut now) };
        Time(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64)
    }

    /// So much later.
    pub fn after(self, age: Duration) -> Time {
        let nanos = u64::try_from(age.as_nanos()).unwrap_or(NEVER);
        Time(self.0.saturating_add(nanos).min(NEVER - 1))
    }
}

/// Something must be wiped at this time.
pub fn expect(end: Time) {
    NEXT.fetch_min(end.0, Ordering::AcqRel);
}

/// The time has come for something; true for one caller, who wipes what is over and calls [`expect`] for the rest.
pub fn is_due() -> bool {
    let next = NEXT.load(Ordering::Acquire);
    next != NEVER
        && next <= Time::now().0
        && NEXT
            .compare_exchange(next, NEVER, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_compared() {
        let now = Time::now();
        assert!(now < now.after(Duration::from_nanos(1)));
        assert!(now.after(Duration::MAX) < Time(NEVER));
        assert!(Time::now() >= now);
    }
}
