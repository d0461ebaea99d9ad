//! `mrhsm certs`: certificates for servers and clients, signed by an authority of one's own.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::exit::{Failure, Outcome};
use super::output::{Output, note};
use super::prompt::SecretArg;
use crate::server::{Authority, Certified, Wanted, default_home};

/// Options of `mrhsm certs`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Directory of the authority and of what it signs [default: that of 'mrhsm serve']
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,

    /// Common name, and name of the files: a node's or a server's name
    #[arg(long, value_name = "NAME")]
    pub name: String,

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

/// What was made, for JSON.
#[derive(Serialize)]
struct View<'a> {
    ca: &'a Path,
    certificate: &'a Path,
    key: &'a Path,
    p12: Option<&'a Path>,
    renewed: bool,
}

/// Makes the certificate, and the authority when there is none.
pub fn run(args: &Args, out: &mut Output) -> Outcome {
    let dir = directory(args.dir.as_deref())?;
    let password = args
        .p12
        .as_ref()
        .map(|password| password.read("-p12"))
        .transpose()?;
    if password
        .as_ref()
        .is_some_and(|password| password.is_empty())
    {
        return Err(Failure::usage("-p12: an empty password protects nothing"));
    }
    let (authority, made) = Authority::open(&dir)?;
    if made {
        note(format!(
            "A new authority is made: {}. Whoever has {} can make clients of it.",
            authority.certificate().display(),
            dir.join("ca.key").display()
        ));
    }
    let wanted = Wanted {
        name: &args.name,
        hosts: &args.san,
        clusters: &args.cluster,
        days: args.days,
        p12: password.as_ref(),
    };
    let Certified {
        certificate,
        key,
        p12,
        renewed,
    } = authority.issue(&wanted)?;
    if renewed {
        note(format!(
            "{} was there already: the certificate is renewed, the key is the same.",
            key.display()
        ));
    }
    let ca = authority.certificate();
    out.line(format!("CA certificate : {}", ca.display()));
    out.line(format!("Certificate    : {}", certificate.display()));
    out.line(format!("Private key    : {}", key.display()));
    if let Some(p12) = &p12 {
        out.line(format!("PKCS#12        : {}", p12.display()));
    }
    out.object(&View {
        ca: &ca,
        certificate: &certificate,
        key: &key,
        p12: p12.as_deref(),
        renewed,
    });
    Ok(())
}

/// The directory that was named, or the usual one.
pub fn directory(given: Option<&Path>) -> Outcome<PathBuf> {
    Ok(match given {
        Some(dir) => std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned()),
        None => default_home()?,
    })
}
