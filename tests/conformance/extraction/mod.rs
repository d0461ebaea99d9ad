//! Every sequence of up to three calls, on keys of every role, and an oracle that knows the victim's value: does the caller learn it?
//!
//! Under `compatible` the oracle finds the known attacks, so it can; under `strict` it finds none, and under `default` none on a key that
//! is not extractable.

mod oracle;
mod plan;
mod search;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use mrhsm_pkcs11::ck::*;
use mrhsm_pkcs11::config::KeyPolicy;

use self::oracle::{KNOWN, VICTIM};
use self::search::{Search, Tag};
use super::app::{App, Rows, open, rows};
use crate::ffi::host::{Host, SO_PIN, USER_PIN, alone_with, file_token_with};

/// The variable that names the file for the counts: a test in a process of its own prints nothing.
const REPORT: &str = "MRHSM_TEST_REPORT";

const ALL: &[CK_ATTRIBUTE_TYPE] = &[
    CKA_ENCRYPT,
    CKA_DECRYPT,
    CKA_WRAP,
    CKA_UNWRAP,
    CKA_SIGN,
    CKA_VERIFY,
    CKA_DERIVE,
];

/// What the victim may be used for.
const VICTIMS: &[&[CK_ATTRIBUTE_TYPE]] = &[
    &[],
    &[CKA_ENCRYPT, CKA_DECRYPT],
    &[CKA_SIGN, CKA_VERIFY],
    &[CKA_DERIVE],
    ALL,
];

/// What a second key, whose value the caller does not know, may be used for.
const SECONDS: &[&[CK_ATTRIBUTE_TYPE]] = &[
    &[CKA_ENCRYPT, CKA_DECRYPT],
    &[CKA_WRAP, CKA_UNWRAP],
    &[CKA_WRAP, CKA_DECRYPT],
    &[CKA_UNWRAP, CKA_ENCRYPT],
    &[CKA_DERIVE],
    ALL,
];

/// An AES key with this value and these uses.
fn aes(value: &[u8], uses: &[CK_ATTRIBUTE_TYPE], guard: Rows) -> Rows {
    let rows = rows![; guard, CKA_CLASS: CKO_SECRET_KEY, CKA_KEY_TYPE: CKK_AES, CKA_VALUE: value];
    let uses = ALL
        .iter()
        .map(|usage| (*usage, vec![u8::from(uses.contains(usage))]));
    rows.into_iter().chain(uses).collect()
}

/// A key that wraps and unwraps and that the SO trusts.
fn trusted(app: App<'_>) -> CK_OBJECT_HANDLE {
    let guard =
        rows![CKA_SENSITIVE: true, CKA_EXTRACTABLE: false, CKA_TOKEN: true, CKA_PRIVATE: false];
    let key = app
        .create(&aes(&[0x3c; 32], &[CKA_WRAP, CKA_UNWRAP], guard))
        .unwrap();
    app.logout().unwrap();
    app.login(CKU_SO, SO_PIN).unwrap();
    app.set(key, &rows![CKA_TRUSTED: true]).unwrap();
    app.logout().unwrap();
    app.login(CKU_USER, USER_PIN).unwrap();
    key
}

/// What a search of all keys under a policy came to.
#[derive(Default)]
struct Outcome {
    /// Pairs of keys that the policy does not let exist.
    refused: usize,
    /// Pairs of keys that were searched.
    searched: usize,
    /// Calls that were made, and those that succeeded.
    calls: (usize, usize),
    /// Sequences that reveal the victim, for one that is extractable and for one that is not: by the shortest description.
    found: BTreeMap<(bool, String), String>,
}

/// Searches all pairs of keys.
fn search(
    host: &Host,
    policy: KeyPolicy,
    seconds: &[&[CK_ATTRIBUTE_TYPE]],
    depth: impl Fn(bool) -> usize,
) -> Outcome {
    let slot = file_token_with(policy);
    host.initialize();
    let base = open(host, slot, true).unwrap();
    base.login(CKU_USER, USER_PIN).unwrap();
    let (trusted, own) = (trusted(base), plan::own_pair(base));
    let mut outcome = Outcome::default();
    for extractable in [false, true] {
        for victim in VICTIMS {
            for second in seconds {
                let app = open(host, slot, true).unwrap();
                let guard = rows![CKA_SENSITIVE: true, CKA_EXTRACTABLE: extractable];
                let closed = rows![CKA_SENSITIVE: true, CKA_EXTRACTABLE: false];
                let read = rows![CKA_SENSITIVE: false, CKA_EXTRACTABLE: true];
                let mut search = Search::new(app, depth(extractable));
                let keys = [
                    (Tag::Victim, aes(&VICTIM, victim, guard)),
                    (Tag::Named("second"), aes(&[0x5a; 32], second, closed)),
                    (Tag::Known, aes(&KNOWN, ALL, read)),
                ];
                if keys.into_iter().all(|(tag, rows)| search.start(tag, rows)) {
                    search.take(Tag::Named("trusted"), trusted);
                    search.take(Tag::Known, own);
                    search.run();
                    outcome.searched += 1;
                    let pair = format!("{}, beside {}", uses(victim), uses(second));
                    for how in search.findings() {
                        outcome.found.insert((extractable, how), pair.clone());
                    }
                } else {
                    outcome.refused += 1;
                }
                outcome.calls.0 += search.calls.0;
                outcome.calls.1 += search.calls.1;
                app.close().unwrap();
            }
        }
    }
    host.finalize();
    outcome
}

/// Usage flags by their letters.
fn uses(flags: &[CK_ATTRIBUTE_TYPE]) -> String {
    let letter = |flag: &CK_ATTRIBUTE_TYPE| match *flag {
        CKA_ENCRYPT => 'E',
        CKA_DECRYPT => 'D',
        CKA_WRAP => 'W',
        CKA_UNWRAP => 'U',
        CKA_SIGN => 'S',
        CKA_VERIFY => 'V',
        _ => 'K',
    };
    flags.iter().map(letter).collect()
}

impl Outcome {
    fn of(&self, extractable: bool) -> Vec<&String> {
        let found = self.found.keys().filter(|(e, _)| *e == extractable);
        found.map(|(_, how)| how).collect()
    }

    fn report(&self, policy: KeyPolicy) {
        let mut text = format!(
            "{policy}: {} pairs of keys searched, {} refused; {} sequences tried, {} of them to the end; {} attacks\n",
            self.searched,
            self.refused,
            self.calls.0,
            self.calls.1,
            self.found.len()
        );
        for ((extractable, how), pair) in &self.found {
            let kind = if *extractable {
                "extractable"
            } else {
                "not extractable"
            };
            let _ = writeln!(text, "  {kind} ({pair}): {how}");
        }
        std::fs::write(std::env::var_os(REPORT).unwrap(), text).unwrap();
    }
}

/// Runs the body in a process of its own and prints what it reports.
fn reporting<F: FnOnce(&Host)>(name: &str, body: F) {
    let path = std::env::var_os(REPORT).map_or_else(
        || std::env::temp_dir().join(format!("mrhsm-{name}-{}", std::process::id())),
        PathBuf::from,
    );
    alone_with(&[(REPORT, path.as_os_str())], body);
    if std::env::var_os(REPORT).is_none() {
        println!("{}", std::fs::read_to_string(&path).unwrap());
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn compatible_lets_the_known_attacks_through() {
    reporting("compatible", |host| {
        let outcome = search(host, KeyPolicy::Compatible, &[ALL], |_| 2);
        outcome.report(KeyPolicy::Compatible);
        let has = |extractable, calls: &[&str]| {
            let found = outcome.of(extractable);
            let fits = |how: &&String| calls.iter().all(|call| how.contains(call));
            assert!(found.iter().any(fits), "{calls:?} in {found:#?}");
        };
        // The attack of the day: a flag, then a byte.
        has(
            false,
            &["set CKA_DERIVE", "derive CKM_EXTRACT_KEY_FROM_KEY"],
        );
        // Clulow, and Delaune, Kremer and Steel.
        has(true, &["wrap", "decrypt"]);
    });
}

#[test]
fn default_keeps_keys_that_are_not_extractable() {
    reporting("default", |host| {
        // What may leave wrapped may be read by who chooses the wrapping key (docs/PKCS11.md); two calls show it.
        let depth = |extractable| if extractable { 2 } else { 3 };
        let outcome = search(host, KeyPolicy::Default, SECONDS, depth);
        outcome.report(KeyPolicy::Default);
        assert!(outcome.of(false).is_empty(), "{:#?}", outcome.found);
        assert!(!outcome.of(true).is_empty(), "the page says otherwise");
    });
}

#[test]
fn strict_keeps_every_sensitive_key() {
    reporting("strict", |host| {
        let outcome = search(host, KeyPolicy::Strict, SECONDS, |_| 3);
        outcome.report(KeyPolicy::Strict);
        assert!(outcome.found.is_empty(), "{:#?}", outcome.found);
        assert!(outcome.searched > 0 && outcome.calls.1 > 0);
    });
}
