//! The one audited folder that calls AWS-LC's C interface (EVP): what the safe API of `aws-lc-rs` does not offer.
//!
//! Every pointer handed to C comes from a slice or a `Vec` whose length is handed over with it, every context is owned by one
//! Rust value whose `Drop` frees it (the library wipes keys and buffers when it frees a context), and every result is checked.
#![allow(unsafe_code, reason = "AWS-LC is a C library")]

mod cipher;
mod der;
mod digest;
pub(super) mod kdf;
mod mac;
mod pkey;
pub(super) mod rsa;
mod threads;
mod work;

use std::ptr::NonNull;

use aws_lc_sys as sys;

use super::Hash;
use crate::ck;
use crate::error::Result;

pub(super) use cipher::{Cipher, Kind, ccm, chacha20};
pub(super) use digest::Digest;
pub(super) use mac::{Cmac, Hmac};
pub(super) use pkey::{PKey, Type};
pub(super) use work::RsaPadding;

/// The largest piece handed to C at once: lengths are `int` there.
const PIECE: usize = 1 << 30;

/// `Ok` when C answered 1. The library's error queue belongs to the thread, so it is emptied, never read: the caller knows better.
fn check(result: i32, rv: ck::CK_RV) -> Result<()> {
    if result == 1 {
        return Ok(());
    }
    // SAFETY: no arguments; touches only this thread's error queue.
    unsafe { sys::ERR_clear_error() };
    Err(rv.into())
}

/// The value C allocated, or an error when it could not.
fn allocated<T>(pointer: *mut T) -> Result<NonNull<T>> {
    NonNull::new(pointer).ok_or_else(|| ck::CKR_HOST_MEMORY.into())
}

/// The library's description of a hash function.
fn md(hash: Hash) -> *const sys::EVP_MD {
    // SAFETY: no arguments; each returns a pointer to a static table.
    unsafe {
        match hash {
            Hash::Sha1 => sys::EVP_sha1(),
            Hash::Sha224 => sys::EVP_sha224(),
            Hash::Sha256 => sys::EVP_sha256(),
            Hash::Sha384 => sys::EVP_sha384(),
            Hash::Sha512 => sys::EVP_sha512(),
            Hash::Sha512_224 => sys::EVP_sha512_224(),
            Hash::Sha512_256 => sys::EVP_sha512_256(),
            Hash::Sha3_224 => sys::EVP_sha3_224(),
            Hash::Sha3_256 => sys::EVP_sha3_256(),
            Hash::Sha3_384 => sys::EVP_sha3_384(),
            Hash::Sha3_512 => sys::EVP_sha3_512(),
        }
    }
}

/// Fills `buffer` with random bytes.
pub(super) fn random(buffer: &mut [u8]) -> Result<()> {
    // SAFETY: pointer and length are one slice's. The generator notices a fork by itself.
    check(
        unsafe { sys::RAND_bytes(buffer.as_mut_ptr(), buffer.len()) },
        ck::CKR_RANDOM_NO_RNG,
    )
}
