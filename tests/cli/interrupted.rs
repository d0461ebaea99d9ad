//! Commands that are killed: before every change they make to a file, and at every request. Whatever was written can be
//! read, and the next run completes the work.

#![allow(
    unsafe_code,
    reason = "a process is killed at a chosen system call by tracing it"
)]

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use mrhsm_pkcs11::kmip::State;

use super::cluster::{ENABLE, keys, node, options, quietly, server, wrapped};
use super::support::{Home, for_each};
use crate::kmip_server::{Fault, Script, Server};

const REKEY: [&str; 3] = ["rekey", "-keytype", "core"];

/// Whether a system call changes a file or a directory.
fn changes_files(call: &libc::__c_anonymous_ptrace_syscall_info_entry) -> bool {
    match call.nr as i64 {
        libc::SYS_openat => call.args[2] & libc::O_CREAT as u64 != 0,
        libc::SYS_write => call.args[0] > 2,
        libc::SYS_fsync
        | libc::SYS_ftruncate
        | libc::SYS_fchown
        | libc::SYS_renameat
        | libc::SYS_renameat2
        | libc::SYS_unlinkat
        | libc::SYS_mkdirat => true,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_rename | libc::SYS_unlink | libc::SYS_mkdir | libc::SYS_rmdir => true,
        _ => false,
    }
}

/// Runs a command and kills it as it is about to make its n-th change, counting from 1. False when it ended before.
#[expect(clippy::zombie_processes, reason = "waitpid reaps it")]
fn killed_at_change(mut command: Command, n: usize) -> bool {
    // SAFETY: ptrace and setsid are async-signal-safe and touch no memory here.
    unsafe {
        command.pre_exec(|| {
            libc::setsid();
            match libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
    let mut child = quietly(command).spawn().unwrap();
    let pid = child.id() as libc::pid_t;
    let (mut changes, mut resumed) = (0, false);
    loop {
        let mut status = 0;
        // SAFETY: our own child; the status is ours.
        assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
        if libc::WIFEXITED(status) {
            assert_eq!(
                libc::WEXITSTATUS(status),
                0,
                "without being killed it succeeds"
            );
            return false;
        }
        assert!(libc::WIFSTOPPED(status), "{status:#x}");
        let mut signal = libc::WSTOPSIG(status);
        // SAFETY: the child is stopped and traced by this thread; the structure is plain data of the length told.
        unsafe {
            if !resumed {
                let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_EXITKILL;
                assert_eq!(
                    libc::ptrace(libc::PTRACE_SETOPTIONS, pid, 0, options as libc::c_long),
                    0
                );
                (resumed, signal) = (true, 0);
            } else if signal == libc::SIGTRAP | 0x80 {
                let mut info: libc::ptrace_syscall_info = std::mem::zeroed();
                let size = size_of_val(&info);
                assert!(libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, pid, size, &raw mut info) > 0);
                changes += usize::from(
                    info.op == libc::PTRACE_SYSCALL_INFO_ENTRY && changes_files(&info.u.entry),
                );
                if changes == n {
                    libc::kill(pid, libc::SIGKILL);
                    child.wait().unwrap();
                    return true;
                }
                signal = 0;
            }
            assert_eq!(
                libc::ptrace(libc::PTRACE_SYSCALL, pid, 0, signal as libc::c_long),
                0
            );
        }
    }
}

/// For every change that `command` makes: sets up anew, kills it there, and checks. Some at a time.
fn at_every_change<S>(
    setup: impl Fn() -> S + Sync,
    command: impl Fn(&S) -> Command + Sync,
    check: impl Fn(S, usize) + Sync,
) {
    const AT_ONCE: usize = 6;
    for first in (1..).step_by(AT_ONCE) {
        let ended = std::thread::scope(|scope| {
            let run = |n| {
                let (setup, command, check) = (&setup, &command, &check);
                move || {
                    let state = setup();
                    let killed = killed_at_change(command(&state), n);
                    check(state, n);
                    !killed
                }
            };
            let runs: Vec<_> = (first..first + AT_ONCE)
                .map(|n| scope.spawn(run(n)))
                .collect();
            runs.into_iter()
                .map(|run| run.join().unwrap())
                .fold(false, |any, ended| any | ended)
        });
        if ended {
            assert!(
                first > 1,
                "the command changes files in few steps, or none was seen"
            );
            return;
        }
    }
}

/// The names of the cluster's keys on the server, all of them Active.
#[track_caller]
fn names(server: &Server) -> Vec<String> {
    let objects = server.objects();
    assert!(
        objects.iter().all(|o| o.state == State::ACTIVE),
        "{objects:#?}"
    );
    let mut names: Vec<_> = objects
        .iter()
        .flat_map(|o| &o.names)
        .map(|n| n.trim_start_matches("mrhsm:my.cluster.com:").to_owned())
        .collect();
    names.sort();
    names
}

/// What is recorded unwraps and is what the server holds: an `enable` has nothing to do and nothing to mend.
#[track_caller]
fn unwraps(home: &Home) {
    let enabled = home.mrhsm(ENABLE).done();
    assert!(
        enabled.out.contains("nothing is changed") && !enabled.err.contains("damaged"),
        "{enabled:#?}"
    );
}

#[test]
fn killed_at_any_write_init_and_set_are_completed_by_the_next() {
    let init = ["init", "-label", "demo"];
    at_every_change(
        Home::new,
        |home| home.command(init),
        |home, n| {
            home.mrhsm(["dump"]);
            let slots = home.mrhsm(["info", "-slots", "-json"]).done().json();
            let made = slots["slots"][0]["token_present"] == true
                && slots["slots"][0]["initialized"] == true;
            let again = home.mrhsm(init);
            assert_eq!(again.code == 0, !made, "change {n}: {again:#?}");
            home.mrhsm(["set", "-port", "5700"]).done();
        },
    );
    let server = server();
    let set = || {
        ["set"]
            .map(String::from)
            .into_iter()
            .chain(options(&server))
            .collect::<Vec<_>>()
    };
    at_every_change(
        Home::with_token,
        |home| home.command(set()),
        |home, n| {
            home.mrhsm(["info"]).done();
            home.mrhsm(set()).done();
            assert_eq!(
                home.mrhsm(["info", "-config", "-json"]).done().json()["config"]["hosts"][0]["active"],
                true,
                "change {n}"
            );
        },
    );
}

#[test]
fn killed_at_any_write_enable_is_completed_by_the_next() {
    at_every_change(
        || {
            let server = server();
            (node(&server), server)
        },
        |(home, _)| home.command(ENABLE),
        |(home, server), _| {
            home.mrhsm(["info", "-kmip"]).done();
            home.mrhsm(ENABLE).done();
            unwraps(&home);
            assert_eq!(names(&server), ["cldb:1", "common:1", "core:1", "dare:1"]);
        },
    );
}

/// A cluster that is enabled, and what must stay of it.
fn enabled() -> (Home, Server, serde_json::Value) {
    let server = server();
    let home = node(&server);
    home.mrhsm(ENABLE).done();
    let before = keys(&home);
    (home, server, before)
}

/// After a rekey that was stopped: the file unwraps, the keys are the same, another rekey completes it and leaves no orphan.
#[track_caller]
fn rekey_can_be_completed((home, server, before): (Home, Server, serde_json::Value), n: usize) {
    unwraps(&home);
    let generation = |home: &Home| keys(home)["core"]["generation"].as_u64().unwrap();
    let reached = generation(&home);
    let old = wrapped(&home);
    home.mrhsm(REKEY).done();
    unwraps(&home);
    assert_ne!(wrapped(&home), old, "{n}");
    let after = keys(&home);
    assert_eq!(
        (&before["cldb"], &before["dare"], &before["common"]),
        (&after["cldb"], &after["dare"], &after["common"]),
        "{n}"
    );
    assert_eq!(generation(&home), reached + 1, "{n}");
    let mut expected = vec![
        "cldb:1".to_owned(),
        "common:1".to_owned(),
        "dare:1".to_owned(),
    ];
    expected.extend((1..=reached + 1).map(|generation| format!("core:{generation}")));
    expected.sort();
    assert_eq!(names(&server), expected, "{n}");
}

#[test]
fn killed_at_any_write_rekey_leaves_a_file_that_unwraps() {
    at_every_change(
        enabled,
        |(home, ..)| home.command(REKEY),
        rekey_can_be_completed,
    );
}

#[test]
fn killed_at_any_request_rekey_leaves_a_file_that_unwraps() {
    let requests = {
        let (home, server, _) = enabled();
        server.clear_log();
        home.mrhsm(REKEY).done();
        server.count()
    };
    // Once the command dies, once the server does.
    for_each(
        (1..=requests).flat_map(|n| [(n, true), (n, false)]),
        |(n, command_dies)| {
            let (home, server, before) = enabled();
            if command_dies {
                let asked = server.count();
                server.script(Script::none().at(n, Fault::Silence));
                let mut child = quietly(home.command(REKEY)).spawn().unwrap();
                let start = Instant::now();
                while server.count() < asked + n {
                    assert!(
                        start.elapsed() < Duration::from_secs(30),
                        "request {n} never came"
                    );
                    std::thread::sleep(Duration::from_millis(5));
                }
                child.kill().unwrap();
                child.wait().unwrap();
                server.script(Script::none());
            } else {
                let files = home.snapshot();
                server.script(Script::none().at(n, Fault::Kill));
                home.mrhsm(REKEY).failed(4, "127.0.0.1");
                assert_eq!(home.snapshot(), files, "request {n}");
                server.restart();
            }
            rekey_can_be_completed((home, server, before), n);
        },
    );
}
