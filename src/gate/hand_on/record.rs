//! Making durable what became of a delivery.

use chrono::{DateTime, Utc};
use tokio::sync::watch;

use crate::gate::guarded::{Health, make_durable};
use crate::store::{Claim, DeliveryId, LastFailure, Store, StoreError};

/// What is to be made durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// The application has taken it.
    Done,
    /// It is tried again.
    Retry {
        /// When.
        due: DateTime<Utc>,
        /// Whether the application answered.
        refused: bool,
        /// Why.
        failure: LastFailure,
    },
    /// It waits for a person.
    Park(LastFailure),
    /// Nothing was tried.
    GiveBack,
}

/// Makes it durable; `not_yet` is told of the first failure.
///
/// # Errors
/// As [`make_durable`] has them.
pub(super) async fn record(
    store: &dyn Store,
    (id, claim): (DeliveryId, Claim),
    record: &Record,
    health: &Health,
    stopping: &watch::Receiver<bool>,
    not_yet: impl Fn(&StoreError),
) -> Result<(), StoreError> {
    let write = || match record {
        Record::Done => store.done(id),
        Record::Retry { due, refused, failure } => store.retry(id, claim, *due, *refused, failure.clone()),
        Record::Park(failure) => store.park(id, claim, failure.clone()),
        Record::GiveBack => store.give_back(id, claim),
    };
    make_durable(write, health, stopping, not_yet).await
}
