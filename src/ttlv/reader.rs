//! Reading: items that borrow from the message, every length checked before a byte is looked at.

use std::fmt;

use super::{HEADER_LEN, ItemType, MAX_DEPTH, Tag};
use crate::error::{Error, Result};

/// One item of a message: its tag, its type and its bytes.
#[derive(Clone, Copy)]
pub struct Item<'a> {
    /// What the item is.
    pub tag: Tag,
    /// How its value is written.
    pub kind: ItemType,
    value: &'a [u8],
    /// Where the item starts in the whole message, for errors.
    offset: usize,
    /// Structures around it.
    depth: u8,
}

/// The items of a structure, one after the other.
#[derive(Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
    offset: usize,
    depth: u8,
}

/// The length of the whole message that starts with these eight bytes; at most `limit` bytes.
///
/// A message that is no structure, or longer than `limit`, is refused before anything of it is read.
pub fn frame_length(header: &[u8; HEADER_LEN], limit: usize) -> Result<usize> {
    let [t0, t1, t2, kind, length @ ..] = *header;
    let tag = Tag(u32::from_be_bytes([0, t0, t1, t2]));
    if ItemType(kind) != ItemType::STRUCTURE
        || !matches!(tag, Tag::REQUEST_MESSAGE | Tag::RESPONSE_MESSAGE)
    {
        return Err(Error::protocol(
            "this is not a KMIP message: it starts with neither a request nor a response",
        ));
    }
    let length = u32::from_be_bytes(length) as usize;
    match length.checked_add(HEADER_LEN) {
        Some(total) if total <= limit && length.is_multiple_of(8) => Ok(total),
        Some(total) if total <= limit => Err(Error::protocol(format!(
            "a KMIP message of {total} bytes is not a multiple of 8"
        ))),
        _ => Err(Error::protocol(format!(
            "a KMIP message of {length} bytes is longer than the {limit} allowed"
        ))),
    }
}

impl<'a> Reader<'a> {
    /// The items of `bytes`, which is not inside any structure.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader {
            rest: bytes,
            offset: 0,
            depth: 0,
        }
    }

    /// The next item, or `None` at the end.
    #[allow(
        clippy::should_implement_trait,
        reason = "it can fail, and `Result<Option<..>>` is what `?` wants"
    )]
    pub fn next(&mut self) -> Result<Option<Item<'a>>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let offset = self.offset;
        let Some((header, body)) = self.rest.split_first_chunk::<HEADER_LEN>() else {
            return Err(Error::protocol(format!(
                "cut short at byte {offset}: {} bytes are no item",
                self.rest.len()
            )));
        };
        let [t0, t1, t2, kind, length @ ..] = *header;
        let tag = Tag(u32::from_be_bytes([0, t0, t1, t2]));
        let kind = ItemType(kind);
        let length = u32::from_be_bytes(length) as usize;
        if !kind.allows(length) {
            return Err(Error::protocol(format!(
                "{tag} at byte {offset}: {kind} cannot be {length} bytes long"
            )));
        }
        let padded = length
            .checked_next_multiple_of(8)
            .filter(|padded| *padded <= body.len());
        let (Some(padded), Some(value)) = (padded, body.get(..length)) else {
            let left = body.len();
            return Err(Error::protocol(format!(
                "{tag} at byte {offset}: {length} bytes announced, {left} left"
            )));
        };
        self.rest = &body[padded..];
        self.offset += HEADER_LEN + padded;
        Ok(Some(Item {
            tag,
            kind,
            value,
            offset,
            depth: self.depth,
        }))
    }

    /// Bytes not read yet.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }
}

impl fmt::Debug for Item<'_> {
    /// The value may be secret: its length only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({}, {} bytes)",
            self.tag,
            self.kind,
            self.value.len()
        )
    }
}

impl<'a> Item<'a> {
    /// The single item that `bytes` is.
    pub fn parse(bytes: &'a [u8]) -> Result<Item<'a>> {
        let mut reader = Reader::new(bytes);
        let item = reader
            .next()?
            .ok_or_else(|| Error::protocol("an empty message"))?;
        match reader.remaining() {
            0 => Ok(item),
            extra => Err(Error::protocol(format!("{extra} bytes follow the message"))),
        }
    }

    /// The bytes of the value, without padding: for a structure, its encoded items.
    pub fn bytes(&self) -> &'a [u8] {
        self.value
    }

    /// An error about this item: what it is, where it is, what is wrong.
    pub fn error(&self, what: impl fmt::Display) -> Error {
        Error::protocol(format!("{} at byte {}: {what}", self.tag, self.offset))
    }

    /// Refuses the item unless it has this tag.
    pub fn expect(&self, tag: Tag) -> Result<()> {
        if self.tag == tag {
            Ok(())
        } else {
            Err(self.error(format_args!("{tag} expected")))
        }
    }

    /// The items of a structure.
    pub fn items(&self) -> Result<Reader<'a>> {
        self.typed(ItemType::STRUCTURE)?;
        if self.depth >= MAX_DEPTH {
            return Err(self.error(format_args!(
                "more than {MAX_DEPTH} structures inside each other"
            )));
        }
        Ok(Reader {
            rest: self.value,
            offset: self.offset + HEADER_LEN,
            depth: self.depth + 1,
        })
    }

    /// The first item of a structure with this tag.
    pub fn find(&self, tag: Tag) -> Result<Option<Item<'a>>> {
        let mut items = self.items()?;
        while let Some(item) = items.next()? {
            if item.tag == tag {
                return Ok(Some(item));
            }
        }
        Ok(None)
    }

    /// An Integer.
    pub fn integer(&self) -> Result<i32> {
        self.typed(ItemType::INTEGER)?;
        Ok(i32::from_be_bytes(self.array()?))
    }

    /// A Long Integer.
    pub fn long_integer(&self) -> Result<i64> {
        self.typed(ItemType::LONG_INTEGER)?;
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// A Big Integer: two's complement, most significant byte first, a multiple of 8 bytes.
    pub fn big_integer(&self) -> Result<&'a [u8]> {
        self.typed(ItemType::BIG_INTEGER)?;
        Ok(self.value)
    }

    /// An Enumeration.
    pub fn enumeration(&self) -> Result<u32> {
        self.typed(ItemType::ENUMERATION)?;
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// A Boolean.
    pub fn boolean(&self) -> Result<bool> {
        self.typed(ItemType::BOOLEAN)?;
        match u64::from_be_bytes(self.array()?) {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.error("a Boolean that is neither 0 nor 1")),
        }
    }

    /// A Text String.
    pub fn text(&self) -> Result<&'a str> {
        self.typed(ItemType::TEXT_STRING)?;
        std::str::from_utf8(self.value).map_err(|_| self.error("text that is not UTF-8"))
    }

    /// A Byte String.
    pub fn byte_string(&self) -> Result<&'a [u8]> {
        self.typed(ItemType::BYTE_STRING)?;
        Ok(self.value)
    }

    /// A Date-Time, in seconds since 1970. A Long Integer is taken too: one server writes its time stamps so.
    pub fn date_time(&self) -> Result<i64> {
        if self.kind != ItemType::LONG_INTEGER {
            self.typed(ItemType::DATE_TIME)?;
        }
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// A Date-Time Extended, in microseconds since 1970.
    pub fn date_time_extended(&self) -> Result<i64> {
        self.typed(ItemType::DATE_TIME_EXTENDED)?;
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// An Interval, in seconds.
    pub fn interval(&self) -> Result<u32> {
        self.typed(ItemType::INTERVAL)?;
        Ok(u32::from_be_bytes(self.array()?))
    }

    fn typed(&self, kind: ItemType) -> Result<()> {
        if self.kind == kind {
            Ok(())
        } else {
            Err(self.error(format_args!("{} where {kind} belongs", self.kind)))
        }
    }

    fn array<const N: usize>(&self) -> Result<[u8; N]> {
        // `ItemType::allows` has checked the length already; this is the proof without a panic.
        self.value
            .try_into()
            .map_err(|_| self.error("wrong length"))
    }
}
