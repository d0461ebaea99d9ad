//! Calls in one thread while another closes the session, logs out, changes or destroys.

use std::thread;

use super::*;
use crate::token::template::Rights;

/// Runs `long` beside `short`, which begins while `long` is at work.
fn beside<T: Send>(long: impl FnOnce() -> T + Send, short: impl FnOnce()) -> T {
    thread::scope(|scope| {
        let long = scope.spawn(long);
        thread::sleep(Duration::from_millis(2));
        short();
        long.join().unwrap()
    })
}

fn rsa_pair(
    m: &Module,
    h: CK_SESSION_HANDLE,
) -> crate::error::Result<(CK_OBJECT_HANDLE, CK_OBJECT_HANDLE)> {
    let bits = (2048 as CK_ULONG).to_ne_bytes();
    let public = template(&[(CKA_MODULUS_BITS, &bits)]);
    m.generate_key_pair(
        h,
        Mechanism::bare(CKM_RSA_PKCS_KEY_PAIR_GEN),
        public,
        // A call that begins after the logout would make public objects otherwise.
        template(&[(CKA_PRIVATE, &[CK_TRUE])]),
    )
}

#[test]
fn a_session_object_does_not_outlive_its_session_by_being_late() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    let other = m.open_session(bench.slot, RW).unwrap();
    let made = beside(|| rsa_pair(m, other), || m.close_session(other).unwrap());
    assert!(bench.find(h, &[]).is_empty(), "{made:?}");
}

#[test]
fn a_private_session_object_does_not_outlive_the_login_by_being_late() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    let made = beside(|| rsa_pair(m, h), || m.logout(h).unwrap());
    m.login(h, CKU_USER, Some(PIN)).unwrap();
    let left = bench.find(h, &[(CKA_CLASS, &CKO_PRIVATE_KEY.to_ne_bytes())]);
    assert!(left.is_empty(), "{made:?}");
}

#[test]
fn nobody_is_logged_in_when_the_last_session_was_closed_during_the_login() {
    let bench = Bench::new();
    let m = &bench.module;
    for user in [CKU_USER, CKU_SO] {
        let pin = if user == CKU_USER { PIN } else { SO_PIN };
        let h = m.open_session(bench.slot, RW).unwrap();
        let _ = beside(
            || m.login(h, user, Some(pin)),
            || m.close_session(h).unwrap(),
        );
        let h = m.open_session(bench.slot, RW).unwrap();
        assert_eq!(m.session_info(h).unwrap().state, CKS_RW_PUBLIC_SESSION);
        m.close_session(h).unwrap();
    }
}

#[test]
fn changes_at_once_are_both_there_and_what_was_destroyed_stays_so() {
    let bench = Bench::new();
    let h = bench.user();
    let handle = bench.generate(h, CKM_AES_KEY_GEN, &[AES_256]);
    let token = bench.module.token(bench.slot).unwrap();
    let rights = Rights {
        write: true,
        user: true,
        so: false,
        guarded: false,
    };
    // What two threads have in hand before either has changed anything.
    let object = token.object(handle, rights).unwrap();
    let mut label = object.attributes.clone();
    label.set(CKA_LABEL, "a label");
    let mut id = object.attributes.clone();
    id.set(CKA_ID, [7]);
    token.change(&object, label.clone()).unwrap();
    token.change(&object, id).unwrap();
    assert_eq!(
        bench.find(h, &[(CKA_LABEL, b"a label"), (CKA_ID, &[7])]),
        [handle]
    );
    token.destroy(&object).unwrap();
    assert_eq!(
        token.change(&object, label).unwrap_err().rv(),
        CKR_OBJECT_HANDLE_INVALID
    );
    assert!(bench.find(h, &[]).is_empty());
}

#[test]
fn who_logs_out_during_a_call_does_not_see_the_object_any_more() {
    let bench = Bench::new();
    let m = &bench.module;
    let h = bench.user();
    let handle = bench.generate(h, CKM_AES_KEY_GEN, &[AES_256, (CKA_TOKEN, YES)]);
    let token = m.token(bench.slot).unwrap();
    let object = token
        .object(
            handle,
            Rights {
                write: true,
                user: true,
                so: false,
                guarded: false,
            },
        )
        .unwrap();
    let mut renamed = object.attributes.clone();
    renamed.set(CKA_LABEL, "a label");
    m.logout(h).unwrap();
    refused(
        token.attribute(&object, CKA_CHECK_VALUE).map(drop),
        CKR_OBJECT_HANDLE_INVALID,
    );
    refused(token.change(&object, renamed), CKR_OBJECT_HANDLE_INVALID);
    refused(token.destroy(&object), CKR_OBJECT_HANDLE_INVALID);
}
