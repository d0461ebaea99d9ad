//! [`mrhsm_fuzz::unwrap`] for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mrhsm_fuzz::unwrap(bytes));
