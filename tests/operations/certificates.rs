//! Certificates that the server signs, replaces and checks.

use mrhsm_pkcs11::crypto::pkey::{self, Scheme};
use mrhsm_pkcs11::crypto::{Curve, Hash, hash};
use mrhsm_pkcs11::ttlv::Interval;
use rcgen::{CertificateParams, DnType, KeyPair};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::*;

/// A request for a certificate, DER and PEM.
fn csr(key: &KeyPair) -> (Vec<u8>, String) {
    let mut params = CertificateParams::new(vec!["host.example".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "host");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let csr = params.serialize_request(key).unwrap();
    (csr.der().to_vec(), csr.pem().unwrap())
}

/// A structure of DER with this content.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = content.len();
    let head = match len {
        0..0x80 => vec![tag, len as u8],
        0x80..0x100 => vec![tag, 0x81, len as u8],
        _ => vec![tag, 0x82, (len >> 8) as u8, len as u8],
    };
    [head, content.to_vec()].concat()
}

/// The same request, signed with SHA-1 by `key`, whose algorithm has this identifier.
fn signed_with_sha_1(request: &[u8], key: &pkey::PrivateKey, algorithm: &[u8]) -> Vec<u8> {
    let (_, parsed) = X509CertificationRequest::from_der(request).unwrap();
    let info = parsed.certification_request_info.raw;
    let digest = hash::digest(Hash::Sha1, info).unwrap();
    let signature = match key.kind() {
        pkey::Kind::Rsa { .. } => key.sign(Scheme::RsaPkcs1(Hash::Sha1), &digest).unwrap(),
        pkey::Kind::Ec(_) => {
            pkey::ecdsa_to_der(&key.sign(Scheme::Ecdsa, &digest).unwrap()).unwrap()
        }
    };
    let signature = [&[0], &signature[..]].concat();
    let parts = [info.to_vec(), der(0x30, algorithm), der(0x03, &signature)];
    der(0x30, &parts.concat())
}

#[test]
fn a_request_signed_with_sha_1_is_certified() {
    const RSA: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5, 5, 0];
    const ECDSA: &[u8] = &[6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1];
    let server = Server::new();
    let certify = |request: Vec<u8>| {
        let request = CertifyRequest {
            certificate_request_type: Some(CertificateRequestType::PKCS_10),
            certificate_request: Some(request),
            ..CertifyRequest::default()
        };
        server.ask(Version::V1_2, &request)
    };
    for (key, algorithm) in [
        (pkey::PrivateKey::generate_rsa(2048, &[1, 0, 1]), RSA),
        (pkey::PrivateKey::generate_ec(Curve::P256), ECDSA),
    ] {
        let key = key.unwrap();
        let pkcs8 = key.to_pkcs8().unwrap();
        let pair = KeyPair::try_from(pkcs8.expose()).unwrap();
        let request = signed_with_sha_1(&csr(&pair).0, &key, algorithm);
        let uid = certify(request.clone()).unwrap().unique_identifier;
        let made = certificate(&server, &uid);
        let (_, made) = X509Certificate::from_der(&made).unwrap();
        let (spki, names) = (made.public_key().raw, made.subject_alternative_name());
        assert_eq!(spki, key.public().unwrap().to_spki().unwrap());
        assert_eq!(made.subject().to_string(), "CN=host");
        assert!(format!("{names:?}").contains("host.example"));
        assert!(!made.is_ca());
        // By another key it proves nothing.
        let other = match key.kind() {
            pkey::Kind::Rsa { .. } => pkey::PrivateKey::generate_rsa(2048, &[1, 0, 1]),
            pkey::Kind::Ec(curve) => pkey::PrivateKey::generate_ec(curve),
        };
        let forged = signed_with_sha_1(&request, &other.unwrap(), algorithm);
        assert_eq!(certify(forged).err(), Some(ResultReason::INVALID_FIELD));
    }
}

fn certificate(server: &Server, uid: &str) -> Vec<u8> {
    let request = GetRequest {
        unique_identifier: id(uid),
        ..GetRequest::default()
    };
    match server.ask(Version::V1_2, &request).unwrap().object {
        ManagedObject::Certificate(certificate) => certificate.certificate_value,
        other => panic!("{other:?}"),
    }
}

fn validity(server: &Server, uids: &[&str], date: Option<i64>) -> ValidityIndicator {
    let request = ValidateRequest {
        unique_identifiers: uids.iter().map(|uid| (*uid).into()).collect(),
        validity_date: date.map(DateTime),
        ..ValidateRequest::default()
    };
    server
        .ask(Version::V1_2, &request)
        .unwrap()
        .validity_indicator
}

/// The authority's certificate.
fn authority(server: &Server) -> String {
    let filter = AttributeValue::ObjectType(ObjectType::PRIVATE_KEY);
    let request = LocateRequest {
        attributes: Attributes::new().with(filter),
        ..LocateRequest::default()
    };
    let keys = server.locate(Version::V1_2, &request);
    let links: Vec<String> = keys
        .iter()
        .filter_map(|uid| {
            server
                .attributes(Version::V1_2, uid, &[Tag::LINK])
                .linked(LinkType::CERTIFICATE_LINK)
                .map(str::to_owned)
        })
        .collect();
    assert_eq!(links.len(), 1, "one authority");
    links[0].clone()
}

#[test]
fn a_request_becomes_a_certificate_of_the_clients_own_authority() {
    let server = Server::new();
    let key = KeyPair::generate().unwrap();
    let (der, pem) = csr(&key);
    let certify = |request_type, request: Vec<u8>| CertifyRequest {
        certificate_request_type: Some(request_type),
        certificate_request: Some(request),
        template_attribute: Some(Attributes::new().with(name("of the host")).into()),
        ..CertifyRequest::default()
    };
    let by_der = server
        .ask(
            Version::V1_2,
            &certify(CertificateRequestType::PKCS_10, der.clone()),
        )
        .unwrap()
        .unique_identifier;
    let by_pem = server
        .ask(
            Version::V2_1,
            &certify(CertificateRequestType::PEM, pem.into_bytes()),
        )
        .unwrap()
        .unique_identifier;
    let ca_uid = authority(&server);
    let ca_der = certificate(&server, &ca_uid);
    let (_, ca) = X509Certificate::from_der(&ca_der).unwrap();
    for uid in [&by_der, &by_pem] {
        let der = certificate(&server, uid);
        let (_, made) = X509Certificate::from_der(&der).unwrap();
        made.verify_signature(Some(ca.public_key())).unwrap();
        assert!(
            !made.is_ca(),
            "whoever asks to be an authority does not become one"
        );
        assert!(format!("{:?}", made.subject_alternative_name()).contains("host.example"));
        let all = server.attributes(Version::V1_2, uid, &[]);
        assert_eq!(all.names().collect::<Vec<_>>(), ["of the host"]);
        assert!(all.certificate_length().is_some() && all.x_509_certificate_subject().is_some());
        assert_eq!(
            validity(&server, &[uid, &ca_uid], None),
            ValidityIndicator::VALID
        );
        assert_eq!(validity(&server, &[uid], None), ValidityIndicator::UNKNOWN);
        assert_eq!(
            validity(&server, &[uid, &ca_uid], Some(1_000_000_000)),
            ValidityIndicator::INVALID
        );
    }
    // A request whose signature is wrong proves nothing.
    let mut forged = der;
    *forged.last_mut().unwrap() ^= 1;
    let refused = |version, request| {
        server
            .ask(version, &certify(CertificateRequestType::PKCS_10, request))
            .err()
    };
    assert_eq!(
        refused(Version::V1_4, forged.clone()),
        Some(ResultReason::INVALID_FIELD)
    );
    assert_eq!(
        refused(Version::V2_1, forged),
        Some(ResultReason::INVALID_CSR)
    );
    assert_eq!(
        refused(Version::V2_1, b"none".to_vec()),
        Some(ResultReason::INVALID_CSR)
    );
    let crmf = certify(CertificateRequestType::CRMF, Vec::new());
    assert_eq!(
        server.ask(Version::V1_2, &crmf).err(),
        Some(ResultReason::FEATURE_NOT_SUPPORTED)
    );
    // The authority's key stays; another client has another authority.
    let filter = AttributeValue::ObjectType(ObjectType::PRIVATE_KEY);
    let locate = LocateRequest {
        attributes: Attributes::new().with(filter),
        ..LocateRequest::default()
    };
    let get = GetRequest {
        unique_identifier: id(&server.locate(Version::V1_2, &locate)[0]),
        ..GetRequest::default()
    };
    assert_eq!(
        server.ask(Version::V1_4, &get).err(),
        Some(ResultReason::SENSITIVE)
    );
    let (der, _) = csr(&key);
    let other = server
        .ask_as(
            "other",
            Version::V1_2,
            &certify(CertificateRequestType::PKCS_10, der),
        )
        .unwrap()
        .unique_identifier;
    let get = GetRequest {
        unique_identifier: id(&other),
        ..GetRequest::default()
    };
    let ManagedObject::Certificate(theirs) =
        server.ask_as("other", Version::V1_2, &get).unwrap().object
    else {
        panic!()
    };
    let (_, theirs) = X509Certificate::from_der(&theirs.certificate_value).unwrap();
    assert!(theirs.verify_signature(Some(ca.public_key())).is_err());
}

#[test]
fn a_public_key_is_certified_and_its_certificate_replaced() {
    let server = Server::new();
    for (version, algorithm, bits) in [
        (Version::V1_2, CryptographicAlgorithm::RSA, 2048),
        (Version::V2_1, CryptographicAlgorithm::EC, 256),
    ] {
        let common = usage()
            .with(AttributeValue::CryptographicAlgorithm(algorithm))
            .with(AttributeValue::CryptographicLength(bits));
        let request = CreateKeyPairRequest {
            common: Some(common.into()),
            ..CreateKeyPairRequest::default()
        };
        let pair = server.ask(version, &request).unwrap();
        let public = pair.public_key_unique_identifier;
        let certify = |subject: Option<AttributeValue>| CertifyRequest {
            unique_identifier: id(&public),
            template_attribute: subject
                .map(|subject| Attributes::new().with(subject).with(name("served")).into()),
            ..CertifyRequest::default()
        };
        assert_eq!(
            server.ask(version, &certify(None)).err(),
            Some(ResultReason::INVALID_FIELD),
            "whose?"
        );
        let mut subject = CertificateParams::new(vec!["1.2.3.4".to_owned()]).unwrap();
        subject
            .distinguished_name
            .push(DnType::CommonName, "in parts");
        let der = subject
            .self_signed(&KeyPair::generate().unwrap())
            .unwrap()
            .der()
            .to_vec();
        let (_, parsed) = X509Certificate::from_der(&der).unwrap();
        let subject = match version.typed_attributes() {
            true => {
                AttributeValue::Other(Tag::CERTIFICATE_SUBJECT_CN, Value::Text("in parts".into()))
            }
            false => AttributeValue::X509CertificateSubject(X509CertificateSubject {
                subject_distinguished_name: parsed.subject().as_raw().to_vec(),
                subject_alternative_name: Vec::new(),
            }),
        };
        let uid = server
            .ask(version, &certify(Some(subject)))
            .unwrap()
            .unique_identifier;
        let linked = |uid: &str, link| {
            server
                .attributes(version, uid, &[Tag::LINK])
                .linked(link)
                .map(str::to_owned)
        };
        assert_eq!(
            linked(&uid, LinkType::PUBLIC_KEY_LINK).as_ref(),
            Some(&public)
        );
        assert_eq!(
            linked(&public, LinkType::CERTIFICATE_LINK).as_ref(),
            Some(&uid)
        );

        let again = ReCertifyRequest {
            unique_identifier: id(&uid),
            offset: Some(Interval(0)),
            ..ReCertifyRequest::default()
        };
        let new = server.ask(version, &again).unwrap().unique_identifier;
        let (old_der, new_der) = (certificate(&server, &uid), certificate(&server, &new));
        let (_, old) = X509Certificate::from_der(&old_der).unwrap();
        let (_, made) = X509Certificate::from_der(&new_der).unwrap();
        assert_eq!(
            (old.subject(), old.public_key().raw),
            (made.subject(), made.public_key().raw)
        );
        assert_ne!(old.raw_serial(), made.raw_serial());
        assert!(made.subject().to_string().contains("in parts"));
        assert_eq!(
            server
                .attributes(version, &new, &[])
                .names()
                .collect::<Vec<_>>(),
            ["served"]
        );
        assert_eq!(
            server.attributes(version, &uid, &[]).names().count(),
            0,
            "the name goes to the new one"
        );
        assert_eq!(
            linked(&uid, LinkType::REPLACEMENT_OBJECT_LINK).as_ref(),
            Some(&new)
        );
        assert_eq!(
            linked(&public, LinkType::CERTIFICATE_LINK).as_ref(),
            Some(&new)
        );
        let identifier = |uid: &str| {
            server
                .attributes(version, uid, &[])
                .x_509_certificate_identifier()
                .cloned()
        };
        assert_ne!(
            identifier(&uid),
            identifier(&new),
            "what a certificate says of itself is its own"
        );
        assert_eq!(
            validity(&server, &[&new, &authority(&server)], None),
            ValidityIndicator::VALID
        );
    }
}

#[test]
fn a_chain_with_a_wrong_link_is_invalid() {
    let server = Server::new();
    let (_, pem) = csr(&KeyPair::generate().unwrap());
    let request = CertifyRequest {
        certificate_request_type: Some(CertificateRequestType::PEM),
        certificate_request: Some(pem.into_bytes()),
        ..CertifyRequest::default()
    };
    let uid = server
        .ask(Version::V1_2, &request)
        .unwrap()
        .unique_identifier;
    let ca = certificate(&server, &authority(&server));
    let check = |values: &[&[u8]]| {
        let of = |value: &&[u8]| Certificate {
            certificate_type: CertificateType::X_509,
            certificate_value: value.to_vec(),
        };
        let request = ValidateRequest {
            certificates: values.iter().map(of).collect(),
            ..ValidateRequest::default()
        };
        server.ask(Version::V1_2, &request)
    };
    let leaf = certificate(&server, &uid);
    assert_eq!(
        check(&[&leaf, &ca]).unwrap().validity_indicator,
        ValidityIndicator::VALID
    );
    let mut forged = leaf.clone();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(
        check(&[&forged, &ca]).unwrap().validity_indicator,
        ValidityIndicator::INVALID
    );
    assert_eq!(
        check(&[b"none"]).unwrap().validity_indicator,
        ValidityIndicator::INVALID
    );
    assert_eq!(check(&[]).err(), Some(ResultReason::INVALID_FIELD));
    // A certificate of nobody's authority signs nothing, whatever its name.
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params
        .distinguished_name
        .push(DnType::CommonName, "one name");
    let key = KeyPair::generate().unwrap();
    let signer = params.self_signed(&key).unwrap().der().to_vec();
    let issuer = rcgen::Issuer::new(params, key);
    let mut leaf = CertificateParams::new(Vec::new()).unwrap();
    leaf.distinguished_name.push(DnType::CommonName, "another");
    let leaf = leaf
        .signed_by(&KeyPair::generate().unwrap(), &issuer)
        .unwrap()
        .der()
        .to_vec();
    assert_eq!(
        check(&[&leaf, &signer]).unwrap().validity_indicator,
        ValidityIndicator::INVALID
    );
}
