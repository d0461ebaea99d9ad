//! The standards' vectors, whole and cut at every place, and what must be refused.

use super::*;
use crate::crypto::unhex;

const KEYS: [&str; 3] = [
    "2b7e151628aed2a6abf7158809cf4f3c",
    "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b",
    "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
];
const PLAIN: &str = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51\
                     30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710";

fn run(direction: Direction, key: &[u8], mode: Mode<'_>, data: &[u8]) -> Result<Vec<u8>> {
    Cipher::new(direction, Key::Aes(key), mode)?.run(data)
}

fn check(key: &[u8], mode: Mode<'_>, plain: &[u8], encrypted: &[u8]) {
    check_key(Key::Aes(key), mode, plain, encrypted);
}

/// Both directions, whole and cut at every place into two parts, with the lengths that were announced.
fn check_key(key: Key<'_>, mode: Mode<'_>, plain: &[u8], encrypted: &[u8]) {
    for (direction, from, to) in [
        (Direction::Encrypt, plain, encrypted),
        (Direction::Decrypt, encrypted, plain),
    ] {
        assert_eq!(
            Cipher::new(direction, key, mode)
                .unwrap()
                .run(from)
                .unwrap(),
            to,
            "{direction:?} {mode:?}"
        );
        for cut in 0..=from.len() {
            let mut cipher = Cipher::new(direction, key, mode).unwrap();
            let mut out = Vec::new();
            for part in [&from[..cut], &from[cut..]] {
                let expected = cipher.update_len(part.len());
                let piece = cipher.update(part).unwrap();
                assert_eq!(piece.len(), expected, "{direction:?} {mode:?} cut at {cut}");
                out.extend(piece);
            }
            let most = cipher.finish_len(0);
            let last = cipher.finish().unwrap();
            assert!(last.len() <= most);
            out.extend(last);
            assert_eq!(out, to, "{direction:?} {mode:?} cut at {cut}");
        }
    }
}

#[test]
fn sp_800_38a_ecb() {
    for (key, expected) in KEYS.iter().zip([
        "3ad77bb40d7a3660a89ecaf32466ef97f5d3d58503b9699de785895a96fdbaaf\
         43b1cd7f598ece23881b00e3ed0306887b0c785e27e8ad3f8223207104725dd4",
        "bd334f1d6e45f25ff712a214571fa5cc974104846d0ad3ad7734ecb3ecee4eef\
         ef7afd2270e2e60adce0ba2face6444e9a4b41ba738d6c72fb16691603c18e0e",
        "f3eed1bdb5d2a03c064b5a7e3db181f8591ccb10d410ed26dc5ba74a31362870\
         b6ed21b99ca6f4f9f153e7b1beafed1d23304b7a39f9f3ff067d8d8f9e24ecc7",
    ]) {
        check(&unhex(key), Mode::Ecb, &unhex(PLAIN), &unhex(expected));
    }
}

#[test]
fn sp_800_38a_cbc() {
    let iv = unhex("000102030405060708090a0b0c0d0e0f");
    for (key, expected) in KEYS.iter().zip([
        "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2\
         73bed6b8e3c1743b7116e69e222295163ff1caa1681fac09120eca307586e1a7",
        "4f021db243bc633d7178183a9fa071e8b4d9ada9ad7dedf4e5e738763f69145a\
         571b242012fb7ae07fa9baac3df102e008b0e27988598881d920a9e64f5615cd",
        "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d\
         39f23369a9d9bacfa530e26304231461b2eb05e2c39be9fcda6c19078c6a9d1b",
    ]) {
        check(
            &unhex(key),
            Mode::Cbc { iv: &iv },
            &unhex(PLAIN),
            &unhex(expected),
        );
    }
}

#[test]
fn sp_800_38a_ctr() {
    let counter = unhex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff");
    for (key, expected) in KEYS.iter().zip([
        "874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff\
         5ae4df3edbd5d35e5b4f09020db03eab1e031dda2fbe03d1792170a0f3009cee",
        "1abc932417521ca24f2b0459fe7e6e0b090339ec0aa6faefd5ccc2c6f4ce8e94\
         1e36b26bd1ebc670d1bd1d665620abf74f78a7f6d29809585a97daec58c6b050",
        "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5\
         2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6",
    ]) {
        check(
            &unhex(key),
            Mode::Ctr {
                counter: &counter,
                bits: 128,
            },
            &unhex(PLAIN),
            &unhex(expected),
        );
        check(
            &unhex(key),
            Mode::Ctr {
                counter: &counter,
                bits: 32,
            },
            &unhex(PLAIN)[..61],
            &unhex(expected)[..61],
        );
    }
}

/// RFC 3602, section 4, case 4 has whole blocks; with padding a whole block more is added, as PKCS#7 says.
#[test]
fn cbc_pad_pads_every_length() {
    let (key, iv) = (unhex(KEYS[0]), unhex("000102030405060708090a0b0c0d0e0f"));
    for len in 0..=33 {
        let plain: Vec<u8> = (0..len).collect();
        let encrypted = run(Direction::Encrypt, &key, Mode::CbcPad { iv: &iv }, &plain).unwrap();
        assert_eq!(encrypted.len(), plain.len() / 16 * 16 + 16);
        let mut padded = plain.clone();
        padded.resize(encrypted.len(), (encrypted.len() - plain.len()) as u8);
        assert_eq!(
            run(Direction::Decrypt, &key, Mode::Cbc { iv: &iv }, &encrypted).unwrap(),
            padded
        );
        check(&key, Mode::CbcPad { iv: &iv }, &plain, &encrypted);
    }
}

/// McGrew and Viega, "The Galois/Counter Mode of Operation", cases 4, 5, 6 (AES-128) and 16, 17, 18 (AES-256):
/// nonces of 12, 8 and 60 bytes.
#[test]
fn gcm_vectors() {
    let key = unhex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308");
    let plain = unhex(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
         1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
    );
    let aad = unhex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
    let (short, usual) = (unhex("cafebabefacedbad"), unhex("cafebabefacedbaddecaf888"));
    let long = unhex(
        "9313225df88406e555909c5aff5269aa6a7a9538534f7da1e4c303d2a318a728\
         c3c0c95156809539fcf0e2429a6b525416aedbf5a0de6a57a637b39b",
    );
    for (key_len, iv, expected, tag) in [
        (
            16,
            &usual,
            "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e\
             21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091",
            "5bc94fbc3221a5db94fae95ae7121a47",
        ),
        (
            16,
            &short,
            "61353b4c2806934a777ff51fa22a4755699b2a714fcdc6f83766e5f97b6c7423\
             73806900e49f24b22b097544d4896b424989b5e1ebac0f07c23f4598",
            "3612d2e79e3b0785561be14aaca2fccb",
        ),
        (
            16,
            &long,
            "8ce24998625615b603a033aca13fb894be9112a5c3a211a8ba262a3cca7e2ca7\
             01e4a9a4fba43c90ccdcb281d48c7c6fd62875d2aca417034c34aee5",
            "619cc5aefffe0bfa462af43c1699d050",
        ),
        (
            32,
            &usual,
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
             8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
            "76fc6ece0f4e1768cddf8853bb2d551b",
        ),
        (
            32,
            &short,
            "c3762df1ca787d32ae47c13bf19844cbaf1ae14d0b976afac52ff7d79bba9de0\
             feb582d33934a4f0954cc2363bc73f7862ac430e64abe499f47c9b1f",
            "3a337dbf46a792c45e454913fe2ea8f2",
        ),
        (
            32,
            &long,
            "5a8def2f0c9e53f1f75d7853659e2a20eeb2b22aafde6419a058ab4f6f746bf4\
             0fc0c3b780f244452da3ebf1c5d82cdea2418997200ef82e44ae7e3f",
            "a44a8266ee1c8eb0c8b5d4cf5ae9f19a",
        ),
    ] {
        for tag_len in [4, 12, 16] {
            let mode = Mode::Gcm {
                iv,
                aad: &aad,
                tag_len,
            };
            let expected = [unhex(expected), unhex(tag)[..tag_len].to_vec()].concat();
            check(&key[..key_len], mode, &plain, &expected);
        }
    }
    // Case 13: nothing at all, and the tag still counts.
    check(
        &[0; 32],
        Mode::Gcm {
            iv: &[0; 12],
            aad: &[],
            tag_len: 16,
        },
        &[],
        &unhex("530f8afbc74536b9a963b4f1c4cb738b"),
    );
}

#[test]
fn sp_800_38a_feedback_modes() {
    let iv = unhex("000102030405060708090a0b0c0d0e0f");
    let ofb = "3b3fd92eb72dad20333449f8e83cfb4a7789508d16918f03f53c52dac54ed825\
               9740051e9c5fecf64344f7a82260edcc304c6528f659c77866a510d9c1d6ae5e";
    check(
        &unhex(KEYS[0]),
        Mode::Ofb { iv: &iv },
        &unhex(PLAIN),
        &unhex(ofb),
    );
    let cfb128 = "dc7e84bfda79164b7ecd8486985d386039ffed143b28b1c832113c6331e5407b\
                  df10132415e54b92a13ed0a8267ae2f975a385741ab9cef82031623d55b1e471";
    check(
        &unhex(KEYS[2]),
        Mode::Cfb128 { iv: &iv },
        &unhex(PLAIN),
        &unhex(cfb128),
    );
    let cfb8 = "3b79424c9c0dd436bace9e0ed4586a4f32b9";
    check(
        &unhex(KEYS[0]),
        Mode::Cfb8 { iv: &iv },
        &unhex(PLAIN)[..18],
        &unhex(cfb8),
    );
}

/// SP 800-38C, examples 1 to 3.
#[test]
fn ccm_vectors() {
    let key = unhex("404142434445464748494a4b4c4d4e4f");
    let counting =
        unhex("101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f3031323334353637");
    let aad: Vec<u8> = (0..20).collect();
    for (nonce_len, aad_len, tag_len, text_len, expected) in [
        (7, 8, 4, 4, "7162015b4dac255d"),
        (8, 16, 6, 16, "d2a1f0e051ea5f62081a7792073d593d1fc64fbfaccd"),
        (
            12,
            20,
            8,
            24,
            "e3b201a9f5b71a7a9b1ceaeccd97e70b6176aad9a4428aa5484392fbc1b09951",
        ),
    ] {
        let mode = Mode::Ccm {
            nonce: &counting[..nonce_len],
            aad: &aad[..aad_len],
            tag_len,
        };
        let plain: Vec<u8> = (0x20..).take(text_len).collect();
        check(&key, mode, &plain, &unhex(expected));
        let mut broken = unhex(expected);
        broken[0] ^= 1;
        assert_eq!(
            run(Direction::Decrypt, &key, mode, &broken)
                .unwrap_err()
                .rv(),
            ck::CKR_ENCRYPTED_DATA_INVALID
        );
        assert_eq!(
            run(Direction::Decrypt, &key, mode, &[0; 3])
                .unwrap_err()
                .rv(),
            ck::CKR_ENCRYPTED_DATA_LEN_RANGE
        );
    }
    for (nonce_len, tag_len) in [(6, 8), (14, 8), (12, 5), (12, 2), (12, 18)] {
        let mode = Mode::Ccm {
            nonce: &counting[..nonce_len],
            aad: &[],
            tag_len,
        };
        assert_eq!(
            run(Direction::Encrypt, &key, mode, &[]).unwrap_err().rv(),
            ck::CKR_MECHANISM_PARAM_INVALID
        );
    }
    let empty = Mode::Ccm {
        nonce: &counting[..12],
        aad: &[],
        tag_len: 16,
    };
    let sealed = run(Direction::Encrypt, &key, empty, &[]).unwrap();
    check(&key, empty, &[], &sealed);
}

/// RFC 8439, section 2.8.2.
#[test]
fn chacha20_poly1305_vector() {
    let key: Vec<u8> = (0x80..0xa0).collect();
    let (nonce, aad) = (
        unhex("070000004041424344454647"),
        unhex("50515253c0c1c2c3c4c5c6c7"),
    );
    let plain =
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.";
    let sealed = unhex(
        "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6\
         3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36\
         92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc\
         3ff4def08e4b7a9de576d26586cec64b6116\
         1ae10b594f09e26a7e902ecbd0600691",
    );
    check_key(
        Key::ChaCha20(&key),
        Mode::Poly1305 {
            nonce: &nonce,
            aad: &aad,
            tag_len: 16,
        },
        plain,
        &sealed,
    );
    for tag_len in [4, 12] {
        let cut = &sealed[..plain.len() + tag_len];
        check_key(
            Key::ChaCha20(&key),
            Mode::Poly1305 {
                nonce: &nonce,
                aad: &aad,
                tag_len,
            },
            plain,
            cut,
        );
    }
    for (nonce_len, tag_len) in [(8, 16), (12, 3), (12, 17)] {
        let impossible = Mode::Poly1305 {
            nonce: &nonce[..nonce_len],
            aad: &aad,
            tag_len,
        };
        let refused = Cipher::new(Direction::Encrypt, Key::ChaCha20(&key), impossible)
            .err()
            .unwrap();
        assert_eq!(refused.rv(), ck::CKR_MECHANISM_PARAM_INVALID);
    }
}

/// SP 800-67, appendix B (ECB), and the same text chained by hand from it.
#[test]
fn triple_des_vectors() {
    let key = unhex("0123456789abcdef23456789abcdef01456789abcdef0123");
    let plain = b"The qufck brown fox jump";
    let ecb = unhex("a826fd8ce53b855fcce21c8112256fe668d5c05dd9b6b900");
    check_key(Key::TripleDes(&key), Mode::Ecb, plain, &ecb);
    // The first block of CBC with a zero vector is ECB's.
    let cbc = Cipher::new(
        Direction::Encrypt,
        Key::TripleDes(&key),
        Mode::Cbc { iv: &[0; 8] },
    )
    .unwrap()
    .run(plain)
    .unwrap();
    assert_eq!(cbc[..8], ecb[..8]);
    check_key(Key::TripleDes(&key), Mode::Cbc { iv: &[0; 8] }, plain, &cbc);
    let padded = Cipher::new(
        Direction::Encrypt,
        Key::TripleDes(&key),
        Mode::CbcPad { iv: &[1; 8] },
    )
    .unwrap()
    .run(b"123")
    .unwrap();
    check_key(
        Key::TripleDes(&key),
        Mode::CbcPad { iv: &[1; 8] },
        b"123",
        &padded,
    );
}

#[test]
fn gcm_releases_nothing_when_the_tag_is_wrong() {
    let iv = [7; 12];
    let mode = |aad| Mode::Gcm {
        iv: &iv,
        aad,
        tag_len: 16,
    };
    let sealed = run(Direction::Encrypt, &[1; 32], mode(b"head"), b"a secret").unwrap();
    for at in 0..sealed.len() {
        let mut broken = sealed.clone();
        broken[at] ^= 1;
        let mut cipher =
            Cipher::new(Direction::Decrypt, Key::Aes(&[1; 32]), mode(b"head")).unwrap();
        assert!(cipher.update(&broken).unwrap().is_empty());
        assert_eq!(
            cipher.finish().unwrap_err().rv(),
            ck::CKR_ENCRYPTED_DATA_INVALID
        );
    }
    let rv = |key: &[u8], aad, data: &[u8]| {
        run(Direction::Decrypt, key, mode(aad), data)
            .unwrap_err()
            .rv()
    };
    assert_eq!(
        rv(&[1; 32], b"tail", &sealed),
        ck::CKR_ENCRYPTED_DATA_INVALID
    );
    assert_eq!(
        rv(&[2; 32], b"head", &sealed),
        ck::CKR_ENCRYPTED_DATA_INVALID
    );
    assert_eq!(
        rv(&[1; 32], b"head", &sealed[..15]),
        ck::CKR_ENCRYPTED_DATA_LEN_RANGE
    );
}

#[test]
fn wrong_keys_parameters_and_lengths_are_refused() {
    let rv = |direction, key: &[u8], mode, data: &[u8]| {
        run(direction, key, mode, data).unwrap_err().rv()
    };
    let (enc, dec) = (Direction::Encrypt, Direction::Decrypt);
    assert_eq!(rv(enc, &[0; 15], Mode::Ecb, &[]), ck::CKR_KEY_SIZE_RANGE);
    assert_eq!(rv(enc, &[], Mode::Ecb, &[]), ck::CKR_KEY_SIZE_RANGE);
    assert_eq!(
        rv(enc, &[0; 16], Mode::Cbc { iv: &[0; 15] }, &[]),
        ck::CKR_MECHANISM_PARAM_INVALID
    );
    assert_eq!(
        rv(enc, &[0; 16], Mode::Cbc { iv: &[] }, &[]),
        ck::CKR_MECHANISM_PARAM_INVALID
    );
    assert_eq!(
        rv(
            enc,
            &[0; 16],
            Mode::Gcm {
                iv: &[],
                aad: &[],
                tag_len: 16
            },
            &[]
        ),
        ck::CKR_MECHANISM_PARAM_INVALID
    );
    for tag_len in [0, 3, 17, usize::MAX] {
        assert_eq!(
            rv(
                enc,
                &[0; 16],
                Mode::Gcm {
                    iv: &[1; 12],
                    aad: &[],
                    tag_len
                },
                &[]
            ),
            ck::CKR_MECHANISM_PARAM_INVALID
        );
    }
    for bits in [0, 129, u32::MAX] {
        assert_eq!(
            rv(
                enc,
                &[0; 16],
                Mode::Ctr {
                    counter: &[0; 16],
                    bits
                },
                &[]
            ),
            ck::CKR_MECHANISM_PARAM_INVALID
        );
    }
    assert_eq!(
        rv(
            enc,
            &[0; 16],
            Mode::Ctr {
                counter: &[0; 15],
                bits: 128
            },
            &[]
        ),
        ck::CKR_MECHANISM_PARAM_INVALID
    );
    assert_eq!(
        rv(enc, &[0; 16], Mode::Ecb, &[0; 17]),
        ck::CKR_DATA_LEN_RANGE
    );
    assert_eq!(
        rv(dec, &[0; 16], Mode::Cbc { iv: &[0; 16] }, &[0; 17]),
        ck::CKR_ENCRYPTED_DATA_LEN_RANGE
    );
    assert_eq!(
        rv(dec, &[0; 16], Mode::CbcPad { iv: &[0; 16] }, &[]),
        ck::CKR_ENCRYPTED_DATA_LEN_RANGE
    );
    assert_eq!(
        rv(dec, &[0; 16], Mode::CbcPad { iv: &[0; 16] }, &[0; 17]),
        ck::CKR_ENCRYPTED_DATA_LEN_RANGE
    );
    assert_eq!(
        rv(dec, &[0; 16], Mode::CbcPad { iv: &[0; 16] }, &[0; 16]),
        ck::CKR_ENCRYPTED_DATA_INVALID
    );
}

#[test]
fn a_counter_may_reach_its_end_but_not_pass_it() {
    let counter = unhex("000000000000000000000000000000fe");
    let mode = Mode::Ctr {
        counter: &counter,
        bits: 8,
    };
    assert_eq!(
        run(Direction::Encrypt, &[0; 16], mode, &[0; 32])
            .unwrap()
            .len(),
        32
    );
    assert_eq!(
        run(Direction::Encrypt, &[0; 16], mode, &[0; 33])
            .unwrap_err()
            .rv(),
        ck::CKR_DATA_LEN_RANGE
    );
}

#[test]
fn parity_is_odd_and_changes_nothing_else() {
    let mut key: Vec<u8> = (0..=255).collect();
    set_parity(&mut key);
    for (byte, before) in key.iter().zip(0..=255u8) {
        assert_eq!((byte.count_ones() % 2, byte & 0xfe), (1, before & 0xfe));
    }
}

#[test]
fn sp_800_38a_cfb1() {
    let iv = unhex("000102030405060708090a0b0c0d0e0f");
    for (key, expected) in KEYS.iter().zip(["68b3", "9359", "9029"]) {
        check(
            &unhex(key),
            Mode::Cfb1 { iv: &iv },
            &unhex("6bc1"),
            &unhex(expected),
        );
    }
}

/// What PyCryptodome makes with segments of 64 bits of the first 40 bytes; SP 800-38A has no example of these.
#[test]
fn cfb64() {
    let iv = unhex("000102030405060708090a0b0c0d0e0f");
    for (key, expected) in KEYS.iter().zip([
        "3b3fd92eb72dad20764bc8b40ee0de40f857ab76f3e7bc33332265ff0594b12e6c8bf2f3fc1ba87b",
        "cdc80d6fddf18cabdd77d693b7f9ac0026a3ad7dec1fd4401bc8c7ec98d09be9e0f7d12011d06ad9",
        "dc7e84bfda79164b5354b1128a039ec7506b65da6782cdfa2eb7f5711565fc1419345a7d5eed1880",
    ]) {
        for len in [0, 1, 8, 13, 40] {
            check(
                &unhex(key),
                Mode::Cfb64 { iv: &iv },
                &unhex(PLAIN)[..len],
                &unhex(expected)[..len],
            );
        }
    }
}

/// The examples of RFC 3962, whose last two blocks stand in the other order (CBC-CS3).
#[test]
fn cbc_with_ciphertext_stealing() {
    let key = unhex("636869636b656e207465726979616b69");
    let text = b"I would like the General Gau's Chicken, please, and wonton soup.";
    let mode = Mode::Cts { iv: &[0; 16] };
    for expected in [
        "97687268d6ecccc0c07b25e25ecfe584",
        "97c6353568f2bf8cb4d8a580362da7ff7f",
        "97687268d6ecccc0c07b25e25ecfe5fc00783e0efdb2c1d445d4c8eff7ed22",
        "97687268d6ecccc0c07b25e25ecfe58439312523a78662d5be7fcbcc98ebf5a8",
        "97687268d6ecccc0c07b25e25ecfe58439312523a78662d5be7fcbcc98ebf5b3fffd940c16a18c1b5549d2f838029e",
        "97687268d6ecccc0c07b25e25ecfe58439312523a78662d5be7fcbcc98ebf5a89dad8bbb96c4cdc03bc103e1a194bbd8\
         4807efe836ee89a526730dbc2f7bc840",
    ] {
        let expected = unhex(expected);
        check(&key, mode, &text[..expected.len()], &expected);
    }
    for len in [0, 15] {
        assert_eq!(
            run(Direction::Encrypt, &key, mode, &text[..len])
                .unwrap_err()
                .rv(),
            ck::CKR_DATA_LEN_RANGE
        );
        assert_eq!(
            run(Direction::Decrypt, &key, mode, &text[..len])
                .unwrap_err()
                .rv(),
            ck::CKR_ENCRYPTED_DATA_LEN_RANGE
        );
    }
    assert_eq!(
        run(Direction::Encrypt, &key, Mode::Cts { iv: &[0; 15] }, text)
            .unwrap_err()
            .rv(),
        ck::CKR_MECHANISM_PARAM_INVALID
    );
}

/// IEEE 1619, vectors 1 and 15, and what OpenSSL makes with a key of 64 bytes.
#[test]
fn xts() {
    let check = |key: &[u8], unit: &str, plain: &[u8], expected: &str| {
        check_key(
            Key::AesXts(key),
            Mode::Xts { unit: &unhex(unit) },
            plain,
            &unhex(expected),
        );
    };
    let zero = "00000000000000000000000000000000";
    check(
        &[0; 32],
        zero,
        &[0; 32],
        "917cf69ebd68b2ec9b9fe9a3eadda692cd43d2f59598ed858c02c2652fbf922e",
    );
    let key = unhex("fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0bfbebdbcbbbab9b8b7b6b5b4b3b2b1b0");
    let counted: Vec<u8> = (0..64).collect();
    check(
        &key,
        "9a785634120000000000000000000000",
        &counted[..17],
        "6c1625db4671522d3d7599601de7ca09ed",
    );
    let plain: Vec<u8> = (0..75u16).map(|i| (i * 7) as u8).collect();
    check(
        &counted,
        "0123456789abcdef0011223344556677",
        &plain,
        "b01dabb6291cf944e05a23014a564d4828d66ad446f852e11ef05d96ec4581e24e11fe6550a933919f2f053952ad3aecc8e886524f0d7f\
         d21f676d4abd267dafb395ae1e15d5bd7681618d",
    );
    let new = |key: &[u8], unit: &[u8]| {
        Cipher::new(Direction::Encrypt, Key::AesXts(key), Mode::Xts { unit })
    };
    assert_eq!(
        new(&[0; 48], &[0; 16]).err().unwrap().rv(),
        ck::CKR_KEY_SIZE_RANGE
    );
    assert_eq!(
        new(&[0; 32], &[0; 12]).err().unwrap().rv(),
        ck::CKR_MECHANISM_PARAM_INVALID
    );
    assert_eq!(
        new(&[0; 32], &[0; 16])
            .unwrap()
            .run(&[0; 15])
            .unwrap_err()
            .rv(),
        ck::CKR_DATA_LEN_RANGE
    );
    let most = 16 << 20;
    assert_eq!(
        new(&[0; 32], &[0; 16])
            .unwrap()
            .run(&vec![0; most])
            .unwrap()
            .len(),
        most
    );
    assert_eq!(
        new(&[0; 32], &[0; 16])
            .unwrap()
            .run(&vec![0; most + 1])
            .unwrap_err()
            .rv(),
        ck::CKR_DATA_LEN_RANGE
    );
}

/// RFC 8439, 2.4.2, and what OpenSSL makes where the counter's lower half overflows.
#[test]
fn chacha20_alone() {
    let key: Vec<u8> = (0..32).collect();
    let text =
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.";
    for (counter, nonce, expected) in [
        (
            "01000000",
            "000000000000004a00000000",
            "6e2e359a2568f98041ba0728dd0d6981e97e7aec1d4360c20a27afccfd9fae0bf91b65c5524733ab8f593dabcd62b3571639d624e65152ab8f53\
             0c359f0861d807ca0dbf500d6a6156a38e088a22b65e52bc514d16ccf806818ce91ab77937365af90bbf74a35be6b40b8eedf2785e42874d",
        ),
        (
            "ffffffff05000000",
            "0001020304050607",
            "8ddc92357b63b791a931cfa8f9b138173172893e6e362f2c79e057a549151d6d244a0e40f77fa1b071dd8e2da3c1a4545672f095b7e28052a293\
             1c666ab9ffd9b13e614311e59eb2ba48073bbd5f122d051aed04fb3989d099685d06d2e9e6e710bf5f87632d5806698225779b64870b5b1c",
        ),
    ] {
        let mode = Mode::Plain {
            counter: &unhex(counter),
            nonce: &unhex(nonce),
        };
        check_key(Key::ChaCha20(&key), mode, text, &unhex(expected));
    }
    let new = |counter: &[u8], nonce: &[u8]| {
        Cipher::new(
            Direction::Encrypt,
            Key::ChaCha20(&key),
            Mode::Plain { counter, nonce },
        )
    };
    for (counter, nonce) in [(4, 8), (8, 12), (0, 12), (8, 24), (4, 0)] {
        assert_eq!(
            new(&vec![0; counter], &vec![0; nonce]).err().unwrap().rv(),
            ck::CKR_MECHANISM_PARAM_INVALID
        );
    }
    // A block more than the counter has.
    let mut last = new(&[0xff; 4], &[0; 12]).unwrap();
    assert_eq!(last.update(&[0; 64]).unwrap().len(), 64);
    assert_eq!(last.update(&[0]).unwrap_err().rv(), ck::CKR_DATA_LEN_RANGE);
    assert_eq!(
        new(&[0xff; 8], &[0; 8])
            .unwrap()
            .run(&[0; 65])
            .unwrap_err()
            .rv(),
        ck::CKR_DATA_LEN_RANGE
    );
}

/// Zeros that nobody looks at take no memory.
#[test]
fn what_must_wait_for_its_end_is_not_taken_without_bound() {
    let (iv, aad) = (&[1; 12][..], &[][..]);
    let zeros = vec![0; WAITING_MAX as usize + 1];
    for (key, mode) in [
        (
            Key::Aes(&[7; 32]),
            Mode::Gcm {
                iv,
                aad,
                tag_len: 16,
            },
        ),
        (
            Key::Aes(&[7; 32]),
            Mode::Ccm {
                nonce: iv,
                aad,
                tag_len: 16,
            },
        ),
        (
            Key::ChaCha20(&[7; 32]),
            Mode::Poly1305 {
                nonce: iv,
                aad,
                tag_len: 16,
            },
        ),
    ] {
        let mut cipher = Cipher::new(Direction::Decrypt, key, mode).unwrap();
        cipher.update(&zeros[..32]).unwrap();
        assert_eq!(
            cipher.update(&zeros).unwrap_err().rv(),
            ck::CKR_ENCRYPTED_DATA_LEN_RANGE
        );
    }
}
