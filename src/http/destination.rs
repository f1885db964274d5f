//! Which destinations a request may go to.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use url::{Host, Url};

use super::address::{is_public, translated};
use super::name::is_public_name;
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
    never: Vec<AllowedDestination>,
    behind_proxy: bool,
}

/// Where a request goes, as far as the policy asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    host: Place,
    port: u16,
    plain_http: bool,
}

/// Why plain http is refused where no entry of `--allow-destination` could allow it.
const PLAIN_HTTP: &str = "plain http goes only where an exception allows it";

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
        Self { allowed, never: Vec::new(), behind_proxy: false }
    }

    /// The same, but for these, whatever is allowed: whoever may write objects must not get at them with
    /// the process's own place in the network.
    #[must_use]
    pub fn never(self, never: Vec<AllowedDestination>) -> Self {
        Self { never, ..self }
    }

    /// The same, for a process whose https goes through a proxy: names are judged by themselves,
    /// because the proxy resolves them and nobody here sees which addresses they have.
    pub(super) fn behind_proxy(self) -> Self {
        Self { behind_proxy: true, ..self }
    }

    /// Whether a proxy opens the connection to this target. Plain http is an exception for the
    /// network that this process is in, and a proxy would read the tokens in it.
    pub(super) fn is_proxied(&self, target: &Target) -> bool {
        self.behind_proxy && !target.plain_http
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
        if let Place::Name(name) = &target.host
            && self.forbids(target, |entry| entry.matches_name(name))
        {
            return Err(target.forbidden());
        }
        let name = match &target.host {
            Place::Address(address) => return self.check_addresses(target, &[*address]),
            Place::Name(name) => name,
        };
        if self.is_proxied(target) {
            let allowed = is_public_name(name) || self.matching(target).any(|entry| entry.matches_name(name));
            let problem =
                "its name is none of the public internet, and with --proxy its addresses are not seen";
            return allowed.then_some(()).ok_or_else(|| target.refused(problem));
        }
        // Whether an allowed range holds its addresses is seen when the name is resolved.
        let possible = !target.plain_http
            || self.matching(target).any(|entry| entry.is_network() || entry.matches_name(name));
        possible.then_some(()).ok_or_else(|| target.refused(PLAIN_HTTP))
    }

    /// The same for an address that was given beside the URL, by somebody who knows: plain http may go
    /// there, unless it is one of those that nothing goes to.
    pub(super) fn check_given(&self, target: &Target, at: SocketAddr) -> Result<(), Error> {
        if !target.plain_http {
            return Err(Error::invalid("an address is given for plain http alone"));
        }
        let there = Target { port: at.port(), ..target.clone() };
        let is_forbidden = self.forbids(&there, |entry| entry.matches_address(at.ip()));
        if is_forbidden { Err(target.forbidden()) } else { Ok(()) }
    }

    fn forbids(&self, target: &Target, is_meant: impl Fn(&AllowedDestination) -> bool) -> bool {
        self.never.iter().any(|entry| entry.matches_port(target.port) && is_meant(entry))
    }

    /// Whether connections may be opened to all these addresses: the target's own, or those that
    /// its name was resolved to. The error names one that is refused, always the same one of them.
    pub(super) fn check_addresses(&self, target: &Target, addresses: &[IpAddr]) -> Result<(), Error> {
        if addresses.iter().any(|address| self.forbids(target, |entry| entry.matches_address(*address))) {
            return Err(target.forbidden());
        }
        let refused = addresses.iter().filter(|address| !self.allows(target, **address)).min();
        refused.map_or(Ok(()), |refused| Err(target.refused(target.problem(*refused, addresses.len()))))
    }

    fn allows(&self, target: &Target, address: IpAddr) -> bool {
        let listed = self.matching(target).any(|entry| {
            entry.matches_address(address)
                || matches!(&target.host, Place::Name(name) if entry.matches_name(name))
        });
        listed || (!target.plain_http && is_public(address))
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

    /// What is wrong with one of so many addresses, which is named unless the URL names it.
    fn problem(&self, refused: IpAddr, of: usize) -> String {
        if self.plain_http && matches!(self.host, Place::Address(_)) {
            return PLAIN_HTTP.to_owned();
        }
        let subject = match (&self.host, of) {
            (Place::Address(_), _) => "the address".to_owned(),
            (Place::Name(_), 1) => format!("its address {refused}"),
            (Place::Name(_), of) => format!("{refused}, one of its {of} addresses,"),
        };
        let stands = translated(refused).map(|reached| format!("stands for {reached} and "));
        let stands = stands.unwrap_or_default();
        if self.plain_http {
            format!("{subject} {stands}is none to which plain http is allowed")
        } else {
            format!("{subject} {stands}is not public")
        }
    }

    /// The refusal of what nothing can allow.
    fn forbidden(&self) -> Error {
        Error::NeverADestination { host: self.to_string() }
    }

    /// The refusal, with the one line that would allow exactly this target.
    pub(super) fn refused(&self, problem: impl Into<String>) -> Error {
        let scheme = if self.plain_http { "http://" } else { "" };
        Error::DestinationNotAllowed {
            host: self.to_string(),
            problem: problem.into(),
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
            .and_then(|()| policy(allowed).check_addresses(&target, &[address.parse().unwrap()]))
            .is_ok()
    }

    /// What is wrong with a URL whose name has these addresses.
    fn problem(allowed: &[&str], url: &str, addresses: &[&str]) -> String {
        let target = Target::of(&url.parse().unwrap()).unwrap();
        let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let refused = policy(allowed)
            .check(&target)
            .and_then(|()| policy(allowed).check_addresses(&target, &addresses));
        let Err(Error::DestinationNotAllowed { problem, .. }) = refused else {
            panic!("{url} with {addresses:?}: {refused:?}");
        };
        problem
    }

    #[test]
    fn without_entries_only_public_https() {
        assert!(check(&[], "https://api.example.com/path").is_ok());
        assert!(check(&[], "https://1.1.1.1/").is_ok());
        assert!(check(&[], "http://api.example.com/").is_err());
        assert!(check(&[], "http://1.1.1.1/").is_err());
    }

    #[test]
    fn what_is_never_a_destination_is_none_by_any_name_and_through_any_exception() {
        let never = ["10.96.0.1:443", "api.cluster.example:443"].map(|text| text.parse().unwrap());
        let allowed = ["http://0.0.0.0/0", "api.cluster.example"].map(|text| text.parse().unwrap());
        let policy = DestinationPolicy::new(allowed.to_vec()).never(never.to_vec());
        let refused = |result: Result<(), Error>| matches!(result, Err(Error::NeverADestination { .. }));
        let target = |url: &str| Target::of(&url.parse().unwrap()).unwrap();
        for url in ["https://10.96.0.1/", "http://10.96.0.1:443/", "https://API.cluster.example./x"] {
            assert!(refused(policy.check_url(&url.parse().unwrap())), "{url}");
        }
        let resolved = [IpAddr::from([1, 1, 1, 1]), IpAddr::from([10, 96, 0, 1])];
        assert!(refused(policy.check_addresses(&target("https://harmless.example/"), &resolved)));
        assert!(policy.check_url(&"http://10.96.0.1:80/".parse().unwrap()).is_ok(), "another port");
        let at =
            |address: &str| policy.check_given(&target("http://app.hr.svc:8080/"), address.parse().unwrap());
        assert!(refused(at("10.96.0.1:443")));
        assert_eq!(at("10.96.0.7:8080"), Ok(()));
        assert!(
            policy.check_given(&target("https://app.hr.svc/"), "10.96.0.7:443".parse().unwrap()).is_err()
        );
        // Without any exception, too: somebody who knows has given the address.
        let strict = DestinationPolicy::default();
        assert_eq!(
            strict.check_given(&target("http://app.hr.svc/"), "10.96.0.7:80".parse().unwrap()),
            Ok(())
        );
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
    fn behind_nat64_the_address_that_is_reached_is_judged() {
        let https = "https://auth.example.com/";
        assert!(check(&[], "https://[64:ff9b::8.8.8.8]/").is_ok());
        assert!(check_resolved(&[], https, "64:ff9b::8.8.8.8"));
        assert!(!check_resolved(&[], https, "64:ff9b::10.0.0.1"));
        for allowed in ["10.0.0.0/8", "10.0.0.1", "64:ff9b::/96", "64:ff9b::10.0.0.1", "auth.example.com"] {
            assert!(check_resolved(&[allowed], https, "64:ff9b::10.0.0.1"), "{allowed}");
        }
        assert!(check(&["10.0.0.0/8"], "https://[64:ff9b::10.0.0.1]/").is_ok());
        assert!(check_resolved(&["http://10.0.0.0/8"], "http://auth.example.com/", "64:ff9b::10.0.0.1"));
        assert!(!check_resolved(&["10.0.0.0/8"], "http://auth.example.com/", "64:ff9b::10.0.0.1"));
        assert!(!check_resolved(&["10.0.0.0/8"], https, "64:ff9b::192.168.0.1"));
        // Where the IPv4 address stands in these is not known.
        assert!(!check_resolved(&["10.0.0.0/8"], https, "64:ff9b:1::10.0.0.1"));
        assert!(!check_resolved(&[], https, "64:ff9b:1::8.8.8.8"));
    }

    #[test]
    fn the_refusal_names_the_address() {
        let https = "https://auth.example.com/";
        for (allowed, url, addresses, said) in [
            (&[][..], https, &["10.0.0.1"][..], "its address 10.0.0.1 is not public"),
            (
                &[],
                https,
                &["64:ff9b::a00:1"],
                "its address 64:ff9b::a00:1 stands for 10.0.0.1 and is not public",
            ),
            (
                &[],
                https,
                &["1.1.1.1", "192.168.0.1", "10.0.0.1"],
                "10.0.0.1, one of its 3 addresses, is not public",
            ),
            (&["10.0.0.0/8"], https, &["10.0.0.1", "::1"], "::1, one of its 2 addresses, is not public"),
            (&[], "https://10.0.0.1/", &[], "the address is not public"),
            (&[], "https://2130706433/", &[], "the address is not public"),
            (&[], "https://[64:ff9b::127.0.0.1]/", &[], "the address stands for 127.0.0.1 and is not public"),
            (&[], "http://1.1.1.1/", &[], "plain http goes only where an exception allows it"),
            (&[], "http://a.example.com/", &[], "plain http goes only where an exception allows it"),
            (
                &["http://10.0.0.0/8"],
                "http://a.example.com/",
                &["1.1.1.1"],
                "its address 1.1.1.1 is none to which plain http is allowed",
            ),
        ] {
            assert_eq!(problem(allowed, url, addresses), said, "{url} {addresses:?}");
            let mut turned = addresses.to_vec();
            turned.reverse();
            assert_eq!(problem(allowed, url, &turned), said, "in another order");
        }
    }

    #[test]
    fn behind_a_proxy_names_are_judged_by_themselves() {
        let check =
            |allowed: &[&str], url: &str| policy(allowed).behind_proxy().check_url(&url.parse().unwrap());
        assert!(check(&[], "https://api.example.com/").is_ok());
        assert!(check(&[], "https://1.1.1.1/").is_ok());
        for host in [
            "localhost",
            "kubernetes",
            "kubernetes.default.svc",
            "auth.team.svc.cluster.local",
            "METADATA.google.internal.",
            "printer.local",
            "router.home.arpa",
            "10.0.0.1",
            "2130706433",
            "[::1]",
            "[64:ff9b::10.0.0.1]",
        ] {
            let url = format!("https://{host}/");
            let refused = check(&["10.9.0.0/16"], &url);
            assert!(matches!(refused, Err(Error::DestinationNotAllowed { .. })), "{host}: {refused:?}");
        }
        assert!(check(&["auth.internal:8443"], "https://auth.internal:8443/").is_ok());
        assert!(check(&["auth.internal:8443"], "https://auth.internal/").is_err());
        assert!(check(&["10.0.0.0/8"], "https://10.0.0.1/").is_ok());
        // A range is for addresses, and those of a name are not seen.
        assert!(check(&["0.0.0.0/0", "::/0"], "https://auth.internal/").is_err());
        // Plain http goes past the proxy, so its addresses are seen.
        assert!(check(&["http://10.0.0.0/8"], "http://auth.internal/").is_ok());
        assert!(check(&[], "http://api.example.com/").is_err());
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
                && let Error::DestinationNotAllowed { allow, .. } = target.refused("")
                && let Ok(entry) = allow.trim_start_matches("--allow-destination ").parse()
            {
                let policy = DestinationPolicy::new(vec![entry]);
                let address = match target.host {
                    Place::Address(own) => own,
                    Place::Name(_) => IpAddr::from(address),
                };
                prop_assert!(policy.check(&target).is_ok());
                prop_assert!(policy.check_addresses(&target, &[address]).is_ok());
                prop_assert!(policy.behind_proxy().check(&target).is_ok());
            }
        }
    }

    #[test]
    fn plain_http_is_refused_at_once_where_no_exception_can_allow_it() {
        assert!(
            check(&["http://other.internal"], "http://auth.internal/").is_err(),
            "it is for another name"
        );
        assert_eq!(check(&["http://10.0.0.0/8"], "http://auth.internal/"), Ok(()), "its addresses will tell");
    }

    #[test]
    fn a_target_is_known_by_its_name() {
        let is_named = |url: &str, name| Target::of(&url.parse().unwrap()).unwrap().is_named(name);
        assert!(is_named("https://API.example.com./x", "api.example.com"));
        assert!(is_named("https://api.example.com/", "API.example.com."));
        assert!(!is_named("https://api.example.com/", "example.com"));
        assert!(!is_named("https://1.1.1.1/", "1.1.1.1"), "that is an address");
    }
}
