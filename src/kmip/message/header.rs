//! Headers, credentials and extensions.

use std::fmt;

use crate::error::Result;
use crate::kmip::enums::*;
use crate::kmip::structure::structures;
use crate::secret::Secret;
use crate::ttlv::{DateTime, Decode, Encode, Item, ItemType, Tag, Value, Writer};
use crate::version::Version;

structures! {
    /// The header of a request (spec 1.4, 6 and 7.2).
    RequestHeader {
        protocol_version: Version = PROTOCOL_VERSION,
        /// in bytes.
        maximum_response_size: Option<i32> = MAXIMUM_RESPONSE_SIZE,
        client_correlation_value: Option<String> = CLIENT_CORRELATION_VALUE since V1_4,
        server_correlation_value: Option<String> = SERVER_CORRELATION_VALUE since V1_4,
        asynchronous_indicator: Option<Asynchronous> = ASYNCHRONOUS_INDICATOR,
        attestation_capable_indicator: Option<bool> = ATTESTATION_CAPABLE_INDICATOR since V1_2,
        attestation_types: Vec<AttestationType> = ATTESTATION_TYPE since V1_2,
        authentication: Option<Authentication> = AUTHENTICATION,
        batch_error_continuation_option: Option<BatchErrorContinuationOption> = BATCH_ERROR_CONTINUATION_OPTION,
        batch_order_option: Option<bool> = BATCH_ORDER_OPTION,
        time_stamp: Option<DateTime> = TIME_STAMP,
        batch_count: i32 = BATCH_COUNT,
    }

    /// The header of a response.
    ResponseHeader {
        /// Not always the version of the request: errors often come as 1.0.
        protocol_version: Version = PROTOCOL_VERSION,
        time_stamp: Option<DateTime> = TIME_STAMP,
        nonce: Option<Nonce> = NONCE since V1_2,
        server_hashed_password: Option<Vec<u8>> = SERVER_HASHED_PASSWORD since V2_0,
        attestation_types: Vec<AttestationType> = ATTESTATION_TYPE since V1_2,
        client_correlation_value: Option<String> = CLIENT_CORRELATION_VALUE since V1_4,
        server_correlation_value: Option<String> = SERVER_CORRELATION_VALUE since V1_4,
        /// What the server meant to answer: it may be more than the items that follow.
        batch_count: Option<i32> = BATCH_COUNT,
    }

    /// A number used once, for attestation.
    #[derive(Clone, Default)]
    Nonce {
        nonce_id: Vec<u8> = NONCE_ID,
        nonce_value: Vec<u8> = NONCE_VALUE,
    }

    /// Who asks; 2.x allows several credentials.
    #[derive(Default)]
    Authentication {
        credentials: Vec<Credential> = CREDENTIAL,
    }

    /// A credential (spec 1.4, 2.1.2).
    #[derive(Default)]
    Credential {
        credential_type: CredentialType = CREDENTIAL_TYPE,
        credential_value: CredentialValue = CREDENTIAL_VALUE,
    }

    /// The fields of all kinds of credential; Credential Type says which of them are there.
    #[derive(Default)]
    CredentialValue {
        nonce: Option<Nonce> = NONCE,
        attestation_type: Option<AttestationType> = ATTESTATION_TYPE,
        attestation_measurement: Option<Vec<u8>> = ATTESTATION_MEASUREMENT,
        attestation_assertion: Option<Vec<u8>> = ATTESTATION_ASSERTION,
        username: Option<String> = USERNAME,
        time_stamp: Option<DateTime> = TIME_STAMP,
        hashing_algorithm: Option<HashingAlgorithm> = HASHING_ALGORITHM,
        hashed_password: Option<Secret> = HASHED_PASSWORD,
        device_serial_number: Option<String> = DEVICE_SERIAL_NUMBER,
        password: Option<Password> = PASSWORD,
        one_time_password: Option<Password> = ONE_TIME_PASSWORD,
        device_identifier: Option<String> = DEVICE_IDENTIFIER,
        network_identifier: Option<String> = NETWORK_IDENTIFIER,
        machine_identifier: Option<String> = MACHINE_IDENTIFIER,
        media_identifier: Option<String> = MEDIA_IDENTIFIER,
        ticket: Option<Ticket> = TICKET,
    }

    /// What a login gave (2.x).
    #[derive(Default)]
    Ticket {
        ticket_type: TicketType = TICKET_TYPE,
        ticket_value: Secret = TICKET_VALUE,
    }

    /// A vendor's addition to a batch item.
    #[derive(Clone, Default)]
    MessageExtension {
        vendor_identification: String = VENDOR_IDENTIFICATION,
        /// Refuse the item rather than ignore the extension.
        criticality_indicator: bool = CRITICALITY_INDICATOR,
        vendor_extension: Value = VENDOR_EXTENSION,
    }
}

impl Authentication {
    /// A user name and its password.
    pub fn username_password(username: &str, password: Option<Secret>) -> Authentication {
        let credential_value = CredentialValue {
            username: Some(username.to_owned()),
            password: password.map(Password),
            ..CredentialValue::default()
        };
        let credential_type = CredentialType::USERNAME_AND_PASSWORD;
        Authentication {
            credentials: vec![Credential {
                credential_type,
                credential_value,
            }],
        }
    }
}

/// A password: text on the wire, secret here.
#[derive(Default, PartialEq, Eq)]
pub struct Password(pub Secret);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Encode for Password {
    fn encode(&self, tag: Tag, writer: &mut Writer) {
        writer.value(tag, ItemType::TEXT_STRING, self.0.expose());
    }
}

impl Decode for Password {
    fn decode(item: &Item<'_>) -> Result<Self> {
        item.text()
            .map(|text| Password(Secret::new(text.as_bytes().to_vec())))
    }
}

/// Whether the answer may come later: a Boolean in 1.x, an enumeration in 2.x.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asynchronous(pub AsynchronousIndicator);

impl Encode for Asynchronous {
    fn encode(&self, tag: Tag, writer: &mut Writer) {
        if writer.version().typed_attributes() {
            self.0.encode(tag, writer);
        } else {
            writer.boolean(tag, self.0 != AsynchronousIndicator::PROHIBITED);
        }
    }
}

impl Decode for Asynchronous {
    fn decode(item: &Item<'_>) -> Result<Self> {
        match item.kind {
            ItemType::BOOLEAN => item.boolean().map(|allowed| match allowed {
                true => Asynchronous(AsynchronousIndicator::OPTIONAL),
                false => Asynchronous(AsynchronousIndicator::PROHIBITED),
            }),
            _ => Decode::decode(item).map(Asynchronous),
        }
    }
}
