//! Certificates: an authority of one's own, and what it signs for servers and clients.
//!
//! For laptops, edge nodes and tests; a site with an authority uses that. The authority is `ca.pem` and `ca.key` in its
//! directory, everything it signs `NAME.pem`, `NAME.key` and, where wanted, `NAME.p12`; what it signed is in its index, what it
//! revoked in `crl.pem`. All keys are P-256.

use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use p12_keystore::{
    Certificate as P12Certificate, KeyStore, KeyStoreEntry, PrivateKey as P12Key, PrivateKeyChain,
};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::crl;
use super::issued::{Index, Issued, Reason};
use super::lock::DirLock;
use super::pair::{recover, replace, replace_pair};
use super::units::with_subject;
use crate::crypto::rng;
use crate::error::{Error, Result};
use crate::secret::Secret;

const DAY: i64 = 24 * 3600;
/// How long the authority itself is valid, in days.
pub const AUTHORITY_DAYS: u32 = 3650;

/// Begins the common name of an authority.
pub const AUTHORITY_NAME: &str = "mrhsm CA";

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
    index: Index,
}

/// Whether the authority may replace a certificate file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// There is no such file.
    Missing,
    /// The index has the certificate.
    Issued,
    /// An administrator's, or not readable as a certificate: never replaced.
    Foreign,
}

/// Which certificates are meant.
#[derive(Debug)]
pub enum Which<'a> {
    /// All that are valid and have this name.
    Name(&'a str),
    /// The one of this serial number, hexadecimal.
    Serial(&'a str),
    /// The one in this PEM file.
    File(&'a Path),
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
            let params = authority(&format!("{AUTHORITY_NAME} {tag}"), AUTHORITY_DAYS)?;
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
        let index = match Index::read(directory)? {
            Some(index) => index,
            None => {
                let mut index = Index::new(directory);
                index.issued(signed_before(directory, &parsed))?;
                index
            }
        };
        crl::refresh(directory, &index, &issuer, parsed.public_key())?;
        Ok((
            Authority {
                directory: directory.to_owned(),
                _lock: lock,
                issuer,
                certificate: certificate.to_vec(),
                index,
            },
            made,
        ))
    }

    /// Whether a certificate is revoked.
    pub fn has_revoked(&self, path: &Path) -> bool {
        let Ok(der) = CertificateDer::from_pem_file(path) else {
            return false;
        };
        X509Certificate::from_der(&der).is_ok_and(|(_, parsed)| {
            self.index
                .find(&Issued::of(&parsed).serial)
                .is_some_and(|issued| issued.revoked.is_some())
        })
    }

    /// Whether a certificate file may be replaced: only one whose serial number and key the index
    /// has. A file that cannot be parsed may be an administrator's with a typo.
    pub fn standing(&self, path: &Path) -> Standing {
        if matches!(path.symlink_metadata(), Err(e) if e.kind() == ErrorKind::NotFound) {
            return Standing::Missing;
        }
        let is_issued = CertificateDer::from_pem_file(path).is_ok_and(|der| {
            X509Certificate::from_der(&der).is_ok_and(|(_, parsed)| {
                let found = Issued::of(&parsed);
                self.index
                    .find(&found.serial)
                    .is_some_and(|issued| issued.key == found.key)
            })
        });
        match is_issued {
            true => Standing::Issued,
            false => Standing::Foreign,
        }
    }

    /// Everything that the authority signed, the oldest first.
    pub fn issued(&self) -> &[Issued] {
        self.index.all()
    }

    /// PEM file of the authority's revocation list.
    pub fn revocations(&self) -> PathBuf {
        crl::path(&self.directory)
    }

    /// Revokes certificates, and signs the revocation list anew.
    ///
    /// # Errors
    /// A name without valid certificates, a serial number or a file of another authority.
    pub fn revoke(&mut self, which: &Which<'_>, reason: Reason) -> Result<Vec<Issued>> {
        let serials = match which {
            Which::Name(name) => self.valid(name)?,
            Which::Serial(serial) => {
                let plain: String = serial
                    .chars()
                    .filter(|c| *c != ':')
                    .flat_map(char::to_lowercase)
                    .collect();
                let plain = plain.trim_start_matches("0x").to_owned();
                let known = self.index.find(&plain).ok_or_else(|| {
                    Error::input(format!(
                        "no certificate with the serial number {serial} is in the index: see 'mrhsm certs list'"
                    ))
                })?;
                vec![known.serial.clone()]
            }
            Which::File(path) => vec![self.known(path)?],
        };
        self.index.revoked(&serials, reason)?;
        let (_, own) = X509Certificate::from_der(&self.certificate)
            .map_err(|e| cannot(self.certificate().display(), e))?;
        crl::refresh(&self.directory, &self.index, &self.issuer, own.public_key())?;
        Ok(serials
            .iter()
            .filter_map(|serial| self.index.find(serial).cloned())
            .collect())
    }

    /// Serial numbers of the certificates of a name that are neither revoked nor expired.
    fn valid(&self, name: &str) -> Result<Vec<String>> {
        let now = jiff::Timestamp::now().as_second();
        let valid: Vec<String> = self
            .index
            .all()
            .iter()
            .filter(|issued| {
                issued.name == name && issued.revoked.is_none() && issued.not_after > now
            })
            .map(|issued| issued.serial.clone())
            .collect();
        match valid.is_empty() {
            false => Ok(valid),
            true => Err(Error::input(format!(
                "no valid certificate has the name '{name}': see 'mrhsm certs list'"
            ))),
        }
    }

    /// The serial number of a certificate in a file, which the index takes in if it does not know it.
    fn known(&mut self, path: &Path) -> Result<String> {
        let der = CertificateDer::from_pem_file(path).map_err(|e| cannot(path.display(), e))?;
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|e| cannot(path.display(), e))?;
        let (_, own) = X509Certificate::from_der(&self.certificate)
            .map_err(|e| cannot(self.certificate().display(), e))?;
        if parsed.verify_signature(Some(own.public_key())).is_err() || der[..] == self.certificate {
            return Err(cannot(
                path.display(),
                "the authority of this directory did not sign it",
            ));
        }
        let issued = Issued::of(&parsed);
        let serial = issued.serial.clone();
        if self.index.find(&serial).is_none() {
            self.index.issued(vec![issued])?;
        }
        Ok(serial)
    }

    /// Makes a new certificate of a name, for what its last one is for. With the same key unless `new_key`; for so many days, or
    /// as many as the last one.
    pub fn renew(
        &mut self,
        name: &str,
        new_key: bool,
        days: Option<u32>,
        p12: Option<&Secret>,
    ) -> Result<Certified> {
        let path = self.directory.join(format!("{name}.pem"));
        if name.contains('/') || !path.exists() {
            return Err(Error::input(format!(
                "{} is missing: make a certificate with 'mrhsm certs -name {name}'",
                path.display()
            )));
        }
        let der = CertificateDer::from_pem_file(&path).map_err(|e| cannot(path.display(), e))?;
        let (_, last) = X509Certificate::from_der(&der).map_err(|e| cannot(path.display(), e))?;
        let validity = last.validity();
        let span = validity.not_after.timestamp() - validity.not_before.timestamp();
        // Of its span, two days are the margins that every certificate has.
        let days = days.unwrap_or(u32::try_from(span / DAY - 2).unwrap_or(0).max(1));
        let clusters: Vec<String> = last
            .subject()
            .iter_organizational_unit()
            .filter_map(|unit| unit.as_str().ok().map(str::to_owned))
            .collect();
        let hosts = hosts(&last);
        let wanted = Wanted {
            name,
            hosts: &hosts,
            clusters: &clusters,
            days,
            p12,
        };
        self.make(&wanted, new_key)
    }

    /// PEM file of the authority's certificate.
    pub fn certificate(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// True when it has signed nothing yet.
    pub fn has_issued_nothing(&self) -> bool {
        self.index.all().is_empty()
    }

    /// Makes a certificate, with the key that is there already or a new one.
    pub fn issue(&mut self, wanted: &Wanted<'_>) -> Result<Certified> {
        self.make(wanted, false)
    }

    fn make(&mut self, wanted: &Wanted<'_>, new_key: bool) -> Result<Certified> {
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
        if self.standing(&certificate_path) == Standing::Foreign {
            return Err(Error::input(format!(
                "{} is not replaced: this authority did not issue it\n\
                 hint: move it away, or choose another name with -name",
                certificate_path.display()
            )));
        }
        let kept = match key_path.exists() && !new_key {
            true => self.kept_key(&key_path)?,
            false => None,
        };
        let renewed = kept.is_some();
        let key = match kept {
            Some(key) => key,
            None => KeyPair::generate().map_err(|e| cannot("a key", e))?,
        };
        let mut params = CertificateParams::new(wanted.hosts.to_vec())
            .map_err(|e| cannot("a name of -san", e))?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, wanted.name);
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
        let der = match wanted.clusters {
            [] => certificate.der().to_vec(),
            units => with_subject(certificate.der(), wanted.name, units, self.issuer.key())?,
        };
        let (_, parsed) =
            X509Certificate::from_der(&der).map_err(|e| cannot("the certificate", e))?;
        let pem = pem(&der);
        self.index.issued(vec![Issued::of(&parsed)])?;
        match renewed {
            true => replace(
                &self.directory,
                &format!("{}.pem", wanted.name),
                pem.as_bytes(),
                0o644,
            )?,
            false => replace_pair(&self.directory, wanted.name, &key, &pem)?,
        }
        let p12 = match wanted.p12 {
            None => None,
            Some(password) => {
                replace(
                    &self.directory,
                    &format!("{}.p12", wanted.name),
                    self.pkcs12(wanted.name, &der, &key, password)?.expose(),
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

    /// The key in a file; `None` when a certificate of it is revoked: a new certificate needs another.
    fn kept_key(&self, path: &Path) -> Result<Option<KeyPair>> {
        let unreadable =
            |e: std::io::Error| Error::file(format!("{} cannot be read", path.display()), e);
        let text = Secret::new(fs::read(path).map_err(unreadable)?);
        let key = KeyPair::from_pem(&String::from_utf8_lossy(text.expose()))
            .map_err(|e| cannot(path.display(), e))?;
        let hash = data_encoding::HEXLOWER.encode(&Sha256::digest(key.subject_public_key_info()));
        let revoked = self
            .index
            .all()
            .iter()
            .any(|issued| issued.revoked.is_some() && issued.key == hash);
        Ok((!revoked).then_some(key))
    }

    fn pkcs12(
        &self,
        name: &str,
        certificate: &[u8],
        key: &KeyPair,
        password: &Secret,
    ) -> Result<Secret> {
        let failed = |e: p12_keystore::error::Error| cannot("the PKCS#12 file", e);
        let password = std::str::from_utf8(password.expose())
            .map_err(|_| Error::input("the PKCS#12 password is not UTF-8"))?;
        let key = P12Key::from_der(&key.serialize_der()).map_err(failed)?;
        let chain = [
            P12Certificate::from_der(certificate).map_err(failed)?,
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

/// The certificates in a directory that its authority signed before there was an index.
fn signed_before(directory: &Path, authority: &X509Certificate<'_>) -> Vec<Issued> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "pem"))
        .collect();
    paths.sort();
    let signed = paths.iter().filter_map(|path| {
        let der = CertificateDer::from_pem_file(path).ok()?;
        let (_, parsed) = X509Certificate::from_der(&der).ok()?;
        let is_own = parsed.raw_serial() == authority.raw_serial();
        let signed = parsed
            .verify_signature(Some(authority.public_key()))
            .is_ok();
        (signed && !is_own).then(|| Issued::of(&parsed))
    });
    signed.collect()
}

fn pem(der: &[u8]) -> String {
    let text = data_encoding::BASE64.encode(der);
    let lines = text.as_bytes().chunks(64).map(String::from_utf8_lossy);
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        lines.collect::<Vec<_>>().join("\n")
    )
}

/// The names and addresses of a server's certificate.
pub fn hosts(certificate: &X509Certificate<'_>) -> Vec<String> {
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.map_or(&[][..], |names| &names.value.general_names);
    let host = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes)
                .ok()
                .map(|bytes| IpAddr::from(bytes).to_string()),
            _ => <[u8; 16]>::try_from(*bytes)
                .ok()
                .map(|bytes| IpAddr::from(bytes).to_string()),
        },
        _ => None,
    };
    names.iter().filter_map(host).collect()
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
        for (step, end) in (0..steps)
            .flat_map(|step| [End::Killed, End::Error(libc::ENOSPC)].map(|end| (step, end)))
        {
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
