//! Signing and verifying functions (PKCS#11 3.0, 5.13 and 5.14).

use crate::ck::*;
use crate::error::Result;

use super::raw::Ptr;
use super::{go_on, module_of};

pub fn sign_init(
    session: CK_SESSION_HANDLE,
    mechanism: Ptr<'_, CK_MECHANISM>,
    key: CK_OBJECT_HANDLE,
) -> Result<()> {
    module_of(session)?.sign_init(session, mechanism.optional_mechanism()?, key)
}

pub fn sign(
    session: CK_SESSION_HANDLE,
    data: Ptr<'_, CK_BYTE>,
    data_len: CK_ULONG,
    out: Ptr<'_, CK_BYTE>,
    out_len: Ptr<'_, CK_ULONG>,
) -> Result<()> {
    go_on(session, CKF_SIGN, |module| {
        let out = out.buffer(out_len)?;
        let output = module.sign(session, data.bytes(data_len)?, out.room())?;
        out.put(output)
    })
}

pub fn sign_update(
    session: CK_SESSION_HANDLE,
    part: Ptr<'_, CK_BYTE>,
    part_len: CK_ULONG,
) -> Result<()> {
    go_on(session, CKF_SIGN, |module| {
        module.sign_update(session, part.bytes(part_len)?)
    })
}

pub fn sign_final(
    session: CK_SESSION_HANDLE,
    out: Ptr<'_, CK_BYTE>,
    out_len: Ptr<'_, CK_ULONG>,
) -> Result<()> {
    go_on(session, CKF_SIGN, |module| {
        let out = out.buffer(out_len)?;
        let output = module.sign_final(session, out.room())?;
        out.put(output)
    })
}

pub fn sign_recover_init(
    session: CK_SESSION_HANDLE,
    mechanism: Ptr<'_, CK_MECHANISM>,
    key: CK_OBJECT_HANDLE,
) -> Result<()> {
    module_of(session)?.sign_recover_init(session, mechanism.optional_mechanism()?, key)
}

pub fn sign_recover(
    session: CK_SESSION_HANDLE,
    data: Ptr<'_, CK_BYTE>,
    data_len: CK_ULONG,
    out: Ptr<'_, CK_BYTE>,
    out_len: Ptr<'_, CK_ULONG>,
) -> Result<()> {
    go_on(session, CKF_SIGN_RECOVER, |module| {
        let out = out.buffer(out_len)?;
        let output = module.sign_recover(session, data.bytes(data_len)?, out.room())?;
        out.put(output)
    })
}

pub fn verify_init(
    session: CK_SESSION_HANDLE,
    mechanism: Ptr<'_, CK_MECHANISM>,
    key: CK_OBJECT_HANDLE,
) -> Result<()> {
    module_of(session)?.verify_init(session, mechanism.optional_mechanism()?, key)
}

pub fn verify(
    session: CK_SESSION_HANDLE,
    data: Ptr<'_, CK_BYTE>,
    data_len: CK_ULONG,
    signature: Ptr<'_, CK_BYTE>,
    signature_len: CK_ULONG,
) -> Result<()> {
    go_on(session, CKF_VERIFY, |module| {
        module.verify(
            session,
            data.bytes(data_len)?,
            signature.bytes(signature_len)?,
        )
    })
}

pub fn verify_update(
    session: CK_SESSION_HANDLE,
    part: Ptr<'_, CK_BYTE>,
    part_len: CK_ULONG,
) -> Result<()> {
    go_on(session, CKF_VERIFY, |module| {
        module.verify_update(session, part.bytes(part_len)?)
    })
}

pub fn verify_final(
    session: CK_SESSION_HANDLE,
    signature: Ptr<'_, CK_BYTE>,
    signature_len: CK_ULONG,
) -> Result<()> {
    go_on(session, CKF_VERIFY, |module| {
        module.verify_final(session, signature.bytes(signature_len)?)
    })
}

pub fn verify_recover_init(
    session: CK_SESSION_HANDLE,
    mechanism: Ptr<'_, CK_MECHANISM>,
    key: CK_OBJECT_HANDLE,
) -> Result<()> {
    module_of(session)?.verify_recover_init(session, mechanism.optional_mechanism()?, key)
}

pub fn verify_recover(
    session: CK_SESSION_HANDLE,
    signature: Ptr<'_, CK_BYTE>,
    signature_len: CK_ULONG,
    out: Ptr<'_, CK_BYTE>,
    out_len: Ptr<'_, CK_ULONG>,
) -> Result<()> {
    go_on(session, CKF_VERIFY_RECOVER, |module| {
        let out = out.buffer(out_len)?;
        let output = module.verify_recover(session, signature.bytes(signature_len)?, out.room())?;
        out.put(output)
    })
}
