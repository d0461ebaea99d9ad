//! `mrhsm set`: change a token's KMIP configuration. Everything is checked before anything is written.

use serde::Serialize;

use super::args::{Global, Settings, SoPin, TokenChoice, truth};
use super::exit::{Exit, Failure, Outcome};
use super::identity::Given;
use super::output::{Output, note};
use super::tokens::{self, TokenView};
use crate::config::{StoreKind, TokenConfig};
use crate::store::{Filter, KeyStore};
use crate::token::files::TokenDir;
use crate::token::open_files;
use crate::token::pin::TokenKey;
use crate::token::secrets::TokenFiles;

/// Options of `mrhsm set`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    pub settings: Settings,

    /// Whether the cluster's keys on the key manager are in use: true or false
    #[arg(long, value_name = "BOOL", value_parser = truth(), hide_possible_values = true)]
    pub active: Option<bool>,

    /// Accept what was changed in mrhsm.conf and in the token's files without mrhsm: it is used from now on
    #[arg(long)]
    pub accept: bool,

    #[command(flatten)]
    pub pin: SoPin,

    #[command(flatten)]
    pub choice: TokenChoice,
}

#[derive(Serialize)]
struct View {
    token: TokenView,
    changed: bool,
}

/// Changes the configuration.
pub fn run(args: &Args, global: &Global, out: &mut Output) -> Outcome {
    if args.settings.is_empty() && args.active.is_none() && !args.accept {
        return Err(Failure::usage(
            "Nothing to set. Name at least one setting; 'mrhsm help set' lists them.",
        ));
    }
    let dir = tokens::directory(global)?;
    let config = dir.load()?;
    let token = tokens::choose(&dir, &config, &args.choice)?;
    check_active(token, args.active)?;
    let given = Given::read(&args.settings)?;
    let key = tokens::unlock_only(&dir, token, args.pin.sopin.as_ref())?;
    let changed = store(
        &dir,
        token,
        &key,
        given,
        &args.settings,
        args.active,
        args.accept,
    )?;
    let moving = dir
        .load()?
        .by_uuid(&token.uuid)
        .is_some_and(|t| t.moving && t.settings.store == StoreKind::File);
    match changed {
        true if moving => note(format!(
            "Token '{0}' is changed. Its keys stay in the token directory, and in use, until they are moved with: mrhsm enable",
            token.label
        )),
        true if args.settings.is_empty() => note(format!("Token '{}' is changed.", token.label)),
        true => note(format!(
            "Token '{}' is changed. Check its servers with: mrhsm info -config",
            token.label
        )),
        false => note(format!(
            "Token '{}' had these settings already; nothing is changed.",
            token.label
        )),
    }
    if args.settings.maxpinfailures.is_some_and(|max| max > 0) {
        note(
            "Note: the security officer unlocks a locked user PIN with mrhsm userpin -sopin. Nothing unlocks a locked SO PIN: \
             the token must be created anew, or its folder restored from a backup.",
        );
    }
    out.object(&View {
        token: TokenView::of(token),
        changed,
    });
    Ok(())
}

/// Writes settings and identity under one lock; false when both were so already. Unless it may `accept` it, a configuration that
/// was changed outside mrhsm is refused.
pub fn store(
    dir: &TokenDir,
    token: &TokenConfig,
    key: &TokenKey,
    given: Given,
    options: &Settings,
    active: Option<bool>,
    accept: bool,
) -> Outcome<bool> {
    let files = TokenFiles::of(dir, &token.uuid);
    let writer = dir.lock()?;
    let mut change = match accept {
        true => {
            let (change, differences) = files.accept(&writer, key)?;
            differences
                .iter()
                .for_each(|line| note(format!("Accepted: {line}")));
            change
        }
        false => files.change(&writer, key)?,
    };
    let before = change.config.clone();
    let entry = &mut change.config;
    options.apply(&mut entry.settings, &mut entry.username);
    if options.password.is_some() && entry.username.is_none() {
        return Err(Failure::usage(
            "-password needs -username: the servers are sent both.",
        ));
    }
    if options.storetype == Some(StoreKind::File) && before.settings.store == StoreKind::File {
        // Nothing was moved yet, so nothing is to be undone.
        entry.moving = false;
    }
    change_store(dir, key, &before, entry)?;
    check_active(entry, active)?;
    entry.enabled = active.unwrap_or(entry.enabled);
    let identity = given.complete(change.stored())?;
    let identity = identity.change_of(change.stored());
    Ok(change.commit(&identity)?)
}

/// What another store type means. Keys move from files to KMIP servers only, and not now: the wish is written down, and `enable`
/// carries it out.
fn change_store(
    dir: &TokenDir,
    key: &TokenKey,
    before: &TokenConfig,
    after: &mut TokenConfig,
) -> Outcome {
    match (before.settings.store, after.settings.store) {
        (StoreKind::File, StoreKind::Kmip) => {
            let objects = open_files(dir, before, key)?
                .map(|files| files.locate(&Filter::default()))
                .transpose()?;
            if before.keys.core.is_some() || objects.is_some_and(|uids| !uids.is_empty()) {
                after.settings.store = StoreKind::File;
                after.moving = true;
            }
        }
        (StoreKind::Kmip, StoreKind::File)
            if before.moving || before.keys.core.is_some() || !before.settings.hosts.is_empty() =>
        {
            return Err(Failure::new(
                Exit::Failed,
                format!(
                    "The keys of token '{}' are on its KMIP servers, and keys do not move from there into files. Make a new token for \
                     files: mrhsm init -label NAME -storetype file",
                    before.label
                ),
            ));
        }
        _ => {}
    }
    Ok(())
}

/// Keys that were never made cannot be put in use; those of a file token cannot be put out of use.
fn check_active(token: &TokenConfig, active: Option<bool>) -> Outcome {
    if active == Some(true) && token.keys.core.is_none() {
        return Err(Failure::not_ready(
            "There are no keys of a cluster yet. Make them with: mrhsm enable",
        ));
    }
    if active == Some(false) && token.enabled && token.settings.store == StoreKind::File {
        return Err(Failure::new(
            Exit::Failed,
            format!(
                "The keys of token '{}' are in the token directory itself: their use cannot be switched off.",
                token.label
            ),
        ));
    }
    Ok(())
}
