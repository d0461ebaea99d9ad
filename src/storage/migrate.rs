//! Takes over the objects of a journal.

use std::collections::BTreeMap;
use std::path::Path;

use super::engine::{Batch, Change, Rows, Tag, Usage, bucket_of};
use super::journal;
use super::repository::{Put, Record, seal};
use super::seal::{Keys, List, Used, version_of};
use super::sqlite::Database;
use crate::ck::CKR_DEVICE_ERROR;
use crate::error::{Error, Kind, Result};

/// Creates a database with the objects of a journal, and verifies that it has them all.
pub fn take_over<R: Record>(
    content: &journal::Content,
    database: &Path,
    keys: &mut Keys,
) -> Result<()> {
    let mut header = keys.new_header()?;
    let (mut lists, mut usage) = (BTreeMap::<u16, List>::new(), BTreeMap::<Tag, Usage>::new());
    let mut rows = Vec::new();
    for (uid, about, value) in content.objects.values() {
        let stored = R::parse(uid, about, value.duplicate())
            .and_then(|record| record.stored(keys))
            .map_err(|e| e.context(format_args!("object {uid}")))?;
        rows.push((uid, stored));
    }
    let keys = &*keys;
    let mut batches = Vec::new();
    for (uid, stored) in rows {
        let change = row_of(keys, uid, &stored)?;
        let sealed = change.sealed.as_deref().unwrap_or_default();
        let list = lists.entry(bucket_of(&change.id)).or_default();
        list.set(&change.id, Some(version_of(sealed)));
        if let Some(counted) = stored.counted {
            let total = usage.entry(counted).or_default();
            total.objects += 1;
            total.bytes += sealed.len() as i64;
        }
        batches.push(change);
    }
    let mut used = Used::default();
    let mut sealed_lists = Vec::new();
    for (bucket, list) in &lists {
        used.insert(*bucket);
        sealed_lists.push((*bucket, keys.seal_list(*bucket, list)?));
    }
    header.sealed = keys.seal_header(&header.public, &used)?;
    let batch = Batch {
        header: None,
        rows: batches,
        lists: sealed_lists,
        usage: usage.into_iter().collect(),
        erases: false,
    };
    Database::create(database, &header, std::iter::once(Ok(batch)))?;
    verify(content, database, keys)
}

fn row_of(keys: &Keys, uid: &str, put: &Put) -> Result<Change> {
    let id = keys.id(uid)?;
    let mut tag = put.tags.clone();
    if put.is_public {
        tag.push(keys.public_tag()?);
    }
    Ok(Change {
        id,
        number: None,
        sealed: Some(seal(keys, &id, uid, put)?),
        untag: Vec::new(),
        tag,
    })
}

/// Reads everything back.
fn verify(content: &journal::Content, database: &Path, keys: &Keys) -> Result<()> {
    let database = Database::open(database)?;
    let _reading = database.files.share()?;
    for (uid, _, value) in content.objects.values() {
        let id = keys.id(uid)?;
        let (row, list) = database.get(&id)?;
        let stored = match (row, list) {
            (Some(row), Some(list)) => {
                let list = keys.open_list(bucket_of(&id), &list)?;
                (list.version(&id) == Some(version_of(&row.sealed)))
                    .then(|| keys.open_row(&id, &row.sealed))
                    .transpose()?
            }
            _ => None,
        };
        if stored.is_none_or(|stored| stored.uid != *uid || stored.value != *value) {
            let message = format!("object {uid} was not taken over; nothing is changed");
            return Err(Error::new(Kind::File, CKR_DEVICE_ERROR, message));
        }
    }
    Ok(())
}
