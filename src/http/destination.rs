//! Which destinations a request may go to.

use std::fmt;
use std::net::IpAddr;

use url::{Host, Url};

use super::address::is_public;
use super::{AllowedDestination, Error};

/// What may be reached: public addresses over https, and what was allowed besides.
///
/// ```
/// use hookkeeper::http::DestinationPolicy;
///
/// let policy = DestinationPolicy::new(vec!["http://localhost:8080".parse().unwrap()]);
/// # let _ = policy;
/// ```
#[derive(Clone, Debug, Default)]
pub struct DestinationPolicy {
    allowed: Vec<AllowedDestination>,
}

/// Where a request goes, as far as the policy asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    host: Place,
    port: u16,
    plain_http: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// In lower case, as the `url` crate writes it, without a trailing dot.
    Name(String),
    Address(IpAddr),
}

impl DestinationPolicy {
    /// Public addresses over https, and these.
    #[must_use]
    pub fn new(allowed: Vec<AllowedDestination>) -> Self {
        Self { allowed }
    }

    /// Judges a URL by what stands in it, without resolving anything: a URL that fails here can
    /// never be sent to. One that passes may still be refused when its name is resolved.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] for a URL that no request can be sent to, and
    /// [`Error::DestinationNotAllowed`].
    pub fn check_url(&self, url: &Url) -> Result<(), Error> {
        self.check(&Target::of(url)?)
    }

    /// What can be said before a name is resolved.
    pub(super) fn check(&self, target: &Target) -> Result<(), Error> {
        match &target.host {
            Place::Address(address) => self.check_address(target, *address),
            // Whether an allowed range holds its addresses is seen when the name is resolved.
            Place::Name(name) => {
                let possible = !target.plain_http
                    || self.matching(target).any(|entry| entry.is_network() || entry.matches_name(name));
                possible.then_some(()).ok_or_else(|| target.refused())
            }
        }
    }

    /// Whether a connection may be opened to this address, which is the target's own or one that
    /// its name was resolved to.
    pub(super) fn check_address(&self, target: &Target, address: IpAddr) -> Result<(), Error> {
        let listed = self.matching(target).any(|entry| {
            entry.matches_address(address)
                || matches!(&target.host, Place::Name(name) if entry.matches_name(name))
        });
        let public = !target.plain_http && is_public(address);
        (listed || public).then_some(()).ok_or_else(|| target.refused())
    }

    /// The entries that allow the target's scheme and port.
    fn matching(&self, target: &Target) -> impl Iterator<Item = &AllowedDestination> {
        let (plain_http, port) = (target.plain_http, target.port);
        self.allowed
            .iter()
            .filter(move |entry| entry.matches_port(port) && (entry.plain_http() || !plain_http))
    }
}

impl Target {
    /// Reads where a URL leads to.
    pub(super) fn of(url: &Url) -> Result<Self, Error> {
        let plain_http = match url.scheme() {
            "https" => false,
            "http" => true,
            _ => return Err(Error::invalid("the URL is neither https nor http")),
        };
        // They would be sent as a credential that nobody declared as one.
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Error::invalid("the URL holds a user name or password"));
        }
        let host = match url.host() {
            Some(Host::Ipv4(address)) => Place::Address(address.into()),
            Some(Host::Ipv6(address)) => Place::Address(address.into()),
            Some(Host::Domain(name)) => {
                let name = name.strip_suffix('.').unwrap_or(name);
                // `0..` is a name to the `url` crate, and an address without its last dot.
                if name.split('.').any(str::is_empty) {
                    return Err(Error::invalid("the host of the URL is no name"));
                }
                Place::Name(name.to_owned())
            }
            None => return Err(Error::invalid("the URL names no host")),
        };
        let port = url.port_or_known_default().ok_or_else(|| Error::invalid("the URL names no port"))?;
        Ok(Self { host, port, plain_http })
    }

    /// Whether the target is this name.
    pub(super) fn is_named(&self, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name);
        matches!(&self.host, Place::Name(own) if own.eq_ignore_ascii_case(name))
    }

    /// The refusal, with the one line that would allow exactly this target.
    pub(super) fn refused(&self) -> Error {
        let scheme = if self.plain_http { "http://" } else { "" };
        Error::DestinationNotAllowed {
            host: self.to_string(),
            allow: format!("--allow-destination {scheme}{self}"),
        }
    }
}

/// `HOST:PORT`, and nothing else of the URL.
impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Place::Name(name) => write!(formatter, "{name}:{}", self.port),
            Place::Address(IpAddr::V4(address)) => write!(formatter, "{address}:{}", self.port),
            Place::Address(IpAddr::V6(address)) => write!(formatter, "[{address}]:{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn policy(allowed: &[&str]) -> DestinationPolicy {
        DestinationPolicy::new(allowed.iter().map(|text| text.parse().unwrap()).collect())
    }

    fn check(allowed: &[&str], url: &str) -> Result<(), Error> {
        policy(allowed).check_url(&url.parse().unwrap())
    }

    fn check_resolved(allowed: &[&str], url: &str, address: &str) -> bool {
        let target = Target::of(&url.parse().unwrap()).unwrap();
        policy(allowed)
            .check(&target)
            .and_then(|()| policy(allowed).check_address(&target, address.parse().unwrap()))
            .is_ok()
    }

    #[test]
    fn without_entries_only_public_https() {
        assert!(check(&[], "https://api.example.com/path").is_ok());
        assert!(check(&[], "https://1.1.1.1/").is_ok());
        assert!(check(&[], "http://api.example.com/").is_err());
        assert!(check(&[], "http://1.1.1.1/").is_err());
    }

    #[test]
    fn address_literals_in_every_spelling() {
        for host in [
            "127.0.0.1",
            "2130706433",
            "0x7f.1",
            "017700000001",
            "127.1",
            "127.0.0.1.",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::127.0.0.1]",
            "[64:ff9b::127.0.0.1]",
            "[2002:7f00:1::]",
            "169.254.169.254",
            "[fd00:ec2::254]",
            "①②⑦.0.0.1",
        ] {
            let refused = check(&[], &format!("https://{host}/"));
            assert!(matches!(refused, Err(Error::DestinationNotAllowed { .. })), "{host}");
        }
    }

    #[test]
    fn the_refusal_holds_the_line_to_add_and_nothing_more() {
        for (url, line) in [
            ("http://127.0.0.1:8080/a?b=c", "http://127.0.0.1:8080"),
            ("https://2130706433/secret", "127.0.0.1:443"),
            ("https://[::1]:8443/", "[::1]:8443"),
            ("http://auth.example.com/token?key=1", "http://auth.example.com:80"),
        ] {
            let Err(Error::DestinationNotAllowed { allow, .. }) = check(&[], url) else {
                panic!("{url} was not refused");
            };
            assert_eq!(allow, format!("--allow-destination {line}"));
            assert!(check(&[line], url).is_ok(), "{line} does not allow {url}");
        }
    }

    #[test]
    fn names_are_judged_by_what_they_resolve_to() {
        let https = "https://auth.internal/";
        assert!(check_resolved(&[], https, "1.1.1.1"));
        assert!(!check_resolved(&[], https, "10.0.0.1"));
        assert!(check_resolved(&["auth.internal"], https, "10.0.0.1"));
        assert!(check_resolved(&["AUTH.internal."], "https://Auth.INTERNAL./", "10.0.0.1"));
        assert!(check_resolved(&["10.0.0.0/8"], https, "10.0.0.1"));
        assert!(!check_resolved(&["10.0.0.0/8"], https, "192.168.0.1"));
        assert!(!check_resolved(&["other.internal"], https, "10.0.0.1"));
        assert!(!check_resolved(&["internal"], https, "10.0.0.1"));
    }

    #[test]
    fn ports_are_matched_when_given() {
        assert!(check_resolved(&["a.internal:8443"], "https://a.internal:8443/", "10.0.0.1"));
        assert!(!check_resolved(&["a.internal:8443"], "https://a.internal/", "10.0.0.1"));
        assert!(check_resolved(&["10.0.0.0/8:443"], "https://a.internal/", "10.0.0.1"));
        assert!(!check_resolved(&["10.0.0.0/8:8443"], "https://a.internal/", "10.0.0.1"));
    }

    #[test]
    fn plain_http_needs_an_entry_that_says_so() {
        let http = "http://a.internal/";
        assert!(!check_resolved(&["a.internal"], http, "10.0.0.1"));
        assert!(!check_resolved(&["10.0.0.0/8"], http, "10.0.0.1"));
        assert!(check_resolved(&["http://a.internal"], http, "10.0.0.1"));
        assert!(check_resolved(&["http://10.0.0.0/8"], http, "10.0.0.1"));
        // The range allows plain http into itself, not everywhere.
        assert!(!check_resolved(&["http://10.0.0.0/8"], http, "1.1.1.1"));
        // And https to the same place, too.
        assert!(check_resolved(&["http://10.0.0.0/8"], "https://a.internal/", "10.0.0.1"));
    }

    #[test]
    fn urls_that_no_request_can_go_to() {
        for url in [
            "ftp://example.com/",
            "file:///etc/passwd",
            "https://user@example.com/",
            "https://:password@example.com/",
            "data:text/plain,x",
            "https://0../",
            "https://a..b/",
            "https://./",
        ] {
            let refused = check(&["http://0.0.0.0/0"], url);
            assert!(matches!(refused, Err(Error::InvalidRequest { .. })), "{url}");
        }
    }

    proptest! {
        #[test]
        fn the_printed_line_always_allows_what_was_refused(
            host in "[a-z0-9.:\\[\\]-]{1,20}", port in 1u16.., plain: bool, address: [u8; 4],
        ) {
            let scheme = if plain { "http" } else { "https" };
            if let Ok(url) = format!("{scheme}://{host}:{port}/").parse::<Url>()
                && let Ok(target) = Target::of(&url)
                && let Error::DestinationNotAllowed { allow, .. } = target.refused()
                && let Ok(entry) = allow.trim_start_matches("--allow-destination ").parse()
            {
                let policy = DestinationPolicy::new(vec![entry]);
                let address = match target.host {
                    Place::Address(own) => own,
                    Place::Name(_) => IpAddr::from(address),
                };
                prop_assert!(policy.check(&target).is_ok());
                prop_assert!(policy.check_address(&target, address).is_ok());
            }
        }
    }
}
