//! What administrators do with a database while others use it.

use std::collections::BTreeMap;

use super::engine::{BUCKETS, Match, Query, Row, Tag, Usage, bucket_of};
use super::repository::{Record, Repository, Snapshot};
use crate::error::Result;

/// How many objects are read at once.
const PAGE: usize = 1024;

impl<R: Record> Repository<R> {
    /// Verifies every object, its tags and the file: what is damaged or missing, in a sentence each.
    pub fn check(&self) -> Result<Vec<String>> {
        let mut found = self.engine().check()?;
        found.extend(self.read(check)?);
        Ok(found)
    }
}

/// What a check counts, to compare it with what the database counts.
#[derive(Default)]
struct Counted {
    rows: BTreeMap<u16, usize>,
    usage: BTreeMap<Tag, Usage>,
    tags: u64,
    /// Rows whose tags are not known.
    unopened: usize,
}

fn check<R: Record>(snapshot: &Snapshot<'_, R>) -> Result<Vec<String>> {
    let (mut found, mut counted) = (Vec::new(), Counted::default());
    let mut query = Query {
        limit: PAGE,
        ..Query::default()
    };
    loop {
        let page = snapshot.rows.rows(&query)?;
        let Some(last) = page.last() else { break };
        query.after = Some(last.number);
        for Match { row, list, .. } in page {
            if let Some(row) = row {
                check_row(snapshot, row, list.as_deref(), &mut counted, &mut found)?;
            }
        }
    }
    if counted.unopened == 0 {
        if snapshot.rows.count_tags()? != counted.tags {
            found.push("objects are found by attributes that they do not have".into());
        }
        for (tag, usage) in &counted.usage {
            if snapshot.usage(*tag)? != *usage {
                found.push("the number of a client's objects is wrong".into());
            }
        }
    }
    found.extend(missing(snapshot, &counted.rows)?);
    Ok(found)
}

fn check_row<R: Record>(
    snapshot: &Snapshot<'_, R>,
    row: Row,
    list: Option<&[u8]>,
    counted: &mut Counted,
    found: &mut Vec<String>,
) -> Result<()> {
    *counted.rows.entry(bucket_of(&row.id)).or_default() += 1;
    let (number, bytes) = (row.number, row.sealed.len());
    let is_public = row.sealed.first() == Some(&1);
    let content = match snapshot.content(row, list) {
        Ok(Some(content)) => content,
        Ok(None) => return Ok(()),
        Err(e) => {
            found.push(format!("the object of row {number} is damaged: {e}"));
            counted.unopened += 1;
            return Ok(());
        }
    };
    if let Some(tag) = content.counted {
        let usage = counted.usage.entry(tag).or_default();
        usage.objects += 1;
        usage.bytes += bytes as i64;
    }
    let mut tags = content.tags;
    if is_public {
        tags.push(snapshot.keys().public_tag()?);
    }
    counted.tags += tags.len() as u64;
    for tag in tags {
        let itself = Query {
            groups: vec![vec![tag]],
            after: Some(number - 1),
            limit: 1,
            ..Query::default()
        };
        if snapshot.find(&itself)? != [number] {
            found.push(format!(
                "object {} is not found by its attributes",
                content.uid
            ));
        }
    }
    if let Err(e) = R::parse(&content.uid, &content.about, content.value) {
        found.push(format!("object {} cannot be read: {e}", content.uid));
    }
    Ok(())
}

/// Rows that a list names and that are not there.
fn missing<R: Record>(
    snapshot: &Snapshot<'_, R>,
    rows_of: &BTreeMap<u16, usize>,
) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let used = snapshot.used()?;
    for bucket in (0..BUCKETS).filter(|bucket| used.contains(*bucket)) {
        let rows = rows_of.get(&bucket).copied().unwrap_or_default();
        let listed = match snapshot.listed(bucket) {
            Ok(listed) => listed,
            Err(e) => {
                found.push(format!(
                    "the list of bucket {bucket} is damaged: {e}; its {rows} objects are refused"
                ));
                continue;
            }
        };
        if let missing @ 1.. = listed.saturating_sub(rows) {
            found.push(format!("{missing} objects of bucket {bucket} are missing"));
        }
    }
    Ok(found)
}
