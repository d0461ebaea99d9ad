//! The content of `attempts`, and what it allows.

use super::INTERVAL;
use crate::token::pin::Who;

/// How long an attempt may be under way. After that its process was killed.
const UNDER_WAY: u64 = 10 * INTERVAL;

/// The attempts of a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    so: Count,
    user: Count,
    /// When the last attempt began that was wrong or has not ended; 0 after a right one. In milliseconds since 1970.
    last: u64,
}

/// The attempts with one PIN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    /// Attempts since the last right one, those under way included.
    failures: u32,
    /// Attempts whose end was not written down.
    pending: u32,
    /// When the last attempt began, in milliseconds since 1970.
    began: u64,
}

/// What an attempt may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Begin.
    Go,
    /// Wait for its turn.
    Wait,
    /// Nothing: the PIN is locked.
    Locked,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Right,
    Wrong,
    /// The PIN was not checked.
    Unknown,
}

/// True when `now` and `then` are less than `span` apart. A clock that was set back must not stop anybody for longer.
pub(super) fn within(now: u64, then: u64, span: u64) -> bool {
    now.abs_diff(then) < span
}

impl Count {
    /// Attempts that may still be under way.
    fn under_way(&self, now: u64) -> u32 {
        match within(now, self.began, UNDER_WAY) {
            true => self.pending,
            false => 0,
        }
    }
}

impl Record {
    /// Length of the text: always the same, so that one write replaces it.
    pub(super) const LEN: usize = 139;

    fn of(&self, who: Who) -> &Count {
        match who {
            Who::So => &self.so,
            Who::User => &self.user,
        }
    }

    fn of_mut(&mut self, who: Who) -> &mut Count {
        match who {
            Who::So => &mut self.so,
            Who::User => &mut self.user,
        }
    }

    /// Reads the content of the file. Anything else than a record counts as none: a writer of the file could also remove it.
    pub(super) fn parse(text: &[u8]) -> Record {
        let read = || {
            let mut words = std::str::from_utf8(text).ok()?.split_ascii_whitespace();
            for word in ["mrhsm", "attempts", "1"] {
                words.next().filter(|w| *w == word)?;
            }
            let mut record = Record::default();
            for (name, count) in [("so", &mut record.so), ("user", &mut record.user)] {
                words.next().filter(|w| *w == name)?;
                count.failures = words.next()?.parse().ok()?;
                count.pending = words.next()?.parse().ok()?;
                count.began = words.next()?.parse().ok()?;
            }
            words.next().filter(|w| *w == "last")?;
            record.last = words.next()?.parse().ok()?;
            Some(record)
        };
        read().unwrap_or_default()
    }

    /// The content of the file.
    pub(super) fn to_text(self) -> String {
        let count = |c: &Count| format!("{:010} {:010} {:020}", c.failures, c.pending, c.began);
        format!(
            "mrhsm attempts 1\nso   {}\nuser {}\nlast {:020}\n",
            count(&self.so),
            count(&self.user),
            self.last
        )
    }

    /// What an attempt may do at `now`. `head_start` is by how much it comes after others; `None` never waits.
    pub(super) fn next(&self, who: Who, now: u64, max: u32, head_start: Option<u64>) -> Next {
        let count = self.of(who);
        if max > 0 && count.failures >= max {
            return match count.failures.saturating_sub(count.under_way(now)) >= max {
                true => Next::Locked,
                false => Next::Wait,
            };
        }
        match head_start {
            Some(head_start) if within(now, self.last, INTERVAL + head_start) => Next::Wait,
            _ => Next::Go,
        }
    }

    /// Counts an attempt that begins as a wrong one; others wait for it if it is `paced`.
    pub(super) fn charge(&mut self, who: Who, now: u64, paced: bool) {
        let count = self.of_mut(who);
        count.pending = count.under_way(now).saturating_add(1);
        count.failures = count.failures.saturating_add(1);
        count.began = now;
        if paced {
            self.last = now;
        }
    }

    /// Writes down how the attempt ended that was charged at `began`.
    pub(super) fn settle(&mut self, who: Who, began: u64, outcome: Outcome) {
        let count = self.of_mut(who);
        count.pending = count.pending.saturating_sub(1);
        match outcome {
            Outcome::Wrong => return,
            // Those that began before it count as if they had ended before it.
            Outcome::Right => (count.failures, count.pending) = (0, 0),
            // Only the last one is known not to have been reset meanwhile.
            Outcome::Unknown if count.began == began => {
                count.failures = count.failures.saturating_sub(1)
            }
            Outcome::Unknown => {}
        }
        if self.last == began {
            self.last = 0;
        }
    }

    /// Takes the next turn for an attempt that was wrong, if it has come.
    pub(super) fn claim(&mut self, now: u64, head_start: u64) -> bool {
        let free = !within(now, self.last, INTERVAL + head_start);
        if free {
            self.last = now;
        }
        free
    }

    /// Forgets the attempts with one PIN.
    pub(super) fn forget(&mut self, who: Who) {
        *self.of_mut(who) = Count::default();
    }

    /// Wrong attempts, without those that have just begun.
    pub(super) fn shown(&self, who: Who, now: u64) -> u32 {
        let count = self.of(who);
        match within(now, count.began, INTERVAL) {
            true => count.failures.saturating_sub(count.pending),
            false => count.failures,
        }
    }
}
