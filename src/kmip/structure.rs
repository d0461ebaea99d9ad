//! How KMIP's structures are declared: each field with its tag, and the versions that have it where not all do.

use crate::error::Result;
use crate::ttlv::{Encode, Item, Tag, Writer};
use crate::version::Version;

/// Declares structures with their [`Encode`] and `Decode`.
///
/// A field is `name: Type = TAG`, or `name: Type = TAG | TAG_2` where the 2.x dialect has another tag for it, and may end in
/// `since V1_4` or `until V1_4`. A third tag is read and never written. Fields are written in the order they stand here, which is the specification's; they are read in
/// any order, and what is not known is skipped. `= OBJECT` stands for the tags of all managed objects.
macro_rules! structures {
    ($($(#[$meta:meta])* $name:ident {
        $($(#[$doc:meta])* $field:ident: $type:ty = $($tag:ident)|+ $(since $since:ident)? $(until $until:ident)?,)*
    })*) => {$(
        $(#[$meta])*
        #[derive(Debug, PartialEq)]
        pub struct $name {
            $(#[doc = concat!($("`", stringify!($tag), "` ",)+)] $(#[$doc])* pub $field: $type,)*
        }

        impl $crate::ttlv::Encode for $name {
            fn encode(&self, tag: $crate::ttlv::Tag, writer: &mut $crate::ttlv::Writer) {
                writer.structure(tag, |_writer| {
                    $($crate::kmip::structure::encode_field(
                        &self.$field,
                        structures!(@tags $($tag)|+),
                        structures!(@since $($since)?),
                        structures!(@until $($until)?),
                        _writer,
                    );)*
                });
            }
        }

        impl $crate::ttlv::Decode for $name {
            fn decode(item: &$crate::ttlv::Item<'_>) -> $crate::error::Result<Self> {
                $(let mut $field: Option<$type> = None;)*
                let mut items = item.items()?;
                while let Some(_item) = items.next()? {
                    $(if structures!(@tags $($tag)|+).contains(&_item.tag) {
                        $crate::kmip::structure::decode_field(&mut $field, &_item)?;
                        continue;
                    })*
                }
                Ok($name {
                    $($field: match $field.or_else(<$type as $crate::ttlv::Decode>::absent) {
                        Some(value) => value,
                        None => return Err(item.error(format_args!("without {}", structures!(@tags $($tag)|+)[0]))),
                    },)*
                })
            }
        }

        #[cfg(test)]
        impl $crate::kmip::sample::Sample for $name {
            fn sample(_version: $crate::version::Version) -> Self {
                $name {
                    $($field: match (structures!(@since $($since)?)..=structures!(@until $($until)?)).contains(&_version) {
                        true => $crate::kmip::sample::Sample::sample(_version),
                        false => <$type as $crate::ttlv::Decode>::absent()
                            .unwrap_or_else(|| $crate::kmip::sample::Sample::sample(_version)),
                    },)*
                }
            }
        }
    )*};
    (@tags OBJECT) => { $crate::kmip::objects::OBJECT_TAGS };
    (@tags $($tag:ident)|+) => { &[$($crate::ttlv::Tag::$tag),+] };
    (@since) => { $crate::version::Version::V1_0 };
    (@since $since:ident) => { $crate::version::Version::$since };
    (@until) => { $crate::version::Version { major: u16::MAX, minor: u16::MAX } };
    (@until $until:ident) => { $crate::version::Version::$until };
}
pub(super) use structures;

/// Writes a field, or notes that the version has no such field though it is set.
pub(super) fn encode_field(
    field: &impl Encode,
    tags: &[Tag],
    since: Version,
    until: Version,
    writer: &mut Writer,
) {
    let tag = match *tags {
        [_, typed, ..] if writer.version().typed_attributes() => typed,
        _ => tags[0],
    };
    let before = writer.len();
    field.encode(tag, writer);
    if writer.len() != before && !(since..=until).contains(&writer.version()) {
        writer.refuse(tag);
    }
}

/// Reads an item into its field.
pub(super) fn decode_field<T: crate::ttlv::Decode>(
    field: &mut Option<T>,
    item: &Item<'_>,
) -> Result<()> {
    match field {
        Some(value) => value.again(item),
        None => T::decode(item).map(|value| *field = Some(value)),
    }
}
