//! What is done again and again beside the deliveries: statuses, old keys, what is shown of the store.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

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
/// So much sooner when receivers have changed, so that no status says for long what is no longer so.
const AFTER_A_CHANGE: Duration = Duration::from_millis(500);
/// So long a receiver whose object is gone is remembered at least: a file that was taken away by mistake
/// comes back, and platforms that send seldom send to it meanwhile.
const REMEMBERED: TimeDelta = TimeDelta::days(7);
/// So many of them are remembered together; beyond that those that went first are forgotten sooner.
const MOST_GONE: usize = 1_000;

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
        let mut changes = self.registry.changes();
        loop {
            changes.mark_unchanged();
            self.round(&mut written).await;
            // A change that comes while one is waited for is seen by the next round, too.
            let changed = async {
                tokio::select! {
                    _ = changes.changed() => {}
                    () = self.board.changed() => {}
                }
            };
            let _ = timeout(EVERY - AFTER_A_CHANGE, changed).await;
            sleep(AFTER_A_CHANGE).await;
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
        if let Some(usage) = &usage {
            self.forget(usage, now).await;
        }
        let views = self.registry.views().await;
        if let Some(usage) = &usage {
            self.gauges.show(usage, &views);
        }
        let is_there = |uid: &str| views.iter().any(|view| view.identity.uid == uid);
        self.board.retain(is_there);
        self.evidence.retain(is_there);
        written.retain(|key, _| views.iter().any(|view| view.identity.key == *key));
        for view in &views {
            let (key, uid) = (&view.identity.key, view.identity.uid.as_str());
            let is_first = !written.contains_key(key);
            let before = written.get(key).unwrap_or(&view.recorded).clone();
            self.board.resume(view);
            let of_receiver = usage.iter().flatten().find(|usage| *usage.owner.uid == *uid);
            let mut status = status(&before, view, &self.board.of(uid), of_receiver, now);
            status.tokens = self.evidence.tokens(uid, &self.gate);
            let is_written = !is_first || self.statuses.recorded_is_ours();
            if is_written && status == before {
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

impl Housekeeping {
    /// Forgets receivers that are gone for good.
    async fn forget(&self, usage: &[Usage], now: DateTime<Utc>) {
        let views = self.registry.views().await;
        for view in gone_for_good(&views, usage, now) {
            let (key, uid) = (&view.identity.key, &view.identity.uid);
            // What is remembered goes first: otherwise it would be there again after a restart.
            match self.statuses.forget(key, uid).await {
                Ok(()) => {
                    info!(receiver = %key, "its manifest has been gone for long, and nothing of it is left: it is forgotten");
                    self.registry.forget(key, uid).await;
                }
                Err(error) => warn!(receiver = %key, "it cannot be forgotten: {error}"),
            }
        }
    }
}

/// Receivers whose objects have been gone for long enough, and of which nothing is in the store: neither
/// deliveries nor keys that a repeated one would be known by, nor anything that an application waits for.
fn gone_for_good<'a>(views: &'a [View], usage: &[Usage], now: DateTime<Utc>) -> Vec<&'a View> {
    let mut gone: Vec<(DateTime<Utc>, &View)> =
        views.iter().filter_map(|view| Some((view.gone_since?, view))).collect();
    gone.sort_by_key(|(since, _)| *since);
    let too_many = gone.len().saturating_sub(MOST_GONE);
    let has_nothing = |view: &View| usage.iter().all(|usage| *usage.owner.uid != *view.identity.uid);
    gone.iter()
        .enumerate()
        .filter(|(number, (since, _))| *number < too_many || now - *since >= REMEMBERED)
        .map(|(_, (_, view))| *view)
        .filter(|view| has_nothing(view))
        .collect()
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
            info!(
                receiver = %key,
                condition = ?condition.kind,
                status = ?condition.status,
                reason = %condition.reason,
                "{}", condition.message
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Identity;
    use crate::store::{Extent, Owner};

    fn at(days: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::days(days)
    }

    fn view(name: &str, gone_since: Option<DateTime<Utc>>) -> View {
        let named = Identity::of_name(ObjectKey::new("hr", name));
        View {
            identity: Identity { uid: format!("uid-{name}"), ..named },
            receiver: None,
            problems: Vec::new(),
            conflict: None,
            clear_bodies: false,
            unusable: Vec::new(),
            none_usable: false,
            gone_since,
            url: None,
            recorded: WebhookReceiverStatus::default(),
        }
    }

    fn names(views: &[View], usage: &[Usage], now: DateTime<Utc>) -> Vec<String> {
        let gone = gone_for_good(views, usage, now);
        gone.iter().map(|view| view.identity.key.name.to_string()).collect()
    }

    #[test]
    fn a_receiver_is_forgotten_when_it_has_been_gone_for_long_and_nothing_of_it_is_left() {
        let views = [view("there", None), view("gone", Some(at(1))), view("full", Some(at(1)))];
        // An account without deliveries has keys, or expectations.
        let usage = Usage {
            owner: Owner { namespace: "hr".into(), name: "full".into(), uid: "uid-full".into() },
            pending: Extent::default(),
            parked: Extent::default(),
            oldest_pending: None,
            window_shortened_until: None,
            expected: 0,
            expected_parked: 0,
        };
        let almost = at(8) - TimeDelta::seconds(1);
        assert_eq!(names(&views, std::slice::from_ref(&usage), almost), Vec::<String>::new());
        assert_eq!(names(&views, &[usage], at(8)), ["gone"]);
        assert_eq!(names(&views, &[], at(8)), ["gone", "full"]);
    }

    #[test]
    fn of_too_many_those_that_went_first_are_forgotten_sooner() {
        let day = |number: usize| at(1) + TimeDelta::seconds(i64::try_from(number).unwrap());
        let mut views: Vec<View> =
            (0..MOST_GONE + 2).map(|number| view(&number.to_string(), Some(day(number)))).collect();
        views.reverse();
        assert_eq!(names(&views, &[], at(2)), ["0", "1"]);
        views.truncate(MOST_GONE);
        assert_eq!(names(&views, &[], at(2)), Vec::<String>::new());
    }
}
