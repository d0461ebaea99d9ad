//! The integration tests: one binary, one module per subject.

mod audit;
mod cli;
mod clients;
mod codec;
mod conformance;
mod crypt;
mod disk;
mod docs;
mod durable;
mod ffi;
mod filestore;
mod front;
mod fuzzed;
mod kmip_server;
mod leftovers;
mod needle;
mod objects;
mod operations;
mod proof;
mod serve;
mod serve_files;
mod sql;
mod store_kmip;
mod tokendir;
mod wrapping;
