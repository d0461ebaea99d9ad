//! What happens to an object after it was made: changed, activated, revoked, destroyed.

use super::KmipStore;
use super::facts::{is_gone, is_refusal};
use super::record::{self, Record, Rung};
use super::terms;
use crate::ck::{CKR_ACTION_PROHIBITED, CKR_ATTRIBUTE_READ_ONLY};
use crate::error::{Error, Kind, Result};
use crate::kmip::{
    ActivateRequest, AddAttributeRequest, Attribute, AttributeName, AttributeValue, Attributes,
    DestroyRequest, GetAttributesRequest, ModifyAttributeRequest, Operation, RecoverRequest,
    ResultReason, RevocationReason, RevokeRequest, SetAttributeRequest,
};
use crate::net::{Call, Transport};
use crate::store::{Changes, Revocation, State, Uid};
use crate::ttlv::{DateTime, Tag};
use crate::version::Version;

impl<T: Transport> KmipStore<T> {
    /// State; `None` where the object has none.
    pub(super) fn state(&self, call: &Call<'_, T>, uid: &Uid) -> Result<Option<State>> {
        // Object Type too: one server does not answer at all when nothing is there to answer.
        let attribute_names = vec![
            AttributeName::Standard(Tag::STATE),
            AttributeName::Standard(Tag::OBJECT_TYPE),
        ];
        let request = GetAttributesRequest {
            unique_identifier: Some(uid.0.as_str().into()),
            attribute_names,
        };
        Ok(call
            .request(&request)?
            .attributes
            .state()
            .map(|state| terms::state_of(*state)))
    }

    pub(super) fn activate(&self, call: &Call<'_, T>, uid: &Uid) -> Result<()> {
        match call.request(&ActivateRequest {
            unique_identifier: Some(uid.0.as_str().into()),
        }) {
            Ok(_) => Ok(()),
            // Activating twice is refused in many ways; what counts is the state.
            Err(e) if matches!(e.kind(), Kind::Server(_)) && !is_gone(&e) => {
                match self.state(call, uid) {
                    Ok(Some(State::Active)) => Ok(()),
                    _ => Err(e),
                }
            }
            Err(e) => Err(e),
        }
    }

    pub(super) fn revoke(&self, call: &Call<'_, T>, uid: &Uid, reason: Revocation) -> Result<()> {
        let compromised = reason == Revocation::KeyCompromise;
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |d| d.as_secs());
        let request = RevokeRequest {
            unique_identifier: Some(uid.0.as_str().into()),
            revocation_reason: RevocationReason {
                revocation_reason_code: terms::revocation(reason),
                revocation_message: None,
            },
            compromise_occurrence_date: compromised
                .then(|| DateTime(i64::try_from(now).unwrap_or(i64::MAX))),
        };
        match call.request(&request) {
            Ok(_) => Ok(()),
            Err(e) if matches!(e.kind(), Kind::Server(_)) && !is_gone(&e) => {
                match self.state(call, uid) {
                    Ok(Some(State::Compromised)) => Ok(()),
                    Ok(Some(State::Deactivated)) if !compromised => Ok(()),
                    _ => Err(e),
                }
            }
            Err(e) => Err(e),
        }
    }

    /// Destroys, whatever state the object is in (`kmip-map` §3.8).
    pub(super) fn destroy(&self, call: &Call<'_, T>, uid: &Uid) -> Result<()> {
        let refused = match self.destroy_once(call, uid) {
            Err(e) if is_state_fault(&e) => e,
            done => return done,
        };
        match self.state(call, uid) {
            // A server that keeps no states wants the same as for Active.
            Ok(Some(State::Active) | None) => {
                self.revoke(call, uid, Revocation::CessationOfOperation)
                    .map_err(|e| match e.reason().map(ResultReason) {
                        Some(ResultReason::PERMISSION_DENIED) => e
                            .context(format_args!("{uid} is Active, and we may not revoke it"))
                            .with_rv(CKR_ACTION_PROHIBITED),
                        _ => e.with_rv(CKR_ACTION_PROHIBITED),
                    })?;
                self.destroy_once(call, uid)
            }
            Ok(Some(State::Destroyed | State::DestroyedCompromised)) => Ok(()),
            Err(e) if is_gone(&e) => Ok(()),
            _ if refused.reason().map(ResultReason) == Some(ResultReason::OBJECT_ARCHIVED) => {
                let recovered = call.request(&RecoverRequest {
                    unique_identifier: Some(uid.0.as_str().into()),
                });
                match recovered {
                    // A repeated Recover is refused when the first one was executed.
                    Err(e) if !matches!(e.kind(), Kind::Server(_)) => return Err(e),
                    _ => {}
                }
                self.destroy_once(call, uid)
            }
            _ => Err(refused.with_rv(CKR_ACTION_PROHIBITED)),
        }
    }

    /// Sends Destroy. When its response is lost and the repetition is refused because the object is
    /// gone or Destroyed, the first request was executed.
    fn destroy_once(&self, call: &Call<'_, T>, uid: &Uid) -> Result<()> {
        let request = DestroyRequest {
            unique_identifier: Some(uid.0.as_str().into()),
        };
        // Time is left to repeat.
        match call.part(2, 3).request_once(&request) {
            Err(e) if e.kind() == Kind::Broken => {}
            done => return done.map(drop),
        }
        match call.request(&request) {
            Err(e) if is_gone(&e) => Ok(()),
            Err(e) if is_state_fault(&e) => match self.state(call, uid) {
                Ok(Some(State::Destroyed | State::DestroyedCompromised)) => Ok(()),
                Err(e) if is_gone(&e) => Ok(()),
                _ => Err(e),
            },
            done => done.map(drop),
        }
    }

    pub(super) fn update(&self, uid: &Uid, changes: &Changes) -> Result<()> {
        let call = self.client.call();
        let attributes = self.attributes(&call, uid)?;
        let old = Record::read(&attributes);
        let mut new = old.clone();
        new.change(changes);
        self.rewrite(&call, uid, &attributes, &old, &new)?;
        // What the server enforces itself; that it does not is no reason to fail, since the record says it.
        let since_1_4 = call.version()? >= Version::V1_4;
        if changes.sensitive == Some(true) && since_1_4 && self.facts.sensitive.may() {
            let set = self.set(
                &call,
                uid,
                &attributes,
                AttributeValue::Sensitive(true),
                |a| matches!(a, AttributeValue::Sensitive(_)),
            );
            self.facts.sensitive.learn(optional(set)?);
        }
        if changes.extractable == Some(false)
            && new.sensitive == Some(true)
            && since_1_4
            && self.facts.extractable.may()
        {
            let is = |a: &AttributeValue| matches!(a, AttributeValue::Extractable(_));
            let set = self.set(
                &call,
                uid,
                &attributes,
                AttributeValue::Extractable(false),
                is,
            );
            self.facts.extractable.learn(optional(set)?);
        }
        Ok(())
    }

    /// Puts the texts of a record where they are kept, in place of what is left of them.
    pub(super) fn put_texts(
        &self,
        call: &Call<'_, T>,
        uid: &Uid,
        rung: Rung,
        record: &Record,
    ) -> Result<()> {
        let attributes = self.attributes(call, uid)?;
        for value in record::attributes(rung, record) {
            self.set(call, uid, &attributes, value, |value| {
                rung == Rung::Combined && record::is_ours(value)
            })?;
        }
        Ok(())
    }

    /// Brings the texts of the record up to date, in the attributes in which they stand, or in new ones.
    fn rewrite(
        &self,
        call: &Call<'_, T>,
        uid: &Uid,
        attributes: &Attributes,
        old: &Record,
        new: &Record,
    ) -> Result<()> {
        // Where one attribute of a name is kept, the texts of somebody else's object stand in one, too.
        let one_only = self.facts.application.known() == Some(false)
            && self.facts.combined.known() == Some(true);
        if one_only || attributes.iter().any(record::is_combined) {
            return match old == new {
                true => Ok(()),
                false => self.set(
                    call,
                    uid,
                    attributes,
                    record::combined(new),
                    record::is_combined,
                ),
            };
        }
        for key in record::KEYS {
            let text = new.text(key);
            let holder = attributes.iter().find(|value| record::holds(value, key));
            if text == old.text(key) && (holder.is_some() || *new == Record::default()) {
                continue;
            }
            // An object of somebody else's making has none of the texts yet: only those that say something are added.
            if holder.is_none() && text == Record::default().text(key) {
                continue;
            }
            let rungs = match holder {
                Some(AttributeValue::Custom(..)) => &[Rung::Custom][..],
                Some(_) => &[Rung::Application],
                None => &[Rung::Application, Rung::Custom],
            };
            let mut outcome: Result<()> = Err(CKR_ATTRIBUTE_READ_ONLY.into());
            for rung in rungs {
                let Some(value) = record::attribute(*rung, key, text.clone()) else {
                    continue;
                };
                outcome = self.set(call, uid, attributes, value, |value| {
                    record::holds(value, key)
                });
                match &outcome {
                    Err(e) if is_refusal(e) => {}
                    _ => break,
                }
            }
            outcome.map_err(|e| {
                if is_refusal(&e) {
                    e.with_rv(CKR_ATTRIBUTE_READ_ONLY)
                } else {
                    e
                }
            })?;
        }
        Ok(())
    }

    /// Gives an attribute a value, whether it is there (`is`) or not.
    fn set(
        &self,
        call: &Call<'_, T>,
        uid: &Uid,
        attributes: &Attributes,
        value: AttributeValue,
        is: impl Fn(&AttributeValue) -> bool,
    ) -> Result<()> {
        let unique_identifier = || Some(uid.0.as_str().into());
        let typed = call.version()?.typed_attributes();
        if let Some(old) = attributes.0.iter().find(|attribute| is(&attribute.value)) {
            // The name stays as it is spelt there.
            let value = match (&old.value, value) {
                (AttributeValue::Custom(vendor, name, _), AttributeValue::Custom(_, _, text)) => {
                    AttributeValue::Custom(vendor.clone(), name.clone(), text)
                }
                (_, value) => value,
            };
            let request = ModifyAttributeRequest {
                unique_identifier: unique_identifier(),
                current_attribute: typed.then(|| Attribute {
                    index: None,
                    ..old.clone()
                }),
                attribute: Attribute {
                    index: old.index,
                    value,
                },
            };
            let wanted = request.attribute.value.clone();
            return self.change(call, uid, &request, |a| says(a, &wanted));
        }
        let request = AddAttributeRequest {
            unique_identifier: unique_identifier(),
            attribute: Attribute::from(value.clone()),
        };
        match self.change(call, uid, &request, |a| says(a, &value)) {
            Err(e) if typed && is_refusal(&e) => {
                let request = SetAttributeRequest {
                    unique_identifier: unique_identifier(),
                    attribute: Attribute::from(value),
                };
                call.request(&request).map(drop).map_err(|_| e)
            }
            done => done,
        }
    }

    /// Sends a change of an attribute. When its response is lost, the object is read before the
    /// request is sent again: a second Add adds twice, and a second Modify names a Current
    /// Attribute that is no longer there.
    fn change<O: Operation>(
        &self,
        call: &Call<'_, T>,
        uid: &Uid,
        request: &O,
        is_done: impl Fn(&AttributeValue) -> bool,
    ) -> Result<()> {
        // Time is left to look and to repeat.
        match call.part(2, 3).request_once(request) {
            Err(e) if e.kind() == Kind::Broken => {}
            done => return done.map(drop),
        }
        match self.attributes(call, uid)?.iter().any(is_done) {
            true => Ok(()),
            false => call.request_once(request).map(drop),
        }
    }
}

/// Whether two attributes have the same value; the name of a custom one has several spellings.
fn says(a: &AttributeValue, b: &AttributeValue) -> bool {
    match (a, b) {
        (AttributeValue::Custom(_, _, x), AttributeValue::Custom(_, _, y)) => {
            let same = |key: &&str| record::holds(a, key) && record::holds(b, key);
            x == y && record::KEYS.iter().any(same)
        }
        _ => a == b,
    }
}

/// Whether an optional change was made; any failure but a refusal is one.
fn optional(outcome: Result<()>) -> Result<bool> {
    match outcome {
        Ok(()) => Ok(true),
        Err(e) if is_refusal(&e) => Ok(false),
        Err(e) => Err(e),
    }
}

/// The object is in a state in which it cannot be destroyed, in whatever words.
fn is_state_fault(error: &Error) -> bool {
    use ResultReason as R;
    matches!(
        error.reason().map(ResultReason),
        Some(
            R::PERMISSION_DENIED
                | R::WRONG_KEY_LIFECYCLE_STATE
                | R::ILLEGAL_OPERATION
                | R::INVALID_FIELD
                | R::OBJECT_ARCHIVED
                | R::GENERAL_FAILURE
        )
    )
}
