//! `mrhsm rekey`: replace a key encryption key by a new one.

use super::args::{Global, SoPin, TokenChoice};
use super::cluster::{KeysView, Report};
use super::exit::{Failure, Outcome};
use super::output::Output;
use super::tokens;
use crate::token::cluster::{self, Context, Role, SETTLE};

/// Options of `mrhsm rekey`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Which key: core (wraps the CLDB and DARE keys) or common
    #[arg(long, value_name = "KEY", value_enum, hide_possible_values = true)]
    pub keytype: KeyType,

    #[command(flatten)]
    pub pin: SoPin,

    #[command(flatten)]
    pub choice: TokenChoice,
}

/// The keys that can be replaced.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum KeyType {
    /// The Core KEK.
    Core,
    /// The Common KEK.
    Common,
}

/// Makes the new key.
pub fn run(args: &Args, global: &Global, out: &mut Output) -> Outcome {
    let dir = tokens::directory(global)?;
    let config = dir.load()?;
    let token = tokens::choose(&dir, &config, &args.choice)?;
    if token.keys.core.is_none() {
        return Err(Failure::not_ready(
            "There are no keys of a cluster yet. Make them with: mrhsm enable",
        ));
    }
    let key = tokens::unlock(&dir, token, args.pin.sopin.as_ref())?;
    let store = tokens::store(&dir, token, &key)?;
    let role = match args.keytype {
        KeyType::Core => Role::Core,
        KeyType::Common => Role::Common,
    };
    let context = Context {
        dir: &dir,
        uuid: &token.uuid,
        key: &key,
        store: store.as_ref(),
        settle: SETTLE,
    };
    let mut report = Report::new(out);
    let outcome = cluster::rekey(&context, role, &mut |event| report.event(event))?;
    report.copy_directory(&dir);
    out.object(&KeysView::of(token, &outcome));
    Ok(())
}
