//! What this server turned out to accept: learnt by trying, never by its vendor's name. What is not kept in the notes
//! is forgotten with the process.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering::Relaxed};
use std::time::Instant;

use crate::error::{Error, Kind};
use crate::kmip::ResultReason;

/// What failed is tried again after so many seconds, where a single refusal does not show that it
/// never works.
const RETRY: u32 = 60;

const UNKNOWN: u32 = 0;
const WORKS: u32 = 1;
/// From here on: it failed, so many seconds after [`START`].
const FAILED: u32 = 2;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Something that is not known until it was tried.
#[derive(Debug, Default)]
pub(super) struct Fact(AtomicU32);

impl Fact {
    /// `None` until it was tried.
    pub(super) fn known(&self) -> Option<bool> {
        match self.0.load(Relaxed) {
            UNKNOWN => None,
            value => Some(value == WORKS),
        }
    }

    /// True if it failed long ago.
    pub(super) fn is_stale(&self) -> bool {
        match self.0.load(Relaxed) {
            UNKNOWN | WORKS => false,
            failed => seconds().saturating_sub(failed - FAILED) >= RETRY,
        }
    }

    /// True unless it was tried and failed.
    pub(super) fn may(&self) -> bool {
        self.known() != Some(false)
    }

    pub(super) fn learn(&self, works: bool) {
        let value = if works { WORKS } else { FAILED + seconds() };
        self.0.store(value, Relaxed);
    }

    pub(super) fn forget(&self) {
        self.0.store(UNKNOWN, Relaxed);
    }
}

/// Seconds since [`START`].
fn seconds() -> u32 {
    u32::try_from(START.elapsed().as_secs()).map_or(u32::MAX - FAILED, |s| s.min(u32::MAX - FAILED))
}

/// Everything that servers differ in and that we need to know.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Sensitive may be set.
    pub(super) sensitive: Fact,
    /// Extractable may be set.
    pub(super) extractable: Fact,
    /// Application Specific Information is kept.
    pub(super) application: Fact,
    /// One Application Specific Information is kept.
    pub(super) combined: Fact,
    /// Custom (2.x: vendor) attributes are kept.
    pub(super) custom: Fact,
    /// The record of an object made by Create, Create Key Pair and Register were looked at: a
    /// server may keep what comes with one of them and drop what comes with another.
    pub(super) created: Fact,
    pub(super) created_pair: Fact,
    pub(super) registered: Fact,
    /// Object Group is kept.
    pub(super) group: Fact,
    /// A message may have several items.
    pub(super) batch: Fact,
    /// Keys may be registered to try the server with.
    pub(super) trials: Fact,
    /// A block cipher works without padding.
    pub(super) unpadded: Fact,
    /// Counter mode wants no more than the mode, the algorithm and the counter block.
    pub(super) plain_counter: Fact,
    /// Galois/Counter mode wants no IV Length.
    pub(super) plain_gcm: Fact,
    /// A digest may be signed (Digested Data).
    pub(super) digested: Fact,
    /// A message may come in parts (Init Indicator and Correlation Value).
    pub(super) parts: Fact,
    /// PSS wants no Digital Signature Algorithm.
    pub(super) plain_pss: Fact,
    /// A public key is registered as SubjectPublicKeyInfo.
    pub(super) x509_public: Fact,
    /// A private key is registered as PKCS#8.
    pub(super) pkcs8_private: Fact,
    /// Elliptic curves are called ECDSA; otherwise EC.
    pub(super) ecdsa: Fact,
    /// A Triple DES key is said to have 192 bits; otherwise 168.
    pub(super) long_triple_des: Fact,
    /// Opaque Data Type 80000000; otherwise 80000001.
    pub(super) opaque_zero: Fact,
    /// Certificates and secret keys travel in one form only.
    pub(super) one_form: Fact,
    /// Which attributes may be asked for: an index into `attrs::QUESTIONS`.
    pub(super) question: AtomicU8,
    /// That question was answered.
    pub(super) answered: Fact,
    /// Operations proven or disproven, by ability.
    pub(super) encrypt: Fact,
    pub(super) decrypt: Fact,
    pub(super) sign: Fact,
    pub(super) mac: Fact,
    pub(super) random: Fact,
    pub(super) create_key_pair: Fact,
}

impl Facts {
    /// What decides in which form a cryptographic operation is asked for, by the name under which it is kept.
    pub(super) fn forms(&self) -> [(&'static str, &Fact); 6] {
        [
            ("batch", &self.batch),
            ("unpadded", &self.unpadded),
            ("plain counter", &self.plain_counter),
            ("plain gcm", &self.plain_gcm),
            ("digested", &self.digested),
            ("plain pss", &self.plain_pss),
        ]
    }
}

/// The server does not do what was asked in this form, and did nothing: the disguises of "not supported" and of a refused
/// optional field (`kmip-map` rule 2). Another form may work.
pub(super) fn is_refusal(error: &Error) -> bool {
    use ResultReason as R;
    match error.kind() {
        // The version has no such field.
        Kind::Input => true,
        Kind::Server(reason) => matches!(
            ResultReason(reason),
            R::INVALID_MESSAGE
                | R::OPERATION_NOT_SUPPORTED
                | R::INVALID_FIELD
                | R::FEATURE_NOT_SUPPORTED
                | R::ILLEGAL_OPERATION
                | R::INDEX_OUT_OF_BOUNDS
                | R::APPLICATION_NAMESPACE_NOT_SUPPORTED
                | R::KEY_FORMAT_TYPE_NOT_SUPPORTED
                | R::KEY_COMPRESSION_TYPE_NOT_SUPPORTED
                | R::INVALID_DATA_TYPE
                | R::READ_ONLY_ATTRIBUTE
                | R::MULTI_VALUED_ATTRIBUTE
                | R::UNSUPPORTED_ATTRIBUTE
                | R::ATTRIBUTE_INSTANCE_NOT_FOUND
                | R::ATTRIBUTE_NOT_FOUND
                | R::ATTRIBUTE_READ_ONLY
                | R::ATTRIBUTE_SINGLE_VALUED
                | R::BAD_CRYPTOGRAPHIC_PARAMETERS
                | R::CODEC_ERROR
                | R::INVALID_ATTRIBUTE
                | R::INVALID_ATTRIBUTE_VALUE
                | R::UNKNOWN_ENUMERATION
                | R::UNKNOWN_MESSAGE_EXTENSION
                | R::UNKNOWN_TAG
                | R::UNSUPPORTED_CRYPTOGRAPHIC_PARAMETERS
                | R::GENERAL_FAILURE
        ),
        _ => false,
    }
}

/// A question was refused, or the server hung up instead: some do on what they do not know. For questions only, which may be
/// asked again, and only until one was answered.
pub(super) fn is_refused_question(error: &Error, answered: &Fact) -> bool {
    is_refusal(error)
        || (answered.known().is_none() && matches!(error.kind(), Kind::Broken | Kind::Protocol))
}

/// The server does not have the operation at all.
pub(super) fn is_unsupported(error: &Error) -> bool {
    matches!(
        error.reason().map(ResultReason),
        Some(ResultReason::OPERATION_NOT_SUPPORTED | ResultReason::FEATURE_NOT_SUPPORTED)
    )
}

/// The server says that it does not have the operation.
pub(super) fn lacks_operation(error: &Error) -> bool {
    error.reason().map(ResultReason) == Some(ResultReason::OPERATION_NOT_SUPPORTED)
}

/// The object is not there (any more).
pub(super) fn is_gone(error: &Error) -> bool {
    use ResultReason as R;
    matches!(
        error.reason().map(ResultReason),
        Some(R::ITEM_NOT_FOUND | R::OBJECT_NOT_FOUND | R::OBJECT_DESTROYED)
    )
}

/// Tries `attempt` in the form that is known to work, or in both, the usual form (`true`) first, and remembers what worked.
pub(super) fn either<T>(
    fact: &Fact,
    mut attempt: impl FnMut(bool) -> crate::error::Result<T>,
) -> crate::error::Result<T> {
    match fact.known() {
        Some(usual) => attempt(usual),
        None => match attempt(true) {
            Ok(done) => {
                fact.learn(true);
                Ok(done)
            }
            Err(first) if is_refusal(&first) => match attempt(false) {
                Ok(done) => {
                    fact.learn(false);
                    Ok(done)
                }
                // The usual form's error is the better one to show.
                Err(second) if is_refusal(&second) => Err(first),
                Err(second) => Err(second),
            },
            Err(other) => Err(other),
        },
    }
}
