//! The `mrhsm` command, as people and scripts use it.

mod input;
mod output;
mod support;
mod terminal;
