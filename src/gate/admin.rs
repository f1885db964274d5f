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
use tokio::sync::watch;
use tracing::info;

use super::clock::Clock;
use super::known::Receivers;
use super::receiver::Receiver;
use crate::store::{Adopted, Bound, DeliveryId, Owner, Room, Row, RowState, Selection, Store, StoreError};

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

/// How a delivery is replayed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Replayed {
    /// One whose receiver is gone goes over to the receiver that has its name now.
    #[serde(default)]
    adopt: bool,
}

/// Told of a receiver, by its uid.
pub type ToldOfReceiver = Arc<dyn Fn(&Arc<str>) + Send + Sync>;

/// What the answers are made of.
#[derive(Clone)]
pub struct Desk {
    /// Where deliveries are kept.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The receivers at work.
    pub receivers: watch::Receiver<Receivers>,
    /// What a receiver may have in the store.
    pub room: Arc<dyn Fn(&Receiver) -> Room + Send + Sync>,
    /// Told of each receiver for which a delivery waits again.
    pub replayed: ToldOfReceiver,
}

/// The routes.
pub fn routes(desk: Desk) -> Router {
    Router::new()
        .route("/deliveries", get(list))
        .route("/deliveries/{id}", get(show).delete(drop_parked))
        .route("/deliveries/{id}/body", get(body))
        .route("/deliveries/{id}/replay", post(replay))
        .with_state(desk)
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

async fn replay(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    Query(how): Query<Replayed>,
) -> Result<Response, Problem> {
    let id = read_id(&id)?;
    let row = desk.store.show(id).await?.ok_or(Problem::Absent)?;
    if row.state != RowState::Parked {
        return Err(Problem::NotParked);
    }
    let receivers = desk.receivers.borrow().clone();
    if !receivers.is_there(&row.owner.uid) {
        let of_name = |receiver: &&Arc<Receiver>| {
            (&receiver.owner.namespace, &receiver.owner.name) == (&row.owner.namespace, &row.owner.name)
        };
        return match receivers.values().find(of_name) {
            None => Err(Problem::NoReceiver(row.owner)),
            Some(_) if !how.adopt => Err(Problem::OtherReceiver(row.owner)),
            Some(receiver) => desk.adopt(id, receiver).await,
        };
    }
    if !desk.store.replay(id, desk.clock.now()).await? {
        return Err(Problem::NotParked);
    }
    (desk.replayed)(&row.owner.uid);
    Ok(StatusCode::NO_CONTENT.into_response())
}

impl Desk {
    async fn adopt(&self, id: DeliveryId, receiver: &Receiver) -> Result<Response, Problem> {
        let by = receiver.owner.clone();
        match self.store.adopt(id, by.clone(), (self.room)(receiver), self.clock.now()).await? {
            Adopted::Waits => {
                info!(
                    delivery = %id,
                    receiver = %format_args!("{}/{}", by.namespace, by.name),
                    "a parked delivery goes over to the receiver that has the name of its own"
                );
                (self.replayed)(&by.uid);
                Ok(StatusCode::NO_CONTENT.into_response())
            }
            Adopted::Absent => Err(Problem::NotParked),
            Adopted::Full(bound) => Err(Problem::NoRoom(by, bound)),
        }
    }
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
pub(super) enum Problem {
    NoId,
    Absent,
    NotParked,
    /// Its receiver is gone, and there is none of its name.
    NoReceiver(Owner),
    /// Its receiver is gone, and another one has its name.
    OtherReceiver(Owner),
    NoRoom(Owner, Bound),
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
            Self::NoReceiver(Owner { namespace, name, .. }) => (
                StatusCode::CONFLICT,
                format!(
                    "its receiver {namespace}/{name} is not at work here: if it was deleted, declare one of \
                     this namespace and name and replay the delivery with --adopt, or drop it"
                ),
            ),
            Self::OtherReceiver(Owner { namespace, name, .. }) => (
                StatusCode::CONFLICT,
                format!(
                    "its receiver is gone, and the {namespace}/{name} of today is another one, which gets \
                     nothing of it by itself: replay it with --adopt to hand it to that one, or drop it"
                ),
            ),
            Self::NoRoom(Owner { namespace, name, .. }, bound) => {
                let (holds, remedy) = match bound {
                    Bound::Parked => ("is parked", "replay or drop some of that, or raise maxParked"),
                    _ => ("waits", "wait until some of that is handed on, or raise maxPending"),
                };
                (
                    StatusCode::CONFLICT,
                    format!(
                        "as much {holds} for the receiver {namespace}/{name} as may: {remedy}, and come again"
                    ),
                )
            }
            Self::Store(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        };
        (status, format!("{text}\n")).into_response()
    }
}
