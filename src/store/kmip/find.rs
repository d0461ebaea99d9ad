//! Finding objects, and what is known of them.

use std::collections::HashSet;
use std::sync::atomic::Ordering::Relaxed;

use super::attrs::{self, Marker, QUESTIONS};
use super::facts::{is_gone, is_refusal, is_refused_question};
use super::record::{self, Record, Rung};
use super::terms;
use super::trial::is_trial;
use super::{KmipStore, same};
use crate::error::{Error, Kind, Result};
use crate::kmip::{
    AttributeValue, Attributes, GetAttributesRequest, LocateRequest, LocateResponse, Name,
    ObjectType,
};
use crate::net::{Call, Transport};
use crate::store::{Algorithm, Class, Filter, Meta, Uid};
use crate::version::Version;

/// Objects asked about in one message. More saves little, and answers grow.
const BATCH: usize = 16;

/// A server that answers a Locate with this many, or more, may have kept some back.
const FULL_PAGE: usize = 1000;

/// Pages of one Locate; a server that never ends is not believed for ever.
const MAX_PAGES: usize = 100;

/// A message with several items pays from this many on.
const BATCH_PAYS: usize = 3;

/// The question for objects with these attributes, from the `offset`th on.
fn page(attributes: &Attributes, offset: usize) -> LocateRequest {
    let offset_items = i32::try_from(offset).ok().filter(|offset| *offset > 0);
    LocateRequest {
        offset_items,
        attributes: attributes.clone(),
        ..LocateRequest::default()
    }
}

impl<T: Transport> KmipStore<T> {
    /// The objects that may match, without doubles.
    pub(super) fn locate(&self, filter: &Filter) -> Result<Vec<Uid>> {
        let call = self.client.call();
        // Object Type first: one server fails on other filters as soon as it holds a certificate.
        let typed = |object_type| Attributes::new().with(AttributeValue::ObjectType(object_type));
        let mut sure = match filter.class {
            // Two types are secret keys to us: what else is asked for selects better.
            Some(Class::SecretKey) | None => Attributes::new(),
            Some(class) => typed(terms::object_type(class)),
        };
        if let Some(name) = &filter.name {
            sure.push(AttributeValue::Name(Name::from(name.as_str())));
        }
        if let Some(group) = &filter.group {
            sure.push(AttributeValue::ObjectGroup(group.clone()));
        }
        let needles: Vec<Attributes> = self
            .needles(filter)
            .into_iter()
            .map(|needle| sure.clone().with(needle))
            .collect();
        let mut found = self.locate_each(&call, &needles)?;
        // Labels and identifiers of objects that others made may be derived from what only the token knows: everything is a
        // candidate then.
        if found.is_empty() && sure.is_empty() && filter.class.is_some() {
            for object_type in [ObjectType::SYMMETRIC_KEY, ObjectType::SECRET_DATA] {
                found.extend(self.locate_all(&call, &typed(object_type))?);
            }
        } else if found.is_empty() {
            found = self.locate_all(&call, &sure)?;
        }
        let mut seen = HashSet::new();
        found.retain(|uid| seen.insert(uid.clone()));
        Ok(found)
    }

    /// The attributes by which objects of this label or identifier can be found, whoever made them.
    fn needles(&self, filter: &Filter) -> Vec<AttributeValue> {
        let (key, text, name) = match (&filter.id, &filter.label) {
            (Some(id), _) => (record::ID, record::id_text(id), None),
            (None, Some(label)) => {
                let name = std::str::from_utf8(label)
                    .ok()
                    .filter(|name| !name.is_empty() && name.is_ascii());
                (record::LABEL, record::label_text(label), name)
            }
            (None, None) => return Vec::new(),
        };
        // Where all texts stand in one attribute, no question finds one of them.
        if self.facts.application.known() == Some(false)
            && self.facts.combined.known() == Some(true)
        {
            return Vec::new();
        }
        let mut needles = Vec::new();
        if self.facts.application.may() {
            needles.extend(record::attribute(Rung::Application, key, text.clone()));
        }
        needles.extend(name.map(|name| AttributeValue::Name(Name::from(name))));
        // Last, because some servers refuse it, and with it what follows in the same message.
        if self.facts.application.known() != Some(true) && self.facts.custom.may() {
            needles.extend(record::attribute(Rung::Custom, key, text));
        }
        needles
    }

    /// What is found by any of these, each by itself, asked in one message where the server takes several questions in one. A question
    /// that it does not take finds nothing.
    fn locate_each(&self, call: &Call<'_, T>, questions: &[Attributes]) -> Result<Vec<Uid>> {
        let mut answers = Vec::new();
        if questions.len() > 1 && self.facts.batch.may() {
            let requests: Vec<LocateRequest> = questions
                .iter()
                .map(|attributes| page(attributes, 0))
                .collect();
            match call.batch(&requests) {
                Ok(items) => {
                    if let [Some(Ok(_)), second, ..] = &items[..] {
                        self.facts.batch.learn(second.is_some());
                    }
                    answers = items;
                }
                // This version has no words for one of them.
                Err(e) if e.kind() == Kind::Input => {}
                Err(e) if is_refused_question(&e, &self.facts.batch) && !call.is_over() => {
                    self.facts.batch.learn(false)
                }
                Err(e) => return Err(e),
            }
        }
        let mut found = Vec::new();
        let mut answers = answers.into_iter();
        for attributes in questions {
            // What stands behind a question that failed may have been left out.
            let uids = match answers.next().flatten() {
                Some(first) => self.locate_from(call, attributes, first),
                None => self.locate_all(call, attributes),
            };
            match uids {
                Ok(uids) => found.extend(uids),
                Err(e) if is_refusal(&e) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(found)
    }

    /// Every page of a Locate.
    fn locate_all(&self, call: &Call<'_, T>, attributes: &Attributes) -> Result<Vec<Uid>> {
        self.locate_from(call, attributes, call.request(&page(attributes, 0)))
    }

    /// Every page of a Locate whose first one is answered.
    fn locate_from(
        &self,
        call: &Call<'_, T>,
        attributes: &Attributes,
        first: Result<LocateResponse>,
    ) -> Result<Vec<Uid>> {
        let mut found: Vec<Uid> = Vec::new();
        let mut seen = HashSet::new();
        let mut answer = first;
        for _ in 0..MAX_PAGES {
            let answered = match answer {
                Err(e) if is_gone(&e) => break,
                answered => answered?,
            };
            let count = answered.unique_identifiers.len();
            let before = found.len();
            found.extend(
                answered
                    .unique_identifiers
                    .into_iter()
                    .filter(|uid| seen.insert(uid.clone()))
                    .map(Uid),
            );
            let announced = answered
                .located_items
                .and_then(|n| usize::try_from(n).ok())
                .unwrap_or(0);
            let more = announced > found.len() || count >= FULL_PAGE;
            // A server that ignores the offset repeats itself; before 1.3 there is none.
            if !more || found.len() == before || call.version()? < Version::V1_3 {
                break;
            }
            answer = call.request(&page(attributes, found.len()));
        }
        Ok(found)
    }

    /// What is known about the objects, in the order asked, without those that are gone or not shown.
    pub(super) fn meta(&self, call: &Call<'_, T>, uids: &[Uid]) -> Result<Vec<Meta>> {
        let mut metas = Vec::with_capacity(uids.len());
        let mut rest = uids;
        while let [first, others @ ..] = rest {
            let answered = match rest.len() >= BATCH_PAYS && self.facts.batch.may() {
                true => self.ask_batch(call, &rest[..rest.len().min(BATCH)], &mut metas)?,
                false => 0,
            };
            if answered > 0 {
                rest = &rest[answered..];
                continue;
            }
            match self.attributes(call, first) {
                Ok(attributes) => metas.extend(attrs::meta(&first.0, &attributes)),
                Err(e) if is_gone(&e) => {}
                Err(e) => return Err(e),
            }
            rest = others;
        }
        // Keys of trials, perhaps of another process, are nobody's and gone in a moment.
        metas.retain(|meta| !meta.names.iter().any(|name| is_trial(name)));
        for meta in &metas {
            // Whoever looks at a private key is about to sign with it.
            if let (Class::PrivateKey, Algorithm::Ec(curve)) = (meta.class, meta.algorithm) {
                self.remember_curve(&meta.uid, curve);
            }
        }
        Ok(metas)
    }

    /// Asks about several objects in one message and says how many of them were answered, from the first on.
    fn ask_batch(&self, call: &Call<'_, T>, uids: &[Uid], metas: &mut Vec<Meta>) -> Result<usize> {
        let question = usize::from(self.facts.question.load(Relaxed));
        let names = attrs::question(question, call.version()?, &self.facts);
        let requests: Vec<GetAttributesRequest> = uids
            .iter()
            .map(|uid| GetAttributesRequest {
                unique_identifier: Some(uid.0.as_str().into()),
                attribute_names: names.clone(),
            })
            .collect();
        let answers = match call.batch(&requests) {
            Ok(answers) => answers,
            Err(e) if is_refused_question(&e, &self.facts.batch) && !call.is_over() => {
                self.facts.batch.learn(false);
                return Ok(0);
            }
            Err(e) => return Err(e),
        };
        let mut answered = 0;
        for (uid, answer) in uids.iter().zip(answers) {
            match answer {
                Some(Ok(answer)) => {
                    same(uid, &answer.unique_identifier)?;
                    self.learn_rungs(&answer.attributes);
                    metas.extend(attrs::meta(&uid.0, &answer.attributes));
                }
                Some(Err(e)) if is_gone(&e) => {}
                // One by one the question is put more simply where it must be.
                _ => break,
            }
            answered += 1;
        }
        self.facts.batch.learn(answered > 0);
        Ok(answered)
    }

    /// The attributes of one object. A server that refuses a question is asked a simpler one from then on.
    pub(super) fn attributes(&self, call: &Call<'_, T>, uid: &Uid) -> Result<Attributes> {
        let version = call.version()?;
        let mut refused: Option<Error> = None;
        for number in usize::from(self.facts.question.load(Relaxed))..QUESTIONS {
            let attribute_names = attrs::question(number, version, &self.facts);
            let request = GetAttributesRequest {
                unique_identifier: Some(uid.0.as_str().into()),
                attribute_names,
            };
            match call.request(&request) {
                Ok(answer) => {
                    same(uid, &answer.unique_identifier)?;
                    self.facts.question.store(number as u8, Relaxed);
                    self.facts.answered.learn(true);
                    self.learn_rungs(&answer.attributes);
                    return Ok(answer.attributes);
                }
                Err(e) if is_refused_question(&e, &self.facts.answered) && !call.is_over() => {
                    refused.get_or_insert(e);
                }
                Err(e) => return Err(e),
            }
        }
        Err(refused.unwrap_or_else(|| crate::ck::CKR_DEVICE_ERROR.into()))
    }

    /// What came back was kept.
    fn learn_rungs(&self, attributes: &Attributes) {
        if let Some(fact) =
            record::stands(attributes).and_then(|rung| attrs::fact(&self.facts, rung))
        {
            fact.learn(true);
        }
    }

    /// The objects that carry this marker: made by a request whose answer was lost. Smallest (initial date, identifier) first.
    pub(super) fn made(&self, call: &Call<'_, T>, marker: &Marker) -> Result<Vec<Meta>> {
        let name = || AttributeValue::Name(Name::from(marker.name.as_str()));
        let found = self.locate_all(call, &Attributes::new().with(name()))?;
        let mut made = Vec::new();
        for uid in found {
            let attributes = match self.attributes(call, &uid) {
                Err(e) if is_gone(&e) => continue,
                attributes => attributes?,
            };
            let named = !marker.exact && attributes.names().any(|name| name == marker.name);
            if named || Record::read(&attributes).nonce.as_ref() == Some(&marker.nonce) {
                made.extend(attrs::meta(&uid.0, &attributes));
            }
        }
        made.sort_by(|a, b| (a.initial_date, &a.uid).cmp(&(b.initial_date, &b.uid)));
        Ok(made)
    }
}
