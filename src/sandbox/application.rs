//! The customer's application behind a gate: it takes what is handed on, counts it, and judges it.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use axum::routing::post;
use chrono::DateTime;
use serde_json::{Value, json};

use super::account::{Arrival, EventKey, Rule};
use super::cuttable::Peer;
use super::exchange::{Answer, exchange};
use super::faults::{Subject, Target};
use super::ledger::{Event, HandedOn};
use super::platforms;
use super::received::keep;
use super::shared::Shared;

/// The largest body that a receiver may allow, and some room.
const LARGEST: usize = 17 * 1024 * 1024;

const DELIVERY: &str = "hookkeeper-delivery";
const ATTEMPT: &str = "hookkeeper-attempt";
const DUPLICATE_OF: &str = "hookkeeper-duplicate-of";
const EVENT_TIME: &str = "hookkeeper-event-time";
const POLLED: &str = "hookkeeper-polled";
/// Where platforms put their credentials, whatever stands in them.
const CREDENTIAL_HEADERS: [&str; 3] = ["authorization", "signature", "x-webhook-token"];

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/application/{*path}", post(receive)).layer(DefaultBodyLimit::max(LARGEST))
}

async fn receive(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path(path): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let content: Value = serde_json::from_slice(&body).unwrap_or_default();
    let request = Request::read(path, &headers, &body, &content);
    for rule in broken_rules(&shared, &headers, &content, &request) {
        shared.account.broke(rule, request.delivery.as_deref());
    }
    keep(&mut shared.received(), &request.path, &headers, &body);
    if !request.polled
        && let Some(arrival) = request.arrival()
    {
        shared.account.arrived(&arrival);
    }
    let mut subject = Subject::new(Target::Application);
    subject.webhook.clone_from(&request.event);
    subject.action.clone_from(&request.name);
    subject.client = Some(request.path.clone());
    let untouched = Event::HandedOn(request.told(false));
    let account = Arc::clone(&shared.account);
    exchange(shared, peer, subject, Some(untouched), move |_, _, fault| {
        let seen = fault.map_or(Some(200), |fault| fault.seen(200));
        let answered = seen.is_some_and(|status| (200..300).contains(&status));
        if request.polled {
            if let Some(key) = request.status {
                account.polled(key);
            }
        } else if let Some(arrival) = request.arrival() {
            account.processed(&arrival, answered);
        }
        (Answer::json(StatusCode::OK, &json!({})), Some(Event::HandedOn(request.told(true))))
    })
    .await
}

/// What the application makes of a request.
struct Request {
    path: String,
    key: EventKey,
    delivery: Option<String>,
    duplicate_of: Option<String>,
    attempt: Option<u64>,
    polled: bool,
    /// The event's own id.
    event: Option<String>,
    /// The event's name.
    name: Option<String>,
    /// What a delivery of this id and status would have been.
    status: Option<EventKey>,
}

impl Request {
    fn read(path: String, headers: &HeaderMap, body: &[u8], content: &Value) -> Self {
        let one = |name| {
            let mut values = headers.get_all(name).iter();
            let value = values.next()?.to_str().ok().filter(|value| !value.is_empty())?;
            values.next().is_none().then(|| value.to_owned())
        };
        let text = |pointer| match content.pointer(pointer) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        let event = text("/id").or_else(|| text("/payload/id"));
        let status = text("/status").and_then(|status| status.parse().ok());
        Self {
            key: EventKey::of(body),
            delivery: one(DELIVERY),
            duplicate_of: one(DUPLICATE_OF),
            attempt: one(ATTEMPT).and_then(|attempt| attempt.parse().ok()),
            polled: headers.contains_key(POLLED),
            status: event
                .as_ref()
                .zip(status)
                .map(|(id, status)| EventKey::of(platforms::status_body(id, status).as_bytes())),
            name: text("/event").or_else(|| text("/type")),
            event,
            path,
        }
    }

    fn arrival(&self) -> Option<Arrival<'_>> {
        let delivery = self.delivery.as_deref()?;
        Some(Arrival { event: self.key, delivery, duplicate_of: self.duplicate_of.as_deref() })
    }

    fn told(&self, processed: bool) -> HandedOn {
        HandedOn {
            path: self.path.clone(),
            delivery: self.delivery.clone(),
            attempt: self.attempt,
            event: self.event.clone(),
            name: self.name.clone(),
            duplicate_of: self.duplicate_of.clone(),
            polled: self.polled,
            processed,
            answer: None,
        }
    }
}

fn broken_rules(shared: &Shared, headers: &HeaderMap, content: &Value, request: &Request) -> Vec<Rule> {
    let mut broken = Vec::new();
    if !request.polled && request.delivery.is_none() {
        broken.push(Rule::DeliveryNamed);
    }
    if !request.polled && request.attempt.is_none_or(|attempt| attempt == 0) {
        broken.push(Rule::AttemptNumbered);
    }
    if !headers.contains_key(header::CONTENT_TYPE) {
        broken.push(Rule::ContentType);
    }
    if headers.contains_key(EVENT_TIME) && !event_time_is_true(headers, content) {
        broken.push(Rule::EventTime);
    }
    let named = CREDENTIAL_HEADERS.iter().any(|name| headers.contains_key(*name));
    let values: Vec<&str> = headers.values().filter_map(|value| value.to_str().ok()).collect();
    let held = shared.credentials.iter().any(|secret| values.iter().any(|v| v.contains(secret.expose())));
    if named || held || values.iter().any(|value| shared.lock().tokens.find(value).is_some()) {
        broken.push(Rule::NoCredential);
    }
    broken
}

/// Whether the header says the time that the body says, in these or in other digits.
fn event_time_is_true(headers: &HeaderMap, content: &Value) -> bool {
    let said = headers.get(EVENT_TIME).and_then(|value| value.to_str().ok());
    let dates = ["/date", "/timestamp"].iter().filter_map(|pointer| content.pointer(pointer)?.as_str());
    let time = |text: &str| DateTime::parse_from_rfc3339(text).ok();
    said.is_some_and(|said| {
        dates.into_iter().any(|date| said == date || (time(said).is_some() && time(said) == time(date)))
    })
}
