//! Locate: which objects fit.

use std::collections::{HashMap, HashSet};

use crate::kmip::*;
use crate::ttlv::{DateTime, Tag};
use crate::version::Version;

use super::budget::{MOST_LISTED, exceeded, of_object};
use super::context::Context;
use super::engine::Engine;
use super::marks::{Shelf, encoded};
use super::objects::{Fits, Found, Object, Outcome, Refusal, Search, Value};
use super::personality::{Locating, Policy};

/// Answers Locate.
pub fn locate(
    engine: &Engine,
    context: &mut Context,
    request: LocateRequest,
) -> Outcome<LocateResponse> {
    let personality = &engine.personality;
    if request.attributes.len() > MOST_LISTED {
        let text = format!("at most {MOST_LISTED} attributes can be located by");
        return Err(exceeded(context.version, text));
    }
    let certificates = personality.locate_type_first && holds_certificates(engine, context)?;
    let mut typed = false;
    for filter in request.attributes.iter() {
        let AttributeName::Standard(tag) = filter.name() else {
            continue;
        };
        typed |= tag == Tag::OBJECT_TYPE;
        let of_keys = matches!(
            tag,
            Tag::CRYPTOGRAPHIC_ALGORITHM | Tag::CRYPTOGRAPHIC_LENGTH
        );
        if certificates && of_keys && !typed {
            return Err(Refusal::item(
                ResultReason::GENERAL_FAILURE,
                "a certificate has no algorithm",
            ));
        }
        if personality.links == Policy::Break && tag == Tag::LINK {
            return Err(Refusal::Message(
                ResultReason::INVALID_MESSAGE,
                "Link is not supported".into(),
            ));
        }
    }
    let (mut exact, mut state, mut others) = (Vec::new(), None, Filters::default());
    for filter in request.attributes.iter() {
        if let (AttributeValue::State(wanted), None) = (filter, state) {
            state = Some(*wanted);
            continue;
        }
        match kind(filter) {
            Kind::Exact => exact.push(filter.clone()),
            Kind::Rare if personality.locating == Locating::Exact => exact.push(filter.clone()),
            Kind::Rare | Kind::Computed if personality.locating == Locating::Ignore => {}
            _ => others.add(filter, personality.locating),
        }
    }
    let meter = &context.meter;
    let mut fits = |object: &Object| -> Outcome<bool> {
        meter.charge(others.cost(object))?;
        others.fit(object, personality.locating)
    };
    let mask = request
        .storage_status_mask
        .unwrap_or(StorageStatusMask::ON_LINE_STORAGE);
    let (online, archived) = (
        mask.contains(StorageStatusMask::ON_LINE_STORAGE),
        mask.contains(StorageStatusMask::ARCHIVAL_STORAGE),
    );
    let destroyed = mask.contains(StorageStatusMask::DESTROYED_STORAGE);
    let none = !(online || archived || destroyed);
    let shelves: Vec<Shelf> = [
        (online || none, Shelf::OnLine),
        (archived || none, Shelf::Archived),
        (destroyed, Shelf::Destroyed),
    ]
    .into_iter()
    .filter_map(|(is_wanted, shelf)| is_wanted.then_some(shelf))
    .collect();
    // A fresh member of a group is given out once, the one that waits longest first (spec 1.4, 4.9).
    let oldest_first = request.object_group_member == Some(ObjectGroupMember::GROUP_MEMBER_FRESH);
    if oldest_first {
        exact.push(AttributeValue::Fresh(true));
    }
    let offset = match personality.locate_offset {
        true => request.offset_items.unwrap_or(0).max(0) as usize,
        false => 0,
    };
    let most = request
        .maximum_items
        .map_or(usize::MAX, |n| n.max(0) as usize)
        .min(personality.locate_limit);
    let fits: Option<Fits<'_>> = if others.is_empty() {
        None
    } else {
        Some(&mut fits)
    };
    let says_all = personality.located_items && context.version >= Version::V1_3;
    let search = Search {
        exact,
        shelves: &shelves,
        state,
        oldest_first,
        fits,
        meter: Some(meter),
        offset,
        most,
        counts: says_all,
    };
    let Found {
        total: located_items,
        uids: unique_identifiers,
    } = engine.objects.find(&context.caller, search)?;
    meter.charge(unique_identifiers.len() as u64 / 4)?;
    {
        let mut involved = context.involved.borrow_mut();
        unique_identifiers.iter().for_each(|uid| involved.add(uid));
    }
    if context.version.typed_attributes() {
        for uid in &unique_identifiers {
            context.has_answered(uid);
        }
    }
    context.placeholder = match unique_identifiers.as_slice() {
        [only] => Some(only.clone()),
        _ => None,
    };
    Ok(LocateResponse {
        located_items: located_items.map(|items| items as i32),
        unique_identifiers,
    })
}

fn holds_certificates(engine: &Engine, context: &Context) -> Outcome<bool> {
    let exact = vec![AttributeValue::ObjectType(ObjectType::CERTIFICATE)];
    let search = Search {
        exact,
        shelves: &Shelf::ALL,
        most: 1,
        ..Search::default()
    };
    let found = engine.objects.find(&context.caller, search)?;
    Ok(!found.uids.is_empty())
}

/// Whether objects are found by an attribute like this without looking at them.
pub fn is_indexed(value: &AttributeValue) -> bool {
    matches!(kind(value), Kind::Exact | Kind::Rare)
}

/// How a filter is answered.
enum Kind {
    /// By the index, in every server.
    Exact,
    /// By the index, in servers that index everything.
    Rare,
    /// By looking at the object; some servers ignore such filters.
    Computed,
    /// By looking at the object.
    Looked,
}

fn kind(filter: &AttributeValue) -> Kind {
    match filter {
        AttributeValue::ObjectType(_)
        | AttributeValue::Name(_)
        | AttributeValue::ObjectGroup(_)
        | AttributeValue::CryptographicAlgorithm(_)
        | AttributeValue::CryptographicLength(_)
        | AttributeValue::CertificateType(_) => Kind::Exact,
        AttributeValue::ApplicationSpecificInformation(info) if info.application_data.is_some() => {
            Kind::Exact
        }
        AttributeValue::ApplicationSpecificInformation(_)
        | AttributeValue::UniqueIdentifier(_)
        | AttributeValue::State(_)
        | AttributeValue::InitialDate(_) => Kind::Looked,
        AttributeValue::CryptographicUsageMask(_)
        | AttributeValue::RevocationReason(_)
        | AttributeValue::KeyValuePresent(_)
        | AttributeValue::KeyFormatType(_)
        | AttributeValue::Digest(_)
        | AttributeValue::LeaseTime(_)
        | AttributeValue::AlwaysSensitive(_)
        | AttributeValue::NeverExtractable(_)
        | AttributeValue::Sensitive(_)
        | AttributeValue::Extractable(_) => Kind::Computed,
        other if date(other).is_some() => Kind::Computed,
        _ => Kind::Rare,
    }
}

/// The value of an attribute that is a date.
fn date(value: &AttributeValue) -> Option<i64> {
    match value {
        AttributeValue::InitialDate(DateTime(date))
        | AttributeValue::LastChangeDate(DateTime(date))
        | AttributeValue::ActivationDate(DateTime(date))
        | AttributeValue::ProcessStartDate(DateTime(date))
        | AttributeValue::ProtectStopDate(DateTime(date))
        | AttributeValue::DeactivationDate(DateTime(date))
        | AttributeValue::CompromiseOccurrenceDate(DateTime(date))
        | AttributeValue::CompromiseDate(DateTime(date))
        | AttributeValue::DestroyDate(DateTime(date))
        | AttributeValue::ArchiveDate(DateTime(date))
        | AttributeValue::OriginalCreationDate(DateTime(date)) => Some(*date),
        _ => None,
    }
}

/// The filters that the index cannot answer.
#[derive(Default)]
struct Filters<'a> {
    /// From when until when each date may be: one date is that date, two are from and to.
    dates: HashMap<AttributeName, (i64, i64)>,
    /// Attributes that an object has exactly so, encoded.
    exact: HashSet<Vec<u8>>,
    others: Vec<&'a AttributeValue>,
}

impl<'a> Filters<'a> {
    fn add(&mut self, filter: &'a AttributeValue, locating: Locating) {
        match filter {
            _ if date(filter).is_some() => {
                let date = date(filter).unwrap_or_default();
                let (from, to) = self.dates.entry(filter.name()).or_insert((date, date));
                (*from, *to) = (date.min(*from), date.max(*to));
            }
            AttributeValue::UniqueIdentifier(_)
            | AttributeValue::State(_)
            | AttributeValue::ApplicationSpecificInformation(_)
            | AttributeValue::CryptographicUsageMask(_)
            | AttributeValue::KeyValuePresent(_)
            | AttributeValue::Sensitive(_)
            | AttributeValue::Extractable(_) => self.others.push(filter),
            _ if locating == Locating::Fail => self.others.push(filter),
            _ => _ = self.exact.insert(encoded(filter)),
        }
    }

    fn is_empty(&self) -> bool {
        self.dates.is_empty() && self.exact.is_empty() && self.others.is_empty()
    }

    /// The work of comparing an object with them.
    fn cost(&self, object: &Object) -> u64 {
        let exact = match self.exact.is_empty() {
            true => 0,
            false => 2 * of_object(object),
        };
        // Each of the others may be compared with each attribute.
        let others = self.others.len() as u64 * (1 + object.attributes.len() as u64 / 8);
        self.dates.len() as u64 / 4 + others + exact
    }

    fn fit(&self, object: &Object, locating: Locating) -> Outcome<bool> {
        if !self.dates.is_empty() {
            let own: HashMap<AttributeName, i64> = object
                .dates
                .attributes()
                .chain(object.attributes.iter().cloned())
                .filter_map(|value| Some((value.name(), date(&value)?)))
                .collect();
            let within = |(name, (from, to)): (&AttributeName, &(i64, i64))| {
                own.get(name)
                    .is_some_and(|date| (from..=to).contains(&date))
            };
            if !self.dates.iter().all(within) {
                return Ok(false);
            }
        }
        for filter in &self.others {
            if !matches(object, filter, locating)? {
                return Ok(false);
            }
        }
        if self.exact.is_empty() {
            return Ok(true);
        }
        let all = object.all_attributes(Version::V2_1);
        let own: HashSet<Vec<u8>> = all.iter().map(encoded).collect();
        Ok(self.exact.is_subset(&own))
    }
}

/// Whether an object fits one filter that the index cannot answer.
fn matches(object: &Object, filter: &AttributeValue, locating: Locating) -> Outcome<bool> {
    Ok(match filter {
        AttributeValue::UniqueIdentifier(wanted) => object.uid == *wanted,
        AttributeValue::State(wanted) => object.has_state() && object.state() == *wanted,
        AttributeValue::ApplicationSpecificInformation(wanted) => {
            object.attributes.iter().any(|value| {
                matches!(value, AttributeValue::ApplicationSpecificInformation(info)
                if info.application_namespace == wanted.application_namespace)
            })
        }
        AttributeValue::CryptographicUsageMask(mask) => object.usage().contains(*mask),
        AttributeValue::KeyValuePresent(wanted) => {
            matches!(object.value, Value::Elsewhere(_)) != *wanted
        }
        AttributeValue::Sensitive(wanted) => {
            object.attributes.sensitive().copied().unwrap_or(false) == *wanted
        }
        AttributeValue::Extractable(wanted) => {
            object.attributes.extractable().copied().unwrap_or(true) == *wanted
        }
        AttributeValue::Custom(..) if locating == Locating::Fail => {
            return Err(Refusal::item(
                ResultReason::GENERAL_FAILURE,
                format!("cannot locate by {}", filter.name()),
            ));
        }
        _ => false,
    })
}
