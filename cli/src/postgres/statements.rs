//! The statements that read and write rows.

use std::fmt::Write;
use std::time::Instant;

use mrhsm_pkcs11::error::Result;
use mrhsm_pkcs11::storage::{Batch, Change, Info, Query};
use tokio_postgres::types::ToSql;

use super::failed;
use super::pool::Connection;

/// The parts of a tag's usage: transactions of one client seldom change the same.
pub const PARTS: i32 = 16;

/// A parameter of a statement.
pub type Parameter = Box<dyn ToSql + Sync + Send>;

/// The bucket of an identifier, in SQL.
const BUCKET: &str = "((get_byte(o.id, 0) << 4) | (get_byte(o.id, 1) >> 4))";

pub const HEADER: &str = "SELECT sealed, public FROM mrhsm_header";
pub const LIST: &str = "SELECT sealed FROM mrhsm_lists WHERE bucket = $1";
pub const LAST_NUMBER: &str = "SELECT coalesce(max(number), 0) FROM mrhsm_objects";
pub const COUNT_TAGS: &str = "SELECT count(*) FROM mrhsm_tags";
pub const USAGE: &str = "SELECT coalesce(sum(objects), 0)::BIGINT, coalesce(sum(bytes), 0)::BIGINT FROM mrhsm_usage WHERE tag = $1";
/// A row and the list of its bucket, or the header if there is no list, which tells whether there should be: one line in any case.
pub const GET: &str = "SELECT o.number, o.sealed, l.sealed, h.sealed, h.public FROM (SELECT 1) one
    LEFT JOIN mrhsm_objects o ON o.id = $1 LEFT JOIN mrhsm_lists l ON l.bucket = $2
    LEFT JOIN LATERAL (SELECT sealed, public FROM mrhsm_header WHERE l.bucket IS NULL) h ON true";
/// The same for a row that has one of the tags.
pub const GET_TAGGED: &str = "SELECT o.number, CASE WHEN t.has THEN o.sealed END, l.sealed, h.sealed, h.public FROM (SELECT 1) one
    LEFT JOIN mrhsm_objects o ON o.id = $1 LEFT JOIN mrhsm_lists l ON l.bucket = $2
    LEFT JOIN LATERAL (SELECT sealed, public FROM mrhsm_header WHERE l.bucket IS NULL) h ON true
    LEFT JOIN LATERAL (SELECT EXISTS (SELECT 1 FROM mrhsm_tags WHERE number = o.number AND tag = ANY ($3)) AS has) t ON true";

/// The statement that finds numbers, and its parameters.
pub fn find(query: &Query) -> (String, Vec<Parameter>) {
    let (compare, order, start) = match query.newest_first {
        true => ("<", "DESC", i64::MAX),
        false => (">", "ASC", i64::MIN),
    };
    let mut parameters: Vec<Parameter> = vec![
        Box::new(query.after.unwrap_or(start)),
        Box::new(i64::try_from(query.limit).unwrap_or(i64::MAX)),
    ];
    let mut conditions = String::new();
    for (at, group) in query.groups.iter().enumerate() {
        let parameter = parameters.len() + 1;
        let tags = match group.as_slice() {
            [tag] => {
                parameters.push(Box::new(*tag));
                format!("tag = ${parameter}")
            }
            several => {
                parameters.push(Box::new(several.to_vec()));
                format!("tag = ANY (${parameter})")
            }
        };
        // Writing to a String does not fail.
        let _ = match at {
            0 => write!(conditions, " AND t.{tags}"),
            _ => write!(
                conditions,
                " AND EXISTS (SELECT 1 FROM mrhsm_tags WHERE number = t.number AND {tags})"
            ),
        };
    }
    let (table, distinct) = match query.groups.first() {
        None => ("mrhsm_objects", ""),
        Some(group) if group.len() == 1 => ("mrhsm_tags", ""),
        Some(_) => ("mrhsm_tags", "DISTINCT "),
    };
    let sql = format!(
        "SELECT {distinct}t.number FROM {table} t WHERE t.number {compare} $1{conditions} ORDER BY t.number {order} LIMIT $2"
    );
    (sql, parameters)
}

/// The same for whole rows.
pub fn rows(query: &Query) -> (String, Vec<Parameter>) {
    let (sql, parameters) = find(query);
    let order = if query.newest_first { "DESC" } else { "ASC" };
    let sql = format!(
        "SELECT f.number, o.id, o.sealed, l.sealed FROM ({sql}) f
         LEFT JOIN mrhsm_objects o ON o.number = f.number LEFT JOIN mrhsm_lists l ON l.bucket = {BUCKET}
         ORDER BY f.number {order}"
    );
    (sql, parameters)
}

/// A statement that writes, its parameters, and how many rows it must change.
pub struct Writing {
    pub sql: &'static str,
    pub parameters: Vec<Parameter>,
    pub changes: Option<u64>,
}

/// What writes a batch. `part` is the part of the usage that this transaction counts in.
pub fn writing(batch: Batch, part: i32) -> Vec<Writing> {
    let mut statements = Vec::new();
    if let Some(sealed) = batch.header {
        statements.push(Writing {
            sql: "UPDATE mrhsm_header SET sealed = $1",
            parameters: vec![Box::new(sealed)],
            changes: Some(1),
        });
    }
    for change in batch.rows {
        write_row(change, &mut statements);
    }
    for (bucket, sealed) in batch.lists {
        statements.push(Writing {
            sql: "INSERT INTO mrhsm_lists VALUES ($1, $2) ON CONFLICT (bucket) DO UPDATE SET sealed = excluded.sealed",
            parameters: vec![Box::new(i32::from(bucket)), Box::new(sealed)],
            changes: Some(1),
        });
    }
    for (tag, usage) in batch.usage {
        statements.push(Writing {
            sql: "INSERT INTO mrhsm_usage AS u VALUES ($1, $2, $3, $4) ON CONFLICT (tag, part)
                  DO UPDATE SET objects = u.objects + excluded.objects, bytes = u.bytes + excluded.bytes",
            parameters: vec![
                Box::new(tag),
                Box::new(part),
                Box::new(usage.objects),
                Box::new(usage.bytes),
            ],
            changes: Some(1),
        });
    }
    statements
}

fn write_row(change: Change, statements: &mut Vec<Writing>) {
    let Change {
        id,
        number,
        sealed,
        untag,
        tag,
    } = change;
    let number = match (sealed, number) {
        (Some(sealed), None) => {
            statements.push(Writing {
                sql: "WITH new AS (INSERT INTO mrhsm_objects (id, sealed) VALUES ($1, $2) RETURNING number)
                      INSERT INTO mrhsm_tags SELECT unnest($3::BIGINT[]), number FROM new",
                parameters: vec![Box::new(id.to_vec()), Box::new(sealed), Box::new(tag)],
                changes: None,
            });
            return;
        }
        (Some(sealed), Some(number)) => {
            statements.push(Writing {
                sql: "UPDATE mrhsm_objects SET sealed = $2 WHERE number = $1",
                parameters: vec![Box::new(number), Box::new(sealed)],
                changes: Some(1),
            });
            number
        }
        (None, Some(number)) => {
            statements.push(Writing {
                sql: "DELETE FROM mrhsm_objects WHERE number = $1",
                parameters: vec![Box::new(number)],
                changes: Some(1),
            });
            number
        }
        (None, None) => return,
    };
    if !untag.is_empty() {
        statements.push(Writing {
            sql: "DELETE FROM mrhsm_tags WHERE number = $1 AND tag = ANY ($2)",
            parameters: vec![Box::new(number), Box::new(untag)],
            changes: None,
        });
    }
    if !tag.is_empty() {
        statements.push(Writing {
            sql: "INSERT INTO mrhsm_tags SELECT unnest($2::BIGINT[]), $1 ON CONFLICT DO NOTHING",
            parameters: vec![Box::new(number), Box::new(tag)],
            changes: None,
        });
    }
}

/// The parameters, as the library wants them.
pub fn borrowed(parameters: &[Parameter]) -> Vec<&(dyn ToSql + Sync)> {
    parameters
        .iter()
        .map(|parameter| &**parameter as &(dyn ToSql + Sync))
        .collect()
}

/// The state of a transaction: "committed", "aborted" or "in progress".
pub fn status(connection: &Connection, number: &str, until: Instant) -> Result<String> {
    let sql = "SELECT pg_xact_status($1::TEXT::XID8)";
    let answer = connection.wait(until, connection.client.query_one(sql, &[&number]))?;
    let status: Option<String> = answer.map_err(|e| failed(&e))?.get(0);
    // A number so old that PostgreSQL has forgotten it does not occur here.
    Ok(status.unwrap_or_else(|| "in progress".into()))
}

/// How large the tables are.
pub fn info(connection: &Connection, until: Instant) -> Result<Info> {
    let sql = "SELECT (SELECT count(*) FROM mrhsm_objects), (SELECT sum(pg_total_relation_size(oid))::BIGINT FROM pg_class
        WHERE relname IN ('mrhsm_objects', 'mrhsm_tags', 'mrhsm_lists', 'mrhsm_usage') AND relnamespace = current_schema()::REGNAMESPACE)";
    let answer = connection.wait(until, connection.client.query_one(sql, &[]))?;
    let row = answer.map_err(|e| failed(&e))?;
    let number = |at: usize| row.get::<_, i64>(at).cast_unsigned();
    Ok(Info {
        objects: number(0),
        bytes: number(1),
        free_bytes: 0,
        wal_bytes: 0,
    })
}
