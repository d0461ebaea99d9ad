//! What each function may return: its list in PKCS#11 3.0, section 5.

use mrhsm_pkcs11::ck::*;

/// Values that every function with a session has (5.1.1 to 5.1.3). `CKR_GENERAL_ERROR` is in all lists too, but here it
/// would be a panic that the guard caught.
const ALWAYS: &[CK_RV] = &[CKR_OK, CKR_ARGUMENTS_BAD, CKR_FUNCTION_FAILED, CKR_SESSION_HANDLE_INVALID];

const MAKES: &[CK_RV] = &[
    CKR_ATTRIBUTE_READ_ONLY,
    CKR_ATTRIBUTE_TYPE_INVALID,
    CKR_ATTRIBUTE_VALUE_INVALID,
    CKR_CURVE_NOT_SUPPORTED,
    CKR_DOMAIN_PARAMS_INVALID,
    CKR_PIN_EXPIRED,
    CKR_SESSION_READ_ONLY,
    CKR_TEMPLATE_INCOMPLETE,
    CKR_TEMPLATE_INCONSISTENT,
    CKR_TOKEN_WRITE_PROTECTED,
    CKR_USER_NOT_LOGGED_IN,
];
const BY_MECHANISM: &[CK_RV] = &[CKR_MECHANISM_INVALID, CKR_MECHANISM_PARAM_INVALID, CKR_OPERATION_ACTIVE];
const BY_KEY: &[CK_RV] = &[
    CKR_KEY_FUNCTION_NOT_PERMITTED,
    CKR_KEY_HANDLE_INVALID,
    CKR_KEY_SIZE_RANGE,
    CKR_KEY_TYPE_INCONSISTENT,
    CKR_OPERATION_CANCEL_FAILED,
    CKR_PIN_EXPIRED,
    CKR_USER_NOT_LOGGED_IN,
];
const ENCRYPTS: &[CK_RV] = &[CKR_BUFFER_TOO_SMALL, CKR_DATA_INVALID, CKR_DATA_LEN_RANGE, CKR_OPERATION_NOT_INITIALIZED];
const DECRYPTS: &[CK_RV] = &[
    CKR_BUFFER_TOO_SMALL,
    CKR_ENCRYPTED_DATA_INVALID,
    CKR_ENCRYPTED_DATA_LEN_RANGE,
    CKR_OPERATION_NOT_INITIALIZED,
    CKR_USER_NOT_LOGGED_IN,
];
const SIGNS: &[CK_RV] = &[
    CKR_BUFFER_TOO_SMALL,
    CKR_DATA_INVALID,
    CKR_DATA_LEN_RANGE,
    CKR_FUNCTION_REJECTED,
    CKR_OPERATION_NOT_INITIALIZED,
    CKR_USER_NOT_LOGGED_IN,
];
const VERIFIES: &[CK_RV] =
    &[CKR_DATA_INVALID, CKR_DATA_LEN_RANGE, CKR_OPERATION_NOT_INITIALIZED, CKR_SIGNATURE_INVALID, CKR_SIGNATURE_LEN_RANGE];

/// What `function` may return, beside [`ALWAYS`].
fn lists(function: &str) -> &'static [&'static [CK_RV]] {
    match function {
        "C_CreateObject" => &[MAKES],
        "C_CopyObject" => &[MAKES, &[CKR_ACTION_PROHIBITED, CKR_OBJECT_HANDLE_INVALID, CKR_FUNCTION_REJECTED]],
        "C_DestroyObject" => &[&[
            CKR_ACTION_PROHIBITED,
            CKR_OBJECT_HANDLE_INVALID,
            CKR_PIN_EXPIRED,
            CKR_SESSION_READ_ONLY,
            CKR_TOKEN_WRITE_PROTECTED,
        ]],
        "C_GetObjectSize" => &[&[CKR_INFORMATION_SENSITIVE, CKR_OBJECT_HANDLE_INVALID]],
        "C_GetAttributeValue" => {
            &[&[CKR_ATTRIBUTE_SENSITIVE, CKR_ATTRIBUTE_TYPE_INVALID, CKR_BUFFER_TOO_SMALL, CKR_OBJECT_HANDLE_INVALID]]
        }
        "C_SetAttributeValue" => &[MAKES, &[CKR_ACTION_PROHIBITED, CKR_OBJECT_HANDLE_INVALID]],
        "C_FindObjectsInit" => {
            &[&[CKR_ATTRIBUTE_TYPE_INVALID, CKR_ATTRIBUTE_VALUE_INVALID, CKR_OPERATION_ACTIVE, CKR_PIN_EXPIRED]]
        }
        "C_FindObjects" | "C_FindObjectsFinal" => &[&[CKR_OPERATION_NOT_INITIALIZED]],
        "C_EncryptInit"
        | "C_DecryptInit"
        | "C_SignInit"
        | "C_VerifyInit"
        | "C_SignRecoverInit"
        | "C_VerifyRecoverInit"
        | "C_MessageEncryptInit"
        | "C_MessageDecryptInit"
        | "C_MessageSignInit"
        | "C_MessageVerifyInit" => &[BY_MECHANISM, BY_KEY],
        "C_DigestInit" => &[BY_MECHANISM, &[CKR_OPERATION_CANCEL_FAILED, CKR_PIN_EXPIRED, CKR_USER_NOT_LOGGED_IN]],
        "C_Encrypt" | "C_EncryptUpdate" | "C_EncryptFinal" => &[ENCRYPTS],
        "C_Decrypt" | "C_DecryptUpdate" | "C_DecryptFinal" => &[DECRYPTS],
        "C_EncryptMessage" | "C_EncryptMessageBegin" | "C_EncryptMessageNext" => {
            &[ENCRYPTS, &[CKR_MECHANISM_PARAM_INVALID, CKR_OPERATION_ACTIVE]]
        }
        "C_DecryptMessage" | "C_DecryptMessageBegin" | "C_DecryptMessageNext" => {
            &[DECRYPTS, &[CKR_AEAD_DECRYPT_FAILED, CKR_MECHANISM_PARAM_INVALID, CKR_OPERATION_ACTIVE]]
        }
        "C_Digest" | "C_DigestFinal" => &[&[CKR_BUFFER_TOO_SMALL, CKR_OPERATION_NOT_INITIALIZED]],
        "C_DigestUpdate" => &[&[CKR_OPERATION_NOT_INITIALIZED]],
        "C_DigestKey" => &[&[CKR_KEY_HANDLE_INVALID, CKR_KEY_INDIGESTIBLE, CKR_KEY_SIZE_RANGE, CKR_OPERATION_NOT_INITIALIZED]],
        "C_Sign" | "C_SignUpdate" | "C_SignFinal" | "C_SignRecover" => &[SIGNS],
        "C_SignMessage" | "C_SignMessageBegin" | "C_SignMessageNext" => &[SIGNS, &[CKR_OPERATION_ACTIVE]],
        "C_Verify" | "C_VerifyUpdate" | "C_VerifyFinal" => &[VERIFIES],
        "C_VerifyRecover" => &[VERIFIES, &[CKR_BUFFER_TOO_SMALL]],
        "C_VerifyMessage" | "C_VerifyMessageBegin" | "C_VerifyMessageNext" => &[VERIFIES, &[CKR_OPERATION_ACTIVE]],
        "C_MessageEncryptFinal" | "C_MessageDecryptFinal" | "C_MessageSignFinal" | "C_MessageVerifyFinal" => {
            &[&[CKR_OPERATION_NOT_INITIALIZED, CKR_OPERATION_ACTIVE]]
        }
        "C_DigestEncryptUpdate" | "C_SignEncryptUpdate" => &[ENCRYPTS, SIGNS],
        "C_DecryptDigestUpdate" | "C_DecryptVerifyUpdate" => &[DECRYPTS, &[CKR_DATA_LEN_RANGE]],
        "C_GenerateKey" | "C_GenerateKeyPair" => &[MAKES, BY_MECHANISM],
        "C_WrapKey" => &[
            BY_MECHANISM,
            &[
                CKR_BUFFER_TOO_SMALL,
                CKR_KEY_HANDLE_INVALID,
                CKR_KEY_NOT_WRAPPABLE,
                CKR_KEY_SIZE_RANGE,
                CKR_KEY_UNEXTRACTABLE,
                CKR_KEY_FUNCTION_NOT_PERMITTED,
                CKR_USER_NOT_LOGGED_IN,
                CKR_WRAPPING_KEY_HANDLE_INVALID,
                CKR_WRAPPING_KEY_SIZE_RANGE,
                CKR_WRAPPING_KEY_TYPE_INCONSISTENT,
            ],
        ],
        "C_UnwrapKey" => &[
            MAKES,
            BY_MECHANISM,
            &[
                CKR_BUFFER_TOO_SMALL,
                CKR_KEY_FUNCTION_NOT_PERMITTED,
                CKR_UNWRAPPING_KEY_HANDLE_INVALID,
                CKR_UNWRAPPING_KEY_SIZE_RANGE,
                CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT,
                CKR_WRAPPED_KEY_INVALID,
                CKR_WRAPPED_KEY_LEN_RANGE,
            ],
        ],
        "C_DeriveKey" => &[MAKES, BY_MECHANISM, BY_KEY],
        "C_SeedRandom" => &[&[CKR_OPERATION_ACTIVE, CKR_RANDOM_SEED_NOT_SUPPORTED, CKR_RANDOM_NO_RNG, CKR_USER_NOT_LOGGED_IN]],
        "C_GenerateRandom" => &[&[CKR_OPERATION_ACTIVE, CKR_RANDOM_NO_RNG, CKR_USER_NOT_LOGGED_IN]],
        "C_GetOperationState" => {
            &[&[CKR_BUFFER_TOO_SMALL, CKR_OPERATION_NOT_INITIALIZED, CKR_STATE_UNSAVEABLE, CKR_OPERATION_ACTIVE]]
        }
        "C_SetOperationState" => &[&[CKR_KEY_CHANGED, CKR_KEY_NEEDED, CKR_KEY_NOT_NEEDED, CKR_SAVED_STATE_INVALID]],
        "C_SessionCancel" => &[&[CKR_OPERATION_CANCEL_FAILED]],
        "C_Login" => &[&[
            CKR_OPERATION_NOT_INITIALIZED,
            CKR_PIN_INCORRECT,
            CKR_PIN_LOCKED,
            CKR_SESSION_READ_ONLY_EXISTS,
            CKR_USER_ALREADY_LOGGED_IN,
            CKR_USER_ANOTHER_ALREADY_LOGGED_IN,
            CKR_USER_PIN_NOT_INITIALIZED,
            CKR_USER_TOO_MANY_TYPES,
            CKR_USER_TYPE_INVALID,
        ]],
        _ => &[],
    }
}

/// Panics when the standard's list for `function` does not have `rv`.
pub fn check(function: &str, rv: CK_RV) {
    let known = ALWAYS.contains(&rv) || lists(function).iter().any(|list| list.contains(&rv));
    assert!(known, "{function} returned {}, which is not in its list", rv_name(rv));
}
