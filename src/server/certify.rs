//! Certificates that are signed here (spec 1.4, 4.7 and 4.8).
//!
//! The authority is the client's own: a private key of its that may sign certificates and is linked to a certificate. Where it
//! has none, one is made. The authority of the server itself signs nothing here: who it certifies may connect, under any name.

use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DnType, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer, PrivatePkcs8KeyDer};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::X509Name;

use super::attributes::screen;
use super::certs::{AUTHORITY_DAYS, authority, dated};
use super::computed::{PARTS, of_certificate};
use super::context::Context;
use super::engine::Engine;
use super::identity::shown;
use super::keys::{Material, invalid};
use super::life::Purpose;
use super::lifecycle::spend;
use super::make::{
    describe, link, made_here, replaced, replacing, replacing_dates, still_unreplaced,
};
use super::objects::{Object, Outcome, Refusal, Search, Transaction, Value, now, reason};
use super::protection::protect_as;
use super::template::given;
use crate::crypto::Hash;
use crate::crypto::hash::digest;
use crate::crypto::pkey::{self, Kind, PublicKey, Scheme};
use crate::kmip::*;
use crate::ttlv::{DateTime, Tag, Value as Item};

/// How long a certificate is valid, in days.
const DAYS: u32 = 365;

/// The work of reading a request and signing a certificate.
const SIGNING: u64 = 20_000;

/// What a certificate shall say, and the SubjectPublicKeyInfo that it is for.
struct Wanted {
    params: CertificateParams,
    key: Vec<u8>,
}

fn failure(_: rcgen::Error) -> Refusal {
    Refusal::item(
        ResultReason::CRYPTOGRAPHIC_FAILURE,
        "the certificate cannot be signed",
    )
}

/// Answers Certify.
pub fn certify(
    engine: &Engine,
    context: &mut Context,
    request: CertifyRequest,
) -> Outcome<CertifyResponse> {
    let attributes = given(engine, context, request.template_attribute)?;
    let mut attributes = screen(&engine.personality, context.version, attributes)?;
    let asked = (
        request.certificate_request_type,
        request.certificate_request,
    );
    let asked = requested(
        engine,
        context,
        request.certificate_request_unique_identifier,
        asked,
    )?;
    let public = match (request.unique_identifier, &asked) {
        (None, Some(_)) => None,
        (uid, _) => Some(engine.resolve(context, uid)?),
    };
    let own_key = match public.as_ref().map(|public| &public.value) {
        Some(Value::Key(Material::Public(spki), _)) => Some(spki.expose()),
        Some(_) => return Err(invalid("only a public key is certified")),
        None => None,
    };
    let wanted = match (asked, own_key) {
        (Some(wanted), Some(own)) if wanted.key != own => {
            return Err(invalid_request(context, "the request is for another key"));
        }
        (Some(wanted), _) => wanted,
        (None, Some(own)) => Wanted {
            params: subject_of(&attributes)?,
            key: own.to_vec(),
        },
        (None, None) => return Err(invalid("neither a public key nor a request")),
    };
    let der = signed(engine, context, wanted)?;
    let certificate = certificate(context, &mut attributes, der);
    let certificate = context.change(engine, |transaction| {
        let mut certificate = certificate.clone();
        transaction.name(&engine.personality, &mut certificate)?;
        certify_key(
            transaction,
            &mut certificate,
            public.as_ref().map(|public| public.uid.as_str()),
        )?;
        transaction.put(&certificate)?;
        Ok(certificate)
    })?;
    Ok(CertifyResponse {
        unique_identifier: context.about(&certificate),
        template_attribute: None,
    })
}

/// Answers Re-certify: for the same key and name, unless a request says otherwise.
pub fn re_certify(
    engine: &Engine,
    context: &mut Context,
    request: ReCertifyRequest,
) -> Outcome<ReCertifyResponse> {
    let old = engine.resolve(context, request.unique_identifier)?;
    let Value::Certificate(CertificateType::X_509, old_der) = &old.value else {
        return Err(invalid("only an X.509 certificate is replaced"));
    };
    let attributes = given(engine, context, request.template_attribute)?;
    let attributes = screen(&engine.personality, context.version, attributes)?;
    let asked = (
        request.certificate_request_type,
        request.certificate_request,
    );
    let wanted = match requested(
        engine,
        context,
        request.certificate_request_unique_identifier,
        asked,
    )? {
        Some(wanted) => wanted,
        None => again(old_der)?,
    };
    let der = signed(engine, context, wanted)?;
    let mut attributes = replacing(&old, attributes);
    // What the old one said of itself is not true of the new one.
    let said: Vec<AttributeName> = of_certificate(old_der)
        .iter()
        .map(AttributeValue::name)
        .collect();
    attributes
        .0
        .retain(|attribute| !said.contains(&attribute.value.name()));
    let mut certificate = certificate(context, &mut attributes, der);
    replacing_dates(&mut certificate.dates, &old.dates, request.offset);
    protect_as(engine, &mut certificate, &old);
    let version = context.version;
    let certificate = context.change(engine, |transaction| {
        let before = &old;
        let (mut old, mut certificate) = (transaction.get(&before.uid)?, certificate.clone());
        still_unreplaced(version, before, &old)?;
        transaction.name_again(&engine.personality, &mut certificate)?;
        let public = old
            .attributes
            .linked(LinkType::PUBLIC_KEY_LINK)
            .map(str::to_owned);
        certify_key(transaction, &mut certificate, public.as_deref())?;
        replaced(engine, &mut old, &mut certificate);
        transaction.put(&certificate)?;
        transaction.put_changed(old)?;
        Ok(certificate)
    })?;
    Ok(ReCertifyResponse {
        unique_identifier: context.about(&certificate),
        template_attribute: None,
    })
}

/// The new certificate as an object.
fn certificate(context: &Context, attributes: &mut Attributes, der: Vec<u8>) -> Object {
    if attributes.certificate_type().is_none() {
        attributes.push(AttributeValue::CertificateType(CertificateType::X_509));
    }
    describe(attributes, &der);
    made_here(attributes);
    let value = Value::Certificate(CertificateType::X_509, der);
    Object::new(
        &context.caller,
        ObjectType::CERTIFICATE,
        value,
        std::mem::take(attributes),
    )
}

/// Links a certificate and its public key, which may be linked to one certificate.
fn certify_key(
    transaction: &mut Transaction<'_>,
    certificate: &mut Object,
    public: Option<&str>,
) -> Outcome<()> {
    let Some(public) = public else { return Ok(()) };
    let mut key = transaction.get(public)?;
    let to_certificate = |value: &AttributeValue| matches!(value, AttributeValue::Link(link) if link.link_type == LinkType::CERTIFICATE_LINK);
    key.attributes
        .0
        .retain(|attribute| !to_certificate(&attribute.value));
    link(
        &mut key.attributes,
        LinkType::CERTIFICATE_LINK,
        &certificate.uid,
    );
    link(
        &mut certificate.attributes,
        LinkType::PUBLIC_KEY_LINK,
        public,
    );
    transaction.put_changed(key)
}

fn invalid_request(context: &Context, why: &str) -> Refusal {
    let reason = reason(
        context.version,
        ResultReason::INVALID_FIELD,
        ResultReason::INVALID_CSR,
    );
    Refusal::item(reason, format!("the certificate request: {why}"))
}

/// What a certificate request asks for, once its signature has proven that who asks has the key.
fn requested(
    engine: &Engine,
    context: &Context,
    uid: Option<UniqueIdentifier>,
    inline: (Option<CertificateRequestType>, Option<Vec<u8>>),
) -> Outcome<Option<Wanted>> {
    let (request_type, bytes) = match (uid, inline) {
        (Some(uid), _) => match &engine.resolve(context, Some(uid))?.value {
            Value::Request(request_type, bytes) => (*request_type, bytes.clone()),
            _ => return Err(invalid("the object is no certificate request")),
        },
        (None, (request_type, Some(bytes))) => (
            request_type.unwrap_or(CertificateRequestType::PKCS_10),
            bytes,
        ),
        (None, (_, None)) => return Ok(None),
    };
    let unreadable = || invalid_request(context, "it cannot be parsed");
    let der = match request_type {
        CertificateRequestType::PKCS_10 => bytes,
        CertificateRequestType::PEM => CertificateSigningRequestDer::from_pem_slice(&bytes)
            .map_err(|_| unreadable())?
            .to_vec(),
        other => {
            return Err(Refusal::item(
                ResultReason::FEATURE_NOT_SUPPORTED,
                format!("{other} is not supported"),
            ));
        }
    };
    let (_, parsed) = X509CertificationRequest::from_der(&der).map_err(|_| unreadable())?;
    let key = parsed.certification_request_info.subject_pki.raw.to_vec();
    let signed_by = parsed.signature_algorithm.algorithm.to_id_string();
    let params = match signed_by.as_str() {
        SHA_1_WITH_RSA | SHA_1_WITH_ECDSA => proven_by_sha_1(context, &parsed)?,
        _ => {
            CertificateSigningRequestParams::from_der(&der.as_slice().into())
                .map_err(|_| {
                    invalid_request(context, "its signature or an extension is not valid")
                })?
                .params
        }
    };
    Ok(Some(Wanted { params, key }))
}

const SHA_1_WITH_RSA: &str = "1.2.840.113549.1.1.5";
const SHA_1_WITH_ECDSA: &str = "1.2.840.10045.4.1";

/// The content of a request that is signed with SHA-1, as those of old devices are. The signature
/// proves only that the client has the key: a collision of SHA-1 is of no use without it.
fn proven_by_sha_1(
    context: &Context,
    request: &X509CertificationRequest<'_>,
) -> Outcome<CertificateParams> {
    let info = &request.certification_request_info;
    let proven = || -> crate::error::Result<()> {
        let key = PublicKey::from_spki(info.subject_pki.raw)?;
        let digest = digest(Hash::Sha1, info.raw)?;
        let signature = request.signature_value.data.as_ref();
        match key.kind() {
            Kind::Rsa { .. } => key.verify(Scheme::RsaPkcs1(Hash::Sha1), &digest, signature),
            Kind::Ec(curve) => {
                let signature = pkey::ecdsa_from_der(curve, signature)?;
                key.verify(Scheme::Ecdsa, &digest, &signature)
            }
        }
    };
    proven().map_err(|_| invalid_request(context, "its signature is not valid"))?;
    let mut params = params(&info.subject)?;
    for extension in request.requested_extensions().into_iter().flatten() {
        if let ParsedExtension::SubjectAlternativeName(names) = extension {
            params.subject_alt_names = alternative_names(&names.general_names);
        }
    }
    Ok(params)
}

fn alternative_names(names: &[GeneralName<'_>]) -> Vec<SanType> {
    let known = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => (*name).try_into().ok().map(SanType::DnsName),
        GeneralName::RFC822Name(name) => (*name).try_into().ok().map(SanType::Rfc822Name),
        GeneralName::URI(name) => (*name).try_into().ok().map(SanType::URI),
        GeneralName::IPAddress([a, b, c, d]) => Some(SanType::IpAddress([*a, *b, *c, *d].into())),
        GeneralName::IPAddress(bytes) => <[u8; 16]>::try_from(*bytes)
            .ok()
            .map(|bytes| SanType::IpAddress(bytes.into())),
        _ => None,
    };
    names.iter().filter_map(known).collect()
}

/// A certificate's name, alternative names and key once more.
fn again(der: &[u8]) -> Outcome<Wanted> {
    let (_, old) =
        X509Certificate::from_der(der).map_err(|_| invalid("the certificate cannot be parsed"))?;
    let mut params = params(old.subject())?;
    let names = old.subject_alternative_name().ok().flatten();
    if let Some(names) = names {
        params.subject_alt_names = alternative_names(&names.value.general_names);
    }
    Ok(Wanted {
        params,
        key: old.public_key().raw.to_vec(),
    })
}

/// The name that attributes give, where there is no request: in DER (1.x), or in parts (2.x).
fn subject_of(attributes: &Attributes) -> Outcome<CertificateParams> {
    if let Some(subject) = attributes.x_509_certificate_subject() {
        let (_, name) = X509Name::from_der(&subject.subject_distinguished_name)
            .map_err(|_| invalid("the subject cannot be parsed"))?;
        return params(&name);
    }
    let mut params = empty()?;
    for value in attributes.iter() {
        if let AttributeValue::Other(tag, Item::Text(text)) = value
            && (Tag::CERTIFICATE_SUBJECT_CN..=Tag::CERTIFICATE_SUBJECT_DN_QUALIFIER).contains(tag)
            && let Some((oid, _)) = PARTS.get((tag.0 - Tag::CERTIFICATE_SUBJECT_CN.0) as usize)
        {
            params
                .distinguished_name
                .push(name_part(oid), text.as_str());
        }
    }
    match params.distinguished_name.iter().next() {
        Some(_) => Ok(params),
        None => Err(invalid(
            "whose certificate? There is neither a request nor a subject",
        )),
    }
}

fn empty() -> Outcome<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new()).map_err(failure)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    Ok(params)
}

fn params(name: &X509Name<'_>) -> Outcome<CertificateParams> {
    let mut params = empty()?;
    for part in name.iter_attributes() {
        let text = part
            .as_str()
            .map_err(|_| invalid("the subject cannot be parsed"))?;
        params
            .distinguished_name
            .push(name_part(&part.attr_type().to_id_string()), text);
    }
    Ok(params)
}

fn name_part(oid: &str) -> DnType {
    DnType::from_oid(
        &oid.split('.')
            .map_while(|number| number.parse().ok())
            .collect::<Vec<u64>>(),
    )
}

/// The certificate, signed.
fn signed(engine: &Engine, context: &Context, wanted: Wanted) -> Outcome<Vec<u8>> {
    let Wanted { mut params, key } = wanted;
    // Whoever is certified does not certify.
    params.is_ca = rcgen::IsCa::NoCa;
    params.key_usages.retain(|usage| {
        !matches!(
            usage,
            KeyUsagePurpose::KeyCertSign | KeyUsagePurpose::CrlSign
        )
    });
    params.use_authority_key_identifier_extension = true;
    dated(&mut params, DAYS)?;
    // What is signed is known only afterwards: of it the key is counted.
    let spki_len = key.len();
    let key = rcgen::SubjectPublicKeyInfo::from_der(&key).map_err(failure)?;
    let issuer = issuer(engine, context, spki_len)?;
    Ok(params
        .signed_by(&key, &issuer)
        .map_err(failure)?
        .der()
        .to_vec())
}

/// Whoever signs the client's certificates.
fn issuer(
    engine: &Engine,
    context: &Context,
    signed_len: usize,
) -> Outcome<Issuer<'static, KeyPair>> {
    let mut signs = |object: &Object| {
        Ok(object
            .usage()
            .contains(CryptographicUsageMask::CERTIFICATE_SIGN)
            && object
                .dates
                .allow(context.version, Purpose::Protect, false, now())
                .is_ok()
            && object
                .attributes
                .linked(LinkType::CERTIFICATE_LINK)
                .is_some())
    };
    context.meter.charge(SIGNING)?;
    let exact = vec![AttributeValue::ObjectType(ObjectType::PRIVATE_KEY)];
    let search = Search {
        exact,
        fits: Some(&mut signs),
        meter: Some(&context.meter),
        most: 1,
        ..Search::default()
    };
    let uid = match engine.objects.find(&context.caller, search)?.uids.pop() {
        Some(uid) => uid,
        None => make_issuer(engine, context)?,
    };
    let key = context.object(engine, &uid)?;
    let certificate = context.object(
        engine,
        key.attributes
            .linked(LinkType::CERTIFICATE_LINK)
            .unwrap_or_default(),
    )?;
    spend(engine, context, &key, signed_len, true)?;
    match (&key.value, &certificate.value) {
        (Value::Key(Material::Private(pkcs8), _), Value::Certificate(_, der)) => {
            let key =
                KeyPair::try_from(&PrivatePkcs8KeyDer::from(pkcs8.expose())).map_err(failure)?;
            Issuer::from_ca_cert_der(&CertificateDer::from(der.as_slice()), key).map_err(failure)
        }
        _ => Err(Refusal::item(
            ResultReason::CRYPTOGRAPHIC_FAILURE,
            "what would sign is no key with a certificate",
        )),
    }
}

/// An authority for a client that has none: a key that never leaves, and its certificate, which all may have.
fn make_issuer(engine: &Engine, context: &Context) -> Outcome<String> {
    let key = KeyPair::generate().map_err(failure)?;
    let mut params = authority(
        &format!("{} CA", shown(&context.caller.name).1),
        AUTHORITY_DAYS,
    )?;
    dated(&mut params, AUTHORITY_DAYS)?;
    let der = params.self_signed(&key).map_err(failure)?.der().to_vec();
    let certificate = certificate(context, &mut Attributes::new(), der);
    let mut attributes = Attributes::new()
        .with(AttributeValue::CryptographicAlgorithm(
            CryptographicAlgorithm::EC,
        ))
        .with(AttributeValue::CryptographicLength(256))
        .with(AttributeValue::CryptographicUsageMask(
            CryptographicUsageMask::CERTIFICATE_SIGN,
        ))
        .with(AttributeValue::Sensitive(true))
        .with(AttributeValue::Extractable(false))
        .with(AttributeValue::ActivationDate(DateTime(now())));
    made_here(&mut attributes);
    let value = Value::Key(
        Material::Private(key.serialize_der().into()),
        KeyFormatType::PKCS_8,
    );
    let private = Object::new(&context.caller, ObjectType::PRIVATE_KEY, value, attributes);
    context.change(engine, |transaction| {
        let (mut certificate, mut private) = (certificate.clone(), private.clone());
        let certificate_uid = transaction.name_again(&engine.personality, &mut certificate)?;
        let private_uid = transaction.name_again(&engine.personality, &mut private)?;
        link(
            &mut private.attributes,
            LinkType::CERTIFICATE_LINK,
            &certificate_uid,
        );
        link(
            &mut certificate.attributes,
            LinkType::PRIVATE_KEY_LINK,
            &private_uid,
        );
        transaction.put(&certificate)?;
        transaction.put(&private)?;
        Ok(private_uid)
    })
}
