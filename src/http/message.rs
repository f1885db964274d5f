//! What is sent and what comes back.

use std::fmt;
use std::time::Duration;

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
    pub body: Option<(String, SecretText)>,
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
