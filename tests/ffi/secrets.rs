//! What is left of keys and PINs in the memory of the process. The tests look for them as a debugger or a core dump would.

use std::ffi::{OsStr, c_void};
use std::thread::sleep;
use std::time::Duration;

use mrhsm_pkcs11::ck::*;
use mrhsm_pkcs11::crypto::rng;
use mrhsm_pkcs11::token::files::TokenDir;

use super::host::{Host, alone, alone_with, attribute, ck, kmip_token_in, mechanism};
use crate::kmip_server::{Personality, Script, Server};
use crate::needle::{Needle, wipe};

const PORT: &str = "MRHSM_TEST_PORT";
const PIN: &str = "MRHSM_TEST_PIN";

/// None of them is anywhere in memory.
fn none(when: &str, needles: &[Needle]) {
    let left: Vec<_> = needles
        .iter()
        .filter(|needle| needle.found("self") > 0)
        .map(|needle| needle.name)
        .collect();
    assert!(left.is_empty(), "{when}, memory holds {left:?}");
}

/// All of them are: the search finds what there is.
fn all(when: &str, needles: &[Needle]) {
    for needle in needles {
        assert!(
            needle.found("self") > 0,
            "{when}, {} is not found",
            needle.name
        );
    }
}

fn good(rv: CK_RV) {
    assert_eq!(rv, CKR_OK, "{}", rv_name(rv));
}

fn bytes(kind: CK_ATTRIBUTE_TYPE, value: &mut [u8]) -> CK_ATTRIBUTE {
    CK_ATTRIBUTE {
        type_: kind,
        pValue: value.as_mut_ptr().cast::<c_void>(),
        ulValueLen: value.len() as CK_ULONG,
    }
}

/// A user of the module who makes keys whose values can be read.
struct User<'a> {
    host: &'a Host,
    session: CK_SESSION_HANDLE,
    token: CK_BBOOL,
}

impl User<'_> {
    /// Calls `make` with the template of an AES key of 256 bits.
    fn key(
        &self,
        make: impl FnOnce(&mut [CK_ATTRIBUTE], &mut CK_OBJECT_HANDLE),
    ) -> CK_OBJECT_HANDLE {
        let (mut class, mut kind, mut len) = (CKO_SECRET_KEY, CKK_AES, 32 as CK_ULONG);
        let (mut token, mut yes, mut no) = (self.token, CK_TRUE, CK_FALSE);
        let mut template = [
            attribute(CKA_CLASS, &mut class),
            attribute(CKA_KEY_TYPE, &mut kind),
            attribute(CKA_TOKEN, &mut token),
            attribute(CKA_PRIVATE, &mut yes.clone()),
            attribute(CKA_EXTRACTABLE, &mut yes.clone()),
            attribute(CKA_SENSITIVE, &mut no),
            attribute(CKA_ENCRYPT, &mut yes.clone()),
            attribute(CKA_DERIVE, &mut yes),
            attribute(CKA_VALUE_LEN, &mut len),
        ];
        let mut key = 0;
        make(&mut template, &mut key);
        key
    }

    fn generated(&self) -> CK_OBJECT_HANDLE {
        let host = self.host;
        self.key(|template, key| {
            good(ck!(host.C_GenerateKey(
                self.session,
                &mut mechanism(CKM_AES_KEY_GEN),
                template.as_mut_ptr(),
                template.len() as CK_ULONG,
                key
            )));
        })
    }

    fn imported(&self, value: &mut [u8]) -> CK_OBJECT_HANDLE {
        let host = self.host;
        self.key(|template, key| {
            let last = template.len() - 1;
            template[last] = bytes(CKA_VALUE, value);
            good(ck!(host.C_CreateObject(
                self.session,
                template.as_mut_ptr(),
                template.len() as CK_ULONG,
                key
            )));
        })
    }

    fn derived(&self, base: CK_OBJECT_HANDLE) -> CK_OBJECT_HANDLE {
        let (host, mut data) = (self.host, [7u8; 32]);
        let mut parameter = CK_KEY_DERIVATION_STRING_DATA {
            pData: data.as_mut_ptr(),
            ulLen: 32,
        };
        self.key(|template, key| {
            let mut derive = CK_MECHANISM {
                mechanism: CKM_AES_ECB_ENCRYPT_DATA,
                pParameter: (&raw mut parameter).cast(),
                ulParameterLen: size_of_val(&parameter) as CK_ULONG,
            };
            good(ck!(host.C_DeriveKey(
                self.session,
                &mut derive,
                base,
                template.as_mut_ptr(),
                template.len() as CK_ULONG,
                key
            )));
        })
    }

    /// The value of a key, covered.
    fn value(&self, name: &'static str, key: CK_OBJECT_HANDLE) -> Needle {
        let (host, mut value) = (self.host, [0u8; 32]);
        let mut wanted = [bytes(CKA_VALUE, &mut value)];
        good(ck!(host.C_GetAttributeValue(
            self.session,
            key,
            wanted.as_mut_ptr(),
            1
        )));
        Needle::new(name, &mut value)
    }

    /// Encrypts with a key, and leaves an operation with it behind.
    fn use_key(&self, key: CK_OBJECT_HANDLE) {
        let (host, mut text, mut out, mut room) = (self.host, [0u8; 16], [0u8; 16], 16);
        let mut ecb = mechanism(CKM_AES_ECB);
        good(ck!(host.C_EncryptInit(self.session, &mut ecb, key)));
        good(ck!(host.C_Encrypt(
            self.session,
            text.as_mut_ptr(),
            16,
            out.as_mut_ptr(),
            &mut room
        )));
    }

    /// Makes a key in each way and uses it. Returns the keys and their values.
    fn keys(&self) -> (Vec<CK_OBJECT_HANDLE>, Vec<Needle>) {
        let mut value = [0; 32];
        rng::fill(&mut value).unwrap();
        let imported = self.imported(&mut value);
        wipe(&mut value);
        let generated = self.generated();
        let derived = self.derived(generated);
        let keys = vec![generated, imported, derived];
        let values = ["a generated key", "an imported key", "a derived key"]
            .into_iter()
            .zip(&keys)
            .map(|(name, key)| self.value(name, *key))
            .collect();
        keys.iter().for_each(|key| self.use_key(*key));
        (keys, values)
    }

    fn destroy(&self, keys: Vec<CK_OBJECT_HANDLE>) {
        let host = self.host;
        for key in keys {
            good(ck!(host.C_DestroyObject(self.session, key)));
        }
    }
}

fn login(host: &Host, session: CK_SESSION_HANDLE, user: CK_USER_TYPE, pin: &Needle) {
    good(pin.with(|pin| host.login(session, user, pin)));
}

#[test]
fn a_file_token_leaves_no_key_and_no_pin_in_memory() {
    alone(|host| {
        let pins = ["the SO PIN", "the first user PIN", "the user PIN"].map(Needle::pin);
        let [so, first, user] = &pins;
        host.initialize();
        let free = *host.slots().last().unwrap();
        let mut label = *b"hygiene                         ";
        good(so.with(|pin| {
            let (pin, len) = (pin.as_mut_ptr(), pin.len() as CK_ULONG);
            ck!(host.C_InitToken(free, pin, len, label.as_mut_ptr()))
        }));
        let slot = host.slots()[0];
        let session = host.open(slot);
        login(host, session, CKU_SO, so);
        good(
            first.with(|pin| ck!(host.C_InitPIN(session, pin.as_mut_ptr(), pin.len() as CK_ULONG))),
        );
        good(ck!(host.C_Logout(session)));
        none("after C_InitToken and C_InitPIN", &pins);
        good(first.with(|old| {
            user.with(|new| {
                let (old, old_len) = (old.as_mut_ptr(), old.len() as CK_ULONG);
                let (new, new_len) = (new.as_mut_ptr(), new.len() as CK_ULONG);
                ck!(host.C_SetPIN(session, old, old_len, new, new_len))
            })
        }));
        login(host, session, CKU_USER, user);
        none("after C_SetPIN and C_Login", &pins);

        let [of_session, of_token] = [CK_FALSE, CK_TRUE].map(|token| User {
            host,
            session,
            token,
        });
        let (keys, values) = of_session.keys();
        all("while they live", &values);
        of_session.destroy(keys);
        none("after C_DestroyObject of session keys", &values);

        let (keys, values) = of_token.keys();
        of_token.destroy(keys);
        none("after C_DestroyObject of token keys", &values);

        let (_, mut values) = of_session.keys();
        values.extend(of_token.keys().1);
        good(ck!(host.C_Logout(session)));
        none("after C_Logout", &values);

        login(host, session, CKU_USER, user);
        let (_, values) = of_session.keys();
        good(ck!(host.C_CloseSession(session)));
        none("after C_CloseSession", &values);

        let session = host.open(slot);
        login(host, session, CKU_USER, user);
        let (_, mut values) = User {
            session,
            ..of_session
        }
        .keys();
        values.extend(
            User {
                session,
                ..of_token
            }
            .keys()
            .1,
        );
        host.finalize();
        values.extend(pins);
        none("after C_Finalize", &values);
    });
}

#[test]
fn a_kmip_token_leaves_none_either_and_forgets_in_time() {
    let age = Duration::from_secs(2);
    let pin = Needle::pin("the user PIN");
    // The server keeps keys: it is in the process that starts this one.
    let directory = tempfile::tempdir().unwrap();
    let server = std::env::var_os(PORT)
        .is_none()
        .then(|| Server::start(Personality::standard(), Script::none()));
    let (mut port, mut covered) = (String::new(), String::new());
    if let Some(server) = &server {
        let tokens = TokenDir::at(directory.path().join("tokens"));
        pin.with(|pin| {
            kmip_token_in(&tokens, server.port(), pin, |settings| {
                settings.key_cache_millis = age.as_millis() as u64;
            })
        });
        port = server.port().to_string();
        covered = mrhsm_pkcs11::config::to_hex(&pin.covered);
    }
    let tokens = directory.path().join("tokens");
    let environment = [
        ("MRHSM_TOKEN_DIR", tokens.as_os_str()),
        (PORT, OsStr::new(&port)),
        (PIN, OsStr::new(&covered)),
    ];
    alone_with(&environment, |host| {
        let covered = mrhsm_pkcs11::config::from_hex(&std::env::var(PIN).unwrap()).unwrap();
        let pin = Needle {
            name: "the user PIN",
            covered,
        };
        host.initialize();
        let session = host.open(host.slots()[0]);
        login(host, session, CKU_USER, &pin);
        none("after C_Login", std::slice::from_ref(&pin));
        let user = User {
            host,
            session,
            token: CK_TRUE,
        };
        let (keys, values) = user.keys();
        all("while they are remembered", &values);
        sleep(age);
        let mut info = CK_INFO::default();
        good(ck!(host.C_GetInfo(&mut info)));
        none("at the first call after their time", &values);

        keys.iter().for_each(|key| user.use_key(*key));
        all("when they were used again", &values);
        user.destroy(keys);
        none("after C_DestroyObject", &values);

        let (_, mut values) = user.keys();
        good(ck!(host.C_Logout(session)));
        none("after C_Logout", &values);
        login(host, session, CKU_USER, &pin);
        values.extend(user.keys().1);
        host.finalize();
        values.push(pin);
        none("after C_Finalize", &values);
    });
}
