//! Keys made from nothing, from wrapped keys and from other keys.

use x509_parser::der_parser::parse_der;

use super::Module;
use crate::ck::*;
use crate::config::CryptoPolicy;
use crate::crypto::pkey::{Kind, PrivateKey};
use crate::crypto::rng;
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::mech::{self, Mechanism, Output, Params, Work};
use crate::secret::Secret;
use crate::session::Function;
use crate::token::attr::{Purpose, vendor};
use crate::token::object::{Attributes, unflatten};
use crate::token::objects::Source;
use crate::token::policy::{self, Guarded, Origin, Roles};
use crate::token::template::{Draft, Template};
use crate::token::{spec, value};

/// The most random bytes that one call makes.
const RANDOM_MAX: usize = 1 << 28;

impl Module {
    /// `C_GenerateKey`.
    pub fn generate_key(
        &self,
        h: CK_SESSION_HANDLE,
        mechanism: Mechanism,
        template: Template,
    ) -> Result<CK_OBJECT_HANDLE> {
        let session = self.session(h)?;
        let key_type = match mech::serving(mechanism.kind, CKF_GENERATE)?.work {
            Work::KeyGen(key_type) => {
                check_bare(&mechanism)?;
                key_type
            }
            Work::Pbkdf2 => template.number(CKA_KEY_TYPE).unwrap_or(CKK_GENERIC_SECRET),
            _ => return Err(CKR_MECHANISM_INVALID.into()),
        };
        let rights = session.rights();
        let mut draft = template.draft(
            Purpose::Generate,
            Some(CKO_SECRET_KEY),
            Some(key_type),
            rights,
        )?;
        let (from, to, _) = value::key_lengths(key_type);
        let len = match draft.attributes.number(CKA_VALUE_LEN) {
            Some(len) => usize::try_from(len).map_err(|_| CKR_ATTRIBUTE_VALUE_INVALID)?,
            None if from == to => from,
            None => return Err(CKR_TEMPLATE_INCOMPLETE.into()),
        };
        if !value::is_key_length(key_type, len) {
            return Err(CKR_ATTRIBUTE_VALUE_INVALID.into());
        }
        draft.attributes.set_number(CKA_VALUE_LEN, len as CK_ULONG);
        let said = Roles::of(&draft.attributes);
        generated(&mut draft, mechanism.kind);
        let policy = session.token.key_policy();
        policy::settle(policy, Origin::New, &mut draft.attributes, said)?;
        rights.check(&draft.attributes)?;
        let _operations = session.operations();
        let source = match mechanism.kind {
            CKM_PKCS5_PBKD2 => {
                let value = mech::derive::from_password(&mechanism.params, len)?;
                value::adopt(&mut draft.attributes, &value)?;
                Source::Given(value)
            }
            // Nobody knows the check value of a key that is not made yet.
            _ if draft
                .attributes
                .bytes(CKA_CHECK_VALUE)
                .is_some_and(|check| !check.is_empty()) =>
            {
                return Err(CKR_ATTRIBUTE_VALUE_INVALID.into());
            }
            _ => Source::Made(len as u32 * 8),
        };
        Ok(self.add(&session, draft.attributes, source)?.handle)
    }

    /// `C_GenerateKeyPair`: (public, private).
    pub fn generate_key_pair(
        &self,
        h: CK_SESSION_HANDLE,
        mechanism: Mechanism,
        public: Template,
        private: Template,
    ) -> Result<(CK_OBJECT_HANDLE, CK_OBJECT_HANDLE)> {
        let session = self.session(h)?;
        let key_type = match mech::serving(mechanism.kind, CKF_GENERATE_KEY_PAIR)?.work {
            Work::RsaPairGen => CKK_RSA,
            Work::EcPairGen(key_type) => key_type,
            _ => return Err(CKR_MECHANISM_INVALID.into()),
        };
        check_bare(&mechanism)?;
        let rights = session.rights();
        let mut public = public.draft(
            Purpose::Generate,
            Some(CKO_PUBLIC_KEY),
            Some(key_type),
            rights,
        )?;
        let mut private = private.draft(
            Purpose::Generate,
            Some(CKO_PRIVATE_KEY),
            Some(key_type),
            rights,
        )?;
        let plan = PairPlan::of(&mut public.attributes, &mut private.attributes)?;
        // What one half is for, so is the other.
        let said = Roles::of(&public.attributes).and(Roles::of(&private.attributes));
        generated(&mut public, mechanism.kind);
        generated(&mut private, mechanism.kind);
        let policy = session.token.key_policy();
        policy::settle(policy, Origin::New, &mut private.attributes, said)?;
        policy::settle_public(policy, &mut public.attributes, &private.attributes);
        rights.check(&public.attributes)?;
        rights.check(&private.attributes)?;
        let _operations = session.operations();
        let token = &session.token;
        if public.attributes.flag(CKA_TOKEN)
            && private.attributes.flag(CKA_TOKEN)
            && plan.is_usual()
        {
            match token.add_pair(
                public.attributes.clone(),
                private.attributes.clone(),
                plan.bits(),
            ) {
                // A server that makes no such pair may keep one.
                Err(e) if is_refusal(&e) && token.policy() != CryptoPolicy::Server => {
                    crate::log!(Warn, "a key pair is made here and registered: {e}");
                }
                made => return made.map(|(public, private)| (public.handle, private.handle)),
            }
        }
        let pair = plan.make()?;
        let spki = Secret::new(pair.public()?.to_spki()?);
        let pkcs8 = pair.to_pkcs8()?;
        value::adopt(&mut public.attributes, &spki)?;
        value::adopt(&mut private.attributes, &pkcs8)?;
        let public = self.add(&session, public.attributes, Source::Given(spki))?;
        match self.add(&session, private.attributes, Source::Given(pkcs8)) {
            Ok(private) => Ok((public.handle, private.handle)),
            Err(e) => {
                // No half of a pair stays behind.
                let _ = token.destroy(&public);
                Err(e)
            }
        }
    }

    /// `C_WrapKey`.
    pub fn wrap_key(
        &self,
        h: CK_SESSION_HANDLE,
        mechanism: Mechanism,
        wrapping: CK_OBJECT_HANDLE,
        key: CK_OBJECT_HANDLE,
        room: Option<usize>,
    ) -> Result<Output> {
        let session = self.session(h)?;
        mech::serving(mechanism.kind, CKF_WRAP)?;
        let mut operations = session.operations();
        let wrapping = session
            .mech_key(wrapping)
            .map_err(|e| handle_error(e, CKR_WRAPPING_KEY_HANDLE_INVALID))?;
        let key = session.mech_key(key)?;
        let login = operations.allow(Function::Wrap, &[&wrapping.object, &key.object])?;
        let output = mech::wrap::wrap(&mechanism, &wrapping, &key, room);
        if let Ok(Output::Length(_) | Output::TooSmall(_)) = output {
            operations.direct = login;
        }
        output
    }

    /// `C_UnwrapKey`.
    pub fn unwrap_key(
        &self,
        h: CK_SESSION_HANDLE,
        mechanism: Mechanism,
        unwrapping: CK_OBJECT_HANDLE,
        wrapped: &[u8],
        template: Template,
    ) -> Result<CK_OBJECT_HANDLE> {
        let session = self.session(h)?;
        mech::serving(mechanism.kind, CKF_UNWRAP)?;
        let rights = session.rights();
        let mut operations = session.operations();
        let unwrapping = session
            .mech_key(unwrapping)
            .map_err(|e| handle_error(e, CKR_UNWRAPPING_KEY_HANDLE_INVALID))?;
        mech::wrap::check_unwrap(&mechanism, &unwrapping)?;
        operations.allow(Function::Unwrap, &[&unwrapping.object])?;
        let imposed = unwrapping
            .object
            .attributes
            .bytes(CKA_UNWRAP_TEMPLATE)
            .map(unflatten)
            .unwrap_or_default();
        let mut draft = template.draft(
            Purpose::Unwrap,
            imposed.number(CKA_CLASS),
            imposed.number(CKA_KEY_TYPE),
            rights,
        )?;
        draft.impose(&imposed, Purpose::Unwrap, rights)?;
        if !matches!(draft.attributes.class(), CKO_SECRET_KEY | CKO_PRIVATE_KEY) {
            return Err(CKR_TEMPLATE_INCONSISTENT.into());
        }
        let kept = draft.attributes.has(CKA_EXTRACTABLE) && !draft.attributes.flag(CKA_EXTRACTABLE);
        let said = Roles::of(&draft.attributes);
        let says = [CKA_SENSITIVE, CKA_EXTRACTABLE].map(|kind| draft.attributes.has(kind));
        draft.complete();
        if !says[1] {
            // 5.14: "by default set to CK_TRUE".
            draft.attributes.set_flag(CKA_EXTRACTABLE, true);
        }
        let policy = session.token.key_policy();
        policy::guard(
            policy,
            &mut draft.attributes,
            Guarded::Unwrapped,
            |kind| match kind {
                CKA_SENSITIVE => says[0],
                _ => says[1],
            },
        )?;
        policy::settle(policy, Origin::Repeatable, &mut draft.attributes, said)?;
        rights.check(&draft.attributes)?;
        if let Some(source) =
            mech::wrap::source(&mechanism, &unwrapping, wrapped, &draft.attributes)?
        {
            let mut attributes = draft.attributes.clone();
            if let Source::Wrapped { len, .. } = &source {
                attributes.set_number(CKA_VALUE_LEN, *len as CK_ULONG);
            }
            attributes.set_flag(vendor::KEPT, kept);
            match session.token.add(attributes, source, h) {
                // It does not unwrap after all: the key is unwrapped here where that may be.
                Err(e) if e.rv() == CKR_MECHANISM_INVALID => {}
                made => return Ok(made?.handle),
            }
        }
        let key_type = draft.attributes.key_type().ok_or(CKR_TEMPLATE_INCOMPLETE)?;
        // What the length of the wrapped key says everybody may know. All else is one error, whatever is wrong with what was
        // unwrapped and wherever that shows: else wrapped keys could be opened by asking (Bardou et al., CRYPTO 2012).
        let fill = mech::wrap::fill(&mechanism);
        let may_have = |attributes: &Attributes, unwrapped, len| {
            Ok::<_, Error>(
                attributes.class() != CKO_SECRET_KEY
                    || mech::wrap::may_unwrap_to(&mechanism, &unwrapping, unwrapped, len)?,
            )
        };
        let fits = match mech::wrap::unwrapped_len(&mechanism, wrapped.len()) {
            Some(unwrapped) if draft.attributes.class() == CKO_SECRET_KEY => {
                match secret_len(&draft.attributes, unwrapped, fill) {
                    Some(len) => may_have(&draft.attributes, unwrapped, len)?,
                    None => false,
                }
            }
            _ => true,
        };
        let invalid = match fits {
            true => CKR_WRAPPED_KEY_INVALID,
            false => CKR_WRAPPED_KEY_LEN_RANGE,
        };
        let opened = mech::wrap::unwrap(&mechanism, &unwrapping, wrapped);
        let opened = match opened {
            Err(e) if e.rv() != CKR_WRAPPED_KEY_INVALID => return Err(e),
            opened => opened.ok(),
        };
        let is_open = opened.is_some();
        // A wrong padding is followed by the same work as a right one.
        let value = match opened {
            Some(value) => value,
            None => {
                let said = draft.attributes.number(CKA_VALUE_LEN);
                let len = said.map(|len| usize::try_from(len).unwrap_or(usize::MAX));
                let len = len.unwrap_or(value::key_lengths(key_type).0);
                rng::bytes(len.min(wrapped.len()))?
            }
        };
        let unwrapped = value.len();
        let made = fitted(&draft.attributes, value, fill).and_then(|value| {
            if !may_have(&draft.attributes, unwrapped, value.len())? {
                return Err(CKR_WRAPPED_KEY_INVALID.into());
            }
            value::adopt(&mut draft.attributes, &value)?;
            value::bits(&draft.attributes, &value)?;
            Ok(value)
        });
        let value = match made {
            Ok(value) if is_open => value,
            _ => return Err(invalid.into()),
        };
        Ok(self
            .add(&session, draft.attributes, Source::Given(value))?
            .handle)
    }

    /// `C_SeedRandom`: mixed into what [`Module::generate_random`] gives, whose own seed is the operating system's.
    pub fn seed_random(&self, h: CK_SESSION_HANDLE, seed: &[u8]) -> Result<()> {
        self.session(h)?;
        self.random.add(seed)
    }

    /// `C_GenerateRandom`: always local.
    pub fn generate_random(&self, h: CK_SESSION_HANDLE, len: usize) -> Result<Secret> {
        self.session(h)?;
        if len > RANDOM_MAX {
            return Err(CKR_ARGUMENTS_BAD.into());
        }
        self.random.bytes(len)
    }
}

/// True when a server understood and refused, and not for want of permission.
fn is_refusal(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Pkcs11)
        && error.rv() != CKR_TOKEN_WRITE_PROTECTED
}

/// A handle that is no key, in the words of a function with several.
fn handle_error(error: Error, rv: CK_RV) -> Error {
    if error.rv() == CKR_KEY_HANDLE_INVALID {
        error.with_rv(rv)
    } else {
        error
    }
}

/// A value for a key of these attributes: of a length that its type has, cut to `CKA_VALUE_LEN` where it was filled up with at most
/// `fill` zeros.
/// `CKR_TEMPLATE_INCONSISTENT` when it is no such key.
pub(super) fn fitted(attributes: &Attributes, value: Secret, fill: usize) -> Result<Secret> {
    let key_type = attributes.key_type().ok_or(CKR_TEMPLATE_INCOMPLETE)?;
    if attributes.class() == CKO_PRIVATE_KEY {
        let key = PrivateKey::from_pkcs8(without_fill(value.expose()))?;
        let fits = match key.kind() {
            Kind::Rsa { .. } => key_type == CKK_RSA,
            Kind::Ec(curve) => key_type == spec::key_type_of(curve),
        };
        // Written anew: an RSA key may have come without its primes.
        return if fits {
            key.to_pkcs8()
        } else {
            Err(CKR_TEMPLATE_INCONSISTENT.into())
        };
    }
    let len = secret_len(attributes, value.len(), fill).ok_or(CKR_TEMPLATE_INCONSISTENT)?;
    let (key, rest) = value.expose().split_at(len);
    // A key is not made shorter, which would make it easier to try.
    match rest.iter().fold(0, |all, byte| all | byte) {
        0 => Ok(Secret::new(key.to_vec())),
        _ => Err(CKR_TEMPLATE_INCONSISTENT.into()),
    }
}

/// How much of a value of `len` bytes is a secret key of these attributes: `CKA_VALUE_LEN` says less where it was filled up, with at
/// most `fill` bytes.
fn secret_len(attributes: &Attributes, len: usize, fill: usize) -> Option<usize> {
    let wanted = match attributes.number(CKA_VALUE_LEN) {
        Some(wanted) => usize::try_from(wanted).ok()?,
        None => len,
    };
    let filled = len.checked_sub(wanted)?;
    (filled <= fill && value::is_key_length(attributes.key_type()?, wanted)).then_some(wanted)
}

/// A private key in DER without the zeros that `CKM_AES_KEY_WRAP` fills its last block with (3.0, 2.14.3).
fn without_fill(der: &[u8]) -> &[u8] {
    match parse_der(der) {
        Ok((fill, _)) if fill.len() < 8 && fill.iter().all(|&byte| byte == 0) => {
            &der[..der.len() - fill.len()]
        }
        _ => der,
    }
}

/// Key generation mechanisms take no parameter.
fn check_bare(mechanism: &Mechanism) -> Result<()> {
    match mechanism.params {
        Params::None => Ok(()),
        _ => Err(CKR_MECHANISM_PARAM_INVALID.into()),
    }
}

/// Completes the attributes of a key that is made here or in the store.
fn generated(draft: &mut Draft, mechanism: CK_MECHANISM_TYPE) {
    // Said, not left to the preset: the store that makes such a key keeps it.
    let kept = draft.attributes.has(CKA_EXTRACTABLE) && !draft.attributes.flag(CKA_EXTRACTABLE);
    draft.complete();
    let attributes = &mut draft.attributes;
    attributes.set_flag(CKA_LOCAL, true);
    attributes.set_number(CKA_KEY_GEN_MECHANISM, mechanism);
    if attributes.class() != CKO_PUBLIC_KEY {
        attributes.set_flag(CKA_ALWAYS_SENSITIVE, attributes.flag(CKA_SENSITIVE));
        attributes.set_flag(CKA_NEVER_EXTRACTABLE, !attributes.flag(CKA_EXTRACTABLE));
        attributes.set_flag(vendor::KEPT, kept);
    }
}

/// An exponent that a pair can have: for an even one or 1 there is no pair, and a search for it has no end; the library takes no
/// longer ones.
fn check_exponent(exponent: &[u8]) -> Result<()> {
    if exponent.len() > 5 {
        return Err(CKR_ATTRIBUTE_VALUE_INVALID.into());
    }
    let number = exponent
        .iter()
        .fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    match number {
        3..0x2_0000_0000 if number % 2 == 1 => Ok(()),
        _ => Err(CKR_ATTRIBUTE_VALUE_INVALID.into()),
    }
}

/// The key pair that templates ask for.
enum PairPlan {
    Rsa { bits: u32, exponent: Vec<u8> },
    Ec(crate::crypto::Curve),
}

impl PairPlan {
    fn of(public: &mut Attributes, private: &mut Attributes) -> Result<PairPlan> {
        if public.key_type() == Some(CKK_RSA) {
            let bits = public
                .number(CKA_MODULUS_BITS)
                .ok_or(CKR_TEMPLATE_INCOMPLETE)?;
            let entry = mech::entry(CKM_RSA_PKCS_KEY_PAIR_GEN)?;
            if !(entry.min..=entry.max).contains(&bits) {
                return Err(CKR_ATTRIBUTE_VALUE_INVALID.into());
            }
            private.set_number(CKA_MODULUS_BITS, bits);
            let exponent = public.bytes(CKA_PUBLIC_EXPONENT).unwrap_or(&[1, 0, 1]);
            let start = exponent
                .iter()
                .position(|&b| b != 0)
                .ok_or(CKR_ATTRIBUTE_VALUE_INVALID)?;
            let exponent = exponent[start..].to_vec();
            check_exponent(&exponent)?;
            return Ok(PairPlan::Rsa {
                bits: bits as u32,
                exponent,
            });
        }
        let curve = value::curve(public)?;
        if private.has(CKA_EC_PARAMS) && value::curve(private)? != curve {
            return Err(CKR_TEMPLATE_INCONSISTENT.into());
        }
        // By identifier, however the template names the curve: so it is shown by any store.
        public.set(CKA_EC_PARAMS, curve.params());
        private.set(CKA_EC_PARAMS, curve.params());
        Ok(PairPlan::Ec(curve))
    }

    fn bits(&self) -> u32 {
        match self {
            PairPlan::Rsa { bits, .. } => *bits,
            PairPlan::Ec(curve) => curve.bits(),
        }
    }

    /// KMIP has no way to ask for another exponent than the usual one.
    fn is_usual(&self) -> bool {
        match self {
            PairPlan::Rsa { exponent, .. } => exponent == &[1, 0, 1],
            PairPlan::Ec(_) => true,
        }
    }

    fn make(&self) -> Result<PrivateKey> {
        match self {
            PairPlan::Rsa { bits, exponent } => PrivateKey::generate_rsa(*bits, exponent),
            PairPlan::Ec(curve) => PrivateKey::generate_ec(*curve),
        }
    }
}
