//! An application: loads the module by its path, in a process of its own, and calls it through its tables.

use std::ffi::{CString, OsStr, c_void};
use std::fs::Permissions;
use std::io::{Read, Seek};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use libloading::Library;
use mrhsm_pkcs11::ck::*;
use mrhsm_pkcs11::config::{self, KeyPolicy, Settings, StoreKind};
use mrhsm_pkcs11::ffi::Function;
use mrhsm_pkcs11::ffi::values::may_return;
use mrhsm_pkcs11::secret::Secret;
use mrhsm_pkcs11::token::files::TokenDir;
use mrhsm_pkcs11::token::secrets::{IdentityChange, NewToken, Part, UserPin, create_token};

use crate::kmip_server::Pki;

/// Longest time that a test in a process of its own may take.
const PATIENCE: Duration = Duration::from_secs(120);
const ALONE: &str = "MRHSM_TEST_ALONE";

pub const SO_PIN: &[u8] = b"so-pin-1234";
pub const USER_PIN: &[u8] = b"user-pin-5678";

/// The library that cargo built beside the tests.
pub fn library_path() -> PathBuf {
    std::env::current_exe()
        .unwrap()
        .with_file_name("libmrhsm_pkcs11.so")
}

/// Calls a function of the host's table: `ck!(host.C_Digest(session, ..))`. What it returns must be in its list.
macro_rules! ck {
    ($host:ident.$function:ident($($argument:expr),* $(,)?)) => {{
        let function = $host.table().$function.expect("no entry of the table is NULL");
        // SAFETY: the pointers are the test's own, or the bad ones that the module must cope with.
        let rv = unsafe { function($($argument),*) };
        $crate::ffi::host::listed(stringify!($function), rv)
    }};
}
pub(crate) use ck;

/// What a function returned: a value of its list, and no panic that the module caught.
pub fn listed(function: &str, rv: CK_RV) -> CK_RV {
    assert!(
        may_return(function, rv) && rv != CKR_GENERAL_ERROR,
        "{function} returned {}",
        rv_name(rv)
    );
    rv
}

/// Runs the body of the test in a process of its own, because a module is one per process, with an empty token directory; the
/// module must write nothing to stdout and stderr.
pub fn alone<F: FnOnce(&Host)>(body: F) {
    alone_with(&[], body);
}

/// The same, with these variables in its environment.
pub fn alone_with<F: FnOnce(&Host)>(environment: &[(&str, &OsStr)], body: F) {
    let name = std::any::type_name::<F>();
    let name = name
        .split_once("::")
        .unwrap()
        .1
        .trim_end_matches("::{{closure}}");
    if std::env::var(ALONE).as_deref() == Ok(name) {
        return silently(|| body(&Host::load()));
    }
    run(name, environment);
}

/// Runs a test that is the body of [`alone`] in its process, with these variables in its environment.
pub fn run(name: &str, environment: &[(&str, &OsStr)]) {
    let directory = tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o700))
        .tempdir()
        .unwrap();
    let mut printed = tempfile::tempfile().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--test-threads=1"])
        .env(ALONE, name)
        .env("MRHSM_TOKEN_DIR", directory.path())
        .env_remove("MRHSM_LOG")
        .env_remove("MRHSM_PIN_FILE")
        .envs(environment.iter().copied())
        .stdout(printed.try_clone().unwrap())
        .stderr(printed.try_clone().unwrap())
        .spawn()
        .unwrap();
    let started = Instant::now();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status.to_string(),
            None if started.elapsed() > PATIENCE => {
                child.kill().unwrap();
                child.wait().unwrap();
                break format!("no end after {PATIENCE:?}");
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let mut text = String::new();
    printed.rewind().unwrap();
    printed.read_to_string(&mut text).unwrap();
    assert!(
        text.contains("test result: ok. 1 passed"),
        "{name}: {status}\n{text}"
    );
}

/// Runs `body` with stdout and stderr in a file, which must stay empty.
fn silently(body: impl FnOnce()) {
    let mut file = tempfile::tempfile().unwrap();
    // SAFETY: file descriptors of this process.
    let kept = [1, 2].map(|fd| unsafe {
        let kept = libc::dup(fd);
        assert!(kept >= 0 && libc::dup2(file.as_raw_fd(), fd) >= 0);
        kept
    });
    // What fails in the body is printed by the harness, later.
    let result = catch_unwind(AssertUnwindSafe(body));
    for (fd, kept) in [1, 2].into_iter().zip(kept) {
        // SAFETY: as above.
        unsafe { libc::dup2(kept, fd) };
    }
    let mut written = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut written).unwrap();
    result.unwrap_or_else(|panic| resume_unwind(panic));
    assert_eq!(written, "", "stdout and stderr belong to the application");
}

/// The module, loaded.
pub struct Host {
    library: Library,
    table: CK_FUNCTION_LIST_3_0,
}

impl Host {
    fn load() -> Host {
        Host::load_from(&library_path())
    }

    /// Loads another copy of the module: a separate file is a separate library.
    pub fn load_from(path: &Path) -> Host {
        // SAFETY: the library has no constructors of its own.
        let library = unsafe { Library::new(path) }.unwrap();
        let mut interface: *mut CK_INTERFACE = std::ptr::null_mut();
        let mut version = CK_VERSION { major: 3, minor: 0 };
        // SAFETY: the function has this type, and an interface of version 3.0 this table.
        let table = unsafe {
            let get = library
                .get::<CK_C_GetInterface>(c"C_GetInterface")
                .unwrap()
                .unwrap();
            assert_eq!(
                get(
                    c"PKCS 11".as_ptr().cast_mut().cast(),
                    &mut version,
                    &mut interface,
                    0
                ),
                CKR_OK
            );
            *(*interface).pFunctionList.cast::<CK_FUNCTION_LIST_3_0>()
        };
        Host { library, table }
    }

    pub fn table(&self) -> &CK_FUNCTION_LIST_3_0 {
        &self.table
    }

    /// Calls any function by its name. Integers and pointers take one word each in the C ABI of 64-bit machines, and a
    /// function does not see the words after its last argument.
    pub fn call(&self, function: &Function, arguments: &[usize]) -> CK_RV {
        type Any = unsafe extern "C" fn(
            usize,
            usize,
            usize,
            usize,
            usize,
            usize,
            usize,
            usize,
            usize,
        ) -> CK_RV;
        let name = CString::new(function.name).unwrap();
        let mut a = [0; 9];
        a[..arguments.len()].copy_from_slice(arguments);
        // SAFETY: the symbol is a function of at most nine integers and pointers.
        unsafe {
            let any = self.library.get::<Any>(name.as_c_str()).unwrap();
            listed(
                function.name,
                any(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8]),
            )
        }
    }

    pub fn initialize(&self) {
        assert_eq!(ck!(self.C_Initialize(std::ptr::null_mut())), CKR_OK);
    }

    pub fn finalize(&self) {
        assert_eq!(ck!(self.C_Finalize(std::ptr::null_mut())), CKR_OK);
    }

    pub fn slots(&self) -> Vec<CK_SLOT_ID> {
        let mut count = 0;
        assert_eq!(
            ck!(self.C_GetSlotList(CK_FALSE, std::ptr::null_mut(), &mut count)),
            CKR_OK
        );
        let mut slots = vec![0; count as usize];
        assert_eq!(
            ck!(self.C_GetSlotList(CK_FALSE, slots.as_mut_ptr(), &mut count)),
            CKR_OK
        );
        slots.truncate(count as usize);
        slots
    }

    pub fn token_info(&self, slot: CK_SLOT_ID) -> CK_TOKEN_INFO {
        let mut info = CK_TOKEN_INFO::default();
        assert_eq!(ck!(self.C_GetTokenInfo(slot, &mut info)), CKR_OK);
        info
    }

    /// Makes a token in the free slot, of the store that an empty configuration stands for: a file store. Returns its slot.
    pub fn make_token(&self) -> CK_SLOT_ID {
        let free = *self.slots().last().expect("a free slot");
        let mut label = *b"test token                      ";
        let (pin, len) = (SO_PIN.as_ptr().cast_mut(), SO_PIN.len() as CK_ULONG);
        assert_eq!(
            ck!(self.C_InitToken(free, pin, len, label.as_mut_ptr())),
            CKR_OK
        );
        let slot = self
            .slots()
            .into_iter()
            .find(|slot| self.token_info(*slot).label == label)
            .expect("the new token");
        let session = self.open(slot);
        assert_eq!(self.login(session, CKU_SO, SO_PIN), CKR_OK);
        let (pin, len) = (USER_PIN.as_ptr().cast_mut(), USER_PIN.len() as CK_ULONG);
        assert_eq!(ck!(self.C_InitPIN(session, pin, len)), CKR_OK);
        assert_eq!(ck!(self.C_CloseSession(session)), CKR_OK);
        slot
    }

    /// A read-write session.
    pub fn open(&self, slot: CK_SLOT_ID) -> CK_SESSION_HANDLE {
        let (mut session, flags) = (0, CKF_SERIAL_SESSION | CKF_RW_SESSION);
        assert_eq!(
            ck!(self.C_OpenSession(slot, flags, std::ptr::null_mut(), None, &mut session)),
            CKR_OK
        );
        session
    }

    pub fn login(&self, session: CK_SESSION_HANDLE, user: CK_USER_TYPE, pin: &[u8]) -> CK_RV {
        ck!(self.C_Login(
            session,
            user,
            pin.as_ptr().cast_mut(),
            pin.len() as CK_ULONG
        ))
    }

    /// Makes a token and logs its user in.
    pub fn logged_in(&self) -> (CK_SLOT_ID, CK_SESSION_HANDLE) {
        let slot = self.make_token();
        let session = self.open(slot);
        assert_eq!(self.login(session, CKU_USER, USER_PIN), CKR_OK);
        (slot, session)
    }

    /// A session key: AES-256, made here.
    pub fn aes_key(&self, session: CK_SESSION_HANDLE) -> CK_OBJECT_HANDLE {
        let (mut len, mut key) = (32 as CK_ULONG, 0);
        let mut template = [attribute(CKA_VALUE_LEN, &mut len)];
        let mut mechanism = mechanism(CKM_AES_KEY_GEN);
        assert_eq!(
            ck!(self.C_GenerateKey(session, &mut mechanism, template.as_mut_ptr(), 1, &mut key)),
            CKR_OK
        );
        key
    }
}

/// Calls with AES-GCM: an IV of 12 bytes, no additional data, and a tag of 128 bits.
pub fn with_gcm(call: impl FnOnce(&mut CK_MECHANISM) -> CK_RV) -> CK_RV {
    let mut iv = [2u8; 12];
    let mut params = CK_GCM_PARAMS {
        pIv: iv.as_mut_ptr(),
        ulIvLen: 12,
        ulIvBits: 96,
        pAAD: std::ptr::null_mut(),
        ulAADLen: 0,
        ulTagBits: 128,
    };
    call(&mut mechanism_with(CKM_AES_GCM, &mut params))
}

/// An AES key that stays on its server.
pub fn kept_aes_key(host: &Host, session: CK_SESSION_HANDLE) -> CK_OBJECT_HANDLE {
    let (mut len, mut yes, mut no, mut key) = (32 as CK_ULONG, CK_TRUE, CK_FALSE, 0);
    let mut template = [
        attribute(CKA_VALUE_LEN, &mut len),
        attribute(CKA_TOKEN, &mut yes),
        attribute(CKA_EXTRACTABLE, &mut no),
    ];
    let mut generate = mechanism(CKM_AES_KEY_GEN);
    let made = ck!(host.C_GenerateKey(session, &mut generate, template.as_mut_ptr(), 3, &mut key));
    assert_eq!(made, CKR_OK);
    key
}

/// A token whose keys are on a port of 127.0.0.1, made as `mrhsm init` and `mrhsm set` make one. Returns its slot.
pub fn kmip_token(port: u16, deadline: Duration) -> CK_SLOT_ID {
    kmip_token_with(port, |settings| {
        settings.deadline_millis = deadline.as_millis() as u64;
    })
}

/// The same with other settings.
pub fn kmip_token_with(port: u16, change: impl FnOnce(&mut Settings)) -> CK_SLOT_ID {
    let directory = TokenDir::at(std::env::var_os("MRHSM_TOKEN_DIR").unwrap());
    kmip_token_in(&directory, port, USER_PIN, change)
}

/// The same in another directory and with another PIN.
pub fn kmip_token_in(
    directory: &TokenDir,
    port: u16,
    user_pin: &[u8],
    change: impl FnOnce(&mut Settings),
) -> CK_SLOT_ID {
    let pki = Pki::shared();
    let [certificate, key, ca] =
        [&pki.client.cert, &pki.client.key, &pki.ca].map(|path| std::fs::read(path).unwrap());
    let mut settings = Settings {
        store: StoreKind::Kmip,
        hosts: vec![config::Host {
            name: "127.0.0.1".into(),
            port: Some(port),
        }],
        ..Settings::default()
    };
    change(&mut settings);
    new_token(
        directory,
        "kmip token",
        user_pin,
        settings,
        IdentityChange {
            certificate: Part::Set(&certificate),
            key: Part::Set(&key),
            ca: Part::Set(&ca),
            ..IdentityChange::default()
        },
    )
}

/// A token of files with a key policy.
pub fn file_token_with(policy: KeyPolicy) -> CK_SLOT_ID {
    let settings = Settings {
        policy,
        ..Settings::default()
    };
    let directory = TokenDir::at(std::env::var_os("MRHSM_TOKEN_DIR").unwrap());
    new_token(
        &directory,
        &format!("{policy} token"),
        USER_PIN,
        settings,
        IdentityChange::default(),
    )
}

fn new_token(
    directory: &TokenDir,
    label: &str,
    user_pin: &[u8],
    settings: Settings,
    identity: IdentityChange<'_>,
) -> CK_SLOT_ID {
    let token = NewToken {
        label,
        so_pin: &Secret::new(SO_PIN.to_vec()),
        user_pin: UserPin::Given(&Secret::new(user_pin.to_vec())),
        settings,
        username: None,
        identity,
    };
    create_token(directory, &token).unwrap().slot().into()
}

/// A token with a file store in `directory`.
pub fn make_file_token(directory: &TokenDir, label: &str) {
    let settings = Settings {
        store: StoreKind::File,
        ..Settings::default()
    };
    new_token(
        directory,
        label,
        USER_PIN,
        settings,
        IdentityChange::default(),
    );
}

pub fn mechanism(kind: CK_MECHANISM_TYPE) -> CK_MECHANISM {
    CK_MECHANISM {
        mechanism: kind,
        pParameter: std::ptr::null_mut(),
        ulParameterLen: 0,
    }
}

/// With a parameter.
pub fn mechanism_with<T>(kind: CK_MECHANISM_TYPE, parameter: &mut T) -> CK_MECHANISM {
    CK_MECHANISM {
        mechanism: kind,
        pParameter: (&raw mut *parameter).cast(),
        ulParameterLen: size_of::<T>() as CK_ULONG,
    }
}

pub fn attribute<T>(kind: CK_ATTRIBUTE_TYPE, value: &mut T) -> CK_ATTRIBUTE {
    CK_ATTRIBUTE {
        type_: kind,
        pValue: (&raw mut *value).cast::<c_void>(),
        ulValueLen: size_of::<T>() as CK_ULONG,
    }
}
