//! `mrhsm configure`: init, set, a check of the servers and enable in one call that asks nothing and can be repeated.

use std::path::PathBuf;

use super::args::{Global, Settings, label};
use super::enable::Plan;
use super::exit::{Exit, Failure, Outcome};
use super::identity::Given;
use super::output::{Output, note};
use super::prompt::{self, SecretArg};
use super::{info, init, set, tokens};
use crate::config::{StoreKind, TokenConfig};
use crate::secret::Secret;
use crate::store;
use crate::token::files::TokenDir;
use crate::token::pin::{TokenKey, Who};
use crate::token::secrets::{Identity, TokenFiles};

/// Options of `mrhsm configure`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Label of the token, which is made if there is none
    #[arg(long, value_name = "LABEL", value_parser = label())]
    pub label: String,

    /// SO PIN: file:PATH, env:NAME or the PIN itself [default: MRHSM_SO_PIN_FILE]
    #[arg(long, value_name = "PIN")]
    pub sopin: Option<SecretArg>,

    /// User PIN of a new token: file:PATH, env:NAME or the PIN itself [default: a random one, kept in the token directory]
    #[arg(long, value_name = "PIN")]
    pub userpin: Option<SecretArg>,

    /// Include the DARE master key: import dare.master.key, or make one
    #[arg(long)]
    pub dare: bool,

    /// Name of the cluster [default: the first word of mapr-clusters.conf, else the cluster it was enabled for before]
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,

    /// Directory of mapr-clusters.conf, cldb.key and dare.master.key [default: $MAPR_HOME/conf, else /opt/mapr/conf]
    #[arg(long, value_name = "DIR")]
    pub confdir: Option<PathBuf>,

    #[command(flatten)]
    pub settings: Settings,
}

/// Does whatever is not done yet. Each step leaves a state that the next run goes on from.
pub fn run(args: &Args, global: &Global, out: &mut Output) -> Outcome {
    let dir = tokens::directory(global)?;
    let so_pin = prompt::given(args.sopin.as_ref(), "-sopin", prompt::SO_PIN_FILE)?.ok_or_else(|| {
        Failure::new(
            Exit::Pin,
            "configure asks nothing: give the SO PIN with -sopin file:PATH, -sopin env:NAME or MRHSM_SO_PIN_FILE",
        )
    })?;
    let (token, key) = token(args, &dir, &so_pin)?;
    // Read now, so that a missing -dare is told before any server is asked.
    let plan = Plan::make(
        &token,
        args.confdir.as_deref(),
        args.cluster.as_deref(),
        args.dare,
    )?;
    tokens::check_settings(&dir, &token)?;
    check_servers(&dir, &token, &key)?;
    plan.carry_out(&dir, &token, &key, false, out)
}

/// The token with its settings: made, or found and brought up to date.
fn token(args: &Args, dir: &TokenDir, so_pin: &Secret) -> Outcome<(TokenConfig, TokenKey)> {
    let config = dir.load()?;
    let same: Vec<&TokenConfig> = config
        .tokens
        .iter()
        .filter(|t| t.label == args.label)
        .collect();
    let uuid = match same[..] {
        [] => {
            prompt::check_new(so_pin, "SO PIN")?;
            let user_pin = args
                .userpin
                .as_ref()
                .map(|pin| pin.read("-userpin"))
                .transpose()?;
            if let Some(pin) = &user_pin {
                prompt::check_new(pin, "user PIN")?;
            }
            let identity = Given::read(&args.settings)?.complete(&Identity::default())?;
            let token = init::make(
                dir,
                &args.label,
                so_pin,
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
            token.uuid
        }
        [token] => {
            let files = TokenFiles::of(dir, &token.uuid);
            let key = files.unlock(Who::So, so_pin.expose())?;
            let given = Given::read(&args.settings)?;
            match set::store(dir, token, &key, given, &args.settings, None, false)? {
                true => note(format!(
                    "Token '{}' (serial {}) is there already; its settings are changed.",
                    token.label, token.serial
                )),
                false => note(format!(
                    "Token '{}' (serial {}) is there already, with these settings.",
                    token.label, token.serial
                )),
            }
            token.uuid.clone()
        }
        _ => {
            return Err(Failure::not_ready(format!(
                "{} tokens in {} have the label '{}'. Configure one of them with: mrhsm set -serial SERIAL, mrhsm enable -serial SERIAL",
                same.len(),
                dir.path().display(),
                args.label
            )));
        }
    };
    let config = dir.load()?;
    let token = config.by_uuid(&uuid).cloned().ok_or_else(|| {
        Failure::new(
            Exit::Failed,
            format!(
                "Token '{}' was removed meanwhile. Run the command again.",
                args.label
            ),
        )
    })?;
    let key = TokenFiles::of(dir, &token.uuid).unlock(Who::So, so_pin.expose())?;
    Ok((token, key))
}

/// Says how every server answers; at least one must.
fn check_servers(dir: &TokenDir, token: &TokenConfig, key: &TokenKey) -> Outcome {
    if token.settings.store == StoreKind::File && !token.moving {
        return Ok(());
    }
    let trusted = tokens::trusted(dir, token, key)?;
    let network = store::network(&trusted.config, trusted.identity.into())?;
    let answers = info::ask_all(&trusted.config, &network);
    for server in &answers {
        note(server.sentence());
    }
    if answers.iter().any(info::HostView::is_active) {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Unreachable,
        "No KMIP server is active. Mend the above and run the same command again; it goes on from here.",
    ))
}
