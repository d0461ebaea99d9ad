//! What a command prints: results on stdout, notes on stderr, quiet when nobody reads any more.

use std::io::{self, Write};

use serde::Serialize;

use super::exit::{Exit, Failure, Outcome};

/// Results go to stdout, as text or as one JSON object; notes go to stderr.
pub struct Output {
    json: bool,
    out: Box<dyn Write>,
    failed: Option<io::Error>,
}

impl Output {
    /// Writes to the process's stdout.
    pub fn new(json: bool) -> Output {
        Output {
            json,
            out: Box::new(io::stdout()),
            failed: None,
        }
    }

    /// True when the result is wanted as JSON.
    pub fn json(&self) -> bool {
        self.json
    }

    /// One line of a text result, shown at once. Left out of JSON.
    pub fn line(&mut self, line: impl AsRef<str>) {
        if !self.json {
            self.write(&format!("{}\n", line.as_ref()));
        }
    }

    /// The result as JSON. Left out of text.
    pub fn object(&mut self, value: &impl Serialize) {
        if self.json {
            // Our own structs of strings, numbers and lists always serialize.
            let text = serde_json::to_string_pretty(value).unwrap_or_default();
            self.write(&format!("{text}\n"));
        }
    }

    /// Text or JSON as it is, whatever was asked for (help, completions).
    pub fn write(&mut self, text: &str) {
        if self.failed.is_none() {
            // A command goes on with its work when nobody reads its output: half an `enable` is worse than an unread one.
            self.failed = self
                .out
                .write_all(text.as_bytes())
                .and_then(|()| self.out.flush())
                .err();
        }
    }

    /// Whether everything could be written. A closed pipe is the reader's choice, not an error.
    pub fn finish(self) -> Outcome {
        match self.failed {
            Some(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(
                Exit::Failed,
                format!("cannot write the result to standard output: {e}"),
            )),
            _ => Ok(()),
        }
    }
}

/// A note for people on stderr: progress, warnings, errors. Never fails.
pub fn note(text: impl AsRef<str>) {
    let _ = io::stderr().write_all(format!("{}\n", text.as_ref()).as_bytes());
}
