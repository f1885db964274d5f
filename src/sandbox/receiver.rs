//! The sandbox's own receiver: accepts a delivery that carries a living token.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::post;
use serde_json::{Value, json};

use super::cuttable::Peer;
use super::exchange::{Answer, exchange};
use super::faults::{Subject, Target};
use super::gupy_sender::Verdict;
use super::ledger::Outcome;
use super::shared::Shared;

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/receive/{webhook}", post(receive))
}

async fn receive(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path(webhook): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let mut subject = Subject::new(Target::Receive);
    subject.webhook = Some(webhook);
    subject.action = body.get("event").and_then(Value::as_str).map(str::to_owned);
    exchange(shared, peer, subject, None, move |world, now, _| {
        let readable = headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let outcome = world.verdict(now, readable);
        let status = match outcome {
            Outcome::Accepted => StatusCode::OK,
            _ => StatusCode::UNAUTHORIZED,
        };
        (Answer::json(status, &json!(Verdict { outcome })), None)
    })
    .await
}
