//! Templates in, attribute values out.

use crate::ck::*;
use crate::error::Result;
use crate::secret::{Secret, reserve};
use crate::token::template::{Answer, Attribute, Template, Value};

use super::{LONGEST, Ptr, unless_memory};

/// No object has as many attributes: more is a mistake of the caller's, and reading on would be a fault.
const MAX_ATTRIBUTES: usize = 512;
/// Longest template in bytes: an object and its attributes are much shorter.
const MAX_BYTES: usize = 4 << 20;
/// How often the bytes of a template are copied at a time, from here to the message to a server.
const COPIES: usize = 8;
/// How deep templates may lie in templates: the standard has one in one.
const MAX_DEPTH: usize = 4;

/// What a template may still have, those within it counted.
struct Budget {
    attributes: usize,
    bytes: usize,
}

impl<'a> Ptr<'a, CK_ATTRIBUTE> {
    /// Copies a template of `count` attributes. NULL with none is an empty one.
    pub fn template(self, count: CK_ULONG) -> Result<Template> {
        let mut budget = Budget {
            attributes: MAX_ATTRIBUTES,
            bytes: MAX_BYTES,
        };
        let template = self.template_within(count, MAX_DEPTH, &mut budget)?;
        reserve::admit(MAX_BYTES - budget.bytes, COPIES)?;
        Ok(template)
    }

    fn template_within(
        self,
        count: CK_ULONG,
        depth: usize,
        budget: &mut Budget,
    ) -> Result<Template> {
        let count = self.array(count, budget.attributes)?;
        budget.attributes -= count;
        (0..count)
            .map(|i| read_attribute(&self.element(i).read()?, depth, budget))
            .collect::<Result<_>>()
            .map(Template)
    }

    /// The rows of a `C_GetAttributeValue`.
    pub fn rows(self, count: CK_ULONG) -> Result<Rows<'a>> {
        let count = self.array(count, MAX_ATTRIBUTES)?;
        let kinds = (0..count)
            .map(|i| Ok(self.element(i).read()?.type_))
            .collect::<Result<_>>()?;
        Ok(Rows { at: self, kinds })
    }
}

fn read_attribute(row: &CK_ATTRIBUTE, depth: usize, budget: &mut Budget) -> Result<Attribute> {
    let value = if is_template(row.type_) {
        let size = size_of::<CK_ATTRIBUTE>() as CK_ULONG;
        if depth == 0 || !row.ulValueLen.is_multiple_of(size) {
            Err(CKR_ATTRIBUTE_VALUE_INVALID)?;
        }
        let rows = Ptr::<CK_ATTRIBUTE>::new(row.pValue.cast());
        let inner = rows.template_within(row.ulValueLen / size, depth - 1, budget);
        Value::Nested(inner.map_err(|e| unless_memory(e, CKR_ATTRIBUTE_VALUE_INVALID))?)
    } else {
        let bytes = read_value(row, budget)?;
        budget.bytes -= bytes.len();
        Value::Bytes(bytes.into())
    };
    Ok(Attribute {
        kind: row.type_,
        value,
    })
}

/// A copy of a value. One that is too long is `CKR_DEVICE_MEMORY`; NULL, or a length that no memory
/// has, is
/// `CKR_ATTRIBUTE_VALUE_INVALID`.
fn read_value(row: &CK_ATTRIBUTE, budget: &Budget) -> Result<Vec<u8>> {
    let value = Ptr::<CK_BYTE>::new(row.pValue.cast());
    let len = value
        .array(row.ulValueLen, LONGEST)
        .map_err(|e| e.with_rv(CKR_ATTRIBUTE_VALUE_INVALID))?;
    if len > budget.bytes {
        Err(CKR_DEVICE_MEMORY)?;
    }
    value.copy(row.ulValueLen, len)
}

/// True for attributes whose value is an array of `CK_ATTRIBUTE`. The flag alone does not say so: vendors' numbers have it by
/// chance (all of NSS), and `CKA_ALLOWED_MECHANISMS` is an array of numbers.
fn is_template(kind: CK_ATTRIBUTE_TYPE) -> bool {
    matches!(
        kind,
        CKA_WRAP_TEMPLATE
            | CKA_UNWRAP_TEMPLATE
            | CKA_DERIVE_TEMPLATE
            | CKA_ENCAPSULATE_TEMPLATE
            | CKA_DECAPSULATE_TEMPLATE
    )
}

/// The rows of a `C_GetAttributeValue`: which attributes are asked for, and where the answers go.
pub struct Rows<'a> {
    at: Ptr<'a, CK_ATTRIBUTE>,
    kinds: Vec<CK_ATTRIBUTE_TYPE>,
}

impl Rows<'_> {
    /// The attribute types asked for, in order.
    pub fn kinds(&self) -> &[CK_ATTRIBUTE_TYPE] {
        &self.kinds
    }

    /// Writes each answer into its row. All rows are written, whatever is wrong with some; the last wrong one decides what is
    /// returned (PKCS#11 3.0, 5.7.5).
    pub fn put(self, answers: &[Answer]) -> Result<()> {
        let mut result = Ok(());
        for (i, answer) in answers.iter().enumerate().take(self.kinds.len()) {
            let row = self.at.element(i);
            let mut attribute = row.read()?;
            let put = put_answer(&mut attribute, answer);
            row.write(attribute)?;
            result = put.and(result);
        }
        result
    }
}

/// One row: the value if there is room, and its length, or `CK_UNAVAILABLE_INFORMATION` for a length.
fn put_answer(row: &mut CK_ATTRIBUTE, answer: &Answer) -> Result<()> {
    match answer {
        Answer::Value(bytes) => put_bytes(row, bytes),
        Answer::Nested(template) => put_nested(row, template),
        Answer::Sensitive => unavailable(row, CKR_ATTRIBUTE_SENSITIVE),
        Answer::Unknown => unavailable(row, CKR_ATTRIBUTE_TYPE_INVALID),
    }
}

fn put_bytes(row: &mut CK_ATTRIBUTE, bytes: &Secret) -> Result<()> {
    put_sized(row, bytes.len(), |value| value.write_bytes(bytes.expose()))
}

/// A value that is a template itself: the types in it are ours to set, the buffers are the caller's.
fn put_nested(row: &mut CK_ATTRIBUTE, template: &Template) -> Result<()> {
    put_sized(row, template.0.len() * size_of::<CK_ATTRIBUTE>(), |value| {
        let rows = value.cast::<CK_ATTRIBUTE>();
        let mut result = Ok(());
        for (i, attribute) in template.0.iter().enumerate() {
            let mut inner = rows.element(i).read()?;
            inner.type_ = attribute.kind;
            let put = match &attribute.value {
                Value::Bytes(bytes) => put_bytes(&mut inner, bytes),
                Value::Nested(template) => put_nested(&mut inner, template),
            };
            rows.element(i).write(inner)?;
            result = put.and(result);
        }
        result
    })
}

fn put_sized(
    row: &mut CK_ATTRIBUTE,
    needed: usize,
    write: impl FnOnce(Ptr<'_, CK_BYTE>) -> Result<()>,
) -> Result<()> {
    let room = std::mem::replace(&mut row.ulValueLen, needed as CK_ULONG);
    if row.pValue.is_null() {
        Ok(())
    } else if room < needed as CK_ULONG {
        unavailable(row, CKR_BUFFER_TOO_SMALL)
    } else {
        write(Ptr::new(row.pValue.cast()))
    }
}

fn unavailable(row: &mut CK_ATTRIBUTE, rv: CK_RV) -> Result<()> {
    row.ulValueLen = CK_UNAVAILABLE_INFORMATION;
    Err(rv)?
}
