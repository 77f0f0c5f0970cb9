//! Addresses by the networks and ranges that they are in: the smallest counts. (nginx: geo)

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use ipnet::IpNet;

/// What belongs to which addresses. Found by halving, however many there are.
#[derive(Clone, Debug, Default)]
pub(super) struct Networks {
    v4: Spans,
    v6: Spans,
}

/// A network, or all addresses from one to another, which are of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Network {
    first: IpAddr,
    last: IpAddr,
}

/// Where what belongs to addresses changes, in their order.
type Spans = Vec<(u128, Option<usize>)>;

impl Network {
    /// `10.0.0.0/8`, `192.0.2.1` or `192.0.2.1-192.0.2.9`; `None` if it is none.
    pub(super) fn read(text: &str) -> Option<Self> {
        if let Some((first, last)) = text.split_once('-') {
            let parse = |text: &str| text.trim().parse().ok();
            let (first, last): (IpAddr, IpAddr) = (parse(first)?, parse(last)?);
            let is_range = first.is_ipv4() == last.is_ipv4() && first <= last;
            return is_range.then_some(Self { first, last });
        }
        let alone = || text.parse::<IpAddr>().ok().map(IpNet::from);
        let network = text.parse().ok().or_else(alone)?;
        // Of IPv6 as well: the last one.
        Some(Self { first: network.network(), last: network.broadcast() })
    }

    fn numbers(self) -> RangeInclusive<u128> {
        number(self.first)..=number(self.last)
    }

    fn length(self) -> u128 {
        number(self.last) - number(self.first)
    }
}

impl Networks {
    /// These, each by its number. No two are the same.
    pub(super) fn new(networks: &[Network]) -> Self {
        let spans = |is_v4: bool| {
            let mut some: Vec<(usize, Network)> = networks.iter().copied().enumerate().collect();
            some.retain(|(_, network)| network.first.is_ipv4() == is_v4);
            // What is smaller comes to lie over what is larger.
            some.sort_by_key(|(number, network)| (std::cmp::Reverse(network.length()), *number));
            laid_over(&some)
        };
        Self { v4: spans(true), v6: spans(false) }
    }

    /// The number of the smallest that an address is in.
    pub(super) fn find(&self, address: IpAddr) -> Option<usize> {
        let address = address.to_canonical();
        let spans = if address.is_ipv4() { &self.v4 } else { &self.v6 };
        let behind = spans.partition_point(|(first, _)| *first <= number(address));
        spans.get(behind.checked_sub(1)?)?.1
    }
}

fn laid_over(networks: &[(usize, Network)]) -> Spans {
    let mut spans: BTreeMap<u128, Option<usize>> = BTreeMap::new();
    for (number, network) in networks {
        let (first, last) = network.numbers().into_inner();
        if let Some(behind) = last.checked_add(1) {
            let there = spans.range(..=behind).next_back().and_then(|(_, number)| *number);
            spans.insert(behind, there);
        }
        let covered: Vec<u128> = spans.range(first..=last).map(|(start, _)| *start).collect();
        for start in covered {
            spans.remove(&start);
        }
        spans.insert(first, Some(*number));
    }
    spans.into_iter().collect()
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => Ipv4Addr::to_bits(address).into(),
        IpAddr::V6(address) => Ipv6Addr::to_bits(address),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop, prop_assert_eq, proptest};

    use super::{Network, Networks};

    #[test]
    #[rustfmt::skip]
    fn the_smallest_network_counts() {
        check("10.1.2.3",         Some(1));
        check("10.2.0.0",         Some(0));
        check("10.1.2.9",         Some(2));
        check("10.1.2.10",        Some(1));
        check("11.0.0.0",         None);
        check("9.255.255.255",    None);
        check("255.255.255.255",  Some(3));
        check("::ffff:10.1.2.3",  Some(1));
        check("2001:db8::1",      Some(4));
        check("2001:db9::1",      None);

        #[track_caller]
        fn check(address: &str, expected: Option<usize>) {
            let texts = ["10.0.0.0/8", "10.1.2.3/16", "10.1.2.4-10.1.2.9", "255.255.255.255", "2001:db8::/32"];
            let networks: Vec<_> = texts.iter().map(|text| Network::read(text).unwrap()).collect();
            assert_eq!(Networks::new(&networks).find(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn what_is_no_network_is_none() {
        for text in
            ["", "10.0.0.0/33", "10.0.0.9-10.0.0.1", "10.0.0.1-::1", "a", "10.0.0.1-", "::/129"]
        {
            assert_eq!(Network::read(text), None, "{text}");
        }
        assert!(Network::read("0.0.0.0/0").is_some() && Network::read("::/0").is_some());
    }

    fn network() -> impl Strategy<Value = Network> {
        (any::<[u8; 2]>(), 16..=32_u8)
            .prop_map(|([c, d], length)| Network::read(&format!("10.0.{c}.{d}/{length}")).unwrap())
    }

    proptest! {
        #[test]
        fn halving_finds_what_looking_at_all_finds(
            networks in prop::collection::vec(network(), 0..20), end in any::<[u8; 2]>()
        ) {
            let address = std::net::IpAddr::from([10, 0, end[0], end[1]]);
            let has = |network: &&(usize, &Network)| network.1.first <= address && address <= network.1.last;
            let smallest = networks.iter().enumerate().collect::<Vec<_>>();
            let smallest = smallest.iter().filter(has).map(|(_, network)| network.length()).min();
            let found = Networks::new(&networks).find(address).map(|number| networks[number].length());
            prop_assert_eq!(found, smallest);
        }
    }
}
