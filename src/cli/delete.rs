//! `mrhsm delete`: remove a token, with everything that the token directory holds of it.

use serde::Serialize;

use super::args::{Global, SoPin, TokenChoice};
use super::exit::{Exit, Failure, Outcome};
use super::output::{Output, note};
use super::prompt;
use super::tokens::{self, TokenView};
use crate::config::{StoreKind, TokenConfig};
use crate::store::{Filter, KeyStore};
use crate::token::files::TokenDir;
use crate::token::open_files;
use crate::token::pin::{TokenKey, Who};
use crate::token::secrets::TokenFiles;

/// Options of `mrhsm delete`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Do not ask for the token's label
    #[arg(long)]
    pub yes: bool,

    #[command(flatten)]
    pub pin: SoPin,

    #[command(flatten)]
    pub choice: TokenChoice,
}

#[derive(Serialize)]
struct View {
    token: TokenView,
}

/// Removes the token, after its label was typed.
pub fn run(args: &Args, global: &Global, out: &mut Output) -> Outcome {
    let dir = tokens::directory(global)?;
    let config = dir.load()?;
    let token = tokens::choose(&dir, &config, &args.choice)?;
    let pin = prompt::so_pin(args.pin.sopin.as_ref())?;
    let files = TokenFiles::of(&dir, &token.uuid);
    let key = files.unlock(Who::So, pin.expose())?;
    note(format!(
        "Token '{}' (serial {}) in {} is to be deleted.",
        token.label,
        token.serial,
        dir.path().display()
    ));
    consequences(&dir, token, &key).iter().for_each(note);
    if !args.yes {
        confirm(token)?;
    }
    files.remove(pin.expose())?;
    out.line(format!("Token '{}' is deleted", token.label));
    out.object(&View {
        token: TokenView::of(token),
    });
    Ok(())
}

fn confirm(token: &TokenConfig) -> Outcome {
    let typed = prompt::ask_text("Type the label of the token to delete it: ", "-yes")?;
    match typed == token.label {
        true => Ok(()),
        false => Err(Failure::new(
            Exit::Failed,
            format!(
                "'{}' is not the label of the token. Nothing was deleted.",
                typed.escape_debug()
            ),
        )),
    }
}

/// What is lost, and what is not.
fn consequences(dir: &TokenDir, token: &TokenConfig, key: &TokenKey) -> Vec<String> {
    let mut lines = Vec::new();
    let count = open_files(dir, token, key)
        .and_then(|files| files.map(|f| f.locate(&Filter::default())).transpose());
    match count {
        Ok(None) => {}
        Ok(Some(uids)) if uids.is_empty() => {}
        Ok(Some(uids)) => lines.push(format!(
            "{} objects in the token directory are lost, unless there is a backup.",
            uids.len()
        )),
        Err(e) => lines.push(format!(
            "Its objects in the token directory cannot be read ({e}); they are lost."
        )),
    }
    let cluster = token.cluster.as_deref().unwrap_or_default();
    match (token.settings.store, token.keys.core.is_some()) {
        (StoreKind::File, true) => lines.push(format!(
            "The keys of cluster '{cluster}' are among them. What its CLDB and DARE keys encrypt cannot be read without them."
        )),
        (StoreKind::File, false) => {}
        (StoreKind::Kmip, true) => lines.push(format!(
            "The keys of cluster '{cluster}' stay on the KMIP servers: mrhsm init, set and enable bring them back."
        )),
        (StoreKind::Kmip, false) => {}
    }
    if token.settings.store == StoreKind::Kmip {
        lines.push("Objects on KMIP servers stay there. Its client certificate and private key are removed from this directory.".into());
    }
    lines
}
