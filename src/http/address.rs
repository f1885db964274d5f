//! Which addresses are on the public internet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

/// Ranges that are not the public internet (IANA IPv4 special-purpose registry, RFC 6890), and
/// one public address that is not what it seems.
const NOT_PUBLIC_V4: [Ipv4Net; 17] = [
    v4(0, 0, 0, 0, 8),          // "this network"
    v4(10, 0, 0, 0, 8),         // private
    v4(100, 64, 0, 0, 10),      // carrier-grade NAT; clouds use it for pods and metadata
    v4(127, 0, 0, 0, 8),        // loopback
    v4(168, 63, 129, 16, 32),   // Azure's host agent, reachable from every machine there
    v4(169, 254, 0, 0, 16),     // link-local, metadata services
    v4(172, 16, 0, 0, 12),      // private
    v4(192, 0, 0, 0, 24),       // protocol assignments; 192.0.0.192 is Oracle's metadata service
    v4(192, 0, 2, 0, 24),       // documentation
    v4(192, 88, 99, 0, 24),     // 6to4 relays
    v4(192, 168, 0, 0, 16),     // private
    v4(198, 18, 0, 0, 15),      // benchmarks
    v4(198, 51, 100, 0, 24),    // documentation
    v4(203, 0, 113, 0, 24),     // documentation
    v4(224, 0, 0, 0, 4),        // multicast
    v4(240, 0, 0, 0, 4),        // reserved
    v4(255, 255, 255, 255, 32), // broadcast
];

/// The only IPv6 range IANA has given out for global unicast. Everything else but [`NAT64`] is
/// refused with it: unspecified, loopback, IPv4-compatible and IPv4-mapped, NAT64 of a network's own
/// (`64:ff9b:1::/48`), unique local (with `fd00:ec2::254`, a metadata service), link-local,
/// site-local and multicast.
const GLOBAL_UNICAST_V6: Ipv6Net = v6([0x2000, 0, 0, 0], 3);

/// Parts of the global unicast range that are not the public internet, or that carry an IPv4
/// address which could be a private one.
const NOT_PUBLIC_V6: [Ipv6Net; 4] = [
    v6([0x2001, 0, 0, 0], 23),      // protocol assignments: Teredo, benchmarks, ORCHID
    v6([0x2001, 0x0db8, 0, 0], 32), // documentation
    v6([0x2002, 0, 0, 0], 16),      // 6to4
    v6([0x3fff, 0, 0, 0], 20),      // documentation
];

/// The well-known prefix of NAT64 (RFC 6052 2.1): its last 32 bits are the IPv4 address that is
/// reached. In a network without IPv4 the resolver answers with such addresses (DNS64, RFC 6147) for
/// every host that has none of IPv6. `64:ff9b:1::/48` (RFC 8215) is another matter: where the IPv4
/// address stands in it is each network's own choice.
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0], 96);

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(high: [u16; 4], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(high[0], high[1], high[2], high[3], 0, 0, 0, 0), prefix)
}

/// The IPv4 address that is reached by way of NAT64 when a connection is opened to this one.
pub(super) fn translated(address: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(address) = address else { return None };
    let [.., a, b, c, d] = address.octets();
    NAT64.contains(&address).then(|| Ipv4Addr::new(a, b, c, d).into())
}

/// Whether the address belongs to a host on the public internet, in a form that cannot stand for
/// another address, or leads to such a host by way of NAT64.
pub(super) fn is_public(address: IpAddr) -> bool {
    match translated(address).unwrap_or(address) {
        IpAddr::V4(address) => !NOT_PUBLIC_V4.iter().any(|net| net.contains(&address)),
        IpAddr::V6(address) => {
            GLOBAL_UNICAST_V6.contains(&address) && !NOT_PUBLIC_V6.iter().any(|net| net.contains(&address))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_addresses_are_public() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "168.63.129.15",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2001:4860:4860::8888",
            "2606:4700:4700::1111",
            "64:ff9b::8.8.8.8",
            "64:ff9b::102:304",
            "2a00:1450:4001::1",
        ] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn everything_else_is_not() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::8.8.8.8",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "64:ff9b::",
            "64:ff9b::7f00:1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::100.100.100.200",
            "64:ff9b::168.63.129.16",
            "64:ff9b::169.254.169.254",
            "64:ff9b::192.0.0.170",
            "64:ff9b::224.0.0.1",
            "64:ff9b::1:808:808",
            "64:ff9b:1::7f00:1",
            "64:ff9b:1::8.8.8.8",
            "64:ff9b:0:1::8.8.8.8",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "4000::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
    }
}
