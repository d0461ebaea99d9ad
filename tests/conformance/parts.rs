//! In parts as at once: for every mechanism and data of every awkward length, results, lengths and errors are the same however the
//! data are cut.

use std::ptr::null_mut;

use mrhsm_pkcs11::ck::*;

use super::app::{App, Mech, Rv, input, output, user};
use super::mechanisms::{info, mechanisms};
use super::usual::{Keys, usual};
use crate::ffi::host::{alone, ck};

/// Around the blocks of all ciphers and hashes, and more than any of them.
const LENGTHS: [usize; 19] = [
    0, 1, 7, 8, 9, 15, 16, 17, 20, 31, 32, 33, 47, 48, 63, 64, 65, 245, 1000,
];

/// How data are cut: sizes taken in turn. A part may be empty.
const CUTS: [&[usize]; 4] = [&[1], &[0, 3, 16, 1], &[17, 0, 15], &[64, 5]];

/// The parts of `data`, and one that is empty at the end.
fn parts<'a>(data: &'a [u8], cut: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let (mut rest, mut sizes) = (data, cut.iter().cycle());
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (part, more) = rest.split_at(rest.len().min(*sizes.next()?));
        rest = more;
        Some(part)
    })
    .chain(std::iter::once(&[][..]))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Encrypt,
    Decrypt,
    Sign,
    Digest,
}

impl App<'_> {
    fn begin(&self, way: Way, m: &Mech, key: CK_OBJECT_HANDLE) -> Rv<()> {
        match way {
            Way::Encrypt => self.encrypt_init(m.clone(), key),
            Way::Decrypt => self.decrypt_init(m.clone(), key),
            Way::Sign => self.sign_init(m.clone(), key),
            Way::Digest => self.digest_init(m.clone()),
        }
    }

    fn whole(&self, way: Way, m: &Mech, key: CK_OBJECT_HANDLE, data: &[u8]) -> Rv<Vec<u8>> {
        self.begin(way, m, key)?;
        let (host, s, (at, n)) = (self.host, self.session, input(data));
        output(|out, len| match way {
            Way::Encrypt => ck!(host.C_Encrypt(s, at, n, out, len)),
            Way::Decrypt => ck!(host.C_Decrypt(s, at, n, out, len)),
            Way::Sign => ck!(host.C_Sign(s, at, n, out, len)),
            Way::Digest => ck!(host.C_Digest(s, at, n, out, len)),
        })
    }

    fn in_parts(
        &self,
        way: Way,
        m: &Mech,
        key: CK_OBJECT_HANDLE,
        data: &[u8],
        cut: &[usize],
    ) -> Rv<Vec<u8>> {
        self.begin(way, m, key)?;
        let (host, s, mut all) = (self.host, self.session, Vec::new());
        for part in parts(data, cut) {
            let (at, n) = input(part);
            all.extend(output(|out, len| match way {
                Way::Encrypt => ck!(host.C_EncryptUpdate(s, at, n, out, len)),
                Way::Decrypt => ck!(host.C_DecryptUpdate(s, at, n, out, len)),
                // These have no output: they are called once, and the length stays 0.
                _ if out.is_null() => CKR_OK,
                Way::Sign => ck!(host.C_SignUpdate(s, at, n)),
                Way::Digest => ck!(host.C_DigestUpdate(s, at, n)),
            })?);
        }
        all.extend(self.end(way)?);
        Ok(all)
    }

    fn end(&self, way: Way) -> Rv<Vec<u8>> {
        let (host, s) = (self.host, self.session);
        output(|out, len| match way {
            Way::Encrypt => ck!(host.C_EncryptFinal(s, out, len)),
            Way::Decrypt => ck!(host.C_DecryptFinal(s, out, len)),
            Way::Sign => ck!(host.C_SignFinal(s, out, len)),
            Way::Digest => ck!(host.C_DigestFinal(s, out, len)),
        })
    }

    /// Begun, and ended without a part.
    fn nothing(&self, way: Way, m: &Mech, key: CK_OBJECT_HANDLE) -> Rv<Vec<u8>> {
        self.begin(way, m, key)?;
        self.end(way)
    }

    fn cancel(&self) {
        let host = self.host;
        assert_eq!(
            ck!(host.C_SessionCancel(self.session, CK_FLAGS::MAX)),
            CKR_OK
        );
    }
}

/// Mechanisms whose results differ each time.
fn is_random(kind: CK_MECHANISM_TYPE, way: Way) -> bool {
    match way {
        Way::Encrypt => matches!(kind, CKM_RSA_PKCS | CKM_RSA_PKCS_OAEP),
        Way::Sign => {
            matches!(kind, CKM_ECDSA..=CKM_ECDSA_SHA512 | CKM_ECDSA_SHA3_224..=CKM_ECDSA_SHA3_512 | CKM_RSA_PKCS_PSS)
                || matches!(kind, CKM_SHA1_RSA_PKCS_PSS | CKM_SHA224_RSA_PKCS_PSS)
                || matches!(kind, CKM_SHA256_RSA_PKCS_PSS..=CKM_SHA512_RSA_PKCS_PSS)
                || matches!(
                    kind,
                    CKM_SHA3_256_RSA_PKCS_PSS
                        ..=CKM_SHA3_512_RSA_PKCS_PSS | CKM_SHA3_224_RSA_PKCS_PSS
                )
        }
        _ => false,
    }
}

#[test]
fn parts_of_any_size_make_the_same() {
    alone(|host| {
        let (slot, app) = user(host);
        let keys = Keys::new(app);
        let data: Vec<u8> = (0..1000u32).map(|i| (i * 7 + i / 256) as u8).collect();
        let mut wrong = Vec::new();
        for kind in mechanisms(app, slot) {
            let (flags, m, (protect, process)) = (
                info(app, slot, kind).flags,
                usual(kind, &keys),
                keys.of(kind),
            );
            let ways = [
                (CKF_ENCRYPT, Way::Encrypt, protect),
                (CKF_SIGN, Way::Sign, process),
                (CKF_DIGEST, Way::Digest, 0),
            ];
            for (_, way, key) in ways.into_iter().filter(|(flag, ..)| flags & flag != 0) {
                for len in LENGTHS {
                    let data = &data[..len];
                    let whole = app.whole(way, &m, key, data);
                    app.cancel();
                    let mut see = |what: &str, got: &Rv<Vec<u8>>, wanted: &Rv<Vec<u8>>| {
                        if got != wanted {
                            wrong.push(format!(
                                "{kind:#x}, {len} bytes, {what}: {got:x?} instead of {wanted:x?}"
                            ));
                        }
                    };
                    for cut in CUTS {
                        let made = app.in_parts(way, &m, key, data, cut);
                        app.cancel();
                        match (&made, &whole) {
                            (Ok(made), Ok(whole)) if is_random(kind, way) => {
                                assert_eq!(made.len(), whole.len(), "{kind:#x}");
                                if way == Way::Sign {
                                    let verified = app
                                        .verify_parts(m.clone(), protect, data, whole, 7)
                                        .map(|()| Vec::new());
                                    see("verified in parts", &verified, &Ok(Vec::new()));
                                    let verified = app
                                        .verify(m.clone(), protect, data, made)
                                        .map(|()| Vec::new());
                                    see("verified", &verified, &Ok(Vec::new()));
                                } else {
                                    see(
                                        "opened",
                                        &app.decrypt(m.clone(), process, made),
                                        &Ok(data.to_vec()),
                                    );
                                }
                            }
                            _ => see("in parts", &made, &whole),
                        }
                        if let (Way::Encrypt, Ok(secret)) = (way, &whole) {
                            let at_once = app.whole(Way::Decrypt, &m, process, secret);
                            see(
                                "opened in parts",
                                &app.in_parts(Way::Decrypt, &m, process, secret, cut),
                                &at_once,
                            );
                            app.cancel();
                            // A part that is missing is missed, and with the same words.
                            let cut_off = &secret[..secret.len().saturating_sub(1)];
                            let at_once = app.whole(Way::Decrypt, &m, process, cut_off);
                            app.cancel();
                            see(
                                "cut off",
                                &app.in_parts(Way::Decrypt, &m, process, cut_off, cut),
                                &at_once,
                            );
                            app.cancel();
                        }
                    }
                    if len == 0 && !is_random(kind, way) {
                        see("begun and ended", &app.nothing(way, &m, key), &whole);
                        app.cancel();
                    }
                }
            }
        }
        assert!(
            wrong.is_empty(),
            "{} of them: {:#?}",
            wrong.len(),
            &wrong[..wrong.len().min(20)]
        );
        host.finalize();
    });
}

/// What a size query says is enough, at the beginning of an operation and in its middle, and where nothing is padded it is exact.
#[test]
fn announced_lengths_are_true() {
    alone(|host| {
        let (slot, app) = user(host);
        let keys = Keys::new(app);
        let data = [5u8; 48];
        for kind in mechanisms(app, slot) {
            let (m, (protect, _)) = (usual(kind, &keys), keys.of(kind));
            if info(app, slot, kind).flags & CKF_ENCRYPT == 0 {
                continue;
            }
            let Ok(whole) = app.encrypt(m.clone(), protect, &data) else {
                panic!("{kind:#x}")
            };
            app.encrypt_init(m.clone(), protect).unwrap();
            let mut len = 0;
            let at = data.as_ptr().cast_mut();
            assert_eq!(
                ck!(host.C_Encrypt(app.session, at, 48, null_mut(), &mut len)),
                CKR_OK
            );
            assert_eq!(len as usize, whole.len(), "{kind:#x}");
            // Nothing is taken by asking, and nothing by a buffer that is one byte too short.
            let mut short = vec![0xa5; whole.len()];
            len -= 1;
            let rv = ck!(host.C_Encrypt(app.session, at, 48, short.as_mut_ptr(), &mut len));
            assert_eq!(
                (rv, len as usize),
                (CKR_BUFFER_TOO_SMALL, whole.len()),
                "{kind:#x}"
            );
            assert_eq!(short.last(), Some(&0xa5), "{kind:#x}");
            let again = app.encrypt_now(&data).unwrap();
            assert_eq!(again.len(), whole.len());
            assert!(again == whole || is_random(kind, Way::Encrypt), "{kind:#x}");
        }
        host.finalize();
    });
}
