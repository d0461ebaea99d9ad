//! Managed objects: keys, certificates, data (spec 1.4, 2.1 and 2.2).

use super::attrs::Attributes;
use super::enums::*;
use super::params::KeyWrappingData;
use super::structure::structures;
use crate::error::Result;
use crate::secret::Secret;
use crate::ttlv::{BigInteger, Decode, Encode, Item, ItemType, Tag, Writer};

/// Opaque Data Type: the specification names none; `8XXXXXXX` belong to vendors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct OpaqueDataType(pub u32);

impl Encode for OpaqueDataType {
    fn encode(&self, tag: Tag, writer: &mut Writer) {
        writer.enumeration(tag, self.0);
    }
}

impl Decode for OpaqueDataType {
    fn decode(item: &Item<'_>) -> Result<Self> {
        item.enumeration().map(OpaqueDataType)
    }
}

structures! {
    /// A key and what is needed to understand it (spec 1.4, 2.1.3).
    #[derive(Default)]
    KeyBlock {
        key_format_type: KeyFormatType = KEY_FORMAT_TYPE,
        key_compression_type: Option<KeyCompressionType> = KEY_COMPRESSION_TYPE,
        /// Absent when the server does not have the value.
        key_value: Option<KeyValue> = KEY_VALUE,
        cryptographic_algorithm: Option<CryptographicAlgorithm> = CRYPTOGRAPHIC_ALGORITHM,
        /// in bits.
        cryptographic_length: Option<i32> = CRYPTOGRAPHIC_LENGTH,
        key_wrapping_data: Option<KeyWrappingData> = KEY_WRAPPING_DATA,
    }

    /// A Key Value in the clear (spec 1.4, 2.1.4).
    PlainKeyValue {
        key_material: KeyMaterial = KEY_MATERIAL,
        attributes: Option<Attributes> = ATTRIBUTE | ATTRIBUTES,
    }

    /// The numbers of a key in a transparent format; Key Format Type says which of them are there (spec 1.4, 2.1.7).
    #[derive(Default)]
    TransparentKey {
        key: Option<Secret> = KEY,
        recommended_curve: Option<RecommendedCurve> = RECOMMENDED_CURVE,
        d: Option<BigInteger> = D,
        q_string: Option<Vec<u8>> = Q_STRING,
        modulus: Option<BigInteger> = MODULUS,
        private_exponent: Option<BigInteger> = PRIVATE_EXPONENT,
        public_exponent: Option<BigInteger> = PUBLIC_EXPONENT,
        p: Option<BigInteger> = P,
        q: Option<BigInteger> = Q,
        prime_exponent_p: Option<BigInteger> = PRIME_EXPONENT_P,
        prime_exponent_q: Option<BigInteger> = PRIME_EXPONENT_Q,
        crt_coefficient: Option<BigInteger> = CRT_COEFFICIENT,
        g: Option<BigInteger> = G,
        j: Option<BigInteger> = J,
        x: Option<BigInteger> = X,
        y: Option<BigInteger> = Y,
    }

    /// A symmetric key.
    #[derive(Default)]
    SymmetricKey {
        key_block: KeyBlock = KEY_BLOCK,
    }

    /// The public half of a pair.
    #[derive(Default)]
    PublicKey {
        key_block: KeyBlock = KEY_BLOCK,
    }

    /// The private half of a pair.
    #[derive(Default)]
    PrivateKey {
        key_block: KeyBlock = KEY_BLOCK,
    }

    /// A part of a key.
    #[derive(Default)]
    SplitKey {
        split_key_parts: i32 = SPLIT_KEY_PARTS,
        key_part_identifier: i32 = KEY_PART_IDENTIFIER,
        split_key_threshold: i32 = SPLIT_KEY_THRESHOLD,
        split_key_method: SplitKeyMethod = SPLIT_KEY_METHOD,
        prime_field_size: Option<BigInteger> = PRIME_FIELD_SIZE,
        key_block: KeyBlock = KEY_BLOCK,
    }

    /// A secret that is no key: a password, a seed.
    #[derive(Default)]
    SecretData {
        secret_data_type: SecretDataType = SECRET_DATA_TYPE,
        key_block: KeyBlock = KEY_BLOCK,
    }

    /// A certificate.
    #[derive(Clone, Default)]
    Certificate {
        certificate_type: CertificateType = CERTIFICATE_TYPE,
        certificate_value: Vec<u8> = CERTIFICATE_VALUE,
    }

    /// A certificate signing request (2.x).
    #[derive(Clone, Default)]
    CertificateRequest {
        certificate_request_type: CertificateRequestType = CERTIFICATE_REQUEST_TYPE,
        certificate_request_value: Vec<u8> = CERTIFICATE_REQUEST_VALUE,
    }

    /// Bytes the server does not look into.
    #[derive(Default)]
    OpaqueObject {
        opaque_data_type: OpaqueDataType = OPAQUE_DATA_TYPE,
        opaque_data_value: Secret = OPAQUE_DATA_VALUE,
    }

    /// A PGP key (1.2 and later).
    #[derive(Default)]
    PgpKey {
        pgp_key_version: i32 = PGP_KEY_VERSION,
        key_block: KeyBlock = KEY_BLOCK,
    }
}

impl KeyBlock {
    /// A key whose material is one byte string in the clear: Raw, PKCS#1, PKCS#8, X.509, …
    pub fn of_bytes(
        format: KeyFormatType,
        algorithm: CryptographicAlgorithm,
        bits: i32,
        material: Secret,
    ) -> KeyBlock {
        KeyBlock {
            key_format_type: format,
            key_value: Some(KeyValue::bytes(material)),
            cryptographic_algorithm: Some(algorithm),
            cryptographic_length: Some(bits),
            ..KeyBlock::default()
        }
    }
}

/// The value of a key.
#[derive(Debug, PartialEq)]
pub enum KeyValue {
    /// In the clear.
    Plain(PlainKeyValue),
    /// Wrapped; Key Wrapping Data says how.
    Wrapped(Vec<u8>),
}

impl KeyValue {
    /// Material of one byte string, in the clear, without attributes.
    pub fn bytes(material: Secret) -> KeyValue {
        KeyValue::Plain(PlainKeyValue {
            key_material: KeyMaterial::Bytes(material),
            attributes: None,
        })
    }
}

impl Encode for KeyValue {
    fn encode(&self, tag: Tag, writer: &mut Writer) {
        match self {
            KeyValue::Plain(plain) => plain.encode(tag, writer),
            KeyValue::Wrapped(bytes) => writer.byte_string(tag, bytes),
        }
    }
}

impl Decode for KeyValue {
    fn decode(item: &Item<'_>) -> Result<Self> {
        match item.kind {
            ItemType::STRUCTURE => PlainKeyValue::decode(item).map(KeyValue::Plain),
            _ => Vec::decode(item).map(KeyValue::Wrapped),
        }
    }
}

/// Key Material.
#[derive(Debug, PartialEq)]
pub enum KeyMaterial {
    /// One byte string, in the Key Block's format.
    Bytes(Secret),
    /// Numbers, in a transparent format.
    Transparent(Box<TransparentKey>),
}

impl Encode for KeyMaterial {
    fn encode(&self, tag: Tag, writer: &mut Writer) {
        match self {
            KeyMaterial::Bytes(bytes) => bytes.encode(tag, writer),
            KeyMaterial::Transparent(key) => key.encode(tag, writer),
        }
    }
}

impl Decode for KeyMaterial {
    fn decode(item: &Item<'_>) -> Result<Self> {
        match item.kind {
            ItemType::STRUCTURE => Decode::decode(item).map(KeyMaterial::Transparent),
            _ => Secret::decode(item).map(KeyMaterial::Bytes),
        }
    }
}

macro_rules! managed_objects {
    ($($(#[$doc:meta])* $variant:ident($type:ty) = $tag:ident,)*) => {
        /// Any managed object. It has its own tag, whatever tag it is encoded under.
        #[derive(Debug, PartialEq)]
        pub enum ManagedObject {
            $($(#[$doc])* $variant($type),)*
        }

        /// The tags of all managed objects.
        pub(super) const OBJECT_TAGS: &[Tag] = &[$(Tag::$tag),*];

        impl Encode for ManagedObject {
            fn encode(&self, _: Tag, writer: &mut Writer) {
                match self {
                    $(ManagedObject::$variant(object) => object.encode(Tag::$tag, writer),)*
                }
            }
        }

        impl Decode for ManagedObject {
            fn decode(item: &Item<'_>) -> Result<Self> {
                match item.tag {
                    $(Tag::$tag => Decode::decode(item).map(ManagedObject::$variant),)*
                    _ => Err(item.error("not a managed object")),
                }
            }
        }
    };
}

managed_objects! {
    /// A certificate.
    Certificate(Certificate) = CERTIFICATE,
    /// A symmetric key.
    SymmetricKey(SymmetricKey) = SYMMETRIC_KEY,
    /// The public half of a pair.
    PublicKey(PublicKey) = PUBLIC_KEY,
    /// The private half of a pair.
    PrivateKey(PrivateKey) = PRIVATE_KEY,
    /// A part of a key.
    SplitKey(SplitKey) = SPLIT_KEY,
    /// Attributes for other objects (1.x).
    Template(Attributes) = TEMPLATE,
    /// A secret that is no key.
    SecretData(SecretData) = SECRET_DATA,
    /// Bytes.
    OpaqueObject(OpaqueObject) = OPAQUE_OBJECT,
    /// A PGP key.
    PgpKey(PgpKey) = PGP_KEY,
    /// A certificate signing request.
    CertificateRequest(CertificateRequest) = CERTIFICATE_REQUEST,
}

impl ManagedObject {
    /// Its Object Type.
    pub fn object_type(&self) -> ObjectType {
        match self {
            ManagedObject::Certificate(_) => ObjectType::CERTIFICATE,
            ManagedObject::SymmetricKey(_) => ObjectType::SYMMETRIC_KEY,
            ManagedObject::PublicKey(_) => ObjectType::PUBLIC_KEY,
            ManagedObject::PrivateKey(_) => ObjectType::PRIVATE_KEY,
            ManagedObject::SplitKey(_) => ObjectType::SPLIT_KEY,
            ManagedObject::Template(_) => ObjectType::TEMPLATE,
            ManagedObject::SecretData(_) => ObjectType::SECRET_DATA,
            ManagedObject::OpaqueObject(_) => ObjectType::OPAQUE_OBJECT,
            ManagedObject::PgpKey(_) => ObjectType::PGP_KEY,
            ManagedObject::CertificateRequest(_) => ObjectType::CERTIFICATE_REQUEST,
        }
    }

    /// The Key Block of a key or secret; `None` for what has none.
    pub fn key_block(&self) -> Option<&KeyBlock> {
        match self {
            ManagedObject::SymmetricKey(key) => Some(&key.key_block),
            ManagedObject::PublicKey(key) => Some(&key.key_block),
            ManagedObject::PrivateKey(key) => Some(&key.key_block),
            ManagedObject::SplitKey(key) => Some(&key.key_block),
            ManagedObject::SecretData(data) => Some(&data.key_block),
            ManagedObject::PgpKey(key) => Some(&key.key_block),
            ManagedObject::Certificate(_)
            | ManagedObject::Template(_)
            | ManagedObject::OpaqueObject(_)
            | ManagedObject::CertificateRequest(_) => None,
        }
    }

    /// The same to be changed.
    pub fn key_block_mut(&mut self) -> Option<&mut KeyBlock> {
        match self {
            ManagedObject::SymmetricKey(key) => Some(&mut key.key_block),
            ManagedObject::PublicKey(key) => Some(&mut key.key_block),
            ManagedObject::PrivateKey(key) => Some(&mut key.key_block),
            ManagedObject::SplitKey(key) => Some(&mut key.key_block),
            ManagedObject::SecretData(data) => Some(&mut data.key_block),
            ManagedObject::PgpKey(key) => Some(&mut key.key_block),
            ManagedObject::Certificate(_)
            | ManagedObject::Template(_)
            | ManagedObject::OpaqueObject(_)
            | ManagedObject::CertificateRequest(_) => None,
        }
    }
}
