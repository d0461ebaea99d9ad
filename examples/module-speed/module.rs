//! A module, loaded, with what every measurement needs of it.

use std::ffi::c_void;
use std::ptr::null_mut;

use libloading::Library;
use mrhsm_pkcs11::ck::*;

pub const SO_PIN: &[u8] = b"so-pin-1234";
pub const USER_PIN: &[u8] = b"user-pin-5678";
pub const LABEL: &str = "module-speed";
/// Parts of the operations that are done in parts.
const PART: usize = 16 << 10;

/// Calls a function of a module, which must answer `CKR_OK`.
macro_rules! call {
    ($module:ident.$function:ident($($argument:expr),* $(,)?)) => {{
        let function = $module.table.$function.expect("a function");
        // SAFETY: the pointers are this program's own.
        let rv = unsafe { function($($argument),*) };
        assert_eq!(rv, CKR_OK, "{}: {}", stringify!($function), rv_name(rv));
    }};
}
pub(crate) use call;

/// A module, loaded. Its table has the functions of 3.0 where the module has them.
pub struct Module {
    pub table: CK_FUNCTION_LIST_3_0,
    pub messages: bool,
    _library: Library,
}

pub fn mechanism(kind: CK_MECHANISM_TYPE) -> CK_MECHANISM {
    CK_MECHANISM {
        mechanism: kind,
        pParameter: null_mut(),
        ulParameterLen: 0,
    }
}

pub fn with<T>(kind: CK_MECHANISM_TYPE, parameter: &mut T) -> CK_MECHANISM {
    let len = size_of::<T>() as CK_ULONG;
    CK_MECHANISM {
        mechanism: kind,
        pParameter: (&raw mut *parameter).cast(),
        ulParameterLen: len,
    }
}

/// An attribute; the modules only read what it points to.
pub fn attribute<T: ?Sized>(kind: CK_ATTRIBUTE_TYPE, value: &T) -> CK_ATTRIBUTE {
    let len = size_of_val(value) as CK_ULONG;
    CK_ATTRIBUTE {
        type_: kind,
        pValue: (&raw const *value).cast::<c_void>().cast_mut(),
        ulValueLen: len,
    }
}

pub type Template = Vec<CK_ATTRIBUTE>;

impl Module {
    pub fn load(path: &str) -> Module {
        // SAFETY: whatever the library does when it is loaded, it is what is to be measured.
        let library = unsafe { Library::new(path) }.unwrap_or_else(|e| panic!("{path}: {e}"));
        // SAFETY: the functions have these types, and the tables that they give live as long as the library.
        unsafe {
            if let Ok(get) = library.get::<CK_C_GetInterface>(c"C_GetInterface") {
                let (mut interface, mut version): (*mut CK_INTERFACE, _) =
                    (null_mut(), CK_VERSION { major: 3, minor: 0 });
                let rv = get.unwrap()(
                    c"PKCS 11".as_ptr().cast_mut().cast(),
                    &mut version,
                    &mut interface,
                    0,
                );
                assert_eq!(rv, CKR_OK);
                let table = *(*interface).pFunctionList.cast::<CK_FUNCTION_LIST_3_0>();
                return Module {
                    table,
                    messages: true,
                    _library: library,
                };
            }
            let get = library
                .get::<CK_C_GetFunctionList>(c"C_GetFunctionList")
                .unwrap()
                .unwrap();
            let (mut list, mut table) = (null_mut(), CK_FUNCTION_LIST_3_0::default());
            assert_eq!(get(&mut list), CKR_OK);
            // The table of 3.0 begins with that of 2.40.
            (&raw mut table).cast::<CK_FUNCTION_LIST>().write(*list);
            Module {
                table,
                messages: false,
                _library: library,
            }
        }
    }

    pub fn initialize(&self) {
        let mut args = CK_C_INITIALIZE_ARGS {
            flags: CKF_OS_LOCKING_OK,
            ..CK_C_INITIALIZE_ARGS::default()
        };
        call!(self.C_Initialize((&raw mut args).cast()));
    }

    pub fn slots(&self) -> Vec<CK_SLOT_ID> {
        let mut slots = vec![0; 16];
        let mut count = slots.len() as CK_ULONG;
        call!(self.C_GetSlotList(CK_FALSE, slots.as_mut_ptr(), &mut count));
        slots.truncate(count as usize);
        slots
    }

    fn label() -> [u8; 32] {
        let mut label = [b' '; 32];
        label[..LABEL.len()].copy_from_slice(LABEL.as_bytes());
        label
    }

    /// The slot of the token.
    pub fn slot(&self) -> CK_SLOT_ID {
        let mut info = CK_TOKEN_INFO::default();
        let is_ours = |slot: &CK_SLOT_ID| {
            call!(self.C_GetTokenInfo(*slot, &mut info));
            info.label == Module::label()
        };
        self.slots().into_iter().find(is_ours).expect("the token")
    }

    pub fn make_token(&self) {
        let (pin, len) = (SO_PIN.as_ptr().cast_mut(), SO_PIN.len() as CK_ULONG);
        call!(self.C_InitToken(
            *self.slots().last().expect("a free slot"),
            pin,
            len,
            Module::label().as_mut_ptr()
        ));
        let session = self.open(self.slot());
        call!(self.C_Login(session, CKU_SO, pin, len));
        call!(self.C_InitPIN(
            session,
            USER_PIN.as_ptr().cast_mut(),
            USER_PIN.len() as CK_ULONG
        ));
        call!(self.C_CloseSession(session));
    }

    pub fn open(&self, slot: CK_SLOT_ID) -> CK_SESSION_HANDLE {
        let mut session = 0;
        call!(self.C_OpenSession(
            slot,
            CKF_SERIAL_SESSION | CKF_RW_SESSION,
            null_mut(),
            None,
            &mut session
        ));
        session
    }

    pub fn log_in(&self, session: CK_SESSION_HANDLE) {
        call!(self.C_Login(
            session,
            CKU_USER,
            USER_PIN.as_ptr().cast_mut(),
            USER_PIN.len() as CK_ULONG
        ));
    }

    pub fn has(&self, slot: CK_SLOT_ID, kind: CK_MECHANISM_TYPE) -> bool {
        let mut info = CK_MECHANISM_INFO::default();
        // SAFETY: the pointer is this program's own.
        unsafe {
            self.table.C_GetMechanismInfo.expect("a function")(slot, kind, &mut info) == CKR_OK
        }
    }

    /// A secret key.
    pub fn key(
        &self,
        session: CK_SESSION_HANDLE,
        kind: CK_MECHANISM_TYPE,
        token: bool,
        kept: bool,
        label: &str,
    ) -> CK_OBJECT_HANDLE {
        let (len, yes, lent, mut key) = (32 as CK_ULONG, CK_TRUE, !kept, 0);
        let mut template = vec![attribute(CKA_VALUE_LEN, &len), attribute(CKA_LABEL, label)];
        template.extend([
            attribute(CKA_TOKEN, &token),
            attribute(CKA_SENSITIVE, &kept),
            attribute(CKA_EXTRACTABLE, &lent),
        ]);
        template.extend(
            [CKA_ENCRYPT, CKA_DECRYPT, CKA_SIGN, CKA_VERIFY].map(|usage| attribute(usage, &yes)),
        );
        call!(self.C_GenerateKey(
            session,
            &mut mechanism(kind),
            template.as_mut_ptr(),
            template.len() as CK_ULONG,
            &mut key
        ));
        key
    }

    /// A key pair: the public key and the private one.
    pub fn pair(
        &self,
        session: CK_SESSION_HANDLE,
        kind: CK_MECHANISM_TYPE,
        public: &[CK_ATTRIBUTE],
        token: bool,
    ) -> [CK_OBJECT_HANDLE; 2] {
        let (yes, mut keys) = (CK_TRUE, [0; 2]);
        let mut public: Template = [
            public,
            &[attribute(CKA_TOKEN, &token), attribute(CKA_VERIFY, &yes)],
        ]
        .concat();
        let mut private = [
            attribute(CKA_TOKEN, &token),
            attribute(CKA_SIGN, &yes),
            attribute(CKA_LABEL, LABEL),
        ];
        let counts = [public.len() as CK_ULONG, private.len() as CK_ULONG];
        let (public, private) = (public.as_mut_ptr(), private.as_mut_ptr());
        let [of_public, of_private] = &mut keys;
        call!(self.C_GenerateKeyPair(
            session,
            &mut mechanism(kind),
            public,
            counts[0],
            private,
            counts[1],
            of_public,
            of_private
        ));
        keys
    }

    /// A key of known value, as applications import them.
    pub fn import(&self, session: CK_SESSION_HANDLE, number: usize, token: bool) {
        let (class, kind, yes, mut key) = (CKO_SECRET_KEY, CKK_AES, CK_TRUE, 0);
        let (label, id) = (format!("key {number}"), (number as u32).to_be_bytes());
        let mut template = [
            attribute(CKA_CLASS, &class),
            attribute(CKA_KEY_TYPE, &kind),
            attribute(CKA_TOKEN, &token),
            attribute(CKA_VALUE, &[7u8; 32]),
            attribute(CKA_ENCRYPT, &yes),
            attribute(CKA_LABEL, label.as_str()),
            attribute(CKA_ID, &id),
        ];
        call!(self.C_CreateObject(
            session,
            template.as_mut_ptr(),
            template.len() as CK_ULONG,
            &mut key
        ));
    }

    /// The one object that has an attribute.
    pub fn find(&self, session: CK_SESSION_HANDLE, what: CK_ATTRIBUTE) -> CK_OBJECT_HANDLE {
        let (mut found, mut count) = ([0; 2], 0);
        call!(self.C_FindObjectsInit(session, [what].as_mut_ptr(), 1));
        call!(self.C_FindObjects(session, found.as_mut_ptr(), 2, &mut count));
        call!(self.C_FindObjectsFinal(session));
        assert_eq!(count, 1, "objects found");
        found[0]
    }

    pub fn sign(
        &self,
        session: CK_SESSION_HANDLE,
        kind: CK_MECHANISM_TYPE,
        key: CK_OBJECT_HANDLE,
        data: &[u8],
        out: &mut [u8],
    ) -> usize {
        let mut len = out.len() as CK_ULONG;
        call!(self.C_SignInit(session, &mut mechanism(kind), key));
        call!(self.C_Sign(
            session,
            data.as_ptr().cast_mut(),
            data.len() as CK_ULONG,
            out.as_mut_ptr(),
            &mut len
        ));
        len as usize
    }
}

/// A cipher with its parameter.
pub enum Mode {
    Gcm,
    CbcPad,
    Ctr,
    Ecb,
}

impl Mode {
    pub const ALL: [(Mode, &str); 4] = [
        (Mode::Gcm, "GCM"),
        (Mode::CbcPad, "CBC-PAD"),
        (Mode::Ctr, "CTR"),
        (Mode::Ecb, "ECB"),
    ];

    /// Gives the mechanism to `begin`.
    pub fn begin(&self, begin: impl FnOnce(*mut CK_MECHANISM)) {
        let mut iv = [1u8; 16];
        match self {
            Mode::Gcm => {
                let mut gcm = CK_GCM_PARAMS {
                    pIv: iv.as_mut_ptr(),
                    ulIvLen: 12,
                    ulIvBits: 96,
                    ulTagBits: 128,
                    ..CK_GCM_PARAMS::default()
                };
                begin(&mut with(CKM_AES_GCM, &mut gcm));
            }
            Mode::CbcPad => begin(&mut with(CKM_AES_CBC_PAD, &mut iv)),
            Mode::Ctr => begin(&mut with(
                CKM_AES_CTR,
                &mut CK_AES_CTR_PARAMS {
                    ulCounterBits: 128,
                    cb: iv,
                },
            )),
            Mode::Ecb => begin(&mut mechanism(CKM_AES_ECB)),
        }
    }
}

impl Module {
    pub fn encrypt(
        &self,
        session: CK_SESSION_HANDLE,
        mode: &Mode,
        key: CK_OBJECT_HANDLE,
        data: &[u8],
        out: &mut [u8],
    ) -> usize {
        let mut len = out.len() as CK_ULONG;
        mode.begin(|mechanism| call!(self.C_EncryptInit(session, mechanism, key)));
        call!(self.C_Encrypt(
            session,
            data.as_ptr().cast_mut(),
            data.len() as CK_ULONG,
            out.as_mut_ptr(),
            &mut len
        ));
        len as usize
    }

    pub fn decrypt(
        &self,
        session: CK_SESSION_HANDLE,
        mode: &Mode,
        key: CK_OBJECT_HANDLE,
        data: &[u8],
        out: &mut [u8],
    ) -> usize {
        let mut len = out.len() as CK_ULONG;
        mode.begin(|mechanism| call!(self.C_DecryptInit(session, mechanism, key)));
        call!(self.C_Decrypt(
            session,
            data.as_ptr().cast_mut(),
            data.len() as CK_ULONG,
            out.as_mut_ptr(),
            &mut len
        ));
        len as usize
    }

    pub fn encrypt_in_parts(
        &self,
        session: CK_SESSION_HANDLE,
        mode: &Mode,
        key: CK_OBJECT_HANDLE,
        data: &[u8],
        out: &mut [u8],
    ) {
        mode.begin(|mechanism| call!(self.C_EncryptInit(session, mechanism, key)));
        let mut at = 0;
        for part in data.chunks(PART) {
            let mut len = (out.len() - at) as CK_ULONG;
            call!(self.C_EncryptUpdate(
                session,
                part.as_ptr().cast_mut(),
                part.len() as CK_ULONG,
                out[at..].as_mut_ptr(),
                &mut len
            ));
            at += len as usize;
        }
        call!(self.C_EncryptFinal(
            session,
            out[at..].as_mut_ptr(),
            &mut ((out.len() - at) as CK_ULONG)
        ));
    }
}
