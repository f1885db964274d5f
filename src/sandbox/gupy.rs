//! Gupy's webhook API: `/api/v1/webhooks`.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header::AUTHORIZATION};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, put};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use url::form_urlencoded;

use super::cuttable::Peer;
use super::document::Document;
use super::exchange::{Answer, exchange};
use super::faults::{Subject, Target};
use super::ledger::{Event, Operation, ProviderCall};
use super::shared::Shared;
use super::webhooks::{Change, Webhook};
use super::world::World;

/// Where a page ends when `perPage` is not given, and what it may be at most.
const PER_PAGE: (usize, usize) = (10, 100);

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/api/v1/webhooks", get(list).post(create))
        // One webhook cannot be read: Gupy names no permission for it, so there is no GET.
        .route("/api/v1/webhooks/{id}", put(update).delete(delete))
}

async fn list(
    state: State<Arc<Shared>>,
    peer: ConnectInfo<Peer>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    let mut call = Call::new(Operation::List, &headers);
    call.query = query.unwrap_or_default();
    answer(state, peer, call).await
}

async fn create(
    state: State<Arc<Shared>>,
    peer: ConnectInfo<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut call = Call::new(Operation::Create, &headers);
    call.body = body;
    answer(state, peer, call).await
}

async fn update(
    state: State<Arc<Shared>>,
    peer: ConnectInfo<Peer>,
    headers: HeaderMap,
    Path(id): Path<String>,
    body: Bytes,
) -> Response {
    let mut call = Call::new(Operation::Update, &headers);
    call.id = Some(id);
    call.body = body;
    answer(state, peer, call).await
}

async fn delete(
    state: State<Arc<Shared>>,
    peer: ConnectInfo<Peer>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    let mut call = Call::new(Operation::Delete, &headers);
    call.id = Some(id);
    answer(state, peer, call).await
}

/// A request to the API.
struct Call {
    operation: Operation,
    authorization: Option<Vec<u8>>,
    id: Option<String>,
    query: String,
    body: Bytes,
}

impl Call {
    fn new(operation: Operation, headers: &HeaderMap) -> Self {
        Self {
            operation,
            authorization: headers.get(AUTHORIZATION).map(|value| value.as_bytes().to_vec()),
            id: None,
            query: String::new(),
            body: Bytes::new(),
        }
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    call: Call,
) -> Response {
    let note = describe(&shared.lock(), &call);
    // The firewall stands in front: a request that it stops gets no further, not even to a fault.
    let elapsed = shared.clock.provider_elapsed();
    let limited = shared.lock().rate_limited(peer.ip, elapsed);
    if limited {
        let event = Event::ProviderCall(ProviderCall {
            rate_limited: true,
            answer: Some(StatusCode::TOO_MANY_REQUESTS.as_u16()),
            ..note
        });
        let (mut world, now) = shared.lock_now();
        world.ledger.record(now, event);
        return Answer::error(StatusCode::TOO_MANY_REQUESTS, "Too Many Requests", "Rate limit exceeded")
            .with("waf", "Rate-Limit")
            .into_response();
    }
    let mut subject = Subject::new(match call.operation {
        Operation::List => Target::List,
        Operation::Create => Target::Create,
        Operation::Update => Target::Update,
        Operation::Delete => Target::Delete,
    });
    subject.webhook.clone_from(&note.webhook);
    subject.action.clone_from(&note.action);
    let untouched = Some(Event::ProviderCall(note.clone()));
    let wake = Arc::clone(&shared);
    exchange(shared, peer, subject, untouched, move |world, now, _| {
        let (answer, call) = perform(world, now, &call, note);
        wake.wake.notify_one();
        (answer, Some(Event::ProviderCall(call)))
    })
    .await
}

/// What the ledger and the faults need to know of a request before it takes effect.
fn describe(world: &World, call: &Call) -> ProviderCall {
    let mut note = ProviderCall::new(call.operation);
    note.webhook.clone_from(&call.id);
    let body: Option<Value> = serde_json::from_slice(&call.body).ok();
    let text = |name: &str| Some(body.as_ref()?.get(name)?.as_str()?.to_owned());
    let stored = call.id.as_deref().and_then(|id| world.webhooks.get(id));
    note.action = text("action").or_else(|| Some(stored?.document.action.clone()));
    note.postback_url = text("postbackUrl");
    note
}

fn perform(
    world: &mut World,
    now: DateTime<Utc>,
    call: &Call,
    mut note: ProviderCall,
) -> (Answer, ProviderCall) {
    if let Some(refusal) = refuse(world, call.authorization.as_deref()) {
        return (refusal, note);
    }
    let result = match (call.operation, call.id.as_deref()) {
        (Operation::List, _) => list_page(world, &call.query),
        (Operation::Create, _) => store(world, now, None, &call.body, &mut note),
        (Operation::Update, Some(id)) => store(world, now, Some(id), &call.body, &mut note),
        (Operation::Delete, Some(id)) if world.remove(now, id) => Ok(Answer::empty(StatusCode::NO_CONTENT)),
        _ => Err(not_found()),
    };
    match result {
        Ok(answer) => {
            note.effect = true;
            (answer, note)
        }
        Err(refusal) => (refusal, note),
    }
}

/// 401 without credentials, 403 with the wrong ones, as documented.
fn refuse(world: &World, authorization: Option<&[u8]>) -> Option<Answer> {
    let Some(authorization) = authorization else {
        return Some(Answer::error(
            StatusCode::UNAUTHORIZED,
            "Unauthorized",
            "No Authorization header was sent",
        ));
    };
    let expected = format!("Bearer {}", world.management_token.expose());
    (authorization != expected.as_bytes()).then(|| {
        Answer::error(
            StatusCode::FORBIDDEN,
            "Forbidden",
            "No company is associated to the token provided. Please check the token value or \
             contact your Gupy representative.",
        )
    })
}

fn not_found() -> Answer {
    Answer::error(StatusCode::NOT_FOUND, "Not Found", "Webhook not found")
}

fn invalid(detail: &str) -> Answer {
    Answer::error(StatusCode::BAD_REQUEST, "Validation Error", detail)
}

/// Creates or replaces.
fn store(
    world: &mut World,
    now: DateTime<Utc>,
    id: Option<&str>,
    body: &[u8],
    note: &mut ProviderCall,
) -> Result<Answer, Answer> {
    if id.is_some_and(|id| world.webhooks.get(id).is_none()) {
        return Err(not_found());
    }
    let document = Document::parse(body).map_err(|detail| invalid(&detail))?;
    let (status, change) = match id {
        None => (StatusCode::CREATED, world.create(now, document)),
        Some(id) => {
            let change = world.replace(now, id, document).ok_or_else(not_found)?;
            (StatusCode::OK, change)
        }
    };
    let Change { id, previous_token, doubles, .. } = change;
    let webhook = world.webhooks.get(&id).ok_or_else(not_found)?;
    note.token = webhook.token.as_ref().map(|token| token.label.clone());
    note.previous_token = previous_token;
    note.doubles = doubles;
    let answer = Answer::json(status, &shown(webhook));
    note.webhook = Some(id);
    Ok(answer)
}

/// All that Gupy ever shows of a webhook: no client headers, no owner.
fn shown(webhook: &Webhook) -> Value {
    json!({
        "id": webhook.id,
        "action": webhook.document.action,
        "postbackUrl": webhook.document.postback_url,
        "status": webhook.document.status,
    })
}

fn list_page(world: &World, query: &str) -> Result<Answer, Answer> {
    let page = positive(query, "page", 1, usize::MAX)?;
    let (default, most) = PER_PAGE;
    let per_page = positive(query, "perPage", default, most)?;
    let total = world.webhooks.len();
    let results: Vec<Value> =
        world.webhooks.iter().skip((page - 1).saturating_mul(per_page)).take(per_page).map(shown).collect();
    let body = json!({
        "results": results,
        "totalResults": total,
        "page": page,
        "totalPages": total.div_ceil(per_page),
    });
    Ok(Answer::json(StatusCode::OK, &body))
}

/// A query parameter from 1 to `most`. `_val_` stands literally in the documented answer.
fn positive(query: &str, name: &str, default: usize, most: usize) -> Result<usize, Answer> {
    let given = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name);
    let Some((_, text)) = given else {
        return Ok(default);
    };
    let number: usize =
        text.parse().map_err(|_| invalid(&format!("Invalid {name} param: _val_ must be integer")))?;
    if !(1..=most).contains(&number) {
        let detail = format!("Invalid {name} param: _val_ must be from 1 to {most}");
        return Err(invalid(&detail));
    }
    Ok(number)
}
