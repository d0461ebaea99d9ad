//! Hosts that fork: the child begins anew, whatever the parent's threads were doing, and the parent goes on.

use std::net::TcpListener;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mrhsm_pkcs11::ck::*;

use super::host::{Host, USER_PIN, alone, ck, kmip_token};

/// Longest time that a child may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs `body` in a forked child, which must end well.
fn in_child(body: impl FnOnce()) {
    // SAFETY: the child runs code of this test only, and ends with _exit.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        // SAFETY: nothing of the parent's shall run at the child's exit.
        unsafe { libc::_exit(i32::from(result.is_err())) };
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
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _end = AtEnd(&stop);
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                work();
            }
        });
        (0..times).for_each(|_| in_child(&mut child));
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
