//! Signatures, MACs and RSA.

use super::*;
use crate::token::template::Rights;

#[test]
fn signatures_of_every_kind_verify() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    let pss = |hash, mgf| Params::Pss {
        hash,
        mgf,
        salt_len: 32,
    };
    let curve = |curve: Curve| vec![(CKA_EC_PARAMS, curve.params())];
    type Pair<'a> = (
        CK_MECHANISM_TYPE,
        Vec<Row<'a>>,
        Vec<(CK_MECHANISM_TYPE, Params)>,
    );
    let bits = 2048u64.to_ne_bytes();
    let pairs: Vec<Pair<'_>> = vec![
        (
            CKM_RSA_PKCS_KEY_PAIR_GEN,
            vec![(CKA_MODULUS_BITS, &bits)],
            vec![
                (CKM_RSA_PKCS, Params::None),
                (CKM_RSA_X_509, Params::None),
                (CKM_SHA256_RSA_PKCS, Params::None),
                (CKM_SHA256_RSA_PKCS_PSS, pss(CKM_SHA256, CKG_MGF1_SHA256)),
            ],
        ),
        (
            CKM_EC_KEY_PAIR_GEN,
            curve(Curve::P256),
            vec![(CKM_ECDSA_SHA256, Params::None), (CKM_ECDSA, Params::None)],
        ),
        (
            CKM_EC_KEY_PAIR_GEN,
            curve(Curve::P521),
            vec![(CKM_ECDSA_SHA512, Params::None)],
        ),
        (
            CKM_EC_EDWARDS_KEY_PAIR_GEN,
            curve(Curve::Ed25519),
            vec![(CKM_EDDSA, Params::None)],
        ),
    ];
    for (token, (generation, rows, mechanisms)) in [YES, NO]
        .iter()
        .flat_map(|t| pairs.iter().map(move |p| (*t, p)))
    {
        let mut public = rows.clone();
        public.push((CKA_TOKEN, token));
        let private = [(CKA_TOKEN, token)];
        let (public, private) = m
            .generate_key_pair(
                h,
                Mechanism::bare(*generation),
                template(&public),
                template(&private),
            )
            .unwrap();
        assert_eq!(
            bench.value(h, public, CKA_PUBLIC_KEY_INFO),
            bench.value(h, private, CKA_PUBLIC_KEY_INFO)
        );
        assert!(matches!(
            m.attribute_values(h, private, &[CKA_VALUE]).unwrap()[0],
            Answer::Sensitive | Answer::Unknown
        ));
        for (kind, params) in mechanisms {
            let mechanism = || {
                Some(Mechanism {
                    kind: *kind,
                    params: copy(params),
                })
            };
            let data = [7; 20];
            m.sign_init(h, mechanism(), private).unwrap();
            let Output::Length(len) = m.sign(h, &data, None).unwrap() else {
                panic!()
            };
            assert!(
                matches!(m.sign(h, &data, Some(len - 1)).unwrap(), Output::TooSmall(n) if n == len)
            );
            let mut signature = bytes(m.sign(h, &data, Some(len)).unwrap());
            assert_eq!(signature.len(), len);
            m.verify_init(h, mechanism(), public).unwrap();
            m.verify(h, &data, &signature).unwrap();
            m.sign_init(h, mechanism(), private).unwrap();
            m.sign_update(h, &data[..3]).unwrap();
            m.sign_update(h, &data[3..]).unwrap();
            let parts = bytes(m.sign_final(h, Some(len)).unwrap());
            m.verify_init(h, mechanism(), public).unwrap();
            m.verify_update(h, &data[..9]).unwrap();
            m.verify_update(h, &data[9..]).unwrap();
            m.verify_final(h, &parts).unwrap();
            signature[10] ^= 1;
            m.verify_init(h, mechanism(), public).unwrap();
            refused(m.verify(h, &data, &signature), CKR_SIGNATURE_INVALID);
            m.verify_init(h, mechanism(), public).unwrap();
            refused(
                m.verify(h, &data, &signature[..len - 1]),
                CKR_SIGNATURE_LEN_RANGE,
            );
            m.verify_init(h, mechanism(), public).unwrap();
            refused(
                m.verify(h, &data, &signature[..len - 2]),
                CKR_SIGNATURE_LEN_RANGE,
            );
            refused(
                m.sign_init(h, mechanism(), public),
                CKR_KEY_TYPE_INCONSISTENT,
            );
        }
    }
    assert!(
        bench.store.fetches() > 0,
        "the double makes no EC keys, and signs no bare RSA"
    );
}

#[test]
fn macs_here_and_in_the_store_are_the_same() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    for (key_type, kind, params, len) in [
        (CKK_GENERIC_SECRET, CKM_SHA256_HMAC, Params::None, 32),
        (
            CKK_GENERIC_SECRET,
            CKM_SHA512_HMAC_GENERAL,
            Params::Number(10),
            10,
        ),
        (CKK_SHA_1_HMAC, CKM_SHA_1_HMAC, Params::None, 20),
        (CKK_AES, CKM_AES_CMAC, Params::None, 16),
        (CKK_AES, CKM_AES_CMAC_GENERAL, Params::Number(4), 4),
    ] {
        let mut made = Vec::new();
        for token in [YES, NO] {
            let rows = &[
                (CKA_CLASS, &CKO_SECRET_KEY.to_ne_bytes()[..]),
                (CKA_KEY_TYPE, &key_type.to_ne_bytes()),
                (CKA_VALUE, &[3; 32]),
                (CKA_TOKEN, token),
            ];
            let key = m.create_object(h, template(rows)).unwrap();
            let mechanism = || {
                Some(Mechanism {
                    kind,
                    params: copy(&params),
                })
            };
            m.sign_init(h, mechanism(), key).unwrap();
            // Nothing at all is the empty message.
            bytes(m.sign_final(h, Some(64)).unwrap());
            m.sign_init(h, mechanism(), key).unwrap();
            let code = bytes(m.sign(h, b"message", Some(64)).unwrap());
            assert_eq!(code.len(), len);
            m.verify_init(h, mechanism(), key).unwrap();
            m.verify(h, b"message", &code).unwrap();
            m.verify_init(h, mechanism(), key).unwrap();
            refused(m.verify(h, b"massage", &code), CKR_SIGNATURE_INVALID);
            made.push(code);
        }
        assert_eq!(made[0], made[1], "{kind:#x}");
        refused(
            m.sign_init(
                h,
                Some(Mechanism {
                    kind,
                    params: Params::Number(65),
                }),
                1,
            ),
            CKR_KEY_HANDLE_INVALID,
        );
    }
    assert_eq!(bench.store.fetches(), 0);
}

#[test]
fn rsa_encrypts_with_the_public_and_decrypts_with_the_private_half() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    let bits = 2048u64.to_ne_bytes();
    let rows = &[(CKA_MODULUS_BITS, &bits[..]), (CKA_TOKEN, YES)];
    let pair = m.generate_key_pair(
        h,
        Mechanism::bare(CKM_RSA_PKCS_KEY_PAIR_GEN),
        template(rows),
        template(&[(CKA_TOKEN, YES)]),
    );
    let (public, private) = pair.unwrap();
    let oaep = || Params::Oaep {
        hash: CKM_SHA256,
        mgf: CKG_MGF1_SHA256,
        source: CKZ_DATA_SPECIFIED,
        label: b"label".to_vec(),
    };
    for (kind, params) in [
        (CKM_RSA_PKCS, (|| Params::None) as fn() -> Params),
        (CKM_RSA_PKCS_OAEP, oaep),
        (CKM_RSA_X_509, || Params::None),
    ] {
        let mechanism = || {
            Some(Mechanism {
                kind,
                params: params(),
            })
        };
        m.encrypt_init(h, mechanism(), public).unwrap();
        let sealed = bytes(m.encrypt(h, b"secret", Some(256)).unwrap());
        m.decrypt_init(h, mechanism(), private).unwrap();
        let opened = bytes(m.decrypt(h, &sealed, Some(256)).unwrap());
        assert!(opened.ends_with(b"secret"), "{kind:#x}");
        m.decrypt_init(h, mechanism(), private).unwrap();
        refused(
            m.decrypt(h, &sealed[1..], Some(256)),
            CKR_ENCRYPTED_DATA_LEN_RANGE,
        );
    }
    m.sign_recover_init(h, Some(Mechanism::bare(CKM_RSA_PKCS)), private)
        .unwrap();
    let signature = bytes(m.sign_recover(h, b"recovered", Some(256)).unwrap());
    m.verify_recover_init(h, Some(Mechanism::bare(CKM_RSA_PKCS)), public)
        .unwrap();
    assert!(matches!(
        m.verify_recover(h, &signature, None).unwrap(),
        Output::Length(9)
    ));
    assert_eq!(
        bytes(m.verify_recover(h, &signature, Some(9)).unwrap()),
        b"recovered"
    );
}

#[test]
fn a_private_key_that_was_prepared_is_gone_with_its_object_its_session_and_the_login() {
    let bench = Bench::new();
    let m = &bench.module;
    type End = fn(&Module, CK_SESSION_HANDLE, CK_OBJECT_HANDLE) -> Result<()>;
    let ends: [End; 3] = [
        |m, h, key| {
            m.sign(h, &[1; 32], Some(64))
                .and_then(|_| m.destroy_object(h, key))
        },
        |m, h, _| m.close_session(h),
        |m, h, _| m.logout(h),
    ];
    let other = bench.user();
    for (at, end) in ends.into_iter().enumerate() {
        let h = m.open_session(bench.slot, RW).unwrap();
        let rows = &[(CKA_EC_PARAMS, Curve::P256.params())];
        let (_, key) = m
            .generate_key_pair(
                h,
                Mechanism::bare(CKM_EC_KEY_PAIR_GEN),
                template(rows),
                template(&[]),
            )
            .unwrap();
        m.sign_init(h, Some(Mechanism::bare(CKM_ECDSA)), key)
            .unwrap();
        let object = m
            .token(bench.slot)
            .unwrap()
            .object(
                key,
                Rights {
                    write: true,
                    user: true,
                    so: false,
                    guarded: false,
                },
            )
            .unwrap();
        assert!(object.known.private.get().is_some());
        let held = Arc::downgrade(&object);
        drop(object);
        end(m, h, key).unwrap();
        assert!(held.upgrade().is_none(), "way {at}");
    }
    m.close_session(other).unwrap();
}

#[test]
fn a_key_that_nothing_is_known_of_and_that_does_not_come_here_is_for_no_mechanism() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    let (class, algorithm, usage) = (
        Class::PrivateKey,
        Algorithm::Rsa,
        Usage::SIGN | Usage::DECRYPT,
    );
    bench.store.foreign(
        "theirs",
        &Spec {
            class,
            algorithm,
            usage,
            bits: 0,
            extractable: false,
            ..foreign_key()
        },
        b"",
    );
    bench.policy(CryptoPolicy::Server);
    let [key] = bench.find(h, &[])[..] else {
        panic!()
    };
    refused(
        m.sign_init(h, Some(Mechanism::bare(CKM_RSA_PKCS)), key),
        CKR_MECHANISM_INVALID,
    );
    refused(
        m.decrypt_init(h, Some(Mechanism::bare(CKM_RSA_PKCS)), key),
        CKR_MECHANISM_INVALID,
    );
}

#[test]
fn keys_that_ask_for_a_pin_of_their_own_wait_for_it() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    let rows = &[(CKA_EC_PARAMS, Curve::P256.params())];
    let private = &[(CKA_ALWAYS_AUTHENTICATE, YES)];
    let (_, private) = m
        .generate_key_pair(
            h,
            Mechanism::bare(CKM_EC_KEY_PAIR_GEN),
            template(rows),
            template(private),
        )
        .unwrap();
    m.sign_init(h, Some(Mechanism::bare(CKM_ECDSA)), private)
        .unwrap();
    refused(
        m.login(h, CKU_CONTEXT_SPECIFIC, Some(b"wrong")),
        CKR_PIN_INCORRECT,
    );
    m.login(h, CKU_CONTEXT_SPECIFIC, Some(PIN)).unwrap();
    bytes(m.sign(h, &[1; 32], Some(64)).unwrap());
    m.sign_init(h, Some(Mechanism::bare(CKM_ECDSA)), private)
        .unwrap();
    refused(m.sign(h, &[1; 32], Some(64)), CKR_USER_NOT_LOGGED_IN);
    // That was a use of the key, and a call of C_Sign that fails ends the operation.
    refused(
        m.login(h, CKU_CONTEXT_SPECIFIC, Some(PIN)),
        CKR_OPERATION_NOT_INITIALIZED,
    );
    refused(m.sign(h, &[1; 32], Some(64)), CKR_OPERATION_NOT_INITIALIZED);
    // And nothing is encrypted that was not signed.
    m.sign_init(h, Some(Mechanism::bare(CKM_ECDSA)), private)
        .unwrap();
    let key = bench.generate(h, CKM_AES_KEY_GEN, &[AES_256]);
    m.encrypt_init(h, Some(Mechanism::bare(CKM_AES_ECB)), key)
        .unwrap();
    refused(
        m.sign_encrypt_update(h, &[1; 16], Some(16)),
        CKR_USER_NOT_LOGGED_IN,
    );
    assert_eq!(
        bytes(m.encrypt(h, &[1; 16], Some(16)).unwrap()).len(),
        16,
        "a message that has not begun"
    );
    refused(m.sign(h, &[1; 32], Some(64)), CKR_OPERATION_NOT_INITIALIZED);
}

#[test]
fn the_first_signature_of_a_server_is_verified() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    let bits = 2048u64.to_ne_bytes();
    let rows = &[(CKA_MODULUS_BITS, &bits[..]), (CKA_TOKEN, YES)];
    let pair = m.generate_key_pair(
        h,
        Mechanism::bare(CKM_RSA_PKCS_KEY_PAIR_GEN),
        template(rows),
        template(&[(CKA_TOKEN, YES)]),
    );
    let (public, private) = pair.unwrap();
    let sign = |kind| {
        m.sign_init(h, Some(Mechanism::bare(kind)), private)?;
        m.sign(h, b"message", Some(256)).map(bytes)
    };
    sign(CKM_SHA256_RSA_PKCS).unwrap();
    bench.store.requests();
    sign(CKM_SHA256_RSA_PKCS).unwrap();
    assert_eq!(
        bench.store.requests(),
        1,
        "what is proven is not proven again"
    );
    assert_eq!(bench.store.fetches(), 0);
    bench.store.lies.store(true, Ordering::Relaxed);
    bench.policy(CryptoPolicy::Server);
    refused(sign(CKM_SHA384_RSA_PKCS), CKR_DEVICE_ERROR);
    bench.policy(CryptoPolicy::Auto);
    let signature = sign(CKM_SHA384_RSA_PKCS).unwrap();
    m.verify_init(h, Some(Mechanism::bare(CKM_SHA384_RSA_PKCS)), public)
        .unwrap();
    m.verify(h, b"message", &signature).unwrap();
}
