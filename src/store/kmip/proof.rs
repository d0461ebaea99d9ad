//! Proof that a server does what it is asked: the first result of each kind is given out only after a trial, in which a key of
//! known value is registered, used and destroyed again.
//!
//! A trial costs two requests: the first registers and uses the key as the one that the batch is about, the second revokes and destroys
//! it by its identifier. Never is anything destroyed that is not named: a widespread server keeps the ID placeholder from one request
//! to the next, of whatever client, so that a failed Register would have another's key destroyed.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::attrs::{self, Marker, Wishes};
use super::facts::{either, is_gone, is_refusal, is_unsupported};
use super::make::{Making, either_length};
use super::record::Rung;
use super::trial::{Act, Answer, Trial};
use super::{KmipStore, material};
use crate::ck::CKR_MECHANISM_INVALID;
use crate::error::{Error, Kind, Result};
use crate::kmip::message::ResponseMessage;
use crate::kmip::{
    ActivateRequest, DestroyRequest, RegisterRequest, ResultReason, RevocationReason, RevocationReasonCode, RevokeRequest,
};
use crate::log;
use crate::net::{Call, Transport};
use crate::store::{Class, Revocation, Uid};
use crate::version::Version;

/// After a trial that broke off the next one waits so long.
const PAUSE: Duration = Duration::from_secs(60);

/// What is known of an [`Act`].
#[derive(Clone, Copy, Debug)]
pub(super) enum Verdict {
    Right,
    Wrong,
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
        let server = format!("{} {} {}", call.version()?, self.group, self.about(call)?.identity);
        let Some(start) = self.notes.open(&server) else { return Ok(()) };
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
        self.verdicts.lock().unwrap_or_else(PoisonError::into_inner).insert(act, verdict);
    }

    /// Has the server prove that it did `act` rightly, unless it has. An error when what it did is wrong.
    pub(super) fn prove(&self, call: &Call<'_, T>, act: Act) -> Result<()> {
        let known = || match self.verdict(act) {
            Some(Verdict::Wrong) => Some(Err(wrong(act))),
            Some(_) => Some(Ok(())),
            None => None,
        };
        if let Some(known) = known() {
            return known;
        }
        // Threads that want the same wait for the one trial.
        let _one = self.trying.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known() {
            return known;
        }
        let verdict = match self.try_out(call, act) {
            Ok(verdict) => verdict,
            Err(e) => {
                log!(Warn, "{}: {act:?} is used unverified: {e}", self.client.peer());
                Verdict::Untried(if matches!(e.kind(), Kind::Server(_) | Kind::Input | Kind::Pkcs11) {
                    None
                } else {
                    Instant::now().checked_add(PAUSE)
                })
            }
        };
        self.judge(act, verdict);
        match verdict {
            Verdict::Wrong => {
                log!(Error, "{}: {}", self.client.peer(), wrong(act));
                Err(wrong(act))
            }
            _ => Ok(()),
        }
    }

    /// A trial. An error when it says nothing.
    fn try_out(&self, call: &Call<'_, T>, act: Act) -> Result<Verdict> {
        if !self.facts.trials.may() {
            return Err(Error::new(Kind::Input, CKR_MECHANISM_INVALID, "the server lets us register no keys"));
        }
        if call.is_over() {
            return Err(Error::new(Kind::Broken, CKR_MECHANISM_INVALID, "no time is left for a trial"));
        }
        self.sweep_leftovers(call);
        let trial = Trial::new(act, &self.facts)?;
        let form = match trial.spec.class {
            Class::PrivateKey => &self.facts.pkcs8_private,
            _ => &self.facts.one_form,
        };
        let answers =
            either_length(self, &trial.spec, || either(form, |usual| self.perform(call, &trial, usual))).inspect_err(|e| {
                let denied = e.reason().map(ResultReason) == Some(ResultReason::PERMISSION_DENIED);
                if denied || is_unsupported(e) {
                    self.facts.trials.learn(false);
                }
            })?;
        // What was not asked about counts only when it is right: it may be asked in another form when its turn comes.
        let mut outcomes: BTreeMap<String, (Act, Result<bool>)> = BTreeMap::new();
        for (step, answer) in trial.steps.iter().zip(answers) {
            let right = step.judge(answer);
            let outcome = outcomes.entry(format!("{:?}", step.act)).or_insert((step.act, Ok(true)));
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
        verdict.map(|right| if right { Verdict::Right } else { Verdict::Wrong })
    }

    /// Notes what was proven, and in which forms it is asked.
    pub(super) fn keep_proofs(&self, proven: Vec<String>) {
        let facts = self.facts.forms();
        let known = facts.iter().filter_map(|(name, fact)| fact.known().map(|known| (*name, known)));
        self.notes.prove(proven, known, self.signing_forms());
    }

    /// Registers the key of a trial, asks what is to be asked, and destroys it. Errors: it could not be registered.
    fn perform(&self, call: &Call<'_, T>, trial: &Trial, usual: bool) -> Result<Vec<Result<Answer>>> {
        let making = Making::new(&trial.spec)?;
        let object = material::object(&trial.spec, trial.value.expose(), attrs::length(&trial.spec, &self.facts), usual)?;
        let object_type = object.object_type();
        let plain = Wishes { sensitive: false, extractable: false, group: false, rung: Rung::Nowhere };
        let register = RegisterRequest {
            object_type,
            template_attribute: self.registered(&trial.spec, &making, plain, object_type).into(),
            object: Some(object),
            protection_storage_masks: None,
        };
        let name = &making.marker.name;
        self.notes.expect(name);
        // Time is kept back for cleaning up.
        let tried = self.register_and_ask(&call.part(2, 3), trial, name, &register);
        let (uid, answers) = match tried {
            Ok(tried) => tried,
            Err(e) => {
                let nothing_made = matches!(e.kind(), Kind::Server(_) | Kind::Unreachable | Kind::Tls | Kind::Input);
                if nothing_made || self.sweep(call, name).is_ok_and(|found| found > 0) {
                    self.notes.settle(name);
                }
                return Err(e);
            }
        };
        match self.discard(call, &uid) {
            Ok(()) => self.notes.settle(name),
            Err(e) => log!(Warn, "the key '{name}' ({uid}) of a trial is destroyed later: {e}"),
        }
        Ok(answers)
    }

    /// The key's identifier and the answers; in one request where the server has batches and knows what they are about.
    fn register_and_ask(&self, call: &Call<'_, T>, trial: &Trial, name: &str, register: &RegisterRequest) -> Result<Asked> {
        let uid = match self.facts.batch.may() && self.facts.placeholder.may() {
            true => match self.ask_at_once(call, trial, register)? {
                Batched::Asked(asked) => return Ok(asked),
                Batched::Registered(uid) => Some(uid),
                // It may have done what came before the item that it did not understand.
                Batched::Refused => self.sweep(call, name).map(|_| None)?,
            },
            false => None,
        };
        let uid = match uid {
            Some(uid) => uid,
            None => Uid(call.request(register)?.unique_identifier),
        };
        let answers = match self.activate(call, &uid) {
            // Some stores have no life cycle.
            Err(e) if !is_unsupported(&e) => vec![Err(e)],
            _ => trial.steps.iter().map(|step| step.ask(call, &uid)).collect(),
        };
        Ok((uid, answers))
    }

    /// All in one batch.
    fn ask_at_once(&self, call: &Call<'_, T>, trial: &Trial, register: &RegisterRequest) -> Result<Batched> {
        let version = call.version()?;
        let mut places = Vec::with_capacity(trial.steps.len());
        let sent = call.together::<RegisterRequest>(|batch| {
            batch.push(register);
            batch.push(&ActivateRequest { unique_identifier: None });
            for step in &trial.steps {
                places.push(step.push(version, batch)?);
            }
            Ok(())
        });
        let frame = sent.inspect_err(|e| {
            // Some hang up on what they do not understand: the next time it is asked one by one.
            if e.kind() == Kind::Broken && self.facts.placeholder.known().is_none() {
                self.facts.placeholder.learn(false);
            }
        })?;
        let message = ResponseMessage::decode(frame.expose())?;
        let uid = match message.get::<RegisterRequest>(0) {
            Ok(answer) => Uid(answer.unique_identifier),
            Err(e) if is_refused_whole(&message) && is_refusal(&e) => {
                self.facts.placeholder.learn(false);
                return Ok(Batched::Refused);
            }
            Err(e) => return Err(e),
        };
        self.facts.batch.learn(true);
        let ours = |named: &str| named.is_empty() || named == uid.0;
        let mut about_ours = message.get::<ActivateRequest>(1).is_ok_and(|answer| ours(&answer.unique_identifier));
        let mut answers = Vec::with_capacity(places.len());
        for (step, place) in trial.steps.iter().zip(places) {
            let answer = match message.item(place) {
                Some(_) => step.answer(&message, place),
                // One before it was refused, which ends a batch.
                None if about_ours => step.ask(call, &uid),
                None => break,
            };
            about_ours &= answer.as_ref().map_or(true, |answer| ours(&answer.uid));
            answers.push(answer);
        }
        self.facts.placeholder.learn(about_ours);
        Ok(if about_ours { Batched::Asked((uid, answers)) } else { Batched::Registered(uid) })
    }

    /// Destroys the key of a trial.
    fn discard(&self, call: &Call<'_, T>, uid: &Uid) -> Result<()> {
        let named = || Some(uid.0.as_str().into());
        if self.facts.batch.may() {
            let revocation_reason = RevocationReason {
                revocation_reason_code: RevocationReasonCode::CESSATION_OF_OPERATION,
                revocation_message: None,
            };
            let done = call.part(1, 2).together::<DestroyRequest>(|batch| {
                batch.push(&RevokeRequest { unique_identifier: named(), revocation_reason, compromise_occurrence_date: None });
                batch.push(&DestroyRequest { unique_identifier: named() });
                Ok(())
            });
            if let Ok(frame) = done
                && let Ok(message) = ResponseMessage::decode(frame.expose())
            {
                if message.get::<DestroyRequest>(1).is_ok() {
                    return Ok(());
                }
                if is_refused_whole(&message) {
                    self.facts.batch.learn(false);
                }
            }
        }
        let _ = self.revoke(call, uid, Revocation::CessationOfOperation);
        match self.destroy(call, uid) {
            Err(e) if !is_gone(&e) => Err(e),
            _ => Ok(()),
        }
    }

    /// Destroys the keys of this name, and says how many there were.
    fn sweep(&self, call: &Call<'_, T>, name: &str) -> Result<usize> {
        let marker = Marker { nonce: name.to_owned(), name: name.to_owned(), exact: false };
        let made = self.made(call, &marker)?;
        made.iter().try_for_each(|meta| self.discard(call, &meta.uid))?;
        Ok(made.len())
    }

    /// Destroys what earlier trials have left. Nobody waits for it, and what fails is tried again.
    fn sweep_leftovers(&self, call: &Call<'_, T>) {
        for (name, is_old) in self.notes.leftovers() {
            match self.sweep(&call.part(1, 3), &name) {
                // A request that fell silent may be executed later still.
                Ok(found) if found > 0 || is_old => self.notes.settle(&name),
                Ok(_) => {}
                Err(e) => log!(Warn, "the key '{name}' of a trial may still be on the server: {e}"),
            }
        }
    }
}

/// The key of a trial and what was answered about it.
type Asked = (Uid, Vec<Result<Answer>>);

/// What became of a trial in one batch.
enum Batched {
    Asked(Asked),
    /// The key is there, but the other items were not about it.
    Registered(Uid),
    /// The server takes no batches.
    Refused,
}

/// One item that is nobody's is the refusal of the whole message.
fn is_refused_whole(message: &ResponseMessage<'_>) -> bool {
    message.items.len() == 1 && message.items[0].operation.is_none()
}

fn wrong(act: Act) -> Error {
    Error::new(Kind::Protocol, CKR_MECHANISM_INVALID, format!("the server does {act:?} wrongly"))
}
