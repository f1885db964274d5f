//! The headers of a delivery that are not its credential: where it comes from, and what goes on.

use hookkeeper::gate::addresses::TrustedProxies;
use hookkeeper::gate::headers::{
    content_encoding, content_type, named_in_connection, passed_on, subscription,
};
use hookkeeper::http::HeaderName;
use hyper::header::{CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING};

use super::header_block;

const CREDENTIAL: HeaderName = HeaderName::from_static("x-webhook-token");

pub fn run(block: &[u8]) {
    let mut headers = header_block::read(block);
    let proxies = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]);
    let outside = "198.51.100.7".parse().unwrap();
    assert_eq!(proxies.sender(outside, &headers), Some(outside), "nobody else is believed");
    if let Some(sender) = proxies.sender("10.0.0.1".parse().unwrap(), &headers) {
        assert_eq!(sender, sender.to_canonical());
    }

    let kept = passed_on(&headers, &[CREDENTIAL]);
    for name in named_in_connection(&headers).chain([CREDENTIAL, CONTENT_LENGTH, TRANSFER_ENCODING]) {
        assert!(!kept.contains_key(&name), "{name}");
    }
    assert!(!kept.keys().any(|name| name.as_str().starts_with("hookkeeper-")));
    let (kind, encoding) = (content_type(&headers, None), content_encoding(&headers));
    for text in [kind.as_deref(), encoding.as_deref(), subscription(&headers)].into_iter().flatten() {
        assert!(HeaderValue::from_str(text).is_ok() && text.len() <= 256);
    }

    // What the trusted proxy adds decides, whatever stood there before.
    headers.append("x-forwarded-for", HeaderValue::from_static("198.51.100.9, 203.0.113.1, 10.1.1.1"));
    let sender = proxies.sender("10.0.0.1".parse().unwrap(), &headers);
    assert_eq!(sender, Some("203.0.113.1".parse().unwrap()));
}
