//! The statements that read and write rows.

use std::collections::VecDeque;

use rusqlite::{Connection, OptionalExtension, Result, ToSql, params};

use super::Database;
use crate::error;
use crate::storage::engine::{
    Batch, Change, Header, Id, Match, Query, Row, Rows, Stamp, Tag, Tagged, Usage, bucket_of,
};

impl Rows for Database {
    fn stamp(&self) -> Option<Stamp> {
        self.is_settled().then(|| self.seen().into())
    }

    fn header(&self) -> error::Result<Header> {
        self.run(|connection| {
            let mut statement = connection.prepare_cached("SELECT sealed, public FROM header")?;
            statement.query_row([], |row| {
                Ok(Header {
                    sealed: row.get(0)?,
                    public: row.get(1)?,
                })
            })
        })
    }

    fn get(&self, id: &Id) -> error::Result<(Option<Row>, Option<Vec<u8>>)> {
        self.run(|connection| {
            // The list is there whether the row is or not.
            let sql = "SELECT o.number, o.sealed, (SELECT sealed FROM lists WHERE bucket = ?2) FROM (SELECT 1) \
                       LEFT JOIN objects o ON o.id = ?1";
            let mut statement = connection.prepare_cached(sql)?;
            statement.query_row(params![id, bucket_of(id)], |row| {
                let (number, sealed): (Option<i64>, Option<Vec<u8>>) = (row.get(0)?, row.get(1)?);
                let object = number.zip(sealed).map(|(number, sealed)| Row {
                    number,
                    id: *id,
                    sealed,
                });
                Ok((object, row.get(2)?))
            })
        })
    }

    fn get_tagged(&self, id: &Id, any: &[Tag]) -> error::Result<Tagged> {
        let (row, list) = self.get(id)?;
        let is_there = row.is_some();
        let sql = "SELECT 1 FROM tags WHERE tag = ?1 AND number = ?2";
        let row = self.run(|connection| {
            let Some(row) = row else { return Ok(None) };
            for tag in any {
                if first(connection, sql, [*tag, row.number], |_| Ok(()))?.is_some() {
                    return Ok(Some(row));
                }
            }
            Ok(None)
        })?;
        Ok(Tagged {
            row,
            is_there,
            list,
        })
    }

    fn rows(&self, query: &Query) -> error::Result<Vec<Match>> {
        let numbers = self.find(query)?;
        let sql = "SELECT id, sealed FROM objects WHERE number = ?1";
        self.run(|connection| {
            let mut rows = Vec::with_capacity(numbers.len());
            for number in numbers {
                let row = first(connection, sql, [number], |row| {
                    Ok(Row {
                        number,
                        id: row.get(0)?,
                        sealed: row.get(1)?,
                    })
                })?;
                let list = match &row {
                    Some(row) => list(connection, bucket_of(&row.id))?,
                    None => None,
                };
                rows.push(Match { number, row, list });
            }
            Ok(rows)
        })
    }

    fn find(&self, query: &Query) -> error::Result<Vec<i64>> {
        self.run(|connection| match query.groups.as_slice() {
            [] => scan(
                connection,
                "SELECT number FROM objects WHERE true",
                &[],
                query,
            ),
            [group] if let [tag] = group.as_slice() => scan(
                connection,
                "SELECT number FROM tags WHERE tag = ?3",
                &[tag],
                query,
            ),
            groups => intersect(connection, groups, query),
        })
    }

    fn last_number(&self) -> error::Result<i64> {
        let sql = "SELECT ifnull(max(number), 0) FROM objects";
        self.run(|connection| {
            connection
                .prepare_cached(sql)?
                .query_row([], |row| row.get(0))
        })
    }

    fn list(&self, bucket: u16) -> error::Result<Option<Vec<u8>>> {
        self.run(|connection| list(connection, bucket))
    }

    fn usage(&self, tag: Tag) -> error::Result<Usage> {
        let sql = "SELECT objects, bytes FROM usage WHERE tag = ?1";
        self.run(|connection| {
            let found = first(connection, sql, [tag], |row| {
                Ok(Usage {
                    objects: row.get(0)?,
                    bytes: row.get(1)?,
                })
            });
            found.map(Option::unwrap_or_default)
        })
    }

    fn count_tags(&self) -> error::Result<u64> {
        self.count("SELECT count(*) FROM tags")
    }
}

fn first<T>(
    connection: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
    read: impl FnOnce(&rusqlite::Row<'_>) -> Result<T>,
) -> Result<Option<T>> {
    connection
        .prepare_cached(sql)?
        .query_row(params, read)
        .optional()
}

fn list(connection: &Connection, bucket: u16) -> Result<Option<Vec<u8>>> {
    let sql = "SELECT sealed FROM lists WHERE bucket = ?1";
    first(connection, sql, [bucket], |row| row.get(0))
}

/// The numbers that an index holds in order.
fn scan(
    connection: &Connection,
    from: &str,
    tag: &[&dyn ToSql],
    query: &Query,
) -> Result<Vec<i64>> {
    let (order, start) = match query.newest_first {
        true => ("AND number < ?1 ORDER BY number DESC", i64::MAX),
        false => ("AND number > ?1 ORDER BY number", i64::MIN),
    };
    let start = query.after.unwrap_or(start);
    let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(&format!("{from} {order} LIMIT ?2"))?;
    let first: [&dyn ToSql; 2] = [&start, &limit];
    let numbers = statement.query_map(&*[&first, tag].concat(), |row| row.get(0))?;
    numbers.collect()
}

/// Finds what several groups have in common. Each in turn gives its next number, so the rarest decides how long it takes.
fn intersect(connection: &Connection, groups: &[Vec<Tag>], query: &Query) -> Result<Vec<i64>> {
    let order = if query.newest_first { -1 } else { 1 };
    let runs = |group: &Vec<Tag>| group.iter().map(|tag| Run::new(*tag, order)).collect();
    // The last are the rarest: attributes of objects follow their owners.
    let mut groups: Vec<Vec<Run>> = groups.iter().rev().map(runs).collect();
    let mut at = match query.after {
        Some(after) => (order * after).saturating_add(1),
        None => i64::MIN,
    };
    let (mut found, mut agreeing, mut turn) = (Vec::new(), 0, 0);
    while found.len() < query.limit {
        let number = groups.len();
        let mut next: Option<i64> = None;
        for run in &mut groups[turn % number] {
            next = next.into_iter().chain(run.next(connection, at)?).min();
        }
        let Some(next) = next else { break };
        agreeing = if next == at { agreeing + 1 } else { 1 };
        at = next;
        if agreeing >= number {
            found.push(order * at);
            at = at.saturating_add(1);
            agreeing = 0;
        }
        turn += 1;
    }
    Ok(found)
}

/// The numbers that have a tag, in the order asked: negative ones stand for the newest first.
struct Run {
    tag: Tag,
    order: i64,
    /// What was read and not passed yet.
    read: VecDeque<i64>,
    last_read: i64,
    /// How many were read last.
    length: i64,
    is_all_read: bool,
}

impl Run {
    /// The most numbers that are read at once.
    const MOST: i64 = 256;

    fn new(tag: Tag, order: i64) -> Run {
        Run {
            tag,
            order,
            read: VecDeque::new(),
            last_read: i64::MIN,
            length: 0,
            is_all_read: false,
        }
    }

    /// The first number that is not before `at`. Reads more and more at once, as long as few of them are passed over.
    fn next(&mut self, connection: &Connection, at: i64) -> Result<Option<i64>> {
        while self.read.front().is_some_and(|number| *number < at) {
            self.read.pop_front();
        }
        if self.read.is_empty() && !self.is_all_read {
            self.length = match at.saturating_sub(self.last_read) < Run::MOST {
                true => (4 * self.length).clamp(1, Run::MOST),
                false => 1,
            };
            let sql = match self.order {
                1 => {
                    "SELECT number FROM tags WHERE tag = ?1 AND number >= ?2 ORDER BY number LIMIT ?3"
                }
                _ => {
                    "SELECT number FROM tags WHERE tag = ?1 AND number <= ?2 ORDER BY number DESC LIMIT ?3"
                }
            };
            let mut statement = connection.prepare_cached(sql)?;
            let from = self.order.saturating_mul(at);
            let numbers =
                statement.query_map([self.tag, from, self.length], |row| row.get::<_, i64>(0))?;
            for number in numbers {
                self.read.push_back(self.order * number?);
            }
            self.is_all_read = (self.read.len() as i64) < self.length;
            self.last_read = self.read.back().copied().unwrap_or(self.last_read);
        }
        Ok(self.read.front().copied())
    }
}

/// Writes a batch as one transaction.
pub fn apply(connection: &Connection, batch: &Batch) -> Result<()> {
    execute(connection, "BEGIN IMMEDIATE", [])?;
    write(connection, batch)?;
    execute(connection, "COMMIT", [])
}

/// Writes a batch within a transaction.
pub fn write(connection: &Connection, batch: &Batch) -> Result<()> {
    if let Some(sealed) = &batch.header {
        execute(connection, "UPDATE header SET sealed = ?1", [sealed])?;
    }
    for change in &batch.rows {
        apply_row(connection, change)?;
    }
    for (bucket, sealed) in &batch.lists {
        let sql =
            "INSERT INTO lists VALUES (?1, ?2) ON CONFLICT DO UPDATE SET sealed = excluded.sealed";
        execute(connection, sql, params![bucket, sealed])?;
    }
    for (tag, Usage { objects, bytes }) in &batch.usage {
        let sql = "INSERT INTO usage VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE \
                   SET objects = objects + excluded.objects, bytes = bytes + excluded.bytes";
        execute(connection, sql, [*tag, *objects, *bytes])?;
    }
    Ok(())
}

fn apply_row(connection: &Connection, change: &Change) -> Result<()> {
    let number = match (&change.sealed, change.number) {
        (Some(sealed), Some(number)) => {
            let sql = "UPDATE objects SET sealed = ?2 WHERE number = ?1";
            execute(connection, sql, params![number, sealed])?;
            number
        }
        (Some(sealed), None) => {
            let sql = "INSERT INTO objects (id, sealed) VALUES (?1, ?2)";
            execute(connection, sql, params![change.id, sealed])?;
            connection.last_insert_rowid()
        }
        (None, Some(number)) => {
            execute(
                connection,
                "DELETE FROM objects WHERE number = ?1",
                [number],
            )?;
            number
        }
        (None, None) => return Ok(()),
    };
    for tag in &change.untag {
        let sql = "DELETE FROM tags WHERE tag = ?1 AND number = ?2";
        execute(connection, sql, [*tag, number])?;
    }
    for tag in &change.tag {
        execute(
            connection,
            "INSERT OR IGNORE INTO tags VALUES (?1, ?2)",
            [*tag, number],
        )?;
    }
    Ok(())
}

fn execute(connection: &Connection, sql: &str, params: impl rusqlite::Params) -> Result<()> {
    connection.prepare_cached(sql)?.execute(params).map(drop)
}
