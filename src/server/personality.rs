//! How a server behaves: one table of differences, and the servers people have, as observed on the wire
//! (PyKMIP, Cosmian, Vault, key stores that speak 1.0 only).

use super::mistakes::Mistake;
use crate::kmip::{KeyFormatType, OperationCode};
use crate::ttlv::MAX_MESSAGE;
use crate::version::Version;

/// How identifiers look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids {
    /// Random UUIDs.
    Uuid,
    /// 1, 2, 3, …
    Number,
}

/// What the server does with attributes of a kind when an object is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Kept and given back.
    Keep,
    /// Accepted and forgotten.
    Drop,
    /// Invalid Field, for the item.
    Refuse,
    /// Invalid Message, for the whole request.
    Break,
}

/// What Locate does with filters on attributes that it does not index (Link, custom ones, usage mask, dates, Sensitive).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locating {
    /// Everything filters.
    Exact,
    /// They match everything.
    Ignore,
    /// General Failure.
    Fail,
}

/// A server's character. The names tell what is true of it.
#[derive(Clone, Debug)]
pub struct Personality {
    /// For test messages, and the Vendor Identification that Query answers.
    pub name: &'static str,
    /// Versions it speaks, in its order of preference.
    pub versions: &'static [Version],
    /// Operations it has, though not all of them are in its Query answer.
    pub operations: &'static [OperationCode],
    /// Operations that it has and does not announce.
    pub unannounced: &'static [OperationCode],
    /// An operation that it does not have makes the whole message invalid, instead of failing the item.
    pub unknown_operation_breaks: bool,
    /// An item that cannot be read makes the whole message invalid, instead of failing itself.
    pub malformed_item_breaks: bool,
    /// A Time Stamp in the request must be about now.
    pub checks_time: bool,
    /// The header of an Invalid Message answer always says 1.0.
    pub errors_in_1_0: bool,
    /// Identifiers.
    pub ids: Ids,
    /// Custom (`x-`, vendor) attributes.
    pub custom_attributes: Policy,
    /// Application Specific Information.
    pub application_info: Policy,
    /// Of several Application Specific Informations the last is kept.
    pub one_application_info: bool,
    /// Activation Date in a create or register.
    pub activation_date: Policy,
    /// Link in any attribute list.
    pub links: Policy,
    /// Description, Comment, Contact Information, Alternative Name.
    pub descriptions: Policy,
    /// Extractable (Sensitive is kept wherever the version has it).
    pub extractable: Policy,
    /// Cryptographic Domain Parameters in a create key pair.
    pub domain_parameters: Policy,
    /// Sensitive and Extractable are enforced by Get.
    pub enforces_sensitive: bool,
    /// Text that is not ASCII is refused.
    pub ascii_only: bool,
    /// Names must be unique.
    pub unique_names: bool,
    /// The second and later attributes of a name must carry their index (1.x).
    pub wants_index: bool,
    /// Create Key Pair links the halves.
    pub links_pairs: bool,
    /// Elliptic curve pairs can be made.
    pub curves: bool,
    /// Activate, Revoke and the other operations on one object take the ID placeholder.
    pub placeholder: bool,
    /// Batches are understood at all: more than one item.
    pub batches: bool,
    /// A failed item ends a batch as the standard says; else the rest runs.
    pub stops_batch: bool,
    /// A batch can be undone when an item of it fails.
    pub undoes_batch: bool,
    /// Batch Count says what was asked, even when the batch ended early.
    pub announces_all_items: bool,
    /// Padding None in ECB and CBC is understood.
    pub padding_none: bool,
    /// Block cipher modes it has: CTR among them or not.
    pub counter_mode: bool,
    /// Without a Cryptographic Algorithm in the parameters encryption is refused.
    pub wants_algorithm: bool,
    /// Data may come in parts, over several requests.
    pub streams: bool,
    /// Sign takes Digested Data.
    pub digested_data: bool,
    /// RSA signatures are PSS unless a Digital Signature Algorithm says otherwise.
    pub pss_by_default: bool,
    /// RSA signatures are PSS whatever is asked for.
    pub pss_always: bool,
    /// Digested Data is hashed again.
    pub hashes_digests: bool,
    /// Filters that are not indexed.
    pub locating: Locating,
    /// Algorithm and length filters fail unless Object Type stands before them.
    pub locate_type_first: bool,
    /// Offset Items is honoured.
    pub locate_offset: bool,
    /// Locate gives at most so many identifiers.
    pub locate_limit: usize,
    /// Located Items is answered (1.3 and later).
    pub located_items: bool,
    /// Get converts between key formats.
    pub converts_formats: bool,
    /// Format of a private key that it made.
    pub private_format: KeyFormatType,
    /// Format of a public key that it made.
    pub public_format: KeyFormatType,
    /// Get puts attributes into the Key Value.
    pub attributes_in_key_value: bool,
    /// A Deactivated key decrypts and verifies.
    pub deactivated_decrypts: bool,
    /// Destroyed objects disappear; else they stay, Destroyed.
    pub forgets_destroyed: bool,
    /// The header's Time Stamp is a Long Integer, as one server sends it.
    pub long_time_stamp: bool,
    /// Get Attributes that finds none of those asked for is never answered (2.0).
    pub silent_on_nothing: bool,
    /// What it computes wrongly, with Success.
    pub mistakes: &'static [Mistake],
    /// Longer requests are refused, in bytes.
    pub largest_request: usize,
}

use OperationCode as Op;

/// What the standard's operations on keys are, as far as this server goes.
const ALL: &[OperationCode] = &[
    Op::CREATE,
    Op::CREATE_KEY_PAIR,
    Op::REGISTER,
    Op::RE_KEY,
    Op::RE_KEY_KEY_PAIR,
    Op::DERIVE_KEY,
    Op::LOCATE,
    Op::CHECK,
    Op::GET,
    Op::GET_ATTRIBUTES,
    Op::GET_ATTRIBUTE_LIST,
    Op::ADD_ATTRIBUTE,
    Op::MODIFY_ATTRIBUTE,
    Op::DELETE_ATTRIBUTE,
    Op::SET_ATTRIBUTE,
    Op::ADJUST_ATTRIBUTE,
    Op::OBTAIN_LEASE,
    Op::GET_USAGE_ALLOCATION,
    Op::ACTIVATE,
    Op::REVOKE,
    Op::DESTROY,
    Op::ARCHIVE,
    Op::RECOVER,
    Op::QUERY,
    Op::DISCOVER_VERSIONS,
    Op::ENCRYPT,
    Op::DECRYPT,
    Op::SIGN,
    Op::SIGNATURE_VERIFY,
    Op::MAC,
    Op::MAC_VERIFY,
    Op::RNG_RETRIEVE,
    Op::RNG_SEED,
    Op::HASH,
    Op::CERTIFY,
    Op::RE_CERTIFY,
    Op::VALIDATE,
    Op::CREATE_SPLIT_KEY,
    Op::JOIN_SPLIT_KEY,
    Op::IMPORT,
    Op::EXPORT,
    Op::CANCEL,
    Op::POLL,
    Op::PING,
];

/// What a key store of the first version has.
const STORE_ONLY: &[OperationCode] = &[
    Op::CREATE,
    Op::CREATE_KEY_PAIR,
    Op::REGISTER,
    Op::RE_KEY,
    Op::LOCATE,
    Op::CHECK,
    Op::GET,
    Op::GET_ATTRIBUTES,
    Op::GET_ATTRIBUTE_LIST,
    Op::ADD_ATTRIBUTE,
    Op::MODIFY_ATTRIBUTE,
    Op::DELETE_ATTRIBUTE,
    Op::ACTIVATE,
    Op::REVOKE,
    Op::DESTROY,
    Op::QUERY,
];

impl Personality {
    /// Whether clients may poll for answers.
    pub fn answers_later(&self) -> bool {
        self.operations.contains(&OperationCode::POLL)
    }

    /// Everything as the standard has it, all versions.
    pub fn standard() -> Personality {
        Personality {
            name: "standard",
            versions: &Version::ALL,
            operations: ALL,
            unannounced: &[],
            unknown_operation_breaks: false,
            malformed_item_breaks: false,
            checks_time: false,
            errors_in_1_0: false,
            ids: Ids::Uuid,
            custom_attributes: Policy::Keep,
            application_info: Policy::Keep,
            one_application_info: false,
            activation_date: Policy::Keep,
            links: Policy::Keep,
            descriptions: Policy::Keep,
            extractable: Policy::Keep,
            domain_parameters: Policy::Keep,
            enforces_sensitive: true,
            ascii_only: false,
            unique_names: false,
            wants_index: false,
            links_pairs: true,
            curves: true,
            placeholder: true,
            batches: true,
            stops_batch: true,
            undoes_batch: true,
            announces_all_items: false,
            padding_none: true,
            counter_mode: true,
            wants_algorithm: false,
            streams: true,
            digested_data: true,
            pss_by_default: false,
            pss_always: false,
            hashes_digests: false,
            locating: Locating::Exact,
            locate_type_first: false,
            locate_offset: true,
            locate_limit: usize::MAX,
            located_items: true,
            converts_formats: true,
            // The default of RSA keys (spec 1.4, 2.1.3, table 13).
            private_format: KeyFormatType::PKCS_1,
            public_format: KeyFormatType::PKCS_1,
            attributes_in_key_value: false,
            deactivated_decrypts: true,
            forgets_destroyed: false,
            long_time_stamp: false,
            silent_on_nothing: false,
            mistakes: &[],
            largest_request: MAX_MESSAGE,
        }
    }

    /// PyKMIP 0.11: strict, no custom attributes, no padding None, one kind of everything.
    pub fn pykmip_like() -> Personality {
        Personality {
            name: "PyKMIP",
            versions: &[
                Version::V2_0,
                Version::V1_4,
                Version::V1_3,
                Version::V1_2,
                Version::V1_1,
                Version::V1_0,
            ],
            operations: &[
                Op::CREATE,
                Op::CREATE_KEY_PAIR,
                Op::REGISTER,
                Op::LOCATE,
                Op::GET,
                Op::GET_ATTRIBUTES,
                Op::GET_ATTRIBUTE_LIST,
                Op::MODIFY_ATTRIBUTE,
                Op::DELETE_ATTRIBUTE,
                Op::SET_ATTRIBUTE,
                Op::ACTIVATE,
                Op::REVOKE,
                Op::DESTROY,
                Op::QUERY,
                Op::DISCOVER_VERSIONS,
                Op::ENCRYPT,
                Op::DECRYPT,
                Op::SIGN,
                Op::SIGNATURE_VERIFY,
                Op::MAC,
            ],
            unannounced: &[
                Op::MODIFY_ATTRIBUTE,
                Op::DELETE_ATTRIBUTE,
                Op::SET_ATTRIBUTE,
            ],
            unknown_operation_breaks: true,
            malformed_item_breaks: true,
            checks_time: true,
            errors_in_1_0: true,
            ids: Ids::Number,
            custom_attributes: Policy::Refuse,
            activation_date: Policy::Refuse,
            links: Policy::Break,
            descriptions: Policy::Refuse,
            extractable: Policy::Refuse,
            domain_parameters: Policy::Break,
            enforces_sensitive: false,
            ascii_only: true,
            wants_index: true,
            links_pairs: false,
            curves: false,
            placeholder: false,
            padding_none: false,
            wants_algorithm: true,
            streams: false,
            digested_data: false,
            locating: Locating::Fail,
            locate_type_first: true,
            located_items: false,
            converts_formats: false,
            public_format: KeyFormatType::PKCS_1,
            deactivated_decrypts: false,
            forgets_destroyed: true,
            silent_on_nothing: true,
            undoes_batch: false,
            largest_request: 1 << 20,
            ..Personality::standard()
        }
    }

    /// A key store that speaks 1.0 only: no negotiation, no operations with keys.
    pub fn keystore_1_0() -> Personality {
        Personality {
            name: "key store",
            versions: &[Version::V1_0],
            operations: STORE_ONLY,
            unannounced: &[],
            activation_date: Policy::Drop,
            enforces_sensitive: false,
            curves: false,
            placeholder: false,
            batches: false,
            unique_names: true,
            locating: Locating::Ignore,
            locate_offset: false,
            located_items: false,
            converts_formats: false,
            private_format: KeyFormatType::PKCS_1,
            public_format: KeyFormatType::PKCS_1,
            long_time_stamp: true,
            undoes_batch: false,
            largest_request: 1 << 20,
            ..Personality::standard()
        }
    }

    /// Like HashiCorp Vault Enterprise: 1.0 to 1.4, no curves, batches end early.
    pub fn vault_like() -> Personality {
        Personality {
            name: "Vault",
            announces_all_items: true,
            versions: &[
                Version::V1_4,
                Version::V1_3,
                Version::V1_2,
                Version::V1_1,
                Version::V1_0,
            ],
            curves: false,
            domain_parameters: Policy::Refuse,
            locating: Locating::Ignore,
            private_format: KeyFormatType::PKCS_1,
            public_format: KeyFormatType::PKCS_1,
            converts_formats: false,
            undoes_batch: false,
            largest_request: 1 << 20,
            ..Personality::standard()
        }
    }

    /// Like Cosmian KMS: one Application Specific Information, no counter mode, PSS unless told otherwise, filters it does not know match everything.
    pub fn cosmian_like() -> Personality {
        Personality {
            name: "Cosmian",
            one_application_info: true,
            counter_mode: false,
            pss_by_default: true,
            stops_batch: false,
            locating: Locating::Ignore,
            locate_offset: false,
            locate_limit: 1000,
            private_format: KeyFormatType::PKCS_1,
            public_format: KeyFormatType::PKCS_1,
            attributes_in_key_value: true,
            undoes_batch: false,
            largest_request: 1 << 20,
            ..Personality::standard()
        }
    }

    /// Takes what identifies and protects an object and drops it, and changes no attribute, as
    /// Infisical does with Create.
    pub fn forgetful() -> Personality {
        Personality {
            name: "forgetful",
            versions: &[Version::V1_3, Version::V1_2, Version::V1_1, Version::V1_0],
            operations: &[
                Op::CREATE,
                Op::CREATE_KEY_PAIR,
                Op::REGISTER,
                Op::LOCATE,
                Op::GET,
                Op::GET_ATTRIBUTES,
                Op::ACTIVATE,
                Op::REVOKE,
                Op::DESTROY,
                Op::QUERY,
                Op::DISCOVER_VERSIONS,
            ],
            unannounced: &[],
            custom_attributes: Policy::Drop,
            application_info: Policy::Drop,
            enforces_sensitive: false,
            ..Personality::standard()
        }
    }

    /// Every personality, for tests that go through them all.
    pub fn all() -> [Personality; 5] {
        [
            Personality::standard(),
            Personality::pykmip_like(),
            Personality::keystore_1_0(),
            Personality::vault_like(),
            Personality::cosmian_like(),
        ]
    }
}
