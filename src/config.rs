//! `mrhsm.conf`: which tokens there are and where their keys live. Nothing in it is secret in the clear.
//!
//! Reading goes in three steps, each with its own sentence for people: TOML syntax, the format's version, then the
//! fields. A field is checked while it is read, so that an error can name its line. Writing gives the same bytes for the
//! same content.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use data_encoding::{HEXUPPER, HEXUPPER_PERMISSIVE};
use serde::Deserialize;

use crate::env;
use crate::error::{Error, Result};
use crate::version::Version;

mod keys;
#[cfg(test)]
mod tests;
mod text;

pub use keys::{ClusterKey, ClusterKeys, WRAP_FORMAT};

/// Name of the configuration file in a token directory.
pub const FILE_NAME: &str = "mrhsm.conf";
/// The format this crate reads and writes.
pub const FORMAT: i64 = 1;
/// The port IANA registered for KMIP.
pub const KMIP_PORT: u16 = 5696;
/// The highest `max_pin_failures`.
pub const MAX_PIN_FAILURES: u32 = 1000;
/// Longest label PKCS#11 has room for, in bytes.
pub const LABEL_MAX: usize = 32;

/// Who holds a token's keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// A group of KMIP hosts.
    Kmip,
    /// The token directory itself.
    #[default]
    File,
}

/// Where keys are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CryptoPolicy {
    /// On the server where a key may not leave it and the server is able to; locally otherwise.
    #[default]
    Auto,
    /// Only on the server; values are never fetched.
    Server,
    /// Always locally; every key is fetched.
    Local,
}

/// Which uses of keys are allowed: the rules are in `token/policy.rs`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyPolicy {
    /// No sequence of calls that the policy knows reads a protected key; roles that documented clients combine stay combinable.
    #[default]
    Default,
    /// One role per key, and keys leave the token only wrapped under a key that is trusted for it.
    Strict,
    /// What the standard allows, for applications that need it: protected keys can be extracted through the API.
    Compatible,
}

/// One KMIP host: a name or an address, and its port when that is not the token's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host {
    /// Host name, IPv4 address, or IPv6 address without brackets.
    pub name: String,
    /// Its own port; `None` takes the token's.
    pub port: Option<u16>,
}

/// How to reach a group of hosts and what to do with keys: the settings that `[defaults]` and `[[token]]` share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Who holds the keys.
    pub store: StoreKind,
    /// Hosts, tried in this order.
    pub hosts: Vec<Host>,
    /// Port of hosts that name none.
    pub port: u16,
    /// Name that the hosts' certificates must carry; `None` expects each host's own.
    pub server_name: Option<String>,
    /// SHA-256 hashes, in hexadecimal, of the only certificates that the hosts may have; without
    /// any, CAs are trusted.
    pub pins: Vec<String>,
    /// The only KMIP version spoken; `None` negotiates.
    pub kmip_version: Option<Version>,
    /// Longest time to connect to one host, in milliseconds.
    pub connect_millis: u64,
    /// Longest time for one call, all hosts and retries included, in milliseconds.
    pub deadline_millis: u64,
    /// Where keys are used.
    pub crypto: CryptoPolicy,
    /// How long a fetched key is kept in locked memory, in milliseconds; 0 keeps none.
    pub key_cache_millis: u64,
    /// Which uses of keys are allowed.
    pub policy: KeyPolicy,
    /// After how many wrong PINs in a row a PIN is locked; 0 is never.
    pub max_pin_failures: u32,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            store: StoreKind::default(),
            hosts: Vec::new(),
            port: KMIP_PORT,
            server_name: None,
            pins: Vec::new(),
            kmip_version: None,
            connect_millis: 5_000,
            deadline_millis: 10_000,
            crypto: CryptoPolicy::default(),
            key_cache_millis: 300_000,
            policy: KeyPolicy::default(),
            max_pin_failures: 0,
        }
    }
}

impl Settings {
    /// Every host with its port, in the order they are tried.
    pub fn addresses(&self) -> impl Iterator<Item = (&str, u16)> {
        self.hosts
            .iter()
            .map(|h| (h.name.as_str(), h.port.unwrap_or(self.port)))
    }
}

/// One token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenConfig {
    /// Label: UTF-8, at most [`LABEL_MAX`] bytes.
    pub label: String,
    /// Serial number, 16 hexadecimal digits, derived from `uuid` ([`serial_of`]).
    pub serial: String,
    /// Name of the token's folder.
    pub uuid: String,
    /// Hosts, time-outs and policy.
    pub settings: Settings,
    /// User name for servers that ask for one beside the certificate; the password is sealed in the token's folder.
    pub username: Option<String>,
    /// The objects of the token directory are to go to the hosts: with `store = "file"` that is wished, with `store = "kmip"`
    /// the hosts have them all and what is left in the directory is to be destroyed.
    pub moving: bool,
    /// Whether the cluster's keys are in use (`mrhsm enable`).
    pub enabled: bool,
    /// Name of the cluster whose keys these are.
    pub cluster: Option<String>,
    /// The cluster's keys.
    pub keys: ClusterKeys,
}

/// The content of `mrhsm.conf`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// What a token gets that is made without saying more.
    pub defaults: Settings,
    /// The tokens, in the order they were made.
    pub tokens: Vec<TokenConfig>,
}

impl Config {
    /// Reads the text of the file at `path` (the path is for messages only).
    pub fn parse(text: &str, path: &Path) -> Result<Config> {
        let at = |e: toml::de::Error| {
            let line = e
                .span()
                .map(|s| text.bytes().take(s.start).filter(|b| *b == b'\n').count() + 1);
            let place = line.map(|l| format!(", line {l}")).unwrap_or_default();
            Error::input(format!(
                "{}{place}: {}; correct the file or restore it from a backup",
                path.display(),
                e.message().trim_end().replace('\n', ", ")
            ))
        };
        let table: toml::Table = text.parse().map_err(at)?;
        match table.get("version") {
            Some(toml::Value::Integer(FORMAT)) => {}
            Some(toml::Value::Integer(other)) => {
                return Err(Error::input(format!(
                    "{} has format version {other}, this mrhsm reads version {FORMAT}: use the mrhsm that wrote it, or a newer one",
                    path.display()
                )));
            }
            _ => {
                return Err(Error::input(format!(
                    "{} does not begin with 'version = {FORMAT}': it is no mrhsm configuration, or a damaged one; restore it from a backup",
                    path.display()
                )));
            }
        }
        if text::is_cut_off(text) {
            return Err(Error::input(format!(
                "{} was cut off: its last line is missing; restore it from a backup",
                path.display()
            )));
        }
        let file: text::File = toml::from_str(text).map_err(at)?;
        let config = file.into_config();
        config.check().map_err(|e| e.context(path.display()))?;
        Ok(config)
    }

    /// What no single field can tell: tokens that contradict each other.
    fn check(&self) -> Result<()> {
        let mut slots = BTreeSet::new();
        for token in &self.tokens {
            if serial_of(&token.uuid).is_none_or(|s| s != token.serial) {
                return Err(Error::input(format!(
                    "token '{}': serial {} does not belong to uuid {}; restore the file from a backup",
                    token.label, token.serial, token.uuid
                )));
            }
            if !slots.insert(slot_of(&token.serial)) {
                return Err(Error::input(format!(
                    "two tokens have the slot of serial {}; remove one [[token]]",
                    token.serial
                )));
            }
        }
        Ok(())
    }

    /// The file's text: the same bytes for the same content.
    pub fn to_text(&self) -> String {
        text::write(self)
    }

    /// The token with this serial number.
    pub fn token(&self, serial: &str) -> Option<&TokenConfig> {
        self.tokens
            .iter()
            .find(|t| t.serial.eq_ignore_ascii_case(serial))
    }

    /// The token whose folder has this name.
    pub fn by_uuid(&self, uuid: &str) -> Option<&TokenConfig> {
        self.tokens.iter().find(|t| t.uuid == uuid)
    }

    /// The token whose folder has this name, to change it.
    pub fn by_uuid_mut(&mut self, uuid: &str) -> Option<&mut TokenConfig> {
        self.tokens.iter_mut().find(|t| t.uuid == uuid)
    }
}

impl TokenConfig {
    /// A new token with the settings of `defaults`, not enabled.
    pub fn new(label: &str, uuid: &str, settings: Settings) -> Result<TokenConfig> {
        check_label(label).map_err(Error::input)?;
        let serial =
            serial_of(uuid).ok_or_else(|| Error::input(format!("'{uuid}' is not a UUID")))?;
        Ok(TokenConfig {
            label: label.into(),
            serial,
            uuid: uuid.into(),
            settings,
            username: None,
            moving: false,
            enabled: false,
            cluster: None,
            keys: ClusterKeys::default(),
        })
    }

    /// The token's slot ID: positive in 31 bits, because SunPKCS11 reads it as a Java int.
    pub fn slot(&self) -> u32 {
        slot_of(&self.serial)
    }
}

/// The serial number of a token: digits 19..23 and 24..36 of its UUID (SoftHSM's rule). `None` when it is not a UUID.
pub fn serial_of(uuid: &str) -> Option<String> {
    let dashes = [8, 13, 18, 23];
    let shape = uuid.len() == 36
        && uuid.bytes().enumerate().all(|(i, b)| {
            if dashes.contains(&i) {
                b == b'-'
            } else {
                matches!(b, b'0'..=b'9' | b'a'..=b'f')
            }
        });
    shape.then(|| format!("{}{}", &uuid[19..23], &uuid[24..36]))
}

/// The slot of a serial number: its last eight digits without the top bit; 0 when they are none.
fn slot_of(serial: &str) -> u32 {
    let tail = serial
        .get(serial.len().saturating_sub(8)..)
        .unwrap_or_default();
    u32::from_str_radix(tail, 16).unwrap_or(0) & 0x7fff_ffff
}

/// Checks a token label: 1 to [`LABEL_MAX`] bytes, no control characters.
pub fn check_label(label: &str) -> Result<(), String> {
    if label.trim().is_empty() {
        return Err("a token label must not be empty".into());
    }
    if label.len() > LABEL_MAX {
        return Err(format!(
            "label '{label}' is {} bytes long; PKCS#11 has room for {LABEL_MAX}: choose a shorter one",
            label.len()
        ));
    }
    if label.chars().any(char::is_control) {
        return Err(format!(
            "label {label:?} has control characters; use letters, digits and spaces"
        ));
    }
    Ok(())
}

/// Checks a port number from a command line or a file.
pub fn check_port(port: i64) -> Result<u16, String> {
    u16::try_from(port)
        .ok()
        .filter(|p| *p != 0)
        .ok_or_else(|| format!("port {port} is out of range: use 1 to 65535"))
}

/// Checks the number of wrong PINs after which a PIN is locked, from a command line or a file.
pub fn check_max_pin_failures(number: i64) -> Result<u32, String> {
    u32::try_from(number)
        .ok()
        .filter(|n| *n <= MAX_PIN_FAILURES)
        .ok_or_else(|| {
            format!(
                "{number} wrong PINs are out of range: use 1 to {MAX_PIN_FAILURES}, or 0 for never"
            )
        })
}

/// Reads a KMIP version: "auto" is `None`.
pub fn parse_kmip_version(text: &str) -> Result<Option<Version>> {
    if text == "auto" {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|e: Error| e.context("kmip_version is \"auto\" or a number"))
}

/// Reads a comma-separated list of hosts, as `-ip` takes it.
pub fn parse_hosts(list: &str) -> Result<Vec<Host>> {
    let mut hosts: Vec<Host> = Vec::new();
    for item in list.split(',') {
        let host: Host = item.trim().parse()?;
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    Ok(hosts)
}

impl FromStr for Host {
    type Err = Error;

    /// Accepts `name`, `name:port`, `1.2.3.4`, `1.2.3.4:port`, `::1`, `[::1]` and `[::1]:port`.
    fn from_str(s: &str) -> Result<Host> {
        let bad = |why: &str| {
            Error::input(format!(
                "'{s}' is not a host: {why}; write a name or an address, optionally with a port, as in kms.example.com:5696 or [fd00::1]:5696"
            ))
        };
        let port = |text: &str| {
            let number = text
                .parse::<i64>()
                .ok()
                .filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
            check_port(number.ok_or_else(|| bad("the port is not a number"))?)
                .map(Some)
                .map_err(|e| bad(&e))
        };
        let v6 = |text: &str| {
            text.parse::<Ipv6Addr>()
                .map(|a| a.to_string())
                .map_err(|_| bad("it is no IPv6 address"))
        };
        if let Some(rest) = s.strip_prefix('[') {
            let (address, tail) = rest.split_once(']').ok_or_else(|| bad("']' is missing"))?;
            let port = match tail.strip_prefix(':') {
                Some(p) => port(p)?,
                None if tail.is_empty() => None,
                None => return Err(bad("after ']' only ':' and a port may follow")),
            };
            return Ok(Host {
                name: v6(address)?,
                port,
            });
        }
        if s.matches(':').count() > 1 {
            return Ok(Host {
                name: v6(s)?,
                port: None,
            });
        }
        let (name, port) = match s.split_once(':') {
            Some((name, p)) => (name, port(p)?),
            None => (s, None),
        };
        if name.is_empty() {
            return Err(bad("the name is empty"));
        }
        // Underscores are not allowed in host names, but container networks hand them out.
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        if name.len() > 253 || !name.bytes().all(plain) || name.starts_with(['-', '.']) {
            return Err(bad("a name has letters, digits, '.' and '-'"));
        }
        Ok(Host {
            name: name.into(),
            port,
        })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) if self.name.contains(':') => write!(f, "[{}]:{port}", self.name),
            Some(port) => write!(f, "{}:{port}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl fmt::Display for StoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StoreKind::Kmip => "kmip",
            StoreKind::File => "file",
        })
    }
}

impl FromStr for StoreKind {
    type Err = Error;

    fn from_str(s: &str) -> Result<StoreKind> {
        match s {
            "kmip" => Ok(StoreKind::Kmip),
            "file" => Ok(StoreKind::File),
            _ => Err(Error::input(format!(
                "'{s}' is not a store type: use kmip or file"
            ))),
        }
    }
}

impl fmt::Display for CryptoPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CryptoPolicy::Auto => "auto",
            CryptoPolicy::Server => "server",
            CryptoPolicy::Local => "local",
        })
    }
}

impl FromStr for CryptoPolicy {
    type Err = Error;

    fn from_str(s: &str) -> Result<CryptoPolicy> {
        match s {
            "auto" => Ok(CryptoPolicy::Auto),
            "server" => Ok(CryptoPolicy::Server),
            "local" => Ok(CryptoPolicy::Local),
            _ => Err(Error::input(format!(
                "'{s}' is not a place to use keys: use auto, server or local"
            ))),
        }
    }
}

impl fmt::Display for KeyPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KeyPolicy::Default => "default",
            KeyPolicy::Strict => "strict",
            KeyPolicy::Compatible => "compatible",
        })
    }
}

impl FromStr for KeyPolicy {
    type Err = Error;

    fn from_str(s: &str) -> Result<KeyPolicy> {
        match s {
            "default" => Ok(KeyPolicy::Default),
            "strict" => Ok(KeyPolicy::Strict),
            "compatible" => Ok(KeyPolicy::Compatible),
            _ => Err(Error::input(format!(
                "'{s}' is not a key policy: use default, strict or compatible"
            ))),
        }
    }
}

/// SHA-256 of a certificate as upper-case hexadecimal digits, from digits with or without colons.
pub fn certificate_hash(text: &str) -> Result<String, String> {
    from_hex(&text.replace(':', ""))
        .filter(|hash| hash.len() == 32)
        .map(|hash| to_hex(&hash))
        .ok_or_else(|| {
            "a SHA-256 hash of 64 hexadecimal digits is expected, as 'openssl x509 -in FILE -noout -fingerprint -sha256' prints it"
                .into()
        })
}

/// Bytes as upper-case hexadecimal digits, the form checksums and wrapped keys are shown and kept in.
pub fn to_hex(bytes: &[u8]) -> String {
    HEXUPPER.encode(bytes)
}

/// The bytes of hexadecimal digits in either case; `None` for anything else.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    HEXUPPER_PERMISSIVE.decode(text.as_bytes()).ok()
}

/// The effective user of this process.
#[allow(
    unsafe_code,
    reason = "std has no geteuid, and /proc/self belongs to root when a process is not dumpable"
)]
pub(crate) fn effective_uid() -> u32 {
    // SAFETY: geteuid takes nothing, touches no memory of ours and cannot fail.
    unsafe { libc::geteuid() }
}

/// The token directory: what was given, else `MRHSM_TOKEN_DIR`, else `$MAPR_HOME/conf/tokens`, else `/etc/mrhsm/tokens` for
/// root and for a program with more rights than its caller, and `~/.config/mrhsm/tokens` for others. Empty variables count as unset.
pub fn token_dir(given: Option<&Path>) -> Result<PathBuf> {
    let variable = |name| env::variable(name).map(PathBuf::from);
    let path = resolve(given, variable, effective_uid() == 0 || env::is_secure())?;
    // The host may change its directory later.
    Ok(std::path::absolute(&path).unwrap_or(path))
}

fn resolve(
    given: Option<&Path>,
    variable: impl Fn(&'static str) -> Option<PathBuf>,
    system: bool,
) -> Result<PathBuf> {
    if let Some(path) = given
        .map(Path::to_path_buf)
        .or_else(|| variable("MRHSM_TOKEN_DIR"))
    {
        return Ok(path);
    }
    if let Some(home) = variable("MAPR_HOME") {
        return Ok(home.join("conf/tokens"));
    }
    if system {
        return Ok("/etc/mrhsm/tokens".into());
    }
    variable("HOME")
        .map(|home| home.join(".config/mrhsm/tokens"))
        .ok_or_else(|| {
            Error::input(
                "no token directory: HOME is not set; use --tokendir DIR or set MRHSM_TOKEN_DIR",
            )
        })
}
