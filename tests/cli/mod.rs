//! The `mrhsm` command, as people and scripts use it.

mod cluster;
mod input;
mod interrupted;
mod migrate;
mod output;
mod pins;
mod servers;
mod support;
mod tampered;
mod terminal;
