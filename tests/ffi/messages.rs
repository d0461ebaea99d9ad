//! The message-based functions of PKCS#11 3.0.

use std::ffi::c_void;
use std::ptr::null_mut;

use mrhsm_pkcs11::ck::*;

use super::host::{Host, alone, ck, mechanism};

/// A message's parameter and the memory it points to.
struct Gcm {
    iv: [u8; 12],
    tag: [u8; 16],
}

impl Gcm {
    fn with<R>(
        &mut self,
        generator: CK_GENERATOR_FUNCTION,
        call: impl FnOnce(*mut c_void, CK_ULONG) -> R,
    ) -> R {
        let mut params = CK_GCM_MESSAGE_PARAMS {
            pIv: self.iv.as_mut_ptr(),
            ulIvLen: 12,
            ulIvFixedBits: 32,
            ivGenerator: generator,
            pTag: self.tag.as_mut_ptr(),
            ulTagBits: 128,
        };
        call(
            (&raw mut params).cast(),
            size_of::<CK_GCM_MESSAGE_PARAMS>() as CK_ULONG,
        )
    }
}

fn encrypt(host: &Host, session: CK_SESSION_HANDLE, gcm: &mut Gcm, text: &[u8]) -> Vec<u8> {
    let (mut out, mut aad) = (vec![0u8; text.len()], *b"head");
    let (at, n) = (text.as_ptr().cast_mut(), text.len() as CK_ULONG);
    gcm.with(CKG_GENERATE_COUNTER, |p, len| {
        let mut room = 0;
        assert_eq!(
            ck!(host.C_EncryptMessage(
                session,
                p,
                len,
                aad.as_mut_ptr(),
                4,
                at,
                n,
                null_mut(),
                &mut room
            )),
            CKR_OK
        );
        assert_eq!(room, n);
        assert_eq!(
            ck!(host.C_EncryptMessage(
                session,
                p,
                len,
                aad.as_mut_ptr(),
                4,
                at,
                n,
                out.as_mut_ptr(),
                &mut room
            )),
            CKR_OK
        );
    });
    out
}

fn decrypt(
    host: &Host,
    session: CK_SESSION_HANDLE,
    gcm: &mut Gcm,
    secret: &[u8],
) -> Result<Vec<u8>, CK_RV> {
    let (mut out, mut aad, mut room) =
        (vec![0u8; secret.len()], *b"head", secret.len() as CK_ULONG);
    let (at, n) = (secret.as_ptr().cast_mut(), secret.len() as CK_ULONG);
    let rv = gcm.with(CKG_NO_GENERATE, |p, len| {
        ck!(host.C_DecryptMessage(
            session,
            p,
            len,
            aad.as_mut_ptr(),
            4,
            at,
            n,
            out.as_mut_ptr(),
            &mut room
        ))
    });
    if rv == CKR_OK { Ok(out) } else { Err(rv) }
}

/// Applications give the first message's parameter to Init as well: the Rust bindings, which ask for it.
#[test]
fn a_parameter_with_the_mechanism_is_not_looked_at() {
    alone(|host| {
        host.initialize();
        let (_, session) = host.logged_in();
        let (key, mut gcm) = (
            host.aes_key(session),
            Gcm {
                iv: [1; 12],
                tag: [0; 16],
            },
        );
        for _ in 0..2 {
            gcm.with(CKG_NO_GENERATE, |at, len| {
                let mut m = CK_MECHANISM {
                    pParameter: at,
                    ulParameterLen: len,
                    ..mechanism(CKM_AES_GCM)
                };
                assert_eq!(ck!(host.C_MessageEncryptInit(session, &mut m, key)), CKR_OK);
                assert_eq!(ck!(host.C_MessageDecryptInit(session, &mut m, key)), CKR_OK);
            });
            let secret = encrypt(host, session, &mut gcm, b"text");
            assert_eq!(decrypt(host, session, &mut gcm, &secret).unwrap(), b"text");
            assert_eq!(ck!(host.C_MessageEncryptFinal(session)), CKR_OK);
            assert_eq!(ck!(host.C_MessageDecryptFinal(session)), CKR_OK);
        }
        host.finalize();
    });
}

#[test]
fn many_messages_under_one_key_have_ivs_and_tags_of_their_own() {
    alone(|host| {
        host.initialize();
        let (_, session) = host.logged_in();
        let (key, mut m) = (host.aes_key(session), mechanism(CKM_AES_GCM));
        assert_eq!(ck!(host.C_MessageEncryptInit(session, &mut m, key)), CKR_OK);
        assert_eq!(
            ck!(host.C_MessageEncryptInit(session, &mut m, key)),
            CKR_OPERATION_ACTIVE
        );
        let mut sent = Vec::new();
        for text in [&b"first"[..], b"", b"the third message"] {
            let mut gcm = Gcm {
                iv: *b"saltxxxxxxxx",
                tag: [0; 16],
            };
            let secret = encrypt(host, session, &mut gcm, text);
            assert_eq!(gcm.iv[..4], *b"salt");
            assert_ne!(gcm.tag, [0; 16]);
            sent.push((text, gcm, secret));
        }
        assert_ne!(sent[0].1.iv, sent[1].1.iv);
        assert_eq!(ck!(host.C_MessageEncryptFinal(session)), CKR_OK);
        assert_eq!(
            ck!(host.C_MessageEncryptFinal(session)),
            CKR_OPERATION_NOT_INITIALIZED
        );

        assert_eq!(ck!(host.C_MessageDecryptInit(session, &mut m, key)), CKR_OK);
        for (text, gcm, secret) in &mut sent {
            gcm.tag[0] ^= 1;
            assert_eq!(
                decrypt(host, session, gcm, secret),
                Err(CKR_AEAD_DECRYPT_FAILED)
            );
            gcm.tag[0] ^= 1;
            assert_eq!(
                decrypt(host, session, gcm, secret).as_deref(),
                Ok(*text),
                "after a forged one"
            );
        }
        // The last message once more, in parts.
        let (text, gcm, secret) = sent.last_mut().unwrap();
        let (mut aad, mut out, (first, second)) = (*b"head", [0u8; 64], secret.split_at_mut(5));
        gcm.with(CKG_NO_GENERATE, |p, len| {
            assert_eq!(
                ck!(host.C_DecryptMessageBegin(session, p, len, aad.as_mut_ptr(), 4)),
                CKR_OK
            );
            let (mut one, mut two) = (64, 64);
            let next = |part: &mut [u8], out: *mut u8, room: &mut CK_ULONG, flags| {
                ck!(host.C_DecryptMessageNext(
                    session,
                    p,
                    len,
                    part.as_mut_ptr(),
                    part.len() as CK_ULONG,
                    out,
                    room,
                    flags
                ))
            };
            assert_eq!(next(first, out.as_mut_ptr(), &mut one, 0), CKR_OK);
            let rest = out.as_mut_ptr().wrapping_add(one as usize);
            assert_eq!(
                next(second, rest, &mut 1, CKF_END_OF_MESSAGE),
                CKR_BUFFER_TOO_SMALL
            );
            assert_eq!(next(second, rest, &mut two, CKF_END_OF_MESSAGE), CKR_OK);
            assert_eq!(out[..(one + two) as usize], **text);
        });
        assert_eq!(
            ck!(host.C_SessionCancel(session, CKF_MESSAGE_DECRYPT)),
            CKR_OK
        );
        assert_eq!(
            ck!(host.C_MessageDecryptFinal(session)),
            CKR_OPERATION_NOT_INITIALIZED
        );
        host.finalize();
    });
}

#[test]
fn messages_encrypted_in_parts_are_those_encrypted_at_once() {
    alone(|host| {
        host.initialize();
        let (_, session) = host.logged_in();
        let (key, mut m) = (host.aes_key(session), mechanism(CKM_AES_GCM));
        let text = *b"a message of thirty-two bytes...";
        let mut gcm = Gcm {
            iv: [7; 12],
            tag: [0; 16],
        };
        assert_eq!(ck!(host.C_MessageEncryptInit(session, &mut m, key)), CKR_OK);
        let (mut aad, mut out, mut done) = (*b"head", [0u8; 32], 0);
        gcm.with(CKG_NO_GENERATE, |p, len| {
            assert_eq!(
                ck!(host.C_EncryptMessageBegin(session, p, len, aad.as_mut_ptr(), 4)),
                CKR_OK
            );
            for (part, flags) in [(&text[..10], 0), (&text[10..], CKF_END_OF_MESSAGE)] {
                let (at, n, mut room) = (
                    part.as_ptr().cast_mut(),
                    part.len() as CK_ULONG,
                    32 - done as CK_ULONG,
                );
                let to = out.as_mut_ptr().wrapping_add(done);
                assert_eq!(
                    ck!(host.C_EncryptMessageNext(session, p, len, at, n, to, &mut room, flags)),
                    CKR_OK
                );
                done += room as usize;
            }
        });
        assert_eq!(
            (done, ck!(host.C_MessageEncryptFinal(session))),
            (32, CKR_OK)
        );
        assert_eq!(ck!(host.C_MessageDecryptInit(session, &mut m, key)), CKR_OK);
        assert_eq!(
            decrypt(host, session, &mut gcm, &out).as_deref(),
            Ok(&text[..])
        );
        host.finalize();
    });
}

#[test]
fn messages_are_signed_and_verified_one_after_the_other() {
    alone(|host| {
        host.initialize();
        let (_, session) = host.logged_in();
        let (mut len, mut key, mut m) = (32 as CK_ULONG, 0, mechanism(CKM_GENERIC_SECRET_KEY_GEN));
        let mut template = [super::host::attribute(CKA_VALUE_LEN, &mut len)];
        assert_eq!(
            ck!(host.C_GenerateKey(session, &mut m, template.as_mut_ptr(), 1, &mut key)),
            CKR_OK
        );
        let mut hmac = mechanism(CKM_SHA256_HMAC);
        assert_eq!(ck!(host.C_MessageSignInit(session, &mut hmac, key)), CKR_OK);
        assert_eq!(
            ck!(host.C_MessageVerifyInit(session, &mut hmac, key)),
            CKR_OK
        );
        for text in [*b"one message", *b"two message"] {
            let (mut text, mut mac, mut parts, mut room) = (text, [0u8; 32], [0u8; 32], 0);
            let at = text.as_mut_ptr();
            assert_eq!(
                ck!(host.C_SignMessage(session, null_mut(), 0, at, 11, null_mut(), &mut room)),
                CKR_OK
            );
            assert_eq!(
                ck!(host.C_SignMessage(
                    session,
                    null_mut(),
                    0,
                    at,
                    11,
                    mac.as_mut_ptr(),
                    &mut room
                )),
                CKR_OK
            );
            assert_eq!(ck!(host.C_SignMessageBegin(session, null_mut(), 0)), CKR_OK);
            assert_eq!(
                ck!(host.C_SignMessageNext(session, null_mut(), 0, at, 4, null_mut(), null_mut())),
                CKR_OK
            );
            let rest = at.wrapping_add(4);
            assert_eq!(
                ck!(host.C_SignMessageNext(
                    session,
                    null_mut(),
                    0,
                    rest,
                    7,
                    parts.as_mut_ptr(),
                    &mut room
                )),
                CKR_OK
            );
            assert_eq!(mac, parts);
            assert_eq!(
                ck!(host.C_VerifyMessage(session, null_mut(), 0, at, 10, mac.as_mut_ptr(), 32)),
                CKR_SIGNATURE_INVALID
            );
            assert_eq!(
                ck!(host.C_VerifyMessage(session, null_mut(), 0, at, 11, mac.as_mut_ptr(), 32)),
                CKR_OK
            );
            assert_eq!(
                ck!(host.C_VerifyMessageBegin(session, null_mut(), 0)),
                CKR_OK
            );
            assert_eq!(
                ck!(host.C_VerifyMessageNext(session, null_mut(), 0, at, 11, mac.as_mut_ptr(), 32)),
                CKR_OK
            );
        }
        assert_eq!(ck!(host.C_MessageSignFinal(session)), CKR_OK);
        assert_eq!(ck!(host.C_MessageVerifyFinal(session)), CKR_OK);
        host.finalize();
    });
}

/// More than any memory has: refused before a byte is copied, or the host would end for want of memory.
#[test]
fn absurd_lengths_are_refused_where_an_operation_waits_for_data() {
    alone(|host| {
        host.initialize();
        let (_, session) = host.logged_in();
        let (key, mut gcm, mut hmac) = (
            host.aes_key(session),
            Gcm {
                iv: [1; 12],
                tag: [0; 16],
            },
            mechanism(CKM_AES_CMAC),
        );
        assert_eq!(
            ck!(host.C_MessageEncryptInit(session, &mut mechanism(CKM_AES_GCM), key)),
            CKR_OK
        );
        assert_eq!(
            ck!(host.C_MessageDecryptInit(session, &mut mechanism(CKM_AES_GCM), key)),
            CKR_OK
        );
        assert_eq!(ck!(host.C_MessageSignInit(session, &mut hmac, key)), CKR_OK);
        assert_eq!(
            ck!(host.C_MessageVerifyInit(session, &mut hmac, key)),
            CKR_OK
        );
        let (mut text, mut out, mut room) = ([5u8; 16], [0u8; 64], 64);
        let (at, to) = (text.as_mut_ptr(), out.as_mut_ptr());
        for len in [1 << 48, isize::MAX as CK_ULONG, CK_ULONG::MAX] {
            gcm.with(CKG_NO_GENERATE, |p, n| {
                let results = [
                    ck!(host.C_EncryptMessage(session, p, n, at, len, at, 16, to, &mut room)),
                    ck!(host.C_EncryptMessage(session, p, n, at, 4, at, len, to, &mut room)),
                    ck!(host.C_DecryptMessage(session, p, n, at, len, at, 16, to, &mut room)),
                    ck!(host.C_EncryptMessageBegin(session, p, n, at, len)),
                    ck!(host.C_DecryptMessageBegin(session, p, n, at, len)),
                    ck!(host.C_SignMessage(session, null_mut(), 0, at, len, to, &mut room)),
                    ck!(host.C_SignMessage(session, at.cast(), len, at, 16, to, &mut room)),
                    ck!(host.C_SignMessageBegin(session, at.cast(), len)),
                    ck!(host.C_VerifyMessage(session, null_mut(), 0, at, len, to, 16)),
                    ck!(host.C_VerifyMessageBegin(session, null_mut(), len)),
                ];
                assert_eq!(results, [CKR_ARGUMENTS_BAD; 10], "{len:#x}");
            });
        }
        assert_eq!(
            ck!(host.C_SignMessage(session, null_mut(), 0, at, 16, to, &mut room)),
            CKR_OK
        );
        host.finalize();
    });
}
