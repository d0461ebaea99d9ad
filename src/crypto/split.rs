//! Secrets in parts: all of them by exclusive or, or some of them by Shamir's polynomials over GF(2^8) (KMIP 1.4, 2.2.5).

use super::rng;
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;

/// As many parts as a part's number has values.
pub const MOST_PARTS: usize = 255;

/// A part of a secret: its number, from 1, and its bytes.
pub type Part<'a> = (u8, &'a [u8]);

/// Parts that are all needed: their exclusive or is the secret.
pub fn by_xor(secret: &[u8], parts: usize) -> Result<Vec<Secret>> {
    let mut last = secret.to_vec();
    let mut all = Vec::with_capacity(parts);
    for _ in 1..parts {
        let part = rng::bytes(secret.len())?;
        last.iter_mut()
            .zip(part.expose())
            .for_each(|(last, byte)| *last ^= byte);
        all.push(part);
    }
    all.push(Secret::new(last));
    Ok(all)
}

/// The secret that all parts of [`by_xor`] make.
pub fn join_xor(parts: &[Part<'_>]) -> Result<Secret> {
    let len = same_length(parts)?;
    let mut joined = vec![0; len];
    for (_, part) in parts {
        joined
            .iter_mut()
            .zip(*part)
            .for_each(|(joined, byte)| *joined ^= byte);
    }
    Ok(Secret::new(joined))
}

/// Parts of which `threshold` make the secret. Part `x` has the values at `x` of one polynomial per byte, whose value at 0 is
/// that byte.
pub fn by_polynomial(secret: &[u8], parts: usize, threshold: usize) -> Result<Vec<Secret>> {
    let coefficients = (1..threshold)
        .map(|_| rng::bytes(secret.len()))
        .collect::<Result<Vec<_>>>()?;
    let part = |x: u8| {
        let at = |place: usize| {
            let high_to_low = coefficients
                .iter()
                .rev()
                .map(|c| c.expose()[place])
                .chain([secret[place]]);
            high_to_low.fold(0, |sum, coefficient| multiply(sum, x) ^ coefficient)
        };
        Secret::new((0..secret.len()).map(at).collect())
    };
    Ok((1..=parts.min(MOST_PARTS)).map(|x| part(x as u8)).collect())
}

/// The secret that enough parts of [`by_polynomial`] make: the polynomials' values at 0, by Lagrange. Too few parts make
/// something else, and nothing tells.
pub fn join_polynomial(parts: &[Part<'_>]) -> Result<Secret> {
    let len = same_length(parts)?;
    let mut joined = vec![0; len];
    for (at, (x, part)) in parts.iter().enumerate() {
        let others = parts
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != at)
            .map(|(_, (x, _))| *x);
        if *x == 0 || others.clone().any(|other| other == *x) {
            return Err(unfit("two parts have one number"));
        }
        // In this field minus is plus: x / (x - own) for every other x.
        let weight = others.fold(1, |weight, other| {
            multiply(weight, multiply(other, inverse(other ^ x)))
        });
        joined
            .iter_mut()
            .zip(*part)
            .for_each(|(joined, byte)| *joined ^= multiply(weight, *byte));
    }
    Ok(Secret::new(joined))
}

fn same_length(parts: &[Part<'_>]) -> Result<usize> {
    match parts {
        [(_, first), rest @ ..] if rest.iter().all(|(_, part)| part.len() == first.len()) => {
            Ok(first.len())
        }
        _ => Err(unfit("the parts are not of one length")),
    }
}

fn unfit(why: &str) -> Error {
    Error::new(Kind::Input, crate::ck::CKR_DATA_INVALID, why)
}

/// The product in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1, in the same time whatever the factors are.
fn multiply(mut a: u8, mut b: u8) -> u8 {
    let mut product = 0;
    for _ in 0..8 {
        product ^= a & (b & 1).wrapping_neg();
        a = a << 1 ^ 0x1B & (a >> 7).wrapping_neg();
        b >>= 1;
    }
    product
}

/// The inverse: the 254th power.
fn inverse(a: u8) -> u8 {
    let mut power = a;
    for _ in 0..6 {
        power = multiply(multiply(power, power), a);
    }
    multiply(power, power)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"0123456789abcdef";

    fn numbered(parts: &[Secret]) -> Vec<Part<'_>> {
        parts
            .iter()
            .enumerate()
            .map(|(at, part)| (at as u8 + 1, part.expose()))
            .collect()
    }

    #[test]
    fn the_field_is_that_of_aes() {
        // FIPS 197, 4.2: {57} times {83} is {C1}, times {13} is {FE}.
        assert_eq!(multiply(0x57, 0x83), 0xC1);
        assert_eq!(multiply(0x57, 0x13), 0xFE);
        assert!((1..=255).all(|a| multiply(a, inverse(a)) == 1));
    }

    #[test]
    fn all_parts_of_an_exclusive_or_are_needed() {
        let parts = by_xor(SECRET, 4).unwrap();
        assert_eq!(join_xor(&numbered(&parts)).unwrap().expose(), SECRET);
        assert_ne!(join_xor(&numbered(&parts)[1..]).unwrap().expose(), SECRET);
    }

    #[test]
    fn any_three_of_five_parts_are_enough_and_two_are_not() {
        let parts = by_polynomial(SECRET, 5, 3).unwrap();
        let all = numbered(&parts);
        for first in 0..5 {
            for second in first + 1..5 {
                assert_ne!(
                    join_polynomial(&[all[first], all[second]])
                        .unwrap()
                        .expose(),
                    SECRET
                );
                for third in second + 1..5 {
                    let joined = join_polynomial(&[all[third], all[first], all[second]]).unwrap();
                    assert_eq!(joined.expose(), SECRET);
                }
            }
        }
        assert_eq!(join_polynomial(&all).unwrap().expose(), SECRET);
        assert!(join_polynomial(&[all[0], all[0], all[1]]).is_err());
        assert!(join_polynomial(&[all[0], (2, b"short")]).is_err());
    }

    #[test]
    fn one_of_many_is_a_copy_and_255_parts_work() {
        assert!(
            by_polynomial(SECRET, 3, 1)
                .unwrap()
                .iter()
                .all(|part| part.expose() == SECRET)
        );
        let parts = by_polynomial(SECRET, MOST_PARTS, MOST_PARTS).unwrap();
        assert_eq!(join_polynomial(&numbered(&parts)).unwrap().expose(), SECRET);
    }
}
