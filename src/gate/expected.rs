//! What applications wait for, as people see it, and asking again for what was given up.
//!
//! Served by the admin server to people on the same host only. An id at the platform may be personal data: it is
//! in no other answer.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::admin::{Problem, ShownState, ToldOfReceiver};
use super::clock::Clock;
use super::fallback::MOST_OPEN;
use crate::store::{Expectation, Owner, RowState, Selection, Store};

/// The most expectations of one answer.
pub const MOST_SHOWN: usize = 1_000;

/// Something that an application waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    /// Its id at the platform.
    pub id: String,
    /// Namespace of the receiver.
    pub namespace: String,
    /// Name of the receiver.
    pub receiver: String,
    /// Whether the platform is asked for it, or it is parked.
    pub state: ShownState,
    /// When the application said that it waits.
    pub since: DateTime<Utc>,
    /// When the platform is asked next; not there when it is parked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<DateTime<Utc>>,
    /// When it was parked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parked: Option<DateTime<Utc>>,
}

impl From<Expectation> for Shown {
    fn from(expectation: Expectation) -> Self {
        let Expectation { owner, id, since, due, parked, handed_on: _ } = expectation;
        Self {
            id,
            namespace: owner.namespace.to_string(),
            receiver: owner.name.to_string(),
            state: if parked { ShownState::Parked } else { ShownState::Pending },
            since,
            due: (!parked).then_some(due),
            parked: parked.then_some(due),
        }
    }
}

/// Some expectations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Receiver by receiver, those first that are due first.
    pub expectations: Vec<Shown>,
    /// Whether there are more than an answer holds.
    pub more: bool,
}

/// How many of a receiver are asked for again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revived {
    /// Namespace of the receiver.
    pub namespace: String,
    /// Name of the receiver.
    pub receiver: String,
    /// So many.
    pub count: u64,
}

/// Which expectations are meant.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    namespace: Option<String>,
    receiver: Option<String>,
    state: Option<ShownState>,
}

impl From<Wanted> for Selection {
    fn from(wanted: Wanted) -> Self {
        Self {
            namespace: wanted.namespace,
            receiver: wanted.receiver,
            state: wanted.state.map(RowState::from),
        }
    }
}

/// What the answers are made of.
#[derive(Clone)]
struct Parts {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    revived: ToldOfReceiver,
}

/// The routes; `revived` is told the uid of each receiver for which the platform is asked again.
pub fn routes(
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    revived: impl Fn(&Arc<str>) + Send + Sync + 'static,
) -> Router {
    Router::new()
        .route("/expectations", get(list))
        .route("/expectations/revive", post(revive))
        .with_state(Parts { store, clock, revived: Arc::new(revived) })
}

async fn list(State(parts): State<Parts>, Query(wanted): Query<Wanted>) -> Result<Response, Problem> {
    let mut found = parts.store.expectations(&wanted.into(), MOST_SHOWN + 1).await?;
    let more = found.len() > MOST_SHOWN;
    found.truncate(MOST_SHOWN);
    let expectations = found.into_iter().map(Shown::from).collect();
    Ok(Json(Page { expectations, more }).into_response())
}

/// The parked ones begin again, as far as there is room for open ones.
async fn revive(State(parts): State<Parts>, Query(wanted): Query<Wanted>) -> Result<Response, Problem> {
    let selection = Selection::from(wanted);
    let mut revived = Vec::new();
    for usage in parts.store.usage().await? {
        if usage.expected_parked == 0 || !selection.means(&usage.owner) {
            continue;
        }
        let Owner { namespace, name, uid } = &usage.owner;
        let count = parts.store.revive_expectations(uid, parts.clock.now(), MOST_OPEN).await?;
        (parts.revived)(uid);
        revived.push(Revived { namespace: namespace.to_string(), receiver: name.to_string(), count });
    }
    Ok(Json(revived).into_response())
}
