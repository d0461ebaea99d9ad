//! What the token keeps with an object, on a server that has no field for it.
//!
//! Four texts: the key identifier, the label, a nonce that finds a half-made object again, and a record of the rest. They stand in
//! Application Specific Information, which every server seen keeps and finds by; in one such attribute where there may be no
//! more; where it is refused, in custom attributes. ASCII only, because one server answers nothing else; never empty, so that
//! there is something to modify later.

use std::collections::BTreeMap;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};

use crate::kmip::{ApplicationSpecificInformation, AttributeName, AttributeValue, Attributes};
use crate::store::{Changes, Spec};
use crate::ttlv::Value;

/// The texts, by what they hold. In Application Specific Information the namespace is `pkcs11.` and this, as a custom attribute
/// the name is `x-p11-` and this.
pub(super) const ID: &str = "id";
pub(super) const LABEL: &str = "label";
pub(super) const NONCE: &str = "nonce";
const REST: &str = "meta";

/// The nonce last: of several attributes of a name there are servers that keep the last only, and by the nonce it is found again.
pub(super) const KEYS: [&str; 4] = [ID, LABEL, REST, NONCE];

/// The namespace of the four in one attribute: `id=...&label=...`.
const ALL: &str = "pkcs11";

/// The vendor of custom attributes (2.x) and its prefix (1.x).
const VENDOR: &str = "x";

/// Stands for nothing.
const EMPTY: &str = "-";

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Record {
    pub(super) label: Option<Vec<u8>>,
    pub(super) id: Option<Vec<u8>>,
    pub(super) nonce: Option<String>,
    pub(super) sensitive: Option<bool>,
    pub(super) extractable: Option<bool>,
    /// A generic secret, whatever algorithm the server was told.
    pub(super) generic: bool,
    pub(super) properties: BTreeMap<String, String>,
}

impl Record {
    pub(super) fn new(spec: &Spec, nonce: &str) -> Record {
        Record {
            label: Some(spec.label.clone()),
            id: Some(spec.id.clone()),
            nonce: Some(nonce.to_owned()),
            sensitive: Some(spec.sensitive),
            extractable: Some(spec.extractable),
            generic: spec.algorithm == crate::store::Algorithm::GenericSecret,
            properties: spec.properties.clone(),
        }
    }

    /// Puts `changes` into the record.
    pub(super) fn change(&mut self, changes: &Changes) {
        self.label = changes.label.clone().or(self.label.take());
        self.id = changes.id.clone().or(self.id.take());
        self.sensitive = changes.sensitive.or(self.sensitive);
        self.extractable = changes.extractable.or(self.extractable);
        self.properties.extend(changes.properties.clone());
    }

    /// One of the texts.
    pub(super) fn text(&self, key: &str) -> String {
        match key {
            ID => id_text(self.id.as_deref().unwrap_or_default()),
            LABEL => label_text(self.label.as_deref().unwrap_or_default()),
            NONCE => self.nonce.clone().unwrap_or_else(|| EMPTY.into()),
            _ => self.rest(),
        }
    }

    fn rest(&self) -> String {
        let flag = |key: &str, value: Option<bool>| value.map(|v| format!("{key}={}", u8::from(v)));
        let own = [
            flag(".sensitive", self.sensitive),
            flag(".extractable", self.extractable),
            flag(".generic", self.generic.then_some(true)),
        ];
        let others = self
            .properties
            .iter()
            .map(|(key, value)| format!("{}={}", escape(key), escape(value)));
        let text = own
            .into_iter()
            .flatten()
            .chain(others)
            .collect::<Vec<_>>()
            .join(";");
        if text.is_empty() { EMPTY.into() } else { text }
    }

    /// The record that stands with an object; its fields are `None` where there is none.
    pub(super) fn read(attributes: &Attributes) -> Record {
        let text = |key| find(attributes, key);
        let mut record = Record {
            label: text(LABEL).and_then(label_bytes),
            id: text(ID).and_then(id_bytes),
            nonce: text(NONCE).filter(|t| *t != EMPTY).map(str::to_owned),
            ..Record::default()
        };
        for pair in text(REST).into_iter().flat_map(|t| t.split(';')) {
            let Some((key, value)) = pair.split_once('=') else {
                continue;
            };
            match key {
                ".sensitive" => record.sensitive = Some(value == "1"),
                ".extractable" => record.extractable = Some(value == "1"),
                ".generic" => record.generic = value == "1",
                key => drop(record.properties.insert(unescape(key), unescape(value))),
            }
        }
        record
    }
}

/// Where the texts stand on this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rung {
    /// An Application Specific Information for each.
    Application,
    /// One Application Specific Information for all.
    Combined,
    /// A custom attribute for each.
    Custom,
    Nowhere,
}

impl Rung {
    pub(super) const ALL: [Rung; 4] = [
        Rung::Application,
        Rung::Combined,
        Rung::Custom,
        Rung::Nowhere,
    ];
}

/// The attributes that hold a record.
pub(super) fn attributes(rung: Rung, record: &Record) -> Vec<AttributeValue> {
    match rung {
        Rung::Application | Rung::Custom => KEYS
            .iter()
            .filter_map(|key| attribute(rung, key, record.text(key)))
            .collect(),
        Rung::Combined => vec![combined(record)],
        Rung::Nowhere => Vec::new(),
    }
}

/// The attribute that holds one text alone; `None` where none does.
pub(super) fn attribute(rung: Rung, key: &str, text: String) -> Option<AttributeValue> {
    match rung {
        Rung::Application => Some(information(format!("pkcs11.{key}"), text)),
        Rung::Custom => Some(AttributeValue::Custom(
            VENDOR.into(),
            format!("p11-{key}"),
            Value::Text(text),
        )),
        Rung::Combined | Rung::Nowhere => None,
    }
}

/// The attribute that holds all texts.
pub(super) fn combined(record: &Record) -> AttributeValue {
    let pairs: Vec<String> = KEYS
        .iter()
        .map(|key| format!("{key}={}", record.text(key)))
        .collect();
    information(ALL.to_owned(), pairs.join("&"))
}

fn information(namespace: String, data: String) -> AttributeValue {
    AttributeValue::ApplicationSpecificInformation(ApplicationSpecificInformation {
        application_namespace: namespace,
        application_data: Some(data),
    })
}

/// Whether an attribute holds all texts.
pub(super) fn is_combined(value: &AttributeValue) -> bool {
    matches!(value, AttributeValue::ApplicationSpecificInformation(info) if info.application_namespace == ALL)
}

/// Whether an Application Specific Information is one of ours.
pub(super) fn is_ours(value: &AttributeValue) -> bool {
    matches!(value, AttributeValue::ApplicationSpecificInformation(_))
        && (is_combined(value) || KEYS.iter().any(|key| holds(value, key)))
}

/// The custom attributes as they are asked for.
pub(super) fn custom_names() -> impl Iterator<Item = AttributeName> {
    KEYS.iter()
        .map(|key| AttributeName::custom(VENDOR, &format!("p11-{key}")))
}

/// Whether an attribute holds the text of `key` alone. Custom attributes come back under several spellings, depending on the
/// versions in which they were written and are read.
pub(super) fn holds(value: &AttributeValue, key: &str) -> bool {
    match value {
        AttributeValue::ApplicationSpecificInformation(info) => {
            info.application_namespace.strip_prefix("pkcs11.") == Some(key)
        }
        AttributeValue::Custom(vendor, name, _) => {
            let name = name.trim_start_matches("x-").trim_start_matches("x::");
            name.strip_prefix("p11-") == Some(key)
                || name.strip_prefix("p11::") == Some(key)
                || (vendor == "p11" && name == key)
        }
        _ => false,
    }
}

/// Where an object has all texts of its record; `None` where some are missing.
pub(super) fn stands(attributes: &Attributes) -> Option<Rung> {
    let holder = |key: &str| {
        attributes
            .iter()
            .find(|value| is_combined(value) || holds(value, key))
    };
    let holders: Option<Vec<&AttributeValue>> = KEYS.iter().map(|key| holder(key)).collect();
    Some(match holders?.first()? {
        value if is_combined(value) => Rung::Combined,
        AttributeValue::Custom(..) => Rung::Custom,
        _ => Rung::Application,
    })
}

fn find<'a>(attributes: &'a Attributes, key: &str) -> Option<&'a str> {
    attributes
        .iter()
        .filter(|value| is_combined(value) || holds(value, key))
        .find_map(|value| match value {
            AttributeValue::ApplicationSpecificInformation(info) => {
                let data = info.application_data.as_deref()?;
                match is_combined(value) {
                    true => data
                        .split('&')
                        .find_map(|pair| pair.strip_prefix(key)?.strip_prefix('=')),
                    false => Some(data),
                }
            }
            AttributeValue::Custom(_, _, value) => value.as_text(),
            _ => None,
        })
}

/// Lower-case hexadecimal, so that it can be looked for exactly.
pub(super) fn id_text(id: &[u8]) -> String {
    match id.is_empty() {
        true => EMPTY.into(),
        false => HEXLOWER.encode(id),
    }
}

fn id_bytes(text: &str) -> Option<Vec<u8>> {
    match text {
        EMPTY => Some(Vec::new()),
        text => HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok(),
    }
}

/// The label itself where it is plain text, else its bytes percent-encoded: readable on the server either way.
pub(super) fn label_text(label: &[u8]) -> String {
    match label.is_empty() {
        true => EMPTY.into(),
        // A label of one dash is not "nothing".
        false if label == EMPTY.as_bytes() => "%2d".into(),
        false => escape_bytes(label, b"%&"),
    }
}

fn label_bytes(text: &str) -> Option<Vec<u8>> {
    match text {
        EMPTY => Some(Vec::new()),
        text => Some(unescape_bytes(text)),
    }
}

/// The label where a server's name must be ASCII: what is not becomes `?`.
pub(super) fn name_text(label: &[u8]) -> String {
    String::from_utf8_lossy(label)
        .chars()
        .map(|c| {
            if c.is_ascii_graphic() || c == ' ' {
                c
            } else {
                '?'
            }
        })
        .collect()
}

fn escape(text: &str) -> String {
    escape_bytes(text.as_bytes(), b"%;=.&")
}

fn unescape(text: &str) -> String {
    String::from_utf8_lossy(&unescape_bytes(text)).into_owned()
}

fn escape_bytes(bytes: &[u8], special: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len()), |mut text, &byte| {
            match (byte.is_ascii_graphic() || byte == b' ') && !special.contains(&byte) {
                true => text.push(byte.into()),
                false => text.push_str(&format!("%{byte:02x}")),
            }
            text
        })
}

fn unescape_bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = tail
            .get(..2)
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (first, escaped) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(record: &Record, rung: Rung) -> Record {
        Record::read(&attributes(rung, record).into_iter().collect())
    }

    #[test]
    fn every_byte_survives_as_ascii() {
        let all: Vec<u8> = (0..=255).collect();
        for bytes in [
            &all[..],
            b"",
            b"-",
            b"plain",
            b"100% sure; a=b&c",
            "Schlüssel".as_bytes(),
            b"%zz",
        ] {
            let record = Record {
                label: Some(bytes.to_vec()),
                id: Some(bytes.to_vec()),
                nonce: Some("00ff".into()),
                sensitive: Some(true),
                extractable: Some(false),
                generic: true,
                properties: BTreeMap::from([
                    ("role".into(), "core".into()),
                    (".k;=".into(), String::from_utf8_lossy(bytes).into_owned()),
                ]),
            };
            for rung in [Rung::Application, Rung::Combined, Rung::Custom] {
                assert_eq!(round_trip(&record, rung), record);
            }
            for key in KEYS {
                let text = record.text(key);
                assert!(
                    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() || b == b' '),
                    "{text}"
                );
            }
        }
        assert_eq!(
            round_trip(&Record::default(), Rung::Nowhere),
            Record::default()
        );
    }

    #[test]
    fn custom_attributes_are_found_under_every_spelling() {
        for (vendor, name) in [
            ("x", "p11-id"),
            ("KMIP1", "x-p11-id"),
            ("p11", "id"),
            ("y", "x::p11-id"),
            ("x", "p11::id"),
        ] {
            let value =
                AttributeValue::Custom(vendor.into(), name.into(), Value::Text("0a".into()));
            assert_eq!(
                Record::read(&[value].into_iter().collect()).id,
                Some(vec![10]),
                "{vendor} {name}"
            );
        }
        let foreign =
            AttributeValue::Custom("x".into(), "p11-idea".into(), Value::Text("0a".into()));
        assert_eq!(Record::read(&[foreign].into_iter().collect()).id, None);
    }
}
