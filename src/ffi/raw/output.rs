//! Output: buffers by the two-call convention, lists, results.

use crate::ck::*;
use crate::error::Result;
use crate::mech::Output;
use crate::secret::Secret;

use super::{LONGEST, Plain, Ptr};

/// A buffer of the host for output, with the place where its length stands.
pub struct Buffer<'a> {
    data: Ptr<'a, CK_BYTE>,
    len: Ptr<'a, CK_ULONG>,
    room: Option<usize>,
}

impl<'a> Ptr<'a, CK_BYTE> {
    /// The buffer here, whose length stands at `len`. NULL asks for the length only; NULL for `len` is `CKR_ARGUMENTS_BAD`.
    pub fn buffer(self, len: Ptr<'a, CK_ULONG>) -> Result<Buffer<'a>> {
        let given = len.read()?;
        let room = (!self.is_null()).then_some(usize::try_from(given).unwrap_or(usize::MAX));
        Ok(Buffer {
            data: self,
            len,
            room,
        })
    }

    /// Writes `bytes`. The caller knows that there is room for them.
    pub(super) fn write_bytes(self, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.not_null()?;
        // SAFETY: not NULL, and the caller of the shim vouches for as much room as it said, which `bytes` fits in. `bytes`
        // is memory of ours, so the two do not overlap.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.at, bytes.len()) };
        Ok(())
    }

    /// Fills `len` bytes with what `make` makes of a length: a piece at a time, so that a length gone wrong costs no memory.
    pub fn fill(self, len: CK_ULONG, mut make: impl FnMut(usize) -> Result<Secret>) -> Result<()> {
        const PIECE: usize = 1 << 20;
        let len = self.array(len, LONGEST)?;
        for at in (0..len).step_by(PIECE) {
            self.element(at)
                .write_bytes(make(PIECE.min(len - at))?.expose())?;
        }
        Ok(())
    }
}

impl Buffer<'_> {
    /// How many bytes the caller has room for; `None` asks for the length.
    pub fn room(&self) -> Option<usize> {
        self.room
    }

    /// Writes the result and its length, or the length alone.
    pub fn put(self, output: Output) -> Result<()> {
        match output {
            Output::Length(len) => self.len.write(len as CK_ULONG),
            Output::TooSmall(len) => self.too_small(len),
            Output::Bytes(bytes) => match self.room {
                Some(room) if bytes.len() <= room => {
                    self.data.write_bytes(bytes.expose())?;
                    self.len.write(bytes.len() as CK_ULONG)
                }
                Some(_) => self.too_small(bytes.len()),
                None => self.len.write(bytes.len() as CK_ULONG),
            },
        }
    }

    fn too_small(self, len: usize) -> Result<()> {
        self.len.write(len as CK_ULONG)?;
        Err(CKR_BUFFER_TOO_SMALL)?
    }
}

#[expect(private_bounds, reason = "which types are plain is decided here")]
impl<T: Plain> Ptr<'_, T> {
    /// Writes a list by the convention of all lists: NULL asks for the number; too little room is `CKR_BUFFER_TOO_SMALL`;
    /// the number is written in each case.
    pub fn write_list(self, count: Ptr<'_, CK_ULONG>, items: &[T]) -> Result<()> {
        let room = count.read()?;
        count.write(items.len() as CK_ULONG)?;
        if self.is_null() {
            return Ok(());
        }
        if room < items.len() as CK_ULONG {
            Err(CKR_BUFFER_TOO_SMALL)?;
        }
        self.write_all(items)
    }

    /// Writes `items`. The caller knows that there is room for them.
    pub fn write_all(self, items: &[T]) -> Result<()> {
        items
            .iter()
            .enumerate()
            .try_for_each(|(i, item)| self.element(i).write(*item))
    }
}
