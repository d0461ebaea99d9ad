//! Small types that several messages share.

use std::fmt;

use super::enums::UniqueIdentifierPlaceholder;
use crate::error::Result;
use crate::ttlv::{Decode, Encode, Item, ItemType, Tag, Writer};

/// Names an object in a request: the server's identifier, or in 2.x also a placeholder (spec 2.1, 4.61).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UniqueIdentifier {
    /// The identifier the server gave. Free text: not every server uses UUIDs.
    Text(String),
    /// The object of the last operation of this kind in the same message.
    Placeholder(UniqueIdentifierPlaceholder),
    /// The n-th identifier that this message brought forth; negative counts backwards.
    Index(i32),
}

impl UniqueIdentifier {
    /// The identifier the server gave; `None` for a placeholder.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            UniqueIdentifier::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl Default for UniqueIdentifier {
    fn default() -> Self {
        UniqueIdentifier::Text(String::new())
    }
}

impl From<&str> for UniqueIdentifier {
    fn from(text: &str) -> Self {
        UniqueIdentifier::Text(text.to_owned())
    }
}

impl From<String> for UniqueIdentifier {
    fn from(text: String) -> Self {
        UniqueIdentifier::Text(text)
    }
}

impl fmt::Display for UniqueIdentifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UniqueIdentifier::Text(text) => f.write_str(text),
            UniqueIdentifier::Placeholder(placeholder) => write!(f, "<{placeholder}>"),
            UniqueIdentifier::Index(index) => write!(f, "<{index}>"),
        }
    }
}

impl Encode for UniqueIdentifier {
    fn encode(&self, tag: Tag, writer: &mut Writer) {
        match self {
            UniqueIdentifier::Text(text) => writer.text(tag, text),
            _ if !writer.version().typed_attributes() => writer.refuse(tag),
            UniqueIdentifier::Placeholder(placeholder) => placeholder.encode(tag, writer),
            UniqueIdentifier::Index(index) => writer.integer(tag, *index),
        }
    }
}

impl Decode for UniqueIdentifier {
    fn decode(item: &Item<'_>) -> Result<Self> {
        match item.kind {
            ItemType::ENUMERATION => Decode::decode(item).map(UniqueIdentifier::Placeholder),
            ItemType::INTEGER => item.integer().map(UniqueIdentifier::Index),
            _ => String::decode(item).map(UniqueIdentifier::Text),
        }
    }
}
