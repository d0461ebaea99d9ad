//! Any bytes as a response: decoded by its types, and encoding is stable.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mrhsm_pkcs11::kmip::message::ResponseMessage;
use mrhsm_pkcs11::kmip::{GetAttributesRequest, GetRequest, LocateRequest, QueryRequest};

fuzz_target!(|bytes: &[u8]| {
    let Ok(message) = ResponseMessage::decode(bytes) else { return };
    let _ = message.get::<GetRequest>(0);
    let _ = message.get::<GetAttributesRequest>(1);
    let _ = message.get::<LocateRequest>(2);
    let _ = message.get::<QueryRequest>(3);
    let Ok(once) = message.encode() else { return };
    let again = ResponseMessage::decode(once.expose()).expect("what we write we can read");
    assert_eq!(again.encode().expect("what was written once"), once);
});
