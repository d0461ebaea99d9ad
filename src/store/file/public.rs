//! The public objects of a file token, without its key.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::{About, FileObject};
use crate::ck::CKR_USER_NOT_LOGGED_IN;
use crate::error::Result;
use crate::secret::Secret;
use crate::storage::{Content, PublicObjects, Record, Stamp, new_uuid};
use crate::store::public::{Public, Shown, needs_user};
use crate::store::{Changes, Spec, Uid, now};

/// The public objects in a token directory. What was there at the last login can be read; what was added since can also be changed.
pub struct PublicFile {
    objects: PublicObjects,
    read: Mutex<Option<(Stamp, Arc<Shown>)>>,
}

impl PublicFile {
    /// Opens the objects at `path`; `None` if there is no database yet.
    pub fn open(path: &Path) -> Result<Option<PublicFile>> {
        let objects = PublicObjects::open(path)?;
        Ok(objects.map(|objects| PublicFile {
            objects,
            read: Mutex::default(),
        }))
    }
}

impl Public for PublicFile {
    fn shown(&self) -> Result<Arc<Shown>> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.objects.stamp();
        if let (Some(now), Some((stamp, shown))) = (now, &*read)
            && now == *stamp
        {
            return Ok(shown.clone());
        }
        let contents = self.objects.all()?.into_iter();
        let objects = contents.map(|content| {
            let object = FileObject::parse(&content.uid, &content.about, content.value)?;
            Ok((object.meta(), object.value))
        });
        let shown = Arc::new(objects.collect::<Result<Shown>>()?);
        *read = now.map(|now| (now, shown.clone()));
        Ok(shown)
    }

    fn add(&self, spec: &Spec, value: Secret) -> Result<Uid> {
        let about = About::of(spec, now());
        if !about.is_public() {
            return Err(CKR_USER_NOT_LOGGED_IN.into());
        }
        let uid = Uid(new_uuid()?);
        let about = about.to_bytes()?;
        self.objects.change(|added| {
            added.push(Content {
                uid: uid.0.clone(),
                counted: None,
                tags: Vec::new(),
                about: about.clone(),
                value: value.duplicate(),
            });
            Ok(())
        })?;
        Ok(uid)
    }

    fn change(&self, uid: &Uid, changes: Option<&Changes>) -> Result<()> {
        self.objects.change(|added| {
            let at = added.iter().position(|content| content.uid == uid.0);
            let at = at.ok_or_else(|| needs_user(uid))?;
            let Some(changes) = changes else {
                added.remove(at);
                return Ok(());
            };
            let content = &mut added[at];
            let value = content.value.duplicate();
            let mut object = FileObject::parse(&content.uid, &content.about, value)?;
            object.about.update(changes);
            content.about = object.about.to_bytes()?;
            Ok(())
        })
    }
}
