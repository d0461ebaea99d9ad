//! Files of an authority: certificates and their keys, replaced so that a crash at any moment leaves a pair that works.
//!
//! New content is written and synced under a temporary name, then renamed; the key first. [`recover`] completes what a
//! crash between the two renames left.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{KeyPair, PublicKeyData};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::lock::sync_directory;
use crate::error::{Error, Result};
use crate::fault;
use crate::secret::Secret;

/// Begins the name of a file that is being written.
const TMP: &str = ".cert-";

fn tmp(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{TMP}{name}"))
}

fn cannot_write(path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |e| Error::file(format!("{} cannot be written", path.display()), e)
}

/// Replaces a file.
pub fn replace(directory: &Path, name: &str, content: &[u8], mode: u32) -> Result<()> {
    let path = directory.join(name);
    prepare(directory, name, content, mode)
        .and_then(|()| put(directory, name))
        .and_then(|()| sync_directory(directory))
        .map_err(cannot_write(&path))
}

/// Replaces `NAME.key` and `NAME.pem`.
pub fn replace_pair(directory: &Path, name: &str, key: &KeyPair, certificate: &str) -> Result<()> {
    let (key_name, pem_name) = (format!("{name}.key"), format!("{name}.pem"));
    let key = Secret::new(key.serialize_pem().into_bytes());
    prepare(directory, &key_name, key.expose(), 0o600)
        .and_then(|()| prepare(directory, &pem_name, certificate.as_bytes(), 0o644))
        .and_then(|()| put(directory, &key_name))
        .and_then(|()| sync_directory(directory))
        .and_then(|()| put(directory, &pem_name))
        .and_then(|()| sync_directory(directory))
        .map_err(cannot_write(&directory.join(pem_name)))
}

/// Writes the content that a file shall have.
fn prepare(directory: &Path, name: &str, content: &[u8], mode: u32) -> io::Result<()> {
    let path = tmp(directory, name);
    fault::step("create file")?;
    match fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(mode)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&path)?;
    fault::step("write file")?;
    file.write_all(content)?;
    file.sync_all()
}

fn put(directory: &Path, name: &str) -> io::Result<()> {
    fault::step("rename")?;
    fs::rename(tmp(directory, name), directory.join(name))
}

/// Completes what a killed writer began, where its key is in place already; removes the rest. The caller holds the lock.
pub fn recover(directory: &Path) -> Result<()> {
    let entries = fs::read_dir(directory)
        .map_err(|e| Error::file(format!("{} cannot be read", directory.display()), e))?;
    let mut prepared: Vec<String> = entries
        .flatten()
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_prefix(TMP)?.to_owned()))
        .collect();
    prepared.sort();
    for name in prepared {
        let begun = name.strip_suffix(".pem").is_some_and(|pair| {
            belongs(
                &directory.join(format!("{pair}.key")),
                &tmp(directory, &name),
            )
        });
        let done = match begun {
            true => put(directory, &name).and_then(|()| sync_directory(directory)),
            false => fs::remove_file(tmp(directory, &name)),
        };
        done.map_err(cannot_write(&directory.join(&name)))?;
    }
    Ok(())
}

/// Whether a key is that of a certificate.
pub(super) fn belongs(key: &Path, certificate: &Path) -> bool {
    let Ok(text) = fs::read(key).map(Secret::new) else {
        return false;
    };
    let (Ok(key), Ok(der)) = (
        KeyPair::from_pem(&String::from_utf8_lossy(text.expose())),
        CertificateDer::from_pem_file(certificate),
    ) else {
        return false;
    };
    X509Certificate::from_der(&der)
        .is_ok_and(|(_, parsed)| parsed.public_key().raw == key.subject_public_key_info())
}
