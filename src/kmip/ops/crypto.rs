//! Operations with a key that stays on the server (spec 1.4, 4.29 to 4.37).

use crate::kmip::enums::ValidityIndicator;
use crate::kmip::params::CryptographicParameters;
use crate::kmip::structure::structures;
use crate::kmip::types::UniqueIdentifier;
use crate::secret::Secret;

structures! {
    /// Encrypts.
    #[derive(Default)]
    EncryptRequest {
        unique_identifier: Option<UniqueIdentifier> = UNIQUE_IDENTIFIER,
        cryptographic_parameters: Option<CryptographicParameters> = CRYPTOGRAPHIC_PARAMETERS,
        data: Option<Secret> = DATA,
        iv_counter_nonce: Option<Vec<u8>> = IV_COUNTER_NONCE,
        correlation_value: Option<Vec<u8>> = CORRELATION_VALUE since V1_3,
        init_indicator: Option<bool> = INIT_INDICATOR since V1_3,
        final_indicator: Option<bool> = FINAL_INDICATOR since V1_3,
        additional_data: Option<Vec<u8>> = AUTHENTICATED_ENCRYPTION_ADDITIONAL_DATA since V1_4,
    }

    /// What came out.
    #[derive(Default)]
    EncryptResponse {
        unique_identifier: String = UNIQUE_IDENTIFIER,
        data: Option<Vec<u8>> = DATA,
        /// When the server made it.
        iv_counter_nonce: Option<Vec<u8>> = IV_COUNTER_NONCE,
        correlation_value: Option<Vec<u8>> = CORRELATION_VALUE since V1_3,
        authentication_tag: Option<Vec<u8>> = AUTHENTICATED_ENCRYPTION_TAG since V1_4,
    }

    /// Decrypts.
    #[derive(Default)]
    DecryptRequest {
        unique_identifier: Option<UniqueIdentifier> = UNIQUE_IDENTIFIER,
        cryptographic_parameters: Option<CryptographicParameters> = CRYPTOGRAPHIC_PARAMETERS,
        data: Option<Vec<u8>> = DATA,
        iv_counter_nonce: Option<Vec<u8>> = IV_COUNTER_NONCE,
        correlation_value: Option<Vec<u8>> = CORRELATION_VALUE since V1_3,
        init_indicator: Option<bool> = INIT_INDICATOR since V1_3,
        final_indicator: Option<bool> = FINAL_INDICATOR since V1_3,
        additional_data: Option<Vec<u8>> = AUTHENTICATED_ENCRYPTION_ADDITIONAL_DATA since V1_4,
        authentication_tag: Option<Vec<u8>> = AUTHENTICATED_ENCRYPTION_TAG since V1_4,
    }

    /// What came out.
    #[derive(Default)]
    DecryptResponse {
        unique_identifier: String = UNIQUE_IDENTIFIER,
        data: Option<Secret> = DATA,
        correlation_value: Option<Vec<u8>> = CORRELATION_VALUE since V1_3,
    }

    /// Signs.
    #[derive(Default)]
    SignRequest {
        unique_identifier: Option<UniqueIdentifier> = UNIQUE_IDENTIFIER,
        cryptographic_parameters: Option<CryptographicParameters> = CRYPTOGRAPHIC_PARAMETERS,
        data: Option<Secret> = DATA,
        digested_data: Option<Vec<u8>> = DIGESTED_DATA since V1_4,
        correlation_value: Option<Vec<u8>> = CORRELATION_VALUE since V1_3,
        init_indicator: Option<bool> = INIT_INDICATOR since V1_3,
        final_indicator: Option<bool> = FINAL_INDICATOR since V1_3,
    }

    /// The signature.
    #[derive(Default)]
    SignResponse {
        unique_identifier: String = UNIQUE_IDENTIFIER,
        signature_data: Option<Vec<u8>> = SIGNATURE_DATA,
        correlation_value: Option<Vec<u8>> = CORRELATION_VALUE since V1_3,
    }

    /// Verifies a signature.
    #[derive(Default)]
    SignatureVerifyRequest {
        unique_identifier: Option<UniqueIdentifier> = UNIQUE_IDENTIFIER,
        cryptographic_parameters: Option<CryptographicParameters> = CRYPTOGRAPHIC_PARAMETERS,
        data: Option<Secret> = DATA,
        digested_data: Option<Vec<u8>> = DIGESTED_DATA since V1_4,
        signature_data: Option<Vec<u8>> = SIGNATURE_DATA,
        correlation_value: Option<Vec<u8>> = CORRELATION_VALUE since V1_3,
        init_indicator: Option<bool> = INIT_INDICATOR since V1_3,
        final_indicator: Option<bool> = FINAL_INDICATOR since V1_3,
    }

    /// Whether the signature is valid.
    #[derive(Default)]
    SignatureVerifyResponse {
        unique_identifier: String = UNIQUE_IDENTIFIER,
        validity_indicator: Option<ValidityIndicator> = VALIDITY_INDICATOR,
        /// What was signed, for signatures with recovery.
        data: Option<Secret> = DATA,
        correlation_value: Option<Vec<u8>> = CORRELATION_VALUE since V1_3,
    }

    /// Makes a MAC.
    #[derive(Default)]
    MacRequest {
        unique_identifier: Option<UniqueIdentifier> = UNIQUE_IDENTIFIER,
        cryptographic_parameters: Option<CryptographicParameters> = CRYPTOGRAPHIC_PARAMETERS,
        data: Option<Secret> = DATA,
        correlation_value: Option<Vec<u8>> = CORRELATION_VALUE since V1_3,
        init_indicator: Option<bool> = INIT_INDICATOR since V1_3,
        final_indicator: Option<bool> = FINAL_INDICATOR since V1_3,
    }

    /// The MAC.
    #[derive(Default)]
    MacResponse {
        unique_identifier: String = UNIQUE_IDENTIFIER,
        mac_data: Option<Vec<u8>> = MAC_DATA,
        correlation_value: Option<Vec<u8>> = CORRELATION_VALUE since V1_3,
    }

    /// Verifies a MAC.
    #[derive(Default)]
    MacVerifyRequest {
        unique_identifier: Option<UniqueIdentifier> = UNIQUE_IDENTIFIER,
        cryptographic_parameters: Option<CryptographicParameters> = CRYPTOGRAPHIC_PARAMETERS,
        data: Option<Secret> = DATA,
        mac_data: Option<Vec<u8>> = MAC_DATA,
        correlation_value: Option<Vec<u8>> = CORRELATION_VALUE since V1_3,
        init_indicator: Option<bool> = INIT_INDICATOR since V1_3,
        final_indicator: Option<bool> = FINAL_INDICATOR since V1_3,
    }

    /// Whether the MAC is valid.
    #[derive(Default)]
    MacVerifyResponse {
        unique_identifier: String = UNIQUE_IDENTIFIER,
        validity_indicator: Option<ValidityIndicator> = VALIDITY_INDICATOR,
        correlation_value: Option<Vec<u8>> = CORRELATION_VALUE since V1_3,
    }

    /// Hashes.
    #[derive(Default)]
    HashRequest {
        cryptographic_parameters: CryptographicParameters = CRYPTOGRAPHIC_PARAMETERS,
        data: Option<Secret> = DATA,
        correlation_value: Option<Vec<u8>> = CORRELATION_VALUE since V1_3,
        init_indicator: Option<bool> = INIT_INDICATOR since V1_3,
        final_indicator: Option<bool> = FINAL_INDICATOR since V1_3,
    }

    /// The hash.
    #[derive(Default)]
    HashResponse {
        data: Option<Vec<u8>> = DATA,
        correlation_value: Option<Vec<u8>> = CORRELATION_VALUE since V1_3,
    }

    /// Asks for random bytes.
    #[derive(Clone, Default)]
    RngRetrieveRequest {
        /// in bytes.
        data_length: i32 = DATA_LENGTH,
    }

    /// The random bytes.
    #[derive(Default)]
    RngRetrieveResponse {
        data: Secret = DATA,
    }

    /// Gives the server entropy.
    #[derive(Default)]
    RngSeedRequest {
        data: Secret = DATA,
    }

    /// How much of it was used.
    #[derive(Clone, Default)]
    RngSeedResponse {
        /// in bytes; may be 0.
        data_length: i32 = DATA_LENGTH,
    }
}
