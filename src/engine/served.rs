//! Whether gates prove deliveries with the tokens of a source, and which they lack.

use crate::api::{ObjectKey, PublishTo};
use crate::engine::ids::SourceId;
use crate::engine::state::source::{Source, SourceKey};
use crate::engine::state::subscription::Object;
use crate::engine::turn::Turn;

/// The object that receivers name, and whether one of them is here.
pub(crate) fn served_source(turn: &Turn<'_>, id: SourceId) -> Option<ObjectKey> {
    let source = turn.state.source(id)?;
    match &source.key {
        SourceKey::Object(key) if reaches_gates(turn, source) && turn.around.gates.serves(key) => {
            Some(key.clone())
        }
        _ => None,
    }
}

/// Whether its tokens can come to those who prove deliveries.
pub(crate) fn reaches_gates(turn: &Turn<'_>, source: &Source) -> bool {
    let publishes = source.spec.as_ref().is_some_and(|spec| spec.publish_to.is_some());
    publishes || !turn.around.gates.read_published()
}

/// Whether somebody who proves deliveries does not know the token that a subscription carries, and
/// nobody has it any more to hand it over.
pub(crate) fn gate_lacks(turn: &Turn<'_>, source: &Source, object: &Object) -> bool {
    let SourceKey::Object(key) = &source.key else {
        return false;
    };
    let state = &source.state;
    // What is read comes again by itself.
    if state.held.is_some() || state.polled || state.unread || !reaches_gates(turn, source) {
        return false;
    }
    let carried = object.status.token_fingerprint.as_deref();
    carried.is_some_and(|carried| turn.around.gates.lacks(key, carried))
}

/// Whether the held token stands published for those alone who prove deliveries, and all of them
/// have it.
pub(crate) fn all_readers_know(turn: &Turn<'_>, id: SourceId) -> bool {
    let Some(source) = turn.state.source(id) else {
        return false;
    };
    let publish_to = source.spec.as_ref().and_then(|spec| spec.publish_to.as_ref());
    let is_for_gates_alone = publish_to.is_some_and(PublishTo::is_for_gates_alone);
    let held = source.held_fingerprint().filter(|_| is_for_gates_alone && source.is_held_published());
    held.is_some_and(|held| served_source(turn, id).is_some_and(|key| turn.around.gates.know(&key, held)))
}
