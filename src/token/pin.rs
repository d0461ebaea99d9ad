//! PINs: each wraps the same random token key, and the token key seals the token's secret files.
//!
//! Argon2id makes a wrapping key of a PIN, AES-KWP (RFC 5649) wraps the token key with it. The integrity check of KWP tells a
//! wrong PIN, so nothing is compared that could leak by timing. There is no counter of failed attempts: whoever can read
//! the file can try PINs on a copy of it, where no counter counts. What slows him down is Argon2id and a good PIN.

use std::path::Path;

use argon2::{Algorithm, Argon2, Params};
use serde::{Deserialize, Serialize};

use crate::ck::{
    CKR_GENERAL_ERROR, CKR_PIN_INCORRECT, CKR_PIN_LEN_RANGE, CKR_USER_PIN_NOT_INITIALIZED,
};
use crate::config::{from_hex, to_hex};
use crate::crypto::kw::{self, Wrapping};
use crate::crypto::rng;
use crate::crypto::seal::Sealer;
use crate::error::{Error, Kind, Result};
use crate::secret::{LockedSecret, Secret};

#[cfg(test)]
mod tests;

/// Shortest PIN in bytes.
pub const PIN_MIN: usize = 4;
/// Longest PIN in bytes.
pub const PIN_MAX: usize = 255;

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
    fn name(self) -> &'static str {
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
    so: Wrapped,
    user: Option<Wrapped>,
}

/// The token key, wrapped under one PIN.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrapped {
    kdf: Kdf,
    /// Argon2 memory, KiB.
    memory_kib: u32,
    /// Argon2 passes over the memory.
    passes: u32,
    /// Random, hexadecimal.
    salt: String,
    /// AES-KWP of the token key and, unless an earlier version wrapped it, [`AUTHENTICATED`]; hexadecimal.
    key: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kdf {
    Argon2id,
}

/// About 60 ms on one core of a current machine. Tests open tokens by the hundred.
const MEMORY_KIB: u32 = if cfg!(any(test, fuzzing)) {
    64
} else {
    32 * 1024
};
const PASSES: u32 = if cfg!(any(test, fuzzing)) { 1 } else { 3 };
/// What a file may ask of us: enough for any stronger choice of tomorrow, too little to stop a machine.
const MEMORY_KIB_MAX: u32 = 1024 * 1024;
const PASSES_MAX: u32 = 32;

/// The format that is written; version 1 has entries without a mark.
const VERSION: u32 = 2;

impl PinFile {
    /// Wraps `key` under a new SO PIN; there is no user PIN yet.
    pub fn new(key: &TokenKey, so_pin: &[u8]) -> Result<PinFile> {
        Ok(PinFile {
            version: VERSION,
            so: Wrapped::new(key, so_pin)?,
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
            format!(
                "token key wrapped under the {}: {:?}, {} KiB, {} passes",
                who.name(),
                w.kdf,
                w.memory_kib,
                w.passes
            )
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

    /// The token key. Errors: `CKR_PIN_INCORRECT`; `CKR_USER_PIN_NOT_INITIALIZED` when there is no user PIN.
    pub fn unlock(&self, who: Who, pin: &[u8]) -> Result<TokenKey> {
        let wrapped = match who {
            Who::So => &self.so,
            Who::User => self.user.as_ref().ok_or_else(|| {
                Error::new(
                    Kind::Pkcs11,
                    CKR_USER_PIN_NOT_INITIALIZED,
                    "the token has no user PIN: set one with C_InitPIN or mrhsm init",
                )
            })?,
        };
        wrapped.open(pin, who)
    }

    /// Wraps `key` under a new PIN, in place of the old one if there is one.
    pub fn set(&mut self, who: Who, key: &TokenKey, pin: &[u8]) -> Result<()> {
        let wrapped = Wrapped::new(key, pin)?;
        self.version = VERSION;
        match who {
            Who::So => self.so = wrapped,
            Who::User => self.user = Some(wrapped),
        }
        Ok(())
    }

    /// Forgets the user PIN.
    pub fn clear_user(&mut self) {
        self.user = None;
    }

    /// Marks the entry of a PIN: what it opens says from now on that the token's configuration is authenticated.
    pub(super) fn mark(&mut self, who: Who, pin: &[u8]) -> Result<()> {
        let entry = match who {
            Who::So => Some(&mut self.so),
            Who::User => self.user.as_mut(),
        };
        self.version = VERSION;
        entry.map_or(Ok(()), |entry| entry.mark(pin, who))
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
    fn new(key: &TokenKey, pin: &[u8]) -> Result<Wrapped> {
        check_pin(pin)?;
        let salt = rng::bytes(SALT_LEN)?;
        let kek = derive(pin, salt.expose(), MEMORY_KIB, PASSES)?;
        Ok(Wrapped {
            kdf: Kdf::Argon2id,
            memory_kib: MEMORY_KIB,
            passes: PASSES,
            salt: to_hex(salt.expose()),
            key: wrap(&kek, key)?,
        })
    }

    fn mark(&mut self, pin: &[u8], who: Who) -> Result<()> {
        let key = self.open(pin, who)?.authenticated();
        self.key = wrap(&self.kek(pin, who)?, &key)?;
        Ok(())
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
        let Kdf::Argon2id = self.kdf;
        if !(8..=MEMORY_KIB_MAX).contains(&self.memory_kib)
            || !(1..=PASSES_MAX).contains(&self.passes)
        {
            return Err(damaged(who));
        }
        let salt = from_hex(&self.salt)
            .filter(|s| s.len() == SALT_LEN)
            .ok_or_else(|| damaged(who))?;
        derive(pin, &salt, self.memory_kib, self.passes)
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

fn derive(pin: &[u8], salt: &[u8], memory_kib: u32, passes: u32) -> Result<Secret> {
    let bad = |_| general("the PIN cannot be stretched");
    let params = Params::new(memory_kib, passes, 1, Some(KEY_LEN)).map_err(bad)?;
    let mut out = vec![0; KEY_LEN];
    let done = Argon2::new(Algorithm::Argon2id, argon2::Version::V0x13, params)
        .hash_password_into(pin, salt, &mut out);
    let key = Secret::new(out);
    done.map_err(bad)?;
    Ok(key)
}

fn general(message: impl Into<String>) -> Error {
    Error::new(Kind::File, CKR_GENERAL_ERROR, message)
}
