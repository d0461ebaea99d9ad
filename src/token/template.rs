//! Templates: lists of attributes as an application gave them, and what they must obey.

use std::collections::BTreeMap;
use std::fmt;

use super::attr::{Change, Form, Preset, Purpose, RULES, Rule, rule, usable};
use super::object::{Attributes, flatten};
use super::spec::hmac_hash;
use crate::ck::*;
use crate::error::{Error, Result};
use crate::secret::Secret;

/// One attribute of a template.
pub struct Attribute {
    /// `CKA_*`.
    pub kind: CK_ATTRIBUTE_TYPE,
    /// Its value.
    pub value: Value,
}

/// Value of an attribute.
pub enum Value {
    /// Bytes, as the caller laid them out (a `CK_ULONG` is 8 bytes in host order, a `CK_BBOOL` one).
    Bytes(Secret),
    /// A template of its own (`CKA_WRAP_TEMPLATE`, `CKA_UNWRAP_TEMPLATE`, `CKA_DERIVE_TEMPLATE`).
    Nested(Template),
}

/// A template: the caller's order, duplicates kept.
#[derive(Default)]
pub struct Template(pub Vec<Attribute>);

impl fmt::Debug for Attribute {
    /// Type and length only: values may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Value::Bytes(bytes) => write!(f, "{:#x}: {bytes:?}", self.kind),
            Value::Nested(inner) => write!(f, "{:#x}: {inner:?}", self.kind),
        }
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0).finish()
    }
}

/// Answer to one row of `C_GetAttributeValue`; the edge does lengths, buffers and the five cases' return values.
#[derive(Debug)]
pub enum Answer {
    /// The value.
    Value(Secret),
    /// The value is a template.
    Nested(Template),
    /// `CKR_ATTRIBUTE_SENSITIVE`.
    Sensitive,
    /// The object has no such attribute: `CKR_ATTRIBUTE_TYPE_INVALID`.
    Unknown,
}

/// What a session may do, as far as templates are concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// The session is read/write.
    pub write: bool,
    /// The user is logged in.
    pub user: bool,
    /// The security officer is logged in.
    pub so: bool,
    /// New keys are sensitive unless their template says otherwise.
    pub guarded: bool,
}

impl Rights {
    /// Whether an object with these attributes may be made or changed.
    pub fn check(self, attributes: &Attributes) -> Result<()> {
        if attributes.flag(CKA_TOKEN) && !self.write {
            return Err(CKR_SESSION_READ_ONLY.into());
        }
        if attributes.flag(CKA_PRIVATE) && !self.user {
            return Err(CKR_USER_NOT_LOGGED_IN.into());
        }
        // A key that anybody may use cannot ask its user for a PIN (3.0, 4.9).
        if attributes.flag(CKA_ALWAYS_AUTHENTICATE) && !attributes.flag(CKA_PRIVATE) {
            return Err(CKR_TEMPLATE_INCONSISTENT.into());
        }
        Ok(())
    }
}

/// The largest value of an attribute that is not the value of its object.
const ATTRIBUTE_MAX: usize = 16 << 10;
/// The largest value of an object.
const VALUE_MAX: usize = 1 << 20;

/// A template that was checked against the attribute table: what the new object shall be.
#[derive(Debug, Default)]
pub struct Draft {
    /// Its attributes.
    pub attributes: Attributes,
    /// The parts of its value that were given (`CKA_VALUE`, `CKA_PRIME_1` ...).
    pub parts: BTreeMap<CK_ATTRIBUTE_TYPE, Secret>,
    /// Decide the presets of `CKA_PRIVATE` and `CKA_SENSITIVE`.
    rights: Rights,
}

impl Template {
    /// The value of the first attribute of a kind, if it is bytes.
    pub fn bytes(&self, kind: CK_ATTRIBUTE_TYPE) -> Option<&[u8]> {
        self.0
            .iter()
            .find(|a| a.kind == kind)
            .and_then(|a| match &a.value {
                Value::Bytes(bytes) => Some(bytes.expose()),
                Value::Nested(_) => None,
            })
    }

    /// The value of the first attribute of a kind, if it is a number.
    pub fn number(&self, kind: CK_ATTRIBUTE_TYPE) -> Option<CK_ULONG> {
        Some(CK_ULONG::from_ne_bytes(self.bytes(kind)?.try_into().ok()?))
    }

    /// Checks the template of a new object. `class` and `key_type` are what the function makes, where it decides that; a template may
    /// repeat them but not contradict them.
    pub fn draft(
        &self,
        purpose: Purpose,
        class: Option<CK_OBJECT_CLASS>,
        key_type: Option<CK_KEY_TYPE>,
        rights: Rights,
    ) -> Result<Draft> {
        let mut draft = Draft {
            rights,
            ..Draft::default()
        };
        let class = self
            .settle(CKA_CLASS, class)?
            .ok_or(CKR_TEMPLATE_INCOMPLETE)?;
        draft.attributes.set_number(CKA_CLASS, class);
        let mut key = None;
        match class {
            CKO_SECRET_KEY | CKO_PUBLIC_KEY | CKO_PRIVATE_KEY => {
                let key_type = self
                    .settle(CKA_KEY_TYPE, key_type)?
                    .ok_or(CKR_TEMPLATE_INCOMPLETE)?;
                if class == CKO_SECRET_KEY {
                    check_secret(key_type)?;
                }
                draft.attributes.set_number(CKA_KEY_TYPE, key_type);
                key = Some(key_type);
            }
            CKO_CERTIFICATE | CKO_DATA => {}
            _ => return Err(CKR_ATTRIBUTE_VALUE_INVALID.into()),
        }
        for attribute in &self.0 {
            let rule = rule(attribute.kind).ok_or(CKR_ATTRIBUTE_TYPE_INVALID)?;
            attribute.check_form(rule)?;
            if rule.is_read_only() {
                // An identifier can be neither given nor changed: templates of new objects do not have it at all.
                return Err(if rule.kind == CKA_UNIQUE_ID {
                    CKR_ATTRIBUTE_TYPE_INVALID
                } else {
                    CKR_ATTRIBUTE_READ_ONLY
                }
                .into());
            }
            if !rule.applies(class, key) || !rule.may_be_given(purpose) {
                return Err(CKR_TEMPLATE_INCONSISTENT.into());
            }
            if attribute.is_trust() && !rights.so {
                return Err(CKR_ATTRIBUTE_READ_ONLY.into());
            }
            draft.take(attribute, rule)?;
        }
        Ok(draft)
    }

    /// Checks a template of `C_SetAttributeValue` or `C_CopyObject` against the object it changes, and gives its attributes as they become.
    pub fn changes(
        &self,
        purpose: Purpose,
        old: &Attributes,
        rights: Rights,
    ) -> Result<Attributes> {
        let mut new = old.clone();
        for attribute in &self.0 {
            let rule = rule(attribute.kind)
                .filter(|r| r.applies(old.class(), old.key_type()))
                .ok_or(CKR_ATTRIBUTE_TYPE_INVALID)?;
            attribute.check_form(rule)?;
            let value = attribute.flat();
            if !rule.secret && !rule.is_read_only() && old.bytes(rule.kind) == Some(&value) {
                continue;
            }
            // The one change that a check value knows: not to be there any more (4.10.2).
            let unchecked = rule.kind == CKA_CHECK_VALUE && value.is_empty();
            let allowed = (rule.may_be_given(purpose) || unchecked)
                && match rule.change {
                    _ if unchecked => true,
                    Change::ToTrue => attribute.is_true(),
                    Change::ToFalse => !attribute.is_true(),
                    Change::Free | Change::InCopy => true,
                    Change::Never => false,
                }
                && (rule.kind != CKA_TRUSTED || rights.so);
            if !allowed {
                return Err(CKR_ATTRIBUTE_READ_ONLY.into());
            }
            // What was hidden does not come into the open by copying.
            if rule.kind == CKA_PRIVATE && !attribute.is_true() {
                return Err(CKR_TEMPLATE_INCONSISTENT.into());
            }
            new.set(rule.kind, value);
        }
        Ok(new)
    }

    /// The class or key type that a template and a function agree on.
    fn settle(
        &self,
        kind: CK_ATTRIBUTE_TYPE,
        decided: Option<CK_ULONG>,
    ) -> Result<Option<CK_ULONG>> {
        let given = match self.0.iter().find(|a| a.kind == kind) {
            Some(_) => Some(self.number(kind).ok_or(CKR_ATTRIBUTE_VALUE_INVALID)?),
            None => None,
        };
        match (given, decided) {
            (Some(given), Some(decided)) if given != decided => {
                Err(CKR_TEMPLATE_INCONSISTENT.into())
            }
            _ => Ok(given.or(decided)),
        }
    }
}

impl Attribute {
    /// True when `value`, which an object shows of this attribute, is the one wanted; `None` is never.
    pub fn matches(&self, value: Option<&[u8]>) -> bool {
        let Some(value) = value else { return false };
        let wanted = self.flat();
        match rule(self.kind).map(|r| r.form) {
            Some(Form::Flag) => {
                wanted.len() == 1 && (wanted[0] != CK_FALSE) == value.iter().any(|&b| b != CK_FALSE)
            }
            _ => value == wanted,
        }
    }

    /// The value as it is kept: a flag as `CK_TRUE` or `CK_FALSE`, a template flat.
    fn flat(&self) -> Vec<u8> {
        match &self.value {
            Value::Nested(template) => flatten(template),
            Value::Bytes(bytes)
                if rule(self.kind).is_some_and(|r| r.form == Form::Flag) && bytes.len() == 1 =>
            {
                vec![if self.is_true() { CK_TRUE } else { CK_FALSE }]
            }
            Value::Bytes(bytes) => bytes.expose().to_vec(),
        }
    }

    fn is_true(&self) -> bool {
        matches!(&self.value, Value::Bytes(bytes) if bytes.expose().iter().any(|&b| b != CK_FALSE))
    }

    /// Whether it makes a key trusted, which the SO alone may.
    fn is_trust(&self) -> bool {
        self.kind == CKA_TRUSTED && self.is_true()
    }

    /// Whether the value has the layout that the attribute must have.
    fn check_form(&self, rule: &Rule) -> Result<()> {
        self.check_len(rule)?;
        let fits = match &self.value {
            Value::Nested(inner) => {
                rule.form == Form::Template
                    && inner.0.iter().all(|a| {
                        matches!(a.value, Value::Bytes(_))
                            && self::rule(a.kind).is_some_and(|r| a.check_form(r).is_ok())
                    })
            }
            Value::Bytes(bytes) => match rule.form {
                Form::Flag => bytes.len() == size_of::<CK_BBOOL>(),
                Form::Number => bytes.len() == size_of::<CK_ULONG>(),
                Form::Bytes => true,
                Form::Date => bytes.is_empty() || is_date(bytes.expose()),
                Form::Mechanisms => bytes.len().is_multiple_of(size_of::<CK_MECHANISM_TYPE>()),
                Form::Template => bytes.is_empty(),
            },
        };
        if fits {
            Ok(())
        } else {
            Err(CKR_ATTRIBUTE_VALUE_INVALID.into())
        }
    }

    /// Errors: `CKR_DEVICE_MEMORY` if the value is longer than a token stores.
    fn check_len(&self, rule: &Rule) -> Result<()> {
        let Value::Bytes(value) = &self.value else {
            return Ok(());
        };
        let most = match rule.form {
            Form::Bytes if rule.kind == CKA_VALUE => VALUE_MAX,
            Form::Bytes | Form::Mechanisms => ATTRIBUTE_MAX,
            _ => return Ok(()),
        };
        if value.len() > most {
            return Err(Error::from(CKR_DEVICE_MEMORY).context(format_args!(
                "the value of an attribute has {most} bytes at most"
            )));
        }
        Ok(())
    }
}

/// Whether keys of a type are secret keys that the token knows.
fn check_secret(key_type: CK_KEY_TYPE) -> Result<()> {
    match key_type {
        CKK_AES | CKK_AES_XTS | CKK_DES3 | CKK_CHACHA20 | CKK_GENERIC_SECRET | CKK_HKDF => Ok(()),
        _ if hmac_hash(key_type).is_some() => Ok(()),
        CKK_RSA | CKK_EC | CKK_EC_EDWARDS | CKK_EC_MONTGOMERY => {
            Err(CKR_TEMPLATE_INCONSISTENT.into())
        }
        _ => Err(CKR_ATTRIBUTE_VALUE_INVALID.into()),
    }
}

/// `CK_DATE`: year, month and day as eight digits.
fn is_date(bytes: &[u8]) -> bool {
    bytes.len() == 8
        && bytes.iter().all(u8::is_ascii_digit)
        && (b"01"..=b"12").contains(&<&[u8; 2]>::try_from(&bytes[4..6]).expect("two digits"))
        && (b"01"..=b"31").contains(&<&[u8; 2]>::try_from(&bytes[6..8]).expect("two digits"))
}

impl Draft {
    /// Takes one checked attribute in. The same attribute twice is fine when both say the same (4.1.1 leaves that to the token).
    fn take(&mut self, attribute: &Attribute, rule: &Rule) -> Result<()> {
        if let (true, Value::Bytes(bytes)) = (rule.secret, &attribute.value) {
            return match self.parts.insert(rule.kind, bytes.duplicate()) {
                Some(other) if other != *bytes => Err(CKR_TEMPLATE_INCONSISTENT.into()),
                _ => Ok(()),
            };
        }
        let value = attribute.flat();
        match self.attributes.bytes(rule.kind) {
            Some(other) if *other != *value => Err(CKR_TEMPLATE_INCONSISTENT.into()),
            _ => {
                self.attributes.set(rule.kind, value);
                Ok(())
            }
        }
    }

    /// Adds what a key's own template demands of keys unwrapped or derived with it. It was an application that wrote it, and what
    /// templates may not say it may not say either.
    pub fn impose(&mut self, template: &Template, purpose: Purpose, rights: Rights) -> Result<()> {
        for attribute in &template.0 {
            let rule = rule(attribute.kind).ok_or(CKR_TEMPLATE_INCONSISTENT)?;
            if !rule.may_be_given(purpose) || attribute.is_trust() && !rights.so {
                return Err(CKR_TEMPLATE_INCONSISTENT.into());
            }
            if rule.applies(self.attributes.class(), self.attributes.key_type()) {
                self.take(attribute, rule)?;
            }
        }
        Ok(())
    }

    /// Gives every attribute that nobody set its preset value.
    pub fn complete(&mut self) {
        let (class, key_type) = (self.attributes.class(), self.attributes.key_type());
        for rule in RULES.iter().filter(|r| r.applies(class, key_type)) {
            if self.attributes.has(rule.kind) || self.parts.contains_key(&rule.kind) {
                continue;
            }
            match rule.preset {
                Preset::None => {}
                // What a certificate says itself needs no saying.
                Preset::Empty if rule.kind == CKA_SUBJECT && class == CKO_CERTIFICATE => {}
                Preset::Flag(value) => self.attributes.set_flag(rule.kind, value),
                Preset::Usable => self.attributes.set_flag(
                    rule.kind,
                    usable(
                        rule.kind,
                        class,
                        key_type.unwrap_or(CK_UNAVAILABLE_INFORMATION),
                    ),
                ),
                Preset::Empty => self.attributes.set(rule.kind, []),
                Preset::Number(value) => self.attributes.set_number(rule.kind, value),
                Preset::Confidential => {
                    let is_confidential = matches!(class, CKO_SECRET_KEY | CKO_PRIVATE_KEY)
                        && (self.rights.user || self.attributes.flag(CKA_TOKEN));
                    self.attributes.set_flag(rule.kind, is_confidential);
                }
                Preset::Sensitive => {
                    let is_sensitive = self.rights.guarded
                        || self.attributes.flag(CKA_TOKEN)
                            && !self.attributes.flag(CKA_EXTRACTABLE);
                    self.attributes.set_flag(rule.kind, is_sensitive);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Rights = Rights {
        write: true,
        user: true,
        so: false,
        guarded: false,
    };

    fn template(rows: &[(CK_ATTRIBUTE_TYPE, &[u8])]) -> Template {
        Template(
            rows.iter()
                .map(|(kind, v)| Attribute {
                    kind: *kind,
                    value: Value::Bytes(Secret::new(v.to_vec())),
                })
                .collect(),
        )
    }

    const SECRET: &[u8] = &CKO_SECRET_KEY.to_ne_bytes();
    const AES: &[u8] = &CKK_AES.to_ne_bytes();

    #[test]
    fn bad_templates_and_their_return_values() {
        let t = CK_TRUE;
        type Row<'a> = (CK_ATTRIBUTE_TYPE, &'a [u8]);
        let cases: &[(&str, Purpose, &[Row<'_>], CK_RV)] = &[
            (
                "no class",
                Purpose::Create,
                &[(CKA_LABEL, b"x")],
                CKR_TEMPLATE_INCOMPLETE,
            ),
            (
                "no key type",
                Purpose::Create,
                &[(CKA_CLASS, SECRET)],
                CKR_TEMPLATE_INCOMPLETE,
            ),
            (
                "short class",
                Purpose::Create,
                &[(CKA_CLASS, &[4])],
                CKR_ATTRIBUTE_VALUE_INVALID,
            ),
            (
                "odd class",
                Purpose::Create,
                &[(CKA_CLASS, &CKO_HW_FEATURE.to_ne_bytes())],
                CKR_ATTRIBUTE_VALUE_INVALID,
            ),
            (
                "unknown",
                Purpose::Create,
                &[(CKA_CLASS, SECRET), (CKA_KEY_TYPE, AES), (0x7777, b"")],
                CKR_ATTRIBUTE_TYPE_INVALID,
            ),
            (
                "read-only",
                Purpose::Create,
                &[(CKA_CLASS, SECRET), (CKA_KEY_TYPE, AES), (CKA_LOCAL, &[t])],
                CKR_ATTRIBUTE_READ_ONLY,
            ),
            (
                "identifier",
                Purpose::Generate,
                &[(CKA_UNIQUE_ID, b"1")],
                CKR_ATTRIBUTE_TYPE_INVALID,
            ),
            (
                "wide flag",
                Purpose::Create,
                &[
                    (CKA_CLASS, SECRET),
                    (CKA_KEY_TYPE, AES),
                    (CKA_TOKEN, &[t, 0]),
                ],
                CKR_ATTRIBUTE_VALUE_INVALID,
            ),
            (
                "another class's",
                Purpose::Create,
                &[
                    (CKA_CLASS, SECRET),
                    (CKA_KEY_TYPE, AES),
                    (CKA_MODULUS, b"1"),
                ],
                CKR_TEMPLATE_INCONSISTENT,
            ),
            (
                "value generated",
                Purpose::Generate,
                &[(CKA_VALUE, b"1234")],
                CKR_TEMPLATE_INCONSISTENT,
            ),
            (
                "wrong class generated",
                Purpose::Generate,
                &[(CKA_CLASS, &CKO_DATA.to_ne_bytes())],
                CKR_TEMPLATE_INCONSISTENT,
            ),
            (
                "two labels",
                Purpose::Generate,
                &[(CKA_LABEL, b"a"), (CKA_LABEL, b"b")],
                CKR_TEMPLATE_INCONSISTENT,
            ),
            (
                "trusted",
                Purpose::Generate,
                &[(CKA_TRUSTED, &[t])],
                CKR_ATTRIBUTE_READ_ONLY,
            ),
            (
                "half a date",
                Purpose::Generate,
                &[(CKA_START_DATE, b"2024")],
                CKR_ATTRIBUTE_VALUE_INVALID,
            ),
            (
                "month 13",
                Purpose::Generate,
                &[(CKA_START_DATE, b"20241301")],
                CKR_ATTRIBUTE_VALUE_INVALID,
            ),
            (
                "half a mechanism",
                Purpose::Generate,
                &[(CKA_ALLOWED_MECHANISMS, b"1234")],
                CKR_ATTRIBUTE_VALUE_INVALID,
            ),
            (
                "oversized",
                Purpose::Generate,
                &[(CKA_ID, &[0; ATTRIBUTE_MAX + 1])],
                CKR_DEVICE_MEMORY,
            ),
        ];
        for (name, purpose, rows, rv) in cases {
            let made = if *purpose == Purpose::Generate {
                (Some(CKO_SECRET_KEY), Some(CKK_AES))
            } else {
                (None, None)
            };
            let got = template(rows)
                .draft(*purpose, made.0, made.1, ALL)
                .map_err(|e| e.rv());
            assert_eq!(got.err(), Some(*rv), "{name}");
        }
    }

    #[test]
    fn keys_are_sensitive_where_nobody_expects_their_value() {
        let guarded = Rights {
            guarded: true,
            ..ALL
        };
        let token: (CK_ATTRIBUTE_TYPE, &[u8]) = (CKA_TOKEN, &[CK_TRUE]);
        let extractable: (CK_ATTRIBUTE_TYPE, &[u8]) = (CKA_EXTRACTABLE, &[CK_TRUE]);
        for (rows, rights, wanted) in [
            (&[][..], ALL, false),
            (&[token], ALL, true),
            (&[token, extractable], ALL, false),
            (&[], guarded, true),
            (&[token, extractable], guarded, true),
        ] {
            let draft = template(rows).draft(
                Purpose::Generate,
                Some(CKO_SECRET_KEY),
                Some(CKK_AES),
                rights,
            );
            let mut draft = draft.unwrap();
            draft.complete();
            assert_eq!(draft.attributes.flag(CKA_SENSITIVE), wanted, "{rows:?}");
        }
    }

    #[test]
    fn what_a_template_leaves_out_is_preset() {
        let rows: &[(CK_ATTRIBUTE_TYPE, &[u8])] = &[
            (CKA_LABEL, b"k"),
            (CKA_LABEL, b"k"),
            (CKA_SIGN, &[CK_FALSE]),
        ];
        let mut draft = template(rows)
            .draft(Purpose::Generate, Some(CKO_SECRET_KEY), Some(CKK_AES), ALL)
            .unwrap();
        draft.complete();
        let a = &draft.attributes;
        for kind in [
            CKA_PRIVATE,
            CKA_ENCRYPT,
            CKA_DECRYPT,
            CKA_WRAP,
            CKA_UNWRAP,
            CKA_VERIFY,
            CKA_MODIFIABLE,
            CKA_COPYABLE,
            CKA_DESTROYABLE,
        ] {
            assert!(a.flag(kind), "{kind:#x}");
        }
        for kind in [
            CKA_TOKEN,
            CKA_SENSITIVE,
            CKA_EXTRACTABLE,
            CKA_SIGN,
            CKA_DERIVE,
            CKA_TRUSTED,
        ] {
            assert!(a.has(kind) && !a.flag(kind), "{kind:#x}");
        }
        assert_eq!(a.bytes(CKA_LABEL), Some(&b"k"[..]));
        assert!(!a.has(CKA_MODULUS) && !a.has(CKA_VALUE));
    }

    #[test]
    fn one_way_attributes_go_one_way() {
        let mut old = Attributes::default();
        old.set_number(CKA_CLASS, CKO_SECRET_KEY);
        old.set_number(CKA_KEY_TYPE, CKK_AES);
        for kind in [CKA_SENSITIVE, CKA_COPYABLE, CKA_PRIVATE] {
            old.set_flag(kind, true);
        }
        old.set_flag(CKA_EXTRACTABLE, false);
        old.set_flag(CKA_TOKEN, false);
        let change = |purpose, kind, value: &[u8]| {
            template(&[(kind, value)])
                .changes(purpose, &old, ALL)
                .map(|_| ())
                .map_err(|e| e.rv())
        };
        let (yes, no): (&[u8], &[u8]) = (&[CK_TRUE], &[CK_FALSE]);
        assert_eq!(change(Purpose::Set, CKA_LABEL, b"new"), Ok(()));
        assert_eq!(
            change(Purpose::Set, CKA_SENSITIVE, no),
            Err(CKR_ATTRIBUTE_READ_ONLY)
        );
        assert_eq!(change(Purpose::Set, CKA_SENSITIVE, yes), Ok(()));
        assert_eq!(
            change(Purpose::Set, CKA_EXTRACTABLE, yes),
            Err(CKR_ATTRIBUTE_READ_ONLY)
        );
        assert_eq!(change(Purpose::Set, CKA_COPYABLE, no), Ok(()));
        assert_eq!(
            change(Purpose::Set, CKA_TOKEN, yes),
            Err(CKR_ATTRIBUTE_READ_ONLY)
        );
        assert_eq!(change(Purpose::Copy, CKA_TOKEN, yes), Ok(()));
        assert_eq!(
            change(Purpose::Copy, CKA_PRIVATE, no),
            Err(CKR_TEMPLATE_INCONSISTENT)
        );
        assert_eq!(
            change(Purpose::Set, CKA_KEY_TYPE, &CKK_DES3.to_ne_bytes()),
            Err(CKR_ATTRIBUTE_READ_ONLY)
        );
        assert_eq!(
            change(Purpose::Set, CKA_MODULUS, b"1"),
            Err(CKR_ATTRIBUTE_TYPE_INVALID)
        );
        assert_eq!(
            change(Purpose::Set, CKA_TRUSTED, yes),
            Err(CKR_ATTRIBUTE_READ_ONLY)
        );
        assert_eq!(
            change(Purpose::Set, CKA_VALUE, b"1"),
            Err(CKR_ATTRIBUTE_READ_ONLY)
        );
        assert_eq!(
            change(Purpose::Set, CKA_CHECK_VALUE, b"123"),
            Err(CKR_ATTRIBUTE_READ_ONLY)
        );
        assert_eq!(change(Purpose::Set, CKA_CHECK_VALUE, b""), Ok(()));
        assert_eq!(change(Purpose::Copy, CKA_CHECK_VALUE, b""), Ok(()));
    }

    #[test]
    fn rights_guard_token_and_private_objects() {
        let mut a = Attributes::default();
        a.set_flag(CKA_TOKEN, true);
        a.set_flag(CKA_PRIVATE, true);
        let check = |write, user| {
            Rights {
                write,
                user,
                so: false,
                guarded: false,
            }
            .check(&a)
            .map_err(|e| e.rv())
        };
        assert_eq!(check(false, true), Err(CKR_SESSION_READ_ONLY));
        assert_eq!(check(true, false), Err(CKR_USER_NOT_LOGGED_IN));
        assert_eq!(check(true, true), Ok(()));
    }

    #[test]
    fn a_template_matches_by_value_and_flags_by_truth() {
        let mut a = Attributes::default();
        a.set(CKA_LABEL, *b"x");
        a.set_flag(CKA_TOKEN, true);
        let matches = |rows: &[(CK_ATTRIBUTE_TYPE, &[u8])]| {
            template(rows)
                .0
                .iter()
                .all(|row| row.matches(a.bytes(row.kind)))
        };
        assert!(matches(&[]));
        assert!(matches(&[(CKA_LABEL, b"x"), (CKA_TOKEN, &[7])]));
        assert!(!matches(&[(CKA_LABEL, b"xy")]));
        assert!(!matches(&[(CKA_TOKEN, &[0])]));
        assert!(!matches(&[(CKA_ID, b"")]));
    }

    #[test]
    fn debug_shows_no_values() {
        assert_eq!(
            format!("{:?}", template(&[(CKA_VALUE, b"hunter2")])),
            "[0x11: <7 bytes>]"
        );
    }
}
