//! Parameters: how to encrypt, sign, wrap or derive.

use super::attrs::AttributeName;
use super::enums::*;
use super::structure::structures;
use super::types::UniqueIdentifier;
use crate::secret::Secret;

structures! {
    /// How a key is used (spec 1.4, 3.6). What a request leaves out, the server takes from the key's attribute or guesses:
    /// send everything that matters.
    #[derive(Clone, Default)]
    CryptographicParameters {
        block_cipher_mode: Option<BlockCipherMode> = BLOCK_CIPHER_MODE,
        padding_method: Option<PaddingMethod> = PADDING_METHOD,
        hashing_algorithm: Option<HashingAlgorithm> = HASHING_ALGORITHM,
        key_role_type: Option<KeyRoleType> = KEY_ROLE_TYPE,
        digital_signature_algorithm: Option<DigitalSignatureAlgorithm> = DIGITAL_SIGNATURE_ALGORITHM since V1_2,
        cryptographic_algorithm: Option<CryptographicAlgorithm> = CRYPTOGRAPHIC_ALGORITHM since V1_2,
        random_iv: Option<bool> = RANDOM_IV since V1_2,
        /// in bits.
        iv_length: Option<i32> = IV_LENGTH since V1_2,
        /// in bytes.
        tag_length: Option<i32> = TAG_LENGTH since V1_2,
        /// in bits.
        fixed_field_length: Option<i32> = FIXED_FIELD_LENGTH since V1_2,
        /// in bits.
        invocation_field_length: Option<i32> = INVOCATION_FIELD_LENGTH since V1_2,
        /// in bits.
        counter_length: Option<i32> = COUNTER_LENGTH since V1_2,
        initial_counter_value: Option<i32> = INITIAL_COUNTER_VALUE since V1_2,
        /// in bytes.
        salt_length: Option<i32> = SALT_LENGTH since V1_4,
        mask_generator: Option<MaskGenerator> = MASK_GENERATOR since V1_4,
        mask_generator_hashing_algorithm: Option<HashingAlgorithm> = MASK_GENERATOR_HASHING_ALGORITHM since V1_4,
        p_source: Option<Vec<u8>> = P_SOURCE since V1_4,
        trailer_field: Option<i32> = TRAILER_FIELD since V1_4,
    }

    /// The curve or the subgroup of a key pair (spec 1.4, 3.7).
    #[derive(Clone, Default)]
    CryptographicDomainParameters {
        qlength: Option<i32> = QLENGTH,
        recommended_curve: Option<RecommendedCurve> = RECOMMENDED_CURVE,
    }

    /// A key and how it is used, for wrapping or for a MAC or signature over what is wrapped (spec 1.4, 2.1.5).
    #[derive(Clone, Default)]
    KeyInformation {
        unique_identifier: UniqueIdentifier = UNIQUE_IDENTIFIER,
        cryptographic_parameters: Option<CryptographicParameters> = CRYPTOGRAPHIC_PARAMETERS,
    }

    /// How the key in a Key Block is wrapped (spec 1.4, 2.1.5).
    #[derive(Clone, Default)]
    KeyWrappingData {
        wrapping_method: WrappingMethod = WRAPPING_METHOD,
        encryption_key_information: Option<KeyInformation> = ENCRYPTION_KEY_INFORMATION,
        mac_signature_key_information: Option<KeyInformation> = MAC_SIGNATURE_KEY_INFORMATION,
        mac_signature: Option<Vec<u8>> = MAC_SIGNATURE,
        iv_counter_nonce: Option<Vec<u8>> = IV_COUNTER_NONCE,
        /// Absent means TTLV encoding: the Key Value structure is wrapped, not the bare key.
        encoding_option: Option<EncodingOption> = ENCODING_OPTION since V1_1,
    }

    /// How the server shall wrap the key it returns (spec 1.4, 2.1.6).
    #[derive(Clone, Default)]
    KeyWrappingSpecification {
        wrapping_method: WrappingMethod = WRAPPING_METHOD,
        encryption_key_information: Option<KeyInformation> = ENCRYPTION_KEY_INFORMATION,
        mac_signature_key_information: Option<KeyInformation> = MAC_SIGNATURE_KEY_INFORMATION,
        attribute_names: Vec<AttributeName> = ATTRIBUTE_NAME,
        /// Absent means TTLV encoding: the Key Value structure is wrapped, not the bare key.
        encoding_option: Option<EncodingOption> = ENCODING_OPTION since V1_1,
    }

    /// How a key is derived (spec 1.4, 4.6).
    #[derive(Default)]
    DerivationParameters {
        cryptographic_parameters: Option<CryptographicParameters> = CRYPTOGRAPHIC_PARAMETERS,
        initialization_vector: Option<Vec<u8>> = INITIALIZATION_VECTOR,
        derivation_data: Vec<Secret> = DERIVATION_DATA,
        salt: Option<Vec<u8>> = SALT,
        iteration_count: Option<i32> = ITERATION_COUNT,
    }

    /// A random number generator (spec 1.4, 3.45).
    #[derive(Clone, Default)]
    RngParameters {
        rng_algorithm: RngAlgorithm = RNG_ALGORITHM,
        cryptographic_algorithm: Option<CryptographicAlgorithm> = CRYPTOGRAPHIC_ALGORITHM,
        cryptographic_length: Option<i32> = CRYPTOGRAPHIC_LENGTH,
        hashing_algorithm: Option<HashingAlgorithm> = HASHING_ALGORITHM,
        drbg_algorithm: Option<DrbgAlgorithm> = DRBG_ALGORITHM,
        recommended_curve: Option<RecommendedCurve> = RECOMMENDED_CURVE,
        fips186_variation: Option<Fips186Variation> = FIPS186_VARIATION,
        prediction_resistance: Option<bool> = PREDICTION_RESISTANCE,
    }
}
