//! Validate: whether certificates make a chain (spec 1.4, 4.24).

use std::collections::HashMap;

use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

use super::budget::{MOST_LISTED, MOST_MATERIAL, exceeded};
use super::context::Context;
use super::engine::Engine;
use super::keys::invalid;
use super::objects::{Outcome, Value, now};
use crate::kmip::*;

/// The work of verifying the signature of a certificate.
const SIGNATURE: u64 = 3000;

/// Answers Validate. Valid: each certificate is signed by another of them that may sign, up to one that signed itself, and all
/// are valid at the time that is asked for. Unknown: nothing is wrong, but a signer is not among them.
pub fn validate(
    engine: &Engine,
    context: &mut Context,
    request: ValidateRequest,
) -> Outcome<ValidateResponse> {
    let listed = request.certificates.len() + request.unique_identifiers.len();
    if listed > MOST_LISTED {
        let text = format!("at most {MOST_LISTED} certificates are validated");
        return Err(exceeded(context.version, text));
    }
    let mut chain: Vec<Vec<u8>> = request
        .certificates
        .into_iter()
        .map(|certificate| certificate.certificate_value)
        .collect();
    for uid in request.unique_identifiers {
        match &engine.resolve(context, Some(uid))?.value {
            Value::Certificate(CertificateType::X_509, der) => chain.push(der.clone()),
            _ => return Err(invalid("the object is no X.509 certificate")),
        }
        if chain.iter().map(Vec::len).sum::<usize>() > MOST_MATERIAL {
            return Err(exceeded(context.version, "the certificates are too long"));
        }
    }
    if chain.is_empty() {
        return Err(invalid("no certificate"));
    }
    let at = request.validity_date.map_or_else(now, |date| date.0);
    let at = ASN1Time::from_timestamp(at).map_err(|_| invalid("Validity Date is out of range"))?;
    let read = |der| X509Certificate::from_der(der).map(|(_, certificate)| certificate);
    let Ok(chain) = chain
        .iter()
        .map(|der| read(der))
        .collect::<Result<Vec<_>, _>>()
    else {
        return Ok(ValidateResponse {
            validity_indicator: ValidityIndicator::INVALID,
        });
    };
    let mut signers: HashMap<&[u8], Vec<&X509Certificate<'_>>> = HashMap::new();
    for certificate in &chain {
        let subject = certificate.subject().as_raw();
        signers.entry(subject).or_default().push(certificate);
    }
    let links: Vec<ValidityIndicator> = chain
        .iter()
        .map(|certificate| {
            let issuer = certificate.issuer().as_raw();
            let signers = signers.get(issuer).map_or(&[][..], Vec::as_slice);
            link(context, certificate, signers, at)
        })
        .collect::<Outcome<_>>()?;
    let validity_indicator = [ValidityIndicator::INVALID, ValidityIndicator::UNKNOWN]
        .into_iter()
        .find(|worst| links.contains(worst))
        .unwrap_or(ValidityIndicator::VALID);
    Ok(ValidateResponse { validity_indicator })
}

/// One certificate of a chain.
fn link(
    context: &Context,
    certificate: &X509Certificate<'_>,
    signers: &[&X509Certificate<'_>],
    at: ASN1Time,
) -> Outcome<ValidityIndicator> {
    if !certificate.validity().is_valid_at(at) {
        return Ok(ValidityIndicator::INVALID);
    }
    let is_self_signed = certificate.subject().as_raw() == certificate.issuer().as_raw();
    if signers.is_empty() {
        return Ok(ValidityIndicator::UNKNOWN);
    }
    for signer in signers {
        if !is_self_signed && !signer.is_ca() {
            continue;
        }
        context.meter.charge(SIGNATURE)?;
        if certificate
            .verify_signature(Some(signer.public_key()))
            .is_ok()
        {
            return Ok(ValidityIndicator::VALID);
        }
    }
    Ok(ValidityIndicator::INVALID)
}
