//! [`mrhsm_fuzz::identity`] for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mrhsm_fuzz::identity(bytes));
