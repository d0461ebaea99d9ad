//! The client's identity in TLS: its certificate chain and private key, from PEM or PKCS#12.

use std::sync::Arc;

use pkcs8::der::pem::{self, LineEnding};
use pkcs8::{EncryptedPrivateKeyInfoRef, SecretDocument};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::ck::{CKR_ARGUMENTS_BAD, CKR_TOKEN_NOT_RECOGNIZED};
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;

/// A certificate chain, leaf first, and the private key that belongs to the leaf.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: Secret,
    encoding: KeyEncoding,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyEncoding {
    Pkcs1,
    Pkcs8,
    Sec1,
}

impl Identity {
    /// Reads a PEM chain (leaf first) and a PEM key: PKCS#1, PKCS#8, SEC1, or PKCS#8 encrypted under `passphrase`.
    ///
    /// # Errors
    /// A sentence of its own for each: no certificate, no key, a passphrase missing or wrong, an encryption that is not
    /// PKCS#8, a key that does not belong to the certificate.
    pub fn from_pem(chain: &[u8], key: &[u8], passphrase: Option<&Secret>) -> Result<Identity> {
        let chain = certificates(chain).map_err(|e| e.context("client certificate"))?;
        let (key, encoding) = private_key(key, passphrase).map_err(|e| e.context("client key"))?;
        Identity {
            chain,
            key,
            encoding,
        }
        .checked()
    }

    /// Reads a PKCS#12 file: its first private key, the certificate of that key, and the certificates that issued it.
    pub fn from_pkcs12(file: &[u8], passphrase: &Secret) -> Result<Identity> {
        let password = std::str::from_utf8(passphrase.expose())
            .map_err(|_| Error::input("the passphrase of the PKCS#12 file is not UTF-8 text"))?;
        let archive =
            p12_keystore::Pkcs12Archive::from_pkcs12(file, password).map_err(|e| match e {
                p12_keystore::error::Error::MacError(_) => {
                    Error::input("the passphrase of the PKCS#12 file is wrong")
                }
                e => {
                    Error::input("cannot read the PKCS#12 file (wrong passphrase, or not PKCS#12)")
                        .because(e)
                }
            })?;
        let key = archive
            .keys
            .first()
            .ok_or_else(|| Error::input("the PKCS#12 file has no private key"))?;
        let key = Secret::new(key.key.as_der().to_vec());
        let mut rest: Vec<_> = archive
            .certs
            .iter()
            .map(|c| CertificateDer::from(c.cert.as_der().to_vec()))
            .collect();
        if rest.is_empty() {
            return Err(Error::input("the PKCS#12 file has no certificate"));
        }
        let leaf = (0..rest.len())
            .find(|&i| matches(std::slice::from_ref(&rest[i]), &key, KeyEncoding::Pkcs8).is_ok())
            .ok_or_else(mismatch)?;
        let mut link = Some(leaf);
        let mut chain = Vec::new();
        while let Some(index) = link {
            let certificate = rest.swap_remove(index);
            link = issuer_of(&certificate, &rest);
            chain.push(certificate);
        }
        Identity {
            chain,
            key,
            encoding: KeyEncoding::Pkcs8,
        }
        .checked()
    }

    fn checked(self) -> Result<Identity> {
        matches(&self.chain, &self.key, self.encoding)?;
        Ok(self)
    }

    /// The chain as PEM, leaf first.
    pub fn chain_pem(&self) -> String {
        let pem = |c: &CertificateDer<'_>| {
            pem::encode_string("CERTIFICATE", LineEnding::LF, c).unwrap_or_default()
        };
        self.chain.iter().map(pem).collect()
    }

    /// The private key as unencrypted PEM, for a place that encrypts it itself.
    pub fn key_pem(&self) -> Secret {
        let label = match self.encoding {
            KeyEncoding::Pkcs1 => "RSA PRIVATE KEY",
            KeyEncoding::Pkcs8 => "PRIVATE KEY",
            KeyEncoding::Sec1 => "EC PRIVATE KEY",
        };
        Secret::new(
            pem::encode_string(label, LineEnding::LF, self.key.expose())
                .unwrap_or_default()
                .into_bytes(),
        )
    }

    /// Fails with a sentence when the leaf certificate is expired or not valid yet.
    pub fn check_dates(&self) -> Result<()> {
        let (_, leaf) =
            X509Certificate::from_der(&self.chain[0]).map_err(|e| unreadable().because(e))?;
        let validity = leaf.validity();
        if validity.is_valid() {
            return Ok(());
        }
        let expired = validity.not_after < x509_parser::time::ASN1Time::now();
        let message = match expired {
            true => format!(
                "the client certificate of {} expired on {}: have a new one signed, then 'mrhsm set -clientcert FILE'",
                leaf.subject(),
                validity.not_after
            ),
            false => format!(
                "the client certificate of {} is not valid before {}: check this machine's clock",
                leaf.subject(),
                validity.not_before
            ),
        };
        Err(Error::new(Kind::Tls, CKR_TOKEN_NOT_RECOGNIZED, message))
    }

    /// Chain and key in the form that rustls signs with.
    pub(super) fn certified(&self) -> Result<CertifiedKey> {
        certified(&self.chain, &self.key, self.encoding)
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Identity({} certificates, {:?} key)",
            self.chain.len(),
            self.encoding
        )
    }
}

/// Every certificate of a PEM text; at least one.
pub(super) fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let list = CertificateDer::pem_slice_iter(text)
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|e| Error::input("the PEM text is damaged").because(e.to_string()))?;
    if list.is_empty() {
        return Err(Error::input(
            "there is no certificate in it: a PEM file with -----BEGIN CERTIFICATE----- is needed",
        ));
    }
    for der in &list {
        X509Certificate::from_der(der).map_err(|e| unreadable().because(e))?;
    }
    Ok(list)
}

fn unreadable() -> Error {
    Error::input("a certificate in it is damaged")
}

fn private_key(text: &[u8], passphrase: Option<&Secret>) -> Result<(Secret, KeyEncoding)> {
    let has = |marker: &str| text.windows(marker.len()).any(|w| w == marker.as_bytes());
    if has("Proc-Type: 4,ENCRYPTED") {
        return Err(Error::input(
            "it is encrypted in OpenSSL's old PEM form: convert it with 'openssl pkcs8 -topk8 -in OLD -out NEW'",
        ));
    }
    if has(ENCRYPTED_BEGIN) {
        let passphrase = passphrase
            .ok_or_else(|| Error::input("it is encrypted, and no passphrase was given"))?;
        return Ok((decrypt(text, passphrase)?, KeyEncoding::Pkcs8));
    }
    let wrong = |e: rustls_pki_types::pem::Error| match e {
        rustls_pki_types::pem::Error::NoItemsFound => Error::input(
            "there is no private key in it: a PEM file with -----BEGIN PRIVATE KEY----- is needed",
        ),
        _ => Error::input("the PEM text is damaged"),
    };
    let mut der = PrivateKeyDer::from_pem_slice(text).map_err(wrong)?;
    let encoding = match &der {
        PrivateKeyDer::Pkcs1(_) => KeyEncoding::Pkcs1,
        PrivateKeyDer::Pkcs8(_) => KeyEncoding::Pkcs8,
        PrivateKeyDer::Sec1(_) => KeyEncoding::Sec1,
        _ => {
            return Err(Error::input(
                "its encoding is none of PKCS#8, PKCS#1 and SEC1",
            ));
        }
    };
    let key = Secret::new(der.secret_der().to_vec());
    zeroize::Zeroize::zeroize(&mut der);
    Ok((key, encoding))
}

const ENCRYPTED_BEGIN: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
const ENCRYPTED_END: &str = "-----END ENCRYPTED PRIVATE KEY-----";

/// Opens an encrypted PKCS#8 key (PBES2 with PBKDF2 or scrypt and AES).
fn decrypt(text: &[u8], passphrase: &Secret) -> Result<Secret> {
    let damaged = || Error::input("the PEM text is damaged");
    let text = std::str::from_utf8(text).map_err(|_| damaged())?;
    let begin = text.find(ENCRYPTED_BEGIN).ok_or_else(damaged)?;
    let end = text[begin..].find(ENCRYPTED_END).ok_or_else(damaged)? + begin + ENCRYPTED_END.len();
    let (_, der) = SecretDocument::from_pem(&text[begin..end]).map_err(|e| damaged().because(e))?;
    let info = EncryptedPrivateKeyInfoRef::try_from(der.as_bytes()).map_err(|e| {
        Error::input(
            "its encryption is not supported (PBES2 with AES is): convert it with 'openssl pkcs8 -topk8 -v2 aes-256-cbc'",
        )
        .because(e)
    })?;
    let key = info.decrypt(passphrase.expose()).map_err(|e| match e {
        pkcs8::Error::EncryptedPrivateKey(pkcs8::pkcs5::Error::UnsupportedAlgorithm { oid }) => Error::input(format!(
            "its encryption ({oid}) is not supported: convert it with 'openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA256'"
        )),
        _ => Error::input("the passphrase of the client key is wrong"),
    })?;
    Ok(Secret::new(key.as_bytes().to_vec()))
}

fn certified(
    chain: &[CertificateDer<'static>],
    key: &Secret,
    encoding: KeyEncoding,
) -> Result<CertifiedKey> {
    let der: PrivateKeyDer<'_> = match encoding {
        KeyEncoding::Pkcs1 => PrivatePkcs1KeyDer::from(key.expose()).into(),
        KeyEncoding::Pkcs8 => PrivatePkcs8KeyDer::from(key.expose()).into(),
        KeyEncoding::Sec1 => PrivateSec1KeyDer::from(key.expose()).into(),
    };
    let signer = rustls::crypto::aws_lc_rs::sign::any_supported_type(&der).map_err(|_| {
        Error::input("the client key cannot be used: RSA from 2048 bits, ECDSA P-256, P-384, P-521 and Ed25519 keys can")
    })?;
    Ok(CertifiedKey::new(chain.to_vec(), Arc::clone(&signer)))
}

fn matches(chain: &[CertificateDer<'static>], key: &Secret, encoding: KeyEncoding) -> Result<()> {
    match certified(chain, key, encoding)?.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => Err(mismatch()),
        Err(e) => Err(unreadable().because(e).context("client certificate")),
    }
}

fn mismatch() -> Error {
    Error::new(
        Kind::Input,
        CKR_ARGUMENTS_BAD,
        "the client key does not belong to the client certificate: give the two that were made together",
    )
}

/// The index in `pool` of the certificate that issued `certificate`; `None` for a self-signed one.
fn issuer_of(certificate: &CertificateDer<'_>, pool: &[CertificateDer<'_>]) -> Option<usize> {
    let (_, child) = X509Certificate::from_der(certificate).ok()?;
    if child.issuer() == child.subject() {
        return None;
    }
    pool.iter().position(|c| {
        X509Certificate::from_der(c).is_ok_and(|(_, c)| c.subject() == child.issuer())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::testing::Authority;
    use p12_keystore::{KeyStore, KeyStoreEntry, PrivateKeyChain};
    use pkcs8::PrivateKeyInfoRef;
    use rcgen::ExtendedKeyUsagePurpose::ClientAuth;
    use rcgen::{CertificateParams, KeyPair};

    fn passphrase() -> Secret {
        Secret::new(b"correct horse".to_vec())
    }

    fn der(pem: &str) -> Vec<u8> {
        PrivateKeyDer::from_pem_slice(pem.as_bytes())
            .unwrap()
            .secret_der()
            .to_vec()
    }

    fn pem_of(label: &str, der: &[u8]) -> Vec<u8> {
        pem::encode_string(label, LineEnding::LF, der)
            .unwrap()
            .into_bytes()
    }

    #[test]
    fn every_key_encoding_is_read_and_written_back() {
        let ec = Authority::new("ca").sign(&[], ClientAuth, 2999);
        let rsa_key = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
        let rsa = CertificateParams::new(Vec::new())
            .unwrap()
            .self_signed(&rsa_key)
            .unwrap()
            .pem();
        let inner = |pkcs8: &[u8]| {
            PrivateKeyInfoRef::try_from(pkcs8)
                .unwrap()
                .private_key
                .as_bytes()
                .to_vec()
        };
        let (ec_der, rsa_der) = (der(&ec.key), rsa_key.serialize_der());
        for (chain, key) in [
            (&ec.certificate, ec.key.clone().into_bytes()),
            (&rsa, rsa_key.serialize_pem().into_bytes()),
            (&ec.certificate, pem_of("EC PRIVATE KEY", &inner(&ec_der))),
            (&rsa, pem_of("RSA PRIVATE KEY", &inner(&rsa_der))),
        ] {
            let identity = Identity::from_pem(chain.as_bytes(), &key, None).unwrap();
            let again = Identity::from_pem(
                identity.chain_pem().as_bytes(),
                identity.key_pem().expose(),
                None,
            )
            .unwrap();
            assert_eq!(
                (again.key, again.encoding),
                (identity.key, identity.encoding)
            );
        }
    }

    #[test]
    fn an_encrypted_key_opens_with_its_passphrase_only() {
        let pair = Authority::new("ca").sign(&[], ClientAuth, 2999);
        let parameters = pkcs8::pkcs5::pbes2::Parameters::generate_pbkdf2_sha256_aes256cbc(
            1000, &[7; 16], [8; 16],
        )
        .unwrap();
        let plain = der(&pair.key);
        let sealed = PrivateKeyInfoRef::try_from(&plain[..])
            .unwrap()
            .encrypt_with_params(parameters, passphrase().expose())
            .unwrap();
        let text = [
            b"some words before\n".to_vec(),
            pem_of("ENCRYPTED PRIVATE KEY", sealed.as_bytes()),
        ]
        .concat();
        let read = |p: Option<&Secret>| Identity::from_pem(pair.certificate.as_bytes(), &text, p);
        assert!(read(Some(&passphrase())).is_ok());
        assert!(
            read(None)
                .unwrap_err()
                .to_string()
                .contains("no passphrase")
        );
        assert!(
            read(Some(&Secret::new(b"wrong".to_vec())))
                .unwrap_err()
                .to_string()
                .contains("passphrase of the client key is wrong")
        );
    }

    #[test]
    fn pkcs12_gives_the_chain_in_order() {
        let authority = Authority::new("ca");
        let pair = authority.sign(&[], ClientAuth, 2999);
        let certificate = |pem: &str| {
            p12_keystore::Certificate::from_der(
                &CertificateDer::from_pem_slice(pem.as_bytes()).unwrap(),
            )
            .unwrap()
        };
        let key = p12_keystore::PrivateKey::from_der(&der(&pair.key)).unwrap();
        let chain = PrivateKeyChain::new(
            "id",
            key,
            [certificate(&pair.certificate), certificate(&authority.pem)],
        );
        let mut store = KeyStore::new();
        store.add_entry("client", KeyStoreEntry::PrivateKeyChain(chain));
        let file = store.writer("correct horse").write().unwrap();
        let identity = Identity::from_pkcs12(&file, &passphrase()).unwrap();
        assert_eq!(
            identity.chain_pem(),
            [pair.certificate, authority.pem].concat().replace('\r', "")
        );
        let wrong = Identity::from_pkcs12(&file, &Secret::new(b"wrong".to_vec())).unwrap_err();
        assert!(
            wrong
                .to_string()
                .contains("passphrase of the PKCS#12 file is wrong"),
            "{wrong}"
        );
        assert!(Identity::from_pkcs12(b"garbage", &passphrase()).is_err());
    }

    #[test]
    fn what_is_missing_or_foreign_is_named() {
        let pair = Authority::new("ca").sign(&[], ClientAuth, 2999);
        let read = |c: &str, k: &str| {
            Identity::from_pem(c.as_bytes(), k.as_bytes(), None)
                .unwrap_err()
                .to_string()
        };
        assert!(read("", &pair.key).contains("client certificate: there is no certificate"));
        assert!(read(&pair.certificate, "").contains("client key: there is no private key"));
        assert!(
            read(
                &pair.certificate,
                "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"
            )
            .contains("openssl pkcs8 -topk8")
        );
        assert!(
            read(
                "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n",
                &pair.key
            )
            .contains("damaged")
        );
    }
}
