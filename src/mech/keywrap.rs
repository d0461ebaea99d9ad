//! AES key wrapping in its three forms (PKCS#11 3.0, 2.14): of keys, and of data that are as short.

use std::sync::Arc;

use super::cipher::bad_len;
use super::table::Work;
use super::{Key, Mechanism, Params};
use crate::ck::*;
use crate::crypto::cipher::Direction;
use crate::crypto::kw;
use crate::crypto::padding::padding_len;
use crate::error::Result;
use crate::secret::Secret;
use crate::store::{Ability, Wrapping};
use crate::token::objects::Material;

/// Where an AES key encryption key is used.
pub(super) fn kek(
    work: Work,
    mechanism: &Mechanism,
    key: &Key,
    usage: CK_ATTRIBUTE_TYPE,
    ability: Option<Ability>,
) -> Result<Material> {
    if key.class() != CKO_SECRET_KEY || key.key_type() != CKK_AES {
        return Err(CKR_KEY_TYPE_INCONSISTENT.into());
    }
    key.check(mechanism.kind, usage)?;
    // The initial value may be given, and only the standard's own is supported (RFC 3394, RFC 5649).
    match &mechanism.params {
        Params::None => {}
        Params::Raw(iv) if work != Work::KeyWrapPad && *iv == [0xa6; 8] => {}
        Params::Raw(iv) if work == Work::KeyWrapPad && *iv == [0xa6, 0x59, 0x59, 0xa6] => {}
        _ => return Err(CKR_MECHANISM_PARAM_INVALID.into()),
    }
    key.material(mechanism.kind, ability)
}

/// A key under another.
pub(super) fn wrap(work: Work, kek: &[u8], value: &[u8]) -> Result<Vec<u8>> {
    match work {
        Work::KeyWrap => kw::wrap(Wrapping::Kw, kek, zero_filled(value, 8).expose()),
        Work::KeyWrapPad => kw::wrap(Wrapping::Kwp, kek, value),
        _ => {
            let fill = 8 - value.len() % 8;
            let padded = Secret::new([value, &vec![fill as u8; fill]].concat());
            kw::wrap(Wrapping::Kw, kek, padded.expose())
        }
    }
}

/// What [`wrap`] made a key of, with the zeros that it was filled up with.
pub(super) fn unwrap(work: Work, kek: &[u8], wrapped: &[u8]) -> Result<Secret> {
    match work {
        Work::KeyWrap => kw::unwrap(Wrapping::Kw, kek, wrapped),
        Work::KeyWrapPad => kw::unwrap(Wrapping::Kwp, kek, wrapped),
        _ => {
            let padded = kw::unwrap(Wrapping::Kw, kek, wrapped)?;
            let bytes = padded.expose();
            let fill = bytes
                .last_chunk::<8>()
                .and_then(|last| padding_len(last))
                .ok_or(CKR_WRAPPED_KEY_INVALID)?;
            Ok(Secret::new(bytes[..bytes.len() - fill].to_vec()))
        }
    }
}

/// A key in whole blocks: filled up with zeros, which the length of the unwrapped key takes off again.
pub(super) fn zero_filled(value: &[u8], block: usize) -> Secret {
    let len = value.len().next_multiple_of(block);
    // Room for all at once: a growing vector would leave a copy behind.
    let mut filled = Vec::with_capacity(len);
    filled.extend_from_slice(value);
    filled.resize(len, 0);
    Secret::new(filled)
}

/// The longest data that are encrypted so, in bytes: they are one block, which waits until it is whole.
const DATA_MAX: usize = 1 << 20;

/// Data encrypted or decrypted by key wrapping.
pub(super) struct DataWrap {
    work: Work,
    kek: Arc<Secret>,
    direction: Direction,
    /// Parts that wait for the end.
    held: Secret,
}

impl DataWrap {
    pub(super) fn new(
        direction: Direction,
        work: Work,
        mechanism: &Mechanism,
        key: &Key,
        usage: CK_ATTRIBUTE_TYPE,
    ) -> Result<DataWrap> {
        match kek(work, mechanism, key, usage, None)? {
            Material::Local(kek) => Ok(DataWrap {
                work,
                kek,
                direction,
                held: Secret::default(),
            }),
            Material::Remote(..) => Err(CKR_MECHANISM_INVALID.into()),
        }
    }

    /// Length of the result when `len` bytes come after those that wait, and whether it is that exactly.
    pub(super) fn whole_len(&self, len: usize) -> (usize, bool) {
        let len = self.held.len() + len;
        match (self.direction, self.work) {
            (Direction::Encrypt, Work::KeyWrapPkcs7) => (len / 8 * 8 + 16, true),
            (Direction::Encrypt, _) => (len.next_multiple_of(8) + 8, true),
            (Direction::Decrypt, work) => (len.saturating_sub(8), work == Work::KeyWrap),
        }
    }

    /// Takes a part.
    pub(super) fn take(&mut self, part: &[u8]) -> Result<()> {
        self.check_len(self.held.len() + part.len())?;
        self.held.extend(part)
    }

    fn check_len(&self, len: usize) -> Result<()> {
        let most = match self.direction {
            Direction::Encrypt => DATA_MAX,
            // With their padding and what proves them.
            Direction::Decrypt => DATA_MAX + 16,
        };
        if len <= most {
            Ok(())
        } else {
            Err(bad_len(self.direction))
        }
    }

    /// What came of all parts.
    pub(super) fn finish(&mut self) -> Result<Secret> {
        let held = std::mem::take(&mut self.held);
        self.run(held.expose())
    }

    /// What comes of these data.
    pub(super) fn run(&self, data: &[u8]) -> Result<Secret> {
        self.check_len(data.len())?;
        let kek = self.kek.expose();
        match (self.direction, self.work) {
            // Keys are filled up with zeros, data are not.
            (Direction::Encrypt, Work::KeyWrap) => {
                kw::wrap(Wrapping::Kw, kek, data).map(Secret::new)
            }
            (Direction::Encrypt, work) => wrap(work, kek, data).map(Secret::new),
            (Direction::Decrypt, work) => unwrap(work, kek, data).map_err(|e| match e.rv() {
                CKR_WRAPPED_KEY_LEN_RANGE => e.with_rv(CKR_ENCRYPTED_DATA_LEN_RANGE),
                _ => e.with_rv(CKR_ENCRYPTED_DATA_INVALID),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wrapping_undoes_itself_and_refuses_the_others() {
        let kek = [1; 32];
        let works = [Work::KeyWrap, Work::KeyWrapPad, Work::KeyWrapPkcs7];
        for (i, work) in works.into_iter().enumerate() {
            for len in [16, 24, 32, 40] {
                let wrapped = wrap(work, &kek, &vec![9; len]).unwrap();
                assert_eq!(unwrap(work, &kek, &wrapped).unwrap().expose(), vec![9; len]);
                assert!(unwrap(work, &[2; 32], &wrapped).is_err());
                if i == 1 {
                    assert!(unwrap(Work::KeyWrap, &kek, &wrapped).is_err());
                }
            }
        }
        assert!(wrap(Work::KeyWrap, &kek, &[9; 8]).is_err());
        let filled = wrap(Work::KeyWrap, &kek, &[9; 17]).unwrap();
        assert_eq!(
            unwrap(Work::KeyWrap, &kek, &filled).unwrap().expose(),
            [[9; 17].as_slice(), &[0; 7]].concat()
        );
        for work in &works[1..] {
            let wrapped = wrap(*work, &kek, &[9; 17]).unwrap();
            assert_eq!(unwrap(*work, &kek, &wrapped).unwrap().expose(), [9; 17]);
        }
        let plain = kw::wrap(Wrapping::Kw, &kek, &[9; 16]).unwrap();
        assert!(
            unwrap(Work::KeyWrapPkcs7, &kek, &plain).is_err(),
            "no padding there"
        );
    }
}
