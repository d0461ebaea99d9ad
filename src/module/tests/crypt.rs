//! Encryption, decryption and digests, here and in the store.

use super::*;

#[test]
fn a_key_in_the_store_encrypts_there_with_one_request_and_to_the_same_bytes() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    let value = [9; 32];
    let rows = |extra: &[Row<'static>]| {
        let class = CKO_SECRET_KEY.to_ne_bytes();
        let kind = CKK_AES.to_ne_bytes();
        let mut rows: Vec<Row<'_>> = vec![
            (CKA_CLASS, &class),
            (CKA_KEY_TYPE, &kind),
            (CKA_VALUE, &value),
        ];
        rows.extend_from_slice(extra);
        template(&rows)
    };
    let remote = m.create_object(h, rows(&[(CKA_TOKEN, YES)])).unwrap();
    let local = m.create_object(h, rows(&[])).unwrap();
    let text: Vec<u8> = (0..160u32).map(|i| i as u8).collect();
    bench.store.requests();
    for (kind, params) in ciphers() {
        let mechanism = || {
            Some(Mechanism {
                kind,
                params: params(),
            })
        };
        m.encrypt_init(h, mechanism(), local).unwrap();
        let expected = bytes(m.encrypt(h, &text, Some(1000)).unwrap());
        assert_eq!(bench.store.requests(), 0);

        m.encrypt_init(h, mechanism(), remote).unwrap();
        assert!(
            matches!(m.encrypt(h, &text, None).unwrap(), Output::Length(n) if n == expected.len()),
            "{kind:#x}"
        );
        assert!(
            matches!(m.encrypt(h, &text, Some(10)).unwrap(), Output::TooSmall(n) if n == expected.len())
        );
        let in_store = !matches!(kind, CKM_AES_OFB | CKM_AES_CFB8 | CKM_AES_CFB128);
        assert_eq!(
            bench.store.requests(),
            usize::from(!in_store),
            "a size query is free"
        );
        assert_eq!(
            bytes(m.encrypt(h, &text, Some(expected.len())).unwrap()),
            expected,
            "{kind:#x}"
        );
        assert_eq!(bench.store.requests(), usize::from(in_store));
        refused(
            m.encrypt(h, &text, Some(1000)),
            CKR_OPERATION_NOT_INITIALIZED,
        );

        m.decrypt_init(h, mechanism(), remote).unwrap();
        assert_eq!(
            bytes(m.decrypt(h, &expected, Some(1000)).unwrap()),
            text,
            "{kind:#x}"
        );
        assert_eq!(bench.store.requests(), 1);
        // In parts, byte by byte.
        for key in [remote, local] {
            let mut out = Vec::new();
            m.encrypt_init(h, mechanism(), key).unwrap();
            for byte in &text {
                out.extend(bytes(m.encrypt_update(h, &[*byte], Some(32)).unwrap()));
            }
            refused(
                m.encrypt(h, &text, Some(1000)),
                CKR_OPERATION_NOT_INITIALIZED,
            );
            out.clear();
            m.encrypt_init(h, mechanism(), key).unwrap();
            for part in text.chunks(7) {
                out.extend(bytes(m.encrypt_update(h, part, Some(32)).unwrap()));
            }
            out.extend(bytes(m.encrypt_final(h, Some(1000)).unwrap()));
            assert_eq!(out, expected, "{kind:#x} in parts");
            let mut back = Vec::new();
            m.decrypt_init(h, mechanism(), key).unwrap();
            for part in out.chunks(7) {
                back.extend(bytes(m.decrypt_update(h, part, Some(32)).unwrap()));
            }
            back.extend(bytes(m.decrypt_final(h, Some(1000)).unwrap()));
            assert_eq!(back, text, "{kind:#x} in parts");
        }
        bench.store.requests();
    }
}

#[test]
fn large_data_travels_in_few_requests() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    let key = bench.generate(h, CKM_AES_KEY_GEN, &[AES_256, (CKA_TOKEN, YES)]);
    let text: Vec<u8> = (0..700_001u32).map(|i| (i / 3) as u8).collect();
    for (kind, params) in ciphers() {
        let whole_blocks = matches!(kind, CKM_AES_ECB | CKM_AES_CBC);
        let text = if whole_blocks {
            &text[..700_000]
        } else {
            &text[..]
        };
        let mechanism = || {
            Some(Mechanism {
                kind,
                params: params(),
            })
        };
        m.encrypt_init(h, mechanism(), key).unwrap();
        let whole = bytes(m.encrypt(h, text, Some(800_000)).unwrap());
        bench.store.requests();
        m.encrypt_init(h, mechanism(), key).unwrap();
        let mut parts = Vec::new();
        for part in text.chunks(5_000) {
            let room = match m.encrypt_update(h, part, None).unwrap() {
                Output::Length(n) => n,
                other => panic!("{other:?}"),
            };
            parts.extend(bytes(m.encrypt_update(h, part, Some(room)).unwrap()));
        }
        parts.extend(bytes(m.encrypt_final(h, Some(800_000)).unwrap()));
        assert!(parts == whole, "{kind:#x}: parts differ from the whole");
        let requests = bench.store.requests();
        let most = if kind == CKM_AES_ECB { 140 } else { 11 };
        assert!(
            requests <= most,
            "{kind:#x}: {requests} requests for 140 parts of 11 x 64 KiB"
        );
        m.decrypt_init(h, mechanism(), key).unwrap();
        assert!(
            bytes(m.decrypt(h, &whole, Some(800_000)).unwrap()) == text,
            "{kind:#x}"
        );
    }
}

/// PyKCS11 has no buffer where it was told that nothing comes, and so would ask for the length once more and never give the part.
#[test]
fn nobody_is_told_that_a_part_gives_nothing() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    let text: Vec<u8> = (0..160u32).map(|i| i as u8).collect();
    let asked = |output: Output| match output {
        Output::Length(len) if len > 0 => Some(len),
        other => panic!("{other:?}"),
    };
    for (token, (kind, params)) in [YES, NO]
        .into_iter()
        .flat_map(|token| ciphers().into_iter().map(move |c| (token, c)))
    {
        let key = bench.generate(h, CKM_AES_KEY_GEN, &[AES_256, (CKA_TOKEN, token)]);
        let mechanism = || {
            Some(Mechanism {
                kind,
                params: params(),
            })
        };
        m.encrypt_init(h, mechanism(), key).unwrap();
        let mut secret = Vec::new();
        for part in text.chunks(7) {
            let room = asked(m.encrypt_update(h, part, None).unwrap());
            secret.extend(bytes(m.encrypt_update(h, part, room).unwrap()));
        }
        let room = asked(m.encrypt_final(h, None).unwrap());
        secret.extend(bytes(m.encrypt_final(h, room).unwrap()));
        m.decrypt_init(h, mechanism(), key).unwrap();
        let mut back = Vec::new();
        for part in secret.chunks(7) {
            let room = asked(m.decrypt_update(h, part, None).unwrap());
            back.extend(bytes(m.decrypt_update(h, part, room).unwrap()));
        }
        let room = asked(m.decrypt_final(h, None).unwrap());
        back.extend(bytes(m.decrypt_final(h, room).unwrap()));
        assert_eq!(back, text, "{kind:#x}");
    }
}

/// Java pads ECB by itself: however large its buffer was before, in the end there is room for the last block.
#[test]
fn whole_blocks_come_at_once_in_ecb_mode() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    for token in [YES, NO] {
        let key = bench.generate(h, CKM_AES_KEY_GEN, &[AES_256, (CKA_TOKEN, token)]);
        let ecb = || Some(Mechanism::bare(CKM_AES_ECB));
        m.encrypt_init(h, ecb(), key).unwrap();
        let mut secret = bytes(m.encrypt_update(h, &[7; 50], Some(1000)).unwrap());
        assert_eq!(secret.len(), 48);
        secret.extend(bytes(m.encrypt_update(h, &[7; 14], Some(16)).unwrap()));
        assert_eq!(bytes(m.encrypt_final(h, Some(0)).unwrap()), b"");
        m.decrypt_init(h, ecb(), key).unwrap();
        let mut text = bytes(m.decrypt_update(h, &secret[..48], Some(1000)).unwrap());
        text.extend(bytes(m.decrypt_update(h, &secret[48..], Some(16)).unwrap()));
        assert_eq!(bytes(m.decrypt_final(h, Some(0)).unwrap()), b"");
        assert_eq!(text, [7; 64]);
    }
}

#[test]
fn results_that_do_not_fit_are_kept() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    let key = bench.generate(h, CKM_AES_KEY_GEN, &[AES_256, (CKA_TOKEN, YES)]);
    let mechanism = || {
        Some(Mechanism {
            kind: CKM_AES_CBC_PAD,
            params: Params::Raw(vec![0; 16]),
        })
    };
    m.encrypt_init(h, mechanism(), key).unwrap();
    let sealed = bytes(m.encrypt(h, b"twenty bytes of text", Some(32)).unwrap());
    bench.store.requests();
    m.decrypt_init(h, mechanism(), key).unwrap();
    // The length is not the padding's.
    assert!(matches!(
        m.decrypt(h, &sealed, Some(3)).unwrap(),
        Output::TooSmall(31)
    ));
    assert_eq!(
        bytes(m.decrypt(h, &sealed, Some(20)).unwrap()),
        b"twenty bytes of text"
    );
    assert_eq!(bench.store.requests(), 1, "asked once");
    m.decrypt_init(h, mechanism(), key).unwrap();
    assert_eq!(
        bytes(m.decrypt_update(h, &sealed, Some(1000)).unwrap()),
        b""
    );
    assert!(matches!(
        m.decrypt_final(h, Some(0)).unwrap(),
        Output::TooSmall(31)
    ));
    assert_eq!(
        bytes(m.decrypt_final(h, Some(20)).unwrap()),
        b"twenty bytes of text"
    );
    assert_eq!(bench.store.requests(), 1);
    // Other data in between: the kept result is not theirs.
    m.decrypt_init(h, mechanism(), key).unwrap();
    // The length is not the padding's.
    assert!(matches!(
        m.decrypt(h, &sealed, Some(3)).unwrap(),
        Output::TooSmall(31)
    ));
    m.encrypt_init(h, mechanism(), key).unwrap();
    let other = bytes(m.encrypt(h, b"other text", Some(16)).unwrap());
    assert_eq!(
        bytes(m.decrypt(h, &other, Some(32)).unwrap()),
        b"other text"
    );
}

#[test]
fn operations_refuse_what_they_must_and_leave_nothing_active() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    let key = bench.generate(
        h,
        CKM_AES_KEY_GEN,
        &[AES_256, (CKA_DECRYPT, NO), (CKA_SIGN, NO)],
    );
    let secret = bench.generate(h, CKM_GENERIC_SECRET_KEY_GEN, &[AES_256]);
    let bound = bench.generate(
        h,
        CKM_AES_KEY_GEN,
        &[
            AES_256,
            (CKA_ALLOWED_MECHANISMS, &CKM_AES_GCM.to_ne_bytes()),
        ],
    );
    let ecb = || Some(Mechanism::bare(CKM_AES_ECB));
    let with = |kind, params| Some(Mechanism { kind, params });
    refused(m.encrypt(h, b"", None), CKR_OPERATION_NOT_INITIALIZED);
    refused(
        m.encrypt_init(h, with(CKM_AES_CBC, Params::Raw(vec![0; 15])), key),
        CKR_MECHANISM_PARAM_INVALID,
    );
    refused(
        m.encrypt_init(h, with(CKM_AES_ECB, Params::Raw(vec![0; 16])), key),
        CKR_MECHANISM_PARAM_INVALID,
    );
    refused(
        m.encrypt_init(
            h,
            with(
                CKM_AES_CTR,
                Params::Ctr {
                    bits: 0,
                    counter: [0; 16],
                },
            ),
            key,
        ),
        CKR_MECHANISM_PARAM_INVALID,
    );
    let gcm = |iv, tag_bits| {
        with(
            CKM_AES_GCM,
            Params::Gcm {
                iv,
                iv_bits: 96,
                aad: vec![],
                tag_bits,
            },
        )
    };
    refused(
        m.encrypt_init(h, gcm(vec![], 128), key),
        CKR_MECHANISM_PARAM_INVALID,
    );
    refused(
        m.encrypt_init(h, gcm(vec![0; 12], 129), key),
        CKR_MECHANISM_PARAM_INVALID,
    );
    refused(
        m.encrypt_init(h, Some(Mechanism::bare(0x7777_7777)), key),
        CKR_MECHANISM_INVALID,
    );
    refused(
        m.encrypt_init(h, Some(Mechanism::bare(CKM_SHA256)), key),
        CKR_MECHANISM_INVALID,
    );
    refused(m.encrypt_init(h, ecb(), 4711), CKR_KEY_HANDLE_INVALID);
    refused(m.encrypt_init(h, ecb(), secret), CKR_KEY_TYPE_INCONSISTENT);
    refused(m.encrypt_init(h, ecb(), bound), CKR_MECHANISM_INVALID);
    refused(
        m.decrypt_init(h, ecb(), key),
        CKR_KEY_FUNCTION_NOT_PERMITTED,
    );
    refused(
        m.sign_init(h, Some(Mechanism::bare(CKM_AES_CMAC)), key),
        CKR_KEY_FUNCTION_NOT_PERMITTED,
    );
    m.encrypt_init(h, ecb(), key).unwrap();
    refused(m.encrypt_init(h, ecb(), key), CKR_OPERATION_ACTIVE);
    refused(m.encrypt(h, &[0; 15], Some(100)), CKR_DATA_LEN_RANGE);
    refused(
        m.encrypt(h, &[0; 16], Some(100)),
        CKR_OPERATION_NOT_INITIALIZED,
    );
    m.encrypt_init(h, ecb(), key).unwrap();
    m.session_cancel(h, CKF_ENCRYPT).unwrap();
    m.encrypt_init(h, ecb(), key).unwrap();
    bytes(m.encrypt_update(h, &[0; 17], Some(100)).unwrap());
    refused(m.encrypt_final(h, Some(100)), CKR_DATA_LEN_RANGE);

    let gcm_key = bound;
    m.encrypt_init(h, gcm(vec![0; 12], 96), gcm_key).unwrap();
    let mut sealed = bytes(m.encrypt(h, b"hello", Some(17)).unwrap());
    sealed[0] ^= 1;
    m.decrypt_init(h, gcm(vec![0; 12], 96), gcm_key).unwrap();
    refused(m.decrypt(h, &sealed, Some(100)), CKR_ENCRYPTED_DATA_INVALID);
    m.decrypt_init(h, gcm(vec![0; 12], 96), gcm_key).unwrap();
    refused(
        m.decrypt(h, &sealed[..11], Some(100)),
        CKR_ENCRYPTED_DATA_LEN_RANGE,
    );
}

#[test]
fn a_key_that_is_no_longer_active_only_decrypts() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    bench.generate(h, CKM_AES_KEY_GEN, &[AES_256, (CKA_TOKEN, YES)]);
    bench
        .store
        .tamper(|meta| meta.state = Some(State::Deactivated));
    m.logout(h).unwrap();
    m.login(h, CKU_USER, Some(PIN)).unwrap();
    let key = bench.find(h, &[])[0];
    refused(
        m.encrypt_init(h, Some(Mechanism::bare(CKM_AES_ECB)), key),
        CKR_KEY_FUNCTION_NOT_PERMITTED,
    );
    m.decrypt_init(h, Some(Mechanism::bare(CKM_AES_ECB)), key)
        .unwrap();
    bytes(m.decrypt(h, &[0; 16], Some(16)).unwrap());
    bench
        .store
        .tamper(|meta| meta.state = Some(State::Destroyed));
}

#[test]
fn policy_decides_where_a_key_is_used() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    let bound = bench.generate(h, CKM_AES_KEY_GEN, &[AES_256, (CKA_TOKEN, YES)]);
    let free = bench.generate(
        h,
        CKM_AES_KEY_GEN,
        &[AES_256, (CKA_TOKEN, YES), (CKA_EXTRACTABLE, YES)],
    );
    let use_key = |key, kind, params| {
        m.encrypt_init(h, Some(Mechanism { kind, params }), key)?;
        m.encrypt(h, &[0; 16], Some(32)).map(bytes)
    };
    use_key(bound, CKM_AES_ECB, Params::None).unwrap();
    assert_eq!(bench.store.fetches(), 0, "its value stays where it is");
    use_key(free, CKM_AES_ECB, Params::None).unwrap();
    assert_eq!(bench.store.fetches(), 1);
    bench.policy(CryptoPolicy::Server);
    use_key(free, CKM_AES_ECB, Params::None).unwrap();
    refused(
        use_key(bound, CKM_AES_OFB, Params::Raw(vec![0; 16])),
        CKR_MECHANISM_INVALID,
    );
    assert_eq!(bench.store.fetches(), 1);
    bench.store.refuses.store(true, Ordering::Relaxed);
    refused(
        use_key(bound, CKM_AES_ECB, Params::None),
        CKR_MECHANISM_INVALID,
    );
    bench.policy(CryptoPolicy::Auto);
    use_key(bound, CKM_AES_ECB, Params::None).unwrap();
    assert_eq!(
        bench.store.fetches(),
        2,
        "a server that refuses is served by fetching"
    );
    bench.store.requests();
    use_key(bound, CKM_AES_ECB, Params::None).unwrap();
    assert_eq!(bench.store.requests(), 1, "and is not asked again");
    bench.store.keeps_only.store(true, Ordering::Relaxed);
    use_key(bound, CKM_AES_CBC, Params::Raw(vec![0; 16])).unwrap();
    bench.policy(CryptoPolicy::Local);
    use_key(free, CKM_AES_ECB, Params::None).unwrap();
}

#[test]
fn two_operations_on_the_same_data() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    let key = bench.generate(h, CKM_AES_KEY_GEN, &[AES_256]);
    let cbc = || {
        Some(Mechanism {
            kind: CKM_AES_CBC,
            params: Params::Raw(vec![0; 16]),
        })
    };
    refused(
        m.digest_encrypt_update(h, &[0; 16], Some(16)),
        CKR_OPERATION_NOT_INITIALIZED,
    );
    m.digest_init(h, Some(Mechanism::bare(CKM_SHA_1))).unwrap();
    m.encrypt_init(h, cbc(), key).unwrap();
    assert!(matches!(
        m.digest_encrypt_update(h, &[5; 16], None).unwrap(),
        Output::Length(16)
    ));
    let sealed = bytes(m.digest_encrypt_update(h, &[5; 16], Some(16)).unwrap());
    m.encrypt_final(h, Some(0)).unwrap();
    let digest = bytes(m.digest_final(h, Some(20)).unwrap());
    m.digest_init(h, Some(Mechanism::bare(CKM_SHA_1))).unwrap();
    assert_eq!(
        bytes(m.digest(h, &[5; 16], Some(20)).unwrap()),
        digest,
        "the size query was not digested"
    );
    m.digest_init(h, Some(Mechanism::bare(CKM_SHA_1))).unwrap();
    m.decrypt_init(h, cbc(), key).unwrap();
    assert_eq!(
        bytes(m.decrypt_digest_update(h, &sealed, Some(16)).unwrap()),
        [5; 16]
    );
    assert_eq!(bytes(m.digest_final(h, Some(20)).unwrap()), digest);
}

#[test]
fn digests_whole_and_in_parts() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = m.open_session(bench.slot, RO).unwrap();
    let sha = || Some(Mechanism::bare(CKM_SHA256));
    m.digest_init(h, sha()).unwrap();
    assert!(matches!(
        m.digest(h, b"abc", None).unwrap(),
        Output::Length(32)
    ));
    assert!(matches!(
        m.digest(h, b"abc", Some(31)).unwrap(),
        Output::TooSmall(32)
    ));
    let whole = bytes(m.digest(h, b"abc", Some(32)).unwrap());
    assert_eq!(whole[..4], [0xba, 0x78, 0x16, 0xbf]);
    m.digest_init(h, sha()).unwrap();
    m.digest_update(h, b"a").unwrap();
    m.digest_update(h, b"bc").unwrap();
    refused(m.digest(h, b"", Some(32)), CKR_OPERATION_NOT_INITIALIZED);
    m.digest_init(h, sha()).unwrap();
    m.digest_update(h, b"abc").unwrap();
    assert_eq!(bytes(m.digest_final(h, Some(32)).unwrap()), whole);
    refused(m.digest_final(h, Some(32)), CKR_OPERATION_NOT_INITIALIZED);
    refused(m.operation_state(h, None), CKR_OPERATION_NOT_INITIALIZED);
    m.digest_init(h, sha()).unwrap();
    m.digest_update(h, b"ab").unwrap();
    let Output::Length(len) = m.operation_state(h, None).unwrap() else {
        panic!()
    };
    let state = bytes(m.operation_state(h, Some(len)).unwrap());
    let other = m.open_session(bench.slot, RO).unwrap();
    refused(
        m.set_operation_state(other, &state, 1, 0),
        CKR_KEY_NOT_NEEDED,
    );
    refused(
        m.set_operation_state(other, &state[..9], 0, 0),
        CKR_SAVED_STATE_INVALID,
    );
    refused(
        m.set_operation_state(other, b"", 0, 0),
        CKR_SAVED_STATE_INVALID,
    );
    m.set_operation_state(other, &state, 0, 0).unwrap();
    assert_ne!(
        m.token_info(bench.slot).unwrap().flags & CKF_RESTORE_KEY_NOT_NEEDED,
        0
    );
    for h in [h, other] {
        m.digest_update(h, b"c").unwrap();
        assert_eq!(bytes(m.digest_final(h, Some(32)).unwrap()), whole);
    }
    // Not every operation is one that states are saved of.
    let gcm = bench.generate(h, CKM_AES_KEY_GEN, &[AES_256, (CKA_PRIVATE, NO)]);
    m.message_encrypt_init(h, Some(Mechanism::bare(CKM_AES_GCM)), gcm)
        .unwrap();
    refused(m.operation_state(h, None), CKR_OPERATION_NOT_INITIALIZED);
    m.encrypt_init(h, Some(Mechanism::bare(CKM_AES_ECB)), gcm)
        .unwrap();
    refused(m.operation_state(h, None), CKR_STATE_UNSAVEABLE);
    m.session_cancel(h, CKF_MESSAGE_ENCRYPT | CKF_ENCRYPT)
        .unwrap();
    // A state with a key in it would give the key away.
    let key = bench.generate(h, CKM_GENERIC_SECRET_KEY_GEN, &[AES_256, (CKA_PRIVATE, NO)]);
    m.digest_init(h, sha()).unwrap();
    m.digest_key(h, key).unwrap();
    refused(m.operation_state(h, None), CKR_STATE_UNSAVEABLE);
    m.digest_init(h, None).unwrap();
    assert_eq!(m.generate_random(h, 40).unwrap().len(), 40);
    refused(m.generate_random(h, usize::MAX), CKR_ARGUMENTS_BAD);
    m.seed_random(h, b"x").unwrap();
    assert_ne!(
        m.generate_random(h, 40).unwrap(),
        m.generate_random(h, 40).unwrap()
    );
    refused(m.seed_random(99_999, b"x"), CKR_SESSION_HANDLE_INVALID);
}
