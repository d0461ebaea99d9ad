//! Who a client is, by the subject of its certificate.
//!
//! A subject with one common name is that name; any other is the whole subject. The two kinds never meet: what a record says of
//! its owner tells them apart, whatever the text is. Names are compared exactly, after their string type is decoded: clients that
//! an authority tells apart by case or by a blank are never one client here.

use x509_parser::oid_registry::{
    OID_X509_COMMON_NAME, OID_X509_COUNTRY_NAME, OID_X509_LOCALITY_NAME,
    OID_X509_ORGANIZATION_NAME, OID_X509_ORGANIZATIONAL_UNIT, OID_X509_STATE_OR_PROVINCE_NAME,
};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use super::engine::Caller;

/// Begins an owner that is not written as a plain common name. No certificate's text contains it.
const TYPED: char = '\u{1}';
const SUBJECT: &str = "subject:";
const COMMON_NAME: &str = "cn:";

/// The longest common name and organisational unit, in bytes (X.520 allows 64 characters).
const LONGEST_NAME: usize = 255;
/// The longest subject, written out, in bytes.
const LONGEST_SUBJECT: usize = 1024;
/// The most organisational units of one certificate.
const MOST_GROUPS: usize = 64;

/// What an owner is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A common name.
    CommonName,
    /// A whole subject.
    Subject,
}

impl Kind {
    /// Its word in the audit log and in files.
    pub fn word(self) -> &'static str {
        match self {
            Kind::CommonName => "cn",
            Kind::Subject => "subject",
        }
    }
}

/// The kind and the text of an owner.
pub fn shown(owner: &str) -> (Kind, &str) {
    let Some(typed) = owner.strip_prefix(TYPED) else {
        return (Kind::CommonName, owner);
    };
    match typed.strip_prefix(SUBJECT) {
        Some(subject) => (Kind::Subject, subject),
        None => (
            Kind::CommonName,
            typed.strip_prefix(COMMON_NAME).unwrap_or(typed),
        ),
    }
}

/// The owner that a common name or a subject is.
pub fn owner(kind: Kind, text: &str) -> String {
    match kind {
        Kind::Subject => format!("{TYPED}{SUBJECT}{text}"),
        // Older records have the bare text of either kind. What reads like a subject is a subject's there.
        Kind::CommonName if spells_subject(text) => format!("{TYPED}{COMMON_NAME}{text}"),
        Kind::CommonName => text.to_owned(),
    }
}

/// Who the certificate of a connection says it is; the error says why it is nobody.
pub fn caller(certificate: &[u8]) -> Result<Caller, &'static str> {
    let (_, certificate) =
        X509Certificate::from_der(certificate).map_err(|_| "the certificate cannot be read")?;
    let subject = certificate.subject();
    let mut groups = Vec::new();
    for unit in subject.iter_by_oid(&OID_X509_ORGANIZATIONAL_UNIT) {
        let unit = text(unit)
            .filter(|unit| is_name(unit))
            .ok_or("an organisational unit in the client's certificate cannot be a name")?;
        if !groups.contains(&unit) {
            groups.push(unit);
        }
    }
    if groups.len() > MOST_GROUPS {
        return Err("the client's certificate has too many organisational units");
    }
    let names: Vec<_> = subject.iter_by_oid(&OID_X509_COMMON_NAME).collect();
    if let [name] = names.as_slice() {
        let name = text(name)
            .filter(|name| is_name(name))
            .ok_or("the common name in the client's certificate cannot be a name")?;
        return Ok(Caller {
            name: owner(Kind::CommonName, &name),
            groups,
            formerly: None,
        });
    }
    let written = written(subject);
    if written.is_empty() || written.len() > LONGEST_SUBJECT {
        return Err("the client's certificate has no name, or too long a subject");
    }
    // With several common names, the owner used to be the first, which others may bear.
    let formerly = names.is_empty().then(|| subject.to_string());
    Ok(Caller {
        name: owner(Kind::Subject, &written),
        groups,
        formerly: formerly.filter(|text| spells_subject(text)),
    })
}

/// Whether a text may be a name.
fn is_name(text: &str) -> bool {
    (1..=LONGEST_NAME).contains(&text.len()) && !text.contains(char::is_control)
}

/// Whether a text begins as a subject without a common name was once written: `O=Acme, C=DE`.
fn spells_subject(text: &str) -> bool {
    text.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty()
            && name != "CN"
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'.')
    })
}

/// A DirectoryString (RFC 5280, 4.1.2.4) in any of its string types; `None` where it is none.
fn text(attribute: &AttributeTypeAndValue<'_>) -> Option<String> {
    let value = attribute.attr_value();
    let bytes = value.data;
    match value.tag().0 {
        // UTF8String, NumericString, PrintableString, IA5String, VisibleString.
        12 | 18 | 19 | 22 | 26 => std::str::from_utf8(bytes).ok().map(str::to_owned),
        // TeletexString: what lies beyond ASCII depends on who reads it.
        20 => (bytes.is_ascii()).then(|| String::from_utf8_lossy(bytes).into_owned()),
        // BMPString.
        30 if bytes.len().is_multiple_of(2) => {
            let units = bytes
                .chunks_exact(2)
                .map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            char::decode_utf16(units).collect::<Result<_, _>>().ok()
        }
        // UniversalString.
        28 if bytes.len().is_multiple_of(4) => bytes
            .chunks_exact(4)
            .map(|four| char::from_u32(u32::from_be_bytes([four[0], four[1], four[2], four[3]])))
            .collect(),
        _ => None,
    }
}

/// A subject in the form of RFC 4514, in the order of the certificate: different subjects are different texts.
fn written(subject: &X509Name<'_>) -> String {
    let rdns = subject.iter_rdn().map(|rdn| {
        let mut parts: Vec<String> = rdn.iter().map(part).collect();
        parts.sort();
        parts.join("+")
    });
    rdns.collect::<Vec<_>>().join(",")
}

fn part(attribute: &AttributeTypeAndValue<'_>) -> String {
    let known = [
        (OID_X509_COMMON_NAME, "CN"),
        (OID_X509_ORGANIZATION_NAME, "O"),
        (OID_X509_ORGANIZATIONAL_UNIT, "OU"),
        (OID_X509_COUNTRY_NAME, "C"),
        (OID_X509_LOCALITY_NAME, "L"),
        (OID_X509_STATE_OR_PROVINCE_NAME, "ST"),
    ];
    let oid = attribute.attr_type();
    let name = known
        .iter()
        .find(|(known, _)| known == oid)
        .map_or_else(|| oid.to_id_string(), |(_, name)| (*name).to_owned());
    let Some(value) = text(attribute) else {
        let value = attribute.attr_value();
        let hex = data_encoding::HEXLOWER.encode(value.data);
        return format!("{name}=#{:02x}{hex}", value.tag().0);
    };
    let mut escaped = String::with_capacity(value.len());
    for (at, c) in value.char_indices() {
        let outer = at == 0 || at + c.len_utf8() == value.len();
        match c {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=' => escaped.extend(['\\', c]),
            '#' if at == 0 => escaped.push_str("\\#"),
            ' ' if outer => escaped.push_str("\\ "),
            c if c.is_control() => {
                let mut buffer = [0; 4];
                for byte in c.encode_utf8(&mut buffer).bytes() {
                    escaped.push_str(&format!("\\{byte:02x}"));
                }
            }
            c => escaped.push(c),
        }
    }
    format!("{name}={escaped}")
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair};

    use super::*;

    fn subject(entries: Vec<(DnType, DnValue)>) -> Result<Caller, &'static str> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        for (name, value) in entries {
            params.distinguished_name.push(name, value);
        }
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        caller(certificate.der())
    }

    fn utf8(text: &str) -> DnValue {
        DnValue::Utf8String(text.into())
    }

    fn printable(text: &str) -> DnValue {
        DnValue::PrintableString(text.try_into().unwrap())
    }

    /// Another object identifier that rcgen keeps apart from the first: 2.5.4.3 twice is not possible there.
    fn named(text: &str) -> Result<Caller, &'static str> {
        subject(vec![(DnType::CommonName, utf8(text))])
    }

    #[test]
    fn a_name_that_spells_a_subject_is_another_client_than_the_subject() {
        let company = subject(vec![
            (DnType::OrganizationName, utf8("Acme")),
            (DnType::CountryName, printable("DE")),
        ])
        .unwrap();
        assert_eq!(shown(&company.name), (Kind::Subject, "O=Acme,C=DE"));
        let former = company.formerly.clone().unwrap();
        for text in [former.as_str(), "O=Acme,C=DE", "subject:O=Acme,C=DE"] {
            let imitator = named(text).unwrap();
            assert_eq!(shown(&imitator.name), (Kind::CommonName, text));
            assert_ne!(imitator.name, company.name);
            assert_ne!(imitator.name, former, "older records of the subject");
            assert_eq!(imitator.formerly, None);
        }
    }

    #[test]
    fn common_names_are_written_as_they_always_were() {
        for text in [
            "node7", "node 7", "CN=node7", "a/b@c", "Größe", "=x", "cn:x",
        ] {
            assert_eq!(named(text).unwrap().name, text);
        }
    }

    #[test]
    fn the_string_type_makes_no_difference_and_the_case_does() {
        let name = |value| subject(vec![(DnType::CommonName, value)]).unwrap();
        let utf8 = name(utf8("node7"));
        assert_eq!(name(printable("node7")), utf8);
        assert_eq!(name(DnValue::BmpString("node7".try_into().unwrap())), utf8);
        assert_eq!(
            name(DnValue::UniversalString("node7".try_into().unwrap())),
            utf8
        );
        assert_ne!(name(DnValue::Utf8String("Node7".into())), utf8);
    }

    #[test]
    fn what_cannot_be_a_name_is_nobody() {
        let long = "x".repeat(LONGEST_NAME + 1);
        for text in ["", "a\0b", "a\u{1}b", "\u{1}subject:O=Acme", "a\nb", &long] {
            assert!(named(text).is_err(), "{text:?}");
            let unit = vec![
                (DnType::CommonName, utf8("node")),
                (DnType::OrganizationalUnitName, utf8(text)),
            ];
            assert!(subject(unit).is_err(), "unit {text:?}");
        }
        assert!(subject(Vec::new()).is_err());
        assert!(named(&long[1..]).is_ok());
    }

    #[test]
    fn different_subjects_are_different_texts() {
        let organisation = |values: &[(DnType, &str)]| {
            let entries = values
                .iter()
                .map(|(name, value)| (name.clone(), utf8(value)))
                .collect();
            subject(entries).unwrap().name
        };
        let all = [
            organisation(&[(DnType::OrganizationName, "a, C=DE")]),
            organisation(&[(DnType::OrganizationName, "a,C=DE")]),
            organisation(&[(DnType::OrganizationName, "a"), (DnType::CountryName, "DE")]),
            organisation(&[(DnType::CountryName, "DE"), (DnType::OrganizationName, "a")]),
            organisation(&[(DnType::OrganizationName, "a\\,C=DE")]),
            organisation(&[(DnType::OrganizationName, "a ")]),
            organisation(&[(DnType::OrganizationName, "a")]),
        ];
        let distinct: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len(), "{all:#?}");
    }

    /// A certificate with two common names, which rcgen does not make: the type of its organisation is overwritten.
    #[test]
    fn several_common_names_are_a_subject() {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Computers");
        params.distinguished_name.push(DnType::CommonName, "node7");
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let mut der = made.der().to_vec();
        let organisation = [0x06, 0x03, 0x55, 0x04, 0x0a];
        let places: Vec<usize> = der
            .windows(organisation.len())
            .enumerate()
            .filter_map(|(at, window)| (window == organisation).then_some(at))
            .collect();
        for at in places {
            der[at + 4] = 0x03;
        }
        let caller = caller(&der).unwrap();
        assert_eq!(
            shown(&caller.name),
            (Kind::Subject, "CN=Computers,CN=node7")
        );
        assert_eq!(caller.formerly, None);
    }
}
