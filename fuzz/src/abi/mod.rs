//! The C ABI: any sequence of calls that take templates, mechanisms and buffers, on a file token.
//!
//! Pointers are good or NULL, as an application's are; everything else is wrong in every way that bytes can choose. Whatever
//! comes, a function returns a value of its list, writes nothing beyond the room it was given, leaves no object behind when it
//! fails, and the session works afterwards.
#![allow(unsafe_code, reason = "an application in C is what this plays")]

mod input;
mod parameter;
mod template;

use std::cell::RefCell;
use std::os::unix::fs::PermissionsExt;
use std::ptr::{null_mut, read_unaligned};

use mrhsm_pkcs11::ck::*;
use mrhsm_pkcs11::ffi::values::may_return;

pub use self::input::Input;
use self::input::Memory;
use self::template::{Given, Row};

/// Calls a function, and checks that what it returns is in its list.
macro_rules! call {
    ($table:expr, $function:ident($($argument:expr),* $(,)?)) => {{
        let function = $table.$function.expect("no entry of the table is NULL");
        // SAFETY: the pointers are good or NULL, and as long as is said, or longer than any memory.
        let rv = unsafe { function($($argument),*) };
        // `CKR_GENERAL_ERROR` would be a panic that the module caught.
        let listed = may_return(stringify!($function), rv) && rv != CKR_GENERAL_ERROR;
        assert!(listed, "{} returned {}, which is not in its list", stringify!($function), rv_name(rv));
        rv
    }};
}

// Below the macro that it uses.
mod unwrap;

/// The most calls of one run.
const CALLS: usize = 24;
/// Beyond the room that a function was told of.
const MARGIN: usize = 64;
const UNTOUCHED: u8 = 0xa5;
const EVERYTHING: CK_FLAGS = CKF_FIND_OBJECTS
    | CKF_ENCRYPT
    | CKF_DECRYPT
    | CKF_DIGEST
    | CKF_SIGN
    | CKF_SIGN_RECOVER
    | CKF_VERIFY
    | CKF_VERIFY_RECOVER
    | CKF_MESSAGE_ENCRYPT
    | CKF_MESSAGE_DECRYPT
    | CKF_MESSAGE_SIGN
    | CKF_MESSAGE_VERIFY;

/// Any calls.
pub fn abi(bytes: &[u8]) {
    on_a_token(|bench| bench.run(bytes));
}

/// Any bytes as a wrapped key.
pub fn unwrap(bytes: &[u8]) {
    on_a_token(|bench| bench.unwrap(bytes));
}

/// One run on a token of this process' own, which is made when the first run comes.
fn on_a_token(run: impl FnOnce(&Bench)) {
    thread_local!(static BENCH: RefCell<Option<(Bench, tempfile::TempDir)>> = const { RefCell::new(None) });
    BENCH.with_borrow_mut(|bench| run(&bench.get_or_insert_with(on_a_new_token).0));
}

fn on_a_new_token() -> (Bench, tempfile::TempDir) {
    let directory = super::scratch();
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o700))
        .expect("a directory of ours");
    // SAFETY: before the first call of the module; nobody else in this process reads the environment meanwhile.
    unsafe { std::env::set_var("MRHSM_TOKEN_DIR", directory.path()) };
    let (mut version, mut interface) = (
        CK_VERSION { major: 3, minor: 0 },
        null_mut::<CK_INTERFACE>(),
    );
    // SAFETY: the module's own function; an interface of version 3.0 has this table.
    let table = unsafe {
        let rv = mrhsm_pkcs11::ffi::C_GetInterface(
            c"PKCS 11".as_ptr().cast_mut().cast(),
            &mut version,
            &mut interface,
            0,
        );
        assert_eq!(rv, CKR_OK);
        *(*interface).pFunctionList.cast::<CK_FUNCTION_LIST_3_0>()
    };
    // The module sends the messages of panics to its log. Here they belong to whoever runs this.
    let hook = std::panic::take_hook();
    let mut pin = *b"a pin of the fuzzer";
    let (pin, pin_len) = (pin.as_mut_ptr(), pin.len() as CK_ULONG);
    let mut label = *b"fuzz                            ";
    let (mut slots, mut count, mut session) = ([0; 8], 8, 0);
    let good = |rv| assert_eq!(rv, CKR_OK, "{}", rv_name(rv));
    let (ro, rw) = (CKF_SERIAL_SESSION, CKF_SERIAL_SESSION | CKF_RW_SESSION);
    // SAFETY: good pointers.
    unsafe {
        good(table.C_Initialize.expect("there")(null_mut()));
        good(table.C_GetSlotList.expect("there")(
            CK_TRUE,
            slots.as_mut_ptr(),
            &mut count,
        ));
        good(table.C_InitToken.expect("there")(
            slots[count as usize - 1],
            pin,
            pin_len,
            label.as_mut_ptr(),
        ));
        count = 8;
        good(table.C_GetSlotList.expect("there")(
            CK_TRUE,
            slots.as_mut_ptr(),
            &mut count,
        ));
        let open = table.C_OpenSession.expect("there");
        let login = table.C_Login.expect("there");
        good(open(slots[0], rw, null_mut(), None, &mut session));
        good(login(session, CKU_SO, pin, pin_len));
        good(table.C_InitPIN.expect("there")(session, pin, pin_len));
        good(table.C_CloseSession.expect("there")(session));
        good(open(slots[0], ro, null_mut(), None, &mut session));
        good(login(session, CKU_USER, pin, pin_len));
    }
    std::panic::set_hook(hook);
    (Bench::new(table, slots[0]), directory)
}

/// A token whose user is logged in, with a key of every kind in a session of its own.
pub struct Bench {
    table: CK_FUNCTION_LIST_3_0,
    slot: CK_SLOT_ID,
    mechanisms: Vec<CK_MECHANISM_TYPE>,
    keeper: CK_SESSION_HANDLE,
    keys: Vec<Kept>,
    /// Templates with which `C_CreateObject` succeeds.
    models: Vec<Vec<Row>>,
}

/// A key that stays, and what it is.
#[derive(Clone, Copy)]
struct Kept(CK_KEY_TYPE, CK_OBJECT_HANDLE);

impl Bench {
    /// `slot` has a token whose user is logged in.
    pub fn new(table: CK_FUNCTION_LIST_3_0, slot: CK_SLOT_ID) -> Bench {
        let mut bench = Bench {
            table,
            slot,
            mechanisms: Vec::new(),
            keeper: 0,
            keys: Vec::new(),
            models: Vec::new(),
        };
        bench.keeper = bench.open(CKF_SERIAL_SESSION | CKF_RW_SESSION);
        let mut count = 0;
        assert_eq!(
            call!(table, C_GetMechanismList(slot, null_mut(), &mut count)),
            CKR_OK
        );
        bench.mechanisms = vec![0; count as usize];
        assert_eq!(
            call!(
                table,
                C_GetMechanismList(slot, bench.mechanisms.as_mut_ptr(), &mut count)
            ),
            CKR_OK
        );
        bench.furnish();
        bench
    }

    fn open(&self, flags: CK_FLAGS) -> CK_SESSION_HANDLE {
        let mut session = 0;
        assert_eq!(
            call!(
                self.table,
                C_OpenSession(self.slot, flags, null_mut(), None, &mut session)
            ),
            CKR_OK
        );
        session
    }

    fn furnish(&mut self) {
        const AES: &[u8] = &[0x11; 32];
        let secret = |kind, value: &[u8]| {
            let flags = [
                CKA_ENCRYPT,
                CKA_DECRYPT,
                CKA_SIGN,
                CKA_VERIFY,
                CKA_WRAP,
                CKA_UNWRAP,
                CKA_DERIVE,
                CKA_EXTRACTABLE,
            ];
            let mut rows = vec![
                Row::number(CKA_CLASS, CKO_SECRET_KEY),
                Row::number(CKA_KEY_TYPE, kind),
                Row::bytes(CKA_VALUE, value),
                Row::flag(CKA_SENSITIVE, false),
            ];
            rows.extend(flags.map(|flag| Row::flag(flag, true)));
            rows
        };
        // Odd parity in every byte, and three different keys.
        let des3 = [[0x01; 8], [0x02; 8], [0x04; 8]].concat();
        for (kind, value) in [
            (CKK_AES, AES),
            (CKK_GENERIC_SECRET, AES),
            (CKK_DES3, &des3),
            (CKK_CHACHA20, AES),
            (CKK_SHA256_HMAC, AES),
        ] {
            let rows = secret(kind, value);
            self.keep(kind, &rows);
            self.models.push(rows);
        }
        let data = [
            Row::number(CKA_CLASS, CKO_DATA),
            Row::bytes(CKA_LABEL, b"data"),
            Row::bytes(CKA_APPLICATION, b"fuzz"),
            Row::bytes(CKA_VALUE, b"some bytes"),
        ];
        self.models.push(data.to_vec());
        let p256: &[u8] = &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
        let pairs: [(_, _, &[CK_ATTRIBUTE_TYPE], _); 4] = [
            (
                CKK_RSA,
                CKM_RSA_PKCS_KEY_PAIR_GEN,
                RSA_PARTS,
                Row::number(CKA_MODULUS_BITS, 1024),
            ),
            (
                CKK_EC,
                CKM_EC_KEY_PAIR_GEN,
                EC_PARTS,
                Row::bytes(CKA_EC_PARAMS, p256),
            ),
            (
                CKK_EC_EDWARDS,
                CKM_EC_EDWARDS_KEY_PAIR_GEN,
                EC_PARTS,
                Row::bytes(CKA_EC_PARAMS, b"\x13\x0cedwards25519"),
            ),
            (
                CKK_EC_MONTGOMERY,
                CKM_EC_MONTGOMERY_KEY_PAIR_GEN,
                EC_PARTS,
                Row::bytes(CKA_EC_PARAMS, b"\x13\x0acurve25519"),
            ),
        ];
        for (kind, generator, parts, domain) in pairs {
            self.keep_pair(kind, generator, parts, domain);
        }
    }

    fn keep(&mut self, kind: CK_KEY_TYPE, rows: &[Row]) {
        let (mut memory, mut handle) = (Memory::default(), 0);
        let Given { at, count } = template::spoilt(rows, &mut Input(&[]), &mut memory);
        let rv = call!(
            self.table,
            C_CreateObject(self.keeper, at, count, &mut handle)
        );
        assert_eq!(rv, CKR_OK, "{} for a key of type {kind}", rv_name(rv));
        self.keys.push(Kept(kind, handle));
    }

    fn keep_pair(
        &mut self,
        kind: CK_KEY_TYPE,
        generator: CK_MECHANISM_TYPE,
        parts: &[CK_ATTRIBUTE_TYPE],
        domain: Row,
    ) {
        let (mut memory, mut public, mut private) = (Memory::default(), 0, 0);
        let flags = |names: &[_]| {
            names
                .iter()
                .map(|name| Row::flag(*name, true))
                .collect::<Vec<_>>()
        };
        let public_uses: &[_] = match kind {
            CKK_RSA => &[CKA_ENCRYPT, CKA_VERIFY, CKA_WRAP, CKA_VERIFY_RECOVER],
            CKK_EC_MONTGOMERY => &[],
            _ => &[CKA_VERIFY],
        };
        let private_uses: &[_] = match kind {
            CKK_RSA => &[CKA_DECRYPT, CKA_SIGN, CKA_UNWRAP, CKA_SIGN_RECOVER],
            CKK_EC_MONTGOMERY => &[CKA_DERIVE],
            CKK_EC => &[CKA_SIGN, CKA_DERIVE],
            _ => &[CKA_SIGN],
        };
        let public_rows = [vec![domain], flags(public_uses)].concat();
        let mut private_rows = flags(private_uses);
        private_rows.extend([
            Row::flag(CKA_EXTRACTABLE, true),
            Row::flag(CKA_SENSITIVE, false),
        ]);
        let a = template::spoilt(&public_rows, &mut Input(&[]), &mut memory);
        let b = template::spoilt(&private_rows, &mut Input(&[]), &mut memory);
        let mut mechanism = CK_MECHANISM {
            mechanism: generator,
            pParameter: null_mut(),
            ulParameterLen: 0,
        };
        let rv = call!(
            self.table,
            C_GenerateKeyPair(
                self.keeper,
                &mut mechanism,
                a.at,
                a.count,
                b.at,
                b.count,
                &mut public,
                &mut private
            )
        );
        assert_eq!(rv, CKR_OK, "{} for a pair of type {kind}", rv_name(rv));
        self.keys.extend([Kept(kind, private), Kept(kind, public)]);
        for (handle, class, uses) in [
            (private, CKO_PRIVATE_KEY, private_uses),
            (public, CKO_PUBLIC_KEY, public_uses),
        ] {
            let mut rows = vec![
                Row::number(CKA_CLASS, class),
                Row::number(CKA_KEY_TYPE, kind),
            ];
            rows.extend(
                parts
                    .iter()
                    .filter_map(|part| self.value(handle, *part).map(|value| Row(*part, value))),
            );
            rows.extend(flags(uses));
            self.models.push(rows);
        }
    }

    /// An attribute of a key; `None` where that has no such one.
    fn value(&self, handle: CK_OBJECT_HANDLE, kind: CK_ATTRIBUTE_TYPE) -> Option<Vec<u8>> {
        let mut value = vec![0; 1024];
        let mut row = CK_ATTRIBUTE {
            type_: kind,
            pValue: value.as_mut_ptr().cast(),
            ulValueLen: 1024,
        };
        let rv = call!(
            self.table,
            C_GetAttributeValue(self.keeper, handle, &mut row, 1)
        );
        value.truncate(if rv == CKR_OK {
            row.ulValueLen as usize
        } else {
            0
        });
        (!value.is_empty()).then_some(value)
    }

    /// The objects that there are.
    fn objects(&self) -> Vec<CK_OBJECT_HANDLE> {
        let (mut handles, mut count) = (vec![0; 1000], 0);
        assert_eq!(
            call!(self.table, C_FindObjectsInit(self.keeper, null_mut(), 0)),
            CKR_OK
        );
        assert_eq!(
            call!(
                self.table,
                C_FindObjects(self.keeper, handles.as_mut_ptr(), 1000, &mut count)
            ),
            CKR_OK
        );
        assert_eq!(call!(self.table, C_FindObjectsFinal(self.keeper)), CKR_OK);
        handles.truncate(count as usize);
        handles.sort_unstable();
        handles
    }

    /// What the bytes choose, in a session of its own; then everything is as it was.
    pub fn run(&self, bytes: &[u8]) {
        self.alone(bytes, |run| {
            for _ in 0..CALLS {
                if run.input.0.is_empty() {
                    break;
                }
                run.step();
            }
        });
    }

    fn alone(&self, bytes: &[u8], steps: impl FnOnce(&mut Run<'_>)) {
        let before = self.objects();
        let mut run = Run {
            bench: self,
            input: Input(bytes),
            memory: Memory::default(),
            session: 0,
            made: Vec::new(),
        };
        let flags = if run.input.once_in(8) {
            CKF_SERIAL_SESSION
        } else {
            CKF_SERIAL_SESSION | CKF_RW_SESSION
        };
        run.session = self.open(flags);
        steps(&mut run);
        run.still_works();
        let Run { session, made, .. } = run;
        assert_eq!(call!(self.table, C_CloseSession(session)), CKR_OK);
        for handle in made {
            let _ = call!(self.table, C_DestroyObject(self.keeper, handle));
        }
        let after = self.objects();
        // What may not be destroyed stays, and so does what was made so.
        let lasting =
            |handle: &CK_OBJECT_HANDLE| self.value(*handle, CKA_DESTROYABLE) == Some(vec![0]);
        let left: Vec<_> = after
            .iter()
            .filter(|handle| !before.contains(handle) && !lasting(handle))
            .collect();
        assert!(left.is_empty(), "objects are left: {left:?}");
        assert!(
            before.iter().all(|handle| after.contains(handle)),
            "objects are gone"
        );
    }
}

const RSA_PARTS: &[CK_ATTRIBUTE_TYPE] = &[
    CKA_MODULUS,
    CKA_PUBLIC_EXPONENT,
    CKA_PRIVATE_EXPONENT,
    CKA_PRIME_1,
    CKA_PRIME_2,
    CKA_EXPONENT_1,
    CKA_EXPONENT_2,
    CKA_COEFFICIENT,
];
const EC_PARTS: &[CK_ATTRIBUTE_TYPE] = &[CKA_EC_PARAMS, CKA_EC_POINT, CKA_VALUE];

/// One run.
struct Run<'a> {
    bench: &'a Bench,
    input: Input<'a>,
    memory: Memory,
    session: CK_SESSION_HANDLE,
    made: Vec<CK_OBJECT_HANDLE>,
}

/// A call with a buffer for its result: with any room, then with as much as was asked for.
macro_rules! output {
    ($run:ident, $function:ident($($argument:expr),* ; $out:ident, $len:ident)) => {{
        let mut asked = None;
        for _ in 0..3 {
            let room = asked.unwrap_or_else(|| $run.input.pick(&[4096, 0, 1, 15, 16, 32, 128]));
            let mut buffer = vec![UNTOUCHED; room + MARGIN];
            let query = asked.is_none() && $run.input.once_in(4);
            let ($out, mut $len) = (if query { null_mut() } else { buffer.as_mut_ptr() }, room as CK_ULONG);
            let $len = &raw mut $len;
            let rv = call!($run.bench.table, $function($($argument),*));
            assert!(buffer[room..].iter().all(|byte| *byte == UNTOUCHED), "{} wrote too much", stringify!($function));
            // SAFETY: ours.
            let len = unsafe { *$len } as usize;
            match rv {
                CKR_OK if query => asked = Some(len),
                CKR_OK => {
                    assert!(len <= room, "{} says that it wrote {len} to {room}", stringify!($function));
                    break;
                }
                CKR_BUFFER_TOO_SMALL => {
                    assert!(asked.is_none(), "{} wants {len} after it wanted {room}", stringify!($function));
                    assert!(len > room, "{} wants {len}, but had {room}", stringify!($function));
                    asked = Some(len);
                }
                _ => break,
            }
        }
    }};
}

impl Run<'_> {
    fn any_mechanism(&mut self) -> CK_MECHANISM_TYPE {
        if self.input.once_in(32) {
            self.input.number()
        } else {
            self.input.pick(&self.bench.mechanisms)
        }
    }

    /// A handle of any object, or of none.
    fn any_key(&mut self) -> CK_OBJECT_HANDLE {
        match self.input.below(16) {
            15 => self.input.pick(&[0, CK_ULONG::MAX, self.session]),
            10..=14 if !self.made.is_empty() => self.input.pick(&self.made.clone()),
            _ => self.input.pick(&self.bench.keys).1,
        }
    }

    /// A mechanism with its parameter, and a key: in half of all cases one of the right kind.
    fn mechanism(&mut self) -> (*mut CK_MECHANISM, CK_OBJECT_HANDLE) {
        let kind = self.any_mechanism();
        let mut key = self.any_key();
        if self.input.once_in(2) {
            let right: Vec<_> = self
                .bench
                .keys
                .iter()
                .filter(|kept| fits(kind, kept.0))
                .map(|kept| kept.1)
                .collect();
            if !right.is_empty() {
                key = self.input.pick(&right);
            }
        }
        let handles: Vec<_> = self
            .bench
            .keys
            .iter()
            .map(|kept| kept.1)
            .chain([0])
            .collect();
        let mechanism = parameter::mechanism(kind, &mut self.input, &mut self.memory, &handles);
        let at = if self.input.once_in(64) {
            null_mut()
        } else {
            self.memory.value(mechanism)
        };
        (at, key)
    }

    fn data(&mut self) -> (*mut u8, CK_ULONG) {
        self.memory.sized(&mut self.input, 300)
    }

    fn template(&mut self) -> Given {
        match self.input.below(4) {
            0 => template::any(&mut self.input, &mut self.memory),
            _ => {
                let model = self.input.below(self.bench.models.len());
                template::spoilt(&self.bench.models[model], &mut self.input, &mut self.memory)
            }
        }
    }

    /// A template for a key that comes from elsewhere: generated, unwrapped, derived.
    fn new_key(&mut self) -> Given {
        let kind = self.input.pick(&[
            CKK_AES,
            CKK_GENERIC_SECRET,
            CKK_DES3,
            CKK_SHA256_HMAC,
            CKK_RSA,
            CKK_EC,
        ]);
        let class = if [CKK_RSA, CKK_EC].contains(&kind) {
            CKO_PRIVATE_KEY
        } else {
            CKO_SECRET_KEY
        };
        let mut rows = vec![
            Row::number(CKA_CLASS, class),
            Row::number(CKA_KEY_TYPE, kind),
        ];
        if self.input.once_in(2) {
            rows.push(Row::number(
                CKA_VALUE_LEN,
                self.input.pick(&[32, 16, 24, 0, 1, 33, 1 << 20]),
            ));
        }
        if self.input.once_in(4) {
            rows.push(Row::flag(CKA_TOKEN, true));
        }
        template::spoilt(&rows, &mut self.input, &mut self.memory)
    }

    /// Runs a call that makes objects: `rv` and the handles say whether it did, and then there must be exactly these.
    fn makes(
        &mut self,
        name: &str,
        before: &[CK_OBJECT_HANDLE],
        rv: CK_RV,
        handles: &[CK_OBJECT_HANDLE],
    ) {
        let mut expected = before.to_vec();
        if rv == CKR_OK {
            expected.extend(handles);
            self.made.extend(handles);
        }
        expected.sort_unstable();
        let now = self.bench.objects();
        // In a private session object's own session only it is seen as everybody sees it: all are the user's.
        assert_eq!(
            now,
            expected,
            "{name} returned {} and left other objects than it said",
            rv_name(rv)
        );
    }

    fn step(&mut self) {
        let (table, session) = (&self.bench.table, self.session);
        match self.input.below(48) {
            0..=2 => {
                let (before, Given { at, count }, mut made) =
                    (self.bench.objects(), self.template(), 0);
                let rv = call!(table, C_CreateObject(session, at, count, &mut made));
                self.makes("C_CreateObject", &before, rv, &[made]);
            }
            3 => {
                let (before, key, Given { at, count }) =
                    (self.bench.objects(), self.any_key(), self.template());
                let mut made = 0;
                let rv = call!(table, C_CopyObject(session, key, at, count, &mut made));
                self.makes("C_CopyObject", &before, rv, &[made]);
            }
            4 => {
                let (before, (mechanism, _), Given { at, count }) =
                    (self.bench.objects(), self.mechanism(), self.new_key());
                let mut made = 0;
                let rv = call!(
                    table,
                    C_GenerateKey(session, mechanism, at, count, &mut made)
                );
                self.makes("C_GenerateKey", &before, rv, &[made]);
            }
            5 => {
                let (before, (mechanism, key), Given { at, count }) =
                    (self.bench.objects(), self.mechanism(), self.new_key());
                let mut made = 0;
                let rv = call!(
                    table,
                    C_DeriveKey(session, mechanism, key, at, count, &mut made)
                );
                self.makes("C_DeriveKey", &before, rv, &[made]);
            }
            6 => {
                let (before, (mechanism, key), Given { at, count }) =
                    (self.bench.objects(), self.mechanism(), self.new_key());
                let ((data, len), mut made) = (self.data(), 0);
                let rv = call!(
                    table,
                    C_UnwrapKey(session, mechanism, key, data, len, at, count, &mut made)
                );
                self.makes("C_UnwrapKey", &before, rv, &[made]);
            }
            7 => self.round_trip(),
            8 => self.pair(),
            9 => {
                let ((mechanism, wrapping), key) = (self.mechanism(), self.any_key());
                output!(self, C_WrapKey(session, mechanism, wrapping, key, out, len; out, len));
            }
            10 => {
                let (key, Given { at, count }) = (
                    self.any_key(),
                    template::asked(&mut self.input, &mut self.memory),
                );
                call!(table, C_GetAttributeValue(session, key, at, count));
            }
            11 if !self.made.is_empty() => {
                let (key, Given { at, count }) =
                    (self.input.pick(&self.made.clone()), self.template());
                call!(table, C_SetAttributeValue(session, key, at, count));
            }
            12 if !self.made.is_empty() => {
                let at = self.input.below(self.made.len());
                if call!(table, C_DestroyObject(session, self.made[at])) == CKR_OK {
                    self.made.remove(at);
                }
            }
            13 => {
                let (key, mut size) = (self.any_key(), 0);
                call!(table, C_GetObjectSize(session, key, &mut size));
            }
            14 => {
                let Given { at, count } = self.template();
                call!(table, C_FindObjectsInit(session, at, count));
            }
            15 => {
                let (mut handles, mut count) = ([0; 4], 0);
                call!(
                    table,
                    C_FindObjects(session, handles.as_mut_ptr(), 4, &mut count)
                );
                assert!(count <= 4);
            }
            16 => drop(call!(table, C_FindObjectsFinal(session))),
            17 | 18 => {
                let (mechanism, key) = self.mechanism();
                call!(table, C_EncryptInit(session, mechanism, key));
            }
            19 | 20 => {
                let (mechanism, key) = self.mechanism();
                call!(table, C_DecryptInit(session, mechanism, key));
            }
            21 | 22 => {
                let (mechanism, key) = self.mechanism();
                call!(table, C_SignInit(session, mechanism, key));
            }
            23 | 24 => {
                let (mechanism, key) = self.mechanism();
                call!(table, C_VerifyInit(session, mechanism, key));
            }
            25 => {
                let (mechanism, key) = self.mechanism();
                call!(table, C_SignRecoverInit(session, mechanism, key));
                let (data, data_len) = self.data();
                output!(self, C_SignRecover(session, data, data_len, out, len; out, len));
            }
            26 => {
                let (mechanism, key) = self.mechanism();
                call!(table, C_VerifyRecoverInit(session, mechanism, key));
                let (data, data_len) = self.data();
                output!(self, C_VerifyRecover(session, data, data_len, out, len; out, len));
            }
            27 => {
                let (mechanism, _) = self.mechanism();
                call!(table, C_DigestInit(session, mechanism));
            }
            28..=35 => self.single(),
            36..=38 => self.dual(),
            39..=42 => self.message(),
            43 => self.state(),
            44 => {
                let flags = self.input.pick(&[
                    CKF_ENCRYPT,
                    CKF_SIGN,
                    CKF_DIGEST,
                    0,
                    EVERYTHING,
                    CK_FLAGS::MAX,
                ]);
                call!(table, C_SessionCancel(session, flags));
            }
            45 => {
                let user = self
                    .input
                    .pick(&[CKU_USER, CKU_SO, CKU_CONTEXT_SPECIFIC, 9]);
                let (pin, len) = self.memory.sized(&mut self.input, 20);
                // Argon2 is slow on purpose: the context's login only where none is wanted.
                call!(table, C_Login(session, user, pin, len));
            }
            46 => {
                let (seed, len) = self.data();
                call!(table, C_SeedRandom(session, seed, len));
            }
            _ => {
                let room = self.input.below(300);
                let out = self.memory.array(vec![0; room]);
                call!(table, C_GenerateRandom(session, out, room as CK_ULONG));
            }
        }
    }

    /// What goes on with an operation, or ends it.
    fn single(&mut self) {
        let (table, session) = (&self.bench.table, self.session);
        let (data, data_len) = self.data();
        match self.input.below(16) {
            0 => output!(self, C_Encrypt(session, data, data_len, out, len; out, len)),
            1 => output!(self, C_EncryptUpdate(session, data, data_len, out, len; out, len)),
            2 => output!(self, C_EncryptFinal(session, out, len; out, len)),
            3 => output!(self, C_Decrypt(session, data, data_len, out, len; out, len)),
            4 => output!(self, C_DecryptUpdate(session, data, data_len, out, len; out, len)),
            5 => output!(self, C_DecryptFinal(session, out, len; out, len)),
            6 => output!(self, C_Digest(session, data, data_len, out, len; out, len)),
            7 => drop(call!(table, C_DigestUpdate(session, data, data_len))),
            8 => {
                let key = self.any_key();
                call!(table, C_DigestKey(session, key));
            }
            9 => output!(self, C_DigestFinal(session, out, len; out, len)),
            10 => output!(self, C_Sign(session, data, data_len, out, len; out, len)),
            11 => drop(call!(table, C_SignUpdate(session, data, data_len))),
            12 => output!(self, C_SignFinal(session, out, len; out, len)),
            13 => {
                let (signature, len) = self.data();
                call!(table, C_Verify(session, data, data_len, signature, len));
            }
            14 => drop(call!(table, C_VerifyUpdate(session, data, data_len))),
            _ => drop(call!(table, C_VerifyFinal(session, data, data_len))),
        }
    }

    fn dual(&mut self) {
        let session = self.session;
        let (data, data_len) = self.data();
        match self.input.below(4) {
            0 => output!(self, C_DigestEncryptUpdate(session, data, data_len, out, len; out, len)),
            1 => output!(self, C_DecryptDigestUpdate(session, data, data_len, out, len; out, len)),
            2 => output!(self, C_SignEncryptUpdate(session, data, data_len, out, len; out, len)),
            _ => output!(self, C_DecryptVerifyUpdate(session, data, data_len, out, len; out, len)),
        }
    }

    fn message(&mut self) {
        let (table, session) = (&self.bench.table, self.session);
        let (mechanism, key) = self.mechanism();
        let (parameter, parameter_len) = parameter::message(&mut self.input, &mut self.memory);
        let ((data, data_len), (aad, aad_len)) = (self.data(), self.data());
        let flags = self.input.pick(&[0, CKF_END_OF_MESSAGE, CK_FLAGS::MAX]);
        match self.input.below(20) {
            0..=2 => drop(call!(table, C_MessageEncryptInit(session, mechanism, key))),
            3 | 4 => drop(call!(table, C_MessageDecryptInit(session, mechanism, key))),
            5 => drop(call!(table, C_MessageSignInit(session, mechanism, key))),
            6 => drop(call!(table, C_MessageVerifyInit(session, mechanism, key))),
            7 | 8 => output!(
                self,
                C_EncryptMessage(session, parameter, parameter_len, aad, aad_len, data, data_len, out, len; out, len)
            ),
            9 | 10 => output!(
                self,
                C_DecryptMessage(session, parameter, parameter_len, aad, aad_len, data, data_len, out, len; out, len)
            ),
            11 => drop(call!(
                table,
                C_EncryptMessageBegin(session, parameter, parameter_len, aad, aad_len)
            )),
            12 => output!(
                self,
                C_EncryptMessageNext(session, parameter, parameter_len, data, data_len, out, len, flags; out, len)
            ),
            13 => drop(call!(
                table,
                C_DecryptMessageBegin(session, parameter, parameter_len, aad, aad_len)
            )),
            14 => output!(
                self,
                C_DecryptMessageNext(session, parameter, parameter_len, data, data_len, out, len, flags; out, len)
            ),
            15 => {
                output!(self, C_SignMessage(session, parameter, parameter_len, data, data_len, out, len; out, len))
            }
            16 => {
                call!(table, C_SignMessageBegin(session, parameter, parameter_len));
                output!(self, C_SignMessageNext(session, parameter, parameter_len, data, data_len, out, len; out, len));
            }
            17 => drop(call!(
                table,
                C_VerifyMessage(
                    session,
                    parameter,
                    parameter_len,
                    data,
                    data_len,
                    aad,
                    aad_len
                )
            )),
            18 => {
                call!(
                    table,
                    C_VerifyMessageBegin(session, parameter, parameter_len)
                );
                call!(
                    table,
                    C_VerifyMessageNext(
                        session,
                        parameter,
                        parameter_len,
                        data,
                        data_len,
                        aad,
                        aad_len
                    )
                );
            }
            _ => {
                call!(table, C_MessageEncryptFinal(session));
                call!(table, C_MessageDecryptFinal(session));
                call!(table, C_MessageSignFinal(session));
                call!(table, C_MessageVerifyFinal(session));
            }
        }
    }

    /// The state of a digest, taken and brought back whole or spoilt; or any bytes.
    fn state(&mut self) {
        let (table, session) = (&self.bench.table, self.session);
        let mut state = vec![0; 4096];
        let mut len = 4096;
        let rv = call!(
            table,
            C_GetOperationState(session, state.as_mut_ptr(), &mut len)
        );
        if rv != CKR_OK {
            state = self.input.bytes(200);
            len = state.len() as CK_ULONG;
        } else if self.input.once_in(2) {
            let at = self.input.below(len as usize);
            state[at] ^= 1 << self.input.below(8);
        }
        call!(
            table,
            C_SetOperationState(session, state.as_mut_ptr(), len, 0, 0)
        );
    }

    /// A pair on a curve: RSA keys take too long for thousands of runs.
    fn pair(&mut self) {
        let (before, (mechanism, _)) = (self.bench.objects(), self.mechanism());
        if !mechanism.is_null()
            // SAFETY: not NULL, so ours.
            && unsafe { read_unaligned(mechanism) }.mechanism == CKM_RSA_PKCS_KEY_PAIR_GEN
        {
            return;
        }
        let model = self.input.below(self.bench.models.len());
        let domain: Vec<Row> = self.bench.models[model]
            .iter()
            .filter(|row| row.0 == CKA_EC_PARAMS || row.0 == CKA_CLASS)
            .cloned()
            .collect();
        let a = template::spoilt(&domain, &mut self.input, &mut self.memory);
        let b = self.new_key();
        let (mut public, mut private) = (0, 0);
        let rv = call!(
            self.bench.table,
            C_GenerateKeyPair(
                self.session,
                mechanism,
                a.at,
                a.count,
                b.at,
                b.count,
                &mut public,
                &mut private
            )
        );
        self.makes("C_GenerateKeyPair", &before, rv, &[public, private]);
    }

    /// Wraps one key by another and unwraps it again, the wrapped key whole or spoilt.
    fn round_trip(&mut self) {
        let (table, session) = (&self.bench.table, self.session);
        let ((mechanism, wrapping), key) = (self.mechanism(), self.any_key());
        let (mut wrapped, mut len) = (vec![0; 8192], 8192);
        if call!(
            table,
            C_WrapKey(
                session,
                mechanism,
                wrapping,
                key,
                wrapped.as_mut_ptr(),
                &mut len
            )
        ) != CKR_OK
        {
            return;
        }
        wrapped.truncate(len as usize);
        match self.input.below(4) {
            0 if !wrapped.is_empty() => {
                let at = self.input.below(wrapped.len());
                wrapped[at] ^= 1 << self.input.below(8);
            }
            1 => wrapped.truncate(self.input.below(len as usize + 1)),
            _ => {}
        }
        let (before, Given { at, count }, mut made) = (self.bench.objects(), self.new_key(), 0);
        let unwrapping = self.any_key();
        let len = wrapped.len() as CK_ULONG;
        let wrapped = self.memory.array(wrapped);
        let rv = call!(
            table,
            C_UnwrapKey(
                session, mechanism, unwrapping, wrapped, len, at, count, &mut made
            )
        );
        self.makes("C_UnwrapKey", &before, rv, &[made]);
    }

    /// Whatever is going on, it can be cancelled, and then everything can begin.
    fn still_works(&mut self) {
        let (table, session) = (&self.bench.table, self.session);
        let mut info = CK_SESSION_INFO::default();
        assert_eq!(call!(table, C_GetSessionInfo(session, &mut info)), CKR_OK);
        assert_eq!(call!(table, C_SessionCancel(session, EVERYTHING)), CKR_OK);
        let aes = self.bench.keys[0].1;
        let mut ecb = CK_MECHANISM {
            mechanism: CKM_AES_ECB,
            pParameter: null_mut(),
            ulParameterLen: 0,
        };
        let mut sha256 = CK_MECHANISM {
            mechanism: CKM_SHA256,
            ..ecb
        };
        let mut cmac = CK_MECHANISM {
            mechanism: CKM_AES_CMAC,
            ..ecb
        };
        assert_eq!(
            call!(table, C_FindObjectsInit(session, null_mut(), 0)),
            CKR_OK
        );
        assert_eq!(call!(table, C_EncryptInit(session, &mut ecb, aes)), CKR_OK);
        assert_eq!(call!(table, C_DecryptInit(session, &mut ecb, aes)), CKR_OK);
        assert_eq!(call!(table, C_DigestInit(session, &mut sha256)), CKR_OK);
        assert_eq!(call!(table, C_SignInit(session, &mut cmac, aes)), CKR_OK);
        assert_eq!(call!(table, C_VerifyInit(session, &mut cmac, aes)), CKR_OK);
        let (mut text, mut out, mut len) = ([7; 16], [0; 16], 16);
        assert_eq!(
            call!(
                table,
                C_Encrypt(session, text.as_mut_ptr(), 16, out.as_mut_ptr(), &mut len)
            ),
            CKR_OK
        );
        assert_eq!(
            call!(
                table,
                C_Decrypt(session, out.as_mut_ptr(), 16, out.as_mut_ptr(), &mut len)
            ),
            CKR_OK
        );
        assert_eq!(out, text);
    }
}

/// Whether keys of this type are for this mechanism, roughly.
fn fits(mechanism: CK_MECHANISM_TYPE, key: CK_KEY_TYPE) -> bool {
    match mechanism {
        ..=0x7f | CKM_RSA_AES_KEY_WRAP => key == CKK_RSA,
        0x120..=0x13f => key == CKK_DES3,
        CKM_ECDH1_DERIVE | CKM_ECDH1_COFACTOR_DERIVE => key == CKK_EC || key == CKK_EC_MONTGOMERY,
        CKM_EDDSA => key == CKK_EC_EDWARDS,
        0x1040..=0x104f => key == CKK_EC,
        CKM_CHACHA20_POLY1305 => key == CKK_CHACHA20,
        0x1080..=0x10ff | 0x2104..=0x210f => key == CKK_AES,
        _ => key == CKK_GENERIC_SECRET || key == CKK_SHA256_HMAC,
    }
}
