//! Key pairs: RSA (1024 to 16384 bits), the NIST curves, secp256k1, Ed25519 and X25519.
//!
//! A private key is PKCS#8 outside, a public key SubjectPublicKeyInfo; the other encodings that key managers and applications
//! use (PKCS#1, SEC 1, bare numbers and points) are translated here.

use std::fmt;
use std::sync::Arc;

use super::evp::{PKey, RsaPadding, Type, rsa};
use super::{Curve, Hash};
use crate::ck;
use crate::error::{Error, Result};
use crate::secret::Secret;

/// What a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// RSA with a modulus of so many bits.
    Rsa {
        /// Length of the modulus in bits.
        bits: u32,
    },
    /// A key on a curve.
    Ec(Curve),
}

/// How to sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// RSA PKCS#1 v1.5 over a digest of this hash.
    RsaPkcs1(Hash),
    /// RSA PKCS#1 v1.5 over bytes as they are, by custom a DigestInfo: at most 11 bytes less than the modulus.
    RsaPkcs1Raw,
    /// RSA without padding, over a number as long as the modulus.
    RsaRaw,
    /// RSA-PSS over a digest.
    RsaPss {
        /// Hash of the message.
        hash: Hash,
        /// Hash of the mask generation function.
        mgf: Hash,
        /// Length of the salt in bytes.
        salt_len: usize,
    },
    /// ECDSA over a digest of any hash; the signature is r and s side by side, each as long as the curve's order.
    Ecdsa,
    /// EdDSA over the message itself.
    EdDsa,
    /// Ed25519ctx (RFC 8032): over the message itself and a context, which is not empty.
    EdDsaContext(Context),
    /// Ed25519ph (RFC 8032): over the message's SHA-512 digest and a context.
    EdDsaPrehashed(Context),
}

/// The context of an EdDSA signature: at most 255 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    bytes: [u8; 255],
    len: u8,
}

impl Context {
    /// `CKR_MECHANISM_PARAM_INVALID` for more bytes than a context has.
    pub fn new(context: &[u8]) -> Result<Context> {
        let len = u8::try_from(context.len()).map_err(|_| ck::CKR_MECHANISM_PARAM_INVALID)?;
        let mut bytes = [0; 255];
        bytes[..context.len()].copy_from_slice(context);
        Ok(Context { bytes, len })
    }

    fn get(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// How to encrypt with RSA.
#[derive(Clone, Copy, Debug)]
pub enum Padding<'a> {
    /// PKCS#1 v1.5.
    Pkcs1,
    /// OAEP.
    Oaep {
        /// Hash of the label.
        hash: Hash,
        /// Hash of the mask generation function.
        mgf: Hash,
        /// Label.
        label: &'a [u8],
    },
    /// None: a number as long as the modulus.
    Raw,
}

/// The numbers of an RSA private key, big-endian without leading zeros. Empty ones are not known.
#[derive(Default)]
pub struct RsaParts {
    /// Modulus, n.
    pub modulus: Vec<u8>,
    /// Public exponent, e.
    pub public_exponent: Vec<u8>,
    /// Private exponent, d.
    pub private_exponent: Secret,
    /// First prime, p.
    pub prime_1: Secret,
    /// Second prime, q.
    pub prime_2: Secret,
    /// d mod (p - 1).
    pub exponent_1: Secret,
    /// d mod (q - 1).
    pub exponent_2: Secret,
    /// 1/q mod p.
    pub coefficient: Secret,
}

impl Scheme {
    /// The padding of an RSA scheme, `None` for ECDSA.
    fn padding(self) -> Option<RsaPadding<'static>> {
        match self {
            Scheme::RsaPkcs1(hash) => Some(RsaPadding::Pkcs1(Some(hash))),
            Scheme::RsaPkcs1Raw => Some(RsaPadding::Pkcs1(None)),
            Scheme::RsaRaw => Some(RsaPadding::None),
            Scheme::RsaPss {
                hash,
                mgf,
                salt_len,
            } => Some(RsaPadding::Pss {
                hash,
                mgf,
                salt_len: Some(salt_len),
            }),
            Scheme::Ecdsa | Scheme::EdDsa | Scheme::EdDsaContext(_) | Scheme::EdDsaPrehashed(_) => {
                None
            }
        }
    }

    /// Checks that a key of `kind` signs so.
    fn fits(self, kind: Kind) -> Result<()> {
        let fits = match kind {
            Kind::Rsa { .. } => self.padding().is_some(),
            Kind::Ec(Curve::Ed25519) => matches!(
                self,
                Scheme::EdDsa | Scheme::EdDsaContext(_) | Scheme::EdDsaPrehashed(_)
            ),
            Kind::Ec(Curve::X25519) => false,
            Kind::Ec(_) => self == Scheme::Ecdsa,
        };
        if fits {
            Ok(())
        } else {
            Err(ck::CKR_KEY_TYPE_INCONSISTENT.into())
        }
    }
}

impl<'a> From<Padding<'a>> for RsaPadding<'a> {
    fn from(padding: Padding<'a>) -> RsaPadding<'a> {
        match padding {
            Padding::Pkcs1 => RsaPadding::Pkcs1(None),
            Padding::Oaep { hash, mgf, label } => RsaPadding::Oaep { hash, mgf, label },
            Padding::Raw => RsaPadding::None,
        }
    }
}

fn kind(key: &PKey) -> Result<Kind> {
    Ok(match key.kind()? {
        Type::Rsa { bits } => Kind::Rsa { bits },
        Type::Ec(curve) => Kind::Ec(curve),
    })
}

/// The private half of a pair, which also knows the public one. A clone is the same key, not another copy of it.
#[derive(Clone)]
pub struct PrivateKey {
    key: Arc<PKey>,
    kind: Kind,
}

impl PrivateKey {
    fn new(key: PKey) -> Result<PrivateKey> {
        if key.lacks_primes() {
            let numbers = key.rsa_numbers()?.map(Secret::new);
            return PrivateKey::completed(&numbers.each_ref().map(Secret::expose));
        }
        let kind = kind(&key)?;
        Ok(PrivateKey {
            key: Arc::new(key),
            kind,
        })
    }

    /// A new RSA key pair with a modulus of `bits` (a multiple of 128, 1024 to 16384) and an odd `exponent`, big-endian.
    pub fn generate_rsa(bits: u32, exponent: &[u8]) -> Result<PrivateKey> {
        if !(1024..=16384).contains(&bits) || !bits.is_multiple_of(128) {
            return Err(ck::CKR_KEY_SIZE_RANGE.into());
        }
        PrivateKey::new(PKey::generate_rsa(bits, exponent)?)
    }

    /// A new key pair on a curve.
    pub fn generate_ec(curve: Curve) -> Result<PrivateKey> {
        PrivateKey::new(PKey::generate_ec(curve)?)
    }

    /// From PKCS#8, unencrypted. This and its siblings answer `CKR_ATTRIBUTE_VALUE_INVALID` for bytes that are no such key.
    pub fn from_pkcs8(der: &[u8]) -> Result<PrivateKey> {
        PrivateKey::new(PKey::from_pkcs8(der)?)
    }

    /// From PKCS#1's RSAPrivateKey.
    pub fn from_pkcs1(der: &[u8]) -> Result<PrivateKey> {
        PrivateKey::new(PKey::from_pkcs1(der, true)?)
    }

    /// From SEC 1's ECPrivateKey; `curve` where the encoding leaves it out.
    pub fn from_sec1(der: &[u8], curve: Option<Curve>) -> Result<PrivateKey> {
        PrivateKey::new(PKey::from_sec1(der, curve)?)
    }

    /// From the numbers of an RSA key: modulus and private exponent, and as many of the others as are known. What is missing is computed.
    ///
    /// `CKR_TEMPLATE_INCOMPLETE` for too few numbers: without modulus or private exponent, or where neither a prime nor the public
    /// exponent is known and that is none of the usual ones.
    pub fn from_rsa(parts: &RsaParts) -> Result<PrivateKey> {
        let given: [&[u8]; 8] = [
            &parts.modulus,
            &parts.public_exponent,
            parts.private_exponent.expose(),
            parts.prime_1.expose(),
            parts.prime_2.expose(),
            parts.exponent_1.expose(),
            parts.exponent_2.expose(),
            parts.coefficient.expose(),
        ];
        if given.iter().all(|number| !number.is_empty()) {
            return PrivateKey::new(PKey::rsa_private(&given)?);
        }
        PrivateKey::completed(&given)
    }

    fn completed(given: &[&[u8]; 8]) -> Result<PrivateKey> {
        let numbers = rsa::complete(given)?.map(Secret::new);
        PrivateKey::new(PKey::rsa_private(&numbers.each_ref().map(Secret::expose))?)
    }

    /// From the scalar of a key on a curve; the 32 bytes of RFC 8032 and RFC 7748 for Ed25519 and X25519.
    pub fn from_scalar(curve: Curve, scalar: &[u8]) -> Result<PrivateKey> {
        PrivateKey::new(PKey::ec_private(curve, scalar)?)
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// As PKCS#8, unencrypted.
    pub fn to_pkcs8(&self) -> Result<Secret> {
        self.key.to_pkcs8()
    }

    /// As PKCS#1's RSAPrivateKey.
    pub fn to_pkcs1(&self) -> Result<Secret> {
        self.key.to_pkcs1_private()
    }

    /// As SEC 1's ECPrivateKey.
    pub fn to_sec1(&self) -> Result<Secret> {
        self.key.to_sec1()
    }

    /// The numbers of an RSA key.
    pub fn rsa_parts(&self) -> Result<RsaParts> {
        let [modulus, public_exponent, d, p, q, dp, dq, qi] = self.key.rsa_numbers()?;
        Ok(RsaParts {
            modulus,
            public_exponent,
            private_exponent: d.into(),
            prime_1: p.into(),
            prime_2: q.into(),
            exponent_1: dp.into(),
            exponent_2: dq.into(),
            coefficient: qi.into(),
        })
    }

    /// The scalar of a key on a curve, in full length.
    pub fn scalar(&self) -> Result<Secret> {
        self.key.ec_scalar()
    }

    /// The public half.
    pub fn public(&self) -> Result<PublicKey> {
        PublicKey::from_spki(&self.key.to_spki()?)
    }

    /// Signs a digest, or what else `scheme` says. `CKR_DATA_LEN_RANGE` when its length does not fit.
    pub fn sign(&self, scheme: Scheme, data: &[u8]) -> Result<Vec<u8>> {
        scheme.fits(self.kind)?;
        match (scheme, self.kind) {
            (Scheme::EdDsa, _) => self.key.sign_message(data),
            (Scheme::EdDsaContext(context), _) => self.key.sign_ed25519(false, context.get(), data),
            (Scheme::EdDsaPrehashed(context), _) => {
                self.key.sign_ed25519(true, context.get(), data)
            }
            (Scheme::Ecdsa, Kind::Ec(curve)) => {
                PKey::ecdsa_from_der(&self.key.sign(None, data)?, curve.scalar_len())
            }
            _ => self.key.sign(scheme.padding(), data),
        }
    }

    /// Decrypts with RSA. `CKR_ENCRYPTED_DATA_INVALID` when length or padding are wrong.
    pub fn decrypt(&self, padding: Padding<'_>, data: &[u8]) -> Result<Secret> {
        self.key.decrypt(padding.into(), data)
    }

    /// The shared secret with the holder of another public key on the same curve: ECDH's x coordinate, or X25519.
    ///
    /// `point` may be compressed. `CKR_MECHANISM_PARAM_INVALID` when it is not on the curve.
    pub fn agree(&self, point: &[u8]) -> Result<Secret> {
        let Kind::Ec(curve) = self.kind else {
            return Err(ck::CKR_KEY_TYPE_INCONSISTENT.into());
        };
        let peer = PKey::ec_public(curve, point)
            .map_err(|_| Error::from(ck::CKR_MECHANISM_PARAM_INVALID))?;
        self.key.agree(&peer)
    }
}

/// The public half of a pair. A clone is the same key.
#[derive(Clone)]
pub struct PublicKey {
    key: Arc<PKey>,
    kind: Kind,
}

impl PublicKey {
    fn new(key: PKey) -> Result<PublicKey> {
        let kind = kind(&key)?;
        Ok(PublicKey {
            key: Arc::new(key),
            kind,
        })
    }

    /// From SubjectPublicKeyInfo. This and its siblings answer `CKR_ATTRIBUTE_VALUE_INVALID` for bytes that are no such key.
    pub fn from_spki(der: &[u8]) -> Result<PublicKey> {
        PublicKey::new(PKey::from_spki(der)?)
    }

    /// From PKCS#1's RSAPublicKey.
    pub fn from_pkcs1(der: &[u8]) -> Result<PublicKey> {
        PublicKey::new(PKey::from_pkcs1(der, false)?)
    }

    /// From modulus and exponent, big-endian.
    pub fn from_rsa(modulus: &[u8], exponent: &[u8]) -> Result<PublicKey> {
        PublicKey::new(PKey::rsa_public(modulus, exponent)?)
    }

    /// From a point, compressed or not; the 32 bytes of RFC 8032 and RFC 7748 for Ed25519 and X25519.
    pub fn from_point(curve: Curve, point: &[u8]) -> Result<PublicKey> {
        PublicKey::new(PKey::ec_public(curve, point)?)
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// As SubjectPublicKeyInfo.
    pub fn to_spki(&self) -> Result<Vec<u8>> {
        self.key.to_spki()
    }

    /// As PKCS#1's RSAPublicKey.
    pub fn to_pkcs1(&self) -> Result<Vec<u8>> {
        self.key.to_pkcs1_public()
    }

    /// Modulus and exponent of an RSA key, big-endian without leading zeros.
    pub fn rsa_parts(&self) -> Result<(Vec<u8>, Vec<u8>)> {
        let [modulus, exponent, ..] = self.key.rsa_numbers()?;
        Ok((modulus, exponent))
    }

    /// The point of a key on a curve, uncompressed; the 32 bytes of Ed25519 and X25519.
    pub fn point(&self) -> Result<Vec<u8>> {
        self.key.ec_point()
    }

    /// Checks a signature. `CKR_SIGNATURE_INVALID` when it is another's, `CKR_SIGNATURE_LEN_RANGE` when its length is impossible.
    pub fn verify(&self, scheme: Scheme, data: &[u8], signature: &[u8]) -> Result<()> {
        scheme.fits(self.kind)?;
        let len = match self.kind {
            Kind::Rsa { bits } => bits.div_ceil(8) as usize,
            Kind::Ec(curve) => 2 * curve.scalar_len(),
        };
        if signature.len() != len {
            return Err(ck::CKR_SIGNATURE_LEN_RANGE.into());
        }
        match scheme {
            Scheme::EdDsa => self.key.verify_message(data, signature),
            Scheme::EdDsaContext(context) => {
                self.key
                    .verify_ed25519(false, context.get(), data, signature)
            }
            Scheme::EdDsaPrehashed(context) => {
                self.key
                    .verify_ed25519(true, context.get(), data, signature)
            }
            Scheme::Ecdsa => self.key.verify(None, data, &PKey::ecdsa_to_der(signature)?),
            _ => self.key.verify(scheme.padding(), data, signature),
        }
    }

    /// Checks an RSA-PSS signature, as [`PublicKey::verify`] does, whatever the length of its salt.
    pub fn verify_any_salt(
        &self,
        hash: Hash,
        mgf: Hash,
        digest: &[u8],
        signature: &[u8],
    ) -> Result<()> {
        self.key.verify(
            Some(RsaPadding::Pss {
                hash,
                mgf,
                salt_len: None,
            }),
            digest,
            signature,
        )
    }

    /// What a signature of [`Scheme::RsaPkcs1Raw`] or [`Scheme::RsaRaw`] covers. `CKR_SIGNATURE_INVALID` when it is another's.
    pub fn recover(&self, scheme: Scheme, signature: &[u8]) -> Result<Vec<u8>> {
        match (scheme, self.kind) {
            (Scheme::RsaPkcs1Raw | Scheme::RsaRaw, Kind::Rsa { bits })
                if signature.len() != bits.div_ceil(8) as usize =>
            {
                Err(ck::CKR_SIGNATURE_LEN_RANGE.into())
            }
            (Scheme::RsaPkcs1Raw, Kind::Rsa { .. }) => {
                self.key.recover(RsaPadding::Pkcs1(None), signature)
            }
            (Scheme::RsaRaw, Kind::Rsa { .. }) => self.key.recover(RsaPadding::None, signature),
            _ => Err(ck::CKR_KEY_TYPE_INCONSISTENT.into()),
        }
    }

    /// Encrypts with RSA. `CKR_DATA_LEN_RANGE` when the data are too long for the padding.
    pub fn encrypt(&self, padding: Padding<'_>, data: &[u8]) -> Result<Vec<u8>> {
        self.key.encrypt(padding.into(), data)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<private key, {:?}>", self.kind)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<public key, {:?}>", self.kind)
    }
}

/// ECDSA's signature in DER, from r and s side by side.
pub fn ecdsa_to_der(raw: &[u8]) -> Result<Vec<u8>> {
    if raw.is_empty() || !raw.len().is_multiple_of(2) || raw.len() > 132 {
        return Err(ck::CKR_SIGNATURE_LEN_RANGE.into());
    }
    PKey::ecdsa_to_der(raw)
}

/// ECDSA's r and s side by side, each as long as the order of `curve`, from DER.
pub fn ecdsa_from_der(curve: Curve, der: &[u8]) -> Result<Vec<u8>> {
    PKey::ecdsa_from_der(der, curve.scalar_len())
        .map_err(|_| Error::from(ck::CKR_SIGNATURE_INVALID))
}

#[cfg(test)]
mod tests;
