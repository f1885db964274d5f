//! Keeping a token of a source alive that platforms are asked with.
//!
//! What subscriptions carry is replaced when it is due for them. A receiver's `spec.fallback` may ask its
//! platform with the tokens of a source that no subscription uses: nobody else would have one minted.

use crate::engine::ids::SourceId;
use crate::engine::queue::timers::Alarm;
use crate::engine::served::reaches_gates;
use crate::engine::sources::mint::queue_mint;
use crate::engine::state::source::SourceKey;
use crate::engine::turn::Turn;
use crate::rotation::renewal;
use crate::rotation::time::between;

/// Has a token minted where there is none to ask platforms with, and comes back when it is to be
/// replaced.
pub(crate) fn keep_alive(turn: &mut Turn<'_>, id: SourceId) {
    let now = turn.now;
    let due = renewal_due(turn, id);
    if due.is_some_and(|due| due <= now.wall) {
        let end = turn.state.source(id).and_then(|source| source.state.held.as_ref()?.expires);
        return queue_mint(turn, id, end.map_or(i64::MAX, |end| end.timestamp_millis()));
    }
    let Some(source) = turn.state.sources.get_mut(id) else {
        return;
    };
    let timers = &mut turn.state.timers;
    match due {
        Some(due) => {
            timers.file(&mut source.renewal, now.boot + between(now.wall, due), Alarm::Renewal(id));
        }
        None => timers.unfile(&mut source.renewal, Alarm::Renewal(id)),
    }
}

pub(crate) fn renewal_alarm(turn: &mut Turn<'_>, id: SourceId) {
    if let Some(source) = turn.state.source_mut(id) {
        source.renewal = None;
    }
    keep_alive(turn, id);
}

fn renewal_due(turn: &Turn<'_>, id: SourceId) -> Option<chrono::DateTime<chrono::Utc>> {
    let now = turn.now;
    if turn.state.term.is_none() || !turn.state.synced {
        return None;
    }
    let source = turn.state.source(id).filter(|source| source.spec.is_some() && !source.minting)?;
    match &source.key {
        SourceKey::Object(key) if reaches_gates(turn, source) && turn.around.gates.asks_with(key) => {
            renewal::due(&source.state, now)
        }
        _ => None,
    }
}
