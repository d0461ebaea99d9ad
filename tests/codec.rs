//! The codec from outside: any value comes back, no bytes harm.

use mrhsm_pkcs11::kmip::message::{RequestMessage, ResponseMessage};
use mrhsm_pkcs11::kmip::value_name;
use mrhsm_pkcs11::ttlv::{
    Decode, Encode, Field, Item, Tag, Value, Writer, dump_with, frame_length,
};
use mrhsm_pkcs11::version::Version;
use proptest::prelude::*;

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i32>().prop_map(Value::Integer),
        any::<i64>().prop_map(Value::LongInteger),
        (1..5_usize)
            .prop_flat_map(|n| proptest::collection::vec(any::<u8>(), n * 8))
            .prop_map(Value::BigInteger),
        any::<u32>().prop_map(Value::Enumeration),
        any::<bool>().prop_map(Value::Boolean),
        ".*".prop_map(Value::Text),
        proptest::collection::vec(any::<u8>(), 0..100).prop_map(Value::Bytes),
        any::<i64>().prop_map(Value::DateTime),
        any::<u32>().prop_map(Value::Interval),
        any::<i64>().prop_map(Value::DateTimeExtended),
        (
            0x0C..=0xFF_u8,
            proptest::collection::vec(any::<u8>(), 0..20)
        )
            .prop_map(|(kind, bytes)| Value::Other(kind, bytes)),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(6, 64, 8, |inner| {
        let field = (0..0x100_0000_u32, inner).prop_map(|(tag, value)| Field {
            tag: Tag(tag),
            value,
        });
        proptest::collection::vec(field, 0..8).prop_map(Value::Structure)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_value_comes_back(value in value(), tag in 0..0x100_0000_u32) {
        let mut writer = Writer::new(Version::V1_4);
        value.encode(Tag(tag), &mut writer);
        let bytes = writer.finish().unwrap();
        prop_assert_eq!(bytes.len() % 8, 0);
        let item = Item::parse(bytes.expose()).unwrap();
        prop_assert_eq!(item.tag, Tag(tag));
        prop_assert_eq!(&Value::decode(&item).unwrap(), &value);
        for cut in 0..bytes.len() {
            prop_assert!(Item::parse(&bytes.expose()[..cut]).is_err());
        }
    }

    #[test]
    fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..400), tag in 0x78..=0x7B_u8) {
        let framed = [&[0x42, 0x00, tag, 0x01], &u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], &bytes].concat();
        for bytes in [&bytes, &framed] {
            let _ = Item::parse(bytes).and_then(|item| Value::decode(&item));
            let _ = RequestMessage::decode(bytes);
            let _ = ResponseMessage::decode(bytes);
            prop_assert!(dump_with(bytes, value_name).len() < 100_000);
        }
        if let Some(header) = bytes.first_chunk() {
            prop_assert!(frame_length(header, 4096).is_ok_and(|length| length <= 4096) || frame_length(header, 4096).is_err());
        }
    }
}
