//! Which peer does a text or an address belong to? nginx's rules to the byte; pure.
//! (nginx: ip_hash, hash, hash consistent)
//!
//! A peer that may not be picked is passed over by hashing on, up to 20 times a request; then it
//! goes by turns.

use std::net::IpAddr;

use super::balance::{Peers, Share, by_weight, round_robin};

/// How far one request has come; goes on where it was when a peer failed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Walk {
    hash: u32,
    /// Hashes that were taken.
    rehash: u32,
    tries: u32,
}

/// The ring of ketama: 160 points for each unit of weight.
#[derive(Debug)]
pub(super) struct Ring {
    /// By hash, each once.
    points: Vec<(u32, u32)>,
    /// Peers of one address have one place in common: the first of them.
    same: Vec<usize>,
}

impl Walk {
    /// nginx's `ip_hash`: the first three bytes of IPv4, all of IPv6.
    pub(super) fn by_address(
        &mut self,
        shares: &[Share],
        peers: &impl Peers,
        address: IpAddr,
    ) -> Option<usize> {
        let bytes: &[u8] = match address.to_canonical() {
            IpAddr::V4(address) => &address.octets()[..3],
            IpAddr::V6(address) => &address.octets(),
        };
        if self.rehash == 0 {
            self.hash = 89;
        }
        self.walk(shares, peers, |walk| {
            let step = |hash, byte: &u8| (hash * 113 + u32::from(*byte)) % 6271;
            walk.hash = bytes.iter().fold(walk.hash, step);
        })
    }

    /// nginx's `hash` without `consistent`, that of Cache::Memcached.
    pub(super) fn by_text(
        &mut self,
        shares: &[Share],
        peers: &impl Peers,
        text: &[u8],
    ) -> Option<usize> {
        // nginx goes by turns where there is nothing to hash.
        if text.is_empty() {
            return None;
        }
        self.walk(shares, peers, |walk| {
            let mut hasher = crc32fast::Hasher::new();
            if walk.rehash > 0 {
                hasher.update(walk.rehash.to_string().as_bytes());
            }
            hasher.update(text);
            walk.hash = walk.hash.wrapping_add((hasher.finalize() >> 16) & 0x7fff);
        })
    }

    fn walk(
        &mut self,
        shares: &[Share],
        peers: &impl Peers,
        mut next: impl FnMut(&mut Self),
    ) -> Option<usize> {
        let total: i64 = shares.iter().map(|share| share.weight).sum();
        while self.tries <= TRIES && total > 0 {
            next(self);
            self.rehash += 1;
            let at = by_weight(shares, i64::from(self.hash) % total);
            if peers.may(at) {
                return Some(at);
            }
            self.tries += 1;
        }
        None
    }

    /// nginx's `hash` with `consistent`.
    pub(super) fn on_ring(
        &mut self,
        ring: &Ring,
        (shares, peers): (&mut [Share], &impl Peers),
        text: &[u8],
    ) -> Option<usize> {
        if text.is_empty() || ring.points.is_empty() {
            return None;
        }
        if self.rehash == 0 {
            self.hash = ring.find(crc32fast::hash(text));
            self.rehash = 1;
        }
        while self.tries <= TRIES {
            let place = self.hash as usize % ring.points.len();
            let there = Of { peers, ring, at: ring.points[place].1 as usize };
            if let Some(at) = round_robin(shares, &there) {
                return Some(at);
            }
            self.hash = self.hash.wrapping_add(1);
            self.tries += 1;
        }
        None
    }
}

impl Ring {
    /// The ring of peers with these addresses and weights. nginx hashes a server as it is written,
    /// host and port apart; `unix:` is not part of a path.
    pub(super) fn new<'a>(peers: impl Iterator<Item = (&'a str, u32)>) -> Self {
        let (mut points, mut same, mut addresses) = (Vec::new(), Vec::new(), Vec::new());
        for (at, (address, weight)) in peers.enumerate() {
            let base = base(address);
            let mut previous = 0_u32;
            for _ in 0..weight.saturating_mul(POINTS) {
                let mut hasher = base.clone();
                hasher.update(&previous.to_le_bytes());
                previous = hasher.finalize();
                points.push((previous, at as u32));
            }
            same.push(addresses.iter().position(|known| *known == address).unwrap_or(at));
            addresses.push(address);
        }
        points.sort_by_key(|(hash, _)| *hash);
        points.dedup_by_key(|(hash, _)| *hash);
        Self { points, same }
    }

    /// The first point that is not before `hash`; may be one behind the last, which is the first.
    fn find(&self, hash: u32) -> u32 {
        self.points.partition_point(|(point, _)| *point < hash) as u32
    }
}

fn base(address: &str) -> crc32fast::Hasher {
    let (host, port) = match address.strip_prefix("unix:") {
        Some(path) => (path, ""),
        None => match address.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (host, port),
            _ => (address, ""),
        },
    };
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(host.as_bytes());
    hasher.update(&[0]);
    hasher.update(port.as_bytes());
    hasher
}

/// The peers of one address.
struct Of<'a, P> {
    peers: &'a P,
    ring: &'a Ring,
    at: usize,
}

impl<P: Peers> Peers for Of<'_, P> {
    fn may(&self, at: usize) -> bool {
        self.ring.same[at] == self.ring.same[self.at] && self.peers.may(at)
    }

    fn active(&self, at: usize) -> u64 {
        self.peers.active(at)
    }

    fn part(&self, at: usize) -> i64 {
        self.peers.part(at)
    }
}

/// Peers that a request may be passed over before it goes by turns (nginx).
const TRIES: u32 = 20;
/// Of a ring, for each unit of weight (nginx).
const POINTS: u32 = 160;

#[cfg(test)]
mod tests {
    use super::*;

    /// Those that may not be picked.
    struct Out<'a>(&'a [usize]);

    impl Peers for Out<'_> {
        fn may(&self, at: usize) -> bool {
            !self.0.contains(&at)
        }

        fn active(&self, _at: usize) -> u64 {
            0
        }

        fn part(&self, _at: usize) -> i64 {
            1000
        }
    }

    fn shares(weights: &[u32]) -> Vec<Share> {
        weights.iter().copied().map(Share::new).collect()
    }

    fn letters(picks: impl Iterator<Item = Option<usize>>) -> String {
        picks.map(|at| at.map_or('-', |at| char::from(b'a' + at as u8))).collect()
    }

    /// `/p/0` to `/p/19`.
    fn texts() -> impl Iterator<Item = String> {
        (0..20).map(|number| format!("/p/{number}"))
    }

    // The letters below were worked out apart from this code, by a script that follows
    // ngx_http_upstream_ip_hash_module.c and ngx_http_upstream_hash_module.c step by step; weights
    // are 1, 2 and 3 where nothing else is said. `-` is where it goes by turns.

    #[test]
    #[rustfmt::skip]
    fn addresses_belong_where_nginx_has_them() {
        //       out          picked
        address(&[],          "bcbcaaccbccbc");
        address(&[2],         "bbbbaabbbbaba");
        address(&[0],         "bcbcccccbccbc");
        address(&[1, 2],      "aaaaaaaaaaaaa");
        address(&[0, 1, 2],   "-------------");
    }

    #[track_caller]
    fn address(out: &[usize], expected: &str) {
        let addresses = [
            "1.2.3.9",
            "10.0.0.9",
            "127.0.0.9",
            "192.168.1.9",
            "203.0.113.9",
            "198.51.100.9",
            "8.8.8.9",
            "255.255.255.9",
            "0.0.0.9",
            "172.16.5.9",
            "::1",
            "2001:db8::1",
            "fe80::1234",
        ];
        let pick = |address: &&str| {
            let address = address.parse().unwrap();
            Walk::default().by_address(&shares(&[1, 2, 3]), &Out(out), address)
        };
        assert_eq!(letters(addresses.iter().map(pick)), expected);
        let mapped = "::ffff:10.0.0.77".parse().unwrap();
        let mapped = Walk::default().by_address(&shares(&[1, 2, 3]), &Out(out), mapped);
        assert_eq!(mapped, pick(&"10.0.0.9"), "one of IPv4 over IPv6 is one of IPv4");
    }

    /// Digests of the letters of 1,000 addresses each, by that script, which agreed with nginx
    /// 1.22 itself on 1,000 others.
    #[test]
    fn a_thousand_addresses_belong_where_nginx_has_them() {
        let word = |number: u32| number.wrapping_mul(2_654_435_761);
        let v4 = |number| IpAddr::from(word(number).to_be_bytes());
        let v6 = |number: u32| {
            let words = [0, 1, 2, 3].map(|k| u128::from(word(number + k)));
            IpAddr::from(words.into_iter().fold(0, |all, word| all << 32 | word).to_be_bytes())
        };
        let pick =
            |address| Walk::default().by_address(&shares(&[1, 2, 3, 1, 5]), &Out(&[]), address);
        let digest = |letters: String| crc32fast::hash(letters.as_bytes());
        assert_eq!(digest(letters((0..1000).map(|number| pick(v4(number))))), 0xbba7_77d5);
        assert_eq!(digest(letters((0..1000).map(|number| pick(v6(number))))), 0x5cf4_1241);
    }

    #[test]
    #[rustfmt::skip]
    fn texts_belong_where_nginx_has_them() {
        //    out          picked
        text(&[],          "cbcaabbcbccbbcacbbbb");
        text(&[2],         "bbbaabbbbbbbbaaabbbb");
        text(&[0],         "cbcbcbbcbccbbcccbbbb");
        text(&[1, 2],      "-a-aa-a-a-aaaaaaaaaa");
        text(&[0, 1, 2],   "--------------------");
    }

    #[track_caller]
    fn text(out: &[usize], expected: &str) {
        let pick =
            |text: String| Walk::default().by_text(&shares(&[1, 2, 3]), &Out(out), text.as_bytes());
        assert_eq!(letters(texts().map(pick)), expected);
        assert_eq!(pick(String::new()), None, "nothing to hash");
    }

    #[test]
    #[rustfmt::skip]
    fn the_ring_is_that_of_nginx() {
        let servers = [("127.0.0.1:3001", 1), ("app.internal:3002", 2), ("10.0.0.3:80", 3)];
        //              out    picked
        on(&servers,   &[],    "cbbbcacbcccaccacacbc");
        on(&servers,   &[2],   "abbbaabbaaaabbababbb");
        on(&servers,   &[0],   "cbbbcccbccccccccccbc");
        on(&servers,   &[1],   "cccccacccccaccacaccc");
        let servers = [("unix:/run/a.sock", 1), ("unix:/run/b.sock", 1), ("localhost:80", 1)];
        on(&servers,   &[],    "aaacacbbccbccbbbabab");
    }

    #[track_caller]
    fn on(servers: &[(&str, u32)], out: &[usize], expected: &str) {
        let ring = Ring::new(servers.iter().copied());
        let weights: Vec<_> = servers.iter().map(|(_, weight)| *weight).collect();
        let pick = |text: String| {
            let mut shares = shares(&weights);
            Walk::default().on_ring(&ring, (&mut shares, &Out(out)), text.as_bytes())
        };
        assert_eq!(letters(texts().map(pick)), expected);
    }

    #[test]
    fn servers_with_one_address_take_turns_at_its_place() {
        let ring = Ring::new([("a:80", 1), ("a:80", 1)].into_iter());
        let mut shares = shares(&[1, 1]);
        let turns = (0..4).map(|_| Walk::default().on_ring(&ring, (&mut shares, &Out(&[])), b"/p"));
        assert_eq!(letters(turns), "abab");
    }

    #[test]
    fn a_request_that_failed_goes_on_where_it_was() {
        let shares = shares(&[1, 2, 3]);
        let mut walk = Walk::default();
        let first = walk.by_text(&shares, &Out(&[]), b"/p/0").unwrap();
        let second = walk.by_text(&shares, &Out(&[first]), b"/p/0").unwrap();
        assert_ne!(first, second);
        assert_eq!(walk.by_text(&shares, &Out(&[0, 1, 2]), b"/p/0"), None, "and ends");
    }
}
