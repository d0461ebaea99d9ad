//! Mechanisms and the operations that use them.

mod params;

pub use params::{Mechanism, MessageParams, Output, Params, PrfPart};
