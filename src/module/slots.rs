//! Slots and tokens, as `C_GetInfo` to `C_InitToken` show them.

use super::Module;
use crate::ck::{
    CK_FLAGS, CK_INFO, CK_MECHANISM_INFO, CK_MECHANISM_TYPE, CK_SLOT_ID, CK_SLOT_INFO, CK_TOKEN_INFO, CK_VERSION,
    CKR_FUNCTION_NOT_SUPPORTED,
};
use crate::error::Result;

impl Module {
    /// `C_GetInfo`.
    pub fn info(&self) -> CK_INFO {
        CK_INFO {
            cryptokiVersion: CK_VERSION { major: 3, minor: 0 },
            manufacturerID: padded("mrhsm"),
            flags: 0,
            libraryDescription: padded("PKCS#11 on KMIP"),
            libraryVersion: CK_VERSION { major: 0, minor: 1 },
        }
    }

    /// `C_GetSlotList`, on the size query (`refresh`) after reading the token directory again. No network.
    pub fn slot_list(&self, token_present: bool, refresh: bool) -> Result<Vec<CK_SLOT_ID>> {
        let _ = (token_present, refresh);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_GetSlotInfo`. No network.
    pub fn slot_info(&self, slot: CK_SLOT_ID) -> Result<CK_SLOT_INFO> {
        let _ = (slot,);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_GetTokenInfo`. No network.
    pub fn token_info(&self, slot: CK_SLOT_ID) -> Result<CK_TOKEN_INFO> {
        let _ = (slot,);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_WaitForSlotEvent`: `CKR_NO_EVENT` when it must not block and nothing happened.
    pub fn wait_for_slot_event(&self, flags: CK_FLAGS) -> Result<CK_SLOT_ID> {
        let _ = (flags,);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_GetMechanismList`.
    pub fn mechanism_list(&self, slot: CK_SLOT_ID) -> Result<Vec<CK_MECHANISM_TYPE>> {
        let _ = (slot,);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_GetMechanismInfo`.
    pub fn mechanism_info(&self, slot: CK_SLOT_ID, kind: CK_MECHANISM_TYPE) -> Result<CK_MECHANISM_INFO> {
        let _ = (slot, kind);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_InitToken`; `so_pin` is `None` for a NULL pointer, `label` as given, blank padded.
    pub fn init_token(&self, slot: CK_SLOT_ID, so_pin: Option<&[u8]>, label: &[u8; 32]) -> Result<()> {
        let _ = (slot, so_pin, label);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }
}

/// `text` in a field of `N` bytes, blank padded and cut where a character ends (PKCS#11 never uses a NUL there).
fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [b' '; N];
    let mut end = text.len().min(N);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    field[..end].copy_from_slice(&text.as_bytes()[..end]);
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_blank_padded_and_cut_between_characters() {
        assert_eq!(&padded::<6>("abc"), b"abc   ");
        assert_eq!(&padded::<4>("abcdef"), b"abcd");
        assert_eq!(&padded::<4>("abc\u{e9}"), b"abc ");
        assert_eq!(&padded::<3>(""), b"   ");
    }
}
