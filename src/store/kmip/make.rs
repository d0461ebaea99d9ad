//! New objects: made once, whatever the network does, and activated or not left behind.

use std::cell::Cell;
use std::collections::HashSet;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use super::KmipStore;
use super::attrs::{self, Marker, Wishes};
use super::facts::{either, is_refusal, is_unsupported, lacks_operation};
use super::material;
use super::record::{Record, Rung};
use super::terms;
use crate::ck::{CKR_MECHANISM_INVALID, CKR_TEMPLATE_INCONSISTENT, CKR_TOKEN_WRITE_PROTECTED};
use crate::crypto::rng;
use crate::error::{Error, Kind, Result};
use crate::kmip::{
    AttributeValue, Attributes, CreateKeyPairRequest, CreateRequest, KeyMaterial, KeyValue,
    KeyWrappingData, ManagedObject, ObjectType, RegisterRequest, ResultReason, SecretData,
    SymmetricKey,
};
use crate::log;
use crate::net::{Call, Transport};
use crate::store::{Ability, Algorithm, Class, Meta, Spec, State, Uid};

/// Servers of one group hand new objects on to each other; a short wait before one counts as not made.
const REPLICATION: Duration = Duration::from_millis(200);

impl<T: Transport> KmipStore<T> {
    pub(super) fn create(&self, spec: &Spec) -> Result<Uid> {
        let call = self.client.call();
        let making = Making::new(spec)?;
        let create = |wishes, call: &Call<'_, T>| {
            making.with(wishes);
            let mut attributes = attrs::of_key(spec, &self.facts, true);
            append(
                &mut attributes,
                attrs::of_object(spec, &making.marker, &making.record, wishes),
            );
            let request = CreateRequest {
                object_type: terms::object_type(spec.class),
                template_attribute: attributes.into(),
                ..CreateRequest::default()
            };
            call.request(&request)
                .map(|answer| Uid(answer.unique_identifier))
        };
        let made = either_length(self, spec, || {
            self.once(&call, &making.marker, one, |call| {
                self.wished(call, spec, |wishes| create(wishes, call))
            })
        });
        let uid = match made {
            // Many servers make AES keys only. Any other secret is random bytes, which can be made here.
            Err(e) if is_refusal(&e) && is_plain_secret(spec.algorithm) => {
                let value = rng::bytes(spec.bits.div_ceil(8) as usize)?;
                return self
                    .register_in(&call, spec, value.expose(), None)
                    .map_err(|_| e);
            }
            made => made.map_err(for_creation)?,
        };
        let made = [(&uid, &making.record)];
        self.settle(&call, spec, &self.facts.created, making.rung.get(), &made)?;
        self.start(&call, &uid)?;
        Ok(uid)
    }

    pub(super) fn create_pair(&self, public: &Spec, private: &Spec) -> Result<(Uid, Uid)> {
        let algorithm = private.algorithm;
        if self.impossible_pairs().contains(&algorithm) {
            return Err(Error::from(CKR_MECHANISM_INVALID).context(format_args!(
                "the KMIP server makes no {algorithm:?} key pairs"
            )));
        }
        let call = self.client.call();
        let making = Making::new(private)?;
        // Both halves carry the nonce, and names of their own.
        let mut public_marker = Marker::new(public, &making.marker.nonce);
        if !public_marker.exact {
            public_marker.name.push_str("-public");
        }
        let public_record = Record::new(public, &making.marker.nonce);
        let pair = |made: &[Meta]| {
            let half = |class| {
                made.iter()
                    .find(|meta| meta.class == class)
                    .map(|meta| meta.uid.clone())
            };
            Some((
                half(Class::PublicKey).or_else(|| self.other_half(&call, &public_marker))?,
                half(Class::PrivateKey)?,
            ))
        };
        let create = |ecdsa, wishes, call: &Call<'_, T>| {
            making.with(wishes);
            let open = Wishes {
                sensitive: false,
                extractable: false,
                ..wishes
            };
            let request = CreateKeyPairRequest {
                common: Some(attrs::of_key(private, &self.facts, ecdsa).into()),
                private_key: Some(
                    attrs::of_object(private, &making.marker, &making.record, wishes).into(),
                ),
                public_key: Some(
                    attrs::of_object(public, &public_marker, &public_record, open).into(),
                ),
                ..CreateKeyPairRequest::default()
            };
            let answer = call.request(&request)?;
            Ok((
                Uid(answer.public_key_unique_identifier),
                Uid(answer.private_key_unique_identifier),
            ))
        };
        let made = either(&self.facts.ecdsa, |ecdsa| {
            self.once(&call, &making.marker, pair, |call| {
                self.wished(call, private, |wishes| create(ecdsa, wishes, call))
            })
        });
        // Every server makes RSA pairs, if any: what it refuses of another algorithm even in the plainest form, it does not make.
        let made = match made {
            Err(e) if is_refusal(&e) && !lacks_operation(&e) && algorithm != Algorithm::Rsa => {
                if !may_pass(&e) {
                    self.impossible_pairs().insert(algorithm);
                }
                Err(e.with_rv(CKR_MECHANISM_INVALID))
            }
            made => {
                self.note(Ability::CreateKeyPair, &made);
                made.map_err(for_creation)
            }
        };
        let wanted = private;
        let (public, private) = made?;
        self.settle(
            &call,
            wanted,
            &self.facts.created_pair,
            making.rung.get(),
            &[(&private, &making.record), (&public, &public_record)],
        )?;
        for (uid, other) in [(&private, &public), (&public, &private)] {
            if let Err(e) = self.start(&call, uid) {
                let _ = self.destroy(&call, other);
                return Err(e);
            }
        }
        Ok((public, private))
    }

    /// The algorithms that the server has refused to make pairs of.
    fn impossible_pairs(&self) -> MutexGuard<'_, HashSet<Algorithm>> {
        self.impossible_pairs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn other_half(&self, call: &Call<'_, T>, marker: &Marker) -> Option<Uid> {
        self.made(call, marker)
            .ok()?
            .into_iter()
            .find(|meta| meta.class == Class::PublicKey)
            .map(|meta| meta.uid)
    }

    pub(super) fn register(&self, spec: &Spec, value: &[u8]) -> Result<Uid> {
        self.register_in(&self.client.call(), spec, value, None)
            .map_err(for_creation)
    }

    /// Registers and activates; `wrapping` says under which key the value is wrapped, when it is.
    pub(super) fn register_in(
        &self,
        call: &Call<'_, T>,
        spec: &Spec,
        value: &[u8],
        wrapping: Option<&KeyWrappingData>,
    ) -> Result<Uid> {
        let making = Making::new(spec)?;
        let form = match spec.class {
            Class::PublicKey => &self.facts.x509_public,
            Class::PrivateKey => &self.facts.pkcs8_private,
            Class::Data => &self.facts.opaque_zero,
            Class::SecretKey | Class::Certificate => &self.facts.one_form,
        };
        let uid = either_length(self, spec, || {
            either(form, |usual| {
                // The other form may not exist for this value: then there is nothing else to try.
                let object =
                    || material::object(spec, value, attrs::length(spec, &self.facts), usual);
                object()?;
                let register = |wishes, call: &Call<'_, T>| {
                    making.with(wishes);
                    let mut object = object()?;
                    if let Some(data) = wrapping {
                        wrap(&mut object, data);
                    }
                    let object_type = object.object_type();
                    let request = RegisterRequest {
                        object_type,
                        template_attribute: self
                            .registered(spec, &making, wishes, object_type)
                            .into(),
                        object: Some(object),
                        protection_storage_masks: None,
                    };
                    call.request(&request)
                        .map(|answer| Uid(answer.unique_identifier))
                };
                self.once(call, &making.marker, one, |call| {
                    self.wished(call, spec, |wishes| register(wishes, call))
                })
            })
        })?;
        let made = [(&uid, &making.record)];
        self.settle(call, spec, &self.facts.registered, making.rung.get(), &made)?;
        if !matches!(spec.class, Class::Certificate | Class::Data) {
            self.start(call, &uid)?;
        }
        Ok(uid)
    }

    /// The attributes of an object that is registered.
    pub(super) fn registered(
        &self,
        spec: &Spec,
        making: &Making,
        wishes: Wishes,
        object_type: ObjectType,
    ) -> Attributes {
        let mut attributes = match object_type {
            ObjectType::SYMMETRIC_KEY | ObjectType::PUBLIC_KEY | ObjectType::PRIVATE_KEY => {
                let mut attributes = attrs::of_key(spec, &self.facts, self.facts.ecdsa.may());
                // The value says which curve.
                attributes.0.retain(|a| {
                    !matches!(a.value, AttributeValue::CryptographicDomainParameters(_))
                });
                attributes
            }
            _ => Attributes::new(),
        };
        append(
            &mut attributes,
            attrs::of_object(spec, &making.marker, &making.record, wishes),
        );
        attributes
    }

    /// Attempts with everything that is wished, then with less, until the server takes it; what it refused is remembered.
    fn wished<R>(
        &self,
        call: &Call<'_, T>,
        spec: &Spec,
        mut attempt: impl FnMut(Wishes) -> Result<R>,
    ) -> Result<R> {
        let full = Wishes::new(spec, call.version()?, &self.facts);
        let first = match attempt(full) {
            Err(e) if is_refusal(&e) && e.kind() != Kind::Input && !lacks_operation(&e) => e,
            done => {
                if done.is_ok() {
                    full.learn(full, &self.facts);
                }
                return done;
            }
        };
        // A general failure may pass: what protects the key is not given up for it.
        let again = may_pass(&first).then_some(full);
        for wishes in again.into_iter().chain(full.lesser(&self.facts)) {
            match attempt(wishes) {
                Err(e) if is_refusal(&e) => {}
                Err(e) => return Err(e),
                Ok(done) => {
                    log!(
                        Info,
                        "{}: refused {full:?}, took {wishes:?}",
                        self.client.peer()
                    );
                    wishes.learn(full, &self.facts);
                    return Ok(done);
                }
            }
        }
        Err(first)
    }

    /// Makes something exactly once. When the answer is lost it is looked for before it is made again, and a twin that turns up
    /// afterwards is destroyed.
    fn once<R>(
        &self,
        call: &Call<'_, T>,
        marker: &Marker,
        adopt: impl Fn(&[Meta]) -> Option<R>,
        mut make: impl FnMut(&Call<'_, T>) -> Result<R>,
    ) -> Result<R> {
        // Time is kept back for looking.
        let lost = match make(&call.part(2, 3)) {
            Err(e) if e.kind() == Kind::Broken => e,
            done => return done,
        };
        log!(Warn, "{lost}; looking for '{}'", marker.name);
        let uncertain = |e: Error| {
            e.context(format_args!(
                "nobody knows whether '{}' was made on the server",
                marker.name
            ))
        };
        for wait in [Duration::ZERO, REPLICATION] {
            std::thread::sleep(wait);
            match self.made(call, marker) {
                Ok(made) => {
                    if let Some(adopted) = adopt(&made) {
                        return Ok(adopted);
                    }
                }
                Err(_) => return Err(uncertain(lost)),
            }
        }
        let done = match make(&call.part(3, 4)) {
            // What the second request made, or the first one meanwhile, is not left behind.
            Err(e) if e.kind() == Kind::Broken => {
                return match self.made(call, marker).map(|made| adopt(&made)) {
                    Ok(Some(adopted)) => Ok(adopted),
                    _ => Err(uncertain(e)),
                };
            }
            done => done?,
        };
        match self.made(call, marker) {
            // The first request was executed after all, only late.
            Ok(made) if made.len() > 1 => {
                let kept = adopt(&made).unwrap_or(done);
                for class in [
                    Class::SecretKey,
                    Class::PublicKey,
                    Class::PrivateKey,
                    Class::Certificate,
                    Class::Data,
                ] {
                    for twin in made.iter().filter(|meta| meta.class == class).skip(1) {
                        // Searches hide a twin that stays, and the object itself was made.
                        if let Err(e) = self.destroy(call, &twin.uid) {
                            log!(
                                Warn,
                                "the twin {} of '{}' stays: {e}",
                                twin.uid,
                                marker.name
                            );
                        }
                    }
                }
                Ok(kept)
            }
            _ => Ok(done),
        }
    }

    /// Activates what was just made; what cannot be activated is not left behind.
    fn start(&self, call: &Call<'_, T>, uid: &Uid) -> Result<()> {
        let Err(refused) = self.activate(call, uid) else {
            return Ok(());
        };
        // Some stores have no life cycle: what has no state, or is usable, needs no activation.
        if is_unsupported(&refused)
            && self
                .state(call, uid)
                .is_ok_and(|state| state != Some(State::PreActive))
        {
            return Ok(());
        }
        match self.destroy(call, uid) {
            Ok(()) => {
                Err(refused
                    .context("a key was made, could not be activated, and was destroyed again"))
            }
            Err(_) => Err(refused.context(format_args!(
                "the key {uid} was made on the server but is not active"
            ))),
        }
    }
}

/// One object in the making.
pub(super) struct Making {
    pub(super) marker: Marker,
    record: Record,
    /// Where its texts were put when it was last tried to make it.
    rung: Cell<Rung>,
}

impl Making {
    pub(super) fn new(spec: &Spec) -> Result<Making> {
        let nonce = data_encoding::HEXLOWER.encode(rng::bytes(16)?.expose());
        Ok(Making {
            marker: Marker::new(spec, &nonce),
            record: Record::new(spec, &nonce),
            rung: Cell::new(Rung::Nowhere),
        })
    }

    /// It is tried with these wishes.
    fn with(&self, wishes: Wishes) {
        self.rung.set(wishes.rung);
    }
}

/// Says of a key that its bytes are wrapped.
pub(super) fn wrap(object: &mut ManagedObject, data: &KeyWrappingData) {
    let (ManagedObject::SymmetricKey(SymmetricKey { key_block })
    | ManagedObject::SecretData(SecretData { key_block, .. })) = object
    else {
        return;
    };
    if let Some(KeyValue::Plain(plain)) = &key_block.key_value
        && let KeyMaterial::Bytes(bytes) = &plain.key_material
    {
        key_block.key_value = Some(KeyValue::Wrapped(bytes.expose().to_vec()));
        key_block.key_wrapping_data = Some(data.clone());
    }
}

fn one(made: &[Meta]) -> Option<Uid> {
    made.first().map(|meta| meta.uid.clone())
}

/// A failure that says nothing about what was asked.
fn may_pass(error: &Error) -> bool {
    error.reason().map(ResultReason) == Some(ResultReason::GENERAL_FAILURE)
}

/// A Triple DES key has 192 bits with parity and 168 without: servers know one of them.
pub(super) fn either_length<T, R>(
    store: &KmipStore<T>,
    spec: &Spec,
    mut make: impl FnMut() -> Result<R>,
) -> Result<R> {
    let fact = &store.facts.long_triple_des;
    if spec.algorithm != Algorithm::TripleDes || fact.known().is_some() {
        return make();
    }
    let first = match make() {
        Err(e) if is_refusal(&e) => e,
        done => return done,
    };
    fact.learn(false);
    make().map_err(|e| {
        fact.forget();
        if is_refusal(&e) { first } else { e }
    })
}

fn is_plain_secret(algorithm: Algorithm) -> bool {
    matches!(
        algorithm,
        Algorithm::GenericSecret | Algorithm::Hmac(_) | Algorithm::ChaCha20
    )
}

fn append(attributes: &mut Attributes, more: Attributes) {
    more.0
        .into_iter()
        .for_each(|attribute| attributes.push(attribute.value));
}

/// What a refusal means when something new was asked for.
fn for_creation(error: Error) -> Error {
    match error.reason().map(ResultReason) {
        Some(ResultReason::PERMISSION_DENIED) => error.with_rv(CKR_TOKEN_WRITE_PROTECTED),
        Some(ResultReason::INVALID_MESSAGE | ResultReason::GENERAL_FAILURE) => {
            error.with_rv(CKR_TEMPLATE_INCONSISTENT)
        }
        _ => error,
    }
}
