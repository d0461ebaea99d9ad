//! The TOML of `mrhsm.conf`: the shapes that serde reads, and the commented text that is written.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use super::{
    ClusterKey, ClusterKeys, Config, CryptoPolicy, FORMAT, Host, KeyPolicy, Settings, StoreKind,
    TokenConfig,
};
use crate::error::{Error, Result};
use crate::version::Version;

/// The whole file as it is read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(rename = "version")]
    _version: i64,
    #[serde(default)]
    defaults: Defaults,
    #[serde(default)]
    token: Vec<Token>,
}

/// `[defaults]`. serde cannot both flatten and refuse unknown keys, so the settings are listed here and in [`Token`].
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Defaults {
    store: Option<StoreKind>,
    #[serde(default)]
    hosts: Vec<Host>,
    #[serde(default, deserialize_with = "port")]
    port: Option<u16>,
    server_name: Option<String>,
    #[serde(default, deserialize_with = "pins")]
    pins: Vec<String>,
    #[serde(default, deserialize_with = "kmip_version")]
    kmip_version: Option<Version>,
    #[serde(default, deserialize_with = "timeout")]
    connect_millis: Option<u64>,
    #[serde(default, deserialize_with = "timeout")]
    deadline_millis: Option<u64>,
    crypto: Option<CryptoPolicy>,
    #[serde(default, deserialize_with = "cache_time")]
    key_cache_millis: Option<u64>,
    policy: Option<KeyPolicy>,
    #[serde(default, deserialize_with = "max_pin_failures")]
    max_pin_failures: Option<u32>,
}

/// One `[[token]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    #[serde(deserialize_with = "label")]
    label: String,
    serial: String,
    #[serde(deserialize_with = "uuid")]
    uuid: String,
    store: Option<StoreKind>,
    #[serde(default)]
    hosts: Vec<Host>,
    #[serde(default, deserialize_with = "port")]
    port: Option<u16>,
    server_name: Option<String>,
    #[serde(default, deserialize_with = "pins")]
    pins: Vec<String>,
    #[serde(default, deserialize_with = "kmip_version")]
    kmip_version: Option<Version>,
    #[serde(default, deserialize_with = "timeout")]
    connect_millis: Option<u64>,
    #[serde(default, deserialize_with = "timeout")]
    deadline_millis: Option<u64>,
    crypto: Option<CryptoPolicy>,
    #[serde(default, deserialize_with = "cache_time")]
    key_cache_millis: Option<u64>,
    policy: Option<KeyPolicy>,
    #[serde(default, deserialize_with = "max_pin_failures")]
    max_pin_failures: Option<u32>,
    username: Option<String>,
    #[serde(default)]
    moving: bool,
    #[serde(default)]
    enabled: bool,
    cluster: Option<String>,
    #[serde(default)]
    keys: ClusterKeys,
}

impl File {
    pub(super) fn into_config(self) -> Config {
        Config {
            defaults: self.defaults.into(),
            tokens: self.token.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<Defaults> for Settings {
    fn from(d: Defaults) -> Settings {
        let built_in = Settings::default();
        Settings {
            store: d.store.unwrap_or(built_in.store),
            hosts: d.hosts,
            port: d.port.unwrap_or(built_in.port),
            server_name: d.server_name,
            pins: d.pins,
            kmip_version: d.kmip_version,
            connect_millis: d.connect_millis.unwrap_or(built_in.connect_millis),
            deadline_millis: d.deadline_millis.unwrap_or(built_in.deadline_millis),
            crypto: d.crypto.unwrap_or(built_in.crypto),
            key_cache_millis: d.key_cache_millis.unwrap_or(built_in.key_cache_millis),
            policy: d.policy.unwrap_or(built_in.policy),
            max_pin_failures: d.max_pin_failures.unwrap_or(built_in.max_pin_failures),
        }
    }
}

impl From<Token> for TokenConfig {
    fn from(t: Token) -> TokenConfig {
        let settings = Defaults {
            store: t.store,
            hosts: t.hosts,
            port: t.port,
            server_name: t.server_name,
            pins: t.pins,
            kmip_version: t.kmip_version,
            connect_millis: t.connect_millis,
            deadline_millis: t.deadline_millis,
            crypto: t.crypto,
            key_cache_millis: t.key_cache_millis,
            policy: t.policy,
            max_pin_failures: t.max_pin_failures,
        };
        TokenConfig {
            label: t.label,
            serial: t.serial,
            uuid: t.uuid,
            settings: settings.into(),
            username: t.username,
            moving: t.moving,
            enabled: t.enabled,
            cluster: t.cluster,
            keys: t.keys,
        }
    }
}

impl<'de> Deserialize<'de> for Host {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Host, D::Error> {
        String::deserialize(d)?.parse().map_err(D::Error::custom)
    }
}

fn label<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    let label = String::deserialize(d)?;
    super::check_label(&label).map_err(D::Error::custom)?;
    Ok(label)
}

fn uuid<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    let uuid = String::deserialize(d)?;
    // The uuid becomes a path: nothing but hexadecimal digits and dashes may pass.
    super::serial_of(&uuid)
        .ok_or_else(|| D::Error::custom(format!("'{uuid}' is not a UUID in lower case")))?;
    Ok(uuid)
}

fn port<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u16>, D::Error> {
    super::check_port(i64::deserialize(d)?)
        .map(Some)
        .map_err(D::Error::custom)
}

fn kmip_version<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Version>, D::Error> {
    super::parse_kmip_version(&String::deserialize(d)?).map_err(D::Error::custom)
}

fn pins<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<String>, D::Error> {
    Vec::<String>::deserialize(d)?
        .iter()
        .map(|pin| super::certificate_hash(pin).map_err(D::Error::custom))
        .collect()
}

fn timeout<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u64>, D::Error> {
    millis(i64::deserialize(d)?, 1, 600_000).map_err(D::Error::custom)
}

fn cache_time<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u64>, D::Error> {
    millis(i64::deserialize(d)?, 0, 86_400_000).map_err(D::Error::custom)
}

fn max_pin_failures<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u32>, D::Error> {
    super::check_max_pin_failures(i64::deserialize(d)?)
        .map(Some)
        .map_err(D::Error::custom)
}

fn millis(value: i64, min: u64, max: u64) -> Result<Option<u64>, String> {
    let fits = u64::try_from(value)
        .ok()
        .filter(|v| (min..=max).contains(v));
    fits.map(Some)
        .ok_or_else(|| format!("{value} milliseconds are out of range: use {min} to {max}"))
}

const HEADER: &str = "\
# mrhsm.conf: the tokens of this directory. Written by mrhsm, which keeps the settings but not added comments.
# A token's settings are authenticated: after an edit by hand they are not used until the SO accepts them with
# mrhsm set -accept. Nothing in it is secret in the clear: keys are wrapped, and what opens them is in the folders
# beside it. Copy the whole directory to move it to another machine.
";

const DEFAULTS: &str = "
# What a new token gets when nothing else is said.
#   store             kmip: a group of KMIP hosts; file: this directory
#   hosts             names or addresses, each optionally with a port, tried in this order
#   server_name       name that the hosts' certificates must carry, when it is not the host's own
#   pins              SHA-256 hashes of the only certificates that the hosts may have
#   kmip_version      auto negotiates; 1.0 to 2.1 speaks that one only
#   connect_millis    longest time to connect to one host
#   deadline_millis   longest time for one call, all hosts included
#   crypto            auto, server (keys never leave the server) or local (keys are always fetched)
#   key_cache_millis  how long a fetched key is kept in locked memory; 0 keeps none
#   policy            default, strict (one role per key) or compatible (keys can be extracted through the API)
#   max_pin_failures  after how many wrong PINs in a row a PIN is locked; 0 is never
";

const FOOTER: &str =
    "\n# End of mrhsm.conf: a file that begins as this one does and lacks this line was cut off.\n";

/// True for a file that mrhsm wrote and that lost its end, which TOML alone may not show. Files written by hand need no end.
pub(super) fn is_cut_off(text: &str) -> bool {
    let ours = HEADER
        .lines()
        .next()
        .is_some_and(|first| text.starts_with(first));
    ours && !text.trim_end().ends_with(FOOTER.trim())
}

/// The text of a configuration.
pub(super) fn write(config: &Config) -> String {
    let mut out = String::from(HEADER);
    line(&mut out, "version", FORMAT);
    out.push_str(DEFAULTS);
    out.push_str("[defaults]\n");
    settings(&mut out, &config.defaults);
    for token in &config.tokens {
        write_token(&mut out, token);
    }
    out.push_str(FOOTER);
    out
}

impl TokenConfig {
    /// The text of this token alone: the same bytes for the same settings.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        line(&mut out, "version", FORMAT);
        write_token(&mut out, self);
        out
    }

    /// Reads what [`to_text`](TokenConfig::to_text) wrote, in this version or an earlier one; `path` is for messages only.
    pub fn parse(text: &str, path: &Path) -> Result<TokenConfig> {
        let mut tokens = Config::parse(text, path)?.tokens;
        match (tokens.pop(), tokens.is_empty()) {
            (Some(token), true) => Ok(token),
            _ => Err(Error::input(format!(
                "{} does not describe one token",
                path.display()
            ))),
        }
    }

    /// The settings in which this token differs from `accepted`, a line each.
    pub fn differences(&self, accepted: &TokenConfig) -> Vec<String> {
        let (now, then) = (flat(self), flat(accepted));
        let names: BTreeSet<&String> = now.keys().chain(then.keys()).collect();
        let shown = |value: Option<&String>| value.map_or("none", String::as_str).to_owned();
        names
            .into_iter()
            .filter(|name| now.get(*name) != then.get(*name))
            .map(|name| {
                format!(
                    "{name} is {}, accepted was {}",
                    shown(now.get(name)),
                    shown(then.get(name))
                )
            })
            .collect()
    }
}

/// Every setting of a token by its name in the file, however deep it stands there.
fn flat(token: &TokenConfig) -> BTreeMap<String, String> {
    fn walk(prefix: &str, value: &toml::Value, out: &mut BTreeMap<String, String>) {
        match value {
            toml::Value::Table(table) => table
                .iter()
                .for_each(|(name, value)| walk(&format!("{prefix}.{name}"), value, out)),
            toml::Value::Array(list) if list.iter().any(toml::Value::is_table) => {
                list.iter().for_each(|value| walk(prefix, value, out));
            }
            value => {
                let name = prefix.strip_prefix(".token").unwrap_or(prefix);
                out.insert(name.trim_start_matches('.').to_owned(), value.to_string());
            }
        }
    }
    let mut out = BTreeMap::new();
    if let Ok(table) = token.to_text().parse::<toml::Table>() {
        walk("", &toml::Value::Table(table), &mut out);
    }
    out
}

fn write_token(out: &mut String, token: &TokenConfig) {
    out.push_str("\n[[token]]\n");
    line(out, "label", quoted(&token.label));
    line(out, "serial", quoted(&token.serial));
    line(out, "uuid", quoted(&token.uuid));
    settings(out, &token.settings);
    if let Some(username) = &token.username {
        line(out, "username", quoted(username));
    }
    if token.moving {
        out.push_str("# mrhsm enable moves what the token directory holds to the hosts\n");
        line(out, "moving", true);
    }
    line(out, "enabled", token.enabled);
    if let Some(cluster) = &token.cluster {
        line(out, "cluster", quoted(cluster));
    }
    let keys = &token.keys;
    write_key(out, "core", "wraps the CLDB and DARE keys", &keys.core);
    write_key(
        out,
        "common",
        "the ecosystem's keys derive from it",
        &keys.common,
    );
    write_key(out, "cldb", "wrapped under the Core KEK", &keys.cldb);
    write_key(out, "dare", "wrapped under the Core KEK", &keys.dare);
}

fn write_key(out: &mut String, role: &str, comment: &str, key: &Option<ClusterKey>) {
    let Some(key) = key else { return };
    let _ = writeln!(out, "\n[token.keys.{role}] # {comment}");
    line(out, "uid", quoted(&key.uid));
    line(out, "checksum", quoted(&key.checksum));
    line(out, "generation", key.generation);
    if let Some(wrapped) = &key.wrapped {
        line(out, "wrapped", quoted(wrapped));
    }
    if key.format > 1 {
        line(out, "format", key.format);
    }
}

fn settings(out: &mut String, s: &Settings) {
    line(out, "store", quoted(&s.store.to_string()));
    let hosts: Vec<String> = s.hosts.iter().map(|h| quoted(&h.to_string())).collect();
    line(out, "hosts", format_args!("[{}]", hosts.join(", ")));
    line(out, "port", s.port);
    if let Some(name) = &s.server_name {
        line(out, "server_name", quoted(name));
    }
    if !s.pins.is_empty() {
        let pins: Vec<String> = s.pins.iter().map(|pin| quoted(pin)).collect();
        line(out, "pins", format_args!("[{}]", pins.join(", ")));
    }
    line(
        out,
        "kmip_version",
        quoted(&s.kmip_version.map_or("auto".into(), |v| v.to_string())),
    );
    line(out, "connect_millis", s.connect_millis);
    line(out, "deadline_millis", s.deadline_millis);
    line(out, "crypto", quoted(&s.crypto.to_string()));
    line(out, "key_cache_millis", s.key_cache_millis);
    line(out, "policy", quoted(&s.policy.to_string()));
    line(out, "max_pin_failures", s.max_pin_failures);
}

fn line(out: &mut String, key: &str, value: impl std::fmt::Display) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{key} = {value}");
}

/// A TOML basic string: quotes, backslashes and control characters escaped.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\U{:08X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
