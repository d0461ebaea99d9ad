//! Secrets that a test looks for in the memory of a process, as a debugger or a core dump would find them.
#![allow(unsafe_code, reason = "memmem, and wiping that stays")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use mrhsm_pkcs11::crypto::rng;

/// What the tests keep is covered, so that they do not find their own copies.
const COVER: u8 = 0xa5;
/// What was read is shifted, so that the buffer holds neither a secret nor what shifting or uncovering makes one.
const SHIFT: u8 = 0x31;
/// So many bytes are looked for, the last ones of a secret: the first ones of freed memory may be overwritten.
const LOOKED_FOR: usize = 16;

/// A secret that the tests know, covered.
pub struct Needle {
    /// What it is.
    pub name: &'static str,
    /// Its bytes, covered.
    pub covered: Vec<u8>,
}

impl Needle {
    /// Takes a secret over and wipes it.
    pub fn new(name: &'static str, secret: &mut [u8]) -> Needle {
        assert!(secret.len() >= LOOKED_FOR);
        let covered = secret.iter().map(|byte| byte ^ COVER).collect();
        wipe(secret);
        Needle { name, covered }
    }

    /// The PIN: 32 random digits and letters, made without being uncovered.
    pub fn pin(name: &'static str) -> Needle {
        let mut random = [0; 16];
        rng::fill(&mut random).unwrap();
        let digit = |n: u8| b"0123456789abcdef"[usize::from(n)] ^ COVER;
        let covered = random
            .iter()
            .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
            .collect();
        Needle { name, covered }
    }

    /// Calls `body` with the secret, which is on the stack meanwhile.
    pub fn with<T>(&self, body: impl FnOnce(&mut [u8]) -> T) -> T {
        let mut secret = [0; 64];
        let secret = &mut secret[..self.covered.len()];
        for (byte, covered) in secret.iter_mut().zip(&self.covered) {
            *byte = covered ^ COVER;
        }
        let result = body(secret);
        wipe(secret);
        result
    }

    /// How often it is in the writable memory of a process, `self` or another.
    pub fn found(&self, process: &str) -> usize {
        let end = &self.covered[self.covered.len() - LOOKED_FOR..];
        let wanted: Vec<u8> = end
            .iter()
            .map(|byte| (byte ^ COVER).wrapping_add(SHIFT))
            .collect();
        let memory = File::open(format!("/proc/{process}/mem")).unwrap();
        let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
        let mut buffer = vec![0; 1 << 20];
        let mut found = 0;
        for line in maps.lines() {
            let mut words = line.split_whitespace();
            let (start, end) = words.next().unwrap().split_once('-').unwrap();
            let [mut at, end] = [start, end].map(|text| u64::from_str_radix(text, 16).unwrap());
            if !words.next().unwrap().starts_with("rw") || line.ends_with("[vvar]") {
                continue;
            }
            while at < end {
                let len = buffer.len().min((end - at) as usize);
                let Ok(read) = memory.read_at(&mut buffer[..len], at) else {
                    break;
                };
                // The buffer is in the memory that is read.
                for byte in &mut buffer[..read] {
                    *byte = byte.wrapping_add(SHIFT);
                }
                // SAFETY: both are slices with their lengths.
                let hit = unsafe {
                    libc::memmem(
                        buffer.as_ptr().cast(),
                        read,
                        wanted.as_ptr().cast(),
                        wanted.len(),
                    )
                };
                found += usize::from(!hit.is_null());
                if read < len || at + read as u64 >= end {
                    break;
                }
                at += (read - LOOKED_FOR) as u64;
            }
        }
        found
    }
}

pub fn wipe(secret: &mut [u8]) {
    // SAFETY: a slice with its length.
    unsafe { libc::explicit_bzero(secret.as_mut_ptr().cast(), secret.len()) };
}
