//! PINs and passphrases: from an option, a file, the environment, or typed at the terminal.
//!
//! The terminal is `/dev/tty`, so a redirected stdin or stdout does not matter. There is no default PIN.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::exit::{Exit, Failure, Outcome};
use super::output::note;
use crate::env;
use crate::secret::Secret;
use crate::token::pin::{PIN_ADVISED, PIN_MAX, PIN_MIN};

/// A secret's file is one short line; more than this is the wrong file.
const MAX_FILE: u64 = 4096;

/// The value of an option that is secret: `file:PATH`, `env:NAME`, `pass:TEXT`, or the text itself.
#[derive(Clone)]
pub enum SecretArg {
    /// The text itself, which everybody on the machine can see in the process list.
    Literal(String),
    /// The first line of this file.
    File(PathBuf),
    /// The value of this environment variable.
    Env(String),
}

impl FromStr for SecretArg {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<SecretArg, Self::Err> {
        Ok(match text.split_once(':') {
            Some(("file", path)) => SecretArg::File(path.into()),
            Some(("env", name)) => SecretArg::Env(name.into()),
            Some(("pass", literal)) => SecretArg::Literal(literal.into()),
            _ => SecretArg::Literal(text.into()),
        })
    }
}

impl fmt::Debug for SecretArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretArg::Literal(_) => f.write_str("Literal(..)"),
            SecretArg::File(path) => write!(f, "File({})", path.display()),
            SecretArg::Env(name) => write!(f, "Env({name})"),
        }
    }
}

impl SecretArg {
    /// The secret; `option` names where it came from in messages.
    pub fn read(&self, option: &str) -> Outcome<Secret> {
        match self {
            SecretArg::Literal(text) => {
                note(format!(
                    "Note: the value of {option} is visible to others in the process list; \
                     {option} file:PATH, {option} env:NAME and the prompt are not."
                ));
                Ok(Secret::new(text.as_bytes().to_vec()))
            }
            SecretArg::File(path) => read_file(path, option),
            SecretArg::Env(name) => {
                let value = env::variable(name).ok_or_else(|| {
                    Failure::new(
                        Exit::Pin,
                        format!("{option} env:{name}: there is no such environment variable"),
                    )
                })?;
                Ok(Secret::new(value.as_bytes().to_vec()))
            }
        }
    }
}

/// The option's value, or the first line of the file that the environment variable names, or nothing.
pub fn given(
    arg: Option<&SecretArg>,
    option: &str,
    file_variable: &str,
) -> Outcome<Option<Secret>> {
    if let Some(arg) = arg {
        return arg.read(option).map(Some);
    }
    env::variable(file_variable)
        .map(|path| read_file(Path::new(&path), file_variable))
        .transpose()
}

/// The first line of a file, without its end.
fn read_file(path: &Path, option: &str) -> Outcome<Secret> {
    let cannot = |e: io::Error| {
        Failure::new(
            Exit::Pin,
            format!(
                "{option}: cannot read {}: {e}; name a file that you can read",
                path.display()
            ),
        )
    };
    let file = File::open(path).map_err(cannot)?;
    let meta = file.metadata().map_err(cannot)?;
    if meta.is_dir() {
        return Err(cannot(io::Error::from(ErrorKind::IsADirectory)));
    }
    // A service manager guards its credentials by their directory.
    let is_credential =
        env::variable("CREDENTIALS_DIRECTORY").is_some_and(|dir| path.starts_with(dir));
    if meta.is_file() && meta.mode() & 0o077 != 0 && !is_credential {
        note(format!(
            "Warning: {} can be read by others (mode {:04o}). Mend it with: chmod 600 {}",
            path.display(),
            meta.mode() & 0o7777,
            path.display()
        ));
    }
    // Room for all of it from the start: a buffer that grows leaves copies behind.
    let mut bytes = Vec::with_capacity(MAX_FILE as usize + 1);
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    let bytes = Secret::new(bytes);
    let line = bytes
        .expose()
        .split(|b| *b == b'\n')
        .next()
        .unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() || line.len() > MAX_FILE as usize {
        return Err(Failure::new(
            Exit::Pin,
            format!(
                "{option}: the first line of {} is empty or too long",
                path.display()
            ),
        ));
    }
    Ok(Secret::new(line.to_vec()))
}

/// Asks at the terminal, showing one `*` for each character. `option` and `file_variable` are what to use without one.
pub fn ask(prompt: &str, instead: &str) -> Outcome<Secret> {
    let config = rpassword::ConfigBuilder::new()
        .password_feedback_mask('*')
        .build();
    let answer =
        interrupt::ignored_during(|| rpassword::prompt_password_with_config(prompt, config));
    match answer {
        Ok(text) => Ok(Secret::new(text.into_bytes())),
        Err(e) if matches!(e.kind(), ErrorKind::Interrupted | ErrorKind::UnexpectedEof) => {
            Err(interrupted())
        }
        Err(e) => Err(Failure::new(
            Exit::Pin,
            format!(
                "cannot ask '{}': no terminal ({e}); use {instead}",
                prompt.trim_end_matches([' ', ':'])
            ),
        )),
    }
}

/// Asks for a line that is not secret at the terminal. `instead` is what to use without one.
pub fn ask_text(prompt: &str, instead: &str) -> Outcome<String> {
    let answer = File::options()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .and_then(|mut terminal| {
            terminal.write_all(prompt.as_bytes())?;
            let mut line = String::new();
            BufReader::new(terminal)
                .take(MAX_FILE)
                .read_line(&mut line)?;
            Ok(line)
        });
    match answer {
        Ok(line) if line.is_empty() => Err(interrupted()),
        Ok(line) => Ok(line.trim_end_matches(['\n', '\r']).to_owned()),
        Err(e) => Err(Failure::usage(format!(
            "cannot ask '{}': no terminal ({e}); use {instead}",
            prompt.trim_end_matches([' ', ':'])
        ))),
    }
}

fn interrupted() -> Failure {
    Failure::new(Exit::Interrupted, "interrupted: nothing was changed")
}

/// Asks for a new PIN twice, again until it is 4 to 255 bytes long and both are equal.
pub fn ask_new_pin(first: &str, second: &str, instead: &str) -> Outcome<Secret> {
    loop {
        let pin = ask(first, instead)?;
        if let Err(e) = check_length(&pin, "PIN") {
            note(e.message);
            continue;
        }
        if ask(second, instead)? == pin {
            return Ok(pin);
        }
        note("The PINs do not match. Try again.");
    }
}

/// A new PIN must be 4 to 255 bytes long, and is warned of when it is short.
pub fn check_new(pin: &Secret, what: &str) -> Outcome {
    check_length(pin, what)?;
    if pin.len() < PIN_ADVISED {
        note(format!(
            "Warning: the {what} has fewer than {PIN_ADVISED} characters. Who can read the token directory can try all such PINs."
        ));
    }
    Ok(())
}

fn check_length(pin: &Secret, what: &str) -> Outcome {
    if (PIN_MIN..=PIN_MAX).contains(&pin.len()) {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Pin,
        format!(
            "The length of the {what} is out of range: it has {} characters, {PIN_MIN} to {PIN_MAX} are allowed.",
            pin.len()
        ),
    ))
}

/// The existing SO PIN: `-sopin`, `MRHSM_SO_PIN_FILE`, or the prompt.
pub fn so_pin(arg: Option<&SecretArg>) -> Outcome<Secret> {
    match given(arg, "-sopin", SO_PIN_FILE)? {
        Some(pin) => Ok(pin),
        None => ask("Enter SO PIN: ", SO_PIN_INSTEAD),
    }
}

/// A new SO PIN: `-sopin`, `MRHSM_SO_PIN_FILE`, or the prompt, twice.
pub fn new_so_pin(arg: Option<&SecretArg>) -> Outcome<Secret> {
    let pin = match given(arg, "-sopin", SO_PIN_FILE)? {
        Some(pin) => pin,
        None => ask_new_pin(
            "Enter SO PIN (4-255 characters): ",
            "Please reenter SO PIN: ",
            SO_PIN_INSTEAD,
        )?,
    };
    check_new(&pin, "SO PIN")?;
    Ok(pin)
}

/// Names the file that holds the SO PIN.
pub const SO_PIN_FILE: &str = "MRHSM_SO_PIN_FILE";
/// Names a file with the password of the database of `mrhsm serve`.
pub const STORE_PASSWORD_FILE: &str = "MRHSM_STORE_PASSWORD_FILE";
/// Names the file that holds the user PIN.
pub const PIN_FILE: &str = "MRHSM_PIN_FILE";
const SO_PIN_INSTEAD: &str = "-sopin file:PATH, -sopin env:NAME or MRHSM_SO_PIN_FILE";

/// Ctrl-C at a prompt.
mod interrupt {
    #![allow(unsafe_code, reason = "signal(2) has no safe wrapper in std")]

    /// Runs `ask` with SIGINT ignored. rpassword reads Ctrl-C as a character and raises the signal itself, before it has
    /// restored the terminal; ignored, the signal lets it return `Interrupted` and restore the terminal first.
    pub fn ignored_during<T>(ask: impl FnOnce() -> T) -> T {
        // SAFETY: SIG_IGN is a valid disposition, and no other thread of this command sets one.
        let before = unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
        let answer = ask();
        if before != libc::SIG_ERR {
            // SAFETY: `before` is what signal(2) returned for the same signal.
            unsafe { libc::signal(libc::SIGINT, before) };
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn an_option_names_a_file_a_variable_or_the_text() {
        assert!(matches!("file:/a b".parse(), Ok(SecretArg::File(p)) if p == Path::new("/a b")));
        assert!(matches!("env:X".parse(), Ok(SecretArg::Env(n)) if n == "X"));
        assert!(matches!("pass:file:x".parse(), Ok(SecretArg::Literal(t)) if t == "file:x"));
        assert!(matches!("a:b".parse(), Ok(SecretArg::Literal(t)) if t == "a:b"));
    }

    #[test]
    fn debug_shows_no_secret() {
        assert_eq!(
            format!("{:?}", "hunter2".parse::<SecretArg>()),
            "Ok(Literal(..))"
        );
    }

    #[test]
    fn a_file_gives_its_first_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::set_permissions(file.path(), PermissionsExt::from_mode(0o600)).unwrap();
        for (content, pin) in [("1234\n", "1234"), ("12 34\r\nmore", "12 34"), ("x", "x")] {
            std::fs::write(file.path(), content).unwrap();
            assert_eq!(
                read_file(file.path(), "-sopin").unwrap().expose(),
                pin.as_bytes()
            );
        }
        for content in [String::new(), "\nx".into(), "x".repeat(5000)] {
            std::fs::write(file.path(), content).unwrap();
            assert!(read_file(file.path(), "-sopin").is_err());
        }
        let e = read_file(Path::new("/nonexistent/pin"), "-sopin").unwrap_err();
        assert!(
            e.message.contains("-sopin: cannot read /nonexistent/pin"),
            "{e}"
        );
    }

    #[test]
    fn length_of_a_new_pin() {
        for (len, good) in [(3, false), (4, true), (255, true), (256, false)] {
            assert_eq!(
                check_length(&Secret::new(vec![b'x'; len]), "SO PIN").is_ok(),
                good,
                "{len}"
            );
        }
    }
}
