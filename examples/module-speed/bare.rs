//! The same work by the library that the module calls.

use std::hint::black_box;

use aws_lc_rs::{aead, cipher, digest, hmac, rand, rsa, signature};

use crate::{SIZES, time};

/// The same work by AWS-LC alone, in place where that is how its safe interface does it.
pub fn bare() {
    let key = [7; 32];
    time("C_GenerateRandom 32 B", || {
        rand::fill(black_box(&mut [0; 32])).unwrap()
    });
    let mut data = vec![7; (16 << 20) + 32];
    for (size, words) in [SIZES[1], SIZES[3]] {
        time(&format!("SHA-256 {words}"), || {
            _ = black_box(digest::digest(&digest::SHA256, &data[..size]))
        });
    }
    let nonce = || aead::Nonce::assume_unique_for_key([1; 12]);
    for (size, words) in SIZES {
        time(&format!("AES-256-GCM encrypt {words}"), || {
            let key =
                aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_256_GCM, &key).unwrap());
            _ = black_box(
                key.seal_in_place_separate_tag(nonce(), aead::Aad::empty(), &mut data[..size])
                    .unwrap(),
            );
        });
        for (name, make) in [
            (
                "CTR",
                cipher::EncryptingKey::ctr
                    as fn(cipher::UnboundCipherKey) -> Result<cipher::EncryptingKey, _>,
            ),
            ("ECB", cipher::EncryptingKey::ecb),
        ] {
            time(&format!("AES-256-{name} encrypt {words}"), || {
                let key =
                    make(cipher::UnboundCipherKey::new(&cipher::AES_256, &key).unwrap()).unwrap();
                _ = black_box(key.encrypt(&mut data[..size]).unwrap());
            });
        }
        let mut text = vec![7; size];
        time(&format!("AES-256-CBC-PAD encrypt {words}"), || {
            let key = cipher::UnboundCipherKey::new(&cipher::AES_256, &key).unwrap();
            let key = cipher::PaddedBlockEncryptingKey::cbc_pkcs7(key).unwrap();
            text.truncate(size);
            _ = black_box(key.encrypt(&mut text).unwrap());
        });
    }
    let secret = hmac::Key::new(hmac::HMAC_SHA256, &key);
    time("HMAC-SHA256 1 KiB", || {
        _ = black_box(hmac::sign(&secret, &data[..1 << 10]))
    });
    let random = rand::SystemRandom::new();
    let rsa = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
    let mut out = vec![0; 256];
    time("RSA-2048 sign", || {
        rsa.sign(
            &signature::RSA_PKCS1_SHA256,
            &random,
            &data[..1 << 10],
            &mut out,
        )
        .unwrap()
    });
    let p256 =
        signature::EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    time("P-256 sign", || {
        _ = black_box(p256.sign(&random, &data[..32]).unwrap())
    });
    let ed25519 = signature::Ed25519KeyPair::generate().unwrap();
    time("Ed25519 sign", || _ = black_box(ed25519.sign(&data[..32])));
}
