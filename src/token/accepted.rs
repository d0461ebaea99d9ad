//! The configuration of a token, authenticated: its settings in `mrhsm.conf`, its certificates, its sealed secrets.
//!
//! A record in the token's folder, sealed under the token key, holds the settings and the digests of the files that were
//! accepted with a PIN. [`TokenFiles::trusted`] compares what is in the directory with it; only what it returns is used to reach
//! hosts. [`Change`] is the one way to change any of it.
//!
//! A change touches several files, so the record first accepts the old state and the new, and at the end the new alone: a run
//! that is killed between leaves parts that were all accepted, and the next change completes it.
//!
//! Tokens of earlier versions have no record. They get one when a PIN first opens them ([`TokenFiles::adopt`]). From then on
//! three things say that there must be one, each of which takes the token key or a PIN to forge: the mark in the PIN's entry of
//! `token.key`, the mark in the other PIN's, and the form in which the client key and the password are sealed.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::files::{
    ACCEPTED, CA_CERT, CLIENT_CERT, CLIENT_KEY, CREDENTIAL, CRL, TOKEN_KEY, Writer,
};
use super::pin::{TokenKey, Who, is_sealed_by_earlier_version};
use super::secrets::{Files, Identity, IdentityChange, Part, TokenFiles, sealed};
use crate::ck::CKR_DEVICE_ERROR;
use crate::config::{Config, StoreKind, TokenConfig, to_hex};
use crate::crypto::{Hash, hash};
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;

#[cfg(test)]
mod tests;

/// The files that a record covers.
const COVERED: [&str; 5] = [CLIENT_CERT, CLIENT_KEY, CA_CERT, CRL, CREDENTIAL];
/// How often a reader looks again when it met a change half-way.
const ATTEMPTS: usize = 20;
const PAUSE: Duration = Duration::from_millis(20);
/// The format of the record.
const FORMAT: u32 = 1;

/// The configuration of a token as it was accepted with a PIN.
#[derive(Debug)]
pub struct Trusted {
    /// Its settings.
    pub config: TokenConfig,
    /// What the client shows to its hosts, opened.
    pub identity: Identity,
    version: Option<u64>,
}

impl Trusted {
    /// How many changes there were; `None` where a token of an earlier version cannot be written to.
    pub fn version(&self) -> Option<u64> {
        self.version
    }
}

/// What was accepted. A part has two values while a change is under way, and after one that did not come to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    format: u32,
    /// Counts the changes.
    version: u64,
    /// Texts of the token's entry in `mrhsm.conf`.
    settings: Vec<String>,
    /// SHA-256 of each covered file, `None` where there is none.
    files: BTreeMap<String, Vec<Option<String>>>,
}

/// What is in the directory now.
struct Present {
    config: TokenConfig,
    files: BTreeMap<&'static str, Option<Secret>>,
}

impl Record {
    /// The record that accepts this and nothing else.
    fn of(config: &TokenConfig, digests: BTreeMap<String, Option<String>>, version: u64) -> Record {
        let one = |(name, digest)| (name, vec![digest]);
        Record {
            format: FORMAT,
            version,
            settings: vec![config.to_text()],
            files: digests.into_iter().map(one).collect(),
        }
    }

    fn open(files: &TokenFiles, key: &TokenKey, content: &[u8]) -> Result<Record> {
        let text = key.open(files.uuid(), ACCEPTED, content).map_err(|_| {
            changed(format!(
                "{}/{ACCEPTED} is damaged or of another token",
                files.uuid()
            ))
        })?;
        let newer = |e: serde_json::Error| {
            Error::input(format!(
                "{}/{ACCEPTED} was written by a newer mrhsm: use that one",
                files.uuid()
            ))
            .with_rv(CKR_DEVICE_ERROR)
            .because(e)
        };
        let record: Record = serde_json::from_slice(text.expose()).map_err(newer)?;
        match record.format {
            FORMAT => Ok(record),
            other => Err(newer(serde::de::Error::custom(format!("format {other}")))),
        }
    }

    fn seal(&self, uuid: &str, key: &TokenKey) -> Result<Vec<u8>> {
        let text = serde_json::to_vec(self)
            .map_err(|e| Error::input("the accepted settings cannot be written").because(e))?;
        key.seal(uuid, ACCEPTED, &text)
    }

    /// Accepts what either of the two accepts.
    fn with(&self, other: &Record) -> Record {
        fn join<T: Clone + PartialEq>(a: &[T], b: &[T]) -> Vec<T> {
            let new = b.iter().filter(|value| !a.contains(value));
            a.iter().chain(new).cloned().collect()
        }
        let join_file = |name: &String| {
            let of = |record: &Record| record.files.get(name).cloned().unwrap_or_default();
            (name.clone(), join(&of(self), &of(other)))
        };
        Record {
            settings: join(&self.settings, &other.settings),
            files: self
                .files
                .keys()
                .chain(other.files.keys())
                .map(join_file)
                .collect(),
            ..other.clone()
        }
    }

    /// True when no change is under way.
    fn is_settled(&self) -> bool {
        self.settings.len() == 1 && self.files.values().all(|digests| digests.len() == 1)
    }

    /// Where the directory differs from what was accepted, a line each.
    fn differences(&self, present: &Present) -> Result<Vec<String>> {
        let path = std::path::Path::new(ACCEPTED);
        let accepted = self
            .settings
            .iter()
            .map(|text| TokenConfig::parse(text, path))
            .collect::<Result<Vec<_>>>()?;
        let mut lines = Vec::new();
        if !accepted.contains(&present.config)
            && let Some(last) = accepted.last()
        {
            lines = present.config.differences(last);
        }
        for (name, digest) in present.digests()? {
            let fits = self
                .files
                .get(&name)
                // A record that is older than the kind of file accepts none.
                .map_or(digest.is_none(), |digests| digests.contains(&digest));
            let what = if digest.is_some() {
                "another"
            } else {
                "missing"
            };
            lines.extend((!fits).then(|| format!("{name} is {what}")));
        }
        Ok(lines)
    }
}

impl Present {
    fn read(files: &TokenFiles) -> Result<(Config, Present)> {
        let whole = files.dir().load()?;
        let config = whole
            .by_uuid(files.uuid())
            .cloned()
            .ok_or_else(|| files.gone())?;
        let read = |name| Ok((name, files.dir().read(files.uuid(), name)?));
        let files = COVERED.into_iter().map(read).collect::<Result<_>>()?;
        Ok((whole, Present { config, files }))
    }

    fn file(&self, name: &str) -> Option<&Secret> {
        self.files.get(name).and_then(Option::as_ref)
    }

    fn digests(&self) -> Result<BTreeMap<String, Option<String>>> {
        self.files
            .iter()
            .map(|(name, content)| {
                Ok((
                    (*name).to_owned(),
                    digest(content.as_ref().map(Secret::expose))?,
                ))
            })
            .collect()
    }

    fn identity(&self, uuid: &str, key: &TokenKey) -> Result<Identity> {
        let plain = |name| self.file(name).map(|content| content.expose().to_vec());
        let open = |name| {
            self.file(name)
                .map(|content| key.open(uuid, name, content.expose()))
                .transpose()
        };
        Ok(Identity {
            certificate: plain(CLIENT_CERT),
            key: open(CLIENT_KEY)?,
            ca: plain(CA_CERT),
            crl: plain(CRL),
            password: open(CREDENTIAL)?,
        })
    }

    /// The secrets that were sealed by a version without records.
    fn sealed_before(&self) -> impl Iterator<Item = &'static str> {
        [CLIENT_KEY, CREDENTIAL].into_iter().filter(|name| {
            self.file(name)
                .is_some_and(|content| is_sealed_by_earlier_version(content.expose()))
        })
    }
}

impl TokenFiles {
    /// The token's configuration, if it is the one that was accepted.
    ///
    /// Errors: [`Kind::Changed`] (`CKR_DEVICE_ERROR`) when it is not; unreadable files.
    pub fn trusted(&self, key: &TokenKey) -> Result<Trusted> {
        for _ in 0..ATTEMPTS {
            let sealed = self.dir().read(self.uuid(), ACCEPTED)?;
            let judged = Present::read(self).and_then(|(_, present)| {
                let record = self.verify(key, sealed.as_ref(), &present)?;
                Ok(Trusted {
                    identity: present.identity(self.uuid(), key)?,
                    config: present.config,
                    version: record.map(|record| record.version),
                })
            });
            // Every change writes the record first and last, so with the same record nothing was half-way.
            if judged.is_ok() || self.dir().read(self.uuid(), ACCEPTED)? == sealed {
                return judged;
            }
            std::thread::sleep(PAUSE);
        }
        Err(Error::new(
            Kind::File,
            CKR_DEVICE_ERROR,
            format!(
                "{} changes all the time; try again",
                self.dir().config_path().display()
            ),
        ))
    }

    /// Begins a change of the configuration, if it is the one that was accepted.
    pub fn change<'a>(&'a self, writer: &'a Writer<'_>, key: &'a TokenKey) -> Result<Change<'a>> {
        let (whole, present) = Present::read(self)?;
        let sealed = self.dir().read(self.uuid(), ACCEPTED)?;
        let record = self.verify(key, sealed.as_ref(), &present)?;
        let stored = present.identity(self.uuid(), key)?;
        Change::new(self, writer, key, whole, present, record, stored)
    }

    /// Begins a change that accepts the configuration as it is, and tells in what it differs from what was accepted before. The
    /// caller has the SO PIN.
    pub fn accept<'a>(
        &'a self,
        writer: &'a Writer<'_>,
        key: &'a TokenKey,
    ) -> Result<(Change<'a>, Vec<String>)> {
        let (whole, present) = Present::read(self)?;
        let sealed = self.dir().read(self.uuid(), ACCEPTED)?;
        let record = match sealed.map(|sealed| Record::open(self, key, sealed.expose())) {
            Some(Err(e)) if e.kind() != Kind::Changed => return Err(e),
            record => record.and_then(Result::ok),
        };
        let differences = match &record {
            Some(record) => record.differences(&present)?,
            None => vec![format!("{ACCEPTED} is missing or damaged")],
        };
        // A secret that does not open is as good as none: it can be set anew.
        let mut stored = Identity::default();
        if let Ok(identity) = present.identity(self.uuid(), key) {
            stored = identity;
        }
        let mut change = Change::new(self, writer, key, whole, present, record, stored)?;
        change.is_accepting = !differences.is_empty();
        Ok((change, differences))
    }

    /// Makes the record of a token of an earlier version, now that a PIN has opened it. Where that is not possible, because the
    /// directory cannot be written to or what is there is not what such a token has, the key is returned as it was.
    pub(super) fn adopt(&self, key: TokenKey, who: Who, pin: &[u8]) -> TokenKey {
        if key.is_authenticated() {
            return key;
        }
        match self.try_adopt(&key, who, pin) {
            Ok(()) => key.authenticated(),
            Err(e) => {
                crate::log!(Info, "the configuration is not authenticated yet: {e}");
                key
            }
        }
    }

    fn try_adopt(&self, key: &TokenKey, who: Who, pin: &[u8]) -> Result<()> {
        // Does not wait for another writer: a later attempt serves as well.
        let dir = self.dir().clone().with_patience(Duration::ZERO);
        let writer = dir.lock()?;
        let mut change = self.change(&writer, key)?;
        let mut again = |name, secret: fn(&mut Identity) -> &mut Option<Secret>| {
            let secret = secret(&mut change.stored).take();
            secret.filter(|_| change.sealed_before.contains(&name))
        };
        let client_key = again(CLIENT_KEY, |stored| &mut stored.key);
        let password = again(CREDENTIAL, |stored| &mut stored.password);
        fn part(secret: &Option<Secret>) -> Part<'_> {
            secret
                .as_ref()
                .map_or(Part::Keep, |secret| Part::Set(secret.expose()))
        }
        change.commit(&IdentityChange {
            key: part(&client_key),
            password: part(&password),
            ..IdentityChange::default()
        })?;
        // Last: whatever comes before it can be done again by the next one who gives this PIN.
        let mut pins = self.pins()?;
        pins.mark(who, pin)?;
        writer.write(
            self.uuid(),
            &[(TOKEN_KEY, Some(pins.to_text()?.as_bytes()))],
        )
    }

    /// Compares what is there with the record; `None` for a token of an earlier version, which has none.
    fn verify(
        &self,
        key: &TokenKey,
        sealed: Option<&Secret>,
        present: &Present,
    ) -> Result<Option<Record>> {
        let label = &present.config.label;
        let Some(sealed) = sealed else {
            return match self.must_have_record(key, present)? {
                None => Ok(None),
                Some(why) => Err(refused(label, &[why])),
            };
        };
        let record = Record::open(self, key, sealed.expose()).map_err(|e| match e.kind() {
            Kind::Changed => refused(label, &[e.to_string()]),
            _ => e,
        })?;
        match record.differences(present)? {
            differences if differences.is_empty() => Ok(Some(record)),
            differences => Err(refused(label, &differences)),
        }
    }

    /// Why a token without a record must have had one; `None` when it may be of an earlier version.
    fn must_have_record(&self, key: &TokenKey, present: &Present) -> Result<Option<String>> {
        let missing = format!("{}/{ACCEPTED} is missing", self.uuid());
        if key.is_authenticated() || self.pins()?.has_mark() {
            return Ok(Some(missing));
        }
        let secrets = [CLIENT_KEY, CREDENTIAL]
            .into_iter()
            .filter(|name| present.file(name).is_some());
        let before = present.sealed_before().count();
        if secrets.count() != before {
            return Ok(Some(missing));
        }
        // What is taken on trust here must at least come with a secret of this token that no newer version has touched.
        let settings = &present.config.settings;
        let uses_hosts = settings.store == StoreKind::Kmip || present.config.moving;
        if uses_hosts && !settings.hosts.is_empty() {
            if before == 0 {
                return Ok(Some(
                    "nothing that is sealed in its folder says that these hosts are its own".into(),
                ));
            }
            present.identity(self.uuid(), key)?;
        }
        Ok(None)
    }
}

/// A change of a token's configuration, under the lock of the directory. Nothing is written before [`Change::commit`].
pub struct Change<'a> {
    files: &'a TokenFiles,
    writer: &'a Writer<'a>,
    key: &'a TokenKey,
    whole: Config,
    before: TokenConfig,
    digests: BTreeMap<String, Option<String>>,
    record: Option<Record>,
    sealed_before: Vec<&'static str>,
    stored: Identity,
    is_accepting: bool,
    /// The settings, to be changed.
    pub config: TokenConfig,
}

impl<'a> Change<'a> {
    fn new(
        files: &'a TokenFiles,
        writer: &'a Writer<'_>,
        key: &'a TokenKey,
        whole: Config,
        present: Present,
        record: Option<Record>,
        stored: Identity,
    ) -> Result<Change<'a>> {
        Ok(Change {
            files,
            writer,
            key,
            whole,
            before: present.config.clone(),
            digests: present.digests()?,
            record,
            sealed_before: present.sealed_before().collect(),
            stored,
            is_accepting: false,
            config: present.config,
        })
    }

    /// The identity that is stored now.
    pub fn stored(&self) -> &Identity {
        &self.stored
    }

    /// The settings as they are before the change.
    pub fn before(&self) -> &TokenConfig {
        &self.before
    }

    /// Writes the settings and the identity; false when both were so already. Killed or failing anywhere, it leaves a token that
    /// works, and can be made again.
    pub fn commit(mut self, identity: &IdentityChange<'_>) -> Result<bool> {
        let uuid = self.files.uuid();
        let files = sealed(self.key, uuid, identity)?;
        let settings_changed = self.config != self.before;
        let changed = settings_changed || !files.is_empty() || self.is_accepting;
        let settled = self.record.as_ref().is_some_and(Record::is_settled);
        if settled && !changed {
            return Ok(false);
        }
        let version = self.record.as_ref().map_or(0, |record| record.version) + 1;
        let old = Record::of(&self.before, self.digests.clone(), version);
        for (name, content) in &files {
            self.digests
                .insert((*name).to_owned(), digest(content.as_deref())?);
        }
        let new = Record::of(&self.config, self.digests, version);
        let write = |record: &Record| {
            let sealed = record.seal(uuid, self.key)?;
            self.writer.write(uuid, &[(ACCEPTED, Some(&sealed))])
        };
        if settings_changed || !files.is_empty() {
            write(&old.with(&new))?;
        }
        if settings_changed {
            let entry = self
                .whole
                .by_uuid_mut(uuid)
                .ok_or_else(|| self.files.gone())?;
            *entry = self.config;
            self.writer.save(&self.whole)?;
        }
        if !files.is_empty() {
            self.writer.write(uuid, &borrowed(&files))?;
        }
        write(&new)?;
        Ok(changed)
    }
}

/// The sealed record of a token that is being made with these files.
pub(super) fn first_record(key: &TokenKey, token: &TokenConfig, files: &Files) -> Result<Vec<u8>> {
    Record::of(token, digests(files)?, 1).seal(&token.uuid, key)
}

/// The sealed record of a token that gets a new token key and these files, while its settings become `after`. Accepts the old
/// settings too, until the next change is committed.
pub(super) fn renewed_record(
    key: &TokenKey,
    before: &Trusted,
    after: &TokenConfig,
    files: &Files,
) -> Result<Vec<u8>> {
    let version = before.version.unwrap_or_default() + 1;
    let old = Record::of(&before.config, digests(files)?, version);
    let new = Record::of(after, digests(files)?, version);
    old.with(&new).seal(&after.uuid, key)
}

/// The digests of the covered files among these.
fn digests(files: &Files) -> Result<BTreeMap<String, Option<String>>> {
    let digests = COVERED.into_iter().map(|name| {
        let content = files.iter().find(|(file, _)| *file == name);
        Ok((
            name.to_owned(),
            digest(content.and_then(|(_, content)| content.as_deref()))?,
        ))
    });
    digests.collect()
}

/// Files as a writer takes them.
fn borrowed(files: &Files) -> Vec<(&'static str, Option<&[u8]>)> {
    files
        .iter()
        .map(|(name, content)| (*name, content.as_deref()))
        .collect()
}

fn digest(content: Option<&[u8]>) -> Result<Option<String>> {
    content
        .map(|content| Ok(to_hex(&hash::digest(Hash::Sha256, content)?)))
        .transpose()
}

fn refused(label: &str, differences: &[String]) -> Error {
    changed(format!(
        "the configuration of token '{label}' was changed outside mrhsm and is not used ({}). If you changed it, accept it with \
         'mrhsm set -accept' and the SO PIN; if not, somebody else did: restore it from a backup",
        differences.join("; ")
    ))
}

fn changed(message: String) -> Error {
    Error::new(Kind::Changed, CKR_DEVICE_ERROR, message)
}
