//! Hosts: TLS identities, connections, the pool over a group of hosts, and the KMIP client on top.
//!
//! Nothing here knows what keys mean. Every call blocks its caller only, ends by its deadline, and holds no lock while it
//! waits for the network.

use std::fmt;
use std::net::Ipv6Addr;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::kmip::{QueryFunction, QueryRequest};
use crate::secret::Secret;
use crate::version::Version;

pub mod client;
pub mod conn;
pub mod identity;
pub mod pool;
mod sessions;
pub mod tls;
mod verify;

pub use client::{Call, Client};
pub use identity::Identity;
pub use pool::{Pool, Replay, Transport};
pub use tls::{Tls, Trust};

/// The port that IANA gave to KMIP.
pub const DEFAULT_PORT: u16 = 5696;

/// Where a KMIP server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host {
    /// DNS name or IP address, IPv6 without brackets.
    pub name: String,
    /// TCP port.
    pub port: u16,
}

impl Host {
    /// Parses `name`, `name:port`, an IPv4 or IPv6 address, or `[IPv6]:port`; `port` is used where none is given.
    pub fn parse(text: &str, port: u16) -> Result<Host> {
        let wrong = || {
            Error::input(format!(
                "'{text}' is not a host: write a name or an IP address, with :PORT if it has its own"
            ))
        };
        let text = text.trim();
        let (name, port) = if text.parse::<Ipv6Addr>().is_ok() {
            (text, port)
        } else if let Some(rest) = text.strip_prefix('[') {
            match rest.split_once(']') {
                Some((name, "")) => (name, port),
                Some((name, rest)) => (
                    name,
                    rest.strip_prefix(':')
                        .and_then(|p| p.parse().ok())
                        .ok_or_else(wrong)?,
                ),
                None => return Err(wrong()),
            }
        } else if let Some((name, port)) = text.rsplit_once(':') {
            (name, port.parse().map_err(|_| wrong())?)
        } else {
            (text, port)
        };
        if port == 0 {
            return Err(Error::input(format!(
                "port 0 of '{text}' cannot be used: ports are 1 to 65535, KMIP's is {DEFAULT_PORT}"
            )));
        }
        // Whether the name can be verified is decided here, not at the first handshake.
        rustls_pki_types::ServerName::try_from(name).map_err(|_| wrong())?;
        Ok(Host {
            name: name.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.contains(':') {
            true => write!(f, "[{}]:{}", self.name, self.port),
            false => write!(f, "{}:{}", self.name, self.port),
        }
    }
}

/// Username and password, sent in the header of every message (KMIP spec 1.4, 2.1.2).
#[derive(Debug)]
pub struct Credential {
    /// Username.
    pub username: String,
    /// Password, UTF-8 text.
    pub password: Secret,
}

/// How to reach one group of hosts that hold the same keys.
#[derive(Debug)]
pub struct Config {
    /// The hosts, in order of preference.
    pub hosts: Vec<Host>,
    /// Our certificate, and whom we trust.
    pub tls: Tls,
    /// The one KMIP version to speak; `None` negotiates.
    pub version: Option<Version>,
    /// Credential beside the certificate.
    pub credential: Option<Credential>,
    /// Longest wait for one address: TCP connection and TLS handshake.
    pub connect_timeout: Duration,
    /// Longest time a call takes, whatever happens.
    pub deadline: Duration,
    /// Largest answer that is read, in bytes.
    pub max_response: usize,
}

impl Credential {
    /// A second copy: explicit because each copy of a password is one more to lose.
    pub fn duplicate(&self) -> Credential {
        Credential {
            username: self.username.clone(),
            password: self.password.duplicate(),
        }
    }
}

impl Config {
    /// `hosts` reached by `tls`, everything else at its default: 5 s to connect, 10 s for a call, answers up to 16 MiB.
    pub fn new(hosts: Vec<Host>, tls: Tls) -> Config {
        Config {
            hosts,
            tls,
            version: None,
            credential: None,
            connect_timeout: Duration::from_secs(5),
            deadline: Duration::from_secs(10),
            max_response: crate::ttlv::MAX_MESSAGE,
        }
    }
}

/// What one host answers.
#[derive(Clone, Debug)]
pub struct Health {
    /// The KMIP version that is spoken with it.
    pub version: Version,
    /// Vendor Identification, where the host tells.
    pub vendor: Option<String>,
}

/// Asks one host of `config` (an index into its list) on a connection of its own, within the deadline of a call. An error's
/// sentence says why the host is of no use.
///
/// It blocks; a program that wants to ask several hosts at once calls it from threads of its own.
pub fn probe(config: &Config, host: usize) -> Result<Health> {
    let host = config
        .hosts
        .get(host)
        .ok_or_else(|| Error::input("there is no such host"))?;
    let call_config = Config {
        credential: config.credential.as_ref().map(Credential::duplicate),
        version: config.version,
        connect_timeout: config.connect_timeout,
        deadline: config.deadline,
        max_response: config.max_response,
        ..Config::new(vec![host.clone()], config.tls.clone())
    };
    let client = Client::new(call_config);
    let call = client.call();
    let version = call.version()?;
    // A version that is pinned was not negotiated: only an answer shows that the host is there and lets us in.
    let functions = vec![QueryFunction::QUERY_SERVER_INFORMATION];
    let vendor = call
        .request(&QueryRequest {
            query_functions: functions,
        })?
        .vendor_identification;
    Ok(Health { version, vendor })
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
