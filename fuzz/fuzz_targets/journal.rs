//! [`mrhsm_fuzz::journal`] for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mrhsm_fuzz::journal(bytes));
