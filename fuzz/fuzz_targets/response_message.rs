//! [`mrhsm_fuzz::response_message`] for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mrhsm_fuzz::response_message(bytes));
