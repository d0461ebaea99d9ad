//! [`mrhsm_fuzz::access`] for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mrhsm_fuzz::access(bytes));
