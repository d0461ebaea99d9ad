//! General-purpose, slot and token functions (PKCS#11 3.0, 5.4 and 5.5).

use std::ffi::c_void;

use crate::ck::*;
use crate::error::Result;
use crate::process;
use crate::secret::reserve;

use super::guard;
use super::raw::Ptr;

pub fn initialize(args: Ptr<'_, c_void>) -> Result<()> {
    guard::keep_panics_off_stderr();
    // Without a reserve, where a process may map no more, the module works too.
    let _ = reserve::hold();
    process::initialize(args.init_args()?)
}

pub fn finalize(reserved: Ptr<'_, c_void>) -> Result<()> {
    if !reserved.is_null() {
        process::module()?;
        Err(CKR_ARGUMENTS_BAD)?;
    }
    process::finalize()?;
    reserve::end();
    Ok(())
}

pub fn info(info: Ptr<'_, CK_INFO>) -> Result<()> {
    info.write(process::module()?.info())
}

pub fn slot_list(
    present: CK_BBOOL,
    list: Ptr<'_, CK_SLOT_ID>,
    count: Ptr<'_, CK_ULONG>,
) -> Result<()> {
    let module = process::module()?;
    count.not_null()?;
    list.write_list(
        count,
        &module.slot_list(present != CK_FALSE, list.is_null())?,
    )
}

pub fn slot_info(slot: CK_SLOT_ID, info: Ptr<'_, CK_SLOT_INFO>) -> Result<()> {
    info.write(process::module()?.slot_info(slot)?)
}

pub fn token_info(slot: CK_SLOT_ID, info: Ptr<'_, CK_TOKEN_INFO>) -> Result<()> {
    info.write(process::module()?.token_info(slot)?)
}

pub fn mechanism_list(
    slot: CK_SLOT_ID,
    list: Ptr<'_, CK_MECHANISM_TYPE>,
    count: Ptr<'_, CK_ULONG>,
) -> Result<()> {
    list.write_list(count, &process::module()?.mechanism_list(slot)?)
}

pub fn mechanism_info(
    slot: CK_SLOT_ID,
    kind: CK_MECHANISM_TYPE,
    info: Ptr<'_, CK_MECHANISM_INFO>,
) -> Result<()> {
    info.write(process::module()?.mechanism_info(slot, kind)?)
}

pub fn init_token(
    slot: CK_SLOT_ID,
    pin: Ptr<'_, CK_UTF8CHAR>,
    pin_len: CK_ULONG,
    label: Ptr<'_, CK_UTF8CHAR>,
) -> Result<()> {
    let module = process::module()?;
    module.init_token(slot, pin.pin(pin_len)?, &label.field()?)
}

pub fn wait_for_slot_event(
    flags: CK_FLAGS,
    slot: Ptr<'_, CK_SLOT_ID>,
    reserved: Ptr<'_, c_void>,
) -> Result<()> {
    let module = process::module()?;
    slot.not_null()?;
    if !reserved.is_null() {
        Err(CKR_ARGUMENTS_BAD)?;
    }
    slot.write(module.wait_for_slot_event(flags)?)
}
