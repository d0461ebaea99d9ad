//! The certificate of a server directory: renewed if mrhsm issued it, else only checked.

use std::path::Path;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::exit::{Failure, Outcome};
use super::output::note;
use crate::server::hosts;

/// A certificate with fewer days left is renewed, with the same key.
const RENEW_DAYS: i64 = 30;
const DAY: i64 = 24 * 3600;

/// Whether a certificate that mrhsm issued has all these hosts and need not be renewed yet.
pub fn lasts(path: &Path, wanted: &[String]) -> bool {
    let Ok(der) = CertificateDer::from_pem_file(path) else {
        return false;
    };
    let Ok((_, certificate)) = X509Certificate::from_der(&der) else {
        return false;
    };
    let left = certificate.validity().not_after.timestamp() - jiff::Timestamp::now().as_second();
    let known = hosts(&certificate);
    left >= RENEW_DAYS * DAY && wanted.iter().all(|host| known.contains(host))
}

/// Checks a `server.pem` that mrhsm did not issue; the error says what to correct.
pub fn check_foreign(dir: &Path, wanted: &[String]) -> Outcome {
    let path = dir.join("server.pem");
    let days = problem(&path, &dir.join("server.key"), wanted).map_err(|problem| {
        Failure::not_ready(format!(
            "{path}: {problem}. mrhsm did not issue this certificate and does not replace it.\n\
             hint: correct it, or have the server issue one of its own authority: rm {path}",
            path = path.display()
        ))
    })?;
    if days < RENEW_DAYS {
        note(format!(
            "{} expires in {days} days. mrhsm did not issue it and does not renew it.",
            path.display()
        ));
    }
    Ok(())
}

/// The days that a certificate has left, or why it cannot be used.
fn problem(path: &Path, key: &Path, wanted: &[String]) -> Result<i64, String> {
    let chain: Vec<CertificateDer<'_>> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|e| format!("it is not a PEM certificate ({e})"))?;
    let first = chain.first().ok_or("it has no certificate")?;
    let (_, certificate) = X509Certificate::from_der(first)
        .map_err(|e| format!("its certificate cannot be parsed ({e})"))?;
    let (now, validity) = (jiff::Timestamp::now().as_second(), certificate.validity());
    if validity.not_after.timestamp() <= now {
        return Err(format!("the certificate expired on {}", validity.not_after));
    }
    if validity.not_before.timestamp() > now {
        return Err(format!(
            "the certificate is not valid before {}",
            validity.not_before
        ));
    }
    let known = hosts(&certificate);
    if let Some(missing) = wanted.iter().find(|host| !known.contains(host)) {
        return Err(format!(
            "the certificate does not name {missing}, which -san asks for"
        ));
    }
    if !key.exists() {
        return Err(format!("its key {} is missing", key.display()));
    }
    Ok((validity.not_after.timestamp() - now) / DAY)
}
