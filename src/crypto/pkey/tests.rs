//! Vectors of RFCs and of OpenSSL, every hash, every curve, and broken encodings.

use super::*;
use crate::crypto::hash::digest;
use crate::crypto::unhex;

/// A key and what OpenSSL 3.0 made with it of "abc".
const RSA: &str = "3082025c02010002818100c075c79228760b41aa7d788b8a42a9e12d913e99ddb6031f14bf3f609f745bd20c90190dbf81da70d7b9005578\
     5b588cdce613ebf99842a7ee0cbc8009fd377a51b41db7eb13e747c427bb57794def682162d2a6a0ef0da265288cd5d0f7bfd9589e269b5f\
     8e570cac8299c57c9b22bf3eaaf4082b6f9ed2d137a67118a242010203010001028180701fee0dfb9e91fe46ba64913f12897013a10bcc8e\
     7b6ca41ded319a342b9116f594b9d3e59f5c48e394f759d40dbbb00d3dc99b6fc542081dcab3c3108ec25370d9870a23c57255360612aa5c\
     f800177d6fcfcd8c26246b06048ecfdf5f31ba374ce70921bbc93072d6ac72c1386e0ede86f872de00acb48308f28e2397f771024100eb04\
     4a4b15542f7086ad51f2aa9ddfce76d3c623062f374664d5825cea1cdf7444cee9dd28829968e040fe6cfdf56e7dd75c6dc681efe56ed062\
     209ca2db797d024100d1a4c89cc34cbde0a356523eda75888db00fbdc17f6f87650435965fbaf6d78fcd04b177ef8d5048003636984b4b0d\
     4b6c674e518cb97b715906fe8b61de71d502410085d91aaaea89d8bee0a5238fee661dca0bd90ef671964087e1f3cbdc39259a8a308a1b9d\
     6e6dfb0b44f51f3259ed0731ba8f14a242ecab21d2a2a06a3542844d024003dc6c116f0b5fc7de5a3da388b477725c96bda0edaee928741e\
     648998d0e9016dfe33228957e9ed998b661001fafce0b1bb6956d927a55d5e0d61ecc13dae8d02407729f85bb5f6a5cc7de86af42b87855c\
     bdf3b7a0a793df7e0ba90db3027efebe34e113cba640e6103f888c419abb3e646feea8d5c2104381f074c39d530199ad";
const PKCS1_SHA256: &str = "7e53cae6e8a643547c4a774bbaa2fa7f4872f5b8a29961c4e75da74c5e9347efc2faa5665820b8a9d411ab0bfcadad3c62e572630416cf90\
     b5ee27f4000d9f646d87f382ad97ca6885f226acdbe6abf3bdf0c1a4622bcf734c441c521620e10ffbdd4d631827ce8169016ac2628d687c\
     2330db5dd1943a4bdb9b5cd3037d77d7";
const PKCS1_RAW: &str = "a97f198a1111e741c4ed5cb280a363dcce25f809b13548dd386d3626e5dd3bdacb303077aeedaf7c26a1083360dda447659ee4d102f0bb9a\
     de216a582769fde186cddad59ff274b85b2d7794c17ffd2510113c0bf4abf89889455fd747a028c5353437e014de251620ed49e105c065dd\
     194f4c57d2bc1708f0d72a8b15ea4ef3";
const PSS: &str = "13dc35aee2b585e2ddb268ef4af06f1a34e29f01aace34bf02ecaf93f02f71d28fc892ab7c67e56742d791ff86c6b48b1a0391c2bdbba081\
     304de6b39a9b1ec10f936bd9b73b7a6bef72c68cc2f1bbd3471fc6fddb76fbbf0efd69936f05402e50e1f9d81db7ff786a7b1aeea74aee54\
     24e7045ae235f6db14305f558462ab32";
const OAEP: &str = "53a3992d95fcf4da44255d1b15a92845f3cb652aaf67faae4c10ea8eee4b0feebce5cb81b5212e2c6be571e5da0092ff704167690a09ff35\
     fb0b8afcef3b75817e2b76fbc5bf9589449eab456d0b7922c3ea31502c874c85f3c8092b88bbabfbfccfddf398a87467fbc7815eca2f2068\
     33ff20a889858c31d86c29fde5bf218c";
const PKCS1_ENCRYPTED: &str = "4ac151be091e95d8bbc972d80519f95400110e495280876e5d2fccd9d07ad92738ca799cc7fc8ba803cf9ef577b5fcf159e79e338d450108\
     cdc0c75dcaf5548e82040f413341ba4886769a9f466842872d6aa23636a6a6b6d3f087ec3b4c12137fa0e84c7d75b889e7b95840cea2bdcb\
     c61c12e2efde391fb514019691a9f399";
/// RFC 6979, A.2.5: P-256 with SHA-256, message "sample".
const P256: &str = "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721";

fn rv<T>(result: Result<T>) -> ck::CK_RV {
    result.err().expect("an error").rv()
}

#[test]
fn rsa_signatures_agree_with_openssl() {
    let key = PrivateKey::from_pkcs1(&unhex(RSA)).unwrap();
    let public = key.public().unwrap();
    let abc = digest(Hash::Sha256, b"abc").unwrap();
    assert_eq!(
        key.sign(Scheme::RsaPkcs1(Hash::Sha256), &abc).unwrap(),
        unhex(PKCS1_SHA256)
    );
    assert_eq!(
        key.sign(Scheme::RsaPkcs1Raw, b"abc").unwrap(),
        unhex(PKCS1_RAW)
    );
    public
        .verify(Scheme::RsaPkcs1(Hash::Sha256), &abc, &unhex(PKCS1_SHA256))
        .unwrap();
    public
        .verify(Scheme::RsaPkcs1Raw, b"abc", &unhex(PKCS1_RAW))
        .unwrap();
    let pss = Scheme::RsaPss {
        hash: Hash::Sha256,
        mgf: Hash::Sha1,
        salt_len: 10,
    };
    public.verify(pss, &abc, &unhex(PSS)).unwrap();
    public
        .verify(pss, &abc, &key.sign(pss, &abc).unwrap())
        .unwrap();
    let other = Scheme::RsaPss {
        hash: Hash::Sha256,
        mgf: Hash::Sha256,
        salt_len: 10,
    };
    assert_eq!(
        rv(public.verify(other, &abc, &unhex(PSS))),
        ck::CKR_SIGNATURE_INVALID
    );
    let longer = Scheme::RsaPss {
        hash: Hash::Sha256,
        mgf: Hash::Sha1,
        salt_len: 11,
    };
    assert_eq!(
        rv(public.verify(longer, &abc, &unhex(PSS))),
        ck::CKR_SIGNATURE_INVALID
    );
    assert_eq!(
        rv(public.verify(pss, &abc, &unhex(PSS)[1..])),
        ck::CKR_SIGNATURE_LEN_RANGE
    );
    // Without padding, the public operation undoes the private one.
    let mut number = vec![0; 128];
    number[127] = 9;
    let signed = key.sign(Scheme::RsaRaw, &number).unwrap();
    assert_eq!(public.encrypt(Padding::Raw, &signed).unwrap(), number);
    assert_eq!(public.recover(Scheme::RsaRaw, &signed).unwrap(), number);
    assert_eq!(
        public
            .recover(Scheme::RsaPkcs1Raw, &unhex(PKCS1_RAW))
            .unwrap(),
        b"abc"
    );
    assert_eq!(
        rv(public.recover(Scheme::RsaPkcs1Raw, &unhex(PSS))),
        ck::CKR_SIGNATURE_INVALID
    );
    assert_eq!(
        rv(public.recover(Scheme::RsaPkcs1Raw, &[0; 127])),
        ck::CKR_SIGNATURE_LEN_RANGE
    );
    assert_eq!(
        rv(public.recover(Scheme::Ecdsa, &unhex(PSS))),
        ck::CKR_KEY_TYPE_INCONSISTENT
    );
    assert_eq!(
        key.decrypt(
            Padding::Raw,
            &public.encrypt(Padding::Raw, &number).unwrap()
        )
        .unwrap()
        .expose(),
        number
    );
}

/// Whichever of the optional numbers are missing, the key that comes out is the same.
#[test]
fn an_rsa_key_is_completed_from_what_is_known_of_it() {
    let whole = PrivateKey::from_pkcs1(&unhex(RSA))
        .unwrap()
        .rsa_parts()
        .unwrap();
    // One bit for each of e, p, q, dp, dq and qi.
    let with = |mask: u8| {
        let keep = |bit: u8, number: &Secret| {
            if mask >> bit & 1 == 1 {
                number.duplicate()
            } else {
                Secret::default()
            }
        };
        RsaParts {
            modulus: whole.modulus.clone(),
            public_exponent: if mask & 1 == 1 {
                whole.public_exponent.clone()
            } else {
                Vec::new()
            },
            private_exponent: whole.private_exponent.duplicate(),
            prime_1: keep(1, &whole.prime_1),
            prime_2: keep(2, &whole.prime_2),
            exponent_1: keep(3, &whole.exponent_1),
            exponent_2: keep(4, &whole.exponent_2),
            coefficient: keep(5, &whole.coefficient),
        }
    };
    for mask in 0..64 {
        let key = PrivateKey::from_rsa(&with(mask)).unwrap_or_else(|e| panic!("{mask:#08b}: {e}"));
        assert_eq!(key.to_pkcs1().unwrap().expose(), unhex(RSA), "{mask:#08b}");
    }
    assert_eq!(
        rv(PrivateKey::from_rsa(&RsaParts {
            modulus: Vec::new(),
            ..with(63)
        })),
        ck::CKR_TEMPLATE_INCOMPLETE
    );
    assert_eq!(
        rv(PrivateKey::from_rsa(&RsaParts {
            private_exponent: Secret::default(),
            ..with(63)
        })),
        ck::CKR_TEMPLATE_INCOMPLETE
    );
    // PKCS#1 with zeros for all but modulus and private exponent, as some providers of Java write it.
    let number = |bytes: &[u8]| {
        let positive = if bytes.first().is_none_or(|b| b & 0x80 != 0) {
            [&[0], bytes].concat()
        } else {
            bytes.to_vec()
        };
        [&[0x02, 0x81, positive.len() as u8][..], &positive].concat()
    };
    let zero = [2, 1, 0];
    let (n, d) = (
        number(&whole.modulus),
        number(whole.private_exponent.expose()),
    );
    let numbers = [&zero[..], &n, &zero, &d, &zero, &zero, &zero, &zero, &zero].concat();
    let stripped = [
        &[0x30, 0x82],
        &(numbers.len() as u16).to_be_bytes()[..],
        &numbers,
    ]
    .concat();
    assert_eq!(
        PrivateKey::from_pkcs1(&stripped)
            .unwrap()
            .to_pkcs1()
            .unwrap()
            .expose(),
        unhex(RSA)
    );
    // An exponent that nobody uses is not guessed, but follows from a prime.
    let odd = PrivateKey::generate_rsa(1024, &[0x01, 0x00, 0x2b])
        .unwrap()
        .rsa_parts()
        .unwrap();
    let bare = || RsaParts {
        modulus: odd.modulus.clone(),
        private_exponent: odd.private_exponent.duplicate(),
        ..RsaParts::default()
    };
    assert_eq!(
        rv(PrivateKey::from_rsa(&bare())),
        ck::CKR_TEMPLATE_INCOMPLETE
    );
    let key = PrivateKey::from_rsa(&RsaParts {
        prime_2: odd.prime_2.duplicate(),
        ..bare()
    })
    .unwrap();
    assert_eq!(
        key.rsa_parts().unwrap().public_exponent,
        odd.public_exponent
    );
    // Numbers of another key, or of none.
    let seven = || Secret::new(vec![7]);
    for wrong in [
        RsaParts {
            prime_1: odd.prime_1.duplicate(),
            ..with(1)
        },
        RsaParts {
            prime_1: seven(),
            ..with(1)
        },
        RsaParts {
            prime_1: Secret::new(vec![0]),
            ..with(1)
        },
        RsaParts {
            exponent_1: seven(),
            ..with(1)
        },
        RsaParts {
            coefficient: seven(),
            ..with(7)
        },
        RsaParts {
            private_exponent: seven(),
            ..with(1)
        },
        RsaParts {
            public_exponent: vec![3],
            ..with(0)
        },
        RsaParts {
            public_exponent: vec![0],
            ..with(0)
        },
        RsaParts {
            modulus: vec![0xff; 127],
            ..with(1)
        },
        RsaParts {
            modulus: vec![0x10],
            ..with(1)
        },
        RsaParts {
            modulus: vec![1],
            private_exponent: vec![1].into(),
            ..with(1)
        },
    ] {
        assert_eq!(
            rv(PrivateKey::from_rsa(&wrong)),
            ck::CKR_ATTRIBUTE_VALUE_INVALID
        );
    }
}

#[test]
fn every_hash_signs_with_rsa() {
    let key = PrivateKey::generate_rsa(2048, &[1, 0, 1]).unwrap();
    let public = key.public().unwrap();
    assert_eq!(public.kind(), Kind::Rsa { bits: 2048 });
    for hash in Hash::ALL {
        let value = digest(hash, b"message").unwrap();
        for scheme in [
            Scheme::RsaPkcs1(hash),
            Scheme::RsaPss {
                hash,
                mgf: hash,
                salt_len: hash.output_len(),
            },
        ] {
            let signature = key.sign(scheme, &value).unwrap();
            public.verify(scheme, &value, &signature).unwrap();
            assert_eq!(
                rv(public.verify(scheme, &digest(hash, b"massage").unwrap(), &signature)),
                ck::CKR_SIGNATURE_INVALID
            );
            assert_eq!(rv(key.sign(scheme, &value[1..])), ck::CKR_DATA_LEN_RANGE);
        }
        let padding = Padding::Oaep {
            hash,
            mgf: hash,
            label: b"",
        };
        assert_eq!(
            key.decrypt(padding, &public.encrypt(padding, b"key").unwrap())
                .unwrap()
                .expose(),
            b"key"
        );
    }
}

#[test]
fn rsa_decryption_agrees_with_openssl() {
    let key = PrivateKey::from_pkcs1(&unhex(RSA)).unwrap();
    let padding = |label| Padding::Oaep {
        hash: Hash::Sha256,
        mgf: Hash::Sha1,
        label,
    };
    assert_eq!(
        key.decrypt(padding(b"label"), &unhex(OAEP))
            .unwrap()
            .expose(),
        b"abc"
    );
    assert_eq!(
        rv(key.decrypt(padding(b"other"), &unhex(OAEP))),
        ck::CKR_ENCRYPTED_DATA_INVALID
    );
    assert_eq!(
        key.decrypt(Padding::Pkcs1, &unhex(PKCS1_ENCRYPTED))
            .unwrap()
            .expose(),
        b"abc"
    );
    assert_eq!(
        rv(key.decrypt(Padding::Pkcs1, &unhex(OAEP))),
        ck::CKR_ENCRYPTED_DATA_INVALID
    );
    let public = key.public().unwrap();
    assert_eq!(
        rv(public.encrypt(Padding::Pkcs1, &[0; 118])),
        ck::CKR_DATA_LEN_RANGE
    );
    assert_eq!(
        rv(public.encrypt(padding(b""), &[0; 63])),
        ck::CKR_DATA_LEN_RANGE
    );
    assert_eq!(
        rv(public.encrypt(Padding::Raw, &[0; 127])),
        ck::CKR_DATA_LEN_RANGE
    );
}

#[test]
fn rsa_keys_travel_between_encodings() {
    let key = PrivateKey::from_pkcs1(&unhex(RSA)).unwrap();
    assert_eq!(key.to_pkcs1().unwrap().expose(), unhex(RSA));
    let pkcs8 = key.to_pkcs8().unwrap();
    assert_eq!(
        PrivateKey::from_pkcs8(pkcs8.expose())
            .unwrap()
            .to_pkcs1()
            .unwrap()
            .expose(),
        unhex(RSA)
    );
    let parts = key.rsa_parts().unwrap();
    assert_eq!(
        PrivateKey::from_rsa(&parts).unwrap().to_pkcs8().unwrap(),
        pkcs8
    );
    let public = key.public().unwrap();
    assert_eq!(
        public.rsa_parts().unwrap(),
        (parts.modulus.clone(), parts.public_exponent.clone())
    );
    assert_eq!(
        PublicKey::from_rsa(&parts.modulus, &parts.public_exponent)
            .unwrap()
            .to_spki()
            .unwrap(),
        public.to_spki().unwrap()
    );
    let pkcs1 = public.to_pkcs1().unwrap();
    assert_eq!(
        PublicKey::from_pkcs1(&pkcs1).unwrap().to_spki().unwrap(),
        public.to_spki().unwrap()
    );
    let wrong = RsaParts {
        prime_1: parts.prime_2.duplicate(),
        ..parts
    };
    assert_eq!(
        rv(PrivateKey::from_rsa(&wrong)),
        ck::CKR_ATTRIBUTE_VALUE_INVALID
    );
}

#[test]
fn broken_encodings_are_refused() {
    let whole = PrivateKey::from_pkcs1(&unhex(RSA))
        .unwrap()
        .to_pkcs8()
        .unwrap();
    let spki = PrivateKey::from_pkcs1(&unhex(RSA))
        .unwrap()
        .public()
        .unwrap()
        .to_spki()
        .unwrap();
    for cut in 0..whole.len() {
        assert_eq!(
            rv(PrivateKey::from_pkcs8(&whole.expose()[..cut])),
            ck::CKR_ATTRIBUTE_VALUE_INVALID
        );
    }
    for cut in 0..spki.len() {
        assert_eq!(
            rv(PublicKey::from_spki(&spki[..cut])),
            ck::CKR_ATTRIBUTE_VALUE_INVALID
        );
    }
    assert_eq!(
        rv(PrivateKey::from_pkcs8(&[whole.expose(), &[0]].concat())),
        ck::CKR_ATTRIBUTE_VALUE_INVALID
    );
    assert_eq!(
        rv(PrivateKey::from_pkcs8(&spki)),
        ck::CKR_ATTRIBUTE_VALUE_INVALID
    );
    assert_eq!(
        rv(PublicKey::from_rsa(&[], &[3])),
        ck::CKR_ATTRIBUTE_VALUE_INVALID
    );
    assert_eq!(
        rv(PrivateKey::generate_rsa(512, &[1, 0, 1])),
        ck::CKR_KEY_SIZE_RANGE
    );
    assert_eq!(
        rv(PrivateKey::generate_rsa(1024, &[4])),
        ck::CKR_ATTRIBUTE_VALUE_INVALID
    );
}

#[test]
fn ecdsa_verifies_rfc_6979() {
    let key = PrivateKey::from_scalar(Curve::P256, &unhex(P256)).unwrap();
    let point = unhex(
        "0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6\
         7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299",
    );
    assert_eq!(key.public().unwrap().point().unwrap(), point);
    let signature = unhex(
        "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716\
         f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8",
    );
    let sample = digest(Hash::Sha256, b"sample").unwrap();
    let public = PublicKey::from_point(Curve::P256, &point).unwrap();
    public.verify(Scheme::Ecdsa, &sample, &signature).unwrap();
    assert_eq!(
        ecdsa_from_der(Curve::P256, &ecdsa_to_der(&signature).unwrap()).unwrap(),
        signature
    );
    assert_eq!(
        rv(public.verify(Scheme::Ecdsa, &sample[1..], &signature)),
        ck::CKR_SIGNATURE_INVALID
    );
    assert_eq!(
        rv(public.verify(Scheme::Ecdsa, &sample, &[0; 64])),
        ck::CKR_SIGNATURE_INVALID
    );
    assert_eq!(
        rv(public.verify(Scheme::Ecdsa, &sample, &[])),
        ck::CKR_SIGNATURE_LEN_RANGE
    );
    assert_eq!(
        rv(public.verify(Scheme::EdDsa, &sample, &signature)),
        ck::CKR_KEY_TYPE_INCONSISTENT
    );
    let compressed = [&[3], &point[1..33]].concat();
    assert_eq!(
        PublicKey::from_point(Curve::P256, &compressed)
            .unwrap()
            .point()
            .unwrap(),
        point
    );
}

#[test]
fn every_curve_signs_agrees_and_travels() {
    for curve in Curve::ALL {
        assert_eq!(Curve::from_params(curve.params()), Some(curve));
        let (key, other) = (
            PrivateKey::generate_ec(curve).unwrap(),
            PrivateKey::generate_ec(curve).unwrap(),
        );
        let public = key.public().unwrap();
        assert_eq!(
            (key.kind(), public.kind()),
            (Kind::Ec(curve), Kind::Ec(curve))
        );
        assert_eq!(key.scalar().unwrap().len(), curve.scalar_len());
        let point = public.point().unwrap();
        for copy in [
            PrivateKey::from_pkcs8(key.to_pkcs8().unwrap().expose()).unwrap(),
            PrivateKey::from_scalar(curve, key.scalar().unwrap().expose()).unwrap(),
        ] {
            assert_eq!(copy.public().unwrap().point().unwrap(), point, "{curve:?}");
        }
        assert_eq!(
            PublicKey::from_point(curve, &point)
                .unwrap()
                .to_spki()
                .unwrap(),
            public.to_spki().unwrap()
        );
        assert_eq!(
            rv(PublicKey::from_point(curve, &point[1..])),
            ck::CKR_ATTRIBUTE_VALUE_INVALID
        );
        if curve != Curve::Ed25519 {
            let other_point = other.public().unwrap().point().unwrap();
            assert_eq!(
                key.agree(&other_point).unwrap(),
                other.agree(&point).unwrap()
            );
            assert_eq!(rv(key.agree(&[4; 65])), ck::CKR_MECHANISM_PARAM_INVALID);
        }
        if curve != Curve::X25519 {
            let scheme = if curve == Curve::Ed25519 {
                Scheme::EdDsa
            } else {
                Scheme::Ecdsa
            };
            let signature = key.sign(scheme, &[7; 32]).unwrap();
            assert_eq!(signature.len(), 2 * curve.scalar_len());
            public.verify(scheme, &[7; 32], &signature).unwrap();
            let foreign = other.public().unwrap();
            assert_eq!(
                rv(foreign.verify(scheme, &[7; 32], &signature)),
                ck::CKR_SIGNATURE_INVALID
            );
        }
        if !matches!(curve, Curve::Ed25519 | Curve::X25519) {
            let sec1 = key.to_sec1().unwrap();
            assert_eq!(
                PrivateKey::from_sec1(sec1.expose(), None)
                    .unwrap()
                    .public()
                    .unwrap()
                    .point()
                    .unwrap(),
                point
            );
            assert_eq!(
                PrivateKey::from_sec1(sec1.expose(), Some(curve))
                    .unwrap()
                    .scalar()
                    .unwrap(),
                key.scalar().unwrap()
            );
            assert_eq!(
                rv(PrivateKey::from_scalar(curve, &vec![0; curve.scalar_len()])),
                ck::CKR_ATTRIBUTE_VALUE_INVALID
            );
            assert_eq!(
                rv(PrivateKey::from_scalar(
                    curve,
                    &vec![0xff; curve.scalar_len()]
                )),
                ck::CKR_ATTRIBUTE_VALUE_INVALID
            );
        }
    }
    assert_eq!(
        Curve::from_params(b"\x13\x0cedwards25519"),
        Some(Curve::Ed25519)
    );
    assert_eq!(
        Curve::from_params(b"\x13\x0acurve25519"),
        Some(Curve::X25519)
    );
    assert_eq!(Curve::from_params(&[0x06, 0x03, 0x2b, 0x65, 0x71]), None);
}

/// RFC 8032, section 7.1, test 2.
#[test]
fn ed25519_vector() {
    let seed = unhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb");
    let key = PrivateKey::from_scalar(Curve::Ed25519, &seed).unwrap();
    let point = unhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
    assert_eq!(key.public().unwrap().point().unwrap(), point);
    let expected = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
                    085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";
    assert_eq!(key.sign(Scheme::EdDsa, &[0x72]).unwrap(), unhex(expected));
}

/// RFC 7748, section 5.2, the first vector.
#[test]
fn x25519_vector() {
    let scalar = unhex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4");
    let point = unhex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c");
    let secret = PrivateKey::from_scalar(Curve::X25519, &scalar)
        .unwrap()
        .agree(&point)
        .unwrap();
    assert_eq!(
        secret.expose(),
        unhex("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552")
    );
}

/// RFC 5903, section 8.1: ECDH on P-256.
#[test]
fn ecdh_vector() {
    let key = unhex("c88f01f510d9ac3f70a292daa2316de544e9aab8afe84049c62a9c57862d1433");
    let peer = unhex(
        "04d12dfb5289c8d4f81208b70270398c342296970a0bccb74c736fc7554494bf63\
         56fbf3ca366cc23e8157854c13c58d6aac23f046ada30f8353e74f33039872ab",
    );
    let secret = PrivateKey::from_scalar(Curve::P256, &key)
        .unwrap()
        .agree(&peer)
        .unwrap();
    assert_eq!(
        secret.expose(),
        unhex("d6840f6b42f6edafd13116e0e12565202fef8e9ece7dce03812464d04b9442de")
    );
}

/// RFC 8032, 7.2 (the context "foo") and 7.3.
#[test]
fn ed25519_with_a_context_and_of_a_digest() {
    let key = |seed: &str| PrivateKey::from_scalar(Curve::Ed25519, &unhex(seed)).unwrap();
    let with = key("0305334e381af78f141cb666f6199f57bc3495335a256a95bd2a55bf546663f6");
    let message = unhex("f726936d19c800494e3fdaff20b276a8");
    let foo = Scheme::EdDsaContext(Context::new(b"foo").unwrap());
    let signature = with.sign(foo, &message).unwrap();
    assert_eq!(
        signature,
        unhex(
            "55a4cc2f70a54e04288c5f4cd1e45a7bb520b36292911876cada7323198dd87a\
             8b36950b95130022907a7fb7c4e9b2d5f6cca685a587b4b21f4b888e4e7edb0d"
        )
    );
    let public = with.public().unwrap();
    public.verify(foo, &message, &signature).unwrap();
    let bar = Scheme::EdDsaContext(Context::new(b"bar").unwrap());
    for other in [bar, Scheme::EdDsa] {
        assert_eq!(
            rv(public.verify(other, &message, &signature)),
            ck::CKR_SIGNATURE_INVALID
        );
    }
    let hashing = key("833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42");
    let abc = digest(Hash::Sha512, b"abc").unwrap();
    let plain = Scheme::EdDsaPrehashed(Context::new(b"").unwrap());
    let signature = hashing.sign(plain, &abc).unwrap();
    assert_eq!(
        signature,
        unhex(
            "98a70222f0b8121aa9d30f813d683f809e462b469c7ff87639499bb94e6dae41\
             31f85042463c2a355a2003d062adf5aaa10b8c61e636062aaad11c2a26083406"
        )
    );
    let public = hashing.public().unwrap();
    public.verify(plain, &abc, &signature).unwrap();
    let long = Scheme::EdDsaPrehashed(Context::new(&[7; 255]).unwrap());
    assert_eq!(
        rv(public.verify(long, &abc, &signature)),
        ck::CKR_SIGNATURE_INVALID
    );
    public
        .verify(long, &abc, &hashing.sign(long, &abc).unwrap())
        .unwrap();
    assert_eq!(rv(hashing.sign(plain, b"abc")), ck::CKR_DATA_LEN_RANGE);
    assert_eq!(rv(Context::new(&[7; 256])), ck::CKR_MECHANISM_PARAM_INVALID);
}
