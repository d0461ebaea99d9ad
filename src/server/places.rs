//! Places: which connections there are, and how many of them one client may have.
//!
//! Before its handshake is done a connection is its address's. Of those there are few at a time, of one address fewer, and a new
//! one takes the place of another: of the address itself where that has its quota, else of the address that has most. A connection
//! that says nothing goes first, then one that has not said enough to be answered, then the oldest. So whoever opens connections
//! and says nothing drives out only what also says nothing, and only from behind the same address while others have their share.
//!
//! Afterwards a connection is a client's, by its certificate. A client has a share of all places; beyond it a new
//! connection takes the place of the one of its own that is silent longest, so that connections which a client lost do not keep
//! it out. Where all places are taken, a new connection takes the place of a silent one of the
//! client that has most. A connection whose request has begun is never ended for another.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls_pki_types::CertificateDer;

use super::addresses::{Addresses, Network};

/// How long a handshake may wait for its client before it counts as one that says nothing.
const STALLED: Duration = Duration::from_secs(1);

/// How many connections there may be.
#[derive(Clone, Copy, Debug)]
pub struct Most {
    /// Of all clients.
    pub connections: usize,
    /// Of one client.
    pub per_client: usize,
    /// Whose handshake is not done.
    pub handshakes: usize,
    /// Of these, from one address that no client speaks for; and so many a second.
    pub per_address: usize,
}

/// The open connections by number.
pub struct Places {
    most: Most,
    open: Mutex<HashMap<usize, Open>>,
    /// Locked after `open`, where both are.
    addresses: Mutex<Addresses>,
}

struct Open {
    socket: TcpStream,
    network: Network,
    handshake: Handshake,
    /// Whose it is, once that is known.
    client: Option<String>,
    /// The certificates that its client has shown.
    chain: Chain,
    silent: Silent,
}

type Chain = Arc<[CertificateDer<'static>]>;

/// How far a handshake has come.
#[derive(Clone, Default)]
pub struct Handshake(Arc<Mutex<Heard>>);

#[derive(Clone, Copy, Default)]
struct Heard {
    /// When its client said something last.
    last: Option<Instant>,
    /// The server has answered: the client has said who it wants to speak to, and how.
    answered: bool,
}

impl Handshake {
    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The client has said something.
    pub fn heard(&self) {
        self.lock().last = Some(Instant::now());
    }

    /// The client is answered.
    pub fn answered(&self) {
        self.lock().answered = true;
    }

    /// How much it deserves its place.
    fn rank(&self, now: Instant) -> u8 {
        let Heard { last, answered } = *self.lock();
        match last {
            Some(last) if now.saturating_duration_since(last) < STALLED => 1 + u8::from(answered),
            _ => 0,
        }
    }
}

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
    /// Its handshake.
    pub handshake: Handshake,
    network: Network,
    silent: Silent,
}

impl Places {
    /// No connection yet.
    pub fn new(most: Most) -> Places {
        Places {
            most,
            open: Mutex::default(),
            addresses: Mutex::new(Addresses::new(most.per_address)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<usize, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn addresses(&self) -> MutexGuard<'_, Addresses> {
        self.addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection that has come; none when its address has begun too many.
    pub fn admit(
        self: &Arc<Places>,
        number: usize,
        address: IpAddr,
        socket: TcpStream,
    ) -> Option<Place> {
        let (network, now) = (Network::of(address), Instant::now());
        let mut open = self.lock();
        let quota = {
            let mut addresses = self.addresses();
            if !addresses.begin(network, now) {
                return None;
            }
            addresses.quota(network, now)
        };
        let mut counts: HashMap<Network, usize> = HashMap::new();
        for other in open.values().filter(|other| other.client.is_none()) {
            *counts.entry(other.network).or_default() += 1;
        }
        if counts.get(&network).is_some_and(|own| *own >= quota) {
            end_handshake(&mut open, now, |other| other == network);
        } else if counts.values().sum::<usize>() >= self.most.handshakes {
            // The new one counts, too: an address with the most is not spared by coming once more.
            counts.entry(network).and_modify(|own| *own += 1);
            let most = counts.values().max().copied().unwrap_or_default();
            end_handshake(&mut open, now, |other| counts.get(&other) == Some(&most));
        }
        let silent = Silent(Arc::new(Mutex::new(Some(now))));
        let handshake = Handshake::default();
        open.insert(
            number,
            Open {
                socket,
                network,
                handshake: handshake.clone(),
                client: None,
                chain: Chain::default(),
                silent: silent.clone(),
            },
        );
        Some(Place {
            places: self.clone(),
            number,
            handshake,
            network,
            silent,
        })
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

/// Ends the handshake that deserves its place least, of the addresses that `from` names.
fn end_handshake(open: &mut HashMap<usize, Open>, now: Instant, from: impl Fn(Network) -> bool) {
    let own = open
        .iter()
        .filter(|(_, open)| open.client.is_none() && from(open.network));
    let least = own.map(|(number, open)| (open.handshake.rank(now), *number));
    if let Some((_, number)) = least.min()
        && let Some(open) = open.remove(&number)
    {
        let _ = open.socket.shutdown(Shutdown::Both);
    }
}

/// Ends the connection of `client` that is silent longest; false when none is silent.
fn end_most_silent(open: &mut HashMap<usize, Open>, client: &str) -> bool {
    let own = open
        .iter()
        .filter(|(_, open)| open.client.as_deref() == Some(client));
    let silent = own.filter_map(|(number, open)| Some((open.silent.lock().to_owned()?, *number)));
    let Some((_, number)) = silent.min() else {
        return false;
    };
    if let Some(open) = open.remove(&number) {
        let _ = open.socket.shutdown(Shutdown::Both);
    }
    true
}

/// Makes room for a connection of `client`, which has `own`, where all places are taken: ends the
/// connection that is silent longest, of the client that has most connections. A client that has
/// connections takes no place of one that would then have fewer; false when none is silent.
fn end_of_most_crowded(open: &mut HashMap<usize, Open>, client: &str, own: usize) -> bool {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for other in open.values().filter_map(|open| open.client.as_deref()) {
        *counts.entry(other).or_default() += 1;
    }
    let silent = open.iter().filter_map(|(number, open)| {
        let other = open.client.as_deref()?;
        let count = counts[other];
        let may_end = own == 0 || other == client || count > own + 1;
        may_end.then_some(())?;
        Some((Reverse(count), open.silent.lock().to_owned()?, *number))
    });
    let Some((.., number)) = silent.min() else {
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
        let has_room = match (own >= per_client, all >= connections) {
            (false, false) => true,
            (true, _) => end_most_silent(&mut open, client),
            (false, true) => end_of_most_crowded(&mut open, client, own),
        };
        if !has_room {
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
        self.places.addresses().trust(self.network, Instant::now());
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
                    per_address: 3,
                })),
                Vec::new(),
            )
        }

        fn come(&mut self, client: Option<&str>) -> Result<(), &'static str> {
            self.come_from("127.0.0.1", client)
        }

        fn come_from(&mut self, address: &str, client: Option<&str>) -> Result<(), &'static str> {
            let (far, near) = connection();
            far.set_nonblocking(true).unwrap();
            let place = self
                .0
                .admit(self.1.len() + 1, address.parse().unwrap(), near)
                .ok_or("too many")?;
            let done = client.map_or(Ok(()), |client| place.belongs_to(client, &Chain::default()));
            if done.is_ok() {
                self.1.push((far, place));
            }
            done
        }

        fn last(&self) -> &Place {
            &self.1.last().unwrap().1
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
    fn an_address_without_clients_has_its_quota() {
        let mut crowd = Crowd::of(10, 5, 100);
        for _ in 0..4 {
            crowd.come_from("192.0.2.1", None).unwrap();
        }
        assert_eq!(crowd.alive(), [1, 2, 3], "the quota is 3");
        crowd.come_from("192.0.2.2", Some("a")).unwrap();
        for _ in 0..9 {
            crowd.come_from("192.0.2.2", None).unwrap();
        }
        assert_eq!(crowd.alive().len(), 13, "a client speaks for its address");
        for _ in 0..8 {
            crowd.come_from("192.0.2.1", None).unwrap();
        }
        assert_eq!(crowd.come_from("192.0.2.1", None), Err("too many"));
    }

    #[test]
    fn silence_is_driven_out_before_handshakes_that_go_on() {
        let mut crowd = Crowd::of(10, 5, 4);
        crowd.come(Some("a")).unwrap();
        crowd.come(None).unwrap();
        crowd.last().handshake.heard();
        crowd.last().handshake.answered();
        crowd.come(None).unwrap();
        crowd.last().handshake.heard();
        for _ in 0..100 {
            crowd.come(None).unwrap();
        }
        assert_eq!(crowd.alive(), [0, 1, 2, 101, 102]);
        // Where nothing is silent, what was not answered yet.
        crowd.1[101].1.handshake.heard();
        crowd.1[101].1.handshake.answered();
        crowd.1[102].1.handshake.heard();
        crowd.1[102].1.handshake.answered();
        crowd.come(None).unwrap();
        assert_eq!(crowd.alive(), [0, 1, 101, 102, 103]);
    }

    #[test]
    fn who_comes_from_elsewhere_drives_out_the_address_that_has_most() {
        let mut crowd = Crowd::of(10, 5, 6);
        for address in [
            "192.0.2.1",
            "192.0.2.1",
            "192.0.2.1",
            "192.0.2.2",
            "192.0.2.2",
        ] {
            crowd.come_from(address, None).unwrap();
        }
        for n in 3..8 {
            crowd.come_from(&format!("192.0.2.{n}"), None).unwrap();
        }
        assert_eq!(crowd.alive().len(), 6);
        assert!(crowd.alive().contains(&9), "the newest");
        let before = crowd.alive();
        crowd.come_from("192.0.2.9", None).unwrap();
        assert_eq!(crowd.alive().len(), 6);
        assert_eq!(
            crowd.alive().iter().filter(|n| before.contains(n)).count(),
            5
        );
    }

    #[test]
    fn a_new_client_has_a_place_while_others_are_silent() {
        let mut crowd = Crowd::of(6, 3, 3);
        for client in ["a", "b", "a", "b", "b", "a"] {
            crowd.come(Some(client)).unwrap();
        }
        crowd.1[0].1.busy();
        crowd.1[2].1.busy();
        crowd.come(Some("c")).unwrap();
        assert_eq!(crowd.alive(), [0, 2, 3, 4, 5, 6], "the longest silent");
        crowd.come(Some("d")).unwrap();
        assert_eq!(crowd.alive(), [0, 2, 3, 4, 6, 7]);
        // Who has as many as the others takes its own place.
        crowd.come(Some("d")).unwrap();
        assert_eq!(crowd.alive(), [0, 2, 3, 4, 6, 8]);
        for number in [3, 4, 6, 8] {
            crowd.1[number].1.busy();
        }
        assert_eq!(crowd.come(Some("e")), Err("too many connections"));
        crowd.1[6].1.idle();
        crowd.come(Some("e")).unwrap();
        assert_eq!(crowd.alive(), [0, 2, 3, 4, 8, 9]);
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
        crowd.come(Some("d")).unwrap();
        assert_eq!(crowd.alive(), [1, 2, 5, 6], "a silent one of who has most");
        crowd.1.clear();
        assert!(crowd.0.is_empty());
    }
}
