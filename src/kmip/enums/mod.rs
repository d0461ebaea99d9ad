//! The enumerations and masks (spec 1.4, 9.1.3.2 and 9.1.3.3; spec 2.1, 11). Open: a value that is not here survives.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

use crate::error::Result;
use crate::ttlv::{Decode, Encode, Item, Tag, Writer};

macro_rules! enums {
    ($($enum:ident: $tag:ident $title:literal { $($name:ident = $value:literal $text:literal,)* })*) => {
        $(
            #[doc = concat!("The enumeration ", $title, ".")]
            #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
            pub struct $enum(pub u32);

            impl $enum {
                $(#[doc = concat!($text, ".")] pub const $name: $enum = $enum($value);)*

                /// Every value with a name.
                pub const ALL: &'static [$enum] = &[$($enum::$name,)*];

                /// The name in the specification; `None` for a value that is not in it.
                pub fn name(self) -> Option<&'static str> {
                    match self.0 {
                        $($value => Some($text),)*
                        _ => None,
                    }
                }
            }

            impl fmt::Display for $enum {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    match self.name() {
                        Some(name) => f.write_str(name),
                        None => write!(f, "{:#010x}", self.0),
                    }
                }
            }

            impl fmt::Debug for $enum {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    fmt::Display::fmt(self, f)
                }
            }

            impl Encode for $enum {
                fn encode(&self, tag: Tag, writer: &mut Writer) {
                    writer.enumeration(tag, self.0);
                }
            }

            impl Decode for $enum {
                fn decode(item: &Item<'_>) -> Result<Self> {
                    item.enumeration().map($enum)
                }
            }

            #[cfg(test)]
            impl $crate::kmip::sample::Sample for $enum {
                fn sample(_: crate::version::Version) -> Self {
                    $enum::ALL[$enum::ALL.len() / 2]
                }
            }
        )*

        /// The name of a value of one of these.
        pub(super) fn enum_name(tag: Tag, value: u32) -> Option<&'static str> {
            match tag {
                $(Tag::$tag => $enum(value).name(),)*
                _ => None,
            }
        }
    };
}

macro_rules! masks {
    ($($mask:ident: $tag:ident $title:literal { $($name:ident = $value:literal $text:literal,)* })*) => {
        $(
            #[doc = concat!("The bit mask ", $title, ".")]
            #[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
            pub struct $mask(pub u32);

            impl $mask {
                $(#[doc = concat!($text, ".")] pub const $name: $mask = $mask($value);)*

                /// True when every bit of `other` is set.
                pub fn contains(self, other: $mask) -> bool {
                    self.0 & other.0 == other.0
                }
            }

            impl fmt::Display for $mask {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    let mut rest = self.0;
                    let mut separator = "";
                    $(if self.0 & $value != 0 {
                        write!(f, "{separator}{}", $text)?;
                        separator = ", ";
                        rest &= !$value;
                    })*
                    if rest != 0 || self.0 == 0 { write!(f, "{separator}{rest:#x}") } else { Ok(()) }
                }
            }

            impl fmt::Debug for $mask {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    fmt::Display::fmt(self, f)
                }
            }

            impl BitOr for $mask {
                type Output = $mask;
                fn bitor(self, other: $mask) -> $mask {
                    $mask(self.0 | other.0)
                }
            }

            impl BitOrAssign for $mask {
                fn bitor_assign(&mut self, other: $mask) {
                    self.0 |= other.0;
                }
            }

            impl Encode for $mask {
                fn encode(&self, tag: Tag, writer: &mut Writer) {
                    writer.integer(tag, self.0.cast_signed());
                }
            }

            impl Decode for $mask {
                fn decode(item: &Item<'_>) -> Result<Self> {
                    item.integer().map(|bits| $mask(bits.cast_unsigned()))
                }
            }

            #[cfg(test)]
            impl $crate::kmip::sample::Sample for $mask {
                fn sample(_: crate::version::Version) -> Self {
                    $mask(u32::MAX)
                }
            }
        )*

        /// The names of the bits of one of these.
        pub(super) fn mask_text(tag: Tag, value: u32) -> Option<String> {
            match tag {
                $(Tag::$tag => Some($mask(value).to_string()),)*
                _ => None,
            }
        }
    };
}

mod crypto;
mod masks;
mod objects;
mod protocol;

pub use crypto::*;
pub use masks::*;
pub use objects::*;
pub use protocol::*;

/// The text for a value of an enumeration or mask that stands under `tag`: the names for [`crate::ttlv::dump_with`].
pub fn value_name(tag: Tag, value: u32) -> Option<String> {
    // A 2.x attribute reference is an enumeration of tags.
    if tag == Tag::ATTRIBUTE_REFERENCE {
        return Tag(value).name().map(str::to_owned);
    }
    let name = protocol::enum_name(tag, value)
        .or_else(|| crypto::enum_name(tag, value))
        .or_else(|| objects::enum_name(tag, value));
    name.map(str::to_owned)
        .or_else(|| masks::mask_text(tag, value))
}
