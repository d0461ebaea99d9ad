//! Tokens: objects, templates, PINs and the token directory.

pub mod template;
