//! `mrhsm serve`: the embedded KMIP server.

use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::args::time_out;
use super::certs::directory;
use super::database::Database;
use super::exit::{Exit, Failure, Outcome};
use super::marker::Marker;
use super::output::{Output, note};
use super::prompt::{self, SecretArg};
use super::{OpenPostgres, notify, own_certificate, signals};
use crate::crypto::crl::Crls;
use crate::error::Error;
use crate::secret::Secret;
use crate::server::{
    Access, Allowed, Audit, Authority, Credentials, Engine, Home, Keeping, Limits, Options,
    Personality, Quotas, Server, Standing, Wanted,
};
use crate::storage::{Connect, NewHeader};

/// How long requests that have come may take when the server stops.
const GRACE: Duration = Duration::from_secs(10);
/// How often the authority's revocation list is looked at.
const LOOK: Duration = Duration::from_secs(5);
/// How often the audit log is sealed, where there is something new in it.
const SEAL: Duration = Duration::from_secs(60);
/// How often the revocation list is looked after, which signs it anew before it expires.
const DAILY: Duration = Duration::from_secs(24 * 3600);

/// Options of `mrhsm serve`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Address and port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:5696")]
    pub listen: String,

    /// Directory of keys and certificates [default: /var/lib/mrhsm for root, else ~/.local/share/mrhsm]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,

    #[command(flatten)]
    pub database: Database,

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

    /// Revocation lists (CRLs) of the CAs that sign clients' certificates, PEM or DER, beside DIR/crl.pem
    #[arg(long, value_name = "FILE,...", value_delimiter = ',', num_args = 1)]
    pub crl: Vec<PathBuf>,

    /// Only these clients may connect: a file with a line for each, cn:NAME, subject:NAME or sha256:HEX of its public key
    #[arg(long, value_name = "FILE")]
    pub allow: Option<PathBuf>,

    /// Names and addresses for the server's own certificate, beside localhost and the address it listens on
    #[arg(long, value_name = "HOST,...", value_delimiter = ',', num_args = 1)]
    pub san: Vec<String>,

    /// File that every request is written down in, a line of JSON each [default: DIR/audit.log]
    #[arg(long, value_name = "FILE")]
    pub audit: Option<PathBuf>,

    /// Do no request that cannot be written down in the audit log
    #[arg(long)]
    pub audit_required: bool,

    /// Begin a new audit log when it is so long, in MiB; 0 for never
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u32).range(0..=1_048_576))]
    pub audit_size: u32,

    /// How many full audit logs are kept, AUDIT.000001 and so on; 0 for all
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub audit_keep: u32,

    /// File for the process ID, written when the server listens and removed when it ends
    #[arg(long, value_name = "FILE")]
    pub pidfile: Option<PathBuf>,

    /// File for the port, written when the server listens and removed when it ends
    #[arg(long, value_name = "FILE")]
    pub portfile: Option<PathBuf>,

    /// Connections at once, of all clients; one more ends a silent one
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub connections: u32,

    /// Connections of one client at once, by the name in its certificate [default: half of -connections]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub perclient: Option<u32>,

    /// Handshakes at once, and a second, from one address (IPv6: /64) from which no client has come within the last hour
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub peraddress: u32,

    /// Longest request, in KiB
    #[arg(long, value_name = "KIB", default_value_t = 17 * 1024, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub request: u32,

    /// How long a connection may be silent: 10m, 30s
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = time_out)]
    pub idle: u64,

    /// Work of one request, in millions of units: a unit is about what hashing 64 bytes takes
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub work: u64,

    /// Operations in parts that one client has at once
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub streams: u32,

    /// Objects of one client, destroyed ones included
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub objects: u32,

    /// What the objects of one client take on the disk, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub space: u64,

    /// Play another kind of server: standard, pykmip, keystore, vault, cosmian (for tests of clients)
    #[arg(long, value_name = "NAME", default_value = "standard", hide = true)]
    pub personality: String,
}

/// Serves until SIGTERM or SIGINT; SIGHUP has the certificates read and the logs opened again.
pub fn run(args: &Args, postgres: OpenPostgres, out: &mut Output) -> Outcome {
    // Before any thread is: every thread leaves these signals to `wait`.
    let signals = signals::Waiting::begin();
    let mut personality = personality(&args.personality)?;
    personality.largest_request = args.request as usize * 1024;
    let address = address(&args.listen)?;
    let dir = directory(args.dir.as_deref())?;
    for (option, path) in [("-pidfile", &args.pidfile), ("-portfile", &args.portfile)] {
        path.as_deref()
            .map_or(Ok(()), |path| Marker::check(option, path))?;
    }
    let pin = prompt::given(args.pin.as_ref(), "-pin", prompt::PIN_FILE)?;
    let home = Home::at(&dir);
    let settings = args.database.settings()?;
    let connect = settings
        .as_ref()
        .map(|settings| move |header: NewHeader<'_>| postgres(settings, header));
    let connect = connect.as_ref().map(|connect| connect as Connect<'_>);
    let (objects, audit_key) = home.open(pin.as_ref(), connect)?;
    let listener = TcpListener::bind(address)
        .map_err(|e| Error::file(format!("cannot listen on {address}"), e))?;
    let files = certificates(args, &dir, address.ip())?;
    let access = files.access(args)?;
    let audit = Audit::open(
        args.audit.as_deref().unwrap_or(&dir.join("audit.log")),
        Keeping {
            key: audit_key,
            size: u64::from(args.audit_size) << 20,
            keep: args.audit_keep as usize,
        },
        args.audit_required,
        Box::new(|warning: &str| note(warning)),
    )?;
    let mut limits = Limits {
        idle: Duration::from_millis(args.idle),
        per_address: args.peraddress as usize,
        ..Limits::of(args.connections as usize)
    };
    limits.per_client = args.perclient.map_or(limits.per_client, |n| n as usize);
    let quotas = Quotas {
        work: args.work * 1_000_000,
        streams: args.streams as usize,
        objects: args.objects as usize,
        bytes: args.space << 20,
        // A large object can be changed, too, and that be undone.
        written: Quotas::default()
            .written
            .max(4 * personality.largest_request as u64),
        ..Quotas::default()
    };
    let options = Options {
        limits,
        audit: Some(audit),
        hook: None,
    };
    let mut server = Server::start(
        Arc::new(Engine::new(personality, objects).with_quotas(quotas)),
        listener,
        access,
        options,
    )?;
    let address = server.address();
    let _markers = [
        (&args.portfile, u32::from(address.port())),
        (&args.pidfile, std::process::id()),
    ]
    .into_iter()
    .filter_map(|(path, number)| Some(Marker::write(path.as_deref()?, number)))
    .collect::<Outcome<Vec<Marker>>>()?;
    if let Some(command) = configure(&files, address, &dir) {
        out.line(command);
    }
    out.line(format!("Listening on {address}"));
    crate::log!(Info, "listening on {address}");
    tell(notify::READY);
    let mut revocations = Revocations::of(&files);
    let mut sealed = Instant::now();
    loop {
        let asked = signals.wait(LOOK);
        if sealed.elapsed() >= SEAL {
            sealed = Instant::now();
            server.seal_audit();
        }
        match asked {
            Some(signals::Asked::Stop) => break,
            None if !revocations.are_news() => continue,
            Some(signals::Asked::Reload) => {
                server.reopen_audit();
                crate::log::reopen();
            }
            None => {}
        }
        let read = certificates(args, &dir, address.ip())
            .and_then(|files| Ok((files.access(args)?, Revocations::of(&files))));
        match read {
            Ok((access, news)) => {
                revocations = news;
                let ended = server.renew(access);
                match asked {
                    Some(_) => note("New connections use the certificates as they are now."),
                    None => note("The revocations are read again."),
                }
                if ended > 0 {
                    note(format!(
                        "Connections of clients that may not connect any more: {ended} are closed."
                    ));
                }
            }
            Err(e) => note(format!("The certificates stay what they were: {e}")),
        }
    }
    note("Stopping.");
    tell(notify::STOPPING);
    server.stop(GRACE);
    Ok(())
}

/// Tells the service manager; a server that cannot do that serves all the same.
fn tell(state: &str) {
    if let Err(e) = notify::notify(state) {
        note(format!("The service manager was not notified: {e}"));
    }
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

/// The revocations of the server's own authority: `certs revoke` needs no signal to this process.
struct Revocations {
    path: Option<PathBuf>,
    /// The list's identity and when it was written.
    seen: Option<(u64, SystemTime)>,
    /// When the list is looked after, so that it does not expire.
    again: Instant,
}

impl Revocations {
    fn of(files: &Files) -> Revocations {
        let path = files.revocations.clone();
        Revocations {
            seen: path.as_deref().and_then(Revocations::look),
            path,
            again: Instant::now() + DAILY,
        }
    }

    fn look(path: &Path) -> Option<(u64, SystemTime)> {
        let meta = std::fs::metadata(path).ok()?;
        Some((meta.ino(), meta.modified().ok()?))
    }

    /// Whether the list is another one than was read, or has to be looked after.
    fn are_news(&mut self) -> bool {
        let Some(path) = &self.path else { return false };
        if Instant::now() >= self.again {
            self.again = Instant::now() + DAILY;
            return true;
        }
        let now = Revocations::look(path);
        now.is_some() && std::mem::replace(&mut self.seen, now) != now
    }
}

/// The server's identity: its files, and what is in them.
struct Files {
    cert: Vec<u8>,
    key: Secret,
    ca: Vec<u8>,
    ca_path: PathBuf,
    /// The revocation list of the server's own authority.
    revocations: Option<PathBuf>,
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
            revocations: None,
            client: None,
        })
    }

    /// Who may connect, by what is in the files.
    fn access(&self, args: &Args) -> Outcome<Arc<Access>> {
        let mut crls = Crls::default();
        for path in self.revocations.iter().chain(&args.crl) {
            let text = std::fs::read(path)
                .map_err(|e| Error::file(format!("cannot read {}", path.display()), e))?;
            crls.read(&text, &path.display().to_string())?;
        }
        let now = jiff::Timestamp::now().as_second();
        if crls.next_update().is_some_and(|until| until <= now) {
            note(
                "A CRL has expired: clients of its CA are refused until SIGHUP finds a newer one.",
            );
        }
        let allowed = match &args.allow {
            None => None,
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|e| Error::file(format!("cannot read {}", path.display()), e))?;
                let list = Allowed::parse(&text)
                    .map_err(|e| Failure::new(Exit::Failed, format!("{}, {e}", path.display())))?;
                Some(list)
            }
        };
        Ok(Arc::new(Access::new(Credentials {
            chain: &self.cert,
            key: self.key.expose(),
            ca: &self.ca,
            crls,
            allowed,
            versions: rustls::ALL_VERSIONS,
        })?))
    }
}

/// The certificates that were named, or one's own, made where they are missing and renewed where they expire.
fn certificates(args: &Args, dir: &Path, ip: IpAddr) -> Outcome<Files> {
    if let (Some(cert), Some(key), Some(ca)) = (&args.cert, &args.key, &args.clientca) {
        return Files::read(cert, key, ca);
    }
    // Its lock is held until the files are read: nobody renews them in between.
    let (mut authority, _) = Authority::open(dir)?;
    let own = dir.join("server.pem");
    let client = dir.join("client.pem");
    let is_first =
        authority.has_issued_nothing() && authority.standing(&client) != Standing::Foreign;
    let client = match is_first {
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
    let is_usable = match authority.standing(&own) {
        Standing::Missing => false,
        Standing::Issued => own_certificate::lasts(&own, &args.san) && !authority.has_revoked(&own),
        Standing::Foreign => own_certificate::check_foreign(dir, &args.san).map(|()| true)?,
    };
    if !is_usable {
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
        revocations: Some(authority.revocations()),
        ..Files::read(&own, &dir.join("server.key"), &authority.certificate())?
    })
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
