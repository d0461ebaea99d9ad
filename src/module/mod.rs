//! All logic behind the `C_*` functions, in safe types: slots, sessions, objects, operations.
//!
//! The methods of [`Module`] are named after the functions. Those that produce bytes take `room`, the length of the caller's
//! buffer, `None` for a size query, and answer an [`Output`](crate::mech::Output).
//!
//! Locks, from the outside in: the slots, the sessions' map, one session, the token's own (see there). None but the session's
//! is held while a host is asked.

mod derive;
mod keys;
mod messages;
mod objects;
mod operations;
mod sessions;
mod slots;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use self::slots::Slots;
use crate::ck::{CK_SESSION_HANDLE, CKR_FUNCTION_FAILED, CKR_SESSION_HANDLE_INVALID};
use crate::config;
use crate::crypto::rng::Seeded;
use crate::error::Result;
use crate::expiry;
use crate::session::Session;
use crate::token::files::TokenDir;
use crate::token::{Handles, lock};

/// The module between `C_Initialize` and `C_Finalize`.
pub struct Module {
    dir: TokenDir,
    handles: Arc<Handles>,
    slots: Mutex<Slots>,
    sessions: Mutex<HashMap<CK_SESSION_HANDLE, Arc<Session>>>,
    random: Seeded,
    closed: AtomicBool,
}

impl Module {
    /// Reads the token directory of the environment. No network.
    pub fn open(handles: Arc<Handles>) -> Result<Module> {
        let dir = config::token_dir(None).map_err(|e| e.with_rv(CKR_FUNCTION_FAILED))?;
        Module::at(TokenDir::at(dir), handles).map_err(|e| e.with_rv(CKR_FUNCTION_FAILED))
    }

    /// Reads a token directory. No network.
    pub fn at(dir: TokenDir, handles: Arc<Handles>) -> Result<Module> {
        let slots = Slots::read(&dir, &handles)?;
        let (sessions, random, closed) =
            (Mutex::default(), Seeded::default(), AtomicBool::new(false));
        Ok(Module {
            dir,
            handles,
            slots: Mutex::new(slots),
            sessions,
            random,
            closed,
        })
    }

    /// Wipes what must not be kept any longer. Every call of the application begins with it.
    pub fn expire(&self) {
        if !expiry::is_due() {
            return;
        }
        let in_slots = lock(&self.slots).tokens();
        // A token that is gone lives on in its sessions.
        let sessions = lock(&self.sessions);
        let in_sessions = sessions.values().map(|session| session.token.clone());
        let tokens: Vec<_> = in_slots.into_iter().chain(in_sessions).collect();
        drop(sessions);
        tokens.iter().for_each(|token| token.expire());
    }

    fn session(&self, h: CK_SESSION_HANDLE) -> Result<Arc<Session>> {
        Ok(lock(&self.sessions)
            .get(&h)
            .cloned()
            .ok_or(CKR_SESSION_HANDLE_INVALID)?)
    }
}
