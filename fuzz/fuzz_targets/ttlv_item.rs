//! [`mrhsm_fuzz::ttlv_item`] for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mrhsm_fuzz::ttlv_item(bytes));
