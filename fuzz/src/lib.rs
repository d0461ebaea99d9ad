//! What the fuzz targets do with their bytes: one function per target, named as it.
//!
//! `fuzz_targets/` gives them to libFuzzer; `tests/fuzzed.rs` runs the same functions on the stable compiler, with every file
//! of `regressions/` and with what a seeded generator makes of `seeds/`. A function fails by a panic.

#![allow(dead_code, unused_imports, reason = "the tests use a part")]

pub mod abi;
mod client;
mod files;
pub mod record;
mod server;

pub use abi::{abi, unwrap};
pub use client::client_response;
pub use files::{access, configuration, identity, journal, key_file, key_import};
pub use server::{request_message, response_message, server_request, ttlv_item};

/// What a target does with its bytes.
pub type Target = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: &[(&str, Target)] = &[
    ("abi", abi),
    ("access", access),
    ("client_response", client_response),
    ("configuration", configuration),
    ("identity", identity),
    ("journal", journal),
    ("key_file", key_file),
    ("key_import", key_import),
    ("request_message", request_message),
    ("response_message", response_message),
    ("server_request", server_request),
    ("ttlv_item", ttlv_item),
    ("unwrap", unwrap),
];

/// A directory for the files of one run, in memory where the system has a place for it.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("a temporary directory")
}
