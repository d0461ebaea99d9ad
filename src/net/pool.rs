//! A group of hosts with their idle connections: fail-over in order, sticky to the host that last worked.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::conn::Connection;
use super::tls::Tls;
use super::{Config, Host};
use crate::ck::{CKR_CRYPTOKI_NOT_INITIALIZED, CKR_DEVICE_REMOVED};
use crate::error::{Error, Kind, Result};
use crate::fork;
use crate::log;
use crate::secret::Secret;

/// A dead host is asked again after this time at the earliest, unless every host is dead.
const COOL_DOWN: Duration = Duration::from_secs(5);

/// Firewalls and servers forget silent connections, the quickest known after 30 s; ours are dropped before.
const MAX_IDLE: Duration = Duration::from_secs(25);

/// Servers may give a connection's login an end, the shortest known after a day, and go on to refuse every request on it.
const MAX_AGE: Duration = Duration::from_secs(30 * 60);

/// Idle connections kept per host.
const KEPT: usize = 32;

/// Whether a request may be sent again when it may already have been executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// Executing it twice is the same as once.
    Safe,
    /// Only when it cannot have been executed.
    OnlyIfUnsent,
}

/// The seam below the client: a request frame in, a response frame out.
pub trait Transport: Send + Sync {
    /// Exchanges one frame by `until` at the latest.
    ///
    /// # Errors
    /// `Broken` means that the request may have been executed; any other kind that it was not, or that it was answered.
    fn exchange(&self, frame: &[u8], replay: Replay, until: Instant) -> Result<Secret>;

    /// Who is asked, for messages: the hosts, comma-separated.
    fn peer(&self) -> String;

    /// Closes what is idle: the buffers of a connection hold what came last, until it is closed.
    fn close_idle(&self) {}
}

/// The connections to one group of hosts. Threads share it; each exchange has a connection for itself.
pub struct Pool {
    hosts: Vec<Peer>,
    tls: Tls,
    connect_timeout: Duration,
    max_response: usize,
    /// Index of the host that last answered.
    preferred: AtomicUsize,
    started: Instant,
    /// The process that the connections belong to; after a fork the child must not touch them.
    generation: u32,
}

struct Peer {
    host: Host,
    /// Most recently used last. Held to take or put, never while the network is used.
    idle: Mutex<VecDeque<(Connection, Instant)>>,
    /// Milliseconds after `Pool::started` until which the host counts as dead; 0 when it is not.
    dead_until: AtomicU64,
    /// It completed a handshake once.
    known: AtomicBool,
    /// It broke off a resumed handshake.
    no_resumption: AtomicBool,
}

impl Peer {
    fn idle(&self) -> MutexGuard<'_, VecDeque<(Connection, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An idle connection that is still open.
    fn take(&self) -> Option<Connection> {
        loop {
            let (mut connection, since) = self.idle().pop_back()?;
            if since.elapsed() < MAX_IDLE && connection.age() < MAX_AGE && connection.is_usable() {
                return Some(connection);
            }
            log!(Info, "{}: an idle connection is replaced", self.host);
        }
    }

    fn put(&self, connection: Connection) {
        let mut idle = self.idle();
        idle.push_back((connection, Instant::now()));
        let surplus = if idle.len() > KEPT {
            idle.pop_front()
        } else {
            None
        };
        drop(idle);
        drop(surplus);
    }
}

impl Pool {
    /// A pool for the hosts of `config`; nothing is connected yet.
    pub fn new(config: &Config) -> Pool {
        let peer = |host: &Host| Peer {
            host: host.clone(),
            idle: Mutex::default(),
            dead_until: AtomicU64::new(0),
            known: AtomicBool::new(false),
            no_resumption: AtomicBool::new(false),
        };
        Pool {
            hosts: config.hosts.iter().map(peer).collect(),
            tls: config.tls.clone(),
            connect_timeout: config.connect_timeout,
            max_response: config.max_response,
            preferred: AtomicUsize::new(0),
            started: Instant::now(),
            generation: fork::generation(),
        }
    }

    /// Indices of the hosts in the order to try them: the last good one, then as configured, the dead ones last.
    fn order(&self) -> Vec<usize> {
        let preferred = self.preferred.load(Relaxed);
        let now = self.started.elapsed().as_millis() as u64;
        let mut order: Vec<usize> = (0..self.hosts.len()).collect();
        order.sort_by_key(|&i| (self.hosts[i].dead_until.load(Relaxed) > now, i != preferred));
        order
    }

    fn bury(&self, peer: &Peer) {
        let until = self.started.elapsed() + COOL_DOWN;
        peer.dead_until.store(until.as_millis() as u64, Relaxed);
        peer.idle().clear();
    }

    fn open(&self, peer: &Peer, until: Instant) -> Result<Connection> {
        let open = |tls: &Tls| Connection::open(&peer.host, tls, self.connect_timeout, until);
        let opened = if peer.no_resumption.load(Relaxed) {
            open(&self.tls.without_resumption())
        } else {
            open(&self.tls).or_else(|e| {
                if e.kind() != Kind::Tls || !peer.known.load(Relaxed) {
                    return Err(e);
                }
                // Some servers break off a resumed handshake; one that worked before is asked for a full one.
                let opened = open(&self.tls.without_resumption());
                peer.no_resumption.store(opened.is_ok(), Relaxed);
                opened
            })
        };
        if opened.is_ok() {
            peer.known.store(true, Relaxed);
            log!(Info, "{}: connected", peer.host);
        }
        opened
    }

    /// One attempt at one host: on an idle connection, and if that turns out dead on a new one. A silent host leaves time for the
    /// `hosts_left` (it included), unless only an answer can tell whether the request was executed.
    fn attempt(
        &self,
        peer: &Peer,
        frame: &[u8],
        replay: Replay,
        until: Instant,
        hosts_left: u32,
    ) -> Result<Secret> {
        let share = || {
            let now = Instant::now();
            now + until.saturating_duration_since(now) / hosts_left.max(1)
        };
        let patience = if replay == Replay::Safe {
            share()
        } else {
            until
        };
        if let Some(mut connection) = peer.take() {
            match connection.exchange(frame, self.max_response, patience) {
                Ok(answer) => {
                    peer.put(connection);
                    return Ok(answer);
                }
                Err(e) if may_repeat(&e, replay) && Instant::now() < patience => {
                    log!(Warn, "{e}; sent again on a new connection");
                }
                Err(e) => return Err(e),
            }
        }
        let mut connection = self.open(peer, share())?;
        let answer = connection.exchange(frame, self.max_response, patience)?;
        peer.put(connection);
        Ok(answer)
    }
}

/// Nothing was executed, or executing it again does no harm.
fn may_repeat(error: &Error, replay: Replay) -> bool {
    match error.kind() {
        Kind::Unreachable | Kind::Tls => true,
        Kind::Broken => replay == Replay::Safe,
        _ => false,
    }
}

impl Transport for Pool {
    fn exchange(&self, frame: &[u8], replay: Replay, until: Instant) -> Result<Secret> {
        if self.generation != fork::generation() {
            return Err(CKR_CRYPTOKI_NOT_INITIALIZED.into());
        }
        let order = self.order();
        let mut failures: Vec<Error> = Vec::new();
        for (tried, &index) in order.iter().enumerate() {
            let peer = &self.hosts[index];
            match self.attempt(peer, frame, replay, until, (order.len() - tried) as u32) {
                Ok(answer) => {
                    peer.dead_until.store(0, Relaxed);
                    if self.preferred.swap(index, Relaxed) != index {
                        log!(Warn, "{}: in use from now on", peer.host);
                    }
                    return Ok(answer);
                }
                Err(e) => {
                    if matches!(e.kind(), Kind::Unreachable | Kind::Tls | Kind::Broken) {
                        log!(Warn, "{e}");
                        self.bury(peer);
                    }
                    let give_up = !may_repeat(&e, replay) || Instant::now() >= until;
                    failures.push(e);
                    if give_up {
                        break;
                    }
                }
            }
        }
        Err(summary(failures))
    }

    fn close_idle(&self) {
        if self.generation == fork::generation() {
            self.hosts.iter().for_each(|peer| peer.idle().clear());
        }
    }

    fn peer(&self) -> String {
        self.hosts
            .iter()
            .map(|p| p.host.to_string())
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// One error for all hosts. Its kind is that of the failure that says most: a request that may have been executed before a
/// refusal by TLS before a host that was not reached.
fn summary(mut failures: Vec<Error>) -> Error {
    if failures.len() == 1 {
        return failures.remove(0);
    }
    let rank = |e: &Error| match e.kind() {
        Kind::Unreachable => 0,
        Kind::Tls => 1,
        _ => 2,
    };
    match failures.iter().max_by_key(|e| rank(e)) {
        None => Error::new(
            Kind::Input,
            CKR_DEVICE_REMOVED,
            "no KMIP host is set: 'mrhsm set -ip HOST'",
        ),
        Some(worst) => {
            let all = failures
                .iter()
                .map(Error::to_string)
                .collect::<Vec<_>>()
                .join("; ");
            Error::new(
                worst.kind(),
                worst.rv(),
                format!("no KMIP host can be used: {all}"),
            )
        }
    }
}

impl Drop for Pool {
    /// In a forked child the parent still uses the connections: they are leaked, whole.
    fn drop(&mut self) {
        if self.generation != fork::generation() {
            for peer in &mut self.hosts {
                let idle =
                    std::mem::take(peer.idle.get_mut().unwrap_or_else(PoisonError::into_inner));
                idle.into_iter()
                    .for_each(|(connection, _)| connection.abandon());
            }
        }
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pool({})", self.peer())
    }
}
