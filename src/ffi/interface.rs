//! The function tables, as applications ask for them. Works before `C_Initialize`.

use crate::ck::*;
use crate::error::Result;

use super::raw::Ptr;
use super::{TABLE_2_40, TABLE_3_0, V2_40, V3_0};

const NAME: &[u8] = b"PKCS 11";

/// A `CK_INTERFACE` of ours.
#[repr(transparent)]
struct Interface(CK_INTERFACE);

#[allow(unsafe_code, reason = "raw pointers in a static")]
// SAFETY: its pointers are to statics that nobody writes to.
unsafe impl Sync for Interface {}

impl Interface {
    const fn new(table: *const std::ffi::c_void) -> Interface {
        // Not CKF_INTERFACE_FORK_SAFE: that flag promises that a child goes on with its parent's sessions. Ours starts anew.
        Interface(CK_INTERFACE {
            pInterfaceName: c"PKCS 11".as_ptr().cast_mut().cast(),
            pFunctionList: table.cast_mut(),
            flags: 0,
        })
    }
}

/// The newest first: it is what applications get that have no wish.
static INTERFACES: [(CK_VERSION, Interface); 2] = [
    (V3_0, Interface::new((&raw const TABLE_3_0).cast())),
    (V2_40, Interface::new((&raw const TABLE_2_40).cast())),
];

/// `C_GetFunctionList`: the table of 2.40, whose shape is the only one that applications of the old function expect.
pub fn function_list(list: Ptr<'_, *mut CK_FUNCTION_LIST>) -> Result<()> {
    list.write((&raw const TABLE_2_40).cast_mut())
}

/// `C_GetInterfaceList`.
pub fn interface_list(list: Ptr<'_, CK_INTERFACE>, count: Ptr<'_, CK_ULONG>) -> Result<()> {
    list.write_list(
        count,
        &INTERFACES.each_ref().map(|(_, interface)| interface.0),
    )
}

/// `C_GetInterface`. NULL for the name or the version is "any". Some applications ask for `CKF_INTERFACE_FORK_SAFE` and take no
/// for an answer badly: they get an interface, which does not claim it.
pub fn interface(
    name: Ptr<'_, CK_UTF8CHAR>,
    version: Ptr<'_, CK_VERSION>,
    found: Ptr<'_, *mut CK_INTERFACE>,
    flags: CK_FLAGS,
) -> Result<()> {
    found.not_null()?;
    if !(name.is_null() || name.is_text(NAME)) || flags & !CKF_INTERFACE_FORK_SAFE != 0 {
        Err(CKR_ARGUMENTS_BAD)?;
    }
    let wanted = if version.is_null() {
        None
    } else {
        Some(version.read()?)
    };
    let fits =
        |has: &CK_VERSION| wanted.is_none_or(|v| (v.major, v.minor) == (has.major, has.minor));
    let (_, interface) = INTERFACES
        .iter()
        .find(|(version, _)| fits(version))
        .ok_or(CKR_ARGUMENTS_BAD)?;
    found.write((&raw const interface.0).cast_mut())
}
