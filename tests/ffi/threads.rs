//! Many threads in one module.

use std::ptr::null_mut;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use mrhsm_pkcs11::ck::*;

use super::host::{USER_PIN, alone, attribute, ck, kmip_token, mechanism};

const THREADS: usize = 16;

#[test]
fn of_many_that_initialize_one_does() {
    alone(|host| {
        for _ in 0..50 {
            let start = Barrier::new(THREADS);
            let results: Vec<CK_RV> = thread::scope(|scope| {
                let race = || {
                    start.wait();
                    ck!(host.C_Initialize(null_mut()))
                };
                let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(race)).collect();
                threads
                    .into_iter()
                    .map(|thread| thread.join().unwrap())
                    .collect()
            });
            assert_eq!(results.iter().filter(|rv| **rv == CKR_OK).count(), 1);
            assert_eq!(
                results
                    .iter()
                    .filter(|rv| **rv == CKR_CRYPTOKI_ALREADY_INITIALIZED)
                    .count(),
                THREADS - 1
            );
            host.finalize();
        }
    });
}

#[test]
fn calls_under_way_outlive_finalize() {
    alone(|host| {
        host.initialize();
        let slot = host.make_token();
        host.finalize();
        for _ in 0..10 {
            host.initialize();
            let start = Barrier::new(5);
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        start.wait();
                        loop {
                            let (mut info, mut session) = (CK_TOKEN_INFO::default(), 0);
                            let rv = ck!(host.C_GetTokenInfo(slot, &mut info));
                            if rv == CKR_CRYPTOKI_NOT_INITIALIZED {
                                break;
                            }
                            assert_eq!(rv, CKR_OK);
                            let rv = ck!(host.C_OpenSession(
                                slot,
                                CKF_SERIAL_SESSION,
                                null_mut(),
                                None,
                                &mut session
                            ));
                            assert!(
                                [CKR_OK, CKR_CRYPTOKI_NOT_INITIALIZED].contains(&rv),
                                "{rv:#x}"
                            );
                        }
                    });
                }
                start.wait();
                thread::sleep(Duration::from_millis(5));
                host.finalize();
            });
        }
    });
}

#[test]
fn finalize_ends_a_wait_for_a_slot_event() {
    alone(|host| {
        host.initialize();
        let mut slot = 0;
        assert_eq!(
            ck!(host.C_WaitForSlotEvent(CKF_DONT_BLOCK, &mut slot, null_mut())),
            CKR_NO_EVENT
        );
        thread::scope(|scope| {
            let waiting = scope.spawn(|| ck!(host.C_WaitForSlotEvent(0, &mut 0, null_mut())));
            thread::sleep(Duration::from_millis(100));
            assert!(!waiting.is_finished());
            let started = Instant::now();
            host.finalize();
            assert_eq!(waiting.join().unwrap(), CKR_CRYPTOKI_NOT_INITIALIZED);
            assert!(started.elapsed() < Duration::from_secs(5));
        });
    });
}

/// Tokens come and go by other processes: here by the functions that `mrhsm init` calls, behind the module's back.
#[test]
fn a_wait_for_a_slot_event_ends_when_a_token_comes_or_goes() {
    alone(|host| {
        host.initialize();
        let event = |flags| {
            let mut slot = 0;
            (
                ck!(host.C_WaitForSlotEvent(flags, &mut slot, null_mut())),
                slot,
            )
        };
        let first = kmip_token(1, Duration::from_secs(1));
        assert_eq!(event(CKF_DONT_BLOCK), (CKR_OK, first));
        assert_eq!(event(CKF_DONT_BLOCK).0, CKR_NO_EVENT);
        let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
        let before = threads();
        let mut both = [first; 2];
        thread::scope(|scope| {
            let waiting = scope.spawn(|| event(0));
            thread::sleep(Duration::from_millis(300));
            assert!(!waiting.is_finished());
            assert_eq!(threads(), before + 1, "only the application's own");
            let second = kmip_token(1, Duration::from_secs(1));
            assert_eq!(waiting.join().unwrap(), (CKR_OK, second));
            assert_ne!(second, first);
            both[1] = second;
            both.sort_unstable();
        });
        let directory = std::env::var_os("MRHSM_TOKEN_DIR").unwrap();
        let configuration = std::path::Path::new(&directory).join("mrhsm.conf");
        let text = std::fs::read_to_string(&configuration).unwrap();
        let (first_token, end) = (
            text.find("[[token]]").unwrap(),
            text.rfind("\n# End").unwrap(),
        );
        std::fs::write(
            &configuration,
            [&text[..first_token], &text[end..]].concat(),
        )
        .unwrap();
        let mut gone = [event(0).1, event(0).1];
        gone.sort_unstable();
        assert_eq!(gone, both);
        assert_eq!(event(CKF_DONT_BLOCK).0, CKR_NO_EVENT);
        host.finalize();
    });
}

#[test]
fn threads_with_sessions_of_their_own_do_not_see_each_other() {
    alone(|host| {
        host.initialize();
        let slot = host.make_token();
        let keeper = host.open(slot);
        assert_eq!(host.login(keeper, CKU_USER, USER_PIN), CKR_OK);
        thread::scope(|scope| {
            for number in 0..THREADS {
                scope.spawn(move || {
                    let session = host.open(slot);
                    let key = host.aes_key(session);
                    for round in 0..50u8 {
                        let mut iv = [round; 16];
                        let mut cbc = CK_MECHANISM {
                            pParameter: iv.as_mut_ptr().cast(),
                            ulParameterLen: 16,
                            ..mechanism(CKM_AES_CBC_PAD)
                        };
                        let mut text = [number as u8; 100];
                        let (mut secret, mut plain) = ([0u8; 112], [0u8; 112]);
                        let (mut len, mut plain_len) = (112, 112);
                        assert_eq!(ck!(host.C_EncryptInit(session, &mut cbc, key)), CKR_OK);
                        assert_eq!(
                            ck!(host.C_Encrypt(
                                session,
                                text.as_mut_ptr(),
                                100,
                                secret.as_mut_ptr(),
                                &mut len
                            )),
                            CKR_OK
                        );
                        assert_eq!(ck!(host.C_DecryptInit(session, &mut cbc, key)), CKR_OK);
                        assert_eq!(
                            ck!(host.C_Decrypt(
                                session,
                                secret.as_mut_ptr(),
                                len,
                                plain.as_mut_ptr(),
                                &mut plain_len
                            )),
                            CKR_OK
                        );
                        assert_eq!((plain_len, &plain[..100]), (100, &text[..]));
                    }
                    assert_eq!(ck!(host.C_CloseSession(session)), CKR_OK);
                });
            }
        });
        host.finalize();
    });
}

/// More threads than any pool has connections or any lock likes: what each makes it finds, uses, changes and destroys, beside all others.
#[test]
fn a_crowd_makes_and_destroys_keys() {
    const CROWD: usize = 64;
    const ROUNDS: usize = 5;
    alone(|host| {
        host.initialize();
        let slot = host.make_token();
        let keeper = host.open(slot);
        assert_eq!(host.login(keeper, CKU_USER, USER_PIN), CKR_OK);
        let found = |session, label: &mut [u8]| {
            let mut template = [CK_ATTRIBUTE {
                type_: CKA_LABEL,
                pValue: label.as_mut_ptr().cast(),
                ulValueLen: label.len() as CK_ULONG,
            }];
            let (mut handles, mut count) = ([0; 8], 0);
            assert_eq!(
                ck!(host.C_FindObjectsInit(session, template.as_mut_ptr(), 1)),
                CKR_OK
            );
            assert_eq!(
                ck!(host.C_FindObjects(session, handles.as_mut_ptr(), 8, &mut count)),
                CKR_OK
            );
            assert_eq!(ck!(host.C_FindObjectsFinal(session)), CKR_OK);
            handles[..count as usize].to_vec()
        };
        thread::scope(|scope| {
            for number in 0..CROWD {
                scope.spawn(move || {
                    let session = host.open(slot);
                    for round in 0..ROUNDS {
                        let mut label = format!("key {number}.{round}").into_bytes();
                        let mut renamed = format!("again {number}.{round}").into_bytes();
                        let (mut yes, mut length) = (CK_TRUE, 32 as CK_ULONG);
                        let name = |value: &mut Vec<u8>| CK_ATTRIBUTE {
                            type_: CKA_LABEL,
                            pValue: value.as_mut_ptr().cast(),
                            ulValueLen: value.len() as CK_ULONG,
                        };
                        let mut template = [
                            attribute(CKA_TOKEN, &mut yes),
                            attribute(CKA_VALUE_LEN, &mut length),
                            name(&mut label),
                        ];
                        let mut key = 0;
                        let rv = ck!(host.C_GenerateKey(
                            session,
                            &mut mechanism(CKM_AES_KEY_GEN),
                            template.as_mut_ptr(),
                            3,
                            &mut key
                        ));
                        assert_eq!(rv, CKR_OK);
                        assert_eq!(found(session, &mut label), [key]);
                        let (mut text, mut secret, mut len) = ([round as u8; 32], [0u8; 32], 32);
                        assert_eq!(
                            ck!(host.C_EncryptInit(session, &mut mechanism(CKM_AES_ECB), key)),
                            CKR_OK
                        );
                        assert_eq!(
                            ck!(host.C_Encrypt(
                                session,
                                text.as_mut_ptr(),
                                32,
                                secret.as_mut_ptr(),
                                &mut len
                            )),
                            CKR_OK
                        );
                        let mut change = [name(&mut renamed)];
                        assert_eq!(
                            ck!(host.C_SetAttributeValue(session, key, change.as_mut_ptr(), 1)),
                            CKR_OK
                        );
                        assert!(found(session, &mut label).is_empty());
                        assert_eq!(found(session, &mut renamed), [key]);
                        assert_eq!(ck!(host.C_DestroyObject(session, key)), CKR_OK);
                        assert!(found(session, &mut renamed).is_empty());
                    }
                    assert_eq!(ck!(host.C_CloseSession(session)), CKR_OK);
                });
            }
        });
        host.finalize();
    });
}
