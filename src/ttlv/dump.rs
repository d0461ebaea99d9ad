//! A message for people to read: one line per item, secrets left out.

use std::fmt::Write;

use data_encoding::HEXLOWER;

use super::{Item, ItemType, Reader, Tag};
use crate::error::Result;

/// Names for the values of enumerations and masks: the tag and the number in, the name out.
pub type Names = fn(Tag, u32) -> Option<String>;

/// Text longer than this is cut, in characters.
const LONGEST_TEXT: usize = 200;

/// The items of `bytes` as text, indented by depth. It stops, and says why, where the bytes are malformed.
pub fn dump(bytes: &[u8]) -> String {
    dump_with(bytes, |_, _| None)
}

/// The same, with `names` for the values of enumerations.
pub fn dump_with(bytes: &[u8], names: Names) -> String {
    let mut out = String::new();
    if let Err(error) = lines(Reader::new(bytes), 0, false, names, &mut out) {
        let _ = writeln!(out, "!! {error}");
    }
    out
}

fn lines(
    mut items: Reader<'_>,
    depth: usize,
    hide: bool,
    names: Names,
    out: &mut String,
) -> Result<()> {
    while let Some(item) = items.next()? {
        // Whatever is inside something secret is secret: a transparent key's numbers, the fields of a credential.
        let hide = hide || is_secret(item.tag);
        let _ = write!(out, "{:1$}{2}", "", depth * 2, item.tag);
        if item.kind == ItemType::STRUCTURE {
            out.push('\n');
            lines(item.items()?, depth + 1, hide, names, out)?;
        } else {
            let _ = writeln!(out, ": {}", shown(&item, hide, names)?);
        }
    }
    Ok(())
}

fn shown(item: &Item<'_>, hide: bool, names: Names) -> Result<String> {
    if hide {
        return Ok(format!("<{} bytes, not shown>", item.bytes().len()));
    }
    let named = |value: u32, otherwise: String| names(item.tag, value).unwrap_or(otherwise);
    Ok(match item.kind {
        ItemType::INTEGER => {
            let value = item.integer()?;
            named(value.cast_unsigned(), value.to_string())
        }
        ItemType::LONG_INTEGER => item.long_integer()?.to_string(),
        ItemType::ENUMERATION => {
            let value = item.enumeration()?;
            named(value, format!("{value:#010x}"))
        }
        ItemType::BOOLEAN => item.boolean()?.to_string(),
        ItemType::TEXT_STRING => {
            let text = item.text()?;
            let cut: String = text.chars().take(LONGEST_TEXT).collect();
            if cut.len() < text.len() {
                format!("{cut:?}… ({} bytes)", text.len())
            } else {
                format!("{cut:?}")
            }
        }
        ItemType::DATE_TIME => format!("{} s since 1970", item.date_time()?),
        ItemType::DATE_TIME_EXTENDED => format!("{} µs since 1970", item.date_time_extended()?),
        ItemType::INTERVAL => format!("{} s", item.interval()?),
        ItemType::BYTE_STRING if is_short_and_public(item) => HEXLOWER.encode(item.bytes()),
        _ => format!("<{} bytes>", item.bytes().len()),
    })
}

/// Values that are keys, passwords or somebody's data.
fn is_secret(tag: Tag) -> bool {
    matches!(
        tag,
        Tag::KEY_MATERIAL
            | Tag::KEY_VALUE
            | Tag::KEY
            | Tag::CREDENTIAL_VALUE
            | Tag::PASSWORD
            | Tag::HASHED_PASSWORD
            | Tag::SERVER_HASHED_PASSWORD
            | Tag::ONE_TIME_PASSWORD
            | Tag::TICKET_VALUE
            | Tag::DATA
            | Tag::DIGESTED_DATA
            | Tag::DERIVATION_DATA
            | Tag::OPAQUE_DATA_VALUE
            | Tag::CORRELATION_VALUE
            | Tag::PKCS_11_INPUT_PARAMETERS
            | Tag::PKCS_11_OUTPUT_PARAMETERS
            | Tag::VENDOR_EXTENSION
    )
}

/// Byte strings that help to read a message and give nothing away.
fn is_short_and_public(item: &Item<'_>) -> bool {
    let public = matches!(
        item.tag,
        Tag::UNIQUE_BATCH_ITEM_ID
            | Tag::ASYNCHRONOUS_CORRELATION_VALUE
            | Tag::IV_COUNTER_NONCE
            | Tag::INITIALIZATION_VECTOR
            | Tag::DIGEST_VALUE
            | Tag::AUTHENTICATED_ENCRYPTION_TAG
    );
    public && item.bytes().len() <= 64
}
