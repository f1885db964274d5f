//! What is sent and what comes back.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use reqwest::{Method, Url};

use super::{Body, Error, HeaderName};
use crate::secret::SecretText;
use crate::secret::bounds::Bounds;

/// One request.
///
/// Every header value and the body count as secret, because which of them are is known only to
/// whoever wrote the manifest.
pub struct Request {
    /// The method.
    pub method: Method,
    /// Where to: https, or http where that is allowed. A query may hold a secret, so it is never
    /// printed.
    pub url: Url,
    /// Headers besides those that the client sets. One that is given twice is sent twice; one that
    /// the client would set by default (`User-Agent`, `Accept`) replaces the default.
    pub headers: Vec<(HeaderName, SecretText)>,
    /// Content type and content. A `Content-Type` among the headers wins over the one here; with
    /// an empty one the content is sent without that header.
    pub body: Option<(String, Content)>,
    /// Where the values in it may go, which is asked right before it is sent.
    pub bounds: Bounds,
    /// How long everything together may take: resolving, connecting, sending, and reading the
    /// answer to its end.
    pub timeout: Duration,
}

impl fmt::Debug for Request {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Request")
            .field("method", &self.method)
            .field("host", &self.url.host_str())
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// What a request carries. It counts as secret, and prints as `[redacted]`.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// Text that was made here, wiped when it is dropped.
    Text(SecretText),
    /// Bytes that came from elsewhere and go on as they are. They are shared with whoever else holds
    /// them, and so are wiped by nobody in particular; the binary wipes all memory that is freed.
    Bytes(Bytes),
}

impl Content {
    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.as_bytes().is_empty()
    }

    /// The bytes themselves.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.expose().as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }

    /// The text, as far as it is one: what is not UTF-8 is replaced.
    #[must_use]
    pub fn to_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.as_bytes())
    }
}

impl From<SecretText> for Content {
    fn from(text: SecretText) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<Bytes> for Content {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "[redacted, {} bytes]", self.as_bytes().len())
    }
}

/// An answer with any status but a redirect's.
#[derive(Clone)]
pub struct Answer {
    /// The status code, 200 to 299 or 400 to 999.
    pub status: u16,
    /// When the server says the answer was made.
    pub date: Option<DateTime<Utc>>,
    /// How long to wait before the next request, at most a day; relative to `date` where the
    /// server names a point in time.
    pub retry_after: Option<Duration>,
    /// The `Content-Type`, as sent.
    pub content_type: Option<String>,
    /// The `Link` header (RFC 8288), several of them joined by commas. Its URLs may hold secrets.
    pub link: Option<String>,
    /// The body, or why it could not be read. The status often says all that matters, and must not
    /// be lost to a broken error page or to a success with a page nobody reads: such a request
    /// would be sent again and again.
    pub body: Result<Body, Error>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Answer")
            .field("status", &self.status)
            .field("date", &self.date)
            .field("retry_after", &self.retry_after)
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_never_printed_and_read_as_far_as_it_is_text() {
        let bytes = Content::from(Bytes::from_static(b"token \xff"));
        assert_eq!(format!("{bytes:?}"), "[redacted, 7 bytes]");
        assert_eq!(bytes.to_text(), "token \u{fffd}");
        let text = Content::from("token");
        assert_eq!((format!("{text:?}").as_str(), text.as_bytes()), ("[redacted, 5 bytes]", &b"token"[..]));
        assert!(Content::from(Bytes::new()).is_empty() && !text.is_empty());
    }
}
