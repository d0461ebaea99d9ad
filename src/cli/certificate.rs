//! What people want to know about a certificate, in the form OpenSSL made familiar.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::{Serialize, Serializer};
use x509_parser::asn1_rs::Oid;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::{ASN1Time, FromDer};
use x509_parser::x509::X509Name;

use super::output::Output;
use crate::config::to_hex;
use crate::error::{Error, Result};

/// A certificate as `info -config` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct CertificateView {
    /// Subject in one line: `/C=US/O=Example/CN=client`.
    pub subject: String,
    /// Issuer in one line.
    pub issuer: String,
    /// X.509 version, counted from 1.
    pub version: u32,
    /// Algorithm of the issuer's signature, by its OpenSSL name.
    pub signature_algorithm: String,
    /// Algorithm of the public key, by its OpenSSL name.
    pub key_algorithm: String,
    /// First second of validity.
    #[serde(serialize_with = "rfc3339")]
    not_before: ASN1Time,
    /// Last second of validity.
    #[serde(serialize_with = "rfc3339")]
    not_after: ASN1Time,
    /// Days until `not_after`; negative when it has passed.
    pub days_left: i64,
}

impl CertificateView {
    /// Reads a DER certificate; `name` is the file for the error.
    pub fn from_der(der: &[u8], name: &str) -> Result<CertificateView> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|e| {
            Error::input(format!(
                "{name} does not hold an X.509 certificate that can be read ({e})"
            ))
        })?;
        let validity = certificate.validity();
        Ok(CertificateView {
            subject: one_line(certificate.subject()),
            issuer: one_line(certificate.issuer()),
            version: certificate.version().0.saturating_add(1),
            signature_algorithm: algorithm_name(&certificate.signature_algorithm.algorithm),
            key_algorithm: algorithm_name(&certificate.public_key().algorithm.algorithm),
            not_before: validity.not_before,
            not_after: validity.not_after,
            days_left: (validity.not_after.timestamp() - jiff::Timestamp::now().as_second())
                .div_euclid(24 * 60 * 60),
        })
    }

    /// Reads every certificate of a PEM text.
    pub fn from_pem(pem: &[u8], name: &str) -> Result<Vec<CertificateView>> {
        CertificateDer::pem_slice_iter(pem)
            .map(|der| {
                let der = der.map_err(|e| {
                    Error::input(format!("{name}: the PEM text is damaged")).because(e.to_string())
                })?;
                CertificateView::from_der(&der, name)
            })
            .collect()
    }

    /// First second of validity, as people read it.
    pub fn not_before(&self) -> String {
        date(self.not_before)
    }

    /// Last second of validity, as people read it.
    pub fn not_after(&self) -> String {
        date(self.not_after)
    }

    /// The lines of `info -config`, in the words of `openssl x509`.
    pub fn print(&self, title: &str, out: &mut Output) {
        out.line(title);
        out.line(format!("    Subject: {}", self.subject));
        out.line(format!("    Issuer: {}", self.issuer));
        out.line(format!("    Version: {}", self.version));
        out.line(format!(
            "    Signature Algorithm: {}",
            self.signature_algorithm
        ));
        out.line(format!("    Public Key Algorithm: {}", self.key_algorithm));
        out.line("    Validity:");
        out.line(format!("        Not before: {}", self.not_before()));
        out.line(format!("        Not after: {}", self.not_after()));
    }
}

/// A name in the form of OpenSSL's `X509_NAME_oneline`.
fn one_line(name: &X509Name<'_>) -> String {
    let mut line = String::new();
    for attribute in name.iter_attributes() {
        line.push('/');
        line.push_str(&attribute_name(attribute.attr_type()));
        line.push('=');
        let text = attribute
            .as_str()
            .map_or_else(|_| format!("#{}", to_hex(attribute.as_slice())), escaped);
        line.push_str(&text);
    }
    line
}

/// Text from a certificate must not move the cursor or fake a line.
fn escaped(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            if c.is_control() {
                c.escape_unicode().collect::<String>()
            } else {
                c.to_string()
            }
            .chars()
            .collect::<Vec<_>>()
        })
        .collect()
}

/// OpenSSL's short name of a name attribute, or the OID itself.
fn attribute_name(oid: &Oid<'_>) -> String {
    let dotted = oid.to_id_string();
    let short = match dotted.as_str() {
        "2.5.4.3" => "CN",
        "2.5.4.4" => "SN",
        "2.5.4.5" => "serialNumber",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "street",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.12" => "title",
        "2.5.4.42" => "GN",
        "2.5.4.97" => "organizationIdentifier",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        "1.2.840.113549.1.9.1" => "emailAddress",
        _ => return dotted,
    };
    short.to_string()
}

/// OpenSSL's name of a public key or signature algorithm, or the OID itself.
fn algorithm_name(oid: &Oid<'_>) -> String {
    let dotted = oid.to_id_string();
    let name = match dotted.as_str() {
        "1.2.840.113549.1.1.1" => "rsaEncryption",
        "1.2.840.113549.1.1.5" => "sha1WithRSAEncryption",
        "1.2.840.113549.1.1.10" => "rsassaPss",
        "1.2.840.113549.1.1.11" => "sha256WithRSAEncryption",
        "1.2.840.113549.1.1.12" => "sha384WithRSAEncryption",
        "1.2.840.113549.1.1.13" => "sha512WithRSAEncryption",
        "1.2.840.10045.2.1" => "id-ecPublicKey",
        "1.2.840.10045.4.3.2" => "ecdsa-with-SHA256",
        "1.2.840.10045.4.3.3" => "ecdsa-with-SHA384",
        "1.2.840.10045.4.3.4" => "ecdsa-with-SHA512",
        "1.3.101.112" => "ED25519",
        "1.3.101.113" => "ED448",
        _ => return dotted,
    };
    name.to_string()
}

/// `2029-08-05T05:23:00Z`, as programs read it.
fn rfc3339<S: Serializer>(time: &ASN1Time, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    match jiff::Timestamp::from_second(time.timestamp()) {
        Ok(stamp) => serializer.collect_str(&stamp),
        Err(_) => serializer.collect_str(time),
    }
}

/// `Aug  5 05:23:00 2029 GMT`, as OpenSSL's `ASN1_TIME_print`.
fn date(time: ASN1Time) -> String {
    match jiff::Timestamp::from_second(time.timestamp()) {
        Ok(stamp) => stamp
            .to_zoned(jiff::tz::TimeZone::UTC)
            .strftime("%b %e %H:%M:%S %Y GMT")
            .to_string(),
        Err(_) => time.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_reads_as_openssl_shows_it() {
        let mut params = rcgen::CertificateParams::new(vec!["client.example".to_string()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(rcgen::DnType::CountryName, "US");
        params
            .distinguished_name
            .push(rcgen::DnType::OrganizationName, "Example\nOU=forged");
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "kmipclient");
        params.distinguished_name.push(
            rcgen::DnType::CustomDnType(vec![1, 2, 840, 113_549, 1, 9, 1]),
            "a@example.com",
        );
        params.not_before = rcgen::date_time_ymd(2020, 1, 13);
        params.not_after = rcgen::date_time_ymd(2020, 8, 5);
        let key = rcgen::KeyPair::generate().unwrap();
        let view =
            CertificateView::from_der(params.self_signed(&key).unwrap().der(), "c.pem").unwrap();
        assert_eq!(
            view.subject,
            "/C=US/O=Example\\u{a}OU=forged/CN=kmipclient/emailAddress=a@example.com"
        );
        assert_eq!(view.subject, view.issuer);
        assert_eq!(view.version, 3);
        assert_eq!(view.signature_algorithm, "ecdsa-with-SHA256");
        assert_eq!(view.key_algorithm, "id-ecPublicKey");
        assert_eq!(view.not_before(), "Jan 13 00:00:00 2020 GMT");
        assert_eq!(view.not_after(), "Aug  5 00:00:00 2020 GMT");
        assert_eq!(
            serde_json::to_value(&view).unwrap()["not_after"],
            "2020-08-05T00:00:00Z"
        );
        assert!(view.days_left < -1000);
    }

    #[test]
    fn garbage_is_named() {
        let e = CertificateView::from_der(b"\x30\x03garbage", "c.pem").unwrap_err();
        assert!(
            e.to_string()
                .starts_with("c.pem does not hold an X.509 certificate"),
            "{e}"
        );
    }
}
