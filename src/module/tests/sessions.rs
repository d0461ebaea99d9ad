//! Slots, sessions, login and PINs.

use super::*;

#[test]
fn slots_tokens_and_their_initialisation() {
    let bench = Bench::new();
    let m = &bench.module;
    let slots = m.slot_list(true, true).unwrap();
    assert_eq!(slots, [bench.slot, 1]);
    let info = m.token_info(bench.slot).unwrap();
    let wanted = CKF_RNG | CKF_LOGIN_REQUIRED | CKF_TOKEN_INITIALIZED | CKF_USER_PIN_INITIALIZED;
    assert_eq!(info.flags & wanted, wanted);
    assert_eq!(&info.label, b"bench                           ");
    assert_eq!((info.ulMinPinLen, info.ulMaxPinLen), (4, 255));
    assert_eq!(m.token_info(1).unwrap().flags & CKF_TOKEN_INITIALIZED, 0);
    refused(m.slot_info(77), CKR_SLOT_ID_INVALID);
    refused(m.open_session(1, RW), CKR_TOKEN_NOT_RECOGNIZED);
    refused(
        m.wait_for_slot_event(CKF_DONT_BLOCK)
            .and(m.wait_for_slot_event(CKF_DONT_BLOCK)),
        CKR_NO_EVENT,
    );

    let label = b"again                           ";
    refused(
        m.init_token(bench.slot, Some(b"wrong-pin"), label),
        CKR_PIN_INCORRECT,
    );
    let h = bench.user();
    let key = bench.generate(h, CKM_AES_KEY_GEN, &[AES_256, (CKA_TOKEN, YES)]);
    assert_ne!(key, 0);
    assert_eq!(m.token_info(bench.slot).unwrap().ulRwSessionCount, 1);
    refused(
        m.init_token(bench.slot, Some(SO_PIN), label),
        CKR_SESSION_EXISTS,
    );
    m.close_all_sessions(bench.slot).unwrap();
    bench.store.foreign("theirs", &foreign_key(), &[1; 32]);
    refused(
        m.init_token(bench.slot, Some(SO_PIN), &[b' '; 32]),
        CKR_ARGUMENTS_BAD,
    );
    assert_eq!(bench.store.len(), 2, "a refused call destroys nothing");
    m.init_token(bench.slot, Some(SO_PIN), label).unwrap();
    assert_eq!(&m.token_info(bench.slot).unwrap().label, label);
    assert_eq!(bench.store.len(), 1, "objects of other clients stay");
    assert_eq!(
        m.token_info(bench.slot).unwrap().flags & CKF_USER_PIN_INITIALIZED,
        0
    );
    let h = m.open_session(bench.slot, RW).unwrap();
    refused(
        m.login(h, CKU_USER, Some(PIN)),
        CKR_USER_PIN_NOT_INITIALIZED,
    );
    refused(m.set_pin(h, Some(PIN), Some(b"another")), CKR_PIN_INCORRECT);
}

#[test]
fn objects_that_somebody_else_destroys_do_not_stop_a_token_from_being_made_anew() {
    let bench = Bench::new();
    let h = bench.user();
    bench.generate(h, CKM_AES_KEY_GEN, &[AES_256, (CKA_TOKEN, YES)]);
    bench.module.close_all_sessions(bench.slot).unwrap();
    bench.store.late.store(true, Ordering::Relaxed);
    bench
        .module
        .init_token(
            bench.slot,
            Some(SO_PIN),
            b"again                           ",
        )
        .unwrap();
    assert_eq!(bench.store.len(), 0);
}

#[test]
fn sessions_share_the_login_of_their_token() {
    let bench = Bench::new();
    let m = &bench.module;
    refused(
        m.open_session(bench.slot, CKF_RW_SESSION),
        CKR_SESSION_PARALLEL_NOT_SUPPORTED,
    );
    refused(m.session_info(4711), CKR_SESSION_HANDLE_INVALID);
    let rw = m.open_session(bench.slot, RW).unwrap();
    let ro = m.open_session(bench.slot, RO).unwrap();
    let state = |h| m.session_info(h).unwrap().state;
    assert_eq!(
        (state(ro), state(rw)),
        (CKS_RO_PUBLIC_SESSION, CKS_RW_PUBLIC_SESSION)
    );
    refused(
        m.login(rw, CKU_SO, Some(SO_PIN)),
        CKR_SESSION_READ_ONLY_EXISTS,
    );
    refused(m.login(rw, 9, Some(PIN)), CKR_USER_TYPE_INVALID);
    refused(
        m.login(rw, CKU_USER, Some(b"not the pin")),
        CKR_PIN_INCORRECT,
    );
    refused(
        m.login(rw, CKU_CONTEXT_SPECIFIC, Some(PIN)),
        CKR_OPERATION_NOT_INITIALIZED,
    );
    refused(m.logout(rw), CKR_USER_NOT_LOGGED_IN);
    m.login(ro, CKU_USER, Some(PIN)).unwrap();
    assert_eq!(
        (state(ro), state(rw)),
        (CKS_RO_USER_FUNCTIONS, CKS_RW_USER_FUNCTIONS)
    );
    refused(m.login(rw, CKU_USER, Some(PIN)), CKR_USER_ALREADY_LOGGED_IN);
    m.close_session(ro).unwrap();
    refused(
        m.login(rw, CKU_SO, Some(SO_PIN)),
        CKR_USER_ANOTHER_ALREADY_LOGGED_IN,
    );
    m.logout(rw).unwrap();
    m.login(rw, CKU_SO, Some(SO_PIN)).unwrap();
    assert_eq!(state(rw), CKS_RW_SO_FUNCTIONS);
    refused(
        m.open_session(bench.slot, RO),
        CKR_SESSION_READ_WRITE_SO_EXISTS,
    );
    refused(m.close_session(ro), CKR_SESSION_HANDLE_INVALID);
    m.close_session(rw).unwrap();
    let again = m.open_session(bench.slot, RO).unwrap();
    assert_eq!(
        state(again),
        CKS_RO_PUBLIC_SESSION,
        "the last session logs out"
    );
    assert!(again > rw, "handles are not used twice");
}

#[test]
fn pins_change_by_who_is_logged_in() {
    let bench = Bench::new();
    let m = &bench.module;
    let ro = m.open_session(bench.slot, RO).unwrap();
    refused(
        m.set_pin(ro, Some(PIN), Some(b"12345")),
        CKR_SESSION_READ_ONLY,
    );
    m.close_session(ro).unwrap();
    let rw = m.open_session(bench.slot, RW).unwrap();
    refused(m.init_pin(rw, Some(PIN)), CKR_USER_NOT_LOGGED_IN);
    refused(
        m.set_pin(rw, Some(b"wrong"), Some(b"12345")),
        CKR_PIN_INCORRECT,
    );
    refused(m.set_pin(rw, Some(PIN), Some(b"123")), CKR_PIN_LEN_RANGE);
    refused(m.set_pin(rw, None, Some(b"1234")), CKR_ARGUMENTS_BAD);
    m.set_pin(rw, Some(PIN), Some(b"second")).unwrap();
    refused(m.login(rw, CKU_USER, Some(PIN)), CKR_PIN_INCORRECT);
    m.login(rw, CKU_USER, Some(b"second")).unwrap();
    m.logout(rw).unwrap();
    m.login(rw, CKU_SO, Some(SO_PIN)).unwrap();
    m.set_pin(rw, Some(SO_PIN), Some(b"so-second")).unwrap();
    refused(m.init_pin(rw, Some(b"1")), CKR_PIN_LEN_RANGE);
    m.init_pin(rw, Some(b"third")).unwrap();
    m.logout(rw).unwrap();
    m.login(rw, CKU_USER, Some(b"third")).unwrap();
}

#[test]
fn sessions_do_not_wait_for_each_other() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    let key = bench.generate(h, CKM_AES_KEY_GEN, &[AES_256, (CKA_TOKEN, YES)]);
    let delay = Duration::from_millis(200);
    *lock(&bench.store.delay) = delay;
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let h = m.open_session(bench.slot, RO).unwrap();
                m.encrypt_init(h, Some(Mechanism::bare(CKM_AES_ECB)), key)
                    .unwrap();
                bytes(m.encrypt(h, &[0; 16], Some(16)).unwrap());
            });
        }
    });
    assert!(
        start.elapsed() < delay * 3,
        "eight calls took {:?}",
        start.elapsed()
    );
}
