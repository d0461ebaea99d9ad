//! Any bytes as a request: decoded by its types, and encoding is stable.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mrhsm_pkcs11::kmip::message::RequestMessage;

fuzz_target!(|bytes: &[u8]| {
    let Ok(message) = RequestMessage::decode(bytes) else { return };
    let Ok(once) = message.encode() else { return };
    let again = RequestMessage::decode(once.expose()).expect("what we write we can read");
    assert_eq!(again.encode().expect("what was written once"), once);
});
