//! The client's certificate and key, the CA certificates and the password, as options give them: read and checked before
//! anything is written.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::args::Settings;
use super::certificate::CertificateView;
use super::exit::{Failure, Outcome};
use super::output::note;
use super::prompt;
use crate::crypto::crl::Crls;
use crate::error::{Error, Result};
use crate::net;
use crate::secret::Secret;
use crate::token::secrets::{Identity, IdentityChange, Part};

/// Certificates and keys are a few KiB; more is the wrong file.
const MAX_FILE: u64 = 1 << 20;
/// A certificate with fewer days left is worth a warning.
const SOON: i64 = 30;

/// What the options gave, read and checked as far as it can be without the token's own files.
#[derive(Debug, Default)]
pub struct Given {
    certificate: Option<(PathBuf, Vec<u8>)>,
    key: Option<(PathBuf, Secret)>,
    passphrase: Option<Secret>,
    /// Certificate and key that belong together.
    pair: Option<net::Identity>,
    ca: Option<Vec<u8>>,
    crl: Option<Vec<u8>>,
    password: Option<Secret>,
}

impl Given {
    /// Reads the files that `settings` names, asks for a passphrase where one is needed, and checks all of it.
    pub fn read(settings: &Settings) -> Outcome<Given> {
        let mut given = Given::default();
        if let Some(path) = &settings.cacert {
            let text = read_file(path)?;
            certificates(&text, path)?
                .iter()
                .for_each(|view| warn_dates(view, path));
            net::Tls::new(None, &net::Trust::Pem(text.expose().to_vec()), None)
                .map_err(|e| e.context(path.display()))?;
            given.ca = Some(text.expose().to_vec());
        }
        if let Some(path) = &settings.crl {
            let text = read_file(path)?;
            let mut crls = Crls::default();
            crls.read(text.expose(), &path.display().to_string())?;
            if crls.next_update().is_some_and(has_passed) {
                note(format!(
                    "Warning: a CRL in {} has expired: servers of its CA are refused until there is a newer one.",
                    path.display()
                ));
            }
            given.crl = Some(text.expose().to_vec());
        }
        if let Some(path) = &settings.clientcert {
            let text = read_file(path)?;
            certificates(&text, path)?;
            given.certificate = Some((path.clone(), text.expose().to_vec()));
        }
        if let Some(path) = &settings.clientkey {
            warn_open(path);
            given.key = Some((path.clone(), read_file(path)?));
        }
        given.passphrase = match &settings.clientkeypass {
            Some(pass) => Some(pass.read("-clientkeypass")?),
            None => None,
        };
        if let Some(path) = &settings.p12 {
            warn_open(path);
            let file = read_file(path)?;
            given.ask_passphrase(path)?;
            let passphrase = given.passphrase.take().unwrap_or_default();
            given.pair = Some(
                net::Identity::from_pkcs12(file.expose(), &passphrase)
                    .map_err(|e| e.context(path.display()))?,
            );
        } else if given.key.as_ref().is_some_and(|(_, key)| is_encrypted(key))
            && let Some((path, _)) = &given.key
        {
            given.ask_passphrase(&path.clone())?;
        }
        if let (Some((path, certificate)), Some((_, key))) = (&given.certificate, &given.key) {
            given.pair = Some(pair(certificate, key, given.passphrase.as_ref(), path)?);
        }
        if let Some(pair) = &given.pair {
            check_pair(
                pair,
                settings.p12.as_deref().or(settings.clientcert.as_deref()),
            )?;
        }
        if let Some(password) = &settings.password {
            given.password = Some(password.read("-password")?);
        }
        Ok(given)
    }

    /// What is to be written: a certificate or a key given alone must fit what the token has already.
    pub fn complete(self, stored: &Identity) -> Outcome<NewIdentity> {
        let pair = match (self.pair, self.certificate, self.key) {
            (Some(pair), ..) => Some(pair),
            (None, None, None) => None,
            (None, Some((path, certificate)), _) => match &stored.key {
                Some(key) => Some(pair(&certificate, key, None, &path)?),
                None => {
                    return Ok(NewIdentity {
                        certificate: Some(certificate),
                        key: None,
                        ca: self.ca,
                        crl: self.crl,
                        password: self.password,
                    });
                }
            },
            (None, None, Some((path, key))) => match &stored.certificate {
                Some(certificate) => {
                    Some(pair(certificate, &key, self.passphrase.as_ref(), &path)?)
                }
                None => {
                    return Err(Failure::not_ready(format!(
                        "The certificate that belongs to {} is missing: give -clientcert FILE with it.",
                        path.display()
                    )));
                }
            },
        };
        if let Some(pair) = &pair {
            check_pair(pair, None)?;
        }
        Ok(NewIdentity {
            certificate: pair.as_ref().map(|p| p.chain_pem().into_bytes()),
            key: pair.as_ref().map(net::Identity::key_pem),
            ca: self.ca,
            crl: self.crl,
            password: self.password,
        })
    }

    fn ask_passphrase(&mut self, path: &Path) -> Outcome {
        if self.passphrase.is_none() {
            let prompt = format!("Enter passphrase of {}: ", path.display());
            self.passphrase = Some(prompt::ask(
                &prompt,
                "-clientkeypass file:PATH or -clientkeypass env:NAME",
            )?);
        }
        Ok(())
    }
}

/// The parts of the identity that change, ready to be written.
#[derive(Debug, Default)]
pub struct NewIdentity {
    certificate: Option<Vec<u8>>,
    key: Option<Secret>,
    ca: Option<Vec<u8>>,
    crl: Option<Vec<u8>>,
    password: Option<Secret>,
}

impl NewIdentity {
    /// The change for a token that has none of it.
    pub fn change(&self) -> IdentityChange<'_> {
        self.change_of(&Identity::default())
    }

    /// The change for a token that has `stored`: what is equal stays as it is.
    pub fn change_of(&self, stored: &Identity) -> IdentityChange<'_> {
        fn part<'a>(new: Option<&'a [u8]>, old: Option<&[u8]>) -> Part<'a> {
            if new == old {
                Part::Keep
            } else {
                new.map_or(Part::Keep, Part::Set)
            }
        }
        fn bytes(secret: &Option<Secret>) -> Option<&[u8]> {
            secret.as_ref().map(Secret::expose)
        }
        IdentityChange {
            crl: part(self.crl.as_deref(), stored.crl.as_deref()),
            certificate: part(self.certificate.as_deref(), stored.certificate.as_deref()),
            key: part(bytes(&self.key), bytes(&stored.key)),
            ca: part(self.ca.as_deref(), stored.ca.as_deref()),
            password: part(bytes(&self.password), bytes(&stored.password)),
        }
    }
}

fn has_passed(seconds: i64) -> bool {
    seconds <= jiff::Timestamp::now().as_second()
}

fn pair(
    certificate: &[u8],
    key: &Secret,
    passphrase: Option<&Secret>,
    path: &Path,
) -> Result<net::Identity> {
    net::Identity::from_pem(certificate, key.expose(), passphrase)
        .map_err(|e| e.context(path.display()))
}

/// Refuses an expired certificate, warns of one that expires soon.
fn check_pair(pair: &net::Identity, path: Option<&Path>) -> Outcome {
    pair.check_dates()?;
    if let Some(path) = path {
        let chain =
            CertificateView::from_pem(pair.chain_pem().as_bytes(), &path.display().to_string())?;
        chain.iter().for_each(|view| warn_dates(view, path));
    }
    Ok(())
}

/// Every certificate of a PEM file, at least one, each readable.
fn certificates(text: &Secret, path: &Path) -> Outcome<Vec<CertificateView>> {
    let name = path.display().to_string();
    let list = CertificateView::from_pem(text.expose(), &name)?;
    if list.is_empty() {
        return Err(Error::input(format!(
            "{name} holds no certificate: a PEM file with -----BEGIN CERTIFICATE----- is needed"
        ))
        .into());
    }
    Ok(list)
}

fn warn_dates(view: &CertificateView, path: &Path) {
    if view.days_left < 0 {
        note(format!(
            "Warning: the certificate {} in {} expired on {}.",
            view.subject,
            path.display(),
            view.not_after()
        ));
    } else if view.days_left < SOON {
        note(format!(
            "Warning: the certificate {} in {} expires in {} days, on {}.",
            view.subject,
            path.display(),
            view.days_left,
            view.not_after()
        ));
    }
}

fn warn_open(path: &Path) {
    if let Ok(meta) = std::fs::metadata(path)
        && meta.is_file()
        && meta.mode() & 0o077 != 0
    {
        note(format!(
            "Warning: {} holds a private key and is open to others (mode {:04o}). Mend it with: chmod 600 {}",
            path.display(),
            meta.mode() & 0o7777,
            path.display()
        ));
    }
}

fn is_encrypted(key: &Secret) -> bool {
    let marker = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";
    key.expose().windows(marker.len()).any(|w| w == marker)
}

fn read_file(path: &Path) -> Result<Secret> {
    let cannot = |e| Error::file(format!("cannot read {}", path.display()), e);
    let file = File::open(path).map_err(cannot)?;
    let size = file.metadata().map_err(cannot)?.len().min(MAX_FILE);
    let mut bytes = Vec::with_capacity(size as usize + 1);
    let read = file.take(MAX_FILE + 1).read_to_end(&mut bytes);
    let bytes = Secret::new(bytes);
    match read.map_err(cannot)? as u64 > MAX_FILE {
        true => Err(Error::input(format!(
            "{} is too large for a certificate or a key",
            path.display()
        ))),
        false => Ok(bytes),
    }
}
