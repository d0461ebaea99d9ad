//! What a server's refusal means to an application: Result Reason to `CK_RV`, in one place.

use super::enums::{OperationCode, ResultReason, ResultStatus};
use crate::ck::{self, CK_RV};
use crate::error::{Error, Kind};

/// How much of a server's own message is repeated, in characters.
const LONGEST_MESSAGE: usize = 300;

/// The `CK_RV` for a Result Reason where the caller knows nothing better.
pub fn rv(reason: ResultReason) -> CK_RV {
    match reason {
        ResultReason::ITEM_NOT_FOUND
        | ResultReason::OBJECT_NOT_FOUND
        | ResultReason::OBJECT_DESTROYED => ck::CKR_OBJECT_HANDLE_INVALID,
        ResultReason::RESPONSE_TOO_LARGE
        | ResultReason::SERVER_LIMIT_EXCEEDED
        | ResultReason::PROTECTION_STORAGE_UNAVAILABLE
        | ResultReason::PRIVATE_PROTECTION_STORAGE_UNAVAILABLE
        | ResultReason::PUBLIC_PROTECTION_STORAGE_UNAVAILABLE => ck::CKR_DEVICE_MEMORY,
        ResultReason::AUTHENTICATION_NOT_SUCCESSFUL
        | ResultReason::INVALID_TICKET
        | ResultReason::NOT_AUTHORISED => ck::CKR_USER_NOT_LOGGED_IN,
        ResultReason::BAD_PASSWORD => ck::CKR_PIN_INCORRECT,
        ResultReason::OPERATION_NOT_SUPPORTED
        | ResultReason::FEATURE_NOT_SUPPORTED
        | ResultReason::PKCS_11_CODEC_ERROR
        | ResultReason::PKCS_11_INVALID_FUNCTION
        | ResultReason::PKCS_11_INVALID_INTERFACE => ck::CKR_FUNCTION_NOT_SUPPORTED,
        ResultReason::MISSING_DATA => ck::CKR_TEMPLATE_INCOMPLETE,
        ResultReason::INVALID_FIELD
        | ResultReason::INVALID_ATTRIBUTE
        | ResultReason::INVALID_ATTRIBUTE_VALUE
        | ResultReason::UNSUPPORTED_ATTRIBUTE
        | ResultReason::NON_UNIQUE_NAME_ATTRIBUTE
        | ResultReason::UNKNOWN_OBJECT_GROUP
        | ResultReason::CONSTRAINT_VIOLATION
        | ResultReason::DUPLICATE_PROCESS_REQUEST => ck::CKR_TEMPLATE_INCONSISTENT,
        ResultReason::OPERATION_CANCELED_BY_REQUESTER => ck::CKR_FUNCTION_CANCELED,
        ResultReason::CRYPTOGRAPHIC_FAILURE
        | ResultReason::OBJECT_ALREADY_EXISTS
        | ResultReason::KEY_FORMAT_TYPE_NOT_SUPPORTED
        | ResultReason::KEY_WRAP_TYPE_NOT_SUPPORTED
        | ResultReason::KEY_COMPRESSION_TYPE_NOT_SUPPORTED
        | ResultReason::APPLICATION_NAMESPACE_NOT_SUPPORTED => ck::CKR_FUNCTION_FAILED,
        ResultReason::ILLEGAL_OPERATION => ck::CKR_FUNCTION_REJECTED,
        ResultReason::PERMISSION_DENIED => ck::CKR_ACTION_PROHIBITED,
        ResultReason::OBJECT_ARCHIVED
        | ResultReason::INCOMPATIBLE_CRYPTOGRAPHIC_USAGE_MASK
        | ResultReason::WRONG_KEY_LIFECYCLE_STATE => ck::CKR_KEY_FUNCTION_NOT_PERMITTED,
        ResultReason::INDEX_OUT_OF_BOUNDS
        | ResultReason::ATTRIBUTE_INSTANCE_NOT_FOUND
        | ResultReason::ATTRIBUTE_NOT_FOUND => ck::CKR_ATTRIBUTE_TYPE_INVALID,
        ResultReason::ENCODING_OPTION_ERROR => ck::CKR_KEY_NOT_WRAPPABLE,
        ResultReason::KEY_VALUE_NOT_PRESENT | ResultReason::NOT_EXTRACTABLE => {
            ck::CKR_KEY_UNEXTRACTABLE
        }
        ResultReason::SENSITIVE => ck::CKR_ATTRIBUTE_SENSITIVE,
        ResultReason::USAGE_LIMIT_EXCEEDED => ck::CKR_KEY_EXHAUSTED,
        ResultReason::NUMERIC_RANGE => ck::CKR_ATTRIBUTE_VALUE_INVALID,
        ResultReason::READ_ONLY_ATTRIBUTE
        | ResultReason::ATTRIBUTE_READ_ONLY
        | ResultReason::ATTRIBUTE_SINGLE_VALUED
        | ResultReason::MULTI_VALUED_ATTRIBUTE => ck::CKR_ATTRIBUTE_READ_ONLY,
        ResultReason::BAD_CRYPTOGRAPHIC_PARAMETERS
        | ResultReason::UNSUPPORTED_CRYPTOGRAPHIC_PARAMETERS
        | ResultReason::MISSING_INITIALIZATION_VECTOR => ck::CKR_MECHANISM_PARAM_INVALID,
        ResultReason::ILLEGAL_OBJECT_TYPE | ResultReason::INVALID_OBJECT_TYPE => {
            ck::CKR_KEY_TYPE_INCONSISTENT
        }
        ResultReason::INVALID_CORRELATION_VALUE
        | ResultReason::INVALID_ASYNCHRONOUS_CORRELATION_VALUE => ck::CKR_OPERATION_NOT_INITIALIZED,
        ResultReason::UNSUPPORTED_PROTOCOL_VERSION => ck::CKR_TOKEN_NOT_RECOGNIZED,
        ResultReason::WRAPPING_OBJECT_ARCHIVED
        | ResultReason::WRAPPING_OBJECT_DESTROYED
        | ResultReason::WRAPPING_OBJECT_NOT_FOUND => ck::CKR_WRAPPING_KEY_HANDLE_INVALID,
        // Invalid Message, Codec Error, General Failure, what is not known yet: the device and we do not understand each other.
        _ => ck::CKR_DEVICE_ERROR,
    }
}

/// The error for an operation that did not succeed: what was asked, why the server refused, and what it says itself.
pub fn refusal(
    operation: OperationCode,
    status: ResultStatus,
    reason: Option<ResultReason>,
    message: Option<&str>,
) -> Error {
    let mut sentence = match status {
        ResultStatus::OPERATION_FAILED => format!("the KMIP server refused {operation}"),
        status => format!("the KMIP server answered {operation} with '{status}'"),
    };
    if let Some(reason) = reason {
        sentence.push_str(&format!(": {reason}"));
    }
    let message = printable(message.unwrap_or_default());
    if !message.is_empty() {
        sentence.push_str(&format!(" (\"{message}\")"));
    }
    let reason = reason.unwrap_or(ResultReason::GENERAL_FAILURE);
    Error::new(Kind::Server(reason.0), rv(reason), sentence)
}

/// A server's text, fit for a terminal and a log: one line, no control characters, not too long.
fn printable(text: &str) -> String {
    let clean: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(LONGEST_MESSAGE)
        .collect();
    let cut = text.chars().nth(LONGEST_MESSAGE).is_some();
    format!("{}{}", clean.trim(), if cut { "…" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_was_asked_and_why() {
        let error = refusal(
            OperationCode::CREATE,
            ResultStatus::OPERATION_FAILED,
            Some(ResultReason::PERMISSION_DENIED),
            Some("no\x1b[31m way\n"),
        );
        assert_eq!(
            error.to_string(),
            "the KMIP server refused Create: Permission Denied (\"no [31m way\")"
        );
        assert_eq!(
            (error.rv(), error.reason()),
            (ck::CKR_ACTION_PROHIBITED, Some(0x0C))
        );
    }

    #[test]
    fn a_long_message_is_cut_and_an_unknown_reason_is_a_number() {
        let error = refusal(
            OperationCode::GET,
            ResultStatus::OPERATION_FAILED,
            Some(ResultReason(0x8000_0001)),
            Some(&"x".repeat(100_000)),
        );
        assert!(error.to_string().contains("0x80000001"), "{error}");
        assert!(error.to_string().len() < 500);
        assert_eq!(error.rv(), ck::CKR_DEVICE_ERROR);
    }

    #[test]
    fn every_reason_has_a_value_that_is_an_error() {
        for reason in ResultReason::ALL {
            assert_ne!(rv(*reason), ck::CKR_OK, "{reason}");
        }
    }
}
