//! Attributes: one list for both dialects.
//!
//! 1.x writes an attribute as name, index and value; 2.x writes it under its own tag, and a custom one as vendor, name and value.
//! The order of a list is kept, so that a decoded message is encoded to the same bytes.

use std::collections::HashMap;
use std::fmt;

use super::attr_types::*;
use super::enums::*;
use super::params::{CryptographicDomainParameters, CryptographicParameters, RngParameters};
use super::structure::structures;
use crate::error::Result;
use crate::ttlv::{DateTime, Decode, Encode, Interval, Item, ItemType, Tag, Value, Writer};

/// An attribute of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribute {
    /// Attribute Index: which of several attributes of this name; absent means the first. Only 1.x has it.
    pub index: Option<i32>,
    /// What it is and what it says.
    pub value: AttributeValue,
}

/// What an attribute is called.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AttributeName {
    /// An attribute of the specification.
    Standard(Tag),
    /// Anything else. `x` and `y` are the vendors of 1.x's custom attributes `x-name` and `y-name`; a 1.x name with neither prefix
    /// has an empty vendor.
    Custom {
        /// Vendor Identification.
        vendor: String,
        /// Attribute Name, without the vendor.
        name: String,
    },
}

impl AttributeName {
    /// The custom attribute `name` of `vendor`.
    pub fn custom(vendor: &str, name: &str) -> AttributeName {
        AttributeName::Custom {
            vendor: vendor.to_owned(),
            name: name.to_owned(),
        }
    }

    /// The attribute that 1.x calls `text`.
    pub fn from_text(text: &str) -> AttributeName {
        if let Some(tag) = Tag::from_name(text).filter(|tag| is_attribute(*tag)) {
            return AttributeName::Standard(tag);
        }
        match text.split_once('-') {
            Some((vendor @ ("x" | "y"), name)) => AttributeName::custom(vendor, name),
            _ => AttributeName::custom("", text),
        }
    }
}

impl fmt::Display for AttributeName {
    /// As 1.x writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AttributeName::Standard(tag) => write!(f, "{tag}"),
            AttributeName::Custom { vendor, name } if vendor.is_empty() => f.write_str(name),
            AttributeName::Custom { vendor, name } if vendor == "x" || vendor == "y" => {
                write!(f, "{vendor}-{name}")
            }
            AttributeName::Custom { vendor, name } => write!(f, "x-{vendor}-{name}"),
        }
    }
}

impl Encode for AttributeName {
    /// An Attribute Name is text, an Attribute Reference (2.x) the tag as an enumeration, or vendor and name.
    fn encode(&self, tag: Tag, writer: &mut Writer) {
        match self {
            _ if tag != Tag::ATTRIBUTE_REFERENCE => writer.text(tag, &self.to_string()),
            AttributeName::Standard(standard) => writer.enumeration(tag, standard.0),
            AttributeName::Custom { vendor, name } => writer.structure(tag, |w| {
                w.text(Tag::VENDOR_IDENTIFICATION, vendor);
                w.text(Tag::ATTRIBUTE_NAME, name);
            }),
        }
    }
}

impl Decode for AttributeName {
    fn decode(item: &Item<'_>) -> Result<Self> {
        match item.kind {
            ItemType::ENUMERATION => item
                .enumeration()
                .map(|tag| AttributeName::Standard(Tag(tag))),
            ItemType::STRUCTURE => VendorReference::decode(item).map(|r| AttributeName::Custom {
                vendor: r.vendor,
                name: r.name,
            }),
            _ => item.text().map(AttributeName::from_text),
        }
    }
}

structures! {
    /// A 2.x reference to a custom attribute.
    VendorReference {
        vendor: String = VENDOR_IDENTIFICATION,
        name: String = ATTRIBUTE_NAME,
    }
}

macro_rules! attributes {
    ($($accessor:ident: $variant:ident($type:ty) = $tag:ident,)*) => {
        /// What an attribute is and what it says.
        #[derive(Clone, Debug, PartialEq)]
        pub enum AttributeValue {
            $(#[doc = concat!("`", stringify!($tag), "`")] $variant($type),)*
            /// An attribute of the specification that has no type here, or whose value is not of the type it should be.
            Other(Tag, Value),
            /// A custom attribute: vendor, name, value.
            Custom(String, String, Value),
        }

        impl AttributeValue {
            /// What the attribute is called.
            pub fn name(&self) -> AttributeName {
                match self {
                    $(AttributeValue::$variant(_) => AttributeName::Standard(Tag::$tag),)*
                    AttributeValue::Other(tag, _) => AttributeName::Standard(*tag),
                    AttributeValue::Custom(vendor, name, _) => AttributeName::custom(vendor, name),
                }
            }

            /// True for attributes of one name.
            pub fn is_named_as(&self, other: &AttributeValue) -> bool {
                match (self, other) {
                    (
                        AttributeValue::Custom(vendor, name, _),
                        AttributeValue::Custom(other_vendor, other_name, _),
                    ) => name == other_name && vendor == other_vendor,
                    (AttributeValue::Custom(..), _) | (_, AttributeValue::Custom(..)) => false,
                    _ => self.name() == other.name(),
                }
            }

            /// True when the specification gives the attribute another type.
            pub fn is_mistyped(&self) -> bool {
                matches!(self, AttributeValue::Other(tag, _) if is_typed(*tag))
            }

            /// Writes the value under `tag`.
            fn encode_value(&self, tag: Tag, writer: &mut Writer) {
                match self {
                    $(AttributeValue::$variant(value) => value.encode(tag, writer),)*
                    AttributeValue::Other(_, value) | AttributeValue::Custom(_, _, value) => value.encode(tag, writer),
                }
            }

            /// The typed attribute `tag` with this value, when there is such a type and the value fits it.
            fn typed(tag: Tag, item: &Item<'_>) -> Option<AttributeValue> {
                match tag {
                    $(Tag::$tag => <$type>::decode(item).ok().map(AttributeValue::$variant),)*
                    _ => None,
                }
            }
        }

        #[cfg(test)]
        impl AttributeValue {
            /// One of every type.
            pub(super) fn samples(version: crate::version::Version) -> Vec<AttributeValue> {
                vec![$(AttributeValue::$variant(super::sample::Sample::sample(version)),)*]
            }
        }

        /// The first attribute of a kind.
        impl Attributes {
            $(
                #[doc = concat!("`", stringify!($tag), "`, the first one.")]
                pub fn $accessor(&self) -> Option<&$type> {
                    self.0.iter().find_map(|attribute| match &attribute.value {
                        AttributeValue::$variant(value) => Some(value),
                        _ => None,
                    })
                }
            )*
        }

        fn is_typed(tag: Tag) -> bool {
            matches!(tag, $(Tag::$tag)|*)
        }
    };
}

attributes! {
    unique_identifier: UniqueIdentifier(String) = UNIQUE_IDENTIFIER,
    name: Name(Name) = NAME,
    object_type: ObjectType(ObjectType) = OBJECT_TYPE,
    cryptographic_algorithm: CryptographicAlgorithm(CryptographicAlgorithm) = CRYPTOGRAPHIC_ALGORITHM,
    cryptographic_length: CryptographicLength(i32) = CRYPTOGRAPHIC_LENGTH,
    cryptographic_parameters: CryptographicParameters(CryptographicParameters) = CRYPTOGRAPHIC_PARAMETERS,
    cryptographic_domain_parameters: CryptographicDomainParameters(CryptographicDomainParameters)
        = CRYPTOGRAPHIC_DOMAIN_PARAMETERS,
    certificate_type: CertificateType(CertificateType) = CERTIFICATE_TYPE,
    certificate_length: CertificateLength(i32) = CERTIFICATE_LENGTH,
    x_509_certificate_identifier: X509CertificateIdentifier(X509CertificateIdentifier) = X_509_CERTIFICATE_IDENTIFIER,
    x_509_certificate_subject: X509CertificateSubject(X509CertificateSubject) = X_509_CERTIFICATE_SUBJECT,
    x_509_certificate_issuer: X509CertificateIssuer(X509CertificateIssuer) = X_509_CERTIFICATE_ISSUER,
    digital_signature_algorithm: DigitalSignatureAlgorithm(DigitalSignatureAlgorithm) = DIGITAL_SIGNATURE_ALGORITHM,
    digest: Digest(Digest) = DIGEST,
    operation_policy_name: OperationPolicyName(String) = OPERATION_POLICY_NAME,
    cryptographic_usage_mask: CryptographicUsageMask(CryptographicUsageMask) = CRYPTOGRAPHIC_USAGE_MASK,
    lease_time: LeaseTime(Interval) = LEASE_TIME,
    usage_limits: UsageLimits(UsageLimits) = USAGE_LIMITS,
    state: State(State) = STATE,
    initial_date: InitialDate(DateTime) = INITIAL_DATE,
    activation_date: ActivationDate(DateTime) = ACTIVATION_DATE,
    process_start_date: ProcessStartDate(DateTime) = PROCESS_START_DATE,
    protect_stop_date: ProtectStopDate(DateTime) = PROTECT_STOP_DATE,
    deactivation_date: DeactivationDate(DateTime) = DEACTIVATION_DATE,
    destroy_date: DestroyDate(DateTime) = DESTROY_DATE,
    compromise_occurrence_date: CompromiseOccurrenceDate(DateTime) = COMPROMISE_OCCURRENCE_DATE,
    compromise_date: CompromiseDate(DateTime) = COMPROMISE_DATE,
    revocation_reason: RevocationReason(RevocationReason) = REVOCATION_REASON,
    archive_date: ArchiveDate(DateTime) = ARCHIVE_DATE,
    object_group: ObjectGroup(String) = OBJECT_GROUP,
    fresh: Fresh(bool) = FRESH,
    link: Link(Link) = LINK,
    application_specific_information: ApplicationSpecificInformation(ApplicationSpecificInformation)
        = APPLICATION_SPECIFIC_INFORMATION,
    contact_information: ContactInformation(String) = CONTACT_INFORMATION,
    last_change_date: LastChangeDate(DateTime) = LAST_CHANGE_DATE,
    alternative_name: AlternativeName(AlternativeName) = ALTERNATIVE_NAME,
    key_value_present: KeyValuePresent(bool) = KEY_VALUE_PRESENT,
    key_value_location: KeyValueLocation(KeyValueLocation) = KEY_VALUE_LOCATION,
    original_creation_date: OriginalCreationDate(DateTime) = ORIGINAL_CREATION_DATE,
    random_number_generator: RandomNumberGenerator(RngParameters) = RANDOM_NUMBER_GENERATOR,
    pkcs_12_friendly_name: Pkcs12FriendlyName(String) = PKCS_12_FRIENDLY_NAME,
    description: Description(String) = DESCRIPTION,
    comment: Comment(String) = COMMENT,
    sensitive: Sensitive(bool) = SENSITIVE,
    always_sensitive: AlwaysSensitive(bool) = ALWAYS_SENSITIVE,
    extractable: Extractable(bool) = EXTRACTABLE,
    never_extractable: NeverExtractable(bool) = NEVER_EXTRACTABLE,
    key_format_type: KeyFormatType(KeyFormatType) = KEY_FORMAT_TYPE,
    nist_key_type: NistKeyType(NistKeyType) = NIST_KEY_TYPE,
    opaque_data_type: OpaqueDataType(super::objects::OpaqueDataType) = OPAQUE_DATA_TYPE,
    protection_level: ProtectionLevel(ProtectionLevel) = PROTECTION_LEVEL,
    protection_period: ProtectionPeriod(Interval) = PROTECTION_PERIOD,
    protection_storage_mask: ProtectionStorageMask(ProtectionStorageMask) = PROTECTION_STORAGE_MASK,
    quantum_safe: QuantumSafe(bool) = QUANTUM_SAFE,
    short_unique_identifier: ShortUniqueIdentifier(Vec<u8>) = SHORT_UNIQUE_IDENTIFIER,
}

/// Whether the specification has an attribute with this tag; a custom one may not borrow its name.
fn is_attribute(tag: Tag) -> bool {
    is_typed(tag)
        // Certificate Subject CN … Certificate Issuer DN Qualifier, each an attribute of its own in 2.x.
        || (Tag::CERTIFICATE_SUBJECT_CN..=Tag::CERTIFICATE_ISSUER_DN_QUALIFIER).contains(&tag)
        // Rotate Interval … Rotate Latest (2.1), without the parts of Rotate Name.
        || ((Tag::ROTATE_INTERVAL..=Tag::ROTATE_LATEST).contains(&tag)
            && !matches!(tag, Tag::ROTATE_NAME_VALUE | Tag::ROTATE_NAME_TYPE))
        || matches!(tag, Tag::CERTIFICATE_IDENTIFIER | Tag::CERTIFICATE_SUBJECT | Tag::CERTIFICATE_ISSUER)
}

impl Attribute {
    /// The one that has so many of its name before it; of those the second and later ones get the index that 1.x wants.
    pub fn nth(before: usize, value: AttributeValue) -> Attribute {
        Attribute {
            index: i32::try_from(before).ok().filter(|index| *index > 0),
            value,
        }
    }

    /// Writes the attribute as 2.x does: under its own tag, or as a vendor attribute.
    fn encode_typed(&self, writer: &mut Writer) {
        match &self.value {
            AttributeValue::Custom(vendor, name, value) => writer.structure(Tag::ATTRIBUTE, |w| {
                w.text(Tag::VENDOR_IDENTIFICATION, vendor);
                w.text(Tag::ATTRIBUTE_NAME, name);
                value.encode(Tag::ATTRIBUTE_VALUE, w);
            }),
            standard => {
                if let AttributeName::Standard(tag) = standard.name() {
                    standard.encode_value(tag, writer);
                }
            }
        }
    }

    /// Reads an item inside a 2.x attribute list.
    fn decode_typed(item: &Item<'_>) -> Result<Attribute> {
        let value = if item.tag == Tag::ATTRIBUTE {
            let parts = VendorAttribute::decode(item)?;
            AttributeValue::Custom(parts.vendor, parts.name, parts.value)
        } else {
            match AttributeValue::typed(item.tag, item) {
                Some(value) => value,
                None => AttributeValue::Other(item.tag, Value::decode(item)?),
            }
        };
        Ok(Attribute { index: None, value })
    }

    /// Reads a 1.x attribute: name, index, value.
    fn decode_named(item: &Item<'_>) -> Result<Attribute> {
        let (mut name, mut index, mut content) = (None, None, None);
        let mut items = item.items()?;
        while let Some(part) = items.next()? {
            match part.tag {
                Tag::ATTRIBUTE_NAME => name = Some(AttributeName::from_text(part.text()?)),
                Tag::ATTRIBUTE_INDEX => index = Some(part.integer()?),
                Tag::ATTRIBUTE_VALUE => content = Some(part),
                _ => {}
            }
        }
        let (Some(name), Some(content)) = (name, content) else {
            return Err(item.error("without name or value"));
        };
        let value = match name {
            AttributeName::Standard(tag) => match AttributeValue::typed(tag, &content) {
                Some(value) => value,
                None => AttributeValue::Other(tag, Value::decode(&content)?),
            },
            AttributeName::Custom { vendor, name } => {
                AttributeValue::Custom(vendor, name, Value::decode(&content)?)
            }
        };
        Ok(Attribute { index, value })
    }
}

structures! {
    /// A 2.x vendor attribute.
    VendorAttribute {
        vendor: String = VENDOR_IDENTIFICATION,
        name: String = ATTRIBUTE_NAME,
        value: Value = ATTRIBUTE_VALUE,
    }
}

impl From<AttributeValue> for Attribute {
    /// The first attribute of its name.
    fn from(value: AttributeValue) -> Attribute {
        Attribute { index: None, value }
    }
}

impl Encode for Attribute {
    /// As `ATTRIBUTE` the 1.x form; as any other tag (New Attribute, Current Attribute) a structure around the 2.x form.
    fn encode(&self, tag: Tag, writer: &mut Writer) {
        if tag != Tag::ATTRIBUTE {
            return writer.structure(tag, |w| self.encode_typed(w));
        }
        writer.structure(tag, |w| {
            self.value.name().encode(Tag::ATTRIBUTE_NAME, w);
            self.index.encode(Tag::ATTRIBUTE_INDEX, w);
            self.value.encode_value(Tag::ATTRIBUTE_VALUE, w);
        });
    }
}

impl Decode for Attribute {
    fn decode(item: &Item<'_>) -> Result<Attribute> {
        if item.tag == Tag::ATTRIBUTE {
            return Attribute::decode_named(item);
        }
        match item.items()?.next()? {
            Some(inner) => Attribute::decode_typed(&inner),
            None => Err(item.error("without an attribute")),
        }
    }
}

/// Attributes in the order they stand in the message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attributes(pub Vec<Attribute>);

impl Attributes {
    /// No attributes.
    pub fn new() -> Attributes {
        Attributes::default()
    }

    /// Adds an attribute behind the others. The second and later ones of a name get the index that 1.x wants.
    pub fn push(&mut self, value: AttributeValue) {
        let same = self
            .0
            .iter()
            .filter(|other| other.value.is_named_as(&value))
            .count();
        self.0.push(Attribute::nth(same, value));
    }

    /// The same with one attribute more.
    pub fn with(mut self, value: AttributeValue) -> Attributes {
        self.push(value);
        self
    }

    /// The attributes, one after the other.
    pub fn iter(&self) -> impl Iterator<Item = &AttributeValue> {
        self.0.iter().map(|attribute| &attribute.value)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The texts of all names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.iter().filter_map(|value| match value {
            AttributeValue::Name(name) => Some(name.name_value.as_str()),
            _ => None,
        })
    }

    /// All object groups.
    pub fn object_groups(&self) -> impl Iterator<Item = &str> {
        self.iter().filter_map(|value| match value {
            AttributeValue::ObjectGroup(group) => Some(group.as_str()),
            _ => None,
        })
    }

    /// The identifier of the object that is linked in this way.
    pub fn linked(&self, link_type: LinkType) -> Option<&str> {
        self.iter().find_map(|value| match value {
            AttributeValue::Link(link) if link.link_type == link_type => {
                link.linked_object_identifier.as_text()
            }
            _ => None,
        })
    }

    /// Application Specific Information of this namespace.
    pub fn application_data(&self, namespace: &str) -> Option<&str> {
        self.iter().find_map(|value| match value {
            AttributeValue::ApplicationSpecificInformation(info)
                if info.application_namespace == namespace =>
            {
                info.application_data.as_deref()
            }
            _ => None,
        })
    }

    /// The value of a custom attribute.
    pub fn custom(&self, vendor: &str, name: &str) -> Option<&Value> {
        self.iter().find_map(|value| match value {
            AttributeValue::Custom(v, n, value) if v == vendor && n == name => Some(value),
            _ => None,
        })
    }
}

impl FromIterator<AttributeValue> for Attributes {
    fn from_iter<I: IntoIterator<Item = AttributeValue>>(values: I) -> Attributes {
        let mut counts: HashMap<AttributeName, usize> = HashMap::new();
        let nth = |value: AttributeValue| {
            let count = counts.entry(value.name()).or_default();
            *count += 1;
            Attribute::nth(*count - 1, value)
        };
        Attributes(values.into_iter().map(nth).collect())
    }
}

/// Whether a list under this tag holds typed attributes (2.x).
fn holds_typed(tag: Tag) -> bool {
    matches!(
        tag,
        Tag::ATTRIBUTES
            | Tag::COMMON_ATTRIBUTES
            | Tag::PRIVATE_KEY_ATTRIBUTES
            | Tag::PUBLIC_KEY_ATTRIBUTES
    )
}

impl Encode for Attributes {
    /// As `ATTRIBUTE` one item after the other, without a structure around them; as `ATTRIBUTES` (2.x) a structure of typed
    /// attributes; as any other tag a structure of 1.x attributes.
    fn encode(&self, tag: Tag, writer: &mut Writer) {
        match tag {
            Tag::ATTRIBUTE => self.0.encode(tag, writer),
            _ if holds_typed(tag) => writer.structure(tag, |w| {
                self.0
                    .iter()
                    .for_each(|attribute| attribute.encode_typed(w))
            }),
            _ => writer.structure(tag, |w| self.0.encode(Tag::ATTRIBUTE, w)),
        }
    }
}

impl Decode for Attributes {
    fn decode(item: &Item<'_>) -> Result<Attributes> {
        let mut attributes = Attributes::new();
        attributes.again(item)?;
        Ok(attributes)
    }

    fn absent() -> Option<Attributes> {
        Some(Attributes::new())
    }

    fn again(&mut self, item: &Item<'_>) -> Result<()> {
        if item.tag == Tag::ATTRIBUTE {
            self.0.push(Attribute::decode_named(item)?);
            return Ok(());
        }
        let mut items = item.items()?;
        while let Some(inner) = items.next()? {
            if holds_typed(item.tag) {
                self.0.push(Attribute::decode_typed(&inner)?);
            } else if inner.tag == Tag::ATTRIBUTE {
                self.0.push(Attribute::decode_named(&inner)?);
            }
        }
        Ok(())
    }
}

/// Attributes for a new object: in 1.x a Template-Attribute, which may also name templates on the server.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TemplateAttribute {
    /// Names of templates; 1.x only.
    pub templates: Vec<Name>,
    /// The attributes themselves.
    pub attributes: Attributes,
}

impl From<Attributes> for TemplateAttribute {
    fn from(attributes: Attributes) -> TemplateAttribute {
        TemplateAttribute {
            templates: Vec::new(),
            attributes,
        }
    }
}

impl Encode for TemplateAttribute {
    fn encode(&self, tag: Tag, writer: &mut Writer) {
        if holds_typed(tag) {
            if !self.templates.is_empty() {
                writer.refuse(Tag::TEMPLATE_ATTRIBUTE);
            }
            return self.attributes.encode(tag, writer);
        }
        writer.structure(tag, |w| {
            self.templates.encode(Tag::NAME, w);
            self.attributes.encode(Tag::ATTRIBUTE, w);
        });
    }
}

impl Decode for TemplateAttribute {
    fn decode(item: &Item<'_>) -> Result<TemplateAttribute> {
        let attributes = Attributes::decode(item)?;
        let mut templates = Vec::new();
        if !holds_typed(item.tag) {
            let mut items = item.items()?;
            while let Some(inner) = items.next()? {
                if inner.tag == Tag::NAME {
                    templates.push(Name::decode(&inner)?);
                }
            }
        }
        Ok(TemplateAttribute {
            templates,
            attributes,
        })
    }
}
