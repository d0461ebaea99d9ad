//! The fuzz targets on the stable compiler: every input that once failed, and a few thousand new ones, the same each time.

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::fs;
use std::path::Path;

use mrhsm_pkcs11::crypto::Curve;
use mrhsm_pkcs11::crypto::pkey::PrivateKey;
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
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
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

/// What to begin with where no files are kept.
fn made(target: &str) -> Vec<Vec<u8>> {
    match target {
        "key_import" => [Curve::P256, Curve::P521, Curve::Ed25519, Curve::X25519]
            .into_iter()
            .flat_map(|curve| {
                let key = PrivateKey::generate_ec(curve).unwrap();
                [
                    key.to_pkcs8().unwrap().expose().to_vec(),
                    key.public().unwrap().to_spki().unwrap(),
                ]
            })
            .collect(),
        "configuration" => vec![
            fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/mrhsm.conf.example"))
                .unwrap(),
        ],
        "journal" => vec![
            vec![60, 0, 1, 0xff],
            vec![90, 0, 0],
            vec![100, 0, 2, b'R', b'E', b'C', b'1', 0, 0, 0, 9],
        ],
        "key_file" => vec![[b'a'; 64].to_vec(), vec![7; 32]],
        // A request is also bytes for the codec; the first one chooses the server's character.
        "request_message" | "response_message" | "ttlv_item" => files("seeds", "server_request")
            .into_iter()
            .map(|seed| seed[1..].to_vec())
            .collect(),
        _ => files("seeds", target),
    }
}

#[test]
fn what_once_failed_and_a_few_thousand_others() {
    for (name, target) in targets::TARGETS.iter().filter(|(name, _)| *name != "abi") {
        let seeds = made(name);
        assert!(!seeds.is_empty(), "{name} has nothing to begin with");
        let mut dice = Dice(0x6d72_6873_6d00);
        // Reading certificates and making files takes longer than decoding.
        let runs = if ["identity", "key_import", "server_request"].contains(name) {
            1000
        } else {
            3000
        };
        let mut spoilt = |_| {
            let seed = &seeds[dice.below(seeds.len())];
            dice.spoil(seed)
        };
        let spoilt: Vec<_> = (0..runs).map(&mut spoilt).collect();
        for input in files("regressions", name)
            .into_iter()
            .chain(seeds)
            .chain(spoilt)
        {
            let result = std::panic::catch_unwind(|| target(&input));
            assert!(result.is_ok(), "{name} fails with {input:02x?}");
        }
    }
}

#[test]
fn any_calls_of_the_c_abi_in_any_order() {
    alone(|host| {
        host.initialize();
        let (slot, _) = host.logged_in();
        let bench = Bench::new(*host.table(), slot);
        let mut dice = Dice(0x6d72_6873_6d01);
        let new: Vec<_> = (0..1500).map(|_| dice.bytes(1000)).collect();
        for input in files("regressions", "abi").into_iter().chain(new) {
            let result =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| bench.run(&input)));
            assert!(result.is_ok(), "fails with {input:02x?}");
        }
        host.finalize();
    });
}
