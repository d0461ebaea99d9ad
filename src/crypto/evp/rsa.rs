//! The numbers of an RSA private key that follow from the others (SP 800-56B, appendix C; RFC 8017, 3.2).

use std::ptr;

use aws_lc_sys as sys;

use super::der::{Bn, Owned};
use super::pkey::RsaNumbers;
use super::{check, random};
use crate::ck;
use crate::error::{Error, Result};

/// Public exponents that are tried where none is given: those that anybody uses.
const EXPONENTS: [u32; 6] = [65537, 3, 17, 5, 7, 257];
/// Longest modulus and public exponent in bytes that the library takes.
const MODULUS_MAX: u32 = 16384 / 8;
const EXPONENT_MAX: u32 = 5;
/// How often a number is drawn that shows the primes with a probability of a half.
const DRAWS: usize = 128;

/// Completes the numbers of a private key, in PKCS#1's order and each empty where it is not known: modulus and private exponent
/// must be. `CKR_ATTRIBUTE_VALUE_INVALID` when they are not those of one key, `CKR_TEMPLATE_INCOMPLETE` when they are too few.
pub(in crate::crypto) fn complete(given: &[&[u8]; 8]) -> Result<RsaNumbers> {
    let [n, e, d, p, q, ..] = *given;
    if n.is_empty() || d.is_empty() {
        return Err(ck::CKR_TEMPLATE_INCOMPLETE.into());
    }
    let by = Arithmetic::new()?;
    let (n, d, e_len) = (Bn::new(n)?, Bn::new(d)?, by.len_of(&Bn::new(e)?));
    // An even modulus is no product of two odd primes, and the arithmetic below wants it odd.
    if !by.is_odd(&n)
        || by.len_of(&n) > MODULUS_MAX
        || by.len_of(&d) > by.len_of(&n)
        || e_len > EXPONENT_MAX
    {
        return Err(invalid());
    }
    let known = match (p, q) {
        ([], []) => None,
        (p, []) => Some((Bn::new(p)?, by.quotient(&n, &Bn::new(p)?)?)),
        ([], q) => Some((by.quotient(&n, &Bn::new(q)?)?, Bn::new(q)?)),
        (p, q) => Some((Bn::new(p)?, Bn::new(q)?)),
    };
    let e = match (e, &known) {
        ([], Some((p, _))) => by.inverse(&d, &by.less_one(p)?)?,
        ([], None) => by.exponent(&n, &d)?,
        (e, _) => Bn::new(e)?,
    };
    let (p, q) = match known {
        Some(primes) => primes,
        None => by.factors(&n, &e, &d)?,
    };
    let (dp, dq) = (
        by.rest(&d, &by.less_one(&p)?)?,
        by.rest(&d, &by.less_one(&q)?)?,
    );
    let qi = by.inverse(&q, &p)?;
    let all: RsaNumbers = [n, e, d, p, q, dp, dq, qi].map(|number| Bn::read(number.get()));
    let as_given = |(whole, part): (&Vec<u8>, &&[u8])| {
        part.is_empty() || whole[..] == part[part.iter().take_while(|b| **b == 0).count()..]
    };
    if all.iter().zip(given).all(as_given) {
        Ok(all)
    } else {
        Err(invalid())
    }
}

fn invalid() -> Error {
    ck::CKR_ATTRIBUTE_VALUE_INVALID.into()
}

/// Calculations with numbers that the library owns.
struct Arithmetic(Owned<sys::BN_CTX>);

impl Arithmetic {
    fn new() -> Result<Arithmetic> {
        // SAFETY: returns NULL or a context that we own from here on.
        Owned::new(unsafe { sys::BN_CTX_new() }, sys::BN_CTX_free).map(Arithmetic)
    }

    fn is_odd(&self, a: &Bn) -> bool {
        // SAFETY: a live number.
        unsafe { sys::BN_is_odd(a.get()) == 1 }
    }

    fn is_one(&self, a: &Bn) -> bool {
        // SAFETY: a live number.
        unsafe { sys::BN_is_one(a.get()) == 1 }
    }

    fn same(&self, a: &Bn, b: &Bn) -> bool {
        // SAFETY: live numbers.
        unsafe { sys::BN_cmp(a.get(), b.get()) == 0 }
    }

    /// Length in bytes.
    fn len_of(&self, a: &Bn) -> u32 {
        // SAFETY: a live number.
        unsafe { sys::BN_num_bytes(a.get()) }
    }

    fn less_one(&self, a: &Bn) -> Result<Bn> {
        let (one, out) = (Bn::new(&[1])?, Bn::new(&[])?);
        check(
            // SAFETY: live numbers, of which the first is written.
            unsafe { sys::BN_sub(out.get(), a.get(), one.get()) },
            ck::CKR_HOST_MEMORY,
        )?;
        Ok(out)
    }

    fn product(&self, a: &Bn, b: &Bn) -> Result<Bn> {
        let out = Bn::new(&[])?;
        check(
            // SAFETY: live numbers, of which the first is written, and a live context.
            unsafe { sys::BN_mul(out.get(), a.get(), b.get(), self.0.get()) },
            ck::CKR_HOST_MEMORY,
        )?;
        Ok(out)
    }

    /// a mod m.
    fn rest(&self, a: &Bn, m: &Bn) -> Result<Bn> {
        let out = Bn::new(&[])?;
        check(
            // SAFETY: as in `product`; a modulus of zero is refused.
            unsafe { sys::BN_nnmod(out.get(), a.get(), m.get(), self.0.get()) },
            ck::CKR_ATTRIBUTE_VALUE_INVALID,
        )?;
        Ok(out)
    }

    /// a / b, which must leave nothing over.
    fn quotient(&self, a: &Bn, b: &Bn) -> Result<Bn> {
        let (out, rest) = (Bn::new(&[])?, Bn::new(&[])?);
        // SAFETY: as in `product`, the first two are written; a divisor of zero is refused.
        let ok = unsafe { sys::BN_div(out.get(), rest.get(), a.get(), b.get(), self.0.get()) };
        check(ok, ck::CKR_ATTRIBUTE_VALUE_INVALID)?;
        // SAFETY: a live number.
        if unsafe { sys::BN_is_zero(rest.get()) } == 1 {
            Ok(out)
        } else {
            Err(invalid())
        }
    }

    /// 1/a mod m.
    fn inverse(&self, a: &Bn, m: &Bn) -> Result<Bn> {
        let out = Bn::new(&[])?;
        // SAFETY: as in `product`; NULL when there is none, else the first argument.
        let made = unsafe { sys::BN_mod_inverse(out.get(), a.get(), m.get(), self.0.get()) };
        check(i32::from(!made.is_null()), ck::CKR_ATTRIBUTE_VALUE_INVALID)?;
        Ok(out)
    }

    /// base^exponent mod m, in a time that does not tell the exponent; `m` is odd.
    fn power(&self, base: &Bn, exponent: &Bn, m: &Bn) -> Result<Bn> {
        let out = Bn::new(&[])?;
        // SAFETY: as in `product`; no prepared modulus.
        let ok = unsafe {
            sys::BN_mod_exp_mont_consttime(
                out.get(),
                base.get(),
                exponent.get(),
                m.get(),
                self.0.get(),
                ptr::null(),
            )
        };
        check(ok, ck::CKR_ATTRIBUTE_VALUE_INVALID)?;
        Ok(out)
    }

    /// The usual public exponent that undoes `d`.
    fn exponent(&self, n: &Bn, d: &Bn) -> Result<Bn> {
        for candidate in EXPONENTS {
            let e = Bn::new(&candidate.to_be_bytes())?;
            if self.belong(n, &e, d)? {
                return Ok(e);
            }
        }
        Err(ck::CKR_TEMPLATE_INCOMPLETE.into())
    }

    /// Whether `e` undoes `d`.
    fn belong(&self, n: &Bn, e: &Bn, d: &Bn) -> Result<bool> {
        let two = Bn::new(&[2])?;
        Ok(self.same(&self.power(&self.power(&two, d, n)?, e, n)?, &two))
    }

    /// The primes, the larger first: e·d - 1 is a multiple of the order of every number, and a number whose power is a root of 1 other
    /// than 1 and -1 shares a factor with `n`.
    fn factors(&self, n: &Bn, e: &Bn, d: &Bn) -> Result<(Bn, Bn)> {
        if !self.belong(n, e, d)? {
            return Err(invalid());
        }
        let multiple = self.less_one(&self.product(e, d)?)?;
        // SAFETY: a live number; how many zeros it ends with, 0 for zero itself.
        let halvings = unsafe { sys::BN_count_low_zero_bits(multiple.get()) };
        let odd = Bn::new(&[])?;
        check(
            // SAFETY: live numbers, of which the first is written.
            unsafe { sys::BN_rshift(odd.get(), multiple.get(), halvings) },
            ck::CKR_HOST_MEMORY,
        )?;
        let minus_one = self.less_one(n)?;
        for _ in 0..DRAWS {
            let mut draw = vec![0; self.len_of(n) as usize];
            random(&mut draw)?;
            let mut root = self.power(&self.rest(&Bn::new(&draw)?, n)?, &odd, n)?;
            for _ in 0..halvings {
                if self.is_one(&root) || self.same(&root, &minus_one) {
                    break;
                }
                let square = self.rest(&self.product(&root, &root)?, n)?;
                if self.is_one(&square) {
                    let p = Bn::new(&[])?;
                    let below = self.less_one(&root)?;
                    check(
                        // SAFETY: as in `product`.
                        unsafe { sys::BN_gcd(p.get(), below.get(), n.get(), self.0.get()) },
                        ck::CKR_HOST_MEMORY,
                    )?;
                    let q = self.quotient(n, &p)?;
                    // SAFETY: live numbers.
                    return Ok(if unsafe { sys::BN_cmp(p.get(), q.get()) } > 0 {
                        (p, q)
                    } else {
                        (q, p)
                    });
                }
                root = square;
            }
        }
        // A prime modulus has no factors.
        Err(invalid())
    }
}
