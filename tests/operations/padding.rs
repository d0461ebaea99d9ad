//! What is decrypted or unwrapped is wrong in one way only.

use mrhsm_pkcs11::crypto::kw::{self, Wrapping};

use super::*;

const KEK: [u8; 32] = [3; 32];

fn active() -> Attributes {
    use CryptographicUsageMask as Use;
    let mask = Use(Use::ENCRYPT.0 | Use::DECRYPT.0 | Use::UNWRAP_KEY.0);
    Attributes::new()
        .with(AttributeValue::CryptographicUsageMask(mask))
        .with(AttributeValue::ActivationDate(DateTime(1)))
}

#[test]
fn every_wrong_padding_is_the_same() {
    let server = Server::new();
    let key = server
        .register(Version::V1_4, raw_key(&KEK), active())
        .unwrap();
    for mode in [BlockCipherMode::ECB, BlockCipherMode::CBC] {
        let parameters = |padding| CryptographicParameters {
            block_cipher_mode: Some(mode),
            padding_method: Some(padding),
            cryptographic_algorithm: Some(CryptographicAlgorithm::AES),
            ..CryptographicParameters::default()
        };
        let iv = (mode == BlockCipherMode::CBC).then(|| vec![1; 16]);
        let encrypt = |text: &[u8]| {
            let request = EncryptRequest {
                unique_identifier: id(&key),
                cryptographic_parameters: Some(parameters(PaddingMethod::NONE)),
                data: Some(Secret::new(text.to_vec())),
                iv_counter_nonce: iv.clone(),
                ..EncryptRequest::default()
            };
            server.ask(Version::V1_4, &request).unwrap().data
        };
        let decrypt = |end: &[u8]| {
            let text = [vec![9; 32 - end.len()], end.to_vec()].concat();
            let request = DecryptRequest {
                unique_identifier: id(&key),
                cryptographic_parameters: Some(parameters(PaddingMethod::PKCS5)),
                data: encrypt(&text),
                iv_counter_nonce: iv.clone(),
                ..DecryptRequest::default()
            };
            server
                .ask(Version::V1_4, &request)
                .map(|answer| answer.data.unwrap().len())
        };
        assert_eq!(decrypt(&[2, 2]), Ok(30));
        assert_eq!(decrypt(&[16; 16]), Ok(16));
        for end in [&[0][..], &[17], &[255], &[3, 2], &[2, 3, 3], &[15; 14]] {
            assert_eq!(
                decrypt(end),
                Err(ResultReason::CRYPTOGRAPHIC_FAILURE),
                "{end:?}"
            );
        }
    }
}

#[test]
fn every_wrapped_key_that_is_none_is_the_same() {
    let server = Server::new();
    let kek = server
        .register(Version::V1_4, raw_key(&KEK), active())
        .unwrap();
    let register = |wrapping, mode, value: &[u8], broken: bool, encoding| {
        let mut wrapped = kw::wrap(wrapping, &KEK, value).unwrap();
        wrapped[3] ^= u8::from(broken);
        let mut object = raw_key(&[5; 32]);
        if let ManagedObject::SymmetricKey(key) = &mut object {
            key.key_block.key_value = Some(KeyValue::Wrapped(wrapped));
            key.key_block.key_wrapping_data = Some(KeyWrappingData {
                wrapping_method: WrappingMethod::ENCRYPT,
                encryption_key_information: Some(KeyInformation {
                    unique_identifier: kek.as_str().into(),
                    cryptographic_parameters: Some(CryptographicParameters {
                        block_cipher_mode: Some(mode),
                        ..CryptographicParameters::default()
                    }),
                }),
                encoding_option: Some(encoding),
                ..KeyWrappingData::default()
            });
        }
        server.register(Version::V1_4, object, active()).map(drop)
    };
    let kw = (Wrapping::Kw, BlockCipherMode::NIST_KEY_WRAP);
    let kwp = (Wrapping::Kwp, BlockCipherMode::AES_KEY_WRAP_PADDING);
    let bare = EncodingOption::NO_ENCODING;
    for (wrapping, mode) in [kw, kwp] {
        assert_eq!(register(wrapping, mode, &[5; 32], false, bare), Ok(()));
        for (value, broken, encoding) in [
            (&[5; 32][..], true, bare),
            (&[5; 16], false, bare),
            (&[5; 40], false, bare),
            (&[5; 32], false, EncodingOption::TTLV_ENCODING),
            (&[0x42; 32], false, EncodingOption::TTLV_ENCODING),
        ] {
            assert_eq!(
                register(wrapping, mode, value, broken, encoding),
                Err(ResultReason::CRYPTOGRAPHIC_FAILURE),
                "{mode} {} {broken}",
                value.len()
            );
        }
    }
}
