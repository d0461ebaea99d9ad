//! `mrhsm serve`: the embedded KMIP server.

use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::args::time_out;
use super::certs::directory;
use super::exit::{Failure, Outcome};
use super::output::{Output, note};
use super::prompt::{self, SecretArg};
use super::signals;
use crate::error::Error;
use crate::secret::Secret;
use crate::server::{
    Audit, Authority, Engine, Home, Limits, Options, Personality, Server, Wanted, tls_config,
};

/// How long requests that have come may take when the server stops.
const GRACE: Duration = Duration::from_secs(10);
/// A certificate with fewer days left is renewed at the start, with the same key.
const RENEW_DAYS: i64 = 30;

/// Options of `mrhsm serve`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Address and port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:5696")]
    pub listen: String,

    /// Directory of keys and certificates [default: /var/lib/mrhsm for root, else ~/.local/share/mrhsm]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,

    /// PIN that opens the keys: file:PATH, env:NAME or the PIN itself [default: MRHSM_PIN_FILE, else a random one kept in DIR]
    #[arg(long, value_name = "PIN")]
    pub pin: Option<SecretArg>,

    /// The server's certificate and its chain, PEM [default: DIR/server.pem, made when missing]
    #[arg(long, value_name = "FILE", requires_all = ["key", "clientca"])]
    pub cert: Option<PathBuf>,

    /// Private key of -cert, PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,

    /// CA certificates that sign clients' certificates, PEM [default: DIR/ca.pem, made when missing]
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub clientca: Option<PathBuf>,

    /// Names and addresses for the server's own certificate, beside localhost and the address it listens on
    #[arg(long, value_name = "HOST,...", value_delimiter = ',', num_args = 1)]
    pub san: Vec<String>,

    /// File that every request is written down in, a line of JSON each [default: DIR/audit.log]
    #[arg(long, value_name = "FILE")]
    pub audit: Option<PathBuf>,

    /// Connections at once, of all clients; more are closed
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub connections: u32,

    /// Connections of one client at once, by the name in its certificate [default: half of -connections]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub perclient: Option<u32>,

    /// Longest request, in KiB
    #[arg(long, value_name = "KIB", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub request: u32,

    /// How long a connection may be silent: 10m, 30s
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = time_out)]
    pub idle: u64,

    /// Play another kind of server: standard, pykmip, keystore, vault, cosmian (for tests of clients)
    #[arg(long, value_name = "NAME", default_value = "standard", hide = true)]
    pub personality: String,
}

/// Serves until SIGTERM or SIGINT; SIGHUP has the certificates read again.
pub fn run(args: &Args, out: &mut Output) -> Outcome {
    // Before any thread is: every thread leaves these signals to `wait`.
    let signals = signals::Waiting::begin();
    let mut personality = personality(&args.personality)?;
    personality.largest_request = args.request as usize * 1024;
    let address = address(&args.listen)?;
    let dir = directory(args.dir.as_deref())?;
    let pin = prompt::given(args.pin.as_ref(), "-pin", prompt::PIN_FILE)?;
    let home = Home::at(&dir);
    let objects = home.objects(pin.as_ref())?;
    for offset in objects.damaged() {
        note(format!(
            "A record at offset {offset} of the object file is damaged: its object is missing, the others work."
        ));
    }
    let listener = TcpListener::bind(address)
        .map_err(|e| Error::file(format!("cannot listen on {address}"), e))?;
    let files = certificates(args, &dir, address.ip())?;
    let tls = files.tls()?;
    let audit = Audit::open(args.audit.as_deref().unwrap_or(&dir.join("audit.log")))?;
    let mut limits = Limits {
        idle: Duration::from_millis(args.idle),
        ..Limits::of(args.connections as usize)
    };
    limits.per_client = args.perclient.map_or(limits.per_client, |n| n as usize);
    let options = Options {
        limits,
        audit: Some(audit),
        hook: None,
    };
    let mut server = Server::start(
        Arc::new(Engine::new(personality, objects)),
        listener,
        tls,
        options,
    )?;
    let address = server.address();
    if let Some(command) = configure(&files, address, &dir) {
        out.line(command);
    }
    out.line(format!("Listening on {address}"));
    while signals.wait() == signals::Asked::Reload {
        match certificates(args, &dir, address.ip()).and_then(|files| files.tls()) {
            Ok(tls) => {
                server.renew(tls);
                note("New connections use the certificates as they are now.");
            }
            Err(e) => note(format!("The certificates stay what they were: {e}")),
        }
    }
    note("Stopping.");
    server.stop(GRACE);
    Ok(())
}

fn personality(name: &str) -> Outcome<Personality> {
    Ok(match name {
        "standard" => Personality {
            name: "mrhsm",
            ..Personality::standard()
        },
        "pykmip" => Personality::pykmip_like(),
        "keystore" => Personality::keystore_1_0(),
        "vault" => Personality::vault_like(),
        "cosmian" => Personality::cosmian_like(),
        _ => {
            return Err(Failure::usage(format!(
                "-personality: there is no '{name}'"
            )));
        }
    })
}

fn address(text: &str) -> Outcome<SocketAddr> {
    let found = text
        .to_socket_addrs()
        .ok()
        .and_then(|mut addresses| addresses.next());
    found.ok_or_else(|| {
        Failure::usage(format!(
            "-listen: '{text}' is no address with a port, such as 127.0.0.1:5696"
        ))
    })
}

/// The server's identity: its files, and what is in them.
struct Files {
    cert: Vec<u8>,
    key: Secret,
    ca: Vec<u8>,
    ca_path: PathBuf,
    /// The files of a first client, when they were made now.
    client: Option<(PathBuf, PathBuf)>,
}

impl Files {
    fn read(cert: &Path, key: &Path, ca: &Path) -> Outcome<Files> {
        let read = |path: &Path| {
            std::fs::read(path)
                .map_err(|e| Error::file(format!("cannot read {}", path.display()), e))
        };
        Ok(Files {
            cert: read(cert)?,
            key: Secret::new(read(key)?),
            ca: read(ca)?,
            ca_path: ca.to_owned(),
            client: None,
        })
    }

    /// TLS with what is in the files.
    fn tls(&self) -> Outcome<Arc<rustls::ServerConfig>> {
        Ok(tls_config(
            &self.cert,
            self.key.expose(),
            &self.ca,
            rustls::ALL_VERSIONS,
        )?)
    }
}

/// The certificates that were named, or one's own, made where they are missing and renewed where they expire.
fn certificates(args: &Args, dir: &Path, ip: IpAddr) -> Outcome<Files> {
    if let (Some(cert), Some(key), Some(ca)) = (&args.cert, &args.key, &args.clientca) {
        return Files::read(cert, key, ca);
    }
    // Its lock is held until the files are read: nobody renews them in between.
    let (authority, _) = Authority::open(dir)?;
    let own = dir.join("server.pem");
    let first = authority.has_issued_nothing();
    let client = match first {
        false => None,
        true => {
            let client = authority.issue(&Wanted {
                name: "client",
                hosts: &[],
                clusters: &[],
                days: 825,
                p12: None,
            })?;
            Some((client.certificate, client.key))
        }
    };
    if expires(&own) || !args.san.is_empty() {
        let mut hosts = vec!["localhost".to_owned(), "127.0.0.1".into(), "::1".into()];
        if !ip.is_loopback() && !ip.is_unspecified() {
            hosts.push(ip.to_string());
        }
        hosts.extend(args.san.iter().cloned());
        authority.issue(&Wanted {
            name: "server",
            hosts: &hosts,
            clusters: &[],
            days: 825,
            p12: None,
        })?;
    }
    Ok(Files {
        client,
        ..Files::read(&own, &dir.join("server.key"), &authority.certificate())?
    })
}

/// True when there is no such certificate, or it will not last.
fn expires(path: &Path) -> bool {
    use rustls_pki_types::pem::PemObject;
    use x509_parser::prelude::{FromDer, X509Certificate};
    let Ok(der) = rustls_pki_types::CertificateDer::from_pem_file(path) else {
        return true;
    };
    let Ok((_, certificate)) = X509Certificate::from_der(&der) else {
        return true;
    };
    let left = certificate.validity().not_after.timestamp() - jiff::Timestamp::now().as_second();
    left < RENEW_DAYS * 24 * 3600
}

/// What to type to use this server, when it was made now.
fn configure(files: &Files, address: SocketAddr, dir: &Path) -> Option<String> {
    let (certificate, key) = files.client.as_ref()?;
    let host = if address.ip().is_unspecified() {
        "localhost".to_owned()
    } else {
        address.ip().to_string()
    };
    Some(format!(
        "A new key manager is made in {}. To use it from here:\n\n  \
         mrhsm configure -label demo -cluster demo -sopin file:so.pin -ip {host} -port {} -cacert {} -clientcert {} -clientkey {}\n\n\
         For another node: mrhsm certs -dir {} -name NODE -cluster CLUSTER, and the same with its files.\n",
        dir.display(),
        address.port(),
        files.ca_path.display(),
        certificate.display(),
        key.display(),
        dir.display(),
    ))
}
