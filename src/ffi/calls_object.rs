//! Object management functions (PKCS#11 3.0, 5.7).

use crate::ck::*;
use crate::error::Result;
use crate::process;

use super::module_of;
use super::raw::Ptr;

pub fn create_object(
    session: CK_SESSION_HANDLE,
    template: Ptr<'_, CK_ATTRIBUTE>,
    count: CK_ULONG,
    object: Ptr<'_, CK_OBJECT_HANDLE>,
) -> Result<()> {
    let module = module_of(session)?;
    object.not_null()?;
    object.write(module.create_object(session, template.template(count)?)?)
}

pub fn copy_object(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    template: Ptr<'_, CK_ATTRIBUTE>,
    count: CK_ULONG,
    copy: Ptr<'_, CK_OBJECT_HANDLE>,
) -> Result<()> {
    let module = module_of(session)?;
    copy.not_null()?;
    copy.write(module.copy_object(session, object, template.template(count)?)?)
}

pub fn destroy_object(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> Result<()> {
    process::module()?.destroy_object(session, object)
}

pub fn object_size(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    size: Ptr<'_, CK_ULONG>,
) -> Result<()> {
    let module = module_of(session)?;
    size.not_null()?;
    size.write(module.object_size(session, object)?)
}

pub fn attribute_values(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    template: Ptr<'_, CK_ATTRIBUTE>,
    count: CK_ULONG,
) -> Result<()> {
    let module = module_of(session)?;
    let rows = template.rows(count)?;
    let answers = module.attribute_values(session, object, rows.kinds())?;
    rows.put(&answers)
}

pub fn set_attribute_values(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    template: Ptr<'_, CK_ATTRIBUTE>,
    count: CK_ULONG,
) -> Result<()> {
    module_of(session)?.set_attribute_values(session, object, template.template(count)?)
}

pub fn find_objects_init(
    session: CK_SESSION_HANDLE,
    template: Ptr<'_, CK_ATTRIBUTE>,
    count: CK_ULONG,
) -> Result<()> {
    module_of(session)?.find_objects_init(session, template.template(count)?)
}

pub fn find_objects(
    session: CK_SESSION_HANDLE,
    objects: Ptr<'_, CK_OBJECT_HANDLE>,
    max: CK_ULONG,
    count: Ptr<'_, CK_ULONG>,
) -> Result<()> {
    let module = module_of(session)?;
    count.not_null()?;
    if max > 0 {
        objects.not_null()?;
    }
    let found = module.find_objects(session, usize::try_from(max).unwrap_or(usize::MAX))?;
    objects.write_all(&found)?;
    count.write(found.len() as CK_ULONG)
}

pub fn find_objects_final(session: CK_SESSION_HANDLE) -> Result<()> {
    process::module()?.find_objects_final(session)
}
