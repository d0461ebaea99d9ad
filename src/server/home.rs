//! Where the embedded server keeps what it has: a directory that is a token directory with one file token in it.
//!
//! The token's PIN opens the token key, as in any file token, and a key of its own made of that seals the objects. So the
//! server's secrets are as safe as a file token's, by the same code: without a PIN given, a random one is kept beside
//! (`user.pin`, 0600).

use std::path::{Path, PathBuf};

use super::lock::DirLock;
use super::objects::Objects;
use crate::ck::CKR_PIN_INCORRECT;
use crate::config::{Settings, StoreKind, TokenConfig};
use crate::crypto::{Hash, kdf, rng};
use crate::env;
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;
use crate::storage;
use crate::token::files::{SERVED, TokenDir};
use crate::token::pin::{TokenKey, Who};
use crate::token::secrets::{IdentityChange, NewToken, TokenFiles, UserPin, create_token};

/// The label of the token that stands for the server.
const LABEL: &str = "mrhsm serve";

/// The server's directory.
pub struct Home(TokenDir);

/// Where a server is when nothing says otherwise: `/var/lib/mrhsm` for root, `~/.local/share/mrhsm` for others.
pub fn default_home() -> Result<PathBuf> {
    // Root's own directory is for a system's server; everybody else has one below home.
    match env::variable("HOME").filter(|home| Path::new(home) != Path::new("/root")) {
        None => Ok(PathBuf::from("/var/lib/mrhsm")),
        Some(home) => Ok(Path::new(&home).join(".local/share/mrhsm")),
    }
}

impl Home {
    /// The directory at `path`; nothing is read or made yet.
    pub fn at(path: &Path) -> Home {
        Home(TokenDir::at(path))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Opens the objects, in a database elsewhere if there is one, creating what is not there yet, and the key of the audit log's seals. `pin` is the one that was given;
    /// without one the kept one is used.
    pub fn open(
        &self,
        pin: Option<&Secret>,
        database: Option<storage::Connect<'_>>,
    ) -> Result<(Objects, Secret)> {
        let token = match self.token()? {
            Some(token) => token,
            None => {
                // Of many first starts at once, one makes the token.
                let _lock = DirLock::take(self.path())?;
                match self.token()? {
                    Some(token) => token,
                    None => self.make(pin)?,
                }
            }
        };
        let key = self.unlock(&token, pin)?;
        let objects = self.objects(&token, &key, database)?;
        Ok((objects, audit_key(&key)?))
    }

    /// Opens the objects of a server that was started before; `None` if there are none.
    pub fn existing(
        &self,
        pin: Option<&Secret>,
        database: Option<storage::Connect<'_>>,
    ) -> Result<Option<Objects>> {
        let Some(token) = self.token()? else {
            return Ok(None);
        };
        let path = self.path().join(&token.uuid).join(SERVED);
        if database.is_none() && !storage::open::exists(&path) {
            return Ok(None);
        }
        let key = self.unlock(&token, pin)?;
        self.objects(&token, &key, database).map(Some)
    }

    fn objects(
        &self,
        token: &TokenConfig,
        key: &TokenKey,
        database: Option<storage::Connect<'_>>,
    ) -> Result<Objects> {
        let seal = kdf::hkdf(Hash::Sha256, &[], key.expose(), b"mrhsm served objects", 32)?;
        let path = self.path().join(&token.uuid).join(SERVED);
        match database {
            Some(connect) => Objects::connect(connect, seal.expose()),
            None => Objects::open(&path, seal.expose()),
        }
    }

    /// The key of the audit log's seals; `None` where there is no PIN to open it with, or no server yet.
    pub fn audit_key(&self, pin: Option<&Secret>) -> Result<Option<Secret>> {
        let Some(token) = self.token()? else {
            return Ok(None);
        };
        let files = TokenFiles::of(&self.0, &token.uuid);
        if pin.is_none() && files.kept_user_pin()?.is_none() {
            return Ok(None);
        }
        audit_key(&self.unlock(&token, pin)?).map(Some)
    }

    fn token(&self) -> Result<Option<TokenConfig>> {
        let config = self.0.load()?;
        match config.tokens.as_slice() {
            [] => Ok(None),
            [token] if token.label == LABEL => Ok(Some(token.clone())),
            _ => Err(Error::input(format!(
                "{} is the token directory of clients: name another with -dir",
                self.path().display()
            ))),
        }
    }

    fn make(&self, pin: Option<&Secret>) -> Result<TokenConfig> {
        let settings = Settings {
            store: StoreKind::File,
            ..Settings::default()
        };
        let random = Secret::new(
            data_encoding::BASE32_NOPAD
                .encode(rng::bytes(20)?.expose())
                .into_bytes(),
        );
        let new = NewToken {
            label: LABEL,
            so_pin: pin.unwrap_or(&random),
            user_pin: pin.map_or(UserPin::Random, UserPin::Given),
            settings,
            username: None,
            identity: IdentityChange::default(),
        };
        create_token(&self.0, &new)
    }

    fn unlock(&self, token: &TokenConfig, pin: Option<&Secret>) -> Result<TokenKey> {
        let files = TokenFiles::of(&self.0, &token.uuid);
        if let Some(pin) = pin {
            return files.unlock(Who::User, pin.expose());
        }
        let kept = files.kept_user_pin()?.ok_or_else(|| {
            let message = format!(
                "no PIN is kept in {}: give it with -pin or MRHSM_PIN_FILE",
                self.path().display()
            );
            Error::new(Kind::Pkcs11, CKR_PIN_INCORRECT, message)
        })?;
        files.unlock(Who::User, kept.expose())
    }
}

fn audit_key(key: &TokenKey) -> Result<Secret> {
    kdf::hkdf(Hash::Sha256, &[], key.expose(), b"mrhsm audit log", 32)
}
