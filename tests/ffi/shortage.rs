//! A host that runs out of memory: calls fail, and the process goes on.

use std::io::{PipeWriter, Read, Write, pipe};
use std::ptr::null_mut;
use std::time::Duration;

use mrhsm_pkcs11::ck::*;
use mrhsm_pkcs11::ffi::{FUNCTIONS, Function};

use super::arguments::{arguments, is_state};
use super::host::{
    Host, USER_PIN, alone_with, attribute, ck, kept_aes_key, kmip_token, mechanism, mechanism_with,
    with_gcm,
};
use crate::kmip_server::{Personality, Pki, Script, Server};

/// Each further arena of the C library reserves 64 MiB, which would be left too.
const ARENAS: &str = "MALLOC_ARENA_MAX";
const MIB: usize = 1 << 20;
/// Longer than any memory that the tests leave.
const HUGE: usize = 64 << 20;

/// Zeros to read, as many as a caller likes: pages that no memory backs.
fn zeros() -> *mut u8 {
    let (access, flags) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
    );
    // SAFETY: a new mapping, where the kernel chooses.
    let at = unsafe { libc::mmap(null_mut(), 2 * HUGE, access, flags, -1, 0) };
    assert_ne!(at, libc::MAP_FAILED);
    at.cast()
}

/// Limits this process to `left` more bytes of address space than it has.
fn leave(left: usize) {
    // SAFETY: returns what the C library keeps of freed memory.
    unsafe { libc::malloc_trim(0) };
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = status.split(' ').next().unwrap().parse().unwrap();
    limit((pages * 4096 + left) as libc::rlim_t);
}

fn limit(bytes: libc::rlim_t) {
    let limit = libc::rlimit {
        rlim_cur: bytes,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: a plain structure, and a limit of this process.
    let set = unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) };
    assert_eq!(set, 0);
}

const UNLIMITED: libc::rlim_t = libc::RLIM_INFINITY;

/// Does `call` with each of these amounts of memory left, in bytes, and with all of it.
fn with_less_and_less(call: impl Fn() -> CK_RV) {
    for left in (0..48).map(|step| 24 * MIB - step * (MIB / 2)) {
        leave(left);
        let rv = call();
        limit(UNLIMITED);
        assert!(
            [CKR_OK, CKR_HOST_MEMORY].contains(&rv),
            "{} with {left} bytes left",
            rv_name(rv)
        );
    }
    assert_eq!(call(), CKR_OK);
}

fn value(at: *mut u8, len: usize) -> CK_ATTRIBUTE {
    CK_ATTRIBUTE {
        type_: CKA_VALUE,
        pValue: at.cast(),
        ulValueLen: len as CK_ULONG,
    }
}

/// Creates a data object on the token and destroys it.
fn store(host: &Host, session: CK_SESSION_HANDLE, at: *mut u8, len: usize) -> CK_RV {
    let (mut class, mut yes, mut object) = (CKO_DATA, CK_TRUE, 0);
    let mut template = [
        attribute(CKA_CLASS, &mut class),
        attribute(CKA_TOKEN, &mut yes),
        value(at, len),
    ];
    let created = ck!(host.C_CreateObject(session, template.as_mut_ptr(), 3, &mut object));
    if created == CKR_OK {
        assert_eq!(ck!(host.C_DestroyObject(session, object)), CKR_OK);
    }
    created
}

#[test]
fn too_large_objects_are_refused_before_they_are_copied() {
    alone_with(&[(ARENAS, "1".as_ref())], |host| {
        host.initialize();
        let (_, session) = host.logged_in();
        let at = zeros();
        leave(16 * MIB);
        for len in [MIB + 1, 4 * MIB + 1, 60 * MIB, HUGE] {
            assert_eq!(store(host, session, at, len), CKR_DEVICE_MEMORY, "{len}");
            let mut template = [value(at, len)];
            let found = ck!(host.C_FindObjectsInit(session, template.as_mut_ptr(), 1));
            if found == CKR_OK {
                assert_eq!(ck!(host.C_FindObjectsFinal(session)), CKR_OK);
            } else {
                assert_eq!(found, CKR_DEVICE_MEMORY, "{len}");
            }
        }
        limit(UNLIMITED);
        assert_eq!(store(host, session, at, MIB), CKR_OK);
        host.finalize();
    });
}

#[test]
fn objects_are_created_or_refused_while_memory_is_short() {
    alone_with(&[(ARENAS, "1".as_ref())], |host| {
        host.initialize();
        let (_, session) = host.logged_in();
        let at = zeros();
        with_less_and_less(|| store(host, session, at, MIB));
        host.finalize();
    });
}

/// A server in another process, which must not share the shortage; it ends with what is returned.
fn server_of_another_process() -> (u16, PipeWriter) {
    let (mut port, mut tell) = pipe().unwrap();
    let (mut end, ends) = pipe().unwrap();
    // SAFETY: the child runs code of this test only.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        drop(ends);
        let server = Server::start(Personality::standard(), Script::none());
        tell.write_all(&server.port().to_ne_bytes()).unwrap();
        let _ = end.read(&mut [0]);
        // SAFETY: ends this process.
        unsafe { libc::_exit(0) };
    }
    let mut bytes = [0; 2];
    port.read_exact(&mut bytes).unwrap();
    (u16::from_ne_bytes(bytes), ends)
}

#[test]
fn so_are_those_of_a_server_and_long_messages_to_it() {
    alone_with(&[(ARENAS, "1".as_ref())], |host| {
        // The child and the token use the same certificates.
        let _pki = Pki::shared();
        let (port, _server) = server_of_another_process();
        let slot = kmip_token(port, Duration::from_secs(60));
        host.initialize();
        let session = host.open(slot);
        assert_eq!(host.login(session, CKU_USER, USER_PIN), CKR_OK);
        let at = zeros();
        with_less_and_less(|| store(host, session, at, MIB / 2));
        let key = kept_aes_key(host, session);
        with_less_and_less(|| {
            let mut iv = [0u8; 16];
            let mut cbc = mechanism_with(CKM_AES_CBC, &mut iv);
            let begun = ck!(host.C_EncryptInit(session, &mut cbc, key));
            if begun != CKR_OK {
                return begun;
            }
            let mut len = 4 * MIB as CK_ULONG;
            let rv = ck!(host.C_Encrypt(session, at, len, at.wrapping_add(HUGE), &mut len));
            let ended = ck!(host.C_SessionCancel(session, CKF_ENCRYPT));
            assert_eq!(ended, CKR_OK);
            rv
        });
        host.finalize();
    });
}

#[test]
fn logins_fail_without_memory_for_the_pin() {
    alone_with(&[(ARENAS, "1".as_ref())], |host| {
        host.initialize();
        let (_, session) = host.logged_in();
        for left in [1, 8, 20] {
            assert_eq!(ck!(host.C_Logout(session)), CKR_OK);
            leave(left * MIB);
            let rv = host.login(session, CKU_USER, USER_PIN);
            limit(UNLIMITED);
            assert_eq!(rv, CKR_HOST_MEMORY, "{left} MiB left");
            assert_eq!(host.login(session, CKU_USER, USER_PIN), CKR_OK);
        }
        host.finalize();
    });
}

/// Begins an operation.
type Begin = fn(&Host, CK_SESSION_HANDLE, CK_OBJECT_HANDLE) -> CK_RV;

const OPERATIONS: &[Begin] = &[
    |_, _, _| CKR_OK,
    |host, session, key| ck!(host.C_EncryptInit(session, &mut mechanism(CKM_AES_ECB), key)),
    |host, session, key| {
        let mut iv = [0u8; 16];
        ck!(host.C_EncryptInit(session, &mut mechanism_with(CKM_AES_CBC_PAD, &mut iv), key))
    },
    |host, session, key| {
        let mut iv = [0u8; 16];
        ck!(host.C_DecryptInit(session, &mut mechanism_with(CKM_AES_CBC_PAD, &mut iv), key))
    },
    |host, session, key| with_gcm(|gcm| ck!(host.C_EncryptInit(session, gcm, key))),
    |host, session, key| with_gcm(|gcm| ck!(host.C_DecryptInit(session, gcm, key))),
    |host, session, key| {
        ck!(host.C_DecryptInit(session, &mut mechanism(CKM_AES_KEY_WRAP_KWP), key))
    },
    |host, session, key| ck!(host.C_SignInit(session, &mut mechanism(CKM_AES_CMAC), key)),
    |host, session, key| ck!(host.C_VerifyInit(session, &mut mechanism(CKM_AES_CMAC), key)),
    |host, session, _| ck!(host.C_DigestInit(session, &mut mechanism(CKM_SHA256))),
    |host, session, key| ck!(host.C_MessageEncryptInit(session, &mut mechanism(CKM_AES_GCM), key)),
];

#[test]
fn no_length_of_a_caller_ends_the_process() {
    alone_with(&[(ARENAS, "1".as_ref())], |host| {
        host.initialize();
        let (_, session) = host.logged_in();
        let (at, key) = (zeros(), host.aes_key(session));
        // The key ends with the login, and `C_GenerateRandom` works in small pieces.
        let called = |function: &&Function| {
            !is_state(function) && !["C_Logout", "C_GenerateRandom"].contains(&function.name)
        };
        let mut short = 0;
        for begin in OPERATIONS {
            // As a buffer's length and as a value of any other kind.
            for first in [0, HUGE] {
                for function in FUNCTIONS.iter().filter(called) {
                    begin(host, session, key);
                    // SAFETY: the mapping is aligned; what the last function wrote to it is
                    // dropped.
                    unsafe {
                        libc::madvise(at.cast(), 2 * HUGE, libc::MADV_DONTNEED);
                        at.cast::<usize>().write(first);
                    }
                    leave(8 * MIB);
                    let rv = host.call(function, &arguments(function, session, at as usize, HUGE));
                    limit(UNLIMITED);
                    assert_ne!(rv, CKR_GENERAL_ERROR, "{}", function.name);
                    short += usize::from(rv == CKR_HOST_MEMORY);
                }
            }
        }
        assert_ne!(short, 0);
        assert_eq!(store(host, session, at, MIB), CKR_OK);
        host.finalize();
    });
}
