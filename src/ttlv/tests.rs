//! The specification's own examples, and what is no TTLV.

use super::*;
use crate::secret::Secret;
use crate::version::Version;

const TAG: Tag = Tag(0x42_0020);

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn written(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::new(Version::V1_4);
    write(&mut writer);
    writer.finish().unwrap().expose().to_vec()
}

fn item(kind: u8, length: u32, value: &[u8]) -> Vec<u8> {
    [&[0x42, 0x00, 0x20, kind][..], &length.to_be_bytes(), value].concat()
}

/// Spec 1.2, 9.1.2.
#[test]
fn the_examples_of_the_specification() {
    let value = |fields: &[(u32, Value)]| {
        Value::Structure(
            fields
                .iter()
                .map(|(tag, value)| Field {
                    tag: Tag(*tag),
                    value: value.clone(),
                })
                .collect(),
        )
    };
    let examples = [
        (Value::Integer(8), "420020 02 00000004 00000008 00000000"),
        (
            Value::LongInteger(123_456_789_000_000_000),
            "420020 03 00000008 01B69B4BA5749200",
        ),
        (
            Value::BigInteger(hex("0000000003FD35EB6BC2DF4618080000")),
            "420020 04 00000010 0000000003FD35EB6BC2DF4618080000",
        ),
        (
            Value::Enumeration(255),
            "420020 05 00000004 000000FF 00000000",
        ),
        (Value::Boolean(true), "420020 06 00000008 0000000000000001"),
        (
            Value::Text("Hello World".into()),
            "420020 07 0000000B 48656C6C6F20576F726C640000000000",
        ),
        (
            Value::Bytes(vec![1, 2, 3]),
            "420020 08 00000003 0102030000000000",
        ),
        (
            Value::DateTime(0x47DA_67F8),
            "420020 09 00000008 0000000047DA67F8",
        ),
        (
            Value::Interval(864_000),
            "420020 0A 00000004 000D2F00 00000000",
        ),
        (
            value(&[
                (0x42_0004, Value::Enumeration(254)),
                (0x42_0005, Value::Integer(255)),
            ]),
            "420020 01 00000020 420004 05 00000004 000000FE 00000000 420005 02 00000004 000000FF 00000000",
        ),
    ];
    for (value, golden) in examples {
        let golden = hex(golden);
        assert_eq!(written(|w| value.encode(TAG, w)), golden, "{value:?}");
        assert_eq!(
            Value::decode(&Item::parse(&golden).unwrap()).unwrap(),
            value
        );
    }
}

#[test]
fn a_length_that_does_not_fit_the_type_is_refused() {
    for kind in 0x01..=0x0B_u8 {
        for length in 0..=17_u32 {
            let bytes = item(
                kind,
                length,
                &vec![0; (length as usize).next_multiple_of(8)],
            );
            let allowed = match kind {
                0x01 => length % 8 == 0,
                0x02 | 0x05 | 0x0A => length == 4,
                0x04 => length % 8 == 0 && length > 0,
                0x07 | 0x08 => true,
                _ => length == 8,
            };
            // A structure's zeros are items with tag 0, of a type nobody knows: they are skipped.
            let result = Item::parse(&bytes);
            assert_eq!(result.is_ok(), allowed, "type {kind:#04x}, length {length}");
        }
    }
}

#[test]
fn a_length_beyond_the_message_is_refused_without_allocating() {
    for length in [9, 0x7FFF_FFF8, 0x8000_0000, u32::MAX - 7, u32::MAX] {
        for kind in [ItemType::STRUCTURE.0, ItemType::BYTE_STRING.0, 0x7F] {
            let error = Item::parse(&item(kind, length, &[0; 8])).unwrap_err();
            assert!(
                error.to_string().starts_with("Compromise Date at byte 0: "),
                "{error}"
            );
        }
    }
    let padding_missing = item(ItemType::BYTE_STRING.0, 3, &[1, 2, 3]);
    assert!(Item::parse(&padding_missing).is_err());
}

#[test]
fn structures_nest_32_deep_and_no_deeper() {
    fn nested(depth: usize) -> Vec<u8> {
        let mut writer = Writer::new(Version::V1_4);
        let open: Vec<usize> = (0..depth).map(|_| writer.open(TAG)).collect();
        open.into_iter().rev().for_each(|start| writer.close(start));
        writer.finish().unwrap().expose().to_vec()
    }
    let read = |bytes: &[u8]| {
        Item::parse(bytes)
            .and_then(|item| Value::decode(&item))
            .map(drop)
    };
    read(&nested(32)).unwrap();
    let error = read(&nested(33)).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("more than 32 structures inside each other"),
        "{error}"
    );
    assert!(dump(&nested(100_000)).contains("!! "));
}

#[test]
fn errors_say_where() {
    let bytes = written(|w| {
        w.structure(TAG, |w| {
            w.integer(Tag::BATCH_COUNT, 1);
            w.value(Tag::USERNAME, ItemType::TEXT_STRING, b"\xff");
            w.value(Tag::FRESH, ItemType::BOOLEAN, &[0, 0, 0, 0, 0, 0, 0, 2]);
        });
    });
    let mut items = Item::parse(&bytes).unwrap().items().unwrap();
    let (count, name, fresh) = (
        items.next().unwrap().unwrap(),
        items.next().unwrap().unwrap(),
        items.next().unwrap().unwrap(),
    );
    assert_eq!(
        count.text().unwrap_err().to_string(),
        "Batch Count at byte 8: Integer where Text String belongs"
    );
    assert_eq!(
        name.text().unwrap_err().to_string(),
        "Username at byte 24: text that is not UTF-8"
    );
    assert_eq!(
        fresh.boolean().unwrap_err().to_string(),
        "Fresh at byte 40: a Boolean that is neither 0 nor 1"
    );
    assert!(items.next().unwrap().is_none());
}

#[test]
fn a_frame_is_a_message_of_a_length_we_allow() {
    let header = |tag: u32, kind: u8, length: u32| -> [u8; 8] {
        let ([_, a, b, c], [d, e, f, g]) = (tag.to_be_bytes(), length.to_be_bytes());
        [a, b, c, kind, d, e, f, g]
    };
    assert_eq!(frame_length(&header(0x42_007B, 1, 88), 96).unwrap(), 96);
    for (tag, kind, length) in [
        (0x42_007B, 1, 96),
        (0x42_007B, 1, 81),
        (0x42_007B, 1, u32::MAX),
        (0x42_007B, 2, 8),
        (0x48_5454, 0x50, 8),
    ] {
        assert!(
            frame_length(&header(tag, kind, length), 96).is_err(),
            "{tag:x} {kind} {length}"
        );
    }
}

#[test]
fn big_integers_keep_their_sign() {
    for (unsigned, wire) in [
        (&[][..], "0000000000000000"),
        (&[0], "0000000000000000"),
        (&[1, 0, 1], "0000000000010001"),
        (
            &[0x80, 0, 0, 0, 0, 0, 0, 1],
            "00000000000000008000000000000001",
        ),
        (&[0, 0, 0x7F, 0, 0, 0, 0, 0, 0, 1], "7F00000000000001"),
    ] {
        let number = BigInteger::from_unsigned(unsigned);
        let bytes = written(|w| number.encode(TAG, w));
        assert_eq!(bytes[8..], hex(wire));
        let significant = &unsigned[unsigned.iter().take_while(|byte| **byte == 0).count()..];
        assert_eq!(
            BigInteger::decode(&Item::parse(&bytes).unwrap())
                .unwrap()
                .unsigned(),
            Some(significant)
        );
    }
    let negative = written(|w| w.big_integer(TAG, &[0xFE]));
    assert_eq!(negative[8..], hex("FFFFFFFFFFFFFFFE"));
    assert_eq!(
        BigInteger::decode(&Item::parse(&negative).unwrap())
            .unwrap()
            .unsigned(),
        None
    );
    let bytes = written(|w| w.byte_string(TAG, &[0xFF, 1]));
    assert_eq!(
        BigInteger::decode(&Item::parse(&bytes).unwrap()).unwrap(),
        BigInteger::from_unsigned(&[0xFF, 1])
    );
}

#[test]
fn the_buffer_grows_without_losing_anything() {
    let mut writer = Writer::with_capacity(Version::V1_4, 1);
    writer.structure(TAG, |w| {
        (0..1000).for_each(|n| w.integer(Tag::OFFSET_ITEMS, n))
    });
    let bytes = writer.finish().unwrap();
    let mut items = Item::parse(bytes.expose()).unwrap().items().unwrap();
    for n in 0..1000 {
        assert_eq!(items.next().unwrap().unwrap().integer().unwrap(), n);
    }
}

#[test]
fn the_dump_names_tags_and_hides_secrets() {
    let bytes = written(|w| {
        w.structure(Tag::KEY_VALUE, |w| {
            w.structure(Tag::KEY_MATERIAL, |w| {
                Secret::new(b"0123456789".to_vec()).encode(Tag::KEY, w)
            });
        });
        w.structure(Tag::CREDENTIAL_VALUE, |w| {
            w.text(Tag::USERNAME, "alice");
            w.text(Tag::PASSWORD, "0123456789");
        });
        w.enumeration(Tag::STATE, 2);
        w.text(Tag::NAME_VALUE, &"long ".repeat(100));
        w.byte_string(Tag::UNIQUE_BATCH_ITEM_ID, &[1, 0xAB]);
    });
    let text = dump_with(&bytes, |tag, value| {
        (tag == Tag::STATE && value == 2).then(|| "Active".to_owned())
    });
    assert!(
        text.starts_with("Key Value\n  Key Material\n    Key: <10 bytes, not shown>\n"),
        "{text}"
    );
    assert!(
        text.contains("  Password: <10 bytes, not shown>\n"),
        "{text}"
    );
    assert!(
        text.contains("State: Active\n") && text.contains("Unique Batch Item ID: 01ab\n"),
        "{text}"
    );
    assert!(
        !text.contains("0123456789") && text.contains("(500 bytes)"),
        "{text}"
    );
}

#[test]
fn tags_have_unique_names_and_a_version() {
    for number in 0x42_0000..0x42_0300 {
        let tag = Tag(number);
        match tag.name() {
            Some(name) => {
                assert_eq!(Tag::from_name(name), Some(tag));
                assert!(tag.since().is_some(), "{tag}");
            }
            None => assert_eq!(tag.to_string(), format!("tag {number:06X}")),
        }
    }
    assert_eq!(Tag::SENSITIVE.since(), Some(Version::V1_4));
}
