//! Keeping a token of a source alive that platforms are asked with.
//!
//! What subscriptions carry is replaced when it is due for them. A receiver's `spec.fallback` may ask its
//! platform with the tokens of a source that no subscription uses: nobody else would have one minted.

use super::Engine;
use super::ids::SourceId;
use super::state::SourceKey;
use super::timers::Alarm;
use crate::rotation::renewal;
use crate::rotation::time::{Moment, between};

impl Engine {
    /// Has a token minted where there is none to ask platforms with, and comes back when it is to be
    /// replaced.
    pub(super) fn keep_alive(&mut self, id: SourceId, now: Moment) {
        let due = self.renewal_due(id, now);
        if due.is_some_and(|due| due <= now.wall) {
            let end = self.state.source(id).and_then(|source| source.state.held.as_ref()?.expires);
            return self.queue_mint(id, end.map_or(i64::MAX, |end| end.timestamp_millis()));
        }
        let Some(source) = self.state.sources.get_mut(id.0) else {
            return;
        };
        let timers = &mut self.state.timers;
        match due {
            Some(due) => {
                timers.file(&mut source.renewal, now.boot + between(now.wall, due), Alarm::Renewal(id));
            }
            None => timers.unfile(&mut source.renewal, Alarm::Renewal(id)),
        }
    }

    pub(super) fn renewal_alarm(&mut self, id: SourceId, now: Moment) {
        if let Some(source) = self.state.source_mut(id) {
            source.renewal = None;
        }
        self.keep_alive(id, now);
    }

    fn renewal_due(&self, id: SourceId, now: Moment) -> Option<chrono::DateTime<chrono::Utc>> {
        if self.term.is_none() || !self.synced {
            return None;
        }
        let source = self.state.source(id).filter(|source| source.spec.is_some() && !source.minting)?;
        match &source.key {
            SourceKey::Object(key) if self.reaches_gates(source) && self.ports.gates.asks_with(key) => {
                renewal::due(&source.state, now)
            }
            _ => None,
        }
    }
}
