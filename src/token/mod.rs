//! Tokens: objects, templates, PINs and the token directory.

pub mod cluster;
mod fault;
pub mod files;
pub mod pin;
pub mod secrets;
pub mod template;
