//! The `mrhsm` command, as people and scripts use it.

mod input;
mod support;
mod terminal;
