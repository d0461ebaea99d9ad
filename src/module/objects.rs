//! Objects: making, finding, reading and changing them.

use super::Module;
use crate::ck::{CK_ATTRIBUTE_TYPE, CK_OBJECT_HANDLE, CK_SESSION_HANDLE, CK_ULONG, CKR_FUNCTION_NOT_SUPPORTED};
use crate::error::Result;
use crate::token::template::{Answer, Template};

impl Module {
    /// `C_CreateObject`.
    pub fn create_object(&self, h: CK_SESSION_HANDLE, template: Template) -> Result<CK_OBJECT_HANDLE> {
        let _ = (h, template);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_CopyObject`.
    pub fn copy_object(&self, h: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, template: Template) -> Result<CK_OBJECT_HANDLE> {
        let _ = (h, object, template);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_DestroyObject`.
    pub fn destroy_object(&self, h: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> Result<()> {
        let _ = (h, object);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_GetObjectSize`.
    pub fn object_size(&self, h: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> Result<CK_ULONG> {
        let _ = (h, object);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_GetAttributeValue`: an answer for each of `kinds`, in order.
    pub fn attribute_values(
        &self,
        h: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        kinds: &[CK_ATTRIBUTE_TYPE],
    ) -> Result<Vec<Answer>> {
        let _ = (h, object, kinds);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_SetAttributeValue`.
    pub fn set_attribute_values(&self, h: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, template: Template) -> Result<()> {
        let _ = (h, object, template);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_FindObjectsInit`.
    pub fn find_objects_init(&self, h: CK_SESSION_HANDLE, template: Template) -> Result<()> {
        let _ = (h, template);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_FindObjects`: at most `max` handles.
    pub fn find_objects(&self, h: CK_SESSION_HANDLE, max: usize) -> Result<Vec<CK_OBJECT_HANDLE>> {
        let _ = (h, max);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_FindObjectsFinal`.
    pub fn find_objects_final(&self, h: CK_SESSION_HANDLE) -> Result<()> {
        let _ = (h,);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }
}
