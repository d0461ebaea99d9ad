//! Opening a token's store, whichever kind it is.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::cache::Cached;
use super::file::FileStore;
use super::kmip::KmipStore;
use super::{KeyStore, Memory};
use crate::config::{StoreKind, TokenConfig};
use crate::crypto::crl::Crls;
use crate::error::{Error, Result};
use crate::net;
use crate::secret::Secret;

/// What a token shows to its hosts.
#[derive(Debug, Default)]
pub struct Access {
    /// Certificate chain, PEM.
    pub certificate: Option<Vec<u8>>,
    /// Private key.
    pub key: Option<Secret>,
    /// Certificates of the servers' authority, PEM; `None` trusts the system's.
    pub ca: Option<Vec<u8>>,
    /// Revocation lists of the servers' authority; without any, revocation is not checked.
    pub crl: Option<Vec<u8>>,
    /// Password of the configured user name.
    pub password: Option<Secret>,
}

/// How the token's hosts are reached. Errors: no hosts, a certificate or key that cannot be used.
pub fn network(token: &TokenConfig, access: Access) -> Result<net::Config> {
    let settings = &token.settings;
    if settings.hosts.is_empty() {
        return Err(Error::input(format!(
            "token '{}' has no hosts yet: mrhsm set -ip HOST",
            token.label
        ))
        .with_rv(crate::ck::CKR_DEVICE_ERROR));
    }
    let client = match (&access.certificate, &access.key) {
        (Some(certificate), Some(key)) => {
            Some(net::Identity::from_pem(certificate, key.expose(), None)?)
        }
        _ => None,
    };
    let trust = if settings.pins.is_empty() {
        access.ca.map_or(net::Trust::System, net::Trust::Pem)
    } else {
        net::Trust::Pins(settings.pins.clone())
    };
    let mut crls = Crls::default();
    if let Some(text) = &access.crl {
        crls.read(text, "the token's crl.pem")?;
    }
    let server_name = settings.server_name.as_deref();
    let tls = net::Tls::with_crls(client.as_ref(), &trust, server_name, &crls)?;
    let hosts = settings
        .addresses()
        .map(|(name, port)| net::Host {
            name: name.into(),
            port,
        })
        .collect();
    let password = access.password;
    let credential = token.username.clone().map(|username| net::Credential {
        username,
        password: password.unwrap_or_default(),
    });
    Ok(net::Config {
        version: settings.kmip_version,
        credential,
        connect_timeout: Duration::from_millis(settings.connect_millis),
        deadline: Duration::from_millis(settings.deadline_millis),
        ..net::Config::new(hosts, tls)
    })
}

/// The token's hosts themselves, with nothing remembered in between: what is read is what they hold.
pub fn hosts(token: &TokenConfig, access: Access) -> Result<Arc<dyn KeyStore>> {
    Ok(Arc::new(KmipStore::open(network(token, access)?)?))
}

/// Opens the store of a token; nothing is sent to a host yet. `objects` is the file of a file token's objects and `seal` the
/// 32-byte key that they are sealed with; `memory` keeps what is learnt of the hosts.
pub fn open(
    token: &TokenConfig,
    access: Access,
    objects: &Path,
    seal: &Secret,
    memory: Arc<dyn Memory>,
) -> Result<Arc<dyn KeyStore>> {
    Ok(match token.settings.store {
        StoreKind::File => Arc::new(FileStore::open(objects, seal.expose())?),
        StoreKind::Kmip => {
            let age = Duration::from_millis(token.settings.key_cache_millis);
            Arc::new(Cached::new(
                KmipStore::open(network(token, access)?)?.remembering(memory),
                age,
            ))
        }
    })
}
