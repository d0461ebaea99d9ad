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
        Ok(Some(KeyFile {
            path: path.into(),
            key: parse(content.expose(), path)?,
        }))
    }
}

fn parse(content: &[u8], path: &Path) -> Result<Option<Secret>> {
    if content.is_empty() {
        return Ok(None);
    }
    let text = content.trim_ascii();
    let hex = |text: &[u8]| {
        std::str::from_utf8(text)
            .ok()
            .and_then(from_hex)
            .map(Secret::new)
    };
    let key = match text.len() {
        // Half as many digits as a key has are no raw key: those are hardly ever all hexadecimal.
        _ if content.len() == KEY_LEN => hex(content)
            .is_none()
            .then(|| Secret::new(content.to_vec())),
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
    let text = content
        .iter()
        .all(|b| b.is_ascii_graphic() || b.is_ascii_whitespace());
    match (text, content.len()) {
        (_, FILE_MAX..) => format!("{FILE_MAX} bytes or more"),
        (true, _) => format!("{} characters of text", content.trim_ascii().len()),
        (false, n) => format!("{n} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::{HEXLOWER, HEXUPPER};
    use proptest::prelude::*;

    use super::*;

    fn parsed(content: &[u8]) -> Result<Option<Secret>> {
        parse(content, Path::new("/c/cldb.key"))
    }

    proptest! {
        #[test]
        fn every_spelling_gives_the_key(key in any::<[u8; 32]>(), newline in "(\r?\n)?") {
            prop_assume!(!key.iter().all(u8::is_ascii_hexdigit));
            let expected = Secret::new(key.to_vec());
            prop_assert_eq!(parsed(&key).unwrap().unwrap(), expected.duplicate());
            for text in [HEXLOWER.encode(&key), HEXUPPER.encode(&key), BASE64.encode(&key)] {
                prop_assert_eq!(parsed(format!("{text}{newline}").as_bytes()).unwrap().unwrap(), expected.duplicate());
            }
        }

        #[test]
        fn anything_else_is_refused_without_telling_it(content in proptest::collection::vec(any::<u8>(), 1..200)) {
            prop_assume!(![32, 44, 64].contains(&content.len()) && ![44, 64].contains(&content.trim_ascii().len()));
            let e = parsed(&content).unwrap_err().to_string();
            prop_assert!(e.starts_with("/c/cldb.key holds ") && e.contains("64 hexadecimal digits"), "{}", e);
        }
    }

    #[test]
    fn near_misses_are_refused() {
        let hex = "ab".repeat(32);
        for bad in [
            &hex[..32],
            &hex[..63],
            &format!("{}zz", &hex[..62]),
            &format!("{hex}00"),
            &BASE64.encode(&[1; 31]),
        ] {
            assert!(parsed(bad.as_bytes()).is_err(), "{bad}");
        }
        // 43 digits without the padding, and a last digit with bits that mean nothing.
        let base64 = BASE64.encode(&[1; 32]);
        assert!(parsed(&base64.as_bytes()[..43]).is_err());
        assert!(parsed(format!("{}F=", &base64[..42]).as_bytes()).is_err());
        assert!(
            parsed(&hex.as_bytes()[..32])
                .unwrap_err()
                .to_string()
                .contains("32 characters of text")
        );
        assert!(
            parsed(&[0xff; 31])
                .unwrap_err()
                .to_string()
                .contains("31 bytes")
        );
        assert!(
            parsed(&[]).unwrap().is_none(),
            "the flag of nodes without the key"
        );
    }

    #[test]
    fn files() {
        let tmp = tempfile::tempdir().unwrap();
        assert!(KeyFile::read(&tmp.path().join("none")).unwrap().is_none());
        let path = tmp.path().join("key");
        std::fs::write(&path, [7; 32]).unwrap();
        assert_eq!(
            KeyFile::read(&path).unwrap().unwrap().key.unwrap().expose(),
            [7; 32]
        );
        std::fs::write(&path, vec![7; 100_000]).unwrap();
        assert!(
            KeyFile::read(&path)
                .unwrap_err()
                .to_string()
                .contains("4096 bytes or more")
        );
        assert!(
            KeyFile::read(tmp.path())
                .unwrap_err()
                .to_string()
                .contains("cannot read the key in")
        );
    }
}
