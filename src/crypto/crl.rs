//! Certificate revocation lists (RFC 5280, 5) as files have them: PEM, several in one, or DER.

use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use crate::error::{Error, Result};

/// Lists that were read.
#[derive(Clone, Debug, Default)]
pub struct Crls(Vec<Crl>);

#[derive(Clone, Debug)]
struct Crl {
    der: CertificateRevocationListDer<'static>,
    this_update: i64,
    next_update: Option<i64>,
}

impl Crls {
    /// Adds the lists of a file; `what` names it in errors.
    pub fn read(&mut self, text: &[u8], what: &str) -> Result<()> {
        let wrong = |why: &dyn std::fmt::Display| {
            Error::input(format!("{what} cannot be used as a CRL: {why}"))
        };
        let ders = match text.starts_with(&[0x30]) {
            true => vec![CertificateRevocationListDer::from(text.to_vec())],
            false => CertificateRevocationListDer::pem_slice_iter(text)
                .collect::<std::result::Result<Vec<_>, _>>()
                .map_err(|e| wrong(&e))?,
        };
        if ders.is_empty() {
            return Err(wrong(&"there is none in it"));
        }
        for der in ders {
            let (rest, parsed) =
                CertificateRevocationList::from_der(&der).map_err(|e| wrong(&e))?;
            if !rest.is_empty() {
                return Err(wrong(&"bytes follow it"));
            }
            let this_update = parsed.last_update().timestamp();
            let next_update = parsed.next_update().map(|time| time.timestamp());
            drop(parsed);
            self.0.push(Crl {
                this_update,
                next_update,
                der,
            });
        }
        // Verification uses the first list of an issuer, so the newest comes first.
        self.0.sort_by_key(|crl| std::cmp::Reverse(crl.this_update));
        Ok(())
    }

    /// True when there is no list.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// When the first of them expires, in seconds since 1970.
    pub fn next_update(&self) -> Option<i64> {
        self.0.iter().filter_map(|crl| crl.next_update).min()
    }

    /// The lists, the newest first.
    pub fn ders(&self) -> Vec<CertificateRevocationListDer<'static>> {
        self.0.iter().map(|crl| crl.der.clone()).collect()
    }
}
