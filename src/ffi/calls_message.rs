//! Message-based functions (PKCS#11 3.0, 5.9, 5.11, 5.13.9 and 5.14.9): one key, many messages with a parameter each.
#![expect(
    clippy::too_many_arguments,
    reason = "as many as the standard's functions have"
)]

use std::ffi::c_void;

use crate::ck::*;
use crate::error::Result;

use super::module_of;
use super::raw::{Buffer, Ptr};

pub fn message_encrypt_init(
    session: CK_SESSION_HANDLE,
    mechanism: Ptr<'_, CK_MECHANISM>,
    key: CK_OBJECT_HANDLE,
) -> Result<()> {
    module_of(session)?.message_encrypt_init(
        session,
        mechanism.optional_mechanism_without_parameter()?,
        key,
    )
}

pub fn encrypt_message(
    session: CK_SESSION_HANDLE,
    parameter: Ptr<'_, c_void>,
    parameter_len: CK_ULONG,
    aad: Ptr<'_, CK_BYTE>,
    aad_len: CK_ULONG,
    data: Ptr<'_, CK_BYTE>,
    data_len: CK_ULONG,
    out: Ptr<'_, CK_BYTE>,
    out_len: Ptr<'_, CK_ULONG>,
) -> Result<()> {
    let module = module_of(session)?;
    let out = out.buffer(out_len)?;
    let (mut params, place) = parameter.message(parameter_len)?;
    let output = module.encrypt_message(
        session,
        &mut params,
        aad.bytes(aad_len)?,
        data.bytes(data_len)?,
        out.room(),
    )?;
    place.put(&params)?;
    out.put(output)
}

pub fn encrypt_message_begin(
    session: CK_SESSION_HANDLE,
    parameter: Ptr<'_, c_void>,
    parameter_len: CK_ULONG,
    aad: Ptr<'_, CK_BYTE>,
    aad_len: CK_ULONG,
) -> Result<()> {
    let module = module_of(session)?;
    let (mut params, place) = parameter.message(parameter_len)?;
    module.encrypt_message_begin(session, &mut params, aad.bytes(aad_len)?)?;
    place.put(&params)
}

pub fn encrypt_message_next(
    session: CK_SESSION_HANDLE,
    parameter: Ptr<'_, c_void>,
    parameter_len: CK_ULONG,
    part: Ptr<'_, CK_BYTE>,
    part_len: CK_ULONG,
    out: Ptr<'_, CK_BYTE>,
    out_len: Ptr<'_, CK_ULONG>,
    flags: CK_FLAGS,
) -> Result<()> {
    let module = module_of(session)?;
    let out = out.buffer(out_len)?;
    let (mut params, place) = parameter.message(parameter_len)?;
    let end = flags & CKF_END_OF_MESSAGE != 0;
    let output = module.encrypt_message_next(
        session,
        &mut params,
        part.bytes(part_len)?,
        out.room(),
        end,
    )?;
    place.put(&params)?;
    out.put(output)
}

pub fn message_encrypt_final(session: CK_SESSION_HANDLE) -> Result<()> {
    module_of(session)?.message_encrypt_final(session)
}

pub fn message_decrypt_init(
    session: CK_SESSION_HANDLE,
    mechanism: Ptr<'_, CK_MECHANISM>,
    key: CK_OBJECT_HANDLE,
) -> Result<()> {
    module_of(session)?.message_decrypt_init(
        session,
        mechanism.optional_mechanism_without_parameter()?,
        key,
    )
}

pub fn decrypt_message(
    session: CK_SESSION_HANDLE,
    parameter: Ptr<'_, c_void>,
    parameter_len: CK_ULONG,
    aad: Ptr<'_, CK_BYTE>,
    aad_len: CK_ULONG,
    data: Ptr<'_, CK_BYTE>,
    data_len: CK_ULONG,
    out: Ptr<'_, CK_BYTE>,
    out_len: Ptr<'_, CK_ULONG>,
) -> Result<()> {
    let module = module_of(session)?;
    let out = out.buffer(out_len)?;
    let (mut params, _) = parameter.message(parameter_len)?;
    let output = module.decrypt_message(
        session,
        &mut params,
        aad.bytes(aad_len)?,
        data.bytes(data_len)?,
        out.room(),
    )?;
    out.put(output)
}

pub fn decrypt_message_begin(
    session: CK_SESSION_HANDLE,
    parameter: Ptr<'_, c_void>,
    parameter_len: CK_ULONG,
    aad: Ptr<'_, CK_BYTE>,
    aad_len: CK_ULONG,
) -> Result<()> {
    let module = module_of(session)?;
    let (mut params, _) = parameter.message(parameter_len)?;
    module.decrypt_message_begin(session, &mut params, aad.bytes(aad_len)?)
}

pub fn decrypt_message_next(
    session: CK_SESSION_HANDLE,
    parameter: Ptr<'_, c_void>,
    parameter_len: CK_ULONG,
    part: Ptr<'_, CK_BYTE>,
    part_len: CK_ULONG,
    out: Ptr<'_, CK_BYTE>,
    out_len: Ptr<'_, CK_ULONG>,
    flags: CK_FLAGS,
) -> Result<()> {
    let module = module_of(session)?;
    let out = out.buffer(out_len)?;
    let (mut params, _) = parameter.message(parameter_len)?;
    let end = flags & CKF_END_OF_MESSAGE != 0;
    let output = module.decrypt_message_next(
        session,
        &mut params,
        part.bytes(part_len)?,
        out.room(),
        end,
    )?;
    out.put(output)
}

pub fn message_decrypt_final(session: CK_SESSION_HANDLE) -> Result<()> {
    module_of(session)?.message_decrypt_final(session)
}

pub fn message_sign_init(
    session: CK_SESSION_HANDLE,
    mechanism: Ptr<'_, CK_MECHANISM>,
    key: CK_OBJECT_HANDLE,
) -> Result<()> {
    module_of(session)?.message_sign_init(session, mechanism.optional_mechanism()?, key)
}

pub fn sign_message(
    session: CK_SESSION_HANDLE,
    parameter: Ptr<'_, c_void>,
    parameter_len: CK_ULONG,
    data: Ptr<'_, CK_BYTE>,
    data_len: CK_ULONG,
    out: Ptr<'_, CK_BYTE>,
    out_len: Ptr<'_, CK_ULONG>,
) -> Result<()> {
    let module = module_of(session)?;
    parameter.no_message(parameter_len)?;
    let out = out.buffer(out_len)?;
    let output = module.sign_message(session, data.bytes(data_len)?, out.room())?;
    out.put(output)
}

pub fn sign_message_begin(
    session: CK_SESSION_HANDLE,
    parameter: Ptr<'_, c_void>,
    parameter_len: CK_ULONG,
) -> Result<()> {
    let module = module_of(session)?;
    parameter.no_message(parameter_len)?;
    module.sign_message_begin(session)
}

/// NULL for the length says that more parts follow.
pub fn sign_message_next(
    session: CK_SESSION_HANDLE,
    parameter: Ptr<'_, c_void>,
    parameter_len: CK_ULONG,
    part: Ptr<'_, CK_BYTE>,
    part_len: CK_ULONG,
    out: Ptr<'_, CK_BYTE>,
    out_len: Ptr<'_, CK_ULONG>,
) -> Result<()> {
    let module = module_of(session)?;
    parameter.no_message(parameter_len)?;
    let out = if out_len.is_null() {
        None
    } else {
        Some(out.buffer(out_len)?)
    };
    let output = module.sign_message_next(
        session,
        part.bytes(part_len)?,
        out.as_ref().map(Buffer::room),
    )?;
    match (out, output) {
        (Some(out), Some(output)) => out.put(output),
        _ => Ok(()),
    }
}

pub fn message_sign_final(session: CK_SESSION_HANDLE) -> Result<()> {
    module_of(session)?.message_sign_final(session)
}

pub fn message_verify_init(
    session: CK_SESSION_HANDLE,
    mechanism: Ptr<'_, CK_MECHANISM>,
    key: CK_OBJECT_HANDLE,
) -> Result<()> {
    module_of(session)?.message_verify_init(session, mechanism.optional_mechanism()?, key)
}

pub fn verify_message(
    session: CK_SESSION_HANDLE,
    parameter: Ptr<'_, c_void>,
    parameter_len: CK_ULONG,
    data: Ptr<'_, CK_BYTE>,
    data_len: CK_ULONG,
    signature: Ptr<'_, CK_BYTE>,
    signature_len: CK_ULONG,
) -> Result<()> {
    let module = module_of(session)?;
    parameter.no_message(parameter_len)?;
    module.verify_message(
        session,
        data.bytes(data_len)?,
        signature.bytes(signature_len)?,
    )
}

pub fn verify_message_begin(
    session: CK_SESSION_HANDLE,
    parameter: Ptr<'_, c_void>,
    parameter_len: CK_ULONG,
) -> Result<()> {
    let module = module_of(session)?;
    parameter.no_message(parameter_len)?;
    module.verify_message_begin(session)
}

/// NULL for the signature says that more parts follow.
pub fn verify_message_next(
    session: CK_SESSION_HANDLE,
    parameter: Ptr<'_, c_void>,
    parameter_len: CK_ULONG,
    part: Ptr<'_, CK_BYTE>,
    part_len: CK_ULONG,
    signature: Ptr<'_, CK_BYTE>,
    signature_len: CK_ULONG,
) -> Result<()> {
    let module = module_of(session)?;
    parameter.no_message(parameter_len)?;
    let signature = if signature.is_null() {
        None
    } else {
        Some(signature.bytes(signature_len)?)
    };
    module.verify_message_next(session, part.bytes(part_len)?, signature)
}

pub fn message_verify_final(session: CK_SESSION_HANDLE) -> Result<()> {
    module_of(session)?.message_verify_final(session)
}
