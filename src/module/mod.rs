//! All logic behind the `C_*` functions, in safe types: slots, sessions, objects, operations.
//!
//! The methods of [`Module`] are named after the functions. Those that produce bytes take `room`, the length of the caller's
//! buffer, `None` for a size query, and answer an [`Output`](crate::mech::Output).

mod keys;
mod messages;
mod objects;
mod operations;
mod sessions;
mod slots;

use crate::error::Result;

/// The module between `C_Initialize` and `C_Finalize`.
pub struct Module {}

impl Module {
    /// Reads the token directory of the environment. No network.
    pub fn open() -> Result<Module> {
        Ok(Module {})
    }
}
