//! Writes that wait for a place.

use crate::engine::effect::Call;
use crate::engine::state::State;
use crate::engine::turn::Turn;
use crate::engine::write::Write;
use crate::shares::NamespaceId;

/// Puts a write in line: it waits for a place, and namespaces take turns.
pub(crate) fn write(state: &mut State, namespace: NamespaceId, write: Write) {
    let arrival = state.waiting.arrive();
    state.waiting.writes.put(namespace, arrival, write);
}

/// Begins the writes for which there is a place.
pub(crate) fn start_writes(turn: &mut Turn<'_>) {
    let alone = turn.state.is_alone();
    loop {
        let recorders = &turn.state.places.recorders;
        let next = turn.state.waiting.writes.next(|namespace| recorders.free_for(namespace, alone));
        let Some((namespace, _, write)) = next else {
            break;
        };
        turn.state.places.recorders.take(namespace);
        let term = turn.state.term;
        // What an older term wanted to write says less than what another leader has written since.
        let is_superseded =
            matches!(&write, Write::Status { term: decided, .. } if decided.is_none() || *decided != term);
        turn.call(Call::Write { namespace, is_superseded, write });
    }
}
