//! Attributes that the server computes: what is true of an object whether a client says it or not (spec 1.4, 3).

use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::X509Name;

use super::lifecycle::LEASE;
use super::objects::{Object, Value};
use crate::crypto::Hash;
use crate::crypto::hash::digest;
use crate::crypto::pkey::{Kind, PublicKey};
use crate::kmip::*;
use crate::ttlv::{Encode, Field, Interval, Tag, Value as Item, Writer};
use crate::version::Version;

impl Object {
    /// Every attribute, those that the server computes included, that `version` knows.
    pub fn all_attributes(&self, version: Version) -> Attributes {
        let mut all = Attributes::new();
        all.push(AttributeValue::UniqueIdentifier(self.uid.clone()));
        all.push(AttributeValue::ObjectType(self.object_type));
        // Of 32 bytes, from the identifier (spec 2.1, 4.56).
        all.0.extend(
            digest(Hash::Sha256, self.uid.as_bytes())
                .ok()
                .map(|short| AttributeValue::ShortUniqueIdentifier(short).into()),
        );
        all.0.extend(self.attributes.0.iter().cloned());
        if self.has_state() {
            all.push(AttributeValue::State(self.state()));
        }
        self.dates.attributes().for_each(|value| all.push(value));
        if let Some(reason) = &self.revocation_reason {
            all.push(AttributeValue::RevocationReason(reason.clone()));
        }
        if matches!(
            self.value,
            Value::Key(..) | Value::Secret(..) | Value::Wrapped(_)
        ) {
            all.push(AttributeValue::AlwaysSensitive(self.always_sensitive));
            all.push(AttributeValue::NeverExtractable(self.never_extractable));
        }
        if let Value::Key(_, format)
        | Value::Secret(_, _, format)
        | Value::Elsewhere(format)
        | Value::Wrapped(format) = self.value
        {
            all.push(AttributeValue::KeyFormatType(format));
        }
        if matches!(self.value, Value::Elsewhere(_)) {
            all.push(AttributeValue::KeyValuePresent(false));
        }
        if let Some(digest) = self.digest(version) {
            all.push(AttributeValue::Digest(digest));
        }
        all.push(AttributeValue::LeaseTime(Interval(LEASE)));
        all.0.retain(|attribute| known(&attribute.value, version));
        for attribute in &mut all.0 {
            match &mut attribute.value {
                AttributeValue::Digest(digest) if version < Version::V1_1 => {
                    digest.key_format_type = None
                }
                _ => {}
            }
        }
        all
    }

    /// The SHA-256 of the value in the format that it is given back in; of what is destroyed nothing (spec 1.4, 3.17), nor of a
    /// protected value that could be found by trying.
    pub fn digest(&self, version: Version) -> Option<Digest> {
        if self.is_guessable() {
            return None;
        }
        let (bytes, format) = match &self.value {
            Value::Key(material, format) => {
                let block = material.block(*format, None, None).ok()?;
                let Some(KeyValue::Plain(plain)) = block.key_value else {
                    return None;
                };
                let bytes = match plain.key_material {
                    KeyMaterial::Bytes(bytes) => bytes,
                    // Of a transparent key the digest is over its encoding.
                    transparent => {
                        let mut writer = Writer::new(version);
                        transparent.encode(Tag::KEY_MATERIAL, &mut writer);
                        writer.finish().ok()?
                    }
                };
                (bytes, Some(*format))
            }
            Value::Secret(_, material, format) => (material.bytes().duplicate(), Some(*format)),
            Value::Pgp(_, material) | Value::Split(_, material) => {
                (material.bytes().duplicate(), Some(KeyFormatType::RAW))
            }
            Value::Opaque(_, material) => (material.bytes().duplicate(), None),
            Value::Certificate(_, der) | Value::Request(_, der) => (der.clone().into(), None),
            Value::Template(_) | Value::Elsewhere(_) | Value::Wrapped(_) | Value::Gone => {
                return None;
            }
        };
        Some(Digest {
            hashing_algorithm: HashingAlgorithm::SHA_256,
            digest_value: digest(Hash::Sha256, bytes.expose()).ok(),
            key_format_type: format,
        })
    }
}

/// Whether a version has an attribute.
fn known(value: &AttributeValue, version: Version) -> bool {
    let AttributeName::Standard(tag) = value.name() else {
        return true;
    };
    match tag {
        Tag::ALTERNATIVE_NAME
        | Tag::KEY_VALUE_PRESENT
        | Tag::KEY_VALUE_LOCATION
        | Tag::ORIGINAL_CREATION_DATE => version >= Version::V1_2,
        Tag::FRESH
        | Tag::DIGITAL_SIGNATURE_ALGORITHM
        | Tag::CERTIFICATE_LENGTH
        | Tag::X_509_CERTIFICATE_IDENTIFIER
        | Tag::X_509_CERTIFICATE_SUBJECT
        | Tag::X_509_CERTIFICATE_ISSUER => version >= Version::V1_1,
        Tag::RANDOM_NUMBER_GENERATOR => version >= Version::V1_3,
        Tag::SENSITIVE
        | Tag::ALWAYS_SENSITIVE
        | Tag::EXTRACTABLE
        | Tag::NEVER_EXTRACTABLE
        | Tag::DESCRIPTION
        | Tag::COMMENT => version >= Version::V1_4,
        Tag::KEY_FORMAT_TYPE => version >= Version::V2_0,
        Tag::SHORT_UNIQUE_IDENTIFIER => version >= Version::V2_1,
        Tag::OPERATION_POLICY_NAME
        | Tag::CERTIFICATE_IDENTIFIER
        | Tag::CERTIFICATE_SUBJECT
        | Tag::CERTIFICATE_ISSUER => version < Version::V2_0,
        _ if (Tag::CERTIFICATE_SUBJECT_CN..=Tag::CERTIFICATE_ISSUER_DN_QUALIFIER)
            .contains(&tag) =>
        {
            version >= Version::V2_0
        }
        _ => true,
    }
}

/// So many parts of a name become attributes.
const MOST_PARTS: usize = 64;

/// What a certificate says of itself, in the forms of all versions; nothing of what is no X.509 certificate.
pub fn of_certificate(der: &[u8]) -> Vec<AttributeValue> {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return Vec::new();
    };
    let (subject, issuer) = (certificate.subject(), certificate.issuer());
    let text = |tag, text: String| Field {
        tag,
        value: Item::Text(text),
    };
    let other = |tag, fields| AttributeValue::Other(tag, Item::Structure(fields));
    let serial = certificate.raw_serial();
    // Short enough for a one-byte length: a serial number has at most 20 octets (RFC 5280, 4.1.2.2).
    let serial_der = [&[0x02, serial.len() as u8], serial].concat();
    let significant = match serial {
        [0, rest @ ..] if !rest.is_empty() => rest,
        all => all,
    };
    let mut all = vec![
        AttributeValue::CertificateLength(der.len() as i32),
        AttributeValue::X509CertificateIdentifier(X509CertificateIdentifier {
            issuer_distinguished_name: issuer.as_raw().to_vec(),
            certificate_serial_number: serial_der,
        }),
        AttributeValue::X509CertificateSubject(X509CertificateSubject {
            subject_distinguished_name: subject.as_raw().to_vec(),
            subject_alternative_name: Vec::new(),
        }),
        AttributeValue::X509CertificateIssuer(X509CertificateIssuer {
            issuer_distinguished_name: issuer.as_raw().to_vec(),
            issuer_alternative_name: Vec::new(),
        }),
        other(
            Tag::CERTIFICATE_IDENTIFIER,
            vec![
                text(Tag::ISSUER, written(issuer)),
                text(
                    Tag::SERIAL_NUMBER,
                    data_encoding::HEXUPPER.encode(significant),
                ),
            ],
        ),
        other(
            Tag::CERTIFICATE_SUBJECT,
            vec![text(
                Tag::CERTIFICATE_SUBJECT_DISTINGUISHED_NAME,
                written(subject),
            )],
        ),
        other(
            Tag::CERTIFICATE_ISSUER,
            vec![text(
                Tag::CERTIFICATE_ISSUER_DISTINGUISHED_NAME,
                written(issuer),
            )],
        ),
    ];
    if let Ok(key) = PublicKey::from_spki(certificate.public_key().raw) {
        all.push(AttributeValue::CryptographicLength(match key.kind() {
            Kind::Rsa { bits } => bits as i32,
            Kind::Ec(curve) => curve.bits() as i32,
        }));
    }
    let signed = certificate.signature_algorithm.algorithm.to_id_string();
    all.extend(signature_algorithm(&signed).map(AttributeValue::DigitalSignatureAlgorithm));
    for (name, first) in [
        (subject, Tag::CERTIFICATE_SUBJECT_CN),
        (issuer, Tag::CERTIFICATE_ISSUER_CN),
    ] {
        for part in name.iter_attributes().take(MOST_PARTS) {
            let place = PARTS
                .iter()
                .position(|(oid, _)| *oid == part.attr_type().to_id_string());
            if let (Some(place), Ok(text)) = (place, part.as_str()) {
                all.push(AttributeValue::Other(
                    Tag(first.0 + place as u32),
                    Item::Text(text.to_owned()),
                ));
            }
        }
    }
    all
}

/// The parts of a name in the order of the tags that 2.x has for them, and their short names.
pub const PARTS: [(&str, &str); 12] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
    ("2.5.4.6", "C"),
    ("2.5.4.8", "ST"),
    ("2.5.4.7", "L"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.12", "title"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("2.5.4.46", "dnQualifier"),
];

/// A name as text, the last part first (RFC 4514).
fn written(name: &X509Name<'_>) -> String {
    let part = |part: &x509_parser::x509::AttributeTypeAndValue<'_>| {
        let oid = part.attr_type().to_id_string();
        let short = PARTS
            .iter()
            .find(|(known, _)| *known == oid)
            .map_or(oid.as_str(), |(_, short)| short);
        format!("{short}={}", part.as_str().unwrap_or_default())
    };
    let mut parts: Vec<String> = name.iter_attributes().map(part).collect();
    parts.reverse();
    parts.join(",")
}

fn signature_algorithm(oid: &str) -> Option<DigitalSignatureAlgorithm> {
    use DigitalSignatureAlgorithm as Dsa;
    Some(match oid {
        "1.2.840.113549.1.1.5" => Dsa::SHA_1_WITH_RSA_ENCRYPTION,
        "1.2.840.113549.1.1.14" => Dsa::SHA_224_WITH_RSA_ENCRYPTION,
        "1.2.840.113549.1.1.11" => Dsa::SHA_256_WITH_RSA_ENCRYPTION,
        "1.2.840.113549.1.1.12" => Dsa::SHA_384_WITH_RSA_ENCRYPTION,
        "1.2.840.113549.1.1.13" => Dsa::SHA_512_WITH_RSA_ENCRYPTION,
        "1.2.840.113549.1.1.10" => Dsa::RSASSA_PSS,
        "1.2.840.10045.4.1" => Dsa::ECDSA_WITH_SHA_1,
        "1.2.840.10045.4.3.1" => Dsa::ECDSA_WITH_SHA224,
        "1.2.840.10045.4.3.2" => Dsa::ECDSA_WITH_SHA256,
        "1.2.840.10045.4.3.3" => Dsa::ECDSA_WITH_SHA384,
        "1.2.840.10045.4.3.4" => Dsa::ECDSA_WITH_SHA512,
        _ => return None,
    })
}
