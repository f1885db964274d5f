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

/// Headers of a delivery that HTTP itself or a proxy on the way writes, in lower case: none of them can
/// hold what a platform sends.
pub const WRITTEN_ON_THE_WAY: [&str; 24] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
];

/// Whether a platform can send a credential or an event's id in the header; case makes no difference.
/// Those that begin with `Hookkeeper-` are our own.
#[must_use]
pub fn is_of_the_platform(name: &str) -> bool {
    let is_ours =
        name.get(.."hookkeeper-".len()).is_some_and(|start| start.eq_ignore_ascii_case("hookkeeper-"));
    !is_ours && !WRITTEN_ON_THE_WAY.iter().any(|own| own.eq_ignore_ascii_case(name))
}

/// Whether an object may set the header in a request of ours; case makes no difference.
#[must_use]
pub fn is_settable(name: &str) -> bool {
    !UNSETTABLE_HEADERS.iter().any(|own| own.eq_ignore_ascii_case(name))
}
