//! A request has ended: its places are given back, and the breaker of its origin learns of it.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::calls::news::OriginNews;
use crate::engine::class::class_of;
use crate::engine::dispatch::pauses::bearable_pause;
use crate::engine::dispatch::places::give_back;
use crate::engine::effect::Count;
use crate::engine::ids::SubscriptionId;
use crate::engine::ports::{Applied, CallFailure};
use crate::engine::providers::filing::wake_blocked;
use crate::engine::providers::status::record_held_providers;
use crate::engine::queue::breaker::Failed;
use crate::engine::queue::call_place::CallPlace;
use crate::engine::state::State;
use crate::engine::state::subscription::Entry;
use crate::engine::turn::Turn;
use crate::rotation::answers::Operation;
use crate::rotation::time::Moment;

/// A call for a subscription has ended: its places are given back, and its origin learns how it took it.
pub(crate) fn end_call(turn: &mut Turn<'_>, id: SubscriptionId, news: Option<OriginNews>) {
    let Some(entry) = turn.state.entry_mut(id) else {
        return;
    };
    let Some(place) = entry.calling.take() else {
        return;
    };
    let provider = entry.provider;
    turn.state.free_claimants(id, false);
    request_ended(turn, *place, Some(id), news.unwrap_or(OriginNews::Unknown));
    wake_blocked(turn, provider);
}

/// A request has ended: its places are given back, and the namespace's breaker at the origin opens or
/// closes.
pub(crate) fn request_ended(
    turn: &mut Turn<'_>,
    place: CallPlace,
    of: Option<SubscriptionId>,
    news: OriginNews,
) {
    let now = turn.now;
    let (origin, namespace) = (Arc::clone(&place.origin), place.namespace);
    let kept_failing = of.and_then(|id| turn.state.entry(id)).is_some_and(Entry::keeps_failing);
    let (mut cap, mut users) = (Duration::ZERO, 0);
    if news == OriginNews::Fails {
        cap = bearable_pause(turn.state, &origin, namespace, of, now);
        let providers = turn.state.tenants_providers(&origin, namespace).into_iter();
        users = providers.filter_map(|id| turn.state.provider(id)).map(|it| it.users.len()).sum();
    }
    give_back(turn.state, place);
    let State { origins, namespaces, .. } = &mut *turn.state;
    let Some(tenant) = origins.get_mut(&*origin).and_then(|state| state.tenant_mut(namespace)) else {
        return;
    };
    let breaker = &mut tenant.breaker;
    let changed = match news {
        OriginNews::Answers => {
            let ended = breaker.answered();
            if ended {
                let namespace = namespaces.name(namespace);
                tracing::info!(%origin, namespace, "the origin answers again");
            }
            ended
        }
        OriginNews::Fails => {
            let failed = Failed { of, kept_failing };
            let was_shown = breaker.shown(now.wall).is_some();
            let paused = breaker.failed(now.wall, &failed, cap, users);
            let shown = paused && breaker.shown(now.wall).is_some();
            if shown && !was_shown {
                let namespace = namespaces.name(namespace);
                tracing::warn!(
                    %origin,
                    namespace,
                    "nothing arrives at the origin; the namespace's calls to it pause"
                );
            }
            shown
        }
        OriginNews::Pauses | OriginNews::Unknown => false,
    };
    if changed {
        record_held_providers(turn, &origin, namespace);
    }
}

/// How long a call took tells how long the next one's answer is waited for.
pub(crate) fn took(
    turn: &mut Turn<'_>,
    id: SubscriptionId,
    result: &Result<Applied, CallFailure>,
    started: Moment,
) {
    let answered = match result {
        Ok(_) => true,
        Err(CallFailure::Unanswered { .. }) => false,
        Err(_) => return,
    };
    let State { subscriptions, origins, .. } = &mut *turn.state;
    let Some(place) = subscriptions.get(id).and_then(|entry| entry.calling.as_ref()) else {
        return;
    };
    if let Some(tenant) =
        origins.get_mut(&*place.origin).and_then(|origin| origin.tenant_mut(place.namespace))
    {
        tenant.breaker.took(turn.now.boot.saturating_sub(started.boot), answered);
    }
}

/// Counts a request to a provider that has ended.
pub(crate) fn count_request<T>(
    turn: &mut Turn<'_>,
    operation: Operation,
    result: &Result<T, CallFailure>,
    started: Moment,
) {
    let took = turn.now.boot.saturating_sub(started.boot);
    turn.count(Count::ProviderRequest { operation: operation.as_str(), class: class_of(result), took });
}
