//! Making a status durable.

use std::sync::Arc;

use crate::api::SubscriptionStatus;
use crate::engine::dispatch::writes::write;
use crate::engine::ids::SubscriptionId;
use crate::engine::sent::Then;
use crate::engine::state::subscription::Object;
use crate::engine::turn::Turn;
use crate::engine::write::Write;

/// Begins to make a status durable; the entry carries it from now on.
pub(crate) fn record(turn: &mut Turn<'_>, id: SubscriptionId, status: SubscriptionStatus, then: Then) {
    let Some(entry) = turn.state.entry_mut(id) else {
        return;
    };
    let Some(mut object) = entry.object() else {
        return;
    };
    object.status = status;
    entry.store(&object);
    entry.busy = true;
    let namespace = entry.namespace;
    turn.state.index(id, &object);
    let Object { identity, status, .. } = object;
    let term = turn.state.term;
    let (key, uid, status) = (identity.key, identity.uid, Arc::new(status));
    write(turn.state, namespace, Write::Status { id, key, uid, status, term, then });
}

/// Changes the status in memory only.
pub(crate) fn put_status(turn: &mut Turn<'_>, id: SubscriptionId, status: &SubscriptionStatus) {
    let Some(entry) = turn.state.entry_mut(id) else {
        return;
    };
    let Some(mut object) = entry.object() else {
        return;
    };
    object.status = status.clone();
    entry.store(&object);
    turn.state.index(id, &object);
}
