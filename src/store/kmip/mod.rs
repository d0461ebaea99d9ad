//! A [`KeyStore`] over KMIP: whatever vendor, version 1.0 to 2.1.
//!
//! Nothing is known of a server before it was tried (`facts`): an optional field that is refused is left out from then on.

mod attrs;
mod crypt;
mod facts;
mod find;
pub mod keys;
mod life;
mod make;
mod material;
mod notes;
mod proof;
mod record;
mod settle;
mod sign;
mod terms;
#[cfg(test)]
mod tests;
mod trial;
mod wrap;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock};

use super::{
    Ability, Algorithm, Changes, Cipher, Class, Correlation, Curve, Filter, Hash, KeyStore, Mac,
    Memory, Message, Meta, Revocation, Signing, Spec, Uid, Wrapping,
};
use crate::crypto::hash::digest;
use crate::error::{Error, Result};
use crate::kmip::{OperationCode, QueryFunction, QueryRequest, QueryResponse};
use crate::net::{Call, Client, Config, Host, Pool, Transport};
use crate::secret::Secret;
use crate::ttlv::{Encode, Tag, Value, Writer};
use crate::version::Version;
use facts::{Fact, Facts};
use notes::Notes;
use proof::Verdict;
use sign::SignForm;
use trial::Act;

/// The keys that a group of KMIP hosts holds.
#[derive(Debug)]
pub struct KmipStore<T = Pool> {
    client: Client<T>,
    facts: Facts,
    /// The hosts, for the notes about them.
    group: String,
    /// What Query answered.
    about: OnceLock<About>,
    /// What is remembered beyond this process.
    notes: Notes,
    /// What the server was found to do rightly or wrongly, see `proof`.
    verdicts: Mutex<HashMap<Act, Verdict>>,
    /// Held while something is tried out.
    trying: Mutex<()>,
    /// Encrypted padding blocks of keys in ECB mode, see `crypt`.
    padding: Mutex<HashMap<Uid, Vec<u8>>>,
    /// The curves of keys that signed, see `sign`.
    curves: Mutex<HashMap<Uid, Curve>>,
    /// How signatures are asked for, where not in the usual form, see `sign`.
    sign_forms: Mutex<HashMap<(Signing, bool), SignForm>>,
    /// How earlier processes asked for them.
    kept_forms: OnceLock<BTreeMap<String, SignForm>>,
    /// The algorithms that the server makes no key pairs of, see `make`.
    impossible_pairs: Mutex<HashSet<Algorithm>>,
}

impl KmipStore<Pool> {
    /// A store on the hosts of `config`. Nothing is sent before the first call that needs it.
    pub fn open(config: Config) -> Result<KmipStore<Pool>> {
        let group = config
            .hosts
            .iter()
            .map(Host::to_string)
            .collect::<Vec<_>>()
            .join(",");
        Ok(KmipStore {
            group,
            ..KmipStore::over(Client::new(config))
        })
    }
}

impl<T: Transport> KmipStore<T> {
    /// A store over any client.
    pub fn over(client: Client<T>) -> KmipStore<T> {
        KmipStore {
            client,
            facts: Facts::default(),
            group: String::new(),
            about: OnceLock::new(),
            notes: Notes::default(),
            verdicts: Mutex::default(),
            trying: Mutex::default(),
            padding: Mutex::default(),
            curves: Mutex::default(),
            sign_forms: Mutex::default(),
            kept_forms: OnceLock::new(),
            impossible_pairs: Mutex::default(),
        }
    }

    /// The KMIP version that is spoken; the first call negotiates it.
    pub fn version(&self) -> Result<Version> {
        self.client.call().version()
    }

    /// The same store, which keeps in `memory` what it learns of the server.
    pub fn remembering(self, memory: Arc<dyn Memory>) -> KmipStore<T> {
        KmipStore {
            notes: Notes::kept_by(memory),
            ..self
        }
    }

    /// What the server says of itself, asked once.
    fn about(&self, call: &Call<'_, T>) -> Result<&About> {
        if let Some(about) = self.about.get() {
            return Ok(about);
        }
        let ask = |query_functions| call.request(&QueryRequest { query_functions });
        let answer = match ask(vec![
            QueryFunction::QUERY_OPERATIONS,
            QueryFunction::QUERY_SERVER_INFORMATION,
        ]) {
            Err(e) if facts::is_refusal(&e) => match ask(vec![QueryFunction::QUERY_OPERATIONS]) {
                Err(e) if facts::is_refusal(&e) => QueryResponse::default(),
                answer => answer?,
            },
            answer => answer?,
        };
        let about = About {
            identity: identity(&answer, call.version()?)?,
            operations: answer.operations,
        };
        Ok(self.about.get_or_init(|| about))
    }

    /// The fact, the operation and its first version behind an ability.
    fn ability(&self, ability: Ability) -> (&Fact, OperationCode, Version) {
        match ability {
            Ability::Encrypt => (&self.facts.encrypt, OperationCode::ENCRYPT, Version::V1_2),
            Ability::Decrypt => (&self.facts.decrypt, OperationCode::DECRYPT, Version::V1_2),
            Ability::Sign => (&self.facts.sign, OperationCode::SIGN, Version::V1_2),
            Ability::Mac => (&self.facts.mac, OperationCode::MAC, Version::V1_2),
            Ability::Random => (
                &self.facts.random,
                OperationCode::RNG_RETRIEVE,
                Version::V1_2,
            ),
            // These are ways to Get and to Register.
            Ability::Wrap(_) => (&self.facts.one_form, OperationCode::GET, Version::V1_1),
            Ability::Unwrap(_) => (&self.facts.one_form, OperationCode::REGISTER, Version::V1_1),
            Ability::CreateKeyPair => (
                &self.facts.create_key_pair,
                OperationCode::CREATE_KEY_PAIR,
                Version::V1_0,
            ),
        }
    }

    /// Notes what the outcome of an operation says about the ability to do it at all. Servers
    /// refuse a mode or an algorithm with Operation Not Supported too: that says nothing of an
    /// operation that worked before, or that the server announces.
    fn note<R>(&self, ability: Ability, outcome: &Result<R>) {
        let (fact, operation, _) = self.ability(ability);
        match outcome {
            Ok(_) => fact.learn(true),
            Err(e) if facts::lacks_operation(e) && fact.known() != Some(true) => {
                let about = self.about.get();
                if about.is_some_and(|about| !about.operations.contains(&operation)) {
                    fact.learn(false);
                }
            }
            Err(_) => {}
        }
    }
}

/// What a server says of itself.
#[derive(Debug)]
struct About {
    /// The operations it says it has; none when it does not say.
    operations: Vec<OperationCode>,
    /// A digest of who it says it is: another vendor's server, or another version of it, has another.
    identity: String,
}

fn identity(answer: &QueryResponse, version: Version) -> Result<String> {
    let mut writer = Writer::new(version);
    if let Some(Value::Structure(fields)) = &answer.server_information {
        // How busy it is says nothing of what it does.
        fields
            .iter()
            .filter(|field| field.tag != Tag::SERVER_LOAD)
            .for_each(|field| field.value.encode(field.tag, &mut writer));
    }
    let vendor = answer.vendor_identification.clone().unwrap_or_default();
    let text = [vendor.as_bytes(), &[0], writer.finish()?.expose()].concat();
    Ok(data_encoding::HEXLOWER.encode(&digest(Hash::Sha256, &text)?))
}

/// Refuses an answer about another object than was asked about. Some servers name none.
fn same(uid: &Uid, answered: &str) -> Result<()> {
    match answered.is_empty() || answered == uid.0 {
        true => Ok(()),
        false => Err(Error::protocol(format!(
            "the KMIP server answered about {answered} where {uid} was asked about"
        ))),
    }
}

impl<T: Transport> KeyStore for KmipStore<T> {
    fn expire(&self) {
        self.client.close_idle();
    }

    fn can(&self, ability: Ability) -> Result<bool> {
        match ability {
            Ability::Wrap(wrapping) => return self.can_wrap(Act::Wrap(wrapping)),
            Ability::Unwrap(wrapping) => return self.can_wrap(Act::Unwrap(wrapping)),
            _ => {}
        }
        let (fact, operation, since) = self.ability(ability);
        match fact.known() {
            Some(true) => return Ok(true),
            Some(false) if !fact.is_stale() => return Ok(false),
            _ => {}
        }
        let call = self.client.call();
        if call.version()? < since {
            return Ok(false);
        }
        let operations = &self.about(&call)?.operations;
        // A server that lists nothing is tried.
        Ok(operations.is_empty() || operations.contains(&operation))
    }

    fn locate(&self, filter: &Filter) -> Result<Vec<Uid>> {
        self.locate(filter)
    }

    fn meta(&self, uids: &[Uid]) -> Result<Vec<Meta>> {
        self.meta(&self.client.call(), uids)
    }

    fn create(&self, spec: &Spec) -> Result<Uid> {
        self.create(spec)
    }

    fn create_pair(&self, public: &Spec, private: &Spec) -> Result<(Uid, Uid)> {
        self.create_pair(public, private)
    }

    fn register(&self, spec: &Spec, value: &[u8]) -> Result<Uid> {
        self.register(spec, value)
    }

    fn fetch(&self, uid: &Uid) -> Result<Secret> {
        self.fetch(uid)
    }

    fn update(&self, uid: &Uid, changes: &Changes) -> Result<()> {
        self.update(uid, changes)
    }

    fn activate(&self, uid: &Uid) -> Result<()> {
        self.activate(&self.client.call(), uid)
    }

    fn revoke(&self, uid: &Uid, reason: Revocation) -> Result<()> {
        self.revoke(&self.client.call(), uid, reason)
    }

    fn destroy(&self, uid: &Uid) -> Result<()> {
        self.destroy(&self.client.call(), uid)
    }

    fn encrypt(
        &self,
        uid: &Uid,
        algorithm: Algorithm,
        cipher: &Cipher,
        data: &[u8],
    ) -> Result<Vec<u8>> {
        self.encrypt(uid, algorithm, cipher, data)
    }

    fn decrypt(
        &self,
        uid: &Uid,
        algorithm: Algorithm,
        cipher: &Cipher,
        data: &[u8],
    ) -> Result<Secret> {
        self.decrypt(uid, algorithm, cipher, data)
    }

    fn sign(&self, uid: &Uid, signing: Signing, message: Message<'_>) -> Result<Vec<u8>> {
        self.sign(uid, signing, message)
    }

    fn sign_otherwise(&self, signing: Signing, message: Message<'_>) -> bool {
        self.sign_otherwise(signing, message)
    }

    fn is_proven(&self, claim: &str) -> bool {
        self.remember(&self.client.call()).is_ok() && self.notes.is_proven(claim)
    }

    fn note_proven(&self, claim: &str) {
        if self.remember(&self.client.call()).is_ok() {
            self.keep_proofs(vec![claim.to_owned()]);
        }
    }

    fn mac(&self, uid: &Uid, mac: Mac, data: &[u8]) -> Result<Vec<u8>> {
        self.mac(uid, mac, data)
    }

    fn mac_part(
        &self,
        uid: &Uid,
        mac: Mac,
        before: Option<&Correlation>,
        part: &[u8],
    ) -> Result<Correlation> {
        self.mac_part(uid, mac, before, part)
    }

    fn mac_last(&self, uid: &Uid, mac: Mac, before: &Correlation, part: &[u8]) -> Result<Vec<u8>> {
        self.mac_last(uid, mac, before, part)
    }

    fn wrap(&self, kek: &Uid, wrapping: Wrapping, key: &Uid, class: Class) -> Result<Vec<u8>> {
        self.wrap(kek, wrapping, key, class)
    }

    fn register_wrapped(
        &self,
        spec: &Spec,
        kek: &Uid,
        wrapping: Wrapping,
        wrapped: &[u8],
    ) -> Result<Uid> {
        self.register_wrapped(spec, kek, wrapping, wrapped)
    }

    fn unwrap(&self, kek: &Uid, wrapping: Wrapping, wrapped: &[u8]) -> Result<Secret> {
        self.unwrap(kek, wrapping, wrapped)
    }

    fn random(&self, len: usize) -> Result<Secret> {
        self.random(len)
    }
}
