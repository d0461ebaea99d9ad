//! Who may connect: TLS with certificates of a CA, less what is revoked, and of these only the listed ones where there is a list.

use std::collections::HashSet;
use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::engine::Caller;
use super::identity::{self, Kind};
use crate::crypto::crl::Crls;
use crate::error::{Error, Result};

/// What a server shows and whom it lets in; all in PEM.
#[derive(Default)]
pub struct Credentials<'a> {
    /// The server's certificate and its chain.
    pub chain: &'a [u8],
    /// Its private key.
    pub key: &'a [u8],
    /// The CAs of clients.
    pub ca: &'a [u8],
    /// What these revoked. With any list, each CA of a client's chain needs one that has not expired.
    pub crls: Crls,
    /// The clients that may connect, where not all may.
    pub allowed: Option<Allowed>,
    /// TLS versions; all when empty.
    pub versions: &'a [&'static rustls::SupportedProtocolVersion],
}

/// Who may connect.
pub struct Access {
    /// TLS, for new connections.
    pub(super) tls: Arc<ServerConfig>,
    verifier: Arc<dyn ClientCertVerifier>,
    allowed: Option<Allowed>,
}

impl Access {
    /// TLS 1.2 and 1.3, only with clients that a CA vouches for.
    pub fn new(credentials: Credentials<'_>) -> Result<Access> {
        let wrong = |what: &str, e: &dyn std::fmt::Display| {
            Error::input(format!("{what} cannot be used: {e}"))
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(credentials.ca) {
            let certificate = certificate.map_err(|e| wrong("the CA certificate", &e))?;
            roots
                .add(certificate)
                .map_err(|e| wrong("the CA certificate", &e))?;
        }
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .with_crls(credentials.crls.ders())
                .enforce_revocation_expiration()
                .build()
                .map_err(|e| wrong("the CA certificate or a CRL", &e))?;
        let chain = CertificateDer::pem_slice_iter(credentials.chain)
            .collect::<std::result::Result<Vec<_>, _>>();
        let chain = chain.map_err(|e| wrong("the server's certificate", &e))?;
        let key = PrivateKeyDer::from_pem_slice(credentials.key)
            .map_err(|e| wrong("the server's key", &e))?;
        let versions = match credentials.versions {
            [] => rustls::ALL_VERSIONS,
            versions => versions,
        };
        let tls = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(|e| wrong("TLS", &e))?
            .with_client_cert_verifier(verifier.clone())
            .with_single_cert(chain, key)
            .map_err(|e| wrong("the server's certificate", &e))?;
        Ok(Access {
            tls: Arc::new(tls),
            verifier,
            allowed: credentials.allowed,
        })
    }

    /// The client that a certificate is of, which TLS has verified in this handshake.
    pub(super) fn admit(
        &self,
        chain: &[CertificateDer<'_>],
    ) -> std::result::Result<Caller, String> {
        let own = chain.first().ok_or("no certificate")?;
        let caller = identity::caller(own)?;
        if let Some(allowed) = &self.allowed
            && !allowed.contains(&caller, own)
        {
            let (_, name) = identity::shown(&caller.name);
            return Err(format!("{name}: the client is not on the list of -allow"));
        }
        Ok(caller)
    }

    /// The same for a certificate that was verified some time ago: it may have been revoked since, or have expired.
    pub(super) fn admit_again(
        &self,
        chain: &[CertificateDer<'_>],
    ) -> std::result::Result<Caller, String> {
        let (own, intermediates) = chain.split_first().ok_or("no certificate")?;
        self.verifier
            .verify_client_cert(own, intermediates, UnixTime::now())
            .map_err(|e| e.to_string())?;
        self.admit(chain)
    }
}

/// A list of clients.
#[derive(Debug, Default)]
pub struct Allowed {
    owners: HashSet<String>,
    /// SHA-256 of public keys.
    keys: HashSet<[u8; 32]>,
}

impl Allowed {
    /// Reads a list: a line for each client, `cn:NAME`, `subject:NAME` or `sha256:HEX` (of the public key), a name alone is a
    /// common name; `#` begins a comment.
    pub fn parse(text: &str) -> Result<Allowed> {
        let mut allowed = Allowed::default();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match line.split_once(':') {
                Some(("sha256", hex)) => {
                    let plain: String = hex.trim().to_lowercase().replace(':', "");
                    let hash = data_encoding::HEXLOWER.decode(plain.as_bytes());
                    let hash = hash.ok().and_then(|hash| <[u8; 32]>::try_from(hash).ok());
                    let hash = hash.ok_or_else(|| {
                        Error::input(format!("line {number}: 64 hexadecimal digits are expected"))
                    })?;
                    allowed.keys.insert(hash);
                }
                Some(("subject", name)) => {
                    let owner = identity::owner(Kind::Subject, name.trim());
                    allowed.owners.insert(owner);
                }
                Some(("cn", name)) => {
                    let owner = identity::owner(Kind::CommonName, name.trim());
                    allowed.owners.insert(owner);
                }
                _ => {
                    let owner = identity::owner(Kind::CommonName, line);
                    allowed.owners.insert(owner);
                }
            }
        }
        Ok(allowed)
    }

    fn contains(&self, caller: &Caller, certificate: &[u8]) -> bool {
        if self.owners.contains(&caller.name) {
            return true;
        }
        X509Certificate::from_der(certificate).is_ok_and(|(_, parsed)| {
            let hash: [u8; 32] = Sha256::digest(parsed.public_key().raw).into();
            self.keys.contains(&hash)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_clients_by_kind_and_key() {
        let hash = "ab".repeat(32);
        let list = format!(
            "# clients\n\n node7 \ncn:subject:x\nsubject:O=Acme,C=DE\nsha256:{}\n",
            hash.to_uppercase()
        );
        let allowed = Allowed::parse(&list).unwrap();
        let owners = [
            identity::owner(Kind::CommonName, "node7"),
            identity::owner(Kind::CommonName, "subject:x"),
            identity::owner(Kind::Subject, "O=Acme,C=DE"),
        ];
        assert_eq!(allowed.owners, HashSet::from(owners));
        assert_eq!(allowed.keys, HashSet::from([[0xab; 32]]));
        for wrong in ["sha256:", "sha256:abcd", "sha256:zz"] {
            let error = Allowed::parse(&format!("a\n{wrong}")).unwrap_err();
            assert!(error.to_string().contains("line 2"), "{error}");
        }
    }
}
