//! PKCS#7 padding (RFC 5652, 6.3), taken off in a time that does not depend on the bytes.

use subtle::{ConstantTimeEq, ConstantTimeGreater, ConstantTimeLess};

/// The length of the padding in the last block of a message; `None` where it is wrong.
pub fn padding_len(last: &[u8]) -> Option<usize> {
    let len = *last.last()?;
    let block = u8::try_from(last.len()).ok()?;
    let mut right = len.ct_gt(&0) & !len.ct_gt(&block);
    for (i, byte) in (0..block).zip(last.iter().rev()) {
        right &= byte.ct_eq(&len) | !i.ct_lt(&len);
    }
    bool::from(right).then_some(usize::from(len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_the_padding_counts_and_no_other() {
        for block in [8, 16] {
            for len in 0..=255 {
                let mut last = vec![0; block];
                let from = block.saturating_sub(usize::from(len));
                last[from..].fill(len);
                let right = (1..=block).contains(&usize::from(len));
                if len == 0 {
                    assert_eq!(padding_len(&last), None);
                    continue;
                }
                assert_eq!(padding_len(&last), right.then_some(usize::from(len)));
                for i in (0..block).filter(|_| right) {
                    let mut changed = last.clone();
                    changed[i] ^= 0x80;
                    let counts = i >= from;
                    assert_eq!(padding_len(&changed).is_none(), counts, "{block} {len} {i}");
                }
            }
        }
        assert_eq!(padding_len(&[]), None);
    }
}
