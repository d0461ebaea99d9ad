//! One blocking TLS connection: a frame out, a frame in, never past a deadline.

use std::io::{self, BufReader, ErrorKind, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};

use super::Host;
use super::tls::{self, Tls};
use crate::ck::{CKR_DEVICE_ERROR, CKR_DEVICE_REMOVED};
use crate::descriptor::{self, Own};
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;
use crate::ttlv::{HEADER_LEN, frame_length};

/// Answers up to this length get their whole buffer at once; beyond it the buffer grows as bytes really come.
const TRUSTED_LEN: usize = 1 << 20;

/// So much is read at once: TLS asks for a quarter of a record at a time.
const READ_AHEAD: usize = 32 << 10;

/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;

/// A connection to one host. It belongs to the process that made it: see [`Connection::abandon`].
pub struct Connection {
    host: Host,
    session: rustls::ClientConnection,
    tcp: BufReader<Own<TcpStream>>,
    /// The server answered at least once, so it accepts our certificate.
    answered: bool,
    opened: Instant,
}

/// Why bytes stopped moving.
enum Fault {
    Io(io::Error),
    Tls(rustls::Error),
    Eof,
}

impl From<io::Error> for Fault {
    fn from(e: io::Error) -> Fault {
        Fault::Io(e)
    }
}

impl Connection {
    /// Connects and shakes hands: each address of the host gets `timeout`, all of it ends by `until`.
    ///
    /// # Errors
    /// `Unreachable` (unknown, closed, silent) or `Tls`, with a sentence. Name resolution is the operating system's and keeps
    /// its own time.
    pub fn open(host: &Host, tls: &Tls, timeout: Duration, until: Instant) -> Result<Connection> {
        let session = tls.start(host)?;
        let tcp = connect(host, timeout, until)?;
        tcp.set_nodelay(true)
            .map_err(|e| unreachable(format!("{host} cannot be reached")).because(e))?;
        let tcp = Own::of(tcp)
            .map_err(|e| unreachable(format!("{host} cannot be reached")).because(e))?;
        let tcp = BufReader::with_capacity(READ_AHEAD, tcp);
        let mut connection = Connection {
            host: host.clone(),
            session,
            tcp,
            answered: false,
            opened: Instant::now(),
        };
        let until = until.min(Instant::now() + timeout);
        connection
            .handshake(until)
            .map_err(|fault| connection.handshake_failed(fault, timeout))?;
        Ok(connection)
    }

    /// Sends one request frame and reads one response frame of at most `max` bytes.
    ///
    /// # Errors
    /// `Unreachable` when the request cannot have been executed, because not all of it was sent; `Broken` when it may have
    /// been; `Protocol` when what came is no response. After any error the connection is of no further use.
    pub fn exchange(&mut self, frame: &[u8], max: usize, until: Instant) -> Result<Secret> {
        self.session
            .writer()
            .write_all(frame)
            .map_err(|e| self.lost(Fault::Io(e), false))?;
        if let Err(e) = self.flush(until) {
            // A server that refuses us says why before it resets the connection; its alert may still be readable.
            let fault = match self.pump(Instant::now() + Duration::from_millis(50)) {
                Err(Fault::Tls(alert)) => Fault::Tls(alert),
                _ => Fault::Io(e),
            };
            return Err(self.lost(fault, false));
        }
        let mut head = [0u8; HEADER_LEN];
        self.read_exact(&mut head, until)
            .map_err(|fault| self.lost(fault, true))?;
        let total = frame_length(&head, max).map_err(|e| e.context(&self.host))?;
        let mut answer = Vec::with_capacity(total.min(TRUSTED_LEN));
        answer.extend_from_slice(&head);
        while answer.len() < total {
            let start = answer.len();
            answer.resize(total.min(start + TRUSTED_LEN), 0);
            self.read_exact(&mut answer[start..], until)
                .map_err(|fault| self.lost(fault, true))?;
        }
        self.answered = true;
        Ok(Secret::new(answer))
    }

    /// True while the server has neither closed the connection nor sent something nobody asked for, and the socket is ours.
    pub fn is_usable(&mut self) -> bool {
        if !self.tcp.get_ref().is_ours() || self.tcp.get_ref().set_nonblocking(true).is_err() {
            return false;
        }
        let quiet = self.is_quiet();
        self.tcp.get_ref().set_nonblocking(false).is_ok() && quiet
    }

    /// How long ago it was opened.
    pub fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    /// Forgets a connection that was inherited by fork: not a byte is sent, not even the descriptor is closed.
    pub fn abandon(self) {
        std::mem::forget(self);
    }

    /// Takes in what waits (session tickets) and says whether the connection is still silent and open.
    fn is_quiet(&mut self) -> bool {
        loop {
            match self.session.process_new_packets() {
                Ok(state) if state.plaintext_bytes_to_read() == 0 && !state.peer_has_closed() => {}
                _ => return false,
            }
            match self.session.read_tls(&mut self.tcp) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return e.kind() == ErrorKind::WouldBlock,
            }
        }
    }

    fn handshake(&mut self, until: Instant) -> std::result::Result<(), Fault> {
        while self.session.is_handshaking() {
            self.flush(until)?;
            if self.session.is_handshaking() {
                self.pump(until)?;
            }
        }
        Ok(self.flush(until)?)
    }

    fn flush(&mut self, until: Instant) -> io::Result<()> {
        while self.session.wants_write() {
            if self.session.write_tls(&mut Timed {
                tcp: &mut self.tcp,
                until,
            })? == 0
            {
                return Err(ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }

    /// Reads once from the network and decrypts what came.
    fn pump(&mut self, until: Instant) -> std::result::Result<(), Fault> {
        if self.session.read_tls(&mut Timed {
            tcp: &mut self.tcp,
            until,
        })? == 0
        {
            return Err(Fault::Eof);
        }
        if let Err(e) = self.session.process_new_packets() {
            // Tells the server why, if it still listens.
            let _ = self.flush(until);
            return Err(Fault::Tls(e));
        }
        Ok(())
    }

    fn read_exact(
        &mut self,
        mut buffer: &mut [u8],
        until: Instant,
    ) -> std::result::Result<(), Fault> {
        while !buffer.is_empty() {
            match self.session.reader().read(buffer) {
                Ok(0) => return Err(Fault::Eof),
                Ok(n) => buffer = &mut buffer[n..],
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.pump(until)?,
                // TCP ended without close_notify: many KMIP servers never send one.
                Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Err(Fault::Eof),
                Err(e) => return Err(Fault::Io(e)),
            }
        }
        Ok(())
    }

    fn handshake_failed(&self, fault: Fault, timeout: Duration) -> Error {
        let host = &self.host;
        match fault {
            Fault::Tls(e) => tls::explain(host, &e),
            Fault::Io(e) if e.kind() == ErrorKind::TimedOut => unreachable(format!(
                "{host} accepts connections but does not answer TLS within {}",
                seconds(timeout)
            )),
            Fault::Io(e) => broke_off(host).because(e),
            Fault::Eof => broke_off(host),
        }
    }

    /// The connection failed during an exchange; `sent` when all of the request was.
    fn lost(&self, fault: Fault, sent: bool) -> Error {
        let host = &self.host;
        let kind = if sent {
            Kind::Broken
        } else {
            Kind::Unreachable
        };
        let error = |sentence: String| Error::new(kind, CKR_DEVICE_ERROR, sentence);
        match fault {
            Fault::Tls(e) if !self.answered => tls::explain(host, &e),
            Fault::Tls(e) => error(format!("{host} broke off TLS")).because(e),
            Fault::Io(e) if e.kind() == ErrorKind::TimedOut => {
                error(format!("{host} did not answer in time"))
            }
            // In TLS 1.3 our side of the handshake is complete before the server has looked at our certificate.
            Fault::Eof | Fault::Io(_) if !self.answered && self.is_tls13() => error(format!(
                "{host} closed the connection instead of answering; probably {}",
                tls::client_refused(host)
            )),
            Fault::Eof => error(format!("{host} closed the connection instead of answering")),
            Fault::Io(e) => error(format!("the connection to {host} broke")).because(e),
        }
    }

    fn is_tls13(&self) -> bool {
        self.session.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3)
    }
}

fn connect(host: &Host, timeout: Duration, until: Instant) -> Result<TcpStream> {
    let addresses: Vec<SocketAddr> = (host.name.as_str(), host.port)
        .to_socket_addrs()
        .map_err(|e| {
            unreachable(format!(
                "the host '{}' is unknown: check its spelling and this machine's DNS",
                host.name
            ))
            .because(e)
        })?
        .take(MAX_ADDRESSES)
        .collect();
    let mut failure = unreachable(format!("the host '{}' has no address", host.name));
    for (tried, address) in addresses.iter().enumerate() {
        let fair =
            until.saturating_duration_since(Instant::now()) / (addresses.len() - tried) as u32;
        let wait = timeout.min(fair).max(Duration::from_millis(1));
        failure = match connect_to(*address, wait) {
            Ok(tcp) => return Ok(tcp),
            Err(e) if e.kind() == ErrorKind::TimedOut => unreachable(format!(
                "{host} does not answer within {}: is it up, and does a firewall let us through?",
                seconds(wait)
            )),
            Err(e) if e.kind() == ErrorKind::ConnectionRefused => unreachable(format!(
                "{host} refuses connections: no KMIP server listens on that port"
            )),
            Err(e) => unreachable(format!("{host} cannot be reached")).because(e),
        };
    }
    Err(failure)
}

/// A connected socket whose descriptor is above the standard ones from the start.
fn connect_to(address: SocketAddr, wait: Duration) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    let socket = descriptor::above_standard(socket)?;
    socket.connect_timeout(&address.into(), wait)?;
    Ok(socket.into())
}

fn unreachable(sentence: String) -> Error {
    Error::new(Kind::Unreachable, CKR_DEVICE_REMOVED, sentence)
}

fn broke_off(host: &Host) -> Error {
    unreachable(format!(
        "{host} broke off the TLS handshake: it does not accept our client certificate, or it is no KMIP server"
    ))
}

fn seconds(duration: Duration) -> String {
    let text = format!("{:.1}", duration.as_secs_f64());
    format!("{} s", text.trim_end_matches(".0"))
}

/// A socket whose every read and write ends by `until`, so that a dribbling peer gains nothing.
struct Timed<'a> {
    tcp: &'a mut BufReader<Own<TcpStream>>,
    until: Instant,
}

impl Timed<'_> {
    fn left(&self) -> io::Result<Option<Duration>> {
        match self.until.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(ErrorKind::TimedOut.into()),
            left => Ok(Some(left)),
        }
    }

    /// Runs `io` until it is not interrupted by a signal; a time-out that std calls `WouldBlock` is called what it is.
    fn run(
        &mut self,
        limit: fn(&TcpStream, Option<Duration>) -> io::Result<()>,
        mut io: impl FnMut(&mut BufReader<Own<TcpStream>>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            limit(self.tcp.get_ref(), self.left()?)?;
            match io(self.tcp) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    return Err(ErrorKind::TimedOut.into());
                }
                done => return done,
            }
        }
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.tcp.buffer().is_empty() {
            true => self.run(TcpStream::set_read_timeout, |tcp| tcp.read(buffer)),
            false => self.tcp.read(buffer),
        }
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.run(TcpStream::set_write_timeout, |tcp| {
            // The host must not get a SIGPIPE.
            let socket = SockRef::from(&**tcp.get_ref());
            socket.send_vectored_with_flags(parts, libc::MSG_NOSIGNAL)
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
