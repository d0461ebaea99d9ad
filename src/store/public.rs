//! What a token shows before login: a [`KeyStore`] of public objects that needs no key.

use std::collections::HashMap;
use std::sync::Arc;

use super::{
    Ability, Algorithm, Changes, Cipher, Filter, KeyStore, Mac, Message, Meta, Revocation, Signing,
    Spec, Uid,
};
use crate::ck::{CKR_ACTION_PROHIBITED, CKR_OBJECT_HANDLE_INVALID, CKR_USER_NOT_LOGGED_IN};
use crate::crypto::rng;
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;

/// The public objects of one state, with their values.
#[derive(Default)]
pub struct Shown {
    objects: Vec<(Meta, Secret)>,
    positions: HashMap<Uid, usize>,
}

impl Shown {
    fn get(&self, uid: &Uid) -> Result<&(Meta, Secret)> {
        let position = self.positions.get(uid).ok_or_else(|| {
            let message = format!("there is no public object {uid}");
            Error::new(Kind::Pkcs11, CKR_OBJECT_HANDLE_INVALID, message)
        })?;
        Ok(&self.objects[*position])
    }
}

impl FromIterator<(Meta, Secret)> for Shown {
    fn from_iter<I: IntoIterator<Item = (Meta, Secret)>>(objects: I) -> Shown {
        let objects: Vec<(Meta, Secret)> = objects.into_iter().collect();
        let numbered = objects.iter().enumerate();
        let positions = numbered
            .map(|(at, (meta, _))| (meta.uid.clone(), at))
            .collect();
        Shown { objects, positions }
    }
}

/// Where public objects come from.
pub trait Public: Send + Sync {
    /// Those that there are now.
    fn shown(&self) -> Result<Arc<Shown>>;

    /// Adds one. `CKR_USER_NOT_LOGGED_IN` where only the user can.
    fn add(&self, _spec: &Spec, _value: Secret) -> Result<Uid> {
        needs_login()
    }

    /// Changes one, or with `None` removes it. `CKR_ACTION_PROHIBITED` where only the user can.
    fn change(&self, uid: &Uid, _changes: Option<&Changes>) -> Result<()> {
        Err(needs_user(uid))
    }
}

/// The error of a change that only the user may make.
pub fn needs_user(uid: &Uid) -> Error {
    let message = format!("the object {uid} can only be changed by the user: log in");
    Error::new(Kind::Pkcs11, CKR_ACTION_PROHIBITED, message)
}

fn needs_login<T>() -> Result<T> {
    Err(Error::from(CKR_USER_NOT_LOGGED_IN))
}

/// The public objects of a token.
pub struct PublicStore<P>(pub P);

fn fits(meta: &Meta, filter: &Filter) -> bool {
    let is_among = |wanted: &Option<String>, own: &[String]| {
        wanted.as_ref().is_none_or(|wanted| own.contains(wanted))
    };
    filter.class.is_none_or(|class| class == meta.class)
        && (filter.label.is_none() || filter.label == meta.label)
        && (filter.id.is_none() || filter.id == meta.id)
        && is_among(&filter.name, &meta.names)
        && is_among(&filter.group, &meta.groups)
}

impl<P: Public> KeyStore for PublicStore<P> {
    fn can(&self, _ability: Ability) -> Result<bool> {
        Ok(false)
    }

    fn locate(&self, filter: &Filter) -> Result<Vec<Uid>> {
        let shown = self.0.shown()?;
        let metas = shown.objects.iter().map(|(meta, _)| meta);
        let fitting = metas.filter(|meta| fits(meta, filter));
        Ok(fitting.map(|meta| meta.uid.clone()).collect())
    }

    fn meta(&self, uids: &[Uid]) -> Result<Vec<Meta>> {
        let shown = self.0.shown()?;
        let objects = uids.iter().filter_map(|uid| shown.get(uid).ok());
        Ok(objects.map(|(meta, _)| meta.clone()).collect())
    }

    fn create(&self, _spec: &Spec) -> Result<Uid> {
        needs_login()
    }

    fn create_pair(&self, _public: &Spec, _private: &Spec) -> Result<(Uid, Uid)> {
        needs_login()
    }

    fn register(&self, spec: &Spec, value: &[u8]) -> Result<Uid> {
        self.0.add(spec, Secret::new(value.to_vec()))
    }

    fn fetch(&self, uid: &Uid) -> Result<Secret> {
        Ok(self.0.shown()?.get(uid)?.1.duplicate())
    }

    fn update(&self, uid: &Uid, changes: &Changes) -> Result<()> {
        self.0.shown()?.get(uid)?;
        self.0.change(uid, Some(changes))
    }

    fn activate(&self, uid: &Uid) -> Result<()> {
        Err(needs_user(uid))
    }

    fn revoke(&self, uid: &Uid, _reason: Revocation) -> Result<()> {
        Err(needs_user(uid))
    }

    fn destroy(&self, uid: &Uid) -> Result<()> {
        self.0.shown()?.get(uid)?;
        self.0.change(uid, None)
    }

    fn encrypt(
        &self,
        _uid: &Uid,
        _algorithm: Algorithm,
        _cipher: &Cipher,
        _data: &[u8],
    ) -> Result<Vec<u8>> {
        needs_login()
    }

    fn decrypt(
        &self,
        _uid: &Uid,
        _algorithm: Algorithm,
        _cipher: &Cipher,
        _data: &[u8],
    ) -> Result<Secret> {
        needs_login()
    }

    fn sign(&self, _uid: &Uid, _signing: Signing, _message: Message<'_>) -> Result<Vec<u8>> {
        needs_login()
    }

    fn mac(&self, _uid: &Uid, _mac: Mac, _data: &[u8]) -> Result<Vec<u8>> {
        needs_login()
    }

    fn random(&self, len: usize) -> Result<Secret> {
        rng::bytes(len)
    }
}
