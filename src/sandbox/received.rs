//! The last requests that the application got.

use std::collections::VecDeque;

use axum::body::Bytes;
use axum::http::{HeaderMap, header};

/// Requests kept in full.
pub const RECEIVED_KEPT: usize = 1_000;
/// Bodies beyond this size are kept by their beginning only.
const BODY_KEPT: usize = 16 * 1024;

/// A request as the application got it. Its body may hold what nobody should see: not for printing.
#[derive(Clone)]
pub struct Received {
    /// The path below `/application/`.
    pub path: String,
    /// Its headers, as far as they are text.
    pub headers: Vec<(String, String)>,
    /// Its body, as far as it is kept.
    pub body: Bytes,
}

impl Received {
    /// The value of a header, by its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Keeps one more; the oldest goes when there are enough.
pub(super) fn keep(received: &mut VecDeque<Received>, path: &str, headers: &HeaderMap, body: &Bytes) {
    if received.len() == RECEIVED_KEPT {
        received.pop_front();
    }
    let text = |(name, value): (&header::HeaderName, &header::HeaderValue)| {
        Some((name.to_string(), value.to_str().ok()?.to_owned()))
    };
    received.push_back(Received {
        path: path.to_owned(),
        headers: headers.iter().filter_map(text).collect(),
        // A copy, for a part of a buffer would keep all of it.
        body: Bytes::copy_from_slice(&body[..body.len().min(BODY_KEPT)]),
    });
}
