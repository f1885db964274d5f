//! Whether calls pause, and what pause those who wait can bear.

use std::time::Duration;

use crate::api::SubscriptionStatus;
use crate::engine::ids::SubscriptionId;
use crate::engine::queue::breaker::Breaker;
use crate::engine::state::State;
use crate::engine::state::provider::Provider;
use crate::engine::state::terms::lead_of;
use crate::engine::turn::Turn;
use crate::rotation::backoff;
use crate::rotation::facts::HeldBack;
use crate::rotation::time::{Moment, between};
use crate::shares::NamespaceId;

pub(crate) fn held_back(state: &State, provider: &Provider, now: Moment) -> Option<HeldBack> {
    let origin = provider.origin().and_then(|origin| state.origins.get(origin));
    let of_origin = origin.and_then(|origin| origin.pause(provider.namespace, now.wall));
    of_origin.into_iter().chain(provider.hold.pending(now.wall)).max_by_key(|held| held.until)
}

/// Whether calls for a subscription pause.
pub(crate) fn is_held_back(state: &State, id: SubscriptionId, now: Moment) -> bool {
    let provider = state.entry(id).and_then(|entry| state.provider(entry.provider));
    provider.is_some_and(|provider| held_back(state, provider, now).is_some())
}

pub(crate) fn breaker_of<'a>(state: &'a State, provider: &Provider) -> Option<&'a Breaker> {
    let origin = state.origins.get(provider.origin()?)?;
    origin.tenant(provider.namespace).map(|tenant| &tenant.breaker)
}

/// How long an update waits for its answer, where a lost one would cost the token's life.
pub(crate) fn patience_of(
    state: &State,
    id: SubscriptionId,
    status: &SubscriptionStatus,
    now: Moment,
) -> Option<Duration> {
    let provider = state.provider(state.entry(id)?.provider)?;
    breaker_of(state, provider)?.patience(between(now.wall, status.token_expiration_time?))
}

/// The longest pause that a namespace's work that waits at an origin can bear; `failed` has just
/// failed there.
pub(crate) fn bearable_pause(
    state: &State,
    origin: &str,
    namespace: NamespaceId,
    failed: Option<SubscriptionId>,
    now: Moment,
) -> Duration {
    let of_failed = failed.and_then(|id| bearable_for(state, id, now));
    let tenant = state.origins.get(origin).and_then(|origin| origin.tenant(namespace));
    let waiting = tenant.and_then(|tenant| tenant.ready.next_deadline(now.wall));
    let of_waiting = waiting.map(|rest| backoff::bearable_pause(rest, None));
    of_failed.into_iter().chain(of_waiting).min().unwrap_or(Duration::MAX)
}

/// The longest pause that one subscription can bear.
fn bearable_for(state: &State, id: SubscriptionId, now: Moment) -> Option<Duration> {
    let object = state.entry(id)?.object()?;
    let rest = between(now.wall, object.status.token_expiration_time?);
    Some(backoff::bearable_pause(rest, lead_of(state, id, &object).map(|(lead, _)| lead)))
}

/// A pause in which nothing arrives was measured by those who waited then: one that is due now
/// and can bear less makes it shorter. Returns whether there is such a pause.
pub(crate) fn hasten(turn: &mut Turn<'_>, id: SubscriptionId) -> bool {
    let now = turn.now;
    let provider = turn.state.entry(id).and_then(|entry| turn.state.provider(entry.provider));
    let Some((origin, namespace)) =
        provider.and_then(|provider| Some((provider.origin()?.to_owned(), provider.namespace)))
    else {
        return false;
    };
    let tenant = turn.state.origins.get(&origin).and_then(|origin| origin.tenant(namespace));
    if tenant.is_none_or(|tenant| tenant.breaker.pending(now.wall).is_none()) {
        return false;
    }
    let Some(cap) = bearable_for(turn.state, id, now) else {
        return false;
    };
    let tenant = turn.state.origins.get_mut(&origin).and_then(|origin| origin.tenant_mut(namespace));
    if let Some(tenant) = tenant {
        tenant.breaker.hasten(cap);
    }
    true
}
