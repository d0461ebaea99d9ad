//! The `mrhsm` command: all of it is in the library's `cli` module.

use std::process::ExitCode;

fn main() -> ExitCode {
    mrhsm_pkcs11::cli::run(std::env::args_os().collect())
}
