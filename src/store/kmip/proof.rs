//! Proof that a server does what it is asked: the first result of each kind is given out only after a trial, in which a key of
//! known value is registered, used and destroyed again.
//!
//! A trial costs two requests: one registers the key, the other activates, uses, revokes and destroys it. Both name it; the ID
//! placeholder would make one of them, but a widespread server keeps it from one request to the next, of whatever client, so that after a
//! failed Register somebody else's key would be destroyed.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::attrs::{self, Marker, Wishes};
use super::facts::{either, is_gone, is_unsupported};
use super::make::{Making, either_length};
use super::record::Rung;
use super::trial::{Act, Step, Trial};
use super::{KmipStore, material};
use crate::ck::CKR_MECHANISM_INVALID;
use crate::error::{Error, Kind, Result};
use crate::kmip::message::ResponseMessage;
use crate::kmip::{
    ActivateRequest, DestroyRequest, ManagedObject, RegisterRequest, ResultReason,
    RevocationReason, RevocationReasonCode, RevokeRequest,
};
use crate::log;
use crate::net::{Call, Transport};
use crate::store::{Class, Spec, Uid};
use crate::version::Version;

/// After a trial that broke off the next one waits so long.
const PAUSE: Duration = Duration::from_secs(60);

/// What the server made at each step of a trial.
type Answers = Vec<Result<Vec<u8>>>;

/// An object that does not stay.
pub(super) struct Guest {
    name: String,
    pub(super) uid: Uid,
}

/// What is known of an [`Act`].
#[derive(Clone, Copy, Debug)]
pub(super) enum Verdict {
    Right,
    Wrong,
    /// The server does not do it.
    Unable,
    /// It cannot be tried: not now (until then), or not at all.
    Untried(Option<Instant>),
}

impl<T: Transport> KmipStore<T> {
    /// Takes up what is known of the server, and refuses what it was found to do wrongly.
    pub(super) fn check_act(&self, call: &Call<'_, T>, act: Act) -> Result<()> {
        if call.version()? < Version::V1_2 {
            return Ok(());
        }
        self.remember(call)?;
        match self.verdict(act) {
            Some(Verdict::Wrong) => Err(wrong(act)),
            _ => Ok(()),
        }
    }

    /// Reads the notes about this server, once.
    pub(super) fn remember(&self, call: &Call<'_, T>) -> Result<()> {
        if self.notes.is_open() {
            return Ok(());
        }
        let server = format!(
            "{} {} {}",
            call.version()?,
            self.group,
            self.about(call)?.identity
        );
        let Some(start) = self.notes.open(&server) else {
            return Ok(());
        };
        for (name, fact) in self.facts.forms() {
            if let Some(known) = start.facts.get(name).filter(|_| fact.known().is_none()) {
                fact.learn(*known);
            }
        }
        self.take_up_signing(start.signing);
        self.sweep_leftovers(call);
        Ok(())
    }

    fn verdict(&self, act: Act) -> Option<Verdict> {
        let mut verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        match verdicts.get(&act) {
            Some(Verdict::Untried(Some(until))) if *until <= Instant::now() => None,
            Some(verdict) => Some(*verdict),
            None if self.notes.is_proven(&format!("{act:?}")) => {
                verdicts.insert(act, Verdict::Right);
                Some(Verdict::Right)
            }
            None => None,
        }
    }

    fn judge(&self, act: Act, verdict: Verdict) {
        self.verdicts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(act, verdict);
    }

    /// Has the server prove that it does `act` rightly, unless it has. An error when what it does is wrong.
    pub(super) fn prove(&self, call: &Call<'_, T>, act: Act) -> Result<()> {
        match self.examine(call, act) {
            Verdict::Wrong => Err(wrong(act)),
            Verdict::Right | Verdict::Unable | Verdict::Untried(_) => Ok(()),
        }
    }

    /// What is known of `act`, after a trial where nothing was known.
    pub(super) fn examine(&self, call: &Call<'_, T>, act: Act) -> Verdict {
        if let Some(known) = self.verdict(act) {
            return known;
        }
        // Threads that want the same wait for the one trial.
        let _one = self.trying.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = self.verdict(act) {
            return known;
        }
        let verdict = self.try_out(call, act).unwrap_or_else(|e| {
            log!(
                Warn,
                "{}: {act:?} is used unverified: {e}",
                self.client.peer()
            );
            let passes = !matches!(e.kind(), Kind::Server(_) | Kind::Input | Kind::Pkcs11);
            Verdict::Untried(passes.then(|| Instant::now() + PAUSE))
        });
        if let Verdict::Wrong = verdict {
            log!(Error, "{}: {}", self.client.peer(), wrong(act));
        }
        self.judge(act, verdict);
        verdict
    }

    /// A trial. An error when it says nothing.
    fn try_out(&self, call: &Call<'_, T>, act: Act) -> Result<Verdict> {
        if !self.facts.trials.may() {
            return Err(Error::new(
                Kind::Input,
                CKR_MECHANISM_INVALID,
                "the server lets us register no keys",
            ));
        }
        if call.is_over() {
            return Err(Error::new(
                Kind::Broken,
                CKR_MECHANISM_INVALID,
                "no time is left for a trial",
            ));
        }
        self.sweep_leftovers(call);
        match act {
            Act::Wrap(_) | Act::Unwrap(_) => self.try_wrapping(call, act),
            _ => self.try_using(call, act),
        }
    }

    fn try_using(&self, call: &Call<'_, T>, act: Act) -> Result<Verdict> {
        let trial = Trial::new(act, &self.facts)?;
        let form = match trial.spec.class {
            Class::PrivateKey => &self.facts.pkcs8_private,
            _ => &self.facts.one_form,
        };
        let answers = either_length(self, &trial.spec, || {
            either(form, |usual| self.perform(call, &trial, usual))
        })?;
        // What was not asked about counts only when it is right: it may be asked in another form when its turn comes.
        let mut outcomes: BTreeMap<String, (Act, Result<bool>)> = BTreeMap::new();
        for (step, answer) in trial.steps.iter().zip(answers) {
            let right = step.judge(answer);
            let outcome = outcomes
                .entry(format!("{:?}", step.act))
                .or_insert((step.act, Ok(true)));
            match (&outcome.1, right) {
                (Ok(true), right) => outcome.1 = right,
                (Err(_), Ok(false)) => outcome.1 = Ok(false),
                _ => {}
            }
        }
        let mut verdict = Err(Error::protocol("the trial said nothing"));
        let mut proven = Vec::new();
        for (name, (tried, right)) in outcomes {
            if right.as_ref().is_ok_and(|right| *right) {
                self.judge(tried, Verdict::Right);
                proven.push(name);
            }
            if tried == act {
                verdict = right;
            }
        }
        if !proven.is_empty() {
            self.keep_proofs(proven);
        }
        verdict.map(|right| {
            if right {
                Verdict::Right
            } else {
                Verdict::Wrong
            }
        })
    }

    /// Notes what was proven, and in which forms it is asked.
    pub(super) fn keep_proofs(&self, proven: Vec<String>) {
        let facts = self.facts.forms();
        let known = facts
            .iter()
            .filter_map(|(name, fact)| fact.known().map(|known| (*name, known)));
        self.notes.prove(proven, known, self.signing_forms());
    }

    /// Registers the key of a trial, asks what is to be asked, and destroys it. Errors: it could not be registered.
    fn perform(&self, call: &Call<'_, T>, trial: &Trial, usual: bool) -> Result<Answers> {
        let object = material::object(
            &trial.spec,
            trial.value.expose(),
            attrs::length(&trial.spec, &self.facts),
            usual,
        )?;
        let guest = self.put(call, &trial.spec, object)?;
        let (answers, gone) = self.ask(&call.part(1, 2), trial, &guest.uid);
        match gone {
            true => self.notes.settle(&guest.name),
            false => self.away(call, &guest),
        }
        Ok(answers)
    }

    /// Registers an object that does not stay. Errors: it could not be registered.
    pub(super) fn put(
        &self,
        call: &Call<'_, T>,
        spec: &Spec,
        object: ManagedObject,
    ) -> Result<Guest> {
        let making = Making::new(spec)?;
        let object_type = object.object_type();
        let plain = Wishes {
            sensitive: false,
            extractable: false,
            group: false,
            rung: Rung::Nowhere,
        };
        let register = RegisterRequest {
            object_type,
            template_attribute: self.registered(spec, &making, plain, object_type).into(),
            object: Some(object),
            protection_storage_masks: None,
        };
        let name = making.marker.name;
        self.notes.expect(&name);
        // Time is kept back for cleaning up.
        match call.part(1, 3).request(&register) {
            Ok(answer) => Ok(Guest {
                name,
                uid: Uid(answer.unique_identifier),
            }),
            Err(e) => {
                let nothing_made = matches!(
                    e.kind(),
                    Kind::Server(_) | Kind::Unreachable | Kind::Tls | Kind::Input
                );
                if nothing_made || self.sweep(call, &name).is_ok_and(|found| found > 0) {
                    self.notes.settle(&name);
                }
                if e.reason().map(ResultReason) == Some(ResultReason::PERMISSION_DENIED)
                    || is_unsupported(&e)
                {
                    self.facts.trials.learn(false);
                }
                Err(e)
            }
        }
    }

    /// Destroys an object that does not stay, now or later.
    pub(super) fn away(&self, call: &Call<'_, T>, guest: &Guest) {
        match self.discard(call, &guest.uid) {
            Ok(()) => self.notes.settle(&guest.name),
            Err(e) => log!(
                Warn,
                "the object '{}' ({}) of a trial is destroyed later: {e}",
                guest.name,
                guest.uid
            ),
        }
    }

    /// Asks with the key of a trial, and destroys it at once where the server has batches. The answers, and whether it is gone.
    fn ask(&self, call: &Call<'_, T>, trial: &Trial, uid: &Uid) -> (Answers, bool) {
        if self.facts.batch.may() {
            match self.ask_together(call, trial, uid) {
                Ok(Some(asked)) => return asked,
                Ok(None) => {}
                Err(e) => {
                    // Some hang up on what they do not understand: the next time it is asked one by one.
                    if e.kind() == Kind::Broken && self.facts.batch.known().is_none() {
                        self.facts.batch.learn(false);
                    }
                    return (vec![Err(e)], false);
                }
            }
        }
        let answers = match self.activate(call, uid) {
            // Some stores have no life cycle.
            Err(e) if !is_unsupported(&e) => vec![Err(e)],
            _ => trial.steps.iter().map(|step| step.ask(call, uid)).collect(),
        };
        (answers, false)
    }

    /// All in one batch, of which one item's failure does not end the others. `None` where the server takes no batches.
    fn ask_together(
        &self,
        call: &Call<'_, T>,
        trial: &Trial,
        uid: &Uid,
    ) -> Result<Option<(Answers, bool)>> {
        let version = call.version()?;
        let (mut places, mut last) = (Vec::with_capacity(trial.steps.len()), 0);
        let frame = call.together(|batch| {
            batch.push(&ActivateRequest {
                unique_identifier: Some(uid.0.as_str().into()),
            });
            for step in &trial.steps {
                places.push(step.push(version, uid, batch)?);
            }
            batch.push(&revoked(uid));
            last = batch.push(&DestroyRequest {
                unique_identifier: Some(uid.0.as_str().into()),
            });
            Ok(())
        })?;
        let message = ResponseMessage::decode(frame.expose())?;
        // One item that is nobody's is the refusal of the whole message.
        if message.items.len() == 1 && message.items[0].operation.is_none() {
            self.facts.batch.learn(false);
            return Ok(None);
        }
        self.facts.batch.learn(true);
        let gone = message.get::<DestroyRequest>(last).is_ok();
        let answer = |(step, place): (&Step, usize)| match message.item(place) {
            // One before it was refused, and the server ends a batch there all the same.
            None if !gone => step.ask(call, uid),
            _ => step.answer(&message, place),
        };
        Ok(Some((
            trial.steps.iter().zip(places).map(answer).collect(),
            gone,
        )))
    }

    /// Destroys the key of a trial.
    fn discard(&self, call: &Call<'_, T>, uid: &Uid) -> Result<()> {
        if let Err(e) = call.part(1, 2).request(&revoked(uid)) {
            log!(Info, "the key {uid} of a trial is not revoked: {e}");
        }
        match self.destroy(call, uid) {
            Err(e) if !is_gone(&e) => Err(e),
            _ => Ok(()),
        }
    }

    /// Destroys the keys of this name, and says how many there were.
    fn sweep(&self, call: &Call<'_, T>, name: &str) -> Result<usize> {
        let marker = Marker {
            nonce: name.to_owned(),
            name: name.to_owned(),
            exact: false,
        };
        let made = self.made(call, &marker)?;
        made.iter()
            .try_for_each(|meta| self.discard(call, &meta.uid))?;
        Ok(made.len())
    }

    /// Destroys what earlier trials have left. Nobody waits for it, and what fails is tried again.
    fn sweep_leftovers(&self, call: &Call<'_, T>) {
        for (name, is_old) in self.notes.leftovers() {
            match self.sweep(&call.part(1, 3), &name) {
                // A request that fell silent may be executed later still.
                Ok(found) if found > 0 || is_old => self.notes.settle(&name),
                Ok(_) => {}
                Err(e) => log!(
                    Warn,
                    "the key '{name}' of a trial may still be on the server: {e}"
                ),
            }
        }
    }
}

fn revoked(uid: &Uid) -> RevokeRequest {
    RevokeRequest {
        unique_identifier: Some(uid.0.as_str().into()),
        revocation_reason: RevocationReason {
            revocation_reason_code: RevocationReasonCode::CESSATION_OF_OPERATION,
            revocation_message: None,
        },
        compromise_occurrence_date: None,
    }
}

fn wrong(act: Act) -> Error {
    Error::new(
        Kind::Protocol,
        CKR_MECHANISM_INVALID,
        format!("the server does {act:?} wrongly"),
    )
}
