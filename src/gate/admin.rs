//! Deliveries as people see them: what waits, what is parked, and what may be done about it.
//!
//! Served by the admin server to people on the same host only. A body is in one answer and no other, and
//! that one is asked for by name.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::clock::Clock;
use crate::store::{DeliveryId, Row, RowState, Selection, Store, StoreError};

/// The most deliveries of one answer.
pub const PAGE: usize = 200;

/// A delivery, without its body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    /// Our id.
    pub id: String,
    /// Namespace of its receiver.
    pub namespace: String,
    /// Name of its receiver.
    pub receiver: String,
    /// Whether it waits or is parked.
    pub state: ShownState,
    /// When it arrived.
    pub arrived: DateTime<Utc>,
    /// When it is tried next; not there when it is parked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<DateTime<Utc>>,
    /// Length of its body in bytes.
    pub bytes: u64,
    /// The attempts so far.
    pub attempts: u32,
    /// Why the last one failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// When it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<DateTime<Utc>>,
}

/// State of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShownState {
    /// It waits to be handed on.
    Pending,
    /// It waits for a person.
    Parked,
}

impl From<ShownState> for RowState {
    fn from(state: ShownState) -> Self {
        match state {
            ShownState::Pending => Self::Pending,
            ShownState::Parked => Self::Parked,
        }
    }
}

impl From<Row> for Shown {
    fn from(row: Row) -> Self {
        let state = match row.state {
            RowState::Pending => ShownState::Pending,
            RowState::Parked => ShownState::Parked,
        };
        let (failure, failed) = row.failure.map(|failure| (failure.what, failure.when)).unzip();
        Self {
            id: row.id.to_string(),
            namespace: row.owner.namespace.to_string(),
            receiver: row.owner.name.to_string(),
            due: (state == ShownState::Pending).then_some(row.due),
            state,
            arrived: row.arrived,
            bytes: row.size,
            attempts: row.attempts,
            failure,
            failed,
        }
    }
}

/// Some deliveries, and where the next ones begin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// In the order of their arrival.
    pub deliveries: Vec<Shown>,
    /// To be asked for as `after`, when there are more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Which deliveries are asked for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    namespace: Option<String>,
    receiver: Option<String>,
    state: Option<ShownState>,
    after: Option<String>,
}

/// What the answers are made of.
#[derive(Clone)]
struct Desk {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    replayed: Arc<dyn Fn(&Row) + Send + Sync>,
}

/// The routes; `replayed` is told of each delivery that waits again.
pub fn routes(
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    replayed: impl Fn(&Row) + Send + Sync + 'static,
) -> Router {
    Router::new()
        .route("/deliveries", get(list))
        .route("/deliveries/{id}", get(show).delete(drop_parked))
        .route("/deliveries/{id}/body", get(body))
        .route("/deliveries/{id}/replay", post(replay))
        .with_state(Desk { store, clock, replayed: Arc::new(replayed) })
}

async fn list(State(desk): State<Desk>, Query(wanted): Query<Wanted>) -> Result<Response, Problem> {
    let after = wanted.after.as_deref().map(read_id).transpose()?;
    let selection = Selection {
        namespace: wanted.namespace,
        receiver: wanted.receiver,
        state: wanted.state.map(RowState::from),
    };
    let mut rows = desk.store.list(&selection, after, PAGE + 1).await?;
    let more = rows.len() > PAGE;
    rows.truncate(PAGE);
    let next = rows.last().filter(|_| more).map(|row| row.id.to_string());
    Ok(Json(Page { deliveries: rows.into_iter().map(Shown::from).collect(), next }).into_response())
}

async fn show(State(desk): State<Desk>, Path(id): Path<String>) -> Result<Response, Problem> {
    let row = desk.store.show(read_id(&id)?).await?.ok_or(Problem::Absent)?;
    Ok(Json(Shown::from(row)).into_response())
}

async fn body(State(desk): State<Desk>, Path(id): Path<String>) -> Result<Response, Problem> {
    let body = desk.store.body(read_id(&id)?).await?.ok_or(Problem::Absent)?;
    // Never a type that a browser would act on.
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], body).into_response())
}

async fn replay(State(desk): State<Desk>, Path(id): Path<String>) -> Result<Response, Problem> {
    let id = read_id(&id)?;
    let row = desk.store.show(id).await?.ok_or(Problem::Absent)?;
    if !desk.store.replay(id, desk.clock.now()).await? {
        return Err(Problem::NotParked);
    }
    (desk.replayed)(&row);
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn drop_parked(State(desk): State<Desk>, Path(id): Path<String>) -> Result<Response, Problem> {
    let id = read_id(&id)?;
    if desk.store.drop_parked(id).await? {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Err(if desk.store.show(id).await?.is_some() { Problem::NotParked } else { Problem::Absent })
}

fn read_id(text: &str) -> Result<DeliveryId, Problem> {
    text.parse().map_err(|_| Problem::NoId)
}

/// Why there is no answer.
enum Problem {
    NoId,
    Absent,
    NotParked,
    Store(StoreError),
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Self::NoId => (StatusCode::BAD_REQUEST, crate::store::InvalidDeliveryId.to_string()),
            Self::Absent => (
                StatusCode::NOT_FOUND,
                "there is no such delivery; what was handed on is not kept".to_owned(),
            ),
            Self::NotParked => (
                StatusCode::CONFLICT,
                "the delivery is not parked: it is handed on by itself when it is due".to_owned(),
            ),
            Self::Store(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        };
        (status, format!("{text}\n")).into_response()
    }
}
