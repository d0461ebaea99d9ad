//! Options that several commands share, and the values they accept.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use clap::builder::{BoolishValueParser, OsStringValueParser, TypedValueParser};

use super::prompt::SecretArg;
use crate::config::{self, CryptoPolicy, Host, KeyPolicy, StoreKind};
use crate::error::Error;
use crate::version::Version;

/// Options that every command has.
#[derive(Args, Clone, Debug)]
pub struct Global {
    /// Token directory [default: $MRHSM_TOKEN_DIR, else $MAPR_HOME/conf/tokens, else /etc/mrhsm/tokens or ~/.config/mrhsm/tokens]
    #[arg(
        long,
        value_name = "DIR",
        global = true,
        help_heading = "Common options"
    )]
    pub tokendir: Option<PathBuf>,

    /// Print the result as JSON
    #[arg(long, global = true, help_heading = "Common options")]
    pub json: bool,
}

/// Which token a command works on. With one token there is nothing to choose.
#[derive(Args, Clone, Debug, Default)]
pub struct TokenChoice {
    /// Token with this label
    #[arg(long, value_name = "LABEL", help_heading = "Common options")]
    pub token: Option<String>,

    /// Token with this serial number
    #[arg(long, value_name = "SERIAL", help_heading = "Common options")]
    pub serial: Option<String>,
}

/// The SO PIN of an existing token.
#[derive(Args, Clone, Debug)]
pub struct SoPin {
    /// SO PIN: file:PATH, env:NAME or the PIN itself [default: MRHSM_SO_PIN_FILE, else asked for]
    #[arg(long, value_name = "PIN")]
    pub sopin: Option<SecretArg>,
}

/// How a token reaches its KMIP hosts: the options of `set`, and of `init` and `configure` beside their own.
#[derive(Args, Clone, Debug)]
pub struct Settings {
    /// Who holds the token's keys: kmip or file [default: kmip]
    #[arg(long, value_name = "TYPE")]
    pub storetype: Option<StoreKind>,

    /// KMIP servers, names or addresses, in the order they are tried: a,b,c
    #[arg(long, value_name = "HOST,...", value_delimiter = ',', num_args = 1)]
    pub ip: Option<Vec<Host>>,

    /// Port of servers that have none of their own in -ip [default: 5696]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,

    /// CA certificates that signed the servers' certificates, PEM
    #[arg(long, value_name = "FILE")]
    pub cacert: Option<PathBuf>,

    /// Revocation lists (CRLs) of the CAs of the servers' certificates, PEM or DER
    #[arg(long, value_name = "FILE")]
    pub crl: Option<PathBuf>,

    /// Client certificate and its chain, PEM
    #[arg(long, value_name = "FILE")]
    pub clientcert: Option<PathBuf>,

    /// Private key of the client certificate, PEM (PKCS#8, PKCS#1, SEC1; may be encrypted)
    #[arg(long, value_name = "FILE")]
    pub clientkey: Option<PathBuf>,

    /// Passphrase of -clientkey or -p12: file:PATH, env:NAME or the text itself [default: asked for]
    #[arg(long, value_name = "PASS")]
    pub clientkeypass: Option<SecretArg>,

    /// Client certificate and private key together, PKCS#12
    #[arg(long, value_name = "FILE", conflicts_with_all = ["clientcert", "clientkey"])]
    pub p12: Option<PathBuf>,

    /// Name that the servers' certificates must carry [default: the host's own, from -ip]
    #[arg(long, value_name = "NAME", value_parser = server_name)]
    pub servername: Option<String>,

    /// SHA-256 of the only certificates that the servers may have, instead of CAs: HASH[,HASH...]
    #[arg(long = "pin", value_name = "SHA256", value_delimiter = ',', value_parser = config::certificate_hash)]
    pub pins: Option<Vec<String>>,

    /// KMIP version: auto, or 1.0 to 1.4, 2.0, 2.1 [default: auto]
    #[arg(long, value_name = "VERSION", value_parser = kmip_version)]
    pub kmipversion: Option<KmipVersion>,

    /// User name sent to the server, beside the client certificate or without one
    #[arg(long, value_name = "NAME")]
    pub username: Option<String>,

    /// Password of -username: file:PATH, env:NAME or the text itself
    #[arg(long, value_name = "PASS")]
    pub password: Option<SecretArg>,

    /// Time to connect to one server: 5s, 500ms [default: 5s]
    #[arg(long, value_name = "TIME", value_parser = time_out)]
    pub connecttimeout: Option<u64>,

    /// Time for one call, all servers and retries together: 10s, 500ms [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = time_out)]
    pub timeout: Option<u64>,

    /// Where keys are used: auto, server or local [default: auto]
    #[arg(long, value_name = "WHERE")]
    pub crypto: Option<CryptoPolicy>,

    /// How long a fetched key is kept in memory: 5m, 30s, 0 for not at all [default: 5m]
    #[arg(long, value_name = "TIME", value_parser = cache_time)]
    pub keycache: Option<u64>,

    /// Which uses of keys are allowed: default, strict or compatible [default: default]
    #[arg(long, value_name = "POLICY")]
    pub policy: Option<KeyPolicy>,

    /// Lock a PIN after this many wrong ones in a row; 0 for never [default: 0]
    #[arg(long, value_name = "N", value_parser = max_pin_failures)]
    pub maxpinfailures: Option<u32>,
}

impl Settings {
    /// True when no option was given.
    pub fn is_empty(&self) -> bool {
        let Settings {
            storetype,
            ip,
            port,
            cacert,
            crl,
            clientcert,
            clientkey,
            clientkeypass,
            p12,
            servername,
            pins,
            kmipversion,
            username,
            password,
            connecttimeout,
            timeout,
            crypto,
            keycache,
            policy,
            maxpinfailures,
        } = self;
        let files = [cacert, crl, clientcert, clientkey, p12]
            .iter()
            .all(|f| f.is_none());
        let secrets = clientkeypass.is_none() && password.is_none();
        let names = ip.is_none() && servername.is_none() && pins.is_none() && username.is_none();
        let times = connecttimeout.is_none() && timeout.is_none() && keycache.is_none();
        let numbers = port.is_none() && maxpinfailures.is_none();
        files
            && secrets
            && names
            && times
            && numbers
            && storetype.is_none()
            && kmipversion.is_none()
            && crypto.is_none()
            && policy.is_none()
    }

    /// Puts what was given into a token's settings.
    pub fn apply(&self, settings: &mut config::Settings, username: &mut Option<String>) {
        if let Some(hosts) = &self.ip {
            settings.hosts.clear();
            hosts.iter().for_each(|host| {
                if !settings.hosts.contains(host) {
                    settings.hosts.push(host.clone());
                }
            });
        }
        set(&mut settings.store, self.storetype);
        set(&mut settings.port, self.port);
        set(&mut settings.connect_millis, self.connecttimeout);
        set(&mut settings.deadline_millis, self.timeout);
        set(&mut settings.crypto, self.crypto);
        set(&mut settings.key_cache_millis, self.keycache);
        set(&mut settings.policy, self.policy);
        set(&mut settings.max_pin_failures, self.maxpinfailures);
        match self.kmipversion {
            None => {}
            Some(KmipVersion::Auto) => settings.kmip_version = None,
            Some(KmipVersion::Pinned(version)) => settings.kmip_version = Some(version),
        }
        if self.servername.is_some() {
            settings.server_name.clone_from(&self.servername);
        }
        set(&mut settings.pins, self.pins.clone());
        if self.username.is_some() {
            username.clone_from(&self.username);
        }
    }
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

/// The value of `-kmipversion`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KmipVersion {
    /// Agreed with the server.
    Auto,
    /// This one only.
    Pinned(Version),
}

/// `-active true|false`, also yes|no, on|off, 1|0.
pub fn truth() -> impl TypedValueParser<Value = bool> {
    BoolishValueParser::new()
}

/// A token's label: UTF-8, 1 to 32 bytes (PKCS#11 has room for 32), no control characters.
pub fn label() -> impl TypedValueParser<Value = String> {
    OsStringValueParser::new().try_map(|text: OsString| -> Result<String, String> {
        let label = text
            .into_string()
            .map_err(|_| "a label is text in UTF-8, this is not".to_string())?;
        if label.trim() != label {
            return Err(
                "a label cannot begin or end with a blank, because PKCS#11 pads labels with them"
                    .into(),
            );
        }
        config::check_label(&label)?;
        Ok(label)
    })
}

fn server_name(text: &str) -> Result<String, String> {
    match rustls_pki_types::ServerName::try_from(text) {
        Ok(_) => Ok(text.to_string()),
        Err(_) => Err("a DNS name or an IP address is expected".into()),
    }
}

fn kmip_version(text: &str) -> Result<KmipVersion, String> {
    match text {
        "auto" => Ok(KmipVersion::Auto),
        _ => text
            .parse()
            .map(KmipVersion::Pinned)
            .map_err(|_: Error| "use auto, 1.0, 1.1, 1.2, 1.3, 1.4, 2.0 or 2.1".to_string()),
    }
}

pub fn time_out(text: &str) -> Result<u64, String> {
    match millis(text)? {
        0 => Err("more than 0 is needed".into()),
        n if n > 600_000 => Err("10m at most".into()),
        n => Ok(n),
    }
}

fn max_pin_failures(text: &str) -> Result<u32, String> {
    let number = text.parse().map_err(|_| "a number is expected")?;
    config::check_max_pin_failures(number)
}

fn cache_time(text: &str) -> Result<u64, String> {
    match millis(text)? {
        n if n > 86_400_000 => Err("24h at most".into()),
        n => Ok(n),
    }
}

/// A time as people write it, in milliseconds: `500ms`, `10s`, `10` (seconds), `5m`, `1h`.
fn millis(text: &str) -> Result<u64, String> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor = match unit {
        "ms" => Some(1),
        "s" | "" => Some(1000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let number = number.parse::<u64>().ok();
    number
        .zip(factor)
        .map(|(n, f)| n.saturating_mul(f))
        .ok_or_else(|| "write a whole number and ms, s, m or h: 500ms, 10s, 5m".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, expected) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("10", 10_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("0", 0),
        ] {
            assert_eq!(millis(text), Ok(expected), "{text}");
        }
        for text in [
            "",
            "s",
            "-1s",
            "1.5s",
            "1 s",
            "99999999999999999999s",
            "5x",
            "5\u{e9}",
        ] {
            assert!(millis(text).is_err(), "{text}");
        }
        assert!(time_out("0s").is_err() && time_out("11m").is_err() && time_out("10m").is_ok());
        assert!(cache_time("0").is_ok() && cache_time("18446744073709551615h").is_err());
    }
}
