//! Sensitive and Extractable (spec 1.4, 3.47 to 3.50): what keeps the value of an object in the server, also from its owner.
//!
//! A Sensitive object leaves only wrapped, an object that is not Extractable never. Both flags change in one direction, and what
//! is made of an object's value has them too.

use super::attributes::fixed;
use super::context::Context;
use super::engine::Engine;
use super::keys::Material;
use super::objects::{Object, Outcome, Refusal, Value, reason};
use crate::crypto::Hash;
use crate::kmip::*;
use crate::ttlv::Tag;

/// The fewest bytes that are derived from a protected value. The outputs of a derivation begin alike, so with shorter ones each
/// byte could be found by trying 256 keys. 112 bits is the least strength of NIST SP 800-131A.
const SHORTEST: usize = 14;

impl Object {
    /// The value is given out wrapped only.
    pub fn is_sensitive(&self) -> bool {
        self.attributes.sensitive() == Some(&true)
    }

    /// The value may be given out.
    pub fn is_extractable(&self) -> bool {
        self.attributes.extractable() != Some(&false)
    }

    /// The value is not given out in the clear.
    pub fn is_protected(&self) -> bool {
        self.is_sensitive() || !self.is_extractable()
    }

    /// A protected value that could be found by trying: a hash of it would give it away.
    pub fn is_guessable(&self) -> bool {
        let short = |material: &Material| material.bytes().len() < SHORTEST;
        self.is_protected()
            && match &self.value {
                Value::Secret(..) | Value::Opaque(..) => true,
                Value::Key(material, _) | Value::Split(_, material) | Value::Pgp(_, material) => {
                    short(material)
                }
                _ => false,
            }
    }
}

/// The flags of an object before a change.
#[derive(Clone, Copy)]
pub struct Flags {
    sensitive: bool,
    extractable: bool,
}

impl Flags {
    pub fn of(object: &Object) -> Flags {
        Flags {
            sensitive: object.is_sensitive(),
            extractable: object.is_extractable(),
        }
    }

    /// Fails when `object` is less protected now.
    pub fn check_change(self, engine: &Engine, context: &Context, object: &Object) -> Outcome<()> {
        let loosened = [
            (self.sensitive && !object.is_sensitive(), Tag::SENSITIVE),
            (
                !self.extractable && object.is_extractable(),
                Tag::EXTRACTABLE,
            ),
        ];
        match loosened.iter().find(|(loosened, _)| *loosened) {
            Some((_, tag)) if engine.personality.enforces_sensitive => {
                Err(fixed(context, &AttributeName::Standard(*tag)))
            }
            _ => Ok(()),
        }
    }
}

fn set(attributes: &mut Attributes, value: AttributeValue) {
    let name = value.name();
    attributes
        .0
        .retain(|attribute| attribute.value.name() != name);
    attributes.push(value);
}

/// Gives an object that replaces `old` its flags.
pub fn protect_as(engine: &Engine, new: &mut Object, old: &Object) {
    if !engine.personality.enforces_sensitive {
        return;
    }
    if old.is_sensitive() && !new.is_sensitive() {
        set(&mut new.attributes, AttributeValue::Sensitive(true));
        new.always_sensitive = true;
    }
    if !old.is_extractable() && new.is_extractable() {
        set(&mut new.attributes, AttributeValue::Extractable(false));
        new.never_extractable = true;
    }
}

/// Gives an object whose value was made of those of `inputs` the strictest of their flags. It was always protected only if they
/// were.
pub fn inherit<'a>(
    engine: &Engine,
    new: &mut Object,
    inputs: impl IntoIterator<Item = &'a Object>,
) {
    if !engine.personality.enforces_sensitive {
        return;
    }
    for input in inputs {
        protect_as(engine, new, input);
        new.always_sensitive &= input.always_sensitive;
        new.never_extractable &= input.never_extractable;
    }
}

/// Gives an object that came wrapped under `kek` its protection, where only unwrapping gives the value: who may decrypt with the
/// key has the value anyway.
pub fn unwrapped_under(engine: &Engine, new: &mut Object, kek: &Object) {
    if engine.personality.enforces_sensitive
        && kek.is_protected()
        && !kek.usage().contains(CryptographicUsageMask::DECRYPT)
        && !new.is_sensitive()
    {
        set(&mut new.attributes, AttributeValue::Sensitive(true));
        new.always_sensitive = true;
    }
}

/// Fails when the value must not leave the server so. Under a key that anybody may get, a wrapped value is in the clear.
pub fn check_release(engine: &Engine, object: &Object, kek: Option<&Object>) -> Outcome<()> {
    if !engine.personality.enforces_sensitive {
        return Ok(());
    }
    match kek {
        None if object.is_sensitive() => Err(Refusal::item(
            ResultReason::SENSITIVE,
            "the object is sensitive",
        )),
        _ if !object.is_extractable() => Err(Refusal::item(
            ResultReason::NOT_EXTRACTABLE,
            "the object is not extractable",
        )),
        _ if !object.is_sensitive() => Ok(()),
        Some(kek) if kek.is_sensitive() => Ok(()),
        _ => Err(Refusal::item(
            ResultReason::SENSITIVE,
            "the object is sensitive, and the key that would wrap it is not",
        )),
    }
}

/// The same for an object that leaves as it was registered: wrapped under `kek`, or under a key
/// that is not here.
pub fn check_release_as_registered(
    engine: &Engine,
    object: &Object,
    kek: Option<&Object>,
) -> Outcome<()> {
    match kek {
        None if object.is_extractable() => Ok(()),
        _ => check_release(engine, object, kek),
    }
}

fn denied(context: &Context, text: &str) -> Refusal {
    let reason = reason(
        context.version,
        ResultReason::PERMISSION_DENIED,
        ResultReason::SENSITIVE,
    );
    Refusal::item(reason, text)
}

/// Refuses derivations whose result would tell a protected value, or could be had from the server in another way.
///
/// `alone`: what is hashed is one value and nothing else.
pub fn check_derivation(
    engine: &Engine,
    context: &Context,
    method: DerivationMethod,
    hash: Option<Hash>,
    (base, data, alone): (&Object, &[std::sync::Arc<Object>], bool),
    len: usize,
) -> Outcome<()> {
    let from_data = data.iter().any(|object| object.is_protected());
    if !engine.personality.enforces_sensitive || !(base.is_protected() || from_data) {
        return Ok(());
    }
    if len < SHORTEST {
        return Err(denied(
            context,
            "so short a key would tell what it is derived from",
        ));
    }
    if from_data && method == DerivationMethod::ENCRYPT {
        return Err(denied(
            context,
            "what is encrypted can be decrypted: a protected value is no data for it",
        ));
    }
    if alone && method == DerivationMethod::HASH && hash == Some(Hash::Sha256) {
        return Err(denied(
            context,
            "the attribute Digest would be the derived key",
        ));
    }
    let same_as = match method {
        DerivationMethod::ENCRYPT => {
            CryptographicUsageMask::ENCRYPT.0 | CryptographicUsageMask::DECRYPT.0
        }
        DerivationMethod::HMAC | DerivationMethod::PBKDF2 | DerivationMethod::NIST800_108_C => {
            CryptographicUsageMask::MAC_GENERATE.0
        }
        _ => 0,
    };
    if base.is_protected() && base.usage().0 & same_as != 0 {
        return Err(denied(
            context,
            "who uses the base key by its usage mask could compute the derived key",
        ));
    }
    Ok(())
}

/// The key of `part` may be used for no more than `of` allows; what is not said is allowed to both.
pub fn check_usage(context: &Context, part: &Attributes, of: &Object) -> Outcome<()> {
    let wanted = part.cryptographic_usage_mask().copied().unwrap_or_default();
    if !of.is_protected() {
        return Ok(());
    }
    of.allow(context.version, wanted)
}
