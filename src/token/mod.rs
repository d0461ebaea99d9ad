//! Tokens: objects, templates, PINs and the token directory.

pub mod accepted;
pub mod attempts;
pub mod attr;
pub mod cluster;
#[cfg(test)]
pub(crate) mod double;
pub mod files;
mod learnt;
pub mod object;
pub mod objects;
pub mod pin;
pub mod policy;
pub mod secrets;
mod seen;
pub mod spec;
mod state;
pub mod template;
mod twins;
pub mod value;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use self::accepted::Trusted;
use self::files::TokenDir;
use self::learnt::Learnt;
use self::object::ObjectTable;
use self::objects::FindCache;
use self::pin::{TokenKey, Who};
use self::secrets::{Identity, TokenFiles};
use self::template::Rights;
use crate::ck::*;
use crate::config::{CryptoPolicy, KeyPolicy, StoreKind, TokenConfig};
use crate::crypto::{Hash, kdf};
use crate::error::Result;
use crate::secret::Secret;
use crate::storage;
use crate::store::file::{FileStore, PublicFile};
use crate::store::public::PublicStore;
use crate::store::{self, KeyStore, Signing, Uid};

/// Takes a lock, also after a panic in a thread that held it: what is guarded here is never left half changed.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many verdicts on signatures are remembered.
const VERDICTS: usize = 1024;

/// Where handles come from: one counter for sessions and objects of all tokens, so that none is ever used twice in a process.
#[derive(Debug, Default)]
pub struct Handles(AtomicU64);

impl Handles {
    /// The next handle; never 0, which is `CK_INVALID_HANDLE`.
    pub fn next(&self) -> CK_ULONG {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// Who is logged in to a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Login {
    /// Nobody.
    #[default]
    Public,
    /// The user.
    User,
    /// The security officer.
    So,
}

/// What opens with a PIN, and who opened it.
#[derive(Default)]
struct Access {
    login: Login,
    key: Option<Arc<TokenKey>>,
    store: Option<Arc<dyn KeyStore>>,
    /// What is shown before anybody logs in.
    public: Option<Arc<dyn KeyStore>>,
}

/// A token: a group of hosts, or the token directory, that keeps objects.
pub struct Token {
    dir: TokenDir,
    uuid: String,
    config: Mutex<TokenConfig>,
    handles: Arc<Handles>,
    access: Mutex<Access>,
    objects: Mutex<ObjectTable>,
    found: Mutex<FindCache>,
    seen: Mutex<seen::Seen>,
    refused: Mutex<HashSet<CK_MECHANISM_TYPE>>,
    /// Whether the first signature of a kind that the store made was right.
    verdicts: Mutex<HashMap<(CK_MECHANISM_TYPE, Signing), bool>>,
    /// Keys of the store, and parameters with which it has refused to sign with them.
    declined: Mutex<HashSet<(Uid, Signing)>>,
    checks: state::Checks,
    /// A store of a test's own, instead of the one that the configuration names.
    #[cfg(test)]
    pub(crate) double: Mutex<Option<Arc<double::Double>>>,
}

impl Token {
    /// The token that `config` describes. Reads nothing and sends nothing.
    pub fn new(dir: &TokenDir, config: TokenConfig, handles: Arc<Handles>) -> Token {
        Token {
            dir: dir.clone(),
            uuid: config.uuid.clone(),
            config: Mutex::new(config),
            handles,
            access: Mutex::default(),
            objects: Mutex::default(),
            found: Mutex::default(),
            seen: Mutex::default(),
            refused: Mutex::default(),
            verdicts: Mutex::default(),
            declined: Mutex::default(),
            checks: state::Checks::default(),
            #[cfg(test)]
            double: Mutex::default(),
        }
    }

    /// Name of the token's folder.
    pub fn uuid(&self) -> &str {
        &self.uuid
    }

    /// What the token directory says of it.
    pub fn config(&self) -> TokenConfig {
        lock(&self.config).clone()
    }

    /// Takes over settings that need not be verified, because they are, or because nothing was opened yet.
    pub fn set_config(&self, config: TokenConfig) {
        *lock(&self.config) = config;
    }

    /// Takes over what the token directory says now. Whoever is logged in goes on with settings that were accepted.
    pub fn refresh(&self, config: TokenConfig) {
        if self.config() == config {
            return;
        }
        let mut access = lock(&self.access);
        let Some(key) = access.key.clone() else {
            // What was opened with the kept PIN is opened again, and verified then.
            access.store = None;
            access.public = None;
            drop(access);
            return self.set_config(config);
        };
        drop(access);
        match self.files().trusted(&key) {
            Ok(trusted) => self.set_config(trusted.config),
            Err(e) => crate::log!(Error, "{e}"),
        }
    }

    /// Its folder.
    pub fn files(&self) -> TokenFiles {
        TokenFiles::of(&self.dir, &self.uuid)
    }

    /// Who is logged in.
    pub fn login_state(&self) -> Login {
        lock(&self.access).login
    }

    /// What a session may do that is read/write or not.
    pub fn rights(&self, write: bool) -> Rights {
        let login = self.login_state();
        Rights {
            write,
            user: login == Login::User,
            so: login == Login::So,
            guarded: self.key_policy() == KeyPolicy::Strict,
        }
    }

    /// Checks a PIN, verifies the configuration with what it opens, and logs its owner in (`C_Login`).
    ///
    /// `CKR_USER_ALREADY_LOGGED_IN`, `CKR_USER_ANOTHER_ALREADY_LOGGED_IN`, `CKR_PIN_INCORRECT`, `CKR_USER_PIN_NOT_INITIALIZED`;
    /// `CKR_DEVICE_ERROR` when the PIN is right and the configuration was changed.
    pub fn login(&self, who: Who, pin: &[u8]) -> Result<()> {
        let wanted = if who == Who::So {
            Login::So
        } else {
            Login::User
        };
        let check = |login| match login {
            Login::Public => Ok(()),
            same if same == wanted => Err(CKR_USER_ALREADY_LOGGED_IN),
            _ => Err(CKR_USER_ANOTHER_ALREADY_LOGGED_IN),
        };
        check(self.login_state())?;
        // Slow on purpose, so not under the lock.
        let key = self.files().unlock(who, pin)?;
        let trusted = self.files().trusted(&key)?;
        let mut access = lock(&self.access);
        check(access.login)?;
        self.set_config(trusted.config);
        access.login = wanted;
        access.key = Some(Arc::new(key));
        access.public = None;
        drop(access);
        self.forget_finds();
        Ok(())
    }

    /// Checks the user's PIN without logging in (`CKU_CONTEXT_SPECIFIC`).
    pub fn check_user_pin(&self, pin: &[u8]) -> Result<()> {
        self.files().unlock(Who::User, pin).map(|_| ())
    }

    /// Logs out: private objects lose their handles, private session objects their lives, and the token key is forgotten.
    /// `CKR_USER_NOT_LOGGED_IN` when nobody was logged in.
    pub fn logout(&self) -> Result<()> {
        let mut access = lock(&self.access);
        if access.login == Login::Public {
            return Err(CKR_USER_NOT_LOGGED_IN.into());
        }
        let before = std::mem::take(&mut *access);
        drop(access);
        if before.login == Login::User {
            self.save_seen();
        }
        lock(&self.objects).retain(|o| !o.is_private());
        self.forget_finds();
        Ok(())
    }

    /// The token key, while somebody is logged in.
    pub fn key(&self) -> Result<Arc<TokenKey>> {
        Ok(lock(&self.access)
            .key
            .clone()
            .ok_or(CKR_USER_NOT_LOGGED_IN)?)
    }

    /// The store, opened when it is first needed: with the token key of who is logged in, or with the user PIN where that is kept for
    /// unattended use. Where neither is there, the store of the public objects, and `CKR_USER_NOT_LOGGED_IN` if there is none.
    /// Sends nothing.
    pub fn store(&self) -> Result<Arc<dyn KeyStore>> {
        let access = lock(&self.access);
        if let Some(store) = &access.store {
            return Ok(store.clone());
        }
        let logged_in = access.key.clone();
        drop(access);
        #[cfg(test)]
        if let (Some(double), Some(_)) = (&*lock(&self.double), &logged_in) {
            return Ok(double.clone());
        }
        let key = match &logged_in {
            Some(key) => key.clone(),
            None => match self.files().kept_user_pin()? {
                Some(pin) => Arc::new(self.files().unlock(Who::User, pin.expose())?),
                None => return self.public_store(),
            },
        };
        // Read anew: the objects of a file token may have moved to a key manager since this process began.
        let trusted = self.files().trusted(&key)?;
        self.set_config(trusted.config.clone());
        let store = open_store(&self.dir, trusted, &key)?;
        let mut access = lock(&self.access);
        // A logout meanwhile has forgotten the key, and what it opened is not kept for who comes next.
        match access.key.as_ref().map(Arc::as_ptr) == logged_in.as_ref().map(Arc::as_ptr) {
            true => Ok(access.store.get_or_insert(store).clone()),
            false => Ok(store),
        }
    }

    /// The store of the public objects.
    fn public_store(&self) -> Result<Arc<dyn KeyStore>> {
        if let Some(public) = &lock(&self.access).public {
            return Ok(public.clone());
        }
        let config = self.config();
        let store: Arc<dyn KeyStore> = match config.settings.store {
            StoreKind::File => {
                let public = PublicFile::open(&objects_path(&self.dir, &config))?;
                Arc::new(PublicStore(public.ok_or(CKR_USER_NOT_LOGGED_IN)?))
            }
            StoreKind::Kmip => Arc::new(PublicStore(self.seen_before()?)),
        };
        let mut access = lock(&self.access);
        match access.login {
            Login::Public => Ok(access.public.get_or_insert(store).clone()),
            _ => Ok(store),
        }
    }

    /// Wipes the values whose time is over.
    pub fn expire(&self) {
        let store = lock(&self.access).store.clone();
        store.into_iter().for_each(|store| store.expire());
    }

    /// Where keys are used.
    pub fn policy(&self) -> CryptoPolicy {
        lock(&self.config).settings.crypto
    }

    /// Which uses of keys are allowed.
    pub fn key_policy(&self) -> KeyPolicy {
        lock(&self.config).settings.policy
    }

    /// True when keys may be at work in another device than this one: the mechanisms that can be are shown with `CKF_HW`.
    pub fn works_in_store(&self) -> bool {
        let settings = &lock(&self.config).settings;
        settings.store == StoreKind::Kmip && settings.crypto != CryptoPolicy::Local
    }

    /// True when the store has refused a mechanism before, so that it is not asked again.
    pub fn refused(&self, mechanism: CK_MECHANISM_TYPE) -> bool {
        lock(&self.refused).contains(&mechanism)
    }

    /// Remembers that the store refuses a mechanism.
    pub fn refuse(&self, mechanism: CK_MECHANISM_TYPE) {
        lock(&self.refused).insert(mechanism);
    }

    /// Whether the store signs rightly in this way; `None` until a signature was verified.
    pub fn verdict(&self, mechanism: CK_MECHANISM_TYPE, signing: Signing) -> Option<bool> {
        lock(&self.verdicts).get(&(mechanism, signing)).copied()
    }

    /// Remembers whether the store signs rightly in this way.
    pub fn judge(&self, mechanism: CK_MECHANISM_TYPE, signing: Signing, right: bool) {
        let mut verdicts = lock(&self.verdicts);
        // Salts of every length would fill it.
        if verdicts.len() >= VERDICTS {
            verdicts.clear();
        }
        verdicts.insert((mechanism, signing), right);
    }

    /// True when the store has refused before to sign so with a key.
    pub fn has_declined(&self, uid: &Uid, signing: Signing) -> bool {
        lock(&self.declined).contains(&(uid.clone(), signing))
    }

    /// Remembers that the store refuses to sign so with a key.
    pub fn decline(&self, uid: &Uid, signing: Signing) {
        let mut declined = lock(&self.declined);
        if declined.len() >= VERDICTS {
            declined.clear();
        }
        declined.insert((uid.clone(), signing));
    }

    /// How long what was read about a key is good enough to use it.
    fn key_age(&self) -> Duration {
        Duration::from_millis(lock(&self.config).settings.key_cache_millis)
    }
}

/// Opens the store of a token with its key. Sends nothing.
pub fn open_store(dir: &TokenDir, trusted: Trusted, key: &TokenKey) -> Result<Arc<dyn KeyStore>> {
    let Trusted {
        config, identity, ..
    } = trusted;
    let memory = Arc::new(Learnt::of(dir, &config.uuid, key)?);
    store::open(
        &config,
        identity.into(),
        &objects_path(dir, &config),
        &objects_key(key)?,
        memory,
    )
}

/// The hosts of a token, whoever holds its keys now. Sends nothing.
pub fn open_hosts(trusted: Trusted) -> Result<Arc<dyn KeyStore>> {
    store::hosts(&trusted.config, trusted.identity.into())
}

/// The objects that the token directory holds; `None` where it never held any.
pub fn open_files(
    dir: &TokenDir,
    config: &TokenConfig,
    key: &TokenKey,
) -> Result<Option<FileStore>> {
    let path = objects_path(dir, config);
    match storage::open::exists(&path) {
        true => FileStore::open(&path, objects_key(key)?.expose()).map(Some),
        false => Ok(None),
    }
}

impl From<Identity> for store::Access {
    fn from(identity: Identity) -> store::Access {
        store::Access {
            certificate: identity.certificate,
            key: identity.key,
            ca: identity.ca,
            crl: identity.crl,
            password: identity.password,
        }
    }
}

fn objects_path(dir: &TokenDir, config: &TokenConfig) -> PathBuf {
    dir.path().join(&config.uuid).join(files::OBJECTS)
}

/// The token key itself seals the files of the folder; the objects have a key of their own.
fn objects_key(key: &TokenKey) -> Result<Secret> {
    kdf::hkdf(Hash::Sha256, &[], key.expose(), b"mrhsm objects", 32)
}
