//! `mrhsm sopin`: change the SO PIN.

use serde::Serialize;

use super::args::{Global, TokenChoice};
use super::exit::Outcome;
use super::output::Output;
use super::prompt::{self, SecretArg};
use super::tokens::{self, TokenView};
use crate::token::pin::Who;
use crate::token::secrets::TokenFiles;

/// Options of `mrhsm sopin`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Current SO PIN: file:PATH, env:NAME or the PIN itself [default: MRHSM_SO_PIN_FILE, else asked for]
    #[arg(long, value_name = "PIN")]
    pub oldsopin: Option<SecretArg>,

    /// New SO PIN, 4 to 255 characters: file:PATH, env:NAME or the PIN itself [default: asked for twice]
    #[arg(long, value_name = "PIN")]
    pub newsopin: Option<SecretArg>,

    #[command(flatten)]
    pub choice: TokenChoice,
}

#[derive(Serialize)]
struct View {
    token: TokenView,
}

/// Changes the SO PIN. The current one is checked before the new one is asked for.
pub fn run(args: &Args, global: &Global, out: &mut Output) -> Outcome {
    let dir = tokens::directory(global)?;
    let config = dir.load()?;
    let token = tokens::choose(&dir, &config, &args.choice)?;
    let files = TokenFiles::of(&dir, &token.uuid);
    let old = match prompt::given(args.oldsopin.as_ref(), "-oldsopin", prompt::SO_PIN_FILE)? {
        Some(pin) => pin,
        None => prompt::ask(
            "Current SO PIN: ",
            "-oldsopin file:PATH, -oldsopin env:NAME or MRHSM_SO_PIN_FILE",
        )?,
    };
    files.unlock(Who::So, old.expose())?;
    let new = match &args.newsopin {
        Some(pin) => pin.read("-newsopin")?,
        None => prompt::ask_new_pin(
            "Enter new SO PIN (4-255 characters): ",
            "Please reenter new SO PIN: ",
            "-newsopin file:PATH or -newsopin env:NAME",
        )?,
    };
    prompt::check_new(&new, "new SO PIN")?;
    files.set_so_pin(old.expose(), new.expose())?;
    out.line("New SO PIN is set successfully");
    out.object(&View {
        token: TokenView::of(token),
    });
    Ok(())
}
