//! Any bytes as TTLV: shown, decoded, and what was decoded comes back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mrhsm_pkcs11::kmip::value_name;
use mrhsm_pkcs11::ttlv::{Decode, Encode, Item, Value, Writer, dump_with};
use mrhsm_pkcs11::version::Version;

fuzz_target!(|bytes: &[u8]| {
    dump_with(bytes, value_name);
    let Ok(item) = Item::parse(bytes) else { return };
    let Ok(value) = Value::decode(&item) else { return };
    let mut writer = Writer::new(Version::V1_4);
    value.encode(item.tag, &mut writer);
    let again = writer.finish().expect("every value can be written");
    let item = Item::parse(again.expose()).expect("what we write we can read");
    assert_eq!(Value::decode(&item).expect("what we write we can read"), value);
});
