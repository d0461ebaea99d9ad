//! A value of any type, for what has no type of its own: custom attributes, vendors' structures.

use std::fmt;

use super::{Decode, Encode, Item, ItemType, Tag, Writer};
use crate::error::Result;

/// An item without meaning: it survives decoding and encoding unchanged.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// Items inside.
    Structure(Vec<Field>),
    /// 32 bits, signed.
    Integer(i32),
    /// 64 bits, signed.
    LongInteger(i64),
    /// Two's complement, most significant byte first.
    BigInteger(Vec<u8>),
    /// A value of some enumeration.
    Enumeration(u32),
    /// True or false.
    Boolean(bool),
    /// UTF-8.
    Text(String),
    /// Bytes. Not wiped: what is secret has a type of its own.
    Bytes(Vec<u8>),
    /// Seconds since 1970.
    DateTime(i64),
    /// Seconds.
    Interval(u32),
    /// Microseconds since 1970.
    DateTimeExtended(i64),
    /// A type this crate does not know, and its bytes.
    Other(u8, Vec<u8>),
}

/// An item inside a [`Value::Structure`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// What it is.
    pub tag: Tag,
    /// Its value.
    pub value: Value,
}

impl Value {
    /// The text, when it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text)
    }
}

impl Default for Value {
    /// An empty structure.
    fn default() -> Value {
        Value::Structure(Vec::new())
    }
}

impl Encode for Value {
    fn encode(&self, tag: Tag, writer: &mut Writer) {
        match self {
            Value::Structure(fields) => writer.structure(tag, |w| {
                fields.iter().for_each(|f| f.value.encode(f.tag, w))
            }),
            Value::Integer(value) => writer.integer(tag, *value),
            Value::LongInteger(value) => writer.long_integer(tag, *value),
            Value::BigInteger(value) => writer.big_integer(tag, value),
            Value::Enumeration(value) => writer.enumeration(tag, *value),
            Value::Boolean(value) => writer.boolean(tag, *value),
            Value::Text(value) => writer.text(tag, value),
            Value::Bytes(value) => writer.byte_string(tag, value),
            Value::DateTime(value) => writer.date_time(tag, *value),
            Value::Interval(value) => writer.interval(tag, *value),
            Value::DateTimeExtended(value) => writer.date_time_extended(tag, *value),
            Value::Other(kind, value) => writer.value(tag, ItemType(*kind), value),
        }
    }
}

impl Decode for Value {
    fn decode(item: &Item<'_>) -> Result<Value> {
        Ok(match item.kind {
            ItemType::STRUCTURE => {
                let (mut items, mut fields) = (item.items()?, Vec::new());
                while let Some(item) = items.next()? {
                    fields.push(Field {
                        tag: item.tag,
                        value: Value::decode(&item)?,
                    });
                }
                Value::Structure(fields)
            }
            ItemType::INTEGER => Value::Integer(item.integer()?),
            ItemType::LONG_INTEGER => Value::LongInteger(item.long_integer()?),
            ItemType::BIG_INTEGER => Value::BigInteger(item.big_integer()?.to_vec()),
            ItemType::ENUMERATION => Value::Enumeration(item.enumeration()?),
            ItemType::BOOLEAN => Value::Boolean(item.boolean()?),
            ItemType::TEXT_STRING => Value::Text(item.text()?.to_owned()),
            ItemType::BYTE_STRING => Value::Bytes(item.byte_string()?.to_vec()),
            ItemType::DATE_TIME => Value::DateTime(item.date_time()?),
            ItemType::INTERVAL => Value::Interval(item.interval()?),
            ItemType::DATE_TIME_EXTENDED => Value::DateTimeExtended(item.date_time_extended()?),
            ItemType(kind) => Value::Other(kind, item.bytes().to_vec()),
        })
    }
}

impl fmt::Debug for Value {
    /// Bytes and big integers show their length only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Structure(fields) => f.debug_list().entries(fields).finish(),
            Value::Integer(value) => write!(f, "{value}"),
            Value::LongInteger(value) => write!(f, "{value}"),
            Value::Enumeration(value) => write!(f, "{value:#010x}"),
            Value::Boolean(value) => write!(f, "{value}"),
            Value::Text(value) => write!(f, "{value:?}"),
            Value::DateTime(value) => write!(f, "{value} s"),
            Value::Interval(value) => write!(f, "{value} s"),
            Value::DateTimeExtended(value) => write!(f, "{value} µs"),
            Value::BigInteger(bytes) | Value::Bytes(bytes) | Value::Other(_, bytes) => {
                write!(f, "<{} bytes>", bytes.len())
            }
        }
    }
}
