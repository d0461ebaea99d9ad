//! `mrhsm init`: make a token.

use serde::Serialize;

use super::args::{Global, Settings, label};
use super::exit::{Exit, Failure, Outcome};
use super::identity::{Given, NewIdentity};
use super::output::{Output, note};
use super::prompt::{self, SecretArg};
use super::tokens::{self, TokenView};
use crate::config::{StoreKind, TokenConfig};
use crate::secret::Secret;
use crate::token::files::TokenDir;
use crate::token::secrets::{self, Identity, NewToken, UserPin};

/// Options of `mrhsm init`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Label of the token, 32 bytes at most
    #[arg(long, value_name = "LABEL", value_parser = label())]
    pub label: String,

    /// SO PIN, 4 to 255 characters: file:PATH, env:NAME or the PIN itself [default: MRHSM_SO_PIN_FILE, else asked for twice]
    #[arg(long, value_name = "PIN")]
    pub sopin: Option<SecretArg>,

    /// User PIN that applications must give; asked for when no value follows [default: a random one, kept in the token directory]
    #[arg(long, value_name = "PIN", num_args = 0..=1)]
    pub userpin: Option<Option<SecretArg>>,

    #[command(flatten)]
    pub settings: Settings,
}

#[derive(Serialize)]
struct View {
    token: TokenView,
}

/// Makes the token.
pub fn run(args: &Args, global: &Global, out: &mut Output) -> Outcome {
    let dir = tokens::directory(global)?;
    if let Some(token) = dir.load()?.tokens.iter().find(|t| t.label == args.label) {
        return Err(Failure::new(
            Exit::Failed,
            format!(
                "There is a token '{}' in {} already (serial {}). Choose another label, or change that token with: mrhsm set -token '{}'",
                token.label,
                dir.path().display(),
                token.serial,
                token.label
            ),
        ));
    }
    let identity = Given::read(&args.settings)?.complete(&Identity::default())?;
    let so_pin = prompt::new_so_pin(args.sopin.as_ref())?;
    let user_pin = new_user_pin(args.userpin.as_ref())?;
    let token = make(
        &dir,
        &args.label,
        &so_pin,
        user_pin.as_ref(),
        &args.settings,
        &identity,
    )?;
    note(format!(
        "Token '{}' is made in {}, serial {}.",
        token.label,
        dir.path().display(),
        token.serial
    ));
    out.object(&View {
        token: TokenView::of(&token),
    });
    Ok(())
}

/// Makes a token with the directory's defaults and the given settings on top. Without a user PIN a random one is kept.
pub fn make(
    dir: &TokenDir,
    label: &str,
    so_pin: &Secret,
    user_pin: Option<&Secret>,
    options: &Settings,
    identity: &NewIdentity,
) -> Outcome<TokenConfig> {
    let mut settings = dir.load()?.defaults;
    settings.store = StoreKind::Kmip;
    if options.ip.is_none() && !settings.hosts.is_empty() {
        let hosts: Vec<String> = settings.hosts.iter().map(|host| host.to_string()).collect();
        note(format!(
            "The servers are those of [defaults] in mrhsm.conf, which no PIN authenticates: {}",
            hosts.join(", ")
        ));
    }
    let mut username = None;
    options.apply(&mut settings, &mut username);
    let user_pin = user_pin.map_or(UserPin::Random, UserPin::Given);
    Ok(secrets::create_token(
        dir,
        &NewToken {
            label,
            so_pin,
            user_pin,
            settings,
            username,
            identity: identity.change(),
        },
    )?)
}

/// The user PIN that `-userpin` gives or asks for; `None` without the option.
fn new_user_pin(option: Option<&Option<SecretArg>>) -> Outcome<Option<Secret>> {
    let pin = match option {
        None => return Ok(None),
        Some(Some(pin)) => pin.read("-userpin")?,
        Some(None) => prompt::ask_new_pin(
            "Enter user PIN (4-255 characters): ",
            "Please reenter user PIN: ",
            "-userpin file:PATH or -userpin env:NAME",
        )?,
    };
    prompt::check_new(&pin, "user PIN")?;
    Ok(Some(pin))
}
