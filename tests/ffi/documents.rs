//! What `include/mrhsm.h` and `docs/PKCS11.md` say is what the code does.

use std::collections::BTreeMap;
use std::fmt::Write;

use mrhsm_pkcs11::ck::*;
use mrhsm_pkcs11::ffi::FUNCTIONS;
use mrhsm_pkcs11::mech::{Entry, MECHANISMS};
use mrhsm_pkcs11::token::attr::vendor;

#[test]
fn the_header_has_our_numbers() {
    let mut defined = BTreeMap::new();
    for line in include_str!("../../include/mrhsm.h").lines() {
        if let Some((name, value)) = line
            .strip_prefix("#define CKA_")
            .and_then(|rest| rest.split_once(' '))
        {
            let number = value
                .trim_start_matches("(CKA_VENDOR_DEFINED | 0x")
                .trim_end_matches("UL)");
            defined.insert(
                name,
                CKA_VENDOR_DEFINED | CK_ULONG::from_str_radix(number, 16).unwrap(),
            );
        }
    }
    let ours = BTreeMap::from([
        ("MRHSM_UID", vendor::UID),
        ("MRHSM_STATE", vendor::STATE),
        ("MRHSM_INITIAL_DATE", vendor::INITIAL_DATE),
        ("MRHSM_ACTIVATION_DATE", vendor::ACTIVATION_DATE),
        ("MRHSM_DEACTIVATION_DATE", vendor::DEACTIVATION_DATE),
        ("MRHSM_GROUP", vendor::GROUP),
        ("MRHSM_NAME", vendor::NAME),
        ("MRHSM_KEPT", vendor::KEPT),
    ]);
    assert_eq!(defined, ours);
}

#[test]
fn the_document_lists_every_function() {
    let mut table = String::from("| function | since | |\n|---|---|---|\n");
    for function in FUNCTIONS {
        let (major, minor) = (function.since.major, function.since.minor);
        let answer = function
            .declined
            .map_or("yes".into(), |why| format!("no: {why}"));
        writeln!(
            table,
            "| `{}` | {major}.{minor} | {answer} |",
            function.name
        )
        .unwrap();
    }
    let document = include_str!("../../docs/PKCS11.md");
    assert!(
        document.contains(&table),
        "docs/PKCS11.md shall hold this table:\n{table}"
    );
}

/// The functions that a mechanism serves.
fn uses(entry: &Entry) -> String {
    let words = [
        (CKF_GENERATE, "generate"),
        (CKF_GENERATE_KEY_PAIR, "generate pair"),
        (CKF_ENCRYPT, "encrypt"),
        (CKF_SIGN, "sign"),
        (CKF_SIGN_RECOVER, "recover"),
        (CKF_DIGEST, "digest"),
        (CKF_WRAP, "wrap"),
        (CKF_DERIVE, "derive"),
        (CKF_MESSAGE_ENCRYPT, "encrypt messages"),
        (CKF_MESSAGE_SIGN, "sign messages"),
    ];
    let served: Vec<_> = words
        .iter()
        .filter(|(flag, _)| entry.flags & flag != 0)
        .map(|(_, word)| *word)
        .collect();
    served.join(", ")
}

#[test]
fn the_document_lists_every_mechanism() {
    let mut table = String::from("| mechanism | functions | where |\n|---|---|---|\n");
    for entry in MECHANISMS {
        let name = mechanism_name(entry.kind);
        assert!(name.starts_with("CKM_"), "{name} has no name");
        let place = if entry.in_store() {
            "server or here"
        } else {
            "here"
        };
        writeln!(table, "| `{name}` | {} | {place} |", uses(entry)).unwrap();
    }
    let document = include_str!("../../docs/PKCS11.md");
    assert!(
        document.contains(&table),
        "docs/PKCS11.md shall hold this table:\n{table}"
    );
}
