//! What `--allow-destination` takes, and the judgement of a URL under it. Plain `http` to a literal
//! private address must never pass where the entry was not read.

use hookkeeper::http::{AllowedDestination, DestinationPolicy, Url};

pub fn run(entry: &str, url: &str) {
    let allowed: Vec<AllowedDestination> = entry.parse().into_iter().collect();
    let nothing_allowed = allowed.is_empty();
    let Ok(url) = Url::parse(url) else { return };
    let verdict = DestinationPolicy::new(allowed).check_url(&url);
    if nothing_allowed && url.scheme() != "https" {
        assert!(verdict.is_err(), "only https is open to everybody");
    }
}
