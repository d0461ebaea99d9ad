//! Two answers compared: everything must be the same but what a server chooses for itself.

use mrhsm_pkcs11::kmip::{OperationCode, value_name};
use mrhsm_pkcs11::ttlv::{Field, Tag, Value};

use super::server::{SOME_BYTES, SOME_UID, find};

/// What is known of the values in a conversation: which of them the server did not choose.
#[derive(Clone, Default)]
pub struct Made {
    /// Every byte string that the client sent.
    sent: Vec<Vec<u8>>,
    /// The server made a key, so that what is encrypted under it differs from run to run.
    by_server: bool,
    /// The last request asked for all attributes.
    all_attributes: bool,
}

impl Made {
    /// Notes what a request says.
    pub fn asked(&mut self, message: &Field) {
        self.all_attributes = false;
        self.noted(message);
    }

    fn noted(&mut self, message: &Field) {
        match &message.value {
            Value::Structure(fields) => {
                fields.iter().for_each(|field| self.noted(field));
                self.all_attributes |= find(&message.value, &[Tag::OPERATION])
                    == Some(&Value::Enumeration(OperationCode::GET_ATTRIBUTES.0))
                    && find(&message.value, &[Tag::REQUEST_PAYLOAD, Tag::ATTRIBUTE_NAME]).is_none();
            }
            Value::Bytes(bytes) => self.sent.push(bytes.clone()),
            Value::Enumeration(code) if message.tag == Tag::OPERATION => {
                self.by_server |= matches!(
                    OperationCode(*code),
                    OperationCode::CREATE_SPLIT_KEY
                        | OperationCode::CREATE
                        | OperationCode::CREATE_KEY_PAIR
                        | OperationCode::RE_KEY
                        | OperationCode::RE_KEY_KEY_PAIR
                );
            }
            _ => {}
        }
    }
}

/// Lines that say where two messages differ; none when they say the same.
pub fn differences(recorded: &Field, ours: &Field, made: &Made) -> Vec<String> {
    let mut comparison = Comparison {
        made,
        path: Vec::new(),
        lines: Vec::new(),
        attribute: None,
    };
    comparison.fields(recorded, ours);
    comparison.lines
}

struct Comparison<'a> {
    made: &'a Made,
    path: Vec<Tag>,
    lines: Vec<String>,
    /// The attribute whose value is compared.
    attribute: Option<String>,
}

impl Comparison<'_> {
    fn differ(&mut self, what: String) {
        let path: Vec<String> = self.path.iter().skip(1).map(ToString::to_string).collect();
        let attribute = self
            .attribute
            .as_deref()
            .map_or(String::new(), |name| format!(" ({name})"));
        self.lines
            .push(format!("{}{attribute}: {what}", path.join(" / ")));
    }

    fn fields(&mut self, recorded: &Field, ours: &Field) {
        self.path.push(recorded.tag);
        match (&recorded.value, &ours.value) {
            _ if is_servers(recorded.tag) => {}
            (Value::Structure(recorded_fields), Value::Structure(our_fields)) => {
                if recorded.tag == Tag::ATTRIBUTE {
                    self.attribute = find(&recorded.value, &[Tag::ATTRIBUTE_NAME])
                        .and_then(Value::as_text)
                        .map(one_blank);
                }
                self.structures(recorded_fields, our_fields);
                if recorded.tag == Tag::ATTRIBUTE {
                    self.attribute = None;
                }
            }
            (Value::DateTime(_), Value::DateTime(_)) => {}
            (Value::Bytes(theirs), Value::Bytes(mine)) => {
                // A key of the server's, or something made with it, has only its length in common; the encoding of a private
                // key not even that.
                let free = self.made.by_server && !self.made.sent.contains(theirs);
                let as_long = theirs.len() == mine.len() || self.path.contains(&Tag::PRIVATE_KEY);
                if theirs != mine && *theirs != SOME_BYTES && !(free && as_long) {
                    self.differ(format!(
                        "{} bytes instead of {}, or others",
                        mine.len(),
                        theirs.len()
                    ));
                }
            }
            (Value::BigInteger(_), Value::BigInteger(_)) if self.made.by_server => {}
            (Value::Text(theirs), Value::Text(_)) if theirs == SOME_UID => {}
            (theirs, mine) if theirs == mine => {}
            (Value::Text(theirs), Value::Text(mine)) if one_blank(theirs) == *mine => {}
            (theirs, mine) => {
                let text = |value: &Value| match value {
                    Value::Enumeration(number) => {
                        value_name(recorded.tag, *number).unwrap_or_else(|| format!("{number:#x}"))
                    }
                    other => format!("{other:?}"),
                };
                let (theirs, mine) = (text(theirs), text(mine));
                self.differ(format!("{mine} instead of {theirs}"));
            }
        }
        self.path.pop();
    }

    fn structures(&mut self, recorded: &[Field], ours: &[Field]) {
        let said = |fields: &[Field]| -> Vec<Field> {
            // The text of a refusal is every server's own, and so is whether there is one.
            fields
                .iter()
                .filter(|field| field.tag != Tag::RESULT_MESSAGE)
                .cloned()
                .collect()
        };
        let because = ours
            .iter()
            .find(|field| field.tag == Tag::RESULT_MESSAGE)
            .and_then(|field| field.value.as_text());
        let because = because.map_or(String::new(), |text| format!(" because '{text}'"));
        let (mut recorded, mut ours) = (said(recorded), said(ours));
        // What a server can do, and which attributes it keeps, is its own matter as long as it can what the recorded one could.
        if self.path.last() == Some(&Tag::RESPONSE_PAYLOAD) {
            for tag in [
                Tag::OPERATION,
                Tag::OBJECT_TYPE,
                Tag::ATTRIBUTE_NAME,
                Tag::PROTOCOL_VERSION,
            ] {
                let of = |fields: &[Field]| {
                    fields
                        .iter()
                        .filter(|field| field.tag == tag)
                        .cloned()
                        .collect::<Vec<_>>()
                };
                let (theirs, mine) = (of(&recorded), of(&ours));
                if theirs.len() < 2 || mine.len() < 2 {
                    continue;
                }
                let has = |field: &Field| match &field.value {
                    Value::Text(text) => mine
                        .iter()
                        .any(|other| other.value.as_text() == Some(&one_blank(text))),
                    _ => mine.contains(field),
                };
                for field in theirs.iter().filter(|field| !has(field)) {
                    self.differ(format!("{tag} {:?} is missing", field.value));
                }
                recorded.retain(|field| field.tag != tag);
                ours.retain(|field| field.tag != tag);
            }
        }
        if self.made.all_attributes {
            // In any order, and each server has some of its own.
            let name = |field: &Field| {
                find(&field.value, &[Tag::ATTRIBUTE_NAME])
                    .and_then(Value::as_text)
                    .map(one_blank)
            };
            let of = |fields: &[Field]| {
                fields
                    .iter()
                    .filter(|field| field.tag == Tag::ATTRIBUTE)
                    .cloned()
                    .collect::<Vec<_>>()
            };
            let (theirs, mut mine) = (of(&recorded), of(&ours));
            for attribute in &theirs {
                match mine.iter().position(|other| name(other) == name(attribute)) {
                    Some(at) => self.fields(attribute, &mine.remove(at)),
                    None => self.differ(format!("Attribute {:?} is missing", name(attribute))),
                }
            }
            recorded.retain(|field| field.tag != Tag::ATTRIBUTE);
            ours.retain(|field| field.tag != Tag::ATTRIBUTE);
        }
        let tags = |fields: &[Field]| {
            fields
                .iter()
                .map(|field| field.tag.to_string())
                .collect::<Vec<_>>()
                .join(", ")
        };
        for at in 0..recorded.len().max(ours.len()) {
            match (recorded.get(at), ours.get(at)) {
                (Some(theirs), Some(mine)) if theirs.tag == mine.tag => self.fields(theirs, mine),
                _ => {
                    return self.differ(format!(
                        "[{}] instead of [{}]{because}",
                        tags(&ours),
                        tags(&recorded)
                    ));
                }
            }
        }
    }
}

/// The text without the blanks that the recording has where the originals broke a line.
fn one_blank(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What every server says in its own way.
fn is_servers(tag: Tag) -> bool {
    matches!(
        tag,
        Tag::UNIQUE_IDENTIFIER
            | Tag::PRIVATE_KEY_UNIQUE_IDENTIFIER
            | Tag::PUBLIC_KEY_UNIQUE_IDENTIFIER
            | Tag::LINKED_OBJECT_IDENTIFIER
            | Tag::TIME_STAMP
            | Tag::LEASE_TIME
            | Tag::VENDOR_IDENTIFICATION
            | Tag::SERVER_INFORMATION
    )
}
