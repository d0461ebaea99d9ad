//! Private keys as PKCS#12 files: with the certificates that are linked to them, under the password
//! that is linked to them (KMIP 1.4, 3.35: PKCS#12 Certificate Link and PKCS#12 Password Link).

use p12_keystore::{
    Certificate as P12Certificate, KeyStore, KeyStoreEntry, PrivateKey as P12Key, PrivateKeyChain,
};

use super::budget::of_bytes;
use super::context::Context;
use super::engine::Engine;
use super::keys::invalid;
use super::objects::{Object, Outcome, Refusal, Value};
use crate::kmip::*;

/// The longest chain of certificates in a file.
const LONGEST: usize = 16;

/// Rounds of the key derivation, for encryption and MAC each: the default of OpenSSL's `pkcs12`.
const ROUNDS: u32 = 2048;

/// The Key Block of a private key, given in PKCS#8, as a PKCS#12 file.
pub fn block(
    engine: &Engine,
    context: &Context,
    object: &Object,
    pkcs8: &[u8],
) -> Outcome<KeyBlock> {
    let password = password(engine, context, object)?;
    let chain = chain(engine, context, object)?;
    context.meter.charge(u64::from(ROUNDS) * 8)?;
    let failed = |_: p12_keystore::error::Error| {
        Refusal::item(
            ResultReason::CRYPTOGRAPHIC_FAILURE,
            "the PKCS#12 file cannot be made",
        )
    };
    let key = P12Key::from_der(pkcs8).map_err(failed)?;
    let chain = chain
        .iter()
        .map(|der| P12Certificate::from_der(der))
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    let entry = PrivateKeyChain::new(object.uid.as_str(), key, chain);
    let mut store = KeyStore::new();
    store.add_entry(&object.uid, KeyStoreEntry::PrivateKeyChain(entry));
    let file = store
        .writer(&password)
        .encryption_iterations(ROUNDS)
        .mac_iterations(ROUNDS)
        .write()
        .map_err(failed)?;
    Ok(KeyBlock {
        key_format_type: KeyFormatType::PKCS_12,
        // A byte string, as wrapped keys are (OASIS TC-PKCS12-1-14).
        key_value: Some(KeyValue::Wrapped(file)),
        cryptographic_algorithm: object.algorithm(),
        cryptographic_length: object.attributes.cryptographic_length().copied(),
        ..KeyBlock::default()
    })
}

fn password(
    engine: &Engine,
    context: &Context,
    object: &Object,
) -> Outcome<zeroize::Zeroizing<String>> {
    let uid = object
        .attributes
        .linked(LinkType::PKCS_12_PASSWORD_LINK)
        .ok_or_else(|| invalid("the key has no PKCS#12 Password Link"))?;
    let linked = context.object(engine, uid)?;
    linked.dates.check_online()?;
    match &linked.value {
        Value::Secret(_, material, _) => std::str::from_utf8(material.bytes().expose())
            .map(|text| text.to_owned().into())
            .map_err(|_| invalid("the password is not UTF-8")),
        _ => Err(invalid("the PKCS#12 Password Link is to no Secret Data")),
    }
}

/// The certificates: that of the key first, then each that the one before is linked to.
fn chain(engine: &Engine, context: &Context, object: &Object) -> Outcome<Vec<Vec<u8>>> {
    let mut chain = Vec::new();
    let mut next = linked_certificate(object);
    while let Some(uid) = next {
        if chain.len() == LONGEST {
            return Err(invalid("the certificates that are linked are too many"));
        }
        let linked = context.object(engine, &uid)?;
        linked.dates.check_online()?;
        let Value::Certificate(CertificateType::X_509, der) = &linked.value else {
            return Err(invalid(
                "a PKCS#12 Certificate Link is to no X.509 certificate",
            ));
        };
        context.meter.charge(of_bytes(der.len()))?;
        chain.push(der.clone());
        next = linked_certificate(&linked);
    }
    Ok(chain)
}

fn linked_certificate(object: &Object) -> Option<String> {
    let link = object.attributes.linked(LinkType::PKCS_12_CERTIFICATE_LINK);
    link.map(str::to_owned)
}
