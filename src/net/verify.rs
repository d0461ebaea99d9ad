//! Which server certificates are accepted, and why the others are not.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate, X509Version};
use x509_parser::public_key::PublicKey;

use crate::config::to_hex;
use crate::crypto::{Hash, hash};

/// Shortest RSA key, in bits, of a certificate that takes part in a handshake.
const RSA_MIN: usize = 2048;

/// Verifies the certificates of servers.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) accepted: Accepted,
    /// Of the signatures of handshakes.
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

/// Which certificates are accepted.
#[derive(Debug)]
pub(super) enum Accepted {
    /// Those of the CAs that webpki trusts, and these, which a server itself may have.
    Trusted(Arc<WebPkiServerVerifier>, Vec<CertificateDer<'static>>),
    /// Those with these SHA-256 hashes, in hexadecimal, for every name and of every issuer.
    Pinned(Vec<String>),
}

/// A reason to refuse a certificate that rustls has no name for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// An RSA key of so many bits.
    WeakRsa(usize),
    /// An issuer with an RSA key of so many bits.
    WeakIssuer(usize),
    /// This version of X.509.
    OldVersion(u32),
    /// With this hash.
    SelfSigned(String),
    /// With this hash.
    OfCa(String),
    /// With this hash.
    NotPinned(String),
}

impl std::fmt::Display for Fault {
    /// Continues "the certificate of HOST".
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::WeakRsa(bits) => write!(
                f,
                "has an RSA key of {bits} bits: have it issued for a key of {RSA_MIN} bits or more"
            ),
            Fault::WeakIssuer(bits) => write!(
                f,
                "is of a CA whose RSA key has {bits} bits: have it issued by one of {RSA_MIN} bits or more"
            ),
            Fault::OldVersion(version) => write!(
                f,
                "is of X.509 version {version}, which has no Subject Alternative Name: have it issued as version 3 \
                 ('openssl x509 -req -extfile FILE' writes one, with subjectAltName in FILE)"
            ),
            Fault::SelfSigned(hash) => write!(
                f,
                "is self-signed and not trusted: if it is the right one, 'mrhsm set -cacert FILE' with this certificate, \
                 or 'mrhsm set -pin {hash}'"
            ),
            Fault::OfCa(hash) => write!(
                f,
                "is that of a CA (CA:TRUE), not of a server: have one issued for the server, or 'mrhsm set -pin {hash}'"
            ),
            Fault::NotPinned(hash) => write!(
                f,
                "is not the pinned one: if it is the right one, 'mrhsm set -pin {hash}'"
            ),
        }
    }
}

impl std::error::Error for Fault {}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        server: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        use CertificateError as E;
        let (webpki, own) = match &self.accepted {
            Accepted::Trusted(webpki, own) => (webpki, own),
            Accepted::Pinned(hashes) => return verify_pinned(server, hashes, now),
        };
        let refused = match webpki.verify_server_cert(server, others, name, ocsp, now) {
            Err(Error::InvalidCertificate(refused)) => refused,
            verified => return verified,
        };
        match refused {
            // webpki's "CA used as end entity" is among the others.
            E::UnknownIssuer | E::Other(_) if own.contains(server) => verify_own(server, name, now),
            E::UnknownIssuer | E::BadSignature | E::Other(_) => {
                Err(cause(server, others).map_or(Error::InvalidCertificate(refused), Error::from))
            }
            refused => Err(Error::InvalidCertificate(refused)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        server: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, server, signature, &self.algorithms)
            .map_err(|e| weak(server).map_or(e, Error::from))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        server: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, server, signature, &self.algorithms)
            .map_err(|e| weak(server).map_or(e, Error::from))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Accepts a certificate that is trusted itself, for its names.
fn verify_own(
    server: &CertificateDer<'_>,
    name: &ServerName<'_>,
    now: UnixTime,
) -> Result<ServerCertVerified, Error> {
    check_version_and_dates(server, now)?;
    verify_server_name(&ParsedCertificate::try_from(server)?, name)?;
    Ok(ServerCertVerified::assertion())
}

fn verify_pinned(
    server: &CertificateDer<'_>,
    hashes: &[String],
    now: UnixTime,
) -> Result<ServerCertVerified, Error> {
    let hash = sha256(server);
    if !hashes.contains(&hash) {
        return Err(Fault::NotPinned(hash).into());
    }
    check_version_and_dates(server, now)?;
    Ok(ServerCertVerified::assertion())
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Error {
        CertificateError::Other(OtherError(Arc::new(fault))).into()
    }
}

/// The hash of a certificate, in hexadecimal; of no certificate if there is no memory for it.
fn sha256(certificate: &CertificateDer<'_>) -> String {
    hash::digest(Hash::Sha256, certificate).map_or_else(|_| String::new(), |hash| to_hex(&hash))
}

/// What is checked of a certificate that no CA vouches for.
fn check_version_and_dates(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    check_version(&parsed)?;
    let time = |time: ASN1Time| {
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(
            time.timestamp().try_into().unwrap_or(0),
        ))
    };
    let validity = parsed.validity();
    let (not_before, not_after) = (time(validity.not_before), time(validity.not_after));
    if now < not_before {
        return Err(CertificateError::NotValidYetContext {
            time: now,
            not_before,
        }
        .into());
    }
    if now > not_after {
        return Err(CertificateError::ExpiredContext {
            time: now,
            not_after,
        }
        .into());
    }
    Ok(())
}

/// What webpki does not say of a chain that it refuses.
fn cause(server: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Option<Fault> {
    let (_, parsed) = X509Certificate::from_der(server).ok()?;
    check_version(&parsed)
        .err()
        .or_else(|| weak(server))
        .or_else(|| {
            others
                .iter()
                .find_map(rsa_bits_below_min)
                .map(Fault::WeakIssuer)
        })
        .or_else(|| {
            (parsed.subject() == parsed.issuer()).then(|| Fault::SelfSigned(sha256(server)))
        })
        .or_else(|| parsed.is_ca().then(|| Fault::OfCa(sha256(server))))
}

/// webpki reads no other version.
fn check_version(certificate: &X509Certificate<'_>) -> Result<(), Fault> {
    match certificate.version() {
        X509Version::V3 => Ok(()),
        X509Version(encoded) => Err(Fault::OldVersion(encoded.saturating_add(1))),
    }
}

fn weak(server: &CertificateDer<'_>) -> Option<Fault> {
    rsa_bits_below_min(server).map(Fault::WeakRsa)
}

/// The length of an RSA key that is too short to be used.
fn rsa_bits_below_min(certificate: &CertificateDer<'_>) -> Option<usize> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    match parsed.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => Some(key.key_size()).filter(|bits| *bits < RSA_MIN),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::pem::PemObject;

    use super::*;

    /// Self-signed, RSA of 1024 bits.
    const WEAK: &str = "\
-----BEGIN CERTIFICATE-----
MIICDTCCAXagAwIBAgIUDUZ0E7ZL+9xOAXC+5TcJMkfLMW8wDQYJKoZIhvcNAQEL
BQAwDzENMAsGA1UEAwwEd2VhazAgFw0yNjEyMDEwNDE4MTRaGA8yMTI2MTEwNzA0
MTgxNFowDzENMAsGA1UEAwwEd2VhazCBnzANBgkqhkiG9w0BAQEFAAOBjQAwgYkC
gYEA7puia4ZI1UEBbDDs7tpW7bwIZmku57Fa8FaFfD9mO6M6lPmp6wGPjMw7Vf5E
NTUC0OMb6B1AQHmwWk1QO8+eWBhFr14aNXdP0H5OdCFgEH/JWyFF5E9Tlg/Jtrih
A8piIfK8kFsHCTsq1ZZyxvjDmY33MHdMF3BM9OzJ09ywvscCAwEAAaNkMGIwHQYD
VR0OBBYEFJIcTeKQKy62KKAWam5/KjthDDsmMB8GA1UdIwQYMBaAFJIcTeKQKy62
KKAWam5/KjthDDsmMA8GA1UdEwEB/wQFMAMBAf8wDwYDVR0RBAgwBocEfwAAATAN
BgkqhkiG9w0BAQsFAAOBgQAq2YXeEvyP7kcWH4GweuAAEL59hN11DfNUXlLIm/HK
tNxzIKsT+CsTAMKHxzVElcq4HrIlubBqh85LBPBh9aE6ba61X0ehBes9NxsQc60i
g8bjpRSmb9Xz4QHOXU3jO0ZNe5D7DNe3vsZEAiBg2IFfTK9lY7uwlh4BG1lUOGap
6A==
-----END CERTIFICATE-----";
    /// Self-signed, X.509 version 1.
    const OLD: &str = "\
-----BEGIN CERTIFICATE-----
MIIBFzCBvwIUamRliUEjswMxaizVGW02fe7k+mYwCgYIKoZIzj0EAwIwDjEMMAoG
A1UEAwwDb2xkMCAXDTI2MTIwMTA0MTg1N1oYDzIxMjYxMTA3MDQxODU3WjAOMQww
CgYDVQQDDANvbGQwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATTOwEX/VuwfRqv
jG60i5D98lWFdRz8nLNbQXnwWN/QSfXCu4GaOdXi7YB0Q17STToGNb/C+4grgfuE
D7cjbeKXMAoGCCqGSM49BAMCA0cAMEQCICEq41IQQgm/lWJdjavnsnJio3CzssfZ
nIUCMoTE3ckSAiBsccIUaFnoYqGYlpYWPK9CnWIdRfWnXLxNo5nVraPd/g==
-----END CERTIFICATE-----";

    #[test]
    fn the_true_cause_is_named() {
        let [weak, old] =
            [WEAK, OLD].map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap());
        let key = rcgen::KeyPair::generate().unwrap();
        let own = rcgen::CertificateParams::new(Vec::new()).unwrap();
        let own = CertificateDer::from(own.self_signed(&key).unwrap());
        assert_eq!(cause(&weak, &[]), Some(Fault::WeakRsa(1024)));
        assert_eq!(cause(&old, &[]), Some(Fault::OldVersion(1)));
        assert_eq!(
            cause(&own, std::slice::from_ref(&weak)),
            Some(Fault::WeakIssuer(1024))
        );
        assert_eq!(cause(&own, &[]), Some(Fault::SelfSigned(sha256(&own))));
    }
}
