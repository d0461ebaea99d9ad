//! The module over a store in memory, function by function.

mod derive;
mod messages;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::*;
use crate::ck::*;
use crate::config::CryptoPolicy;
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
        let module = Module::at(TokenDir::at(dir.path().join("tokens"))).unwrap();
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
        Bench { module, slot, store, _dir: dir }
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

    fn generate(&self, h: CK_SESSION_HANDLE, kind: CK_MECHANISM_TYPE, rows: &[Row<'_>]) -> CK_OBJECT_HANDLE {
        self.module.generate_key(h, Mechanism::bare(kind), template(rows)).unwrap()
    }

    fn find(&self, h: CK_SESSION_HANDLE, rows: &[Row<'_>]) -> Vec<CK_OBJECT_HANDLE> {
        self.module.find_objects_init(h, template(rows)).unwrap();
        let found = self.module.find_objects(h, 100).unwrap();
        self.module.find_objects_final(h).unwrap();
        found
    }

    fn value(&self, h: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, kind: CK_ATTRIBUTE_TYPE) -> Option<Vec<u8>> {
        match self.module.attribute_values(h, object, &[kind]).unwrap().remove(0) {
            Answer::Value(value) => Some(value.expose().to_vec()),
            _ => None,
        }
    }
}

type Row<'a> = (CK_ATTRIBUTE_TYPE, &'a [u8]);

fn template(rows: &[Row<'_>]) -> Template {
    Template(rows.iter().map(|(kind, v)| Attribute { kind: *kind, value: Value::Bytes(Secret::new(v.to_vec())) }).collect())
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

#[test]
fn slots_tokens_and_their_initialisation() {
    let bench = Bench::new();
    let m = &bench.module;
    let slots = m.slot_list(true, true).unwrap();
    assert_eq!(slots, [bench.slot, 1]);
    let info = m.token_info(bench.slot).unwrap();
    let wanted = CKF_RNG | CKF_LOGIN_REQUIRED | CKF_TOKEN_INITIALIZED | CKF_USER_PIN_INITIALIZED;
    assert_eq!(info.flags & wanted, wanted);
    assert_eq!(&info.label, b"bench                           ");
    assert_eq!((info.ulMinPinLen, info.ulMaxPinLen), (4, 255));
    assert_eq!(m.token_info(1).unwrap().flags & CKF_TOKEN_INITIALIZED, 0);
    refused(m.slot_info(77), CKR_SLOT_ID_INVALID);
    refused(m.open_session(1, RW), CKR_TOKEN_NOT_RECOGNIZED);
    refused(m.wait_for_slot_event(CKF_DONT_BLOCK).and(m.wait_for_slot_event(CKF_DONT_BLOCK)), CKR_NO_EVENT);

    let label = b"again                           ";
    refused(m.init_token(bench.slot, Some(b"wrong-pin"), label), CKR_PIN_INCORRECT);
    let h = bench.user();
    let key = bench.generate(h, CKM_AES_KEY_GEN, &[AES_256, (CKA_TOKEN, YES)]);
    assert_ne!(key, 0);
    assert_eq!(m.token_info(bench.slot).unwrap().ulRwSessionCount, 1);
    refused(m.init_token(bench.slot, Some(SO_PIN), label), CKR_SESSION_EXISTS);
    m.close_all_sessions(bench.slot).unwrap();
    bench.store.foreign("theirs", &foreign_key(), &[1; 32]);
    refused(m.init_token(bench.slot, Some(SO_PIN), &[b' '; 32]), CKR_ARGUMENTS_BAD);
    assert_eq!(bench.store.len(), 2, "a refused call destroys nothing");
    m.init_token(bench.slot, Some(SO_PIN), label).unwrap();
    assert_eq!(&m.token_info(bench.slot).unwrap().label, label);
    assert_eq!(bench.store.len(), 1, "objects of other clients stay");
    assert_eq!(m.token_info(bench.slot).unwrap().flags & CKF_USER_PIN_INITIALIZED, 0);
    let h = m.open_session(bench.slot, RW).unwrap();
    refused(m.login(h, CKU_USER, Some(PIN)), CKR_USER_PIN_NOT_INITIALIZED);
}

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

#[test]
fn sessions_share_the_login_of_their_token() {
    let bench = Bench::new();
    let m = &bench.module;
    refused(m.open_session(bench.slot, CKF_RW_SESSION), CKR_SESSION_PARALLEL_NOT_SUPPORTED);
    refused(m.session_info(4711), CKR_SESSION_HANDLE_INVALID);
    let rw = m.open_session(bench.slot, RW).unwrap();
    let ro = m.open_session(bench.slot, RO).unwrap();
    let state = |h| m.session_info(h).unwrap().state;
    assert_eq!((state(ro), state(rw)), (CKS_RO_PUBLIC_SESSION, CKS_RW_PUBLIC_SESSION));
    refused(m.login(rw, CKU_SO, Some(SO_PIN)), CKR_SESSION_READ_ONLY_EXISTS);
    refused(m.login(rw, 9, Some(PIN)), CKR_USER_TYPE_INVALID);
    refused(m.login(rw, CKU_USER, Some(b"not the pin")), CKR_PIN_INCORRECT);
    refused(m.login(rw, CKU_CONTEXT_SPECIFIC, Some(PIN)), CKR_OPERATION_NOT_INITIALIZED);
    refused(m.logout(rw), CKR_USER_NOT_LOGGED_IN);
    m.login(ro, CKU_USER, Some(PIN)).unwrap();
    assert_eq!((state(ro), state(rw)), (CKS_RO_USER_FUNCTIONS, CKS_RW_USER_FUNCTIONS));
    refused(m.login(rw, CKU_USER, Some(PIN)), CKR_USER_ALREADY_LOGGED_IN);
    m.close_session(ro).unwrap();
    refused(m.login(rw, CKU_SO, Some(SO_PIN)), CKR_USER_ANOTHER_ALREADY_LOGGED_IN);
    m.logout(rw).unwrap();
    m.login(rw, CKU_SO, Some(SO_PIN)).unwrap();
    assert_eq!(state(rw), CKS_RW_SO_FUNCTIONS);
    refused(m.open_session(bench.slot, RO), CKR_SESSION_READ_WRITE_SO_EXISTS);
    refused(m.close_session(ro), CKR_SESSION_HANDLE_INVALID);
    m.close_session(rw).unwrap();
    let again = m.open_session(bench.slot, RO).unwrap();
    assert_eq!(state(again), CKS_RO_PUBLIC_SESSION, "the last session logs out");
    assert!(again > rw, "handles are not used twice");
}

#[test]
fn pins_change_by_who_is_logged_in() {
    let bench = Bench::new();
    let m = &bench.module;
    let ro = m.open_session(bench.slot, RO).unwrap();
    refused(m.set_pin(ro, Some(PIN), Some(b"12345")), CKR_SESSION_READ_ONLY);
    m.close_session(ro).unwrap();
    let rw = m.open_session(bench.slot, RW).unwrap();
    refused(m.init_pin(rw, Some(PIN)), CKR_USER_NOT_LOGGED_IN);
    refused(m.set_pin(rw, Some(b"wrong"), Some(b"12345")), CKR_PIN_INCORRECT);
    refused(m.set_pin(rw, Some(PIN), Some(b"123")), CKR_PIN_LEN_RANGE);
    refused(m.set_pin(rw, None, Some(b"1234")), CKR_ARGUMENTS_BAD);
    m.set_pin(rw, Some(PIN), Some(b"second")).unwrap();
    refused(m.login(rw, CKU_USER, Some(PIN)), CKR_PIN_INCORRECT);
    m.login(rw, CKU_USER, Some(b"second")).unwrap();
    m.logout(rw).unwrap();
    m.login(rw, CKU_SO, Some(SO_PIN)).unwrap();
    m.set_pin(rw, Some(SO_PIN), Some(b"so-second")).unwrap();
    refused(m.init_pin(rw, Some(b"1")), CKR_PIN_LEN_RANGE);
    m.init_pin(rw, Some(b"third")).unwrap();
    m.logout(rw).unwrap();
    m.login(rw, CKU_USER, Some(b"third")).unwrap();
}

#[test]
fn objects_are_visible_to_whom_they_are_meant_for() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    let private = bench.generate(h, CKM_AES_KEY_GEN, &[AES_256, (CKA_TOKEN, YES), (CKA_LABEL, b"private")]);
    let public = bench.generate(h, CKM_AES_KEY_GEN, &[AES_256, (CKA_PRIVATE, NO), (CKA_LABEL, b"public")]);
    let other = m.open_session(bench.slot, RO).unwrap();
    assert_eq!(bench.find(other, &[]), [private, public]);
    refused(
        m.generate_key(other, Mechanism::bare(CKM_AES_KEY_GEN), template(&[AES_256, (CKA_TOKEN, YES)])),
        CKR_SESSION_READ_ONLY,
    );
    refused(m.destroy_object(other, private), CKR_SESSION_READ_ONLY);
    m.logout(h).unwrap();
    assert_eq!(bench.find(other, &[]), [public]);
    refused(m.attribute_values(other, private, &[CKA_LABEL]), CKR_OBJECT_HANDLE_INVALID);
    refused(m.generate_key(h, Mechanism::bare(CKM_AES_KEY_GEN), template(&[AES_256])), CKR_USER_NOT_LOGGED_IN);
    m.login(other, CKU_USER, Some(PIN)).unwrap();
    let found = bench.find(other, &[(CKA_LABEL, b"private")]);
    assert_eq!(found.len(), 1);
    assert_ne!(found[0], private, "logging out ends the handles of private objects");
    m.close_session(h).unwrap();
    assert_eq!(bench.find(other, &[]), found, "session objects end with their session");
}

#[test]
fn finding_costs_requests_only_once() {
    let bench = Bench::new();
    let h = bench.user();
    for label in [&b"a"[..], b"b", b"b"] {
        bench.generate(h, CKM_AES_KEY_GEN, &[AES_256, (CKA_TOKEN, YES), (CKA_LABEL, label)]);
    }
    bench.store.foreign("theirs", &foreign_key(), &[1; 32]);
    bench.store.requests();
    let all = bench.find(h, &[]);
    assert_eq!(all.len(), 4);
    assert_eq!(bench.store.requests(), 2, "a search, and the attributes of the one object not made here");
    assert_eq!(bench.find(h, &[]), all);
    assert_eq!(bench.store.requests(), 0);
    assert_eq!(bench.find(h, &[(CKA_LABEL, b"b")]).len(), 2, "equal labels are no obstacle");
    assert_eq!(bench.find(h, &[(CKA_LABEL, b"their key")]).len(), 1);
    assert!(bench.find(h, &[(CKA_LABEL, b"nobody's")]).is_empty());
    assert!(bench.find(h, &[(CKA_CLASS, &CKO_DATA.to_ne_bytes())]).is_empty());
    assert_eq!(bench.find(h, &[(CKA_KEY_TYPE, &CKK_AES.to_ne_bytes()), (CKA_TOKEN, YES)]).len(), 4);
    assert!(bench.find(h, &[(CKA_VENDOR_DEFINED | 99, b"x")]).is_empty());
    bench.module.destroy_object(h, all[0]).unwrap();
    assert_eq!(bench.find(h, &[]), all[1..], "own changes are seen at once");
    bench.module.find_objects_init(h, template(&[])).unwrap();
    refused(bench.module.find_objects_init(h, template(&[])), CKR_OPERATION_ACTIVE);
    assert_eq!(bench.module.find_objects(h, 2).unwrap().len(), 2);
    assert_eq!(bench.module.find_objects(h, 2).unwrap().len(), 1);
    assert!(bench.module.find_objects(h, 2).unwrap().is_empty());
    bench.module.find_objects_final(h).unwrap();
    refused(bench.module.find_objects_final(h), CKR_OPERATION_NOT_INITIALIZED);
}

#[test]
fn attributes_are_shown_changed_and_copied_by_the_rules() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    let open = &[AES_256, (CKA_TOKEN, YES), (CKA_SENSITIVE, NO), (CKA_EXTRACTABLE, YES), (CKA_LABEL, b"open")];
    let key = bench.generate(h, CKM_AES_KEY_GEN, open);
    let answers =
        m.attribute_values(h, key, &[CKA_LABEL, CKA_MODULUS, CKA_VALUE, CKA_VALUE_LEN, CKA_WRAP_TEMPLATE, 0x7777]).unwrap();
    assert!(matches!(&answers[0], Answer::Value(v) if v.expose() == b"open"));
    assert!(matches!(answers[1], Answer::Unknown));
    assert!(matches!(&answers[2], Answer::Value(v) if v.len() == 32));
    assert!(matches!(&answers[3], Answer::Value(v) if v.expose() == 32u64.to_ne_bytes()));
    assert!(matches!(&answers[4], Answer::Nested(t) if t.0.is_empty()));
    assert!(matches!(answers[5], Answer::Unknown));
    assert!(bench.value(h, key, CKA_CHECK_VALUE).is_some_and(|v| v.len() == 3));
    refused(m.set_attribute_values(h, key, template(&[(CKA_LOCAL, NO)])), CKR_ATTRIBUTE_READ_ONLY);
    refused(m.set_attribute_values(h, key, template(&[(CKA_LABEL, b"x"), (CKA_TOKEN, NO)])), CKR_ATTRIBUTE_READ_ONLY);
    assert_eq!(bench.value(h, key, CKA_LABEL).unwrap(), b"open", "all or nothing");
    m.set_attribute_values(h, key, template(&[(CKA_LABEL, b"new"), (CKA_SENSITIVE, YES)])).unwrap();
    assert!(matches!(m.attribute_values(h, key, &[CKA_VALUE]).unwrap()[0], Answer::Sensitive));
    assert_eq!(bench.value(h, key, CKA_ALWAYS_SENSITIVE).unwrap(), NO);
    let copy = m.copy_object(h, key, template(&[(CKA_TOKEN, NO), (CKA_LABEL, b"copy"), (CKA_COPYABLE, NO)])).unwrap();
    assert_eq!(bench.value(h, copy, CKA_TOKEN).unwrap(), NO);
    refused(m.copy_object(h, copy, template(&[])), CKR_ACTION_PROHIBITED);
    refused(m.copy_object(h, key, template(&[(CKA_SENSITIVE, NO)])), CKR_ATTRIBUTE_READ_ONLY);
    let hidden = bench.generate(h, CKM_AES_KEY_GEN, &[AES_256, (CKA_TOKEN, YES), (CKA_DESTROYABLE, NO), (CKA_MODIFIABLE, NO)]);
    refused(m.copy_object(h, hidden, template(&[])), CKR_FUNCTION_REJECTED);
    refused(m.destroy_object(h, hidden), CKR_ACTION_PROHIBITED);
    refused(m.set_attribute_values(h, hidden, template(&[(CKA_LABEL, b"x")])), CKR_ACTION_PROHIBITED);
    assert_eq!(bench.value(h, hidden, CKA_NEVER_EXTRACTABLE).unwrap(), YES);
    refused(m.destroy_object(h, 4711), CKR_OBJECT_HANDLE_INVALID);
    m.destroy_object(h, key).unwrap();
    refused(m.destroy_object(h, key), CKR_OBJECT_HANDLE_INVALID);
}

#[test]
fn imported_objects_of_every_class_come_back_as_they_were() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    for token in [YES, NO] {
        let data = m.create_object(
            h,
            template(&[
                (CKA_CLASS, &CKO_DATA.to_ne_bytes()),
                (CKA_TOKEN, token),
                (CKA_VALUE, b"text"),
                (CKA_APPLICATION, b"app"),
            ]),
        );
        let data = data.unwrap();
        assert_eq!(bench.value(h, data, CKA_VALUE).unwrap(), b"text");
        assert_eq!(bench.value(h, data, CKA_APPLICATION).unwrap(), b"app");

        let rows = &[
            (CKA_CLASS, &CKO_SECRET_KEY.to_ne_bytes()[..]),
            (CKA_KEY_TYPE, &CKK_AES.to_ne_bytes()),
            (CKA_TOKEN, token),
            (CKA_VALUE, &[0; 16]),
        ];
        let key = m.create_object(h, template(rows)).unwrap();
        assert_eq!(bench.value(h, key, CKA_CHECK_VALUE).unwrap(), [0x66, 0xe9, 0x4b]);
        assert_eq!(bench.value(h, key, CKA_LOCAL).unwrap(), NO);
        assert_eq!(bench.value(h, key, CKA_ALWAYS_SENSITIVE).unwrap(), NO);

        let pair = PrivateKey::generate_ec(Curve::P256).unwrap();
        let scalar = pair.scalar().unwrap();
        let rows = &[
            (CKA_CLASS, &CKO_PRIVATE_KEY.to_ne_bytes()[..]),
            (CKA_KEY_TYPE, &CKK_EC.to_ne_bytes()),
            (CKA_TOKEN, token),
            (CKA_EC_PARAMS, Curve::P256.params()),
            (CKA_VALUE, scalar.expose()),
            (CKA_SENSITIVE, NO),
            (CKA_EXTRACTABLE, YES),
        ];
        let private = m.create_object(h, template(rows)).unwrap();
        assert_eq!(bench.value(h, private, CKA_VALUE).unwrap(), scalar.expose());
        let point = bench.value(h, private, CKA_EC_POINT).unwrap();
        let rows = &[
            (CKA_CLASS, &CKO_PUBLIC_KEY.to_ne_bytes()[..]),
            (CKA_KEY_TYPE, &CKK_EC.to_ne_bytes()),
            (CKA_TOKEN, token),
            (CKA_EC_PARAMS, Curve::P256.params()),
            (CKA_EC_POINT, &point),
        ];
        let public = m.create_object(h, template(rows)).unwrap();
        assert_eq!(bench.value(h, public, CKA_EC_POINT).unwrap(), point);
    }
    let bad: &[(&[Row<'_>], CK_RV)] = &[
        (
            &[(CKA_CLASS, &CKO_SECRET_KEY.to_ne_bytes()), (CKA_KEY_TYPE, &CKK_AES.to_ne_bytes()), (CKA_VALUE, &[0; 15])],
            CKR_ATTRIBUTE_VALUE_INVALID,
        ),
        (&[(CKA_CLASS, &CKO_SECRET_KEY.to_ne_bytes()), (CKA_KEY_TYPE, &CKK_AES.to_ne_bytes())], CKR_TEMPLATE_INCOMPLETE),
        (&[(CKA_CLASS, &CKO_CERTIFICATE.to_ne_bytes()), (CKA_VALUE, b"x")], CKR_TEMPLATE_INCOMPLETE),
        (
            &[(CKA_CLASS, &CKO_CERTIFICATE.to_ne_bytes()), (CKA_CERTIFICATE_TYPE, &CKC_X_509.to_ne_bytes()), (CKA_VALUE, b"x")],
            CKR_ATTRIBUTE_VALUE_INVALID,
        ),
        (
            &[
                (CKA_CLASS, &CKO_PUBLIC_KEY.to_ne_bytes()),
                (CKA_KEY_TYPE, &CKK_EC.to_ne_bytes()),
                (CKA_EC_PARAMS, b"\x06\x01\x01"),
                (CKA_EC_POINT, b"x"),
            ],
            CKR_CURVE_NOT_SUPPORTED,
        ),
    ];
    let before = bench.store.len();
    for (rows, rv) in bad {
        refused(m.create_object(h, template(rows)), *rv);
    }
    assert_eq!(bench.store.len(), before, "nothing half made");
}

/// Every cipher mechanism with a parameter, and its block.
fn ciphers() -> Vec<(CK_MECHANISM_TYPE, fn() -> Params)> {
    vec![
        (CKM_AES_ECB, || Params::None),
        (CKM_AES_CBC, || Params::Raw(vec![7; 16])),
        (CKM_AES_CBC_PAD, || Params::Raw(vec![7; 16])),
        (CKM_AES_CTR, || Params::Ctr { bits: 128, counter: [0xff; 16] }),
        (CKM_AES_GCM, || Params::Gcm { iv: vec![1; 12], iv_bits: 0, aad: b"aad".to_vec(), tag_bits: 128 }),
        (CKM_AES_OFB, || Params::Raw(vec![7; 16])),
        (CKM_AES_CFB8, || Params::Raw(vec![7; 16])),
        (CKM_AES_CFB128, || Params::Raw(vec![7; 16])),
    ]
}

#[test]
fn a_key_in_the_store_encrypts_there_with_one_request_and_to_the_same_bytes() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    let value = [9; 32];
    let rows = |extra: &[Row<'static>]| {
        let class = CKO_SECRET_KEY.to_ne_bytes();
        let kind = CKK_AES.to_ne_bytes();
        let mut rows: Vec<Row<'_>> = vec![(CKA_CLASS, &class), (CKA_KEY_TYPE, &kind), (CKA_VALUE, &value)];
        rows.extend_from_slice(extra);
        template(&rows)
    };
    let remote = m.create_object(h, rows(&[(CKA_TOKEN, YES)])).unwrap();
    let local = m.create_object(h, rows(&[])).unwrap();
    let text: Vec<u8> = (0..160u32).map(|i| i as u8).collect();
    bench.store.requests();
    for (kind, params) in ciphers() {
        let mechanism = || Some(Mechanism { kind, params: params() });
        m.encrypt_init(h, mechanism(), local).unwrap();
        let expected = bytes(m.encrypt(h, &text, Some(1000)).unwrap());
        assert_eq!(bench.store.requests(), 0);

        m.encrypt_init(h, mechanism(), remote).unwrap();
        assert!(matches!(m.encrypt(h, &text, None).unwrap(), Output::Length(n) if n == expected.len()), "{kind:#x}");
        assert!(matches!(m.encrypt(h, &text, Some(10)).unwrap(), Output::TooSmall(n) if n == expected.len()));
        let in_store = !matches!(kind, CKM_AES_OFB | CKM_AES_CFB8 | CKM_AES_CFB128);
        assert_eq!(bench.store.requests(), usize::from(!in_store), "a size query is free");
        assert_eq!(bytes(m.encrypt(h, &text, Some(expected.len())).unwrap()), expected, "{kind:#x}");
        assert_eq!(bench.store.requests(), usize::from(in_store));
        refused(m.encrypt(h, &text, Some(1000)), CKR_OPERATION_NOT_INITIALIZED);

        m.decrypt_init(h, mechanism(), remote).unwrap();
        assert_eq!(bytes(m.decrypt(h, &expected, Some(1000)).unwrap()), text, "{kind:#x}");
        assert_eq!(bench.store.requests(), 1);
        // In parts, byte by byte.
        for key in [remote, local] {
            let mut out = Vec::new();
            m.encrypt_init(h, mechanism(), key).unwrap();
            for byte in &text {
                out.extend(bytes(m.encrypt_update(h, &[*byte], Some(32)).unwrap()));
            }
            refused(m.encrypt(h, &text, Some(1000)), CKR_OPERATION_NOT_INITIALIZED);
            out.clear();
            m.encrypt_init(h, mechanism(), key).unwrap();
            for part in text.chunks(7) {
                out.extend(bytes(m.encrypt_update(h, part, Some(32)).unwrap()));
            }
            out.extend(bytes(m.encrypt_final(h, Some(1000)).unwrap()));
            assert_eq!(out, expected, "{kind:#x} in parts");
            let mut back = Vec::new();
            m.decrypt_init(h, mechanism(), key).unwrap();
            for part in out.chunks(7) {
                back.extend(bytes(m.decrypt_update(h, part, Some(32)).unwrap()));
            }
            back.extend(bytes(m.decrypt_final(h, Some(1000)).unwrap()));
            assert_eq!(back, text, "{kind:#x} in parts");
        }
        bench.store.requests();
    }
}

#[test]
fn large_data_travels_in_few_requests() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    let key = bench.generate(h, CKM_AES_KEY_GEN, &[AES_256, (CKA_TOKEN, YES)]);
    let text: Vec<u8> = (0..700_001u32).map(|i| (i / 3) as u8).collect();
    for (kind, params) in ciphers() {
        let whole_blocks = matches!(kind, CKM_AES_ECB | CKM_AES_CBC);
        let text = if whole_blocks { &text[..700_000] } else { &text[..] };
        let mechanism = || Some(Mechanism { kind, params: params() });
        m.encrypt_init(h, mechanism(), key).unwrap();
        let whole = bytes(m.encrypt(h, text, Some(800_000)).unwrap());
        bench.store.requests();
        m.encrypt_init(h, mechanism(), key).unwrap();
        let mut parts = Vec::new();
        for part in text.chunks(5_000) {
            let room = match m.encrypt_update(h, part, None).unwrap() {
                Output::Length(n) => n,
                other => panic!("{other:?}"),
            };
            parts.extend(bytes(m.encrypt_update(h, part, Some(room)).unwrap()));
        }
        parts.extend(bytes(m.encrypt_final(h, Some(800_000)).unwrap()));
        assert!(parts == whole, "{kind:#x}: parts differ from the whole");
        let requests = bench.store.requests();
        assert!(requests <= 11, "{kind:#x}: {requests} requests for 140 parts of 11 x 64 KiB");
        m.decrypt_init(h, mechanism(), key).unwrap();
        assert!(bytes(m.decrypt(h, &whole, Some(800_000)).unwrap()) == text, "{kind:#x}");
    }
}

#[test]
fn results_that_do_not_fit_are_kept() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    let key = bench.generate(h, CKM_AES_KEY_GEN, &[AES_256, (CKA_TOKEN, YES)]);
    let mechanism = || Some(Mechanism { kind: CKM_AES_CBC_PAD, params: Params::Raw(vec![0; 16]) });
    m.encrypt_init(h, mechanism(), key).unwrap();
    let sealed = bytes(m.encrypt(h, b"twenty bytes of text", Some(32)).unwrap());
    bench.store.requests();
    m.decrypt_init(h, mechanism(), key).unwrap();
    assert!(matches!(m.decrypt(h, &sealed, Some(3)).unwrap(), Output::TooSmall(20)));
    assert_eq!(bytes(m.decrypt(h, &sealed, Some(20)).unwrap()), b"twenty bytes of text");
    assert_eq!(bench.store.requests(), 1, "asked once");
    m.decrypt_init(h, mechanism(), key).unwrap();
    assert_eq!(bytes(m.decrypt_update(h, &sealed, Some(1000)).unwrap()), b"");
    assert!(matches!(m.decrypt_final(h, Some(0)).unwrap(), Output::TooSmall(20)));
    assert_eq!(bytes(m.decrypt_final(h, Some(20)).unwrap()), b"twenty bytes of text");
    assert_eq!(bench.store.requests(), 1);
    // Other data in between: the kept result is not theirs.
    m.decrypt_init(h, mechanism(), key).unwrap();
    assert!(matches!(m.decrypt(h, &sealed, Some(3)).unwrap(), Output::TooSmall(20)));
    m.encrypt_init(h, mechanism(), key).unwrap();
    let other = bytes(m.encrypt(h, b"other text", Some(16)).unwrap());
    assert_eq!(bytes(m.decrypt(h, &other, Some(32)).unwrap()), b"other text");
}

#[test]
fn operations_refuse_what_they_must_and_leave_nothing_active() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    let key = bench.generate(h, CKM_AES_KEY_GEN, &[AES_256, (CKA_DECRYPT, NO), (CKA_SIGN, NO)]);
    let secret = bench.generate(h, CKM_GENERIC_SECRET_KEY_GEN, &[AES_256]);
    let bound = bench.generate(h, CKM_AES_KEY_GEN, &[AES_256, (CKA_ALLOWED_MECHANISMS, &CKM_AES_GCM.to_ne_bytes())]);
    let ecb = || Some(Mechanism::bare(CKM_AES_ECB));
    let with = |kind, params| Some(Mechanism { kind, params });
    refused(m.encrypt(h, b"", None), CKR_OPERATION_NOT_INITIALIZED);
    refused(m.encrypt_init(h, with(CKM_AES_CBC, Params::Raw(vec![0; 15])), key), CKR_MECHANISM_PARAM_INVALID);
    refused(m.encrypt_init(h, with(CKM_AES_ECB, Params::Raw(vec![0; 16])), key), CKR_MECHANISM_PARAM_INVALID);
    refused(m.encrypt_init(h, with(CKM_AES_CTR, Params::Ctr { bits: 0, counter: [0; 16] }), key), CKR_MECHANISM_PARAM_INVALID);
    let gcm = |iv, tag_bits| with(CKM_AES_GCM, Params::Gcm { iv, iv_bits: 96, aad: vec![], tag_bits });
    refused(m.encrypt_init(h, gcm(vec![], 128), key), CKR_MECHANISM_PARAM_INVALID);
    refused(m.encrypt_init(h, gcm(vec![0; 12], 129), key), CKR_MECHANISM_PARAM_INVALID);
    refused(m.encrypt_init(h, Some(Mechanism::bare(0x7777_7777)), key), CKR_MECHANISM_INVALID);
    refused(m.encrypt_init(h, Some(Mechanism::bare(CKM_SHA256)), key), CKR_MECHANISM_INVALID);
    refused(m.encrypt_init(h, ecb(), 4711), CKR_KEY_HANDLE_INVALID);
    refused(m.encrypt_init(h, ecb(), secret), CKR_KEY_TYPE_INCONSISTENT);
    refused(m.encrypt_init(h, ecb(), bound), CKR_MECHANISM_INVALID);
    refused(m.decrypt_init(h, ecb(), key), CKR_KEY_FUNCTION_NOT_PERMITTED);
    refused(m.sign_init(h, Some(Mechanism::bare(CKM_AES_CMAC)), key), CKR_KEY_FUNCTION_NOT_PERMITTED);
    m.encrypt_init(h, ecb(), key).unwrap();
    refused(m.encrypt_init(h, ecb(), key), CKR_OPERATION_ACTIVE);
    refused(m.encrypt(h, &[0; 15], Some(100)), CKR_DATA_LEN_RANGE);
    refused(m.encrypt(h, &[0; 16], Some(100)), CKR_OPERATION_NOT_INITIALIZED);
    m.encrypt_init(h, ecb(), key).unwrap();
    m.session_cancel(h, CKF_ENCRYPT).unwrap();
    m.encrypt_init(h, ecb(), key).unwrap();
    bytes(m.encrypt_update(h, &[0; 17], Some(100)).unwrap());
    refused(m.encrypt_final(h, Some(100)), CKR_DATA_LEN_RANGE);

    let gcm_key = bound;
    m.encrypt_init(h, gcm(vec![0; 12], 96), gcm_key).unwrap();
    let mut sealed = bytes(m.encrypt(h, b"hello", Some(17)).unwrap());
    sealed[0] ^= 1;
    m.decrypt_init(h, gcm(vec![0; 12], 96), gcm_key).unwrap();
    refused(m.decrypt(h, &sealed, Some(100)), CKR_ENCRYPTED_DATA_INVALID);
    m.decrypt_init(h, gcm(vec![0; 12], 96), gcm_key).unwrap();
    refused(m.decrypt(h, &sealed[..11], Some(100)), CKR_ENCRYPTED_DATA_LEN_RANGE);
}

#[test]
fn a_key_that_is_no_longer_active_only_decrypts() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    bench.generate(h, CKM_AES_KEY_GEN, &[AES_256, (CKA_TOKEN, YES)]);
    bench.store.tamper(|meta| meta.state = Some(State::Deactivated));
    m.logout(h).unwrap();
    m.login(h, CKU_USER, Some(PIN)).unwrap();
    let key = bench.find(h, &[])[0];
    refused(m.encrypt_init(h, Some(Mechanism::bare(CKM_AES_ECB)), key), CKR_KEY_FUNCTION_NOT_PERMITTED);
    m.decrypt_init(h, Some(Mechanism::bare(CKM_AES_ECB)), key).unwrap();
    bytes(m.decrypt(h, &[0; 16], Some(16)).unwrap());
    bench.store.tamper(|meta| meta.state = Some(State::Destroyed));
}

#[test]
fn policy_decides_where_a_key_is_used() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    let bound = bench.generate(h, CKM_AES_KEY_GEN, &[AES_256, (CKA_TOKEN, YES)]);
    let free = bench.generate(h, CKM_AES_KEY_GEN, &[AES_256, (CKA_TOKEN, YES), (CKA_EXTRACTABLE, YES)]);
    let use_key = |key, kind, params| {
        m.encrypt_init(h, Some(Mechanism { kind, params }), key)?;
        m.encrypt(h, &[0; 16], Some(32)).map(bytes)
    };
    use_key(bound, CKM_AES_ECB, Params::None).unwrap();
    assert_eq!(bench.store.fetches(), 0, "its value stays where it is");
    use_key(free, CKM_AES_ECB, Params::None).unwrap();
    assert_eq!(bench.store.fetches(), 1);
    bench.policy(CryptoPolicy::Server);
    use_key(free, CKM_AES_ECB, Params::None).unwrap();
    refused(use_key(bound, CKM_AES_OFB, Params::Raw(vec![0; 16])), CKR_MECHANISM_INVALID);
    assert_eq!(bench.store.fetches(), 1);
    bench.store.refuses.store(true, Ordering::Relaxed);
    refused(use_key(bound, CKM_AES_ECB, Params::None), CKR_MECHANISM_INVALID);
    bench.policy(CryptoPolicy::Auto);
    use_key(bound, CKM_AES_ECB, Params::None).unwrap();
    assert_eq!(bench.store.fetches(), 2, "a server that refuses is served by fetching");
    bench.store.requests();
    use_key(bound, CKM_AES_ECB, Params::None).unwrap();
    assert_eq!(bench.store.requests(), 1, "and is not asked again");
    bench.store.keeps_only.store(true, Ordering::Relaxed);
    use_key(bound, CKM_AES_CBC, Params::Raw(vec![0; 16])).unwrap();
    bench.policy(CryptoPolicy::Local);
    use_key(free, CKM_AES_ECB, Params::None).unwrap();
}

#[test]
fn digests_whole_and_in_parts() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = m.open_session(bench.slot, RO).unwrap();
    let sha = || Some(Mechanism::bare(CKM_SHA256));
    m.digest_init(h, sha()).unwrap();
    assert!(matches!(m.digest(h, b"abc", None).unwrap(), Output::Length(32)));
    assert!(matches!(m.digest(h, b"abc", Some(31)).unwrap(), Output::TooSmall(32)));
    let whole = bytes(m.digest(h, b"abc", Some(32)).unwrap());
    assert_eq!(whole[..4], [0xba, 0x78, 0x16, 0xbf]);
    m.digest_init(h, sha()).unwrap();
    m.digest_update(h, b"a").unwrap();
    m.digest_update(h, b"bc").unwrap();
    refused(m.digest(h, b"", Some(32)), CKR_OPERATION_NOT_INITIALIZED);
    m.digest_init(h, sha()).unwrap();
    m.digest_update(h, b"abc").unwrap();
    assert_eq!(bytes(m.digest_final(h, Some(32)).unwrap()), whole);
    refused(m.digest_final(h, Some(32)), CKR_OPERATION_NOT_INITIALIZED);
    let odd = Mechanism { kind: CKM_SHA256, params: Params::Raw(vec![1]) };
    refused(m.digest_init(h, Some(odd)), CKR_MECHANISM_PARAM_INVALID);
    refused(m.operation_state(h, None), CKR_OPERATION_NOT_INITIALIZED);
    m.digest_init(h, sha()).unwrap();
    m.digest_update(h, b"ab").unwrap();
    let Output::Length(len) = m.operation_state(h, None).unwrap() else { panic!() };
    let state = bytes(m.operation_state(h, Some(len)).unwrap());
    let other = m.open_session(bench.slot, RO).unwrap();
    refused(m.set_operation_state(other, &state, 1, 0), CKR_KEY_NOT_NEEDED);
    refused(m.set_operation_state(other, &state[..9], 0, 0), CKR_SAVED_STATE_INVALID);
    refused(m.set_operation_state(other, b"", 0, 0), CKR_SAVED_STATE_INVALID);
    m.set_operation_state(other, &state, 0, 0).unwrap();
    for h in [h, other] {
        m.digest_update(h, b"c").unwrap();
        assert_eq!(bytes(m.digest_final(h, Some(32)).unwrap()), whole);
    }
    assert_eq!(m.generate_random(h, 40).unwrap().len(), 40);
    refused(m.generate_random(h, usize::MAX), CKR_ARGUMENTS_BAD);
    refused(m.seed_random(h, b"x"), CKR_RANDOM_SEED_NOT_SUPPORTED);
}

#[test]
fn signatures_of_every_kind_verify() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    let pss = |hash, mgf| Params::Pss { hash, mgf, salt_len: 32 };
    let curve = |curve: Curve| vec![(CKA_EC_PARAMS, curve.params())];
    type Pair<'a> = (CK_MECHANISM_TYPE, Vec<Row<'a>>, Vec<(CK_MECHANISM_TYPE, Params)>);
    let bits = 2048u64.to_ne_bytes();
    let pairs: Vec<Pair<'_>> = vec![
        (
            CKM_RSA_PKCS_KEY_PAIR_GEN,
            vec![(CKA_MODULUS_BITS, &bits)],
            vec![
                (CKM_RSA_PKCS, Params::None),
                (CKM_RSA_X_509, Params::None),
                (CKM_SHA256_RSA_PKCS, Params::None),
                (CKM_SHA256_RSA_PKCS_PSS, pss(CKM_SHA256, CKG_MGF1_SHA256)),
            ],
        ),
        (CKM_EC_KEY_PAIR_GEN, curve(Curve::P256), vec![(CKM_ECDSA_SHA256, Params::None), (CKM_ECDSA, Params::None)]),
        (CKM_EC_KEY_PAIR_GEN, curve(Curve::P521), vec![(CKM_ECDSA_SHA512, Params::None)]),
        (CKM_EC_EDWARDS_KEY_PAIR_GEN, curve(Curve::Ed25519), vec![(CKM_EDDSA, Params::None)]),
    ];
    for (token, (generation, rows, mechanisms)) in [YES, NO].iter().flat_map(|t| pairs.iter().map(move |p| (*t, p))) {
        let mut public = rows.clone();
        public.push((CKA_TOKEN, token));
        let private = [(CKA_TOKEN, token)];
        let (public, private) =
            m.generate_key_pair(h, Mechanism::bare(*generation), template(&public), template(&private)).unwrap();
        assert_eq!(bench.value(h, public, CKA_PUBLIC_KEY_INFO), bench.value(h, private, CKA_PUBLIC_KEY_INFO));
        assert!(matches!(m.attribute_values(h, private, &[CKA_VALUE]).unwrap()[0], Answer::Sensitive | Answer::Unknown));
        for (kind, params) in mechanisms {
            let mechanism = || Some(Mechanism { kind: *kind, params: copy(params) });
            let data = [7; 20];
            m.sign_init(h, mechanism(), private).unwrap();
            let Output::Length(len) = m.sign(h, &data, None).unwrap() else { panic!() };
            assert!(matches!(m.sign(h, &data, Some(len - 1)).unwrap(), Output::TooSmall(n) if n == len));
            let mut signature = bytes(m.sign(h, &data, Some(len)).unwrap());
            assert_eq!(signature.len(), len);
            m.verify_init(h, mechanism(), public).unwrap();
            m.verify(h, &data, &signature).unwrap();
            m.sign_init(h, mechanism(), private).unwrap();
            m.sign_update(h, &data[..3]).unwrap();
            m.sign_update(h, &data[3..]).unwrap();
            let parts = bytes(m.sign_final(h, Some(len)).unwrap());
            m.verify_init(h, mechanism(), public).unwrap();
            m.verify_update(h, &data[..9]).unwrap();
            m.verify_update(h, &data[9..]).unwrap();
            m.verify_final(h, &parts).unwrap();
            signature[10] ^= 1;
            m.verify_init(h, mechanism(), public).unwrap();
            refused(m.verify(h, &data, &signature), CKR_SIGNATURE_INVALID);
            m.verify_init(h, mechanism(), public).unwrap();
            refused(m.verify(h, &data, &signature[..len - 1]), CKR_SIGNATURE_LEN_RANGE);
            refused(m.sign_init(h, mechanism(), public), CKR_KEY_TYPE_INCONSISTENT);
        }
    }
    assert!(bench.store.fetches() > 0, "the double makes no EC keys, and signs no bare RSA");
}

fn copy(params: &Params) -> Params {
    match params {
        Params::None => Params::None,
        Params::Pss { hash, mgf, salt_len } => Params::Pss { hash: *hash, mgf: *mgf, salt_len: *salt_len },
        Params::Number(n) => Params::Number(*n),
        other => panic!("{other:?}"),
    }
}

#[test]
fn macs_here_and_in_the_store_are_the_same() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    for (key_type, kind, params, len) in [
        (CKK_GENERIC_SECRET, CKM_SHA256_HMAC, Params::None, 32),
        (CKK_GENERIC_SECRET, CKM_SHA512_HMAC_GENERAL, Params::Number(10), 10),
        (CKK_SHA_1_HMAC, CKM_SHA_1_HMAC, Params::None, 20),
        (CKK_AES, CKM_AES_CMAC, Params::None, 16),
        (CKK_AES, CKM_AES_CMAC_GENERAL, Params::Number(4), 4),
    ] {
        let mut made = Vec::new();
        for token in [YES, NO] {
            let rows = &[
                (CKA_CLASS, &CKO_SECRET_KEY.to_ne_bytes()[..]),
                (CKA_KEY_TYPE, &key_type.to_ne_bytes()),
                (CKA_VALUE, &[3; 32]),
                (CKA_TOKEN, token),
            ];
            let key = m.create_object(h, template(rows)).unwrap();
            let mechanism = || Some(Mechanism { kind, params: copy(&params) });
            m.sign_init(h, mechanism(), key).unwrap();
            // Nothing at all is the empty message.
            bytes(m.sign_final(h, Some(64)).unwrap());
            m.sign_init(h, mechanism(), key).unwrap();
            let code = bytes(m.sign(h, b"message", Some(64)).unwrap());
            assert_eq!(code.len(), len);
            m.verify_init(h, mechanism(), key).unwrap();
            m.verify(h, b"message", &code).unwrap();
            m.verify_init(h, mechanism(), key).unwrap();
            refused(m.verify(h, b"massage", &code), CKR_SIGNATURE_INVALID);
            made.push(code);
        }
        assert_eq!(made[0], made[1], "{kind:#x}");
        refused(m.sign_init(h, Some(Mechanism { kind, params: Params::Number(65) }), 1), CKR_KEY_HANDLE_INVALID);
    }
    assert_eq!(bench.store.fetches(), 0);
}

#[test]
fn rsa_encrypts_with_the_public_and_decrypts_with_the_private_half() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    let bits = 2048u64.to_ne_bytes();
    let rows = &[(CKA_MODULUS_BITS, &bits[..]), (CKA_TOKEN, YES)];
    let pair = m.generate_key_pair(h, Mechanism::bare(CKM_RSA_PKCS_KEY_PAIR_GEN), template(rows), template(&[(CKA_TOKEN, YES)]));
    let (public, private) = pair.unwrap();
    let oaep = || Params::Oaep { hash: CKM_SHA256, mgf: CKG_MGF1_SHA256, source: CKZ_DATA_SPECIFIED, label: b"label".to_vec() };
    for (kind, params) in
        [(CKM_RSA_PKCS, (|| Params::None) as fn() -> Params), (CKM_RSA_PKCS_OAEP, oaep), (CKM_RSA_X_509, || Params::None)]
    {
        let mechanism = || Some(Mechanism { kind, params: params() });
        m.encrypt_init(h, mechanism(), public).unwrap();
        let sealed = bytes(m.encrypt(h, b"secret", Some(256)).unwrap());
        m.decrypt_init(h, mechanism(), private).unwrap();
        let opened = bytes(m.decrypt(h, &sealed, Some(256)).unwrap());
        assert!(opened.ends_with(b"secret"), "{kind:#x}");
        m.decrypt_init(h, mechanism(), private).unwrap();
        refused(m.decrypt(h, &sealed[1..], Some(256)), CKR_ENCRYPTED_DATA_LEN_RANGE);
    }
    m.sign_recover_init(h, Some(Mechanism::bare(CKM_RSA_PKCS)), private).unwrap();
    let signature = bytes(m.sign_recover(h, b"recovered", Some(256)).unwrap());
    m.verify_recover_init(h, Some(Mechanism::bare(CKM_RSA_PKCS)), public).unwrap();
    assert!(matches!(m.verify_recover(h, &signature, None).unwrap(), Output::Length(9)));
    assert_eq!(bytes(m.verify_recover(h, &signature, Some(9)).unwrap()), b"recovered");
}

#[test]
fn keys_that_ask_for_a_pin_of_their_own_wait_for_it() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    let rows = &[(CKA_EC_PARAMS, Curve::P256.params())];
    let private = &[(CKA_ALWAYS_AUTHENTICATE, YES)];
    let (_, private) = m.generate_key_pair(h, Mechanism::bare(CKM_EC_KEY_PAIR_GEN), template(rows), template(private)).unwrap();
    m.sign_init(h, Some(Mechanism::bare(CKM_ECDSA)), private).unwrap();
    refused(m.sign(h, &[1; 32], Some(64)), CKR_USER_NOT_LOGGED_IN);
    refused(m.login(h, CKU_CONTEXT_SPECIFIC, Some(b"wrong")), CKR_PIN_INCORRECT);
    m.login(h, CKU_CONTEXT_SPECIFIC, Some(PIN)).unwrap();
    bytes(m.sign(h, &[1; 32], Some(64)).unwrap());
    m.sign_init(h, Some(Mechanism::bare(CKM_ECDSA)), private).unwrap();
    refused(m.sign(h, &[1; 32], Some(64)), CKR_USER_NOT_LOGGED_IN);
}

#[test]
fn two_operations_on_the_same_data() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    let key = bench.generate(h, CKM_AES_KEY_GEN, &[AES_256]);
    let cbc = || Some(Mechanism { kind: CKM_AES_CBC, params: Params::Raw(vec![0; 16]) });
    refused(m.digest_encrypt_update(h, &[0; 16], Some(16)), CKR_OPERATION_NOT_INITIALIZED);
    m.digest_init(h, Some(Mechanism::bare(CKM_SHA_1))).unwrap();
    m.encrypt_init(h, cbc(), key).unwrap();
    assert!(matches!(m.digest_encrypt_update(h, &[5; 16], None).unwrap(), Output::Length(16)));
    let sealed = bytes(m.digest_encrypt_update(h, &[5; 16], Some(16)).unwrap());
    m.encrypt_final(h, Some(0)).unwrap();
    let digest = bytes(m.digest_final(h, Some(20)).unwrap());
    m.digest_init(h, Some(Mechanism::bare(CKM_SHA_1))).unwrap();
    assert_eq!(bytes(m.digest(h, &[5; 16], Some(20)).unwrap()), digest, "the size query was not digested");
    m.digest_init(h, Some(Mechanism::bare(CKM_SHA_1))).unwrap();
    m.decrypt_init(h, cbc(), key).unwrap();
    assert_eq!(bytes(m.decrypt_digest_update(h, &sealed, Some(16)).unwrap()), [5; 16]);
    assert_eq!(bytes(m.digest_final(h, Some(20)).unwrap()), digest);
}

#[test]
fn sessions_do_not_wait_for_each_other() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    let key = bench.generate(h, CKM_AES_KEY_GEN, &[AES_256, (CKA_TOKEN, YES)]);
    let delay = Duration::from_millis(200);
    *lock(&bench.store.delay) = delay;
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let h = m.open_session(bench.slot, RO).unwrap();
                m.encrypt_init(h, Some(Mechanism::bare(CKM_AES_ECB)), key).unwrap();
                bytes(m.encrypt(h, &[0; 16], Some(16)).unwrap());
            });
        }
    });
    assert!(start.elapsed() < delay * 3, "eight calls took {:?}", start.elapsed());
}

#[test]
fn keys_are_wrapped_and_unwrapped_by_every_mechanism() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    let free: &[Row<'_>] = &[AES_256, (CKA_EXTRACTABLE, YES), (CKA_SENSITIVE, NO)];
    let secret = bench.generate(h, CKM_AES_KEY_GEN, free);
    let kek = bench.generate(h, CKM_AES_KEY_GEN, &[AES_256, (CKA_TOKEN, YES)]);
    let bits = 2048u64.to_ne_bytes();
    let free_half = [(CKA_EXTRACTABLE, YES), (CKA_SENSITIVE, NO)];
    let rsa = Mechanism::bare(CKM_RSA_PKCS_KEY_PAIR_GEN);
    let (rsa_public, rsa_private) =
        m.generate_key_pair(h, rsa, template(&[(CKA_MODULUS_BITS, &bits)]), template(&free_half)).unwrap();
    let oaep = || Params::Oaep { hash: CKM_SHA256, mgf: CKG_MGF1_SHA256, source: CKZ_DATA_SPECIFIED, label: Vec::new() };
    let gcm = || Params::Gcm { iv: vec![1; 12], iv_bits: 96, aad: Vec::new(), tag_bits: 128 };
    type Case = (CK_MECHANISM_TYPE, fn() -> Params, bool);
    let none: fn() -> Params = || Params::None;
    let iv: fn() -> Params = || Params::Raw(vec![2; 16]);
    let both: fn() -> Params = || Params::RsaAesKeyWrap {
        aes_bits: 256,
        oaep: Some(Box::new(Params::Oaep { hash: CKM_SHA_1, mgf: CKG_MGF1_SHA1, source: CKZ_DATA_SPECIFIED, label: Vec::new() })),
    };
    // The last column: whether it takes private keys.
    let cases: &[Case] = &[
        (CKM_AES_KEY_WRAP, none, false),
        (CKM_AES_KEY_WRAP_PAD, none, true),
        (CKM_AES_KEY_WRAP_KWP, none, true),
        (CKM_AES_KEY_WRAP_PKCS7, none, true),
        (CKM_AES_CBC, iv, false),
        (CKM_AES_CBC_PAD, iv, true),
        (CKM_AES_GCM, gcm, true),
        (CKM_RSA_PKCS, none, false),
        (CKM_RSA_PKCS_OAEP, oaep, false),
        (CKM_RSA_AES_KEY_WRAP, both, true),
    ];
    let aes = CKK_AES.to_ne_bytes();
    let rsa = CKK_RSA.to_ne_bytes();
    let (secret_class, private_class) = (CKO_SECRET_KEY.to_ne_bytes(), CKO_PRIVATE_KEY.to_ne_bytes());
    for (kind, params, takes_private) in cases {
        let mechanism = || Mechanism { kind: *kind, params: params() };
        let (to, from) = match kind {
            &CKM_RSA_PKCS | &CKM_RSA_PKCS_OAEP | &CKM_RSA_AES_KEY_WRAP => (rsa_public, rsa_private),
            _ => (kek, kek),
        };
        for token in [YES, NO] {
            let Output::Length(len) = m.wrap_key(h, mechanism(), to, secret, None).unwrap() else { panic!() };
            assert!(matches!(m.wrap_key(h, mechanism(), to, secret, Some(len - 1)).unwrap(), Output::TooSmall(_)), "{kind:#x}");
            let wrapped = bytes(m.wrap_key(h, mechanism(), to, secret, Some(len)).unwrap());
            let rows = &[(CKA_CLASS, &secret_class[..]), (CKA_KEY_TYPE, &aes), (CKA_SENSITIVE, NO), (CKA_TOKEN, token)];
            let key = m.unwrap_key(h, mechanism(), from, &wrapped, template(rows)).unwrap();
            assert_eq!(bench.value(h, key, CKA_VALUE), bench.value(h, secret, CKA_VALUE), "{kind:#x}");
            assert_eq!(bench.value(h, key, CKA_EXTRACTABLE).unwrap(), YES);
            assert_eq!(bench.value(h, key, CKA_LOCAL).unwrap(), NO);
            let mut damaged = wrapped.clone();
            damaged[3] ^= 1;
            let before = bench.store.len();
            match m.unwrap_key(h, mechanism(), from, &damaged, template(rows)).map_err(|e| e.rv()) {
                // Nothing protects these modes, or what is damaged is not the padding.
                Ok(_) => assert!(matches!(kind, &CKM_AES_CBC | &CKM_AES_CBC_PAD), "{kind:#x}"),
                Err(rv) => {
                    assert_eq!(ck_name(rv), "CKR_WRAPPED_KEY_INVALID", "{kind:#x}");
                    assert_eq!(bench.store.len(), before);
                }
            }
        }
        let private = m.wrap_key(h, mechanism(), to, rsa_private, Some(4096));
        if !takes_private {
            // One key in eight has a length that these take.
            let lucky = matches!(kind, &CKM_AES_KEY_WRAP | &CKM_AES_CBC);
            assert!(private.is_err() || lucky, "{kind:#x}");
            continue;
        }
        let rows = &[(CKA_CLASS, &private_class[..]), (CKA_KEY_TYPE, &rsa), (CKA_SENSITIVE, NO)];
        let back = m.unwrap_key(h, mechanism(), from, &bytes(private.unwrap()), template(rows)).unwrap();
        assert_eq!(bench.value(h, back, CKA_PRIME_1), bench.value(h, rsa_private, CKA_PRIME_1), "{kind:#x}");
    }
    let bare = || Mechanism::bare(CKM_AES_KEY_WRAP);
    refused(m.wrap_key(h, bare(), kek, kek, None), CKR_KEY_UNEXTRACTABLE);
    refused(m.wrap_key(h, bare(), 4711, secret, None), CKR_WRAPPING_KEY_HANDLE_INVALID);
    refused(m.wrap_key(h, bare(), kek, 4711, None), CKR_KEY_HANDLE_INVALID);
    refused(m.wrap_key(h, bare(), rsa_public, secret, None), CKR_WRAPPING_KEY_TYPE_INCONSISTENT);
    refused(m.wrap_key(h, bare(), kek, rsa_public, None), CKR_KEY_NOT_WRAPPABLE);
    refused(m.unwrap_key(h, bare(), 4711, &[0; 40], template(&[])), CKR_UNWRAPPING_KEY_HANDLE_INVALID);
    refused(m.unwrap_key(h, bare(), kek, &[0; 40], template(&[])), CKR_TEMPLATE_INCOMPLETE);
    let guarded = bench.generate(h, CKM_AES_KEY_GEN, &[AES_256, (CKA_EXTRACTABLE, YES), (CKA_WRAP_WITH_TRUSTED, YES)]);
    refused(m.wrap_key(h, bare(), kek, guarded, None), CKR_KEY_NOT_WRAPPABLE);
}

#[test]
fn keys_are_derived_alike_on_both_sides() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    for (kind, curve) in [(CKM_EC_KEY_PAIR_GEN, Curve::P256), (CKM_EC_MONTGOMERY_KEY_PAIR_GEN, Curve::X25519)] {
        let rows = &[(CKA_EC_PARAMS, curve.params())];
        let pair = || m.generate_key_pair(h, Mechanism::bare(kind), template(rows), template(&[])).unwrap();
        let (a, b) = (pair(), pair());
        let shared = |private, public, kdf, len: u64| {
            let public = bench.value(h, public, CKA_EC_POINT).unwrap();
            let params = Params::Ecdh1 { kdf, shared: Vec::new(), public };
            let len = len.to_ne_bytes();
            let rows = &[(CKA_VALUE_LEN, &len[..]), (CKA_SENSITIVE, NO), (CKA_EXTRACTABLE, YES)];
            let key = m.derive_key(h, Mechanism { kind: CKM_ECDH1_DERIVE, params }, private, template(rows)).unwrap();
            bench.value(h, key, CKA_VALUE).unwrap()
        };
        for (kdf, len) in [(CKD_NULL, 32), (CKD_NULL, 16), (CKD_SHA256_KDF, 70)] {
            let one = shared(a.1, b.0, kdf, len);
            assert_eq!(one, shared(b.1, a.0, kdf, len), "{curve:?}");
            assert_eq!(one.len() as u64, len);
        }
        let params = Params::Ecdh1 { kdf: CKD_NULL, shared: Vec::new(), public: vec![4; 9] };
        refused(m.derive_key(h, Mechanism { kind: CKM_ECDH1_DERIVE, params }, a.1, template(&[])), CKR_MECHANISM_PARAM_INVALID);
    }
    let open: &[Row<'_>] = &[AES_256, (CKA_DERIVE, YES), (CKA_SENSITIVE, NO), (CKA_EXTRACTABLE, YES)];
    let base = bench.generate(h, CKM_GENERIC_SECRET_KEY_GEN, open);
    let show: &[Row<'_>] = &[(CKA_SENSITIVE, NO), (CKA_EXTRACTABLE, YES)];
    let derive = |kind, params| {
        let key = m.derive_key(h, Mechanism { kind, params }, base, template(show)).unwrap();
        bench.value(h, key, CKA_VALUE).unwrap()
    };
    let value = bench.value(h, base, CKA_VALUE).unwrap();
    let data = |data: &[u8]| Params::DerivationString(Secret::new(data.to_vec()));
    assert_eq!(derive(CKM_CONCATENATE_BASE_AND_DATA, data(b"x")), [&value[..], b"x"].concat());
    assert_eq!(derive(CKM_CONCATENATE_DATA_AND_BASE, data(b"x")), [b"x", &value[..]].concat());
    assert_eq!(derive(CKM_XOR_BASE_AND_DATA, data(&value)), [0; 32]);
    assert_eq!(derive(CKM_CONCATENATE_BASE_AND_KEY, Params::Key(base)), [&value[..], &value[..]].concat());
    let guarded = bench.generate(h, CKM_GENERIC_SECRET_KEY_GEN, &[AES_256, (CKA_DERIVE, YES)]);
    let concat = Mechanism { kind: CKM_CONCATENATE_BASE_AND_DATA, params: data(b"x") };
    refused(m.derive_key(h, concat, guarded, template(show)), CKR_TEMPLATE_INCONSISTENT);
    let undeclared = bench.generate(h, CKM_GENERIC_SECRET_KEY_GEN, &[AES_256]);
    let concat = Mechanism { kind: CKM_CONCATENATE_BASE_AND_DATA, params: data(b"x") };
    refused(m.derive_key(h, concat, undeclared, template(&[])), CKR_KEY_FUNCTION_NOT_PERMITTED);
    let hkdf = |expand| Params::Hkdf {
        extract: true,
        expand,
        prf: CKM_SHA256,
        salt_type: CKF_HKDF_SALT_DATA,
        salt: b"salt".to_vec(),
        salt_key: 0,
        info: b"info".to_vec(),
    };
    assert_eq!(derive(CKM_HKDF_DERIVE, hkdf(false)).len(), 32);
    refused(
        m.derive_key(h, Mechanism { kind: CKM_HKDF_DERIVE, params: hkdf(true) }, base, template(&[])),
        CKR_TEMPLATE_INCOMPLETE,
    );
    let password = Params::Pbkdf2 {
        salt_source: CKZ_SALT_SPECIFIED,
        salt: b"salt".to_vec(),
        iterations: 2,
        prf: CKP_PKCS5_PBKD2_HMAC_SHA1,
        password: Secret::new(b"password".to_vec()),
    };
    let len = 20u64.to_ne_bytes();
    let rows = &[(CKA_VALUE_LEN, &len[..]), (CKA_SENSITIVE, NO), (CKA_EXTRACTABLE, YES)];
    let key = m.generate_key(h, Mechanism { kind: CKM_PKCS5_PBKD2, params: password }, template(rows)).unwrap();
    assert_eq!(bench.value(h, key, CKA_VALUE).unwrap()[..4], [0xea, 0x6c, 0x01, 0x4d]);
}

#[test]
fn the_first_signature_of_a_server_is_verified() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    let bits = 2048u64.to_ne_bytes();
    let rows = &[(CKA_MODULUS_BITS, &bits[..]), (CKA_TOKEN, YES)];
    let pair = m.generate_key_pair(h, Mechanism::bare(CKM_RSA_PKCS_KEY_PAIR_GEN), template(rows), template(&[(CKA_TOKEN, YES)]));
    let (public, private) = pair.unwrap();
    let sign = |kind| {
        m.sign_init(h, Some(Mechanism::bare(kind)), private)?;
        m.sign(h, b"message", Some(256)).map(bytes)
    };
    sign(CKM_SHA256_RSA_PKCS).unwrap();
    bench.store.requests();
    sign(CKM_SHA256_RSA_PKCS).unwrap();
    assert_eq!(bench.store.requests(), 1, "what is proven is not proven again");
    assert_eq!(bench.store.fetches(), 0);
    bench.store.lies.store(true, Ordering::Relaxed);
    bench.policy(CryptoPolicy::Server);
    refused(sign(CKM_SHA384_RSA_PKCS), CKR_DEVICE_ERROR);
    bench.policy(CryptoPolicy::Auto);
    let signature = sign(CKM_SHA384_RSA_PKCS).unwrap();
    m.verify_init(h, Some(Mechanism::bare(CKM_SHA384_RSA_PKCS)), public).unwrap();
    m.verify(h, b"message", &signature).unwrap();
}
