//! Which clients are connected, and how much of the server each keeps busy.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How often a request that waits asks whether its client is still there.
const PATIENCE: Duration = Duration::from_millis(50);

/// The clients that are connected or have requests under way.
pub struct Clients {
    /// Requests of one client at once.
    requests: usize,
    /// Requests at once that take much work: of all clients, and of one.
    heavy: (usize, usize),
    /// Long messages in memory at once: of all clients, and of one.
    large: (usize, usize),
    busy: Mutex<Busy>,
    changed: Condvar,
}

#[derive(Default)]
struct Busy {
    clients: HashMap<String, Client>,
    heavy: usize,
    large: usize,
}

impl Busy {
    /// Forgets a client that has neither connections nor requests.
    fn forget(&mut self, name: &str) {
        if self.clients.get(name).is_some_and(Client::is_absent) {
            self.clients.remove(name);
        }
    }
}

/// What all clients have under way.
struct Occupied {
    heavy: usize,
    large: usize,
}

#[derive(Default)]
struct Client {
    connections: usize,
    requests: usize,
    heavy: usize,
    large: usize,
}

impl Client {
    fn is_absent(&self) -> bool {
        self.connections + self.requests + self.heavy + self.large == 0
    }
}

/// What is counted of a client.
#[derive(Clone, Copy)]
enum Count {
    Connection,
    Request,
    Heavy,
    Large,
}

/// One connection, request or long computation of a client, counted until this is dropped.
pub struct Counted {
    clients: Arc<Clients>,
    name: String,
    count: Count,
}

/// A long computation.
pub type Heavy = Counted;

impl Clients {
    /// With so many requests of one client at once, and long computations on as many processors as there are: one client has
    /// half of them.
    pub fn new(requests: usize) -> Clients {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        Clients {
            requests: requests.max(1),
            heavy: (processors, processors.div_ceil(2)),
            large: (16, 4),
            busy: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Busy> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection of this client.
    pub fn connected(self: &Arc<Clients>, name: &str) -> Counted {
        self.count(&mut self.lock(), name, Count::Connection)
    }

    /// A request of this client, as soon as fewer of its own are under way than may be. `None` when it is gone before.
    pub fn request(self: &Arc<Clients>, name: &str, gone: impl Fn() -> bool) -> Option<Counted> {
        let most = self.requests;
        self.wait(name, Count::Request, gone, |_, client| {
            client.requests < most
        })
    }

    /// A long computation of this client, as soon as a processor is free for it. `None` when the client is gone before.
    pub fn heavy(self: &Arc<Clients>, name: &str, gone: impl Fn() -> bool) -> Option<Heavy> {
        let (all, own) = self.heavy;
        self.wait(name, Count::Heavy, gone, |busy, client| {
            busy.heavy < all && client.heavy < own
        })
    }

    /// A long message of this client, as soon as few are in memory. `None` when the client is gone
    /// before.
    pub fn large(self: &Arc<Clients>, name: &str, gone: impl Fn() -> bool) -> Option<Counted> {
        let (all, own) = self.large;
        self.wait(name, Count::Large, gone, |busy, client| {
            busy.large < all && client.large < own
        })
    }

    fn wait(
        self: &Arc<Clients>,
        name: &str,
        count: Count,
        gone: impl Fn() -> bool,
        may: impl Fn(Occupied, &Client) -> bool,
    ) -> Option<Counted> {
        let mut busy = self.lock();
        loop {
            let all = Occupied {
                heavy: busy.heavy,
                large: busy.large,
            };
            if may(all, busy.clients.entry(name.to_owned()).or_default()) {
                return Some(self.count(&mut busy, name, count));
            }
            busy = self
                .changed
                .wait_timeout(busy, PATIENCE)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            if gone() {
                busy.forget(name);
                return None;
            }
        }
    }

    fn count(self: &Arc<Clients>, busy: &mut Busy, name: &str, count: Count) -> Counted {
        let client = busy.clients.entry(name.to_owned()).or_default();
        match count {
            Count::Connection => client.connections += 1,
            Count::Request => client.requests += 1,
            Count::Heavy => {
                client.heavy += 1;
                busy.heavy += 1;
            }
            Count::Large => {
                client.large += 1;
                busy.large += 1;
            }
        }
        Counted {
            clients: self.clone(),
            name: name.to_owned(),
            count,
        }
    }

    /// True while the client has a connection.
    pub fn is_connected(&self, name: &str) -> bool {
        let busy = self.lock();
        busy.clients
            .get(name)
            .is_some_and(|client| client.connections > 0)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut busy = self.clients.lock();
        if let Some(client) = busy.clients.get_mut(&self.name) {
            match self.count {
                Count::Connection => client.connections -= 1,
                Count::Request => client.requests -= 1,
                Count::Heavy => client.heavy -= 1,
                Count::Large => client.large -= 1,
            }
        }
        busy.forget(&self.name);
        match self.count {
            Count::Heavy => busy.heavy -= 1,
            Count::Large => busy.large -= 1,
            Count::Connection | Count::Request => {}
        }
        drop(busy);
        self.clients.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn one_client_waits_for_itself_and_no_other() {
        let clients = Arc::new(Clients {
            heavy: (2, 1),
            ..Clients::new(2)
        });
        let gone = || true;
        let first = clients.request("a", gone).unwrap();
        let _second = clients.request("a", gone).unwrap();
        assert!(clients.request("a", gone).is_none());
        assert!(clients.request("b", gone).is_some());
        let heavy = clients.heavy("a", gone).unwrap();
        assert!(clients.heavy("a", gone).is_none());
        let other = clients.heavy("b", gone).unwrap();
        assert!(clients.heavy("c", gone).is_none(), "no processor is free");
        drop((heavy, other));
        assert!(clients.heavy("c", gone).is_some());

        let large: Vec<_> = (0..4).map(|_| clients.large("a", gone).unwrap()).collect();
        assert!(clients.large("a", gone).is_none());
        assert!(clients.large("b", gone).is_some());
        drop(large);
        assert!(clients.large("a", gone).is_some());

        let woken = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                clients.request("a", || false).unwrap();
                woken.store(true, Ordering::SeqCst);
            });
            drop(first);
        });
        assert!(woken.load(Ordering::SeqCst));
        assert!(!clients.is_connected("a"));
        let connection = clients.connected("a");
        assert!(clients.is_connected("a"));
        drop(connection);
        assert!(!clients.is_connected("a"));
        assert_eq!(clients.lock().clients.len(), 1);
    }
}
