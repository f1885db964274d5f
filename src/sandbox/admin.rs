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

use super::account::Parked;
use super::disturbances::Unrest;
use super::document::{Document, Status};
use super::exchange::Answer;
use super::gupy_sender::GupySender;
use super::ledger::{Event, LedgerSummary, Vanishing};
use super::post::SenderChange;
use super::shared::Shared;
use super::tokens::ClientChange;
use super::world::World;

/// The name by which the senders of Gupy's webhooks are changed.
pub(super) const GUPY: &str = "gupy";

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/ledger", get(ledger))
        .route("/summary", get(summary))
        .route("/late", get(late))
        .route("/webhooks", get(list_webhooks).post(post_webhook))
        .route("/webhooks/{id}", delete(delete_webhook))
        .route("/faults", get(list_faults).post(post_fault).delete(clear_faults))
        .route("/clients/{id}", post(post_client))
        .route("/senders", get(list_senders))
        .route("/senders/{name}", post(post_sender))
        .route("/account", get(account).post(account_with_parked))
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

/// Changes a sender; `None` when there is none of that name.
pub(super) fn change_sender(
    shared: &Shared,
    name: &str,
    change: SenderChange,
) -> Option<Result<(), &'static str>> {
    if name == GUPY {
        return Some(change_gupy(shared, change));
    }
    let post = shared.senders.iter().find(|post| post.name() == name)?;
    Some(post.change(shared.clock.now(), change))
}

fn change_gupy(shared: &Shared, change: SenderChange) -> Result<(), &'static str> {
    if let Some(problem) = change.problem() {
        return Err(problem);
    }
    if change.is_for_others() {
        return Err("the sender gupy knows target, per_second and disturbances only");
    }
    let interval = change.interval();
    let (mut world, now) = shared.lock_now();
    if let Some(target) = change.target {
        let sender =
            GupySender::new(Some(target), "").map_err(|_| "the target must be an http or https URL")?;
        *shared.gupy() = sender;
        world.is_handed_on = true;
    }
    if let Some(disturbances) = change.disturbances {
        world.unrest = Unrest::new(disturbances);
    }
    if let Some(interval) = interval {
        world.set_delivery_interval(now, interval);
    }
    drop(world);
    shared.wake.notify_one();
    Ok(())
}

async fn list_senders(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let senders: Vec<_> = shared.senders.iter().map(|post| post.view()).collect();
    Json(json!({"senders": senders}))
}

async fn post_sender(State(shared): State<Arc<Shared>>, Path(name): Path<String>, body: Bytes) -> Response {
    let change = match serde_json::from_slice(&body) {
        Ok(change) => change,
        Err(error) => return refuse(&error.to_string()),
    };
    match change_sender(&shared, &name, change) {
        None => StatusCode::NOT_FOUND.into_response(),
        Some(Ok(())) => StatusCode::NO_CONTENT.into_response(),
        Some(Err(problem)) => refuse(problem),
    }
}

/// What became of all deliveries.
async fn account(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(told(&shared, &[]))
}

/// The same, with `{"parked": [ID, …]}`: deliveries that wait for a person.
async fn account_with_parked(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Request {
        parked: Vec<String>,
    }
    match serde_json::from_slice::<Request>(&body) {
        Ok(request) => {
            let parked: Vec<_> = request.parked.iter().map(|id| Parked::Id(id)).collect();
            Json(told(&shared, &parked)).into_response()
        }
        Err(error) => refuse(&error.to_string()),
    }
}

fn told(shared: &Shared, parked: &[Parked<'_>]) -> Value {
    let summary = shared.account.account(parked);
    json!({"clean": summary.is_clean(), "summary": summary, "broken_rules": shared.account.broken_rules()})
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
