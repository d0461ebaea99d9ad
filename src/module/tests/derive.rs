//! Keys made of other keys and of passwords, by the standards' vectors.

use super::*;
use crate::crypto::unhex;
use crate::mech::{CounterFormat, PrfPart};

const OPEN: [Row<'static>; 2] = [(CKA_SENSITIVE, NO), (CKA_EXTRACTABLE, YES)];

impl Bench {
    /// A secret key that may be looked at and derived from.
    fn base(&self, h: CK_SESSION_HANDLE, key_type: CK_KEY_TYPE, value: &[u8]) -> CK_OBJECT_HANDLE {
        self.secret(h, key_type, value, &[(CKA_DERIVE, YES)])
    }

    fn secret(
        &self,
        h: CK_SESSION_HANDLE,
        key_type: CK_KEY_TYPE,
        value: &[u8],
        rows: &[Row<'_>],
    ) -> CK_OBJECT_HANDLE {
        let (class, key_type) = (CKO_SECRET_KEY.to_ne_bytes(), key_type.to_ne_bytes());
        let key = [
            (CKA_CLASS, &class[..]),
            (CKA_KEY_TYPE, &key_type),
            (CKA_VALUE, value),
        ];
        self.module
            .create_object(h, template(&[&key, rows, &OPEN].concat()))
            .unwrap()
    }

    /// The private key of a scalar on a curve.
    fn private(
        &self,
        h: CK_SESSION_HANDLE,
        key_type: CK_KEY_TYPE,
        curve: Curve,
        scalar: &[u8],
    ) -> CK_OBJECT_HANDLE {
        let (class, key_type) = (CKO_PRIVATE_KEY.to_ne_bytes(), key_type.to_ne_bytes());
        let params = curve.params();
        let rows = [
            (CKA_CLASS, &class[..]),
            (CKA_KEY_TYPE, &key_type),
            (CKA_EC_PARAMS, params),
            (CKA_VALUE, scalar),
            (CKA_DERIVE, YES),
        ];
        self.module.create_object(h, template(&rows)).unwrap()
    }

    fn derive(
        &self,
        h: CK_SESSION_HANDLE,
        kind: CK_MECHANISM_TYPE,
        params: Params,
        base: CK_OBJECT_HANDLE,
        rows: &[Row<'_>],
    ) -> Result<CK_OBJECT_HANDLE> {
        self.module
            .derive_key(h, Mechanism { kind, params }, base, template(rows))
    }

    /// The value of a derived generic secret of `len` bytes.
    fn derived(
        &self,
        h: CK_SESSION_HANDLE,
        kind: CK_MECHANISM_TYPE,
        params: Params,
        base: CK_OBJECT_HANDLE,
        len: u64,
    ) -> Vec<u8> {
        let len = len.to_ne_bytes();
        let key = self
            .derive(
                h,
                kind,
                params,
                base,
                &[&OPEN[..], &[(CKA_VALUE_LEN, &len)]].concat(),
            )
            .unwrap();
        self.value(h, key, CKA_VALUE).unwrap()
    }
}

fn ecdh(kdf: CK_ULONG, shared: &[u8], public: &[u8]) -> Params {
    Params::Ecdh1 {
        kdf,
        shared: shared.to_vec(),
        public: public.to_vec(),
    }
}

/// NIST's "ECC CDH Primitive" vectors, the first of P-256.
#[test]
fn agreed_secrets() {
    let bench = Bench::new();
    let h = bench.user();
    let nist = bench.private(
        h,
        CKK_EC,
        Curve::P256,
        &unhex("7d7dc5f71eb29ddaf80d6214632eeae03d9058af1fb6d22ed80badb62bc1a534"),
    );
    let point = unhex(
        "04700c48f77f56584c5cc632ca65640db91b6bacce3a4df6b42ce7cc838833d287db71e509e3fd9b060ddb20ba5c51dcc5948d46fbf640dfe0441782cab85fa4ac",
    );
    let secret = unhex("46fc62106420ff012e54a434fbdd2d25ccc5852060561e68040dd7778997bd7b");
    for kind in [CKM_ECDH1_DERIVE, CKM_ECDH1_COFACTOR_DERIVE] {
        assert_eq!(
            bench.derived(h, kind, ecdh(CKD_NULL, b"", &point), nist, 32),
            secret
        );
        let wrapped = [&[0x04, 65][..], &point].concat();
        assert_eq!(
            bench.derived(h, kind, ecdh(CKD_NULL, b"", &wrapped), nist, 32),
            secret,
            "in an OCTET STRING too"
        );
        assert_eq!(
            bench.derived(h, kind, ecdh(CKD_NULL, b"", &point), nist, 20),
            secret[12..],
            "the leading bytes go"
        );
    }
    let once = |parts: &[&[u8]]| {
        crate::crypto::hash::digest(crate::crypto::Hash::Sha256, &parts.concat()).unwrap()
    };
    let made = bench.derived(
        h,
        CKM_ECDH1_DERIVE,
        ecdh(CKD_SHA256_KDF, b"info", &point),
        nist,
        40,
    );
    let expected = [
        once(&[&secret, &[0, 0, 0, 1], b"info"]),
        once(&[&secret, &[0, 0, 0, 2], b"info"]),
    ]
    .concat();
    assert_eq!(made, expected[..40]);
    let made = bench.derived(
        h,
        CKM_ECDH1_DERIVE,
        ecdh(CKD_SHA256_KDF_SP800, b"info", &point),
        nist,
        32,
    );
    assert_eq!(made, once(&[&[0, 0, 0, 1], &secret, b"info"]));
    for (params, rows, rv) in [
        (
            ecdh(CKD_NULL, b"info", &point),
            &[][..],
            CKR_MECHANISM_PARAM_INVALID,
        ),
        (ecdh(99, b"", &point), &[], CKR_MECHANISM_PARAM_INVALID),
        (
            ecdh(CKD_NULL, b"", &point[..64]),
            &[],
            CKR_MECHANISM_PARAM_INVALID,
        ),
        (
            ecdh(CKD_NULL, b"", &[&point[..64], &[0]].concat()),
            &[],
            CKR_MECHANISM_PARAM_INVALID,
        ),
        (Params::None, &[], CKR_MECHANISM_PARAM_INVALID),
        (
            ecdh(CKD_NULL, b"", &point),
            &[(CKA_VALUE_LEN, &33u64.to_ne_bytes()[..])],
            CKR_KEY_SIZE_RANGE,
        ),
        (
            ecdh(CKD_NULL, b"", &point),
            &[(CKA_KEY_TYPE, &CKK_RSA.to_ne_bytes()[..])],
            CKR_TEMPLATE_INCONSISTENT,
        ),
        (
            ecdh(CKD_NULL, b"", &point),
            &[(CKA_CLASS, &CKO_DATA.to_ne_bytes()[..])],
            CKR_TEMPLATE_INCONSISTENT,
        ),
        (
            ecdh(CKD_NULL, b"", &point),
            &[(CKA_VALUE, &[1; 32][..])],
            CKR_TEMPLATE_INCONSISTENT,
        ),
    ] {
        refused(bench.derive(h, CKM_ECDH1_DERIVE, params, nist, rows), rv);
    }
}

#[test]
fn what_is_agreed_on_for_a_session_may_be_read_unless_somebody_says_no() {
    let bench = Bench::new();
    let h = bench.user();
    let scalar = unhex("7d7dc5f71eb29ddaf80d6214632eeae03d9058af1fb6d22ed80badb62bc1a534");
    let base = bench.private(h, CKK_EC, Curve::P256, &scalar);
    let point = bench
        .value(h, base, CKA_PUBLIC_KEY_INFO)
        .map(|spki| spki[spki.len() - 65..].to_vec())
        .unwrap();
    let (sensitive, extractable) = (CKA_SENSITIVE, CKA_EXTRACTABLE);
    for (rows, open) in [
        (&[][..], true),
        (&[(sensitive, NO)], true),
        (&[(extractable, YES)], true),
        (&[(sensitive, YES)], false),
        (&[(extractable, NO)], false),
        (&[(sensitive, NO), (extractable, NO)], false),
        (&[(sensitive, YES), (extractable, YES)], false),
        (&[(sensitive, NO), (CKA_TOKEN, YES)], false),
    ] {
        let key = bench
            .derive(h, CKM_ECDH1_DERIVE, ecdh(CKD_NULL, b"", &point), base, rows)
            .unwrap();
        assert_eq!(bench.value(h, key, CKA_VALUE).is_some(), open, "{rows:x?}");
    }
}

/// RFC 7748, 5.2.
#[test]
fn x25519() {
    let bench = Bench::new();
    let h = bench.user();
    let alice = unhex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4");
    let alice = bench.private(h, CKK_EC_MONTGOMERY, Curve::X25519, &alice);
    let bob = unhex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c");
    let secret = unhex("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552");
    assert_eq!(
        bench.derived(h, CKM_ECDH1_DERIVE, ecdh(CKD_NULL, b"", &bob), alice, 32),
        secret
    );
    // A point of small order gives nothing to agree on.
    assert!(
        bench
            .derive(
                h,
                CKM_ECDH1_DERIVE,
                ecdh(CKD_NULL, b"", &[0; 32]),
                alice,
                &OPEN
            )
            .is_err()
    );
}

fn hkdf(extract: bool, expand: bool, salt: &[u8], info: &[u8]) -> Params {
    let (salt_type, salt) = (
        if salt.is_empty() {
            CKF_HKDF_SALT_NULL
        } else {
            CKF_HKDF_SALT_DATA
        },
        salt.to_vec(),
    );
    Params::Hkdf {
        extract,
        expand,
        prf: CKM_SHA256,
        salt_type,
        salt,
        salt_key: 0,
        info: info.to_vec(),
    }
}

/// RFC 5869, A.1 and A.3.
#[test]
fn hkdf_in_one_step_and_in_two() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    let (salt, info): (Vec<u8>, Vec<u8>) = ((0..13).collect(), (0xf0..0xfa).collect());
    let prk = unhex("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5");
    let okm = unhex(
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    );
    let base = bench.base(h, CKK_HKDF, &[0x0b; 22]);
    assert_eq!(
        bench.derived(h, CKM_HKDF_DERIVE, hkdf(true, true, &salt, &info), base, 42),
        okm
    );
    assert_eq!(
        bench.derived(h, CKM_HKDF_DERIVE, hkdf(true, false, &salt, &[]), base, 32),
        prk
    );
    // A template without a length gets as much as the hash gives.
    let open: &[Row<'_>] = &[(CKA_SENSITIVE, NO), (CKA_EXTRACTABLE, YES)];
    let short = bench
        .derive(
            h,
            CKM_HKDF_DERIVE,
            hkdf(true, true, &salt, &info),
            base,
            open,
        )
        .unwrap();
    assert_eq!(bench.value(h, short, CKA_VALUE).unwrap(), okm[..32]);
    let bare = unhex(
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    );
    assert_eq!(
        bench.derived(h, CKM_HKDF_DERIVE, hkdf(true, true, &[], &[]), base, 42),
        bare
    );
    let middle = bench.base(h, CKK_GENERIC_SECRET, &prk);
    assert_eq!(
        bench.derived(
            h,
            CKM_HKDF_DERIVE,
            hkdf(false, true, &[], &info),
            middle,
            42
        ),
        okm
    );

    let salted = |salt_key| {
        let (salt_type, prf) = (CKF_HKDF_SALT_KEY, CKM_SHA256);
        Params::Hkdf {
            extract: true,
            expand: true,
            prf,
            salt_type,
            salt: Vec::new(),
            salt_key,
            info: info.clone(),
        }
    };
    let salt_key = bench.base(h, CKK_GENERIC_SECRET, &salt);
    assert_eq!(
        bench.derived(h, CKM_HKDF_DERIVE, salted(salt_key), base, 42),
        okm
    );
    let idle = bench.secret(h, CKK_GENERIC_SECRET, &salt, &[]);
    refused(
        bench.derive(h, CKM_HKDF_DERIVE, salted(idle), base, &[AES_256]),
        CKR_KEY_FUNCTION_NOT_PERMITTED,
    );
    refused(
        bench.derive(h, CKM_HKDF_DERIVE, salted(4711), base, &[AES_256]),
        CKR_KEY_HANDLE_INVALID,
    );
    refused(
        bench.derive(
            h,
            CKM_HKDF_DERIVE,
            hkdf(false, false, &[], &[]),
            base,
            &[AES_256],
        ),
        CKR_MECHANISM_PARAM_INVALID,
    );
    let long = (255u64 * 32 + 1).to_ne_bytes();
    let rows = [(CKA_VALUE_LEN, &long[..])];
    assert!(
        bench
            .derive(h, CKM_HKDF_DERIVE, hkdf(true, true, &[], &[]), base, &rows)
            .is_err()
    );

    // The same as data, which have no length of their own in a template.
    let len = 42u64.to_ne_bytes();
    for (rows, len) in [
        (
            &[(CKA_VALUE_LEN, &len[..]), (CKA_APPLICATION, b"app")][..],
            42,
        ),
        (&[], 32),
    ] {
        let data = bench
            .derive(h, CKM_HKDF_DATA, hkdf(true, true, &salt, &info), base, rows)
            .unwrap();
        assert_eq!(
            bench.value(h, data, CKA_CLASS).unwrap(),
            CKO_DATA.to_ne_bytes()
        );
        assert_eq!(bench.value(h, data, CKA_VALUE).unwrap(), okm[..len]);
    }
    let key = bench
        .derive(
            h,
            CKM_HKDF_DERIVE,
            hkdf(true, true, &salt, &info),
            base,
            &[AES_256, (CKA_TOKEN, YES)],
        )
        .unwrap();
    m.sign_init(h, Some(Mechanism::bare(CKM_SHA256_HMAC)), key)
        .unwrap();
    let code = bytes(m.sign(h, b"text", Some(32)).unwrap());
    assert_eq!(
        code,
        crate::crypto::mac::hmac(crate::crypto::Hash::Sha256, &okm[..32], b"text").unwrap()
    );
}

/// NIST's vectors of SP 800-108 in counter mode: HMAC-SHA-256 and CMAC-AES-128, the counter of 8 bits first.
#[test]
fn counter_mode_with_hmac_and_cmac() {
    let bench = Bench::new();
    let h = bench.user();
    let counter = || {
        PrfPart::Iteration(Some(CounterFormat {
            little_endian: false,
            bits: 8,
        }))
    };
    for (prf, key_type, key, fixed, made) in [
        (
            CKM_SHA256_HMAC,
            CKK_GENERIC_SECRET,
            "3edc6b5b8f7aadbd713732b482b8f979286e1ea3b8f8f99c30c884cfe3349b83",
            "98e9988bb4cc8b34d7922e1c68ad692ba2a1d9ae15149571675f17a77ad49e80c8d2a85e831a26445b1f0ff44d7084a17206b4896c8112daad18605a",
            "6c037652990674a07844732d0ad985f9",
        ),
        (
            CKM_AES_CMAC,
            CKK_AES,
            "dff1e50ac0b69dc40f1051d46c2b069c",
            "c16e6e02c5a3dcc8d78b9ac1306877761310455b4e41469951d9e6c2245a064b33fd8c3b01203a7824485bf0a64060c4648b707d2607935699316ea5",
            "8be8f0869b3c0ba97b71863d1b9f7813",
        ),
    ] {
        let base = bench.base(h, key_type, &unhex(key));
        let with = |prf, parts| Params::Sp800108 {
            prf,
            parts,
            iv: Vec::new(),
            more_keys: Vec::new(),
        };
        let parts = || vec![counter(), PrfPart::Bytes(unhex(fixed))];
        assert_eq!(
            bench.derived(h, CKM_SP800_108_COUNTER_KDF, with(prf, parts()), base, 16),
            unhex(made),
            "{prf:#x}"
        );
        for (params, rv) in [
            (
                with(prf, vec![PrfPart::Bytes(unhex(fixed))]),
                CKR_MECHANISM_PARAM_INVALID,
            ),
            (with(CKM_SHA256, parts()), CKR_MECHANISM_PARAM_INVALID),
            (with(CKM_DES3_CMAC, parts()), CKR_KEY_TYPE_INCONSISTENT),
        ] {
            refused(
                bench.derive(h, CKM_SP800_108_COUNTER_KDF, params, base, &[AES_256]),
                rv,
            );
        }
    }
}

/// Several keys at once, each from blocks of its own, and guarded as the base key where their templates are silent.
#[test]
fn one_derivation_makes_several_keys_or_none() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    let format = CounterFormat {
        little_endian: false,
        bits: 32,
    };
    let parts = |sum_of_segments, other| {
        let length = PrfPart::Length {
            sum_of_segments,
            format,
        };
        vec![
            PrfPart::Iteration(Some(format)),
            PrfPart::Bytes(b"label".to_vec()),
            PrfPart::Key(other),
            length,
        ]
    };
    let (base, other) = (
        bench.base(h, CKK_GENERIC_SECRET, &[7; 32]),
        bench.base(h, CKK_GENERIC_SECRET, b"other"),
    );
    let generic = CKK_GENERIC_SECRET.to_ne_bytes();
    let len = |n: CK_ULONG| n.to_ne_bytes();
    let derive = |parts, rows: &[&[Row<'_>]]| {
        let more_keys = rows[1..].iter().map(|rows| template(rows)).collect();
        let params = Params::Sp800108 {
            prf: CKM_SHA256_HMAC,
            parts,
            iv: Vec::new(),
            more_keys,
        };
        m.derive_keys(
            h,
            Mechanism {
                kind: CKM_SP800_108_COUNTER_KDF,
                params,
            },
            base,
            template(rows[0]),
        )
    };
    let block = |i: u32, bits: u32| {
        let input = [
            &i.to_be_bytes()[..],
            b"label",
            b"other",
            &bits.to_be_bytes(),
        ]
        .concat();
        crate::crypto::mac::hmac(crate::crypto::Hash::Sha256, &[7; 32], &input).unwrap()
    };
    // The example of the standard: 48 and 16 bytes of blocks of 32 are 512 bits of keys and 768 of segments.
    for (sum_of_segments, bits) in [(false, 512), (true, 768)] {
        let rows: [&[Row<'_>]; 2] = [
            &[
                (CKA_KEY_TYPE, &generic),
                (CKA_VALUE_LEN, &len(48)),
                (CKA_TOKEN, YES),
            ],
            &[
                (CKA_KEY_TYPE, &CKK_AES.to_ne_bytes()),
                (CKA_VALUE_LEN, &len(16)),
            ],
        ];
        let keys = derive(parts(sum_of_segments, other), &rows).unwrap();
        assert_eq!(keys.len(), 2);
        assert_eq!(
            bench.value(h, keys[0], CKA_VALUE).unwrap(),
            [block(1, bits), block(2, bits)].concat()[..48]
        );
        assert_eq!(
            bench.value(h, keys[1], CKA_VALUE).unwrap(),
            block(3, bits)[..16]
        );
        assert_eq!(
            bench.value(h, keys[1], CKA_KEY_TYPE).unwrap(),
            CKK_AES.to_ne_bytes()
        );
    }
    let before = bench.store.len();
    let good: &[Row<'_>] = &[(CKA_VALUE_LEN, &len(16)), (CKA_TOKEN, YES)];
    let bad: &[Row<'_>] = &[
        (CKA_KEY_TYPE, &CKK_AES.to_ne_bytes()),
        (CKA_VALUE_LEN, &len(17)),
    ];
    let wrong_check: &[Row<'_>] = &[(CKA_VALUE_LEN, &len(16)), (CKA_CHECK_VALUE, b"abc")];
    for (rows, template, rv) in [
        ([good, bad, good], Some(0), CKR_TEMPLATE_INCONSISTENT),
        ([good, good, &[]], None, CKR_TEMPLATE_INCOMPLETE),
        (
            [good, good, &[(CKA_CLASS, b"?")]],
            Some(1),
            CKR_ATTRIBUTE_VALUE_INVALID,
        ),
        (
            [good, good, wrong_check],
            Some(1),
            CKR_ATTRIBUTE_VALUE_INVALID,
        ),
        ([bad, good, good], None, CKR_TEMPLATE_INCONSISTENT),
    ] {
        let e = derive(parts(false, other), &rows).unwrap_err();
        assert_eq!((e.template, e.error.rv()), (template, rv));
    }
    assert_eq!(bench.store.len(), before, "all or none");
    // Another key that goes in must allow it, and must be one.
    let shut = bench.secret(h, CKK_GENERIC_SECRET, b"other", &[(CKA_DERIVE, NO)]);
    for (handle, rv) in [
        (shut, CKR_KEY_FUNCTION_NOT_PERMITTED),
        (4711, CKR_KEY_HANDLE_INVALID),
    ] {
        assert_eq!(
            derive(parts(false, handle), &[good])
                .unwrap_err()
                .error
                .rv(),
            rv
        );
    }
}

/// RFC 6070, case 2, and RFC 7914, section 11.
#[test]
fn keys_of_passwords() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    let params = |prf, iterations, password: &[u8]| {
        let (salt, password) = (b"salt".to_vec(), Secret::new(password.to_vec()));
        Params::Pbkdf2 {
            salt_source: CKZ_SALT_SPECIFIED,
            salt,
            iterations,
            prf,
            password,
        }
    };
    let make = |params, rows: &[Row<'_>]| {
        m.generate_key(
            h,
            Mechanism {
                kind: CKM_PKCS5_PBKD2,
                params,
            },
            template(&[&OPEN[..], rows].concat()),
        )
    };
    for (prf, iterations, password, key) in [
        (
            CKP_PKCS5_PBKD2_HMAC_SHA1,
            2,
            &b"password"[..],
            "ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957",
        ),
        (
            CKP_PKCS5_PBKD2_HMAC_SHA256,
            1,
            b"passwd",
            "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc",
        ),
    ] {
        let key = unhex(key);
        let made = make(
            params(prf, iterations, password),
            &[(CKA_VALUE_LEN, &key.len().to_ne_bytes())],
        )
        .unwrap();
        assert_eq!(bench.value(h, made, CKA_VALUE).unwrap(), key);
        assert_eq!(
            bench.value(h, made, CKA_KEY_GEN_MECHANISM).unwrap(),
            CKM_PKCS5_PBKD2.to_ne_bytes()
        );
    }
    let sha1 = CKP_PKCS5_PBKD2_HMAC_SHA1;
    let aes = make(
        params(sha1, 1, b""),
        &[AES_256, (CKA_KEY_TYPE, &CKK_AES.to_ne_bytes())],
    )
    .unwrap();
    assert_eq!(
        bench.value(h, aes, CKA_KEY_TYPE).unwrap(),
        CKK_AES.to_ne_bytes()
    );
    refused(
        make(params(sha1, 0, b"p"), &[AES_256]),
        CKR_MECHANISM_PARAM_INVALID,
    );
    refused(
        make(params(sha1, CK_ULONG::MAX, b"p"), &[AES_256]),
        CKR_MECHANISM_PARAM_INVALID,
    );
    refused(
        make(params(99, 1, b"p"), &[AES_256]),
        CKR_MECHANISM_PARAM_INVALID,
    );
    refused(make(Params::None, &[AES_256]), CKR_MECHANISM_PARAM_INVALID);
    refused(make(params(sha1, 1, b"p"), &[]), CKR_TEMPLATE_INCOMPLETE);
    refused(
        make(
            params(sha1, 1, b"p"),
            &[AES_256, (CKA_KEY_TYPE, &CKK_EC.to_ne_bytes())],
        ),
        CKR_TEMPLATE_INCONSISTENT,
    );
}

#[test]
fn pieces_digests_and_encryptions_of_keys() {
    let bench = Bench::new();
    let h = bench.user();
    // The example of CKM_EXTRACT_KEY_FROM_KEY in the standard.
    let key = bench.base(h, CKK_GENERIC_SECRET, &[0x32, 0x9f, 0x84, 0xa9]);
    assert_eq!(
        bench.derived(h, CKM_EXTRACT_KEY_FROM_KEY, Params::Number(21), key, 2),
        [0x95, 0x26]
    );
    refused(
        bench.derive(h, CKM_EXTRACT_KEY_FROM_KEY, Params::Number(21), key, &[]),
        CKR_TEMPLATE_INCOMPLETE,
    );
    refused(
        bench.derive(
            h,
            CKM_EXTRACT_KEY_FROM_KEY,
            Params::Number(0),
            key,
            &[AES_256],
        ),
        CKR_KEY_SIZE_RANGE,
    );

    let sha1 = unhex("a9993e364706816aba3e25717850c26c9cd0d89d");
    let abc = bench.base(h, CKK_GENERIC_SECRET, b"abc");
    assert_eq!(
        bench.derived(h, CKM_SHA1_KEY_DERIVATION, Params::None, abc, 20),
        sha1
    );
    refused(
        bench.derive(h, CKM_SHA1_KEY_DERIVATION, Params::None, abc, &[AES_256]),
        CKR_KEY_SIZE_RANGE,
    );

    // FIPS 197, C.1.
    let aes = bench.base(h, CKK_AES, &(0..16).collect::<Vec<u8>>());
    let text = unhex("00112233445566778899aabbccddeeff");
    let data = Params::DerivationString(Secret::new(text.clone()));
    let sealed = unhex("69c4e0d86a7b0430d8cdb78070b4c55a");
    assert_eq!(
        bench.derived(h, CKM_AES_ECB_ENCRYPT_DATA, data, aes, 16),
        sealed
    );
    let cbc = Params::CbcEncryptData {
        iv: vec![0; 16],
        data: Secret::new(text),
    };
    assert_eq!(
        bench.derived(h, CKM_AES_CBC_ENCRYPT_DATA, cbc, aes, 16),
        sealed
    );
    let odd = Params::DerivationString(Secret::new(vec![0; 15]));
    refused(
        bench.derive(h, CKM_AES_ECB_ENCRYPT_DATA, odd, aes, &OPEN),
        CKR_MECHANISM_PARAM_INVALID,
    );

    let zeros = bench.base(h, CKK_GENERIC_SECRET, &[0; 30]);
    let des3 = CKK_DES3.to_ne_bytes();
    let des = [&OPEN[..], &[(CKA_KEY_TYPE, &des3)]].concat();
    let join = || Params::DerivationString(Secret::new(b"x".to_vec()));
    let des = bench
        .derive(h, CKM_CONCATENATE_BASE_AND_DATA, join(), zeros, &des)
        .unwrap();
    assert_eq!(
        bench.value(h, des, CKA_VALUE).unwrap(),
        [1; 24],
        "the bits of Triple DES that count parity"
    );
    let des = bench.generate(h, CKM_DES3_KEY_GEN, &OPEN);
    assert!(
        bench
            .value(h, des, CKA_VALUE)
            .unwrap()
            .iter()
            .all(|byte| byte.count_ones() % 2 == 1)
    );
}

#[test]
fn a_key_is_as_guarded_as_those_it_is_made_of() {
    let bench = Bench::new();
    let h = bench.user();
    let open = bench.base(h, CKK_GENERIC_SECRET, &[1; 16]);
    let rows = [AES_256, (CKA_DERIVE, YES), (CKA_SENSITIVE, YES)];
    let guarded = bench.generate(h, CKM_GENERIC_SECRET_KEY_GEN, &rows);
    let flag = |key, kind| bench.value(h, key, kind) == Some(YES.to_vec());
    for (base, other) in [(open, guarded), (guarded, open)] {
        let join = || Params::Key(other);
        for rows in [&OPEN[..], &[]] {
            refused(
                bench.derive(h, CKM_CONCATENATE_BASE_AND_KEY, join(), base, rows),
                CKR_KEY_FUNCTION_NOT_PERMITTED,
            );
        }
        bench.key_policy(KeyPolicy::Compatible);
        refused(
            bench.derive(h, CKM_CONCATENATE_BASE_AND_KEY, join(), base, &OPEN),
            CKR_TEMPLATE_INCONSISTENT,
        );
        let key = bench
            .derive(h, CKM_CONCATENATE_BASE_AND_KEY, join(), base, &[])
            .unwrap();
        assert!(flag(key, CKA_SENSITIVE) && !flag(key, CKA_EXTRACTABLE) && !flag(key, CKA_LOCAL));
        assert!(
            !flag(key, CKA_ALWAYS_SENSITIVE) && !flag(key, CKA_NEVER_EXTRACTABLE),
            "half of it was in the open"
        );
        bench.key_policy(KeyPolicy::Default);
    }
    bench.key_policy(KeyPolicy::Compatible);
    let key = bench
        .derive(
            h,
            CKM_CONCATENATE_BASE_AND_KEY,
            Params::Key(guarded),
            guarded,
            &[],
        )
        .unwrap();
    assert!(flag(key, CKA_ALWAYS_SENSITIVE) && flag(key, CKA_NEVER_EXTRACTABLE));
    bench.key_policy(KeyPolicy::Default);
    // A digest hides the key it is made of.
    let key = bench
        .derive(h, CKM_SHA256_KEY_DERIVATION, Params::None, guarded, &OPEN)
        .unwrap();
    assert!(flag(key, CKA_EXTRACTABLE) && !flag(key, CKA_NEVER_EXTRACTABLE));

    let idle = bench.secret(h, CKK_GENERIC_SECRET, &[2; 16], &[]);
    refused(
        bench.derive(
            h,
            CKM_CONCATENATE_BASE_AND_KEY,
            Params::Key(idle),
            open,
            &OPEN,
        ),
        CKR_KEY_FUNCTION_NOT_PERMITTED,
    );
    let only = CKM_XOR_BASE_AND_DATA.to_ne_bytes();
    let restricted = bench.secret(
        h,
        CKK_GENERIC_SECRET,
        &[2; 16],
        &[(CKA_DERIVE, YES), (CKA_ALLOWED_MECHANISMS, &only)],
    );
    refused(
        bench.derive(
            h,
            CKM_SHA256_KEY_DERIVATION,
            Params::None,
            restricted,
            &OPEN,
        ),
        CKR_MECHANISM_INVALID,
    );
    refused(
        bench.derive(h, CKM_SHA256, Params::None, open, &OPEN),
        CKR_MECHANISM_INVALID,
    );
    refused(
        bench.derive(h, CKM_ECDH1_DERIVE, ecdh(CKD_NULL, b"", b""), open, &OPEN),
        CKR_KEY_TYPE_INCONSISTENT,
    );
}

#[test]
fn a_base_key_says_what_is_derived_from_it() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    let (class, key_type) = (
        CKO_SECRET_KEY.to_ne_bytes(),
        CKK_GENERIC_SECRET.to_ne_bytes(),
    );
    let mut rows = template(&[
        (CKA_CLASS, &class),
        (CKA_KEY_TYPE, &key_type),
        (CKA_VALUE, &[1; 32]),
        (CKA_DERIVE, YES),
    ]);
    rows.0.push(Attribute {
        kind: CKA_DERIVE_TEMPLATE,
        value: Value::Nested(template(&[(CKA_SIGN, NO), (CKA_LABEL, b"made")])),
    });
    let base = m.create_object(h, rows).unwrap();
    let key = bench
        .derive(h, CKM_SHA256_KEY_DERIVATION, Params::None, base, &[])
        .unwrap();
    assert_eq!(
        (
            bench.value(h, key, CKA_LABEL).unwrap(),
            bench.value(h, key, CKA_SIGN).unwrap()
        ),
        (b"made".to_vec(), NO.to_vec())
    );
    refused(
        bench.derive(
            h,
            CKM_SHA256_KEY_DERIVATION,
            Params::None,
            base,
            &[(CKA_SIGN, YES)],
        ),
        CKR_TEMPLATE_INCONSISTENT,
    );
}

#[test]
fn derived_keys_keep_to_the_sessions_rights_and_the_tokens_policy() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    let base = bench.base(h, CKK_GENERIC_SECRET, &[1; 32]);
    let reader = m.open_session(bench.slot, RO).unwrap();
    refused(
        bench.derive(
            reader,
            CKM_SHA256_KEY_DERIVATION,
            Params::None,
            base,
            &[(CKA_TOKEN, YES)],
        ),
        CKR_SESSION_READ_ONLY,
    );
    bench
        .derive(reader, CKM_SHA256_KEY_DERIVATION, Params::None, base, &[])
        .unwrap();
    let stored = bench.generate(
        h,
        CKM_GENERIC_SECRET_KEY_GEN,
        &[AES_256, (CKA_DERIVE, YES), (CKA_TOKEN, YES)],
    );
    bench
        .derive(h, CKM_SHA256_KEY_DERIVATION, Params::None, stored, &[])
        .unwrap();
    assert_eq!(bench.store.fetches(), 1);
    bench.policy(CryptoPolicy::Server);
    refused(
        bench.derive(h, CKM_SHA256_KEY_DERIVATION, Params::None, stored, &[]),
        CKR_MECHANISM_INVALID,
    );
    assert_eq!(
        bench.store.fetches(),
        1,
        "no server derives, and the policy lets no value out"
    );
}
