//! A token as `info` opens it: with whichever PIN is available, and whether its configuration is the accepted one.

use serde::Serialize;

use super::exit::Outcome;
use super::tokens;
use crate::config::{StoreKind, TokenConfig};
use crate::error::{Error, Kind};
use crate::token::accepted::Trusted;
use crate::token::files::TokenDir;
use crate::token::pin::TokenKey;
use crate::token::secrets::TokenFiles;

/// What a PIN says of a token's configuration.
pub enum Opened {
    /// No PIN was there.
    Closed,
    /// It was changed outside mrhsm.
    Refused(Error),
    /// It is the one that was accepted.
    Accepted {
        key: TokenKey,
        trusted: Box<Trusted>,
    },
}

impl Opened {
    /// Opens the token with the user PIN. Where servers are to be asked, the PIN is asked for too.
    pub fn of(dir: &TokenDir, token: &TokenConfig, asks_servers: bool) -> Outcome<Opened> {
        let key = match asks_servers && why_not_asked(dir, token)?.is_none() {
            true => Some(tokens::unlock_as_user(dir, token)?),
            false if asks_servers => tokens::unlock_unasked(dir, token)?,
            // The keys are shown whatever PIN there is.
            false => tokens::unlock_unasked(dir, token).unwrap_or_default(),
        };
        let Some(key) = key else {
            return Ok(Opened::Closed);
        };
        match TokenFiles::of(dir, &token.uuid).trusted(&key) {
            Ok(trusted) => Ok(Opened::Accepted {
                key,
                trusted: Box::new(trusted),
            }),
            Err(e) if e.kind() == Kind::Changed => Ok(Opened::Refused(e)),
            Err(e) => Err(e.into()),
        }
    }

    /// As JSON shows it.
    pub fn view(&self) -> Authenticated {
        match self {
            Opened::Closed => Authenticated::default(),
            Opened::Refused(_) => Authenticated {
                authenticated: Some(false),
                settings_version: None,
            },
            Opened::Accepted { trusted, .. } => Authenticated {
                authenticated: Some(true),
                settings_version: trusted.version(),
            },
        }
    }

    /// The accepted settings, if a PIN was available.
    pub fn config(&self) -> Option<&TokenConfig> {
        match self {
            Opened::Accepted { trusted, .. } => Some(&trusted.config),
            Opened::Closed | Opened::Refused(_) => None,
        }
    }

    /// What a person must know; nothing when all is as it should be.
    pub fn sentence(&self) -> Option<&'static str> {
        match self {
            Opened::Closed => Some("not verified, because no user PIN is kept or given"),
            Opened::Refused(_) => Some("changed outside mrhsm, not used"),
            Opened::Accepted { .. } => None,
        }
    }
}

/// Whether what is shown is what was accepted.
#[derive(Default, Serialize)]
pub struct Authenticated {
    /// `None` without a PIN.
    authenticated: Option<bool>,
    /// Counts the changes.
    settings_version: Option<u64>,
}

/// Whether a token reaches KMIP servers at all.
pub fn uses_servers(token: &TokenConfig) -> bool {
    !token.settings.hosts.is_empty() && (token.settings.store == StoreKind::Kmip || token.moving)
}

/// What keeps the servers of a token from being asked.
pub fn why_not_asked(dir: &TokenDir, token: &TokenConfig) -> Outcome<Option<&'static str>> {
    if !uses_servers(token) {
        return Ok(Some("it uses none"));
    }
    if token.username.is_some() {
        return Ok(None);
    }
    let public = TokenFiles::of(dir, &token.uuid).public_identity()?;
    Ok((public.certificate.is_none() || !public.has_key).then_some(
        "neither a client certificate (mrhsm set -clientcert FILE -clientkey FILE) nor a user name (-username NAME -password PASS) is set",
    ))
}
