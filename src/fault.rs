//! Points at which the tests let a run fail or die. In the library itself they are nothing.

/// A step that changes something outside the process: a file, the store.
#[cfg(not(test))]
#[inline(always)]
pub(crate) fn step(_what: &str) -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
#[allow(unused_imports, reason = "not every test module uses all of it")]
pub(crate) use scripted::*;

#[cfg(test)]
mod scripted {
    use std::cell::Cell;
    use std::io;

    /// How a run ends at its chosen step.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum End {
        /// The step fails with this error number.
        Error(i32),
        /// The process is killed: nothing after this point runs, clean-up included.
        Killed,
    }

    thread_local! {
        static PLAN: Cell<Option<(usize, End)>> = const { Cell::new(None) };
        static TAKEN: Cell<usize> = const { Cell::new(0) };
    }

    /// Counts a step, and ends the run there when it is the chosen one.
    pub(crate) fn step(what: &str) -> io::Result<()> {
        let taken = TAKEN.get();
        TAKEN.set(taken + 1);
        match PLAN.get() {
            Some((at, end)) if at == taken => match end {
                End::Error(number) => Err(io::Error::from_raw_os_error(number)),
                End::Killed => std::panic::resume_unwind(Box::new(Kill(what.to_owned()))),
            },
            _ => Ok(()),
        }
    }

    /// What a killed run unwinds with.
    #[derive(Debug)]
    pub(crate) struct Kill(
        #[allow(dead_code, reason = "shown by Debug when a test fails")] pub String,
    );

    /// A directory for one test, in memory where the system has a place for it: tests sync files by the thousand.
    pub(crate) fn scratch() -> tempfile::TempDir {
        tempfile::tempdir_in("/dev/shm")
            .or_else(|_| tempfile::tempdir())
            .unwrap()
    }

    /// Runs `work`, ending it at step `at`. Gives its result (`None` when it was killed) and how many steps it took.
    pub(crate) fn run<T>(
        plan: Option<(usize, End)>,
        work: impl FnOnce() -> T,
    ) -> (Option<T>, usize) {
        PLAN.set(plan);
        TAKEN.set(0);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        PLAN.set(None);
        let result = match result {
            Ok(value) => Some(value),
            Err(panic) if panic.is::<Kill>() => None,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        (result, TAKEN.get())
    }
}
