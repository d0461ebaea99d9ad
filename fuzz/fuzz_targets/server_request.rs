//! [`mrhsm_fuzz::server_request`] for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mrhsm_fuzz::server_request(bytes));
