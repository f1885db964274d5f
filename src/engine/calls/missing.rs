//! What follows when a webhook is not found.

use std::time::Duration;

use crate::api::{Kind, Reason};
use crate::engine::calls::failure::fail;
use crate::engine::ids::SubscriptionId;
use crate::engine::ports::CallFailure;
use crate::engine::providers::filing::verify_soon;
use crate::engine::sent::Then;
use crate::engine::state::State;
use crate::engine::state::subscription::Object;
use crate::engine::subscriptions::decision::{Shown, document_of, presented};
use crate::engine::subscriptions::persist::{put_status, record};
use crate::engine::turn::Turn;
use crate::rotation::answers::{Operation, judge_listed_but_not_found};
use crate::rotation::status;
use crate::rotation::step::WaitReason;
use crate::rotation::wait::Wait;

pub(crate) fn gone_missing(turn: &mut Turn<'_>, id: SubscriptionId, object: &Object) {
    let now = turn.now;
    if let Some(entry) = turn.state.entry_mut(id) {
        entry.remember(|memory| {
            memory.absent = false;
            memory.drift = None;
            memory.resend = None;
            memory.wait = None;
            let failing = memory.failing.take();
            memory.listed_not_found = false;
            // One that was listed and not found is perhaps found to be so again.
            if failing.is_none_or(|(reason, _)| reason != Reason::ProviderRefusedDocument) {
                memory.failures = 0;
            }
        });
    }
    let note = "the provider says that there is no such webhook (404)".to_owned();
    turn.emit(Kind::WebhookSubscription, &object.identity.key, true, Reason::RemoteMissing, note);
    let given = object.spec.as_ref().and_then(|spec| spec.webhook_id.as_ref());
    let not_there = given.filter(|given| object.status.webhook_id.as_ref() != Some(given));
    let fields = match not_there {
        // It was never this object's: a claim to it would only keep others from it.
        Some(_) => object.status.clone(),
        None => status::missing(&object.status, now.wall),
    };
    if let Some(entry) = turn.state.entry_mut(id).filter(|_| not_there.is_some()) {
        entry.remember(|memory| memory.not_there = not_there.cloned());
    }
    let reason = WaitReason::Settling("the webhook is being looked for".to_owned());
    let seen = document_of(turn.state, id, object);
    let status = presented(turn.state, id, object, &seen, &fields, &Shown::as_it(&reason), now);
    record(turn, id, status, Then::Reconcile);
    verify_soon(turn, id);
}

/// Whether a complete listing has shown the remote since an update did not find it.
pub(crate) fn is_shown_nevertheless(state: &State, id: SubscriptionId, object: &Object) -> bool {
    let Some(entry) = state.entry(id) else {
        return false;
    };
    let memory = entry.memory();
    if memory.listed_not_found && !memory.absent {
        return true;
    }
    let listing = state.provider(entry.provider).and_then(|provider| provider.listing.as_ref());
    listing
        .zip(object.status.missing_since)
        .zip(object.status.webhook_id.as_ref())
        .is_some_and(|((listing, since), remote)| listing.begun >= since && listing.remotes.contains(remote))
}

/// The remote is there, and an update says that it is not: nothing has gone missing, and another
/// attempt at once would be answered in the same way. Another listing tells whether that changes.
pub(crate) fn listed_but_not_found(
    turn: &mut Turn<'_>,
    id: SubscriptionId,
    object: &Object,
    failure: &CallFailure,
) {
    let now = turn.now;
    if object.status.missing_since.is_some() {
        put_status(turn, id, &status::found(&object.status));
    }
    if let Some(entry) = turn.state.entry_mut(id) {
        entry.remember(|memory| {
            memory.listed_not_found = true;
            memory.absent = false;
        });
        if object.status.missing_since.is_some() {
            entry.unrecorded = Some((Wait::starting(now.wall, Duration::ZERO), 0));
        }
    }
    fail(turn, id, &judge_listed_but_not_found(failure), Operation::Update);
    verify_soon(turn, id);
}
