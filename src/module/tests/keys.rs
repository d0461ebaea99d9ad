//! Wrapped and derived keys.

use super::*;

#[test]
fn keys_are_wrapped_and_unwrapped_by_every_mechanism() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    let free: &[Row<'_>] = &[AES_256, (CKA_EXTRACTABLE, YES), (CKA_SENSITIVE, NO)];
    let secret = bench.generate(h, CKM_AES_KEY_GEN, free);
    let kek = bench.generate(h, CKM_AES_KEY_GEN, &[AES_256, (CKA_TOKEN, YES)]);
    let bits = 2048u64.to_ne_bytes();
    let free_half = [(CKA_EXTRACTABLE, YES), (CKA_SENSITIVE, NO)];
    let rsa = Mechanism::bare(CKM_RSA_PKCS_KEY_PAIR_GEN);
    let (rsa_public, rsa_private) = m
        .generate_key_pair(
            h,
            rsa,
            template(&[(CKA_MODULUS_BITS, &bits)]),
            template(&free_half),
        )
        .unwrap();
    let oaep = || Params::Oaep {
        hash: CKM_SHA256,
        mgf: CKG_MGF1_SHA256,
        source: CKZ_DATA_SPECIFIED,
        label: Vec::new(),
    };
    let gcm = || Params::Gcm {
        iv: vec![1; 12],
        iv_bits: 96,
        aad: Vec::new(),
        tag_bits: 128,
    };
    type Case = (CK_MECHANISM_TYPE, fn() -> Params, bool);
    let none: fn() -> Params = || Params::None;
    let iv: fn() -> Params = || Params::Raw(vec![2; 16]);
    let both: fn() -> Params = || Params::RsaAesKeyWrap {
        aes_bits: 256,
        oaep: Some(Box::new(Params::Oaep {
            hash: CKM_SHA_1,
            mgf: CKG_MGF1_SHA1,
            source: CKZ_DATA_SPECIFIED,
            label: Vec::new(),
        })),
    };
    // The last column: whether it takes private keys.
    let cases: &[Case] = &[
        (CKM_AES_KEY_WRAP, none, false),
        (CKM_AES_KEY_WRAP_PAD, none, true),
        (CKM_AES_KEY_WRAP_KWP, none, true),
        (CKM_AES_KEY_WRAP_PKCS7, none, true),
        (CKM_AES_CBC, iv, false),
        (CKM_AES_CBC_PAD, iv, true),
        (CKM_AES_GCM, gcm, true),
        (CKM_RSA_PKCS, none, false),
        (CKM_RSA_PKCS_OAEP, oaep, false),
        (CKM_RSA_AES_KEY_WRAP, both, true),
    ];
    let aes = CKK_AES.to_ne_bytes();
    let rsa = CKK_RSA.to_ne_bytes();
    let (secret_class, private_class) =
        (CKO_SECRET_KEY.to_ne_bytes(), CKO_PRIVATE_KEY.to_ne_bytes());
    for (kind, params, takes_private) in cases {
        let mechanism = || Mechanism {
            kind: *kind,
            params: params(),
        };
        let (to, from) = match kind {
            &CKM_RSA_PKCS | &CKM_RSA_PKCS_OAEP | &CKM_RSA_AES_KEY_WRAP => (rsa_public, rsa_private),
            _ => (kek, kek),
        };
        for token in [YES, NO] {
            let Output::Length(len) = m.wrap_key(h, mechanism(), to, secret, None).unwrap() else {
                panic!()
            };
            assert!(
                matches!(
                    m.wrap_key(h, mechanism(), to, secret, Some(len - 1))
                        .unwrap(),
                    Output::TooSmall(_)
                ),
                "{kind:#x}"
            );
            let wrapped = bytes(m.wrap_key(h, mechanism(), to, secret, Some(len)).unwrap());
            let rows = &[
                (CKA_CLASS, &secret_class[..]),
                (CKA_KEY_TYPE, &aes),
                (CKA_SENSITIVE, NO),
                (CKA_TOKEN, token),
            ];
            let key = m
                .unwrap_key(h, mechanism(), from, &wrapped, template(rows))
                .unwrap();
            assert_eq!(
                bench.value(h, key, CKA_VALUE),
                bench.value(h, secret, CKA_VALUE),
                "{kind:#x}"
            );
            assert_eq!(bench.value(h, key, CKA_EXTRACTABLE).unwrap(), YES);
            assert_eq!(bench.value(h, key, CKA_LOCAL).unwrap(), NO);
            let mut damaged = wrapped.clone();
            damaged[3] ^= 1;
            let before = bench.store.len();
            match m
                .unwrap_key(h, mechanism(), from, &damaged, template(rows))
                .map_err(|e| e.rv())
            {
                // Nothing protects these modes, or what is damaged is not the padding.
                Ok(_) => assert!(matches!(kind, &CKM_AES_CBC | &CKM_AES_CBC_PAD), "{kind:#x}"),
                Err(rv) => {
                    assert_eq!(ck_name(rv), "CKR_WRAPPED_KEY_INVALID", "{kind:#x}");
                    assert_eq!(bench.store.len(), before);
                }
            }
        }
        let private = m.wrap_key(h, mechanism(), to, rsa_private, Some(4096));
        if !takes_private {
            // One key in eight has a length that these take.
            let lucky = matches!(kind, &CKM_AES_KEY_WRAP | &CKM_AES_CBC);
            assert!(private.is_err() || lucky, "{kind:#x}");
            continue;
        }
        let rows = &[
            (CKA_CLASS, &private_class[..]),
            (CKA_KEY_TYPE, &rsa),
            (CKA_SENSITIVE, NO),
        ];
        let back = m
            .unwrap_key(
                h,
                mechanism(),
                from,
                &bytes(private.unwrap()),
                template(rows),
            )
            .unwrap();
        assert_eq!(
            bench.value(h, back, CKA_PRIME_1),
            bench.value(h, rsa_private, CKA_PRIME_1),
            "{kind:#x}"
        );
    }
    let bare = || Mechanism::bare(CKM_AES_KEY_WRAP);
    refused(m.wrap_key(h, bare(), kek, kek, None), CKR_KEY_UNEXTRACTABLE);
    refused(
        m.wrap_key(h, bare(), 4711, secret, None),
        CKR_WRAPPING_KEY_HANDLE_INVALID,
    );
    refused(
        m.wrap_key(h, bare(), kek, 4711, None),
        CKR_KEY_HANDLE_INVALID,
    );
    refused(
        m.wrap_key(h, bare(), rsa_public, secret, None),
        CKR_WRAPPING_KEY_TYPE_INCONSISTENT,
    );
    refused(
        m.wrap_key(h, bare(), kek, rsa_public, None),
        CKR_KEY_NOT_WRAPPABLE,
    );
    refused(
        m.unwrap_key(h, bare(), 4711, &[0; 40], template(&[])),
        CKR_UNWRAPPING_KEY_HANDLE_INVALID,
    );
    refused(
        m.unwrap_key(h, bare(), kek, &[0; 40], template(&[])),
        CKR_TEMPLATE_INCOMPLETE,
    );
    let guarded = bench.generate(
        h,
        CKM_AES_KEY_GEN,
        &[
            AES_256,
            (CKA_EXTRACTABLE, YES),
            (CKA_WRAP_WITH_TRUSTED, YES),
        ],
    );
    refused(
        m.wrap_key(h, bare(), kek, guarded, None),
        CKR_KEY_NOT_WRAPPABLE,
    );
}

#[test]
fn data_are_encrypted_by_key_wrapping_as_keys_are_wrapped() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    let secret = bench.generate(
        h,
        CKM_AES_KEY_GEN,
        &[AES_256, (CKA_EXTRACTABLE, YES), (CKA_SENSITIVE, NO)],
    );
    let value = bench.value(h, secret, CKA_VALUE).unwrap();
    for (token, kind) in [YES, NO].into_iter().flat_map(|token| {
        [
            CKM_AES_KEY_WRAP,
            CKM_AES_KEY_WRAP_PAD,
            CKM_AES_KEY_WRAP_KWP,
            CKM_AES_KEY_WRAP_PKCS7,
        ]
        .map(|kind| (token, kind))
    }) {
        let kek = bench.generate(h, CKM_AES_KEY_GEN, &[AES_256, (CKA_TOKEN, token)]);
        let mechanism = || Some(Mechanism::bare(kind));
        let wrapped = bytes(
            m.wrap_key(h, mechanism().unwrap(), kek, secret, Some(64))
                .unwrap(),
        );
        m.encrypt_init(h, mechanism(), kek).unwrap();
        let Output::Length(len) = m.encrypt(h, &value, None).unwrap() else {
            panic!()
        };
        assert_eq!(len, wrapped.len());
        assert_eq!(bytes(m.encrypt(h, &value, Some(len)).unwrap()), wrapped);
        m.decrypt_init(h, mechanism(), kek).unwrap();
        assert_eq!(bytes(m.decrypt(h, &wrapped, Some(len)).unwrap()), value);
        // Parts wait for the end; what was changed shows.
        m.decrypt_init(h, mechanism(), kek).unwrap();
        assert!(bytes(m.decrypt_update(h, &wrapped[..7], Some(64)).unwrap()).is_empty());
        assert!(bytes(m.decrypt_update(h, &wrapped[7..], Some(64)).unwrap()).is_empty());
        assert_eq!(bytes(m.decrypt_final(h, Some(64)).unwrap()), value);
        let mut forged = wrapped.clone();
        forged[9] ^= 1;
        m.decrypt_init(h, mechanism(), kek).unwrap();
        refused(m.decrypt(h, &forged, Some(64)), CKR_ENCRYPTED_DATA_INVALID);
        m.decrypt_init(h, mechanism(), kek).unwrap();
        refused(
            m.decrypt(h, &wrapped[..15], Some(64)),
            CKR_ENCRYPTED_DATA_LEN_RANGE,
        );
        // Data are not filled up with zeros, as keys are.
        m.encrypt_init(h, mechanism(), kek).unwrap();
        match m.encrypt(h, &value[..31], Some(64)).map(bytes) {
            Ok(sealed) => assert_eq!(sealed.len(), 40),
            Err(e) => assert_eq!(
                (kind, ck_name(e.rv())),
                (CKM_AES_KEY_WRAP, "CKR_DATA_LEN_RANGE".into())
            ),
        }
    }
    // The longest, in two parts each; and one byte more.
    let (kek, longest) = (
        bench.generate(h, CKM_AES_KEY_GEN, &[AES_256]),
        vec![7; 1 << 20],
    );
    let mechanism = || Some(Mechanism::bare(CKM_AES_KEY_WRAP_PKCS7));
    let room = Some(longest.len() + 16);
    m.encrypt_init(h, mechanism(), kek).unwrap();
    for part in longest.chunks(1 << 19) {
        m.encrypt_update(h, part, room).unwrap();
    }
    let sealed = bytes(m.encrypt_final(h, room).unwrap());
    m.decrypt_init(h, mechanism(), kek).unwrap();
    for part in sealed.chunks(1 << 20) {
        m.decrypt_update(h, part, room).unwrap();
    }
    assert!(bytes(m.decrypt_final(h, room).unwrap()) == longest);
    let more = [&longest[..], b"1"].concat();
    m.encrypt_init(h, mechanism(), kek).unwrap();
    refused(
        m.encrypt(h, &more, Some(more.len() + 16)),
        CKR_DATA_LEN_RANGE,
    );
}

#[test]
fn keys_are_derived_alike_on_both_sides() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    for (kind, curve) in [
        (CKM_EC_KEY_PAIR_GEN, Curve::P256),
        (CKM_EC_MONTGOMERY_KEY_PAIR_GEN, Curve::X25519),
    ] {
        let rows = &[(CKA_EC_PARAMS, curve.params())];
        let pair = || {
            m.generate_key_pair(h, Mechanism::bare(kind), template(rows), template(&[]))
                .unwrap()
        };
        let (a, b) = (pair(), pair());
        let shared = |private, public, kdf, len: u64| {
            let public = bench.value(h, public, CKA_EC_POINT).unwrap();
            let params = Params::Ecdh1 {
                kdf,
                shared: Vec::new(),
                public,
            };
            let len = len.to_ne_bytes();
            let rows = &[
                (CKA_VALUE_LEN, &len[..]),
                (CKA_SENSITIVE, NO),
                (CKA_EXTRACTABLE, YES),
            ];
            let key = m
                .derive_key(
                    h,
                    Mechanism {
                        kind: CKM_ECDH1_DERIVE,
                        params,
                    },
                    private,
                    template(rows),
                )
                .unwrap();
            bench.value(h, key, CKA_VALUE).unwrap()
        };
        for (kdf, len) in [(CKD_NULL, 32), (CKD_NULL, 16), (CKD_SHA256_KDF, 70)] {
            let one = shared(a.1, b.0, kdf, len);
            assert_eq!(one, shared(b.1, a.0, kdf, len), "{curve:?}");
            assert_eq!(one.len() as u64, len);
        }
        let params = Params::Ecdh1 {
            kdf: CKD_NULL,
            shared: Vec::new(),
            public: vec![4; 9],
        };
        refused(
            m.derive_key(
                h,
                Mechanism {
                    kind: CKM_ECDH1_DERIVE,
                    params,
                },
                a.1,
                template(&[]),
            ),
            CKR_MECHANISM_PARAM_INVALID,
        );
    }
    let open: &[Row<'_>] = &[
        AES_256,
        (CKA_DERIVE, YES),
        (CKA_SENSITIVE, NO),
        (CKA_EXTRACTABLE, YES),
    ];
    let base = bench.generate(h, CKM_GENERIC_SECRET_KEY_GEN, open);
    let show: &[Row<'_>] = &[(CKA_SENSITIVE, NO), (CKA_EXTRACTABLE, YES)];
    let derive = |kind, params| {
        let key = m
            .derive_key(h, Mechanism { kind, params }, base, template(show))
            .unwrap();
        bench.value(h, key, CKA_VALUE).unwrap()
    };
    let value = bench.value(h, base, CKA_VALUE).unwrap();
    let data = |data: &[u8]| Params::DerivationString(Secret::new(data.to_vec()));
    assert_eq!(
        derive(CKM_CONCATENATE_BASE_AND_DATA, data(b"x")),
        [&value[..], b"x"].concat()
    );
    assert_eq!(
        derive(CKM_CONCATENATE_DATA_AND_BASE, data(b"x")),
        [b"x", &value[..]].concat()
    );
    assert_eq!(derive(CKM_XOR_BASE_AND_DATA, data(&value)), [0; 32]);
    assert_eq!(
        derive(CKM_CONCATENATE_BASE_AND_KEY, Params::Key(base)),
        [&value[..], &value[..]].concat()
    );
    let guarded = bench.generate(h, CKM_GENERIC_SECRET_KEY_GEN, &[AES_256, (CKA_DERIVE, YES)]);
    let concat = Mechanism {
        kind: CKM_CONCATENATE_BASE_AND_DATA,
        params: data(b"x"),
    };
    refused(
        m.derive_key(h, concat, guarded, template(show)),
        CKR_KEY_FUNCTION_NOT_PERMITTED,
    );
    let undeclared = bench.generate(h, CKM_GENERIC_SECRET_KEY_GEN, &[AES_256]);
    let concat = Mechanism {
        kind: CKM_CONCATENATE_BASE_AND_DATA,
        params: data(b"x"),
    };
    refused(
        m.derive_key(h, concat, undeclared, template(&[])),
        CKR_KEY_FUNCTION_NOT_PERMITTED,
    );
    let hkdf = |expand| Params::Hkdf {
        extract: true,
        expand,
        prf: CKM_SHA256,
        salt_type: CKF_HKDF_SALT_DATA,
        salt: b"salt".to_vec(),
        salt_key: 0,
        info: b"info".to_vec(),
    };
    assert_eq!(derive(CKM_HKDF_DERIVE, hkdf(false)).len(), 32);
    assert_eq!(derive(CKM_HKDF_DERIVE, hkdf(true)).len(), 32);
    let password = Params::Pbkdf2 {
        salt_source: CKZ_SALT_SPECIFIED,
        salt: b"salt".to_vec(),
        iterations: 2,
        prf: CKP_PKCS5_PBKD2_HMAC_SHA1,
        password: Secret::new(b"password".to_vec()),
    };
    let len = 20u64.to_ne_bytes();
    let rows = &[
        (CKA_VALUE_LEN, &len[..]),
        (CKA_SENSITIVE, NO),
        (CKA_EXTRACTABLE, YES),
    ];
    let key = m
        .generate_key(
            h,
            Mechanism {
                kind: CKM_PKCS5_PBKD2,
                params: password,
            },
            template(rows),
        )
        .unwrap();
    assert_eq!(
        bench.value(h, key, CKA_VALUE).unwrap()[..4],
        [0xea, 0x6c, 0x01, 0x4d]
    );
}
