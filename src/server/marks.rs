//! What objects are found by, as numbers for the index.

use super::objects::tag;
use crate::kmip::{Attribute, AttributeValue};
use crate::store::file::records::Tagger;
use crate::ttlv::{Encode, Writer};
use crate::version::Version;

/// What objects are found by. One type for all: the same text as an owner and as a group must not be the same number.
#[derive(Hash)]
pub enum Mark<'a> {
    /// Not destroyed.
    Kept(bool),
    /// Not archived.
    OnLine(bool),
    /// In this state until somebody changes it.
    State(u32),
    /// In a state that a date ends.
    Changing,
    /// The identifier that its client chose.
    Chosen(&'a str),
    /// Whose it is.
    Owner(&'a str),
    /// Who shares it.
    Group(&'a str),
    /// An attribute, encoded.
    Attribute(&'a [u8]),
}

/// The number under which objects with exactly this attribute are found.
pub fn attribute_tag(tagger: &Tagger, value: &AttributeValue) -> u64 {
    tagger.tag(Mark::Attribute(&encoded(value)))
}

/// An attribute as records have it. What cannot be written has no equal; that all of them are alike only makes more candidates.
pub fn encoded(value: &AttributeValue) -> Vec<u8> {
    let mut writer = Writer::with_capacity(Version::V2_1, 128);
    Attribute::from(value.clone()).encode(tag::ATTRIBUTE, &mut writer);
    writer.finish().unwrap_or_default().expose().to_vec()
}
