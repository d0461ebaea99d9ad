//! Signatures, MACs and random bytes made by the server.
//!
//! Algorithm, hash, padding and signature algorithm are sent together: one server needs the padding, another looks only at the
//! signature algorithm (`kmip-map` §3.5). Whoever uses a signature verifies the first one of a kind, and has it asked for in
//! another form when it is wrong.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use serde::{Deserialize, Serialize};

use super::facts::{either, is_refusal};
use super::trial::Act;
use super::{KmipStore, same};
use super::{attrs, keys, terms};
use crate::ck::{
    CKR_ARGUMENTS_BAD, CKR_DATA_LEN_RANGE, CKR_KEY_TYPE_INCONSISTENT, CKR_MECHANISM_INVALID,
};
use crate::crypto::hash::digest;
use crate::crypto::pkey::ecdsa_from_der;
use crate::error::{Error, Result};
use crate::kmip::{
    BlockCipherMode, CryptographicAlgorithm, CryptographicParameters, DigitalSignatureAlgorithm,
    MacRequest, MacResponse, MaskGenerator, PaddingMethod, RngRetrieveRequest, SignRequest,
};
use crate::net::{Call, Transport};
use crate::secret::Secret;
use crate::store::{Ability, Algorithm, Correlation, Curve, Hash, Mac, Message, Signing, Uid};
use crate::version::Version;

/// Keys whose curve is remembered.
const REMEMBERED: usize = 4096;

/// Random bytes asked for in one request.
const RANDOM_CHUNK: usize = 4096;

/// How a signature is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SignForm {
    /// Digital Signature Algorithm is left out where it usually stands, and the other way round.
    renamed: bool,
    /// The message is sent although its digest could be.
    whole: bool,
}

impl SignForm {
    /// The form to try after this one.
    fn next(self, whole_possible: bool) -> Option<SignForm> {
        match self {
            SignForm {
                renamed: false,
                whole,
            } => Some(SignForm {
                renamed: true,
                whole,
            }),
            SignForm { whole: false, .. } if whole_possible => Some(SignForm {
                renamed: false,
                whole: true,
            }),
            SignForm { .. } => None,
        }
    }
}

impl<T: Transport> KmipStore<T> {
    pub(super) fn sign(
        &self,
        uid: &Uid,
        signing: Signing,
        message: Message<'_>,
    ) -> Result<Vec<u8>> {
        let call = self.client.call();
        let form = self.sign_form(signing, message);
        let outcome = match signing {
            Signing::RsaPss { .. } => either(&self.facts.plain_pss, |plain| {
                let name = (plain == form.renamed).then_some(DigitalSignatureAlgorithm::RSASSA_PSS);
                self.sign_digest(&call, uid, signing, name, form.whole, message)
            }),
            _ => {
                let name = signature_algorithm(signing).filter(|_| !form.renamed);
                self.sign_digest(&call, uid, signing, name, form.whole, message)
            }
        };
        self.note(Ability::Sign, &outcome);
        let signature = outcome.map_err(|e| self.explain(&call, uid, e, Ability::Sign))?;
        match signing {
            Signing::Ecdsa(_) => side_by_side(self.curve(&call, uid)?, signature),
            _ => Ok(signature),
        }
    }

    /// Takes over how signatures were asked for by earlier processes.
    pub(super) fn take_up_signing(&self, kept: BTreeMap<String, SignForm>) {
        self.kept_forms.get_or_init(|| kept);
    }

    /// How signatures are asked for, where not in the usual form.
    pub(super) fn signing_forms(&self) -> BTreeMap<String, SignForm> {
        let mut all = self.kept_forms.get().cloned().unwrap_or_default();
        let forms = self
            .sign_forms
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all.extend(
            forms
                .iter()
                .map(|(kind, form)| (format!("{kind:?}"), *form)),
        );
        all
    }

    fn sign_form(&self, signing: Signing, message: Message<'_>) -> SignForm {
        let forms = self
            .sign_forms
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let kind = (signing, is_whole(message));
        let kept = || {
            self.kept_forms
                .get()
                .and_then(|kept| kept.get(&format!("{kind:?}")).copied())
        };
        forms.get(&kind).copied().or_else(kept).unwrap_or_default()
    }

    pub(super) fn sign_otherwise(&self, signing: Signing, message: Message<'_>) -> bool {
        if signing == Signing::EdDsa {
            return false;
        }
        let next = self.sign_form(signing, message).next(is_whole(message));
        let mut forms = self
            .sign_forms
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if forms.len() >= REMEMBERED {
            forms.clear();
        }
        if let Some(form) = next {
            forms.insert((signing, is_whole(message)), form);
        }
        next.is_some()
    }

    /// The curve of a key, asked for once.
    fn curve(&self, call: &Call<'_, T>, uid: &Uid) -> Result<Curve> {
        if let Some(curve) = self
            .curves
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(uid)
        {
            return Ok(*curve);
        }
        let attributes = self.attributes(call, uid)?;
        let Some(Algorithm::Ec(curve)) =
            attrs::meta(&uid.0, &attributes).map(|meta| meta.algorithm)
        else {
            return Err(CKR_KEY_TYPE_INCONSISTENT.into());
        };
        self.remember_curve(uid, curve);
        Ok(curve)
    }

    /// Takes note of a key's curve.
    pub(super) fn remember_curve(&self, uid: &Uid, curve: Curve) {
        let mut map = self.curves.lock().unwrap_or_else(PoisonError::into_inner);
        if map.len() >= REMEMBERED {
            map.clear();
        }
        map.insert(uid.clone(), curve);
    }

    /// Signs a digest where the server can, since what is hashed there is not always hashed as asked; else the whole message.
    fn sign_digest(
        &self,
        call: &Call<'_, T>,
        uid: &Uid,
        signing: Signing,
        name: Option<DigitalSignatureAlgorithm>,
        send_whole: bool,
        message: Message<'_>,
    ) -> Result<Vec<u8>> {
        let request = |data: Option<&[u8]>, digest: Option<Vec<u8>>| -> Result<Vec<u8>> {
            let request = SignRequest {
                unique_identifier: Some(uid.0.as_str().into()),
                cryptographic_parameters: Some(parameters(signing, name, call.version()?)?),
                data: data.map(|data| Secret::new(data.to_vec())),
                digested_data: digest,
                ..SignRequest::default()
            };
            let answer = call.request(&request)?;
            same(uid, &answer.unique_identifier)?;
            let signature = answer.signature_data.unwrap_or_default();
            match signature.is_empty() {
                true => Err(Error::protocol("the KMIP server made no signature")),
                false => Ok(signature),
            }
        };
        let hash = match signing {
            Signing::RsaPkcs1(hash) | Signing::RsaPss { hash, .. } | Signing::Ecdsa(hash) => hash,
            Signing::EdDsa => {
                return match message {
                    Message::Whole(data) => request(Some(data), None),
                    Message::Digest(_) => Err(CKR_ARGUMENTS_BAD.into()),
                };
            }
        };
        let digests = call.version()? >= Version::V1_4;
        match message {
            Message::Digest(digest) if digest.len() != hash.output_len() => {
                Err(CKR_DATA_LEN_RANGE.into())
            }
            Message::Digest(digest) if digests && self.facts.digested.may() => {
                request(None, Some(digest.to_vec()))
            }
            Message::Digest(_) => Err(Error::from(CKR_MECHANISM_INVALID)
                .context("this KMIP server signs messages only, no digests")),
            Message::Whole(data) if digests && !send_whole => {
                either(&self.facts.digested, |digested| match digested {
                    true => request(None, Some(digest(hash, data)?)),
                    false => request(Some(data), None),
                })
            }
            Message::Whole(data) => request(Some(data), None),
        }
    }

    pub(super) fn mac(&self, uid: &Uid, mac: Mac, data: &[u8]) -> Result<Vec<u8>> {
        let call = self.client.call();
        self.check_act(&call, Act::Mac(mac))?;
        let outcome =
            mac_request(uid, mac, data, call.version()?).and_then(|request| call.request(&request));
        self.note(Ability::Mac, &outcome);
        self.mac_made(&call, uid, mac, outcome)
    }

    pub(super) fn mac_part(
        &self,
        uid: &Uid,
        mac: Mac,
        before: Option<&Correlation>,
        part: &[u8],
    ) -> Result<Correlation> {
        let call = self.client.call();
        if call.version()? < Version::V1_3 || !self.facts.parts.may() {
            return Err(CKR_MECHANISM_INVALID.into());
        }
        if before.is_none() {
            self.check_act(&call, Act::Mac(mac))?;
        }
        let request = MacRequest {
            correlation_value: before.map(|before| before.0.clone()),
            init_indicator: before.is_none().then_some(true),
            ..mac_request(uid, mac, part, call.version()?)?
        };
        match call.request_once(&request) {
            Ok(MacResponse {
                correlation_value: Some(correlation),
                unique_identifier,
                ..
            }) => {
                same(uid, &unique_identifier)?;
                self.facts.parts.learn(true);
                if before.is_none() {
                    // Before more is sent, while the message can still be authenticated here.
                    self.prove(&call, Act::Mac(mac))?;
                }
                Ok(Correlation(correlation))
            }
            // It took the part for the whole message.
            Ok(_) if before.is_none() => {
                self.facts.parts.learn(false);
                Err(CKR_MECHANISM_INVALID.into())
            }
            Ok(_) => Err(Error::protocol(
                "the KMIP server ended a message before its last part",
            )),
            Err(e) if before.is_none() && is_refusal(&e) => {
                // What is refused to a server that has taken parts before is the key or the algorithm.
                if self.facts.parts.known().is_none() {
                    self.facts.parts.learn(false);
                }
                Err(e.with_rv(CKR_MECHANISM_INVALID))
            }
            Err(e) => Err(self.explain(&call, uid, e, Ability::Mac)),
        }
    }

    pub(super) fn mac_last(
        &self,
        uid: &Uid,
        mac: Mac,
        before: &Correlation,
        part: &[u8],
    ) -> Result<Vec<u8>> {
        let call = self.client.call();
        let request = MacRequest {
            correlation_value: Some(before.0.clone()),
            final_indicator: Some(true),
            ..mac_request(uid, mac, part, call.version()?)?
        };
        let outcome = call.request_once(&request);
        self.mac_made(&call, uid, mac, outcome)
    }

    fn mac_made(
        &self,
        call: &Call<'_, T>,
        uid: &Uid,
        mac: Mac,
        outcome: Result<MacResponse>,
    ) -> Result<Vec<u8>> {
        let answer = outcome.map_err(|e| self.explain(call, uid, e, Ability::Mac))?;
        same(uid, &answer.unique_identifier)?;
        let (made, len) = (answer.mac_data.unwrap_or_default(), mac.output_len());
        match made.len() == len {
            true => self.prove(call, Act::Mac(mac)).map(|()| made),
            // One server makes another MAC when it does not know the one that was asked for.
            false => Err(Error::protocol(format!(
                "the KMIP server made a MAC of {} bytes instead of {len}",
                made.len()
            ))),
        }
    }

    pub(super) fn random(&self, len: usize) -> Result<Secret> {
        let call = self.client.call();
        let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(len));
        while bytes.len() < len {
            let wanted = (len - bytes.len()).min(RANDOM_CHUNK);
            let outcome = call.request(&RngRetrieveRequest {
                data_length: wanted as i32,
            });
            self.note(Ability::Random, &outcome);
            let got = outcome
                .map_err(|e| {
                    if is_refusal(&e) {
                        e.with_rv(crate::ck::CKR_RANDOM_NO_RNG)
                    } else {
                        e
                    }
                })?
                .data;
            if got.is_empty() {
                return Err(Error::protocol("the KMIP server gave no random bytes"));
            }
            bytes.extend_from_slice(&got.expose()[..got.len().min(wanted)]);
        }
        Ok(Secret::new(std::mem::take(&mut *bytes)))
    }
}

/// The request for a MAC. `CKR_MECHANISM_INVALID` where the version has no MAC, or not this one.
pub(super) fn mac_request(
    uid: &Uid,
    mac: Mac,
    data: &[u8],
    version: Version,
) -> Result<MacRequest> {
    if version < Version::V1_2 {
        return Err(CKR_MECHANISM_INVALID.into());
    }
    let mut p = CryptographicParameters::default();
    match mac {
        Mac::Hmac(hash) => {
            p.cryptographic_algorithm = Some(keys::hmac(hash).ok_or(CKR_MECHANISM_INVALID)?);
            p.hashing_algorithm = Some(keys::hash(hash));
        }
        Mac::Cmac(cipher) => {
            p.block_cipher_mode = Some(BlockCipherMode::CMAC);
            p.cryptographic_algorithm = terms::algorithm(cipher, 0, false);
        }
    }
    Ok(MacRequest {
        unique_identifier: Some(uid.0.as_str().into()),
        cryptographic_parameters: Some(p),
        data: Some(Secret::new(data.to_vec())),
        ..MacRequest::default()
    })
}

fn is_whole(message: Message<'_>) -> bool {
    matches!(message, Message::Whole(_))
}

/// r and s side by side. Most servers make DER, some this form already; a signature of its length that is also DER is taken for
/// DER, since one in some 2^40 of the others looks so.
fn side_by_side(curve: Curve, signature: Vec<u8>) -> Result<Vec<u8>> {
    match ecdsa_from_der(curve, &signature) {
        Ok(raw) => Ok(raw),
        Err(_) if signature.len() == 2 * terms::curve_bits(curve).div_ceil(8) as usize => {
            Ok(signature)
        }
        Err(e) => Err(
            Error::protocol("the KMIP server made an ECDSA signature in no known form").because(e),
        ),
    }
}

fn parameters(
    signing: Signing,
    name: Option<DigitalSignatureAlgorithm>,
    version: Version,
) -> Result<CryptographicParameters> {
    if version < Version::V1_2 {
        return Err(CKR_MECHANISM_INVALID.into());
    }
    let mut p = CryptographicParameters {
        digital_signature_algorithm: name,
        ..CryptographicParameters::default()
    };
    match signing {
        Signing::RsaPkcs1(hash) => {
            p.padding_method = Some(PaddingMethod::PKCS1_V1_5);
            p.hashing_algorithm = Some(keys::hash(hash));
            p.cryptographic_algorithm = Some(CryptographicAlgorithm::RSA);
        }
        Signing::RsaPss {
            hash,
            mgf,
            salt_len,
        } => {
            p.padding_method = Some(PaddingMethod::PSS);
            p.hashing_algorithm = Some(keys::hash(hash));
            p.cryptographic_algorithm = Some(CryptographicAlgorithm::RSA);
            if version >= Version::V1_4 {
                p.salt_length = Some(i32::try_from(salt_len).unwrap_or(i32::MAX));
                p.mask_generator = Some(MaskGenerator::MGF1);
                p.mask_generator_hashing_algorithm = Some(keys::hash(mgf));
            }
        }
        Signing::Ecdsa(hash) => {
            p.hashing_algorithm = Some(keys::hash(hash));
            p.cryptographic_algorithm = Some(CryptographicAlgorithm::ECDSA);
        }
        Signing::EdDsa => p.cryptographic_algorithm = Some(CryptographicAlgorithm::ED25519),
    }
    Ok(p)
}

/// The Digital Signature Algorithm of a signature; `None` where there is none, or where it is better left out.
fn signature_algorithm(signing: Signing) -> Option<DigitalSignatureAlgorithm> {
    use DigitalSignatureAlgorithm as D;
    match signing {
        Signing::RsaPkcs1(hash) => match hash {
            Hash::Sha1 => Some(D::SHA_1_WITH_RSA_ENCRYPTION),
            Hash::Sha224 => Some(D::SHA_224_WITH_RSA_ENCRYPTION),
            Hash::Sha256 => Some(D::SHA_256_WITH_RSA_ENCRYPTION),
            Hash::Sha384 => Some(D::SHA_384_WITH_RSA_ENCRYPTION),
            Hash::Sha512 => Some(D::SHA_512_WITH_RSA_ENCRYPTION),
            Hash::Sha3_256 => Some(D::SHA3_256_WITH_RSA_ENCRYPTION),
            Hash::Sha3_384 => Some(D::SHA3_384_WITH_RSA_ENCRYPTION),
            Hash::Sha3_512 => Some(D::SHA3_512_WITH_RSA_ENCRYPTION),
            _ => None,
        },
        Signing::Ecdsa(hash) => match hash {
            Hash::Sha1 => Some(D::ECDSA_WITH_SHA_1),
            Hash::Sha224 => Some(D::ECDSA_WITH_SHA224),
            Hash::Sha256 => Some(D::ECDSA_WITH_SHA256),
            Hash::Sha384 => Some(D::ECDSA_WITH_SHA384),
            Hash::Sha512 => Some(D::ECDSA_WITH_SHA512),
            _ => None,
        },
        Signing::RsaPss { .. } | Signing::EdDsa => None,
    }
}
