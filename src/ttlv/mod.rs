//! TTLV, the wire format of KMIP: tag, type, length, value (spec 1.4, 9.1).
//!
//! A [`Reader`] borrows from the message and checks every length before it looks at a value; a [`Writer`] fills one buffer
//! that is wiped when dropped. What the tags mean is not known here, only what they are called.

mod codec;
mod dump;
mod reader;
mod tags;
mod types;
mod value;
mod writer;

pub use codec::{BigInteger, DateTime, DateTimeExtended, Decode, Encode, Interval};
pub use dump::{Names, dump, dump_with};
pub use reader::{Item, Reader, frame_length};
pub use tags::Tag;
pub use types::ItemType;
pub use value::{Field, Value};
pub use writer::Writer;

/// How deep structures may nest; a deeper message is refused.
pub const MAX_DEPTH: u8 = 32;

/// Longest message: 16 MiB of data, the most that the module sends at once, with what stands around
/// them.
pub const MAX_MESSAGE: usize = 17 << 20;

/// Bytes before a value: tag (3), type (1), length (4).
pub const HEADER_LEN: usize = 8;

#[cfg(test)]
mod tests;
