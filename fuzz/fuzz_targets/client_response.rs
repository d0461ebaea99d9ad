//! [`mrhsm_fuzz::client_response`] for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mrhsm_fuzz::client_response(bytes));
