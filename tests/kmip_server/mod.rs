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
//! The server runs in threads of the test process and ends when its [`Server`] is dropped. It is made of the crate's own codec,
//! `Engine` being the server and this file its network.
#![allow(dead_code, reason = "each test uses a part")]

mod attributes;
mod certs;
mod crypto;
mod engine;
mod keys;
mod lifecycle;
mod locate;
mod objects;
mod personality;
mod script;
mod tests;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mrhsm_pkcs11::kmip::{Attributes, ObjectType, OperationCode, State};
use mrhsm_pkcs11::ttlv::{HEADER_LEN, frame_length};
use mrhsm_pkcs11::version::Version;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

pub use certs::{Pair, Pki};
use engine::Engine;
#[allow(unused_imports, reason = "each test uses a part")]
pub use personality::{Ids, Locating, Personality, Policy};
pub use script::{Fault, Script};

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
        let mut engine = Engine::new(self.personality);
        engine.credential = self.credential;
        let tls = tls_config(&self.pki, (self.certificate)(&self.pki), self.tls13);
        Server::serve(Arc::new(Mutex::new(engine)), self.pki, tls, self.script)
    }
}

fn tls_config(pki: &Pki, pair: &Pair, tls13: bool) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(pki.ca_der.clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    let versions: &[_] = if tls13 { rustls::ALL_VERSIONS } else { &[&rustls::version::TLS12] };
    let (chain, key) = pair.identity();
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .unwrap();
    Arc::new(config)
}

/// One request and what became of it.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Which connection it came on, counting from 1.
    pub connection: usize,
    /// Protocol version of the header, when it could be read.
    pub version: Option<Version>,
    /// Operations of its items.
    pub operations: Vec<OperationCode>,
    /// The request as it came.
    pub request: Vec<u8>,
    /// The answer as it was made; `None` when the request was not executed.
    pub response: Option<Vec<u8>>,
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

/// What the threads of a server share.
struct Shared {
    engine: Arc<Mutex<Engine>>,
    script: Mutex<Script>,
    log: Mutex<Vec<Exchange>>,
    /// The open connections by number.
    connections: Mutex<HashMap<usize, TcpStream>>,
    accepted: AtomicUsize,
    /// The port is closed, or about to be.
    stopped: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A running server.
pub struct Server {
    port: u16,
    pki: Arc<Pki>,
    tls: Arc<ServerConfig>,
    shared: Arc<Shared>,
    acceptor: Mutex<Option<JoinHandle<()>>>,
}

impl Server {
    /// A server of this character, with these faults.
    pub fn start(personality: Personality, script: Script) -> Server {
        Setup { script, ..Setup::new(personality) }.start()
    }

    /// Another host of the same group: its own port and faults, the same objects.
    pub fn sibling(&self, script: Script) -> Server {
        Server::serve(self.shared.engine.clone(), self.pki.clone(), self.tls.clone(), script)
    }

    fn serve(engine: Arc<Mutex<Engine>>, pki: Arc<Pki>, tls: Arc<ServerConfig>, script: Script) -> Server {
        let shared = Arc::new(Shared {
            engine,
            script: Mutex::new(script),
            log: Mutex::default(),
            connections: Mutex::default(),
            accepted: AtomicUsize::new(0),
            stopped: AtomicBool::new(true),
        });
        let mut server = Server { port: 0, pki, tls, shared, acceptor: Mutex::new(None) };
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
        *lock(&self.shared.script) = script;
    }

    /// Every request so far.
    pub fn log(&self) -> Vec<Exchange> {
        lock(&self.shared.log).clone()
    }

    /// Forgets the requests so far.
    pub fn clear_log(&self) {
        lock(&self.shared.log).clear();
    }

    /// How many requests came since the log was cleared.
    pub fn count(&self) -> usize {
        lock(&self.shared.log).len()
    }

    /// How many of them hold this operation.
    pub fn count_of(&self, operation: OperationCode) -> usize {
        lock(&self.shared.log).iter().filter(|exchange| exchange.operations.contains(&operation)).count()
    }

    /// The operations of all requests, in their order.
    pub fn operations(&self) -> Vec<OperationCode> {
        lock(&self.shared.log).iter().flat_map(|exchange| exchange.operations.clone()).collect()
    }

    /// How many connections were accepted.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Every object, the oldest first.
    pub fn objects(&self) -> Vec<Seen> {
        let engine = lock(&self.shared.engine);
        let seen = |object: &objects::Object| Seen {
            uid: object.uid.clone(),
            object_type: object.object_type,
            state: object.state(),
            names: object.attributes.names().map(str::to_owned).collect(),
            attributes: object.attributes.clone(),
        };
        engine.objects.iter().map(seen).collect()
    }

    /// The bytes of a secret key or of what else it holds.
    pub fn value(&self, uid: &str) -> Option<Vec<u8>> {
        use keys::Material;
        use objects::Value;
        match &lock(&self.shared.engine).objects.get(uid).ok()?.value {
            Value::Key(
                Material::Symmetric(bytes) | Material::Private(bytes) | Material::Public(bytes) | Material::Unknown(bytes),
                _,
            )
            | Value::Secret(_, bytes)
            | Value::Certificate(_, bytes)
            | Value::Opaque(_, bytes) => Some(bytes.clone()),
            Value::Gone => None,
        }
    }

    /// Breaks every connection; new ones are accepted.
    pub fn drop_connections(&self) {
        for (_, connection) in lock(&self.shared.connections).drain() {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// Closes the port and breaks every connection. The objects stay.
    pub fn stop(&self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Whoever accepts wakes up by being connected to.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        if let Some(acceptor) = lock(&self.acceptor).take() {
            let _ = acceptor.join();
        }
        self.drop_connections();
    }

    /// Opens the port again after [`Server::stop`] or [`Fault::Kill`].
    pub fn restart(&self) {
        self.stop();
        self.listen(self.port);
    }

    fn listen(&self, port: u16) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("a free port");
        let port = listener.local_addr().unwrap().port();
        self.shared.stopped.store(false, Ordering::SeqCst);
        let (shared, tls) = (self.shared.clone(), self.tls.clone());
        let acceptor = thread::spawn(move || accept(&listener, &shared, &tls));
        *lock(&self.acceptor) = Some(acceptor);
        port
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>, tls: &Arc<ServerConfig>) {
    while let Ok((stream, _)) = listener.accept() {
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let number = shared.accepted.fetch_add(1, Ordering::SeqCst) + 1;
        if let Ok(copy) = stream.try_clone() {
            lock(&shared.connections).insert(number, copy);
        }
        let (shared, tls) = (shared.clone(), tls.clone());
        thread::spawn(move || {
            let _ = stream.set_nodelay(true);
            if let Ok(session) = ServerConnection::new(tls) {
                // A connection that breaks is the client's business.
                let _ = converse(&mut StreamOwned::new(session, stream), number, &shared);
            }
            lock(&shared.connections).remove(&number);
        });
    }
}

type Stream = StreamOwned<ServerConnection, TcpStream>;

/// Answers the requests of one connection until it ends.
fn converse(stream: &mut Stream, connection: usize, shared: &Shared) -> std::io::Result<()> {
    loop {
        let mut frame = vec![0; HEADER_LEN];
        stream.read_exact(&mut frame)?;
        let limit = lock(&shared.engine).personality.largest_request;
        let header: &[u8; HEADER_LEN] = frame.as_slice().try_into().unwrap();
        let Ok(length) = frame_length(header, limit) else { return Ok(()) };
        frame.resize(length, 0);
        stream.read_exact(&mut frame[HEADER_LEN..])?;

        let heard = Engine::hear(&frame);
        let fault = lock(&shared.script).next(&heard.operations);
        let answer = match fault {
            Some(Fault::ResetBefore) => None,
            _ => Some(lock(&shared.engine).answer(&frame, fault.as_ref()).expose().to_vec()),
        };
        lock(&shared.log).push(Exchange {
            connection,
            version: heard.version,
            operations: heard.operations,
            request: frame,
            response: answer.clone(),
        });
        let Some(answer) = answer else { return reset(stream, connection, shared) };
        let half = &answer[..answer.len() / 2];
        match fault {
            Some(Fault::Delay(time)) => {
                wait(time, shared);
                send(stream, &answer)?;
            }
            Some(Fault::Silence) => return hold(stream),
            Some(Fault::ResetAfter) => return reset(stream, connection, shared),
            Some(Fault::ResetWithin) => {
                send(stream, half)?;
                return reset(stream, connection, shared);
            }
            Some(Fault::CloseAfter) => return send(stream, &answer),
            Some(Fault::HalfFrame) => {
                send(stream, half)?;
                return hold(stream);
            }
            Some(Fault::Garbage) => send(stream, b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")?,
            Some(Fault::Kill) => {
                shared.stopped.store(true, Ordering::SeqCst);
                let address = stream.sock.local_addr()?;
                let _ = TcpStream::connect(address);
                for (_, other) in lock(&shared.connections).drain() {
                    let _ = other.shutdown(Shutdown::Both);
                }
                return Ok(());
            }
            _ if answer.is_empty() => return hold(stream),
            _ => send(stream, &answer)?,
        }
    }
}

fn send(stream: &mut Stream, bytes: &[u8]) -> std::io::Result<()> {
    stream.write_all(bytes)?;
    stream.flush()
}

/// Says nothing more until the client gives up or the server stops.
fn hold(stream: &mut Stream) -> std::io::Result<()> {
    let mut sink = [0; 256];
    while stream.sock.read(&mut sink)? > 0 {}
    Ok(())
}

fn wait(time: Duration, shared: &Shared) {
    let end = std::time::Instant::now() + time;
    while std::time::Instant::now() < end && !shared.stopped.load(Ordering::SeqCst) {
        thread::sleep(Duration::from_millis(5).min(time));
    }
}

/// Ends a connection with a reset instead of an orderly close.
#[allow(unsafe_code, reason = "std has no SO_LINGER")]
fn reset(stream: &Stream, connection: usize, shared: &Shared) -> std::io::Result<()> {
    // The last handle's close sends the reset: this one must be it.
    lock(&shared.connections).remove(&connection);
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: a live socket; pointer and length are those of `linger`, which is only read.
    unsafe {
        let at = (&raw const linger).cast();
        let len = size_of::<libc::linger>() as libc::socklen_t;
        libc::setsockopt(stream.sock.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, at, len);
    }
    Ok(())
}
