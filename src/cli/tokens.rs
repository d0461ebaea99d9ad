//! The token a command works on: found, opened with a PIN, connected to its servers.

use std::fmt::Write as _;
use std::sync::Arc;

use serde::Serialize;

use super::args::{Global, TokenChoice};
use super::cluster::Report;
use super::exit::{Exit, Failure, Outcome};
use super::output::{Output, note};
use super::prompt::{self, SecretArg};
use crate::config::{self, Config, StoreKind, TokenConfig};
use crate::store::KeyStore;
use crate::token::accepted::Trusted;
use crate::token::cluster::{self, Context, Moved, SETTLE};
use crate::token::files::TokenDir;
use crate::token::pin::{TokenKey, Who};
use crate::token::secrets::TokenFiles;
use crate::token::{open_files, open_hosts, open_store};

/// A token as JSON results name it.
#[derive(Debug, Serialize)]
pub struct TokenView {
    label: String,
    serial: String,
    slot: u32,
    uuid: String,
    store: String,
}

impl TokenView {
    /// The names of this token.
    pub fn of(token: &TokenConfig) -> TokenView {
        TokenView {
            label: token.label.clone(),
            serial: token.serial.clone(),
            slot: token.slot(),
            uuid: token.uuid.clone(),
            store: token.settings.store.to_string(),
        }
    }
}

impl TokenView {
    /// Its serial number.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// Its store type, as a title shows it.
    pub fn store(&self) -> &str {
        if self.store == "kmip" {
            "KMIP"
        } else {
            &self.store
        }
    }
}

/// The token directory the command works on.
pub fn directory(global: &Global) -> Outcome<TokenDir> {
    Ok(TokenDir::at(config::token_dir(global.tokendir.as_deref())?))
}

/// The token that `choice` names; without a choice the only one there is.
pub fn choose<'a>(
    dir: &TokenDir,
    config: &'a Config,
    choice: &TokenChoice,
) -> Outcome<&'a TokenConfig> {
    let place = dir.path().display();
    if config.tokens.is_empty() {
        return Err(Failure::not_ready(format!(
            "There is no token in {place}. Make one with: mrhsm init -label NAME"
        )));
    }
    let chosen: Vec<&TokenConfig> = config
        .tokens
        .iter()
        .filter(|t| choice.token.as_ref().is_none_or(|label| *label == t.label))
        .filter(|t| {
            choice
                .serial
                .as_ref()
                .is_none_or(|serial| serial.eq_ignore_ascii_case(&t.serial))
        })
        .collect();
    if let [token] = chosen[..] {
        return Ok(token);
    }
    let (mut message, listed) = match (&choice.token, &choice.serial) {
        (None, None) => (
            format!(
                "{place} has {} tokens. Choose one with -token LABEL or -serial SERIAL:",
                chosen.len()
            ),
            chosen,
        ),
        (Some(label), _) if !chosen.is_empty() => (
            format!(
                "{} tokens in {place} have the label '{label}'. Choose one with -serial SERIAL:",
                chosen.len()
            ),
            chosen,
        ),
        (label, serial) => {
            let wanted: Vec<String> = label
                .iter()
                .map(|l| format!("label '{l}'"))
                .chain(serial.iter().map(|s| format!("serial number {s}")))
                .collect();
            (
                format!(
                    "No token in {place} has {}. There are:",
                    wanted.join(" and ")
                ),
                config.tokens.iter().collect(),
            )
        }
    };
    for token in listed {
        let _ = write!(message, "\n  {} (serial {})", token.label, token.serial);
    }
    Err(Failure::not_ready(message))
}

/// The token key, opened with the SO PIN, given or asked for. The configuration is verified with it.
pub fn unlock(dir: &TokenDir, token: &TokenConfig, pin: Option<&SecretArg>) -> Outcome<TokenKey> {
    let key = unlock_only(dir, token, pin)?;
    trusted(dir, token, &key)?;
    Ok(key)
}

/// The token key, opened with the SO PIN, given or asked for. Nothing is known of the configuration.
pub fn unlock_only(
    dir: &TokenDir,
    token: &TokenConfig,
    pin: Option<&SecretArg>,
) -> Outcome<TokenKey> {
    let pin = prompt::so_pin(pin)?;
    Ok(TokenFiles::of(dir, &token.uuid).unlock(Who::So, pin.expose())?)
}

/// The configuration, verified.
pub fn trusted(dir: &TokenDir, token: &TokenConfig, key: &TokenKey) -> Outcome<Trusted> {
    Ok(TokenFiles::of(dir, &token.uuid).trusted(key)?)
}

/// The token key, opened with the user PIN: kept in the token directory, in `MRHSM_PIN_FILE`, or asked for.
pub fn unlock_as_user(dir: &TokenDir, token: &TokenConfig) -> Outcome<TokenKey> {
    if let Some(key) = unlock_unasked(dir, token)? {
        return Ok(key);
    }
    let pin = prompt::ask(
        &format!("Enter user PIN of token '{}': ", token.label),
        prompt::PIN_FILE,
    )?;
    Ok(TokenFiles::of(dir, &token.uuid).unlock(Who::User, pin.expose())?)
}

/// The token key, where the user PIN is in `MRHSM_PIN_FILE` or kept in the token directory.
pub fn unlock_unasked(dir: &TokenDir, token: &TokenConfig) -> Outcome<Option<TokenKey>> {
    let files = TokenFiles::of(dir, &token.uuid);
    let pin = match prompt::given(None, "", prompt::PIN_FILE)? {
        Some(pin) => Some(pin),
        None => files.kept_user_pin()?,
    };
    Ok(pin
        .map(|pin| files.unlock(Who::User, pin.expose()))
        .transpose()?)
}

/// Whether everything is set that a connection needs; the refusal names what to set.
pub fn check_settings(dir: &TokenDir, token: &TokenConfig) -> Outcome {
    if token.settings.store == StoreKind::File && !token.moving {
        return Ok(());
    }
    let identity = TokenFiles::of(dir, &token.uuid).public_identity()?;
    let missing: Vec<&str> = [
        ("-ip HOST", token.settings.hosts.is_empty()),
        ("-clientcert FILE", identity.certificate.is_none()),
        ("-clientkey FILE", !identity.has_key),
    ]
    .into_iter()
    .filter_map(|(option, missing)| missing.then_some(option))
    .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::not_ready(format!(
        "Token '{}' is not configured yet. Set what is missing: mrhsm set {}",
        token.label,
        missing.join(" ")
    )))
}

/// Moves what the token directory holds to the KMIP servers, where that is wished (`mrhsm set -storetype kmip`); without what they do
/// not take, if they may `leave` that. The token as it is then.
pub fn moved(
    dir: &TokenDir,
    token: &TokenConfig,
    key: &TokenKey,
    leave: bool,
    out: &mut Output,
) -> Outcome<TokenConfig> {
    if !token.moving {
        return Ok(token.clone());
    }
    check_settings(dir, token)?;
    let hosts = open_hosts(trusted(dir, token, key)?)?;
    // The last step may be all that is missing: then an empty store takes the place of the file that is gone.
    let files = open_files(dir, token, key)?;
    let context = Context {
        dir,
        uuid: &token.uuid,
        key,
        store: hosts.as_ref(),
        settle: SETTLE,
    };
    let mut report = Report::new(out);
    let Moved { objects, left } =
        cluster::migrate(&context, files.as_ref(), leave, &mut |event| {
            report.event(event)
        })?;
    left.iter().for_each(|left| {
        note(format!(
            "Not taken by the key manager: {}: {}",
            left.object, left.reason
        ))
    });
    let after = trusted(dir, token, key)?.config;
    let (label, count) = (&token.label, left.len());
    if after.settings.store == StoreKind::File {
        return Err(Failure::new(
            Exit::Refused,
            format!(
                "The key manager does not take {count} of the objects of token '{label}'. Nothing was removed: all objects stay in the \
                 token directory, and in use from there. Use another key manager, or destroy what is not taken, and run mrhsm enable \
                 again; or move without it: mrhsm enable -leave; or stay with files: mrhsm set -storetype file"
            ),
        ));
    }
    match count {
        0 => out.line(format!(
            "Moved {objects} objects of token '{label}' to the key manager; the token directory no longer holds them."
        )),
        _ => {
            out.line(format!("Moved {objects} objects of token '{label}' to the key manager."));
            note(format!(
                "{count} objects stay sealed in the token directory, where applications do not see them: mrhsm enable tries again to \
                 move them."
            ));
        }
    }
    Ok(after)
}

/// Whoever holds the token's keys. Nothing is sent yet.
pub fn store(dir: &TokenDir, token: &TokenConfig, key: &TokenKey) -> Outcome<Arc<dyn KeyStore>> {
    check_settings(dir, token)?;
    Ok(open_store(dir, trusted(dir, token, key)?, key)?)
}
