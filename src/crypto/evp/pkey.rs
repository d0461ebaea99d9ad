//! Key pairs: RSA, elliptic curves, Ed25519 and X25519 (`EVP_PKEY`).

use std::ptr::{self, NonNull};

use aws_lc_sys as sys;

use super::der::{Bn, Owned, marshal, parse};
use super::{allocated, check, random};
use crate::ck;
use crate::crypto::Curve;
use crate::error::{Error, Result};
use crate::secret::Secret;

/// The library's number of a curve over a prime field.
fn nid(curve: Curve) -> Result<i32> {
    match curve {
        Curve::P224 => Ok(sys::NID_secp224r1),
        Curve::P256 => Ok(sys::NID_X9_62_prime256v1),
        Curve::P384 => Ok(sys::NID_secp384r1),
        Curve::P521 => Ok(sys::NID_secp521r1),
        Curve::Secp256k1 => Ok(sys::NID_secp256k1),
        Curve::Ed25519 | Curve::X25519 => Err(ck::CKR_CURVE_NOT_SUPPORTED.into()),
    }
}

/// The library's type of a key that is 32 bytes and nothing else.
fn raw_type(curve: Curve) -> Option<i32> {
    match curve {
        Curve::Ed25519 => Some(sys::EVP_PKEY_ED25519),
        Curve::X25519 => Some(sys::EVP_PKEY_X25519),
        _ => None,
    }
}

/// Type of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::crypto) enum Type {
    Rsa { bits: u32 },
    Ec(Curve),
}

/// The numbers of an RSA private key in PKCS#1's order: n, e, d, p, q, d mod (p-1), d mod (q-1), 1/q mod p.
pub(in crate::crypto) type RsaNumbers = [Vec<u8>; 8];

/// A key pair, or its public half.
pub(in crate::crypto) struct PKey(pub(super) NonNull<sys::EVP_PKEY>);

// SAFETY: the library documents that threads may share a key so long as none changes it, and nothing here changes one after
// it was made.
unsafe impl Send for PKey {}
// SAFETY: as above.
unsafe impl Sync for PKey {}

impl Drop for PKey {
    fn drop(&mut self) {
        // SAFETY: every constructor takes a reference of its own; the last one wipes the key.
        unsafe { sys::EVP_PKEY_free(self.0.as_ptr()) }
    }
}

/// Making and parsing.
impl PKey {
    pub(in crate::crypto) fn from_pkcs8(der: &[u8]) -> Result<PKey> {
        // SAFETY: `parse` hands a live reader; the result is NULL or a key that we own.
        PKey::taken(parse(
            der,
            |cbs| unsafe { sys::EVP_parse_private_key(cbs) },
            sys::EVP_PKEY_free,
        )?)
    }

    pub(in crate::crypto) fn from_spki(der: &[u8]) -> Result<PKey> {
        // SAFETY: `parse` hands a live reader; the result is NULL or a key that we own.
        PKey::taken(parse(
            der,
            |cbs| unsafe { sys::EVP_parse_public_key(cbs) },
            sys::EVP_PKEY_free,
        )?)
    }

    pub(in crate::crypto) fn from_pkcs1(der: &[u8], private: bool) -> Result<PKey> {
        let rsa = if private {
            parse(
                der,
                // SAFETY: `parse` hands a live reader; the result is NULL or a key that we own.
                |cbs| unsafe { sys::RSA_parse_private_key(cbs) },
                sys::RSA_free,
            )?
        } else {
            parse(
                der,
                // SAFETY: as above.
                |cbs| unsafe { sys::RSA_parse_public_key(cbs) },
                sys::RSA_free,
            )?
        };
        PKey::from_rsa(&rsa)
    }

    /// From SEC 1's ECPrivateKey, which may leave out the curve when the caller knows it.
    pub(in crate::crypto) fn from_sec1(der: &[u8], curve: Option<Curve>) -> Result<PKey> {
        let group = match curve {
            Some(curve) => PKey::group(curve)?.cast_const(),
            None => ptr::null(),
        };
        // SAFETY: `parse` hands a live reader; the group is NULL or a static one; the result is NULL or a key that we own.
        PKey::from_ec(&parse(
            der,
            |cbs| unsafe { sys::EC_KEY_parse_private_key(cbs, group) },
            sys::EC_KEY_free,
        )?)
    }

    pub(in crate::crypto) fn rsa_public(n: &[u8], e: &[u8]) -> Result<PKey> {
        let (n, e) = (Bn::new(n)?, Bn::new(e)?);
        // SAFETY: live numbers, which the library copies; the result is NULL or a key that we own.
        let rsa = Owned::new(
            unsafe { sys::RSA_new_public_key(n.get(), e.get()) },
            sys::RSA_free,
        );
        PKey::from_rsa(&rsa.map_err(|_| Error::from(ck::CKR_ATTRIBUTE_VALUE_INVALID))?)
    }

    pub(in crate::crypto) fn rsa_private(numbers: &[&[u8]; 8]) -> Result<PKey> {
        let mut bn = Vec::with_capacity(8);
        for number in numbers {
            bn.push(Bn::new(number)?);
        }
        let at = |i: usize| bn[i].get().cast_const();
        // SAFETY: live numbers, which the library copies and checks; the result is NULL or a key that we own.
        let rsa = unsafe {
            sys::RSA_new_private_key(at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7))
        };
        PKey::from_rsa(
            &Owned::new(rsa, sys::RSA_free)
                .map_err(|_| Error::from(ck::CKR_ATTRIBUTE_VALUE_INVALID))?,
        )
    }

    /// A public key from its point, compressed or not, or from the 32 bytes of an Edwards or Montgomery curve.
    pub(in crate::crypto) fn ec_public(curve: Curve, point: &[u8]) -> Result<PKey> {
        let invalid = ck::CKR_ATTRIBUTE_VALUE_INVALID;
        if let Some(kind) = raw_type(curve) {
            // SAFETY: pointer and length are one slice's; the result is NULL or a key that we own.
            let key = unsafe {
                sys::EVP_PKEY_new_raw_public_key(kind, ptr::null_mut(), point.as_ptr(), point.len())
            };
            return NonNull::new(key).map(PKey).ok_or_else(|| invalid.into());
        }
        let group = PKey::group(curve)?;
        // SAFETY: a static group; the point and the key are NULL or ours, and the library copies the point into the key.
        unsafe {
            let parsed = Owned::new(sys::EC_POINT_new(group), sys::EC_POINT_free)?;
            check(
                sys::EC_POINT_oct2point(
                    group,
                    parsed.get(),
                    point.as_ptr(),
                    point.len(),
                    ptr::null_mut(),
                ),
                invalid,
            )?;
            let key = Owned::new(sys::EC_KEY_new_by_curve_name(nid(curve)?), sys::EC_KEY_free)?;
            check(sys::EC_KEY_set_public_key(key.get(), parsed.get()), invalid)?;
            PKey::from_ec(&key)
        }
    }

    /// A key pair from its scalar, or from the 32 bytes of an Edwards or Montgomery curve.
    pub(in crate::crypto) fn ec_private(curve: Curve, scalar: &[u8]) -> Result<PKey> {
        let invalid = ck::CKR_ATTRIBUTE_VALUE_INVALID;
        if let Some(kind) = raw_type(curve) {
            // SAFETY: pointer and length are one slice's; the result is NULL or a key that we own.
            let key = unsafe {
                sys::EVP_PKEY_new_raw_private_key(
                    kind,
                    ptr::null_mut(),
                    scalar.as_ptr(),
                    scalar.len(),
                )
            };
            return NonNull::new(key).map(PKey).ok_or_else(|| invalid.into());
        }
        let (group, scalar) = (PKey::group(curve)?, Bn::new(scalar)?);
        let number = scalar.get();
        // SAFETY: a static group and a live number; point and key are NULL or ours, and the library copies into the key.
        // EC_KEY_set_private_key refuses a scalar outside the order before it is multiplied.
        unsafe {
            let key = Owned::new(sys::EC_KEY_new_by_curve_name(nid(curve)?), sys::EC_KEY_free)?;
            check(sys::EC_KEY_set_private_key(key.get(), number), invalid)?;
            let point = Owned::new(sys::EC_POINT_new(group), sys::EC_POINT_free)?;
            check(
                sys::EC_POINT_mul(
                    group,
                    point.get(),
                    number,
                    ptr::null(),
                    ptr::null(),
                    ptr::null_mut(),
                ),
                invalid,
            )?;
            check(sys::EC_KEY_set_public_key(key.get(), point.get()), invalid)?;
            check(sys::EC_KEY_check_key(key.get()), invalid)?;
            PKey::from_ec(&key)
        }
    }

    pub(in crate::crypto) fn generate_rsa(bits: u32, exponent: &[u8]) -> Result<PKey> {
        let exponent = Bn::new(exponent)?;
        // SAFETY: the key is NULL or ours; a live number; no callback.
        unsafe {
            let rsa = Owned::new(sys::RSA_new(), sys::RSA_free)?;
            let made =
                sys::RSA_generate_key_ex(rsa.get(), bits as i32, exponent.get(), ptr::null_mut());
            check(made, ck::CKR_ATTRIBUTE_VALUE_INVALID)?;
            PKey::from_rsa(&rsa)
        }
    }

    pub(in crate::crypto) fn generate_ec(curve: Curve) -> Result<PKey> {
        if raw_type(curve).is_some() {
            let mut seed = zeroize::Zeroizing::new([0; 32]);
            random(&mut *seed)?;
            return PKey::ec_private(curve, &*seed);
        }
        // SAFETY: the key is NULL or ours.
        unsafe {
            let key = Owned::new(sys::EC_KEY_new_by_curve_name(nid(curve)?), sys::EC_KEY_free)?;
            check(sys::EC_KEY_generate_key(key.get()), ck::CKR_FUNCTION_FAILED)?;
            PKey::from_ec(&key)
        }
    }

    /// Takes over the reference that `owned` holds.
    fn taken(owned: Owned<sys::EVP_PKEY>) -> Result<PKey> {
        let key = PKey(owned.into_inner());
        key.kind()?;
        Ok(key)
    }

    fn from_rsa(rsa: &Owned<sys::RSA>) -> Result<PKey> {
        // SAFETY: both are live; the library takes a reference of its own to the RSA key.
        let key = PKey(allocated(unsafe { sys::EVP_PKEY_new() })?);
        check(
            // SAFETY: as above.
            unsafe { sys::EVP_PKEY_set1_RSA(key.0.as_ptr(), rsa.get()) },
            ck::CKR_FUNCTION_FAILED,
        )?;
        Ok(key)
    }

    fn from_ec(ec: &Owned<sys::EC_KEY>) -> Result<PKey> {
        // SAFETY: both are live; the library takes a reference of its own to the EC key.
        let key = PKey(allocated(unsafe { sys::EVP_PKEY_new() })?);
        check(
            // SAFETY: as above.
            unsafe { sys::EVP_PKEY_set1_EC_KEY(key.0.as_ptr(), ec.get()) },
            ck::CKR_FUNCTION_FAILED,
        )?;
        key.kind()?;
        Ok(key)
    }

    /// The library's description of a curve; static, never freed.
    fn group(curve: Curve) -> Result<*mut sys::EC_GROUP> {
        // SAFETY: returns NULL or a static group.
        Ok(allocated(unsafe { sys::EC_GROUP_new_by_curve_name(nid(curve)?) })?.as_ptr())
    }
}

/// Reading and marshalling.
impl PKey {
    /// What it is; `CKR_KEY_TYPE_INCONSISTENT` for a type or curve that this crate does not use.
    pub(in crate::crypto) fn kind(&self) -> Result<Type> {
        // SAFETY: a live key.
        match unsafe { sys::EVP_PKEY_id(self.0.as_ptr()) } {
            sys::EVP_PKEY_RSA => Ok(Type::Rsa {
                // SAFETY: a live key.
                bits: unsafe { sys::EVP_PKEY_bits(self.0.as_ptr()) } as u32,
            }),
            sys::EVP_PKEY_ED25519 => Ok(Type::Ec(Curve::Ed25519)),
            sys::EVP_PKEY_X25519 => Ok(Type::Ec(Curve::X25519)),
            sys::EVP_PKEY_EC => {
                let (_, group) = self.ec()?;
                // SAFETY: the group belongs to the live key.
                let name = unsafe { sys::EC_GROUP_get_curve_name(group) };
                let curves = [
                    Curve::P224,
                    Curve::P256,
                    Curve::P384,
                    Curve::P521,
                    Curve::Secp256k1,
                ];
                let curve = curves
                    .into_iter()
                    .find(|&c| nid(c).is_ok_and(|n| n == name));
                curve
                    .map(Type::Ec)
                    .ok_or_else(|| ck::CKR_CURVE_NOT_SUPPORTED.into())
            }
            _ => Err(ck::CKR_KEY_TYPE_INCONSISTENT.into()),
        }
    }

    /// The EC key inside and its group; both live as long as `self`.
    fn ec(&self) -> Result<(*const sys::EC_KEY, *const sys::EC_GROUP)> {
        // SAFETY: a live key; NULL when it is of another type.
        let key = unsafe { sys::EVP_PKEY_get0_EC_KEY(self.0.as_ptr()) }.cast_const();
        if key.is_null() {
            return Err(ck::CKR_KEY_TYPE_INCONSISTENT.into());
        }
        // SAFETY: a live EC key, whose group is always set here.
        Ok((key, unsafe { sys::EC_KEY_get0_group(key) }))
    }

    /// The RSA key inside, which lives as long as `self`.
    fn rsa(&self) -> Result<*const sys::RSA> {
        // SAFETY: a live key; NULL when it is of another type.
        let key = unsafe { sys::EVP_PKEY_get0_RSA(self.0.as_ptr()) }.cast_const();
        if key.is_null() {
            Err(ck::CKR_KEY_TYPE_INCONSISTENT.into())
        } else {
            Ok(key)
        }
    }

    pub(in crate::crypto) fn to_pkcs8(&self) -> Result<Secret> {
        // SAFETY: `marshal` hands a live builder; a live key.
        marshal(|cbb| unsafe { sys::EVP_marshal_private_key(cbb, self.0.as_ptr()) })
            .map(Secret::new)
    }

    pub(in crate::crypto) fn to_spki(&self) -> Result<Vec<u8>> {
        // SAFETY: `marshal` hands a live builder; a live key.
        marshal(|cbb| unsafe { sys::EVP_marshal_public_key(cbb, self.0.as_ptr()) })
    }

    pub(in crate::crypto) fn to_pkcs1_private(&self) -> Result<Secret> {
        let rsa = self.rsa()?;
        // SAFETY: `marshal` hands a live builder; a live key.
        marshal(|cbb| unsafe { sys::RSA_marshal_private_key(cbb, rsa) }).map(Secret::new)
    }

    pub(in crate::crypto) fn to_pkcs1_public(&self) -> Result<Vec<u8>> {
        let rsa = self.rsa()?;
        // SAFETY: `marshal` hands a live builder; a live key.
        marshal(|cbb| unsafe { sys::RSA_marshal_public_key(cbb, rsa) })
    }

    pub(in crate::crypto) fn to_sec1(&self) -> Result<Secret> {
        let (ec, _) = self.ec()?;
        // SAFETY: `marshal` hands a live builder; a live key; no flags: curve and point are written.
        marshal(|cbb| unsafe { sys::EC_KEY_marshal_private_key(cbb, ec, 0) }).map(Secret::new)
    }

    /// True for an RSA private key of modulus and exponents alone, as some providers write them.
    pub(in crate::crypto) fn lacks_primes(&self) -> bool {
        // SAFETY: a live key; each returns NULL or a number that lives as long.
        self.rsa().is_ok_and(|rsa| unsafe {
            !sys::RSA_get0_d(rsa).is_null() && sys::RSA_get0_p(rsa).is_null()
        })
    }

    /// The numbers of an RSA key; those of the private half are empty in a public key.
    pub(in crate::crypto) fn rsa_numbers(&self) -> Result<RsaNumbers> {
        let rsa = self.rsa()?;
        // SAFETY: a live key; each returns NULL or a number that lives as long.
        let numbers = unsafe {
            [
                sys::RSA_get0_n(rsa),
                sys::RSA_get0_e(rsa),
                sys::RSA_get0_d(rsa),
                sys::RSA_get0_p(rsa),
                sys::RSA_get0_q(rsa),
                sys::RSA_get0_dmp1(rsa),
                sys::RSA_get0_dmq1(rsa),
                sys::RSA_get0_iqmp(rsa),
            ]
        };
        Ok(numbers.map(Bn::read))
    }

    /// The public point, uncompressed, or the 32 bytes of an Edwards or Montgomery curve.
    pub(in crate::crypto) fn ec_point(&self) -> Result<Vec<u8>> {
        let mut out = vec![0; 133];
        let len = match self.kind()? {
            Type::Ec(curve) if raw_type(curve).is_some() => {
                let mut len = out.len();
                // SAFETY: a live key; `len` is the buffer's and becomes what was written.
                let ok = unsafe {
                    sys::EVP_PKEY_get_raw_public_key(self.0.as_ptr(), out.as_mut_ptr(), &mut len)
                };
                check(ok, ck::CKR_FUNCTION_FAILED)?;
                len
            }
            _ => {
                let (ec, group) = self.ec()?;
                let form = sys::point_conversion_form_t::POINT_CONVERSION_UNCOMPRESSED;
                // SAFETY: point and group belong to the live key; `out` has room for the longest point, P-521's.
                unsafe {
                    let point = sys::EC_KEY_get0_public_key(ec);
                    if point.is_null() {
                        return Err(ck::CKR_FUNCTION_FAILED.into());
                    }
                    sys::EC_POINT_point2oct(
                        group,
                        point,
                        form,
                        out.as_mut_ptr(),
                        out.len(),
                        ptr::null_mut(),
                    )
                }
            }
        };
        out.truncate(len);
        Ok(out)
    }

    /// The private scalar, as long as the curve's order, or the 32 bytes of an Edwards or Montgomery curve.
    pub(in crate::crypto) fn ec_scalar(&self) -> Result<Secret> {
        if let Type::Ec(curve) = self.kind()?
            && raw_type(curve).is_some()
        {
            let (mut out, mut len) = (vec![0; 32], 32);
            // SAFETY: a live key; `len` is the buffer's.
            let ok = unsafe {
                sys::EVP_PKEY_get_raw_private_key(self.0.as_ptr(), out.as_mut_ptr(), &mut len)
            };
            check(ok, ck::CKR_KEY_TYPE_INCONSISTENT)?;
            return Ok(Secret::new(out));
        }
        let (ec, group) = self.ec()?;
        // SAFETY: a live key; NULL when there is no private half.
        let scalar = unsafe { sys::EC_KEY_get0_private_key(ec) };
        if scalar.is_null() {
            return Err(ck::CKR_KEY_TYPE_INCONSISTENT.into());
        }
        // SAFETY: the group belongs to the live key.
        let bits = unsafe { sys::EC_GROUP_order_bits(group) } as usize;
        Bn::read_padded(scalar, bits.div_ceil(8)).map(Secret::new)
    }
}
