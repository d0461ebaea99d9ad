//! Enumerations of messages: operations, results, queries, profiles (spec 1.4, 9.1.3.2; spec 2.1, 11).

use super::*;

enums! {
    OperationCode: OPERATION "Operation" {
        CREATE = 0x01 "Create", CREATE_KEY_PAIR = 0x02 "Create Key Pair", REGISTER = 0x03 "Register", RE_KEY = 0x04 "Re-key",
        DERIVE_KEY = 0x05 "Derive Key", CERTIFY = 0x06 "Certify", RE_CERTIFY = 0x07 "Re-certify", LOCATE = 0x08 "Locate",
        CHECK = 0x09 "Check", GET = 0x0A "Get", GET_ATTRIBUTES = 0x0B "Get Attributes",
        GET_ATTRIBUTE_LIST = 0x0C "Get Attribute List", ADD_ATTRIBUTE = 0x0D "Add Attribute",
        MODIFY_ATTRIBUTE = 0x0E "Modify Attribute", DELETE_ATTRIBUTE = 0x0F "Delete Attribute",
        OBTAIN_LEASE = 0x10 "Obtain Lease", GET_USAGE_ALLOCATION = 0x11 "Get Usage Allocation", ACTIVATE = 0x12 "Activate",
        REVOKE = 0x13 "Revoke", DESTROY = 0x14 "Destroy", ARCHIVE = 0x15 "Archive", RECOVER = 0x16 "Recover",
        VALIDATE = 0x17 "Validate", QUERY = 0x18 "Query", CANCEL = 0x19 "Cancel", POLL = 0x1A "Poll", NOTIFY = 0x1B "Notify",
        PUT = 0x1C "Put", RE_KEY_KEY_PAIR = 0x1D "Re-key Key Pair", DISCOVER_VERSIONS = 0x1E "Discover Versions",
        ENCRYPT = 0x1F "Encrypt", DECRYPT = 0x20 "Decrypt", SIGN = 0x21 "Sign", SIGNATURE_VERIFY = 0x22 "Signature Verify",
        MAC = 0x23 "MAC", MAC_VERIFY = 0x24 "MAC Verify", RNG_RETRIEVE = 0x25 "RNG Retrieve", RNG_SEED = 0x26 "RNG Seed",
        HASH = 0x27 "Hash", CREATE_SPLIT_KEY = 0x28 "Create Split Key", JOIN_SPLIT_KEY = 0x29 "Join Split Key",
        IMPORT = 0x2A "Import", EXPORT = 0x2B "Export", LOG = 0x2C "Log", LOGIN = 0x2D "Login", LOGOUT = 0x2E "Logout",
        DELEGATED_LOGIN = 0x2F "Delegated Login", ADJUST_ATTRIBUTE = 0x30 "Adjust Attribute",
        SET_ATTRIBUTE = 0x31 "Set Attribute", SET_ENDPOINT_ROLE = 0x32 "Set Endpoint Role", PKCS_11 = 0x33 "PKCS#11",
        INTEROP = 0x34 "Interop", RE_PROVISION = 0x35 "Re-Provision", SET_DEFAULTS = 0x36 "Set Defaults",
        SET_CONSTRAINTS = 0x37 "Set Constraints", GET_CONSTRAINTS = 0x38 "Get Constraints",
        QUERY_ASYNCHRONOUS_REQUESTS = 0x39 "Query Asynchronous Requests", PROCESS = 0x3A "Process", PING = 0x3B "Ping",
        CREATE_GROUP = 0x3C "Create Group", OBLITERATE = 0x3D "Obliterate", CREATE_USER = 0x3E "Create User",
        CREATE_CREDENTIAL = 0x3F "Create Credential", DEACTIVATE = 0x40 "Deactivate",
    }
    ResultStatus: RESULT_STATUS "Result Status" {
        SUCCESS = 0x00 "Success", OPERATION_FAILED = 0x01 "Operation Failed", OPERATION_PENDING = 0x02 "Operation Pending",
        OPERATION_UNDONE = 0x03 "Operation Undone",
    }
    ResultReason: RESULT_REASON "Result Reason" {
        ITEM_NOT_FOUND = 0x001 "Item Not Found", RESPONSE_TOO_LARGE = 0x002 "Response Too Large",
        AUTHENTICATION_NOT_SUCCESSFUL = 0x003 "Authentication Not Successful", INVALID_MESSAGE = 0x004 "Invalid Message",
        OPERATION_NOT_SUPPORTED = 0x005 "Operation Not Supported", MISSING_DATA = 0x006 "Missing Data",
        INVALID_FIELD = 0x007 "Invalid Field", FEATURE_NOT_SUPPORTED = 0x008 "Feature Not Supported",
        OPERATION_CANCELED_BY_REQUESTER = 0x009 "Operation Canceled By Requester",
        CRYPTOGRAPHIC_FAILURE = 0x00A "Cryptographic Failure", ILLEGAL_OPERATION = 0x00B "Illegal Operation",
        PERMISSION_DENIED = 0x00C "Permission Denied", OBJECT_ARCHIVED = 0x00D "Object Archived",
        INDEX_OUT_OF_BOUNDS = 0x00E "Index Out of Bounds",
        APPLICATION_NAMESPACE_NOT_SUPPORTED = 0x00F "Application Namespace Not Supported",
        KEY_FORMAT_TYPE_NOT_SUPPORTED = 0x010 "Key Format Type Not Supported",
        KEY_COMPRESSION_TYPE_NOT_SUPPORTED = 0x011 "Key Compression Type Not Supported",
        ENCODING_OPTION_ERROR = 0x012 "Encoding Option Error", KEY_VALUE_NOT_PRESENT = 0x013 "Key Value Not Present",
        ATTESTATION_REQUIRED = 0x014 "Attestation Required", ATTESTATION_FAILED = 0x015 "Attestation Failed",
        SENSITIVE = 0x016 "Sensitive", NOT_EXTRACTABLE = 0x017 "Not Extractable",
        OBJECT_ALREADY_EXISTS = 0x018 "Object Already Exists", INVALID_TICKET = 0x019 "Invalid Ticket",
        USAGE_LIMIT_EXCEEDED = 0x01A "Usage Limit Exceeded", NUMERIC_RANGE = 0x01B "Numeric Range",
        INVALID_DATA_TYPE = 0x01C "Invalid Data Type", READ_ONLY_ATTRIBUTE = 0x01D "Read Only Attribute",
        MULTI_VALUED_ATTRIBUTE = 0x01E "Multi Valued Attribute", UNSUPPORTED_ATTRIBUTE = 0x01F "Unsupported Attribute",
        ATTRIBUTE_INSTANCE_NOT_FOUND = 0x020 "Attribute Instance Not Found", ATTRIBUTE_NOT_FOUND = 0x021 "Attribute Not Found",
        ATTRIBUTE_READ_ONLY = 0x022 "Attribute Read Only", ATTRIBUTE_SINGLE_VALUED = 0x023 "Attribute Single Valued",
        BAD_CRYPTOGRAPHIC_PARAMETERS = 0x024 "Bad Cryptographic Parameters", BAD_PASSWORD = 0x025 "Bad Password",
        CODEC_ERROR = 0x026 "Codec Error", ILLEGAL_OBJECT_TYPE = 0x028 "Illegal Object Type",
        INCOMPATIBLE_CRYPTOGRAPHIC_USAGE_MASK = 0x029 "Incompatible Cryptographic Usage Mask",
        INTERNAL_SERVER_ERROR = 0x02A "Internal Server Error",
        INVALID_ASYNCHRONOUS_CORRELATION_VALUE = 0x02B "Invalid Asynchronous Correlation Value",
        INVALID_ATTRIBUTE = 0x02C "Invalid Attribute", INVALID_ATTRIBUTE_VALUE = 0x02D "Invalid Attribute Value",
        INVALID_CORRELATION_VALUE = 0x02E "Invalid Correlation Value", INVALID_CSR = 0x02F "Invalid CSR",
        INVALID_OBJECT_TYPE = 0x030 "Invalid Object Type", KEY_WRAP_TYPE_NOT_SUPPORTED = 0x032 "Key Wrap Type Not Supported",
        MISSING_INITIALIZATION_VECTOR = 0x034 "Missing Initialization Vector",
        NON_UNIQUE_NAME_ATTRIBUTE = 0x035 "Non Unique Name Attribute", OBJECT_DESTROYED = 0x036 "Object Destroyed",
        OBJECT_NOT_FOUND = 0x037 "Object Not Found", NOT_AUTHORISED = 0x039 "Not Authorised",
        SERVER_LIMIT_EXCEEDED = 0x03A "Server Limit Exceeded", UNKNOWN_ENUMERATION = 0x03B "Unknown Enumeration",
        UNKNOWN_MESSAGE_EXTENSION = 0x03C "Unknown Message Extension", UNKNOWN_TAG = 0x03D "Unknown Tag",
        UNSUPPORTED_CRYPTOGRAPHIC_PARAMETERS = 0x03E "Unsupported Cryptographic Parameters",
        UNSUPPORTED_PROTOCOL_VERSION = 0x03F "Unsupported Protocol Version",
        WRAPPING_OBJECT_ARCHIVED = 0x040 "Wrapping Object Archived",
        WRAPPING_OBJECT_DESTROYED = 0x041 "Wrapping Object Destroyed",
        WRAPPING_OBJECT_NOT_FOUND = 0x042 "Wrapping Object Not Found",
        WRONG_KEY_LIFECYCLE_STATE = 0x043 "Wrong Key Lifecycle State",
        PROTECTION_STORAGE_UNAVAILABLE = 0x044 "Protection Storage Unavailable",
        PKCS_11_CODEC_ERROR = 0x045 "PKCS#11 Codec Error", PKCS_11_INVALID_FUNCTION = 0x046 "PKCS#11 Invalid Function",
        PKCS_11_INVALID_INTERFACE = 0x047 "PKCS#11 Invalid Interface",
        PRIVATE_PROTECTION_STORAGE_UNAVAILABLE = 0x048 "Private Protection Storage Unavailable",
        PUBLIC_PROTECTION_STORAGE_UNAVAILABLE = 0x049 "Public Protection Storage Unavailable",
        UNKNOWN_OBJECT_GROUP = 0x04A "Unknown Object Group", CONSTRAINT_VIOLATION = 0x04B "Constraint Violation",
        DUPLICATE_PROCESS_REQUEST = 0x04C "Duplicate Process Request", CIRCULAR_LINK_ERROR = 0x04D "Circular Link Error",
        GENERAL_FAILURE = 0x100 "General Failure",
    }
    CredentialType: CREDENTIAL_TYPE "Credential Type" {
        USERNAME_AND_PASSWORD = 0x01 "Username and Password", DEVICE = 0x02 "Device", ATTESTATION = 0x03 "Attestation",
        ONE_TIME_PASSWORD = 0x04 "One Time Password", HASHED_PASSWORD = 0x05 "Hashed Password", TICKET = 0x06 "Ticket",
        PASSWORD = 0x07 "Password", CERTIFICATE = 0x08 "Certificate",
    }
    QueryFunction: QUERY_FUNCTION "Query Function" {
        QUERY_OPERATIONS = 0x01 "Query Operations", QUERY_OBJECTS = 0x02 "Query Objects",
        QUERY_SERVER_INFORMATION = 0x03 "Query Server Information",
        QUERY_APPLICATION_NAMESPACES = 0x04 "Query Application Namespaces", QUERY_EXTENSION_LIST = 0x05 "Query Extension List",
        QUERY_EXTENSION_MAP = 0x06 "Query Extension Map", QUERY_ATTESTATION_TYPES = 0x07 "Query Attestation Types",
        QUERY_RNGS = 0x08 "Query RNGs", QUERY_VALIDATIONS = 0x09 "Query Validations", QUERY_PROFILES = 0x0A "Query Profiles",
        QUERY_CAPABILITIES = 0x0B "Query Capabilities",
        QUERY_CLIENT_REGISTRATION_METHODS = 0x0C "Query Client Registration Methods",
        QUERY_DEFAULTS_INFORMATION = 0x0D "Query Defaults Information",
        QUERY_STORAGE_PROTECTION_MASKS = 0x0E "Query Storage Protection Masks",
        QUERY_CREDENTIAL_INFORMATION = 0x0F "Query Credential Information",
    }
    BatchErrorContinuationOption: BATCH_ERROR_CONTINUATION_OPTION "Batch Error Continuation Option" {
        CONTINUE = 0x01 "Continue", STOP = 0x02 "Stop", UNDO = 0x03 "Undo",
    }
    AsynchronousIndicator: ASYNCHRONOUS_INDICATOR "Asynchronous Indicator" {
        MANDATORY = 0x01 "Mandatory", OPTIONAL = 0x02 "Optional", PROHIBITED = 0x03 "Prohibited",
    }
    UniqueIdentifierPlaceholder: UNIQUE_IDENTIFIER "Unique Identifier" {
        ID_PLACEHOLDER = 0x01 "ID Placeholder", CERTIFY = 0x02 "Certify", CREATE = 0x03 "Create",
        CREATE_KEY_PAIR = 0x04 "Create Key Pair", CREATE_KEY_PAIR_PRIVATE_KEY = 0x05 "Create Key Pair Private Key",
        CREATE_KEY_PAIR_PUBLIC_KEY = 0x06 "Create Key Pair Public Key", CREATE_SPLIT_KEY = 0x07 "Create Split Key",
        DERIVE_KEY = 0x08 "Derive Key", IMPORT = 0x09 "Import", JOIN_SPLIT_KEY = 0x0A "Join Split Key", LOCATE = 0x0B "Locate",
        REGISTER = 0x0C "Register", RE_KEY = 0x0D "Re-key", RE_CERTIFY = 0x0E "Re-certify",
        RE_KEY_KEY_PAIR = 0x0F "Re-key Key Pair", RE_KEY_KEY_PAIR_PRIVATE_KEY = 0x10 "Re-key Key Pair Private Key",
        RE_KEY_KEY_PAIR_PUBLIC_KEY = 0x11 "Re-key Key Pair Public Key", RE_PROVISION = 0x12 "Re-Provision",
        CREATE_USER = 0x13 "Create User", CREATE_GROUP = 0x14 "Create Group", CREATE_CREDENTIAL = 0x15 "Create Credential",
    }
    InteropFunction: INTEROP_FUNCTION "Interop Function" {
        BEGIN = 0x01 "Begin", END = 0x02 "End", RESET = 0x03 "Reset",
    }
    DataPlaceholder: DATA "Data" {
        DECRYPT = 0x01 "Decrypt", ENCRYPT = 0x02 "Encrypt", HASH = 0x03 "Hash", MAC_MAC_DATA = 0x04 "MAC MAC Data",
        RNG_RETRIEVE = 0x05 "RNG Retrieve", SIGN_SIGNATURE_DATA = 0x06 "Sign Signature Data",
        SIGNATURE_VERIFY = 0x07 "Signature Verify",
    }
    TicketType: TICKET_TYPE "Ticket Type" {
        LOGIN = 0x01 "Login",
    }
    RngMode: RNG_MODE "RNG Mode" {
        UNSPECIFIED = 0x01 "Unspecified", SHARED_INSTANTIATION = 0x02 "Shared Instantiation",
        NON_SHARED_INSTANTIATION = 0x03 "Non-Shared Instantiation",
    }
    UnwrapMode: UNWRAP_MODE "Unwrap Mode" {
        UNSPECIFIED = 0x01 "Unspecified", PROCESSED = 0x02 "Processed", NOT_PROCESSED = 0x03 "Not Processed",
    }
    DestroyAction: DESTROY_ACTION "Destroy Action" {
        UNSPECIFIED = 0x01 "Unspecified", KEY_MATERIAL_DELETED = 0x02 "Key Material Deleted",
        KEY_MATERIAL_SHREDDED = 0x03 "Key Material Shredded", META_DATA_DELETED = 0x04 "Meta Data Deleted",
        META_DATA_SHREDDED = 0x05 "Meta Data Shredded", DELETED = 0x06 "Deleted", SHREDDED = 0x07 "Shredded",
    }
    ShreddingAlgorithm: SHREDDING_ALGORITHM "Shredding Algorithm" {
        UNSPECIFIED = 0x01 "Unspecified", CRYPTOGRAPHIC = 0x02 "Cryptographic", UNSUPPORTED = 0x03 "Unsupported",
    }
    ValidationAuthorityType: VALIDATION_AUTHORITY_TYPE "Validation Authority Type" {
        UNSPECIFIED = 0x01 "Unspecified", NIST_CMVP = 0x02 "NIST CMVP", COMMON_CRITERIA = 0x03 "Common Criteria",
    }
    ValidationType: VALIDATION_TYPE "Validation Type" {
        UNSPECIFIED = 0x01 "Unspecified", HARDWARE = 0x02 "Hardware", SOFTWARE = 0x03 "Software", FIRMWARE = 0x04 "Firmware",
        HYBRID = 0x05 "Hybrid",
    }
    ProfileName: PROFILE_NAME "Profile Name" {
        COMPLETE_SERVER_BASIC = 0x104 "Complete Server Basic", COMPLETE_SERVER_TLS_V1_2 = 0x105 "Complete Server TLS v1.2",
        TAPE_LIBRARY_CLIENT = 0x106 "Tape Library Client", TAPE_LIBRARY_SERVER = 0x107 "Tape Library Server",
        SYMMETRIC_KEY_LIFECYCLE_CLIENT = 0x108 "Symmetric Key Lifecycle Client",
        SYMMETRIC_KEY_LIFECYCLE_SERVER = 0x109 "Symmetric Key Lifecycle Server",
        ASYMMETRIC_KEY_LIFECYCLE_CLIENT = 0x10A "Asymmetric Key Lifecycle Client",
        ASYMMETRIC_KEY_LIFECYCLE_SERVER = 0x10B "Asymmetric Key Lifecycle Server",
        BASIC_CRYPTOGRAPHIC_CLIENT = 0x10C "Basic Cryptographic Client",
        BASIC_CRYPTOGRAPHIC_SERVER = 0x10D "Basic Cryptographic Server",
        ADVANCED_CRYPTOGRAPHIC_CLIENT = 0x10E "Advanced Cryptographic Client",
        ADVANCED_CRYPTOGRAPHIC_SERVER = 0x10F "Advanced Cryptographic Server",
        RNG_CRYPTOGRAPHIC_CLIENT = 0x110 "RNG Cryptographic Client",
        RNG_CRYPTOGRAPHIC_SERVER = 0x111 "RNG Cryptographic Server",
        BASIC_SYMMETRIC_KEY_FOUNDRY_CLIENT = 0x112 "Basic Symmetric Key Foundry Client",
        INTERMEDIATE_SYMMETRIC_KEY_FOUNDRY_CLIENT = 0x113 "Intermediate Symmetric Key Foundry Client",
        ADVANCED_SYMMETRIC_KEY_FOUNDRY_CLIENT = 0x114 "Advanced Symmetric Key Foundry Client",
        SYMMETRIC_KEY_FOUNDRY_SERVER = 0x115 "Symmetric Key Foundry Server",
        OPAQUE_MANAGED_OBJECT_STORE_CLIENT = 0x116 "Opaque Managed Object Store Client",
        OPAQUE_MANAGED_OBJECT_STORE_SERVER = 0x117 "Opaque Managed Object Store Server",
        STORAGE_ARRAY_WITH_SELF_ENCRYPTING_DRIVE_CLIENT = 0x11C "Storage Array with Self Encrypting Drive Client",
        STORAGE_ARRAY_WITH_SELF_ENCRYPTING_DRIVE_SERVER = 0x11D "Storage Array with Self Encrypting Drive Server",
        HTTPS_CLIENT = 0x11E "HTTPS Client", HTTPS_SERVER = 0x11F "HTTPS Server", JSON_CLIENT = 0x120 "JSON Client",
        JSON_SERVER = 0x121 "JSON Server", XML_CLIENT = 0x122 "XML Client", XML_SERVER = 0x123 "XML Server",
        AES_XTS_CLIENT = 0x124 "AES XTS Client", AES_XTS_SERVER = 0x125 "AES XTS Server",
        QUANTUM_SAFE_CLIENT = 0x126 "Quantum Safe Client", QUANTUM_SAFE_SERVER = 0x127 "Quantum Safe Server",
        PKCS_11_CLIENT = 0x128 "PKCS#11 Client", PKCS_11_SERVER = 0x129 "PKCS#11 Server",
        BASELINE_CLIENT = 0x12A "Baseline Client", BASELINE_SERVER = 0x12B "Baseline Server",
        COMPLETE_SERVER = 0x12C "Complete Server",
    }
    ClientRegistrationMethod: CLIENT_REGISTRATION_METHOD "Client Registration Method" {
        UNSPECIFIED = 0x01 "Unspecified", SERVER_PRE_GENERATED = 0x02 "Server Pre-Generated",
        SERVER_ON_DEMAND = 0x03 "Server On-Demand", CLIENT_GENERATED = 0x04 "Client Generated",
        CLIENT_REGISTERED = 0x05 "Client Registered",
    }
    ProcessingStage: PROCESSING_STAGE "Processing Stage" {
        SUBMITTED = 0x01 "Submitted", IN_PROCESS = 0x02 "In Process", COMPLETED = 0x03 "Completed",
    }
    CancellationResult: CANCELLATION_RESULT "Cancellation Result" {
        CANCELED = 0x01 "Canceled", UNABLE_TO_CANCEL = 0x02 "Unable to Cancel", COMPLETED = 0x03 "Completed",
        FAILED = 0x04 "Failed", UNAVAILABLE = 0x05 "Unavailable",
    }
    PutFunction: PUT_FUNCTION "Put Function" {
        NEW = 0x01 "New", REPLACE = 0x02 "Replace",
    }
    AttestationType: ATTESTATION_TYPE "Attestation Type" {
        TPM_QUOTE = 0x01 "TPM Quote", TCG_INTEGRITY_REPORT = 0x02 "TCG Integrity Report",
        SAML_ASSERTION = 0x03 "SAML Assertion",
    }
    EndpointRole: ENDPOINT_ROLE "Endpoint Role" {
        CLIENT = 0x01 "Client", SERVER = 0x02 "Server",
    }
}
