//! The attribute table: everything that is fixed about each attribute of an object (PKCS#11 3.0, sections 4 and 6).

use crate::ck::*;

/// How the value of an attribute is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `CK_BBOOL`: one byte.
    Flag,
    /// `CK_ULONG`.
    Number,
    /// Any bytes: text, DER, big integers.
    Bytes,
    /// `CK_DATE`, or nothing.
    Date,
    /// An array of `CK_MECHANISM_TYPE`.
    Mechanisms,
    /// An array of `CK_ATTRIBUTE`.
    Template,
}

/// A set of object classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Classes(u8);

impl Classes {
    const SECRET: Classes = Classes(1);
    const PUBLIC: Classes = Classes(2);
    const PRIVATE: Classes = Classes(4);
    const CERTIFICATE: Classes = Classes(8);
    const DATA: Classes = Classes(16);
    const PAIR: Classes = Classes(2 | 4);
    const CONFIDENTIAL: Classes = Classes(1 | 4);
    const KEYS: Classes = Classes(1 | 2 | 4);
    const ALL: Classes = Classes(31);

    const fn and(self, other: Classes) -> Classes {
        Classes(self.0 | other.0)
    }

    fn contain(self, class: CK_OBJECT_CLASS) -> bool {
        let bit = match class {
            CKO_SECRET_KEY => Classes::SECRET,
            CKO_PUBLIC_KEY => Classes::PUBLIC,
            CKO_PRIVATE_KEY => Classes::PRIVATE,
            CKO_CERTIFICATE => Classes::CERTIFICATE,
            CKO_DATA => Classes::DATA,
            _ => return false,
        };
        self.0 & bit.0 != 0
    }
}

/// Which key types of its classes have an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Any,
    Rsa,
    /// Elliptic curves, Edwards and Montgomery ones too.
    Ec,
    /// Everything but RSA: a value in one piece.
    NotRsa,
}

impl Family {
    fn contains(self, key_type: Option<CK_KEY_TYPE>) -> bool {
        match self {
            Family::Any => true,
            Family::Rsa => key_type == Some(CKK_RSA),
            Family::Ec => matches!(key_type, Some(CKK_EC | CKK_EC_EDWARDS | CKK_EC_MONTGOMERY)),
            Family::NotRsa => key_type != Some(CKK_RSA),
        }
    }
}

/// The function whose template is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// `C_CreateObject`.
    Create,
    /// `C_GenerateKey`, `C_GenerateKeyPair`.
    Generate,
    /// `C_UnwrapKey`.
    Unwrap,
    /// `C_DeriveKey`.
    Derive,
    /// `C_CopyObject`.
    Copy,
    /// `C_SetAttributeValue`.
    Set,
}

/// Whether and how an attribute changes once its object exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Never.
    Never,
    /// In a copy only.
    InCopy,
    /// To any value.
    Free,
    /// From false to true only.
    ToTrue,
    /// From true to false only.
    ToFalse,
}

/// Which functions' templates may contain an attribute.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Given(u8);

const READ_ONLY: Given = Given(0);
const CREATE: Given = Given(1);
/// Generated keys only: the standard's "must not be specified when created".
const GENERATE: Given = Given(2);
const CREATE_OR_GENERATE: Given = Given(1 | 2);
/// Lengths: everywhere but where the value is given.
const MADE: Given = Given(2 | 4);
const ANYWHERE: Given = Given(1 | 2 | 4);

/// Value of an attribute that nobody set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// The object then has no such attribute, or it follows from the value.
    None,
    /// A flag.
    Flag(bool),
    /// A usage flag: what the key type allows (`usable`).
    Usable,
    /// Empty.
    Empty,
    /// A number.
    Number(CK_ULONG),
    /// True for secret and private keys, but for session objects while the user is not logged in.
    Confidential,
    /// True for token objects that are not said to be extractable, and for all under the strict key policy.
    Sensitive,
}

/// One row of the table.
pub struct Rule {
    /// `CKA_*`.
    pub kind: CK_ATTRIBUTE_TYPE,
    /// Layout.
    pub form: Form,
    classes: Classes,
    family: Family,
    given: Given,
    /// Changes after creation.
    pub change: Change,
    /// Hidden when the object is sensitive or not extractable.
    pub secret: bool,
    /// Value when nobody set it.
    pub preset: Preset,
}

impl Rule {
    /// True when objects of this class and key type have the attribute.
    pub fn applies(&self, class: CK_OBJECT_CLASS, key_type: Option<CK_KEY_TYPE>) -> bool {
        // CKA_VALUE of an RSA private key does not exist; of a certificate or data it does.
        self.classes.contain(class) && self.family.contains(key_type)
    }

    /// True when a template of `purpose` may contain the attribute at all.
    pub fn may_be_given(&self, purpose: Purpose) -> bool {
        match purpose {
            Purpose::Create => self.given.0 & 1 != 0,
            Purpose::Generate => self.given.0 & 2 != 0,
            Purpose::Unwrap | Purpose::Derive => self.given.0 & 4 != 0,
            Purpose::Copy => self.change != Change::Never,
            Purpose::Set => !matches!(self.change, Change::Never | Change::InCopy),
        }
    }

    /// True when no application ever sets the attribute.
    pub fn is_read_only(&self) -> bool {
        self.given == READ_ONLY
    }
}

/// Vendor attributes (`include/mrhsm.h`): what the store knows beyond PKCS#11. All read-only.
pub mod vendor {
    use crate::ck::{CK_ATTRIBUTE_TYPE, CKA_VENDOR_DEFINED};

    const BASE: CK_ATTRIBUTE_TYPE = CKA_VENDOR_DEFINED | 0x4d52_0000;
    /// Unique Identifier on the server (text).
    pub const UID: CK_ATTRIBUTE_TYPE = BASE | 1;
    /// State (`CK_ULONG`, KMIP's numbers: 1 Pre-Active to 6 Destroyed Compromised).
    pub const STATE: CK_ATTRIBUTE_TYPE = BASE | 2;
    /// Initial Date (`CK_ULONG`, seconds since 1970).
    pub const INITIAL_DATE: CK_ATTRIBUTE_TYPE = BASE | 3;
    /// Activation Date (`CK_ULONG`, seconds since 1970).
    pub const ACTIVATION_DATE: CK_ATTRIBUTE_TYPE = BASE | 4;
    /// Deactivation Date (`CK_ULONG`, seconds since 1970).
    pub const DEACTIVATION_DATE: CK_ATTRIBUTE_TYPE = BASE | 5;
    /// First Object Group (text).
    pub const GROUP: CK_ATTRIBUTE_TYPE = BASE | 6;
    /// First Name (text).
    pub const NAME: CK_ATTRIBUTE_TYPE = BASE | 7;
    /// The store made the key and keeps it: its value never comes into a process (`CK_BBOOL`).
    pub const KEPT: CK_ATTRIBUTE_TYPE = BASE | 8;
}

const fn row(
    kind: CK_ATTRIBUTE_TYPE,
    form: Form,
    classes: Classes,
    given: Given,
    change: Change,
    preset: Preset,
) -> Rule {
    Rule {
        kind,
        form,
        classes,
        family: Family::Any,
        given,
        change,
        secret: false,
        preset,
    }
}

const fn usage(kind: CK_ATTRIBUTE_TYPE, classes: Classes) -> Rule {
    row(
        kind,
        Form::Flag,
        classes,
        ANYWHERE,
        Change::Free,
        Preset::Usable,
    )
}

const fn family(family: Family, mut rule: Rule) -> Rule {
    rule.family = family;
    rule
}

const fn secret(mut rule: Rule) -> Rule {
    rule.secret = true;
    rule
}

const fn rsa_secret(kind: CK_ATTRIBUTE_TYPE) -> Rule {
    secret(family(
        Family::Rsa,
        row(
            kind,
            Form::Bytes,
            Classes::PRIVATE,
            CREATE,
            Change::Never,
            Preset::None,
        ),
    ))
}

const fn fact(kind: CK_ATTRIBUTE_TYPE, form: Form) -> Rule {
    row(
        kind,
        form,
        Classes::ALL,
        READ_ONLY,
        Change::Never,
        Preset::None,
    )
}

use Change::{Free, InCopy, Never, ToFalse, ToTrue};
use Form::{Bytes, Date, Flag, Mechanisms, Number, Template};
use Preset::{Confidential, Empty};

const CERT: Classes = Classes::CERTIFICATE;
const ALL: Classes = Classes::ALL;
const KEYS: Classes = Classes::KEYS;

/// All attributes, by number.
#[rustfmt::skip]
pub static RULES: &[Rule] = &[
    row(CKA_CLASS, Number, ALL, ANYWHERE, Never, Preset::None),
    row(CKA_TOKEN, Flag, ALL, ANYWHERE, InCopy, Preset::Flag(false)),
    row(CKA_PRIVATE, Flag, ALL, ANYWHERE, InCopy, Confidential),
    row(CKA_LABEL, Bytes, ALL, ANYWHERE, Free, Empty),
    row(CKA_UNIQUE_ID, Bytes, ALL, READ_ONLY, Never, Preset::None),
    row(CKA_APPLICATION, Bytes, Classes::DATA, ANYWHERE, Never, Empty),
    secret(family(Family::NotRsa, row(CKA_VALUE, Bytes, Classes::CONFIDENTIAL.and(CERT).and(Classes::DATA), CREATE, Never, Preset::None))),
    row(CKA_OBJECT_ID, Bytes, Classes::DATA, ANYWHERE, Never, Empty),
    row(CKA_CERTIFICATE_TYPE, Number, CERT, CREATE, Never, Preset::None),
    row(CKA_ISSUER, Bytes, CERT, CREATE, Free, Preset::None),
    row(CKA_SERIAL_NUMBER, Bytes, CERT, CREATE, Free, Preset::None),
    row(CKA_TRUSTED, Flag, CERT.and(Classes::SECRET).and(Classes::PUBLIC), ANYWHERE, ToTrue, Preset::Flag(false)),
    row(CKA_CERTIFICATE_CATEGORY, Number, CERT, CREATE, Never, Preset::Number(0)),
    row(CKA_JAVA_MIDP_SECURITY_DOMAIN, Number, CERT, CREATE, Never, Preset::Number(0)),
    row(CKA_URL, Bytes, CERT, CREATE, Never, Empty),
    row(CKA_HASH_OF_SUBJECT_PUBLIC_KEY, Bytes, CERT, CREATE, Never, Empty),
    row(CKA_HASH_OF_ISSUER_PUBLIC_KEY, Bytes, CERT, CREATE, Never, Empty),
    row(CKA_NAME_HASH_ALGORITHM, Number, CERT, CREATE, Never, Preset::Number(CKM_SHA_1)),
    row(CKA_CHECK_VALUE, Bytes, Classes::SECRET.and(CERT), ANYWHERE, Never, Preset::None),
    row(CKA_KEY_TYPE, Number, KEYS, ANYWHERE, Never, Preset::None),
    row(CKA_SUBJECT, Bytes, Classes::PAIR.and(CERT), ANYWHERE, Free, Empty),
    row(CKA_ID, Bytes, KEYS.and(CERT), ANYWHERE, Free, Empty),
    row(CKA_SENSITIVE, Flag, Classes::CONFIDENTIAL, ANYWHERE, ToTrue, Preset::Sensitive),
    usage(CKA_ENCRYPT, Classes::SECRET.and(Classes::PUBLIC)),
    usage(CKA_DECRYPT, Classes::CONFIDENTIAL),
    usage(CKA_WRAP, Classes::SECRET.and(Classes::PUBLIC)),
    usage(CKA_UNWRAP, Classes::CONFIDENTIAL),
    usage(CKA_SIGN, Classes::CONFIDENTIAL),
    usage(CKA_SIGN_RECOVER, Classes::PRIVATE),
    usage(CKA_VERIFY, Classes::SECRET.and(Classes::PUBLIC)),
    usage(CKA_VERIFY_RECOVER, Classes::PUBLIC),
    usage(CKA_DERIVE, KEYS),
    row(CKA_START_DATE, Date, KEYS.and(CERT), ANYWHERE, Free, Empty),
    row(CKA_END_DATE, Date, KEYS.and(CERT), ANYWHERE, Free, Empty),
    family(Family::Rsa, row(CKA_MODULUS, Bytes, Classes::PAIR, CREATE, Never, Preset::None)),
    family(Family::Rsa, row(CKA_MODULUS_BITS, Number, Classes::PUBLIC, GENERATE, Never, Preset::None)),
    family(Family::Rsa, row(CKA_PUBLIC_EXPONENT, Bytes, Classes::PAIR, CREATE_OR_GENERATE, Never, Preset::None)),
    rsa_secret(CKA_PRIVATE_EXPONENT),
    rsa_secret(CKA_PRIME_1),
    rsa_secret(CKA_PRIME_2),
    rsa_secret(CKA_EXPONENT_1),
    rsa_secret(CKA_EXPONENT_2),
    rsa_secret(CKA_COEFFICIENT),
    row(CKA_PUBLIC_KEY_INFO, Bytes, Classes::PAIR.and(CERT), CREATE, Never, Preset::None),
    row(CKA_VALUE_LEN, Number, Classes::SECRET, MADE, Never, Preset::None),
    row(CKA_EXTRACTABLE, Flag, Classes::CONFIDENTIAL, ANYWHERE, ToFalse, Preset::Flag(false)),
    row(CKA_LOCAL, Flag, KEYS, READ_ONLY, Never, Preset::Flag(false)),
    row(CKA_NEVER_EXTRACTABLE, Flag, Classes::CONFIDENTIAL, READ_ONLY, Never, Preset::Flag(false)),
    row(CKA_ALWAYS_SENSITIVE, Flag, Classes::CONFIDENTIAL, READ_ONLY, Never, Preset::Flag(false)),
    row(CKA_KEY_GEN_MECHANISM, Number, KEYS, READ_ONLY, Never, Preset::Number(CK_UNAVAILABLE_INFORMATION)),
    row(CKA_MODIFIABLE, Flag, ALL, ANYWHERE, InCopy, Preset::Flag(true)),
    row(CKA_COPYABLE, Flag, ALL, ANYWHERE, ToFalse, Preset::Flag(true)),
    row(CKA_DESTROYABLE, Flag, ALL, ANYWHERE, InCopy, Preset::Flag(true)),
    family(Family::Ec, row(CKA_EC_PARAMS, Bytes, Classes::PAIR, CREATE_OR_GENERATE, Never, Preset::None)),
    family(Family::Ec, row(CKA_EC_POINT, Bytes, Classes::PAIR, CREATE, Never, Preset::None)),
    row(CKA_ALWAYS_AUTHENTICATE, Flag, Classes::PRIVATE, ANYWHERE, Never, Preset::Flag(false)),
    row(CKA_WRAP_WITH_TRUSTED, Flag, Classes::CONFIDENTIAL, ANYWHERE, ToTrue, Preset::Flag(false)),
    row(CKA_WRAP_TEMPLATE, Template, Classes::SECRET.and(Classes::PUBLIC), ANYWHERE, Never, Preset::None),
    row(CKA_UNWRAP_TEMPLATE, Template, Classes::CONFIDENTIAL, ANYWHERE, Never, Preset::None),
    row(CKA_DERIVE_TEMPLATE, Template, Classes::CONFIDENTIAL, ANYWHERE, Never, Preset::None),
    row(CKA_ALLOWED_MECHANISMS, Mechanisms, KEYS, ANYWHERE, Never, Preset::None),
    fact(vendor::UID, Bytes),
    fact(vendor::STATE, Number),
    fact(vendor::INITIAL_DATE, Number),
    fact(vendor::ACTIVATION_DATE, Number),
    fact(vendor::DEACTIVATION_DATE, Number),
    fact(vendor::GROUP, Bytes),
    fact(vendor::NAME, Bytes),
    row(vendor::KEPT, Flag, Classes::CONFIDENTIAL, READ_ONLY, Never, Preset::Flag(false)),
];

/// The rule of an attribute; `None` when no object has it.
pub fn rule(kind: CK_ATTRIBUTE_TYPE) -> Option<&'static Rule> {
    RULES
        .binary_search_by_key(&kind, |rule| rule.kind)
        .ok()
        .map(|i| &RULES[i])
}

/// Whether keys of this class and type can be used as the usage flag `kind` says: the value of a flag that a template leaves out.
pub fn usable(kind: CK_ATTRIBUTE_TYPE, class: CK_OBJECT_CLASS, key_type: CK_KEY_TYPE) -> bool {
    match (class, key_type) {
        (CKO_SECRET_KEY, CKK_AES | CKK_DES3) => kind != CKA_DERIVE,
        (CKO_SECRET_KEY, CKK_AES_XTS | CKK_CHACHA20) => {
            matches!(kind, CKA_ENCRYPT | CKA_DECRYPT | CKA_WRAP | CKA_UNWRAP)
        }
        (CKO_SECRET_KEY, CKK_HKDF) => kind == CKA_DERIVE,
        (CKO_SECRET_KEY, _) => matches!(kind, CKA_SIGN | CKA_VERIFY),
        (CKO_PUBLIC_KEY | CKO_PRIVATE_KEY, CKK_RSA) => kind != CKA_DERIVE,
        (CKO_PRIVATE_KEY, CKK_EC) => matches!(kind, CKA_SIGN | CKA_DERIVE),
        (CKO_PRIVATE_KEY, CKK_EC_MONTGOMERY) => kind == CKA_DERIVE,
        (CKO_PUBLIC_KEY, CKK_EC | CKK_EC_EDWARDS) => kind == CKA_VERIFY,
        (CKO_PRIVATE_KEY, CKK_EC_EDWARDS) => kind == CKA_SIGN,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_every_row_is_found() {
        assert!(RULES.windows(2).all(|pair| pair[0].kind < pair[1].kind));
        for r in RULES {
            assert_eq!(rule(r.kind).map(|found| found.kind), Some(r.kind));
        }
        assert!(rule(CKA_HW_FEATURE_TYPE).is_none());
    }

    #[test]
    fn presets_fit_the_form() {
        for r in RULES {
            let fits = match r.preset {
                Preset::None => true,
                Preset::Flag(_) | Preset::Usable | Preset::Confidential | Preset::Sensitive => {
                    r.form == Form::Flag
                }
                Preset::Empty => matches!(r.form, Form::Bytes | Form::Date),
                Preset::Number(_) => r.form == Form::Number,
            };
            assert!(fits, "{:#x}", r.kind);
            assert!(
                !r.secret || r.change == Change::Never,
                "{:#x}: a secret part never changes",
                r.kind
            );
        }
    }

    #[test]
    fn rows_say_which_objects_have_an_attribute() {
        let has = |kind, class, key_type| rule(kind).unwrap().applies(class, key_type);
        assert!(has(CKA_VALUE, CKO_SECRET_KEY, Some(CKK_AES)));
        assert!(has(CKA_VALUE, CKO_PRIVATE_KEY, Some(CKK_EC)));
        assert!(!has(CKA_VALUE, CKO_PRIVATE_KEY, Some(CKK_RSA)));
        assert!(!has(CKA_VALUE, CKO_PUBLIC_KEY, Some(CKK_EC)));
        assert!(has(CKA_MODULUS, CKO_PRIVATE_KEY, Some(CKK_RSA)));
        assert!(!has(CKA_MODULUS, CKO_PRIVATE_KEY, Some(CKK_EC)));
        assert!(!has(CKA_SENSITIVE, CKO_PUBLIC_KEY, Some(CKK_RSA)));
        assert!(has(CKA_LABEL, CKO_DATA, None));
    }
}
