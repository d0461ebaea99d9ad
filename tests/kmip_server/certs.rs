//! Certificates for tests: a CA and what it signs, and the kinds that must be refused.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;

/// A certificate and its key, in files and in memory.
pub struct Pair {
    /// PEM file of the certificate.
    pub cert: PathBuf,
    /// PEM file of the key (PKCS#8).
    pub key: PathBuf,
    der: CertificateDer<'static>,
    key_der: Vec<u8>,
}

impl Pair {
    /// For rustls.
    pub fn identity(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        (
            vec![self.der.clone()],
            PrivateKeyDer::Pkcs8(self.key_der.clone().into()),
        )
    }
}

/// The certificates of a test, in a directory that goes with them.
pub struct Pki {
    directory: TempDir,
    /// PEM file of the CA that signed everything that is good.
    pub ca: PathBuf,
    /// PEM file of another CA.
    pub other_ca: PathBuf,
    /// Good server: localhost, 127.0.0.1, ::1.
    pub server: Pair,
    /// Server whose certificate ended in 2021.
    pub server_expired: Pair,
    /// Server that is called something else.
    pub server_other_name: Pair,
    /// Server that the other CA signed.
    pub server_other_ca: Pair,
    /// Good client.
    pub client: Pair,
    /// Client whose certificate ended in 2021.
    pub client_expired: Pair,
    /// Client that the other CA signed.
    pub client_other_ca: Pair,
    pub(super) ca_der: CertificateDer<'static>,
}

/// Weak: nothing that a process still has at its end is dropped, and the directory would stay.
static SHARED: Mutex<Weak<Pki>> = Mutex::new(Weak::new());

impl Pki {
    /// The certificates that all tests of this process share that run at the same time.
    pub fn shared() -> Arc<Pki> {
        let mut shared = SHARED.lock().unwrap();
        shared.upgrade().unwrap_or_else(|| {
            let pki = Arc::new(Pki::new());
            *shared = Arc::downgrade(&pki);
            pki
        })
    }

    /// A CA of its own and everything below it.
    pub fn new() -> Pki {
        let directory = tempfile::Builder::new()
            .prefix("mrhsm-pki-")
            .tempdir()
            .unwrap();
        let (ca, other) = (authority("mrhsm test CA"), authority("another CA"));
        let at = directory.path();
        let write_ca = |name: &str, ca: &CertifiedIssuer<'_, KeyPair>| {
            let path = at.join(name);
            std::fs::write(&path, ca.pem()).unwrap();
            path
        };
        let here = ["localhost", "127.0.0.1", "::1"];
        let server = ExtendedKeyUsagePurpose::ServerAuth;
        let client = ExtendedKeyUsagePurpose::ClientAuth;
        Pki {
            ca: write_ca("ca.pem", &ca),
            other_ca: write_ca("other-ca.pem", &other),
            server: issue(at, "server", &ca, &here, server.clone(), false),
            server_expired: issue(at, "server-expired", &ca, &here, server.clone(), true),
            server_other_name: issue(
                at,
                "server-other-name",
                &ca,
                &["elsewhere.example"],
                server.clone(),
                false,
            ),
            server_other_ca: issue(at, "server-other-ca", &other, &here, server, false),
            client: issue(at, "client", &ca, &[], client.clone(), false),
            client_expired: issue(at, "client-expired", &ca, &[], client.clone(), true),
            client_other_ca: issue(at, "client-other-ca", &other, &[], client, false),
            ca_der: ca.der().clone(),
            directory,
        }
    }

    /// The directory of all files.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn issue(
    directory: &Path,
    name: &str,
    ca: &CertifiedIssuer<'_, KeyPair>,
    hosts: &[&str],
    usage: ExtendedKeyUsagePurpose,
    expired: bool,
) -> Pair {
    let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
    let mut params = CertificateParams::new(hosts).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    if expired {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    }
    let key = KeyPair::generate().unwrap();
    let cert = params.signed_by(&key, ca).unwrap();
    let pair = Pair {
        cert: directory.join(format!("{name}.pem")),
        key: directory.join(format!("{name}.key")),
        der: cert.der().clone(),
        key_der: key.serialize_der(),
    };
    std::fs::write(&pair.cert, cert.pem()).unwrap();
    std::fs::write(&pair.key, key.serialize_pem()).unwrap();
    pair
}
