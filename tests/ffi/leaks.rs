//! What is left over: memory, file descriptors, threads. Applications run for months.

use std::fs;
use std::ptr::null_mut;
use std::time::{Duration, Instant};

use mrhsm_pkcs11::ck::*;

use super::host::{Host, USER_PIN, alone, attribute, ck, kmip_token, mechanism};
use crate::kmip_server::{Personality, Script, Server};

fn count(folder: &str) -> usize {
    fs::read_dir(folder).unwrap().count()
}

/// File descriptors and threads of this process.
fn held() -> (usize, usize) {
    (count("/proc/self/fd"), count("/proc/self/task"))
}

/// Memory of this process that is in use, in bytes, with all that could be given back given back.
fn memory() -> usize {
    // SAFETY: it has no arguments that matter.
    unsafe { libc::malloc_trim(0) };
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Runs `cycle` until everything is warm, then many times more: memory grows by less than `each` bytes a time.
fn stays_flat(each: usize, warm: usize, times: usize, mut cycle: impl FnMut(usize)) {
    (0..warm).for_each(&mut cycle);
    let before = memory();
    (warm..warm + times).for_each(cycle);
    let grown = memory().saturating_sub(before);
    assert!(
        grown < each * times,
        "{grown} bytes more after {times} times: {} each",
        grown / times
    );
}

/// A key in this process, or on the token.
fn make(
    host: &Host,
    session: CK_SESSION_HANDLE,
    token: CK_BBOOL,
    number: usize,
) -> CK_OBJECT_HANDLE {
    let (mut len, mut token, mut id, mut key) = (32 as CK_ULONG, token, number, 0);
    let mut template = [
        attribute(CKA_VALUE_LEN, &mut len),
        attribute(CKA_TOKEN, &mut token),
        attribute(CKA_ID, &mut id),
    ];
    let rv = ck!(host.C_GenerateKey(
        session,
        &mut mechanism(CKM_AES_KEY_GEN),
        template.as_mut_ptr(),
        3,
        &mut key
    ));
    assert_eq!(rv, CKR_OK);
    key
}

/// Finds by an attribute, begins operations of all kinds, fails, and leaves everything as it is.
fn use_and_leave(host: &Host, session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE, number: usize) {
    let (mut id, mut text, mut out, mut len) = (number, [7u8; 32], [0u8; 64], 64);
    assert_eq!(
        ck!(host.C_FindObjectsInit(session, [attribute(CKA_ID, &mut id)].as_mut_ptr(), 1)),
        CKR_OK
    );
    assert_eq!(
        ck!(host.C_EncryptInit(session, &mut mechanism(CKM_AES_ECB), key)),
        CKR_OK
    );
    assert_eq!(
        ck!(host.C_Encrypt(session, text.as_mut_ptr(), 32, out.as_mut_ptr(), &mut len)),
        CKR_OK
    );
    assert_eq!(
        ck!(host.C_EncryptInit(session, &mut mechanism(CKM_AES_ECB), key)),
        CKR_OK
    );
    assert_eq!(
        ck!(host.C_SignInit(session, &mut mechanism(CKM_AES_CMAC), key)),
        CKR_OK
    );
    assert_eq!(
        ck!(host.C_DigestInit(session, &mut mechanism(CKM_SHA256))),
        CKR_OK
    );
    assert_eq!(
        ck!(host.C_DigestUpdate(session, text.as_mut_ptr(), 32)),
        CKR_OK
    );
    assert_ne!(
        ck!(host.C_VerifyInit(session, &mut mechanism(CKM_AES_GCM), key)),
        CKR_OK
    );
    assert_ne!(
        ck!(host.C_CreateObject(
            session,
            [attribute(CKA_ID, &mut id)].as_mut_ptr(),
            1,
            &mut 0
        )),
        CKR_OK
    );
}

#[test]
fn finalize_gives_everything_back() {
    alone(|host| {
        let server = Server::start(Personality::standard(), Script::none());
        let slots = {
            host.initialize();
            let file = host.make_token();
            host.finalize();
            [file, kmip_token(server.port(), Duration::from_secs(10))]
        };
        let cycle = |number: usize| {
            server.restart();
            host.initialize();
            for slot in slots {
                let session = host.open(slot);
                assert_eq!(host.login(session, CKU_USER, USER_PIN), CKR_OK);
                let key = make(host, session, CK_TRUE, number);
                use_and_leave(host, session, key, number);
                use_and_leave(
                    host,
                    host.open(slot),
                    make(host, session, CK_FALSE, number),
                    number,
                );
                assert_eq!(ck!(host.C_DestroyObject(session, key)), CKR_OK);
            }
            // The host is gone, and its token is asked all the same.
            server.stop();
            let (session, mut id) = (host.open(slots[1]), number + 1);
            assert_ne!(
                ck!(host.C_FindObjectsInit(session, [attribute(CKA_ID, &mut id)].as_mut_ptr(), 1)),
                CKR_OK
            );
            host.finalize();
        };
        cycle(0);
        // The server's threads end a moment after it was stopped: one that is still counted here makes the bound one
        // higher, while a leak makes it nineteen.
        let bound = held();
        (1..20).for_each(cycle);
        let within = |(files, threads): (usize, usize)| files <= bound.0 && threads <= bound.1;
        let patience = Instant::now() + Duration::from_secs(30);
        while !within(held()) && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(50));
        }
        let now = held();
        assert!(
            within(now),
            "file descriptors and threads: {now:?} after twenty cycles, {bound:?} after one"
        );
    });
}

#[test]
fn memory_does_not_grow_with_initialize_and_finalize() {
    alone(|host| {
        host.initialize();
        let slot = host.make_token();
        host.finalize();
        stays_flat(1024, 200, 2000, |_| {
            host.initialize();
            let session = host.open(slot);
            assert_eq!(
                ck!(host.C_DigestInit(session, &mut mechanism(CKM_SHA256))),
                CKR_OK
            );
            assert_ne!(
                ck!(host.C_FindObjects(session, null_mut(), 0, &mut 0)),
                CKR_OK
            );
            host.finalize();
        });
    });
}

#[test]
fn memory_does_not_grow_with_objects_sessions_and_operations() {
    alone(|host| {
        host.initialize();
        let (slot, keeper) = host.logged_in();
        stays_flat(256, 1000, 8000, |number| {
            let session = host.open(slot);
            let key = make(host, session, CK_FALSE, number);
            use_and_leave(host, session, key, number);
            assert_eq!(ck!(host.C_CloseSession(session)), CKR_OK);
        });
        // What is destroyed leaves the memory too.
        stays_flat(1024, 1500, 1500, |number| {
            let key = make(host, keeper, CK_TRUE, number);
            let session = host.open(slot);
            use_and_leave(host, session, key, number);
            assert_eq!(ck!(host.C_CloseSession(session)), CKR_OK);
            assert_eq!(ck!(host.C_DestroyObject(keeper, key)), CKR_OK);
        });
        host.finalize();
    });
}
