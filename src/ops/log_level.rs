//! `PUT /log-level`: who may change what is logged, and for how long.
//!
//! More detail costs disk and CPU, and less hides what happens, so it is off unless the process was
//! started with it. Even then not everything that arrives by loopback comes from a person on the
//! host: a browser that was lured there does, and so does what a proxy or a mesh hands on.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, http::uri::Authority};
use tokio::task::AbortHandle;
use tracing::info;

use super::logs::LogLevel;

/// How long a changed level holds: nobody is there to remember that it was changed.
pub const HOLDS: Duration = Duration::from_secs(60 * 60);

/// In bytes.
pub(super) const LONGEST_LEVEL: usize = 1024;

/// Headers that a browser or a proxy sends and a person's curl does not.
const NOT_BY_HAND: [&str; 6] =
    ["origin", "sec-fetch-site", "forwarded", "x-forwarded-for", "x-forwarded-host", "via"];

/// Both ends of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
}

/// Changes the level, and back. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LevelSwitch {
    level: LogLevel,
    way_back: Arc<Mutex<Option<AbortHandle>>>,
}

impl LevelSwitch {
    /// A switch for this level.
    #[must_use]
    pub fn new(level: LogLevel) -> Self {
        Self { level, way_back: Arc::default() }
    }

    fn change(&self, wanted: &str) -> Result<(), super::logs::LogError> {
        self.level.change(wanted)?;
        info!(level = wanted, "the log level was changed; in an hour it is again that of the start");
        let level = self.level.clone();
        let back = tokio::spawn(async move {
            tokio::time::sleep(HOLDS).await;
            if level.change(level.at_start()).is_ok() {
                info!(level = level.at_start(), "the log level is again that of the start");
            }
        });
        let mut way_back = self.way_back.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = way_back.replace(back.abort_handle()) {
            before.abort();
        }
        Ok(())
    }
}

pub(super) async fn put(
    State(switch): State<Option<LevelSwitch>>,
    Extension(ends): Extension<Ends>,
    uri: Uri,
    headers: HeaderMap,
    level: String,
) -> Response {
    let Some(switch) = switch else {
        let text = "the level is not changed from here; start with --allow-log-level-changes to allow it\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    };
    if let Some(why) = refusal(ends, &uri, &headers) {
        return (StatusCode::FORBIDDEN, format!("{why}\n")).into_response();
    }
    match switch.change(level.trim()) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}

/// Why this request is not believed to come from a person on the same host.
fn refusal(ends: Ends, uri: &Uri, headers: &HeaderMap) -> Option<&'static str> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::logs::level_for_tests;

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

    #[tokio::test(start_paused = true)]
    async fn a_changed_level_ends_an_hour_after_the_last_change() {
        let (level, changes) = level_for_tests("info");
        let switch = LevelSwitch::new(level);
        switch.change("debug").unwrap();
        tokio::time::sleep(HOLDS / 2).await;
        assert!(switch.change("loud").is_err());
        switch.change("trace").unwrap();
        tokio::time::sleep(HOLDS - Duration::from_secs(1)).await;
        assert_eq!(*changes.lock().unwrap(), ["debug", "trace"]);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(*changes.lock().unwrap(), ["debug", "trace", "info"]);
    }
}
