//! Deriving keys: the parameters' C structures, and what they point to.

use std::ffi::c_void;
use std::ptr::null_mut;

use mrhsm_pkcs11::ck::*;

use super::host::{Host, alone, attribute, ck, mechanism, mechanism_with};

/// The attributes of a key that may be looked at and derived from.
struct Open {
    yes: CK_BBOOL,
    no: CK_BBOOL,
    class: CK_OBJECT_CLASS,
    key_type: CK_KEY_TYPE,
    len: CK_ULONG,
}

impl Open {
    fn new(len: CK_ULONG) -> Open {
        Open {
            yes: CK_TRUE,
            no: CK_FALSE,
            class: CKO_SECRET_KEY,
            key_type: CKK_GENERIC_SECRET,
            len,
        }
    }

    fn rows(&mut self) -> [CK_ATTRIBUTE; 5] {
        [
            attribute(CKA_CLASS, &mut self.class),
            attribute(CKA_KEY_TYPE, &mut self.key_type),
            attribute(CKA_SENSITIVE, &mut self.no),
            attribute(CKA_EXTRACTABLE, &mut self.yes),
            attribute(CKA_VALUE_LEN, &mut self.len),
        ]
    }
}

impl Host {
    fn import(&self, session: CK_SESSION_HANDLE, value: &[u8]) -> CK_OBJECT_HANDLE {
        let (mut open, mut key) = (Open::new(0), 0);
        let mut rows = open.rows().to_vec();
        let (at, len) = (value.as_ptr().cast_mut().cast(), value.len() as CK_ULONG);
        rows[4] = CK_ATTRIBUTE {
            type_: CKA_VALUE,
            pValue: at,
            ulValueLen: len,
        };
        rows.push(attribute(CKA_DERIVE, &mut open.yes));
        assert_eq!(
            ck!(self.C_CreateObject(session, rows.as_mut_ptr(), 6, &mut key)),
            CKR_OK
        );
        key
    }

    fn bytes(
        &self,
        session: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        kind: CK_ATTRIBUTE_TYPE,
    ) -> Vec<u8> {
        let mut value = [0u8; 256];
        let mut row = attribute(kind, &mut value);
        assert_eq!(
            ck!(self.C_GetAttributeValue(session, object, &mut row, 1)),
            CKR_OK
        );
        value[..row.ulValueLen as usize].to_vec()
    }

    /// The value of the generic secret that a mechanism makes.
    fn derive(
        &self,
        session: CK_SESSION_HANDLE,
        mut m: CK_MECHANISM,
        base: CK_OBJECT_HANDLE,
        len: CK_ULONG,
    ) -> Result<Vec<u8>, CK_RV> {
        let (mut open, mut key) = (Open::new(len), 0);
        match ck!(self.C_DeriveKey(session, &mut m, base, open.rows().as_mut_ptr(), 5, &mut key)) {
            CKR_OK => Ok(self.bytes(session, key, CKA_VALUE)),
            rv => Err(rv),
        }
    }
}

/// RFC 5869, A.1, with the salt as bytes and as a key.
#[test]
fn hkdf() {
    alone(|host| {
        host.initialize();
        let (_, session) = host.logged_in();
        let mut salt: Vec<u8> = (0..13).collect();
        let mut info: Vec<u8> = (0xf0..0xfa).collect();
        let base = host.import(session, &[0x0b; 22]);
        let mut params = CK_HKDF_PARAMS {
            bExtract: CK_TRUE,
            bExpand: CK_TRUE,
            prfHashMechanism: CKM_SHA256,
            ulSaltType: CKF_HKDF_SALT_DATA,
            pSalt: salt.as_mut_ptr(),
            ulSaltLen: 13,
            hSaltKey: 0,
            pInfo: info.as_mut_ptr(),
            ulInfoLen: 10,
        };
        let made = host
            .derive(
                session,
                mechanism_with(CKM_HKDF_DERIVE, &mut params),
                base,
                42,
            )
            .unwrap();
        assert_eq!(made[..8], [0x3c, 0xb2, 0x5f, 0x25, 0xfa, 0xac, 0xd5, 0x7a]);
        // What the salt type does not name is not looked at, wherever it points.
        (params.ulSaltType, params.hSaltKey) = (CKF_HKDF_SALT_KEY, host.import(session, &salt));
        (params.pSalt, params.ulSaltLen) = (std::ptr::dangling_mut(), CK_ULONG::MAX);
        assert_eq!(
            host.derive(
                session,
                mechanism_with(CKM_HKDF_DERIVE, &mut params),
                base,
                42
            ),
            Ok(made)
        );
        params.pInfo = null_mut();
        assert_eq!(
            host.derive(
                session,
                mechanism_with(CKM_HKDF_DERIVE, &mut params),
                base,
                42
            ),
            Err(CKR_MECHANISM_PARAM_INVALID)
        );
        assert_eq!(
            host.derive(session, mechanism(CKM_HKDF_DERIVE), base, 42),
            Err(CKR_MECHANISM_PARAM_INVALID)
        );
        host.finalize();
    });
}

/// NIST's first vector of SP 800-108 in counter mode with HMAC-SHA-256 and 8 bits of counter, its fixed input in two parts.
#[test]
fn counter_mode() {
    alone(|host| {
        host.initialize();
        let (_, session) = host.logged_in();
        let hex = |text: &str| data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap();
        let base = host.import(
            session,
            &hex("3edc6b5b8f7aadbd713732b482b8f979286e1ea3b8f8f99c30c884cfe3349b83"),
        );
        let mut first = hex("98e9988bb4cc8b34d7922e1c68ad692ba2a1d9ae15149571675f17a77ad4");
        let mut second = hex("9e80c8d2a85e831a26445b1f0ff44d7084a17206b4896c8112daad18605a");
        let mut counter = CK_SP800_108_COUNTER_FORMAT {
            bLittleEndian: CK_FALSE,
            ulWidthInBits: 8,
        };
        let part = |type_, at: *mut c_void, len: usize| CK_PRF_DATA_PARAM {
            type_,
            pValue: at,
            ulValueLen: len as CK_ULONG,
        };
        let mut parts = [
            part(
                CK_SP800_108_ITERATION_VARIABLE,
                (&raw mut counter).cast(),
                size_of::<CK_SP800_108_COUNTER_FORMAT>(),
            ),
            part(
                CK_SP800_108_BYTE_ARRAY,
                first.as_mut_ptr().cast(),
                first.len(),
            ),
            part(
                CK_SP800_108_BYTE_ARRAY,
                second.as_mut_ptr().cast(),
                second.len(),
            ),
        ];
        let mut params = CK_SP800_108_KDF_PARAMS {
            prfType: CKM_SHA256_HMAC,
            ulNumberOfDataParams: 3,
            pDataParams: parts.as_mut_ptr(),
            ulAdditionalDerivedKeys: 0,
            pAdditionalDerivedKeys: null_mut(),
        };
        let made = host.derive(
            session,
            mechanism_with(CKM_SP800_108_COUNTER_KDF, &mut params),
            base,
            16,
        );
        assert_eq!(made, Ok(hex("6c037652990674a07844732d0ad985f9")));
        params.ulNumberOfDataParams = CK_ULONG::MAX;
        let refused = host.derive(
            session,
            mechanism_with(CKM_SP800_108_COUNTER_KDF, &mut params),
            base,
            16,
        );
        assert_eq!(refused, Err(CKR_MECHANISM_PARAM_INVALID));
        host.finalize();
    });
}

/// Feedback mode with an initial value, as OpenSSL 3.0 does it, and a second key from the same derivation.
#[test]
fn feedback_mode_and_a_second_key() {
    alone(|host| {
        host.initialize();
        let (_, session) = host.logged_in();
        let hex = |text: &str| data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap();
        let base = host.import(
            session,
            &hex("dd1d91b7d90b2bd3138533ce92b272fbf8a369316aefe242e659cc0ae238afe0"),
        );
        let (mut iv, mut fixed): (Vec<u8>, _) =
            ((0..32).collect(), b"label\0context\0\0\x02\x40".to_vec());
        let mut counter = CK_SP800_108_COUNTER_FORMAT {
            bLittleEndian: CK_FALSE,
            ulWidthInBits: 32,
        };
        let part = |type_, at: *mut c_void, len: usize| CK_PRF_DATA_PARAM {
            type_,
            pValue: at,
            ulValueLen: len as CK_ULONG,
        };
        let mut parts = [
            part(CK_SP800_108_ITERATION_VARIABLE, null_mut(), 0),
            part(
                CK_SP800_108_COUNTER,
                (&raw mut counter).cast(),
                size_of::<CK_SP800_108_COUNTER_FORMAT>(),
            ),
            part(
                CK_SP800_108_BYTE_ARRAY,
                fixed.as_mut_ptr().cast(),
                fixed.len(),
            ),
        ];
        let (mut open, mut second) = (Open::new(8), 4711);
        let mut rows = open.rows();
        let mut more = [CK_DERIVED_KEY {
            pTemplate: rows.as_mut_ptr(),
            ulAttributeCount: 5,
            phKey: &mut second,
        }];
        let mut params = CK_SP800_108_FEEDBACK_KDF_PARAMS {
            prfType: CKM_SHA256_HMAC,
            ulNumberOfDataParams: 3,
            pDataParams: parts.as_mut_ptr(),
            ulIVLen: 32,
            pIV: iv.as_mut_ptr(),
            ulAdditionalDerivedKeys: 1,
            pAdditionalDerivedKeys: more.as_mut_ptr(),
        };
        let made = host.derive(
            session,
            mechanism_with(CKM_SP800_108_FEEDBACK_KDF, &mut params),
            base,
            64,
        );
        assert_eq!(
            made,
            Ok(hex(
                "6e709a893d0a6fd5b2bb2b8f0b64c379c72d3a7c86badc48d20e747cd6ea006b49481362af546afa563251f827587c9f18\
                    9e7f75152e7780a3c3106830ed2227"
            ))
        );
        assert_eq!(
            host.bytes(session, second, CKA_VALUE),
            hex("57e18dbd6979079b")
        );
        // The template of the second key is wrong: no key, and its handle says so.
        rows[4].ulValueLen = 3;
        more[0].pTemplate = rows.as_mut_ptr();
        params.pAdditionalDerivedKeys = more.as_mut_ptr();
        let refused = host.derive(
            session,
            mechanism_with(CKM_SP800_108_FEEDBACK_KDF, &mut params),
            base,
            64,
        );
        assert_eq!(
            (refused, second),
            (Err(CKR_ATTRIBUTE_VALUE_INVALID), CK_INVALID_HANDLE)
        );
        for bad in [CK_ULONG::MAX, 65] {
            params.ulAdditionalDerivedKeys = bad;
            let refused = host.derive(
                session,
                mechanism_with(CKM_SP800_108_FEEDBACK_KDF, &mut params),
                base,
                64,
            );
            assert_eq!(refused, Err(CKR_MECHANISM_PARAM_INVALID));
        }
        (params.ulAdditionalDerivedKeys, more[0].phKey) = (1, null_mut());
        params.pAdditionalDerivedKeys = more.as_mut_ptr();
        let refused = host.derive(
            session,
            mechanism_with(CKM_SP800_108_FEEDBACK_KDF, &mut params),
            base,
            64,
        );
        assert_eq!(refused, Err(CKR_MECHANISM_PARAM_INVALID));
        host.finalize();
    });
}

#[test]
fn agreement_on_x25519() {
    alone(|host| {
        host.initialize();
        let (_, session) = host.logged_in();
        // The curve by its object identifier, 1.3.101.110.
        let curve = [0x06u8, 0x03, 0x2b, 0x65, 0x6e];
        let pair = || {
            let (mut m, mut public, mut private) =
                (mechanism(CKM_EC_MONTGOMERY_KEY_PAIR_GEN), 0, 0);
            let mut rows = [CK_ATTRIBUTE {
                type_: CKA_EC_PARAMS,
                pValue: curve.as_ptr().cast_mut().cast(),
                ulValueLen: 5,
            }];
            let rv = ck!(host.C_GenerateKeyPair(
                session,
                &mut m,
                rows.as_mut_ptr(),
                1,
                null_mut(),
                0,
                &mut public,
                &mut private
            ));
            assert_eq!(rv, CKR_OK);
            (host.bytes(session, public, CKA_EC_POINT), private)
        };
        let (alice, bob) = (pair(), pair());
        let agree = |private, point: &[u8], kdf, len| {
            let mut shared = *b"both know this";
            let (shared_len, at) = if kdf == CKD_NULL {
                (0, null_mut())
            } else {
                (14, shared.as_mut_ptr())
            };
            let mut params = CK_ECDH1_DERIVE_PARAMS {
                kdf,
                ulSharedDataLen: shared_len,
                pSharedData: at,
                ulPublicDataLen: point.len() as CK_ULONG,
                pPublicData: point.as_ptr().cast_mut(),
            };
            host.derive(
                session,
                mechanism_with(CKM_ECDH1_DERIVE, &mut params),
                private,
                len,
            )
        };
        for (kdf, len) in [
            (CKD_NULL, 32),
            (CKD_SHA256_KDF, 48),
            (CKD_SHA512_KDF_SP800, 100),
        ] {
            let secret = agree(alice.1, &bob.0, kdf, len).unwrap();
            assert_eq!(
                (secret.len() as CK_ULONG, agree(bob.1, &alice.0, kdf, len)),
                (len, Ok(secret))
            );
        }
        assert_eq!(
            agree(alice.1, &bob.0[..31], CKD_NULL, 32),
            Err(CKR_MECHANISM_PARAM_INVALID)
        );
        assert_eq!(
            agree(alice.1, &[], CKD_NULL, 32),
            Err(CKR_MECHANISM_PARAM_INVALID)
        );
        host.finalize();
    });
}

/// RFC 6070, case 2, by both structures that there are.
#[test]
fn keys_of_passwords() {
    alone(|host| {
        host.initialize();
        let (_, session) = host.logged_in();
        let (mut salt, mut password, mut len) = (*b"salt", *b"password", 8 as CK_ULONG);
        let mut now = CK_PKCS5_PBKD2_PARAMS2 {
            saltSource: CKZ_SALT_SPECIFIED,
            pSaltSourceData: salt.as_mut_ptr().cast(),
            ulSaltSourceDataLen: 4,
            iterations: 2,
            prf: CKP_PKCS5_PBKD2_HMAC_SHA1,
            pPrfData: null_mut(),
            ulPrfDataLen: 0,
            pPassword: password.as_mut_ptr(),
            ulPasswordLen: len,
        };
        let make = |mut m: CK_MECHANISM| {
            let (mut open, mut key) = (Open::new(20), 0);
            match ck!(host.C_GenerateKey(session, &mut m, open.rows().as_mut_ptr(), 5, &mut key)) {
                CKR_OK => Ok(host.bytes(session, key, CKA_VALUE)[..4].to_vec()),
                rv => Err(rv),
            }
        };
        assert_eq!(
            make(mechanism_with(CKM_PKCS5_PBKD2, &mut now)),
            Ok(vec![0xea, 0x6c, 0x01, 0x4d])
        );
        // 2.40's first text has a pointer to the length.
        now.ulPasswordLen = (&raw mut len) as CK_ULONG;
        assert_eq!(
            make(mechanism_with(CKM_PKCS5_PBKD2, &mut now)),
            Ok(vec![0xea, 0x6c, 0x01, 0x4d])
        );
        now.ulPasswordLen = CK_ULONG::MAX;
        assert_eq!(
            make(mechanism_with(CKM_PKCS5_PBKD2, &mut now)),
            Err(CKR_MECHANISM_PARAM_INVALID)
        );
        assert_eq!(
            make(mechanism(CKM_PKCS5_PBKD2)),
            Err(CKR_MECHANISM_PARAM_INVALID)
        );
        host.finalize();
    });
}

#[test]
fn pieces_put_together_and_taken_out() {
    alone(|host| {
        host.initialize();
        let (_, session) = host.logged_in();
        let (base, mut other) = (
            host.import(session, &[0x32, 0x9f, 0x84, 0xa9]),
            host.import(session, b"other"),
        );
        let mut bit: CK_EXTRACT_PARAMS = 21;
        assert_eq!(
            host.derive(
                session,
                mechanism_with(CKM_EXTRACT_KEY_FROM_KEY, &mut bit),
                base,
                2
            ),
            Ok(vec![0x95, 0x26])
        );
        let joined = host.derive(
            session,
            mechanism_with(CKM_CONCATENATE_BASE_AND_KEY, &mut other),
            base,
            9,
        );
        assert_eq!(
            joined,
            Ok([&[0x32, 0x9f, 0x84, 0xa9][..], b"other"].concat())
        );
        let mut mask = [0xff; 3];
        let mut data = CK_KEY_DERIVATION_STRING_DATA {
            pData: mask.as_mut_ptr(),
            ulLen: 3,
        };
        assert_eq!(
            host.derive(
                session,
                mechanism_with(CKM_XOR_BASE_AND_DATA, &mut data),
                base,
                3
            ),
            Ok(vec![0xcd, 0x60, 0x7b])
        );
        assert_eq!(
            host.derive(
                session,
                mechanism_with(CKM_XOR_BASE_AND_DATA, &mut data),
                base,
                4
            ),
            Err(CKR_KEY_SIZE_RANGE)
        );
        data.ulLen = CK_ULONG::MAX;
        let refused = host.derive(
            session,
            mechanism_with(CKM_XOR_BASE_AND_DATA, &mut data),
            base,
            3,
        );
        assert_eq!(refused, Err(CKR_MECHANISM_PARAM_INVALID));
        host.finalize();
    });
}
