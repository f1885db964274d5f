//! The end of a step: the subscription is looked at again, or makes way for its successor.

use crate::engine::dispatch::agenda::{leave_line, reconcile_soon};
use crate::engine::ids::SubscriptionId;
use crate::engine::queue::timers::Alarm;
use crate::engine::state::provider::Provider;
use crate::engine::turn::Turn;

/// A subscription's step has ended: it is looked at again, or makes way for its successor.
pub(crate) fn rest(turn: &mut Turn<'_>, id: SubscriptionId) {
    let Some(entry) = turn.state.entry_mut(id) else {
        return;
    };
    entry.busy = false;
    if let Some(successor) = entry.successor.take() {
        remove_subscription(turn, id);
        turn.successors.push_back(*successor);
        return;
    }
    reconcile_soon(turn, id);
}

/// Takes a subscription out of the state, with everything that points at it.
pub(crate) fn remove_subscription(turn: &mut Turn<'_>, id: SubscriptionId) {
    leave_line(turn, id);
    turn.state.unindex(id);
    let Some(mut entry) = turn.state.subscriptions.remove(id) else {
        return;
    };
    turn.state.timers.unfile(&mut entry.timer, Alarm::Subscription(id));
    turn.state.by_key.remove(&entry.key);
    turn.state.namespaces.leave(entry.namespace);
    let origin = turn.state.provider(entry.provider).and_then(Provider::origin).map(str::to_owned);
    if let Some(origin) = origin.and_then(|origin| turn.state.origins.get_mut(&origin)) {
        for tenant in origin.tenants_mut() {
            tenant.breaker.forget(id);
        }
    }
    if let Some(source) = entry.source {
        turn.state.leave_unused_source(source, turn.now);
    }
}
