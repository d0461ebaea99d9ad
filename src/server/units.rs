//! Certificates with several organisational units: rcgen writes one attribute of a kind.

use rcgen::{KeyPair, SigningKey};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::error::{Error, Result};

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const BIT_STRING: u8 = 0x03;
const UTF8_STRING: u8 = 0x0c;
/// 2.5.4.3 and 2.5.4.11.
const COMMON_NAME: [u8; 5] = [0x06, 0x03, 0x55, 0x04, 0x03];
const UNIT: [u8; 5] = [0x06, 0x03, 0x55, 0x04, 0x0b];

/// A certificate with this subject instead of its own, signed again by `issuer`, which signed it.
pub fn with_subject(der: &[u8], name: &str, units: &[String], issuer: &KeyPair) -> Result<Vec<u8>> {
    let failed = |e: &dyn std::fmt::Display| Error::input(format!("the certificate: {e}"));
    let (_, parsed) = X509Certificate::from_der(der).map_err(|e| failed(&e))?;
    let signed = parsed.tbs_certificate.as_ref();
    let subject = parsed.subject().as_raw();
    let at = subject.as_ptr().addr() - signed.as_ptr().addr();
    let header = signed.len() - content(signed).len();
    let mut rdns = attribute(&COMMON_NAME, name);
    units
        .iter()
        .for_each(|unit| rdns.extend(attribute(&UNIT, unit)));
    let signed_anew = value(
        SEQUENCE,
        &[
            &signed[header..at],
            &value(SEQUENCE, &rdns),
            &signed[at + subject.len()..],
        ]
        .concat(),
    );
    // The algorithm lies between what is signed and the signature.
    let rest = &content(der)[signed.len()..];
    let algorithm = &rest[..2 + usize::from(rest[1])];
    let signature = issuer.sign(&signed_anew).map_err(|e| failed(&e))?;
    let signature = value(BIT_STRING, &[&[0], signature.as_slice()].concat());
    Ok(value(
        SEQUENCE,
        &[signed_anew.as_slice(), algorithm, &signature].concat(),
    ))
}

fn attribute(kind: &[u8], text: &str) -> Vec<u8> {
    let text = value(UTF8_STRING, text.as_bytes());
    value(SET, &value(SEQUENCE, &[kind, &text].concat()))
}

/// A value in DER.
fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let long = &length[content.len().leading_zeros() as usize / 8..];
    let mut out = vec![tag];
    match content.len() {
        short @ 0..=0x7f => out.push(short as u8),
        _ => {
            out.push(0x80 | long.len() as u8);
            out.extend_from_slice(long);
        }
    }
    out.extend_from_slice(content);
    out
}

/// What follows the tag and the length of a value that is known to be right.
fn content(der: &[u8]) -> &[u8] {
    match der[1] {
        0..=0x7f => &der[2..],
        long => &der[2 + usize::from(long & 0x7f)..],
    }
}
