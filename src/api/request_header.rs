//! Headers of requests that hookkeeper sends.

/// Headers that say how a request is framed or where it goes, in lower case: the client sets them,
/// and one set by hand could make the server see another request.
pub const UNSETTABLE_HEADERS: [&str; 12] = [
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What to do about one of [`UNSETTABLE_HEADERS`] in an object.
pub const UNSETTABLE_HEADER_MESSAGE: &str = "hookkeeper sets this header itself, because it says how the request is framed or where it goes; leave it out";

/// Whether an object may set the header in a request of ours; case makes no difference.
#[must_use]
pub fn is_settable(name: &str) -> bool {
    !UNSETTABLE_HEADERS.iter().any(|own| own.eq_ignore_ascii_case(name))
}
