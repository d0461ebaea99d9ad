//! The key protection policy: which uses of keys `policy = "default"`, `"strict"` and `"compatible"` allow (docs/PKCS11.md).
//!
//! Pure functions of attributes. They are called where keys are created, changed, wrapped, unwrapped, derived and used; no other place
//! decides whether a combination of calls would reveal a key.

use super::object::Attributes;
use super::value;
use crate::ck::*;
use crate::config::KeyPolicy;
use crate::error::{Error, Result};

#[cfg(test)]
mod tests;

/// Shortest key that may be derived from a protected key, or cut from an unwrapped one, in bytes: 112 bits cannot be searched.
pub const SHORTEST: usize = 14;

/// What a key is used for. Under `strict` a protected key has one role: two of them let a caller turn one into the inverse of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Encrypts and decrypts data.
    Cipher,
    /// Wraps and unwraps keys.
    Transport,
    /// Signs and verifies, or authenticates messages.
    Signature,
    /// Keys are derived from it.
    Derivation,
}

/// The usage flags and their roles.
const USAGES: [(CK_ATTRIBUTE_TYPE, Role); 9] = [
    (CKA_ENCRYPT, Role::Cipher),
    (CKA_DECRYPT, Role::Cipher),
    (CKA_WRAP, Role::Transport),
    (CKA_UNWRAP, Role::Transport),
    (CKA_SIGN, Role::Signature),
    (CKA_SIGN_RECOVER, Role::Signature),
    (CKA_VERIFY, Role::Signature),
    (CKA_VERIFY_RECOVER, Role::Signature),
    (CKA_DERIVE, Role::Derivation),
];

/// Flags that permit other calls than uses of the key. A copy, too, has them only where its key does.
const PERMISSIONS: [CK_ATTRIBUTE_TYPE; 2] = [CKA_MODIFIABLE, CKA_COPYABLE];

/// A set of roles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles(u8);

impl Roles {
    /// The roles that the usage flags of these attributes give.
    pub fn of(attributes: &Attributes) -> Roles {
        USAGES
            .iter()
            .filter(|(usage, _)| attributes.flag(*usage))
            .fold(Roles::default(), |roles, (_, role)| roles.with(*role))
    }

    /// These roles and those.
    pub fn and(self, other: Roles) -> Roles {
        Roles(self.0 | other.0)
    }

    /// True when there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn with(self, role: Role) -> Roles {
        Roles(self.0 | 1 << role as u8)
    }

    fn has(self, role: Role) -> bool {
        self.0 & 1 << role as u8 != 0
    }

    /// True when the policy keeps them apart: one key with these attributes does not have them all. Under `default` a key may have
    /// every role, as clients ask for (docs/PKCS11.md names them).
    fn conflict(self, policy: KeyPolicy, attributes: &Attributes) -> bool {
        policy == KeyPolicy::Strict && is_protected(attributes) && self.0.count_ones() > 1
    }
}

/// How a key came to be, as far as its roles depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Generated here, or created from a value that the caller knows.
    New,
    /// Unwrapped or derived: the same value may already be a key of another role, or become one by the same call.
    Repeatable,
}

/// True for a key whose value must not come out: it is `CKA_SENSITIVE` or not `CKA_EXTRACTABLE`.
pub fn is_protected(attributes: &Attributes) -> bool {
    matches!(attributes.class(), CKO_SECRET_KEY | CKO_PRIVATE_KEY)
        && (attributes.flag(CKA_SENSITIVE) || !attributes.flag(CKA_EXTRACTABLE))
}

/// Settles the usage flags of a new secret or private key. `said` are its roles by its template alone: flags that the template left out
/// give way to those.
///
/// `CKR_TEMPLATE_INCONSISTENT` when the template itself combines roles that the policy keeps apart.
pub fn settle(
    policy: KeyPolicy,
    origin: Origin,
    attributes: &mut Attributes,
    said: Roles,
) -> Result<()> {
    if said.conflict(policy, attributes) {
        return Err(refused(CKR_TEMPLATE_INCONSISTENT, APART));
    }
    let roles = Roles::of(attributes);
    if roles.conflict(policy, attributes) {
        let keep = if said.is_empty() {
            Roles::default().with(first_role(roles, attributes.key_type()))
        } else {
            said
        };
        withdraw(attributes, |role| !keep.has(role));
    }
    if policy == KeyPolicy::Strict && is_protected(attributes) {
        check_strict(origin, attributes)?;
    }
    Ok(())
}

/// Settles the usage flags of the public half of a pair: under `strict` it has the role of the private half, where that is protected.
pub fn settle_public(policy: KeyPolicy, public: &mut Attributes, private: &Attributes) {
    if policy == KeyPolicy::Strict && is_protected(private) {
        let keep = Roles::of(private);
        withdraw(public, |role| !keep.has(role));
    }
}

fn withdraw(attributes: &mut Attributes, from: impl Fn(Role) -> bool) {
    for (usage, role) in USAGES {
        if attributes.flag(usage) && from(role) {
            attributes.set_flag(usage, false);
        }
    }
}

/// Whether a key has roles that the policy keeps apart.
fn conflicts(policy: KeyPolicy, attributes: &Attributes) -> bool {
    Roles::of(attributes).conflict(policy, attributes)
}

const APART: &str = "one key has roles that the key policy keeps apart";

/// The role of a key whose template names none.
fn first_role(roles: Roles, key_type: Option<CK_KEY_TYPE>) -> Role {
    let order = match key_type {
        Some(CKK_RSA) => [Role::Signature, Role::Cipher],
        _ => [Role::Cipher, Role::Signature],
    };
    order
        .into_iter()
        .find(|role| roles.has(*role))
        .unwrap_or(Role::Derivation)
}

/// What `strict` asks of a new protected key beside its one role.
fn check_strict(origin: Origin, attributes: &Attributes) -> Result<()> {
    let roles = Roles::of(attributes);
    // Wrapped and unwrapped again, a key could take another role beside the one it has.
    let lasting = roles.has(Role::Transport)
        || roles.has(Role::Derivation) && attributes.class() == CKO_SECRET_KEY;
    if lasting && origin == Origin::Repeatable {
        return Err(refused(
            CKR_TEMPLATE_INCONSISTENT,
            "the strict key policy lets no unwrapped or derived key wrap, unwrap or derive keys",
        ));
    }
    if lasting && attributes.flag(CKA_EXTRACTABLE) {
        return Err(refused(
            CKR_TEMPLATE_INCONSISTENT,
            "under the strict key policy keys that wrap, unwrap or derive keys are not extractable",
        ));
    }
    Ok(())
}

/// Checks new attributes of a key (`C_SetAttributeValue`) or of its copy (`C_CopyObject`): what a protected or trusted key may not do, it
/// cannot be allowed later. `CKR_ATTRIBUTE_READ_ONLY` when it would be.
pub fn check_change(policy: KeyPolicy, old: &Attributes, new: &Attributes) -> Result<()> {
    if policy == KeyPolicy::Compatible || old.key_type().is_none() {
        return Ok(());
    }
    let guarded = is_protected(old) || old.flag(CKA_TRUSTED);
    let widened = USAGES
        .iter()
        .map(|(usage, _)| usage)
        .chain(&PERMISSIONS)
        .any(|kind| new.flag(*kind) && !old.flag(*kind));
    if guarded && widened {
        return Err(refused(
            CKR_ATTRIBUTE_READ_ONLY,
            "flags of a protected key are only taken away after its creation",
        ));
    }
    if conflicts(policy, new) && !conflicts(policy, old) {
        return Err(refused(CKR_TEMPLATE_INCONSISTENT, APART));
    }
    Ok(())
}

/// Checks that a key may be copied. Under `strict` a copy of a key from before, which has several roles, could keep one while the key
/// keeps another. `CKR_ACTION_PROHIBITED` then.
pub fn check_copy(policy: KeyPolicy, attributes: &Attributes) -> Result<()> {
    if policy == KeyPolicy::Strict && conflicts(policy, attributes) {
        return Err(refused(
            CKR_ACTION_PROHIBITED,
            "a key with several roles is not copied under the strict key policy",
        ));
    }
    Ok(())
}

/// Checks that a key may be used as the flag `usage` says, which it has. Under `strict` a key from before, which has several roles, does
/// not transport or derive keys any more: its other roles would undo that. `CKR_KEY_FUNCTION_NOT_PERMITTED` then.
pub fn check_use(
    policy: KeyPolicy,
    attributes: &Attributes,
    usage: CK_ATTRIBUTE_TYPE,
) -> Result<()> {
    if policy == KeyPolicy::Strict
        && matches!(usage, CKA_WRAP | CKA_UNWRAP | CKA_DERIVE)
        && conflicts(policy, attributes)
    {
        return Err(refused(
            CKR_KEY_FUNCTION_NOT_PERMITTED,
            "the key has other roles beside this one",
        ));
    }
    Ok(())
}

/// Checks that a mechanism may put bytes of a key, as they are, where a caller can cut them out or change them: concatenation, XOR,
/// extraction, and an invertible function of a key. `CKR_KEY_FUNCTION_NOT_PERMITTED` for a protected key.
pub fn check_exposed(policy: KeyPolicy, attributes: &Attributes) -> Result<()> {
    if policy != KeyPolicy::Compatible && is_protected(attributes) {
        return Err(refused(
            CKR_KEY_FUNCTION_NOT_PERMITTED,
            "the mechanism gives away bytes of a protected key",
        ));
    }
    Ok(())
}

/// Checks that a protected key may be digested or derived into an object that everybody may read. Under `strict` it may not: what is
/// derived from it by the same function would be known.
pub fn may_show_digest(policy: KeyPolicy, attributes: &Attributes) -> bool {
    policy != KeyPolicy::Strict || !is_protected(attributes)
}

/// Checks the length of a key that is derived from others, of which one is protected. `CKR_KEY_SIZE_RANGE` when it could be searched.
pub fn check_derived_len(policy: KeyPolicy, len: usize) -> Result<()> {
    if policy != KeyPolicy::Compatible && len < SHORTEST {
        return Err(refused(
            CKR_KEY_SIZE_RANGE,
            "a key that is derived from a protected one has 14 bytes at least",
        ));
    }
    Ok(())
}

/// Whether a key of `len` bytes may be made of `unwrapped` ones. `whole` says that nobody without the wrapping key has cut them.
pub fn may_unwrap_to(
    policy: KeyPolicy,
    unwrapping: &Attributes,
    whole: bool,
    unwrapped: usize,
    len: usize,
) -> bool {
    match policy {
        KeyPolicy::Compatible => true,
        KeyPolicy::Strict => len == unwrapped,
        KeyPolicy::Default => {
            !is_protected(unwrapping) || len >= SHORTEST || whole && len == unwrapped
        }
    }
}

/// Makes a new key as guarded as `strict` wants it: nothing that comes out of a key is in the open. `says` tells whether the template
/// has the attribute. `CKR_TEMPLATE_INCONSISTENT` when it says otherwise.
pub fn guard(
    policy: KeyPolicy,
    attributes: &mut Attributes,
    origin: Guarded,
    says: impl Fn(CK_ATTRIBUTE_TYPE) -> bool,
) -> Result<()> {
    if policy != KeyPolicy::Strict {
        return Ok(());
    }
    let open = || {
        refused(
            CKR_TEMPLATE_INCONSISTENT,
            "under the strict key policy a key that is unwrapped, or derived from a protected one, is sensitive",
        )
    };
    if says(CKA_SENSITIVE) && !attributes.flag(CKA_SENSITIVE) {
        return Err(open());
    }
    attributes.set_flag(CKA_SENSITIVE, true);
    if !says(CKA_EXTRACTABLE) {
        attributes.set_flag(CKA_EXTRACTABLE, false);
    }
    if attributes.flag(CKA_EXTRACTABLE) {
        if origin == Guarded::Derived {
            return Err(open());
        }
        // It leaves again as it came: under a key that the SO trusts, whatever the policy will be.
        attributes.set_flag(CKA_WRAP_WITH_TRUSTED, true);
    }
    Ok(())
}

/// Which keys [`guard`] guards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarded {
    /// Unwrapped ones.
    Unwrapped,
    /// Those derived from a protected key.
    Derived,
}

/// Checks that a key may be wrapped under another by a mechanism; `sealed` says that it is authenticated and takes no IV of the caller.
/// `CKR_KEY_NOT_WRAPPABLE` when `strict` refuses it.
pub fn check_wrap(
    policy: KeyPolicy,
    wrapping: &Attributes,
    key: &Attributes,
    sealed: bool,
) -> Result<()> {
    if policy != KeyPolicy::Strict {
        return Ok(());
    }
    let refused = |why| Err(refused(CKR_KEY_NOT_WRAPPABLE, why));
    if !sealed && (is_protected(key) || is_protected(wrapping)) {
        return refused(
            "the strict key policy wraps by AES Key Wrap, RSA-OAEP and CKM_RSA_AES_KEY_WRAP only",
        );
    }
    if !is_protected(key) {
        return Ok(());
    }
    if !wrapping.flag(CKA_TRUSTED) {
        return refused(
            "under the strict key policy a sensitive key is wrapped under a key that is CKA_TRUSTED",
        );
    }
    if wrapping.class() == CKO_SECRET_KEY
        && (!is_protected(wrapping) || wrapping.flag(CKA_EXTRACTABLE))
    {
        return refused("the wrapping key is not protected itself");
    }
    let roles = Roles::of(key);
    if roles.has(Role::Transport)
        || roles.has(Role::Derivation) && key.class() == CKO_SECRET_KEY
        || conflicts(policy, key)
    {
        return refused(
            "keys that wrap, unwrap or derive keys do not leave the token under the strict key policy",
        );
    }
    if strength(wrapping) < strength(key).min(most_asked(wrapping)) {
        return refused("the wrapping key is weaker than the key");
    }
    Ok(())
}

/// Checks that a mechanism may unwrap keys. `CKR_KEY_FUNCTION_NOT_PERMITTED` when `strict` refuses it.
pub fn check_unwrap(policy: KeyPolicy, sealed: bool) -> Result<()> {
    if policy == KeyPolicy::Strict && !sealed {
        return Err(refused(
            CKR_KEY_FUNCTION_NOT_PERMITTED,
            "the strict key policy unwraps by AES Key Wrap, RSA-OAEP and CKM_RSA_AES_KEY_WRAP only",
        ));
    }
    Ok(())
}

/// Security strength of a key in bits (SP 800-57 part 1, table 2).
fn strength(attributes: &Attributes) -> CK_ULONG {
    let bits = |kind| attributes.number(kind).unwrap_or(0);
    match (attributes.class(), attributes.key_type()) {
        (_, Some(CKK_RSA)) => match modulus_bits(attributes) {
            ..2048 => 0,
            2048..3072 => 112,
            3072..7680 => 128,
            7680..15360 => 192,
            _ => 256,
        },
        (CKO_PRIVATE_KEY, _) => {
            value::curve(attributes).map_or(256, |curve| CK_ULONG::from(curve.bits() / 2))
        }
        (_, Some(CKK_DES3)) => 112,
        _ => (bits(CKA_VALUE_LEN) * 8).min(256),
    }
}

fn modulus_bits(attributes: &Attributes) -> CK_ULONG {
    attributes
        .number(CKA_MODULUS_BITS)
        .or_else(|| Some(attributes.bytes(CKA_MODULUS)?.len() as CK_ULONG * 8))
        .unwrap_or(0)
}

/// The strength that is asked of a wrapping key at most: an RSA key of 256 bits of strength is none that anybody has.
fn most_asked(wrapping: &Attributes) -> CK_ULONG {
    if wrapping.key_type() == Some(CKK_RSA) {
        112
    } else {
        256
    }
}

fn refused(rv: CK_RV, why: &'static str) -> Error {
    Error::from(rv).context(why)
}
