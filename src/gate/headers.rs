//! Which headers of a delivery go on to the application.

use hyper::HeaderMap;
use hyper::header::{
    AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, COOKIE, HOST, PROXY_AUTHORIZATION,
};

use crate::api::is_settable;
use crate::http::HeaderName;

/// Longest Content-Encoding that is kept, in bytes: far more than all that are registered together.
const LONGEST_CONTENT_ENCODING: usize = 128;
/// Longest Content-Type that is kept, in bytes.
const LONGEST_CONTENT_TYPE: usize = 256;
/// What our own headers begin with.
const OUR_OWN: &str = "hookkeeper-";
/// Names the subscription that a delivery belongs to; hookkeeper puts it into the subscription itself.
pub const SUBSCRIPTION: HeaderName = HeaderName::from_static("hookkeeper-subscription");

/// Headers that are meant for the next hop alone and say so by their name (RFC 9110, section 7.6.1);
/// further ones are named by [`named_in_connection`].
const HOP_BY_HOP: [&str; 10] = [
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The headers that `Connection` names: they are meant for the next hop alone (RFC 9110, section 7.6.1).
/// What is no name of a header is passed over.
pub fn named_in_connection(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    let lines = headers.get_all(CONNECTION).iter();
    let names = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
}

/// What a delivery that is passed on at once takes with it to the application: everything but what is
/// meant for this hop, what the next request sets by itself, what proves the delivery
/// (`credential_headers`, and whatever else is known to hold a credential), and headers that only we
/// write.
#[must_use]
pub fn passed_on(headers: &HeaderMap, credential_headers: &[HeaderName]) -> HeaderMap {
    let mut kept = HeaderMap::with_capacity(headers.keys_len());
    for (name, value) in headers {
        let is_kept = !HOP_BY_HOP.contains(&name.as_str())
            && is_settable(name.as_str())
            && !name.as_str().starts_with(OUR_OWN)
            && ![AUTHORIZATION, COOKIE, HOST, PROXY_AUTHORIZATION].contains(name)
            && !credential_headers.contains(name);
        if is_kept {
            kept.append(name.clone(), value.clone());
        }
    }
    for name in named_in_connection(headers) {
        kept.remove(name);
    }
    kept
}

/// The type of a delivery's body: what the sender says, or `default` when it says nothing that can be
/// handed on.
#[must_use]
pub fn content_type(headers: &HeaderMap, default: Option<&str>) -> Option<String> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let only = values.next().filter(|_| values.next().is_none());
    let said = only.and_then(|value| value.to_str().ok()).map(|text| text.trim_matches([' ', '\t']));
    let said = said.filter(|text| !text.is_empty() && text.len() <= LONGEST_CONTENT_TYPE);
    said.filter(|_| named_in_connection(headers).all(|name| name != CONTENT_TYPE))
        .or(default)
        .map(str::to_owned)
}

/// How a delivery's body is encoded beyond its type (RFC 9110, section 8.4): as the sender says, and
/// nothing when it says nothing, or what is no list of codings.
///
/// Together with the type it is all that is needed to read the bytes, which is why no other header of the
/// representation is kept with them. Content-Language, Content-Location, Last-Modified and ETag say nothing
/// about reading them. Content-MD5, Digest, Content-Digest, Repr-Digest and signatures prove something of
/// them on their way here, and that has been verified.
#[must_use]
pub fn content_encoding(headers: &HeaderMap) -> Option<String> {
    let is_of_a_coding = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let mut codings = Vec::new();
    // Several lines are one list (RFC 9110, section 5.3).
    for line in headers.get_all(CONTENT_ENCODING) {
        for coding in line.to_str().ok()?.split(',').map(|text| text.trim_matches([' ', '\t'])) {
            if !coding.bytes().all(is_of_a_coding) {
                return None;
            }
            codings.extend(Some(coding).filter(|coding| !coding.is_empty()));
        }
    }
    let list = codings.join(", ");
    let is_said = !list.is_empty() && list.len() <= LONGEST_CONTENT_ENCODING;
    (is_said && named_in_connection(headers).all(|name| name != CONTENT_ENCODING)).then_some(list)
}

/// Whether bytes with this Content-Encoding are other ones than those that their type speaks of.
#[must_use]
pub fn is_encoded(content_encoding: Option<&str>) -> bool {
    let mut codings = content_encoding.into_iter().flat_map(|list| list.split(", "));
    codings.any(|coding| !coding.eq_ignore_ascii_case("identity"))
}

/// The subscription that a delivery names: the name of an object (RFC 1123), or it is none.
#[must_use]
pub fn subscription(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(SUBSCRIPTION).iter();
    let only = values.next().filter(|_| values.next().is_none());
    let name = only.and_then(|value| value.to_str().ok())?;
    let is_part = |part: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        part.bytes().all(|byte| inner(byte) || byte == b'-')
            && part.bytes().next().is_some_and(inner)
            && part.bytes().last().is_some_and(inner)
    };
    (name.len() <= 253 && name.split('.').all(is_part)).then_some(name)
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        headers
    }

    #[test]
    fn only_what_is_meant_for_the_application_goes_on() {
        let sent = headers(&[
            ("Host", "hooks.example.com"),
            ("Content-Type", "application/json"),
            ("Content-Length", "2"),
            ("Transfer-Encoding", "chunked"),
            ("Connection", "keep-alive, X-Secret-Hop,, bad name, X-Other"),
            ("Connection", "x-third"),
            ("Keep-Alive", "timeout=5"),
            ("X-Secret-Hop", "1"),
            ("X-Other", "1"),
            ("X-Third", "1"),
            ("TE", "trailers"),
            ("Trailer", "X-A"),
            ("Upgrade", "websocket"),
            ("Proxy-Authorization", "Basic YTpi"),
            ("Proxy-Authenticate", "Basic"),
            ("Proxy-Connection", "close"),
            ("Expect", "100-continue"),
            ("Accept-Encoding", "gzip"),
            ("Authorization", "Bearer canary-token"),
            ("Cookie", "a=b"),
            ("X-Webhook-Token", "canary-token"),
            ("Hookkeeper-Delivery", "forged"),
            ("Hookkeeper-Duplicate-Of", "forged"),
            ("X-Event", "one"),
            ("X-Event", "two"),
            ("User-Agent", "platform/1"),
        ]);
        let kept = passed_on(&sent, &[HeaderName::from_static("x-webhook-token")]);
        let mut kept: Vec<_> =
            kept.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        kept.sort_unstable();
        assert_eq!(
            kept,
            [
                ("content-type", "application/json"),
                ("user-agent", "platform/1"),
                ("x-event", "one"),
                ("x-event", "two"),
            ]
        );
    }

    #[test]
    fn a_missing_content_type_is_restored() {
        let default = Some("application/json;charset=utf-8");
        for (lines, expected) in [
            (&[][..], default),
            (&[("Content-Type", "text/plain")], Some("text/plain")),
            (&[("Content-Type", "")], default),
            (&[("Content-Type", "a/\u{e9}")], default),
            (&[("Content-Type", "a/b"), ("Content-Type", "c/d")], default),
            (&[("Content-Type", "a/b"), ("Connection", "Content-Type")], default),
        ] {
            assert_eq!(content_type(&headers(lines), default).as_deref(), expected, "{lines:?}");
        }
        let long = "a/".to_owned() + &"b".repeat(LONGEST_CONTENT_TYPE);
        assert_eq!(content_type(&headers(&[("Content-Type", &long)]), None), None);
    }

    #[test]
    fn a_content_encoding_is_a_list_of_codings_or_none() {
        for (lines, expected) in [
            (&[][..], None),
            (&["gzip"], Some("gzip")),
            (&["X-Gzip"], Some("X-Gzip")),
            (&[" gzip ,\tbr,"], Some("gzip, br")),
            (&["gzip", "br"], Some("gzip, br")),
            (&["", " , "], None),
            (&["gzip; q=1"], None),
            (&["gzip", "b r"], None),
            (&["g\u{e9}"], None),
        ] {
            let lines: Vec<_> = lines.iter().map(|value| ("Content-Encoding", *value)).collect();
            assert_eq!(content_encoding(&headers(&lines)).as_deref(), expected, "{lines:?}");
        }
        let hop = [("Content-Encoding", "gzip"), ("Connection", "Content-Encoding")];
        assert_eq!(content_encoding(&headers(&hop)), None);
        let long = "a".repeat(LONGEST_CONTENT_ENCODING + 1);
        assert_eq!(content_encoding(&headers(&[("Content-Encoding", &long)])), None);
        for (encoding, expected) in [
            (None, false),
            (Some("identity"), false),
            (Some("Identity, identity"), false),
            (Some("identity, gzip"), true),
            (Some("zstd"), true),
        ] {
            assert_eq!(is_encoded(encoding), expected, "{encoding:?}");
        }
    }

    #[test]
    fn a_subscription_is_the_name_of_an_object() {
        for name in ["hires", "a.b-c.9", "0"] {
            assert_eq!(subscription(&headers(&[("Hookkeeper-Subscription", name)])), Some(name));
        }
        let long = "a".repeat(254);
        for name in ["", "A", "a b", "-a", "a-", "a..b", ".", "a/b", "\u{e9}", &long] {
            assert_eq!(subscription(&headers(&[("Hookkeeper-Subscription", name)])), None, "{name}");
        }
        let twice = [("Hookkeeper-Subscription", "a"), ("Hookkeeper-Subscription", "a")];
        assert_eq!(subscription(&headers(&twice)), None);
        assert_eq!(subscription(&headers(&[])), None);
    }
}
