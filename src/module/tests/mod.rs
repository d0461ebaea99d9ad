//! The module over a store in memory, function by function.

mod derive;
mod messages;

mod crypt;
mod keys;
mod objects;
mod races;
mod sessions;
mod sign;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::*;
use crate::ck::*;
use crate::config::{CryptoPolicy, KeyPolicy};
use crate::crypto::pkey::PrivateKey;
use crate::mech::{Mechanism, Output, Params};
use crate::secret::Secret;
use crate::store::{Algorithm, Class, Curve, Spec, State, Usage};
use crate::token::double::Double;
use crate::token::template::{Answer, Attribute, Template, Value};

const SO_PIN: &[u8] = b"so-pin";
const PIN: &[u8] = b"user-pin";
const RW: CK_FLAGS = CKF_SERIAL_SESSION | CKF_RW_SESSION;
const RO: CK_FLAGS = CKF_SERIAL_SESSION;
const YES: &[u8] = &[CK_TRUE];
const NO: &[u8] = &[CK_FALSE];

/// A module with one token, whose store is a double.
struct Bench {
    module: Module,
    slot: CK_SLOT_ID,
    store: Arc<Double>,
    _dir: TempDir,
}

impl Bench {
    fn new() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let module = Module::at(TokenDir::at(dir.path().join("tokens")), Arc::default()).unwrap();
        let mut label = [b' '; 32];
        label[..5].copy_from_slice(b"bench");
        module.init_token(0, Some(SO_PIN), &label).unwrap();
        let slot = module.slot_list(true, true).unwrap()[0];
        let store = Arc::new(Double::default());
        *lock(&module.token(slot).unwrap().double) = Some(store.clone());
        let h = module.open_session(slot, RW).unwrap();
        module.login(h, CKU_SO, Some(SO_PIN)).unwrap();
        module.init_pin(h, Some(PIN)).unwrap();
        module.close_session(h).unwrap();
        Bench {
            module,
            slot,
            store,
            _dir: dir,
        }
    }

    /// A read/write session with the user logged in.
    fn user(&self) -> CK_SESSION_HANDLE {
        let h = self.module.open_session(self.slot, RW).unwrap();
        self.module.login(h, CKU_USER, Some(PIN)).unwrap();
        h
    }

    fn policy(&self, policy: CryptoPolicy) {
        let token = self.module.token(self.slot).unwrap();
        let mut config = token.config();
        config.settings.crypto = policy;
        token.set_config(config);
    }

    fn key_policy(&self, policy: KeyPolicy) {
        let token = self.module.token(self.slot).unwrap();
        let mut config = token.config();
        config.settings.policy = policy;
        token.set_config(config);
    }

    fn generate(
        &self,
        h: CK_SESSION_HANDLE,
        kind: CK_MECHANISM_TYPE,
        rows: &[Row<'_>],
    ) -> CK_OBJECT_HANDLE {
        self.module
            .generate_key(h, Mechanism::bare(kind), template(rows))
            .unwrap()
    }

    fn find(&self, h: CK_SESSION_HANDLE, rows: &[Row<'_>]) -> Vec<CK_OBJECT_HANDLE> {
        self.module.find_objects_init(h, template(rows)).unwrap();
        let found = self.module.find_objects(h, 100).unwrap();
        self.module.find_objects_final(h).unwrap();
        found
    }

    fn value(
        &self,
        h: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        kind: CK_ATTRIBUTE_TYPE,
    ) -> Option<Vec<u8>> {
        match self
            .module
            .attribute_values(h, object, &[kind])
            .unwrap()
            .remove(0)
        {
            Answer::Value(value) => Some(value.expose().to_vec()),
            _ => None,
        }
    }
}

type Row<'a> = (CK_ATTRIBUTE_TYPE, &'a [u8]);

fn template(rows: &[Row<'_>]) -> Template {
    Template(
        rows.iter()
            .map(|(kind, v)| Attribute {
                kind: *kind,
                value: Value::Bytes(Secret::new(v.to_vec())),
            })
            .collect(),
    )
}

fn bytes(output: Output) -> Vec<u8> {
    match output {
        Output::Bytes(bytes) => bytes.expose().to_vec(),
        other => panic!("{other:?} where bytes were expected"),
    }
}

#[track_caller]
fn refused<T>(result: Result<T>, rv: CK_RV) {
    assert_eq!(result.err().map(|e| ck_name(e.rv())), Some(ck_name(rv)));
}

fn ck_name(rv: CK_RV) -> String {
    crate::ck::rv_name(rv)
}

const AES_256: Row<'static> = (CKA_VALUE_LEN, &32u64.to_ne_bytes());

fn foreign_key() -> Spec {
    Spec {
        class: Class::SecretKey,
        algorithm: Algorithm::Aes,
        bits: 256,
        usage: Usage::ENCRYPT | Usage::DECRYPT,
        name: Some("their key".into()),
        group: None,
        label: Vec::new(),
        id: Vec::new(),
        sensitive: false,
        extractable: true,
        properties: Default::default(),
    }
}

/// Every cipher mechanism with a parameter, and its block.
fn ciphers() -> Vec<(CK_MECHANISM_TYPE, fn() -> Params)> {
    vec![
        (CKM_AES_ECB, || Params::None),
        (CKM_AES_CBC, || Params::Raw(vec![7; 16])),
        (CKM_AES_CBC_PAD, || Params::Raw(vec![7; 16])),
        (CKM_AES_CTR, || Params::Ctr {
            bits: 128,
            counter: [0xff; 16],
        }),
        (CKM_AES_GCM, || Params::Gcm {
            iv: vec![1; 12],
            iv_bits: 0,
            aad: b"aad".to_vec(),
            tag_bits: 128,
        }),
        (CKM_AES_OFB, || Params::Raw(vec![7; 16])),
        (CKM_AES_CFB8, || Params::Raw(vec![7; 16])),
        (CKM_AES_CFB128, || Params::Raw(vec![7; 16])),
    ]
}

fn copy(params: &Params) -> Params {
    match params {
        Params::None => Params::None,
        Params::Pss {
            hash,
            mgf,
            salt_len,
        } => Params::Pss {
            hash: *hash,
            mgf: *mgf,
            salt_len: *salt_len,
        },
        Params::Number(n) => Params::Number(*n),
        other => panic!("{other:?}"),
    }
}
