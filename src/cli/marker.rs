//! Files that tell other programs of a running server: its process ID, its port.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::exit::{Failure, Outcome};
use crate::error::Error;

/// A file with one number, removed when this is dropped.
#[derive(Debug)]
pub struct Marker {
    path: PathBuf,
    content: String,
}

impl Marker {
    /// Fails if `path` is a file with something else than a number: the option names a wrong one.
    pub fn check(option: &str, path: &Path) -> Outcome {
        match fs::read(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Ok(old) if old.trim_ascii().iter().all(u8::is_ascii_digit) => Ok(()),
            Ok(_) => Err(Failure::usage(format!(
                "{option}: {} has something else than a number and is not replaced",
                path.display()
            ))),
            Err(e) => Err(Error::file(format!("{option}: {}", path.display()), e).into()),
        }
    }

    /// Writes the number in one step: who reads the file never sees a part of it.
    pub fn write(path: &Path, number: u32) -> Outcome<Marker> {
        let cannot = |e| Error::file(format!("{} cannot be written", path.display()), e);
        let content = format!("{number}\n");
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}", std::process::id()));
        let new = PathBuf::from(name);
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o644)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&new)
            .map_err(cannot)?;
        let written = file
            .write_all(content.as_bytes())
            .and_then(|()| fs::rename(&new, path));
        if let Err(e) = written {
            let _ = fs::remove_file(&new);
            return Err(cannot(e).into());
        }
        Ok(Marker {
            path: path.to_owned(),
            content,
        })
    }
}

impl Drop for Marker {
    /// Leaves the file of a server that has started in the meantime.
    fn drop(&mut self) {
        if fs::read(&self.path).is_ok_and(|now| now == self.content.as_bytes()) {
            let _ = fs::remove_file(&self.path);
        }
    }
}
