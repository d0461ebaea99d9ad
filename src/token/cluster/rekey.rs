//! `rekey`: the next generation of a key encryption key.

use super::{Context, Event, Outcome, Role};
use crate::error::{Error, Result};

/// Makes the next generation of a key encryption key.
pub fn rekey(_ctx: &Context<'_>, _role: Role, _on_event: &mut dyn FnMut(Event<'_>)) -> Result<Outcome> {
    Err(Error::input("rekey is not there yet"))
}
