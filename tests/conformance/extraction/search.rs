//! The search: what a caller gets in `depth` calls, each thing with the calls that it took.
//!
//! What was once found stays: a sequence is the set of its calls, and things that cannot be told apart are followed once. A changed key is
//! a new one, made again as the first was, so that both are there.

use std::collections::BTreeSet;

use mrhsm_pkcs11::ck::*;

use super::super::app::{App, Mech, Rows, Rv};
use super::oracle::{DATA, KNOWN, SEARCHABLE, reveals, xor};
use super::plan;
use crate::ffi::host::ck;

/// What the oracle knows of a value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tag {
    /// The victim's.
    Victim,
    /// The caller's own.
    Known,
    /// Another one, which the caller does not know.
    Named(&'static str),
    /// Made of the victim's bytes.
    Piece(String),
    /// The result of a one-way function.
    Fresh,
}

impl Tag {
    fn is_victims(&self) -> bool {
        matches!(self, Tag::Victim | Tag::Piece(_))
    }
}

/// A call with the numbers of what it is given.
#[derive(Clone)]
enum Call {
    Create(Rows),
    Set(usize, Rows),
    Copy(usize, Rows),
    Derive(usize, Mech, Rows),
    Unwrap(Mech, usize, Vec<u8>, Rows),
    /// It was there before.
    None,
}

enum Made {
    Key {
        handle: CK_OBJECT_HANDLE,
        call: Call,
        secret: bool,
        readable: bool,
    },
    Bytes {
        bytes: Vec<u8>,
        /// The key that it was encrypted under, and by which of `plan::ciphers`.
        under: Tag,
        cipher: usize,
        /// The plaintext, where the caller knows it.
        known: Option<[u8; 32]>,
    },
}

struct Thing {
    made: Made,
    tag: Tag,
    calls: BTreeSet<usize>,
    how: String,
}

/// A search with one victim.
pub struct Search<'a> {
    app: App<'a>,
    depth: usize,
    things: Vec<Thing>,
    seen: BTreeSet<(Tag, Vec<u8>)>,
    found: BTreeSet<String>,
    /// Where the things begin that the last round made.
    frontier: usize,
    /// Calls that were made, and those that succeeded.
    pub calls: (usize, usize),
}

/// Attributes by which keys are told apart.
const TOLD_BY: [CK_ATTRIBUTE_TYPE; 16] = [
    CKA_CLASS,
    CKA_KEY_TYPE,
    CKA_VALUE_LEN,
    CKA_SENSITIVE,
    CKA_EXTRACTABLE,
    CKA_TRUSTED,
    CKA_WRAP_WITH_TRUSTED,
    CKA_ENCRYPT,
    CKA_DECRYPT,
    CKA_WRAP,
    CKA_UNWRAP,
    CKA_SIGN,
    CKA_VERIFY,
    CKA_DERIVE,
    CKA_COPYABLE,
    CKA_VALUE,
];

impl<'a> Search<'a> {
    pub fn new(app: App<'a>, depth: usize) -> Search<'a> {
        Search {
            app,
            depth,
            things: Vec::new(),
            seen: BTreeSet::new(),
            found: BTreeSet::new(),
            frontier: 0,
            calls: (0, 0),
        }
    }

    /// Begins with a new key; false when the policy does not let it exist.
    pub fn start(&mut self, tag: Tag, rows: Rows) -> bool {
        match self.app.create(&rows) {
            Ok(handle) => {
                self.key(
                    handle,
                    Call::Create(rows),
                    tag.clone(),
                    BTreeSet::new(),
                    format!("{tag:?}"),
                );
                true
            }
            Err(_) => false,
        }
    }

    /// Begins with a key that is there.
    pub fn take(&mut self, tag: Tag, handle: CK_OBJECT_HANDLE) {
        self.key(
            handle,
            Call::None,
            tag.clone(),
            BTreeSet::new(),
            format!("{tag:?}"),
        );
    }

    /// The sequences that reveal the victim.
    pub fn findings(&self) -> Vec<String> {
        self.found.iter().cloned().collect()
    }

    /// Makes all sequences.
    pub fn run(&mut self) {
        for _ in 0..self.depth {
            let (from, to) = (self.frontier, self.things.len());
            for a in 0..to {
                self.alone(a, a >= from);
                for b in 0..to {
                    self.together(a, b, a >= from || b >= from);
                }
            }
            self.frontier = to;
        }
    }

    /// The calls that a call with these inputs makes, if there are not too many; at the last one, only what touches the victim counts.
    fn budget(&self, inputs: &[usize], counts: bool) -> Option<BTreeSet<usize>> {
        let calls: BTreeSet<usize> = inputs
            .iter()
            .flat_map(|i| self.things[*i].calls.iter().copied())
            .collect();
        match self.depth - calls.len().min(self.depth) {
            0 => None,
            1 if !counts => None,
            _ => Some(calls),
        }
    }

    /// Makes a call; counts it.
    fn make<T>(&mut self, outcome: Rv<T>) -> Option<T> {
        self.calls.0 += 1;
        self.calls.1 += usize::from(outcome.is_ok());
        outcome.ok()
    }

    fn victims(&self, i: usize) -> bool {
        self.things[i].tag.is_victims()
    }

    /// Calls with one key.
    fn alone(&mut self, a: usize, new: bool) {
        let Made::Key { handle, secret, .. } = self.things[a].made else {
            return;
        };
        if !new {
            return;
        }
        let (tag, counts) = (self.things[a].tag.clone(), self.victims(a));
        let Some(calls) = self.budget(&[a], true) else {
            return;
        };
        if self.budget(&[a], counts).is_some() {
            let how = self.things[a].how.clone();
            for (name, rows) in plan::changes() {
                self.new_key(
                    Call::Set(a, rows.clone()),
                    tag.clone(),
                    &calls,
                    format!("{how}; set {name}"),
                );
                self.new_key(
                    Call::Copy(a, rows),
                    tag.clone(),
                    &calls,
                    format!("{how}; copy with {name}"),
                );
            }
            self.new_key(
                Call::Copy(a, Rows::new()),
                tag,
                &calls,
                format!("{how}; copy"),
            );
        }
        if !secret {
            return;
        }
        // A keystream, and what is made of the key by hashing it.
        for (cipher, (name, m, stream)) in plan::ciphers().into_iter().enumerate() {
            if self.budget(&[a], counts || stream).is_some() {
                let outcome = self.app.encrypt(m, handle, &DATA);
                if let Some(bytes) = self.make(outcome) {
                    let how = format!("{}; encrypt by {name}", self.things[a].how);
                    let under = self.things[a].tag.clone();
                    self.bytes(
                        bytes,
                        under,
                        cipher,
                        Some(DATA),
                        Tag::Fresh,
                        calls.clone(),
                        how,
                    );
                }
            }
        }
    }

    /// Calls with two things.
    fn together(&mut self, a: usize, b: usize, new: bool) {
        if !new {
            return;
        }
        match (&self.things[a].made, &self.things[b].made) {
            (
                &Made::Key { handle, secret, .. },
                &Made::Key {
                    handle: other,
                    secret: also,
                    ..
                },
            ) => {
                if also {
                    self.wrap(a, handle, secret, b, other);
                }
                if secret && also {
                    self.derive(a, b, other);
                }
            }
            (
                &Made::Key {
                    handle,
                    secret: true,
                    ..
                },
                Made::Bytes { under, .. },
            ) if *under == self.things[a].tag => {
                self.open(a, handle, b);
            }
            _ => {}
        }
    }

    fn wrap(
        &mut self,
        a: usize,
        kek: CK_OBJECT_HANDLE,
        secret: bool,
        b: usize,
        key: CK_OBJECT_HANDLE,
    ) {
        let Made::Key { readable, .. } = self.things[a].made else {
            return;
        };
        let known = readable || self.things[a].tag == Tag::Known;
        let all = plan::ciphers();
        let some: Vec<(&str, Mech, bool)> = if secret {
            all
        } else {
            plan::transports()
                .into_iter()
                .map(|(name, m)| (name, m, false))
                .collect()
        };
        for (cipher, (name, m, stream)) in some.into_iter().enumerate() {
            let Some(calls) = self.budget(&[a, b], self.victims(b) || stream) else {
                return;
            };
            let outcome = self.app.wrap(m, kek, key);
            let Some(bytes) = self.make(outcome) else {
                continue;
            };
            let (of, how) = (
                self.things[b].tag.clone(),
                format!(
                    "{}; {}; wrap by {name}",
                    self.things[a].how, self.things[b].how
                ),
            );
            if known && of == Tag::Victim {
                self.found
                    .insert(format!("{how}: under a key that the caller knows"));
            }
            if secret {
                let plain = (of == Tag::Known).then_some(KNOWN);
                let under = self.things[a].tag.clone();
                self.bytes(bytes, under, cipher, plain, of, calls, how);
            }
        }
    }

    fn derive(&mut self, a: usize, b: usize, other: CK_OBJECT_HANDLE) {
        let counts = self.victims(a) || self.victims(b);
        for (name, m, copies) in plan::derivations(other) {
            // Once for each base where there is no other key.
            let takes_other = matches!(m.kind, CKM_CONCATENATE_BASE_AND_KEY)
                || name.ends_with("salted")
                || name.ends_with("of a key");
            if !takes_other && b != a {
                continue;
            }
            let Some(calls) = self.budget(&[a, b], counts) else {
                return;
            };
            for (what, mut rows) in plan::templates() {
                if m.kind == CKM_HKDF_DATA {
                    rows = super::rows![CKA_CLASS: CKO_DATA, CKA_VALUE_LEN: 32];
                }
                // The base key of SP 800-108 is the key of its function, the other one its input.
                let inside = if name.ends_with("of a key") {
                    self.victims(b)
                } else {
                    counts
                };
                // A byte of what a one-way function gives is the first byte of its longer results.
                let tag = match copies && inside || counts && what == "one byte" {
                    true => Tag::Piece(format!("{name} {what}")),
                    false => Tag::Fresh,
                };
                let with = if takes_other {
                    format!(" with {}", self.things[b].how)
                } else {
                    String::new()
                };
                let how = format!("{}; derive {name}{with}, {what}", self.things[a].how);
                self.new_key(Call::Derive(a, m.clone(), rows), tag, &calls, how);
            }
        }
    }

    /// Decrypts and unwraps.
    fn open(&mut self, a: usize, key: CK_OBJECT_HANDLE, b: usize) {
        let Made::Bytes { bytes, cipher, .. } = &self.things[b].made else {
            return;
        };
        let (bytes, cipher) = (bytes.clone(), *cipher);
        let counts = self.victims(b);
        let Some(calls) = self.budget(&[a, b], counts) else {
            return;
        };
        let of = self.things[b].tag.clone();
        for (i, (name, m, _)) in plan::ciphers().into_iter().enumerate() {
            // As it was made, or block by block.
            if i != cipher && !name.ends_with("ECB") && !name.ends_with("CBC") {
                continue;
            }
            let outcome = self.app.decrypt(m.clone(), key, &bytes);
            let how = format!(
                "{}; {}; decrypt by {name}",
                self.things[a].how, self.things[b].how
            );
            if let Some(plain) = self.make(outcome)
                && reveals(&plain)
            {
                self.found.insert(how);
            }
            for cut in [bytes.len(), 16, 1] {
                for (what, rows) in plan::templates() {
                    let how = format!(
                        "{}; {}; unwrap {cut} bytes by {name}, {what}",
                        self.things[a].how, self.things[b].how
                    );
                    let tag = match (of.is_victims(), i == cipher && cut == bytes.len()) {
                        (true, true) if what != "one byte" => of.clone(),
                        (true, _) => Tag::Piece(format!("{cut} bytes by {name}, {what}")),
                        (false, true) if what != "one byte" => of.clone(),
                        (false, _) => Tag::Fresh,
                    };
                    let call = Call::Unwrap(m.clone(), a, bytes[..cut].to_vec(), rows);
                    self.new_key(call, tag, &calls, how);
                }
            }
        }
    }

    /// Makes a call that gives a key.
    fn new_key(&mut self, call: Call, tag: Tag, calls: &BTreeSet<usize>, how: String) {
        let outcome = self.perform(&call);
        if let Some(handle) = self.make(outcome) {
            let calls = calls.iter().copied().chain([self.calls.0]).collect();
            self.key(handle, call, tag, calls, how);
        }
    }

    fn handle(&self, i: usize) -> CK_OBJECT_HANDLE {
        match self.things[i].made {
            Made::Key { handle, .. } => handle,
            Made::Bytes { .. } => CK_INVALID_HANDLE,
        }
    }

    fn perform(&self, call: &Call) -> Rv<CK_OBJECT_HANDLE> {
        let app = &self.app;
        match call {
            Call::Create(rows) => app.create(rows),
            Call::Copy(a, rows) => app.copy(self.handle(*a), rows),
            Call::Derive(a, m, rows) => app.derive(m.clone(), self.handle(*a), rows),
            Call::Unwrap(m, a, bytes, rows) => app.unwrap(m.clone(), self.handle(*a), bytes, rows),
            Call::Set(a, rows) => {
                let again = match &self.things[*a].made {
                    Made::Key {
                        call: Call::None,
                        handle,
                        ..
                    } => *handle,
                    Made::Key { call, .. } => self.perform(call)?,
                    Made::Bytes { .. } => CK_INVALID_HANDLE,
                };
                app.set(again, rows).map(|()| again)
            }
            Call::None => Err(CKR_FUNCTION_FAILED),
        }
    }

    /// Takes a key in, unless there is one that cannot be told from it, and asks the oracle.
    fn key(
        &mut self,
        handle: CK_OBJECT_HANDLE,
        call: Call,
        tag: Tag,
        calls: BTreeSet<usize>,
        how: String,
    ) {
        let (told, value, len) = self.look(handle);
        if let Some(value) = &value
            && tag != Tag::Known
            && reveals(value)
        {
            self.found.insert(format!("{how}; read"));
        }
        let is_key = |kind| told.get(..8) == Some(&CK_ULONG::to_ne_bytes(kind)[..]);
        let secret = is_key(CKO_SECRET_KEY);
        if secret && len < SEARCHABLE && tag.is_victims() && value.is_none() {
            self.found
                .insert(format!("{how}; try all keys of {len} bytes"));
        }
        // Values that only one-way functions gave are one as good as the other.
        if (secret || is_key(CKO_PUBLIC_KEY)) && self.seen.insert((tag.clone(), told)) {
            self.things.push(Thing {
                made: Made::Key {
                    handle,
                    call,
                    secret,
                    readable: value.is_some(),
                },
                tag,
                calls,
                how,
            });
        }
    }

    /// The attributes of a key, its value where it may be read, and its length.
    fn look(&self, handle: CK_OBJECT_HANDLE) -> (Vec<u8>, Option<Vec<u8>>, u64) {
        let host = self.app.host;
        let mut room = [[0u8; 64]; TOLD_BY.len()];
        let mut rows: Vec<CK_ATTRIBUTE> = TOLD_BY
            .iter()
            .zip(&mut room)
            .map(|(kind, room)| CK_ATTRIBUTE {
                type_: *kind,
                pValue: room.as_mut_ptr().cast(),
                ulValueLen: room.len() as CK_ULONG,
            })
            .collect();
        // Which of them there are the lengths say.
        let _ = ck!(host.C_GetAttributeValue(
            self.app.session,
            handle,
            rows.as_mut_ptr(),
            rows.len() as CK_ULONG
        ));
        let lens: Vec<usize> = rows.iter().map(|row| row.ulValueLen as usize).collect();
        let bytes = |i: usize| room[i].get(..lens[i]);
        let last = TOLD_BY.len() - 1;
        let told = (0..last)
            .flat_map(|i| bytes(i).unwrap_or(&[9]).to_vec())
            .collect();
        let len = bytes(2).and_then(|len| Some(u64::from_ne_bytes(len.try_into().ok()?)));
        (
            told,
            bytes(last).map(<[u8]>::to_vec),
            len.unwrap_or(u64::MAX),
        )
    }

    /// Takes bytes in and asks the oracle: alone, and beside others that the same keystream made.
    #[allow(
        clippy::too_many_arguments,
        reason = "all that is known of a ciphertext"
    )]
    fn bytes(
        &mut self,
        bytes: Vec<u8>,
        under: Tag,
        cipher: usize,
        known: Option<[u8; 32]>,
        tag: Tag,
        mut calls: BTreeSet<usize>,
        how: String,
    ) {
        calls.insert(self.calls.0);
        if reveals(&bytes) {
            self.found.insert(how.clone());
        }
        if plan::ciphers()[cipher].2 {
            for thing in &self.things {
                let Made::Bytes {
                    bytes: others,
                    under: same,
                    cipher: way,
                    known: text,
                } = &thing.made
                else {
                    continue;
                };
                let together = calls.union(&thing.calls).count();
                let plain = known.or(*text);
                if *same != under || *way != cipher || together > self.depth {
                    continue;
                }
                if let Some(plain) = plain
                    && reveals(&xor(&xor(&bytes, others), &plain))
                {
                    self.found
                        .insert(format!("{}; {how}: one keystream twice", thing.how));
                }
            }
        }
        if self.seen.insert((tag.clone(), bytes.clone())) {
            let made = Made::Bytes {
                bytes,
                under,
                cipher,
                known,
            };
            self.things.push(Thing {
                made,
                tag,
                calls,
                how,
            });
        }
    }
}
