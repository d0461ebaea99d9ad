//! Refused connections that come again and again: each kind is written down once a minute for each peer, the others are counted.
//! Whoever may connect could fill the disk otherwise.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// How long repetitions are counted before they are told.
const SPAN: Duration = Duration::from_secs(60);

/// How many kinds are told apart within that time; all others are one.
const KINDS: usize = 256;

/// What was refused since the last telling.
#[derive(Default)]
pub struct Repeats {
    since: Option<Instant>,
    kinds: HashMap<Option<(IpAddr, String)>, Repeated>,
}

/// A kind of refusal.
pub struct Repeated {
    /// Who came last.
    pub peer: SocketAddr,
    /// Why that one was refused.
    pub why: String,
    /// How often it happened again.
    pub times: u64,
}

impl Repeats {
    /// Counts a refusal; true for the first of its kind.
    pub fn is_first(&mut self, now: Instant, peer: SocketAddr, why: &str) -> bool {
        self.since.get_or_insert(now);
        // What follows the first digit is a time or an amount, and other each time.
        let kind = why
            .split(|c: char| c.is_ascii_digit())
            .next()
            .unwrap_or_default();
        let kind = Some((peer.ip(), kind.to_owned()));
        let known = self.kinds.len() < KINDS || self.kinds.contains_key(&kind);
        let kind = kind.filter(|_| known);
        let is_first = !self.kinds.contains_key(&kind);
        let repeated = self.kinds.entry(kind).or_insert_with(|| Repeated {
            peer,
            why: String::new(),
            times: 0,
        });
        (repeated.peer, repeated.why) = (peer, why.to_owned());
        repeated.times += u64::from(!is_first);
        is_first
    }

    /// What was repeated, when it is time to tell it.
    pub fn due(&mut self, now: Instant) -> Vec<Repeated> {
        match self.since {
            Some(since) if now.duration_since(since) >= SPAN => self.all(),
            _ => Vec::new(),
        }
    }

    /// What was repeated; the counting begins anew.
    pub fn all(&mut self) -> Vec<Repeated> {
        self.since = None;
        self.kinds
            .drain()
            .map(|(_, repeated)| repeated)
            .filter(|repeated| repeated.times > 0)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_told_once_and_counted() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        let peers: Vec<SocketAddr> = ["192.0.2.1:1", "192.0.2.1:2", "192.0.2.2:1"]
            .map(|peer| peer.parse().unwrap())
            .into();
        let first: Vec<bool> = peers
            .iter()
            .map(|peer| repeats.is_first(start, *peer, "expired 5 s ago"))
            .collect();
        assert_eq!(first, [true, false, true]);
        assert!(!repeats.is_first(start, peers[0], "expired 6 s ago"));
        assert!(repeats.is_first(start, peers[0], "unknown issuer"));
        assert!(repeats.due(start + SPAN / 2).is_empty());
        let due = repeats.due(start + SPAN);
        let [only] = due.as_slice() else {
            panic!("{} kinds", due.len())
        };
        assert_eq!(
            (only.peer, only.why.as_str(), only.times),
            (peers[0], "expired 6 s ago", 2)
        );
        assert!(repeats.due(start + 2 * SPAN).is_empty());
        assert!(repeats.is_first(start, peers[0], "expired 5 s ago"));
    }

    #[test]
    fn any_number_of_peers_is_few_lines() {
        let (mut repeats, now) = (Repeats::default(), Instant::now());
        let peers = (0..100_000_u32).map(|n| SocketAddr::new(IpAddr::V4(n.into()), 1));
        assert_eq!(
            peers
                .filter(|peer| repeats.is_first(now, *peer, "no handshake"))
                .count(),
            KINDS + 1
        );
        let times: Vec<u64> = repeats
            .all()
            .iter()
            .map(|repeated| repeated.times)
            .collect();
        assert_eq!(times, [100_000 - KINDS as u64 - 1]);
    }
}
