//! The request that hands a delivery on.

use std::time::Duration;

use bytes::Bytes;
use url::Url;

use crate::http::{HeaderName, Method, Request};
use crate::secret::SecretText;
use crate::secret::bounds::Bounds;
use crate::store::{DeliveryId, Owner};

/// So long may a sender's date be that is passed on. RFC 3339 with nanoseconds takes 35.
const LONGEST_TIME: usize = 64;

/// What the application is told of a delivery. The credential that the platform sent is not among it.
#[derive(Clone, Debug)]
pub(in crate::gate) struct Notes<'a> {
    /// Our id: the same in every attempt.
    pub(in crate::gate) id: DeliveryId,
    /// Which attempt this is, from 1.
    pub(in crate::gate) attempt: u32,
    /// The receiver.
    pub(in crate::gate) owner: &'a Owner,
    /// The sender's own date.
    pub(in crate::gate) event_time: Option<&'a str>,
    /// The delivery that this one repeats.
    pub(in crate::gate) duplicate_of: Option<DeliveryId>,
    /// It comes from asking the platform, not from the platform by itself.
    pub(in crate::gate) polled: bool,
}

impl Notes<'_> {
    /// The headers that say it.
    pub(in crate::gate) fn headers(&self) -> Vec<(HeaderName, SecretText)> {
        let mut headers = vec![
            header("hookkeeper-delivery", self.id.to_string()),
            header("hookkeeper-attempt", self.attempt.to_string()),
            header("hookkeeper-receiver", format!("{}/{}", self.owner.namespace, self.owner.name)),
        ];
        if let Some(time) = self.event_time.map(str::trim).filter(|time| is_plain(time)) {
            headers.push(header("hookkeeper-event-time", time.to_owned()));
        }
        if let Some(earlier) = self.duplicate_of {
            headers.push(header("hookkeeper-duplicate-of", earlier.to_string()));
        }
        if self.polled {
            headers.push(header("hookkeeper-polled", "true".to_owned()));
        }
        headers
    }
}

/// The header that says how the bytes are encoded.
pub(in crate::gate) fn encoded(content_encoding: Option<&str>) -> Option<(HeaderName, SecretText)> {
    content_encoding.map(|codings| header("content-encoding", codings.to_owned()))
}

fn header(name: &'static str, value: String) -> (HeaderName, SecretText) {
    (HeaderName::from_static(name), value.into())
}

/// Whether a text of the sender may stand in a header: a date has nothing but printable ASCII.
fn is_plain(text: &str) -> bool {
    let is_printable = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    !text.is_empty() && text.len() <= LONGEST_TIME && text.bytes().all(is_printable)
}

/// The request: the bytes as they came, under the type that the sender gave them.
pub(in crate::gate) fn compose(
    url: Url,
    headers: Vec<(HeaderName, SecretText)>,
    content_type: Option<String>,
    body: Bytes,
    timeout: Duration,
) -> Request {
    Request {
        method: Method::POST,
        url,
        headers,
        body: Some((content_type.unwrap_or_default(), body.into())),
        // Whose they are is the platform's matter; no Secret's value is in it.
        bounds: Bounds::default(),
        timeout,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(
        event_time: Option<&str>,
        duplicate_of: Option<DeliveryId>,
        polled: bool,
    ) -> Vec<(String, String)> {
        let owner = Owner { namespace: "hr".into(), name: "gupy".into(), uid: "1".into() };
        let id = DeliveryId::from_bytes([1; 16]);
        let notes = Notes { id, attempt: 3, owner: &owner, event_time, duplicate_of, polled };
        let text = |(name, value): (HeaderName, SecretText)| (name.to_string(), value.expose().to_owned());
        notes.headers().into_iter().map(text).collect()
    }

    fn value<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
        headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    #[test]
    fn the_application_is_told_what_it_needs_and_nothing_else() {
        let headers = said(None, None, false);
        assert_eq!(headers.len(), 3);
        assert_eq!(value(&headers, "hookkeeper-delivery"), Some("01010101-0101-0101-0101-010101010101"));
        assert_eq!(value(&headers, "hookkeeper-attempt"), Some("3"));
        assert_eq!(value(&headers, "hookkeeper-receiver"), Some("hr/gupy"));

        let earlier = DeliveryId::from_bytes([2; 16]);
        let headers = said(Some("2026-11-27T03:00:00.000Z"), Some(earlier), true);
        assert_eq!(value(&headers, "hookkeeper-event-time"), Some("2026-11-27T03:00:00.000Z"));
        assert_eq!(value(&headers, "hookkeeper-duplicate-of"), Some(earlier.to_string().as_str()));
        assert_eq!(value(&headers, "hookkeeper-polled"), Some("true"));
    }

    #[test]
    fn a_date_that_is_none_is_left_out_and_breaks_nothing() {
        let long = "1".repeat(LONGEST_TIME + 1);
        for time in ["", " ", "a\nHookkeeper-Attempt: 1", "a\r\n\r\nb", "\u{0}", "2026年", "\u{7f}", &long] {
            let headers = said(Some(time), None, false);
            assert_eq!(value(&headers, "hookkeeper-event-time"), None, "{time:?}");
        }
        for time in ["1700000000", "Fri, 27 Nov 2026 03:00:00 GMT", " 1 "] {
            let headers = said(Some(time), None, false);
            assert_eq!(value(&headers, "hookkeeper-event-time"), Some(time.trim()), "{time:?}");
        }
    }
}
