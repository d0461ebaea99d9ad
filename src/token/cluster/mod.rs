//! The cluster's keys: two key encryption keys that a store holds (Core and Common), and two keys that the Core KEK wraps
//! (CLDB and DARE). Names on the store are known in advance, so that whatever a killed run left is found by the next one.

use std::path::Path;
use std::time::Duration;

use crate::config::{ClusterKey, ClusterKeys};
use crate::error::{Error, Result};
use crate::store::KeyStore;

mod enable;
mod keyfile;
mod migrate;
mod rekey;
mod roles;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod wrapped;

use super::files::TokenDir;
use super::pin::TokenKey;

pub use enable::{enable, set_active};
pub use keyfile::KeyFile;
pub use migrate::{Left, Moved, migrate};
pub use rekey::rekey;

/// Which of the cluster's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The key encryption key that wraps the CLDB and DARE keys.
    Core,
    /// The key encryption key from which the ecosystem's keys derive.
    Common,
    /// The CLDB key.
    Cldb,
    /// The master key of data at rest.
    Dare,
}

impl Role {
    /// All of them, in the order they are made.
    pub const ALL: [Role; 4] = [Role::Core, Role::Common, Role::Cldb, Role::Dare];

    /// The word in names, properties and `mrhsm.conf`.
    pub fn word(self) -> &'static str {
        match self {
            Role::Core => "core",
            Role::Common => "common",
            Role::Cldb => "cldb",
            Role::Dare => "dare",
        }
    }

    /// The role of a word.
    pub fn from_word(word: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|r| r.word() == word)
    }

    /// What people call the key; also its label.
    pub fn label(self) -> &'static str {
        match self {
            Role::Core => "Core KEK",
            Role::Common => "Common KEK",
            Role::Cldb => "CLDB key",
            Role::Dare => "DARE key",
        }
    }

    /// True for the keys that stay in the store; the others are also kept here, wrapped.
    pub fn is_kek(self) -> bool {
        matches!(self, Role::Core | Role::Common)
    }
}

impl ClusterKeys {
    /// The key of a role.
    pub fn get(&self, role: Role) -> Option<&ClusterKey> {
        match role {
            Role::Core => self.core.as_ref(),
            Role::Common => self.common.as_ref(),
            Role::Cldb => self.cldb.as_ref(),
            Role::Dare => self.dare.as_ref(),
        }
    }

    /// Sets the key of a role.
    pub fn set(&mut self, role: Role, key: ClusterKey) {
        let place = match role {
            Role::Core => &mut self.core,
            Role::Common => &mut self.common,
            Role::Cldb => &mut self.cldb,
            Role::Dare => &mut self.dare,
        };
        *place = Some(key);
    }
}

/// Property that marks a key of a cluster on the store; its value is [`Role::word`].
pub const ROLE_PROPERTY: &str = "role";

/// The group of a cluster's keys on the store.
pub fn group(cluster: &str) -> String {
    format!("mrhsm:{cluster}")
}

/// The name of a cluster's key on the store.
pub fn key_name(cluster: &str, role: Role, generation: u32) -> String {
    format!("mrhsm:{cluster}:{}:{generation}", role.word())
}

/// Where the work is done.
pub struct Context<'a> {
    /// The token directory.
    pub dir: &'a TokenDir,
    /// The token.
    pub uuid: &'a str,
    /// What its PIN opened: the configuration is verified with it before it is used or changed.
    pub key: &'a TokenKey,
    /// Whoever holds its keys.
    pub store: &'a dyn KeyStore,
    /// How long a new key waits for twins made by other nodes ([`SETTLE`]; tests need less).
    pub settle: Duration,
}

/// Long enough that two nodes which make a key of the same name at the same time see each other's, and agree.
pub const SETTLE: Duration = Duration::from_millis(1500);

/// What `enable` shall do.
#[derive(Debug, Default)]
pub struct Options {
    /// Name of the cluster.
    pub cluster: String,
    /// The cluster encrypts data at rest.
    pub dare: bool,
    /// Content of an existing `cldb.key`.
    pub cldb_file: Option<KeyFile>,
    /// Content of an existing `dare.master.key`.
    pub dare_file: Option<KeyFile>,
}

/// What happens on the way, for whoever prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// `enable` begins its work on this cluster.
    Begin {
        /// Its name.
        cluster: &'a str,
    },
    /// The store made a key.
    Made {
        /// Its role.
        role: Role,
        /// Its identifier on the store.
        uid: &'a str,
    },
    /// The store already held the key, and it is used.
    Adopted {
        /// Its role.
        role: Role,
        /// Its identifier on the store.
        uid: &'a str,
    },
    /// The key of a file was put on the store.
    Imported {
        /// Its role.
        role: Role,
        /// Its identifier on the store.
        uid: &'a str,
        /// The file.
        path: &'a Path,
    },
    /// The key was in the token directory and is on the key manager now.
    Moved {
        /// Its role.
        role: Role,
        /// Its identifier on the store.
        uid: &'a str,
    },
    /// The recorded key is on the store, Active, and the same.
    Verified {
        /// Its role.
        role: Role,
        /// Its identifier on the store.
        uid: &'a str,
    },
    /// The checksum of a key's value.
    Checksum {
        /// Its role.
        role: Role,
        /// SHA-256, upper-case hexadecimal.
        checksum: &'a str,
    },
    /// The key is in `mrhsm.conf`, wrapped under the Core KEK.
    Wrapped {
        /// Its role.
        role: Role,
    },
    /// Something a person should know that does not stop the work.
    Warning(&'a str),
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// False when everything was there already.
    pub changed: bool,
    /// The cluster.
    pub cluster: String,
    /// Its keys as they are in `mrhsm.conf` now.
    pub keys: ClusterKeys,
}

/// Reads the cluster name from `mapr-clusters.conf`: the first word of the first line that has one.
pub fn cluster_of_file(path: &Path) -> Result<String> {
    let text = std::fs::read_to_string(path).map_err(|e| {
        Error::file(
            format!(
                "cannot read the cluster name from {} (name it with -cluster)",
                path.display()
            ),
            e,
        )
    })?;
    cluster_of_text(&text).ok_or_else(|| {
        Error::input(format!(
            "{} names no cluster: name it with -cluster",
            path.display()
        ))
    })
}

fn cluster_of_text(text: &str) -> Option<String> {
    text.lines()
        .filter(|l| !l.trim_start().starts_with('#'))
        .find_map(|l| l.split_whitespace().next())
        .map(str::to_owned)
}

/// Checks a cluster name: it becomes part of names on the store.
pub fn check_cluster(name: &str) -> Result<()> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    if name.is_empty() || name.len() > 128 || !name.bytes().all(plain) {
        return Err(Error::input(format!(
            "'{name}' is not a cluster name: use up to 128 letters, digits, '.', '-' and '_'"
        )));
    }
    Ok(())
}
