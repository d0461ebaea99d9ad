//! TLS 1.2 and 1.3 by rustls, with its failures told in sentences.

use std::sync::Arc;

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::sign::SingleCertAndKey;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, OtherError, PeerIncompatible, RootCertStore,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::Host;
use super::identity::{Identity, certificates};
use super::sessions::Sessions;
use super::verify::{Accepted, Fault, Verifier};
use crate::ck::{CKR_DEVICE_ERROR, CKR_TOKEN_NOT_RECOGNIZED};
use crate::crypto::crl::Crls;
use crate::error::{Error, Kind, Result};

/// Whose certificates are trusted.
#[derive(Clone, Debug)]
pub enum Trust {
    /// The CA certificates of this PEM text, and no others.
    Pem(Vec<u8>),
    /// The CA certificates of the operating system.
    System,
    /// No CA: the certificates with these SHA-256 hashes, in hexadecimal.
    Pins(Vec<String>),
}

/// A TLS client: who we are, whom we trust, and under which name servers must present themselves.
///
/// Sessions are resumed as long as it lives, so it is made once per identity and shared.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
}

impl Tls {
    /// A client that shows `identity`, trusts `trust`, and expects `server_name` instead of the host's own name when given.
    ///
    /// # Errors
    /// An identity that is expired, a CA text without certificates, a name that is none.
    pub fn new(
        identity: Option<&Identity>,
        trust: &Trust,
        server_name: Option<&str>,
    ) -> Result<Tls> {
        Tls::with_crls(identity, trust, server_name, &Crls::default())
    }

    /// The same, that refuses what `crls` revoke. With any of them, each CA of a server's chain (but the trusted one itself) needs
    /// one that has not expired.
    pub fn with_crls(
        identity: Option<&Identity>,
        trust: &Trust,
        server_name: Option<&str>,
        crls: &Crls,
    ) -> Result<Tls> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = Verifier {
            accepted: accepted(trust, crls, &provider)?,
            algorithms: provider.signature_verification_algorithms,
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|e| {
                Error::new(Kind::Tls, CKR_DEVICE_ERROR, "TLS cannot be set up").because(e)
            })?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                identity.check_dates()?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(
                    identity.certified()?,
                )))
            }
        };
        config.resumption = Resumption::store(Arc::new(Sessions::new()));
        let server_name = server_name
            .map(|name| ServerName::try_from(name.to_owned()))
            .transpose()
            .map_err(|_| {
                Error::input(format!(
                    "'{}' is not a DNS name or IP address",
                    server_name.unwrap_or_default()
                ))
            })?;
        Ok(Tls {
            config: Arc::new(config),
            server_name,
        })
    }

    /// The configuration, for a connection that does not speak KMIP.
    pub fn config(&self) -> Arc<ClientConfig> {
        self.config.clone()
    }

    /// The same client without session resumption, for servers that break off resumed handshakes.
    pub(super) fn without_resumption(&self) -> Tls {
        let mut config = ClientConfig::clone(&self.config);
        config.resumption = Resumption::disabled();
        Tls {
            config: Arc::new(config),
            server_name: self.server_name.clone(),
        }
    }

    /// Starts a session with `host`; its certificate must carry the host's name, or the one set instead.
    pub(super) fn start(&self, host: &Host) -> Result<rustls::ClientConnection> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => ServerName::try_from(host.name.clone()).map_err(|_| {
                Error::input(format!("'{}' is not a DNS name or IP address", host.name))
            })?,
        };
        let mut session = rustls::ClientConnection::new(Arc::clone(&self.config), name)
            .map_err(|e| explain(host, &e))?;
        // A frame is handed over whole, so that it leaves in as few writes as TLS records allow.
        session.set_buffer_limit(None);
        Ok(session)
    }
}

impl std::fmt::Debug for Tls {
    /// Nothing of the configuration: it holds a private key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

fn accepted(trust: &Trust, crls: &Crls, provider: &Arc<CryptoProvider>) -> Result<Accepted> {
    let (certificates, own) = match trust {
        Trust::Pins(hashes) => return Ok(Accepted::Pinned(hashes.clone())),
        Trust::Pem(text) => {
            let own = certificates(text).map_err(|e| e.context("CA certificate"))?;
            (own.clone(), own)
        }
        Trust::System => (of_the_system()?, Vec::new()),
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        // One damaged root among the system's hundred must not stop the others.
        if let (Err(e), Trust::Pem(_)) = (roots.add(certificate), trust) {
            return Err(
                Error::input("CA certificate: a certificate in it cannot be used").because(e),
            );
        }
    }
    let mut verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    if !crls.is_empty() {
        verifier = verifier
            .with_crls(crls.ders())
            .enforce_revocation_expiration();
    }
    let verifier = verifier
        .build()
        .map_err(|e| Error::input("the CA certificates or the CRL cannot be used").because(e))?;
    Ok(Accepted::Trusted(verifier, own))
}

fn of_the_system() -> Result<Vec<CertificateDer<'static>>> {
    let found = rustls_native_certs::load_native_certs();
    match found.certs.is_empty() {
        false => Ok(found.certs),
        true => Err(Error::input(
            "this system has no CA certificates to trust: install ca-certificates, or 'mrhsm set -cacert FILE'",
        )),
    }
}

/// What a TLS failure with `host` means and what mends it.
pub(super) fn explain(host: &Host, error: &rustls::Error) -> Error {
    use rustls::Error as E;
    let untrusted = |sentence: String| Error::new(Kind::Tls, CKR_TOKEN_NOT_RECOGNIZED, sentence);
    match error {
        E::InvalidCertificate(e) => untrusted(certificate_fault(host, e)),
        E::AlertReceived(alert) => match alert_fault(host, *alert) {
            Some(sentence) => untrusted(sentence),
            None => untrusted(format!("{host} refused TLS")).because(error.clone()),
        },
        E::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => untrusted(old_tls(host)),
        E::PeerIncompatible(_) => untrusted(no_common_suite(host)).because(error.clone()),
        E::InvalidMessage(_) => untrusted(format!(
            "{host} answers, but not with TLS: is it really the port of a KMIP server?"
        ))
        .because(error.clone()),
        _ => untrusted(format!("TLS with {host} failed")).because(error.clone()),
    }
}

fn certificate_fault(host: &Host, error: &CertificateError) -> String {
    use CertificateError as E;
    match error {
        E::Expired => format!("the certificate of {host} (or of a CA above it) has expired"),
        E::ExpiredContext { not_after, .. } => {
            format!(
                "the certificate of {host} (or of a CA above it) expired on {}",
                day(*not_after)
            )
        }
        E::NotValidYet => {
            format!("the certificate of {host} is not valid yet: check this machine's clock")
        }
        E::NotValidYetContext { not_before, .. } => {
            format!(
                "the certificate of {host} is not valid before {}: check this machine's clock",
                day(*not_before)
            )
        }
        E::UnknownIssuer | E::BadSignature => format!(
            "the certificate of {host} is not signed by a CA that we trust: give the CA's certificate with 'mrhsm set -cacert FILE'"
        ),
        E::NotValidForName => format!("the certificate of {host} does not carry that name"),
        E::NotValidForNameContext {
            expected,
            presented,
        } => format!(
            "the certificate of {host} {}",
            wrong_name(expected, presented)
        ),
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => {
            format!(
                "the certificate of {host} is not meant for servers (Extended Key Usage serverAuth is missing)"
            )
        }
        E::Revoked => format!("the certificate of {host} (or of a CA above it) is revoked"),
        E::UnknownRevocationStatus => format!(
            "no CRL says whether the certificate of {host} is revoked: give the CRLs of its CA and of those between with 'mrhsm set -crl FILE'"
        ),
        E::ExpiredRevocationList | E::ExpiredRevocationListContext { .. } => format!(
            "the CRL for the certificate of {host} has expired: give a newer one with 'mrhsm set -crl FILE'"
        ),
        E::UnsupportedSignatureAlgorithmContext { .. }
        | E::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => format!(
            "the certificate of {host} (or of a CA above it) is signed with an algorithm that is not accepted, such as SHA-1: \
             have it issued with SHA-256"
        ),
        E::Other(OtherError(fault)) if fault.is::<Fault>() => {
            format!("the certificate of {host} {fault}")
        }
        other => format!("the certificate of {host} cannot be used: {other}"),
    }
}

/// Continues "the certificate of HOST", whose names do not match.
fn wrong_name(expected: &ServerName<'_>, presented: &[String]) -> String {
    let wanted = expected.to_str();
    let kind = match expected {
        ServerName::IpAddress(_) => "IP",
        _ => "DNS",
    };
    let found = names(presented);
    let add = format!("have it issued with subjectAltName = {kind}:{wanted}");
    if found.is_empty() {
        return format!("has no Subject Alternative Name (its Common Name does not count): {add}");
    }
    if kind == "IP" && found.iter().any(|name| *name == wanted) {
        return format!("has {wanted} as a DNS name, which is not valid for an address: {add}");
    }
    format!(
        "is for {}, not for {wanted}: use that name, or 'mrhsm set -servername NAME'",
        found.join(", ")
    )
}

/// `DnsName("a")` and `IpAddress(..)` as webpki prints them, in plain words.
fn names(presented: &[String]) -> Vec<&str> {
    presented
        .iter()
        .map(|name| match name.split_once('(') {
            Some((_, rest)) => rest.trim_end_matches(')').trim_matches('"'),
            None => name,
        })
        .collect()
}

fn day(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map_or_else(
        |_| "an impossible date".into(),
        |t| t.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
    )
}

fn alert_fault(host: &Host, alert: AlertDescription) -> Option<String> {
    use AlertDescription as A;
    Some(match alert {
        A::CertificateExpired => format!(
            "{host} says that our client certificate has expired: 'mrhsm set -clientcert FILE'"
        ),
        A::CertificateRevoked => format!(
            "{host} says that our client certificate is revoked: 'mrhsm set -clientcert FILE'"
        ),
        A::CertificateRequired => format!(
            "{host} asks for a client certificate: 'mrhsm set -clientcert FILE -clientkey FILE'"
        ),
        A::BadCertificate
        | A::UnsupportedCertificate
        | A::CertificateUnknown
        | A::UnknownCA
        | A::AccessDenied
        | A::DecryptError => {
            format!("{} (TLS alert {alert:?})", client_refused(host))
        }
        A::HandshakeFailure | A::InsufficientSecurity => no_common_suite(host),
        A::ProtocolVersion => old_tls(host),
        A::UnrecognisedName => {
            format!("{host} does not serve that name: 'mrhsm set -servername NAME'")
        }
        _ => return None,
    })
}

/// Our certificate was refused: told by an alert, or by an end without words.
pub(super) fn client_refused(host: &Host) -> String {
    format!(
        "{host} does not accept our client certificate: have it signed (for clientAuth) by a CA that the server trusts, and registered there"
    )
}

fn no_common_suite(host: &Host) -> String {
    format!(
        "no cipher suite in common: {host} offers neither TLS 1.3 nor an ECDHE-GCM suite of TLS 1.2 for its certificate \
         (some servers have one for ECDSA certificates only), or it wants a client certificate that we did not show"
    )
}

fn old_tls(host: &Host) -> String {
    format!(
        "{host} speaks only TLS versions that are broken (before 1.2): allow TLS 1.2 or 1.3 there"
    )
}
