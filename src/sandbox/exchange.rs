//! One request and its answer, with whatever fault strikes it.

use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::cuttable::Peer;
use super::faults::{Fault, FaultBody, Subject};
use super::ledger::Event;
use super::shared::Shared;
use super::world::World;

const JSON: &str = "application/json; charset=utf-8";

/// An answer before it is put on the wire.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) content_type: &'static str,
    pub(super) body: String,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
}

impl Answer {
    pub(super) fn json(status: StatusCode, body: &Value) -> Self {
        Self { status, content_type: JSON, body: body.to_string(), headers: Vec::new() }
    }

    pub(super) fn empty(status: StatusCode) -> Self {
        Self { status, content_type: "", body: String::new(), headers: Vec::new() }
    }

    /// Gupy's error shape.
    pub(super) fn error(status: StatusCode, title: &str, detail: &str) -> Self {
        let body = json!({"title": title, "detail": detail, "status": status.as_u16()});
        Self::json(status, &body)
    }

    pub(super) fn with(mut self, name: &'static str, value: &'static str) -> Self {
        let header = (HeaderName::from_static(name), HeaderValue::from_static(value));
        self.headers.push(header);
        self
    }

    /// The answer that a fault gives in place of this one.
    fn under(mut self, fault: &Fault) -> Self {
        if let Some(status) = fault.status.and_then(|code| StatusCode::from_u16(code).ok()) {
            self = match fault.body {
                FaultBody::Gupy => Self::error(
                    status,
                    status.canonical_reason().unwrap_or("Error"),
                    "A fault that was asked for",
                ),
                FaultBody::Html => Self {
                    content_type: "text/html; charset=utf-8",
                    body: "<html><body><h1>A fault that was asked for</h1></body></html>".into(),
                    ..Self::empty(status)
                },
                FaultBody::Empty => Self::empty(status),
            };
        }
        if fault.malformed_body {
            // Half of a JSON document is never one, except for a lone number.
            let half = self.body.chars().count() / 2;
            self.body = self.body.chars().take(half).collect();
        }
        let headers = [(RETRY_AFTER, &fault.retry_after), (LOCATION, &fault.location)];
        for (name, text) in headers {
            if let Some(value) = text.as_ref().and_then(|t| HeaderValue::try_from(t).ok()) {
                self.headers.push((name, value));
            }
        }
        self
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> axum::response::Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        if !self.content_type.is_empty() {
            let value = HeaderValue::from_static(self.content_type);
            response.headers_mut().insert(CONTENT_TYPE, value);
        }
        response.headers_mut().extend(self.headers);
        response
    }
}

/// Carries out one request with the fault that strikes it.
///
/// `perform` changes the world and says what to answer and to note; `untouched` is noted when the
/// fault keeps the request from taking effect.
pub(super) async fn exchange<F>(
    shared: Arc<Shared>,
    peer: Peer,
    subject: Subject,
    untouched: Option<Event>,
    perform: F,
) -> axum::response::Response
where
    F: FnOnce(&mut World, DateTime<Utc>, Option<&Fault>) -> (Answer, Option<Event>) + Send + 'static,
{
    let fault = {
        let (mut world, now) = shared.lock_now();
        match world.strike(now, &subject) {
            Some(fault) => fault,
            None => return perform_and_note(&mut world, now, None, perform).into_response(),
        }
    };
    // A task of its own: a client that gives up does not take back what is queued at the provider.
    let task = tokio::spawn(async move {
        if !fault.delays_answer() {
            tokio::time::sleep(fault.delay()).await;
        }
        let answer = {
            let (mut world, now) = shared.lock_now();
            if fault.takes_effect() {
                perform_and_note(&mut world, now, Some(&fault), perform)
            } else {
                note(&mut world, now, Some(&fault), 0, untouched);
                Answer::empty(StatusCode::OK)
            }
        };
        if fault.delays_answer() {
            tokio::time::sleep(fault.delay()).await;
        }
        if fault.hang {
            shared.closed().await;
        }
        if fault.hang || fault.lose_answer {
            peer.cut();
        }
        answer.under(&fault)
    });
    match task.await {
        Ok(answer) => answer.into_response(),
        // Only a panic or the end of the runtime gets here.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn perform_and_note<F>(world: &mut World, now: DateTime<Utc>, fault: Option<&Fault>, perform: F) -> Answer
where
    F: FnOnce(&mut World, DateTime<Utc>, Option<&Fault>) -> (Answer, Option<Event>),
{
    let (answer, event) = perform(world, now, fault);
    note(world, now, fault, answer.status.as_u16(), event);
    answer
}

fn note(world: &mut World, now: DateTime<Utc>, fault: Option<&Fault>, real: u16, event: Option<Event>) {
    if let Some(mut event) = event {
        event.set_answer(fault.map_or(Some(real), |fault| fault.seen(real)));
        world.ledger.record(now, event);
    }
}
