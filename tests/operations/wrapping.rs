//! Keys that come and leave wrapped: every wrapping method, encoding, form and key format
//! (spec 1.4, 2.1.5, 2.1.6, 4.11 and 4.40).

use mrhsm_pkcs11::crypto::Curve;
use mrhsm_pkcs11::crypto::kw::{self, Wrapping};
use mrhsm_pkcs11::crypto::pkey;

use super::*;

const KEK: [u8; 32] = [0x4b; 32];

const METHODS: [WrappingMethod; 6] = [
    WrappingMethod::ENCRYPT,
    WrappingMethod::MAC_SIGN,
    WrappingMethod::ENCRYPT_THEN_MAC_SIGN,
    WrappingMethod::MAC_SIGN_THEN_ENCRYPT,
    WrappingMethod::TR_31,
    WrappingMethod(0x8000_0001),
];

const ENCODINGS: [Option<EncodingOption>; 4] = [
    None,
    Some(EncodingOption::NO_ENCODING),
    Some(EncodingOption::TTLV_ENCODING),
    Some(EncodingOption(9)),
];

/// The wrapping key.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kek {
    Unwraps,
    WrapsOnly,
    Elsewhere,
}

/// How the key is handed over.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Register,
    Import(Option<KeyWrapType>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Expected {
    Plain,
    Kept,
    Refused(ResultReason),
}

struct Case {
    version: Version,
    method: WrappingMethod,
    encoding: Option<EncodingOption>,
    /// Key Value is a structure with the bytes as Key Material.
    in_structure: bool,
    kek: Kek,
    way: Way,
}

impl Case {
    fn expected(&self) -> Expected {
        use ResultReason as Reason;
        let refused = Expected::Refused;
        let bare = self.encoding == Some(EncodingOption::NO_ENCODING);
        let kept = match self.way {
            Way::Register => false,
            Way::Import(wrap_type) => wrap_type != Some(KeyWrapType::NOT_WRAPPED),
        };
        match (self.method, self.kek) {
            _ if self.encoding == Some(EncodingOption(9)) => refused(Reason::ENCODING_OPTION_ERROR),
            (method, _) if self.in_structure && !bare && method != WrappingMethod::MAC_SIGN => {
                refused(Reason::ENCODING_OPTION_ERROR)
            }
            (WrappingMethod(0x8000_0001), _) => refused(Reason::FEATURE_NOT_SUPPORTED),
            _ if kept => Expected::Kept,
            (WrappingMethod::ENCRYPT, Kek::Unwraps) => Expected::Plain,
            (_, Kek::Unwraps) => refused(Reason::FEATURE_NOT_SUPPORTED),
            (..) if self.way == Way::Register => Expected::Kept,
            (..) if self.version >= Version::V2_0 => refused(Reason::WRAPPING_OBJECT_NOT_FOUND),
            (..) => refused(Reason::ITEM_NOT_FOUND),
        }
    }
}

/// A key in some format, in the clear.
struct Sample {
    format: KeyFormatType,
    material: Vec<u8>,
    object: fn(KeyBlock) -> ManagedObject,
    algorithm: CryptographicAlgorithm,
    bits: i32,
}

fn samples() -> Vec<Sample> {
    let pair = pkey::PrivateKey::generate_ec(Curve::P256).unwrap();
    let symmetric: fn(KeyBlock) -> ManagedObject =
        |key_block| ManagedObject::SymmetricKey(SymmetricKey { key_block });
    let private: fn(KeyBlock) -> ManagedObject =
        |key_block| ManagedObject::PrivateKey(PrivateKey { key_block });
    let public: fn(KeyBlock) -> ManagedObject =
        |key_block| ManagedObject::PublicKey(PublicKey { key_block });
    let secret: fn(KeyBlock) -> ManagedObject = |key_block| {
        ManagedObject::SecretData(SecretData {
            secret_data_type: SecretDataType::PASSWORD,
            key_block,
        })
    };
    let sample = |format, material: &[u8], object, algorithm, bits| Sample {
        format,
        material: material.to_vec(),
        object,
        algorithm,
        bits,
    };
    use CryptographicAlgorithm as Alg;
    let (pkcs8, sec1) = (pair.to_pkcs8().unwrap(), pair.to_sec1().unwrap());
    let spki = pair.public().unwrap().to_spki().unwrap();
    vec![
        sample(KeyFormatType::RAW, &[0x33; 32], symmetric, Alg::AES, 256),
        sample(KeyFormatType::PKCS_8, pkcs8.expose(), private, Alg::EC, 256),
        sample(
            KeyFormatType::ECPRIVATEKEY,
            sec1.expose(),
            private,
            Alg::EC,
            256,
        ),
        sample(KeyFormatType::X_509, &spki, public, Alg::EC, 256),
        sample(
            KeyFormatType::OPAQUE,
            b"a password",
            secret,
            Alg::HMAC_SHA256,
            80,
        ),
    ]
}

fn information(uid: &str) -> KeyInformation {
    KeyInformation {
        unique_identifier: uid.into(),
        cryptographic_parameters: Some(CryptographicParameters {
            block_cipher_mode: Some(BlockCipherMode::AES_KEY_WRAP_PADDING),
            ..CryptographicParameters::default()
        }),
    }
}

fn plain_value(material: &[u8]) -> KeyValue {
    KeyValue::bytes(Secret::new(material.to_vec()))
}

/// The object as the client hands it over.
fn wrapped(case: &Case, sample: &Sample, kek: &str) -> ManagedObject {
    let plain = match case.encoding {
        Some(EncodingOption::NO_ENCODING) => sample.material.clone(),
        _ => {
            let mut writer = Writer::new(case.version);
            plain_value(&sample.material).encode(Tag::KEY_VALUE, &mut writer);
            writer.finish().unwrap().expose().to_vec()
        }
    };
    let encrypts = case.method != WrappingMethod::MAC_SIGN;
    let signs = !matches!(case.method, WrappingMethod::ENCRYPT | WrappingMethod::TR_31);
    let bytes = match encrypts {
        true => kw::wrap(Wrapping::Kwp, &KEK, &plain).unwrap(),
        false => plain,
    };
    (sample.object)(KeyBlock {
        key_format_type: sample.format,
        key_value: Some(match (case.in_structure, encrypts) {
            (true, false) => plain_value(&sample.material),
            (true, true) => plain_value(&bytes),
            (false, _) => KeyValue::Wrapped(bytes),
        }),
        cryptographic_algorithm: Some(sample.algorithm),
        cryptographic_length: Some(sample.bits),
        key_wrapping_data: Some(KeyWrappingData {
            wrapping_method: case.method,
            encryption_key_information: encrypts.then(|| information(kek)),
            mac_signature_key_information: signs.then(|| information(kek)),
            mac_signature: signs.then(|| vec![0x5a; 32]),
            iv_counter_nonce: None,
            encoding_option: case.encoding,
        }),
        ..KeyBlock::default()
    })
}

fn hand_over(
    server: &Server,
    case: &Case,
    object: ManagedObject,
    uid: &str,
) -> Result<String, ResultReason> {
    let Way::Import(key_wrap_type) = case.way else {
        return server.register(case.version, object, usage());
    };
    let request = ImportRequest {
        unique_identifier: uid.into(),
        object_type: (case.version >= Version::V2_0).then(|| object.object_type()),
        replace_existing: None,
        key_wrap_type,
        attributes: usage(),
        object,
    };
    server
        .ask(case.version, &request)
        .map(|answer| answer.unique_identifier)
}

fn get(
    server: &Server,
    version: Version,
    uid: &str,
    key_wrap_type: Option<KeyWrapType>,
    kek: Option<&str>,
) -> Result<ManagedObject, ResultReason> {
    let request = GetRequest {
        unique_identifier: id(uid),
        key_wrap_type,
        key_wrapping_specification: kek.map(|kek| KeyWrappingSpecification {
            wrapping_method: WrappingMethod::ENCRYPT,
            encryption_key_information: Some(information(kek)),
            encoding_option: Some(EncodingOption::NO_ENCODING),
            ..KeyWrappingSpecification::default()
        }),
        ..GetRequest::default()
    };
    server.ask(version, &request).map(|answer| answer.object)
}

/// A key that came wrapped, as Get gives it back in each Key Wrap Type.
struct Given<'a> {
    version: Version,
    uid: String,
    sample: &'a Sample,
    registered: ManagedObject,
    expected: Expected,
    kek: String,
    what: String,
}

impl Given<'_> {
    fn check(&self, server: &Server) {
        let what = &self.what;
        let get = |wrap_type, kek| get(server, self.version, &self.uid, wrap_type, kek);
        let as_registered = get(Some(KeyWrapType::AS_REGISTERED), None);
        assert_eq!(as_registered.as_ref(), Ok(&self.registered), "{what}");
        let plain = get(None, None).unwrap();
        if self.expected == Expected::Plain {
            let again = get(Some(KeyWrapType::NOT_WRAPPED), None).unwrap();
            for plain in [&plain, &again] {
                assert_eq!(bytes(plain), self.sample.material, "{what}");
                assert_eq!(plain.key_block().unwrap().key_wrapping_data, None, "{what}");
            }
            let anew = get(None, Some(&self.kek)).unwrap();
            let wrapped = kw::wrap(Wrapping::Kwp, &KEK, &self.sample.material).unwrap();
            let value = &anew.key_block().unwrap().key_value;
            assert_eq!(*value, Some(KeyValue::Wrapped(wrapped)), "{what}");
            return;
        }
        assert_eq!(plain, self.registered, "{what}");
        for (wrap_type, kek, reason) in [
            (
                Some(KeyWrapType::NOT_WRAPPED),
                None,
                ResultReason::KEY_WRAP_TYPE_NOT_SUPPORTED,
            ),
            (None, Some(&*self.kek), ResultReason::ILLEGAL_OPERATION),
        ] {
            assert_eq!(get(wrap_type, kek), Err(reason), "{what}");
        }
        assert!(
            server.ask(self.version, &ecb(&self.uid, &[0; 16])).is_err(),
            "{what}: the ciphertext is no key"
        );
    }
}

#[test]
fn a_wrapped_key_is_unwrapped_or_stays_wrapped_or_is_refused() {
    let server = Server::new();
    let kek_with = |mask: CryptographicUsageMask| {
        let attributes = Attributes::new()
            .with(AttributeValue::CryptographicUsageMask(mask))
            .with(AttributeValue::ActivationDate(DateTime(1)));
        server
            .register(Version::V1_4, raw_key(&KEK), attributes)
            .unwrap()
    };
    let unwraps = kek_with(CryptographicUsageMask(0xFFF));
    let wraps_only = kek_with(CryptographicUsageMask::WRAP_KEY);
    let samples = samples();
    let mut given = Vec::new();
    for version in [Version::V1_4, Version::V2_1] {
        for (number, case) in cases(version).iter().enumerate() {
            for sample in &samples {
                let kek = match case.kek {
                    Kek::Unwraps => &unwraps,
                    Kek::WrapsOnly => &wraps_only,
                    Kek::Elsewhere => "a key of another server",
                };
                let what = format!(
                    "{version} {} {:?} in structure: {} {:?} {:?} {}",
                    case.method,
                    case.encoding,
                    case.in_structure,
                    case.kek,
                    case.way,
                    sample.format
                );
                let uid = format!("{version} {number} {}", sample.format);
                let object = wrapped(case, sample, kek);
                let expected = case.expected();
                let answer = hand_over(&server, case, object, &uid);
                if let Expected::Refused(reason) = expected {
                    assert_eq!(answer, Err(reason), "{what}");
                    continue;
                }
                given.push(Given {
                    version,
                    uid: answer.unwrap_or_else(|reason| panic!("{what}: {reason}")),
                    sample,
                    registered: wrapped(case, sample, kek),
                    expected,
                    kek: unwraps.clone(),
                    what,
                });
            }
        }
    }
    given.iter().for_each(|given| given.check(&server));
    let server = server.again();
    given.iter().for_each(|given| given.check(&server));
}

fn cases(version: Version) -> Vec<Case> {
    let ways = [
        Way::Register,
        Way::Import(None),
        Way::Import(Some(KeyWrapType::AS_REGISTERED)),
        Way::Import(Some(KeyWrapType::NOT_WRAPPED)),
    ];
    let mut cases = Vec::new();
    for method in METHODS {
        for encoding in ENCODINGS {
            for in_structure in [false, true] {
                for kek in [Kek::Unwraps, Kek::WrapsOnly, Kek::Elsewhere] {
                    cases.extend(ways.map(|way| Case {
                        version,
                        method,
                        encoding,
                        in_structure,
                        kek,
                        way,
                    }));
                }
            }
        }
    }
    cases
}

#[test]
fn a_key_leaves_wrapped_as_asked_or_not_at_all() {
    let server = Server::new();
    let attributes = usage().with(AttributeValue::ActivationDate(DateTime(1)));
    let kek = server
        .register(Version::V1_4, raw_key(&KEK), attributes)
        .unwrap();
    for sample in &samples() {
        let object = (sample.object)(KeyBlock::of_bytes(
            sample.format,
            sample.algorithm,
            sample.bits,
            Secret::new(sample.material.clone()),
        ));
        let uid = server.register(Version::V1_4, object, usage()).unwrap();
        for method in METHODS {
            for encoding in ENCODINGS {
                let request = GetRequest {
                    unique_identifier: id(&uid),
                    key_wrapping_specification: Some(KeyWrappingSpecification {
                        wrapping_method: method,
                        encryption_key_information: Some(information(&kek)),
                        mac_signature_key_information: None,
                        attribute_names: Vec::new(),
                        encoding_option: encoding,
                    }),
                    ..GetRequest::default()
                };
                let answer = server.ask(Version::V1_4, &request);
                let what = format!("{} {method} {encoding:?}", sample.format);
                if method != WrappingMethod::ENCRYPT {
                    let reason = answer.map(drop).unwrap_err();
                    assert_eq!(reason, ResultReason::FEATURE_NOT_SUPPORTED, "{what}");
                    continue;
                }
                if encoding == Some(EncodingOption(9)) {
                    let reason = answer.map(drop).unwrap_err();
                    assert_eq!(reason, ResultReason::ENCODING_OPTION_ERROR, "{what}");
                    continue;
                }
                let object = answer.unwrap().object;
                let block = object.key_block().unwrap();
                let Some(KeyValue::Wrapped(wrapped)) = &block.key_value else {
                    panic!("{what}: in the clear")
                };
                let plain = kw::unwrap(Wrapping::Kwp, &KEK, wrapped).unwrap();
                assert!(
                    plain.expose().ends_with(&sample.material)
                        || encoding.is_none_or(|e| e == EncodingOption::TTLV_ENCODING),
                    "{what}"
                );
                // What leaves wrapped comes back the same.
                let again = server.register(Version::V1_4, object, usage()).unwrap();
                assert_eq!(server.value(&again), sample.material, "{what}");
            }
        }
    }
}

#[test]
fn what_the_wrapping_data_ask_for_is_done_or_refused() {
    let server = Server::new();
    let attributes = usage().with(AttributeValue::ActivationDate(DateTime(1)));
    let kek = server
        .register(Version::V1_4, raw_key(&KEK), attributes)
        .unwrap();
    let case = Case {
        version: Version::V1_4,
        method: WrappingMethod::ENCRYPT,
        encoding: Some(EncodingOption::NO_ENCODING),
        in_structure: false,
        kek: Kek::Unwraps,
        way: Way::Register,
    };
    let sample = &samples()[0];
    let register = |change: &dyn Fn(&mut KeyBlock)| {
        let mut object = wrapped(&case, sample, &kek);
        if let ManagedObject::SymmetricKey(key) = &mut object {
            change(&mut key.key_block);
        }
        server.register(Version::V1_4, object, usage()).map(drop)
    };
    let data = |change: fn(&mut KeyWrappingData)| {
        register(&|block| change(block.key_wrapping_data.as_mut().unwrap()))
    };
    assert_eq!(register(&|_| {}), Ok(()));
    let with_iv = |iv: &'static [u8]| {
        register(&|block| {
            let data = block.key_wrapping_data.as_mut().unwrap();
            data.iv_counter_nonce = Some(iv.to_vec());
        })
    };
    assert_eq!(with_iv(&[0xA6, 0x59, 0x59, 0xA6]), Ok(()));
    assert_eq!(
        with_iv(&[1; 8]),
        Err(ResultReason::FEATURE_NOT_SUPPORTED),
        "another initial value"
    );
    assert_eq!(
        data(|data| data.mac_signature = Some(vec![1; 32])),
        Err(ResultReason::INVALID_FIELD),
        "a MAC that is not verified"
    );
    assert_eq!(
        register(&|block| block.key_wrapping_data = None),
        Err(ResultReason::INVALID_FIELD),
        "a Byte String without Key Wrapping Data"
    );
    assert_eq!(
        register(&|block| block.key_value = None),
        Err(ResultReason::INVALID_FIELD),
        "Key Wrapping Data without a Key Value"
    );
    // Triple DES keys have 24 bytes, as AES keys may have.
    let mut triple_des = raw_key(&[0x4b; 24]);
    if let ManagedObject::SymmetricKey(key) = &mut triple_des {
        key.key_block.cryptographic_algorithm = Some(CryptographicAlgorithm::TRIPLE_DES);
    }
    let attributes = usage().with(AttributeValue::ActivationDate(DateTime(1)));
    let other = server
        .register(Version::V1_4, triple_des, attributes)
        .unwrap();
    let own = server
        .register(Version::V1_4, raw_key(&[1; 32]), usage())
        .unwrap();
    assert_eq!(
        get(&server, Version::V1_4, &own, None, Some(&other)),
        Err(ResultReason::FEATURE_NOT_SUPPORTED)
    );
}

#[test]
fn a_key_that_stays_wrapped_is_protected_and_destroyed_like_others() {
    let server = Server::new();
    let kept = |more: AttributeValue, method| {
        let case = Case {
            version: Version::V1_4,
            method,
            encoding: Some(EncodingOption::NO_ENCODING),
            in_structure: true,
            kek: Kek::Elsewhere,
            way: Way::Register,
        };
        let object = wrapped(&case, &samples()[0], "a key of another server");
        server
            .register(Version::V1_4, object, usage().with(more))
            .unwrap()
    };
    let get = |uid: &str| get(&server, Version::V1_4, uid, None, None).map(drop);
    let sensitive = AttributeValue::Sensitive(true);
    let encrypted = kept(sensitive.clone(), WrappingMethod::ENCRYPT);
    assert_eq!(get(&encrypted), Ok(()));
    assert_eq!(
        get(&kept(sensitive, WrappingMethod::MAC_SIGN)),
        Err(ResultReason::SENSITIVE),
        "a MAC hides nothing"
    );
    let locked = kept(AttributeValue::Extractable(false), WrappingMethod::ENCRYPT);
    assert_eq!(get(&locked), Err(ResultReason::NOT_EXTRACTABLE));
    let open = kept(name("open"), WrappingMethod::ENCRYPT);
    assert_eq!(get(&open), Ok(()));
    let destroy = DestroyRequest {
        unique_identifier: id(&open),
    };
    server.ask(Version::V1_4, &destroy).unwrap();
    assert_eq!(get(&open), Err(ResultReason::ITEM_NOT_FOUND));
}

#[test]
fn a_version_that_has_no_field_for_the_wrapping_does_not_leave_it_out() {
    let server = Server::new();
    let kept = |encoding| {
        let case = Case {
            version: Version::V1_4,
            method: WrappingMethod::ENCRYPT,
            encoding,
            in_structure: false,
            kek: Kek::Elsewhere,
            way: Way::Register,
        };
        let object = wrapped(&case, &samples()[0], "a key of another server");
        server.register(Version::V1_4, object, usage()).unwrap()
    };
    let get = |uid: &str, version| get(&server, version, uid, None, None);
    // Absent means TTLV Encoding, which is all that 1.0 has.
    for encoding in [None, Some(EncodingOption::TTLV_ENCODING)] {
        let object = get(&kept(encoding), Version::V1_0).unwrap();
        let data = object.key_block().unwrap().key_wrapping_data.clone();
        assert_eq!(data.unwrap().encoding_option, None);
    }
    let bare = kept(Some(EncodingOption::NO_ENCODING));
    assert_eq!(
        get(&bare, Version::V1_0),
        Err(ResultReason::FEATURE_NOT_SUPPORTED)
    );
    let object = get(&bare, Version::V1_1).unwrap();
    let data = object.key_block().unwrap().key_wrapping_data.clone();
    let encoding = data.unwrap().encoding_option;
    assert_eq!(encoding, Some(EncodingOption::NO_ENCODING));
}
