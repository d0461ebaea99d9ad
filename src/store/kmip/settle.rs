//! Whether a new object keeps what identifies and protects it.
//!
//! A server may accept attributes and drop them, or keep one of several that have the same name.
//! The first object that each operation makes is read, and a record that is not there is put
//! elsewhere, where later objects have them from the start. What is known to be kept costs no
//! request. An object whose label, identifier and protection are kept nowhere is destroyed: another
//! process would neither find it nor know that its value must not be shown.

use super::KmipStore;
use super::attrs;
use super::facts::Fact;
use super::record::{self, Record, Rung};
use crate::ck::CKR_TEMPLATE_INCONSISTENT;
use crate::error::{Error, Result};
use crate::log;
use crate::net::{Call, Transport};
use crate::store::{Class, Spec, Uid};

impl<T: Transport> KmipStore<T> {
    /// Verifies that the objects `made` by an operation, with their record on `rung`, keep it.
    pub(super) fn settle(
        &self,
        call: &Call<'_, T>,
        spec: &Spec,
        looked: &Fact,
        rung: Rung,
        made: &[(&Uid, &Record)],
    ) -> Result<()> {
        match self.try_settle(call, spec, looked, rung, made) {
            Ok(true) => Ok(()),
            Ok(false) => {
                let error = Error::from(CKR_TEMPLATE_INCONSISTENT).context(format_args!(
                    "{} does not keep the attributes that identify and protect an object",
                    self.client.peer()
                ));
                Err(self.undone(call, made, error))
            }
            Err(e) => Err(self.undone(call, made, e)),
        }
    }

    /// True when the objects keep what they need.
    fn try_settle(
        &self,
        call: &Call<'_, T>,
        spec: &Spec,
        looked: &Fact,
        mut rung: Rung,
        made: &[(&Uid, &Record)],
    ) -> Result<bool> {
        let mut unseen = looked.known().is_none();
        while let Some(fact) = attrs::fact(&self.facts, rung) {
            if fact.may() && !unseen && fact.known().is_some() {
                return Ok(true);
            }
            if fact.may() {
                let known = fact.known();
                if self.all_stand(call, made, rung)? {
                    fact.learn(true);
                    looked.learn(true);
                    return Ok(true);
                }
                // With another operation they were kept.
                if known.is_none() {
                    fact.learn(false);
                }
            }
            log!(
                Info,
                "{}: takes the record as {rung:?} and does not keep it",
                self.client.peer()
            );
            rung = self.next(rung);
            unseen = true;
            for (uid, record) in made.iter().filter(|_| rung != Rung::Nowhere) {
                // Whether this helped shows when it is looked at.
                let _ = self.put_texts(call, uid, rung, record);
            }
        }
        made.iter().try_fold(true, |kept, (uid, record)| {
            Ok(kept && self.keeps_needed(call, spec, uid, record)?)
        })
    }

    fn all_stand(&self, call: &Call<'_, T>, made: &[(&Uid, &Record)], rung: Rung) -> Result<bool> {
        made.iter().try_fold(true, |stand, (uid, _)| {
            Ok(stand && record::stands(&self.attributes(call, uid)?) == Some(rung))
        })
    }

    /// The rung below that may work.
    fn next(&self, rung: Rung) -> Rung {
        Rung::ALL
            .into_iter()
            .skip_while(|other| *other != rung)
            .skip(1)
            .find(|rung| attrs::fact(&self.facts, *rung).is_none_or(Fact::may))
            .unwrap_or(Rung::Nowhere)
    }

    /// Whether an object without its record lacks nothing. One that has a name is found by it.
    fn keeps_needed(
        &self,
        call: &Call<'_, T>,
        spec: &Spec,
        uid: &Uid,
        record: &Record,
    ) -> Result<bool> {
        let is_set = |text: &Option<Vec<u8>>| text.as_ref().is_some_and(|text| !text.is_empty());
        let identity = spec.name.is_none() && (is_set(&record.label) || is_set(&record.id));
        let locked = record.sensitive == Some(true) || record.extractable == Some(false);
        // The properties of a secret say what the token protects itself.
        let secret = matches!(spec.class, Class::SecretKey | Class::PrivateKey);
        if identity || (secret && spec.name.is_none() && !record.properties.is_empty()) {
            return Ok(false);
        }
        if !locked {
            return Ok(true);
        }
        let attributes = self.attributes(call, uid)?;
        let sensitive = attributes.sensitive() == Some(&true);
        let fixed = attributes.extractable() == Some(&false);
        Ok((sensitive || record.sensitive != Some(true))
            && (fixed || record.extractable != Some(false)))
    }

    /// Destroys what was made and must not stay.
    fn undone(&self, call: &Call<'_, T>, made: &[(&Uid, &Record)], error: Error) -> Error {
        made.iter()
            .fold(error, |error, (uid, _)| match self.destroy(call, uid) {
                Ok(()) => error.context(format_args!("{uid} was made and destroyed again")),
                Err(e) => error.context(format_args!("{uid} was made and stays: {e}")),
            })
    }
}
