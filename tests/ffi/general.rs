//! Loading, initializing, finalizing.

use std::ffi::c_void;
use std::ptr::{null, null_mut};

use mrhsm_pkcs11::ck::*;
use mrhsm_pkcs11::ffi::FUNCTIONS;

use super::host::{Host, alone, ck};

/// These work without, or make, the initialised state.
const ALWAYS: [&str; 4] = [
    "C_Initialize",
    "C_GetFunctionList",
    "C_GetInterfaceList",
    "C_GetInterface",
];

#[test]
fn nothing_works_before_initialize_but_the_function_lists() {
    alone(|host| {
        for function in FUNCTIONS
            .iter()
            .filter(|function| !ALWAYS.contains(&function.name))
        {
            assert_eq!(
                host.call(function, &[]),
                CKR_CRYPTOKI_NOT_INITIALIZED,
                "{}",
                function.name
            );
        }
        host.initialize();
        host.finalize();
        for function in FUNCTIONS
            .iter()
            .filter(|function| !ALWAYS.contains(&function.name))
        {
            assert_eq!(
                host.call(function, &[]),
                CKR_CRYPTOKI_NOT_INITIALIZED,
                "{} after C_Finalize",
                function.name
            );
        }
    });
}

unsafe extern "C" fn create_mutex(_: *mut *mut c_void) -> CK_RV {
    panic!("never called")
}

unsafe extern "C" fn use_mutex(_: *mut c_void) -> CK_RV {
    panic!("never called")
}

#[test]
fn initialize_looks_at_its_arguments() {
    let all = CK_C_INITIALIZE_ARGS {
        CreateMutex: Some(create_mutex),
        DestroyMutex: Some(use_mutex),
        LockMutex: Some(use_mutex),
        UnlockMutex: Some(use_mutex),
        ..CK_C_INITIALIZE_ARGS::default()
    };
    let reserved = (&raw const all).cast_mut().cast::<c_void>() as usize;
    alone(move |host| {
        let none = CK_C_INITIALIZE_ARGS::default();
        let cases = [
            (none, CKR_OK),
            (
                CK_C_INITIALIZE_ARGS {
                    flags: CKF_OS_LOCKING_OK,
                    ..none
                },
                CKR_OK,
            ),
            (
                CK_C_INITIALIZE_ARGS {
                    flags: CKF_LIBRARY_CANT_CREATE_OS_THREADS,
                    ..none
                },
                CKR_OK,
            ),
            (
                CK_C_INITIALIZE_ARGS {
                    flags: CKF_OS_LOCKING_OK,
                    ..all
                },
                CKR_OK,
            ),
            (all, CKR_CANT_LOCK),
            (
                CK_C_INITIALIZE_ARGS {
                    CreateMutex: None,
                    flags: CKF_OS_LOCKING_OK,
                    ..all
                },
                CKR_ARGUMENTS_BAD,
            ),
            (
                CK_C_INITIALIZE_ARGS {
                    LockMutex: Some(use_mutex),
                    ..none
                },
                CKR_ARGUMENTS_BAD,
            ),
            (
                CK_C_INITIALIZE_ARGS {
                    pReserved: reserved as *mut c_void,
                    ..none
                },
                CKR_ARGUMENTS_BAD,
            ),
        ];
        for (mut args, expected) in cases {
            assert_eq!(
                ck!(host.C_Initialize((&raw mut args).cast())),
                expected,
                "{args:?}"
            );
            if expected == CKR_OK {
                assert_eq!(
                    ck!(host.C_Initialize(null_mut())),
                    CKR_CRYPTOKI_ALREADY_INITIALIZED
                );
                assert_eq!(
                    ck!(host.C_Finalize(reserved as *mut c_void)),
                    CKR_ARGUMENTS_BAD
                );
                host.finalize();
            }
            assert_eq!(
                ck!(host.C_Finalize(null_mut())),
                CKR_CRYPTOKI_NOT_INITIALIZED
            );
        }
    });
}

/// A thread that did not notice that another finalized and initialized must not work in somebody else's session.
#[test]
fn handles_from_before_finalize_are_nobody_elses() {
    alone(|host| {
        host.initialize();
        let (slot, stale) = host.logged_in();
        let key = host.aes_key(stale);
        host.finalize();
        host.initialize();
        let mut info = CK_SESSION_INFO::default();
        let sessions = [(); 8].map(|()| host.open(slot));
        assert!(
            sessions.iter().all(|session| *session > key && key > stale),
            "{stale} {key} {sessions:?}"
        );
        assert_eq!(
            ck!(host.C_GetSessionInfo(stale, &mut info)),
            CKR_SESSION_HANDLE_INVALID
        );
        host.finalize();
    });
}

#[test]
fn interfaces_are_found_by_name_version_and_flags() {
    alone(|host| {
        let mut list = null_mut();
        assert_eq!(ck!(host.C_GetFunctionList(&mut list)), CKR_OK);
        // SAFETY: the module returned it.
        let version = unsafe { (*list).version };
        assert_eq!((version.major, version.minor), (2, 40));
        assert_eq!(ck!(host.C_GetFunctionList(null_mut())), CKR_ARGUMENTS_BAD);

        let mut count = 0;
        assert_eq!(ck!(host.C_GetInterfaceList(null_mut(), &mut count)), CKR_OK);
        assert_eq!(count, 2);
        let mut all = [CK_INTERFACE::default(); 2];
        let mut one = 1;
        assert_eq!(
            ck!(host.C_GetInterfaceList(all.as_mut_ptr(), &mut one)),
            CKR_BUFFER_TOO_SMALL
        );
        assert_eq!(
            ck!(host.C_GetInterfaceList(all.as_mut_ptr(), &mut count)),
            CKR_OK
        );
        assert_eq!(
            ck!(host.C_GetInterfaceList(null_mut(), null_mut())),
            CKR_ARGUMENTS_BAD
        );

        let get = |name: Option<&std::ffi::CStr>, version: Option<(u8, u8)>, flags| {
            let mut found = null_mut::<CK_INTERFACE>();
            let mut version = version.map(|(major, minor)| CK_VERSION { major, minor });
            let name = name.map_or(null(), |name| name.as_ptr()).cast_mut().cast();
            let version = version
                .as_mut()
                .map_or(null_mut(), |version| &raw mut *version);
            match ck!(host.C_GetInterface(name, version, &mut found, flags)) {
                // SAFETY: the module returned it; each table begins with its version.
                CKR_OK => Ok(unsafe { (*(*found).pFunctionList.cast::<CK_VERSION>()).minor }),
                rv => Err(rv),
            }
        };
        let standard = Some(c"PKCS 11");
        for (name, version, flags, expected) in [
            (None, None, 0, Ok(0)),
            (standard, None, 0, Ok(0)),
            (standard, Some((3, 0)), 0, Ok(0)),
            (standard, Some((2, 40)), 0, Ok(40)),
            (None, Some((2, 40)), CKF_INTERFACE_FORK_SAFE, Ok(40)),
            (standard, Some((2, 4)), 0, Err(CKR_ARGUMENTS_BAD)),
            (standard, Some((4, 0)), 0, Err(CKR_ARGUMENTS_BAD)),
            (Some(c"PKCS 12"), None, 0, Err(CKR_ARGUMENTS_BAD)),
            (Some(c""), None, 0, Err(CKR_ARGUMENTS_BAD)),
            (standard, None, 0x80, Err(CKR_ARGUMENTS_BAD)),
        ] {
            assert_eq!(
                get(name, version, flags),
                expected,
                "{name:?} {version:?} {flags}"
            );
        }
        assert_eq!(
            ck!(host.C_GetInterface(null_mut(), null_mut(), null_mut(), 0)),
            CKR_ARGUMENTS_BAD
        );
    });
}

/// A host that holds nothing but the list of 2.40 sees the same functions.
#[test]
fn both_tables_hold_the_same_functions() {
    alone(|host: &Host| {
        let mut list = null_mut();
        assert_eq!(ck!(host.C_GetFunctionList(&mut list)), CKR_OK);
        // SAFETY: both tables are a version and pointers, with the functions of 2.40 first.
        let words = |table: *const c_void| unsafe { *table.cast::<[usize; 69]>() };
        let (old, new) = (words(list.cast()), words((&raw const *host.table()).cast()));
        assert_eq!(old[1..], new[1..]);
        assert!(old[1..].iter().all(|function| *function != 0));
    });
}
