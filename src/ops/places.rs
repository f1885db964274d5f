//! The places of a server's connections: who comes last is always let in.
//!
//! A server that refuses when all places are taken is shut by whoever takes them and says nothing.
//! Here a newcomer is given the place of the oldest connection of whoever holds the most, so that a
//! probe, which takes a millisecond, is always served.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

/// How many places there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) total: usize,
    pub(super) each_peer: usize,
}

/// Who has a place, in the order of arrival.
#[derive(Debug)]
pub(super) struct Places<H> {
    bounds: Bounds,
    next: u64,
    taken: BTreeMap<u64, (IpAddr, H)>,
}

impl<H> Places<H> {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, next: 0, taken: BTreeMap::new() }
    }

    /// Makes room for one more of the peer's; returns who has to go for it.
    pub(super) fn make_room(&mut self, peer: IpAddr) -> Option<H> {
        let peer = owner(peer);
        let mut held: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for (owner, _) in self.taken.values() {
            *held.entry(*owner).or_default() += 1;
        }
        let from = if held.get(&peer).is_some_and(|held| *held >= self.bounds.each_peer) {
            Some(peer)
        } else if self.taken.len() >= self.bounds.total {
            let most = held.values().copied().max().unwrap_or_default();
            let mut oldest_first = self.taken.values().map(|(owner, _)| *owner);
            oldest_first.find(|owner| held.get(owner) == Some(&most))
        } else {
            None
        }?;
        let place = self.taken.iter().find(|(_, (owner, _))| *owner == from).map(|(place, _)| *place)?;
        self.taken.remove(&place).map(|(_, who)| who)
    }

    /// Gives a place, to be left by its number.
    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(super) fn take(&mut self, place: u64, peer: IpAddr, who: H) {
        self.taken.insert(place, (owner(peer), who));
    }

    pub(super) fn leave(&mut self, place: u64) {
        self.taken.remove(&place);
    }
}

/// Whoever has one IPv6 address has all of its /64.
fn owner(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            if address.is_loopback() { IpAddr::V6(address) } else { Ipv6Addr::from(network).into() }
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: usize) -> IpAddr {
        format!("10.0.{}.{}", number / 256, number % 256).parse().unwrap()
    }

    fn arrive(places: &mut Places<u64>, peer: IpAddr) -> Option<u64> {
        let gone = places.make_room(peer);
        let place = places.number();
        places.take(place, peer, place);
        gone
    }

    #[test]
    fn a_crowd_loses_its_own_oldest_and_nobody_elses() {
        let mut places = Places::new(Bounds { total: 8, each_peer: 4 });
        arrive(&mut places, peer(1));
        let gone: Vec<u64> = (0..6).filter_map(|_| arrive(&mut places, peer(2))).collect();
        assert_eq!(gone, [2, 3]);
        // Three more take the last places; the next newcomer gets one of the crowd's.
        for number in 3..6 {
            assert_eq!(arrive(&mut places, peer(number)), None);
        }
        assert_eq!(arrive(&mut places, peer(9)), Some(4));
        places.leave(5);
        assert_eq!(arrive(&mut places, peer(10)), None);
    }

    #[test]
    fn where_each_holds_one_the_oldest_goes() {
        let mut places = Places::new(Bounds { total: 3, each_peer: 2 });
        for number in 0..3 {
            assert_eq!(arrive(&mut places, peer(number)), None);
        }
        let gone: Vec<u64> = (3..300).filter_map(|number| arrive(&mut places, peer(number))).collect();
        assert_eq!(gone, (1..298).collect::<Vec<u64>>());
        assert_eq!(places.taken.len(), 3);
    }

    #[test]
    fn addresses_of_one_network_of_ipv6_are_one_peer() {
        let address = |text: &str| owner(text.parse().unwrap());
        assert_eq!(address("2001:db8::1"), address("2001:db8::ffff:1"));
        assert_ne!(address("2001:db8:0:1::1"), address("2001:db8::1"));
        assert_eq!(address("::ffff:10.0.0.1"), address("10.0.0.1"));
        assert_ne!(address("10.0.0.1"), address("10.0.0.2"));
    }
}
