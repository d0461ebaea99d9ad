//! No padding oracles: whatever is wrong with what is decrypted or unwrapped, the answer is the same, and so is the work.

use mrhsm_pkcs11::ck::*;

use super::app::{App, Mech, Rows, Rv, input, rows, served, user};
use super::usual::OAEP;
use crate::ffi::host::{Host, alone, ck};
use crate::kmip_server::Personality;

const MODULUS: usize = 256;

fn invalid() -> Rv<()> {
    Err(CKR_WRAPPED_KEY_INVALID)
}

/// An encryption block of type 2 (RFC 8017, 7.2) with this start, then padding, then `end`.
fn block(start: &[u8], end: &[u8]) -> Vec<u8> {
    let padding = vec![0x77; MODULUS - start.len() - end.len()];
    [start, &padding, end].concat()
}

/// What may be wrong with a block that should hold an AES key.
fn wrong_blocks() -> Vec<(&'static str, Vec<u8>)> {
    let right = |key: &[u8]| block(&[0, 2], &[&[0], key].concat());
    let short = [&[0, 2, 7, 7, 0][..], &[9; 251]].concat();
    vec![
        ("first byte", block(&[1, 2], &[&[0][..], &[9; 32]].concat())),
        (
            "second byte",
            block(&[0, 1], &[&[0][..], &[9; 32]].concat()),
        ),
        ("short padding", short),
        ("no zero", block(&[0, 2], &[9; 33])),
        ("nothing in it", right(&[])),
        ("a byte too short", right(&[9; 31])),
        ("a byte too long", right(&[9; 33])),
        ("much too long", right(&[9; 200])),
        ("all zero", vec![0; MODULUS]),
    ]
}

struct Rsa {
    public: CK_OBJECT_HANDLE,
    private: CK_OBJECT_HANDLE,
}

fn rsa(app: App<'_>, more: &Rows) -> Rsa {
    let public = rows![CKA_MODULUS_BITS: 2048, CKA_ENCRYPT: true, CKA_WRAP: true];
    let private = [rows![CKA_DECRYPT: true, CKA_UNWRAP: true], more.clone()].concat();
    let public = [
        public,
        more.iter()
            .filter(|row| row.0 == CKA_TOKEN)
            .cloned()
            .collect(),
    ]
    .concat();
    let (public, private) = app
        .pair(CKM_RSA_PKCS_KEY_PAIR_GEN, &public, &private)
        .unwrap();
    Rsa { public, private }
}

fn aes() -> Rows {
    rows![CKA_CLASS: CKO_SECRET_KEY, CKA_KEY_TYPE: CKK_AES]
}

/// Templates that what is unwrapped from a right block of 32 bytes does not fit.
fn wrong_templates() -> Vec<(&'static str, Rows)> {
    let private = rows![CKA_CLASS: CKO_PRIVATE_KEY];
    vec![
        ("another length", rows![; aes(), CKA_VALUE_LEN: 16 + 32]),
        (
            "another type",
            rows![CKA_CLASS: CKO_SECRET_KEY, CKA_KEY_TYPE: CKK_DES3],
        ),
        ("a private key", rows![; private, CKA_KEY_TYPE: CKK_RSA]),
        (
            "another private key",
            rows![; private, CKA_KEY_TYPE: CKK_EC],
        ),
        (
            "check value",
            rows![; aes(), CKA_CHECK_VALUE: b"\x01\x02\x03"],
        ),
    ]
}

fn unwrap(app: App<'_>, m: &Mech, key: CK_OBJECT_HANDLE, data: &[u8], rows: &Rows) -> Rv<()> {
    app.unwrap(m.clone(), key, data, rows).map(drop)
}

#[test]
fn unwrapping_with_rsa_tells_nothing_of_the_padding() {
    alone(|host| {
        let (_, app) = user(host);
        let keys = rsa(app, &rows![]);
        let sealed = |block: &[u8]| app.encrypt(CKM_RSA_X_509, keys.public, block).unwrap();
        let pkcs1 = Mech::bare(CKM_RSA_PKCS);
        let right = sealed(&block(&[0, 2], &[&[0][..], &[9; 32]].concat()));
        assert_eq!(unwrap(app, &pkcs1, keys.private, &right, &aes()), Ok(()));
        for (name, block) in wrong_blocks() {
            let wrapped = sealed(&block);
            for rows in [aes(), rows![; aes(), CKA_VALUE_LEN: 32]] {
                assert_eq!(
                    unwrap(app, &pkcs1, keys.private, &wrapped, &rows),
                    invalid(),
                    "{name}"
                );
            }
        }
        let oaep = Mech::with(CKM_RSA_PKCS_OAEP, OAEP);
        let (plain, short) = (app.aes(), app.secret(CKK_GENERIC_SECRET, &[9; 15]));
        let by_oaep = app.wrap(oaep.clone(), keys.public, plain).unwrap();
        for (name, template) in wrong_templates() {
            assert_eq!(
                unwrap(app, &pkcs1, keys.private, &right, &template),
                invalid(),
                "{name}"
            );
            assert_eq!(
                unwrap(app, &oaep, keys.private, &by_oaep, &template),
                invalid(),
                "OAEP, {name}"
            );
        }
        let other = app.wrap(oaep.clone(), keys.public, short).unwrap();
        for wrapped in [&other, &right] {
            assert_eq!(
                unwrap(app, &oaep, keys.private, wrapped, &aes()),
                invalid(),
                "OAEP"
            );
        }
        // Only what everybody sees is told apart.
        assert_eq!(
            unwrap(app, &pkcs1, keys.private, &right[1..], &aes()),
            Err(CKR_WRAPPED_KEY_LEN_RANGE)
        );
        host.finalize();
    });
}

#[test]
fn unwrapping_with_rsa_and_aes_tells_nothing_of_either_half() {
    alone(|host| {
        let (_, app) = user(host);
        let keys = rsa(app, &rows![]);
        let both = super::usual::usual(CKM_RSA_AES_KEY_WRAP, &super::usual::Keys::new(app));
        let wrapped = app.wrap(both.clone(), keys.public, app.aes()).unwrap();
        assert_eq!(unwrap(app, &both, keys.private, &wrapped, &aes()), Ok(()));
        let (first, second) = wrapped.split_at(MODULUS);
        let oaep = Mech::with(CKM_RSA_PKCS_OAEP, OAEP);
        let short = app.secret(CKK_GENERIC_SECRET, &[9; 16]);
        let other_first = app.wrap(oaep, keys.public, short).unwrap();
        let zero = app
            .encrypt(CKM_RSA_X_509, keys.public, &[1; MODULUS - 1])
            .unwrap();
        for (name, first) in [("of another length", &other_first), ("no OAEP", &zero)] {
            let wrapped = [&first[..], second].concat();
            assert_eq!(
                unwrap(app, &both, keys.private, &wrapped, &aes()),
                invalid(),
                "an AES key {name}"
            );
        }
        let mut changed = second.to_vec();
        changed[9] ^= 1;
        let wrapped_wrong = [first, &changed].concat();
        assert_eq!(
            unwrap(app, &both, keys.private, &wrapped_wrong, &aes()),
            invalid()
        );
        for (name, template) in wrong_templates() {
            assert_eq!(
                unwrap(app, &both, keys.private, &wrapped, &template),
                invalid(),
                "{name}"
            );
        }
        host.finalize();
    });
}

/// Last blocks that are no PKCS#7 padding, or leave no key of a right length.
fn wrong_ends(block: usize) -> Vec<(&'static str, Vec<u8>)> {
    let end = |bytes: &[u8]| [&vec![9; block - bytes.len()], bytes].concat();
    vec![
        ("zero", end(&[0])),
        ("more than a block", end(&[block as u8 + 1])),
        ("255", end(&[255])),
        ("one byte wrong", end(&[2, 3, 3])),
        ("the first byte wrong", end(&[3, 4, 4, 4])),
        ("a byte too short", end(&[2, 2])),
        ("much too short", end(&[5; 5])),
    ]
}

#[test]
fn unwrapping_with_padded_ciphers_tells_nothing_of_the_padding() {
    alone(|host| {
        let (_, app) = user(host);
        let aes_key = rows![; aes(), CKA_EXTRACTABLE: true];
        for (pad, bare, key_type, size, iv) in [
            (CKM_AES_CBC_PAD, CKM_AES_CBC, CKK_AES, 16, &[1; 16][..]),
            (CKM_DES3_CBC_PAD, CKM_DES3_CBC, CKK_DES3, 8, &[1; 8]),
        ] {
            let key = app.secret(key_type, &[0x31; 32][..if size == 8 { 24 } else { 32 }]);
            let (pad, bare) = (Mech::iv(pad, iv), Mech::iv(bare, iv));
            let sealed = |text: &[u8]| app.encrypt(bare.clone(), key, text).unwrap();
            let right = sealed(&[vec![9; 32], vec![size as u8; size]].concat());
            assert_eq!(unwrap(app, &pad, key, &right, &aes_key), Ok(()));
            for (name, end) in wrong_ends(size) {
                let wrapped = sealed(&[vec![9; 32 - size], end].concat());
                assert_eq!(
                    unwrap(app, &pad, key, &wrapped, &aes_key),
                    invalid(),
                    "{name}"
                );
            }
            for (name, template) in wrong_templates() {
                assert_eq!(
                    unwrap(app, &pad, key, &right, &template),
                    invalid(),
                    "{name}"
                );
            }
            assert_eq!(
                unwrap(app, &pad, key, &right[1..], &aes_key),
                Err(CKR_WRAPPED_KEY_LEN_RANGE)
            );
        }
        // Key wrapping is authentic; what is in it is not told either.
        let kek = app.aes();
        let filled = [&[9; 24][..], &[8; 7], &[7]].concat();
        for (m, wrapped) in [
            (
                CKM_AES_KEY_WRAP_PKCS7,
                app.encrypt(CKM_AES_KEY_WRAP, kek, &filled).unwrap(),
            ),
            (
                CKM_AES_KEY_WRAP_PKCS7,
                app.encrypt(CKM_AES_KEY_WRAP_PKCS7, kek, &[9; 31]).unwrap(),
            ),
            (
                CKM_AES_KEY_WRAP_PAD,
                app.encrypt(CKM_AES_KEY_WRAP_PAD, kek, &[9; 31]).unwrap(),
            ),
            (
                CKM_AES_KEY_WRAP_KWP,
                app.encrypt(CKM_AES_KEY_WRAP, kek, &[9; 32]).unwrap(),
            ),
        ] {
            assert_eq!(
                unwrap(app, &Mech::bare(m), kek, &wrapped, &aes_key),
                invalid(),
                "{m:#x}"
            );
        }
        host.finalize();
    });
}

fn decrypt(app: App<'_>, text: &[u8], room: usize) -> (CK_RV, CK_ULONG) {
    let (host, (at, n)) = (app.host, input(text));
    let (mut out, mut len) = ([0u8; 512], room as CK_ULONG);
    let rv = ck!(host.C_Decrypt(app.session, at, n, out.as_mut_ptr(), &mut len));
    (rv, len)
}

fn decrypt_update(app: App<'_>, text: &[u8]) -> CK_RV {
    let (host, (at, n)) = (app.host, input(text));
    let (mut out, mut len) = ([0u8; 512], 512);
    ck!(host.C_DecryptUpdate(app.session, at, n, out.as_mut_ptr(), &mut len))
}

fn decrypt_final(app: App<'_>, room: usize) -> (CK_RV, CK_ULONG) {
    let (host, mut out, mut len) = (app.host, [0u8; 512], room as CK_ULONG);
    let rv = ck!(host.C_DecryptFinal(app.session, out.as_mut_ptr(), &mut len));
    (rv, len)
}

/// A buffer that is too small shows neither whether the padding is right nor how long it is.
#[test]
fn a_small_buffer_tells_nothing_of_the_padding() {
    alone(|host| {
        let (_, app) = user(host);
        let keys = rsa(app, &rows![]);
        let key = app.aes();
        let by_rsa = |block: &[u8]| app.encrypt(CKM_RSA_X_509, keys.public, block).unwrap();
        let iv = &[1; 16];
        let by_cbc = |text: &[u8]| app.encrypt(Mech::iv(CKM_AES_CBC, iv), key, text).unwrap();
        let rsa_texts: Vec<_> = wrong_blocks()
            .into_iter()
            .map(|(name, block)| {
                let right =
                    block.starts_with(&[0, 2]) && !["short padding", "no zero"].contains(&name);
                (name, by_rsa(&block), right && name != "nothing in it")
            })
            .collect();
        let cbc_texts: Vec<_> = wrong_ends(16)
            .into_iter()
            .map(|(name, end)| {
                let right = name.ends_with("too short");
                (name, by_cbc(&[vec![9; 16], end].concat()), right)
            })
            .collect();
        for (m, key, texts, room) in [
            (Mech::bare(CKM_RSA_PKCS), keys.private, rsa_texts, 8),
            (Mech::iv(CKM_AES_CBC_PAD, iv), key, cbc_texts, 20),
        ] {
            let mut seen = Vec::new();
            for (name, text, right) in texts {
                if name == "nothing in it" {
                    continue;
                }
                app.decrypt_init(m.clone(), key).unwrap();
                let small = decrypt(app, &text, room);
                assert_eq!(small.0, CKR_BUFFER_TOO_SMALL, "{name}");
                assert_eq!(decrypt(app, &text, 1), small, "{name}, again");
                let whole = decrypt(app, &text, 512).0;
                let wanted = if right {
                    CKR_OK
                } else {
                    CKR_ENCRYPTED_DATA_INVALID
                };
                assert_eq!(whole, wanted, "{name}");
                // In parts.
                app.decrypt_init(m.clone(), key).unwrap();
                assert_eq!(decrypt_update(app, &text), CKR_OK, "{name}, in parts");
                let parts = decrypt_final(app, 2);
                assert_eq!(parts.0, CKR_BUFFER_TOO_SMALL, "{name}, in parts");
                assert_eq!(decrypt_final(app, 512).0, wanted, "{name}, in parts");
                seen.push((small, parts));
            }
            seen.dedup();
            assert_eq!(seen.len(), 1, "lengths: {seen:?}");
        }
        host.finalize();
    });
}

/// The same of keys that stay on their server, whose reasons differ, and the same number of requests.
fn a_server_tells_nothing(host: &Host, personality: Personality) {
    let name = personality.name;
    let (server, _, app) = served(host, personality.clone());
    let kept = rows![CKA_TOKEN: true, CKA_SENSITIVE: true, CKA_EXTRACTABLE: false];
    let key = app
            .generate(
                CKM_AES_KEY_GEN,
                &rows![; kept, CKA_VALUE_LEN: 32, CKA_ENCRYPT: true, CKA_DECRYPT: true, CKA_UNWRAP: true],
            )
            .unwrap();
    let iv = &[1; 16];
    let (pad, bare) = (Mech::iv(CKM_AES_CBC_PAD, iv), Mech::iv(CKM_AES_CBC, iv));
    let sealed = |text: &[u8]| app.encrypt(bare.clone(), key, text).unwrap();
    let right = sealed(&[vec![9; 32], vec![16; 16]].concat());
    let open = rows![; aes(), CKA_TOKEN: false];
    let mut works = vec![(pad, key, right, Vec::new())];
    works[0].3 = wrong_ends(16)
        .into_iter()
        .map(|(name, end)| (name, sealed(&[vec![9; 16], end].concat())))
        .collect();
    // Not every server decrypts with RSA.
    if name == "standard" {
        let keys = rsa(app, &kept);
        let sealed = |block: &[u8]| app.encrypt(CKM_RSA_X_509, keys.public, block).unwrap();
        let right = sealed(&block(&[0, 2], &[&[0][..], &[9; 32]].concat()));
        let wrong = wrong_blocks()
            .into_iter()
            .map(|(name, block)| (name, sealed(&block)))
            .collect();
        works.push((Mech::bare(CKM_RSA_PKCS), keys.private, right, wrong));
    }
    for (m, key, right, wrong) in works {
        // What the server does is proven with the first.
        assert_eq!(unwrap(app, &m, key, &right, &open), Ok(()), "{name}");
        let mut counts = Vec::new();
        for (what, wrapped) in &wrong {
            server.clear_log();
            assert_eq!(
                unwrap(app, &m, key, wrapped, &open),
                invalid(),
                "{name}, {what}"
            );
            counts.push(server.operations());
        }
        for (what, template) in wrong_templates() {
            let template = rows![; template, CKA_TOKEN: false];
            server.clear_log();
            assert_eq!(
                unwrap(app, &m, key, &right, &template),
                invalid(),
                "{name}, {what}"
            );
            counts.push(server.operations());
        }
        counts.dedup();
        assert_eq!(counts.len(), 1, "{name}: {counts:?}");
    }
    host.finalize();
}

#[test]
fn a_server_by_the_book_tells_nothing_of_the_padding() {
    alone(|host| a_server_tells_nothing(host, Personality::standard()));
}

#[test]
fn a_server_like_pykmip_tells_nothing_of_the_padding() {
    alone(|host| a_server_tells_nothing(host, Personality::pykmip_like()));
}
