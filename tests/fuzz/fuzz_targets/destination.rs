//! What `--allow-destination` takes, and the judgement of a URL under it. Plain `http` to a literal
//! private address must never pass where the entry was not read.
#![no_main]

use hookkeeper::http::{AllowedDestination, DestinationPolicy, Url};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str)| {
    let (entry, url) = input;
    let allowed: Vec<AllowedDestination> = entry.parse().into_iter().collect();
    let nothing_allowed = allowed.is_empty();
    let Ok(url) = Url::parse(url) else { return };
    let verdict = DestinationPolicy::new(allowed).check_url(&url);
    if nothing_allowed && url.scheme() != "https" {
        assert!(verdict.is_err(), "only https is open to everybody");
    }
});
