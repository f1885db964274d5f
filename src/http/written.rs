//! Where a request's values go: the host that is called, and every host that is written into it.
//!
//! What is written is read the way that whoever gets it may read it, in every way that is known: a
//! URL counts wherever it stands, with slashes or backslashes, percent-encoded or not, whole or inside
//! of another text; a bare name counts where the name of its member, parameter or header says that it
//! is a destination. Where two readings of one URL lead to two hosts, both have to be allowed.

use std::borrow::Cow;
use std::fmt;

use percent_encoding::percent_decode_str;
use serde::Deserializer;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use url::{Host, Position, Url, form_urlencoded};
use zeroize::Zeroizing;

use super::{Error, Request};
use crate::secret::bounds::Bounds;

/// How often a text may be percent-encoded.
const MOST_DECODINGS: usize = 3;
/// Headers that tell a server or proxy on the way which host is meant.
const ROUTING: [&str; 8] = [
    "forwarded",
    "x-forwarded-host",
    "x-forwarded-server",
    "x-host",
    "x-http-host-override",
    "x-original-host",
    "x-original-url",
    "x-rewrite-url",
];
/// Headers whose URLs say where a request comes from.
const OF_THE_SENDER: [&str; 3] = ["origin", "referer", "user-agent"];
/// Schemes whose host is found without two slashes too (WHATWG URL standard, "special scheme").
const SPECIAL: [&str; 5] = ["http", "https", "ws", "wss", "ftp"];

/// A host where none can be read: something is written that looks like a URL, and whoever gets it may
/// find a host in it.
const UNREADABLE: &str = "a URL that cannot be read";

/// Judges a request right before it is sent.
///
/// # Errors
/// The first host that one of the values must not be sent to.
pub(super) fn judge(request: &Request) -> Result<(), Error> {
    let bounds = &request.bounds;
    if bounds.is_empty() {
        return Ok(());
    }
    bounds.check_called(request.url.host_str().unwrap_or_default())?;
    for (name, value) in &request.headers {
        if ROUTING.contains(&name.as_str()) {
            for host in routed_to(value.expose()) {
                bounds.check_called(&host)?;
            }
        }
    }
    if !bounds.are_passed_on() {
        return Ok(());
    }
    let mut found = Found { bounds, first: Ok(()) };
    found.urls(&request.url[Position::BeforePath..Position::AfterPath]);
    for (name, value) in request.url.query_pairs() {
        found.member(&name, &value);
    }
    for (name, value) in &request.headers {
        if !OF_THE_SENDER.contains(&name.as_str()) {
            found.member(name.as_str(), value.expose());
        }
    }
    if let Some((content_type, content)) = &request.body {
        let text = content.to_text();
        found.body(content_type, &text);
        if let Cow::Owned(text) = text {
            drop(Zeroizing::new(text));
        }
    }
    found.first
}

/// The hosts that a routing header names: `a, b`, `host=a;proto=https`, `https://a/path`.
fn routed_to(value: &str) -> Vec<String> {
    let parts = value.split([',', ';']).map(|part| {
        let part = part.trim();
        match part.split_once('=') {
            Some((name, host)) if name.trim().eq_ignore_ascii_case("host") => host.trim().trim_matches('"'),
            Some(_) => "",
            None => part,
        }
    });
    let host = |part: &str| {
        if part.is_empty() || (part.starts_with('/') && !part.starts_with("//")) {
            return None;
        }
        let text = match part.strip_prefix("//") {
            Some(rest) => format!("https://{rest}"),
            None if part.contains("//") => part.to_owned(),
            None => format!("https://{part}"),
        };
        let url = Url::parse(&text).ok();
        Some(url.and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_else(|| UNREADABLE.to_owned()))
    };
    parts.filter_map(host).collect()
}

/// What was found so far.
struct Found<'a> {
    bounds: &'a Bounds,
    first: Result<(), Error>,
}

impl Found<'_> {
    fn host(&mut self, host: &str) {
        if self.first.is_ok() {
            self.first = self.bounds.check_passed_on(host).map_err(Error::from);
        }
    }

    /// A member of a document, a parameter or a header.
    fn member(&mut self, name: &str, value: &str) {
        self.text(is_destination(name), value);
    }

    fn text(&mut self, is_destination: bool, value: &str) {
        let mut value = Cow::Borrowed(value);
        for _ in 0..MOST_DECODINGS {
            self.urls(&value);
            if is_destination {
                self.bare(&value);
            }
            let decoded = match percent_decode_str(&value).decode_utf8_lossy() {
                Cow::Owned(decoded) if *decoded != *value => decoded,
                _ => break,
            };
            // It may be a secret.
            drop(Zeroizing::new(std::mem::replace(&mut value, Cow::Owned(decoded)).into_owned()));
        }
        drop(Zeroizing::new(value.into_owned()));
    }

    fn body(&mut self, content_type: &str, content: &str) {
        let mut json = serde_json::Deserializer::from_str(content);
        let is_json = Values { found: self, is_destination: false }.deserialize(&mut json).is_ok();
        if !is_json || json.end().is_err() {
            self.urls(content);
            if content_type.to_ascii_lowercase().contains("form") {
                for (name, value) in form_urlencoded::parse(content.as_bytes()) {
                    self.member(&name, &value);
                }
            }
        }
    }

    /// Every URL in a text.
    fn urls(&mut self, text: &str) {
        // What a parser of URLs passes over (WHATWG URL standard, "URL parsing", steps 1 to 3).
        let stripped: Cow<'_, str> = if text.contains(['\t', '\r', '\n']) {
            Cow::Owned(text.replace(['\t', '\r', '\n'], ""))
        } else {
            Cow::Borrowed(text)
        };
        let whole = stripped.trim_matches(|character: char| character <= ' ');
        if slashes(whole) >= 2 {
            self.authority(whole.trim_start_matches(['/', '\\']));
        }
        for (colon, _) in whole.match_indices(':') {
            let (before, after) = (&whole[..colon], &whole[colon + 1..]);
            let is_scheme = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
            let length = before.bytes().rev().take_while(is_scheme).count();
            let scheme = before[before.len() - length..].to_ascii_lowercase();
            let is_special = SPECIAL.iter().any(|special| scheme.ends_with(special));
            let slashes = slashes(after);
            let begins = |character: char| character.is_alphanumeric() || character == '[';
            let is_url = slashes >= 2 || (is_special && (slashes == 1 || after.starts_with(begins)));
            if is_url && scheme.bytes().any(|byte| byte.is_ascii_alphabetic()) {
                self.authority(after.trim_start_matches(['/', '\\']));
            }
        }
        if let Cow::Owned(stripped) = stripped {
            drop(Zeroizing::new(stripped));
        }
    }

    /// The hosts that begin a text, one for each place where a reader may end the authority of a URL:
    /// the standard of the web lets a backslash end it, RFC 3986 does not; a text may go on after it.
    fn authority(&mut self, text: &str) {
        let of_rfc = until(text, |character| "/?#".contains(character));
        let of_web = until(text, |character| "/?#\\".contains(character));
        let of_text =
            until(text, |character| character.is_whitespace() || "/?#\\\"'<>,;|()`{}^".contains(character));
        let readings = [of_rfc, of_web, of_text];
        let hosts: Vec<_> = readings.into_iter().filter_map(host_of).collect();
        for host in &hosts {
            self.host(host);
        }
        // Two signs of a user name are read in two ways.
        let is_unclear = of_rfc.matches('@').count() > 1;
        if is_unclear || (hosts.is_empty() && !of_text.is_empty()) {
            self.host(UNREADABLE);
        }
    }

    /// A host without a scheme, as the value of something that is a destination.
    fn bare(&mut self, text: &str) {
        let text = text.trim();
        let Ok(url) = Url::parse(&format!("https://{}", text.trim_start_matches(['/', '\\']))) else {
            return;
        };
        let is_name = |name: &str| name.trim_end_matches('.').contains('.');
        match url.host() {
            Some(Host::Domain(name)) if !is_name(name) => {}
            // A number is no address where nobody says so.
            Some(Host::Ipv4(_)) if !text.contains('.') => {}
            Some(host) if !text.starts_with('/') => self.host(&host.to_string()),
            _ => {}
        }
    }
}

fn slashes(text: &str) -> usize {
    text.bytes().take_while(|byte| matches!(byte, b'/' | b'\\')).count()
}

fn until(text: &str, ends: impl Fn(char) -> bool) -> &str {
    text.split(ends).next().unwrap_or_default()
}

fn host_of(authority: &str) -> Option<String> {
    let host = authority.rsplit('@').next()?;
    let url = Url::parse(&format!("https://{host}")).ok()?;
    url.host_str().map(str::to_owned)
}

/// Whether what has this name is the place where something is to be sent.
fn is_destination(name: &str) -> bool {
    let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    let name = name.to_ascii_lowercase();
    let holds = ["url", "host", "domain", "endpoint", "href"];
    let ends = ["uri", "callback", "destination", "server", "site", "webhook", "target", "address"];
    holds.into_iter().any(|word| name.contains(word)) || ends.into_iter().any(|word| name.ends_with(word))
}

/// Goes through a JSON document without keeping anything of it.
struct Values<'f, 'a> {
    found: &'f mut Found<'a>,
    is_destination: bool,
}

impl<'de> DeserializeSeed<'de> for Values<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Values<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.found.text(self.is_destination, text);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Self { found, is_destination } = self;
        while items.next_element_seed(Values { found: &mut *found, is_destination })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let Self { found, is_destination } = self;
        while let Some(name) = members.next_key::<Cow<'_, str>>()? {
            found.text(false, &name);
            let is_destination = is_destination || self::is_destination(&name);
            members.next_value_seed(Values { found: &mut *found, is_destination })?;
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use reqwest::Method;

    use super::*;
    use crate::http::HeaderName;
    use crate::secret::bounds::Owner;

    fn bounds() -> Bounds {
        let mut bounds = Bounds::default();
        let hosts = ["api.example.com", "in.example.com"].map(str::to_owned);
        bounds.confine(Owner::Secret("token".to_owned()), &hosts);
        bounds
    }

    fn request(body: &str) -> Request {
        Request {
            method: Method::POST,
            url: "https://api.example.com/hooks".parse().unwrap(),
            headers: Vec::new(),
            body: Some(("application/json".to_owned(), body.into())),
            bounds: bounds().passed_on_to("in.example.com"),
            timeout: Duration::ZERO,
        }
    }

    /// The host that is refused in a text that is a value of a document.
    fn refused_in(name: &str, text: &str) -> Option<String> {
        let document = serde_json::json!({ "list": [1, true, null, 1.5, { name: text }] });
        match judge(&request(&document.to_string())) {
            Ok(()) => None,
            Err(Error::HostNotAllowed { host, .. }) => Some(host),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_url_of_another_host_is_found_however_it_is_spelled() {
        for text in [
            "https://evil.example/x",
            "HTTPS://EVIL.example.",
            "https://evil.example:8443",
            "https://in.example.com@evil.example/",
            "https://in.example.com:443@evil.example",
            "https://in.example.com\\@evil.example/",
            "https://in.example.com.evil.example/",
            "//evil.example/x",
            "\\\\evil.example",
            "https:\\\\evil.example",
            "https:/evil.example",
            "https:evil.example",
            "https:////evil.example",
            " \u{1}https://evil.example",
            "ht\ttps:/\n/evil.example",
            "wss://evil.example",
            "amqp://evil.example",
            "xhttps://evil.example",
            "https%3A%2F%2Fevil.example",
            "https%253A%252F%252Fevil.example",
            "https://in.example.com/?then=https://evil.example",
            "send it to (https://evil.example), please",
            "{\"url\": \"https://evil.example\"}",
            "https://ｅｖｉｌ.example",
            "https://evil。example",
        ] {
            let host = refused_in("text", text);
            assert!(host.as_deref().is_some_and(|host| host.contains("evil")), "{text}: {host:?}");
        }
        for (text, host) in [
            ("https://2130706433/", "127.0.0.1"),
            ("https://0x7f.1/", "127.0.0.1"),
            ("https://[::1]/", "[::1]"),
            ("https:[::1]/", "[::1]"),
            ("https://bücher.de", "xn--bcher-kva.de"),
            ("https://in.example.com,https://evil.example", "in.example.com,https"),
            ("https://a@b@in.example.com", UNREADABLE),
            ("https://a%00b", UNREADABLE),
            ("https://exa mple", "exa"),
        ] {
            assert_eq!(refused_in("text", text).as_deref(), Some(host), "{text}");
        }
    }

    #[test]
    fn what_is_allowed_or_no_destination_goes_through() {
        for (name, text) in [
            ("url", "https://in.example.com/gupy?x=1"),
            ("url", "HTTPS://API.example.com.:8443/"),
            ("url", "https://user@in.example.com"),
            ("url", "/relative/path"),
            ("url", "/evil.example/path"),
            ("url", "8443"),
            ("url", ""),
            ("host", "in.example.com:443"),
            ("action", "application.completed"),
            ("text", "evil.example"),
            ("techOwnerEmail", "person@company.example"),
            ("contentType", "application/json;charset=utf-8"),
            ("token", "abc//def+/=:x"),
            ("token", "eyJhbGciOi.eyJleHAiOj.c2ln"),
            ("text", "at 10:30: done"),
            ("text", "https://"),
            ("urn", "urn:uuid:f81d4fae"),
        ] {
            assert_eq!(refused_in(name, text), None, "{name}: {text}");
        }
    }

    #[test]
    fn a_bare_name_counts_where_a_destination_stands() {
        for name in ["url", "postbackHost", "callback_uri", "endpoint", "X-Target"] {
            for text in ["evil.example", "evil.example:8443/x", "EVIL.example.", "u@evil.example"] {
                let host = refused_in(name, text);
                assert!(host.is_some_and(|host| host.starts_with("evil.example")), "{name}: {text}");
            }
            assert_eq!(refused_in(name, "203.0.113.7").as_deref(), Some("203.0.113.7"));
        }
        let nested = request(r#"{"callback": {"value": ["evil.example"]}}"#);
        assert!(judge(&nested).is_err());
    }

    #[test]
    fn json_is_read_as_whoever_gets_it_reads_it() {
        let escaped = request(r#"{"url": "https:\u002f\u002fin.example.com/x"}"#);
        assert_eq!(judge(&escaped), Ok(()), "its text as it stands would name another host");
        let evil = request(r#"{"url": "https:\u002f\u002fevil.example/x"}"#);
        assert!(judge(&evil).is_err());
    }

    #[test]
    fn what_is_no_json_is_read_as_text() {
        for body in [r#"{} https://evil.example"#, r#"{"url": "https://evil.example"#, "https://evil.example"]
        {
            assert!(judge(&request(body)).is_err(), "{body}");
        }
    }

    #[test]
    fn the_whole_request_is_read() {
        let with = |change: fn(&mut Request)| {
            let mut request = request("{}");
            change(&mut request);
            judge(&request).is_err()
        };
        assert!(!with(|_| {}));
        assert!(with(|request| request.url = "https://evil.example/".parse().unwrap()));
        assert!(with(|request| request.url.set_query(Some("u=https%3A%2F%2Fevil.example"))));
        assert!(with(|request| request.url.set_query(Some("host=evil.example"))));
        assert!(with(|request| request.url.set_path("/to/https://evil.example")));
        assert!(with(|request| request.bounds = bounds().passed_on_to("evil.example")));
        assert!(with(|request| {
            let name = HeaderName::from_static("x-callback");
            request.headers.push((name, "https://evil.example".into()));
        }));
        assert!(!with(|request| {
            request.headers.push((HeaderName::from_static("origin"), "https://a.example".into()));
        }));
        assert!(with(|request| {
            request.body = Some(("text/plain".to_owned(), "to https://evil.example".into()));
        }));
        assert!(with(|request| {
            let form = "a=b&url=evil.example";
            request.body = Some(("application/x-www-form-urlencoded".to_owned(), form.into()));
        }));
        assert!(with(|request| {
            request.body = Some(("application/json".to_owned(), r#"{"https://evil.example": 1}"#.into()));
        }));
        assert!(with(|request| {
            request.body =
                Some(("application/json".to_owned(), r#"{"a":"https:\/\/\u0065vil.example"}"#.into()));
        }));
        assert!(with(|request| {
            let bytes = bytes::Bytes::from_static(b"\xff https://evil.example \xfe");
            request.body = Some(("application/octet-stream".to_owned(), bytes.into()));
        }));
    }

    /// An audience is no destination: the token server keeps what it is sent.
    #[test]
    fn what_is_not_passed_on_is_judged_by_the_host_that_is_called() {
        let mut request = request(r#"{"audience": "https://other.example"}"#);
        request.bounds = bounds();
        assert_eq!(judge(&request), Ok(()));
        request.url = "https://in.example.com.evil.example".parse().unwrap();
        assert!(judge(&request).is_err());
        request.bounds = Bounds::default();
        assert_eq!(judge(&request), Ok(()));
    }

    #[test]
    fn a_header_that_leads_a_proxy_to_another_host_is_judged() {
        for (name, value, refused) in [
            ("x-forwarded-host", "evil.example", true),
            ("x-forwarded-host", "api.example.com, evil.example", true),
            ("x-forwarded-host", "api.example.com:443", false),
            ("x-host", "evil.example:80", true),
            ("forwarded", "for=1.2.3.4;host=evil.example;proto=https", true),
            ("forwarded", "for=1.2.3.4;host=\"api.example.com\"", false),
            ("x-original-url", "https://evil.example/", true),
            ("x-original-url", "https://api.example.com/path", false),
            ("x-original-url", "/path", false),
            ("x-rewrite-url", "//evil.example/", true),
        ] {
            let mut request = request("{}");
            request.bounds = bounds();
            request.headers = vec![(HeaderName::from_static(name), value.into())];
            assert_eq!(judge(&request).is_err(), refused, "{name}: {value}");
        }
    }
}
