//! Hosts that fork: the child begins anew, whatever the parent's threads were doing, and the parent goes on.

use std::collections::HashSet;
use std::ffi::c_void;
use std::io::{Read, Write, pipe};
use std::net::TcpListener;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mrhsm_pkcs11::ck::*;

use super::host::{Host, USER_PIN, alone, attribute, ck, kmip_token, mechanism};

/// Longest time that a child may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs `body` in a forked child, which must end well.
pub fn in_child(body: impl FnOnce()) {
    // Nothing of the parent's shall run at the child's exit.
    in_child_until(libc::_exit, body);
}

/// The same, and the child ends with `exit`.
fn in_child_until(exit: unsafe extern "C" fn(i32) -> !, body: impl FnOnce()) {
    // SAFETY: the child runs code of this test only.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        // SAFETY: ends this process.
        unsafe { exit(i32::from(result.is_err())) };
    }
    let (started, mut status) = (Instant::now(), 0);
    // SAFETY: our own child.
    while unsafe { libc::waitpid(child, &mut status, libc::WNOHANG) } == 0 {
        if started.elapsed() > PATIENCE {
            // SAFETY: our own child.
            unsafe { libc::kill(child, libc::SIGKILL) };
        }
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(status, 0, "the child hung, crashed or failed");
}

/// What every child sees: no module; then one of its own.
fn begins_anew(host: &Host) {
    let mut info = CK_INFO::default();
    assert_eq!(ck!(host.C_GetInfo(&mut info)), CKR_CRYPTOKI_NOT_INITIALIZED);
    assert_eq!(
        ck!(host.C_Finalize(null_mut())),
        CKR_CRYPTOKI_NOT_INITIALIZED
    );
    host.initialize();
    assert_eq!(ck!(host.C_GetInfo(&mut info)), CKR_OK);
    assert!(!host.slots().is_empty());
    host.finalize();
}

/// Sets it at the end, also when the test fails.
struct AtEnd<'a>(&'a AtomicBool);

impl Drop for AtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Forks `times` while another thread does `work` over and over.
fn fork_beside(times: usize, work: impl Fn() + Sync, mut child: impl FnMut()) {
    beside(1, work, || (0..times).for_each(|_| in_child(&mut child)));
}

/// Runs `body` while as many other threads do `work` over and over.
fn beside(threads: usize, work: impl Fn() + Sync, body: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _end = AtEnd(&stop);
        for _ in 0..threads {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    work();
                }
            });
        }
        body();
    });
}

/// Runs `body` in another thread and waits for its end. A plain thread: one of Rust's takes the dynamic linker's lock, and then a
/// child would hang in `exit` because of the tests, not of the module.
fn in_thread<F: Fn() + Sync>(body: &F) {
    extern "C" fn run<F: Fn()>(body: *mut c_void) -> *mut c_void {
        // SAFETY: the body outlives the thread, which `in_thread` waits for.
        unsafe { (*body.cast_const().cast::<F>())() };
        null_mut()
    }
    let (mut thread, argument) = (0, (&raw const *body).cast_mut().cast());
    // SAFETY: `run` is given the body that it is for.
    unsafe {
        let created = libc::pthread_create(&mut thread, std::ptr::null(), run::<F>, argument);
        assert_eq!(created, 0);
        assert_eq!(libc::pthread_join(thread, null_mut()), 0);
    }
}

/// Random bytes of the token.
fn random(host: &Host, session: CK_SESSION_HANDLE) -> Vec<u8> {
    let mut bytes = vec![0; 32];
    assert_eq!(
        ck!(host.C_GenerateRandom(session, bytes.as_mut_ptr(), 32)),
        CKR_OK
    );
    bytes
}

/// Values that no two processes may have in common: random bytes, a key, an initialization vector that the token chooses.
fn unique_values(host: &Host, session: CK_SESSION_HANDLE) -> Vec<[u8; 32]> {
    let random = random(host, session).try_into().unwrap();
    let (mut len, mut yes, mut no) = (32 as CK_ULONG, CK_TRUE, CK_FALSE);
    let mut template = [
        attribute(CKA_VALUE_LEN, &mut len),
        attribute(CKA_EXTRACTABLE, &mut yes),
        attribute(CKA_SENSITIVE, &mut no),
        attribute(CKA_ENCRYPT, &mut yes),
    ];
    let (mut key, mut value) = (0, [0u8; 32]);
    assert_eq!(
        ck!(host.C_GenerateKey(
            session,
            &mut mechanism(CKM_AES_KEY_GEN),
            template.as_mut_ptr(),
            template.len() as CK_ULONG,
            &mut key
        )),
        CKR_OK
    );
    let mut wanted = [attribute(CKA_VALUE, &mut value)];
    assert_eq!(
        ck!(host.C_GetAttributeValue(session, key, wanted.as_mut_ptr(), 1)),
        CKR_OK
    );
    let mut iv = [0u8; 32];
    let mut parameter = CK_GCM_MESSAGE_PARAMS {
        pIv: iv.as_mut_ptr(),
        ulIvLen: 12,
        ulIvFixedBits: 0,
        ivGenerator: CKG_GENERATE_RANDOM,
        pTag: [0u8; 16].as_mut_ptr(),
        ulTagBits: 128,
    };
    let mut gcm = mechanism(CKM_AES_GCM);
    assert_eq!(
        ck!(host.C_MessageEncryptInit(session, &mut gcm, key)),
        CKR_OK
    );
    let (text, mut out, mut room) = ([0u8; 16], [0u8; 16], 16);
    assert_eq!(
        ck!(host.C_EncryptMessage(
            session,
            (&raw mut parameter).cast(),
            size_of_val(&parameter) as CK_ULONG,
            null_mut(),
            0,
            text.as_ptr().cast_mut(),
            16,
            out.as_mut_ptr(),
            &mut room
        )),
        CKR_OK
    );
    assert_eq!(ck!(host.C_MessageEncryptFinal(session)), CKR_OK);
    assert_ne!(iv, [0; 32]);
    vec![random, value, iv]
}

#[test]
fn a_child_ends_whatever_the_threads_of_its_parent_were_drawing() {
    alone(|host| {
        host.initialize();
        let slot = host.make_token();
        let work = || {
            let session = host.open(slot);
            for _ in 0..1000 {
                random(host, session);
            }
            assert_eq!(ck!(host.C_CloseSession(session)), CKR_OK);
        };
        beside(4, work, || {
            (0..1000).for_each(|_| in_child_until(libc::exit, || ()));
        });
        host.finalize();
    });
}

#[test]
fn a_child_draws_random_bytes_whatever_the_threads_of_its_parent_were_drawing() {
    alone(|host| {
        host.initialize();
        let slot = host.make_token();
        let session = host.open(slot);
        let child = |begins_a_thread: bool| {
            host.initialize();
            let own = host.open(slot);
            random(host, own);
            // A thread's first bytes and its end take other locks than later ones.
            if begins_a_thread {
                in_thread(&|| drop(random(host, own)));
            }
            host.finalize();
        };
        let work = || {
            random(host, session);
        };
        beside(4, work, || {
            (0..600).for_each(|_| in_child_until(libc::exit, || child(true)));
        });
        // Threads that begin and end: each one's generator is made and freed.
        // The child begins none: glibc's pthread_create may take a stack that a thread of the parent was about to take, and frees
        // its thread-local blocks a second time (get_cached_stack in nptl/allocatestack.c, 2.36), whatever the module does.
        let churn = || in_thread(&|| drop(random(host, session)));
        beside(4, churn, || {
            (0..600).for_each(|_| in_child_until(libc::exit, || child(false)));
        });
        host.finalize();
    });
}

#[test]
fn no_two_processes_draw_the_same() {
    alone(|host| {
        host.initialize();
        let (slot, session) = host.logged_in();
        let mut seen = HashSet::new();
        let mut all_new = |values: Vec<[u8; 32]>| {
            for value in values {
                assert!(seen.insert(value), "two processes drew the same value");
            }
        };
        all_new(unique_values(host, session));
        for _ in 0..50 {
            let (mut reader, writer) = pipe().unwrap();
            let mut writer = Some(writer);
            in_child(|| {
                host.initialize();
                let own = host.open(slot);
                assert_eq!(host.login(own, CKU_USER, USER_PIN), CKR_OK);
                let values = unique_values(host, own).concat();
                writer.take().unwrap().write_all(&values).unwrap();
                host.finalize();
            });
            drop(writer);
            let mut values = Vec::new();
            reader.read_to_end(&mut values).unwrap();
            let (values, rest) = values.as_chunks::<32>();
            assert!(values.len() == 3 && rest.is_empty());
            all_new(values.to_vec());
            all_new(unique_values(host, session));
        }
        host.finalize();
    });
}

#[test]
fn while_a_thread_is_in_initialize_and_finalize() {
    alone(|host| {
        let work = || {
            host.initialize();
            host.finalize();
        };
        fork_beside(100, work, || begins_anew(host));
    });
}

#[test]
fn while_a_thread_finds_objects() {
    alone(|host| {
        host.initialize();
        let (slot, session) = host.logged_in();
        let find = |session| {
            let (mut object, mut count) = (0, 0);
            assert_eq!(ck!(host.C_FindObjectsInit(session, null_mut(), 0)), CKR_OK);
            assert_eq!(
                ck!(host.C_FindObjects(session, &mut object, 1, &mut count)),
                CKR_OK
            );
            assert_eq!(ck!(host.C_FindObjectsFinal(session)), CKR_OK);
        };
        fork_beside(
            50,
            || find(session),
            || {
                assert_eq!(
                    ck!(host.C_CloseSession(session)),
                    CKR_CRYPTOKI_NOT_INITIALIZED
                );
                host.initialize();
                assert_eq!(
                    ck!(host.C_CloseSession(session)),
                    CKR_SESSION_HANDLE_INVALID
                );
                let own = host.open(slot);
                assert_eq!(host.login(own, CKU_USER, USER_PIN), CKR_OK);
                find(own);
                host.finalize();
            },
        );
        // The parent is where it was.
        find(session);
        host.finalize();
    });
}

#[test]
fn while_a_thread_waits_for_a_silent_host() {
    alone(|host| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let slot = kmip_token(
            listener.local_addr().unwrap().port(),
            Duration::from_secs(4),
        );
        host.initialize();
        let session = host.open(slot);
        assert_eq!(host.login(session, CKU_USER, USER_PIN), CKR_OK);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| ck!(host.C_FindObjectsInit(session, null_mut(), 0)));
            let (_connection, _) = listener.accept().unwrap();
            for _ in 0..10 {
                in_child(|| begins_anew(host));
            }
            assert!(
                !waiting.is_finished(),
                "the children did not wait, the thread does"
            );
            assert_ne!(waiting.join().unwrap(), CKR_OK);
        });
        assert_eq!(ck!(host.C_CloseSession(session)), CKR_OK);
        host.finalize();
    });
}

#[test]
fn children_of_children_begin_anew_too() {
    alone(|host| {
        host.initialize();
        in_child(|| {
            begins_anew(host);
            host.initialize();
            in_child(|| begins_anew(host));
            host.finalize();
        });
        host.finalize();
    });
}

/// The next child of this process is the first process of a new PID namespace.
fn next_child_is_process_one() {
    // SAFETY: no arguments; concerns the children of this process only.
    let mut done = unsafe { libc::unshare(libc::CLONE_NEWPID) };
    if done != 0 {
        // Without root's rights, in a user namespace of its own.
        // SAFETY: as above; the test is over when this process ends.
        done = unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWPID) };
    }
    assert_eq!(done, 0, "this test needs root or user namespaces");
}

#[test]
fn a_child_with_its_parents_process_identifier_begins_anew_too() {
    alone(|host| {
        in_child(|| {
            next_child_is_process_one();
            in_child(|| {
                assert_eq!(std::process::id(), 1);
                host.initialize();
                let session = host.open(host.make_token());
                next_child_is_process_one();
                in_child(|| {
                    assert_eq!(std::process::id(), 1);
                    begins_anew(host);
                });
                random(host, session);
                host.finalize();
            });
        });
    });
}

#[test]
fn a_parents_handles_are_none_of_the_childs() {
    alone(|host| {
        host.initialize();
        let slot = host.make_token();
        let parents = host.open(slot);
        in_child(|| {
            host.initialize();
            assert!(host.open(slot) > parents);
            let mut info = CK_SESSION_INFO::default();
            assert_eq!(
                ck!(host.C_GetSessionInfo(parents, &mut info)),
                CKR_SESSION_HANDLE_INVALID
            );
            host.finalize();
        });
        host.finalize();
    });
}
