//! Attributes that are structures (spec 1.4, 3).

use super::enums::*;
use super::structure::structures;
use super::types::UniqueIdentifier;

structures! {
    /// A name of an object (spec 1.4, 3.2).
    #[derive(Clone, Default)]
    Name {
        name_value: String = NAME_VALUE,
        name_type: NameType = NAME_TYPE,
    }

    /// Another name, not necessarily unique (spec 1.4, 3.40).
    #[derive(Clone, Default)]
    AlternativeName {
        alternative_name_value: String = ALTERNATIVE_NAME_VALUE,
        alternative_name_type: AlternativeNameType = ALTERNATIVE_NAME_TYPE,
    }

    /// A relation to another object (spec 1.4, 3.35).
    #[derive(Clone, Default)]
    Link {
        link_type: LinkType = LINK_TYPE,
        linked_object_identifier: UniqueIdentifier = LINKED_OBJECT_IDENTIFIER,
    }

    /// What an application keeps with an object (spec 1.4, 3.36).
    #[derive(Clone, Default)]
    ApplicationSpecificInformation {
        application_namespace: String = APPLICATION_NAMESPACE,
        /// The server may make it up when a request leaves it out.
        application_data: Option<String> = APPLICATION_DATA,
    }

    /// A hash of an object's value (spec 1.4, 3.17).
    #[derive(Clone, Default)]
    Digest {
        hashing_algorithm: HashingAlgorithm = HASHING_ALGORITHM,
        digest_value: Option<Vec<u8>> = DIGEST_VALUE,
        key_format_type: Option<KeyFormatType> = KEY_FORMAT_TYPE,
    }

    /// How often a key may protect data (spec 1.4, 3.21).
    #[derive(Clone, Default)]
    UsageLimits {
        usage_limits_total: i64 = USAGE_LIMITS_TOTAL,
        usage_limits_count: Option<i64> = USAGE_LIMITS_COUNT,
        usage_limits_unit: UsageLimitsUnit = USAGE_LIMITS_UNIT,
    }

    /// Why an object was revoked (spec 1.4, 3.31).
    #[derive(Clone, Default)]
    RevocationReason {
        revocation_reason_code: RevocationReasonCode = REVOCATION_REASON_CODE,
        revocation_message: Option<String> = REVOCATION_MESSAGE,
    }

    /// Where the value of a key is, that the server does not have (spec 1.4, 3.42).
    #[derive(Clone, Default)]
    KeyValueLocation {
        key_value_location_value: String = KEY_VALUE_LOCATION_VALUE,
        key_value_location_type: KeyValueLocationType = KEY_VALUE_LOCATION_TYPE,
    }

    /// Issuer and serial number of a certificate, in DER (spec 1.4, 3.10).
    #[derive(Clone, Default)]
    X509CertificateIdentifier {
        issuer_distinguished_name: Vec<u8> = ISSUER_DISTINGUISHED_NAME,
        certificate_serial_number: Vec<u8> = CERTIFICATE_SERIAL_NUMBER,
    }

    /// Subject of a certificate, in DER (spec 1.4, 3.11).
    #[derive(Clone, Default)]
    X509CertificateSubject {
        subject_distinguished_name: Vec<u8> = SUBJECT_DISTINGUISHED_NAME,
        subject_alternative_name: Vec<Vec<u8>> = SUBJECT_ALTERNATIVE_NAME,
    }

    /// Issuer of a certificate, in DER (spec 1.4, 3.12).
    #[derive(Clone, Default)]
    X509CertificateIssuer {
        issuer_distinguished_name: Vec<u8> = ISSUER_DISTINGUISHED_NAME,
        issuer_alternative_name: Vec<Vec<u8>> = ISSUER_ALTERNATIVE_NAME,
    }
}

impl From<&str> for Name {
    /// An Uninterpreted Text String.
    fn from(text: &str) -> Name {
        Name {
            name_value: text.to_owned(),
            name_type: NameType::UNINTERPRETED_TEXT_STRING,
        }
    }
}
