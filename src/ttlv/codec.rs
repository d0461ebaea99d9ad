//! The two traits of the wire, and how the primitive types travel.

use std::fmt;

use super::{Item, Tag, Writer};
use crate::error::Result;
use crate::secret::Secret;
use crate::version::Version;

/// Something that can be written under a tag.
pub trait Encode {
    /// Writes itself as `tag`. The writer's version decides the dialect.
    fn encode(&self, tag: Tag, writer: &mut Writer);
}

/// Something that can be read from an item.
///
/// The two provided methods say how a field of this type behaves in a structure: `Option` may be absent, `Vec` may come again.
pub trait Decode: Sized {
    /// Reads itself.
    fn decode(item: &Item<'_>) -> Result<Self>;

    /// The value of a field that is not in the structure; `None` when it has to be.
    fn absent() -> Option<Self> {
        None
    }

    /// Takes another item for the same field.
    fn again(&mut self, item: &Item<'_>) -> Result<()> {
        Err(item.error("given twice"))
    }
}

impl<T: Encode> Encode for Option<T> {
    fn encode(&self, tag: Tag, writer: &mut Writer) {
        if let Some(value) = self {
            value.encode(tag, writer);
        }
    }
}

impl<T: Decode> Decode for Option<T> {
    fn decode(item: &Item<'_>) -> Result<Self> {
        T::decode(item).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn again(&mut self, item: &Item<'_>) -> Result<()> {
        match self {
            Some(value) => value.again(item),
            None => T::decode(item).map(|value| *self = Some(value)),
        }
    }
}

impl<T: Encode> Encode for Vec<T> {
    fn encode(&self, tag: Tag, writer: &mut Writer) {
        for value in self {
            value.encode(tag, writer);
        }
    }
}

impl<T: Decode> Decode for Vec<T> {
    fn decode(item: &Item<'_>) -> Result<Self> {
        Ok(vec![T::decode(item)?])
    }

    fn absent() -> Option<Self> {
        Some(Vec::new())
    }

    fn again(&mut self, item: &Item<'_>) -> Result<()> {
        self.push(T::decode(item)?);
        Ok(())
    }
}

impl<T: Encode> Encode for Box<T> {
    fn encode(&self, tag: Tag, writer: &mut Writer) {
        (**self).encode(tag, writer);
    }
}

impl<T: Decode> Decode for Box<T> {
    fn decode(item: &Item<'_>) -> Result<Self> {
        T::decode(item).map(Box::new)
    }
}

/// A Date-Time: seconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DateTime(pub i64);

/// A Date-Time Extended: microseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DateTimeExtended(pub i64);

/// An Interval: seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interval(pub u32);

macro_rules! primitive {
    ($($type:ty: $write:ident($to:expr), $read:ident($from:expr);)*) => {$(
        impl Encode for $type {
            fn encode(&self, tag: Tag, writer: &mut Writer) {
                let to: fn(&$type) -> _ = $to;
                writer.$write(tag, to(self));
            }
        }

        impl Decode for $type {
            fn decode(item: &Item<'_>) -> Result<Self> {
                item.$read().map($from)
            }
        }
    )*};
}

primitive! {
    i32: integer(|v| *v), integer(|v| v);
    i64: long_integer(|v| *v), long_integer(|v| v);
    bool: boolean(|v| *v), boolean(|v| v);
    DateTime: date_time(|v| v.0), date_time(DateTime);
    DateTimeExtended: date_time_extended(|v| v.0), date_time_extended(DateTimeExtended);
    Interval: interval(|v| v.0), interval(Interval);
}

impl Encode for String {
    fn encode(&self, tag: Tag, writer: &mut Writer) {
        writer.text(tag, self);
    }
}

impl Decode for String {
    fn decode(item: &Item<'_>) -> Result<Self> {
        item.text().map(str::to_owned)
    }
}

impl Encode for Vec<u8> {
    fn encode(&self, tag: Tag, writer: &mut Writer) {
        writer.byte_string(tag, self);
    }
}

impl Decode for Vec<u8> {
    fn decode(item: &Item<'_>) -> Result<Self> {
        item.byte_string().map(<[u8]>::to_vec)
    }
}

impl Encode for Secret {
    fn encode(&self, tag: Tag, writer: &mut Writer) {
        writer.byte_string(tag, self.expose());
    }
}

impl Decode for Secret {
    fn decode(item: &Item<'_>) -> Result<Self> {
        item.byte_string().map(|bytes| Secret::new(bytes.to_vec()))
    }
}

impl Encode for Version {
    fn encode(&self, tag: Tag, writer: &mut Writer) {
        writer.structure(tag, |w| {
            w.integer(Tag::PROTOCOL_VERSION_MAJOR, self.major.into());
            w.integer(Tag::PROTOCOL_VERSION_MINOR, self.minor.into());
        });
    }
}

impl Decode for Version {
    fn decode(item: &Item<'_>) -> Result<Self> {
        let part = |tag| {
            let number = item
                .find(tag)?
                .ok_or_else(|| item.error(format_args!("without {tag}")))?
                .integer()?;
            u16::try_from(number)
                .map_err(|_| item.error(format_args!("{tag} {number} is no version number")))
        };
        Ok(Version {
            major: part(Tag::PROTOCOL_VERSION_MAJOR)?,
            minor: part(Tag::PROTOCOL_VERSION_MINOR)?,
        })
    }
}

/// A Big Integer, kept as it is written: two's complement, most significant byte first. It may be part of a private key.
#[derive(Default, PartialEq, Eq)]
pub struct BigInteger(Secret);

impl BigInteger {
    /// The number that `bytes` are as an unsigned one, most significant byte first.
    pub fn from_unsigned(bytes: &[u8]) -> BigInteger {
        let significant = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
        // One more bit than the number has, for the sign.
        let needs_sign = significant.first().is_none_or(|byte| byte & 0x80 != 0);
        let length = (significant.len() + usize::from(needs_sign)).next_multiple_of(8);
        let mut padded = Vec::with_capacity(length);
        padded.resize(length - significant.len(), 0);
        padded.extend_from_slice(significant);
        BigInteger(Secret::new(padded))
    }

    /// The number without leading zeros; `None` when it is negative.
    pub fn unsigned(&self) -> Option<&[u8]> {
        let bytes = self.0.expose();
        match bytes.first() {
            Some(byte) if byte & 0x80 != 0 => None,
            _ => Some(&bytes[bytes.iter().take_while(|byte| **byte == 0).count()..]),
        }
    }

    /// A second copy, wiped separately.
    pub fn duplicate(&self) -> BigInteger {
        BigInteger(self.0.duplicate())
    }
}

impl fmt::Debug for BigInteger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Encode for BigInteger {
    fn encode(&self, tag: Tag, writer: &mut Writer) {
        writer.big_integer(tag, self.0.expose());
    }
}

impl Decode for BigInteger {
    /// A Byte String is taken as an unsigned number: one server writes RSA numbers so.
    fn decode(item: &Item<'_>) -> Result<Self> {
        match item.byte_string() {
            Ok(unsigned) => Ok(BigInteger::from_unsigned(unsigned)),
            Err(_) => item
                .big_integer()
                .map(|bytes| BigInteger(Secret::new(bytes.to_vec()))),
        }
    }
}
