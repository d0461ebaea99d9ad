//! PINs: each wraps the same random token key, and the token key seals the token's secret files.
//!
//! A key derivation function ([`kdf`]) makes a wrapping key of a PIN, AES-KWP (RFC 5649) wraps the token key with it. The
//! integrity check of KWP detects a wrong PIN, so nothing is compared that could leak by timing. Wrong PINs that are given to a
//! program are counted and paced ([`attempts`](super::attempts)); whoever can read the file can try PINs on a copy, where only
//! Argon2id and a long PIN slow him down.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::ck::{
    CKR_FUNCTION_FAILED, CKR_GENERAL_ERROR, CKR_PIN_INCORRECT, CKR_PIN_LEN_RANGE,
    CKR_USER_PIN_NOT_INITIALIZED,
};
use crate::config::{from_hex, to_hex};
use crate::crypto::kw::{self, Wrapping};
use crate::crypto::seal::Sealer;
use crate::crypto::{Hash, kdf as hash_kdf, rng};
use crate::error::{Error, Kind, Result};
use crate::secret::{LockedSecret, Secret};

mod kdf;
#[cfg(test)]
mod tests;

use kdf::Cost;

/// Shortest PIN in bytes.
pub const PIN_MIN: usize = 4;
/// Longest PIN in bytes.
pub const PIN_MAX: usize = 255;
/// A PIN of fewer bytes is soon found by whoever can read the token directory.
pub const PIN_ADVISED: usize = 8;

const KEY_LEN: usize = 32;
const SALT_LEN: usize = 16;
/// First bytes of a sealed file, so that it is told from a file that somebody put there.
const SEALED: &[u8] = b"mrhsm sealed 2\n";
/// First bytes of a file that was sealed before configurations were authenticated.
const SEALED_1: &[u8] = b"mrhsm sealed 1\n";
/// Follows the token key inside an entry: the configuration of the token is authenticated, so a missing record of it is an error.
const AUTHENTICATED: u8 = 1;

/// Whose PIN it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The security officer, who changes the token.
    So,
    /// The user, who uses its keys.
    User,
}

impl Who {
    /// What a person calls the PIN.
    pub fn name(self) -> &'static str {
        match self {
            Who::So => "SO PIN",
            Who::User => "user PIN",
        }
    }
}

/// Checks the length of a new PIN.
pub fn check_pin(pin: &[u8]) -> Result<()> {
    if (PIN_MIN..=PIN_MAX).contains(&pin.len()) {
        return Ok(());
    }
    Err(Error::new(
        Kind::Input,
        CKR_PIN_LEN_RANGE,
        format!(
            "a PIN has {PIN_MIN} to {PIN_MAX} characters, this one {}",
            pin.len()
        ),
    ))
}

/// Copy of a new PIN, whose length it checks first.
pub fn new_pin(pin: &[u8]) -> Result<Secret> {
    check_pin(pin)?;
    Ok(Secret::new(pin.to_vec()))
}

/// The key that seals a token's secret files.
#[derive(Debug)]
pub struct TokenKey {
    secret: LockedSecret,
    authenticated: bool,
}

impl TokenKey {
    /// A new random key.
    pub fn generate() -> Result<TokenKey> {
        TokenKey::new(rng::bytes(KEY_LEN)?.expose(), true)
    }

    fn new(key: &[u8], authenticated: bool) -> Result<TokenKey> {
        Ok(TokenKey {
            secret: LockedSecret::new(key)?,
            authenticated,
        })
    }

    /// The same key in memory of its own.
    pub fn duplicate(&self) -> Result<TokenKey> {
        TokenKey::new(self.expose(), self.authenticated)
    }

    /// The key itself, for a store that seals its own files.
    pub fn expose(&self) -> &[u8] {
        self.secret.expose()
    }

    /// True when what the PIN opened says that the token's configuration is authenticated.
    pub fn is_authenticated(&self) -> bool {
        self.authenticated
    }

    /// The key of a token whose configuration is authenticated from now on.
    pub(super) fn authenticated(self) -> TokenKey {
        TokenKey {
            authenticated: true,
            ..self
        }
    }

    /// Seals the content of a file. It opens only as the file of this name of the token with this uuid.
    pub fn seal(&self, uuid: &str, name: &str, content: &[u8]) -> Result<Vec<u8>> {
        let sealed = Sealer::new(self.expose())?.seal(place(uuid, name).as_bytes(), content)?;
        Ok([SEALED, &sealed].concat())
    }

    /// Opens what [`TokenKey::seal`] made, also in earlier versions.
    pub fn open(&self, uuid: &str, name: &str, sealed: &[u8]) -> Result<Secret> {
        let damaged = format!(
            "{uuid}/{name} is damaged or of another token; set it again with mrhsm set, or restore it from a backup"
        );
        let (body, place) = match (sealed.strip_prefix(SEALED), sealed.strip_prefix(SEALED_1)) {
            (Some(body), _) => (body, place(uuid, name)),
            (_, Some(body)) => (body, format!("{uuid}/{name}")),
            _ => return Err(general(damaged)),
        };
        Sealer::new(self.expose())?
            .open(place.as_bytes(), body)
            .map_err(|_| general(damaged))
    }
}

/// What earlier versions made, for tests of tokens that they left.
#[cfg(test)]
impl TokenKey {
    pub(super) fn unmarked(key: &[u8]) -> TokenKey {
        TokenKey::new(key, false).unwrap()
    }

    pub(super) fn seal_by_earlier_version(
        &self,
        uuid: &str,
        name: &str,
        content: &[u8],
    ) -> Vec<u8> {
        let sealer = Sealer::new(self.expose()).unwrap();
        let place = format!("{uuid}/{name}");
        [SEALED_1, &sealer.seal(place.as_bytes(), content).unwrap()].concat()
    }
}

/// The associated data. The number keeps a file from passing for one that was sealed by an earlier version.
fn place(uuid: &str, name: &str) -> String {
    format!("2:{uuid}/{name}")
}

/// Whether these bytes look like what [`TokenKey::seal`] made.
pub fn is_sealed(content: &[u8]) -> bool {
    content.starts_with(SEALED) || is_sealed_by_earlier_version(content)
}

/// Whether these bytes look like what was sealed before configurations were authenticated.
pub(super) fn is_sealed_by_earlier_version(content: &[u8]) -> bool {
    content.starts_with(SEALED_1)
}

/// The content of `token.key`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinFile {
    version: u32,
    /// Tells the token key from another, hexadecimal: a PIN never wraps a key that is no longer the token's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    check: Option<String>,
    so: Wrapped,
    user: Option<Wrapped>,
}

/// The token key, wrapped under one PIN.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrapped {
    kdf: Kdf,
    /// Argon2 memory, KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    memory_kib: Option<u32>,
    /// Argon2 passes over the memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    passes: Option<u32>,
    /// Random, hexadecimal.
    salt: String,
    /// AES-KWP of the token key and, unless an earlier version wrapped it, [`AUTHENTICATED`]; hexadecimal.
    key: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Kdf {
    /// For a PIN that somebody chose.
    #[serde(rename = "argon2id")]
    Argon2id,
    /// For a random PIN.
    #[serde(rename = "hkdf-sha256")]
    Hkdf,
}

/// The format that is written; version 1 has entries without a mark, no `check`, and Argon2id only.
const VERSION: u32 = 2;

impl PinFile {
    /// Wraps `key` under a new SO PIN; there is no user PIN yet.
    pub fn new(key: &TokenKey, so_pin: &[u8]) -> Result<PinFile> {
        Ok(PinFile {
            version: VERSION,
            check: Some(check_of(key)?),
            so: Wrapped::new(key, Who::So, so_pin, Kdf::Argon2id)?,
            user: None,
        })
    }

    /// Reads the content of the file at `path` (the path is for messages only).
    pub fn parse(content: &[u8], path: &Path) -> Result<PinFile> {
        let damaged = |why: String| {
            general(format!(
                "{} is damaged ({why}): restore it from a backup",
                path.display()
            ))
        };
        let text = std::str::from_utf8(content).map_err(|_| damaged("it is not text".into()))?;
        let table: toml::Table = text
            .parse()
            .map_err(|e: toml::de::Error| damaged(e.message().into()))?;
        match table.get("version").and_then(toml::Value::as_integer) {
            Some(v) if (1..=i64::from(VERSION)).contains(&v) => {}
            Some(v) => {
                return Err(general(format!(
                    "{} has format version {v}, this mrhsm reads version {VERSION}: use a newer one",
                    path.display()
                )));
            }
            None => return Err(damaged("it has no version".into())),
        }
        table
            .try_into()
            .map_err(|e: toml::de::Error| damaged(e.message().into()))
    }

    /// The text of the file.
    pub fn to_text(&self) -> Result<String> {
        let body =
            toml::to_string(self).map_err(|e| general("token.key cannot be written").because(e))?;
        Ok(format!(
            "# The token key, wrapped under the SO PIN and the user PIN. Written by mrhsm.\n{body}"
        ))
    }

    /// What is in the file, a line each, without anything that helps to guess a PIN's key.
    pub fn describe(&self) -> Vec<String> {
        let entry = |who: Who, w: &Wrapped| {
            let kdf = match (w.kdf, w.cost()) {
                (Kdf::Hkdf, _) => "HKDF-SHA256 (a random PIN)".to_owned(),
                (Kdf::Argon2id, Some(c)) => {
                    format!("Argon2id, {} KiB, {} passes", c.memory_kib, c.passes)
                }
                (Kdf::Argon2id, None) => "Argon2id at a cost that is refused".to_owned(),
            };
            format!("token key wrapped under the {}: {kdf}", who.name())
        };
        let user = self
            .user
            .as_ref()
            .map_or_else(|| "no user PIN".into(), |w| entry(Who::User, w));
        vec![entry(Who::So, &self.so), user]
    }

    /// True when there is a user PIN.
    pub fn has_user(&self) -> bool {
        self.user.is_some()
    }

    /// The token key. Errors: `CKR_PIN_INCORRECT`; `CKR_USER_PIN_NOT_INITIALIZED` when there is no user PIN; `CKR_HOST_MEMORY`.
    pub fn unlock(&self, who: Who, pin: &[u8]) -> Result<TokenKey> {
        let key = self.entry(who)?.open(pin, who)?;
        match &self.check {
            Some(check) if *check != check_of(&key)? => Err(damaged(who)),
            _ => Ok(key),
        }
    }

    /// True when the PIN is a random one, which nobody guesses. Errors: `CKR_USER_PIN_NOT_INITIALIZED`.
    pub fn is_random(&self, who: Who) -> Result<bool> {
        Ok(self.entry(who)?.kdf == Kdf::Hkdf)
    }

    /// True when the PIN is the same as in `other`.
    pub fn has_same(&self, who: Who, other: &PinFile) -> bool {
        match who {
            Who::So => self.so == other.so,
            Who::User => self.user == other.user,
        }
    }

    /// Refuses a key that is not this token's any more, because it was initialised again meanwhile.
    pub fn check_key(&self, key: &TokenKey) -> Result<()> {
        match &self.check {
            Some(check) if *check != check_of(key)? => Err(Error::new(
                Kind::File,
                CKR_FUNCTION_FAILED,
                "the token was initialised again meanwhile: log in again",
            )),
            _ => Ok(()),
        }
    }

    /// Wraps `key` under a new PIN that somebody chose, in place of the old one if there is one.
    pub fn set(&mut self, who: Who, key: &TokenKey, pin: &[u8]) -> Result<()> {
        self.put(who, key, pin, Kdf::Argon2id)
    }

    /// The same with a random PIN of at least 128 bits.
    pub fn set_random(&mut self, who: Who, key: &TokenKey, pin: &[u8]) -> Result<()> {
        self.put(who, key, pin, Kdf::Hkdf)
    }

    fn put(&mut self, who: Who, key: &TokenKey, pin: &[u8], kdf: Kdf) -> Result<()> {
        self.check_key(key)?;
        let wrapped = Wrapped::new(key, who, pin, kdf)?;
        match who {
            Who::So => self.so = wrapped,
            Who::User => self.user = Some(wrapped),
        }
        self.version = VERSION;
        self.check = Some(check_of(key)?);
        Ok(())
    }

    fn entry(&self, who: Who) -> Result<&Wrapped> {
        match who {
            Who::So => Ok(&self.so),
            Who::User => self.user.as_ref().ok_or_else(|| {
                Error::new(
                    Kind::Pkcs11,
                    CKR_USER_PIN_NOT_INITIALIZED,
                    "the token has no user PIN: set one with C_InitPIN or mrhsm userpin -sopin",
                )
            }),
        }
    }

    /// Forgets the user PIN.
    pub fn clear_user(&mut self) {
        self.user = None;
    }

    /// Marks the entry of a PIN: what it opens says from now on that the token's configuration is authenticated.
    pub(super) fn mark(&mut self, who: Who, pin: &[u8]) -> Result<()> {
        let key = self.unlock(who, pin)?.authenticated();
        let entry = match who {
            Who::So => Some(&mut self.so),
            Who::User => self.user.as_mut(),
        };
        if let Some(entry) = entry {
            entry.key = wrap(&entry.kek(pin, who)?, &key)?;
        }
        self.version = VERSION;
        self.check = Some(check_of(&key)?);
        Ok(())
    }

    /// True when an entry has the length of a marked one.
    pub(super) fn has_mark(&self) -> bool {
        std::iter::once(&self.so)
            .chain(&self.user)
            .any(|entry| entry.key.len() != 2 * UNMARKED_LEN)
    }
}

/// Length of a wrapped token key without and with a mark: AES-KWP pads to whole blocks of eight bytes and adds one.
const UNMARKED_LEN: usize = KEY_LEN + 8;
const MARKED_LEN: usize = KEY_LEN + 16;

impl Wrapped {
    fn new(key: &TokenKey, who: Who, pin: &[u8], kdf: Kdf) -> Result<Wrapped> {
        check_pin(pin)?;
        if pin.len() < PIN_ADVISED {
            let who = who.name();
            crate::log!(
                Warn,
                "the new {who} has fewer than {PIN_ADVISED} characters"
            );
        }
        let salt = rng::bytes(SALT_LEN)?;
        let cost = match kdf {
            Kdf::Argon2id => Some(Cost::measured()?),
            Kdf::Hkdf => None,
        };
        let kek = match cost {
            Some(cost) => kdf::argon2id(pin, salt.expose(), cost)?,
            None => kdf::hkdf(pin, salt.expose())?,
        };
        Ok(Wrapped {
            kdf,
            memory_kib: cost.map(|c| c.memory_kib),
            passes: cost.map(|c| c.passes),
            salt: to_hex(salt.expose()),
            key: wrap(&kek, key)?,
        })
    }

    /// The cost of Argon2id; `None` where it is missing or refused.
    fn cost(&self) -> Option<Cost> {
        let cost = Cost {
            memory_kib: self.memory_kib?,
            passes: self.passes?,
        };
        cost.is_acceptable().then_some(cost)
    }

    fn open(&self, pin: &[u8], who: Who) -> Result<TokenKey> {
        let sealed = from_hex(&self.key)
            .filter(|k| [UNMARKED_LEN, MARKED_LEN].contains(&k.len()))
            .ok_or_else(|| damaged(who))?;
        if pin.len() > PIN_MAX {
            return Err(wrong(who));
        }
        let content = kw::unwrap(Wrapping::Kwp, self.kek(pin, who)?.expose(), &sealed)
            .map_err(|_| wrong(who))?;
        match content.expose().split_at_checked(KEY_LEN) {
            Some((key, [])) => TokenKey::new(key, false),
            Some((key, [AUTHENTICATED])) => TokenKey::new(key, true),
            _ => Err(damaged(who)),
        }
    }

    /// The key that a PIN makes with the parameters of this entry.
    fn kek(&self, pin: &[u8], who: Who) -> Result<Secret> {
        let salt = from_hex(&self.salt)
            .filter(|s| s.len() == SALT_LEN)
            .ok_or_else(|| damaged(who))?;
        match self.kdf {
            Kdf::Argon2id => kdf::argon2id(pin, &salt, self.cost().ok_or_else(|| damaged(who))?),
            Kdf::Hkdf => kdf::hkdf(pin, &salt),
        }
    }
}

/// The token key wrapped, with its mark if it has one.
fn wrap(kek: &Secret, key: &TokenKey) -> Result<String> {
    // Reserved in full, so that no copy is left in a buffer that grew.
    let mut content = Vec::with_capacity(KEY_LEN + 1);
    content.extend_from_slice(key.expose());
    content.extend(key.is_authenticated().then_some(AUTHENTICATED));
    let content = Secret::new(content);
    Ok(to_hex(&kw::wrap(
        Wrapping::Kwp,
        kek.expose(),
        content.expose(),
    )?))
}

/// What tells a token key from another and says nothing of it.
fn check_of(key: &TokenKey) -> Result<String> {
    let info = b"mrhsm token key check";
    Ok(to_hex(
        hash_kdf::hkdf(Hash::Sha256, &[], key.expose(), info, 16)?.expose(),
    ))
}

fn damaged(who: Who) -> Error {
    general(format!(
        "token.key is damaged (the {}'s entry): restore it from a backup",
        who.name()
    ))
}

fn wrong(who: Who) -> Error {
    Error::new(
        Kind::Input,
        CKR_PIN_INCORRECT,
        format!("the {} is wrong", who.name()),
    )
}

fn general(message: impl Into<String>) -> Error {
    Error::new(Kind::File, CKR_GENERAL_ERROR, message)
}
