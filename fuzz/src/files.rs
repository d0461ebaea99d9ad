//! Bytes as files: what the token directory holds, and what administrators and applications bring.

use std::fs;
use std::path::Path;

use mrhsm_pkcs11::config::Config;
use mrhsm_pkcs11::crypto::Curve;
use mrhsm_pkcs11::crypto::crl::Crls;
use mrhsm_pkcs11::crypto::pkey::{PrivateKey, PublicKey};
use mrhsm_pkcs11::crypto::seal::Sealer;
use mrhsm_pkcs11::net::Identity;
use mrhsm_pkcs11::secret::Secret;
use mrhsm_pkcs11::server::Allowed;
use mrhsm_pkcs11::storage::journal::parse;
use mrhsm_pkcs11::token::cluster::KeyFile;
use mrhsm_pkcs11::token::pin::PinFile;

use super::scratch;

/// What the administrator of the embedded server gives it about clients: a file of CRLs, or the list of those admitted.
pub fn access(bytes: &[u8]) {
    let mut crls = Crls::default();
    if crls.read(bytes, "fuzz").is_ok() {
        assert!(!crls.is_empty());
        assert_eq!(crls.ders().len(), crls.len());
        let _ = crls.next_update();
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = Allowed::parse(text);
    }
}

/// Any text as `mrhsm.conf`: what is accepted is written so that it is read as the same. And as a `pin` file.
pub fn configuration(bytes: &[u8]) {
    let path = Path::new("mrhsm.conf");
    let _ = PinFile::parse(bytes, path).map(|file| file.to_text());
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(config) = Config::parse(text, path) else {
        return;
    };
    let again = Config::parse(&config.to_text(), path).expect("what we write we can read");
    assert_eq!(again, config);
}

/// Any bytes as a client's certificate and key: PEM in two files that are one, and PKCS#12.
pub fn identity(bytes: &[u8]) {
    let passphrase = Secret::new(b"passphrase".to_vec());
    for found in [
        Identity::from_pem(bytes, bytes, None),
        Identity::from_pem(bytes, bytes, Some(&passphrase)),
        Identity::from_pkcs12(bytes, &passphrase),
    ] {
        let Ok(identity) = found else { continue };
        let _ = identity.check_dates();
        let (chain, key) = (identity.chain_pem(), identity.key_pem());
        Identity::from_pem(chain.as_bytes(), key.expose(), None)
            .expect("what we write we can read");
    }
}

/// A key file of a cluster from before.
pub fn key_file(bytes: &[u8]) {
    let directory = scratch();
    let path = directory.path().join("cldb.key");
    fs::write(&path, bytes).expect("room in the temporary directory");
    if let Ok(Some(KeyFile { key: Some(key), .. })) = KeyFile::read(&path) {
        assert_eq!(key.len(), 32);
    }
}

/// Keys as applications import them and as servers return them, in every encoding.
pub fn key_import(bytes: &[u8]) {
    let privates = [
        PrivateKey::from_pkcs8(bytes),
        PrivateKey::from_pkcs1(bytes),
        PrivateKey::from_sec1(bytes, None),
        PrivateKey::from_sec1(bytes, Some(Curve::P256)),
        PrivateKey::from_scalar(Curve::P256, bytes),
        PrivateKey::from_scalar(Curve::Ed25519, bytes),
    ];
    for key in privates.into_iter().flatten() {
        let public = key.public().expect("a private key has a public half");
        public.to_spki().expect("a public key can be written");
        let der = key.to_pkcs8().expect("a private key can be written");
        let again = PrivateKey::from_pkcs8(der.expose()).expect("what we write we can read");
        assert_eq!(again.kind(), key.kind());
        assert_eq!(
            again.to_pkcs8().expect("what was written once").expose(),
            der.expose()
        );
    }
    let publics = [
        PublicKey::from_spki(bytes),
        PublicKey::from_pkcs1(bytes),
        PublicKey::from_point(Curve::P256, bytes),
        PublicKey::from_point(Curve::X25519, bytes),
    ];
    for key in publics.into_iter().flatten() {
        let der = key.to_spki().expect("a public key can be written");
        let again = PublicKey::from_spki(&der).expect("what we write we can read");
        assert_eq!(
            (
                again.kind(),
                again.to_spki().expect("what was written once")
            ),
            (key.kind(), der)
        );
    }
}

/// A journal of an earlier build with three records: objects 1 and 2, object 3, object 4.
const JOURNAL: &[u8] = include_bytes!("journal-0.1");
const SEAL: [u8; 32] = [7; 32];

/// A journal of an earlier build, damaged: the first two bytes say where, the third how, the others are put there. It is read, or
/// refused with a sentence; what is read is what was stored.
pub fn journal(bytes: &[u8]) {
    let mut file = JOURNAL.to_vec();
    if let [low, high, how, new @ ..] = bytes {
        let at = usize::from(u16::from_le_bytes([*low, *high])) % (file.len() + 1);
        let end = (at + new.len()).min(file.len());
        match how % 4 {
            0 => file.truncate(at),
            1 => file[at..end].copy_from_slice(&new[..end - at]),
            2 => drop(file.splice(at..at, new.iter().copied())),
            _ => file = new.to_vec(),
        }
    }
    let sealer = Sealer::new(&SEAL).expect("32 bytes");
    let Ok(content) = parse(&file, &sealer) else {
        return;
    };
    for (uid, about, value) in content.objects.values() {
        let number: u8 = uid["object ".len()..].parse().expect("a number");
        assert_eq!(
            (about.as_slice(), value.expose()),
            (&[number; 40][..], &[number; 32][..])
        );
    }
    if file == JOURNAL {
        assert_eq!((content.objects.len(), content.damaged.len()), (4, 0));
    }
}
