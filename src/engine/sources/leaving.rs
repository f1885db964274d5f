//! A source that nobody uses any more.

use crate::engine::ids::SourceId;
use crate::engine::queue::timers::Alarm;
use crate::engine::sources::mint::stop_minting;
use crate::engine::state::source::{Source, SourceKey};
use crate::engine::turn::Turn;

/// Nobody uses the source any more, or its object is deleted: no token of it is kept, and nothing
/// is minted. It goes itself when nothing is under way for it and no pause is pending.
pub(crate) fn leave_source(turn: &mut Turn<'_>, id: SourceId) {
    let now = turn.now;
    let Some(source) = turn.state.source_mut(id) else {
        return;
    };
    source.forget_tokens();
    source.spec = None;
    source.end_back_off(now);
    if source.state.wait.is_none() {
        source.state.failing = None;
        source.failures = 0;
    }
    stop_minting(turn, id);
    if let Some(source) = turn.state.sources.get_mut(id) {
        turn.state.timers.unfile(&mut source.timer, Alarm::Source(id));
        turn.state.timers.unfile(&mut source.offering.timer, Alarm::Gates(id));
        turn.state.timers.unfile(&mut source.renewal, Alarm::Renewal(id));
    }
}

/// What a subscription spells out is gone with the last one that does.
pub(crate) fn leave_unused_source(turn: &mut Turn<'_>, id: SourceId) {
    let is_unused =
        |source: &Source| source.users.is_empty() && matches!(source.key, SourceKey::Inline { .. });
    if turn.state.source(id).is_some_and(is_unused) {
        leave_source(turn, id);
    }
}
