//! What is done again and again beside the deliveries: statuses, old keys, what is shown of the store.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, warn};

use super::board::Board;
use super::clock::Clock;
use super::evidence::Evidence;
use super::fallback::PARKED_FOR;
use super::ports::Statuses;
use super::registry::{Registry, View};
use super::status::status;
use crate::api::{ConditionStatus, ConditionType, ObjectKey, WebhookReceiverStatus};
use crate::store::{Store, Usage};

/// How often it is done.
const EVERY: Duration = Duration::from_secs(5);

/// Shows what is in the store.
pub trait Gauges: Send + Sync {
    /// What each receiver has in the store, and how many bytes of memory bodies take.
    fn show(&self, usage: &[Usage], views: &[View]);
}

/// Does it.
pub struct Housekeeping {
    /// The receivers.
    pub registry: Registry,
    /// Where deliveries are kept.
    pub store: Arc<dyn Store>,
    /// What has happened.
    pub board: Arc<Board>,
    /// Which tokens came in.
    pub evidence: Arc<Evidence>,
    /// The name of this gate in statuses.
    pub gate: String,
    /// Where statuses are kept.
    pub statuses: Arc<dyn Statuses>,
    /// What shows the state of the store.
    pub gauges: Arc<dyn Gauges>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Housekeeping {
    /// Does it again and again.
    pub async fn run(self) -> Infallible {
        let mut written = BTreeMap::new();
        loop {
            self.round(&mut written).await;
            tokio::time::sleep(EVERY).await;
        }
    }

    async fn round(&self, written: &mut BTreeMap<ObjectKey, WebhookReceiverStatus>) {
        let now = self.clock.now();
        if let Err(error) = self.store.forget_expired(now).await {
            debug!("old keys stay for now: {error}");
        }
        if let Err(error) = self.store.forget_expectations(now - PARKED_FOR).await {
            debug!("old expectations stay for now: {error}");
        }
        let usage = match self.store.usage().await {
            Ok(usage) => Some(usage),
            Err(error) => {
                self.registry.store_failed(&error);
                None
            }
        };
        let views = self.registry.views().await;
        if let Some(usage) = &usage {
            self.gauges.show(usage, &views);
        }
        let is_there = |uid: &str| views.iter().any(|view| view.identity.uid == uid);
        self.board.retain(is_there);
        written.retain(|key, _| views.iter().any(|view| view.identity.key == *key));
        for view in &views {
            let (key, uid) = (&view.identity.key, view.identity.uid.as_str());
            let before = written.get(key).unwrap_or(&view.recorded).clone();
            self.board.resume(view);
            let of_receiver = usage.iter().flatten().find(|usage| *usage.owner.uid == *uid);
            let mut status = status(&before, view, &self.board.of(uid), of_receiver, now);
            status.tokens = self.evidence.tokens(uid, &self.gate);
            if status == before {
                continue;
            }
            match self.statuses.write(key, uid, &status).await {
                Ok(()) => {
                    tell(key, &before, &status);
                    written.insert(key.clone(), status);
                }
                Err(error) => warn!(receiver = %key, "its status cannot be written: {error}"),
            }
        }
    }
}

/// Says what has changed, where there is nobody who reads statuses.
fn tell(key: &ObjectKey, before: &WebhookReceiverStatus, after: &WebhookReceiverStatus) {
    for condition in &after.conditions {
        let old = before.conditions.iter().find(|old| old.kind == condition.kind);
        let is_new = old.is_none_or(|old| old.status != condition.status || old.reason != condition.reason);
        let is_well = (condition.status == ConditionStatus::True)
            == matches!(
                condition.kind,
                ConditionType::Ready | ConditionType::HandingOn | ConditionType::Asking
            );
        if is_new && !is_well {
            warn!(
                receiver = %key,
                condition = ?condition.kind,
                status = ?condition.status,
                reason = %condition.reason,
                "{}", condition.message
            );
        } else if is_new {
            tracing::info!(
                receiver = %key,
                condition = ?condition.kind,
                status = ?condition.status,
                reason = %condition.reason,
                "{}", condition.message
            );
        }
    }
}
