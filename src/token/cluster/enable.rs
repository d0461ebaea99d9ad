//! `enable`: every key made, found or imported on the store, proven, and written down in one step.

use super::{Context, Event, Options, Outcome};
use crate::error::{Error, Result};
use crate::token::files::TokenDir;

/// Puts the keys of a cluster in use.
pub fn enable(_ctx: &Context<'_>, _options: &Options, _on_event: &mut dyn FnMut(Event<'_>)) -> Result<Outcome> {
    Err(Error::input("enable is not there yet"))
}

/// Turns the use of the cluster's keys on or off; true when that changed anything.
pub fn set_active(_dir: &TokenDir, _uuid: &str, _active: bool) -> Result<bool> {
    Err(Error::input("enable is not there yet"))
}
