use std::ptr::null_mut;

use super::*;
use crate::mech::{CounterFormat, Output, Params, PrfPart};
use crate::token::template::{Answer, Template, Value};

/// Values of the host at an odd address.
struct Odd<T>(Vec<u8>, PhantomData<T>);

impl<T: Copy> Odd<T> {
    fn new(values: &[T]) -> Odd<T> {
        let mut odd: Odd<T> = Odd(
            vec![0xee; size_of_val(values) + align_of::<T>() + 1],
            PhantomData,
        );
        for (i, value) in values.iter().enumerate() {
            // SAFETY: there is room for all of them.
            unsafe { odd.at().wrapping_add(i).write_unaligned(*value) };
        }
        odd
    }

    fn at(&mut self) -> *mut T {
        let skip = 1 - self.0.as_ptr() as usize % 2;
        self.0.as_mut_ptr().wrapping_add(skip).cast()
    }

    fn ptr(&mut self) -> Ptr<'_, T> {
        Ptr::new(self.at())
    }

    fn get(&mut self, index: usize) -> T {
        // SAFETY: whoever asks knows how many there are.
        unsafe { self.at().wrapping_add(index).read_unaligned() }
    }
}

fn attribute(kind: CK_ATTRIBUTE_TYPE, value: *mut CK_BYTE, len: usize) -> CK_ATTRIBUTE {
    CK_ATTRIBUTE {
        type_: kind,
        pValue: value.cast(),
        ulValueLen: len as CK_ULONG,
    }
}

fn rv<T>(result: Result<T>) -> CK_RV {
    result.err().map_or(CKR_OK, |e| e.rv())
}

#[test]
fn null_is_empty_only_without_a_length() {
    let null = Ptr::<CK_BYTE>::new(null_mut());
    assert_eq!(null.bytes(0).unwrap(), b"");
    assert_eq!(rv(null.bytes(1)), CKR_ARGUMENTS_BAD);
    assert_eq!(null.pin(0).unwrap(), None);
    assert_eq!(rv(null.pin(4)), CKR_ARGUMENTS_BAD);
    let mut four = Odd::new(b"1234");
    assert_eq!(four.ptr().pin(0).unwrap(), Some(&b""[..]));
    assert_eq!(four.ptr().bytes(4).unwrap(), b"1234");
    assert_eq!(rv(four.ptr().bytes(CK_ULONG::MAX)), CKR_ARGUMENTS_BAD);
    assert_eq!(
        rv(four.ptr().bytes(isize::MAX as CK_ULONG + 1)),
        CKR_ARGUMENTS_BAD
    );
}

#[test]
fn text_is_compared_up_to_its_end() {
    for (given, same) in [
        (&b"PKCS 11\0"[..], true),
        (b"PKCS 1\0", false),
        (b"PKCS 111\0", false),
        (b"\0", false),
    ] {
        assert_eq!(Odd::new(given).ptr().is_text(b"PKCS 11"), same, "{given:?}");
    }
}

#[test]
fn buffers_follow_the_two_call_convention() {
    let bytes = || Output::Bytes(b"abcd".to_vec().into());
    let put = |room: usize, data: Option<&mut Odd<u8>>, output: Output| {
        let mut len = Odd::new(&[room as CK_ULONG]);
        let at = data.map_or(null_mut(), |data| data.at());
        let rv = rv(Ptr::new(at)
            .buffer(len.ptr())
            .and_then(|buffer| buffer.put(output)));
        (rv, len.get(0))
    };
    let mut data = Odd::new(&[0; 8]);
    assert_eq!(put(0, None, Output::Length(4)), (CKR_OK, 4));
    assert_eq!(
        put(3, Some(&mut data), Output::TooSmall(4)),
        (CKR_BUFFER_TOO_SMALL, 4)
    );
    assert_eq!(put(3, Some(&mut data), bytes()), (CKR_BUFFER_TOO_SMALL, 4));
    assert_eq!(data.get(0), 0);
    assert_eq!(put(4, Some(&mut data), bytes()), (CKR_OK, 4));
    assert_eq!((data.get(3), data.get(4)), (b'd', 0));
    assert_eq!(put(usize::MAX, Some(&mut data), bytes()), (CKR_OK, 4));
    assert_eq!(
        rv(data.ptr().buffer(Ptr::new(null_mut()))),
        CKR_ARGUMENTS_BAD
    );
}

#[test]
fn lists_follow_one_convention() {
    let mut count = Odd::new(&[0 as CK_ULONG]);
    let mut list = Odd::new(&[9 as CK_ULONG; 3]);
    assert_eq!(
        rv(Ptr::new(null_mut()).write_list(count.ptr(), &[1 as CK_ULONG, 2])),
        CKR_OK
    );
    assert_eq!(count.get(0), 2);
    let mut one = Odd::new(&[1 as CK_ULONG]);
    assert_eq!(
        rv(list.ptr().write_list(one.ptr(), &[1, 2])),
        CKR_BUFFER_TOO_SMALL
    );
    assert_eq!((one.get(0), list.get(0)), (2, 9));
    assert_eq!(rv(list.ptr().write_list(count.ptr(), &[1, 2])), CKR_OK);
    assert_eq!((list.get(0), list.get(1), list.get(2)), (1, 2, 9));
    assert_eq!(
        rv(list.ptr().write_list(Ptr::new(null_mut()), &[1, 2])),
        CKR_ARGUMENTS_BAD
    );
}

#[test]
fn templates_are_copied_with_their_values() {
    let (mut class, mut label) = (Odd::new(&[CKO_SECRET_KEY]), Odd::new(b"key"));
    let mut inner = Odd::new(&[attribute(CKA_TOKEN, label.at(), 1)]);
    let mut outer = Odd::new(&[
        attribute(CKA_CLASS, class.at().cast(), 8),
        attribute(CKA_LABEL, label.at(), 3),
        attribute(CKA_ID, null_mut(), 0),
        attribute(
            CKA_WRAP_TEMPLATE,
            inner.at().cast(),
            size_of::<CK_ATTRIBUTE>(),
        ),
    ]);
    let Template(rows) = outer.ptr().template(4).unwrap();
    let bytes: Vec<_> = rows
        .iter()
        .map(|row| match &row.value {
            Value::Bytes(bytes) => bytes.expose().to_vec(),
            Value::Nested(Template(rows)) => vec![rows.len() as u8, rows[0].kind as u8],
        })
        .collect();
    assert_eq!(
        bytes,
        [
            CKO_SECRET_KEY.to_ne_bytes().to_vec(),
            b"key".to_vec(),
            vec![],
            vec![1, CKA_TOKEN as u8]
        ]
    );
    assert_eq!(rows[1].kind, CKA_LABEL);
}

#[test]
fn bad_templates_are_refused() {
    let mut byte = Odd::new(&[1u8]);
    let max = CK_UNAVAILABLE_INFORMATION as usize;
    for row in [
        attribute(CKA_LABEL, null_mut(), 1),
        attribute(CKA_LABEL, byte.at(), max),
        attribute(CKA_WRAP_TEMPLATE, byte.at(), 1),
        attribute(CKA_WRAP_TEMPLATE, null_mut(), size_of::<CK_ATTRIBUTE>()),
        attribute(CKA_WRAP_TEMPLATE, byte.at(), max),
    ] {
        assert_eq!(
            rv(Odd::new(&[row]).ptr().template(1)),
            CKR_ATTRIBUTE_VALUE_INVALID,
            "{row:?}"
        );
    }
    let long = attribute(CKA_LABEL, byte.at(), (4 << 20) + 1);
    assert_eq!(rv(Odd::new(&[long]).ptr().template(1)), CKR_DEVICE_MEMORY);
    assert_eq!(rv(Ptr::new(null_mut()).template(1)), CKR_ARGUMENTS_BAD);
    assert_eq!(
        rv(Odd::new(&[attribute(CKA_LABEL, null_mut(), 0)])
            .ptr()
            .template(CK_ULONG::MAX)),
        CKR_ARGUMENTS_BAD
    );
    assert!(Ptr::new(null_mut()).template(0).unwrap().0.is_empty());
    // A template that contains itself, once and a hundred times over, ends at the limits.
    for count in [1, 100] {
        let mut rows = Odd::new(&vec![attribute(0, null_mut(), 0); count]);
        let at = rows.at();
        let own = attribute(
            CKA_WRAP_TEMPLATE,
            at.cast(),
            count * size_of::<CK_ATTRIBUTE>(),
        );
        // SAFETY: there is room for as many.
        (0..count).for_each(|i| unsafe { at.wrapping_add(i).write_unaligned(own) });
        assert_eq!(
            rv(rows.ptr().template(count as CK_ULONG)),
            CKR_ATTRIBUTE_VALUE_INVALID
        );
    }
}

/// The five cases of C_GetAttributeValue, alone and beside each other: (answer, room or NULL) -> (length, rv).
#[test]
fn attribute_values_follow_the_five_cases() {
    let max = CK_UNAVAILABLE_INFORMATION;
    let value = || Answer::Value(b"abcd".to_vec().into());
    type Case = (fn() -> Answer, Option<usize>, CK_ULONG, CK_RV);
    let cases: [Case; 7] = [
        (|| Answer::Sensitive, Some(8), max, CKR_ATTRIBUTE_SENSITIVE),
        (|| Answer::Unknown, Some(8), max, CKR_ATTRIBUTE_TYPE_INVALID),
        (|| Answer::Unknown, None, max, CKR_ATTRIBUTE_TYPE_INVALID),
        (|| Answer::Value(b"abcd".to_vec().into()), None, 4, CKR_OK),
        (
            || Answer::Value(b"abcd".to_vec().into()),
            Some(4),
            4,
            CKR_OK,
        ),
        (
            || Answer::Value(b"abcd".to_vec().into()),
            Some(8),
            4,
            CKR_OK,
        ),
        (
            || Answer::Value(b"abcd".to_vec().into()),
            Some(3),
            max,
            CKR_BUFFER_TOO_SMALL,
        ),
    ];
    for (answer, room, len, expected) in cases {
        for order in [false, true] {
            let (mut first, mut other) = (Odd::new(&[0u8; 8]), Odd::new(&[0u8; 8]));
            let row = attribute(
                CKA_LABEL,
                room.map_or(null_mut(), |_| first.at()),
                room.unwrap_or(7),
            );
            let good = attribute(CKA_ID, other.at(), 8);
            let (mut rows, answers) = if order {
                (Odd::new(&[row, good]), [answer(), value()])
            } else {
                (Odd::new(&[good, row]), [value(), answer()])
            };
            assert_eq!(rv(rows.ptr().rows(2).unwrap().put(&answers)), expected);
            assert_eq!(rows.get(usize::from(!order)).ulValueLen, len);
            assert_eq!(rows.get(usize::from(order)).ulValueLen, 4);
            assert_eq!(
                other.get(3),
                b'd',
                "the good row is written, before and after a bad one"
            );
            assert_eq!(
                first.get(0) == b'a',
                room.is_some() && expected == CKR_OK && len == 4
            );
        }
    }
}

#[test]
fn attribute_values_that_are_templates_go_into_the_rows_given() {
    let mut byte = Odd::new(&[0u8]);
    let template = |len| {
        let value = Value::Bytes(vec![7; len].into());
        Answer::Nested(Template(vec![crate::token::template::Attribute {
            kind: CKA_TOKEN,
            value,
        }]))
    };
    let mut inner = Odd::new(&[attribute(0, byte.at(), 1)]);
    let size = size_of::<CK_ATTRIBUTE>();
    let mut outer = Odd::new(&[attribute(CKA_WRAP_TEMPLATE, inner.at().cast(), size)]);
    assert_eq!(rv(outer.ptr().rows(1).unwrap().put(&[template(1)])), CKR_OK);
    assert_eq!(
        (inner.get(0).type_, inner.get(0).ulValueLen, byte.get(0)),
        (CKA_TOKEN, 1, 7)
    );
    assert_eq!(
        rv(outer.ptr().rows(1).unwrap().put(&[template(2)])),
        CKR_BUFFER_TOO_SMALL
    );
    assert_eq!(inner.get(0).ulValueLen, CK_UNAVAILABLE_INFORMATION);
    let mut query = Odd::new(&[attribute(CKA_WRAP_TEMPLATE, null_mut(), 0)]);
    assert_eq!(rv(query.ptr().rows(1).unwrap().put(&[template(2)])), CKR_OK);
    assert_eq!(query.get(0).ulValueLen, size as CK_ULONG);
}

fn mechanism<T: Copy>(kind: CK_MECHANISM_TYPE, parameter: T) -> Result<Params> {
    let mut parameter = Odd::new(&[parameter]);
    let len = size_of::<T>() as CK_ULONG;
    let given = CK_MECHANISM {
        mechanism: kind,
        pParameter: parameter.at().cast(),
        ulParameterLen: len,
    };
    Odd::new(&[given]).ptr().mechanism().map(|m| m.params)
}

#[test]
fn gcm_takes_its_iv_by_bytes_whatever_the_bits_say() {
    let (mut iv, mut aad) = (Odd::new(&[1u8; 12]), Odd::new(&[2u8; 3]));
    for bits in [0, 96, 7, CK_ULONG::MAX] {
        let p = CK_GCM_PARAMS {
            pIv: iv.at(),
            ulIvLen: 12,
            ulIvBits: bits,
            pAAD: aad.at(),
            ulAADLen: 3,
            ulTagBits: 128,
        };
        let Params::Gcm {
            iv,
            aad,
            tag_bits: 128,
            ..
        } = mechanism(CKM_AES_GCM, p).unwrap()
        else {
            panic!()
        };
        assert_eq!((iv, aad), (vec![1; 12], vec![2; 3]));
    }
    let old = [iv.at() as usize, 12, aad.at() as usize, 3, 96];
    let Params::Gcm {
        iv,
        aad,
        tag_bits: 96,
        ..
    } = mechanism(CKM_AES_GCM, old).unwrap()
    else {
        panic!()
    };
    assert_eq!((iv, aad), (vec![1; 12], vec![2; 3]));
}

#[test]
fn parameters_of_the_wrong_size_or_with_bad_pointers_are_invalid() {
    let invalid = |result: Result<Params>| assert_eq!(rv(result), CKR_MECHANISM_PARAM_INVALID);
    for kind in [
        CKM_AES_CTR,
        CKM_AES_GCM,
        CKM_AES_CCM,
        CKM_RSA_PKCS_PSS,
        CKM_RSA_PKCS_OAEP,
        CKM_ECDH1_DERIVE,
        CKM_HKDF_DERIVE,
        CKM_PKCS5_PBKD2,
        CKM_EDDSA,
        CKM_CHACHA20_POLY1305,
        CKM_SP800_108_COUNTER_KDF,
        CKM_RSA_AES_KEY_WRAP,
        CKM_SHA256_HMAC_GENERAL,
    ] {
        invalid(mechanism(kind, [0u8; 3]));
        invalid(mechanism(kind, [0xffu8; 200]));
    }
    // Every bit set: pointers and lengths beyond all bounds.
    invalid(mechanism(CKM_AES_GCM, [0xffu8; size_of::<CK_GCM_PARAMS>()]));
    invalid(mechanism(CKM_AES_CCM, [0xffu8; size_of::<CK_CCM_PARAMS>()]));
    invalid(mechanism(
        CKM_RSA_PKCS_OAEP,
        [0xffu8; size_of::<CK_RSA_PKCS_OAEP_PARAMS>()],
    ));
    invalid(mechanism(
        CKM_ECDH1_DERIVE,
        [0xffu8; size_of::<CK_ECDH1_DERIVE_PARAMS>()],
    ));
    invalid(mechanism(
        CKM_HKDF_DERIVE,
        [0xffu8; size_of::<CK_HKDF_PARAMS>()],
    ));
    invalid(mechanism(
        CKM_PKCS5_PBKD2,
        [0xffu8; size_of::<CK_PKCS5_PBKD2_PARAMS2>()],
    ));
    let given = CK_MECHANISM {
        mechanism: CKM_AES_CBC,
        pParameter: null_mut(),
        ulParameterLen: 16,
    };
    invalid(Odd::new(&[given]).ptr().mechanism().map(|m| m.params));
    assert_eq!(
        rv(Ptr::<CK_MECHANISM>::new(null_mut()).mechanism()),
        CKR_ARGUMENTS_BAD
    );
    assert!(
        Ptr::<CK_MECHANISM>::new(null_mut())
            .optional_mechanism()
            .unwrap()
            .is_none()
    );
}

#[test]
fn unknown_mechanisms_keep_their_bytes() {
    let Params::Raw(bytes) = mechanism(CKM_VENDOR_DEFINED | 7, *b"whatever").unwrap() else {
        panic!()
    };
    assert_eq!(bytes, b"whatever");
    let Params::Raw(iv) = mechanism(CKM_AES_CBC_PAD, [3u8; 16]).unwrap() else {
        panic!()
    };
    assert_eq!(iv, [3; 16]);
}

#[test]
fn pbkdf2_takes_both_structures() {
    let (mut salt, mut password) = (Odd::new(b"salt"), Odd::new(b"password"));
    let mut len = Odd::new(&[8 as CK_ULONG]);
    for given in [8, len.at() as CK_ULONG] {
        let p = CK_PKCS5_PBKD2_PARAMS2 {
            saltSource: CKZ_SALT_SPECIFIED,
            pSaltSourceData: salt.at().cast(),
            ulSaltSourceDataLen: 4,
            iterations: 1000,
            prf: CKP_PKCS5_PBKD2_HMAC_SHA256,
            pPrfData: null_mut(),
            ulPrfDataLen: 0,
            pPassword: password.at(),
            ulPasswordLen: given,
        };
        let Params::Pbkdf2 {
            password,
            salt,
            iterations: 1000,
            ..
        } = mechanism(CKM_PKCS5_PBKD2, p).unwrap()
        else {
            panic!()
        };
        assert_eq!(
            (password.expose(), &salt[..]),
            (&b"password"[..], &b"salt"[..])
        );
        // A length that is neither is refused, not followed.
        let wild = CK_PKCS5_PBKD2_PARAMS2 {
            ulPasswordLen: 0x7000_0000_0001,
            ..p
        };
        assert_eq!(
            rv(mechanism(CKM_PKCS5_PBKD2, wild)),
            CKR_MECHANISM_PARAM_INVALID
        );
    }
}

#[test]
fn kdf_input_is_copied_in_order() {
    let mut counter = Odd::new(&[CK_SP800_108_COUNTER_FORMAT {
        bLittleEndian: 0,
        ulWidthInBits: 32,
    }]);
    let mut label = Odd::new(b"label");
    let part = |kind, value: *mut c_void, len: usize| CK_PRF_DATA_PARAM {
        type_: kind,
        pValue: value,
        ulValueLen: len as CK_ULONG,
    };
    let mut parts = Odd::new(&[
        part(
            CK_SP800_108_ITERATION_VARIABLE,
            counter.at().cast(),
            size_of::<CK_SP800_108_COUNTER_FORMAT>(),
        ),
        part(CK_SP800_108_BYTE_ARRAY, label.at().cast(), 5),
    ]);
    let p = CK_SP800_108_KDF_PARAMS {
        prfType: CKM_SHA256_HMAC,
        ulNumberOfDataParams: 2,
        pDataParams: parts.at(),
        ulAdditionalDerivedKeys: 0,
        pAdditionalDerivedKeys: null_mut(),
    };
    let Params::Sp800108 { parts, .. } = mechanism(CKM_SP800_108_COUNTER_KDF, p).unwrap() else {
        panic!()
    };
    assert!(matches!(
        &parts[0],
        PrfPart::Iteration(Some(CounterFormat {
            little_endian: false,
            bits: 32
        }))
    ));
    assert!(matches!(&parts[1], PrfPart::Bytes(bytes) if bytes == b"label"));
    let many = CK_SP800_108_KDF_PARAMS {
        ulNumberOfDataParams: CK_ULONG::MAX,
        ..p
    };
    assert_eq!(
        rv(mechanism(CKM_SP800_108_COUNTER_KDF, many)),
        CKR_MECHANISM_PARAM_INVALID
    );
}

/// 96 bits, says the standard; 12 bytes, say most applications.
#[test]
fn the_nonce_of_chacha20_poly1305_is_counted_in_bits_or_in_bytes() {
    let (mut nonce, mut tag) = (Odd::new(&[5u8; 12]), Odd::new(&[0u8; 16]));
    for len in [12, 96] {
        let p = CK_SALSA20_CHACHA20_POLY1305_PARAMS {
            pNonce: nonce.at(),
            ulNonceLen: len,
            pAAD: null_mut(),
            ulAADLen: 0,
        };
        let Params::ChaCha20Poly1305 { nonce: read, .. } =
            mechanism(CKM_CHACHA20_POLY1305, p).unwrap()
        else {
            panic!()
        };
        assert_eq!(read, [5; 12]);
        let message = CK_SALSA20_CHACHA20_POLY1305_MSG_PARAMS {
            pNonce: nonce.at(),
            ulNonceLen: len,
            pTag: tag.at(),
        };
        let mut given = Odd::new(&[message]);
        let at = Ptr::<c_void>::new(given.at().cast());
        let size = size_of::<CK_SALSA20_CHACHA20_POLY1305_MSG_PARAMS>() as CK_ULONG;
        assert_eq!(at.message(size).unwrap().0.iv, [5; 12]);
    }
}

#[test]
fn message_parameters_are_read_and_written_back() {
    let (mut iv, mut tag) = (Odd::new(&[1u8; 12]), Odd::new(&[2u8; 16]));
    let mut given = Odd::new(&[CK_GCM_MESSAGE_PARAMS {
        pIv: iv.at(),
        ulIvLen: 12,
        ulIvFixedBits: 32,
        ivGenerator: CKG_GENERATE,
        pTag: tag.at(),
        ulTagBits: 128,
    }]);
    let at = Ptr::<c_void>::new(given.at().cast());
    let (mut params, place) = at
        .message(size_of::<CK_GCM_MESSAGE_PARAMS>() as CK_ULONG)
        .unwrap();
    assert_eq!(
        (
            params.iv.as_slice(),
            params.tag.as_slice(),
            params.iv_fixed_bits
        ),
        (&[1; 12][..], &[2; 16][..], 32)
    );
    // More than was asked for does not fit, and is cut rather than written past the end.
    params.iv = vec![3; 40];
    params.tag = vec![4; 40];
    place.put(&params).unwrap();
    assert_eq!((iv.get(11), tag.get(15)), (3, 4));
    assert_eq!((iv.get(12), tag.get(16)), (0xee, 0xee));
    assert_eq!(rv(at.message(1)), CKR_MECHANISM_PARAM_INVALID);
    assert_eq!(
        rv(Ptr::<c_void>::new(null_mut()).message(48)),
        CKR_MECHANISM_PARAM_INVALID
    );
    assert!(
        Ptr::<c_void>::new(null_mut())
            .message(0)
            .unwrap()
            .0
            .iv
            .is_empty()
    );
}

#[test]
fn initialize_arguments_are_counted() {
    assert!(!Ptr::<c_void>::new(null_mut()).init_args().unwrap().reserved);
    unsafe extern "C" fn lock(_: *mut c_void) -> CK_RV {
        CKR_OK
    }
    let mut args = Odd::new(&[CK_C_INITIALIZE_ARGS {
        LockMutex: Some(lock),
        flags: CKF_OS_LOCKING_OK,
        ..Default::default()
    }]);
    let read = Ptr::<c_void>::new(args.at().cast()).init_args().unwrap();
    assert_eq!(
        (read.callbacks, read.flags, read.reserved),
        (1, CKF_OS_LOCKING_OK, false)
    );
}
