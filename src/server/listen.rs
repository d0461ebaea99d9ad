//! The server's network: a thread per connection, mutual TLS, and limits that one client cannot break for the others.

use std::io::{self, BufReader, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::{HandshakeKind, ServerConnection, StreamOwned};

use super::access::Access;
use super::audit::Audit;
use super::budget::Gone;
use super::engine::{Caller, Engine};
use super::fault::{Exchange, Fault, Hook};
use super::identity;
use super::places::{Handshake, Most, Place, Places};
use crate::error::{Error, Result};
use crate::secret::Secret;
use crate::ttlv::{HEADER_LEN, frame_length};

/// So much is read at once: TLS asks for a quarter of a record at a time.
const READ_AHEAD: usize = 32 << 10;

/// A longer request is read and answered while few such are in memory, in bytes. So much memory is
/// taken at once for a request.
const LARGE: usize = 1 << 20;

/// How much of a request that is refused for its length is read and discarded, in bytes.
const MOST_DRAINED: usize = 64 << 20;

/// How much clients may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once, of all clients; one more ends a silent one of the client that has most,
    /// and is closed where none is.
    pub connections: usize,
    /// Connections of one client; beyond them the one of its own that is silent longest makes room, and where all are in use the
    /// new one is closed.
    pub per_client: usize,
    /// Handshakes at once; beyond them one of the address that has most makes room.
    pub handshakes: usize,
    /// Handshakes at once, and a second, from one address from which no client has come lately; beyond them one of its own makes
    /// room.
    pub per_address: usize,
    /// How long a connection may say nothing between two requests.
    pub idle: Duration,
    /// How long a handshake may last.
    pub handshake: Duration,
    /// How long the rest of a request that has begun, or taking an answer, may last.
    pub frame: Duration,
}

impl Limits {
    /// For so many connections: half of them for one client, the times as usual.
    pub fn of(connections: usize) -> Limits {
        Limits {
            connections,
            per_client: connections.div_ceil(2),
            // Each has two descriptors, and 1024 are usual.
            handshakes: 192,
            per_address: 64,
            idle: Duration::from_secs(600),
            handshake: Duration::from_secs(10),
            frame: Duration::from_secs(30),
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::of(256)
    }
}

/// What a server is beside its engine.
#[derive(Default)]
pub struct Options {
    /// How much clients may take.
    pub limits: Limits,
    /// Where requests are written down.
    pub audit: Option<Audit>,
    /// Who spoils answers, in tests.
    pub hook: Option<Arc<dyn Hook>>,
}

/// What the threads of a server share.
struct Shared {
    engine: Arc<Engine>,
    access: RwLock<Arc<Access>>,
    options: Options,
    places: Arc<Places>,
    accepted: AtomicUsize,
    stopped: AtomicBool,
}

impl Shared {
    fn stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    fn access(&self) -> Arc<Access> {
        self.access
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Writes down why a connection came to nothing.
    fn refused(&self, peer: SocketAddr, why: &str) {
        if let Some(audit) = &self.options.audit {
            audit.refused(peer, why);
        }
    }
}

/// A running server; it ends when this is dropped.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl Server {
    /// Answers whoever connects to `listener`.
    pub fn start(
        engine: Arc<Engine>,
        listener: TcpListener,
        access: Arc<Access>,
        options: Options,
    ) -> Result<Server> {
        let address = listener
            .local_addr()
            .map_err(|e| Error::file("the server's address", e))?;
        let Limits {
            connections,
            per_client,
            handshakes,
            per_address,
            ..
        } = options.limits;
        let shared = Arc::new(Shared {
            engine,
            access: RwLock::new(access),
            options,
            places: Arc::new(Places::new(Most {
                connections,
                per_client,
                handshakes,
                per_address,
            })),
            accepted: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
        });
        let clone = shared.clone();
        let acceptor = thread::spawn(move || accept(&listener, &clone));
        Ok(Server {
            address,
            shared,
            acceptor: Some(acceptor),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were accepted.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// New connections are made with these certificates. Of the open ones, those end whose client may not connect any more; how
    /// many these are.
    pub fn renew(&self, access: Arc<Access>) -> usize {
        *self
            .shared
            .access
            .write()
            .unwrap_or_else(PoisonError::into_inner) = access.clone();
        let ended = self
            .shared
            .places
            .end_unless(|chain| access.admit_again(chain).map(drop));
        for (peer, why) in &ended {
            if let Some(peer) = peer {
                self.shared.refused(*peer, why);
            }
        }
        ended.len()
    }

    /// Seals what the audit log has.
    pub fn seal_audit(&self) {
        if let Some(audit) = &self.shared.options.audit {
            audit.seal();
        }
    }

    /// Opens the audit log that has its name now.
    pub fn reopen_audit(&self) {
        if let Some(audit) = &self.shared.options.audit {
            audit.reopen();
        }
    }

    /// Breaks every connection; new ones are accepted.
    pub fn drop_connections(&self) {
        self.shared.places.end_all();
    }

    /// Closes the port; requests that have come are answered within `grace`, then every connection ends.
    pub fn stop(&mut self, grace: Duration) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Whoever accepts wakes up by being connected to.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        self.shared.places.hush();
        let end = Instant::now() + grace;
        while Instant::now() < end && !self.shared.places.is_empty() {
            thread::sleep(Duration::from_millis(5));
        }
        self.drop_connections();
        // Now, not when the last thread has ended: the process may be gone before.
        if let Some(audit) = &self.shared.options.audit {
            audit.close();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        let (stream, peer) = match listener.accept() {
            _ if shared.stopped() => return,
            Ok(accepted) => accepted,
            Err(_) => {
                // No more file descriptors, most likely: some connection will end.
                thread::sleep(Duration::from_millis(50));
                continue;
            }
        };
        let number = shared.accepted.fetch_add(1, Ordering::SeqCst) + 1;
        let Ok(copy) = stream.try_clone() else {
            continue;
        };
        let Some(place) = shared.places.admit(number, peer.ip(), copy) else {
            shared.refused(peer, "too many handshakes from this address");
            continue;
        };
        let shared = shared.clone();
        let spawned = thread::Builder::new()
            .name(format!("client {number}"))
            .spawn(move || {
                // A connection that breaks is the client's business.
                let _ = converse(stream, &place, &shared);
            });
        if let Err(e) = spawned {
            crate::log!(Error, "no thread for a connection: {e}");
        }
    }
}

/// A socket that neither reads nor writes past a deadline.
struct Timed {
    socket: BufReader<TcpStream>,
    until: Instant,
    /// Until the handshake is done.
    handshake: Option<Handshake>,
}

impl Timed {
    fn left(&self) -> io::Result<Option<Duration>> {
        match self.until.checked_duration_since(Instant::now()) {
            Some(left) if !left.is_zero() => Ok(Some(left)),
            _ => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.socket.buffer().is_empty() {
            self.socket.get_ref().set_read_timeout(self.left()?)?;
        }
        let read = self.socket.read(buffer)?;
        if let (Some(handshake), 1..) = (&self.handshake, read) {
            handshake.heard();
        }
        Ok(read)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        if let Some(handshake) = &self.handshake {
            handshake.answered();
        }
        let mut socket = self.socket.get_ref();
        socket.set_write_timeout(self.left()?)?;
        socket.write_vectored(parts)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

type Stream = StreamOwned<ServerConnection, Timed>;

/// Answers the requests of one connection until it ends.
fn converse(socket: TcpStream, place: &Place, shared: &Arc<Shared>) -> io::Result<()> {
    let limits = shared.options.limits;
    let gone: Gone = {
        let (socket, shared) = (socket.try_clone()?, shared.clone());
        Rc::new(move || is_gone(&socket, shared.stopped()))
    };
    socket.set_nodelay(true)?;
    let peer = socket.peer_addr()?;
    let access = shared.access();
    let session = ServerConnection::new(access.tls.clone()).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(
        session,
        Timed {
            socket: BufReader::with_capacity(READ_AHEAD, socket),
            until: Instant::now() + limits.handshake,
            handshake: Some(place.handshake.clone()),
        },
    );
    while stream.conn.is_handshaking() {
        if let Err(e) = stream.conn.complete_io(&mut stream.sock) {
            shared.refused(peer, &e.to_string());
            return Err(e);
        }
    }
    stream.sock.handshake = None;
    let chain: Arc<[_]> = stream.conn.peer_certificates().unwrap_or_default().into();
    // A resumed session was verified when it began.
    let caller = match stream.conn.handshake_kind() {
        Some(HandshakeKind::Resumed) => access.admit_again(&chain),
        _ => access.admit(&chain),
    };
    let caller = caller.and_then(|caller| {
        place
            .belongs_to(&caller.name, &chain)
            .map_err(|why| format!("{}: {why}", identity::shown(&caller.name).1))?;
        // What was renewed during the handshake has not ended this connection.
        let now = shared.access();
        match Arc::ptr_eq(&access, &now) {
            true => Ok(caller),
            false => now.admit_again(&chain),
        }
    });
    let caller = match caller {
        Ok(caller) => caller,
        Err(why) => {
            shared.refused(peer, &why);
            return Ok(());
        }
    };
    let _connected = shared.engine.connected(&caller);
    answer_all(&mut stream, place, shared, &caller, (peer, gone))?;
    stream.conn.send_close_notify();
    stream.flush()
}

/// Whether the other end has closed the connection, read or not. A server that stops has closed its own half, which looks alike.
fn is_gone(socket: &TcpStream, stopped: bool) -> bool {
    let mut polled = [PollFd::new(socket, PollFlags::RDHUP)];
    let closed = match stopped {
        true => PollFlags::HUP | PollFlags::ERR,
        false => PollFlags::HUP | PollFlags::ERR | PollFlags::RDHUP,
    };
    poll(&mut polled, Some(&Timespec::default())).is_ok() && polled[0].revents().intersects(closed)
}

/// Answers requests until the client says no more, or the server stops.
fn answer_all(
    stream: &mut Stream,
    place: &Place,
    shared: &Shared,
    caller: &Caller,
    (peer, gone): (SocketAddr, Gone),
) -> io::Result<()> {
    let limits = shared.options.limits;
    let largest = shared.engine.personality.largest_request;
    let mut frame = Vec::new();
    loop {
        stream.sock.until = Instant::now() + limits.idle;
        let mut header = [0; HEADER_LEN];
        stream.read_exact(&mut header)?;
        place.busy();
        stream.sock.until = Instant::now() + limits.frame;
        let length = match frame_length(&header, largest) {
            Ok(length) => length,
            // What follows cannot be told apart from the next message: say so and end.
            Err(e) => {
                send_last(stream, shared.engine.unreadable(&e.to_string()).expose())?;
                return drain(stream);
            }
        };
        let _large = match length > LARGE {
            false => None,
            true => {
                let counted = shared.engine.clients.large(&caller.name, || gone());
                stream.sock.until = Instant::now() + limits.frame;
                Some(counted.ok_or(io::ErrorKind::ConnectionAborted)?)
            }
        };
        frame.clear();
        frame.extend_from_slice(&header);
        // The header is believed only as far as the client has sent what it announces.
        while frame.len() < length {
            let start = frame.len();
            frame.resize(length.min(start + LARGE), 0);
            stream.read_exact(&mut frame[start..])?;
        }
        match &shared.options.hook {
            None => {
                let answer = answer(shared, caller, (peer, &gone), &frame);
                stream.sock.until = Instant::now() + limits.frame;
                send(stream, answer.expose())?;
            }
            Some(hook) => {
                if !spoilt(stream, place, shared, caller, hook.as_ref(), &frame)? {
                    return Ok(());
                }
            }
        }
        zeroize::Zeroize::zeroize(&mut frame);
        frame.shrink_to(LARGE);
        if shared.stopped() {
            return Ok(());
        }
        place.idle();
    }
}

/// Does a request, and writes it down. Where that is required, it is written down before it is done and before it is answered.
fn answer(
    shared: &Shared,
    caller: &Caller,
    (peer, gone): (SocketAddr, &Gone),
    frame: &[u8],
) -> Secret {
    let done = || {
        shared
            .engine
            .answer_to(caller, frame, None, Some(gone.clone()))
    };
    let Some(audit) = &shared.options.audit else {
        return done().bytes;
    };
    if audit.is_required() && audit.begun(caller, peer, frame).is_err() {
        let why = "the audit log cannot be written: nothing was done";
        return shared.engine.refuse(frame, why);
    }
    let answer = done();
    if audit.done(caller, peer, &answer.done).is_err() && audit.is_required() {
        let why = "the audit log cannot be written: what was asked may have been done";
        return shared.engine.refuse(frame, why);
    }
    answer.bytes
}

/// Answers one request as a hook wishes; false when the connection ends with it.
fn spoilt(
    stream: &mut Stream,
    place: &Place,
    shared: &Shared,
    caller: &Caller,
    hook: &dyn Hook,
    frame: &[u8],
) -> io::Result<bool> {
    let heard = Engine::hear(frame);
    let fault = hook.fault(&heard.operations);
    let answer = match fault {
        Some(Fault::ResetBefore) => None,
        _ => Some(
            shared
                .engine
                .answer(caller, frame, fault.as_ref())
                .bytes
                .expose()
                .to_vec(),
        ),
    };
    hook.exchanged(Exchange {
        connection: place.number,
        version: heard.version,
        operations: heard.operations,
        request: frame.to_vec(),
        response: answer.clone(),
    });
    let Some(answer) = answer else {
        return reset(stream, place, hook);
    };
    let half = &answer[..answer.len() / 2];
    match fault {
        Some(Fault::Delay(time)) => {
            wait(time, shared);
            send(stream, &answer)?;
        }
        Some(Fault::Silence) => return hold(stream),
        Some(Fault::ResetAfter) => return reset(stream, place, hook),
        Some(Fault::ResetWithin) => {
            send(stream, half)?;
            return reset(stream, place, hook);
        }
        Some(Fault::CloseAfter) => {
            send(stream, &answer)?;
            return Ok(false);
        }
        Some(Fault::HalfFrame) => {
            send(stream, half)?;
            return hold(stream);
        }
        Some(Fault::Garbage) => send(
            stream,
            b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        )?,
        Some(Fault::Kill) => {
            shared.stopped.store(true, Ordering::SeqCst);
            let _ = TcpStream::connect(stream.sock.socket.get_ref().local_addr()?);
            shared.places.end_all();
            return Ok(false);
        }
        _ if answer.is_empty() => return hold(stream),
        _ => send(stream, &answer)?,
    }
    Ok(true)
}

fn send(stream: &mut Stream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes)?;
    stream.flush()
}

/// The last answer of a connection, in one flight with its end: whoever has read it must not believe that another request is heard.
fn send_last(stream: &mut Stream, bytes: &[u8]) -> io::Result<()> {
    stream.conn.writer().write_all(bytes)?;
    stream.conn.send_close_notify();
    stream.flush()
}

/// Reads and discards what the client is still sending: closing a socket with unread data resets the connection, and the reset can
/// overtake the last answer.
fn drain(stream: &mut Stream) -> io::Result<()> {
    stream.sock.socket.get_ref().shutdown(Shutdown::Write)?;
    let (mut sink, mut left) = ([0; 16 << 10], MOST_DRAINED);
    while left > 0 {
        match stream.sock.read(&mut sink)? {
            0 => break,
            read => left = left.saturating_sub(read),
        }
    }
    Ok(())
}

/// Says nothing more until the client gives up or the server stops.
fn hold(stream: &mut Stream) -> io::Result<bool> {
    let mut sink = [0; 256];
    while stream.sock.read(&mut sink)? > 0 {}
    Ok(false)
}

fn wait(time: Duration, shared: &Shared) {
    let end = Instant::now() + time;
    while Instant::now() < end && !shared.stopped() {
        thread::sleep(Duration::from_millis(5).min(time));
    }
}

/// Ends a connection with a reset instead of an orderly close.
fn reset(stream: &Stream, place: &Place, hook: &dyn Hook) -> io::Result<bool> {
    // The last handle's close sends the reset: this one must be it.
    place.give_back();
    hook.reset(stream.sock.socket.get_ref());
    Ok(false)
}
