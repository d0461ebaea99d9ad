//! Writing: one buffer, lengths filled in afterwards, wiped when dropped.

use zeroize::Zeroizing;

use super::{HEADER_LEN, ItemType, Tag};
use crate::ck;
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;
use crate::version::Version;

/// Room beyond what is needed when the buffer grows.
const SLACK: usize = 512;

/// Builds a message for one protocol version.
///
/// Writing never fails where it happens: what the version cannot say is remembered, and [`Writer::finish`] reports the first.
pub struct Writer {
    buffer: Zeroizing<Vec<u8>>,
    version: Version,
    refused: Option<Error>,
}

impl Writer {
    /// A writer for `version`.
    pub fn new(version: Version) -> Writer {
        Writer::with_capacity(version, 512)
    }

    /// A writer for `version` with room for `capacity` bytes.
    pub fn with_capacity(version: Version, capacity: usize) -> Writer {
        Writer {
            buffer: Zeroizing::new(Vec::with_capacity(capacity)),
            version,
            refused: None,
        }
    }

    /// The version that decides the dialect.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// True when nothing was written.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// What was written; an error when the version cannot say something of it, or a length does not fit its field.
    pub fn finish(mut self) -> Result<Secret> {
        match self.refused {
            None => Ok(Secret::new(std::mem::take(&mut *self.buffer))),
            Some(error) => Err(error),
        }
    }

    /// Notes that `tag`, which is set, does not exist in this version: dropping it silently could weaken what was asked for.
    pub fn refuse(&mut self, tag: Tag) {
        let version = self.version;
        self.fail(|| {
            let message = format!("{tag} cannot be said in KMIP {version}");
            Error::new(Kind::Input, ck::CKR_FUNCTION_NOT_SUPPORTED, message)
        });
    }

    /// A structure with what `content` writes.
    pub fn structure(&mut self, tag: Tag, content: impl FnOnce(&mut Writer)) {
        let start = self.open(tag);
        content(self);
        self.close(start);
    }

    /// Begins a structure; what it returns goes to [`Writer::close`].
    pub(crate) fn open(&mut self, tag: Tag) -> usize {
        self.header(tag, ItemType::STRUCTURE, 0);
        self.len()
    }

    /// Ends the structure that [`Writer::open`] began.
    pub(crate) fn close(&mut self, start: usize) {
        match u32::try_from(self.len() - start) {
            Ok(length) => self.patch(start - 4, length.to_be_bytes()),
            Err(_) => self.fail(|| too_long("a structure")),
        }
    }

    /// An Integer.
    pub fn integer(&mut self, tag: Tag, value: i32) {
        self.short(tag, ItemType::INTEGER, value.to_be_bytes());
    }

    /// A Long Integer.
    pub fn long_integer(&mut self, tag: Tag, value: i64) {
        self.value(tag, ItemType::LONG_INTEGER, &value.to_be_bytes());
    }

    /// A Big Integer: two's complement, most significant byte first, sign-extended here to a multiple of 8 bytes.
    pub fn big_integer(&mut self, tag: Tag, value: &[u8]) {
        let missing = if value.is_empty() {
            8
        } else {
            value.len().next_multiple_of(8) - value.len()
        };
        let Ok(length) = u32::try_from(missing + value.len()) else {
            return self.fail(|| too_long(tag));
        };
        self.header(tag, ItemType::BIG_INTEGER, length);
        let negative = value.first().is_some_and(|byte| byte & 0x80 != 0);
        self.append(&[if negative { 0xFF } else { 0 }; 8][..missing]);
        self.append(value);
    }

    /// An Enumeration.
    pub fn enumeration(&mut self, tag: Tag, value: u32) {
        self.short(tag, ItemType::ENUMERATION, value.to_be_bytes());
    }

    /// A Boolean.
    pub fn boolean(&mut self, tag: Tag, value: bool) {
        self.value(tag, ItemType::BOOLEAN, &u64::from(value).to_be_bytes());
    }

    /// A Text String.
    pub fn text(&mut self, tag: Tag, value: &str) {
        self.value(tag, ItemType::TEXT_STRING, value.as_bytes());
    }

    /// A Byte String.
    pub fn byte_string(&mut self, tag: Tag, value: &[u8]) {
        self.value(tag, ItemType::BYTE_STRING, value);
    }

    /// A Date-Time, in seconds since 1970.
    pub fn date_time(&mut self, tag: Tag, seconds: i64) {
        self.value(tag, ItemType::DATE_TIME, &seconds.to_be_bytes());
    }

    /// A Date-Time Extended, in microseconds since 1970.
    pub fn date_time_extended(&mut self, tag: Tag, micros: i64) {
        self.value(tag, ItemType::DATE_TIME_EXTENDED, &micros.to_be_bytes());
    }

    /// An Interval, in seconds.
    pub fn interval(&mut self, tag: Tag, seconds: u32) {
        self.short(tag, ItemType::INTERVAL, seconds.to_be_bytes());
    }

    /// An item of any type, its value encoded already, without padding.
    pub fn value(&mut self, tag: Tag, kind: ItemType, value: &[u8]) {
        let Ok(length) = u32::try_from(value.len()) else {
            return self.fail(|| too_long(tag));
        };
        self.reserve(HEADER_LEN + value.len() + 7);
        self.header(tag, kind, length);
        self.append(value);
        self.append(&[0; 8][..value.len().next_multiple_of(8) - value.len()]);
    }

    /// Overwrites four bytes written before: a length or a count known only now.
    pub(crate) fn patch(&mut self, at: usize, bytes: [u8; 4]) {
        self.buffer[at..at + 4].copy_from_slice(&bytes);
    }

    fn short(&mut self, tag: Tag, kind: ItemType, value: [u8; 4]) {
        let [a, b, c, d] = value;
        self.header(tag, kind, 4);
        self.append(&[a, b, c, d, 0, 0, 0, 0]);
    }

    fn header(&mut self, tag: Tag, kind: ItemType, length: u32) {
        let ([_, t0, t1, t2], [l0, l1, l2, l3]) = (tag.0.to_be_bytes(), length.to_be_bytes());
        self.append(&[t0, t1, t2, kind.0, l0, l1, l2, l3]);
    }

    fn append(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        self.buffer.extend_from_slice(bytes);
    }

    /// Makes room by moving, not by `Vec`'s own growth, which would leave the old copy unwiped.
    fn reserve(&mut self, more: usize) {
        let (capacity, used) = (self.buffer.capacity(), self.buffer.len());
        if capacity - used < more {
            // After a long value come a few short ones: they shall not make it move again.
            let mut larger = Vec::with_capacity((capacity * 2).max(used + more + SLACK));
            larger.extend_from_slice(&self.buffer);
            drop(Secret::new(std::mem::replace(&mut *self.buffer, larger)));
        }
    }

    fn fail(&mut self, error: impl FnOnce() -> Error) {
        self.refused.get_or_insert_with(error);
    }
}

fn too_long(what: impl std::fmt::Display) -> Error {
    Error::new(
        Kind::Input,
        ck::CKR_DATA_LEN_RANGE,
        format!("{what} is longer than KMIP can say"),
    )
}
