//! The key derivation functions of SP 800-108, whose input an application composes of parts (PKCS#11 3.0, 2.42).

use super::derive::{Lookup, material, secret_key};
use super::mac::Code;
use super::params::{CounterFormat, PrfPart};
use super::table::{Work, entry};
use super::{Key, Mechanism, Params};
use crate::ck::*;
use crate::crypto::kdf::{self, Kbkdf, Piece};
use crate::error::{Error, Result};
use crate::secret::Secret;

/// Which of the functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the standard's")]
pub enum Kdf {
    Counter,
    Feedback,
    DoublePipeline,
}

/// Derives keys of `lens` bytes, and names the other keys that went into them.
pub(super) fn derive(
    kdf: Kdf,
    mechanism: &Mechanism,
    base: &Key,
    lens: &[usize],
    lookup: Lookup<'_>,
) -> Result<(Vec<Secret>, Vec<Key>)> {
    let Params::Sp800108 { prf, parts, iv, .. } = &mechanism.params else {
        return Err(invalid());
    };
    let prf = match entry(*prf).map(|e| e.work) {
        Ok(Work::Hmac(hash, false)) => Code::Hmac(hash),
        Ok(Work::Cmac(cipher, false)) => Code::Cmac(cipher),
        _ => return Err(invalid()),
    };
    if !prf.fits(base.key_type()) {
        return Err(CKR_KEY_TYPE_INCONSISTENT.into());
    }
    let total = Lengths::of(lens, prf.len())?;
    let (mut input, mut others) = (Input::default(), Vec::new());
    for part in parts {
        match part {
            PrfPart::Key(handle) => {
                let other = lookup(*handle)?;
                secret_key(&other)?;
                other.check(mechanism.kind, CKA_DERIVE)?;
                // A holder of the base key inverts the block cipher and recovers its input.
                if matches!(prf, Code::Cmac(_)) {
                    other.check_exposed()?;
                }
                input
                    .owned
                    .push(Part::Bytes(material(mechanism, &other)?.duplicate()));
                others.push(other);
            }
            part => input.take(kdf, part, &total)?,
        }
    }
    let pieces = input.pieces()?;
    let mode = match kdf {
        Kdf::Counter => Kbkdf::Counter,
        Kdf::Feedback => Kbkdf::Feedback(iv),
        Kdf::DoublePipeline => Kbkdf::DoublePipeline,
    };
    let key = material(mechanism, base)?;
    let stream = kdf::kbkdf(
        || prf.local(key.expose(), &[]),
        mode,
        &pieces,
        total.segments,
    )?;
    // Each key begins with a block of its own.
    let mut rest = stream.expose();
    let keys = lens.iter().map(|len| {
        let (segments, more) = rest.split_at(len.next_multiple_of(prf.len()).min(rest.len()));
        rest = more;
        Secret::new(segments[..*len].to_vec())
    });
    Ok((keys.collect(), others))
}

fn invalid() -> Error {
    CKR_MECHANISM_PARAM_INVALID.into()
}

/// How many bytes all keys have together, and the blocks that they are cut from.
struct Lengths {
    keys: usize,
    segments: usize,
}

impl Lengths {
    fn of(lens: &[usize], block: usize) -> Result<Lengths> {
        let sum = |each: &dyn Fn(usize) -> Option<usize>| {
            lens.iter()
                .try_fold(0usize, |sum, len| sum.checked_add(each(*len)?))
        };
        let keys = sum(&Some).ok_or(CKR_KEY_SIZE_RANGE)?;
        let segments = sum(&|len| len.checked_next_multiple_of(block)).ok_or(CKR_KEY_SIZE_RANGE)?;
        Ok(Lengths { keys, segments })
    }
}

/// The input of each block.
#[derive(Default)]
struct Input {
    owned: Vec<Part>,
    iterates: bool,
    counts: bool,
    measures: bool,
}

enum Part {
    Bytes(Secret),
    Counter(kdf::Counter),
    Iteration,
}

impl Input {
    /// The next part: exactly one says where the iteration variable goes, at most one where another counter, at most one where the length.
    fn take(&mut self, kdf: Kdf, part: &PrfPart, total: &Lengths) -> Result<()> {
        let first = |seen: &mut bool| {
            if std::mem::replace(seen, true) {
                Err(invalid())
            } else {
                Ok(())
            }
        };
        let part = match (part, kdf) {
            (PrfPart::Bytes(bytes), _) => Part::Bytes(Secret::new(bytes.clone())),
            (PrfPart::Iteration(Some(format)), Kdf::Counter) => {
                first(&mut self.iterates)?;
                Part::Counter(counter(*format)?)
            }
            (PrfPart::Iteration(None), Kdf::Feedback | Kdf::DoublePipeline) => {
                first(&mut self.iterates)?;
                Part::Iteration
            }
            (PrfPart::Counter(format), Kdf::Feedback | Kdf::DoublePipeline) => {
                first(&mut self.counts)?;
                Part::Counter(counter(*format)?)
            }
            (
                PrfPart::Length {
                    sum_of_segments,
                    format,
                },
                _,
            ) => {
                first(&mut self.measures)?;
                let bytes = if *sum_of_segments {
                    total.segments
                } else {
                    total.keys
                };
                Part::Bytes(Secret::new(
                    number(bytes as u64 * 8, *format).ok_or_else(invalid)?,
                ))
            }
            _ => return Err(invalid()),
        };
        self.owned.push(part);
        Ok(())
    }

    fn pieces(&self) -> Result<Vec<Piece<'_>>> {
        if !self.iterates {
            return Err(invalid());
        }
        let piece = |part| match part {
            &Part::Counter(counter) => Piece::Counter(counter),
            Part::Bytes(bytes) => Piece::Fixed(bytes.expose()),
            Part::Iteration => Piece::Iteration,
        };
        Ok(self.owned.iter().map(piece).collect())
    }
}

fn counter(format: CounterFormat) -> Result<kdf::Counter> {
    match format.bits {
        bits @ (8 | 16 | 24 | 32) => Ok(kdf::Counter {
            bits: bits as u32,
            little_endian: format.little_endian,
        }),
        _ => Err(invalid()),
    }
}

/// A number in this format, if that is whole bytes and holds it.
fn number(value: u64, format: CounterFormat) -> Option<Vec<u8>> {
    let bits = format.bits;
    if !matches!(bits, 8 | 16 | 24 | 32 | 40 | 48 | 56 | 64) || bits < 64 && value >> bits != 0 {
        return None;
    }
    let len = bits as usize / 8;
    Some(if format.little_endian {
        value.to_le_bytes()[..len].to_vec()
    } else {
        value.to_be_bytes()[8 - len..].to_vec()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(kdf: Kdf, parts: &[PrfPart]) -> Result<Input> {
        let mut input = Input::default();
        parts
            .iter()
            .try_for_each(|part| input.take(kdf, part, &Lengths::of(&[40], 32)?))?;
        input.pieces()?;
        Ok(input)
    }

    fn written(kdf: Kdf, parts: &[PrfPart]) -> String {
        let input = input(kdf, parts).unwrap();
        let text = |piece: &Piece<'_>| match piece {
            Piece::Fixed(bytes) => data_encoding::HEXLOWER.encode(bytes),
            Piece::Counter(counter) => format!("c{}", counter.bits),
            Piece::Iteration => "i".into(),
        };
        input
            .pieces()
            .unwrap()
            .iter()
            .map(text)
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn parts_come_in_any_order_but_each_as_often_as_the_mode_wants_it() {
        let format = |bits| CounterFormat {
            little_endian: false,
            bits,
        };
        let iteration = || PrfPart::Iteration(Some(format(8)));
        let fed_back = || PrfPart::Iteration(None);
        let counter = || PrfPart::Counter(format(16));
        let bytes = |text: &[u8]| PrfPart::Bytes(text.to_vec());
        let length = |sum_of_segments, format| PrfPart::Length {
            sum_of_segments,
            format,
        };
        let parts = [
            bytes(b"a"),
            iteration(),
            bytes(b"x"),
            length(false, format(32)),
        ];
        assert_eq!(written(Kdf::Counter, &parts), "61 c8 78 00000140");
        let parts = [
            bytes(b"a"),
            fed_back(),
            bytes(b"x"),
            length(false, format(32)),
        ];
        assert_eq!(written(Kdf::Feedback, &parts), "61 i 78 00000140");
        let little = CounterFormat {
            little_endian: true,
            bits: 16,
        };
        assert_eq!(
            written(Kdf::Counter, &[length(true, little), iteration()]),
            "0002 c8"
        );
        assert_eq!(
            written(Kdf::DoublePipeline, &[fed_back(), counter(), bytes(b"z")]),
            "i c16 7a"
        );
        for parts in [
            vec![],
            vec![bytes(b"x")],
            vec![iteration(), iteration()],
            vec![fed_back()],
            vec![iteration(), counter()],
            vec![
                iteration(),
                length(false, format(32)),
                length(false, format(32)),
            ],
            vec![iteration(), length(false, format(8))],
            vec![iteration(), length(false, format(12))],
            vec![PrfPart::Iteration(Some(format(64)))],
        ] {
            assert_eq!(
                input(Kdf::Counter, &parts).err().unwrap().rv(),
                CKR_MECHANISM_PARAM_INVALID,
                "{parts:?}"
            );
        }
        for parts in [
            vec![counter()],
            vec![iteration()],
            vec![fed_back(), counter(), counter()],
            vec![fed_back(), PrfPart::Counter(format(64))],
        ] {
            for kdf in [Kdf::Feedback, Kdf::DoublePipeline] {
                assert_eq!(
                    input(kdf, &parts).err().unwrap().rv(),
                    CKR_MECHANISM_PARAM_INVALID,
                    "{parts:?}"
                );
            }
        }
    }
}
