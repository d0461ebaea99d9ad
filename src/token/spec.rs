//! The token's half of the two translations: attributes ↔ the store's words ([`Spec`], [`Meta`], [`Changes`]).
//!
//! What a store has no field for travels as properties: short ASCII keys, printable values. A property is written only where an
//! attribute differs from what an object without it shows, because some servers have little room for them.

use std::collections::BTreeMap;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};

use super::attr::vendor;
use super::cluster::Role;
use super::object::Attributes;
use crate::ck::*;
use crate::crypto::hash::digest;
use crate::error::Result;
use crate::store::{
    Algorithm, Changes, Class, Curve, Hash, Meta, PRIVATE, Spec, Usage, is_private,
};

/// The property that marks the cluster's own keys, with their role as its value.
pub const ROLE: &str = "role";

/// The property of a key that is sensitive though its server may give it out.
const SENSITIVE: &str = "sens";

/// What stands for a check value that shall not be: an empty property is none.
const NO_CHECK: &str = "-";

/// Flags kept as properties: the key, and what an object without the property shows.
const FLAGS: &[(CK_ATTRIBUTE_TYPE, &str, bool)] = &[
    (CKA_MODIFIABLE, "mod", true),
    (CKA_COPYABLE, "cpy", true),
    (CKA_DESTROYABLE, "dst", true),
    (CKA_LOCAL, "local", false),
    (CKA_ALWAYS_SENSITIVE, "as", false),
    (CKA_NEVER_EXTRACTABLE, "nx", false),
    (CKA_ALWAYS_AUTHENTICATE, "aa", false),
    (CKA_WRAP_WITH_TRUSTED, "wwt", false),
    (CKA_TRUSTED, "tr", false),
    (vendor::KEPT, "kept", false),
];

/// Bytes kept as properties, in hexadecimal.
const BYTES: &[(CK_ATTRIBUTE_TYPE, &str)] = &[
    (CKA_APPLICATION, "app"),
    (CKA_OBJECT_ID, "oid"),
    (CKA_SUBJECT, "subj"),
    (CKA_ISSUER, "iss"),
    (CKA_SERIAL_NUMBER, "sn"),
    (CKA_URL, "url"),
    (CKA_HASH_OF_SUBJECT_PUBLIC_KEY, "hs"),
    (CKA_HASH_OF_ISSUER_PUBLIC_KEY, "hi"),
    (CKA_START_DATE, "sd"),
    (CKA_END_DATE, "ed"),
    (CKA_WRAP_TEMPLATE, "wt"),
    (CKA_UNWRAP_TEMPLATE, "ut"),
    (CKA_DERIVE_TEMPLATE, "dt"),
    (CKA_ALLOWED_MECHANISMS, "mech"),
    (CKA_CHECK_VALUE, "kcv"),
    (CKA_PUBLIC_KEY_INFO, "spki"),
];

/// Numbers kept as properties, in hexadecimal: the key, and what an object without the property shows.
const NUMBERS: &[(CK_ATTRIBUTE_TYPE, &str, CK_ULONG)] = &[
    (CKA_KEY_GEN_MECHANISM, "kgm", CK_UNAVAILABLE_INFORMATION),
    (CKA_CERTIFICATE_CATEGORY, "cc", 0),
    (CKA_JAVA_MIDP_SECURITY_DOMAIN, "md", 0),
    (CKA_NAME_HASH_ALGORITHM, "nh", CKM_SHA_1),
];

/// The usage flags, with the bits that a server knows them by.
const USAGES: &[(CK_ATTRIBUTE_TYPE, Usage)] = &[
    (CKA_ENCRYPT, Usage::ENCRYPT),
    (CKA_DECRYPT, Usage::DECRYPT),
    (CKA_WRAP, Usage::WRAP),
    (CKA_UNWRAP, Usage::UNWRAP),
    (CKA_SIGN, Usage::SIGN),
    (CKA_VERIFY, Usage::VERIFY),
    (CKA_DERIVE, Usage::DERIVE),
    (CKA_SIGN_RECOVER, Usage::SIGN),
    (CKA_VERIFY_RECOVER, Usage::VERIFY),
];

/// The key types that are secrets for one hash.
const HMACS: &[(CK_KEY_TYPE, Hash)] = &[
    (CKK_SHA_1_HMAC, Hash::Sha1),
    (CKK_SHA224_HMAC, Hash::Sha224),
    (CKK_SHA256_HMAC, Hash::Sha256),
    (CKK_SHA384_HMAC, Hash::Sha384),
    (CKK_SHA512_HMAC, Hash::Sha512),
    (CKK_SHA512_224_HMAC, Hash::Sha512_224),
    (CKK_SHA512_256_HMAC, Hash::Sha512_256),
    (CKK_SHA3_224_HMAC, Hash::Sha3_224),
    (CKK_SHA3_256_HMAC, Hash::Sha3_256),
    (CKK_SHA3_384_HMAC, Hash::Sha3_384),
    (CKK_SHA3_512_HMAC, Hash::Sha3_512),
];

/// The `CKA_KEY_TYPE` of a curve's keys.
pub fn key_type_of(curve: Curve) -> CK_KEY_TYPE {
    match curve {
        Curve::Ed25519 => CKK_EC_EDWARDS,
        Curve::X25519 => CKK_EC_MONTGOMERY,
        _ => CKK_EC,
    }
}

/// The hash that an HMAC key type is for.
pub fn hmac_hash(key_type: CK_KEY_TYPE) -> Option<Hash> {
    HMACS
        .iter()
        .find(|(kind, _)| *kind == key_type)
        .map(|(_, hash)| *hash)
}

/// The algorithm of a key with these attributes. `CKR_ATTRIBUTE_VALUE_INVALID` for a key type this token does not know,
/// `CKR_CURVE_NOT_SUPPORTED` for a curve.
pub fn algorithm(attributes: &Attributes) -> Result<Algorithm> {
    Ok(match attributes.key_type() {
        None => Algorithm::None,
        Some(CKK_AES) => Algorithm::Aes,
        Some(CKK_DES3) => Algorithm::TripleDes,
        Some(CKK_CHACHA20) => Algorithm::ChaCha20,
        // KMIP's AES keys are no longer than 32 bytes; of two of them in one, no server makes anything.
        Some(CKK_GENERIC_SECRET | CKK_HKDF | CKK_AES_XTS) => Algorithm::GenericSecret,
        Some(CKK_RSA) => Algorithm::Rsa,
        Some(key_type @ (CKK_EC | CKK_EC_EDWARDS | CKK_EC_MONTGOMERY)) => {
            let params = attributes
                .bytes(CKA_EC_PARAMS)
                .ok_or(CKR_TEMPLATE_INCOMPLETE)?;
            let curve = Curve::from_params(params).ok_or(CKR_CURVE_NOT_SUPPORTED)?;
            if key_type_of(curve) != key_type {
                return Err(CKR_TEMPLATE_INCONSISTENT.into());
            }
            Algorithm::Ec(curve)
        }
        Some(other) => Algorithm::Hmac(hmac_hash(other).ok_or(CKR_ATTRIBUTE_VALUE_INVALID)?),
    })
}

/// What a store is told about a new object. `bits` is the length of a key.
pub fn spec(attributes: &Attributes, bits: u32) -> Result<Spec> {
    let class = match attributes.class() {
        CKO_SECRET_KEY => Class::SecretKey,
        CKO_PUBLIC_KEY => Class::PublicKey,
        CKO_PRIVATE_KEY => Class::PrivateKey,
        CKO_CERTIFICATE => Class::Certificate,
        _ => Class::Data,
    };
    let mut usage = Usage::default();
    for (kind, bit) in USAGES.iter().filter(|(kind, _)| attributes.flag(*kind)) {
        usage |= match (*kind, class) {
            (CKA_SIGN, Class::SecretKey) => Usage::MAC_GENERATE,
            (CKA_VERIFY, Class::SecretKey) => Usage::MAC_VERIFY,
            (CKA_DERIVE, Class::PrivateKey) => Usage::DERIVE | Usage::KEY_AGREEMENT,
            // In most mechanisms that wrap, the server encrypts.
            (CKA_WRAP, _) => Usage::WRAP | Usage::ENCRYPT,
            (CKA_UNWRAP, _) => Usage::UNWRAP | Usage::DECRYPT,
            _ => *bit,
        };
    }
    Ok(Spec {
        class,
        algorithm: algorithm(attributes)?,
        bits,
        usage,
        name: None,
        group: None,
        label: attributes.bytes(CKA_LABEL).unwrap_or_default().to_vec(),
        id: attributes.bytes(CKA_ID).unwrap_or_default().to_vec(),
        sensitive: withheld(attributes),
        extractable: !matches!(class, Class::SecretKey | Class::PrivateKey)
            || attributes.flag(CKA_EXTRACTABLE),
        properties: properties(attributes, usage),
    })
}

/// Whether the server is told to keep the value to itself. KMIP's Sensitive means "never in the clear, to nobody", and a key that
/// may be wrapped here, or used here for what the server cannot do, must come here; of such a key the module alone keeps the secret.
fn withheld(attributes: &Attributes) -> bool {
    attributes.flag(CKA_SENSITIVE)
        && !attributes.flag(CKA_EXTRACTABLE)
        && attributes.flag(vendor::KEPT)
}

/// The properties of an object with these attributes, of which the server is told `usage`.
fn properties(attributes: &Attributes, usage: Usage) -> BTreeMap<String, String> {
    let mut kept = BTreeMap::new();
    let mut keep = |key: &str, value: String| {
        kept.insert(key.to_string(), value);
    };
    let class = attributes.class();
    if attributes.flag(CKA_PRIVATE) != private_by_default(class) {
        keep(PRIVATE, flag_text(attributes.flag(CKA_PRIVATE)));
    }
    if attributes.flag(CKA_SENSITIVE) && !withheld(attributes) {
        keep(SENSITIVE, flag_text(true));
    }
    for (kind, key, absent) in FLAGS {
        if attributes.has(*kind) && attributes.flag(*kind) != *absent {
            keep(key, flag_text(!absent));
        }
    }
    for (kind, key) in BYTES {
        if let Some([]) = attributes.bytes(*kind).filter(|_| *kind == CKA_CHECK_VALUE) {
            keep(key, NO_CHECK.into());
        }
        // What follows from the value need not be kept beside it, but for the public half of a private key.
        if *kind == CKA_PUBLIC_KEY_INFO && class != CKO_PRIVATE_KEY {
            continue;
        }
        if let Some(value) = attributes.bytes(*kind).filter(|v| !v.is_empty()) {
            keep(key, HEXLOWER.encode(value));
        }
    }
    for (kind, key, absent) in NUMBERS {
        if let Some(value) = attributes.number(*kind).filter(|v| v != absent) {
            keep(key, format!("{value:x}"));
        }
    }
    // A store may keep one type of key as another: a generic secret as an HMAC key, one HMAC's key as another's. One mask bit stands
    // for two flags.
    const KEPT_AS_OTHERS: [CK_KEY_TYPE; 5] = [
        CKK_GENERIC_SECRET,
        CKK_HKDF,
        CKK_AES_XTS,
        CKK_SHA512_224_HMAC,
        CKK_SHA512_256_HMAC,
    ];
    if let Some(key_type) = attributes
        .key_type()
        .filter(|key_type| KEPT_AS_OTHERS.contains(key_type))
    {
        keep("kt", format!("{key_type:x}"));
    }
    let flags = usage_flags(attributes);
    if class == CKO_SECRET_KEY || class == CKO_PUBLIC_KEY || class == CKO_PRIVATE_KEY {
        let mut shown = Attributes::default();
        show_usage(&mut shown, class, attributes.key_type(), usage);
        if usage_flags(&shown) != flags {
            keep("use", format!("{flags:x}"));
        }
    }
    kept
}

/// The usage flags as one number, bit by bit in the order of [`USAGES`].
fn usage_flags(attributes: &Attributes) -> u32 {
    USAGES
        .iter()
        .enumerate()
        .filter(|(_, (kind, _))| attributes.flag(*kind))
        .fold(0, |bits, (i, _)| bits | 1 << i)
}

/// Sets the usage flags that follow from a server's usage mask.
fn show_usage(
    attributes: &mut Attributes,
    class: CK_OBJECT_CLASS,
    key_type: Option<CK_KEY_TYPE>,
    usage: Usage,
) {
    for (kind, bit) in USAGES {
        let Some(rule) = super::attr::rule(*kind) else {
            continue;
        };
        if !rule.applies(class, key_type) {
            continue;
        }
        let value = match *kind {
            CKA_SIGN if class == CKO_SECRET_KEY => {
                usage.contains(Usage::MAC_GENERATE) || usage.contains(Usage::SIGN)
            }
            CKA_VERIFY if class == CKO_SECRET_KEY => {
                usage.contains(Usage::MAC_VERIFY) || usage.contains(Usage::VERIFY)
            }
            CKA_DERIVE => usage.contains(Usage::DERIVE) || usage.contains(Usage::KEY_AGREEMENT),
            // Only RSA recovers.
            CKA_SIGN_RECOVER | CKA_VERIFY_RECOVER => {
                key_type == Some(CKK_RSA) && usage.contains(*bit)
            }
            _ => usage.contains(*bit),
        };
        attributes.set_flag(*kind, value);
    }
}

/// The attributes of a stored object. `None` for one that PKCS#11 has no key type for.
pub fn attributes(meta: &Meta) -> Option<Attributes> {
    let mut a = Attributes::default();
    let property = |key: &str| meta.properties.get(key).map(String::as_str);
    let number = |key: &str| property(key).and_then(|v| CK_ULONG::from_str_radix(v, 16).ok());
    let class = match meta.class {
        Class::SecretKey => CKO_SECRET_KEY,
        Class::PublicKey => CKO_PUBLIC_KEY,
        Class::PrivateKey => CKO_PRIVATE_KEY,
        Class::Certificate => CKO_CERTIFICATE,
        Class::Data => CKO_DATA,
    };
    a.set_number(CKA_CLASS, class);
    if matches!(class, CKO_SECRET_KEY | CKO_PUBLIC_KEY | CKO_PRIVATE_KEY) {
        let key_type = match meta.algorithm {
            Algorithm::Aes => CKK_AES,
            Algorithm::TripleDes => CKK_DES3,
            Algorithm::ChaCha20 => CKK_CHACHA20,
            Algorithm::GenericSecret => CKK_GENERIC_SECRET,
            Algorithm::Hmac(hash) => HMACS.iter().find(|(_, h)| *h == hash)?.0,
            Algorithm::Rsa => CKK_RSA,
            Algorithm::Ec(curve) => key_type_of(curve),
            // A secret is a secret, whatever it is for; a key pair that is not understood cannot be shown.
            Algorithm::None | Algorithm::Other(_) if class == CKO_SECRET_KEY => CKK_GENERIC_SECRET,
            Algorithm::None | Algorithm::Other(_) => return None,
        };
        a.set_number(CKA_KEY_TYPE, number("kt").unwrap_or(key_type));
    }
    a.set_flag(CKA_TOKEN, true);
    a.set_flag(CKA_PRIVATE, is_private(meta.class, &meta.properties));
    a.set(CKA_UNIQUE_ID, meta.uid.0.as_bytes());
    a.set(
        CKA_LABEL,
        meta.label
            .clone()
            .or_else(|| meta.names.first().map(|n| n.clone().into_bytes()))
            .unwrap_or_default(),
    );
    if class != CKO_DATA {
        a.set(CKA_ID, meta.id.clone().unwrap_or_else(|| made_up_id(meta)));
    }
    let key_type = a.key_type();
    let applies = |kind| super::attr::rule(kind).is_some_and(|r| r.applies(class, key_type));
    for (kind, key, absent) in FLAGS.iter().filter(|row| applies(row.0)) {
        a.set_flag(*kind, property(key).map_or(*absent, |v| v == "1"));
    }
    for (kind, key) in BYTES.iter().filter(|row| applies(row.0)) {
        match property(key).and_then(|v| HEXLOWER_PERMISSIVE.decode(v.as_bytes()).ok()) {
            Some(value) => a.set(*kind, value),
            None if *kind == CKA_CHECK_VALUE && property(key) == Some(NO_CHECK) => a.set(*kind, []),
            // Certificates say most of these themselves; a restriction that was not set does not exist.
            None if matches!(
                *kind,
                CKA_START_DATE | CKA_END_DATE | CKA_APPLICATION | CKA_OBJECT_ID | CKA_URL
            ) =>
            {
                a.set(*kind, [])
            }
            None if matches!(
                *kind,
                CKA_HASH_OF_SUBJECT_PUBLIC_KEY | CKA_HASH_OF_ISSUER_PUBLIC_KEY
            ) =>
            {
                a.set(*kind, [])
            }
            None if *kind == CKA_SUBJECT && class != CKO_CERTIFICATE => a.set(*kind, []),
            None => {}
        }
    }
    for (kind, key, absent) in NUMBERS.iter().filter(|row| applies(row.0)) {
        a.set_number(*kind, number(key).unwrap_or(*absent));
    }
    if class == CKO_CERTIFICATE {
        a.set_number(CKA_CERTIFICATE_TYPE, CKC_X_509);
    }
    if matches!(class, CKO_SECRET_KEY | CKO_PRIVATE_KEY) {
        // A server that knows neither gives the value to who asks; what it does not say, the module does not show in the clear.
        let sensitive = property(SENSITIVE).map(|v| v == "1").unwrap_or_default();
        a.set_flag(CKA_SENSITIVE, sensitive || meta.sensitive.unwrap_or(true));
        a.set_flag(CKA_EXTRACTABLE, meta.extractable.unwrap_or(true));
    }
    show_usage(&mut a, class, key_type, meta.usage);
    if let Some(flags) = number("use") {
        for (i, (kind, _)) in USAGES.iter().enumerate().filter(|(_, row)| applies(row.0)) {
            a.set_flag(*kind, flags >> i & 1 == 1);
        }
    }
    match (class, meta.algorithm) {
        (CKO_SECRET_KEY, Algorithm::TripleDes) => a.set_number(CKA_VALUE_LEN, 24),
        (CKO_SECRET_KEY, _) if meta.bits > 0 => {
            a.set_number(CKA_VALUE_LEN, u64::from(meta.bits).div_ceil(8))
        }
        (CKO_PUBLIC_KEY | CKO_PRIVATE_KEY, Algorithm::Rsa) if meta.bits > 0 => {
            a.set_number(CKA_MODULUS_BITS, meta.bits.into())
        }
        (CKO_PUBLIC_KEY | CKO_PRIVATE_KEY, Algorithm::Ec(curve)) => {
            a.set(CKA_EC_PARAMS, curve.params())
        }
        _ => {}
    }
    show_vendor(&mut a, meta);
    if let Some(role) = property(ROLE) {
        show_role(&mut a, role);
    }
    Some(a)
}

fn show_vendor(a: &mut Attributes, meta: &Meta) {
    a.set(vendor::UID, meta.uid.0.as_bytes());
    if let Some(state) = meta.state {
        a.set_number(vendor::STATE, state as CK_ULONG + 1);
    }
    for (kind, date) in [
        (vendor::INITIAL_DATE, meta.initial_date),
        (vendor::ACTIVATION_DATE, meta.activation_date),
        (vendor::DEACTIVATION_DATE, meta.deactivation_date),
    ] {
        if let Some(date) = date.and_then(|d| CK_ULONG::try_from(d).ok()) {
            a.set_number(kind, date);
        }
    }
    for (kind, text) in [
        (vendor::GROUP, meta.groups.first()),
        (vendor::NAME, meta.names.first()),
    ] {
        if let Some(text) = text {
            a.set(kind, text.as_bytes());
        }
    }
}

/// The cluster's keys are shown under their titles, and nobody reads, changes or destroys them through PKCS#11.
fn show_role(a: &mut Attributes, role: &str) {
    let title = Role::from_word(role).map_or(role, |r| r.label());
    a.set(CKA_LABEL, title.as_bytes());
    a.set(CKA_ID, role.as_bytes());
    for (kind, value) in [
        (CKA_PRIVATE, true),
        (CKA_SENSITIVE, true),
        (CKA_EXTRACTABLE, false),
        (CKA_MODIFIABLE, false),
        (CKA_COPYABLE, false),
        (CKA_DESTROYABLE, false),
    ] {
        a.set_flag(kind, value);
    }
}

/// The key of another cluster, or one that was rekeyed, is shown under its name in the store: some applications (SunPKCS11) want
/// every secret key to have a label of its own.
pub fn show_elsewhere(a: &mut Attributes, meta: &Meta) {
    let name = meta.names.first().unwrap_or(&meta.uid.0);
    a.set(CKA_LABEL, name.as_bytes());
    a.set(CKA_ID, made_up_id(meta));
}

/// What a store is told when an object's attributes change.
pub fn changes(old: &Attributes, new: &Attributes) -> Changes {
    let changed = |kind| old.bytes(kind) != new.bytes(kind);
    let bytes = |kind| changed(kind).then(|| new.bytes(kind).unwrap_or_default().to_vec());
    let flag = |kind| changed(kind).then(|| new.flag(kind));
    let mut properties = BTreeMap::new();
    let mut keep = |key: &str, value: String| {
        properties.insert(key.to_string(), value);
    };
    for (kind, key, _) in FLAGS.iter().filter(|row| changed(row.0)) {
        keep(key, flag_text(new.flag(*kind)));
    }
    for (kind, key) in BYTES.iter().filter(|row| changed(row.0)) {
        match new.bytes(*kind).unwrap_or_default() {
            [] if *kind == CKA_CHECK_VALUE => keep(key, NO_CHECK.into()),
            value => keep(key, HEXLOWER.encode(value)),
        }
    }
    if changed(CKA_SENSITIVE) && !withheld(new) {
        keep(SENSITIVE, flag_text(new.flag(CKA_SENSITIVE)));
    }
    if usage_flags(old) != usage_flags(new) {
        keep("use", format!("{:x}", usage_flags(new)));
    }
    Changes {
        label: bytes(CKA_LABEL),
        id: bytes(CKA_ID),
        sensitive: (withheld(old) != withheld(new)).then(|| withheld(new)),
        extractable: flag(CKA_EXTRACTABLE),
        properties,
    }
}

fn private_by_default(class: CK_OBJECT_CLASS) -> bool {
    matches!(class, CKO_SECRET_KEY | CKO_PRIVATE_KEY)
}

/// An identifier for an object that nobody gave one: the same for both halves of a pair, the same every time.
fn made_up_id(meta: &Meta) -> Vec<u8> {
    let uid = meta
        .pair
        .as_ref()
        .map_or(&meta.uid, |pair| pair.min(&meta.uid));
    let mut id = digest(Hash::Sha256, uid.0.as_bytes()).unwrap_or_default();
    id.truncate(20);
    id
}

fn flag_text(value: bool) -> String {
    if value { "1" } else { "0" }.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use crate::store::{State, Uid};
    use crate::token::attr::Purpose;
    use crate::token::template::{Attribute, Rights, Template, Value};

    type Rows<'a> = &'a [(CK_ATTRIBUTE_TYPE, &'a [u8])];

    const ALL: Rights = Rights {
        write: true,
        user: true,
        so: true,
        guarded: false,
    };

    fn drafted(
        class: CK_OBJECT_CLASS,
        key_type: Option<CK_KEY_TYPE>,
        rows: Rows<'_>,
    ) -> Attributes {
        let rows = rows.iter().map(|(kind, v)| Attribute {
            kind: *kind,
            value: Value::Bytes(Secret::new(v.to_vec())),
        });
        let mut draft = Template(rows.collect())
            .draft(Purpose::Create, Some(class), key_type, ALL)
            .unwrap();
        draft.complete();
        draft.attributes
    }

    /// What a store that keeps everything would say of an object made from `spec`.
    fn stored(spec: Spec) -> Meta {
        Meta {
            uid: Uid("u1".into()),
            class: spec.class,
            algorithm: spec.algorithm,
            bits: spec.bits,
            usage: spec.usage,
            state: Some(State::Active),
            names: vec!["n".into()],
            groups: Vec::new(),
            label: Some(spec.label),
            id: Some(spec.id),
            sensitive: Some(spec.sensitive),
            extractable: Some(spec.extractable),
            initial_date: Some(5),
            activation_date: None,
            deactivation_date: None,
            protect_stop: None,
            pair: None,
            properties: spec.properties,
            nonce: None,
        }
    }

    #[test]
    fn attributes_survive_the_store() {
        let no: &[u8] = &[CK_FALSE];
        let yes: &[u8] = &[CK_TRUE];
        let cases: &[(CK_OBJECT_CLASS, Option<CK_KEY_TYPE>, Rows<'_>)] = &[
            (
                CKO_SECRET_KEY,
                Some(CKK_AES),
                &[
                    (CKA_LABEL, "k\u{e9}".as_bytes()),
                    (CKA_ID, b"\x00\xff"),
                    (CKA_PRIVATE, no),
                    (CKA_WRAP, no),
                ],
            ),
            (
                CKO_SECRET_KEY,
                Some(CKK_GENERIC_SECRET),
                &[
                    (CKA_EXTRACTABLE, yes),
                    (CKA_SENSITIVE, no),
                    (CKA_DESTROYABLE, no),
                ],
            ),
            (
                CKO_SECRET_KEY,
                Some(CKK_SHA384_HMAC),
                &[
                    (CKA_START_DATE, b"20240102"),
                    (CKA_ALLOWED_MECHANISMS, &CKM_SHA384_HMAC.to_ne_bytes()),
                ],
            ),
            (
                CKO_PRIVATE_KEY,
                Some(CKK_RSA),
                &[
                    (CKA_EXTRACTABLE, yes),
                    (CKA_SIGN_RECOVER, no),
                    (CKA_ALWAYS_AUTHENTICATE, yes),
                    (CKA_SUBJECT, b"0"),
                ],
            ),
            (
                CKO_PUBLIC_KEY,
                Some(CKK_RSA),
                &[(CKA_VERIFY, no), (CKA_TRUSTED, yes)],
            ),
            (
                CKO_PRIVATE_KEY,
                Some(CKK_EC),
                &[
                    (CKA_EC_PARAMS, Curve::P384.params()),
                    (CKA_WRAP_WITH_TRUSTED, yes),
                    (CKA_MODIFIABLE, no),
                ],
            ),
            (
                CKO_DATA,
                None,
                &[(CKA_APPLICATION, b"app"), (CKA_OBJECT_ID, b"\x06\x01\x01")],
            ),
            (
                CKO_CERTIFICATE,
                None,
                &[
                    (CKA_CERTIFICATE_TYPE, &CKC_X_509.to_ne_bytes()),
                    (CKA_CERTIFICATE_CATEGORY, &2u64.to_ne_bytes()),
                    (CKA_ISSUER, b"i"),
                ],
            ),
        ];
        for (class, key_type, rows) in cases {
            let before = drafted(*class, *key_type, rows);
            let after = attributes(&stored(spec(&before, 256).unwrap())).unwrap();
            for (kind, value) in before.iter() {
                let expected = if kind == CKA_TOKEN { &[CK_TRUE] } else { value };
                // An empty issuer or subject of a certificate is read from the certificate itself.
                if *class == CKO_CERTIFICATE && value.is_empty() && !after.has(kind) {
                    continue;
                }
                assert_eq!(
                    after.bytes(kind),
                    Some(expected),
                    "class {class} attribute {kind:#x}"
                );
            }
        }
    }

    #[test]
    fn defaults_need_few_properties() {
        let rows: Rows<'_> = &[(CKA_LABEL, b"k"), (CKA_TOKEN, &[CK_TRUE])];
        let aes = drafted(CKO_SECRET_KEY, Some(CKK_AES), rows);
        let properties = spec(&aes, 256).unwrap().properties;
        assert_eq!(properties.keys().collect::<Vec<_>>(), [SENSITIVE]);
    }

    #[test]
    fn objects_of_other_clients_are_shown_sensibly() {
        let mut meta = stored(spec(&drafted(CKO_SECRET_KEY, Some(CKK_AES), &[]), 128).unwrap());
        (meta.label, meta.id, meta.sensitive, meta.extractable) = (None, None, None, None);
        let a = attributes(&meta).unwrap();
        assert_eq!(a.bytes(CKA_LABEL), Some(&b"n"[..]));
        assert_eq!(a.bytes(CKA_ID).map(<[u8]>::len), Some(20));
        assert!(
            a.flag(CKA_SENSITIVE)
                && a.flag(CKA_EXTRACTABLE)
                && a.flag(CKA_PRIVATE)
                && !a.flag(CKA_LOCAL)
        );
        assert_eq!(a.number(CKA_VALUE_LEN), Some(16));
        assert_eq!(a.number(vendor::STATE), Some(2));
        meta.pair = Some(Uid("t9".into()));
        let mut other = meta.clone();
        (other.uid, other.pair) = (Uid("t9".into()), Some(Uid("u1".into())));
        assert_eq!(
            attributes(&meta).unwrap().bytes(CKA_ID),
            attributes(&other).unwrap().bytes(CKA_ID)
        );
        meta.class = Class::PublicKey;
        meta.algorithm = Algorithm::Other(5);
        assert!(attributes(&meta).is_none());
    }

    #[test]
    fn cluster_keys_are_locked_down() {
        let mut meta = stored(
            spec(
                &drafted(
                    CKO_SECRET_KEY,
                    Some(CKK_AES),
                    &[(CKA_EXTRACTABLE, &[CK_TRUE])],
                ),
                256,
            )
            .unwrap(),
        );
        meta.properties.insert(ROLE.into(), "core".into());
        let a = attributes(&meta).unwrap();
        assert_eq!(
            (a.bytes(CKA_LABEL), a.bytes(CKA_ID)),
            (Some(&b"Core KEK"[..]), Some(&b"core"[..]))
        );
        assert!(a.flag(CKA_SENSITIVE) && a.flag(CKA_PRIVATE));
        for kind in [
            CKA_EXTRACTABLE,
            CKA_MODIFIABLE,
            CKA_DESTROYABLE,
            CKA_COPYABLE,
        ] {
            assert!(!a.flag(kind), "{kind:#x}");
        }
        let mut a = a;
        meta.names = vec!["mrhsm:demo:core:1".into()];
        show_elsewhere(&mut a, &meta);
        assert_eq!(a.bytes(CKA_LABEL), Some(&b"mrhsm:demo:core:1"[..]));
        assert_ne!(a.bytes(CKA_ID), Some(&b"core"[..]));
    }

    #[test]
    fn changes_say_only_what_changed_and_can_be_read_back() {
        let old = drafted(CKO_SECRET_KEY, Some(CKK_AES), &[(CKA_LABEL, b"a")]);
        let mut new = old.clone();
        new.set(CKA_LABEL, *b"b");
        new.set_flag(CKA_DESTROYABLE, false);
        new.set_flag(CKA_ENCRYPT, false);
        let delta = changes(&old, &new);
        assert_eq!(
            (delta.label.as_deref(), delta.id, delta.sensitive),
            (Some(&b"b"[..]), None, None)
        );
        let mut meta = stored(spec(&old, 128).unwrap());
        meta.properties.extend(delta.properties);
        let read = attributes(&meta).unwrap();
        assert!(!read.flag(CKA_DESTROYABLE) && !read.flag(CKA_ENCRYPT) && read.flag(CKA_DECRYPT));
    }
}
