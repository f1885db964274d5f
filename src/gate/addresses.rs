//! Where a request comes from, behind proxies that whoever runs the process trusts.

use std::net::{IpAddr, SocketAddr};

use hyper::HeaderMap;
use ipnet::IpNet;

use crate::http::HeaderName;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The proxies that are believed about where a request comes from.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// The proxies at these addresses.
    #[must_use]
    pub fn new(ranges: Vec<IpNet>) -> Self {
        Self(ranges)
    }

    /// The address that a request comes from; `None` when it cannot be said.
    ///
    /// `X-Forwarded-For` counts only when the peer itself is a trusted proxy, and is read from the right:
    /// each proxy adds the address of its own peer there, so what stands left of an address that nobody
    /// trusts can be written by anybody. The first that is no trusted proxy is the one; when all are, the
    /// first of all. An entry that is no address is where the chain cannot be followed any further.
    #[must_use]
    pub fn sender(&self, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
        let mut sender = peer.to_canonical();
        if !contains(&self.0, sender) {
            return Some(sender);
        }
        // Several lines are one list (RFC 9110, section 5.3); empty elements of it are none (5.6.1).
        let lines = headers.get_all(FORWARDED_FOR).iter().rev();
        let entries = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
        for entry in entries.map(<[u8]>::trim_ascii).filter(|entry| !entry.is_empty()) {
            sender = address(entry)?;
            if !contains(&self.0, sender) {
                break;
            }
        }
        Some(sender)
    }
}

/// The address of an entry, with or without a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`,
/// `[2001:db8::1]`, `[2001:db8::1]:80`.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let entry = std::str::from_utf8(entry).ok()?;
    let bare = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = match bare {
        Some(bare) => IpAddr::V6(bare.parse().ok()?),
        None => entry
            .parse::<IpAddr>()
            .or_else(|_| entry.parse::<SocketAddr>().map(|address| address.ip()))
            .ok()?,
    };
    Some(address.to_canonical())
}

/// Whether a delivery may come from this address: it is in one of the ranges, or there are none. An
/// address that cannot be said is in no range.
#[must_use]
pub fn may_come_from(sender: Option<IpAddr>, source_ranges: &[IpNet]) -> bool {
    source_ranges.is_empty() || sender.is_some_and(|sender| contains(source_ranges, sender))
}

/// Whether one of the ranges holds the address. An IPv4 address that is written as one of IPv6 (RFC
/// 4291, section 2.5.5.2) is the same address, and so is a range of them.
fn contains(ranges: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    ranges.iter().any(|range| match (range, address) {
        (IpNet::V6(range), IpAddr::V4(address)) => {
            range.prefix_len() >= 96 && range.contains(&address.to_ipv6_mapped())
        }
        _ => range.contains(&address),
    })
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn nets(ranges: &[&str]) -> Vec<IpNet> {
        ranges.iter().map(|range| range.parse().unwrap()).collect()
    }

    fn sender_of(peer: &str, lines: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        let trusted = TrustedProxies::new(nets(&["10.0.0.0/8", "fd00::/8"]));
        trusted.sender(peer.parse().unwrap(), &headers).map(|address| address.to_string())
    }

    #[test]
    fn the_header_counts_only_when_the_peer_is_a_trusted_proxy() {
        assert_eq!(sender_of("192.0.2.9", &["203.0.113.1"]).as_deref(), Some("192.0.2.9"));
        assert_eq!(sender_of("10.0.0.1", &["203.0.113.1"]).as_deref(), Some("203.0.113.1"));
        assert_eq!(sender_of("::ffff:10.0.0.1", &["203.0.113.1"]).as_deref(), Some("203.0.113.1"));
        assert_eq!(sender_of("fd00::1", &["203.0.113.1"]).as_deref(), Some("203.0.113.1"));
        assert_eq!(sender_of("10.0.0.1", &[]).as_deref(), Some("10.0.0.1"));
        let mut headers = HeaderMap::new();
        headers.append(FORWARDED_FOR, HeaderValue::from_static("203.0.113.1"));
        let nobody = TrustedProxies::default().sender("10.0.0.1".parse().unwrap(), &headers);
        assert_eq!(nobody, Some("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn it_is_read_from_the_right_over_all_its_lines() {
        for (lines, expected) in [
            // What the sender wrote stands on the left.
            (&["198.51.100.7, 203.0.113.1"][..], "203.0.113.1"),
            (&["198.51.100.7", "203.0.113.1"], "203.0.113.1"),
            (&["198.51.100.7, 203.0.113.1", "10.1.1.1, 10.2.2.2"], "203.0.113.1"),
            (&["198.51.100.7", "203.0.113.1, 10.1.1.1", "10.2.2.2"], "203.0.113.1"),
            // All of them are trusted: the first is the one.
            (&["10.9.9.9, 10.1.1.1"], "10.9.9.9"),
            // Nothing to the left of the address that counts is even read.
            (&["unknown, 203.0.113.1, 10.1.1.1"], "203.0.113.1"),
            // Empty elements.
            (&["203.0.113.1, , ,10.1.1.1,", ""], "203.0.113.1"),
        ] {
            assert_eq!(sender_of("10.0.0.1", lines).as_deref(), Some(expected), "{lines:?}");
        }
    }

    #[test]
    fn an_entry_may_have_a_port_and_brackets() {
        for (entry, expected) in [
            ("1.2.3.4:567", "1.2.3.4"),
            ("[2001:db8::1]:80", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("2001:DB8::1", "2001:db8::1"),
            ("::ffff:1.2.3.4", "1.2.3.4"),
            ("[::ffff:1.2.3.4]:80", "1.2.3.4"),
            ("\t1.2.3.4 ", "1.2.3.4"),
        ] {
            assert_eq!(sender_of("10.0.0.1", &[entry]).as_deref(), Some(expected), "{entry}");
        }
    }

    #[test]
    fn what_is_no_address_ends_the_chain() {
        for entry in [
            "unknown",
            "_hidden",
            "1.2.3",
            "01.2.3.4",
            "1.2.3.4:",
            "1.2.3.4:99999",
            "1.2.3.4:x",
            "[1.2.3.4]",
            "[::1",
            "::1]:80",
            "[::1]80",
            "fe80::1%eth0",
            "\"1.2.3.4\"",
            "1.2.3.4 5.6.7.8",
            "1.2.3.4;5.6.7.8",
            "\u{ff11}.2.3.4",
        ] {
            assert_eq!(sender_of("10.0.0.1", &[entry]), None, "{entry}");
            assert_eq!(sender_of("10.0.0.1", &["203.0.113.1", entry, "10.1.1.1"]), None, "{entry}");
        }
        assert!(!may_come_from(None, &nets(&["0.0.0.0/0", "::/0"])));
        assert!(may_come_from(None, &[]));
    }

    #[test]
    fn a_range_holds_an_address_however_it_is_written() {
        for (ranges, address, expected) in [
            (&["203.0.113.0/24"][..], "203.0.113.9", true),
            (&["203.0.113.0/24"], "::ffff:203.0.113.9", true),
            (&["203.0.113.0/24"], "203.0.114.9", false),
            (&["::ffff:203.0.113.0/120"], "203.0.113.9", true),
            (&["::ffff:203.0.113.0/120"], "203.0.114.9", false),
            // Every address of IPv6 is not every address of IPv4.
            (&["::/0"], "203.0.113.9", false),
            (&["::/0"], "2001:db8::1", true),
            (&["0.0.0.0/0"], "2001:db8::1", false),
            (&["192.0.2.0/24", "2001:db8::/32"], "2001:db8::1", true),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(may_come_from(Some(address), &nets(ranges)), expected, "{ranges:?} {address}");
        }
    }

    proptest! {
        /// Whatever a sender writes, what their proxy adds to it decides.
        #[test]
        fn nothing_that_a_sender_writes_changes_who_they_are(
            lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..4),
            joined in any::<bool>(),
        ) {
            let mut headers = HeaderMap::new();
            let lines: Vec<_> =
                lines.iter().filter_map(|line| HeaderValue::from_bytes(line).ok()).collect();
            for line in &lines {
                headers.append(FORWARDED_FOR, line.clone());
            }
            let added = match lines.last().filter(|_| joined) {
                Some(last) => {
                    headers.remove(FORWARDED_FOR);
                    for line in &lines[..lines.len() - 1] {
                        headers.append(FORWARDED_FOR, line.clone());
                    }
                    [last.as_bytes(), b", 203.0.113.1"].concat()
                }
                None => b"203.0.113.1".to_vec(),
            };
            headers.append(FORWARDED_FOR, HeaderValue::from_bytes(&added).unwrap());
            let trusted = TrustedProxies::new(nets(&["10.0.0.0/8"]));
            let found = trusted.sender("10.0.0.1".parse().unwrap(), &headers);
            prop_assert_eq!(found, Some("203.0.113.1".parse().unwrap()));
        }
    }
}
