//! Who is looked at next: soon, in turn by namespace, or when its time has come.

use crate::engine::ids::{ProviderId, SourceId, SubscriptionId};
use crate::engine::queue::timers::Alarm;
use crate::engine::state::State;
use crate::engine::state::subscription::Object;
use crate::engine::turn::Turn;
use crate::rotation::time::{add, between};

/// These are looked at soon. Namespaces take turns.
pub(crate) fn reconcile_each(turn: &mut Turn<'_>, ids: impl IntoIterator<Item = SubscriptionId>) {
    for id in ids {
        if let Some(entry) = turn.state.entry(id) {
            let namespace = entry.namespace;
            let arrival = turn.state.waiting.arrive();
            turn.state.waiting.reconciles.put(namespace, arrival, id);
        }
    }
}

pub(crate) fn reconcile_soon(turn: &mut Turn<'_>, id: SubscriptionId) {
    reconcile_each(turn, [id]);
}

pub(crate) fn reconcile_all(turn: &mut Turn<'_>) {
    reconcile_each(turn, turn.state.subscriptions.ids());
}

pub(crate) fn reconcile_users_of_source(turn: &mut Turn<'_>, id: SourceId) {
    if let Some(source) = turn.state.source(id) {
        let users = source.users.clone();
        reconcile_each(turn, users);
    }
}

pub(crate) fn reconcile_users_of_provider(turn: &mut Turn<'_>, id: ProviderId) {
    if let Some(provider) = turn.state.provider(id) {
        let users = provider.users.clone();
        reconcile_each(turn, users);
    }
}

/// The members that asked are looked at; a polled source may have lived on for everybody.
pub(crate) fn reconcile_waiting_or_users(turn: &mut Turn<'_>, id: SourceId, everybody: bool) {
    let Some(source) = turn.state.source_mut(id) else {
        return;
    };
    let waiting = std::mem::take(&mut source.waiting);
    if !everybody {
        reconcile_each(turn, waiting);
    } else if !waiting.is_empty() {
        reconcile_users_of_source(turn, id);
    }
}

/// Files a subscription under the time of its next look, which is no later than that of the next
/// attempt to write down what could not be written.
pub(crate) fn file(turn: &mut Turn<'_>, id: SubscriptionId, until: Option<chrono::DateTime<chrono::Utc>>) {
    let now = turn.now;
    let Some(entry) = turn.state.subscriptions.get_mut(id) else {
        return;
    };
    let unrecorded = entry.unrecorded.map(|(wait, _)| wait.until);
    match until.into_iter().chain(unrecorded).min() {
        Some(until) => {
            let at = now.boot + between(now.wall, until);
            turn.state.timers.file(&mut entry.timer, at, Alarm::Subscription(id));
        }
        None => turn.state.timers.unfile(&mut entry.timer, Alarm::Subscription(id)),
    }
}

/// Whatever is waited for, a token's end is shown at once, and the end of the grace of a deletion
/// changes what is done.
pub(crate) fn file_expiry(turn: &mut Turn<'_>, id: SubscriptionId, object: &Object) {
    let now = turn.now;
    let ends = [object.status.token_expiration_time, grace_ends(turn.state, id, object)];
    file(turn, id, ends.into_iter().flatten().filter(|end| *end > now.wall).min());
}

/// Until when a deletion that has begun may be held up.
pub(crate) fn grace_ends(
    state: &State,
    id: SubscriptionId,
    object: &Object,
) -> Option<chrono::DateTime<chrono::Utc>> {
    let since = object.identity.deleted.or_else(|| state.entry(id)?.memory().deleting_since)?;
    Some(add(since, state.options.grace))
}

pub(crate) fn leave_line(turn: &mut Turn<'_>, id: SubscriptionId) {
    let Some(entry) = turn.state.entry_mut(id) else {
        return;
    };
    let (place, provider, namespace) = (entry.place.take(), entry.provider, entry.namespace);
    let Some(provider) = turn.state.providers.get_mut(provider) else {
        return;
    };
    provider.blocked.remove(id);
    if let (Some(place), Some(origin)) = (place, provider.origin())
        && let Some(origin) = turn.state.origins.get_mut(origin)
        && let Some(tenant) = origin.tenant_mut(namespace)
    {
        tenant.ready.remove(id, place);
    }
}

/// The line is at the origin that the provider has now.
pub(crate) fn leave_lines(turn: &mut Turn<'_>, id: ProviderId) {
    let users = turn.state.provider(id).map(|provider| provider.users.clone());
    for user in users.into_iter().flatten() {
        leave_line(turn, user);
    }
}
