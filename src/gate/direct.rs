//! `Direct`: a verified delivery is passed on at once, and what the application answers is the answer.
//!
//! Nothing is kept, so nothing is tried again here: whether the delivery comes again is up to the
//! platform, and it has to be told the truth about each one.
//!
//! | the application | the platform gets |
//! |---|---|
//! | answers 2xx | the status that it takes for success, and the body |
//! | answers 4xx or 5xx | this status, and the body |
//! | answers 3xx, or no HTTP | 502: nothing is followed |
//! | cannot be reached, or does not answer in time | 503 with `Retry-After` |

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::hand_on::request::{Notes, compose, encoded};
use super::hand_on::{ByName, Exchange, LARGEST_ANSWER, Locate};
use super::headers;
use super::observer::{Fact, Observer};
use super::receiver::Receiver;
use super::refusal::Refusal;
use crate::http::{Answer, Error, HeaderName, is_free_to_set};
use crate::secret::SecretText;
use crate::store::DeliveryId;

/// When the platform should come again after an answer that we had to give ourselves.
const COME_AGAIN: Duration = Duration::from_secs(30);
/// An attempt is cut so long after the client should have ended it.
const GRACE: Duration = Duration::from_secs(1);

/// A verified delivery.
#[derive(Clone)]
pub struct Delivery<'a> {
    /// Our id.
    pub id: DeliveryId,
    /// The headers as they came.
    pub headers: &'a HeaderMap,
    /// Those of them that prove it: they do not go on.
    pub credential_headers: &'a [HeaderName],
    /// The type of the body, as the sender named it or as the preset gives it.
    pub content_type: Option<String>,
    /// How it is encoded beyond that.
    pub content_encoding: Option<String>,
    /// The sender's own date of the event.
    pub event_time: Option<&'a str>,
    /// The bytes as they came.
    pub body: Bytes,
}

/// What the platform is answered.
#[derive(Clone, PartialEq, Eq)]
pub struct Passed {
    /// The status.
    pub status: u16,
    /// What the application said, at most 64 KiB of it.
    pub body: Bytes,
    /// When to come again.
    pub retry_after: Option<Duration>,
    /// Why the application has not taken it, in our words; `None` when it has.
    pub why: Option<String>,
    /// Set when the answer is ours and not the application's.
    pub refusal: Option<Refusal>,
}

impl std::fmt::Debug for Passed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Passed")
            .field("status", &self.status)
            .field("why", &self.why)
            .field("refusal", &self.refusal)
            .finish_non_exhaustive()
    }
}

impl Passed {
    /// Whether the application has taken the delivery.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        self.why.is_none()
    }

    /// No answer, or none that could be passed on.
    fn ours(status: u16, refusal: Refusal, why: String) -> Self {
        let retry_after = (status == 503).then_some(COME_AGAIN);
        Self { status, body: Bytes::new(), retry_after, why: Some(why), refusal: Some(refusal) }
    }
}

/// Passes deliveries on at once.
pub struct Direct {
    exchange: Arc<dyn Exchange>,
    locate: Arc<dyn Locate>,
    observer: Arc<dyn Observer>,
    places: Places,
}

impl Direct {
    /// Passes deliveries on through this.
    #[must_use]
    pub fn new(exchange: impl Exchange + 'static, observer: Arc<dyn Observer>) -> Self {
        let exchange = Arc::new(exchange);
        Self { exchange, locate: Arc::new(ByName), observer, places: Places::default() }
    }

    /// The same, with somebody else who knows where Services are.
    #[must_use]
    pub fn locating_with(mut self, locate: Arc<dyn Locate>) -> Self {
        self.locate = locate;
        self
    }

    /// Passes a delivery on, and says what its platform is to be answered. Takes at most twice the
    /// receiver's `forward.timeout`: once for a place among its `maxConcurrent`, once for the answer.
    pub async fn pass_on(&self, receiver: &Receiver, delivery: Delivery<'_>) -> Passed {
        if receiver.suspended {
            let why = "the receiver is suspended".to_owned();
            return Passed::ours(503, Refusal::Suspended, why);
        }
        let (id, began) = (delivery.id, Instant::now());
        let passed = self.exchange(receiver, delivery).await;
        let fact = match &passed.why {
            None => Fact::HandedOn { id, attempts: 1, age: began.elapsed(), marked: false },
            Some(why) => Fact::AttemptFailed { id, why },
        };
        self.observer.saw(&receiver.owner, fact);
        passed
    }

    async fn exchange(&self, receiver: &Receiver, delivery: Delivery<'_>) -> Passed {
        let limit = receiver.forward.timeout;
        let places = self.places.of(receiver);
        let Ok(Ok(_place)) = timeout(limit, places.acquire()).await else {
            let why = format!(
                "{} deliveries were under way to the application for {limit:?}",
                receiver.forward.max_concurrent
            );
            return Passed::ours(503, Refusal::Application, why);
        };
        let exchanging = async {
            let place = match self.locate.locate(&receiver.owner, &receiver.forward.to).await {
                Ok(place) => place,
                Err(why) => return Passed::ours(503, Refusal::Application, why),
            };
            let headers = headers_for(receiver, &delivery);
            let request = compose(place.url, headers, delivery.content_type, delivery.body, limit);
            let answered = self.exchange.send(&receiver.owner.namespace, place.address, request).await;
            answer_of(receiver, answered)
        };
        timeout(limit + GRACE, exchanging).await.unwrap_or_else(|_| {
            let why = format!("the application did not answer within {limit:?}");
            Passed::ours(503, Refusal::Application, why)
        })
    }
}

/// What the sender says, as far as it is meant for the application, and what we say.
fn headers_for(receiver: &Receiver, delivery: &Delivery<'_>) -> Vec<(HeaderName, SecretText)> {
    let passed = headers::passed_on(delivery.headers, delivery.credential_headers);
    let is_free =
        |name: &HeaderName| ![CONTENT_TYPE, CONTENT_ENCODING].contains(name) && is_free_to_set(name);
    let text =
        |value: &hyper::header::HeaderValue| std::str::from_utf8(value.as_bytes()).ok().map(SecretText::from);
    let theirs = passed.iter().filter(|(name, _)| is_free(name));
    let theirs = theirs.filter_map(|(name, value)| Some((name.clone(), text(value)?)));
    let notes = Notes {
        id: delivery.id,
        attempt: 1,
        owner: &receiver.owner,
        event_time: delivery.event_time,
        duplicate_of: None,
        polled: false,
    };
    theirs.chain(notes.headers()).chain(encoded(delivery.content_encoding.as_deref())).collect()
}

/// What the platform is answered when this came back.
fn answer_of(receiver: &Receiver, answered: Result<Answer, Error>) -> Passed {
    let answer = match answered {
        Ok(answer) => answer,
        Err(error) => {
            let status = match error {
                Error::Redirect { .. } | Error::InvalidAnswer { .. } => 502,
                _ => 503,
            };
            return Passed::ours(status, Refusal::Application, error.to_string());
        }
    };
    let why = format!("the application answered {}", answer.status);
    let (status, why) = match answer.status {
        200..=299 => (receiver.success, None),
        400..=599 => (answer.status, Some(why)),
        _ => return Passed::ours(502, Refusal::Application, why),
    };
    // A page that did not come whole is worth less than the status, which did.
    let body = answer.body.map(|body| beginning(body.as_bytes())).unwrap_or_default();
    Passed { status, body, retry_after: None, why, refusal: None }
}

fn beginning(body: &[u8]) -> Bytes {
    Bytes::copy_from_slice(body.get(..LARGEST_ANSWER).unwrap_or(body))
}

/// How many deliveries may be under way to each application.
#[derive(Default)]
struct Places(Mutex<HashMap<Arc<str>, OfOne>>);

/// How many places a receiver has, and what gives them out.
type OfOne = (usize, Arc<Semaphore>);

impl Places {
    fn of(&self, receiver: &Receiver) -> Arc<Semaphore> {
        let most = receiver.forward.max_concurrent;
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((size, places)) = all.get(&receiver.owner.uid)
            && *size == most
        {
            return Arc::clone(places);
        }
        // Those that nobody uses at this moment are as good as new ones.
        all.retain(|_, (_, places)| Arc::strong_count(places) > 1);
        let places = Arc::new(Semaphore::new(most));
        all.insert(Arc::clone(&receiver.owner.uid), (most, Arc::clone(&places)));
        places
    }
}

#[cfg(test)]
mod tests;
