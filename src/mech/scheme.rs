//! Signature schemes: what a mechanism and its parameter ask for, and the message as it arrives.

use super::table::Work;
use super::{Key, Params, hash_of, mgf_hash};
use crate::ck::*;
use crate::crypto::hash::Digest;
use crate::crypto::pkey::{Context, Scheme};
use crate::crypto::{Curve, Hash};
use crate::error::Result;
use crate::secret::{Secret, reserve};
use crate::store::{Algorithm, Signing};
use crate::token::spec;

/// The longest message that is kept whole, for mechanisms and servers that need it so.
pub(super) const WHOLE_MAX: usize = 16 << 20;
/// The longest message that is kept beside its digest, for servers that hash themselves.
const BESIDE_MAX: usize = 1 << 20;

/// How a mechanism signs.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    pub(super) scheme: Scheme,
    /// The hash of the message that is made here; `None` where the caller gives what is signed.
    pub(super) hash: Option<Hash>,
}

impl Plan {
    pub(super) fn parse(work: Work, params: &Params) -> Result<Plan> {
        let bare = |scheme, hash| match params {
            Params::None => Ok(Plan { scheme, hash }),
            _ => Err(CKR_MECHANISM_PARAM_INVALID.into()),
        };
        match (work, params) {
            (Work::RsaPkcs, _) => bare(Scheme::RsaPkcs1Raw, None),
            (Work::RsaRaw, _) => bare(Scheme::RsaRaw, None),
            (Work::RsaPkcsHash(hash), _) => bare(Scheme::RsaPkcs1(hash), Some(hash)),
            (Work::Ecdsa(hash), _) => bare(Scheme::Ecdsa, hash),
            (
                Work::RsaPss(hash),
                Params::Pss {
                    hash: named,
                    mgf,
                    salt_len,
                },
            ) => {
                let named = hash_of(*named)?;
                if hash.is_some_and(|hash| hash != named) {
                    return Err(CKR_MECHANISM_PARAM_INVALID.into());
                }
                let salt_len =
                    usize::try_from(*salt_len).map_err(|_| CKR_MECHANISM_PARAM_INVALID)?;
                Ok(Plan {
                    scheme: Scheme::RsaPss {
                        hash: named,
                        mgf: mgf_hash(*mgf)?,
                        salt_len,
                    },
                    hash,
                })
            }
            // A parameter that asks for nothing is taken for none: Ed25519ctx wants a context (RFC 8032, 8.3).
            (
                Work::EdDsa,
                Params::EdDsa {
                    prehash: false,
                    context,
                },
            ) if context.is_empty() => Ok(Plan {
                scheme: Scheme::EdDsa,
                hash: None,
            }),
            (
                Work::EdDsa,
                Params::EdDsa {
                    prehash: false,
                    context,
                },
            ) => Ok(Plan {
                scheme: Scheme::EdDsaContext(Context::new(context)?),
                hash: None,
            }),
            (
                Work::EdDsa,
                Params::EdDsa {
                    prehash: true,
                    context,
                },
            ) => Ok(Plan {
                scheme: Scheme::EdDsaPrehashed(Context::new(context)?),
                hash: Some(Hash::Sha512),
            }),
            (Work::EdDsa, _) => bare(Scheme::EdDsa, None),
            _ => Err(CKR_MECHANISM_PARAM_INVALID.into()),
        }
    }

    /// The key type that signs so.
    pub(super) fn fits(self, key_type: CK_KEY_TYPE) -> bool {
        match self.scheme {
            Scheme::Ecdsa => key_type == CKK_EC,
            Scheme::EdDsa | Scheme::EdDsaContext(_) | Scheme::EdDsaPrehashed(_) => {
                key_type == CKK_EC_EDWARDS
            }
            _ => key_type == CKK_RSA,
        }
    }

    /// Whether KMIP has words for it: no server signs bare numbers, nor Ed25519's variants.
    pub(super) fn in_store(self) -> bool {
        !matches!(
            self.scheme,
            Scheme::RsaRaw | Scheme::EdDsaContext(_) | Scheme::EdDsaPrehashed(_)
        )
    }

    /// RSA-PSS in the store's words, of which each may take another parameter.
    pub(super) fn pss(self) -> Option<Signing> {
        match self.scheme {
            Scheme::RsaPss {
                hash,
                mgf,
                salt_len,
            } => Some(Signing::RsaPss {
                hash,
                mgf,
                salt_len,
            }),
            _ => None,
        }
    }

    /// Whether hash and salt of RSA-PSS fit into a signature of `len` bytes (RFC 8017, 9.1.1).
    pub(super) fn check_salt(self, len: usize) -> Result<()> {
        match self.scheme {
            Scheme::RsaPss { hash, salt_len, .. }
                if salt_len.saturating_add(hash.output_len() + 2) > len =>
            {
                Err(CKR_MECHANISM_PARAM_INVALID.into())
            }
            _ => Ok(()),
        }
    }

    /// What is wrong with data that can be signed, but that no store is asked to sign: a digest of no known length, a block that is not
    /// that of a digest.
    pub(super) fn unusual(self) -> CK_RV {
        if self.scheme == Scheme::Ecdsa {
            CKR_DATA_LEN_RANGE
        } else {
            CKR_DATA_INVALID
        }
    }

    /// `data` as they are signed with signatures of `len` bytes. `CKR_DATA_LEN_RANGE` when the caller gives as many as cannot be.
    pub(super) fn fit(self, data: Vec<u8>, len: usize) -> Result<Vec<u8>> {
        let fits = match (self.hash, self.scheme) {
            (Some(_), _) => true,
            (None, Scheme::RsaPkcs1Raw) => data.len() + 11 <= len,
            (None, Scheme::RsaRaw) => data.len() <= len,
            (None, Scheme::RsaPss { hash, .. }) => data.len() == hash.output_len(),
            (None, Scheme::Ecdsa) if !data.is_empty() => return Ok(number(data, len / 2)),
            (None, Scheme::Ecdsa) => false,
            _ => true,
        };
        if fits {
            Ok(data)
        } else {
            Err(CKR_DATA_LEN_RANGE.into())
        }
    }
}

/// What ECDSA makes of a digest of any length: a number of as many bits, from the left, as its order has (3.0, 2.3.6). Servers want it
/// as long as a hash makes it, and zeros in front of a number do not change it.
fn number(mut digest: Vec<u8>, order_len: usize) -> Vec<u8> {
    digest.truncate(order_len);
    if let Some(len) = DIGESTS
        .map(Hash::output_len)
        .into_iter()
        .find(|len| (digest.len()..=order_len).contains(len))
    {
        digest.splice(..0, vec![0; len - digest.len()]);
    }
    digest
}

/// The hash of a digest of this length.
pub(super) fn hash_by_len(len: usize) -> Option<Hash> {
    DIGESTS.into_iter().find(|hash| hash.output_len() == len)
}

/// One hash for each length, from the shortest on.
const DIGESTS: [Hash; 5] = [
    Hash::Sha1,
    Hash::Sha224,
    Hash::Sha256,
    Hash::Sha384,
    Hash::Sha512,
];

/// What is signed, as it arrives.
pub(super) struct Input {
    digest: Option<Digest>,
    /// The message itself; `None` once it is longer than anybody wants it.
    pub(super) whole: Option<Secret>,
    /// How much of it is kept.
    most: usize,
}

impl Input {
    pub(super) fn new(hash: Option<Hash>, wanted_whole: bool) -> Result<Input> {
        let most = if hash.is_none() {
            WHOLE_MAX
        } else {
            BESIDE_MAX
        };
        let whole = (hash.is_none() || wanted_whole).then(Secret::default);
        Ok(Input {
            digest: hash.map(Digest::new).transpose()?,
            whole,
            most,
        })
    }

    pub(super) fn update(&mut self, part: &[u8]) -> Result<()> {
        if let Some(digest) = &mut self.digest {
            digest.update(part)?;
        }
        let Some(whole) = &mut self.whole else {
            return Ok(());
        };
        if whole.len() + part.len() <= self.most {
            whole.extend(part)?;
        } else if self.digest.is_none() {
            return Err(CKR_DATA_LEN_RANGE.into());
        } else {
            self.whole = None;
        }
        Ok(())
    }

    /// The digest where one is made, else the message.
    pub(super) fn finish(&mut self) -> Result<Vec<u8>> {
        match self.digest.take() {
            Some(digest) => digest.finish(),
            None => reserve::copy(self.whole.take().unwrap_or_default().expose()),
        }
    }
}

/// Length of a key's signatures in bytes.
pub(super) fn signature_len(key: &Key) -> Result<usize> {
    match spec::algorithm(&key.object.attributes)? {
        Algorithm::Ec(Curve::Ed25519) => Ok(64),
        Algorithm::Ec(curve) => Ok(2 * curve.scalar_len()),
        _ => key.modulus_len(),
    }
}
