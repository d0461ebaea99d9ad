//! Sets of records' numbers, as the index keeps one for each tag: lists while they are short, bits when they are not, so that
//! what a hundred thousand records have in common is intersected and counted in microseconds.

/// A set of numbers.
#[derive(Clone, Debug)]
pub enum Numbers {
    /// In rising order.
    Few(Vec<u32>),
    /// One bit each.
    Many(Vec<u64>),
}

const BITS: usize = u64::BITS as usize;

impl Default for Numbers {
    fn default() -> Numbers {
        Numbers::Few(Vec::new())
    }
}

impl Numbers {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Numbers::Few(list) => list.len(),
            Numbers::Many(words) => words.iter().map(|word| word.count_ones() as usize).sum(),
        }
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        match self {
            Numbers::Few(list) => list.is_empty(),
            Numbers::Many(words) => words.iter().all(|word| *word == 0),
        }
    }

    /// Whether this number is among them.
    pub fn contains(&self, number: u32) -> bool {
        match self {
            Numbers::Few(list) => list.binary_search(&number).is_ok(),
            Numbers::Many(words) => words
                .get(number as usize / BITS)
                .is_some_and(|word| word >> (number as usize % BITS) & 1 == 1),
        }
    }

    /// Adds a number.
    pub fn insert(&mut self, number: u32) {
        match self {
            Numbers::Few(list) => {
                let Err(at) = list.binary_search(&number) else {
                    return;
                };
                list.insert(at, number);
                // Bits as soon as they take less room.
                if list.len() > 2 * (list[list.len() - 1] as usize / BITS + 1) {
                    let list = std::mem::take(list);
                    *self = Numbers::Many(Vec::new());
                    list.into_iter().for_each(|number| self.insert(number));
                }
            }
            Numbers::Many(words) => {
                let at = number as usize / BITS;
                if words.len() <= at {
                    words.resize(at + 1, 0);
                }
                words[at] |= 1 << (number as usize % BITS);
            }
        }
    }

    /// Takes a number away.
    pub fn remove(&mut self, number: u32) {
        match self {
            Numbers::Few(list) => {
                if let Ok(at) = list.binary_search(&number) {
                    list.remove(at);
                }
            }
            Numbers::Many(words) => {
                if let Some(word) = words.get_mut(number as usize / BITS) {
                    *word &= !(1 << (number as usize % BITS));
                }
            }
        }
    }

    /// Those that are in both.
    pub fn and(&self, other: &Numbers) -> Numbers {
        match (self, other) {
            (Numbers::Many(a), Numbers::Many(b)) => {
                Numbers::Many(a.iter().zip(b).map(|(a, b)| a & b).collect())
            }
            (Numbers::Few(few), set) | (set, Numbers::Few(few)) => Numbers::Few(
                few.iter()
                    .copied()
                    .filter(|number| set.contains(*number))
                    .collect(),
            ),
        }
    }

    /// Those that are in either.
    pub fn or(&self, other: &Numbers) -> Numbers {
        let (mut all, more) = match other {
            Numbers::Many(_) => (other.clone(), self),
            Numbers::Few(_) => (self.clone(), other),
        };
        match (&mut all, more) {
            (Numbers::Many(a), Numbers::Many(b)) => {
                a.resize(a.len().max(b.len()), 0);
                a.iter_mut().zip(b).for_each(|(a, b)| *a |= b);
            }
            (all, more) => more.iter().for_each(|number| all.insert(number)),
        }
        all
    }

    /// All of them, rising.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        let (list, words): (&[u32], &[u64]) = match self {
            Numbers::Few(list) => (list, &[]),
            Numbers::Many(words) => (&[], words),
        };
        list.iter().copied().chain(
            words
                .iter()
                .enumerate()
                .flat_map(|(at, word)| bits(at, *word)),
        )
    }

    /// The highest first: `most` of them after the first `offset`.
    pub fn page(&self, mut offset: usize, most: usize) -> Vec<u32> {
        match self {
            Numbers::Few(list) => list.iter().rev().skip(offset).take(most).copied().collect(),
            Numbers::Many(words) => {
                let mut page = Vec::new();
                for (at, word) in words.iter().enumerate().rev() {
                    let here = word.count_ones() as usize;
                    if offset >= here {
                        offset -= here;
                        continue;
                    }
                    let falling = bits(at, *word).collect::<Vec<u32>>().into_iter().rev();
                    page.extend(
                        falling
                            .skip(std::mem::take(&mut offset))
                            .take(most - page.len()),
                    );
                    if page.len() == most {
                        break;
                    }
                }
                page
            }
        }
    }
}

/// The numbers that a word of bits stands for.
fn bits(at: usize, word: u64) -> impl Iterator<Item = u32> {
    let rest = |word: &u64| Some(word & (word - 1)).filter(|word| *word != 0);
    let words = std::iter::successors(Some(word).filter(|word| *word != 0), rest);
    words.map(move |word| (at * BITS) as u32 + word.trailing_zeros())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn set(numbers: impl IntoIterator<Item = u32>) -> (Numbers, BTreeSet<u32>) {
        let (mut set, mut same) = (Numbers::default(), BTreeSet::new());
        for number in numbers {
            set.insert(number);
            same.insert(number);
        }
        (set, same)
    }

    #[test]
    fn lists_and_bits_are_the_same_sets() {
        let some = |step: usize, to| (0..to).step_by(step).map(|n| (n * 7919 % 10_007) as u32);
        let sets = [
            set([]),
            set([5]),
            set(some(1, 2000)),
            set(some(2, 9000)),
            set(some(700, 9000)),
            set(0..64),
            set([9_999]),
        ];
        assert!(sets.iter().any(|(set, _)| matches!(set, Numbers::Many(_))));
        assert!(
            sets.iter()
                .any(|(set, _)| matches!(set, Numbers::Few(list) if list.len() > 10))
        );
        for (a, same_a) in &sets {
            assert_eq!(
                a.iter().collect::<Vec<_>>(),
                same_a.iter().copied().collect::<Vec<_>>()
            );
            assert_eq!((a.len(), a.is_empty()), (same_a.len(), same_a.is_empty()));
            for (offset, most) in [
                (0, 0),
                (0, 3),
                (2, 5),
                (63, 130),
                (1000, usize::MAX),
                (0, usize::MAX),
            ] {
                let falling: Vec<u32> = same_a
                    .iter()
                    .rev()
                    .skip(offset)
                    .take(most)
                    .copied()
                    .collect();
                assert_eq!(a.page(offset, most), falling, "{offset}, {most}");
            }
            for (b, same_b) in &sets {
                assert_eq!(a.and(b).iter().collect::<BTreeSet<_>>(), same_a & same_b);
                assert_eq!(a.or(b).iter().collect::<BTreeSet<_>>(), same_a | same_b);
                let mut rest = a.clone();
                b.iter().for_each(|number| rest.remove(number));
                assert_eq!(rest.iter().collect::<BTreeSet<_>>(), same_a - same_b);
                assert!(
                    same_b
                        .iter()
                        .all(|number| !rest.contains(*number) && b.contains(*number))
                );
            }
        }
    }
}
