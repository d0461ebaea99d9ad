//! Initialising a token again, and removing it.

use super::{Files, Identity, IdentityChange, Part, TokenFiles, sealed};
use crate::ck::CKR_TOKEN_WRITE_PROTECTED;
use crate::config;
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;
use crate::storage;
use crate::store::file::FileStore;
use crate::store::{Filter, KeyStore, Uid};
use crate::token::accepted::renewed_record;
use crate::token::cluster::ROLE_PROPERTY;
use crate::token::files::{ACCEPTED, LEARNT, OBJECTS, SERVED, TOKEN_KEY};
use crate::token::pin::{PinFile, TokenKey, Who};
use crate::token::{objects_key, open_files};

impl TokenFiles {
    /// Initialises the token again (`C_InitToken`): a new label, a new token key under the same SO PIN, no user PIN, and of the
    /// objects in the token directory only the cluster's keys. Hosts and identity stay, sealed under the new token key. Whatever
    /// was sealed under the old one, in a copy of the directory for instance, does not open any more. Objects on hosts are the
    /// caller's to destroy.
    ///
    /// Errors: `CKR_PIN_INCORRECT`, `CKR_PIN_LOCKED`, a configuration that was not accepted; then nothing is changed.
    pub fn reinit(&self, so_pin: &[u8], label: &str) -> Result<()> {
        config::check_label(label).map_err(Error::input)?;
        self.check_not_served()?;
        let (writer, _, old) = self.authorise(Who::So, so_pin)?;
        let trusted = self.trusted(&old)?;
        let mut config = self.dir.load()?;
        let token = config.by_uuid_mut(&self.uuid).ok_or_else(|| self.gone())?;
        token.label = label.into();
        let local = open_files(&self.dir, token, &old)?;
        let new = TokenKey::generate()?;
        let identity = self.resealed(&trusted.identity, &new)?;
        let pins = PinFile::new(&new, so_pin)?.to_text()?;
        let record = renewed_record(&new, &trusted, token, &identity)?;
        let learnt = self.relearnt(&old, &new)?;
        let mut files: Vec<(&str, &[u8])> = vec![(TOKEN_KEY, pins.as_bytes()), (ACCEPTED, &record)];
        files.extend(
            identity
                .iter()
                .filter_map(|(name, content)| content.as_deref().map(|c| (*name, c))),
        );
        files.extend(learnt.as_ref().map(|learnt| (LEARNT, learnt.as_slice())));
        writer.replace_folder(&self.uuid, &files, |folder| match &local {
            Some(local) => local.copy_to(
                &folder.join(OBJECTS),
                objects_key(&new)?.expose(),
                &cluster_keys(local)?,
            ),
            None => Ok(()),
        })?;
        // Killed here, the token has its old label, and everything else is done.
        writer.save(&config)?;
        let settled = self.change(&writer, &new)?;
        settled.commit(&IdentityChange::default()).map(|_| ())
    }

    /// Removes the token: its entry in `mrhsm.conf` first, then its folder, so that no entry is ever without its secrets. Objects
    /// on hosts stay.
    ///
    /// Errors: `CKR_PIN_INCORRECT`, `CKR_PIN_LOCKED`; then nothing is changed.
    pub fn remove(&self, so_pin: &[u8]) -> Result<()> {
        self.check_not_served()?;
        let (writer, _, _) = self.authorise(Who::So, so_pin)?;
        let mut config = self.dir.load()?;
        config.tokens.retain(|t| t.uuid != self.uuid);
        writer.save(&config)?;
        writer.remove_folder(&self.uuid)
    }

    /// The files of the identity, sealed under another token key.
    fn resealed(&self, identity: &Identity, new: &TokenKey) -> Result<Files> {
        fn part(content: Option<&[u8]>) -> Part<'_> {
            content.map_or(Part::Keep, Part::Set)
        }
        let change = IdentityChange {
            certificate: part(identity.certificate.as_deref()),
            key: part(identity.key.as_ref().map(Secret::expose)),
            ca: part(identity.ca.as_deref()),
            crl: part(identity.crl.as_deref()),
            password: part(identity.password.as_ref().map(Secret::expose)),
        };
        sealed(new, &self.uuid, &change)
    }

    /// What was learnt of the hosts, sealed under another token key; `None` where nothing is believed.
    fn relearnt(&self, old: &TokenKey, new: &TokenKey) -> Result<Option<Vec<u8>>> {
        let Some(sealed) = self.dir.read(&self.uuid, LEARNT)? else {
            return Ok(None);
        };
        let text = old.open(&self.uuid, LEARNT, sealed.expose()).ok();
        text.map(|text| new.seal(&self.uuid, LEARNT, text.expose()))
            .transpose()
    }

    /// Refuses the folder of the embedded server: with it, everybody's objects would be lost.
    fn check_not_served(&self) -> Result<()> {
        let path = self.dir.path().join(&self.uuid).join(SERVED);
        if !storage::open::exists(&path) {
            return Ok(());
        }
        let message = format!(
            "{} holds the objects of mrhsm serve, for all its clients: remove the directory by hand if nobody needs them",
            path.display()
        );
        Err(Error::new(Kind::File, CKR_TOKEN_WRITE_PROTECTED, message))
    }
}

/// The cluster's keys: without them, what the CLDB and DARE keys encrypt is lost.
fn cluster_keys(local: &FileStore) -> Result<Vec<Uid>> {
    let metas = local.meta(&local.locate(&Filter::default())?)?;
    let kept = metas
        .into_iter()
        .filter(|meta| meta.properties.contains_key(ROLE_PROPERTY));
    Ok(kept.map(|meta| meta.uid).collect())
}
