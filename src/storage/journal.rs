//! Reads the journal in which earlier builds stored objects. Release 0.3 may remove this file and
//! [`migrate`](super::migrate).
//!
//! ```text
//! file    "mrhsm-objects-1\n"  record*              the first record is empty: it proves the key
//! record  "REC1" length:u32 sequence:u64 check:u32  sealed(entries), associated data = the header
//! entry   kind:u8 uid:u16+bytes about:u32+bytes value:u32+bytes
//! ```
//! Numbers are big-endian. `check` is the first four bytes of the SHA-256 of the header before it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::ck::CKR_DEVICE_ERROR;
use crate::crypto::seal::Sealer;
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;

/// What a journal begins with.
pub const MAGIC: &[u8; 16] = b"mrhsm-objects-1\n";
const HEADER: usize = 20;
/// The longest sealed part of a record, in bytes.
const MAX_SEALED: usize = 64 << 20;

/// What a journal contains.
#[derive(Default)]
pub struct Content {
    /// Objects by age: identifier, what is stored about it, value.
    pub objects: BTreeMap<usize, (String, Vec<u8>, Secret)>,
    /// Offsets of records that cannot be read.
    pub damaged: Vec<u64>,
    ages: BTreeMap<String, usize>,
}

/// Reads the journal at `path`, sealed with the 32-byte `key`.
pub fn read(path: &Path, key: &[u8]) -> Result<Content> {
    let bytes =
        fs::read(path).map_err(|e| Error::file(format!("{} cannot be read", path.display()), e))?;
    parse(&bytes, &Sealer::new(key)?).map_err(|e| e.context(path.display()))
}

/// Reads a journal. A record that was cut short at the end was never confirmed.
pub fn parse(bytes: &[u8], sealer: &Sealer) -> Result<Content> {
    let refused = |why: &str| Error::new(Kind::File, CKR_DEVICE_ERROR, why);
    let mut rest = bytes
        .strip_prefix(MAGIC)
        .ok_or_else(|| refused("it is no object file of mrhsm"))?;
    let (first, _) = split_record(rest)
        .ok_or_else(|| refused("it is damaged at its beginning: restore it from a backup"))?;
    sealer
        .open(first.header, first.sealed)
        .map_err(|e| e.context("it does not open with this token's key"))?;
    let (mut content, mut newest) = (Content::default(), 0);
    while rest.len() >= HEADER {
        let offset = (bytes.len() - rest.len()) as u64;
        let Some((record, behind)) = split_record(rest) else {
            if parse_header(&rest[..HEADER]).is_some() || rest.iter().all(|byte| *byte == 0) {
                break;
            }
            content.damaged.push(offset);
            let next = (1..rest.len()).find(|at| {
                rest.get(*at..at + HEADER)
                    .is_some_and(|header| parse_header(header).is_some())
            });
            rest = next.map_or(&[], |at| &rest[at..]);
            continue;
        };
        rest = behind;
        match sealer
            .open(record.header, record.sealed)
            .ok()
            .and_then(|entries| parse_entries(entries.expose()))
        {
            Some(entries) if record.sequence > newest => {
                entries.into_iter().for_each(|entry| content.take(entry));
            }
            _ => content.damaged.push(offset),
        }
        newest = newest.max(record.sequence);
    }
    Ok(content)
}

type Entry = (String, Option<(Vec<u8>, Secret)>);

impl Content {
    fn take(&mut self, (uid, put): Entry) {
        let Some((about, value)) = put else {
            if let Some(age) = self.ages.remove(&uid) {
                self.objects.remove(&age);
            }
            return;
        };
        let next = self.objects.last_key_value().map_or(0, |(age, _)| age + 1);
        let age = *self.ages.entry(uid.clone()).or_insert(next);
        self.objects.insert(age, (uid, about, value));
    }
}

struct Record<'a> {
    header: &'a [u8],
    sequence: u64,
    sealed: &'a [u8],
}

fn split_record(bytes: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let (header, rest) = bytes.split_at_checked(HEADER)?;
    let (length, sequence) = parse_header(header)?;
    let (sealed, rest) = rest.split_at_checked(length)?;
    let record = Record {
        header,
        sequence,
        sealed,
    };
    Some((record, rest))
}

/// Length of the sealed part and sequence number, if `header` is one.
fn parse_header(header: &[u8]) -> Option<(usize, u64)> {
    let length = u32::from_be_bytes(header.get(4..8)?.try_into().ok()?) as usize;
    let sequence = u64::from_be_bytes(header.get(8..16)?.try_into().ok()?);
    let is_whole = header.starts_with(b"REC1")
        && length <= MAX_SEALED
        && Sha256::digest(&header[..16])[..4] == header[16..HEADER];
    is_whole.then_some((length, sequence))
}

fn parse_entries(mut rest: &[u8]) -> Option<Vec<Entry>> {
    fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
        let (head, tail) = rest.split_at_checked(length)?;
        *rest = tail;
        Some(head)
    }
    fn part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
        let length = u32::from_be_bytes(take(rest, 4)?.try_into().ok()?);
        take(rest, length as usize)
    }
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let is_put = take(&mut rest, 1)?[0] != 0;
        let length = u16::from_be_bytes(take(&mut rest, 2)?.try_into().ok()?);
        let uid = std::str::from_utf8(take(&mut rest, length.into())?).ok()?;
        let put = match is_put {
            true => Some((
                part(&mut rest)?.to_vec(),
                Secret::new(part(&mut rest)?.to_vec()),
            )),
            false => None,
        };
        entries.push((uid.to_owned(), put));
    }
    Some(entries)
}
