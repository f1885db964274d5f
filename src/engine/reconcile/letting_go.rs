//! Letting go of a deleted subscription, or giving its webhook to the one that waits for it.

use std::time::Duration;

use crate::api::{Kind, Reason};
use crate::engine::dispatch::agenda::{file, leave_line, reconcile_soon};
use crate::engine::dispatch::places::begin;
use crate::engine::ids::SubscriptionId;
use crate::engine::ports::RecordFailure;
use crate::engine::sent::Then;
use crate::engine::state::subscription::{Entry, Object};
use crate::engine::subscriptions::decision::{Shown, document_of, presented};
use crate::engine::subscriptions::letting_go::let_go;
use crate::engine::subscriptions::persist::record;
use crate::engine::subscriptions::rest::remove_subscription;
use crate::engine::turn::Turn;
use crate::rotation::step::WaitReason;
use crate::rotation::{backoff, status};

/// The longest pause between two attempts to let a deleted object go.
const LONGEST_RELEASE_PAUSE: Duration = Duration::from_secs(300);

pub(crate) fn release(turn: &mut Turn<'_>, id: SubscriptionId, object: &Object, orphaned: Option<String>) {
    if let Some(why) = orphaned {
        let remote = object.status.webhook_id.as_deref().unwrap_or("of an open create");
        let note = format!("webhook {remote} stays at the provider although the policy is Delete: {why}");
        turn.emit(Kind::WebhookSubscription, &object.identity.key, true, Reason::RemoteOrphaned, note);
    }
    begin(turn.state, id);
    let_go(turn, id, object);
}

/// Gives the remote to the object that waits for it, and lets this one go when that is durable.
pub(crate) fn hand_over(turn: &mut Turn<'_>, id: SubscriptionId, object: &Object) {
    let now = turn.now;
    let Some((heir_id, heir_key)) = turn.state.heir(id) else {
        return reconcile_soon(turn, id);
    };
    let Some(heir) = turn.state.entry(heir_id).filter(|heir| !heir.is_busy()).and_then(Entry::object) else {
        return file(turn, id, Some(now.wall + chrono::TimeDelta::seconds(1)));
    };
    tracing::info!(from = %object.identity.key, to = %heir_key, "the webhook is handed over");
    leave_line(turn, heir_id);
    let fields = status::handed_over(&heir.status, &object.status);
    let wanted = document_of(turn.state, heir_id, &heir);
    let shown = Shown::as_it(&WaitReason::Settled);
    let status = presented(turn.state, heir_id, &heir, &wanted, &fields, &shown, now);
    let minted_boot = turn.state.entry(id).and_then(|entry| entry.minted_boot);
    if let Some(heir) = turn.state.entry_mut(heir_id) {
        heir.minted_boot = minted_boot;
    }
    begin(turn.state, id);
    record(turn, heir_id, status, Then::Release(id));
}

pub(crate) fn released(turn: &mut Turn<'_>, id: SubscriptionId, result: Result<(), RecordFailure>) {
    let now = turn.now;
    match result {
        Ok(()) | Err(RecordFailure::Gone) => {
            let successor = turn.state.entry_mut(id).and_then(|entry| entry.successor.take());
            // Whoever waited for this one's remote is looked at again: see `State::freed`.
            remove_subscription(turn, id);
            if let Some(successor) = successor {
                turn.successors.push_back(*successor);
            }
        }
        Err(failure) => {
            let random = turn.around.random.bits();
            let Some(entry) = turn.state.entry_mut(id) else {
                return;
            };
            entry.busy = false;
            let mut failed = 0;
            entry.remember(|memory| {
                failed = memory.unreleased;
                memory.unreleased = failed.saturating_add(1);
            });
            tracing::warn!(
                subscription = %entry.key,
                %failure,
                "a deleted object could not be let go; it is tried again"
            );
            let wait = backoff::delay(failed.saturating_add(2), LONGEST_RELEASE_PAUSE, random);
            file(turn, id, Some(crate::rotation::time::add(now.wall, wait)));
        }
    }
}
