//! Places: which connections there are, and how many of them one client may have.
//!
//! Before its handshake a connection is nobody's. Of those there are few at a time, and a new one takes the place of the oldest:
//! a handshake takes milliseconds, so whoever opens connections and says nothing drives out only what also says nothing.
//! Afterwards a connection is a client's, by the name in its certificate. A client has a share of all places; beyond it a new
//! connection takes the place of the one of its own that is silent longest, so that connections which a client lost do not keep
//! it out. A connection whose request has begun is never ended for another.

use std::collections::HashMap;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustls_pki_types::CertificateDer;

/// How many connections there may be.
#[derive(Clone, Copy, Debug)]
pub struct Most {
    /// Of all clients.
    pub connections: usize,
    /// Of one client.
    pub per_client: usize,
    /// Whose handshake is not done.
    pub handshakes: usize,
}

/// The open connections by number.
pub struct Places {
    most: Most,
    open: Mutex<HashMap<usize, Open>>,
}

struct Open {
    socket: TcpStream,
    /// Whose it is, once that is known.
    client: Option<String>,
    /// The certificates that its client has shown.
    chain: Chain,
    silent: Silent,
}

type Chain = Arc<[CertificateDer<'static>]>;

/// Since when a connection waits for a handshake's next step or a request; `None` while it answers one.
#[derive(Clone)]
struct Silent(Arc<Mutex<Option<Instant>>>);

impl Silent {
    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place; given back when this is dropped.
pub struct Place {
    places: Arc<Places>,
    /// Its number, counting from 1.
    pub number: usize,
    silent: Silent,
}

impl Places {
    /// No connection yet.
    pub fn new(most: Most) -> Places {
        Places {
            most,
            open: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<usize, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection that has come.
    pub fn admit(self: &Arc<Places>, number: usize, socket: TcpStream) -> Place {
        let mut open = self.lock();
        let unknown = open.values().filter(|other| other.client.is_none()).count();
        if unknown >= self.most.handshakes {
            end_most_silent(&mut open, None);
        }
        let silent = Silent(Arc::new(Mutex::new(Some(Instant::now()))));
        open.insert(
            number,
            Open {
                socket,
                client: None,
                chain: Chain::default(),
                silent: silent.clone(),
            },
        );
        Place {
            places: self.clone(),
            number,
            silent,
        }
    }

    /// True when no connection is open.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Lets every connection finish the request that has come, and read no further.
    pub fn hush(&self) {
        for open in self.lock().values() {
            let _ = open.socket.shutdown(Shutdown::Read);
        }
    }

    /// Breaks the connections of clients that `may` refuses: who they came from, and why.
    pub fn end_unless(
        &self,
        may: impl Fn(&[CertificateDer<'_>]) -> Result<(), String>,
    ) -> Vec<(Option<SocketAddr>, String)> {
        let mut ended = Vec::new();
        self.lock().retain(|_, open| {
            let refused = open.client.is_some().then(|| may(&open.chain).err());
            let Some(why) = refused.flatten() else {
                return true;
            };
            ended.push((open.socket.peer_addr().ok(), why));
            let _ = open.socket.shutdown(Shutdown::Both);
            false
        });
        ended
    }

    /// Breaks every connection.
    pub fn end_all(&self) {
        for (_, open) in self.lock().drain() {
            let _ = open.socket.shutdown(Shutdown::Both);
        }
    }
}

/// Ends the connection of `client` that is silent longest; false when none is silent.
fn end_most_silent(open: &mut HashMap<usize, Open>, client: Option<&str>) -> bool {
    let own = open
        .iter()
        .filter(|(_, open)| open.client.as_deref() == client);
    let silent = own.filter_map(|(number, open)| Some((open.silent.lock().to_owned()?, *number)));
    let Some((_, number)) = silent.min() else {
        return false;
    };
    if let Some(open) = open.remove(&number) {
        let _ = open.socket.shutdown(Shutdown::Both);
    }
    true
}

impl Place {
    /// The connection is this client's; an error tells why it cannot be.
    pub fn belongs_to(&self, client: &str, chain: &Chain) -> Result<(), &'static str> {
        let mut open = self.places.lock();
        let Most {
            connections,
            per_client,
            ..
        } = self.places.most;
        if !open.contains_key(&self.number) {
            return Err("another handshake took its place");
        }
        let clients = open.values().filter_map(|open| open.client.as_deref());
        let (mut own, mut all) = (0, 0);
        for other in clients {
            own += usize::from(other == client);
            all += 1;
        }
        if (own >= per_client || all >= connections)
            && !(own > 0 && end_most_silent(&mut open, Some(client)))
        {
            return Err(if own >= per_client {
                "the client has all its connections in use"
            } else {
                "too many connections"
            });
        }
        let place = open
            .get_mut(&self.number)
            .expect("it was there a moment ago");
        place.client = Some(client.to_owned());
        place.chain = chain.clone();
        Ok(())
    }

    /// A request has begun.
    pub fn busy(&self) {
        *self.silent.lock() = None;
    }

    /// A request is answered.
    pub fn idle(&self) {
        *self.silent.lock() = Some(Instant::now());
    }

    /// Gives the place back before the connection's last handle is closed.
    pub fn give_back(&self) {
        self.places.lock().remove(&self.number);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::TcpListener;

    /// Both ends of a connection.
    fn connection() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    /// Connections with their places, in the order they came.
    struct Crowd(Arc<Places>, Vec<(TcpStream, Place)>);

    impl Crowd {
        fn of(connections: usize, per_client: usize, handshakes: usize) -> Crowd {
            Crowd(
                Arc::new(Places::new(Most {
                    connections,
                    per_client,
                    handshakes,
                })),
                Vec::new(),
            )
        }

        fn come(&mut self, client: Option<&str>) -> Result<(), &'static str> {
            let (far, near) = connection();
            far.set_nonblocking(true).unwrap();
            let place = self.0.admit(self.1.len() + 1, near);
            let done = client.map_or(Ok(()), |client| place.belongs_to(client, &Chain::default()));
            if done.is_ok() {
                self.1.push((far, place));
            }
            done
        }

        /// Numbers of those that are not ended, counting from 0.
        fn alive(&mut self) -> Vec<usize> {
            let ended = |socket: &mut TcpStream| matches!(socket.read(&mut [0]), Ok(0));
            self.1
                .iter_mut()
                .enumerate()
                .filter_map(|(i, (socket, _))| (!ended(socket)).then_some(i))
                .collect()
        }
    }

    #[test]
    fn a_new_handshake_takes_the_place_of_the_oldest() {
        let mut crowd = Crowd::of(10, 5, 3);
        crowd.come(Some("a")).unwrap();
        for _ in 0..5 {
            crowd.come(None).unwrap();
        }
        assert_eq!(crowd.alive(), [0, 3, 4, 5]);
        assert_eq!(
            crowd.1[1].1.belongs_to("b", &Chain::default()),
            Err("another handshake took its place")
        );
    }

    #[test]
    fn a_client_has_its_share_and_ends_its_own_silent_ones() {
        let mut crowd = Crowd::of(4, 2, 3);
        for client in ["a", "a", "b", "a"] {
            crowd.come(Some(client)).unwrap();
        }
        assert_eq!(crowd.alive(), [1, 2, 3], "the oldest of its own");
        crowd.1[1].1.busy();
        crowd.1[3].1.busy();
        assert_eq!(
            crowd.come(Some("a")),
            Err("the client has all its connections in use")
        );
        crowd.1[3].1.idle();
        crowd.come(Some("a")).unwrap();
        assert_eq!(crowd.alive(), [1, 2, 4]);
        crowd.come(Some("c")).unwrap();
        assert_eq!(
            crowd.come(Some("d")),
            Err("too many connections"),
            "another client's are never ended"
        );
        assert_eq!(crowd.alive(), [1, 2, 4, 5]);
        crowd.1.clear();
        assert!(crowd.0.is_empty());
    }
}
