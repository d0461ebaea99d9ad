//! Message-based functions.

use super::*;
use crate::crypto::unhex;
use crate::mech::{MessageForm, MessageParams};

fn import(
    bench: &Bench,
    h: CK_SESSION_HANDLE,
    key_type: CK_KEY_TYPE,
    value: &[u8],
    token: &[u8],
) -> CK_OBJECT_HANDLE {
    let (class, key_type) = (CKO_SECRET_KEY.to_ne_bytes(), key_type.to_ne_bytes());
    let rows = &[
        (CKA_CLASS, &class[..]),
        (CKA_KEY_TYPE, &key_type),
        (CKA_VALUE, value),
        (CKA_TOKEN, token),
    ];
    bench.module.create_object(h, template(rows)).unwrap()
}

fn gcm(iv: &[u8], tag: &[u8]) -> MessageParams {
    let (iv, tag) = (iv.to_vec(), tag.to_vec());
    MessageParams {
        form: MessageForm::Gcm,
        iv,
        tag_bits: tag.len() as CK_ULONG * 8,
        tag,
        ..MessageParams::default()
    }
}

/// A known answer: mechanism, key type, key, parameter with the tag, associated data, plaintext, ciphertext.
type Vector = (
    CK_MECHANISM_TYPE,
    CK_KEY_TYPE,
    Vec<u8>,
    MessageParams,
    Vec<u8>,
    Vec<u8>,
    Vec<u8>,
);

/// GCM: test case 4 of its specification; CCM: RFC 3610, packet vector 1; ChaCha20-Poly1305: RFC 8439, 2.8.2.
fn vectors() -> Vec<Vector> {
    let gcm_text = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39";
    let gcm_sealed = "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091";
    let poly_text =
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.";
    let poly_sealed = "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc3ff4def08e4b7a9de576d26586cec64b6116";
    let ccm = MessageParams {
        form: MessageForm::Ccm,
        iv: unhex("00000003020100a0a1a2a3a4a5"),
        tag_bits: 64,
        tag: unhex("17e8d12cfdf926e0"),
        data_len: 23,
        ..MessageParams::default()
    };
    let poly = MessageParams {
        form: MessageForm::ChaCha20Poly1305,
        iv: unhex("070000004041424344454647"),
        tag_bits: 128,
        tag: unhex("1ae10b594f09e26a7e902ecbd0600691"),
        ..MessageParams::default()
    };
    vec![
        (
            CKM_AES_GCM,
            CKK_AES,
            unhex("feffe9928665731c6d6a8f9467308308"),
            gcm(
                &unhex("cafebabefacedbaddecaf888"),
                &unhex("5bc94fbc3221a5db94fae95ae7121a47"),
            ),
            unhex("feedfacedeadbeeffeedfacedeadbeefabaddad2"),
            unhex(gcm_text),
            unhex(gcm_sealed),
        ),
        (
            CKM_AES_CCM,
            CKK_AES,
            (0xc0..0xd0).collect(),
            ccm,
            (0..8).collect(),
            (0x08..0x1f).collect(),
            unhex("588c979a61c663d2f066d0c2c0f989806d5f6b61dac384"),
        ),
        (
            CKM_CHACHA20_POLY1305,
            CKK_CHACHA20,
            (0x80..0xa0).collect(),
            poly,
            unhex("50515253c0c1c2c3c4c5c6c7"),
            poly_text.to_vec(),
            unhex(poly_sealed),
        ),
    ]
}

fn without_tag(params: &MessageParams) -> MessageParams {
    let MessageParams {
        form,
        iv_fixed_bits,
        generator,
        tag_bits,
        data_len,
        ..
    } = *params;
    MessageParams {
        form,
        iv: params.iv.clone(),
        iv_fixed_bits,
        generator,
        tag_bits,
        tag: vec![0; params.tag.len()],
        data_len,
    }
}

#[test]
fn known_messages_whole_and_in_parts_here_and_in_the_store() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    for (kind, key_type, key, known, aad, text, sealed) in vectors() {
        for token in [NO, YES] {
            let key = import(&bench, h, key_type, &key, token);
            m.message_encrypt_init(h, Some(Mechanism::bare(kind)), key)
                .unwrap();
            m.message_decrypt_init(h, Some(Mechanism::bare(kind)), key)
                .unwrap();
            for _ in 0..2 {
                let mut params = without_tag(&known);
                let size = m
                    .encrypt_message(h, &mut params, &aad, &text, None)
                    .unwrap();
                assert!(matches!(size, Output::Length(n) if n == text.len()));
                let short = m
                    .encrypt_message(h, &mut params, &aad, &text, Some(text.len() - 1))
                    .unwrap();
                assert!(matches!(short, Output::TooSmall(n) if n == text.len()));
                assert_eq!(
                    bytes(
                        m.encrypt_message(h, &mut params, &aad, &text, Some(text.len()))
                            .unwrap()
                    ),
                    sealed,
                    "{kind:#x}"
                );
                assert_eq!(params.tag, known.tag, "{kind:#x}");
                assert_eq!(
                    bytes(
                        m.decrypt_message(h, &mut params, &aad, &sealed, Some(text.len()))
                            .unwrap()
                    ),
                    text
                );

                let mut params = without_tag(&known);
                let mut made = Vec::new();
                m.encrypt_message_begin(h, &mut params, &aad).unwrap();
                refused(
                    m.encrypt_message_begin(h, &mut params, &aad),
                    CKR_OPERATION_ACTIVE,
                );
                refused(
                    m.encrypt_message(h, &mut params, &aad, &text, Some(200)),
                    CKR_OPERATION_ACTIVE,
                );
                for part in [&text[..1], &text[1..17]] {
                    made.extend(bytes(
                        m.encrypt_message_next(h, &mut params, part, Some(200), false)
                            .unwrap(),
                    ));
                }
                let rest = text.len() - made.len();
                let short = m
                    .encrypt_message_next(h, &mut params, &text[17..], Some(rest - 1), true)
                    .unwrap();
                assert!(matches!(short, Output::TooSmall(n) if n == rest));
                made.extend(bytes(
                    m.encrypt_message_next(h, &mut params, &text[17..], Some(rest), true)
                        .unwrap(),
                ));
                assert_eq!(
                    (made, &params.tag),
                    (sealed.clone(), &known.tag),
                    "{kind:#x}"
                );
                refused(
                    m.encrypt_message_next(h, &mut params, &text, Some(200), true),
                    CKR_OPERATION_NOT_INITIALIZED,
                );

                let mut made = Vec::new();
                m.decrypt_message_begin(h, &mut params, &aad).unwrap();
                made.extend(bytes(
                    m.decrypt_message_next(h, &mut params, &sealed[..20], Some(200), false)
                        .unwrap(),
                ));
                made.extend(bytes(
                    m.decrypt_message_next(h, &mut params, &sealed[20..], Some(200), true)
                        .unwrap(),
                ));
                assert_eq!(made, text, "{kind:#x}");
            }
            let mut wrong = without_tag(&known);
            refused(
                m.decrypt_message(h, &mut wrong, &aad, &sealed, Some(200)),
                CKR_AEAD_DECRYPT_FAILED,
            );
            m.decrypt_message_begin(h, &mut wrong, &aad).unwrap();
            refused(
                m.decrypt_message_next(h, &mut wrong, &sealed, Some(200), true),
                CKR_AEAD_DECRYPT_FAILED,
            );
            // A message that failed does not end the process.
            let mut params = without_tag(&known);
            params.tag = known.tag.clone();
            assert_eq!(
                bytes(
                    m.decrypt_message(h, &mut params, &aad, &sealed, Some(200))
                        .unwrap()
                ),
                text
            );
            m.message_encrypt_final(h).unwrap();
            m.message_decrypt_final(h).unwrap();
            refused(m.message_encrypt_final(h), CKR_OPERATION_NOT_INITIALIZED);
            refused(
                m.encrypt_message(h, &mut params, &aad, &text, Some(200)),
                CKR_OPERATION_NOT_INITIALIZED,
            );
        }
    }
}

#[test]
fn a_message_in_the_store_is_one_request() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    let key = bench.generate(h, CKM_AES_KEY_GEN, &[AES_256, (CKA_TOKEN, YES)]);
    m.message_encrypt_init(h, Some(Mechanism::bare(CKM_AES_GCM)), key)
        .unwrap();
    bench.store.requests();
    let mut params = MessageParams {
        generator: CKG_GENERATE,
        iv_fixed_bits: 32,
        ..gcm(&[7; 12], &[0; 16])
    };
    let mut ivs = std::collections::BTreeSet::new();
    for n in 1..5 {
        let sealed = bytes(
            m.encrypt_message(h, &mut params, b"aad", b"text", Some(4))
                .unwrap(),
        );
        assert_eq!(bench.store.requests(), 1);
        assert_eq!(params.iv[..4], [7; 4]);
        ivs.insert(params.iv.clone());
        assert_eq!(ivs.len(), n, "every message has an IV of its own");
        m.decrypt_init(
            h,
            Some(Mechanism {
                kind: CKM_AES_GCM,
                params: whole(&params),
            }),
            key,
        )
        .unwrap();
        assert_eq!(
            bytes(
                m.decrypt(h, &[&sealed[..], &params.tag].concat(), Some(4))
                    .unwrap()
            ),
            b"text"
        );
        bench.store.requests();
    }
    assert_eq!(bench.store.fetches(), 0);
}

fn whole(params: &MessageParams) -> Params {
    Params::Gcm {
        iv: params.iv.clone(),
        iv_bits: 0,
        aad: b"aad".to_vec(),
        tag_bits: params.tag_bits,
    }
}

#[test]
fn parameters_that_do_not_fit_are_refused() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    let key = bench.generate(h, CKM_AES_KEY_GEN, &[AES_256]);
    refused(
        m.message_encrypt_init(h, Some(Mechanism::bare(CKM_AES_CBC)), key),
        CKR_MECHANISM_INVALID,
    );
    refused(
        m.message_encrypt_init(h, Some(Mechanism::bare(CKM_CHACHA20_POLY1305)), key),
        CKR_KEY_TYPE_INCONSISTENT,
    );
    let shy = bench.generate(h, CKM_AES_KEY_GEN, &[AES_256, (CKA_ENCRYPT, NO)]);
    refused(
        m.message_encrypt_init(h, Some(Mechanism::bare(CKM_AES_GCM)), shy),
        CKR_KEY_FUNCTION_NOT_PERMITTED,
    );
    m.message_encrypt_init(h, Some(Mechanism::bare(CKM_AES_GCM)), key)
        .unwrap();
    refused(
        m.message_encrypt_init(h, Some(Mechanism::bare(CKM_AES_GCM)), key),
        CKR_OPERATION_ACTIVE,
    );
    for params in [
        gcm(&[], &[0; 16]),
        gcm(&[0; 12], &[0; 3]),
        MessageParams {
            tag_bits: 120,
            ..gcm(&[0; 12], &[0; 16])
        },
        MessageParams {
            tag_bits: 7,
            ..gcm(&[0; 12], &[0; 1])
        },
        MessageParams {
            generator: 9,
            ..gcm(&[0; 12], &[0; 16])
        },
        MessageParams {
            generator: CKG_GENERATE,
            iv_fixed_bits: 96,
            ..gcm(&[0; 12], &[0; 16])
        },
        MessageParams {
            form: MessageForm::Ccm,
            ..gcm(&[0; 12], &[0; 16])
        },
        MessageParams::default(),
    ] {
        let mut params = params;
        refused(
            m.encrypt_message(h, &mut params, b"", b"text", Some(99)),
            CKR_MECHANISM_PARAM_INVALID,
        );
    }
    m.message_encrypt_init(h, None, 0).unwrap();
    refused(m.message_encrypt_final(h), CKR_OPERATION_NOT_INITIALIZED);
    m.message_encrypt_init(h, Some(Mechanism::bare(CKM_AES_GCM)), key)
        .unwrap();
    m.session_cancel(h, CKF_MESSAGE_ENCRYPT).unwrap();
    refused(m.message_encrypt_final(h), CKR_OPERATION_NOT_INITIALIZED);
}

#[test]
fn messages_are_signed_and_verified_one_after_the_other() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    let key = import(&bench, h, CKK_GENERIC_SECRET, &[3; 32], NO);
    let pair = [(CKA_EC_PARAMS, Curve::P256.params())];
    let pair = m
        .generate_key_pair(
            h,
            Mechanism::bare(CKM_EC_KEY_PAIR_GEN),
            template(&pair),
            template(&[]),
        )
        .unwrap();
    for (kind, signs, verifies) in [
        (CKM_SHA256_HMAC, key, key),
        (CKM_ECDSA_SHA256, pair.1, pair.0),
    ] {
        m.message_sign_init(h, Some(Mechanism::bare(kind)), signs)
            .unwrap();
        m.message_verify_init(h, Some(Mechanism::bare(kind)), verifies)
            .unwrap();
        for message in [&b"first"[..], b"second"] {
            assert!(matches!(
                m.sign_message(h, message, None).unwrap(),
                Output::Length(_)
            ));
            assert!(matches!(
                m.sign_message(h, message, Some(1)).unwrap(),
                Output::TooSmall(_)
            ));
            let signature = bytes(m.sign_message(h, message, Some(64)).unwrap());
            m.verify_message(h, message, &signature).unwrap();
            refused(
                m.verify_message(h, b"other", &signature),
                CKR_SIGNATURE_INVALID,
            );

            m.sign_message_begin(h).unwrap();
            refused(m.sign_message(h, message, Some(64)), CKR_OPERATION_ACTIVE);
            assert!(
                m.sign_message_next(h, &message[..2], None)
                    .unwrap()
                    .is_none()
            );
            let short = m
                .sign_message_next(h, &message[2..], Some(Some(1)))
                .unwrap();
            assert!(
                matches!(short, Some(Output::TooSmall(_))),
                "the part was not taken"
            );
            let signature = bytes(
                m.sign_message_next(h, &message[2..], Some(Some(64)))
                    .unwrap()
                    .unwrap(),
            );
            refused(
                m.sign_message_next(h, message, None),
                CKR_OPERATION_NOT_INITIALIZED,
            );
            m.verify_message_begin(h).unwrap();
            m.verify_message_next(h, &message[..1], None).unwrap();
            m.verify_message_next(h, &message[1..], Some(&signature))
                .unwrap();
            refused(
                m.verify_message_next(h, message, None),
                CKR_OPERATION_NOT_INITIALIZED,
            );
        }
        m.message_sign_final(h).unwrap();
        m.message_verify_final(h).unwrap();
    }
    let gmac = Some(Mechanism {
        kind: CKM_AES_GMAC,
        params: Params::Raw(vec![0; 12]),
    });
    refused(m.message_sign_init(h, gmac, key), CKR_MECHANISM_INVALID);
}

#[test]
fn every_signature_of_a_message_wants_its_login() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    let (public, private) = (
        [(CKA_EC_PARAMS, Curve::P256.params())],
        [(CKA_ALWAYS_AUTHENTICATE, YES)],
    );
    let pair = m
        .generate_key_pair(
            h,
            Mechanism::bare(CKM_EC_KEY_PAIR_GEN),
            template(&public),
            template(&private),
        )
        .unwrap();
    m.message_sign_init(h, Some(Mechanism::bare(CKM_ECDSA_SHA256)), pair.1)
        .unwrap();
    for _ in 0..2 {
        refused(
            m.sign_message(h, b"message", Some(64)),
            CKR_USER_NOT_LOGGED_IN,
        );
        m.login(h, CKU_CONTEXT_SPECIFIC, Some(PIN)).unwrap();
        bytes(m.sign_message(h, b"message", Some(64)).unwrap());
    }
    // A length asked for uses up no login, and a call that fails does.
    refused(m.sign_message_begin(h), CKR_USER_NOT_LOGGED_IN);
    m.login(h, CKU_CONTEXT_SPECIFIC, Some(PIN)).unwrap();
    m.sign_message(h, b"message", None).unwrap();
    m.sign_message_begin(h).unwrap();
    assert!(m.sign_message_next(h, b"mess", None).unwrap().is_none());
    m.sign_message_next(h, b"age", Some(None)).unwrap();
    m.sign_message_next(h, b"age", Some(Some(64))).unwrap();
    m.login(h, CKU_CONTEXT_SPECIFIC, Some(PIN)).unwrap();
    refused(
        m.sign_message_next(h, b"", None),
        CKR_OPERATION_NOT_INITIALIZED,
    );
    refused(
        m.sign_message(h, b"message", Some(64)),
        CKR_USER_NOT_LOGGED_IN,
    );
}
