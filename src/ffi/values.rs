//! What each function may return: its list in PKCS#11 3.0, section 5, and the values that 5.1 gives to all. What goes beyond the lists
//! is said where it stands, and in `docs/PKCS11.md`.

use crate::ck::*;

/// Any function (5.1.1).
const ANY: &[CK_RV] = &[
    CKR_OK,
    CKR_GENERAL_ERROR,
    CKR_HOST_MEMORY,
    CKR_FUNCTION_FAILED,
];
/// One that takes a session (5.1.2), and so uses a token (5.1.3).
const IN_SESSION: &[CK_RV] = &[
    CKR_CRYPTOKI_NOT_INITIALIZED,
    CKR_SESSION_HANDLE_INVALID,
    CKR_DEVICE_REMOVED,
    CKR_SESSION_CLOSED,
    CKR_DEVICE_MEMORY,
    CKR_DEVICE_ERROR,
];
/// One that takes a slot and uses the token in it (5.1.3).
const OF_SLOT: &[CK_RV] = &[
    CKR_CRYPTOKI_NOT_INITIALIZED,
    CKR_DEVICE_MEMORY,
    CKR_DEVICE_ERROR,
    CKR_DEVICE_REMOVED,
    CKR_SLOT_ID_INVALID,
    CKR_TOKEN_NOT_PRESENT,
    CKR_TOKEN_NOT_RECOGNIZED,
];

const LOGS_IN: &[CK_RV] = &[
    CKR_ARGUMENTS_BAD,
    CKR_FUNCTION_CANCELED,
    CKR_OPERATION_NOT_INITIALIZED,
    CKR_PIN_INCORRECT,
    CKR_PIN_LOCKED,
    CKR_SESSION_READ_ONLY_EXISTS,
    CKR_USER_ALREADY_LOGGED_IN,
    CKR_USER_ANOTHER_ALREADY_LOGGED_IN,
    CKR_USER_PIN_NOT_INITIALIZED,
    CKR_USER_TOO_MANY_TYPES,
    CKR_USER_TYPE_INVALID,
];
/// Changes an object by a template.
const BY_TEMPLATE: &[CK_RV] = &[
    CKR_ARGUMENTS_BAD,
    CKR_ATTRIBUTE_READ_ONLY,
    CKR_ATTRIBUTE_TYPE_INVALID,
    CKR_ATTRIBUTE_VALUE_INVALID,
    CKR_SESSION_READ_ONLY,
    CKR_TEMPLATE_INCONSISTENT,
    CKR_TOKEN_WRITE_PROTECTED,
    CKR_USER_NOT_LOGGED_IN,
];
/// Makes an object that was not there.
const NEW: &[CK_RV] = &[
    CKR_CURVE_NOT_SUPPORTED,
    CKR_PIN_EXPIRED,
    CKR_TEMPLATE_INCOMPLETE,
];
const BY_MECHANISM: &[CK_RV] = &[
    CKR_ARGUMENTS_BAD,
    CKR_FUNCTION_CANCELED,
    CKR_MECHANISM_INVALID,
    CKR_MECHANISM_PARAM_INVALID,
    CKR_OPERATION_ACTIVE,
];
/// Begins an operation.
const BEGINS: &[CK_RV] = &[
    CKR_OPERATION_CANCEL_FAILED,
    CKR_PIN_EXPIRED,
    CKR_USER_NOT_LOGGED_IN,
];
const WITH_KEY: &[CK_RV] = &[
    CKR_KEY_FUNCTION_NOT_PERMITTED,
    CKR_KEY_HANDLE_INVALID,
    CKR_KEY_SIZE_RANGE,
    CKR_KEY_TYPE_INCONSISTENT,
];
/// Goes on with an operation, or ends it.
const GOES_ON: &[CK_RV] = &[
    CKR_ARGUMENTS_BAD,
    CKR_FUNCTION_CANCELED,
    CKR_OPERATION_NOT_INITIALIZED,
];
const GIVES: &[CK_RV] = &[CKR_BUFFER_TOO_SMALL];
const DATA_LEN: &[CK_RV] = &[CKR_DATA_LEN_RANGE];
const DATA: &[CK_RV] = &[CKR_DATA_INVALID, CKR_DATA_LEN_RANGE];
const ENCRYPTED_DATA: &[CK_RV] = &[CKR_ENCRYPTED_DATA_INVALID, CKR_ENCRYPTED_DATA_LEN_RANGE];
const SIGNATURE: &[CK_RV] = &[CKR_SIGNATURE_INVALID, CKR_SIGNATURE_LEN_RANGE];
const LOGIN: &[CK_RV] = &[CKR_USER_NOT_LOGGED_IN];
const REJECTED: &[CK_RV] = &[CKR_FUNCTION_REJECTED];
/// For a key whose attributes do not "allow it to do" what is asked (5.1.6), of functions whose lists have nothing for that.
const NOT_PERMITTED: &[CK_RV] = &[CKR_KEY_FUNCTION_NOT_PERMITTED];
/// A single message, with a parameter of its own.
const MESSAGE: &[CK_RV] = &[CKR_MECHANISM_PARAM_INVALID, CKR_OPERATION_ACTIVE];

/// What `function` may return, beside [`ANY`].
fn list(function: &str) -> &'static [&'static [CK_RV]] {
    match function {
        "C_Initialize" => &[&[
            CKR_ARGUMENTS_BAD,
            CKR_CANT_LOCK,
            CKR_CRYPTOKI_ALREADY_INITIALIZED,
            CKR_NEED_TO_CREATE_THREADS,
        ]],
        "C_Finalize" | "C_GetInfo" => &[&[CKR_ARGUMENTS_BAD, CKR_CRYPTOKI_NOT_INITIALIZED]],
        "C_GetFunctionList" => &[&[CKR_ARGUMENTS_BAD]],
        "C_GetInterfaceList" | "C_GetInterface" => &[&[CKR_ARGUMENTS_BAD], GIVES],
        "C_GetSlotList" => &[&[CKR_ARGUMENTS_BAD, CKR_CRYPTOKI_NOT_INITIALIZED], GIVES],
        "C_GetSlotInfo" => &[&[
            CKR_ARGUMENTS_BAD,
            CKR_CRYPTOKI_NOT_INITIALIZED,
            CKR_DEVICE_ERROR,
            CKR_SLOT_ID_INVALID,
        ]],
        "C_GetTokenInfo" => &[OF_SLOT, &[CKR_ARGUMENTS_BAD]],
        "C_WaitForSlotEvent" => &[&[
            CKR_ARGUMENTS_BAD,
            CKR_CRYPTOKI_NOT_INITIALIZED,
            CKR_NO_EVENT,
        ]],
        "C_GetMechanismList" => &[OF_SLOT, &[CKR_ARGUMENTS_BAD], GIVES],
        "C_GetMechanismInfo" => &[OF_SLOT, &[CKR_ARGUMENTS_BAD, CKR_MECHANISM_INVALID]],
        "C_InitToken" => &[
            OF_SLOT,
            &[
                CKR_ARGUMENTS_BAD,
                CKR_FUNCTION_CANCELED,
                CKR_PIN_INCORRECT,
                CKR_PIN_LOCKED,
                CKR_SESSION_EXISTS,
                CKR_TOKEN_WRITE_PROTECTED,
                // Of all "functions which attempt to set a PIN" (5.1.6), and it tells an application what to change.
                CKR_PIN_LEN_RANGE,
            ],
        ],
        "C_InitPIN" => &[
            IN_SESSION,
            &[
                CKR_ARGUMENTS_BAD,
                CKR_FUNCTION_CANCELED,
                CKR_PIN_INVALID,
                CKR_PIN_LEN_RANGE,
                CKR_SESSION_READ_ONLY,
                CKR_TOKEN_WRITE_PROTECTED,
                CKR_USER_NOT_LOGGED_IN,
            ],
        ],
        "C_SetPIN" => &[
            IN_SESSION,
            &[
                CKR_ARGUMENTS_BAD,
                CKR_FUNCTION_CANCELED,
                CKR_PIN_INCORRECT,
                CKR_PIN_INVALID,
                CKR_PIN_LEN_RANGE,
                CKR_PIN_LOCKED,
                CKR_SESSION_READ_ONLY,
                CKR_TOKEN_WRITE_PROTECTED,
            ],
        ],
        "C_OpenSession" => &[
            OF_SLOT,
            &[
                CKR_ARGUMENTS_BAD,
                CKR_SESSION_COUNT,
                CKR_SESSION_PARALLEL_NOT_SUPPORTED,
                CKR_SESSION_READ_WRITE_SO_EXISTS,
                CKR_TOKEN_WRITE_PROTECTED,
            ],
        ],
        "C_CloseSession" => &[IN_SESSION],
        "C_CloseAllSessions" => &[&[
            CKR_CRYPTOKI_NOT_INITIALIZED,
            CKR_DEVICE_ERROR,
            CKR_DEVICE_MEMORY,
            CKR_DEVICE_REMOVED,
            CKR_SLOT_ID_INVALID,
            CKR_TOKEN_NOT_PRESENT,
        ]],
        "C_GetSessionInfo" => &[IN_SESSION, &[CKR_ARGUMENTS_BAD]],
        "C_SessionCancel" => &[
            IN_SESSION,
            &[CKR_OPERATION_CANCEL_FAILED, CKR_TOKEN_NOT_PRESENT],
        ],
        "C_GetOperationState" => &[
            IN_SESSION,
            &[
                CKR_ARGUMENTS_BAD,
                CKR_OPERATION_NOT_INITIALIZED,
                CKR_STATE_UNSAVEABLE,
            ],
            GIVES,
        ],
        "C_SetOperationState" => &[
            IN_SESSION,
            &[
                CKR_ARGUMENTS_BAD,
                CKR_KEY_CHANGED,
                CKR_KEY_NEEDED,
                CKR_KEY_NOT_NEEDED,
                CKR_SAVED_STATE_INVALID,
            ],
        ],
        "C_Login" | "C_LoginUser" => &[IN_SESSION, LOGS_IN],
        "C_Logout" => &[IN_SESSION, LOGIN],
        "C_CreateObject" => &[IN_SESSION, BY_TEMPLATE, NEW, &[CKR_DOMAIN_PARAMS_INVALID]],
        "C_CopyObject" => &[
            IN_SESSION,
            BY_TEMPLATE,
            &[
                CKR_ACTION_PROHIBITED,
                CKR_OBJECT_HANDLE_INVALID,
                CKR_PIN_EXPIRED,
            ],
        ],
        "C_DestroyObject" => &[
            IN_SESSION,
            &[
                CKR_ACTION_PROHIBITED,
                CKR_OBJECT_HANDLE_INVALID,
                CKR_PIN_EXPIRED,
                CKR_SESSION_READ_ONLY,
                CKR_TOKEN_WRITE_PROTECTED,
            ],
        ],
        "C_GetObjectSize" => &[
            IN_SESSION,
            &[
                CKR_ARGUMENTS_BAD,
                CKR_INFORMATION_SENSITIVE,
                CKR_OBJECT_HANDLE_INVALID,
            ],
        ],
        "C_GetAttributeValue" => &[
            IN_SESSION,
            &[
                CKR_ARGUMENTS_BAD,
                CKR_ATTRIBUTE_SENSITIVE,
                CKR_ATTRIBUTE_TYPE_INVALID,
                CKR_OBJECT_HANDLE_INVALID,
            ],
            GIVES,
        ],
        "C_SetAttributeValue" => &[
            IN_SESSION,
            BY_TEMPLATE,
            &[CKR_ACTION_PROHIBITED, CKR_OBJECT_HANDLE_INVALID],
        ],
        "C_FindObjectsInit" => &[
            IN_SESSION,
            &[
                CKR_ARGUMENTS_BAD,
                CKR_ATTRIBUTE_TYPE_INVALID,
                CKR_ATTRIBUTE_VALUE_INVALID,
                CKR_OPERATION_ACTIVE,
                CKR_PIN_EXPIRED,
            ],
        ],
        "C_FindObjects" => &[
            IN_SESSION,
            &[CKR_ARGUMENTS_BAD, CKR_OPERATION_NOT_INITIALIZED],
        ],
        "C_FindObjectsFinal" => &[IN_SESSION, &[CKR_OPERATION_NOT_INITIALIZED]],
        // `CKR_ARGUMENTS_BAD` is in all but two of these lists, those of encryption.
        "C_EncryptInit"
        | "C_DecryptInit"
        | "C_SignInit"
        | "C_SignRecoverInit"
        | "C_VerifyInit"
        | "C_VerifyRecoverInit"
        | "C_MessageEncryptInit"
        | "C_MessageDecryptInit"
        | "C_MessageSignInit"
        | "C_MessageVerifyInit" => &[IN_SESSION, BY_MECHANISM, BEGINS, WITH_KEY],
        "C_DigestInit" => &[IN_SESSION, BY_MECHANISM, BEGINS],
        "C_Encrypt" => &[IN_SESSION, GOES_ON, GIVES, DATA],
        "C_EncryptUpdate" | "C_EncryptFinal" | "C_DigestEncryptUpdate" => {
            &[IN_SESSION, GOES_ON, GIVES, DATA_LEN]
        }
        "C_EncryptMessage" => &[IN_SESSION, GOES_ON, GIVES, DATA, MESSAGE],
        "C_EncryptMessageNext" => &[IN_SESSION, GOES_ON, GIVES, DATA_LEN, MESSAGE],
        "C_Decrypt" | "C_DecryptUpdate" | "C_DecryptFinal" => {
            &[IN_SESSION, GOES_ON, GIVES, ENCRYPTED_DATA, LOGIN]
        }
        // A key with `CKA_ALWAYS_AUTHENTICATE` says so in all "calls using the key" (4.9), if not in their lists.
        "C_DecryptDigestUpdate" => &[IN_SESSION, GOES_ON, GIVES, ENCRYPTED_DATA, LOGIN],
        "C_DecryptVerifyUpdate" => &[IN_SESSION, GOES_ON, GIVES, ENCRYPTED_DATA, DATA_LEN, LOGIN],
        "C_DecryptMessage" | "C_DecryptMessageNext" => &[
            IN_SESSION,
            GOES_ON,
            GIVES,
            ENCRYPTED_DATA,
            LOGIN,
            MESSAGE,
            &[CKR_AEAD_DECRYPT_FAILED],
        ],
        "C_Digest" | "C_DigestFinal" => &[IN_SESSION, GOES_ON, GIVES],
        "C_DigestUpdate" => &[IN_SESSION, GOES_ON],
        "C_DigestKey" => &[
            IN_SESSION,
            &[
                CKR_FUNCTION_CANCELED,
                CKR_KEY_HANDLE_INVALID,
                CKR_KEY_INDIGESTIBLE,
                CKR_KEY_SIZE_RANGE,
                CKR_OPERATION_NOT_INITIALIZED,
            ],
        ],
        "C_Sign" => &[IN_SESSION, GOES_ON, GIVES, DATA, LOGIN, REJECTED],
        "C_SignUpdate" => &[IN_SESSION, GOES_ON, DATA_LEN, LOGIN],
        "C_SignFinal" => &[IN_SESSION, GOES_ON, GIVES, DATA_LEN, LOGIN, REJECTED],
        "C_SignRecover" => &[IN_SESSION, GOES_ON, GIVES, DATA, LOGIN],
        "C_SignEncryptUpdate" => &[IN_SESSION, GOES_ON, GIVES, DATA_LEN, LOGIN],
        "C_SignMessage" => &[IN_SESSION, GOES_ON, GIVES, DATA, LOGIN, REJECTED, MESSAGE],
        "C_SignMessageNext" => &[
            IN_SESSION, GOES_ON, GIVES, DATA_LEN, LOGIN, REJECTED, MESSAGE,
        ],
        "C_Verify" => &[IN_SESSION, GOES_ON, DATA, SIGNATURE],
        "C_VerifyUpdate" => &[IN_SESSION, GOES_ON, DATA_LEN],
        "C_VerifyFinal" => &[IN_SESSION, GOES_ON, DATA_LEN, SIGNATURE],
        "C_VerifyRecover" => &[IN_SESSION, GOES_ON, GIVES, DATA, SIGNATURE],
        "C_VerifyMessage" => &[IN_SESSION, GOES_ON, DATA, SIGNATURE, MESSAGE],
        "C_VerifyMessageNext" => &[IN_SESSION, GOES_ON, DATA_LEN, SIGNATURE, MESSAGE],
        // Here too it is forgotten for encryption.
        "C_EncryptMessageBegin"
        | "C_DecryptMessageBegin"
        | "C_SignMessageBegin"
        | "C_VerifyMessageBegin" => &[IN_SESSION, GOES_ON, MESSAGE, &[CKR_PIN_EXPIRED], LOGIN],
        "C_MessageEncryptFinal" | "C_MessageVerifyFinal" => {
            &[IN_SESSION, GOES_ON, &[CKR_OPERATION_ACTIVE]]
        }
        "C_MessageDecryptFinal" | "C_MessageSignFinal" => {
            &[IN_SESSION, GOES_ON, &[CKR_OPERATION_ACTIVE], LOGIN]
        }
        "C_GenerateKey" => &[IN_SESSION, BY_TEMPLATE, NEW, BY_MECHANISM],
        "C_GenerateKeyPair" => &[
            IN_SESSION,
            BY_TEMPLATE,
            NEW,
            BY_MECHANISM,
            &[CKR_DOMAIN_PARAMS_INVALID],
        ],
        "C_WrapKey" => &[
            IN_SESSION,
            BY_MECHANISM,
            GIVES,
            LOGIN,
            &[
                CKR_KEY_HANDLE_INVALID,
                CKR_KEY_NOT_WRAPPABLE,
                CKR_KEY_SIZE_RANGE,
                CKR_KEY_UNEXTRACTABLE,
                CKR_PIN_EXPIRED,
                CKR_WRAPPING_KEY_HANDLE_INVALID,
                CKR_WRAPPING_KEY_SIZE_RANGE,
                CKR_WRAPPING_KEY_TYPE_INCONSISTENT,
            ],
            NOT_PERMITTED,
        ],
        "C_UnwrapKey" => &[
            IN_SESSION,
            BY_TEMPLATE,
            NEW,
            BY_MECHANISM,
            GIVES,
            &[
                CKR_DOMAIN_PARAMS_INVALID,
                CKR_UNWRAPPING_KEY_HANDLE_INVALID,
                CKR_UNWRAPPING_KEY_SIZE_RANGE,
                CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT,
                CKR_WRAPPED_KEY_INVALID,
                CKR_WRAPPED_KEY_LEN_RANGE,
            ],
            NOT_PERMITTED,
        ],
        "C_DeriveKey" => &[
            IN_SESSION,
            BY_TEMPLATE,
            NEW,
            BY_MECHANISM,
            &[
                CKR_DOMAIN_PARAMS_INVALID,
                CKR_KEY_HANDLE_INVALID,
                CKR_KEY_SIZE_RANGE,
                CKR_KEY_TYPE_INCONSISTENT,
            ],
            NOT_PERMITTED,
        ],
        "C_SeedRandom" => &[
            IN_SESSION,
            &[
                CKR_ARGUMENTS_BAD,
                CKR_FUNCTION_CANCELED,
                CKR_OPERATION_ACTIVE,
                CKR_RANDOM_NO_RNG,
                CKR_RANDOM_SEED_NOT_SUPPORTED,
            ],
            LOGIN,
        ],
        "C_GenerateRandom" => &[
            IN_SESSION,
            &[
                CKR_ARGUMENTS_BAD,
                CKR_FUNCTION_CANCELED,
                CKR_OPERATION_ACTIVE,
                CKR_RANDOM_NO_RNG,
            ],
            LOGIN,
        ],
        "C_GetFunctionStatus" | "C_CancelFunction" => &[IN_SESSION, &[CKR_FUNCTION_NOT_PARALLEL]],
        _ => &[],
    }
}

/// Whether `function` may return `rv`.
pub fn may_return(function: &str, rv: CK_RV) -> bool {
    ANY.contains(&rv) || list(function).iter().any(|values| values.contains(&rv))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffi::FUNCTIONS;

    #[test]
    fn every_function_has_a_list() {
        for function in FUNCTIONS {
            assert!(!list(function.name).is_empty(), "{}", function.name);
        }
        assert!(list("C_Other").is_empty());
    }

    #[test]
    fn values_that_only_some_functions_may_return_are_in_no_other_list() {
        // 5.1.6: "This value can only be returned by ...".
        let only: &[(CK_RV, &[&str])] = &[
            (
                CKR_ACTION_PROHIBITED,
                &["C_CopyObject", "C_SetAttributeValue", "C_DestroyObject"],
            ),
            (CKR_CANT_LOCK, &["C_Initialize"]),
            (CKR_CRYPTOKI_ALREADY_INITIALIZED, &["C_Initialize"]),
            (
                CKR_FUNCTION_NOT_PARALLEL,
                &["C_GetFunctionStatus", "C_CancelFunction"],
            ),
            (CKR_KEY_CHANGED, &["C_SetOperationState"]),
            (CKR_KEY_INDIGESTIBLE, &["C_DigestKey"]),
            (CKR_KEY_NEEDED, &["C_SetOperationState"]),
            (CKR_NO_EVENT, &["C_WaitForSlotEvent"]),
            (CKR_SAVED_STATE_INVALID, &["C_SetOperationState"]),
            (CKR_SESSION_COUNT, &["C_OpenSession"]),
            (CKR_SESSION_EXISTS, &["C_InitToken"]),
            (CKR_SESSION_PARALLEL_NOT_SUPPORTED, &["C_OpenSession"]),
            (CKR_UNWRAPPING_KEY_HANDLE_INVALID, &["C_UnwrapKey"]),
            (CKR_WRAPPED_KEY_INVALID, &["C_UnwrapKey"]),
            (CKR_WRAPPED_KEY_LEN_RANGE, &["C_UnwrapKey"]),
            (CKR_WRAPPING_KEY_HANDLE_INVALID, &["C_WrapKey"]),
            // Not of functions at all (5.1.4, 5.1.5).
            (CKR_CANCEL, &[]),
            (CKR_MUTEX_BAD, &[]),
            (CKR_MUTEX_NOT_LOCKED, &[]),
        ];
        for (rv, functions) in only {
            let may: Vec<&str> = FUNCTIONS
                .iter()
                .map(|f| f.name)
                .filter(|name| may_return(name, *rv))
                .collect();
            let mut expected = functions.to_vec();
            expected.sort_by_key(|name| FUNCTIONS.iter().position(|f| f.name == *name));
            assert_eq!(may, expected, "{}", rv_name(*rv));
        }
    }
}
