//! Encryption and decryption functions, and those that do two things at once (PKCS#11 3.0, 5.8, 5.10 and 5.15).

use crate::ck::*;
use crate::error::Result;

use super::raw::Ptr;
use super::{go_on, module_of};

pub fn encrypt_init(
    session: CK_SESSION_HANDLE,
    mechanism: Ptr<'_, CK_MECHANISM>,
    key: CK_OBJECT_HANDLE,
) -> Result<()> {
    module_of(session)?.encrypt_init(session, mechanism.optional_mechanism()?, key)
}

pub fn encrypt(
    session: CK_SESSION_HANDLE,
    data: Ptr<'_, CK_BYTE>,
    data_len: CK_ULONG,
    out: Ptr<'_, CK_BYTE>,
    out_len: Ptr<'_, CK_ULONG>,
) -> Result<()> {
    go_on(session, CKF_ENCRYPT, |module| {
        let out = out.buffer(out_len)?;
        let output = module.encrypt(session, data.bytes(data_len)?, out.room())?;
        out.put(output)
    })
}

pub fn encrypt_update(
    session: CK_SESSION_HANDLE,
    part: Ptr<'_, CK_BYTE>,
    part_len: CK_ULONG,
    out: Ptr<'_, CK_BYTE>,
    out_len: Ptr<'_, CK_ULONG>,
) -> Result<()> {
    go_on(session, CKF_ENCRYPT, |module| {
        let out = out.buffer(out_len)?;
        let output = module.encrypt_update(session, part.bytes(part_len)?, out.room())?;
        out.put(output)
    })
}

pub fn encrypt_final(
    session: CK_SESSION_HANDLE,
    out: Ptr<'_, CK_BYTE>,
    out_len: Ptr<'_, CK_ULONG>,
) -> Result<()> {
    go_on(session, CKF_ENCRYPT, |module| {
        let out = out.buffer(out_len)?;
        let output = module.encrypt_final(session, out.room())?;
        out.put(output)
    })
}

pub fn decrypt_init(
    session: CK_SESSION_HANDLE,
    mechanism: Ptr<'_, CK_MECHANISM>,
    key: CK_OBJECT_HANDLE,
) -> Result<()> {
    module_of(session)?.decrypt_init(session, mechanism.optional_mechanism()?, key)
}

pub fn decrypt(
    session: CK_SESSION_HANDLE,
    data: Ptr<'_, CK_BYTE>,
    data_len: CK_ULONG,
    out: Ptr<'_, CK_BYTE>,
    out_len: Ptr<'_, CK_ULONG>,
) -> Result<()> {
    go_on(session, CKF_DECRYPT, |module| {
        let out = out.buffer(out_len)?;
        let output = module.decrypt(session, data.bytes(data_len)?, out.room())?;
        out.put(output)
    })
}

pub fn decrypt_update(
    session: CK_SESSION_HANDLE,
    part: Ptr<'_, CK_BYTE>,
    part_len: CK_ULONG,
    out: Ptr<'_, CK_BYTE>,
    out_len: Ptr<'_, CK_ULONG>,
) -> Result<()> {
    go_on(session, CKF_DECRYPT, |module| {
        let out = out.buffer(out_len)?;
        let output = module.decrypt_update(session, part.bytes(part_len)?, out.room())?;
        out.put(output)
    })
}

pub fn decrypt_final(
    session: CK_SESSION_HANDLE,
    out: Ptr<'_, CK_BYTE>,
    out_len: Ptr<'_, CK_ULONG>,
) -> Result<()> {
    go_on(session, CKF_DECRYPT, |module| {
        let out = out.buffer(out_len)?;
        let output = module.decrypt_final(session, out.room())?;
        out.put(output)
    })
}

pub fn digest_encrypt_update(
    session: CK_SESSION_HANDLE,
    part: Ptr<'_, CK_BYTE>,
    part_len: CK_ULONG,
    out: Ptr<'_, CK_BYTE>,
    out_len: Ptr<'_, CK_ULONG>,
) -> Result<()> {
    let module = module_of(session)?;
    let out = out.buffer(out_len)?;
    let output = module.digest_encrypt_update(session, part.bytes(part_len)?, out.room())?;
    out.put(output)
}

pub fn decrypt_digest_update(
    session: CK_SESSION_HANDLE,
    part: Ptr<'_, CK_BYTE>,
    part_len: CK_ULONG,
    out: Ptr<'_, CK_BYTE>,
    out_len: Ptr<'_, CK_ULONG>,
) -> Result<()> {
    let module = module_of(session)?;
    let out = out.buffer(out_len)?;
    let output = module.decrypt_digest_update(session, part.bytes(part_len)?, out.room())?;
    out.put(output)
}

pub fn sign_encrypt_update(
    session: CK_SESSION_HANDLE,
    part: Ptr<'_, CK_BYTE>,
    part_len: CK_ULONG,
    out: Ptr<'_, CK_BYTE>,
    out_len: Ptr<'_, CK_ULONG>,
) -> Result<()> {
    let module = module_of(session)?;
    let out = out.buffer(out_len)?;
    let output = module.sign_encrypt_update(session, part.bytes(part_len)?, out.room())?;
    out.put(output)
}

pub fn decrypt_verify_update(
    session: CK_SESSION_HANDLE,
    part: Ptr<'_, CK_BYTE>,
    part_len: CK_ULONG,
    out: Ptr<'_, CK_BYTE>,
    out_len: Ptr<'_, CK_ULONG>,
) -> Result<()> {
    let module = module_of(session)?;
    let out = out.buffer(out_len)?;
    let output = module.decrypt_verify_update(session, part.bytes(part_len)?, out.room())?;
    out.put(output)
}
