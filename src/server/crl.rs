//! The revocation list of our own authority: `crl.pem` beside `ca.pem`, signed anew when a certificate is revoked, and before it
//! expires.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    CertificateRevocationListParams, Issuer, KeyIdMethod, KeyPair, RevocationReason,
    RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{CertificateRevocationList, FromDer};
use x509_parser::x509::SubjectPublicKeyInfo;

use super::certs::AUTHORITY_NAME;
use super::issued::{Index, Reason};
use super::pair::replace;
use crate::error::{Error, Result};

const NAME: &str = "crl.pem";
/// How long a list is valid. It is signed anew when half of that has passed.
const VALID: i64 = 30 * 24 * 3600;

/// Where the list of an authority's directory is.
pub fn path(directory: &Path) -> PathBuf {
    directory.join(NAME)
}

/// Signs the list if it does not say what the index says, or is half way to its end. The caller holds the directory's lock.
pub fn refresh(
    directory: &Path,
    index: &Index,
    issuer: &Issuer<'_, KeyPair>,
    authority: &SubjectPublicKeyInfo<'_>,
) -> Result<()> {
    let now = jiff::Timestamp::now().as_second();
    let date = |seconds: i64| {
        date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds.max(0).unsigned_abs())
    };
    let revoked: Vec<RevokedCertParams> = index
        .all()
        .iter()
        .filter_map(|issued| {
            let (time, reason) = issued.revoked?;
            let serial = data_encoding::HEXLOWER
                .decode(issued.serial.as_bytes())
                .ok()?;
            Some(RevokedCertParams {
                serial_number: SerialNumber::from_slice(&serial),
                revocation_time: date(time),
                reason_code: code(reason),
                invalidity_date: None,
            })
        })
        .collect();
    let last = CertificateRevocationListDer::from_pem_file(path(directory)).ok();
    let mut number = now;
    if let Some(last) = &last
        && let Ok((_, last)) = CertificateRevocationList::from_der(last)
    {
        let is_own = last.verify_signature(authority).is_ok();
        if !is_own {
            replaceable(&last, directory)?;
        }
        let until = last.next_update().map_or(0, |time| time.timestamp());
        let is_complete = last.iter_revoked_certificates().count() == revoked.len();
        if is_own && is_complete && until - now > VALID / 2 {
            return Ok(());
        }
        let known = last
            .crl_number()
            .and_then(|number| number.to_string().parse::<i64>().ok());
        if is_own {
            number = number.max(known.unwrap_or_default() + 1);
        }
    }
    let failed =
        |e: rcgen::Error| Error::input(format!("the revocation list cannot be signed: {e}"));
    let list = CertificateRevocationListParams {
        // Clocks that are a little behind must not find it too new.
        this_update: date(now - 3600),
        next_update: date(now + VALID),
        crl_number: SerialNumber::from_slice(&number.to_be_bytes()),
        issuing_distribution_point: None,
        revoked_certs: revoked,
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let list = list.signed_by(issuer).map_err(failed)?;
    let pem = list.pem().map_err(failed)?;
    replace(directory, NAME, pem.as_bytes(), 0o644)
}

/// Fails if the list is of an authority that mrhsm did not make; one of an earlier authority of the
/// directory may be replaced.
fn replaceable(list: &CertificateRevocationList<'_>, directory: &Path) -> Result<()> {
    let mut names = list.issuer().iter_common_name();
    if names.any(|name| {
        name.as_str()
            .is_ok_and(|name| name.starts_with(AUTHORITY_NAME))
    }) {
        return Ok(());
    }
    Err(Error::input(format!(
        "{} is not replaced: another authority signed it\n\
         hint: move it away, and pass it to 'mrhsm serve' with -crl",
        path(directory).display()
    )))
}

/// What the list says; no reason is given as none (RFC 5280, 5.3.1).
fn code(reason: Reason) -> Option<RevocationReason> {
    Some(match reason {
        Reason::Unspecified => return None,
        Reason::KeyCompromise => RevocationReason::KeyCompromise,
        Reason::AffiliationChanged => RevocationReason::AffiliationChanged,
        Reason::Superseded => RevocationReason::Superseded,
        Reason::CessationOfOperation => RevocationReason::CessationOfOperation,
        Reason::PrivilegeWithdrawn => RevocationReason::PrivilegeWithdrawn,
    })
}
