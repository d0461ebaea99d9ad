//! The C ABI, as applications see it: the built `.so`, loaded by path, and its function tables.
#![allow(unsafe_code, reason = "an application in C is what these tests play")]

mod arguments;
mod client;
mod copies;
mod crowd;
mod deadlines;
mod derive;
mod descriptors;
mod documents;
mod exports;
mod fork;
mod general;
pub mod host;
mod hostile;
mod large;
mod leaks;
mod log;
mod memory;
mod messages;
mod policy;
mod refusals;
mod requests;
mod secrets;
mod setuid;
mod shortage;
mod tampered;
mod threads;
