//! Operations about the server itself, and those a server sends.

use crate::kmip::attrs::Attributes;
use crate::kmip::enums::*;
use crate::kmip::objects::ManagedObject;
use crate::kmip::ops::ProtectionStorageMasks;
use crate::kmip::params::RngParameters;
use crate::kmip::structure::structures;
use crate::ttlv::Value;
use crate::version::Version;

structures! {
    /// Asks what the server can (spec 1.4, 4.25). What it answers is a hint: what a probe proved is a fact.
    #[derive(Clone, Default)]
    QueryRequest {
        query_functions: Vec<QueryFunction> = QUERY_FUNCTION,
    }

    /// What the server can.
    #[derive(Clone, Default)]
    QueryResponse {
        operations: Vec<OperationCode> = OPERATION,
        object_types: Vec<ObjectType> = OBJECT_TYPE,
        vendor_identification: Option<String> = VENDOR_IDENTIFICATION,
        server_information: Option<Value> = SERVER_INFORMATION,
        application_namespaces: Vec<String> = APPLICATION_NAMESPACE,
        extension_information: Vec<ExtensionInformation> = EXTENSION_INFORMATION since V1_1,
        attestation_types: Vec<AttestationType> = ATTESTATION_TYPE since V1_2,
        rng_parameters: Vec<RngParameters> = RNG_PARAMETERS since V1_3,
        profile_information: Vec<ProfileInformation> = PROFILE_INFORMATION since V1_3,
        validation_information: Vec<Value> = VALIDATION_INFORMATION since V1_3,
        capability_information: Vec<CapabilityInformation> = CAPABILITY_INFORMATION since V1_3,
        client_registration_methods: Vec<ClientRegistrationMethod> = CLIENT_REGISTRATION_METHOD since V1_3,
        defaults_information: Option<Value> = DEFAULTS_INFORMATION since V2_0,
        protection_storage_masks: Option<ProtectionStorageMasks> = PROTECTION_STORAGE_MASKS since V2_0,
    }

    /// A vendor's tag (spec 1.4, 2.1.9).
    #[derive(Clone, Default)]
    ExtensionInformation {
        extension_name: String = EXTENSION_NAME,
        extension_tag: Option<i32> = EXTENSION_TAG,
        extension_type: Option<i32> = EXTENSION_TYPE,
    }

    /// A profile the server conforms to (spec 1.4, 2.1.19).
    #[derive(Clone, Default)]
    ProfileInformation {
        profile_name: ProfileName = PROFILE_NAME,
        profile_version: Option<Value> = PROFILE_VERSION since V2_0,
        server_uri: Option<String> = SERVER_URI,
        server_port: Option<i32> = SERVER_PORT,
    }

    /// What the server can beside operations (spec 1.4, 2.1.21).
    #[derive(Clone, Default)]
    CapabilityInformation {
        streaming_capability: Option<bool> = STREAMING_CAPABILITY,
        asynchronous_capability: Option<bool> = ASYNCHRONOUS_CAPABILITY,
        attestation_capability: Option<bool> = ATTESTATION_CAPABILITY,
        batch_undo_capability: Option<bool> = BATCH_UNDO_CAPABILITY since V1_4,
        batch_continue_capability: Option<bool> = BATCH_CONTINUE_CAPABILITY since V1_4,
        unwrap_mode: Option<UnwrapMode> = UNWRAP_MODE,
        destroy_action: Option<DestroyAction> = DESTROY_ACTION,
        shredding_algorithm: Option<ShreddingAlgorithm> = SHREDDING_ALGORITHM,
        rng_mode: Option<RngMode> = RNG_MODE,
        quantum_safe_capability: Option<bool> = QUANTUM_SAFE_CAPABILITY since V2_0,
    }

    /// Asks which versions the server speaks (spec 1.4, 4.26).
    #[derive(Clone, Default)]
    DiscoverVersionsRequest {
        /// Those the client speaks, the one it likes best first; none means: say all.
        protocol_versions: Vec<Version> = PROTOCOL_VERSION,
    }

    /// Those both speak, the one the server likes best first (not every server keeps that order).
    #[derive(Clone, Default)]
    DiscoverVersionsResponse {
        protocol_versions: Vec<Version> = PROTOCOL_VERSION,
    }

    /// Asks for nothing but an answer (spec 2.1, 6.1.37).
    #[derive(Clone, Default)]
    PingRequest {}

    /// The answer.
    #[derive(Clone, Default)]
    PingResponse {}

    /// Cancels an operation that goes on (spec 1.4, 4.27).
    #[derive(Clone, Default)]
    CancelRequest {
        asynchronous_correlation_value: Vec<u8> = ASYNCHRONOUS_CORRELATION_VALUE,
    }

    /// Whether it was cancelled.
    #[derive(Clone, Default)]
    CancelResponse {
        asynchronous_correlation_value: Vec<u8> = ASYNCHRONOUS_CORRELATION_VALUE,
        cancellation_result: CancellationResult = CANCELLATION_RESULT,
    }

    /// Asks for the answer of an operation that goes on (spec 1.4, 4.28).
    #[derive(Clone, Default)]
    PollRequest {
        asynchronous_correlation_value: Vec<u8> = ASYNCHRONOUS_CORRELATION_VALUE,
    }

    /// Never sent: what is answered is the answer of the operation itself.
    #[derive(Clone, Default)]
    PollResponse {}

    /// A server tells a client that attributes have changed (spec 1.4, 5.1).
    #[derive(Clone, Default)]
    NotifyRequest {
        unique_identifier: String = UNIQUE_IDENTIFIER,
        attributes: Attributes = ATTRIBUTE | ATTRIBUTES,
    }

    /// The client has noted it.
    #[derive(Clone, Default)]
    NotifyResponse {}

    /// A server gives a client an object (spec 1.4, 5.2).
    PutRequest {
        unique_identifier: String = UNIQUE_IDENTIFIER,
        put_function: PutFunction = PUT_FUNCTION,
        replaced_unique_identifier: Option<String> = REPLACED_UNIQUE_IDENTIFIER,
        object: ManagedObject = OBJECT,
        attributes: Attributes = ATTRIBUTE | ATTRIBUTES,
    }

    /// The client has taken it.
    #[derive(Clone, Default)]
    PutResponse {}
}
