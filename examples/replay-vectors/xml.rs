//! KMIP messages in XML (KMIP Profiles 1.4, 5.5.1), as far as the OASIS test cases use it.

use std::collections::HashMap;

use jiff::Timestamp;
use mrhsm_pkcs11::error::{Error, Result};
use mrhsm_pkcs11::kmip::{AttributeName, value_name};
use mrhsm_pkcs11::ttlv::{Field, Tag, Value};

/// An element: its name, type and value, and what is in it.
pub struct Element {
    pub name: String,
    pub kind: String,
    pub value: String,
    pub inner: Vec<Element>,
}

fn bad(what: &str) -> Error {
    Error::input(format!("this is no KMIP message in XML: {what}"))
}

/// The elements of a file, without comments and text.
pub fn parse(text: &str) -> Result<Vec<Element>> {
    let mut open = vec![Vec::new()];
    let mut names = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        rest = &rest[at..];
        let until = |end: &str| {
            let at = rest.find(end).ok_or_else(|| bad("it ends in an element"))?;
            Ok::<_, Error>((&rest[..at], &rest[at + end.len()..]))
        };
        if rest.starts_with("<!--") {
            rest = until("-->")?.1;
            continue;
        }
        let (element, behind) = until(">")?;
        rest = behind;
        let element = element[1..].trim();
        if element.starts_with('?') {
            continue;
        }
        if element.starts_with('/') {
            let inner = open
                .pop()
                .ok_or_else(|| bad("an end without a beginning"))?;
            let mut done: Element = names
                .pop()
                .ok_or_else(|| bad("an end without a beginning"))?;
            done.inner = inner;
            open.last_mut()
                .ok_or_else(|| bad("an end without a beginning"))?
                .push(done);
            continue;
        }
        let new = begun(element.trim_end_matches('/'));
        if element.ends_with('/') {
            open.last_mut()
                .ok_or_else(|| bad("nothing is open"))?
                .push(new);
        } else {
            names.push(new);
            open.push(Vec::new());
        }
    }
    open.pop().ok_or_else(|| bad("it is empty"))
}

fn begun(element: &str) -> Element {
    let name = element.split_whitespace().next().unwrap_or_default();
    let attribute = |name: &str| {
        let (_, behind) = element.split_once(&format!("{name}=\""))?;
        behind.split_once('"').map(|(value, _)| value.to_owned())
    };
    Element {
        // An item whose tag has no name.
        name: attribute("tag").unwrap_or_else(|| name.to_owned()),
        kind: attribute("type").unwrap_or_default(),
        value: attribute("value").unwrap_or_default(),
        inner: Vec::new(),
    }
}

/// Names without what XML names leave out or replace.
fn plain(name: &str) -> String {
    let letters = name.chars().filter(char::is_ascii_alphanumeric);
    letters.map(|letter| letter.to_ascii_lowercase()).collect()
}

/// What is known while messages are read.
pub struct Reader {
    tags: HashMap<String, Tag>,
    now: i64,
    /// How many answers had Data.
    data: usize,
    /// The values of the variables: `$UNIQUE_IDENTIFIER_0`.
    pub variables: HashMap<String, Value>,
}

impl Reader {
    /// For a conversation that began `earlier` seconds ago.
    pub fn new(earlier: i64) -> Reader {
        let tags = (0x42_0000..0x42_0200).map(Tag);
        let named = tags.filter_map(|tag| Some((plain(tag.name()?), tag)));
        Reader {
            tags: named.collect(),
            now: Timestamp::now().as_second() - earlier,
            data: 0,
            variables: HashMap::new(),
        }
    }

    fn tag(&self, name: &str) -> Result<Tag> {
        if let Some(hex) = name.strip_prefix("0x") {
            return u32::from_str_radix(hex, 16).map(Tag).map_err(|_| bad(name));
        }
        let tag = self.tags.get(&plain(name)).copied();
        tag.ok_or_else(|| bad(&format!("the tag {name} is not known")))
    }

    /// The message, with the values of its variables.
    pub fn field(&self, element: &Element) -> Result<Field> {
        let tag = self.tag(&element.name)?;
        self.value(element, tag).map(|value| Field { tag, value })
    }

    fn value(&self, element: &Element, meaning: Tag) -> Result<Value> {
        let text = element.value.as_str();
        if text.starts_with('$') && !text.starts_with("$NOW") {
            let known = self.variables.get(text).cloned();
            return Ok(known.unwrap_or_else(|| unset(&element.kind)));
        }
        let number = || -> Result<i64> {
            match text.strip_prefix("0x") {
                Some(hex) => i64::from_str_radix(hex, 16).map_err(|_| bad(text)),
                None => text.parse().map_err(|_| bad(text)),
            }
        };
        let bytes = || {
            let hex = text.to_ascii_lowercase();
            let bytes = data_encoding::HEXLOWER.decode(hex.as_bytes());
            bytes.map_err(|_| bad(&format!("the bytes of {}", element.name)))
        };
        Ok(match element.kind.as_str() {
            "" | "Structure" => Value::Structure(self.structure(element)?),
            "Integer" if number().is_err() => Value::Integer(self.bits(text, meaning)?),
            // A mask may have its highest bit.
            "Integer" => Value::Integer(number()? as u32 as i32),
            "LongInteger" => Value::LongInteger(number()?),
            "BigInteger" => Value::BigInteger(bytes()?),
            "Enumeration" if text.starts_with("0x") => Value::Enumeration(number()? as u32),
            "Enumeration" => Value::Enumeration(self.number(text, meaning)?),
            "Boolean" => Value::Boolean(text == "true"),
            "TextString" => Value::Text(unescaped(text)),
            "ByteString" => Value::Bytes(bytes()?),
            "DateTime" => Value::DateTime(self.moment(text)?),
            "Interval" => Value::Interval(number()? as u32),
            other => return Err(bad(&format!("the type {other}"))),
        })
    }

    fn structure(&self, element: &Element) -> Result<Vec<Field>> {
        let named = |child: &&Element| child.name == "AttributeName";
        let attribute = element.inner.iter().find(named);
        // The value of an attribute has the values of the attribute's own enumeration.
        let meaning = attribute.and_then(|name| match AttributeName::from_text(&name.value) {
            AttributeName::Standard(tag) => Some(tag),
            AttributeName::Custom { .. } => None,
        });
        let field = |child: &Element| {
            let tag = self.tag(&child.name)?;
            let meaning = meaning
                .filter(|_| tag == Tag::ATTRIBUTE_VALUE)
                .unwrap_or(tag);
            self.value(child, meaning).map(|value| Field { tag, value })
        };
        element.inner.iter().map(field).collect()
    }

    fn moment(&self, text: &str) -> Result<i64> {
        match text.strip_prefix("$NOW") {
            Some("") => Ok(self.now),
            Some(offset) => {
                let offset: i64 = offset.parse().map_err(|_| bad(text))?;
                Ok(self.now + offset)
            }
            None => {
                let moment: Timestamp = text.parse().map_err(|_| bad(text))?;
                Ok(moment.as_second())
            }
        }
    }

    fn number(&self, name: &str, meaning: Tag) -> Result<u32> {
        let (name, meaning) = match (name, meaning) {
            ("DES3", _) => ("3DES", meaning),
            (_, Tag::MASK_GENERATOR_HASHING_ALGORITHM) => (name, Tag::HASHING_ALGORITHM),
            _ => (name, meaning),
        };
        let vendors = 0x8000_0000..0x8000_0010;
        let standard = (0..0x200).chain(vendors);
        let known = standard
            .chain(0x42_0000..0x42_0200)
            .find(|number| value_name(meaning, *number).is_some_and(|n| plain(&n) == plain(name)));
        known.ok_or_else(|| bad(&format!("the value {name} of {meaning}")))
    }

    fn bits(&self, names: &str, meaning: Tag) -> Result<i32> {
        let mut all = 0;
        for name in names.split_whitespace() {
            let bit = (0..24).map(|at| 1 << at).find(|bit| {
                let known = value_name(meaning, *bit).unwrap_or_default();
                plain(known.split(" (").next().unwrap_or_default()) == plain(name)
            });
            all |= bit.ok_or_else(|| bad(&format!("the bit {name} of {meaning}")))?;
        }
        Ok(all as i32)
    }

    /// Notes what the variables of a recorded answer are in ours.
    pub fn learn(&mut self, recorded: &Element, ours: &Field) {
        let name = &recorded.value;
        if name.starts_with('$') && !name.starts_with("$NOW") {
            // An identifier stays; the Correlation Value of each operation has the same name.
            let known = self.variables.contains_key(name);
            if !known || !name.starts_with("$UNIQUE_IDENTIFIER") {
                self.variables.insert(name.clone(), ours.value.clone());
            }
        }
        // Requests name these, and recorded answers have the recorded server's.
        match ours.tag {
            Tag::DATA => {
                let name = format!("$DATA_{}", self.data);
                self.variables.insert(name, ours.value.clone());
                self.data += 1;
            }
            Tag::IV_COUNTER_NONCE => {
                let name = "$IV_COUNTER_NONCE".to_owned();
                self.variables.insert(name, ours.value.clone());
            }
            _ => {}
        }
        let Value::Structure(fields) = &ours.value else {
            return;
        };
        let mut used = vec![false; fields.len()];
        for child in &recorded.inner {
            let Ok(tag) = self.tag(&child.name) else {
                continue;
            };
            let same = |at: &usize| !used[*at] && fields[*at].tag == tag;
            if let Some(at) = (0..fields.len()).find(same) {
                used[at] = true;
                self.learn(child, &fields[at]);
            }
        }
    }
}

/// A variable that no answer has given a value.
fn unset(kind: &str) -> Value {
    match kind {
        "ByteString" => Value::Bytes(vec![0xDE, 0xAD]),
        _ => Value::Text("nothing has this identifier".into()),
    }
}

fn unescaped(text: &str) -> String {
    let pairs = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&apos;", "'"),
        ("&#xA;", "\n"),
        ("&#10;", "\n"),
        ("&amp;", "&"),
    ];
    pairs
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}
