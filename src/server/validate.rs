//! Validate: whether certificates make a chain (spec 1.4, 4.24).

use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

use super::engine::{Context, Engine};
use super::keys::invalid;
use super::objects::{Outcome, Value, now};
use crate::kmip::*;

/// Answers Validate. Valid: each certificate is signed by another of them that may sign, up to one that signed itself, and all
/// are valid at the time that is asked for. Unknown: nothing is wrong, but a signer is not among them.
pub fn validate(
    engine: &Engine,
    context: &mut Context,
    request: ValidateRequest,
) -> Outcome<ValidateResponse> {
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
    }
    if chain.is_empty() {
        return Err(invalid("no certificate"));
    }
    let at = request.validity_date.map_or_else(now, |date| date.0);
    let at = ASN1Time::from_timestamp(at).map_err(|e| invalid(format!("Validity Date: {e}")))?;
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
    let links: Vec<ValidityIndicator> = chain
        .iter()
        .map(|certificate| link(certificate, &chain, at))
        .collect();
    let validity_indicator = [ValidityIndicator::INVALID, ValidityIndicator::UNKNOWN]
        .into_iter()
        .find(|worst| links.contains(worst))
        .unwrap_or(ValidityIndicator::VALID);
    Ok(ValidateResponse { validity_indicator })
}

/// One certificate of a chain.
fn link(
    certificate: &X509Certificate<'_>,
    chain: &[X509Certificate<'_>],
    at: ASN1Time,
) -> ValidityIndicator {
    if !certificate.validity().is_valid_at(at) {
        return ValidityIndicator::INVALID;
    }
    let is_self_signed = certificate.subject() == certificate.issuer();
    let mut signers = chain
        .iter()
        .filter(|other| other.subject() == certificate.issuer())
        .peekable();
    if signers.peek().is_none() {
        return ValidityIndicator::UNKNOWN;
    }
    let signed = signers.any(|signer| {
        (is_self_signed || signer.is_ca())
            && certificate
                .verify_signature(Some(signer.public_key()))
                .is_ok()
    });
    if signed {
        ValidityIndicator::VALID
    } else {
        ValidityIndicator::INVALID
    }
}
