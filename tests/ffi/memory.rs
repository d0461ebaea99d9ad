//! Messages of any length pass in constant memory, where the mechanism does not want them whole.

use std::cell::Cell;
use std::fs;
use std::ptr::null_mut;
use std::time::Duration;

use mrhsm_pkcs11::ck::*;

use super::host::{Host, USER_PIN, alone, attribute, ck, kmip_token, mechanism, mechanism_with};
use crate::kmip_server::{Personality, Script, Server};

const PART: usize = 256 << 10;
/// So much more memory may be in use while a long message passes than while a short one does.
const SLACK: usize = 4 << 20;

/// The most memory this process ever had, in bytes.
fn peak() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim()
        .trim_end_matches(" kB")
        .trim()
        .parse::<usize>()
        .unwrap()
        << 10
}

/// An operation, done with a message of so many parts.
type Operation<'a> = (&'a str, &'a dyn Fn(usize));

/// Does each with a short message, then with one of `len` bytes.
fn constant(len: usize, operations: &[Operation<'_>]) {
    for (name, operation) in operations {
        operation(4);
        let before = peak();
        operation(len / PART);
        let grown = peak() - before;
        assert!(
            grown < SLACK,
            "{name}: {} KiB more for {} MiB",
            grown >> 10,
            len >> 20
        );
    }
}

fn good(rv: CK_RV) {
    assert_eq!(rv, CKR_OK, "{}", rv_name(rv));
}

struct Member<'a> {
    host: &'a Host,
    session: CK_SESSION_HANDLE,
    /// Called after each part.
    pause: &'a dyn Fn(),
}

impl Member<'_> {
    fn key(&self, kind: CK_MECHANISM_TYPE, mut token: CK_BBOOL) -> CK_OBJECT_HANDLE {
        let (host, mut len, mut yes, mut no, mut key) =
            (self.host, 32 as CK_ULONG, CK_TRUE, CK_FALSE, 0);
        let mut template = [
            attribute(CKA_VALUE_LEN, &mut len),
            attribute(CKA_TOKEN, &mut token),
            attribute(CKA_SIGN, &mut yes),
            attribute(CKA_VERIFY, &mut yes.clone()),
            attribute(CKA_SENSITIVE, &mut yes.clone()),
            attribute(CKA_EXTRACTABLE, &mut no),
        ];
        let count = template.len() as CK_ULONG;
        good(ck!(host.C_GenerateKey(
            self.session,
            &mut mechanism(kind),
            template.as_mut_ptr(),
            count,
            &mut key
        )));
        key
    }

    /// A public key, and a private one that is not extractable.
    fn pair(
        &self,
        kind: CK_MECHANISM_TYPE,
        mut public: Vec<CK_ATTRIBUTE>,
        mut token: CK_BBOOL,
    ) -> [CK_OBJECT_HANDLE; 2] {
        let (host, mut no, mut keys) = (self.host, CK_FALSE, [0; 2]);
        public.push(attribute(CKA_TOKEN, &mut token));
        let mut private = [
            attribute(CKA_TOKEN, &mut token.clone()),
            attribute(CKA_EXTRACTABLE, &mut no),
        ];
        let (count, [of_public, of_private]) = (public.len() as CK_ULONG, &mut keys);
        let (public, private) = (public.as_mut_ptr(), private.as_mut_ptr());
        good(ck!(host.C_GenerateKeyPair(
            self.session,
            &mut mechanism(kind),
            public,
            count,
            private,
            2,
            of_public,
            of_private
        )));
        keys
    }

    fn rsa(&self, token: CK_BBOOL) -> [CK_OBJECT_HANDLE; 2] {
        let (mut bits, mut exponent) = (2048 as CK_ULONG, [1u8, 0, 1]);
        let public = vec![
            attribute(CKA_MODULUS_BITS, &mut bits),
            attribute(CKA_PUBLIC_EXPONENT, &mut exponent),
        ];
        self.pair(CKM_RSA_PKCS_KEY_PAIR_GEN, public, token)
    }

    fn p256(&self, token: CK_BBOOL) -> [CK_OBJECT_HANDLE; 2] {
        let mut curve = [0x06u8, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
        self.pair(
            CKM_EC_KEY_PAIR_GEN,
            vec![attribute(CKA_EC_PARAMS, &mut curve)],
            token,
        )
    }

    /// Encrypts and decrypts, part by part.
    fn crypt(&self, mut cipher: CK_MECHANISM, key: CK_OBJECT_HANDLE, parts: usize) {
        let host = self.host;
        let (mut text, mut secret, mut back) =
            (vec![7u8; PART], vec![0u8; PART + 32], vec![0u8; PART + 32]);
        let room = secret.len() as CK_ULONG;
        good(ck!(host.C_EncryptInit(self.session, &mut cipher, key)));
        good(ck!(host.C_DecryptInit(self.session, &mut cipher, key)));
        let (mut made, mut returned) = (0, 0);
        for part in 0..=parts {
            let mut len = room;
            if part < parts {
                good(ck!(host.C_EncryptUpdate(
                    self.session,
                    text.as_mut_ptr(),
                    PART as CK_ULONG,
                    secret.as_mut_ptr(),
                    &mut len
                )));
            } else {
                good(ck!(host.C_EncryptFinal(
                    self.session,
                    secret.as_mut_ptr(),
                    &mut len
                )));
            }
            let mut taken = room;
            good(ck!(host.C_DecryptUpdate(
                self.session,
                secret.as_mut_ptr(),
                len,
                back.as_mut_ptr(),
                &mut taken
            )));
            (made, returned) = (made + len, returned + taken);
            assert!(back[..taken as usize].iter().all(|byte| *byte == 7));
            (self.pause)();
        }
        let mut len = room;
        good(ck!(host.C_DecryptFinal(
            self.session,
            back.as_mut_ptr(),
            &mut len
        )));
        assert!(made as usize >= parts * PART && (returned + len) as usize == parts * PART);
    }

    /// Signs part by part, and verifies where there is a key for it.
    fn sign(&self, kind: CK_MECHANISM_TYPE, keys: [CK_OBJECT_HANDLE; 2], parts: usize) {
        let (host, mut text, mut out) = (self.host, vec![7u8; PART], [0u8; 256]);
        let mut len = out.len() as CK_ULONG;
        good(ck!(host.C_SignInit(
            self.session,
            &mut mechanism(kind),
            keys[1]
        )));
        good(ck!(host.C_VerifyInit(
            self.session,
            &mut mechanism(kind),
            keys[0]
        )));
        for _ in 0..parts {
            good(ck!(host.C_SignUpdate(
                self.session,
                text.as_mut_ptr(),
                PART as CK_ULONG
            )));
            good(ck!(host.C_VerifyUpdate(
                self.session,
                text.as_mut_ptr(),
                PART as CK_ULONG
            )));
            (self.pause)();
        }
        good(ck!(host.C_SignFinal(
            self.session,
            out.as_mut_ptr(),
            &mut len
        )));
        good(ck!(host.C_VerifyFinal(self.session, out.as_mut_ptr(), len)));
    }

    fn digest(&self, kind: CK_MECHANISM_TYPE, parts: usize) {
        let (host, mut text, mut out, mut len) = (self.host, vec![7u8; PART], [0u8; 64], 64);
        good(ck!(host.C_DigestInit(self.session, &mut mechanism(kind))));
        for _ in 0..parts {
            good(ck!(host.C_DigestUpdate(
                self.session,
                text.as_mut_ptr(),
                PART as CK_ULONG
            )));
        }
        good(ck!(host.C_DigestFinal(
            self.session,
            out.as_mut_ptr(),
            &mut len
        )));
    }
}

/// All that can be done in parts, with keys here or on the token's server.
fn everything(member: &Member<'_>, token: CK_BBOOL, len: usize) {
    let (mut iv, mut counter) = (
        [1u8; 16],
        CK_AES_CTR_PARAMS {
            ulCounterBits: 128,
            cb: [1; 16],
        },
    );
    let (padded, counting) = (
        mechanism_with(CKM_AES_CBC_PAD, &mut iv),
        mechanism_with(CKM_AES_CTR, &mut counter),
    );
    let (aes, secret) = (
        member.key(CKM_AES_KEY_GEN, token),
        member.key(CKM_GENERIC_SECRET_KEY_GEN, token),
    );
    let (rsa, p256) = (member.rsa(token), member.p256(token));
    constant(
        len,
        &[
            ("CBC-PAD", &|parts| member.crypt(padded, aes, parts)),
            ("CTR", &|parts| member.crypt(counting, aes, parts)),
            ("ECB", &|parts| {
                member.crypt(mechanism(CKM_AES_ECB), aes, parts)
            }),
            ("HMAC", &|parts| {
                member.sign(CKM_SHA256_HMAC, [secret; 2], parts)
            }),
            ("CMAC", &|parts| member.sign(CKM_AES_CMAC, [aes; 2], parts)),
            ("RSA", &|parts| member.sign(CKM_SHA256_RSA_PKCS, rsa, parts)),
            ("ECDSA", &|parts| member.sign(CKM_ECDSA_SHA256, p256, parts)),
            ("SHA-256", &|parts| member.digest(CKM_SHA256, parts)),
            ("SHA3-256", &|parts| member.digest(CKM_SHA3_256, parts)),
        ],
    );
}

#[test]
fn long_messages_need_no_more_memory_than_short_ones() {
    alone(|host| {
        host.initialize();
        let (_, session) = host.logged_in();
        everything(
            &Member {
                host,
                session,
                pause: &|| {},
            },
            CK_FALSE,
            64 << 20,
        );
        good(ck!(host.C_Finalize(null_mut())));
    });
}

#[test]
fn nor_do_they_with_keys_that_stay_on_their_server() {
    alone(|host| {
        let server = Server::start(Personality::standard(), Script::none());
        let slot = kmip_token(server.port(), Duration::from_secs(60));
        host.initialize();
        let session = host.open(slot);
        good(host.login(session, CKU_USER, USER_PIN));
        // The server is in this process, and what it keeps of every message is for other tests.
        let asked = Cell::new(0);
        let pause = || {
            asked.set(asked.get() + server.count());
            server.clear_log();
        };
        everything(
            &Member {
                host,
                session,
                pause: &pause,
            },
            CK_TRUE,
            32 << 20,
        );
        good(ck!(host.C_Finalize(null_mut())));
        assert!(
            asked.get() > 1000,
            "{} requests: the keys were not used there",
            asked.get()
        );
    });
}
