//! When an application's call must have ended, however many requests to a server it takes.

use std::cell::Cell;
use std::time::{Duration, Instant};

thread_local! {
    /// When this thread's call of a `C_*` function began. Without a destructor, so that a library with it can be unloaded.
    static BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// A call of an application; while this lives, all deadlines of this thread are counted from its beginning.
#[derive(Debug)]
pub struct Call(());

impl Call {
    /// Begins now.
    pub fn begin() -> Call {
        BEGAN.set(Some(Instant::now()));
        Call(())
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        BEGAN.set(None);
    }
}

/// The end of `allowed` time for the call under way; outside of one it is counted from now.
pub fn after(allowed: Duration) -> Instant {
    BEGAN.get().unwrap_or_else(Instant::now) + allowed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_one_end_and_the_next_another() {
        let allowed = Duration::from_secs(1);
        let call = Call::begin();
        let end = after(allowed);
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(after(allowed), end);
        std::thread::scope(|scope| {
            scope
                .spawn(|| assert!(after(allowed) > end))
                .join()
                .unwrap()
        });
        drop(call);
        assert!(after(allowed) > end);
    }
}
