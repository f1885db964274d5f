//! Which requests to the admin server are believed to come from a person on the same host.
//!
//! Not everything that arrives by loopback does: a browser that was lured there sends requests, too, and
//! so does what a proxy or a mesh hands on.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use tower::ServiceExt as _;

/// What only a person on the same host may see and do. It may come later than the server: until then it is
/// said that the process is starting. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct ByHand(Arc<OnceLock<Router>>);

impl ByHand {
    /// This, from the beginning.
    #[must_use]
    pub fn of(router: Router) -> Self {
        let by_hand = Self::default();
        by_hand.comes(router);
        by_hand
    }

    /// It is there from now on. What comes a second time is left out.
    pub fn comes(&self, router: Router) {
        // Only what has a route: of other paths it is not said who may see them.
        let router =
            if router.has_routes() { router.route_layer(axum::middleware::from_fn(only)) } else { router };
        let _ = self.0.set(router);
    }

    /// Answers a request that nothing else of the server is for.
    pub(super) async fn answer(&self, request: Request) -> Response {
        match self.0.get() {
            // It never fails.
            Some(router) => match router.clone().oneshot(request).await {
                Ok(answer) => answer,
                Err(never) => match never {},
            },
            None => {
                (StatusCode::SERVICE_UNAVAILABLE, "the process is starting: see /readyz\n").into_response()
            }
        }
    }
}

/// Headers that a browser or a proxy sends and a person's curl does not.
const NOT_BY_HAND: [&str; 6] =
    ["origin", "sec-fetch-site", "forwarded", "x-forwarded-for", "x-forwarded-host", "via"];

/// Both ends of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
}

/// Why this request is not believed to come from a person on the same host.
pub(super) fn refusal(ends: Ends, uri: &Uri, headers: &HeaderMap) -> Option<&'static str> {
    let (peer, local) = (ends.peer.ip().to_canonical(), ends.local.ip().to_canonical());
    // The kernel takes the address that is called as the caller's own; what a mesh hands on comes from
    // another one, such as 127.0.0.6.
    if !peer.is_loopback() || peer != local {
        return Some("only from the same host");
    }
    if NOT_BY_HAND.iter().any(|name| headers.contains_key(*name)) {
        return Some("neither from a browser nor through a proxy");
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let named = match (hosts.next().map(|host| host.to_str()), hosts.next()) {
        (Some(Ok(host)), None) => is_loopback_name(host),
        _ => false,
    };
    let in_target = uri.authority().is_none_or(|authority| is_loopback_name(authority.as_str()));
    if named && in_target { None } else { Some("the Host must be localhost, 127.0.0.1 or [::1]") }
}

/// Whether this, with or without a port, can mean no other host. Any name but `localhost` may be made
/// to lead here by whoever owns it (DNS rebinding).
fn is_loopback_name(authority: &str) -> bool {
    let Ok(authority) = authority.parse::<Authority>() else {
        return false;
    };
    if authority.as_str().contains('@') {
        return false;
    }
    let host = authority.host();
    let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || literal.parse::<std::net::IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Lets nothing through but what is believed to come from a person on the same host.
pub(super) async fn only(Extension(ends): Extension<Ends>, request: Request, next: Next) -> Response {
    match refusal(ends, request.uri(), request.headers()) {
        Some(why) => (StatusCode::FORBIDDEN, format!("{why}\n")).into_response(),
        None => next.run(request).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(peer: &str, local: &str) -> Ends {
        Ends { peer: peer.parse().unwrap(), local: local.parse().unwrap() }
    }

    fn judged(ends: Ends, uri: &str, headers: &[(&'static str, &str)]) -> Option<&'static str> {
        let headers = headers
            .iter()
            .map(|(name, value)| (axum::http::HeaderName::from_static(name), value.parse().unwrap()));
        refusal(ends, &uri.parse().unwrap(), &headers.collect())
    }

    #[test]
    fn only_a_person_on_the_same_host_is_believed() {
        let here = ends("127.0.0.1:5000", "127.0.0.1:8080");
        for host in ["localhost:8080", "LOCALHOST", "127.0.0.1:8080", "127.0.0.1", "[::1]:8080", "[::1]"] {
            assert_eq!(judged(here, "/log-level", &[("host", host)]), None, "{host}");
        }
        for peer in ["127.0.0.1", "[::ffff:127.0.0.1]"] {
            let ends = ends(&format!("{peer}:1"), "[::ffff:127.0.0.1]:8080");
            assert_eq!(judged(ends, "/log-level", &[("host", "localhost")]), None, "{peer}");
        }
        assert_eq!(judged(ends("[::1]:1", "[::1]:2"), "/log-level", &[("host", "localhost")]), None);
    }

    #[test]
    fn a_page_in_a_browser_a_rebound_name_a_mesh_and_another_host_are_refused() {
        let here = ends("127.0.0.1:5000", "127.0.0.1:8080");
        for host in [
            "evil.example.com",
            "localhost.evil.example.com",
            "127.0.0.1.evil.example.com:8080",
            "10.0.0.7",
            "localhost@evil.example.com",
            "evil.example.com@localhost",
            "[::2]",
            "",
            "0.0.0.0",
            "localhost.",
        ] {
            assert!(judged(here, "/log-level", &[("host", host)]).is_some(), "{host}");
        }
        assert!(judged(here, "/log-level", &[]).is_some(), "no Host");
        let host = ("host", "localhost:8080");
        assert!(judged(here, "/log-level", &[host, ("host", "evil.example.com")]).is_some(), "two of them");
        assert!(judged(here, "http://evil.example.com/log-level", &[host]).is_some());
        for (name, value) in [
            ("origin", "https://evil.example.com"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("x-forwarded-for", "10.0.0.7"),
            ("forwarded", "for=10.0.0.7"),
            ("via", "1.1 mesh"),
        ] {
            assert!(judged(here, "/log-level", &[host, (name, value)]).is_some(), "{name}: {value}");
        }
        for (peer, local) in [
            ("127.0.0.6:5000", "127.0.0.1:8080"),
            ("127.0.0.6:5000", "10.1.2.3:8080"),
            ("10.1.2.4:5000", "10.1.2.3:8080"),
            ("[fe80::1]:5000", "[fe80::2]:8080"),
        ] {
            assert!(judged(ends(peer, local), "/log-level", &[host]).is_some(), "{peer}");
        }
    }
}
