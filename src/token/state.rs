//! Whether a key may still protect data: encrypt, sign, wrap, derive. Its store decides that (KMIP 1.4, 3.22), and is asked again
//! while the key is in use.

use std::sync::{Arc, Mutex, TryLockError};
use std::time::{Duration, Instant};

use super::object::{Home, Object};
use super::objects::{META_BATCH, SHOW_AGE};
use super::{Token, lock};
use crate::ck::*;
use crate::error::{Error, Kind, Result};
use crate::store::{self, Uid};

/// How long what was read about a key is good enough to protect data with it.
const STATE_AGE: Duration = Duration::from_secs(15);

/// The questions for the state of keys.
#[derive(Default)]
pub(super) struct Checks {
    /// Held by the thread that asks.
    asking: Mutex<()>,
    /// When a question was last asked in vain.
    away: Mutex<Option<Instant>>,
}

impl Object {
    /// Whether the key may protect data, by what was read of it.
    fn may_protect(&self) -> bool {
        match &self.home {
            Home::Session { .. } => true,
            Home::Store {
                state,
                protect_until,
                ..
            } => {
                state.is_none_or(store::State::may_protect)
                    && protect_until.is_none_or(|date| date > store::now())
            }
        }
    }
}

impl Token {
    /// Fails unless a key may protect data. What is older than [`STATE_AGE`] is read again, for all keys in use at once.
    ///
    /// While no host answers, what was read last counts for as long as a fetched value does (`key_cache_millis`).
    pub fn check_protects(&self, object: &Object) -> Result<()> {
        let Some(uid) = object.uid() else {
            return Ok(());
        };
        object.known.in_use();
        let may = if object.read_at.elapsed() < self.state_age() {
            object.may_protect()
        } else {
            self.checked(object, uid)?.may_protect()
        };
        if may {
            return Ok(());
        }
        Err(Error::new(
            Kind::Pkcs11,
            CKR_KEY_FUNCTION_NOT_PERMITTED,
            format!("the key {uid} is no longer Active, or its Protect Stop Date has passed"),
        ))
    }

    fn state_age(&self) -> Duration {
        self.key_age().clamp(SHOW_AGE, STATE_AGE)
    }

    fn checked(&self, object: &Object, uid: &Uid) -> Result<Arc<Object>> {
        let age = self.state_age();
        let read_within = |age| lock(&self.objects).fresh(uid, age);
        if let Some(now) = read_within(age) {
            return Ok(now);
        }
        let last = read_within(self.key_age().max(age));
        let away = *lock(&self.checks.away);
        // Threads that want the same wait for one answer, but not for hosts that did not answer before.
        let _asking = match self.checks.asking.try_lock() {
            Ok(asking) => asking,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => match &last {
                Some(last) if away.is_some() => return Ok(last.clone()),
                _ => lock(&self.checks.asking),
            },
        };
        if let Some(now) = read_within(age) {
            return Ok(now);
        }
        if let (Some(last), Some(since)) = (&last, *lock(&self.checks.away))
            && since.elapsed() < age
        {
            return Ok(last.clone());
        }
        let mut uids = lock(&self.objects).used(age / 2, META_BATCH);
        uids.retain(|other| other != uid);
        uids.truncate(META_BATCH - 1);
        uids.push(uid.clone());
        let read = self
            .store()
            .and_then(|store| self.read(store.as_ref(), &uids, Duration::ZERO));
        match (read, last) {
            (Ok(objects), _) => {
                *lock(&self.checks.away) = None;
                let found = objects.into_iter().find(|o| o.uid() == Some(uid));
                Ok(found.ok_or_else(|| {
                    lock(&self.objects).remove(object.handle);
                    CKR_KEY_HANDLE_INVALID
                })?)
            }
            (Err(e), Some(last))
                if matches!(e.kind(), Kind::Unreachable | Kind::Broken | Kind::Tls) =>
            {
                crate::log!(
                    Warn,
                    "token {}: the state of the key {uid} is taken from {} s ago: {e}",
                    self.uuid(),
                    last.read_at.elapsed().as_secs()
                );
                *lock(&self.checks.away) = Some(Instant::now());
                Ok(last)
            }
            (Err(e), _) => Err(e),
        }
    }
}
