//! One entry of `--allow-destination`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use thiserror::Error;
use url::Host;

use super::address::translated;

/// A destination that whoever runs the process allows besides public addresses over https.
///
/// Written `[http://]HOST|CIDR[:PORT]`; an IPv6 address or range stands in brackets when a port
/// follows. With `http://` plain http is allowed too. Without a port, every port is.
///
/// ```
/// use hookkeeper::http::AllowedDestination;
///
/// for text in ["auth.internal", "http://127.0.0.1:8080", "10.0.0.0/8:443", "[fd00::/8]:443"] {
///     let entry: AllowedDestination = text.parse().unwrap();
///     assert_eq!(entry.to_string(), text);
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedDestination {
    plain_http: bool,
    place: Place,
    port: Option<u16>,
}

/// What an entry matches.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// A host name in lower case without a trailing dot. It may resolve to anything.
    Name(String),
    /// Addresses, however the destination names them.
    Network(IpNet),
}

/// Why an entry of `--allow-destination` cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidDestination {
    /// Nothing names a host.
    #[error("there is no host; write [http://]HOST|CIDR[:PORT]")]
    Empty,
    /// A scheme other than `http://`.
    #[error("only http:// may stand in front, and https is always allowed; write HOST[:PORT]")]
    Scheme,
    /// A path, a query, a user name or the like.
    #[error("only a host and a port are matched; leave out everything after them")]
    Surplus,
    /// The port is no number from 1 to 65535.
    #[error("the port must be a number from 1 to 65535")]
    Port,
    /// The part behind the slash is no prefix length of this kind of address.
    #[error("the range must be ADDRESS/LENGTH, such as 10.0.0.0/8 or fd00::/8")]
    Range,
    /// A bracket without its other half, or with something else than IPv6 inside.
    #[error("brackets hold an IPv6 address or range, such as [fd00::/8]:443")]
    Brackets,
    /// Not a host name.
    #[error("not a host name, an address or a range")]
    Host,
}

impl AllowedDestination {
    /// Whether plain http is allowed to what this entry matches.
    pub(super) fn plain_http(&self) -> bool {
        self.plain_http
    }

    /// Whether the entry allows this port.
    pub(super) fn matches_port(&self, port: u16) -> bool {
        self.port.is_none_or(|allowed| allowed == port)
    }

    /// Whether the entry is for this host name (lower case, no trailing dot).
    pub(super) fn matches_name(&self, name: &str) -> bool {
        matches!(&self.place, Place::Name(allowed) if allowed == name)
    }

    /// Whether the entry is for a range with this address, or with the one that it stands for.
    pub(super) fn matches_address(&self, address: IpAddr) -> bool {
        let Place::Network(net) = &self.place else { return false };
        net.contains(&address) || translated(address).is_some_and(|reached| net.contains(&reached))
    }

    /// Whether the entry is for addresses, so that a name matches it only once it is resolved.
    pub(super) fn is_network(&self) -> bool {
        matches!(self.place, Place::Network(_))
    }
}

impl FromStr for AllowedDestination {
    type Err = InvalidDestination;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (plain_http, rest) = match text.split_once("://") {
            None => (false, text),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (true, rest),
            Some(_) => return Err(InvalidDestination::Scheme),
        };
        let (host, port) = split_port(rest)?;
        let port = port.map(parse_port).transpose()?;
        Ok(Self { plain_http, place: parse_place(host)?, port })
    }
}

/// Splits `HOST[:PORT]`; the brackets of an IPv6 literal are taken off.
fn split_port(text: &str) -> Result<(&str, Option<&str>), InvalidDestination> {
    if let Some(rest) = text.strip_prefix('[') {
        let (inside, after) = rest.split_once(']').ok_or(InvalidDestination::Brackets)?;
        if !inside.contains(':') {
            return Err(InvalidDestination::Brackets);
        }
        return match after.strip_prefix(':') {
            Some(port) => Ok((inside, Some(port))),
            None if after.is_empty() => Ok((inside, None)),
            None => Err(InvalidDestination::Surplus),
        };
    }
    match text.split_once(':') {
        // More than one colon: an IPv6 address or range without a port.
        Some((_, rest)) if rest.contains(':') => Ok((text, None)),
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((text, None)),
    }
}

fn parse_port(text: &str) -> Result<u16, InvalidDestination> {
    if text.contains(['/', '?', '#']) {
        return Err(InvalidDestination::Surplus);
    }
    // `u16::from_str` would take a plus sign too.
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(InvalidDestination::Port);
    }
    match text.parse() {
        Ok(0) | Err(_) => Err(InvalidDestination::Port),
        Ok(port) => Ok(port),
    }
}

fn parse_place(text: &str) -> Result<Place, InvalidDestination> {
    if text.is_empty() {
        return Err(InvalidDestination::Empty);
    }
    if text.contains(['@', '?', '#']) {
        return Err(InvalidDestination::Surplus);
    }
    if let Some((address, _)) = text.split_once('/') {
        if address.parse::<IpAddr>().is_err() {
            return Err(InvalidDestination::Surplus);
        }
        return match text.parse::<IpNet>() {
            Ok(net) => Ok(Place::Network(net.trunc())),
            Err(_) => Err(InvalidDestination::Range),
        };
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(Place::Network(address.into()));
    }
    // The same reading as for the URL it will be compared with: `0x7f.1` is an address.
    match Host::parse(text).map_err(|_| InvalidDestination::Host)? {
        Host::Ipv4(address) => Ok(Place::Network(IpAddr::V4(address).into())),
        Host::Ipv6(address) => Ok(Place::Network(IpAddr::V6(address).into())),
        Host::Domain(name) => {
            let name = name.strip_suffix('.').unwrap_or(&name);
            // Anything else, such as `*`, would be an entry that silently never matches.
            let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            if name.split('.').any(str::is_empty) || !name.bytes().all(known) {
                return Err(InvalidDestination::Host);
            }
            Ok(Place::Name(name.to_owned()))
        }
    }
}

impl fmt::Display for AllowedDestination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.plain_http {
            formatter.write_str("http://")?;
        }
        let host = match &self.place {
            Place::Name(name) => name.clone(),
            Place::Network(net) if net.prefix_len() == net.max_prefix_len() => net.addr().to_string(),
            Place::Network(net) => net.to_string(),
        };
        match self.port {
            None => formatter.write_str(&host),
            Some(port) if host.contains(':') => write!(formatter, "[{host}]:{port}"),
            Some(port) => write!(formatter, "{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<AllowedDestination, InvalidDestination> {
        text.parse()
    }

    #[test]
    fn what_is_accepted_is_printed_in_one_form() {
        for (text, printed) in [
            ("auth.internal", "auth.internal"),
            ("Auth.Internal.:8443", "auth.internal:8443"),
            ("http://localhost", "http://localhost"),
            ("HTTP://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("0x7f.1", "127.0.0.1"),
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.0.0.0/8:443", "10.0.0.0/8:443"),
            ("10.0.0.1/32", "10.0.0.1"),
            ("::1", "::1"),
            ("[::1]", "::1"),
            ("[::1]:8080", "[::1]:8080"),
            ("fd00::/8", "fd00::/8"),
            ("http://[fd00::/8]:443", "http://[fd00::/8]:443"),
            ("münchen.example", "xn--mnchen-3ya.example"),
        ] {
            assert_eq!(parse(text).unwrap().to_string(), printed, "{text}");
        }
    }

    #[test]
    fn what_is_refused_says_why() {
        use InvalidDestination::*;
        for (text, error) in [
            ("", Empty),
            ("http://", Empty),
            (":8080", Empty),
            ("https://auth.internal", Scheme),
            ("ftp://auth.internal", Scheme),
            ("http://auth.internal/", Surplus),
            ("auth.internal/path", Surplus),
            ("auth.internal:8080/path", Surplus),
            ("auth.internal?x", Surplus),
            ("user@auth.internal", Surplus),
            ("[::1]x", Surplus),
            ("auth.internal:", Port),
            ("auth.internal:0", Port),
            ("auth.internal:+1", Port),
            ("auth.internal:65536", Port),
            ("auth.internal:http", Port),
            ("10.0.0.0/33", Range),
            ("10.0.0.0/", Range),
            ("fd00::/129", Range),
            ("[::1", Brackets),
            ("[10.0.0.1]:80", Brackets),
            ("*.internal", Host),
            ("a b", Host),
            ("a,b", Host),
            (".", Host),
            ("..", Host),
            ("a..b", Host),
            ("1:2:3", Host),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn parsing_is_total_and_printing_round_trips(text in "(http://)?[\\PC]{0,40}") {
            if let Ok(entry) = parse(&text) {
                prop_assert_eq!(parse(&entry.to_string()), Ok(entry));
            }
        }

        #[test]
        fn likely_texts_round_trip(text in "(http://)?\\[?[0-9a-f:.]{1,12}(/[0-9]{1,3})?\\]?(:[0-9]{1,6})?") {
            if let Ok(entry) = parse(&text) {
                prop_assert_eq!(parse(&entry.to_string()), Ok(entry));
            }
        }
    }
}
