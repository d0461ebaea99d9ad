//! Message digesting functions (PKCS#11 3.0, 5.12).

use crate::ck::*;
use crate::error::Result;

use super::raw::Ptr;
use super::{go_on, module_of};

pub fn digest_init(session: CK_SESSION_HANDLE, mechanism: Ptr<'_, CK_MECHANISM>) -> Result<()> {
    module_of(session)?.digest_init(session, mechanism.optional_mechanism_without_parameter()?)
}

pub fn digest(
    session: CK_SESSION_HANDLE,
    data: Ptr<'_, CK_BYTE>,
    data_len: CK_ULONG,
    out: Ptr<'_, CK_BYTE>,
    out_len: Ptr<'_, CK_ULONG>,
) -> Result<()> {
    go_on(session, CKF_DIGEST, |module| {
        let out = out.buffer(out_len)?;
        let output = module.digest(session, data.bytes(data_len)?, out.room())?;
        out.put(output)
    })
}

pub fn digest_update(
    session: CK_SESSION_HANDLE,
    part: Ptr<'_, CK_BYTE>,
    part_len: CK_ULONG,
) -> Result<()> {
    go_on(session, CKF_DIGEST, |module| {
        module.digest_update(session, part.bytes(part_len)?)
    })
}

pub fn digest_key(session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE) -> Result<()> {
    module_of(session)?.digest_key(session, key)
}

pub fn digest_final(
    session: CK_SESSION_HANDLE,
    out: Ptr<'_, CK_BYTE>,
    out_len: Ptr<'_, CK_ULONG>,
) -> Result<()> {
    go_on(session, CKF_DIGEST, |module| {
        let out = out.buffer(out_len)?;
        let output = module.digest_final(session, out.room())?;
        out.put(output)
    })
}
