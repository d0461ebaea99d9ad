//! The database that holds a server's objects instead of its directory.

use std::path::PathBuf;

use super::Postgres;
use super::exit::{Failure, Outcome};
use super::prompt::{self, SecretArg};
use crate::error::Error;

/// Options that name a database.
#[derive(clap::Args, Debug)]
pub struct Database {
    /// PostgreSQL database that holds the objects, shared with other servers: postgres://USER@HOST/DATABASE
    #[arg(long, value_name = "URL")]
    pub store: Option<String>,

    /// Password of the database: file:PATH, env:NAME or the password itself [default: MRHSM_STORE_PASSWORD_FILE]
    #[arg(long, value_name = "PASSWORD", requires = "store")]
    pub storepassword: Option<SecretArg>,

    /// Certificates that the database's certificate is verified with, PEM [default: those of the system]
    #[arg(long, value_name = "FILE", requires = "store")]
    pub storeca: Option<PathBuf>,
}

impl Database {
    /// What the options name; `None` for the directory itself.
    pub fn settings(&self) -> Outcome<Option<Postgres>> {
        let Some(url) = &self.store else {
            return Ok(None);
        };
        let schemes = ["postgres://", "postgresql://"];
        if !schemes.iter().any(|scheme| url.starts_with(scheme)) {
            return Err(Failure::usage(
                "-store: the address of a database begins with postgres://",
            ));
        }
        let read = |path: &PathBuf| {
            let message = format!("-storeca: {} cannot be read", path.display());
            std::fs::read(path).map_err(|e| Error::file(message, e))
        };
        Ok(Some(Postgres {
            url: url.clone(),
            password: prompt::given(
                self.storepassword.as_ref(),
                "-storepassword",
                prompt::STORE_PASSWORD_FILE,
            )?,
            ca: self.storeca.as_ref().map(read).transpose()?,
        }))
    }
}
