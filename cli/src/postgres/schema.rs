//! The tables, and how they come to be.

use std::time::Instant;

use mrhsm_pkcs11::ck::CKR_DEVICE_ERROR;
use mrhsm_pkcs11::error::{Error, Kind, Result};
use mrhsm_pkcs11::storage::{Header, NewHeader};

use super::failed;
use super::pool::Connection;

/// Servers that start at once prepare the tables one after another. The number means "mrhsm".
const LOCK: i64 = 0x6D72_6873_6D00;

/// The steps from an empty database to the present version, which is their number. A step that was released is never changed.
const MIGRATIONS: [&str; 1] = ["
CREATE TABLE mrhsm_header (one INTEGER PRIMARY KEY CHECK (one = 1), sealed BYTEA NOT NULL, public BYTEA NOT NULL);
CREATE TABLE mrhsm_objects (number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id BYTEA NOT NULL UNIQUE, sealed BYTEA NOT NULL);
CREATE TABLE mrhsm_tags (tag BIGINT NOT NULL, number BIGINT NOT NULL, PRIMARY KEY (tag, number));
CREATE INDEX mrhsm_tags_number ON mrhsm_tags (number);
CREATE TABLE mrhsm_lists (bucket INTEGER PRIMARY KEY, sealed BYTEA NOT NULL);
CREATE TABLE mrhsm_usage (tag BIGINT NOT NULL, part INTEGER NOT NULL, objects BIGINT NOT NULL, bytes BIGINT NOT NULL, PRIMARY KEY (tag, part));
"];

/// Brings the tables to the present version, in one transaction.
pub fn prepare(connection: &Connection, until: Instant, new_header: NewHeader<'_>) -> Result<()> {
    let client = &connection.client;
    let begin = format!(
        "BEGIN; SELECT pg_advisory_xact_lock({LOCK});
         CREATE TABLE IF NOT EXISTS mrhsm_schema (version INTEGER NOT NULL);"
    );
    let version = connection.wait(until, async {
        client.batch_execute(&begin).await?;
        let sql = "SELECT coalesce(max(version), 0) FROM mrhsm_schema";
        Ok(client.query_one(sql, &[]).await?.get::<_, i32>(0))
    })?;
    let version = version.map_err(|e: tokio_postgres::Error| failed(&e))? as usize;
    if version > MIGRATIONS.len() {
        connection.send("ROLLBACK");
        let message = format!(
            "the database was prepared by a newer release of mrhsm (schema {version}): use that one"
        );
        return Err(Error::new(Kind::File, CKR_DEVICE_ERROR, message));
    }
    let header = match version {
        0 => Some(new_header()?),
        _ => None,
    };
    let done = connection.wait(until, async {
        for step in &MIGRATIONS[version..] {
            client.batch_execute(step).await?;
        }
        if let Some(Header { sealed, public }) = &header {
            let sql = "INSERT INTO mrhsm_header VALUES (1, $1, $2)";
            client.execute(sql, &[sealed, public]).await?;
        }
        let present = MIGRATIONS.len();
        let end = match version < present {
            true => format!(
                "DELETE FROM mrhsm_schema; INSERT INTO mrhsm_schema VALUES ({present}); COMMIT;"
            ),
            false => "COMMIT;".into(),
        };
        client.batch_execute(&end).await
    })?;
    done.map_err(|e| failed(&e))
}
