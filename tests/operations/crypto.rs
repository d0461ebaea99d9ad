//! Operations with keys that stay on the server: what parameters choose, by the standards' vectors, and why they are refused.

use mrhsm_pkcs11::crypto::pkey::{self, PrivateKey, Scheme};
use mrhsm_pkcs11::crypto::{Curve, Hash, hash, mac};

use super::*;

type Parameters = CryptographicParameters;

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
        .collect()
}

fn active() -> Attributes {
    usage().with(AttributeValue::ActivationDate(DateTime(1)))
}

fn secret_key(
    server: &Server,
    algorithm: CryptographicAlgorithm,
    value: &[u8],
    attributes: Attributes,
) -> String {
    let bits = 8 * value.len() as i32;
    let key_block = KeyBlock::of_bytes(
        KeyFormatType::RAW,
        algorithm,
        bits,
        Secret::new(value.to_vec()),
    );
    server
        .register(
            Version::V2_1,
            ManagedObject::SymmetricKey(SymmetricKey { key_block }),
            attributes,
        )
        .unwrap()
}

/// What encryption makes: the ciphertext, and the tag where there is one.
type Made = (Vec<u8>, Option<Vec<u8>>);

struct Sealing<'a> {
    uid: &'a str,
    parameters: Parameters,
    iv: &'a [u8],
    aad: &'a [u8],
}

impl Sealing<'_> {
    fn encrypt(&self, server: &Server, plain: &[u8]) -> Result<Made, ResultReason> {
        let request = EncryptRequest {
            unique_identifier: id(self.uid),
            cryptographic_parameters: Some(self.parameters.clone()),
            data: Some(Secret::new(plain.to_vec())),
            iv_counter_nonce: Some(self.iv.to_vec()),
            additional_data: Some(self.aad.to_vec()),
            ..EncryptRequest::default()
        };
        server
            .ask(Version::V2_1, &request)
            .map(|answer| (answer.data.unwrap(), answer.authentication_tag))
    }

    fn decrypt(
        &self,
        server: &Server,
        text: &[u8],
        tag: Option<&[u8]>,
    ) -> Result<Vec<u8>, ResultReason> {
        let request = DecryptRequest {
            unique_identifier: id(self.uid),
            cryptographic_parameters: Some(self.parameters.clone()),
            data: Some(text.to_vec()),
            iv_counter_nonce: Some(self.iv.to_vec()),
            additional_data: Some(self.aad.to_vec()),
            authentication_tag: tag.map(<[u8]>::to_vec),
            ..DecryptRequest::default()
        };
        server
            .ask(Version::V2_1, &request)
            .map(|answer| answer.data.unwrap().expose().to_vec())
    }
}

const SUNSCREEN: &[u8] =
    b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.";

/// RFC 8439, 2.4.2 and its appendix A.2; the original with a nonce of 8 bytes: draft-strombergson-chacha-test-vectors-01, TC1.
#[test]
fn chacha20_encrypts_and_nothing_else() {
    let server = Server::new();
    let first: Vec<u8> = (0..32).collect();
    let sunscreen = "6e2e359a2568f98041ba0728dd0d6981e97e7aec1d4360c20a27afccfd9fae0bf91b65c5524733ab8f593dabcd62b3571639d624e65152ab8f530c359f08\
         61d807ca0dbf500d6a6156a38e088a22b65e52bc514d16ccf806818ce91ab77937365af90bbf74a35be6b40b8eedf2785e42874d";
    let zeros = "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7";
    for (key, counter, nonce, plain, text) in [
        (
            &first[..],
            Some(1),
            &unhex("000000000000004a00000000")[..],
            SUNSCREEN,
            sunscreen,
        ),
        (&[0; 32], None, &[0; 8], &[0; 32], zeros),
        (&[0; 32], None, &[0; 12], &[0; 32], zeros),
        (&[0; 32], Some(1), &[0; 8], &[0; 8], "9f07e7be5551387a"),
    ] {
        let uid = secret_key(&server, CryptographicAlgorithm::CHACHA20, key, active());
        let parameters = Parameters {
            initial_counter_value: counter,
            ..Parameters::default()
        };
        let sealing = Sealing {
            uid: &uid,
            parameters,
            iv: nonce,
            aad: &[],
        };
        assert_eq!(sealing.encrypt(&server, plain), Ok((unhex(text), None)));
        assert_eq!(
            sealing.decrypt(&server, &unhex(text), None).as_deref(),
            Ok(plain)
        );
        let odd = Sealing {
            iv: &[0; 11],
            ..sealing
        };
        assert_eq!(
            odd.encrypt(&server, plain),
            Err(ResultReason::CRYPTOGRAPHIC_FAILURE)
        );
    }
}

/// RFC 8439, 2.8.2; a tag is as long as Tag Length says (spec 2.1, 4.16), as GCM's is.
#[test]
fn chacha20_poly1305_has_a_tag_of_the_length_that_is_asked_for() {
    let server = Server::new();
    let key: Vec<u8> = (0x80..0xA0).collect();
    let text = unhex(
        "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd\
         3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc3ff4def08e4b7a9de576d26586cec64b6116",
    );
    let tag = unhex("1ae10b594f09e26a7e902ecbd0600691");
    let (nonce, aad) = (
        unhex("070000004041424344454647"),
        unhex("50515253c0c1c2c3c4c5c6c7"),
    );
    let aead = Some(BlockCipherMode::AEAD);
    for (algorithm, mode) in [
        (CryptographicAlgorithm::CHACHA20POLY1305, None),
        (CryptographicAlgorithm::CHACHA20, aead),
    ] {
        let uid = secret_key(&server, algorithm, &key, active());
        let sealing = |tag_length| {
            let parameters = Parameters {
                block_cipher_mode: mode,
                tag_length,
                ..Parameters::default()
            };
            Sealing {
                uid: &uid,
                parameters,
                iv: &nonce,
                aad: &aad,
            }
        };
        for (asked, len) in [(None, 16), (Some(16), 16), (Some(12), 12)] {
            let (sealing, tag) = (sealing(asked), &tag[..len]);
            assert_eq!(
                sealing.encrypt(&server, SUNSCREEN),
                Ok((text.clone(), Some(tag.to_vec())))
            );
            assert_eq!(
                sealing.decrypt(&server, &text, Some(tag)).as_deref(),
                Ok(SUNSCREEN)
            );
            let mut forged = tag.to_vec();
            forged[len - 1] ^= 1;
            assert_eq!(
                sealing.decrypt(&server, &text, Some(&forged)),
                Err(ResultReason::CRYPTOGRAPHIC_FAILURE)
            );
        }
        for impossible in [1, 32] {
            assert_eq!(
                sealing(Some(impossible)).encrypt(&server, SUNSCREEN),
                Err(ResultReason::CRYPTOGRAPHIC_FAILURE)
            );
        }
    }
}

/// The tag is known before the last part is (spec 2.1, 6.1.11: with the first request); who sends it last is understood too.
#[test]
fn a_message_is_decrypted_in_parts_with_its_tag_at_either_end() {
    let server = Server::new();
    let parameters = Parameters {
        block_cipher_mode: Some(BlockCipherMode::GCM),
        tag_length: Some(16),
        ..Parameters::default()
    };
    let uid = secret_key(&server, CryptographicAlgorithm::AES, &[3; 32], active());
    let sealing = Sealing {
        uid: &uid,
        parameters,
        iv: &[4; 12],
        aad: b"header",
    };
    let (text, tag) = sealing.encrypt(&server, SUNSCREEN).unwrap();
    let decrypt = |tag: Vec<u8>, tag_at: usize| {
        let (mut plain, mut correlation_value) = (Vec::new(), None);
        for (i, part) in text.chunks(50).enumerate() {
            let first = i == 0;
            let request = DecryptRequest {
                unique_identifier: id(&uid),
                cryptographic_parameters: first.then(|| sealing.parameters.clone()),
                data: Some(part.to_vec()),
                iv_counter_nonce: first.then(|| sealing.iv.to_vec()),
                additional_data: first.then(|| sealing.aad.to_vec()),
                authentication_tag: (i == tag_at).then(|| tag.clone()),
                init_indicator: first.then_some(true),
                final_indicator: (i == 2).then_some(true),
                correlation_value,
            };
            let answer = server.ask(Version::V2_1, &request)?;
            plain.extend_from_slice(answer.data.unwrap_or_default().expose());
            correlation_value = answer.correlation_value;
        }
        Ok(plain)
    };
    for tag_at in [0, 2] {
        assert_eq!(
            decrypt(tag.clone().unwrap(), tag_at).as_deref(),
            Ok(SUNSCREEN)
        );
        assert_eq!(
            decrypt(vec![0; 16], tag_at),
            Err(ResultReason::CRYPTOGRAPHIC_FAILURE)
        );
    }
}

/// The algorithm in the parameters says which MAC, whatever else the key could do.
#[test]
fn an_aes_key_makes_the_mac_that_its_parameters_name() {
    let server = Server::new();
    let value = [7; 16];
    let named = |algorithm| Parameters {
        cryptographic_algorithm: Some(algorithm),
        ..Parameters::default()
    };
    let hmac = mac::hmac(Hash::Sha256, &value, b"data").unwrap();
    let kept = active().with(AttributeValue::CryptographicParameters(named(
        CryptographicAlgorithm::HMAC_SHA256,
    )));
    let with = secret_key(&server, CryptographicAlgorithm::AES, &value, kept);
    let without = secret_key(&server, CryptographicAlgorithm::AES, &value, active());
    let data = || Some(Secret::new(b"data".to_vec()));
    let make = |uid: &str, cryptographic_parameters| {
        let request = MacRequest {
            unique_identifier: id(uid),
            cryptographic_parameters,
            data: data(),
            ..MacRequest::default()
        };
        server
            .ask(Version::V2_1, &request)
            .unwrap()
            .mac_data
            .unwrap()
    };
    assert_eq!(make(&with, None), hmac);
    assert_eq!(
        make(&without, Some(named(CryptographicAlgorithm::HMAC_SHA256))),
        hmac
    );
    let cmac = make(&without, None);
    assert_eq!(cmac.len(), 16);
    assert_eq!(
        make(&without, Some(named(CryptographicAlgorithm::AES))),
        cmac
    );
    let verify = MacVerifyRequest {
        unique_identifier: id(&with),
        data: data(),
        mac_data: Some(hmac),
        ..Default::default()
    };
    assert_eq!(
        server
            .ask(Version::V2_1, &verify)
            .unwrap()
            .validity_indicator,
        Some(ValidityIndicator::VALID)
    );
}

/// Signers differ about the salt that nobody asked for: some take a digest's length, some as much as fits.
#[test]
fn a_pss_signature_is_verified_whatever_its_salt_unless_one_is_named() {
    let server = Server::new();
    let pair = PrivateKey::generate_rsa(1024, &[1, 0, 1]).unwrap();
    let spki = Secret::new(pair.public().unwrap().to_spki().unwrap());
    let key_block = KeyBlock::of_bytes(
        KeyFormatType::X_509,
        CryptographicAlgorithm::RSA,
        1024,
        spki,
    );
    let uid = server
        .register(
            Version::V2_1,
            ManagedObject::PublicKey(PublicKey { key_block }),
            active(),
        )
        .unwrap();
    let digest = hash::digest(Hash::Sha256, b"data").unwrap();
    let verify = |salt_length, hashing_algorithm, signature: &[u8]| {
        let parameters = Parameters {
            padding_method: Some(PaddingMethod::PSS),
            hashing_algorithm: Some(hashing_algorithm),
            salt_length,
            ..Parameters::default()
        };
        let request = SignatureVerifyRequest {
            unique_identifier: id(&uid),
            cryptographic_parameters: Some(parameters),
            data: Some(Secret::new(b"data".to_vec())),
            signature_data: Some(signature.to_vec()),
            ..SignatureVerifyRequest::default()
        };
        server
            .ask(Version::V2_1, &request)
            .unwrap()
            .validity_indicator
            == Some(ValidityIndicator::VALID)
    };
    for salt_len in [0, 20, 32, 94] {
        let scheme = Scheme::RsaPss {
            hash: Hash::Sha256,
            mgf: Hash::Sha256,
            salt_len,
        };
        let signature = pair.sign(scheme, &digest).unwrap();
        let named = |len| verify(Some(len), HashingAlgorithm::SHA_256, &signature);
        assert!(
            verify(None, HashingAlgorithm::SHA_256, &signature),
            "{salt_len}"
        );
        assert!(
            !verify(None, HashingAlgorithm::SHA_1, &signature),
            "{salt_len}"
        );
        assert!(
            named(salt_len as i32) && !named(salt_len as i32 + 1),
            "{salt_len}"
        );
    }
}

/// The standard does not say which part brings what the result is compared with.
#[test]
fn macs_and_signatures_are_verified_in_parts_with_what_is_verified_at_either_end() {
    let server = Server::new();
    let value = [7; 32];
    let coder = secret_key(
        &server,
        CryptographicAlgorithm::HMAC_SHA256,
        &value,
        active(),
    );
    let code = mac::hmac(Hash::Sha256, &value, b"one two").unwrap();
    let pair = PrivateKey::generate_ec(Curve::P256).unwrap();
    let spki = Secret::new(pair.public().unwrap().to_spki().unwrap());
    let key_block = KeyBlock::of_bytes(KeyFormatType::X_509, CryptographicAlgorithm::EC, 256, spki);
    let verifier = server
        .register(
            Version::V2_1,
            ManagedObject::PublicKey(PublicKey { key_block }),
            active(),
        )
        .unwrap();
    let digest = hash::digest(Hash::Sha256, b"one two").unwrap();
    let signature = pkey::ecdsa_to_der(&pair.sign(Scheme::Ecdsa, &digest).unwrap()).unwrap();
    for (at, parts) in [
        (0, [&b"one "[..], b"two"]),
        (1, [b"one ", b"two"]),
        (0, [b"one ", b"six"]),
        (1, [b"one ", b"six"]),
    ] {
        let right = parts[1] == b"two";
        let expected = Some(if right {
            ValidityIndicator::VALID
        } else {
            ValidityIndicator::INVALID
        });
        let (mut of_mac, mut of_signature) = Default::default();
        for (i, part) in parts.into_iter().enumerate() {
            let (init_indicator, final_indicator) =
                ((i == 0).then_some(true), (i == 1).then_some(true));
            let request = MacVerifyRequest {
                unique_identifier: id(&coder),
                data: Some(Secret::new(part.to_vec())),
                mac_data: (i == at).then(|| code.clone()),
                init_indicator,
                final_indicator,
                correlation_value: std::mem::take(&mut of_mac),
                ..MacVerifyRequest::default()
            };
            let answer = server.ask(Version::V2_1, &request).unwrap();
            assert_eq!(answer.validity_indicator, expected.filter(|_| i == 1));
            of_mac = answer.correlation_value;
            let request = SignatureVerifyRequest {
                unique_identifier: id(&verifier),
                data: Some(Secret::new(part.to_vec())),
                signature_data: (i == at).then(|| signature.clone()),
                init_indicator,
                final_indicator,
                correlation_value: std::mem::take(&mut of_signature),
                ..SignatureVerifyRequest::default()
            };
            let answer = server.ask(Version::V2_1, &request).unwrap();
            assert_eq!(answer.validity_indicator, expected.filter(|_| i == 1));
            of_signature = answer.correlation_value;
        }
    }
}

/// The reasons of spec 2.1, 6.1.11.1 and its like; before 2.0 there is one for all.
#[test]
fn a_key_that_may_not_is_refused_with_the_reason_of_the_version() {
    let server = Server::new();
    let mask = |mask| Attributes::new().with(AttributeValue::CryptographicUsageMask(mask));
    let date = |attributes: Attributes, make: fn(DateTime) -> AttributeValue, date| {
        attributes.with(make(DateTime(date)))
    };
    let (past, future) = (1, i64::from(i32::MAX) * 4);
    let young = usage();
    let stopped = date(active(), AttributeValue::ProtectStopDate, past);
    let early = date(active(), AttributeValue::ProcessStartDate, future);
    let signs = date(
        mask(CryptographicUsageMask::SIGN),
        AttributeValue::ActivationDate,
        past,
    );
    let [young, stopped, early, signs] = [young, stopped, early, signs]
        .map(|attributes| secret_key(&server, CryptographicAlgorithm::AES, &[5; 16], attributes));
    let decrypt = |uid: &str| DecryptRequest {
        unique_identifier: id(uid),
        cryptographic_parameters: ecb(uid, &[]).cryptographic_parameters,
        data: Some(vec![0; 16]),
        ..DecryptRequest::default()
    };
    for version in [Version::V1_2, Version::V1_4, Version::V2_0, Version::V2_1] {
        let of_2 = |reason| {
            if version.typed_attributes() {
                reason
            } else {
                ResultReason::PERMISSION_DENIED
            }
        };
        let state = of_2(ResultReason::WRONG_KEY_LIFECYCLE_STATE);
        for uid in [&young, &stopped] {
            assert_eq!(server.ask(version, &ecb(uid, &[0; 16])).err(), Some(state));
        }
        for uid in [&young, &early] {
            assert_eq!(server.ask(version, &decrypt(uid)).err(), Some(state));
        }
        assert!(
            server.ask(version, &ecb(&early, &[0; 16])).is_ok()
                && server.ask(version, &decrypt(&stopped)).is_ok()
        );
        let usage = of_2(ResultReason::INCOMPATIBLE_CRYPTOGRAPHIC_USAGE_MASK);
        assert_eq!(
            server.ask(version, &ecb(&signs, &[0; 16])).err(),
            Some(usage)
        );
        if version >= Version::V1_3 {
            let unknown = EncryptRequest {
                correlation_value: Some(vec![1]),
                ..ecb(&young, &[0; 16])
            };
            let reason = match version.typed_attributes() {
                true => ResultReason::INVALID_CORRELATION_VALUE,
                false => ResultReason::INVALID_FIELD,
            };
            assert_eq!(server.ask(version, &unknown).err(), Some(reason));
        }
    }
}
