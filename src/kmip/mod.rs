//! KMIP's vocabulary, 1.0 to 2.1: what clients ask and servers answer, both ways in both dialects.
//!
//! The same types serve the client and the server. What a version does not have is refused when it is written and read when it
//! comes: a server that says more than its version allows is understood.

pub mod attr_types;
pub mod attrs;
pub mod enums;
pub mod message;
pub mod objects;
pub mod ops;
pub mod params;
pub mod reasons;
#[cfg(test)]
mod sample;
mod structure;
pub mod types;

pub use attr_types::*;
pub use attrs::{Attribute, AttributeName, AttributeValue, Attributes, TemplateAttribute};
pub use enums::*;
pub use objects::*;
pub use ops::*;
pub use params::*;
pub use types::*;
