//! What the items of a message have in common: who asks, what was answered, and what it took.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use super::audit::named::Named;
use super::budget::Meter;
use super::engine::{Caller, Engine};
use super::objects::{Object, Outcome, Transaction};
use super::undo::Undo;
use crate::kmip::message::RequestMessage;
use crate::kmip::*;
use crate::version::Version;

/// What an item's operation needs to know of the message it stands in.
pub struct Context {
    /// Version of the message.
    pub version: Version,
    /// Who asks.
    pub caller: Caller,
    /// What the item asks.
    pub operation: OperationCode,
    /// ID placeholder: the object that the last item was about.
    pub placeholder: Option<String>,
    /// Identifiers that the items before have answered.
    pub answered: Vec<String>,
    /// Of those the last of each operation, and the one before it.
    latest: HashMap<OperationCode, [Option<String>; 2]>,
    /// There will be no answer.
    pub silent: bool,
    /// What the message has changed, where that may have to be undone.
    pub undo: Option<Undo>,
    /// The objects that the item has to do with.
    pub involved: RefCell<Named>,
    /// Operations in parts that the message has begun, by Correlation Value.
    pub begun: Vec<Vec<u8>>,
    /// What the message takes.
    pub meter: Meter,
}

impl Context {
    /// Before the first item of a message.
    pub fn new(caller: &Caller, message: &RequestMessage<'_>, meter: Meter) -> Context {
        let on_error = message.header.batch_error_continuation_option;
        Context {
            version: message.header.protocol_version,
            caller: caller.clone(),
            operation: OperationCode::default(),
            placeholder: None,
            answered: Vec::new(),
            latest: HashMap::new(),
            silent: false,
            undo: (on_error == Some(BatchErrorContinuationOption::UNDO)).then(Undo::default),
            involved: RefCell::default(),
            begun: Vec::new(),
            meter,
        }
    }

    /// Changes objects: all that `change` puts or removes takes effect together, or not at all when it fails. It is called
    /// again if another transaction came between.
    pub fn change<T>(
        &self,
        engine: &Engine,
        change: impl Fn(&mut Transaction<'_>) -> Outcome<T>,
    ) -> Outcome<T> {
        let counted = |transaction: &mut Transaction<'_>| {
            let result = change(transaction)?;
            transaction.check(&engine.quotas, self)?;
            let uids: Vec<String> = transaction.uids().map(str::to_owned).collect();
            Ok((result, uids))
        };
        let undo = self.undo.as_ref();
        let (result, uids) = engine.objects.change(&self.caller, undo, counted)?;
        let mut involved = self.involved.borrow_mut();
        uids.iter().for_each(|uid| involved.add(uid));
        Ok(result)
    }

    /// An object that the client may know of.
    pub fn object(&self, engine: &Engine, uid: &str) -> Outcome<Arc<Object>> {
        self.involved.borrow_mut().add(uid);
        engine.objects.get(uid, &self.caller)
    }

    /// Makes an object the one that following items are about, and gives its identifier for the answer.
    pub fn about(&mut self, object: &Object) -> String {
        self.named(&object.uid)
    }

    /// The same for an identifier.
    pub fn named(&mut self, uid: &str) -> String {
        self.involved.borrow_mut().add(uid);
        self.placeholder = Some(uid.to_owned());
        self.has_answered(uid);
        uid.to_owned()
    }

    /// Notes an identifier that an item answers.
    pub fn has_answered(&mut self, uid: &str) {
        self.answered.push(uid.to_owned());
        let latest = self.latest.entry(self.operation).or_default();
        latest.swap(0, 1);
        latest[0] = Some(uid.to_owned());
    }

    /// The same for a pair, whose private half following items are about.
    pub fn named_pair(&mut self, private: &str, public: &str) {
        self.named(private);
        self.has_answered(public);
    }

    /// What a placeholder stands for (spec 2.1, 4.61 and 11.60).
    pub fn placed(&self, placeholder: UniqueIdentifierPlaceholder) -> Option<&String> {
        use UniqueIdentifierPlaceholder as Place;
        let (operation, back) = match placeholder {
            Place::CERTIFY => (OperationCode::CERTIFY, 0),
            Place::CREATE => (OperationCode::CREATE, 0),
            Place::CREATE_KEY_PAIR | Place::CREATE_KEY_PAIR_PRIVATE_KEY => {
                (OperationCode::CREATE_KEY_PAIR, 1)
            }
            Place::CREATE_KEY_PAIR_PUBLIC_KEY => (OperationCode::CREATE_KEY_PAIR, 0),
            Place::CREATE_SPLIT_KEY => (OperationCode::CREATE_SPLIT_KEY, 0),
            Place::DERIVE_KEY => (OperationCode::DERIVE_KEY, 0),
            Place::IMPORT => (OperationCode::IMPORT, 0),
            Place::JOIN_SPLIT_KEY => (OperationCode::JOIN_SPLIT_KEY, 0),
            Place::LOCATE => (OperationCode::LOCATE, 0),
            Place::REGISTER => (OperationCode::REGISTER, 0),
            Place::RE_KEY => (OperationCode::RE_KEY, 0),
            Place::RE_CERTIFY => (OperationCode::RE_CERTIFY, 0),
            Place::RE_KEY_KEY_PAIR | Place::RE_KEY_KEY_PAIR_PRIVATE_KEY => {
                (OperationCode::RE_KEY_KEY_PAIR, 1)
            }
            Place::RE_KEY_KEY_PAIR_PUBLIC_KEY => (OperationCode::RE_KEY_KEY_PAIR, 0),
            _ => return self.placeholder.as_ref(),
        };
        self.latest.get(&operation)?[back].as_ref()
    }

    /// The identifier at this place of those that were answered: counted from 0, or backwards from the last with -1.
    pub fn at(&self, place: i32) -> Option<&String> {
        let place = match usize::try_from(place) {
            Ok(place) => Some(place),
            Err(_) => self
                .answered
                .len()
                .checked_sub(place.unsigned_abs() as usize),
        };
        place.and_then(|place| self.answered.get(place))
    }
}
