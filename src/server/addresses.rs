//! What an address may take before its clients are known.
//!
//! An address from which a client has shown its certificate lately may take more, because others may be behind it (NAT); any other
//! has a quota of handshakes at once, and as many a second.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// How long a client's handshake speaks for its address.
const TRUST: Duration = Duration::from_secs(3600);
/// How many seconds' worth of handshakes an address may have at once after a pause.
const BURST: u32 = 4;
/// How many addresses are remembered.
const MOST: usize = 4096;

/// What is counted as one: an IPv4 address, or a network of IPv6, of which a host has 2^64 addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network(IpAddr);

impl Network {
    /// The network of an address.
    pub fn of(address: IpAddr) -> Network {
        match address.to_canonical() {
            IpAddr::V4(address) => Network(address.into()),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Network(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into())
            }
        }
    }
}

/// The addresses that connected lately.
pub struct Addresses {
    /// Handshakes at once, and a second.
    quota: u32,
    known: HashMap<Network, Known>,
}

struct Known {
    trusted_until: Option<Instant>,
    /// Handshakes that it may still begin, and when that was counted.
    left: f64,
    counted: Instant,
}

impl Addresses {
    /// None yet.
    pub fn new(quota: usize) -> Addresses {
        Addresses {
            quota: u32::try_from(quota).unwrap_or(u32::MAX),
            known: HashMap::new(),
        }
    }

    /// Handshakes that an address may have at once.
    pub fn quota(&self, network: Network, now: Instant) -> usize {
        match self.is_trusted(network, now) {
            true => usize::MAX,
            false => self.quota as usize,
        }
    }

    /// Counts a handshake; false when the address has begun too many.
    pub fn begin(&mut self, network: Network, now: Instant) -> bool {
        if self.is_trusted(network, now) {
            return true;
        }
        let most = f64::from(self.quota) * f64::from(BURST);
        let quota = f64::from(self.quota);
        let known = self.entry(network, now, most);
        let passed = now.saturating_duration_since(known.counted).as_secs_f64();
        known.left = (known.left + passed * quota).min(most);
        known.counted = now;
        let may = known.left >= 1.0;
        if may {
            known.left -= 1.0;
        }
        may
    }

    /// A client has shown its certificate.
    pub fn trust(&mut self, network: Network, now: Instant) {
        let most = f64::from(self.quota) * f64::from(BURST);
        self.entry(network, now, most).trusted_until = Some(now + TRUST);
    }

    fn is_trusted(&self, network: Network, now: Instant) -> bool {
        let known = self.known.get(&network);
        known.is_some_and(|known| known.trusted_until.is_some_and(|until| until > now))
    }

    fn entry(&mut self, network: Network, now: Instant, left: f64) -> &mut Known {
        if self.known.len() >= MOST && !self.known.contains_key(&network) {
            self.forget_one(now);
        }
        self.known.entry(network).or_insert(Known {
            trusted_until: None,
            left,
            counted: now,
        })
    }

    /// Makes room: for the address that came least lately of those without a client, else of all.
    fn forget_one(&mut self, now: Instant) {
        let least = self.known.iter().min_by_key(|(_, known)| {
            let trusted = known.trusted_until.filter(|until| *until > now);
            (trusted, known.counted)
        });
        if let Some(network) = least.map(|(network, _)| *network) {
            self.known.remove(&network);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        Network::of(text.parse().unwrap())
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:0:0:2"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
        assert_eq!(network("192.0.2.1"), network("::ffff:192.0.2.1"));
        assert_ne!(network("::ffff:192.0.2.1"), network("::ffff:192.0.2.2"));
    }

    #[test]
    fn an_address_has_a_rate_until_a_client_speaks_for_it() {
        let (mut addresses, start) = (Addresses::new(10), Instant::now());
        let (one, other) = (network("192.0.2.1"), network("192.0.2.2"));
        let mut begun =
            |network, at: Instant| (0..1000).filter(|_| addresses.begin(network, at)).count();
        assert_eq!(begun(one, start), 40);
        assert_eq!(begun(one, start + Duration::from_secs(1)), 10);
        assert_eq!(begun(other, start), 40);
        addresses.trust(one, start);
        assert_eq!(addresses.quota(one, start), usize::MAX);
        assert!((0..1000).all(|_| addresses.begin(one, start)));
        assert_eq!(addresses.quota(one, start + TRUST), 10);
        assert_eq!(addresses.quota(other, start), 10);
    }

    #[test]
    fn any_number_of_addresses_takes_bounded_room_and_drives_out_no_client() {
        let (mut addresses, start) = (Addresses::new(10), Instant::now());
        let client = network("192.0.2.1");
        addresses.trust(client, start);
        for n in 0..6_000_u32 {
            addresses.begin(Network::of(IpAddr::V4(n.into())), start);
        }
        assert_eq!(addresses.known.len(), MOST);
        assert_eq!(addresses.quota(client, start), usize::MAX);
    }
}
