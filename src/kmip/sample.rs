//! Test data: every structure with every field that a version has, so that a test of all operations tests all of KMIP.

use super::*;
use crate::secret::Secret;
use crate::ttlv::{BigInteger, DateTime, DateTimeExtended, Field, Interval, Tag, Value};
use crate::version::Version;

/// Something a test can have a full example of.
pub(crate) trait Sample {
    /// An example with every field that `version` has.
    fn sample(version: Version) -> Self;
}

macro_rules! samples {
    ($($type:ty = $value:expr;)*) => {$(
        impl Sample for $type {
            fn sample(_: Version) -> Self {
                $value
            }
        }
    )*};
}

samples! {
    i32 = -7;
    i64 = 1 << 40;
    bool = true;
    String = "schlüssel 1".to_owned();
    Vec<u8> = vec![0, 1, 2, 254, 255];
    Secret = Secret::new(b"hidden".to_vec());
    BigInteger = BigInteger::from_unsigned(&[0x80, 1, 2]);
    DateTime = DateTime(1_700_000_000);
    DateTimeExtended = DateTimeExtended(1_700_000_000_000_000);
    Interval = Interval(u32::MAX);
    OpaqueDataType = OpaqueDataType(0x8000_0000);
    message::Password = message::Password(Secret::new(b"hidden".to_vec()));
    message::Asynchronous = message::Asynchronous(AsynchronousIndicator::PROHIBITED);
    AttributeName = AttributeName::Standard(Tag::STATE);
    Attribute = Attribute::from(AttributeValue::Name("n".into()));
    Value = Value::Structure(vec![
        Field { tag: Tag(0x54_0001), value: Value::Text("v".into()) },
        Field { tag: Tag(0x54_0002), value: Value::Structure(vec![Field { tag: Tag(0x54_0003), value: Value::Enumeration(9) }]) },
        Field { tag: Tag(0x54_0004), value: Value::DateTimeExtended(-1) },
    ]);
}

impl<T: Sample> Sample for Option<T> {
    fn sample(version: Version) -> Self {
        Some(T::sample(version))
    }
}

impl<T: Sample> Sample for Vec<T> {
    fn sample(version: Version) -> Self {
        vec![T::sample(version), T::sample(version)]
    }
}

impl<T: Sample> Sample for Box<T> {
    fn sample(version: Version) -> Self {
        Box::new(T::sample(version))
    }
}

impl Sample for Version {
    fn sample(version: Version) -> Self {
        version
    }
}

impl Sample for UniqueIdentifier {
    fn sample(version: Version) -> Self {
        if version.typed_attributes() {
            UniqueIdentifier::Index(-1)
        } else {
            "42".into()
        }
    }
}

impl Sample for KeyValue {
    fn sample(version: Version) -> Self {
        KeyValue::Plain(Sample::sample(version))
    }
}

impl Sample for KeyMaterial {
    fn sample(version: Version) -> Self {
        KeyMaterial::Transparent(Sample::sample(version))
    }
}

impl Sample for ManagedObject {
    fn sample(version: Version) -> Self {
        ManagedObject::SplitKey(Sample::sample(version))
    }
}

impl Sample for TemplateAttribute {
    fn sample(version: Version) -> Self {
        let templates = if version.typed_attributes() {
            Vec::new()
        } else {
            Sample::sample(version)
        };
        TemplateAttribute {
            templates,
            attributes: Sample::sample(version),
        }
    }
}

impl Sample for Attributes {
    /// Every typed attribute, a second name, and what has no type.
    fn sample(version: Version) -> Self {
        let mut all: Attributes = AttributeValue::samples(version).into_iter().collect();
        all.push(AttributeValue::Name("second".into()));
        all.push(AttributeValue::Custom(
            "x".into(),
            "label".into(),
            Value::Text("a".into()),
        ));
        all.push(AttributeValue::Custom(
            "x".into(),
            "p11-data".into(),
            Value::Bytes(vec![1]),
        ));
        all.push(AttributeValue::Other(
            Tag::CERTIFICATE_SUBJECT_CN,
            Value::Text("cn".into()),
        ));
        // The wrong type for a State, as a confused server might send it.
        all.push(AttributeValue::Other(
            Tag::STATE,
            Value::Text("active".into()),
        ));
        if version.typed_attributes() {
            all.0
                .iter_mut()
                .for_each(|attribute| attribute.index = None);
        }
        all
    }
}
