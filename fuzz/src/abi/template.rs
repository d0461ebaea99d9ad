//! Templates: a sensible one for each kind of object, spoilt in the ways that applications find.

use std::ptr::null_mut;

use mrhsm_pkcs11::ck::*;

use super::input::{Input, Memory};

/// An attribute as the application has it.
#[derive(Clone)]
pub struct Row(pub CK_ATTRIBUTE_TYPE, pub Vec<u8>);

impl Row {
    pub fn flag(kind: CK_ATTRIBUTE_TYPE, value: bool) -> Row {
        Row(kind, vec![value.into()])
    }

    pub fn number(kind: CK_ATTRIBUTE_TYPE, value: CK_ULONG) -> Row {
        Row(kind, value.to_ne_bytes().to_vec())
    }

    pub fn bytes(kind: CK_ATTRIBUTE_TYPE, value: &[u8]) -> Row {
        Row(kind, value.to_vec())
    }
}

const KNOWN: &[CK_ATTRIBUTE_TYPE] = &[
    CKA_CLASS,
    CKA_TOKEN,
    CKA_PRIVATE,
    CKA_LABEL,
    CKA_ID,
    CKA_VALUE,
    CKA_VALUE_LEN,
    CKA_KEY_TYPE,
    CKA_SENSITIVE,
    CKA_EXTRACTABLE,
    CKA_ENCRYPT,
    CKA_DECRYPT,
    CKA_SIGN,
    CKA_VERIFY,
    CKA_SIGN_RECOVER,
    CKA_VERIFY_RECOVER,
    CKA_WRAP,
    CKA_UNWRAP,
    CKA_DERIVE,
    CKA_MODULUS,
    CKA_MODULUS_BITS,
    CKA_PUBLIC_EXPONENT,
    CKA_PRIVATE_EXPONENT,
    CKA_PRIME_1,
    CKA_COEFFICIENT,
    CKA_EC_PARAMS,
    CKA_EC_POINT,
    CKA_CERTIFICATE_TYPE,
    CKA_SUBJECT,
    CKA_ISSUER,
    CKA_SERIAL_NUMBER,
    CKA_START_DATE,
    CKA_END_DATE,
    CKA_ALLOWED_MECHANISMS,
    CKA_ALWAYS_AUTHENTICATE,
    CKA_ALWAYS_SENSITIVE,
    CKA_NEVER_EXTRACTABLE,
    CKA_LOCAL,
    CKA_KEY_GEN_MECHANISM,
    CKA_MODIFIABLE,
    CKA_COPYABLE,
    CKA_DESTROYABLE,
    CKA_TRUSTED,
    CKA_WRAP_WITH_TRUSTED,
    CKA_CHECK_VALUE,
    CKA_UNIQUE_ID,
    CKA_APPLICATION,
    CKA_OBJECT_ID,
    CKA_PUBLIC_KEY_INFO,
    CKA_PROFILE_ID,
    CKA_WRAP_TEMPLATE,
    CKA_UNWRAP_TEMPLATE,
    CKA_DERIVE_TEMPLATE,
];

fn is_template(kind: CK_ATTRIBUTE_TYPE) -> bool {
    [CKA_WRAP_TEMPLATE, CKA_UNWRAP_TEMPLATE, CKA_DERIVE_TEMPLATE].contains(&kind)
}

/// A template in the application's memory.
pub struct Given {
    pub at: *mut CK_ATTRIBUTE,
    pub count: CK_ULONG,
}

/// `model`, spoilt.
pub fn spoilt(model: &[Row], input: &mut Input<'_>, memory: &mut Memory) -> Given {
    let mut rows: Vec<CK_ATTRIBUTE> = model.iter().map(|row| row_of(row, memory)).collect();
    for _ in 0..input.below(5) {
        let at = input.below(rows.len() + 1);
        match input.below(6) {
            0 if at < rows.len() => drop(rows.remove(at)),
            1 if at < rows.len() => rows.push(rows[at]),
            2 if at < rows.len() => {
                let kind = rows[at].type_;
                rows[at] = any_row(kind, input, memory, 0);
            }
            3 if at < rows.len() => {
                let other = input.below(rows.len());
                rows.swap(at, other);
            }
            _ => {
                let row = row(input, memory, 0);
                rows.insert(at, row);
            }
        }
    }
    given(rows, input, memory)
}

/// Rows of any kind.
pub fn any(input: &mut Input<'_>, memory: &mut Memory) -> Given {
    let rows = rows(input, memory, 0);
    given(rows, input, memory)
}

fn given(rows: Vec<CK_ATTRIBUTE>, input: &mut Input<'_>, memory: &mut Memory) -> Given {
    let count = rows.len() as CK_ULONG;
    match input.below(32) {
        31 => Given {
            at: null_mut(),
            count: input.number(),
        },
        30 => Given {
            at: memory.array(rows),
            count: CK_ULONG::MAX,
        },
        _ => Given {
            at: memory.array(rows),
            count,
        },
    }
}

/// Rows to ask for with `C_GetAttributeValue`: each with room of any size, or none.
pub fn asked(input: &mut Input<'_>, memory: &mut Memory) -> Given {
    let row = |input: &mut Input<'_>, memory: &mut Memory| {
        let kind = kind(input);
        // What is written there are rows: these must be rows already.
        if is_template(kind) {
            let inner: Vec<CK_ATTRIBUTE> = (0..input.below(4))
                .map(|_| room(CKA_LABEL, input, memory))
                .collect();
            let len = (inner.len() * size_of::<CK_ATTRIBUTE>()) as CK_ULONG;
            return CK_ATTRIBUTE {
                type_: kind,
                pValue: memory.array(inner).cast(),
                ulValueLen: len,
            };
        }
        room(kind, input, memory)
    };
    let rows: Vec<CK_ATTRIBUTE> = (0..input.below(12)).map(|_| row(input, memory)).collect();
    given(rows, input, memory)
}

fn room(kind: CK_ATTRIBUTE_TYPE, input: &mut Input<'_>, memory: &mut Memory) -> CK_ATTRIBUTE {
    let room = input.pick(&[0, 1, 7, 8, 9, 32, 256, 4096]);
    let at = if input.once_in(4) {
        null_mut()
    } else {
        memory.array(vec![0_u8; room])
    };
    CK_ATTRIBUTE {
        type_: kind,
        pValue: at.cast(),
        ulValueLen: room as CK_ULONG,
    }
}

fn kind(input: &mut Input<'_>) -> CK_ATTRIBUTE_TYPE {
    if input.once_in(16) {
        input.number()
    } else {
        input.pick(KNOWN)
    }
}

fn rows(input: &mut Input<'_>, memory: &mut Memory, depth: usize) -> Vec<CK_ATTRIBUTE> {
    (0..input.below(8))
        .map(|_| row(input, memory, depth))
        .collect()
}

fn row(input: &mut Input<'_>, memory: &mut Memory, depth: usize) -> CK_ATTRIBUTE {
    let kind = kind(input);
    any_row(kind, input, memory, depth)
}

fn row_of(row: &Row, memory: &mut Memory) -> CK_ATTRIBUTE {
    let len = row.1.len() as CK_ULONG;
    CK_ATTRIBUTE {
        type_: row.0,
        pValue: memory.array(row.1.clone()).cast(),
        ulValueLen: len,
    }
}

fn any_row(
    kind: CK_ATTRIBUTE_TYPE,
    input: &mut Input<'_>,
    memory: &mut Memory,
    depth: usize,
) -> CK_ATTRIBUTE {
    if is_template(kind) {
        // Deeper than the standard has them, and deeper than the module reads.
        let inner = if depth < 6 {
            rows(input, memory, depth + 1)
        } else {
            Vec::new()
        };
        let size = (inner.len() * size_of::<CK_ATTRIBUTE>()) as CK_ULONG;
        let lie = if input.once_in(8) { 1 } else { 0 };
        let len = if inner.is_empty() { 0 } else { size - lie };
        return CK_ATTRIBUTE {
            type_: kind,
            pValue: memory.array(inner).cast(),
            ulValueLen: len,
        };
    }
    let value = match input.below(8) {
        0 | 1 => vec![input.pick(&[0_u8, 1, 2])],
        2..=4 => input.number().to_ne_bytes().to_vec(),
        5 => vec![b'x'; input.pick(&[33, 255, 256, 4096, 70_000])],
        6 => {
            let (at, len) = memory.sized(input, 40);
            return CK_ATTRIBUTE {
                type_: kind,
                pValue: at.cast(),
                ulValueLen: len,
            };
        }
        _ => input.bytes(100),
    };
    row_of(&Row(kind, value), memory)
}
