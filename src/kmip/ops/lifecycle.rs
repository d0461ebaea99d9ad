//! Operations on the life of an object.

use crate::kmip::attr_types::RevocationReason;
use crate::kmip::enums::*;
use crate::kmip::objects::Certificate;
use crate::kmip::structure::structures;
use crate::kmip::types::UniqueIdentifier;
use crate::ttlv::{DateTime, Interval};

structures! {
    /// Makes a Pre-Active object Active (spec 1.4, 4.19).
    #[derive(Clone, Default)]
    ActivateRequest {
        unique_identifier: Option<UniqueIdentifier> = UNIQUE_IDENTIFIER,
    }

    /// The object that was activated.
    #[derive(Clone, Default)]
    ActivateResponse {
        unique_identifier: String = UNIQUE_IDENTIFIER,
    }

    /// Revokes an object: Deactivated, or Compromised for a compromise (spec 1.4, 4.20).
    #[derive(Clone, Default)]
    RevokeRequest {
        unique_identifier: Option<UniqueIdentifier> = UNIQUE_IDENTIFIER,
        revocation_reason: RevocationReason = REVOCATION_REASON,
        /// 1.x wants it with Key Compromise.
        compromise_occurrence_date: Option<DateTime> = COMPROMISE_OCCURRENCE_DATE,
    }

    /// The object that was revoked.
    #[derive(Clone, Default)]
    RevokeResponse {
        unique_identifier: String = UNIQUE_IDENTIFIER,
    }

    /// Destroys an object (spec 1.4, 4.21).
    #[derive(Clone, Default)]
    DestroyRequest {
        unique_identifier: Option<UniqueIdentifier> = UNIQUE_IDENTIFIER,
    }

    /// The object that was destroyed.
    #[derive(Clone, Default)]
    DestroyResponse {
        unique_identifier: String = UNIQUE_IDENTIFIER,
    }

    /// Moves an object to the archive (spec 1.4, 4.22).
    #[derive(Clone, Default)]
    ArchiveRequest {
        unique_identifier: Option<UniqueIdentifier> = UNIQUE_IDENTIFIER,
    }

    /// The object that was archived.
    #[derive(Clone, Default)]
    ArchiveResponse {
        unique_identifier: String = UNIQUE_IDENTIFIER,
    }

    /// Brings an object back from the archive (spec 1.4, 4.23).
    #[derive(Clone, Default)]
    RecoverRequest {
        unique_identifier: Option<UniqueIdentifier> = UNIQUE_IDENTIFIER,
    }

    /// The object that was brought back.
    #[derive(Clone, Default)]
    RecoverResponse {
        unique_identifier: String = UNIQUE_IDENTIFIER,
    }

    /// Asks whether an object may be used so (spec 1.4, 4.10).
    #[derive(Clone, Default)]
    CheckRequest {
        unique_identifier: Option<UniqueIdentifier> = UNIQUE_IDENTIFIER,
        usage_limits_count: Option<i64> = USAGE_LIMITS_COUNT,
        cryptographic_usage_mask: Option<CryptographicUsageMask> = CRYPTOGRAPHIC_USAGE_MASK,
        lease_time: Option<Interval> = LEASE_TIME,
    }

    /// What it may not be used for.
    #[derive(Clone, Default)]
    CheckResponse {
        unique_identifier: String = UNIQUE_IDENTIFIER,
        usage_limits_count: Option<i64> = USAGE_LIMITS_COUNT,
        cryptographic_usage_mask: Option<CryptographicUsageMask> = CRYPTOGRAPHIC_USAGE_MASK,
        lease_time: Option<Interval> = LEASE_TIME,
    }

    /// Obtains a lease on an object (spec 1.4, 4.17).
    #[derive(Clone, Default)]
    ObtainLeaseRequest {
        unique_identifier: Option<UniqueIdentifier> = UNIQUE_IDENTIFIER,
    }

    /// The lease.
    #[derive(Clone, Default)]
    ObtainLeaseResponse {
        unique_identifier: String = UNIQUE_IDENTIFIER,
        lease_time: Interval = LEASE_TIME,
        last_change_date: DateTime = LAST_CHANGE_DATE,
    }

    /// Takes some of an object's allowed uses (spec 1.4, 4.18).
    #[derive(Clone, Default)]
    GetUsageAllocationRequest {
        unique_identifier: Option<UniqueIdentifier> = UNIQUE_IDENTIFIER,
        usage_limits_count: i64 = USAGE_LIMITS_COUNT,
    }

    /// The object whose uses were taken.
    #[derive(Clone, Default)]
    GetUsageAllocationResponse {
        unique_identifier: String = UNIQUE_IDENTIFIER,
    }

    /// Validates a chain of certificates (spec 1.4, 4.24).
    #[derive(Clone, Default)]
    ValidateRequest {
        certificates: Vec<Certificate> = CERTIFICATE,
        unique_identifiers: Vec<UniqueIdentifier> = UNIQUE_IDENTIFIER,
        validity_date: Option<DateTime> = VALIDITY_DATE,
    }

    /// Whether the chain is valid.
    #[derive(Clone, Default)]
    ValidateResponse {
        validity_indicator: ValidityIndicator = VALIDITY_INDICATOR,
    }
}
