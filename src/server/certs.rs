//! Certificates: an authority of one's own, and what it signs for servers and clients.
//!
//! For laptops, edge nodes and tests; a site with an authority uses that. The authority is `ca.pem` and `ca.key` in its
//! directory, everything it signs `NAME.pem`, `NAME.key` and, where wanted, `NAME.p12`. All keys are P-256.

use std::fs;
use std::path::{Path, PathBuf};

use p12_keystore::{
    Certificate as P12Certificate, KeyStore, KeyStoreEntry, PrivateKey as P12Key, PrivateKeyChain,
};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::lock::DirLock;
use super::pair::{recover, replace, replace_pair};
use crate::crypto::rng;
use crate::error::{Error, Result};
use crate::secret::Secret;

const DAY: i64 = 24 * 3600;
/// How long the authority itself is valid, in days.
pub const AUTHORITY_DAYS: u32 = 3650;

/// A certificate that is wanted.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// Its common name, and the name of its files.
    pub name: &'a str,
    /// Names and addresses of a server; a client has none.
    pub hosts: &'a [String],
    /// Organisational units: the clusters whose keys a client shares.
    pub clusters: &'a [String],
    /// How long it is valid, in days.
    pub days: u32,
    /// Password of a PKCS#12 file, when one is wanted.
    pub p12: Option<&'a Secret>,
}

/// A certificate that was made: its files.
#[derive(Debug)]
pub struct Certified {
    /// Certificate, PEM.
    pub certificate: PathBuf,
    /// Private key, PEM (PKCS#8), readable by its owner only.
    pub key: PathBuf,
    /// Both with the authority's certificate, PKCS#12.
    pub p12: Option<PathBuf>,
    /// The key is the one that was there before.
    pub renewed: bool,
}

/// An authority, in a directory. It holds the directory's lock: drop it when what it makes is made.
pub struct Authority {
    directory: PathBuf,
    _lock: DirLock,
    issuer: Issuer<'static, KeyPair>,
    certificate: Vec<u8>,
}

fn cannot(what: impl std::fmt::Display, e: impl std::fmt::Display) -> Error {
    Error::input(format!("{what}: {e}"))
}

impl Authority {
    /// The authority in `directory`, made when there is none. The second value is true when it was made.
    pub fn open(directory: &Path) -> Result<(Authority, bool)> {
        let lock = DirLock::take(directory)?;
        recover(directory)?;
        let (pem_path, key_path) = (directory.join("ca.pem"), directory.join("ca.key"));
        let made = !pem_path.exists();
        if made {
            if key_path.exists() {
                return Err(cannot(
                    pem_path.display(),
                    "the authority's certificate is missing, its key is there: restore it",
                ));
            }
            let key = KeyPair::generate().map_err(|e| cannot("a key", e))?;
            let tag = data_encoding::HEXLOWER.encode(rng::bytes(4)?.expose());
            let params = authority(&format!("mrhsm CA {tag}"), AUTHORITY_DAYS)?;
            let certificate = params
                .self_signed(&key)
                .map_err(|e| cannot("the authority's certificate", e))?;
            replace_pair(directory, "ca", &key, &certificate.pem())?;
        }
        let unreadable =
            |e: std::io::Error| Error::file(format!("{} cannot be read", key_path.display()), e);
        let key = Secret::new(fs::read(&key_path).map_err(unreadable)?);
        let key = KeyPair::from_pem(&String::from_utf8_lossy(key.expose()))
            .map_err(|e| cannot(key_path.display(), e))?;
        let certificate =
            CertificateDer::from_pem_file(&pem_path).map_err(|e| cannot(pem_path.display(), e))?;
        let (_, parsed) =
            X509Certificate::from_der(&certificate).map_err(|e| cannot(pem_path.display(), e))?;
        let name = parsed
            .subject()
            .iter_common_name()
            .find_map(|name| name.as_str().ok());
        let name = name
            .ok_or_else(|| cannot(pem_path.display(), "it is not an authority that mrhsm made"))?;
        let issuer = Issuer::new(authority(name, AUTHORITY_DAYS)?, key);
        let directory = directory.to_owned();
        Ok((
            Authority {
                directory,
                _lock: lock,
                issuer,
                certificate: certificate.to_vec(),
            },
            made,
        ))
    }

    /// PEM file of the authority's certificate.
    pub fn certificate(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// True when the directory has no certificate beside the authority's own.
    pub fn has_issued_nothing(&self) -> bool {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.file_name())
            .all(|name| name == "ca.pem" || !name.as_encoded_bytes().ends_with(b".pem"))
    }

    /// Makes a certificate, with the key that is there already or a new one.
    pub fn issue(&self, wanted: &Wanted<'_>) -> Result<Certified> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if wanted.name.is_empty()
            || wanted.name.starts_with('.')
            || !wanted.name.chars().all(plain)
            || wanted.name == "ca"
        {
            return Err(Error::input(format!(
                "'{}' is no name: use letters, digits, '.', '-' and '_'",
                wanted.name
            )));
        }
        let path = |ending: &str| self.directory.join(format!("{}.{ending}", wanted.name));
        let (certificate_path, key_path) = (path("pem"), path("key"));
        let renewed = key_path.exists();
        let key = match renewed {
            true => {
                let unreadable = |e: std::io::Error| {
                    Error::file(format!("{} cannot be read", key_path.display()), e)
                };
                let text = Secret::new(fs::read(&key_path).map_err(unreadable)?);
                KeyPair::from_pem(&String::from_utf8_lossy(text.expose()))
                    .map_err(|e| cannot(key_path.display(), e))?
            }
            false => KeyPair::generate().map_err(|e| cannot("a key", e))?,
        };
        let mut params = CertificateParams::new(wanted.hosts.to_vec())
            .map_err(|e| cannot("a name of -san", e))?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, wanted.name);
        for cluster in wanted.clusters {
            params
                .distinguished_name
                .push(DnType::OrganizationalUnitName, cluster.as_str());
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match wanted.hosts.is_empty() {
            true => ExtendedKeyUsagePurpose::ClientAuth,
            false => ExtendedKeyUsagePurpose::ServerAuth,
        }];
        params.use_authority_key_identifier_extension = true;
        dated(&mut params, wanted.days)?;
        let certificate = params
            .signed_by(&key, &self.issuer)
            .map_err(|e| cannot("the certificate", e))?;
        match renewed {
            true => replace(
                &self.directory,
                &format!("{}.pem", wanted.name),
                certificate.pem().as_bytes(),
                0o644,
            )?,
            false => replace_pair(&self.directory, wanted.name, &key, &certificate.pem())?,
        }
        let p12 = match wanted.p12 {
            None => None,
            Some(password) => {
                replace(
                    &self.directory,
                    &format!("{}.p12", wanted.name),
                    self.pkcs12(wanted.name, &certificate, &key, password)?
                        .expose(),
                    0o600,
                )?;
                Some(path("p12"))
            }
        };
        Ok(Certified {
            certificate: certificate_path,
            key: key_path,
            p12,
            renewed,
        })
    }

    fn pkcs12(
        &self,
        name: &str,
        certificate: &Certificate,
        key: &KeyPair,
        password: &Secret,
    ) -> Result<Secret> {
        let failed = |e: p12_keystore::error::Error| cannot("the PKCS#12 file", e);
        let password = std::str::from_utf8(password.expose())
            .map_err(|_| Error::input("the PKCS#12 password is not UTF-8"))?;
        let key = P12Key::from_der(&key.serialize_der()).map_err(failed)?;
        let chain = [
            P12Certificate::from_der(certificate.der()).map_err(failed)?,
            P12Certificate::from_der(&self.certificate).map_err(failed)?,
        ];
        let mut store = KeyStore::new();
        store.add_entry(
            name,
            KeyStoreEntry::PrivateKeyChain(PrivateKeyChain::new(name, key, chain)),
        );
        store
            .writer(password)
            .write()
            .map(Secret::new)
            .map_err(failed)
    }
}

/// What an authority's own certificate says.
pub fn authority(name: &str, days: u32) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new()).map_err(|e| cannot("the authority", e))?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    dated(&mut params, days)?;
    Ok(params)
}

/// Validity from a day ago, for clocks that are behind, and a random serial number.
pub fn dated(params: &mut CertificateParams, days: u32) -> Result<()> {
    let now = jiff::Timestamp::now().as_second();
    let date = |seconds: i64| {
        let date = jiff::Timestamp::from_second(seconds).map_err(|e| cannot("-days", e))?;
        let date = date.to_zoned(jiff::tz::TimeZone::UTC);
        let year = i32::from(date.year());
        match year < 10_000 {
            true => Ok(rcgen::date_time_ymd(
                year,
                date.month().unsigned_abs(),
                date.day().unsigned_abs(),
            )),
            false => Err(Error::input("so many days reach beyond the year 9999")),
        }
    };
    params.not_before = date(now - DAY)?;
    params.not_after = date(now + (i64::from(days) + 1) * DAY)?;
    let mut serial = rng::bytes(16)?.expose().to_vec();
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::pair::belongs;
    use super::*;
    use crate::fault::{End, run, scratch};

    const NODE: Wanted<'_> = Wanted {
        name: "node",
        hosts: &[],
        clusters: &[],
        days: 30,
        p12: None,
    };

    fn issued(directory: &Path) -> Result<()> {
        Authority::open(directory)?.0.issue(&NODE).map(drop)
    }

    /// Whether every certificate in a directory has its key, and is signed by the authority there.
    fn is_whole(directory: &Path) -> bool {
        let signer = CertificateDer::from_pem_file(directory.join("ca.pem")).unwrap();
        let (_, signer) = X509Certificate::from_der(&signer).unwrap();
        ["ca", "node"].iter().all(|name| {
            let path = directory.join(format!("{name}.pem"));
            let der = CertificateDer::from_pem_file(&path).unwrap();
            let (_, certificate) = X509Certificate::from_der(&der).unwrap();
            belongs(&directory.join(format!("{name}.key")), &path)
                && certificate
                    .verify_signature(Some(signer.public_key()))
                    .is_ok()
        })
    }

    #[test]
    fn a_crash_at_any_step_leaves_pairs_that_work() {
        let (_, steps) = run(None, || issued(scratch().path()).unwrap());
        assert!(steps >= 12);
        for (step, end) in (0..steps).flat_map(|step| {
            [End::Killed, End::Error(libc::ENOSPC)].map(|end| (step, end))
        }) {
            let folder = scratch();
            let authority = |directory: &Path| std::fs::read(directory.join("ca.pem")).ok();
            run(Some((step, end)), || drop(issued(folder.path())));
            let before = authority(folder.path());
            issued(folder.path()).unwrap_or_else(|e| panic!("{end:?} at step {step}: {e}"));
            assert!(is_whole(folder.path()), "{end:?} at step {step}");
            let after = authority(folder.path());
            assert!(
                before.is_none() || before == after,
                "{end:?} at step {step}: another authority"
            );
        }
    }
}
