//! Many threads with a session each and all kinds of calls, on a server that is slow, that dies, and while others log out, close
//! sessions and finalize.

use std::collections::HashMap;
use std::ptr::null_mut;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mrhsm_pkcs11::ck::*;

use super::host::{Host, USER_PIN, alone, attribute, ck, kmip_token, mechanism};
use crate::kmip_server::{Personality, Script, Server};

const THREADS: usize = 16;
/// The threads wait for their server; none of them shall give up.
const DEADLINE: Duration = Duration::from_secs(60);

fn name(label: &mut str) -> CK_ATTRIBUTE {
    // SAFETY: only read by the module.
    let bytes = unsafe { label.as_bytes_mut() };
    CK_ATTRIBUTE {
        type_: CKA_LABEL,
        pValue: bytes.as_mut_ptr().cast(),
        ulValueLen: bytes.len() as CK_ULONG,
    }
}

/// A thread of the crowd: its session, and the one key that it has.
struct Member<'a> {
    host: &'a Host,
    session: CK_SESSION_HANDLE,
    label: String,
    key: CK_OBJECT_HANDLE,
}

/// What a member does with its key, one call to the server after the other.
const CALLS: &[fn(&mut Member<'_>) -> CK_RV] = &[
    |member| member.generate(),
    |member| member.find(),
    |member| member.encrypt(),
    |member| member.sign(),
    |member| member.attributes(),
    |member| member.rename(),
    |member| member.find(),
    |member| member.destroy(),
];

impl Member<'_> {
    fn new(host: &Host, slot: CK_SLOT_ID, label: String) -> Member<'_> {
        Member {
            host,
            session: host.open(slot),
            label,
            key: 0,
        }
    }

    /// An AES-256 key that stays on the server.
    fn generate(&mut self) -> CK_RV {
        let (host, mut len, mut yes, mut no) = (self.host, 32 as CK_ULONG, CK_TRUE, CK_FALSE);
        let mut template = [
            name(&mut self.label),
            attribute(CKA_VALUE_LEN, &mut len),
            attribute(CKA_TOKEN, &mut yes),
            attribute(CKA_SENSITIVE, &mut yes.clone()),
            attribute(CKA_SIGN, &mut yes.clone()),
            attribute(CKA_EXTRACTABLE, &mut no),
        ];
        let (mut generate, count) = (mechanism(CKM_AES_KEY_GEN), template.len() as CK_ULONG);
        ck!(host.C_GenerateKey(
            self.session,
            &mut generate,
            template.as_mut_ptr(),
            count,
            &mut self.key
        ))
    }

    fn find(&mut self) -> CK_RV {
        self.count().err().unwrap_or(CKR_OK)
    }

    /// How many objects have its key's label.
    fn count(&mut self) -> Result<CK_ULONG, CK_RV> {
        let host = self.host;
        let (mut template, mut found, mut count) = ([name(&mut self.label)], [0; 4], 0);
        let good = |rv| if rv == CKR_OK { Ok(()) } else { Err(rv) };
        good(ck!(host.C_FindObjectsInit(
            self.session,
            template.as_mut_ptr(),
            1
        )))?;
        good(ck!(host.C_FindObjects(
            self.session,
            found.as_mut_ptr(),
            4,
            &mut count
        )))?;
        good(ck!(host.C_FindObjectsFinal(self.session)))?;
        assert!(count <= 1, "{}: {count} twins", self.label);
        Ok(count)
    }

    fn encrypt(&mut self) -> CK_RV {
        let (host, mut iv, mut text, mut out, mut len) =
            (self.host, [1u8; 16], [7u8; 32], [0u8; 64], 64);
        let mut cbc = CK_MECHANISM {
            pParameter: iv.as_mut_ptr().cast(),
            ulParameterLen: 16,
            ..mechanism(CKM_AES_CBC_PAD)
        };
        match ck!(host.C_EncryptInit(self.session, &mut cbc, self.key)) {
            CKR_OK => ck!(host.C_Encrypt(
                self.session,
                text.as_mut_ptr(),
                32,
                out.as_mut_ptr(),
                &mut len
            )),
            refused => refused,
        }
    }

    fn sign(&mut self) -> CK_RV {
        let (host, mut text, mut out, mut len) = (self.host, [7u8; 32], [0u8; 16], 16);
        match ck!(host.C_SignInit(self.session, &mut mechanism(CKM_AES_CMAC), self.key)) {
            CKR_OK => ck!(host.C_Sign(
                self.session,
                text.as_mut_ptr(),
                32,
                out.as_mut_ptr(),
                &mut len
            )),
            refused => refused,
        }
    }

    fn attributes(&mut self) -> CK_RV {
        let (host, mut check, mut class) = (self.host, [0u8; 3], 0 as CK_ULONG);
        let mut rows = [
            attribute(CKA_CLASS, &mut class),
            attribute(CKA_CHECK_VALUE, &mut check),
        ];
        ck!(host.C_GetAttributeValue(self.session, self.key, rows.as_mut_ptr(), 2))
    }

    fn rename(&mut self) -> CK_RV {
        let (host, mut label) = (self.host, format!("{} renamed", self.label));
        let rv = ck!(host.C_SetAttributeValue(
            self.session,
            self.key,
            [name(&mut label)].as_mut_ptr(),
            1
        ));
        if rv == CKR_OK {
            self.label = label;
        }
        rv
    }

    fn destroy(&mut self) -> CK_RV {
        let host = self.host;
        ck!(host.C_DestroyObject(self.session, self.key))
    }
}

/// How often each label is there, of all objects that the token has.
fn labels(host: &Host, slot: CK_SLOT_ID) -> HashMap<String, usize> {
    let (session, mut found, mut there) = (host.open(slot), [0; 64], HashMap::new());
    assert_eq!(ck!(host.C_FindObjectsInit(session, null_mut(), 0)), CKR_OK);
    loop {
        let mut count = 0;
        assert_eq!(
            ck!(host.C_FindObjects(session, found.as_mut_ptr(), 64, &mut count)),
            CKR_OK
        );
        for &object in &found[..count as usize] {
            let mut label = [0u8; 64];
            let mut row = [attribute(CKA_LABEL, &mut label)];
            assert_eq!(
                ck!(host.C_GetAttributeValue(session, object, row.as_mut_ptr(), 1)),
                CKR_OK
            );
            let label = str::from_utf8(&label[..row[0].ulValueLen as usize]).unwrap();
            *there.entry(label.to_string()).or_default() += 1;
        }
        if count == 0 {
            break;
        }
    }
    assert_eq!(ck!(host.C_FindObjectsFinal(session)), CKR_OK);
    assert_eq!(ck!(host.C_CloseSession(session)), CKR_OK);
    there
}

/// A server and a token on it whose user is logged in, warm: what is proven once about a server is proven.
fn warm(host: &Host, deadline: Duration) -> (Server, CK_SLOT_ID) {
    let server = Server::start(Personality::standard(), Script::none());
    let slot = kmip_token(server.port(), deadline);
    host.initialize();
    let keeper = host.open(slot);
    assert_eq!(host.login(keeper, CKU_USER, USER_PIN), CKR_OK);
    let mut first = Member::new(host, slot, "first".into());
    for call in CALLS {
        assert_eq!(call(&mut first), CKR_OK);
    }
    (server, slot)
}

/// One thread after the other would never be answered: the server wants to have all their requests at once.
#[test]
fn no_call_waits_for_the_answer_to_another_thread() {
    alone(|host| {
        let (server, slot) = warm(host, DEADLINE);
        let start = Barrier::new(THREADS);
        for (number, call) in CALLS.iter().enumerate() {
            server.gather(0);
            let members = (0..THREADS)
                .map(|thread| Member::new(host, slot, format!("key {thread}.{number}")));
            let mut members: Vec<_> = members.collect();
            thread::scope(|scope| {
                for member in &mut members {
                    scope.spawn(move || {
                        CALLS[..number]
                            .iter()
                            .for_each(|earlier| assert_eq!(earlier(member), CKR_OK))
                    });
                }
            });
            server.clear_log();
            server.gather(THREADS);
            let started = Instant::now();
            thread::scope(|scope| {
                for member in &mut members {
                    let start = &start;
                    scope.spawn(move || {
                        start.wait();
                        assert_eq!(call(member), CKR_OK);
                    });
                }
            });
            let (requests, took) = (server.count(), started.elapsed());
            assert_eq!(
                server.gathered() * THREADS,
                requests,
                "call {number}: {took:?} for {:?}",
                server.operations()
            );
        }
        server.gather(0);
        host.finalize();
    });
}

#[test]
fn sixteen_threads_take_hardly_longer_than_one() {
    const WORK: Duration = Duration::from_millis(50);
    alone(|host| {
        let (server, slot) = warm(host, DEADLINE);
        let run = |label: String| {
            let mut member = Member::new(host, slot, label);
            CALLS
                .iter()
                .for_each(|call| assert_eq!(call(&mut member), CKR_OK));
        };
        server.slow_down(WORK);
        let started = Instant::now();
        run("alone".into());
        let alone = started.elapsed();
        server.slow_down(WORK);
        let started = Instant::now();
        thread::scope(|scope| {
            (0..THREADS).for_each(|number| drop(scope.spawn(move || run(format!("key {number}")))));
        });
        let together = started.elapsed();
        assert!(
            server.most_at_once() >= THREADS / 2,
            "{} at once",
            server.most_at_once()
        );
        // One after the other they would take sixteen times as long; a busy machine may well take a few times.
        assert!(
            together < alone * THREADS as u32 / 2,
            "{alone:?} alone, {together:?} together"
        );
        server.slow_down(Duration::ZERO);
        host.finalize();
    });
}

/// Whatever of a key is told to have been made is there, once, and whatever is told to have failed is not there twice.
#[test]
fn a_host_that_dies_and_comes_back_loses_no_key() {
    const PATIENCE: Duration = Duration::from_secs(2);
    alone(|host| {
        let (server, slot) = warm(host, PATIENCE);
        let stop = &AtomicBool::new(false);
        let work = &|number: usize| {
            let (mut kept, mut failed) = (Vec::new(), Vec::new());
            for round in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let mut member = Member::new(host, slot, format!("key {number}.{round}"));
                for (index, call) in CALLS[..5].iter().enumerate() {
                    let started = Instant::now();
                    let rv = call(&mut member);
                    assert!(
                        started.elapsed() < PATIENCE * 3,
                        "call {index} took {:?}",
                        started.elapsed()
                    );
                    let known = [CKR_OK, CKR_DEVICE_ERROR, CKR_DEVICE_REMOVED];
                    assert!(known.contains(&rv), "call {index}: {}", rv_name(rv));
                    match (index, rv) {
                        (0, CKR_OK) => kept.push(member.label.clone()),
                        (_, CKR_OK) => {}
                        (0, _) => {
                            failed.push(member.label.clone());
                            break;
                        }
                        _ => break,
                    }
                }
                assert_eq!(ck!(host.C_CloseSession(member.session)), CKR_OK);
            }
            (kept, failed)
        };
        let done: Vec<(Vec<String>, Vec<String>)> = thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|number| scope.spawn(move || work(number)))
                .collect();
            for _ in 0..3 {
                thread::sleep(Duration::from_millis(300));
                server.stop();
                thread::sleep(Duration::from_millis(300));
                server.restart();
            }
            thread::sleep(Duration::from_millis(300));
            stop.store(true, Ordering::Relaxed);
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        let there = labels(host, slot);
        let count = |label: &String| there.get(label).copied().unwrap_or(0);
        for label in done.iter().flat_map(|(kept, _)| kept) {
            assert_eq!(count(label), 1, "{label}");
        }
        assert!(
            done.iter().any(|(_, failed)| !failed.is_empty()),
            "the host died unnoticed"
        );
        for label in done.iter().flat_map(|(_, failed)| failed) {
            assert!(count(label) <= 1, "{label}");
        }
        // And all is as before.
        let mut member = Member::new(host, slot, "afterwards".into());
        CALLS
            .iter()
            .for_each(|call| assert_eq!(call(&mut member), CKR_OK));
        host.finalize();
    });
}

/// Others log out, close all sessions and finalize: calls fail as they must, none hangs, and nothing is left over.
#[test]
fn others_may_log_out_close_sessions_and_finalize() {
    alone(|host| {
        host.initialize();
        let slot = host.make_token();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for number in 0..8 {
                let stop = &stop;
                scope.spawn(move || {
                    for round in 0.. {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        let (mut session, flags) = (0, CKF_SERIAL_SESSION | CKF_RW_SESSION);
                        let rv =
                            ck!(host.C_OpenSession(slot, flags, null_mut(), None, &mut session));
                        assert!(
                            [CKR_OK, CKR_CRYPTOKI_NOT_INITIALIZED].contains(&rv),
                            "{}",
                            rv_name(rv)
                        );
                        let mut member = Member {
                            host,
                            session,
                            label: format!("key {number}.{round}"),
                            key: 0,
                        };
                        for call in CALLS {
                            let rv = call(&mut member);
                            let known = [
                                CKR_OK,
                                CKR_CRYPTOKI_NOT_INITIALIZED,
                                CKR_SESSION_HANDLE_INVALID,
                                CKR_SESSION_CLOSED,
                                CKR_USER_NOT_LOGGED_IN,
                                CKR_OBJECT_HANDLE_INVALID,
                                CKR_KEY_HANDLE_INVALID,
                                CKR_OPERATION_NOT_INITIALIZED,
                            ];
                            assert!(known.contains(&rv), "{}", rv_name(rv));
                        }
                    }
                });
            }
            for round in 0..12 {
                let mut session = 0;
                let rv = ck!(host.C_OpenSession(
                    slot,
                    CKF_SERIAL_SESSION,
                    null_mut(),
                    None,
                    &mut session
                ));
                assert_eq!(rv, CKR_OK);
                assert_eq!(host.login(session, CKU_USER, USER_PIN), CKR_OK);
                thread::sleep(Duration::from_millis(50));
                match round % 3 {
                    0 => assert_eq!(ck!(host.C_Logout(session)), CKR_OK),
                    1 => {}
                    _ => {
                        host.finalize();
                        host.initialize();
                    }
                }
                assert_eq!(ck!(host.C_CloseAllSessions(slot)), CKR_OK);
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert_eq!(ck!(host.C_CloseAllSessions(slot)), CKR_OK);
        let mut info = CK_SESSION_INFO::default();
        let session = host.open(slot);
        assert_eq!(ck!(host.C_GetSessionInfo(session, &mut info)), CKR_OK);
        assert_eq!(info.state, CKS_RW_PUBLIC_SESSION);
        host.finalize();
    });
}
