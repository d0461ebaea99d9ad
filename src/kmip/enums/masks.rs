//! Bit masks (spec 1.4, 9.1.3.3; spec 2.1, 11).

use super::*;

masks! {
    StorageStatusMask: STORAGE_STATUS_MASK "Storage Status Mask" {
        ON_LINE_STORAGE = 0x01 "On-line storage", ARCHIVAL_STORAGE = 0x02 "Archival storage",
        DESTROYED_STORAGE = 0x04 "Destroyed storage",
    }
    ProtectionStorageMask: PROTECTION_STORAGE_MASK "Protection Storage Mask" {
        SOFTWARE = 0x000001 "Software", HARDWARE = 0x000002 "Hardware", ON_PROCESSOR = 0x000004 "On Processor",
        ON_SYSTEM = 0x000008 "On System", OFF_SYSTEM = 0x000010 "Off System", HYPERVISOR = 0x000020 "Hypervisor",
        OPERATING_SYSTEM = 0x000040 "Operating System", CONTAINER = 0x000080 "Container", ON_PREMISES = 0x000100 "On Premises",
        OFF_PREMISES = 0x000200 "Off Premises", SELF_MANAGED = 0x000400 "Self Managed", OUTSOURCED = 0x000800 "Outsourced",
        VALIDATED = 0x001000 "Validated", SAME_JURISDICTION = 0x002000 "Same Jurisdiction",
    }
    CryptographicUsageMask: CRYPTOGRAPHIC_USAGE_MASK "Cryptographic Usage Mask" {
        SIGN = 0x000001 "Sign", VERIFY = 0x000002 "Verify", ENCRYPT = 0x000004 "Encrypt", DECRYPT = 0x000008 "Decrypt",
        WRAP_KEY = 0x000010 "Wrap Key", UNWRAP_KEY = 0x000020 "Unwrap Key", EXPORT = 0x000040 "Export",
        MAC_GENERATE = 0x000080 "MAC Generate", MAC_VERIFY = 0x000100 "MAC Verify", DERIVE_KEY = 0x000200 "Derive Key",
        CONTENT_COMMITMENT = 0x000400 "Content Commitment (Non Repudiation)", KEY_AGREEMENT = 0x000800 "Key Agreement",
        CERTIFICATE_SIGN = 0x001000 "Certificate Sign", CRL_SIGN = 0x002000 "CRL Sign",
        GENERATE_CRYPTOGRAM = 0x004000 "Generate Cryptogram", VALIDATE_CRYPTOGRAM = 0x008000 "Validate Cryptogram",
        TRANSLATE_ENCRYPT = 0x010000 "Translate Encrypt", TRANSLATE_DECRYPT = 0x020000 "Translate Decrypt",
        TRANSLATE_WRAP = 0x040000 "Translate Wrap", TRANSLATE_UNWRAP = 0x080000 "Translate Unwrap",
        AUTHENTICATE = 0x100000 "Authenticate", UNRESTRICTED = 0x200000 "Unrestricted", FPE_ENCRYPT = 0x400000 "FPE Encrypt",
        FPE_DECRYPT = 0x800000 "FPE Decrypt",
    }
}
