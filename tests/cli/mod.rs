//! The `mrhsm` command, as people and scripts use it.

mod cluster;
mod input;
mod output;
mod support;
mod terminal;
