//! Keys made of other keys.

use super::Module;
use super::keys::fitted;
use super::objects::{is_guarded, unguard};
use crate::ck::*;
use crate::config::KeyPolicy;
use crate::error::{Error, Result};
use crate::mech::derive::{Derived, Guard, derive, usual_len};
use crate::mech::{self, Mechanism, Params};
use crate::secret::Secret;
use crate::session::{Function, Session};
use crate::token::attr::Purpose;
use crate::token::object::{Attributes, unflatten};
use crate::token::objects::Source;
use crate::token::policy::{self, Guarded, Origin, Roles};
use crate::token::template::{Draft, Template};
use crate::token::value;

/// Why nothing was derived, and whether the template of a key besides the first was to blame.
#[derive(Debug)]
pub struct Underived {
    /// The error.
    pub error: Error,
    /// Which of the further keys' templates it is about.
    pub template: Option<usize>,
}

impl From<Error> for Underived {
    fn from(error: Error) -> Underived {
        Underived {
            error,
            template: None,
        }
    }
}

impl From<CK_RV> for Underived {
    fn from(rv: CK_RV) -> Underived {
        Error::from(rv).into()
    }
}

/// A key that shall be derived.
struct Wanted {
    draft: Draft,
    /// Its length, where that is known.
    len: Option<usize>,
    /// Whether the template says how it is guarded: SENSITIVE, EXTRACTABLE.
    says: [bool; 2],
    /// Whether the template says that it may not be read.
    guarded: bool,
    /// The roles that the template gives it.
    roles: Roles,
}

impl Module {
    /// `C_DeriveKey` of one key.
    pub fn derive_key(
        &self,
        h: CK_SESSION_HANDLE,
        mechanism: Mechanism,
        base: CK_OBJECT_HANDLE,
        template: Template,
    ) -> Result<CK_OBJECT_HANDLE> {
        let keys = self
            .derive_keys(h, mechanism, base, template)
            .map_err(|e| e.error)?;
        Ok(*keys.first().ok_or(CKR_FUNCTION_FAILED)?)
    }

    /// `C_DeriveKey`: the key of `template`, then those whose templates the mechanism's parameter has. All or none.
    pub fn derive_keys(
        &self,
        h: CK_SESSION_HANDLE,
        mut mechanism: Mechanism,
        base: CK_OBJECT_HANDLE,
        template: Template,
    ) -> Result<Vec<CK_OBJECT_HANDLE>, Underived> {
        let session = self.session(h)?;
        mech::serving(mechanism.kind, CKF_DERIVE)?;
        let further = match &mut mechanism.params {
            Params::Sp800108 { more_keys, .. } => std::mem::take(more_keys),
            _ => Vec::new(),
        };
        let mut operations = session.operations();
        let base = session.mech_key(base)?;
        operations.allow(Function::Derive, &[&base.object])?;
        let attributes = &base.object.attributes;
        let mut wanted = Vec::with_capacity(1 + further.len());
        for (i, template) in std::iter::once(template).chain(further).enumerate() {
            let made = Wanted::of(&session, mechanism.kind, template, attributes);
            wanted.push(made.map_err(|error| Underived {
                error,
                template: i.checked_sub(1),
            })?);
        }
        let lens: Vec<_> = wanted.iter().map(|key| key.len).collect();
        let derived = derive(&mechanism, &base, &lens, &|handle| session.mech_key(handle))?;
        let mut made = Vec::with_capacity(wanted.len());
        for (i, (key, value)) in wanted.into_iter().zip(&derived.values).enumerate() {
            let added = key
                .filled(session.token.key_policy(), &derived, attributes, value)
                .and_then(|(a, v)| self.add(&session, a, Source::Given(v)));
            match added {
                Ok(object) => made.push(object),
                Err(error) => {
                    // None of several keys stays behind.
                    for object in &made {
                        let _ = session.token.destroy(object);
                    }
                    return Err(Underived {
                        error,
                        template: i.checked_sub(1),
                    });
                }
            }
        }
        Ok(made.iter().map(|object| object.handle).collect())
    }
}

impl Wanted {
    /// What a template asks for, with what the base key demands.
    fn of(
        session: &Session,
        mechanism: CK_MECHANISM_TYPE,
        mut template: Template,
        base: &Attributes,
    ) -> Result<Wanted> {
        let rights = session.rights();
        let data = mechanism == CKM_HKDF_DATA;
        let mut len = None;
        if data && template.bytes(CKA_VALUE_LEN).is_some() {
            // Data have no such attribute; here it says how much to derive.
            len = Some(
                template
                    .number(CKA_VALUE_LEN)
                    .ok_or(CKR_ATTRIBUTE_VALUE_INVALID)?,
            );
            template.0.retain(|a| a.kind != CKA_VALUE_LEN);
        }
        let class = if data { CKO_DATA } else { CKO_SECRET_KEY };
        let imposed = base
            .bytes(CKA_DERIVE_TEMPLATE)
            .map(unflatten)
            .unwrap_or_default();
        let key_type = imposed.number(CKA_KEY_TYPE).unwrap_or(CKK_GENERIC_SECRET);
        let key_type = (!data && template.number(CKA_KEY_TYPE).is_none()).then_some(key_type);
        let mut draft = template.draft(Purpose::Derive, Some(class), key_type, rights)?;
        draft.impose(&imposed, Purpose::Derive, rights)?;
        let len = match draft.attributes.number(CKA_VALUE_LEN).or(len) {
            Some(len) => Some(usize::try_from(len).map_err(|_| CKR_ATTRIBUTE_VALUE_INVALID)?),
            None => draft.attributes.key_type().and_then(usual_len),
        };
        let says = [CKA_SENSITIVE, CKA_EXTRACTABLE].map(|kind| draft.attributes.has(kind));
        let guarded = is_guarded(&draft.attributes);
        let roles = Roles::of(&draft.attributes);
        draft.complete();
        rights.check(&draft.attributes)?;
        Ok(Wanted {
            draft,
            len,
            says,
            guarded,
            roles,
        })
    }

    /// The attributes and the value of the key that was derived from `base` and others.
    fn filled(
        mut self,
        policy: KeyPolicy,
        derived: &Derived,
        base: &Attributes,
        value: &Secret,
    ) -> Result<(Attributes, Secret)> {
        if self.draft.attributes.class() == CKO_DATA {
            return Ok((self.draft.attributes, value.duplicate()));
        }
        let parents =
            || std::iter::once(base).chain(derived.others.iter().map(|key| &key.object.attributes));
        match derived.guard {
            Guard::Inherits => {
                parents().try_for_each(|parent| inherit(&mut self.draft, parent, self.says))?;
            }
            Guard::AsBase => {
                for (kind, said) in [CKA_SENSITIVE, CKA_EXTRACTABLE].into_iter().zip(self.says) {
                    if !said {
                        self.draft.attributes.set_flag(kind, base.flag(kind));
                    }
                }
            }
            Guard::Free if !self.guarded && !self.draft.attributes.flag(CKA_TOKEN) => {
                unguard(&mut self.draft.attributes);
            }
            Guard::Free => {}
        }
        let mut attributes = self.draft.attributes;
        let protected = parents().any(policy::is_protected);
        if protected {
            let [sensitive, extractable] = self.says;
            policy::guard(
                policy,
                &mut attributes,
                Guarded::Derived,
                |kind| match kind {
                    CKA_SENSITIVE => sensitive,
                    _ => extractable,
                },
            )?;
        }
        policy::settle(policy, Origin::Repeatable, &mut attributes, self.roles)?;
        let (sensitive, hidden) = (
            attributes.flag(CKA_SENSITIVE),
            !attributes.flag(CKA_EXTRACTABLE),
        );
        attributes.set_flag(
            CKA_ALWAYS_SENSITIVE,
            sensitive && parents().all(|p| p.flag(CKA_ALWAYS_SENSITIVE)),
        );
        attributes.set_flag(
            CKA_NEVER_EXTRACTABLE,
            hidden && parents().all(|p| p.flag(CKA_NEVER_EXTRACTABLE)),
        );
        let value = value.expose();
        let value = value
            .get(..self.len.unwrap_or(value.len()))
            .ok_or(CKR_KEY_SIZE_RANGE)?;
        if protected {
            policy::check_derived_len(policy, value.len())?;
        }
        let value = match attributes.key_type() {
            Some(CKK_DES3) => value::with_parity(value),
            _ => Secret::new(value.to_vec()),
        };
        let value = fitted(&attributes, value, 0)?;
        value::adopt(&mut attributes, &value)?;
        Ok((attributes, value))
    }
}

/// A key made of another is guarded at least as well; a template that says otherwise is refused.
fn inherit(draft: &mut Draft, parent: &Attributes, says: [bool; 2]) -> Result<()> {
    let kinds = [(CKA_SENSITIVE, true), (CKA_EXTRACTABLE, false)];
    for ((kind, guarded), said) in kinds.into_iter().zip(says) {
        if parent.flag(kind) != guarded {
            continue;
        }
        if said && draft.attributes.flag(kind) != guarded {
            return Err(CKR_TEMPLATE_INCONSISTENT.into());
        }
        draft.attributes.set_flag(kind, guarded);
    }
    Ok(())
}
