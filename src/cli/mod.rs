//! The `mrhsm` command: one file per subcommand; what they share is in `args`, `prompt`, `output`, `tokens`.
//!
//! Results go to stdout, notes and questions elsewhere (stderr, the terminal). How each command behaves, its exit codes
//! and its JSON are in `docs/CLI.md`, which a test compares with the definitions here.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{ColorChoice, CommandFactory, FromArgMatches, Parser, Subcommand};

mod args;
mod audit;
mod certificate;
mod certs;
mod cluster;
mod completions;
mod configure;
mod database;
mod delete;
mod dump;
mod enable;
mod exit;
mod identity;
mod info;
mod init;
mod marker;
mod notify;
mod opened;
mod output;
mod own_certificate;
mod prompt;
mod rekey;
mod remove;
mod serve;
mod set;
mod signals;
mod sopin;
mod spelling;
mod store;
mod tokens;
mod userpin;

use args::Global;
use exit::{Exit, Failure, Outcome};
use output::{Output, note};

use crate::error;
use crate::secret::{Secret, hide_process_memory};
use crate::storage::{Engine, NewHeader};

/// Makes any KMIP key manager usable as an HSM: sets up tokens, points them at KMIP servers, and keeps a cluster's master
/// keys wrapped under keys that the key manager holds.
#[derive(Debug, Parser)]
#[command(
    name = "mrhsm",
    version,
    color = ColorChoice::Never,
    max_term_width = 100,
    subcommand_required = true,
    after_help = "Options may be written with one dash or two. 'mrhsm help COMMAND' explains a command.\n\
                  First steps: mrhsm init -label NAME, mrhsm set -ip HOST -cacert .. -clientcert .. -clientkey .., mrhsm info -config, mrhsm enable"
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a token
    Init(Box<init::Args>),
    /// Change a token's KMIP configuration
    Set(Box<set::Args>),
    /// Clear parts of a token's KMIP configuration
    Remove(remove::Args),
    /// Show slots, the KMIP configuration with the state of every server, and the cluster's keys
    Info(info::Args),
    /// Protect the cluster's CLDB and DARE keys by keys on the key manager
    Enable(enable::Args),
    /// Replace the Core KEK or the Common KEK by a new one
    Rekey(rekey::Args),
    /// Change the SO PIN
    Sopin(sopin::Args),
    /// Change the user PIN, or set it as the security officer
    Userpin(userpin::Args),
    /// Delete a token, with what the token directory holds of it
    Delete(delete::Args),
    /// Show what is in the files of a token directory, without secrets
    Dump(dump::Args),
    /// Do init, set, a check of all servers and enable in one call, which can be repeated until it succeeds
    Configure(Box<configure::Args>),
    /// Serve keys over KMIP: an embedded key manager
    Serve(Box<serve::Args>),
    /// Make certificates for servers and clients, signed by an authority of one's own
    Certs(certs::Args),
    /// Verify the audit log of 'mrhsm serve'
    Audit(audit::Args),
    /// Check, copy or compact the database of a file token or of 'mrhsm serve'
    Store(store::Args),
    /// Print a completion script or the man page
    Completions(completions::Args),
}

/// A PostgreSQL database for `mrhsm serve`.
pub struct Postgres {
    /// Its address, without a password.
    pub url: String,
    /// The password.
    pub password: Option<Secret>,
    /// Certificates that its certificate is verified with, PEM; without any, those of the system.
    pub ca: Option<Vec<u8>>,
}

/// Opens a PostgreSQL database, with what makes the header of a new one.
pub type OpenPostgres = fn(&Postgres, NewHeader<'_>) -> error::Result<Box<dyn Engine>>;

/// Runs the command line `words` (the program's name first) and returns how the process ends. `postgres` opens databases that the
/// library itself cannot: it has no asynchronous runtime.
pub fn run(words: Vec<OsString>, postgres: OpenPostgres) -> ExitCode {
    hide_process_memory();
    let outcome = match parse(words) {
        Ok(cli) => {
            let mut out = Output::new(cli.global.json);
            let done = dispatch(&cli, postgres, &mut out);
            done.and(out.finish())
        }
        Err(early) => early,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.message.is_empty() {
                note(&failure.message);
            }
            ExitCode::from(failure.exit as u8)
        }
    }
}

fn dispatch(cli: &Cli, postgres: OpenPostgres, out: &mut Output) -> Outcome {
    let global = &cli.global;
    match &cli.command {
        Command::Init(args) => init::run(args, global, out),
        Command::Set(args) => set::run(args, global, out),
        Command::Remove(args) => remove::run(args, global, out),
        Command::Info(args) => info::run(args, global, out),
        Command::Enable(args) => enable::run(args, global, out),
        Command::Rekey(args) => rekey::run(args, global, out),
        Command::Sopin(args) => sopin::run(args, global, out),
        Command::Userpin(args) => userpin::run(args, global, out),
        Command::Delete(args) => delete::run(args, global, out),
        Command::Dump(args) => dump::run(args, global, out),
        Command::Configure(args) => configure::run(args, global, out),
        Command::Serve(args) => serve::run(args, postgres, out),
        Command::Certs(args) => certs::run(args, out),
        Command::Audit(args) => audit::run(args, out),
        Command::Store(args) => store::run(args, postgres, global, out),
        Command::Completions(args) => completions::run(args, out),
    }
}

/// The parsed command line, or how the process ends without one: help and version succeed, the rest is misuse.
fn parse(words: Vec<OsString>) -> Result<Cli, Outcome> {
    let mut command = Cli::command();
    command.build();
    let words = spelling::with_two_dashes(&command, words);
    let parsed = command
        .try_get_matches_from(words)
        .and_then(|mut matches| Cli::from_arg_matches_mut(&mut matches));
    parsed.map_err(|e| {
        let text = spelling::with_one_dash(&e.render().to_string());
        if matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
            let mut out = Output::new(false);
            out.write(&text);
            return out.finish();
        }
        Err(Failure::new(Exit::Usage, text.trim_end()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_manual_names_every_command_and_option() {
        let manual = include_str!("../../docs/CLI.md");
        let section = |heading: &str| {
            let start = manual
                .find(heading)
                .unwrap_or_else(|| panic!("docs/CLI.md has no '{}'", heading.trim()));
            let text = &manual[start + heading.len()..];
            &text[..text.find("\n## ").unwrap_or(text.len())]
        };
        let common = section("\n## Common options\n");
        let mut command = Cli::command();
        command.build();
        for sub in command.get_subcommands().filter(|s| s.get_name() != "help") {
            let own = section(&format!("\n## mrhsm {}\n", sub.get_name()));
            for arg in sub
                .get_arguments()
                .filter(|a| !a.is_global_set() && a.get_id() != "help")
            {
                let name = arg.get_long().map_or_else(
                    || arg.get_id().to_string().to_uppercase(),
                    |l| format!("-{l}"),
                );
                let told = |text: &str| text.contains(&format!("`{name}"));
                assert!(
                    told(own) || told(common),
                    "docs/CLI.md, mrhsm {}: no {name}",
                    sub.get_name()
                );
            }
        }
    }
}
