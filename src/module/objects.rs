//! Objects: making, finding, reading and changing them.

use std::sync::Arc;

use super::Module;
use crate::ck::*;
use crate::config::CryptoPolicy;
use crate::error::Result;
use crate::session::Session;
use crate::token::attr::Purpose;
use crate::token::object::{Attributes, Object};
use crate::token::objects::Source;
use crate::token::policy::{self, Origin, Roles};
use crate::token::template::{Answer, Template};
use crate::token::value;

impl Module {
    /// `C_CreateObject`.
    pub fn create_object(
        &self,
        h: CK_SESSION_HANDLE,
        template: Template,
    ) -> Result<CK_OBJECT_HANDLE> {
        let session = self.session(h)?;
        let rights = session.rights();
        let mut draft = template.draft(Purpose::Create, None, None, rights)?;
        let value = value::assemble(&mut draft)?;
        let guarded = is_guarded(&draft.attributes);
        let said = Roles::of(&draft.attributes);
        draft.complete();
        if draft.attributes.class() == CKO_SECRET_KEY
            && !guarded
            && !draft.attributes.flag(CKA_TOKEN)
        {
            unguard(&mut draft.attributes);
        }
        let policy = session.token.key_policy();
        policy::settle(policy, Origin::New, &mut draft.attributes, said)?;
        rights.check(&draft.attributes)?;
        let _operations = session.operations();
        Ok(self
            .add(&session, draft.attributes, Source::Given(value))?
            .handle)
    }

    /// Makes an object in a session. One that does not outlive the session or the login is taken back when that ended meanwhile: whoever
    /// ended it has already cleared away what there was.
    pub(super) fn add(
        &self,
        session: &Session,
        attributes: Attributes,
        source: Source,
    ) -> Result<Arc<Object>> {
        let object = session.token.add(attributes, source, session.handle)?;
        let still_there = self
            .check_session(session.handle)
            .map_err(|_| CKR_SESSION_CLOSED)
            .and_then(|()| {
                if object.is_private() && !session.rights().user {
                    Err(CKR_USER_NOT_LOGGED_IN)
                } else {
                    Ok(())
                }
            });
        match still_there {
            Err(ended) if !object.is_token() => {
                session.token.destroy(&object)?;
                Err(ended.into())
            }
            _ => Ok(object),
        }
    }

    /// `C_CopyObject`.
    pub fn copy_object(
        &self,
        h: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        template: Template,
    ) -> Result<CK_OBJECT_HANDLE> {
        let session = self.session(h)?;
        let _operations = session.operations();
        let object = session.object(object)?;
        let rights = session.rights();
        if !object.attributes.flag(CKA_COPYABLE) {
            return Err(CKR_ACTION_PROHIBITED.into());
        }
        let policy = session.token.key_policy();
        policy::check_copy(policy, &object.attributes)?;
        let mut attributes = template.changes(Purpose::Copy, &object.attributes, rights)?;
        policy::check_change(policy, &object.attributes, &attributes)?;
        rights.check(&attributes)?;
        // A key that does not leave the store cannot be copied there: KMIP has no such operation.
        let closed =
            object.is_token() && object.is_hidden() && !object.attributes.flag(CKA_EXTRACTABLE);
        if session.token.keeps(&object) || closed && session.token.policy() == CryptoPolicy::Server
        {
            return Err(CKR_ACTION_PROHIBITED.into());
        }
        let value = session.token.value(&object)?;
        let facts: Vec<_> = attributes
            .iter()
            .map(|(kind, _)| kind)
            .filter(|kind| kind & CKA_VENDOR_DEFINED != 0)
            .collect();
        for kind in facts {
            attributes.remove(kind);
        }
        Ok(self
            .add(&session, attributes, Source::Given(value.duplicate()))?
            .handle)
    }

    /// `C_DestroyObject`.
    pub fn destroy_object(&self, h: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> Result<()> {
        let session = self.session(h)?;
        let _operations = session.operations();
        let object = session.object(object)?;
        check_writable(&session, &object)?;
        if !object.attributes.flag(CKA_DESTROYABLE) {
            return Err(CKR_ACTION_PROHIBITED.into());
        }
        session.token.destroy(&object)
    }

    /// `C_GetObjectSize`: of its attributes and its value; of a secret that may not be seen, of its length alone.
    pub fn object_size(&self, h: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> Result<CK_ULONG> {
        let attributes = &self.session(h)?.object(object)?.attributes;
        let known = attributes
            .iter()
            .map(|(_, value)| value.len() as CK_ULONG)
            .sum::<CK_ULONG>();
        if attributes.class() == CKO_SECRET_KEY {
            return Ok(known + attributes.number(CKA_VALUE_LEN).unwrap_or(0));
        }
        // All numbers of a public key are in its CKA_PUBLIC_KEY_INFO, which says of a private key how long it is.
        let more = [CKA_VALUE, CKA_PUBLIC_KEY_INFO]
            .into_iter()
            .filter(|kind| !attributes.has(*kind))
            .collect::<Vec<_>>();
        let seen = self.attribute_values(h, object, &more)?;
        let lengths = seen.iter().map(|answer| {
            if let Answer::Value(value) = answer {
                value.len() as CK_ULONG
            } else {
                0
            }
        });
        Ok(known + lengths.sum::<CK_ULONG>())
    }

    /// `C_GetAttributeValue`: an answer for each of `kinds`, in order.
    pub fn attribute_values(
        &self,
        h: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        kinds: &[CK_ATTRIBUTE_TYPE],
    ) -> Result<Vec<Answer>> {
        let session = self.session(h)?;
        let _operations = session.operations();
        let object = session.object(object)?;
        kinds
            .iter()
            .map(|kind| session.token.attribute(&object, *kind))
            .collect()
    }

    /// `C_SetAttributeValue`.
    pub fn set_attribute_values(
        &self,
        h: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        template: Template,
    ) -> Result<()> {
        let session = self.session(h)?;
        let _operations = session.operations();
        let object = session.object(object)?;
        check_writable(&session, &object)?;
        if !object.attributes.flag(CKA_MODIFIABLE) {
            return Err(CKR_ACTION_PROHIBITED.into());
        }
        let new = template.changes(Purpose::Set, &object.attributes, session.rights())?;
        policy::check_change(session.token.key_policy(), &object.attributes, &new)?;
        if new == object.attributes {
            Ok(())
        } else {
            session.token.change(&object, new)
        }
    }

    /// `C_FindObjectsInit`.
    pub fn find_objects_init(&self, h: CK_SESSION_HANDLE, template: Template) -> Result<()> {
        let session = self.session(h)?;
        let mut operations = session.operations();
        if operations.find.is_some() {
            return Err(CKR_OPERATION_ACTIVE.into());
        }
        operations.find = Some(session.token.find(&template, session.rights())?.into());
        Ok(())
    }

    /// `C_FindObjects`: at most `max` handles.
    pub fn find_objects(&self, h: CK_SESSION_HANDLE, max: usize) -> Result<Vec<CK_OBJECT_HANDLE>> {
        let session = self.session(h)?;
        let mut operations = session.operations();
        let found = operations
            .find
            .as_mut()
            .ok_or(CKR_OPERATION_NOT_INITIALIZED)?;
        let count = max.min(found.len());
        Ok(found.drain(..count).collect())
    }

    /// `C_FindObjectsFinal`.
    pub fn find_objects_final(&self, h: CK_SESSION_HANDLE) -> Result<()> {
        self.session(h)?
            .operations()
            .find
            .take()
            .ok_or(CKR_OPERATION_NOT_INITIALIZED)?;
        Ok(())
    }
}

/// A token object is changed in read/write sessions only.
fn check_writable(session: &Session, object: &Object) -> Result<()> {
    if object.is_token() && !session.write {
        return Err(CKR_SESSION_READ_ONLY.into());
    }
    Ok(())
}

/// Whether a template, which gave these attributes, says that the key may not be read.
pub(super) fn is_guarded(attributes: &Attributes) -> bool {
    attributes.flag(CKA_SENSITIVE)
        || attributes.has(CKA_EXTRACTABLE) && !attributes.flag(CKA_EXTRACTABLE)
}

/// A secret that this process knows anyway, for as long as its session, may be read and wrapped unless somebody says no: that is what
/// applications bring and protocols derive it for (Java's `KeyAgreement` and `Cipher.wrap` ask for no attributes).
pub(super) fn unguard(attributes: &mut Attributes) {
    attributes.set_flag(CKA_SENSITIVE, false);
    attributes.set_flag(CKA_EXTRACTABLE, true);
}
