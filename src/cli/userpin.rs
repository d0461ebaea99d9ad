//! `mrhsm userpin`: change the user PIN, or set it as the security officer.

use serde::Serialize;

use super::args::{Global, TokenChoice};
use super::exit::Outcome;
use super::output::{Output, note};
use super::prompt::{self, SecretArg};
use super::tokens::{self, TokenView};
use crate::secret::Secret;
use crate::token::pin::{TokenKey, Who};
use crate::token::secrets::{TokenFiles, UserPin};

/// Options of `mrhsm userpin`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Current user PIN: file:PATH, env:NAME or the PIN itself [default: MRHSM_PIN_FILE, else the kept one, else asked for]
    #[arg(long, value_name = "PIN")]
    pub olduserpin: Option<SecretArg>,

    /// New user PIN, 4 to 255 characters: file:PATH, env:NAME or the PIN itself [default: asked for twice]
    #[arg(long, value_name = "PIN")]
    pub newuserpin: Option<SecretArg>,

    /// Use a random PIN, kept in the token directory
    #[arg(long, conflicts_with = "newuserpin")]
    pub random: bool,

    /// Set it as the security officer, without the current one; unlocks it [default: MRHSM_SO_PIN_FILE, else asked for]
    #[arg(long, value_name = "PIN", num_args = 0..=1, conflicts_with = "olduserpin")]
    pub sopin: Option<Option<SecretArg>>,

    #[command(flatten)]
    pub choice: TokenChoice,
}

#[derive(Serialize)]
struct View {
    token: TokenView,
    /// Whether the PIN is kept in the token directory.
    kept: bool,
}

/// What permits the change.
enum Authority {
    /// The security officer's PIN opened the token key.
    So(TokenKey),
    /// The current user PIN.
    User(Secret),
}

/// Sets the user PIN. What permits it is checked before the new PIN is asked for.
pub fn run(args: &Args, global: &Global, out: &mut Output) -> Outcome {
    let dir = tokens::directory(global)?;
    let config = dir.load()?;
    let token = tokens::choose(&dir, &config, &args.choice)?;
    let files = TokenFiles::of(&dir, &token.uuid);
    let authority = match &args.sopin {
        Some(pin) => Authority::So(tokens::unlock_only(&dir, token, pin.as_ref())?),
        None => {
            let old = current(args, &files)?;
            files.unlock(Who::User, old.expose())?;
            Authority::User(old)
        }
    };
    let new = match (args.random, &args.newuserpin) {
        (true, _) => None,
        (false, Some(pin)) => Some(pin.read("-newuserpin")?),
        (false, None) => Some(prompt::ask_new_pin(
            "Enter new user PIN (4-255 characters): ",
            "Please reenter new user PIN: ",
            "-newuserpin file:PATH, -newuserpin env:NAME or -random",
        )?),
    };
    if let Some(new) = &new {
        prompt::check_new(new, "new user PIN")?;
    }
    let was_kept = files.kept_user_pin()?.is_some();
    let pin = new.as_ref().map_or(UserPin::Random, UserPin::Given);
    match &authority {
        Authority::So(key) => files.init_user_pin(key, pin)?,
        Authority::User(old) => files.set_user_pin(old.expose(), pin)?,
    }
    out.line("New user PIN is set successfully");
    if args.random {
        note("It is random, and kept in the token directory: applications need not be given one.");
    } else if was_kept {
        note(
            "The old one was kept in the token directory. The new one is not: applications must be given it.",
        );
    }
    out.object(&View {
        token: TokenView::of(token),
        kept: args.random,
    });
    Ok(())
}

fn current(args: &Args, files: &TokenFiles) -> Outcome<Secret> {
    if let Some(pin) = prompt::given(args.olduserpin.as_ref(), "-olduserpin", prompt::PIN_FILE)? {
        return Ok(pin);
    }
    if let Some(pin) = files.kept_user_pin()? {
        return Ok(pin);
    }
    prompt::ask(
        "Current user PIN: ",
        "-olduserpin file:PATH, -olduserpin env:NAME, MRHSM_PIN_FILE, or -sopin",
    )
}
