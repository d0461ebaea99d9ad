//! What was learnt of a token's hosts, kept in its folder for later processes.
//!
//! It says what a server was proven to do rightly, and names keys that are to be destroyed there. So it is sealed under the token
//! key, and nothing else is believed.

use std::time::Duration;

use super::files::{LEARNT, LEARNT_OPEN, TokenDir};
use super::pin::TokenKey;
use crate::error::Result;
use crate::store::Memory;

/// The memory of one token.
pub struct Learnt {
    dir: TokenDir,
    uuid: String,
    key: TokenKey,
}

impl Learnt {
    /// The memory of the token with this uuid and this key.
    pub fn of(dir: &TokenDir, uuid: &str, key: &TokenKey) -> Result<Learnt> {
        Ok(Learnt {
            dir: dir.clone(),
            uuid: uuid.into(),
            key: key.duplicate()?,
        })
    }

    fn read(&self) -> Result<Option<String>> {
        let Some(sealed) = self.dir.read(&self.uuid, LEARNT)? else {
            return Ok(None);
        };
        let text = self.key.open(&self.uuid, LEARNT, sealed.expose())?;
        Ok(String::from_utf8(text.expose().to_vec()).ok())
    }

    fn write(&self, text: &str) -> Result<()> {
        // Does not wait for another writer: what is not written now is written next time, or learnt again.
        let dir = self.dir.clone().with_patience(Duration::ZERO);
        let sealed = self.key.seal(&self.uuid, LEARNT, text.as_bytes())?;
        dir.lock()?
            .write(&self.uuid, &[(LEARNT, Some(&sealed)), (LEARNT_OPEN, None)])
    }
}

impl Memory for Learnt {
    fn recall(&self) -> Option<String> {
        let read = self.read();
        read.inspect_err(|e| crate::log!(Info, "what was learnt of the server is not used: {e}"))
            .ok()?
    }

    fn keep(&self, text: &str) {
        if !self.dir.path().join(&self.uuid).is_dir() {
            return; // Removed meanwhile.
        }
        self.write(text).unwrap_or_else(|e| {
            crate::log!(Info, "what was learnt of the server is not kept: {e}")
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::scratch;
    use crate::token::files::TOKEN_KEY;

    const UUID: &str = "69255cf4-0ac3-8d22-b12c-fd503a740cda";

    fn node() -> (tempfile::TempDir, TokenDir, Learnt) {
        let tmp = scratch();
        let dir = TokenDir::at(tmp.path().join("tokens"));
        let writer = dir.lock().unwrap();
        writer.make_folder(UUID, &[(TOKEN_KEY, b"")]).unwrap();
        drop(writer);
        let learnt = Learnt::of(&dir, UUID, &TokenKey::generate().unwrap()).unwrap();
        (tmp, dir, learnt)
    }

    #[test]
    fn it_is_kept_when_nobody_is_in_the_way() {
        let (_tmp, dir, learnt) = node();
        assert_eq!(learnt.recall(), None);
        learnt.keep("first");
        assert_eq!(learnt.recall().as_deref(), Some("first"));
        let writer = dir.lock().unwrap();
        let start = std::time::Instant::now();
        learnt.keep("second");
        assert!(
            start.elapsed() < Duration::from_secs(1),
            "nobody waits for that"
        );
        assert_eq!(learnt.recall().as_deref(), Some("first"));
        writer.remove_folder(UUID).unwrap();
        drop(writer);
        learnt.keep("third");
        assert_eq!(learnt.recall(), None);
        let removed = dir.path().to_path_buf();
        std::fs::remove_dir_all(&removed).unwrap();
        learnt.keep("fourth");
        assert!(
            !removed.exists(),
            "a directory that was removed is not made again"
        );
    }

    #[test]
    fn what_somebody_else_wrote_is_not_believed() {
        let (_tmp, dir, learnt) = node();
        let put = |name, content: &[u8]| {
            let writer = dir.lock().unwrap();
            writer.write(UUID, &[(name, Some(content))]).unwrap();
        };
        for name in [LEARNT_OPEN, LEARNT] {
            put(
                name,
                br#"{"leftovers": {"mrhsm:my.cluster.com:dare:1": 0}}"#,
            );
            assert_eq!(learnt.recall(), None, "{name}");
        }
        let other = TokenKey::generate().unwrap();
        put(LEARNT, &other.seal(UUID, LEARNT, b"{}").unwrap());
        assert_eq!(learnt.recall(), None);
        learnt.keep("{}");
        assert_eq!(learnt.recall().as_deref(), Some("{}"));
        assert!(dir.read(UUID, LEARNT_OPEN).unwrap().is_none());
    }
}
