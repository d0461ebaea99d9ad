//! `mrhsm store`: checks, copies and compacts the database of a file token or of `mrhsm serve`, while others use it.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::OpenPostgres;
use super::args::{Global, TokenChoice};
use super::database::Database;
use super::exit::{Exit, Failure, Outcome};
use super::output::Output;
use super::prompt::{self, SecretArg};
use super::tokens;
use crate::secret::Secret;
use crate::server::Home;
use crate::storage::{Connect, NewHeader, Record, Repository};
use crate::token::open_files;

/// Options of `mrhsm store`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    pub action: Action,
}

/// What is done with the database.
#[derive(clap::Subcommand, Debug)]
pub enum Action {
    /// Verify every object: nothing damaged, removed or replaced by an older state
    Check(Place),
    /// Copy the database to a file, as it is now
    Backup(Backup),
    /// Give the room of removed objects back to the file system
    Compact(Place),
    /// Show how large the database is
    Info(Place),
    /// Copy the objects of a server's directory to its PostgreSQL database
    Copy(Place),
}

/// Options of `mrhsm store backup`.
#[derive(clap::Args, Debug)]
pub struct Backup {
    /// The new file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    #[command(flatten)]
    pub place: Place,
}

/// Which database.
#[derive(clap::Args, Debug)]
pub struct Place {
    /// Directory of 'mrhsm serve', instead of a token
    #[arg(long, value_name = "DIR", conflicts_with_all = ["token", "serial"])]
    pub dir: Option<PathBuf>,

    /// PIN that opens the server's directory: file:PATH, env:NAME or the PIN itself [default: MRHSM_PIN_FILE, else the one kept in DIR]
    #[arg(long, value_name = "PIN", requires = "dir")]
    pub pin: Option<SecretArg>,

    #[command(flatten)]
    pub database: Database,

    #[command(flatten)]
    pub choice: TokenChoice,
}

#[derive(Serialize)]
struct Checked {
    ok: bool,
    problems: Vec<String>,
}

#[derive(Serialize)]
struct InfoView {
    objects: u64,
    bytes: u64,
    free_bytes: u64,
    wal_bytes: u64,
}

/// Opens the database and does it.
pub fn run(args: &Args, postgres: OpenPostgres, global: &Global, out: &mut Output) -> Outcome {
    let place = match &args.action {
        Action::Check(place)
        | Action::Compact(place)
        | Action::Info(place)
        | Action::Copy(place) => place,
        Action::Backup(backup) => &backup.place,
    };
    if let Some(dir) = &place.dir {
        let pin = prompt::given(place.pin.as_ref(), "-pin", prompt::PIN_FILE)?;
        let settings = place.database.settings()?;
        let connect = settings
            .as_ref()
            .map(|settings| move |header: NewHeader<'_>| postgres(settings, header));
        let connect = connect.as_ref().map(|connect| connect as Connect<'_>);
        let home = Home::at(dir);
        if let Action::Copy(_) = args.action {
            return copy(&home, pin.as_ref(), connect, out);
        }
        return match home.existing(pin.as_ref(), connect)? {
            Some(objects) => act(&args.action, objects.repository(), out),
            None => Err(Failure::not_ready(format!(
                "{} holds no objects of mrhsm serve.",
                dir.display()
            ))),
        };
    }
    if place.database.store.is_some() || matches!(args.action, Action::Copy(_)) {
        return Err(Failure::usage("name the server's directory, with -dir"));
    }
    let dir = tokens::directory(global)?;
    let config = dir.load()?;
    let token = tokens::choose(&dir, &config, &place.choice)?;
    let key = tokens::unlock_as_user(&dir, token)?;
    match open_files(&dir, token, &key)? {
        Some(files) => act(&args.action, files.repository(), out),
        None => Err(Failure::not_ready(format!(
            "Token '{}' has no objects in the token directory.",
            token.label
        ))),
    }
}

fn act<R: Record>(action: &Action, objects: &Repository<R>, out: &mut Output) -> Outcome {
    match action {
        Action::Check(_) => check(objects.check()?, out),
        Action::Backup(backup) => {
            objects.engine().backup(&backup.file)?;
            copied(&backup.file, out)
        }
        Action::Compact(_) => {
            objects.engine().compact()?;
            info(objects, out)
        }
        Action::Info(_) | Action::Copy(_) => info(objects, out),
    }
}

fn check(problems: Vec<String>, out: &mut Output) -> Outcome {
    problems.iter().for_each(|problem| out.line(problem));
    let message = match problems.len() {
        0 => None,
        1 => Some("The database is not whole: 1 problem.".to_owned()),
        n => Some(format!("The database is not whole: {n} problems.")),
    };
    if message.is_none() {
        out.line("The database is whole.");
    }
    out.object(&Checked {
        ok: problems.is_empty(),
        problems,
    });
    message.map_or(Ok(()), |message| Err(Failure::new(Exit::Failed, message)))
}

/// Copies the objects of a directory to a database, for servers that begin to share one.
fn copy(
    home: &Home,
    pin: Option<&Secret>,
    connect: Option<Connect<'_>>,
    out: &mut Output,
) -> Outcome {
    #[derive(Serialize)]
    struct Copied {
        copied: u64,
    }
    let none = || Failure::not_ready(format!("{} holds no objects.", home.path().display()));
    if connect.is_none() {
        return Err(Failure::usage("name the database with -store"));
    }
    let from = home.existing(pin, None)?.ok_or_else(none)?;
    let to = home.existing(pin, connect)?.ok_or_else(none)?;
    let copied = from.copy_to(&to)?;
    out.line(format!(
        "Copied: {copied}. Objects that were there already stay as they are."
    ));
    out.object(&Copied { copied });
    Ok(())
}

fn copied(file: &Path, out: &mut Output) -> Outcome {
    #[derive(Serialize)]
    struct Copied<'a> {
        backup: &'a Path,
    }
    out.line(format!("Copied to {}.", file.display()));
    out.object(&Copied { backup: file });
    Ok(())
}

fn info<R: Record>(objects: &Repository<R>, out: &mut Output) -> Outcome {
    let info = objects.engine().info()?;
    out.line(format!("Objects : {}", info.objects));
    out.line(format!(
        "Size    : {} bytes, {} of them free",
        info.bytes, info.free_bytes
    ));
    out.line(format!("WAL     : {} bytes", info.wal_bytes));
    out.object(&InfoView {
        objects: info.objects,
        bytes: info.bytes,
        free_bytes: info.free_bytes,
        wal_bytes: info.wal_bytes,
    });
    Ok(())
}
