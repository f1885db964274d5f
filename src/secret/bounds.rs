//! Where a secret may go, and what travels with it until it is sent.
//!
//! Whoever opens a Secret's value has to name the [`Bounds`] of the request that it becomes part of,
//! and the client that sends the request asks them right before the bytes leave: on the host that is
//! really called, and on every host that is really written into what is sent.

use std::fmt;
use std::sync::Arc;

use url::Host;

/// What says where a secret may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A Secret of this name, by its annotation `hookkeeper.dev/allowed-hosts`.
    Secret(String),
    /// A `TokenSource` of this name, by its `spec.allowedHosts`.
    TokenSource(String),
}

impl Owner {
    /// What to do where the host should be one of them.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Secret(_) => "add the host to its annotation hookkeeper.dev/allowed-hosts",
            Self::TokenSource(_) => "add the host to spec.allowedHosts of the TokenSource",
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(name) => write!(formatter, "Secret {name}"),
            Self::TokenSource(name) => write!(formatter, "a token of TokenSource {name}"),
        }
    }
}

/// A host that a secret must not be sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forbidden {
    /// What forbids it.
    pub owner: Owner,
    /// The host, as the `url` crate writes it.
    pub host: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Bound {
    owner: Owner,
    hosts: Arc<[String]>,
    /// What holds the value goes on to whoever is named in the request.
    passed_on: bool,
}

/// The bounds of all the values that one request holds. Without any, they may go anywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    bounds: Vec<Bound>,
    /// Where the values go besides what stands in the request.
    known: Vec<String>,
}

impl Bounds {
    /// Adds that a value may go to these hosts only.
    pub fn confine(&mut self, owner: Owner, hosts: &[String]) {
        let bound = Bound { owner, hosts: hosts.into(), passed_on: false };
        // Several keys of one Secret are read for one request.
        if !self.bounds.contains(&bound) {
            self.bounds.push(bound);
        }
    }

    /// The same bounds for a request whose reader sends the values on: to this host, and to whatever
    /// host is written into the request.
    #[must_use]
    pub fn passed_on_to(mut self, host: &str) -> Self {
        for bound in &mut self.bounds {
            bound.passed_on = true;
        }
        self.known.push(host.to_owned());
        self
    }

    /// Both bounds together.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.bounds.extend(other.bounds);
        self.known.extend(other.known);
        self
    }

    /// Whether the values may go anywhere.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bounds.is_empty()
    }

    /// Whether a value with bounds is sent on by the request's reader.
    #[must_use]
    pub fn are_passed_on(&self) -> bool {
        self.bounds.iter().any(|bound| bound.passed_on)
    }

    /// Whether all values may go to the host that is called, and those that are passed on to the hosts
    /// that are known from elsewhere.
    ///
    /// # Errors
    /// The first host that is not allowed.
    pub fn check_called(&self, host: &str) -> Result<(), Forbidden> {
        first_forbidden(self.bounds.iter(), host)?;
        self.known.iter().try_for_each(|host| self.check_passed_on(host))
    }

    /// Whether the values that are passed on may go to this host.
    ///
    /// # Errors
    /// That it is not allowed.
    pub fn check_passed_on(&self, host: &str) -> Result<(), Forbidden> {
        first_forbidden(self.bounds.iter().filter(|bound| bound.passed_on), host)
    }

    /// The hosts that all of the bounds allow; `None` when there is no bound.
    #[must_use]
    pub fn hosts(&self) -> Option<Vec<String>> {
        let (first, others) = self.bounds.split_first()?;
        let allowed = |host: &&String| others.iter().all(|other| names_host(&other.hosts, host));
        Some(first.hosts.iter().filter(allowed).cloned().collect())
    }
}

fn first_forbidden<'a>(mut bounds: impl Iterator<Item = &'a Bound>, host: &str) -> Result<(), Forbidden> {
    match bounds.find(|bound| !names_host(&bound.hosts, host)) {
        None => Ok(()),
        Some(bound) => Err(Forbidden { owner: bound.owner.clone(), host: host.to_owned() }),
    }
}

/// Whether the list names the host, without regard to case and to a final dot.
///
/// Names are compared whole: a name does not stand for those below it. An international name and an
/// address may be written in any of their forms (`bücher.de`, `xn--bcher-kva.de`, `[::1]`). A port is
/// no part of a host.
#[must_use]
pub fn names_host(allowed: &[String], host: &str) -> bool {
    // A URL without a host is not one that an empty entry, such as that of `a,,b`, permits.
    canonical(host).is_some_and(|host| allowed.iter().any(|name| canonical(name).as_ref() == Some(&host)))
}

/// The one form of a host; `None` for what is none.
fn canonical(host: &str) -> Option<String> {
    let bare = host.trim().trim_end_matches('.');
    Host::parse(bare).ok().map(|host| host.to_string()).filter(|host| !host.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(hosts: &[&str]) -> Vec<String> {
        hosts.iter().map(|host| (*host).to_owned()).collect()
    }

    #[test]
    fn hosts_are_named_exactly() {
        let allowed =
            hosts(&["auth.example.com", " API.Gupy.io. ", "", "[::1]", "bücher.de", "127.1", "a.b:443"]);
        for host in [
            "auth.example.com",
            "AUTH.example.com.",
            "api.gupy.io",
            "[::1]",
            "[0:0:0:0:0:0:0:1]",
            "xn--bcher-kva.de",
            "127.0.0.1",
        ] {
            assert!(names_host(&allowed, host), "{host}");
        }
        for host in [
            "",
            ".",
            "example.com",
            "x.auth.example.com",
            "xauth.example.com",
            "auth.example.com.evil.org",
            "auth.example.com@evil.org",
            "[::2]",
            "bucher.de",
            "a.b",
        ] {
            assert!(!names_host(&allowed, host), "{host}");
        }
        assert!(!names_host(&[], "auth.example.com"));
        assert!(!names_host(&[], ""));
    }

    #[test]
    fn every_bound_has_its_say_and_what_is_passed_on_goes_no_further() {
        let mut credential = Bounds::default();
        credential.confine(Owner::Secret("api".to_owned()), &hosts(&["api.example.com"]));
        let mut token = Bounds::default();
        token.confine(Owner::Secret("token".to_owned()), &hosts(&["api.example.com", "in.example.com", "x"]));
        token.confine(Owner::TokenSource("all".to_owned()), &hosts(&["in.example.com", "API.example.com"]));
        assert_eq!(token.hosts(), Some(hosts(&["api.example.com", "in.example.com"])));
        assert_eq!(Bounds::default().hosts(), None);

        let both = credential.clone().and(token.clone().passed_on_to("in.example.com"));
        assert_eq!(both.check_called("api.example.com"), Ok(()), "the credential itself is not passed on");
        assert_eq!(both.check_passed_on("in.example.com"), Ok(()));
        let forbidden = |owner, host: &str| Err(Forbidden { owner, host: host.to_owned() });
        let all = Owner::TokenSource("all".to_owned());
        assert_eq!(both.check_passed_on("x"), forbidden(all.clone(), "x"));
        assert_eq!(both.check_called("x"), forbidden(Owner::Secret("api".to_owned()), "x"));
        let elsewhere = token.passed_on_to("x");
        assert_eq!(elsewhere.check_called("api.example.com"), forbidden(all, "x"));
    }
}
