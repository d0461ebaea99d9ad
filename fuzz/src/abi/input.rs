//! Choices out of bytes: the same bytes, the same choices; when they are used up, every choice is the first.

use std::any::Any;

use mrhsm_pkcs11::ck::CK_ULONG;

/// Lengths and numbers at which something changes.
const NUMBERS: &[CK_ULONG] = &[
    0,
    1,
    2,
    3,
    4,
    8,
    12,
    13,
    15,
    16,
    17,
    20,
    24,
    31,
    32,
    33,
    48,
    64,
    96,
    128,
    160,
    255,
    256,
    1024,
    2048,
    65537,
    1 << 31,
    1 << 32,
    CK_ULONG::MAX / 2,
    CK_ULONG::MAX - 7,
    CK_ULONG::MAX,
];

/// The bytes that are left.
pub struct Input<'a>(pub &'a [u8]);

impl Input<'_> {
    pub fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    /// A number below `end`, which is at most 65536.
    pub fn below(&mut self, end: usize) -> usize {
        let low = usize::from(self.byte());
        let high = if end > 256 {
            usize::from(self.byte()) << 8
        } else {
            0
        };
        (high | low) % end
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    pub fn number(&mut self) -> CK_ULONG {
        match self.below(4) {
            3 => self
                .bytes(8)
                .iter()
                .fold(0, |number, byte| number << 8 | CK_ULONG::from(*byte)),
            2 => self.byte().into(),
            _ => self.pick(NUMBERS),
        }
    }

    /// At most `most` bytes.
    pub fn bytes(&mut self, most: usize) -> Vec<u8> {
        let len = self.below(most + 1);
        let mut bytes: Vec<u8> = self.0.iter().take(len).copied().collect();
        self.0 = &self.0[bytes.len()..];
        bytes.resize(len, 0x5a);
        bytes
    }
}

/// Memory of the application that lives as long as one run. Each piece is allocated for itself, at its very size, so that
/// the address sanitizer sees who reads one byte too many.
#[derive(Default)]
pub struct Memory(Vec<Box<dyn Any>>);

impl Memory {
    /// Where the elements are from now on.
    pub fn array<T: 'static>(&mut self, elements: Vec<T>) -> *mut T {
        let mut elements = elements.into_boxed_slice();
        let at = elements.as_mut_ptr();
        self.0.push(Box::new(elements));
        at
    }

    /// Where `value` is from now on.
    pub fn value<T: 'static>(&mut self, value: T) -> *mut T {
        let mut value = Box::new(value);
        let at = &raw mut *value;
        self.0.push(value);
        at
    }

    /// Bytes with their length. Of the lies about a length only those are told that a module can see through: NULL with any
    /// length, and lengths that no memory has.
    pub fn sized(&mut self, input: &mut Input<'_>, most: usize) -> (*mut u8, CK_ULONG) {
        match input.below(16) {
            15 => (std::ptr::null_mut(), input.number()),
            14 => (
                self.array(vec![0; 8]),
                input.pick(&[CK_ULONG::MAX, CK_ULONG::MAX / 2 + 1]),
            ),
            13 => (std::ptr::null_mut(), 0),
            _ => {
                let bytes = input.bytes(most);
                let len = bytes.len() as CK_ULONG;
                (self.array(bytes), len)
            }
        }
    }
}
