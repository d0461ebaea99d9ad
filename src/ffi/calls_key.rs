//! Key management and random number functions (PKCS#11 3.0, 5.17 and 5.18).
#![expect(
    clippy::too_many_arguments,
    reason = "as many as the standard's functions have"
)]

use crate::ck::*;
use crate::error::Result;

use super::module_of;
use super::raw::Ptr;

pub fn generate_key(
    session: CK_SESSION_HANDLE,
    mechanism: Ptr<'_, CK_MECHANISM>,
    template: Ptr<'_, CK_ATTRIBUTE>,
    count: CK_ULONG,
    key: Ptr<'_, CK_OBJECT_HANDLE>,
) -> Result<()> {
    let module = module_of(session)?;
    key.not_null()?;
    key.write(module.generate_key(session, mechanism.mechanism()?, template.template(count)?)?)
}

pub fn generate_key_pair(
    session: CK_SESSION_HANDLE,
    mechanism: Ptr<'_, CK_MECHANISM>,
    public: Ptr<'_, CK_ATTRIBUTE>,
    public_count: CK_ULONG,
    private: Ptr<'_, CK_ATTRIBUTE>,
    private_count: CK_ULONG,
    public_key: Ptr<'_, CK_OBJECT_HANDLE>,
    private_key: Ptr<'_, CK_OBJECT_HANDLE>,
) -> Result<()> {
    let module = module_of(session)?;
    public_key.not_null()?;
    private_key.not_null()?;
    let (public, private) = (
        public.template(public_count)?,
        private.template(private_count)?,
    );
    let (public, private) =
        module.generate_key_pair(session, mechanism.mechanism()?, public, private)?;
    public_key.write(public)?;
    private_key.write(private)
}

pub fn wrap_key(
    session: CK_SESSION_HANDLE,
    mechanism: Ptr<'_, CK_MECHANISM>,
    wrapping: CK_OBJECT_HANDLE,
    key: CK_OBJECT_HANDLE,
    out: Ptr<'_, CK_BYTE>,
    out_len: Ptr<'_, CK_ULONG>,
) -> Result<()> {
    let module = module_of(session)?;
    let out = out.buffer(out_len)?;
    let output = module.wrap_key(session, mechanism.mechanism()?, wrapping, key, out.room())?;
    out.put(output)
}

pub fn unwrap_key(
    session: CK_SESSION_HANDLE,
    mechanism: Ptr<'_, CK_MECHANISM>,
    unwrapping: CK_OBJECT_HANDLE,
    wrapped: Ptr<'_, CK_BYTE>,
    wrapped_len: CK_ULONG,
    template: Ptr<'_, CK_ATTRIBUTE>,
    count: CK_ULONG,
    key: Ptr<'_, CK_OBJECT_HANDLE>,
) -> Result<()> {
    let module = module_of(session)?;
    key.not_null()?;
    let (mechanism, template) = (mechanism.mechanism()?, template.template(count)?);
    key.write(module.unwrap_key(
        session,
        mechanism,
        unwrapping,
        wrapped.bytes(wrapped_len)?,
        template,
    )?)
}

pub fn derive_key(
    session: CK_SESSION_HANDLE,
    mechanism: Ptr<'_, CK_MECHANISM>,
    base: CK_OBJECT_HANDLE,
    template: Ptr<'_, CK_ATTRIBUTE>,
    count: CK_ULONG,
    key: Ptr<'_, CK_OBJECT_HANDLE>,
) -> Result<()> {
    let module = module_of(session)?;
    key.not_null()?;
    let (asked, template) = (mechanism.mechanism()?, template.template(count)?);
    let further = mechanism.derived_keys()?;
    match module.derive_keys(session, asked, base, template) {
        Ok(made) => std::iter::once(key)
            .chain(further)
            .zip(made)
            .try_for_each(|(at, handle)| at.write(handle)),
        Err(underived) => {
            // The standard's way to say whose template was wrong.
            if let Some(at) = underived.template.and_then(|i| further.get(i)) {
                at.write(CK_INVALID_HANDLE)?;
            }
            Err(underived.error)
        }
    }
}

pub fn seed_random(
    session: CK_SESSION_HANDLE,
    seed: Ptr<'_, CK_BYTE>,
    len: CK_ULONG,
) -> Result<()> {
    module_of(session)?.seed_random(session, seed.bytes(len)?)
}

pub fn generate_random(
    session: CK_SESSION_HANDLE,
    out: Ptr<'_, CK_BYTE>,
    len: CK_ULONG,
) -> Result<()> {
    let module = module_of(session)?;
    out.fill(len, |len| module.generate_random(session, len))
}
