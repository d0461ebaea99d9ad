//! Recorded conversations held again with the embedded server.
//!
//! The recording has one word for every identifier and one moment for every "now" that its test cases compute with. Which
//! object and which moment was meant is found by trying: a case passes when there is a choice with which every answer is the
//! recorded one. Each choice is tried on a server of its own, with what the server held at that point.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use mrhsm_pkcs11::error::{Error, Result};
use mrhsm_pkcs11::kmip::OperationCode;
use mrhsm_pkcs11::server::{Caller, Engine, Objects, Personality};
use mrhsm_pkcs11::ttlv::{Decode, Encode, Field, Item, Tag, Value, Writer};
use mrhsm_pkcs11::version::Version;

use super::answers::{Made, differences};
use super::known;

/// The recording's word for an identifier.
pub const SOME_UID: &str = "DEADBEEFCAFE";
/// The recording's word for bytes that a server made.
pub const SOME_BYTES: [u8; 6] = [0xDE, 0xAD, 0xBE, 0xEF, 0xCA, 0xFE];
/// The recording's word for a moment that was computed from the time of the run.
const SOME_TIME: i64 = 1_795_392_022;
/// How many requests are tried at most to find what a case means.
const PATIENCE: usize = 1500;

/// One exchange of a case.
pub struct Step {
    /// What was asked; `None` where the recording lost it.
    pub request: Option<Vec<u8>>,
    /// What was answered; `None` where the recording lost it.
    pub response: Option<Vec<u8>>,
}

/// How a case went.
pub enum Verdict {
    /// Every answer is the recorded one.
    Same,
    /// So is every answer but these, for which `known` has the reasons.
    Explained(Vec<&'static str>),
    /// This many steps went as recorded, then these lines differ.
    Differs(usize, Vec<String>),
}

/// Holds a case's conversation again, after the steps `before`.
pub fn replay(name: &str, before: &[Step], steps: &[Step]) -> Result<Verdict> {
    let folder = tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .map_err(|e| Error::file("a folder", e))?;
    let steps: Vec<&Step> = before.iter().chain(steps).collect();
    let mut search = Search {
        name,
        steps: &steps,
        file: folder.path().join("served"),
        tried: 0,
        best: (0, Vec::new()),
    };
    Ok(match search.from(0, &Played::default())? {
        Some(reasons) if reasons.is_empty() => Verdict::Same,
        Some(reasons) => Verdict::Explained(reasons),
        None => Verdict::Differs(search.best.0, search.best.1),
    })
}

/// What a conversation has led to.
#[derive(Clone, Default)]
struct Played {
    /// The server's database.
    database: Vec<u8>,
    /// Identifiers that it gave, the newest last.
    uids: Vec<String>,
    /// Bytes that it made, with what they are.
    bytes: Vec<(Tag, Vec<u8>)>,
    /// What was sent and made.
    made: Made,
    /// Answers that came at once where the recorded server let the client wait for them.
    early: Vec<Field>,
    /// Why known differences are right.
    reasons: Vec<&'static str>,
}

struct Search<'a> {
    name: &'a str,
    steps: &'a [&'a Step],
    file: PathBuf,
    tried: usize,
    /// How far a try came, and what it stumbled over.
    best: (usize, Vec<String>),
}

impl Search<'_> {
    /// The reasons for known differences, when the rest of the case can be played from `at`.
    fn from(&mut self, at: usize, played: &Played) -> Result<Option<Vec<&'static str>>> {
        let Some(step) = self.steps.get(at).copied() else {
            return Ok(Some(played.reasons.clone()));
        };
        if let Some(why) = known::end(self.name, at) {
            return Ok(Some([played.reasons.as_slice(), &[why]].concat()));
        }
        let Some(request) = &step.request else {
            let asked = step
                .response
                .as_deref()
                .map(read)
                .transpose()?
                .map_or(Vec::new(), |answer| operations(&answer));
            if !asked.is_empty() && asked.iter().all(is_the_servers) {
                return self.from(at + 1, played);
            }
            self.stumbled(at, vec!["the recording lost this request".into()]);
            return Ok(None);
        };
        let asked = read(request)?;
        if operations(&asked).iter().all(is_the_servers) {
            return self.from(at + 1, played);
        }
        let answered = step.response.as_deref().map(read).transpose()?;
        // What is polled for was answered already, which Asynchronous Indicator allows.
        if let (Some(early), true) = (
            played.early.last(),
            operations(&asked) == [OperationCode::POLL],
        ) {
            let wrong = answered.as_ref().map_or(Vec::new(), |answered| {
                differences(answered, early, &played.made)
            });
            let mut on = played.clone();
            on.early.pop();
            if wrong.is_empty() {
                return self.from(at + 1, &on);
            }
            self.stumbled(at, wrong);
            return Ok(None);
        }
        for choice in choices(&asked, played) {
            if self.tried >= PATIENCE {
                self.best.1.push(format!("given up after {PATIENCE} tries"));
                return Ok(None);
            }
            self.tried += 1;
            let mut on = played.clone();
            let chosen = filled(&asked, &mut choice.iter());
            let ours = self.ask(&chosen, &mut on)?;
            on.made.asked(&chosen);
            let pending = answered.as_ref().is_some_and(is_pending);
            let mut wrong = match &answered {
                Some(answered) if !pending => differences(answered, &ours, &on.made),
                _ => Vec::new(),
            };
            wrong.retain(|line| match known::reason(self.name, at, line) {
                Some(why) => {
                    if !on.reasons.contains(&why) {
                        on.reasons.push(why);
                    }
                    false
                }
                None => true,
            });
            if wrong.is_empty() {
                collect(&ours, &mut on);
                if pending {
                    on.early.push(ours);
                }
                if let Some(reasons) = self.from(at + 1, &on)? {
                    return Ok(Some(reasons));
                }
            } else {
                self.stumbled(at, wrong);
            }
        }
        Ok(None)
    }

    fn stumbled(&mut self, at: usize, wrong: Vec<String>) {
        if at > self.best.0
            || self.best.1.is_empty()
            || (at == self.best.0 && wrong.len() < self.best.1.len())
        {
            self.best = (at, wrong);
        }
    }

    /// One request to a server that holds what was `played`, which is brought up to date.
    fn ask(&self, asked: &Field, played: &mut Played) -> Result<Field> {
        let file = |e| Error::file("the server's file", e);
        let database = self.file.with_extension("db");
        for extension in ["", "db", "db-wal", "lock", "backup"] {
            let _ = std::fs::remove_file(self.file.with_extension(extension));
        }
        if !played.database.is_empty() {
            let mut copy = File::options()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&database)
                .map_err(file)?;
            copy.write_all(&played.database).map_err(file)?;
        }
        let version = version_of(asked);
        // Each request has a server of its own, which has no answers to wait for.
        let asked = &without(asked, Tag::ASYNCHRONOUS_INDICATOR);
        let frame = {
            let mut writer = Writer::new(version);
            asked.value.encode(asked.tag, &mut writer);
            writer.finish()?
        };
        let engine = Engine::new(
            Personality::standard(),
            Objects::open(&self.file, &[7; 32])?,
        );
        let caller = caller_of(asked);
        let answer = engine.answer(&caller, frame.expose(), None);
        let backup = self.file.with_extension("backup");
        engine.objects.repository().engine().backup(&backup)?;
        played.database = std::fs::read(&backup).map_err(file)?;
        read(answer.bytes.expose())
    }
}

fn without(field: &Field, tag: Tag) -> Field {
    let value = match &field.value {
        Value::Structure(fields) => {
            let kept = fields.iter().filter(|field| field.tag != tag);
            Value::Structure(kept.map(|field| without(field, tag)).collect())
        }
        other => other.clone(),
    };
    Field {
        tag: field.tag,
        value,
    }
}

fn read(bytes: &[u8]) -> Result<Field> {
    let item = Item::parse(bytes)?;
    Ok(Field {
        tag: item.tag,
        value: Value::decode(&item)?,
    })
}

/// Who asks is who the certificate says; in the recording it is who the credential says.
pub fn caller_of(asked: &Field) -> Caller {
    let name = find(
        &asked.value,
        &[
            Tag::REQUEST_HEADER,
            Tag::AUTHENTICATION,
            Tag::CREDENTIAL,
            Tag::CREDENTIAL_VALUE,
        ],
    )
    .and_then(|value| {
        find(value, &[Tag::USERNAME]).or_else(|| find(value, &[Tag::DEVICE_SERIAL_NUMBER]))
    })
    .and_then(Value::as_text)
    .unwrap_or("client");
    Caller {
        name: name.to_owned(),
        groups: Vec::new(),
        ..Caller::default()
    }
}

/// Put and Notify are what a server asks a client.
pub fn is_the_servers(operation: &OperationCode) -> bool {
    matches!(*operation, OperationCode::PUT | OperationCode::NOTIFY)
}

/// The value under this path of tags.
pub fn find<'a>(value: &'a Value, path: &[Tag]) -> Option<&'a Value> {
    let [first, rest @ ..] = path else {
        return Some(value);
    };
    let Value::Structure(fields) = value else {
        return None;
    };
    fields
        .iter()
        .find(|field| field.tag == *first)
        .and_then(|field| find(&field.value, rest))
}

pub fn version_of(message: &Field) -> Version {
    let number = |tag| match find(
        &message.value,
        &[Tag::REQUEST_HEADER, Tag::PROTOCOL_VERSION, tag],
    ) {
        Some(Value::Integer(number)) => u16::try_from(*number).unwrap_or(0),
        _ => 0,
    };
    Version {
        major: number(Tag::PROTOCOL_VERSION_MAJOR),
        minor: number(Tag::PROTOCOL_VERSION_MINOR),
    }
}

pub fn operations(message: &Field) -> Vec<OperationCode> {
    let Value::Structure(parts) = &message.value else {
        return Vec::new();
    };
    let items = parts.iter().filter(|part| part.tag == Tag::BATCH_ITEM);
    items
        .filter_map(|item| match find(&item.value, &[Tag::OPERATION]) {
            Some(Value::Enumeration(code)) => Some(OperationCode(*code)),
            _ => None,
        })
        .collect()
}

fn is_pending(answer: &Field) -> bool {
    matches!(
        find(&answer.value, &[Tag::BATCH_ITEM, Tag::RESULT_STATUS]),
        Some(Value::Enumeration(2))
    )
}

/// What each of a request's words may mean, all combinations.
fn choices(asked: &Field, played: &Played) -> Vec<Vec<Value>> {
    let now = std::time::UNIX_EPOCH
        .elapsed()
        .map_or(0, |now| now.as_secs().cast_signed());
    let mut holes = Vec::new();
    holes_of(asked, &mut holes);
    let mut all: Vec<Vec<Value>> = vec![Vec::new()];
    for hole in holes {
        let mut may_be: Vec<Value> = match hole {
            Hole::Uid => played.uids.iter().cloned().map(Value::Text).collect(),
            Hole::Time => [now - 3600, now + 3600, now - 60]
                .map(Value::DateTime)
                .to_vec(),
            Hole::Bytes(tag) => {
                let made = played.bytes.iter().filter(|(made, _)| *made == tag);
                made.map(|(_, bytes)| Value::Bytes(bytes.clone())).collect()
            }
        };
        if may_be.is_empty() {
            may_be.push(match hole {
                Hole::Bytes(_) => Value::Bytes(SOME_BYTES.to_vec()),
                _ => Value::Text("nothing has this identifier".into()),
            });
        }
        let with = |before: &Vec<Value>, this: &Value| {
            [before.as_slice(), std::slice::from_ref(this)].concat()
        };
        all = all
            .iter()
            .flat_map(|before| {
                may_be
                    .iter()
                    .map(|this| with(before, this))
                    .collect::<Vec<_>>()
            })
            .collect();
    }
    all
}

/// A word of the recording.
enum Hole {
    Uid,
    Time,
    Bytes(Tag),
}

fn hole(field: &Field) -> Option<Hole> {
    match &field.value {
        Value::Text(text) if text == SOME_UID => Some(Hole::Uid),
        Value::DateTime(SOME_TIME) => Some(Hole::Time),
        Value::Bytes(bytes) if *bytes == SOME_BYTES => Some(Hole::Bytes(field.tag)),
        _ => None,
    }
}

fn holes_of(field: &Field, holes: &mut Vec<Hole>) {
    match &field.value {
        Value::Structure(fields) => fields.iter().for_each(|field| holes_of(field, holes)),
        _ => holes.extend(hole(field)),
    }
}

/// The message with what its words mean.
fn filled<'a>(field: &Field, meant: &mut impl Iterator<Item = &'a Value>) -> Field {
    let value = match &field.value {
        Value::Structure(fields) => {
            Value::Structure(fields.iter().map(|field| filled(field, meant)).collect())
        }
        value if hole(field).is_some() => meant.next().unwrap_or(value).clone(),
        // Where the originals broke a line, the recording has blanks.
        Value::Text(text) if field.tag == Tag::ATTRIBUTE_NAME => {
            Value::Text(text.split_whitespace().collect::<Vec<_>>().join(" "))
        }
        other => other.clone(),
    };
    Field {
        tag: field.tag,
        value,
    }
}

/// What an answer brings: identifiers, and bytes that later requests may give back.
fn collect(answer: &Field, played: &mut Played) {
    match &answer.value {
        Value::Structure(fields) => fields.iter().for_each(|field| collect(field, played)),
        Value::Text(uid) if is_uid(answer.tag) && !played.uids.contains(uid) => {
            played.uids.push(uid.clone())
        }
        Value::Bytes(bytes) => played.bytes.push((answer.tag, bytes.clone())),
        _ => {}
    }
}

fn is_uid(tag: Tag) -> bool {
    matches!(
        tag,
        Tag::UNIQUE_IDENTIFIER
            | Tag::PRIVATE_KEY_UNIQUE_IDENTIFIER
            | Tag::PUBLIC_KEY_UNIQUE_IDENTIFIER
    )
}
