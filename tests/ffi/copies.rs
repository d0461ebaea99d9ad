//! Two copies of the module in one process, as when an application and a library that it uses bring one each.

use std::thread;

use mrhsm_pkcs11::ck::*;

use super::host::{Host, USER_PIN, alone, attribute, ck, library_path, mechanism};

const KEYS: usize = 40;

fn generate(host: &Host, session: CK_SESSION_HANDLE) {
    for _ in 0..KEYS {
        let (mut yes, mut length, mut key) = (CK_TRUE, 32 as CK_ULONG, 0);
        let mut template = [
            attribute(CKA_TOKEN, &mut yes),
            attribute(CKA_VALUE_LEN, &mut length),
        ];
        let (mut kind, template) = (mechanism(CKM_AES_KEY_GEN), template.as_mut_ptr());
        let rv = ck!(host.C_GenerateKey(session, &mut kind, template, 2, &mut key));
        assert_eq!(rv, CKR_OK);
    }
}

fn count(host: &Host, session: CK_SESSION_HANDLE) -> usize {
    let (mut handles, mut count) = ([0; 3 * KEYS], 0);
    let none = std::ptr::null_mut();
    assert_eq!(ck!(host.C_FindObjectsInit(session, none, 0)), CKR_OK);
    let (start, most) = (handles.as_mut_ptr(), handles.len() as CK_ULONG);
    assert_eq!(
        ck!(host.C_FindObjects(session, start, most, &mut count)),
        CKR_OK
    );
    assert_eq!(ck!(host.C_FindObjectsFinal(session)), CKR_OK);
    count as usize
}

#[test]
fn they_do_not_release_each_others_locks() {
    alone(|host| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("another-copy.so");
        std::fs::copy(library_path(), &path).unwrap();
        let copy = Host::load_from(&path);
        let hosts = [host, &copy];
        host.initialize();
        let slot = host.make_token();
        copy.initialize();
        let sessions = hosts.map(|host| {
            let session = host.open(slot);
            assert_eq!(host.login(session, CKU_USER, USER_PIN), CKR_OK);
            session
        });
        thread::scope(|scope| {
            for (host, session) in hosts.into_iter().zip(sessions) {
                scope.spawn(move || generate(host, session));
            }
            // Closing any descriptor of a file releases all POSIX locks of the process on it, so there must be none.
            for _ in 0..200 {
                let mine = format!(" {} ", std::process::id());
                let locks = std::fs::read_to_string("/proc/locks").unwrap();
                let posix = locks
                    .lines()
                    .find(|line| line.contains("POSIX") && line.contains(&mine));
                assert_eq!(posix, None);
                thread::sleep(std::time::Duration::from_millis(1));
            }
        });
        for (host, session) in hosts.into_iter().zip(sessions) {
            assert_eq!(count(host, session), 2 * KEYS);
        }
        copy.finalize();
        generate(host, sessions[0]);
        assert_eq!(count(host, sessions[0]), 3 * KEYS);
        host.finalize();
    });
}
