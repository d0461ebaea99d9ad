//! Enumerations of objects and their attributes: types, states, links, names (spec 1.4, 9.1.3.2; spec 2.1, 11).

use super::*;

enums! {
    ObjectType: OBJECT_TYPE "Object Type" {
        CERTIFICATE = 0x01 "Certificate", SYMMETRIC_KEY = 0x02 "Symmetric Key", PUBLIC_KEY = 0x03 "Public Key",
        PRIVATE_KEY = 0x04 "Private Key", SPLIT_KEY = 0x05 "Split Key", TEMPLATE = 0x06 "Template",
        SECRET_DATA = 0x07 "Secret Data", OPAQUE_OBJECT = 0x08 "Opaque Object", PGP_KEY = 0x09 "PGP Key",
        CERTIFICATE_REQUEST = 0x0A "Certificate Request", USER = 0x0B "User", GROUP = 0x0C "Group",
        PASSWORD_CREDENTIAL = 0x0D "Password Credential", DEVICE_CREDENTIAL = 0x0E "Device Credential",
        OTP_CREDENTIAL = 0x0F "OTP Credential", HASHED_PASSWORD_CREDENTIAL = 0x10 "Hashed Password Credential",
    }
    SecretDataType: SECRET_DATA_TYPE "Secret Data Type" {
        PASSWORD = 0x01 "Password", SEED = 0x02 "Seed",
    }
    CertificateType: CERTIFICATE_TYPE "Certificate Type" {
        X_509 = 0x01 "X.509", PGP = 0x02 "PGP",
    }
    CertificateRequestType: CERTIFICATE_REQUEST_TYPE "Certificate Request Type" {
        CRMF = 0x01 "CRMF", PKCS_10 = 0x02 "PKCS#10", PEM = 0x03 "PEM",
    }
    State: STATE "State" {
        PRE_ACTIVE = 0x01 "Pre-Active", ACTIVE = 0x02 "Active", DEACTIVATED = 0x03 "Deactivated",
        COMPROMISED = 0x04 "Compromised", DESTROYED = 0x05 "Destroyed", DESTROYED_COMPROMISED = 0x06 "Destroyed Compromised",
    }
    RevocationReasonCode: REVOCATION_REASON_CODE "Revocation Reason Code" {
        UNSPECIFIED = 0x01 "Unspecified", KEY_COMPROMISE = 0x02 "Key Compromise", CA_COMPROMISE = 0x03 "CA Compromise",
        AFFILIATION_CHANGED = 0x04 "Affiliation Changed", SUPERSEDED = 0x05 "Superseded",
        CESSATION_OF_OPERATION = 0x06 "Cessation of Operation", PRIVILEGE_WITHDRAWN = 0x07 "Privilege Withdrawn",
    }
    LinkType: LINK_TYPE "Link Type" {
        CERTIFICATE_LINK = 0x101 "Certificate Link", PUBLIC_KEY_LINK = 0x102 "Public Key Link",
        PRIVATE_KEY_LINK = 0x103 "Private Key Link", DERIVATION_BASE_OBJECT_LINK = 0x104 "Derivation Base Object Link",
        DERIVED_KEY_LINK = 0x105 "Derived Key Link", REPLACEMENT_OBJECT_LINK = 0x106 "Replacement Object Link",
        REPLACED_OBJECT_LINK = 0x107 "Replaced Object Link", PARENT_LINK = 0x108 "Parent Link", CHILD_LINK = 0x109 "Child Link",
        PREVIOUS_LINK = 0x10A "Previous Link", NEXT_LINK = 0x10B "Next Link",
        PKCS_12_CERTIFICATE_LINK = 0x10C "PKCS#12 Certificate Link", PKCS_12_PASSWORD_LINK = 0x10D "PKCS#12 Password Link",
        WRAPPING_KEY_LINK = 0x10E "Wrapping Key Link",
    }
    NameType: NAME_TYPE "Name Type" {
        UNINTERPRETED_TEXT_STRING = 0x01 "Uninterpreted Text String", URI = 0x02 "URI",
    }
    AlternativeNameType: ALTERNATIVE_NAME_TYPE "Alternative Name Type" {
        UNINTERPRETED_TEXT_STRING = 0x01 "Uninterpreted Text String", URI = 0x02 "URI",
        OBJECT_SERIAL_NUMBER = 0x03 "Object Serial Number", EMAIL_ADDRESS = 0x04 "Email Address", DNS_NAME = 0x05 "DNS Name",
        X_500_DISTINGUISHED_NAME = 0x06 "X.500 Distinguished Name", IP_ADDRESS = 0x07 "IP Address",
    }
    UsageLimitsUnit: USAGE_LIMITS_UNIT "Usage Limits Unit" {
        BYTE = 0x01 "Byte", OBJECT = 0x02 "Object",
    }
    ObjectGroupMember: OBJECT_GROUP_MEMBER "Object Group Member" {
        GROUP_MEMBER_FRESH = 0x01 "Group Member Fresh", GROUP_MEMBER_DEFAULT = 0x02 "Group Member Default",
    }
    AdjustmentType: ADJUSTMENT_TYPE "Adjustment Type" {
        INCREMENT = 0x01 "Increment", DECREMENT = 0x02 "Decrement", NEGATE = 0x03 "Negate",
    }
    KeyValueLocationType: KEY_VALUE_LOCATION_TYPE "Key Value Location Type" {
        UNINTERPRETED_TEXT_STRING = 0x01 "Uninterpreted Text String", URI = 0x02 "URI",
    }
    ProtectionLevel: PROTECTION_LEVEL "Protection Level" {
        HIGH = 0x01 "High", LOW = 0x02 "Low",
    }
    RotateNameType: ROTATE_NAME_TYPE "Rotate Name Type" {
        UNINTERPRETED_TEXT_STRING = 0x01 "Uninterpreted Text String", URI = 0x02 "URI",
    }
}
