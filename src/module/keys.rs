//! Keys made from nothing, from wrapped keys and from other keys.

use super::Module;
use crate::ck::*;
use crate::crypto::pkey::PrivateKey;
use crate::crypto::rng;
use crate::error::Result;
use crate::mech::{self, Mechanism, Output, Params, Work};
use crate::secret::Secret;
use crate::token::attr::Purpose;
use crate::token::object::Attributes;
use crate::token::objects::Source;
use crate::token::template::{Draft, Template};
use crate::token::value;

/// The most random bytes that one call makes.
const RANDOM_MAX: usize = 1 << 28;

impl Module {
    /// `C_GenerateKey`.
    pub fn generate_key(&self, h: CK_SESSION_HANDLE, mechanism: Mechanism, template: Template) -> Result<CK_OBJECT_HANDLE> {
        let session = self.session(h)?;
        let Work::KeyGen(key_type) = mech::serving(mechanism.kind, CKF_GENERATE)?.work else {
            return Err(CKR_MECHANISM_INVALID.into());
        };
        check_bare(&mechanism)?;
        let rights = session.rights();
        let mut draft = template.draft(Purpose::Generate, Some(CKO_SECRET_KEY), Some(key_type), rights)?;
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
        generated(&mut draft, mechanism.kind);
        rights.check(&draft.attributes)?;
        let _operations = session.operations();
        Ok(session.token.add(draft.attributes, Source::Made(len as u32 * 8), h)?.handle)
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
        let mut public = public.draft(Purpose::Generate, Some(CKO_PUBLIC_KEY), Some(key_type), rights)?;
        let mut private = private.draft(Purpose::Generate, Some(CKO_PRIVATE_KEY), Some(key_type), rights)?;
        let plan = PairPlan::of(&public.attributes, &mut private.attributes)?;
        generated(&mut public, mechanism.kind);
        generated(&mut private, mechanism.kind);
        rights.check(&public.attributes)?;
        rights.check(&private.attributes)?;
        let _operations = session.operations();
        let token = &session.token;
        if public.attributes.flag(CKA_TOKEN) && private.attributes.flag(CKA_TOKEN) && plan.is_usual() {
            match token.add_pair(public.attributes.clone(), private.attributes.clone(), plan.bits()) {
                // A server that cannot make such a pair may keep one.
                Err(e) if matches!(e.rv(), CKR_FUNCTION_NOT_SUPPORTED | CKR_MECHANISM_INVALID) => {
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
        let public = token.add(public.attributes, Source::Given(spki), h)?;
        match token.add(private.attributes, Source::Given(pkcs8), h) {
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
        let _ = (h, mechanism, wrapping, key, room);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
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
        let _ = (h, mechanism, unwrapping, wrapped, template);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_DeriveKey`.
    pub fn derive_key(
        &self,
        h: CK_SESSION_HANDLE,
        mechanism: Mechanism,
        base: CK_OBJECT_HANDLE,
        template: Template,
    ) -> Result<CK_OBJECT_HANDLE> {
        let _ = (h, mechanism, base, template);
        Err(CKR_FUNCTION_NOT_SUPPORTED)?
    }

    /// `C_SeedRandom`: the generator is seeded by the operating system.
    pub fn seed_random(&self, h: CK_SESSION_HANDLE, seed: &[u8]) -> Result<()> {
        let _ = seed;
        self.session(h)?;
        Err(CKR_RANDOM_SEED_NOT_SUPPORTED.into())
    }

    /// `C_GenerateRandom`: always local.
    pub fn generate_random(&self, h: CK_SESSION_HANDLE, len: usize) -> Result<Secret> {
        self.session(h)?;
        if len > RANDOM_MAX {
            return Err(CKR_ARGUMENTS_BAD.into());
        }
        rng::bytes(len)
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
    draft.complete();
    let attributes = &mut draft.attributes;
    attributes.set_flag(CKA_LOCAL, true);
    attributes.set_number(CKA_KEY_GEN_MECHANISM, mechanism);
    if attributes.class() != CKO_PUBLIC_KEY {
        attributes.set_flag(CKA_ALWAYS_SENSITIVE, attributes.flag(CKA_SENSITIVE));
        attributes.set_flag(CKA_NEVER_EXTRACTABLE, !attributes.flag(CKA_EXTRACTABLE));
    }
}

/// The key pair that templates ask for.
enum PairPlan {
    Rsa { bits: u32, exponent: Vec<u8> },
    Ec(crate::crypto::Curve),
}

impl PairPlan {
    fn of(public: &Attributes, private: &mut Attributes) -> Result<PairPlan> {
        if public.key_type() == Some(CKK_RSA) {
            let bits = public.number(CKA_MODULUS_BITS).ok_or(CKR_TEMPLATE_INCOMPLETE)?;
            let entry = mech::entry(CKM_RSA_PKCS_KEY_PAIR_GEN)?;
            if !(entry.min..=entry.max).contains(&bits) {
                return Err(CKR_KEY_SIZE_RANGE.into());
            }
            private.set_number(CKA_MODULUS_BITS, bits);
            let exponent = public.bytes(CKA_PUBLIC_EXPONENT).unwrap_or(&[1, 0, 1]);
            let start = exponent.iter().position(|&b| b != 0).ok_or(CKR_ATTRIBUTE_VALUE_INVALID)?;
            return Ok(PairPlan::Rsa { bits: bits as u32, exponent: exponent[start..].to_vec() });
        }
        let params = public.bytes(CKA_EC_PARAMS).ok_or(CKR_TEMPLATE_INCOMPLETE)?.to_vec();
        let curve = value::curve(public)?;
        match private.bytes(CKA_EC_PARAMS) {
            Some(other) if other != params => return Err(CKR_TEMPLATE_INCONSISTENT.into()),
            _ => private.set(CKA_EC_PARAMS, params),
        }
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
