//! What objects are found by, as tags for the index.

use super::object::tag;
use crate::error::Result;
use crate::kmip::{Attribute, AttributeValue};
use crate::storage::{Keys, Tag};
use crate::ttlv::{Encode, Writer};
use crate::version::Version;

/// Where an object is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shelf {
    /// In on-line storage.
    OnLine = 0,
    /// Archived.
    Archived = 1,
    /// Destroyed: its attributes are left.
    Destroyed = 2,
}

impl Shelf {
    /// All of them.
    pub const ALL: [Shelf; 3] = [Shelf::OnLine, Shelf::Archived, Shelf::Destroyed];
}

/// What objects are found by.
pub enum Mark<'a> {
    /// Whose it is, and where.
    Owner(&'a str, Shelf),
    /// Who shares it, and where.
    Group(&'a str, Shelf),
    /// In this state until somebody changes it.
    State(u32),
    /// In a state that a date ends.
    Changing,
    /// The identifier that its client chose.
    Chosen(&'a str),
    /// An attribute, encoded.
    Attribute(&'a [u8]),
    /// Whose quota it takes from.
    Counted(&'a str),
}

impl Mark<'_> {
    /// Its tag. Each kind has a number, so that the same text as an owner and as a group is not the same tag.
    pub fn tag(&self, keys: &Keys) -> Result<Tag> {
        match self {
            Mark::Owner(name, shelf) => keys.tag(0x10 + *shelf as u8, name.as_bytes()),
            Mark::Group(name, shelf) => keys.tag(0x20 + *shelf as u8, name.as_bytes()),
            Mark::State(state) => keys.tag(0x30, &state.to_be_bytes()),
            Mark::Changing => keys.tag(0x31, &[]),
            Mark::Chosen(uid) => keys.tag(0x32, uid.as_bytes()),
            Mark::Attribute(encoded) => keys.tag(0x33, encoded),
            Mark::Counted(name) => keys.tag(0x34, name.as_bytes()),
        }
    }
}

/// The tag under which objects with exactly this attribute are found.
pub fn attribute_tag(keys: &Keys, value: &AttributeValue) -> Result<Tag> {
    Mark::Attribute(&encoded(value)).tag(keys)
}

/// An attribute as it is stored. What cannot be written has no equal; that all of them are alike only makes more candidates.
pub fn encoded(value: &AttributeValue) -> Vec<u8> {
    let mut writer = Writer::with_capacity(Version::V2_1, 128);
    Attribute::from(value.clone()).encode(tag::ATTRIBUTE, &mut writer);
    writer.finish().unwrap_or_default().expose().to_vec()
}
