//! Tokens: objects, templates, PINs and the token directory.

pub mod attr;
pub mod cluster;
mod fault;
pub mod files;
pub mod object;
pub mod pin;
pub mod secrets;
pub mod spec;
pub mod template;
