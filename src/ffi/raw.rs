//! Every raw pointer of the crate.
//!
//! A `C_*` shim turns its pointers into [`Ptr`]s; from there on all is safe Rust. NULL, odd addresses and absurd lengths are
//! normal input: values are copied in and out byte by byte, wherever they lie.
#![allow(
    unsafe_code,
    reason = "the one place where pointers of the host are followed"
)]

use std::ffi::c_void;
use std::marker::PhantomData;

use crate::ck::*;
use crate::error::{Error, Result};
use crate::process::InitArgs;
use crate::secret::reserve;

macro_rules! plain {
    ($($ty:ty),* $(,)?) => {$(
        // SAFETY: integers, arrays of integers and pointers only.
        unsafe impl Plain for $ty {}
    )*};
}

mod mechanism;
mod message;
mod output;
mod template;
#[cfg(test)]
mod tests;

pub use output::Buffer;

/// No buffer of a host is longer than the part of the address space that a process has; what is, is no length.
const LONGEST: usize = if cfg!(target_pointer_width = "64") {
    1 << 47
} else {
    isize::MAX as usize
};

/// The error as `rv`, unless it says that there is no memory.
fn unless_memory(error: Error, rv: CK_RV) -> Error {
    match error.rv() {
        CKR_HOST_MEMORY | CKR_DEVICE_MEMORY => error,
        _ => error.with_rv(rv),
    }
}

/// An argument of a `C_*` function on our side of the border; `C` is its type on the other.
pub trait Arg<C> {
    /// Takes the argument over.
    ///
    /// # Safety
    /// A pointer must be NULL, or follow the rules that PKCS#11 makes for that argument, for as long as the call lasts. It may
    /// lie at any address.
    unsafe fn from_c(value: C) -> Self;
}

macro_rules! by_value {
    ($($ty:ty),*) => {$(
        impl Arg<$ty> for $ty {
            unsafe fn from_c(value: $ty) -> $ty {
                value
            }
        }
    )*};
}

by_value!(CK_ULONG, CK_BBOOL, CK_NOTIFY);

impl<'a, T> Arg<*mut T> for Ptr<'a, T> {
    unsafe fn from_c(value: *mut T) -> Ptr<'a, T> {
        Ptr::new(value)
    }
}

/// A pointer of the host, good for one call. May be NULL and at any address.
///
/// Whoever makes one vouches for what [`Arg::from_c`] asks; only shims and the structures that pointers lead to do.
pub struct Ptr<'a, T> {
    at: *mut T,
    call: PhantomData<&'a T>,
}

impl<T> Clone for Ptr<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Ptr<'_, T> {}

/// Types of the standard that may have any bytes in them.
///
/// # Safety
/// Every bit pattern must be a value. (A callback that is not NULL is never called, only compared with NULL.)
unsafe trait Plain: Copy {}

plain!(
    CK_BYTE,
    CK_ULONG,
    CK_VERSION,
    CK_ATTRIBUTE,
    CK_MECHANISM,
    CK_C_INITIALIZE_ARGS,
    CK_INFO,
    CK_SLOT_INFO,
    CK_TOKEN_INFO,
    CK_MECHANISM_INFO,
    CK_SESSION_INFO,
    CK_INTERFACE,
    *mut CK_INTERFACE,
    *mut CK_FUNCTION_LIST,
);

impl<'a, T> Ptr<'a, T> {
    fn new(at: *mut T) -> Ptr<'a, T> {
        Ptr {
            at,
            call: PhantomData,
        }
    }

    /// True for NULL.
    pub fn is_null(self) -> bool {
        self.at.is_null()
    }

    /// The same address, seen as another type.
    fn cast<U>(self) -> Ptr<'a, U> {
        Ptr::new(self.at.cast())
    }

    /// `CKR_ARGUMENTS_BAD` for NULL: for arguments that are written to after work that cannot be undone.
    pub fn not_null(self) -> Result<Ptr<'a, T>> {
        if self.is_null() {
            Err(CKR_ARGUMENTS_BAD)?
        } else {
            Ok(self)
        }
    }
}

#[expect(private_bounds, reason = "which types are plain is decided here")]
impl<'a, T: Plain> Ptr<'a, T> {
    /// The value; `CKR_ARGUMENTS_BAD` for NULL.
    pub fn read(self) -> Result<T> {
        self.not_null()?;
        // SAFETY: not NULL, so the caller of the shim vouches for a readable T; any bytes are one, at any address.
        Ok(unsafe { self.at.read_unaligned() })
    }

    /// Writes the value; `CKR_ARGUMENTS_BAD` for NULL.
    pub fn write(self, value: T) -> Result<()> {
        self.not_null()?;
        // SAFETY: not NULL, so the caller of the shim vouches for room for a T; no reference of ours points there.
        unsafe { self.at.write_unaligned(value) };
        Ok(())
    }

    /// Element `index` of an array that was checked by [`Ptr::array`].
    fn element(self, index: usize) -> Ptr<'a, T> {
        Ptr::new(self.at.wrapping_add(index))
    }

    /// The number of elements of an array of the host: 0 to `max`, NULL only when there are none.
    fn array(self, count: CK_ULONG, max: usize) -> Result<usize> {
        match usize::try_from(count) {
            Ok(0) => Ok(0),
            Ok(count) if count <= max && !self.is_null() => Ok(count),
            _ => Err(CKR_ARGUMENTS_BAD)?,
        }
    }
}

impl<'a> Ptr<'a, CK_BYTE> {
    /// `len` bytes. NULL with length 0 is empty; NULL with another length, or a length that no memory has, is
    /// `CKR_ARGUMENTS_BAD`.
    pub fn bytes(self, len: CK_ULONG) -> Result<&'a [u8]> {
        let len = self.array(len, LONGEST)?;
        if len == 0 {
            return Ok(&[]);
        }
        // SAFETY: not NULL and at most LONGEST long, so the caller of the shim vouches for `len` readable bytes that
        // nobody changes during the call. Where output overlaps input, it is written after the last use of this slice.
        Ok(unsafe { std::slice::from_raw_parts(self.at, len) })
    }

    /// A copy of at most `max` bytes; `CKR_ARGUMENTS_BAD` for more, `CKR_HOST_MEMORY` without
    /// memory for it.
    fn copy(self, len: CK_ULONG, max: usize) -> Result<Vec<u8>> {
        self.array(len, max)?;
        reserve::copy(self.bytes(len)?)
    }

    /// The same for a PIN: NULL means "by the protected path".
    pub fn pin(self, len: CK_ULONG) -> Result<Option<&'a [u8]>> {
        if self.is_null() && len == 0 {
            Ok(None)
        } else {
            self.bytes(len).map(Some)
        }
    }

    /// Bytes of a field of fixed size.
    pub fn field<const N: usize>(self) -> Result<[u8; N]> {
        Ok(*self
            .not_null()?
            .bytes(N as CK_ULONG)?
            .first_chunk()
            .ok_or(CKR_ARGUMENTS_BAD)?)
    }

    /// True when the C string there is `text`. Reads no further than the first difference.
    pub fn is_text(self, text: &[u8]) -> bool {
        let mut expected = text.iter().chain(&[0]).enumerate();
        expected.all(|(i, byte)| self.element(i).read().is_ok_and(|read| read == *byte))
    }
}

impl Ptr<'_, c_void> {
    /// What `C_Initialize` was given; NULL is the default.
    pub fn init_args(self) -> Result<InitArgs> {
        if self.is_null() {
            return Ok(InitArgs::default());
        }
        let args = self.cast::<CK_C_INITIALIZE_ARGS>().read()?;
        let callbacks = [
            args.CreateMutex.is_some(),
            args.DestroyMutex.is_some(),
            args.LockMutex.is_some(),
            args.UnlockMutex.is_some(),
        ];
        Ok(InitArgs {
            flags: args.flags,
            callbacks: callbacks.into_iter().filter(|given| *given).count(),
            reserved: !args.pReserved.is_null(),
        })
    }
}
