//! `mrhsm audit`: whether the audit log of `mrhsm serve` is whole.

use std::path::PathBuf;

use serde::Serialize;

use super::certs::directory;
use super::exit::{Exit, Failure, Outcome};
use super::output::{Output, note};
use super::prompt::{self, SecretArg};
use crate::server::{Findings, Home, verify};

/// Options of `mrhsm audit`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    pub action: Action,
}

/// What is done with the log.
#[derive(clap::Subcommand, Debug)]
pub enum Action {
    /// Say whether a line was removed, changed, added or put elsewhere
    Verify(VerifyArgs),
}

/// Options of `mrhsm audit verify`.
#[derive(clap::Args, Debug)]
pub struct VerifyArgs {
    /// Directory of the server [default: that of 'mrhsm serve']
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,

    /// PIN that opens the key of the seals: file:PATH, env:NAME or the PIN itself [default: MRHSM_PIN_FILE, else the one kept in DIR]
    #[arg(long, value_name = "PIN")]
    pub pin: Option<SecretArg>,

    /// Files of one log, the oldest first [default: DIR/audit.log and its full files]
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

#[derive(Serialize)]
struct View<'a> {
    ok: bool,
    #[serde(flatten)]
    found: &'a Findings,
}

/// Verifies the log.
pub fn run(args: &Args, out: &mut Output) -> Outcome {
    let Action::Verify(args) = &args.action;
    let dir = directory(args.dir.as_deref())?;
    let path = match args.files.as_slice() {
        [only] => only.clone(),
        _ => dir.join("audit.log"),
    };
    // A file alone has its full files beside it, as the one in the directory has.
    let files: &[PathBuf] = match args.files.len() {
        1 => &[],
        _ => &args.files,
    };
    if files.is_empty() && !path.exists() {
        return Err(Failure::not_ready(format!(
            "There is no audit log {}: name the server's directory with -dir, or the files.",
            path.display()
        )));
    }
    let pin = prompt::given(args.pin.as_ref(), "-pin", prompt::PIN_FILE)?;
    let key = Home::at(&dir).audit_key(pin.as_ref())?;
    if key.is_none() {
        note("Without the server's directory and PIN the seals are not checked, only the chain.");
    }
    let found = verify(&path, files, key.as_ref())?;
    show(&found, out);
    out.object(&View {
        ok: found.problems.is_empty(),
        found: &found,
    });
    match found.problems.len() {
        0 => Ok(()),
        1 => Err(Failure::new(
            Exit::Failed,
            "The audit log is not whole: 1 problem.",
        )),
        n => Err(Failure::new(
            Exit::Failed,
            format!("The audit log is not whole: {n} problems."),
        )),
    }
}

fn show(found: &Findings, out: &mut Output) {
    for problem in &found.problems {
        let at = match problem.line {
            0 => String::new(),
            line => format!(":{line}"),
        };
        out.line(format!(
            "{}{at}: {}",
            problem.file.display(),
            problem.problem
        ));
    }
    let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |n| n.to_string());
    out.line(format!(
        "Lines      : {} ({} to {})",
        found.lines,
        number(found.first),
        number(found.last)
    ));
    if found.unchained > 0 {
        out.line(format!(
            "Older lines: {}, which no chain covers",
            found.unchained
        ));
    }
    if found.cut_short > 0 {
        out.line(format!(
            "Cut short  : {} lines, by a crash or a full disk",
            found.cut_short
        ));
    }
    out.line(format!(
        "Sealed to  : {}{}",
        number(found.sealed_to),
        match found.seals_checked {
            true => "",
            false => ", not checked",
        }
    ));
    out.line(format!(
        "Last hash  : {}",
        found.hash.as_deref().unwrap_or("-")
    ));
    if found.problems.is_empty() {
        out.line("The audit log is whole.");
    }
}
