//! Conversations whose variables have names, played against one server: each item must have the
//! recorded Result Status and Result Reason.

use std::path::Path;

use mrhsm_pkcs11::error::{Error, Result};
use mrhsm_pkcs11::kmip::value_name;
use mrhsm_pkcs11::server::{Caller, Engine, Objects, Personality};
use mrhsm_pkcs11::ttlv::{Decode, Encode, Field, Item, Tag, Value, Writer};

use super::known;
use super::server::{caller_of, find, is_the_servers, operations, version_of};
use super::xml::{Element, Reader, parse};

/// Where a conversation first differs; `None` when it goes as recorded. It goes on after the
/// conversation `before`.
pub fn replay(name: &str, before: Option<&str>, text: &str) -> Result<Option<String>> {
    let folder = tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .map_err(|e| Error::file("a folder", e))?;
    let engine = Engine::new(
        Personality::standard(),
        Objects::open(&folder.path().join("served"), &[7; 32])?,
    );
    let mut reader = Reader::new(known::earlier(name));
    let mut file = before.map(parse).transpose()?.unwrap_or_default();
    file.extend(parse(text)?);
    let messages: Vec<&Element> = file.iter().flat_map(|file| &file.inner).collect();
    for (step, pair) in messages.chunks(2).enumerate() {
        let [request, recorded] = pair else {
            return Err(Error::input("a request without a response"));
        };
        let asked = reader.field(request)?;
        // What a server asks a client.
        if operations(&asked).iter().all(is_the_servers) {
            continue;
        }
        let ours = ask(&engine, &asked)?;
        if let Some(line) = difference(&reader, recorded, &ours)? {
            return Ok(Some(format!("step {step}: {line}")));
        }
        reader.learn(recorded, &ours);
    }
    Ok(None)
}

/// The cases in a folder and the folders in it: name and text.
pub fn cases(folder: &Path) -> Result<Vec<(String, String)>> {
    let failed = |e| Error::file("the test cases cannot be read", e);
    let mut cases = Vec::new();
    let mut entries = std::fs::read_dir(folder)
        .and_then(|entries| entries.collect::<std::io::Result<Vec<_>>>())
        .map_err(failed)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if path.is_dir() {
            cases.extend(self::cases(&path)?);
        } else if path.extension().is_some_and(|ending| ending == "xml") {
            let version = folder.file_name().unwrap_or_default().to_string_lossy();
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            let text = std::fs::read_to_string(&path).map_err(failed)?;
            cases.push((format!("{version}/{name}"), text));
        }
    }
    Ok(cases)
}

fn ask(engine: &Engine, asked: &Field) -> Result<Field> {
    let mut writer = Writer::new(version_of(asked));
    asked.value.encode(asked.tag, &mut writer);
    let frame = writer.finish()?;
    let caller: Caller = caller_of(asked);
    let answer = engine.answer(&caller, frame.expose(), None);
    let item = Item::parse(answer.bytes.expose())?;
    Ok(Field {
        tag: item.tag,
        value: Value::decode(&item)?,
    })
}

fn items(message: &Field) -> Vec<&Value> {
    let Value::Structure(parts) = &message.value else {
        return Vec::new();
    };
    let items = parts.iter().filter(|part| part.tag == Tag::BATCH_ITEM);
    items.map(|item| &item.value).collect()
}

fn difference(reader: &Reader, recorded: &Element, ours: &Field) -> Result<Option<String>> {
    let theirs = recorded
        .inner
        .iter()
        .filter(|part| part.name == "BatchItem");
    let (theirs, mine): (Vec<&Element>, _) = (theirs.collect(), items(ours));
    for (at, theirs) in theirs.iter().enumerate() {
        let Some(mine) = mine.get(at) else {
            return Ok(Some(format!("item {at} is missing")));
        };
        for (name, tag) in [
            ("ResultStatus", Tag::RESULT_STATUS),
            ("ResultReason", Tag::RESULT_REASON),
        ] {
            let theirs = theirs.inner.iter().find(|part| part.name == name);
            let theirs = theirs.map(|part| reader.field(part)).transpose()?;
            let theirs = theirs.map(|field| field.value);
            let ours = find(mine, &[tag]);
            if theirs.as_ref() != ours {
                let text = find(mine, &[Tag::RESULT_MESSAGE]).and_then(Value::as_text);
                return Ok(Some(format!(
                    "item {at}: {tag} is {} instead of {} ({})",
                    shown(tag, ours),
                    shown(tag, theirs.as_ref()),
                    text.unwrap_or_default()
                )));
            }
        }
    }
    Ok((theirs.len() != mine.len()).then(|| "more items than recorded".to_owned()))
}

fn shown(tag: Tag, value: Option<&Value>) -> String {
    match value {
        Some(Value::Enumeration(number)) => value_name(tag, *number).unwrap_or_default(),
        _ => "absent".to_owned(),
    }
}
