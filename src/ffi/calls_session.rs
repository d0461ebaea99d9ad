//! Session functions, login, PINs, and what is left of parallel functions (PKCS#11 3.0, 5.6 and 5.16).

use std::ffi::c_void;

use crate::ck::*;
use crate::error::Result;
use crate::process;

use super::module_of;
use super::raw::Ptr;

pub fn open_session(
    slot: CK_SLOT_ID,
    flags: CK_FLAGS,
    _application: Ptr<'_, c_void>,
    _notify: CK_NOTIFY,
    session: Ptr<'_, CK_SESSION_HANDLE>,
) -> Result<()> {
    let module = process::module()?;
    session.not_null()?;
    session.write(module.open_session(slot, flags)?)
}

pub fn close_session(session: CK_SESSION_HANDLE) -> Result<()> {
    process::module()?.close_session(session)
}

pub fn close_all_sessions(slot: CK_SLOT_ID) -> Result<()> {
    process::module()?.close_all_sessions(slot)
}

pub fn session_info(session: CK_SESSION_HANDLE, info: Ptr<'_, CK_SESSION_INFO>) -> Result<()> {
    info.write(process::module()?.session_info(session)?)
}

pub fn operation_state(
    session: CK_SESSION_HANDLE,
    state: Ptr<'_, CK_BYTE>,
    len: Ptr<'_, CK_ULONG>,
) -> Result<()> {
    let module = module_of(session)?;
    let state = state.buffer(len)?;
    let output = module.operation_state(session, state.room())?;
    state.put(output)
}

pub fn set_operation_state(
    session: CK_SESSION_HANDLE,
    state: Ptr<'_, CK_BYTE>,
    len: CK_ULONG,
    encryption_key: CK_OBJECT_HANDLE,
    authentication_key: CK_OBJECT_HANDLE,
) -> Result<()> {
    module_of(session)?.set_operation_state(
        session,
        state.bytes(len)?,
        encryption_key,
        authentication_key,
    )
}

pub fn login(
    session: CK_SESSION_HANDLE,
    user: CK_USER_TYPE,
    pin: Ptr<'_, CK_UTF8CHAR>,
    pin_len: CK_ULONG,
) -> Result<()> {
    module_of(session)?.login(session, user, pin.pin(pin_len)?)
}

pub fn login_user(
    session: CK_SESSION_HANDLE,
    user: CK_USER_TYPE,
    pin: Ptr<'_, CK_UTF8CHAR>,
    pin_len: CK_ULONG,
    name: Ptr<'_, CK_UTF8CHAR>,
    name_len: CK_ULONG,
) -> Result<()> {
    module_of(session)?.login_user(session, user, pin.pin(pin_len)?, name.bytes(name_len)?)
}

pub fn logout(session: CK_SESSION_HANDLE) -> Result<()> {
    process::module()?.logout(session)
}

pub fn init_pin(
    session: CK_SESSION_HANDLE,
    pin: Ptr<'_, CK_UTF8CHAR>,
    pin_len: CK_ULONG,
) -> Result<()> {
    module_of(session)?.init_pin(session, pin.pin(pin_len)?)
}

pub fn set_pin(
    session: CK_SESSION_HANDLE,
    old: Ptr<'_, CK_UTF8CHAR>,
    old_len: CK_ULONG,
    new: Ptr<'_, CK_UTF8CHAR>,
    new_len: CK_ULONG,
) -> Result<()> {
    module_of(session)?.set_pin(session, old.pin(old_len)?, new.pin(new_len)?)
}

pub fn session_cancel(session: CK_SESSION_HANDLE, flags: CK_FLAGS) -> Result<()> {
    process::module()?.session_cancel(session, flags)
}

/// Nothing runs in parallel since 2.0, whatever the session.
pub fn function_status(_session: CK_SESSION_HANDLE) -> Result<()> {
    process::module()?;
    Err(CKR_FUNCTION_NOT_PARALLEL)?
}

/// Nothing runs in parallel since 2.0, whatever the session.
pub fn cancel_function(_session: CK_SESSION_HANDLE) -> Result<()> {
    process::module()?;
    Err(CKR_FUNCTION_NOT_PARALLEL)?
}
