//! Letting go of a subscription whose deletion is done.

use crate::engine::dispatch::writes::write;
use crate::engine::ids::SubscriptionId;
use crate::engine::state::subscription::Object;
use crate::engine::turn::Turn;
use crate::engine::write::Write;

/// Lets a deleted object go: what its deletion asks for is done.
pub(crate) fn let_go(turn: &mut Turn<'_>, id: SubscriptionId, object: &Object) {
    let Some(entry) = turn.state.entry_mut(id) else {
        return;
    };
    entry.let_go = true;
    let namespace = entry.namespace;
    let (key, uid) = (object.identity.key.clone(), object.identity.uid.clone());
    write(turn.state, namespace, Write::Release { id, key, uid });
}
