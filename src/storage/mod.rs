//! Objects on this machine: sealed rows in a database.
//!
//! [`Repository`] stores objects of any kind; `FileStore` and the embedded KMIP server are over it. It seals and verifies rows
//! ([`seal`]), and an engine ([`engine`]) stores them: SQLite ([`sqlite`]).

mod admin;
mod cache;
pub mod engine;
pub mod journal;
mod migrate;
pub mod open;
mod public;
mod repository;
pub mod seal;
mod sqlite;

pub use engine::{
    Batch, Change, Engine, Header, Id, Info, Match, Query, Removal, Row, Rows, Stamp, Tag, Tagged,
    Usage, bucket_of,
};
pub use public::PublicObjects;
pub use repository::{Connect, Entry, NewHeader, Put, Record, Repository, Snapshot};
pub use seal::{Content, Keys, new_uuid};

#[cfg(test)]
mod tests;
