//! Arguments good and bad, in a session on a token.

use std::ffi::c_void;
use std::ptr::{self, null_mut};

use mrhsm_pkcs11::ck::*;
use mrhsm_pkcs11::ffi::{FUNCTIONS, Function};

use super::host::{alone, attribute, ck, mechanism};

#[test]
fn a_bad_session_comes_before_bad_arguments() {
    alone(|host| {
        host.initialize();
        for function in FUNCTIONS.iter().filter(|function| {
            function.arguments.first() == Some(&("session", "CK_SESSION_HANDLE"))
        }) {
            let parallel = matches!(function.name, "C_GetFunctionStatus" | "C_CancelFunction");
            let expected = if parallel {
                CKR_FUNCTION_NOT_PARALLEL
            } else {
                CKR_SESSION_HANDLE_INVALID
            };
            assert_eq!(host.call(function, &[4711]), expected, "{}", function.name);
        }
        host.finalize();
    });
}

/// What the list, and with it docs/PKCS11.md, says of a function is what it does.
#[test]
fn functions_are_declined_as_the_list_says() {
    alone(|host| {
        host.initialize();
        let (_, session) = host.logged_in();
        let is_declined = |function: &Function| {
            let mut zeros = vec![0u8; 1 << 16];
            [0, zeros.as_mut_ptr() as usize].into_iter().any(|pointer| {
                host.call(function, &arguments(function, session, pointer, 0))
                    == CKR_FUNCTION_NOT_SUPPORTED
            })
        };
        let called = FUNCTIONS.iter().filter(|function| !is_state(function));
        let wrong: Vec<_> = called
            .filter(|f| is_declined(f) != f.declined.is_some())
            .map(|f| f.name)
            .collect();
        assert!(wrong.is_empty(), "{wrong:?}");
        host.finalize();
    });
}

/// Arguments for `function`: `session` where it takes one, pointers from `pointer`, lengths and counts from `length`.
pub(super) fn arguments(
    function: &Function,
    session: CK_SESSION_HANDLE,
    pointer: usize,
    length: usize,
) -> Vec<usize> {
    let argument = |(name, kind): &(&str, &str)| match *name {
        "session" if *kind == "CK_SESSION_HANDLE" => session as usize,
        "flags" if function.name == "C_WaitForSlotEvent" => CKF_DONT_BLOCK as usize,
        _ if kind.starts_with('*') => pointer,
        _ if name.ends_with("len") || name.ends_with("count") || *name == "max" => length,
        _ => 0,
    };
    function.arguments.iter().map(argument).collect()
}

pub(super) fn is_state(function: &Function) -> bool {
    [
        "C_Initialize",
        "C_Finalize",
        "C_CloseSession",
        "C_CloseAllSessions",
        "C_InitToken",
    ]
    .contains(&function.name)
}

#[test]
fn null_odd_and_absurd_arguments_harm_no_function() {
    alone(|host| {
        host.initialize();
        let (_, session) = host.logged_in();
        // Memory of the application at an odd address, all zeros and all ones: NULL pointers, absurd lengths, wild types.
        for fill in [0u8, 0xff] {
            let mut memory = vec![fill; 1 << 16];
            let odd = memory.as_mut_ptr() as usize | 1;
            for function in FUNCTIONS.iter().filter(|function| !is_state(function)) {
                let most = isize::MAX as usize;
                for (pointer, length) in [
                    (0, 0),
                    (0, 1),
                    (0, usize::MAX),
                    (odd, 0),
                    (odd, usize::MAX),
                    (odd, most),
                    (odd, most + 1),
                    (odd, 1 << 48),
                ] {
                    let arguments = arguments(function, session, pointer, length);
                    let rv = host.call(function, &arguments);
                    let shown = format!("{} {arguments:x?} of {fill:#x}", function.name);
                    assert_ne!(rv, CKR_GENERAL_ERROR, "{shown}");
                    let takes_length = arguments.contains(&usize::MAX);
                    assert!(
                        !takes_length || rv != CKR_OK || function.name == "C_FindObjects",
                        "{shown}"
                    );
                    memory_again(odd, fill);
                }
            }
            drop(memory);
        }
        // And the session is as good as before.
        let mut random = [0u8; 16];
        assert_eq!(
            ck!(host.C_GenerateRandom(session, random.as_mut_ptr(), 16)),
            CKR_OK
        );
        assert_ne!(random, [0; 16]);
        host.finalize();
    });
}

/// Makes the memory at `odd` as it was.
fn memory_again(odd: usize, fill: u8) {
    // SAFETY: memory of the test above, one byte less than all of it.
    unsafe { std::ptr::write_bytes(odd as *mut u8, fill, (1 << 16) - 1) };
}

fn assert_padded(field: &[u8]) {
    let text = std::str::from_utf8(field).unwrap();
    assert!(!text.contains('\0'), "{text:?}");
    assert!(!text.trim_end().is_empty());
}

#[test]
fn texts_are_padded_with_blanks() {
    alone(|host| {
        host.initialize();
        let mut info = CK_INFO::default();
        assert_eq!(ck!(host.C_GetInfo(&mut info)), CKR_OK);
        assert_padded(&info.manufacturerID);
        assert_padded(&info.libraryDescription);
        assert_eq!(info.flags, 0);
        host.make_token();
        for slot in host.slots() {
            let mut info = CK_SLOT_INFO::default();
            assert_eq!(ck!(host.C_GetSlotInfo(slot, &mut info)), CKR_OK);
            assert_padded(&info.slotDescription);
            assert_padded(&info.manufacturerID);
            let token = host.token_info(slot);
            assert_padded(&token.manufacturerID);
            assert_padded(&token.model);
            if token.flags & CKF_TOKEN_INITIALIZED != 0 {
                assert_padded(&token.label);
                assert_padded(&token.serialNumber);
            }
        }
        assert_eq!(ck!(host.C_GetInfo(null_mut())), CKR_ARGUMENTS_BAD);
        host.finalize();
    });
}

#[test]
fn a_length_is_asked_for_or_found_too_small_as_often_as_one_likes() {
    alone(|host| {
        host.initialize();
        let (_, session) = host.logged_in();
        let mut sha256 = mechanism(CKM_SHA256);
        let mut data = *b"abc";
        assert_eq!(ck!(host.C_DigestInit(session, &mut sha256)), CKR_OK);
        let mut memory = [0u8; 33];
        let out = memory.as_mut_ptr().wrapping_add(1);
        for (room, expected) in [
            (None, CKR_OK),
            (Some(31), CKR_BUFFER_TOO_SMALL),
            (None, CKR_OK),
            (Some(32), CKR_OK),
        ] {
            let mut len = room.unwrap_or(0);
            let at = if room.is_some() { out } else { null_mut() };
            assert_eq!(
                ck!(host.C_Digest(session, data.as_mut_ptr(), 3, at, &mut len)),
                expected
            );
            assert_eq!(len, 32);
        }
        assert_eq!(memory[1..5], [0xba, 0x78, 0x16, 0xbf]);
        let mut len = 32;
        assert_eq!(
            ck!(host.C_Digest(session, data.as_mut_ptr(), 3, out, &mut len)),
            CKR_OPERATION_NOT_INITIALIZED
        );
        host.finalize();
    });
}

#[test]
fn attributes_answer_row_by_row() {
    alone(|host| {
        host.initialize();
        let (_, session) = host.logged_in();
        let key = host.aes_key(session);
        let (mut class, mut value, mut small) = (0 as CK_ULONG, [0u8; 64], [0u8; 1]);
        let mut rows = [
            attribute(CKA_VALUE, &mut value),
            attribute(CKA_CLASS, &mut class),
            attribute(CKA_KEY_TYPE, &mut small),
            attribute(CKA_MODULUS, &mut [0u8; 8]),
        ];
        let rv = ck!(host.C_GetAttributeValue(session, key, rows.as_mut_ptr(), 4));
        assert!(
            [
                CKR_ATTRIBUTE_SENSITIVE,
                CKR_ATTRIBUTE_TYPE_INVALID,
                CKR_BUFFER_TOO_SMALL
            ]
            .contains(&rv)
        );
        let max = CK_UNAVAILABLE_INFORMATION;
        assert_eq!(
            rows.map(|row| row.ulValueLen),
            [max, size_of::<CK_ULONG>() as CK_ULONG, max, max]
        );
        assert_eq!(class, CKO_SECRET_KEY);
        assert_eq!(value, [0; 64]);
        host.finalize();
    });
}

#[test]
fn input_may_be_null_when_it_is_empty() {
    alone(|host| {
        host.initialize();
        let (_, session) = host.logged_in();
        let mut sha256 = mechanism(CKM_SHA256);
        let (mut digest, mut len) = ([0u8; 32], 32);
        assert_eq!(ck!(host.C_DigestInit(session, &mut sha256)), CKR_OK);
        assert_eq!(
            ck!(host.C_Digest(session, null_mut(), 0, digest.as_mut_ptr(), &mut len)),
            CKR_OK
        );
        assert_eq!(digest[..4], [0xe3, 0xb0, 0xc4, 0x42]);
        host.finalize();
    });
}

/// PowerDNS leaves the parameter of its digests as the stack had it.
#[test]
fn the_parameter_of_a_digest_is_not_looked_at() {
    alone(|host| {
        host.initialize();
        let (_, session) = host.logged_in();
        for (at, len) in [
            (null_mut(), 7),
            (ptr::dangling_mut(), 4096),
            (usize::MAX as *mut c_void, CK_ULONG::MAX),
        ] {
            let mut sha256 = CK_MECHANISM {
                mechanism: CKM_SHA256,
                pParameter: at,
                ulParameterLen: len,
            };
            let (mut digest, mut room) = ([0u8; 32], 32);
            assert_eq!(ck!(host.C_DigestInit(session, &mut sha256)), CKR_OK);
            assert_eq!(
                ck!(host.C_Digest(session, null_mut(), 0, digest.as_mut_ptr(), &mut room)),
                CKR_OK
            );
            assert_eq!(digest[..4], [0xe3, 0xb0, 0xc4, 0x42]);
        }
        host.finalize();
    });
}
