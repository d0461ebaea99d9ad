//! Key derivation functions.

use zeroize::Zeroizing;

use super::hash::Digest;
use super::mac::Mac;
use super::{Hash, evp};
use crate::ck;
use crate::error::Result;
use crate::secret::Secret;

/// The most that a derivation gives: 64 KiB, far above any key.
const MOST: usize = 1 << 16;

/// HKDF-Extract (RFC 5869): a pseudorandom key as long as the hash. An empty `salt` is as many zeros.
pub fn hkdf_extract(hash: Hash, salt: &[u8], secret: &[u8]) -> Result<Secret> {
    evp::kdf::hkdf_extract(hash, salt, secret)
}

/// HKDF-Expand (RFC 5869): `len` bytes, at most 255 times the hash's length; else `CKR_KEY_SIZE_RANGE`.
pub fn hkdf_expand(hash: Hash, key: &[u8], info: &[u8], len: usize) -> Result<Secret> {
    evp::kdf::hkdf_expand(hash, key, info, checked(len)?)
}

/// HKDF, both steps.
pub fn hkdf(hash: Hash, salt: &[u8], secret: &[u8], info: &[u8], len: usize) -> Result<Secret> {
    hkdf_expand(hash, hkdf_extract(hash, salt, secret)?.expose(), info, len)
}

/// PBKDF2 with HMAC (RFC 8018). At least one iteration; else `CKR_MECHANISM_PARAM_INVALID`.
pub fn pbkdf2(
    hash: Hash,
    password: &[u8],
    salt: &[u8],
    iterations: u32,
    len: usize,
) -> Result<Secret> {
    if iterations == 0 {
        return Err(ck::CKR_MECHANISM_PARAM_INVALID.into());
    }
    evp::kdf::pbkdf2(hash, password, salt, iterations, checked(len)?)
}

/// The counter of SP 800-108's counter mode, as it stands in the input of each block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    /// Width in bits: 8, 16, 24 or 32.
    pub bits: u32,
    /// Least significant byte first.
    pub little_endian: bool,
}

impl Counter {
    /// The usual: 32 bits, most significant byte first.
    pub const USUAL: Counter = Counter {
        bits: 32,
        little_endian: false,
    };

    fn write(self, value: u32) -> Result<Vec<u8>> {
        if !matches!(self.bits, 8 | 16 | 24 | 32) {
            return Err(ck::CKR_MECHANISM_PARAM_INVALID.into());
        }
        let len = self.bits as usize / 8;
        if self.bits < 32 && value >> self.bits != 0 {
            return Err(ck::CKR_KEY_SIZE_RANGE.into());
        }
        Ok(match self.little_endian {
            true => value.to_le_bytes()[..len].to_vec(),
            false => value.to_be_bytes()[4 - len..].to_vec(),
        })
    }
}

/// A piece of the input of SP 800-108's pseudorandom function.
#[derive(Clone, Copy, Debug)]
pub enum Piece<'a> {
    /// Bytes that are the same in each block: label, context, length.
    Fixed(&'a [u8]),
    /// The number of the block, from 1.
    Counter(Counter),
    /// What the mode feeds back: the block before, or the other pipeline's.
    Iteration,
}

/// A mode of SP 800-108.
#[derive(Clone, Copy, Debug)]
pub enum Kbkdf<'a> {
    /// Counter mode (5.1).
    Counter,
    /// Feedback mode (5.2), with what stands for the block before the first.
    Feedback(&'a [u8]),
    /// Double-pipeline iteration mode (5.3).
    DoublePipeline,
}

/// SP 800-108: as many blocks of `prf` as `len` bytes take, each over all pieces of `input` in their order.
///
/// `prf` makes a fresh HMAC or CMAC under the key. `CKR_KEY_SIZE_RANGE` when a counter is too narrow for so many blocks.
pub fn kbkdf(
    prf: impl Fn() -> Result<Mac>,
    mode: Kbkdf<'_>,
    input: &[Piece<'_>],
    len: usize,
) -> Result<Secret> {
    let block = |i: u32, iteration: &[u8]| {
        let mut mac = prf()?;
        for piece in input {
            match piece {
                Piece::Fixed(bytes) => mac.update(bytes)?,
                Piece::Counter(counter) => mac.update(&counter.write(i)?)?,
                Piece::Iteration => mac.update(iteration)?,
            }
        }
        mac.finish()
    };
    let fixed = || {
        input.iter().filter_map(|piece| {
            if let Piece::Fixed(bytes) = piece {
                Some(*bytes)
            } else {
                None
            }
        })
    };
    let mut iteration = Zeroizing::new(match mode {
        Kbkdf::Counter => Vec::new(),
        Kbkdf::Feedback(iv) => iv.to_vec(),
        Kbkdf::DoublePipeline => fixed().collect::<Vec<_>>().concat(),
    });
    expand(checked(len)?, |i| {
        if let Kbkdf::DoublePipeline = mode {
            let mut mac = prf()?;
            mac.update(&iteration)?;
            iteration = Zeroizing::new(mac.finish()?);
        }
        let made = block(i, &iteration)?;
        if let Kbkdf::Feedback(_) = mode {
            iteration = Zeroizing::new(made.clone());
        }
        Ok(made)
    })
}

/// SP 800-108 in counter mode with HMAC and the usual counter, then `info` (label, zero, context and length in bits, as the
/// application composed them).
pub fn kbkdf_counter(hash: Hash, key: &[u8], info: &[u8], len: usize) -> Result<Secret> {
    kbkdf(
        || Mac::hmac(hash, key),
        Kbkdf::Counter,
        &[Piece::Counter(Counter::USUAL), Piece::Fixed(info)],
        len,
    )
}

/// The KDF of ANSI X9.63 (SEC 1, 3.6.1): hashes of the shared `secret`, a counter of 32 bits from 1, and `info`.
pub fn x9_63(hash: Hash, secret: &[u8], info: &[u8], len: usize) -> Result<Secret> {
    expand(checked(len)?, |i| {
        let mut digest = Digest::new(hash)?;
        digest.update(secret)?;
        digest.update(&i.to_be_bytes())?;
        digest.update(info)?;
        digest.finish()
    })
}

/// The one-step KDF of SP 800-56C: hashes of a counter of 32 bits from 1, the shared `secret`, and `info`.
pub fn one_step(hash: Hash, secret: &[u8], info: &[u8], len: usize) -> Result<Secret> {
    expand(checked(len)?, |i| {
        let mut digest = Digest::new(hash)?;
        digest.update(&i.to_be_bytes())?;
        digest.update(secret)?;
        digest.update(info)?;
        digest.finish()
    })
}

/// The first `len` bytes of `block(1)`, `block(2)`, …
fn expand(len: usize, mut block: impl FnMut(u32) -> Result<Vec<u8>>) -> Result<Secret> {
    // With the room of one block more it never moves, and leaves no copy behind.
    let mut out = Zeroizing::new(Vec::with_capacity(len + 64));
    let mut i = 1;
    while out.len() < len {
        out.extend_from_slice(&Zeroizing::new(block(i)?));
        i += 1;
    }
    out.truncate(len);
    Ok(Secret::new(std::mem::take(&mut *out)))
}

fn checked(len: usize) -> Result<usize> {
    if (1..=MOST).contains(&len) {
        Ok(len)
    } else {
        Err(ck::CKR_KEY_SIZE_RANGE.into())
    }
}

#[cfg(test)]
mod tests {
    use super::super::cipher::Key;
    use super::super::{mac, unhex};
    use super::*;

    /// RFC 5869, appendix A, cases 1, 3 and 4.
    #[test]
    fn hkdf_vectors() {
        let salt: Vec<u8> = (0..13).collect();
        let info: Vec<u8> = (0xf0..0xfa).collect();
        let prk = hkdf_extract(Hash::Sha256, &salt, &[0x0b; 22]).unwrap();
        assert_eq!(
            prk.expose(),
            unhex("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5")
        );
        let okm =
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865";
        assert_eq!(
            hkdf(Hash::Sha256, &salt, &[0x0b; 22], &info, 42)
                .unwrap()
                .expose(),
            unhex(okm)
        );
        let okm =
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8";
        assert_eq!(
            hkdf(Hash::Sha256, &[], &[0x0b; 22], &[], 42)
                .unwrap()
                .expose(),
            unhex(okm)
        );
        let okm =
            "085a01ea1b10f36933068b56efa5ad81a4f14b822f5b091568a9cdd4f155fda2c22e422478d305f3f896";
        assert_eq!(
            hkdf(Hash::Sha1, &salt, &[0x0b; 11], &info, 42)
                .unwrap()
                .expose(),
            unhex(okm)
        );
        assert_eq!(
            hkdf(Hash::Sha256, &[], &[1], &[], 255 * 32 + 1)
                .unwrap_err()
                .rv(),
            ck::CKR_KEY_SIZE_RANGE
        );
    }

    /// RFC 7518, appendix C.
    #[test]
    fn one_step_vector() {
        let secret = unhex("9e56d91d817135d372834283bf84269cfb316ea3da806a48f6daa7798cfe90c4");
        let info = b"\0\0\0\x07A128GCM\0\0\0\x05Alice\0\0\0\x03Bob\0\0\0\x80";
        assert_eq!(
            one_step(Hash::Sha256, &secret, info, 16).unwrap().expose(),
            unhex("56aa8deaf8236d205c2228cd71a7101a")
        );
    }

    /// RFC 6070, cases 2 and 5.
    #[test]
    fn pbkdf2_vectors() {
        let key = pbkdf2(Hash::Sha1, b"password", b"salt", 2, 20).unwrap();
        assert_eq!(
            key.expose(),
            unhex("ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957")
        );
        let key = pbkdf2(
            Hash::Sha1,
            b"passwordPASSWORDpassword",
            b"saltSALTsaltSALTsaltSALTsaltSALTsalt",
            4096,
            25,
        )
        .unwrap();
        assert_eq!(
            key.expose(),
            unhex("3d2eec4fe41c849b80c8d83662c0e44a8b291a964cf2f07038")
        );
        assert_eq!(
            pbkdf2(Hash::Sha1, b"p", b"s", 0, 20).unwrap_err().rv(),
            ck::CKR_MECHANISM_PARAM_INVALID
        );
        assert_eq!(
            pbkdf2(Hash::Sha1, b"p", b"s", 1, 0).unwrap_err().rv(),
            ck::CKR_KEY_SIZE_RANGE
        );
    }

    /// NIST's CAVP vectors for SP 800-108 (KDFCTR, HMAC-SHA256, 32 bits before the fixed data), the first.
    #[test]
    fn kbkdf_vectors() {
        let key = unhex("dd1d91b7d90b2bd3138533ce92b272fbf8a369316aefe242e659cc0ae238afe0");
        let fixed = unhex(
            "01322b96b30acd197979444e468e1c5c6859bf1b1cf951b7e725303e237e46b8\
             64a145fab25e517b08f8683d0315bb2911d80a0e8aba17f3b413faac",
        );
        let prf = || Mac::hmac(Hash::Sha256, &key);
        let made = kbkdf_counter(Hash::Sha256, &key, &fixed, 16).unwrap();
        assert_eq!(made.expose(), unhex("10621342bfb0fd40046c0e29f2cfdbf0"));

        let block = |i: &[u8]| mac::hmac(Hash::Sha256, &key, &[b"a", i, b"z"].concat()).unwrap();
        let counter = Counter {
            bits: 16,
            little_endian: true,
        };
        let around = |counter| {
            [
                Piece::Fixed(b"a"),
                Piece::Counter(counter),
                Piece::Fixed(b"z"),
            ]
        };
        let made = kbkdf(prf, Kbkdf::Counter, &around(counter), 50).unwrap();
        assert_eq!(
            made.expose(),
            &[block(&[1, 0]), block(&[2, 0])].concat()[..50]
        );

        let narrow = Counter {
            bits: 8,
            little_endian: false,
        };
        let most = |counter, len| kbkdf(prf, Kbkdf::Counter, &[Piece::Counter(counter)], len);
        assert_eq!(most(narrow, 255 * 32).unwrap().len(), 255 * 32);
        assert_eq!(
            most(narrow, 255 * 32 + 1).unwrap_err().rv(),
            ck::CKR_KEY_SIZE_RANGE
        );
        let odd = Counter {
            bits: 12,
            little_endian: false,
        };
        assert_eq!(
            most(odd, 16).unwrap_err().rv(),
            ck::CKR_MECHANISM_PARAM_INVALID
        );
    }

    /// What OpenSSL 3.0 makes in feedback mode (`openssl kdf ... mode:FEEDBACK KBKDF`) of the label "label" and the context "context",
    /// with HMAC and an initial value, and with CMAC and none.
    #[test]
    fn kbkdf_feedback_vectors() {
        let key = unhex("dd1d91b7d90b2bd3138533ce92b272fbf8a369316aefe242e659cc0ae238afe0");
        let iv: Vec<u8> = (0..32).collect();
        let usual = Piece::Counter(Counter::USUAL);
        let hmac = || Mac::hmac(Hash::Sha256, &key);
        let input = [
            Piece::Iteration,
            usual,
            Piece::Fixed(b"label\0context\0\0\x02\x40"),
        ];
        assert_eq!(
            kbkdf(hmac, Kbkdf::Feedback(&iv), &input, 72)
                .unwrap()
                .expose(),
            unhex(
                "6e709a893d0a6fd5b2bb2b8f0b64c379c72d3a7c86badc48d20e747cd6ea006b49481362af546afa563251f827587c9f189e\
                 7f75152e7780a3c3106830ed222757e18dbd6979079b"
            )
        );
        let cmac = || Mac::cmac(Key::Aes(&key));
        let input = [
            Piece::Iteration,
            usual,
            Piece::Fixed(b"label\0context\0\0\x01\x40"),
        ];
        assert_eq!(
            kbkdf(cmac, Kbkdf::Feedback(&[]), &input, 40)
                .unwrap()
                .expose(),
            unhex(
                "7ece3c56837d220a5533e23480773c321460e98994573f437b61a39f38da906a28dad5cf3873b2a6"
            )
        );
    }

    /// NIST's CAVP vectors for SP 800-108 (KDFDblPipeline, CMAC-AES128, 32 bits of counter after the iteration variable), the first.
    #[test]
    fn kbkdf_double_pipeline_vectors() {
        let key = unhex("34f0c2542bfe13c7149b68c8a1ef636b");
        let fixed = unhex(
            "daefcc52d6e32e1614109268933087fce3d64a5a6f111ba1a8d343a1e388a1752aaea93853be52864997a81c84b04c4f3ff3bd",
        );
        let input = [
            Piece::Iteration,
            Piece::Counter(Counter::USUAL),
            Piece::Fixed(&fixed),
        ];
        assert_eq!(
            kbkdf(
                || Mac::cmac(Key::Aes(&key)),
                Kbkdf::DoublePipeline,
                &input,
                64
            )
            .unwrap()
            .expose(),
            unhex(
                "fc0eae673e7db3c4660668e187bcd81d5ca9b89213d8d741e71c9bab89bb4fb3c4df541d89a8117f0f56b0f15111ae28ab\
                 f81fb7d7349fbbcaf01137e4d73527"
            )
        );
    }

    /// NIST's CAVP vectors for ANSI X9.63 with SHA-1, the first.
    #[test]
    fn x9_63_vectors() {
        let secret = unhex("fd17198b89ab39c4ab5d7cca363b82f9fd7e23c3984dc8a2");
        let info = unhex("856a53f3e36a26bbc5792879f307cce2");
        let expected = "6e5fad865cb4a51c95209b16df0cc490bc2c9064405c5bccd4ee4832a531fbe7f10cb79e2eab6ab1149fbd5a23cfdabc4\
                        1242269c9df22f628c4424333855b64e95e2d4fb8469c669f17176c07d103376b10b384ec5763d8b8c610409f19aca8eb3\
                        1f9d85cc61a8d6d4a03d03e5a506b78d6847e93d295ee548c65afedd2efec";
        assert_eq!(
            x9_63(Hash::Sha1, &secret, &info, 128).unwrap().expose(),
            unhex(expected)
        );
        let block = |i: u8| {
            crate::crypto::hash::digest(Hash::Sha256, &[b"zz", &[0, 0, 0, i][..], b"info"].concat())
                .unwrap()
        };
        let made = x9_63(Hash::Sha256, b"zz", b"info", 40).unwrap();
        assert_eq!(made.expose(), &[block(1), block(2)].concat()[..40]);
    }
}
