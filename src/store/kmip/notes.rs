//! What was learnt about a server that is worth more than one process: what it was proven to do rightly, in which forms it is
//! asked, and which keys of a trial may still be there.
//!
//! Kept by a [`Memory`], best effort: what cannot be read or written is learnt again. Only what is right is kept. What was found wrong
//! is found wrong again by the next process, so that a server that was mended is not refused for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::sign::SignForm;
use crate::log;
use crate::store::{Memory, now};

/// More claims than servers have mechanisms; beyond it something is wrong, and all is learnt again.
const CLAIMS: usize = 1024;
/// A key of another process's trial may be in use; after so many seconds it was left over.
const LEFT_AFTER: i64 = 600;

/// What is kept.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Page {
    /// The server that all of this is true of.
    server: String,
    /// What it does rightly.
    proven: BTreeSet<String>,
    /// Facts that decide in which form it is asked.
    facts: BTreeMap<String, bool>,
    /// How signatures are asked for.
    signing: BTreeMap<String, SignForm>,
    /// Names of keys that were registered and perhaps not destroyed, with the time (seconds since 1970).
    leftovers: BTreeMap<String, i64>,
}

impl Page {
    fn parse(text: &str) -> Option<Page> {
        serde_json::from_str(text)
            .inspect_err(|e| log!(Info, "what was kept about the server is not readable: {e}"))
            .ok()
    }
}

#[derive(Debug, Default)]
struct State {
    open: bool,
    page: Page,
    /// Names of this process, which nobody else takes care of.
    own: BTreeSet<String>,
    /// Names that are settled, whatever the memory still says.
    settled: BTreeSet<String>,
}

/// The notes about one server.
#[derive(Default)]
pub(super) struct Notes {
    memory: Option<Arc<dyn Memory>>,
    state: Mutex<State>,
}

impl std::fmt::Debug for Notes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.state().page.fmt(f)
    }
}

/// What a process begins with.
pub(super) struct Start {
    pub(super) facts: BTreeMap<String, bool>,
    pub(super) signing: BTreeMap<String, SignForm>,
}

impl Notes {
    pub(super) fn kept_by(memory: Arc<dyn Memory>) -> Notes {
        Notes {
            memory: Some(memory),
            ..Notes::default()
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_open(&self) -> bool {
        self.state().open
    }

    /// Reads what is known of `server`. `None` when that was done before.
    pub(super) fn open(&self, server: &str) -> Option<Start> {
        let mut state = self.state();
        if std::mem::replace(&mut state.open, true) {
            return None;
        }
        let kept = self.kept();
        // Another server's keys may be left over on this one: the group of hosts is the same.
        let leftovers = kept.leftovers.clone();
        let kept = if kept.server == server {
            kept
        } else {
            Page::default()
        };
        state.page = Page {
            server: server.to_owned(),
            leftovers,
            ..kept
        };
        Some(Start {
            facts: state.page.facts.clone(),
            signing: state.page.signing.clone(),
        })
    }

    fn kept(&self) -> Page {
        self.memory
            .as_ref()
            .and_then(|memory| memory.recall())
            .and_then(|text| Page::parse(&text))
            .unwrap_or_default()
    }

    pub(super) fn is_proven(&self, claim: &str) -> bool {
        self.state().page.proven.contains(claim)
    }

    /// Keeps that the server does these rightly, asked in these forms.
    pub(super) fn prove(
        &self,
        claims: impl IntoIterator<Item = String>,
        facts: impl IntoIterator<Item = (&'static str, bool)>,
        signing: BTreeMap<String, SignForm>,
    ) {
        let mut state = self.state();
        if !state.open {
            return;
        }
        state.page.proven.extend(claims);
        if state.page.proven.len() > CLAIMS {
            state.page.proven.clear();
        }
        state.page.facts = facts
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        state.page.signing = signing;
        self.save(state);
    }

    /// A key of this name is about to be registered.
    pub(super) fn expect(&self, name: &str) {
        let mut state = self.state();
        state.own.insert(name.to_owned());
        state.page.leftovers.insert(name.to_owned(), now());
        self.save(state);
    }

    /// No key of this name is there any more.
    pub(super) fn settle(&self, name: &str) {
        let mut state = self.state();
        state.own.remove(name);
        state.page.leftovers.remove(name);
        state.settled.insert(name.to_owned());
        self.save(state);
    }

    /// Names of keys that nobody uses any more and that may still be there, and whether that is for so long that no request is under
    /// way that could still make them.
    pub(super) fn leftovers(&self) -> Vec<(String, bool)> {
        let state = self.state();
        let now = now();
        let entries = state
            .page
            .leftovers
            .iter()
            .map(|(name, since)| (name, now.saturating_sub(*since) > LEFT_AFTER));
        entries
            .filter(|(name, is_old)| *is_old || state.own.contains(*name))
            .map(|(name, old)| (name.clone(), old))
            .collect()
    }

    /// Writes the page, with what other processes have written meanwhile.
    fn save(&self, mut state: MutexGuard<'_, State>) {
        let Some(memory) = &self.memory else { return };
        let kept = self.kept();
        if kept.server == state.page.server {
            state.page.proven.extend(kept.proven);
        }
        let others = kept
            .leftovers
            .into_iter()
            .filter(|(name, _)| !state.settled.contains(name))
            .collect::<Vec<_>>();
        state.page.leftovers.extend(others);
        if let Ok(text) = serde_json::to_string_pretty(&state.page) {
            memory.keep(&text);
        }
    }
}
