//! Key files of clusters from before: raw bytes, hexadecimal or base64.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use data_encoding::BASE64;

use crate::config::from_hex;
use crate::error::{Error, Result};
use crate::secret::Secret;

/// The content of a `cldb.key` or `dare.master.key`.
#[derive(Debug)]
pub struct KeyFile {
    /// Where it was read.
    pub path: PathBuf,
    /// The key; `None` when the file is empty, as a node without the key has it to say that data are encrypted.
    pub key: Option<Secret>,
}

const KEY_LEN: usize = 32;
/// Larger than any key file; reading stops there.
const FILE_MAX: usize = 4096;

impl KeyFile {
    /// Reads a key file; `None` when there is none.
    ///
    /// Errors: it cannot be read, or its content is neither 32 bytes nor their hexadecimal or base64 digits.
    pub fn read(path: &Path) -> Result<Option<KeyFile>> {
        let cannot = |e| Error::file(format!("cannot read the key in {}", path.display()), e);
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(cannot(e)),
        };
        // Reserved in full, so that no part of a key is left in a buffer that grew.
        let mut content = Vec::with_capacity(FILE_MAX + 1);
        let read = file.take(FILE_MAX as u64).read_to_end(&mut content);
        let content = Secret::new(content);
        read.map_err(cannot)?;
        Ok(Some(KeyFile { path: path.into(), key: parse(content.expose(), path)? }))
    }
}

fn parse(content: &[u8], path: &Path) -> Result<Option<Secret>> {
    if content.is_empty() {
        return Ok(None);
    }
    let text = content.trim_ascii();
    let hex = |text: &[u8]| std::str::from_utf8(text).ok().and_then(from_hex).map(Secret::new);
    let key = match text.len() {
        // Half as many digits as a key has are no raw key: those are hardly ever all hexadecimal.
        _ if content.len() == KEY_LEN => hex(content).is_none().then(|| Secret::new(content.to_vec())),
        64 => hex(text),
        44 => BASE64.decode(text).ok().map(Secret::new),
        _ => None,
    };
    match key {
        Some(key) if key.len() == KEY_LEN => Ok(Some(key)),
        _ => Err(Error::input(format!(
            "{} holds {}, which is no AES-256 key: it must be 32 bytes, 64 hexadecimal digits or 44 base64 digits",
            path.display(),
            describe(content)
        ))),
    }
}

/// What a file holds, without telling any of it.
fn describe(content: &[u8]) -> String {
    let text = content.iter().all(|b| b.is_ascii_graphic() || b.is_ascii_whitespace());
    match (text, content.len()) {
        (_, FILE_MAX..) => format!("{FILE_MAX} bytes or more"),
        (true, _) => format!("{} characters of text", content.trim_ascii().len()),
        (false, n) => format!("{n} bytes"),
    }
}
