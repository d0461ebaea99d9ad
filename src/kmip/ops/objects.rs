//! Operations that make, find and return objects.

use crate::kmip::attrs::{Attributes, TemplateAttribute};
use crate::kmip::enums::*;
use crate::kmip::objects::ManagedObject;
use crate::kmip::params::{DerivationParameters, KeyWrappingSpecification};
use crate::kmip::structure::structures;
use crate::kmip::types::UniqueIdentifier;
use crate::ttlv::{BigInteger, Interval};

structures! {
    /// Protection Storage Masks: any of these will do (spec 2.1, 4.56).
    #[derive(Clone, Default)]
    ProtectionStorageMasks {
        masks: Vec<ProtectionStorageMask> = PROTECTION_STORAGE_MASK,
    }

    /// Makes a symmetric key (spec 1.4, 4.1).
    #[derive(Default)]
    CreateRequest {
        object_type: ObjectType = OBJECT_TYPE,
        template_attribute: TemplateAttribute = TEMPLATE_ATTRIBUTE | ATTRIBUTES,
        protection_storage_masks: Option<ProtectionStorageMasks> = PROTECTION_STORAGE_MASKS since V2_0,
    }

    /// The key that was made.
    #[derive(Default)]
    CreateResponse {
        object_type: ObjectType = OBJECT_TYPE,
        unique_identifier: String = UNIQUE_IDENTIFIER,
        /// Attributes the client did not set.
        template_attribute: Option<TemplateAttribute> = TEMPLATE_ATTRIBUTE until V1_4,
    }

    /// Makes a key pair (spec 1.4, 4.2).
    #[derive(Default)]
    CreateKeyPairRequest {
        common: Option<TemplateAttribute> = COMMON_TEMPLATE_ATTRIBUTE | COMMON_ATTRIBUTES,
        private_key: Option<TemplateAttribute> = PRIVATE_KEY_TEMPLATE_ATTRIBUTE | PRIVATE_KEY_ATTRIBUTES,
        public_key: Option<TemplateAttribute> = PUBLIC_KEY_TEMPLATE_ATTRIBUTE | PUBLIC_KEY_ATTRIBUTES,
        common_storage_masks: Option<ProtectionStorageMasks> = COMMON_PROTECTION_STORAGE_MASKS since V2_0,
        private_storage_masks: Option<ProtectionStorageMasks> = PRIVATE_PROTECTION_STORAGE_MASKS since V2_0,
        public_storage_masks: Option<ProtectionStorageMasks> = PUBLIC_PROTECTION_STORAGE_MASKS since V2_0,
    }

    /// The pair that was made.
    #[derive(Default)]
    CreateKeyPairResponse {
        private_key_unique_identifier: String = PRIVATE_KEY_UNIQUE_IDENTIFIER,
        public_key_unique_identifier: String = PUBLIC_KEY_UNIQUE_IDENTIFIER,
        private_key: Option<TemplateAttribute> = PRIVATE_KEY_TEMPLATE_ATTRIBUTE until V1_4,
        public_key: Option<TemplateAttribute> = PUBLIC_KEY_TEMPLATE_ATTRIBUTE until V1_4,
    }

    /// Stores an object (spec 1.4, 4.3).
    RegisterRequest {
        object_type: ObjectType = OBJECT_TYPE,
        template_attribute: TemplateAttribute = TEMPLATE_ATTRIBUTE | ATTRIBUTES,
        /// Absent only when the server shall not have the value (Key Value Location).
        object: Option<ManagedObject> = OBJECT,
        protection_storage_masks: Option<ProtectionStorageMasks> = PROTECTION_STORAGE_MASKS since V2_0,
    }

    /// The object that was stored.
    #[derive(Default)]
    RegisterResponse {
        unique_identifier: String = UNIQUE_IDENTIFIER,
        template_attribute: Option<TemplateAttribute> = TEMPLATE_ATTRIBUTE until V1_4,
    }

    /// Makes a symmetric key that replaces another (spec 1.4, 4.4).
    #[derive(Default)]
    ReKeyRequest {
        unique_identifier: Option<UniqueIdentifier> = UNIQUE_IDENTIFIER,
        /// between Initial Date and Activation Date of the new key.
        offset: Option<Interval> = OFFSET,
        template_attribute: Option<TemplateAttribute> = TEMPLATE_ATTRIBUTE | ATTRIBUTES,
        protection_storage_masks: Option<ProtectionStorageMasks> = PROTECTION_STORAGE_MASKS since V2_0,
    }

    /// The key that was made.
    #[derive(Default)]
    ReKeyResponse {
        unique_identifier: String = UNIQUE_IDENTIFIER,
        template_attribute: Option<TemplateAttribute> = TEMPLATE_ATTRIBUTE until V1_4,
    }

    /// Makes a key pair that replaces another (spec 1.4, 4.5).
    #[derive(Default)]
    ReKeyKeyPairRequest {
        private_key_unique_identifier: Option<UniqueIdentifier> = PRIVATE_KEY_UNIQUE_IDENTIFIER,
        offset: Option<Interval> = OFFSET,
        common: Option<TemplateAttribute> = COMMON_TEMPLATE_ATTRIBUTE | COMMON_ATTRIBUTES,
        private_key: Option<TemplateAttribute> = PRIVATE_KEY_TEMPLATE_ATTRIBUTE | PRIVATE_KEY_ATTRIBUTES,
        public_key: Option<TemplateAttribute> = PUBLIC_KEY_TEMPLATE_ATTRIBUTE | PUBLIC_KEY_ATTRIBUTES,
        common_storage_masks: Option<ProtectionStorageMasks> = COMMON_PROTECTION_STORAGE_MASKS since V2_0,
        private_storage_masks: Option<ProtectionStorageMasks> = PRIVATE_PROTECTION_STORAGE_MASKS since V2_0,
        public_storage_masks: Option<ProtectionStorageMasks> = PUBLIC_PROTECTION_STORAGE_MASKS since V2_0,
    }

    /// The pair that was made.
    #[derive(Default)]
    ReKeyKeyPairResponse {
        private_key_unique_identifier: String = PRIVATE_KEY_UNIQUE_IDENTIFIER,
        public_key_unique_identifier: String = PUBLIC_KEY_UNIQUE_IDENTIFIER,
        private_key: Option<TemplateAttribute> = PRIVATE_KEY_TEMPLATE_ATTRIBUTE until V1_4,
        public_key: Option<TemplateAttribute> = PUBLIC_KEY_TEMPLATE_ATTRIBUTE until V1_4,
    }

    /// Derives a key from others (spec 1.4, 4.6).
    #[derive(Default)]
    DeriveKeyRequest {
        object_type: ObjectType = OBJECT_TYPE,
        unique_identifiers: Vec<UniqueIdentifier> = UNIQUE_IDENTIFIER,
        derivation_method: DerivationMethod = DERIVATION_METHOD,
        derivation_parameters: DerivationParameters = DERIVATION_PARAMETERS,
        template_attribute: TemplateAttribute = TEMPLATE_ATTRIBUTE | ATTRIBUTES,
    }

    /// The key that was derived.
    #[derive(Default)]
    DeriveKeyResponse {
        unique_identifier: String = UNIQUE_IDENTIFIER,
        template_attribute: Option<TemplateAttribute> = TEMPLATE_ATTRIBUTE until V1_4,
    }

    /// Makes a certificate for a public key (spec 1.4, 4.7).
    #[derive(Default)]
    CertifyRequest {
        unique_identifier: Option<UniqueIdentifier> = UNIQUE_IDENTIFIER,
        certificate_request_unique_identifier: Option<UniqueIdentifier> = CERTIFICATE_REQUEST_UNIQUE_IDENTIFIER since V2_0,
        certificate_request_type: Option<CertificateRequestType> = CERTIFICATE_REQUEST_TYPE,
        certificate_request: Option<Vec<u8>> = CERTIFICATE_REQUEST | CERTIFICATE_REQUEST_VALUE,
        template_attribute: Option<TemplateAttribute> = TEMPLATE_ATTRIBUTE | ATTRIBUTES,
        protection_storage_masks: Option<ProtectionStorageMasks> = PROTECTION_STORAGE_MASKS since V2_0,
    }

    /// The certificate that was made.
    #[derive(Default)]
    CertifyResponse {
        unique_identifier: String = UNIQUE_IDENTIFIER,
        template_attribute: Option<TemplateAttribute> = TEMPLATE_ATTRIBUTE until V1_4,
    }

    /// Makes a certificate that replaces another (spec 1.4, 4.8).
    #[derive(Default)]
    ReCertifyRequest {
        unique_identifier: Option<UniqueIdentifier> = UNIQUE_IDENTIFIER,
        certificate_request_unique_identifier: Option<UniqueIdentifier> = CERTIFICATE_REQUEST_UNIQUE_IDENTIFIER since V2_0,
        certificate_request_type: Option<CertificateRequestType> = CERTIFICATE_REQUEST_TYPE,
        certificate_request: Option<Vec<u8>> = CERTIFICATE_REQUEST | CERTIFICATE_REQUEST_VALUE,
        offset: Option<Interval> = OFFSET,
        template_attribute: Option<TemplateAttribute> = TEMPLATE_ATTRIBUTE | ATTRIBUTES,
        protection_storage_masks: Option<ProtectionStorageMasks> = PROTECTION_STORAGE_MASKS since V2_0,
    }

    /// The certificate that was made.
    #[derive(Default)]
    ReCertifyResponse {
        unique_identifier: String = UNIQUE_IDENTIFIER,
        template_attribute: Option<TemplateAttribute> = TEMPLATE_ATTRIBUTE until V1_4,
    }

    /// Finds objects by their attributes (spec 1.4, 4.9). Servers may ignore a filter: results are candidates.
    #[derive(Clone, Default)]
    LocateRequest {
        maximum_items: Option<i32> = MAXIMUM_ITEMS,
        offset_items: Option<i32> = OFFSET_ITEMS since V1_3,
        storage_status_mask: Option<StorageStatusMask> = STORAGE_STATUS_MASK,
        object_group_member: Option<ObjectGroupMember> = OBJECT_GROUP_MEMBER since V1_1,
        /// Filters, all of which must match. Object Type first: one server fails otherwise. Some clients put them into a
        /// Template-Attribute: left out, they would match everything.
        attributes: Attributes = ATTRIBUTE | ATTRIBUTES | TEMPLATE_ATTRIBUTE,
    }

    /// What was found.
    #[derive(Clone, Default)]
    LocateResponse {
        /// How many there are in all, whatever Maximum Items said.
        located_items: Option<i32> = LOCATED_ITEMS since V1_3,
        unique_identifiers: Vec<String> = UNIQUE_IDENTIFIER,
    }

    /// Returns an object (spec 1.4, 4.11).
    #[derive(Clone, Default)]
    GetRequest {
        unique_identifier: Option<UniqueIdentifier> = UNIQUE_IDENTIFIER,
        key_format_type: Option<KeyFormatType> = KEY_FORMAT_TYPE,
        key_wrap_type: Option<KeyWrapType> = KEY_WRAP_TYPE since V1_4,
        key_compression_type: Option<KeyCompressionType> = KEY_COMPRESSION_TYPE,
        key_wrapping_specification: Option<KeyWrappingSpecification> = KEY_WRAPPING_SPECIFICATION,
    }

    /// The object.
    GetResponse {
        object_type: ObjectType = OBJECT_TYPE,
        unique_identifier: String = UNIQUE_IDENTIFIER,
        object: ManagedObject = OBJECT,
    }

    /// Returns an object with all its attributes (spec 1.4, 4.41).
    #[derive(Clone, Default)]
    ExportRequest {
        unique_identifier: Option<UniqueIdentifier> = UNIQUE_IDENTIFIER,
        key_format_type: Option<KeyFormatType> = KEY_FORMAT_TYPE,
        key_wrap_type: Option<KeyWrapType> = KEY_WRAP_TYPE since V1_4,
        key_compression_type: Option<KeyCompressionType> = KEY_COMPRESSION_TYPE,
        key_wrapping_specification: Option<KeyWrappingSpecification> = KEY_WRAPPING_SPECIFICATION,
    }

    /// The object and its attributes.
    ExportResponse {
        object_type: ObjectType = OBJECT_TYPE,
        unique_identifier: String = UNIQUE_IDENTIFIER,
        attributes: Attributes = ATTRIBUTE | ATTRIBUTES,
        object: ManagedObject = OBJECT,
    }

    /// Stores an object under an identifier of the client's choice (spec 1.4, 4.40).
    ImportRequest {
        unique_identifier: UniqueIdentifier = UNIQUE_IDENTIFIER,
        object_type: Option<ObjectType> = OBJECT_TYPE since V2_0,
        replace_existing: Option<bool> = REPLACE_EXISTING,
        key_wrap_type: Option<KeyWrapType> = KEY_WRAP_TYPE,
        attributes: Attributes = ATTRIBUTE | ATTRIBUTES,
        object: ManagedObject = OBJECT,
    }

    /// The object that was stored.
    #[derive(Default)]
    ImportResponse {
        unique_identifier: String = UNIQUE_IDENTIFIER,
    }

    /// Makes the parts of a split key (spec 1.4, 4.38).
    #[derive(Default)]
    CreateSplitKeyRequest {
        object_type: ObjectType = OBJECT_TYPE,
        unique_identifier: Option<UniqueIdentifier> = UNIQUE_IDENTIFIER,
        split_key_parts: i32 = SPLIT_KEY_PARTS,
        split_key_threshold: i32 = SPLIT_KEY_THRESHOLD,
        split_key_method: SplitKeyMethod = SPLIT_KEY_METHOD,
        prime_field_size: Option<BigInteger> = PRIME_FIELD_SIZE,
        template_attribute: Option<TemplateAttribute> = TEMPLATE_ATTRIBUTE | ATTRIBUTES,
        protection_storage_masks: Option<ProtectionStorageMasks> = PROTECTION_STORAGE_MASKS since V2_0,
    }

    /// The parts that were made.
    #[derive(Default)]
    CreateSplitKeyResponse {
        unique_identifiers: Vec<String> = UNIQUE_IDENTIFIER,
        template_attribute: Option<TemplateAttribute> = TEMPLATE_ATTRIBUTE until V1_4,
    }

    /// Makes a key of its parts (spec 1.4, 4.39).
    #[derive(Default)]
    JoinSplitKeyRequest {
        object_type: ObjectType = OBJECT_TYPE,
        unique_identifiers: Vec<UniqueIdentifier> = UNIQUE_IDENTIFIER,
        secret_data_type: Option<SecretDataType> = SECRET_DATA_TYPE,
        template_attribute: Option<TemplateAttribute> = TEMPLATE_ATTRIBUTE | ATTRIBUTES,
        protection_storage_masks: Option<ProtectionStorageMasks> = PROTECTION_STORAGE_MASKS since V2_0,
    }

    /// The key that was made.
    #[derive(Default)]
    JoinSplitKeyResponse {
        unique_identifier: String = UNIQUE_IDENTIFIER,
        template_attribute: Option<TemplateAttribute> = TEMPLATE_ATTRIBUTE until V1_4,
    }
}
