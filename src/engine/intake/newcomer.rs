//! A subscription that was not known, with what is recorded of it; and the source that it uses.

use std::sync::Arc;

use crate::api::{
    ConditionStatus, ConditionType, ObjectKey, Reason, SubscriptionStatus, WebhookSubscriptionSpec,
};
use crate::engine::dispatch::agenda::reconcile_soon;
use crate::engine::ids::SubscriptionId;
use crate::engine::sources::begin::begin_source;
use crate::engine::state::State;
use crate::engine::state::source::SourceKey;
use crate::engine::state::subscription::{Entry, Object};
use crate::engine::subscriptions::decision::is_of_mint;
use crate::engine::turn::Turn;
use crate::rotation::observed::Observed;
use crate::rotation::time::{Moment, between};
use crate::rotation::wait::Wait;
use crate::rotation::{backoff, status};

pub(crate) fn add_subscription(turn: &mut Turn<'_>, mut object: Object) {
    let now = turn.now;
    let (namespace, name) = turn.state.namespaces.enter(&object.identity.key.namespace);
    let key = ObjectKey { namespace: name, name: Arc::clone(&object.identity.key.name) };
    let provider_name = object.spec.as_ref().map_or("", |spec| spec.provider_ref.name.as_str());
    let provider = turn.state.provider_for(&key.sibling(provider_name), now.boot);
    let is_new = object.status.observed_generation.is_none_or(|seen| seen < 0);
    if let Some(request) = object.identity.rotate_requested.as_deref().filter(|_| is_new) {
        object.status = status::request_noted(&object.status, request);
    }
    let mut entry = Entry::new(&object, key.clone(), provider, namespace);
    // A mint before this process began: its boot time follows from the wall clock of now.
    entry.minted_boot = object
        .status
        .token_minted_time
        .filter(|minted| *minted <= now.wall)
        .map(|minted| now.boot.saturating_sub(between(minted, now.wall)));
    let request = object.identity.rotate_requested.clone();
    let (status, has_id) = (&object.status, object.status.webhook_id.is_some());
    let is_received = object.spec.as_ref().is_some_and(|spec| spec.receiver_ref.is_some());
    let is_deleted = object.identity.deleted.is_some();
    entry.remember(|memory| {
        memory.listing_after = (!has_id).then_some(now.wall);
        memory.deletion_seen = is_deleted.then_some(now.wall);
        if is_received {
            memory.observed = Observed::resumed(status, now.wall);
        }
        note_request(&mut memory.request_seen, request, now);
        if let Some(failures) = status.failures.as_ref().filter(|of| !is_of_mint(of)) {
            let cap = backoff::LONGEST_LONG_WAIT;
            memory.failures = u32::try_from(failures.count).unwrap_or(0);
            memory.failing = Some((failures.reason, health_message(status)));
            memory.wait =
                Wait::recorded(now.wall, failures.next_attempt_time, cap).zip(failures.inputs.clone());
        }
    });
    let id = turn.state.subscriptions.insert(entry);
    turn.state.by_key.insert(key, id);
    if let Some(provider) = turn.state.provider_mut(provider) {
        provider.users.insert(id);
    }
    place_in_source(turn, id, &object);
    restore_mint_failure(turn, id, &object);
    turn.state.index(id, &object);
    reconcile_soon(turn, id);
}

/// A mint's back-off is recorded in the members: it does not start from nothing.
fn restore_mint_failure(turn: &mut Turn<'_>, id: SubscriptionId, object: &Object) {
    let now = turn.now;
    let Some(failures) = object.status.failures.as_ref().filter(|of| is_of_mint(of)) else {
        return;
    };
    let source = turn.state.entry(id).and_then(|entry| entry.source);
    if let Some(source) = source.and_then(|source| turn.state.source_mut(source))
        && source.state.wait.is_none()
    {
        let until = failures.next_attempt_time;
        let cap = match failures.reason {
            Reason::RateLimited => backoff::LONGEST_RETRY_AFTER,
            Reason::LifetimeUnknown => backoff::LONGEST_LONG_WAIT,
            _ => backoff::LONGEST_WAIT,
        };
        if failures.reason == Reason::RateLimited {
            source.hold.restore(now.wall, until, failures.reason);
        }
        source.state.wait = Wait::recorded(now.wall, until, cap);
        source.state.failing = Some((failures.reason, health_message(&object.status)));
        source.failures = u32::try_from(failures.count).unwrap_or(0);
    }
}

/// Moves a subscription to the source its spec names.
pub(crate) fn place_in_source(turn: &mut Turn<'_>, id: SubscriptionId, object: &Object) {
    let Some(entry) = turn.state.entry(id) else {
        return;
    };
    let key = entry.key.clone();
    let wanted = object.spec.as_ref().and_then(|spec| State::source_key(&key, spec));
    let wanted_id = wanted.as_ref().map(|wanted| turn.state.source_for(wanted));
    let before = turn.state.entry(id).and_then(|entry| entry.source);
    if before == wanted_id {
        return;
    }
    let provider = turn.state.entry(id).map(|entry| entry.provider);
    turn.state.unindex(id);
    if let Some(provider) = provider.and_then(|provider| turn.state.provider_mut(provider)) {
        provider.users.insert(id);
    }
    if let Some(entry) = turn.state.entry_mut(id) {
        entry.source = wanted_id;
        if before.is_some() && object.status.token_fingerprint.is_some() {
            entry.remember(|memory| memory.strangers_token = true);
        }
    }
    if let Some(source_id) = wanted_id {
        let inline = object.spec.as_ref().and_then(WebhookSubscriptionSpec::inline_source);
        let mut is_new = false;
        if let Some(source) = turn.state.source_mut(source_id) {
            source.users.insert(id);
            if let (SourceKey::Inline { .. }, None, Some(inline)) = (&source.key, &source.spec, inline) {
                source.set_spec(inline);
                is_new = true;
            }
        }
        if is_new && turn.state.synced {
            begin_source(turn, source_id);
        }
    }
    if let Some(before) = before {
        turn.state.leave_unused_source(before, turn.now);
    }
}

pub(crate) fn note_request(
    seen: &mut Option<(String, chrono::DateTime<chrono::Utc>)>,
    request: Option<String>,
    now: Moment,
) {
    match request {
        Some(request) if seen.as_ref().is_none_or(|(known, _)| *known != request) => {
            *seen = Some((request, now.wall))
        }
        Some(_) => {}
        None => *seen = None,
    }
}

fn health_message(status: &SubscriptionStatus) -> String {
    status
        .conditions
        .iter()
        .find(|condition| {
            condition.kind == ConditionType::RotationHealthy && condition.status == ConditionStatus::False
        })
        .map_or_else(
            || "an attempt failed before this process began".to_owned(),
            |condition| condition.message.clone(),
        )
}
