//! PKCS#11 to the letter: what the standard says of every function, asked of the built `.so` on a token in files.
#![allow(unsafe_code, reason = "an application in C is what these tests play")]

pub mod app;
mod birth;
mod extraction;
mod handles;
mod import;
mod mechanisms;
mod objects;
mod operations;
mod padding;
mod parts;
mod pins;
mod policy;
mod protection;
mod public;
mod reauth;
mod refused;
mod servers;
mod sessions;
mod states;
mod stored;
mod usual;
