//! Templates: lists of attributes as an application gave them, and what they must obey.

use std::fmt;

use crate::ck::CK_ATTRIBUTE_TYPE;
use crate::secret::Secret;

/// One attribute of a template.
pub struct Attribute {
    /// `CKA_*`.
    pub kind: CK_ATTRIBUTE_TYPE,
    /// Its value.
    pub value: Value,
}

/// Value of an attribute.
pub enum Value {
    /// Bytes, as the caller laid them out (a `CK_ULONG` is 8 bytes in host order, a `CK_BBOOL` one).
    Bytes(Secret),
    /// A template of its own (`CKA_WRAP_TEMPLATE`, `CKA_UNWRAP_TEMPLATE`, `CKA_DERIVE_TEMPLATE`).
    Nested(Template),
}

/// A template: the caller's order, duplicates kept.
#[derive(Default)]
pub struct Template(pub Vec<Attribute>);

impl fmt::Debug for Attribute {
    /// Type and length only: values may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Value::Bytes(bytes) => write!(f, "{:#x}: {bytes:?}", self.kind),
            Value::Nested(inner) => write!(f, "{:#x}: {inner:?}", self.kind),
        }
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0).finish()
    }
}

/// Answer to one row of `C_GetAttributeValue`; the edge does lengths, buffers and the five cases' return values.
#[derive(Debug)]
pub enum Answer {
    /// The value.
    Value(Secret),
    /// The value is a template.
    Nested(Template),
    /// `CKR_ATTRIBUTE_SENSITIVE`.
    Sensitive,
    /// The object has no such attribute: `CKR_ATTRIBUTE_TYPE_INVALID`.
    Unknown,
}
