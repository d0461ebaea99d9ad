//! Changes databases as an attacker does: by SQL, without mrhsm.
//!
//! Another process does it, this test binary again: SQLite belongs to the store in this one.

use std::path::Path;
use std::process::{Command, Stdio};

use mrhsm_pkcs11::store::file::FileStore;
use rusqlite::{Connection, OpenFlags};

const DATABASE: &str = "MRHSM_TEST_DATABASE";
const STATEMENTS: &str = "MRHSM_TEST_STATEMENTS";

/// Runs statements in a database that is not open elsewhere.
#[track_caller]
pub fn change(database: &Path, statements: &str) {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["sql::process", "--exact", "--nocapture"])
        .env(DATABASE, database)
        .env(STATEMENTS, statements)
        .stdout(Stdio::null())
        .status();
    assert!(status.unwrap().success(), "{statements}");
}

/// Statements that flip bits in the newest object.
pub const DAMAGE_NEWEST: &str = "UPDATE objects SET sealed = unhex(substr(hex(sealed), 1, 60) || 'ABBA' || substr(hex(sealed), 65))
    WHERE number = (SELECT max(number) FROM objects)";

/// What the other process runs; nothing in an ordinary test run.
#[test]
fn process() {
    let Some(database) = std::env::var_os(DATABASE) else {
        return;
    };
    // Sets SQLite up.
    let tmp = tempfile::tempdir().unwrap();
    FileStore::open(&tmp.path().join("objects"), &[0; 32]).unwrap();
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags_and_vfs(&database, flags, c"unix-none").unwrap();
    connection
        .execute_batch("PRAGMA locking_mode = EXCLUSIVE")
        .unwrap();
    connection
        .execute_batch(&std::env::var(STATEMENTS).unwrap())
        .unwrap();
    connection.close().unwrap();
    // What was in the WAL is in the database now.
    std::fs::write(Path::new(&database).with_extension("lock"), [0; 16]).unwrap();
}
