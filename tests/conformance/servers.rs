//! The same questions with all objects on a server, of every personality.

use std::ffi::OsStr;
use std::process::Command;

use super::app::SERVER;
use crate::ffi::host::run;

/// The files whose questions are asked. Those of sessions and handles are about objects that are not on a server.
const ASKED: [&str; 6] = [
    "birth",
    "import",
    "mechanisms",
    "objects",
    "operations",
    "policy",
];

/// Not asked: keys that their server keeps are not derived from and not copied; a server's mechanisms are a device's (`CKF_HW`).
const NOT_ASKED: [&str; 2] = [
    "conformance::birth::a_key_says_how_it_was_born",
    "conformance::mechanisms::information_makes_sense",
];

fn ask(personality: &str) {
    let list = Command::new(std::env::current_exe().unwrap())
        .args(["--list", "conformance::"])
        .output()
        .unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    let asked: Vec<&str> = list
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .filter(|name| {
            ASKED.contains(&name.split("::").nth(1).unwrap()) && !NOT_ASKED.contains(name)
        })
        .collect();
    assert!(asked.len() > 30, "{asked:?}");
    for name in asked {
        println!("{name}");
        run(name, &[(SERVER, OsStr::new(personality))]);
    }
}

#[test]
fn by_the_book() {
    ask("standard");
}

#[test]
fn like_pykmip() {
    ask("PyKMIP");
}

#[test]
fn like_vault() {
    ask("Vault");
}

#[test]
fn like_cosmian() {
    ask("Cosmian");
}

#[test]
fn a_key_store() {
    ask("key store");
}
