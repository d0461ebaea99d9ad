//! `mrhsm certs`: certificates for servers and clients, signed by an authority of one's own; which there are, and which are revoked.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::exit::{Failure, Outcome};
use super::output::{Output, note};
use super::prompt::SecretArg;
use crate::secret::Secret;
use crate::server::{Authority, Certified, Issued, Reason, Wanted, Which, default_home};

/// Options of `mrhsm certs`.
#[derive(clap::Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    #[command(subcommand)]
    pub action: Option<Action>,

    /// Directory of the authority and of what it signs [default: that of 'mrhsm serve']
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,

    /// Common name, and name of the files: a node's or a server's name
    #[arg(long, value_name = "NAME", required = true)]
    pub name: Option<String>,

    /// Names and addresses of a server; without any it is a client's certificate
    #[arg(long, value_name = "HOST,...", value_delimiter = ',', num_args = 1)]
    pub san: Vec<String>,

    /// Organisational unit, the cluster's name: clients of one cluster share their keys
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', num_args = 1)]
    pub cluster: Vec<String>,

    /// Days it is valid
    #[arg(long, value_name = "N", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=36500))]
    pub days: u32,

    /// Also write NAME.p12 (PKCS#12) with this password: file:PATH, env:NAME or the text itself
    #[arg(long, value_name = "PASS")]
    pub p12: Option<SecretArg>,
}

/// What is done with certificates that there are.
#[derive(clap::Subcommand, Debug)]
pub enum Action {
    /// Revoke certificates: 'mrhsm serve' in the directory closes their connections within seconds
    Revoke(RevokeArgs),
    /// List the certificates that the authority signed
    List(ListArgs),
    /// Make a new certificate of a name, for what the last one is for
    Renew(RenewArgs),
}

/// Options of `mrhsm certs revoke`.
#[derive(clap::Args, Debug)]
pub struct RevokeArgs {
    /// Directory of the authority [default: that of 'mrhsm serve']
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,

    /// Name, of which all valid certificates are revoked, or PEM file of one certificate
    #[arg(value_name = "NAME|FILE", required_unless_present = "serial")]
    pub which: Option<String>,

    /// Serial number, hexadecimal, as 'mrhsm certs list' shows it
    #[arg(long, value_name = "N", conflicts_with = "which")]
    pub serial: Option<String>,

    /// Why: unspecified, keyCompromise, affiliationChanged, superseded, cessationOfOperation, privilegeWithdrawn
    #[arg(long, value_name = "REASON", default_value = "unspecified", value_parser = reason)]
    pub reason: Reason,
}

/// Options of `mrhsm certs list`.
#[derive(clap::Args, Debug)]
pub struct ListArgs {
    /// Directory of the authority [default: that of 'mrhsm serve']
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Options of `mrhsm certs renew`.
#[derive(clap::Args, Debug)]
pub struct RenewArgs {
    /// Directory of the authority [default: that of 'mrhsm serve']
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,

    /// Name of the certificate
    #[arg(value_name = "NAME")]
    pub name: String,

    /// Make a new key, too
    #[arg(long)]
    pub newkey: bool,

    /// Days it is valid [default: as many as the last one]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=36500))]
    pub days: Option<u32>,

    /// Also write NAME.p12 (PKCS#12) with this password: file:PATH, env:NAME or the text itself
    #[arg(long, value_name = "PASS")]
    pub p12: Option<SecretArg>,
}

fn reason(word: &str) -> Result<Reason, String> {
    let found = Reason::ALL.iter().find(|(known, _)| *known == word);
    found.map(|(_, reason)| *reason).ok_or_else(|| {
        let words: Vec<&str> = Reason::ALL.iter().map(|(word, _)| *word).collect();
        format!("one of {} is expected", words.join(", "))
    })
}

/// What was made, for JSON.
#[derive(Serialize)]
struct View<'a> {
    ca: &'a Path,
    certificate: &'a Path,
    key: &'a Path,
    p12: Option<&'a Path>,
    renewed: bool,
}

/// A certificate, for JSON.
#[derive(Serialize)]
struct Row {
    name: String,
    serial: String,
    server: bool,
    not_after: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

impl Row {
    fn of(issued: &Issued) -> Row {
        let expired = issued.not_after <= jiff::Timestamp::now().as_second();
        Row {
            name: issued.name.clone(),
            serial: issued.serial.clone(),
            server: issued.server,
            not_after: time(issued.not_after),
            state: match issued.revoked {
                Some(_) => "revoked",
                None if expired => "expired",
                None => "valid",
            },
            revoked: issued.revoked.map(|(at, _)| time(at)),
            reason: issued.revoked.map(|(_, reason)| reason.word()),
        }
    }
}

fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| "?".into(), |time| time.to_string())
}

/// Makes the certificate, and the authority when there is none; or what a subcommand says.
pub fn run(args: &Args, out: &mut Output) -> Outcome {
    match &args.action {
        None => issue(args, out),
        Some(Action::Revoke(args)) => revoke(args, out),
        Some(Action::List(args)) => list(args, out),
        Some(Action::Renew(args)) => renew(args, out),
    }
}

fn issue(args: &Args, out: &mut Output) -> Outcome {
    let dir = directory(args.dir.as_deref())?;
    let password = password(args.p12.as_ref())?;
    let (mut authority, made) = Authority::open(&dir)?;
    if made {
        note(format!(
            "A new authority is made: {}. Whoever has {} can make clients of it.",
            authority.certificate().display(),
            dir.join("ca.key").display()
        ));
    }
    let wanted = Wanted {
        name: args.name.as_deref().unwrap_or_default(),
        hosts: &args.san,
        clusters: &args.cluster,
        days: args.days,
        p12: password.as_ref(),
    };
    let certified = authority.issue(&wanted)?;
    if certified.renewed {
        note(format!(
            "{} was there already: the certificate is renewed, the key is the same.",
            certified.key.display()
        ));
    }
    show(&authority, &certified, out);
    Ok(())
}

fn show(authority: &Authority, certified: &Certified, out: &mut Output) {
    let ca = authority.certificate();
    out.line(format!("CA certificate : {}", ca.display()));
    out.line(format!(
        "Certificate    : {}",
        certified.certificate.display()
    ));
    out.line(format!("Private key    : {}", certified.key.display()));
    if let Some(p12) = &certified.p12 {
        out.line(format!("PKCS#12        : {}", p12.display()));
    }
    out.object(&View {
        ca: &ca,
        certificate: &certified.certificate,
        key: &certified.key,
        p12: certified.p12.as_deref(),
        renewed: certified.renewed,
    });
}

fn revoke(args: &RevokeArgs, out: &mut Output) -> Outcome {
    let mut authority = existing(args.dir.as_deref())?;
    let text = args.which.as_deref().unwrap_or_default();
    let which = match &args.serial {
        Some(serial) => Which::Serial(serial),
        // The names of certificates have no slash, and no file without one is meant that is not a certificate's.
        None if text.contains('/') || (text.ends_with(".pem") && Path::new(text).exists()) => {
            Which::File(Path::new(text))
        }
        None => Which::Name(text),
    };
    let revoked = authority.revoke(&which, args.reason)?;
    let rows: Vec<Row> = revoked.iter().map(Row::of).collect();
    for row in &rows {
        out.line(format!("Revoked {} ({})", row.serial, row.name));
    }
    out.line(format!(
        "CRL            : {}",
        authority.revocations().display()
    ));
    out.object(&rows);
    note(
        "'mrhsm serve' in this directory closes their connections within seconds. Servers elsewhere need the new CRL (-crl) and SIGHUP.",
    );
    Ok(())
}

fn list(args: &ListArgs, out: &mut Output) -> Outcome {
    let authority = existing(args.dir.as_deref())?;
    let rows: Vec<Row> = authority.issued().iter().map(Row::of).collect();
    let width = rows
        .iter()
        .map(|row| row.name.len())
        .max()
        .unwrap_or(0)
        .max(4);
    out.line(format!(
        "{:width$}  {:32}  {:6}  {:20}  State",
        "Name", "Serial", "For", "Not after"
    ));
    for row in &rows {
        let reason = row.reason.filter(|reason| *reason != "unspecified");
        out.line(format!(
            "{:width$}  {:32}  {:6}  {:20}  {}{}",
            row.name,
            row.serial,
            if row.server { "server" } else { "client" },
            row.not_after,
            row.state,
            reason.map_or_else(String::new, |reason| format!(" ({reason})")),
        ));
    }
    out.object(&rows);
    Ok(())
}

fn renew(args: &RenewArgs, out: &mut Output) -> Outcome {
    let mut authority = existing(args.dir.as_deref())?;
    let password = password(args.p12.as_ref())?;
    let certified = authority.renew(&args.name, args.newkey, args.days, password.as_ref())?;
    if !certified.renewed && !args.newkey {
        note("A certificate of the last key is revoked: the key is new, too.");
    }
    show(&authority, &certified, out);
    note("The last certificate stays valid until it ends or is revoked by its serial number.");
    Ok(())
}

fn password(given: Option<&SecretArg>) -> Outcome<Option<Secret>> {
    let password = given.map(|given| given.read("-p12")).transpose()?;
    if password
        .as_ref()
        .is_some_and(|password| password.is_empty())
    {
        return Err(Failure::usage("-p12: an empty password protects nothing"));
    }
    Ok(password)
}

/// The authority that there is.
fn existing(dir: Option<&Path>) -> Outcome<Authority> {
    let dir = directory(dir)?;
    if !dir.join("ca.pem").exists() && !dir.join("ca.key").exists() {
        return Err(Failure::not_ready(format!(
            "There is no authority in {}: name its directory with -dir, or make one with 'mrhsm certs -name NAME'.",
            dir.display()
        )));
    }
    Ok(Authority::open(&dir)?.0)
}

/// The directory that was named, or the usual one.
pub fn directory(given: Option<&Path>) -> Outcome<PathBuf> {
    Ok(match given {
        Some(dir) => std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned()),
        None => default_home()?,
    })
}
