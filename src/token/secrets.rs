//! What a token keeps in its folder, and who may open it: making tokens, PINs, the client's identity.
//!
//! The `mrhsm` command and the module both work through [`TokenFiles`]; neither touches the files themselves.

use std::time::Duration;

use super::accepted::first_record;
use super::attempts::{self, Attempt, Failures};
use super::files::{
    ACCEPTED, CA_CERT, CLIENT_CERT, CLIENT_KEY, CREDENTIAL, CRL, TOKEN_KEY, TokenDir, USER_PIN,
    Writer,
};
use super::pin::{PinFile, TokenKey, Who, check_pin};
use crate::ck::{CKR_PIN_INCORRECT, CKR_TOKEN_NOT_PRESENT, CKR_USER_PIN_NOT_INITIALIZED};
use crate::config::{self, Settings, TokenConfig};
use crate::crypto::rng;
use crate::deadline;
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;

mod renew;
#[cfg(test)]
mod tests;

/// The user PIN a token gets.
#[derive(Clone, Copy, Debug)]
pub enum UserPin<'a> {
    /// None: `C_InitPIN` sets it later.
    None,
    /// A random one, kept in the token's folder for daemons that nobody types a PIN for.
    Random,
    /// This one, kept nowhere.
    Given(&'a Secret),
}

/// A token that shall be made.
#[derive(Debug)]
pub struct NewToken<'a> {
    /// Its label: UTF-8, at most 32 bytes.
    pub label: &'a str,
    /// The security officer's PIN.
    pub so_pin: &'a Secret,
    /// The user's PIN.
    pub user_pin: UserPin<'a>,
    /// Store type, hosts, policy; the `[defaults]` of the directory, changed by what the user said.
    pub settings: Settings,
    /// User name for servers that ask for one.
    pub username: Option<String>,
    /// What is known of the client's identity; more may come later.
    pub identity: IdentityChange<'a>,
}

/// What the client shows to its hosts, opened.
#[derive(Debug, Default)]
pub struct Identity {
    /// Certificate chain, PEM.
    pub certificate: Option<Vec<u8>>,
    /// Private key, as it was given to `set`.
    pub key: Option<Secret>,
    /// Certificates of the servers' authority, PEM; `None` uses the system's.
    pub ca: Option<Vec<u8>>,
    /// Revocation lists of the servers' authority; without any, revocation is not checked.
    pub crl: Option<Vec<u8>>,
    /// Password of the configured user name.
    pub password: Option<Secret>,
}

/// What happens to one part of the identity.
#[derive(Clone, Copy, Debug, Default)]
pub enum Part<'a> {
    /// It stays.
    #[default]
    Keep,
    /// It is removed.
    Remove,
    /// It becomes this.
    Set(&'a [u8]),
}

/// A change of the identity.
#[derive(Clone, Copy, Debug, Default)]
pub struct IdentityChange<'a> {
    /// Certificate chain, PEM.
    pub certificate: Part<'a>,
    /// Private key.
    pub key: Part<'a>,
    /// Certificates of the servers' authority, PEM.
    pub ca: Part<'a>,
    /// Revocation lists of the servers' authority.
    pub crl: Part<'a>,
    /// Password of the configured user name.
    pub password: Part<'a>,
}

/// Makes a token: its folder first, then its entry in `mrhsm.conf`. A crash between leaves a folder that nothing refers to,
/// never an entry without its secrets.
///
/// Errors: label or PIN out of range, the directory cannot be written.
pub fn create_token(dir: &TokenDir, new: &NewToken<'_>) -> Result<TokenConfig> {
    check_pin(new.so_pin.expose())?;
    let writer = dir.lock()?;
    let mut config = dir.load()?;
    let token = loop {
        let mut token = TokenConfig::new(new.label, &random_uuid()?, new.settings.clone())?;
        token.username.clone_from(&new.username);
        if config.tokens.iter().all(|t| t.slot() != token.slot()) {
            break token;
        }
    };
    let key = TokenKey::generate()?;
    let mut pins = PinFile::new(&key, new.so_pin.expose())?;
    let kept = set_user(&mut pins, &key, new.user_pin)?;
    let pins = pins.to_text()?;
    let identity = sealed(&key, &token.uuid, &new.identity)?;
    let record = first_record(&key, &token, &identity)?;
    let mut files: Vec<(&str, &[u8])> = vec![(TOKEN_KEY, pins.as_bytes()), (ACCEPTED, &record)];
    files.extend(kept.as_ref().map(|pin| (USER_PIN, pin.expose())));
    files.extend(
        identity
            .iter()
            .filter_map(|(name, content)| content.as_deref().map(|c| (*name, c))),
    );
    writer.make_folder(&token.uuid, &files)?;
    config.tokens.push(token.clone());
    writer.save(&config)?;
    Ok(token)
}

/// The folder of one token.
#[derive(Clone, Debug)]
pub struct TokenFiles {
    dir: TokenDir,
    uuid: String,
}

impl TokenFiles {
    /// The folder of the token with this uuid.
    pub fn of(dir: &TokenDir, uuid: &str) -> TokenFiles {
        TokenFiles {
            dir: dir.clone(),
            uuid: uuid.into(),
        }
    }

    /// The directory it is in.
    pub(super) fn dir(&self) -> &TokenDir {
        &self.dir
    }

    /// Its name.
    pub(super) fn uuid(&self) -> &str {
        &self.uuid
    }

    /// The token key, opened with a PIN. Says nothing about the configuration, which [`TokenFiles::trusted`] verifies.
    /// Errors: `CKR_PIN_INCORRECT`, `CKR_PIN_LOCKED`, `CKR_USER_PIN_NOT_INITIALIZED`, unreadable files.
    pub fn unlock(&self, who: Who, pin: &[u8]) -> Result<TokenKey> {
        let (_, key) = self.open(who, pin)?;
        Ok(self.adopt(key, who, pin))
    }

    /// The PINs and the token key, when it is this attempt's turn.
    fn open(&self, who: Who, pin: &[u8]) -> Result<(PinFile, TokenKey)> {
        let random = self.pins()?.is_random(who)?;
        let settings = self.settings()?;
        let attempt = Attempt {
            dir: &self.dir,
            uuid: &self.uuid,
            who,
            max: settings.max_pin_failures,
            random,
            deadline: deadline::after(Duration::from_millis(settings.deadline_millis)),
        };
        attempt.run(|| {
            // Read again: while this attempt waited, the PIN may have been changed.
            let pins = self.pins()?;
            let key = pins.unlock(who, pin)?;
            Ok((pins, key))
        })
    }

    /// The right to write, the PINs and the token key, for who knows a PIN. The PIN is checked before others have to wait.
    fn authorise(&self, who: Who, pin: &[u8]) -> Result<(Writer<'_>, PinFile, TokenKey)> {
        loop {
            let (checked, key) = self.open(who, pin)?;
            let writer = self.dir.lock()?;
            let pins = self.pins()?;
            if pins.has_same(who, &checked) {
                return Ok((writer, pins, key));
            }
        }
    }

    /// How many wrong PINs in a row were given.
    pub fn failures(&self) -> Result<Failures> {
        attempts::failures(&self.dir, &self.uuid)
    }

    /// What `mrhsm.conf` says of the token.
    fn settings(&self) -> Result<Settings> {
        let config = self.dir.load()?;
        Ok(match config.by_uuid(&self.uuid) {
            Some(token) => token.settings.clone(),
            None => config.defaults,
        })
    }

    /// True when the token has a user PIN.
    pub fn has_user_pin(&self) -> Result<bool> {
        Ok(self.pins()?.has_user())
    }

    /// The user PIN, when it is kept for unattended use.
    pub fn kept_user_pin(&self) -> Result<Option<Secret>> {
        let pin = self.dir.read(&self.uuid, USER_PIN)?;
        // An editor, or `echo`, has added the end of the line.
        Ok(pin.map(|pin| match pin.expose().trim_ascii_end() {
            trimmed if trimmed.len() < pin.len() => Secret::new(trimmed.to_vec()),
            _ => pin,
        }))
    }

    /// Replaces the SO PIN. Errors: `CKR_PIN_INCORRECT`, `CKR_PIN_LOCKED`, `CKR_PIN_LEN_RANGE`.
    pub fn set_so_pin(&self, old: &[u8], new: &[u8]) -> Result<()> {
        check_pin(new)?;
        let (writer, mut pins, key) = self.authorise(Who::So, old)?;
        pins.set(Who::So, &key, new)?;
        writer.write(&self.uuid, &[(TOKEN_KEY, Some(pins.to_text()?.as_bytes()))])
    }

    /// Replaces the user PIN (`C_SetPIN`). A kept PIN is forgotten: only random ones are kept. Errors as for the SO PIN.
    pub fn set_user_pin(&self, old: &[u8], new: UserPin<'_>) -> Result<()> {
        if let UserPin::Given(pin) = new {
            check_pin(pin.expose())?;
        }
        // `C_SetPIN` has no other word for it: no PIN is that of a user who has none.
        let (writer, pins, key) = self.authorise(Who::User, old).map_err(|e| match e.rv() {
            CKR_USER_PIN_NOT_INITIALIZED => e.with_rv(CKR_PIN_INCORRECT),
            _ => e,
        })?;
        self.write_user(&writer, pins, &key, new)
    }

    /// Sets the user PIN with the token key that the SO PIN opened (`C_InitPIN`), and unlocks it.
    pub fn init_user_pin(&self, key: &TokenKey, new: UserPin<'_>) -> Result<()> {
        if let UserPin::Given(pin) = new {
            check_pin(pin.expose())?;
        }
        let writer = self.dir.lock()?;
        let pins = self.pins()?;
        self.write_user(&writer, pins, key, new)?;
        attempts::forget(&self.dir, &self.uuid, Who::User)
    }

    /// The parts of the identity that anyone who reads the folder sees without a PIN, not verified: certificates, and whether there is a key.
    pub fn public_identity(&self) -> Result<PublicIdentity> {
        let plain = |name| {
            Ok::<_, Error>(
                self.dir
                    .read(&self.uuid, name)?
                    .map(|s| s.expose().to_vec()),
            )
        };
        Ok(PublicIdentity {
            certificate: plain(CLIENT_CERT)?,
            has_key: self.dir.read(&self.uuid, CLIENT_KEY)?.is_some(),
            ca: plain(CA_CERT)?,
            crl: plain(CRL)?,
            has_password: self.dir.read(&self.uuid, CREDENTIAL)?.is_some(),
        })
    }

    pub(super) fn pins(&self) -> Result<PinFile> {
        let content = self
            .dir
            .read(&self.uuid, TOKEN_KEY)?
            .ok_or_else(|| self.gone())?;
        PinFile::parse(
            content.expose(),
            &self.dir.path().join(&self.uuid).join(TOKEN_KEY),
        )
    }

    fn write_user(
        &self,
        writer: &Writer<'_>,
        mut pins: PinFile,
        key: &TokenKey,
        new: UserPin<'_>,
    ) -> Result<()> {
        let kept = set_user(&mut pins, key, new)?;
        self.write_user_files(writer, &pins, kept.as_ref())
    }

    fn write_user_files(
        &self,
        writer: &Writer<'_>,
        pins: &PinFile,
        kept: Option<&Secret>,
    ) -> Result<()> {
        let text = pins.to_text()?;
        writer.write(
            &self.uuid,
            &[
                (TOKEN_KEY, Some(text.as_bytes())),
                (USER_PIN, kept.map(Secret::expose)),
            ],
        )
    }

    pub(super) fn gone(&self) -> Error {
        let path = self.dir.path().join(&self.uuid).join(TOKEN_KEY);
        let message = format!(
            "{} is missing: copy the whole token directory, or restore it from a backup",
            path.display()
        );
        Error::new(Kind::File, CKR_TOKEN_NOT_PRESENT, message)
    }
}

/// What can be told of the identity without a PIN.
#[derive(Debug, Default)]
pub struct PublicIdentity {
    /// Certificate chain, PEM.
    pub certificate: Option<Vec<u8>>,
    /// Whether there is a private key.
    pub has_key: bool,
    /// Certificates of the servers' authority, PEM.
    pub ca: Option<Vec<u8>>,
    /// Revocation lists of the servers' authority.
    pub crl: Option<Vec<u8>>,
    /// Whether there is a password.
    pub has_password: bool,
}

/// Sets the user PIN; gives it back when it is to be kept.
fn set_user(pins: &mut PinFile, key: &TokenKey, new: UserPin<'_>) -> Result<Option<Secret>> {
    match new {
        UserPin::None => pins.clear_user(),
        UserPin::Given(pin) => pins.set(Who::User, key, pin.expose())?,
        UserPin::Random => {
            // 128 bits as text, so that it can also be typed.
            let pin = Secret::new(config::to_hex(rng::bytes(16)?.expose()).into_bytes());
            pins.set_random(Who::User, key, pin.expose())?;
            return Ok(Some(pin));
        }
    }
    Ok(None)
}

pub(super) type Files = Vec<(&'static str, Option<Vec<u8>>)>;

/// The files a change of identity writes or removes; what is secret is sealed.
pub(super) fn sealed(key: &TokenKey, uuid: &str, change: &IdentityChange<'_>) -> Result<Files> {
    let parts = [
        (CLIENT_CERT, change.certificate, false),
        (CLIENT_KEY, change.key, true),
        (CA_CERT, change.ca, false),
        (CRL, change.crl, false),
        (CREDENTIAL, change.password, true),
    ];
    let mut files = Files::new();
    for (name, part, secret) in parts {
        match part {
            Part::Keep => {}
            Part::Remove => files.push((name, None)),
            Part::Set(content) if secret => {
                files.push((name, Some(key.seal(uuid, name, content)?)))
            }
            Part::Set(content) => files.push((name, Some(content.to_vec()))),
        }
    }
    Ok(files)
}

/// A random UUID (version 4).
fn random_uuid() -> Result<String> {
    let random = rng::bytes(16)?;
    let mut bytes = random.expose().to_vec();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = config::to_hex(&bytes).to_lowercase();
    Ok([
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ]
    .join("-"))
}
