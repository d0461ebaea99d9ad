//! The fuzz targets on the stable compiler: every input that once failed, and a few thousand new ones, the same each time.

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::fs;
use std::path::{Path, PathBuf};

use targets::abi::Bench;

use super::ffi::host::alone;

/// A generator of numbers that is the same everywhere: xorshift.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % end
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        // Zeros are the first of every choice: what they choose makes sense more often than what others do.
        let zeros = 1 + self.below(4);
        (0..self.below(most))
            .map(|_| {
                if self.below(4) < zeros {
                    self.below(256) as u8
                } else {
                    0
                }
            })
            .collect()
    }

    /// `seed`, spoilt here and there.
    fn spoil(&mut self, seed: &[u8]) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..1 + self.below(4) {
            let at = self.below(bytes.len() + 1);
            let end = (at + self.below(9)).min(bytes.len());
            match self.below(6) {
                0 => bytes.truncate(at),
                1 => drop(bytes.drain(at..end)),
                2 => drop(bytes.splice(at..at, self.bytes(9))),
                3 => drop(bytes.splice(at..end, seed.iter().copied().take(end))),
                _ if at < bytes.len() => {
                    bytes[at] =
                        [0, 1, 0x7f, 0x80, 0xff, bytes[at] ^ (1 << self.below(8))][self.below(6)]
                }
                _ => {}
            }
        }
        bytes
    }
}

fn files(folder: &str, target: &str) -> Vec<Vec<u8>> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .join("fuzz")
        .join(folder)
        .join(target);
    let Ok(entries) = fs::read_dir(path) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Targets that need a token in a process of their own.
const ON_A_TOKEN: [&str; 2] = ["abi", "unwrap"];

#[test]
fn what_once_failed_every_seed_and_a_few_thousand_others() {
    for (name, target) in targets::TARGETS
        .iter()
        .filter(|(name, _)| !ON_A_TOKEN.contains(name))
    {
        // Reading certificates and making files takes longer than decoding.
        let runs = match *name {
            "identity" | "key_import" | "server_request" | "client_response" => 1000,
            _ => 3000,
        };
        for input in inputs(name, runs) {
            let result = std::panic::catch_unwind(|| target(&input));
            assert!(result.is_ok(), "{name} fails with {input:02x?}");
        }
    }
}

/// What once failed, every seed, and `runs` spoilt seeds.
fn inputs(target: &str, runs: usize) -> impl Iterator<Item = Vec<u8>> {
    let seeds = files("seeds", target);
    assert!(!seeds.is_empty(), "{target} has nothing to begin with");
    let mut dice = Dice(0x6d72_6873_6d00);
    let spoilt: Vec<_> = (0..runs)
        .map(|_| {
            let seed = &seeds[dice.below(seeds.len())];
            dice.spoil(seed)
        })
        .collect();
    files("regressions", target)
        .into_iter()
        .chain(seeds)
        .chain(spoilt)
}

#[test]
fn any_calls_of_the_c_abi_in_any_order() {
    alone(|host| {
        host.initialize();
        let (slot, _) = host.logged_in();
        let bench = Bench::new(*host.table(), slot);
        let mut dice = Dice(0x6d72_6873_6d01);
        let new: Vec<_> = (0..1000).map(|_| dice.bytes(1000)).collect();
        for input in inputs("abi", 500).chain(new) {
            let result =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| bench.run(&input)));
            assert!(result.is_ok(), "abi fails with {input:02x?}");
        }
        for input in inputs("unwrap", 1000) {
            let result =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| bench.unwrap(&input)));
            assert!(result.is_ok(), "unwrap fails with {input:02x?}");
        }
        host.finalize();
    });
}

/// Writes them, and the dictionary, to the corpus of `scripts/fuzz --record` if
/// `MRHSM_FUZZ_CORPUS` names it.
#[test]
fn exchanges_become_seeds_of_the_fuzz_targets() {
    let scratch = tempfile::tempdir().unwrap();
    let corpus = std::env::var_os("MRHSM_FUZZ_CORPUS")
        .map_or_else(|| scratch.path().join("corpus"), PathBuf::from);
    targets::record::record(&corpus);
    let dictionaries = corpus.with_file_name("dictionaries");
    fs::create_dir_all(&dictionaries).unwrap();
    let dictionary = targets::record::dictionary();
    fs::write(dictionaries.join("ttlv.dict"), dictionary).unwrap();
    for folder in fs::read_dir(&corpus).unwrap() {
        let seeds = fs::read_dir(folder.unwrap().path()).unwrap();
        assert!(seeds.count() > 0);
    }
}

#[test]
fn the_dictionary_has_every_tag() {
    let dictionary = include_str!("../fuzz/dictionaries/ttlv.dict");
    assert_eq!(
        dictionary,
        targets::record::dictionary(),
        "write it anew: scripts/fuzz --record"
    );
}
