//! `/admin/`: the ledger, the webhooks, faults, clients.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::document::{Document, Status};
use super::exchange::Answer;
use super::ledger::{Event, LedgerSummary, Vanishing};
use super::server::Shared;
use super::tokens::ClientChange;
use super::world::World;

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/ledger", get(ledger))
        .route("/summary", get(summary))
        .route("/late", get(late))
        .route("/webhooks", get(list_webhooks).post(post_webhook))
        .route("/webhooks/{id}", delete(delete_webhook))
        .route("/faults", get(list_faults).post(post_fault).delete(clear_faults))
        .route("/clients/{id}", post(post_client))
}

/// A stored webhook as people may see it: its headers name tokens by their labels only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WebhookView {
    /// Its id.
    pub id: String,
    /// Its action.
    pub action: String,
    /// Its URL, as sent.
    pub postback_url: String,
    /// Whether it is active.
    pub status: Status,
    /// The headers of its deliveries. A value that is a token of this server shows as its label in
    /// angle brackets, any other as `[redacted]`.
    pub client_headers: BTreeMap<String, String>,
    /// The label of the token it carries.
    pub token: Option<String>,
    /// When that token dies, as far as is known.
    pub token_dies: Option<DateTime<Utc>>,
    /// Whether that token is dead while the webhook is active.
    pub late: bool,
}

pub(super) fn views(world: &World, now: DateTime<Utc>) -> Vec<WebhookView> {
    let shown = |value: &str| match world.tokens.find(value) {
        Some(token) => format!("<{}>", token.label),
        None => "[redacted]".to_owned(),
    };
    world
        .webhooks
        .iter()
        .map(|webhook| WebhookView {
            id: webhook.id.clone(),
            action: webhook.document.action.clone(),
            postback_url: webhook.document.postback_url.clone(),
            status: webhook.document.status,
            client_headers: webhook
                .document
                .client_headers
                .iter()
                .map(|(name, value)| (name.clone(), shown(value.expose())))
                .collect(),
            token: webhook.token.as_ref().map(|token| token.label.clone()),
            token_dies: webhook.token.as_ref().map(|token| token.death().0),
            late: webhook.late(now).is_some(),
        })
        .collect()
}

pub(super) fn add_webhook(shared: &Shared, document: &Value) -> Result<String, String> {
    let document = Document::from_json(document)?;
    let (mut world, now) = shared.lock_now();
    let (action, postback_url) = (document.action.clone(), document.postback_url.clone());
    let webhook = world.create(now, document).id;
    let event = Event::HandMade { webhook: webhook.clone(), action, postback_url };
    world.ledger.record(now, event);
    shared.wake.notify_one();
    Ok(webhook)
}

pub(super) fn remove_webhook(shared: &Shared, id: &str) -> bool {
    let (mut world, now) = shared.lock_now();
    world.vanish(now, id, Vanishing::ByHand)
}

pub(super) fn change_client(shared: &Shared, id: &str, change: ClientChange) -> bool {
    let (mut world, now) = shared.lock_now();
    let changed = world.tokens.change(id, change);
    if changed {
        let client = id.to_owned();
        world.ledger.record(now, Event::ClientChanged { client });
    }
    changed
}

/// `?since=N`: entries after number N.
async fn ledger(State(shared): State<Arc<Shared>>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let since = form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == "since")
        .map_or(Ok(0), |(_, text)| text.parse());
    match since {
        Ok(since) => Json(json!({"entries": shared.lock().ledger.since(since)})).into_response(),
        Err(_) => refuse("since is the number of an entry"),
    }
}

async fn summary(State(shared): State<Arc<Shared>>) -> Json<LedgerSummary> {
    let (world, now) = shared.lock_now();
    Json(world.summary(now))
}

async fn late(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let (world, now) = shared.lock_now();
    Json(json!({"late": world.late_now(now)}))
}

async fn list_webhooks(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let (world, now) = shared.lock_now();
    Json(json!({"webhooks": views(&world, now)}))
}

async fn post_webhook(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let document: Value = serde_json::from_slice(&body).unwrap_or_default();
    match add_webhook(&shared, &document) {
        Ok(id) => (StatusCode::CREATED, Json(json!({"id": id}))).into_response(),
        Err(detail) => refuse(&detail),
    }
}

async fn delete_webhook(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> StatusCode {
    found(remove_webhook(&shared, &id))
}

async fn list_faults(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(json!({"faults": shared.lock().faults.list()}))
}

async fn post_fault(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let fault = match serde_json::from_slice(&body) {
        Ok(fault) => fault,
        Err(error) => return refuse(&error.to_string()),
    };
    match shared.lock().faults.add(fault) {
        Ok(id) => (StatusCode::CREATED, Json(json!({"id": id}))).into_response(),
        Err(problem) => refuse(problem),
    }
}

async fn clear_faults(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.lock().faults.clear();
    StatusCode::NO_CONTENT
}

async fn post_client(State(shared): State<Arc<Shared>>, Path(id): Path<String>, body: Bytes) -> Response {
    match serde_json::from_slice(&body) {
        Ok(change) => found(change_client(&shared, &id, change)).into_response(),
        // The text of the error could repeat the secret.
        Err(_) => refuse("expected enabled, secret, token_life_seconds or revokes_previous"),
    }
}

fn found(found: bool) -> StatusCode {
    if found { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }
}

fn refuse(detail: &str) -> Response {
    Answer::error(StatusCode::BAD_REQUEST, "Bad Request", detail).into_response()
}
