//! The life of an object: its dates, and the state that they make (spec 1.4, 3.22 to 3.29).
//!
//! State is never kept: it is what the dates say at the moment it is asked for, so that a key which shall expire at noon is
//! Deactivated at noon though nobody touched it.

use super::objects::{Outcome, Refusal, reason};
use crate::error::Result;
use crate::kmip::{AttributeValue, ResultReason, State};
use crate::store::State as Phase;
use crate::ttlv::{DateTime, Decode, Encode, Item, Tag, Writer};
use crate::version::Version;

/// The dates of an object, in seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "KMIP's own names")]
pub struct Dates {
    pub initial: i64,
    pub last_change: i64,
    pub activation: Option<i64>,
    pub process_start: Option<i64>,
    pub protect_stop: Option<i64>,
    pub deactivation: Option<i64>,
    pub compromise_occurrence: Option<i64>,
    pub compromise: Option<i64>,
    pub destroy: Option<i64>,
    pub archive: Option<i64>,
}

/// What a key is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Encrypting, signing, wrapping: only an Active key, until its Protect Stop Date.
    Protect,
    /// Decrypting, verifying, unwrapping: also a key that was Active once, from its Process Start Date.
    Process,
}

/// The refusal for "not in this state".
pub fn wrong_state(version: Version, text: impl Into<String>) -> Refusal {
    Refusal::item(
        reason(
            version,
            ResultReason::PERMISSION_DENIED,
            ResultReason::WRONG_KEY_LIFECYCLE_STATE,
        ),
        text,
    )
}

impl Dates {
    /// The dates of an object that is made now.
    pub fn born(now: i64) -> Dates {
        Dates {
            initial: now,
            last_change: now,
            ..Dates::default()
        }
    }

    /// The state at `now`. A clock that was put back does not take back what was true at the last change.
    pub fn state(&self, now: i64) -> State {
        match self.phase(now) {
            Phase::PreActive => State::PRE_ACTIVE,
            Phase::Active => State::ACTIVE,
            Phase::Deactivated => State::DEACTIVATED,
            Phase::Compromised => State::COMPROMISED,
            Phase::Destroyed => State::DESTROYED,
            Phase::DestroyedCompromised => State::DESTROYED_COMPROMISED,
        }
    }

    fn phase(&self, now: i64) -> Phase {
        match (self.destroy.is_some(), self.compromise.is_some()) {
            (true, true) => Phase::DestroyedCompromised,
            (true, false) => Phase::Destroyed,
            (false, true) => Phase::Compromised,
            (false, false) => Phase::of_dates(
                self.activation,
                self.deactivation,
                now.max(self.last_change),
            ),
        }
    }

    /// The state, when no date will end it: only a change can.
    pub fn lasting_state(&self) -> Option<State> {
        let state = self.state(self.last_change);
        (state == self.state(i64::MAX)).then_some(state)
    }

    /// True when the value is gone.
    pub fn is_destroyed(&self) -> bool {
        self.destroy.is_some()
    }

    /// Fails when the object is archived.
    pub fn check_online(&self) -> Outcome<()> {
        match self.archive {
            None => Ok(()),
            Some(_) => Err(Refusal::item(
                ResultReason::OBJECT_ARCHIVED,
                "the object is archived: recover it first",
            )),
        }
    }

    /// Fails unless a key may be used so at `now`. `afterwards` says whether a key that is no longer Active may still process.
    pub fn allow(
        &self,
        version: Version,
        purpose: Purpose,
        afterwards: bool,
        now: i64,
    ) -> Outcome<()> {
        self.check_online()?;
        let denied = |why: String| Err(wrong_state(version, why));
        let phase = self.phase(now);
        let may = match purpose {
            Purpose::Process if afterwards => phase.may_process(),
            Purpose::Process | Purpose::Protect => phase.may_protect(),
        };
        if !may {
            return denied(format!("the key is {}", self.state(now)));
        }
        match purpose {
            Purpose::Protect if self.protect_stop.is_some_and(|date| date <= now) => {
                denied("the key's Protect Stop Date has passed".into())
            }
            Purpose::Process if self.process_start.is_some_and(|date| date > now) => {
                denied("the key's Process Start Date has not come".into())
            }
            _ => Ok(()),
        }
    }

    /// Takes a date that a client may set; false for any other attribute.
    pub fn set(&mut self, value: &AttributeValue) -> bool {
        let (field, date) = match value {
            AttributeValue::ActivationDate(date) => (&mut self.activation, date),
            AttributeValue::ProcessStartDate(date) => (&mut self.process_start, date),
            AttributeValue::ProtectStopDate(date) => (&mut self.protect_stop, date),
            AttributeValue::DeactivationDate(date) => (&mut self.deactivation, date),
            _ => return false,
        };
        *field = Some(date.0);
        true
    }

    /// Fails when a change of a date by a client contradicts the others (spec 1.4, 3.24 to 3.27).
    pub fn check_change(&self, version: Version, before: &Dates, now: i64) -> Outcome<()> {
        let invalid = |text: &str| Err(Refusal::item(ResultReason::INVALID_FIELD, text));
        let too_late = reason(
            version,
            ResultReason::PERMISSION_DENIED,
            ResultReason::WRONG_KEY_LIFECYCLE_STATE,
        );
        let denied = |text: &str| Err(Refusal::item(too_late, text));
        let passed = |date: Option<i64>| date.is_some_and(|date| date <= now);
        if self.activation != before.activation && passed(before.activation) {
            return denied("the object was activated already");
        }
        if self.deactivation != before.deactivation && passed(before.deactivation) {
            return denied("the object was deactivated already");
        }
        if self.process_start != before.process_start && passed(before.process_start) {
            return denied("the Process Start Date has passed");
        }
        if self.protect_stop != before.protect_stop && passed(before.protect_stop) {
            return denied("the Protect Stop Date has passed");
        }
        let order = [self.activation, self.deactivation];
        if let [Some(first), Some(last)] = order
            && last < first
        {
            return invalid("Deactivation Date is before Activation Date");
        }
        Ok(())
    }

    /// All dates as attributes.
    pub fn attributes(&self) -> impl Iterator<Item = AttributeValue> {
        let optional = |date: Option<i64>, attribute: fn(DateTime) -> AttributeValue| {
            date.map(|date| attribute(DateTime(date)))
        };
        [
            Some(AttributeValue::InitialDate(DateTime(self.initial))),
            Some(AttributeValue::LastChangeDate(DateTime(self.last_change))),
            optional(self.activation, AttributeValue::ActivationDate),
            optional(self.process_start, AttributeValue::ProcessStartDate),
            optional(self.protect_stop, AttributeValue::ProtectStopDate),
            optional(self.deactivation, AttributeValue::DeactivationDate),
            optional(
                self.compromise_occurrence,
                AttributeValue::CompromiseOccurrenceDate,
            ),
            optional(self.compromise, AttributeValue::CompromiseDate),
            optional(self.destroy, AttributeValue::DestroyDate),
            optional(self.archive, AttributeValue::ArchiveDate),
        ]
        .into_iter()
        .flatten()
    }
}

impl Encode for Dates {
    fn encode(&self, tag: Tag, writer: &mut Writer) {
        writer.structure(tag, |w| {
            w.date_time(Tag::INITIAL_DATE, self.initial);
            w.date_time(Tag::LAST_CHANGE_DATE, self.last_change);
            for (tag, date) in [
                (Tag::ACTIVATION_DATE, self.activation),
                (Tag::PROCESS_START_DATE, self.process_start),
                (Tag::PROTECT_STOP_DATE, self.protect_stop),
                (Tag::DEACTIVATION_DATE, self.deactivation),
                (Tag::COMPROMISE_OCCURRENCE_DATE, self.compromise_occurrence),
                (Tag::COMPROMISE_DATE, self.compromise),
                (Tag::DESTROY_DATE, self.destroy),
                (Tag::ARCHIVE_DATE, self.archive),
            ] {
                date.map(DateTime).encode(tag, w);
            }
        });
    }
}

impl Decode for Dates {
    fn decode(item: &Item<'_>) -> Result<Dates> {
        let mut dates = Dates::default();
        let mut items = item.items()?;
        while let Some(date) = items.next()? {
            let value = date.date_time()?;
            match date.tag {
                Tag::INITIAL_DATE => dates.initial = value,
                Tag::LAST_CHANGE_DATE => dates.last_change = value,
                Tag::ACTIVATION_DATE => dates.activation = Some(value),
                Tag::PROCESS_START_DATE => dates.process_start = Some(value),
                Tag::PROTECT_STOP_DATE => dates.protect_stop = Some(value),
                Tag::DEACTIVATION_DATE => dates.deactivation = Some(value),
                Tag::COMPROMISE_OCCURRENCE_DATE => dates.compromise_occurrence = Some(value),
                Tag::COMPROMISE_DATE => dates.compromise = Some(value),
                Tag::DESTROY_DATE => dates.destroy = Some(value),
                Tag::ARCHIVE_DATE => dates.archive = Some(value),
                _ => {}
            }
        }
        Ok(dates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_put_back_takes_nothing_back() {
        let dates = Dates {
            activation: Some(100),
            deactivation: Some(300),
            last_change: 100,
            ..Dates::default()
        };
        for (now, state) in [
            (50, State::ACTIVE),
            (100, State::ACTIVE),
            (299, State::ACTIVE),
            (300, State::DEACTIVATED),
        ] {
            assert_eq!(dates.state(now), state, "{now}");
        }
        let expired = Dates {
            last_change: 300,
            ..dates
        };
        assert_eq!(expired.state(50), State::DEACTIVATED);
    }

    #[test]
    fn a_state_lasts_that_no_date_ends() {
        let of = |activation, deactivation, last_change| Dates {
            activation,
            deactivation,
            last_change,
            ..Dates::default()
        };
        assert_eq!(of(None, None, 10).lasting_state(), Some(State::PRE_ACTIVE));
        assert_eq!(of(Some(10), None, 10).lasting_state(), Some(State::ACTIVE));
        assert_eq!(of(Some(11), None, 10).lasting_state(), None);
        assert_eq!(of(Some(5), Some(11), 10).lasting_state(), None);
        assert_eq!(
            of(Some(5), Some(10), 10).lasting_state(),
            Some(State::DEACTIVATED)
        );
        let compromised = Dates {
            compromise: Some(20),
            ..of(Some(5), Some(30), 10)
        };
        assert_eq!(compromised.lasting_state(), Some(State::COMPROMISED));
    }
}
