//! One transaction, as rows to read and a batch to write.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use mrhsm_pkcs11::ck::CKR_DEVICE_ERROR;
use mrhsm_pkcs11::error::{Error, Kind, Result};
use mrhsm_pkcs11::storage::{
    Batch, Header, Id, Match, Query, Row, Rows, Stamp, Tag, Tagged, Usage, bucket_of,
};
use tokio_postgres::types::ToSql;

use super::pool::Connection;
use super::statements::{self, PARTS};
use super::{Failure, failed, is_lost, may_repeat};

/// A statement and its parameters.
type Statement<'a> = (&'a str, &'a [&'a (dyn ToSql + Sync)]);

type Answer<T> = Result<T, tokio_postgres::Error>;

/// A query that is not sent yet.
type Sending<'a, T> = Pin<Box<dyn Future<Output = Answer<T>> + 'a>>;

const NUMBER: &str = "SELECT pg_current_xact_id()::TEXT";

/// Sends all in their order, then waits for the answers.
async fn pipelined<T>(mut sending: Vec<Sending<'_, T>>) -> Vec<Answer<T>> {
    let mut early: Vec<Option<Answer<T>>> = sending
        .iter_mut()
        .map(|query| {
            // The first poll sends it.
            match query.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(answer) => Some(answer),
                Poll::Pending => None,
            }
        })
        .collect();
    let mut answers = Vec::with_capacity(sending.len());
    for (query, early) in sending.into_iter().zip(early.drain(..)) {
        answers.push(match early {
            Some(answer) => answer,
            None => query.await,
        });
    }
    answers
}

/// A row and the list of its bucket.
type Found = (Option<Row>, Option<Vec<u8>>);

/// A transaction on a connection.
pub struct Transaction<'a> {
    connection: &'a Connection,
    until: Instant,
    begin: &'static str,
    writes: bool,
    has_begun: Cell<bool>,
    /// The number that PostgreSQL gave a transaction that writes.
    number: RefCell<Option<String>>,
    /// Why a statement failed, which the caller's error may hide.
    failure: RefCell<Option<Failure>>,
    rows: RefCell<HashMap<Id, Found>>,
    usage: RefCell<HashMap<Tag, Usage>>,
    header: RefCell<Option<Header>>,
}

impl<'a> Transaction<'a> {
    /// A transaction that reads one state.
    pub fn reading(connection: &'a Connection, until: Instant) -> Transaction<'a> {
        Transaction {
            connection,
            until,
            begin: "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            writes: false,
            has_begun: Cell::new(false),
            number: RefCell::default(),
            failure: RefCell::default(),
            rows: RefCell::default(),
            usage: RefCell::default(),
            header: RefCell::default(),
        }
    }

    /// A transaction that has the effect of being alone.
    pub fn writing(connection: &'a Connection, until: Instant) -> Transaction<'a> {
        Transaction {
            begin: "BEGIN ISOLATION LEVEL SERIALIZABLE",
            writes: true,
            ..Transaction::reading(connection, until)
        }
    }

    /// Sends statements and waits for all answers, in one round trip. `outside` is sent before BEGIN, if that was not sent yet.
    fn query_all(
        &self,
        outside: &[Statement<'_>],
        statements: &[Statement<'_>],
    ) -> Result<Vec<Vec<tokio_postgres::Row>>> {
        let begins = !self.has_begun.replace(true);
        let wants_number = self.writes && begins;
        let (connection, client) = (self.connection, &self.connection.client);
        let answers = connection.wait(self.until, async {
            let mut prepared = Vec::new();
            for (sql, _) in outside.iter().chain(statements) {
                prepared.push(connection.prepared(sql).await?);
            }
            let number = connection.prepared(NUMBER).await?;
            let mut queries: Vec<Sending<'_, _>> = Vec::new();
            let mut all = prepared.iter().zip(outside.iter().chain(statements));
            for (statement, (_, parameters)) in all.by_ref().take(outside.len()) {
                queries.push(Box::pin(client.query(statement, parameters)));
            }
            if begins {
                queries.push(Box::pin(async {
                    client.batch_execute(self.begin).await?;
                    Ok(Vec::new())
                }));
            }
            if wants_number {
                queries.push(Box::pin(client.query(&number, &[])));
            }
            for (statement, (_, parameters)) in all {
                queries.push(Box::pin(client.query(statement, parameters)));
            }
            pipelined(queries)
                .await
                .into_iter()
                .collect::<Result<Vec<_>, _>>()
        });
        let mut answers = match answers {
            Ok(Ok(answers)) => answers,
            Ok(Err(e)) => return Err(self.failed(&e)),
            Err(late) => {
                connection.give_up();
                self.fail(Failure::Final(late.to_string()));
                return Err(late);
            }
        };
        let after_begin = outside.len() + usize::from(begins);
        if wants_number {
            let number = answers.remove(after_begin);
            *self.number.borrow_mut() = number.first().map(|row| row.get(0));
        }
        if begins {
            answers.remove(outside.len());
        }
        Ok(answers)
    }

    fn query(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<tokio_postgres::Row>> {
        let mut answers = self.query_all(&[], &[(sql, parameters)])?;
        Ok(answers.pop().unwrap_or_default())
    }

    fn one(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<tokio_postgres::Row> {
        let missing = || Error::new(Kind::File, CKR_DEVICE_ERROR, "PostgreSQL answered no row");
        self.query(sql, parameters)?.pop().ok_or_else(missing)
    }

    /// What [`statements::GET`] answered.
    fn found(&self, answer: &tokio_postgres::Row, id: &Id) -> Found {
        let (number, sealed): (Option<i64>, Option<Vec<u8>>) = (answer.get(0), answer.get(1));
        let row = number.zip(sealed).map(|(number, sealed)| Row {
            number,
            id: *id,
            sealed,
        });
        let header: (Option<Vec<u8>>, Option<Vec<u8>>) = (answer.get(3), answer.get(4));
        if let (Some(sealed), Some(public)) = header {
            *self.header.borrow_mut() = Some(Header { sealed, public });
        }
        (row, answer.get(2))
    }

    fn fail(&self, failure: Failure) {
        self.failure.borrow_mut().get_or_insert(failure);
    }

    fn failed(&self, e: &tokio_postgres::Error) -> Error {
        self.fail(match may_repeat(e) {
            true => Failure::Repeat(failed(e)),
            false => Failure::Final(failed(e).to_string()),
        });
        failed(e)
    }

    /// Ends a transaction that read.
    pub fn end_reading(self) -> Option<Failure> {
        if self.has_begun.get() {
            self.connection.send("COMMIT");
        }
        self.failure.into_inner()
    }

    /// Writes a batch and commits; an empty batch, or an error instead of one, changes nothing.
    pub fn end_writing(self, batch: Result<Batch>) -> Result<Result<()>, Failure> {
        let failure = self.failure.take();
        let batch = match (failure, batch) {
            (Some(failure), _) => {
                self.connection.send("ROLLBACK");
                return Err(failure);
            }
            (None, Ok(batch)) if !batch.is_empty() => batch,
            (None, other) => {
                if self.has_begun.get() {
                    self.connection.send("ROLLBACK");
                }
                return Ok(other.map(drop));
            }
        };
        self.write(batch).map(Ok)
    }

    fn write(self, batch: Batch) -> Result<(), Failure> {
        // Transactions that run at once seldom count in the same part.
        let part = batch
            .rows
            .first()
            .map_or(0, |change| i32::from(change.id[15]))
            % PARTS;
        let statements = statements::writing(batch, part);
        let (connection, client) = (self.connection, &self.connection.client);
        let is_sent = Cell::new(false);
        let answers = connection.wait(self.until, async {
            let mut prepared = Vec::with_capacity(statements.len());
            for statement in &statements {
                prepared.push(connection.prepared(statement.sql).await?);
            }
            let borrowed: Vec<_> = statements
                .iter()
                .map(|statement| statements::borrowed(&statement.parameters))
                .collect();
            let mut sending: Vec<Sending<'_, u64>> = Vec::new();
            for (prepared, parameters) in prepared.iter().zip(&borrowed) {
                sending.push(Box::pin(client.execute(prepared, parameters)));
            }
            // After a statement that failed it rolls back; the statement's error tells.
            sending.push(Box::pin(async {
                client.batch_execute("COMMIT").await?;
                Ok(0)
            }));
            is_sent.set(true);
            pipelined(sending)
                .await
                .into_iter()
                .collect::<Answer<Vec<u64>>>()
        });
        let unknown = |number: &RefCell<Option<String>>, e: Error| match number.borrow().clone() {
            Some(number) if is_sent.get() => Failure::Unknown(number),
            _ => Failure::Repeat(e),
        };
        match answers {
            Ok(Ok(changes)) => {
                let is_right = |(statement, changes): (&statements::Writing, &u64)| {
                    statement
                        .changes
                        .is_none_or(|expected| expected == *changes)
                };
                match statements.iter().zip(&changes).all(is_right) {
                    true => Ok(()),
                    false => Err(Failure::Final(
                        "PostgreSQL changed other rows than were read: the database is damaged"
                            .into(),
                    )),
                }
            }
            Ok(Err(e)) if is_lost(&e) || client.is_closed() => {
                Err(unknown(&self.number, failed(&e)))
            }
            Ok(Err(e)) if may_repeat(&e) => Err(Failure::Repeat(failed(&e))),
            Ok(Err(e)) => Err(Failure::Final(failed(&e).to_string())),
            Err(late) => {
                connection.give_up();
                Err(unknown(&self.number, late))
            }
        }
    }
}

fn usage_of(row: &tokio_postgres::Row) -> Usage {
    Usage {
        objects: row.get(0),
        bytes: row.get(1),
    }
}

impl Rows for Transaction<'_> {
    fn stamp(&self) -> Option<Stamp> {
        None
    }

    fn header(&self) -> Result<Header> {
        if let Some(header) = &*self.header.borrow() {
            return Ok(header.clone());
        }
        let row = self.one(statements::HEADER, &[])?;
        let header = Header {
            sealed: row.get(0),
            public: row.get(1),
        };
        Ok(self.header.borrow_mut().insert(header).clone())
    }

    fn get(&self, id: &Id) -> Result<Found> {
        if let Some(found) = self.rows.borrow().get(id) {
            return Ok(found.clone());
        }
        let (key, bucket) = (id.as_slice(), i32::from(bucket_of(id)));
        Ok(self.found(&self.one(statements::GET, &[&key, &bucket])?, id))
    }

    fn get_tagged(&self, id: &Id, any: &[Tag]) -> Result<Tagged> {
        let (key, bucket) = (id.as_slice(), i32::from(bucket_of(id)));
        let answer = self.one(statements::GET_TAGGED, &[&key, &bucket, &any])?;
        let is_there = answer.get::<_, Option<i64>>(0).is_some();
        let (row, list) = self.found(&answer, id);
        if self.writes && row.is_some() {
            // It is read again when it is replaced.
            let known = (row.clone(), list.clone());
            self.rows.borrow_mut().insert(*id, known);
        }
        Ok(Tagged {
            row,
            is_there,
            list,
        })
    }

    fn rows(&self, query: &Query) -> Result<Vec<Match>> {
        let (sql, parameters) = statements::rows(query);
        let answer = self.query(&sql, &statements::borrowed(&parameters))?;
        let matched = |row: &tokio_postgres::Row| {
            let number = row.get(0);
            let (id, sealed): (Option<Vec<u8>>, Option<Vec<u8>>) = (row.get(1), row.get(2));
            let id = id.and_then(|id| Id::try_from(id).ok());
            Match {
                number,
                row: id
                    .zip(sealed)
                    .map(|(id, sealed)| Row { number, id, sealed }),
                list: row.get(3),
            }
        };
        Ok(answer.iter().map(matched).collect())
    }

    fn find(&self, query: &Query) -> Result<Vec<i64>> {
        let (sql, parameters) = statements::find(query);
        let answer = self.query(&sql, &statements::borrowed(&parameters))?;
        Ok(answer.iter().map(|row| row.get(0)).collect())
    }

    fn last_number(&self) -> Result<i64> {
        Ok(self.one(statements::LAST_NUMBER, &[])?.get(0))
    }

    fn list(&self, bucket: u16) -> Result<Option<Vec<u8>>> {
        let answer = self.query(statements::LIST, &[&i32::from(bucket)])?;
        Ok(answer.first().map(|row| row.get(0)))
    }

    fn usage(&self, tag: Tag) -> Result<Usage> {
        if let Some(usage) = self.usage.borrow().get(&tag) {
            return Ok(*usage);
        }
        Ok(usage_of(&self.one(statements::USAGE, &[&tag])?))
    }

    fn count_tags(&self) -> Result<u64> {
        let count: i64 = self.one(statements::COUNT_TAGS, &[])?.get(0);
        Ok(count.cast_unsigned())
    }

    fn prefetch(&self, ids: &[Id], usage: &[Tag]) -> Result<()> {
        let ids: Vec<Id> = {
            let known = self.rows.borrow();
            ids.iter()
                .filter(|id| !known.contains_key(*id))
                .copied()
                .collect()
        };
        let keys: Vec<(&[u8], i32)> = ids
            .iter()
            .map(|id| (id.as_slice(), i32::from(bucket_of(id))))
            .collect();
        let gets: Vec<[&(dyn ToSql + Sync); 2]> = keys
            .iter()
            .map(|(key, bucket)| [key as _, bucket as _])
            .collect();
        let usages: Vec<[&(dyn ToSql + Sync); 1]> = usage.iter().map(|tag| [tag as _]).collect();
        let mut statements: Vec<Statement<'_>> = Vec::new();
        statements.extend(
            usages
                .iter()
                .map(|usage| (statements::USAGE, usage.as_slice())),
        );
        statements.extend(gets.iter().map(|get| (statements::GET, get.as_slice())));
        if statements.is_empty() {
            return Ok(());
        }
        let (outside, inside) = match self.has_begun.get() {
            true => (&[][..], &statements[..]),
            // Counting need not be exact, and others count at the same time.
            false => statements.split_at(usages.len()),
        };
        let answers = self.query_all(outside, inside)?;
        let (usages, rows) = answers.split_at(usages.len());
        for (id, answer) in ids.iter().zip(rows) {
            if let [row] = answer.as_slice() {
                let found = self.found(row, id);
                self.rows.borrow_mut().insert(*id, found);
            }
        }
        for (tag, answer) in usage.iter().zip(usages) {
            if let [row] = answer.as_slice() {
                self.usage.borrow_mut().insert(*tag, usage_of(row));
            }
        }
        Ok(())
    }
}
