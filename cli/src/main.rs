//! The `mrhsm` command: the library's `cli` module, with PostgreSQL for `mrhsm serve`.

use std::process::ExitCode;

mod postgres;

fn main() -> ExitCode {
    mrhsm_pkcs11::cli::run(std::env::args_os().collect(), postgres::open)
}
