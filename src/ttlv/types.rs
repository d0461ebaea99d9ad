//! Item types and the lengths they may have.

use std::fmt;

/// Item Type (spec 2.1, 9.1.1.2). Open: a type unknown here is skipped, not refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ItemType(pub u8);

#[allow(missing_docs, reason = "the names are the standard's")]
impl ItemType {
    pub const STRUCTURE: ItemType = ItemType(0x01);
    pub const INTEGER: ItemType = ItemType(0x02);
    pub const LONG_INTEGER: ItemType = ItemType(0x03);
    pub const BIG_INTEGER: ItemType = ItemType(0x04);
    pub const ENUMERATION: ItemType = ItemType(0x05);
    pub const BOOLEAN: ItemType = ItemType(0x06);
    pub const TEXT_STRING: ItemType = ItemType(0x07);
    pub const BYTE_STRING: ItemType = ItemType(0x08);
    pub const DATE_TIME: ItemType = ItemType(0x09);
    pub const INTERVAL: ItemType = ItemType(0x0A);
    pub const DATE_TIME_EXTENDED: ItemType = ItemType(0x0B);

    /// The name in the specification; `None` for a type that is not in it.
    pub fn name(self) -> Option<&'static str> {
        Some(match self {
            ItemType::STRUCTURE => "Structure",
            ItemType::INTEGER => "Integer",
            ItemType::LONG_INTEGER => "Long Integer",
            ItemType::BIG_INTEGER => "Big Integer",
            ItemType::ENUMERATION => "Enumeration",
            ItemType::BOOLEAN => "Boolean",
            ItemType::TEXT_STRING => "Text String",
            ItemType::BYTE_STRING => "Byte String",
            ItemType::DATE_TIME => "Date-Time",
            ItemType::INTERVAL => "Interval",
            ItemType::DATE_TIME_EXTENDED => "Date-Time Extended",
            _ => return None,
        })
    }

    /// Whether a value of this type may be `len` bytes long.
    pub(super) fn allows(self, len: usize) -> bool {
        match self {
            ItemType::INTEGER | ItemType::ENUMERATION | ItemType::INTERVAL => len == 4,
            ItemType::LONG_INTEGER
            | ItemType::BOOLEAN
            | ItemType::DATE_TIME
            | ItemType::DATE_TIME_EXTENDED => len == 8,
            ItemType::STRUCTURE => len.is_multiple_of(8),
            ItemType::BIG_INTEGER => len > 0 && len.is_multiple_of(8),
            _ => true,
        }
    }
}

impl fmt::Display for ItemType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "type {:#04x}", self.0),
        }
    }
}

impl fmt::Debug for ItemType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
