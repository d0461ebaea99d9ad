//! A KMIP server for tests: real TLS, real messages, the character of one's choice, and faults on demand.
//!
//! ```ignore
//! let server = Server::start(Personality::pykmip_like(), Script::none());
//! // Point the client at server.port() on 127.0.0.1 with the PEM files of server.pki():
//! //   pki.ca, pki.client.cert, pki.client.key (and pki.client_expired, pki.client_other_ca, pki.other_ca, …)
//! assert_eq!(server.count(), 3);                                     // requests so far
//! assert_eq!(server.count_of(OperationCode::CREATE), 1);             // those with this operation
//! server.script(Script::none().at_operation(OperationCode::CREATE, 1, Fault::ResetAfter));
//! server.objects();                                                  // what it really holds: no twins?
//! server.drop_connections();                                         // idle connections break
//! server.stop();                                                     // connections are refused …
//! server.restart();                                                  // … and accepted again, same port, same objects
//! let second = server.sibling(Script::none());                       // another host of the same group: shared objects
//! ```
//!
//! [`Setup`] has the rarer wishes: a bad server certificate, another client CA, TLS 1.2 only, a user name and password.
//! The server is the product's own (`mrhsm serve`), in threads of the test process; it ends when its [`Server`] is dropped.
#![allow(dead_code, reason = "each test uses a part")]

mod certs;
mod script;
mod tests;

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use mrhsm_pkcs11::kmip::{Attributes, ObjectType, OperationCode, State};
use mrhsm_pkcs11::secret::Secret;
use mrhsm_pkcs11::server::{
    Access, Credentials, Engine, Hook, Limits, Objects, Options, Server as Running, Value,
};
use tempfile::TempDir;

use crate::operations::check_messages;

pub use certs::{Pair, Pki};
#[allow(unused_imports, reason = "each test uses a part")]
pub use mrhsm_pkcs11::server::{Exchange, Fault, Ids, Locating, Personality, Policy};
pub use script::Script;

/// How a server is set up. The usual is [`Setup::new`]; tests change the fields they care about.
pub struct Setup {
    /// Its character.
    pub personality: Personality,
    /// What goes wrong.
    pub script: Script,
    /// Its certificates.
    pub pki: Arc<Pki>,
    /// Which of them it shows.
    pub certificate: fn(&Pki) -> &Pair,
    /// False: TLS 1.2 only.
    pub tls13: bool,
    /// User name and password that every request must carry.
    pub credential: Option<(String, String)>,
}

impl Setup {
    /// A good certificate, TLS 1.2 and 1.3, client certificates of the shared CA, no password.
    pub fn new(personality: Personality) -> Setup {
        Setup {
            personality,
            script: Script::none(),
            pki: Pki::shared(),
            certificate: |pki| &pki.server,
            tls13: true,
            credential: None,
        }
    }

    /// Starts the server on a free port of 127.0.0.1.
    pub fn start(self) -> Server {
        let directory = tempfile::tempdir_in("/dev/shm")
            .or_else(|_| tempfile::tempdir())
            .unwrap();
        let objects = Objects::open(&directory.path().join("objects"), &[7; 32]).unwrap();
        let mut engine = Engine::new(self.personality, objects);
        engine.credential = self
            .credential
            .map(|(name, password)| (name, Secret::new(password.into_bytes())));
        let pair = (self.certificate)(&self.pki);
        let read = |path: &std::path::Path| std::fs::read(path).unwrap();
        let versions: &[_] = if self.tls13 {
            rustls::ALL_VERSIONS
        } else {
            &[&rustls::version::TLS12]
        };
        let access = Access::new(Credentials {
            chain: &read(&pair.cert),
            key: &read(&pair.key),
            ca: &read(&self.pki.ca),
            versions,
            ..Credentials::default()
        });
        let tls = Arc::new(access.unwrap());
        Server::serve(
            Arc::new(engine),
            Arc::new(directory),
            self.pki,
            tls,
            self.script,
        )
    }
}

/// An object as the server holds it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its identifier.
    pub uid: String,
    /// What it is.
    pub object_type: ObjectType,
    /// Its state.
    pub state: State,
    /// Its names.
    pub names: Vec<String>,
    /// Everything else it was given.
    pub attributes: Attributes,
}

/// What goes wrong, and what was asked.
#[derive(Default)]
struct Watch {
    script: Mutex<Script>,
    log: Mutex<Vec<Exchange>>,
    pace: Mutex<Pace>,
    came: Condvar,
}

/// How fast the server works, and how many requests it has at once.
#[derive(Default)]
struct Pace {
    /// What each request takes.
    work: Duration,
    /// Requests are answered when so many are there.
    gathers: usize,
    /// How often so many were there.
    gathered: usize,
    under_way: usize,
    most: usize,
}

impl Watch {
    /// Takes as long as the server is slow, or until as many requests are there as it waits for.
    fn work(&self) {
        let mut pace = lock(&self.pace);
        pace.under_way += 1;
        pace.most = pace.most.max(pace.under_way);
        if pace.gathers > 0 && pace.under_way >= pace.gathers {
            pace.gathered += 1;
            pace.under_way = 0;
            self.came.notify_all();
        } else if pace.gathers > 0 {
            let gathered = pace.gathered;
            let waiting = self
                .came
                .wait_timeout_while(pace, GATHERING, |pace| pace.gathered == gathered);
            let (mut pace, waited) = waiting.unwrap_or_else(|poisoned| poisoned.into_inner());
            pace.under_way -= usize::from(waited.timed_out());
        } else {
            let work = pace.work;
            drop(pace);
            std::thread::sleep(work);
            lock(&self.pace).under_way -= 1;
        }
    }
}

impl Hook for Watch {
    fn fault(&self, operations: &[OperationCode]) -> Option<Fault> {
        self.work();
        lock(&self.script).next(operations)
    }

    fn exchanged(&self, exchange: Exchange) {
        lock(&self.log).push(exchange);
    }

    #[allow(unsafe_code, reason = "std has no SO_LINGER")]
    fn reset(&self, socket: &TcpStream) {
        let linger = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        // SAFETY: a live socket; pointer and length are those of `linger`, which is only read.
        unsafe {
            let at = (&raw const linger).cast();
            let len = size_of::<libc::linger>() as libc::socklen_t;
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_LINGER,
                at,
                len,
            );
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// How long a request waits for the others that the server gathers: much longer than they take to come.
const GATHERING: Duration = Duration::from_secs(10);

/// A running server.
pub struct Server {
    port: u16,
    pki: Arc<Pki>,
    tls: Arc<Access>,
    engine: Arc<Engine>,
    /// Keeps the directory of the objects.
    _directory: Arc<TempDir>,
    watch: Arc<Watch>,
    running: Mutex<Option<Running>>,
    /// Connections accepted before the last restart.
    accepted_before: AtomicUsize,
}

impl Drop for Server {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.check_messages();
        }
    }
}

impl Server {
    /// A server of this character, with these faults.
    pub fn start(personality: Personality, script: Script) -> Server {
        Setup {
            script,
            ..Setup::new(personality)
        }
        .start()
    }

    /// Another host of the same group: its own port and faults, the same objects.
    pub fn sibling(&self, script: Script) -> Server {
        Server::serve(
            self.engine.clone(),
            self._directory.clone(),
            self.pki.clone(),
            self.tls.clone(),
            script,
        )
    }

    fn serve(
        engine: Arc<Engine>,
        directory: Arc<TempDir>,
        pki: Arc<Pki>,
        tls: Arc<Access>,
        script: Script,
    ) -> Server {
        let watch = Arc::new(Watch {
            script: Mutex::new(script),
            ..Watch::default()
        });
        let mut server = Server {
            port: 0,
            pki,
            tls,
            engine,
            _directory: directory,
            watch,
            running: Mutex::default(),
            accepted_before: AtomicUsize::new(0),
        };
        server.port = server.listen(0);
        server
    }

    /// Port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its certificates, and those for its clients.
    pub fn pki(&self) -> &Pki {
        &self.pki
    }

    /// Replaces the faults; their counting begins anew.
    pub fn script(&self, script: Script) {
        *lock(&self.watch.script) = script;
    }

    /// From now on each request takes this long.
    pub fn slow_down(&self, work: Duration) {
        *lock(&self.watch.pace) = Pace {
            work,
            ..Pace::default()
        };
    }

    /// From now on a request is answered when `count` are there at once.
    pub fn gather(&self, count: usize) {
        *lock(&self.watch.pace) = Pace {
            gathers: count,
            ..Pace::default()
        };
    }

    /// How often so many were there at once since [`Server::gather`].
    pub fn gathered(&self) -> usize {
        lock(&self.watch.pace).gathered
    }

    /// The most requests that were there at once since [`Server::slow_down`].
    pub fn most_at_once(&self) -> usize {
        lock(&self.watch.pace).most
    }

    /// Every request so far.
    pub fn log(&self) -> Vec<Exchange> {
        lock(&self.watch.log).clone()
    }

    /// Forgets the requests so far.
    pub fn clear_log(&self) {
        self.check_messages();
        lock(&self.watch.log).clear();
    }

    /// Every error text of every test is in the terms of KMIP.
    fn check_messages(&self) {
        let log = lock(&self.watch.log);
        let answers = log
            .iter()
            .filter_map(|exchange| exchange.response.as_deref());
        answers.for_each(check_messages);
    }

    /// How many requests came since the log was cleared.
    pub fn count(&self) -> usize {
        lock(&self.watch.log).len()
    }

    /// How many of them hold this operation.
    pub fn count_of(&self, operation: OperationCode) -> usize {
        lock(&self.watch.log)
            .iter()
            .filter(|exchange| exchange.operations.contains(&operation))
            .count()
    }

    /// The operations of all requests, in their order.
    pub fn operations(&self) -> Vec<OperationCode> {
        lock(&self.watch.log)
            .iter()
            .flat_map(|exchange| exchange.operations.clone())
            .collect()
    }

    /// How many connections were accepted.
    pub fn accepted(&self) -> usize {
        self.accepted_before.load(Ordering::SeqCst)
            + lock(&self.running).as_ref().map_or(0, Running::accepted)
    }

    /// Every object, the oldest first.
    pub fn objects(&self) -> Vec<Seen> {
        let seen = |object: &Arc<mrhsm_pkcs11::server::Object>| Seen {
            uid: object.uid.clone(),
            object_type: object.object_type,
            state: object.state(),
            names: object.attributes.names().map(str::to_owned).collect(),
            attributes: object.attributes.clone(),
        };
        self.engine
            .objects
            .all()
            .unwrap()
            .iter()
            .map(seen)
            .collect()
    }

    /// The bytes of a secret key or of what else it holds.
    pub fn value(&self, uid: &str) -> Option<Vec<u8>> {
        let all = self.engine.objects.all().unwrap();
        match &all.iter().find(|object| object.uid == uid)?.value {
            Value::Key(material, _)
            | Value::Secret(_, material, _)
            | Value::Opaque(_, material) => Some(material.bytes().expose().to_vec()),
            Value::Certificate(_, bytes) => Some(bytes.clone()),
            _ => None,
        }
    }

    /// Breaks every connection; new ones are accepted.
    pub fn drop_connections(&self) {
        if let Some(running) = &*lock(&self.running) {
            running.drop_connections();
        }
    }

    /// Closes the port and breaks every connection. The objects stay.
    pub fn stop(&self) {
        if let Some(mut running) = lock(&self.running).take() {
            self.accepted_before
                .fetch_add(running.accepted(), Ordering::SeqCst);
            running.stop(Duration::ZERO);
        }
    }

    /// Opens the port again after [`Server::stop`] or [`Fault::Kill`].
    pub fn restart(&self) {
        self.stop();
        self.listen(self.port);
    }

    fn listen(&self, port: u16) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("a free port");
        let hook: Arc<dyn Hook> = self.watch.clone();
        let options = Options {
            limits: Limits::default(),
            audit: None,
            hook: Some(hook),
        };
        let running =
            Running::start(self.engine.clone(), listener, self.tls.clone(), options).unwrap();
        let port = running.address().port();
        *lock(&self.running) = Some(running);
        port
    }
}
