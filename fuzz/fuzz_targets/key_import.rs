//! [`mrhsm_fuzz::key_import`] for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mrhsm_fuzz::key_import(bytes));
