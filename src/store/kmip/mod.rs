//! A [`KeyStore`] over KMIP: whatever vendor, version 1.0 to 2.1.

use super::{Ability, Algorithm, Changes, Cipher, Filter, KeyStore, Mac, Message, Meta, Revocation, Signing, Spec, Uid};
use crate::ck::CKR_FUNCTION_NOT_SUPPORTED;
use crate::error::Result;
use crate::net;
use crate::secret::Secret;

/// The keys that a group of KMIP hosts holds.
#[derive(Debug)]
pub struct KmipStore {
    pool: net::Pool,
}

impl KmipStore {
    /// A store on the hosts of `config`. Nothing is sent before the first call that needs it.
    pub fn open(config: net::Config) -> Result<KmipStore> {
        Ok(KmipStore { pool: net::Pool::new(&config) })
    }
}

impl KeyStore for KmipStore {
    fn can(&self, _: Ability) -> Result<bool> {
        let _ = &self.pool;
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }
    fn locate(&self, _: &Filter) -> Result<Vec<Uid>> {
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }
    fn meta(&self, _: &[Uid]) -> Result<Vec<Meta>> {
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }
    fn create(&self, _: &Spec) -> Result<Uid> {
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }
    fn create_pair(&self, _: &Spec, _: &Spec) -> Result<(Uid, Uid)> {
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }
    fn register(&self, _: &Spec, _: &[u8]) -> Result<Uid> {
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }
    fn fetch(&self, _: &Uid) -> Result<Secret> {
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }
    fn update(&self, _: &Uid, _: &Changes) -> Result<()> {
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }
    fn activate(&self, _: &Uid) -> Result<()> {
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }
    fn revoke(&self, _: &Uid, _: Revocation) -> Result<()> {
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }
    fn destroy(&self, _: &Uid) -> Result<()> {
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }
    fn encrypt(&self, _: &Uid, _: Algorithm, _: &Cipher, _: &[u8]) -> Result<Vec<u8>> {
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }
    fn decrypt(&self, _: &Uid, _: Algorithm, _: &Cipher, _: &[u8]) -> Result<Secret> {
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }
    fn sign(&self, _: &Uid, _: Signing, _: Message<'_>) -> Result<Vec<u8>> {
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }
    fn mac(&self, _: &Uid, _: Mac, _: &[u8]) -> Result<Vec<u8>> {
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }
    fn random(&self, _: usize) -> Result<Secret> {
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }
}
