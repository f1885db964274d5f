//! What the public listener answers: a status, and next to nothing besides.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONNECTION, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};

use super::refusal::Refusal;

/// The answer as hyper sends it.
pub(super) type Answer = Response<Full<Bytes>>;

/// How long whoever meets a 503 or 429 should wait.
const WAIT: Duration = Duration::from_secs(30);

/// A status without a body.
pub(super) fn empty(status: u16) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer
}

/// A status without a body, after which the connection is closed: who was refused starts again.
pub(super) fn closing(status: u16) -> Answer {
    let mut answer = empty(status);
    close(&mut answer);
    answer
}

/// The connection is closed after this answer.
pub(super) fn close(answer: &mut Answer) {
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
}

/// A refusal.
pub(super) fn refused(refusal: Refusal) -> Answer {
    let mut answer = closing(refusal.status());
    match refusal.status() {
        405 => {
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        }
        429 => retry_after(&mut answer, Duration::from_secs(1)),
        503 => retry_after(&mut answer, WAIT),
        _ => {}
    }
    answer
}

/// Whether there is a receiver at all is not known yet.
pub(super) fn later() -> Answer {
    let mut answer = closing(503);
    retry_after(&mut answer, WAIT);
    answer
}

/// When to come again.
pub(super) fn retry_after(answer: &mut Answer, wait: Duration) {
    let seconds = wait.as_secs().max(1);
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
}

/// A status with what the application said. Of which type that is does not go back: nobody should be made
/// to read it in another way than as bytes.
pub(super) fn with_body(status: u16, body: Bytes) -> Answer {
    let mut answer = empty(status);
    *answer.body_mut() = Full::new(body);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_say_what_to_do_and_close() {
        for refusal in [Refusal::Method, Refusal::TooMany, Refusal::Store, Refusal::UnknownCredential] {
            let answer = refused(refusal);
            assert_eq!(answer.status().as_u16(), refusal.status());
            assert_eq!(answer.headers()[CONNECTION], "close");
            assert_eq!(answer.headers().contains_key(RETRY_AFTER), [429, 503].contains(&refusal.status()));
            assert_eq!(answer.headers().contains_key(ALLOW), refusal.status() == 405);
        }
    }
}
