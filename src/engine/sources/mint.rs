//! Mints that wait for their turn: one at a time for each source.

use std::sync::Arc;

use crate::engine::dispatch::agenda::reconcile_each;
use crate::engine::effect::Call;
use crate::engine::ids::{SourceId, SubscriptionId};
use crate::engine::state::subscription::Object;
use crate::engine::state::terms::first_end;
use crate::engine::turn::Turn;
use crate::rotation::backoff;
use crate::rotation::time::between;

/// A member needs a new token: the mint is queued, and everybody who asks meanwhile waits for it.
pub(crate) fn want_mint(turn: &mut Turn<'_>, id: SubscriptionId, object: &Object) {
    let now = turn.now;
    let Some(source_id) = turn.state.entry(id).and_then(|entry| entry.source) else {
        return;
    };
    let Some(source) = turn.state.source_mut(source_id) else {
        return;
    };
    source.waiting.insert(id);
    if source.minting {
        return;
    }
    // Who has no token yet has nothing to lose, and comes after those whose token is about to end.
    let end = object.status.token_expiration_time.filter(|end| *end > now.wall);
    queue_mint(turn, source_id, end.map_or(i64::MAX, |end| end.timestamp_millis()));
}

/// Puts a mint in line, by its deadline in epoch milliseconds.
pub(crate) fn queue_mint(turn: &mut Turn<'_>, id: SourceId, deadline: i64) {
    let Some(source) = turn.state.source_mut(id) else {
        return;
    };
    if source.wanted.is_some_and(|before| before <= deadline) {
        return;
    }
    let before = source.wanted.replace(deadline);
    let namespace = source.namespace;
    if let Some(before) = before {
        turn.state.waiting.mints.remove(namespace, &(before, id));
    }
    turn.state.waiting.mints.put(namespace, (deadline, id), ());
}

/// Hands waiting mints to free workers: namespaces take turns, and inside of one the earliest
/// deadline comes first.
pub(crate) fn start_mints(turn: &mut Turn<'_>) {
    let now = turn.now;
    if turn.state.term.is_none() {
        return;
    }
    let alone = turn.state.is_alone();
    loop {
        let minters = &turn.state.places.minters;
        let next = turn.state.waiting.mints.next(|namespace| minters.free_for(namespace, alone));
        let Some((namespace_id, (_, id), ())) = next else {
            break;
        };
        let Some(source) = turn.state.source_mut(id) else {
            continue;
        };
        source.wanted = None;
        let Some(spec) = source.spec.clone().filter(|_| !source.minting) else {
            continue;
        };
        if !source.state.polled && source.state.wait.is_some_and(|wait| wait.pending(now.wall).is_some()) {
            // Something else has just minted: those who waited decide again.
            let waiting = std::mem::take(&mut source.waiting);
            reconcile_each(turn, waiting);
            continue;
        }
        source.minting = true;
        let (namespace, slowest) = (Arc::clone(source.key.namespace()), source.slowest);
        turn.state.places.minters.take(namespace_id);
        let left = first_end(turn.state, id).map(|end| between(now.wall, end));
        let patience = left.and_then(|left| backoff::call_patience(left, slowest));
        let term = turn.state.term;
        turn.call(Call::Mint { id, namespace, spec, term, patience, started: now });
    }
}
