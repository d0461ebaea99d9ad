//! Objects in KMIP's attributes: what a new one shall be, what is known of one that exists.

use super::facts::{Fact, Facts};
use super::record::{self, Record, Rung};
use super::{keys, terms};
use crate::kmip::{
    AttributeName, AttributeValue, Attributes, CryptographicDomainParameters,
    CryptographicUsageMask, LinkType, Name, ObjectType,
};
use crate::store::{Algorithm, Class, Meta, Spec, Uid, Usage};
use crate::ttlv::Tag;
use crate::version::Version;

/// Which optional attributes a new object gets. What a server refuses is left out at the next try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wishes {
    pub(super) sensitive: bool,
    pub(super) extractable: bool,
    pub(super) group: bool,
    pub(super) rung: Rung,
}

impl Wishes {
    /// Everything `spec` wants that this server is not known to refuse.
    pub(super) fn new(spec: &Spec, version: Version, facts: &Facts) -> Wishes {
        let since_1_4 = version >= Version::V1_4;
        let rung = Rung::ALL
            .into_iter()
            .find(|rung| fact(facts, *rung).is_none_or(Fact::may))
            .unwrap_or(Rung::Nowhere);
        // A key that this process may need is not locked in: that it is not extractable stands in the record, where there is one.
        let locked = !spec.extractable && (spec.sensitive || rung == Rung::Nowhere);
        Wishes {
            sensitive: spec.sensitive && since_1_4 && facts.sensitive.may(),
            extractable: locked && since_1_4 && facts.extractable.may(),
            group: spec.group.is_some() && facts.group.may(),
            rung,
        }
    }

    /// With less and less of what is not proven: one thing less each, then several.
    pub(super) fn lesser(self, facts: &Facts) -> Vec<Wishes> {
        let doubtful = |fact: &Fact| fact.known() != Some(true);
        let mut list = Vec::new();
        let mut add = |wishes: Wishes| {
            if wishes != self && !list.contains(&wishes) {
                list.push(wishes);
            }
        };
        let lower = Rung::ALL
            .into_iter()
            .skip_while(|rung| *rung != self.rung)
            .skip(1);
        let lower: Vec<Rung> = match fact(facts, self.rung).is_some_and(doubtful) {
            true => lower
                .filter(|rung| fact(facts, *rung).is_none_or(Fact::may))
                .collect(),
            false => Vec::new(),
        };
        let secret = Wishes {
            sensitive: self.sensitive && !doubtful(&facts.sensitive),
            extractable: self.extractable && !doubtful(&facts.extractable),
            ..self
        };
        add(Wishes {
            extractable: secret.extractable,
            ..self
        });
        add(Wishes {
            sensitive: secret.sensitive,
            ..self
        });
        add(secret);
        lower.iter().for_each(|&rung| add(Wishes { rung, ..self }));
        lower
            .iter()
            .for_each(|&rung| add(Wishes { rung, ..secret }));
        let group = self.group && !doubtful(&facts.group);
        add(Wishes { group, ..self });
        add(Wishes {
            group,
            rung: lower.last().copied().unwrap_or(self.rung),
            ..secret
        });
        list
    }

    /// Remembers that the server took these wishes, of which `full` were refused.
    pub(super) fn learn(self, full: Wishes, facts: &Facts) {
        let learn = |fact: &Fact, wanted: bool, taken: bool| {
            if wanted {
                fact.learn(taken);
            }
        };
        learn(&facts.sensitive, full.sensitive, self.sensitive);
        learn(&facts.extractable, full.extractable, self.extractable);
        learn(&facts.group, full.group, self.group);
        // That the server took the texts does not say that it keeps them.
        let refused = Rung::ALL
            .into_iter()
            .take_while(|rung| *rung != self.rung)
            .filter(|_| self != full);
        refused
            .filter_map(|rung| fact(facts, rung))
            .for_each(|fact| fact.learn(false));
    }
}

/// Whether the texts of a record are kept there.
pub(super) fn fact(facts: &Facts, rung: Rung) -> Option<&Fact> {
    match rung {
        Rung::Application => Some(&facts.application),
        Rung::Combined => Some(&facts.combined),
        Rung::Custom => Some(&facts.custom),
        Rung::Nowhere => None,
    }
}

/// How a new object is found again when the answer to its creation is lost.
#[derive(Debug)]
pub(super) struct Marker {
    pub(super) nonce: String,
    /// The name it gets, which has the nonce in it unless `exact`.
    pub(super) name: String,
    pub(super) exact: bool,
}

impl Marker {
    pub(super) fn new(spec: &Spec, nonce: &str) -> Marker {
        let name = spec.name.clone().unwrap_or_else(|| {
            let label: String = record::name_text(&spec.label).chars().take(64).collect();
            let label = if label.trim().is_empty() {
                "mrhsm"
            } else {
                label.trim()
            };
            // Names must be unique on many servers; labels are not.
            format!("{label}#{}", &nonce[..nonce.len().min(16)])
        });
        Marker {
            nonce: nonce.to_owned(),
            name,
            exact: spec.name.is_some(),
        }
    }
}

/// What makes the key itself: algorithm, length, curve.
pub(super) fn of_key(spec: &Spec, facts: &Facts, ecdsa: bool) -> Attributes {
    let mut attributes = Attributes::new();
    if let Some(algorithm) = terms::algorithm(spec.algorithm, spec.bits, ecdsa) {
        attributes.push(AttributeValue::CryptographicAlgorithm(algorithm));
    }
    attributes.push(AttributeValue::CryptographicLength(length(spec, facts)));
    if let Algorithm::Ec(curve) = spec.algorithm
        && spec.class == Class::PrivateKey
    {
        let recommended_curve = Some(keys::curve(curve));
        attributes.push(AttributeValue::CryptographicDomainParameters(
            CryptographicDomainParameters {
                qlength: None,
                recommended_curve,
            },
        ));
    }
    attributes
}

/// Cryptographic Length in bits.
pub(super) fn length(spec: &Spec, facts: &Facts) -> i32 {
    let bits = match spec.algorithm {
        Algorithm::TripleDes if facts.long_triple_des.may() => 192,
        Algorithm::TripleDes => 168,
        Algorithm::Ec(curve) => terms::curve_bits(curve),
        _ => spec.bits,
    };
    i32::try_from(bits).unwrap_or(i32::MAX)
}

/// What belongs to one object: name, use, group, and what the token keeps with it.
pub(super) fn of_object(
    spec: &Spec,
    marker: &Marker,
    record: &Record,
    wishes: Wishes,
) -> Attributes {
    let mut attributes = Attributes::new();
    if !matches!(spec.class, Class::Certificate | Class::Data) {
        attributes.push(AttributeValue::CryptographicUsageMask(
            CryptographicUsageMask(spec.usage.0),
        ));
    }
    attributes.push(AttributeValue::Name(Name::from(marker.name.as_str())));
    if let Some(group) = spec.group.as_ref().filter(|_| wishes.group) {
        attributes.push(AttributeValue::ObjectGroup(group.clone()));
    }
    record::attributes(wishes.rung, record)
        .into_iter()
        .for_each(|value| attributes.push(value));
    if wishes.sensitive {
        attributes.push(AttributeValue::Sensitive(true));
    }
    if wishes.extractable {
        attributes.push(AttributeValue::Extractable(false));
    }
    attributes
}

/// Which attributes are asked for, from everything useful down to what every server has; the last asks for all there are.
pub(super) const QUESTIONS: usize = 5;

/// The names of one of the [`QUESTIONS`].
pub(super) fn question(number: usize, version: Version, facts: &Facts) -> Vec<AttributeName> {
    const BASE: [Tag; 9] = [
        Tag::OBJECT_TYPE,
        Tag::CRYPTOGRAPHIC_ALGORITHM,
        Tag::CRYPTOGRAPHIC_LENGTH,
        Tag::CRYPTOGRAPHIC_USAGE_MASK,
        Tag::STATE,
        Tag::NAME,
        Tag::OBJECT_GROUP,
        Tag::APPLICATION_SPECIFIC_INFORMATION,
        Tag::INITIAL_DATE,
    ];
    const MORE: [Tag; 4] = [
        Tag::ACTIVATION_DATE,
        Tag::DEACTIVATION_DATE,
        Tag::LINK,
        Tag::CRYPTOGRAPHIC_DOMAIN_PARAMETERS,
    ];
    const SINCE_1_4: [Tag; 2] = [Tag::SENSITIVE, Tag::EXTRACTABLE];
    let mut names = Vec::new();
    if number + 1 < QUESTIONS {
        names.extend(BASE.map(AttributeName::Standard));
    }
    // Rarely set, and first to be left out.
    if number == 0 {
        names.push(AttributeName::Standard(Tag::PROTECT_STOP_DATE));
    }
    if number < 3 {
        names.extend(MORE.map(AttributeName::Standard));
        if version >= Version::V1_4 {
            names.extend(SINCE_1_4.map(AttributeName::Standard));
        }
    }
    // Where Application Specific Information works there are no custom attributes of ours.
    if number < 2 && facts.application.known() != Some(true) && facts.combined.known() != Some(true)
    {
        names.extend(record::custom_names());
    }
    names
}

/// What the attributes say; `None` for an object that is not shown, or is destroyed already.
pub(super) fn meta(uid: &str, attributes: &Attributes) -> Option<Meta> {
    let object_type = *attributes.object_type()?;
    let class = terms::class(object_type)?;
    let record = Record::read(attributes);
    let curve = attributes
        .cryptographic_domain_parameters()
        .and_then(|p| p.recommended_curve);
    let bits = attributes
        .cryptographic_length()
        .and_then(|bits| u32::try_from(*bits).ok())
        .unwrap_or(0);
    let algorithm = match attributes.cryptographic_algorithm() {
        _ if object_type == ObjectType::SECRET_DATA || record.generic => Algorithm::GenericSecret,
        _ if matches!(class, Class::Certificate | Class::Data) => Algorithm::None,
        Some(algorithm) => terms::algorithm_of(*algorithm, curve, bits),
        None => Algorithm::Other(0),
    };
    let state = attributes.state().map(|state| terms::state_of(*state));
    if state.is_some_and(|state| !state.may_process() && state != crate::store::State::PreActive) {
        return None;
    }
    let pair = match class {
        Class::PrivateKey => attributes.linked(LinkType::PUBLIC_KEY_LINK),
        Class::PublicKey => attributes.linked(LinkType::PRIVATE_KEY_LINK),
        _ => None,
    };
    Some(Meta {
        uid: Uid(uid.to_owned()),
        class,
        algorithm,
        bits: match algorithm {
            Algorithm::TripleDes => 192,
            Algorithm::Ec(curve) => terms::curve_bits(curve),
            _ => bits,
        },
        state: state.filter(|_| !matches!(class, Class::Certificate | Class::Data)),
        usage: Usage(
            attributes
                .cryptographic_usage_mask()
                .map_or(0, |mask| mask.0),
        ),
        names: attributes.names().map(str::to_owned).collect(),
        groups: attributes.object_groups().map(str::to_owned).collect(),
        // The stricter of what the server enforces and what we noted.
        sensitive: strictest(attributes.sensitive().copied(), record.sensitive, true),
        extractable: strictest(attributes.extractable().copied(), record.extractable, false),
        label: record.label,
        id: record.id,
        initial_date: attributes.initial_date().map(|date| date.0),
        activation_date: attributes.activation_date().map(|date| date.0),
        deactivation_date: attributes.deactivation_date().map(|date| date.0),
        protect_stop: attributes.protect_stop_date().map(|date| date.0),
        pair: pair.map(|uid| Uid(uid.to_owned())),
        properties: record.properties,
        nonce: record.nonce,
    })
}

/// `strict` when either says so, else what either says.
fn strictest(server: Option<bool>, noted: Option<bool>, strict: bool) -> Option<bool> {
    match server == Some(strict) || noted == Some(strict) {
        true => Some(strict),
        false => server.or(noted),
    }
}
