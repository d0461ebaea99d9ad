//! Guessing PINs: every wrong one is counted, whatever its process does, and at most one a second is answered (PKCS#11 3.0, 3.2
//! on the flags of a token); and what `C_InitToken` does to what was sealed under the old token key.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use mrhsm_pkcs11::ck::*;
use mrhsm_pkcs11::token::attempts::{self, Failures};
use mrhsm_pkcs11::token::files::{ATTEMPTS, TOKEN_KEY, TokenDir};

use super::app::{App, init_token, open, rows, served};
use crate::ffi::host::{Host, SO_PIN, USER_PIN, alone};
use crate::kmip_server::Personality;

/// Longest time that a process may take.
const PATIENCE: Duration = Duration::from_secs(60);

const USER_FLAGS: CK_FLAGS = CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY | CKF_USER_PIN_LOCKED;
const SO_FLAGS: CK_FLAGS = CKF_SO_PIN_COUNT_LOW | CKF_SO_PIN_FINAL_TRY | CKF_SO_PIN_LOCKED;

fn directory() -> TokenDir {
    TokenDir::at(std::env::var_os("MRHSM_TOKEN_DIR").unwrap())
}

/// A file token whose PINs are locked after `max` wrong ones.
fn token(host: &Host, max: u32) -> CK_SLOT_ID {
    let change = |config: &mut mrhsm_pkcs11::config::Config| {
        config.defaults.max_pin_failures = max;
        Ok(())
    };
    directory().update(change).unwrap();
    host.initialize();
    host.make_token()
}

/// A file of the only token's folder.
fn file(name: &str) -> PathBuf {
    let uuid = directory().load().unwrap().tokens[0].uuid.clone();
    directory().path().join(uuid).join(name)
}

/// What the file of attempts counts, those under way included.
fn counted() -> Failures {
    attempts::parse(&std::fs::read(file(ATTEMPTS)).unwrap_or_default())
}

fn flags(host: &Host, slot: CK_SLOT_ID) -> CK_FLAGS {
    host.token_info(slot).flags & (USER_FLAGS | SO_FLAGS)
}

/// A forked process, which ends with what `body` returns.
struct Child(libc::pid_t);

impl Child {
    fn run(body: impl FnOnce() -> u8) -> Child {
        // SAFETY: the child runs code of this test only, and ends with _exit.
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child == 0 {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
            // SAFETY: nothing of the parent's shall run at the child's exit.
            unsafe { libc::_exit(result.map_or(255, i32::from)) };
        }
        Child(child)
    }

    fn kill(&self) {
        // SAFETY: our own child, which is not waited for yet.
        unsafe { libc::kill(self.0, libc::SIGKILL) };
    }

    /// What it returned; `None` when a signal ended it.
    fn wait(self) -> Option<u8> {
        let (started, mut status) = (Instant::now(), 0);
        // SAFETY: our own child.
        while unsafe { libc::waitpid(self.0, &mut status, libc::WNOHANG) } == 0 {
            if started.elapsed() > PATIENCE {
                self.kill();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let returned = libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status) as u8);
        assert_ne!(returned, Some(255), "the child failed");
        returned
    }
}

/// A session of a process that begins anew.
fn anew(host: &Host, slot: CK_SLOT_ID) -> App<'_> {
    host.initialize();
    open(host, slot, true).unwrap()
}

#[test]
fn a_user_pin_is_locked_step_by_step_and_the_security_officer_unlocks_it() {
    alone(|host| {
        let slot = token(host, 4);
        let app = open(host, slot, true).unwrap();
        let low = CKF_USER_PIN_COUNT_LOW;
        assert_eq!(flags(host, slot), 0);
        // Each of the ways to try it counts, and a right one resets the counter.
        assert_eq!(app.login(CKU_USER, b"guess 1"), Err(CKR_PIN_INCORRECT));
        assert_eq!(flags(host, slot), low);
        assert_eq!(app.login(CKU_USER, USER_PIN), Ok(()));
        assert_eq!(flags(host, slot), 0);
        let pair = app.pair(
            CKM_EC_KEY_PAIR_GEN,
            &rows![CKA_EC_PARAMS: b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07"],
            &rows![CKA_ALWAYS_AUTHENTICATE: true, CKA_PRIVATE: true, CKA_SIGN: true],
        );
        app.sign_init(CKM_ECDSA, pair.unwrap().1).unwrap();
        assert_eq!(
            app.login(CKU_CONTEXT_SPECIFIC, b"guess 1"),
            Err(CKR_PIN_INCORRECT)
        );
        assert_eq!(flags(host, slot), low);
        assert_eq!(
            app.set_pin(b"guess 2", b"my own PIN"),
            Err(CKR_PIN_INCORRECT)
        );
        app.logout().unwrap();
        assert_eq!(app.login(CKU_USER, b"guess 3"), Err(CKR_PIN_INCORRECT));
        assert_eq!(flags(host, slot), low | CKF_USER_PIN_FINAL_TRY);
        assert_eq!(app.login(CKU_USER, b""), Err(CKR_PIN_INCORRECT));
        assert_eq!(flags(host, slot), low | CKF_USER_PIN_LOCKED);

        // Locked for the right PIN too, in every way, for other processes too.
        assert_eq!(app.login(CKU_USER, USER_PIN), Err(CKR_PIN_LOCKED));
        assert_eq!(app.set_pin(USER_PIN, b"my own PIN"), Err(CKR_PIN_LOCKED));
        let other = Child::run(|| {
            let app = anew(host, slot);
            u8::from(app.login(CKU_USER, USER_PIN) == Err(CKR_PIN_LOCKED))
        });
        assert_eq!(other.wait(), Some(1));
        assert_eq!(counted().user, 4, "refused attempts do not count");

        assert_eq!(app.login(CKU_SO, SO_PIN), Ok(()));
        assert_eq!(flags(host, slot), low | CKF_USER_PIN_LOCKED);
        assert_eq!(app.init_pin(b"a new user PIN"), Ok(()));
        assert_eq!(flags(host, slot), 0);
        app.logout().unwrap();
        assert_eq!(app.login(CKU_USER, b"a new user PIN"), Ok(()));
        host.finalize();
    });
}

#[test]
fn a_locked_so_pin_stays_locked_and_the_user_goes_on() {
    alone(|host| {
        let slot = token(host, 3);
        let app = open(host, slot, true).unwrap();
        let low = CKF_SO_PIN_COUNT_LOW;
        assert_eq!(app.login(CKU_SO, b"guess 1"), Err(CKR_PIN_INCORRECT));
        assert_eq!(flags(host, slot), low);
        assert_eq!(app.login(CKU_SO, SO_PIN), Ok(()));
        assert_eq!(
            app.set_pin(b"guess 1", b"a new SO PIN"),
            Err(CKR_PIN_INCORRECT)
        );
        app.close().unwrap();
        assert_eq!(
            init_token(host, slot, b"guess 2", "again"),
            Err(CKR_PIN_INCORRECT)
        );
        assert_eq!(flags(host, slot), low | CKF_SO_PIN_FINAL_TRY);
        assert_eq!(
            init_token(host, slot, b"guess 3", "again"),
            Err(CKR_PIN_INCORRECT)
        );
        assert_eq!(flags(host, slot), low | CKF_SO_PIN_LOCKED);
        assert_eq!(init_token(host, slot, SO_PIN, "again"), Err(CKR_PIN_LOCKED));
        let app = open(host, slot, true).unwrap();
        assert_eq!(app.login(CKU_SO, SO_PIN), Err(CKR_PIN_LOCKED));
        assert_eq!(app.login(CKU_USER, USER_PIN), Ok(()));
        assert_eq!(flags(host, slot), low | CKF_SO_PIN_LOCKED);
        host.finalize();
    });
}

#[test]
fn processes_that_guess_in_parallel_gain_nothing_and_delay_nobody_for_long() {
    alone(|host| {
        let slot = token(host, 0);
        host.finalize();
        const GUESSERS: usize = 5;
        let until = Instant::now() + Duration::from_secs(8);
        let guess = || {
            Child::run(|| {
                let app = anew(host, slot);
                let mut wrong = 0;
                while Instant::now() < until {
                    match app.login(CKU_USER, b"a guess") {
                        Err(CKR_PIN_INCORRECT) => wrong += 1,
                        // Its turn did not come within the token's deadline.
                        Err(CKR_DEVICE_ERROR) => {}
                        other => panic!("{other:?}"),
                    }
                }
                wrong
            })
        };
        let started = Instant::now();
        let guessers: Vec<Child> = (0..GUESSERS).map(|_| guess()).collect();
        let answered: u32 = guessers
            .into_iter()
            .map(|child| u32::from(child.wait().unwrap()))
            .sum();
        assert_eq!(counted().user, answered, "each is counted, and no other");
        assert!(answered >= 2, "somebody's turn comes");
        // They began a second after each other.
        let seconds = started.elapsed().as_secs() as u32;
        assert!(answered <= seconds + 1, "{answered} in {seconds} s");

        // Who has the right PIN comes first among those who were wrong.
        let until = Instant::now() + Duration::from_secs(8);
        let guess = || {
            Child::run(|| {
                let app = anew(host, slot);
                while Instant::now() < until {
                    let _ = app.login(CKU_USER, b"a guess");
                }
                0
            })
        };
        let guesser = guess();
        let before = counted().user;
        while counted().user == before {
            std::thread::sleep(Duration::from_millis(2));
        }
        let app = anew(host, slot);
        assert_eq!(app.login(CKU_USER, USER_PIN), Ok(()));
        guesser.kill();
        guesser.wait();
        host.finalize();
    });
}

#[test]
fn an_attempt_that_is_killed_is_counted() {
    alone(|host| {
        let slot = token(host, 0);
        host.finalize();
        // A killed attempt may have been about to tell the answer. Whether it is killed in time is luck: so several tries.
        let killed = (0..50).any(|_| {
            let child = Child::run(|| {
                let app = anew(host, slot);
                u8::from(app.login(CKU_USER, USER_PIN) == Ok(()))
            });
            let started = Instant::now();
            while counted().user == 0 && started.elapsed() < Duration::from_secs(2) {
                std::thread::yield_now();
            }
            child.kill();
            child.wait();
            counted().user == 1
        });
        assert!(killed);
        let app = anew(host, slot);
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(flags(host, slot), CKF_USER_PIN_COUNT_LOW);
        assert_eq!(app.login(CKU_USER, USER_PIN), Ok(()));
        assert_eq!((flags(host, slot), counted().user), (0, 0));
        host.finalize();
    });
}

/// Limits a resource of this process.
fn limit(resource: libc::__rlimit_resource_t, bytes: u64) {
    let limit = libc::rlimit {
        rlim_cur: bytes,
        rlim_max: bytes,
    };
    // SAFETY: reads a structure of ours.
    assert_eq!(unsafe { libc::setrlimit(resource, &limit) }, 0);
}

#[test]
fn where_nothing_may_be_written_each_process_paces_and_counts_itself() {
    alone(|host| {
        let slot = token(host, 3);
        host.finalize();
        std::fs::remove_file(file(ATTEMPTS)).unwrap();
        let sandboxed = Child::run(|| {
            // The kernel would end the process for a write.
            limit(libc::RLIMIT_FSIZE, 0);
            let app = anew(host, slot);
            let guess = || assert_eq!(app.login(CKU_USER, b"a guess"), Err(CKR_PIN_INCORRECT));
            let started = Instant::now();
            guess();
            assert_eq!(flags(host, slot), CKF_USER_PIN_COUNT_LOW);
            guess();
            assert!(started.elapsed() >= Duration::from_millis(950));
            assert_eq!(
                flags(host, slot),
                CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY
            );
            guess();
            assert_eq!(app.login(CKU_USER, USER_PIN), Err(CKR_PIN_LOCKED));
            1
        });
        assert_eq!(sandboxed.wait(), Some(1));
        assert!(!file(ATTEMPTS).exists());
        // Another process knows nothing of it.
        assert_eq!(anew(host, slot).login(CKU_USER, USER_PIN), Ok(()));
        host.finalize();
    });
}

#[test]
fn a_login_without_memory_for_argon2_is_an_error_and_not_the_end_of_the_process() {
    alone(|host| {
        let slot = token(host, 0);
        host.finalize();
        let text = std::fs::read_to_string(file(TOKEN_KEY)).unwrap();
        // More than an allocator may have kept of what was freed.
        let hungry = text
            .lines()
            .map(|line| match line.starts_with("memory_kib") {
                true => "memory_kib = 1048576\n".to_owned(),
                false => format!("{line}\n"),
            });
        std::fs::write(file(TOKEN_KEY), hungry.collect::<String>()).unwrap();
        let starved = Child::run(|| {
            let app = anew(host, slot);
            let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
            let pages: u64 = statm.split(' ').next().unwrap().parse().unwrap();
            limit(libc::RLIMIT_AS, pages * 4096 + (64 << 20));
            u8::from(app.login(CKU_USER, USER_PIN) == Err(CKR_HOST_MEMORY))
        });
        assert_eq!(starved.wait(), Some(1));
        assert_eq!(counted().user, 0, "the PIN was not checked");
        std::fs::write(file(TOKEN_KEY), text).unwrap();
        assert_eq!(anew(host, slot).login(CKU_USER, USER_PIN), Ok(()));
        host.finalize();
    });
}

#[test]
fn after_init_token_old_copies_do_not_open() {
    alone(|host| {
        let slot = token(host, 0);
        let app = open(host, slot, true).unwrap();
        app.login(CKU_USER, USER_PIN).unwrap();
        let secret = rows![CKA_CLASS: CKO_DATA, CKA_TOKEN: true, CKA_PRIVATE: true, CKA_VALUE: b"an old secret"];
        app.create(&secret).unwrap();
        app.close().unwrap();
        let names = ["objects.db", "objects.db-wal", TOKEN_KEY];
        let old = names.map(|name| std::fs::read(file(name)).unwrap());
        assert_eq!(init_token(host, slot, SO_PIN, "anew"), Ok(()));
        assert_ne!(std::fs::read(file(TOKEN_KEY)).unwrap(), old[2]);
        // Nothing of it is left in the directory.
        let mut folders = vec![directory().path().to_path_buf()];
        while let Some(folder) = folders.pop() {
            for path in std::fs::read_dir(folder)
                .unwrap()
                .map(|e| e.unwrap().path())
            {
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let content = std::fs::read(&path).unwrap();
                    assert!(
                        content.is_empty() || !old.contains(&content),
                        "{}",
                        path.display()
                    );
                }
            }
        }
        let app = open(host, slot, true).unwrap();
        app.login(CKU_SO, SO_PIN).unwrap();
        app.init_pin(USER_PIN).unwrap();
        app.logout().unwrap();
        app.login(CKU_USER, USER_PIN).unwrap();
        assert_eq!(app.find(&rows![]), Ok(vec![]));
        app.create(&secret).unwrap();
        app.close().unwrap();

        // An old copy of the objects does not open under the same PIN.
        std::fs::remove_file(file("objects.lock")).unwrap();
        for (name, content) in names.iter().zip(&old).take(2) {
            std::fs::write(file(name), content).unwrap();
        }
        let app = open(host, slot, true).unwrap();
        app.login(CKU_USER, USER_PIN).unwrap();
        assert!(app.find(&rows![]).is_err());
        host.finalize();
    });
}

#[test]
fn init_token_keeps_the_identity_that_the_servers_know() {
    alone(|host| {
        let (_server, slot, app) = served(host, Personality::standard());
        let key = rows![CKA_TOKEN: true, CKA_VALUE_LEN: 32 as CK_ULONG];
        app.generate(CKM_AES_KEY_GEN, &key).unwrap();
        app.close().unwrap();
        assert_eq!(init_token(host, slot, SO_PIN, "anew"), Ok(()));
        let app = open(host, slot, true).unwrap();
        app.login(CKU_SO, SO_PIN).unwrap();
        app.init_pin(b"a new user PIN").unwrap();
        app.logout().unwrap();
        assert_eq!(app.login(CKU_USER, b"a new user PIN"), Ok(()));
        assert_eq!(app.find(&rows![CKA_CLASS: CKO_SECRET_KEY]), Ok(vec![]));
        app.generate(CKM_AES_KEY_GEN, &key).unwrap();
        host.finalize();
    });
}
